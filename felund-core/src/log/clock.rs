//! The hybrid logical clock: wall time when it moves forward, a counter when it does not.

use crate::config::MAX_FUTURE_MS;

/// Hands out `created_ts`: greater than everything this node has accepted or handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    last: u64,
}

impl Clock {
    /// Takes note of an accepted timestamp, in milliseconds.
    pub const fn observe(&mut self, ts: u64) {
        if ts > self.last {
            self.last = ts;
        }
    }

    /// Begins again at `wall` (milliseconds) if the clock is so far ahead of it that nobody would accept what it says;
    /// whether it did.
    pub const fn restart(&mut self, wall: u64) -> bool {
        let ahead = self.last > wall.saturating_add(MAX_FUTURE_MS);
        if ahead {
            self.last = wall;
        }
        ahead
    }

    /// The last timestamp accepted or handed out.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The next timestamp, given the wall time in milliseconds.
    pub const fn tick(&mut self, wall: u64) -> u64 {
        self.last = if wall > self.last { wall } else { self.last + 1 };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_never_repeats() {
        let mut clock = Clock::default();
        assert_eq!(clock.tick(100), 100);
        assert_eq!(clock.tick(90), 101);
        clock.observe(500);
        assert_eq!(clock.tick(200), 501);
        assert_eq!(clock.tick(1_000), 1_000);
    }

    #[test]
    fn a_clock_that_nobody_would_accept_begins_again() {
        let mut clock = Clock::default();
        clock.observe(2 * MAX_FUTURE_MS);
        assert!(!clock.restart(MAX_FUTURE_MS), "others accept that");
        assert!(clock.restart(MAX_FUTURE_MS - 1));
        assert_eq!(clock.tick(1_000), MAX_FUTURE_MS, "never before what is right");
    }
}
