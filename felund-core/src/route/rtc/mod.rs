//! DataChannels to members: when one is tried, who offers, and what becomes of it (`docs/protocol.md` §12.7).
//!
//! Roles are fixed, so that two offers can never meet: of two nodes the one with the smaller id offers, whoever wants
//! the connection. A *knock* asks for one; it costs nothing, and only its answer makes either side create a peer
//! connection, of which a browser's tab has few. Once a channel is open it is a connection like any other, and
//! [`super::direct`] runs the session's handshake on it, bound to both certificates; this room then watches the path
//! below and restarts ICE when it breaks.

mod conn;
mod sdp;
mod signal;

use self::conn::{Conn, Step};
pub(crate) use self::signal::{Letter, SessionId, Signal};
use super::relay::Cx;
use crate::{
    config::{
        KNOCK_MAX_MS, KNOCK_MIN_MS, MAX_CHANNELS_OPEN, RTC_ATTEMPT_MS, RTC_BETTER_MAX_MS, RTC_BETTER_MIN_MS,
        RTC_BURST, RTC_GRACE_MS, RTC_REFILL_MS, RTC_REFILL_NATIVE_MS,
    },
    ice::{Servers, has_turn, without_turn},
    ids::{CircleId, NodeId},
    io::{ConnId, Output, RtcCommand, RtcEvent, RtcPath},
    keys::random,
    session::Binding,
    sorted::{SortedMap, SortedSet},
};

/// SHA-256 of a DTLS certificate.
type Fingerprint = [u8; 32];

/// A member remembered for longer than a connection: what was tried, and what must not be tried again.
#[derive(Debug, Default)]
struct Peer {
    /// The circle to signal in, while a connection is wanted.
    wanted: Option<CircleId>,
    /// When it may be knocked at (again), and offered to.
    due: u64,
    failures: u32,
    /// Times a path without a TURN server was looked for in vain.
    looked: u32,
    /// `sent_at` of the newest knock or offer taken: none that is not newer is taken again.
    heard: u64,
}

impl Peer {
    /// How long until a path without a TURN server is looked for (again), in milliseconds.
    fn patience(&self) -> u64 {
        RTC_BETTER_MIN_MS.saturating_mul(3_u64.saturating_pow(self.looked)).min(RTC_BETTER_MAX_MS)
    }
}

/// What the node does for this room.
#[derive(Debug)]
pub(crate) enum RtcOut {
    /// Seal it and send it by whatever path there is.
    Send { circle: CircleId, to: NodeId, session: SessionId, signal: Signal },
    /// A channel is open: let a session begin on it.
    Opened { conn: ConnId, offered: bool, binding: Binding },
    /// An open channel's path is lost for good.
    Lost { conn: ConnId },
    /// A member believes that there is no connection to it: ask the one there seems to be.
    Doubt { node: NodeId },
}

/// All DataChannels of a node and the attempts at more.
#[derive(Debug, Default)]
pub(crate) struct Rtc {
    /// Whether this platform can make peer connections.
    enabled: bool,
    peers: SortedMap<NodeId, Peer>,
    conns: SortedMap<ConnId, Conn>,
    pub(crate) servers: Servers,
    /// Connections go through TURN servers only: members are not to learn where this device is.
    relay_only: bool,
    /// Peer connections that may be created at once, when that last grew, and how long it takes to, in milliseconds.
    tokens: u32,
    refilled: u64,
    refill: u64,
}

impl Rtc {
    /// Whether connections can be made, whether servers are spoken to over TCP and TLS as well, and whether this is a
    /// browser's tab, which can create some hundred in its life.
    pub(crate) fn new(enabled: bool, streams: bool, tab: bool) -> Self {
        let refill = if tab { RTC_REFILL_MS } else { RTC_REFILL_NATIVE_MS };
        Self { enabled, servers: Servers::new(streams), tokens: RTC_BURST, refill, ..Self::default() }
    }

    pub(crate) const fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(crate) fn owns(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// Whether connections go through TURN servers only. Those that were made otherwise end, open ones included; whose
    /// session is then over is for the sessions' room to find out.
    pub(crate) fn set_relay_only(&mut self, relay_only: bool, why: &'static str, cx: &mut Cx<'_>) {
        self.relay_only = relay_only;
        let others = self.conns.iter().filter(|(_, conn)| !conn.open && conn.relay_only != relay_only);
        for id in others.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.forget(id, Some(why), cx);
        }
    }

    /// Whether a connection in a circle may be tried: a device that hides needs a TURN server.
    pub(crate) fn has_way(&self, circle: CircleId, wall: u64) -> bool {
        !self.relay_only || has_turn(&self.servers.for_circle(Some(circle), wall))
    }

