//! One circle's room: its sockets and what each of them has had.
//!
//! A socket is either *live* (it gets what is published) or *reading* (its task sends it pages of the log). It
//! turns live under the room's lock, and only when it has everything published so far; so there is no gap, no
//! repetition and no disorder between the two. A live socket whose queue is full turns reading again; what is in no log
//! it is told once it has everything that is.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use felund_core::{
    ids::{CircleHint, Cursor, NodeId},
    relay_api::Peer,
    wire::ServerFrame,
};

use super::{presence::Member, signals::Mailbox};
use crate::{
    metrics::METRICS,
    socket::{Conn, Sent, frame},
};

/// A circle's sockets, members and mailbox.
#[derive(Debug)]
pub(crate) struct Room {
    pub(super) hint: CircleHint,
    /// The last cursor handed to the live sockets while this room has existed, or on its way to the disk when it began.
    published: Cursor,
    /// Everything up to here is on disk, as far as this room was told.
    settled: Cursor,
    pub(super) listeners: Vec<Listener>,
    pub(super) members: HashMap<NodeId, Member>,
    pub(super) mailbox: Mailbox,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) conn: Arc<Conn>,
    pub(super) node: NodeId,
    /// The last cursor sent to it.
    last: Cursor,
    /// What was on disk when it began to read its present page: it has all of that, be it that the log has forgotten it.
    settled: Cursor,
    live: bool,
    /// Whether a change of who is there did not fit into its queue: it is to be told anew who is.
    outdated: bool,
    /// Whether it is still to be told that its first backlog is through.
    announce: bool,
}

/// Where a reading socket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has to read on after this cursor.
    Reading(Cursor),
    /// It is live.
    Live,
    /// It does not listen to this circle.
    Gone,
}

/// Frames of consecutive messages of one circle, encoded once for everyone.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) frames: Bytes,
    /// Each message's cursor and where its frame starts.
    pub(super) starts: Vec<(Cursor, usize)>,
}

