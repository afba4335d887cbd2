//! The WebSocket of a link: attaching circles, frames, and noticing that it is dead.

use super::{Attach, Cx, LinkEvent, MANY, Ping, Post, RelayLink, Socket, http::Asked, said};
use crate::{
    config::{MAX_HOLD_MS, PING_INTERVAL_MS, PONG_TIMEOUT_MS, POST_PATIENCE_MS, POST_TIMEOUT_MS},
    ids::{CircleHint, Cursor},
    io::{ConnId, Output},
    wire::{ClientFrame, Sealed, ServerFrame},
};

/// A socket that ends sooner than this after it first carried something is not worth having at once again, milliseconds.
const SHORT_LIFE_MS: u64 = 5_000;
/// After so many of them in a row it is polled.
const MAX_SHORT_LIVED: u32 = 3;

impl RelayLink {
    /// Whether this link opened the socket.
    pub(crate) fn owns(&self, conn: ConnId) -> bool {
        matches!(self.socket, Socket::Opening { conn: own, .. } | Socket::Open { conn: own, .. } if own == conn)
    }

    pub(crate) fn connected(&mut self, cx: &mut Cx<'_>) {
        if let Socket::Opening { conn, hint, token, .. } = std::mem::replace(&mut self.socket, Socket::Closed)
        {
            let prove_by = Some(cx.now.mono + PONG_TIMEOUT_MS);
            self.socket = Socket::Open { conn, heard: cx.now.mono, ping: None, prove_by };
            self.attach(hint, conn, token, cx);
        }
    }

    pub(super) fn attach(&mut self, hint: CircleHint, conn: ConnId, token: String, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        leg.attach = Attach::Sent;
        leg.after = leg.cursor;
        send(conn, &ClientFrame::Attach { token, after: leg.cursor }, cx);
    }

    pub(super) fn detach(&self, hint: &CircleHint, cx: &mut Cx<'_>) {
        if let Socket::Open { conn, .. } = self.socket {
            send(conn, &ClientFrame::Detach { hint: *hint }, cx);
        }
    }

    pub(super) fn post_frame(&mut self, hint: CircleHint, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        let (seq, count) = (cx.id(), Self::batch_len(leg));
        let envelopes = leg.outbox.iter().take(count).map(|(_, sealed)| Sealed(sealed.clone())).collect();
        leg.post = Some(Post::Socket(seq, count));
        leg.post_sent = cx.now.mono;
        leg.post_by = cx.now.mono + (POST_TIMEOUT_MS << leg.post_failures.min(3));
        send(conn, &ClientFrame::Post { hint, seq, envelopes }, cx);
    }

    /// The socket is gone or could not be opened.
    pub(crate) fn disconnected(&mut self, cx: &mut Cx<'_>) {
        match std::mem::replace(&mut self.socket, Socket::Closed) {
            // What opens and carries nothing is as good as refused.
            Socket::Opening { .. } | Socket::Open { prove_by: Some(_), .. } => self.not_opened(cx),
            Socket::Open { .. } => {
                let ended_soon = cx.now.mono < self.proved_at + SHORT_LIFE_MS;
                self.short_lived = if ended_soon { self.short_lived + 1 } else { 0 };
                if self.short_lived < MAX_SHORT_LIVED { self.lost(cx) } else { self.socket_refused(cx) }
            }
            Socket::Closed => {}
        }
    }

