//! A member's side of the relay's API, small and independent of the relay's code: signing, HTTP, WebSocket.

#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

pub mod crash;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Parser as _;
use ed25519_dalek::{Signer as _, SigningKey};
use felund_core::{
    envelope::{Compression, Envelope, Header},
    ids::{ChannelId, CircleHint, CircleId, Cursor, MsgId, NodeId, base64_encode},
    relay_api::{
        SUBPROTOCOL,
        signing::{ApiKey, Canonical},
    },
    wire::{ClientFrame, ServerFrame},
};
use felund_relay::{Config, Relay};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

static COUNTER: AtomicU64 = AtomicU64::new(1);

/// A number that no other call in this process gets, mixed with the clock so that processes differ too.
pub fn unique() -> [u8; 16] {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    Sha256::digest(format!("{n} {nanos} {}", std::process::id()))[..16].try_into().unwrap()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A relay in this process, on a port of its own.
pub struct TestRelay {
    runtime: tokio::runtime::Runtime,
    relay: Option<Relay>,
    pub address: SocketAddr,
}

impl TestRelay {
    /// Starts one on a data folder, with further options.
    pub fn start(dir: &Path, options: &[&str]) -> Self {
        Self::try_start(dir, options).unwrap()
    }

    pub fn try_start(dir: &Path, options: &[&str]) -> Result<Self, String> {
        Self::start_with(dir, options, "0")
    }

    /// Starts one with a limit per address.
    pub fn start_limited(dir: &Path, options: &[&str], rate_address: &str) -> Self {
        Self::start_with(dir, options, rate_address).unwrap()
    }

    fn start_with(dir: &Path, options: &[&str], rate_address: &str) -> Result<Self, String> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let data = dir.to_str().unwrap();
        let args =
            ["felund-relay", "--listen", "127.0.0.1:0", "--data-dir", data, "--rate-address", rate_address];
        let config = Config::try_parse_from(args.iter().chain(options)).map_err(|e| e.to_string())?;
        let relay = runtime.block_on(Relay::start(config)).map_err(|e| e.to_string())?;
        let address = relay.address();
        Ok(Self { runtime, relay: Some(relay), address })
    }

    pub fn stop(mut self) {
        if let Some(relay) = self.relay.take() {
            self.runtime.block_on(relay.stop());
        }
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        if let Some(relay) = self.relay.take() {
            self.runtime.block_on(relay.stop());
        }
    }
}

/// Header names and values, in order.
pub type Headers = Vec<(String, String)>;

/// An answer, as far as tests look at it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or("").into()
    }
}

/// An HTTP connection that is kept.
pub struct Http {
    stream: BufReader<TcpStream>,
}

impl Http {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn call(&mut self, method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
        self.try_call(method, target, headers, body).unwrap()
    }

    pub fn try_call(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nhost: relay\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes)?;
        let answer = self.read_head()?;
        let length = answer.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let length =
            if method == "HEAD" || answer.status == 101 || answer.status == 304 { 0 } else { length };
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { body, ..answer })
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().into())
    }

    fn read_head(&mut self) -> std::io::Result<Answer> {
        let status = self.line()?.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_string(), value.trim().to_string()));
        }
        Ok(Answer { status, headers, body: Vec::new() })
    }
}

/// A circle as its members know it for the relay's purposes.
#[derive(Clone)]
pub struct Circle {
    pub key: ApiKey,
}

impl Circle {
    pub fn new() -> Self {
        let mut bytes = [7; 32];
        bytes[..16].copy_from_slice(&unique());
        Self { key: ApiKey::from_bytes(bytes) }
    }

    pub fn hint(&self) -> CircleHint {
        self.key.hint()
    }
}

/// A member: a node key and a circle.
pub struct Member {
    pub key: SigningKey,
    pub circle: Circle,
    pub address: SocketAddr,
    http: Option<Http>,
}

/// What can be wrong with a signed request.
pub struct Request<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub body: &'a [u8],
    pub ts: u64,
    pub nonce: String,
}

