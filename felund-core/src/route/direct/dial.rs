//! Whom to dial: enough members for each circle and its anchors, and now and then another one.
//!
//! Everyone repeats for everyone, so a few sessions suffice and more would only carry the same bytes again. They are
//! drawn by lot, so that no member becomes everybody's; the odd extra one joins parts of a mesh that were cut from
//! each other and have been content with themselves since.

use rand_core::Rng as _;

use super::{Address, Conn, Cx, Direct, DirectEvent, State};
use crate::{
    config::{CONNECT_TIMEOUT_MS, DIAL_STAGGER_MS, EXPLORE_MS, MESH_DEGREE},
    ids::{CircleId, NodeId},
    io::{ConnId, Output},
    sorted::{SortedMap, SortedSet},
};

/// What [`Direct::next_dial`] is worked out from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Basis {
    conns: u64,
    book: u64,
    wanted: u64,
    explore_at: u64,
    dials: bool,
    anchors: bool,
}

impl Direct {
    /// Sessions and dials under way, per circle.
    pub(crate) fn degrees(&self) -> SortedMap<CircleId, usize> {
        let mut degrees: SortedMap<CircleId, usize> = SortedMap::new();
        let mut tried: SortedSet<NodeId> = SortedSet::new();
        for (id, conn) in self.conns.iter() {
            let dialed = || conn.address.as_ref().and_then(|address| self.book.get(address));
            // Several addresses of one member lead to one session.
            let mut first = |address: &&Address| address.node.is_none_or(|node| tried.insert(node));
            match self.session(*id) {
                Some(session) => {
                    for circle in session.circles() {
                        *degrees.entry(*circle).or_default() += 1;
                    }
                }
                None => {
                    for circle in dialed().into_iter().filter(&mut first).flat_map(|address| &address.circles)
                    {
                        *degrees.entry(*circle).or_default() += 1;
                    }
                }
            }
        }
        degrees
    }

    /// Addresses that are not in use and lead to nobody connected, and when each may be dialed; none while nothing can
    /// be dialed. Addresses of one member are tried one after the other, without waiting for one that is silent (as in RFC 8305),
    /// and none while somebody has answered at one of them. A DataChannel does not count as long as an address may give
    /// a stream, which is faster and costs less: one that has failed is left alone.
    fn idle(&self) -> impl Iterator<Item = (&String, &Address, u64)> {
        let sessions: SortedMap<NodeId, bool> =
            self.sessions().map(|(id, session)| (session.peer(), self.is_stream(id))).collect();
        let room = self.dials && self.has_room();
        let attempts = self.attempts();
        let when = move |entry: &Address| {
            let stream = entry.node.and_then(|node| sessions.get(&node));
            let reached = stream.is_some_and(|stream| *stream || entry.failures > 0);
            if !room || reached || entry.conn.is_some() || entry.circles.is_empty() {
                return None;
            }
            let rivals = attempts.iter().filter(|(of, _)| of.leads_where(entry));
            rivals
                .map(|(_, until)| *until)
                .chain([Some(entry.retry_at)])
                .try_fold(0, |at, until| Some(at.max(until?)))
        };
        self.book.iter().filter_map(move |(address, entry)| Some((address, entry, when(entry)?)))
    }

    /// Addresses being tried, and until when that keeps others of the same member back: `None` while somebody answers there.
    fn attempts(&self) -> Vec<(&Address, Option<u64>)> {
        let attempt = |conn: &Conn| {
            let entry = self.book.get(conn.address.as_ref()?)?;
            let dialing = matches!(conn.state, State::Dialing);
            Some((entry, dialing.then_some(conn.since + DIAL_STAGGER_MS)))
        };
        self.conns.values().filter_map(attempt).collect()
    }

