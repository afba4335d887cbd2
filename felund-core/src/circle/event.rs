//! Event bodies: the CBOR inside `enc`, one shape per envelope type (`docs/protocol.md` §6).
//!
//! Bodies are CBOR arrays; elements beyond the known ones are ignored, so that later versions can add some. No
//! body names its author: that is the verified author of its envelope.

use std::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use super::names::is_unseen;
pub use crate::view::Access;
use crate::{
    anchor::Announce,
    config::{MAX_BATCH, MAX_NAME_CHARS, MAX_TEXT_LEN},
    envelope::{ANNOUNCE, RECEIPT},
    ids::{ChannelId, MsgId, NodeId},
    keys::{WRAPPED_LEN, random},
    relay_api::Capabilities,
};

/// What a member says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Hello {
    /// Display name, 1–64 characters.
    #[n(0)]
    pub name: String,
    /// Receives keys by HPKE.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub wrap_key: [u8; 32],
    /// What it can do for the circle.
    #[n(2)]
    pub capabilities: Capabilities,
}

/// What makes a channel. Its id is computed from the author and `nonce`: nobody can claim another's channel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct NewChannel {
    /// 16 random bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// Name, 1–64 characters, without `#`.
    #[n(1)]
    pub name: String,
    /// Who may read it.
    #[n(2)]
    pub access: Access,
    /// For `key` channels: what [`crate::keys::MessageKey::check_value`] says of the right key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub check: Option<[u8; 16]>,
}

impl<C> Encode<C> for Access {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u8(match self {
            Self::Public => 0,
            Self::Key => 1,
            Self::Invite => 2,
        })?
        .ok()
    }
}

impl<'b, C> Decode<'b, C> for Access {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        match d.u8()? {
            0 => Ok(Self::Public),
            1 => Ok(Self::Key),
            2 => Ok(Self::Invite),
            _ => Err(minicbor::decode::Error::message("unknown access mode")),
        }
    }
}

/// The id of a channel: the first 16 bytes of SHA-256(`felund-channel-id-v2` ‖ creator ‖ nonce).
#[must_use]
pub fn channel_id(creator: &NodeId, nonce: &[u8; 16]) -> ChannelId {
    let hash = Sha256::new()
        .chain_update(b"felund-channel-id-v2")
        .chain_update(creator.0)
        .chain_update(nonce)
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    ChannelId(id)
}

impl NewChannel {
    /// A channel with a fresh nonce.
    #[must_use]
    pub fn new(name: String, access: Access, rng: &mut impl CryptoRng) -> Self {
        Self { nonce: random(rng), name, access, check: None }
    }
}

/// An envelope as receipts name it: its id, and [`crate::anchor::short`] of its author. An id alone may have been copied.
pub type Received = (MsgId, [u8; 8]);

/// The author where an earlier version does not say it.
pub const UNSAID: [u8; 8] = [0; 8];

/// Envelopes as they are written: their ids, and their authors joined.
#[must_use]
pub fn parted(received: &[Received]) -> (Vec<MsgId>, Vec<u8>) {
    let ids = received.iter().map(|(id, _)| *id).collect();
    (ids, received.iter().flat_map(|(_, author)| *author).collect())
}

/// What [`parted`] wrote, or an earlier version without authors. `None` if they are not as many as the ids.
#[must_use]
pub fn joined(ids: Vec<MsgId>, authors: Option<&[u8]>) -> Option<Vec<Received>> {
    let Some(authors) = authors else { return Some(ids.into_iter().map(|id| (id, UNSAID)).collect()) };
    let (authors, rest) = authors.as_chunks();
    (authors.len() == ids.len() && rest.is_empty())
        .then(|| ids.into_iter().zip(authors.iter().copied()).collect())
}

/// One event, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// `chat.text`, in any channel but control.
    Text(String),
    /// `circle.name`
    CircleName(String),
    /// `member.hello`
    Hello(Hello),
    /// `channel.create`
    Create(NewChannel),
    /// `channel.join`
    Join(ChannelId),
    /// `channel.leave`
    Leave(ChannelId),
    /// `channel.request`
    Request(ChannelId),
    /// `channel.approve`: the channel's key, wrapped for one member.
    Approve(ChannelId, NodeId, Vec<u8>),
    /// `channel.rename`
    Rename(ChannelId, String),
    /// `ANCHOR_ANNOUNCE`, ephemeral
    Announce(Box<Announce>),
    /// `receipt`, ephemeral: envelopes its author has received and keeps, at most 256.
    Receipt(Vec<Received>),
    /// A type this build does not know: kept and replicated, not applied.
    Unknown,
}

