//! Devices, the relay, and what is in flight between them.

mod faults;
mod flow;
mod people;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

use super::{Device, Dice, Disk, EPOCH_MS, End, Network, Relay, Trace, WebRtc, relay::Answer};
use crate::{
    ids::Cursor,
    io::{BatchId, ConnId, Event, HttpId, HttpRequest, Input, Output},
    model::Model,
    node::{Node, Platform},
    store::MemoryStore,
    time::Now,
};

/// Where devices listen.
const PORT: u16 = 4700;
/// Timers of one device that may be due at one instant; a node that wants more does not come to rest.
const MAX_TIMERS_AT_ONCE: u32 = 10_000;

/// What a device's screen was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Virtual milliseconds.
    pub at: u64,
    /// Index of the device.
    pub device: usize,
    /// The device whose bytes, on a direct connection, led to it.
    pub via: Option<usize>,
    /// What it was told.
    pub event: Event,
}

/// Something that will happen.
#[derive(Debug)]
enum Happening {
    Input(usize, u32, Input),
    /// A batch is durable, and its node is to be told so.
    Settled(usize, u32, BatchId, bool),
    Wake(usize, u32),
    /// A request arrives at the relay; the flag says whether its answer will arrive.
    Request {
        device: usize,
        life: u32,
        id: HttpId,
        request: HttpRequest,
        answered: bool,
    },
    /// The relay's disk has what came up to this cursor.
    Written(u32, Cursor),
    Dial(End, Vec<String>),
    /// From a device to the relay.
    Frame(End, Vec<u8>),
    /// The relay notices that a socket is gone.
    Detached(End),
    /// From the relay to a device.
    Push(End, Vec<u8>),
    SocketLost(End, &'static str),
    Connect(End, String),
    /// On a stream, to its end; from the device of this index.
    Bytes(End, usize, Vec<u8>),
    Hangup(End),
}

impl Happening {
    /// What the trace calls it, whom it concerns, and its bytes.
    fn traced(&self) -> (&'static str, usize, &[u8]) {
        match self {
            Self::Input(at, _, Input::Http(_, Ok(answer))) => ("answered", *at, &answer.body),
            Self::Input(at, _, Input::Http(_, Err(_))) => ("request failed", *at, &[]),
            Self::Input(at, _, Input::Loaded(..)) => ("loaded", *at, &[]),
            Self::Input(at, _, Input::StoreFailed(..)) => ("write failed", *at, &[]),
            Self::Input(at, ..) => ("input", *at, &[]),
            Self::Settled(at, _, _, true) => ("committed", *at, &[]),
            Self::Settled(at, _, _, false) => ("settled", *at, &[]),
            Self::Wake(at, _) => ("wakes", *at, &[]),
            Self::Request { device, request, .. } => ("request", *device, &request.body),
            Self::Written(..) => ("relay wrote", 0, &[]),
            Self::Dial(end, _) => ("dials the relay", end.device, &[]),
            Self::Frame(end, bytes) => ("frame to relay", end.device, bytes),
            Self::Detached(end) => ("detached", end.device, &[]),
            Self::Push(end, bytes) => ("frame from relay", end.device, bytes),
            Self::SocketLost(end, _) => ("socket lost", end.device, &[]),
            Self::Connect(end, _) => ("connects", end.device, &[]),
            Self::Bytes(end, _, bytes) => ("bytes", end.device, bytes),
            Self::Hangup(end) => ("hung up", end.device, &[]),
        }
    }
}

/// Devices, the relay, and what is in flight between them.
#[derive(Debug)]
pub struct World {
    /// Virtual milliseconds since the start.
    pub now: u64,
    /// In the order in which they were added.
    pub devices: Vec<Device>,
    /// Paths, partitions, NATs.
    pub network: Network,
    /// The one relay.
    pub relay: Relay,
    /// Peer connections, where platforms have them.
    pub rtc: WebRtc,
    /// An account of what happens; off unless replaced.
    pub trace: Trace,
    /// What screens were told, in order, until somebody takes it out.
    pub told: Vec<Told>,
    /// What nodes did that they must not do.
    pub faults: Vec<String>,
    dice: Dice,
    timers: BTreeSet<(u64, usize)>,
    timers_at_once: u32,
    queue: BTreeMap<(u64, u64), Happening>,
    next: u64,
    via: Option<usize>,
    /// Sockets that the relay regards as open.
    open: BTreeSet<End>,
    /// Up to where writing at the relay is under way.
    writing: Cursor,
}

impl World {
    /// So many devices that dial, with instant disks, on a calm network.
    #[must_use]
    pub fn new(devices: usize) -> Self {
        let mut world = Self::seeded(1);
        for _ in 0..devices {
            world.add(MemoryStore::default());
        }
        world
    }

