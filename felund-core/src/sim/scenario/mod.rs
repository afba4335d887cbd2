//! Scenarios: who is there, what they do and what goes wrong, as data.

mod generate;

use super::{Block, Path};
use crate::view::Access;

/// One story, from which everything else follows. `Debug` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What it was generated from, and what chance in the world is seeded with.
    pub seed: u64,
    /// Everyone there is.
    pub devices: Vec<DevicePlan>,
    /// What they belong to.
    pub circles: Vec<CirclePlan>,
    /// Between any two devices.
    pub between: Path,
    /// Between certain two devices instead, the smaller index first.
    pub pairs: Vec<((usize, usize), Path)>,
    /// Between devices and the relay.
    pub to_relay: Path,
    /// How long a post takes at most to become durable at the relay, in milliseconds.
    pub relay_write_ms: u64,
    /// NATs and firewalls: the first can never dial the second.
    pub no_dial: Vec<(usize, usize)>,
    /// What happens when, in virtual milliseconds after everyone has been set up in calm weather.
    pub timeline: Vec<(u64, Step)>,
}

/// What a device is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Somebody reads and writes on it.
    Person,
    /// Somebody reads and writes on it, and it stores and forwards for others as well.
    Helper,
    /// Nobody uses it: it stores and forwards, and opens nothing.
    Anchor,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePlan {
    /// What it is there for.
    pub part: Part,
    /// It listens; others still may not be able to dial it.
    pub listens: bool,
    /// It dials, as a browser does not.
    pub dials: bool,
    /// It is a phone.
    pub mobile: bool,
    /// Its clock minus true time, in milliseconds; small enough that nobody refuses what it says.
    pub skew_ms: i64,
    /// Longest time that a write takes to become durable, in milliseconds.
    pub write_ms: u64,
}

/// A circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CirclePlan {
    /// Members from the start; the first makes it.
    pub members: Vec<usize>,
    /// Whether it has the relay.
    pub relay: bool,
    /// Beside general.
    pub channels: Vec<ChannelPlan>,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPlan {
    /// Who may read it.
    pub access: Access,
    /// Who makes it.
    pub owner: usize,
}

/// Something that happens. What lasts a while ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A member says something, if it is there and may.
    Say {
        /// Who.
        device: usize,
        /// Index of the circle.
        circle: usize,
        /// Index of the channel; general if `None`.
        channel: Option<usize>,
        /// Length of the text in bytes, about.
        length: usize,
    },
    /// Somebody joins a circle by the invite that its maker got when making it.
    Enter {
        /// Who.
        device: usize,
        /// Index of the circle.
        circle: usize,
    },
    /// The owner makes a channel.
    Create {
        /// Index of the circle.
        circle: usize,
        /// Index of the channel.
        channel: usize,
    },
    /// A member joins a channel, with the passphrase if it has one, or asks to be let in.
    Join {
        /// Who.
        device: usize,
        /// Index of the circle.
        circle: usize,
        /// Index of the channel.
        channel: usize,
        /// It has the passphrase wrong.
        mistaken: bool,
    },
    /// The owner lets a member into a channel.
    Approve {
        /// Who is let in.
        device: usize,
        /// Index of the circle.
        circle: usize,
        /// Index of the channel.
        channel: usize,
    },
    /// A process ends and starts again later.
    Crash {
        /// Whose.
        device: usize,
        /// With the power, so that nobody it was connected to is told.
        silent: bool,
        /// How long it is down.
        ms: u64,
    },
    /// A device is gone for ever, and its disk with it.
    Lose {
        /// Which.
        device: usize,
    },
    /// A device sleeps.
    Sleep {
        /// Which.
        device: usize,
        /// How long.
        ms: u64,
    },
    /// A disk takes no writes.
    Full {
        /// Whose.
        device: usize,
        /// How long.
        ms: u64,
    },
    /// A wall clock is wrong by more than what is tolerated.
    Clock {
        /// Whose.
        device: usize,
        /// By how much, beside its usual skew.
        by_ms: i64,
        /// How long.
        ms: u64,
    },
    /// Two groups of devices do not reach each other directly.
    Partition {
        /// One group; everyone else is the other.
        side: Vec<usize>,
        /// How they fail to.
        how: Block,
        /// How long.
        ms: u64,
    },
    /// A device does not reach the relay.
    NoRelay {
        /// Which.
        device: usize,
        /// How long.
        ms: u64,
    },
    /// The relay stops and starts again later.
    Relay {
        /// With the power, so that posts that were not durable are gone.
        power: bool,
        /// How long it is down.
        ms: u64,
    },
    /// Sockets to the relay are cut.
    DropSockets,
    /// Sockets to the relay are cut and refused.
    NoSockets {
        /// How long.
        ms: u64,
    },
}

/// The name of a channel in every scenario, without `#`.
#[must_use]
pub fn channel_name(channel: usize) -> String {
    format!("{SECRET}-{channel}")
}

/// Part of everything that the relay must not be able to read: names, texts and passphrases.
pub const SECRET: &str = "quokka";

/// The passphrase of a channel with one.
#[must_use]
pub fn passphrase(channel: usize) -> String {
    format!("a {SECRET} for channel {channel}")
}

impl Scenario {
    /// Whether somebody reads and writes on a device.
    #[must_use]
    pub fn is_used(&self, device: usize) -> bool {
        self.devices[device].part != Part::Anchor
    }

    /// Devices whose clocks are too far ahead at some time: what they say then, and later because of it, may be refused
    /// for longer than a scenario lasts. Clocks that are behind lose nothing and are not among them.
    #[must_use]
    pub fn has_odd_clock(&self, device: usize) -> bool {
        let ahead = |step: &Step| matches!(step, Step::Clock { device: of, by_ms, .. } if *of == device && *by_ms > 0);
        self.timeline.iter().any(|(_, step)| ahead(step))
    }
}