/// Why a body is not what its type says. Its author is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyError(String);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed event: {}", self.0)
    }
}

impl std::error::Error for BodyError {}

impl From<minicbor::decode::Error> for BodyError {
    fn from(e: minicbor::decode::Error) -> Self {
        Self(e.to_string())
    }
}

/// A display, circle or channel name without surrounding space; `None` when it is empty, longer than 64
/// characters, shows nothing, or holds control characters or bidirectional ones.
#[must_use]
pub fn clean_name(name: &str) -> Option<String> {
    let name = name.trim();
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let fits =
        !name.chars().all(is_unseen) && name.chars().count() <= MAX_NAME_CHARS && !name.chars().any(bad);
    fits.then(|| name.to_owned())
}

fn name(text: &str) -> Result<String, BodyError> {
    clean_name(text)
        .ok_or_else(|| BodyError("name shows nothing, is too long, or holds control characters".into()))
}

impl Body {
    /// The envelope type; empty for [`Body::Unknown`], which is never sealed.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "chat.text",
            Self::CircleName(_) => "circle.name",
            Self::Hello(_) => "member.hello",
            Self::Create(_) => "channel.create",
            Self::Join(_) => "channel.join",
            Self::Leave(_) => "channel.leave",
            Self::Request(_) => "channel.request",
            Self::Approve(..) => "channel.approve",
            Self::Rename(..) => "channel.rename",
            Self::Announce(_) => ANNOUNCE,
            Self::Receipt(_) => RECEIPT,
            Self::Unknown => "",
        }
    }

    /// The CBOR.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        let written = match self {
            Self::Text(text) | Self::CircleName(text) => minicbor::to_vec((text,)),
            Self::Hello(hello) => minicbor::to_vec(hello),
            Self::Create(channel) => minicbor::to_vec(channel),
            Self::Join(id) | Self::Leave(id) | Self::Request(id) => minicbor::to_vec((id,)),
            Self::Approve(id, member, wrapped) => {
                minicbor::to_vec((id, member, <&minicbor::bytes::ByteSlice>::from(&wrapped[..])))
            }
            Self::Rename(id, name) => minicbor::to_vec((id, name)),
            Self::Announce(announce) => minicbor::to_vec(announce),
            Self::Receipt(received) => {
                let (ids, authors) = parted(received);
                minicbor::to_vec((ids, <&minicbor::bytes::ByteSlice>::from(&authors[..])))
            }
            Self::Unknown => Ok(Vec::new()),
        };
        // A Vec takes every write, and no encoder above has an error of its own.
        written.expect("writing to a Vec is infallible")
    }

    /// Reads a body of the type its envelope names.
    pub fn from_cbor(kind: &str, cbor: &[u8]) -> Result<Self, BodyError> {
        let mut fields = Fields::new(cbor);
        Ok(match kind {
            "chat.text" => match fields.next::<&str>()? {
                text if text.len() <= MAX_TEXT_LEN => Self::Text(text.into()),
                _ => return Err(BodyError(format!("text is longer than {MAX_TEXT_LEN} bytes"))),
            },
            "circle.name" => Self::CircleName(name(fields.next()?)?),
            "member.hello" => {
                let hello: Hello = minicbor::decode(cbor)?;
                Self::Hello(Hello { name: name(&hello.name)?, ..hello })
            }
            "channel.create" => {
                let channel: NewChannel = minicbor::decode(cbor)?;
                if channel.check.is_some() != (channel.access == Access::Key) {
                    return Err(BodyError("a channel has a check exactly if it has a passphrase".into()));
                }
                Self::Create(NewChannel { name: name(&channel.name)?, ..channel })
            }
            "channel.join" => Self::Join(fields.next()?),
            "channel.leave" => Self::Leave(fields.next()?),
            "channel.request" => Self::Request(fields.next()?),
            "channel.approve" => {
                let (channel, member) = (fields.next()?, fields.next()?);
                let wrapped: &minicbor::bytes::ByteSlice = fields.next()?;
                if wrapped.len() != WRAPPED_LEN {
                    return Err(BodyError("wrapped key of the wrong length".into()));
                }
                Self::Approve(channel, member, wrapped.to_vec())
            }
            "channel.rename" => Self::Rename(fields.next()?, name(fields.next()?)?),
            ANNOUNCE => match minicbor::decode::<Announce>(cbor)? {
                announce if announce.fits() => Self::Announce(Box::new(announce)),
                _ => return Err(BodyError("announcement over its limits".into())),
            },
            RECEIPT => {
                let ids: Vec<MsgId> = fields.next()?;
                if ids.len() > MAX_BATCH {
                    return Err(BodyError(format!("more than {MAX_BATCH} ids in a receipt")));
                }
                let authors: Option<&minicbor::bytes::ByteSlice> = match fields.left {
                    Some(0) => None,
                    _ => Some(fields.next()?),
                };
                let received = joined(ids, authors.map(|authors| &**authors));
                let none = || BodyError("a receipt does not name an author for each id".into());
                Self::Receipt(received.ok_or_else(none)?)
            }
            _ => Self::Unknown,
        })
    }
}

