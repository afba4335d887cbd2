//! The real relay on a free port and a data directory of its own, which outlive its restarts.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use tempfile::TempDir;

use crate::{
    api,
    netns::Host,
    process::{self, Process},
};

/// A relay.
#[derive(Debug)]
pub struct Relay {
    process: Option<Process>,
    address: SocketAddr,
    options: Vec<String>,
    host: Option<Host>,
    data: TempDir,
}

impl Relay {
    /// Starts one with its defaults.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with more options.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        Self::begin(None, options.iter().map(|&option| option.to_owned()).collect())
    }

    /// Starts one on a machine of its own, where metrics are for whoever is in that network.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start_on(host: &Host, mut options: Vec<String>) -> Self {
        options.push("--metrics=true".to_owned());
        Self::begin(Some(host.clone()), options)
    }

    fn begin(host: Option<Host>, options: Vec<String>) -> Self {
        let data = tempfile::Builder::new().prefix("felund-relay-").tempdir().expect("a temporary directory");
        let ip = host.as_ref().map_or(Ipv4Addr::LOCALHOST, Host::address);
        let address = SocketAddr::from((ip, 0));
        let mut relay = Self { process: None, address, options, host, data };
        relay.resume();
        relay
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    /// When it runs, or does not get ready.
    pub fn resume(&mut self) {
        assert!(self.process.is_none(), "the relay is running");
        let program = process::program("FELUND_RELAY_BIN", "felund-relay");
        let mut command = Host::command_on(self.host.as_ref(), program);
        command
            .arg("--listen")
            .arg(self.address.to_string())
            .arg("--data-dir")
            .arg(self.data.path())
            .args(&self.options);
        let process = Process::spawn("felund-relay", &mut command);
        let address = process.stdout().wait_for("listening on", |line| {
            line.strip_prefix("listening on http://").and_then(|address| address.trim().parse().ok())
        });
        self.address = address;
        self.process = Some(process);
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks it to end, and waits.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        self.process.take().map(|mut process| process.terminate())
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// One of its counters, such as `felund_relay_messages_stored_total`.
    ///
    /// # Panics
    /// When there is none of this name.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let ask = || api::request("GET", &format!("{}/v1/metrics", self.url()), &[], b"");
        let answer = self.host.as_ref().map_or_else(ask, |host| host.inside(ask));
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        text.lines().find_map(value).unwrap_or_else(|| panic!("no counter {name} in {text}"))
    }

    /// Envelopes it has stored since it was started last.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.counter("felund_relay_messages_stored_total")
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        let is_database = |path: &PathBuf| path.extension().is_some_and(|e| e == "db" || e == "sqlite");
        std::fs::read_dir(self.data.path())
            .expect("the data directory is there")
            .flatten()
            .map(|entry| entry.path())
            .find(is_database)
            .expect("the relay has a database")
    }

    /// What it logged since it was started last.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.as_ref().map(|process| process.stderr().all()).unwrap_or_default()
    }
}
