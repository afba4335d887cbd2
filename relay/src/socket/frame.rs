//! RFC 6455 framing, the server's side: client frames in, whole server frames out.
//!
//! Written here rather than taken from a library for two reasons a relay of idle sockets has: nothing is allocated
//! for a socket that is silent, and a server frame, being unmasked, is encoded once and shared by every receiver.

use bytes::Bytes;
use felund_core::config::MAX_SOCKET_FRAME;

/// A message or control frame from a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    /// With the code to answer it with.
    Close(u16),
}

/// Status codes of a close frame (RFC 6455 §7.4).
pub(crate) mod close {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const UNSUPPORTED: u16 = 1003;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const TOO_BIG: u16 = 1009;
    pub(crate) const TRY_AGAIN: u16 = 1013;
}

/// Why a socket must be closed, and with which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

const fn violation(code: u16, reason: &'static str) -> Violation {
    Violation { code, reason }
}

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Puts bytes as they arrive together to messages. Empty, and without heap memory, between messages.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    /// The beginning of a frame whose rest has not arrived.
    partial: Vec<u8>,
    /// The beginning of a fragmented message.
    message: Option<Vec<u8>>,
}

struct Head {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    start: usize,
    len: usize,
}

impl FrameReader {
    /// Bytes of what is not whole yet.
    pub(super) fn held(&self) -> usize {
        self.partial.len() + self.message.as_ref().map_or(0, Vec::len)
    }

    /// Takes bytes and appends what they complete to `out`.
    pub(super) fn feed(&mut self, data: &[u8], out: &mut Vec<Incoming>) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let used = self.frames(data, out)?;
            self.partial = data[used..].to_vec();
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(data);
        let used = self.frames(&partial, out)?;
        if used == 0 {
            self.partial = partial;
        } else {
            self.partial = partial[used..].to_vec();
        }
        Ok(())
    }

    /// Reads whole frames; answers how many bytes they had.
    fn frames(&mut self, data: &[u8], out: &mut Vec<Incoming>) -> Result<usize, Violation> {
        let mut at = 0;
        while let Some(head) = head(&data[at..])? {
            let held = self.message.as_ref().map_or(0, Vec::len);
            if head.len > MAX_SOCKET_FRAME || (head.opcode < CLOSE && held + head.len > MAX_SOCKET_FRAME) {
                return Err(violation(close::TOO_BIG, "message over its limit"));
            }
            let end = at + head.start + head.len;
            if data.len() < end {
                break;
            }
            let mut payload = data[at + head.start..end].to_vec();
            unmask(&mut payload, head.mask);
            at = end;
            self.frame(&head, payload, out)?;
        }
        Ok(at)
    }

    fn frame(&mut self, head: &Head, payload: Vec<u8>, out: &mut Vec<Incoming>) -> Result<(), Violation> {
        match (head.opcode, self.message.take()) {
            (BINARY, None) if head.fin => out.push(Incoming::Binary(payload)),
            (BINARY, None) => self.message = Some(payload),
            (0, Some(mut message)) => {
                message.extend_from_slice(&payload);
                if head.fin {
                    out.push(Incoming::Binary(message));
                } else {
                    self.message = Some(message);
                }
            }
            (opcode @ (CLOSE | PING | PONG), message) => {
                self.message = message;
                out.push(match opcode {
                    PING => Incoming::Ping(payload),
                    PONG => Incoming::Pong,
                    _ => Incoming::Close(close_code(&payload)?),
                });
            }
            (1, _) => return Err(violation(close::UNSUPPORTED, "only binary messages are taken")),
            _ => return Err(violation(close::PROTOCOL, "frame out of order")),
        }
        Ok(())
    }
}

/// The code of a close frame that says what one may (RFC 6455 §5.5.1, §7.4); without any it is a normal one.
fn close_code(payload: &[u8]) -> Result<u16, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(close::NORMAL),
        &[a, b, ref reason @ ..] => (u16::from_be_bytes([a, b]), reason),
        [_] => (0, &[][..]),
    };
    let sayable = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if sayable && str::from_utf8(reason).is_ok() {
        Ok(code)
    } else {
        Err(violation(close::PROTOCOL, "malformed close frame"))
    }
}

fn head(data: &[u8]) -> Result<Option<Head>, Violation> {
    let &[first, second, ref rest @ ..] = data else { return Ok(None) };
    let opcode = first & 15;
    let fin = first & 0x80 != 0;
    if first & 0x70 != 0 || !matches!(opcode, 0..=2 | CLOSE..=PONG) {
        return Err(violation(close::PROTOCOL, "reserved bits or opcode"));
    }
    if second & 0x80 == 0 {
        return Err(violation(close::PROTOCOL, "client frames must be masked"));
    }
    let short = second & 0x7f;
    if opcode >= CLOSE && (short > 125 || !fin) {
        return Err(violation(close::PROTOCOL, "control frame too long or fragmented"));
    }
    let (len, extra) = match short {
        126 => match rest {
            &[a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), 2),
            _ => return Ok(None),
        },
        127 => match rest {
            &[a, b, c, d, e, f, g, h, ..] => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 8),
            _ => return Ok(None),
        },
        len => (u64::from(len), 0),
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > MAX_SOCKET_FRAME {
        return Err(violation(close::TOO_BIG, "message over its limit"));
    }
    let Some(&[a, b, c, d]) = rest.get(extra..extra + 4) else { return Ok(None) };
    Ok(Some(Head { fin, opcode, mask: [a, b, c, d], start: 6 + extra, len }))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends one whole, unmasked frame.
