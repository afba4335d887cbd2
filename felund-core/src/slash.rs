//! Slash commands: what people type, as data. Both clients parse, complete and explain them with this code.
//!
//! Nothing here knows whether a channel or a member exists: names go to the node, which does. There is no general
//! command-line grammar on purpose; every command is a row of one table and one arm of one `match`, which keeps
//! the browser's share small.

use std::fmt;

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
    /// `/join CODE`: for [`crate::invite::parse`].
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

/// Reads an input line. Only a line whose first character is `/` is a command.
///
/// # Errors
/// A text for the user; nothing was done and the line should stay in the input.
pub fn parse(input: &str) -> Result<Line, SlashError> {
    let Some(rest) = input.strip_prefix('/') else { return Ok(Line::Message(input.into())) };
    if rest.starts_with('/') {
        return Ok(Line::Message(rest.into()));
    }
    let (first, mut rest) = split_word(rest);
    let mut command = first.to_ascii_lowercase();
    if matches!(&*command, "circle" | "channel") {
        let (second, after) = split_word(rest);
        let both = [&*command, " ", &*second.to_ascii_lowercase()].concat();
        if usage_of(&both).is_none() {
            let command = if command == "circle" { "circle" } else { "channel" };
            return Err(SlashError::Subcommand(command, second.into()));
        }
        (command, rest) = (both, after);
    }
    let Some(help) = usage_of(&command) else {
        return Err(SlashError::Unknown(first.into(), nearest(&command)));
    };
    let args = Args { rest: rest.trim(), help };
    args.command().map(Line::Command)
}

/// The row whose command begins like `typed`, longest common beginning first; `None` when not even the first
/// letter fits.
fn nearest(typed: &str) -> Option<&'static Help> {
    let common = |row: &Help| row.command.bytes().zip(typed.bytes()).take_while(|(a, b)| a == b).count();
    TABLE.iter().rev().max_by_key(|row| common(row)).filter(|row| common(row) > 0)
}

fn split_word(text: &str) -> (&str, &str) {
    match text.find(char::is_whitespace) {
        Some(at) => (&text[..at], text[at..].trim_start()),
        None => (text, ""),
    }
}

const QUOTES: [(char, char); 4] = [('"', '"'), ('\'', '\''), ('“', '”'), ('„', '“')];

/// What follows a command, trimmed, and the row it is read by.
struct Args<'a> {
    rest: &'a str,
    help: &'static Help,
}

impl<'a> Args<'a> {
    fn command(mut self) -> Result<Slash, SlashError> {
        Ok(match self.help.command {
            "help" => Slash::Help(self.help_topic()?),
            "invite" => self.none(Slash::Invite)?,
            "join" if self.rest.is_empty() => return Err(SlashError::Missing("the invite code", self.help)),
            "join" => Slash::Join(Secret::new(self.rest.into())),
            "circles" => self.none(Slash::Circles)?,
            "circle create" => Slash::CircleCreate(self.whole("the circle's name")?),
            "circle switch" => Slash::CircleSwitch(self.whole("the circle's name")?),
            "circle name" => Slash::CircleName(self.whole("the new name")?),
            "circle leave" => self.none(Slash::CircleLeave)?,
            "channels" => self.none(Slash::Channels)?,
            "channel create" => self.channel_create()?,
            "channel join" => {
                let name = self.name()?.ok_or(SlashError::Missing("the channel's name", self.help))?;
                Slash::ChannelJoin { name: channel(&name), passphrase: self.passphrase() }
            }
            "channel switch" => Slash::ChannelSwitch(channel(&self.whole("the channel's name")?)),
            "channel leave" => self.none(Slash::ChannelLeave)?,
            "channel requests" => self.none(Slash::ChannelRequests)?,
            "channel approve" => Slash::ChannelApprove(self.whole("the member's name")?),
            "channel rename" => Slash::ChannelRename(channel(&self.whole("the new name")?)),
            "who" if self.rest.is_empty() => Slash::Who(None),
            "who" => Slash::Who(Some(channel(&self.whole("the channel's name")?))),
            "name" => Slash::Name(self.whole("your name")?),
            "settings" => self.none(Slash::Settings)?,
            "doctor" => self.none(Slash::Doctor)?,
            "debug" => self.none(Slash::Debug)?,
            "safety" => Slash::Safety(self.whole("the member's name")?),
            // The table's last row; `every_command_of_the_table_has_its_arm` guards that nothing else gets here.
            _ => self.none(Slash::Quit)?,
        })
    }

