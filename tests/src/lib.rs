//! What the end-to-end tests share: real programs, started, driven and ended from Rust.
//!
//! Nothing here imitates Felund. [`relay`] and [`felund`] run the programs that users run, [`terminal`] types into the
//! screen client through a pseudo-terminal, [`browser`] drives real browsers, and [`proxy`] stands where a network
//! would. Only [`member`] is not an honest program: it holds a circle's secret and sends what no client of ours would.
//!
//! The programs come from `FELUND_BIN` and `FELUND_RELAY_BIN`, or from the build directory the test itself is in.
//! Every process is ended by its id when the value that stands for it is dropped, after a panic too.

pub mod api;
pub mod browser;
pub mod capture;
pub mod control;
pub mod felund;
pub mod gateway;
pub mod handshake;
pub mod internet;
pub mod leak;
pub mod links;
pub mod member;
pub mod netns;
pub mod page;
pub mod picture;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod terminal;
pub mod turn;
pub mod wait;
pub mod webdriver;
