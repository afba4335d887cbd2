//! What an operator can set: each option is a flag and an environment variable of the same name.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    num::ParseIntError,
    path::PathBuf,
    str::FromStr,
};

use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, builder::Resettable};
use felund_core::relay_api::{ServerUri, clean_relay_url};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Felund's blind relay: stores and forwards sealed envelopes it cannot open, and serves the web app.
#[derive(Debug, Clone, Parser)]
#[command(name = "felund-relay", version, about, max_term_width = 100)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one and prints it.
    #[arg(long, env = "FELUND_RELAY_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Folder of the database; made when missing. One relay per folder.
    #[arg(long, env = "FELUND_RELAY_DATA_DIR", default_value = "felund-relay-data")]
    pub data_dir: PathBuf,

    /// The address people reach this relay by, such as `https://relay.example`; used for the WebSocket's URL.
    #[arg(long, env = "FELUND_RELAY_PUBLIC_URL", value_parser = clean_relay_url)]
    pub public_url: Option<String>,

    /// Serve the web app from this folder instead of the one built into the program.
    #[arg(long, env = "FELUND_RELAY_WEB_DIR")]
    pub web_dir: Option<PathBuf>,

    /// Days a stored message is kept.
    #[arg(long, env = "FELUND_RELAY_MESSAGE_TTL", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub message_ttl: u32,

    /// Most messages stored per circle, at least 1.
    #[arg(long, env = "FELUND_RELAY_CIRCLE_MESSAGES", default_value_t = 200_000, value_parser = at_least_one::<u64>)]
    pub circle_messages: u64,

    /// Most bytes stored per circle, at least 1.
    #[arg(long, env = "FELUND_RELAY_CIRCLE_BYTES", default_value_t = 512 * 1024 * 1024, value_parser = at_least_one::<u64>)]
    pub circle_bytes: u64,

    /// Most circles registered here, at least 1.
    #[arg(long, env = "FELUND_RELAY_MAX_CIRCLES", default_value_t = 100_000, value_parser = at_least_one::<usize>)]
    pub max_circles: usize,

    /// Most connections held at a time, at least 1.
    #[arg(long, env = "FELUND_RELAY_MAX_CONNECTIONS", default_value_t = 16_384, value_parser = at_least_one::<usize>)]
    pub max_connections: usize,

    /// Most connections of one address at a time (an IPv6 /64 counts as one, loopback not at all); 0 is no limit, as it is with
    /// --trust-forwarded-for.
    #[arg(long, env = "FELUND_RELAY_CONNECTIONS_PER_ADDRESS", default_value_t = 1_024)]
    pub connections_per_address: usize,

    /// Requests per second and address (an IPv6 /64 counts as one); 0 is no limit.
    #[arg(long, env = "FELUND_RELAY_RATE_ADDRESS", default_value_t = 100)]
    pub rate_address: u32,

    /// Requests and envelopes per second and authenticated node, at once ten times as many and at least 256; 0 is no limit.
    #[arg(long, env = "FELUND_RELAY_RATE_NODE", default_value_t = 200)]
    pub rate_node: u32,

    /// Signaling messages per second and authenticated node; 0 is no limit.
    #[arg(long, env = "FELUND_RELAY_RATE_SIGNAL", default_value_t = 20)]
    pub rate_signal: u32,

    /// Seconds a socket that takes nothing may hold what is queued for it before it is dropped.
    #[arg(long, env = "FELUND_RELAY_STALL_TIMEOUT", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub stall_timeout: u64,

    /// Be a STUN server, too, at this address and UDP port, such as 0.0.0.0:3478; members are told of it at the host by which
    /// they reach the relay.
    #[arg(long, env = "FELUND_RELAY_STUN_LISTEN")]
    pub stun_listen: Option<SocketAddr>,

    /// More STUN servers for /v1/ice, such as stun:stun.example:3478; repeat or separate by commas.
    #[arg(long, env = "FELUND_RELAY_STUN", value_delimiter = ',', value_parser = stun_server)]
    pub stun: Vec<String>,

    /// TURN servers for /v1/ice, such as turn:turn.example:3478; repeat or separate by commas.
    #[arg(long, env = "FELUND_RELAY_TURN", value_delimiter = ',', value_parser = turn_server, requires = "turn_secret")]
    pub turn: Vec<String>,

    /// The secret shared with the TURN servers (coturn: use-auth-secret, static-auth-secret).
    #[arg(long, env = "FELUND_RELAY_TURN_SECRET", hide_env_values = true)]
    pub turn_secret: Option<TurnSecret>,

    /// Seconds a TURN credential holds.
    #[arg(long, env = "FELUND_RELAY_TURN_TTL", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(60..=86_400))]
    pub turn_ttl: u64,

    /// Serve /v1/metrics; on by default only on a loopback address that no proxy serves.
    #[arg(long, env = "FELUND_RELAY_METRICS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub metrics: Option<bool>,

    /// Take the caller's address from the last X-Forwarded-For entry; only behind a reverse proxy that sets it.
    #[arg(long, env = "FELUND_RELAY_TRUST_FORWARDED_FOR", action = ArgAction::Set, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    pub trust_forwarded_for: bool,

    /// What to log, such as info, warn or felund_relay=debug.
    #[arg(long, env = "FELUND_RELAY_LOG", default_value = "info", value_parser = log_filter)]
    pub log: String,
}

