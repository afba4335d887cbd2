//! Writes that nobody waits for: gathered while the last batch of them is being written, and written again when storage
//! refused them. And what may be said to others only once these are durable.

use super::{Node, records};
use crate::{
    config::{MAX_UNWRITTEN_BYTES, STORE_RETRY_MS},
    ids::CircleId,
    io::{BatchId, ConnId, Output},
    sorted::SortedMap,
    store::{Batch, Op},
    wire::PeerFrame,
};

/// Something that rests on what is held being durable.
#[derive(Debug)]
pub(super) enum Claim {
    /// For a member.
    Frame(ConnId, PeerFrame),
    /// A sealed receipt, for whoever is connected to a circle's relay.
    Receipt(CircleId, Vec<u8>),
}

/// A batch that may still be refused, and what it holds up.
#[derive(Debug)]
struct InFlight {
    ops: Vec<Op>,
    claims: Vec<Claim>,
}

/// What is between being taken in and being durable.
#[derive(Debug, Default)]
pub(super) struct Staging {
    in_flight: SortedMap<BatchId, InFlight>,
    /// Said once what is gathered now is durable.
    claims: Vec<Claim>,
    /// A receipt will be sent for what is gathered now.
    owed: bool,
    /// Storage refused: it is not tried again before this, monotonic milliseconds.
    retry_at: u64,
    /// More has been refused than may be kept in memory.
    full: bool,
}

impl Node {
    /// Says what rests on envelopes being held, once they are: a member that has been told so will not offer them again,
    /// and its author spares the relay.
    pub(super) fn claim(&mut self, conn: ConnId, frame: PeerFrame) {
        self.claim_once_durable(Claim::Frame(conn, frame));
    }

    /// As [`Node::claim`], to a member or through a relay.
    pub(super) fn claim_once_durable(&mut self, claim: Claim) {
        if !self.staged.is_empty() {
            self.staging.claims.push(claim);
        } else if let Some(last) = self.staging.in_flight.values_mut().next_back() {
            last.claims.push(claim);
        } else {
            self.say(claim);
        }
    }

    fn say(&mut self, claim: Claim) {
        match claim {
            Claim::Frame(conn, frame) => self.send_frame(conn, &frame),
            Claim::Receipt(circle, sealed) => self.fan_out(circle, sealed),
        }
    }

    /// A receipt is sent a little later, when there may be nothing to wait for any more: what it rests on is written as for a
    /// claim.
    pub(super) const fn owe(&mut self) {
        self.staging.owed = true;
    }

    /// Whether nothing more can be taken in until storage works again.
    pub(super) const fn staging_is_full(&self) -> bool {
        self.staging.full
    }

    /// Whether what a circle left behind is still to be deleted, which would delete a circle that is joined again, too.
    pub(super) fn is_deleting(&self, id: CircleId) -> bool {
        let written = self.staging.in_flight.values().flat_map(|batch| &batch.ops);
        written.chain(&self.staged).any(|op| matches!(op, Op::DeleteCircle(circle) if *circle == id))
    }

    pub(super) fn staging_deadline(&self) -> Option<u64> {
        (!self.staged.is_empty() && self.staging.in_flight.is_empty()).then_some(self.staging.retry_at)
    }

    pub(super) fn flush_staged(&mut self) {
        if self.staging.in_flight.is_empty() && self.now.mono >= self.staging.retry_at {
            self.flush_staged_now();
        }
    }

    pub(super) fn flush_staged_now(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        let id = BatchId(self.id());
        let ops = std::mem::take(&mut self.staged);
        let claims = std::mem::take(&mut self.staging.claims);
        // What others are told must survive power loss; the rest is had from them again.
        let strict = !claims.is_empty() | std::mem::take(&mut self.staging.owed);
        self.outputs.push_back(Output::Store(id, Batch { ops: ops.clone(), strict }));
        self.staging.in_flight.insert(id, InFlight { ops, claims });
    }

    pub(super) fn staged_committed(&mut self, id: BatchId) {
        let Some(batch) = self.staging.in_flight.remove(&id) else { return };
        for claim in batch.claims {
            self.say(claim);
        }
        // What was not taken in meanwhile nobody offers again by itself.
        if std::mem::take(&mut self.staging.full) {
            for id in self.circles.keys().copied().collect::<Vec<_>>() {
                self.ask_again(id);
            }
        }
    }

    /// Keeps what storage refused for another try.
    pub(super) fn staged_refused(&mut self, id: BatchId) {
        let Some(mut batch) = self.staging.in_flight.remove(&id) else { return };
        let later: Vec<&Op> =
            self.staging.in_flight.values().flat_map(|b| &b.ops).chain(&self.staged).collect();
        batch.ops.retain(|op| match op {
            Op::PutEnvelope(row) => self.circles.contains_key(&row.circle),
            // What has been written since then is newer.
            Op::PutRecord(name, _) | Op::DeleteRecord(name) => {
                let again = |op: &&&Op| matches!(op, Op::PutRecord(n, _) | Op::DeleteRecord(n) if n == name);
                let left =
                    records::Name::parse(name).is_some_and(|name| !self.circles.contains_key(&name.circle()));
                !left && !later.iter().any(|op| again(&op))
            }
            Op::DeleteEnvelopes(circle, _) => self.circles.contains_key(circle),
            Op::DeleteCircle(_) => true,
        });
        batch.ops.append(&mut self.staged);
        batch.claims.append(&mut self.staging.claims);
        self.owe();
        (self.staged, self.staging.claims) = (batch.ops, batch.claims);
        self.staging.retry_at = self.now.mono + STORE_RETRY_MS;
        let bytes = |op: &Op| if let Op::PutEnvelope(row) = op { row.sealed.len() } else { 0 };
        self.staging.full = self.staged.iter().map(bytes).sum::<usize>() > MAX_UNWRITTEN_BYTES;
    }
}
