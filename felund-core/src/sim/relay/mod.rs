//! The relay, as `docs/protocol.md` §8 and §9 describe it: rooms, presence, the HTTP API and the sockets' frames. It
//! keeps an account of what nodes do that they must not do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{EPOCH_MS, device::End};
use crate::{
    config::{MAX_HTTP_BODY, MAX_REQUEST_SKEW_S},
    envelope::{Envelope, is_ephemeral},
    ids::{CircleHint, Cursor, MsgId, NodeId},
    io::{HttpId, HttpResponse},
    relay_api::{
        Capabilities, ErrorCode, IceServer, Peer, SignalRequest, Stored,
        signing::{ApiKey, Ticket},
    },
    wire::{Sealed, ServerFrame},
};

mod http;
mod socket;

/// Where the relay is.
pub const RELAY: &str = "http://relay.test";
/// Addresses a member may register, as real relays have it.
const MAX_ENDPOINTS: usize = 16;
/// When a full relay is to be asked again, in seconds.
const FULL_S: u64 = 3_600;
/// What it says to wait where its disk is full, in seconds.
const DISK_FULL_S: u64 = 5;

struct Entry {
    cursor: Cursor,
    sealed: Vec<u8>,
}

/// A registration.
struct Present {
    endpoints: Vec<String>,
    capabilities: Capabilities,
    /// Unix seconds.
    until: u64,
}

/// The relay's side of one circle.
#[derive(Default)]
struct Room {
    key: Option<ApiKey>,
    log: Vec<Entry>,
    known: BTreeMap<(MsgId, NodeId), Cursor>,
    attached: BTreeMap<End, NodeId>,
    present: BTreeMap<NodeId, Present>,
}

impl Room {
    fn cursors_of(&self, id: &MsgId) -> impl Iterator<Item = Cursor> {
        let of = (*id, NodeId([0; 32]))..=(*id, NodeId([255; 32]));
        self.known.range(of).map(|(_, cursor)| *cursor)
    }

    fn is_attached(&self, node: &NodeId) -> bool {
        self.attached.values().any(|attached| attached == node)
    }
}

/// What becomes of a socket's frames between a device and the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// They arrive.
    Passes,
    /// They are lost, and nobody is told.
    Swallows,
    /// The first one ends the socket.
    HangsUp,
    /// They arrive, and are answered, and then the socket ends.
    CutsOff,
}

/// What is said once a post is durable.
pub(super) enum Answer {
    Frame(End, ServerFrame),
    Http { device: usize, life: u32, id: HttpId, response: HttpResponse },
}

