//! The storage contract in one SQLite file.
//!
//! The index that a circle opens with is covered by one B-tree, so that ten thousand rows are read without
//! touching the sealed bytes. A batch is one transaction. Nothing is ever deleted because it could not be read:
//! a damaged file is named and left as it is. What is deleted is overwritten, and a key that another form took the place of
//! is in none of the files any more.

use std::path::{Path, PathBuf};

use felund_core::{
    ids::{ChannelId, CircleId, MsgId, NodeId},
    store::{Batch, IDENTITY, IndexRow, Loaded, Op, Query, Row, Store, is_open},
    view::Key,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, ffi, params};

use crate::datadir;

const SCHEMA_VERSION: i64 = 1;
/// Stands in the file as its application's id while no earlier key may be left in it.
const WIPED: i64 = 1;
const SCHEMA: &str = "
CREATE TABLE records (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE envelopes (
    circle BLOB NOT NULL, ts INTEGER NOT NULL, id BLOB NOT NULL,
    channel BLOB NOT NULL, author BLOB NOT NULL, chat INTEGER NOT NULL, sealed BLOB NOT NULL
);
CREATE INDEX by_order ON envelopes (circle, ts, id, channel, author, chat);
CREATE INDEX by_channel ON envelopes (circle, channel, ts, id);
PRAGMA user_version = 1;
PRAGMA application_id = 1;
";
/// Bytes of SQLite's smallest page. No database is smaller but one that has just been made and is empty.
const SMALLEST: u64 = 512;
/// A file system with less room is full: a transaction takes some pages in the log, and more in the file.
const ROOM: u64 = 64 * 1024;

/// Flips the sign bit, so that SQLite's signed order is the order of the unsigned numbers.
const SIGN: u64 = 1 << 63;

fn to_sql(ts: u64) -> i64 {
    (ts ^ SIGN).cast_signed()
}

fn from_sql(ts: i64) -> u64 {
    ts.cast_unsigned() ^ SIGN
}

/// An open database.
#[derive(Debug)]
pub struct Sqlite {
    db: Connection,
    path: PathBuf,
    /// What `PRAGMA synchronous` says right now.
    strict: bool,
    /// Why an earlier key may still be in the file.
    unwiped: Option<String>,
}

impl Sqlite {
    /// Opens the file, making it when it is absent.
    ///
    /// # Errors
    /// A text for people that names the file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = datadir::private_file(path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
        // SQLite takes it for a new one.
        if file.metadata().is_ok_and(|file| (1..SMALLEST).contains(&file.len())) {
            return Err(damaged(path, "it is cut off"));
        }
        let db = Connection::open(path).map_err(|e| explain(path, &e))?;
        let mut store = Self { db, path: path.to_owned(), strict: true, unwiped: None };
        if !store.prepare().map_err(|e| explain(path, &e))? {
            return Err(format!(
                "{} is a database of another program; nothing was changed. Move it away, or choose another folder with \
                 --data-dir",
                path.display()
            ));
        }
        let version: i64 =
            store.db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|e| explain(path, &e))?;
        if version > SCHEMA_VERSION {
            return Err(format!(
                "{} was written by a newer Felund (format {version}); nothing was changed. Update Felund",
                path.display()
            ));
        }
        // One of before, or one that had no room for it. Without it everything else works, and there is a next start.
        if store.is_to_be_wiped().map_err(|e| explain(path, &e))? {
            store.wipe();
        }
        Ok(store)
    }

    /// Says whether it is a database of Felund's; any other is left as it is.
    fn prepare(&self) -> rusqlite::Result<bool> {
        // The folder is this process's own. Otherwise SQLite would share the log's index through a mapped file, and a full disk
        // that has no blocks for a mapped page kills whoever touches it.
        self.db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        let version: i64 = self.db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 0 && self.db.prepare("SELECT 1 FROM sqlite_master")?.exists([])? {
            return Ok(false);
        }
        self.db.pragma_update(None, "journal_mode", "WAL")?;
        self.db.pragma_update(None, "secure_delete", true)?;
        self.db.pragma_update(None, "synchronous", "FULL")?;
        // A copy of everything is made to get rid of an earlier key: not in a folder for temporary files, which may be another disk.
        self.db.pragma_update(None, "temp_store", "MEMORY")?;
        // Pages are small and the operating system caches them; what is kept here counts as resident memory.
        self.db.pragma_update(None, "cache_size", -512)?;
        self.db.set_prepared_statement_cache_capacity(16);
        if version == 0 {
            self.db.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
        }
        Ok(true)
    }

    /// Writes all of the batches or nothing of them, in order.
    ///
    /// # Errors
    /// A text for people.
    pub fn write(&mut self, batches: &[Batch]) -> Result<(), String> {
        let replaced = self.write_raw(batches).map_err(|e| explain(&self.path, &e))?;
        // What was to be written is. Where there is no room for this it is done at a later start.
        if replaced && self.is_to_be_wiped().unwrap_or_default() {
            self.wipe();
        }
        Ok(())
    }

    /// What people must know of a key that could not be wiped, once.
    pub fn unwiped(&mut self) -> Option<String> {
        let cause = self.unwiped.take()?;
        let file = self.path.display();
        Some(format!(
            "The key's earlier form could not be wiped from {file} ({cause}). Whoever gets that file may not need the \
             present passphrase. Make room for a copy of it and start Felund again: each start tries it anew. Nothing \
             was lost."
        ))
    }

    /// Answers whether an earlier key was replaced.
    fn write_raw(&mut self, batches: &[Batch]) -> rusqlite::Result<bool> {
        let strict = batches.iter().any(|batch| batch.strict);
        if strict != self.strict {
            self.db.pragma_update(None, "synchronous", if strict { "FULL" } else { "NORMAL" })?;
            self.strict = strict;
        }
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut replaced = false;
        for op in batches.iter().flat_map(|batch| &batch.ops) {
            replaced |= replaces_key(&transaction, op)?;
            apply(&transaction, op)?;
        }
        if replaced {
            transaction.pragma_update(None, "application_id", 0)?;
        }
        transaction.commit()?;
        Ok(replaced)
    }

    /// Whether an earlier key may be left. Beside one that is open none is worth it, and setting a passphrase replaces that.
    fn is_to_be_wiped(&self) -> rusqlite::Result<bool> {
        let mark: i64 = self.db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let identity: Option<Vec<u8>> = self
            .db
            .query_row("SELECT value FROM records WHERE key = ?1", [IDENTITY], |row| row.get(0))
            .optional()?;
        Ok(mark != WIPED && identity.is_some_and(|identity| !is_open(&identity)))
    }

    /// Leaves nothing in the files but what is kept: neither in the log nor in the pages, where even overwriting leaves what was
    /// once moved to another page.
    fn wipe(&mut self) {
        let empty_log = "PRAGMA wal_checkpoint(TRUNCATE)";
        let wiped = self.db.execute_batch(&format!("{empty_log}; VACUUM; PRAGMA application_id = {WIPED}"));
        // Also after a failure: what it wrote until then takes up the room that was lacking.
        let wiped = wiped.and(self.db.execute_batch(empty_log));
        self.unwiped = wiped.err().map(|error| error.to_string());
    }

    /// Answers a query.
    ///
    /// # Errors
    /// A text for people.
    pub fn read(&self, query: &Query) -> Result<Loaded, String> {
        self.read_raw(query).map_err(|e| explain(&self.path, &e))
    }

    fn read_raw(&self, query: &Query) -> rusqlite::Result<Loaded> {
        match query {
            Query::Records => {
                let mut statement = self.db.prepare_cached("SELECT key, value FROM records ORDER BY key")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect::<Result<_, _>>().map(Loaded::Records)
            }
            Query::Index(circle) => self.index(*circle).map(Loaded::Index),
            Query::Channel { circle, channel, from, before } => {
                self.page(*circle, *channel, *from, *before).map(Loaded::Envelopes)
            }
            Query::Envelopes(circle, keys) => {
                let mut statement = self.db.prepare_cached(
                    "SELECT sealed FROM envelopes WHERE circle = ?1 AND ts = ?2 AND id = ?3",
                )?;
                let mut found = Vec::with_capacity(keys.len());
                for key in keys {
                    let bound = params![circle.0, to_sql(key.ts), key.id.0];
                    if let Some(sealed) = statement.query_row(bound, |row| row.get(0)).optional()? {
                        found.push((*key, sealed));
                    }
                }
                Ok(Loaded::Envelopes(found))
            }
        }
    }

    fn index(&self, circle: CircleId) -> rusqlite::Result<Vec<IndexRow>> {
        let mut statement = self.db.prepare_cached(
            "SELECT ts, id, channel, author, chat, length(sealed) FROM envelopes WHERE circle = ?1 ORDER BY ts, id",
        )?;
        let rows = statement.query_map([circle.0], |row| {
            Ok(IndexRow {
                key: Key { ts: from_sql(row.get(0)?), id: MsgId(row.get(1)?) },
                channel: ChannelId(row.get(2)?),
                author: NodeId(row.get(3)?),
                chat: row.get(4)?,
                size: row.get(5)?,
            })
        })?;
        rows.collect()
    }

    fn page(
        &self,
        circle: CircleId,
        channel: ChannelId,
        from: Option<Key>,
        before: Option<Key>,
    ) -> rusqlite::Result<Vec<(Key, Vec<u8>)>> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok((Key { ts: from_sql(row.get(0)?), id: MsgId(row.get(1)?) }, row.get(2)?))
        };
        let from = from.unwrap_or(Key { ts: 0, id: MsgId([0; 16]) });
        let from = (to_sql(from.ts), from.id.0);
        match before {
            None => {
                let mut statement = self.db.prepare_cached(
                    "SELECT ts, id, sealed FROM envelopes
                     WHERE circle = ?1 AND channel = ?2 AND (ts, id) >= (?3, ?4)
                     ORDER BY ts DESC, id DESC",
                )?;
                statement.query_map(params![circle.0, channel.0, from.0, from.1], read)?.collect()
            }
            Some(Key { ts, id }) => {
                let mut statement = self.db.prepare_cached(
                    "SELECT ts, id, sealed FROM envelopes
                     WHERE circle = ?1 AND channel = ?2 AND (ts, id) >= (?3, ?4) AND (ts, id) < (?5, ?6)
                     ORDER BY ts DESC, id DESC",
                )?;
                let bounds = params![circle.0, channel.0, from.0, from.1, to_sql(ts), id.0];
                statement.query_map(bounds, read)?.collect()
            }
        }
    }
}

