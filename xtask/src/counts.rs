//! Adding up what test programs say about themselves.

use std::fmt;
use std::ops::AddAssign;

/// Tests that ran, from the `test result:` lines of libtest and of the WebAssembly test runner, which print the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Tests that this machine did not permit. They say so in a line of their own, and pass as far as libtest knows.
    pub(crate) skipped: u64,
}

/// What a test that is not permitted here puts before its name and the reason.
const SKIPPED: &str = "-- skipped: ";

impl Counts {
    /// Adds the counts of one line of output, if it holds any.
    pub(crate) fn read_line(&mut self, line: &str) {
        if line.contains(SKIPPED) {
            self.skipped += 1;
        }
        let Some((_, result)) = line.split_once("test result: ") else { return };
        let number = |label: &str| {
            let before = &result[..result.find(label)?];
            before.trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        if let (Some(passed), Some(failed)) = (number("passed"), number("failed")) {
            *self += Self { passed, failed, skipped: 0 };
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ran = self.passed.saturating_sub(self.skipped);
        write!(f, "{ran} passed, {} failed", self.failed)?;
        match self.skipped {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up_and_other_lines_do_not_count() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "    test result: ok. 5 passed; 0 failed; 0 ignored; 0 filtered out; finished in 0.08s",
            "7 passed in another way",
        ] {
            counts.read_line(line);
        }
        assert_eq!(counts, Counts { passed: 19, failed: 3, skipped: 0 });
        assert_eq!(counts.to_string(), "19 passed, 3 failed");
    }

    #[test]
    fn what_was_skipped_does_not_count_as_passed() {
        let mut counts = Counts::default();
        counts.read_line("-- skipped: two homes talk: no network namespaces can be had here");
        counts.read_line("test a ... -- skipped: hole punching: not permitted");
        counts.read_line("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(counts.to_string(), "10 passed, 0 failed, 2 skipped");
    }
}
