//! Headers, the two encodings and the signature of an envelope.

use std::fmt;

use minicbor::{Decoder, Encoder, data::Type, decode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    config::{ENVELOPE_VERSION, MAX_ENC_LEN, MAX_ENVELOPE_LEN, MAX_KEY_ID_LEN, MAX_TYPE_LEN, MIN_ENC_LEN},
    ids::{Base64, ChannelId, CircleId, MsgId, NodeId, decode_array},
    relay_api::object,
};

const SIGNATURE_DOMAIN: &[u8] = b"felund-envelope-v2";

pub(crate) const ANNOUNCE: &str = "ANCHOR_ANNOUNCE";
pub(crate) const RECEIPT: &str = "receipt";

/// Whether envelopes of this type are passed on to whoever is there and then forgotten: they age fast, and must neither
/// count against stored chat nor push it out.
#[must_use]
pub fn is_ephemeral(kind: &str) -> bool {
    matches!(kind, ANNOUNCE | RECEIPT)
}

/// How the body was compressed before padding, within this one message only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Compression {
    /// Not at all.
    None,
    /// Raw DEFLATE (RFC 1951).
    Deflate,
}

impl Compression {
    /// The header's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Deflate => "deflate",
        }
    }
}

/// The cleartext headers, every one of them authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Random, unique per envelope.
    pub msg_id: MsgId,
    /// The circle it belongs to.
    pub circle_id: CircleId,
    /// The channel within the circle; its name travels encrypted.
    pub channel_id: ChannelId,
    /// Who sealed and signed it.
    pub author_node_id: NodeId,
    /// Hybrid logical clock, milliseconds since 1970.
    pub created_ts: u64,
    /// Event type, such as `chat.text`.
    pub kind: String,
    /// Which key opens it, such as `epoch-0`.
    pub key_id: String,
    /// How the body was compressed.
    pub compression: Compression,
}

impl Header {
    /// The additional authenticated data: the deterministic CBOR array of the headers.
    #[must_use]
    pub fn aad(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::with_capacity(160));
        e.array(9).expect(VEC);
        self.write(&mut e);
        e.into_writer()
    }

    fn write(&self, e: &mut Encoder<Vec<u8>>) {
        e.u64(ENVELOPE_VERSION)
            .and_then(|e| e.bytes(&self.msg_id.0))
            .and_then(|e| e.bytes(&self.circle_id.0))
            .and_then(|e| e.bytes(&self.channel_id.0))
            .and_then(|e| e.bytes(&self.author_node_id.0))
            .and_then(|e| e.u64(self.created_ts))
            .and_then(|e| e.str(&self.kind))
            .and_then(|e| e.str(&self.key_id))
            .and_then(|e| e.str(self.compression.as_str()))
            .expect(VEC);
    }
}

/// Writing CBOR into a `Vec` cannot fail: its error type is `Infallible`.
const VEC: &str = "writing to a Vec is infallible";

/// A well-formed sealed envelope. Its signature may still be anybody's: see [`Envelope::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    header: Header,
    iv: [u8; 12],
    enc: Vec<u8>,
    sig: [u8; 64],
}

/// Why bytes are not an acceptable envelope. The sender is at fault in every case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Not the CBOR or JSON of an envelope; the text names the part.
    Malformed(String),
    /// Valid CBOR, but not the deterministic encoding.
    NotDeterministic,
    /// A version this build does not speak.
    UnsupportedVersion(u64),
    /// A part exceeds its limit.
    TooLarge {
        /// Which part.
        part: &'static str,
        /// Its limit in bytes.
        limit: usize,
    },
    /// The signature is not the author's over these bytes.
    BadSignature,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed envelope: {what}"),
            Self::NotDeterministic => {
                f.write_str("malformed envelope: not deterministic CBOR (RFC 8949 §4.2.1)")
            }
            Self::UnsupportedVersion(v) => {
                write!(
                    f,
                    "envelope version {v} is not supported, this build speaks version {ENVELOPE_VERSION}"
                )
            }
            Self::TooLarge { part, limit } => write!(f, "envelope {part} is larger than {limit} bytes"),
            Self::BadSignature => f.write_str("the envelope's signature is not its author's"),
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl From<decode::Error> for EnvelopeError {
    fn from(e: decode::Error) -> Self {
        Self::Malformed(format!("{e}"))
    }
}