/// A secret given on the command line or in the environment; never printed.
#[derive(Clone)]
pub struct TurnSecret(String);

impl TurnSecret {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for TurnSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TurnSecret({} bytes)", self.0.len())
    }
}

impl std::str::FromStr for TurnSecret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            Err("with an empty secret anybody could sign credentials")
        } else {
            Ok(Self(text.into()))
        }
    }
}

/// A limit that there has to be: 0, which switches others off, would refuse everything.
fn at_least_one<N: FromStr<Err = ParseIntError> + Default + PartialEq>(text: &str) -> Result<N, String> {
    let limit: N = text.parse().map_err(|error: ParseIntError| error.to_string())?;
    if limit == N::default() {
        Err("it is at least 1; to have as good as no limit, give a large number".to_owned())
    } else {
        Ok(limit)
    }
}

/// A mistyped level would be the name of a module that does not exist, and nothing at all logged.
fn log_filter(text: &str) -> Result<String, String> {
    for part in text.split(',') {
        let target = part.split(['=', '[']).next().unwrap_or(part);
        if target == part && part.parse::<LevelFilter>().is_err() {
            return Err(format!("{part:?} is no level: these are error, warn, info, debug, trace and off"));
        }
        if target.contains('-') {
            return Err(format!("modules are written with _, as in felund_relay=debug, not {target:?}"));
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn stun_server(text: &str) -> Result<String, String> {
    server(text, false)
}

fn turn_server(text: &str) -> Result<String, String> {
    server(text, true)
}

fn server(text: &str, turn: bool) -> Result<String, String> {
    let text = text.trim();
    match ServerUri::parse(text)?.is_turn() {
        is_turn if is_turn == turn => Ok(text.to_owned()),
        true => Err("it is a TURN server's, which belongs to --turn".to_owned()),
        false => Err("it is a STUN server's, which belongs to --stun".to_owned()),
    }
}

/// Leaves out variables that say nothing: an empty one is how a shell, or a line `NAME=` in a file, says that there is none.
fn without_empty(command: clap::Command, value: impl Fn(&OsStr) -> Option<OsString>) -> clap::Command {
    command.mut_args(|arg| {
        let value = arg.get_env().and_then(&value);
        let empty = value.is_some_and(|value| value.to_str().is_some_and(|text| text.trim().is_empty()));
        if empty { arg.env(Resettable::Reset) } else { arg }
    })
}

impl Config {
    /// What the process was started with; it ends here where that makes no sense.
    #[must_use]
    pub fn given() -> Self {
        let command = without_empty(Self::command(), |name| std::env::var_os(name));
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Whether `/v1/metrics` answers.
    pub(crate) fn metrics_enabled(&self) -> bool {
        let local = self.listen.ip().is_loopback() && self.public_url.is_none() && !self.trust_forwarded_for;
        self.metrics.unwrap_or(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from([&["felund-relay"], options].concat())
    }

    #[test]
    fn a_variable_that_is_empty_is_none() {
        let left = |value: &'static str| {
            let command = without_empty(Config::command(), move |_| Some(value.into()));
            command.get_arguments().filter(|arg| arg.get_env().is_some()).count()
        };
        assert_eq!((left(""), left(" ")), (0, 0));
        assert!(left("x") > 15);
    }

    #[test]
    fn addresses_that_nobody_could_use_are_refused() {
        for options in [
            ["--public-url", "nonsense"],
            ["--public-url", "chat.example"],
            ["--public-url", "wss://chat.example"],
            ["--stun", "chat.example:3478"],
            ["--stun", "turn:chat.example"],
            ["--stun", "stun:a.example,stun://b.example"],
        ] {
            assert!(parse(&options).is_err(), "{options:?}");
        }
        for turn in ["chat.example", "stun:chat.example", "turn:chat.example?transport=sctp"] {
            assert!(parse(&["--turn", turn, "--turn-secret", "x"]).is_err(), "{turn}");
        }
    }

    #[test]
    fn what_would_log_nothing_or_sign_with_nothing_is_refused() {
        for filter in ["warning", "verbose", "info,debg", "felund-relay=debug", "felund_relay=loud"] {
            assert!(parse(&["--log", filter]).is_err(), "{filter:?}");
        }
        for filter in ["off", "WARN", "info,felund_relay=debug", "warn,felund_relay::store=trace"] {
            assert!(parse(&["--log", filter]).is_ok(), "{filter:?}");
        }
        assert!(parse(&["--turn", "turn:chat.example", "--turn-secret", ""]).is_err());
    }

    #[test]
    fn addresses_are_taken_as_the_handbook_gives_them() {
        let config = parse(&[
            "--public-url",
            "https://chat.example/",
            "--stun",
            "stun:chat.example:3478, stun:[2001:db8::1]",
            "--turn",
            "turn:chat.example:3478?transport=udp,turns:chat.example:5349?transport=tcp",
            "--turn-secret",
            "x",
        ])
        .unwrap();
        assert_eq!(config.public_url.as_deref(), Some("https://chat.example"));
        assert_eq!(config.stun, ["stun:chat.example:3478", "stun:[2001:db8::1]"]);
        let turn = ["turn:chat.example:3478?transport=udp", "turns:chat.example:5349?transport=tcp"];
        assert_eq!(config.turn, turn);
    }
}
