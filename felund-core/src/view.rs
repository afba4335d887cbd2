//! What people see, as data: the views that events carry and clients draw.
//!
//! They are serialisable, so that a second browser tab or a headless command can mirror the node that owns the
//! data directory. No key material appears in any of them but in [`Reply::Invite`].

use serde::{Deserialize, Serialize};

use crate::ids::{ChannelId, CircleId, MsgId, NodeId};

/// Place of an envelope in its circle's total order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Hybrid logical clock, milliseconds.
    pub ts: u64,
    /// Tie-breaker.
    pub id: MsgId,
}

/// Who may read a channel. The modes are cryptography: without the key there is nothing to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Every member of the circle.
    Public,
    /// Members who know the passphrase.
    Key,
    /// Members whom the channel's creator approved.
    Invite,
}

impl Access {
    /// As typed in `/channel create`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Key => "key",
            Self::Invite => "invite",
        }
    }
}

/// How the user stands to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    /// In it: messages can be read and sent.
    Joined,
    /// Not in it.
    Outside,
    /// Asked to be let in; the creator has not answered.
    Requested,
}

/// A channel, as the sidebar shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelView {
    /// Which.
    pub id: ChannelId,
    /// Its name, without `#`.
    pub name: String,
    /// Who may read it.
    pub access: Access,
    /// How the user stands to it.
    pub membership: Membership,
    /// Whether the user created it, and so may approve and rename.
    pub owned: bool,
    /// Messages after the read marker that are not the user's own.
    pub unread: u32,
    /// The read marker.
    pub read_up_to: Option<Key>,
    /// Members waiting for approval (only filled for the creator).
    pub requests: Vec<NodeId>,
    /// Members in the channel as far as its events tell; empty for public channels, where it is everyone.
    pub members: Vec<NodeId>,
    /// What was typed and not sent.
    pub draft: String,
}

/// How a member is reached right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "via")]
pub enum Reach {
    /// This device itself.
    You,
    /// A connection of our own.
    Direct,
    /// Through another member: an anchor, or one that repeats.
    Anchor,
    /// Through the hosted relay.
    Relay,
    /// Not at all; when it was last there, unix milliseconds.
    Offline {
        /// `None`: never seen by this device.
        last_seen: Option<u64>,
    },
}

/// A member, as the sidebar shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Which device.
    pub id: NodeId,
    /// Its display name, or eight hex digits before it has told one.
    pub name: String,
    /// How it is reached.
    pub reach: Reach,
    /// Whether it stores and forwards for the others.
    pub anchors: bool,
}

/// Where a circle stands with its relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum LinkView {
    /// The circle has no relay.
    None,
    /// Being connected.
    Connecting,
    /// Live through a WebSocket.
    Live,
    /// The socket is refused; messages are fetched over HTTP every few seconds.
    Polling,
    /// Not reachable; what went wrong and when it is tried again (seconds from when this was made).
    Down {
        /// For people.
        reason: String,
        /// Seconds.
        retry_in_s: u64,
    },
}

/// How much a circle keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Newest messages kept per channel, 1–1,000,000.
    pub messages: u32,
    /// Days kept, 1–3,650.
    pub days: u32,
}

/// A circle without its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircleView {
    /// Which.
    pub id: CircleId,
    /// Its name.
    pub name: String,
    /// The relay's base URL, if it has one.
    pub relay: Option<String>,
    /// Where it stands with the relay.
    pub link: LinkView,
    /// General first, then by name. The control channel is not among them.
    pub channels: Vec<ChannelView>,
    /// The user first, then by name.
    pub members: Vec<MemberView>,
    /// The anchor in office, if there is one.
    pub anchor: Option<NodeId>,
    /// Own messages that no relay, anchor or member has confirmed yet.
    pub unsent: u32,
    /// How much it keeps.
    pub retention: Retention,
}

/// How far an own message got. Never claims more than was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Delivery {
    /// Somebody else's message.
    Received,
    /// Kept on this device only.
    Pending,
    /// Kept for its recipients, at the relay or by an anchor.
    Stored,
    /// Confirmed by members.
    Delivered {
        /// How many.
        to: u32,
        /// Of how many others.
        of: u32,
    },
}

