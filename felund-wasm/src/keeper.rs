//! The task that writes and reads for the node, strictly in the order asked for.
//!
//! Batches that wait together are written in one transaction: with strict durability every transaction is a flush to
//! the disk, and a burst of messages should not pay for each. When such a transaction fails its batches are tried
//! one by one, so that each is reported for itself.

use std::collections::VecDeque;

use felund_core::{
    io::{BatchId, Event, Input, QueryId},
    store::{Batch, Loaded, MemoryStore, Query, Store},
};
use wasm_bindgen_futures::spawn_local;

use crate::{ahead::Rows, idb::IdbStore, inbox::Inbox};

/// Operations that one transaction may gather from several batches.
const MAX_GATHERED_OPS: usize = 512;

#[derive(Debug)]
pub(crate) enum Job {
    Commit(BatchId, Batch),
    Load(QueryId, Query),
}

/// Stops when dropped, after the job in hand.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Inbox<Job>,
}

impl Keeper {
    /// Opens the database, or keeps everything in memory and says so when the browser refuses one.
    pub(crate) fn start(
        database: String,
        ahead: Option<Rows>,
        answers: Inbox<Input>,
        notify: impl Fn(Event) + 'static,
    ) -> Self {
        let jobs = Inbox::new();
        let queue: Inbox<Job> = jobs.clone();
        spawn_local(async move {
            let mut store = match IdbStore::open_after(ahead, &database).await {
                Ok(store) => AnyStore::Idb(store),
                Err(cause) => {
                    notify(refused(&cause));
                    AnyStore::Memory(MemoryStore::default())
                }
            };
            while let Some(mut waiting) = queue.drain().await {
                while let Some(job) = waiting.pop_front() {
                    match job {
                        Job::Load(id, query) => answers.push(Input::Loaded(id, store.load(query).await)),
                        Job::Commit(id, batch) => {
                            let together = gather(id, batch, &mut waiting);
                            commit(&mut store, together, &answers).await;
                        }
                    }
                }
            }
        });
        Self { jobs }
    }

    pub(crate) fn push(&self, job: Job) {
        self.jobs.push(job);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs.close();
    }
}

fn refused(cause: &str) -> Event {
    let text = [
        "Nothing can be kept in this browser (",
        cause,
        "). You can chat, but your name, your circles and messages are gone when this tab closes. A private window \
         or blocked site data may be the reason: open Felund in a normal window, or allow site data.",
    ];
    Event::Notice { error: true, text: text.concat() }
}

/// The batch and those right behind it, with no read between them.
fn gather(id: BatchId, batch: Batch, waiting: &mut VecDeque<Job>) -> Vec<(BatchId, Batch)> {
    let mut ops = batch.ops.len();
    let mut together = vec![(id, batch)];
    while let Some(Job::Commit(_, next)) = waiting.front() {
        ops += next.ops.len();
        if ops > MAX_GATHERED_OPS {
            break;
        }
        if let Some(Job::Commit(id, batch)) = waiting.pop_front() {
            together.push((id, batch));
        }
    }
    together
}

async fn commit(store: &mut AnyStore, batches: Vec<(BatchId, Batch)>, answers: &Inbox<Input>) {
    if batches.len() > 1 {
        let strict = batches.iter().any(|(_, batch)| batch.strict);
        let ops = batches.iter().flat_map(|(_, batch)| batch.ops.iter().cloned()).collect();
        if store.commit(Batch { ops, strict }).await.is_ok() {
            batches.iter().for_each(|(id, _)| answers.push(Input::Committed(*id)));
            return;
        }
    }
    for (id, batch) in batches {
        answers.push(match store.commit(batch).await {
            Ok(()) => Input::Committed(id),
            Err(cause) => Input::StoreFailed(id, cause),
        });
    }
}

#[derive(Debug)]
enum AnyStore {
    Idb(IdbStore),
    Memory(MemoryStore),
}

impl Store for AnyStore {
    async fn commit(&mut self, batch: Batch) -> Result<(), String> {
        match self {
            Self::Idb(store) => store.commit(batch).await,
            Self::Memory(store) => store.commit(batch).await,
        }
    }

    async fn load(&mut self, query: Query) -> Result<Loaded, String> {
        match self {
            Self::Idb(store) => store.load(query).await,
            Self::Memory(store) => store.load(query).await,
        }
    }
}
