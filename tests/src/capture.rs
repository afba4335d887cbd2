//! A packet capture of one port on the loopback device, where the system has `tcpdump` and lets us use it.

use std::{fs, net::SocketAddr, process::Command};

use tempfile::TempDir;

use crate::{
    process::{self, Process},
    wait,
};

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    dir: TempDir,
}

impl Capture {
    /// Starts one; `None` where it cannot be had.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn start(of: SocketAddr) -> Option<Self> {
        let tcpdump = process::find_tool("tcpdump")?;
        let dir =
            tempfile::Builder::new().prefix("felund-capture-").tempdir().expect("a temporary directory");
        let file = dir.path().join("capture.pcap");
        let mut command = Command::new(tcpdump);
        // Packets are written as they come, whole, and without giving up rights on the way.
        command.args(["-i", "lo", "-U", "-s", "0", "-B", "65536", "-Z", "root", "-w"]).arg(file);
        command.args(["tcp", "port"]).arg(of.port().to_string());
        let mut process = Process::spawn("tcpdump", &mut command);
        let ready = wait::within(wait::PATIENCE, || {
            let listens = process.stderr().all().iter().any(|line| line.contains("listening on"));
            (listens || !process.is_running()).then_some(listens)
        });
        (ready == Some(true)).then_some(Self { process, dir })
    }

    /// Ends it and answers everything that was on the wire.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.process.terminate();
        fs::read(self.dir.path().join("capture.pcap")).expect("the capture can be read")
    }
}
