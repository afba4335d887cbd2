//! The mesh as the node sees it: sessions that open and close, and who is reached by them.

use super::{Node, circle::Circle};
use crate::{
    config::MAX_ENDPOINTS,
    ids::{CircleId, NodeId},
    io::ConnId,
    lan::is_public,
    route::{
        direct::{Direct, DirectEvent, Secrets},
        relay::Cx,
    },
    session::Session,
    wire::{PeerAddress, PeerFrame},
};

/// Most addresses told in one frame.
const MAX_TOLD: usize = 32;

impl Node {
    /// Lets the direct connections work, then takes in what happened on them.
    pub(super) fn with_direct(
        &mut self,
        act: impl FnOnce(&mut Direct, Secrets<'_>, &mut Cx<'_>, &mut Vec<DirectEvent>),
    ) {
        let Some(me) = &self.me else { return };
        let secrets = || self.circles.values().map(|circle| circle.secret.clone()).collect();
        let (mut events, mut learned) = (Vec::new(), Vec::new());
        let mut cx = Cx {
            now: self.now,
            key: &me.key,
            rng: &mut self.rng,
            next_id: &mut self.next_id,
            out: &mut self.outputs,
            events: &mut learned,
        };
        act(&mut self.direct, &secrets, &mut cx, &mut events);
        for event in events {
            match event {
                DirectEvent::Opened { conn, node, circles, initiated } => {
                    self.opened(conn, node, &circles, initiated);
                }
                DirectEvent::Closed { conn, node, circles } => self.closed(conn, node, &circles),
                DirectEvent::Tampered => self.notice(
                    true,
                    "Somebody between this device and a member replaced what a direct connection is made from. It was \
                     closed before anything was sent; messages go through the relay."
                        .into(),
                ),
                DirectEvent::Frame { conn, node, frame } => self.frame(conn, node, frame),
            }
        }
    }

    pub(super) fn send_frame(&mut self, conn: ConnId, frame: &PeerFrame) {
        self.with_direct(|direct, _, cx, _| direct.send(conn, frame, cx));
    }

    fn opened(&mut self, conn: ConnId, node: NodeId, circles: &[CircleId], initiated: bool) {
        let Some(me) = self.my_id() else { return };
        if let Some(loser) = self.loser(conn, node, me) {
            self.with_direct(|direct, _, cx, events| {
                direct.close(loser, "another connection stays", cx, events);
            });
            if loser == conn {
                // The one that stays may be dead, and its peer started anew: that shows soon.
                self.direct.doubt(node, self.now.mono);
                return;
            }
        }
        let wall = self.now.wall;
        self.announce_soon();
        for (id, place) in circles.iter().zip(0..) {
            let Some(circle) = self.circles.get_mut(id) else { continue };
            circle.direct.insert(node);
            circle.served.saw(node, wall);
            self.dirty.insert(*id);
            self.tell_peers(conn, *id, place);
            if initiated {
                self.summarise(conn, *id, place);
            }
        }
    }

    /// Of several sessions with the same node both sides drop the same one: a DataChannel rather than a stream.
    fn loser(&self, new: ConnId, node: NodeId, me: NodeId) -> Option<ConnId> {
        let old = self.direct.sessions().find(|(id, session)| *id != new && session.peer() == node)?.0;
        let rank = |conn| {
            let session = self.direct.session(conn)?;
            Some((session.circles().len(), self.direct.is_stream(conn), session.outranks(me)))
        };
        Some(if rank(old)? > rank(new)? { new } else { old })
    }

    fn closed(&mut self, conn: ConnId, node: NodeId, circles: &[CircleId]) {
        self.exchanges.retain(|(of, _), _| *of != conn);
        self.streams.retain(|(of, _), _| *of != conn);
        self.summaries.retain(|(of, _), _| *of != conn);
        self.forwarded.remove(&conn);
        let wall = self.now.wall;
        self.announce_soon();
        for id in circles {
            let still = self.direct.sharing(*id).iter().any(|(_, other, _)| *other == node);
            if let Some(circle) = self.circles.get_mut(id).filter(|_| !still) {
                circle.direct.remove(&node);
                circle.saw(node, wall);
                self.dirty.insert(*id);
            }
        }
    }

