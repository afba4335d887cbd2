//! Which STUN and TURN servers are used: the user's own where there are any, else those that relays name, as long as
//! their credentials hold.

use super::ServerUri;
use crate::{
    config::{MAX_ICE_TEXT, MAX_ICE_URLS, MAX_URL_LEN},
    ids::CircleId,
    relay_api::IceServer,
};

/// Longest user name (RFC 8489 §14.3) and credential taken, in bytes.
const MAX_CREDENTIAL: usize = 508;
/// Credentials that end sooner than this are not used for anything new, in milliseconds.
const MARGIN_MS: u64 = 5_000;

/// Reads servers as people write them: URLs one after the other, that of a TURN server followed by user name and
/// credential, with any white space between.
///
/// # Errors
/// What is wrong with which, for people.
pub fn parse_servers(text: &str) -> Result<Vec<IceServer>, String> {
    let mut servers = Vec::new();
    if text.len() > MAX_ICE_TEXT {
        return Err(format!("The list of servers is longer than {MAX_ICE_TEXT} bytes."));
    }
    let mut words = text.split_whitespace();
    while let Some(url) = words.next() {
        let uri = ServerUri::parse(url)?;
        let mut credential = |what: &str| match words.next() {
            Some(word) if word.len() > MAX_CREDENTIAL => {
                Err(format!("The {what} of “{url}” is longer than {MAX_CREDENTIAL} bytes."))
            }
            Some(word) if ServerUri::parse(word).is_err() => Ok(word.to_owned()),
            _ => Err(format!(
                "“{url}” lacks a {what}: a TURN server's URL is followed by user name and credential."
            )),
        };
        let (username, credential) = if uri.is_turn() {
            (Some(credential("user name")?), Some(credential("credential")?))
        } else {
            (None, None)
        };
        servers.push(IceServer { urls: vec![url.to_owned()], username, credential });
        if servers.len() > MAX_ICE_URLS {
            return Err(format!(
                "There are more than {MAX_ICE_URLS} servers; with so many, connecting takes longer."
            ));
        }
    }
    Ok(servers)
}

