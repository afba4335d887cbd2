//! Nonces that have been used, so that no signed request is carried out twice: not now, not after a restart.
//!
//! A request is acceptable while its timestamp lies within the skew of the clock, so a nonce is remembered until its
//! timestamp has left that window. Each is appended to a small journal with a plain write before the request is
//! carried out. The page cache keeps such a write when the process dies, even by SIGKILL, so no request waits for
//! the disk. Only a machine that loses power can lose journal entries; a start that finds another boot in the
//! journal's marker, or no journal beside a database, therefore refuses timestamps up to a few seconds after itself
//! (retryably, with the relay's time). Timestamps further ahead of the clock than those seconds are the one case that is
//! synced at once. Where the journal itself is gone nothing is known of these either, and they are let in: clients go by
//! the relay's clock, and keeping everybody out for as long as theirs may be ahead would cost more than it saves.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use felund_core::{config::MAX_REQUEST_SKEW_S, ids::NodeId};
use sha2::{Digest, Sha256};

/// Seconds of timestamps in one journal file.
const BUCKET_S: u64 = 64;
/// How far ahead of the clock a timestamp may be without its nonce being synced at once, in seconds.
const ALLOWANCE_S: u64 = 5;
/// Most nonces held; 16 bytes each, in memory and in the journal. Rate limits keep far below it.
const MAX_NONCES: usize = 4_000_000;

/// In the marker after an orderly end, before its time: what an old copy of the folder holds says nothing of later.
const CLEAN: &str = "clean:";

type Key = [u8; 16];

/// Why a nonce was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has been used.
    Replay,
    /// Its timestamp lies before what this process can vouch for.
    BeforeStart,
    /// More requests are within the window than are remembered.
    TooMany,
}

pub(crate) struct Nonces {
    dir: PathBuf,
    /// What the marker says while this process runs.
    boot: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Timestamps up to this one may have been used in a time whose journal is lost.
    floor: u64,
    buckets: BTreeMap<u64, Bucket>,
    len: usize,
    broken: bool,
}

#[derive(Default)]
struct Bucket {
    seen: HashSet<Key>,
    journal: Option<File>,
}

