//! Slash commands: what people type, as data. Both clients parse, complete and explain them with this code.
//!
//! Nothing here knows whether a channel or a member exists: names go to the node, which does. There is no general
//! command-line grammar on purpose; every command is a row of one table and one arm of one `match`, which keeps
//! the browser's share small.

mod complete;
mod parse;

use std::fmt;

pub use complete::{Completion, Names, complete, hint};
pub use parse::{draft, parse};

use crate::{redact::Secret, view::Access};

/// What an input line turned out to be.
#[derive(Debug, Clone)]
pub enum Line {
    /// A chat message; a leading `//` has become `/`.
    Message(String),
    /// A command.
    Command(Slash),
}

/// A command with its arguments. Channel names come without a leading `#`.
#[derive(Debug, Clone)]
pub enum Slash {
    /// `/help [COMMAND]`; the command without slash.
    Help(Option<String>),
    /// `/invite`: shows an invite to the current circle.
    Invite,
    /// `/join CODE`: for [`crate::invite::Invite::parse`].
    Join(Secret<String>),
    /// `/circles`
    Circles,
    /// `/circle create NAME`
    CircleCreate(String),
    /// `/circle switch NAME`
    CircleSwitch(String),
    /// `/circle name NAME`: renames the current circle for everyone.
    CircleName(String),
    /// `/circle leave`: the current circle.
    CircleLeave,
    /// `/channels`
    Channels,
    /// `/channel create NAME [public|key|invite] [PASSPHRASE]`
    ChannelCreate {
        /// Its name.
        name: String,
        /// Public when nothing was said.
        access: Access,
        /// Present exactly for [`Access::Key`].
        passphrase: Option<Secret<String>>,
    },
    /// `/channel join NAME [PASSPHRASE]`
    ChannelJoin {
        /// Its name.
        name: String,
        /// For channels with a passphrase.
        passphrase: Option<Secret<String>>,
    },
    /// `/channel switch NAME`
    ChannelSwitch(String),
    /// `/channel leave`: the current channel.
    ChannelLeave,
    /// `/channel requests`: who waits for approval in the current channel.
    ChannelRequests,
    /// `/channel approve NAME`: a member, for the current channel.
    ChannelApprove(String),
    /// `/channel rename NAME`: the current channel.
    ChannelRename(String),
    /// `/who [CHANNEL]`
    Who(Option<String>),
    /// `/name NAME`: the user's display name.
    Name(String),
    /// `/settings`
    Settings,
    /// `/doctor`
    Doctor,
    /// `/debug`
    Debug,
    /// `/safety NAME`: the number to compare with a member.
    Safety(String),
    /// `/quit`
    Quit,
}

/// Why a line is not a command. The text names the bad part and shows the usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlashError {
    /// No such command or subcommand: as typed, and the nearest one there is.
    Unknown(String, Option<&'static Help>),
    /// A subcommand is missing or unknown: the command, and what was typed instead.
    Subcommand(&'static str, String),
    /// An argument is missing: which one, of which command.
    Missing(&'static str, &'static Help),
    /// An argument is there that the command does not take, or not like this.
    Unexpected(String, &'static str, &'static Help),
}

impl fmt::Display for SlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = match self {
            Self::Unknown(typed, near) => {
                f.write_str("There is no command /")?;
                f.write_str(typed)?;
                if let Some(near) = near {
                    f.write_str("; did you mean ")?;
                    f.write_str(&near.usage())?;
                }
                return f.write_str(". /help lists the commands; // sends a message that starts with /.");
            }
            Self::Subcommand(command, typed) => {
                f.write_str("/")?;
                f.write_str(command)?;
                if typed.is_empty() {
                    f.write_str(" wants one of: ")?;
                } else {
                    f.write_str(" does not know “")?;
                    f.write_str(typed)?;
                    f.write_str("”, only: ")?;
                }
                return f.write_str(&subcommands(command).join(", "));
            }
            Self::Missing(what, help) => {
                f.write_str("Missing: ")?;
                f.write_str(what)?;
                help
            }
            Self::Unexpected(typed, why, help) => {
                f.write_str("“")?;
                f.write_str(typed)?;
                f.write_str("” ")?;
                f.write_str(why)?;
                help
            }
        };
        f.write_str(". Usage: ")?;
        f.write_str(&usage.usage())
    }
}

impl std::error::Error for SlashError {}

/// One command, as `/help` shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Help {
    /// Without slash, subcommand included, such as `channel join`.
    pub command: &'static str,
    /// What follows it; optional parts in brackets. May be empty.
    pub arguments: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
}

impl Help {
    /// `/command ARGUMENTS`
    #[must_use]
    pub fn usage(&self) -> String {
        let gap = if self.arguments.is_empty() { "" } else { " " };
        ["/", self.command, gap, self.arguments].concat()
    }
}

const fn row(command: &'static str, arguments: &'static str, about: &'static str) -> Help {
    Help { command, arguments, about }
}

static TABLE: [Help; 23] = [
    row("help", "[COMMAND]", "Lists the commands, or explains one"),
    row("invite", "", "Shows an invite to this circle as link, text and QR code"),
    row("join", "CODE", "Joins a circle by its invite"),
    row("circles", "", "Lists your circles"),
    row("circle create", "NAME", "Makes a circle"),
    row("circle switch", "NAME", "Goes to another of your circles"),
    row("circle name", "NAME", "Renames this circle for everyone"),
    row("circle leave", "", "Leaves this circle and deletes what this device holds of it"),
    row("channels", "", "Lists this circle's channels"),
    row("channel create", "NAME [public|key|invite] [PASSPHRASE]", "Makes a channel"),
    row("channel join", "NAME [PASSPHRASE]", "Joins a channel, or asks to be let in"),
    row("channel switch", "NAME", "Goes to a channel"),
    row("channel leave", "", "Leaves this channel"),
    row("channel requests", "", "Shows who waits to be let into this channel"),
    row("channel approve", "NAME", "Lets a member into this channel"),
    row("channel rename", "NAME", "Renames this channel"),
    row("who", "[CHANNEL]", "Lists members and how each is reached"),
    row("name", "NAME", "Sets your display name"),
    row("settings", "", "Opens the settings"),
    row("doctor", "", "Checks every connection and says what to do"),
    row("debug", "", "Shows what is behind the scenes"),
    row("safety", "NAME", "Shows the number to compare with a member"),
    row("quit", "", "Closes Felund"),
];

/// Every command, in the order people meet them.
#[must_use]
pub fn help() -> &'static [Help] {
    &TABLE
}

/// The rows of one command, subcommands included: what `/help channel` shows. A leading slash is fine; empty when
/// there is no such command.
pub fn help_for(command: &str) -> impl Iterator<Item = &'static Help> + use<> {
    let wanted = command.trim().trim_start_matches('/').to_lowercase();
    TABLE.iter().filter(move |row| {
        row.command == wanted
            || row
                .command
                .strip_prefix(&*wanted)
                .is_some_and(|rest| rest.starts_with(' ') && !wanted.is_empty())
    })
}

fn usage_of(command: &str) -> Option<&'static Help> {
    TABLE.iter().find(|row| row.command == command)
}

/// The second words of the rows that begin with `command`.
fn subcommands(command: &str) -> Vec<&'static str> {
    TABLE.iter().filter_map(|row| row.command.strip_prefix(command)?.strip_prefix(' ')).collect()
}
