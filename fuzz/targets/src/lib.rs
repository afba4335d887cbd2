//! What the fuzzers call: one module per family of decoders, each with a `run` that takes any bytes.
//!
//! `run` must return, whatever the bytes are: a panic is a finding, and so is memory or time without bound. Where bytes
//! are accepted it checks what must hold then, such as that they have one form only. The programs around it are in
//! `fuzz/fuzz_targets`, for libFuzzer; `tests/corpus.rs` replays the committed inputs with plain `cargo test`.

pub mod envelope;

/// A fuzz target: its name, which its program and its corpus bear too, and what it calls.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 1] = [("envelope", envelope::run)];
