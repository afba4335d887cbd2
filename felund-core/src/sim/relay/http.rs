//! The relay's HTTP API.

use super::{FULL_S, MAX_ENDPOINTS, Present, RELAY, Relay, unix_s};
use crate::{
    config::PRESENCE_TTL_S,
    envelope::Envelope,
    ids::{CircleHint, Cursor, NodeId},
    io::{HttpRequest, HttpResponse},
    relay_api::{
        ErrorBody, ErrorCode, IceResponse, MessagesResponse, PeersResponse, PostMessages,
        PostMessagesResponse, RegisterRequest, RegisterResponse, SessionResponse, SignalAccepted,
        SignalRequest, SignalsResponse, StoredEnvelope, path,
        signing::{Canonical, HEADER_CIRCLE, HEADER_NODE, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TS},
    },
};

/// Messages in one answer: few, so that there is something to page through.
const PAGE: usize = 10;

/// How long credentials of TURN servers hold, in seconds.
const ICE_TTL_S: u64 = 3_600;

type Refusal = (u16, ErrorCode);

/// A request whose headers have been read and whose signature holds.
struct Caller {
    hint: CircleHint,
    node: NodeId,
}

impl Relay {
    /// Answers a request; the second part is the cursor that must be durable before the answer may go out.
    pub(in crate::sim) fn serve(&mut self, request: &HttpRequest, now: u64) -> (HttpResponse, Cursor) {
        self.inspect("a request's body", &request.body);
        self.inspect("a request's address", request.url.as_bytes());
        if request.body.len() > super::MAX_HTTP_BODY {
            self.faults.push(format!("a request of {} bytes", request.body.len()));
        }
        let path = request.url.strip_prefix(RELAY).and_then(|target| target.split('?').next());
        let what = format!("{} {}", request.method, path.unwrap_or_default());
        let instead = self.instead.get(what.as_str()).cloned();
        *self.requests.entry(what).or_default() += 1;
        if let Some(response) = instead {
            return (response, Cursor(0));
        }
        let (status, body, until) = match self.try_serve(request, now) {
            Ok((body, until)) => (200, body, until),
            Err((status, code)) => {
                let (message, server_time) = (format!("{code:?}"), unix_s(now));
                let error = ErrorBody { ok: false, code, message, retryable: true, server_time };
                (status, json(&error), Cursor(0))
            }
        };
        let retry_after_s = (status == 429).then_some(FULL_S);
        (HttpResponse { status, retry_after_s, body }, until)
    }

    fn try_serve(&mut self, request: &HttpRequest, now: u64) -> Result<(Vec<u8>, Cursor), Refusal> {
        const BAD: Refusal = (400, ErrorCode::BadRequest);
        let target = request.url.strip_prefix(RELAY).ok_or((404, ErrorCode::NotFound))?;
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let Caller { hint, node } = self.authenticate(request, path, query, now)?;
        let server_time = unix_s(now);
        let body = match (request.method, path) {
            ("POST", path::REGISTER) => {
                let asked: RegisterRequest = serde_json::from_slice(&request.body).map_err(|_| BAD)?;
                self.register(hint, asked, now);
                let (expires_at, observed_endpoint) = (server_time + PRESENCE_TTL_S, "192.0.2.7:1".into());
                let server_time = self.tells_s.unwrap_or(server_time);
                json(&RegisterResponse { ok: true, server_time, expires_at, observed_endpoint })
            }
            ("POST", path::SESSION) => {
                self.last_token += 1;
                let token = format!("token-{}", self.last_token);
                self.tokens.insert(token.clone(), (hint, node));
                let (session_id, expires_at) = ("s".into(), server_time + 60);
                let relay_url = path::SOCKET.into();
                json(&SessionResponse { ok: true, relay_url, session_id, token, expires_at, server_time })
            }
            ("POST", path::MESSAGES) if self.misanswers => {
                json(&PostMessagesResponse { ok: true, stored: Vec::new() })
            }
            ("GET", path::MESSAGES) if self.misanswers => {
                json(&MessagesResponse { ok: true, messages: Vec::new(), next: Cursor(0), more: true })
            }
            ("POST", path::MESSAGES) => {
                let post: PostMessages = serde_json::from_slice(&request.body).map_err(|_| BAD)?;
                if !self.has_room(post.messages.len()) {
                    if self.disk_full {
                        return Err((503, ErrorCode::Unavailable));
                    }
                    return Err((429, ErrorCode::QuotaExceeded));
                }
                let sealed = post.messages.iter().map(Envelope::to_cbor).collect();
                let (stored, until) = self.accept(hint, sealed).map_err(|_| BAD)?;
                return Ok((json(&PostMessagesResponse { ok: true, stored }), until));
            }
            ("GET", path::MESSAGES) => {
                let after = query.and_then(|q| q.split('&').find_map(|pair| pair.strip_prefix("after=")));
                let after: Cursor = after.map_or(Ok(Cursor(0)), |after| after.parse().map_err(|_| BAD))?;
                let after = self.in_log(after);
                let room = self.rooms.entry(hint).or_default();
                if let Some(present) = room.present.get_mut(&node) {
                    present.until = present.until.max(server_time + PRESENCE_TTL_S / 2);
                }
                let mut rest = room.log.iter().filter(|entry| entry.cursor > after);
                let mut messages = Vec::new();
                for entry in rest.by_ref().take(PAGE) {
                    let envelope = Envelope::from_cbor(&entry.sealed).map_err(|_| BAD)?;
                    messages.push(StoredEnvelope { cursor: entry.cursor, envelope });
                }
                let next = messages.last().map_or(after, |stored: &StoredEnvelope| stored.cursor);
                json(&MessagesResponse { ok: true, messages, next, more: rest.next().is_some() })
            }
            ("GET", path::ICE) => {
                let mut ice_servers = self.ice.clone();
                for server in ice_servers.iter_mut().filter(|server| server.credential.is_some()) {
                    server.username = Some(format!("{}:{}", server_time + ICE_TTL_S, node.short()));
                }
                json(&IceResponse { ok: true, ice_servers, ttl_s: ICE_TTL_S })
            }
            ("POST", path::SIGNAL) => {
                let asked: SignalRequest = serde_json::from_slice(&request.body).map_err(|_| BAD)?;
                self.signal(hint, node, asked);
                json(&SignalAccepted { ok: true, cursor: Cursor(1), expires_at: server_time + 60 })
            }
            ("GET", path::SIGNAL) => {
                let after = query.and_then(|q| q.split('&').find_map(|pair| pair.strip_prefix("after=")));
                let after: Cursor = after.map_or(Ok(Cursor(0)), |after| after.parse().map_err(|_| BAD))?;
                let signals = self.signals_for(hint, node, after);
                let next = signals.last().map_or(after, |signal| signal.cursor);
                json(&SignalsResponse { ok: true, signals, next })
            }
            ("GET", path::PEERS) => json(&PeersResponse { ok: true, peers: self.peers(hint, node, now) }),
            (method, path) => {
                self.faults.push(format!("no such endpoint: {method} {path}"));
                return Err((404, ErrorCode::NotFound));
            }
        };
        Ok((body, Cursor(0)))
    }

