//! A whole node with memory for a disk, for targets that reach it through its contract.

use std::collections::{BTreeMap, VecDeque};

use felund_core::{
    io::{BatchId, Command, ConnId, Event, HttpId, HttpRequest, Input, Output, QueryId, Request},
    model::Model,
    node::{Node, Platform},
    store::{Loaded, MemoryStore, Query},
    time::Now,
    view::Reply,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// Unix milliseconds at the beginning.
pub(crate) const EPOCH_MS: u64 = 1_780_000_000_000;
/// More outputs than this from one input is a storm.
const MANY_OUTPUTS: usize = 20_000;

pub(crate) struct Device {
    pub(crate) node: Node,
    pub(crate) store: MemoryStore,
    pub(crate) model: Model,
    pub(crate) mono: u64,
    /// Requests nobody has answered.
    pub(crate) http: VecDeque<(HttpId, HttpRequest)>,
    /// Sockets and streams the node wants, and those it has not closed.
    pub(crate) dialed: Vec<ConnId>,
    /// What it sent, by connection.
    pub(crate) sent: BTreeMap<ConnId, Vec<Vec<u8>>>,
    pub(crate) replies: Vec<(u64, Result<Reply, String>)>,
    requests: u64,
}

enum Disk {
    Committed(BatchId),
    Loaded(QueryId, Loaded),
}

impl Device {
    /// A node that has read this disk.
    pub(crate) fn start(store: MemoryStore) -> Self {
        let rng = Box::new(ChaCha20Rng::seed_from_u64(7));
        let platform = Platform { dials: true, announces: true, ..Platform::default() };
        let mut device = Self {
            node: Node::new(rng, platform),
            store,
            model: Model::default(),
            mono: 0,
            http: VecDeque::new(),
            dialed: Vec::new(),
            sent: BTreeMap::new(),
            replies: Vec::new(),
            requests: 0,
        };
        device.input(Input::Timeout);
        device
    }

    pub(crate) fn command(&mut self, command: Command) -> Option<Result<Reply, String>> {
        self.requests += 1;
        let id = self.requests;
        self.input(Input::Command(Request { id, command }));
        let at = self.replies.iter().position(|(of, _)| *of == id)?;
        Some(self.replies.swap_remove(at).1)
    }

    /// One input, and everything that the disk says to what follows from it.
    pub(crate) fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut outputs = 0;
        while let Some(input) = inputs.pop_front() {
            self.node.handle(Now { mono: self.mono, wall: EPOCH_MS + self.mono }, input);
            loop {
                outputs += 1;
                assert!(outputs < MANY_OUTPUTS, "one input makes a storm of outputs");
                match self.node.poll_output() {
                    Output::Timeout(_) => break,
                    output => inputs.extend(self.carry_out(output).map(|disk| match disk {
                        Disk::Committed(id) => Input::Committed(id),
                        Disk::Loaded(id, loaded) => Input::Loaded(id, Ok(loaded)),
                    })),
                }
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Disk> {
        match output {
            Output::Store(id, batch) => {
                self.store.write(batch);
                return Some(Disk::Committed(id));
            }
            Output::Load(id, query) => return Some(Disk::Loaded(id, self.read(query))),
            Output::Http(id, request) => self.http.push_back((id, request)),
            Output::Dial { conn, .. } | Output::Connect(conn, _) => self.dialed.push(conn),
            Output::Transmit(conn, bytes) => self.sent.entry(conn).or_default().push(bytes),
            Output::Close(conn, _) => {
                self.dialed.retain(|other| *other != conn);
                self.sent.remove(&conn);
            }
            Output::Event(Event::Reply { id, result }) => self.replies.push((id, result)),
            Output::Event(event) => self.model.apply(&event),
            _ => {}
        }
        None
    }

    fn read(&self, query: Query) -> Loaded {
        self.store.read(query)
    }
}
