//! Frames on sockets: `&[u8]` in, typed frames out, every length bounded before memory is taken.
//!
//! Nothing here sees a key. Envelopes travel as opaque byte strings, so that whoever forwards them need neither
//! parse nor re-encode them.

#[cfg(feature = "node")]
mod peer;
mod relay;

#[cfg(feature = "node")]
pub use peer::{Have, PeerAddress, PeerFrame, Window};
pub use relay::{ClientFrame, Sealed, ServerFrame, WireError, encode_live};