impl Member {
    pub fn new(address: SocketAddr, circle: &Circle) -> Self {
        let mut seed = [9; 32];
        seed[..16].copy_from_slice(&unique());
        Self { key: SigningKey::from_bytes(&seed), circle: circle.clone(), address, http: None }
    }

    /// Goes on over the same connection as another device.
    pub fn become_another(&mut self) {
        self.key = Self::new(self.address, &self.circle).key;
    }

    /// A member that has registered.
    pub fn registered(address: SocketAddr, circle: &Circle) -> Self {
        let mut member = Self::new(address, circle);
        let answer = member.register();
        assert_eq!(answer.status, 200, "{}", answer.json());
        member
    }

    pub fn node(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }

    pub fn sign(&self, request: &Request<'_>) -> Headers {
        let (path, query) = match request.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (request.target, None),
        };
        let node = self.node();
        let canonical = Canonical {
            method: request.method,
            path,
            query,
            body: request.body,
            ts: request.ts,
            nonce: &request.nonce,
            node_id: &node,
        }
        .text();
        let signature = self.key.sign(canonical.as_bytes()).to_bytes();
        [
            ("X-Felund-Node", node.to_string()),
            ("X-Felund-Circle", self.circle.hint().to_string()),
            ("X-Felund-Ts", request.ts.to_string()),
            ("X-Felund-Nonce", request.nonce.clone()),
            ("X-Felund-Signature", hex::encode(self.circle.key.mac(&canonical))),
            ("X-Felund-Node-Signature", hex::encode(signature)),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .to_vec()
    }

    pub fn request<'a>(&self, method: &'a str, target: &'a str, body: &'a [u8]) -> Request<'a> {
        Request { method, target, body, ts: now(), nonce: hex::encode(unique()) }
    }

    pub fn call_with(&mut self, request: &Request<'_>, headers: &[(String, String)]) -> Answer {
        let address = self.address;
        let http = self.http.get_or_insert_with(|| Http::connect(address));
        http.call(request.method, request.target, headers, request.body)
    }

    pub fn call(&mut self, method: &str, target: &str, body: &[u8]) -> Answer {
        let request = self.request(method, target, body);
        let headers = self.sign(&request);
        self.call_with(&request, &headers)
    }

    pub fn get(&mut self, target: &str) -> Answer {
        self.call("GET", target, b"")
    }

    pub fn post_json(&mut self, target: &str, body: &Value) -> Answer {
        self.call("POST", target, body.to_string().as_bytes())
    }

    pub fn register_body(&self) -> Value {
        json!({
            "node_id": self.node(),
            "circle_hint": self.circle.hint(),
            "signing_key": hex::encode(self.circle.key.as_bytes()),
            "endpoints": ["192.0.2.1:4000"],
            "capabilities": {"can_anchor": true},
            "ttl_s": 60,
        })
    }

    pub fn register(&mut self) -> Answer {
        let body = self.register_body();
        self.post_json("/v1/register", &body)
    }

    /// A sealed envelope of this member: the ciphertext is noise, the signature is real.
    pub fn envelope(&self, enc_len: usize) -> Envelope {
        envelope(&self.key, enc_len)
    }

    pub fn post(&mut self, envelopes: &[Envelope]) -> Answer {
        self.post_json("/v1/messages", &json!({ "messages": envelopes }))
    }

    /// What opens a socket without a token, from a signed request's headers.
    pub fn ticket(&self, request: &Request<'_>) -> String {
        let headers = self.sign(request);
        let digits = |index: usize| hex::decode(&headers[index].1).unwrap();
        let ts = request.ts.to_be_bytes().to_vec();
        base64_encode(&[digits(0), digits(1), ts, digits(3), digits(4), digits(5)].concat())
    }

    pub fn socket_request(&self) -> Request<'static> {
        self.request("GET", "/v1/relay/ws", b"")
    }

    pub fn token(&mut self) -> String {
        let answer = self.call("POST", "/v1/relay/session", b"");
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()["token"].as_str().unwrap().into()
    }

    /// A socket with the circle attached; `after` as in `Attach`.
    pub fn socket(&mut self, after: Cursor) -> Socket {
        let token = self.token();
        let mut socket = Socket::open(self.address, &token).unwrap();
        socket.send(&ClientFrame::Attach { token, after });
        socket
    }

    /// A socket that is live: `Attached` and the backlog are read away.
    pub fn live_socket(&mut self) -> Socket {
        let mut socket = self.socket(Cursor(0));
        while !matches!(socket.next(), ServerFrame::CaughtUp { .. }) {}
        socket
    }
}

