//! Signed requests to the relay and what their answers mean.

use super::{Attach, Cx, LinkEvent, Post, RelayLink, Socket, said};
use crate::{
    config::{
        CONNECT_TIMEOUT_MS, HTTP_TIMEOUT_MS, MAX_BATCH, MAX_FUTURE_MS, PRESENCE_TTL_S, UPGRADE_RETRY_MS,
    },
    envelope::Envelope,
    ids::{CircleHint, Cursor},
    io::{ConnId, HttpId, HttpRequest, HttpResponse, Output},
    keys::random,
    relay_api::{
        ErrorBody, ErrorCode, IceResponse, MessagesResponse, PeersResponse, PostMessages,
        PostMessagesResponse, RegisterRequest, RegisterResponse, SUBPROTOCOL, SessionResponse, SignalRequest,
        SignalsResponse, path,
        signing::{self, Canonical, Ticket},
    },
};

/// A request that has not been answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) hint: CircleHint,
    pub(super) asked: Asked,
    pub(super) within_ms: u64,
}

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Register,
    Session,
    Poll,
    Peers,
    Post,
    Ice,
    Signals,
    Signal,
}

/// ICE servers that could not be had are asked for again after this long, in milliseconds.
const ICE_RETRY_MS: u64 = 60_000;
/// The latest time that a relay's clock may show, in unix seconds.
const MAX_TIME_S: u64 = 1 << 53;
/// Most times in a row that a circle's requests are repeated because of clocks before backing off.
const MAX_CLOCK_FIXES: u32 = 5;

impl RelayLink {
    /// Sends a request unless there is nothing to ask.
    pub(super) fn ask(&mut self, hint: CircleHint, asked: Asked, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        let id = HttpId(cx.id());
        let (method, path, query, body) = match asked {
            Asked::Register => {
                leg.register = Some(id);
                let register = RegisterRequest {
                    node_id: cx.key.id(),
                    circle_hint: hint,
                    signing_key: leg.api.clone(),
                    endpoints: self.endpoints.clone(),
                    capabilities: self.capabilities,
                    ttl_s: PRESENCE_TTL_S,
                };
                ("POST", path::REGISTER, None, json(&register))
            }
            Asked::Session => {
                leg.session = Some(id);
                ("POST", path::SESSION, None, b"{}".to_vec())
            }
            Asked::Poll => {
                leg.poll = Some(id);
                leg.poll_after = leg.cursor;
                ("GET", path::MESSAGES, Some(format!("after={}&limit={MAX_BATCH}", leg.cursor)), Vec::new())
            }
            Asked::Peers => {
                leg.peers = Some(id);
                ("GET", path::PEERS, None, Vec::new())
            }
            Asked::Ice => {
                self.ice = Some(id);
                ("GET", path::ICE, None, Vec::new())
            }
            Asked::Signals => {
                leg.signals = Some(id);
                ("GET", path::SIGNAL, Some(format!("after={}", leg.signals_after)), Vec::new())
            }
            // Has a body of its own: see `post_signal`.
            Asked::Signal => return,
            Asked::Post => {
                let count = Self::batch_len(leg);
                // Own envelopes were well-formed when they were sealed; one that storage damaged is dropped here.
                let front = leg.outbox.iter().take(count);
                let messages: Vec<Envelope> =
                    front.filter_map(|(_, sealed)| Envelope::from_cbor(sealed).ok()).collect();
                if messages.len() < count {
                    return self.post_refused(hint, count, "its stored bytes are damaged".into(), cx);
                }
                leg.post = Some(Post::Http(id, count));
                ("POST", path::MESSAGES, None, json(&PostMessages { messages }))
            }
        };
        let api = leg.api.clone();
        let request = self.signed(&api, method, path, query.as_deref(), body, cx);
        self.carry_out(id, hint, asked, request, cx);
    }