    /// Takes note of who answered at an address, and gives up the dials of that member's others.
    pub(super) fn met(&mut self, address: &str, node: NodeId, cx: &mut Cx<'_>) {
        let Some(entry) = self.book.get_mut(address) else { return };
        entry.node = Some(node);
        entry.failures = 0;
        if let Some(instance) = entry.nearby.clone() {
            let same = self.book.values_mut().filter(|other| other.nearby.as_ref() == Some(&instance));
            same.for_each(|other| other.node = Some(node));
        }
        let is_other = |conn: &Conn| {
            let entry = conn.address.as_ref().and_then(|address| self.book.get(address));
            matches!(conn.state, State::Dialing) && entry.is_some_and(|entry| entry.node == Some(node))
        };
        let others: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| is_other(conn)).map(|(id, _)| *id).collect();
        for id in others {
            let address = self.conns.remove(&id).and_then(|conn| conn.address);
            if let Some(entry) = address.and_then(|address| self.book.get_mut(&address)) {
                entry.conn = None;
            }
            cx.out.push_back(Output::Close(id, "another address of the member answered"));
        }
    }

    /// Whether a circle lacks sessions that an address may give it, or wants the member there, or has it on a DataChannel
    /// only.
    fn is_needed(
        &self,
        address: &Address,
        degrees: &SortedMap<CircleId, usize>,
        reached: &SortedSet<NodeId>,
    ) -> bool {
        let lacks = |circle: &CircleId| degrees.get(circle).copied().unwrap_or(0) < MESH_DEGREE;
        address.circles.iter().any(lacks)
            || address.node.is_some_and(|node| reached.contains(&node) || self.is_wanted(node))
    }

    /// Whom there is a session with.
    fn reached(&self) -> SortedSet<NodeId> {
        self.sessions().map(|(_, session)| session.peer()).collect()
    }

    /// When somebody is to be dialed next. It is asked for after every input, and follows from what seldom changes.
    pub(super) fn next_dial(&self) -> Option<u64> {
        let basis = Basis {
            conns: self.conns.version(),
            book: self.book.version(),
            wanted: self.wanted.version(),
            explore_at: self.explore_at,
            dials: self.dials,
            anchors: self.anchors,
        };
        let (before, mut at) = self.next_dial.get();
        if before != basis {
            let (degrees, reached) = (self.degrees(), self.reached());
            at = None;
            for (_, address, may) in self.idle() {
                // Whether it is needed takes the longest to tell, and often does not matter.
                if at.is_none_or(|at| may < at) {
                    let waits = may < self.explore_at && !self.is_needed(address, &degrees, &reached);
                    let then = if waits { self.explore_at } else { may };
                    at = Some(at.map_or(then, |at: u64| at.min(then)));
                }
            }
            self.next_dial.set((basis, at));
        }
        at
    }

    /// Addresses that may be dialed now, in an order drawn by lot.
    fn candidates(&self, cx: &mut Cx<'_>) -> Vec<String> {
        let due = self.idle().filter(|(_, _, at)| *at <= cx.now.mono);
        let mut due: Vec<String> = due.map(|(address, ..)| address.clone()).collect();
        for end in (1..due.len()).rev() {
            let pick = cx.rng.0.next_u64() % (end as u64 + 1);
            due.swap(end, usize::try_from(pick).unwrap_or(end));
        }
        due
    }

    pub(super) fn dial_due(&mut self, cx: &mut Cx<'_>) {
        let (mut degrees, reached) = (self.degrees(), self.reached());
        for address in self.candidates(cx) {
            let begun = |entry: &Address| {
                let now = self.conns.values().filter(|conn| conn.since == cx.now.mono);
                let mut tried = now.filter_map(|conn| self.book.get(conn.address.as_ref()?));
                tried.any(|other| other.leads_where(entry))
            };
            let needed = |entry: &Address| self.is_needed(entry, &degrees, &reached) && !begun(entry);
            let needed = self.book.get(&address).is_some_and(needed);
            if needed && self.has_room() {
                for circle in self.dial(address, cx) {
                    *degrees.entry(circle).or_default() += 1;
                }
            }
        }
    }

    /// Tries one member more than is needed, and lets the oldest go that this node has too many of.
    pub(super) fn explore(&mut self, cx: &mut Cx<'_>, events: &mut Vec<DirectEvent>) {
        if cx.now.mono < self.explore_at {
            return;
        }
        let Some(address) = self.candidates(cx).into_iter().next() else { return };
        self.explore_at = cx.now.mono + cx.jitter(EXPLORE_MS);
        self.dial(address, cx);
        let degrees = self.degrees();
        let spare = |circle: &CircleId| degrees.get(circle).copied().unwrap_or(0) > MESH_DEGREE + 1;
        let surplus = self.sessions().filter(|(_, session)| {
            session.initiated() && session.circles().iter().all(spare) && !self.is_wanted(session.peer())
        });
        let oldest = surplus.map(|(id, _)| id).min_by_key(|id| self.conns.get(id).map(|conn| conn.since));
        if let Some(oldest) = oldest {
            self.close(oldest, "other members suffice", cx, events);
        }
    }

    /// Dials an address; the circles it may serve.
    fn dial(&mut self, address: String, cx: &mut Cx<'_>) -> SortedSet<CircleId> {
        let (conn, since) = (ConnId(cx.id()), cx.now.mono);
        let Some(entry) = self.book.get_mut(&address) else { return SortedSet::new() };
        entry.conn = Some(conn);
        let circles = entry.circles.clone();
        let (state, deadline) = (State::Dialing, since + CONNECT_TIMEOUT_MS);
        let dialed = Some(address.clone());
        self.conns
            .insert(conn, Conn { since, address: dialed, origin: None, state, deadline, probed: false });
        cx.out.push_back(Output::Connect(conn, address));
        circles
    }
}
