//! The node: one state machine per device that wires the rooms together and owns no logic of its own.
//!
//! ```text
//! node.handle(now, input);            // one mutation
//! loop {                              // then drain
//!     match node.poll_output() {
//!         Output::Timeout(deadline) => break,
//!         output => driver.carry_out(output),
//!     }
//! }
//! ```

use std::collections::VecDeque;

use rand_core::CryptoRng;

use crate::{
    io::{Input, Output},
    time::Now,
};

/// Randomness, injected by the driver: the operating system's in a program, a seeded generator in a simulation.
pub type Rng = Box<dyn CryptoRng + Send>;

/// One device's Felund.
pub struct Node {
    rng: Rng,
    outputs: VecDeque<Output>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("outputs", &self.outputs.len()).finish_non_exhaustive()
    }
}

impl Node {
    /// A node that knows nothing yet; its first outputs read its own storage. Time is milliseconds.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self { rng, outputs: VecDeque::new() }
    }

    /// Takes in one thing that happened. Never fails and never panics, whatever the input holds: faults of others
    /// close their connection, faults of the user become a reply that says so.
    pub fn handle(&mut self, now: Now, input: Input) {
        let _ = (now, input, &self.rng);
    }

    /// The next thing to do; [`Output::Timeout`] means that there is nothing more for now.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Timeout(None))
    }
}
