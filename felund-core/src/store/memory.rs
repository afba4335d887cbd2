//! The contract in memory: for tests, the simulator, and a browser that refuses storage.

use std::collections::BTreeMap;

use super::{Batch, IndexRow, Loaded, Op, Query, Row, Store};
use crate::{ids::CircleId, view::Key};

/// Keeps everything until dropped.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    records: BTreeMap<String, Vec<u8>>,
    envelopes: BTreeMap<(CircleId, Key), Row>,
}

impl MemoryStore {
    /// As [`Store::commit`], without waiting.
    pub fn write(&mut self, batch: Batch) {
        for op in batch.ops {
            match op {
                Op::PutRecord(key, value) => {
                    self.records.insert(key, value);
                }
                Op::DeleteRecord(key) => {
                    self.records.remove(&key);
                }
                Op::PutEnvelope(row) => {
                    self.envelopes.entry((row.circle, row.key)).or_insert(row);
                }
                Op::DeleteEnvelopes(circle, keys) => {
                    for key in keys {
                        self.envelopes.remove(&(circle, key));
                    }
                }
                Op::DeleteCircle(circle) => self.envelopes.retain(|(c, _), _| *c != circle),
            }
        }
    }

    /// As [`Store::load`], without waiting.
    #[must_use]
    pub fn read(&self, query: Query) -> Loaded {
        let of = |circle: CircleId| self.envelopes.values().filter(move |row| row.circle == circle);
        match query {
            Query::Records => Loaded::Records(self.records.clone().into_iter().collect()),
            Query::Index(circle) => Loaded::Index(
                of(circle)
                    .map(|r| IndexRow {
                        key: r.key,
                        channel: r.channel,
                        author: r.author,
                        chat: r.chat,
                        size: u32::try_from(r.sealed.len()).unwrap_or(u32::MAX),
                    })
                    .collect(),
            ),
            Query::Channel { circle, channel, from, before } => {
                let wanted = |key: Key| {
                    from.is_none_or(|from| from <= key) && before.is_none_or(|before| key < before)
                };
                let mut rows: Vec<_> = of(circle)
                    .filter(|row| row.channel == channel && wanted(row.key))
                    .map(|row| (row.key, row.sealed.clone()))
                    .collect();
                rows.reverse();
                Loaded::Envelopes(rows)
            }
            Query::Envelopes(circle, keys) => Loaded::Envelopes(
                keys.into_iter()
                    .filter_map(|key| Some((key, self.envelopes.get(&(circle, key))?.sealed.clone())))
                    .collect(),
            ),
        }
    }
}

impl Store for MemoryStore {
    async fn commit(&mut self, batch: Batch) -> Result<(), String> {
        self.write(batch);
        Ok(())
    }

    async fn load(&mut self, query: Query) -> Result<Loaded, String> {
        Ok(self.read(query))
    }
}
