//! Wrappers that keep secrets out of logs and wipe them when dropped.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A secret: `Debug` shows that it is there, memory is wiped on drop, comparison is up to the holder.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps a secret.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The secret itself; whoever calls this must not let it reach a log.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
