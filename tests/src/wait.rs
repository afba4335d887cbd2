//! Waiting for a condition instead of for a time: generous deadlines, and a text that says what did not come.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Long enough for a busy machine with two cores; nothing that works takes this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

const STEP: Duration = Duration::from_millis(15);

/// Asks until there is an answer.
///
/// # Panics
/// With `what` when there is none within [`PATIENCE`].
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    let Some(found) = within(PATIENCE, ask) else { panic!("within {PATIENCE:?} there was not: {what}") };
    found
}

/// Asks until the answer is yes.
///
/// # Panics
/// With `what` when it is still no after [`PATIENCE`].
pub fn until_true(what: &str, mut ask: impl FnMut() -> bool) {
    until(what, || ask().then_some(()));
}

/// Asks until there is an answer or the time is over.
pub fn within<T>(time: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(STEP);
    }
}
