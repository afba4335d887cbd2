//! Who reaches whom, how late, and what gets lost on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::Dice;

/// What a way through the network does to what travels on it. Times are in milliseconds, chances in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Least time one way.
    pub latency: u64,
    /// Most that is added to it, anew for each message.
    pub jitter: u64,
    /// A lost packet is sent again by TCP: what it carried comes late, and all behind it.
    pub stall: u32,
    /// A message kills the connection it travels on.
    pub cut: u32,
    /// A request is lost before it took effect.
    pub lost_request: u32,
    /// A request takes effect and its answer is lost.
    pub lost_answer: u32,
    /// A request arrives twice.
    pub twice: u32,
}

impl Path {
    /// Twenty milliseconds one way, and nothing ever lost.
    pub const CALM: Self =
        Self { latency: 20, jitter: 0, stall: 0, cut: 0, lost_request: 0, lost_answer: 0, twice: 0 };

    /// The same way on a better day: as slow, but nothing kills connections or requests any more.
    #[must_use]
    pub const fn repaired(self) -> Self {
        Self { cut: 0, lost_request: 0, lost_answer: 0, twice: 0, ..self }
    }
}

/// How two devices fail to reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Connections are reset, new ones refused.
    Refused,
    /// Nothing arrives, and nobody is told.
    Silent,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    RequestLost,
    AnswerLost,
    Twice,
}

/// Paths, partitions and NATs.
#[derive(Debug)]
pub struct Network {
    dice: Dice,
    /// Between two devices, unless [`Network::pairs`] says otherwise.
    pub path: Path,
    /// Between certain two devices, the smaller index first.
    pub pairs: BTreeMap<(usize, usize), Path>,
    /// Between devices and the relay.
    pub relay: Path,
    blocked: BTreeMap<(usize, usize), Block>,
    no_relay: BTreeSet<usize>,
    no_dial: BTreeSet<(usize, usize)>,
}

impl Network {
    pub(super) const fn new(dice: Dice) -> Self {
        Self {
            dice,
            path: Path::CALM,
            pairs: BTreeMap::new(),
            relay: Path::CALM,
            blocked: BTreeMap::new(),
            no_relay: BTreeSet::new(),
            no_dial: BTreeSet::new(),
        }
    }

    const fn pair(a: usize, b: usize) -> (usize, usize) {
        if a < b { (a, b) } else { (b, a) }
    }

    pub(super) fn between(&self, a: usize, b: usize) -> Path {
        self.pairs.get(&Self::pair(a, b)).copied().unwrap_or(self.path)
    }

    pub(super) fn block(&mut self, a: usize, b: usize, block: Option<Block>) {
        match block {
            Some(block) => self.blocked.insert(Self::pair(a, b), block),
            None => self.blocked.remove(&Self::pair(a, b)),
        };
    }

    pub(super) fn blocked(&self, a: usize, b: usize) -> Option<Block> {
        self.blocked.get(&Self::pair(a, b)).copied()
    }

    pub(super) fn set_relay_reachable(&mut self, at: usize, reachable: bool) {
        if reachable {
            self.no_relay.remove(&at);
        } else {
            self.no_relay.insert(at);
        }
    }

    pub(super) fn reaches_relay(&self, at: usize) -> bool {
        !self.no_relay.contains(&at)
    }

    /// A NAT or a firewall: `from` can never dial `to`, though `to` may be able to dial `from`.
    pub fn forbid_dialing(&mut self, from: usize, to: usize) {
        self.no_dial.insert((from, to));
    }

    pub(super) fn may_dial(&self, from: usize, to: usize) -> bool {
        !self.no_dial.contains(&(from, to))
    }

    /// Nothing is blocked any more and nothing kills connections; NATs and latencies stay.
    pub(super) fn heal(&mut self) {
        self.blocked.clear();
        self.no_relay.clear();
        self.path = self.path.repaired();
        self.relay = self.relay.repaired();
        for path in self.pairs.values_mut() {
            *path = path.repaired();
        }
    }

    /// No packet is lost any more: everything takes its path's latency and jitter.
    pub(super) fn set_steady(&mut self) {
        (self.path.stall, self.relay.stall) = (0, 0);
        for path in self.pairs.values_mut() {
            path.stall = 0;
        }
    }

    /// How long one message takes, whatever travels beside it.
    pub(super) fn delay(&mut self, path: Path) -> u64 {
        let stall = if self.dice.chance(path.stall) { self.dice.between(200, 3_000) } else { 0 };
        let jitter = if path.jitter > 0 { self.dice.between(0, path.jitter) } else { 0 };
        path.latency + jitter + stall
    }

    /// When a message sent now on a stream arrives: never before the one before it.
    pub(super) fn in_order(&mut self, now: u64, path: Path, tail: &mut u64) -> u64 {
        *tail = (now + self.delay(path)).max(*tail);
        *tail
    }

    pub(super) fn cuts(&mut self, path: Path) -> bool {
        self.dice.chance(path.cut)
    }

    pub(super) fn fate(&mut self, path: Path) -> Fate {
        if self.dice.chance(path.lost_request) {
            Fate::RequestLost
        } else if self.dice.chance(path.lost_answer) {
            Fate::AnswerLost
        } else if self.dice.chance(path.twice) {
            Fate::Twice
        } else {
            Fate::Answered
        }
    }

    pub(super) const fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_delays_but_never_reorders() {
        let mut network = Network::new(Dice::new(1));
        let path = Path { jitter: 500, stall: 200, ..Path::CALM };
        let (mut tail, mut before) = (0, 0);
        for now in 0..1_000 {
            let at = network.in_order(now, path, &mut tail);
            assert!(at >= before && at >= now + path.latency);
            before = at;
        }
    }
}