pub fn envelope(key: &SigningKey, enc_len: usize) -> Envelope {
    envelope_of(key, MsgId(unique()), enc_len)
}

pub fn envelope_of(key: &SigningKey, msg_id: MsgId, enc_len: usize) -> Envelope {
    sealed(key, msg_id, "chat.text", enc_len)
}

/// One of another type than chat.
pub fn envelope_of_type(key: &SigningKey, kind: &str) -> Envelope {
    sealed(key, MsgId(unique()), kind, 40)
}

fn sealed(key: &SigningKey, msg_id: MsgId, kind: &str, enc_len: usize) -> Envelope {
    let header = Header {
        msg_id,
        circle_id: CircleId([1; 16]),
        channel_id: ChannelId([2; 16]),
        author_node_id: NodeId(key.verifying_key().to_bytes()),
        created_ts: now() * 1000,
        kind: kind.into(),
        key_id: "epoch-0".into(),
        compression: Compression::None,
    };
    let iv: [u8; 12] = unique()[..12].try_into().unwrap();
    let enc: Vec<u8> = unique().iter().copied().cycle().take(enc_len).collect();
    let mut message = b"felund-envelope-v2".to_vec();
    message.extend_from_slice(&Sha256::digest(header.aad()));
    message.extend_from_slice(&iv);
    message.extend_from_slice(&Sha256::digest(&enc));
    let sig = key.sign(&message).to_bytes();
    Envelope::new(header, iv, enc, sig).unwrap()
}

/// What arrives on a socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
}

/// A WebSocket client.
pub struct Socket {
    stream: BufReader<TcpStream>,
}

impl Socket {
    pub fn open(address: SocketAddr, token: &str) -> Result<Self, Answer> {
        let mut http = Http::connect(address);
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", &format!("{SUBPROTOCOL}, {token}")),
        ]
        .map(|(name, value)| (name.to_string(), value.to_string()));
        let answer = http.call("GET", "/v1/relay/ws", &headers, b"");
        if answer.status != 101 {
            return Err(answer);
        }
        assert_eq!(
            answer.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "RFC 6455 §1.3"
        );
        assert_eq!(answer.header("sec-websocket-protocol"), Some(SUBPROTOCOL));
        Ok(Self { stream: http.stream })
    }

    pub fn tcp(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub fn into_tcp(self) -> TcpStream {
        self.stream.into_inner()
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    pub fn send(&mut self, frame: &ClientFrame) {
        self.send_raw(&client_frame(2, &frame.to_bytes()));
    }

    pub fn try_message(&mut self) -> std::io::Result<Message> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert_eq!(head[1] & 0x80, 0, "server frames are not masked");
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len)?;
                u16::from_be_bytes(len).into()
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len)?;
                u64::from_be_bytes(len) as usize
            }
            len => len.into(),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload)?;
        Ok(match head[0] & 15 {
            2 => Message::Binary(payload),
            9 => Message::Ping(payload),
            10 => Message::Pong(payload),
            8 => Message::Close(u16::from_be_bytes([payload[0], payload[1]])),
            other => panic!("opcode {other}"),
        })
    }

    pub fn message(&mut self) -> Message {
        self.try_message().unwrap()
    }

    /// The next frame; pings are passed over.
    pub fn next(&mut self) -> ServerFrame {
        loop {
            match self.message() {
                Message::Binary(bytes) => return ServerFrame::from_bytes(&bytes).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame that is not a presence change.
    pub fn next_content(&mut self) -> ServerFrame {
        loop {
            match self.next() {
                ServerFrame::Presence { .. } => {}
                other => return other,
            }
        }
    }
}

/// A masked client frame.
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    out
}
