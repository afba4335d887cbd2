//! `cargo xtask bench mesh`: what a message costs in a large circle without a relay, in the simulator, next to flooding
//! everyone and to the least there is.
//!
//! A *copy* is an envelope that travels over one connection. Each member needs one of each message. Flooding a full mesh
//! sends n − 1 for each member: the author to everyone, and everyone on to everyone else. Records are counted with their
//! four bytes of length; confirmations and signs of life are in the bytes and not in the copies.

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use felund_core::{
    ids::{ChannelId, CircleId, MsgId},
    io::{Command, Event},
    sim::{Dice, EPOCH_MS, Path, Traffic, World},
    store::MemoryStore,
    view::{Reach, Reply},
};

/// Virtual milliseconds from one message to the next: twenty a second, by anybody.
const EVERY_MS: u64 = 50;
/// What everybody says, so that records with a message are told apart from others by their length.
const TEXT: &str =
    "Somebody in this circle says something of about the length that people in circles write at a time.";
/// Records of at least so many bytes carry an envelope.
const ENVELOPE_BYTES: usize = 256;

fn main() {
    let (mut nodes, mut messages) = (None, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|value| value.parse::<usize>().ok());
        match arg.as_str() {
            "--nodes" => nodes = number(),
            "--messages" => messages = number(),
            // Of cargo's own.
            _ => {}
        }
    }
    println!(
        " nodes  messages  sessions   records/dlv  copies/dlv  bytes/dlv   hops mean/max   ms to deliver p50/p99/max     \
    CPU, growing    CPU, talking   peak memory"
    );
    match (nodes, messages) {
        (None, None) => {
            figure(100, 10_000);
            figure(1_000, 100);
        }
        (nodes, messages) => figure(nodes.unwrap_or(100), messages.unwrap_or(1_000)),
    }
}

/// A circle of nodes that all listen and dial, each on its own network.
struct Circle {
    world: World,
    id: CircleId,
    general: ChannelId,
}

impl Circle {
    fn of(nodes: usize) -> Self {
        let mut world = World::seeded(1);
        world.network.path = Path { latency: 10, jitter: 40, ..Path::CALM };
        for at in 0..nodes {
            world.add(MemoryStore::default());
            world.listen(at);
        }
        let id = grow(&mut world, nodes);
        let general = world.devices[0].model.circle(id).expect("it was just made").channels[0].id;
        let mut circle = Self { world, id, general };
        let knows_everyone = |circle: &Self, at: usize| {
            circle.world.devices[at].model.circle(id).is_some_and(|view| view.members.len() == nodes)
        };
        while !(0..nodes).all(|at| knows_everyone(&circle, at)) {
            circle.world.run(1_000);
            circle.world.told.clear();
            assert!(circle.world.now < 3_600_000, "members do not find each other");
        }
        // Sessions beyond the wanted number are given up, and what they brought twice is settled.
        circle.world.run(30_000);
        circle.world.told.clear();
        circle
    }

    fn traffic(&self) -> Traffic {
        self.world.devices.iter().fold(Traffic::default(), |sum, device| Traffic {
            direct_messages: sum.direct_messages + device.traffic.direct_messages,
            direct_bytes: sum.direct_bytes + device.traffic.direct_bytes,
            direct_large: sum.direct_large + device.traffic.direct_large,
            ..sum
        })
    }

    fn sessions(&self) -> usize {
        let direct = |device: &felund_core::sim::Device| {
            let view = device.model.circle(self.id);
            view.map_or(0, |view| view.members.iter().filter(|member| member.reach == Reach::Direct).count())
        };
        self.world.devices.iter().map(direct).sum()
    }
}

/// Makes a circle on the first device, and lets the others in one after the other: each is invited by somebody who is in
/// it, so that nobody has to have a place for everyone.
fn grow(world: &mut World, nodes: usize) -> CircleId {
    let made = world.ask(0, Command::CreateCircle { name: "everyone".into(), relay: None });
    let Ok(Reply::Circle { circle_id, .. }) = made else { panic!("{made:?}") };
    let mut dice = Dice::new(3);
    for at in 1..nodes {
        world.ask(at, Command::SetName { name: format!("member {at}") }).expect("a name of a few letters");
        let inviting = Command::Invite { circle: circle_id };
        let invited = world.ask(dice.index(at), inviting);
        let Ok(Reply::Invite { invite, .. }) = invited else { panic!("{invited:?}") };
        let joining = Command::JoinCircle { invite, relay: None };
        world.ask(at, joining).expect("an invite just made");
        world.told.clear();
    }
    circle_id
}