    fn help_topic(&self) -> Result<Option<String>, SlashError> {
        let topic = self.rest.trim_start_matches('/').to_lowercase();
        if topic.is_empty() {
            return Ok(None);
        }
        if help_for(&topic).next().is_none() {
            let near = nearest(&topic);
            return Err(SlashError::Unknown(topic, near));
        }
        Ok(Some(topic))
    }

    fn channel_create(&mut self) -> Result<Slash, SlashError> {
        let name = self.name()?.ok_or(SlashError::Missing("the channel's name", self.help))?;
        let (word, after) = split_word(self.rest);
        let access = match &*word.to_lowercase() {
            "" | "public" => Access::Public,
            "key" => Access::Key,
            "invite" => Access::Invite,
            _ => {
                let why = "is not public, key or invite (a name with spaces wants quotes)";
                return Err(SlashError::Unexpected(word.into(), why, self.help));
            }
        };
        self.rest = after;
        let passphrase = self.passphrase();
        match (access, &passphrase) {
            (Access::Key, None) => Err(SlashError::Missing("the passphrase", self.help)),
            (Access::Public | Access::Invite, Some(_)) => {
                let why = "channels take no passphrase";
                Err(SlashError::Unexpected(access.as_str().into(), why, self.help))
            }
            _ => Ok(Slash::ChannelCreate { name: channel(&name), access, passphrase }),
        }
    }

    fn none(&self, slash: Slash) -> Result<Slash, SlashError> {
        if self.rest.is_empty() {
            return Ok(slash);
        }
        Err(SlashError::Unexpected(self.rest.into(), "is too much here", self.help))
    }

    /// The whole rest of the line, quotes around all of it removed.
    fn whole(&self, what: &'static str) -> Result<String, SlashError> {
        let text = unquoted(self.rest).trim();
        if text.is_empty() { Err(SlashError::Missing(what, self.help)) } else { Ok(text.into()) }
    }

    /// One word, or what stands in quotes; the rest stays.
    fn name(&mut self) -> Result<Option<String>, SlashError> {
        let text = self.rest.strip_prefix('#').unwrap_or(self.rest);
        let quote = QUOTES.iter().find(|(open, _)| text.starts_with(*open));
        let Some((open, close)) = quote else {
            let (word, rest) = split_word(text);
            self.rest = rest;
            return Ok((!word.is_empty()).then(|| word.into()));
        };
        let inside = &text[open.len_utf8()..];
        let Some((name, rest)) = inside.split_once(*close) else {
            return Err(SlashError::Unexpected(text.into(), "lacks its closing quote", self.help));
        };
        self.rest = rest.trim_start();
        Ok((!name.trim().is_empty()).then(|| name.trim().into()))
    }

    fn passphrase(&self) -> Option<Secret<String>> {
        let text = unquoted(self.rest);
        (!text.is_empty()).then(|| Secret::new(text.into()))
    }
}

fn unquoted(text: &str) -> &str {
    let inside = QUOTES.iter().find_map(|(open, close)| {
        let inside = text.strip_prefix(*open)?.strip_suffix(*close)?;
        (!inside.contains(*close)).then_some(inside)
    });
    inside.unwrap_or(text)
}

fn channel(name: &str) -> String {
    name.strip_prefix('#').unwrap_or(name).trim().into()
}

/// What there is to complete with.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// The user's circles.
    pub circles: Vec<String>,
    /// The current circle's channels, without `#`.
    pub channels: Vec<String>,
    /// The current circle's members.
    pub members: Vec<String>,
    /// Members who wait to be let into the current channel.
    pub requests: Vec<String>,
}

/// One way to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The whole input line after choosing this.
    pub line: String,
    /// What to show in a list.
    pub label: String,
    /// What it does, for commands; empty for names.
    pub about: &'static str,
}

/// Ways to go on from `input`, in the table's order for commands and in the given order for names. Empty when the
/// input is no command or takes nothing that is known.
#[must_use]
pub fn complete(input: &str, context: &Names) -> Vec<Completion> {
    let Some(typed) = input.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
        return Vec::new();
    };
    let lower = typed.to_ascii_lowercase();
    let row = TABLE.iter().find(|row| lower.strip_prefix(row.command).is_some_and(|r| r.starts_with(' ')));
    match row {
        Some(row) => complete_argument(row, typed[row.command.len()..].trim_start(), context),
        None => complete_command(&lower),
    }
}

