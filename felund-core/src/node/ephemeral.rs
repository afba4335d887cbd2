//! Envelopes that are passed on and not kept: announcements and receipts.
//!
//! An announcement floods the circle: everyone hands on what is later than the last one of its author. A receipt goes
//! back the way its message came, so that an author learns who has it across as many members as lie between.

use std::collections::VecDeque;

use super::{Node, circle::EPOCH_0, staging::Claim};
use crate::{
    anchor::short,
    circle::{Body, Received, UNSAID, is_ephemeral},
    config::{
        EPHEMERAL_TTL_MS, MAX_BATCH, MAX_EPHEMERAL_SEEN, MAX_FUTURE_MS, MAX_UPSTREAM, RECEIPT_DELAY_MS,
        RECEIPT_MEMBERS, RELAY_RECEIPT_MEMBERS, REPEATED_MS,
    },
    envelope::{Draft, Envelope, seal},
    ids::{CircleId, MsgId, NodeId},
    io::ConnId,
    sorted::{SortedMap, SortedSet},
    wire::{PeerFrame, Sealed},
};

/// How an envelope came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// This device made it.
    Here,
    /// Over a session.
    Session(ConnId),
    /// From the relay.
    Relay,
}

/// Something of each of the last `N` envelopes.
#[derive(Debug)]
struct Recent<T, const N: usize> {
    of: SortedMap<Received, T>,
    order: VecDeque<Received>,
}

impl<T, const N: usize> Default for Recent<T, N> {
    fn default() -> Self {
        Self { of: SortedMap::new(), order: VecDeque::new() }
    }
}

impl<T, const N: usize> Recent<T, N> {
    /// Whether the envelope was not among them.
    fn insert(&mut self, id: Received, value: T) -> bool {
        let news = self.of.insert(id, value).is_none();
        if news {
            self.order.push_back(id);
            if self.order.len() > N
                && let Some(oldest) = self.order.pop_front()
            {
                self.of.remove(&oldest);
            }
        }
        news
    }

    fn get(&self, id: &Received) -> Option<&T> {
        self.of.get(id)
    }
}

/// What a circle remembers of what passed through.
#[derive(Debug, Default)]
pub(super) struct Passing {
    seen: Recent<(), MAX_EPHEMERAL_SEEN>,
    /// Which way envelopes came, for receipts to go back.
    upstream: Recent<Way, MAX_UPSTREAM>,
    /// Envelopes whose authors are to be told that they are here.
    owed: Vec<Received>,
    /// When they are told.
    owed_at: u64,
    /// Members whose receipts came through others, and until when that counts; monotonic milliseconds.
    through: SortedMap<NodeId, u64>,
    /// None of that ends before this.
    through_until: Option<u64>,
}

impl Passing {
    fn owe(&mut self, id: Received, now: u64) {
        if self.owed.is_empty() {
            self.owed_at = now + RECEIPT_DELAY_MS;
        }
        self.owed.push(id);
        if self.owed.len() >= MAX_BATCH {
            self.owed_at = now;
        }
    }

    /// Takes note of a member that answered through others; whether that is news.
    fn answered(&mut self, member: NodeId, now: u64) -> bool {
        // Later ones end later: what is known of the first to end still holds.
        self.through_until.get_or_insert(now + REPEATED_MS);
        self.through.insert(member, now + REPEATED_MS).is_none()
    }

    /// Forgets members that have not answered through others for a while; whether there were any.
    pub(super) fn expire(&mut self, now: u64) -> bool {
        if self.through_until.is_none_or(|until| until > now) {
            return false;
        }
        let before = self.through.len();
        self.through.retain(|_, until| *until > now);
        self.through_until = self.through.values().copied().min();
        self.through.len() < before
    }

    /// Members that answer through others.
    pub(super) fn repeated(&self) -> SortedSet<NodeId> {
        self.through.keys().copied().collect()
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let owed = (!self.owed.is_empty()).then_some(self.owed_at);
        owed.into_iter().chain(self.through_until).min()
    }
}

