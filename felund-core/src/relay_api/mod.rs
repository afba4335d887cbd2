//! The relay's HTTP API as types, shared by client and server (`docs/protocol.md` §8).
//!
//! Paths, JSON bodies and error codes are here; request signing is in [`signing`]. Nothing in this module names a
//! circle secret, a message key or a plaintext: the relay is built from it.

mod object;
mod server_uri;
pub mod signing;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use self::{
    object::object,
    server_uri::{Scheme, ServerUri},
};
use crate::{
    envelope::Envelope,
    ids::{Base64, CircleHint, Cursor, MsgId, NodeId},
};

/// Paths of the endpoints.
pub mod path {
    /// Liveness, version and time; unsigned.
    pub const HEALTH: &str = "/v1/health";
    /// Presence.
    pub const REGISTER: &str = "/v1/register";
    /// Live members of the circle.
    pub const PEERS: &str = "/v1/peers";
    /// Store and fetch envelopes.
    pub const MESSAGES: &str = "/v1/messages";
    /// Sealed signaling mailbox.
    pub const SIGNAL: &str = "/v1/signal";
    /// A token for the WebSocket.
    pub const SESSION: &str = "/v1/relay/session";
    /// The WebSocket.
    pub const SOCKET: &str = "/v1/relay/ws";
    /// STUN and TURN servers.
    pub const ICE: &str = "/v1/ice";
    /// The machine-readable API; unsigned.
    pub const OPENAPI: &str = "/v1/openapi.json";
    /// Prometheus metrics; unsigned.
    pub const METRICS: &str = "/v1/metrics";
}

/// WebSocket sub-protocol both sides agree on; the token travels as a second offered sub-protocol.
pub const SUBPROTOCOL: &str = "felund.v2";

/// A relay's base URL in its one form: `http` or `https`, a host, no user, query or fragment, no slash at the end.
/// The error is for people.
pub fn clean_relay_url(text: &str) -> Result<String, String> {
    let wrong =
        |what: &str| Err(format!("{text:?} is not a relay's address: {what}. Example: https://chat.example"));
    let text = text.trim();
    if text.len() > crate::config::MAX_URL_LEN {
        return wrong("it is too long");
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("it must start with https:// or http://");
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" && scheme != "http" {
        return wrong("it must start with https:// or http://");
    }
    if rest.contains(|c: char| c.is_whitespace() || c.is_control() || "?#@\\\"<>".contains(c)) {
        return wrong("it holds characters that do not belong there");
    }
    if !rest.is_ascii() {
        return wrong("it holds letters beyond ASCII; write its host in the form that begins with xn--");
    }
    let rest = rest.trim_end_matches('/');
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| if port.parse::<u16>().is_ok() { name } else { host });
    let literal = name.starts_with('[') && name.ends_with(']');
    if name.is_empty() || (name.contains(':') && !literal) {
        return wrong("the host or port is wrong");
    }
    let path = path.map(|path| format!("/{path}")).unwrap_or_default();
    Ok(format!("{scheme}://{}{path}", host.to_ascii_lowercase()))
}

/// What kinds of failure the API distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ErrorCode {
    /// 401: unsigned, or the signature does not fit.
    InvalidSignature,
    /// 401, retryable: the relay has no key for this hint; register first.
    UnknownCircle,
    /// 401: a WebSocket token that is unknown, used or expired.
    InvalidToken,
    /// 400: the timestamp is outside the window; correct the clock by `server_time`.
    ExpiredTimestamp,
    /// 409: this nonce has been used.
    NonceReplay,
    /// 400: the request's shape, or an envelope in it, is wrong.
    BadRequest,
    /// 404: no such endpoint or session.
    NotFound,
    /// 413: a body, batch or payload over its limit.
    TooLarge,
    /// 429: slow down; `Retry-After` says how long.
    RateLimited,
    /// 429: the circle's stored bytes or messages are at their quota.
    QuotaExceeded,
    /// 503: storage is full or failing; nothing was stored.
    Unavailable,
    /// A code this build does not know.
    #[serde(other)]
    Unknown,
}

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// Always false.
    pub ok: bool,
    /// What kind of failure.
    pub code: ErrorCode,
    /// What happened and what to do, for people.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The relay's clock, unix seconds: clients correct their offset by it.
    pub server_time: u64,
}

/// What a member can do for its circle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
#[cbor(array)]
pub struct Capabilities {
    /// Has opted in to store and forward for others.
    #[n(0)]
    pub can_anchor: bool,
    /// Others have connected to it from outside its network.
    #[n(1)]
    pub public_reachable: bool,
    /// Runs on a phone.
    #[n(2)]
    pub is_mobile: bool,
}

/// `POST /v1/register`: presence for `ttl_s` seconds, and the circle's key on first contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterRequest {
    /// The caller; must equal `X-Felund-Node`.
    pub node_id: NodeId,
    /// The circle; must equal `X-Felund-Circle`.
    pub circle_hint: CircleHint,
    /// The API signing key, hex; must hash to `circle_hint`.
    pub signing_key: signing::ApiKey,
    /// Addresses the caller listens on, at most 16, each at most 128 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 16, max_length = 128))]
    pub endpoints: Vec<String>,
    /// What it can do for its circle.
    #[serde(default, deserialize_with = "object")]
    pub capabilities: Capabilities,
    /// Lifetime in seconds, 60–180; others are brought into the range.
    pub ttl_s: u64,
}

/// Answer to [`RegisterRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterResponse {
    /// Always true.
    pub ok: bool,
    /// Unix seconds.
    pub server_time: u64,
    /// When the presence ends, unix seconds.
    pub expires_at: u64,
    /// The address the request came from.
    pub observed_endpoint: String,
}

