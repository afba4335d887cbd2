//! The one writer: takes whatever requests are waiting, writes them in one transaction, waits for the disk once and
//! only then lets anybody know.
//!
//! While one group's fsync runs, the next group gathers by itself; nobody waits for a timer. Connected members get the
//! messages during the fsync: a push promises nothing, the poster's answer does. Should the write fail or the relay
//! die, the poster has no answer and posts again, and merging makes the second push harmless.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use felund_core::{
    ids::Cursor,
    relay_api::{Stored, signing::ApiKey},
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::mpsc;

use super::{Append, Circle, Circles, Done, Event, Job, Quota, Sink, StoreError, schema::to_sql};
use crate::{clock, metrics::METRICS};

/// Most requests in one transaction.
const MAX_GROUP: usize = 1024;
/// Most envelope bytes in one transaction; a group ends with the request that reaches it.
const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Messages removed, and circles looked at, per transaction, so that pruning never holds up posts for long.
const PRUNE_STEP: i64 = 500;
const PRUNE_CIRCLES: i64 = 500;

pub(super) struct Writer {
    connection: Connection,
    circles: Circles,
    next: u64,
    /// The same number for everybody else, after each commit.
    shared_next: Arc<AtomicU64>,
    quota: Quota,
    sink: Sink,
    /// Messages and bytes per circle, counted when a circle is first written to.
    usage: HashMap<i64, Usage>,
    /// The last circle pruned in this round.
    pruned_to: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    messages: u64,
    bytes: u64,
}

/// What one request came to, before the commit decides.
type Outcome = Result<Vec<Stored>, StoreError>;

impl Writer {
    pub(super) fn new(
        connection: Connection,
        circles: Circles,
        shared_next: Arc<AtomicU64>,
        quota: Quota,
        sink: Sink,
    ) -> Self {
        let next = shared_next.load(Ordering::Acquire);
        Self { connection, circles, next, shared_next, quota, sink, usage: HashMap::new(), pruned_to: 0 }
    }

    pub(super) fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Job>) {
        let mut group = Vec::new();
        let mut stopping = false;
        while !stopping {
            let Some(mut job) = inbox.blocking_recv() else { break };
            let mut bytes = 0;
            loop {
                match job {
                    Job::Append(append) => {
                        bytes += append.items.iter().map(|item| item.envelope.len()).sum::<usize>();
                        group.push(append);
                    }
                    other => {
                        self.commit(&mut group);
                        stopping |= self.other(other);
                    }
                }
                if group.len() >= MAX_GROUP || bytes >= MAX_GROUP_BYTES {
                    break;
                }
                match inbox.try_recv() {
                    Ok(next) => job = next,
                    Err(_) => break,
                }
            }
            self.commit(&mut group);
        }
        inbox.close();
        while let Ok(job) = inbox.try_recv() {
            if let Job::Append(append) = job {
                (append.reply)(Err(StoreError::Stopped));
            }
        }
        if let Err(e) = self.connection.pragma_update(None, "wal_checkpoint", "TRUNCATE") {
            tracing::debug!("closing checkpoint skipped: {e}");
        }
    }

    /// Everything but appends; true when asked to stop. An asker that has gone needs no answer.
    fn other(&mut self, job: Job) -> bool {
        match job {
            Job::Append(append) => self.commit(&mut vec![append]),
            Job::Register { key, reply } => drop(reply.send(self.register(key))),
            Job::Prune { stored_before, reply } => drop(reply.send(self.prune(stored_before))),
            Job::Stop => return true,
        }
        false
    }

    fn commit(&mut self, group: &mut Vec<Append>) {
        if group.is_empty() {
            return;
        }
        let first = self.next;
        let written = self.write(group);
        METRICS.commits.add(1);
        match &written {
            Ok(_) => METRICS.stored.add(self.next - first),
            Err(error) => {
                // The usage counted in the transaction is gone with it. The numbers given out stay unused.
                self.usage.clear();
                METRICS.commit_failures.add(1);
                tracing::error!(requests = group.len(), "a group of posts was not stored: {error}");
                let hints = group.iter().map(|append| append.circle.hint).collect();
                (self.sink)(Event::Withdrawn(hints, Cursor(first - 1)));
            }
        }
        let outcomes = written.unwrap_or_else(|error| vec![Err(error); group.len()]);
        let done = group.drain(..).zip(outcomes).map(|(append, result)| Done { result, reply: append.reply });
        (self.sink)(Event::Done(done.collect()));
    }

    /// One transaction for the group. An inner error refuses one request, the outer one all of them.
    fn write(&mut self, group: &[Append]) -> Result<Vec<Outcome>, StoreError> {
        let Self { connection, next, quota, usage, shared_next, sink, .. } = self;
        let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
        let now = to_sql(clock::unix_seconds());
        let mut outcomes = Vec::with_capacity(group.len());
        let mut fresh = Vec::new();
        for append in group {
            let mut new = Vec::new();
            outcomes.push(append_one(&transaction, append, *quota, usage, next, now, &mut new)?);
            if !new.is_empty() {
                fresh.push((append.circle.hint, new));
            }
        }
        shared_next.store(*next, Ordering::Release);
        if !fresh.is_empty() {
            sink(Event::Writing(fresh));
        }
        transaction.commit()?;
        Ok(outcomes)
    }

    fn register(&mut self, key: ApiKey) -> Result<Arc<Circle>, StoreError> {
        let hint = key.hint();
        let known =
            |circles: &Circles| circles.read().unwrap_or_else(PoisonError::into_inner).get(&hint).cloned();
        if let Some(circle) = known(&self.circles) {
            return Ok(circle);
        }
        if self.circles.read().unwrap_or_else(PoisonError::into_inner).len() >= self.quota.circles {
            return Err(StoreError::TooManyCircles);
        }
        self.connection.execute(
            "INSERT INTO circles (hint, signing_key, created_at) VALUES (?1, ?2, ?3)",
            params![hint.0, key.as_bytes(), to_sql(clock::unix_seconds())],
        )?;
        let circle = Arc::new(Circle { id: self.connection.last_insert_rowid(), hint, key });
        self.circles.write().unwrap_or_else(PoisonError::into_inner).insert(hint, circle.clone());
        Ok(circle)
    }

    /// Removes the oldest messages of some circles; true when there may be more to remove.
    fn prune(&mut self, stored_before: u64) -> Result<bool, StoreError> {
        let next = to_sql(self.next);
        let transaction = self.connection.transaction()?;
        let circles: Vec<i64> = transaction
            .prepare_cached("SELECT id FROM circles WHERE id > ?1 ORDER BY id LIMIT ?2")?
            .query_map([self.pruned_to, PRUNE_CIRCLES], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut delete = transaction.prepare_cached(
            "DELETE FROM messages WHERE circle = ?1 AND seq IN
               (SELECT seq FROM (SELECT seq, stored_at FROM messages WHERE circle = ?1 ORDER BY seq LIMIT ?2)
                WHERE stored_at < ?3)",
        )?;
        let mut removed = 0;
        let mut pruned_to = self.pruned_to;
        for &circle in &circles {
            let here = delete.execute(params![circle, PRUNE_STEP, to_sql(stored_before)])?;
            if here > 0 {
                self.usage.remove(&circle);
                removed += here;
            }
            if removed >= PRUNE_STEP as usize {
                break;
            }
            pruned_to = circle;
        }
        drop(delete);
        if removed > 0 {
            transaction
                .execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('next_seq', ?1)", [next])?;
        }
        transaction.commit()?;
        METRICS.pruned.add(removed as u64);
        self.pruned_to = if circles.is_empty() { 0 } else { pruned_to };
        Ok(!circles.is_empty())
    }
}

