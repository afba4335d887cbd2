//! What the relay keeps on disk: circles' signing keys and sealed envelopes, in SQLite.
//!
//! One writer thread owns the only writing connection and commits groups of requests at once ([`writer`]); reads
//! come from a small pool on WAL snapshots. A cursor is a number given out by the writer, so what one reader
//! has seen up to a cursor is all there will ever be up to it. Deliberately absent: any look into an envelope.

mod block;
mod journal;
mod known;
mod log;
mod pending;
mod schema;
mod toll;
mod writer;

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use felund_core::{
    envelope::Header,
    ids::{CircleHint, Cursor, MsgId},
    relay_api::{Stored, signing::ApiKey},
};
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, oneshot};

pub(crate) use schema::OpenError;

use self::{
    journal::{Journal, Record},
    pending::Pending,
    writer::{JOURNALED_FROM, Writer},
};
use crate::{clock, limits::Payer};

/// The database in the data folder.
pub(crate) const FILE: &str = "relay.sqlite";
/// Connections for reading; each holds a page cache, so they are few.
const READERS: usize = 4;
/// Cursors start at the clock's seconds times a million (2^20), more than are given out in one.
const CLOCK_SHIFT: u32 = 20;

/// A registered circle.
#[derive(Debug)]
pub(crate) struct Circle {
    pub(crate) id: i64,
    pub(crate) hint: CircleHint,
    pub(crate) key: ApiKey,
}

/// Why something was not stored or read. In every case nothing of the request was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// The disk, or the database's limit, is full.
    Full,
    /// SQLite or the file system failed; the text is for the log.
    Failed(String),
    /// The circle would exceed its quota.
    Quota,
    /// The relay holds as many circles as it may.
    TooManyCircles,
    /// The caller has made the writer read too much, and has to wait for so long.
    Busy(Duration),
    /// The relay is shutting down.
    Stopped,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the relay's disk is full"),
            Self::Failed(what) => write!(f, "storage failed: {what}"),
            Self::Quota => f.write_str("the circle is at its quota"),
            Self::TooManyCircles => f.write_str("the relay is at its number of circles"),
            Self::Busy(_) => f.write_str("too many names were read for the caller"),
            Self::Stopped => f.write_str("the relay is shutting down"),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Failed(e.to_string()),
        }
    }
}

/// Limits the writer enforces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) circles: usize,
}

/// One verified envelope on its way to disk.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) msg_id: MsgId,
    /// What it is known by: its author and its id together, or whoever copies an id could have another's envelope taken for
    /// stored already.
    name: MsgId,
    pub(crate) envelope: Bytes,
}

impl Item {
    pub(crate) fn new(header: &Header, envelope: Bytes) -> Self {
        let digest =
            Sha256::new().chain_update(header.author_node_id.0).chain_update(header.msg_id.0).finalize();
        let mut name = [0; 16];
        name.copy_from_slice(&digest[..16]);
        Self { msg_id: header.msg_id, name: MsgId(name), envelope }
    }
}

/// Called once, when the request is durable or refused.
pub(crate) type Reply = Box<dyn FnOnce(Result<Vec<Stored>, StoreError>) + Send>;

/// Envelopes of one request.
pub(crate) struct Append {
    pub(crate) circle: Arc<Circle>,
    pub(crate) items: Vec<Item>,
    /// Whom it is charged to if the circle's names have to be read for it.
    pub(crate) payer: Payer,
    pub(crate) reply: Reply,
}

/// A request whose fate is known, and whom to tell.
pub(crate) struct Done {
    pub(crate) result: Result<Vec<Stored>, StoreError>,
    pub(crate) reply: Reply,
}

/// New messages of one circle, in log order.
pub(crate) type Fresh = (CircleHint, Vec<(Cursor, Bytes)>);

/// What the writer lets the rest of the relay know, in this order for each group.
pub(crate) enum Event {
    /// These are being written: whoever is connected may have them while the disk is at work. Nobody is told that
    /// they are stored, and their cursors are not given out again even if the write fails.
    Writing(Vec<Fresh>),
    /// The write failed: of what was being written there is nothing after the cursor.
    Withdrawn(Cursor),
    /// The group is on disk, or was refused.
    Done(Vec<Done>),
}

