//! The storage contract in one SQLite file.
//!
//! The index that a circle opens with is covered by one B-tree, so that ten thousand rows are read without
//! touching the sealed bytes. A batch is one transaction. Nothing is ever deleted because it could not be read:
//! a damaged file is named and left as it is.

use std::path::{Path, PathBuf};

use felund_core::{
    ids::{ChannelId, CircleId, MsgId, NodeId},
    store::{Batch, IndexRow, Loaded, Op, Query, Row, Store},
    view::Key,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, ffi, params};

use crate::datadir;

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
CREATE TABLE records (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE envelopes (
    circle BLOB NOT NULL, ts INTEGER NOT NULL, id BLOB NOT NULL,
    channel BLOB NOT NULL, author BLOB NOT NULL, chat INTEGER NOT NULL, sealed BLOB NOT NULL
);
CREATE INDEX by_order ON envelopes (circle, ts, id, channel, author, chat);
CREATE INDEX by_channel ON envelopes (circle, channel, ts, id);
PRAGMA user_version = 1;
";

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
}

impl Sqlite {
    /// Opens the file, making it when it is absent.
    ///
    /// # Errors
    /// A text for people that names the file.
    pub fn open(path: &Path) -> Result<Self, String> {
        datadir::private_file(path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
        let db = Connection::open(path).map_err(|e| explain(path, &e))?;
        let store = Self { db, path: path.to_owned(), strict: true };
        store.prepare().map_err(|e| explain(path, &e))?;
        let version: i64 =
            store.db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|e| explain(path, &e))?;
        if version > SCHEMA_VERSION {
            return Err(format!(
                "{} was written by a newer Felund (format {version}); nothing was changed. Update Felund",
                path.display()
            ));
        }
        Ok(store)
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        self.db.pragma_update(None, "journal_mode", "WAL")?;
        self.db.pragma_update(None, "synchronous", "FULL")?;
        // Pages are small and the operating system caches them; what is kept here counts as resident memory.
        self.db.pragma_update(None, "cache_size", -512)?;
        self.db.set_prepared_statement_cache_capacity(16);
        let version: i64 = self.db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 0 {
            self.db.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
        }
        Ok(())
    }

    /// Writes all of the batches or nothing of them, in order.
    ///
    /// # Errors
    /// A text for people.
    pub fn write(&mut self, batches: &[Batch]) -> Result<(), String> {
        self.write_raw(batches).map_err(|e| explain(&self.path, &e))
    }

    fn write_raw(&mut self, batches: &[Batch]) -> rusqlite::Result<()> {
        let strict = batches.iter().any(|batch| batch.strict);
        if strict != self.strict {
            self.db.pragma_update(None, "synchronous", if strict { "FULL" } else { "NORMAL" })?;
            self.strict = strict;
        }
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for op in batches.iter().flat_map(|batch| &batch.ops) {
            apply(&transaction, op)?;
        }
        transaction.commit()
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

fn explain(path: &Path, error: &rusqlite::Error) -> String {
    let file = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            format!("the disk is full: nothing new was written to {file}, what is in it is safe. Make room")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => format!(
            "{file} is damaged ({error}). It was left as it is: keep a copy, then restore it from a backup, or move \
             it away and join your circles again"
        ),
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

impl Store for Sqlite {
    async fn commit(&mut self, batch: Batch) -> Result<(), String> {
        self.write(&[batch])
    }

    async fn load(&mut self, query: Query) -> Result<Loaded, String> {
        self.read(&query)
    }
}

#[cfg(test)]
mod tests {
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
