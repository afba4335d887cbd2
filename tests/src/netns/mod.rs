//! Small internets on this machine: namespaces as hosts, bridges as local networks, nftables as routers.
//!
//! ```text
//!            ┌─ core ─┐            routes between sites; cuts, losses and blocks happen here
//!     site 0 │        │ site 1
//!   router ──┘        └── router   translates addresses as its [`Nat`] says
//!     │ LAN                │ LAN
//!   alice, bob           cleo      hosts; each runs what [`Host::command`] starts
//! ```
//!
//! ```no_run
//! use felund_tests::{felund::Felund, netns::{Nat, Network}};
//!
//! // Without the right to make namespaces the test says so and is counted as skipped.
//! let Some(mut net) = Network::new("two homes talk") else { return };
//! let (mut home, mut office) = (net.site(Nat::Cone), net.site(Nat::Symmetric));
//! let (alice, bob) = (net.host(&mut home), net.host(&mut office));
//! let relay = net.server();
//! net.lose(&home, 10);
//! let alice = Felund::new("alice", None).on(&alice);
//! // Anything else: a browser's driver, a TURN server, a socket of the test's own.
//! let tool = relay.command("turnserver").spawn();
//! let answer = bob.inside(|| std::net::TcpStream::connect((relay.address(), 8080)));
//! ```
//!
//! Addresses are from the ranges kept for documentation, so that programs take public ones for public; nothing in
//! here is connected to a real network. Namespaces are named after this process and removed when the [`Network`] is
//! dropped, after a panic too; those of a run that was killed are swept by the next one.

mod nat;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

pub use nat::Nat;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::clean_command;

/// Where `ip netns` keeps the names.
const NAMES: &str = "/run/netns";
/// Most sites of one network: the public addresses are cut into that many pieces.
const MAX_SITES: u8 = 15;

/// A network, and the namespaces it consists of.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    namespaces: Vec<String>,
    core: Host,
    sites: u8,
}

/// A local network behind a router.
#[derive(Debug)]
pub struct Site {
    number: u8,
    nat: Nat,
    router: Host,
    hosts: u8,
    /// Counts the public addresses that the router has had.
    renumbered: u8,
}

/// A machine: a namespace with addresses of its own.
#[derive(Debug, Clone)]
pub struct Host {
    namespace: String,
    v4: Ipv4Addr,
    v6: Option<Ipv6Addr>,
}

impl Network {
    /// An empty network. Answers `None`, and says why on the terminal, where this process may not make one; the test
    /// should then end.
    ///
    /// # Panics
    /// When the first namespace can be made and not be set up.
    #[must_use]
    pub fn new(test: &str) -> Option<Self> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        sweep();
        let prefix = format!("felund-{}-{}", process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let core = Host { namespace: format!("{prefix}-core"), v4: Ipv4Addr::UNSPECIFIED, v6: None };
        if let Err(why) = core.make().and_then(|()| core.nft("add table inet felund")) {
            let _ = ip().args(["netns", "del", &core.namespace]).output();
            // Straight to the terminal: what a passing test prints is not shown otherwise.
            let notice =
                format!("-- skipped: {test}: no network namespaces with nftables can be had here: {why}\n");
            let _ = std::io::stdout().write_all(notice.as_bytes());
            return None;
        }
        let net = Self { prefix, namespaces: vec![core.namespace.clone()], core, sites: 0 };
        net.core.forwards();
        net.core.rules("add chain inet felund forward { type filter hook forward priority 0; }");
        Some(net)
    }

    /// A new local network whose router is connected to all others.
    ///
    /// # Panics
    /// When it cannot be made, or is one too many.
    pub fn site(&mut self, nat: Nat) -> Site {
        let number = self.sites;
        assert!(number < MAX_SITES, "no more than {MAX_SITES} sites");
        self.sites += 1;
        let mut router = self.namespace(&format!("router{number}"));
        router.v4 = router_v4(number, 0);
        router.forwards();
        let uplink = format!("site{number}");
        let core = &self.core.namespace;
        run(ip()
            .args(["link", "add", "wan", "netns", &router.namespace, "type", "veth"])
            .args(["peer", "name", &uplink, "netns", core]));
        let gateway = uplink_v4(number);
        self.core.ip(&format!("addr add {gateway}/29 dev {uplink}"));
        self.core.ip(&format!("link set {uplink} up"));
        router.ip(&format!("addr add {}/29 dev wan", router.v4));
        router.ip("link set wan up");
        router.ip(&format!("route add default via {gateway}"));
        router.ip("link add lan type bridge mcast_snooping 0");
        router.ip(&format!("addr add {}/{} dev lan", lan_v4(nat, number, 1), nat.lan_bits()));
        router.ip("link set lan up");
        if nat == Nat::Open {
            let (outer, inner) = (wan_v6(number, 1), wan_v6(number, 2));
            self.core.ip(&format!("addr add {outer}/64 dev {uplink}"));
            self.core.ip(&format!("route add {}/28 via {}", lan_v4(nat, number, 0), router.v4));
            self.core.ip(&format!("route add {}/64 via {inner}", lan_v6(number, 0)));
            router.ip(&format!("addr add {inner}/64 dev wan"));
            router.ip(&format!("route add default via {outer}"));
            router.ip(&format!("addr add {}/64 dev lan", lan_v6(number, 1)));
        }
        router.rules(&nat.rules());
        Site { number, nat, router, hosts: 0, renumbered: 0 }
    }