impl Envelope {
    /// Puts the parts together, checking every bound.
    pub fn new(header: Header, iv: [u8; 12], enc: Vec<u8>, sig: [u8; 64]) -> Result<Self, EnvelopeError> {
        check_len("type", header.kind.len(), MAX_TYPE_LEN)?;
        check_len("key_id", header.key_id.len(), MAX_KEY_ID_LEN)?;
        check_len("enc", enc.len(), MAX_ENC_LEN)?;
        if enc.len() < MIN_ENC_LEN {
            return Err(EnvelopeError::Malformed("enc is shorter than a tag and padding".into()));
        }
        if header.kind.is_empty() || header.key_id.is_empty() {
            return Err(EnvelopeError::Malformed("type and key_id must not be empty".into()));
        }
        Ok(Self { header, iv, enc, sig })
    }

    /// The authenticated headers.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The AES-GCM nonce.
    #[must_use]
    pub const fn iv(&self) -> &[u8; 12] {
        &self.iv
    }

    /// Ciphertext and tag.
    #[must_use]
    pub fn enc(&self) -> &[u8] {
        &self.enc
    }

    /// The author's signature.
    #[must_use]
    pub const fn sig(&self) -> &[u8; 64] {
        &self.sig
    }

    /// Deterministic CBOR: the array of the nine headers, `iv`, `enc` and `sig`.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::with_capacity(self.enc.len() + 280));
        e.array(12).expect(VEC);
        self.header.write(&mut e);
        e.bytes(&self.iv).and_then(|e| e.bytes(&self.enc)).and_then(|e| e.bytes(&self.sig)).expect(VEC);
        e.into_writer()
    }

    /// Reads the CBOR form. Every length is bounded before anything is allocated, and only the deterministic
    /// encoding is accepted, so that one envelope has one byte form.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        check_len("in all", bytes.len(), MAX_ENVELOPE_LEN)?;
        let mut d = Decoder::new(bytes);
        if d.array()? != Some(12) {
            return Err(EnvelopeError::Malformed("expected an array of 12 elements".into()));
        }
        let version = d.u64()?;
        if version != ENVELOPE_VERSION {
            return Err(EnvelopeError::UnsupportedVersion(version));
        }
        let header = Header {
            msg_id: MsgId(decode_array(&mut d)?),
            circle_id: CircleId(decode_array(&mut d)?),
            channel_id: ChannelId(decode_array(&mut d)?),
            author_node_id: NodeId(decode_array(&mut d)?),
            created_ts: d.u64()?,
            kind: text(&mut d, "type", MAX_TYPE_LEN)?,
            key_id: text(&mut d, "key_id", MAX_KEY_ID_LEN)?,
            compression: match &*text(&mut d, "compression", 16)? {
                "none" => Compression::None,
                "deflate" => Compression::Deflate,
                _ => return Err(EnvelopeError::Malformed("unknown compression".into())),
            },
        };
        let iv = decode_array(&mut d)?;
        if d.datatype()? != Type::Bytes {
            return Err(EnvelopeError::Malformed("enc is not a byte string".into()));
        }
        let enc = d.bytes()?;
        check_len("enc", enc.len(), MAX_ENC_LEN)?;
        let envelope = Self::new(header, iv, enc.to_vec(), decode_array(&mut d)?)?;
        if envelope.to_cbor() != bytes {
            return Err(EnvelopeError::NotDeterministic);
        }
        Ok(envelope)
    }

    /// Checks the author's signature (RFC 8032) and yields the only type the log accepts.
    pub fn verify(self) -> Result<Verified, EnvelopeError> {
        let message = signed_bytes(&self.header.aad(), &self.iv, &self.enc);
        if self.header.author_node_id.verify(&message, &self.sig) {
            Ok(Verified(self))
        } else {
            Err(EnvelopeError::BadSignature)
        }
    }
}

/// Checks many authors' signatures together, which takes a quarter of the time if they are one author's. Answers one result
/// each, in order. `seed` has to be random: who knows it beforehand can make signatures that cancel each other out.
///
/// The equation is the one of ZIP 215, which is RFC 8032's without the strict rules on points of small order in `R`, so only an
/// author could make an own signature pass here and fail [`Envelope::verify`]. For relays, whose readers check again.
#[cfg(feature = "batch")]
#[must_use]
pub fn verify_all(envelopes: Vec<Envelope>, seed: [u8; 32]) -> Vec<Result<Verified, EnvelopeError>> {
    if batch_is_good(&envelopes, seed) {
        envelopes.into_iter().map(|envelope| Ok(Verified(envelope))).collect()
    } else {
        envelopes.into_iter().map(Envelope::verify).collect()
    }
}

