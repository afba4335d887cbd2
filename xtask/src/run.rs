//! `cargo xtask run`: from a fresh clone to a chat between the terminal and a browser, in one command.
//!
//! The relay is a child of ours in a process group of its own, so that an interrupt reaches us first and the relay is
//! then stopped in order; it never outlives us.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;
use serde_json::Value as Json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::context::Context;
use crate::{process, qr, setup, web};

const CIRCLE: &str = "My circle";
const RELAY_START: Duration = Duration::from_secs(30);
const RELAY_STOP: Duration = Duration::from_secs(10);
/// How often a waiting loop looks at its children and at the interrupt flag.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Options {
    listen: SocketAddr,
    data_dir: Option<PathBuf>,
    terminal: bool,
}

impl Options {
    pub(crate) fn parse(args: &mut lexopt::Parser) -> Result<Self> {
        let mut options = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: None,
            terminal: std::io::stdout().is_terminal() && std::io::stdin().is_terminal(),
        };
        while let Some(arg) = args.next()? {
            match arg {
                Long("listen") => {
                    let text = args.value()?.string()?;
                    options.listen = text.parse().with_context(|| {
                        format!("`{text}` is no address and port; write it like 127.0.0.1:8080 or [::1]:8080")
                    })?;
                }
                Long("data-dir") => options.data_dir = Some(args.value()?.into()),
                Long("no-terminal") => options.terminal = false,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

pub(crate) fn run(context: &mut Context, options: &Options) -> Result<()> {
    port_is_free(options.listen)?;
    let data = match &options.data_dir {
        Some(dir) => std::path::absolute(dir).with_context(|| format!("cannot use {}", dir.display()))?,
        None => context.target.join("felund-run"),
    };
    setup::build(context)?;
    say("Building the web app.");
    web::build(context)?;
    say("Building the relay and the terminal client.");
    process::run(context.cargo().args(["build", "--release", "-p", "felund-relay", "-p", "native-tui"]))?;

    let stop = interrupt_flag()?;
    let mut relay = Relay::start(context, options.listen, &data, &stop)?;
    let url = reached_at(&relay.url, options.listen.ip(), source);
    let client = Client {
        program: context.target.join("release/felund"),
        data: data.join("terminal"),
        relay: url.clone(),
    };
    let invite = client.circle_invite()?;
    let link = format!("{url}/#{}", invite.trim_start_matches('#'));
    println!("{}", qr::draw(&link)?);
    println!("Open this link in a browser, or scan it, to join the circle \"{CIRCLE}\":\n\n  {link}\n");
    advise(&relay.url, &url, options.listen.ip());
    println!("Data: {}   Relay's log: {}", data.display(), relay.log.display());
    if options.terminal {
        client.chat(&stop)?;
    } else {
        println!("Serving until interrupted (Ctrl-C).");
        while !stop.load(Ordering::Relaxed) {
            if let Some(status) = relay.child.try_wait().context("cannot watch the relay")? {
                bail!("the relay ended by itself ({status}):\n{}", relay.last_words());
            }
            thread::sleep(LOOK);
        }
    }
    say("Stopping the relay.");
    relay.stop()
}

/// The relay's address as others reach it. One that stands for all of this machine's leads nowhere from another.
fn reached_at(url: &str, bound: IpAddr, source: impl Fn(IpAddr) -> Option<IpAddr>) -> String {
    if !bound.is_unspecified() {
        return url.to_owned();
    }
    // Addresses for documentation, which no network routes (RFC 5737, RFC 3849). Telephones have IPv4 in every local network.
    let v4 = source(Ipv4Addr::new(192, 0, 2, 1).into());
    let v6 = || source(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into());
    let own = v4.or_else(|| v6().filter(|_| bound.is_ipv6()));
    // In no network there is nobody else.
    let own = own.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.map_or_else(|| url.to_owned(), |port| format!("http://{}", SocketAddr::new(own, port)))
}

/// What a packet to there would come from. None is sent: a datagram socket that is connected only looks up its route.
fn source(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

/// What somebody must know who wants others to come.
fn advise(bound: &str, url: &str, listen: IpAddr) {
    if bound != url {
        println!("{bound} stands for all addresses of this machine: the link and the invite name {url}.");
    }
    if !listen.is_loopback() {
        println!(
            "Browsers allow installing, offline use and the camera over https:// or at localhost only: elsewhere the app does \
             without them."
        );
    }
}

/// Finds out before minutes of building, not after.
fn port_is_free(listen: SocketAddr) -> Result<()> {
    let advice = "choose another with `--listen 127.0.0.1:PORT`";
    match TcpListener::bind(listen) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!(
                "port {} on {} is in use by another program: stop it, or {advice}",
                listen.port(),
                listen.ip()
            )
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("listening on port {} needs privileges you do not have: {advice}", listen.port())
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {listen}: {advice}")),
    }
}

fn interrupt_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // A second signal ends us at once, in case stopping in order takes too long; the relay then ends by itself.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))
            .context("cannot catch signals")?;
        signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot catch signals")?;
    }
    Ok(flag)
}

struct Relay {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Relay {
    /// Starts the relay and waits until it says that it listens.
    fn start(context: &Context, listen: SocketAddr, data: &Path, stop: &AtomicBool) -> Result<Self> {
        let dir = data.join("relay");
        fs::create_dir_all(&dir)
            .with_context(|| format!("cannot create {}; choose another --data-dir", dir.display()))?;
        let log = data.join("relay.log");
        let errors = File::create(&log)
            .with_context(|| format!("cannot write {}; is the disk full?", log.display()))?;
        let program = context.target.join("release/felund-relay");
        let mut command = match context.find("setpriv") {
            // Should we be killed without a chance to clean up, the kernel ends the relay for us.
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command.arg("--listen").arg(listen.to_string()).arg("--data-dir").arg(&dir);
        command.current_dir(&context.root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        own_group(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut relay = Self { child, url: String::new(), log };
        relay.url = relay.wait_until_ready(stop)?;
        Ok(relay)
    }

    fn wait_until_ready(&mut self, stop: &AtomicBool) -> Result<String> {
        let output = self.child.stdout.take().context("the relay has no standard output")?;
        let (ready, url) = mpsc::channel();
        // Reads to the end, so that the relay never waits for someone to take its output.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("listening on ") {
                    // Nobody listens any more when a later line says so again.
                    let _ = ready.send(url.trim().trim_end_matches('/').to_owned());
                }
            }
        });
        let deadline = Instant::now() + RELAY_START;
        loop {
            if let Ok(url) = url.recv_timeout(LOOK) {
                return Ok(url);
            }
            if let Some(status) = self.child.try_wait().context("cannot watch the relay")? {
                bail!("the relay could not start ({status}):\n{}", self.last_words());
            }
            if stop.load(Ordering::Relaxed) {
                bail!("interrupted while the relay was starting");
            }
            if Instant::now() > deadline {
                bail!(
                    "the relay did not start within {} s; its log:\n{}",
                    RELAY_START.as_secs(),
                    self.last_words()
                );
            }
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Asks the relay to stop and waits for it.
    fn stop(mut self) -> Result<()> {
        let status = end(&mut self.child)?;
        if !status.success() {
            bail!("the relay did not stop in order ({status}):\n{}", self.last_words());
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(end(&mut self.child));
        }
    }
}

/// Asks a child to end, and makes it end when it does not within the time it has for that.
fn end(child: &mut Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + RELAY_STOP;
    // The shell's own `kill`: a plain way to send the polite signal without unsafe code.
    let asked =
        Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).stderr(Stdio::null()).status();
    while asked.is_ok() && Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("cannot wait for a program of ours")? {
            return Ok(status);
        }
        thread::sleep(LOOK);
    }
    drop(child.kill());
    child.wait().context("cannot wait for a program of ours")
}

/// The terminal client, with its data beside the relay's.
struct Client {
    program: PathBuf,
    data: PathBuf,
    relay: String,
}

impl Client {
    /// An invite to the circle of an earlier run, or to a new one.
    fn circle_invite(&self) -> Result<String> {
        let known = if self.data.exists() { self.json(["circles"])? } else { Vec::new() };
        let circles = known
            .iter()
            .flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice));
        // A circle of a run on another port meets at a relay that is not there now.
        let mut here = circles.filter(|circle| {
            circle["relay"].as_str().is_none_or(|relay| relay.trim_end_matches('/') == self.relay)
        });
        let answer = match here.find_map(|circle| circle["circle_id"].as_str()) {
            Some(id) => self.json(["invite", id])?,
            None => match user_name() {
                Some(name) => self.json(["--name", &name, "create", CIRCLE])?,
                None => self.json(["create", CIRCLE])?,
            },
        };
        let invite = answer.iter().find_map(|value| value["invite"].as_str());
        invite.map(str::to_owned).context("the terminal client created a circle and told no invite")
    }

    /// Runs a headless command; answers the JSON values it printed.
    fn json(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Vec<Json>> {
        let printed = process::capture(self.command().args(args).arg("--json"))?;
        let values = serde_json::Deserializer::from_str(&printed).into_iter();
        values.collect::<Result<_, _>>().context("the terminal client printed something that is not JSON")
    }

    /// Opens the client on the screen until the user quits it.
    fn chat(&self, stop: &AtomicBool) -> Result<()> {
        let mut child = self.command().spawn().context("cannot start the terminal client")?;
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for the terminal client")? {
                break status;
            }
            if stop.load(Ordering::Relaxed) {
                break end(&mut child)?;
            }
            thread::sleep(LOOK);
        };
        if !status.success() && !stop.load(Ordering::Relaxed) {
            bail!("the terminal client ended with an error ({status}); what it said is above");
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--data-dir").arg(&self.data).arg("--relay").arg(&self.relay);
        command
    }
}

