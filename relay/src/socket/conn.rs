//! One WebSocket's way out: a bounded queue of shared frames over a socket that anybody may write to.
//!
//! Whoever has something to say writes it at once, without waking the socket's task; only what the kernel does not
//! take is queued, and the task writes it when there is room, joined into one call. So a message to fifty quiet
//! sockets costs fifty writes and no task switch, and a socket that does not read costs its queue and no more.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::{net::TcpStream, sync::Notify};

use super::frame;

/// Most bytes queued per socket.
pub(crate) const QUEUE_LIMIT: usize = 1024 * 1024;
/// More that answers may take: a queue full of what is pushed must not cost a client that asks something its socket.
const ANSWERS: usize = 64 * 1024;
/// Below this the socket's task reads on from the log.
pub(super) const LOW_WATER: usize = 128 * 1024;
/// Most bytes of a socket's own posts on their way to disk before no more is read from it.
const IN_FLIGHT_LIMIT: usize = 2 * 1024 * 1024;
/// Frames joined into one write.
const JOIN: usize = 64;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Written or queued.
    Yes,
    /// Not taken: the queue is full.
    Full,
    /// Not taken: the socket is closing or gone.
    Closed,
}

#[derive(Debug, Default)]
struct Out {
    queue: VecDeque<Bytes>,
    /// Bytes of the first entry already written.
    written: usize,
    bytes: usize,
    closing: bool,
    dead: bool,
}

/// A socket, shared by its task and by everyone who sends to it.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: u64,
    tcp: TcpStream,
    out: Mutex<Out>,
    wake: Notify,
    lagged: AtomicBool,
    attached: AtomicBool,
    /// Seconds after `born` at which it ceased to listen to any circle.
    idle_from: AtomicU32,
    in_flight: AtomicUsize,
    born: Instant,
    /// Seconds after `born` at which something arrived, and at which something left or nothing was waiting.
    heard: AtomicU32,
    moved: AtomicU32,
}

