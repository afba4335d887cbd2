//! The node: one state machine per device that wires the rooms together and owns no logic of its own.
//!
//! ```text
//! node.handle(now, input);            // one mutation
//! loop {                              // then drain
//!     match node.poll_output() {
//!         Output::Timeout(deadline) => break,
//!         output => driver.carry_out(output),
//!     }
//! }
//! ```

mod anchor;
mod channels;
mod circle;
mod commands;
mod doctor;
mod early;
mod ephemeral;
mod gossip;
mod ingest;
mod lan;
mod mesh;
mod privacy;
mod publish;
mod records;
mod rtc;
mod staging;
mod startup;
mod welcome;

use std::collections::VecDeque;

use rand_core::CryptoRng;

use self::circle::Circle;
use crate::{
    ice::servers_text,
    ids::{ChannelId, CircleId, NodeId},
    io::{BatchId, ConnId, Event, Input, Output, QueryId, Request},
    keys::{NodeKey, StoreKey},
    log::Clock,
    route::{
        direct::Direct,
        ladder::Ladder,
        relay::{Cx, LinkEvent, RelayLink, RngRef},
        rtc::Rtc,
    },
    sorted::{SortedMap, SortedSet},
    store::{Batch, Op, Query},
    time::Now,
    view::{IdentityView, LinkView, Reply},
};

/// Randomness, injected by the driver: the operating system's in a program, a seeded generator in a simulation.
pub type Rng = Box<dyn CryptoRng + Send>;

/// What a driver and its device can do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Platform {
    /// The driver carries out [`Output::Connect`]; a browser cannot.
    pub dials: bool,
    /// This process does nothing but store and forward: `felund anchor`.
    pub anchor: bool,
    /// The driver carries out [`Output::Announce`].
    pub announces: bool,
    /// The driver carries out [`Output::Rtc`]; not every browser can.
    pub rtc: bool,
    /// The driver carries out [`Output::Probe`].
    pub probes: bool,
    /// TURN servers are also spoken to over TCP and TLS; STUN servers over TLS.
    pub turn_streams: bool,
    /// Members are not to get to know this device's address while this process runs, whatever the setting.
    pub hide_address: bool,
    /// A phone: it sleeps, pays for its traffic and changes networks.
    pub mobile: bool,
}

/// Changed circles are told at most this often, in milliseconds: a backlog must not be a storm of views.
const VIEW_INTERVAL_MS: u64 = 50;
/// A view names every member. So that its cost per second stays what it is, those of large circles are told less often: this
/// many members add a millisecond.
const MEMBERS_PER_MS: u64 = 2;
/// Commands kept while storage is still being read.
const MAX_WAITING: usize = 256;

/// Who this device is, once its keys are open.
struct Me {
    key: NodeKey,
    store: StoreKey,
    name: String,
    passphrase: bool,
}

/// How far starting has come.
enum Phase {
    /// Reading the records.
    Records,
    /// Waiting for the passphrase.
    Locked(records::Locked, Vec<(String, Vec<u8>)>),
    /// Reading circles.
    Circles,
    /// Everything works.
    Ready,
    /// Storage cannot be read; the text says why.
    Broken(String),
}

/// One device's Felund.
pub struct Node {
    now: Now,
    rng: RngRef,
    phase: Phase,
    me: Option<Me>,
    platform: Platform,
    clock: Clock,
    circles: SortedMap<CircleId, Circle>,
    links: SortedMap<String, RelayLink>,
    next_id: u64,
    outputs: VecDeque<Output>,
    queries: SortedMap<QueryId, startup::Asked>,
    batches: SortedMap<BatchId, Vec<publish::After>>,
    /// Writes nobody waits for, gathered while the last such batch is being written.
    staged: Vec<Op>,
    staging: staging::Staging,
    waiting: Vec<Request>,
    direct: Direct,
    lan: lan::Lan,
    reach: lan::Reach,
    rtc: Rtc,
    /// The setting; see [`Node::is_hidden`].
    hides: bool,
    /// `sent_at` of the newest signal.
    signaled_at: u64,
    /// When it is looked for what has become too old, monotonic milliseconds.
    age_at: u64,
    forwarded: SortedMap<ConnId, rtc::Forwarded>,
    /// Signals that were dropped, by what was wrong with them.
    bad_signals: SortedMap<&'static str, u32>,
    exchanges: SortedMap<(ConnId, CircleId), gossip::Exchange>,
    streams: SortedMap<(ConnId, CircleId), gossip::Stream>,
    ladder: Ladder,
    anchoring: anchor::Anchoring,
    summaries: SortedMap<(ConnId, CircleId), gossip::Summaries>,
    checkups: Vec<doctor::Checkup>,
    checked: Option<doctor::Found>,
    dirty: SortedSet<CircleId>,
    told_at: u64,
    /// Circles whose confirmations have changed since they were written, and when they will be.
    unsaved: SortedSet<CircleId>,
    save_at: u64,
    store_fault: Option<String>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("circles", &self.circles.len())
            .field("links", &self.links.len())
            .field("outputs", &self.outputs.len())
            .finish_non_exhaustive()
    }
}

