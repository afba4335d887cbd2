//! The delivery ladder (Policy 2, `docs/protocol.md` §10.1): per member and per message, how far up an own message has
//! had to go.
//!
//! | rung | how a member is reached |
//! |---|---|
//! | 1 | a session of our own |
//! | 2 | the current anchor, or a member that repeats for it |
//! | 3 | the next anchor |
//! | 4, 5 | the hosted relay, by WebSocket or HTTP as its link can |
//!
//! Rungs 1 to 3 are one push to every session there is, at once: what differs is whose confirmation is waited for, and
//! for how long. A member without any of these is the relay's from the start; one who has not confirmed within
//! [`DIRECT_BUDGET_MS`] becomes so. Nothing is cancelled by going up, as merging is idempotent; a message that everyone
//! has, or that an anchor keeps for whoever has not, needs no relay.

use crate::{
    anchor::Announce,
    config::DIRECT_BUDGET_MS,
    ids::{CircleId, NodeId},
    sorted::{SortedMap, SortedSet},
    view::Key,
};

/// By what a member can be reached without the relay, in one circle and right now.
#[derive(Debug, Default)]
pub(crate) struct Paths<'a> {
    /// Members with a session of our own.
    pub direct: SortedSet<NodeId>,
    /// Members that answer through others.
    pub repeated: SortedSet<NodeId>,
    /// The current and the next anchor that there is a session with, and what they announced.
    pub office: Vec<(NodeId, &'a Announce)>,
    /// What every anchor announced that is heard of, with a session or not.
    pub anchors: Vec<(NodeId, &'a Announce)>,
}

/// Where one message stands with one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// The member has it.
    Confirmed,
    /// An anchor that serves the member has it.
    Anchored,
    /// Waiting for the member's own confirmation.
    Direct,
    /// Waiting for the current anchor, or for a member that repeats.
    Anchor,
    /// Waiting for the next anchor.
    NextAnchor,
    /// Only the relay is left.
    Relay,
}

impl Standing {
    /// Whether nothing more need be done for this member.
    pub(crate) const fn is_settled(self) -> bool {
        matches!(self, Self::Confirmed | Self::Anchored)
    }
}

/// Where a message that was first sent `waited` milliseconds ago stands with `member`.
pub(crate) fn standing(
    member: &NodeId,
    confirmed: &SortedSet<NodeId>,
    paths: &Paths<'_>,
    waited: u64,
) -> Standing {
    if confirmed.contains(member) {
        return Standing::Confirmed;
    }
    let serves =
        |(anchor, announce): &&(NodeId, &Announce)| confirmed.contains(anchor) && announce.does_serve(member);
    if paths.anchors.iter().any(|anchor| serves(&anchor)) {
        return Standing::Anchored;
    }
    if waited >= DIRECT_BUDGET_MS {
        return Standing::Relay;
    }
    if paths.direct.contains(member) {
        return Standing::Direct;
    }
    match paths.office.iter().position(|(_, announce)| announce.does_serve(member)) {
        Some(0) => Standing::Anchor,
        _ if paths.repeated.contains(member) => Standing::Anchor,
        Some(_) => Standing::NextAnchor,
        None => Standing::Relay,
    }
}

/// What is to be done for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Everyone has it, or has it kept for them by an anchor.
    Settled,
    /// Somebody may still confirm on rungs 1 to 3.
    Wait,
    /// Somebody is left to the relay.
    AskRelay,
}

/// The step for a whole message: the one its worst-placed recipient needs. Without recipients the relay keeps it for
/// whoever joins.
pub(crate) fn step<'a>(
    recipients: impl IntoIterator<Item = &'a NodeId>,
    confirmed: &SortedSet<NodeId>,
    paths: &Paths<'_>,
    waited: u64,
) -> Step {
    let standings = recipients.into_iter().map(|member| standing(member, confirmed, paths, waited));
    match standings.max() {
        None | Some(Standing::Relay) => Step::AskRelay,
        Some(worst) if worst.is_settled() => Step::Settled,
        Some(_) => Step::Wait,
    }
}

/// Own messages that wait for confirmations on rungs 1 to 3.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    waiting: SortedMap<(CircleId, Key), Climb>,
}

#[derive(Debug)]
struct Climb {
    sealed: Vec<u8>,
    since: u64,
}

impl Ladder {
    /// A message was pushed to every session; `now` is monotonic milliseconds.
    pub(crate) fn begin(&mut self, circle: CircleId, key: Key, sealed: Vec<u8>, now: u64) {
        self.waiting.insert((circle, key), Climb { sealed, since: now });
    }

    /// How long a message has waited, if it does.
    pub(crate) fn waited(&self, circle: CircleId, key: &Key, now: u64) -> Option<u64> {
        self.waiting.get(&(circle, *key)).map(|climb| now.saturating_sub(climb.since))
    }

