//! Direct connections: dialing, accepting, the handshake and the session of each.
//!
//! This room knows who is connected and passes frames; what the frames mean for a circle is the node's business. Of
//! two connections of the same pair both sides keep the same one. Every wait has a deadline, every redial backs off.

mod channel;
mod dial;
mod handshake;
mod nearby;
mod refusals;
mod watched;

use core::net::IpAddr;
use std::cell::Cell;

pub(crate) use nearby::Service;

use super::relay::Cx;
use crate::{
    config::{
        BACKOFF_MAX_MS, BACKOFF_MIN_MS, HANDSHAKE_TIMEOUT_MS, MAX_DIRECT, MAX_DIRECT_ANCHOR, MAX_HANDSHAKES,
        PING_INTERVAL_MS, PONG_TIMEOUT_MS, REACHABLE_MS,
    },
    ids::{CircleId, NodeId},
    io::{ConnId, Origin, Output},
    keys::CircleSecret,
    session::{CUT_OFF, Initiator, Local, Responder, Session, SessionError},
    sorted::{SortedMap, SortedSet},
    wire::PeerFrame,
};

use handshake::{State, step};
pub(crate) use refusals::Refusals;
use refusals::{TOO_MANY, UNFINISHED};
use watched::Watched;

/// The secrets of this node's circles, copied only where they are needed.
pub(crate) type Secrets<'a> = &'a dyn Fn() -> Vec<CircleSecret>;

/// An address of a member, and how dialing it has gone.
#[derive(Debug, Default)]
struct Address {
    circles: SortedSet<CircleId>,
    /// Who answered there last, or is said to.
    node: Option<NodeId>,
    conn: Option<ConnId>,
    failures: u32,
    retry_at: u64,
    /// The service of the local network that has it, if nobody else has told of it.
    nearby: Option<String>,
}

#[derive(Debug)]
struct Conn {
    /// When it was begun.
    since: u64,
    /// Where it was dialed.
    address: Option<String>,
    /// Where it was accepted from.
    origin: Option<Origin>,
    state: State,
    /// When it is given up, or probed once open.
    deadline: u64,
    probed: bool,
}

impl Conn {
    /// A byte stream that one side dialed; else a DataChannel.
    const fn is_stream(&self) -> bool {
        self.address.is_some() || self.origin.is_some()
    }

    /// Accepted, and has not proved anything yet.
    const fn is_stranger(&self) -> bool {
        self.origin.is_some() && !matches!(self.state, State::Open(_))
    }
}

/// What happened on direct connections.
#[derive(Debug)]
pub(crate) enum DirectEvent {
    /// A session is open.
    Opened { conn: ConnId, node: NodeId, circles: Vec<CircleId>, initiated: bool },
    /// A session is over.
    Closed { conn: ConnId, node: NodeId, circles: Vec<CircleId> },
    /// The handshake on a DataChannel found that it ends somewhere else than the other side's.
    Tampered,
    /// A frame came in.
    Frame { conn: ConnId, node: NodeId, frame: PeerFrame },
}

/// All direct connections of a node.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    conns: Watched<SortedMap<ConnId, Conn>>,
    /// Of DataChannels whose handshake is not over.
    firsts: SortedMap<ConnId, channel::First>,
    book: Watched<SortedMap<String, Address>>,
    /// Where this node listens, as others may dial it.
    endpoints: Vec<String>,
    /// Members each circle wants a session with however many there are: its anchors.
    wanted: Watched<SortedMap<CircleId, Vec<NodeId>>>,
    /// When a member beyond those that suffice is tried next.
    explore_at: u64,
    /// When somebody is to be dialed next, and what that was worked out from.
    next_dial: Cell<(dial::Basis, Option<u64>)>,
    /// When somebody from outside this network last proved to be a member.
    reached_at: Option<u64>,
    /// Whether this node takes in more than its own needs.
    pub(crate) anchors: bool,
    /// Whether this platform can dial.
    pub(crate) dials: bool,
    refusals: Refusals,
}

