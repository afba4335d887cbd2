//! Byte streams between members: dialing, listening, and messages framed by four bytes of length.
//!
//! What is in the messages is the core's business; here they are bounded, queued and moved. A peer that sends more
//! than a record, or does not read what it is sent, loses its connection.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use felund_core::{
    config::CONNECT_TIMEOUT_MS,
    io::{ConnId, Input, Origin},
    session::{CUT_OFF, MAX_RECORD, SessionError},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{driver::Inbox, gate::Gate};

/// How long to wait when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How long one message may take to be sent: whoever does not read for this long is not there any more.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Starts listening behind a gate; answers with the addresses others may dial.
///
/// # Errors
/// A text for people: the address is taken, or not this machine's.
pub(crate) fn listen(
    address: SocketAddr,
    gate: Gate,
    inbox: mpsc::Sender<Inbox>,
) -> Result<Vec<String>, String> {
    let fault =
        |e: std::io::Error| format!("cannot listen on {address}: {e}; choose another --listen ADDR:PORT");
    let listener = std::net::TcpListener::bind(address).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    let listener = TcpListener::from_std(listener).map_err(fault)?;
    let port = listener.local_addr().map_err(fault)?.port();
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let Some(place) = gate.admit(from.ip(), Instant::now()) else { continue };
                    if inbox.send(Inbox::Accepted(stream, place)).await.is_err() {
                        return;
                    }
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    });
    Ok(endpoints(address, port))
}

/// An address that names no interface stands for all of the machine's.
fn endpoints(address: SocketAddr, port: u16) -> Vec<String> {
    if !address.ip().is_unspecified() {
        return vec![SocketAddr::new(address.ip(), port).to_string()];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let fits = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => address.is_ipv6() && !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let addresses = interfaces.iter().map(if_addrs::Interface::ip).filter(fits);
    addresses.take(4).map(|ip| SocketAddr::new(ip, port).to_string()).collect()
}

/// Where a connection came from, by the networks this machine has addresses in.
pub(crate) fn origin(stream: &TcpStream) -> Origin {
    // A socket that is gone already proves nothing.
    let Ok(peer) = stream.peer_addr() else { return Origin::Nearby };
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let near = |at: &if_addrs::Interface| match (&at.addr, peer.ip().to_canonical()) {
        (if_addrs::IfAddr::V4(own), IpAddr::V4(ip)) => {
            let mask = u32::from(own.netmask);
            u32::from(own.ip) & mask == u32::from(ip) & mask
        }
        (if_addrs::IfAddr::V6(own), IpAddr::V6(ip)) => {
            let mask = u128::from(own.netmask);
            u128::from(own.ip) & mask == u128::from(ip) & mask
        }
        _ => false,
    };
    if peer.ip().to_canonical().is_loopback() || interfaces.iter().any(near) {
        Origin::Nearby
    } else {
        Origin::Outside
    }
}

/// Dials and then moves messages until one side ends.
pub(crate) async fn dial(
    conn: ConnId,
    address: String,
    queue: mpsc::Receiver<Vec<u8>>,
    inbox: mpsc::Sender<Inbox>,
) {
    let limit = Duration::from_millis(CONNECT_TIMEOUT_MS);
    let reason = match timeout(limit, TcpStream::connect(&address)).await {
        Err(_) => format!("no connection within {} s", limit.as_secs()),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(stream)) => {
            let _ = inbox.send(Inbox::Node(Input::Connected(conn))).await;
            return talk(conn, stream, queue, inbox).await;
        }
    };
    let _ = inbox.send(Inbox::Node(Input::Disconnected(conn, reason))).await;
}

/// Moves messages both ways until one side ends.
pub(crate) async fn talk(
    conn: ConnId,
    stream: TcpStream,
    mut queue: mpsc::Receiver<Vec<u8>>,
    inbox: mpsc::Sender<Inbox>,
) {
    // A chat's records are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let cut = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => CUT_OFF.to_owned(),
        _ => e.to_string(),
    };
    let read = async {
        let mut reader = BufReader::with_capacity(4 * 1024, reader);
        loop {
            if reader.fill_buf().await.map_err(|e| e.to_string())?.is_empty() {
                return Err::<(), String>("the other side closed the connection".to_owned());
            }
            let len = reader.read_u32().await.map_err(cut)? as usize;
            if len > MAX_RECORD {
                return Err(SessionError::TooLarge.reason().to_owned());
            }
            let mut record = vec![0; len];
            reader.read_exact(&mut record).await.map_err(cut)?;
            if inbox.send(Inbox::Node(Input::Received(conn, record))).await.is_err() {
                return Err("ending".to_owned());
            }
        }
    };
    let write = async {
        while let Some(record) = queue.recv().await {
            let len = u32::try_from(record.len()).unwrap_or(u32::MAX);
            let framed = [&len.to_be_bytes()[..], &record].concat();
            match timeout(WRITE_LIMIT, writer.write_all(&framed)).await {
                Ok(written) => written.map_err(|e| e.to_string())?,
                Err(_) => return Err("the other side does not read what it is sent".to_owned()),
            }
        }
        Ok::<(), String>(())
    };
    let reason = tokio::select! {
        Err(reason) = read => reason,
        written = write => match written {
            // The node closed it, and knows.
            Ok(()) => return,
            Err(reason) => reason,
        },
    };
    let _ = inbox.send(Inbox::Node(Input::Disconnected(conn, reason))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_interface_is_told_as_it_is_and_all_of_them_as_what_they_are() {
        assert_eq!(endpoints("192.0.2.1:0".parse().expect("an address"), 4700), ["192.0.2.1:4700"]);
        let all = endpoints("0.0.0.0:0".parse().expect("an address"), 4700);
        assert!(all.iter().all(|a| a.ends_with(":4700") && !a.starts_with("0.") && !a.starts_with("127.")));
    }
}