    /// How a connection reaches its member: nothing if it is no channel, and little before the platform has said it.
    pub(crate) fn path(&self, conn: ConnId) -> Option<Option<RtcPath>> {
        self.conns.get(&conn).map(|conn| conn.path)
    }

    /// Members a connection is wanted to: the circle to signal in, and how long other ways have before the first knock.
    pub(crate) fn want(&mut self, wanted: &SortedMap<NodeId, (CircleId, u64)>, now: u64, wall: u64) {
        for (node, (circle, delay)) in wanted {
            let peer = self.peers.entry(*node).or_default();
            if peer.wanted.replace(*circle).is_none() {
                peer.due = peer.due.max(now + delay);
            }
        }
        for (node, peer) in &mut self.peers {
            if !wanted.contains_key(node) {
                peer.wanted = None;
            }
        }
        let conns = &self.conns;
        self.peers.retain(|node, peer| {
            let stale = peer.heard + 2 * crate::config::SIGNAL_SKEW_MS < wall && peer.due <= now;
            peer.wanted.is_some() || !stale || conns.values().any(|conn| conn.node == *node)
        });
    }

    /// Tries with a member in a row that led to nothing.
    pub(crate) fn failures(&self, node: &NodeId) -> u32 {
        self.peers.get(node).map_or(0, |peer| peer.failures)
    }

    /// A member has come: what failed before says nothing about now.
    pub(crate) fn came(&mut self, node: NodeId, now: u64) {
        if let Some(peer) = self.peers.get_mut(&node) {
            (peer.failures, peer.due) = (0, now);
        }
    }

    /// The device woke or the network changed.
    pub(crate) fn wake(&mut self, now: u64) {
        for peer in self.peers.values_mut() {
            (peer.failures, peer.due) = (0, peer.due.min(now));
        }
    }

