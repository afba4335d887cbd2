//! Who is asking: both signatures of a request, its timestamp and its nonce (`docs/protocol.md` §8.1).
//!
//! The order of the checks is part of the protocol: headers, circle, timestamp, signatures, nonce. A nonce counts as
//! used only once the signatures have been found good, so nobody can use up another's.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, Query, Request},
    http::{Extensions, HeaderMap, Method, request::Parts},
};
use bytes::{Bytes, BytesMut};
use felund_core::{
    config::{MAX_HTTP_BODY, MAX_REQUEST_SKEW_S},
    ids::{CircleHint, NodeId},
    relay_api::{
        RegisterRequest, object, path,
        signing::{
            ApiKey, Canonical, HEADER_CIRCLE, HEADER_NODE, HEADER_NODE_SIGNATURE, HEADER_NONCE,
            HEADER_SIGNATURE, HEADER_TS, Ticket,
        },
    },
};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use crate::{
    app::App, clock, error::ApiError, memory::Buffered, nonce::Refusal, socket::store_error, store::Circle,
};

/// A body that is too large is still read up to this many bytes, so that the client sees the answer instead of a
/// broken connection.
const MAX_DISCARDED: usize = 4 * MAX_HTTP_BODY;
/// How long one may take that is only read to be thrown away.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a request came from; put there by the server for each connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

impl PeerAddress {
    /// Where a request came from.
    pub(crate) fn of(extensions: &Extensions) -> SocketAddr {
        extensions.get::<Self>().map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |address| address.0)
    }
}

/// The authenticated caller.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) node: NodeId,
    pub(crate) circle: Arc<Circle>,
}

/// A request whose signatures hold, with its query and body read.
#[derive(Debug)]
pub(crate) struct Signed<Q, B> {
    pub(crate) caller: Caller,
    pub(crate) query: Q,
    pub(crate) body: B,
    /// The memory that the request takes; an answer may add its own.
    pub(crate) held: Buffered,
}

/// No query is looked at.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct NoQuery {}

/// How a body becomes a value.
pub(crate) trait FromBody: Sized {
    fn from_body(body: &[u8]) -> Result<Self, ApiError>;
}

/// No body is looked at.
#[derive(Debug)]
pub(crate) struct NoBody;

impl FromBody for NoBody {
    fn from_body(_: &[u8]) -> Result<Self, ApiError> {
        Ok(Self)
    }
}

/// A JSON body.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromBody for JsonBody<T> {
    fn from_body(body: &[u8]) -> Result<Self, ApiError> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let value = object(&mut json).and_then(|value| json.end().map(|()| value)).map_err(|e| {
            ApiError::bad_request(format!("the body is not what this endpoint takes: {e}; nothing was done"))
        })?;
        Ok(Self(value))
    }
}

impl<Q: DeserializeOwned, B: FromBody> FromRequest<Arc<App>> for Signed<Q, B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let headers = SigningHeaders::read(&parts.headers)?;
        let address = PeerAddress::of(&parts.extensions).ip();
        let known = app.store.circle(&headers.hint);
        let introduces = parts.method == Method::POST && parts.uri.path() == path::REGISTER;
        if known.is_none() && !introduces {
            discard(body).await;
            return Err(ApiError::unknown_circle());
        }
        let mut held = app.memory.hold(address);
        let body = read_body(body, &mut held).await?;
        let caller = authenticate(app, known, &parts, &headers, &body).await?;
        app.limits.node(&caller.node, 1)?;
        let Query(query) =
            Query::<Q>::try_from_uri(&parts.uri).map_err(|e| ApiError::bad_request(wrong_query(&e)))?;
        Ok(Self { caller, query, body: B::from_body(&body)?, held })
    }
}

/// What is wrong, without what the framework puts before it.
fn wrong_query(rejection: &dyn Error) -> String {
    let what = rejection.source().unwrap_or(rejection);
    format!("the query is not what this endpoint takes: {what}; nothing was done")
}

/// The six headers, well-formed.
struct SigningHeaders {
    node: NodeId,
    hint: CircleHint,
    ts: u64,
    nonce: String,
    mac: [u8; 32],
    node_signature: [u8; 64],
}

impl SigningHeaders {
    fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).ok_or_else(|| {
                ApiError::invalid_signature(format!("the request is not signed: header {name} is missing"))
            })
        };
        let wrong = |name: &str| ApiError::invalid_signature(format!("header {name} is malformed"));
        let node = text(HEADER_NODE)?.parse().map_err(|_| wrong(HEADER_NODE))?;
        let hint = text(HEADER_CIRCLE)?.parse().map_err(|_| wrong(HEADER_CIRCLE))?;
        let ts = text(HEADER_TS)?.parse().map_err(|_| wrong(HEADER_TS))?;
        let nonce = text(HEADER_NONCE)?;
        if nonce.len() != 32 || !nonce.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong(HEADER_NONCE));
        }
        let mut mac = [0; 32];
        hex::decode_to_slice(text(HEADER_SIGNATURE)?, &mut mac).map_err(|_| wrong(HEADER_SIGNATURE))?;
        let mut node_signature = [0; 64];
        hex::decode_to_slice(text(HEADER_NODE_SIGNATURE)?, &mut node_signature)
            .map_err(|_| wrong(HEADER_NODE_SIGNATURE))?;
        Ok(Self { node, hint, ts, nonce: nonce.into(), mac, node_signature })
    }
}

