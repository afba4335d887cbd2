//! How fast messages pass, and what waits in memory meanwhile.

use std::{
    fs,
    future::Future,
    net::TcpListener,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use felund_core::io::ConnId;
use felund_tests::links::{Links, meet, post};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    chromium::{self, Task},
    end::{End, Start, Way, sessions},
    quic::Side,
};

/// What one transfer has shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// 10⁶ bytes of messages a second.
    pub(crate) rate: f64,
    /// What this process needed at most beyond what it had before, in 10⁶ bytes.
    pub(crate) memory: f64,
}

/// Runs one end in a thread with a runtime like the client's.
pub(crate) fn end<T: Send + 'static, F: Future<Output = T>>(
    run: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<T> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.expect("a runtime can be made");
        let done = runtime.block_on(run());
        runtime.shutdown_timeout(Duration::from_millis(100));
        done
    })
}

/// Two ends of one way that will find each other.
fn starts(way: Way) -> (Start, Start) {
    match way {
        Way::Tcp | Way::FelundTcp => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let address = listener.local_addr().expect("is bound");
            (Start::Dial(address), Start::Listen(listener))
        }
        Way::Quic | Way::Bare | Way::Felund => {
            let (here, there) = post();
            (Start::Offer(here), Start::Answer(there))
        }
    }
}

/// Sends `total` bytes in messages of `size` from one thread to another.
pub(crate) fn between_natives(way: Way, size: usize, total: usize) -> Figure {
    let (start, other) = starts(way);
    let (session, theirs) = sessions();
    let (done, received) = oneshot::channel();
    let before = Memory::mark();
    let receiver = end(move || async move {
        let mut end = End::open(way, other, Some(theirs)).await;
        let (mut got, mut buffer) = (0, vec![0; 64 * 1024]);
        while got < total {
            got += end.receive(&mut buffer, matches!(way, Way::Bare | Way::Felund)).await;
        }
        let _ = done.send(Instant::now());
        end.close().await;
    });
    let sender = end(move || async move {
        let mut end = End::open(way, start, Some(session)).await;
        end.greet().await;
        let message = vec![7; size];
        let begun = Instant::now();
        for _ in 0..total.div_ceil(size) {
            end.send(&message).await;
        }
        let ended = received.await.expect("the receiver got everything");
        let memory = before.growth();
        end.close().await;
        Figure { rate: rate(total, ended - begun), memory }
    });
    receiver.join().expect("the receiver ended well");
    sender.join().expect("the sender ended well")
}

/// Sends `total` bytes to a page, or has it send them.
pub(crate) fn with_chromium(page: &chromium::Tab, way: Way, task: Task, size: usize, total: usize) -> Figure {
    let (here, there) = post();
    // A page has no session's keys: what it is sent is sealed and not opened there, what it sends is not sealed.
    let session = (task == Task::Receive).then(|| sessions().0);
    let before = Memory::mark();
    let native = end(move || async move {
        let mut end = End::open(way, Start::Offer(here), session).await;
        let (message, mut buffer) = (vec![7; size], vec![0; 64 * 1024]);
        end.greet().await;
        let begun = Instant::now();
        if task == Task::Receive {
            for _ in 0..total.div_ceil(size) {
                end.send(&message).await;
            }
            // The page says that it has everything.
            end = strip(end);
            end.receive(&mut buffer, false).await;
        } else {
            end.send(&[0; 2]).await;
            let mut got = 0;
            while got < total {
                got += end.receive(&mut buffer, false).await;
            }
        }
        let figure = Figure { rate: rate(total, begun.elapsed()), memory: before.growth() };
        end.close().await;
        figure
    });
    page.answer(there, task, size, total);
    let figure = native.join().expect("the native end ended well");
    page.close();
    figure
}

/// From here on without the session's records.
fn strip(end: End) -> End {
    match end {
        End::Felund { links, conn, queue, channel, .. } => {
            End::Felund { links, conn, queue, session: None, channel }
        }
        other => other,
    }
}