/// The relay's process and its disk.
pub struct Relay {
    pub(super) up: bool,
    /// WebSockets are accepted.
    pub sockets_allowed: bool,
    /// What a proxy on the way does to them once they are open.
    pub proxy: Proxy,
    /// How long a frame to a device keeps the line busy, milliseconds.
    pub frame_ms: u64,
    /// There is no room for further envelopes.
    pub full: bool,
    /// That is the disk's fault, and not that of a quota.
    pub disk_full: bool,
    /// It takes no circles that it does not know.
    pub closed: bool,
    /// Room for so many more envelopes.
    pub room: usize,
    /// It answers, and wrongly: of posts it says nothing, and of its log that there is always more.
    pub misanswers: bool,
    /// It refuses whatever is posted over a socket, for good.
    pub refuses: bool,
    /// Where it says that the next message lies that it passes on.
    pub tells_cursor: Option<Cursor>,
    /// Posts over sockets.
    pub posts: usize,
    /// So many of them are not answered, from now on.
    pub lose_stored: usize,
    /// What requests are answered with instead of being served, by method and path.
    pub instead: BTreeMap<&'static str, HttpResponse>,
    /// What it says its clock shows, unix seconds, if not the truth.
    pub tells_s: Option<u64>,
    /// Requests by method and path.
    pub requests: BTreeMap<String, usize>,
    /// Messages of its log that it gave to those who attached.
    pub backlog: usize,
    /// What nodes did that they must not do.
    pub faults: Vec<String>,
    /// What no byte that reaches the relay may hold.
    pub secrets: Vec<Vec<u8>>,
    /// So many of the next signals are lost.
    pub lose_signals: usize,
    /// STUN and TURN servers it names; user names begin with when they end, unix seconds.
    pub ice: Vec<IceServer>,
    /// A bit of every signal is flipped.
    pub alter_signals: bool,
    /// Signals that were passed on: in which circle, from whom, what.
    pub signals: Vec<(CircleHint, NodeId, SignalRequest)>,
    /// How long a post takes to become durable, in milliseconds; it is passed on before that.
    pub write_ms: u64,
    /// Grows whenever the process ends.
    pub(super) life: u32,
    /// Requests from before this second are refused: nonces are not kept over a restart.
    started_s: u64,
    nonces: BTreeSet<String>,
    rooms: BTreeMap<CircleHint, Room>,
    tokens: BTreeMap<String, (CircleHint, NodeId)>,
    last_token: u64,
    last_cursor: Cursor,
    durable_to: Cursor,
    waiting: Vec<(Cursor, Answer)>,
    pushes: Vec<(End, ServerFrame)>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("up", &self.up)
            .field("rooms", &self.rooms.len())
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Relay {
    pub(super) const fn new() -> Self {
        Self {
            up: true,
            sockets_allowed: true,
            proxy: Proxy::Passes,
            frame_ms: 0,
            full: false,
            disk_full: false,
            closed: false,
            room: usize::MAX,
            misanswers: false,
            refuses: false,
            tells_cursor: None,
            posts: 0,
            lose_stored: 0,
            instead: BTreeMap::new(),
            tells_s: None,
            requests: BTreeMap::new(),
            backlog: 0,
            faults: Vec::new(),
            secrets: Vec::new(),
            lose_signals: 0,
            ice: Vec::new(),
            alter_signals: false,
            signals: Vec::new(),
            write_ms: 0,
            life: 0,
            started_s: 0,
            nonces: BTreeSet::new(),
            rooms: BTreeMap::new(),
            tokens: BTreeMap::new(),
            last_token: 0,
            last_cursor: Cursor(0),
            durable_to: Cursor(0),
            waiting: Vec::new(),
            pushes: Vec::new(),
        }
    }

    /// Everything the relay has on its disk of messages, as one blob.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.rooms.values().flat_map(|room| &room.log).flat_map(|entry| entry.sealed.clone()).collect()
    }

    /// Whether an envelope would survive a power cut at the relay.
    #[must_use]
    pub fn is_durable(&self, id: &MsgId) -> bool {
        self.rooms.values().any(|room| room.cursors_of(id).any(|cursor| cursor <= self.durable_to))
    }

    /// Whether an envelope is in the relay's log, durable or not.
    #[must_use]
    pub fn holds(&self, id: &MsgId) -> bool {
        self.rooms.values().any(|room| room.cursors_of(id).next().is_some())
    }

    /// The process ends. With `power` what was not durable is gone from the log; sockets, tokens and presence are gone
    /// in any case.
    pub(super) fn stop(&mut self, power: bool) {
        self.up = false;
        self.life += 1;
        self.tokens.clear();
        self.nonces.clear();
        self.waiting.clear();
        self.pushes.clear();
        let durable_to = self.durable_to;
        for room in self.rooms.values_mut() {
            room.attached.clear();
            room.present.clear();
            if power {
                room.log.retain(|entry| entry.cursor <= durable_to);
                room.known.retain(|_, cursor| *cursor <= durable_to);
            }
        }
        if !power {
            self.durable_to = self.last_cursor;
        }
    }

    pub(super) fn start(&mut self, now: u64) {
        if !self.up {
            self.up = true;
            self.started_s = unix_s(now);
        }
    }

    /// Its disk is lost, and its clock is behind: it begins with no circle and with lower cursors than before.
    pub(super) fn lose_disk(&mut self) {
        self.rooms.clear();
        (self.last_cursor, self.durable_to) = (Cursor(0), Cursor(0));
    }

    /// A client's cursor, or the log's beginning if this log never gave it out.
    fn in_log(&self, after: Cursor) -> Cursor {
        if after <= self.last_cursor { after } else { Cursor(0) }
    }

