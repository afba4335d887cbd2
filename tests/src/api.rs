//! The relay's HTTP API spoken directly, signed as the protocol says or wrong in exactly one way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use felund_core::{
    ids::{CircleHint, NodeId},
    keys::NodeKey,
    relay_api::signing::{
        ApiKey, Canonical, HEADER_CIRCLE, HEADER_NODE, HEADER_NODE_SIGNATURE, HEADER_NONCE, HEADER_SIGNATURE,
        HEADER_TS,
    },
};
use rand_core::{Rng as _, UnwrapErr};
use serde_json::Value;
use ureq::Agent;

/// Randomness of the system.
#[must_use]
pub const fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

/// Unix seconds.
///
/// # Panics
/// Before 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub bytes: Vec<u8>,
    /// The body as JSON; null when it is none.
    pub json: Value,
}

impl Answer {
    /// The error code in the body.
    #[must_use]
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request as it is.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn request(method: &str, url: &str, headers: &[(&str, String)], body: &[u8]) -> Answer {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let response = if body.is_empty() {
        agent.run(request.body(()).expect("a well-formed request"))
    } else {
        agent.run(request.body(body).expect("a well-formed request"))
    };
    let mut response = response.unwrap_or_else(|e| panic!("{method} {url}: {e}"));
    let bytes = response.body_mut().with_config().limit(64 << 20).read_to_vec().expect("the body arrives");
    let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().iter().map(header).collect(),
        json: serde_json::from_slice(&bytes).unwrap_or_default(),
        bytes,
    }
}

/// A request before it is signed; every part can be made wrong.
#[derive(Debug, Clone)]
pub struct Unsigned {
    /// `GET`, `POST`, `DELETE`
    pub method: &'static str,
    /// From `/v1`, with its query.
    pub target: String,
    /// JSON, or empty.
    pub body: Vec<u8>,
    /// Unix seconds.
    pub ts: u64,
    /// 32 hex digits.
    pub nonce: String,
}

impl Unsigned {
    /// A request of now with a fresh nonce.
    #[must_use]
    pub fn new(method: &'static str, target: &str, body: &Value) -> Self {
        let mut nonce = [0; 16];
        rng().fill_bytes(&mut nonce);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        Self { method, target: target.to_owned(), body, ts: now(), nonce: hex::encode(nonce) }
    }

    /// Signs for a circle as a node.
    #[must_use]
    pub fn sign(&self, key: &ApiKey, node: &NodeKey) -> Signed {
        self.sign_as(key, key.hint(), node, node.id())
    }

    /// Signs with keys that need not fit what the headers claim.
    #[must_use]
    pub fn sign_as(&self, key: &ApiKey, hint: CircleHint, node: &NodeKey, claimed: NodeId) -> Signed {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        let canonical = Canonical {
            method: self.method,
            path,
            query,
            body: &self.body,
            ts: self.ts,
            nonce: &self.nonce,
            node_id: &claimed,
        }
        .text();
        let mut headers = vec![
            (HEADER_NODE, claimed.to_string()),
            (HEADER_CIRCLE, hint.to_string()),
            (HEADER_TS, self.ts.to_string()),
            (HEADER_NONCE, self.nonce.clone()),
            (HEADER_SIGNATURE, hex::encode(key.mac(&canonical))),
            (HEADER_NODE_SIGNATURE, hex::encode(node.sign(canonical.as_bytes()))),
        ];
        if !self.body.is_empty() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        Signed { request: self.clone(), headers }
    }
}

/// A signed request; sending it twice is a replay.
#[derive(Debug, Clone)]
pub struct Signed {
    /// What was signed.
    pub request: Unsigned,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Signed {
    /// Sends it.
    #[must_use]
    pub fn send(&self, relay: &str) -> Answer {
        let url = format!("{relay}{}", self.request.target);
        request(self.request.method, &url, &self.headers, &self.request.body)
    }
}
