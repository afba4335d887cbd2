//! Who owns the node. Clients of one page are to each other what tabs are.
#![cfg(target_arch = "wasm32")]

use felund_wasm::{Client, Options};
use js_sys::{Function, Promise};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, delay_ms: i32);
}

async fn wait(delay_ms: i32) {
    let waited = Promise::new(&mut |resolve, _| set_timeout(&resolve, delay_ms));
    JsFuture::from(waited).await.expect("it is never rejected");
}

async fn until_leads(client: &Client) {
    for _ in 0..100 {
        if client.is_leader() {
            return;
        }
        wait(20).await;
    }
    panic!("nobody gave it the node");
}

#[wasm_bindgen_test]
async fn who_is_closed_while_waiting_for_the_node_leaves_it_to_the_next() {
    let name = format!("test-{}", js_sys::Math::random());
    let start = || Client::start(Options { name: name.clone(), ..Options::default() }, |_| {});
    let first = start();
    until_leads(&first).await;
    let second = start();
    wait(50).await;
    let third = start();
    wait(50).await;
    second.close();
    first.close();
    until_leads(&third).await;
    third.close();
}
