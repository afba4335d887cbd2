//! Which messages the circles have that are being posted to, and how much that is, kept in memory.
//!
//! A circle is counted and its names are read when it is first posted to; what is known of the circles that were not
//! posted to for the longest time is dropped when it becomes too much.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use felund_core::ids::{Cursor, MsgId};

/// Most names in memory, which take some 40 MB. In tests so few that circles come and go.
const MAX_NAMES: usize = if cfg!(test) { 64 } else { 1 << 20 };
/// What an entry costs beside its names, in names.
const ENTRY: usize = 8;

/// A circle's messages.
#[derive(Debug, Default)]
pub(super) struct Known {
    names: HashMap<MsgId, Cursor>,
    pub(super) messages: u64,
    /// Of their envelopes.
    pub(super) bytes: u64,
}

impl Known {
    /// Nothing yet, of a circle that is said to have so many messages.
    pub(super) fn with_room(messages: usize) -> Self {
        Self { names: HashMap::with_capacity(messages.min(MAX_NAMES)), ..Self::default() }
    }

    /// Counts messages whose names are added one by one.
    pub(super) fn count(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }

    pub(super) fn name(&mut self, name: MsgId, cursor: Cursor) {
        self.names.insert(name, cursor);
    }

    /// How many names there are.
    pub(super) fn names(&self) -> usize {
        self.names.len()
    }

    /// Takes in a message under `next`, unless there is one of this name: then answers where.
    pub(super) fn admit(&mut self, name: MsgId, next: Cursor, envelope: &[u8]) -> Option<Cursor> {
        match self.names.entry(name) {
            Entry::Occupied(before) => Some(*before.get()),
            Entry::Vacant(new) => {
                new.insert(next);
                self.count(1, envelope.len() as u64);
                None
            }
        }
    }

    /// Takes back what was admitted.
    pub(super) fn withdraw(&mut self, name: MsgId, envelope: &[u8]) {
        if self.names.remove(&name).is_some() {
            self.messages -= 1;
            self.bytes -= envelope.len() as u64;
        }
    }
}

#[derive(Debug)]
struct Held {
    known: Known,
    /// The last use.
    used: u64,
    /// What it weighed then.
    weight: usize,
}

/// What is known of circles, by their ids.
#[derive(Debug)]
pub(super) struct Circles {
    held: HashMap<i64, Held>,
    by_use: BTreeMap<u64, i64>,
    uses: u64,
    weight: usize,
    max: usize,
}

impl Default for Circles {
    fn default() -> Self {
        Self::holding(MAX_NAMES)
    }
}

impl Circles {
    fn holding(max: usize) -> Self {
        Self { held: HashMap::new(), by_use: BTreeMap::new(), uses: 0, weight: 0, max }
    }

    /// What is known of a circle; `load` finds it out when it is not in memory.
    pub(super) fn of<E>(
        &mut self,
        circle: i64,
        load: impl FnOnce() -> Result<Known, E>,
    ) -> Result<&mut Known, E> {
        let mut held = match self.take(circle) {
            Some(held) => held,
            None => Held { known: load()?, used: 0, weight: 0 },
        };
        self.uses += 1;
        held.used = self.uses;
        // What was added since its last use counts from now on.
        held.weight = held.known.names.len() + ENTRY;
        self.weight += held.weight;
        while self.weight > self.max
            && let Some((_, longest_ago)) = self.by_use.first_key_value()
        {
            self.forget(*longest_ago);
        }
        self.by_use.insert(held.used, circle);
        Ok(&mut self.held.entry(circle).insert_entry(held).into_mut().known)
    }

    /// What is in memory of a circle is not true any more.
    pub(super) fn forget(&mut self, circle: i64) {
        self.take(circle);
    }

    fn take(&mut self, circle: i64) -> Option<Held> {
        let held = self.held.remove(&circle)?;
        self.by_use.remove(&held.used);
        self.weight -= held.weight;
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: u8) -> Known {
        let mut known = Known::default();
        for name in 0..names {
            assert_eq!(known.admit(MsgId([name; 16]), Cursor(u64::from(name)), &[0; 10]), None);
        }
        known
    }

    fn load<T>(known: Known) -> impl FnOnce() -> Result<Known, T> {
        || Ok(known)
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_is_read_again() {
        let mut circles = Circles::holding(3 * (10 + ENTRY));
        for circle in [1, 2, 3, 1, 4] {
            circles.of::<()>(circle, load(with(10))).unwrap();
        }
        for circle in [1, 3, 4] {
            circles.of(circle, || Err(circle)).unwrap();
        }
        assert_eq!(circles.of(2, || Err("gone")).unwrap_err(), "gone");
        circles.of::<()>(5, load(with(100))).unwrap();
        assert_eq!((circles.held.len(), circles.by_use.len()), (1, 1), "one is kept, whatever its size");
        assert_eq!(circles.of(5, || Err(())).unwrap().messages, 100);
        circles.forget(5);
        assert_eq!(circles.weight, 0);
    }

    #[test]
    fn what_comes_later_counts() {
        let mut circles = Circles::holding(50);
        circles.of::<()>(1, load(with(0))).unwrap();
        let known = circles.of::<()>(2, load(with(0))).unwrap();
        for name in 0..60 {
            known.admit(MsgId([name; 16]), Cursor(1), &[]);
        }
        circles.of(2, || Err(())).unwrap();
        circles.of(1, || Err(())).unwrap_err();
    }

    #[test]
    fn a_message_is_admitted_once_and_can_be_taken_back() {
        let mut known = with(3);
        assert_eq!(known.admit(MsgId([1; 16]), Cursor(9), &[0; 10]), Some(Cursor(1)));
        assert_eq!((known.messages, known.bytes), (3, 30));
        known.withdraw(MsgId([1; 16]), &[0; 10]);
        assert_eq!((known.messages, known.bytes), (2, 20));
        assert_eq!(known.admit(MsgId([1; 16]), Cursor(9), &[0; 10]), None);
    }
}
