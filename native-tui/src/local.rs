//! The process that runs the driver, as the driver sees it: a queue of signals that somebody takes, or does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    time::{Duration, Instant},
};

use felund_core::io::Event;
use tokio::time;

use crate::session::Signal;

/// How long the node waits for its process before it goes on without it. Drawing takes microseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process has ended.
#[derive(Debug)]
pub(crate) struct Gone;

/// The driver's own process.
#[derive(Debug)]
pub(crate) struct Local {
    session: u64,
    signals: SyncSender<Signal>,
    /// Set by the process when it stops listening, so that nothing waits for it any more.
    deaf: Arc<AtomicBool>,
    /// Whether it has missed something.
    behind: bool,
}

impl Local {
    pub(crate) const fn new(session: u64, signals: SyncSender<Signal>, deaf: Arc<AtomicBool>) -> Self {
        Self { session, signals, deaf, behind: false }
    }

    /// Tells it, and waits a moment while it is busy. In a terminal that was paused it takes nothing for as long as somebody
    /// likes: members and other processes must not wait for that.
    pub(crate) async fn tell(&mut self, event: Event) -> Result<(), Gone> {
        let mut signal = Signal::Event(self.session, Box::new(event));
        let until = Instant::now() + PATIENCE;
        while !self.behind && !self.deaf.load(Ordering::Relaxed) {
            match self.signals.try_send(signal) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Err(Gone),
                Err(TrySendError::Full(_)) if Instant::now() >= until => {
                    self.behind = true;
                    break;
                }
                Err(TrySendError::Full(back)) => {
                    signal = back;
                    time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
        Ok(())
    }

    /// Whether it has missed something and takes signals again: everything known must come next.
    pub(crate) fn begins_anew(&mut self) -> bool {
        let begins = self.behind && self.signals.try_send(Signal::Anew(self.session)).is_ok();
        self.behind &= !begins;
        begins
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_process_that_takes_nothing_stops_nobody_and_begins_anew() {
        let (signals, taken) = mpsc::sync_channel(2);
        let mut local = Local::new(7, signals, Arc::default());
        let begun = Instant::now();
        for _ in 0..100 {
            local.tell(Event::Ready).await.expect("it is there");
        }
        assert!(begun.elapsed() < PATIENCE * 2, "one wait, not one for each event");
        assert!(!local.begins_anew(), "there is no room for that yet");
        assert!(matches!(taken.try_recv(), Ok(Signal::Event(7, _))));
        assert!(local.begins_anew() && !local.begins_anew(), "once");
        assert!(matches!(taken.try_recv(), Ok(Signal::Event(7, _))));
        local.tell(Event::Ready).await.expect("it is there");
        let next: Vec<_> = taken.try_iter().collect();
        assert!(matches!(next[..], [Signal::Anew(7), Signal::Event(7, _)]), "{next:?}");
        drop(taken);
        assert!(local.tell(Event::Ready).await.is_err());
    }
}
