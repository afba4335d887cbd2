//! What relays do not keep for ever, and who joins needs: the events that a circle rests on.
//!
//! A relay forgets what is old, may lose its log, or be another than it was; those who were there do not notice. So whoever
//! hears that somebody has joined hands the relay its own events of that kind again, and the member that has been there for
//! longest of those at the relay does so for those who are away. What the relay still has it merges.

use super::{Circle, Node, startup::Asked};
use crate::{
    ids::{CircleId, NodeId},
    sorted::SortedSet,
    store::Query,
    view::Key,
};

/// Others may join in the same moment, and hellos that were missed come together; milliseconds.
const PAUSE_MS: u64 = 2_000;
/// What was handed to a relay is there for the next who joins; milliseconds.
const LASTS_MS: u64 = 60 * 60 * 1_000;
/// Most events at once.
const MAX_EVENTS: usize = 1_024;

/// When a circle's events are handed to its relay again.
#[derive(Debug, Default)]
pub(super) struct Welcome {
    due: Option<u64>,
    not_before: u64,
}

impl Welcome {
    /// The relay may hold nothing of it.
    pub(super) fn relay_forgot(&mut self) {
        self.not_before = 0;
    }
}

impl Circle {
    /// What this member tells those who have joined since.
    fn welcome(&self) -> Vec<Key> {
        let joined = |member: &NodeId| self.state.joined(member);
        let longest =
            self.online.iter().all(|other| joined(other).is_none_or(|at| joined(&self.me) <= Some(at)));
        let live: SortedSet<Key> =
            self.state.live().filter(|(_, orphan)| !orphan).map(|(key, _)| key).collect();
        let is_mine = |author: &NodeId| *author == self.me || longest && !self.online.contains(author);
        let control = self.log.of(&self.control).filter(|entry| is_mine(&entry.author));
        let events =
            control.map(|entry| entry.key).filter(|key| live.contains(key) && !self.outbox.contains(key));
        events.take(MAX_EVENTS).collect()
    }
}

impl Node {
    /// A member has said hello, at this place in the order.
    pub(super) fn has_joined(&mut self, id: CircleId, hello: Key) {
        let now = self.now.mono;
        let Some(circle) = self.circles.get_mut(&id) else { return };
        // Who was there before needs nothing.
        let is_later = circle.state.joined(&circle.me).is_some_and(|mine| mine < hello);
        let is_due =
            circle.relay.is_some() && circle.welcome.due.is_none() && circle.welcome.not_before <= now;
        if is_later && is_due {
            circle.welcome.due = Some(now + self.rng.jitter(PAUSE_MS));
        }
    }

    pub(super) fn welcome_deadline(&self) -> Option<u64> {
        self.circles.values().filter_map(|circle| circle.welcome.due).min()
    }

    /// Reads what is due.
    pub(super) fn welcome(&mut self) {
        let now = self.now.mono;
        let due = |circle: &&mut Circle| circle.welcome.due.is_some_and(|at| at <= now);
        let mut reads = Vec::new();
        for circle in self.circles.values_mut().filter(due) {
            circle.welcome = Welcome { due: None, not_before: now + LASTS_MS };
            let keys = circle.welcome();
            if !keys.is_empty() {
                reads.push((circle.id, keys));
            }
        }
        for (id, keys) in reads {
            self.load(Query::Envelopes(id, keys), Asked::Welcome(id));
        }
    }

    /// Hands it to the relay.
    pub(super) fn enqueue_welcome(&mut self, id: CircleId, rows: Vec<(Key, Vec<u8>)>) {
        let Some(circle) = self.circles.get(&id) else { return };
        let Some(link) = circle.relay.as_ref().and_then(|relay| self.links.get_mut(relay)) else { return };
        for (key, sealed) in rows {
            if !circle.outbox.contains(&key) {
                link.enqueue(&circle.hint, key.id, sealed);
            }
        }
    }
}