impl Node {
    /// A node that knows nothing yet; its first output reads its own storage.
    #[must_use]
    pub fn new(rng: Rng, platform: Platform) -> Self {
        let mut node = Self {
            now: Now { mono: 0, wall: 0 },
            rng: RngRef(rng),
            phase: Phase::Records,
            me: None,
            platform,
            clock: Clock::default(),
            circles: SortedMap::new(),
            links: SortedMap::new(),
            next_id: 0,
            outputs: VecDeque::new(),
            queries: SortedMap::new(),
            batches: SortedMap::new(),
            staged: Vec::new(),
            staging: staging::Staging::default(),
            waiting: Vec::new(),
            direct: Direct::default(),
            lan: lan::Lan::new(platform.announces),
            reach: lan::Reach::default(),
            rtc: Rtc::new(platform.rtc, platform.turn_streams, !platform.dials),
            hides: false,
            signaled_at: 0,
            age_at: 0,
            forwarded: SortedMap::new(),
            bad_signals: SortedMap::new(),
            exchanges: SortedMap::new(),
            streams: SortedMap::new(),
            ladder: Ladder::default(),
            anchoring: anchor::Anchoring::default(),
            summaries: SortedMap::new(),
            checkups: Vec::new(),
            checked: None,
            dirty: SortedSet::new(),
            told_at: 0,
            unsaved: SortedSet::new(),
            save_at: 0,
            store_fault: None,
        };
        node.direct.dials = platform.dials;
        node.load(Query::Records, startup::Asked::Records);
        node
    }

