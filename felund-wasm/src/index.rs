//! The index of all envelopes once more, in few records.
//!
//! Reading ten thousand keys of IndexedDB takes longer than everything else of a start together. What each write adds to
//! the envelopes or takes from them is therefore also kept in *pages*, some kilobytes each, written in the same
//! transaction: one page is as quick to read as one key. They are a copy: where they turn out not to come to as many
//! envelopes as the store holds, after a version that knew nothing of them or a second writer, they are removed, the next
//! start reads the keys, and they are made anew. Counting takes half as long as reading the keys, so that it waits for the
//! first write.
//!
//! A page is a sequence of entries of [`PRIMARY_LEN`] bytes, in the order they were written: a primary key for an envelope
//! that was added, and one with another last byte for what was removed.

use felund_core::{
    ids::CircleId,
    sorted::SortedMap,
    store::{Batch, Op},
};

use crate::idb::{ORDER_LEN, PRIMARY_LEN, order, primary};

/// What names of pages begin with; those of the node's records begin with other words.
pub(crate) const PAGES: &str = "index/";
/// Behind the names of all pages.
pub(crate) const PAGES_END: &str = "index0";

/// Last byte of an entry, where that of a primary key says whether the envelope is chat: this one is removed.
const REMOVED: u8 = 2;
/// So is every envelope of the circle.
const LEFT: u8 = 3;
/// Larger values are kept apart from the others by some browsers, and read more slowly.
const PAGE: usize = 700 * PRIMARY_LEN;
/// A page of so many bytes is not written again for what comes next.
const FULL: usize = 46 * PRIMARY_LEN;
/// What one session adds at most, in bytes; the pages are made anew at the start after one that adds more.
const SESSION: usize = 20_000 * PRIMARY_LEN;
/// The pages are made anew when there are so many more than needed.
const SPARE_PAGES: usize = 100;

/// What is known of the pages.
#[derive(Debug, Default)]
pub(crate) enum State {
    /// Nothing: they do not tell of the next write, and are removed by it.
    #[default]
    Unknown,
    /// There are none.
    None,
    /// They tell of everything up to now.
    Kept(Tail),
}

/// Where pages go on.
#[derive(Debug)]
pub(crate) struct Tail {
    /// All of them are to be replaced by what is known of the store.
    anew: bool,
    /// How many envelopes they come to, until that has been looked at.
    expected: Option<usize>,
    next: u32,
    /// Told apart from pages of the same number that another writer makes.
    tag: u32,
    /// The last page, still written to.
    open: Vec<u8>,
    written: usize,
}

/// The pages of one database.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    state: State,
    /// All primary keys in ascending order, until the first write.
    rows: Option<Vec<u8>>,
}

/// What a transaction has to do beside its batch.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// How many envelopes there must be before it, or else [`Pages::wrote`] is not to be called.
    pub(crate) expected: Option<usize>,
    /// Remove all pages first.
    pub(crate) remove: bool,
    /// Then write these, by name.
    pub(crate) put: Vec<(String, Vec<u8>)>,
}

impl Pages {
    /// From all pages, in the order of their names; of a new store if there are none. `alone`: nobody else writes.
    pub(crate) fn of_pages(pages: &[(String, Vec<u8>)], tag: u32, alone: bool) -> Self {
        let [(first, _), ..] = pages else { return Self::kept(Vec::new(), 0, tag, false) };
        let number = |name: &str| u32::from_str_radix(name.get(PAGES.len()..PAGES.len() + 8)?, 16).ok();
        // Without the first there are only those that somebody wrote on after another had removed them all.
        let next = pages.last().and_then(|(last, _)| number(last)).filter(|_| number(first) == Some(0));
        let Some(next) = next else { return Self::default() };
        let rows = live(pages);
        let written: usize = pages.iter().map(|(_, page)| page.len()).sum();
        let wasteful = pages.len() > rows.len() / PAGE + SPARE_PAGES || written > 2 * rows.len() + PAGE;
        Self::kept(rows, next.saturating_add(1), tag, alone && wasteful)
    }