/// Whether this puts another form of the device's key in the place of one that is there.
fn replaces_key(db: &Connection, op: &Op) -> rusqlite::Result<bool> {
    match op {
        Op::PutRecord(key, value) if key == IDENTITY => db
            .prepare_cached("SELECT value <> ?2 FROM records WHERE key = ?1")?
            .query_row(params![key, value], |row| row.get(0))
            .optional()
            .map(Option::unwrap_or_default),
        _ => Ok(false),
    }
}

fn apply(db: &Connection, op: &Op) -> rusqlite::Result<()> {
    match op {
        Op::PutRecord(key, value) => {
            let sql = "INSERT INTO records VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
            db.prepare_cached(sql)?.execute(params![key, value])?;
        }
        Op::DeleteRecord(key) => {
            db.prepare_cached("DELETE FROM records WHERE key = ?1")?.execute([key])?;
        }
        Op::PutEnvelope(Row { circle, key, channel, author, chat, sealed }) => {
            // One writer, so that looking first is as good as a unique index and saves having a third one.
            let sql = "INSERT INTO envelopes SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS
                       (SELECT 1 FROM envelopes WHERE circle = ?1 AND ts = ?2 AND id = ?3)";
            let bound = params![circle.0, to_sql(key.ts), key.id.0, channel.0, author.0, chat, sealed];
            db.prepare_cached(sql)?.execute(bound)?;
        }
        Op::DeleteEnvelopes(circle, keys) => {
            let sql = "DELETE FROM envelopes WHERE circle = ?1 AND ts = ?2 AND id = ?3";
            let mut statement = db.prepare_cached(sql)?;
            for key in keys {
                statement.execute(params![circle.0, to_sql(key.ts), key.id.0])?;
            }
        }
        Op::DeleteCircle(circle) => {
            db.prepare_cached("DELETE FROM envelopes WHERE circle = ?1")?.execute([circle.0])?;
        }
    }
    Ok(())
}

