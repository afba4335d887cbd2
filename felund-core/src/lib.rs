//! Felund's core: one sans-IO implementation of circles, envelopes, sync and delivery for every platform.
//!
//! Bytes enter at one door, pass through typed stages in one direction and leave as events. Whatever touches a
//! clock, a socket, a disk, a browser or the operating system's randomness stands outside this crate and drives
//! [`node::Node`]. Without the `node` feature the crate is what a blind relay may know: ids, bounds, the sealed
//! envelope and request signing.

#[cfg(feature = "node")]
pub mod anchor;
#[cfg(feature = "node")]
pub mod circle;
pub mod config;
pub mod envelope;
#[cfg(feature = "node")]
pub mod ice;
pub mod ids;
#[cfg(feature = "node")]
pub mod invite;
#[cfg(feature = "node")]
pub mod io;
#[cfg(feature = "node")]
pub mod keys;
#[cfg(feature = "node")]
pub mod lan;
#[cfg(feature = "node")]
pub mod log;
#[cfg(feature = "node")]
pub mod model;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "node")]
pub mod redact;
pub mod relay_api;
#[cfg(feature = "node")]
mod route;
#[cfg(feature = "node")]
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "node")]
pub mod slash;
pub mod sorted;
#[cfg(feature = "node")]
pub mod store;
#[cfg(feature = "node")]
pub mod sync;
#[cfg(feature = "node")]
pub mod time;
#[cfg(feature = "node")]
pub mod view;
pub mod wire;
