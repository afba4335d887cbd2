//! What people see, as data: the views that events carry and clients draw.
//!
//! They are serialisable, so that a second browser tab or a headless command can mirror the node that owns the
//! data directory. No key material appears in any of them but in [`Reply::Invite`].

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ids::{ChannelId, CircleId, MsgId, NodeId};

mod membership;
mod named;

pub use membership::outdates;
pub(crate) use membership::{ASKED, LET_IN};
pub use named::{circle_labels, circle_named};

/// Place of an envelope in its circle's total order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
pub struct Key {
    /// Hybrid logical clock, milliseconds.
    #[n(0)]
    pub ts: u64,
    /// Tie-breaker.
    #[n(1)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    /// In it: messages can be read and sent.
    #[n(0)]
    Joined,
    /// Not in it.
    #[n(1)]
    Outside,
    /// Asked to be let in; the creator has not answered.
    #[n(2)]
    Requested,
}

/// A channel, as the sidebar shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct ChannelView {
    /// Which.
    #[n(0)]
    pub id: ChannelId,
    /// Its name, without `#`.
    #[n(1)]
    pub name: String,
    /// Who may read it.
    #[n(2)]
    pub access: Access,
    /// How the user stands to it.
    #[n(3)]
    pub membership: Membership,
    /// Whether the user created it, and so may approve and rename.
    #[n(4)]
    pub owned: bool,
    /// Messages after the read marker that are not the user's own, and those of before it that came later.
    #[n(5)]
    pub unread: u32,
    /// The read marker.
    #[n(6)]
    pub read_up_to: Option<Key>,
    /// Members waiting for approval (only filled for the creator).
    #[n(7)]
    pub requests: Vec<NodeId>,
    /// Members in the channel as far as its events tell; empty for public channels, where it is everyone.
    #[n(8)]
    pub members: Vec<NodeId>,
    /// What was typed and not sent.
    #[n(9)]
    pub draft: String,
}

/// How a member is reached right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase", tag = "via")]
pub enum Reach {
    /// This device itself.
    #[n(0)]
    You,
    /// A connection of our own.
    #[n(1)]
    Direct,
    /// Through another member: an anchor, or one that repeats.
    #[n(2)]
    Anchor,
    /// Through the hosted relay.
    #[n(3)]
    Relay,
    /// Not at all; when it was last there, unix milliseconds.
    #[n(4)]
    Offline {
        /// `None`: never seen by this device.
        #[n(0)]
        last_seen: Option<u64>,
    },
}

/// A member, as the sidebar shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct MemberView {
    /// Which device.
    #[n(0)]
    pub id: NodeId,
    /// Its display name, or eight hex digits before it has told one.
    #[n(1)]
    pub name: String,
    /// How it is reached.
    #[n(2)]
    pub reach: Reach,
    /// Whether it stores and forwards for the others.
    #[n(3)]
    pub anchors: bool,
    /// What it is called on screens and in commands: [`crate::circle::State::label`].
    #[n(4)]
    pub label: String,
}

/// Where a circle stands with its relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum LinkView {
    /// The circle has no relay.
    #[n(0)]
    None,
    /// Being connected.
    #[n(1)]
    Connecting,
    /// Live through a WebSocket.
    #[n(2)]
    Live,
    /// The socket is refused; messages are fetched over HTTP every few seconds.
    #[n(3)]
    Polling,
    /// Not reachable; what went wrong and when it is tried again (seconds from when this was made).
    #[n(4)]
    Down {
        /// For people.
        #[n(0)]
        reason: String,
        /// Seconds.
        #[n(1)]
        retry_in_s: u64,
    },
}

/// How much a circle keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Retention {
    /// Newest messages kept per channel, 1–1,000,000.
    #[n(0)]
    pub messages: u32,
    /// Days kept, 1–3,650.
    #[n(1)]
    pub days: u32,
}

/// A circle without its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct CircleView {
    /// Which.
    #[n(0)]
    pub id: CircleId,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// The relay's base URL, if it has one.
    #[n(2)]
    pub relay: Option<String>,
    /// Where it stands with the relay.
    #[n(3)]
    pub link: LinkView,
    /// General first, then by name. The control channel is not among them.
    #[n(4)]
    pub channels: Vec<ChannelView>,
    /// The user first, then by name.
    #[n(5)]
    pub members: Vec<MemberView>,
    /// The anchor in office, if there is one.
    #[n(6)]
    pub anchor: Option<NodeId>,
    /// Own messages that no relay, anchor or member has confirmed yet.
    #[n(7)]
    pub unsent: u32,
    /// How much it keeps.
    #[n(8)]
    pub retention: Retention,
    /// Why the relay, although it is reached, takes none of the own messages that wait for it.
    #[n(9)]
    pub held: Option<String>,
    /// How many envelopes have come of what the relay stores, while there are many and more of them are on their way.
    #[n(10)]
    pub arriving: Option<u32>,
}

impl CircleView {
    /// One of its channels.
    #[must_use]
    #[inline]
    pub fn channel(&self, id: ChannelId) -> Option<&ChannelView> {
        self.channels.iter().find(|channel| channel.id == id)
    }
}