/// What to do about a damaged file.
pub(crate) fn damaged(path: &Path, how: &str) -> String {
    format!(
        "{} is damaged ({how}). It was left as it is: keep a copy, then restore it from a backup, or move it away and join \
         your circles again",
        path.display()
    )
}

fn explain(path: &Path, error: &rusqlite::Error) -> String {
    let file = path.display();
    let full =
        || format!("the disk is full: nothing new was written to {file}, what is in it is safe. Make room");
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => full(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if is_full(path) => full(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, &error.to_string()),
        Some(ErrorCode::ReadOnly) => {
            format!("{file} cannot be written: nothing was changed. Check its permissions and its disk")
        }
        Some(ErrorCode::SystemIoFailure) => {
            format!("{file} could not be read or written ({error}); nothing was deleted. Check the disk")
        }
        _ => match error {
            rusqlite::Error::SqliteFailure(ffi::Error { .. }, _) => format!("{file}: {error}"),
            _ => format!("{file} holds something unexpected ({error}); nothing was deleted"),
        },
    }
}

/// Whether the file system says so: SQLite does not see in every call what it failed for.
#[cfg(unix)]
fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < ROOM)
}

#[cfg(not(unix))]
fn is_full(_: &Path) -> bool {
    false
}

impl Store for Sqlite {
    async fn commit(&mut self, batch: Batch) -> Result<(), String> {
        self.write(&[batch])
    }

