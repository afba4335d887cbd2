//! The node's own records: their keys, and what is sealed inside them (`docs/protocol.md` §11).
//!
//! Only `identity` is readable without the node's store key, and with a passphrase not even that.

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

pub(super) use crate::store::IDENTITY;
use crate::{
    ids::{ChannelId, CircleId, Cursor, NodeId},
    keys::{NodeKey, StoreKey, random},
    redact::Secret,
    store::Op,
    view::{Key, Retention},
};

pub(super) const PROFILE: &str = "profile";
/// Whether the user opted in to anchoring.
pub(super) const ANCHOR: &str = "anchor";
/// Whether this device hides its address from members.
pub(super) const HIDE: &str = "hide";
/// The user's own STUN and TURN servers, as text.
pub(super) const ICE: &str = "ice";
/// What the doctor writes, and deletes in the same batch, to see whether storage takes it.
pub(super) const TRIAL: &str = "trial";

pub(super) fn circle(id: &CircleId) -> String {
    format!("circle/{id}")
}

pub(super) fn cursor(id: &CircleId) -> String {
    format!("cursor/{id}")
}

pub(super) fn delivered(id: &CircleId) -> String {
    format!("delivered/{id}")
}

pub(super) fn read(id: &CircleId, channel: &ChannelId) -> String {
    format!("read/{id}/{channel}")
}

pub(super) fn draft(id: &CircleId, channel: &ChannelId) -> String {
    format!("draft/{id}/{channel}")
}

pub(super) fn channel_key(id: &CircleId, channel: &ChannelId) -> String {
    format!("key/{id}/{channel}")
}

pub(super) fn outbox(id: &CircleId, key: &Key) -> String {
    format!("outbox/{id}/{:016x}/{}", key.ts, key.id)
}

/// What deletes an own envelope of a circle that is not on this device any more.
pub(super) fn unsent(id: CircleId, key: Key) -> [Op; 2] {
    [Op::DeleteRecord(outbox(&id, &key)), Op::DeleteEnvelopes(id, vec![key])]
}

/// A record's key, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Circle(CircleId),
    Cursor(CircleId),
    Delivered(CircleId),
    Read(CircleId, ChannelId),
    Draft(CircleId, ChannelId),
    ChannelKey(CircleId, ChannelId),
    Outbox(CircleId, Key),
}

impl Name {
    /// Whose record it is.
    pub(super) const fn circle(self) -> CircleId {
        match self {
            Self::Circle(circle)
            | Self::Cursor(circle)
            | Self::Delivered(circle)
            | Self::Read(circle, _)
            | Self::Draft(circle, _)
            | Self::ChannelKey(circle, _)
            | Self::Outbox(circle, _) => circle,
        }
    }

    /// `None` for records of no circle, and for those of a later version.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (kind, circle) = (parts.next()?, parts.next()?.parse().ok()?);
        let mut id = || parts.next()?.parse().ok();
        Some(match kind {
            "circle" => Self::Circle(circle),
            "cursor" => Self::Cursor(circle),
            "delivered" => Self::Delivered(circle),
            "read" => Self::Read(circle, id()?),
            "draft" => Self::Draft(circle, id()?),
            "key" => Self::ChannelKey(circle, id()?),
            "outbox" => {
                let ts = u64::from_str_radix(parts.next()?, 16).ok()?;
                Self::Outbox(circle, Key { ts, id: parts.next()?.parse().ok()? })
            }
            _ => return None,
        })
    }
}

/// `identity`: the seed, plain or under a passphrase.
#[derive(Encode, Decode)]
enum Identity {
    #[n(0)]
    Plain(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]),
    #[n(1)]
    Locked(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16], #[cbor(n(1), with = "minicbor::bytes")] Vec<u8>),
}

/// An identity record as it was found.
pub(super) enum Found {
    Open(Box<NodeKey>),
    Locked(Locked),
}

/// A seed under a passphrase.
pub(super) struct Locked {
    salt: [u8; 16],
    sealed: Vec<u8>,
}

impl Locked {
    pub(super) fn unlock(&self, passphrase: &str) -> Option<NodeKey> {
        let seed = StoreKey::from_passphrase(passphrase, &self.salt)?.open(IDENTITY, &self.sealed)?;
        seed.try_into().ok().map(|seed| NodeKey::from_seed(Secret::new(seed)))
    }
}

pub(super) fn read_identity(bytes: &[u8]) -> Option<Found> {
    Some(match minicbor::decode(bytes).ok()? {
        Identity::Plain(seed) => Found::Open(Box::new(NodeKey::from_seed(Secret::new(seed)))),
        Identity::Locked(salt, sealed) => Found::Locked(Locked { salt, sealed }),
    })
}

