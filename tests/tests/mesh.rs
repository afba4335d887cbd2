//! Real clients on machines of their own, in networks that let some of them reach each other: no relay runs in any of them.

use std::time::Instant;

use felund_core::{
    ids::NodeId,
    invite::Invite,
    io::Command,
    view::{CircleView, Reach, Reply},
};
use felund_tests::{
    capture::Capture,
    control::Control,
    felund::{Circle, Felund, Tail},
    gateway::Gateway,
    leak::{self, Secrets},
    netns::{Host, Nat, Network},
    wait,
};

const CIRCLE: &str = "garden club";
const PORT: u16 = 4700;

/// A running client.
struct Member {
    felund: Felund,
    tail: Tail,
    control: Control,
}

impl Member {
    /// One that lets members in at all addresses of its machine.
    fn listening(felund: Felund) -> Self {
        let tail = felund.tail_at(std::net::Ipv6Addr::UNSPECIFIED, PORT);
        let control = felund.control();
        Self { felund, tail, control }
    }

    fn until_reached(&self, circle: &Circle, other: &str, is: impl Fn(Reach) -> bool) {
        self.control.until_circle(&circle.id, &format!("another reach of {other}"), |view| {
            reach(view, other).is_some_and(&is)
        });
    }

    fn says(&self, text: &str) {
        // How far it gets is what the test looks at elsewhere.
        let said = self.felund.run(&["send", CIRCLE, text]);
        assert!(said.stderr.is_empty(), "{said:?}");
    }
}

fn reach(view: &CircleView, name: &str) -> Option<Reach> {
    view.members.iter().find(|member| member.name == name).map(|member| member.reach)
}

/// Makes the circle on a device that listens; the invite names where.
fn founder(name: &str, host: &Host) -> (Member, Circle) {
    let felund = Felund::new(name, None).on(host);
    let mut circle = felund.create(CIRCLE);
    let mut member = Member::listening(felund);
    let id = circle.id.parse().expect("an id");
    let Reply::Invite { invite, .. } = member.control.ask(Command::Invite { circle: id }) else {
        panic!("no invite")
    };
    circle.invite = invite;
    (member, circle)
}

fn join(name: &str, host: &Host, circle: &Circle) -> Member {
    let felund = Felund::new(name, None).on(host);
    felund.join(&circle.invite);
    Member::listening(felund)
}

/// A running client that is told nothing about its network.
fn by_itself(felund: Felund) -> Member {
    let tail = felund.tail(None);
    let control = felund.control();
    Member { felund, tail, control }
}

#[test]
fn members_in_one_local_network_find_each_other_with_nothing_set_up() {
    let Some(mut net) = Network::new("members find each other in a local network") else { return };
    let mut home = net.site(Nat::PortRestricted);
    let hosts = [net.host(&mut home), net.host(&mut home), net.host(&mut home)];
    let device = |name, host| Felund::new(name, None).on(host).found_nearby();
    let alice = device("alice", &hosts[0]);
    let circle = alice.create(CIRCLE);
    let invite = Invite::parse(&circle.invite).expect("an invite");
    assert!(invite.relay.is_none() && invite.peers.is_empty(), "the invite says nothing of where anybody is");
    let alice = by_itself(alice);
    // A command that ends at once dials whom it finds.
    let bob = device("bob", &hosts[1]);
    bob.join(&circle.invite);
    let sent = bob.run(&["send", CIRCLE, "is anybody there"]);
    assert!(sent.stdout.contains("delivered"), "{sent:?}");
    alice.tail.wait_for("is anybody there");
    let bob = by_itself(bob);
    bob.until_reached(&circle, "alice", |reach| reach == Reach::Direct);
    // A second client on the same machine is one more.
    let dan = device("dan", &hosts[1]);
    dan.join(&circle.invite);
    let dan = by_itself(dan);
    for other in ["alice", "bob"] {
        dan.until_reached(&circle, other, |reach| reach == Reach::Direct);
    }
    // Who wants no such thing is neither found nor finds anybody.
    let quiet = Felund::new("quiet", None).on(&hosts[2]);
    quiet.join(&circle.invite);
    let quiet = by_itself(quiet);
    dan.says("the three of us");
    for member in [&alice, &bob] {
        member.tail.wait_for("the three of us");
    }
    assert!(quiet.felund.texts(CIRCLE).is_empty());
    let findings = dan.felund.run(&["doctor", "--json"]).stdout;
    assert!(findings.contains("members can connect at 192.168.1."), "{findings}");
}

