mod blocks;

use felund_core::ids::NodeId;

use super::*;

const QUOTA: Quota = Quota { messages: 1_000_000, bytes: 1 << 30, circles: 10 };

/// A sink that only answers, as if nobody were connected.
fn sink() -> Sink {
    Box::new(|event| {
        if let Event::Done(group) = event {
            for done in group {
                (done.reply)(done.result);
            }
        }
    })
}

async fn append(
    store: &Store,
    circle: &Arc<Circle>,
    ids: &[u8],
    size: usize,
) -> Result<Vec<Stored>, StoreError> {
    append_by(1, store, circle, ids, size).await
}

async fn append_by(
    node: u8,
    store: &Store,
    circle: &Arc<Circle>,
    ids: &[u8],
    size: usize,
) -> Result<Vec<Stored>, StoreError> {
    let (reply, answer) = oneshot::channel();
    let items = ids.iter().map(|id| Item {
        msg_id: MsgId([*id; 16]),
        name: MsgId([*id; 16]),
        envelope: vec![*id; size].into(),
    });
    store.append(Append {
        circle: circle.clone(),
        items: items.collect(),
        payer: Payer::Node(NodeId([node; 32])),
        reply: Box::new(move |result| drop(reply.send(result))),
    });
    answer.await.unwrap()
}

/// A store whose database cannot grow beyond so many pages, and a circle in it.
async fn cramped(dir: &Path, pages: u32) -> (Arc<Store>, Arc<Circle>) {
    let path = dir.join("relay.sqlite");
    let connection = schema::open_writer(&path).unwrap();
    connection.pragma_update(None, "max_page_count", pages).unwrap();
    let store = Arc::new(Store::with_connection(&path, connection, QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    (store, circle)
}

#[tokio::test]
async fn what_is_old_goes_and_its_cursors_are_not_given_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    let other = store.register(ApiKey::from_bytes([2; 32])).await.unwrap();
    let stored = append(&store, &circle, &[1, 2, 3], 100).await.unwrap();
    append(&store, &other, &[1], 100).await.unwrap();
    while store.prune(clock::unix_seconds() - 10).await.unwrap() {}
    assert_eq!(store.page(&circle, Cursor(0), 10, 1 << 20).await.unwrap().messages.len(), 3, "still young");
    while store.prune(clock::unix_seconds() + 10).await.unwrap() {}
    for circle in [&circle, &other] {
        assert!(store.page(circle, Cursor(0), 10, 1 << 20).await.unwrap().messages.is_empty());
    }
    store.stop();
    drop(store);
    let store = Store::open(dir.path(), QUOTA, 0, sink()).unwrap();
    let circle = store.circle(&circle.hint).unwrap();
    assert!(append(&store, &circle, &[4], 100).await.unwrap()[0].cursor > stored[2].cursor);
    store.stop();
    assert_eq!(append(&store, &circle, &[5], 100).await, Err(StoreError::Stopped));
    drop(store);
    let later = clock::unix_seconds() + 10;
    let store = Store::open(dir.path(), QUOTA, later, sink()).unwrap();
    assert!(store.circle(&circle.hint).is_some(), "it holds a message");
    assert!(store.circle(&other.hint).is_none(), "an empty circle is forgotten");
    store.stop();
}

#[tokio::test]
async fn a_full_disk_refuses_the_post_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, circle) = cramped(dir.path(), 40).await;
    let kept = append(&store, &circle, &[1, 2], 10_000).await.unwrap();
    let ids: Vec<u8> = (3..60).collect();
    assert_eq!(append(&store, &circle, &ids, 10_000).await, Err(StoreError::Full));
    let page = store.page(&circle, Cursor(0), 100, 1 << 20).await.unwrap();
    assert_eq!(page.messages.len(), 2, "nothing of the refused post, everything from before");
    let small = append(&store, &circle, &[3], 100).await.unwrap();
    assert!(small[0].cursor > kept[1].cursor, "what fits is taken again");
    store.stop();
}

/// The data folder as it would be found if the process died now.
fn as_after_a_crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        // The index of the WAL is memory that processes share, and is made anew.
        if !file.path().to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    copy
}

fn in_database(dir: &Path) -> i64 {
    let connection = schema::open_reader(&dir.join("relay.sqlite")).unwrap();
    connection.query_row("SELECT coalesce(sum(count), 0) FROM blocks", [], |row| row.get(0)).unwrap()
}

async fn all(store: &Arc<Store>, circle: &Arc<Circle>) -> Vec<(Cursor, Vec<u8>)> {
    store.page(circle, Cursor(0), 1_000, 1 << 24).await.unwrap().messages
}

