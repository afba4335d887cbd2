//! Connections in networks that get in their way: whatever happens to a path, chat goes on, and each message arrives
//! once.

use std::thread;

use felund_core::{model::Model, view::Reach};
use felund_tests::{
    browser::{Browser, Engine},
    felund::Circle,
    internet::{Helps, Internet, Person},
    netns::Nat,
    page::Page,
    wait,
};

const CIRCLE: &str = "garden club";

/// Two people behind such routers, in a circle of their own.
fn two(internet: &mut Internet, [one, other]: [Nat; 2]) -> (Person, Person, Circle) {
    let alice = Person::start(internet, one, "alice");
    let bob = Person::start(internet, other, "bob");
    let circle = alice.felund.create(CIRCLE);
    bob.felund.join(&circle.invite);
    (alice, bob, circle)
}

fn direct(alice: &Person, bob: &Person, circle: &Circle) {
    alice.until_direct(circle, 1);
    bob.until_direct(circle, 1);
}

/// Both say so many things by turns; what was said.
fn chat(alice: &mut Person, bob: &mut Person, circle: &Circle, when: &str, rounds: usize) -> Vec<String> {
    let mut said = Vec::new();
    for round in 0..rounds {
        for person in [&mut *alice, &mut *bob] {
            let text = format!("{} {when}, {round}", person.name);
            person.types(circle, &text);
            said.push(text);
        }
    }
    said
}

fn assert_same_chat(alice: &Person, bob: &Person, circle: &Circle, said: &[String]) {
    alice.until_has_once(circle, said);
    bob.until_has_once(circle, said);
    assert_eq!(alice.felund.texts(CIRCLE), bob.felund.texts(CIRCLE), "both show one order");
}

#[test]
fn what_is_said_while_the_path_changes_from_the_relay_to_a_direct_one_arrives_once() {
    let Some(mut internet) = Internet::new("an upgrade", Helps::Turn) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::Cone, Nat::AddressRestricted]);
    let mut said = Vec::new();
    // From the first moment on, until a while after both are connected.
    for step in 0.. {
        said.extend(chat(&mut alice, &mut bob, &circle, &format!("step {step}"), 2));
        if !bob.connections("alice").is_empty() && !alice.connections("bob").is_empty() {
            break;
        }
    }
    said.extend(chat(&mut alice, &mut bob, &circle, "directly", 10));
    assert_same_chat(&alice, &bob, &circle, &said);
}

#[test]
fn a_relay_that_is_a_stun_server_itself_lets_people_behind_routers_meet() {
    let Some(mut internet) = Internet::new("the relay's STUN", Helps::Relay) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::PortRestricted, Nat::AddressRestricted]);
    direct(&alice, &bob, &circle);
    let stored = internet.relay.stored();
    let said = chat(&mut alice, &mut bob, &circle, "directly", 5);
    assert_same_chat(&alice, &bob, &circle, &said);
    assert_eq!(internet.relay.stored(), stored);
}

#[test]
fn where_no_turn_server_helps_symmetric_routers_leave_the_relay() {
    let Some(mut internet) = Internet::new("no TURN", Helps::Stun) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::Symmetric, Nat::Symmetric]);
    let said = chat(&mut alice, &mut bob, &circle, "through the relay", 5);
    assert_same_chat(&alice, &bob, &circle, &said);
    assert!(internet.relay.stored() > 0);
    assert!(alice.connections("bob").is_empty() && bob.connections("alice").is_empty());
}

#[test]
fn where_udp_is_blocked_pages_go_through_turn_over_tcp_and_terminals_through_the_relay() {
    let Some(mut internet) = Internet::new("no UDP", Helps::Turn) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::Cone, Nat::Cone]);
    internet.net.block_udp(&alice.site);
    let (office, desk) = internet.home(Nat::PortRestricted);
    internet.net.block_udp(&office);
    let said = chat(&mut alice, &mut bob, &circle, "through the relay", 3);
    assert_same_chat(&alice, &bob, &circle, &said);
    let browser = Browser::open_on(&desk, Engine::Chromium, &internet.relay.url());
    let page = Page::new(&browser);
    page.join_by_link(&internet.relay.url(), &circle.invite, "cleo");
    bob.until_direct(&circle, 1);
    page.until_direct(1);
    let path = page.connection("bob");
    assert!(path.contains("here through a TURN server"), "{path}");
    page.send("from a page without UDP");
    for person in [&alice, &bob] {
        person.tail.wait_for("from a page without UDP");
    }
    bob.types(&circle, "from a terminal");
    page.wait_message("from a terminal");
}

