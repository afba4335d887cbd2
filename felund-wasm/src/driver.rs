//! The sole owner of the node: one task that feeds it what happened and carries out what it answers.

use std::rc::Rc;

use felund_core::{
    io::{ConnId, Event, Input, Output, Request, RtcCommand},
    node::{Node, Platform},
    sorted::SortedMap,
};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use wasm_bindgen_futures::spawn_local;

use crate::{
    ahead::Rows,
    browser::Timer,
    clock::Clock,
    http,
    inbox::Inbox,
    keeper::{Job, Keeper},
    probe,
    rtc::{self, Peer},
    socket::Socket,
};

/// A timer that comes this much too late was held back: the device slept or the tab was frozen, in milliseconds.
const LATE_MS: u64 = 5_000;

/// A running node; stops when dropped.
#[derive(Debug)]
pub(crate) struct Driver {
    inbox: Inbox<Input>,
}

impl Driver {
    /// Starts a node over the browser's storage, of which the page may have read something already; `sink` gets its
    /// events in order, many at a time.
    pub(crate) fn start(database: String, ahead: Option<Rows>, sink: impl Fn(Vec<Event>) + 'static) -> Self {
        let inbox = Inbox::new();
        let sink: Rc<dyn Fn(Vec<Event>)> = Rc::new(sink);
        let notices = sink.clone();
        let keeper = Keeper::start(database, ahead, inbox.clone(), move |event| notices(vec![event]));
        let task = Task {
            // The browser's generator fails only for requests above 64 KiB, which getrandom splits.
            node: Node::new(Box::new(UnwrapErr(SysRng)), platform()),
            clock: Clock::new(),
            inbox: inbox.clone(),
            keeper,
            sockets: SortedMap::new(),
            peers: SortedMap::new(),
            timer: None,
            deadline: None,
            events: Vec::new(),
        };
        spawn_local(task.run(sink));
        // The first thing to happen is that time passes: it makes the node say what it wants to read.
        inbox.push(Input::Timeout);
        Self { inbox }
    }

    pub(crate) fn command(&self, request: Request) {
        self.inbox.push(Input::Command(request));
    }

    /// Makes the node doubt every connection.
    pub(crate) fn wake(&self) {
        self.inbox.push(Input::Wake);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

fn platform() -> Platform {
    let agent = crate::browser::window().and_then(|window| window.navigator().user_agent().ok());
    let mobile = agent.is_some_and(|agent| agent.contains("Mobi") || agent.contains("Android"));
    let rtc = rtc::is_available();
    Platform { rtc, probes: rtc, turn_streams: true, mobile, ..Platform::default() }
}

struct Task {
    node: Node,
    clock: Clock,
    inbox: Inbox<Input>,
    keeper: Keeper,
    sockets: SortedMap<ConnId, Socket>,
    peers: SortedMap<ConnId, Peer>,
    timer: Option<Timer>,
    deadline: Option<u64>,
    events: Vec<Event>,
}

impl Task {
    async fn run(mut self, sink: Rc<dyn Fn(Vec<Event>)>) {
        while let Some(inputs) = self.inbox.drain().await {
            for input in inputs {
                if self.concerns_us(&input) {
                    self.handle(input);
                }
            }
            self.set_timer();
            if !self.events.is_empty() {
                sink(std::mem::take(&mut self.events));
            }
        }
    }

    /// Whether the node may still hear this: not of sockets that are gone already.
    fn concerns_us(&mut self, input: &Input) -> bool {
        match input {
            Input::Connected(conn) | Input::Received(conn, _) | Input::Rtc(conn, _) => {
                self.sockets.contains_key(conn) || self.peers.contains_key(conn)
            }
            Input::Disconnected(conn, _) => {
                self.sockets.remove(conn).is_some() || self.peers.remove(conn).is_some()
            }
            _ => true,
        }
    }

    fn handle(&mut self, input: Input) {
        let (now, jumped) = self.clock.now();
        let late = matches!(input, Input::Timeout) && self.deadline.is_some_and(|at| now.mono > at + LATE_MS);
        if jumped || late {
            self.node.handle(now, Input::Wake);
            self.carry_out();
        }
        self.node.handle(now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        loop {
            match self.node.poll_output() {
                Output::Store(id, batch) => self.keeper.push(Job::Commit(id, batch)),
                Output::Load(id, query) => self.keeper.push(Job::Load(id, query)),
                Output::Http(id, request) => {
                    let inbox = self.inbox.clone();
                    spawn_local(async move { inbox.push(Input::Http(id, http::fetch(request).await)) });
                }
                Output::Dial { conn, url, protocols } => {
                    match Socket::open(conn, &url, &protocols, &self.inbox) {
                        Ok(socket) => {
                            self.sockets.insert(conn, socket);
                        }
                        Err(reason) => {
                            let (now, _) = self.clock.now();
                            self.node.handle(now, Input::Disconnected(conn, reason));
                        }
                    }
                }
                // A browser cannot open byte streams, and the node was told so.
                Output::Connect(conn, _) => {
                    self.inbox.push(Input::Disconnected(conn, "not possible in a browser".to_owned()));
                }
                // Nor can it announce itself in the local network.
                Output::Announce(_) | Output::Reachable(_) => {}
                Output::Probe(id, probe) => {
                    let inbox = self.inbox.clone();
                    spawn_local(async move { inbox.push(Input::Probed(id, probe::check(probe).await)) });
                }
                Output::Rtc(conn, RtcCommand::Open { offer, servers, relay_only }) => {
                    match Peer::open(conn, offer, &servers, relay_only, &self.inbox) {
                        Ok(peer) => {
                            self.peers.insert(conn, peer);
                        }
                        Err(reason) => {
                            let (now, _) = self.clock.now();
                            self.node.handle(now, Input::Disconnected(conn, reason));
                        }
                    }
                }
                Output::Rtc(conn, command) => {
                    if let Some(peer) = self.peers.get(&conn) {
                        peer.command(command);
                    }
                }
                Output::Transmit(conn, bytes) => {
                    let sent = match self.sockets.get(&conn) {
                        Some(socket) => Some(socket.send(&bytes)),
                        None => self.peers.get(&conn).map(|peer| peer.send(bytes)),
                    };
                    if let Some(Err(reason)) = sent {
                        self.inbox.push(Input::Disconnected(conn, reason));
                    }
                }
                Output::Close(conn, _) => {
                    self.sockets.remove(&conn);
                    self.peers.remove(&conn);
                }
                Output::Event(event) => self.events.push(event),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }

    fn set_timer(&mut self) {
        let now = self.clock.now().0.mono;
        self.timer = self.deadline.map(|at| {
            let inbox = self.inbox.clone();
            Timer::new(at.saturating_sub(now), move || inbox.push(Input::Timeout))
        });
    }
}
