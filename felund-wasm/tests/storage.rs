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
use rexie::{Rexie, TransactionMode};
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

/// Names of all records in the browser's database, the store's own among them.
async fn names(database: &str) -> Vec<String> {
    let database = Rexie::builder(database).build().await.expect("a database");
    let read = database.transaction(&["records"], TransactionMode::ReadOnly).expect("a transaction");
    let names = read.store("records").expect("records").get_all_keys(None, None).await.expect("names");
    database.close();
    names.iter().filter_map(wasm_bindgen::JsValue::as_string).collect()
}

#[wasm_bindgen_test]
async fn a_start_is_told_the_index_that_the_envelopes_have() {
    let name = fresh_name();
    for session in 0..5_u64 {
        let mut store = open(&name).await;
        let records = store.load(Query::Records).await;
        assert_eq!(records, Ok(Loaded::Records(vec![])), "what the store keeps for itself is no record");
        let told = store.load(Query::Index(CircleId([1; 16]))).await;
        // Without having seen the records it reads the keys.
        let held = open(&name).await.load(Query::Index(CircleId([1; 16]))).await;
        assert_eq!(told, held, "session {session}");
        assert!(matches!(told, Ok(Loaded::Index(rows)) if rows.len() as u64 == session * 190));
        let at = session * 1_000;
        store.commit(Batch { ops: (at..at + 200).map(row).collect(), strict: false }).await.expect("commit");
        let Ok(Loaded::Index(rows)) = store.load(Query::Index(CircleId([1; 16]))).await else { panic!() };
        let oldest = rows.iter().take(10).map(|row| row.key).collect();
        let ops = vec![Op::DeleteEnvelopes(CircleId([1; 16]), oldest)];
        store.commit(Batch { ops, strict: true }).await.expect("commit");
        drop(store);
        let pages = names(&name).await.iter().filter(|name| name.starts_with("index/")).count() as u64;
        assert!((session + 1..=3 * (session + 1)).contains(&pages), "{pages} pages after session {session}");
    }
    // One that knows nothing of pages, and so removes them rather than leave them behind.
    open(&name).await.commit(Batch { ops: vec![row(9_000)], strict: false }).await.expect("commit");
    assert_eq!(names(&name).await, [""; 0]);
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
