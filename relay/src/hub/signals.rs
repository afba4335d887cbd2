//! Sealed signaling mailboxes: short-lived, bounded, in memory.
//!
//! A signal that arrives at a connected recipient is pushed, as soon as its queue takes it; it also stays until it
//! expires, for a recipient that polls. A restart loses what is waiting, which signaling survives by its own retries.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use felund_core::{
    config::MAX_SIGNAL_LEN,
    ids::{CircleHint, NodeId},
    relay_api::Signal,
    wire::ServerFrame,
};

use super::room::Room;
use crate::socket::{Conn, Sent, frame};

/// Most signals waiting for one recipient.
const MAX_PER_RECIPIENT: usize = 128;
/// Most bytes waiting in one circle.
const MAX_BYTES: usize = 256 * MAX_SIGNAL_LEN;
/// Most bytes waiting in all circles together: anybody can make circles.
const MAX_ALL_BYTES: usize = 256 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Mailbox {
    waiting: Vec<Waiting>,
    bytes: usize,
    /// The bytes of all mailboxes.
    all: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Waiting {
    to: NodeId,
    signal: Signal,
    pushed: bool,
}

/// The recipient's or the circle's mailbox is full, or all together are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MailboxFull;

impl Mailbox {
    pub(super) const fn new(all: Arc<AtomicUsize>) -> Self {
        Self { waiting: Vec::new(), bytes: 0, all }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn expire(&mut self, now: u64) {
        self.waiting.retain(|waiting| waiting.signal.expires_at > now);
        let left = self.waiting.iter().map(|waiting| waiting.signal.payload.0.len()).sum();
        self.all.fetch_sub(self.bytes - left, Ordering::Relaxed);
        self.bytes = left;
    }

    /// Whether something waits for a node that has not been pushed.
    pub(super) fn waits_for(&self, node: &NodeId) -> bool {
        self.waiting.iter().any(|waiting| waiting.to == *node && !waiting.pushed)
    }

    /// Pushes what waits for a node, as much as fits into its socket's queue.
    pub(super) fn push(&mut self, hint: CircleHint, node: &NodeId, conn: &Conn) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.to == *node && !waiting.pushed) {
            let signal = ServerFrame::Signal { hint, signal: waiting.signal.clone() };
            waiting.pushed = conn.send(frame::binary(&signal.to_bytes())) == Sent::Yes;
            if !waiting.pushed {
                return;
            }
        }
    }
}

impl Room {
    /// Takes a signal in and pushes it to its recipient's sockets.
    pub(crate) fn signal(
        &mut self,
        hint: CircleHint,
        to: NodeId,
        signal: Signal,
        now: u64,
    ) -> Result<(), MailboxFull> {
        self.mailbox.expire(now);
        let size = signal.payload.0.len();
        let theirs = self.mailbox.waiting.iter().filter(|waiting| waiting.to == to).count();
        let all = self.mailbox.all.load(Ordering::Relaxed);
        if theirs >= MAX_PER_RECIPIENT || self.mailbox.bytes + size > MAX_BYTES || all + size > MAX_ALL_BYTES
        {
            return Err(MailboxFull);
        }
        let mut pushed = false;
        let mut bytes = None;
        for listener in self.listeners.iter_mut().filter(|l| l.node == to) {
            let bytes = bytes.get_or_insert_with(|| {
                frame::binary(&ServerFrame::Signal { hint, signal: signal.clone() }.to_bytes())
            });
            match listener.conn.send(bytes.clone()) {
                Sent::Yes => pushed = true,
                Sent::Full => listener.fall_behind(),
                Sent::Closed => {}
            }
        }
        self.mailbox.bytes += size;
        self.mailbox.all.fetch_add(size, Ordering::Relaxed);
        self.mailbox.waiting.push(Waiting { to, signal, pushed });
        Ok(())
    }

    /// What waits for a node after a cursor, of one session or of all.
    pub(crate) fn signals_for(
        &mut self,
        node: &NodeId,
        session: Option<&str>,
        after: u64,
        now: u64,
    ) -> Vec<Signal> {
        self.mailbox.expire(now);
        let waiting = self.mailbox.waiting.iter_mut().filter(|waiting| {
            waiting.to == *node
                && waiting.signal.cursor.0 > after
                && session.is_none_or(|session| waiting.signal.session_id == session)
        });
        waiting
            .map(|waiting| {
                waiting.pushed = true;
                waiting.signal.clone()
            })
            .collect()
    }
}