    /// Takes in one thing that happened. Never fails and never panics, whatever the input holds: faults of others
    /// close their connection, faults of the user become a reply that says so.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Command(request) => self.command(request),
            Input::Committed(batch) => self.committed(batch),
            Input::StoreFailed(batch, cause) => self.store_failed(batch, &cause),
            Input::Loaded(query, result) => self.loaded(query, result),
            Input::Http(id, result) => self.http_answered(id, result),
            // Without the keys nobody can be answered, and nothing may come in before the logs know what is there.
            Input::Accepted(conn, _) if !matches!(self.phase, Phase::Ready) || self.is_hidden() => {
                self.outputs.push_back(Output::Close(conn, "not ready"));
            }
            Input::Accepted(conn, origin) => {
                self.with_direct(|direct, _, cx, _| direct.accepted(conn, origin, cx));
            }
            Input::TurnedAway(times) => self.direct.turned_away(times),
            Input::Listening(endpoints) => self.listening(endpoints),
            Input::Nearby(found) => self.lan.found(found),
            Input::Probed(id, report) => self.probed(id, &report),
            Input::Surroundings(findings) => self.reach.surroundings = findings,
            Input::Connected(conn) if self.direct.owns(conn) => {
                self.with_direct(|direct, secrets, cx, _| direct.connected(conn, secrets, cx));
            }
            Input::Received(conn, bytes) if self.direct.owns(conn) => {
                self.with_direct(|direct, secrets, cx, events| {
                    direct.received(conn, &bytes, secrets, cx, events);
                });
            }
            Input::Disconnected(conn, reason) if self.direct.owns(conn) => {
                self.with_direct(|direct, _, cx, events| direct.disconnected(conn, &reason, cx, events));
            }
            Input::Disconnected(conn, _) if self.rtc.owns(conn) => self.rtc_ended(conn),
            Input::Rtc(conn, event) => self.rtc_happened(conn, event),
            Input::Connected(conn) => self.with_link(|link| link.owns(conn), RelayLink::connected),
            Input::Received(conn, bytes) => {
                self.with_link(|link| link.owns(conn), |link, cx| link.received(&bytes, cx));
            }
            Input::Disconnected(conn, _) => self.with_link(|link| link.owns(conn), RelayLink::disconnected),
            Input::Timeout => {}
            Input::Wake => {
                self.direct.wake(now.mono);
                self.lan.renew();
                self.rtc.wake(now.mono);
                self.with_link(|_| true, RelayLink::wake);
            }
        }
        self.retry_early();
        self.age();
        self.tend_anchors();
        self.send_receipts();
        self.tell_brought();
        self.welcome();
        self.drive_lan();
        self.renew_sessions();
        self.with_direct(|direct, _, cx, events| direct.drive(cx, events));
        self.drive_rtc();
        self.escalate();
        self.with_link(|_| true, RelayLink::drive);
        if !self.checkups.is_empty() {
            self.advance_checkups();
        }
        self.save_confirmations();
        self.flush_staged();
        self.flush_views(false);
    }

    /// The next thing to do; [`Output::Timeout`] means that there is nothing more for now.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.deadline()))
    }

    /// Whether a direct connection has proved who is there. Until then it is a stranger's, and drivers bound how many
    /// of them one address may have.
    #[must_use]
    pub fn is_proven(&self, conn: ConnId) -> bool {
        self.direct.session(conn).is_some()
    }

    fn deadline(&self) -> Option<u64> {
        // Before everything is loaded nothing is told, and waiting for it must not be a loop.
        let ready = matches!(self.phase, Phase::Ready);
        let views = (ready && !self.dirty.is_empty()).then(|| self.views_at());
        let links = self.links.values().filter_map(|link| link.deadline(self.now.mono));
        let save = (!self.unsaved.is_empty()).then_some(self.save_at);
        let waits = [
            save,
            self.ladder.deadline(),
            self.anchors_deadline(),
            self.early_deadline(),
            self.age_deadline(),
            self.direct.deadline(),
            self.staging_deadline(),
            self.brought_deadline(),
            self.welcome_deadline(),
            self.lan.deadline(self.now),
            self.rtc.deadline(),
            self.checkups_deadline(),
        ];
        links.chain(views).chain(waits.into_iter().flatten()).min()
    }

    /// Who this device is, once its keys are open.
    fn my_id(&self) -> Option<NodeId> {
        self.me.as_ref().map(|me| me.key.id())
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Runs `act` on every link that `which` picks, then takes in what the links learned.
    fn with_link(
        &mut self,
        which: impl Fn(&RelayLink) -> bool,
        mut act: impl FnMut(&mut RelayLink, &mut Cx<'_>),
    ) {
        let Some(me) = &self.me else { return };
        let mut learned: Vec<(String, LinkEvent)> = Vec::new();
        for (url, link) in self.links.iter_mut().filter(|(_, link)| which(link)) {
            let mut events = Vec::new();
            let mut cx = Cx {
                now: self.now,
                key: &me.key,
                rng: &mut self.rng,
                next_id: &mut self.next_id,
                out: &mut self.outputs,
                events: &mut events,
            };
            act(link, &mut cx);
            learned.extend(events.into_iter().map(|event| (url.clone(), event)));
        }
        for (url, event) in learned {
            self.link_event(&url, event);
        }
    }

    /// Puts a circle on the link of its relay, if it has one.
    fn link_up(&mut self, id: CircleId) {
        self.limit_anchor(id);
        let capabilities = self.capabilities();
        let Some(circle) = self.circles.get_mut(&id) else { return };
        self.direct.learn(id, None, circle.peers.clone());
        let unqueued = std::mem::take(&mut circle.unqueued);
        if let Some(relay) = circle.relay.clone() {
            let rtc = self.rtc.is_enabled() || self.platform.probes;
            let link =
                self.links.entry(relay.clone()).or_insert_with(|| RelayLink::new(relay, capabilities, rtc));
            link.add(circle.secret.api_key(), circle.cursor);
            link.set_endpoints(self.direct.endpoints());
            for (msg, sealed) in unqueued {
                link.enqueue(&circle.hint, msg, sealed);
            }
        }
    }

    /// Takes a circle off its link.
    fn link_down(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        circle.online.clear();
        let (hint, Some(relay)) = (circle.hint, circle.relay.clone()) else { return };
        let mut empty = false;
        self.with_link(|link| link.is_at(&relay), |link, cx| empty = link.remove(&hint, cx));
        if empty {
            self.links.remove(&relay);
            self.unobserved(&relay);
            self.rtc.servers.forget(&relay);
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn notice(&mut self, error: bool, text: String) {
        self.event(Event::Notice { error, text });
    }

    fn reply(&mut self, id: u64, result: Result<Reply, String>) {
        self.flush_views(true);
        self.event(Event::Reply { id, result });
    }

    fn identity(&self) -> Option<IdentityView> {
        let me = self.me.as_ref()?;
        Some(IdentityView {
            node_id: me.key.id(),
            name: me.name.clone(),
            passphrase: me.passphrase,
            anchor: self.is_anchor(),
            hide_address: self.is_hidden(),
            ice_servers: servers_text(self.rtc.servers.own()),
        })
    }

    fn tell_identity(&mut self) {
        if let Some(identity) = self.identity() {
            self.event(Event::Identity(identity));
        }
    }

    /// When circles that changed may be told of.
    fn views_at(&self) -> u64 {
        let changed = self.dirty.iter().filter_map(|id| self.circles.get(id));
        let members: usize = changed.map(|circle| circle.state.known_members()).sum();
        self.told_at + VIEW_INTERVAL_MS.max(members as u64 / MEMBERS_PER_MS)
    }

    /// Tells of circles that changed, no more often than [`Node::views_at`] says unless somebody waits for it.
    fn flush_views(&mut self, now: bool) {
        if self.dirty.is_empty()
            || !(now || self.now.mono >= self.views_at())
            || !matches!(self.phase, Phase::Ready)
        {
            return;
        }
        self.told_at = self.now.mono;
        for id in std::mem::take(&mut self.dirty) {
            self.tell_circle(id, false);
        }
        // Whatever changes who is there or reached changes a view.
        self.want_channels();
    }

    /// Tells of a circle; one that looks as it did when it was last told of only if it is told `again`.
    fn tell_circle(&mut self, id: CircleId, again: bool) {
        let (Some(circle), Some(me)) = (self.circles.get_mut(&id), &self.me) else { return };
        let link = circle.relay.as_ref().and_then(|relay| self.links.get(relay));
        let flow = link.map(|link| (link.held(&circle.hint), link.arriving(&circle.hint)));
        let link = link.map_or(LinkView::None, |link| link.view(&circle.hint, self.now.mono));
        let view = circle.view(link, flow.unwrap_or_default(), &me.key.id(), self.now.mono);
        if again || circle.told.as_ref() != Some(&view) {
            circle.told = Some(view.clone());
            self.event(Event::Circle(view));
        }
    }

    fn load(&mut self, query: Query, asked: startup::Asked) {
        // A read sees every batch handed out before it; what has been shown already is to be in it.
        self.flush_staged_now();
        let id = QueryId(self.id());
        self.queries.insert(id, asked);
        self.outputs.push_back(Output::Load(id, query));
    }

    /// Writes what somebody waits for; `after` happens once it is durable.
    fn store(&mut self, ops: Vec<Op>, after: Vec<publish::After>) -> BatchId {
        // What was staged before must not be overtaken.
        self.flush_staged_now();
        let id = BatchId(self.id());
        self.batches.insert(id, after);
        self.outputs.push_back(Output::Store(id, Batch { ops, strict: true }));
        id
    }

    /// Seals a record of this device's own.
    fn record(&mut self, name: String, value: &[u8]) -> Option<Op> {
        let sealed = self.me.as_ref()?.store.seal(&name, value, &mut self.rng.0);
        Some(Op::PutRecord(name, sealed))
    }

    fn stage_record(&mut self, name: String, value: &[u8]) {
        let op = self.record(name, value);
        self.staged.extend(op);
    }

    /// Only the last of several in one batch counts.
    fn restage_record(&mut self, name: String, value: &[u8]) {
        self.staged.retain(|op| !matches!(op, Op::PutRecord(other, _) if *other == name));
        self.stage_record(name, value);
    }

    fn stage_read(&mut self, circle: CircleId, channel: &ChannelId) {
        let read = self.circles.get(&circle).and_then(|circle| circle.read_record(channel));
        if let Some(read) = read {
            self.restage_record(records::read(&circle, channel), &records::cbor(&read));
        }
    }

    fn circle_and_channel(&self, circle: CircleId, channel: ChannelId) -> Result<&Circle, String> {
        let found = self.circles.get(&circle).ok_or("There is no such circle on this device.")?;
        if channel == found.general || found.state.channel(&channel).is_some() {
            Ok(found)
        } else {
            Err(format!("There is no such channel in {}.", found.name()))
        }
    }
}
