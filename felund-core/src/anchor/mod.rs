//! Anchors: members that volunteer to store and forward for their circle, so that the hosted relay is a last resort
//! (`docs/protocol.md` §14).
//!
//! Nobody is asked and nobody votes: every node ranks the same announcements with the same pure function ([`rank`]) and
//! so comes to the same choice; [`Election`] keeps it from flapping. What an anchor may keep is [`bounded`]. No key
//! is within reach of this room: an anchor serves envelopes, it does not open them.

mod book;
mod election;
mod rank;
mod retention;
mod served;

pub use book::{Announce, Book, MAX_LISTED, short};
pub use election::{COOLDOWN_MS, Election, RANKS_APART, SETTLE_MS, STALE_MS};
pub use rank::{Candidate, UPTIME_ROUNDS, Uptime, rank};
pub use retention::{MAX_AGE_DAYS, MAX_MESSAGES, MAX_TOTAL_BYTES, Stored, beyond_total, bounded};
pub(crate) use served::Served;
