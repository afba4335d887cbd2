//! The real `felund` without a screen: one data directory, and the commands people and scripts type.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Output,
};

use felund_core::{invite::Invite, io::Command, view::Reply};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    control::Control,
    netns::Host,
    process::{self, Process},
    wait,
};

/// A person's device.
#[derive(Debug)]
pub struct Felund {
    name: String,
    relay: Option<String>,
    host: Option<Host>,
    found: bool,
    webrtc: bool,
    data: TempDir,
}

/// A circle as `create`, `join` and `invite` print it.
#[derive(Debug, Clone)]
pub struct Circle {
    /// Hex.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `felund1.…`
    pub invite: String,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Done {
    /// A JSON value a line.
    ///
    /// # Panics
    /// When a line is none.
    #[must_use]
    pub fn json(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?} is not JSON ({e}): {self:?}"))
        };
        self.stdout.lines().map(parse).collect()
    }
}

impl Felund {
    /// A new device of `name`, whose circles use `relay`.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn new(name: &str, relay: Option<&str>) -> Self {
        let data = tempfile::Builder::new().prefix("felund-").tempdir().expect("a temporary directory");
        Self {
            name: name.to_owned(),
            relay: relay.map(str::to_owned),
            host: None,
            found: false,
            webrtc: true,
            data,
        }
    }

    /// As [`Felund::new`], for a device that goes through its relay although a direct way may be there.
    #[must_use]
    pub fn relayed(name: &str, relay: &str) -> Self {
        Self { webrtc: false, ..Self::new(name, Some(relay)) }
    }

    /// The same device on another machine.
    #[must_use]
    pub fn on(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self
    }

    /// The same device, which looks for members in its local network and lets them find it; others don't, so that tests leave the
    /// networks of whoever runs them alone.
    #[must_use]
    pub fn found_nearby(mut self) -> Self {
        self.found = true;
        self
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.path().join("felund.db")
    }

    /// The arguments every command gets.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let mut options = vec!["--data-dir".to_owned(), self.data.path().display().to_string()];
        options.extend(["--name".to_owned(), self.name.clone()]);
        if !self.found {
            options.push("--no-mdns".to_owned());
        }
        if let Some(relay) = &self.relay {
            options.extend(["--relay".to_owned(), relay.clone()]);
        }
        if !self.webrtc {
            options.push("--no-webrtc".to_owned());
        }
        options
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let program = process::program("FELUND_BIN", "felund");
        let mut command = Host::command_on(self.host.as_ref(), program);
        command.args(self.options()).args(args);
        command
    }

    /// Starts a command that goes on.
    #[must_use]
    pub fn start(&self, args: &[&str]) -> Process {
        Process::spawn(&format!("felund {args:?} of {}", self.name), &mut self.command(args))
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Done {
        Self::finish(self.command(args))
    }

    /// As [`Self::run`], with one more environment variable.
    #[must_use]
    pub fn run_with(&self, variable: &str, value: &str, args: &[&str]) -> Done {
        let mut command = self.command(args);
        command.env(variable, value);
        Self::finish(command)
    }

    fn finish(mut command: std::process::Command) -> Done {
        let output = command.stdin(std::process::Stdio::null()).output();
        let Output { status, stdout, stderr } = output.expect("felund starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("felund prints UTF-8");
        Done { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs a command that must work, with `--json`.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, args: &[&str]) -> Vec<Value> {
        let mut all = vec!["--json"];
        all.extend(args);
        let done = self.run(&all);
        assert_eq!(done.code, 0, "felund {args:?} of {} failed: {done:?}", self.name);
        done.json()
    }

    /// Runs a command that must be refused, and answers what it said.
    ///
    /// # Panics
    /// When it works.
    #[must_use]
    pub fn refused(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(done.code != 0 && done.stdout.is_empty(), "felund {args:?} was not refused: {done:?}");
        done.stderr
    }

    fn circle(lines: &[Value]) -> Circle {
        let text =
            |key: &str| lines[0][key].as_str().unwrap_or_else(|| panic!("{key} in {lines:?}")).to_owned();
        Circle { id: text("circle_id"), name: text("name"), invite: text("invite") }
    }

    /// A device that listens, its circle without a relay, and an invite that names its address.
    ///
    /// # Panics
    /// When it cannot be had.
    #[must_use]
    pub fn listening(name: &str, circle: &str) -> (Self, Tail, Invite) {
        let member = Self::new(name, None);
        let made = member.create(circle);
        let tail = member.tail_listening();
        let circle = made.id.parse().expect("an id");
        let Reply::Invite { invite, .. } = member.control().ask(Command::Invite { circle }) else {
            panic!("no invite")
        };
        (member, tail, Invite::parse(&invite).expect("an invite"))
    }

    /// Makes a circle.
    #[must_use]
    pub fn create(&self, name: &str) -> Circle {
        Self::circle(&self.ok(&["create", name]))
    }

    /// Joins one.
    pub fn join(&self, invite: &str) -> Circle {
        Self::circle(&self.ok(&["join", invite]))
    }

    /// Sends a message and makes sure that the relay has it.
    ///
    /// # Panics
    /// When it does not.
    pub fn send(&self, target: &str, text: &str) {
        let done = self.run(&["send", target, text]);
        let said = done.stdout.trim();
        assert!(
            done.code == 0 && (said.starts_with("stored at the relay") || said.starts_with("delivered to ")),
            "sending {text:?} to {target}: {done:?}"
        );
    }

    /// The newest messages.
    #[must_use]
    pub fn history(&self, target: &str) -> Vec<Value> {
        self.ok(&["history", target, "--limit", "10000"])
    }

    /// The texts of the newest messages.
    #[must_use]
    pub fn texts(&self, target: &str) -> Vec<String> {
        texts(&self.history(target))
    }

    /// Asks for the history until these are the texts in it, in this order.
    ///
    /// # Panics
    /// When they do not come.
    pub fn until_texts(&self, target: &str, expected: &[&str]) {
        let mut last = Vec::new();
        let same = wait::within(wait::PATIENCE, || {
            last = self.texts(target);
            (last == expected).then_some(())
        });
        assert!(same.is_some(), "{} has {last:?} and not {expected:?}", self.name);
    }

    /// Follows what comes in. While it runs it owns the data directory; other commands go through it.
    #[must_use]
    pub fn tail(&self, target: Option<&str>) -> Tail {
        self.tail_with(&[], target)
    }

    /// As [`Felund::tail`], with members let in at a free port.
    #[must_use]
    pub fn tail_listening(&self) -> Tail {
        self.tail_with(&["--listen", "127.0.0.1:0"], None)
    }

    /// As [`Felund::tail`], with members let in at this address and port.
    #[must_use]
    pub fn tail_at(&self, address: impl Into<IpAddr>, port: u16) -> Tail {
        self.tail_with(&["--listen", &SocketAddr::new(address.into(), port).to_string()], None)
    }

    /// Asks for an invite that is as good as one can be had now.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn invite(&self, circle: &str) -> Invite {
        Invite::parse(&Self::circle(&self.ok(&["invite", circle])).invite).expect("an invite")
    }

    fn tail_with(&self, options: &[&str], target: Option<&str>) -> Tail {
        let mut args = options.to_vec();
        args.push("tail");
        args.extend(target);
        let process = Process::spawn(&format!("felund tail of {}", self.name), &mut self.command(&args));
        let socket = self.data.path().join("control.sock");
        wait::until_true("the running felund's socket", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        Tail { process }
    }

    /// What doctor finds on certain subjects.
    #[must_use]
    pub fn findings(&self, is: impl Fn(&str) -> bool) -> Vec<Value> {
        let mut findings = self.run(&["--json", "doctor"]).json();
        findings.retain(|finding| finding["subject"].as_str().is_some_and(&is));
        findings
    }

    /// What the felund that runs on this data directory has refused since its start: how often, by reason.
    ///
    /// # Panics
    /// When doctor does not say it as it should.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let refused = self.findings(|subject| subject == "refused connections");
        let part = |finding: &Value| {
            let detail = finding["detail"].as_str().expect("a finding has a text");
            let (times, reason) = detail.split_once(" since the start: ").expect("how often, and why");
            (reason.to_owned(), times.parse().expect("a number"))
        };
        refused.iter().map(part).collect()
    }

    /// Speaks to the felund that runs on this data directory the way a second process does.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::connect(&self.data.path().join("control.sock"))
    }
}

/// A running `felund tail`.
#[derive(Debug)]
pub struct Tail {
    process: Process,
}

impl Tail {
    /// The process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The process, to look at.
    #[must_use]
    pub const fn running(&self) -> &Process {
        &self.process
    }

    /// Every message printed so far.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        self.process.stdout().all().iter().map(parse).collect()
    }

    /// Waits for a message with this text.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for(&self, text: &str) -> Value {
        self.process.stdout().wait_for(&format!("the message {text:?}"), |line| {
            serde_json::from_str::<Value>(line).ok().filter(|message| message["text"] == text)
        })
    }
}

/// The texts of messages, in their order.
///
/// # Panics
/// When one has none.
#[must_use]
pub fn texts(messages: &[Value]) -> Vec<String> {
    messages
        .iter()
        .map(|message| message["text"].as_str().expect("a message has a text").to_owned())
        .collect()
}