    /// Every socket is cut; tokens that wait to be used go with them.
    pub(super) fn drop_sockets(&mut self) {
        self.tokens.clear();
        for room in self.rooms.values_mut() {
            room.attached.clear();
        }
    }

    /// Whether a socket may be opened with this token; a ticket becomes one.
    pub(super) fn admits(&mut self, token: &str, now: u64) -> bool {
        if !self.tokens.contains_key(token)
            && let Some(ticket) = Ticket::parse(token)
            && self.is_good(&ticket, now)
        {
            self.tokens.insert(token.to_owned(), (ticket.hint, ticket.node));
        }
        self.tokens.contains_key(token)
    }

    fn is_good(&mut self, ticket: &Ticket, now: u64) -> bool {
        let canonical = Ticket::canonical(&ticket.node, ticket.ts, &ticket.nonce);
        if !ticket.node.verify(canonical.as_bytes(), &ticket.node_signature) {
            self.faults.push("a ticket is not signed by its node".into());
        }
        let nonce = hex::encode(ticket.nonce);
        let checked = self.check(ticket.hint, ticket.ts, nonce, &canonical, &ticket.mac, now);
        if let Err((_, ErrorCode::NonceReplay)) = checked {
            self.faults.push("a ticket was used twice".into());
        }
        checked.is_ok()
    }

    /// A socket is gone.
    pub(super) fn detach(&mut self, end: End, now: u64) {
        let hints: Vec<CircleHint> = self.rooms.keys().copied().collect();
        for hint in hints {
            self.leave(hint, end, now);
        }
    }

    /// Every socket of a device is gone, and the relay has not noticed.
    pub(super) fn forget(&mut self, device: usize) {
        for room in self.rooms.values_mut() {
            room.attached.retain(|end, _| end.device != device);
        }
    }

    fn leave(&mut self, hint: CircleHint, end: End, now: u64) {
        let Some(room) = self.rooms.get_mut(&hint) else { return };
        if let Some(node) = room.attached.remove(&end)
            && !room.is_attached(&node)
        {
            room.present.remove(&node);
            self.tell_presence(hint, node, false, now);
        }
    }

