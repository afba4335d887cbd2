//! Where this node can be reached, and who is near: what it tells others of itself, and what it makes of announcements
//! in the local network.

use core::net::{IpAddr, SocketAddr};
use std::{collections::VecDeque, mem};

use super::{Node, Phase};
use crate::{
    config::{ANNOUNCE_MS, MAX_NEARBY},
    ids::{CircleId, NodeId},
    io::{Announcement, ConnId, Output},
    keys::CircleSecret,
    lan,
    route::direct::Service,
    session::Session,
    sorted::SortedMap,
    time::Now,
    view::Finding,
};

/// Own announcements that may still be heard: the present one and those it replaced a moment ago.
const MAX_OWN: usize = 4;
/// Most addresses that others have observed which are told on.
const MAX_OBSERVED: usize = 2;
/// Most members whose word on this node's address is kept.
const MAX_OBSERVERS: usize = 16;

/// What an announcement was made for, or the announcements of others were judged by: an hour and the own circles.
type Scope = (u64, Vec<CircleId>);

/// Announcing and recognising.
#[derive(Debug, Default)]
pub(super) struct Lan {
    announces: bool,
    /// `None` before anything was said.
    said: Option<Scope>,
    own: VecDeque<String>,
    found: Vec<Announcement>,
    judged: Option<Scope>,
}

impl Lan {
    pub(super) fn new(announces: bool) -> Self {
        Self { announces, ..Self::default() }
    }

    pub(super) fn found(&mut self, mut found: Vec<Announcement>) {
        found.truncate(MAX_NEARBY);
        self.found = found;
        self.judged = None;
    }

    /// Announces afresh: in another network this device must not be known by what it said in the last one.
    pub(super) fn renew(&mut self) {
        self.said = None;
    }

    /// Forgets what was announced; whether anything was.
    pub(super) fn hush(&mut self) -> bool {
        self.announces && self.said.take().is_some_and(|(_, circles)| !circles.is_empty())
    }

    /// When the announcement runs out.
    pub(super) fn deadline(&self, now: Now) -> Option<u64> {
        let told = self.said.as_ref().is_some_and(|(_, circles)| !circles.is_empty());
        told.then(|| now.mono + ANNOUNCE_MS - now.wall % ANNOUNCE_MS)
    }
}

/// Where others may dial this node.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// As the driver says.
    listening: Vec<String>,
    /// What relays say this node's address is, by who says it.
    observed: SortedMap<String, IpAddr>,
    /// What members say it is, the latest last: on which session who said what.
    seen: Vec<(ConnId, NodeId, IpAddr)>,
    /// What the driver found out, for `/doctor`.
    pub(super) surroundings: Vec<Finding>,
}

impl Reach {
    /// All of it, the surest first. An observed address is one of a router's, as a rule: only the port this node listens
    /// at may lead on to it from there, where somebody has seen to that or the addresses are translated one to one.
    ///
    /// Who says so may be wrong. What relays say comes first, then what most members say, so that one who lies displaces
    /// nothing that two others have seen.
    fn endpoints(&self) -> Vec<String> {
        let mut endpoints = self.listening.clone();
        let own: Vec<SocketAddr> = self.listening.iter().filter_map(|told| told.parse().ok()).collect();
        let Some(port) = own.first().map(SocketAddr::port) else { return endpoints };
        let votes = |ip: &IpAddr| self.seen.iter().filter(|(.., other)| other == ip).count();
        let mut observed: Vec<IpAddr> = Vec::new();
        while observed.len() < MAX_OBSERVED {
            let fits = |ip: &&IpAddr| {
                lan::is_public(**ip) && own.iter().all(|own| own.ip() != **ip) && !observed.contains(ip)
            };
            // Of those that as many members have seen the latest.
            let by_members = || self.seen.iter().map(|(.., ip)| ip).filter(fits).max_by_key(|ip| votes(ip));
            let Some(ip) = self.observed.values().find(fits).or_else(by_members) else { break };
            observed.push(*ip);
        }
        endpoints.extend(observed.into_iter().map(|ip| SocketAddr::new(ip, port).to_string()));
        endpoints
    }