    fn carry_out(
        &mut self,
        id: HttpId,
        hint: CircleHint,
        asked: Asked,
        request: HttpRequest,
        cx: &mut Cx<'_>,
    ) {
        self.requests.insert(id, Asking { hint, asked, within_ms: request.within_ms });
        cx.out.push_back(Output::Http(id, request));
    }

    /// Posts a sealed signal.
    pub(super) fn post_signal(&mut self, hint: CircleHint, signal: &SignalRequest, cx: &mut Cx<'_>) {
        let Some(api) = self.legs.get(&hint).map(|leg| leg.api.clone()) else { return };
        let id = HttpId(cx.id());
        let request = self.signed(&api, "POST", path::SIGNAL, None, json(signal), cx);
        self.carry_out(id, hint, Asked::Signal, request, cx);
    }

    fn signed(
        &self,
        api: &signing::ApiKey,
        method: &'static str,
        path: &str,
        query: Option<&str>,
        body: Vec<u8>,
        cx: &mut Cx<'_>,
    ) -> HttpRequest {
        let ts = self.relay_time(cx);
        let nonce = hex::encode(random::<16>(&mut cx.rng.0));
        let node_id = cx.key.id();
        let text =
            Canonical { method, path, query, body: &body, ts, nonce: &nonce, node_id: &node_id }.text();
        let mut headers = vec![
            (signing::HEADER_NODE, node_id.to_string()),
            (signing::HEADER_CIRCLE, api.hint().to_string()),
            (signing::HEADER_TS, ts.to_string()),
            (signing::HEADER_NONCE, nonce),
            (signing::HEADER_SIGNATURE, hex::encode(api.mac(&text))),
            (signing::HEADER_NODE_SIGNATURE, hex::encode(cx.key.sign(text.as_bytes()))),
        ];
        if !body.is_empty() {
            headers.push(("content-type", "application/json".into()));
        }
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{}{path}{query}", self.base);
        HttpRequest { method, url, headers, body, within_ms: self.patience_ms }
    }

    /// Now, by the relay's clock, in unix seconds.
    fn relay_time(&self, cx: &Cx<'_>) -> u64 {
        (cx.now.wall / 1_000).saturating_add_signed(self.offset_s)
    }

    /// What opens a socket, or attaches a circle to it, without a request for a token.
    pub(super) fn ticket(&self, api: &signing::ApiKey, cx: &mut Cx<'_>) -> String {
        let (node, ts) = (cx.key.id(), self.relay_time(cx));
        let nonce = random::<16>(&mut cx.rng.0);
        let text = Ticket::canonical(&node, ts, &nonce);
        let node_signature = cx.key.sign(text.as_bytes());
        Ticket { node, hint: api.hint(), ts, nonce, mac: api.mac(&text), node_signature }.encode()
    }

    /// Takes an answer; `false` when the request was not this link's.
    pub(crate) fn answered(
        &mut self,
        id: HttpId,
        result: Result<HttpResponse, String>,
        cx: &mut Cx<'_>,
    ) -> bool {
        let Some(asking) = self.requests.remove(&id) else { return false };
        let Asking { hint, asked, .. } = asking;
        let Some(leg) = self.legs.get_mut(&hint) else { return true };
        let posted = match (asked, leg.post) {
            (Asked::Post, Some(Post::Http(of, count))) if of == id => count,
            _ => 0,
        };
        match asked {
            Asked::Register => leg.register = None,
            Asked::Session => leg.session = None,
            Asked::Poll => leg.poll = None,
            Asked::Peers => leg.peers = None,
            Asked::Post => leg.post = None,
            Asked::Ice => {
                self.ice = None;
                self.ice_at = cx.now.mono + ICE_RETRY_MS;
            }
            Asked::Signals => leg.signals = None,
            Asked::Signal => {}
        }
        if result.is_ok() {
            (self.patience_ms, self.tickets) = (HTTP_TIMEOUT_MS, false);
        }
        match result {
            Err(reason) => self.unanswered(asking, reason, cx),
            Ok(response) if (200..300).contains(&response.status) => {
                let understood = self.succeeded(hint, asked, posted, &response.body, cx);
                if understood.is_none() {
                    let reason = "its answer is not one a Felund relay gives; check the address".into();
                    self.misanswered(hint, asked, reason, 0, cx);
                }
            }
            // An older relay may not know these, and what it says of them says nothing about messages.
            Ok(_) if matches!(asked, Asked::Ice | Asked::Signals | Asked::Signal) => {}
            Ok(response) => self.refused(hint, asked, posted, &response, cx),
        }
        true
    }

