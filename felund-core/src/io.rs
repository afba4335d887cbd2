//! The node's one contract with its drivers: [`Input`] in, [`Output`] out (see [`crate::node::Node`]).

use core::net::IpAddr;
use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{
    ice::{IceProbe, IceReport},
    ids::{ChannelId, CircleId, MsgId, NodeId},
    relay_api::IceServer,
    store::{Batch, Loaded, Query},
    view::{Access, CircleView, Delivery, Finding, IdentityView, Key, MessageView, Reply, Retention},
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
    /// Carry out within [`crate::config::HTTP_TIMEOUT_MS`], then say `Http`.
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

/// A command and the number its answer carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the asker; echoed in [`Event::Reply`].
    pub id: u64,
    /// What is wanted.
    pub command: Command,
}

/// What a user can want. Every command is answered by exactly one [`Event::Reply`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    /// Says everything again as events, ending with [`Event::Ready`]: for a mirror that joins late.
    #[n(0)]
    Snapshot,
    /// Opens keys that a passphrase protects.
    #[n(1)]
    Unlock {
        /// What the user typed.
        #[n(0)]
        passphrase: String,
    },
    /// Protects the keys at rest, or stops doing so.
    #[n(2)]
    SetPassphrase {
        /// `None` removes it.
        #[n(0)]
        passphrase: Option<String>,
    },
    /// Sets the display name and tells every circle.
    #[n(3)]
    SetName {
        /// 1–64 characters.
        #[n(0)]
        name: String,
    },
    /// Makes a circle.
    #[n(4)]
    CreateCircle {
        /// 1–64 characters.
        #[n(0)]
        name: String,
        /// Base URL of its relay, such as `https://chat.example`.
        #[n(1)]
        relay: Option<String>,
    },
    /// Joins by an invite: the bare code, or a link that ends in one.
    #[n(5)]
    JoinCircle {
        /// As typed or scanned.
        #[n(0)]
        invite: String,
        /// Used when the invite names no relay.
        #[n(1)]
        relay: Option<String>,
    },
    /// Leaves a circle and deletes what this device holds of it.
    #[n(6)]
    LeaveCircle {
        /// Which.
        #[n(0)]
        circle: CircleId,
    },
    /// Renames a circle for everyone.
    #[n(7)]
    RenameCircle {
        /// Which.
        #[n(0)]
        circle: CircleId,
        /// 1–64 characters.
        #[n(1)]
        name: String,
    },
    /// Makes an invite.
    #[n(8)]
    Invite {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
    },
    /// Changes where a circle's relay is.
    #[n(9)]
    SetRelay {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Base URL, or none.
        #[n(1)]
        relay: Option<String>,
    },
    /// Changes how much a circle keeps, and prunes.
    #[n(10)]
    SetRetention {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// How much.
        #[n(1)]
        retention: Retention,
    },
    /// Sends a chat message.
    #[n(11)]
    Send {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// 1 byte to 16 KiB.
        #[n(2)]
        text: String,
    },
    /// Loads a page of a channel's messages, newest first page by page.
    #[n(12)]
    History {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// Only messages before this one.
        #[n(2)]
        before: Option<Key>,
        /// At most this many, 1–10,000.
        #[n(3)]
        limit: u32,
    },
    /// Moves a channel's read marker forward.
    #[n(13)]
    MarkRead {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// The last message seen.
        #[n(2)]
        up_to: Key,
    },
    /// Keeps what was typed and not sent.
    #[n(14)]
    SaveDraft {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// May be empty.
        #[n(2)]
        text: String,
    },
    /// Makes a channel.
    #[n(15)]
    CreateChannel {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// 1–64 characters, unique in the circle.
        #[n(1)]
        name: String,
        /// Who may read it.
        #[n(2)]
        access: Access,
        /// For [`Access::Key`] only.
        #[n(3)]
        passphrase: Option<String>,
    },
    /// Joins a channel; for [`Access::Invite`] without approval this asks for it.
    #[n(16)]
    JoinChannel {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// For [`Access::Key`] only.
        #[n(2)]
        passphrase: Option<String>,
    },
    /// Leaves a channel.
    #[n(17)]
    LeaveChannel {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
    },
    /// Lets a member into an invite channel the user created.
    #[n(18)]
    ApproveMember {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// Whom.
        #[n(2)]
        member: NodeId,
    },
    /// Renames a channel the user created.
    #[n(19)]
    RenameChannel {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// 1–64 characters, unique in the circle.
        #[n(2)]
        name: String,
    },
    /// Stores and forwards for the circles of this device, or stops doing so; browsers and phones never do.
    #[n(20)]
    SetAnchor {
        /// Whether.
        #[n(0)]
        on: bool,
    },
    /// Hides this device's address from members, or stops doing so: nothing is dialed, listened at or announced, and
    /// peer connections go through TURN servers only.
    #[n(21)]
    SetHideAddress {
        /// Whether.
        #[n(0)]
        on: bool,
    },
    /// Uses these STUN and TURN servers instead of those that relays name.
    #[n(22)]
    SetIceServers {
        /// As [`crate::ice::parse_servers`] reads them; none for the relays'.
        #[n(0)]
        servers: String,
    },
    /// The number to compare with a member out of band.
    #[n(23)]
    SafetyNumber {
        /// Which member.
        #[n(0)]
        member: NodeId,
    },
    /// Checks every connection and says what is wrong and what to do.
    #[n(24)]
    Doctor,
}