#[test]
fn a_network_that_loses_every_tenth_packet_loses_no_message() {
    let Some(mut internet) = Internet::new("losses", Helps::Turn) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::PortRestricted, Nat::PortRestricted]);
    direct(&alice, &bob, &circle);
    internet.net.lose(&alice.site, 10);
    let said = chat(&mut alice, &mut bob, &circle, "through the noise", 50);
    assert_same_chat(&alice, &bob, &circle, &said);
}

#[test]
fn a_connection_is_made_through_a_network_that_loses_every_tenth_packet() {
    let Some(mut internet) = Internet::new("a lossy start", Helps::Turn) else { return };
    let alice = Person::start(&mut internet, Nat::PortRestricted, "alice");
    internet.net.lose(&alice.site, 10);
    let bob = Person::start(&mut internet, Nat::Cone, "bob");
    let circle = alice.felund.create(CIRCLE);
    bob.felund.join(&circle.invite);
    // An attempt that loses too much is given up after ten seconds, and the next one comes some time later.
    let meets =
        |one: &Person| one.control.circle(&circle.id).is_some_and(|view| Model::reach_counts(&view).0 == 1);
    let met = wait::within(3 * wait::PATIENCE, || (meets(&alice) && meets(&bob)).then_some(()));
    assert!(met.is_some(), "no direct connection: {:#?}", alice.control.circle(&circle.id));
}

#[test]
fn a_router_that_gets_another_address_mid_chat_costs_no_message() {
    let Some(mut internet) = Internet::new("a new address", Helps::Turn) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::PortRestricted, Nat::Cone]);
    direct(&alice, &bob, &circle);
    let mut said = chat(&mut alice, &mut bob, &circle, "before", 5);
    alice.site.renumber();
    said.extend(chat(&mut alice, &mut bob, &circle, "just after", 10));
    assert_same_chat(&alice, &bob, &circle, &said);
    direct(&alice, &bob, &circle);
    said.extend(chat(&mut alice, &mut bob, &circle, "from there", 5));
    assert_same_chat(&alice, &bob, &circle, &said);
}

#[test]
fn a_cable_pulled_and_put_back_costs_no_message() {
    let Some(mut internet) = Internet::new("a pulled cable", Helps::Turn) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::PortRestricted, Nat::Cone]);
    direct(&alice, &bob, &circle);
    let mut said = chat(&mut alice, &mut bob, &circle, "before", 3);
    alice.host.unplug();
    said.extend(chat(&mut alice, &mut bob, &circle, "meanwhile", 3));
    alice.host.plug_in(&alice.site);
    assert_same_chat(&alice, &bob, &circle, &said);
    direct(&alice, &bob, &circle);
}

/// Waits until somebody who sleeps is given up: the session's signs of life have to fail first.
fn until_gone(person: &Person, circle: &Circle) {
    let given_up = wait::within(3 * wait::PATIENCE, || {
        let view = person.control.circle(&circle.id)?;
        view.members.iter().all(|member| member.reach != Reach::Direct).then_some(())
    });
    assert!(given_up.is_some(), "{} still takes the sleeper for connected", person.name);
}

#[test]
fn a_terminal_that_slept_has_missed_nothing_and_is_reached_directly_again() {
    let Some(mut internet) = Internet::new("a sleeping terminal", Helps::Turn) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::PortRestricted, Nat::Cone]);
    direct(&alice, &bob, &circle);
    let mut said = chat(&mut alice, &mut bob, &circle, "before", 3);
    assert_same_chat(&alice, &bob, &circle, &said);
    let asleep = bob.tail.running().pause();
    for (when, gone) in [("as it falls asleep", false), ("while it sleeps", true)] {
        if gone {
            until_gone(&alice, &circle);
        }
        for round in 0..3 {
            let text = format!("alice {when}, {round}");
            alice.types(&circle, &text);
            said.push(text);
        }
    }
    drop(asleep);
    bob.types(&circle, "good morning");
    said.push("good morning".to_owned());
    assert_same_chat(&alice, &bob, &circle, &said);
    direct(&alice, &bob, &circle);
    said.extend(chat(&mut alice, &mut bob, &circle, "after", 3));
    assert_same_chat(&alice, &bob, &circle, &said);
}

