//! Policy 3: what an anchor keeps for others. Oldest goes first; nothing is opened to decide it.

use crate::{
    ids::CircleId,
    view::{Key, Retention},
};

/// Days an anchor keeps a message.
pub const MAX_AGE_DAYS: u32 = 1;
/// Messages an anchor keeps per channel.
pub const MAX_MESSAGES: u32 = 500;
/// Bytes of envelopes an anchor keeps in all its circles together.
pub const MAX_TOTAL_BYTES: u64 = 50 * 1024 * 1024;

/// What an anchor keeps of a circle whose members keep `retention`.
#[must_use]
pub fn bounded(retention: Retention) -> Retention {
    Retention { messages: retention.messages.min(MAX_MESSAGES), days: retention.days.min(MAX_AGE_DAYS) }
}

/// One envelope an anchor keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its place; the oldest come first in the order of this type.
    pub key: Key,
    /// Which circle's.
    pub circle: CircleId,
    /// Bytes.
    pub size: u32,
}

/// The oldest envelopes that must go so that the rest is at most `limit` bytes.
#[must_use]
pub fn beyond_total(mut stored: Vec<Stored>, limit: u64) -> Vec<Stored> {
    let mut total: u64 = stored.iter().map(|of| u64::from(of.size)).sum();
    // Nearly always there is nothing to look for.
    if total <= limit {
        return Vec::new();
    }
    stored.sort_unstable();
    let goes = |of: &Stored| {
        let over = total > limit;
        total = total.saturating_sub(u64::from(of.size));
        over
    };
    stored.into_iter().take_while(goes).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::MsgId;

    proptest! {
        #[test]
        fn what_stays_fits_and_is_newer_than_all_that_goes(
            sizes in prop::collection::vec((0..1_000_u64, 1..70_000_u32), 0..40),
            limit in 0..1_000_000_u64,
        ) {
            let stored: Vec<Stored> = sizes
                .iter()
                .zip(0..)
                .map(|((ts, size), id)| Stored {
                    key: Key { ts: *ts, id: MsgId([id; 16]) },
                    circle: CircleId([id % 3; 16]),
                    size: *size,
                })
                .collect();
            let gone = beyond_total(stored.clone(), limit);
            let stays: Vec<&Stored> = stored.iter().filter(|of| !gone.contains(of)).collect();
            let total: u64 = stays.iter().map(|of| u64::from(of.size)).sum();
            prop_assert!(total <= limit);
            prop_assert!(gone.iter().all(|gone| stays.iter().all(|stays| gone.key < stays.key)));
            if let Some(last) = gone.last() {
                prop_assert!(total + u64::from(last.size) > limit, "no more goes than must");
            }
        }
    }

    #[test]
    fn a_circle_that_keeps_less_than_an_anchor_may_keeps_less() {
        let small = Retention { messages: 10, days: 1 };
        assert_eq!(bounded(small), small);
        assert_eq!(bounded(Retention { messages: 1_000, days: 30 }), Retention { messages: 500, days: 1 });
    }
}
