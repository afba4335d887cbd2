//! Hiding a device's address from members, and what the doctor says of STUN, TURN and NATs, through real networks: the
//! address is looked for in what reaches the other side's router.

use felund_core::io::Command;
use felund_tests::{
    browser::{Browser, Engine},
    felund::{Circle, Felund, Tail},
    netns::{Nat, Network, Site},
    page::Page,
    relay::Relay,
    turn::Turn,
    wait,
};
use serde_json::Value;

const CIRCLE: &str = "garden club";

/// A client that runs behind a router of its own.
struct Home {
    site: Site,
    felund: Felund,
    tail: Tail,
}

impl Home {
    fn new(net: &mut Network, nat: Nat, name: &str, relay: &Relay) -> Self {
        let mut site = net.site(nat);
        let host = net.host(&mut site);
        let felund = Felund::new(name, Some(&relay.url())).on(&host);
        let tail = felund.tail(None);
        Self { site, felund, tail }
    }

    fn hide(&self, on: bool) {
        self.felund.control().ask(Command::SetHideAddress { on });
    }

    fn until_direct(&self, circle: &Circle, count: usize) {
        self.felund.control().until_direct(&circle.id, count);
    }

    /// What the doctor says of something.
    fn finding(&self, subject: &str) -> Value {
        let mut found = self.felund.findings(|of| of.starts_with(subject));
        assert_eq!(found.len(), 1, "{subject}: {found:?}");
        found.remove(0)
    }
}

/// A relay that names coturn on two machines: the first for both, the second, which has two addresses, for STUN only.
struct Middle {
    net: Network,
    relay: Relay,
    _turns: [Turn; 2],
}

fn middle(test: &str, relayed: bool) -> Option<Middle> {
    let mut net = Network::new(test)?;
    let server = net.server();
    let (other, second) = net.server_with_two_addresses();
    let turns = [Turn::start(&server), Turn::start_with_two_addresses(&other, second)];
    let mut options = if relayed { turns[0].relay_options() } else { turns[0].stun_options() };
    options.extend(turns[1].stun_options());
    let relay = Relay::start_on(&server, options);
    Some(Middle { net, relay, _turns: turns })
}

#[test]
fn the_doctor_knows_what_kind_of_nat_there_is_and_what_servers_answer() {
    let Some(mut middle) = middle("the doctor behind NATs", true) else { return };
    for (nat, mapping, filtering) in [
        (Nat::Open, "none", "endpoint-independent"),
        (Nat::Cone, "endpoint-independent", "endpoint-independent"),
        (Nat::AddressRestricted, "endpoint-independent", "address-dependent"),
        (Nat::PortRestricted, "endpoint-independent", "address-and-port-dependent"),
        (Nat::Symmetric, "address-dependent", "address-and-port-dependent"),
    ] {
        let home = Home::new(&mut middle.net, nat, &format!("{nat:?}").to_lowercase(), &middle.relay);
        let circle = home.felund.create(&format!("{nat:?}"));
        home.felund.control().until_live(&circle.id);
        let found = home.finding("NAT");
        assert_eq!(found["figures"]["mapping"], mapping, "{nat:?}: {found}");
        assert_eq!(found["figures"]["filtering"], filtering, "{nat:?}: {found}");
        let turn = home.finding("TURN server");
        assert!(turn["ok"] == true && turn["figures"]["relayed"].is_string(), "{nat:?}: {turn}");
        let candidates = home.finding("addresses to connect by");
        let has = |kind: &str| {
            candidates["figures"]["candidates"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|of| of == kind))
        };
        assert!(has("host") && has("relay") && has("srflx") == (nat != Nat::Open), "{nat:?}: {candidates}");
    }
}

#[test]
fn the_doctor_says_that_udp_is_blocked() {
    let Some(mut middle) = middle("the doctor without UDP", true) else { return };
    let home = Home::new(&mut middle.net, Nat::Cone, "alice", &middle.relay);
    middle.net.block_udp(&home.site);
    let circle = home.felund.create(CIRCLE);
    home.felund.control().until_live(&circle.id);
    for subject in ["TURN server", "NAT"] {
        let found = home.finding(subject);
        assert!(found["ok"] == false && found["advice"].is_string(), "{found}");
    }
}

