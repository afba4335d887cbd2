//! Sessions: two nodes prove to each other who they are and which circles they share, over any byte transport
//! (`docs/protocol.md` §12).
//!
//! `HELLO → CHALLENGE → HELLO_AUTH → WELCOME`, one type per state: each transition consumes the state before it, so
//! that nothing application-level can be read before WELCOME and no step can be repeated. An observer learns neither
//! circle nor node; a peer that shares no circle learns nothing either. There is no plaintext mode to fall back to.

mod handshake;
mod record;

pub use handshake::{AwaitAuth, AwaitWelcome, Binding, Initiator, Local, Responder, SessionError};
pub(crate) use handshake::{hmac, tags};
pub use record::{CUT_OFF, MAX_RECORD, Session};