impl Direct {
    pub(crate) fn set_endpoints(&mut self, endpoints: Vec<String>) {
        if self.endpoints != endpoints {
            // Another network, or another port: what was reached is not there any more.
            self.reached_at = None;
        }
        self.endpoints = endpoints;
        self.book.retain(|address, _| !self.endpoints.contains(address));
    }

    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Takes note of where a member of a circle may be reached; the addresses that were news. Who says so may be
    /// wrong: only a handshake proves who answers.
    pub(crate) fn learn(
        &mut self,
        circle: CircleId,
        node: Option<NodeId>,
        addresses: Vec<String>,
    ) -> Vec<String> {
        let mut news = Vec::new();
        for address in addresses {
            let before = self.book.get(&address);
            if before.is_some_and(|entry| entry.is_told(circle, node)) {
                continue;
            }
            let known = before.is_some();
            if is_address(&address) && !self.endpoints.contains(&address) && (known || self.make_room()) {
                let entry = self.book.entry(address.clone()).or_default();
                entry.node = entry.node.or(node);
                entry.nearby = None;
                if entry.circles.insert(circle) {
                    news.push(address);
                }
            }
        }
        news
    }

    /// Addresses of members of a circle, as far as known.
    pub(crate) fn known(&self, circle: CircleId) -> impl Iterator<Item = (NodeId, &String)> {
        let told = |entry: &Address| entry.nearby.is_none();
        // Who is told a few of them is told those that work.
        let of_circle = move |fails: bool| {
            let is = move |entry: &Address| {
                told(entry) && entry.circles.contains(&circle) && (entry.failures > 0) == fails
            };
            self.book.iter().filter(move |(_, entry)| is(entry))
        };
        let all = of_circle(false).chain(of_circle(true));
        all.filter_map(|(address, entry)| Some((entry.node?, address)))
    }

    /// Whether others reached this node from outside its network, as far as is known.
    pub(crate) fn is_public(&self, now: u64) -> bool {
        self.reached_at.is_some_and(|at| now.saturating_sub(at) < REACHABLE_MS)
    }

    /// Whom a circle wants a session with in any case; newly wanted ones are dialed without waiting.
    pub(crate) fn want(&mut self, circle: CircleId, nodes: &[NodeId]) {
        if self.wanted.get(&circle).is_some_and(|before| before == nodes) {
            return;
        }
        let before = self.wanted.insert(circle, nodes.to_vec()).unwrap_or_default();
        for address in self.book.values_mut() {
            if address.node.is_some_and(|node| nodes.contains(&node) && !before.contains(&node)) {
                (address.retry_at, address.failures) = (0, 0);
            }
        }
    }

    pub(crate) fn is_wanted(&self, node: NodeId) -> bool {
        self.wanted.values().flatten().any(|wanted| *wanted == node)
    }

    const fn capacity(&self) -> usize {
        if self.anchors { MAX_DIRECT_ANCHOR } else { MAX_DIRECT }
    }

    /// Forgets a circle; connections that shared nothing else are closed by whoever asks for it.
    pub(crate) fn forget(&mut self, circle: CircleId) {
        self.wanted.remove(&circle);
        for address in self.book.values_mut() {
            address.circles.remove(&circle);
        }
        self.book.retain(|_, address| !address.circles.is_empty() || address.conn.is_some());
    }

    pub(crate) fn owns(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    pub(crate) fn session(&self, conn: ConnId) -> Option<&Session> {
        match &self.conns.get(&conn)?.state {
            State::Open(session) => Some(session),
            _ => None,
        }
    }

    /// When a connection was begun.
    pub(crate) fn since(&self, conn: ConnId) -> Option<u64> {
        self.conns.get(&conn).map(|conn| conn.since)
    }

    /// Whether a connection was dialed at an address where members of a circle are said to be.
    pub(crate) fn leads_to(&self, conn: ConnId, circle: CircleId) -> bool {
        self.book.values().any(|address| address.conn == Some(conn) && address.circles.contains(&circle))
    }

    /// Whether a connection is a byte stream; else it is a DataChannel.
    pub(crate) fn is_stream(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(Conn::is_stream)
    }

    /// Where a connection was accepted from, if that is outside this node's networks.
    pub(crate) fn came_from(&self, conn: ConnId) -> Option<IpAddr> {
        match self.conns.get(&conn)?.origin? {
            Origin::Outside(ip) => Some(ip),
            Origin::Nearby => None,
        }
    }

    /// All connections, those in the making included.
    pub(crate) fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.conns.keys().copied()
    }

