//! Frames on sockets: `&[u8]` in, typed frames out, every length bounded before memory is taken.
//!
//! Nothing here sees a key. Envelopes travel as opaque byte strings, so that whoever forwards them need neither
//! parse nor re-encode them.

mod relay;

pub use relay::{ClientFrame, Sealed, ServerFrame, WireError, encode_live};