impl Node {
    /// Seals an event that is passed on and not kept; its time and its bytes.
    pub(super) fn seal_ephemeral(&mut self, id: CircleId, body: &Body) -> Option<(u64, Vec<u8>)> {
        let created_ts = self.stamp();
        let (circle, me) = (self.circles.get(&id)?, self.me.as_ref()?);
        let cbor = body.to_cbor();
        let draft = Draft {
            circle_id: id,
            channel_id: circle.control,
            created_ts,
            kind: body.kind(),
            key_id: EPOCH_0,
            body: &cbor,
        };
        let sealed = seal(draft, &circle.epoch_key, &me.key, &mut self.rng.0).ok()?;
        Some((created_ts, sealed.envelope().to_cbor()))
    }

    /// Takes in an ephemeral envelope. What does not verify, is old or known, or is none, is dropped without a word.
    pub(super) fn ephemeral(&mut self, id: CircleId, bytes: &[u8], way: Way) {
        let Ok(envelope) = Envelope::from_cbor(bytes) else { return };
        let (wall, now) = (self.now.wall, self.now.mono);
        let (Some(circle), Some(me)) = (self.circles.get_mut(&id), &self.me) else { return };
        let me = me.key.id();
        let header = envelope.header();
        let ts = header.created_ts;
        let fresh = ts <= wall.saturating_add(MAX_FUTURE_MS)
            && ts.saturating_add(EPHEMERAL_TTL_MS + MAX_FUTURE_MS) >= wall;
        let ours =
            header.circle_id == id && header.channel_id == circle.control && header.author_node_id != me;
        // The cheap checks first: floods bring every envelope more than once.
        let name = (header.msg_id, short(&header.author_node_id));
        if !fresh || !ours || !is_ephemeral(&header.kind) || circle.passing.seen.get(&name).is_some() {
            return;
        }
        let Ok(verified) = envelope.verify() else { return };
        let header = verified.header();
        let Some(cbor) = circle.open(&verified) else { return };
        // Only what is a member's takes a place there.
        if !circle.passing.seen.insert(name, ()) {
            return;
        }
        let body = Body::from_cbor(&header.kind, &cbor).ok();
        let author = header.author_node_id;
        match body {
            Some(Body::Announce(announce)) if self.heard_announcement(id, author, ts, &announce) => {
                self.pass_on(id, bytes, way);
            }
            Some(Body::Receipt(received)) => {
                if let Way::Session(conn) = way
                    && !self.is_from(conn, author)
                    && let Some(circle) = self.circles.get_mut(&id)
                    && circle.passing.answered(author, now)
                {
                    self.dirty.insert(id);
                }
                self.receipt(id, author, received, bytes, way);
            }
            _ => {}
        }
    }

    /// Hands an ephemeral envelope to every session but the one it came over.
    pub(super) fn pass_on(&mut self, id: CircleId, bytes: &[u8], way: Way) {
        for (conn, _, circle) in self.direct.sharing(id) {
            if way != Way::Session(conn) {
                let envelope = Sealed(bytes.to_vec());
                self.send_frame(conn, &PeerFrame::Ephemeral { circle, envelope });
            }
        }
    }

    /// Hands an ephemeral envelope to the relay, for whoever is connected there.
    pub(super) fn fan_out(&mut self, id: CircleId, bytes: Vec<u8>) {
        let Some(circle) = self.circles.get(&id) else { return };
        let (hint, Some(relay)) = (circle.hint, circle.relay.clone()) else { return };
        let mut bytes = Some(bytes);
        self.with_link(
            |link| link.is_at(&relay),
            |link, cx| {
                if let Some(bytes) = bytes.take() {
                    link.ephemeral(&hint, bytes, cx);
                }
            },
        );
    }

    /// Whether a connection's peer wrote an envelope itself.
    fn is_from(&self, conn: ConnId, author: NodeId) -> bool {
        self.direct.session(conn).is_some_and(|session| session.peer() == author)
    }