    /// Open sessions.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (ConnId, &Session)> {
        self.conns.iter().filter_map(|(id, conn)| match &conn.state {
            State::Open(session) => Some((*id, &**session)),
            _ => None,
        })
    }

    /// What was refused since the start.
    pub(crate) const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Takes note of connections that the driver closed at once.
    pub(crate) fn turned_away(&mut self, times: u64) {
        self.refusals.add(TOO_MANY, times);
    }

    /// Whether there is a place for one more connection that is not a stranger's.
    pub(super) fn has_room(&self) -> bool {
        self.conns.values().filter(|conn| !conn.is_stranger()).count() < self.capacity()
    }

    /// Open sessions that share a circle, and its place in each.
    pub(crate) fn sharing(&self, circle: CircleId) -> Vec<(ConnId, NodeId, u32)> {
        let place = |session: &Session| {
            let at = session.circles().iter().position(|other| *other == circle)?;
            u32::try_from(at).ok()
        };
        self.sessions().filter_map(|(conn, session)| Some((conn, session.peer(), place(session)?))).collect()
    }

    /// Tries every address now: the device woke or the network changed.
    pub(crate) fn wake(&mut self, now: u64) {
        for address in self.book.values_mut() {
            (address.retry_at, address.failures) = (0, 0);
        }
        // What has been asked already, as by another sign of waking a moment ago, has its time to answer.
        let open = |conn: &&mut Conn| matches!(conn.state, State::Open(_)) && !conn.probed;
        for conn in self.conns.values_mut().filter(open) {
            conn.deadline = now;
        }
    }

    /// Probes the sessions with a node, now.
    pub(crate) fn doubt(&mut self, node: NodeId, now: u64) {
        for conn in self.conns.values_mut().filter(|conn| !conn.probed) {
            if matches!(&conn.state, State::Open(session) if session.peer() == node) {
                conn.deadline = now;
            }
        }
    }

    /// Deadlines and due addresses.
    #[inline(never)]
    pub(crate) fn drive(&mut self, cx: &mut Cx<'_>, events: &mut Vec<DirectEvent>) {
        let now = cx.now.mono;
        let due: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.deadline <= now).map(|(id, _)| *id).collect();
        for id in due {
            match self.conns.get_mut(&id) {
                Some(conn) if matches!(conn.state, State::Open(_)) && !conn.probed => {
                    conn.probed = true;
                    conn.deadline = now + PONG_TIMEOUT_MS;
                    self.send(id, &PeerFrame::Ping, cx);
                }
                Some(conn) if conn.is_stranger() => self.refuse(id, UNFINISHED, cx, events),
                _ => self.drop_conn(id, Some("the peer does not answer"), cx, events),
            }
        }
        self.repeat(cx);
        if self.next_dial().is_some_and(|at| at <= now) {
            self.dial_due(cx);
            self.explore(cx, events);
        }
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        let conns = self.conns.values().map(|conn| conn.deadline);
        conns.chain(self.next_dial()).chain(self.repeat_at()).min()
    }

    #[inline(never)]
    pub(crate) fn accepted(&mut self, id: ConnId, origin: Origin, cx: &mut Cx<'_>) {
        if self.conns.values().filter(|conn| conn.is_stranger()).count() >= MAX_HANDSHAKES {
            self.refusals.add(TOO_MANY, 1);
            cx.out.push_back(Output::Close(id, TOO_MANY));
            return;
        }
        let state = State::Responding(Responder::new(Vec::new()));
        let deadline = cx.now.mono + HANDSHAKE_TIMEOUT_MS;
        let (origin, since) = (Some(origin), cx.now.mono);
        self.conns.insert(id, Conn { since, address: None, origin, state, deadline, probed: false });
    }

    pub(crate) fn connected(&mut self, id: ConnId, secrets: Secrets<'_>, cx: &mut Cx<'_>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let secrets = secrets();
        let local = Local { key: cx.key, circles: &secrets };
        let (initiator, hello) = Initiator::new(local, Vec::new(), &mut cx.rng.0);
        conn.state = State::Initiating(Box::new(initiator));
        conn.deadline = cx.now.mono + HANDSHAKE_TIMEOUT_MS;
        cx.out.push_back(Output::Transmit(id, hello));
    }

    pub(crate) fn disconnected(
        &mut self,
        id: ConnId,
        reason: &str,
        cx: &mut Cx<'_>,
        events: &mut Vec<DirectEvent>,
    ) {
        // What the driver has to say in the core's own words is what it found in the bytes.
        if let Some(named) = [CUT_OFF, SessionError::TooLarge.reason()].iter().find(|named| **named == reason)
        {
            self.refusals.add(named, 1);
        } else if self.conns.get(&id).is_some_and(Conn::is_stranger) {
            self.refusals.add(UNFINISHED, 1);
        }
        self.drop_conn(id, None, cx, events);
    }

    /// Closes a connection for what the other side did, and counts it.
    fn refuse(&mut self, id: ConnId, why: &'static str, cx: &mut Cx<'_>, events: &mut Vec<DirectEvent>) {
        self.refusals.add(why, 1);
        self.drop_conn(id, Some(why), cx, events);
    }

    /// Closes a session, for instance one that another outranks.
    pub(crate) fn close(
        &mut self,
        id: ConnId,
        why: &'static str,
        cx: &mut Cx<'_>,
        events: &mut Vec<DirectEvent>,
    ) {
        self.drop_conn(id, Some(why), cx, events);
    }

    fn drop_conn(
        &mut self,
        id: ConnId,
        close: Option<&'static str>,
        cx: &mut Cx<'_>,
        events: &mut Vec<DirectEvent>,
    ) {
        let Some(conn) = self.conns.remove(&id) else { return };
        self.firsts.remove(&id);
        if let Some(why) = close {
            cx.out.push_back(Output::Close(id, why));
        }
        let open = matches!(conn.state, State::Open(_));
        if let Some(entry) = conn.address.as_ref().and_then(|address| self.book.get_mut(address)) {
            entry.conn = None;
            let wait = BACKOFF_MIN_MS.saturating_mul(1 << entry.failures.min(10)).min(BACKOFF_MAX_MS);
            entry.failures = if open { 0 } else { entry.failures + 1 };
            entry.retry_at = cx.now.mono + cx.jitter(wait);
        }
        self.book.retain(|_, address| !address.circles.is_empty() || address.conn.is_some());
        if let State::Open(session) = conn.state {
            let circles = session.circles().to_vec();
            events.push(DirectEvent::Closed { conn: id, node: session.peer(), circles });
        }
    }

    /// Seals and sends a frame; nothing happens on a connection that is not open.
    pub(crate) fn send(&mut self, id: ConnId, frame: &PeerFrame, cx: &mut Cx<'_>) {
        if let Some(State::Open(session)) = self.conns.unnoticed().get_mut(&id).map(|conn| &mut conn.state)
            && let Ok(records) = session.seal(&frame.to_bytes())
        {
            cx.out.extend(records.into_iter().map(|record| Output::Transmit(id, record)));
        }
    }

    #[inline(never)]
    pub(crate) fn received(
        &mut self,
        id: ConnId,
        bytes: &[u8],
        secrets: Secrets<'_>,
        cx: &mut Cx<'_>,
        events: &mut Vec<DirectEvent>,
    ) {
        let proves = self.conns.get(&id).is_some_and(|conn| matches!(conn.state, State::Authenticating(_)));
        if proves && !self.has_room() {
            return self.refuse(id, TOO_MANY, cx, events);
        }
        if self.is_repeated(id, bytes, cx) {
            return;
        }
        let Some(mut conn) = self.conns.unnoticed().remove(&id) else { return };
        // Only a handshake needs them; nearly all that comes in belongs to an open session.
        let was_open = matches!(conn.state, State::Open(_));
        let secrets = if was_open { Vec::new() } else { secrets() };
        let local = Local { key: cx.key, circles: &secrets };
        let stepped = step(conn.state, id, bytes, local, cx, events);
        match stepped {
            Ok((state, news)) => {
                self.stepped(id, &state, bytes, cx);
                conn.state = state;
                if matches!(conn.state, State::Open(_)) {
                    conn.deadline = cx.now.mono + PING_INTERVAL_MS;
                    conn.probed = false;
                }
                if news && matches!(conn.origin, Some(Origin::Outside(_))) {
                    self.reached_at = Some(cx.now.mono);
                }
                if let (true, State::Open(session), Some(address)) = (news, &conn.state, &conn.address) {
                    self.met(address, session.peer(), cx);
                }
                let conns = if was_open { self.conns.unnoticed() } else { &mut *self.conns };
                conns.insert(id, conn);
                if matches!(events.last(), Some(DirectEvent::Frame { frame: PeerFrame::Ping, .. })) {
                    events.pop();
                    self.send(id, &PeerFrame::Pong, cx);
                }
            }
            Err((error, session)) => {
                let why = error.reason();
                if error == SessionError::WrongBinding {
                    events.push(DirectEvent::Tampered);
                }
                conn.state = session.map_or(State::Dialing, State::Open);
                self.conns.insert(id, conn);
                self.refuse(id, why, cx, events);
            }
        }
    }
}

/// `host:port`, no more than is sensible.
fn is_address(text: &str) -> bool {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    text.len() <= 128
        && text.is_ascii()
        && !text.contains(char::is_whitespace)
        && matches!(port, Some(Ok(1..)))
}
