//! The command line: one table of commands, the same global options before and after each of them.
//!
//! Parsing only. What a command does is in [`crate::headless`]; without one the screen opens.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::PathBuf,
};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{FalseyValueParser, Resettable},
};

use crate::session::Setup;

/// Exit status when something went wrong.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit status of `send` when the message is kept on this device but neither stored nor delivered yet.
pub(crate) const EXIT_KEPT: u8 = 3;

const AFTER: &str = "\
CIRCLE is a name or the beginning of an id. Commands run beside a running client of the same data directory \
are carried out through it.

Exit status: 0 done; 1 failed, the reason is on standard error; 2 wrong usage; 3 `send`: the message is kept on \
this device and is sent later: by the client that is running, or the next time Felund runs.

FELUND_PASSPHRASE opens keys that a passphrase protects, for commands without a terminal to ask on.";

/// Private chat for small circles. Without a command the chat opens.
#[derive(Debug, Parser)]
#[command(name = "felund", version, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Option<Cmd>,
}

impl Cli {
    /// What the process was started with; it ends here where that makes no sense.
    pub(crate) fn given() -> Self {
        let command = without_empty(Self::command(), |name| std::env::var_os(name));
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// Leaves out variables that say nothing: an empty one is how a shell says that there is none.
fn without_empty(command: clap::Command, value: impl Fn(&OsStr) -> Option<OsString>) -> clap::Command {
    command.mut_args(|arg| {
        let value = arg.get_env().and_then(&value);
        let empty = value.is_some_and(|value| value.to_str().is_some_and(|text| text.trim().is_empty()));
        if empty { arg.env(Resettable::Reset) } else { arg }
    })
}

/// Goes back to the servers that relays name.
const NO_SERVERS: &str = "none";

fn ice_servers(text: &str) -> Result<String, String> {
    if text != NO_SERVERS {
        felund_core::ice::parse_servers(text)?;
    }
    Ok(text.to_owned())
}

fn relay(text: &str) -> Result<String, String> {
    felund_core::relay_api::clean_relay_url(text)
}

/// Options that hold for every command.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Options {
    /// Where keys and messages are kept [default: the platform's data directory].
    #[arg(long, global = true, env = "FELUND_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The name others see; kept once given.
    #[arg(long, global = true, env = "FELUND_NAME", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Relay of new circles: its address, such as the one its web app is opened by.
    #[arg(long, global = true, env = "FELUND_RELAY", value_name = "URL", value_parser = relay)]
    pub(crate) relay: Option<String>,
    /// Where other members may connect directly, such as [::]:4700; invites then name it [default: for clients that
    /// run on, a free port at all addresses, which members in the local network find].
    #[arg(long, global = true, env = "FELUND_LISTEN", value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Neither look for members in the local network nor let them find this device; without --listen nobody can connect to it then.
    #[arg(long, global = true, env = "FELUND_NO_MDNS", value_parser = FalseyValueParser::new())]
    pub(crate) no_mdns: bool,
    /// Do not ask the router to let members through to this device (PCP, NAT-PMP, UPnP).
    #[arg(long, global = true, env = "FELUND_NO_PORT_MAPPING", value_parser = FalseyValueParser::new())]
    pub(crate) no_port_mapping: bool,
    /// Make no direct connections by WebRTC; members then do not learn this device's address that way.
    #[arg(long, global = true, env = "FELUND_NO_WEBRTC", value_parser = FalseyValueParser::new())]
    pub(crate) no_webrtc: bool,
    /// Hide this device's address from members for as long as this runs, as the setting does for good: WebRTC goes through TURN
    /// servers only, and nothing else is dialed, listened at or announced. Relays and TURN servers still see it.
    #[arg(long, global = true, env = "FELUND_HIDE_ADDRESS", value_parser = FalseyValueParser::new())]
    pub(crate) hide_address: bool,
    /// STUN or TURN server to use instead of those that relays name; kept once given, and may be repeated. A TURN server's URL is
    /// followed by user name and credential: "turn:turn.example alice secret"; `none` goes back to the relays'.
    #[arg(long = "ice-server", global = true, env = "FELUND_ICE_SERVERS", hide_env_values = true, value_name = "URL", value_parser = ice_servers)]
    pub(crate) ice_servers: Vec<String>,
    /// Answer in JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Options {
    /// How a session takes part in the network that runs no longer than it must.
    pub(crate) fn setup(&self) -> Setup {
        let Self { listen, no_mdns, no_port_mapping, no_webrtc, hide_address, .. } = *self;
        Setup {
            listen,
            mdns: !no_mdns,
            mapping: !no_port_mapping,
            webrtc: !no_webrtc,
            probes: !no_webrtc,
            hide_address,
            ..Setup::default()
        }
    }

    /// The servers given, as the node keeps them; `None` where none were.
    pub(crate) fn ice_servers(&self) -> Option<String> {
        let given = || self.ice_servers.iter().map(String::as_str).filter(|servers| *servers != NO_SERVERS);
        (!self.ice_servers.is_empty()).then(|| given().collect::<Vec<_>>().join("\n"))
    }
}

/// What can be done without a screen.
#[derive(Debug, Subcommand)]
pub(crate) enum Cmd {
    /// Make a circle and print its invite.
    Create {
        /// The circle's name.
        #[arg(value_name = "NAME")]
        circle_name: String,
    },
    /// Join a circle by an invite.
    Join {
        /// The invite code, or a link that ends in one.
        code: String,
    },
    /// Print an invite.
    Invite {
        /// Needed only when there are several circles.
        circle: Option<String>,
    },
    /// Leave a circle and delete what this device holds of it.
    Leave {
        /// Name or beginning of the id.
        circle: String,
    },
    /// Send a message; returns when it is stored or delivered, and says which.
    Send {
        /// CIRCLE or CIRCLE/CHANNEL.
        target: String,
        /// The message; `-` reads standard input. One that begins with a dash goes that way, or behind `--`: send CIRCLE -- "- one"
        #[arg(required = true, num_args = 1.., value_name = "TEXT")]
        text: Vec<String>,
    },
    /// Print messages as they come in, a JSON line each, until interrupted.
    Tail {
        /// CIRCLE or CIRCLE/CHANNEL; everything without it.
        target: Option<String>,
    },
    /// Print the newest messages, oldest first, a JSON line each.
    History {
        /// CIRCLE or CIRCLE/CHANNEL.
        target: String,
        /// At most this many, 1-10000.
        #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// List members and how they are reached.
    Who {
        /// Needed only when there are several circles.
        circle: Option<String>,
    },
    /// List circles.
    Circles,
    /// List the channels of a circle.
    Channels {
        /// Name or beginning of the id.
        circle: String,
    },
    /// Store and forward for your circles until interrupted: sealed messages of the last 24 hours, at most 500 per channel
    /// and 50 MB in all, which others fetch while their authors are away. Give it an address with --listen.
    Anchor,
    /// Check every connection and say what is wrong and what to do.
    Doctor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_hold_before_and_after_a_command() {
        for line in [
            ["felund", "--data-dir", "d", "--json", "who", "garden"],
            ["felund", "who", "garden", "--json", "--data-dir", "d"],
        ] {
            let cli = Cli::try_parse_from(line).expect("parses");
            assert_eq!(cli.options.data_dir, Some(PathBuf::from("d")));
            assert!(cli.options.json);
        }
    }

    #[test]
    fn a_variable_that_is_empty_is_none() {
        let said = |value: &'static str| {
            without_empty(Cli::command(), move |_| Some(value.into()))
                .get_arguments()
                .filter(|arg| arg.get_env().is_some())
                .count()
        };
        assert_eq!((said(""), said(" ")), (0, 0));
        assert!(said("x") > 8);
    }

