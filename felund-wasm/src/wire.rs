//! What the tabs of one origin say to each other, as CBOR over a `BroadcastChannel`. No key material passes but what
//! commands and replies carry anyway (passphrases, invites), and nothing leaves the origin.

use felund_core::{
    io::{Command, Event},
    view::Reply,
};
use minicbor::{Decode, Encode, Encoder, encode};

/// One message between tabs.
#[derive(Debug, Encode, Decode)]
pub(crate) enum Wire {
    /// Leader to all: I have just been elected; what was asked of another is lost.
    #[n(0)]
    Elected,
    /// To the leader: are you there?
    #[n(1)]
    Ping,
    /// Leader to all: I am.
    #[n(2)]
    Pong,
    /// To the leader: carry this out.
    #[n(3)]
    Ask {
        /// Who asks.
        #[n(0)]
        tab: String,
        /// Its number there.
        #[n(1)]
        id: u64,
        /// What.
        #[cbor(n(2), encode_with = "apart")]
        command: Command,
    },
    /// Leader to one: the answer.
    #[n(4)]
    Answer {
        /// Who asked.
        #[n(0)]
        tab: String,
        /// Its number there.
        #[n(1)]
        id: u64,
        /// The answer.
        #[cbor(n(2), encode_with = "apart")]
        result: Result<Reply, String>,
    },
    /// Leader to all: what happened.
    #[n(5)]
    News(#[cbor(n(0), encode_with = "apart")] Vec<Event>),
}

/// As ever, but not in line: where a tab is alone it need not be loaded.
#[inline(never)]
fn apart<C, T: Encode<C>, W: encode::Write>(
    value: &T,
    encoder: &mut Encoder<W>,
    context: &mut C,
) -> Result<(), encode::Error<W::Error>> {
    value.encode(encoder, context)
}

/// Whether a command may be carried out twice without a second effect: one whose answer was lost with its tab is
/// then simply asked again.
pub(crate) fn repeatable(command: &Command) -> bool {
    !matches!(command, Command::Send { .. } | Command::CreateCircle { .. } | Command::CreateChannel { .. })
}

/// What the asker of a command that is not [`repeatable`] is told.
pub(crate) const UNCERTAIN: &str = "The tab that was carrying this out was closed before it said how it went. \
                                    Nothing else was lost. Look whether it is there, and if not, do it again.";
