//! What the tabs of one origin say to each other, as JSON over a `BroadcastChannel`. No key material passes but what
//! commands and replies carry anyway (passphrases, invites), and nothing leaves the origin.

use felund_core::{
    io::{Command, Event},
    view::Reply,
};
use serde::{Deserialize, Serialize};

/// One message between tabs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Wire {
    /// Leader to all: I have just been elected; what was asked of another is lost.
    Elected,
    /// To the leader: are you there?
    Ping,
    /// Leader to all: I am.
    Pong,
    /// To the leader: carry this out.
    Ask {
        /// Who asks.
        tab: String,
        /// Its number there.
        id: u64,
        /// What.
        command: Command,
    },
    /// Leader to one: the answer.
    Answer {
        /// Who asked.
        tab: String,
        /// Its number there.
        id: u64,
        /// The answer.
        result: Result<Reply, String>,
    },
    /// Leader to all: what happened.
    News(Vec<Event>),
}

/// Whether a command may be carried out twice without a second effect: one whose answer was lost with its tab is
/// then simply asked again.
pub(crate) fn repeatable(command: &Command) -> bool {
    !matches!(command, Command::Send { .. } | Command::CreateCircle { .. } | Command::CreateChannel { .. })
}

/// What the asker of a command that is not [`repeatable`] is told.
pub(crate) const UNCERTAIN: &str = "The tab that was carrying this out was closed before it said how it went. \
                                    Nothing else was lost. Look whether it is there, and if not, do it again.";