fn append_one(
    transaction: &Connection,
    append: &Append,
    quota: Quota,
    usage: &mut HashMap<i64, Usage>,
    next: &mut u64,
    now: i64,
    fresh: &mut Vec<(Cursor, Bytes)>,
) -> Result<Outcome, StoreError> {
    let circle = append.circle.id;
    let mut used = match usage.get(&circle) {
        Some(used) => *used,
        None => count(transaction, circle)?,
    };
    let first = *next;
    let mut stored = Vec::with_capacity(append.items.len());
    let mut insert = transaction.prepare_cached(
        "INSERT INTO messages (circle, seq, msg_id, envelope, stored_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (circle, msg_id) DO NOTHING",
    )?;
    for item in &append.items {
        let seq = to_sql(*next);
        let written = insert.execute(params![circle, seq, item.msg_id.0, &item.envelope[..], now])?;
        let cursor = if written == 1 {
            let cursor = Cursor(*next);
            *next += 1;
            used.messages += 1;
            used.bytes += item.envelope.len() as u64;
            fresh.push((cursor, item.envelope.clone()));
            cursor
        } else {
            let seq: Option<i64> = transaction
                .prepare_cached("SELECT seq FROM messages WHERE circle = ?1 AND msg_id = ?2")?
                .query_row(params![circle, item.msg_id.0], |row| row.get(0))
                .optional()?;
            Cursor(seq.unwrap_or(0).unsigned_abs())
        };
        stored.push(Stored { msg_id: item.msg_id, cursor });
    }
    if !fresh.is_empty() && (used.messages > quota.messages || used.bytes > quota.bytes) {
        // Taken back within the transaction: the other requests of the group are not concerned.
        transaction
            .execute("DELETE FROM messages WHERE circle = ?1 AND seq >= ?2", [circle, to_sql(first)])?;
        *next = first;
        fresh.clear();
        return Ok(Err(StoreError::Quota));
    }
    usage.insert(circle, used);
    Ok(Ok(stored))
}

fn count(connection: &Connection, circle: i64) -> Result<Usage, StoreError> {
    let (messages, bytes): (i64, i64) = connection
        .prepare_cached(
            "SELECT count(*), coalesce(sum(length(envelope)), 0) FROM messages WHERE circle = ?1",
        )?
        .query_row([circle], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Usage { messages: messages.unsigned_abs(), bytes: bytes.unsigned_abs() })
}
