//! Checks STUN and TURN servers on demand: what they show of this machine, and how long they take.
//!
//! Each address family has one socket that asks all servers, so that what they show can be compared; the node makes of it
//! what follows. STUN and TURN messages are those of the `rtc` crate, below the same `webrtc` that connects to members.

mod stun;
mod turn;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use felund_core::{
    config::ICE_PROBE_MS,
    ice::{Gathered, IceProbe, IceReport, ServerUri},
    io::{CandidateKind, Input, ProbeId},
    relay_api::IceServer,
};
use tokio::{
    net::{UdpSocket, lookup_host},
    sync::mpsc,
    task::JoinSet,
    time::timeout_at,
};

use crate::{
    driver::Inbox,
    interfaces::{Interfaces, source},
};

/// What is left of the time for telling the node.
const MARGIN: Duration = Duration::from_millis(200);
/// A request that nobody answered is sent again this often.
const RESEND: Duration = Duration::from_millis(250);
/// Longest datagram that is read; a STUN message over UDP stays below 1,500 bytes.
const MAX_DATAGRAM: usize = 2_048;
/// Where a server did not answer.
const SILENT: &str = "no answer over UDP in time";

/// A server to ask: its URL and where it is.
#[derive(Debug, Clone)]
struct Target {
    url: String,
    at: SocketAddr,
}

/// Checks every server and tells the node, in at most [`ICE_PROBE_MS`].
pub(crate) async fn run(id: ProbeId, probe: IceProbe, inbox: mpsc::Sender<Inbox>) {
    let deadline = Instant::now() + Duration::from_millis(ICE_PROBE_MS) - MARGIN;
    let report = check(&probe, deadline).await;
    let _ = inbox.send(Inbox::Node(Input::Probed(id, report))).await;
}

async fn check(probe: &IceProbe, deadline: Instant) -> IceReport {
    let mut report = IceReport { complete: true, ..IceReport::default() };
    let resolved = resolve(probe, deadline, &mut report).await;
    let mut allocations = JoinSet::new();
    for (server, addresses) in &resolved {
        if is_turn(server)
            && let Some(at) = addresses.first()
        {
            allocations.spawn(turn::allocate(server.clone(), *at, deadline));
        }
    }
    // TURN servers answer to STUN's requests as well.
    let targets = |v4: bool| -> Vec<Target> {
        let first = |(server, addresses): &(IceServer, Vec<SocketAddr>)| {
            let at = addresses.iter().find(|at| at.is_ipv4() == v4)?;
            Some(Target { url: server.urls.concat(), at: *at })
        };
        resolved.iter().filter_map(first).collect()
    };
    let [four, six] =
        [(Ipv4Addr::UNSPECIFIED.into(), targets(true)), (Ipv6Addr::UNSPECIFIED.into(), targets(false))];
    let (four, six) = tokio::join!(family(four, deadline), family(six, deadline));
    report.found.extend(hosts(&[&four, &six]));
    report.filtering = four.filtering.or(six.filtering);
    for shown in [four, six] {
        report.found.extend(shown.found);
        report.failed.extend(shown.failed);
    }
    while let Some(allocated) = allocations.join_next().await {
        match allocated {
            Ok(Ok(relayed)) => report.found.push(relayed),
            Ok(Err(failed)) => report.failed.push(failed),
            Err(_) => report.complete = false,
        }
    }
    // What helped in one family has not failed.
    let reached: BTreeSet<String> = report
        .found
        .iter()
        .filter(|found| {
            found.kind != CandidateKind::Srflx
                || found.url.as_ref().is_some_and(|url| !ServerUri::names_turn(url))
        })
        .filter_map(|found| found.url.clone())
        .collect();
    report.failed.retain(|(url, _)| !reached.contains(url));
    report
}

fn is_turn(server: &IceServer) -> bool {
    server.urls.iter().any(|url| ServerUri::names_turn(url))
}

/// Looks the servers up, IPv4 first; those that have no address have failed.
async fn resolve(
    probe: &IceProbe,
    deadline: Instant,
    report: &mut IceReport,
) -> Vec<(IceServer, Vec<SocketAddr>)> {
    let mut lookups = JoinSet::new();
    for (place, server) in probe.servers.iter().cloned().enumerate() {
        lookups.spawn(async move {
            let url = server.urls.concat();
            let place_of = match ServerUri::parse(&url) {
                Ok(uri) => uri.authority(),
                Err(fault) => return (place, server, Err(fault)),
            };
            let found = match timeout_at(deadline.into(), lookup_host(place_of)).await {
                Err(_) => Err("its name was not looked up in time".to_owned()),
                Ok(Err(error)) => Err(format!("its name cannot be looked up: {error}")),
                Ok(Ok(addresses)) => Ok(addresses.collect::<Vec<_>>()),
            };
            (place, server, found)
        });
    }
    let mut resolved = Vec::new();
    while let Some(lookup) = lookups.join_next().await {
        match lookup {
            Ok((place, server, Ok(mut addresses))) => {
                addresses.sort_by_key(SocketAddr::is_ipv6);
                resolved.push((place, server, addresses));
            }
            Ok((_, server, Err(fault))) => report.failed.push((server.urls.concat(), fault)),
            Err(_) => report.complete = false,
        }
    }
    resolved.sort_by_key(|(place, ..)| *place);
    resolved.into_iter().map(|(_, server, addresses)| (server, addresses)).collect()
}

/// Asks all servers of one family from one socket.
async fn family((any, targets): (std::net::IpAddr, Vec<Target>), deadline: Instant) -> stun::Seen {
    match UdpSocket::bind((any, 0)).await {
        Ok(socket) => stun::ask(&socket, targets, deadline).await,
        Err(error) => {
            let fault = format!("no socket: {error}");
            let failed = targets.into_iter().map(|target| (target.url, fault.clone())).collect();
            stun::Seen { failed, ..stun::Seen::default() }
        }
    }
}

/// This machine's own addresses at the sockets' ports.
fn hosts(families: &[&stun::Seen]) -> Vec<Gathered> {
    let interfaces = Interfaces::now();
    let own = |bound: SocketAddr| {
        let mut addresses = interfaces.endpoints(bound);
        addresses.retain(|address| {
            address.parse::<SocketAddr>().is_ok_and(|own| own.is_ipv4() == bound.is_ipv4())
        });
        addresses
    };
    let addresses = families.iter().filter_map(|seen| seen.bound).flat_map(own);
    let host = |address| Gathered {
        kind: CandidateKind::Host,
        address,
        base: None,
        url: None,
        server: None,
        took_ms: None,
    };
    addresses.map(host).collect()
}

/// Where packets of a socket to there come from.
fn local(socket: &UdpSocket, to: SocketAddr) -> Option<SocketAddr> {
    let bound = socket.local_addr().ok()?;
    Some(SocketAddr::new(source(to.ip())?, bound.port()))
}

/// Milliseconds since then.
fn since(then: Instant) -> Option<u32> {
    u32::try_from(then.elapsed().as_millis()).ok()
}
