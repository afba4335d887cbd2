//! The journal: what has been accepted and is not in the database yet, in one small file of fixed size.
//!
//! SQLite writes whole pages, two and more for each circle that a group of posts touches; the journal writes the
//! envelopes and nothing else, over blocks that the file has already, so that a poster waits for one short write. Once
//! the database holds what lies here the journal is written from its beginning again. What an earlier turn left behind
//! the newest record has lower numbers, which is how reading finds the end.
//!
//! A record is `SHA-256(rest)[..16] ‖ length (u32, of what follows) ‖ hint (32) ‖ seq (u64) ‖ name (16) ‖
//! stored_at (u64) ‖ envelope`, numbers big-endian.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use bytes::Bytes;
use felund_core::ids::{CircleHint, Cursor, MsgId};
use sha2::{Digest as _, Sha256};

/// Size of the file, in bytes: how much may be accepted before the database has to follow.
const CAPACITY: usize = 1024 * 1024;
const SEAL: usize = 16;
/// Seal and length.
const FRAME: usize = SEAL + 4;
/// Hint, number, id and time.
const HEAD: usize = 32 + 8 + 16 + 8;

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

/// Bytes a message takes here.
pub(super) fn size(envelope: &[u8]) -> usize {
    FRAME + HEAD + envelope.len()
}

pub(super) struct Journal {
    file: File,
    at: usize,
}

impl Journal {
    /// Opens the file, or makes it with all its blocks; answers the records of its last turn, in their order.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Record>)> {
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
        let (records, at) = read(&content);
        Ok((Self { file, at }, records))
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.at + bytes <= CAPACITY
    }

    /// Writes records behind the others and waits for the disk.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut out = Vec::with_capacity(records.iter().map(|record| size(&record.envelope)).sum());
        for record in records {
            put(&mut out, record);
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

fn put(out: &mut Vec<u8>, record: &Record) {
    let start = out.len();
    out.extend_from_slice(&[0; SEAL]);
    // An envelope has at most some hundred kilobytes.
    out.extend_from_slice(&((HEAD + record.envelope.len()) as u32).to_be_bytes());
    out.extend_from_slice(&record.hint.0);
    out.extend_from_slice(&record.seq.0.to_be_bytes());
    out.extend_from_slice(&record.name.0);
    out.extend_from_slice(&record.stored_at.to_be_bytes());
    out.extend_from_slice(&record.envelope);
    let seal = seal(&out[start + SEAL..]);
    out[start..start + SEAL].copy_from_slice(&seal);
}

fn seal(bytes: &[u8]) -> [u8; SEAL] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut seal = [0; SEAL];
    seal.copy_from_slice(&digest[..SEAL]);
    seal
}

/// The records at the beginning whose numbers only grow, and where they end. One that was torn when the power went is
/// the end, too: nobody was told that it is stored.
fn read(content: &[u8]) -> (Vec<Record>, usize) {
    let mut records: Vec<Record> = Vec::new();
    let mut at = 0;
    while let Some((record, len)) = read_one(&content[at..])
        && records.last().is_none_or(|last| last.seq < record.seq)
    {
        records.push(record);
        at += len;
    }
    (records, at)
}

fn read_one(bytes: &[u8]) -> Option<(Record, usize)> {
    let (expected, rest) = bytes.split_first_chunk::<SEAL>()?;
    let (len, body) = rest.split_first_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize;
    let body = body.get(..len)?;
    if seal(&rest[..4 + len]) != *expected {
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
        let (mut journal, none) = Journal::open(&path).unwrap();
        assert_eq!(none, []);
        journal.append(&records(1..4)).unwrap();
        journal.append(&records(4..6)).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len(), CAPACITY, "its blocks are there from the beginning");
        let (mut journal, again) = Journal::open(&path).unwrap();
        assert_eq!(again, records(1..6));
        journal.append(&records(6..7)).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1, records(1..7), "written behind the others");
        let end: usize = records(1..6).iter().map(|record| size(&record.envelope)).sum();
        for cut in [end - 1, end - 50, end - 120, end - size(&records(5..6)[0].envelope)] {
            let mut torn = whole.clone();
            torn[cut] ^= 1;
            fs::write(&path, torn).unwrap();
            assert_eq!(Journal::open(&path).unwrap().1, records(1..5), "torn at {cut}");
        }
    }

    #[test]
    fn what_an_earlier_turn_left_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
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
        assert_eq!(Journal::open(&path).unwrap().1, sized(6..8));
    }

    #[test]
    fn it_never_grows() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(&dir.path().join("journal")).unwrap();
        let big = Record { envelope: vec![1; 300_000].into(), ..records(1..2).remove(0) };
        for _ in 0..3 {
            assert!(journal.has_room(size(&big.envelope)));
            journal.append(std::slice::from_ref(&big)).unwrap();
        }
        assert!(!journal.has_room(size(&big.envelope)));
        assert_eq!(journal.append(&[big]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
