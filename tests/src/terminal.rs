//! The screen client in a pseudo-terminal: keys go in, and a terminal emulator says what a person would see.

use std::{
    io::{Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::{felund::Felund, process, wait::PATIENCE};

/// Keys that are more than a character.
pub mod key {
    /// Enter.
    pub const ENTER: &str = "\r";
    /// Escape.
    pub const ESC: &str = "\x1b";
    /// Tab.
    pub const TAB: &str = "\t";
    /// Function keys, as terminals of the xterm family send them.
    pub const F1: &str = "\x1bOP";
    /// As above.
    pub const F2: &str = "\x1bOQ";
    /// As above.
    pub const F3: &str = "\x1bOR";
    /// Control and C.
    pub const CTRL_C: &str = "\x03";
    /// Page up.
    pub const PAGE_UP: &str = "\x1b[5~";
    /// Page down.
    pub const PAGE_DOWN: &str = "\x1b[6~";
    /// Arrow up.
    pub const UP: &str = "\x1b[A";
    /// Arrow down.
    pub const DOWN: &str = "\x1b[B";
    /// Backspace.
    pub const BACKSPACE: &str = "\x7f";
}

struct Shown {
    parser: vt100::Parser,
    raw: Vec<u8>,
    ended: bool,
}

#[derive(Default)]
struct Display {
    shown: Mutex<Option<Shown>>,
    changed: Condvar,
}

/// A person's terminal with `felund` in it.
pub struct Terminal {
    master: Mutex<Box<dyn MasterPty + Send>>,
    keyboard: Arc<Mutex<Box<dyn Write + Send>>>,
    child: Box<dyn Child + Send + Sync>,
    display: Arc<Display>,
    /// How the system treated keys before the program came.
    modes: String,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Terminal({:?})", self.child.process_id())
    }
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

impl Terminal {
    /// Opens the chat on a device that has a name already.
    #[must_use]
    pub fn open(device: &Felund, cols: u16, rows: u16) -> Self {
        Self::run(&device.options(), cols, rows)
    }

    /// Runs `felund` with these arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(args: &[String], cols: u16, rows: u16) -> Self {
        let pair = native_pty_system().openpty(size(cols, rows)).expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(process::program("FELUND_BIN", "felund"));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("FELUND_")) {
                command.env_remove(name);
            }
        }
        for (name, value) in [("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("LANG", "C.UTF-8")] {
            command.env(name, value);
        }
        // Times on the screen are the same wherever the tests run.
        command.env("TZ", "UTC");
        command.env_remove("NO_COLOR");
        command.args(args);
        let modes = format!("{:?}", pair.master.get_termios());
        let child = pair.slave.spawn_command(command).expect("felund starts");
        drop(pair.slave);
        let keyboard = Arc::new(Mutex::new(pair.master.take_writer().expect("a writer")));
        let reader = pair.master.try_clone_reader().expect("a reader");
        let display = Arc::new(Display::default());
        *display.shown.lock().expect("new") =
            Some(Shown { parser: vt100::Parser::new(rows, cols, 0), raw: Vec::new(), ended: false });
        let (shown, answers) = (Arc::clone(&display), Arc::clone(&keyboard));
        thread::spawn(move || follow(reader, &shown, &answers));
        Self { master: Mutex::new(pair.master), keyboard, child, display, modes }
    }

    fn master(&self) -> MutexGuard<'_, Box<dyn MasterPty + Send>> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, at: impl FnOnce(&Shown) -> T) -> T {
        let shown = self.display.shown.lock().unwrap_or_else(PoisonError::into_inner);
        at(shown.as_ref().expect("set when opened"))
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn keys(&self, keys: &str) {
        let mut keyboard = self.keyboard.lock().unwrap_or_else(PoisonError::into_inner);
        keyboard.write_all(keys.as_bytes()).and_then(|()| keyboard.flush()).expect("the terminal takes keys");
    }

    /// Types a line; the moment Enter was pressed is answered.
    pub fn line(&self, text: &str) -> SystemTime {
        self.keys(text);
        // People see what they typed before they press Enter, and so does this.
        let end: String = text.chars().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect();
        self.wait_for(end.trim());
        let pressed = SystemTime::now();
        self.keys(key::ENTER);
        pressed
    }

    /// Pastes, as terminals do when a program has asked for marked pastes.
    pub fn paste(&self, text: &str) {
        self.keys(&format!("\x1b[200~{text}\x1b[201~"));
    }

    /// What is on the screen, a line each.
    #[must_use]
    pub fn screen(&self) -> String {
        self.look(|shown| shown.parser.screen().contents())
    }

    /// Looks at the emulated screen.
    #[must_use]
    pub fn with_screen<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        self.look(|shown| at(shown.parser.screen()))
    }

    /// Every byte the program wrote.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        self.look(|shown| shown.raw.clone())
    }

    /// Waits for a text on the screen; the moment it was there is answered.
    pub fn wait_for(&self, text: &str) -> SystemTime {
        self.wait_until(&format!("{text:?} on the screen"), |screen| screen.contents().contains(text))
    }

    /// Waits until the screen is as wanted; the moment it was is answered.
    ///
    /// # Panics
    /// When it does not become so.
    pub fn wait_until(&self, what: &str, is: impl Fn(&vt100::Screen) -> bool) -> SystemTime {
        let end = Instant::now() + PATIENCE;
        let mut guard = self.display.shown.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let shown = guard.as_ref().expect("set when opened");
            if is(shown.parser.screen()) {
                return SystemTime::now();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || shown.ended {
                let text = shown.parser.screen().contents();
                drop(guard);
                panic!("there was not: {what}; the screen was\n{text}");
            }
            let step = left.min(Duration::from_millis(200));
            guard = self.display.changed.wait_timeout(guard, step).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes the window larger or smaller.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn resize(&self, cols: u16, rows: u16) {
        {
            let mut shown = self.display.shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.as_mut().expect("set when opened").parser.screen_mut().set_size(rows, cols);
        }
        self.master().resize(size(cols, rows)).expect("a pseudo-terminal has a size");
    }

    /// Waits for the program to end by itself; everything it wrote is on the screen then.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_end(&mut self) -> u32 {
        let status = crate::wait::until("the end of the terminal client", || {
            self.child.try_wait().expect("a child can be waited for")
        });
        crate::wait::until_true("the end of its output", || self.look(|shown| shown.ended));
        status.exit_code()
    }

    /// Fails unless the terminal is as it was before: keys echo and are read by lines, the cursor is there, and what
    /// stood on the screen stands there again.
    ///
    /// # Panics
    /// Saying what is not.
    pub fn assert_restored(&self) {
        assert_eq!(format!("{:?}", self.master().get_termios()), self.modes, "how the system treats keys");
        let () = self.with_screen(|screen| {
            assert!(!screen.alternate_screen(), "the other screen is still shown");
            assert!(!screen.hide_cursor(), "the cursor is hidden");
            assert!(!screen.bracketed_paste(), "pastes are still marked");
            assert_eq!(
                screen.mouse_protocol_mode(),
                vt100::MouseProtocolMode::None,
                "the mouse is still taken"
            );
        });
    }

    /// Process id.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.process_id().expect("it runs")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("-- the terminal showed:\n{}", self.screen());
        }
    }
}

fn follow(mut reader: Box<dyn Read + Send>, display: &Display, answers: &Mutex<Box<dyn Write + Send>>) {
    let mut buffer = [0; 8192];
    loop {
        let read = reader.read(&mut buffer);
        let mut guard = display.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shown) = guard.as_mut() else { return };
        let (Ok(n), true) = (&read, matches!(read, Ok(n) if n > 0)) else {
            shown.ended = true;
            display.changed.notify_all();
            return;
        };
        let bytes = &buffer[..*n];
        shown.raw.extend_from_slice(bytes);
        shown.parser.process(bytes);
        let (row, col) = shown.parser.screen().cursor_position();
        display.changed.notify_all();
        drop(guard);
        // The two questions that every terminal answers: where the cursor is, and what it can do.
        let mut answer = String::new();
        if crate::leak::contains(bytes, b"\x1b[6n") {
            answer.push_str(&format!("\x1b[{};{}R", row + 1, col + 1));
        }
        if crate::leak::contains(bytes, b"\x1b[c") {
            answer.push_str("\x1b[?62;22c");
        }
        if !answer.is_empty() {
            let mut keyboard = answers.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = keyboard.write_all(answer.as_bytes()).and_then(|()| keyboard.flush());
        }
    }
}
