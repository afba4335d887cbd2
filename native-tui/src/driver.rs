//! The one owner of the node: carries out its outputs and feeds it what happens.
//!
//! Everything arrives in one queue and is handled by one thread; disk and sockets report into the queue. Events go
//! to the process that runs the driver and to every mirror (see [`crate::control`]); a reply goes to its asker only.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use felund_core::{
    io::{Command, Event, Input, Output, Request},
    node::{Node, Platform},
    time::Now,
};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::{net::TcpStream, sync::mpsc, time};

use crate::{
    control::Mirrors,
    datadir::DataDir,
    disk::Disk,
    gate::{Gate, Place},
    local::Local,
    net::Net,
    probe,
    reach::Reach,
    session::Setup,
    tcp,
};

/// How much may wait for the driver before senders wait.
pub(crate) const QUEUE: usize = 1_024;
/// How often the clocks are compared, to notice that the machine slept.
const CLOCK_CHECK: Duration = Duration::from_secs(1);
/// A machine whose wall clock got this far ahead of the monotonic one has slept, and so has one where a comparison came
/// this late, in milliseconds.
const SLEPT_MS: u64 = 3_000;
/// How long an owner that ends waits for what is under way.
const GOODBYE: Duration = Duration::from_secs(3);

/// Who asked for something: this process, or a mirror.
pub(crate) type ClientId = u64;
/// This process.
pub(crate) const LOCAL: ClientId = 0;

/// What arrives in the driver's queue.
#[derive(Debug)]
pub(crate) enum Inbox {
    /// For the node as it is.
    Node(Input),
    /// For people, from this device.
    Warning(String),
    /// From a client, with the client's own number.
    Ask(ClientId, Request),
    /// Somebody connected to this node's listener.
    Accepted(TcpStream, Place),
    /// A mirror has come.
    #[cfg(unix)]
    Joined(ClientId, mpsc::Sender<std::sync::Arc<str>>),
    /// A mirror is gone.
    Left(ClientId),
    /// This process wants to end.
    End,
}

pub(crate) struct Driver {
    reach: Reach,
    gate: Gate,
    node: Node,
    disk: Disk,
    net: Net,
    inbox: mpsc::Sender<Inbox>,
    mirrors: Mirrors,
    clock: Clock,
    local: Local,
    asked: HashMap<u64, (ClientId, u64)>,
    next_ask: u64,
    writing: usize,
    ended: bool,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Driver {
    /// Opens the database; must be called inside the runtime that [`Driver::run`] will be in.
    pub(crate) fn open(
        dir: &DataDir,
        setup: Setup,
        inbox: mpsc::Sender<Inbox>,
        local: Local,
    ) -> Result<Self, String> {
        let answers = inbox.clone();
        let disk = Disk::open(&dir.database(), move |answer| {
            let _ = answers.blocking_send(answer);
        })?;
        let gate = Gate::new(setup.anchor, Instant::now());
        let reach = Reach::open(setup, gate.clone(), inbox.clone())?;
        let platform = Platform {
            dials: true,
            rtc: setup.webrtc,
            announces: reach.may_announce(),
            anchor: setup.anchor,
            probes: setup.probes,
            turn_streams: false,
            hide_address: setup.hide_address,
            mobile: false,
        };
        Ok(Self {
            reach,
            gate,
            node: Node::new(Box::new(UnwrapErr(SysRng)), platform),
            disk,
            net: Net::new(inbox.clone()),
            inbox: inbox.clone(),
            mirrors: Mirrors::listen(dir, inbox),
            clock: Clock::new(),
            local,
            asked: HashMap::new(),
            next_ask: 0,
            writing: 0,
            ended: false,
        })
    }

    /// Drives until the process wants to end and everything handed to the disk is durable.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Inbox>) {
        let mut deadline = self.feed(Input::Timeout).await;
        let mut check = time::interval(CLOCK_CHECK);
        check.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        while !self.ended {
            let due = deadline.map(|at| self.clock.start + Duration::from_millis(at));
            tokio::select! {
                Some(item) = inbox.recv() => deadline = self.take(item).await,
                () = sleep_until(due) => deadline = self.feed(Input::Timeout).await,
                _ = check.tick() => {
                    if self.clock.has_slept(self.clock.now()) {
                        deadline = self.feed(Input::Wake).await;
                    }
                    for input in self.reach.look(Instant::now()) {
                        deadline = self.feed(input).await;
                    }
                    let turned_away = self.gate.turned_away();
                    if turned_away > 0 {
                        deadline = self.feed(Input::TurnedAway(turned_away)).await;
                    }
                    if self.local.begins_anew() {
                        deadline = self.ask(LOCAL, Request { id: 0, command: Command::Snapshot }).await;
                    }
                }
            }
        }
        let _ = time::timeout(GOODBYE, self.finish(&mut inbox)).await;
        self.net.close_all();
        self.reach.close().await;
    }

    /// Lets writes and the requests of mirrors come to their end.
    async fn finish(&mut self, inbox: &mut mpsc::Receiver<Inbox>) {
        self.mirrors.close_door();
        while self.writing > 0 || !self.asked.is_empty() {
            let Some(item) = inbox.recv().await else { break };
            self.take(item).await;
        }
    }