    fn succeeded(
        &mut self,
        hint: CircleHint,
        asked: Asked,
        posted: usize,
        body: &[u8],
        cx: &mut Cx<'_>,
    ) -> Option<()> {
        let now = cx.now.mono;
        match asked {
            Asked::Register => {
                let answer: RegisterResponse = serde_json::from_slice(body).ok()?;
                self.learn_clock(answer.server_time, cx);
                let leg = self.legs.get_mut(&hint)?;
                if leg.unknown_times < 2 && leg.hold.over() {
                    cx.events.push(LinkEvent::Changed);
                }
                leg.unknown = false;
                leg.clock_fixes = 0;
                leg.register_at = now + PRESENCE_TTL_S * 500;
                cx.events.push(LinkEvent::Observed { address: answer.observed_endpoint });
            }
            Asked::Session => {
                let answer: SessionResponse = serde_json::from_slice(body).ok()?;
                self.socket_url = Some(socket_url(&self.base, &answer.relay_url));
                self.use_token(hint, answer.token, cx);
            }
            Asked::Poll => {
                let answer: MessagesResponse = serde_json::from_slice(body).ok()?;
                let first = answer.messages.first().map(|stored| Cursor(stored.cursor.0.saturating_sub(1)));
                self.read_to(hint, self.legs.get(&hint)?.poll_after, first.unwrap_or(answer.next), cx);
                // An answer may come after the socket has taken over.
                let leg = self.legs.get_mut(&hint)?;
                if answer.more && leg.attach != Attach::Live {
                    leg.arriving.get_or_insert(0);
                }
                for stored in answer.messages {
                    self.arrived(hint, stored.cursor, stored.envelope.to_cbor(), cx);
                }
                let leg = self.legs.get_mut(&hint)?;
                (leg.unknown_times, leg.poll_failures) = (0, 0);
                let changed = leg.hold.over() | leg.poll_hold.over() || leg.polls == 0;
                // Whoever says that there is more has got further.
                let more = answer.more && leg.cursor != leg.poll_after;
                if !more {
                    self.all_arrived(hint, cx);
                }
                if changed {
                    cx.events.push(LinkEvent::Changed);
                }
                self.schedule_poll(hint, more, cx);
            }
            Asked::Peers => {
                let answer: PeersResponse = serde_json::from_slice(body).ok()?;
                cx.events.push(LinkEvent::Peers { hint, peers: answer.peers });
            }
            Asked::Ice => {
                let answer: IceResponse = serde_json::from_slice(body).ok()?;
                // At half of the time the credentials hold: long before they end.
                let ttl_s = answer.ttl_s.clamp(60, 86_400);
                self.ice_at = now + ttl_s * 500;
                cx.events.push(LinkEvent::Ice { servers: answer.ice_servers, ttl_s });
            }
            Asked::Signals => {
                let answer: SignalsResponse = serde_json::from_slice(body).ok()?;
                let leg = self.legs.get_mut(&hint)?;
                leg.signals_after = leg.signals_after.max(answer.next);
                let payloads = answer.signals.into_iter().map(|signal| signal.payload.0);
                cx.events.extend(payloads.map(|payload| LinkEvent::Signal { hint, payload }));
            }
            Asked::Signal => {}
            Asked::Post => {
                let answer: PostMessagesResponse = serde_json::from_slice(body).ok()?;
                if answer.stored.len() != posted {
                    return None;
                }
                self.posted(hint, posted, cx);
            }
        }
        self.recovered(cx);
        Some(())
    }