#[tokio::test]
async fn what_is_only_in_the_journal_is_read_counted_and_known_like_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    let quota = Quota { messages: 5, ..QUOTA };
    let store = Arc::new(Store::open(dir.path(), quota, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    // More than the journal takes, so this one is in the database.
    let big = append(&store, &circle, &[1], 100_000).await.unwrap();
    let small = append(&store, &circle, &[2, 3, 2], 100).await.unwrap();
    assert_eq!(small[0], small[2], "twice in one post");
    assert_eq!(append(&store, &circle, &[3, 1], 100).await.unwrap(), [small[1], big[0]]);
    assert_eq!(in_database(dir.path()), 1, "the database follows later");
    let ids: Vec<u8> = all(&store, &circle).await.iter().map(|(_, envelope)| envelope[0]).collect();
    assert_eq!(ids, [1, 2, 3]);
    let page = store.page(&circle, Cursor(0), 2, 1 << 20).await.unwrap();
    assert_eq!((page.messages.len(), page.more), (2, true));
    let page = store.page(&circle, small[0].cursor, 2, 1 << 20).await.unwrap();
    assert_eq!((page.messages.len(), page.more), (1, false));
    assert_eq!(append(&store, &circle, &[4, 5, 6], 100).await, Err(StoreError::Quota));
    append(&store, &circle, &[4, 5], 100).await.unwrap();
    store.stop();
    assert_eq!(in_database(dir.path()), 5, "at the end everything is there");
}

#[tokio::test]
async fn what_was_accepted_outlasts_a_crash_under_its_cursor_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    append(&store, &circle, &[1, 2], 100).await.unwrap();
    append(&store, &circle, &[3], 100).await.unwrap();
    let before = all(&store, &circle).await;
    let later = clock::unix_seconds() + 10;
    let crashed = as_after_a_crash(dir.path());
    assert_eq!(in_database(crashed.path()), 0);
    let again = Arc::new(Store::open(crashed.path(), QUOTA, later, sink()).unwrap());
    let circle = again.circle(&circle.hint).expect("a circle whose messages are in the journal is not idle");
    assert_eq!(all(&again, &circle).await, before);
    assert_eq!(in_database(crashed.path()), 3);
    let twice = as_after_a_crash(crashed.path());
    // What the database took from the journal and lost to age since does not come back from there.
    while again.prune(later).await.unwrap() {}
    let pruned = as_after_a_crash(crashed.path());
    for (dir, expected) in [(twice, before.as_slice()), (pruned, &[])] {
        let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
        assert_eq!(all(&store, &circle).await, expected);
        let new = append(&store, &circle, &[9], 100).await.unwrap();
        assert!(before.iter().all(|(cursor, _)| *cursor < new[0].cursor));
        store.stop();
    }
    again.stop();
    store.stop();
}

#[tokio::test]
async fn the_database_gets_what_is_a_few_seconds_old_though_posts_never_pause() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    let began = std::time::Instant::now();
    for id in 0.. {
        append(&store, &circle, &[id], 100).await.unwrap();
        if in_database(dir.path()) > 0 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "a backup would have none of {} messages", id + 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    store.stop();
}

#[tokio::test]
async fn posts_are_taken_while_another_program_holds_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    let other = Connection::open(dir.path().join("relay.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    append(&store, &circle, &[1], 100).await.unwrap();
    // The writer asks for the database, and waits for it in vain.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let taken = tokio::time::timeout(Duration::from_secs(30), append(&store, &circle, &[2], 100)).await;
    taken.expect("an answer while the database is held").unwrap();
    other.execute_batch("COMMIT").unwrap();
    store.stop();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    assert_eq!(all(&store, &circle).await.len(), 2);
    store.stop();
}

#[tokio::test]
async fn circles_without_a_message_are_forgotten_after_a_day_unless_somebody_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let key = |n| ApiKey::from_bytes([n; 32]);
    let hints = [1, 2, 3, 4].map(|n| key(n).hint());
    let written = store.register(key(1)).await.unwrap();
    append(&store, &written, &[1], 100).await.unwrap();
    drop(written);
    store.register(key(2)).await.unwrap();
    let attached = store.register(key(3)).await.unwrap();
    while store.prune(0).await.unwrap() {}
    assert_eq!(store.circle_count(), 3, "all of them are young");
    let database = Connection::open(dir.path().join("relay.sqlite")).unwrap();
    database.execute("UPDATE circles SET created_at = 0", []).unwrap();
    store.register(key(4)).await.unwrap();
    while store.prune(0).await.unwrap() {}
    assert_eq!(hints.map(|hint| store.circle(&hint).is_some()), [true, false, true, true]);
    append(&store, &attached, &[1], 100).await.unwrap();
    drop(attached);
    store.register(key(2)).await.unwrap();
    store.stop();
    let again = Store::open(dir.path(), QUOTA, 0, sink()).unwrap();
    assert_eq!(again.circle_count(), 4);
    again.stop();
}

