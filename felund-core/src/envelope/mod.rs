//! Envelope v2: the one shape of a message on every path and at rest (`docs/protocol.md` §4).
//!
//! `shape` is what anyone may see: headers, ciphertext, signature. Opening and sealing need keys and live in
//! `seal`, which only members compile. An [`Envelope`] is well-formed by construction; a [`Verified`] one also
//! carries its author's signature. There is no way from bytes to [`Verified`] but through the check.

#[cfg(feature = "node")]
mod pad;
#[cfg(feature = "node")]
mod seal;
mod shape;

#[cfg(feature = "node")]
pub use pad::{pad, unpad};
#[cfg(feature = "node")]
pub use seal::{Draft, OpenError, TooLarge, open, receive, seal, seal_with};
#[cfg(feature = "batch")]
pub use shape::verify_all;
#[cfg(feature = "node")]
pub(crate) use shape::{ANNOUNCE, RECEIPT};
pub use shape::{Compression, Envelope, EnvelopeError, Header, Verified, is_ephemeral};
