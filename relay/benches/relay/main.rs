//! The relay's numbers, each beside its reference from the same run: `cargo bench -p felund-relay --bench relay`.
//!
//! The reference is a bare tokio loop in a process of its own: it reads what its publisher sent, joins the whole
//! frames in it into one write and makes that write on every subscriber's socket. It checks, stores and knows
//! nothing. CPU is what the kernel charged the server's process; the clients are one thread of this process.

#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../../tests/common/mod.rs"]
mod common;
mod reference;

use std::{
    cell::{Cell, RefCell},
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::Path,
    process::Command,
    rc::Rc,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use common::{
    Circle, Member, Socket, client_frame,
    crash::{self, RelayProcess},
};
use felund_core::{
    ids::Cursor,
    wire::{ClientFrame, Sealed, ServerFrame, encode_live},
};
use tokio::{net::TcpStream, sync::Notify, task::LocalSet};

const PROGRAM: &str = env!("CARGO_BIN_EXE_felund-relay");
const SUBSCRIBERS: usize = 50;
const MESSAGE: usize = 512;
/// Posts prepared for all clients together; a single one gets a quarter of them.
const POSTS: usize = 100_000;
const IDLE_SOCKETS: usize = 10_000;
const IDLE_PER_CIRCLE: usize = 50;

fn main() {
    let mut args = std::env::args();
    if args.any(|arg| arg == "--reference") {
        reference::serve();
        return;
    }
    let only: Option<String> = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    println!("| what | relay | reference | ratio | goal |\n|---|---|---|---|---|");
    if wanted("fanout") {
        fanout();
    }
    if wanted("idle") {
        idle();
    }
    if wanted("durable") {
        durable();
    }
    if wanted("crash") {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let started = Instant::now();
        let (acknowledged, lost) = crash::rounds(PROGRAM, dir.path(), 200);
        let took = started.elapsed().as_secs();
        println!(
            "| 200 × kill -9, acknowledged messages lost | {lost} of {acknowledged} | | | 0 ({took} s) |"
        );
    }
}

/// CPU time a process has used, user and system; the kernel counts in hundredths of a second.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A server under load: how to publish to it, and what each subscriber gets per message.
struct Target {
    pid: u32,
    publisher: Socketish,
    subscribers: Vec<std::net::TcpStream>,
    /// Bytes each subscriber receives per message.
    frame: usize,
}

enum Socketish {
    Reference(std::net::TcpStream),
    Relay(Box<Member>, std::net::TcpStream),
}

impl Socketish {
    /// The bytes that publish `count` messages.
    fn publish(&self, count: usize) -> Vec<u8> {
        match self {
            Self::Reference(_) => reference::frame(MESSAGE_ON_WIRE).repeat(count),
            Self::Relay(member, _) => {
                let mut out = Vec::new();
                let mut left = count;
                while left > 0 {
                    let n = left.min(256);
                    let envelopes = (0..n).map(|_| Sealed(sized_envelope(member))).collect();
                    let post = ClientFrame::Post { hint: member.circle.hint(), seq: 0, envelopes };
                    out.extend(client_frame(2, &post.to_bytes()));
                    left -= n;
                }
                out
            }
        }
    }

    fn tcp(&self) -> &std::net::TcpStream {
        match self {
            Self::Reference(tcp) | Self::Relay(_, tcp) => tcp,
        }
    }
}

/// What a 512-byte message is on a subscriber's wire; both servers deliver the same number of bytes.
const MESSAGE_ON_WIRE: usize = MESSAGE + 50;

/// A signed envelope whose CBOR has 512 bytes.
fn sized_envelope(member: &Member) -> Vec<u8> {
    let probe = member.envelope(300).to_cbor().len() - 300;
    let bytes = member.envelope(MESSAGE - probe).to_cbor();
    assert_eq!(bytes.len(), MESSAGE);
    bytes
}

fn start_reference() -> (Target, std::process::Child) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--reference")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let address = reference::address_of(&mut child);
    let subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| reference::join(address, b'S')).collect();
    let publisher = Socketish::Reference(reference::join(address, b'P'));
    (Target { pid: child.id(), publisher, subscribers, frame: MESSAGE_ON_WIRE + 4 }, child)
}

fn start_relay(relay: &RelayProcess) -> Target {
    let circle = Circle::new();
    let mut publisher = Member::registered(relay.address, &circle);
    let subscribers: Vec<_> =
        (0..SUBSCRIBERS).map(|_| Member::new(relay.address, &circle).live_socket()).collect();
    let tcp = publisher.live_socket().into_tcp();
    let mut subscribers: Vec<_> = subscribers.into_iter().map(Socket::into_tcp).collect();
    std::thread::sleep(Duration::from_millis(300));
    // Presence changes of those that came later.
    subscribers.iter_mut().for_each(drain);
    let frame = encode_live(&circle.hint(), Cursor(u64::MAX), &[0; MESSAGE]).len() + 4;
    Target { pid: relay.id(), publisher: Socketish::Relay(Box::new(publisher), tcp), subscribers, frame }
}

