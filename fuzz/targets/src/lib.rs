//! What the fuzzers call: one module per family of decoders, each with a `run` that takes any bytes.
//!
//! `run` must return, whatever the bytes are: a panic is a finding, and so is memory or time without bound. Where bytes
//! are accepted it checks what must hold then, such as that they have one form only. The programs around it are in
//! `fuzz/fuzz_targets`, for libFuzzer; `tests/corpus.rs` replays the committed inputs with plain `cargo test`.

pub mod api;
mod author;
mod device;
pub mod envelope;
pub mod frames;
pub mod node;
pub mod plaintext;
pub mod records;
mod script;
pub mod session;
pub mod sync;
pub mod text;
pub mod websocket;

/// A fuzz target: its name, which its program and its corpus bear too, and what it calls.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("api", api::run),
    ("envelope", envelope::run),
    ("frames", frames::run),
    ("node", node::run),
    ("plaintext", plaintext::run),
    ("records", records::run),
    ("session", session::run),
    ("sync", sync::run),
    ("text", text::run),
    ("websocket", websocket::run),
];