    /// Takes a member's word, one for each session: who keeps changing it is not to keep everyone busy. Whether it was taken.
    fn see(&mut self, conn: ConnId, node: NodeId, ip: IpAddr) -> bool {
        if self.seen.iter().any(|(on, ..)| *on == conn) {
            return false;
        }
        self.seen.retain(|(_, by, _)| *by != node);
        if self.seen.len() >= MAX_OBSERVERS {
            self.seen.remove(0);
        }
        self.seen.push((conn, node, ip));
        true
    }
}

impl Node {
    pub(super) fn listening(&mut self, endpoints: Vec<String>) {
        if self.reach.listening != endpoints {
            // What others saw was of another network. Relays say it again when they are told; members say it once for each
            // session, and one that stands was not moved.
            self.reach.observed.clear();
            self.reach.seen.retain(|(conn, ..)| self.direct.session(*conn).is_some());
        }
        self.reach.listening = endpoints;
        self.tell_endpoints();
    }

    /// Somebody says where this node's packets come from: an address, with a port or without.
    pub(super) fn observed(&mut self, by: &str, address: &str) {
        let ip = address.parse().or_else(|_| address.parse().map(|full: SocketAddr| full.ip()));
        let Ok(ip) = ip.map(|ip: IpAddr| ip.to_canonical()) else { return };
        if self.reach.observed.insert(by.to_owned(), ip) != Some(ip) {
            self.tell_endpoints();
        }
    }

    /// A member says where a connection came from that this node made.
    pub(super) fn seen_by(&mut self, conn: ConnId, node: NodeId, address: &str) {
        let dialed = self.direct.session(conn).is_some_and(Session::initiated) && self.direct.is_stream(conn);
        let Ok(ip) = address.parse().map(|ip: IpAddr| ip.to_canonical()) else { return };
        if dialed && lan::is_public(ip) && self.reach.see(conn, node, ip) {
            self.tell_endpoints();
        }
    }

    /// Nobody there says anything any more.
    pub(super) fn unobserved(&mut self, by: &str) {
        if self.reach.observed.remove(by).is_some() {
            self.tell_endpoints();
        }
    }

    /// Tells relays and sessions where this node may be dialed, if that is news.
    pub(super) fn tell_endpoints(&mut self) {
        let endpoints = if self.is_hidden() { Vec::new() } else { self.reach.endpoints() };
        for link in self.links.values_mut() {
            link.set_endpoints(&endpoints);
        }
        if self.direct.endpoints() == endpoints {
            return;
        }
        self.direct.set_endpoints(endpoints);
        for id in self.circles.keys().copied().collect::<Vec<_>>() {
            for (conn, _, place) in self.direct.sharing(id) {
                self.tell_peers(conn, id, place);
            }
        }
    }

    /// Announces what is not announced yet, and looks through what others announce.
    pub(super) fn drive_lan(&mut self) {
        if !matches!(self.phase, Phase::Ready) {
            return;
        }
        let hour = lan::hour(self.now.wall);
        let is_current = |scope: &Option<Scope>| {
            scope.as_ref().is_some_and(|(of, circles)| *of == hour && circles.iter().eq(self.circles.keys()))
        };
        let (said, judged) = (self.is_hidden() || is_current(&self.lan.said), is_current(&self.lan.judged));
        if said && judged {
            return;
        }
        let scope: Scope = (hour, self.circles.keys().copied().collect());
        let secrets: Vec<CircleSecret> = self.circles.values().map(|circle| circle.secret.clone()).collect();
        if !said {
            let before = self.lan.said.replace(scope.clone());
            if self.lan.announces && (!secrets.is_empty() || before.is_some()) {
                let fresh = (!secrets.is_empty()).then(|| lan::announce(&secrets, hour, &mut self.rng.0));
                self.lan.own.extend(fresh.iter().map(|said| said.instance.clone()));
                self.lan.own.drain(..self.lan.own.len().saturating_sub(MAX_OWN));
                self.outputs.push_back(Output::Announce(fresh));
            }
        }
        if !judged {
            self.judge(&secrets, scope);
        }
    }

