//! The circles' logs in the database, in blocks ([`super::block`]).
//!
//! A damaged block costs its own messages: reading passes it by, and says so. What the disk refuses at the moment is no
//! damage and fails: whoever were told to read on behind it would never come back.

use felund_core::ids::{Cursor, MsgId};
use rusqlite::{Connection, ErrorCode, Row, params};

use super::{
    Page,
    block::{self, Block, Head, Message},
    known::Known,
    schema::{from_sql, to_sql},
};

/// What a block takes to remove: itself, and one more for each so many bytes.
const PAGE: u64 = 4096;

/// Writes messages, a circle at a time and in log order.
pub(super) struct Appender<'a> {
    connection: &'a Connection,
    circle: i64,
    block: Block,
}

impl<'a> Appender<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, circle: 0, block: Block::default() }
    }

    pub(super) fn add(&mut self, circle: i64, message: &Message<'_>) -> rusqlite::Result<()> {
        if circle != self.circle || !self.block.takes(message) {
            self.write()?;
        }
        self.circle = circle;
        self.block.push(message);
        Ok(())
    }

    /// Writes what is left of them.
    pub(super) fn finish(mut self) -> rusqlite::Result<()> {
        self.write()
    }

    fn write(&mut self) -> rusqlite::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let Block { head, stored_at, names, data, .. } = &self.block;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO blocks (circle, last, first, count, bytes, stored_at, names, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        insert.execute(params![
            self.circle,
            to_sql(head.last.0),
            to_sql(head.first.0),
            to_sql(head.count),
            to_sql(head.bytes),
            to_sql(*stored_at),
            names,
            data
        ])?;
        self.block.clear();
        Ok(())
    }
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let count = |index| row.get(index).map(i64::unsigned_abs);
    Ok(Head { first: from_sql(row.get(0)?), last: from_sql(row.get(1)?), count: count(2)?, bytes: count(3)? })
}

const HEADS: &str =
    "SELECT first, last, count, bytes FROM blocks WHERE circle = ?1 AND last > ?2 ORDER BY last";

/// What `read` makes of one of a block's blobs; none if that is damaged.
fn part<T>(
    connection: &Connection,
    query: &str,
    head: &Head,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let result = connection
        .prepare_cached(query)?
        .query_row([to_sql(head.last.0)], |row| Ok(read(row.get_ref(0)?.as_blob()?)));
    match result {
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => Ok(None),
        other => other,
    }
}

/// At most `limit` messages and, beyond the first, at most `max_bytes` of them, after a cursor.
pub(super) fn read_page(
    connection: &Connection,
    circle: i64,
    after: Cursor,
    limit: usize,
    max_bytes: usize,
) -> rusqlite::Result<Page> {
    let mut page = Page::new(limit, max_bytes);
    let mut statement = connection.prepare_cached(HEADS)?;
    let mut heads = statement.query(params![circle, to_sql(after.0)])?;
    while let Some(row) = heads.next()? {
        let head = head(row)?;
        let query = "SELECT data FROM blocks WHERE last = ?1";
        let room_left = part(connection, query, &head, |data| {
            let messages = block::messages(&head, data)?;
            let mut new = messages.into_iter().filter(|(cursor, _)| *cursor > after);
            Some(new.all(|(cursor, envelope)| page.push(cursor, envelope)))
        })?;
        match room_left {
            Some(true) => {}
            Some(false) => break,
            None => tracing::error!(
                "{} messages of circle {circle}, {} to {}, are damaged in the database and were left out: they are lost \
                 but for the members who have them. The others are read; check the disk",
                head.count,
                head.first,
                head.last
            ),
        }
    }
    Ok(page)
}

/// What there is of a circle.
pub(super) fn known(connection: &Connection, circle: i64) -> rusqlite::Result<Known> {
    let mut known = Known::default();
    let mut statement = connection.prepare_cached(HEADS)?;
    let mut heads = statement.query(params![circle, -1])?;
    while let Some(row) = heads.next()? {
        let head = head(row)?;
        let query = "SELECT names FROM blocks WHERE last = ?1";
        let names = part(connection, query, &head, |names| block::names(&head, names))?;
        if names.is_none() {
            tracing::error!(
                "the names of {} messages of circle {circle} are damaged in the database: whichever of them is posted \
                 again is stored twice, which harms nobody; check the disk",
                head.count
            );
        }
        known.count(head.count, head.bytes);
        for (name, cursor) in names.unwrap_or_default() {
            known.name(name, cursor);
        }
    }
    Ok(known)
}

/// Removes the oldest blocks of a circle that hold nothing stored since, of those `left` of which each takes as many as it
/// is large; answers how many messages went.
pub(super) fn remove_old(
    connection: &Connection,
    circle: i64,
    stored_before: u64,
    left: &mut u64,
) -> rusqlite::Result<u64> {
    let old: Vec<(i64, u64, u64)> = connection
        .prepare_cached(
            "SELECT last, count, bytes FROM
               (SELECT last, count, bytes, stored_at FROM blocks WHERE circle = ?1 ORDER BY last LIMIT ?2)
             WHERE stored_at < ?3 ORDER BY last",
        )?
        .query_map(params![circle, to_sql(*left), to_sql(stored_before)], |row| {
            let count = |index| row.get(index).map(i64::unsigned_abs);
            Ok((row.get(0)?, count(1)?, count(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut delete = connection.prepare_cached("DELETE FROM blocks WHERE last = ?1")?;
    let mut removed = 0;
    for (last, count, bytes) in old {
        if *left == 0 {
            break;
        }
        delete.execute([last])?;
        *left = left.saturating_sub(1 + bytes / PAGE);
        removed += count;
    }
    Ok(removed)
}

/// Puts the rows that an earlier version wrote into blocks.
pub(super) fn convert(connection: &Connection) -> rusqlite::Result<()> {
    let mut blocks = Appender::new(connection);
    let mut statement = connection
        .prepare("SELECT circle, seq, msg_id, envelope, stored_at FROM messages ORDER BY circle, seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let message = Message {
            seq: from_sql(row.get(1)?),
            name: MsgId(row.get(2)?),
            stored_at: row.get::<_, i64>(4)?.unsigned_abs(),
            envelope: row.get_ref(3)?.as_blob()?,
        };
        blocks.add(row.get(0)?, &message)?;
    }
    blocks.finish()
}
