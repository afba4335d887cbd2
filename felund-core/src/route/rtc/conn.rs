//! One peer connection: descriptions and candidates in the order in which a peer connection can take them.

use super::{Fingerprint, RtcOut, SessionId, Signal, sdp, signal::MAX_CANDIDATES};
use crate::{
    config::{RTC_ATTEMPT_MS, RTC_GATHER_MS},
    ice::Candidate,
    ids::{CircleId, NodeId},
    io::{CandidateKind, ConnId, Output, RtcCommand, RtcPath},
    relay_api::IceServer,
    route::relay::Cx,
    session::Binding,
};

/// Most candidates of one round, each way; a machine with many networks has a dozen.
const MAX_ROUND: usize = 32;
/// Most restarts of one connection before it is given up and made anew.
const MAX_ROUNDS: u32 = 1_000;

/// How far the present round has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The platform is making a description.
    Describing,
    /// The offer is out.
    Offered,
    /// Both descriptions are known.
    Connecting,
    /// There is a path.
    Up,
    /// There was one.
    Shaky,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) node: NodeId,
    /// Signals travel in it.
    pub(super) circle: CircleId,
    pub(super) session: SessionId,
    /// This side offers.
    pub(super) offers: bool,
    /// It goes through TURN servers only, and nothing else of this device's addresses is told.
    pub(super) relay_only: bool,
    /// What the platform was given.
    pub(super) servers: Vec<IceServer>,
    pub(super) step: Step,
    /// When the step has taken too long.
    pub(super) due: Option<u64>,
    /// The other side should have restarted by now.
    pub(super) overdue: bool,
    /// The channel has been open: a session runs on it.
    pub(super) open: bool,
    pub(super) opened_at: Option<u64>,
    /// What the platform said last about the path.
    up: bool,
    pub(super) path: Option<RtcPath>,
    /// It is not open yet, and to take the place of one whose path leads through a TURN server.
    pub(super) better: bool,
    /// When such another one is begun.
    pub(super) better_at: Option<u64>,
    round: u32,
    ours: Option<Fingerprint>,
    theirs: Option<Fingerprint>,
    /// Own candidates not told yet, and when they are.
    local: Vec<String>,
    told: usize,
    flush_at: Option<u64>,
    /// Their candidates that came before the description they belong to.
    early: Vec<(u32, String)>,
    /// Those handed over: the same may come by several ways.
    taken: Vec<String>,
}