    pub(super) fn use_token(&mut self, hint: CircleHint, token: String, cx: &mut Cx<'_>) {
        let Some(url) = self.socket_url.clone() else { return };
        let attached = self.legs.get(&hint).is_some_and(|leg| leg.attach != Attach::No);
        match self.socket {
            Socket::Closed => {
                let conn = ConnId(cx.id());
                let protocols = vec![SUBPROTOCOL.to_owned(), token.clone()];
                let deadline = cx.now.mono + CONNECT_TIMEOUT_MS;
                self.socket = Socket::Opening { conn, hint, token, deadline };
                cx.out.push_back(Output::Dial { conn, url, protocols });
            }
            Socket::Open { conn, .. } if !attached => self.attach(hint, conn, token, cx),
            // It expires unused: a ticket was faster, or the open socket will ask for another.
            Socket::Open { .. } | Socket::Opening { .. } => {}
        }
    }

    pub(super) fn learn_clock(&mut self, server_time: u64, cx: &mut Cx<'_>) {
        self.set_clock(server_time, cx);
        // A second or two is the network; our own clock is then as good as the relay's.
        if self.offset_s.unsigned_abs() <= 2 {
            self.offset_s = 0;
        }
    }

    fn set_clock(&mut self, server_time: u64, cx: &mut Cx<'_>) {
        // More seconds than there are milliseconds in a clock are no time, and would be a negative one.
        let server_time = server_time.min(MAX_TIME_S);
        self.heard_clock = Some((server_time.saturating_mul(1_000), cx.now.mono));
        self.offset_s = server_time.cast_signed().saturating_sub((cx.now.wall / 1_000).cast_signed());
        self.judge_clock(cx);
    }

    fn judge_clock(&mut self, cx: &mut Cx<'_>) {
        // With a minute between the two limits it does not change from one second to the next.
        let limit_s = if self.clock_wrong { MAX_FUTURE_MS / 1_000 - 60 } else { MAX_FUTURE_MS / 1_000 };
        let wrong = self.offset_s.unsigned_abs() > limit_s;
        if wrong != std::mem::replace(&mut self.clock_wrong, wrong) {
            cx.events.push(LinkEvent::Clock { offset_s: self.offset_s, wrong });
        }
    }

    fn refused(
        &mut self,
        hint: CircleHint,
        asked: Asked,
        posted: usize,
        response: &HttpResponse,
        cx: &mut Cx<'_>,
    ) {
        let at_least_ms = response.retry_after_s.unwrap_or(0).min(3_600) * 1_000;
        let Ok(mut error) = serde_json::from_slice::<ErrorBody>(&response.body) else {
            if asked == Asked::Session && response.status == 404 {
                return self.socket_refused(cx);
            }
            return self.misanswered(hint, asked, no_relay(response.status), at_least_ms, cx);
        };
        error.message = said(error.message);
        let now = cx.now.mono;
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        match error.code {
            ErrorCode::UnknownCircle if asked != Asked::Register => {
                (leg.unknown, leg.register_at) = (true, 0);
                leg.unknown_times += 1;
                // Registering did not help, as where two relays answer to one name.
                if leg.unknown_times > 1 {
                    leg.hold.refused(now, 250 << leg.unknown_times.min(8), error.message);
                    cx.events.push(LinkEvent::Changed);
                }
            }
            ErrorCode::ExpiredTimestamp | ErrorCode::NonceReplay if leg.clock_fixes < MAX_CLOCK_FIXES => {
                // Right after a relay's start its own second is refused: a moment later it is not.
                leg.hold.until = now + 100 + 200 * u64::from(leg.clock_fixes);
                leg.clock_fixes += 1;
                self.set_clock(error.server_time, cx);
            }
            ErrorCode::QuotaExceeded if posted > 1 => self.halve_batch(hint, posted),
            ErrorCode::RateLimited | ErrorCode::QuotaExceeded => {
                let hold_ms = response.retry_after_s.unwrap_or(5).clamp(1, 3_600) * 1_000;
                if asked == Asked::Post {
                    return self.hold_posts(hint, hold_ms, error.message, cx);
                }
                leg.hold.refused(now, hold_ms, error.message);
                cx.events.push(LinkEvent::Changed);
            }
            ErrorCode::NotFound if asked == Asked::Session => self.socket_refused(cx),
            ErrorCode::BadRequest | ErrorCode::TooLarge if asked == Asked::Post => {
                self.post_refused(hint, posted, error.message, cx);
            }
            _ => self.misanswered(hint, asked, error.message, at_least_ms, cx),
        }
    }

