//! DataChannels as the node sees them: to whom one is wanted, and by what path signals travel.

use sha2::Digest as _;

use super::Node;
use crate::{
    config::{DIAL_FIRST_MS, MAX_FORWARDED, MESH_DEGREE, SIGNAL_SKEW_MS, SIGNAL_TTL_MIN_S},
    ids::{Base64, CircleId, NodeId},
    io::{ConnId, RtcEvent},
    relay_api::SignalRequest,
    route::{
        relay::Cx,
        rtc::{Letter, Rtc, RtcOut, SessionId, Signal},
    },
    sorted::{SortedMap, SortedSet},
    view::LinkView,
    wire::PeerFrame,
};

/// Most members that one signal is handed to while it is not known which of them has a session with its recipient.
const MAX_CARRIERS: usize = 3;
/// What one session may have forwarded counts anew after this long, in milliseconds.
const FORWARD_WINDOW_MS: u64 = 10_000;

/// Knocks after which somebody else is asked first.
const PATIENCE: u32 = 3;

/// A draw that stays the same, for this node and that one.
fn lot(me: &NodeId, node: &NodeId) -> [u8; 32] {
    sha2::Sha256::new().chain_update(me.0).chain_update(node.0).finalize().into()
}

/// Signals of others that a session had forwarded lately.
#[derive(Debug, Default)]
pub(super) struct Forwarded {
    since: u64,
    count: u32,
}

