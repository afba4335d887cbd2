//! Frames between two nodes within a session (`docs/protocol.md` §12.4): each is one CBOR array `[tag, [fields…]]`.
//!
//! Circles are named by their place among the session's shared ones, so that a frame about a circle the other side
//! has not proved to be in cannot be written.

use minicbor::{Decode, Encode};

use super::{Sealed, WireError, relay::parse};
use crate::{
    config::{MAX_BATCH, MAX_CHANNELS, MAX_SIGNAL_LEN},
    ids::{ChannelId, MsgId, NodeId},
    sorted::SortedMap,
};

/// What one side keeps of a circle: the other must not be offered less, nor asked for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Window {
    /// Chat older than this is not kept, unix milliseconds.
    #[n(0)]
    pub horizon: u64,
    /// Channels at their count limit, and the oldest `created_ts` each keeps.
    #[n(1)]
    pub floors: Vec<(ChannelId, u64)>,
}

impl Window {
    /// What both sides keep.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut floors: SortedMap<ChannelId, u64> = SortedMap::new();
        for (channel, ts) in self.floors.iter().chain(&other.floors) {
            let floor = floors.entry(*channel).or_default();
            *floor = (*floor).max(*ts);
        }
        Self { horizon: self.horizon.max(other.horizon), floors: floors.into_iter().collect() }
    }
}

/// A reconciliation message: the whole sets first, then coded symbols until the difference is known.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Have {
    /// What a set looks like from far away.
    #[n(0)]
    Summary {
        /// How many.
        #[n(0)]
        count: u64,
        /// Salted fingerprint.
        #[cbor(n(1), with = "minicbor::bytes")]
        fingerprint: [u8; 16],
        /// What of it counts.
        #[n(2)]
        window: Window,
    },
    /// The sets are equal.
    #[n(1)]
    Same,
    /// Coded symbols of the sender's set, from an index on.
    #[n(2)]
    Symbols {
        /// How many members the set has.
        #[n(0)]
        count: u64,
        /// Index of the first symbol.
        #[n(1)]
        start: u64,
        /// The symbols, see [`crate::sync::write_symbols`].
        #[cbor(n(2), with = "minicbor::bytes")]
        symbols: Vec<u8>,
        /// What of the set counts: both sides' limits together.
        #[n(3)]
        window: Window,
    },
    /// Symbols up to this index are wanted.
    #[n(3)]
    More {
        /// One past the last index.
        #[n(0)]
        end: u64,
    },
}

impl Have {
    /// A window names no more channels than a circle has, that of both sides no more than both.
    const fn has_too_many_floors(&self) -> bool {
        match self {
            Self::Summary { window, .. } => window.floors.len() > MAX_CHANNELS,
            Self::Symbols { window, .. } => window.floors.len() > 2 * MAX_CHANNELS,
            Self::Same | Self::More { .. } => false,
        }
    }
}

/// Where a member can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PeerAddress {
    /// Who.
    #[n(0)]
    pub node_id: NodeId,
    /// `host:port`.
    #[n(1)]
    pub endpoints: Vec<String>,
}

/// From one node to another, after WELCOME.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PeerFrame {
    /// PEERS: who else is in the circle, and where.
    #[n(0)]
    Peers {
        /// Place of the circle.
        #[n(0)]
        circle: u32,
        /// At most 32.
        #[n(1)]
        peers: Vec<PeerAddress>,
        /// The public IP address that the reader dialed from, as the sender saw it. Earlier versions neither write nor read it.
        #[n(2)]
        observed: Option<String>,
    },
    /// MSGS_HAVE: reconciliation.
    #[n(1)]
    MsgsHave {
        /// Place of the circle.
        #[n(0)]
        circle: u32,
        /// The message.
        #[n(1)]
        have: Have,
    },
    /// MSGS_REQ: envelopes by their short ids.
    #[n(2)]
    MsgsReq {
        /// Place of the circle.
        #[n(0)]
        circle: u32,
        /// Eight bytes each, big-endian.
        #[cbor(n(1), with = "minicbor::bytes")]
        ids: Vec<u8>,
    },
    /// MSGS_SEND: envelopes the other side lacks.
    #[n(3)]
    MsgsSend {
        /// Place of the circle.
        #[n(0)]
        circle: u32,
        /// At most 256.
        #[n(1)]
        envelopes: Vec<Sealed>,
        /// Whether more of the same exchange follow.
        #[n(2)]
        more: bool,
    },
    /// MSG_NEW: an envelope that is new to the sender, pushed at once.
    #[n(4)]
    MsgNew {
        /// Place of the circle.
        #[n(0)]
        circle: u32,
        /// The envelope.
        #[n(1)]
        envelope: Sealed,
    },
    /// Envelopes the sender has received and keeps.
    #[n(5)]
    Confirm {
        /// Place of the circle.
        #[n(0)]
        circle: u32,
        /// Which, at most 256.
        #[n(1)]
        ids: Vec<MsgId>,
        /// The first 8 bytes of each one's author, joined, in the order of the ids: an id alone may have been copied. Earlier
        /// versions neither write nor read them.
        #[cbor(n(2), with = "minicbor::bytes")]
        authors: Option<Vec<u8>>,
    },
    /// Asks for a sign of life.
    #[n(6)]
    Ping,
    /// Gives one.
    #[n(7)]
    Pong,
    /// An ephemeral envelope: passed on to whoever is there, not stored.
    #[n(8)]
    Ephemeral {
        /// Place of the circle.
        #[n(0)]
        circle: u32,
        /// The envelope.
        #[n(1)]
        envelope: Sealed,
    },
    /// SIGNAL: a sealed signal for the reader, or for a member that the reader has a session with.
    #[n(16)]
    Signal {
        /// Place of the circle.
        #[n(0)]
        circle: u32,
        /// For whom.
        #[n(1)]
        to: NodeId,
        /// Sealed to that member, at most [`MAX_SIGNAL_LEN`] bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        payload: Vec<u8>,
    },
}

impl PeerFrame {
    /// Reads one frame.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let frame: Self = parse(bytes)?;
        match &frame {
            Self::MsgsSend { envelopes, .. } if envelopes.len() > MAX_BATCH => Err(WireError::too_many()),
            Self::Confirm { ids, .. } if ids.len() > MAX_BATCH => Err(WireError::too_many()),
            Self::MsgsHave { have, .. } if have.has_too_many_floors() => Err(WireError::too_many()),
            Self::Signal { payload, .. } if payload.len() > MAX_SIGNAL_LEN => Err(WireError::too_many()),
            _ => Ok(frame),
        }
    }

    /// Writes one frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to a Vec is infallible")
    }
}