    #[test]
    fn the_help_tells_no_secret() {
        let command = Cli::command();
        let servers = command.get_arguments().find(|arg| arg.get_id() == "ice_servers").expect("the option");
        assert!(servers.is_hide_env_values_set(), "a TURN server's password is in it");
    }

    #[test]
    fn a_relay_that_can_be_none_is_wrong_usage_whatever_the_command() {
        for relay in ["ftp://relay.example", "x"] {
            assert!(Cli::try_parse_from(["felund", "--relay", relay, "circles"]).is_err(), "{relay}");
        }
        let given = Cli::try_parse_from(["felund", "--relay", "https://relay.example/", "circles"]);
        assert!(given.is_ok_and(|given| given.options.relay.is_some()));
    }

    #[test]
    fn the_circles_name_is_not_the_users() {
        let cli =
            Cli::try_parse_from(["felund", "--name", "alice", "create", "garden club"]).expect("parses");
        assert_eq!(cli.options.name.as_deref(), Some("alice"));
        assert!(matches!(cli.command, Some(Cmd::Create { circle_name }) if circle_name == "garden club"));
    }

    #[test]
    fn ice_servers_may_be_repeated_and_faults_are_named() {
        let line = [
            "felund",
            "--ice-server",
            "stun:a.example",
            "who",
            "--ice-server",
            "turn:t.example alice secret",
        ];
        let given = Cli::try_parse_from(line).expect("parses").options.ice_servers();
        // Clap takes what follows the command alone, where both are given.
        assert!(given.is_some_and(|given| given.ends_with("turn:t.example alice secret")));
        let line = ["felund", "--ice-server", "stun:a.example", "--ice-server", "stun:b.example", "who"];
        let given = Cli::try_parse_from(line).expect("parses").options.ice_servers();
        assert_eq!(given.as_deref(), Some("stun:a.example\nstun:b.example"));
        let none =
            Cli::try_parse_from(["felund", "--ice-server", "none"]).expect("parses").options.ice_servers();
        assert_eq!((none.as_deref(), Options::default().ice_servers()), (Some(""), None));
        let error = Cli::try_parse_from(["felund", "--ice-server", "turn:t.example"])
            .expect_err("lacks a credential");
        assert!(error.to_string().contains("“turn:t.example” lacks a user name"), "{error}");
    }

    #[test]
    fn a_message_that_begins_with_a_dash_stands_behind_two() {
        let cli = Cli::try_parse_from(["felund", "send", "garden", "--", "- [ ] water the tulips"]);
        let command = cli.expect("parses").command;
        assert!(matches!(command, Some(Cmd::Send { text, .. }) if text == ["- [ ] water the tulips"]));
        let refused = Cli::try_parse_from(["felund", "send", "garden", "- [ ] water the tulips"]);
        assert!(refused.is_err_and(|error| error.to_string().contains("--")));
    }

    #[test]
    fn a_dash_is_a_text() {
        let cli = Cli::try_parse_from(["felund", "send", "garden/seeds", "-"]).expect("parses");
        assert!(matches!(cli.command, Some(Cmd::Send { text, .. }) if text == ["-"]));
    }
}
