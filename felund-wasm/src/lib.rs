//! Felund's node in a browser.
//!
//! [`Client`] is the door: it takes [`core::io::Command`]s and tells [`core::io::Event`]s. Behind it one tab of an
//! origin, the elected leader, owns the node and carries out what it asks for (sockets, fetch, IndexedDB, timers);
//! the other tabs mirror it. What the user sees is no matter of this crate: the app in `web/` and any page that
//! embeds the `FelundNode` class (feature `js-api`) draw the same events.

pub use felund_core as core;

mod ahead;
mod browser;
mod client;
mod clock;
mod driver;
mod election;
mod http;
mod idb;
mod inbox;
mod index;
#[cfg(feature = "js-api")]
mod js_api;
mod keeper;
mod probe;
mod reply;
mod rtc;
mod socket;
pub mod storage;
mod wire;

pub use self::{
    browser::{Listener, Timer},
    client::{Client, Options},
    idb::IdbStore,
};