/// When a message was said, and who had it by how many hops.
struct Journey {
    said: u64,
    hops: Vec<Option<u8>>,
}

#[derive(Default)]
struct Deliveries {
    journeys: BTreeMap<MsgId, Journey>,
    hops: Vec<u8>,
    times: Vec<u64>,
}

impl Deliveries {
    fn look(&mut self, world: &mut World) {
        let nodes = world.devices.len();
        for told in std::mem::take(&mut world.told) {
            let Event::Message(message) = told.event else { continue };
            let said = message.created_ts - EPOCH_MS;
            let journey = self.journeys.entry(message.msg_id);
            let journey = journey.or_insert_with(|| Journey { said, hops: vec![None; nodes] });
            let before = told.via.and_then(|via| journey.hops[via]);
            let hops = if message.mine { 0 } else { before.unwrap_or(0) + 1 };
            journey.hops[told.device] = Some(hops);
            if !message.mine {
                self.hops.push(hops);
                // Clocks are right here, but a logical clock may run ahead of them by some milliseconds.
                self.times.push(told.at.saturating_sub(journey.said));
            }
        }
    }
}

fn figure(nodes: usize, messages: usize) {
    let born = cpu_time();
    let mut circle = Circle::of(nodes);
    let grew = cpu_time().saturating_sub(born);
    for device in &mut circle.world.devices {
        device.large = ENVELOPE_BYTES;
    }
    let (before, mut dice, mut deliveries) = (circle.traffic(), Dice::new(2), Deliveries::default());
    let started = cpu_time();
    for _ in 0..messages {
        let at = dice.index(nodes);
        let (id, channel) = (circle.id, circle.general);
        circle.world.tell(at, Command::Send { circle: id, channel, text: TEXT.into() });
        let until = circle.world.now + EVERY_MS;
        while circle.world.step(until) {
            deliveries.look(&mut circle.world);
        }
        circle.world.now = until;
    }
    let expected = messages * (nodes - 1);
    let patience = circle.world.now + 600_000;
    while deliveries.times.len() < expected && circle.world.step(patience) {
        deliveries.look(&mut circle.world);
    }
    let took = cpu_time().saturating_sub(started);
    assert_eq!(deliveries.times.len(), expected, "everyone gets everything, once");
    report(&circle, nodes, messages, &before, deliveries, [grew, took]);
}

fn report(
    circle: &Circle,
    nodes: usize,
    messages: usize,
    before: &Traffic,
    mut deliveries: Deliveries,
    [grew, took]: [Duration; 2],
) {
    let after = circle.traffic();
    let delivered = deliveries.times.len() as f64;
    let each = |now: u64, then: u64| (now - then) as f64 / delivered;
    let copies = each(after.direct_large, before.direct_large);
    let bytes = each(after.direct_bytes, before.direct_bytes);
    let hops = deliveries.hops.iter().map(|hops| f64::from(*hops)).sum::<f64>() / delivered;
    let most = deliveries.hops.iter().max().copied().unwrap_or(0);
    deliveries.times.sort_unstable();
    let at = |permille: usize| deliveries.times[(deliveries.times.len() - 1) * permille / 1_000];
    println!(
        "{nodes:>6} {messages:>9} {:>9.1} {:>13.2} {copies:>11.2} {bytes:>10.0} {:>15} {:>27} {:>12.1} s {:>13.1} s {:>9} MiB",
        circle.sessions() as f64 / nodes as f64,
        each(after.direct_messages, before.direct_messages),
        format!("{hops:.2} / {most}"),
        format!("{} / {} / {}", at(500), at(990), at(1_000)),
        grew.as_secs_f64(),
        took.as_secs_f64(),
        peak_memory_mib().map_or_else(|| "?".into(), |mib| mib.to_string()),
    );
    let record = bytes / copies;
    let reference = |what: &str, copies: f64| {
        println!("{:>27} {:>13} {copies:>11.2} {:>10.0}   {what}", "", "", copies * record);
    };
    reference("flooding a full mesh, at the same bytes for a copy", (nodes - 1) as f64);
    reference("least there is: one copy for each member", 1.0);
}

/// What this thread, which does all the work, has had of a core; where the system does not tell, the time that went by.
fn cpu_time() -> Duration {
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = spent.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| STARTED.elapsed(), Duration::from_nanos)
}

/// The most that this process has held, where the system tells.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1_024)
}