    /// From all primary keys, where there are no pages.
    pub(crate) fn of_keys(rows: Vec<u8>, tag: u32) -> Self {
        Self::kept(rows, 0, tag, true)
    }

    fn kept(rows: Vec<u8>, next: u32, tag: u32, anew: bool) -> Self {
        let expected = Some(rows.len() / PRIMARY_LEN);
        let next = if anew { 0 } else { next };
        let tail = Tail { anew, expected, next, tag, open: Vec::new(), written: 0 };
        Self { state: State::Kept(tail), rows: Some(rows) }
    }

    /// All primary keys, one behind the other, if they are known.
    pub(crate) fn rows(&self) -> Option<&[u8]> {
        self.rows.as_deref()
    }

    /// What belongs to a batch, and what then is known of the pages. Nothing is until [`Self::wrote`].
    pub(crate) fn changes(&mut self, batch: &Batch) -> (Changes, State) {
        let rows = self.rows.take();
        match std::mem::take(&mut self.state) {
            State::Unknown => (Changes { remove: true, ..Changes::default() }, State::None),
            State::None => (Changes::default(), State::None),
            State::Kept(mut tail) => {
                if tail.anew {
                    tail.open = rows.unwrap_or_default();
                }
                tail.follow(batch)
            }
        }
    }

    /// The batch and what belongs to it are in the store.
    pub(crate) fn wrote(&mut self, state: State) {
        self.state = state;
    }
}

impl Tail {
    fn follow(mut self, batch: &Batch) -> (Changes, State) {
        let before = self.open.len();
        batch.ops.iter().for_each(|op| put_entries(&mut self.open, op));
        let expected = self.expected.take();
        if self.open.len() == before && !self.anew {
            return (Changes { expected, ..Changes::default() }, State::Kept(self));
        }
        self.written += self.open.len() - before;
        let names = self.next..;
        let tag = self.tag;
        let put = names.zip(self.open.chunks(PAGE)).map(|(n, page)| (name(n, tag), page.to_vec()));
        let changes = Changes { expected, remove: self.anew, put: put.collect() };
        self.anew = false;
        if self.open.len() >= FULL {
            self.next = self.next.saturating_add(u32::try_from(changes.put.len()).unwrap_or(u32::MAX));
            self.open = Vec::new();
        }
        let after = if self.written > SESSION { State::Unknown } else { State::Kept(self) };
        (changes, after)
    }
}

fn name(number: u32, tag: u32) -> String {
    let hex = |n: u32| (0..8).rev().map(move |at| char::from_digit((n >> (4 * at)) & 15, 16).unwrap_or('0'));
    PAGES.chars().chain(hex(number)).chain(hex(tag)).collect()
}

fn put_entries(page: &mut Vec<u8>, op: &Op) {
    match op {
        Op::PutRecord(..) | Op::DeleteRecord(_) => {}
        Op::PutEnvelope(row) => page.extend(primary(row)),
        Op::DeleteEnvelopes(circle, keys) => {
            keys.iter().for_each(|key| put_end(page, &order(*circle, *key), REMOVED));
        }
        Op::DeleteCircle(circle) => put_end(page, circle.as_bytes(), LEFT),
    }
}

fn put_end(page: &mut Vec<u8>, of: &[u8], end: u8) {
    let start = page.len();
    page.extend(of);
    page.resize(start + PRIMARY_LEN - 1, 0);
    page.push(end);
}

