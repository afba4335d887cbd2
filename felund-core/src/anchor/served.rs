//! Whom an anchor keeps messages for.

use super::{Announce, MAX_AGE_DAYS, MAX_LISTED};
use crate::{ids::NodeId, sorted::SortedMap};

/// How long an anchor keeps messages, in milliseconds: members seen within it are served.
const SERVES_MS: u64 = MAX_AGE_DAYS as u64 * 24 * 60 * 60 * 1000;

/// Members an anchor was connected to, and when last (unix milliseconds): no more than an announcement can list.
#[derive(Debug, Default)]
pub(crate) struct Served(SortedMap<NodeId, u64>);

impl Served {
    /// A member is connected. Of too many the one gives way that was seen longest ago.
    pub(crate) fn saw(&mut self, member: NodeId, wall: u64) {
        self.0.insert(member, wall);
        if self.0.len() > MAX_LISTED
            && let Some(oldest) = self.0.iter().min_by_key(|(_, seen)| **seen).map(|(member, _)| *member)
        {
            self.0.remove(&oldest);
        }
    }

    /// Those seen recently enough, in the form of [`Announce::serves`].
    pub(crate) fn list(&mut self, wall: u64) -> Vec<u8> {
        self.0.retain(|_, seen| wall.saturating_sub(*seen) < SERVES_MS);
        Announce::list(self.0.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u16) -> NodeId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    }

    #[test]
    fn of_endless_members_those_seen_last_are_served() {
        let mut served = Served::default();
        let many = 2 * MAX_LISTED as u16;
        for n in 0..many {
            served.saw(member(n), u64::from(n));
        }
        let last = (many / 2..many).map(member).collect::<Vec<_>>();
        assert_eq!(served.list(u64::from(many)), Announce::list(&last));
    }

    #[test]
    fn who_was_not_seen_for_as_long_as_messages_are_kept_is_served_no_more() {
        let mut served = Served::default();
        served.saw(member(1), 0);
        served.saw(member(2), 1);
        assert_eq!(served.list(SERVES_MS), Announce::list(&[member(2)]));
    }
}