#[test]
fn what_is_announced_in_a_local_network_names_nobody() {
    let Some(mut net) = Network::new("announcements name nobody") else { return };
    let mut home = net.site(Nat::PortRestricted);
    let hosts = [net.host(&mut home), net.host(&mut home)];
    let on_wire = Capture::start_on(home.router(), "lan");
    let alice = Felund::new("alice of the orchard", None).on(&hosts[0]).found_nearby();
    let circle = alice.create(CIRCLE);
    let alice = by_itself(alice);
    let bob = Felund::new("bob of the meadow", None).on(&hosts[1]).found_nearby();
    bob.join(&circle.invite);
    let bob = by_itself(bob);
    bob.until_reached(&circle, "alice of the orchard", |reach| reach == Reach::Direct);
    let view = bob.control.circle(&circle.id).expect("there");
    drop((alice, bob));
    let packets = on_wire.finish();
    assert!(leak::contains(&packets, b"_felund"), "the capture saw the announcements");
    let secret = Invite::parse(&circle.invite).expect("an invite").secret;
    let mut secrets = Secrets::default()
        .text("alice of the orchard")
        .text("bob of the meadow")
        .text(CIRCLE)
        .key("the circle's secret", secret.expose())
        .key("the circle's id", &hex::decode(&circle.id).expect("hex"));
    for member in &view.members {
        secrets = secrets.key("a node's id", &member.id.0);
    }
    secrets.assert_absent("the packets of the local network", &packets);
}

#[test]
fn who_cannot_reach_each_other_chat_through_a_member_that_both_can_reach() {
    let Some(mut net) = Network::new("chat through a third") else { return };
    let (mut one, mut two, mut three) = (net.site(Nat::Open), net.site(Nat::Open), net.site(Nat::Open));
    let hosts = [net.host(&mut one), net.host(&mut two), net.host(&mut three)];
    net.cut(&one, &two);
    let (cleo, circle) = founder("cleo", &hosts[2]);
    let (alice, bob) = (join("alice", &hosts[0], &circle), join("bob", &hosts[1], &circle));
    for name in ["alice", "bob"] {
        cleo.until_reached(&circle, name, |reach| reach == Reach::Direct);
    }
    alice.says("can you hear me");
    bob.tail.wait_for("can you hear me");
    bob.says("through cleo");
    alice.tail.wait_for("through cleo");
    let of_bob = alice.control.circle(&circle.id).expect("there");
    assert_ne!(reach(&of_bob, "bob"), Some(Reach::Direct), "the cut holds");
    // They do reach each other as soon as the network lets them: the addresses are known from cleo.
    net.mend();
    alice.until_reached(&circle, "bob", |reach| reach == Reach::Direct);
    drop(cleo);
    alice.says("and without her");
    bob.tail.wait_for("and without her");
}

#[test]
fn a_circle_without_a_relay_spans_routed_networks() {
    let Some(mut net) = Network::new("a circle over two networks") else { return };
    let (mut here, mut there) = (net.site(Nat::Open), net.site(Nat::Open));
    let hosts = [net.host(&mut here), net.host(&mut here), net.host(&mut there), net.host(&mut there)];
    let (alice, circle) = founder("alice", &hosts[0]);
    let others: Vec<Member> = ["bob", "cleo", "dan"]
        .iter()
        .zip(&hosts[1..])
        .map(|(name, host)| join(name, host, &circle))
        .collect();
    // Everyone was told of everyone: each is connected to all.
    for name in ["alice", "bob", "cleo"] {
        others[2].until_reached(&circle, name, |reach| reach == Reach::Direct);
    }
    for (member, text) in others.iter().zip(["one", "two", "three"]) {
        member.says(text);
        alice.tail.wait_for(text);
    }
    for member in others.iter().chain([&alice]) {
        member.felund.until_texts(CIRCLE, &["one", "two", "three"]);
    }
}

#[test]
fn a_router_that_opens_ports_lets_members_in_until_the_client_ends() {
    for (kind, open) in [("NAT-PMP", Gateway::nat_pmp as fn(&_) -> _), ("UPnP", Gateway::upnp)] {
        let Some(mut net) = Network::new("a router opens a port") else { return };
        let (mut home, mut office) = (net.site(Nat::PortRestricted), net.site(Nat::PortRestricted));
        let hosts = [net.host(&mut home), net.host(&mut office)];
        let gateway = open(&home);
        let (mut alice, circle) = founder("alice", &hosts[0]);
        let external = std::net::SocketAddrV4::new(home.public_address(), PORT);
        let invite = wait::until("an invite with the router's address", || {
            let invite = alice.felund.invite(CIRCLE);
            invite.peers.contains(&external.to_string()).then_some(invite)
        });
        let inside = std::net::SocketAddrV4::new(hosts[0].address(), PORT);
        assert_eq!(gateway.ports().into_iter().collect::<Vec<_>>(), [(PORT, inside)]);
        let findings = alice.felund.run(&["doctor"]).stdout;
        assert!(findings.contains(&format!("{external} leads here, by {kind}")), "{findings}");
        let bob = Felund::new("bob", None).on(&hosts[1]);
        bob.join(&invite.encode());
        let bob = by_itself(bob);
        bob.until_reached(&circle, "alice", |reach| reach == Reach::Direct);
        bob.says("from another network");
        alice.tail.wait_for("from another network");
        alice.tail.process().terminate();
        assert!(gateway.ports().is_empty(), "{kind}: the port is closed again");
    }
}

