//! A link to one hosted relay: registration, the WebSocket, the polling fallback and the outbox of each circle.
//!
//! The link is level-triggered: inputs change what is known, and [`RelayLink::drive`] then does whatever that
//! state still lacks. No step waits for a callback that might not come; every wait has a deadline.

mod http;
mod outbox;
mod socket;
mod wake;

use std::collections::VecDeque;

use self::outbox::Hold;
use crate::{
    config::{BACKOFF_MAX_MS, BACKOFF_MIN_MS, HTTP_TIMEOUT_MS, HURRY_MS, MAX_HOLD_MS, POLL_INTERVAL_MS},
    ids::{CircleHint, Cursor, MsgId},
    io::{ConnId, HttpId, Output},
    keys::NodeKey,
    node::Rng,
    relay_api::{Capabilities, IceServer, Peer, SignalRequest, signing::ApiKey},
    sorted::SortedMap,
    time::Now,
    view::LinkView,
    wire::ClientFrame,
};
use rand_core::Rng as _;

/// Most characters of what a relay says that are shown to people.
const MAX_SAID_CHARS: usize = 200;

/// What a relay says, no longer than somebody reads.
fn said(mut message: String) -> String {
    if let Some((at, _)) = message.char_indices().nth(MAX_SAID_CHARS) {
        message.truncate(at);
        message.push('…');
    }
    message
}

/// What was stored is spoken of as being on its way once so many envelopes of it have come.
const MANY: u32 = 200;

/// What a link needs of its node while it works.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub now: Now,
    pub key: &'a NodeKey,
    pub rng: &'a mut RngRef,
    pub next_id: &'a mut u64,
    pub out: &'a mut VecDeque<Output>,
    pub events: &'a mut Vec<LinkEvent>,
}

/// The injected randomness, opaque to `Debug`.
pub(crate) struct RngRef(pub(crate) Rng);

impl std::fmt::Debug for RngRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng")
    }
}

impl RngRef {
    /// A wait of at least half of `ms` and at most all of it, so that nodes do not march in step.
    pub(crate) fn jitter(&mut self, ms: u64) -> u64 {
        ms / 2 + self.0.next_u64() % (ms / 2 + 1)
    }
}

impl Cx<'_> {
    pub(crate) fn id(&mut self) -> u64 {
        *self.next_id += 1;
        *self.next_id
    }

    /// [`RngRef::jitter`] of the node's randomness.
    pub(crate) fn jitter(&mut self, ms: u64) -> u64 {
        self.rng.jitter(ms)
    }
}

/// What a link learned.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// An envelope of the relay's log, not yet verified.
    Envelope { hint: CircleHint, cursor: Cursor, bytes: Vec<u8> },
    /// An ephemeral envelope, not yet verified.
    Ephemeral { hint: CircleHint, bytes: Vec<u8> },
    /// The relay's log is another than it was, and reading has come to this place in it.
    Back { hint: CircleHint, cursor: Cursor },
    /// The backlog is through.
    CaughtUp { hint: CircleHint },
    /// Envelopes of ours are durable at the relay.
    Stored { hint: CircleHint, ids: Vec<MsgId> },
    /// The relay will never take this envelope of ours.
    Rejected { hint: CircleHint, id: MsgId, reason: String },
    /// The relay takes no envelopes of ours for now; they are posted again.
    Held { hint: CircleHint, reason: String },
    /// Who is there now; replaces what was known.
    Peers { hint: CircleHint, peers: Vec<Peer> },
    /// Somebody came or went.
    Presence { hint: CircleHint, peer: Peer, online: bool },
    /// Where the relay sees this node's packets come from.
    Observed { address: String },
    /// A sealed signal for this node.
    Signal { hint: CircleHint, payload: Vec<u8> },
    /// STUN and TURN servers of the relay's operator.
    Ice { servers: Vec<IceServer>, ttl_s: u64 },
    /// The relay's clock minus ours, in seconds, began or ceased to be more than what envelopes are allowed.
    Clock { offset_s: i64, wrong: bool },
    /// The link's state changed: views are stale.
    Changed,
}

/// Whether the socket carries a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attach {
    No,
    Sent,
    Live,
}