    async fn load(&mut self, query: Query) -> Result<Loaded, String> {
        self.read(&query)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::task::{Context, Poll, Waker};

    use felund_core::store::contract;

    use super::*;

    #[test]
    fn sqlite_keeps_the_contract() {
        let temp = tempfile::tempdir().expect("tempdir");
        let mut count = 0;
        let suite = contract::check(async || {
            count += 1;
            Sqlite::open(&temp.path().join(format!("{count}.db"))).expect("open")
        });
        let mut suite = std::pin::pin!(suite);
        assert!(matches!(suite.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(())));
    }

    #[test]
    fn what_was_committed_is_there_after_opening_again() {
        let temp = tempfile::tempdir().expect("tempdir");
        let path = temp.path().join("felund.db");
        let put = Batch { ops: vec![Op::PutRecord("a".into(), vec![1])], strict: true };
        Sqlite::open(&path).expect("open").write(&[put]).expect("write");
        let loaded = Sqlite::open(&path).expect("open").read(&Query::Records);
        assert_eq!(loaded, Ok(Loaded::Records(vec![("a".into(), vec![1])])));
    }

    fn put(key: &str, value: &[u8]) -> Batch {
        Batch { ops: vec![Op::PutRecord(key.into(), value.to_vec())], strict: true }
    }

    /// Whether any file beside the database holds it.
    fn is_somewhere(dir: &Path, value: &[u8]) -> bool {
        let files = std::fs::read_dir(dir).expect("folder").map(|file| file.expect("file").path());
        files
            .map(|file| std::fs::read(file).expect("read"))
            .any(|bytes| bytes.windows(value.len()).any(|window| window == value))
    }

    #[test]
    fn a_key_that_was_replaced_is_in_no_file() {
        let temp = tempfile::tempdir().expect("tempdir");
        let path = temp.path().join("felund.db");
        let (seed, sealed, again) = ([0x5e; 40], [0x5f; 90], [0x60; 90]);
        let mut store = Sqlite::open(&path).expect("open");
        store.write(&[put(IDENTITY, &seed)]).expect("write");
        for n in 0..200_u32 {
            store.write(&[put(&format!("a{n}"), &[1; 60]), put(&format!("z{n}"), &[1; 60])]).expect("write");
        }
        assert!(is_somewhere(temp.path(), &seed));
        store.write(&[put("a", &[1; 60]), put(IDENTITY, &sealed)]).expect("write");
        assert!(!is_somewhere(temp.path(), &seed) && is_somewhere(temp.path(), &sealed), "while it runs");
        store.write(&[put(IDENTITY, &again)]).expect("write");
        assert!(!is_somewhere(temp.path(), &sealed), "an earlier passphrase's form goes as well");
        drop(store);
        assert!(!is_somewhere(temp.path(), &seed) && is_somewhere(temp.path(), &again), "and at rest");
    }

    #[test]
    fn what_an_earlier_version_left_of_a_key_goes_at_the_next_start() {
        let temp = tempfile::tempdir().expect("tempdir");
        let path = temp.path().join("felund.db");
        let (seed, sealed) = ([0x5e; 40], [0x5f; 90]);
        let store = Sqlite::open(&path).expect("open");
        store.db.pragma_update(None, "secure_delete", false).expect("pragma");
        store.db.pragma_update(None, "application_id", 0).expect("pragma");
        for (key, value) in [(IDENTITY, &seed[..]), ("profile", &[1; 60]), (IDENTITY, &sealed)] {
            apply(&store.db, &Op::PutRecord(key.into(), value.to_vec())).expect("write");
        }
        drop(store);
        assert!(is_somewhere(temp.path(), &seed));
        drop(Sqlite::open(&path).expect("open"));
        assert!(!is_somewhere(temp.path(), &seed) && is_somewhere(temp.path(), &sealed));
    }

    /// A table that nobody can make anew, as copying the file would.
    pub(crate) fn break_wiping(store: &Sqlite) {
        let broken = "PRAGMA writable_schema = ON;
                      INSERT INTO sqlite_schema VALUES ('table', 't', 't', 2, 'CREATE TABLE t')";
        store.db.execute_batch(broken).expect("schema");
    }

    #[test]
    fn a_key_that_could_not_be_wiped_is_told_of_once_with_its_file() {
        let temp = tempfile::tempdir().expect("tempdir");
        let path = temp.path().join("felund.db");
        let mut store = Sqlite::open(&path).expect("open");
        store.write(&[put(IDENTITY, &[0x5e; 40])]).expect("write");
        assert_eq!(store.unwiped(), None, "there was none before");
        break_wiping(&store);
        store.write(&[put(IDENTITY, &[0x5f; 90])]).expect("what was to be written is");
        let told = store.unwiped().expect("told");
        assert!(told.contains(&path.display().to_string()) && told.contains("may not need the"));
        assert_eq!(store.unwiped(), None);
        assert!(store.is_to_be_wiped().expect("readable"), "the next start tries it anew");
    }

    #[test]
    fn a_key_that_is_open_is_copied_nowhere() {
        let temp = tempfile::tempdir().expect("tempdir");
        let path = temp.path().join("felund.db");
        let (sealed, open, again) = ([0x81; 90], [0x82, 0, 0x81, 7, 7, 7, 7, 7], [0x83; 90]);
        let mut store = Sqlite::open(&path).expect("open");
        let pragma = |store: &Sqlite, name| -> i64 {
            store.db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).expect("pragma")
        };
        assert_eq!(pragma(&store, "temp_store"), 2, "what is copied is copied in memory");
        store.write(&[put(IDENTITY, &sealed)]).expect("write");
        store.write(&[put(IDENTITY, &open)]).expect("write");
        assert_ne!(pragma(&store, "application_id"), WIPED, "the passphrase was taken away");
        drop(store);
        let mut store = Sqlite::open(&path).expect("open");
        assert_ne!(pragma(&store, "application_id"), WIPED, "nor is it at the next start");
        store.write(&[put(IDENTITY, &again)]).expect("write");
        assert_eq!(pragma(&store, "application_id"), WIPED);
        assert!(!is_somewhere(temp.path(), &open) && !is_somewhere(temp.path(), &sealed));
    }