    /// A new machine in a local network.
    ///
    /// # Panics
    /// When it cannot be made, or is one too many.
    pub fn host(&mut self, site: &mut Site) -> Host {
        assert!(site.hosts < 12, "no more than 12 hosts in one local network");
        site.hosts += 1;
        let (number, of_site) = (site.hosts + 1, site.number);
        let mut host = self.namespace(&format!("host{of_site}x{number}"));
        host.v4 = lan_v4(site.nat, of_site, number);
        let port = format!("host{number}");
        let router = &site.router;
        run(ip().args(["link", "add", "eth0", "netns", &host.namespace, "type", "veth"]).args([
            "peer",
            "name",
            &port,
            "netns",
            &router.namespace,
        ]));
        router.ip(&format!("link set {port} master lan up"));
        host.ip(&format!("addr add {}/{} dev eth0", host.v4, site.nat.lan_bits()));
        host.ip("link set eth0 up");
        host.ip(&format!("route add default via {}", lan_v4(site.nat, of_site, 1)));
        if site.nat == Nat::Open {
            let v6 = lan_v6(of_site, number.into());
            host.v6 = Some(v6);
            host.ip(&format!("addr add {v6}/64 dev eth0"));
            host.ip(&format!("route add default via {}", lan_v6(of_site, 1)));
        }
        host
    }

    /// A machine of its own that everybody can reach, for relays and other servers.
    pub fn server(&mut self) -> Host {
        let mut site = self.site(Nat::Open);
        self.host(&mut site)
    }

    /// As [`Self::server`], with a second IPv4 address.
    pub fn server_with_two_addresses(&mut self) -> (Host, Ipv4Addr) {
        let server = self.server();
        // A site has twelve hosts at most; this is the last address of its network.
        let second = lan_v4(Nat::Open, self.sites - 1, 14);
        server.ip(&format!("addr add {second}/{} dev eth0", Nat::Open.lan_bits()));
        (server, second)
    }

    /// Lets nothing pass between two sites, without an answer, until [`Self::mend`].
    pub fn cut(&self, one: &Site, other: &Site) {
        for (from, to) in [(one, other), (other, one)] {
            self.rule(&format!("iifname site{} oifname site{} drop", from.number, to.number));
        }
    }

    /// Lets no UDP in or out of a site until [`Self::mend`].
    pub fn block_udp(&self, site: &Site) {
        for side in ["iifname", "oifname"] {
            self.rule(&format!("{side} site{} meta l4proto udp drop", site.number));
        }
    }

    /// Loses so many of a hundred packets in each direction, chosen at random, until [`Self::mend`].
    ///
    /// # Panics
    /// When it is not less than 100.
    pub fn lose(&self, site: &Site, percent: u8) {
        for side in ["iifname", "oifname"] {
            self.rule(&format!("{side} site{} numgen random mod 100 < {percent} drop", site.number));
        }
    }

    /// Undoes every cut, block and loss.
    pub fn mend(&self) {
        self.core.rules("flush chain inet felund forward");
    }

    fn rule(&self, rule: &str) {
        self.core.rules(&format!("add rule inet felund forward {rule}"));
    }

    fn namespace(&mut self, name: &str) -> Host {
        let namespace = format!("{}-{name}", self.prefix);
        let host = Host { namespace, v4: Ipv4Addr::UNSPECIFIED, v6: None };
        self.namespaces.push(host.namespace.clone());
        host.make().unwrap_or_else(|why| panic!("cannot make {}: {why}", host.namespace));
        host
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // Processes keep a namespace alive until they end; its name and its links go now.
            let _ = ip().args(["netns", "del", namespace]).output();
        }
    }
}

impl Site {
    /// Where the router is, as seen from outside.
    #[must_use]
    pub const fn public_address(&self) -> Ipv4Addr {
        self.router.v4
    }

    /// The router, for services that it offers to its local network.
    #[must_use]
    pub const fn router(&self) -> &Host {
        &self.router
    }

