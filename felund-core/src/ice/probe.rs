//! A check of STUN and TURN, run on demand: what a platform is asked, what it answers, and what follows from that about
//! the NAT in between (RFC 4787 §4.1 and §5).

use super::ServerUri;
use crate::{io::CandidateKind, relay_api::IceServer};

/// What to check: every server by each of its addresses, in at most [`crate::config::ICE_PROBE_MS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceProbe {
    /// Each with exactly one URL that the platform can use, at most [`crate::config::MAX_ICE_URLS`].
    pub servers: Vec<IceServer>,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceReport {
    /// Every address of this device that was found.
    pub found: Vec<Gathered>,
    /// Servers that did not help, by URL, and why.
    pub failed: Vec<(String, String)>,
    /// What the NAT lets in, where a server could test it (RFC 5780).
    pub filtering: Option<Filtering>,
    /// Everything was answered in time.
    pub complete: bool,
    /// The platform leaves out an address that another server has shown, as browsers do (RFC 8445 §5.1.3).
    pub distinct: bool,
}

/// One address of this device, and who showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathered {
    /// How it was found.
    pub kind: CandidateKind,
    /// `host:port`.
    pub address: String,
    /// Where it was asked from, as `host:port`, if the platform says so.
    pub base: Option<String>,
    /// The URL of the server.
    pub url: Option<String>,
    /// Where that server answered, as `host:port`.
    pub server: Option<String>,
    /// How long that took, in milliseconds.
    pub took_ms: Option<u32>,
}

/// Which address a NAT shows (RFC 4787 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// The device's own: there is no NAT.
    None,
    /// The same to everyone.
    EndpointIndependent,
    /// Another one to each address, or to each address and port.
    AddressDependent,
}

impl Mapping {
    /// For programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
        }
    }
}

/// What a NAT lets in (RFC 4787 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// Everything that is sent to an address it has shown.
    EndpointIndependent,
    /// What comes from addresses that were sent to.
    AddressDependent,
    /// What comes from addresses and ports that were sent to.
    AddressAndPortDependent,
}

impl Filtering {
    /// For programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

/// What a server has shown, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// An address.
    Address(&'a Gathered),
    /// Why there is none.
    Failed(&'a str),
    /// It is not known which server showed what, or none within the time.
    Silent,
}

/// What was found of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerReport<'a> {
    /// Its URL.
    pub url: &'a str,
    /// Whether it is a TURN server.
    pub turn: bool,
    /// What it has shown.
    pub shown: Shown<'a>,
}

impl IceReport {
    /// The kinds of candidates that this device has.
    #[must_use]
    pub fn kinds(&self) -> Vec<CandidateKind> {
        let all = [CandidateKind::Host, CandidateKind::Srflx, CandidateKind::Relay];
        let has = |kind: &CandidateKind| {
            self.found.iter().any(|found| found.kind == *kind && found.base.as_ref() != Some(&found.address))
        };
        all.into_iter().filter(has).collect()
    }

    /// Addresses that NATs have shown.
    fn mapped(&self) -> impl Iterator<Item = &Gathered> {
        self.found.iter().filter(|found| found.kind == CandidateKind::Srflx)
    }

    /// An address that NATs have shown.
    #[must_use]
    pub fn any_mapped(&self) -> Option<&str> {
        self.mapped().next().map(|found| &*found.address)
    }

    /// What was found of each server asked.
    pub fn servers<'a>(&'a self, asked: &'a IceProbe) -> impl Iterator<Item = ServerReport<'a>> {
        asked.servers.iter().flat_map(|server| &server.urls).map(|url| {
            let wanted = ServerUri::parse(url).ok();
            let is_it = |of: &str| of == url || ServerUri::parse(of).ok() == wanted;
            let turn = wanted.as_ref().is_some_and(ServerUri::is_turn);
            let kind = if turn { CandidateKind::Relay } else { CandidateKind::Srflx };
            let of_kind = || self.found.iter().filter(|found| found.kind == kind);
            let named = of_kind().find(|found| found.url.as_deref().is_some_and(is_it));
            let failed = self.failed.iter().find(|(of, _)| is_it(of)).map(|(_, why)| why.as_str());
            let shown = match (named, failed) {
                (Some(found), _) => Shown::Address(found),
                (None, Some(why)) => Shown::Failed(why),
                (None, None) => Shown::Silent,
            };
            ServerReport { url, turn, shown }
        })
    }