/// The primary keys of what was added and not removed, in ascending order.
#[inline(never)]
fn live(pages: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut rows: SortedMap<&[u8], &[u8]> = SortedMap::new();
    for entry in pages.iter().flat_map(|(_, page)| page.chunks_exact(PRIMARY_LEN)) {
        let order = &entry[..ORDER_LEN];
        match entry[PRIMARY_LEN - 1] {
            REMOVED => drop(rows.remove(order)),
            LEFT => rows.retain(|order, _| order[..CircleId::LEN] != entry[..CircleId::LEN]),
            // One that was there already stayed as it was.
            _ => drop(rows.entry(order).or_insert(entry)),
        }
    }
    rows.into_values().collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use felund_core::{
        ids::{ChannelId, MsgId, NodeId},
        store::Row,
        view::Key,
    };
    use wasm_bindgen_test::{wasm_bindgen_test as test, wasm_bindgen_test_configure};

    use super::*;

    wasm_bindgen_test_configure!(run_in_browser);

    /// What a database would hold: pages by name, and primary keys.
    #[derive(Debug, Default)]
    struct Disk {
        pages: BTreeMap<String, Vec<u8>>,
        keys: BTreeMap<Vec<u8>, Vec<u8>>,
    }

    impl Disk {
        fn open(&self, tag: u32) -> Pages {
            let pages: Vec<_> = self.pages.clone().into_iter().collect();
            if pages.is_empty() && !self.keys.is_empty() {
                return Pages::default();
            }
            Pages::of_pages(&pages, tag, true)
        }

        fn write(&mut self, index: &mut Pages, ops: Vec<Op>) {
            let batch = Batch { ops, strict: false };
            let (changes, state) = index.changes(&batch);
            let right = changes.expected.is_none_or(|expected| expected == self.keys.len());
            if changes.remove {
                self.pages.clear();
            }
            self.pages.extend(changes.put);
            for op in &batch.ops {
                match op {
                    Op::PutEnvelope(row) => {
                        self.keys.entry(order(row.circle, row.key)).or_insert_with(|| primary(row));
                    }
                    Op::DeleteEnvelopes(circle, keys) => {
                        keys.iter().for_each(|key| drop(self.keys.remove(&order(*circle, *key))));
                    }
                    Op::DeleteCircle(circle) => {
                        self.keys.retain(|order, _| !order.starts_with(circle.as_bytes()));
                    }
                    Op::PutRecord(..) | Op::DeleteRecord(_) => {}
                }
            }
            if right {
                index.wrote(state);
            }
        }

        fn keys(&self) -> Vec<u8> {
            self.keys.values().flatten().copied().collect()
        }
    }

    fn row(circle: u8, ts: u64) -> Row {
        let author = NodeId([ts as u8; 32]);
        let key = Key { ts, id: MsgId([ts as u8; 16]) };
        Row {
            circle: CircleId([circle; 16]),
            key,
            channel: ChannelId([ts as u8 % 3; 16]),
            author,
            chat: ts.is_multiple_of(2),
            sealed: vec![],
        }
    }

    fn put(circle: u8, stamps: impl IntoIterator<Item = u64>) -> Vec<Op> {
        stamps.into_iter().map(|ts| Op::PutEnvelope(row(circle, ts))).collect()
    }

    fn remove(circle: u8, stamps: impl IntoIterator<Item = u64>) -> Op {
        let keys = stamps.into_iter().map(|ts| row(circle, ts).key).collect();
        Op::DeleteEnvelopes(CircleId([circle; 16]), keys)
    }

    #[test]
    fn pages_tell_a_start_what_was_written_before_it() {
        let mut disk = Disk::default();
        for session in 0..6 {
            let mut index = disk.open(session);
            assert_eq!(index.rows(), Some(&*disk.keys()), "at the start of session {session}");
            let at = u64::from(session) * 1_000;
            disk.write(&mut index, put(1, (at..at + 900).rev()));
            assert_eq!(index.rows(), None, "what a write has made old is not told");
            disk.write(&mut index, put(2, [at, at + 1, at + 1]));
            disk.write(&mut index, vec![remove(1, at..at + 10), Op::PutRecord("draft".into(), vec![1])]);
            disk.write(&mut index, put(1, [at + 5]));
            if session == 3 {
                disk.write(&mut index, vec![Op::DeleteCircle(CircleId([1; 16]))]);
                disk.write(&mut index, put(1, [7]));
            }
        }
        let other = Row { channel: ChannelId([9; 16]), ..row(2, 1) };
        let mut index = disk.open(9);
        disk.write(&mut index, vec![Op::PutEnvelope(other)]);
        assert_eq!(disk.open(10).rows(), Some(&*disk.keys()), "the first of two stays");
    }

    #[test]
    fn a_write_that_says_nothing_of_envelopes_writes_no_page() {
        let mut disk = Disk::default();
        let mut index = disk.open(0);
        disk.write(&mut index, vec![Op::PutRecord("name".into(), vec![1])]);
        assert!(disk.pages.is_empty());
        for ts in 0..100 {
            disk.write(&mut index, put(1, [ts]));
        }
        assert_eq!(disk.pages.len(), 3, "single messages share pages");
        disk.write(&mut index, put(1, 200..2_000));
        assert!(disk.pages.values().all(|page| page.len() <= PAGE), "and no page is large");
        assert_eq!(disk.open(1).rows(), Some(&*disk.keys()));
    }

    #[test]
    fn pages_that_miss_an_envelope_are_made_anew() {
        let mut disk = Disk::default();
        let mut index = disk.open(0);
        disk.write(&mut index, put(1, 0..100));
        disk.keys.insert(order(CircleId([1; 16]), row(1, 500).key), primary(&row(1, 500)));
        let mut index = disk.open(1);
        disk.write(&mut index, put(1, 600..610));
        disk.write(&mut index, put(1, 610..620));
        assert!(disk.pages.is_empty(), "they would never be right again");
        assert_eq!(disk.open(2).rows(), None);
        let mut index = Pages::of_keys(disk.keys(), 2);
        assert_eq!(index.rows(), Some(&*disk.keys()));
        disk.write(&mut index, put(1, 700..710));
        assert_eq!(disk.open(3).rows(), Some(&*disk.keys()));
    }

    #[test]
    fn a_write_that_failed_is_not_told_of() {
        let mut disk = Disk::default();
        let mut index = disk.open(0);
        disk.write(&mut index, put(1, 0..10));
        drop(index.changes(&Batch { ops: put(1, 10..20), strict: false }));
        disk.write(&mut index, put(1, 20..30));
        assert!(disk.pages.is_empty());
    }

    #[test]
    fn pages_of_two_writers_are_all_there_or_not_believed() {
        let mut disk = Disk::default();
        let mut one = disk.open(1);
        disk.write(&mut one, put(1, 0..100));
        let mut two = disk.open(2);
        disk.write(&mut two, put(1, [100]));
        for ts in 101..200 {
            disk.write(if ts % 2 == 0 { &mut two } else { &mut one }, put(1, [ts]));
        }
        assert_eq!(disk.open(3).rows(), Some(&*disk.keys()), "neither writes over the other's");
        let mut three = disk.open(3);
        disk.write(&mut one, put(1, [200]));
        disk.write(&mut three, put(1, [201]));
        assert_eq!(disk.open(4).rows(), Some(&*disk.keys()));
        disk.write(&mut three, put(1, [202]));
        disk.write(&mut one, put(1, [203]));
        assert_eq!(disk.open(5).rows(), None, "what is left of them is no beginning");
    }

    #[test]
    fn pages_grow_neither_with_starts_nor_with_what_has_gone() {
        let mut disk = Disk::default();
        for session in 0..400 {
            let mut index = disk.open(session);
            assert_eq!(index.rows(), Some(&*disk.keys()));
            let at = u64::from(session) * 10;
            disk.write(&mut index, put(1, at..at + 10));
            if at >= 500 {
                disk.write(&mut index, vec![remove(1, at - 500..at - 490)]);
            }
        }
        assert!(disk.pages.len() <= SPARE_PAGES + 2, "{} pages", disk.pages.len());
        let bytes: usize = disk.pages.values().map(Vec::len).sum();
        assert!(bytes <= 2 * disk.keys().len() + PAGE + 20 * PRIMARY_LEN, "{bytes} bytes");
        let mut index = disk.open(400);
        for at in 0..=(SESSION / PRIMARY_LEN / 500) as u64 {
            disk.write(&mut index, put(2, at * 500..at * 500 + 500));
        }
        disk.write(&mut index, put(2, [1 << 40]));
        assert!(disk.pages.is_empty(), "one long session does not fill the store either");
    }
}
