//! Records: what travels once both sides are known. One key and one counter per direction; a record that is
//! replayed, reordered, cut or altered opens under no counter and ends the session.

use std::fmt;

use super::SessionError;
use crate::{
    ids::{CircleId, NodeId},
    keys::{gcm_open, gcm_seal},
    redact::Secret,
};

/// Largest record on the wire, in bytes: what every DataChannel implementation passes in one message.
pub const MAX_RECORD: usize = 16 * 1024;
/// Largest frame put together from fragments, in bytes.
const MAX_FRAME: usize = 1024 * 1024;
/// The reason that a driver gives when a stream ends in the middle of a message: what has come of it is dropped, and
/// nothing of it was accepted.
pub const CUT_OFF: &str = "a connection cut off within a record";
/// A record's GCM tag, in bytes.
const TAG: usize = 16;
/// Payload of one record: its size less the tag and the fragment mark.
const MAX_FRAGMENT: usize = MAX_RECORD - TAG - 1;
/// How many records back a repeated one, and how many ahead an early one, is known for what it is. More would only
/// serve the name of the refusal.
const NAMED: u64 = 8;

const LAST: u8 = 0;
const MORE: u8 = 1;

/// One direction: a key and the counter that is its nonce (96 bits, big-endian), implicit on the wire.
pub(super) struct Direction {
    key: Secret<[u8; 32]>,
    counter: u64,
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

impl Direction {
    pub(super) const fn new(key: Secret<[u8; 32]>) -> Self {
        Self { key, counter: 0 }
    }

    /// The next nonce; `None` once the counter is spent, which at a million records a second takes 580,000 years.
    fn nonce(&mut self) -> Option<[u8; 12]> {
        let nonce = nonce(self.counter);
        self.counter = self.counter.checked_add(1)?;
        Some(nonce)
    }

    pub(super) fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, SessionError> {
        let nonce = self.nonce().ok_or(SessionError::Spent)?;
        Ok(gcm_seal(&self.key, &nonce, b"", plain))
    }

    pub(super) fn open(&mut self, record: &[u8]) -> Result<Vec<u8>, SessionError> {
        if record.len() > MAX_RECORD {
            return Err(SessionError::TooLarge);
        }
        if record.len() < TAG {
            return Err(SessionError::Truncated);
        }
        let at = self.counter;
        let nonce = self.nonce().ok_or(SessionError::Spent)?;
        gcm_open(&self.key, &nonce, b"", record).ok_or_else(|| self.name(at, record))
    }

    /// Why a record did not open under the counter `at`. Only for people: the session is over, nothing of the record is
    /// used, and the other side sees the same end whatever this says.
    fn name(&self, at: u64, record: &[u8]) -> SessionError {
        let opens = |counter: u64| gcm_open(&self.key, &nonce(counter), b"", record).is_some();
        if (at.saturating_sub(NAMED)..at).any(opens) {
            SessionError::Replayed
        } else if (at.saturating_add(1)..=at.saturating_add(NAMED)).any(opens) {
            SessionError::Reordered
        } else {
            SessionError::Altered
        }
    }
}

/// A session after WELCOME: who is there, what is shared, and the two directions.
pub struct Session {
    pub(super) peer: NodeId,
    pub(super) circles: Vec<CircleId>,
    pub(super) salt: [u8; 16],
    pub(super) initiated: bool,
    pub(super) tx: Direction,
    pub(super) rx: Direction,
    pub(super) partial: Vec<u8>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?}, {} circles)", self.peer, self.circles.len())
    }
}

impl Session {
    /// The proven other side.
    #[must_use]
    pub const fn peer(&self) -> NodeId {
        self.peer
    }

    /// The circles both sides proved to be in, in ascending order: frames name them by their place here.
    #[must_use]
    pub fn circles(&self) -> &[CircleId] {
        &self.circles
    }

    /// Salts short ids within this session, the same on both sides.
    #[must_use]
    pub const fn salt(&self) -> &[u8; 16] {
        &self.salt
    }

    /// Whether this side began it.
    #[must_use]
    pub const fn initiated(&self) -> bool {
        self.initiated
    }

    /// Of two sessions of the same pair both sides keep the one that the node with the smaller id began.
    #[must_use]
    pub fn outranks(&self, me: NodeId) -> bool {
        self.initiated == (me < self.peer)
    }

    /// Seals a frame as one record, or as several when it is larger than one.
    pub fn seal(&mut self, frame: &[u8]) -> Result<Vec<Vec<u8>>, SessionError> {
        if frame.len() > MAX_FRAME {
            return Err(SessionError::TooLarge);
        }
        let mut chunks = frame.chunks(MAX_FRAGMENT).peekable();
        if chunks.peek().is_none() {
            return Ok(vec![self.tx.seal(&[LAST])?]);
        }
        let mut records = Vec::with_capacity(frame.len() / MAX_FRAGMENT + 1);
        while let Some(chunk) = chunks.next() {
            let mark = if chunks.peek().is_some() { MORE } else { LAST };
            let mut plain = Vec::with_capacity(chunk.len() + 1);
            plain.push(mark);
            plain.extend_from_slice(chunk);
            records.push(self.tx.seal(&plain)?);
        }
        Ok(records)
    }

    /// Opens one record; the frame, once its last fragment is here. Any error ends the session.
    pub fn open(&mut self, record: &[u8]) -> Result<Option<Vec<u8>>, SessionError> {
        let plain = self.rx.open(record)?;
        let (mark, chunk) = plain.split_first().ok_or(SessionError::Malformed)?;
        if self.partial.len() + chunk.len() > MAX_FRAME {
            return Err(SessionError::TooLarge);
        }
        self.partial.extend_from_slice(chunk);
        match *mark {
            LAST => Ok(Some(std::mem::take(&mut self.partial))),
            MORE => Ok(None),
            _ => Err(SessionError::Malformed),
        }
    }
}
