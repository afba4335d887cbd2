//! Time as the drivers hand it in. The core owns no clock.

/// A point in time, taken by the driver once per call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back; its origin is the driver's choice.
    pub mono: u64,
    /// Milliseconds since 1970 on the device's wall clock, which may jump.
    pub wall: u64,
}
