//! Felund's terminal client: the node's driver on a native machine, the screen, and the commands without one.
//!
//! ```text
//! terminal ─┐                 ┌─ disk    (thread: SQLite)
//!           ├─ app / headless ─ session ─ driver (thread: node, sockets, mirrors)
//! scripts  ─┘                 └─ or the control socket of the process that owns the data directory
//! ```
//!
//! A library so that benchmarks can fill a data directory through the real node ([`session`]) and measure its connections
//! alone ([`links`]); the binary is `felund`.

mod args;
mod connect;
mod control;
pub mod datadir;
mod disk;
mod driver;
mod gate;
mod headless;
mod interfaces;
mod lan;
#[doc(hidden)]
pub mod links;
mod local;
mod net;
mod portmap;
mod probe;
mod reach;
mod rtc;
pub mod session;
pub mod storage;
mod target;
mod tcp;
mod text;
mod tui;
mod udp;

use std::process::ExitCode;

use args::{Cli, EXIT_FAILED};

/// Runs the program named by the command line.
#[must_use]
pub fn main() -> ExitCode {
    let mut cli = Cli::given();
    // Scripts give variables of their own, which may be empty as well.
    cli.options.relay = cli.options.relay.filter(|relay| !relay.trim().is_empty());
    cli.options.ice_servers.retain(|servers| !servers.trim().is_empty());
    cli.options.name = cli.options.name.filter(|name| !name.trim().is_empty());
    let result = match cli.command {
        Some(command) => headless::run(cli.options, command),
        None => tui::run(cli.options),
    };
    result.unwrap_or_else(|error| {
        headless::notice(&error);
        ExitCode::from(EXIT_FAILED)
    })
}