async fn authenticate(
    app: &App,
    known: Option<Arc<Circle>>,
    parts: &Parts,
    headers: &SigningHeaders,
    body: &[u8],
) -> Result<Caller, ApiError> {
    let key = match &known {
        Some(circle) => circle.key.clone(),
        None => introduced_key(headers, body)?,
    };
    let canonical = Canonical {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        body,
        ts: headers.ts,
        nonce: &headers.nonce,
        node_id: &headers.node,
    }
    .text();
    check(app, &key, headers, &canonical)?;
    let circle = match known {
        Some(circle) => circle,
        None => {
            app.limits.circle(PeerAddress::of(&parts.extensions).ip())?;
            app.store.register(key).await.map_err(|e| store_error(&e))?
        }
    };
    Ok(Caller { node: headers.node, circle })
}

/// Takes a ticket for the WebSocket, which is good for nothing from then on.
pub(crate) fn admit(app: &App, ticket: &Ticket) -> Result<Caller, ApiError> {
    let &Ticket { node, hint, ts, nonce, mac, node_signature } = ticket;
    let circle = app.store.circle(&hint).ok_or_else(ApiError::unknown_circle)?;
    let headers = SigningHeaders { node, hint, ts, nonce: hex::encode(nonce), mac, node_signature };
    check(app, &circle.key, &headers, &Ticket::canonical(&node, ts, &nonce))?;
    app.limits.node(&node, 1)?;
    Ok(Caller { node, circle })
}

/// Timestamp, signatures, nonce.
fn check(app: &App, key: &ApiKey, headers: &SigningHeaders, canonical: &str) -> Result<(), ApiError> {
    let now = clock::unix_seconds();
    if now.abs_diff(headers.ts) > MAX_REQUEST_SKEW_S {
        return Err(ApiError::expired_timestamp(format!(
            "the request's time is more than {MAX_REQUEST_SKEW_S} s from the relay's; correct the clock by \
             server_time and sign again"
        )));
    }
    if !key.check(canonical, &headers.mac) {
        return Err(ApiError::invalid_signature("the signature is not this circle's over this request"));
    }
    if !headers.node.verify(canonical.as_bytes(), &headers.node_signature) {
        return Err(ApiError::invalid_signature("the node signature is not this node's over this request"));
    }
    app.nonces.accept(&headers.node, &headers.nonce, headers.ts, now).map_err(|refusal| match refusal {
        Refusal::Replay => ApiError::nonce_replay(),
        Refusal::BeforeStart => ApiError::expired_timestamp(
            "the relay has just come back and takes no request that may be from before; sign again in a few \
             seconds",
        ),
        Refusal::TooMany => {
            ApiError::unavailable("the relay is overloaded; nothing was done, try again later")
        }
    })
}

/// The key in the body of a first registration, if it is the one the hint stands for.
fn introduced_key(headers: &SigningHeaders, body: &[u8]) -> Result<ApiKey, ApiError> {
    let JsonBody(request) = JsonBody::<RegisterRequest>::from_body(body)?;
    if request.signing_key.hint() == headers.hint {
        Ok(request.signing_key)
    } else {
        Err(ApiError::invalid_signature("signing_key does not hash to the circle hint"))
    }
}

/// Reads a body that nobody will look at, so that its sender gets to see the answer.
pub(crate) async fn discard(mut body: Body) {
    let all = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > MAX_DISCARDED {
                return;
            }
        }
    };
    // Who takes longer will not see it.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}

async fn read_body(body: Body, held: &mut Buffered) -> Result<Bytes, ApiError> {
    tokio::time::timeout(BODY_TIMEOUT, collect(body, held))
        .await
        .unwrap_or_else(|_| Err(ApiError::bad_request("the body did not arrive in time; nothing was done")))
}

async fn collect(mut body: Body, held: &mut Buffered) -> Result<Bytes, ApiError> {
    let mut whole = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::bad_request("the body broke off; nothing was done"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen <= MAX_HTTP_BODY {
            held.grow(data.len())?;
            whole.extend_from_slice(&data);
        } else {
            whole = BytesMut::new();
        }
        if seen > MAX_DISCARDED {
            break;
        }
    }
    if seen > MAX_HTTP_BODY {
        return Err(ApiError::too_large(format!(
            "the body is larger than {MAX_HTTP_BODY} bytes; nothing was stored, send it in smaller batches"
        )));
    }
    Ok(whole.freeze())
}