fn drain(tcp: &mut std::net::TcpStream) {
    tcp.set_nonblocking(true).unwrap();
    let mut buffer = [0; 65536];
    while tcp.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

/// What one kind of load came to.
struct Load {
    cpu_per_delivery_us: f64,
    p99_ms: f64,
    per_second: f64,
}

/// Publishes `messages` in groups of `group`, waiting for each group to arrive everywhere, `pause` apart.
fn run(target: &Target, messages: usize, group: usize, window: usize, pause: Option<Duration>) -> Load {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let batches: Vec<Vec<u8>> = (0..messages / group).map(|_| target.publisher.publish(group)).collect();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let received = Rc::new(Cell::new(0usize));
        let arrived = Rc::new(Notify::new());
        let latencies = Rc::new(RefCell::new(Vec::new()));
        let sent_at: Rc<RefCell<Vec<Instant>>> = Rc::default();
        let mut tasks = Vec::new();
        for tcp in &target.subscribers {
            let tcp = TcpStream::from_std(tcp.try_clone().unwrap()).unwrap();
            let (received, arrived) = (received.clone(), arrived.clone());
            let (latencies, sent_at, frame) = (latencies.clone(), sent_at.clone(), target.frame);
            tasks.push(tokio::task::spawn_local(async move {
                let mut mine = 0;
                let mut buffer = vec![0; 256 * 1024];
                while mine < messages * frame {
                    tcp.readable().await.unwrap();
                    let Ok(n) = tcp.try_read(&mut buffer) else { continue };
                    assert!(n > 0, "a subscriber was dropped");
                    let before = mine / frame;
                    mine += n;
                    if pause.is_some() {
                        let sent = sent_at.borrow();
                        for message in before..mine / frame {
                            latencies.borrow_mut().push(sent[message / group].elapsed());
                        }
                    }
                    received.set(received.get() + n);
                    arrived.notify_one();
                }
            }));
        }
        target.publisher.tcp().set_nonblocking(true).unwrap();
        let publisher = TcpStream::from_std(target.publisher.tcp().try_clone().unwrap()).unwrap();
        let publisher = Rc::new(publisher);
        let echo = publisher.clone();
        let echoes = tokio::task::spawn_local(async move {
            let mut buffer = vec![0; 256 * 1024];
            while echo.readable().await.is_ok() {
                if echo.try_read(&mut buffer).is_ok_and(|n| n == 0) {
                    return;
                }
            }
        });
        let cpu_before = cpu(target.pid);
        let started = Instant::now();
        let per_group = group * target.frame * SUBSCRIBERS;
        for (index, batch) in batches.iter().enumerate() {
            // At most `window` groups are on their way.
            while received.get() < (index + 1).saturating_sub(window) * per_group {
                arrived.notified().await;
            }
            if let Some(pause) = pause {
                tokio::time::sleep_until((started + pause * index as u32).into()).await;
            }
            sent_at.borrow_mut().push(Instant::now());
            let mut written = 0;
            while written < batch.len() {
                publisher.writable().await.unwrap();
                if let Ok(n) = publisher.try_write(&batch[written..]) {
                    written += n;
                }
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        let took = started.elapsed();
        let cpu = cpu(target.pid) - cpu_before;
        echoes.abort();
        let deliveries = (messages * SUBSCRIBERS) as f64;
        let mut latencies = latencies.take();
        latencies.sort_unstable();
        let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
        Load {
            cpu_per_delivery_us: cpu.as_secs_f64() * 1e6 / deliveries,
            p99_ms: p99.as_secs_f64() * 1e3,
            per_second: deliveries / took.as_secs_f64(),
        }
    })
}

/// Each load runs in turns with its reference, since a machine is not equally fast from one second to the next; of all
/// rounds the one counts whose ratio is in the middle.
const ROUNDS: usize = 5;

fn fanout() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let relay = RelayProcess::start(PROGRAM, dir.path(), &[]);
    let paced = Some(Duration::from_millis(5));
    let loads = [
        ("batched, CPU µs per delivery", 25_600, 256, 2, None, 2.0),
        ("one at a time, CPU µs per delivery", 2_000, 1, 1, None, 1.5),
        ("200 per second, p99 ms", 1_000, 1, 8, paced, 2.0),
    ];
    for (name, messages, group, window, pause, goal) in loads {
        let value = |load: &Load| if pause.is_some() { load.p99_ms } else { load.cpu_per_delivery_us };
        let mut rounds: Vec<(f64, Load, Load)> = (0..ROUNDS)
            .map(|_| {
                let (target, mut child) = start_reference();
                let reference = run(&target, messages, group, window, pause);
                child.kill().unwrap();
                child.wait().unwrap();
                let ours = run(&start_relay(&relay), messages, group, window, pause);
                (value(&ours) / value(&reference), ours, reference)
            })
            .collect();
        rounds.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
        let (least, most) = (rounds[0].0, rounds[ROUNDS - 1].0);
        let (ratio, ours, reference) = &rounds[ROUNDS / 2];
        println!("| {name} | {:.2} | {:.2} | {ratio:.2} | ≤ {goal} |", value(ours), value(reference));
        println!("| … of {ROUNDS} rounds | | | {least:.2}–{most:.2} | |");
        println!(
            "| … deliveries per second | {:.0} | {:.0} | {:.2} | |",
            ours.per_second,
            reference.per_second,
            ours.per_second / reference.per_second
        );
    }
}