    /// An answer that helps nothing. Where only posts are answered so, everything else goes on, and must not be what leads to the
    /// next post; and likewise where the log cannot be read, or no socket be had.
    pub(super) fn misanswered(
        &mut self,
        hint: CircleHint,
        asked: Asked,
        reason: String,
        at_least_ms: u64,
        cx: &mut Cx<'_>,
    ) {
        match self.legs.get_mut(&hint) {
            Some(leg) if asked == Asked::Post => {
                let wait = 1_000 << leg.post_failures.min(6);
                leg.post_failures += 1;
                self.hold_posts(hint, at_least_ms.max(wait), reason, cx);
            }
            Some(leg) if asked == Asked::Poll && leg.attach != Attach::Live => {
                self.hold_poll(hint, at_least_ms, reason, cx);
            }
            _ => {
                if asked == Asked::Session && self.polling {
                    self.dial_at = cx.now.mono + cx.jitter(UPGRADE_RETRY_MS);
                }
                self.failed(hint, reason, at_least_ms, cx);
            }
        }
    }

    /// HTTP works and the socket does not: poll, and try the socket again now and then.
    pub(super) fn socket_refused(&mut self, cx: &mut Cx<'_>) {
        self.polling = true;
        self.dial_at = cx.now.mono + cx.jitter(UPGRADE_RETRY_MS);
        self.without_socket(cx);
    }
}

/// What an answer means that a Felund relay does not give.
fn no_relay(status: u16) -> String {
    // What stands before a relay says these while that is away.
    let is_away = matches!(status, 500 | 502..600);
    let what = if is_away { "it answered" } else { "no Felund relay is at this address: it answers" };
    format!("{what} with status {status}")
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these types have string keys only, and serialise without fail")
}

/// The socket's URL: what the relay said, resolved against its base, with a WebSocket scheme.
fn socket_url(base: &str, relay_url: &str) -> String {
    let url = if relay_url.starts_with('/') {
        format!("{}{relay_url}", origin(base))
    } else {
        relay_url.to_owned()
    };
    match url.split_once("://") {
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(("http", rest)) => format!("ws://{rest}"),
        _ => url,
    }
}

fn origin(base: &str) -> &str {
    let host = base.find("://").map_or(0, |at| at + 3);
    base[host..].find('/').map_or(base, |at| &base[..host + at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_web_server_is_told_from_a_relay_that_is_away() {
        for (status, is_one) in
            [(301, false), (404, false), (405, false), (501, false), (502, true), (503, true)]
        {
            assert_eq!(no_relay(status).starts_with("it answered"), is_one, "{}", no_relay(status));
        }
    }

    #[test]
    fn socket_urls_follow_the_base_and_the_relays_word() {
        assert_eq!(socket_url("https://a.example", "/v1/relay/ws"), "wss://a.example/v1/relay/ws");
        assert_eq!(socket_url("http://a.example:8080/x", "/v1/relay/ws"), "ws://a.example:8080/v1/relay/ws");
        assert_eq!(socket_url("https://a.example", "wss://b.example/s"), "wss://b.example/s");
    }
}