    fn not_opened(&mut self, cx: &mut Cx<'_>) {
        if std::mem::take(&mut self.tickets) {
            // The request for a token is told why, and what to do.
            self.lost(cx);
        } else {
            self.socket_refused(cx);
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        self.dial_at = cx.now.mono + cx.jitter(100);
        self.without_socket(cx);
    }

    /// What was under way on the socket is not any more.
    pub(super) fn without_socket(&mut self, cx: &mut Cx<'_>) {
        self.socket = Socket::Closed;
        for leg in self.legs.values_mut() {
            leg.attach = Attach::No;
            if matches!(leg.post, Some(Post::Socket(..))) {
                leg.post = None;
            }
        }
        cx.events.push(LinkEvent::Changed);
    }

    pub(super) fn close(&mut self, reason: &'static str, cx: &mut Cx<'_>) {
        if let Socket::Opening { conn, .. } | Socket::Open { conn, .. } = self.socket {
            cx.out.push_back(Output::Close(conn, reason));
            self.lost(cx);
        }
    }

    /// As [`RelayLink::close`], for what the other end did; also if that was nothing at all.
    fn give_up(&mut self, reason: &'static str, cx: &mut Cx<'_>) {
        if let Socket::Open { conn, .. } = self.socket {
            cx.out.push_back(Output::Close(conn, reason));
            self.disconnected(cx);
        }
    }

    /// Deadlines of the socket: connecting, the first answer, silence, an unanswered probe.
    pub(super) fn check_socket(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        match &self.socket {
            Socket::Opening { deadline, conn, .. } if now >= *deadline => {
                cx.out.push_back(Output::Close(*conn, "connecting took too long"));
                self.not_opened(cx);
            }
            Socket::Open { prove_by: Some(by), .. } if now >= *by => {
                self.give_up("nothing comes through it", cx);
            }
            Socket::Open { ping: Some(ping), .. } if now >= ping.deadline => {
                self.tickets = self.socket_url.is_some();
                self.close("the relay no longer answers", cx);
            }
            Socket::Open { heard, ping: None, .. } if now >= heard + PING_INTERVAL_MS => {
                self.probe(PONG_TIMEOUT_MS, cx);
            }
            _ => {}
        }
    }

    /// Hands an ephemeral envelope to everyone connected, if the socket carries the circle.
    pub(crate) fn ephemeral(&self, hint: &CircleHint, sealed: Vec<u8>, cx: &mut Cx<'_>) {
        let live = self.legs.get(hint).is_some_and(|leg| leg.attach == Attach::Live);
        if let (Socket::Open { conn, .. }, true) = (&self.socket, live) {
            send(*conn, &ClientFrame::Ephemeral { hint: *hint, envelope: Sealed(sealed) }, cx);
        }
    }

    /// Asks for a sign of life within `within` milliseconds.
    pub(super) fn probe(&mut self, within: u64, cx: &mut Cx<'_>) {
        let (id, sent) = (cx.id(), cx.now.mono);
        if let Socket::Open { conn, ping, .. } = &mut self.socket {
            *ping = Some(Ping { id, sent, within, deadline: sent + within });
            let conn = *conn;
            send(conn, &ClientFrame::Ping { id }, cx);
        }
    }

    pub(super) fn socket_deadline(&self) -> Option<u64> {
        match &self.socket {
            Socket::Closed => None,
            Socket::Opening { deadline, .. } => Some(*deadline),
            Socket::Open { heard, ping, prove_by, .. } => {
                let silence = ping.map_or(*heard + PING_INTERVAL_MS, |ping| ping.deadline);
                Some(prove_by.map_or(silence, |by| by.min(silence)))
            }
        }
    }

    pub(super) fn arrived(&mut self, hint: CircleHint, cursor: Cursor, bytes: Vec<u8>, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        if cursor > leg.cursor {
            leg.cursor = cursor;
            leg.arriving = leg.arriving.map(|so_far| so_far.saturating_add(1));
            cx.events.push(LinkEvent::Envelope { hint, cursor, bytes });
        }
    }

    /// Nothing that was stored is lacking.
    pub(super) fn all_arrived(&mut self, hint: CircleHint, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        if leg.arriving.take() >= Some(MANY) {
            cx.events.push(LinkEvent::Changed);
        }
        cx.events.push(LinkEvent::CaughtUp { hint });
    }

    /// Reading has come to `cursor`. Where that does not lie behind what was asked for, the relay has lost its log and has
    /// another, which is read from its beginning: its places count now.
    pub(super) fn read_to(&mut self, hint: CircleHint, after: Cursor, cursor: Cursor, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint).filter(|_| cursor < after) else { return };
        (leg.cursor, leg.after) = (cursor, cursor);
        cx.events.push(LinkEvent::Back { hint, cursor });
    }

    /// The cursor that the socket's reading of a circle has come to.
    fn asked_after(&self, hint: &CircleHint) -> Cursor {
        self.legs.get(hint).map(|leg| leg.after).unwrap_or_default()
    }

