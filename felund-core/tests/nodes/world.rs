//! A whole network in one thread and in virtual time: real nodes, memory for disks, and a relay that keeps the
//! API's promises. Everything follows from the seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use felund_core::{
    config::{MAX_BATCH, PRESENCE_TTL_S},
    envelope::Envelope,
    ids::{CircleHint, CircleId, Cursor, MsgId, NodeId},
    io::{
        Announcement, BatchId, Command, ConnId, Event, HttpRequest, HttpResponse, Input, Origin, Output,
        Request,
    },
    model::Model,
    node::{Node, Platform},
    relay_api::{
        Capabilities, ErrorBody, ErrorCode, MessagesResponse, Peer, PeersResponse, PostMessages,
        PostMessagesResponse, RegisterRequest, RegisterResponse, SessionResponse, Stored, StoredEnvelope,
        path,
        signing::{ApiKey, Canonical, HEADER_CIRCLE, HEADER_NODE, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TS},
    },
    store::{Batch, MemoryStore},
    time::Now,
    view::{MessageView, Reply},
    wire::{ClientFrame, Sealed, ServerFrame},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// Where the relay is.
pub(crate) const RELAY: &str = "http://relay.test";
/// Virtual unix milliseconds at the start.
pub(crate) const EPOCH_MS: u64 = 1_780_000_000_000;
/// One way through the network, in milliseconds.
const LATENCY: u64 = 20;

/// One device: its node, its disk, and what its screen would know.
pub(crate) struct Device {
    pub(crate) node: Node,
    pub(crate) store: MemoryStore,
    pub(crate) model: Model,
    pub(crate) events: Vec<Event>,
    /// Wall clock minus virtual time, in milliseconds.
    pub(crate) skew: i64,
    /// Writes fail with this cause while it is set.
    pub(crate) full: Option<String>,
    /// What it wanted announced in its local network, in order.
    pub(crate) announced: Vec<Option<Announcement>>,
    /// Addresses it dialed, in order.
    pub(crate) dialed: Vec<String>,
    /// Writes are taken and never confirmed while set: the device then crashes.
    pub(crate) hold_writes: bool,
    deadline: Option<u64>,
    next_request: u64,
    sockets: BTreeSet<ConnId>,
    /// Ends of byte streams: own name, the other device and its name.
    streams: BTreeMap<ConnId, (usize, ConnId)>,
}

enum Happening {
    Input(usize, Input),
    Http(usize, felund_core::io::HttpId, HttpRequest),
    Dial(usize, ConnId, Vec<String>),
    Frame(usize, ConnId, Vec<u8>),
    Closed(usize, ConnId),
    Connect(usize, ConnId, String),
    Bytes(usize, ConnId, Vec<u8>),
    Hangup(usize, ConnId),
}

/// The relay's side of one circle.
#[derive(Default)]
struct Room {
    key: Option<ApiKey>,
    log: Vec<(Cursor, MsgId, Vec<u8>)>,
    attached: BTreeMap<(usize, ConnId), NodeId>,
}

/// Devices, the relay, and what is in flight between them.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) devices: Vec<Device>,
    /// The relay's process is up.
    pub(crate) relay_up: bool,
    /// The relay accepts WebSockets.
    pub(crate) sockets_allowed: bool,
    listening: BTreeSet<usize>,
    blocked: BTreeSet<(usize, usize)>,
    /// Bytes that passed between devices directly.
    pub(crate) direct_bytes: usize,
    /// Every nonce seen, as the relay would refuse a second use.
    nonces: BTreeSet<String>,
    pub(crate) requests: BTreeMap<String, usize>,
    rooms: BTreeMap<CircleHint, Room>,
    tokens: BTreeMap<String, (CircleHint, NodeId)>,
    next: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    seed: u64,
}

impl World {
    pub(crate) fn new(devices: usize) -> Self {
        let mut world = Self {
            now: 0,
            devices: Vec::new(),
            relay_up: true,
            sockets_allowed: true,
            listening: BTreeSet::new(),
            blocked: BTreeSet::new(),
            direct_bytes: 0,
            nonces: BTreeSet::new(),
            requests: BTreeMap::new(),
            rooms: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next: 0,
            queue: BTreeMap::new(),
            seed: 1,
        };
        for _ in 0..devices {
            world.add(MemoryStore::default());
        }
        world
    }

    fn fresh_node(&mut self) -> Node {
        self.seed += 1;
        Node::new(
            Box::new(ChaCha20Rng::seed_from_u64(self.seed)),
            Platform { dials: true, announces: true, ..Platform::default() },
        )
    }