#[cfg(feature = "batch")]
fn batch_is_good(envelopes: &[Envelope], seed: [u8; 32]) -> bool {
    use ed25519_dalek::{Signature, VerifyingKey};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
    let mut batch = ed25519_zebra::batch::Verifier::new();
    let mut sound = None;
    for envelope in envelopes {
        let author = envelope.header.author_node_id.0;
        // Most batches are one author's, and unpacking a key costs a third of checking a signature.
        if sound != Some(author) {
            // Under a key of small order anybody can sign.
            if !VerifyingKey::from_bytes(&author).is_ok_and(|key| !key.is_weak()) {
                return false;
            }
            sound = Some(author);
        }
        let message = signed_bytes(&envelope.header.aad(), &envelope.iv, &envelope.enc);
        batch.queue((author.into(), Signature::from_bytes(&envelope.sig), &message));
    }
    batch.verify(ChaCha20Rng::from_seed(seed)).is_ok()
}

/// What `sig` covers: domain, SHA-256(AAD), `iv`, SHA-256(`enc`).
pub(crate) fn signed_bytes(aad: &[u8], iv: &[u8; 12], enc: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SIGNATURE_DOMAIN.len() + 76);
    out.extend_from_slice(SIGNATURE_DOMAIN);
    out.extend_from_slice(&Sha256::digest(aad));
    out.extend_from_slice(iv);
    out.extend_from_slice(&Sha256::digest(enc));
    out
}

fn check_len(part: &'static str, len: usize, limit: usize) -> Result<(), EnvelopeError> {
    if len > limit { Err(EnvelopeError::TooLarge { part, limit }) } else { Ok(()) }
}

fn text(d: &mut Decoder<'_>, part: &'static str, limit: usize) -> Result<String, EnvelopeError> {
    if d.datatype()? != Type::String {
        return Err(EnvelopeError::Malformed(format!("{part} is not a text string")));
    }
    let text = d.str()?;
    check_len(part, text.len(), limit)?;
    Ok(text.into())
}

/// An envelope whose signature has been checked: the author is who it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified(Envelope);

impl Verified {
    /// The envelope.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.0
    }

    /// Its headers.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.0.header
    }

    /// Gives the envelope back.
    #[must_use]
    pub fn into_envelope(self) -> Envelope {
        self.0
    }

    /// Takes back from this device's own storage what was verified before it was written there. Damage is still
    /// found: the GCM tag covers headers and ciphertext when the envelope is opened.
    #[cfg(feature = "node")]
    pub(crate) const fn from_own_store(envelope: Envelope) -> Self {
        Self(envelope)
    }

    /// Wraps what was signed just now.
    #[cfg(feature = "node")]
    pub(crate) const fn just_signed(envelope: Envelope) -> Self {
        Self(envelope)
    }
}

/// The JSON form: the same field names, ids in hex, bytes in base64url without padding.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Envelope))]
#[serde(deny_unknown_fields)]
struct JsonEnvelope {
    #[cfg_attr(feature = "openapi", schema(minimum = 2, maximum = 2))]
    v: u64,
    msg_id: MsgId,
    circle_id: CircleId,
    channel_id: ChannelId,
    author_node_id: NodeId,
    created_ts: u64,
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    kind: String,
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 32))]
    key_id: String,
    compression: Compression,
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{16}$"))]
    iv: Base64,
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = String, pattern = "^[A-Za-z0-9_-]*$", min_length = 23, max_length = 87_382)
    )]
    enc: Base64,
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{86}$"))]
    sig: Base64,
}

impl Serialize for Envelope {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let h = &self.header;
        JsonEnvelope {
            v: ENVELOPE_VERSION,
            msg_id: h.msg_id,
            circle_id: h.circle_id,
            channel_id: h.channel_id,
            author_node_id: h.author_node_id,
            created_ts: h.created_ts,
            kind: h.kind.clone(),
            key_id: h.key_id.clone(),
            compression: h.compression,
            iv: Base64(self.iv.to_vec()),
            enc: Base64(self.enc.clone()),
            sig: Base64(self.sig.to_vec()),
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let j: JsonEnvelope = object(d)?;
        if j.v != ENVELOPE_VERSION {
            return Err(D::Error::custom(EnvelopeError::UnsupportedVersion(j.v)));
        }
        let header = Header {
            msg_id: j.msg_id,
            circle_id: j.circle_id,
            channel_id: j.channel_id,
            author_node_id: j.author_node_id,
            created_ts: j.created_ts,
            kind: j.kind,
            key_id: j.key_id,
            compression: j.compression,
        };
        let iv = j.iv.0.try_into().map_err(|_| D::Error::custom("iv must be 12 bytes"))?;
        let sig = j.sig.0.try_into().map_err(|_| D::Error::custom("sig must be 64 bytes"))?;
        Self::new(header, iv, j.enc.0, sig).map_err(D::Error::custom)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Envelope {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        <JsonEnvelope as utoipa::PartialSchema>::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Envelope {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        <JsonEnvelope as utoipa::ToSchema>::schemas(schemas);
    }
}
