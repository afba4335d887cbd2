//! One end of each way that is measured, native: a thread of its own with a runtime like the client's.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use felund_core::{
    io::{ConnId, Input},
    keys::{CircleSecret, NodeKey},
    session::{Initiator, Local, Responder, Session},
};
use felund_tests::{
    api,
    links::{Links, Post, meet},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use crate::{
    bare::Bare,
    quic::{Quic, Side},
};

const CONN: ConnId = ConnId(1);
/// When a hello is said again.
const AGAIN: Duration = Duration::from_millis(200);
/// What a record has besides the frame in it: the tag and the mark of fragments.
const RECORD: usize = 17;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Messages written to a stream one after the other, and no more.
    Tcp,
    /// The client's TCP driver and the session's records.
    FelundTcp,
    /// The `quinn` crate by itself: one stream with the length before each message.
    Quic,
    /// The `webrtc` crate by itself.
    Bare,
    /// The client's WebRTC driver and the session's records.
    Felund,
}

impl Way {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "plain TCP",
            Self::FelundTcp => "Felund over TCP",
            Self::Quic => "bare QUIC (quinn)",
            Self::Bare => "bare webrtc crate",
            Self::Felund => "Felund over a DataChannel",
        }
    }
}

/// How the two ends get together.
pub(crate) enum Start {
    Listen(TcpListener),
    Dial(SocketAddr),
    Offer(Post),
    Answer(Post),
}

/// One end, connected.
pub(crate) enum End {
    Tcp(TcpStream),
    Quic(Quic),
    Bare(Bare),
    Felund {
        links: Box<Links>,
        conn: ConnId,
        queue: mpsc::Sender<Vec<u8>>,
        session: Option<Session>,
        channel: bool,
    },
}

impl End {
    /// Connects, with the session's records if there is one.
    pub(crate) async fn open(way: Way, start: Start, session: Option<Session>) -> Self {
        match (way, start) {
            (Way::Tcp, start) => {
                let stream = stream(start).await;
                stream.set_nodelay(true).expect("a TCP socket has this option");
                Self::Tcp(stream)
            }
            (Way::FelundTcp, Start::Dial(address)) => {
                let mut links = Links::new();
                links.connect(CONN, address.to_string());
                assert!(matches!(links.next().await, Some(Input::Connected(CONN))), "no connection");
                Self::felund(links, CONN, session, false)
            }
            (Way::FelundTcp, start) => {
                let mut links = Links::new();
                let conn = links.accept(stream(start).await).expect("the gate is open");
                Self::felund(links, conn, session, false)
            }
            (Way::Quic, start) => Self::quic(&Side::new().expect("a socket of this machine"), start).await,
            (Way::Bare, start) => {
                let (offer, mut post) = role(start);
                Self::Bare(Bare::meet(offer, &mut post).await.expect("the two ends find each other"))
            }
            (Way::Felund, start) => {
                let (offer, mut post) = role(start);
                let mut links = Links::new();
                meet(&mut links, CONN, offer, &mut post).await.expect("the two ends find each other");
                Self::felund(links, CONN, session, true)
            }
        }
    }

    /// Connects by an endpoint that is there.
    pub(crate) async fn quic(side: &Side, start: Start) -> Self {
        let (offer, mut post) = role(start);
        Self::Quic(side.meet(offer, &mut post).await.expect("the two ends find each other"))
    }

    fn felund(links: Links, conn: ConnId, session: Option<Session>, channel: bool) -> Self {
        let queue = links.queue(conn).expect("the connection is there");
        Self::Felund { links: Box::new(links), conn, queue, session, channel }
    }

    /// Sends one message, once there is room: `message` is as long as it is to be on the wire.
    pub(crate) async fn send(&mut self, message: &[u8]) {
        match self {
            Self::Tcp(stream) => stream.write_all(message).await.expect("the other end reads"),
            Self::Quic(quic) => quic.send(message).await.expect("the other end reads"),
            Self::Bare(bare) => bare.send(message).await,
            Self::Felund { queue, session, .. } => {
                let records = match session {
                    Some(session) if message.len() > RECORD => {
                        session.seal(&message[..message.len() - RECORD]).expect("a frame within bounds")
                    }
                    _ => vec![message.to_vec()],
                };
                for record in records {
                    queue.send(record).await.expect("the connection is there");
                }
            }
        }
    }