    /// A device with this disk.
    pub(crate) fn add(&mut self, store: MemoryStore) -> usize {
        let node = self.fresh_node();
        self.devices.push(Device {
            node,
            store,
            model: Model::default(),
            events: Vec::new(),
            skew: 0,
            full: None,
            announced: Vec::new(),
            dialed: Vec::new(),
            hold_writes: false,
            deadline: None,
            next_request: 0,
            sockets: BTreeSet::new(),
            streams: BTreeMap::new(),
        });
        let at = self.devices.len() - 1;
        self.input(at, Input::Timeout);
        at
    }

    /// The process is killed and started again on the same disk: whatever was not on it is gone.
    pub(crate) fn restart(&mut self, at: usize) {
        let node = self.fresh_node();
        self.queue.retain(|_, what| match what {
            Happening::Input(of, _) => *of != at,
            Happening::Http(of, ..) | Happening::Dial(of, ..) | Happening::Frame(of, ..) => *of != at,
            Happening::Connect(of, ..) => *of != at,
            Happening::Closed(..) | Happening::Bytes(..) | Happening::Hangup(..) => true,
        });
        for (_, (other, conn)) in std::mem::take(&mut self.devices[at].streams) {
            self.later(LATENCY, Happening::Hangup(other, conn));
        }
        for conn in std::mem::take(&mut self.devices[at].sockets) {
            self.detach_all(at, conn);
        }
        let device = &mut self.devices[at];
        device.node = node;
        device.model = Model::default();
        device.events.clear();
        device.hold_writes = false;
        device.deadline = None;
        self.input(at, Input::Timeout);
        if self.listening.contains(&at) {
            self.listen(at);
        }
    }

    /// A device listens at an address of its own.
    pub(crate) fn listen(&mut self, at: usize) {
        self.listening.insert(at);
        self.input(at, Input::Listening(vec![format!("192.0.2.{at}:4700")]));
    }

    /// Cuts every byte stream between two devices and lets none through any more, or lets them through again.
    pub(crate) fn set_reachable(&mut self, a: usize, b: usize, reachable: bool) {
        let pair = (a.min(b), a.max(b));
        if reachable {
            self.blocked.remove(&pair);
            return;
        }
        self.blocked.insert(pair);
        for (at, other) in [(a, b), (b, a)] {
            let cut: Vec<ConnId> = self.devices[at]
                .streams
                .iter()
                .filter(|(_, (to, _))| *to == other)
                .map(|(id, _)| *id)
                .collect();
            for conn in cut {
                self.later(LATENCY, Happening::Hangup(at, conn));
            }
        }
    }

    /// The relay's process ends or starts; its log survives, sockets and tokens do not.
    pub(crate) fn set_relay_up(&mut self, up: bool) {
        self.relay_up = up;
        if !up {
            self.drop_sockets();
        }
    }

    /// Cuts every socket, as a proxy or a network change would.
    pub(crate) fn drop_sockets(&mut self) {
        self.tokens.clear();
        for room in self.rooms.values_mut() {
            room.attached.clear();
        }
        for at in 0..self.devices.len() {
            for conn in std::mem::take(&mut self.devices[at].sockets) {
                self.later(
                    LATENCY,
                    Happening::Input(at, Input::Disconnected(conn, "connection reset".into())),
                );
            }
        }
    }

    /// A command, and its reply once it has come.
    pub(crate) fn ask(&mut self, at: usize, command: Command) -> Result<Reply, String> {
        let id = self.tell(at, command);
        let mut answer = None;
        self.run_until("a reply", |world| {
            answer = world.devices[at].events.iter().find_map(|event| match event {
                Event::Reply { id: of, result } if *of == id => Some(result.clone()),
                _ => None,
            });
            answer.is_some()
        });
        answer.expect("run_until waits for it")
    }

    /// A command whose reply nobody waits for.
    pub(crate) fn tell(&mut self, at: usize, command: Command) -> u64 {
        self.devices[at].next_request += 1;
        let id = self.devices[at].next_request;
        self.input(at, Input::Command(Request { id, command }));
        id
    }

    /// Makes a circle on one device and joins it on the others.
    pub(crate) fn circle(&mut self, name: &str) -> CircleId {
        self.circle_at(name, Some(RELAY.into()))
    }

