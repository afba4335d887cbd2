//! The node's one contract with its drivers: [`Input`] in, [`Output`] out (see [`crate::node::Node`]).

mod user;

use core::net::IpAddr;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::user::{Command, Event, LOCKED, Request};
use crate::{
    ice::{IceProbe, IceReport},
    relay_api::IceServer,
    store::{Batch, Loaded, Query},
    view::Finding,
};

/// Names a write; echoed in [`Input::Committed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);
/// Names a read; echoed in [`Input::Loaded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);
/// Names an HTTP request; echoed in [`Input::Http`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpId(pub u64);
/// Names a socket for its whole life; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Names a check of STUN and TURN servers; echoed in [`Input::Probed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u64);

/// An HTTP request the driver carries out as it is, following no redirect.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// Absolute.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, or empty.
    pub body: Vec<u8>,
    /// An answer that is not there after this long is not waited for any more, in milliseconds.
    pub within_ms: u64,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} bytes)", self.method, self.url, self.body.len())
    }
}

/// What came back.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// `Retry-After` in seconds, if there was one.
    pub retry_after_s: Option<u64>,
    /// At most [`crate::config::MAX_HTTP_RESPONSE`] bytes; the driver fails the request beyond that.
    pub body: Vec<u8>,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.status, self.body.len())
    }
}

/// Where an accepted connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This machine, or a network it has an address in.
    Nearby,
    /// Anywhere else, from this address: who can be dialed from there is reachable for everyone.
    Outside(IpAddr),
}

/// A DNS-SD service instance of type `_felund._tcp` (RFC 6763) in the local network: what this node makes known of
/// itself, or what somebody there does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The instance's name, which is also its host's.
    pub instance: String,
    /// Where it listens, as `host:port`, the best first. Empty in a node's own: there the driver knows.
    pub addresses: Vec<String>,
    /// Keys and values of the TXT record.
    pub properties: Vec<(String, Vec<u8>)>,
}

/// What a platform does with a peer connection (W3C WebRTC). Each has one DataChannel: ordered, reliable, negotiated
/// in advance with id 0. A message on it has at most [`crate::session::MAX_RECORD`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcCommand {
    /// Create it and its channel, and if it offers make an offer, set it and say `Description`.
    Open {
        /// Whether this side offers.
        offer: bool,
        /// STUN and TURN servers.
        servers: Vec<IceServer>,
        /// Find and use relayed candidates only (the `relay` transport policy): the other side is not to learn where this
        /// device is. There is a TURN server then.
        relay_only: bool,
    },
    /// Use these servers from the next restart on; credentials end.
    Servers(Vec<IceServer>),
    /// Set the other side's description; if it is an offer, also make an answer, set it and say `Description`.
    Remote(String),
    /// Add a candidate of the other side. One that cannot be used, such as another host's `.local` name, is skipped.
    Candidate(String),
    /// Make an offer that restarts ICE, set it and say `Description`.
    Restart,
}

/// What happens on a peer connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcEvent {
    /// A local description is made and set.
    Description(String),
    /// A local candidate is found.
    Candidate(String),
    /// The channel is open; comes before anything it receives.
    Opened,
    /// ICE has a path (again).
    Connected,
    /// ICE's path no longer answers; it may by itself come back.
    Disconnected,
    /// ICE has given up.
    Failed,
    /// Which path is in use.
    Path(RtcPath),
}

/// How an ICE candidate was found (RFC 8445 §5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateKind {
    /// An address of the machine.
    Host,
    /// The address a NAT shows to a STUN server.
    Srflx,
    /// The address a NAT shows to the other side.
    Prflx,
    /// An address of a TURN server.
    Relay,
}

impl CandidateKind {
    /// As candidate attributes name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Srflx => "srflx",
            Self::Prflx => "prflx",
            Self::Relay => "relay",
        }
    }
}

