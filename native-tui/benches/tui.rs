//! Figures of the real binary in a pseudo-terminal, with irssi beside it in the same run.
//!
//! `cargo bench -p native-tui --bench tui`. Ten thousand messages are stored through the real node and, where
//! `felund-relay` lies beside the binary, accepted by a real relay. irssi is given as many lines to hold.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command as Process, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use felund_core::{
    io::{Command, Event},
    model::Model,
    view::{Reply, Retention},
};
use native_tui::{
    datadir::DataDir,
    session::{Session, Setup, Signal},
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

type Failure = Box<dyn std::error::Error>;

const MESSAGES: usize = 10_000;
const RUNS: usize = 15;
const KEYS: usize = 300;
/// One word: screens write only cells that change, and blanks between words do not.
const LAST: &str = "message-9999";

fn main() -> Result<(), Failure> {
    let felund = PathBuf::from(env!("CARGO_BIN_EXE_felund"));
    let temp = tempfile::tempdir()?;
    let data = temp.path().join("data");
    let relay = Relay::start(&felund, temp.path());
    eprintln!("storing {MESSAGES} messages through the node…");
    fill(&data, relay.as_ref().map(|relay| relay.url.as_str()))?;
    println!(
        "felund, {MESSAGES} messages stored, relay {}",
        if relay.is_some() { "running" } else { "absent" }
    );
    let run = || {
        let mut process = Process::new(&felund);
        process.arg("--data-dir").arg(&data);
        process
    };
    let firsts = repeat(|| time_to(run(), "felund"))?;
    let ours = repeat(|| time_to(run(), LAST))?;
    println!("  first paint (frame)            {}", show(&firsts));
    println!("  first paint (newest messages)  {}", show(&ours));
    let mut screen = Pty::spawn(run())?;
    screen.wait_for(LAST)?;
    thread::sleep(Duration::from_secs(1));
    println!("  resident memory                {}", memory(screen.child.id()));
    let keys = screen.key_times()?;
    println!("  key to screen                  {}", show(&keys));
    println!("  processor time over 5 s idle   {} ms", screen.idle()?);
    drop(screen);
    irssi(temp.path())?;
    Ok(())
}

fn irssi(temp: &Path) -> Result<(), Failure> {
    if Process::new("irssi").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("irssi: not installed");
        return Ok(());
    }
    let home = temp.join("irssi");
    std::fs::create_dir(&home)?;
    let run = |home: &Path| {
        let mut process = Process::new("irssi");
        process.arg("--home").arg(home).arg("--noconnect");
        process
    };
    println!("irssi, the same machine and run");
    let empty = repeat(|| time_to(run(&home), "(status)"))?;
    println!("  first paint (nothing held)     {}", show(&empty));
    let mut screen = Pty::spawn(run(&home))?;
    screen.wait_for("(status)")?;
    thread::sleep(Duration::from_secs(1));
    println!("  resident memory (nothing held) {}", memory(screen.child.id()));
    drop(screen);
    let lines: String = (0..MESSAGES).map(|n| format!("/echo {}\n", text(n))).collect();
    let full = temp.join("irssi-full");
    std::fs::create_dir(&full)?;
    std::fs::write(full.join("startup"), format!("/set scrollback_lines {}\n{lines}", MESSAGES * 2))?;
    let times = repeat(|| time_to(run(&full), LAST))?;
    println!("  first paint ({MESSAGES} lines)     {}", show(&times));
    let mut screen = Pty::spawn(run(&full))?;
    screen.wait_for(LAST)?;
    thread::sleep(Duration::from_secs(1));
    println!("  resident memory                {}", memory(screen.child.id()));
    let keys = screen.key_times()?;
    println!("  key to screen                  {}", show(&keys));
    Ok(())
}

fn text(n: usize) -> String {
    format!("message-{n} about seeds, soil and the weather of next week")
}

