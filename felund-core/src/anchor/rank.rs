//! Policy 1, first half: who is the better anchor.

use std::cmp::Reverse;

use crate::{ids::NodeId, relay_api::Capabilities};

/// Rounds that count for the recent uptime.
pub const UPTIME_ROUNDS: u32 = 20;

/// Rounds in which an anchor was reachable, of the last [`UPTIME_ROUNDS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uptime(u32);

impl Uptime {
    /// Takes note of one more round.
    pub const fn record(&mut self, reachable: bool) {
        self.0 = (self.0 << 1 | reachable as u32) & ((1 << UPTIME_ROUNDS) - 1);
    }

    /// 0 to [`UPTIME_ROUNDS`].
    #[must_use]
    pub const fn score(self) -> u8 {
        self.0.count_ones() as u8
    }
}

/// What ranking knows of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub node: NodeId,
    /// What it can do.
    pub capabilities: Capabilities,
    /// [`Uptime::score`].
    pub uptime: u8,
}

/// The members that may anchor, best first: who is reachable from outside, has opted in, is no phone, was up more of the
/// last rounds, and then by `node_id`. Who has not opted in, or is a phone, is no candidate at all.
///
/// A function of the set alone: any order of the same candidates gives the same answer on every node.
#[must_use]
pub fn rank(candidates: impl IntoIterator<Item = Candidate>) -> Vec<NodeId> {
    let eligible = |c: &Candidate| c.capabilities.can_anchor && !c.capabilities.is_mobile;
    let mut ranked: Vec<Candidate> = candidates.into_iter().filter(eligible).collect();
    ranked.sort_unstable_by_key(|c| {
        let Capabilities { public_reachable, can_anchor, is_mobile } = c.capabilities;
        (Reverse(public_reachable), Reverse(can_anchor), is_mobile, Reverse(c.uptime), c.node)
    });
    ranked.dedup_by_key(|c| c.node);
    ranked.into_iter().map(|c| c.node).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (any::<[bool; 3]>(), 0..=20_u8);
        prop::collection::btree_map(any::<u8>(), one, 0..12).prop_map(|members| {
            let candidate = |(id, (flags, uptime)): (u8, ([bool; 3], u8))| {
                let [public_reachable, can_anchor, is_mobile] = flags;
                let capabilities = Capabilities { can_anchor, public_reachable, is_mobile };
                Candidate { node: NodeId([id; 32]), capabilities, uptime }
            };
            members.into_iter().map(candidate).collect()
        })
    }

    proptest! {
        #[test]
        fn the_ranking_is_the_same_for_any_order_of_the_same_members(
            (ordered, shuffled) in candidates().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle())),
        ) {
            prop_assert_eq!(rank(ordered), rank(shuffled));
        }

        #[test]
        fn nobody_anchors_who_did_not_opt_in_and_no_phone_does(members in candidates()) {
            for node in rank(members.clone()) {
                let of = members.iter().find(|c| c.node == node).unwrap().capabilities;
                prop_assert!(of.can_anchor && !of.is_mobile);
            }
        }

        #[test]
        fn a_better_member_never_ranks_below_a_worse_one(members in candidates()) {
            let ranked = rank(members.clone());
            let of = |node: &NodeId| members.iter().find(|c| c.node == *node).unwrap();
            for pair in ranked.windows(2) {
                let (better, worse) = (of(&pair[0]), of(&pair[1]));
                let key = |c: &Candidate| (c.capabilities.public_reachable, c.uptime, Reverse(c.node));
                prop_assert!(key(better) > key(worse));
            }
        }
    }

    #[test]
    fn uptime_counts_the_last_twenty_rounds() {
        let mut uptime = Uptime::default();
        for _ in 0..30 {
            uptime.record(true);
        }
        assert_eq!(uptime.score(), 20);
        for _ in 0..5 {
            uptime.record(false);
        }
        assert_eq!(uptime.score(), 15);
    }
}
