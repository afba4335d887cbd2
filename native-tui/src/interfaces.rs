//! The networks this machine is in: who is near, and where the machine can be dialed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use felund_core::io::Origin;

/// Most addresses of interfaces that others are told; there may be a router's in addition, and readers take four.
const MAX_OWN: usize = 3;

/// Addresses and netmasks at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Interfaces {
    /// Address and mask.
    networks: Vec<(IpAddr, IpAddr)>,
    /// What packets to elsewhere come from, of either family.
    preferred: Vec<IpAddr>,
}

impl Interfaces {
    pub(crate) fn now() -> Self {
        let mut networks: Vec<(IpAddr, IpAddr)> = if_addrs::get_if_addrs()
            .unwrap_or_default()
            .iter()
            .map(|interface| match &interface.addr {
                if_addrs::IfAddr::V4(own) => (own.ip.into(), own.netmask.into()),
                if_addrs::IfAddr::V6(own) => (own.ip.into(), own.netmask.into()),
            })
            .collect();
        networks.sort_unstable();
        let preferred = [source(Ipv4Addr::new(192, 0, 2, 1).into()), source(DOCUMENTATION_V6.into())];
        Self { networks, preferred: preferred.into_iter().flatten().collect() }
    }

    /// Whether an address is this machine's, or in a network that this machine has an address in.
    pub(crate) fn is_near(&self, ip: IpAddr) -> bool {
        let same = |(own, mask): &(IpAddr, IpAddr)| match (own, mask, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(mask), IpAddr::V4(ip)) => *own & *mask == ip & *mask,
            (IpAddr::V6(own), IpAddr::V6(mask), IpAddr::V6(ip)) => *own & *mask == ip & *mask,
            _ => false,
        };
        ip.to_canonical().is_loopback() || self.networks.iter().any(same)
    }

    /// Where a connection came from.
    pub(crate) fn origin(&self, from: IpAddr) -> Origin {
        if self.is_near(from) { Origin::Nearby } else { Origin::Outside(from.to_canonical()) }
    }

    /// Where others may dial a listener, the best first. One that names no interface is at all of the machine's.
    pub(crate) fn endpoints(&self, bound: SocketAddr) -> Vec<String> {
        if !bound.ip().is_unspecified() {
            return vec![bound.to_string()];
        }
        let fits = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
            IpAddr::V6(ip) => bound.is_ipv6() && !ip.is_loopback() && !ip.is_unicast_link_local(),
        };
        let mut own: Vec<IpAddr> = self.preferred.iter().copied().filter(fits).collect();
        for (ip, _) in self.networks.iter().filter(|(ip, _)| fits(ip)) {
            if !own.contains(ip) {
                own.push(*ip);
            }
        }
        own.truncate(MAX_OWN);
        own.into_iter().map(|ip| SocketAddr::new(ip, bound.port()).to_string()).collect()
    }
}

/// An address that no network routes (RFC 3849).
const DOCUMENTATION_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// What a packet to there would come from. None is sent: a datagram socket that is connected only looks up its route.
pub(crate) fn source(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(networks: &[(&str, &str)], preferred: &[&str]) -> Interfaces {
        let ip = |text: &str| text.parse().expect("an address");
        Interfaces {
            networks: networks.iter().map(|(own, mask)| (ip(own), ip(mask))).collect(),
            preferred: preferred.iter().map(|own| ip(own)).collect(),
        }
    }

    fn home() -> Interfaces {
        at(
            &[
                ("127.0.0.1", "255.0.0.0"),
                ("169.254.3.4", "255.255.0.0"),
                ("172.17.0.1", "255.255.0.0"),
                ("192.168.1.20", "255.255.255.0"),
                ("2001:db8:1::20", "ffff:ffff:ffff:ffff::"),
                ("fe80::20", "ffff:ffff:ffff:ffff::"),
            ],
            &["192.168.1.20", "2001:db8:1::20"],
        )
    }

    #[test]
    fn who_is_in_one_of_this_machines_networks_is_near() {
        for near in [
            "127.0.0.1",
            "::1",
            "192.168.1.7",
            "::ffff:192.168.1.7",
            "2001:db8:1::ffff",
            "fe80::1",
            "172.17.9.9",
        ] {
            assert_eq!(home().origin(near.parse().expect("an address")), Origin::Nearby, "{near}");
        }
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for far in
            ["192.168.2.7", "::ffff:192.168.2.7", "203.0.113.1", "2001:db8:2::1", "10.0.0.1", "fd00::1"]
        {
            assert_eq!(home().origin(ip(far)), Origin::Outside(ip(far).to_canonical()), "{far}");
        }
        let anywhere = ip("192.168.1.7");
        assert_eq!(Interfaces::default().origin(anywhere), Origin::Outside(anywhere));
    }

    #[test]
    fn a_named_interface_is_told_as_it_is_and_all_of_them_as_what_they_are() {
        let all = |bound: &str| home().endpoints(bound.parse().expect("an address"));
        assert_eq!(all("192.0.2.1:4700"), ["192.0.2.1:4700"]);
        assert_eq!(all("0.0.0.0:4700"), ["192.168.1.20:4700", "172.17.0.1:4700"]);
        assert_eq!(all("[::]:4700"), ["192.168.1.20:4700", "[2001:db8:1::20]:4700", "172.17.0.1:4700"]);
    }

    #[test]
    fn a_machine_with_many_interfaces_tells_the_one_that_leads_elsewhere_first() {
        let many: Vec<String> = (1..50).map(|n| format!("172.{n}.0.1")).collect();
        let networks: Vec<(&str, &str)> = many.iter().map(|own| (own.as_str(), "255.255.0.0")).collect();
        let told = at(&networks, &["172.40.0.1"]).endpoints("0.0.0.0:1".parse().expect("an address"));
        assert_eq!((told.len(), told[0].as_str()), (MAX_OWN, "172.40.0.1:1"));
    }
}