    /// A session shares the circles that both sides had when it opened. Where its peer turns out to be in one that was
    /// joined since, another takes its place.
    pub(super) fn renew_sessions(&mut self) {
        if self.circles.values().all(|circle| circle.joined_at.is_none()) {
            return;
        }
        let oldest = self.direct.conns().filter_map(|conn| self.direct.since(conn)).min();
        for circle in self.circles.values_mut() {
            // Connections begun from here on share it.
            circle.joined_at = circle.joined_at.filter(|at| oldest.is_some_and(|oldest| oldest <= *at));
        }
        let joined: Vec<(&Circle, u64)> =
            self.circles.values().filter_map(|circle| Some((circle, circle.joined_at?))).collect();
        let lacks = |conn: ConnId, session: &Session| {
            joined.iter().any(|(circle, at)| {
                self.direct.since(conn) <= Some(*at)
                    && !session.circles().contains(&circle.id)
                    && (circle.state.member(&session.peer()).is_some()
                        || self.direct.leads_to(conn, circle.id))
            })
        };
        let stale: Vec<ConnId> = self
            .direct
            .sessions()
            .filter(|(conn, session)| lacks(*conn, session))
            .map(|(conn, _)| conn)
            .collect();
        for conn in stale {
            self.with_direct(|direct, _, cx, events| {
                direct.close(conn, "a circle was joined; another session will share it", cx, events);
            });
        }
    }

    /// A circle is left: nothing more is said about it, and sessions that shared it end.
    pub(super) fn unmesh(&mut self, id: CircleId) {
        self.direct.forget(id);
        for (conn, _, _) in self.direct.sharing(id) {
            self.with_direct(|direct, _, cx, events| direct.close(conn, "the circle was left", cx, events));
        }
        self.ladder.forget(id);
    }

    /// PEERS: this node's own addresses, those known of other members, and the one that the reader was seen at.
    pub(super) fn tell_peers(&mut self, conn: ConnId, id: CircleId, place: u32) {
        let Some(me) = self.my_id() else { return };
        let endpoints = self.direct.endpoints().to_vec();
        let mut peers: Vec<PeerAddress> = Vec::new();
        if !endpoints.is_empty() {
            peers.push(PeerAddress { node_id: me, endpoints });
        }
        // Whoever has said hello comes first: anybody can make up ids.
        let said_hello =
            |node: &NodeId| self.circles.get(&id).is_some_and(|circle| circle.state.member(node).is_some());
        let known = |hello: bool| self.direct.known(id).filter(move |(node, _)| said_hello(node) == hello);
        let told = known(true).chain(known(false)).take(MAX_TOLD - 1);
        peers
            .extend(told.map(|(node_id, address)| PeerAddress { node_id, endpoints: vec![address.clone()] }));
        let observed = self.direct.came_from(conn).filter(|ip| is_public(*ip)).map(|ip| ip.to_string());
        if !peers.is_empty() || observed.is_some() {
            self.send_frame(conn, &PeerFrame::Peers { circle: place, peers, observed });
        }
    }

    /// Takes note of addresses, and passes on what was news: everyone hears of everyone.
    pub(super) fn told_peers(&mut self, from: ConnId, id: CircleId, peers: Vec<PeerAddress>) {
        let me = self.my_id();
        let mut news = Vec::new();
        for peer in peers.into_iter().take(MAX_TOLD).filter(|peer| Some(peer.node_id) != me) {
            let told = peer.endpoints.into_iter().take(MAX_ENDPOINTS).collect();
            let endpoints = self.direct.learn(id, Some(peer.node_id), told);
            if !endpoints.is_empty() {
                news.push(PeerAddress { node_id: peer.node_id, endpoints });
            }
        }
        if news.is_empty() {
            return;
        }
        for (conn, _, circle) in self.direct.sharing(id).into_iter().filter(|(conn, ..)| *conn != from) {
            self.send_frame(conn, &PeerFrame::Peers { circle, peers: news.clone(), observed: None });
        }
    }
}