#[tokio::test]
async fn a_database_that_is_full_gets_what_was_accepted_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (store, circle) = cramped(dir.path(), 20).await;
    let mut accepted = 0;
    let refused = loop {
        match append(&store, &circle, &[accepted], 10_000).await {
            Ok(_) => accepted += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(refused, StoreError::Full, "when the journal is full, too");
    assert!(accepted > 50, "{accepted}");
    assert_eq!(all(&store, &circle).await.len(), usize::from(accepted));
    store.stop();
    assert_eq!(in_database(dir.path()), 0, "it could not be written");
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    assert_eq!(all(&store, &circle).await.len(), usize::from(accepted));
    assert_eq!(in_database(dir.path()), i64::from(accepted));
    store.stop();
}

#[tokio::test]
async fn without_a_journal_posts_are_stored_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("journal")).unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    append(&store, &circle, &[1, 2], 100).await.unwrap();
    assert_eq!(in_database(dir.path()), 2);
    store.stop();
}

#[tokio::test]
async fn a_damaged_journal_costs_the_damaged_message_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    append(&store, &circle, &[1], 100).await.unwrap();
    append(&store, &circle, &[2, 3], 100).await.unwrap();
    let crashed = as_after_a_crash(dir.path());
    store.stop();
    let journal = crashed.path().join("journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let store = Arc::new(Store::open(crashed.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.circle(&circle.hint).unwrap();
    let left: Vec<u8> = all(&store, &circle).await.iter().map(|(_, envelope)| envelope[0]).collect();
    assert_eq!(left, [2, 3]);
    store.stop();
}

#[tokio::test]
async fn damage_in_the_middle_of_the_database_is_named_with_its_file_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    store.stop();
    drop(store);
    let path = dir.path().join("relay.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let error = Store::open(dir.path(), QUOTA, 0, sink()).err().unwrap().to_string();
    assert!(error.contains("relay.sqlite is damaged") && error.contains("Restore a backup"), "{error}");
}

/// Everything of a circle, a page at a time.
async fn paged(
    store: &Arc<Store>,
    circle: &Arc<Circle>,
    limit: usize,
    max_bytes: usize,
) -> Vec<(Cursor, Vec<u8>)> {
    let mut messages = Vec::new();
    loop {
        let after = messages.last().map_or(Cursor(0), |(cursor, _)| *cursor);
        let page = store.page(circle, after, limit, max_bytes).await.unwrap();
        let bytes: usize = page.messages.iter().map(|(_, envelope)| envelope.len()).sum();
        assert!(page.messages.len() <= limit && (bytes <= max_bytes || page.messages.len() == 1));
        assert!(!page.more || page.messages.len() == limit || bytes + 100_000 > max_bytes, "not in vain");
        messages.extend(page.messages);
        if !page.more {
            return messages;
        }
    }
}

