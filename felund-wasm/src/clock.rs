//! The node's clock, and how sleep is noticed: while a device sleeps, the monotonic clock of some browsers stands
//! still and the wall clock does not.

use felund_core::time::Now;

use crate::browser;

/// How far the two clocks may part before the device must have slept or been set to another time, in milliseconds.
const JUMP_MS: u64 = 2_000;

/// Never goes back, and tells jumps.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Now,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { last: read() }
    }

    /// The time, and whether the device seems to have slept since this was last asked.
    pub(crate) fn now(&mut self) -> (Now, bool) {
        let read = read();
        let now = Now { mono: read.mono.max(self.last.mono), wall: read.wall };
        let walked = now.mono - self.last.mono;
        let jumped = now.wall.saturating_sub(self.last.wall) > walked + JUMP_MS;
        self.last = now;
        (now, jumped)
    }
}

fn read() -> Now {
    let mono = browser::window().and_then(|window| window.performance()).map_or(0.0, |clock| clock.now());
    // Both are finite and positive; `as` saturates otherwise.
    Now { mono: mono as u64, wall: js_sys::Date::now() as u64 }
}
