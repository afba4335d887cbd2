//! What is known of a circle's anchors, from their announcements.

use minicbor::{Decode, Encode};

use super::{Candidate, Election, STALE_MS, rank};
use crate::{
    config::MAX_ENDPOINTS,
    ids::NodeId,
    relay_api::Capabilities,
    sorted::{SortedMap, SortedSet},
};

/// Most members an announcement names as present, and as served.
pub const MAX_LISTED: usize = 256;
/// Most anchors known of one circle.
const MAX_ANCHORS: usize = 64;
/// An anchor not heard of for this long is forgotten, in milliseconds.
const FORGET_MS: u64 = 10 * 60 * 1000;

/// A member's id as announcements write it: enough to tell the members of one circle apart.
#[must_use]
pub fn short(node: &NodeId) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = node.0;
    [a, b, c, d, e, f, g, h]
}

/// `ANCHOR_ANNOUNCE`: what a member that anchors says of itself, at most 8 s apart. Its author and time are the
/// envelope's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Announce {
    /// What it can do.
    #[n(0)]
    pub capabilities: Capabilities,
    /// Rounds of the last 20 in which it was connected to somebody.
    #[n(1)]
    pub uptime: u8,
    /// Where it may be dialed, `host:port`, at most 4.
    #[n(2)]
    pub endpoints: Vec<String>,
    /// Members connected to it now: the first 8 bytes of each `node_id`, joined, ascending.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub present: Vec<u8>,
    /// Members that were connected to it within the time it keeps messages, in the same form.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub serves: Vec<u8>,
    /// Whom it takes for the circle's anchor, in the same form: the others follow the best candidate's choice.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub elected: Option<[u8; 8]>,
}

impl Announce {
    /// Whether it keeps to its limits.
    pub(crate) fn fits(&self) -> bool {
        let list = |ids: &[u8]| ids.len().is_multiple_of(8) && ids.len() <= MAX_LISTED * 8;
        self.endpoints.len() <= MAX_ENDPOINTS
            && list(&self.present)
            && list(&self.serves)
            && u32::from(self.uptime) <= super::UPTIME_ROUNDS
    }

    /// Members in the form of [`Announce::present`]; of more than [`MAX_LISTED`] the lowest.
    #[must_use]
    pub fn list<'a>(members: impl IntoIterator<Item = &'a NodeId>) -> Vec<u8> {
        let ids: SortedSet<[u8; 8]> = members.into_iter().map(short).collect();
        ids.into_iter().take(MAX_LISTED).flatten().collect()
    }

    /// Whether a member is connected to this anchor.
    #[must_use]
    pub fn is_present(&self, member: &NodeId) -> bool {
        self.present.as_chunks::<8>().0.contains(&short(member))
    }

    /// Whether this anchor keeps messages for a member.
    #[must_use]
    pub fn does_serve(&self, member: &NodeId) -> bool {
        self.lists(&short(member))
    }

    /// The members that this anchor keeps messages for, short.
    pub fn served(&self) -> impl Iterator<Item = &[u8; 8]> {
        self.serves.as_chunks::<8>().0.iter().chain(self.present.as_chunks::<8>().0)
    }

    /// As [`Announce::does_serve`], by a short id.
    #[must_use]
    pub fn lists(&self, member: &[u8; 8]) -> bool {
        self.served().any(|served| served == member)
    }
}

#[derive(Debug)]
struct Known {
    announce: Announce,
    /// `created_ts` of the announcement: only later ones count.
    ts: u64,
    /// Monotonic milliseconds.
    heard: u64,
}

/// The anchors of one circle, and the choice among them.
#[derive(Debug, Default)]
pub struct Book {
    known: SortedMap<NodeId, Known>,
    election: Election,
    /// As of the last election.
    reachable: Vec<NodeId>,
}

impl Book {
    /// Takes in an announcement; whether it is later than what was known of its author.
    pub fn heard(&mut self, node: NodeId, ts: u64, announce: Announce, now: u64) -> bool {
        let known = self.known.get(&node);
        let full = known.is_none() && self.known.len() >= MAX_ANCHORS;
        if full || known.is_some_and(|known| known.ts >= ts) {
            return false;
        }
        self.known.insert(node, Known { announce, ts, heard: now });
        true
    }

