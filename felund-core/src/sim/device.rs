//! One device: a node, its disk, its clock, its screen, and the ends of its connections.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::Disk;
use crate::{
    ice::{IceProbe, IceReport},
    io::{Announcement, ConnId},
    model::Model,
    node::{Node, Platform},
};

/// One end of a connection: whose, in which of its lives, and the name its node knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Index of the device.
    pub device: usize,
    /// Of its process: names of connections begin anew with each.
    pub life: u32,
    /// The node's name for it.
    pub conn: ConnId,
}

/// What a device has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages on direct connections.
    pub direct_messages: u64,
    /// Their bytes, with the four of their length.
    pub direct_bytes: u64,
    /// Messages on direct connections of at least [`Device::large`] bytes.
    pub direct_large: u64,
    /// Messages on sockets to the relay.
    pub frames: u64,
    /// Their bytes.
    pub frame_bytes: u64,
    /// Requests to the relay.
    pub requests: u64,
}

/// Bytes of a message's length on a stream.
const LENGTH_PREFIX: u64 = 4;

impl Traffic {
    pub(super) const fn direct(&mut self, bytes: &[u8], large: usize) {
        self.direct_messages += 1;
        self.direct_large += (bytes.len() >= large) as u64;
        self.direct_bytes += bytes.len() as u64 + LENGTH_PREFIX;
    }

    pub(super) const fn frame(&mut self, bytes: &[u8]) {
        self.frames += 1;
        self.frame_bytes += bytes.len() as u64;
    }
}

/// A byte stream to another device.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) other: End,
    /// When the last message sent on it arrives.
    pub(super) tail: u64,
    /// Nothing that is sent on it arrives.
    pub(super) dead: bool,
}

/// A socket to the relay.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// When the last message to the relay arrives.
    pub(super) up: u64,
    /// When the last message from the relay arrives.
    pub(super) down: u64,
    pub(super) dead: bool,
}

/// One device.
#[derive(Debug)]
pub struct Device {
    pub(super) node: Node,
    pub(super) platform: Platform,
    /// Its storage.
    pub disk: Disk,
    /// What its screen knows.
    pub model: Model,
    /// Wall clock minus true time, in milliseconds.
    pub skew: i64,
    /// Longest time a write takes, in milliseconds, if its disk is slow.
    pub write_ms: u64,
    /// How long a read takes, in milliseconds.
    pub read_ms: u64,
    /// From how many bytes on its messages are counted as large.
    pub large: usize,
    /// What it has sent.
    pub traffic: Traffic,
    /// What it wanted announced in its local network, in order.
    pub announced: Vec<Option<Announcement>>,
    /// Addresses it dialed, in order.
    pub dialed: Vec<String>,
    /// What its platform finds when STUN and TURN servers are checked; `None` if it never answers.
    pub ice: Option<IceReport>,
    /// Checks of STUN and TURN servers it was asked for, in order.
    pub probed: Vec<IceProbe>,
    /// Whether it may be found and reached, as its node last said. The simulated driver listens all the same: the node
    /// has to keep to it by itself.
    pub reachable: bool,
    pub(super) up: bool,
    pub(super) life: u32,
    pub(super) asleep_until: u64,
    /// For how long its monotonic clock has stood still, in milliseconds, as many do while a device sleeps.
    pub stood_still: u64,
    pub(super) listens: bool,
    /// The router in front of it.
    pub(super) router: Option<IpAddr>,
    pub(super) deadline: Option<u64>,
    pub(super) next_request: u64,
    pub(super) dialing: BTreeSet<ConnId>,
    pub(super) streams: BTreeMap<ConnId, Stream>,
    pub(super) sockets: BTreeMap<ConnId, Pipe>,
    /// Dead connections that the next requests will go into.
    pub kept: usize,
    /// When the last batch becomes durable, and when the last one is confirmed: both in order.
    pub(super) durable_at: u64,
    pub(super) confirmed_at: u64,
}

impl Device {
    pub(super) fn new(node: Node, platform: Platform, disk: Disk) -> Self {
        Self {
            node,
            platform,
            disk,
            model: Model::default(),
            skew: 0,
            write_ms: 0,
            read_ms: 1,
            large: usize::MAX,
            traffic: Traffic::default(),
            announced: Vec::new(),
            dialed: Vec::new(),
            ice: Some(IceReport::default()),
            probed: Vec::new(),
            reachable: false,
            up: true,
            life: 0,
            asleep_until: 0,
            stood_still: 0,
            listens: false,
            router: None,
            deadline: None,
            next_request: 0,
            dialing: BTreeSet::new(),
            streams: BTreeMap::new(),
            sockets: BTreeMap::new(),
            kept: 0,
            durable_at: 0,
            confirmed_at: 0,
        }
    }

    /// Whether its process runs.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// Direct connections it has, with those in the making.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn is_in(&self, life: u32) -> bool {
        self.up && self.life == life
    }
}
