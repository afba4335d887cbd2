//! Child processes that cannot outlive their test, with everything they print kept line by line.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// What a program has printed so far.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn read_from(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let kept = lines.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
                kept.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                line.clear();
            }
        });
        lines
    }

    /// All lines.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_for<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let found = wait::within(wait::PATIENCE, || self.all().iter().find_map(|line| find(line)));
        found.unwrap_or_else(|| panic!("there was no line with {what}; printed was {:#?}", self.all()))
    }
}

/// Processes that go on when this is dropped.
#[derive(Debug)]
pub struct Paused(Vec<Pid>);

impl Paused {
    pub(crate) fn new(processes: Vec<Pid>) -> Self {
        for process in &processes {
            // One that has ended already sleeps well enough.
            let _ = kill_process(*process, Signal::STOP);
        }
        Self(processes)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        for process in &self.0 {
            let _ = kill_process(*process, Signal::CONT);
        }
    }
}

impl Process {
    /// Starts `command` with its output piped and its input closed.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name} ({command:?}): {e}"));
        let stdout = Lines::read_from(child.stdout.take().expect("was piped"));
        let stderr = Lines::read_from(child.stderr.take().expect("was piped"));
        Self { name: name.to_owned(), child, stdout, stderr }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed.
    #[must_use]
    pub const fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// What it complained.
    #[must_use]
    pub const fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// When it does not end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Ends it without a warning, as a crash would.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Lets it do nothing until the answer is dropped, as on a machine that sleeps.
    #[must_use]
    pub fn pause(&self) -> Paused {
        Paused::new(vec![self.pid()])
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child's id is positive")
    }

    fn signal(&self, signal: Signal) {
        // A process that has ended already needs no signal.
        let _ = kill_process(self.pid(), signal);
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait::until(&format!("the end of {name}"), || {
            self.child.try_wait().expect("a child can be waited for")
        })
    }

    /// Memory it holds right now and has held at most, in KiB.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let of = |label: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(label)).expect("Linux says so");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// How many files and sockets it has open.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it runs").count()
    }

    /// Whether it is still running.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("-- {} said: {:#?}", self.name, self.stderr.all());
        }
    }
}

/// The program named by an environment variable, or the one of that name beside this test.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program(variable: &str, name: &str) -> PathBuf {
    let beside = || {
        let me = env::current_exe().expect("the system knows this program");
        me.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file())
    };
    let path = env::var_os(variable).map(PathBuf::from).or_else(beside);
    match path {
        Some(path) if path.is_file() => path,
        _ => panic!(
            "{name} is not built; run `cargo build -p felund-relay -p native-tui`, or name it in {variable}"
        ),
    }
}

/// Whether a tool is on `PATH`.
#[must_use]
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path: OsString = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// A command without Felund's settings of whoever runs the tests.
#[must_use]
pub fn clean_command(program: impl Into<PathBuf>) -> Command {
    let mut command = Command::new(program.into());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("FELUND_")) {
            command.env_remove(name);
        }
    }
    command
}

/// A port that nobody listens on right now.
///
/// # Panics
/// When the system gives none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