/// Reads the leading elements of a CBOR array and lets later ones be.
struct Fields<'b> {
    decoder: minicbor::Decoder<'b>,
    left: Option<u64>,
}

impl<'b> Fields<'b> {
    fn new(cbor: &'b [u8]) -> Self {
        Self { decoder: minicbor::Decoder::new(cbor), left: None }
    }

    fn next<T: Decode<'b, ()>>(&mut self) -> Result<T, BodyError> {
        let left = match self.left {
            Some(left) => left,
            None => self.decoder.array()?.ok_or_else(|| BodyError("indefinite-length array".into()))?,
        };
        self.left = Some(left.checked_sub(1).ok_or_else(|| BodyError("a field is missing".into()))?);
        Ok(self.decoder.decode()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_round_trips() {
        let id = ChannelId([1; 16]);
        for body in [
            Body::Text("seed swap 🌱".into()),
            Body::CircleName("garden club".into()),
            Body::Hello(Hello {
                name: "alice".into(),
                wrap_key: [2; 32],
                capabilities: Capabilities::default(),
            }),
            Body::Create(NewChannel {
                nonce: [3; 16],
                name: "seeds".into(),
                access: Access::Key,
                check: Some([4; 16]),
            }),
            Body::Create(NewChannel {
                nonce: [3; 16],
                name: "seeds".into(),
                access: Access::Public,
                check: None,
            }),
            Body::Join(id),
            Body::Leave(id),
            Body::Request(id),
            Body::Approve(id, NodeId([5; 32]), vec![6; WRAPPED_LEN]),
            Body::Rename(id, "bulbs".into()),
            Body::Announce(Box::new(Announce {
                capabilities: Capabilities { can_anchor: true, ..Capabilities::default() },
                uptime: 20,
                endpoints: vec!["192.0.2.1:4700".into()],
                present: Announce::list(&[NodeId([7; 32])]),
                serves: Announce::list(&[NodeId([7; 32]), NodeId([8; 32])]),
                elected: Some([7; 8]),
            })),
            Body::Receipt(vec![(MsgId([9; 16]), [7; 8]), (MsgId([10; 16]), [8; 8])]),
        ] {
            assert_eq!(Body::from_cbor(body.kind(), &body.to_cbor()), Ok(body));
        }
    }

    #[test]
    fn later_fields_are_ignored_and_missing_ones_are_named() {
        let longer = minicbor::to_vec(("hi", 7)).unwrap();
        assert_eq!(Body::from_cbor("chat.text", &longer), Ok(Body::Text("hi".into())));
        assert!(Body::from_cbor("chat.text", &[0x80]).is_err());
        assert_eq!(Body::from_cbor("poll.create", &[0xff]), Ok(Body::Unknown));
        let unsaid = minicbor::to_vec((vec![MsgId([9; 16])],)).unwrap();
        assert_eq!(Body::from_cbor(RECEIPT, &unsaid), Ok(Body::Receipt(vec![(MsgId([9; 16]), UNSAID)])));
        for wrong in [&[][..], &[7; 7], &[7; 9], &[7; 16]] {
            let other = <&minicbor::bytes::ByteSlice>::from(wrong);
            let receipt = minicbor::to_vec((vec![MsgId([9; 16])], other)).unwrap();
            assert!(
                Body::from_cbor(RECEIPT, &receipt).is_err(),
                "{} bytes of authors for an id",
                wrong.len()
            );
        }
    }

    #[test]
    fn names_cannot_hide_or_reorder_text() {
        assert_eq!(clean_name("  bob "), Some("bob".into()));
        for bad in
            ["", " ", "\u{2800}", "\u{3164}\u{ad}", "a\u{1b}[2J", "a\u{202e}b", "\u{61c}ab", &"x".repeat(65)]
        {
            assert_eq!(clean_name(bad), None);
        }
    }
}
