//! The circles' logs in the database, in blocks ([`super::block`]).
//!
//! A damaged block costs its own messages: reading passes it by, and says so. What the disk refuses at the moment is no
//! damage and fails: whoever were told to read on behind it would never come back.

use felund_core::ids::{Cursor, MsgId};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params};

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

    /// Begins a circle's new messages, of so many bytes in blocks, with its newest blocks as far as these are small beside
    /// them. A chat whose messages come one by one would be read a block a message otherwise.
    pub(super) fn reopen(
        &mut self,
        circle: i64,
        first: &Message<'_>,
        mut size: usize,
    ) -> rusqlite::Result<()> {
        self.write()?;
        self.circle = circle;
        while let Some(small) = take_small(self.connection, circle, first, size)? {
            size += small.data.len();
            self.block.put_before(small);
        }
        Ok(())
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
        let Block { head, stored_at, names, data } = &self.block;
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

/// Takes the circle's newest block before a message out of the database, if that and what is to be written behind it, of
/// `size`, are better off in one. A damaged one stays where it is.
fn take_small(
    connection: &Connection,
    circle: i64,
    first: &Message<'_>,
    size: usize,
) -> rusqlite::Result<Option<Block>> {
    let newest = connection
        .prepare_cached(
            "SELECT first, last, count, bytes, stored_at FROM blocks WHERE circle = ?1 AND last < ?2
             ORDER BY last DESC LIMIT 1",
        )?
        .query_row(params![circle, to_sql(first.seq.0)], |row| {
            Ok((head(row)?, row.get::<_, i64>(4)?.unsigned_abs()))
        })
        .optional()?;
    let Some((head, stored_at)) = newest else { return Ok(None) };
    if !block::gives_way(&head, stored_at, size, first.stored_at) {
        return Ok(None);
    }
    let copy = |query| part(connection, query, &head, |bytes| Some(bytes.to_vec()));
    let (Some(names), Some(data)) = (copy(NAMES)?, copy(DATA)?) else { return Ok(None) };
    let small = Block::of(head, stored_at, names, data);
    if small.is_some() {
        connection.prepare_cached(DELETE)?.execute([to_sql(head.last.0)])?;
    }
    Ok(small)
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let count = |index| row.get(index).map(i64::unsigned_abs);
    Ok(Head { first: from_sql(row.get(0)?), last: from_sql(row.get(1)?), count: count(2)?, bytes: count(3)? })
}

const HEADS: &str =
    "SELECT first, last, count, bytes FROM blocks WHERE circle = ?1 AND last > ?2 ORDER BY last";

const NAMES: &str = "SELECT names FROM blocks WHERE last = ?1";
const DATA: &str = "SELECT data FROM blocks WHERE last = ?1";
const DELETE: &str = "DELETE FROM blocks WHERE last = ?1";

/// What `read` makes of one of a block's blobs; none if that is damaged.
fn part<T>(
    connection: &Connection,
    query: &str,
    head: &Head,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let result = connection
        .prepare_cached(query)?
        .query_row([to_sql(head.last.0)], |row| Ok(row.get_ref(0)?.as_blob().ok().and_then(read)));
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
    // While this is open everything is read from one snapshot: the blocks are there, though the writer merges them meanwhile.
    let mut heads = statement.query(params![circle, to_sql(after.0)])?;
    while let Some(row) = heads.next()? {
        let head = head(row)?;
        let room_left = part(connection, DATA, &head, |data| {
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
    // As a real number: what a damaged row says may be too much for a whole one.
    let count: f64 = connection
        .prepare_cached("SELECT total(count) FROM blocks WHERE circle = ?1")?
        .query_row([circle], |row| row.get(0))?;
    let mut known = Known::with_room(count as usize);
    let mut statement = connection.prepare_cached(HEADS)?;
    let mut heads = statement.query(params![circle, -1])?;
    while let Some(row) = heads.next()? {
        let head = head(row)?;
        let names = part(connection, NAMES, &head, |names| block::names(&head, names))?;
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
    let mut delete = connection.prepare_cached(DELETE)?;
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::{super::schema, *};

    const DAY: u64 = 24 * 60 * 60;

    #[derive(Debug, Clone)]
    struct Stored {
        seq: u64,
        at: u64,
        envelope: Vec<u8>,
    }

    impl Stored {
        fn message(&self) -> Message<'_> {
            let mut name = [0; 16];
            name[8..].copy_from_slice(&self.seq.to_be_bytes());
            Message { seq: Cursor(self.seq), name: MsgId(name), stored_at: self.at, envelope: &self.envelope }
        }
    }

    fn database() -> Connection {
        schema::open_writer(Path::new(":memory:")).unwrap()
    }

    /// Writes what comes together, as the writer does.
    fn write(connection: &Connection, circle: i64, new: &[Stored]) {
        let mut blocks = Appender::new(connection);
        let size = new.iter().map(|stored| block::size(&stored.envelope)).sum();
        blocks.reopen(circle, &new[0].message(), size).unwrap();
        new.iter().for_each(|stored| blocks.add(circle, &stored.message()).unwrap());
        blocks.finish().unwrap();
    }

    fn read(connection: &Connection, circle: i64, after: u64) -> Vec<(Cursor, Vec<u8>)> {
        read_page(connection, circle, Cursor(after), usize::MAX, usize::MAX).unwrap().messages
    }

    fn one_number(connection: &Connection, query: &str) -> u64 {
        connection.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_log_is_what_was_written_whatever_came_together(
            writes in prop::collection::vec(
                (1i64..3, 0u64..DAY / 3, prop::collection::vec(0usize..6_000, 1..8), any::<bool>()), 1..60),
            ttl in 0u64..4 * DAY,
            after in any::<prop::sample::Index>(),
        ) {
            let connection = database();
            let mut logs = [Vec::new(), Vec::new()];
            let (mut seq, mut now) = (1, 100 * DAY);
            for (circle, step, sizes, back) in writes {
                now = if back { now - step / 4 } else { now + step };
                let new = sizes.iter().map(|size| {
                    seq += 1 + step % 3;
                    Stored { seq, at: now, envelope: vec![seq as u8; *size] }
                });
                let new: Vec<_> = new.collect();
                write(&connection, circle, &new);
                logs[circle as usize - 1].extend(new);
            }
            for (log, circle) in logs.iter().zip(1..) {
                let expected: Vec<_> =
                    log.iter().map(|stored| (Cursor(stored.seq), stored.envelope.clone())).collect();
                prop_assert_eq!(&read(&connection, circle, 0), &expected);
                let from = after.index(log.len() + 1);
                let cursor = from.checked_sub(1).map_or(0, |last| log[last].seq);
                prop_assert_eq!(&read(&connection, circle, cursor)[..], &expected[from..]);
                let mut known = known(&connection, circle).unwrap();
                prop_assert_eq!(known.messages, log.len() as u64);
                prop_assert_eq!(known.bytes, log.iter().map(|stored| stored.envelope.len() as u64).sum::<u64>());
                for stored in log {
                    let seq = Cursor(stored.seq);
                    prop_assert_eq!(known.admit(stored.message().name, Cursor(0), &[]), Some(seq));
                }
                let before = now.saturating_sub(ttl);
                remove_old(&connection, circle, before, &mut 1_000).unwrap();
                let left = read(&connection, circle, 0);
                prop_assert!(left.iter().all(|(seq, _)| log.iter().any(|stored| stored.seq == seq.0)));
                for stored in log {
                    let there = left.iter().any(|(seq, _)| seq.0 == stored.seq);
                    prop_assert!(there || stored.at < before, "too early");
                    prop_assert!(!there || stored.at + DAY > before, "too late");
                }
            }
        }
    }

    #[test]
    fn messages_that_come_one_by_one_are_written_a_few_times_and_lie_in_large_blocks() {
        let connection = database();
        let (mut bytes, mut written) = (0, 0);
        for seq in 1..=4_000 {
            let envelope = vec![1; 230 + (seq as usize * 37) % 60];
            bytes += envelope.len() as u64;
            write(&connection, 1, &[Stored { seq, at: 100 * DAY, envelope }]);
            written += one_number(&connection, "SELECT bytes FROM blocks ORDER BY last DESC LIMIT 1");
        }
        let blocks = one_number(&connection, "SELECT count(*) FROM blocks");
        assert!(blocks < 3 * bytes / 2 / (64 * 1024) + 8, "{blocks} for {bytes}");
        assert!(written < 8 * bytes, "{written} for {bytes}");
    }

    #[test]
    fn a_full_block_is_not_written_again() {
        let connection = database();
        let messages = |from: u64, count: u64| -> Vec<_> {
            (from..from + count).map(|seq| Stored { seq, at: 5, envelope: vec![1; 1_000] }).collect()
        };
        write(&connection, 1, &messages(1, 64));
        let before = connection.total_changes();
        write(&connection, 1, &messages(65, 64));
        write(&connection, 1, &messages(129, 1));
        assert_eq!(connection.total_changes() - before, 2, "inserted, and nothing deleted");
    }

    #[test]
    fn who_has_begun_to_read_finds_the_blocks_that_are_merged_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.sqlite");
        let writer = schema::open_writer(&path).unwrap();
        let stored = |seq| Stored { seq, at: 5, envelope: vec![seq as u8; 100] };
        write(&writer, 1, &[stored(1)]);
        let reader = schema::open_reader(&path).unwrap();
        let mut statement = reader.prepare_cached(HEADS).unwrap();
        let mut heads = statement.query(params![1, 0]).unwrap();
        let head = head(heads.next().unwrap().unwrap()).unwrap();
        write(&writer, 1, &[stored(2)]);
        assert_eq!(one_number(&writer, "SELECT count(*) FROM blocks"), 1);
        let data = part(&reader, DATA, &head, |data| Some(data.to_vec())).unwrap().unwrap();
        assert_eq!(block::messages(&head, &data).unwrap().len(), 1);
        assert!(heads.next().unwrap().is_none());
        drop(heads);
        assert_eq!(read(&reader, 1, 0).len(), 2);
    }
}