fn complete_command(typed: &str) -> Vec<Completion> {
    // Words first: “/ch” offers channels and channel, “/channel ” its subcommands.
    let depth = typed.matches(' ').count();
    let mut found: Vec<Completion> = Vec::new();
    for row in TABLE.iter().filter(|row| row.command.starts_with(typed)) {
        let words: Vec<&str> = row.command.split(' ').take(depth + 1).collect();
        let label = words.join(" ");
        if found.iter().any(|known| known.label == label) {
            continue;
        }
        let last = label == row.command;
        let gap = if last && row.arguments.is_empty() { "" } else { " " };
        let about = if last { row.about } else { "" };
        found.push(Completion { line: ["/", &label, gap].concat(), label, about });
    }
    found
}

fn complete_argument(row: &Help, typed: &str, context: &Names) -> Vec<Completion> {
    let names = match row.command {
        "circle switch" => &context.circles,
        "channel join" | "channel switch" | "who" => &context.channels,
        "channel approve" => &context.requests,
        "safety" => &context.members,
        "help" => {
            let commands = complete_command(&typed.trim_start_matches('/').to_lowercase());
            let to_topic = |c: Completion| Completion { line: ["/help ", &c.label].concat(), ..c };
            return commands.into_iter().map(to_topic).collect();
        }
        "channel create" => return complete_access(typed),
        _ => return Vec::new(),
    };
    let bare = typed.trim_start_matches(['#', '"', '\'', '“']).to_lowercase();
    let fits = |name: &&String| name.to_lowercase().starts_with(&bare);
    let line = |name: &String| {
        // Only here more may follow the name; everywhere else the rest of the line is the name.
        let quote = if row.command == "channel join" && name.contains(' ') { "\"" } else { "" };
        ["/", row.command, " ", quote, name, quote].concat()
    };
    let completion = |name: &String| Completion { line: line(name), label: name.clone(), about: "" };
    names.iter().filter(fits).map(completion).collect()
}

fn complete_access(typed: &str) -> Vec<Completion> {
    let mut args = Args { rest: typed, help: &TABLE[0] };
    if !matches!(args.name(), Ok(Some(_))) || args.rest.contains(' ') {
        return Vec::new();
    }
    let before = &typed[..typed.len() - args.rest.len()];
    if !before.ends_with(' ') {
        return Vec::new();
    }
    let modes = [
        (Access::Public, "Every member of the circle reads it"),
        (Access::Key, "Members who know the passphrase read it"),
        (Access::Invite, "Members whom you approve read it"),
    ];
    let wanted = args.rest.to_lowercase();
    let fits = modes.into_iter().filter(|(access, _)| access.as_str().starts_with(&wanted));
    fits.map(|(access, about)| {
        let gap = if access == Access::Key { " " } else { "" };
        let line = ["/channel create ", before, access.as_str(), gap].concat();
        Completion { line, label: access.as_str().into(), about }
    })
    .collect()
}