    /// Checks a request in the order of `docs/protocol.md` §8.1.
    fn authenticate(
        &mut self,
        request: &HttpRequest,
        path: &str,
        query: Option<&str>,
        now: u64,
    ) -> Result<Caller, Refusal> {
        const UNSIGNED: Refusal = (401, ErrorCode::InvalidSignature);
        let header = |name| {
            let found = request.headers.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.as_str()).ok_or(UNSIGNED)
        };
        let hint: CircleHint = header(HEADER_CIRCLE)?.parse().map_err(|_| UNSIGNED)?;
        let node: NodeId = header(HEADER_NODE)?.parse().map_err(|_| UNSIGNED)?;
        let ts: u64 = header(HEADER_TS)?.parse().map_err(|_| UNSIGNED)?;
        let nonce = header(HEADER_NONCE)?;
        if path == path::REGISTER
            && let Ok(asked) = serde_json::from_slice::<RegisterRequest>(&request.body)
            && asked.signing_key.hint() == hint
        {
            if self.closed && self.rooms.get(&hint).is_none_or(|room| room.key.is_none()) {
                return Err((429, ErrorCode::QuotaExceeded));
            }
            self.rooms.entry(hint).or_default().key = Some(asked.signing_key);
        }
        let (method, body, node_id) = (request.method, &request.body, &node);
        let canonical = Canonical { method, path, query, body, ts, nonce, node_id }.text();
        let mut mac = [0; 32];
        hex::decode_to_slice(header(HEADER_SIGNATURE)?, &mut mac).map_err(|_| UNSIGNED)?;
        self.check(hint, ts, nonce.to_owned(), &canonical, &mac, now)?;
        Ok(Caller { hint, node })
    }

    /// Circle, time, signature and nonce of what was signed.
    pub(super) fn check(
        &mut self,
        hint: CircleHint,
        ts: u64,
        nonce: String,
        canonical: &str,
        mac: &[u8; 32],
        now: u64,
    ) -> Result<(), Refusal> {
        let key = self.rooms.get(&hint).and_then(|room| room.key.as_ref());
        let key = key.ok_or((401, ErrorCode::UnknownCircle))?;
        if ts.abs_diff(unix_s(now)) > super::MAX_REQUEST_SKEW_S || ts < self.started_s {
            return Err((400, ErrorCode::ExpiredTimestamp));
        }
        if !key.check(canonical, mac) {
            self.faults.push(format!("not signed as it should be: {canonical:?}"));
            return Err((401, ErrorCode::InvalidSignature));
        }
        if self.nonces.insert(nonce) { Ok(()) } else { Err((409, ErrorCode::NonceReplay)) }
    }

    fn register(&mut self, hint: CircleHint, asked: RegisterRequest, now: u64) {
        if asked.endpoints.len() > MAX_ENDPOINTS {
            self.faults.push(format!("{} endpoints registered", asked.endpoints.len()));
        }
        let room = self.rooms.entry(hint).or_default();
        let before = room.present.get(&asked.node_id).filter(|present| present.until > unix_s(now));
        let news = before.is_none_or(|before| {
            before.endpoints != asked.endpoints || before.capabilities != asked.capabilities
        });
        let (endpoints, capabilities) = (asked.endpoints, asked.capabilities);
        let until = unix_s(now) + PRESENCE_TTL_S;
        room.present.insert(asked.node_id, Present { endpoints, capabilities, until });
        if news {
            self.tell_presence(hint, asked.node_id, true, now);
        }
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these types have string keys only, and serialise without fail")
}