/// How far an own message got. Never claims more than was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Delivery {
    /// Somebody else's message.
    #[n(0)]
    Received,
    /// Kept on this device only.
    #[n(1)]
    Pending,
    /// Kept for its recipients, at the relay or by an anchor.
    #[n(2)]
    Stored,
    /// Confirmed by members.
    #[n(3)]
    Delivered {
        /// How many.
        #[n(0)]
        to: u32,
        /// Of how many others.
        #[n(1)]
        of: u32,
    },
}

/// A chat message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct MessageView {
    /// Which circle.
    #[n(0)]
    pub circle_id: CircleId,
    /// Which channel.
    #[n(1)]
    pub channel_id: ChannelId,
    /// Its name when this view was made.
    #[n(2)]
    pub channel: String,
    /// Which message.
    #[n(3)]
    pub msg_id: MsgId,
    /// The verified author.
    #[n(4)]
    pub author: NodeId,
    /// The author's display name when this view was made.
    #[n(5)]
    pub name: String,
    /// Hybrid logical clock, unix milliseconds; the sort key together with `msg_id`.
    #[n(6)]
    pub created_ts: u64,
    /// The text, untrusted: escape control characters before drawing.
    #[n(7)]
    pub text: String,
    /// Whether this device sent it.
    #[n(8)]
    pub mine: bool,
    /// How far it got.
    #[n(9)]
    pub delivery: Delivery,
    /// What screens call the author: [`MemberView::label`] when this view was made.
    #[n(10)]
    pub label: String,
}

impl MessageView {
    /// Its place in the total order.
    #[must_use]
    pub const fn key(&self) -> Key {
        Key { ts: self.created_ts, id: self.msg_id }
    }
}

/// Who this device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct IdentityView {
    /// Its public key.
    #[n(0)]
    pub node_id: NodeId,
    /// The user's display name; empty before one was chosen.
    #[n(1)]
    pub name: String,
    /// Whether a passphrase protects the keys at rest.
    #[n(2)]
    pub passphrase: bool,
    /// Whether this device stores and forwards for its circles.
    #[n(3)]
    pub anchor: bool,
    /// Whether members do not get to know where this device is.
    #[n(4)]
    pub hide_address: bool,
    /// The user's own STUN and TURN servers, a line each as [`crate::ice::parse_servers`] reads them; empty where those
    /// that relays name are used.
    #[n(5)]
    pub ice_servers: String,
}

/// One finding of `/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Finding {
    /// What was tried, such as `relay https://…`.
    #[n(0)]
    pub subject: String,
    /// Whether it is fine.
    #[n(1)]
    pub ok: bool,
    /// What was found.
    #[n(2)]
    pub detail: String,
    /// What to do, when something can be done.
    #[n(3)]
    pub advice: Option<String>,
    /// The same for programs, where there are figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(4)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(default)]
pub struct Figures {
    /// Round trip in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[n(0)]
    pub rtt_ms: Option<u32>,
    /// This side's candidate of the pair in use: `host`, `srflx`, `prflx` or `relay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[n(1)]
    pub local: Option<String>,
    /// The other side's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[n(2)]
    pub remote: Option<String>,
    /// How a member is reached: `tcp` or `webrtc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[n(3)]
    pub path: Option<String>,
    /// The address that a STUN server saw, as `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[n(4)]
    pub mapped: Option<String>,
    /// The address that a TURN server lent, as `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[n(5)]
    pub relayed: Option<String>,
    /// Kinds of candidates this device has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[n(6)]
    pub candidates: Option<Vec<String>>,
    /// Which address the NAT shows: [`crate::ice::Mapping::name`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[n(7)]
    pub mapping: Option<String>,
    /// What the NAT lets in: [`crate::ice::Filtering::name`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[n(8)]
    pub filtering: Option<String>,
}

/// The answer to a command that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// Nothing more to say.
    #[n(0)]
    Done,
    /// A circle was made or joined.
    #[n(1)]
    Circle {
        /// Which.
        #[n(0)]
        circle_id: CircleId,
        /// Its name, if known yet.
        #[n(1)]
        name: String,
        /// A fresh invite to it.
        #[n(2)]
        invite: String,
    },
    /// An invite code.
    #[n(2)]
    Invite {
        /// Which circle.
        #[n(0)]
        circle_id: CircleId,
        /// Its name.
        #[n(1)]
        name: String,
        /// `felund1.…`
        #[n(2)]
        invite: String,
    },
    /// A channel was made or joined.
    #[n(3)]
    Channel {
        /// Which.
        #[n(0)]
        channel_id: ChannelId,
    },
    /// A message is committed to this device's storage and on its way.
    #[n(4)]
    Sent {
        /// Which.
        #[n(0)]
        msg_id: MsgId,
        /// Its clock.
        #[n(1)]
        created_ts: u64,
    },
    /// A page of history, oldest first.
    #[n(5)]
    History {
        /// The messages.
        #[n(0)]
        messages: Vec<MessageView>,
        /// Whether this page reaches the oldest message kept.
        #[n(1)]
        start_reached: bool,
        /// Where it begins, which may be before the first message: not all that is kept can be opened.
        #[n(2)]
        from: Option<Key>,
    },
    /// What `/doctor` found.
    #[n(6)]
    Doctor {
        /// One per thing tried.
        #[n(0)]
        findings: Vec<Finding>,
    },
    /// The 60-digit number two people compare.
    #[n(7)]
    SafetyNumber {
        /// Twelve groups of five digits.
        #[n(0)]
        number: String,
    },
}
