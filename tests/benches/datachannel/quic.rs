//! A bare QUIC stack, for the question whether native members would be better off with one beside WebRTC.
//!
//! It gets what the client would give it: the receive buffers of the client's own UDP sockets, one endpoint for all
//! connections of a side, signs of life. Certificates are made by each side and learned by the way the two are introduced, as
//! the fingerprints of DTLS are. There is no ICE: the address is one of this machine.

use std::{error::Error, net::UdpSocket, sync::Arc, time::Duration};

use felund_tests::links::{Post, Said};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
    rustls::{RootCertStore, pki_types::PrivateKeyDer},
};
use rcgen::CertifiedKey;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio::io::{AsyncReadExt, BufReader};

/// As the client's sockets have.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;
/// What is read ahead of a message, so that short ones need not be asked for one by one.
const READ_AHEAD: usize = 64 * 1024;
const ALIVE: Duration = Duration::from_secs(15);
const NAME: &str = "felund.test";

type Fault = Box<dyn Error + Send + Sync>;

/// One side: a socket and a certificate for all its connections.
pub(crate) struct Side {
    endpoint: Endpoint,
    certificate: Vec<u8>,
}

impl Side {
    /// Must be called inside a runtime.
    pub(crate) fn new() -> Result<Self, Fault> {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let key = PrivateKeyDer::try_from(signing_key.serialize_der())?;
        let mut server = ServerConfig::with_single_cert(vec![cert.der().clone()], key)?;
        server.transport_config(transport());
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        // More than the system allows it cuts to what it does.
        set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime)?;
        Ok(Self { endpoint, certificate: cert.der().to_vec() })
    }

    /// Connects to the other end of `post`, and waits until a stream is open in both directions.
    pub(crate) async fn meet(&self, offer: bool, post: &mut Post) -> Result<Quic, Fault> {
        if !offer {
            post.say(Said::Description(hex::encode(&self.certificate)));
            post.say(Said::Candidate(self.endpoint.local_addr()?.to_string()));
            let connection = self.endpoint.accept().await.ok_or("the endpoint is closed")?.await?;
            let (send, receive) = connection.accept_bi().await?;
            let mut quic = Quic::new(connection, send, receive);
            quic.receive(&mut []).await?;
            quic.send(&[]).await?;
            return Ok(quic);
        }
        let (mut roots, mut address) = (RootCertStore::empty(), None);
        while roots.is_empty() || address.is_none() {
            match post.hear().await {
                Said::Description(certificate) => roots.add(hex::decode(certificate)?.into())?,
                Said::Candidate(candidate) => address = Some(candidate.parse()?),
            }
        }
        let mut config = ClientConfig::with_root_certificates(Arc::new(roots))?;
        config.transport_config(transport());
        let address = address.ok_or("no address")?;
        let connection = self.endpoint.connect_with(config, address, NAME)?.await?;
        let (send, receive) = connection.open_bi().await?;
        let mut quic = Quic::new(connection, send, receive);
        // A stream is there for the other side once something has come by it.
        quic.send(&[]).await?;
        quic.receive(&mut []).await?;
        Ok(quic)
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config.keep_alive_interval(Some(ALIVE));
    Arc::new(config)
}

/// A connection with one open stream.
pub(crate) struct Quic {
    connection: Connection,
    send: SendStream,
    receive: BufReader<RecvStream>,
    /// A message with its length before it.
    framed: Vec<u8>,
}

impl Quic {
    fn new(connection: Connection, send: SendStream, receive: RecvStream) -> Self {
        let receive = BufReader::with_capacity(READ_AHEAD, receive);
        Self { connection, send, receive, framed: Vec::new() }
    }

    /// Sends one message, once there is room.
    pub(crate) async fn send(&mut self, message: &[u8]) -> Result<(), Fault> {
        self.framed.clear();
        self.framed.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
        self.framed.extend_from_slice(message);
        Ok(self.send.write_all(&self.framed).await?)
    }

    /// Receives one message of at most the buffer's length; answers its own.
    pub(crate) async fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let length = self.receive.read_u32().await? as usize;
        let into = buffer.get_mut(..length).ok_or("a message longer than the buffer")?;
        self.receive.read_exact(into).await?;
        Ok(length)
    }

    /// Ends the connection. The other end is told if the runtime goes on for a moment.
    pub(crate) fn close(&self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}