    fn judge(&mut self, secrets: &[CircleSecret], scope: Scope) {
        let found = mem::take(&mut self.lan.found);
        let others = found.iter().filter(|seen| !self.lan.own.contains(&seen.instance));
        let services = others.filter_map(|seen| {
            let places = lan::recognise(secrets, scope.0, seen);
            let circles: Vec<CircleId> = places.into_iter().map(|place| scope.1[place]).collect();
            let (instance, addresses) = (seen.instance.clone(), seen.addresses.clone());
            (!circles.is_empty()).then_some(Service { instance, addresses, circles })
        });
        self.direct.set_nearby(services.collect());
        self.lan.found = found;
        self.lan.judged = Some(scope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(listening: &[&str], observed: &[&str]) -> Vec<String> {
        let observed =
            observed.iter().enumerate().map(|(by, ip)| (by.to_string(), ip.parse().expect("an address")));
        let listening = listening.iter().map(|&told| told.to_owned()).collect();
        Reach { listening, observed: observed.collect(), ..Reach::default() }.endpoints()
    }

    #[test]
    fn observed_addresses_are_candidates_at_the_port_this_node_listens_at() {
        assert_eq!(reach(&["192.168.1.2:4700"], &["203.0.113.7"]), ["192.168.1.2:4700", "203.0.113.7:4700"]);
        assert_eq!(
            reach(&["192.168.1.2:4700"], &["203.0.113.7", "203.0.113.7", "2001:db8::7"]),
            ["192.168.1.2:4700", "203.0.113.7:4700", "[2001:db8::7]:4700"]
        );
    }

    #[test]
    fn observed_addresses_are_none_without_a_listener_nor_when_they_are_known_or_private() {
        assert!(reach(&[], &["203.0.113.7"]).is_empty());
        let own = ["203.0.113.7:4700"];
        for observed in
            ["203.0.113.7", "10.0.0.1", "172.16.0.1", "192.168.0.1", "127.0.0.1", "169.254.1.1", "100.64.0.1"]
        {
            assert_eq!(reach(&own, &[observed]), own, "{observed}");
        }
        for observed in ["::1", "fe80::1", "fd00::1", "::", "ff02::1"] {
            assert_eq!(reach(&own, &[observed]), own, "{observed}");
        }
    }

    #[test]
    fn a_crowd_of_observers_makes_no_crowd_of_addresses() {
        let crowd: Vec<String> = (1..200).map(|n| format!("203.0.113.{n}")).collect();
        let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
        assert_eq!(reach(&["192.168.1.2:4700"], &crowd).len(), 1 + MAX_OBSERVED);
    }

    #[test]
    fn a_member_that_lies_displaces_nothing_that_two_others_or_a_relay_have_seen() {
        let ip = |n: u8| IpAddr::from([203, 0, 113, n]);
        let mut reach = Reach { listening: vec!["192.168.1.2:4700".into()], ..Reach::default() };
        for (conn, by, at) in [(1, 1, 7), (2, 2, 7), (3, 3, 8), (4, 4, 9)] {
            assert!(reach.see(ConnId(conn), NodeId([by; 32]), ip(at)));
        }
        assert_eq!(reach.endpoints()[1..], ["203.0.113.7:4700", "203.0.113.9:4700"]);
        reach.observed.insert("https://relay.example".into(), ip(5));
        assert_eq!(reach.endpoints()[1..], ["203.0.113.5:4700", "203.0.113.7:4700"]);
    }

    #[test]
    fn each_session_has_one_word_each_member_one_vote_and_all_are_bounded() {
        let ip = |n: u8| IpAddr::from([203, 0, 113, n]);
        let (mut reach, liar) = (Reach::default(), NodeId([66; 32]));
        assert!(reach.see(ConnId(0), liar, ip(1)));
        assert!((2..100).all(|n| !reach.see(ConnId(0), liar, ip(n))), "on one session it is heard once");
        assert!(reach.see(ConnId(1), liar, ip(2)), "the next has its own");
        assert_eq!(reach.seen, [(ConnId(1), liar, ip(2))], "and takes the place of the last");
        for n in 2..200 {
            reach.see(ConnId(n), NodeId([n as u8; 32]), ip(n as u8));
        }
        assert_eq!(reach.seen.len(), MAX_OBSERVERS);
    }
}
