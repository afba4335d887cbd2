//! How messages reach members: the rungs of the delivery ladder (`docs/protocol.md` §10).
//!
//! Direct sessions come first, then anchors: [`ladder`] says when. The hosted relay is the last rung: one link per relay carries every circle that uses
//! it, over a WebSocket where possible and over HTTP polling where not. Nothing in this room opens an envelope.

pub(crate) mod direct;
pub(crate) mod ladder;
pub(crate) mod relay;
pub(crate) mod rtc;