#[test]
fn who_hides_is_reached_through_turn_and_ends_what_showed_its_address() {
    let Some(mut middle) = middle("hiding behind TURN", true) else { return };
    let alice = Home::new(&mut middle.net, Nat::Cone, "alice", &middle.relay);
    let bob = Home::new(&mut middle.net, Nat::Cone, "bob", &middle.relay);
    let circle = alice.felund.create(CIRCLE);
    bob.felund.join(&circle.invite);
    alice.until_direct(&circle, 1);
    alice.hide(true);
    let through = |home: &Home, name: &str| {
        wait::until(&format!("a path through TURN to {name}"), || {
            let subject = format!("connection to {name}");
            let connection = home.felund.findings(|of| of == subject).pop()?;
            connection["figures"]["local"].is_string().then_some(connection)
        })
    };
    assert_eq!(through(&alice, "bob")["figures"]["local"], "relay");
    assert_eq!(through(&bob, "alice")["figures"]["remote"], "relay");
    alice.felund.send(CIRCLE, "from nowhere");
    bob.tail.wait_for("from nowhere");
    assert_eq!(alice.finding("this device's address")["ok"], true);
}

#[test]
fn who_hides_without_turn_chats_through_the_relay() {
    let Some(mut middle) = middle("hiding without TURN", false) else { return };
    let alice = Home::new(&mut middle.net, Nat::Open, "alice", &middle.relay);
    let bob = Home::new(&mut middle.net, Nat::Open, "bob", &middle.relay);
    alice.hide(true);
    let circle = alice.felund.create(CIRCLE);
    bob.felund.join(&circle.invite);
    let stored = middle.relay.stored();
    alice.felund.send(CIRCLE, "from nowhere");
    bob.tail.wait_for("from nowhere");
    bob.felund.send(CIRCLE, "to nowhere");
    alice.tail.wait_for("to nowhere");
    assert!(middle.relay.stored() >= stored + 2, "the relay carried both");
    bob.until_direct(&circle, 0);
    assert_eq!(alice.finding("this device's address")["ok"], true);
}

/// Waits until a page says of its connection to a member that it takes such a path.
fn until_path(page: &Page<'_>, to: &str, path: &str) {
    wait::until_true(&format!("a path “{path}” to {to}"), || page.connection(to).contains(path));
}

#[test]
fn pages_know_their_nats_and_hide_behind_turn() {
    let Some(mut middle) = middle("pages behind NATs that hide", true) else { return };
    let bob = Home::new(&mut middle.net, Nat::Open, "bob", &middle.relay);
    let circle = bob.felund.create(CIRCLE);
    for (nat, words) in [(Nat::Cone, "endpoint-independent"), (Nat::Symmetric, "address-dependent")] {
        let name = format!("{nat:?}").to_lowercase();
        let mut site = middle.net.site(nat);
        let host = middle.net.host(&mut site);
        let browser = Browser::open_on(&host, Engine::Chromium, &middle.relay.url());
        let page = Page::new(&browser);
        page.join_by_link(&middle.relay.url(), &circle.invite, &name);
        page.until_direct(1);
        let found = page.doctor();
        let said = |subject: &str| {
            let (_, said) = found.iter().find(|(of, _)| of.starts_with(subject)).expect(subject);
            said.clone()
        };
        assert!(said("NAT").contains(words), "{found:?}");
        assert!(said("TURN server").contains("lends"), "{found:?}");
        until_path(&page, "bob", "here through an address");
        page.type_into("composer", "/settings\u{e007}");
        page.until("the switch", "return !!document.querySelector('#hide-address')", &[]);
        let _ = page.run("document.querySelector('#hide-address').click()", &[]);
        page.until(
            "what came of it",
            "return document.body.innerText.includes('connections are made anew')",
            &[],
        );
        let _ = page.run("document.querySelector('dialog')?.close()", &[]);
        until_path(&page, "bob", "here through a TURN server");
        // The TURN server's address may have been met by a check before it was told: it is then a peer-reflexive one.
        let subject = format!("connection to {name}");
        wait::until_true("bob sees a TURN server", || {
            let remote = bob.finding(&subject)["figures"]["remote"].clone();
            remote == "relay" || remote == "prflx"
        });
    }
}
