//! A port of the router that leads to the listener here: by PCP or NAT-PMP (RFC 6887, RFC 6886), else by UPnP.
//!
//! What the router gives is a lease: it is renewed at half its time, made anew in another network, and given back at the end.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    num::NonZeroU16,
    time::Duration,
};

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig,
};
use felund_core::lan::is_public;
use igd_next::{
    AddPortError, PortMappingProtocol, SearchOptions,
    aio::{Gateway, tokio::Tokio},
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

/// How long a lease is asked for, in seconds.
const LEASE_S: u32 = 3_600;
/// Shortest wait before a lease is renewed, whatever the router says of it.
const RENEW_MIN: Duration = Duration::from_secs(60);
/// How long to wait before a router that gave nothing is asked again.
const AGAIN: Duration = Duration::from_secs(600);
/// PCP and NAT-PMP: 250 ms, then 500 ms, then a second.
const PATIENCE: TimeoutConfig =
    TimeoutConfig { initial_timeout: Duration::from_millis(250), max_retries: 2, max_retry_timeout: None };
/// How long a UPnP router has to say that it is there.
const SEARCH: Duration = Duration::from_secs(3);
/// How long a UPnP router has for one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long giving a lease back may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// What the router's pages call the mapping.
const LABEL: &str = "Felund";

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// The router is being asked.
    Asking,
    /// Not needed, not offered, or refused; for people.
    None(String),
    /// Others reach the listener here.
    At {
        external: SocketAddr,
        /// The protocol.
        by: &'static str,
    },
}

/// The task that keeps a mapping.
pub(crate) struct Mapper {
    state: watch::Receiver<Mapping>,
    /// Says that the network is another one; closed, that it is over.
    nudge: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Mapper {
    /// Starts to ask for a mapping to a port of this machine.
    pub(crate) fn start(port: NonZeroU16) -> Self {
        let (tell, state) = watch::channel(Mapping::Asking);
        let (nudge, nudges) = mpsc::channel(1);
        Self { state, nudge, task: tokio::spawn(keep(port, tell, nudges)) }
    }

    pub(crate) fn state(&self) -> Mapping {
        self.state.borrow().clone()
    }

    /// The machine is in another network.
    pub(crate) fn moved(&self) {
        // One that waits already does.
        let _ = self.nudge.try_send(());
    }

    /// Gives the mapping back.
    pub(crate) async fn close(self) {
        drop(self.nudge);
        let _ = timeout(GOODBYE, self.task).await;
    }
}

async fn keep(port: NonZeroU16, tell: watch::Sender<Mapping>, mut nudges: mpsc::Receiver<()>) {
    let mut held: Option<Lease> = None;
    loop {
        let asked = async {
            if let Some(lease) = &mut held
                && lease.renew().await
            {
                return Ok(());
            }
            held = Some(Lease::ask(port).await?);
            Ok::<(), String>(())
        };
        let asked = tokio::select! {
            asked = asked => asked,
            nudged = nudges.recv() => match nudged {
                Some(()) => { held = None; continue }
                None => break,
            },
        };
        let wait = match (asked, &held) {
            (Ok(()), Some(lease)) => {
                tell.send_replace(lease.state());
                lease.half_life()
            }
            (asked, _) => {
                held = None;
                tell.send_replace(Mapping::None(asked.err().unwrap_or_default()));
                AGAIN
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            nudged = nudges.recv() => {
                if nudged.is_none() {
                    break;
                }
                // Whatever another router gave is out of reach, and ends by itself.
                held = None;
                tell.send_replace(Mapping::Asking);
            }
        }
    }
    if let Some(lease) = held {
        lease.give_back().await;
    }
}

/// What a router gave.
enum Lease {
    Pcp { mapping: Box<PortMapping>, external: IpAddr },
    Upnp { gateway: Box<Gateway<Tokio>>, internal: SocketAddr, external: SocketAddr },
}

impl Lease {
    async fn ask(port: NonZeroU16) -> Result<Self, String> {
        let (client, router) = spawn_blocking(way_out).await.map_err(|e| e.to_string())??;
        if is_public(client.into()) {
            return Err(format!("not needed: {client} is a public address"));
        }
        let first = match pcp(client, router, port).await {
            Ok(lease) => return Ok(lease),
            Err(cause) => cause,
        };
        upnp(client, port).await.map_err(|cause| {
            format!("the router {router} offers none: {cause} (UPnP); {first} (PCP, NAT-PMP)")
        })
    }

    fn state(&self) -> Mapping {
        let (external, by) = match self {
            Self::Pcp { mapping, external } => {
                let by =
                    if matches!(mapping.mapping_type(), PortMappingType::NatPmp) { "NAT-PMP" } else { "PCP" };
                (SocketAddr::new(*external, mapping.external_port().get()), by)
            }
            Self::Upnp { external, .. } => (*external, "UPnP"),
        };
        if is_public(external.ip()) {
            return Mapping::At { external, by };
        }
        Mapping::None(format!(
            "the router opened {external}, but that is no public address: there is another router behind it"
        ))
    }

    fn half_life(&self) -> Duration {
        let seconds = match self {
            Self::Pcp { mapping, .. } => mapping.lifetime().min(LEASE_S),
            Self::Upnp { .. } => LEASE_S,
        };
        (Duration::from_secs(seconds.into()) / 2).max(RENEW_MIN)
    }

    /// Whether the router still gives the same.
    async fn renew(&mut self) -> bool {
        match self {
            Self::Pcp { mapping, .. } => {
                let before = mapping.external_port();
                mapping.renew().await.is_ok() && mapping.external_port() == before
            }
            Self::Upnp { gateway, internal, external } => {
                let same_place = timeout(ANSWER, gateway.get_external_ip()).await;
                matches!(same_place, Ok(Ok(ip)) if ip == external.ip())
                    && add(gateway, *internal, external.port()).await.is_ok()
            }
        }
    }

    async fn give_back(self) {
        match self {
            Self::Pcp { mapping, .. } => {
                let _ = mapping.try_drop().await;
            }
            Self::Upnp { gateway, external, .. } => {
                let _ = gateway.remove_port(PortMappingProtocol::TCP, external.port()).await;
            }
        }
    }
}

/// This machine's address towards the router, and the router's.
fn way_out() -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let gateway = netdev::get_default_gateway().map_err(|_| "there is no router".to_owned())?;
    let router = *gateway.ipv4.first().ok_or("there is no IPv4 router")?;
    match crate::interfaces::source(router.into()) {
        Some(IpAddr::V4(client)) => Ok((client, router)),
        _ => Err("this machine has no IPv4 address".to_owned()),
    }
}

async fn pcp(client: Ipv4Addr, router: Ipv4Addr, port: NonZeroU16) -> Result<Lease, String> {
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LEASE_S),
        timeout_config: Some(PATIENCE),
    };
    let gateway = GatewayAddress::IpV4(router);
    let mapping = PortMapping::new(gateway, client.into(), InternetProtocol::Tcp, port, options).await;
    let mapping = Box::new(mapping.map_err(|e| e.to_string())?);
    let external = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip,
        PortMappingType::NatPmp => {
            let external = crab_nat::natpmp::external_address(gateway, Some(PATIENCE)).await;
            external.map_err(|e| e.to_string())?.into()
        }
    };
    Ok(Lease::Pcp { mapping, external: external.to_canonical() })
}

