//! What a person could type next, and what it would do.

use super::{
    Help, TABLE,
    parse::{Args, command_line},
    subcommands, usage_of,
};
use crate::view::Access;

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
    let Some(typed) = command_line(input) else { return Vec::new() };
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
    use super::{super::parse, *};

    fn labels(line: &str, names: &Names) -> Vec<String> {
        complete(line, names).into_iter().map(|completion| completion.label).collect()
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