/// Receives the events on the writer's thread.
pub(crate) type Sink = Box<dyn FnMut(Event) + Send>;

pub(crate) enum Job {
    Append(Append),
    Register { key: ApiKey, reply: oneshot::Sender<Result<Arc<Circle>, StoreError>> },
    Prune { stored_before: u64, reply: oneshot::Sender<Result<bool, StoreError>> },
    Stop,
}

type Circles = Arc<RwLock<HashMap<CircleHint, Arc<Circle>>>>;

/// The store's handle, shared by all handlers.
pub(crate) struct Store {
    jobs: mpsc::Sender<Job>,
    circles: Circles,
    readers: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
    pending: Arc<Pending>,
    next: Arc<AtomicU64>,
}

/// Envelopes after a cursor, and whether there are more.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) messages: Vec<(Cursor, Vec<u8>)>,
    pub(crate) more: bool,
    /// How many messages, and beyond the first how many bytes, still fit.
    room: usize,
    bytes: usize,
}

impl Page {
    fn new(limit: usize, max_bytes: usize) -> Self {
        Self { messages: Vec::new(), more: false, room: limit, bytes: max_bytes }
    }

    /// Adds the next message of the log; false if the page is full, as it then says.
    fn push(&mut self, cursor: Cursor, envelope: &[u8]) -> bool {
        self.more = self.room == 0 || (envelope.len() > self.bytes && !self.messages.is_empty());
        if !self.more {
            self.room -= 1;
            self.bytes = self.bytes.saturating_sub(envelope.len());
            self.messages.push((cursor, envelope.to_vec()));
        }
        !self.more
    }
}

impl Store {
    /// Opens or makes the database in `dir` and starts the writer. `idle_before` (unix seconds): circles registered
    /// earlier that hold no message are forgotten; their members register again by themselves.
    pub(crate) fn open(dir: &Path, quota: Quota, idle_before: u64, sink: Sink) -> Result<Self, OpenError> {
        let path = dir.join(FILE);
        Self::with_connection(&path, schema::open_writer(&path)?, quota, idle_before, sink)
    }