impl Node {
    pub(super) fn with_rtc(&mut self, act: impl FnOnce(&mut Rtc, &mut Cx<'_>, &mut Vec<RtcOut>)) {
        let Some(me) = &self.me else { return };
        let (mut out, mut learned) = (Vec::new(), Vec::new());
        let mut cx = Cx {
            now: self.now,
            key: &me.key,
            rng: &mut self.rng,
            next_id: &mut self.next_id,
            out: &mut self.outputs,
            events: &mut learned,
        };
        act(&mut self.rtc, &mut cx, &mut out);
        for out in out {
            match out {
                RtcOut::Send { circle, to, session, signal } => self.send_signal(circle, to, session, signal),
                RtcOut::Opened { conn, offered, binding } => {
                    self.with_direct(|direct, secrets, cx, _| {
                        direct.channel(conn, offered, binding, secrets, cx);
                    });
                }
                RtcOut::Lost { conn } => self.with_direct(|direct, _, cx, events| {
                    direct.close(conn, "the path to the member is lost", cx, events);
                }),
                RtcOut::Doubt { node } => self.direct.doubt(node, self.now.mono),
            }
        }
    }

    #[inline(never)]
    pub(super) fn rtc_happened(&mut self, conn: ConnId, event: RtcEvent) {
        self.with_rtc(|rtc, cx, out| rtc.happened(conn, event, cx, out));
    }

    pub(super) fn rtc_ended(&mut self, conn: ConnId) {
        self.with_rtc(|rtc, cx, _| rtc.forget(conn, None, cx));
    }

    /// Lets the channels work.
    #[inline(never)]
    pub(super) fn drive_rtc(&mut self) {
        if !self.rtc.is_enabled() {
            return;
        }
        let sessions: SortedSet<ConnId> = self.direct.conns().collect();
        let connected: SortedSet<NodeId> =
            self.direct.sessions().map(|(_, session)| session.peer()).collect();
        let mut knocked = false;
        self.with_rtc(|rtc, cx, out| {
            rtc.settle(|conn| sessions.contains(&conn), cx);
            knocked = rtc.drive(&connected, cx, out);
        });
        if knocked {
            self.want_channels();
        }
    }

    /// Works out anew to whom a channel is wanted: to members that seem to be there and are not reached directly.
    pub(super) fn want_channels(&mut self) {
        if !self.rtc.is_enabled() {
            return;
        }
        let Some(me) = self.me.as_ref().map(|me| me.key.id()) else { return };
        let mut wanted: SortedMap<NodeId, (CircleId, u64)> = SortedMap::new();
        let degrees = self.direct.degrees();
        let homes = self.circles.values().filter_map(|circle| Some((circle.id, circle.relay.clone()?)));
        self.rtc.servers.set_homes(homes.collect());
        for circle in self.circles.values() {
            if !self.rtc.has_way(circle.id, self.now.wall) {
                continue;
            }
            let link = circle.relay.as_ref().and_then(|relay| self.links.get(relay));
            let linked = link.is_some_and(|link| {
                matches!(link.view(&circle.hint, self.now.mono), LinkView::Live | LinkView::Polling)
            });
            // What a member that is connected carries may reach whom it is connected to.
            let carried = !circle.direct.is_empty();
            let there = |node: &NodeId| carried || linked && circle.online.contains(node);
            let mut others: Vec<NodeId> = circle.state.members().map(|(node, _)| *node).collect();
            others.retain(|node| *node != me && !circle.direct.contains(node) && there(node));
            // By lot, a different one for every node, so that no member becomes everybody's; who did not answer comes
            // last, and whoever else wants a connection is let in by the other side's lot.
            others.sort_by_cached_key(|node| (self.rtc.failures(node) > PATIENCE, lot(&me, node)));
            let lacks = MESH_DEGREE.saturating_sub(degrees.get(&circle.id).copied().unwrap_or(0));
            let (needed, rest) = others.split_at(lacks.min(others.len()));
            for node in needed.iter().chain(rest.iter().filter(|node| self.direct.is_wanted(**node))) {
                let dialed = self.direct.dials && self.direct.known(circle.id).any(|(of, _)| of == *node);
                let delay = if dialed { DIAL_FIRST_MS } else { 0 };
                wanted.entry(*node).or_insert((circle.id, delay));
            }
        }
        self.rtc.want(&wanted, self.now.mono, self.now.wall);
    }

    /// Seals a signal and hands it to the relay if the member is there, else to members that may be connected to it.
    fn send_signal(&mut self, id: CircleId, to: NodeId, session: SessionId, signal: Signal) {
        let (Some(circle), Some(me)) = (self.circles.get(&id), &self.me) else { return };
        let Some(wrap_key) = circle.state.member(&to).map(|hello| hello.wrap_key) else { return };
        // Where the wall clock was ahead once, nobody would take a signal until it is as late as that.
        if self.signaled_at > self.now.wall.saturating_add(SIGNAL_SKEW_MS) {
            self.signaled_at = 0;
        }
        self.signaled_at = self.now.wall.max(self.signaled_at + 1);
        let kind = signal.kind();
        let letter = Letter::new(session, self.signaled_at, signal);
        let Some(payload) = letter.seal(&me.key, &id, &to, &wrap_key, &mut self.rng.0) else { return };
        if circle.online.contains(&to)
            && let Some(relay) = circle.relay.clone()
        {
            let hint = circle.hint;
            let session_id = hex::encode(session);
            let request = SignalRequest {
                session_id,
                to_node_id: to,
                kind,
                payload: Base64(payload.clone()),
                ttl_s: SIGNAL_TTL_MIN_S,
            };
            let (mut request, mut taken) = (Some(request), false);
            self.with_link(
                |link| link.is_at(&relay),
                |link, cx| taken = request.take().is_some_and(|request| link.signal(hint, request, cx)),
            );
            if taken {
                return;
            }
        }
        let carriers = self.direct.sharing(id);
        let direct = carriers.iter().position(|(_, node, _)| *node == to).map(|at| carriers[at]);
        let carriers = direct.map_or(carriers, |only| vec![only]);
        for (conn, _, place) in carriers.into_iter().take(MAX_CARRIERS) {
            self.send_frame(conn, &PeerFrame::Signal { circle: place, to, payload: payload.clone() });
        }
    }

    /// A signal that a session brought: for this node, or for one that it has a session with.
    pub(super) fn carry_signal(&mut self, from: ConnId, id: CircleId, to: NodeId, payload: Vec<u8>) {
        if self.me.as_ref().is_some_and(|me| me.key.id() == to) {
            return self.signaled(id, &payload);
        }
        let now = self.now.mono;
        let forwarded = self.forwarded.entry(from).or_default();
        if now >= forwarded.since + FORWARD_WINDOW_MS {
            *forwarded = Forwarded { since: now, count: 0 };
        }
        forwarded.count += 1;
        if forwarded.count > MAX_FORWARDED {
            return;
        }
        let sharing = self.direct.sharing(id);
        if let Some((conn, _, circle)) =
            sharing.into_iter().find(|(conn, node, _)| *node == to && *conn != from)
        {
            self.send_frame(conn, &PeerFrame::Signal { circle, to, payload });
        }
    }

    /// A sealed signal for this node. What does not open, or is not a member's, is dropped.
    pub(super) fn signaled(&mut self, id: CircleId, payload: &[u8]) {
        let (Some(circle), Some(me)) = (self.circles.get(&id), &self.me) else { return };
        let (from, letter) = match Letter::open(payload, &me.key, &id, self.now.wall) {
            Ok(opened) => opened,
            Err(error) => {
                let count = self.bad_signals.entry(error.reason()).or_default();
                *count = count.saturating_add(1);
                return;
            }
        };
        if from == me.key.id() || circle.state.member(&from).is_none() {
            return;
        }
        let connected = self.direct.sessions().any(|(_, session)| session.peer() == from);
        self.with_rtc(|rtc, cx, out| rtc.signaled(from, id, letter, connected, cx, out));
    }
}
