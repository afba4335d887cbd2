//! The networks that other tests are built on do what their names say.

use std::{
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    time::{Duration, Instant},
};

use felund_tests::{
    netns::{Host, Nat, Network},
    wait::PATIENCE,
};

/// How long to listen for what should not come.
const SILENCE: Duration = Duration::from_millis(200);

fn socket(host: &Host) -> UdpSocket {
    host.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("a socket")
}

/// How long to wait for a packet before another is sent.
const AGAIN: Duration = Duration::from_secs(1);

/// The next packet and who it came from, if one comes.
fn hear(socket: &UdpSocket, patience: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    let mut packet = [0; 16];
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    let (len, from) = socket.recv_from(&mut packet).ok()?;
    Some((packet[..len].to_vec(), from))
}

/// Sends until something arrives, and answers who the receiver says it came from. The kernel drops what a link is given
/// before it has noticed that the link is up, which takes it the longer the more networks come and go at once.
fn crosses(from: &UdpSocket, to: &UdpSocket, address: impl ToSocketAddrs) -> SocketAddr {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        from.send_to(b"hello", &address).expect("sent");
        if let Some((_, sender)) = hear(to, AGAIN) {
            return sender;
        }
    }
    panic!("what is let through arrives")
}

/// Whether a packet is let through: one that certainly is follows it.
fn gets_through(from: &UdpSocket, certain: &UdpSocket, to: &UdpSocket, address: SocketAddr) -> bool {
    from.send_to(b"knock", address).expect("sent");
    certain.send_to(b"end", address).expect("sent");
    let (mut knocked, mut ended) = (false, false);
    while let Some((packet, _)) = hear(to, if ended { SILENCE } else { PATIENCE }) {
        knocked |= packet == b"knock";
        ended |= packet == b"end";
    }
    assert!(ended, "what is let through arrives");
    knocked
}

fn is_silent(socket: &UdpSocket) -> bool {
    hear(socket, SILENCE).is_none()
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("is bound").port()
}

/// How a mapping and its filter look from outside.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Two destinations see the same address and port.
    independent_mapping: bool,
    /// Somebody who was never sent to gets through.
    strangers: bool,
    /// Who was sent to gets through from another port too.
    other_ports: bool,
}

fn look(nat: Nat) -> Option<Seen> {
    let mut net = Network::new("the kinds of NAT")?;
    let mut home = net.site(nat);
    let inside = net.host(&mut home);
    let (one, two, stranger) = (net.server(), net.server(), net.server());
    let client = socket(&inside);
    let (at_one, at_two, again_one, at_stranger) =
        (socket(&one), socket(&two), socket(&one), socket(&stranger));
    let first = crosses(&client, &at_one, (one.address(), port(&at_one)));
    let second = crosses(&client, &at_two, (two.address(), port(&at_two)));
    let from = if nat == Nat::Open { inside.address() } else { home.public_address() };
    assert!(first.ip() == from && second.ip() == from, "{nat:?}: {first} and {second} are not {from}");
    assert_eq!(crosses(&at_one, &client, first), SocketAddr::from((one.address(), port(&at_one))));
    // Whose knock is not heard shall have been turned away by the router, not by a link that is not up yet.
    crosses(&at_stranger, &at_one, (one.address(), port(&at_one)));
    Some(Seen {
        independent_mapping: first == second,
        strangers: gets_through(&at_stranger, &at_one, &client, first),
        other_ports: gets_through(&again_one, &at_one, &client, first),
    })
}

#[test]
fn each_kind_of_nat_maps_and_filters_as_its_name_says() {
    for nat in Nat::ALL {
        let Some(seen) = look(nat) else { return };
        let expected = Seen {
            independent_mapping: nat != Nat::Symmetric,
            strangers: matches!(nat, Nat::Open | Nat::Cone),
            other_ports: matches!(nat, Nat::Open | Nat::Cone | Nat::AddressRestricted),
        };
        assert_eq!(seen, expected, "{nat:?}");
    }
}

#[test]
fn ports_are_punched_open_between_restricted_routers_and_not_between_symmetric_ones() {
    for (kind, opens) in [(Nat::PortRestricted, true), (Nat::Symmetric, false)] {
        let Some(mut net) = Network::new("hole punching") else { return };
        let (mut home, mut office) = (net.site(kind), net.site(kind));
        let (alice, bob, stun) = (net.host(&mut home), net.host(&mut office), net.server());
        let (at_alice, at_bob, at_stun) = (socket(&alice), socket(&bob), socket(&stun));
        let of_alice = crosses(&at_alice, &at_stun, (stun.address(), port(&at_stun)));
        let of_bob = crosses(&at_bob, &at_stun, (stun.address(), port(&at_stun)));
        // The first knock is refused at the other's router, and opens the own one for the answer.
        assert!(!gets_through(&at_alice, &at_stun, &at_bob, of_bob), "nothing comes in unasked");
        assert_eq!(gets_through(&at_bob, &at_stun, &at_alice, of_alice), opens, "{kind:?}");
    }
}

#[test]
fn a_router_with_a_new_address_forgets_what_it_mapped() {
    let Some(mut net) = Network::new("a renumbered router") else { return };
    let mut home = net.site(Nat::PortRestricted);
    let (inside, server) = (net.host(&mut home), net.server());
    let (client, at_server) = (socket(&inside), socket(&server));
    let to = (server.address(), port(&at_server));
    let before = crosses(&client, &at_server, to);
    assert_eq!(before.ip(), home.public_address());
    home.renumber();
    assert_ne!(before.ip(), home.public_address());
    at_server.send_to(b"late", before).expect("sent");
    assert!(is_silent(&client), "the old address leads nowhere");
    assert_eq!(crosses(&client, &at_server, to).ip(), home.public_address());
}

#[test]
fn cuts_blocks_and_losses_hold_until_they_are_mended() {
    let Some(mut net) = Network::new("cuts and losses") else { return };
    let (mut home, mut office) = (net.site(Nat::Open), net.site(Nat::Open));
    let (alice, bob) = (net.host(&mut home), net.host(&mut office));
    let (at_alice, at_bob) = (socket(&alice), socket(&bob));
    let to = (bob.address(), port(&at_bob));
    let arrives = || crosses(&at_alice, &at_bob, to).ip() == alice.address();
    let is_lost = || {
        at_alice.send_to(b"hello", to).expect("sent");
        is_silent(&at_bob)
    };
    assert!(arrives());
    net.cut(&home, &office);
    assert!(is_lost());
    net.mend();
    assert!(arrives());
    net.block_udp(&office);
    assert!(is_lost());
    net.mend();
    net.lose(&home, 50);
    let lost = (0..40).filter(|_| is_lost()).count();
    assert!((1..40).contains(&lost), "half of 40 packets are lost, not {lost}");
    net.mend();
    alice.unplug();
    assert!(at_alice.send_to(b"hello", to).is_err());
    alice.plug_in(&home);
    assert!(arrives());
    let v6 = bob.address_v6().expect("an open site has both families");
    let over_v6 = alice.inside(|| UdpSocket::bind("[::]:0")).expect("a socket");
    let listening = bob.inside(|| UdpSocket::bind("[::]:0")).expect("a socket");
    let from = crosses(&over_v6, &listening, (v6, port(&listening)));
    assert_eq!(Some(from.ip()), alice.address_v6().map(Into::into));
}