/// The inverse of [`parse_servers`], a server a line.
#[must_use]
pub fn servers_text(servers: &[IceServer]) -> String {
    let line = |server: &IceServer| {
        let words = server.urls.iter().chain(&server.username).chain(&server.credential);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    servers.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What one relay named, and until when it holds.
#[derive(Debug)]
struct Named {
    relay: String,
    servers: Vec<IceServer>,
    /// Unix milliseconds.
    until: u64,
}

/// All servers known.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    /// Whether the platform speaks to servers over TCP and TLS as well.
    streams: bool,
    own: Vec<IceServer>,
    /// A handful at most: one for each relay.
    by_relay: Vec<Named>,
    /// The relay of each circle.
    homes: Vec<(CircleId, String)>,
}

impl Servers {
    pub(crate) fn new(streams: bool) -> Self {
        Self { streams, ..Self::default() }
    }

    /// The user's own, instead of all others unless there are none.
    pub(crate) fn set_own(&mut self, servers: Vec<IceServer>) {
        self.own = servers;
    }

    pub(crate) fn own(&self) -> &[IceServer] {
        &self.own
    }

    /// What a relay names, good for so many seconds from now. What cannot be used is left out: one bad URL would keep a
    /// browser from making any connection.
    pub(crate) fn named(&mut self, relay: &str, servers: Vec<IceServer>, ttl_s: u64, wall: u64) {
        let bounded = |word: &Option<String>| word.as_ref().is_none_or(|word| word.len() <= MAX_CREDENTIAL);
        let usable = |server: IceServer| {
            let complete = server.username.is_some() && server.credential.is_some();
            let is_good = |url: &String| {
                url.len() <= MAX_URL_LEN && ServerUri::parse(url).is_ok_and(|uri| complete || !uri.is_turn())
            };
            let urls: Vec<String> = server.urls.into_iter().filter(is_good).take(MAX_ICE_URLS).collect();
            let keep = !urls.is_empty() && bounded(&server.username) && bounded(&server.credential);
            keep.then_some(IceServer { urls, ..server })
        };
        let servers = servers.into_iter().filter_map(usable).take(MAX_ICE_URLS).collect();
        let until = wall.saturating_add(ttl_s.saturating_mul(1_000));
        self.forget(relay);
        self.by_relay.push(Named { relay: relay.to_owned(), servers, until });
    }

    /// No circle is at a relay any more.
    pub(crate) fn forget(&mut self, relay: &str) {
        self.by_relay.retain(|named| named.relay != relay);
    }

    /// Where circles are.
    pub(crate) fn set_homes(&mut self, homes: Vec<(CircleId, String)>) {
        self.homes = homes;
    }

    /// Servers for a connection to a member of a circle: those of the circle's relay first, then others', each URL
    /// once, and none whose credentials are over.
    pub(crate) fn for_circle(&self, circle: Option<CircleId>, wall: u64) -> Vec<IceServer> {
        let home = self.homes.iter().find(|(of, _)| Some(*of) == circle).map(|(_, relay)| relay);
        let is_home = |named: &&Named| Some(&named.relay) == home;
        let first = self.by_relay.iter().filter(is_home);
        let others = self.by_relay.iter().filter(|named| !is_home(named));
        let valid = first.chain(others).filter(|named| named.until > wall + MARGIN_MS);
        let (mut seen, mut servers) = (Vec::new(), Vec::new());
        let named: Vec<&IceServer> = if self.own.is_empty() {
            valid.flat_map(|named| &named.servers).collect()
        } else {
            self.own.iter().collect()
        };
        for server in named {
            let mut urls = Vec::new();
            for url in &server.urls {
                let Ok(uri) = ServerUri::parse(url) else { continue };
                if seen.len() < MAX_ICE_URLS && (uri.udp || self.streams) && !seen.contains(&uri) {
                    seen.push(uri);
                    urls.push(url.clone());
                }
            }
            if !urls.is_empty() {
                servers.push(IceServer { urls, ..server.clone() });
            }
        }
        servers
    }

    /// URLs that this platform cannot use.
    pub(crate) fn unusable(&self) -> impl Iterator<Item = &String> {
        let named = self.by_relay.iter().flat_map(|named| &named.servers).filter(|_| self.own.is_empty());
        let urls = self.own.iter().chain(named).flat_map(|server| &server.urls);
        urls.filter(|url| !self.streams && ServerUri::parse(url).is_ok_and(|uri| !uri.udp))
    }
}

/// Whether there is a TURN server among them.
pub(crate) fn has_turn(servers: &[IceServer]) -> bool {
    servers.iter().flat_map(|server| &server.urls).any(|url| ServerUri::names_turn(url))
}

/// Those of them that are no TURN servers.
pub(crate) fn without_turn(mut servers: Vec<IceServer>) -> Vec<IceServer> {
    for server in &mut servers {
        server.urls.retain(|url| !ServerUri::names_turn(url));
    }
    servers.retain(|server| !server.urls.is_empty());
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stun(url: &str) -> IceServer {
        IceServer { urls: vec![url.into()], username: None, credential: None }
    }

    fn turn(url: &str) -> IceServer {
        IceServer { username: Some("1:a".into()), credential: Some("x".into()), ..stun(url) }
    }

    fn urls(servers: &[IceServer]) -> Vec<&str> {
        servers.iter().flat_map(|server| &server.urls).map(String::as_str).collect()
    }

    #[test]
    fn servers_are_read_as_they_are_written() {
        let text = "stun:a.example\nturn:t.example:80?transport=tcp alice s3cret:of/alice=";
        let servers = parse_servers(text).expect("good");
        assert_eq!(servers_text(&servers), text);
        assert_eq!(servers[1].credential.as_deref(), Some("s3cret:of/alice="));
        assert_eq!(parse_servers(" \n "), Ok(Vec::new()));
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        let many = "stun:a.example ".repeat(MAX_ICE_URLS + 1);
        let long = format!("turn:t.example alice {}", "x".repeat(MAX_CREDENTIAL + 1));
        let huge = " ".repeat(MAX_ICE_TEXT + 1);
        for (text, what) in [
            ("turn:t.example", "“turn:t.example” lacks a user name"),
            ("turn:t.example alice", "lacks a credential"),
            ("turn:t.example alice stun:a.example", "lacks a credential"),
            ("stun:a.example alice", "“alice” does not begin with"),
            ("http://a.example", "“http://a.example” does not begin with"),
            (&many, "more than"),
            (&long, "The credential of “turn:t.example” is longer"),
            (&huge, "longer than"),
        ] {
            let error = parse_servers(text).expect_err(text);
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_circle_gets_its_relays_servers_first_and_each_url_once() {
        let mut servers = Servers::new(true);
        let circle = CircleId([1; 16]);
        servers.named("https://a.example", vec![stun("stun:s.example"), turn("turn:a.example")], 3_600, 0);
        servers.named(
            "https://b.example",
            vec![stun("stun:s.example:3478"), turn("turn:b.example")],
            3_600,
            0,
        );
        servers.set_homes(vec![(circle, "https://b.example".into())]);
        let expected = ["stun:s.example:3478", "turn:b.example", "turn:a.example"];
        assert_eq!(urls(&servers.for_circle(Some(circle), 0)), expected);
        servers.forget("https://b.example");
        assert_eq!(urls(&servers.for_circle(Some(circle), 0)), ["stun:s.example", "turn:a.example"]);
    }

    #[test]
    fn credentials_that_are_over_are_not_used() {
        let mut servers = Servers::new(true);
        servers.named("https://a.example", vec![turn("turn:a.example")], 60, 1_000_000);
        assert!(has_turn(&servers.for_circle(None, 1_050_000)));
        assert!(servers.for_circle(None, 1_060_000).is_empty());
    }

    #[test]
    fn own_servers_replace_those_of_relays() {
        let mut servers = Servers::new(true);
        servers.named("https://a.example", vec![stun("stun:a.example")], 3_600, 0);
        servers.set_own(vec![turn("turn:mine.example")]);
        assert_eq!(urls(&servers.for_circle(None, 0)), ["turn:mine.example"]);
        servers.set_own(Vec::new());
        assert_eq!(urls(&servers.for_circle(None, 0)), ["stun:a.example"]);
    }

    #[test]
    fn what_a_platform_or_anybody_cannot_use_is_left_out() {
        let mut servers = Servers::new(false);
        let named = vec![
            IceServer { urls: vec!["turns:t.example".into(), "turn:t.example".into()], ..turn("") },
            stun("turn:without.credential"),
            stun("https://nonsense.example"),
            IceServer { username: Some("x".repeat(600)), ..turn("turn:long.example") },
        ];
        servers.named("https://a.example", named, 3_600, 0);
        assert_eq!(urls(&servers.for_circle(None, 0)), ["turn:t.example"]);
        assert_eq!(servers.unusable().collect::<Vec<_>>(), ["turns:t.example"]);
        let crowd: Vec<IceServer> = (0..100).map(|n| stun(&format!("stun:{n}.example"))).collect();
        servers.named("https://a.example", crowd, 3_600, 0);
        assert_eq!(urls(&servers.for_circle(None, 0)).len(), MAX_ICE_URLS);
    }
}
