//! Rooms: which sockets listen to which circle, who is present, and sealed signaling mailboxes. All of it in memory;
//! what must survive is in the store.
//!
//! A room lives while somebody is in it. All that happens to a room happens under its shard's lock, in short
//! non-blocking steps, so that the order of what each socket gets is the order of what happened.

mod fanout;
mod presence;
mod room;
mod signals;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use felund_core::ids::CircleHint;

pub(crate) use fanout::Fanout;
pub(crate) use room::{Progress, Room};

const SHARDS: usize = 64;

/// All rooms.
pub(crate) struct Hub {
    shards: Vec<Mutex<HashMap<CircleHint, Room>>>,
    hasher: RandomState,
    next_signal: AtomicU64,
}

impl Hub {
    pub(crate) fn new() -> Self {
        // Mailbox cursors start at the clock, so that one from before a restart is not ahead of them.
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_micros());
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            next_signal: AtomicU64::new(u64::try_from(micros).unwrap_or(1)),
        }
    }

    fn shard(&self, hint: &CircleHint) -> &Mutex<HashMap<CircleHint, Room>> {
        // SHARDS is not zero, so the remainder is an index.
        &self.shards[self.hasher.hash_one(hint) as usize % SHARDS]
    }

    /// Does something to a circle's room, which is made when missing and forgotten when left empty.
    pub(crate) fn with<T>(&self, hint: &CircleHint, f: impl FnOnce(&mut Room) -> T) -> T {
        let mut shard = self.shard(hint).lock().unwrap_or_else(PoisonError::into_inner);
        let room = shard.entry(*hint).or_insert_with(|| Room::new(*hint));
        let result = f(room);
        if room.is_empty() {
            shard.remove(hint);
        }
        result
    }

    /// Does something to a circle's room if there is one.
    pub(crate) fn with_existing<T>(&self, hint: &CircleHint, f: impl FnOnce(&mut Room) -> T) -> Option<T> {
        let mut shard = self.shard(hint).lock().unwrap_or_else(PoisonError::into_inner);
        let room = shard.get_mut(hint)?;
        let result = f(room);
        if room.is_empty() {
            shard.remove(hint);
        }
        Some(result)
    }

    /// Ends what has expired: presences and signals. `now` in unix seconds.
    pub(crate) fn sweep(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, room| {
                room.expire(now);
                !room.is_empty()
            });
        }
    }

    /// The next place in the signaling mailboxes.
    pub(crate) fn next_signal(&self) -> u64 {
        self.next_signal.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use felund_core::{
        ids::{Base64, Cursor, NodeId},
        relay_api::{Capabilities, Peer, Signal, SignalKind},
    };

    use super::*;

    #[test]
    fn whoever_polls_is_there_until_it_stops() {
        let hub = Hub::new();
        let hint = CircleHint([1; 32]);
        let (alice, bob) = (NodeId([2; 32]), NodeId([3; 32]));
        let peer = Peer {
            node_id: alice,
            endpoints: vec![],
            capabilities: Capabilities::default(),
            observed_at: 1_000,
        };
        hub.with(&hint, |room| room.register(peer, 1_060));
        hub.with_existing(&hint, |room| room.polled(&alice, 1_050));
        hub.with_existing(&hint, |room| room.polled(&bob, 1_050));
        hub.sweep(1_079);
        assert_eq!(hub.with_existing(&hint, |room| room.peers(&bob).len()), Some(1));
        hub.sweep(1_080);
        assert_eq!(
            hub.with_existing(&hint, |_| ()),
            None,
            "polling alone, without registering, is no presence"
        );
    }

    #[test]
    fn presences_and_signals_end_by_themselves_and_leave_no_room_behind() {
        let hub = Hub::new();
        let hint = CircleHint([1; 32]);
        let (alice, bob) = (NodeId([2; 32]), NodeId([3; 32]));
        let peer = Peer {
            node_id: alice,
            endpoints: vec![],
            capabilities: Capabilities::default(),
            observed_at: 1_000,
        };
        hub.with(&hint, |room| room.register(peer, 1_060));
        let signal = Signal {
            cursor: Cursor(hub.next_signal()),
            session_id: "s".into(),
            from_node_id: alice,
            kind: SignalKind::Offer,
            payload: Base64(vec![1]),
            expires_at: 1_120,
        };
        hub.with(&hint, |room| room.signal(hint, bob, signal, 1_000)).unwrap();
        hub.sweep(1_059);
        assert_eq!(hub.with_existing(&hint, |room| room.peers(&bob).len()), Some(1));
        hub.sweep(1_060);
        assert_eq!(hub.with_existing(&hint, |room| room.peers(&bob).len()), Some(0));
        assert_eq!(hub.with_existing(&hint, |room| room.signals_for(&bob, None, 0, 1_119).len()), Some(1));
        hub.sweep(1_120);
        assert_eq!(hub.with_existing(&hint, |_| ()), None);
    }
}
