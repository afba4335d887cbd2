//! A process's way to the node, whether it owns the node or mirrors the process that does.
//!
//! Either way commands go in and events come out; what is above (screen or headless command) cannot tell the
//! difference.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use felund_core::io::{Command, Event, Request};
use tokio::sync::mpsc;

use crate::{
    datadir::{DataDir, Lock},
    driver::{Driver, Inbox, LOCAL, QUEUE},
    local::Local,
};

/// How long to wait for an owner that is just starting or just ending.
const HANDOVER: Duration = Duration::from_secs(5);

/// How an owner of a data directory takes part in the network; a mirror takes no part of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// Where other members may connect.
    pub listen: Option<SocketAddr>,
    /// Whether it connects to members by WebRTC.
    pub webrtc: bool,
    /// Whether members do not get to know its address while it runs, whatever the setting.
    pub hide_address: bool,
    /// Whether it checks STUN and TURN servers when asked to.
    pub probes: bool,
    /// Whether it does nothing but store and forward.
    pub anchor: bool,
    /// Whether members in the local network may find it, and it them.
    pub mdns: bool,
    /// Whether a router may be asked to let members through to the listener.
    pub mapping: bool,
    /// Whether it runs long enough for others to connect to it; then it listens at a port of the system's choice where none is
    /// given, unless members could not find that.
    pub stays: bool,
}

/// What arrives at the process. Sessions say which they are: what one of before had still to say is none of the next one's.
#[derive(Debug)]
pub enum Signal {
    /// From the node.
    Event(u64, Box<Event>),
    /// The owner of the data directory has ended; open a new session.
    Closed(u64, String),
    /// This process took nothing for too long and has missed something: what is known comes once more, and questions that were not
    /// answered yet may never be.
    Anew(u64),
    /// From the terminal.
    Terminal(crossterm::event::Event),
    /// The process is asked to end.
    Stop,
}

/// Why a question was not answered: its session ended.
pub(crate) const ENDED: &str = "the running felund ended before it answered";
/// Why a question was not answered: see [`Signal::Anew`].
pub(crate) const MISSED: &str = "this terminal was paused and missed the answer";

/// Sessions of this process so far.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// An open session.
#[derive(Debug)]
pub struct Session {
    number: u64,
    link: Link,
    next_id: u64,
}

#[derive(Debug)]
enum Link {
    Owner {
        inbox: mpsc::Sender<Inbox>,
        deaf: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    },
    #[cfg(unix)]
    Mirror {
        stream: std::os::unix::net::UnixStream,
    },
}

