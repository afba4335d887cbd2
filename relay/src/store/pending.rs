//! Messages that are durable in the journal and not in the database yet, where readers find them meanwhile.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use felund_core::ids::{CircleHint, Cursor};

use super::journal::Record;

/// By circle, in log order. The journal's capacity bounds them.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<CircleHint, Vec<Record>>>);

impl Pending {
    fn all(&self) -> MutexGuard<'_, HashMap<CircleHint, Vec<Record>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, records: Vec<Record>) {
        let mut all = self.all();
        for record in records {
            all.entry(record.hint).or_default().push(record);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    pub(super) fn clear(&self) {
        self.all().clear();
    }

    /// Everything; copies share the envelopes.
    pub(super) fn records(&self) -> Vec<Record> {
        self.all().values().flatten().cloned().collect()
    }

    /// What a circle has here.
    pub(super) fn of(&self, circle: &CircleHint) -> Vec<Record> {
        self.all().get(circle).cloned().unwrap_or_default()
    }

    /// A circle's messages after a cursor.
    pub(super) fn after(&self, circle: &CircleHint, after: Cursor) -> Vec<(Cursor, Bytes)> {
        let all = self.all();
        let Some(records) = all.get(circle) else { return Vec::new() };
        let new = records.partition_point(|record| record.seq <= after);
        records[new..].iter().map(|record| (record.seq, record.envelope.clone())).collect()
    }
}