/// A post that has not been answered: over what, and how many envelopes of the outbox's front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Post {
    Http(HttpId, usize),
    Socket(u64, usize),
}

/// One circle on this link.
#[derive(Debug)]
struct Leg {
    api: ApiKey,
    cursor: Cursor,
    /// Where the socket's reading is, and what the poll under way began with.
    after: Cursor,
    poll_after: Cursor,
    attach: Attach,
    /// How many envelopes have come of what was stored, until all of it is here.
    arriving: Option<u32>,
    /// The relay said that it has no key for this circle, or was never read from: registering comes first.
    unknown: bool,
    /// How often it said so since it was last read from.
    unknown_times: u32,
    register_at: u64,
    register: Option<HttpId>,
    session: Option<HttpId>,
    poll: Option<HttpId>,
    poll_at: u64,
    polls: u32,
    /// The log cannot be read, which keeps nobody from posting.
    poll_hold: Hold,
    /// Polls in a row that helped nothing.
    poll_failures: u32,
    peers: Option<HttpId>,
    /// Signals are asked for while the socket is not live: the request, and the newest signal seen.
    signals: Option<HttpId>,
    signals_after: Cursor,
    post: Option<Post>,
    /// When the last post over a socket was sent, and until when it is waited for.
    post_sent: u64,
    post_by: u64,
    outbox: VecDeque<(MsgId, Vec<u8>)>,
    /// Most envelopes per post; 1 while looking for the one that the relay refuses, few while it has room for few.
    batch: usize,
    /// Anything at all is refused.
    hold: Hold,
    /// Posts are refused, which keeps nobody from reading.
    post_hold: Hold,
    /// Posts in a row that were answered, and not so that it meant anything.
    post_failures: u32,
    clock_fixes: u32,
}

