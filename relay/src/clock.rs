//! The relay's clock, in the units its API speaks.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; 0 if the machine's clock lies before that.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