fn put(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(len as u8),
        len @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Appends a binary message as one frame.
pub(crate) fn put_binary(out: &mut Vec<u8>, payload: &[u8]) {
    put(out, BINARY, payload);
}

/// A binary message as one frame, to be shared by its receivers.
pub(crate) fn binary(payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 10);
    put(&mut out, BINARY, payload);
    out.into()
}

pub(super) fn ping() -> Bytes {
    Bytes::from_static(&[0x80 | PING, 0])
}

pub(super) fn pong(payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 2);
    put(&mut out, PONG, payload);
    out.into()
}

/// A close frame; `reason` is at most 123 bytes.
pub(super) fn closing(code: u16, reason: &str) -> Bytes {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..reason.len().min(123)]);
    let mut out = Vec::with_capacity(payload.len() + 2);
    put(&mut out, CLOSE, &payload);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, opcode, payload);
        out[0] = if fin { 0x80 } else { 0 } | opcode;
        out[1] |= 0x80;
        let mask = [1, 2, 3, 4];
        let body = out.split_off(out.len() - payload.len());
        out.extend_from_slice(&mask);
        out.extend(body.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        out
    }

    fn read(reader: &mut FrameReader, data: &[u8]) -> Result<Vec<Incoming>, Violation> {
        let mut out = Vec::new();
        reader.feed(data, &mut out).map(|()| out)
    }

    #[test]
    fn any_cut_of_the_stream_yields_the_same_messages() {
        let big: Vec<u8> = (0..70_000u32).map(|i| i as u8).collect();
        let mut stream = client(true, BINARY, b"one");
        stream.extend(client(false, BINARY, b"tw"));
        stream.extend(client(true, PING, b"p"));
        stream.extend(client(true, 0, b"o"));
        stream.extend(client(true, BINARY, &big));
        stream.extend(client(true, CLOSE, &[3, 232]));
        let expected = vec![
            Incoming::Binary(b"one".to_vec()),
            Incoming::Ping(b"p".to_vec()),
            Incoming::Binary(b"two".to_vec()),
            Incoming::Binary(big),
            Incoming::Close(close::NORMAL),
        ];
        for step in [1, 2, 7, 1_000, stream.len()] {
            let mut reader = FrameReader::default();
            let mut out = Vec::new();
            for part in stream.chunks(step) {
                reader.feed(part, &mut out).unwrap();
            }
            assert_eq!(out, expected, "in steps of {step}");
            assert_eq!(reader.partial.capacity(), 0, "nothing is held between messages");
        }
    }

    #[test]
    fn what_a_client_must_not_send_closes_with_its_code() {
        let code = |data: &[u8]| read(&mut FrameReader::default(), data).unwrap_err().code;
        assert_eq!(code(&client(true, 1, b"text")), close::UNSUPPORTED);
        assert_eq!(code(&[0x82, 1, 0]), close::PROTOCOL, "unmasked");
        assert_eq!(code(&[0xc2, 0x81]), close::PROTOCOL, "reserved bit");
        assert_eq!(code(&client(true, 0, b"x")), close::PROTOCOL, "continuation of nothing");
        assert_eq!(code(&[0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0]), close::TOO_BIG, "before its bytes arrive");
    }

    #[test]
    fn a_close_frame_has_a_code_that_may_be_sent_and_a_text() {
        let code = |payload: &[u8]| {
            read(&mut FrameReader::default(), &client(true, CLOSE, payload))
                .map_err(|violation| violation.code)
        };
        assert_eq!(code(&[]), Ok(vec![Incoming::Close(close::NORMAL)]));
        for good in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4000, 4999u16] {
            assert_eq!(code(&good.to_be_bytes()), Ok(vec![Incoming::Close(good)]));
        }
        for bad in [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535u16] {
            assert_eq!(code(&bad.to_be_bytes()), Err(close::PROTOCOL), "{bad}");
        }
        assert_eq!(code(&[3]), Err(close::PROTOCOL));
        assert_eq!(code(&[3, 232, 0xc3]), Err(close::PROTOCOL), "no UTF-8");
        assert_eq!(code("\u{3}\u{3}ü".as_bytes()), Err(close::PROTOCOL), "771");
    }

    #[test]
    fn fragments_do_not_add_up_past_the_limit() {
        let mut reader = FrameReader::default();
        let half = vec![0; MAX_SOCKET_FRAME / 2 + 1];
        assert_eq!(read(&mut reader, &client(false, BINARY, &half)), Ok(vec![]));
        assert_eq!(reader.held(), half.len());
        assert_eq!(read(&mut reader, &client(true, 0, &half[..200])[..100]), Ok(vec![]));
        assert_eq!(reader.held(), half.len() + 100, "what has not arrived whole counts");
        reader = FrameReader::default();
        assert_eq!(read(&mut reader, &client(false, BINARY, &half)), Ok(vec![]));
        assert_eq!(read(&mut reader, &client(true, 0, &half)).unwrap_err().code, close::TOO_BIG);
    }
}
