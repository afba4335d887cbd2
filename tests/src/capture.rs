//! A packet capture of one port, where the system has `tcpdump` and lets us use it.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{
    netns::Host,
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
    /// Starts one on the loopback device; `None` where it cannot be had.
    #[must_use]
    pub fn start(of: SocketAddr) -> Option<Self> {
        let tcpdump = process::find_tool("tcpdump")?;
        Self::run(Command::new(tcpdump), "lo", &format!("tcp port {}", of.port()))
    }

    /// Starts one of everything that passes an interface of a machine in a test's network.
    ///
    /// # Panics
    /// When it cannot be had: who may make networks may look into them.
    #[must_use]
    pub fn start_on(host: &Host, interface: &str) -> Self {
        Self::run(host.command("tcpdump"), interface, "ip or ip6").expect("tcpdump runs")
    }

    fn run(mut command: Command, interface: &str, filter: &str) -> Option<Self> {
        let dir =
            tempfile::Builder::new().prefix("felund-capture-").tempdir().expect("a temporary directory");
        // Packets are handed over and written as they come, whole, and without giving up rights on the way.
        command.args([
            "-i",
            interface,
            "--immediate-mode",
            "-U",
            "-s",
            "0",
            "-B",
            "65536",
            "-Z",
            "root",
            "-w",
        ]);
        command.arg(dir.path().join("capture.pcap")).arg(filter);
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
        fs::read(self.file()).expect("the capture can be read")
    }

    /// Ends it and answers what each TCP connection said in both directions, put together again from its packets by `tshark`.
    ///
    /// # Panics
    /// When that cannot be done.
    #[must_use]
    pub fn streams(mut self) -> Vec<Vec<u8>> {
        self.process.terminate();
        let mut fields = Command::new("tshark");
        fields.args(["-r"]).arg(self.file()).args(["-Y", "tcp.len > 0", "-T", "fields"]);
        fields.args(["-e", "tcp.stream", "-e", "tcp.srcport", "-e", "tcp.payload"]);
        let output = fields.output().expect("tshark starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut streams: BTreeMap<(String, String), Vec<u8>> = BTreeMap::new();
        for line in String::from_utf8(output.stdout).expect("text").lines() {
            let mut fields = line.split('\t').map(str::to_owned);
            let key = (fields.next().expect("a stream"), fields.next().expect("a port"));
            let payload = hex::decode(fields.next().expect("a payload")).expect("hex");
            streams.entry(key).or_default().extend(payload);
        }
        streams.into_values().collect()
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("capture.pcap")
    }
}
