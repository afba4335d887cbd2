//! From the writer to the sockets: a thread that encodes each message once and hands it to everybody.
//!
//! It is a thread of its own so that the writer can be at its next fsync meanwhile, and only one, so that the order
//! of the log is the order on every socket.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use felund_core::{
    ids::{CircleHint, Cursor},
    wire::encode_live,
};

use super::{Hub, Room, room::Batch};
use crate::{
    socket::frame,
    store::{Event, Fresh},
};

/// Frames joined before they are handed to the sockets; well below a socket's queue.
const JOIN_BYTES: usize = 128 * 1024;

/// The thread, joined when the relay ends.
pub(crate) struct Fanout {
    thread: JoinHandle<()>,
}

impl Fanout {
    /// Starts it; it ends when the sender (which the store's writer holds) is dropped.
    pub(crate) fn start(hub: Arc<Hub>) -> io::Result<(mpsc::Sender<Event>, Self)> {
        let (sender, events) = mpsc::channel::<Event>();
        let thread = std::thread::Builder::new().name("fan-out".into()).spawn(move || {
            let mut writing = Vec::new();
            while let Ok(event) = events.recv() {
                match event {
                    Event::Writing(fresh) => writing = deliver(&hub, fresh),
                    Event::Withdrawn(last) => {
                        for hint in writing.drain(..) {
                            hub.written(&hint, |room, _| room.withdraw(last));
                        }
                    }
                    Event::Done(group) => {
                        for hint in writing.drain(..) {
                            hub.written(&hint, Room::settle);
                        }
                        for done in group {
                            (done.reply)(done.result);
                        }
                    }
                }
            }
        })?;
        Ok((sender, Self { thread }))
    }

    /// Waits until everything has been handed out.
    pub(crate) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the fan-out thread panicked; stored messages are on disk and read from there");
        }
    }
}

/// Hands out what is being written; to which circles it belongs.
fn deliver(hub: &Hub, group: Vec<Fresh>) -> Vec<CircleHint> {
    let mut fresh: HashMap<CircleHint, Vec<_>> = HashMap::new();
    for (hint, messages) in group {
        fresh.entry(hint).or_default().extend(messages);
    }
    let writing = fresh.keys().copied().collect();
    for (hint, messages) in fresh {
        let last = messages.last().map_or(Cursor(0), |(cursor, _)| *cursor);
        // Without a room nobody is connected; whoever comes reads the log.
        hub.writing(&hint, last, |room| {
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
    writing
}
