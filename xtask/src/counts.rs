//! Adding up what test programs say about themselves.

use std::fmt;
use std::ops::AddAssign;

/// Tests that ran, from the `test result:` lines of libtest and of the WebAssembly test runner, which print the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// Adds the counts of one line of output, if it holds any.
    pub(crate) fn read_line(&mut self, line: &str) {
        let Some((_, result)) = line.split_once("test result: ") else { return };
        let number = |label: &str| {
            let before = &result[..result.find(label)?];
            before.trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        if let (Some(passed), Some(failed)) = (number("passed"), number("failed")) {
            *self += Self { passed, failed };
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
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
        assert_eq!(counts, Counts { passed: 19, failed: 3 });
        assert_eq!(counts.to_string(), "19 passed, 3 failed");
    }
}