/// `None` when the passphrase cannot be stretched for want of memory.
pub(super) fn write_identity(
    key: &NodeKey,
    passphrase: Option<&str>,
    rng: &mut impl CryptoRng,
) -> Option<Vec<u8>> {
    let seed = *key.seed().expose();
    let identity = match passphrase {
        None => Identity::Plain(seed),
        Some(passphrase) => {
            let salt = random(rng);
            let sealed = StoreKey::from_passphrase(passphrase, &salt)?.seal(IDENTITY, &seed, rng);
            Identity::Locked(salt, sealed)
        }
    };
    Some(cbor(&identity))
}

/// `circle/…`: what a member must keep of a circle to be in it.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct CircleRecord {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(super) secret: [u8; 32],
    #[n(1)]
    pub(super) relay: Option<String>,
    #[n(2)]
    pub(super) peers: Vec<String>,
    #[n(3)]
    pub(super) name: Option<String>,
    #[n(4)]
    pub(super) messages: u32,
    #[n(5)]
    pub(super) days: u32,
}

impl CircleRecord {
    pub(super) const fn retention(&self) -> Retention {
        Retention { messages: self.messages, days: self.days }
    }

    /// Whether more is to be kept than before.
    pub(super) const fn keeps_more(&self, before: Retention) -> bool {
        self.messages > before.messages || self.days > before.days
    }
}

/// `cursor/…`: how far a circle has been read from which relay, and to where before anything was refused for want of a hello.
#[derive(Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct CursorRecord {
    #[n(0)]
    pub(super) relay: String,
    #[n(1)]
    pub(super) cursor: Cursor,
    #[n(2)]
    pub(super) unheard: Option<Cursor>,
}

/// `delivered/…`: which members have confirmed which own envelopes.
#[derive(Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct DeliveredRecord {
    #[n(0)]
    pub(super) members: Vec<NodeId>,
    #[n(1)]
    pub(super) confirmed: Vec<Confirmed>,
}

/// One envelope, and the places among the members of those who have confirmed it.
#[derive(Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct Confirmed {
    #[n(0)]
    pub(super) ts: u64,
    #[n(1)]
    pub(super) id: crate::ids::MsgId,
    #[n(2)]
    pub(super) by: Vec<u32>,
}

/// `read/…`: the last message seen, what came late and is before it, and where the channel began when more was to be kept.
#[derive(Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct ReadRecord {
    #[n(0)]
    pub(super) ts: u64,
    #[n(1)]
    pub(super) id: crate::ids::MsgId,
    #[n(2)]
    pub(super) late: Option<Vec<Key>>,
    #[n(3)]
    pub(super) began: Option<Key>,
}

pub(super) fn cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a Vec is infallible")
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::ids::MsgId;

    #[test]
    fn record_names_round_trip() {
        let (c, ch, key) = (CircleId([1; 16]), ChannelId([2; 16]), Key { ts: u64::MAX, id: MsgId([3; 16]) });
        for (text, name) in [
            (circle(&c), Name::Circle(c)),
            (cursor(&c), Name::Cursor(c)),
            (delivered(&c), Name::Delivered(c)),
            (read(&c, &ch), Name::Read(c, ch)),
            (draft(&c, &ch), Name::Draft(c, ch)),
            (channel_key(&c, &ch), Name::ChannelKey(c, ch)),
            (outbox(&c, &key), Name::Outbox(c, key)),
        ] {
            assert_eq!(Name::parse(&text), Some(name));
        }
        assert_eq!(Name::parse("identity"), None);
    }

    #[test]
    fn an_open_key_is_known_from_one_under_a_passphrase() {
        let identity = |passphrase| {
            let key = NodeKey::from_seed(Secret::new([7; 32]));
            write_identity(&key, passphrase, &mut ChaCha20Rng::seed_from_u64(1)).unwrap()
        };
        assert!(crate::store::is_open(&identity(None)));
        assert!(!crate::store::is_open(&identity(Some("tulips"))));
    }

    #[test]
    fn what_was_read_is_known_of_a_record_without_what_came_late() {
        let key = Key { ts: 7, id: MsgId([3; 16]) };
        let before = cbor(&(key.ts, key.id));
        let read: ReadRecord = minicbor::decode(&before).unwrap();
        assert_eq!((read.ts, read.id, &read.late), (key.ts, key.id, &None));
        assert_eq!(cbor(&read), before);
        let read: ReadRecord =
            minicbor::decode(&cbor(&ReadRecord { late: Some(vec![key]), ..read })).unwrap();
        assert_eq!(read.late, Some(vec![key]));
    }
}