/// A database as earlier versions wrote it: circles, and messages with gaps between their numbers and their times.
fn of_schema(dir: &Path, version: usize, circles: u8) -> Vec<Vec<(Cursor, Vec<u8>)>> {
    let old = [
        include_str!("../../migrations/0001_messages.sql"),
        include_str!("../../migrations/0002_journal_key.sql"),
    ];
    let connection = Connection::open(dir.join("relay.sqlite")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    old[..version].iter().for_each(|sql| connection.execute_batch(sql).unwrap());
    connection.pragma_update(None, "user_version", version as i64).unwrap();
    connection.execute("INSERT INTO meta VALUES ('next_seq', 7000000)", []).unwrap();
    let mut logs = vec![Vec::new(); usize::from(circles)];
    for n in 1..=circles {
        let key = ApiKey::from_bytes([n; 32]);
        connection
            .execute(
                "INSERT INTO circles (hint, signing_key, created_at) VALUES (?1, ?2, 5)",
                rusqlite::params![key.hint().0, key.as_bytes()],
            )
            .unwrap();
    }
    for n in 0..200u8 {
        let circle = usize::from(n % circles);
        let size = if n % 50 == 0 { 90_000 } else { 200 + 37 * usize::from(n) };
        let (seq, envelope) = (Cursor(1_000 + 3 * u64::from(n)), vec![n; size]);
        let stored_at = clock::unix_seconds() - 1_000 * (200 - u64::from(n));
        connection
            .execute(
                "INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![circle as i64 + 1, seq.0 as i64, [n; 16], envelope, stored_at as i64],
            )
            .unwrap();
        logs[circle].push((seq, envelope));
    }
    logs
}

#[tokio::test]
async fn a_database_of_an_earlier_version_is_read_and_posted_to_as_before() {
    for version in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let logs = of_schema(dir.path(), version, 3);
        for start in 0..2 {
            let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
            for (log, n) in logs.iter().zip(1..) {
                let circle = store.circle(&ApiKey::from_bytes([n; 32]).hint()).unwrap();
                assert_eq!(all(&store, &circle).await, *log);
                for (limit, max_bytes) in [(1, 1), (7, 1 << 20), (256, 100_000), (1_000, 1 << 24)] {
                    assert_eq!(paged(&store, &circle, limit, max_bytes).await, *log);
                }
                let known =
                    append(&store, &circle, &log.iter().map(|(_, e)| e[0]).collect::<Vec<_>>(), 9).await;
                let known: Vec<Cursor> = known.unwrap().iter().map(|stored| stored.cursor).collect();
                assert_eq!(known, log.iter().map(|(cursor, _)| *cursor).collect::<Vec<_>>(), "start {start}");
            }
            store.stop();
        }
        let connection = schema::open_reader(&dir.path().join("relay.sqlite")).unwrap();
        let spans: i64 = connection
            .query_row("SELECT count(*) FROM blocks WHERE last - first > 3 * 86", [], |row| row.get(0))
            .unwrap();
        assert_eq!(spans, 0, "86 of them were stored in a day");
        let tables = connection.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'messages%'",
            [],
            |row| row.get(0),
        );
        assert_eq!(tables, Ok(0));
    }
}

#[tokio::test]
async fn a_block_goes_with_its_newest_message_and_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let quota = Quota { messages: 4, ..QUOTA };
    let store = Arc::new(Store::open(dir.path(), quota, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    let first = append(&store, &circle, &[1, 2], 33_000).await.unwrap();
    let rest = append(&store, &circle, &[3, 4], 30_000 + 40_000).await.unwrap();
    assert_eq!(append(&store, &circle, &[5], 10).await, Err(StoreError::Quota));
    let connection = Connection::open(dir.path().join("relay.sqlite")).unwrap();
    let age = "UPDATE blocks SET stored_at = 1000 WHERE last = ?1";
    assert_eq!(connection.execute(age, [rest[0].cursor.0 as i64]).unwrap(), 1);
    while store.prune(1000).await.unwrap() {}
    assert_eq!(all(&store, &circle).await.len(), 4);
    while store.prune(1001).await.unwrap() {}
    let left: Vec<u8> = all(&store, &circle).await.iter().map(|(_, envelope)| envelope[0]).collect();
    assert_eq!(left, [1, 2, 4]);
    let again = append(&store, &circle, &[1, 3], 10).await.unwrap();
    assert_eq!(again[0].cursor, first[0].cursor);
    assert!(again[1].cursor > rest[1].cursor, "what has gone is new when it is posted again");
    assert_eq!(append(&store, &circle, &[5], 10).await, Err(StoreError::Quota));
    store.stop();
}

#[tokio::test]
async fn a_damaged_block_costs_its_own_messages_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    for id in 1..6 {
        append(&store, &circle, &[id], 100_000).await.unwrap();
    }
    let cursors: Vec<i64> = all(&store, &circle).await.iter().map(|(cursor, _)| cursor.0 as i64).collect();
    store.stop();
    let path = dir.path().join("relay.sqlite");
    let connection = Connection::open(&path).unwrap();
    for (column, cursor) in [("data", cursors[1]), ("names", cursors[2])] {
        let cut =
            format!("UPDATE blocks SET {column} = substr({column}, 1, length({column}) - 1) WHERE last = ?1");
        assert_eq!(connection.execute(&cut, [cursor]).unwrap(), 1);
    }
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
    drop(connection);
    // Pages of the fourth one: the first of them that is filled with it alone.
    let mut bytes = std::fs::read(&path).unwrap();
    let page = bytes.chunks_mut(4096).find(|page| page[4..].iter().all(|byte| *byte == 4)).unwrap();
    page.fill(0);
    std::fs::write(&path, bytes).unwrap();
    let store = Arc::new(Store::open(dir.path(), Quota { messages: 6, ..QUOTA }, 0, sink()).unwrap());
    let left: Vec<u8> = paged(&store, &circle, 1, 1).await.iter().map(|(_, envelope)| envelope[0]).collect();
    assert_eq!(left, [1, 3, 5]);
    let again = append(&store, &circle, &[1, 2, 4, 5], 10).await.unwrap();
    let again: Vec<i64> = again.iter().map(|stored| stored.cursor.0 as i64).collect();
    assert_eq!(again, [cursors[0], cursors[1], cursors[3], cursors[4]], "their names are not damaged");
    append(&store, &circle, &[3], 10).await.expect("it is not known any more");
    assert_eq!(append(&store, &circle, &[6], 10).await, Err(StoreError::Quota), "all of them count");
    store.stop();
}

