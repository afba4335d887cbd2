//! From a line to a command.

use super::{Help, Line, Slash, SlashError, TABLE, help_for, usage_of};
use crate::{redact::Secret, view::Access};

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

/// What of a line that has not been sent is kept with its channel: a message. A command belongs to the moment, and may
/// hold a passphrase.
#[must_use]
pub fn draft(input: &str) -> &str {
    if command_line(input).is_some() { "" } else { input }
}

/// What follows the slash of a command. A message may begin with a slash, too, and is typed with two.
pub(super) fn command_line(input: &str) -> Option<&str> {
    input.strip_prefix('/').filter(|rest| !rest.starts_with('/'))
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
pub(super) struct Args<'a> {
    pub(super) rest: &'a str,
    pub(super) help: &'static Help,
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
    pub(super) fn name(&mut self) -> Result<Option<String>, SlashError> {
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

#[cfg(test)]
mod tests {
    use super::{super::help, *};

    fn command(line: &str) -> Slash {
        match parse(line).unwrap() {
            Line::Command(slash) => slash,
            Line::Message(text) => panic!("{text} is a message"),
        }
    }

    fn refused(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    #[test]
    fn plain_lines_and_doubled_slashes_are_messages() {
        for (line, text) in [("hi /help", "hi /help"), ("//help me", "/help me"), (" /x", " /x"), ("", "")] {
            assert!(matches!(parse(line), Ok(Line::Message(sent)) if sent == text), "{line}");
        }
    }

    #[test]
    fn messages_are_drafts_and_commands_are_not() {
        for (line, kept) in
            [("half a th", "half a th"), ("//help", "//help"), ("/join", ""), ("/", ""), (" /x", " /x")]
        {
            assert_eq!(draft(line), kept, "{line}");
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
}
