//! coturn, the STUN and TURN server that `docs/self-hosting.md` sets up, in a network of the test's own.

use std::net::Ipv4Addr;

use tempfile::TempDir;

use crate::{
    netns::Host,
    process::{Process, find_tool},
    wait,
};

/// The secret it shares with the relay.
const SECRET: &str = "a secret of the relay and of coturn";
/// Its port, which is STUN's and TURN's own.
const PORT: u16 = 3_478;

/// A running coturn.
#[derive(Debug)]
pub struct Turn {
    _process: Process,
    host: Host,
    _data: TempDir,
}

impl Turn {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start(host: &Host) -> Self {
        Self::start_at(host, &[host.address()])
    }

    /// Starts one that answers at two addresses, and so tells what a router lets in (RFC 5780).
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_with_two_addresses(host: &Host, second: Ipv4Addr) -> Self {
        Self::start_at(host, &[host.address(), second])
    }

    fn start_at(host: &Host, addresses: &[Ipv4Addr]) -> Self {
        let data = tempfile::Builder::new().prefix("felund-turn-").tempdir().expect("a temporary directory");
        let program =
            find_tool("turnserver").expect("coturn is not installed; `cargo xtask setup --tests` gets it");
        let mut command = host.command(program);
        let path = |name: &str| data.path().join(name).display().to_string();
        command
            .args(["-n", "--no-cli", "--no-tls", "--no-dtls", "--no-multicast-peers", "--realm=felund.test"])
            .args(["--use-auth-secret", "--log-file=stdout", "--simple-log", "--verbose"])
            .args(addresses.iter().map(|address| format!("--listening-ip={address}")))
            .arg(format!("--listening-port={PORT}"))
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--pidfile={}", path("pid")))
            .arg(format!("--userdb={}", path("db")))
            .current_dir(data.path());
        let process = Process::spawn("turnserver", &mut command);
        let turn = Self { _process: process, host: host.clone(), _data: data };
        let address = (host.address(), PORT);
        wait::until_true("coturn", || host.inside(|| std::net::TcpStream::connect(address).is_ok()));
        turn
    }

    /// What a relay is told so that its members use it for both.
    #[must_use]
    pub fn relay_options(&self) -> Vec<String> {
        let address = self.host.address();
        let turn = |transport: &str| format!("turn:{address}:{PORT}?transport={transport}");
        let mut options = self.stun_options();
        options.extend(["--turn".into(), turn("udp"), "--turn".into(), turn("tcp")]);
        options.extend(["--turn-secret".into(), SECRET.into()]);
        options
    }

    /// What a relay is told so that its members learn their addresses from it, and no more.
    #[must_use]
    pub fn stun_options(&self) -> Vec<String> {
        vec!["--stun".into(), format!("stun:{}:{PORT}", self.host.address())]
    }
}
