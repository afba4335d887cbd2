//! What a page read before the module could run.
//!
//! Fetching and compiling the module leaves the browser's storage idle for most of a start. A page may therefore take
//! the lock of its node by itself and read, under it, what a node asks for first. It leaves both in
//! `globalThis.felundLocks`: an object whose `request` does what that of `navigator.locks` does, and which calls back with
//! what was read in place of the lock. The app's shell does so.

use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};

use crate::browser::get;

/// Name of the page's own lock manager.
pub(crate) const LOCKS: &str = "felundLocks";

/// What was read under the lock of a node.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Names of all records, and of the pages of the index.
    pub(crate) names: Vec<JsValue>,
    /// What they name, in the same order.
    pub(crate) values: Vec<JsValue>,
    /// The primary keys of all envelopes, one behind the other, where there are no pages.
    pub(crate) keys: Option<Vec<u8>>,
}

impl Rows {
    /// What came with a lock; nothing does with a browser's own.
    pub(crate) fn of(lock: &JsValue) -> Option<Self> {
        let array = |name| Some(get(lock, name)?.unchecked_into::<Array>().to_vec());
        let keys = get(lock, "keys").map(|keys| keys.unchecked_into::<Uint8Array>().to_vec());
        Some(Self { names: array("names")?, values: array("values")?, keys })
    }
}
