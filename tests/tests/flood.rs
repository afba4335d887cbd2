//! Ten thousand connections that mean no good do not disturb two members who chat.

use std::{
    collections::VecDeque,
    io::Write,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use felund_tests::{felund::Felund, wait};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

const CONNECTIONS: usize = 10_000;
const WORKERS: usize = 16;
/// How many a worker keeps open while it opens others.
const KEPT: usize = 16;
/// What a flood may leave behind or need at its height: some connections' buffers, and what the allocator keeps.
const MEMORY_KIB: u64 = 24 * 1024;

/// Connects from an address of the loopback network's 16 million.
fn from(source: Ipv4Addr, to: SocketAddr) -> Option<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
    bind(&socket, &SocketAddrV4::new(source, 0)).ok()?;
    connect(&socket, &to).ok()?;
    Some(TcpStream::from(socket))
}

/// The first message of a handshake, from somebody in none of the circles.
fn hello(n: usize) -> Vec<u8> {
    let tags: Vec<u8> = (0..32).map(|at| (n >> (at % 16)) as u8 ^ at as u8).collect();
    let message = [&[0x84, 1, 0x58, 32][..], &tags, &[0x58, 32], &[9; 32], &[0x58, 32], &tags].concat();
    framed(&message)
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).expect("short").to_be_bytes(), message].concat()
}

/// What the n-th connection has to say; some say nothing and stay.
fn garbage(n: usize) -> Vec<u8> {
    match n % 8 {
        0 | 1 => Vec::new(),
        2 => b"GET / HTTP/1.1\r\nHost: example\r\n\r\n".to_vec(),
        3 => vec![0xff; 4],
        4 => framed(&[n as u8; 200]),
        5 => framed(&[7; 300])[..100].to_vec(),
        6 => vec![0],
        _ => hello(n),
    }
}

#[test]
fn ten_thousand_strangers_do_not_disturb_a_chat() {
    let (alice, at_alice, invite) = Felund::listening("alice", "garden club");
    let bob = Felund::new("bob", None);
    let circle = bob.join(&invite.encode());
    let at_bob = bob.tail(None);
    let control = alice.control();
    control.until_circle(&circle.id, "bob directly", |view| {
        view.members.iter().any(|member| member.reach == felund_core::view::Reach::Direct)
    });
    let door: SocketAddr = invite.peers[0].parse().expect("an address");
    let say = |text: &str| {
        let said = bob.run(&["send", "garden club", text]);
        assert!(said.stdout.contains("delivered to 1 of 1"), "{said:?}");
        at_alice.wait_for(text);
        let said = alice.run(&["send", "garden club", &format!("{text}, indeed")]);
        assert!(said.stdout.contains("delivered to 1 of 1"), "{said:?}");
        at_bob.wait_for(&format!("{text}, indeed"));
    };
    say("before");
    let process = at_alice.running();
    let (memory, files) = (process.memory_kib().0, process.open_files());

    let (opened, working) = (AtomicUsize::new(0), AtomicUsize::new(WORKERS));
    let mut rounds = 0;
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (opened, working) = (&opened, &working);
            scope.spawn(move || {
                let mut kept = VecDeque::new();
                for n in (worker..CONNECTIONS).step_by(WORKERS) {
                    // Half of them from one address, the others from hundreds.
                    let [.., high, low] = n.to_be_bytes();
                    let source =
                        if n % 2 == 0 { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(127, 9, high, low) };
                    let Some(mut stream) = from(source, door) else { continue };
                    opened.fetch_add(1, Ordering::Relaxed);
                    // A connection that is closed already takes nothing more.
                    let _ = stream.write_all(&garbage(n));
                    kept.push_back(stream);
                    if kept.len() > KEPT {
                        kept.pop_front();
                    }
                }
                working.fetch_sub(1, Ordering::Relaxed);
            });
        }
        while working.load(Ordering::Relaxed) > 0 || rounds < 5 {
            say(&format!("in the middle of it, {rounds}"));
            rounds += 1;
        }
    });
    say("after");

    let opened = opened.into_inner();
    assert!(opened > CONNECTIONS * 9 / 10, "only {opened} connections came about");
    wait::until_true("closed sockets", || process.open_files() <= files);
    let (left, height) = process.memory_kib();
    assert!(left.max(height) < memory + MEMORY_KIB, "{memory} KiB before, {height} at most, {left} after");
    let refusals = alice.refusals();
    println!("{opened} connections, {rounds} rounds of chat, {memory}, {height}, {left} KiB: {refusals:#?}");
    assert!(refusals.values().sum::<u64>() >= opened as u64 * 9 / 10, "{refusals:?}");
    for reason in ["too many connections at once", "malformed bytes", "no circle in common"] {
        assert!(refusals.contains_key(reason), "{reason} in {refusals:?}");
    }
}
