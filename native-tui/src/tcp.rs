//! Byte streams between members: dialing, listening, and messages framed by four bytes of length.
//!
//! What is in the messages is the core's business; here they are bounded, queued and moved. A peer that sends more
//! than a record, or does not read what it is sent, loses its connection.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use felund_core::{
    config::CONNECT_TIMEOUT_MS,
    io::{ConnId, Input, Origin},
    session::{CUT_OFF, MAX_RECORD, SessionError},
};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, lookup_host},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{driver::Inbox, gate::Gate, interfaces::Interfaces, net::READS_NOTHING};

/// How long to wait when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Connections that wait for being accepted.
const BACKLOG: i32 = 128;

/// How long one message may take to be sent: whoever does not read for this long is not there any more.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// A listener; gone when dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Where it is.
    pub(crate) at: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts listening behind a gate. All of IPv6 takes in all of IPv4.
///
/// # Errors
/// A text for people: the address is taken, or not this machine's.
pub(crate) fn listen(
    address: SocketAddr,
    gate: Gate,
    inbox: mpsc::Sender<Inbox>,
) -> Result<Listener, String> {
    let fault =
        |e: std::io::Error| format!("cannot listen on {address}: {e}; choose another --listen ADDR:PORT");
    let listener = TcpListener::from_std(bind(address).map_err(fault)?).map_err(fault)?;
    let at = listener.local_addr().map_err(fault)?;
    let task = tokio::spawn(async move {
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
    Ok(Listener { at, task })
}

fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // Systems differ in what they take for granted.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // As std does: a port whose last connections are still being wound up is free. On Windows it would mean something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Where a connection came from.
pub(crate) fn origin(stream: &TcpStream, interfaces: &Interfaces) -> Origin {
    // A socket that is gone already proves nothing.
    stream.peer_addr().map_or(Origin::Nearby, |peer| interfaces.origin(peer.ip()))
}

/// Names of members' devices are looked up one at a time, and until the lookup ends, which nothing stops: whoever makes up
/// names that no server answers for must not keep the threads that relays' names are looked up on.
static NAMES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));

async fn connect(address: &str) -> std::io::Result<TcpStream> {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return TcpStream::connect(address).await;
    }
    let turn = NAMES.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let name = address.to_owned();
    let lookup = tokio::spawn(async move {
        let found = lookup_host(name).await.map(Iterator::collect::<Vec<SocketAddr>>);
        drop(turn);
        found
    });
    TcpStream::connect(&*lookup.await.map_err(std::io::Error::other)??).await
}

/// Dials and then moves messages until one side ends.
pub(crate) async fn dial(
    conn: ConnId,
    address: String,
    queue: mpsc::Receiver<Vec<u8>>,
    inbox: mpsc::Sender<Inbox>,
) {
    let limit = Duration::from_millis(CONNECT_TIMEOUT_MS);
    let reason = match timeout(limit, connect(&address)).await {
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
                Err(_) => return Err(READS_NOTHING.to_owned()),
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

    #[tokio::test]
    async fn a_name_that_nobody_answers_for_keeps_no_address_from_being_dialed() {
        let listener = bind("127.0.0.1:0".parse().expect("an address")).expect("a listener");
        let port = listener.local_addr().expect("is bound").port();
        let dial =
            async |address: String, limit| timeout(Duration::from_millis(limit), connect(&address)).await;
        let being_looked_up = NAMES.clone().acquire_owned().await.expect("never closed");
        assert!(dial(format!("127.0.0.1:{port}"), 5_000).await.is_ok_and(|stream| stream.is_ok()));
        for _ in 0..10 {
            assert!(dial(format!("localhost:{port}"), 1).await.is_err(), "is looked up beside another");
        }
        drop(being_looked_up);
        assert!(dial(format!("localhost:{port}"), 5_000).await.is_ok_and(|stream| stream.is_ok()));
    }

    #[test]
    fn a_listener_at_all_addresses_takes_in_both_families() {
        let reached = |bound: &str, from: &str| {
            let listener = bind(bound.parse().expect("an address")).expect("a listener");
            let port = listener.local_addr().expect("is bound").port();
            std::net::TcpStream::connect((from, port)).is_ok()
        };
        assert!(reached("0.0.0.0:0", "127.0.0.1"));
        assert!(!reached("0.0.0.0:0", "::1"));
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            assert!(reached("[::]:0", "127.0.0.1") && reached("[::]:0", "::1"));
            assert!(!reached("[::1]:0", "127.0.0.1"));
        }
    }
}
