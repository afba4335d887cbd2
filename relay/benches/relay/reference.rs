//! The bare loop the relay is measured against.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    process::Child,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// A frame: four bytes of length and the payload.
pub fn frame(payload: usize) -> Vec<u8> {
    let mut out = (payload as u32).to_be_bytes().to_vec();
    out.resize(4 + payload, b'x');
    out
}

/// Where the process listens, from its first line.
pub fn address_of(child: &mut Child) -> SocketAddr {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().parse().unwrap()
}

/// A connection as subscriber (`S`), as publisher (`P`) or to something durable (`D`), once the loop has taken it in.
pub fn join(address: SocketAddr, role: u8) -> std::net::TcpStream {
    let mut tcp = std::net::TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.write_all(&[role]).unwrap();
    tcp.read_exact(&mut [0]).unwrap();
    tcp.set_nonblocking(true).unwrap();
    tcp
}

/// Serves until killed.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        let subscribers: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let subscribers = subscribers.clone();
            tokio::spawn(async move {
                let mut role = [0];
                while tcp.try_read(&mut role).is_err() {
                    tcp.readable().await.unwrap();
                }
                tcp.try_write(b"k").unwrap();
                if role == *b"S" {
                    subscribers.lock().unwrap().push(tcp);
                } else if role == *b"D" {
                    let tcp = tcp.into_std().unwrap();
                    tokio::task::spawn_blocking(|| keep(tcp));
                } else {
                    let subscribers = std::mem::take(&mut *subscribers.lock().unwrap());
                    publish(tcp, subscribers).await;
                }
            });
        }
    });
}

/// Appends each frame to a file, waits for the disk and answers with a byte.
fn keep(mut tcp: std::net::TcpStream) {
    tcp.set_nonblocking(false).unwrap();
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut head = [0; 4];
    while tcp.read_exact(&mut head).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(head) as usize];
        if tcp.read_exact(&mut frame).is_err() {
            return;
        }
        file.write_all(&frame).unwrap();
        file.sync_data().unwrap();
        tcp.write_all(b"k").unwrap();
    }
}

/// Reads frames and hands each to every socket's task, which joins what is queued into one write.
async fn publish(publisher: TcpStream, subscribers: Vec<TcpStream>) {
    let queues: Vec<_> = subscribers
        .into_iter()
        .map(|subscriber| {
            let (queue, queued) = mpsc::unbounded_channel::<Bytes>();
            tokio::spawn(write(subscriber, queued));
            queue
        })
        .collect();
    let mut buffer = vec![0; 256 * 1024];
    let mut held = Vec::new();
    loop {
        if publisher.readable().await.is_err() {
            return;
        }
        match publisher.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => held.extend_from_slice(&buffer[..n]),
            Err(_) => continue,
        }
        let mut at = 0;
        while let Some(head) = held.get(at..at + 4) {
            let end = at + 4 + u32::from_be_bytes(head.try_into().unwrap()) as usize;
            let Some(frame) = held.get(at..end) else { break };
            let frame = Bytes::copy_from_slice(frame);
            for queue in &queues {
                let _ = queue.send(frame.clone());
            }
            at = end;
        }
        held.drain(..at);
    }
}

async fn write(subscriber: TcpStream, mut queued: mpsc::UnboundedReceiver<Bytes>) {
    let mut frames = Vec::new();
    while queued.recv_many(&mut frames, 256).await > 0 {
        let joined = frames.concat();
        frames.clear();
        let mut written = 0;
        while written < joined.len() {
            match subscriber.try_write(&joined[written..]) {
                Ok(n) => written += n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => subscriber.writable().await.unwrap(),
                Err(_) => return,
            }
        }
    }
}