    async fn take(&mut self, item: Inbox) -> Option<u64> {
        match item {
            Inbox::Node(input) => {
                if !self.net.admits(&input) {
                    return self.feed(Input::Timeout).await;
                }
                if matches!(input, Input::Committed(_) | Input::StoreFailed(..)) {
                    self.writing = self.writing.saturating_sub(1);
                }
                let stranger = match &input {
                    Input::Received(conn, _) if self.net.is_stranger(*conn) => Some(*conn),
                    _ => None,
                };
                let deadline = self.feed(input).await;
                if let Some(conn) = stranger.filter(|conn| self.node.is_proven(*conn)) {
                    self.net.prove(conn);
                }
                deadline
            }
            Inbox::Warning(text) => {
                self.tell(Event::Notice { error: true, text }).await;
                self.feed(Input::Timeout).await
            }
            Inbox::Accepted(stream, place) => {
                let origin = tcp::origin(&stream, self.reach.interfaces());
                let conn = self.net.accept(stream, place);
                self.feed(Input::Accepted(conn, origin)).await
            }
            Inbox::Ask(client, request) => self.ask(client, request).await,
            #[cfg(unix)]
            Inbox::Joined(client, out) => {
                self.mirrors.add(client, out);
                self.ask(client, Request { id: 0, command: Command::Snapshot }).await
            }
            Inbox::Left(client) => {
                self.mirrors.remove(client);
                self.asked.retain(|_, (asker, _)| *asker != client);
                self.feed(Input::Timeout).await
            }
            Inbox::End => {
                self.ended = true;
                self.asked.retain(|_, (asker, _)| *asker != LOCAL);
                self.feed(Input::Timeout).await
            }
        }
    }

    async fn ask(&mut self, client: ClientId, request: Request) -> Option<u64> {
        self.next_ask += 1;
        self.asked.insert(self.next_ask, (client, request.id));
        self.feed(Input::Command(Request { id: self.next_ask, command: request.command })).await
    }

    /// One mutation, then everything that follows from it; answers with the node's deadline.
    async fn feed(&mut self, input: Input) -> Option<u64> {
        let mut inputs = vec![input];
        let mut deadline = None;
        while let Some(input) = inputs.pop() {
            self.node.handle(self.clock.now(), input);
            loop {
                match self.node.poll_output() {
                    Output::Store(id, batch) => {
                        self.writing += 1;
                        self.disk.write(id, batch);
                    }
                    Output::Load(id, query) => self.disk.read(id, query),
                    Output::Http(id, request) => self.net.http(id, request),
                    Output::Dial { conn, url, protocols } => self.net.dial(conn, url, protocols),
                    Output::Connect(conn, address) => self.net.connect(conn, address),
                    Output::Rtc(conn, command) => inputs.extend(self.net.rtc(conn, command)),
                    Output::Transmit(conn, bytes) => inputs.extend(self.net.transmit(conn, bytes)),
                    Output::Close(conn, _) => self.net.close(conn),
                    Output::Probe(id, probe) => {
                        tokio::spawn(probe::run(id, probe, self.inbox.clone()));
                    }
                    Output::Reachable(reachable) => {
                        self.reach.set_reachable(reachable);
                        inputs.extend(self.reach.start());
                    }
                    Output::Announce(announcement) => self.reach.announce(announcement),
                    Output::Event(event) => self.tell(event).await,
                    Output::Timeout(at) => {
                        deadline = at;
                        break;
                    }
                }
            }
        }
        deadline
    }

    async fn tell(&mut self, event: Event) {
        if let Event::Reply { id, result } = event {
            let Some((client, id)) = self.asked.remove(&id) else { return };
            let reply = Event::Reply { id, result };
            if client == LOCAL {
                self.tell_local(reply).await;
            } else {
                self.mirrors.tell(client, &reply);
            }
            return;
        }
        self.mirrors.tell_all(&event);
        self.tell_local(event).await;
    }

    async fn tell_local(&mut self, event: Event) {
        if !self.ended {
            self.ended = self.local.tell(event).await.is_err();
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Both clocks, and what they showed when they were last compared. Their distance grows while the machine sleeps where the
/// monotonic one then stands still. It goes on on Windows, and everywhere while a process or a virtual machine is
/// stopped: the comparison itself is late then.
struct Clock {
    start: Instant,
    compared: Now,
}

impl Clock {
    fn new() -> Self {
        let mut clock = Self { start: Instant::now(), compared: Now { mono: 0, wall: 0 } };
        clock.compared = clock.now();
        clock
    }

    fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Now { mono, wall: u64::try_from(wall).unwrap_or(u64::MAX) }
    }

    /// Whether the machine, or this process, seems to have slept since this was last asked.
    fn has_slept(&mut self, now: Now) -> bool {
        let before = std::mem::replace(&mut self.compared, now);
        let walked = now.mono.saturating_sub(before.mono);
        let late = walked > SLEPT_MS + u64::try_from(CLOCK_CHECK.as_millis()).unwrap_or(u64::MAX);
        late || now.wall.saturating_sub(before.wall) > walked + SLEPT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_shows_on_either_clock_and_a_busy_second_is_none() {
        for (mono, wall, slept) in [
            (1_000, 1_000, false),
            (3_500, 3_500, false),
            // Set back by hand or by a time server.
            (1_000, 0, false),
            // The monotonic clock stood still.
            (1_000, 60_000, true),
            // Both went on, and nobody looked.
            (60_000, 60_000, true),
        ] {
            let mut clock = Clock::new();
            let start = clock.compared;
            let now = Now { mono: start.mono + mono, wall: start.wall + wall };
            assert_eq!(clock.has_slept(now), slept, "{mono} ms on one clock, {wall} ms on the other");
            let next = Now { mono: now.mono + 1_000, wall: now.wall + 1_000 };
            assert!(!clock.has_slept(next), "it is told once");
        }
    }
}