    /// What became durable by now may be answered.
    pub(super) fn settle(&mut self, to: Cursor) -> Vec<Answer> {
        self.durable_to = self.durable_to.max(to);
        let durable_to = self.durable_to;
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(cursor, _): &(Cursor, Answer)| *cursor <= durable_to);
        self.waiting = waiting;
        ready.into_iter().map(|(_, answer)| answer).collect()
    }

    /// The cursor up to which something waits to be written.
    pub(super) fn unwritten(&self) -> Option<Cursor> {
        (self.last_cursor > self.durable_to).then_some(self.last_cursor)
    }

    pub(super) fn answer_once_durable(&mut self, cursor: Cursor, answer: Answer) {
        self.waiting.push((cursor, answer));
    }

    pub(super) fn take_pushes(&mut self) -> Vec<(End, ServerFrame)> {
        std::mem::take(&mut self.pushes)
    }

    /// Notes whatever arrived that the relay must not be able to read.
    fn inspect(&mut self, what: &str, bytes: &[u8]) {
        for secret in &self.secrets {
            if holds(bytes, secret) {
                self.faults.push(format!("{what} holds what the relay must not read"));
            }
        }
    }

    fn peer(&self, hint: CircleHint, node_id: NodeId, now: u64) -> Peer {
        let present = self.rooms.get(&hint).and_then(|room| room.present.get(&node_id));
        let (endpoints, capabilities) =
            present.map(|present| (present.endpoints.clone(), present.capabilities)).unwrap_or_default();
        Peer { node_id, endpoints, capabilities, observed_at: unix_s(now) }
    }

    /// Members that are there, but for the one who asks.
    fn peers(&self, hint: CircleHint, but: NodeId, now: u64) -> Vec<Peer> {
        let Some(room) = self.rooms.get(&hint) else { return Vec::new() };
        let registered = room.present.iter().filter(|(_, present)| present.until > unix_s(now));
        let mut nodes: BTreeSet<NodeId> = registered.map(|(node, _)| *node).collect();
        nodes.extend(room.attached.values());
        nodes.remove(&but);
        nodes.into_iter().map(|node| self.peer(hint, node, now)).collect()
    }

    fn tell_presence(&mut self, hint: CircleHint, node: NodeId, online: bool, now: u64) {
        let peer = self.peer(hint, node, now);
        let Some(room) = self.rooms.get(&hint) else { return };
        for to in room.attached.iter().filter(|(_, other)| **other != node).map(|(to, _)| *to) {
            self.pushes.push((to, ServerFrame::Presence { hint, peer: peer.clone(), online }));
        }
    }

    /// Stores verified envelopes and pushes the new ones; all or nothing. The second answer is the cursor that must be
    /// durable before anybody may be told that these are.
    pub(super) fn accept(
        &mut self,
        hint: CircleHint,
        sealed: Vec<Vec<u8>>,
    ) -> Result<(Vec<Stored>, Cursor), String> {
        let mut envelopes = Vec::new();
        for bytes in sealed {
            self.inspect("an envelope", &bytes);
            let verified =
                Envelope::from_cbor(&bytes).and_then(Envelope::verify).map_err(|e| e.to_string())?;
            let header = verified.header();
            if is_ephemeral(&header.kind) {
                self.faults.push(format!("{} posted to the log", header.kind));
            }
            envelopes.push(((header.msg_id, header.author_node_id), bytes));
        }
        let room = self.rooms.entry(hint).or_default();
        let (mut stored, mut until) = (Vec::new(), Cursor(0));
        for (name, sealed) in envelopes {
            let cursor = room.known.get(&name).copied().unwrap_or_else(|| {
                // Cursors grow, and not by one: nobody may count on that.
                self.last_cursor = Cursor(self.last_cursor.0 + 7);
                let cursor = self.last_cursor;
                let said = self.tells_cursor.take().unwrap_or(cursor);
                for to in room.attached.keys() {
                    let (cursor, envelope) = (said, Sealed(sealed.clone()));
                    self.pushes.push((*to, ServerFrame::Live { hint, cursor, envelope }));
                }
                room.known.insert(name, cursor);
                room.log.push(Entry { cursor, sealed });
                cursor
            });
            until = until.max(cursor);
            stored.push(Stored { msg_id: name.0, cursor });
        }
        Ok((stored, until))
    }

    /// Takes the room for so many envelopes, if there is.
    const fn has_room(&mut self, count: usize) -> bool {
        let fits = !self.full && count <= self.room;
        if fits {
            self.room -= count;
        }
        fits
    }

    /// A lying relay: passes bytes on as if they were in its log.
    pub(super) fn push_to_all(&mut self, hint: CircleHint, bytes: &[u8]) {
        let Some(room) = self.rooms.get(&hint) else { return };
        let cursor = Cursor(self.last_cursor.0 + 3);
        for to in room.attached.keys() {
            self.pushes.push((*to, ServerFrame::Live { hint, cursor, envelope: Sealed(bytes.to_vec()) }));
        }
    }

    pub(super) fn fan_out(&mut self, hint: CircleHint, bytes: &[u8]) {
        let Some(room) = self.rooms.get(&hint) else { return };
        for to in room.attached.keys() {
            self.pushes.push((*to, ServerFrame::Ephemeral { hint, envelope: Sealed(bytes.to_vec()) }));
        }
    }
}

const fn unix_s(now: u64) -> u64 {
    (EPOCH_MS + now) / 1_000
}

/// Whether bytes hold a secret anywhere.
pub(super) fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    let Some(first) = secret.first() else { return false };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(secret) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_wherever_they_are() {
        assert!(holds(b"ababac", b"abac") && holds(b"x", b"x") && holds(b"..tulip", b"tulip"));
        assert!(!holds(b"tuli", b"tulip") && !holds(b"", b"a") && !holds(b"abab", b"abac"));
    }

    #[test]
    fn the_relay_notices_a_plaintext() {
        let mut relay = Relay::new();
        relay.secrets.push(b"greenhouse".to_vec());
        let end = End { device: 0, life: 0, conn: crate::io::ConnId(1) };
        relay.frame(end, b"behind the greenhouse", 0);
        assert!(relay.faults[0].contains("must not read"), "{:?}", relay.faults);
    }
}
