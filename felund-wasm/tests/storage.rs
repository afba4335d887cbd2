//! The storage contract, against a real browser's IndexedDB.
#![cfg(target_arch = "wasm32")]

use felund_wasm::{
    IdbStore,
    core::{
        ids::{ChannelId, CircleId, MsgId, NodeId},
        store::{Batch, Loaded, Op, Query, Row, Store, contract},
        view::Key,
    },
};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

fn fresh_name() -> String {
    format!("test-{}-{}", js_sys::Date::now(), js_sys::Math::random())
}

async fn open(name: &str) -> IdbStore {
    IdbStore::open(name).await.expect("a browser under test allows IndexedDB")
}

#[wasm_bindgen_test]
async fn indexed_db_keeps_the_contract() {
    contract::check(async || open(&fresh_name()).await).await;
}

fn row(n: u64) -> Op {
    let id = u8::try_from(n % 251).unwrap_or(0);
    Op::PutEnvelope(Row {
        circle: CircleId([1; 16]),
        key: Key { ts: n, id: MsgId([id; 16]) },
        channel: ChannelId([2; 16]),
        author: NodeId([3; 32]),
        chat: true,
        sealed: vec![id; 600],
    })
}

#[wasm_bindgen_test]
async fn what_was_committed_is_there_after_reopening() {
    let name = fresh_name();
    let mut store = open(&name).await;
    let ops = vec![Op::PutRecord("key".into(), vec![7; 32]), row(1)];
    store.commit(Batch { ops, strict: true }).await.expect("commit");
    drop(store);
    let mut store = open(&name).await;
    let records = vec![("key".to_owned(), vec![7; 32])];
    assert_eq!(store.load(Query::Records).await, Ok(Loaded::Records(records)));
}

#[wasm_bindgen_test]
async fn ten_thousand_envelopes_index_and_page_quickly() {
    let mut store = open(&fresh_name()).await;
    for start in (0..10_000).step_by(500) {
        let ops = (start..start + 500).map(row).collect();
        store.commit(Batch { ops, strict: false }).await.expect("commit");
    }
    let began = js_sys::Date::now();
    let index = store.load(Query::Index(CircleId([1; 16]))).await;
    let indexed = js_sys::Date::now();
    let Ok(Loaded::Index(index)) = index else { panic!("{index:?}") };
    let (circle, channel, from) =
        (CircleId([1; 16]), ChannelId([2; 16]), index.get(9_900).map(|row| row.key));
    let page = store.load(Query::Channel { circle, channel, from, before: None }).await;
    let paged = js_sys::Date::now();
    wasm_bindgen_test::console_log!(
        "10,000 envelopes: index {} ms, page {} ms",
        indexed - began,
        paged - indexed
    );
    assert_eq!(index.len(), 10_000);
    assert!(matches!(page, Ok(Loaded::Envelopes(rows)) if rows.len() == 100 && rows[0].0.ts == 9_999));
}
