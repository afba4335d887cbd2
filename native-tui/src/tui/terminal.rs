//! The terminal's state, put back whatever happens: at the end, on an error, and when something panics.

use std::{
    io::{self, BufWriter, Stdout, Write, stdout},
    sync::Once,
};

use crossterm::{
    cursor::Show,
    event::{
        DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste,
        EnableFocusChange, EnableMouseCapture,
    },
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, SetTitle, disable_raw_mode, enable_raw_mode},
};
use ratatui::{Terminal, backend::CrosstermBackend};

pub(crate) type Screen = Terminal<CrosstermBackend<BufWriter<Stdout>>>;

/// While this lives the terminal is ours.
#[derive(Debug)]
pub(crate) struct Guard(());

impl Guard {
    pub(crate) fn enter() -> io::Result<(Self, Screen)> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        enable_raw_mode()?;
        let guard = Self(());
        execute!(
            stdout(),
            EnterAlternateScreen,
            EnableBracketedPaste,
            EnableFocusChange,
            EnableMouseCapture,
            SetTitle("felund")
        )?;
        let screen = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(16 * 1024, stdout())))?;
        Ok((guard, screen))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let _ = execute!(
        stdout(),
        DisableMouseCapture,
        DisableFocusChange,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        Show
    );
    let _ = disable_raw_mode();
}

/// Shows in the window's title how many messages are unread.
pub(crate) fn title(unread: u32) {
    let title = if unread == 0 { "felund".to_owned() } else { format!("({unread}) felund") };
    let _ = execute!(stdout(), SetTitle(title));
}

/// Rings, where the user's terminal is set to.
pub(crate) fn bell() {
    let mut out = stdout();
    let _ = out.write_all(b"\x07").and_then(|()| out.flush());
}

/// Hands a text to the clipboard of the user's terminal (OSC 52), which works through SSH too.
pub(crate) fn copy(text: &str) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut out = stdout();
    let _ = write!(out, "\x1b]52;c;{}\x07", STANDARD.encode(text)).and_then(|()| out.flush());
}
