//! URIs of STUN and TURN servers (RFC 7064, RFC 7065).

use core::net::Ipv6Addr;

use crate::config::MAX_URL_LEN;

/// What a server is for, and whether its transport is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// STUN over UDP.
    Stun,
    /// STUN over TLS.
    Stuns,
    /// TURN over UDP or TCP.
    Turn,
    /// TURN over TLS.
    Turns,
}

/// A URI of a STUN or TURN server, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUri {
    /// Its scheme.
    pub scheme: Scheme,
    /// A name or an address; of IPv6 without its brackets.
    pub host: String,
    /// The one given, or the scheme's: 3478, secured 5349.
    pub port: u16,
    /// Between here and the server: UDP, else TCP or TLS over it.
    pub udp: bool,
}

impl ServerUri {
    /// Reads a URI.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = |what: &str| Err(format!("“{}” {what}", text.chars().take(80).collect::<String>()));
        if text.len() > MAX_URL_LEN {
            return fault("is too long for the address of a server");
        }
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "stun" => Scheme::Stun,
            "stuns" => Scheme::Stuns,
            "turn" => Scheme::Turn,
            "turns" => Scheme::Turns,
            _ => return fault("does not begin with stun:, stuns:, turn: or turns:"),
        };
        let (authority, query) = match rest.split_once('?') {
            None => (rest, None),
            Some((authority, query)) => (authority, Some(query)),
        };
        let secured = matches!(scheme, Scheme::Stuns | Scheme::Turns);
        let udp = match (scheme, query) {
            (Scheme::Stun | Scheme::Stuns, Some(_)) => {
                return fault("has a “?”: only addresses of TURN servers name a transport");
            }
            (_, None) => !secured,
            (_, Some("transport=udp")) if secured => {
                return fault(
                    "asks for TURN over DTLS, which browsers do not speak; leave the transport out",
                );
            }
            (_, Some("transport=udp")) => true,
            (_, Some("transport=tcp")) => false,
            _ => return fault("has something else than transport=udp or transport=tcp after its “?”"),
        };
        let (host, port) = if let Some(literal) = authority.strip_prefix('[') {
            let Some((host, port)) = literal.split_once(']') else {
                return fault("has no “]” after its IPv6 address");
            };
            if host.parse::<Ipv6Addr>().is_err() {
                return fault("has something else than an IPv6 address between “[” and “]”");
            }
            match port.strip_prefix(':') {
                None if port.is_empty() => (host, None),
                Some(port) => (host, Some(port)),
                None => return fault("has something else than a port after “]”"),
            }
        } else {
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() {
            return fault("names no host, as in stun:stun.example:3478");
        }
        if !authority.starts_with('[') && !host.chars().all(is_name) {
            return fault(
                "names a host with characters that no host has; it is scheme:host:port, without “//” and “@”",
            );
        }
        let port = match port.map(str::parse) {
            None => {
                if secured {
                    5349
                } else {
                    3478
                }
            }
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return fault("has a port that is not a number from 1 to 65535"),
        };
        Ok(Self { scheme, host: host.to_owned(), port, udp })
    }

    /// Whether it is a TURN server's.
    #[must_use]
    pub const fn is_turn(&self) -> bool {
        matches!(self.scheme, Scheme::Turn | Scheme::Turns)
    }

    /// Whether a text is the URI of a TURN server.
    #[must_use]
    pub fn names_turn(text: &str) -> bool {
        Self::parse(text).is_ok_and(|uri| uri.is_turn())
    }

    /// `host:port`, an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_as_the_rfcs_write_them() {
        for (text, scheme, authority, udp) in [
            ("stun:stun.example", Scheme::Stun, "stun.example:3478", true),
            ("stun:192.0.2.1:19302", Scheme::Stun, "192.0.2.1:19302", true),
            ("stuns:stun.example", Scheme::Stuns, "stun.example:5349", false),
            ("turn:turn.example?transport=udp", Scheme::Turn, "turn.example:3478", true),
            ("turn:turn.example:80?transport=tcp", Scheme::Turn, "turn.example:80", false),
            ("TURNS:turn.example:443?transport=tcp", Scheme::Turns, "turn.example:443", false),
            ("turns:[2001:db8::1]", Scheme::Turns, "[2001:db8::1]:5349", false),
            ("stun:[::1]:3479", Scheme::Stun, "[::1]:3479", true),
        ] {
            let uri = ServerUri::parse(text).expect(text);
            assert_eq!((uri.scheme, uri.authority().as_str(), uri.udp), (scheme, authority, udp), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("stun:{}", "a".repeat(MAX_URL_LEN));
        for (text, what) in [
            ("https://stun.example", "does not begin with"),
            ("stun.example", "does not begin with"),
            ("stun:", "names no host"),
            ("turn:?transport=udp", "names no host"),
            ("stun://stun.example", "characters that no host has"),
            ("turn:user@turn.example", "characters that no host has"),
            ("stun:stun.example:0", "a port"),
            ("stun:stun.example:65536", "a port"),
            ("stun:2001:db8::1", "a port"),
            ("stun:[2001:db8::1", "no “]”"),
            ("stun:[stun.example]", "an IPv6 address"),
            ("stun:[::1]3478", "after “]”"),
            ("stun:stun.example?transport=udp", "has a “?”"),
            ("turn:turn.example?transport=sctp", "after its “?”"),
            ("turns:turn.example?transport=udp", "DTLS"),
            (&long, "too long"),
        ] {
            let error = ServerUri::parse(text).expect_err(text);
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
