//! From the writer's commits to the sockets: a thread that encodes each message once and hands it to everybody.
//!
//! It is a thread of its own so that the writer can be at its next fsync meanwhile, and only one, so that the order
//! of the log is the order on every socket.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use felund_core::{ids::CircleHint, wire::encode_live};

use super::{Hub, room::Batch};
use crate::{socket::frame, store::Done};

/// Frames joined before they are handed to the sockets; well below a socket's queue.
const JOIN_BYTES: usize = 128 * 1024;

/// The thread, joined when the relay ends.
pub(crate) struct Fanout {
    thread: JoinHandle<()>,
}

impl Fanout {
    /// Starts it; it ends when the sender (which the store's writer holds) is dropped.
    pub(crate) fn start(hub: Arc<Hub>) -> io::Result<(mpsc::Sender<Vec<Done>>, Self)> {
        let (sender, committed) = mpsc::channel::<Vec<Done>>();
        let thread = std::thread::Builder::new().name("fan-out".into()).spawn(move || {
            while let Ok(mut group) = committed.recv() {
                group.extend(committed.try_iter().flatten());
                deliver(&hub, group);
            }
        })?;
        Ok((sender, Self { thread }))
    }

    /// Waits until everything committed has been handed out.
    pub(crate) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the fan-out thread panicked; stored messages are on disk and read from there");
        }
    }
}

fn deliver(hub: &Hub, group: Vec<Done>) {
    let mut fresh: HashMap<CircleHint, Vec<_>> = HashMap::new();
    for done in group {
        if !done.fresh.is_empty() {
            fresh.entry(done.hint).or_default().extend(done.fresh);
        }
        (done.reply)(done.result);
    }
    for (hint, messages) in fresh {
        // Without a room nobody is connected; whoever comes reads the log.
        hub.with_existing(&hint, |room| {
            let mut frames = Vec::new();
            let mut starts = Vec::new();
            for (cursor, envelope) in messages {
                starts.push((cursor, frames.len()));
                frame::put_binary(&mut frames, &encode_live(&hint, cursor, &envelope));
                if frames.len() >= JOIN_BYTES {
                    room.publish(&Batch {
                        frames: std::mem::take(&mut frames).into(),
                        starts: std::mem::take(&mut starts),
                    });
                }
            }
            room.publish(&Batch { frames: frames.into(), starts });
        });
    }
}