#[derive(Debug)]
enum Socket {
    Closed,
    Opening {
        conn: ConnId,
        hint: CircleHint,
        token: String,
        deadline: u64,
    },
    /// `prove_by`: until when the relay has to answer the first attach. A proxy may open a socket and let nothing through.
    Open {
        conn: ConnId,
        heard: u64,
        ping: Option<Ping>,
        prove_by: Option<u64>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Ping {
    id: u64,
    sent: u64,
    /// For how long nothing may come, milliseconds.
    within: u64,
    deadline: u64,
}

/// A link to one relay.
#[derive(Debug)]
pub(crate) struct RelayLink {
    base: String,
    capabilities: Capabilities,
    endpoints: Vec<String>,
    legs: SortedMap<CircleHint, Leg>,
    requests: SortedMap<HttpId, http::Asking>,
    /// Time that requests get, in milliseconds.
    patience_ms: u64,
    socket: Socket,
    /// Where the relay's socket is, once it has said so.
    socket_url: Option<String>,
    /// Whether it is asked for with tickets: no connection from before is trusted with a request for a token.
    tickets: bool,
    /// When a socket may be tried (again).
    dial_at: u64,
    /// The socket was refused although HTTP works.
    polling: bool,
    /// When the present socket first carried something, and how many in a row ended soon after that.
    proved_at: u64,
    short_lived: u32,
    /// Why nothing works, while nothing does.
    down: Option<String>,
    failures: u32,
    retry_at: u64,
    /// When nothing could be had last.
    failed_at: u64,
    /// The relay's clock minus ours, in seconds.
    offset_s: i64,
    /// What the relay's clock showed, unix milliseconds, and when that was on the monotonic clock.
    heard_clock: Option<(u64, u64)>,
    /// They are too far apart for envelopes to be taken in.
    clock_wrong: bool,
    rtt_ms: Option<u64>,
    /// Whether signals and ICE servers are of use to this node.
    rtc: bool,
    ice: Option<HttpId>,
    ice_at: u64,
}

impl RelayLink {
    pub(crate) const fn new(base: String, capabilities: Capabilities, rtc: bool) -> Self {
        Self {
            base,
            capabilities,
            rtc,
            ice: None,
            ice_at: 0,
            endpoints: Vec::new(),
            legs: SortedMap::new(),
            requests: SortedMap::new(),
            patience_ms: HTTP_TIMEOUT_MS,
            socket: Socket::Closed,
            socket_url: None,
            tickets: false,
            dial_at: 0,
            polling: false,
            proved_at: 0,
            short_lived: 0,
            down: None,
            failures: 0,
            retry_at: 0,
            failed_at: 0,
            offset_s: 0,
            heard_clock: None,
            clock_wrong: false,
            rtt_ms: None,
        }
    }

    pub(crate) fn add(&mut self, api: ApiKey, cursor: Cursor) {
        let leg = Leg {
            cursor,
            after: cursor,
            poll_after: cursor,
            attach: Attach::No,
            unknown: cursor == Cursor::default(),
            unknown_times: 0,
            register_at: 0,
            register: None,
            session: None,
            poll: None,
            poll_at: 0,
            polls: 0,
            poll_hold: Hold::default(),
            poll_failures: 0,
            peers: None,
            signals: None,
            signals_after: Cursor::default(),
            post: None,
            post_sent: 0,
            post_by: 0,
            outbox: VecDeque::new(),
            batch: crate::config::MAX_BATCH,
            arriving: None,
            hold: Hold::default(),
            post_hold: Hold::default(),
            post_failures: 0,
            clock_fixes: 0,
            api,
        };
        self.legs.insert(leg.api.hint(), leg);
    }

    /// Takes a circle off; says whether the link has none left.
    pub(crate) fn remove(&mut self, hint: &CircleHint, cx: &mut Cx<'_>) -> bool {
        self.detach(hint, cx);
        self.legs.remove(hint);
        self.requests.retain(|_, asking| asking.hint != *hint);
        if self.legs.is_empty() {
            self.close("no circle is left on this relay", cx);
        }
        self.legs.is_empty()
    }

    pub(crate) fn enqueue(&mut self, hint: &CircleHint, id: MsgId, sealed: Vec<u8>) {
        if let Some(leg) = self.legs.get_mut(hint) {
            leg.outbox.push_back((id, sealed));
        }
    }

    /// Sends a sealed signal by whatever works now; `false` when nothing does. It may be lost: signaling repeats itself.
    pub(crate) fn signal(&mut self, hint: CircleHint, request: SignalRequest, cx: &mut Cx<'_>) -> bool {
        let Some(leg) = self.legs.get(&hint) else { return false };
        match self.socket {
            Socket::Open { conn, .. } if leg.attach == Attach::Live => {
                socket::send(conn, &ClientFrame::Signal { hint, signal: request }, cx);
                true
            }
            _ if self.polling && leg.polls > 0 => {
                self.post_signal(hint, &request, cx);
                true
            }
            _ => false,
        }
    }

    /// Reads a circle's log again after `to`. The socket is opened anew for it: what is on its way on the present one
    /// lies after the place where reading has been, and not after this.
    pub(crate) fn rewind(&mut self, hint: &CircleHint, to: Cursor, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(hint) else { return };
        (leg.cursor, leg.poll_at) = (to, 0);
        if let Some(poll) = leg.poll.take() {
            self.requests.remove(&poll);
        }
        if let Socket::Open { .. } = self.socket {
            self.close("the log is read again", cx);
        }
    }

    /// Whether a circle is on this link.
    pub(crate) fn carries(&self, hint: &CircleHint) -> bool {
        self.legs.contains_key(hint)
    }

    pub(crate) fn is_at(&self, base: &str) -> bool {
        self.base == base
    }

    pub(crate) fn asked_for(&self, id: HttpId) -> bool {
        self.requests.contains_key(&id)
    }

    /// Takes an envelope off the outbox that the relay is not needed for any more, unless it is under way.
    pub(crate) fn cancel(&mut self, hint: &CircleHint, id: MsgId) {
        if let Some(leg) = self.legs.get_mut(hint) {
            let under_way = match leg.post {
                Some(Post::Http(_, count) | Post::Socket(_, count)) => count,
                None => 0,
            };
            let mut at = 0;
            leg.outbox.retain(|(other, _)| {
                at += 1;
                at <= under_way || *other != id
            });
            // Nothing is refused any more. What is refused next is news again.
            if leg.outbox.is_empty() {
                leg.post_hold = Hold::default();
            }
        }
    }

    /// Where this node listens; told at the next registration, which is due now.
    pub(crate) fn set_endpoints(&mut self, endpoints: &[String]) {
        if self.endpoints != endpoints {
            self.endpoints = endpoints.to_vec();
            for leg in self.legs.values_mut() {
                leg.register_at = 0;
            }
        }
    }

    /// Whether the relay has been asked for STUN and TURN servers and has not answered yet.
    pub(crate) const fn awaits_ice(&self) -> bool {
        self.ice.is_some()
    }

    /// What this node can do; told at the next registration, which is due now if it changed.
    pub(crate) fn set_capabilities(&mut self, capabilities: Capabilities) {
        if self.capabilities != capabilities {
            self.capabilities = capabilities;
            for leg in self.legs.values_mut() {
                leg.register_at = 0;
            }
        }
    }

    /// The last measured round trip, in milliseconds.
    pub(crate) const fn rtt_ms(&self) -> Option<u64> {
        self.rtt_ms
    }

    /// What the relay's clock shows now, in unix milliseconds, once it has been heard: it goes on with the monotonic clock,
    /// whatever happens to this device's wall clock.
    pub(crate) fn wall(&self, now: u64) -> Option<u64> {
        let (wall, at) = self.heard_clock?;
        Some(wall.saturating_add(now.saturating_sub(at)))
    }

    pub(crate) fn view(&self, hint: &CircleHint, now: u64) -> LinkView {
        let Some(leg) = self.legs.get(hint) else { return LinkView::None };
        match (&self.down, leg.attach) {
            (_, Attach::Live) => LinkView::Live,
            (Some(reason), _) => {
                let retry_in_s = self.retry_at.saturating_sub(now).div_ceil(1_000);
                LinkView::Down { reason: reason.clone(), retry_in_s }
            }
            (None, _) => match [&leg.hold, &leg.poll_hold].into_iter().find(|hold| hold.lasts) {
                Some(hold) => {
                    let retry_in_s = hold.until.saturating_sub(now).div_ceil(1_000);
                    LinkView::Down { reason: hold.reason.clone(), retry_in_s }
                }
                None if self.polling && leg.polls > 0 => LinkView::Polling,
                None => LinkView::Connecting,
            },
        }
    }

    /// Why the relay, although it is reached, takes none of the envelopes that wait for it.
    pub(crate) fn held(&self, hint: &CircleHint) -> Option<String> {
        let leg = self.legs.get(hint).filter(|leg| !leg.outbox.is_empty())?;
        let reached = leg.attach == Attach::Live || self.polling && self.down.is_none() && !leg.hold.lasts;
        let reason = &leg.post_hold.reason;
        (reached && !reason.is_empty()).then(|| reason.clone())
    }

    /// How many envelopes have come of what was stored while more of it comes; nothing where it is about to be here.
    pub(crate) fn arriving(&self, hint: &CircleHint) -> Option<u32> {
        self.legs.get(hint)?.arriving.filter(|so_far| *so_far >= MANY)
    }

    /// Does whatever the present state still lacks.
    #[inline(never)]
    pub(crate) fn drive(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        self.check_socket(cx);
        self.check_posts(cx);
        if now < self.retry_at {
            return;
        }
        let hints: Vec<CircleHint> = self.legs.keys().copied().collect();
        for hint in hints {
            let sessions = self.legs.values().any(|leg| leg.session.is_some());
            let Some(leg) = self.legs.get(&hint) else { continue };
            if now < leg.hold.until {
                continue;
            }
            if leg.register.is_none() && now >= leg.register_at {
                self.ask(hint, http::Asked::Register, cx);
            }
            let Some(leg) = self.legs.get(&hint) else { continue };
            if leg.unknown {
                continue;
            }
            if self.rtc && self.ice.is_none() && now >= self.ice_at {
                self.ask(hint, http::Asked::Ice, cx);
            }
            let Some(leg) = self.legs.get(&hint) else { continue };
            let wants_session = match self.socket {
                Socket::Closed => now >= self.dial_at && !sessions,
                Socket::Opening { .. } => false,
                Socket::Open { .. } => leg.attach == Attach::No,
            };
            if wants_session && self.tickets {
                let ticket = self.ticket(&leg.api.clone(), cx);
                self.use_token(hint, ticket, cx);
            } else if wants_session && leg.session.is_none() {
                self.ask(hint, http::Asked::Session, cx);
            }
            let Some(leg) = self.legs.get(&hint) else { continue };
            if self.polling && leg.attach != Attach::Live && leg.poll.is_none() && now >= leg.poll_at {
                if leg.polls % 5 == 0 && leg.peers.is_none() {
                    self.ask(hint, http::Asked::Peers, cx);
                }
                self.ask(hint, http::Asked::Poll, cx);
                if self.rtc && self.legs.get(&hint).is_some_and(|leg| leg.signals.is_none()) {
                    self.ask(hint, http::Asked::Signals, cx);
                }
            }
            self.flush_outbox(hint, cx);
        }
    }

    /// Nothing can be had from the relay right now, and it does not want to be asked for so long.
    fn fail(&mut self, reason: String, at_least_ms: u64, cx: &mut Cx<'_>) {
        let wait = BACKOFF_MIN_MS.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX_MS);
        self.failures += 1;
        self.failed_at = cx.now.mono;
        self.retry_at = cx.now.mono + cx.jitter(wait).max(at_least_ms.min(MAX_HOLD_MS));
        self.down = Some(reason);
        cx.events.push(LinkEvent::Changed);
    }

    /// Somebody waits for the relay: it is tried again now, though no more often than every second.
    pub(crate) fn hurry(&mut self, now: u64) {
        self.retry_at = self.retry_at.min(now.max(self.failed_at + HURRY_MS));
    }

    /// Something came back.
    fn recovered(&mut self, cx: &mut Cx<'_>) {
        self.failures = 0;
        self.retry_at = 0;
        if self.down.take().is_some() {
            cx.events.push(LinkEvent::Changed);
        }
    }

    /// When [`RelayLink::drive`] has something to do next, on the monotonic clock.
    pub(crate) fn deadline(&self, now: u64) -> Option<u64> {
        let mut at: Vec<u64> = self.socket_deadline().into_iter().collect();
        for leg in self.legs.values() {
            let mut due = Vec::new();
            if leg.register.is_none() {
                due.push(leg.register_at);
            }
            if self.rtc && self.ice.is_none() && !leg.unknown {
                due.push(self.ice_at);
            }
            if !leg.unknown && leg.session.is_none() {
                match self.socket {
                    Socket::Closed if self.legs.values().all(|leg| leg.session.is_none()) => {
                        due.push(self.dial_at);
                    }
                    Socket::Open { .. } if leg.attach == Attach::No => due.push(now),
                    _ => {}
                }
            }
            if self.polling && !leg.unknown && leg.attach != Attach::Live && leg.poll.is_none() {
                due.push(leg.poll_at);
            }
            let held_until = leg.hold.until.max(leg.post_hold.until);
            if !leg.outbox.is_empty() && leg.post.is_none() && now < held_until {
                due.push(held_until);
            }
            if let Some(Post::Socket(..)) = leg.post {
                at.push(leg.post_by);
            }
            at.extend(due.into_iter().map(|due| due.max(self.retry_at).max(leg.hold.until)));
        }
        at.into_iter().min()
    }

    /// The log cannot be read right now. Everything else goes on, and must not be what leads to the next poll.
    fn hold_poll(&mut self, hint: CircleHint, at_least_ms: u64, reason: String, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        let wait = (1_000 << leg.poll_failures.min(5)).min(BACKOFF_MAX_MS);
        leg.poll_failures += 1;
        leg.poll_hold.refused(cx.now.mono, wait.max(at_least_ms), reason);
        leg.poll_at = leg.poll_hold.until;
        cx.events.push(LinkEvent::Changed);
    }

    fn schedule_poll(&mut self, hint: CircleHint, more: bool, cx: &Cx<'_>) {
        if let Some(leg) = self.legs.get_mut(&hint) {
            leg.polls += 1;
            leg.poll_at = if more { cx.now.mono } else { cx.now.mono + POLL_INTERVAL_MS };
        }
    }
}
