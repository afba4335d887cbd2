//! Carries out what the node wants of the network: HTTP requests, WebSockets and byte streams, each with its limits.

use std::{collections::HashMap, time::Duration};

use felund_core::{
    config::{CONNECT_TIMEOUT_MS, MAX_HTTP_RESPONSE, MAX_SOCKET_FRAME},
    io::{ConnId, HttpId, HttpRequest, HttpResponse, Input, RtcCommand},
};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri, body::Bytes, header::RETRY_AFTER};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use crate::{
    connect::{BoxError, Connector, Stream, reasons},
    driver::Inbox,
    gate::Place,
    rtc, tcp,
};

/// Messages one socket may have waiting; beyond that the other side is not reading and the socket is given up.
const SEND_QUEUE: usize = 1_024;
/// Why a connection ends whose other side takes no more.
pub(crate) const READS_NOTHING: &str = "the other side does not read what it is sent";
/// How long a relay may take to accept one message: the largest batch takes this long at 35 kbit/s.
const WRITE_LIMIT: Duration = Duration::from_secs(120);
/// How long a socket may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Every request and socket under way.
pub(crate) struct Net {
    connector: Connector,
    http: Client<Connector, Full<Bytes>>,
    sockets: HashMap<ConnId, mpsc::Sender<Vec<u8>>>,
    /// Places of accepted connections at the gate.
    places: HashMap<ConnId, Place>,
    /// Commands for peer connections; what is sent on their channels waits in `sockets`.
    peers: HashMap<ConnId, mpsc::Sender<RtcCommand>>,
    inbox: mpsc::Sender<Inbox>,
    accepted: u64,
}

impl Net {
    pub(crate) fn new(inbox: mpsc::Sender<Inbox>) -> Self {
        let connector = Connector::new();
        let http = client(connector.clone());
        let (sockets, places, peers) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { connector, http, sockets, places, peers, inbox, accepted: 0 }
    }

    pub(crate) fn http(&self, id: HttpId, request: HttpRequest) {
        let (client, inbox) = (self.http.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let limit = Duration::from_millis(request.within_ms);
            let answer = match timeout(limit, exchange(&client, request)).await {
                Ok(answer) => answer.map_err(|e| reasons(e.as_ref())),
                Err(_) => Err(format!("no answer within {} s", limit.as_secs_f32())),
            };
            let _ = inbox.send(Inbox::Node(Input::Http(id, answer))).await;
        });
    }

    pub(crate) fn dial(&mut self, conn: ConnId, url: String, protocols: Vec<String>) {
        let (sender, queue) = mpsc::channel(SEND_QUEUE);
        self.sockets.insert(conn, sender);
        let (connector, inbox) = (self.connector.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let limit = Duration::from_millis(CONNECT_TIMEOUT_MS);
            let reason = match timeout(limit, open(connector, &url, &protocols)).await {
                Err(_) => format!("no connection within {} s", limit.as_secs()),
                Ok(Err(error)) => reasons(error.as_ref()),
                Ok(Ok(socket)) => {
                    let _ = inbox.send(Inbox::Node(Input::Connected(conn))).await;
                    match talk(conn, socket, queue, &inbox, WRITE_LIMIT).await {
                        Some(reason) => reason,
                        None => return,
                    }
                }
            };
            let _ = inbox.send(Inbox::Node(Input::Disconnected(conn, reason))).await;
        });
    }

    /// Opens a byte stream to a member.
    pub(crate) fn connect(&mut self, conn: ConnId, address: String) {
        let (sender, queue) = mpsc::channel(SEND_QUEUE);
        self.sockets.insert(conn, sender);
        tokio::spawn(tcp::dial(conn, address, queue, self.inbox.clone()));
    }

    /// Hands a command to a peer connection; answers with what the node must be told when that is not possible.
    pub(crate) fn rtc(&mut self, conn: ConnId, command: RtcCommand) -> Option<Input> {
        if let RtcCommand::Open { offer, servers, relay_only } = command {
            let (sender, queue) = mpsc::channel(SEND_QUEUE);
            let (commander, commands) = mpsc::channel(rtc::COMMANDS);
            self.sockets.insert(conn, sender);
            self.peers.insert(conn, commander);
            let open = rtc::Open { offer, servers, relay_only };
            tokio::spawn(rtc::run(conn, open, commands, queue, self.inbox.clone()));
            return None;
        }
        let commander = self.peers.get(&conn)?;
        if commander.try_send(command).is_ok() {
            return None;
        }
        self.close(conn);
        Some(Input::Disconnected(conn, "WebRTC does not take what it is told".to_owned()))
    }

    /// Takes a byte stream that somebody opened to this node.
    pub(crate) fn accept(&mut self, stream: TcpStream, place: Place) -> ConnId {
        self.accepted += 1;
        let conn = ConnId(1 << 63 | self.accepted);
        let (sender, queue) = mpsc::channel(SEND_QUEUE);
        self.sockets.insert(conn, sender);
        self.places.insert(conn, place);
        tokio::spawn(tcp::talk(conn, stream, queue, self.inbox.clone()));
        conn
    }

    /// Whether it was accepted and nobody has proved yet who is there.
    pub(crate) fn is_stranger(&self, conn: ConnId) -> bool {
        self.places.get(&conn).is_some_and(|place| !place.is_proven())
    }

    /// Somebody has proved who is there.
    pub(crate) fn prove(&mut self, conn: ConnId) {
        if let Some(place) = self.places.get_mut(&conn) {
            place.prove();
        }
    }

    fn forget(&mut self, conn: ConnId) -> bool {
        self.places.remove(&conn);
        self.peers.remove(&conn);
        self.sockets.remove(&conn).is_some()
    }

    /// Answers with what the node must be told when the socket cannot take more.
    pub(crate) fn transmit(&mut self, conn: ConnId, bytes: Vec<u8>) -> Option<Input> {
        let sender = self.sockets.get(&conn)?;
        if sender.try_send(bytes).is_ok() {
            return None;
        }
        self.forget(conn);
        Some(Input::Disconnected(conn, READS_NOTHING.to_owned()))
    }

    /// Where messages for a connection wait.
    pub(crate) fn queue(&self, conn: ConnId) -> Option<mpsc::Sender<Vec<u8>>> {
        self.sockets.get(&conn).cloned()
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        self.forget(conn);
    }

    pub(crate) fn close_all(&mut self) {
        self.sockets.clear();
        self.peers.clear();
    }

    /// Whether the node should hear of it: what a closed socket still said is dropped here.
    pub(crate) fn admits(&mut self, input: &Input) -> bool {
        match input {
            Input::Connected(conn) | Input::Received(conn, _) | Input::Rtc(conn, _) => {
                self.sockets.contains_key(conn)
            }
            Input::Disconnected(conn, _) => self.forget(*conn),
            _ => true,
        }
    }
}

