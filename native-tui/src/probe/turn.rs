//! Allocations at TURN servers (RFC 8656 §7), given back at once.

use std::{net::SocketAddr, time::Instant};

use bytes::BytesMut;
use felund_core::{ice::Gathered, io::CandidateKind, relay_api::IceServer};
use rtc::{
    crypto::default_provider,
    sansio::Protocol,
    shared::{TransportContext, TransportMessage, TransportProtocol},
    turn::client::{Client, ClientConfig, Event},
};
use tokio::{net::UdpSocket, time::timeout_at};

use super::{MAX_DATAGRAM, SILENT, local, since};

/// Borrows an address of a server and gives it back; else the server's URL, and why there is none.
pub(super) async fn allocate(
    server: IceServer,
    at: SocketAddr,
    deadline: Instant,
) -> Result<Gathered, (String, String)> {
    let url = server.urls.concat();
    let begun = Instant::now();
    match try_allocate(server, at, deadline).await {
        Ok(relayed) => Ok(Gathered {
            kind: CandidateKind::Relay,
            address: relayed.to_string(),
            base: None,
            url: Some(url),
            server: Some(at.to_string()),
            took_ms: since(begun),
        }),
        Err(fault) => Err((url, fault)),
    }
}

async fn try_allocate(server: IceServer, at: SocketAddr, deadline: Instant) -> Result<SocketAddr, String> {
    let any: std::net::IpAddr = if at.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(|e| format!("no socket: {e}"))?;
    let local_addr = local(&socket, at).ok_or("there is no way to its network")?;
    let config = ClientConfig {
        turn_serv_addr: at.to_string(),
        local_addr,
        transport_protocol: TransportProtocol::UDP,
        username: server.username.unwrap_or_default(),
        password: server.credential.unwrap_or_default(),
        ..ClientConfig::default()
    };
    let provider = default_provider().map_err(|e| e.to_string())?;
    let mut client = Client::new(config, provider).map_err(|e| e.to_string())?;
    client.allocate(Instant::now()).map_err(|e| e.to_string())?;
    let mut buffer = [0; MAX_DATAGRAM];
    while Instant::now() < deadline {
        send(&mut client, &socket).await;
        while let Some(event) = client.poll_event() {
            match event {
                Event::AllocateResponse(_, relayed) => {
                    // The server would keep it for ten minutes, and count it against this user's.
                    if let Ok(mut relay) = client.relay(relayed) {
                        let _ = relay.close(Instant::now());
                    }
                    send(&mut client, &socket).await;
                    return Ok(relayed);
                }
                Event::AllocateError(_, error) => return Err(format!("refused: {error}")),
                Event::TransactionTimeout(_) => return Err(SILENT.to_owned()),
                _ => {}
            }
        }
        let until = client.poll_timeout().map_or(deadline, |at| at.min(deadline));
        match timeout_at(until.into(), socket.recv_from(&mut buffer)).await {
            Err(_) => client.handle_timeout(Instant::now()).map_err(|e| e.to_string())?,
            Ok(Ok((length, from))) if from == at => {
                let message = TransportMessage {
                    now: Instant::now(),
                    transport: TransportContext {
                        local_addr,
                        peer_addr: from,
                        transport_protocol: TransportProtocol::UDP,
                        ecn: None,
                    },
                    message: BytesMut::from(&buffer[..length]),
                };
                // What is malformed is as good as nothing.
                let _ = client.handle_read(message);
            }
            // Somebody else's, or the error of an earlier send.
            Ok(_) => {}
        }
    }
    Err(SILENT.to_owned())
}

async fn send(client: &mut Client, socket: &UdpSocket) {
    while let Some(message) = client.poll_write() {
        let _ = socket.send_to(&message.message, message.transport.peer_addr).await;
    }
}
