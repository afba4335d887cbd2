//! Values that tell whether they may have changed, so that what follows from them is worked out again only then.

use std::ops::{Deref, DerefMut};

/// A value and how often somebody could have changed it.
#[derive(Debug, Default)]
pub(super) struct Watched<T> {
    value: T,
    version: u64,
}

impl<T> Watched<T> {
    /// Another number after every change.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// For changes to what nothing is worked out from.
    pub(super) const fn unnoticed(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Deref for Watched<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Watched<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.version += 1;
        &mut self.value
    }
}
