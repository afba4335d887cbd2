//! How messages gather in blocks, and what damage and large circles cost others.

use super::*;

/// A store that writes each post to the database by itself, and a circle in it.
async fn without_journal(dir: &Path) -> (Arc<Store>, Arc<Circle>) {
    std::fs::create_dir_all(dir.join("journal")).unwrap();
    let store = Arc::new(Store::open(dir, QUOTA, 0, sink()).unwrap());
    let circle = store.register(ApiKey::from_bytes([1; 32])).await.unwrap();
    (store, circle)
}

fn blocks(dir: &Path) -> i64 {
    let connection = schema::open_reader(&dir.join("relay.sqlite")).unwrap();
    connection.query_row("SELECT count(*) FROM blocks", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn messages_that_come_one_by_one_gather_in_few_blocks_and_readers_miss_none() {
    let dir = tempfile::tempdir().unwrap();
    let (store, circle) = without_journal(dir.path()).await;
    let posts = tokio::spawn({
        let (store, circle) = (store.clone(), circle.clone());
        async move {
            let mut cursors = Vec::new();
            for id in 0..250 {
                cursors.push(append(&store, &circle, &[id], 700).await.unwrap()[0].cursor);
            }
            cursors
        }
    });
    let mut read = Vec::new();
    while read.len() < 250 {
        let after = read.last().map_or(Cursor(0), |(cursor, _)| *cursor);
        read.extend(store.page(&circle, after, 7, 1 << 20).await.unwrap().messages);
    }
    let cursors = posts.await.unwrap();
    assert_eq!(read.iter().map(|(cursor, _)| *cursor).collect::<Vec<_>>(), cursors);
    assert!((0..250).eq(read.iter().map(|(_, envelope)| envelope[0])));
    assert_eq!(all(&store, &circle).await, read);
    assert!(blocks(dir.path()) < 15, "{} for 175 kB", blocks(dir.path()));
    store.stop();
    let (store, circle) = without_journal(dir.path()).await;
    assert_eq!(append(&store, &circle, &[7], 9).await.unwrap()[0].cursor, cursors[7]);
    store.stop();
}

#[tokio::test]
async fn a_damaged_block_is_left_as_it_is_when_messages_follow() {
    for column in ["names", "data"] {
        let dir = tempfile::tempdir().unwrap();
        let (store, circle) = without_journal(dir.path()).await;
        append(&store, &circle, &[1], 100).await.unwrap();
        let database = Connection::open(dir.path().join("relay.sqlite")).unwrap();
        let cut = format!("UPDATE blocks SET {column} = substr({column}, 1, length({column}) - 1)");
        database.execute(&cut, []).unwrap();
        append(&store, &circle, &[2], 100).await.unwrap();
        append(&store, &circle, &[3], 100).await.unwrap();
        let counts: Vec<i64> = database
            .prepare("SELECT count FROM blocks ORDER BY last")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(counts, [1, 2]);
        let left: Vec<u8> = all(&store, &circle).await.iter().map(|(_, envelope)| envelope[0]).collect();
        assert_eq!(left, if column == "data" { [2, 3].to_vec() } else { [1, 2, 3].to_vec() });
        store.stop();
    }
}

#[tokio::test]
async fn a_block_whose_columns_are_of_another_type_is_damaged_and_keeps_nobody_from_posting() {
    for column in ["names", "data"] {
        let dir = tempfile::tempdir().unwrap();
        let (store, circle) = without_journal(dir.path()).await;
        append(&store, &circle, &[1], 100).await.unwrap();
        let database = Connection::open(dir.path().join("relay.sqlite")).unwrap();
        // A row says of each column what it is, and one flipped bit makes a text of a blob.
        let flip = format!(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_master SET sql = replace(sql, 'STRICT', '') WHERE name = 'blocks';
             PRAGMA writable_schema = RESET;
             UPDATE blocks SET {column} = CAST({column} AS TEXT);"
        );
        database.execute_batch(&flip).unwrap();
        append(&store, &circle, &[2], 100).await.unwrap();
        let left: Vec<u8> = all(&store, &circle).await.iter().map(|(_, envelope)| envelope[0]).collect();
        assert_eq!(left, if column == "data" { [2].to_vec() } else { [1, 2].to_vec() });
        store.stop();
    }
}

#[tokio::test]
async fn a_damaged_page_beside_a_block_does_not_keep_messages_from_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let (store, circle) = without_journal(dir.path()).await;
    let mut circles = vec![circle];
    for n in 2..5 {
        circles.push(store.register(ApiKey::from_bytes([n; 32])).await.unwrap());
    }
    // Each fills a page.
    for (circle, id) in circles.iter().zip(1..) {
        append(&store, circle, &[id], 3_500).await.unwrap();
    }
    store.stop();
    drop(store);
    let path = dir.path().join("relay.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    let page = bytes.chunks_mut(4096).find(|page| page.ends_with(&[2; 3_000])).unwrap();
    page.fill(0);
    std::fs::write(&path, bytes).unwrap();
    let (store, _) = without_journal(dir.path()).await;
    append(&store, &circles[0], &[9], 3_500).await.unwrap();
    let left: Vec<u8> = all(&store, &circles[0]).await.iter().map(|(_, envelope)| envelope[0]).collect();
    assert_eq!(left, [1, 9]);
    store.stop();
}

#[tokio::test]
async fn who_makes_the_writer_read_the_names_of_large_circles_again_and_again_has_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (store, one) = without_journal(dir.path()).await;
    let other = store.register(ApiKey::from_bytes([2; 32])).await.unwrap();
    let ids: Vec<u8> = (0..=255).collect();
    for circle in [&one, &other] {
        append(&store, circle, &ids, 10).await.unwrap();
    }
    // Only one of them fits into memory.
    let mut posts = 0;
    let refused = loop {
        assert!(posts < 200);
        let circle = if posts % 2 == 0 { &one } else { &other };
        match append(&store, circle, &[7], 10).await {
            Ok(_) => posts += 1,
            Err(e) => break e,
        }
    };
    assert!(posts > 30, "{posts}");
    assert!(matches!(refused, StoreError::Busy(wait) if wait < Duration::from_secs(1)), "{refused:?}");
    let (lacking, there) = if posts % 2 == 0 { (&one, &other) } else { (&other, &one) };
    append(&store, there, &[8], 10).await.expect("nothing has to be read");
    append_by(2, &store, lacking, &[8], 10).await.expect("somebody else");
    append(&store, lacking, &[9], 10).await.expect("nothing has to be read any more");
    store.stop();
}

#[tokio::test]
async fn a_damaged_database_that_cannot_be_converted_is_left_to_the_earlier_version() {
    let dir = tempfile::tempdir().unwrap();
    of_schema(dir.path(), 2, 3);
    let path = dir.path().join("relay.sqlite");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
    drop(connection);
    let mut bytes = std::fs::read(&path).unwrap();
    let page = bytes.chunks_mut(4096).find(|page| page[4..].iter().all(|byte| *byte == 50)).unwrap();
    page.fill(0);
    std::fs::write(&path, bytes).unwrap();
    let error = Store::open(dir.path(), QUOTA, 0, sink()).err().unwrap().to_string();
    assert!(error.contains("the earlier version") && error.contains("still opens it"), "{error}");
    let connection = schema::open_reader(&path).unwrap();
    let left: i64 =
        connection.query_row("SELECT count(*) FROM messages WHERE circle = 1", [], |row| row.get(0)).unwrap();
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!((left, version), (67, 2));
}