    /// An envelope of somebody else is new here: its author is told, over the way it came.
    pub(super) fn owe_receipt(&mut self, id: CircleId, msg: MsgId, author: NodeId, way: Way) {
        let now = self.now.mono;
        let told = matches!(way, Way::Session(conn) if self.is_from(conn, author));
        let Some(circle) = self.circles.get_mut(&id) else { return };
        let name = (msg, short(&author));
        circle.passing.upstream.insert(name, way);
        let limit = if way == Way::Relay { RELAY_RECEIPT_MEMBERS } else { RECEIPT_MEMBERS };
        // A session with the author confirms by itself.
        if !told && circle.state.members().nth(limit).is_none() {
            circle.passing.owe(name, now);
            self.owe();
        }
    }

    /// Sends the receipts that are due.
    pub(super) fn send_receipts(&mut self) {
        let now = self.now.mono;
        let due = |circle: &&super::Circle| !circle.passing.owed.is_empty() && circle.passing.owed_at <= now;
        let ids: Vec<CircleId> = self.circles.values().filter(due).map(|circle| circle.id).collect();
        for id in ids {
            let Some(circle) = self.circles.get_mut(&id) else { continue };
            let mut by_way: SortedMap<Way, Vec<Received>> = SortedMap::new();
            let mut owed = std::mem::take(&mut circle.passing.owed);
            // Who has just joined a large circle has learned only now how large it is.
            if circle.state.members().nth(RECEIPT_MEMBERS).is_some() {
                owed.clear();
            }
            for msg in owed {
                let way = circle.passing.upstream.get(&msg).copied().unwrap_or(Way::Here);
                by_way.entry(way).or_default().push(msg);
            }
            for (way, ids) in by_way {
                for ids in ids.chunks(MAX_BATCH) {
                    if let Some((_, sealed)) = self.seal_ephemeral(id, &Body::Receipt(ids.to_vec())) {
                        self.send_back(id, sealed, way);
                    }
                }
            }
        }
    }

    fn send_back(&mut self, id: CircleId, sealed: Vec<u8>, way: Way) {
        match way {
            Way::Here => {}
            // A receipt is for what is durable, as a confirmation is.
            Way::Relay => self.claim_once_durable(Claim::Receipt(id, sealed)),
            Way::Session(conn) => {
                let sharing = self.direct.sharing(id);
                if let Some((_, _, circle)) = sharing.into_iter().find(|(other, ..)| *other == conn) {
                    self.claim(conn, PeerFrame::Ephemeral { circle, envelope: Sealed(sealed) });
                }
            }
        }
    }

    /// A member has envelopes: this device's own are counted, and others' authors told over the way those came.
    fn receipt(&mut self, id: CircleId, by: NodeId, received: Vec<Received>, bytes: &[u8], way: Way) {
        let Some(circle) = self.circles.get(&id) else { return };
        let received: SortedSet<Received> = received.into_iter().collect();
        let own = circle.own_among(&received, &by);
        let named = |name: &Received| received.contains(name) || received.contains(&(name.0, UNSAID));
        let upstream = circle.passing.upstream.of.iter();
        let back: SortedSet<Way> = upstream.filter(|(name, _)| named(name)).map(|(_, way)| *way).collect();
        self.confirmed_by(id, by, &own);
        for back in back.into_iter().filter(|back| *back != way) {
            self.send_back(id, bytes.to_vec(), back);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_answers_through_others_counts_for_a_minute_after_its_last_answer() {
        let (mut passing, [bob, cleo]) = (Passing::default(), [1, 2].map(|n| NodeId([n; 32])));
        assert!(passing.answered(bob, 0) && passing.answered(cleo, 10) && !passing.answered(bob, 50));
        assert!(!passing.expire(REPEATED_MS - 1));
        assert_eq!(passing.deadline(), Some(REPEATED_MS));
        assert!(!passing.expire(REPEATED_MS), "the first has answered again");
        assert_eq!(passing.deadline(), Some(REPEATED_MS + 10));
        assert!(passing.expire(REPEATED_MS + 10));
        assert_eq!(
            (passing.repeated(), passing.deadline()),
            (SortedSet::from([bob]), Some(REPEATED_MS + 50))
        );
        assert!(passing.expire(REPEATED_MS + 50) && passing.answered(bob, 2 * REPEATED_MS));
        assert_eq!(passing.deadline(), Some(3 * REPEATED_MS));
    }
}