impl Conn {
    pub(super) const fn new(
        node: NodeId,
        circle: CircleId,
        session: SessionId,
        offers: bool,
        due: u64,
    ) -> Self {
        Self {
            node,
            circle,
            session,
            offers,
            relay_only: false,
            servers: Vec::new(),
            step: Step::Describing,
            due: Some(due),
            overdue: false,
            open: false,
            opened_at: None,
            up: false,
            path: None,
            better: false,
            better_at: None,
            round: 0,
            ours: None,
            theirs: None,
            local: Vec::new(),
            told: 0,
            flush_at: None,
            early: Vec::new(),
            taken: Vec::new(),
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.due.into_iter().chain(self.flush_at).chain(self.better_at).min()
    }

    /// Both descriptions of the round are known: candidates can be told and taken.
    fn is_described(&self) -> bool {
        !matches!(self.step, Step::Describing | Step::Offered)
    }

    /// Begins a restart.
    pub(super) fn next_round(&mut self, now: u64) {
        self.round += 1;
        self.step = Step::Describing;
        self.due = Some(now + RTC_ATTEMPT_MS);
        self.local.clear();
        self.taken.clear();
        (self.told, self.flush_at) = (0, None);
    }

    /// A restart asks the servers anew, and credentials may have ended since the last time.
    pub(super) fn renew(&mut self, id: ConnId, servers: Vec<IceServer>, cx: &mut Cx<'_>) {
        if !servers.is_empty() && self.servers != servers {
            self.servers.clone_from(&servers);
            cx.out.push_back(Output::Rtc(id, RtcCommand::Servers(servers)));
        }
    }

    fn send(&self, signal: Signal) -> RtcOut {
        RtcOut::Send { circle: self.circle, to: self.node, session: self.session, signal }
    }

    /// The platform made a description; `false` when it cannot be used.
    pub(super) fn described(&mut self, sdp: String, now: u64, out: &mut Vec<RtcOut>) -> bool {
        if self.step != Step::Describing {
            return true;
        }
        let fingerprint = sdp::fingerprint(&sdp);
        if fingerprint.is_none() || self.ours.is_some_and(|ours| fingerprint != Some(ours)) {
            return false;
        }
        self.ours = fingerprint;
        let round = self.round;
        let sdp = if self.relay_only { sdp::without_addresses(&sdp) } else { sdp };
        let signal = if self.offers { Signal::Offer { round, sdp } } else { Signal::Answer { round, sdp } };
        out.push(self.send(signal));
        self.step = if self.offers { Step::Offered } else { Step::Connecting };
        self.settle();
        self.flush_at = (!self.local.is_empty()).then_some(now);
        self.flush(now, out);
        true
    }

    /// A candidate of this side; several that come together are told together.
    pub(super) fn gathered(&mut self, candidate: String, now: u64) {
        let candidate =
            if self.relay_only { Candidate::hidden(&candidate).unwrap_or_default() } else { candidate };
        let bounded = !candidate.is_empty() && candidate.len() <= sdp::MAX_CANDIDATE;
        if bounded && self.told + self.local.len() < MAX_ROUND {
            self.local.push(candidate);
            if self.step != Step::Describing {
                self.flush_at.get_or_insert(now + RTC_GATHER_MS);
            }
        }
    }

    pub(super) fn flush(&mut self, now: u64, out: &mut Vec<RtcOut>) {
        if self.flush_at.is_none_or(|at| at > now) {
            return;
        }
        self.flush_at = None;
        let (round, mut candidates) = (self.round, std::mem::take(&mut self.local));
        self.told += candidates.len();
        while !candidates.is_empty() {
            let rest = candidates.split_off(candidates.len().min(MAX_CANDIDATES));
            out.push(self.send(Signal::Candidates { round, candidates }));
            candidates = rest;
        }
    }

    /// Hands the other side's description to the platform, and the candidates that were ahead of it.
    pub(super) fn describe(&mut self, id: ConnId, sdp: String, theirs: Fingerprint, cx: &mut Cx<'_>) {
        self.theirs = Some(theirs);
        let sdp = if self.relay_only { sdp::without_names(&sdp) } else { sdp };
        cx.out.push_back(Output::Rtc(id, RtcCommand::Remote(sdp)));
        let round = self.round;
        for (of, candidate) in std::mem::take(&mut self.early) {
            if of == round {
                self.take(id, candidate, cx);
            }
        }
    }

    /// The path leads through a TURN server on either side.
    pub(super) fn is_through_turn(&self) -> bool {
        self.path.is_some_and(|path| [path.local, path.remote].contains(&CandidateKind::Relay))
    }

    fn take(&mut self, id: ConnId, candidate: String, cx: &mut Cx<'_>) {
        let read = Candidate::parse(&candidate);
        // Looking up a name would show whoever answers, in the local network or by DNS, where this device is.
        let is_safe = !self.relay_only || read.as_ref().is_some_and(Candidate::is_literal);
        let is_of_use = !self.better || read.is_none_or(|read| read.kind != CandidateKind::Relay);
        if self.taken.len() < MAX_ROUND && is_safe && is_of_use && !self.taken.contains(&candidate) {
            self.taken.push(candidate.clone());
            cx.out.push_back(Output::Rtc(id, RtcCommand::Candidate(candidate)));
        }
    }

    /// An answer, a restart or candidates.
    pub(super) fn signaled(&mut self, id: ConnId, signal: Signal, cx: &mut Cx<'_>) {
        match signal {
            Signal::Offer { round, sdp } => {
                let in_turn = !self.offers && self.is_described() && round == self.round + 1;
                let theirs = sdp::fingerprint(&sdp).filter(|theirs| self.theirs == Some(*theirs));
                if let (true, Some(theirs), 1..MAX_ROUNDS) = (in_turn, theirs, round) {
                    self.next_round(cx.now.mono);
                    self.describe(id, sdp, theirs, cx);
                }
            }
            Signal::Answer { round, sdp } => {
                let in_turn = self.offers && self.step == Step::Offered && round == self.round;
                let theirs = sdp::fingerprint(&sdp).filter(|t| self.theirs.is_none_or(|theirs| theirs == *t));
                if let (true, Some(theirs)) = (in_turn, theirs) {
                    self.step = Step::Connecting;
                    self.settle();
                    self.describe(id, sdp, theirs, cx);
                }
            }
            Signal::Candidates { round, candidates } => {
                // An answerer's side has the description as soon as it describes; an offerer's with the answer.
                let ready = round == self.round && (self.is_described() || !self.offers);
                for candidate in candidates {
                    if ready {
                        self.take(id, candidate, cx);
                    } else if (round == self.round || round == self.round + 1)
                        && self.early.len() < MAX_ROUND
                        && !self.early.iter().any(|(of, other)| (*of, other) == (round, &candidate))
                    {
                        self.early.push((round, candidate));
                    }
                }
            }
            Signal::Knock { .. } | Signal::Bye => {}
        }
    }

    /// The channel is open; what the session is bound to, the first time.
    pub(super) fn opened(&mut self, now: u64) -> Option<Binding> {
        let (ours, theirs) = (self.ours?, self.theirs?);
        if self.open || !self.is_described() {
            return None;
        }
        // A restart takes whatever path there is.
        (self.open, self.opened_at, self.better) = (true, Some(now), false);
        self.found();
        Some(if self.offers { [ours, theirs] } else { [theirs, ours] }.concat())
    }

    /// The platform has a path (again).
    pub(super) fn found(&mut self) {
        self.up = true;
        self.settle();
    }

    /// The platform has none for now; the other side or a restart is given until `due`.
    pub(super) fn lost(&mut self, due: u64) {
        self.up = false;
        if self.open && matches!(self.step, Step::Up | Step::Shaky) {
            (self.step, self.due) = (Step::Shaky, Some(due));
        }
    }

    /// A restart may find the old path working again: then no further word comes about it.
    fn settle(&mut self) {
        if self.open && self.up && self.is_described() {
            (self.step, self.due, self.overdue) = (Step::Up, None, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::{keys::NodeKey, redact::Secret, route::relay::RngRef, time::Now};

    #[test]
    fn candidates_that_come_by_three_ways_count_once() {
        let key = NodeKey::from_seed(Secret::new([1; 32]));
        let (mut rng, mut next_id) = (RngRef(Box::new(ChaCha20Rng::seed_from_u64(1))), 0);
        let (mut out, mut events) = (VecDeque::new(), Vec::new());
        let mut cx = Cx {
            now: Now { mono: 0, wall: 0 },
            key: &key,
            rng: &mut rng,
            next_id: &mut next_id,
            out: &mut out,
            events: &mut events,
        };
        let id = ConnId(1);
        let mut conn = Conn::new(key.id(), CircleId([1; 16]), [1; 16], false, 10_000);
        conn.describe(id, String::new(), [1; 32], &mut cx);
        let host = |n: u8| format!("candidate:{n} 1 udp 1 192.168.{n}.1 9 typ host");
        let hosts: Vec<String> = (0..12).map(host).collect();
        for _carrier in 0..3 {
            conn.signaled(id, Signal::Candidates { round: 0, candidates: hosts.clone() }, &mut cx);
        }
        let turn = "candidate:99 1 udp 1 198.51.100.1 9 typ relay raddr 0.0.0.0 rport 9".to_owned();
        conn.signaled(id, Signal::Candidates { round: 0, candidates: vec![turn.clone()] }, &mut cx);
        let taken =
            out.iter().any(|output| matches!(output, Output::Rtc(_, RtcCommand::Candidate(c)) if *c == turn));
        assert!(taken, "the only one that works is dropped");
    }
}
