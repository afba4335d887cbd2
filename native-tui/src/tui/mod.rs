//! The screen: one loop that takes signals from terminal and node, and draws when something has changed.

mod app;
mod commands;
mod drafts;
mod editor;
mod forms;
mod input;
mod overlay;
mod scroll;
mod terminal;
#[cfg(test)]
mod tests;
mod theme;
mod ui;

use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use app::{App, Effect};
use jiff::tz::TimeZone;
use terminal::{Guard, Screen};
use theme::Theme;

use crate::{
    args::Options,
    datadir::DataDir,
    session::{Session, Setup, Signal, end_politely},
};

/// Signals that may wait before their senders do.
const QUEUE: usize = 1_024;
/// Most signals taken in before the screen is drawn again.
const BURST: usize = 512;

/// Shows the screen until the user quits.
///
/// # Errors
/// A text for people.
pub(crate) fn run(options: Options) -> Result<ExitCode, String> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err("the chat needs a terminal; `felund --help` lists the commands that do not".to_owned());
    }
    let dir = DataDir::open(options.data_dir.clone())?;
    let (sender, signals) = mpsc::sync_channel(QUEUE);
    let (guard, screen) = Guard::enter().map_err(|e| format!("cannot use this terminal: {e}"))?;
    let result = Loop::new(options, dir, screen, sender).and_then(|mut looping| looping.run(&signals));
    drop(guard);
    result.map(|()| ExitCode::SUCCESS)
}

struct Loop {
    app: App,
    dir: DataDir,
    setup: Setup,
    screen: Screen,
    sender: SyncSender<Signal>,
    session: Session,
    /// Unread messages that the window's title tells.
    titled: u32,
}

impl Loop {
    fn new(
        options: Options,
        dir: DataDir,
        mut screen: Screen,
        sender: SyncSender<Signal>,
    ) -> Result<Self, String> {
        let setup = Setup { stays: true, ..options.setup() };
        let mut app = App::new(options, Theme::from_env(), TimeZone::system());
        draw(&mut app, &mut screen)?;
        let keys = sender.clone();
        thread::Builder::new()
            .name("keys".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || read_keys(&keys))
            .map_err(|e| format!("cannot start a thread: {e}"))?;
        // Being asked to end leaves the terminal as it was and keeps what is typed.
        end_politely(&sender)?;
        let session = Session::open(&dir, setup, &sender)?;
        app.mirror = session.is_mirror();
        Ok(Self { app, dir, setup, screen, sender, session, titled: 0 })
    }

    fn run(&mut self, signals: &Receiver<Signal>) -> Result<(), String> {
        loop {
            let Some(first) = self.next(signals) else { return Ok(()) };
            self.app.now = now();
            let burst = std::iter::once(first).chain(signals.try_iter().take(BURST));
            for signal in burst.collect::<Vec<_>>() {
                if !self.take(signal)? {
                    return Ok(());
                }
            }
            draw(&mut self.app, &mut self.screen)?;
            let unread = self.app.model.unread();
            if unread != std::mem::replace(&mut self.titled, unread) {
                terminal::title(unread);
            }
            if !self.carry_out() {
                return Ok(());
            }
        }
    }

    /// The next signal, keeping what is typed meanwhile; `None` at the end.
    fn next(&mut self, signals: &Receiver<Signal>) -> Option<Signal> {
        loop {
            let due = self.app.tend_draft(Instant::now());
            if !self.carry_out() {
                return None;
            }
            let Some(due) = due else { return signals.recv().ok() };
            match signals.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => {}
                signal => return signal.ok(),
            }
        }
    }

    /// `false` at the end.
    fn take(&mut self, signal: Signal) -> Result<bool, String> {
        match signal {
            Signal::Event(session, event) if self.session.is(session) => self.app.event(*event),
            Signal::Terminal(event) => self.app.terminal(event),
            Signal::Closed(session, _) if self.session.is(session) => {
                self.app.reconnect();
                self.session = Session::open(&self.dir, self.setup, &self.sender)?;
                self.app.mirror = self.session.is_mirror();
            }
            Signal::Anew(session) if self.session.is(session) => self.app.resume(),
            // The last words of a session that was followed by another.
            Signal::Event(..) | Signal::Closed(..) | Signal::Anew(_) => {}
            Signal::Stop => self.app.quit(),
        }
        Ok(self.carry_out())
    }

    /// `false` at the end.
    fn carry_out(&mut self) -> bool {
        for effect in std::mem::take(&mut self.app.effects) {
            match effect {
                Effect::Ask(command, pending) => match self.session.ask(command) {
                    Ok(id) => self.app.asked(id, pending),
                    Err(error) => self.app.not_asked(&pending, error),
                },
                Effect::Copy(text) => terminal::copy(&text),
                Effect::Bell => terminal::bell(),
                Effect::Quit => return false,
            }
        }
        true
    }
}

fn draw(app: &mut App, screen: &mut Screen) -> Result<(), String> {
    let mut drawn = None;
    screen.draw(|frame| drawn = Some(ui::draw(app, frame))).map_err(|e| format!("cannot draw: {e}"))?;
    if let Some(drawn) = drawn {
        app.after_drawing(drawn);
    }
    Ok(())
}

fn read_keys(signals: &SyncSender<Signal>) {
    // An error means that the terminal is gone.
    while let Ok(event) = crossterm::event::read() {
        if signals.send(Signal::Terminal(event)).is_err() {
            return;
        }
    }
    let _ = signals.send(Signal::Stop);
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(now).unwrap_or(u64::MAX)
}
