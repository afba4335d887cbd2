//! How much a circle keeps, as pure functions.

use crate::view::Retention;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The age limit as a timestamp: chat older than this is not kept.
#[must_use]
pub const fn horizon(retention: Retention, wall: u64) -> u64 {
    wall.saturating_sub(retention.days as u64 * DAY_MS)
}

/// How many of a channel's `len` messages, oldest first, are to go: those beyond the count and those before the
/// horizon.
#[must_use]
pub fn overflow(ascending: impl Iterator<Item = u64>, len: usize, messages: u32, horizon: u64) -> usize {
    let by_age = ascending.take_while(|ts| *ts < horizon).count();
    by_age.max(len.saturating_sub(messages as usize))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_kept_fits_both_limits_and_nothing_else_is_dropped(
            mut stamps in prop::collection::vec(0..100 * DAY_MS, 0..60),
            messages in 1..40_u32,
            days in 1..90_u32,
        ) {
            stamps.sort_unstable();
            let (wall, retention) = (100 * DAY_MS, Retention { messages, days });
            let cut = overflow(stamps.iter().copied(), stamps.len(), messages, horizon(retention, wall));
            let kept = &stamps[cut..];
            prop_assert!(kept.len() <= messages as usize);
            prop_assert!(kept.iter().all(|ts| *ts >= horizon(retention, wall)));
            if cut > 0 {
                let last_dropped = stamps[cut - 1];
                prop_assert!(last_dropped < horizon(retention, wall) || kept.len() == messages as usize);
            }
        }
    }
}