    /// Forgets what a node announced: what it says next counts, whenever it says that it was.
    pub fn forget(&mut self, node: &NodeId) {
        self.known.remove(node);
    }

    fn is_fresh(known: &Known, now: u64) -> bool {
        now.saturating_sub(known.heard) <= STALE_MS
    }

    /// Anchors heard of within [`STALE_MS`], best first.
    #[must_use]
    pub fn reachable(&self, now: u64) -> Vec<NodeId> {
        let fresh = self.known.iter().filter(|(_, known)| Self::is_fresh(known, now));
        rank(fresh.map(|(node, known)| Candidate {
            node: *node,
            capabilities: known.announce.capabilities,
            uptime: known.announce.uptime,
        }))
    }

    /// What an anchor said last, unless it fell silent.
    #[must_use]
    pub fn announced(&self, node: &NodeId, now: u64) -> Option<&Announce> {
        self.known.get(node).filter(|known| Self::is_fresh(known, now)).map(|known| &known.announce)
    }

    /// Chooses anew, for the node `me`; whether the choice, or who may be chosen, changed.
    pub fn elect(&mut self, me: NodeId, now: u64) -> bool {
        self.known.retain(|_, known| now.saturating_sub(known.heard) <= FORGET_MS);
        let reachable = self.reachable(now);
        let best = reachable.first().filter(|best| **best != me);
        let said = best.and_then(|best| self.announced(best, now)?.elected);
        let followed = reachable.iter().find(|node| Some(short(node)) == said).copied();
        let elected = self.election.decide(&reachable, followed, now);
        let moved = reachable != self.reachable;
        self.reachable = reachable;
        elected || moved
    }

    /// The anchor in office, and the one that comes after it: rungs 2 and 3 of the ladder.
    #[must_use]
    pub fn office(&self, now: u64) -> [Option<NodeId>; 2] {
        let current = self.election.current();
        let next = self.reachable(now).into_iter().find(|node| Some(*node) != current);
        [current, next]
    }

    /// When somebody falls silent next, or the first choice is due; monotonic milliseconds.
    #[must_use]
    pub fn deadline(&self, now: u64) -> Option<u64> {
        let fresh = self.known.values().filter(|known| Self::is_fresh(known, now));
        fresh.map(|known| known.heard + STALE_MS + 1).chain(self.election.deadline()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId([9; 32]);

    fn anchor() -> Announce {
        let capabilities = Capabilities { can_anchor: true, ..Capabilities::default() };
        Announce { capabilities, ..Announce::default() }
    }

    #[test]
    fn an_old_announcement_repeated_does_not_keep_a_dead_anchor_in_office() {
        let (mut book, node) = (Book::default(), NodeId([1; 32]));
        assert!(book.heard(node, 100, anchor(), 0));
        book.elect(ME, 0);
        book.elect(ME, 10_000);
        assert_eq!(book.office(10_000), [Some(node), None]);
        assert!(!book.heard(node, 100, anchor(), 15_000));
        assert!(!book.heard(node, 99, anchor(), 15_000));
        assert_eq!(book.deadline(15_000), Some(20_001));
        assert!(book.elect(ME, 20_001));
        assert_eq!(book.office(20_001), [None, None]);
    }

    #[test]
    fn members_are_listed_and_found_by_the_first_eight_bytes_of_their_ids() {
        let members: Vec<NodeId> = (0..=255).map(|i| NodeId([i; 32])).collect();
        let announce = Announce { present: Announce::list(&members[..200]), ..anchor() };
        assert!(announce.fits());
        assert!(announce.does_serve(&members[199]) && !announce.does_serve(&members[200]));
        assert!(!Announce { present: vec![0; 7], ..anchor() }.fits());
        assert!(!Announce { serves: vec![0; 8 * (MAX_LISTED + 1)], ..anchor() }.fits());
    }
}
