//! The network between a client and its relay, or between two members: a TCP proxy that records everything, refuses WebSockets and cuts lines.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// A proxy in front of one relay or member.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    http: bool,
    ended: AtomicBool,
    refuse_upgrades: AtomicBool,
    refused: AtomicUsize,
    upgraded: AtomicUsize,
    /// How often connections were left to die; those begun before the last time are dead.
    strandings: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    /// What passed, a buffer for each direction of each connection.
    record: Mutex<Vec<Vec<u8>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Starts one in front of a relay.
    #[must_use]
    pub fn start(upstream: SocketAddr) -> Self {
        Self::before(upstream, true)
    }

    /// Starts one in front of a member: what passes is no HTTP.
    #[must_use]
    pub fn between_members(upstream: SocketAddr) -> Self {
        Self::before(upstream, false)
    }

    /// # Panics
    /// When there is no free port.
    fn before(upstream: SocketAddr, http: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            upstream,
            http,
            ended: AtomicBool::new(false),
            refuse_upgrades: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            upgraded: AtomicUsize::new(0),
            strandings: AtomicUsize::new(0),
            open: Mutex::new(Vec::new()),
            record: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), shared) = (client, Arc::clone(&accepting)) else { continue };
                thread::spawn(move || shared.serve(client));
            }
        });
        Self { address, shared }
    }

    /// Its base URL, to be used in place of the relay's.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, answer requests for a WebSocket with 403, as some company's proxy would, or let them through.
    pub fn refuse_upgrades(&self, refuse: bool) {
        self.shared.refuse_upgrades.store(refuse, Ordering::SeqCst);
    }

    /// How many requests for a WebSocket were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// How many went through.
    #[must_use]
    pub fn upgraded(&self) -> usize {
        self.shared.upgraded.load(Ordering::SeqCst)
    }

    /// Ends every connection there is.
    pub fn cut(&self) {
        for stream in lock(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets nothing pass on any connection there is, and tells neither side.
    pub fn strand(&self) {
        self.shared.strandings.fetch_add(1, Ordering::SeqCst);
    }

    /// Everything that passed; what browsers and clients mask on WebSockets is there unmasked too.
    #[must_use]
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        let mut all = lock(&self.shared.record).clone();
        let unmasked: Vec<_> = all.iter().filter_map(|stream| unmask(stream)).collect();
        all.extend(unmasked);
        all
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, mut client: TcpStream) {
        let begun = self.strandings.load(Ordering::SeqCst);
        let head = if self.http { read_head(&mut client) } else { Ok(Vec::new()) };
        let Ok(head) = head else { return };
        let upgrades = is_upgrade(&head);
        if upgrades && self.refuse_upgrades.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            let _ =
                client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return;
        }
        // A relay that is away: the client sees its connection end at once.
        let Ok(mut server) = TcpStream::connect(self.upstream) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (up, down) = {
            let mut record = lock(&self.record);
            record.extend([head.clone(), Vec::new()]);
            (record.len() - 2, record.len() - 1)
        };
        let pair = (client.try_clone(), server.try_clone());
        let (Ok(mut client_reader), Ok(mut server_writer)) = pair else { return };
        lock(&self.open).extend([client.try_clone(), server.try_clone()].into_iter().flatten());
        // Who has seen it counted can cut it.
        if upgrades {
            self.upgraded.fetch_add(1, Ordering::SeqCst);
        }
        if server.write_all(&head).is_err() {
            return;
        }
        let shared = Arc::clone(self);
        thread::spawn(move || shared.pump(&mut client_reader, &mut server_writer, up, begun));
        self.pump(&mut server, &mut client, down, begun);
    }

    fn pump(&self, from: &mut TcpStream, to: &mut TcpStream, kept: usize, begun: usize) {
        let mut buffer = [0; 16 * 1024];
        loop {
            let n = match from.read(&mut buffer) {
                Ok(n) if n > 0 => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                _ => break,
            };
            if self.strandings.load(Ordering::SeqCst) > begun {
                continue;
            }
            lock(&self.record)[kept].extend_from_slice(&buffer[..n]);
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        if self.strandings.load(Ordering::SeqCst) == begun {
            let _ = to.shutdown(Shutdown::Write);
        }
        let _ = from.shutdown(Shutdown::Read);
    }
}

/// The first request's head and what came with it.
fn read_head(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while find(&head, b"\r\n\r\n").is_none() && head.len() < 64 * 1024 {
        let n = client.read(&mut buffer)?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&buffer[..n]);
    }
    Ok(head)
}

fn is_upgrade(stream: &[u8]) -> bool {
    let end = find(stream, b"\r\n\r\n").unwrap_or(stream.len());
    String::from_utf8_lossy(&stream[..end]).to_ascii_lowercase().contains("\r\nupgrade: websocket")
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The payloads of a client's WebSocket frames (RFC 6455 §5.2); `None` for a stream that is no such thing.
fn unmask(stream: &[u8]) -> Option<Vec<u8>> {
    if !is_upgrade(stream) {
        return None;
    }
    let mut rest = &stream[find(stream, b"\r\n\r\n")? + 4..];
    let mut out = Vec::new();
    while let [_, second, ..] = *rest {
        let (len, at) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(rest.get(2..10)?.try_into().ok()?)).ok()?, 10),
            len => (usize::from(len), 2),
        };
        let Some(mask) = rest.get(at..at + 4) else { break };
        let Some(payload) = rest.get(at + 4..at + 4 + len) else { break };
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        rest = &rest[at + 4 + len..];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_frames_are_readable_in_the_record() {
        let mut stream = b"GET /v1/relay/ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_vec();
        stream.extend([0x82, 0x83, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3]);
        stream.extend([0x82, 0x81, 9, 9, 9, 9, b'd' ^ 9]);
        assert_eq!(unmask(&stream), Some(b"abcd".to_vec()));
        assert_eq!(unmask(b"GET / HTTP/1.1\r\n\r\n"), None);
    }
}
