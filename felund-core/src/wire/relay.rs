//! Frames of the relay's WebSocket (`docs/protocol.md` §9): each binary message is one CBOR array
//! `[tag, [fields…]]`. Unknown trailing fields are ignored; an unknown tag is an error that names it.

use std::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::{
    config::{MAX_BATCH, MAX_ENVELOPE_LEN, MAX_SOCKET_FRAME},
    ids::{CircleHint, Cursor},
    relay_api::{Peer, Signal, SignalRequest, Stored},
};

/// The CBOR of one envelope, not yet looked into.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

impl<C> Encode<C> for Sealed {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Sealed {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes = d.bytes()?;
        if bytes.len() > MAX_ENVELOPE_LEN {
            return Err(decode::Error::message("envelope over its limit"));
        }
        Ok(Self(bytes.to_vec()))
    }
}

/// From a client to its relay.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ClientFrame {
    /// Adds a circle to this socket, with a token of its own; the token in the sub-protocol attaches nothing by
    /// itself, it only opens the socket. Answered by `Attached`, the backlog after `after`, and `CaughtUp`.
    #[n(0)]
    Attach {
        /// From `POST /v1/relay/session`.
        #[n(0)]
        token: String,
        /// The last cursor this client holds; nothing is skipped or repeated after it.
        #[n(1)]
        after: Cursor,
    },
    /// Stores envelopes and pushes them to the circle. Answered by `Stored` once durable.
    #[n(1)]
    Post {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// Chosen by the client, echoed in the answer.
        #[n(1)]
        seq: u64,
        /// At most 256.
        #[n(2)]
        envelopes: Vec<Sealed>,
    },
    /// Pushes an envelope to whoever is connected, without storing it.
    #[n(2)]
    Ephemeral {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// The envelope.
        #[n(1)]
        envelope: Sealed,
    },
    /// As `POST /v1/signal`.
    #[n(3)]
    Signal {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// What and for whom.
        #[n(1)]
        signal: SignalRequest,
    },
    /// Takes a circle off this socket.
    #[n(4)]
    Detach {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
    },
    /// Asks for a `Pong`: browsers cannot send WebSocket pings.
    #[n(5)]
    Ping {
        /// Echoed.
        #[n(0)]
        id: u64,
    },
}

/// From a relay to its client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ServerFrame {
    /// A circle is attached: who is there now. The backlog follows as `Live` frames.
    #[n(0)]
    Attached {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// Its live members, not the caller.
        #[n(1)]
        peers: Vec<Peer>,
        /// Unix seconds.
        #[n(2)]
        server_time: u64,
    },
    /// A stored envelope, from the backlog or just now. Cursors of one circle only grow on one socket.
    #[n(1)]
    Live {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// Its place in the log.
        #[n(1)]
        cursor: Cursor,
        /// The envelope.
        #[n(2)]
        envelope: Sealed,
    },
    /// The backlog is through; what comes now is live.
    #[n(2)]
    CaughtUp {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// The last cursor.
        #[n(1)]
        cursor: Cursor,
    },
    /// A `Post` is durable. The poster also gets its envelopes back as `Live`, so that its cursor has no gaps.
    #[n(3)]
    Stored {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// Of the `Post`.
        #[n(1)]
        seq: u64,
        /// One per envelope, in order.
        #[n(2)]
        stored: Vec<Stored>,
    },
    /// A member came or changed (`online`), or went.
    #[n(4)]
    Presence {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// Who, and what the relay knows of it.
        #[n(1)]
        peer: Peer,
        /// Whether it is there now.
        #[n(2)]
        online: bool,
    },
    /// As sent by a member just now; not stored.
    #[n(5)]
    Ephemeral {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// The envelope.
        #[n(1)]
        envelope: Sealed,
    },
    /// A signaling message for the caller.
    #[n(6)]
    Signal {
        /// Which circle.
        #[n(0)]
        hint: CircleHint,
        /// The message.
        #[n(1)]
        signal: Signal,
    },
    /// A frame was refused; the socket lives on.
    #[n(7)]
    Refused {
        /// Which circle, if one was named.
        #[n(0)]
        hint: Option<CircleHint>,
        /// Of the `Post`, if it was one.
        #[n(1)]
        seq: Option<u64>,
        /// As in the HTTP API, such as `BAD_REQUEST`.
        #[n(2)]
        code: String,
        /// For people.
        #[n(3)]
        message: String,
        /// Whether it may succeed later.
        #[n(4)]
        retryable: bool,
        /// How long to wait first, in milliseconds.
        #[n(5)]
        retry_after_ms: u64,
    },
    /// Answer to `Ping`.
    #[n(8)]
    Pong {
        /// Of the `Ping`.
        #[n(0)]
        id: u64,
    },
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError(String);

#[cfg(feature = "node")]
impl WireError {
    pub(super) fn too_many() -> Self {
        Self(format!("more than {MAX_BATCH} entries in a batch"))
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed frame: {}", self.0)
    }
}

impl std::error::Error for WireError {}

pub(super) fn parse<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, WireError> {
    if bytes.len() > MAX_SOCKET_FRAME {
        return Err(WireError(format!("{} bytes, the limit is {MAX_SOCKET_FRAME}", bytes.len())));
    }
    let mut d = Decoder::new(bytes);
    let frame = d.decode().map_err(|e| WireError(format!("{e}")))?;
    if d.position() == bytes.len() { Ok(frame) } else { Err(WireError("bytes after the frame".into())) }
}

fn to_vec<T: Encode<()>>(frame: &T) -> Vec<u8> {
    minicbor::to_vec(frame).expect("writing to a Vec is infallible")
}

impl ClientFrame {
    /// Reads one binary message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let frame: Self = parse(bytes)?;
        match &frame {
            Self::Post { envelopes, .. } if envelopes.len() > MAX_BATCH => {
                Err(WireError(format!("more than {MAX_BATCH} envelopes in a batch")))
            }
            _ => Ok(frame),
        }
    }

    /// Writes one binary message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_vec(self)
    }
}

impl ServerFrame {
    /// Reads one binary message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        parse(bytes)
    }

    /// Writes one binary message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_vec(self)
    }
}

/// The bytes of [`ServerFrame::Live`], from an envelope's CBOR that need not be owned.
#[must_use]
pub fn encode_live(hint: &CircleHint, cursor: Cursor, envelope: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::with_capacity(envelope.len() + 56));
    e.array(2)
        .and_then(|e| e.u8(1))
        .and_then(|e| e.array(3))
        .and_then(|e| e.bytes(&hint.0))
        .and_then(|e| e.u64(cursor.0))
        .and_then(|e| e.bytes(envelope))
        .expect("writing to a Vec is infallible");
    e.into_writer()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_live_encoder_writes_what_the_derived_one_does() {
        let frame = ServerFrame::Live {
            hint: CircleHint([9; 32]),
            cursor: Cursor(300),
            envelope: Sealed(vec![1; 40]),
        };
        assert_eq!(encode_live(&CircleHint([9; 32]), Cursor(300), &[1; 40]), frame.to_bytes());
        assert_eq!(ServerFrame::from_bytes(&frame.to_bytes()), Ok(frame));
    }

    #[test]
    fn unknown_tags_and_trailing_bytes_are_refused() {
        assert!(ClientFrame::from_bytes(&[0x82, 0x18, 99, 0x80]).is_err());
        let mut bytes = ClientFrame::Ping { id: 1 }.to_bytes();
        bytes.push(0);
        assert!(ClientFrame::from_bytes(&bytes).is_err());
    }
}