    /// Says hello until the other end answers: the first message of a channel may be lost, which the session's
    /// handshake makes up for in the client.
    pub(crate) async fn greet(&mut self) {
        if matches!(self, Self::Tcp(_) | Self::Quic(_) | Self::Felund { channel: false, .. }) {
            return;
        }
        loop {
            self.send(&[0]).await;
            if timeout(AGAIN, self.take(&mut [])).await.is_ok() {
                return;
            }
        }
    }

    /// Receives something; answers how many bytes it was on the wire. A hello is answered, where `greets`.
    pub(crate) async fn receive(&mut self, buffer: &mut [u8], greets: bool) -> usize {
        loop {
            match self.take(buffer).await {
                1 if greets => self.send(&[0]).await,
                1 => {}
                len => return len,
            }
        }
    }

    async fn take(&mut self, buffer: &mut [u8]) -> usize {
        match self {
            Self::Tcp(stream) => stream.read(buffer).await.expect("the other end writes"),
            Self::Quic(quic) => quic.receive(buffer).await.expect("the other end writes"),
            Self::Bare(bare) => bare.receive().await,
            Self::Felund { links, session, .. } => loop {
                match links.next().await.expect("the links are there") {
                    Input::Received(_, record) => {
                        if let Some(session) = session.as_mut().filter(|_| record.len() > 1) {
                            session.open(&record).expect("what was sealed opens");
                        }
                        return record.len();
                    }
                    Input::Disconnected(_, reason) => panic!("the connection ended: {reason}"),
                    _ => {}
                }
            },
        }
    }

    pub(crate) async fn close(self) {
        match self {
            Self::Tcp(_) => {}
            Self::Quic(quic) => quic.close(),
            Self::Bare(bare) => bare.close().await,
            Self::Felund { mut links, conn, queue, channel, .. } => {
                links.close(conn);
                // A stream's task ends once nobody can send. A channel's says goodbye first, which is waited for.
                if channel {
                    // What it still has to say has to be taken from it.
                    let closed = queue.closed();
                    tokio::pin!(closed);
                    while tokio::select! { () = &mut closed => false, said = links.next() => said.is_some() }
                    {
                    }
                }
            }
        }
    }
}

async fn stream(start: Start) -> TcpStream {
    match start {
        Start::Dial(address) => TcpStream::connect(address).await.expect("the other end listens"),
        Start::Listen(listener) => {
            listener.set_nonblocking(true).expect("a socket has this option");
            let listener = tokio::net::TcpListener::from_std(listener).expect("inside a runtime");
            listener.accept().await.expect("the other end dials").0
        }
        Start::Offer(_) | Start::Answer(_) => unreachable!("a stream is dialed"),
    }
}

fn role(start: Start) -> (bool, Post) {
    match start {
        Start::Offer(post) => (true, post),
        Start::Answer(post) => (false, post),
        Start::Dial(_) | Start::Listen(_) => unreachable!("a channel is offered"),
    }
}

/// Both ends of a session.
pub(crate) fn sessions() -> (Session, Session) {
    let mut rng = api::rng();
    let keys = [NodeKey::generate(&mut rng), NodeKey::generate(&mut rng)];
    let circles = [CircleSecret::generate(&mut rng)];
    let [local, remote] = keys.each_ref().map(|key| Local { key, circles: &circles });
    let (initiator, hello) = Initiator::new(local, Vec::new(), &mut rng);
    let greeted = Responder::new(Vec::new()).greeted(remote, &hello, &mut rng);
    let (responder, challenge) = greeted.expect("they share a circle");
    let (initiator, auth) = initiator.challenged(local, &challenge).expect("they share a circle");
    let (theirs, welcome) = responder.authenticated(remote, &auth).expect("both are honest");
    (initiator.welcomed(local, &welcome).expect("both are honest"), theirs)
}