impl Nonces {
    /// Reads the journal in `dir`, which is made when missing; that is no loss for a relay that is `new`. `now` is the
    /// clock, unix seconds.
    pub(crate) fn open(dir: &Path, new: bool, now: u64) -> io::Result<Self> {
        let marker = dir.join("state");
        let boot = boot_id();
        let new = new && !dir.exists();
        fs::create_dir_all(dir)?;
        let state = fs::read_to_string(&marker).unwrap_or_default();
        let (state, floor) = state.split_once(' ').unwrap_or((&state, ""));
        let ended = state.strip_prefix(CLEAN).and_then(|end| end.parse::<u64>().ok());
        let complete = new
            || ended.is_some_and(|end| now <= end.saturating_add(MAX_REQUEST_SKEW_S))
            || boot.as_ref().is_some_and(|boot| state == *boot);
        let unknown = if complete { 0 } else { now + ALLOWANCE_S };
        // What an earlier start could not vouch for, this one cannot either.
        let floor = floor.parse().unwrap_or(0).max(unknown);
        let mut inner = Inner::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Some(bucket) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            if expired(bucket, now) {
                fs::remove_file(entry.path())?;
                continue;
            }
            let seen = read_bucket(&entry.path())?;
            inner.len += seen.len();
            inner.buckets.insert(bucket, Bucket { seen, journal: None });
        }
        inner.floor = floor;
        let boot = boot.unwrap_or_else(|| "unknown".into());
        let nonces = Self { dir: dir.into(), boot, inner: Mutex::default() };
        nonces.lower_floor(&mut inner, now);
        write_marker(&marker, &nonces.boot, inner.floor)?;
        Ok(Self { inner: Mutex::new(inner), ..nonces })
    }

    /// Takes a nonce whose request's signatures have been checked and whose timestamp is within the window.
    pub(crate) fn accept(&self, node: &NodeId, nonce: &str, ts: u64, now: u64) -> Result<(), Refusal> {
        let key = key(node, nonce);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lower_floor(&mut inner, now) && !inner.broken {
            // Unwritten, the next start refuses for some minutes more; nothing else depends on it.
            let _ = write_marker(&self.dir.join("state"), &self.boot, inner.floor);
        }
        if ts <= inner.floor {
            return Err(Refusal::BeforeStart);
        }
        self.expire(&mut inner, now);
        if inner.len >= MAX_NONCES {
            return Err(Refusal::TooMany);
        }
        let bucket = inner.buckets.entry(ts / BUCKET_S).or_default();
        if !bucket.seen.insert(key) {
            return Err(Refusal::Replay);
        }
        let written = self.append(bucket, ts, &key, ts > now + ALLOWANCE_S);
        inner.len += 1;
        if let Err(e) = written
            && !inner.broken
        {
            // Without its marker the journal counts as lost at the next start, which is then cautious by itself.
            inner.broken = true;
            let unmarked = fs::remove_file(self.dir.join("state"));
            tracing::error!(unmarked = unmarked.is_ok(), "the nonce journal cannot be written: {e}");
        }
        Ok(())
    }

    /// A floor that the clock is far from was set by a start with a clock that was ahead, and would keep everybody out until
    /// then. What was signed by right clocks in that time is no later than what the clock lets in now.
    fn lower_floor(&self, inner: &mut Inner, now: u64) -> bool {
        let latest = now + MAX_REQUEST_SKEW_S;
        if inner.floor <= latest {
            return false;
        }
        tracing::warn!(
            "this machine's clock was {} seconds ahead at an earlier start; requests are refused for the next {MAX_REQUEST_SKEW_S}",
            inner.floor - now
        );
        inner.floor = latest;
        true
    }

    fn append(&self, bucket: &mut Bucket, ts: u64, key: &Key, sync: bool) -> io::Result<()> {
        let journal = match &mut bucket.journal {
            Some(journal) => journal,
            none => none.insert(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(self.dir.join((ts / BUCKET_S).to_string()))?,
            ),
        };
        journal.write_all(key)?;
        if sync { journal.sync_data() } else { Ok(()) }
    }

    fn expire(&self, inner: &mut Inner, now: u64) {
        while let Some(oldest) = inner.buckets.first_entry()
            && expired(*oldest.key(), now)
        {
            let (number, bucket) = oldest.remove_entry();
            inner.len -= bucket.seen.len();
            if let Err(e) = fs::remove_file(self.dir.join(number.to_string())) {
                tracing::debug!("an expired nonce journal stays behind: {e}");
            }
        }
    }

    /// Makes the journal durable and says so, for an orderly end at `now`.
    pub(crate) fn close(&self, now: u64) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = inner.buckets.values().filter_map(|b| b.journal.as_ref()).try_for_each(File::sync_data);
        if !inner.broken && synced.is_ok() {
            // Unmarked, the next start is cautious for a few seconds; nothing else depends on it.
            let _ = write_marker(&self.dir.join("state"), &format!("{CLEAN}{now}"), inner.floor);
        }
    }
}

/// What is in a bucket's journal. Half a key, torn by a power cut, is cut off: what follows would be read from its middle on.
fn read_bucket(path: &Path) -> io::Result<HashSet<Key>> {
    let content = fs::read(path)?;
    let torn = content.len() % size_of::<Key>();
    if torn > 0 {
        OpenOptions::new().write(true).open(path)?.set_len((content.len() - torn) as u64)?;
    }
    Ok(content.chunks_exact(size_of::<Key>()).filter_map(|key| key.try_into().ok()).collect())
}

fn write_marker(path: &Path, state: &str, floor: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(format!("{state} {floor}").as_bytes())?;
    file.sync_all()
}

fn expired(bucket: u64, now: u64) -> bool {
    (bucket + 1) * BUCKET_S + MAX_REQUEST_SKEW_S < now
}