    /// Nobody yet. Everything that happens follows from the seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            now: 0,
            devices: Vec::new(),
            network: Network::new(dice.fork()),
            relay: Relay::new(),
            rtc: WebRtc::default(),
            trace: Trace::off(),
            told: Vec::new(),
            faults: Vec::new(),
            dice,
            timers: BTreeSet::new(),
            timers_at_once: 0,
            queue: BTreeMap::new(),
            next: 0,
            via: None,
            open: BTreeSet::new(),
            writing: Cursor(0),
        }
    }

    fn fresh_node(&mut self, platform: Platform) -> Node {
        Node::new(Box::new(ChaCha20Rng::seed_from_u64(self.dice.below(u64::MAX))), platform)
    }

    /// A device that dials, with an instant disk that has this on it; its index.
    pub fn add(&mut self, store: MemoryStore) -> usize {
        self.add_device(
            Platform { dials: true, announces: true, ..Platform::default() },
            Disk::instant(store),
        )
    }

    /// A device; its index.
    pub fn add_device(&mut self, platform: Platform, disk: Disk) -> usize {
        let node = self.fresh_node(platform);
        self.devices.push(Device::new(node, platform, disk));
        let at = self.devices.len() - 1;
        self.input(at, Input::Timeout);
        at
    }

    /// Where a device listens, if it does.
    #[must_use]
    pub fn address(at: usize) -> String {
        format!("10.0.{}.{}:{PORT}", at / 256, at % 256)
    }

    /// From where a device's connections seem to come.
    pub(super) fn ip(&self, at: usize) -> IpAddr {
        let [.., high, low] = at.to_be_bytes();
        self.devices[at].router.unwrap_or_else(|| [10, 0, high, low].into())
    }

    fn device_at(&self, address: &str) -> Option<usize> {
        let routed = |device: &Device| device.router.is_some_and(|ip| address == format!("{ip}:{PORT}"));
        let own = || {
            let (high, low) = address.strip_prefix("10.0.")?.strip_suffix(":4700")?.split_once('.')?;
            let at = high.parse::<usize>().ok()? * 256 + low.parse::<usize>().ok()?;
            self.devices.get(at).filter(|device| device.router.is_none()).map(|_| at)
        };
        let at = own().or_else(|| self.devices.iter().position(routed))?;
        self.devices[at].listens.then_some(at)
    }

    /// A device listens behind a router that has a public address and leads connections to the same port on to it. The
    /// device itself knows only its address in the local network, where nobody else is.
    pub fn listen_behind(&mut self, at: usize, router: IpAddr) {
        self.devices[at].router = Some(router);
        self.devices[at].listens = true;
        self.input(at, Input::Listening(self.endpoints(at)));
    }

    /// What a device that listens knows of where that is.
    pub(super) fn endpoints(&self, at: usize) -> Vec<String> {
        let local = || format!("192.168.1.2:{PORT}");
        vec![if self.devices[at].router.is_some() { local() } else { Self::address(at) }]
    }

    /// A device listens at an address of its own, from now on and after every restart.
    pub fn listen(&mut self, at: usize) {
        self.devices[at].listens = true;
        self.input(at, Input::Listening(self.endpoints(at)));
    }

    /// Runs for a while.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until something is so.
    ///
    /// # Panics
    /// When it is not so after ten virtual minutes; the message names it.
    pub fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + 600_000;
        while !done(self) {
            assert!(self.step(end), "waited ten minutes for {what}");
        }
    }

    /// Lets the next thing happen, unless it is later than `end`.
    pub fn step(&mut self, end: u64) -> bool {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let timer = self.timers.first().map(|(at, _)| *at);
        let Some(at) = queued.into_iter().chain(timer).min().map(|at| at.max(self.now)) else { return false };
        if at > end {
            return false;
        }
        if at > self.now {
            (self.now, self.timers_at_once) = (at, 0);
        }
        if queued.is_some_and(|queued| queued <= at) {
            if let Some((_, what)) = self.queue.pop_first() {
                self.happen(what);
            }
        } else if let Some((_, device)) = self.timers.first().copied() {
            self.timers_at_once += 1;
            if self.timers_at_once > MAX_TIMERS_AT_ONCE {
                self.faults.push(format!("device {device} does not come to rest"));
                self.set_deadline(device, Some(self.now + 1_000));
                return true;
            }
            self.trace.note(self.now, "timer", device, &[]);
            self.input(device, Input::Timeout);
        }
        true
    }

    /// Something happens to a device after a while, unless its process has ended by then.
    pub(super) fn input_later(&mut self, ms: u64, end: End, input: Input) {
        self.later(ms, Happening::Input(end.device, end.life, input));
    }

    fn later(&mut self, ms: u64, what: Happening) {
        self.at(self.now + ms, what);
    }

    fn at(&mut self, at: u64, what: Happening) {
        self.next += 1;
        self.queue.insert((at.max(self.now), self.next), what);
    }

    fn set_deadline(&mut self, at: usize, deadline: Option<u64>) {
        let device = &mut self.devices[at];
        if let Some(old) = std::mem::replace(&mut device.deadline, deadline) {
            self.timers.remove(&(old, at));
        }
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, at));
        }
    }

    /// Hands a device's node an input, and carries out what it wants done.
    pub fn input(&mut self, at: usize, input: Input) {
        let device = &mut self.devices[at];
        if !device.up {
            return;
        }
        let wall = (EPOCH_MS + self.now).saturating_add_signed(device.skew);
        let still = device.stood_still;
        device.node.handle(Now { mono: self.now - still, wall }, input);
        let mut outputs = VecDeque::new();
        let deadline = loop {
            match device.node.poll_output() {
                Output::Timeout(deadline) => break deadline.map(|at| at + still),
                output => outputs.push_back(output),
            }
        };
        self.set_deadline(at, deadline);
        for output in outputs {
            self.output(at, output);
        }
    }

    fn tell_screen(&mut self, at: usize, event: Event) {
        let now = self.now;
        self.trace.remark(now, || format!("{at}  told {}", label(&event)));
        self.devices[at].model.apply(&event);
        self.told.push(Told { at: now, device: at, via: self.via, event });
    }

    /// Sends what the relay wants sent, and lets its disk work.
    fn flush_relay(&mut self) {
        loop {
            for (end, frame) in self.relay.take_pushes() {
                self.push(end, frame.to_bytes());
            }
            let Some(cursor) = self.relay.unwritten() else {
                // Posts of what is there already wait for nothing.
                return self.answer_settled(Cursor(0));
            };
            if self.relay.write_ms > 0 {
                if cursor > self.writing {
                    self.writing = cursor;
                    let took = self.dice.between(1, self.relay.write_ms);
                    self.later(took, Happening::Written(self.relay.life, cursor));
                }
                return self.answer_settled(Cursor(0));
            }
            self.answer_settled(cursor);
        }
    }

    fn answer_settled(&mut self, to: Cursor) {
        for answer in self.relay.settle(to) {
            match answer {
                Answer::Frame(end, frame) => self.push(end, frame.to_bytes()),
                Answer::Http { device, life, id, response } => {
                    let delay = self.network.delay(self.network.relay);
                    self.later(delay, Happening::Input(device, life, Input::Http(id, Ok(response))));
                }
            }
        }
    }

    fn push(&mut self, end: End, bytes: Vec<u8>) {
        let (now, path) = (self.now, self.network.relay);
        let device = &mut self.devices[end.device];
        if !device.is_in(end.life) || !self.network.reaches_relay(end.device) {
            return;
        }
        if let Some(pipe) = device.sockets.get_mut(&end.conn).filter(|pipe| !pipe.dead) {
            let arrives = self.network.in_order(now, path, &mut pipe.down);
            pipe.down += self.relay.frame_ms;
            self.at(arrives, Happening::Push(end, bytes));
        }
    }

    pub(super) fn end(&self, at: usize, conn: ConnId) -> End {
        End { device: at, life: self.devices[at].life, conn }
    }
}

/// An event for the trace's lines: contents are the ledger's business.
fn label(event: &Event) -> String {
    match event {
        Event::Message(message) => format!("message {:?} in #{}", message.msg_id, message.channel),
        Event::Circle(circle) => {
            let reach = Model::reach_counts(circle);
            format!("circle: {:?}, {} unsent, reached {reach:?}", circle.link, circle.unsent)
        }
        Event::Delivery { msg_id, delivery, .. } => format!("{msg_id:?} is {delivery:?}"),
        Event::Notice { text, .. } => format!("notice: {text}"),
        Event::Reply { id, result: Ok(_) } => format!("reply {id}"),
        Event::Reply { id, result: Err(text) } => format!("reply {id}: {text}"),
        Event::Identity(_) => "identity".into(),
        Event::Ready => "ready".into(),
        Event::Locked => "locked".into(),
        Event::CircleGone { .. } => "circle gone".into(),
        Event::Pruned { .. } => "pruned".into(),
    }
}
