//! Nothing stays behind of connections that have come and gone: neither a descriptor nor a thread nor a task, and no
//! memory to speak of. The only test of its file, as it counts what its process has.

use std::fs;

use felund_core::io::{ConnId, Input};
use felund_tests::{
    links::{Links, meet, post},
    wait::PATIENCE,
};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
    time::{Duration, Instant, sleep, timeout},
};

/// Pairs that connect at the same time, and how often they do: 500 connections are counted.
const PAIRS: usize = 10;
const ROUNDS: u64 = 50;
/// Rounds before: whatever is kept for later is there after them.
const WARM_UP: u64 = 10;
/// Bytes that a connection may cost once it is warm. One whose task goes on holds hundreds of kilobytes; below this is
/// the noise of an allocator.
const PER_CONNECTION: u64 = 8 * 1024;

/// What this process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Handles {
    descriptors: usize,
    threads: usize,
    tasks: usize,
}

impl Handles {
    fn now() -> Self {
        let count = |dir: &str| fs::read_dir(dir).expect("Linux counts for us").count();
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            tasks: Handle::current().metrics().num_alive_tasks(),
        }
    }

    /// Waits for what is ending to have ended.
    async fn until(self) {
        let end = Instant::now() + PATIENCE;
        while Self::now() != self {
            assert!(Instant::now() < end, "there were {self:?}, and now are {:?}", Self::now());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux counts for us");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of memory");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
}

async fn received(links: &mut Links) -> Vec<u8> {
    loop {
        match links.next().await {
            Some(Input::Received(_, message)) => return message,
            Some(Input::Disconnected(_, reason)) => panic!("the connection ended: {reason}"),
            Some(_) => {}
            None => panic!("the links are gone"),
        }
    }
}

/// Two members connect, each says something, and one of them goes.
async fn connection(ends: &mut [Links; 2], nth: u64) {
    let conn = ConnId(nth);
    let [one, other] = ends;
    let (mut here, mut there) = post();
    let met = tokio::join!(meet(one, conn, true, &mut here), meet(other, conn, false, &mut there));
    assert_eq!(met, (Ok(()), Ok(())), "connection {nth}");
    for links in [&*one, &*other] {
        let queue = links.queue(conn).expect("the connection is there");
        queue.send(vec![7; 600]).await.expect("the connection is there");
    }
    assert_eq!(tokio::join!(received(one), received(other)), (vec![7; 600], vec![7; 600]));
    // Each side is the one that goes, and the one that is left.
    let (leaves, stays) = if nth.is_multiple_of(2) { (one, other) } else { (other, one) };
    leaves.close(conn);
    let hears =
        async { while !matches!(stays.next().await, Some(Input::Disconnected(gone, _)) if gone == conn) {} };
    timeout(PATIENCE, hears).await.expect("who is left learns of it");
}

async fn round(pairs: Vec<[Links; 2]>, nth: u64) -> Vec<[Links; 2]> {
    let mut tasks = JoinSet::new();
    for mut pair in pairs {
        tasks.spawn(async move {
            connection(&mut pair, nth).await;
            pair
        });
    }
    tasks.join_all().await
}

#[test]
fn five_hundred_connections_leave_nothing_behind() {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut pairs: Vec<_> = (0..PAIRS).map(|_| [Links::new(), Links::new()]).collect();
        // The runtime's first sockets and timers, and the crate's first thread if it has one.
        pairs = round(pairs, 0).await;
        let handles = Handles { tasks: 0, ..Handles::now() };
        handles.until().await;
        for nth in 1..=WARM_UP {
            pairs = round(pairs, nth).await;
        }
        handles.until().await;
        let before = resident();
        for nth in WARM_UP + 1..=WARM_UP + ROUNDS {
            pairs = round(pairs, nth).await;
        }
        handles.until().await;
        let each = resident().saturating_sub(before) / (PAIRS as u64 * ROUNDS);
        assert!(each < PER_CONNECTION, "each connection left {each} bytes behind");
    });
}
