//! Felund's blind relay: stores and forwards sealed envelopes it cannot open, and serves the web app.
//!
//! A request comes in through [`router`](crate) and `auth`, is answered by a handler, and touches the `store` (what
//! must survive) or the `hub` (who is connected). Commits flow from the store's writer through the hub's fan-out to
//! the sockets. The crate is built on `felund-core` without its `node` feature: it has no way to name a circle
//! secret, a message key or a plaintext.

mod app;
mod auth;
mod clock;
mod compress;
mod config;
mod error;
mod handlers;
mod hub;
mod limits;
mod memory;
mod metrics;
mod nonce;
mod policy;
mod router;
mod server;
mod socket;
mod store;
mod stun;
mod tokens;
mod verify;
mod web;

pub use config::{Config, TurnSecret};
pub use server::{Relay, StartError};
