//! Whom to dial: enough members for each circle and its anchors, and now and then another one.
//!
//! Everyone repeats for everyone, so a few sessions suffice and more would only carry the same bytes again. They are
//! drawn by lot, so that no member becomes everybody's; the odd extra one joins parts of a mesh that were cut from
//! each other and have been content with themselves since.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::Rng as _;

use super::{Address, Conn, Cx, Direct, DirectEvent, State};
use crate::{
    config::{CONNECT_TIMEOUT_MS, EXPLORE_MS, MESH_DEGREE},
    ids::{CircleId, NodeId},
    io::{ConnId, Output},
};

impl Direct {
    /// Sessions and dials under way, per circle.
    pub(super) fn degrees(&self) -> BTreeMap<CircleId, usize> {
        let mut degrees: BTreeMap<CircleId, usize> = BTreeMap::new();
        for (id, conn) in &self.conns {
            let dialed = || conn.address.as_ref().and_then(|address| self.book.get(address));
            match self.session(*id) {
                Some(session) => {
                    for circle in session.circles() {
                        *degrees.entry(*circle).or_default() += 1;
                    }
                }
                None => {
                    for circle in dialed().into_iter().flat_map(|address| &address.circles) {
                        *degrees.entry(*circle).or_default() += 1;
                    }
                }
            }
        }
        degrees
    }

    /// Addresses that are not in use and lead to nobody connected; none while nothing can be dialed.
    pub(super) fn idle(&self) -> impl Iterator<Item = (&String, &Address)> {
        let connected: BTreeSet<NodeId> = self.sessions().map(|(_, session)| session.peer()).collect();
        let room = self.dials && self.has_room();
        let idle = move |a: &Address| {
            a.conn.is_none() && !a.circles.is_empty() && a.node.is_none_or(|node| !connected.contains(&node))
        };
        self.book.iter().filter(move |(_, address)| room && idle(address))
    }

    /// Whether a circle lacks sessions that an address may give it, or wants the member there.
    pub(super) fn is_needed(&self, address: &Address, degrees: &BTreeMap<CircleId, usize>) -> bool {
        let lacks = |circle: &CircleId| degrees.get(circle).copied().unwrap_or(0) < MESH_DEGREE;
        address.circles.iter().any(lacks) || address.node.is_some_and(|node| self.is_wanted(node))
    }

    /// Addresses that may be dialed now, in an order drawn by lot.
    fn candidates(&self, cx: &mut Cx<'_>) -> Vec<String> {
        let due = self.idle().filter(|(_, address)| address.retry_at <= cx.now.mono);
        let mut due: Vec<String> = due.map(|(address, _)| address.clone()).collect();
        for end in (1..due.len()).rev() {
            let pick = cx.rng.0.next_u64() % (end as u64 + 1);
            due.swap(end, usize::try_from(pick).unwrap_or(end));
        }
        due
    }

    pub(super) fn dial_due(&mut self, cx: &mut Cx<'_>) {
        let mut degrees = self.degrees();
        for address in self.candidates(cx) {
            let needed = self.book.get(&address).is_some_and(|entry| self.is_needed(entry, &degrees));
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
    fn dial(&mut self, address: String, cx: &mut Cx<'_>) -> BTreeSet<CircleId> {
        let (conn, since) = (ConnId(cx.id()), cx.now.mono);
        let Some(entry) = self.book.get_mut(&address) else { return BTreeSet::new() };
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
