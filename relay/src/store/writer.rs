//! The one writer: takes whatever requests are waiting, makes them durable with one wait for the disk and only then
//! lets anybody know.
//!
//! A small group goes to the journal ([`super::journal`]) and into the database later, with others; a large one at once.
//! While one group's fsync runs, the next group gathers by itself; nobody waits for a timer. Connected members get the
//! messages during the fsync: a push promises nothing, the poster's answer does. Should the write fail or the relay
//! die, the poster has no answer and posts again, and merging makes the second push harmless.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use felund_core::{
    ids::{CircleHint, Cursor},
    relay_api::{Stored, signing::ApiKey},
};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use super::{
    Append, Circle, Circles, Done, Event, Fresh, Job, Quota, Sink, StoreError, block,
    journal::{self, Journal, Record},
    known::{self, Known},
    log::{self, Appender},
    pending::Pending,
    schema::to_sql,
    toll::Toll,
};
use crate::{clock, metrics::METRICS};

/// Most requests in one group.
const MAX_GROUP: usize = 1024;
/// Most envelope bytes in one group; it ends with the request that reaches it.
const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;
/// A group of more bytes is written to the database at once: pages are no waste when they are full.
const MAX_JOURNALED: usize = 64 * 1024;
/// When nothing has been asked for this long the database catches up.
const QUIET: Duration = Duration::from_millis(500);
/// While more is asked for all the time it does once something has waited for it this long: a backup has what is older.
const MAX_LAG: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// Pages removed, and circles looked at, per transaction, so that pruning never holds up posts for long.
const PRUNE_STEP: u64 = 1000;
const PRUNE_CIRCLES: i64 = 500;
/// A circle that holds no message is forgotten after this long, in seconds: its members register again by themselves, and who
/// makes up circles must not fill the relay with them.
const IDLE_S: u64 = 24 * 60 * 60;

pub(super) struct Writer {
    connection: Connection,
    circles: Circles,
    next: u64,
    /// The same number for everybody else, after each commit.
    shared_next: Arc<AtomicU64>,
    quota: Quota,
    sink: Sink,
    /// None if it failed; every group goes to the database then.
    journal: Option<Journal>,
    pending: Arc<Pending>,
    /// Since when there has been something in it, or when the database last refused it.
    behind_since: Instant,
    /// Whether the database refused what is pending; said once.
    stuck: bool,
    /// What is in the logs of the circles that are being posted to, here or in `pending`.
    known: known::Circles,
    toll: Toll,
    /// The last circle pruned in this round.
    pruned_to: i64,
}

/// What one request came to, before the disk decides.
type Outcome = Result<Vec<Stored>, StoreError>;

/// By circle, as those who are connected get it.
fn fresh(records: &[Record]) -> Vec<Fresh> {
    let circles = records.chunk_by(|one, next| one.hint == next.hint);
    circles
        .map(|new| {
            let messages = new.iter().map(|new| (new.seq, new.envelope.clone())).collect();
            (new[0].hint, messages)
        })
        .collect()
}

/// A circle's messages, wherever they are: also those of the group at hand, which may touch more circles than are remembered.
fn load(
    connection: &Connection,
    circle: &Circle,
    pending: &Pending,
    admitted: &[Record],
) -> rusqlite::Result<Known> {
    let mut known = log::known(connection, circle.id)?;
    let admitted = admitted.iter().filter(|record| record.hint == circle.hint);
    for record in pending.of(&circle.hint).iter().chain(admitted) {
        known.admit(record.name, record.seq, &record.envelope);
    }
    Ok(known)
}

const SET_META: &str = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
/// The database holds, or has held, everything of the journal before this number.
pub(super) const JOURNALED_FROM: &str = "journaled_from";

impl Writer {
    /// What is in `pending` lies in the journal and not in the database.
    pub(super) fn new(
        connection: Connection,
        circles: Circles,
        (journal, pending): (Option<Journal>, Arc<Pending>),
        shared_next: Arc<AtomicU64>,
        quota: Quota,
        sink: Sink,
    ) -> Self {
        Self {
            connection,
            circles,
            next: shared_next.load(Ordering::Acquire),
            shared_next,
            quota,
            sink,
            journal,
            pending,
            behind_since: Instant::now(),
            stuck: false,
            known: known::Circles::default(),
            toll: Toll::default(),
            pruned_to: 0,
        }
    }