fn client(connector: Connector) -> Client<Connector, Full<Bytes>> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(Duration::from_secs(20)).pool_max_idle_per_host(1).build(connector)
}

/// What one request comes to.
#[cfg(test)]
pub(crate) async fn once(request: HttpRequest) -> Result<HttpResponse, String> {
    exchange(&client(Connector::new()), request).await.map_err(|e| reasons(e.as_ref()))
}

async fn exchange(
    client: &Client<Connector, Full<Bytes>>,
    request: HttpRequest,
) -> Result<HttpResponse, BoxError> {
    let mut builder = Request::builder().method(request.method).uri(request.url);
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    let response = client.request(builder.body(Full::from(request.body))?).await?;
    let status = response.status().as_u16();
    let retry_after_s = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse().ok());
    let body = Limited::new(response.into_body(), MAX_HTTP_RESPONSE).collect().await?.to_bytes();
    Ok(HttpResponse { status, retry_after_s, body: body.into() })
}

async fn open(
    connector: Connector,
    url: &str,
    protocols: &[String],
) -> Result<WebSocketStream<Stream>, BoxError> {
    let mut request = url.into_client_request()?;
    if !protocols.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocols.join(", ").try_into()?);
    }
    let uri: Uri = url.replacen("ws", "http", 1).parse()?;
    let stream = connector.open(uri).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_SOCKET_FRAME))
        .max_frame_size(Some(MAX_SOCKET_FRAME));
    let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}

/// Moves messages both ways until one side ends; `None` when it was this one.
async fn talk(
    conn: ConnId,
    mut socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    inbox: &mpsc::Sender<Inbox>,
    write_limit: Duration,
) -> Option<String> {
    loop {
        tokio::select! {
            outgoing = queue.recv() => match outgoing {
                Some(bytes) => {
                    match timeout(write_limit, socket.send(Message::Binary(bytes.into()))).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Some(reasons(&error)),
                        Err(_) => return Some(READS_NOTHING.to_owned()),
                    }
                }
                None => {
                    let _ = timeout(CLOSE_TIMEOUT, socket.close(None)).await;
                    return None;
                }
            },
            incoming = socket.next() => match incoming {
                Some(Ok(Message::Binary(bytes))) => {
                    let received = Input::Received(conn, bytes.into());
                    if inbox.send(Inbox::Node(received)).await.is_err() {
                        return None;
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    let said = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                    return Some(format!("the relay closed the connection{said}"));
                }
                Some(Ok(_)) => {}
                Some(Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed)) | None => {
                    return Some("the connection was closed".to_owned());
                }
                Some(Err(error)) => return Some(reasons(&error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[tokio::test]
    async fn a_socket_whose_other_side_reads_nothing_ends() {
        let (near, _far) = duplex(16);
        let socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let (sender, queue) = mpsc::channel(1);
        let (inbox, _events) = mpsc::channel(1);
        sender.send(vec![0; 64]).await.expect("there is room");
        let ended = talk(ConnId(1), socket, queue, &inbox, Duration::from_millis(1)).await;
        assert_eq!(ended.as_deref(), Some(READS_NOTHING));
    }
}