/// Stores the messages as a user would, only faster.
fn fill(data: &Path, relay: Option<&str>) -> Result<(), Failure> {
    let dir = DataDir::open(Some(data.to_owned()))?;
    let (sender, signals) = mpsc::sync_channel(1_024);
    let mut session = Session::open(&dir, Setup::default(), &sender)?;
    let mut model = Model::default();
    let step = |model: &mut Model| -> Result<Option<Reply>, Failure> {
        match signals.recv_timeout(Duration::from_secs(60))? {
            Signal::Event(_, event) => {
                model.apply(&event);
                match *event {
                    Event::Reply { result, .. } => Ok(Some(result?)),
                    _ => Ok(None),
                }
            }
            other => Err(format!("unexpected: {other:?}").into()),
        }
    };
    while !model.ready {
        step(&mut model)?;
    }
    session.ask(Command::SetName { name: "alice".into() })?;
    session.ask(Command::CreateCircle { name: "garden club".into(), relay: relay.map(str::to_owned) })?;
    while model.circles().is_empty() {
        step(&mut model)?;
    }
    let circle = model.circles()[0].id;
    let channel = model.circles()[0].channels[0].id;
    let retention = Retention { messages: 1_000_000, days: 3_650 };
    session.ask(Command::SetRetention { circle, retention })?;
    let (mut asked, mut stored) = (0, 0);
    while stored < MESSAGES {
        while asked < MESSAGES && asked - stored < 64 {
            session.ask(Command::Send { circle, channel, text: text(asked) })?;
            asked += 1;
        }
        if let Some(Reply::Sent { .. }) = step(&mut model)? {
            stored += 1;
        }
    }
    let end = Instant::now() + Duration::from_secs(120);
    let unsent = |model: &Model| model.circle(circle).map_or(0, |circle| circle.unsent);
    while relay.is_some() && unsent(&model) > 0 && Instant::now() < end {
        step(&mut model)?;
    }
    if unsent(&model) > 0 {
        println!("  ({} of them not accepted by a relay)", unsent(&model));
    }
    Ok(())
}

struct Relay {
    child: Child,
    url: String,
}

impl Relay {
    fn start(felund: &Path, temp: &Path) -> Option<Self> {
        let program = felund.with_file_name("felund-relay");
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let child = Process::new(program)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(temp.join("relay"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        thread::sleep(Duration::from_millis(500));
        Some(Self { child, url: format!("http://127.0.0.1:{port}") })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program on a terminal of 80 × 24.
struct Pty {
    child: Child,
    terminal: File,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Pty {
    fn spawn(mut process: Process) -> Result<Self, Failure> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = File::options().read(true).write(true).open(name.to_str()?)?;
        let end = |file: &File| -> Result<Stdio, Failure> { Ok(OwnedFd::from(file.try_clone()?).into()) };
        process.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        process.stdin(end(&slave)?).stdout(end(&slave)?).stderr(end(&slave)?);
        let child = process.spawn()?;
        let terminal = File::from(master);
        let mut reader = terminal.try_clone()?;
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, terminal, output, seen: String::new() })
    }

    fn wait_for(&mut self, wanted: &str) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(30);
        while !self.seen.contains(wanted) {
            let bytes = self.output.recv_timeout(end.saturating_duration_since(Instant::now()));
            let bytes = bytes.map_err(|_| format!("“{wanted}” did not appear"))?;
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        Ok(())
    }

    fn drain(&mut self, quiet: Duration) -> usize {
        let mut count = 0;
        loop {
            match self.output.recv_timeout(quiet) {
                Ok(bytes) => count += bytes.len(),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return count,
            }
        }
    }

    /// From writing a key to the terminal until the program has answered with output.
    fn key_times(&mut self) -> Result<Vec<f64>, Failure> {
        self.drain(Duration::from_millis(200));
        let mut times = Vec::with_capacity(KEYS);
        for n in 0..KEYS {
            let key = [b'a' + (n % 26) as u8];
            let begun = Instant::now();
            self.terminal.write_all(&key)?;
            self.output.recv_timeout(Duration::from_secs(5))?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            self.drain(Duration::from_millis(4));
        }
        Ok(times)
    }

    /// Milliseconds of processor time while nothing happens for five seconds.
    fn idle(&mut self) -> Result<u64, Failure> {
        self.drain(Duration::from_millis(500));
        let before = processor_ms(self.child.id())?;
        thread::sleep(Duration::from_secs(5));
        Ok(processor_ms(self.child.id())? - before)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn time_to(process: Process, wanted: &str) -> Result<f64, Failure> {
    let begun = Instant::now();
    let mut screen = Pty::spawn(process)?;
    screen.wait_for(wanted)?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn repeat(mut measure: impl FnMut() -> Result<f64, Failure>) -> Result<Vec<f64>, Failure> {
    measure()?;
    (0..RUNS).map(|_| measure()).collect()
}

fn show(times: &[f64]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part).round() as usize];
    format!("median {:6.2} ms   p99 {:6.2} ms", at(0.5), at(0.99))
}

fn memory(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    match (kib("VmRSS:"), kib("RssAnon:")) {
        (Some(all), Some(own)) => {
            format!("{:.1} MB ({:.1} MB of it anonymous)", all * 1024.0 / 1e6, own * 1024.0 / 1e6)
        }
        _ => "not known on this system".to_owned(),
    }
}

fn processor_ms(pid: u32) -> Result<u64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold spaces; user and system time are fields 14 and 15, in hundredths.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let field = |n: usize| after.split_whitespace().nth(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Ok((field(11) + field(12)) * 10)
}
