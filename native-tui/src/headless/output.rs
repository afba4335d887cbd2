//! Standard output: a pipe that nobody reads, a full disk, a reader that pauses.

use std::{
    io::{self, ErrorKind, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::Duration,
};

use crate::{session::Signal, text::clean};

/// Bytes that may wait for a reader that pauses: tens of thousands of messages.
const MAX_WAITING: usize = 16 * 1024 * 1024;
/// Characters of what is said beside the output.
const MAX_SAID: usize = 2_000;
/// How long a command that ends waits for what it has not printed yet.
const GRACE: Duration = Duration::from_secs(1);

/// Prints what a command has to say. Whoever reads has seen enough when the pipe is broken: that is no failure.
pub(crate) fn print(text: &str) -> Result<(), String> {
    if text.is_empty() {
        // A printer that is stuck holds the output.
        return Ok(());
    }
    told(write(&mut io::stdout().lock(), text))
}

/// Says something beside that, to whoever listens.
pub(crate) fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "felund: {}", said(text));
}

/// A sentence for a terminal. Some of it may be a relay's.
fn said(text: &str) -> String {
    let text = continued(text);
    let short =
        text.char_indices().nth(MAX_SAID).map_or_else(|| text.clone(), |(at, _)| format!("{}…", &text[..at]));
    clean(&short).into_owned()
}

/// A sentence as it goes on after a colon; the core's stand alone on screens.
fn continued(text: &str) -> String {
    let second = text.chars().nth(1);
    match text.chars().next() {
        Some(first) if second.is_none_or(|c| !c.is_uppercase()) && !text.starts_with("Felund") => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

fn write(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn told(written: io::Result<()>) -> Result<(), String> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot print: {error}; what was to be done is done, only this is missing"))
        }
        _ => Ok(()),
    }
}

/// Prints beside the thread that listens to the node, which therefore never waits for a reader.
pub(crate) struct Printer {
    lines: Sender<String>,
    /// Bytes.
    waiting: Arc<AtomicUsize>,
    ended: Receiver<Result<(), String>>,
}

impl Printer {
    /// Asks the process to end when nothing can be printed any more.
    pub(crate) fn start(
        mut out: impl Write + Send + 'static,
        signals: SyncSender<Signal>,
    ) -> Result<Self, String> {
        let (lines, queue) = mpsc::channel::<String>();
        let (end, ended) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let printed = Arc::clone(&waiting);
        let print = move || {
            let written = queue.iter().try_for_each(|text| {
                let written = write(&mut out, &text);
                printed.fetch_sub(text.len(), Ordering::Relaxed);
                written
            });
            let _ = end.send(told(written));
            let _ = signals.send(Signal::Stop);
        };
        let thread = thread::Builder::new().name("printer".to_owned()).stack_size(128 * 1024);
        thread.spawn(print).map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok(Self { lines, waiting, ended })
    }

    /// Hands over some lines; an error when too much waits already.
    pub(crate) fn print(&self, text: String) -> Result<(), String> {
        if self.waiting.fetch_add(text.len(), Ordering::Relaxed) > MAX_WAITING {
            return Err(format!(
                "what this prints is not read, and {} MiB of it wait already. Nothing is lost: messages are kept, \
                 see `felund history`; start this again when somebody reads",
                MAX_WAITING / (1024 * 1024)
            ));
        }
        // A printer that has ended has asked this process to end.
        let _ = self.lines.send(text);
        Ok(())
    }

    /// Lets it print what waits, as far as that is read now; answers how it went.
    pub(crate) fn finish(self) -> Result<(), String> {
        drop(self.lines);
        self.ended.recv_timeout(GRACE).unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Fails like the system does.
    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing before it may.
    struct Paused(Arc<Mutex<Vec<u8>>>);

    impl Write for Paused {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn complaints_begin_alike() {
        for (text, said) in [
            ("There is nothing to send.", "there is nothing to send."),
            ("A name is missing", "a name is missing"),
            ("cannot print", "cannot print"),
            ("Felund is busy", "Felund is busy"),
            ("UDP is blocked", "UDP is blocked"),
            ("", ""),
        ] {
            assert_eq!(continued(text), said);
        }
    }

    #[test]
    fn what_a_relay_says_cannot_steer_the_terminal() {
        let evil = format!("The relay refused: \u{1b}]0;owned\u{7}\u{9b}31m\n{}", "x".repeat(100_000));
        let said = said(&evil);
        assert!(!said.chars().any(crate::text::is_dangerous), "{said}");
        assert!(said.starts_with("the relay refused: ^[]0;owned^G<009B>31m⏎x") && said.len() < 3_000);
    }

    #[test]
    fn a_broken_pipe_ends_quietly_and_anything_else_is_said() {
        for (kind, quiet) in [(ErrorKind::BrokenPipe, true), (ErrorKind::StorageFull, false)] {
            let (signals, taken) = mpsc::sync_channel(1);
            let printer = Printer::start(Fails(kind), signals).expect("a thread");
            printer.print("a line\n".to_owned()).expect("there is room");
            let asked = taken.recv_timeout(Duration::from_secs(10));
            assert!(matches!(asked, Ok(Signal::Stop)), "{asked:?}");
            printer.print("one more\n".to_owned()).expect("it is on its way to its end");
            assert_eq!(printer.finish().is_ok(), quiet, "{kind}");
        }
    }

    #[test]
    fn a_reader_that_pauses_is_waited_for_up_to_a_bound() {
        let (signals, _taken) = mpsc::sync_channel(1);
        let read = Arc::new(Mutex::new(Vec::new()));
        let paused = read.lock().unwrap_or_else(PoisonError::into_inner);
        let printer = Printer::start(Paused(Arc::clone(&read)), signals).expect("a thread");
        let line = "x".repeat(1024 * 1024);
        let taken = (0..100).take_while(|_| printer.print(line.clone()).is_ok()).count();
        assert_eq!(taken, MAX_WAITING / line.len() + 1);
        drop(paused);
        printer.finish().expect("everything is printed");
        assert_eq!(read.lock().unwrap_or_else(PoisonError::into_inner).len(), taken * line.len());
    }
}