    /// When [`Rtc::drive`] has something to do.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let conns = self.conns.values().filter_map(Conn::deadline);
        let room = self.conns.len() < MAX_CHANNELS_OPEN;
        let knocks =
            self.peers.iter().filter(|(node, peer)| room && peer.wanted.is_some() && !self.busy(node));
        conns.chain(knocks.map(|(_, peer)| peer.due)).min()
    }

    fn busy(&self, node: &NodeId) -> bool {
        self.conns.values().any(|conn| conn.node == *node)
    }

    /// Deadlines, candidates that wait to be told, and knocks that are due; whether there were any of these.
    pub(crate) fn drive(
        &mut self,
        connected: &SortedSet<NodeId>,
        cx: &mut Cx<'_>,
        out: &mut Vec<RtcOut>,
    ) -> bool {
        let now = cx.now.mono;
        for conn in self.conns.values_mut() {
            conn.flush(now, out);
        }
        let needless =
            |conn: &Conn| !conn.open && conn.offers && !conn.better && connected.contains(&conn.node);
        let due: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| needless(conn) || conn.due.is_some_and(|due| due <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            match self.conns.get_mut(&id) {
                Some(conn) if conn.step == Step::Shaky && conn.offers => {
                    conn.renew(id, self.servers.for_circle(Some(conn.circle), cx.now.wall), cx);
                    restart(id, conn, cx);
                }
                Some(conn) if conn.step == Step::Shaky && !conn.overdue => {
                    // The other side is to restart; it has as long as the restart itself may take.
                    conn.overdue = true;
                    conn.due = Some(now + RTC_ATTEMPT_MS);
                }
                _ => self.fail(id, cx, out),
            }
        }
        self.look_for_better(cx);
        let room = MAX_CHANNELS_OPEN.saturating_sub(self.conns.len());
        let knocks: Vec<(NodeId, CircleId)> = self
            .peers
            .iter()
            .filter(|(node, peer)| peer.due <= now && !self.busy(node))
            .filter_map(|(node, peer)| Some((*node, peer.wanted?)))
            .take(room)
            .collect();
        let any = !knocks.is_empty();
        for (to, circle) in knocks {
            self.put_off(to, KNOCK_MIN_MS, cx);
            out.push(RtcOut::Send {
                circle,
                to,
                session: random(&mut cx.rng.0),
                signal: Signal::Knock { answer: false },
            });
        }
        any
    }

    /// Begins another connection where the one that is open leads through a TURN server: a direct path may merely have
    /// been found too late. The old one stays until the new one is open.
    fn look_for_better(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let due = self.conns.iter().filter(|(_, conn)| conn.better_at.is_some_and(|at| at <= now));
        let due: Vec<_> = due.map(|(id, conn)| (*id, conn.node, conn.circle)).collect();
        for (id, node, circle) in due {
            let looks = self.offer(node, circle, cx).is_some();
            let peer = self.peers.entry(node).or_default();
            // What was not possible at all, for want of budget, is no look in vain.
            peer.looked += u32::from(looks);
            let again = now + peer.patience();
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.better_at = Some(again);
            }
        }
    }

    /// The platform says which path a connection takes.
    fn found_path(&mut self, id: ConnId, path: RtcPath, now: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let peer = self.peers.entry(conn.node).or_default();
        conn.path = Some(path);
        if !conn.is_through_turn() {
            (conn.better_at, peer.looked) = (None, 0);
        } else if conn.offers && !conn.relay_only {
            conn.better_at.get_or_insert(now + peer.patience());
        }
    }

    /// The next try with a member backs off from `first`.
    fn put_off(&mut self, node: NodeId, first: u64, cx: &mut Cx<'_>) {
        let peer = self.peers.entry(node).or_default();
        let wait = first.saturating_mul(1 << peer.failures.min(16)).min(KNOCK_MAX_MS);
        peer.failures += 1;
        peer.due = cx.now.mono + cx.jitter(wait);
    }

    /// A member's signal, opened and checked. `connected`: a session with it seems to be there.
    pub(crate) fn signaled(
        &mut self,
        from: NodeId,
        circle: CircleId,
        letter: Letter,
        connected: bool,
        cx: &mut Cx<'_>,
        out: &mut Vec<RtcOut>,
    ) {
        if !self.enabled {
            return;
        }
        let session = letter.session;
        let known =
            self.conns.iter().find(|(_, c)| c.node == from && c.session == session).map(|(id, _)| *id);
        match letter.signal {
            Signal::Knock { answer } => {
                if self.is_news(from, letter.sent_at) {
                    self.knocked(from, circle, answer, connected, cx, out);
                }
            }
            Signal::Offer { round: 0, sdp } => {
                // An offer from the side that answers loses, whatever it says.
                if from < cx.key.id() && known.is_none() && self.is_news(from, letter.sent_at) {
                    self.offered(from, circle, session, sdp, cx, out);
                }
            }
            signal => {
                let Some(id) = known else { return };
                if matches!(signal, Signal::Bye) {
                    if self.conns.get(&id).is_some_and(|conn| !conn.open) {
                        self.forget(id, Some("the other side gave it up"), cx);
                    }
                } else if let Some(conn) = self.conns.get_mut(&id) {
                    if matches!(signal, Signal::Offer { .. }) {
                        conn.renew(id, self.servers.for_circle(Some(conn.circle), cx.now.wall), cx);
                    }
                    conn.signaled(id, signal, cx);
                }
            }
        }
    }

    fn is_news(&mut self, from: NodeId, sent_at: u64) -> bool {
        let peer = self.peers.entry(from).or_default();
        let news = sent_at > peer.heard;
        peer.heard = peer.heard.max(sent_at);
        news
    }

    fn knocked(
        &mut self,
        from: NodeId,
        circle: CircleId,
        answer: bool,
        connected: bool,
        cx: &mut Cx<'_>,
        out: &mut Vec<RtcOut>,
    ) {
        if connected {
            return out.push(RtcOut::Doubt { node: from });
        }
        if self.busy(&from) || !self.has_way(circle, cx.now.wall) {
            return;
        }
        if from < cx.key.id() {
            if !answer {
                let session = random(&mut cx.rng.0);
                out.push(RtcOut::Send { circle, to: from, session, signal: Signal::Knock { answer: true } });
            }
            return;
        }
        self.offer(from, circle, cx);
    }

    /// Begins a connection as the side that offers.
    fn offer(&mut self, to: NodeId, circle: CircleId, cx: &mut Cx<'_>) -> Option<ConnId> {
        self.begin(to, circle, random(&mut cx.rng.0), true, cx)
    }

    fn offered(
        &mut self,
        from: NodeId,
        circle: CircleId,
        session: SessionId,
        sdp: String,
        cx: &mut Cx<'_>,
        out: &mut Vec<RtcOut>,
    ) {
        // A newer offer of the same member replaces an attempt; an open channel stays until its successor is open.
        let old: Vec<ConnId> =
            self.conns.iter().filter(|(_, c)| c.node == from && !c.open).map(|(id, _)| *id).collect();
        for id in old {
            self.forget(id, Some("a newer offer came"), cx);
        }
        let fingerprint = sdp::fingerprint(&sdp);
        let id = fingerprint.and_then(|_| self.begin(from, circle, session, false, cx));
        let (Some(id), Some(theirs)) = (id, fingerprint) else {
            return out.push(RtcOut::Send { circle, to: from, session, signal: Signal::Bye });
        };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.describe(id, sdp, theirs, cx);
        }
    }

    /// Creates a peer connection, if there are room, budget and a way for one.
    fn begin(
        &mut self,
        node: NodeId,
        circle: CircleId,
        session: SessionId,
        offers: bool,
        cx: &mut Cx<'_>,
    ) -> Option<ConnId> {
        let now = cx.now.mono;
        let grown = (now - self.refilled) / self.refill;
        self.tokens = self.tokens.saturating_add(u32::try_from(grown).unwrap_or(u32::MAX)).min(RTC_BURST);
        self.refilled += grown * self.refill;
        let room = self.conns.len() < MAX_CHANNELS_OPEN && self.tokens > 0;
        if !room || !self.has_way(circle, cx.now.wall) {
            return None;
        }
        self.tokens -= 1;
        let mut servers = self.servers.for_circle(Some(circle), cx.now.wall);
        // What is to take the place of a path through TURN does without: TURN may answer first again.
        let better = !self.relay_only
            && self.conns.values().any(|conn| conn.node == node && conn.open && conn.is_through_turn());
        if better {
            servers = without_turn(servers);
        }
        let id = ConnId(cx.id());
        let mut conn = Conn::new(node, circle, session, offers, now + RTC_ATTEMPT_MS);
        (conn.relay_only, conn.better, conn.servers) = (self.relay_only, better, servers.clone());
        let relay_only = conn.relay_only;
        self.conns.insert(id, conn);
        cx.out.push_back(Output::Rtc(id, RtcCommand::Open { offer: offers, servers, relay_only }));
        Some(id)
    }

    /// What the platform says of a connection.
    pub(crate) fn happened(&mut self, id: ConnId, event: RtcEvent, cx: &mut Cx<'_>, out: &mut Vec<RtcOut>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match event {
            RtcEvent::Description(sdp) => {
                if !conn.described(sdp, cx.now.mono, out) {
                    self.fail(id, cx, out);
                }
            }
            RtcEvent::Candidate(candidate) => conn.gathered(candidate, cx.now.mono),
            RtcEvent::Opened => {
                if let Some(binding) = conn.opened(cx.now.mono) {
                    out.push(RtcOut::Opened { conn: id, offered: conn.offers, binding });
                }
            }
            RtcEvent::Connected => conn.found(),
            RtcEvent::Disconnected => {
                if conn.step != Step::Shaky {
                    conn.lost(cx.now.mono + RTC_GRACE_MS);
                }
            }
            RtcEvent::Failed if conn.open => conn.lost(cx.now.mono),
            RtcEvent::Failed => self.fail(id, cx, out),
            RtcEvent::Path(path) => self.found_path(id, path, cx.now.mono),
        }
    }

    /// Gives up: an attempt is called off, an open channel is lost.
    fn fail(&mut self, id: ConnId, cx: &mut Cx<'_>, out: &mut Vec<RtcOut>) {
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.open {
            out.push(RtcOut::Lost { conn: id });
        } else {
            let (circle, to, session) = (conn.circle, conn.node, conn.session);
            out.push(RtcOut::Send { circle, to, session, signal: Signal::Bye });
            self.forget(id, Some("no path to the member was found"), cx);
        }
    }

    /// A connection is gone; `close` when the platform does not know yet.
    pub(crate) fn forget(&mut self, id: ConnId, close: Option<&'static str>, cx: &mut Cx<'_>) {
        let Some(conn) = self.conns.remove(&id) else { return };
        if let Some(why) = close {
            cx.out.push_back(Output::Close(id, why));
        }
        let peer = self.peers.entry(conn.node).or_default();
        if conn.opened_at.is_some_and(|at| cx.now.mono >= at + RTC_ATTEMPT_MS) {
            peer.failures = 0;
        }
        self.put_off(conn.node, KNOCK_MIN_MS, cx);
    }

    /// Forgets open channels that the sessions' room has closed.
    pub(crate) fn settle(&mut self, alive: impl Fn(ConnId) -> bool, cx: &mut Cx<'_>) {
        let dead: Vec<ConnId> =
            self.conns.iter().filter(|(id, conn)| conn.open && !alive(**id)).map(|(id, _)| *id).collect();
        for id in dead {
            self.forget(id, None, cx);
        }
    }
}

fn restart(id: ConnId, conn: &mut Conn, cx: &mut Cx<'_>) {
    conn.next_round(cx.now.mono);
    cx.out.push_back(Output::Rtc(id, RtcCommand::Restart));
}