/// How many bytes a sender gets rid of while nobody takes anything at the other end.
pub(crate) fn accepted_while_stalled(way: Way, size: usize) -> f64 {
    const STILL: Duration = Duration::from_secs(2);
    let (start, other) = starts(way);
    let (session, theirs) = sessions();
    let (done, finish) = oneshot::channel::<()>();
    let receiver = end(move || async move {
        let end = End::open(way, other, Some(theirs)).await;
        let _ = finish.await;
        end.close().await;
    });
    let sender = end(move || async move {
        let mut end = End::open(way, start, Some(session)).await;
        let (message, mut taken) = (vec![7; size], 0);
        while timeout(STILL, end.send(&message)).await.is_ok() {
            taken += size;
        }
        let _ = done.send(());
        end.close().await;
        taken as f64 / 1e6
    });
    receiver.join().expect("the receiver ended well");
    sender.join().expect("the sender ended well")
}

/// What each end of an idle connection needs, in 10³ bytes: half of what this process grows by per connection. All ends
/// of a side are in one thread, and in one driver where there is one, as in a client.
pub(crate) fn idle(way: Way, connections: usize) -> f64 {
    let (starts, others): (Vec<_>, Vec<_>) = (0..connections).map(|_| starts(way)).unzip();
    let (told, tell) = std::sync::mpsc::channel::<oneshot::Sender<()>>();
    let side = |starts: Vec<Start>| {
        let told = told.clone();
        end(move || async move {
            let (mut links, mut ends) = (Links::new(), Vec::new());
            let quic = (way == Way::Quic).then(|| Side::new().expect("a socket of this machine"));
            for (start, nth) in starts.into_iter().zip(1..) {
                match (way, start) {
                    (Way::Felund, Start::Offer(mut post)) => {
                        meet(&mut links, ConnId(nth), true, &mut post).await
                    }
                    (Way::Felund, Start::Answer(mut post)) => {
                        meet(&mut links, ConnId(nth), false, &mut post).await
                    }
                    (Way::Quic, start) => {
                        let side = quic.as_ref().expect("made above for this way");
                        ends.push(End::quic(side, start).await);
                        Ok(())
                    }
                    (way, start) => {
                        ends.push(End::open(way, start, None).await);
                        Ok(())
                    }
                }
                .expect("the two ends find each other");
            }
            let (go, gone) = oneshot::channel();
            let _ = told.send(go);
            let _ = gone.await;
            for end in ends {
                end.close().await;
            }
            for nth in (1..).take(connections) {
                let queue = links.queue(ConnId(nth));
                links.close(ConnId(nth));
                if let Some(queue) = queue {
                    queue.closed().await;
                }
            }
        })
    };
    let before = resident();
    let sides = [side(starts), side(others)];
    let ready: Vec<_> = tell.iter().take(2).collect();
    let grown = resident() - before;
    for go in ready {
        let _ = go.send(());
    }
    for side in sides {
        side.join().expect("each side ends well");
    }
    grown / 1e3 / (2 * connections) as f64
}

/// Milliseconds until whoever dials or offers has an open connection, everything included that each new one takes:
/// keys, certificates and sockets. Whoever listens is there already; Felund's own handshake comes on top.
pub(crate) fn opened(way: Way) -> f64 {
    let (start, other) = starts(way);
    // Neither leaves before the other is there.
    let (opened_there, is_open_there) = oneshot::channel::<()>();
    let (opened_here, is_open_here) = oneshot::channel::<()>();
    let answering = end(move || async move {
        let end = End::open(way, other, None).await;
        let _ = opened_there.send(());
        let _ = is_open_here.await;
        end.close().await;
    });
    let opening = end(move || async move {
        let begun = Instant::now();
        let end = End::open(way, start, None).await;
        let took = begun.elapsed();
        let _ = opened_here.send(());
        let _ = is_open_there.await;
        end.close().await;
        took.as_secs_f64() * 1e3
    });
    answering.join().expect("each end ends well");
    opening.join().expect("each end ends well")
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

/// This process's memory at some point, its peak counted from there.
struct Memory(f64);

impl Memory {
    fn mark() -> Self {
        // Where this is refused the peak is that of the process's life, which is above the truth.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Self(resident())
    }

    /// 10⁶ bytes.
    fn growth(&self) -> f64 {
        (status("self", "VmHWM:") - self.0).max(0.0) / 1e6
    }
}

fn resident() -> f64 {
    status("self", "VmRSS:")
}

/// A line of a process's status, in bytes.
pub(crate) fn status(process: &str, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line));
    let kib: f64 = found
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|n| n.parse().ok())
        .unwrap_or(f64::NAN);
    kib * 1024.0
}