/// One line of explanation while a command is being typed; `None` for plain messages.
#[must_use]
pub fn hint(input: &str) -> Option<String> {
    let typed = input.strip_prefix('/')?;
    if typed.starts_with('/') {
        return Some("Sends a message that starts with /".into());
    }
    let lower = typed.to_ascii_lowercase();
    let begun = |row: &&Help| {
        lower.strip_prefix(row.command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let explain = |row: &Help| [&*row.usage(), " · ", row.about].concat();
    if let Some(row) = TABLE.iter().find(begun) {
        return Some(explain(row));
    }
    let matching = complete_command(&lower);
    match &*matching {
        [] => Some("No such command · /help lists them".into()),
        [only] => {
            let row = usage_of(&only.label);
            Some(
                row.map_or_else(
                    || [&*only.label, ": ", &subcommands(&only.label).join(" ")].concat(),
                    explain,
                ),
            )
        }
        _ => {
            let labels: Vec<&str> = matching.iter().map(|completion| completion.label.as_str()).collect();
            Some(labels.join(" · "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Slash {
        match parse(line).unwrap() {
            Line::Command(slash) => slash,
            Line::Message(text) => panic!("{text} is a message"),
        }
    }

    fn refused(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    fn labels(line: &str, names: &Names) -> Vec<String> {
        complete(line, names).into_iter().map(|completion| completion.label).collect()
    }

    #[test]
    fn plain_lines_and_doubled_slashes_are_messages() {
        for (line, text) in [("hi /help", "hi /help"), ("//help me", "/help me"), (" /x", " /x"), ("", "")] {
            assert!(matches!(parse(line), Ok(Line::Message(sent)) if sent == text), "{line}");
        }
    }

    #[test]
    fn every_command_of_the_table_has_its_arm() {
        for row in help() {
            let argument = if row.arguments.starts_with("[COMMAND") { "quit" } else { "x" };
            let line = if row.arguments.is_empty() {
                row.usage()
            } else {
                ["/", row.command, " ", argument].concat()
            };
            let slash = command(&line);
            assert_eq!(matches!(slash, Slash::Quit), row.command == "quit", "{line}");
        }
    }

    #[test]
    fn names_with_spaces_take_the_rest_of_the_line_or_quotes() {
        assert!(
            matches!(command("/circle create garden club"), Slash::CircleCreate(n) if n == "garden club")
        );
        assert!(
            matches!(command("/CIRCLE Name  “garden club” "), Slash::CircleName(n) if n == "garden club")
        );
        assert!(matches!(command("/channel switch #seed swap"), Slash::ChannelSwitch(n) if n == "seed swap"));
        assert!(matches!(command("/who"), Slash::Who(None)));
        assert!(matches!(command("/name d'Arc"), Slash::Name(n) if n == "d'Arc"));
    }

    #[test]
    fn a_channel_is_made_with_its_access_and_passphrase() {
        let Slash::ChannelCreate { name, access, passphrase } =
            command("/channel create \"seed swap\" key correct horse")
        else {
            panic!()
        };
        assert_eq!((&*name, access), ("seed swap", Access::Key));
        assert_eq!(passphrase.unwrap().expose(), "correct horse");
        let Slash::ChannelCreate { access, passphrase: None, .. } = command("/channel create seeds") else {
            panic!()
        };
        assert_eq!(access, Access::Public);
        let Slash::ChannelJoin { name, passphrase } = command("/channel join #seeds \"correct horse\"")
        else {
            panic!()
        };
        assert_eq!((&*name, passphrase.unwrap().expose().as_str()), ("seeds", "correct horse"));
    }

    #[test]
    fn errors_name_the_bad_part_and_show_the_usage() {
        assert!(refused("/chanel join x").contains("/chanel; did you mean /channels"));
        assert!(refused("/").contains("/help lists"));
        assert!(refused("/channel jion x").contains("“jion”, only: create, join"));
        assert!(refused("/circle").contains("create, switch, name, leave"));
        assert!(refused("/join").contains("the invite code. Usage: /join CODE"));
        assert!(refused("/channel create seed swap").contains("“swap” is not public, key or invite"));
        assert!(refused("/channel create seeds key").contains("Missing: the passphrase"));
        assert!(refused("/channel create seeds public hush").contains("no passphrase"));
        assert!(refused("/channel join \"seed swap").contains("closing quote"));
        assert!(refused("/quit now").contains("“now” is too much here. Usage: /quit"));
        assert!(refused("/help nothing").contains("no command /nothing"));
    }

    #[test]
    fn secrets_do_not_reach_debug_output() {
        let shown = format!("{:?} {:?}", command("/join felund1.abc"), command("/channel join x hush"));
        assert!(!shown.contains("felund1") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn completion_goes_word_by_word_and_knows_names() {
        let names = Names {
            channels: vec!["general".into(), "seed swap".into()],
            members: vec!["alice".into(), "bob".into()],
            ..Names::default()
        };
        assert_eq!(labels("/ch", &names), ["channels", "channel"]);
        assert_eq!(complete("/channel jo", &names)[0].line, "/channel join ");
        assert_eq!(complete("/channel join #se", &names)[0].line, "/channel join \"seed swap\"");
        assert_eq!(complete("/channel switch SE", &names)[0].line, "/channel switch seed swap");
        assert_eq!(labels("/safety b", &names), ["bob"]);
        assert_eq!(labels("/channel create seeds ", &names), ["public", "key", "invite"]);
        assert_eq!(complete("/channel create seeds k", &names)[0].line, "/channel create seeds key ");
        assert_eq!(complete("/help chan", &names)[0].line, "/help channels");
        assert!(complete("hi", &names).is_empty() && complete("//ch", &names).is_empty());
        assert_eq!(complete("/qu", &names)[0].line, "/quit");
    }

    #[test]
    fn hints_follow_what_is_typed() {
        assert_eq!(hint("hello"), None);
        assert!(hint("//x").unwrap().contains("starts with /"));
        assert!(hint("/inv").unwrap().starts_with("/invite · Shows"));
        assert!(hint("/channel join se").unwrap().starts_with("/channel join NAME [PASSPHRASE] · "));
        assert!(hint("/channel ").unwrap().contains("channel approve"));
        assert!(hint("/zzz").unwrap().contains("No such command"));
        assert!(hint("/").unwrap().contains("help · invite"));
    }

    #[test]
    fn any_text_is_taken_without_panic() {
        for text in
            ["/é", "/channel create “x", "/who #", "/circle é é", "/HELP İ", "/channel join ''", "/İ x"]
        {
            let _ = (parse(text), hint(text), complete(text, &Names::default()));
        }
    }
}
