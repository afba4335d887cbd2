//! The thread that owns the database, so that nobody who draws or talks waits for a disk.
//!
//! Jobs are done in the order they were given, so that a read sees every write handed out before it. Writes that
//! have queued up meanwhile share one transaction and one fsync.

use std::{
    path::Path,
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
};

use felund_core::{
    io::{BatchId, Input, QueryId},
    store::{Batch, Query},
};

use crate::{driver::Inbox, storage::Sqlite};

/// Most batches in one transaction.
const GROUP: usize = 64;

#[derive(Debug)]
enum Job {
    Write(BatchId, Batch),
    Read(QueryId, Query),
}

/// The thread; it ends when this is dropped and everything given to it is done.
#[derive(Debug)]
pub(crate) struct Disk {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Opens the database here, so that a refusal is known at once; `answer` is called on the thread.
    pub(crate) fn open(path: &Path, answer: impl FnMut(Inbox) + Send + 'static) -> Result<Self, String> {
        let store = Sqlite::open(path)?;
        let (jobs, queue) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("disk".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || run(store, &queue, answer))
            .map_err(|e| format!("cannot start the storage thread: {e}"))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(crate) fn write(&self, id: BatchId, batch: Batch) {
        self.give(Job::Write(id, batch));
    }

    pub(crate) fn read(&self, id: QueryId, query: Query) {
        self.give(Job::Read(id, query));
    }

    fn give(&self, job: Job) {
        // The thread only ends after `jobs` is dropped, or by a panic that it has told about.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut store: Sqlite, queue: &Receiver<Job>, mut answer: impl FnMut(Inbox)) {
    store.unwiped().into_iter().for_each(|text| answer(Inbox::Warning(text)));
    let mut next = None;
    while let Some(job) = next.take().or_else(|| queue.recv().ok()) {
        match job {
            Job::Read(id, query) => answer(Inbox::Node(Input::Loaded(id, store.read(&query)))),
            Job::Write(id, batch) => {
                let (mut ids, mut batches) = (vec![id], vec![batch]);
                while batches.len() < GROUP {
                    match queue.try_recv() {
                        Ok(Job::Write(id, batch)) => {
                            ids.push(id);
                            batches.push(batch);
                        }
                        Ok(read) => {
                            next = Some(read);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                write(&mut store, ids, &batches, &mut answer);
                store.unwiped().into_iter().for_each(|text| answer(Inbox::Warning(text)));
            }
        }
    }
}

fn write(store: &mut Sqlite, ids: Vec<BatchId>, batches: &[Batch], answer: &mut impl FnMut(Inbox)) {
    match store.write(batches) {
        Ok(()) => ids.into_iter().for_each(|id| answer(Inbox::Node(Input::Committed(id)))),
        // Together they failed; each alone may still fit, as on a disk with little room left.
        Err(_) if batches.len() > 1 => {
            for (id, batch) in ids.into_iter().zip(batches) {
                write(store, vec![id], std::slice::from_ref(batch), answer);
            }
        }
        Err(error) => {
            ids.into_iter().for_each(|id| answer(Inbox::Node(Input::StoreFailed(id, error.clone()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use felund_core::store::{IDENTITY, Loaded, Op};

    use super::*;

    #[test]
    fn answers_come_in_order_and_reads_see_writes() {
        let temp = tempfile::tempdir().expect("tempdir");
        let (tell, told) = mpsc::channel();
        let disk = Disk::open(&temp.path().join("felund.db"), move |input| {
            let _ = tell.send(input);
        })
        .expect("open");
        for n in 0..5_u8 {
            let op = Op::PutRecord("n".into(), vec![n]);
            disk.write(BatchId(u64::from(n)), Batch { ops: vec![op], strict: n % 2 == 0 });
        }
        disk.read(QueryId(9), Query::Records);
        drop(disk);
        let told: Vec<_> = told.iter().collect();
        assert_eq!(told.len(), 6);
        for (n, input) in told[..5].iter().enumerate() {
            let committed = |id: &BatchId| id.0 == n as u64;
            assert!(matches!(input, Inbox::Node(Input::Committed(id)) if committed(id)), "{input:?}");
        }
        let Inbox::Node(Input::Loaded(QueryId(9), Ok(Loaded::Records(records)))) = &told[5] else {
            panic!("{told:?}")
        };
        assert_eq!(records[..], [("n".to_owned(), vec![4])]);
    }

    #[test]
    fn a_key_that_could_not_be_wiped_is_told_of_after_it_was_stored() {
        let temp = tempfile::tempdir().expect("tempdir");
        let mut store = Sqlite::open(&temp.path().join("felund.db")).expect("open");
        let batch = |form: u8| Batch { ops: vec![Op::PutRecord(IDENTITY.into(), vec![form])], strict: true };
        store.write(&[batch(1)]).expect("write");
        crate::storage::tests::break_wiping(&store);
        let (jobs, queue) = mpsc::channel();
        jobs.send(Job::Write(BatchId(1), batch(2))).expect("queue");
        drop(jobs);
        let mut told = Vec::new();
        run(store, &queue, |answer| told.push(answer));
        assert!(matches!(told[..], [Inbox::Node(Input::Committed(_)), Inbox::Warning(_)]), "{told:?}");
    }
}
