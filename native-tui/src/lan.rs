//! The local network: what the node announces there, and what is announced by others (DNS-SD over multicast DNS).
//!
//! What an announcement means only the node knows. Here strangers' announcements are bounded: how many, and that their
//! addresses are of a network this machine is in, so that nobody there can have it dial elsewhere.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use felund_core::{
    config::{MAX_ENDPOINTS, MAX_NEARBY},
    io::{Announcement, Input},
};
use mdns_sd::{IfKind, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo, TxtProperty};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{driver::Inbox, interfaces::Interfaces};

/// What Felund's services are called.
const SERVICE: &str = "_felund._tcp.local.";
/// Announcements that change together are looked at together.
const SETTLE: Duration = Duration::from_millis(200);
/// How long to wait before listening again, should the daemon have given up on us for not keeping up.
const AGAIN: Duration = Duration::from_secs(1);
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// Addresses of the machine are looked up this often, in seconds.
const ADDRESS_CHECK_S: u32 = 10;
/// Most properties of one announcement that are passed on.
const MAX_PROPERTIES: usize = 8;

/// A place in the local network.
pub(crate) struct Lan {
    daemon: ServiceDaemon,
    /// The full name of what is announced.
    said: Option<String>,
    seen: Arc<AtomicUsize>,
}

impl Lan {
    /// Starts to listen for announcements; the node hears of them through `inbox`.
    ///
    /// # Errors
    /// A text for people.
    pub(crate) fn open(inbox: mpsc::Sender<Inbox>) -> Result<Self, String> {
        let daemon = ServiceDaemon::new().map_err(|e| e.to_string())?;
        let quiet = [IfKind::LoopbackV4, IfKind::LoopbackV6];
        daemon.disable_interface(quiet.to_vec()).map_err(|e| e.to_string())?;
        daemon.set_ip_check_interval(ADDRESS_CHECK_S).map_err(|e| e.to_string())?;
        let seen = Arc::new(AtomicUsize::new(0));
        tokio::spawn(listen(daemon.clone(), Arc::clone(&seen), inbox));
        Ok(Self { daemon, said: None, seen })
    }

    /// How many services of others are announced at present.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed).saturating_sub(usize::from(self.said.is_some()))
    }

    /// Announces a listener in place of what was announced before.
    ///
    /// # Errors
    /// A text for people.
    pub(crate) fn announce(
        &mut self,
        bound: SocketAddr,
        announcement: Option<Announcement>,
    ) -> Result<(), String> {
        let fresh = announcement.map(|fresh| service(bound, fresh)).transpose()?;
        let name = fresh.as_ref().map(|service| service.get_fullname().to_owned());
        if let Some(service) = fresh {
            self.daemon.register(service).map_err(|e| e.to_string())?;
        }
        if let Some(old) = std::mem::replace(&mut self.said, name) {
            // The answer only says that it is done.
            let _ = self.daemon.unregister(&old);
        }
        Ok(())
    }

    /// Takes back what is announced, so that nobody dials in vain.
    pub(crate) async fn close(mut self) {
        if let Some(old) = self.said.take()
            && let Ok(done) = self.daemon.unregister(&old)
        {
            let _ = timeout(GOODBYE, done.recv_async()).await;
        }
        if let Ok(done) = self.daemon.shutdown() {
            let _ = timeout(GOODBYE, done.recv_async()).await;
        }
    }
}

fn service(bound: SocketAddr, fresh: Announcement) -> Result<ServiceInfo, String> {
    let properties: Vec<TxtProperty> = fresh.properties.into_iter().map(TxtProperty::from).collect();
    let host = format!("{}.local.", fresh.instance);
    let own: &[IpAddr] = if bound.ip().is_unspecified() { &[] } else { &[bound.ip()] };
    let service = ServiceInfo::new(SERVICE, &fresh.instance, &host, own, bound.port(), properties);
    let mut service = service.map_err(|e| e.to_string())?;
    // Drawn by lot from 2⁶⁴, the name is nobody else's.
    service.set_requires_probe(false);
    Ok(if own.is_empty() { service.enable_addr_auto() } else { service })
}

/// Keeps the node informed of what is announced at present.
async fn listen(daemon: ServiceDaemon, seen: Arc<AtomicUsize>, inbox: mpsc::Sender<Inbox>) {
    let mut found: BTreeMap<String, Announcement> = BTreeMap::new();
    while let Ok(events) = daemon.browse(SERVICE) {
        while let Ok(event) = events.recv_async().await {
            let interfaces = Interfaces::now();
            let mut changed = take(&mut found, event, &interfaces);
            sleep(SETTLE).await;
            while let Ok(event) = events.try_recv() {
                changed |= take(&mut found, event, &interfaces);
            }
            seen.store(found.len(), Ordering::Relaxed);
            let present = || Input::Nearby(found.values().cloned().collect());
            if changed && inbox.send(Inbox::Node(present())).await.is_err() {
                return;
            }
        }
        sleep(AGAIN).await;
    }
}

/// Takes in one event; whether it changed anything.
fn take(found: &mut BTreeMap<String, Announcement>, event: ServiceEvent, interfaces: &Interfaces) -> bool {
    match event {
        ServiceEvent::ServiceResolved(service) => {
            let room = found.len() < MAX_NEARBY || found.contains_key(&service.fullname);
            let seen = announcement(&service, interfaces);
            room && found.insert(service.fullname.clone(), seen.clone()) != Some(seen)
        }
        ServiceEvent::ServiceRemoved(_, name) => found.remove(&name).is_some(),
        _ => false,
    }
}

fn announcement(service: &ResolvedService, interfaces: &Interfaces) -> Announcement {
    let mut addresses: Vec<SocketAddr> = service
        .addresses
        .iter()
        .filter_map(|ip| match ip {
            ScopedIp::V4(ip) => Some(SocketAddr::new((*ip.addr()).into(), service.port)),
            ScopedIp::V6(ip) => {
                // Only within a link an address needs to say which.
                let scope = if ip.addr().is_unicast_link_local() { ip.scope_id().index } else { 0 };
                Some(SocketAddrV6::new(*ip.addr(), service.port, 0, scope).into())
            }
            _ => None,
        })
        .filter(|at| at.port() != 0 && !at.ip().is_loopback() && interfaces.is_near(at.ip()))
        .collect();
    // What is good beyond one link first.
    let rank = |at: &SocketAddr| match at.ip() {
        IpAddr::V4(ip) => (ip.is_link_local(), 0),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), 1),
    };
    addresses.sort_unstable_by_key(|at| (rank(at), *at));
    addresses.truncate(MAX_ENDPOINTS);
    let properties = service.txt_properties.iter().take(MAX_PROPERTIES);
    Announcement {
        instance: service.fullname.strip_suffix(SERVICE).unwrap_or_default().trim_end_matches('.').to_owned(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        properties: properties
            .map(|property| (property.key().to_owned(), property.val().unwrap_or_default().to_vec()))
            .collect(),
    }
}