    /// As [`World::circle`], with this relay or none.
    pub(crate) fn circle_at(&mut self, name: &str, relay: Option<String>) -> CircleId {
        for at in 0..self.devices.len() {
            self.ask(at, Command::SetName { name: format!("member {at}") }).expect("named");
        }
        let made = self.ask(0, Command::CreateCircle { name: name.into(), relay });
        let Ok(Reply::Circle { circle_id, invite, .. }) = made else { panic!("{made:?}") };
        for at in 1..self.devices.len() {
            self.ask(at, Command::JoinCircle { invite: invite.clone(), relay: None }).expect("joined");
        }
        circle_id
    }

    /// The messages of a channel as storage has them, oldest first.
    pub(crate) fn history(&mut self, at: usize, circle: CircleId, channel: &str) -> Vec<MessageView> {
        let Some(view) = self.devices[at].model.circle(circle) else { return Vec::new() };
        let Some(channel) = view.channels.iter().find(|c| c.name == channel).map(|c| c.id) else {
            return Vec::new();
        };
        match self.ask(at, Command::History { circle, channel, before: None, limit: 10_000 }) {
            Ok(Reply::History { messages, .. }) => messages,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn texts(&mut self, at: usize, circle: CircleId, channel: &str) -> Vec<String> {
        self.history(at, circle, channel).into_iter().map(|message| message.text).collect()
    }

    /// Runs for a while.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until something is so, at most ten virtual minutes.
    pub(crate) fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + 600_000;
        while !done(self) {
            assert!(self.step(end), "waited ten minutes for {what}");
        }
    }

    fn step(&mut self, end: u64) -> bool {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let timer = self.devices.iter().filter_map(|device| device.deadline).min();
        let Some(at) = queued.into_iter().chain(timer).min().map(|at| at.max(self.now)) else { return false };
        if at > end {
            return false;
        }
        self.now = at;
        if queued.is_some_and(|queued| queued <= at) {
            if let Some((_, what)) = self.queue.pop_first() {
                self.happen(what);
            }
        } else if let Some(device) =
            self.devices.iter().position(|device| device.deadline.is_some_and(|d| d <= at))
        {
            self.input(device, Input::Timeout);
        }
        true
    }

    fn later(&mut self, ms: u64, what: Happening) {
        self.next += 1;
        self.queue.insert((self.now + ms, self.next), what);
    }

    pub(crate) fn input(&mut self, at: usize, input: Input) {
        let device = &mut self.devices[at];
        if let Input::Disconnected(conn, _) = &input {
            device.sockets.remove(conn);
        }
        let wall = (EPOCH_MS + self.now).saturating_add_signed(device.skew);
        device.node.handle(Now { mono: self.now, wall }, input);
        let mut outputs = VecDeque::new();
        loop {
            match device.node.poll_output() {
                Output::Timeout(deadline) => {
                    device.deadline = deadline;
                    break;
                }
                output => outputs.push_back(output),
            }
        }
        for output in outputs {
            self.output(at, output);
        }
    }

    fn output(&mut self, at: usize, output: Output) {
        match output {
            Output::Store(id, batch) => self.write(at, id, batch),
            Output::Load(id, query) => {
                let answer = self.devices[at].store.read(query);
                self.later(1, Happening::Input(at, Input::Loaded(id, Ok(answer))));
            }
            Output::Http(id, request) => self.later(LATENCY, Happening::Http(at, id, request)),
            Output::Dial { conn, protocols, .. } => self.later(LATENCY, Happening::Dial(at, conn, protocols)),
            Output::Connect(conn, address) => {
                self.devices[at].dialed.push(address.clone());
                self.later(LATENCY, Happening::Connect(at, conn, address));
            }
            Output::Announce(announcement) => self.devices[at].announced.push(announcement),
            Output::Transmit(conn, bytes) => match self.devices[at].streams.get(&conn) {
                Some((other, theirs)) => self.later(LATENCY, Happening::Bytes(*other, *theirs, bytes)),
                None => self.later(LATENCY, Happening::Frame(at, conn, bytes)),
            },
            Output::Close(conn, _) => {
                self.devices[at].sockets.remove(&conn);
                if let Some((other, theirs)) = self.devices[at].streams.remove(&conn) {
                    self.later(LATENCY, Happening::Hangup(other, theirs));
                }
                self.later(LATENCY, Happening::Closed(at, conn));
            }
            Output::Event(event) => {
                let device = &mut self.devices[at];
                device.model.apply(&event);
                device.events.push(event);
            }
            Output::Timeout(_) => {}
        }
    }

    fn write(&mut self, at: usize, id: BatchId, batch: Batch) {
        let device = &mut self.devices[at];
        match &device.full {
            _ if device.hold_writes => {}
            Some(cause) => {
                let cause = cause.clone();
                self.later(1, Happening::Input(at, Input::StoreFailed(id, cause)));
            }
            None => {
                device.store.write(batch);
                self.later(1, Happening::Input(at, Input::Committed(id)));
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Input(at, input) => self.input(at, input),
            Happening::Http(at, id, request) => {
                let answer = if self.relay_up {
                    Ok(self.serve(&request))
                } else {
                    Err("connection refused".to_owned())
                };
                self.later(LATENCY, Happening::Input(at, Input::Http(id, answer)));
            }
            Happening::Dial(at, conn, protocols) => {
                let token = protocols.get(1).is_some_and(|token| self.tokens.contains_key(token));
                if self.relay_up && self.sockets_allowed && token {
                    self.devices[at].sockets.insert(conn);
                    self.later(LATENCY, Happening::Input(at, Input::Connected(conn)));
                } else {
                    self.later(LATENCY, Happening::Input(at, Input::Disconnected(conn, "403".into())));
                }
            }
            Happening::Frame(at, conn, bytes) => {
                if self.devices[at].sockets.contains(&conn) {
                    let frame = ClientFrame::from_bytes(&bytes).expect("nodes send well-formed frames");
                    self.frame(at, conn, frame);
                }
            }
            Happening::Closed(at, conn) => self.detach_all(at, conn),
            Happening::Connect(at, conn, address) => {
                let host = address.strip_prefix("192.0.2.").and_then(|rest| rest.strip_suffix(":4700"));
                let other =
                    host.and_then(|host| host.parse().ok()).filter(|other| self.listening.contains(other));
                let other =
                    other.filter(|other: &usize| !self.blocked.contains(&(at.min(*other), at.max(*other))));
                let Some(other) = other else {
                    return self.later(
                        LATENCY,
                        Happening::Input(at, Input::Disconnected(conn, "unreachable".into())),
                    );
                };
                self.next += 1;
                let theirs = ConnId(1 << 63 | self.next);
                self.devices[at].streams.insert(conn, (other, theirs));
                self.devices[other].streams.insert(theirs, (at, conn));
                self.input(other, Input::Accepted(theirs, Origin::Outside));
                self.later(LATENCY, Happening::Input(at, Input::Connected(conn)));
            }
            Happening::Bytes(at, conn, bytes) => {
                if self.devices[at].streams.contains_key(&conn) {
                    self.direct_bytes += bytes.len();
                    self.input(at, Input::Received(conn, bytes));
                }
            }
            Happening::Hangup(at, conn) => {
                if self.devices[at].streams.remove(&conn).is_some() {
                    self.input(at, Input::Disconnected(conn, "hung up".into()));
                }
            }
        }
    }

    fn detach_all(&mut self, at: usize, conn: ConnId) {
        let hints: Vec<CircleHint> = self.rooms.keys().copied().collect();
        for hint in hints {
            let gone = self.rooms.get_mut(&hint).and_then(|room| room.attached.remove(&(at, conn)));
            if let Some(node) = gone {
                self.presence(hint, node, false);
            }
        }
    }

    fn push(&mut self, to: (usize, ConnId), frame: &ServerFrame) {
        self.later(LATENCY, Happening::Input(to.0, Input::Received(to.1, frame.to_bytes())));
    }

    fn peer(&self, node_id: NodeId) -> Peer {
        let observed_at = (EPOCH_MS + self.now) / 1_000;
        Peer { node_id, endpoints: Vec::new(), capabilities: Capabilities::default(), observed_at }
    }

    fn presence(&mut self, hint: CircleHint, node: NodeId, online: bool) {
        let peer = self.peer(node);
        let Some(room) = self.rooms.get(&hint) else { return };
        let to: Vec<_> =
            room.attached.iter().filter(|(_, other)| **other != node).map(|(to, _)| *to).collect();
        for to in to {
            self.push(to, &ServerFrame::Presence { hint, peer: peer.clone(), online });
        }
    }

    fn frame(&mut self, at: usize, conn: ConnId, frame: ClientFrame) {
        let to = (at, conn);
        match frame {
            ClientFrame::Attach { token, after } => {
                let Some((hint, node)) = self.tokens.remove(&token) else { return };
                let server_time = (EPOCH_MS + self.now) / 1_000;
                let room = self.rooms.entry(hint).or_default();
                let peers: Vec<NodeId> =
                    room.attached.values().copied().filter(|other| *other != node).collect();
                room.attached.insert(to, node);
                let backlog: Vec<_> =
                    room.log.iter().filter(|(cursor, ..)| *cursor > after).cloned().collect();
                let head = room.log.last().map(|(cursor, ..)| *cursor).unwrap_or_default();
                let peers = peers.into_iter().map(|node| self.peer(node)).collect();
                self.push(to, &ServerFrame::Attached { hint, peers, server_time });
                for (cursor, _, sealed) in backlog {
                    self.push(to, &ServerFrame::Live { hint, cursor, envelope: Sealed(sealed) });
                }
                self.push(to, &ServerFrame::CaughtUp { hint, cursor: head });
                self.presence(hint, node, true);
            }
            ClientFrame::Post { hint, seq, envelopes } => {
                let attached = self.rooms.get(&hint).is_some_and(|room| room.attached.contains_key(&to));
                assert!(attached && envelopes.len() <= MAX_BATCH);
                let sealed = envelopes.into_iter().map(|sealed| sealed.0).collect();
                match self.accept(hint, sealed) {
                    Ok(stored) => self.push(to, &ServerFrame::Stored { hint, seq, stored }),
                    Err(message) => {
                        let (hint, seq, code) = (Some(hint), Some(seq), "BAD_REQUEST".into());
                        let refused = ServerFrame::Refused {
                            hint,
                            seq,
                            code,
                            message,
                            retryable: false,
                            retry_after_ms: 0,
                        };
                        self.push(to, &refused);
                    }
                }
            }
            ClientFrame::Detach { hint } => {
                if let Some(node) = self.rooms.get_mut(&hint).and_then(|room| room.attached.remove(&to)) {
                    self.presence(hint, node, false);
                }
            }
            ClientFrame::Ping { id } => self.push(to, &ServerFrame::Pong { id }),
            ClientFrame::Ephemeral { .. } | ClientFrame::Signal { .. } => {}
        }
    }

    /// Stores verified envelopes and pushes the new ones; all or nothing.
    pub(crate) fn accept(&mut self, hint: CircleHint, sealed: Vec<Vec<u8>>) -> Result<Vec<Stored>, String> {
        let mut envelopes = Vec::new();
        for bytes in sealed {
            let verified =
                Envelope::from_cbor(&bytes).and_then(Envelope::verify).map_err(|e| e.to_string())?;
            envelopes.push((verified.header().msg_id, bytes));
        }
        let mut stored = Vec::new();
        for (msg_id, bytes) in envelopes {
            let room = self.rooms.entry(hint).or_default();
            let known = room.log.iter().find(|(_, id, _)| *id == msg_id).map(|(cursor, ..)| *cursor);
            let cursor = known.unwrap_or(Cursor(room.log.len() as u64 * 7 + 7));
            stored.push(Stored { msg_id, cursor });
            if known.is_none() {
                room.log.push((cursor, msg_id, bytes.clone()));
                for to in room.attached.keys().copied().collect::<Vec<_>>() {
                    self.push(to, &ServerFrame::Live { hint, cursor, envelope: Sealed(bytes.clone()) });
                }
            }
        }
        Ok(stored)
    }

    /// Everything the relay holds, as one blob.
    pub(crate) fn relay_bytes(&self) -> Vec<u8> {
        self.rooms.values().flat_map(|room| &room.log).flat_map(|(.., sealed)| sealed.clone()).collect()
    }

    fn serve(&mut self, request: &HttpRequest) -> HttpResponse {
        let target = request.url.strip_prefix(RELAY).expect("requests go to the relay");
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        *self.requests.entry(format!("{} {path}", request.method)).or_default() += 1;
        let server_time = (EPOCH_MS + self.now) / 1_000;
        let header =
            |name| request.headers.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value.as_str());
        let fail = |status, code| {
            let body =
                ErrorBody { ok: false, code, message: format!("{code:?}"), retryable: true, server_time };
            HttpResponse { status, retry_after_s: None, body: serde_json::to_vec(&body).unwrap() }
        };
        let hint: CircleHint = header(HEADER_CIRCLE).parse().expect("a hint");
        let node_id: NodeId = header(HEADER_NODE).parse().expect("a node");
        let ts: u64 = header(HEADER_TS).parse().expect("a timestamp");
        if path == path::REGISTER {
            let register: RegisterRequest = serde_json::from_slice(&request.body).expect("a registration");
            assert_eq!((register.signing_key.hint(), register.node_id), (hint, node_id));
            self.rooms.entry(hint).or_default().key = Some(register.signing_key);
        }
        let Some(key) = self.rooms.get(&hint).and_then(|room| room.key.clone()) else {
            return fail(401, ErrorCode::UnknownCircle);
        };
        if ts.abs_diff(server_time) > 300 {
            return fail(400, ErrorCode::ExpiredTimestamp);
        }
        let nonce = header(HEADER_NONCE);
        let canonical = Canonical {
            method: request.method,
            path,
            query,
            body: &request.body,
            ts,
            nonce,
            node_id: &node_id,
        };
        let mac: [u8; 32] = hex::decode(header(HEADER_SIGNATURE)).unwrap().try_into().unwrap();
        assert!(key.check(&canonical.text(), &mac), "the node signs what it sends");
        assert!(self.nonces.insert(nonce.to_owned()), "nonces are never used twice");
        let body = match (request.method, path) {
            ("POST", path::REGISTER) => {
                let expires_at = server_time + PRESENCE_TTL_S;
                json(&RegisterResponse {
                    ok: true,
                    server_time,
                    expires_at,
                    observed_endpoint: "192.0.2.7:1".into(),
                })
            }
            ("POST", path::SESSION) => {
                self.next += 1;
                let token = format!("token-{}", self.next);
                self.tokens.insert(token.clone(), (hint, node_id));
                let (session_id, expires_at) = ("s".into(), server_time + 60);
                let relay_url = path::SOCKET.into();
                json(&SessionResponse { ok: true, relay_url, session_id, token, expires_at, server_time })
            }
            ("POST", path::MESSAGES) => {
                let post: PostMessages = serde_json::from_slice(&request.body).expect("messages");
                match self.accept(hint, post.messages.iter().map(Envelope::to_cbor).collect()) {
                    Ok(stored) => json(&PostMessagesResponse { ok: true, stored }),
                    Err(_) => return fail(400, ErrorCode::BadRequest),
                }
            }
            ("GET", path::MESSAGES) => {
                let after = query.unwrap().split('&').find_map(|pair| pair.strip_prefix("after=")).unwrap();
                let after: Cursor = after.parse().unwrap();
                let log = &self.rooms[&hint].log;
                let all: Vec<_> = log.iter().filter(|(cursor, ..)| *cursor > after).collect();
                let page = &all[..all.len().min(10)];
                let messages: Vec<_> = page
                    .iter()
                    .map(|(cursor, _, sealed)| StoredEnvelope {
                        cursor: *cursor,
                        envelope: Envelope::from_cbor(sealed).unwrap(),
                    })
                    .collect();
                let next = messages.last().map_or(after, |stored| stored.cursor);
                json(&MessagesResponse { ok: true, messages, next, more: page.len() < all.len() })
            }
            ("GET", path::PEERS) => json(&PeersResponse { ok: true, peers: Vec::new() }),
            other => panic!("no such endpoint: {other:?}"),
        };
        HttpResponse { status: 200, retry_after_s: None, body }
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

impl World {
    /// A device's sockets are dead without either side being told.
    pub(crate) fn forget_sockets(&mut self, at: usize) {
        self.devices[at].sockets.clear();
        for room in self.rooms.values_mut() {
            room.attached.retain(|(of, _), _| *of != at);
        }
    }
}

impl World {
    /// A lying relay: passes bytes on as if they were in its log.
    pub(crate) fn push_to_all(&mut self, hint: CircleHint, bytes: &[u8]) {
        let Some(room) = self.rooms.get_mut(&hint) else { return };
        let cursor = Cursor(room.log.len() as u64 * 7 + 3);
        for to in room.attached.keys().copied().collect::<Vec<_>>() {
            self.push(to, &ServerFrame::Live { hint, cursor, envelope: Sealed(bytes.to_vec()) });
        }
    }
}

impl World {
    /// A device's byte streams are dead without either side being told.
    pub(crate) fn deafen(&mut self, at: usize) {
        self.devices[at].streams.clear();
    }

    /// Byte streams that are open at both ends.
    pub(crate) fn streams(&self) -> usize {
        let ends = self.devices.iter().flat_map(|device| device.streams.values());
        ends.filter(|(other, conn)| self.devices[*other].streams.contains_key(conn)).count() / 2
    }
}
