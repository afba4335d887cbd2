//! A device's storage: what was handed out to be written, and what a power cut would leave of it.

use std::{collections::VecDeque, fmt};

use super::relay::holds;
use crate::{
    ids::CircleId,
    io::BatchId,
    store::{Batch, IndexRow, Loaded, MemoryStore, Op, Query, Row},
    view::Key,
};

/// Memory that behaves like a disk with a write cache.
///
/// Batches become durable in the order in which they were handed out. Reads see all of them. [`Disk::lose_power`]
/// keeps a prefix of those that were not durable yet, each wholly or not at all.
#[derive(Default)]
pub struct Disk {
    durable: MemoryStore,
    /// With everything that was handed out; `None` where that is durable at once.
    ahead: Option<MemoryStore>,
    waiting: VecDeque<(BatchId, Batch)>,
    /// Writes fail with this cause while it is set.
    pub full: Option<String>,
    /// Writes are taken and neither made durable nor confirmed while set: the device then crashes.
    pub held: bool,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("waiting", &self.waiting.len())
            .field("full", &self.full)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// A disk that makes everything durable at once.
    #[must_use]
    pub fn instant(store: MemoryStore) -> Self {
        Self { durable: store, ..Self::default() }
    }

    /// A disk whose writes take a while, and are lost until then.
    #[must_use]
    pub fn slow(store: MemoryStore) -> Self {
        Self { ahead: Some(store.clone()), durable: store, ..Self::default() }
    }

    /// Whether everything handed out is durable at once.
    #[must_use]
    pub const fn is_instant(&self) -> bool {
        self.ahead.is_none()
    }

    /// Hands out a batch.
    pub(super) fn write(&mut self, id: BatchId, batch: Batch) {
        match &mut self.ahead {
            None => self.durable.write(batch),
            Some(ahead) => {
                ahead.write(batch.clone());
                self.waiting.push_back((id, batch));
            }
        }
    }

    /// Makes a batch durable, and all before it.
    pub(super) fn settle(&mut self, id: BatchId) {
        while self.waiting.front().is_some_and(|(waiting, _)| *waiting <= id) {
            if let Some((_, batch)) = self.waiting.pop_front() {
                self.durable.write(batch);
            }
        }
    }

    /// The power fails: of the batches that are not durable the first few are, as it happens, and the others are gone.
    /// `keep` is asked how many of so many. Answers how many are gone.
    pub(super) fn lose_power(&mut self, keep: impl FnOnce(usize) -> usize) -> usize {
        let kept = keep(self.waiting.len()).min(self.waiting.len());
        for (_, batch) in self.waiting.drain(..kept) {
            self.durable.write(batch);
        }
        let lost = self.waiting.len();
        self.waiting.clear();
        if let Some(ahead) = &mut self.ahead {
            ahead.clone_from(&self.durable);
        }
        lost
    }

    /// Reads, seeing everything handed out.
    #[must_use]
    pub fn read(&self, query: Query) -> Loaded {
        self.ahead.as_ref().unwrap_or(&self.durable).read(query)
    }

    /// What a power cut would leave at the least.
    #[must_use]
    pub const fn durable(&self) -> &MemoryStore {
        &self.durable
    }

    /// Whether these bytes are anywhere on the disk, in a record or in an envelope of these circles.
    #[must_use]
    pub fn contains(&self, circles: &[CircleId], secret: &[u8]) -> bool {
        let in_records = match self.read(Query::Records) {
            Loaded::Records(records) => records.iter().any(|(_, value)| holds(value, secret)),
            _ => false,
        };
        in_records
            || circles.iter().any(|circle| self.envelopes(*circle).iter().any(|row| holds(row, secret)))
    }

    /// The envelopes of a circle, sealed as they are.
    #[must_use]
    pub fn envelopes(&self, circle: CircleId) -> Vec<Vec<u8>> {
        let Loaded::Index(rows) = self.read(Query::Index(circle)) else { return Vec::new() };
        match self.read(Query::Envelopes(circle, rows.into_iter().map(|row| row.key).collect())) {
            Loaded::Envelopes(rows) => rows.into_iter().map(|(_, sealed)| sealed).collect(),
            _ => Vec::new(),
        }
    }

    /// Bits flip in what is stored of a circle: in every message, or in every control event. Answers in how many.
    pub fn damage(&mut self, circle: CircleId, chat: bool) -> usize {
        let Loaded::Index(mut rows) = self.read(Query::Index(circle)) else { return 0 };
        rows.retain(|row| row.chat == chat);
        let mut ops = Vec::new();
        for IndexRow { key, channel, author, chat, .. } in &rows {
            let Loaded::Envelopes(found) = self.read(Query::Envelopes(circle, vec![*key])) else { continue };
            for (key, mut sealed) in found {
                let middle = sealed.len() / 2;
                sealed[middle] ^= 1;
                let row = Row { circle, key, channel: *channel, author: *author, chat: *chat, sealed };
                ops.extend([Op::DeleteEnvelopes(circle, vec![key]), Op::PutEnvelope(row)]);
            }
        }
        for store in [Some(&mut self.durable), self.ahead.as_mut()].into_iter().flatten() {
            store.write(Batch { ops: ops.clone(), strict: true });
        }
        rows.len()
    }

    /// Whether an envelope would survive a power cut.
    #[must_use]
    pub fn is_durable(&self, circle: CircleId, key: Key) -> bool {
        let found = self.durable.read(Query::Envelopes(circle, vec![key]));
        matches!(found, Loaded::Envelopes(rows) if !rows.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &str) -> Batch {
        Batch { ops: vec![Op::PutRecord(name.into(), Vec::new())], strict: true }
    }

    fn names(loaded: Loaded) -> Vec<String> {
        match loaded {
            Loaded::Records(records) => records.into_iter().map(|(name, _)| name).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_power_cut_leaves_a_prefix_of_what_was_handed_out() {
        let mut disk = Disk::slow(MemoryStore::default());
        for (id, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            disk.write(BatchId(id as u64), put(name));
        }
        disk.settle(BatchId(1));
        assert_eq!(names(disk.read(Query::Records)), ["a", "b", "c", "d"], "reads see what was handed out");
        assert_eq!(names(disk.durable().read(Query::Records)), ["a", "b"]);
        assert_eq!(disk.lose_power(|waiting| waiting - 1), 1);
        assert_eq!(names(disk.read(Query::Records)), ["a", "b", "c"]);
        assert_eq!(names(disk.durable().read(Query::Records)), ["a", "b", "c"]);
    }
}