impl Conn {
    pub(crate) fn new(id: u64, tcp: TcpStream) -> Self {
        Self {
            id,
            tcp,
            out: Mutex::default(),
            wake: Notify::new(),
            lagged: AtomicBool::new(false),
            attached: AtomicBool::new(false),
            idle_from: AtomicU32::new(0),
            in_flight: AtomicUsize::new(0),
            born: Instant::now(),
            heard: AtomicU32::new(0),
            moved: AtomicU32::new(0),
        }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since it was opened.
    pub(super) fn age(&self) -> u32 {
        u32::try_from(self.born.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// Writes whole frames, or queues what the kernel does not take.
    pub(crate) fn send(&self, frames: Bytes) -> Sent {
        let mut out = self.out();
        if out.closing || out.dead {
            return Sent::Closed;
        }
        self.put(&mut out, frames, QUEUE_LIMIT)
    }

    /// Sends what a client may not miss: a socket whose queue is full even for that is given up.
    pub(crate) fn send_or_drop(&self, frames: Bytes) {
        let mut out = self.out();
        if out.closing || out.dead {
            return;
        }
        let sent = self.put(&mut out, frames, QUEUE_LIMIT + ANSWERS);
        drop(out);
        if sent == Sent::Full {
            self.kill();
        }
    }

    fn put(&self, out: &mut Out, frames: Bytes, limit: usize) -> Sent {
        if out.bytes + frames.len() > limit {
            return Sent::Full;
        }
        if out.queue.is_empty() {
            let written = match self.tcp.try_write(&frames) {
                Ok(written) => written,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => {
                    out.dead = true;
                    self.wake.notify_one();
                    return Sent::Closed;
                }
            };
            if written == frames.len() {
                return Sent::Yes;
            }
            self.moved.store(self.age(), Ordering::Relaxed);
            out.written = written;
            out.bytes = frames.len() - written;
            out.queue.push_back(frames);
            self.wake.notify_one();
            return Sent::Yes;
        }
        out.bytes += frames.len();
        out.queue.push_back(frames);
        Sent::Yes
    }

    /// Writes what is queued, as much as the kernel takes. For the socket's task.
    pub(super) fn flush(&self) {
        let mut out = self.out();
        while !out.dead && !out.queue.is_empty() {
            let written = {
                let mut parts = [IoSlice::new(&[]); JOIN];
                let mut count = 0;
                for (part, frames) in parts.iter_mut().zip(&out.queue) {
                    *part = IoSlice::new(if count == 0 { &frames[out.written..] } else { frames });
                    count += 1;
                }
                self.tcp.try_write_vectored(&parts[..count])
            };
            match written {
                Ok(0) => out.dead = true,
                Ok(written) => {
                    self.moved.store(self.age(), Ordering::Relaxed);
                    out.take(written);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => out.dead = true,
            }
        }
    }

    /// Says goodbye after what is queued; nothing is sent after it.
    pub(crate) fn close(&self, code: u16, reason: &str) {
        let mut out = self.out();
        if !out.closing && !out.dead {
            // A queue too full for a close frame means that the socket is cut off without one.
            let _ = self.put(&mut out, frame::closing(code, reason), QUEUE_LIMIT + ANSWERS);
            out.closing = true;
        }
        drop(out);
        self.wake.notify_one();
    }

    /// Gives the socket up at once.
    pub(crate) fn kill(&self) {
        let mut out = self.out();
        out.dead = true;
        out.queue = VecDeque::new();
        out.bytes = 0;
        drop(out);
        self.wake.notify_one();
    }

    /// The hub stopped sending live messages because the queue was full: the task reads on from the log.
    pub(crate) fn mark_lagged(&self) {
        self.lagged.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn take_lagged(&self) -> bool {
        self.lagged.load(Ordering::Relaxed) && self.lagged.swap(false, Ordering::Acquire)
    }

    pub(super) fn queued(&self) -> usize {
        self.out().bytes
    }

    /// Whether the close frame is out, or the socket is gone.
    pub(super) fn state(&self) -> (bool, bool) {
        let out = self.out();
        (out.closing, out.dead || (out.closing && out.queue.is_empty()))
    }

    /// Counts a post on its way to disk; answers how much is with it.
    pub(super) fn begin(&self, bytes: usize) -> usize {
        self.in_flight.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Takes it off again.
    pub(super) fn finish(&self, bytes: usize) {
        let before = self.in_flight.fetch_sub(bytes, Ordering::Relaxed);
        if before >= IN_FLIGHT_LIMIT {
            self.wake.notify_one();
        }
    }

    pub(super) fn may_read(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) < IN_FLIGHT_LIMIT
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn note_heard(&self) {
        self.heard.store(self.age(), Ordering::Relaxed);
    }

    pub(super) fn set_attached(&self, attached: bool) {
        self.idle_from.store(self.age(), Ordering::Relaxed);
        self.attached.store(attached, Ordering::Relaxed);
    }

    /// Seconds for which it has listened to no circle; 0 when it does.
    pub(crate) fn unattached_s(&self) -> u32 {
        if self.attached.load(Ordering::Relaxed) {
            return 0;
        }
        self.age().saturating_sub(self.idle_from.load(Ordering::Relaxed))
    }

    /// Seconds since anything arrived.
    pub(crate) fn silent_s(&self) -> u32 {
        self.age().saturating_sub(self.heard.load(Ordering::Relaxed))
    }

    /// Seconds for which the kernel has taken nothing of what is queued; 0 when nothing is.
    pub(crate) fn stalled_s(&self) -> u32 {
        if self.out().queue.is_empty() {
            return 0;
        }
        self.age().saturating_sub(self.moved.load(Ordering::Relaxed))
    }

    /// Sends a WebSocket ping; a full queue needs none.
    pub(crate) fn ping(&self) {
        let _ = self.send(frame::ping());
    }
}

impl Out {
    fn take(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.queue.front() {
            let left = first.len() - self.written;
            if written < left {
                self.written += written;
                return;
            }
            written -= left;
            self.written = 0;
            self.queue.pop_front();
        }
        // An idle socket holds no queue memory.
        self.queue = VecDeque::new();
    }
}
