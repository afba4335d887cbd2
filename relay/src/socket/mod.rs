//! The relay's WebSocket: upgrade, framing, one small task per socket (`docs/protocol.md` §9).

mod conn;
pub(crate) mod frame;
mod task;
mod under_way;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Version,
        header::{
            CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
            SEC_WEBSOCKET_VERSION, UPGRADE,
        },
    },
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use felund_core::relay_api::{SUBPROTOCOL, signing::Ticket};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;

pub(crate) use conn::{Conn, Sent};
pub(crate) use task::{check_kept, refused_envelope, store_error};

use crate::{
    app::App,
    auth::{self, Caller},
    error::ApiError,
    limits::Held,
    metrics::METRICS,
};

/// Of the WebSocket protocol.
pub(crate) const VERSION: &str = "13";
/// A socket that has not attached a circle within this time is closed, in seconds.
const ATTACH_TIMEOUT_S: u32 = 30;
/// A socket from which nothing has come for this long is pinged, in seconds.
const PING_AFTER_S: u32 = 30;
/// A socket from which nothing has come for this long is dead, in seconds.
pub(crate) const DEAD_AFTER_S: u32 = 75;

/// All open sockets, for pings, drops and the end.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: Mutex<HashMap<u64, Arc<Conn>>>,
    next: AtomicU64,
}

impl Sockets {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Conn>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, tcp: TcpStream) -> Arc<Conn> {
        let conn = Arc::new(Conn::new(self.next.fetch_add(1, Ordering::Relaxed), tcp));
        self.open().insert(conn.id, conn.clone());
        METRICS.sockets.add(1);
        conn
    }

    fn remove(&self, id: u64) {
        let mut open = self.open();
        open.remove(&id);
        if open.capacity() > 4 * open.len() + 1024 {
            open.shrink_to_fit();
        }
        METRICS.sockets.sub(1);
    }

    /// Pings what is silent, drops what is dead or takes nothing. Call every few seconds.
    pub(crate) fn sweep(&self, stall_timeout: u64) {
        for conn in self.open().values() {
            if u64::from(conn.stalled_s()) >= stall_timeout || conn.silent_s() >= DEAD_AFTER_S {
                METRICS.sockets_dropped.add(1);
                conn.kill();
            } else if conn.unattached_s() >= ATTACH_TIMEOUT_S {
                conn.close(frame::close::POLICY, "no circle attached");
            } else if conn.silent_s() >= PING_AFTER_S {
                conn.ping();
            }
        }
    }

    /// Says goodbye to all.
    pub(crate) fn close_all(&self) {
        for conn in self.open().values() {
            conn.close(frame::close::GOING_AWAY, "the relay is shutting down");
        }
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }
}

/// The WebSocket. The token, or a ticket in its place, travels as a second offered sub-protocol beside `felund.v2`; docs/protocol.md §9 has the
/// frames.
#[utoipa::path(get, operation_id = "openSocket", path = "/v1/relay/ws", tag = "socket", security(()),
    params(("Sec-WebSocket-Protocol" = String, Header,
        description = "`felund.v2` and the token or ticket, by a comma")),
    responses((status = 101, description = "the socket is open"), crate::error::Refused))]
pub(crate) async fn upgrade(State(app): State<Arc<App>>, mut request: Request) -> Result<Response, ApiError> {
    let accept = handshake(&request)?;
    let token = offered_token(request.headers()).ok_or_else(ApiError::invalid_token)?;
    if app.sockets.count() >= app.config.max_connections {
        return Err(ApiError::unavailable(
            "the relay holds as many sockets as it may; poll, and try again later",
        ));
    }
    // Good for this socket's first attach, and for no other socket.
    let opened_by = Box::new((admit(&app, &token)?, token));
    let upgrading = hyper::upgrade::on(&mut request);
    let held = request.extensions_mut().remove::<Arc<Held>>();
    let memory = app.memory.hold(auth::PeerAddress::of(request.extensions()).ip());
    tokio::spawn(async move {
        let Ok(upgraded) = upgrading.await else { return };
        // The server puts nothing but a TcpStream under hyper, so this is one.
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let conn = app.sockets.add(parts.io.into_inner());
        task::run(app, conn, opened_by, memory, parts.read_buf).await;
        drop(held);
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

/// Uses up a token or a ticket.
fn admit(app: &App, token: &str) -> Result<Caller, ApiError> {
    if let Some(caller) = app.tokens.take(token) {
        return Ok(caller);
    }
    let ticket = Ticket::parse(token).ok_or_else(ApiError::invalid_token)?;
    auth::admit(app, &ticket)
}

/// RFC 6455 §4.2: what the request must carry, and the accept key that answers it.
fn handshake(request: &Request) -> Result<HeaderValue, ApiError> {
    let headers = request.headers();
    let has = |name, token: &str| list(headers, name).any(|item| item.eq_ignore_ascii_case(token));
    if request.method() != Method::GET
        || request.version() != Version::HTTP_11
        || !has(CONNECTION, "upgrade")
        || !has(UPGRADE, "websocket")
    {
        return Err(ApiError::bad_request("this endpoint is a WebSocket; open it with an upgrade request"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(ApiError::upgrade_required());
    }
    if !list(headers, SEC_WEBSOCKET_PROTOCOL).any(|item| item == SUBPROTOCOL) {
        return Err(ApiError::bad_request(format!("offer the sub-protocol {SUBPROTOCOL}")));
    }
    let no_key = || ApiError::bad_request("Sec-WebSocket-Key is not the base64 of 16 bytes");
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(no_key)?;
    if STANDARD.decode(key).ok().is_none_or(|nonce| nonce.len() != 16) {
        return Err(no_key());
    }
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    HeaderValue::from_str(&STANDARD.encode(hash.finalize())).map_err(|_| no_key())
}

/// The sub-protocol that is not the protocol's name: browsers have no other place for a token.
fn offered_token(headers: &HeaderMap) -> Option<String> {
    list(headers, SEC_WEBSOCKET_PROTOCOL).find(|item| *item != SUBPROTOCOL).map(Into::into)
}

/// The items of a comma-separated header, which may come in several lines.
fn list(headers: &HeaderMap, name: axum::http::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}
