//! The passphrase: where it comes from, and typing it unseen.

use std::{
    ffi::OsString,
    io::{BufRead, IsTerminal, Write},
    time::{Duration, Instant},
};

use crossterm::event::{self, Event as Term, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use felund_core::io::Command;

use super::Client;

/// How often it is looked what else there is while a passphrase is typed.
const LISTEN: Duration = Duration::from_millis(100);

impl Client {
    /// From the environment, or asked for on the terminal with the typing hidden.
    pub(super) fn passphrase(&mut self) -> Result<String, String> {
        if let Some(passphrase) = given(std::env::var_os("FELUND_PASSPHRASE"))? {
            return Ok(passphrase);
        }
        if !std::io::stdin().is_terminal() {
            return Err("a passphrase protects the keys here; give it in FELUND_PASSPHRASE".to_owned());
        }
        let mut screen = std::io::stderr();
        let _ = screen.write_all(b"Passphrase: ").and_then(|()| screen.flush());
        let hidden = crossterm::terminal::enable_raw_mode().is_ok();
        let typed = if hidden { self.read_hidden() } else { read_line() };
        if hidden {
            let _ = crossterm::terminal::disable_raw_mode();
        }
        let _ = writeln!(screen);
        typed
    }

    /// Reads keys, and listens meanwhile: this process may be asked to end, or the keys be unlocked elsewhere.
    pub(super) fn read_hidden(&mut self) -> Result<String, String> {
        let fault = |e| format!("cannot read the passphrase: {e}");
        let mut typed = String::new();
        loop {
            while let Ok(signal) = self.signals.try_recv() {
                self.receive(signal)?;
            }
            if self.model.ready {
                return Ok(typed);
            }
            if !event::poll(LISTEN).map_err(fault)? {
                continue;
            }
            if let Term::Key(key) = event::read().map_err(fault)?
                && key.kind != KeyEventKind::Release
                && type_hidden(&mut typed, key)?
            {
                return Ok(typed);
            }
        }
    }

    pub(super) fn unlock(&mut self, passphrase: String, until: Instant) -> Result<(), String> {
        let id = self.session.ask(Command::Unlock { passphrase })?;
        while self.pump(until)? {
            if let Some(result) = self.replies.remove(&id) {
                return result.map(|_| ());
            }
        }
        Err("Felund did not unlock within a minute; nothing was changed".to_owned())
    }
}

/// What the environment gives. An empty variable is how a shell says that there is none.
pub(super) fn given(variable: Option<OsString>) -> Result<Option<String>, String> {
    let Some(given) = variable.filter(|given| !given.is_empty()) else { return Ok(None) };
    let fault = |_| "FELUND_PASSPHRASE is not UTF-8 text; nothing was changed".to_owned();
    given.into_string().map(Some).map_err(fault)
}

fn read_line() -> Result<String, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| format!("cannot read the passphrase: {e}"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// What a key does to what is typed unseen; whether it ends it.
pub(super) fn type_hidden(typed: &mut String, key: KeyEvent) -> Result<bool, String> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Enter => return Ok(true),
        KeyCode::Backspace => drop(typed.pop()),
        KeyCode::Char('c' | 'd') if control => {
            return Err("no passphrase was given; nothing was changed".to_owned());
        }
        KeyCode::Char('u') if control => typed.clear(),
        KeyCode::Char('w') if control => typed.truncate(typed.trim_end().rfind(' ').map_or(0, |at| at + 1)),
        KeyCode::Char(c) if !control => typed.push(c),
        _ => {}
    }
    Ok(false)
}
