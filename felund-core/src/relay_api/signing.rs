//! Request signing: who may speak for a circle, and which node is speaking (`docs/protocol.md` §8.1).
//!
//! Two signatures cover one canonical string: an HMAC under the circle's API signing key (membership) and an
//! Ed25519 signature of the node (identity). Client and relay share this code, so they cannot disagree.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::ids::{CircleHint, NodeId, base64_decode, base64_encode};

/// Hex node id.
pub const HEADER_NODE: &str = "x-felund-node";
/// Hex circle hint.
pub const HEADER_CIRCLE: &str = "x-felund-circle";
/// Unix seconds, decimal.
pub const HEADER_TS: &str = "x-felund-ts";
/// 32 hex digits.
pub const HEADER_NONCE: &str = "x-felund-nonce";
/// Hex HMAC-SHA256 of the canonical string.
pub const HEADER_SIGNATURE: &str = "x-felund-signature";
/// Hex Ed25519 signature of the canonical string.
pub const HEADER_NODE_SIGNATURE: &str = "x-felund-node-signature";

/// The circle's API signing key: HMAC-SHA256(circle_secret, `api-v1`). The relay keeps it to check requests; it
/// opens no message.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ApiKey([u8; 32]);

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(32 bytes)")
    }
}

impl ApiKey {
    /// Takes the 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, for storage.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What relays know the circle by. A relay takes a key for a hint only if this is that hint.
    #[must_use]
    pub fn hint(&self) -> CircleHint {
        CircleHint(Sha256::digest(self.0).into())
    }

    /// HMAC-SHA256 of the canonical string.
    #[must_use]
    pub fn mac(&self, canonical: &str) -> [u8; 32] {
        self.hmac(canonical).finalize().into_bytes().into()
    }

    /// Whether `mac` is this key's, compared in constant time.
    #[must_use]
    pub fn check(&self, canonical: &str, mac: &[u8; 32]) -> bool {
        self.hmac(canonical).verify_slice(mac).is_ok()
    }

    fn hmac(&self, canonical: &str) -> Hmac<Sha256> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        hmac.update(canonical.as_bytes());
        hmac
    }
}

impl Serialize for ApiKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&*text, &mut bytes)
            .map_err(|_| de::Error::custom("signing_key: expected 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ApiKey {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[0-9a-f]{64}$"))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ApiKey {}

/// The path and query as they are signed: parameters sorted by key, percent-encoding left as it is, empty ones left out.
#[must_use]
pub fn canonical_path(path: &str, query: Option<&str>) -> String {
    let query = query.unwrap_or_default();
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_by_key(|pair| pair.split('=').next().unwrap_or(pair));
    if pairs.is_empty() { path.into() } else { format!("{path}?{}", pairs.join("&")) }
}

/// The parts of a request that its signatures cover.
#[derive(Debug, Clone, Copy)]
pub struct Canonical<'a> {
    /// Upper-case HTTP method.
    pub method: &'a str,
    /// As sent, from `/v1`.
    pub path: &'a str,
    /// As sent, without `?`.
    pub query: Option<&'a str>,
    /// The body's bytes.
    pub body: &'a [u8],
    /// Unix seconds.
    pub ts: u64,
    /// 32 hex digits.
    pub nonce: &'a str,
    /// Who is calling.
    pub node_id: &'a NodeId,
}

impl Canonical<'_> {
    /// `METHOD \n path?sorted-query \n hex SHA-256(body) \n ts \n nonce \n node_id`, single newlines, no spaces.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n{}\n{}\n{}",
            self.method,
            canonical_path(self.path, self.query),
            hex::encode(Sha256::digest(self.body)),
            self.ts,
            self.nonce,
            self.node_id,
        )
    }
}

/// A signed request for the WebSocket, in the place of a token, so that a client needs no other connection first
/// (`docs/protocol.md` §9). Good once, like every signed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Who is calling.
    pub node: NodeId,
    /// For which circle.
    pub hint: CircleHint,
    /// Unix seconds.
    pub ts: u64,
    /// As the 32 hex digits of other requests.
    pub nonce: [u8; 16],
    /// HMAC-SHA256 of the canonical string.
    pub mac: [u8; 32],
    /// Ed25519 signature of the canonical string.
    pub node_signature: [u8; 64],
}

impl Ticket {
    /// What both signatures are over: the canonical string of the request that opens the socket.
    #[must_use]
    pub fn canonical(node_id: &NodeId, ts: u64, nonce: &[u8; 16]) -> String {
        let (method, path, nonce) = ("GET", super::path::SOCKET, &hex::encode(nonce));
        Canonical { method, path, query: None, body: &[], ts, nonce, node_id }.text()
    }

    /// As it is offered: base64url without padding, 246 characters.
    #[must_use]
    pub fn encode(&self) -> String {
        let Self { node, hint, ts, nonce, mac, node_signature } = self;
        let parts: [&[u8]; 6] =
            [node.as_bytes(), hint.as_bytes(), &ts.to_be_bytes(), nonce, mac, node_signature];
        base64_encode(&parts.concat())
    }

    /// Reads what is offered; `None` if that is something else, as a token is.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = base64_decode(text)?;
        let (node, rest) = bytes.split_first_chunk()?;
        let (hint, rest) = rest.split_first_chunk()?;
        let (ts, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (mac, rest) = rest.split_first_chunk()?;
        Some(Self {
            node: NodeId(*node),
            hint: CircleHint(*hint),
            ts: u64::from_be_bytes(*ts),
            nonce: *nonce,
            mac: *mac,
            node_signature: rest.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_nothing_else_is_one() {
        let ticket = Ticket {
            node: NodeId([1; 32]),
            hint: CircleHint([2; 32]),
            ts: 3,
            nonce: [4; 16],
            mac: [5; 32],
            node_signature: [6; 64],
        };
        let text = ticket.encode();
        assert_eq!(text.len(), 246);
        assert_eq!(Ticket::parse(&text), Some(ticket));
        for other in ["", &base64_encode(&[0; 32]), &text[1..], &text[..244], &format!("{text}AA")] {
            assert_eq!(Ticket::parse(other), None, "{other}");
        }
    }

    #[test]
    fn query_is_signed_sorted_by_key() {
        assert_eq!(canonical_path("/v1/messages", Some("limit=5&after=0a")), "/v1/messages?after=0a&limit=5");
        assert_eq!(canonical_path("/v1/messages", None), "/v1/messages");
    }

    #[test]
    fn a_mac_fits_its_own_request_only() {
        let key = ApiKey::from_bytes([3; 32]);
        let node_id = NodeId([1; 32]);
        let base = Canonical {
            method: "POST",
            path: "/v1/messages",
            query: None,
            body: b"{}",
            ts: 7,
            nonce: "00",
            node_id: &node_id,
        };
        let mac = key.mac(&base.text());
        assert!(key.check(&base.text(), &mac));
        for other in [
            Canonical { method: "GET", ..base },
            Canonical { path: "/v1/signal", ..base },
            Canonical { body: b"{ }", ..base },
            Canonical { ts: 8, ..base },
            Canonical { nonce: "01", ..base },
        ] {
            assert!(!key.check(&other.text(), &mac));
        }
    }
}