fn idle() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let relay = RelayProcess::start(PROGRAM, dir.path(), &[]);
    let open = |count: usize| {
        let mut sockets = Vec::with_capacity(count);
        while sockets.len() < count {
            let circle = Circle::new();
            Member::registered(relay.address, &circle);
            for _ in 0..IDLE_PER_CIRCLE.min(count - sockets.len()) {
                sockets.push(Member::new(relay.address, &circle).socket(Cursor(0)));
            }
        }
        sockets
    };
    drop(open(100));
    std::thread::sleep(Duration::from_secs(1));
    let before = resident(relay.id());
    let sockets = open(IDLE_SOCKETS);
    std::thread::sleep(Duration::from_secs(3));
    let after = resident(relay.id());
    let each = (after - before) as f64 / sockets.len() as f64;
    println!("| resident bytes per idle WebSocket at {IDLE_SOCKETS} | {each:.0} | | | ≤ 4096 |");
    println!("| … resident in all, MiB | {:.1} | | | |", after as f64 / 1048576.0);
}

fn durable() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let relay = RelayProcess::start(PROGRAM, dir.path(), &[]);
    let single = append_rate(dir.path());
    let one = accept_rate(relay.address, 1);
    let many = accept_rate(relay.address, 32);
    let bare = bare_rate();
    let again = append_rate(dir.path());
    let reference = f64::midpoint(single, again);
    println!(
        "| durable accepts per second, 1 client | {one:.0} | {reference:.0} | {:.2} | ≥ 0.8 |",
        one / reference
    );
    println!(
        "| … beside a bare server that appends, waits and answers | {one:.0} | {bare:.0} | {:.2} | |",
        one / bare
    );
    println!(
        "| durable accepts per second, 32 clients | {many:.0} | {reference:.0} | {:.2} | ≥ 5 |",
        many / reference
    );
}

/// What a bare server comes to that reads a message, appends it, waits for the disk and answers: the share of a network
/// round trip in what one client can have accepted, whoever accepts it.
fn bare_rate() -> f64 {
    let (target, mut child) = start_reference();
    let mut tcp = reference::join(target.publisher.tcp().peer_addr().unwrap(), b'D');
    tcp.set_nonblocking(false).unwrap();
    let message = reference::frame(MESSAGE);
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < Duration::from_secs(3) {
        tcp.write_all(&message).unwrap();
        tcp.read_exact(&mut [0]).unwrap();
        count += 1;
    }
    let rate = f64::from(count) / started.elapsed().as_secs_f64();
    child.kill().unwrap();
    child.wait().unwrap();
    rate
}

/// Appends of one message and `fdatasync`, one after another.
fn append_rate(dir: &Path) -> f64 {
    let mut file = fs::File::options().create(true).append(true).open(dir.join("reference")).unwrap();
    let message = [b'x'; MESSAGE];
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < Duration::from_secs(3) {
        file.write_all(&message).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// Posts over sockets, each client waiting for `Stored` before it posts again. Everything is signed before the first
/// client begins, so that only the relay's work is measured beside the sockets'.
fn accept_rate(address: SocketAddr, clients: usize) -> f64 {
    let span = Duration::from_secs(4);
    let ready = Arc::new(Barrier::new(clients));
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let ready = ready.clone();
            std::thread::spawn(move || {
                let mut member = Member::registered(address, &Circle::new());
                let mut socket = member.live_socket();
                let hint = member.circle.hint();
                let posts: Vec<_> = (0..POSTS / clients.max(4))
                    .map(|seq| {
                        let envelopes = vec![Sealed(sized_envelope(&member))];
                        let post = ClientFrame::Post { hint, seq: seq as u64, envelopes };
                        client_frame(2, &post.to_bytes())
                    })
                    .collect();
                ready.wait();
                let started = Instant::now();
                let mut count = 0u32;
                for post in posts {
                    socket.send_raw(&post);
                    while !matches!(socket.next(), ServerFrame::Stored { .. }) {}
                    count += 1;
                    if started.elapsed() > span {
                        break;
                    }
                }
                f64::from(count) / started.elapsed().as_secs_f64()
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}
