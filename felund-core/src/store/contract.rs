//! The conformance suite: every [`Store`] passes it, in memory, in SQLite and in IndexedDB alike.

use super::{Batch, IndexRow, Loaded, Op, Query, Row, Store};
use crate::{
    ids::{ChannelId, CircleId, MsgId, NodeId},
    view::Key,
};

const CIRCLE: CircleId = CircleId([1; 16]);
const OTHER: CircleId = CircleId([2; 16]);
const GENERAL: ChannelId = ChannelId([3; 16]);
const SEEDS: ChannelId = ChannelId([4; 16]);

fn row(circle: CircleId, channel: ChannelId, ts: u64, id: u8) -> Row {
    Row {
        circle,
        key: Key { ts, id: MsgId([id; 16]) },
        channel,
        author: NodeId([id; 32]),
        chat: channel == SEEDS,
        sealed: vec![id; 200],
    }
}

async fn put<S: Store>(store: &mut S, ops: Vec<Op>) {
    store.commit(Batch { ops, strict: true }).await.expect("commit");
}

async fn envelopes<S: Store>(store: &mut S, query: Query) -> Vec<Key> {
    match store.load(query).await.expect("load") {
        Loaded::Envelopes(rows) => rows.into_iter().map(|(key, _)| key).collect(),
        other => panic!("wrong answer: {other:?}"),
    }
}

fn page(from: Option<Key>, before: Option<Key>) -> Query {
    Query::Channel { circle: CIRCLE, channel: GENERAL, from, before }
}

/// Runs the whole suite against stores that `open` makes, each of them empty.
///
/// # Panics
/// When the store breaks the contract; the message names the clause.
pub async fn check<S: Store, F: AsyncFnMut() -> S>(mut open: F) {
    records_are_set_replaced_and_removed(&mut open().await).await;
    envelopes_are_kept_once_and_in_order(&mut open().await).await;
    timestamps_sort_as_numbers_up_to_the_largest(&mut open().await).await;
    pages_walk_a_channel_backwards_without_gap_or_repeat(&mut open().await).await;
    circles_and_channels_do_not_mix(&mut open().await).await;
    large_values_and_batches_survive(&mut open().await).await;
}

async fn records_are_set_replaced_and_removed<S: Store>(store: &mut S) {
    assert_eq!(store.load(Query::Records).await, Ok(Loaded::Records(vec![])), "a new store is empty");
    let op = |key: &str, value: &[u8]| Op::PutRecord(key.into(), value.into());
    put(store, vec![op("b", b"1"), op("a", b"2"), op("b", b"3"), op("c", b""), Op::DeleteRecord("a".into())])
        .await;
    put(store, vec![Op::DeleteRecord("absent".into())]).await;
    let expected = vec![("b".to_owned(), b"3".to_vec()), ("c".to_owned(), Vec::new())];
    assert_eq!(store.load(Query::Records).await, Ok(Loaded::Records(expected)), "later ops win, in order");
}

async fn envelopes_are_kept_once_and_in_order<S: Store>(store: &mut S) {
    let (first, second, third) =
        (row(CIRCLE, GENERAL, 5, 1), row(CIRCLE, SEEDS, 5, 2), row(CIRCLE, GENERAL, 6, 0));
    let again = Row { sealed: vec![9; 9], ..first.clone() };
    let ops = [&third, &second, &first, &again].map(|row| Op::PutEnvelope(row.clone()));
    put(store, ops.to_vec()).await;
    let index = |row: &Row| IndexRow {
        key: row.key,
        channel: row.channel,
        author: row.author,
        chat: row.chat,
        size: 0,
    };
    let expected = vec![index(&first), index(&second), index(&third)];
    let Ok(Loaded::Index(mut rows)) = store.load(Query::Index(CIRCLE)).await else { panic!("an index") };
    for (row, of) in rows.iter_mut().zip([&first, &second, &third]) {
        let size = std::mem::take(&mut row.size) as usize;
        assert!(size == 0 || size == of.sealed.len(), "a size is told as it is or not at all");
    }
    assert_eq!(rows, expected, "index in (ts, id) order");
    let keys = vec![third.key, Key { ts: 99, ..first.key }, first.key];
    let expected = vec![(third.key, third.sealed.clone()), (first.key, first.sealed.clone())];
    let loaded = store.load(Query::Envelopes(CIRCLE, keys)).await;
    assert_eq!(loaded, Ok(Loaded::Envelopes(expected)), "first write stays, absent ones are left out");
    put(store, vec![Op::DeleteEnvelopes(CIRCLE, vec![first.key, first.key])]).await;
    assert_eq!(envelopes(store, page(None, None)).await, [third.key], "deleted once, absent later");
}