/// A live member, as the relay knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cbor(array)]
pub struct Peer {
    /// Who.
    #[n(0)]
    pub node_id: NodeId,
    /// Where it listens.
    #[n(1)]
    pub endpoints: Vec<String>,
    /// What it can do.
    #[n(2)]
    pub capabilities: Capabilities,
    /// When the relay last heard of it, unix seconds.
    #[n(3)]
    pub observed_at: u64,
}

/// Answer to `GET /v1/peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeersResponse {
    /// Always true.
    pub ok: bool,
    /// Live members of the circle, not the caller.
    pub peers: Vec<Peer>,
}

/// `POST /v1/messages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PostMessages {
    /// At most 256 sealed envelopes.
    #[cfg_attr(feature = "openapi", schema(max_items = 256))]
    pub messages: Vec<Envelope>,
}

/// Where an envelope was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cbor(array)]
pub struct Stored {
    /// Which envelope.
    #[n(0)]
    pub msg_id: MsgId,
    /// Its place in the relay's log; the same one when it was stored before.
    #[n(1)]
    pub cursor: Cursor,
}

/// Answer to [`PostMessages`], sent only once everything in it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PostMessagesResponse {
    /// Always true.
    pub ok: bool,
    /// One entry per envelope, in the request's order.
    pub stored: Vec<Stored>,
}

/// An envelope and its place in the relay's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredEnvelope {
    /// Its place.
    pub cursor: Cursor,
    /// The sealed envelope.
    pub envelope: Envelope,
}

/// Answer to `GET /v1/messages?after&limit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessagesResponse {
    /// Always true.
    pub ok: bool,
    /// In cursor order.
    pub messages: Vec<StoredEnvelope>,
    /// Pass as `after` next time.
    pub next: Cursor,
    /// Whether more is there already.
    pub more: bool,
}

/// Kind of a signaling message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cbor(index_only)]
pub enum SignalKind {
    /// An SDP offer.
    #[n(0)]
    Offer,
    /// An SDP answer.
    #[n(1)]
    Answer,
    /// An ICE candidate.
    #[n(2)]
    Candidate,
}

/// `POST /v1/signal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cbor(array)]
pub struct SignalRequest {
    /// Up to 64 characters of `A–Z a–z 0–9 _ -`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    #[n(0)]
    pub session_id: String,
    /// For whom.
    #[n(1)]
    pub to_node_id: NodeId,
    /// What it is.
    #[n(2)]
    #[serde(rename = "type")]
    pub kind: SignalKind,
    /// Sealed to the recipient; at most 16 KiB.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]*$", max_length = 21_846))]
    #[n(3)]
    pub payload: Base64,
    /// Lifetime in seconds, 60–120; others are brought into the range.
    #[n(4)]
    pub ttl_s: u64,
}

/// Answer to [`SignalRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignalAccepted {
    /// Always true.
    pub ok: bool,
    /// Its place in the recipient's mailbox.
    pub cursor: Cursor,
    /// When it is dropped, unix seconds.
    pub expires_at: u64,
}

/// A signaling message as its recipient gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cbor(array)]
pub struct Signal {
    /// Place in the mailbox.
    #[n(0)]
    pub cursor: Cursor,
    /// Session it belongs to.
    #[n(1)]
    pub session_id: String,
    /// Who sent it: the authenticated caller.
    #[n(2)]
    pub from_node_id: NodeId,
    /// What it is.
    #[n(3)]
    #[serde(rename = "type")]
    pub kind: SignalKind,
    /// Sealed payload.
    #[n(4)]
    pub payload: Base64,
    /// When it is dropped, unix seconds.
    #[n(5)]
    pub expires_at: u64,
}

/// Answer to `GET /v1/signal?session_id&after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignalsResponse {
    /// Always true.
    pub ok: bool,
    /// Addressed to the caller, in order.
    pub signals: Vec<Signal>,
    /// Pass as `after` next time.
    pub next: Cursor,
}

/// Answer to `POST /v1/relay/session`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionResponse {
    /// Always true.
    pub ok: bool,
    /// Where to open the WebSocket: a path on the same origin, or a `ws:`/`wss:` URL.
    pub relay_url: String,
    /// Names the session in logs.
    pub session_id: String,
    /// Good for one attach, bound to node and circle.
    pub token: String,
    /// When the token ends, unix seconds.
    pub expires_at: u64,
    /// Unix seconds.
    pub server_time: u64,
}

/// One STUN or TURN server, as browsers take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IceServer {
    /// `stun:` and `turn:` URLs.
    pub urls: Vec<String>,
    /// TURN: expiry time and node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN: HMAC-SHA1 over the user name, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Answer to `GET /v1/ice`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IceResponse {
    /// Always true.
    pub ok: bool,
    /// What the relay's operator configured; may be empty.
    pub ice_servers: Vec<IceServer>,
    /// How long the credentials hold, in seconds.
    pub ttl_s: u64,
}

/// Answer to `GET /v1/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthResponse {
    /// Always true.
    pub ok: bool,
    /// The relay's version.
    pub version: String,
    /// Unix seconds.
    pub time: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_addresses_have_one_form() {
        for (text, clean) in [
            (" https://Chat.Example/ ", "https://chat.example"),
            ("HTTP://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://[::1]:9/felund/", "https://[::1]:9/felund"),
        ] {
            assert_eq!(clean_relay_url(text), Ok(clean.into()));
        }
        for bad in [
            "chat.example",
            "ftp://a",
            "https://",
            "https://a:b",
            "https://u@h",
            "https://a b",
            "javascript://x?",
            "http://bücher.example",
        ] {
            assert!(clean_relay_url(bad).is_err(), "{bad}");
        }
    }
}
