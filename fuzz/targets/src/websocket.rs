//! The relay's WebSocket framing (RFC 6455), in pieces as a network would deliver them.

use felund_core::config::MAX_SOCKET_FRAME;

use crate::script::Script;

/// The relay's own source: compiled here alone, because the crate around it brings a database and a server along.
#[allow(dead_code, unreachable_pub, reason = "only reading is fuzzed, and nothing is exported")]
#[path = "../../../relay/src/socket/frame.rs"]
mod frame;

use frame::{FrameReader, Incoming};

/// Takes bytes as what a client sends: all at once, and cut into pieces.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let cuts: [u8; 4] = script.array();
    let stream = script.rest();
    let (mut whole, mut in_pieces) = (Vec::new(), Vec::new());
    let at_once = FrameReader::default().feed(stream, &mut whole);
    let mut reader = FrameReader::default();
    let (mut rest, mut outcome) = (stream, Ok(()));
    for cut in cuts.iter().cycle() {
        let (piece, after) = rest.split_at(usize::from(*cut).max(1).min(rest.len()));
        outcome = reader.feed(piece, &mut in_pieces);
        rest = after;
        if rest.is_empty() || outcome.is_err() {
            break;
        }
    }
    assert_eq!(at_once.is_ok(), outcome.is_ok(), "a network's cuts change nothing");
    assert_eq!(whole, in_pieces);
    for message in &whole {
        if let Incoming::Binary(bytes) | Incoming::Ping(bytes) = message {
            assert!(bytes.len() <= MAX_SOCKET_FRAME);
        }
    }
}