/// What the system calls whoever runs this. Containers often do not say it in the environment.
fn user_name() -> Option<String> {
    name_of(env::var("USER").ok(), || process::capture(Command::new("id").arg("-un")).ok())
}

fn name_of(given: Option<String>, ask: impl FnOnce() -> Option<String>) -> Option<String> {
    let named = |name: String| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    given.and_then(named).or_else(|| ask().and_then(named))
}

#[cfg(unix)]
fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn own_group(_command: &mut Command) {}

fn say(what: &str) {
    eprintln!("\x1b[1mfelund\x1b[0m  {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = port_is_free(address).unwrap_err().to_string();
        assert!(error.contains(&address.port().to_string()) && error.contains("--listen"), "{error}");
    }

    #[test]
    fn the_link_names_an_address_that_leads_here() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let both = |to: IpAddr| Some(if to.is_ipv4() { ip("192.168.1.20") } else { ip("2001:db8:1::20") });
        let v6 = |to: IpAddr| both(to).filter(IpAddr::is_ipv6);
        let all = "http://0.0.0.0:8080";
        assert_eq!(reached_at(all, ip("0.0.0.0"), both), "http://192.168.1.20:8080");
        assert_eq!(reached_at(all, ip("0.0.0.0"), v6), "http://127.0.0.1:8080");
        assert_eq!(reached_at("http://[::]:8080", ip("::"), both), "http://192.168.1.20:8080");
        assert_eq!(reached_at("http://[::]:8080", ip("::"), v6), "http://[2001:db8:1::20]:8080");
        for one in ["127.0.0.1", "192.168.1.7"] {
            let url = format!("http://{one}:8080");
            assert_eq!(reached_at(&url, ip(one), both), url);
        }
    }

    #[test]
    fn a_name_that_is_empty_is_none() {
        let asked = || Some("bob\n".to_owned());
        assert_eq!(name_of(Some("alice".to_owned()), asked).as_deref(), Some("alice"));
        for none in [None, Some(String::new()), Some(" ".to_owned())] {
            assert_eq!(name_of(none, asked).as_deref(), Some("bob"));
        }
        assert_eq!(name_of(None, || None), None);
    }

    #[test]
    fn a_child_that_was_asked_to_end_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let started = Instant::now();
        assert!(!end(&mut child).unwrap().success());
        assert!(started.elapsed() < RELAY_STOP);
    }
}