    pub(super) fn run(mut self, inbox: Receiver<Job>) {
        let mut group = Vec::new();
        let mut stopping = false;
        while !stopping {
            let Some(mut job) = self.wait(&inbox) else { break };
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
        while let Ok(job) = inbox.try_recv() {
            if let Job::Append(append) = job {
                (append.reply)(Err(StoreError::Stopped));
            }
        }
        drop(inbox);
        self.catch_up();
        if let Err(e) = self.connection.pragma_update(None, "wal_checkpoint", "TRUNCATE") {
            tracing::debug!("closing checkpoint skipped: {e}");
        }
    }

    /// The next job; lets the database catch up when there is none for a while, or when it has not for long.
    fn wait(&mut self, inbox: &Receiver<Job>) -> Option<Job> {
        while !self.pending.is_empty() {
            if self.behind_since.elapsed() < MAX_LAG {
                match inbox.recv_timeout(QUIET) {
                    Ok(job) => return Some(job),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
            self.catch_up();
        }
        inbox.recv().ok()
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
                // What was admitted is not there. The numbers given out stay unused.
                group.iter().for_each(|append| self.known.forget(append.circle.id));
                METRICS.commit_failures.add(1);
                tracing::error!(requests = group.len(), "a group of posts was not stored: {error}");
                (self.sink)(Event::Withdrawn(Cursor(first - 1)));
            }
        }
        let outcomes = written.unwrap_or_else(|error| vec![Err(error); group.len()]);
        let done = group.drain(..).zip(outcomes).map(|(append, result)| Done { result, reply: append.reply });
        (self.sink)(Event::Done(done.collect()));
    }

    /// Makes a group durable. An inner error refuses one request, the outer one all of them.
    fn write(&mut self, group: &[Append]) -> Result<Vec<Outcome>, StoreError> {
        let mut admitted = Vec::new();
        let outcomes = self.admit_all(group, &mut admitted);
        self.shared_next.store(self.next, Ordering::Release);
        let outcomes = outcomes?;
        if !admitted.is_empty() {
            (self.sink)(Event::Writing(fresh(&admitted)));
            self.keep(admitted)?;
        }
        Ok(outcomes)
    }

    fn admit_all(
        &mut self,
        group: &[Append],
        admitted: &mut Vec<Record>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let now = clock::unix_seconds();
        group.iter().map(|append| self.admit(append, now, admitted)).collect()
    }

    /// Gives numbers to what one request brings and the relay does not have.
    fn admit(
        &mut self,
        append: &Append,
        now: u64,
        admitted: &mut Vec<Record>,
    ) -> Result<Outcome, StoreError> {
        let circle = &*append.circle;
        let known = self.known.of(circle.id, || {
            let start = Instant::now();
            if let Some(wait) = self.toll.wait(&append.payer, start) {
                METRICS.rate_limited.add(1);
                return Err(StoreError::Busy(wait));
            }
            let known = load(&self.connection, circle, &self.pending, admitted)?;
            self.toll.charge(append.payer, known.names(), start);
            Ok(known)
        });
        let known = match known {
            Err(busy @ StoreError::Busy(_)) => return Ok(Err(busy)),
            known => known?,
        };
        let (start, first) = (admitted.len(), self.next);
        let mut stored = Vec::with_capacity(append.items.len());
        for item in &append.items {
            let next = Cursor(self.next);
            let before = known.admit(item.name, next, &item.envelope);
            if before.is_none() {
                self.next += 1;
                admitted.push(Record {
                    hint: circle.hint,
                    seq: next,
                    name: item.name,
                    stored_at: now,
                    envelope: item.envelope.clone(),
                });
            }
            stored.push(Stored { msg_id: item.msg_id, cursor: before.unwrap_or(next) });
        }
        let new = admitted.len() > start;
        if new && (known.messages > self.quota.messages || known.bytes > self.quota.bytes) {
            // The other requests of the group are not concerned.
            for record in admitted.drain(start..) {
                known.withdraw(record.name, &record.envelope);
            }
            self.next = first;
            return Ok(Err(StoreError::Quota));
        }
        Ok(Ok(stored))
    }

    /// Puts new messages where they outlast a power cut.
    fn keep(&mut self, records: Vec<Record>) -> Result<(), StoreError> {
        let bytes = records.iter().map(|record| journal::size(&record.envelope)).sum();
        if let Some(journal) =
            self.journal.as_mut().filter(|journal| bytes <= MAX_JOURNALED && journal.has_room(bytes))
        {
            match journal.append(&records) {
                Ok(()) => {
                    if self.pending.is_empty() {
                        self.behind_since = Instant::now();
                    }
                    self.pending.add(records);
                    return Ok(());
                }
                Err(e) => {
                    tracing::error!(
                        "the journal cannot be written and is not used any more: {e}; the database is"
                    );
                    self.journal = None;
                }
            }
        }
        self.settle(&records)
    }

    /// Writes what is pending, and `more`, to the database.
    fn settle(&mut self, more: &[Record]) -> Result<(), StoreError> {
        let pending = self.pending.records();
        let mut records: Vec<&Record> = pending.iter().chain(more).collect();
        records.sort_unstable_by_key(|record| (record.hint.0, record.seq));
        if let Err(error) = self.write_blocks(&records, true) {
            use ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};
            if let Some(DatabaseBusy | DatabaseLocked | DiskFull) = error.sqlite_error_code() {
                return Err(error.into());
            }
            // Merging reads what writing behind it does not: should that be damaged, whatever it is called, the relay goes on.
            self.write_blocks(&records, false)?;
        }
        self.stuck = false;
        self.pending.clear();
        if let Some(journal) = &mut self.journal {
            journal.restart();
        }
        Ok(())
    }

