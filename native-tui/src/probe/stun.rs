//! Binding requests (RFC 8489 §2), and the tests of NAT behaviour with servers that have two addresses (RFC 5780 §4).

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use felund_core::{
    ice::{Filtering, Gathered},
    io::CandidateKind,
};
use rtc::stun::{
    addr::MappedAddress,
    attributes::{ATTR_CHANGE_REQUEST, ATTR_OTHER_ADDRESS},
    error_code::ErrorCodeAttribute,
    message::{
        BINDING_REQUEST, CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, Getter, METHOD_BINDING, Message,
        Setter, TransactionId,
    },
    xoraddr::XorMappedAddress,
};
use tokio::{net::UdpSocket, time::timeout_at};

use super::{MAX_DATAGRAM, RESEND, SILENT, Target, local, since};

/// How long answers from elsewhere are waited for: their absence is a finding.
const FILTER_PATIENCE: Duration = Duration::from_millis(1_000);
/// CHANGE-REQUEST: answer from the other address and the other port (RFC 5780 §7.2).
const OTHER_ADDRESS_AND_PORT: u8 = 0b110;
/// CHANGE-REQUEST: answer from the other port.
const OTHER_PORT: u8 = 0b010;

/// What one family's servers have shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) bound: Option<SocketAddr>,
    pub(super) found: Vec<Gathered>,
    pub(super) failed: Vec<(String, String)>,
    pub(super) filtering: Option<Filtering>,
}

/// A request that has not been answered.
struct Asked {
    target: Target,
    raw: Vec<u8>,
    sent: Instant,
}

/// What a server answered.
struct Answer {
    mapped: Result<SocketAddr, String>,
    /// Its other address, if it has two.
    other: Option<SocketAddr>,
}

/// Asks all servers from this socket, and the first that has two addresses at both and about filtering.
pub(super) async fn ask(socket: &UdpSocket, targets: Vec<Target>, deadline: Instant) -> Seen {
    let mut seen = Seen { bound: socket.local_addr().ok(), ..Seen::default() };
    let mut asked = HashMap::new();
    for target in targets {
        begin(socket, target, &mut asked).await;
    }
    let mut filter = None;
    let mut again = Instant::now() + RESEND;
    let mut buffer = [0; MAX_DATAGRAM];
    while !asked.is_empty() && Instant::now() < deadline {
        let Ok(received) = timeout_at(again.min(deadline).into(), socket.recv_from(&mut buffer)).await else {
            for request in asked.values() {
                let _ = socket.send_to(&request.raw, request.target.at).await;
            }
            again = Instant::now() + RESEND;
            continue;
        };
        // Errors of earlier sends come here on some systems.
        let Ok((length, from)) = received else { continue };
        let Some((id, answer)) = read(&buffer[..length]) else { continue };
        if asked.get(&id).is_none_or(|request: &Asked| request.target.at != from) {
            continue;
        }
        let Some(request) = asked.remove(&id) else { continue };
        match answer.mapped {
            Ok(mapped) => seen.found.push(gathered(socket, &request, mapped)),
            Err(fault) => seen.failed.push((request.target.url.clone(), fault)),
        }
        if let Some(other) =
            answer.other.filter(|other| filter.is_none() && other.is_ipv4() == from.is_ipv4())
        {
            filter = Some(tokio::spawn(filtering(request.target.at, deadline)));
            for at in [SocketAddr::new(other.ip(), from.port()), SocketAddr::new(other.ip(), other.port())] {
                begin(socket, Target { at, ..request.target.clone() }, &mut asked).await;
            }
        }
    }
    seen.failed.extend(asked.into_values().map(|request| (request.target.url, SILENT.to_owned())));
    if let Some(filter) = filter {
        seen.filtering = filter.await.ok().flatten();
    }
    seen
}

async fn begin(socket: &UdpSocket, target: Target, asked: &mut HashMap<TransactionId, Asked>) {
    let Some((id, raw)) = request(None) else { return };
    // A family without a route refuses to send; silence then says the same.
    let _ = socket.send_to(&raw, target.at).await;
    asked.insert(id, Asked { target, raw, sent: Instant::now() });
}

fn gathered(socket: &UdpSocket, request: &Asked, mapped: SocketAddr) -> Gathered {
    Gathered {
        kind: CandidateKind::Srflx,
        address: mapped.to_string(),
        base: local(socket, request.target.at).map(|base| base.to_string()),
        url: Some(request.target.url.clone()),
        server: Some(request.target.at.to_string()),
        took_ms: since(request.sent),
    }
}

/// A Binding request, which may ask for an answer from elsewhere.
fn request(change: Option<u8>) -> Option<(TransactionId, Vec<u8>)> {
    let mut message = Message::new();
    let setters: [Box<dyn Setter>; 2] = [Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)];
    message.build(&setters).ok()?;
    if let Some(flags) = change {
        message.add(ATTR_CHANGE_REQUEST, &[0, 0, 0, flags]);
    }
    Some((message.transaction_id, message.raw))
}