/// Waits until all of them name the same anchor, another one than before, and answers which.
fn until_anchor(members: &[&Member], circle: &Circle, before: Option<NodeId>) -> NodeId {
    let named = || -> Vec<Option<NodeId>> {
        members.iter().map(|member| member.control.circle(&circle.id).and_then(|view| view.anchor)).collect()
    };
    let agreed = wait::within(wait::PATIENCE, || {
        let named = named();
        let first = named[0].filter(|first| Some(*first) != before)?;
        named.iter().all(|other| *other == Some(first)).then_some(first)
    });
    agreed.unwrap_or_else(|| panic!("no common anchor after {before:?}: {:?}", named()))
}

#[test]
fn when_the_anchor_is_killed_another_takes_over_and_nothing_is_missed() {
    let Some(mut net) = Network::new("an anchor's successor") else { return };
    let mut sites =
        [net.site(Nat::Open), net.site(Nat::Open), net.site(Nat::Open), net.site(Nat::PortRestricted)];
    let hosts = sites.each_mut().map(|site| net.host(site));
    let (alice, circle) = founder("alice", &hosts[0]);
    let mut anchors = vec![alice, join("bob", &hosts[1], &circle), join("cleo", &hosts[2], &circle)];
    for member in &mut anchors {
        member.control.ask(Command::SetAnchor { on: true });
    }
    // Behind a router that lets nobody in: it can only be served.
    let dan = Felund::new("dan", None).on(&hosts[3]);
    dan.join(&circle.invite);
    let dan = by_itself(dan);
    let first = until_anchor(&anchors.iter().chain([&dan]).collect::<Vec<_>>(), &circle, None);
    dan.says("before");
    for member in &anchors {
        member.tail.wait_for("before");
    }
    let own_id = |member: &Member| {
        let view = member.control.circle(&circle.id).expect("there");
        view.members.iter().find(|member| member.reach == Reach::You).map(|you| you.id)
    };
    let at = anchors.iter().position(|member| own_id(member) == Some(first)).expect("a volunteer is elected");
    let mut killed = anchors.remove(at);
    killed.tail.process().kill();
    let killed_at = Instant::now();
    // That this takes no more than 20 s is tested in virtual time, where it does not depend on the machine.
    let next = until_anchor(&anchors.iter().chain([&dan]).collect::<Vec<_>>(), &circle, Some(first));
    assert!(anchors.iter().any(|member| own_id(member) == Some(next)), "a survivor follows");
    println!("another anchor: agreed on after {:.1} s (goal: 20 s)", killed_at.elapsed().as_secs_f32());
    dan.says("after");
    for member in &anchors {
        member.tail.wait_for("after");
    }
    // Its author ends; who was killed comes back and has missed nothing.
    drop(dan);
    let back = Member::listening(killed.felund);
    back.felund.until_texts(CIRCLE, &["before", "after"]);
}

#[test]
fn who_taps_the_wire_of_a_direct_session_reads_nothing() {
    let Some(mut net) = Network::new("a tapped wire") else { return };
    let (mut home, mut office) = (net.site(Nat::Open), net.site(Nat::Open));
    let hosts = [net.host(&mut home), net.host(&mut office)];
    let on_wire = Capture::start_on(home.router(), "wan");
    let in_packets = Capture::start_on(home.router(), "wan");
    let (alice, circle) = founder("alice of the orchard", &hosts[0]);
    let bob = join("bob of the meadow", &hosts[1], &circle);
    bob.says("meet behind the greenhouse");
    alice.tail.wait_for("meet behind the greenhouse");
    alice.says("bring the hydrangeas");
    bob.tail.wait_for("bring the hydrangeas");
    drop((alice, bob));
    let secret = Invite::parse(&circle.invite).expect("an invite").secret;
    let id = hex::decode(&circle.id).expect("hex");
    let secrets = Secrets::default()
        .text("meet behind the greenhouse")
        .text("bring the hydrangeas")
        .text(CIRCLE)
        .text("alice of the orchard")
        .text("bob of the meadow")
        .text("chat.text")
        .key("the circle's secret", secret.expose())
        .key("the circle's id", &id);
    let streams = on_wire.streams();
    assert!(streams.iter().map(Vec::len).sum::<usize>() > 1_000, "the capture saw the chat");
    // What can be seen is the shape of the first message: its length, and a version in CBOR (§12.2 of the protocol).
    let hello = |stream: &Vec<u8>| stream.get(4..6).is_some_and(|start| start == [0x84, 0x01]);
    assert!(
        streams.iter().filter(|stream| hello(stream)).count() >= 2,
        "HELLO and CHALLENGE are on the wire"
    );
    for stream in &streams {
        secrets.assert_absent("a stream between members", stream);
    }
    let packets = in_packets.finish();
    assert!(leak::contains(&packets, &hosts[1].address().octets()), "the capture saw the other machine");
    secrets.assert_absent("the packets between members", &packets);
}