    fn with_connection(
        path: &Path,
        connection: Connection,
        quota: Quota,
        idle_before: u64,
        sink: Sink,
    ) -> Result<Self, OpenError> {
        let at_path = |e: rusqlite::Error| OpenError::of(path, &e);
        let circles = Arc::new(RwLock::new(schema::load_circles(&connection).map_err(at_path)?));
        let journaled_from = schema::meta(&connection, JOURNALED_FROM).map_err(at_path)?;
        let journaled_from = journaled_from.map_or(Cursor(0), schema::from_sql);
        let key = schema::journal_key(&connection).map_err(at_path)?;
        let (journal, records) = open_journal(&path.with_file_name("journal"), key, journaled_from);
        let last = records.last().map_or(0, |record| record.seq.0);
        let pending = Arc::new(Pending::default());
        // Cursors also start at the clock: a relay that lost its database, or got an old backup back, gives out
        // higher ones than before, and clients miss nothing. The step beyond the last one on disk is for those that
        // were pushed but not written when an earlier process died.
        let next = schema::next_seq(&connection).map_err(at_path)?.max(last + 1).max(journaled_from.0);
        let next = (next + (1 << CLOCK_SHIFT)).max(clock::unix_seconds() << CLOCK_SHIFT);
        let shared_next = Arc::new(AtomicU64::new(next));
        let readers = (0..READERS).map(|_| schema::open_reader(path)).collect::<Result<_, _>>();
        let readers = readers.map_err(at_path)?;
        let (jobs, inbox) = mpsc::channel();
        let durable = (journal, pending.clone());
        let mut writer = Writer::new(connection, circles.clone(), durable, shared_next.clone(), quota, sink);
        writer.take_back(records).map_err(at_path)?;
        writer.catch_up();
        writer.forget_idle(idle_before, 0, i64::MAX).map_err(at_path)?;
        let writer = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || writer.run(inbox))
            .map_err(|e| OpenError::Other(e.to_string()))?;
        Ok(Self {
            jobs,
            circles,
            readers: Mutex::new(readers),
            free: Arc::new(Semaphore::new(READERS)),
            writer: Mutex::new(Some(writer)),
            pending,
            next: shared_next,
        })
    }

    /// The circle behind a hint, if it has registered.
    pub(crate) fn circle(&self, hint: &CircleHint) -> Option<Arc<Circle>> {
        self.circles.read().unwrap_or_else(PoisonError::into_inner).get(hint).cloned()
    }

    /// How many circles are registered.
    pub(crate) fn circle_count(&self) -> usize {
        self.circles.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Registers a circle by its key; answers the one known already if there is one.
    pub(crate) async fn register(&self, key: ApiKey) -> Result<Arc<Circle>, StoreError> {
        if let Some(circle) = self.circle(&key.hint()) {
            return Ok(circle);
        }
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Register { key, reply }).map_err(|_| StoreError::Stopped)?;
        answer.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Hands envelopes to the writer; `reply` is called once they are durable or refused.
    pub(crate) fn append(&self, append: Append) {
        if let Err(mpsc::SendError(Job::Append(append))) = self.jobs.send(Job::Append(append)) {
            (append.reply)(Err(StoreError::Stopped));
        }
    }

    /// Removes some of the messages stored before a time (unix seconds); true when it is worth calling again.
    pub(crate) async fn prune(&self, stored_before: u64) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Prune { stored_before, reply }).map_err(|_| StoreError::Stopped)?;
        answer.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// At most `limit` messages and, beyond the first, at most `max_bytes` of them, after a cursor.
    pub(crate) async fn page(
        self: &Arc<Self>,
        circle: &Arc<Circle>,
        after: Cursor,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page, StoreError> {
        let (store, circle) = (self.clone(), circle.clone());
        let free = self.free.clone().acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        tokio::task::spawn_blocking(move || {
            // Whoever asked may have gone; the connection is in use all the same.
            let _free = free;
            let lock = || store.readers.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = lock().pop().ok_or(StoreError::Stopped)?;
            // Before the database: what moves there meanwhile is seen twice and not missed.
            let pending = store.pending.after(&circle.hint, after);
            let page = log::read_page(&connection, circle.id, after, limit, max_bytes);
            lock().push(connection);
            let mut page = page?;
            if page.more {
                return Ok(page);
            }
            let last = page.messages.last().map_or(after, |(cursor, _)| *cursor);
            for (cursor, envelope) in pending.iter().filter(|(cursor, _)| *cursor > last) {
                if !page.push(*cursor, envelope) {
                    break;
                }
            }
            Ok(page)
        })
        .await
        .unwrap_or(Err(StoreError::Stopped))
    }

    /// A client's cursor, or the log's beginning if this log never gave it out.
    pub(crate) fn in_log(&self, after: Cursor) -> Cursor {
        if after.0 < self.next.load(Ordering::Acquire) { after } else { Cursor(0) }
    }

    /// Commits what is queued and ends the writer. Later calls answer [`StoreError::Stopped`].
    pub(crate) fn stop(&self) {
        // The writer has ended already if the channel is closed; joining it below is all that is left.
        let _ = self.jobs.send(Job::Stop);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer thread panicked; acknowledged messages are on disk");
        }
    }
}

/// The journal and what lies in it. Without one, every group waits for the database: slower, and just as safe.
fn open_journal(path: &Path, key: journal::Key, from: Cursor) -> (Option<Journal>, Vec<Record>) {
    let file = path.display();
    match Journal::open(path, key, from) {
        Ok((journal, found)) => {
            if found.damaged > 0 {
                tracing::error!(
                    "{} bytes of the journal {file} are damaged: unless they were being written when the power went, \
                     messages that the relay had accepted are lost but for the members who have them. What follows them \
                     was read; check the disk",
                    found.damaged
                );
            }
            (Some(journal), found.records)
        }
        Err(e) => {
            tracing::error!("the journal {file} cannot be used: {e}; posts will take longer");
            (None, Vec::new())
        }
    }
}

#[cfg(test)]
mod tests;
