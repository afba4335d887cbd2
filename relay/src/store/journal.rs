//! The journal: what has been accepted and is not in the database yet, in one small file of fixed size.
//!
//! SQLite writes whole pages, two and more for each circle that a group of posts touches; the journal writes the
//! envelopes and nothing else, over blocks that the file has already, so that a poster waits for one short write. Once
//! the database holds what lies here the journal is written from its beginning again. What an earlier turn left behind
//! the newest record has lower numbers, which is how reading finds the end. Where a record cannot be read the next one is
//! looked for, byte by byte: a disk that damages one of them must not take those behind it along. Envelopes are of their
//! authors' making, so each record is sealed under a key of the relay's own: none can be found inside another.
//!
//! A record is `HMAC-SHA-256(key, rest)[..16] ‖ length (u32, of what follows) ‖ hint (32) ‖ seq (u64) ‖ name (16) ‖
//! stored_at (u64) ‖ envelope`, numbers big-endian.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use bytes::Bytes;
use felund_core::ids::{CircleHint, Cursor, MsgId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::block::Message;

/// Size of the file, in bytes: how much may be accepted before the database has to follow.
const CAPACITY: usize = 1024 * 1024;
const SEAL: usize = 16;
/// Seal and length.
const FRAME: usize = SEAL + 4;
/// Hint, number, id and time.
const HEAD: usize = 32 + 8 + 16 + 8;
/// Most bytes that are hashed in search of records, so that nothing made to look like their beginnings holds up the start.
const MAX_HASHED: usize = 64 * CAPACITY;

/// An accepted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) hint: CircleHint,
    pub(super) seq: Cursor,
    pub(super) name: MsgId,
    /// Unix seconds.
    pub(super) stored_at: u64,
    pub(super) envelope: Bytes,
}

impl Record {
    /// What the database keeps of it.
    pub(super) fn message(&self) -> Message<'_> {
        Message { seq: self.seq, name: self.name, stored_at: self.stored_at, envelope: &self.envelope }
    }
}

/// Bytes a message takes here.
pub(super) fn size(envelope: &[u8]) -> usize {
    FRAME + HEAD + envelope.len()
}

/// What the file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The last turn's, in their order.
    pub(super) records: Vec<Record>,
    /// Bytes before the last of them in which none could be read.
    pub(super) damaged: usize,
}

/// What records are sealed under.
pub(super) type Key = [u8; 32];

pub(super) struct Journal {
    file: File,
    key: Key,
    at: usize,
}

impl Journal {
    /// Opens the file, or makes it with all its blocks; answers what is in it of its last turn, which began with `from` or later.
    pub(super) fn open(path: &Path, key: Key, from: Cursor) -> io::Result<(Self, Found)> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut content = Vec::with_capacity(CAPACITY);
        (&mut file).take(CAPACITY as u64).read_to_end(&mut content)?;
        if content.len() < CAPACITY {
            file.write_all(&vec![0; CAPACITY - content.len()])?;
            file.sync_all()?;
            if let Some(dir) = path.parent() {
                sync_dir(dir)?;
            }
        }
        let (found, at) = read(&content, &key, from);
        Ok((Self { file, key, at }, found))
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.at + bytes <= CAPACITY
    }

    /// Writes records behind the others and waits for the disk.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut out = Vec::with_capacity(records.iter().map(|record| size(&record.envelope)).sum());
        for record in records {
            put(&mut out, &self.key, record);
        }
        if !self.has_room(out.len()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.seek(SeekFrom::Start(self.at as u64))?;
        self.file.write_all(&out)?;
        self.file.sync_data()?;
        self.at += out.len();
        Ok(())
    }

    /// The database holds everything in it: the next record is written over the first.
    pub(super) fn restart(&mut self) {
        self.at = 0;
    }
}

/// Makes a new file's name durable, where directories can be synced.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn put(out: &mut Vec<u8>, key: &Key, record: &Record) {
    let start = out.len();
    out.extend_from_slice(&[0; SEAL]);
    // An envelope has at most some hundred kilobytes.
    out.extend_from_slice(&((HEAD + record.envelope.len()) as u32).to_be_bytes());
    out.extend_from_slice(&record.hint.0);
    out.extend_from_slice(&record.seq.0.to_be_bytes());
    out.extend_from_slice(&record.name.0);
    out.extend_from_slice(&record.stored_at.to_be_bytes());
    out.extend_from_slice(&record.envelope);
    let seal = seal(key, &out[start + SEAL..]);
    out[start..start + SEAL].copy_from_slice(&seal);
}

fn seal(key: &Key, bytes: &[u8]) -> [u8; SEAL] {
    // HMAC takes keys of any length (RFC 2104), so this cannot fail.
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    hmac.update(bytes);
    let digest: [u8; 32] = hmac.finalize().into_bytes().into();
    let mut seal = [0; SEAL];
    seal.copy_from_slice(&digest[..SEAL]);
    seal
}

/// The records whose numbers only grow, and where the last of them ends. One that was torn when the power went is followed by
/// none of the same turn, and nobody was told that it is stored. Others follow one that the disk has damaged.
fn read(content: &[u8], key: &Key, from: Cursor) -> (Found, usize) {
    let mut found = Found::default();
    let (mut at, mut end) = (0, 0);
    let mut from = from;
    let mut hashing = MAX_HASHED;
    while at < content.len() {
        let Some((record, len)) = read_one(&content[at..], key, from, &mut hashing) else {
            at += 1;
            continue;
        };
        found.damaged += at - end;
        from = Cursor(record.seq.0.saturating_add(1));
        found.records.push(record);
        at += len;
        end = at;
    }
    (found, end)
}

