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
    tcp,
};

/// How often the machine's addresses are looked up: those of IPv6 change by themselves, and laptops move.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What `felund doctor` calls the router, and what it says while that has not answered.
pub(crate) const ROUTER: &str = "router";
pub(crate) const ASKING: &str = "being asked to let members through";

/// Listener, addresses and local network.
pub(crate) struct Reach {
    /// Where the listener is, or why there is none.
    bound: Result<SocketAddr, String>,
    interfaces: Interfaces,
    looked: Instant,
    /// Absent when it is not wanted.
    lan: Option<Result<Lan, String>>,
    /// Absent when it is not wanted, or there is nothing to map to.
    mapper: Option<Mapper>,
    /// What the node was told last.
    told: (Vec<String>, Vec<Finding>),
}

impl Reach {
    /// Starts to listen as wanted; must be called inside the runtime.
    ///
    /// # Errors
    /// A text for people, when the address that was asked for cannot be had. Without the one that is listened at by default
    /// everything else works.
    pub(crate) fn open(setup: Setup, gate: Gate, inbox: mpsc::Sender<Inbox>) -> Result<Self, String> {
        let bound = match setup.listen {
            Some(address) => Ok(tcp::listen(address, gate, inbox.clone())?),
            None if setup.stays && setup.mdns => {
                let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
                let both = tcp::listen(any, gate.clone(), inbox.clone());
                // A system may have no IPv6.
                both.or_else(|_| tcp::listen((Ipv4Addr::UNSPECIFIED, 0).into(), gate, inbox.clone()))
            }
            None if setup.stays => Err("neither --listen nor the local network is wanted".to_owned()),
            None => Err("this command ends too soon to be worth connecting to".to_owned()),
        };
        let lan = setup.mdns.then(|| Lan::open(inbox));
        let far = bound.as_ref().ok().filter(|bound| setup.mapping && setup.stays && is_mapped(bound.ip()));
        let mapper = far.and_then(|bound| NonZeroU16::new(bound.port())).map(Mapper::start);
        let (interfaces, looked) = (Interfaces::now(), Instant::now());
        Ok(Self { bound, interfaces, looked, lan, mapper, told: Default::default() })
    }

    /// Whether announcements can be made.
    pub(crate) fn announces(&self) -> bool {
        let beyond = self.bound.as_ref().is_ok_and(|bound| !bound.ip().is_loopback());
        beyond && matches!(self.lan, Some(Ok(_)))
    }

    /// The networks this machine is in, as of the last look.
    pub(crate) const fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Announces this in the local network instead of what was announced before.
    pub(crate) fn announce(&mut self, announcement: Option<Announcement>) {
        if let (Ok(bound), Some(Ok(lan))) = (&self.bound, &mut self.lan)
            && let Err(cause) = lan.announce(*bound, announcement)
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
        let own = self.bound.as_ref().map(|bound| self.interfaces.endpoints(*bound));
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
        let finding = |subject: &str, ok, detail: String, advice: Option<&str>| Finding {
            subject: subject.to_owned(),
            ok,
            detail,
            advice: advice.map(str::to_owned),
        };
        let listening = match &self.bound {
            Ok(bound) if endpoints.is_empty() => {
                format!("at port {}, but this machine has no address in any network", bound.port())
            }
            Ok(_) => format!("members can connect at {}", endpoints.join(", ")),
            Err(why) => format!("no: {why}"),
        };
        let lan = match &self.lan {
            None => {
                finding("local network", true, "members there are not looked for: --no-mdns".to_owned(), None)
            }
            Some(Ok(lan)) => {
                let announced = if self.announces() { "announced there, and " } else { "" };
                let detail =
                    format!("{announced}members are looked for; {} other services of Felund", lan.seen());
                finding("local network", true, detail, None)
            }
            Some(Err(cause)) => finding(
                "local network",
                false,
                format!("members there cannot be found: {cause}"),
                Some("Members still find each other by invites, through the relay and through each other."),
            ),
        };
        let mapped = match mapping {
            None if self.bound.as_ref().is_ok_and(|bound| is_mapped(bound.ip())) => {
                "not asked: --no-port-mapping".to_owned()
            }
            None => "not asked: there is no listener that it could lead to".to_owned(),
            Some(Mapping::Asking) => ASKING.to_owned(),
            Some(Mapping::None(why)) => format!("no port leads here: {why}"),
            Some(Mapping::At { external, by }) => format!("{external} leads here, by {by}"),
        };
        vec![finding("listening", true, listening, None), lan, finding(ROUTER, true, mapped, None)]
    }

    /// Takes back what was said of this node outside.
    pub(crate) async fn close(self) {
        let mapping = async {
            if let Some(mapper) = self.mapper {
                mapper.close().await;
            }
        };
        let lan = async {
            if let Some(Ok(lan)) = self.lan {
                lan.close().await;
            }
        };
        tokio::join!(mapping, lan);
    }
}

/// Whether a router could lead to a listener there.
fn is_mapped(bound: IpAddr) -> bool {
    bound.is_unspecified() || (bound.is_ipv4() && !bound.is_loopback() && !lan::is_public(bound))
}