/// An answer to a Binding request; nothing of anything else.
fn read(bytes: &[u8]) -> Option<(TransactionId, Answer)> {
    let mut message = Message::new();
    message.raw = bytes.to_vec();
    message.decode().ok()?;
    if message.typ.method != METHOD_BINDING {
        return None;
    }
    let mapped = match message.typ.class {
        CLASS_SUCCESS_RESPONSE => {
            let mut mapped = XorMappedAddress::default();
            mapped.get_from(&message).ok()?;
            Ok(SocketAddr::new(mapped.ip, mapped.port))
        }
        CLASS_ERROR_RESPONSE => {
            let mut code = ErrorCodeAttribute::default();
            code.get_from(&message).ok()?;
            Err(format!("refused: {code}"))
        }
        _ => return None,
    };
    let mut other = MappedAddress::default();
    let other = other
        .get_from_as(&message, ATTR_OTHER_ADDRESS)
        .is_ok()
        .then(|| SocketAddr::new(other.ip, other.port));
    Some((message.transaction_id, Answer { mapped, other }))
}

/// What is let in at a socket that has sent to one place only (RFC 5780 §4.4); `None` when that place does not answer
/// here, or answers from where it was not asked to.
async fn filtering(server: SocketAddr, deadline: Instant) -> Option<Filtering> {
    let any: std::net::IpAddr = if server.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    let (plain, both, port) =
        (request(None)?, request(Some(OTHER_ADDRESS_AND_PORT))?, request(Some(OTHER_PORT))?);
    let end = deadline.min(Instant::now() + FILTER_PATIENCE);
    let (mut answered, mut port_passed) = (false, false);
    let mut again = Instant::now();
    let mut buffer = [0; MAX_DATAGRAM];
    while Instant::now() < end {
        if Instant::now() >= again {
            for (_, raw) in [&plain, &both, &port] {
                let _ = socket.send_to(raw, server).await;
            }
            again = Instant::now() + RESEND;
        }
        let Ok(Ok((length, from))) = timeout_at(again.min(end).into(), socket.recv_from(&mut buffer)).await
        else {
            continue;
        };
        match read(&buffer[..length]) {
            Some((id, Answer { mapped: Ok(_), .. })) if id == both.0 => {
                return (from.ip() != server.ip()).then_some(Filtering::EndpointIndependent);
            }
            Some((id, Answer { mapped: Ok(_), .. })) if id == port.0 => {
                if from.port() == server.port() {
                    return None;
                }
                port_passed = true;
            }
            Some((id, Answer { mapped: Err(_), .. })) if id != plain.0 => return None,
            Some((id, _)) if id == plain.0 => answered = true,
            _ => {}
        }
    }
    match (answered, port_passed) {
        (false, false) => None,
        (_, true) => Some(Filtering::AddressDependent),
        (true, false) => Some(Filtering::AddressAndPortDependent),
    }
}

#[cfg(test)]
mod tests {
    use rtc::stun::message::BINDING_SUCCESS;

    use super::*;

    /// An answer to a request, or to none.
    fn success(to: Option<&[u8]>, shows: &str) -> Vec<u8> {
        let mut asked = Message::new();
        if let Some(raw) = to {
            asked.raw = raw.to_vec();
            asked.decode().expect("a request");
        }
        let shows: SocketAddr = shows.parse().expect("an address");
        let mut answer = Message::new();
        let setters: [Box<dyn Setter>; 3] = [
            Box::new(asked.transaction_id),
            Box::new(BINDING_SUCCESS),
            Box::new(XorMappedAddress { ip: shows.ip(), port: shows.port() }),
        ];
        answer.build(&setters).expect("an answer");
        answer.raw
    }

    /// A server at a socket of this machine that says these are the address it sees.
    async fn server(shows: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let at = socket.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut buffer = [0; MAX_DATAGRAM];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                // Neither what is no STUN nor what answers nothing may count.
                for datagram in
                    [b"noise".to_vec(), success(None, shows), success(Some(&buffer[..length]), shows)]
                {
                    let _ = socket.send_to(&datagram, from).await;
                }
            }
        });
        at
    }

    #[tokio::test]
    async fn what_servers_show_is_told_with_the_socket_it_was_asked_from_and_silence_is_named() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let targets = vec![
            Target { url: "stun:a".into(), at: server("203.0.113.7:4000").await },
            Target { url: "stun:b".into(), at: server("203.0.113.7:4001").await },
            Target { url: "stun:c".into(), at: silent.local_addr().expect("an address") },
        ];
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let base = socket.local_addr().expect("an address").to_string();
        let mut seen = ask(&socket, targets, Instant::now() + Duration::from_millis(600)).await;
        seen.found.sort_by(|a, b| a.url.cmp(&b.url));
        let shown: Vec<(&str, Option<&str>)> =
            seen.found.iter().map(|found| (found.address.as_str(), found.base.as_deref())).collect();
        assert_eq!(
            shown,
            [("203.0.113.7:4000", Some(base.as_str())), ("203.0.113.7:4001", Some(base.as_str()))]
        );
        assert_eq!(seen.failed, [("stun:c".to_owned(), SILENT.to_owned())]);
        assert_eq!(seen.filtering, None);
    }
}
