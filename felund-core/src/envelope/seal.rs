//! Sealing and opening: plaintext body ⇄ envelope.

use std::fmt;

use rand_core::CryptoRng;

use super::{Compression, Envelope, EnvelopeError, Header, Verified, pad, shape::signed_bytes, unpad};
use crate::{
    config::MAX_ENC_LEN,
    ids::{ChannelId, CircleId, MsgId},
    keys::{MessageKey, NodeKey, gcm_open, gcm_seal, random},
};

/// Bodies shorter than this are not worth compressing.
const COMPRESS_FROM: usize = 128;

/// What an author decides about an envelope; the rest follows.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The circle.
    pub circle_id: CircleId,
    /// The channel.
    pub channel_id: ChannelId,
    /// Hybrid logical clock, milliseconds.
    pub created_ts: u64,
    /// Event type.
    pub kind: &'a str,
    /// Which key seals it.
    pub key_id: &'a str,
    /// The CBOR body.
    pub body: &'a [u8],
}

/// Why a body cannot be sealed: it is too large even when compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Seals a body once, for every path. The result carries its author's signature.
pub fn seal(
    draft: Draft<'_>,
    key: &MessageKey,
    author: &NodeKey,
    rng: &mut impl CryptoRng,
) -> Result<Verified, TooLarge> {
    seal_with(draft, key, author, MsgId(random(rng)), random(rng))
}

/// As [`seal`], with the message id and nonce given: for test vectors only, a nonce must never repeat.
pub fn seal_with(
    draft: Draft<'_>,
    key: &MessageKey,
    author: &NodeKey,
    msg_id: MsgId,
    iv: [u8; 12],
) -> Result<Verified, TooLarge> {
    let deflated = (draft.body.len() >= COMPRESS_FROM)
        .then(|| miniz_oxide::deflate::compress_to_vec(draft.body, 6))
        .filter(|deflated| deflated.len() < draft.body.len());
    let (compression, mut plain) = match deflated {
        Some(deflated) => (Compression::Deflate, deflated),
        None => (Compression::None, draft.body.to_vec()),
    };
    pad(&mut plain);
    let header = Header {
        msg_id,
        circle_id: draft.circle_id,
        channel_id: draft.channel_id,
        author_node_id: author.id(),
        created_ts: draft.created_ts,
        kind: draft.kind.into(),
        key_id: draft.key_id.into(),
        compression,
    };
    let aad = header.aad();
    let enc = gcm_seal(&key.sender(&header.author_node_id), &iv, &aad, &plain);
    let sig = author.sign(&signed_bytes(&aad, &iv, &enc));
    Envelope::new(header, iv, enc, sig).map(Verified::just_signed).map_err(|_| TooLarge)
}

/// Why a verified envelope cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The key is not the one it was sealed with, or bytes were altered.
    WrongKeyOrDamaged,
    /// It decrypted, but its inside is not what its header says: the author is at fault.
    Malformed(&'static str),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongKeyOrDamaged => f.write_str("the message does not open: wrong key, or damaged"),
            Self::Malformed(what) => write!(f, "the message's inside is malformed: {what}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Opens a verified envelope and yields its CBOR body.
pub fn open(verified: &Verified, key: &MessageKey) -> Result<Vec<u8>, OpenError> {
    let envelope = verified.envelope();
    let header = envelope.header();
    let padded = gcm_open(&key.sender(&header.author_node_id), envelope.iv(), &header.aad(), envelope.enc())
        .ok_or(OpenError::WrongKeyOrDamaged)?;
    let body = unpad(&padded).ok_or(OpenError::Malformed("padding"))?;
    match header.compression {
        Compression::None => Ok(body.to_vec()),
        Compression::Deflate => miniz_oxide::inflate::decompress_to_vec_with_limit(body, MAX_ENC_LEN)
            .map_err(|_| OpenError::Malformed("compressed body")),
    }
}

/// Reads and verifies an envelope that came from outside.
pub fn receive(bytes: &[u8]) -> Result<Verified, EnvelopeError> {
    Envelope::from_cbor(bytes)?.verify()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secret;

    fn sealed(body: &[u8]) -> (Verified, MessageKey) {
        let (author, key) = (NodeKey::from_seed(Secret::new([1; 32])), MessageKey::from_bytes([2; 32]));
        let draft = Draft {
            circle_id: CircleId([3; 16]),
            channel_id: ChannelId([4; 16]),
            created_ts: 1_700_000_000_000,
            kind: "chat.text",
            key_id: "epoch-0",
            body,
        };
        (seal_with(draft, &key, &author, MsgId([5; 16]), [6; 12]).unwrap(), key)
    }

    #[test]
    fn what_is_sealed_opens_compressed_or_not() {
        for body in [&b"hi"[..], &[b'a'; 5_000]] {
            let (verified, key) = sealed(body);
            let again = receive(&verified.envelope().to_cbor()).unwrap();
            assert_eq!(open(&again, &key).unwrap(), body);
            assert_eq!(open(&again, &MessageKey::from_bytes([9; 32])), Err(OpenError::WrongKeyOrDamaged));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let (verified, _) = sealed(b"seed swap on saturday?");
        let bytes = verified.envelope().to_cbor();
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(receive(&bad).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_unfolds() {
        let (verified, key) = sealed(&vec![0; 10 * MAX_ENC_LEN]);
        assert_eq!(verified.header().compression, Compression::Deflate);
        assert_eq!(open(&verified, &key), Err(OpenError::Malformed("compressed body")));
    }

    #[test]
    fn json_and_cbor_carry_the_same_envelope() {
        let (verified, _) = sealed(b"hi");
        let json = serde_json::to_string(verified.envelope()).unwrap();
        let back: Envelope = serde_json::from_str(&json).unwrap();
        assert_eq!(&back, verified.envelope());
        assert!(serde_json::from_str::<Envelope>(&json.replace("\"v\":2", "\"v\":3")).is_err());
    }
}
