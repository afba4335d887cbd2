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
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use felund_core::ids::{CircleHint, Cursor};

pub(crate) use fanout::Fanout;
pub(crate) use room::{Progress, Room};
use signals::Mailbox;

const SHARDS: usize = 64;

#[derive(Default)]
struct Shard {
    rooms: HashMap<CircleHint, Room>,
    /// Circles with messages on their way to the disk, and the last of them. Whoever comes meanwhile must not take the log
    /// for complete, and there need not be a room that has been told.
    writing: HashMap<CircleHint, Cursor>,
}

/// All rooms.
pub(crate) struct Hub {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    next_signal: AtomicU64,
    /// Bytes of all mailboxes.
    signal_bytes: Arc<AtomicUsize>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        // Mailbox cursors start at the clock, so that one from before a restart is not ahead of them.
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_micros());
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            next_signal: AtomicU64::new(u64::try_from(micros).unwrap_or(1)),
            signal_bytes: Arc::default(),
        }
    }

    fn shard(&self, hint: &CircleHint) -> MutexGuard<'_, Shard> {
        // SHARDS is not zero, so the remainder is an index.
        let shard = &self.shards[self.hasher.hash_one(hint) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to a circle's room, which is made when missing and forgotten when left empty.
    pub(crate) fn with<T>(&self, hint: &CircleHint, f: impl FnOnce(&mut Room) -> T) -> T {
        let mut shard = self.shard(hint);
        let writing = shard.writing.get(hint).copied().unwrap_or_default();
        let mailbox = || Mailbox::new(self.signal_bytes.clone());
        let room = shard.rooms.entry(*hint).or_insert_with(|| Room::new(*hint, writing, mailbox()));
        let result = f(room);
        if room.is_empty() {
            shard.rooms.remove(hint);
        }
        result
    }

    /// Does something to a circle's room if there is one.
    pub(crate) fn with_existing<T>(&self, hint: &CircleHint, f: impl FnOnce(&mut Room) -> T) -> Option<T> {
        self.shard(hint).existing(hint, f)
    }

    /// Messages of a circle up to `last` are on their way to the disk; `f` hands them to those who are there.
    fn writing(&self, hint: &CircleHint, last: Cursor, f: impl FnOnce(&mut Room)) {
        let mut shard = self.shard(hint);
        shard.writing.insert(*hint, last);
        shard.existing(hint, f);
    }

    /// They are on disk, or will never be: `f` tells the room which. It is given the last of them.
    fn written(&self, hint: &CircleHint, f: impl FnOnce(&mut Room, Cursor)) {
        let mut shard = self.shard(hint);
        if let Some(last) = shard.writing.remove(hint) {
            shard.existing(hint, |room| f(room, last));
        }
    }

    /// Ends what has expired: presences and signals. `now` in unix seconds.
    pub(crate) fn sweep(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.rooms.retain(|_, room| {
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

impl Shard {
    fn existing<T>(&mut self, hint: &CircleHint, f: impl FnOnce(&mut Room) -> T) -> Option<T> {
        let room = self.rooms.get_mut(hint)?;
        let result = f(room);
        if room.is_empty() {
            self.rooms.remove(hint);
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use felund_core::{
        ids::{Base64, NodeId},
        relay_api::{Capabilities, Peer, Signal, SignalKind},
    };

    use super::*;
    use crate::socket::Conn;

    async fn conn() -> Arc<Conn> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Arc::new(Conn::new(1, tcp))
    }

    #[tokio::test]
    async fn who_comes_while_a_message_is_being_written_waits_for_it() {
        let (hub, hint, conn) = (Hub::new(), CircleHint([1; 32]), conn().await);
        // Nobody is there to be told.
        hub.writing(&hint, Cursor(5), |_| ());
        hub.with(&hint, |room| room.attach(&conn, NodeId([2; 32]), Cursor(0), 0));
        let page = |last, more| {
            hub.with_existing(&hint, |room| {
                let Progress::Reading(after) = room.progress(conn.id) else { return Progress::Gone };
                room.advance(conn.id, after.max(last), more)
            })
        };
        assert_eq!(page(Cursor(4), false), Some(Progress::Reading(Cursor(4))), "it is not in the log yet");
        hub.written(&hint, Room::settle);
        assert_eq!(page(Cursor(5), false), Some(Progress::Live));
    }

    #[tokio::test]
    async fn who_comes_after_the_newest_message_has_expired_waits_for_nothing() {
        let (hub, hint, conn) = (Hub::new(), CircleHint([1; 32]), conn().await);
        let peer = Peer {
            node_id: NodeId([3; 32]),
            endpoints: vec![],
            capabilities: Capabilities::default(),
            observed_at: 1_000,
        };
        hub.with(&hint, |room| room.register(peer, 1_060));
        hub.writing(&hint, Cursor(5), |room| {
            room.publish(&room::Batch { frames: bytes::Bytes::new(), starts: vec![(Cursor(5), 0)] });
        });
        hub.written(&hint, Room::settle);
        let reached = hub.with_existing(&hint, |room| {
            room.attach(&conn, NodeId([2; 32]), Cursor(3), 0);
            assert_eq!(room.progress(conn.id), Progress::Reading(Cursor(3)));
            room.advance(conn.id, Cursor(3), false)
        });
        assert_eq!(reached, Some(Progress::Live));
    }

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
        assert_eq!(hub.signal_bytes.load(Ordering::Relaxed), 1);
        hub.sweep(1_120);
        assert_eq!(hub.with_existing(&hint, |_| ()), None);
        assert_eq!(hub.signal_bytes.load(Ordering::Relaxed), 0);
    }
}