#[test]
fn a_page_that_slept_has_missed_nothing_and_is_reached_directly_again() {
    let Some(mut internet) = Internet::new("a sleeping page", Helps::Turn) else { return };
    let mut alice = Person::start(&mut internet, Nat::PortRestricted, "alice");
    let circle = alice.felund.create(CIRCLE);
    let (_, laptop) = internet.home(Nat::Cone);
    let browser = Browser::open_on(&laptop, Engine::Chromium, &internet.relay.url());
    let page = Page::new(&browser);
    page.join_by_link(&internet.relay.url(), &circle.invite, "bob");
    alice.until_direct(&circle, 1);
    page.until_direct(1);
    let asleep = browser.pause();
    alice.types(&circle, "as it falls asleep");
    until_gone(&alice, &circle);
    alice.types(&circle, "while it sleeps");
    drop(asleep);
    page.send("good morning");
    for text in ["as it falls asleep", "while it sleeps", "good morning"] {
        page.wait_message(text);
    }
    let said = ["as it falls asleep", "while it sleeps", "good morning"].map(str::to_owned);
    alice.until_has_once(&circle, &said);
    alice.until_direct(&circle, 1);
    page.until_direct(1);
    alice.types(&circle, "after");
    page.wait_message("after");
    assert_eq!(page.texts(), alice.felund.texts(CIRCLE), "both show one order, and each message once");
}

#[test]
fn a_relay_that_dies_leaves_direct_chat_alone_and_carries_the_rest_when_it_is_back() {
    let Some(mut internet) = Internet::new("a dead relay", Helps::Turn) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::AddressRestricted, Nat::Cone]);
    direct(&alice, &bob, &circle);
    internet.relay.kill();
    let mut said = chat(&mut alice, &mut bob, &circle, "without the relay", 5);
    assert_same_chat(&alice, &bob, &circle, &said);
    internet.net.cut(&alice.site, &bob.site);
    said.extend(chat(&mut alice, &mut bob, &circle, "with nothing between", 2));
    internet.relay.resume();
    assert_same_chat(&alice, &bob, &circle, &said);
}

#[test]
fn two_that_know_a_third_find_each_other_without_a_relay() {
    let Some(mut internet) = Internet::new("an introduction", Helps::Stun) else { return };
    let mut alice = Person::start(&mut internet, Nat::Cone, "alice");
    let bob = Person::start(&mut internet, Nat::AddressRestricted, "bob");
    internet.net.cut(&alice.site, &bob.site);
    let circle = alice.felund.create(CIRCLE);
    bob.felund.join(&circle.invite);
    let cleo = Person::start(&mut internet, Nat::Cone, "cleo");
    cleo.felund.join(&circle.invite);
    cleo.until_direct(&circle, 2);
    internet.relay.kill();
    internet.net.mend();
    alice.until_direct(&circle, 2);
    bob.until_direct(&circle, 2);
    drop(cleo);
    alice.types(&circle, "just the two of us");
    bob.tail.wait_for("just the two of us");
}

#[test]
fn a_peer_killed_while_it_is_told_a_history_gets_the_rest_when_it_is_back() {
    let Some(mut internet) = Internet::new("a killed peer", Helps::Turn) else { return };
    let mut alice = Person::start(&mut internet, Nat::Cone, "alice");
    let circle = alice.felund.create(CIRCLE);
    let said: Vec<String> = (0..600).map(|at| format!("{at}: {}", "what was said ".repeat(60))).collect();
    for text in &said {
        alice.types(&circle, text);
    }
    let mut bob = Person::start(&mut internet, Nat::Cone, "bob");
    bob.felund.join(&circle.invite);
    for at in [0, 150, 300] {
        wait::until_true("a part of the history", || bob.felund.texts(CIRCLE).len() > at);
        bob.crash();
    }
    bob.until_has_once(&circle, &said);
    direct(&alice, &bob, &circle);
}

#[test]
fn who_start_at_the_same_moment_end_up_with_one_connection() {
    let Some(mut internet) = Internet::new("glare", Helps::Turn) else { return };
    let (mut alice, mut bob, circle) = two(&mut internet, [Nat::Cone, Nat::Cone]);
    for _ in 0..5 {
        thread::scope(|scope| {
            scope.spawn(|| alice.crash());
            scope.spawn(|| bob.crash());
        });
        direct(&alice, &bob, &circle);
        assert!(alice.connection("bob").contains("WebRTC"));
        assert!(bob.connection("alice").contains("WebRTC"));
    }
}