    /// Takes a message off; its envelope.
    pub(crate) fn take(&mut self, circle: CircleId, key: &Key) -> Option<Vec<u8>> {
        self.waiting.remove(&(circle, *key)).map(|climb| climb.sealed)
    }

    /// A circle is left.
    pub(crate) fn forget(&mut self, circle: CircleId) {
        self.waiting.retain(|(of, _), _| *of != circle);
    }

    /// Messages whose time on rungs 1 to 3 is over.
    pub(crate) fn due(&self, now: u64) -> Vec<(CircleId, Key)> {
        let over = |climb: &Climb| climb.since + DIRECT_BUDGET_MS <= now;
        self.waiting.iter().filter(|(_, climb)| over(climb)).map(|(at, _)| *at).collect()
    }

    /// When [`Ladder::due`] answers with something next.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.waiting.values().map(|climb| climb.since + DIRECT_BUDGET_MS).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay_api::Capabilities;

    const BOB: NodeId = NodeId([1; 32]);
    const CLEO: NodeId = NodeId([2; 32]);
    const ANCHOR: NodeId = NodeId([3; 32]);
    const SECOND: NodeId = NodeId([4; 32]);

    fn serving(members: &[NodeId]) -> Announce {
        let capabilities = Capabilities { can_anchor: true, ..Capabilities::default() };
        Announce { capabilities, serves: Announce::list(members), ..Announce::default() }
    }

    fn set<const N: usize>(nodes: [NodeId; N]) -> SortedSet<NodeId> {
        nodes.into()
    }

    #[test]
    fn a_member_without_any_other_path_is_the_relays_at_once() {
        let paths = Paths { direct: set([BOB]), ..Paths::default() };
        assert_eq!(step(&[BOB], &set([]), &paths, 0), Step::Wait);
        assert_eq!(step(&[BOB, CLEO], &set([]), &paths, 0), Step::AskRelay);
        assert_eq!(step(&[], &set([]), &paths, 0), Step::AskRelay, "the relay keeps it for who joins");
    }

    #[test]
    fn the_rungs_are_tried_in_order_and_time_leads_to_the_relay() {
        let (first, second) = (serving(&[CLEO]), serving(&[BOB, CLEO]));
        let both = vec![(ANCHOR, &first), (SECOND, &second)];
        let paths = Paths { office: both.clone(), anchors: both, ..Paths::default() };
        assert_eq!(standing(&CLEO, &set([]), &paths, 0), Standing::Anchor);
        assert_eq!(standing(&BOB, &set([]), &paths, 0), Standing::NextAnchor);
        assert_eq!(standing(&BOB, &set([]), &paths, DIRECT_BUDGET_MS), Standing::Relay);
        let direct = Paths { direct: set([BOB]), ..paths };
        assert_eq!(standing(&BOB, &set([]), &direct, 0), Standing::Direct);
    }

    #[test]
    fn an_anchor_counts_for_the_members_it_serves_and_for_no_others() {
        let announce = serving(&[CLEO]);
        let office = vec![(ANCHOR, &announce)];
        let paths = Paths { office: office.clone(), anchors: office, ..Paths::default() };
        let confirmed = set([ANCHOR]);
        assert_eq!(step(&[ANCHOR, CLEO], &confirmed, &paths, 5_000), Step::Settled);
        assert_eq!(step(&[ANCHOR, CLEO, BOB], &confirmed, &paths, 0), Step::AskRelay);
        assert_eq!(step(&[CLEO], &set([BOB]), &paths, 0), Step::Wait);
    }

    #[test]
    fn what_everyone_confirmed_needs_nothing_more_however_late() {
        assert_eq!(step(&[BOB, CLEO], &set([BOB, CLEO]), &Paths::default(), 60_000), Step::Settled);
    }

    #[test]
    fn a_member_that_answers_through_others_is_waited_for() {
        let paths = Paths { repeated: set([BOB]), ..Paths::default() };
        assert_eq!(step(&[BOB], &set([]), &paths, 0), Step::Wait);
        assert_eq!(step(&[BOB], &set([]), &paths, DIRECT_BUDGET_MS), Step::AskRelay);
    }

    #[test]
    fn a_message_is_due_once_its_budget_is_spent() {
        let (mut ladder, circle) = (Ladder::default(), CircleId([1; 16]));
        let key = Key { ts: 1, id: crate::ids::MsgId([1; 16]) };
        ladder.begin(circle, key, vec![7], 100);
        assert_eq!((ladder.deadline(), ladder.due(1_599)), (Some(1_600), Vec::new()));
        assert_eq!(ladder.due(1_600), [(circle, key)]);
        assert_eq!(ladder.waited(circle, &key, 400), Some(300));
        assert_eq!(ladder.take(circle, &key), Some(vec![7]));
        assert_eq!(ladder.deadline(), None);
    }
}
