//! A whole network in one thread and in virtual time: real nodes, memory for disks, and a relay that keeps the API's
//! promises. Everything follows from one seed, so whatever goes wrong can be made to go wrong again.
//!
//! ```text
//! Scenario ──> run ──> World ── Input ──> Node ── Output ──> World
//!  (data)       │        │                                    │
//!               │        ├── Network: who reaches whom, how late, what gets lost
//!               │        ├── Relay:   the HTTP API and the sockets, with its disk
//!               │        ├── WebRtc:  peer connections, their descriptions and paths
//!               │        └── Device:  a node, its disk, its clock and its screen
//!               └──> Ledger: what people were told, held against what came of it
//! ```
//!
//! [`World`] is driven by hand in tests of one behaviour each; [`Scenario`]s are generated, thousands at a time, and
//! judged by invariants that must hold whatever happens. `cargo xtask sim` runs them.
//!
//! What is faulty here is faulty in the ways that real things are. A byte stream delivers in order or dies, with or
//! without telling; requests fail before or after they took effect; a power cut leaves a prefix of the batches that
//! were handed out to a disk. Deliberately absent: bytes that change on the way, which the handshake's and the
//! envelope's own tests cover, and members that break the protocol, which `tests/nodes/attacks.rs` plays.

mod device;
mod dice;
mod disk;
mod network;
mod relay;
mod rtc;
mod run;
mod scenario;
mod trace;
mod world;

pub use device::{Device, End, Traffic};
pub use dice::Dice;
pub use disk::Disk;
pub use network::{Block, Network, Path};
pub use relay::{Proxy, RELAY, Relay};
pub use rtc::{WebRtc, own_address};
pub use run::{Report, run};
pub use scenario::{
    ChannelPlan, CirclePlan, DevicePlan, Part, SECRET, Scenario, Step, channel_name, passphrase,
};
pub use trace::Trace;
pub use world::{Told, World};

/// Unix milliseconds at virtual time 0.
pub const EPOCH_MS: u64 = 1_780_000_000_000;