async fn timestamps_sort_as_numbers_up_to_the_largest<S: Store>(store: &mut S) {
    let stamps = [0, 1, 255, 256, 1 << 32, (1 << 53) + 1, u64::MAX >> 1, u64::MAX];
    put(store, stamps.iter().rev().map(|ts| Op::PutEnvelope(row(CIRCLE, GENERAL, *ts, 7))).collect()).await;
    let Ok(Loaded::Index(index)) = store.load(Query::Index(CIRCLE)).await else { panic!("index") };
    assert_eq!(index.iter().map(|r| r.key.ts).collect::<Vec<_>>(), stamps, "64-bit order");
}

async fn pages_walk_a_channel_backwards_without_gap_or_repeat<S: Store>(store: &mut S) {
    let rows: Vec<_> = (0..50).map(|i| row(CIRCLE, GENERAL, u64::from(i / 3), i)).collect();
    put(store, rows.iter().cloned().map(Op::PutEnvelope).collect()).await;
    let keys: Vec<_> = rows.iter().rev().map(|row| row.key).collect();
    let (mut walked, mut before) = (Vec::new(), None);
    for keys in keys.chunks(7) {
        let found = envelopes(store, page(keys.last().copied(), before)).await;
        assert_eq!(found, keys, "a page has both its ends, and not the beginning of the one before");
        before = found.last().copied();
        walked.extend(found);
    }
    assert_eq!(walked, keys, "pages join up");
    assert_eq!(envelopes(store, page(None, before)).await, [], "nothing is before the first");
    assert_eq!(envelopes(store, page(None, Some(keys[40]))).await, keys[41..], "no beginning means all");
    assert_eq!(envelopes(store, page(Some(keys[9]), None)).await, keys[..10], "no end, too");
}

async fn circles_and_channels_do_not_mix<S: Store>(store: &mut S) {
    let rows = [row(CIRCLE, GENERAL, 1, 1), row(OTHER, GENERAL, 1, 1), row(CIRCLE, SEEDS, 2, 2)];
    put(store, rows.iter().cloned().map(Op::PutEnvelope).collect()).await;
    assert_eq!(envelopes(store, page(None, None)).await, [rows[0].key], "one channel only");
    put(store, vec![Op::DeleteCircle(CIRCLE)]).await;
    assert_eq!(store.load(Query::Index(CIRCLE)).await, Ok(Loaded::Index(vec![])), "the circle is gone");
    assert!(
        matches!(store.load(Query::Index(OTHER)).await, Ok(Loaded::Index(i)) if i.len() == 1),
        "the other is not"
    );
}

async fn large_values_and_batches_survive<S: Store>(store: &mut S) {
    let big = Row { sealed: (0..70_000_u32).map(|i| i as u8).collect(), ..row(CIRCLE, GENERAL, 1, 1) };
    let many = (0..1_000_u64).map(|i| Op::PutEnvelope(row(CIRCLE, SEEDS, 10 + i, 5)));
    put(store, many.chain([Op::PutEnvelope(big.clone())]).collect()).await;
    let loaded = store.load(Query::Envelopes(CIRCLE, vec![big.key])).await;
    assert_eq!(loaded, Ok(Loaded::Envelopes(vec![(big.key, big.sealed)])), "70 kB come back whole");
    assert!(
        matches!(store.load(Query::Index(CIRCLE)).await, Ok(Loaded::Index(i)) if i.len() == 1_001),
        "all rows"
    );
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn memory_store_keeps_the_contract() {
        let mut suite = std::pin::pin!(check(async || super::super::MemoryStore::default()));
        assert!(matches!(suite.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(())));
    }
}