fn key(node: &NodeId, nonce: &str) -> Key {
    let digest: [u8; 32] = Sha256::new().chain_update(node.0).chain_update(nonce).finalize().into();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

/// Changes with every boot of the machine; `None` where the system does not say, which counts as a new boot.
fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([7; 32]);

    #[test]
    fn a_nonce_is_refused_again_after_a_crash_and_after_an_orderly_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        let nonces = Nonces::open(&path, true, 1_000).unwrap();
        assert_eq!(nonces.accept(&NODE, "a", 1_000, 1_000), Ok(()));
        assert_eq!(nonces.accept(&NODE, "a", 1_000, 1_000), Err(Refusal::Replay));
        assert_eq!(nonces.accept(&NODE, "b", 1_299, 1_000), Ok(()), "a clock ahead is accepted");
        drop(nonces);
        let nonces = Nonces::open(&path, true, 1_001).unwrap();
        assert_eq!(nonces.accept(&NODE, "a", 1_000, 1_001), Err(Refusal::Replay));
        assert_eq!(nonces.accept(&NODE, "b", 1_299, 1_001), Err(Refusal::Replay));
        assert_eq!(nonces.accept(&NODE, "c", 999, 1_001), Ok(()), "a clock behind is accepted at once");
        nonces.close(1_001);
        let nonces = Nonces::open(&path, true, 1_002).unwrap();
        assert_eq!(nonces.accept(&NODE, "c", 999, 1_002), Err(Refusal::Replay));
    }

    #[test]
    fn after_a_power_loss_nothing_older_than_the_start_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        drop(Nonces::open(&path, true, 1_000).unwrap());
        fs::write(path.join("state"), "another boot").unwrap();
        let nonces = Nonces::open(&path, true, 1_010).unwrap();
        assert_eq!(nonces.accept(&NODE, "a", 1_010, 1_010), Err(Refusal::BeforeStart));
        assert_eq!(nonces.accept(&NODE, "a", 1_010 + ALLOWANCE_S, 1_010), Err(Refusal::BeforeStart));
        assert_eq!(nonces.accept(&NODE, "a", 1_011 + ALLOWANCE_S, 1_011 + ALLOWANCE_S), Ok(()));
        // Nor is it by the starts that follow, whatever the end of this one.
        for orderly in [false, true] {
            let nonces = Nonces::open(&path, true, 1_020).unwrap();
            assert_eq!(nonces.accept(&NODE, "b", 1_010, 1_020), Err(Refusal::BeforeStart));
            if orderly {
                nonces.close(1_020);
            }
        }
        let nonces = Nonces::open(&path, true, 1_021).unwrap();
        assert_eq!(nonces.accept(&NODE, "b", 1_010, 1_021), Err(Refusal::BeforeStart));
    }

    #[test]
    fn a_relay_that_is_not_new_takes_nothing_that_may_have_been_used_when_its_journal_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        // The first of these starts finds no folder, the second no marker in it.
        for _ in 0..2 {
            let nonces = Nonces::open(&path, false, 1_000).unwrap();
            let latest = 1_000 + ALLOWANCE_S;
            assert_eq!(nonces.accept(&NODE, "a", latest, 1_000), Err(Refusal::BeforeStart));
            assert_eq!(nonces.accept(&NODE, "a", latest + 1, 1_001), Ok(()));
            nonces.close(1_001);
            let nonces = Nonces::open(&path, false, 1_002).unwrap();
            assert_eq!(
                nonces.accept(&NODE, "b", latest, 1_002),
                Err(Refusal::BeforeStart),
                "nor does the next"
            );
            fs::remove_file(path.join("state")).unwrap();
            fs::remove_file(path.join(((latest + 1) / BUCKET_S).to_string())).unwrap();
        }
    }

    #[test]
    fn an_orderly_end_says_nothing_of_what_came_minutes_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        Nonces::open(&path, true, 1_000).unwrap().close(1_010);
        let nonces = Nonces::open(&path, false, 1_010 + MAX_REQUEST_SKEW_S).unwrap();
        assert_eq!(nonces.accept(&NODE, "a", 1_011, 1_310), Ok(()), "the relay was off");
        nonces.close(1_310);
        let nonces = Nonces::open(&path, false, 2_000).unwrap();
        assert_eq!(
            nonces.accept(&NODE, "a", 2_000, 2_000),
            Err(Refusal::BeforeStart),
            "the folder is a copy"
        );
        assert_eq!(nonces.accept(&NODE, "a", 2_001 + ALLOWANCE_S, 2_001 + ALLOWANCE_S), Ok(()));
    }

    #[test]
    fn what_follows_half_a_nonce_torn_by_a_power_cut_is_refused_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        let nonces = Nonces::open(&path, true, 1_000).unwrap();
        for nonce in ["a", "b"] {
            assert_eq!(nonces.accept(&NODE, nonce, 1_010, 1_010), Ok(()));
        }
        let bucket = path.join((1_010 / BUCKET_S).to_string());
        OpenOptions::new().write(true).open(bucket).unwrap().set_len(16 + 5).unwrap();
        assert_eq!(Nonces::open(&path, true, 1_011).unwrap().accept(&NODE, "c", 1_011, 1_011), Ok(()));
        let nonces = Nonces::open(&path, true, 1_012).unwrap();
        for (nonce, ts) in [("a", 1_010), ("c", 1_011)] {
            assert_eq!(nonces.accept(&NODE, nonce, ts, 1_012), Err(Refusal::Replay));
        }
    }

    #[test]
    fn a_start_with_the_clock_ahead_refuses_requests_for_minutes_only() {
        for restarted in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("nonces");
            drop(Nonces::open(&path, true, 10_000).unwrap());
            fs::write(path.join("state"), "another boot").unwrap();
            let mut nonces = Nonces::open(&path, true, 10_000).unwrap();
            if restarted {
                nonces = Nonces::open(&path, true, 1_000).unwrap();
            }
            assert_eq!(nonces.accept(&NODE, "a", 1_300, 1_000), Err(Refusal::BeforeStart));
            assert_eq!(nonces.accept(&NODE, "a", 1_301, 1_301), Ok(()));
            for orderly in [false, true] {
                let nonces = Nonces::open(&path, true, 1_302).unwrap();
                assert_eq!(nonces.accept(&NODE, "b", 1_300, 1_302), Err(Refusal::BeforeStart));
                assert_eq!(nonces.accept(&NODE, "a", 1_301, 1_302), Err(Refusal::Replay));
                if orderly {
                    nonces.close(1_302);
                }
            }
            let nonces = Nonces::open(&path, true, 1_302).unwrap();
            assert_eq!(nonces.accept(&NODE, "b", 1_302, 1_302), Ok(()));
        }
    }

    #[test]
    fn a_journal_that_could_not_be_written_stays_unmarked_whatever_the_clock_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        drop(Nonces::open(&path, true, 10_000).unwrap());
        fs::write(path.join("state"), "another boot").unwrap();
        let nonces = Nonces::open(&path, true, 10_000).unwrap();
        fs::create_dir(path.join((10_010 / BUCKET_S).to_string())).unwrap();
        assert_eq!(nonces.accept(&NODE, "a", 10_010, 10_010), Ok(()));
        assert!(!path.join("state").exists(), "the next start is to be cautious");
        assert_eq!(
            nonces.accept(&NODE, "b", 1_301, 1_001),
            Err(Refusal::BeforeStart),
            "the floor is lowered"
        );
        assert!(!path.join("state").exists());
    }

    #[test]
    fn what_can_no_longer_be_replayed_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(&dir.path().join("n"), true, 1_000).unwrap();
        for i in 0..100u64 {
            let now = 1_000 + i * 100;
            assert_eq!(nonces.accept(&NODE, "x", now, now), Ok(()));
        }
        assert!(nonces.inner.lock().unwrap().len < 10);
    }
}