/// What the user interface learns. Applying every event to a [`crate::model::Model`] yields the whole state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The keys are protected: send [`Command::Unlock`].
    #[n(0)]
    Locked,
    /// Who this device is; comes before anything else once unlocked, and when the name changes.
    #[n(1)]
    Identity(#[n(0)] IdentityView),
    /// Everything known has been said; what comes now is news.
    #[n(2)]
    Ready,
    /// A circle is new or changed.
    #[n(3)]
    Circle(#[n(0)] CircleView),
    /// A circle is gone from this device.
    #[n(4)]
    CircleGone {
        /// Which.
        #[n(0)]
        circle_id: CircleId,
    },
    /// A chat message came in or was sent just now.
    #[n(5)]
    Message(#[n(0)] MessageView),
    /// An own message got further.
    #[n(6)]
    Delivery {
        /// Which circle.
        #[n(0)]
        circle_id: CircleId,
        /// Which channel.
        #[n(1)]
        channel_id: ChannelId,
        /// Which message.
        #[n(2)]
        msg_id: MsgId,
        /// How far.
        #[n(3)]
        delivery: Delivery,
    },
    /// Messages up to and including this one have been pruned.
    #[n(7)]
    Pruned {
        /// Which circle.
        #[n(0)]
        circle_id: CircleId,
        /// Which channel.
        #[n(1)]
        channel_id: ChannelId,
        /// The newest one gone.
        #[n(2)]
        up_to: Key,
    },
    /// Something the user should know; what happened, whether anything was lost, what to do.
    #[n(8)]
    Notice {
        /// Whether it is a fault rather than news.
        #[n(0)]
        error: bool,
        /// For people.
        #[n(1)]
        text: String,
    },
    /// The answer to a command.
    #[n(9)]
    Reply {
        /// Of the [`Request`].
        #[n(0)]
        id: u64,
        /// The answer, or a text for people that says what happened and what to do.
        #[n(1)]
        result: Result<Reply, String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Figures, LinkView, MemberView, Reach};

    fn survives<T>(said: &T)
    where
        T: PartialEq + fmt::Debug + minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
    {
        let bytes = minicbor::to_vec(said).unwrap();
        assert_eq!(minicbor::decode::<T>(&bytes).unwrap(), *said);
    }

    /// One of each shape: no fields, optional fields there and not, lists, and what stands in what.
    #[test]
    fn what_tabs_ask_and_are_told_survives_the_way_between_them() {
        let (circle, channel) = (CircleId([1; 16]), ChannelId([2; 16]));
        let (member, key) = (NodeId([3; 32]), Key { ts: u64::MAX, id: MsgId([4; 16]) });
        for before in [None, Some(key)] {
            survives(&Command::History { circle, channel, before, limit: u32::MAX });
        }
        let retention = Retention { messages: 1, days: 2 };
        survives(&Command::SetRetention { circle, retention });
        let (name, access) = (String::from("bed ünö"), Access::Key);
        survives(&Command::CreateChannel { circle, name: name.clone(), access, passphrase: None });
        survives(&vec![Command::Snapshot, Command::Doctor, Command::SetAnchor { on: true }]);
        let reach = [Reach::You, Reach::Direct, Reach::Offline { last_seen: Some(0) }];
        let members = reach.map(|reach| MemberView { id: member, name: name.clone(), reach, anchors: true });
        let link = LinkView::Down { reason: "no answer".into(), retry_in_s: 3 };
        survives(&Event::Circle(CircleView {
            id: circle,
            name: name.clone(),
            relay: None,
            link,
            channels: Vec::new(),
            members: members.to_vec(),
            anchor: Some(member),
            unsent: 7,
            retention,
        }));
        let delivery = Delivery::Delivered { to: 1, of: 2 };
        let (circle_id, channel_id, msg_id) = (circle, channel, key.id);
        survives(&Event::Delivery { circle_id, channel_id, msg_id, delivery });
        let message = MessageView {
            circle_id,
            channel_id,
            channel: name.clone(),
            msg_id,
            author: member,
            name,
            created_ts: key.ts,
            text: "\u{0}\n".into(),
            mine: false,
            delivery: Delivery::Received,
        };
        let figures =
            Figures { rtt_ms: Some(0), candidates: Some(vec![String::new()]), ..Figures::default() };
        let findings = vec![Finding::new("relay", false, "gone", Some("wait")).with(figures)];
        for reply in [
            Reply::Done,
            Reply::History { messages: vec![message], start_reached: true },
            Reply::Doctor { findings },
        ] {
            survives(&Event::Reply { id: 1, result: Ok(reply) });
        }
        survives(&vec![Event::Reply { id: 2, result: Err("no".into()) }, Event::Ready]);
    }
}