async fn upnp(client: Ipv4Addr, port: NonZeroU16) -> Result<Lease, String> {
    let internal = SocketAddr::V4(SocketAddrV4::new(client, port.get()));
    let mut options = SearchOptions::default();
    options.bind_addr = (client, 0).into();
    options.timeout = Some(SEARCH);
    options.single_search_timeout = Some(SEARCH);
    let gateway = timeout(SEARCH + ANSWER, igd_next::aio::tokio::search_gateway(options)).await;
    let gateway = gateway.map_err(|_| "no answer in time")?.map_err(|e| e.to_string())?;
    let ip = timeout(ANSWER, gateway.get_external_ip()).await;
    let ip = ip.map_err(|_| "no answer in time")?.map_err(|e| e.to_string())?;
    let external = match add(&gateway, internal, port.get()).await {
        Ok(()) => port.get(),
        Err(AddPortError::PortInUse) => {
            let any = gateway.add_any_port(PortMappingProtocol::TCP, internal, LEASE_S, LABEL);
            let any = timeout(ANSWER, any).await;
            any.map_err(|_| "no answer in time")?.map_err(|e| e.to_string())?
        }
        Err(error) => return Err(error.to_string()),
    };
    Ok(Lease::Upnp { gateway: Box::new(gateway), internal, external: SocketAddr::new(ip, external) })
}

async fn add(gateway: &Gateway<Tokio>, internal: SocketAddr, external: u16) -> Result<(), AddPortError> {
    let add = gateway.add_port(PortMappingProtocol::TCP, external, internal, LEASE_S, LABEL);
    // A router that says nothing has not done it.
    timeout(ANSWER, add).await.unwrap_or(Err(AddPortError::ActionNotAuthorized))
}