    /// Which addresses the NAT shows; `None` when too few servers answered to tell.
    #[must_use]
    pub fn mapping(&self, asked: &IceProbe) -> Option<Mapping> {
        // A pair of views of one socket, by two servers.
        let pairs = || {
            let views = self.mapped().enumerate();
            views.flat_map(|(at, one)| self.mapped().skip(at + 1).map(move |other| (one, other)))
        };
        let mut same = pairs().filter(|(one, other)| is_same_socket(one, other));
        if same.any(|(one, other)| one.address != other.address) {
            return Some(Mapping::AddressDependent);
        }
        if self.mapped().any(|found| found.base.as_ref() == Some(&found.address)) {
            return Some(Mapping::None);
        }
        // Where nothing is told twice, silence of a second server that did not fail means the same address again.
        let mut hosts: Vec<ServerUri> = Vec::new();
        for uri in
            asked.servers.iter().flat_map(|server| &server.urls).filter_map(|url| ServerUri::parse(url).ok())
        {
            if uri.udp && hosts.iter().all(|known| (&known.host, known.port) != (&uri.host, uri.port)) {
                hosts.push(uri);
            }
        }
        let all_answered = self.distinct && self.complete && self.failed.is_empty();
        if all_answered && !hosts.is_empty() && self.any_mapped().is_none() {
            let has_host = self.found.iter().any(|found| found.kind == CandidateKind::Host);
            return has_host.then_some(Mapping::None);
        }
        let seen_by = |found: &Gathered| found.server.clone().or_else(|| found.url.clone());
        let told = pairs().any(|(one, other)| is_same_socket(one, other) && seen_by(one) != seen_by(other));
        (told || all_answered && hosts.len() > 1).then_some(Mapping::EndpointIndependent)
    }
}

/// Whether two views are of one socket. Browsers hide from where they asked, and may have asked from several networks: only
/// what has come from the same router is then compared.
fn is_same_socket(one: &Gathered, other: &Gathered) -> bool {
    let router = |found: &Gathered| found.address.rfind(':').map(|end| found.address[..end].to_owned());
    let hidden = one.base.as_ref().is_some_and(|base| base.ends_with(":0"));
    one.base.is_some() && one.base == other.base && (!hidden || router(one) == router(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(urls: &[&str]) -> IceProbe {
        let server = |url: &&str| IceServer { urls: vec![(*url).into()], username: None, credential: None };
        IceProbe { servers: urls.iter().map(server).collect() }
    }

    fn srflx(base: &str, address: &str, url: &str) -> Gathered {
        Gathered {
            kind: CandidateKind::Srflx,
            address: address.into(),
            base: Some(base.into()),
            url: Some(url.into()),
            server: None,
            took_ms: Some(20),
        }
    }

    fn report(found: Vec<Gathered>) -> IceReport {
        IceReport { found, complete: true, ..IceReport::default() }
    }

    const BASE: &str = "192.168.1.2:4000";
    const TWO: [&str; 2] = ["stun:a.example", "stun:b.example"];

    #[test]
    fn mapping_is_what_two_servers_saw_of_one_socket() {
        let seen = |first: &str, second: &str| {
            let found = vec![srflx(BASE, first, TWO[0]), srflx(BASE, second, TWO[1])];
            report(found).mapping(&asked(&TWO))
        };
        assert_eq!(seen("203.0.113.7:4000", "203.0.113.7:4000"), Some(Mapping::EndpointIndependent));
        assert_eq!(seen("203.0.113.7:4000", "203.0.113.7:4001"), Some(Mapping::AddressDependent));
        assert_eq!(seen(BASE, BASE), Some(Mapping::None));
    }

    #[test]
    fn one_server_does_not_tell_the_mapping_and_other_sockets_are_not_compared() {
        let one = report(vec![srflx(BASE, "203.0.113.7:4000", TWO[0])]);
        assert_eq!(one.mapping(&asked(&TWO)), None);
        let other = srflx("192.168.1.2:4001", "203.0.113.7:4001", TWO[1]);
        let two = report(vec![srflx(BASE, "203.0.113.7:4000", TWO[0]), other]);
        assert_eq!(two.mapping(&asked(&TWO)), None);
        assert_eq!(report(Vec::new()).mapping(&asked(&TWO)), None);
    }

    #[test]
    fn two_places_of_one_server_tell_the_mapping_as_well() {
        let place = |server: &str| Gathered {
            server: Some(server.into()),
            ..srflx(BASE, "203.0.113.7:4000", TWO[0])
        };
        let two = report(vec![place("198.51.100.1:3478"), place("198.51.100.2:3479")]);
        assert_eq!(two.mapping(&asked(&TWO[..1])), Some(Mapping::EndpointIndependent));
    }

    #[test]
    fn a_platform_that_tells_no_address_twice_is_understood() {
        let once = IceReport { distinct: true, ..report(vec![srflx(BASE, "203.0.113.7:4000", TWO[0])]) };
        assert_eq!(once.mapping(&asked(&TWO)), Some(Mapping::EndpointIndependent));
        assert_eq!(once.mapping(&asked(&TWO[..1])), None, "only one was asked");
        let late = IceReport { complete: false, ..once.clone() };
        assert_eq!(late.mapping(&asked(&TWO)), None, "the second may not have answered");
        let failed = IceReport { failed: vec![(TWO[1].into(), "no answer".into())], ..once };
        assert_eq!(failed.mapping(&asked(&TWO)), None);
        let host = Gathered { kind: CandidateKind::Host, base: None, ..srflx(BASE, BASE, "") };
        let open = IceReport { distinct: true, ..report(vec![host]) };
        assert_eq!(open.mapping(&asked(&TWO[..1])), Some(Mapping::None));
        assert_eq!(open.mapping(&asked(&[])), None, "nobody was asked");
    }

    #[test]
    fn sockets_that_a_browser_hides_are_compared_behind_one_router_only() {
        let seen = |first: &str, second: &str| {
            let found = vec![srflx("0.0.0.0:0", first, TWO[0]), srflx("0.0.0.0:0", second, TWO[1])];
            IceReport { distinct: true, ..report(found) }.mapping(&asked(&TWO))
        };
        assert_eq!(seen("203.0.113.7:4000", "203.0.113.7:4001"), Some(Mapping::AddressDependent));
        assert_ne!(seen("203.0.113.7:4000", "198.51.100.1:4001"), Some(Mapping::AddressDependent));
    }

    #[test]
    fn servers_are_known_again_by_what_their_urls_mean() {
        let asked = asked(&["stun:a.example", "turn:t.example", "turn:u.example"]);
        let relayed = Gathered {
            kind: CandidateKind::Relay,
            ..srflx(BASE, "198.51.100.1:5", "turn:t.example:3478?transport=udp")
        };
        let mut seen = report(vec![srflx(BASE, "203.0.113.7:4000", "stun:a.example:3478"), relayed]);
        seen.failed.push(("turn:u.example:3478".into(), "401".into()));
        let servers: Vec<ServerReport<'_>> = seen.servers(&asked).collect();
        assert!(matches!(servers[0].shown, Shown::Address(found) if found.address == "203.0.113.7:4000"));
        assert!(matches!(servers[1].shown, Shown::Address(found) if found.address == "198.51.100.1:5"));
        assert_eq!((servers[2].turn, servers[2].shown), (true, Shown::Failed("401")));
        assert_eq!(seen.kinds(), [CandidateKind::Srflx, CandidateKind::Relay]);
    }
}