/// A chat message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    /// Which circle.
    pub circle_id: CircleId,
    /// Which channel.
    pub channel_id: ChannelId,
    /// Its name when this view was made.
    pub channel: String,
    /// Which message.
    pub msg_id: MsgId,
    /// The verified author.
    pub author: NodeId,
    /// The author's display name when this view was made.
    pub name: String,
    /// Hybrid logical clock, unix milliseconds; the sort key together with `msg_id`.
    pub created_ts: u64,
    /// The text, untrusted: escape control characters before drawing.
    pub text: String,
    /// Whether this device sent it.
    pub mine: bool,
    /// How far it got.
    pub delivery: Delivery,
}

impl MessageView {
    /// Its place in the total order.
    #[must_use]
    pub const fn key(&self) -> Key {
        Key { ts: self.created_ts, id: self.msg_id }
    }
}

/// Who this device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityView {
    /// Its public key.
    pub node_id: NodeId,
    /// The user's display name; empty before one was chosen.
    pub name: String,
    /// Whether a passphrase protects the keys at rest.
    pub passphrase: bool,
    /// Whether this device stores and forwards for its circles.
    pub anchor: bool,
    /// Whether members do not get to know where this device is.
    pub hide_address: bool,
    /// The user's own STUN and TURN servers, a line each as [`crate::ice::parse_servers`] reads them; empty where those
    /// that relays name are used.
    pub ice_servers: String,
}

/// One finding of `/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was tried, such as `relay https://…`.
    pub subject: String,
    /// Whether it is fine.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do, when something can be done.
    pub advice: Option<String>,
    /// The same for programs, where there are figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

impl Finding {
    /// One without figures.
    pub fn new(
        subject: impl Into<String>,
        ok: bool,
        detail: impl Into<String>,
        advice: Option<&str>,
    ) -> Self {
        let advice = advice.map(str::to_owned);
        Self { subject: subject.into(), ok, detail: detail.into(), advice, figures: None }
    }

    /// The same with figures.
    #[must_use]
    pub fn with(self, figures: Figures) -> Self {
        Self { figures: Some(figures), ..self }
    }
}

/// What a finding says, for programs. Only what is known is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Round trip in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u32>,
    /// This side's candidate of the pair in use: `host`, `srflx`, `prflx` or `relay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// The other side's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// How a member is reached: `tcp` or `webrtc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The address that a STUN server saw, as `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapped: Option<String>,
    /// The address that a TURN server lent, as `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relayed: Option<String>,
    /// Kinds of candidates this device has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<String>>,
    /// Which address the NAT shows: [`crate::ice::Mapping::name`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// What the NAT lets in: [`crate::ice::Filtering::name`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filtering: Option<String>,
}

/// The answer to a command that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// Nothing more to say.
    Done,
    /// A circle was made or joined.
    Circle {
        /// Which.
        circle_id: CircleId,
        /// Its name, if known yet.
        name: String,
        /// A fresh invite to it.
        invite: String,
    },
    /// An invite code.
    Invite {
        /// Which circle.
        circle_id: CircleId,
        /// Its name.
        name: String,
        /// `felund1.…`
        invite: String,
    },
    /// A channel was made or joined.
    Channel {
        /// Which.
        channel_id: ChannelId,
    },
    /// A message is committed to this device's storage and on its way.
    Sent {
        /// Which.
        msg_id: MsgId,
        /// Its clock.
        created_ts: u64,
    },
    /// A page of history, oldest first.
    History {
        /// The messages.
        messages: Vec<MessageView>,
        /// Whether this page reaches the oldest message kept.
        start_reached: bool,
    },
    /// What `/doctor` found.
    Doctor {
        /// One per thing tried.
        findings: Vec<Finding>,
    },
    /// The 60-digit number two people compare.
    SafetyNumber {
        /// Twelve groups of five digits.
        number: String,
    },
}
