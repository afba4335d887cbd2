//! How members reach this node: its listener, the addresses that lead to it, the router's port that does, and the local
//! network it is announced in.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    time::{Duration, Instant},
};

use felund_core::{
    io::{Announcement, Input},
    lan,
    view::Finding,
};
use tokio::sync::mpsc;

use crate::{
    driver::Inbox,
    gate::Gate,
    interfaces::Interfaces,
    lan::Lan,
    portmap::{Mapper, Mapping},
    session::Setup,
    tcp::{self, Listener},
};

/// How often the machine's addresses are looked up: those of IPv6 change by themselves, and laptops move.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What `felund doctor` calls the router, and what it says while that has not answered.
pub(crate) const ROUTER: &str = "router";
pub(crate) const ASKING: &str = "being asked to let members through";

/// Why nothing is done for being reached.
const HIDDEN: &str = "this device's address is hidden from members";
const STARTING: &str = "not before the keys are open";

/// Listener, addresses and local network.
pub(crate) struct Reach {
    setup: Setup,
    gate: Gate,
    inbox: mpsc::Sender<Inbox>,
    /// The listener, or why there is none.
    bound: Result<Listener, String>,
    interfaces: Interfaces,
    looked: Instant,
    /// Absent when it is not wanted.
    lan: Option<Result<Lan, String>>,
    /// Absent when it is not wanted, or there is nothing to map to.
    mapper: Option<Mapper>,
    /// Whether the node wants to be reached.
    reachable: bool,
    /// What the node was told last.
    told: (Vec<String>, Vec<Finding>),
}

impl Reach {
    /// Takes the address that was asked for; must be called inside the runtime. All else waits for the node's word, which
    /// has to read first whether this device hides.
    ///
    /// # Errors
    /// A text for people, when the address cannot be had. Without the one that is listened at by default everything else works.
    pub(crate) fn open(setup: Setup, gate: Gate, inbox: mpsc::Sender<Inbox>) -> Result<Self, String> {
        let bound = match setup.listen {
            Some(address) if !setup.hide_address => Ok(tcp::listen(address, gate.clone(), inbox.clone())?),
            _ => Err(STARTING.to_owned()),
        };
        let (interfaces, looked) = (Interfaces::now(), Instant::now());
        let (lan, mapper, told) = (None, None, Default::default());
        Ok(Self { setup, gate, inbox, bound, interfaces, looked, lan, mapper, reachable: false, told })
    }

    /// Makes this node known and reachable as wanted, or takes all of that back.
    pub(crate) fn set_reachable(&mut self, reachable: bool) {
        self.reachable = reachable;
        if reachable {
            self.begin();
        } else {
            self.bound = Err(HIDDEN.to_owned());
            let (mapper, lan) = (self.mapper.take(), self.lan.take());
            tokio::spawn(goodbye(mapper, lan));
        }
    }

    fn begin(&mut self) {
        let setup = self.setup;
        let listen = |address| tcp::listen(address, self.gate.clone(), self.inbox.clone());
        if self.bound.is_err() {
            self.bound = match setup.listen {
                Some(address) => listen(address),
                None if setup.stays && setup.mdns => {
                    let both = listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
                    // A system may have no IPv6.
                    both.or_else(|_| listen((Ipv4Addr::UNSPECIFIED, 0).into()))
                }
                None if setup.stays => Err("neither --listen nor the local network is wanted".to_owned()),
                None => Err("this command ends too soon to be worth connecting to".to_owned()),
            };
        }
        if setup.mdns && self.lan.is_none() {
            self.lan = Some(Lan::open(self.inbox.clone()));
        }
        let at = self.bound.as_ref().ok().map(|bound| bound.at);
        let far = at.filter(|at| setup.mapping && setup.stays && is_mapped(at.ip()));
        if self.mapper.is_none() {
            self.mapper = far.and_then(|at| NonZeroU16::new(at.port())).map(Mapper::start);
        }
    }

    /// Whether announcements may be made, should the node want to be reached.
    pub(crate) fn may_announce(&self) -> bool {
        let Setup { listen, mdns, stays, .. } = self.setup;
        mdns && listen.map_or(stays, |address| !address.ip().is_loopback())
    }

    /// Whether announcements can be made.
    fn announces(&self) -> bool {
        let beyond = self.bound.as_ref().is_ok_and(|bound| !bound.at.ip().is_loopback());
        beyond && matches!(self.lan, Some(Ok(_)))
    }

