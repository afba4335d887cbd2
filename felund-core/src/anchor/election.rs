//! Policy 1, second half: when to change the anchor.

use crate::ids::NodeId;

/// An anchor not heard of for longer than this is taken for gone, in milliseconds. Announcements come at most
/// [`crate::config::ANNOUNCE_MAX_MS`] apart, so that two may be lost.
pub const STALE_MS: u64 = 20_000;
/// How many ranks below the best the current anchor must have fallen before it is replaced while it is there.
pub const RANKS_APART: usize = 2;
/// After a change nothing but silence changes the anchor again for this long, in milliseconds.
pub const COOLDOWN_MS: u64 = 60_000;
/// How long after the first candidate was heard one is chosen, in milliseconds: every anchor announces itself within this
/// time, so that nodes that hear them in different orders agree. Where one is in office already nobody waits.
pub const SETTLE_MS: u64 = 10_000;

/// The choice of one node for one circle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Election {
    current: Option<NodeId>,
    /// When the first choice is due, once there is a candidate.
    due: Option<u64>,
    /// Until when the current one stays as long as it is there.
    holds: u64,
}

impl Election {
    /// The anchor in office.
    #[must_use]
    pub const fn current(&self) -> Option<NodeId> {
        self.current
    }

    /// When the first choice is due, if there is none yet.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.due.filter(|_| self.current.is_none())
    }

    /// Chooses anew. `reachable` are the candidates heard of within [`STALE_MS`], best first; `followed` is what the best of
    /// them announces as its own choice, if that is another node; `now` is monotonic milliseconds. Says whether the
    /// choice changed.
    ///
    /// The best candidate decides for itself and all follow it, so that nodes that came at different times, and saw the
    /// ranks change in different order, agree within one announcement. One that fell silent is replaced at once, cooldown or not: holding on to it would only delay messages. Coming back
    /// it takes over again only by the two-rank rule, so that an anchor with a bad connection does not make all
    /// move back and forth.
    pub fn decide(&mut self, reachable: &[NodeId], followed: Option<NodeId>, now: u64) -> bool {
        let followed = followed.filter(|node| reachable.contains(node));
        let best = reachable.first().copied();
        let place = self.current.and_then(|current| reachable.iter().position(|node| *node == current));
        self.due = match self.due {
            _ if reachable.is_empty() => None,
            None => Some(now + SETTLE_MS),
            due => due,
        };
        let next = match (self.current, place) {
            _ if followed.is_some() => followed,
            (None, _) if self.due.is_some_and(|due| now < due) => None,
            (None, _) | (Some(_), None) => best,
            (Some(_), Some(place)) if place >= RANKS_APART && now >= self.holds => best,
            (current, Some(_)) => current,
        };
        let changed = next != self.current;
        if changed && self.current.is_some() {
            self.holds = now + COOLDOWN_MS;
        }
        self.current = next;
        changed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);
    const C: NodeId = NodeId([3; 32]);

    fn settled(reachable: &[NodeId]) -> Election {
        let mut election = Election::default();
        election.decide(reachable, None, 0);
        assert_eq!((election.current(), election.deadline()), (None, Some(SETTLE_MS)));
        election.decide(reachable, None, SETTLE_MS);
        assert_eq!((election.current(), election.deadline()), (reachable.first().copied(), None));
        election
    }

    #[test]
    fn the_best_candidates_choice_is_followed_while_it_can_be_reached() {
        let mut election = Election::default();
        election.decide(&[A, B, C], Some(B), 0);
        assert_eq!(election.current(), Some(B), "who comes later takes the one in office");
        assert!(!election.decide(&[A, B, C], Some(B), 70_000));
        assert!(election.decide(&[A, C], Some(B), 90_000), "gone, whatever the best one still says");
        assert_eq!(election.current(), Some(A));
    }

    #[test]
    fn the_best_is_taken_whoever_was_heard_first() {
        let mut election = Election::default();
        election.decide(&[C], None, 0);
        election.decide(&[B, C], None, 2_000);
        election.decide(&[A, B, C], None, 7_000);
        assert_eq!(election.current(), None);
        election.decide(&[A, B, C], None, SETTLE_MS);
        assert_eq!(election.current(), Some(A));
    }

    #[test]
    fn silence_changes_the_anchor_at_once_and_coming_back_does_not() {
        let mut election = settled(&[A, B, C]);
        assert!(election.decide(&[B, C], None, 30_000));
        assert_eq!(election.current(), Some(B));
        assert!(!election.decide(&[A, B, C], None, 31_000), "one rank is not worth a change");
        assert!(!election.decide(&[A, B, C], None, 200_000));
        assert!(election.decide(&[A, C], None, 201_000), "even within a cooldown");
        assert_eq!(election.current(), Some(A));
    }

    #[test]
    fn two_ranks_are_worth_a_change_but_not_within_the_cooldown() {
        let mut election = settled(&[A]);
        election.decide(&[C], None, 20_000);
        assert!(!election.decide(&[A, B, C], None, 79_999));
        assert!(election.decide(&[A, B, C], None, 80_000));
        assert_eq!(election.current(), Some(A));
    }

    #[test]
    fn nobody_there_is_nobody_chosen() {
        let mut election = settled(&[A]);
        assert!(election.decide(&[], None, 20_001));
        assert_eq!(election.current(), None);
    }

    proptest! {
        /// Three anchors of which all stay reachable, whatever the uptimes say: at most one change a minute.
        #[test]
        fn jitter_in_the_ranks_does_not_make_it_flap(orders in prop::collection::vec(any::<[u8; 3]>(), 100)) {
            let mut election = settled(&[A, B, C]);
            let mut changes = Vec::new();
            for (round, keys) in (2..).zip(orders) {
                let mut ranked = [(keys[0], A), (keys[1], B), (keys[2], C)];
                ranked.sort_unstable();
                let now = round * 8_000;
                if election.decide(&ranked.map(|(_, node)| node), None, now) {
                    changes.push(now);
                }
            }
            prop_assert!(changes.windows(2).all(|pair| pair[1] - pair[0] >= COOLDOWN_MS));
        }

        /// The order in which the same announcements come in does not decide.
        #[test]
        fn nodes_that_hear_the_same_within_the_settling_time_agree(first in 0..3_usize, second in 0..3_usize) {
            let all = [A, B, C];
            let (mut one, mut other) = (Election::default(), Election::default());
            one.decide(&[all[first]], None, 0);
            other.decide(&[all[second]], None, 0);
            one.decide(&all, None, SETTLE_MS);
            other.decide(&all, None, SETTLE_MS + 1);
            prop_assert_eq!(one.current(), other.current());
        }
    }
}
