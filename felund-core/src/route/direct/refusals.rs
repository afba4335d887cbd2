//! What was refused on direct connections and why, counted: for people who wonder who knocks, and for tests.

use crate::sorted::SortedMap;

/// Gone, or given up, before it said who it is.
pub(super) const UNFINISHED: &str = "a handshake that was not finished";
/// Closed because there is no place.
pub(super) const TOO_MANY: &str = "too many connections at once";

/// Counts by reason. Reasons are constants of this program, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Refusals(SortedMap<&'static str, u64>);

impl Refusals {
    pub(super) fn add(&mut self, reason: &'static str, times: u64) {
        let count = self.0.entry(reason).or_default();
        *count = count.saturating_add(times);
    }

    /// Every reason there was, and how often.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(reason, times)| (*reason, *times))
    }
}