/// The record that begins here, if its number is not below `from`.
fn read_one(bytes: &[u8], key: &Key, from: Cursor, hashing: &mut usize) -> Option<(Record, usize)> {
    let (expected, rest) = bytes.split_first_chunk::<SEAL>()?;
    let (len, body) = rest.split_first_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize;
    let body = body.get(..len)?;
    let seq = u64::from_be_bytes(*body.get(32..)?.first_chunk()?);
    if seq < from.0 {
        return None;
    }
    *hashing = hashing.checked_sub(len)?;
    if seal(key, &rest[..4 + len]) != *expected {
        return None;
    }
    let (hint, body) = body.split_first_chunk()?;
    let (seq, body) = body.split_first_chunk()?;
    let (name, body) = body.split_first_chunk()?;
    let (stored_at, envelope) = body.split_first_chunk()?;
    let record = Record {
        hint: CircleHint(*hint),
        seq: Cursor(u64::from_be_bytes(*seq)),
        name: MsgId(*name),
        stored_at: u64::from_be_bytes(*stored_at),
        envelope: Bytes::copy_from_slice(envelope),
    };
    Some((record, FRAME + len))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KEY: Key = [9; 32];

    fn open(path: &Path) -> (Journal, Found) {
        Journal::open(path, KEY, Cursor(0)).unwrap()
    }

    fn undamaged(records: Vec<Record>) -> Found {
        Found { records, damaged: 0 }
    }

    fn records(seqs: std::ops::Range<u64>) -> Vec<Record> {
        seqs.map(|seq| Record {
            hint: CircleHint([7; 32]),
            seq: Cursor(seq),
            name: MsgId([seq as u8; 16]),
            stored_at: 1_000 + seq,
            envelope: vec![seq as u8; 100 + seq as usize].into(),
        })
        .collect()
    }

    #[test]
    fn what_was_written_is_read_again_up_to_where_the_power_went() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, none) = open(&path);
        assert_eq!(none, Found::default());
        journal.append(&records(1..4)).unwrap();
        journal.append(&records(4..6)).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len(), CAPACITY, "its blocks are there from the beginning");
        let (mut journal, again) = open(&path);
        assert_eq!(again, undamaged(records(1..6)));
        journal.append(&records(6..7)).unwrap();
        assert_eq!(open(&path).1, undamaged(records(1..7)), "written behind the others");
        let end: usize = records(1..6).iter().map(|record| size(&record.envelope)).sum();
        for cut in [end - 1, end - 50, end - 120, end - size(&records(5..6)[0].envelope)] {
            let mut torn = whole.clone();
            torn[cut] ^= 1;
            fs::write(&path, torn).unwrap();
            assert_eq!(open(&path).1, undamaged(records(1..5)), "torn at {cut}");
        }
    }

    #[test]
    fn what_an_earlier_turn_left_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = open(&path);
        // Of the same size, so that the old records begin where the new ones end.
        let sized = |seqs: std::ops::Range<u64>| -> Vec<Record> {
            records(seqs)
                .into_iter()
                .map(|record| Record { envelope: vec![1; 100].into(), ..record })
                .collect()
        };
        journal.append(&sized(1..6)).unwrap();
        journal.restart();
        journal.append(&sized(6..8)).unwrap();
        assert_eq!(open(&path).1, undamaged(sized(6..8)));
    }

    #[test]
    fn what_follows_a_damaged_record_is_read_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        open(&path).0.append(&records(3..8)).unwrap();
        let good = fs::read(&path).unwrap();
        let first = size(&records(3..4)[0].envelope);
        // In its seal, its length, its number and its envelope.
        for at in [0, SEAL, FRAME + 35, first - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let (mut journal, found) = open(&path);
            assert_eq!(found, Found { records: records(4..8), damaged: first }, "damaged at {at}");
            journal.append(&records(8..9)).unwrap();
            assert_eq!(open(&path).1.records, records(4..9), "and written behind them");
        }
        let mut bad = good;
        let block = size(&records(5..6)[0].envelope) + 10;
        bad[first + 30..first + 30 + block].fill(0);
        fs::write(&path, bad).unwrap();
        let found = open(&path).1;
        let seqs: Vec<u64> = found.records.iter().map(|record| record.seq.0).collect();
        assert_eq!((seqs, found.damaged > block), (vec![3, 6, 7], true));
    }

    #[test]
    fn no_record_is_found_inside_an_envelope() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut forged = Vec::new();
        put(&mut forged, &[0; 32], &Record { seq: Cursor(u64::MAX), ..records(1..2).remove(0) });
        // What a stranger's turn left behind, and the one after it was shorter.
        let carrier = Record { envelope: forged.repeat(100).into(), ..records(1..2).remove(0) };
        let mut journal = open(&path).0;
        journal.append(&[carrier]).unwrap();
        journal.restart();
        journal.append(&records(2..3)).unwrap();
        assert_eq!(open(&path).1, undamaged(records(2..3)));
    }

    #[test]
    fn it_never_grows() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(&dir.path().join("journal"));
        let big = Record { envelope: vec![1; 300_000].into(), ..records(1..2).remove(0) };
        for _ in 0..3 {
            assert!(journal.has_room(size(&big.envelope)));
            journal.append(std::slice::from_ref(&big)).unwrap();
        }
        assert!(!journal.has_room(size(&big.envelope)));
        assert_eq!(journal.append(&[big]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