/// The pair of candidates in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcPath {
    /// This side's.
    pub local: CandidateKind,
    /// The other side's.
    pub remote: CandidateKind,
    /// Round trip in milliseconds, once measured.
    pub rtt_ms: Option<u32>,
}

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// The user wants something.
    Command(Request),
    /// Everything of a batch is durable.
    Committed(BatchId),
    /// Nothing of a batch was written; the text names the cause, such as a full disk.
    StoreFailed(BatchId, String),
    /// A read is answered; an error names the damage.
    Loaded(QueryId, Result<Loaded, String>),
    /// An HTTP request is answered, or failed with a reason for people.
    Http(HttpId, Result<HttpResponse, String>),
    /// A socket is open.
    Connected(ConnId),
    /// A binary message came in.
    Received(ConnId, Vec<u8>),
    /// A socket is gone, or could not be opened. Not sent for sockets the node closed itself.
    Disconnected(ConnId, String),
    /// Somebody connected to this node's listener. The driver names the connection, with the highest bit set so that it
    /// is none of the node's own names, and says where it came from.
    Accepted(ConnId, Origin),
    /// So many connections were closed at once, because their address had too many or the driver had. Only counted.
    TurnedAway(u64),
    /// Where others may dial this node, as `host:port`; replaces what was said before.
    Listening(Vec<String>),
    /// Everything of Felund's that is announced in the local network at present, at most
    /// [`crate::config::MAX_NEARBY`]; replaces what was said before. Whose it is the node finds out.
    Nearby(Vec<Announcement>),
    /// What the driver found out about its surroundings, for [`Command::Doctor`]; replaces what was said before.
    Surroundings(Vec<Finding>),
    /// What a check of STUN and TURN servers found.
    Probed(ProbeId, IceReport),
    /// Something happened on a peer connection. What its channel receives comes as `Received`; its end as
    /// `Disconnected`.
    Rtc(ConnId, RtcEvent),
    /// The deadline of [`Output::Timeout`] is reached. Early or extra ones do no harm.
    Timeout,
    /// The device woke up, the page became visible, or the network changed: doubt every connection.
    Wake,
}

/// What the driver must do, in this order.
#[derive(Debug)]
pub enum Output {
    /// Write all of it or nothing, durably, then say `Committed`; batches commit in order.
    Store(BatchId, Batch),
    /// Answer with `Loaded`, seeing every batch handed out before.
    Load(QueryId, Query),
    /// Carry out within the time it has, then say `Http`.
    Http(HttpId, HttpRequest),
    /// Open a WebSocket within [`crate::config::CONNECT_TIMEOUT_MS`].
    Dial {
        /// Its name from now on.
        conn: ConnId,
        /// `ws:` or `wss:`.
        url: String,
        /// Offered sub-protocols.
        protocols: Vec<String>,
    },
    /// Open a byte stream to `host:port` within [`crate::config::CONNECT_TIMEOUT_MS`]; messages on it are framed by
    /// four bytes of length, big-endian, and never longer than [`crate::session::MAX_RECORD`].
    Connect(ConnId, String),
    /// Do something with a peer connection; commands of one connection are carried out in order.
    Rtc(ConnId, RtcCommand),
    /// Send one binary message.
    Transmit(ConnId, Vec<u8>),
    /// Close and forget a socket; the reason is for logs.
    Close(ConnId, &'static str),
    /// Check STUN and TURN within [`crate::config::ICE_PROBE_MS`], then say `Probed` with whatever was found until then.
    /// Asked of drivers only whose [`crate::node::Platform`] probes.
    Probe(ProbeId, IceProbe),
    /// Whether others may get to know how to reach this device. Before this is said first, and after `false`, the
    /// driver neither listens nor announces, nor looks for others in the local network, nor asks a router for a port.
    Reachable(bool),
    /// Announce this in the local network instead of what was announced before; `None` ends it. Asked of drivers only
    /// whose [`crate::node::Platform`] announces.
    Announce(Option<Announcement>),
    /// Tell the user interface.
    Event(Event),
    /// Nothing more to do; call [`Input::Timeout`] at this monotonic time, or wait for ever.
    Timeout(Option<u64>),
}