    /// The networks this machine is in, as of the last look.
    pub(crate) const fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Announces this in the local network instead of what was announced before.
    pub(crate) fn announce(&mut self, announcement: Option<Announcement>) {
        if let (Ok(bound), Some(Ok(lan))) = (&self.bound, &mut self.lan)
            && let Err(cause) = lan.announce(bound.at, announcement)
        {
            self.lan = Some(Err(cause));
        }
    }

    /// What the node must hear before anything else.
    pub(crate) fn start(&mut self) -> Vec<Input> {
        self.tell()
    }

    /// What the node must hear now; called every second or so.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<Input> {
        let mut news = Vec::new();
        if now.saturating_duration_since(self.looked) >= LOOK_EVERY {
            self.looked = now;
            let interfaces = Interfaces::now();
            if interfaces != self.interfaces {
                self.interfaces = interfaces;
                self.mapper.iter().for_each(Mapper::moved);
                news.push(Input::Wake);
            }
        }
        let mut inputs = self.tell();
        inputs.append(&mut news);
        inputs
    }

    /// What is news of addresses and findings.
    fn tell(&mut self) -> Vec<Input> {
        let own = self.bound.as_ref().map(|bound| self.interfaces.endpoints(bound.at));
        let mut endpoints = own.unwrap_or_default();
        let mapping = self.mapper.as_ref().map(Mapper::state);
        if let Some(Mapping::At { external, .. }) = &mapping {
            endpoints.push(external.to_string());
        }
        let findings = self.findings(&endpoints, mapping.as_ref());
        let mut inputs = Vec::new();
        if self.told.0 != endpoints {
            self.told.0.clone_from(&endpoints);
            inputs.push(Input::Listening(endpoints));
        }
        if self.told.1 != findings {
            self.told.1.clone_from(&findings);
            inputs.push(Input::Surroundings(findings));
        }
        inputs
    }

    fn findings(&self, endpoints: &[String], mapping: Option<&Mapping>) -> Vec<Finding> {
        let listening = match &self.bound {
            Ok(bound) if endpoints.is_empty() => {
                format!("at port {}, but this machine has no address in any network", bound.at.port())
            }
            Ok(_) => format!("members can connect at {}", endpoints.join(", ")),
            Err(why) => format!("no: {why}"),
        };
        let lan = match &self.lan {
            None => {
                let why = if self.setup.mdns && !self.reachable { HIDDEN } else { "--no-mdns" };
                Finding::new("local network", true, format!("members there are not looked for: {why}"), None)
            }
            Some(Ok(lan)) => {
                let announced = if self.announces() { "announced there, and " } else { "" };
                let detail =
                    format!("{announced}members are looked for; {} other services of Felund", lan.seen());
                Finding::new("local network", true, detail, None)
            }
            Some(Err(cause)) => Finding::new(
                "local network",
                false,
                format!("members there cannot be found: {cause}"),
                Some("Members still find each other by invites, through the relay and through each other."),
            ),
        };
        let mapped = match mapping {
            None if self.bound.as_ref().is_ok_and(|bound| is_mapped(bound.at.ip())) => {
                "not asked: --no-port-mapping".to_owned()
            }
            None => "not asked: there is no listener that it could lead to".to_owned(),
            Some(Mapping::Asking) => ASKING.to_owned(),
            Some(Mapping::None(why)) => format!("no port leads here: {why}"),
            Some(Mapping::At { external, by }) => format!("{external} leads here, by {by}"),
        };
        vec![Finding::new("listening", true, listening, None), lan, Finding::new(ROUTER, true, mapped, None)]
    }

    /// Takes back what was said of this node outside.
    pub(crate) async fn close(self) {
        goodbye(self.mapper, self.lan).await;
    }
}

async fn goodbye(mapper: Option<Mapper>, lan: Option<Result<Lan, String>>) {
    let mapping = async {
        if let Some(mapper) = mapper {
            mapper.close().await;
        }
    };
    let lan = async {
        if let Some(Ok(lan)) = lan {
            lan.close().await;
        }
    };
    tokio::join!(mapping, lan);
}

/// Whether a router could lead to a listener there.
fn is_mapped(bound: IpAddr) -> bool {
    bound.is_unspecified() || (bound.is_ipv4() && !bound.is_loopback() && !lan::is_public(bound))
}