    /// Where hosts reach the router.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        lan_v4(self.nat, self.number, 1)
    }

    /// Gives the router another public address; what it translated so far is forgotten, as when a provider ends a lease.
    ///
    /// # Panics
    /// On an open site, whose routes lead by that address; after four times; or when it cannot be done.
    pub fn renumber(&mut self) {
        assert!(self.nat != Nat::Open && self.renumbered < 4, "no public addresses are left");
        self.renumbered += 1;
        self.router.v4 = router_v4(self.number, self.renumbered);
        // With its address go the routes, and what was translated to it.
        self.router.ip("-4 addr flush dev wan");
        self.router.ip(&format!("addr add {}/29 dev wan", self.router.v4));
        self.router.ip(&format!("route add default via {}", uplink_v4(self.number)));
        self.router.rules("flush ruleset");
        self.router.rules(&self.nat.rules());
    }
}

impl Host {
    /// Its IPv4 address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its IPv6 address, which only hosts of an open site have (besides a link-local one).
    #[must_use]
    pub const fn address_v6(&self) -> Option<Ipv6Addr> {
        self.v6
    }

    /// All its addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        [IpAddr::V4(self.v4)].into_iter().chain(self.v6.map(IpAddr::V6)).collect()
    }

    /// A command that runs here, without Felund's settings of whoever runs the tests.
    #[must_use]
    pub fn command(&self, program: impl Into<PathBuf>) -> Command {
        let mut command = clean_command("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program.into());
        command
    }

    /// As [`Host::command`]; on this machine where there is none.
    #[must_use]
    pub fn command_on(host: Option<&Self>, program: impl Into<PathBuf>) -> Command {
        match host {
            Some(host) => host.command(program),
            None => clean_command(program),
        }
    }

    /// Runs a part of the test here, so that sockets it makes are this machine's. They stay so when the part is over.
    ///
    /// # Panics
    /// When the namespace is gone, or with the panic of `act`.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let name = PathBuf::from(NAMES).join(&self.namespace);
        let run = || {
            let namespace = fs::File::open(&name).expect("the namespace is there");
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))
                .expect("who made a namespace may enter it");
            act()
        };
        let done = thread::scope(|scope| scope.spawn(run).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Pulls the cable.
    pub fn unplug(&self) {
        self.ip("link set eth0 down");
    }

    /// Puts it back.
    ///
    /// # Panics
    /// When the routes that were lost cannot be made again.
    pub fn plug_in(&self, site: &Site) {
        self.ip("link set eth0 up");
        self.ip(&format!("route replace default via {}", site.gateway()));
        if let Some(v6) = self.v6 {
            // An interface that is down forgets its addresses of this family.
            self.ip(&format!("addr replace {v6}/64 dev eth0"));
            self.ip(&format!("route replace default via {}", lan_v6(site.number, 1)));
        }
    }

    fn make(&self) -> Result<(), String> {
        attempt(ip().args(["netns", "add", &self.namespace]))?;
        self.ip("link set lo up");
        // Waiting a second for a twin of each new address would only slow the tests down.
        self.set("ipv6/conf/default/accept_dad", "0");
        Ok(())
    }

    fn forwards(&self) {
        self.set("ipv4/ip_forward", "1");
        self.set("ipv6/conf/all/forwarding", "1");
    }

    fn set(&self, setting: &str, value: &str) {
        let path = PathBuf::from("/proc/sys/net").join(setting);
        self.inside(|| fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    }

    fn ip(&self, what: &str) {
        run(ip().args(["-n", &self.namespace]).args(what.split(' ')));
    }

    fn nft(&self, rules: &str) -> Result<(), String> {
        attempt(self.command("nft").arg(rules))
    }

    pub(crate) fn rules(&self, rules: &str) {
        self.nft(rules).unwrap_or_else(|why| panic!("rules for {}: {why}\n{rules}", self.namespace));
    }
}

fn uplink_v4(site: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, site * 8 + 1)
}

fn router_v4(site: u8, nth: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, site * 8 + 2 + nth)
}

/// Behind a translating router every home has private addresses; an open one has public ones.
fn lan_v4(nat: Nat, site: u8, host: u8) -> Ipv4Addr {
    match nat {
        Nat::Open => Ipv4Addr::new(198, 51, 100, site * 16 + host),
        _ => Ipv4Addr::new(192, 168, site + 1, host),
    }
}

fn wan_v6(site: u8, end: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, site.into(), 0, 0, 0, end)
}

fn lan_v6(site: u8, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, site.into(), 0, 0, 0, 0, host)
}

/// Removes what a killed run of the tests has left.
fn sweep() {
    let owner = |name: &str| name.strip_prefix("felund-")?.split('-').next()?.parse::<u32>().ok();
    let names: BTreeSet<String> = fs::read_dir(NAMES)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    for name in names {
        if owner(&name).is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            let _ = ip().args(["netns", "del", &name]).output();
        }
    }
}

fn ip() -> Command {
    clean_command("ip")
}

fn run(command: &mut Command) {
    attempt(command).unwrap_or_else(|why| panic!("{why}"));
}

fn attempt(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    match output {
        Err(error) => Err(format!("{command:?}: {error}")),
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { status, stderr, .. }) => {
            Err(format!("{command:?}: {status}: {}", String::from_utf8_lossy(&stderr).trim()))
        }
    }
}