impl Room {
    /// `writing`: the last message of the circle that is on its way to the disk.
    pub(super) fn new(hint: CircleHint, writing: Cursor, mailbox: Mailbox) -> Self {
        Self {
            hint,
            published: writing,
            settled: Cursor(0),
            listeners: Vec::new(),
            members: HashMap::new(),
            mailbox,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.members.is_empty() && self.mailbox.is_empty()
    }

    /// How many sockets listen.
    pub(crate) fn listener_count(&self) -> usize {
        self.listeners.len()
    }

    /// Adds a socket that will read the log after `after`, tells it who is there and the others that it came.
    pub(crate) fn attach(&mut self, conn: &Arc<Conn>, node: NodeId, after: Cursor, now: u64) {
        self.remove_listener(conn.id, Some(node), now);
        self.listeners.push(Listener {
            conn: conn.clone(),
            node,
            last: after,
            settled: Cursor(0),
            live: false,
            outdated: false,
            announce: true,
        });
        conn.send_or_drop(self.attached(&node, now));
        self.socket_opened(node, now);
        self.mailbox.push(self.hint, &node, conn);
    }

    /// Who is there, for a node's socket.
    fn attached(&self, node: &NodeId, now: u64) -> Bytes {
        let attached = ServerFrame::Attached { hint: self.hint, peers: self.peers(node), server_time: now };
        frame::binary(&attached.to_bytes())
    }

    /// Takes a socket out and tells the others if its node is gone with it.
    pub(crate) fn detach(&mut self, conn: u64, now: u64) {
        self.remove_listener(conn, None, now);
    }

    /// `stays`: a node that listens again at once, which the others need not hear about.
    fn remove_listener(&mut self, conn: u64, stays: Option<NodeId>, now: u64) {
        let Some(index) = self.listeners.iter().position(|l| l.conn.id == conn) else { return };
        let node = self.listeners.swap_remove(index).node;
        self.socket_closed(node, stays == Some(node), now);
    }

    /// Where a socket stands; it may read its next page now.
    pub(crate) fn progress(&mut self, conn: u64) -> Progress {
        match self.listeners.iter_mut().find(|l| l.conn.id == conn) {
            None => Progress::Gone,
            Some(listener) if listener.live => Progress::Live,
            Some(listener) => {
                listener.settled = self.settled;
                Progress::Reading(listener.last)
            }
        }
    }

    /// Tells a socket that has read the whole log what did not fit into its queue before.
    pub(crate) fn make_up(&mut self, conn: u64, now: u64) {
        let Some(index) = self.listeners.iter().position(|l| l.conn.id == conn) else { return };
        let Listener { conn, node, last, live, outdated, .. } = &self.listeners[index];
        let (conn, node) = (conn.clone(), *node);
        if *live || *last < self.published {
            return;
        }
        if *outdated && conn.send(self.attached(&node, now)) == Sent::Yes {
            let listener = &mut self.listeners[index];
            (listener.outdated, listener.announce) = (false, true);
        }
        self.mailbox.push(self.hint, &node, &conn);
    }

    /// A reading socket has been sent the log up to `last`, and the log held no more when it was read.
    pub(crate) fn advance(&mut self, conn: u64, last: Cursor, more: bool) -> Progress {
        let hint = self.hint;
        let published = self.published;
        let Some(listener) = self.listeners.iter_mut().find(|l| l.conn.id == conn) else {
            return Progress::Gone;
        };
        let last = if more { last } else { last.max(listener.settled) };
        listener.last = last;
        if more || last < published || listener.outdated || self.mailbox.waits_for(&listener.node) {
            return Progress::Reading(last);
        }
        listener.live = true;
        if listener.announce {
            listener.announce = false;
            let caught_up = ServerFrame::CaughtUp { hint, cursor: last };
            listener.conn.send_or_drop(frame::binary(&caught_up.to_bytes()));
        }
        Progress::Live
    }

    /// Hands freshly stored messages to every live socket.
    pub(super) fn publish(&mut self, batch: &Batch) {
        let Some(&(last, _)) = batch.starts.last() else { return };
        self.published = last;
        for listener in self.listeners.iter_mut().filter(|l| l.live) {
            let new = batch.starts.partition_point(|(cursor, _)| *cursor <= listener.last);
            let Some(&(_, start)) = batch.starts.get(new) else { continue };
            match listener.conn.send(batch.frames.slice(start..)) {
                Sent::Yes => {
                    listener.last = last;
                    METRICS.delivered.add((batch.starts.len() - new) as u64);
                }
                Sent::Full => listener.fall_behind(),
                Sent::Closed => {}
            }
        }
    }

    /// What was handed out up to `last` is on disk.
    pub(super) fn settle(&mut self, last: Cursor) {
        self.settled = self.settled.max(last);
    }

    /// What was handed out after `last` did not get into the log, so nobody needs to wait for it there.
    pub(super) fn withdraw(&mut self, last: Cursor) {
        self.published = self.published.min(last);
    }

    /// Sends a frame to every socket but one. Those that it does not fit into the queue of do not get it.
    pub(crate) fn broadcast(&self, frame: &Bytes, except: u64) {
        for listener in self.listeners.iter().filter(|l| l.conn.id != except) {
            let _ = listener.conn.send(frame.clone());
        }
    }

    /// Tells the sockets of all nodes but one that it has come or gone.
    pub(super) fn tell_others(&mut self, node: &NodeId, peer: Peer, online: bool) {
        if self.listeners.iter().all(|l| l.node == *node) {
            return;
        }
        let presence = ServerFrame::Presence { hint: self.hint, peer, online };
        let presence = frame::binary(&presence.to_bytes());
        for listener in self.listeners.iter_mut().filter(|l| l.node != *node) {
            if listener.conn.send(presence.clone()) == Sent::Full {
                listener.outdated = true;
                listener.fall_behind();
            }
        }
    }
}

impl Listener {
    /// Its queue is full: it reads on from the log, and is told the rest after that.
    pub(super) fn fall_behind(&mut self) {
        if std::mem::take(&mut self.live) {
            METRICS.sockets_lagged.add(1);
            self.conn.mark_lagged();
        }
    }
}