    #[inline(never)]
    pub(crate) fn received(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        let Ok(frame) = ServerFrame::from_bytes(bytes) else {
            return self.give_up("the relay sent a malformed frame", cx);
        };
        if let Socket::Open { heard, ping, prove_by, .. } = &mut self.socket {
            // Envelopes that come for minutes need no answer, and the relay must hear of this side, too.
            if !matches!(frame, ServerFrame::Live { .. }) {
                *heard = cx.now.mono;
            }
            if matches!(frame, ServerFrame::Attached { .. } | ServerFrame::Refused { .. })
                && prove_by.take().is_some()
            {
                self.proved_at = cx.now.mono;
            }
            match (&frame, ping.as_mut()) {
                (ServerFrame::Pong { id }, Some(sent)) if sent.id == *id => {
                    self.rtt_ms = Some(cx.now.mono - sent.sent);
                    *ping = None;
                }
                // Whatever comes is a sign of life: the answer may lie behind much that was stored.
                (_, Some(sent)) => sent.deadline = cx.now.mono + sent.within,
                (_, None) => {}
            }
        }
        // What answers a post may lie behind all this.
        if !matches!(frame, ServerFrame::Pong { .. }) {
            for leg in self.legs.values_mut() {
                let by = (cx.now.mono + POST_TIMEOUT_MS).min(leg.post_sent + POST_PATIENCE_MS);
                leg.post_by = leg.post_by.max(by);
            }
        }
        match frame {
            ServerFrame::Attached { hint, peers, server_time } => {
                self.learn_clock(server_time, cx);
                if let Some(leg) = self.legs.get_mut(&hint) {
                    (leg.attach, leg.arriving) = (Attach::Live, Some(0));
                    (leg.unknown_times, leg.poll_failures) = (0, 0);
                    leg.hold.over();
                    leg.poll_hold.over();
                    self.polling = false;
                    self.recovered(cx);
                    cx.events.push(LinkEvent::Peers { hint, peers });
                    cx.events.push(LinkEvent::Changed);
                }
            }
            ServerFrame::Live { hint, cursor, envelope } => {
                // One lower than the message's own place: it is still to be taken in.
                let before = Cursor(cursor.0.saturating_sub(1));
                self.read_to(hint, self.asked_after(&hint), before, cx);
                // What comes next lies behind this. If not, one of the two was no place of the log, and the lower one counts:
                // after a higher one nothing would be heard any more.
                if let Some(leg) = self.legs.get_mut(&hint) {
                    (leg.cursor, leg.after) = (before, before);
                }
                self.arrived(hint, cursor, envelope.0, cx);
            }
            ServerFrame::CaughtUp { hint, cursor } => {
                self.read_to(hint, self.asked_after(&hint), cursor, cx);
                self.all_arrived(hint, cx);
                // Not before: the answer would wait behind what was stored.
                if self.rtt_ms.is_none() {
                    self.probe(PONG_TIMEOUT_MS, cx);
                }
            }
            ServerFrame::Stored { hint, seq, stored } => {
                let post = self.legs.get(&hint).and_then(|leg| leg.post);
                if let Some(Post::Socket(of, count)) = post
                    && of == seq
                {
                    if stored.len() == count {
                        self.posted(hint, count, cx);
                    } else {
                        let reason = "it confirms something else than was posted".into();
                        self.misanswered(hint, Asked::Post, reason, 0, cx);
                    }
                }
            }
            ServerFrame::Presence { hint, peer, online } => {
                cx.events.push(LinkEvent::Presence { hint, peer, online });
            }
            ServerFrame::Ephemeral { hint, envelope } => {
                cx.events.push(LinkEvent::Ephemeral { hint, bytes: envelope.0 });
            }
            ServerFrame::Signal { hint, signal } => {
                cx.events.push(LinkEvent::Signal { hint, payload: signal.payload.0 });
            }
            ServerFrame::Pong { .. } => {}
            ServerFrame::Refused { hint, seq, code, message, retryable, retry_after_ms } => {
                if let (Some(hint), "QUOTA_EXCEEDED") = (hint, code.as_str())
                    && let Some(Post::Socket(of, count @ 2..)) = self.legs.get(&hint).and_then(|leg| leg.post)
                    && seq == Some(of)
                {
                    return self.halve_batch(hint, count);
                }
                let retry_after_ms = retryable.then_some(retry_after_ms);
                self.frame_refused(hint, seq, said(message), retry_after_ms, cx);
            }
        }
    }

    fn frame_refused(
        &mut self,
        hint: Option<CircleHint>,
        seq: Option<u64>,
        message: String,
        retry_after_ms: Option<u64>,
        cx: &mut Cx<'_>,
    ) {
        let (now, ms) = (cx.now.mono, retry_after_ms.unwrap_or(0));
        let Some((hint, leg)) = hint.and_then(|hint| Some((hint, self.legs.get_mut(&hint)?))) else {
            // An attach whose token had expired names no circle: those that wait for an answer ask again.
            for leg in self.legs.values_mut().filter(|leg| leg.attach == Attach::Sent) {
                leg.attach = Attach::No;
                leg.hold.until = now + ms.clamp(1_000, MAX_HOLD_MS);
                // What was posted behind the attach is refused with it, and is to be posted again.
                leg.post = leg.post.filter(|post| matches!(post, Post::Http(..)));
            }
            return;
        };
        match leg.post {
            Some(Post::Socket(of, count)) if seq == Some(of) => match retry_after_ms {
                Some(after) => self.hold_posts(hint, after, message, cx),
                None => self.post_refused(hint, count, message, cx),
            },
            _ if leg.attach == Attach::Sent => {
                leg.attach = Attach::No;
                leg.hold.refused(now, ms, message);
                cx.events.push(LinkEvent::Changed);
            }
            _ => {}
        }
    }
}

pub(super) fn send(conn: ConnId, frame: &ClientFrame, cx: &mut Cx<'_>) {
    cx.out.push_back(Output::Transmit(conn, frame.to_bytes()));
}