impl Session {
    /// Becomes the owner of the data directory or, when there is one, its mirror. Events arrive at `signals`.
    ///
    /// # Errors
    /// A text for people.
    pub fn open(dir: &DataDir, setup: Setup, signals: &SyncSender<Signal>) -> Result<Self, String> {
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        loop {
            if let Some(lock) = dir.lock()? {
                let link = own(dir, setup, lock, number, signals.clone())?;
                return Ok(Self { number, link, next_id: 0 });
            }
            #[cfg(unix)]
            if let Ok(stream) = dir.at_socket(|path| std::os::unix::net::UnixStream::connect(path)) {
                return Ok(Self { number, link: mirror(stream, number, signals.clone())?, next_id: 0 });
            }
            if begun.elapsed() > HANDOVER {
                return Err(format!(
                    "another felund uses {} and does not answer; end it, or choose another --data-dir",
                    dir.path().display()
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether this is the session of that number.
    #[must_use]
    pub const fn is(&self, number: u64) -> bool {
        self.number == number
    }

    /// Whether another process owns the node.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        !matches!(self.link, Link::Owner { .. })
    }

    /// Asks for something; the answer carries the number returned.
    ///
    /// # Errors
    /// A text for people, when it could not be handed over; nothing was done then.
    pub fn ask(&mut self, command: Command) -> Result<u64, String> {
        self.next_id += 1;
        let request = Request { id: self.next_id, command };
        match &mut self.link {
            Link::Owner { inbox, .. } => inbox
                .try_send(Inbox::Ask(LOCAL, request))
                .map_err(|_| "Felund is busy; nothing was done, try again in a moment".to_owned())?,
            #[cfg(unix)]
            Link::Mirror { stream } => {
                let mut line = serde_json::to_vec(&request).map_err(|e| e.to_string())?;
                line.push(b'\n');
                stream
                    .write_all(&line)
                    .map_err(|_| "the running felund has ended; nothing was done, try again".to_owned())?;
            }
        }
        Ok(self.next_id)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        match &mut self.link {
            Link::Owner { inbox, deaf, thread } => {
                deaf.store(true, Ordering::Relaxed);
                let _ = inbox.blocking_send(Inbox::End);
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
            #[cfg(unix)]
            Link::Mirror { stream } => {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }
}

/// Turns being asked to end into a [`Signal::Stop`], so that what others were told of this device can be taken back. A process that is
/// stuck ends at once, as without this.
///
/// # Errors
/// A text for people.
#[cfg(unix)]
pub(crate) fn end_politely(signals: &SyncSender<Signal>) -> Result<(), String> {
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
        low_level::emulate_default_handler,
    };
    let mut asked =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|e| format!("cannot handle signals: {e}"))?;
    let signals = signals.clone();
    let wait = move || {
        for signal in asked.forever() {
            match signals.try_send(Signal::Stop) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    // What these three do by default cannot fail: it ends the process.
                    let _ = emulate_default_handler(signal);
                }
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned()).stack_size(128 * 1024);
    thread.spawn(wait).map(|_| ()).map_err(|e| format!("cannot start a thread: {e}"))
}

/// Elsewhere processes are just ended.
#[cfg(not(unix))]
pub(crate) fn end_politely(_: &SyncSender<Signal>) -> Result<(), String> {
    Ok(())
}

fn own(
    dir: &DataDir,
    setup: Setup,
    lock: Lock,
    number: u64,
    signals: SyncSender<Signal>,
) -> Result<Link, String> {
    lock.look()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_stack_size(256 * 1024)
        .build()
        .map_err(|e| format!("cannot start: {e}"))?;
    let (inbox, queue) = mpsc::channel(QUEUE);
    let deaf = Arc::new(AtomicBool::new(false));
    let driver = {
        let _inside = runtime.enter();
        Driver::open(dir, setup, inbox.clone(), Local::new(number, signals, Arc::clone(&deaf)))?
    };
    lock.look()?;
    let thread = thread::Builder::new()
        .name("node".to_owned())
        .spawn(move || {
            runtime.block_on(driver.run(queue));
            runtime.shutdown_timeout(Duration::from_millis(100));
            drop(lock);
        })
        .map_err(|e| format!("cannot start the node's thread: {e}"))?;
    Ok(Link::Owner { inbox, deaf, thread: Some(thread) })
}

#[cfg(unix)]
fn mirror(
    stream: std::os::unix::net::UnixStream,
    number: u64,
    signals: SyncSender<Signal>,
) -> Result<Link, String> {
    let reader = stream.try_clone().map_err(|e| format!("cannot talk to the running felund: {e}"))?;
    thread::Builder::new()
        .name("mirror".to_owned())
        .spawn(move || {
            let reason = listen(BufReader::new(reader), number, &signals);
            let _ = signals.send(Signal::Closed(number, reason));
        })
        .map_err(|e| format!("cannot start a thread: {e}"))?;
    Ok(Link::Mirror { stream })
}

#[cfg(unix)]
fn listen(mut reader: impl BufRead, number: u64, signals: &SyncSender<Signal>) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(n) if n > 0 => {}
            _ => return "the running felund has ended".to_owned(),
        }
        let Ok(event) = serde_json::from_str(&line) else {
            return "the running felund is of another version; end it and start this one".to_owned();
        };
        if signals.send(Signal::Event(number, Box::new(event))).is_err() {
            return String::new();
        }
    }
}