    #[test]
    fn no_mapped_file_lies_beside_the_database() {
        let temp = tempfile::tempdir().expect("tempdir");
        let mut store = Sqlite::open(&temp.path().join("felund.db")).expect("open");
        store.write(&[put("a", &[1])]).expect("write");
        let names =
            std::fs::read_dir(temp.path()).expect("folder").map(|file| file.expect("file").file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["felund.db", "felund.db-wal"], "a full disk could not back its pages");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_called_that_whatever_call_it_failed_in() {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None);
        let temp = tempfile::tempdir().expect("tempdir");
        assert!(explain(temp.path(), &error).contains("could not be read or written"));
        // No file system has less room than this one.
        assert!(explain(Path::new("/proc/version"), &error).starts_with("the disk is full"));
    }

    #[test]
    fn a_damaged_file_is_named_and_left_alone() {
        let temp = tempfile::tempdir().expect("tempdir");
        let path = temp.path().join("felund.db");
        let nonsense = b"this is no database at all, and long enough to have a header of a hundred bytes; \
                         it goes on for a little while after that.";
        std::fs::write(&path, nonsense).expect("write");
        let error = Sqlite::open(&path).expect_err("refused");
        assert!(error.contains("felund.db is damaged"), "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), nonsense);
        for left in [1, 100, 511] {
            std::fs::write(&path, vec![b'S'; left]).expect("write");
            let error = Sqlite::open(&path).expect_err("refused");
            assert!(error.contains("felund.db is damaged"), "{left}: {error}");
            assert_eq!(std::fs::read(&path).expect("read").len(), left);
        }
    }

    #[test]
    fn a_database_of_another_program_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().expect("tempdir");
        let path = temp.path().join("felund.db");
        let other = Connection::open(&path).expect("open");
        other.execute_batch("CREATE TABLE notes (text); INSERT INTO notes VALUES ('milk')").expect("written");
        drop(other);
        let before = std::fs::read(&path).expect("read");
        assert!(Sqlite::open(&path).expect_err("refused").contains("another program"));
        assert_eq!(std::fs::read(&path).expect("read"), before);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let temp = tempfile::tempdir().expect("tempdir");
        let path = temp.path().join("felund.db");
        let store = Sqlite::open(&path).expect("open");
        store.db.pragma_update(None, "user_version", 99).expect("pragma");
        drop(store);
        assert!(Sqlite::open(&path).expect_err("refused").contains("newer Felund"));
    }

    #[test]
    fn the_index_is_read_from_the_covering_btree() {
        let temp = tempfile::tempdir().expect("tempdir");
        let store = Sqlite::open(&temp.path().join("felund.db")).expect("open");
        let sql = "EXPLAIN QUERY PLAN SELECT ts, id, channel, author, chat FROM envelopes WHERE circle = ?1 \
                   ORDER BY ts, id";
        let plan: String = store.db.query_row(sql, [[0_u8; 16]], |row| row.get(3)).expect("plan");
        assert!(plan.contains("COVERING INDEX by_order"), "{plan}");
    }
}