    /// Writes messages that lie by circle, in log order; `merging` them with small blocks that are there, or not.
    fn write_blocks(&mut self, records: &[&Record], merging: bool) -> rusqlite::Result<()> {
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let mut blocks = Appender::new(&transaction);
        let circles = self.circles.read().unwrap_or_else(PoisonError::into_inner);
        for of_circle in records.chunk_by(|one, next| one.hint == next.hint) {
            // A circle is forgotten only when nothing of it is left anywhere.
            let Some(circle) = circles.get(&of_circle[0].hint) else { continue };
            if merging {
                let size = of_circle.iter().map(|record| block::size(&record.envelope)).sum();
                blocks.reopen(circle.id, &of_circle[0].message(), size)?;
            }
            for record in of_circle {
                blocks.add(circle.id, &record.message())?;
            }
        }
        drop(circles);
        blocks.finish()?;
        transaction.prepare_cached(SET_META)?.execute(params![JOURNALED_FROM, to_sql(self.next)])?;
        transaction.commit()
    }

    /// Takes in what was found in the journal. What a restored backup lacks of that may be there under another number.
    pub(super) fn take_back(&mut self, found: Vec<Record>) -> rusqlite::Result<()> {
        let circles = self.circles.read().unwrap_or_else(PoisonError::into_inner);
        let mut lacking = Vec::with_capacity(found.len());
        for record in found {
            // A circle is forgotten only when nothing of it is left anywhere.
            let Some(circle) = circles.get(&record.hint) else { continue };
            let known = self.known.of(circle.id, || log::known(&self.connection, circle.id))?;
            if known.admit(record.name, record.seq, &record.envelope).is_none() {
                lacking.push(record);
            }
        }
        self.pending.add(lacking);
        Ok(())
    }

    /// Lets the database have what is pending. Should it refuse, the journal still has it, and there is a next time.
    pub(super) fn catch_up(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if let Err(error) = self.settle(&[]) {
            // That may have taken long, and whoever waits for the journal comes first.
            self.behind_since = Instant::now();
            if !std::mem::replace(&mut self.stuck, true) {
                tracing::error!("accepted messages stay in the journal, the database refuses them: {error}");
            }
        }
    }

    /// Forgets circles registered before a time (unix seconds) that hold no message, of those after an id and up to another.
    pub(super) fn forget_idle(&mut self, idle_before: u64, after: i64, to: i64) -> rusqlite::Result<()> {
        if !self.pending.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        let idle: Vec<(i64, CircleHint)> = transaction
            .prepare_cached(
                "SELECT id, hint FROM circles WHERE id > ?1 AND id <= ?2 AND created_at < ?3
                 AND NOT EXISTS (SELECT 1 FROM blocks WHERE circle = circles.id)",
            )?
            .query_map(params![after, to, to_sql(idle_before)], |row| {
                Ok((row.get(0)?, CircleHint(row.get(1)?)))
            })?
            .collect::<Result<_, _>>()?;
        let mut circles = self.circles.write().unwrap_or_else(PoisonError::into_inner);
        // Sockets, tokens and requests hold on to theirs, and may be about to post.
        let unused =
            |hint: &CircleHint| circles.get(hint).is_none_or(|circle| Arc::strong_count(circle) == 1);
        let idle: Vec<(i64, CircleHint)> = idle.into_iter().filter(|(_, hint)| unused(hint)).collect();
        for (id, _) in &idle {
            transaction.prepare_cached("DELETE FROM circles WHERE id = ?1")?.execute([id])?;
        }
        transaction.commit()?;
        for (id, hint) in idle {
            circles.remove(&hint);
            self.known.forget(id);
        }
        Ok(())
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

    /// Removes the oldest messages of some circles, and idle ones of these; true when there may be more to remove.
    fn prune(&mut self, stored_before: u64) -> Result<bool, StoreError> {
        self.catch_up();
        let next = to_sql(self.next);
        let transaction = self.connection.transaction()?;
        let circles: Vec<i64> = transaction
            .prepare_cached("SELECT id FROM circles WHERE id > ?1 ORDER BY id LIMIT ?2")?
            .query_map([self.pruned_to, PRUNE_CIRCLES], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut left = PRUNE_STEP;
        let mut removed = 0;
        let mut pruned_to = self.pruned_to;
        for &circle in &circles {
            let here = log::remove_old(&transaction, circle, stored_before, &mut left)?;
            if here > 0 {
                self.known.forget(circle);
                removed += here;
            }
            if left == 0 {
                break;
            }
            pruned_to = circle;
        }
        if removed > 0 {
            transaction.execute(SET_META, params!["next_seq", next])?;
        }
        transaction.commit()?;
        METRICS.pruned.add(removed);
        self.forget_idle(clock::unix_seconds().saturating_sub(IDLE_S), self.pruned_to, pruned_to)?;
        self.pruned_to = if circles.is_empty() { 0 } else { pruned_to };
        Ok(!circles.is_empty())
    }
}