#[tokio::test]
async fn what_was_posted_keeps_its_cursor_when_the_relay_has_dealt_with_others_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut cursors: HashMap<(u8, u8), Cursor> = HashMap::new();
    for start in 0..3u8 {
        let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
        // More circles and names than are kept in memory; large posts go to the database, small ones to the journal.
        for round in 0..3u8 {
            for n in 0..8 {
                let circle = store.register(ApiKey::from_bytes([n; 32])).await.unwrap();
                let ids: Vec<u8> = (0..=start * 6 + round * 2).collect();
                let size = if n % 2 == 0 { 20 } else { 20_000 };
                for stored in append(&store, &circle, &ids, size).await.unwrap() {
                    let before = cursors.entry((n, stored.msg_id.0[0])).or_insert(stored.cursor);
                    assert_eq!(*before, stored.cursor);
                }
            }
        }
        store.stop();
    }
    assert_eq!(in_database(dir.path()), cursors.len() as i64);
}

#[tokio::test]
async fn a_group_that_touches_more_circles_than_are_remembered_stores_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let quota = Quota { circles: 30, messages: 5, ..QUOTA };
    let store = Arc::new(Store::open(dir.path(), quota, 0, sink()).unwrap());
    let mut circles = Vec::new();
    for n in 0..30 {
        circles.push(store.register(ApiKey::from_bytes([n; 32])).await.unwrap());
    }
    let post = |circle: &Arc<Circle>, ids: &'static [u8]| {
        let (store, circle) = (store.clone(), circle.clone());
        tokio::spawn(async move { append(&store, &circle, ids, 10).await })
    };
    // While the first is being written the others gather.
    let first = post(&circles[0], &[9]);
    let rounds: Vec<Vec<_>> = [&[1, 2, 3, 4][..], &[1, 2, 3, 4], &[5, 6]]
        .into_iter()
        .map(|ids| circles[1..].iter().map(|circle| post(circle, ids)).collect())
        .collect();
    first.await.unwrap().unwrap();
    let mut answers = Vec::new();
    for round in rounds {
        let mut results = Vec::new();
        for result in round {
            results.push(result.await.unwrap());
        }
        answers.push(results);
    }
    assert!(answers[0].iter().all(Result::is_ok));
    assert_eq!(answers[0], answers[1]);
    assert!(answers[2].iter().all(|result| *result == Err(StoreError::Quota)));
    store.stop();
    assert_eq!(in_database(dir.path()), 1 + 29 * 4);
}

#[tokio::test]
async fn what_the_journal_has_of_what_the_database_has_under_another_number_is_not_stored_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    let stored = append(&store, &circle, &[1], 100_000).await.unwrap();
    store.stop();
    let connection = schema::open_reader(&dir.path().join("relay.sqlite")).unwrap();
    let key = schema::journal_key(&connection).unwrap();
    let record = |step, id| Record {
        hint: circle.hint,
        seq: Cursor(stored[0].cursor.0 + step),
        name: MsgId([id; 16]),
        stored_at: 5,
        envelope: vec![id; 10].into(),
    };
    let mut journal = Journal::open(&dir.path().join("journal"), key, Cursor(0)).unwrap().0;
    journal.append(&[record(7, 1), record(8, 2)]).unwrap();
    let store = Arc::new(Store::open(dir.path(), QUOTA, 0, sink()).unwrap());
    let ids: Vec<u8> = all(&store, &circle).await.iter().map(|(_, envelope)| envelope[0]).collect();
    assert_eq!(ids, [1, 2]);
    assert!(append(&store, &circle, &[3], 10).await.unwrap()[0].cursor.0 > stored[0].cursor.0 + 8);
    store.stop();
}
