//! The sockets' frames, and the signals that go through them.

use super::{Answer, DISK_FULL_S, FULL_S, Relay, unix_s};
use crate::{
    config::{MAX_BATCH, MAX_SOCKET_FRAME},
    ids::{CircleHint, Cursor, NodeId},
    relay_api::{Signal, SignalRequest},
    sim::device::End,
    wire::{ClientFrame, Sealed, ServerFrame},
};

impl Relay {
    /// A message on a socket.
    pub(in crate::sim) fn frame(&mut self, from: End, bytes: &[u8], now: u64) {
        self.inspect("a socket's frame", bytes);
        if bytes.len() > MAX_SOCKET_FRAME {
            self.faults.push(format!("a socket's frame has {} bytes", bytes.len()));
        }
        let frame = match ClientFrame::from_bytes(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.faults.push(error.to_string()),
        };
        match frame {
            ClientFrame::Attach { token, after } => self.attach(from, &token, after, now),
            ClientFrame::Post { hint, seq, envelopes } => {
                let attached = self.rooms.get(&hint).is_some_and(|room| room.attached.contains_key(&from));
                if !attached || envelopes.len() > MAX_BATCH {
                    self.faults.push(format!("{} envelopes, attached: {attached}", envelopes.len()));
                }
                self.posts += 1;
                if self.refuses {
                    return self.refuse(
                        from,
                        Some(hint),
                        Some(seq),
                        "BAD_REQUEST",
                        "it is not wanted".into(),
                    );
                }
                if !self.has_room(envelopes.len()) {
                    let (code, retry_after_ms) = if self.disk_full {
                        ("UNAVAILABLE".into(), DISK_FULL_S * 1_000)
                    } else {
                        ("QUOTA_EXCEEDED".into(), FULL_S * 1_000)
                    };
                    let message = "it is full".into();
                    let (hint, seq) = (Some(hint), Some(seq));
                    let refused =
                        ServerFrame::Refused { hint, seq, code, message, retryable: true, retry_after_ms };
                    return self.pushes.push((from, refused));
                }
                match self.accept(hint, envelopes.into_iter().map(|sealed| sealed.0).collect()) {
                    Ok(_) if self.lose_stored > 0 => self.lose_stored -= 1,
                    Ok((mut stored, until)) => {
                        if self.misanswers {
                            stored.clear();
                        }
                        let answer = Answer::Frame(from, ServerFrame::Stored { hint, seq, stored });
                        self.answer_once_durable(until, answer);
                    }
                    Err(message) => self.refuse(from, Some(hint), Some(seq), "BAD_REQUEST", message),
                }
            }
            ClientFrame::Detach { hint } => self.leave(hint, from, now),
            ClientFrame::Ping { id } => self.pushes.push((from, ServerFrame::Pong { id })),
            ClientFrame::Ephemeral { hint, envelope } => {
                self.inspect("an ephemeral envelope", &envelope.0);
                let Some(room) = self.rooms.get(&hint) else { return };
                for to in room.attached.keys().filter(|to| **to != from) {
                    let envelope = envelope.clone();
                    self.pushes.push((*to, ServerFrame::Ephemeral { hint, envelope }));
                }
            }
            ClientFrame::Signal { hint, signal } => {
                let room = self.rooms.get(&hint);
                match room.and_then(|room| room.attached.get(&from)).copied() {
                    Some(node) => self.signal(hint, node, signal),
                    None => self.faults.push("a signal in a circle that is not attached".into()),
                }
            }
        }
    }

    /// Passes a signal on, unless it is to be lost.
    pub(super) fn signal(&mut self, hint: CircleHint, from_node_id: NodeId, mut request: SignalRequest) {
        self.inspect("a signal", &request.payload.0);
        if self.lose_signals > 0 {
            self.lose_signals -= 1;
            return;
        }
        if self.alter_signals {
            let middle = request.payload.0.len() / 2;
            request.payload.0[middle] ^= 1;
        }
        self.signals.push((hint, from_node_id, request.clone()));
        self.push_signal(hint, from_node_id, request);
    }

    fn push_signal(&mut self, hint: CircleHint, from: NodeId, request: SignalRequest) {
        let Some(room) = self.rooms.get(&hint) else { return };
        let to_node = request.to_node_id;
        let signal = as_passed_on(Cursor(self.signals.len() as u64), from, request);
        for to in room.attached.iter().filter(|(_, node)| **node == to_node).map(|(to, _)| *to) {
            self.pushes.push((to, ServerFrame::Signal { hint, signal: signal.clone() }));
        }
    }

    /// What waits for a node that polls.
    pub(super) fn signals_for(&self, hint: CircleHint, node: NodeId, after: Cursor) -> Vec<Signal> {
        let numbered = self.signals.iter().zip(1..).map(|(signal, at)| (Cursor(at), signal));
        let theirs = numbered
            .filter(|(at, (of, _, request))| *at > after && *of == hint && request.to_node_id == node);
        theirs.map(|(at, (_, from, request))| as_passed_on(at, *from, request.clone())).collect()
    }

    pub(in crate::sim) fn repeat_signals(&mut self) {
        for (hint, from, request) in self.signals.clone() {
            self.push_signal(hint, from, request);
        }
    }

    fn attach(&mut self, from: End, token: &str, after: Cursor, now: u64) {
        self.admits(token, now);
        let Some((hint, node)) = self.tokens.remove(token) else {
            return self.refuse(from, None, None, "INVALID_TOKEN", "the token is not known".into());
        };
        let (peers, server_time) = (self.peers(hint, node, now), unix_s(now));
        let after = self.in_log(after);
        self.pushes.push((from, ServerFrame::Attached { hint, peers, server_time }));
        let room = self.rooms.entry(hint).or_default();
        let news = !room.is_attached(&node);
        room.attached.insert(from, node);
        for entry in room.log.iter().filter(|entry| entry.cursor > after) {
            let envelope = Sealed(entry.sealed.clone());
            self.pushes.push((from, ServerFrame::Live { hint, cursor: entry.cursor, envelope }));
            self.backlog += 1;
        }
        let cursor = room.log.last().map(|entry| entry.cursor).unwrap_or_default();
        self.pushes.push((from, ServerFrame::CaughtUp { hint, cursor }));
        if news {
            self.tell_presence(hint, node, true, now);
        }
    }

    fn refuse(&mut self, to: End, hint: Option<CircleHint>, seq: Option<u64>, code: &str, message: String) {
        let (code, retryable) = (code.to_owned(), hint.is_none());
        let refused = ServerFrame::Refused { hint, seq, code, message, retryable, retry_after_ms: 0 };
        self.pushes.push((to, refused));
    }
}

fn as_passed_on(cursor: Cursor, from_node_id: NodeId, request: SignalRequest) -> Signal {
    let SignalRequest { session_id, kind, payload, .. } = request;
    Signal { cursor, session_id, from_node_id, kind, payload, expires_at: u64::MAX }
}
