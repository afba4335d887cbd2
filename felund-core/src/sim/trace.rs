//! What happened, as a hash and on request as lines.

use std::fmt;

use sha2::{Digest, Sha256};

/// A running account of everything that happens in a world: two runs are the same exactly if their hashes are.
pub struct Trace {
    hash: Option<Sha256>,
    lines: Option<Vec<String>>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("hashes", &self.hash.is_some())
            .field("lines", &self.lines.as_ref().map(Vec::len))
            .finish()
    }
}

impl Trace {
    pub(super) const fn off() -> Self {
        Self { hash: None, lines: None }
    }

    /// Starts hashing, and with `lines` also keeps a line for each thing that happens.
    #[must_use]
    pub fn new(lines: bool) -> Self {
        Self { hash: Some(Sha256::new()), lines: lines.then(Vec::new) }
    }

    pub(super) fn note(&mut self, now: u64, what: &str, device: usize, bytes: &[u8]) {
        if let Some(hash) = &mut self.hash {
            hash.update(now.to_be_bytes());
            hash.update(what.as_bytes());
            hash.update((device as u64).to_be_bytes());
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} s  {device}  {what} ({} bytes)", seconds(now), bytes.len()));
        }
    }

    /// A line that is not part of the hash; made only if lines are kept.
    pub fn remark(&mut self, now: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} s  {}", seconds(now), line()));
        }
    }

    /// Hex SHA-256 of everything so far; empty where nothing is hashed.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hash.clone().map(|hash| hex::encode(hash.finalize())).unwrap_or_default()
    }

    /// The lines kept so far.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

fn seconds(ms: u64) -> f64 {
    // Virtual times are far below what a float holds exactly.
    ms as f64 / 1_000.0
}
