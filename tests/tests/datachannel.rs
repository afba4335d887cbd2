//! Members that a relay introduces to each other and then carries nothing for: DataChannels between real browsers and
//! real terminal clients. That the relay is not used is read from its own counters.

use felund_tests::{
    browser::{Browser, Engine},
    felund::{Circle, Felund},
    page::Page,
    relay::Relay,
};

const CIRCLE: &str = "garden club";

/// A circle with its relay; who made it is not running any more.
fn founded(relay: &Relay) -> (Felund, Circle) {
    let founder = Felund::new("alice", Some(&relay.url()));
    let circle = founder.create(CIRCLE);
    (founder, circle)
}

#[test]
fn two_terminals_that_do_not_listen_talk_past_the_relay() {
    let relay = Relay::start();
    let (alice, circle) = founded(&relay);
    let bob = Felund::new("bob", None);
    bob.join(&circle.invite);
    let (at_alice, at_bob) = (alice.tail(None), bob.tail(None));
    for member in [&alice, &bob] {
        member.control().until_direct(&circle.id, 1);
    }
    let stored = relay.stored();
    for round in 0..10 {
        let (from_alice, from_bob) = (format!("alice {round}"), format!("bob {round}"));
        assert!(alice.run(&["send", CIRCLE, &from_alice]).stdout.contains("delivered to 1 of 1"));
        assert!(bob.run(&["send", CIRCLE, &from_bob]).stdout.contains("delivered to 1 of 1"));
        at_bob.wait_for(&from_alice);
        at_alice.wait_for(&from_bob);
    }
    assert_eq!(relay.stored(), stored, "the relay got envelopes although the two are connected");
}

/// A browser and a terminal client.
fn with_a_terminal(engine: Engine) {
    let relay = Relay::start();
    let (alice, circle) = founded(&relay);
    let at_alice = alice.tail(None);
    let browser = Browser::open(engine);
    let page = Page::new(&browser);
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    page.until_direct(1);
    alice.control().until_direct(&circle.id, 1);
    let stored = relay.stored();
    for round in 0..5 {
        let (from_alice, from_bob) = (format!("alice {round}"), format!("bob {round}"));
        assert!(alice.run(&["send", CIRCLE, &from_alice]).stdout.contains("delivered to 1 of 1"));
        page.wait_message(&from_alice);
        page.send(&from_bob);
        at_alice.wait_for(&from_bob);
    }
    assert_eq!(relay.stored(), stored, "the relay got envelopes although the two are connected");
}

#[test]
fn chromium_and_a_terminal_talk_past_the_relay() {
    with_a_terminal(Engine::Chromium);
}

#[test]
fn firefox_and_a_terminal_talk_past_the_relay() {
    with_a_terminal(Engine::Firefox);
}

/// Two browsers.
fn between(engines: [Engine; 2]) {
    let relay = Relay::start();
    let (_alice, circle) = founded(&relay);
    let browsers = engines.map(Browser::open);
    let pages = browsers.each_ref().map(Page::new);
    for (page, name) in pages.iter().zip(["bob", "cleo"]) {
        page.join_by_link(&relay.url(), &circle.invite, name);
    }
    for page in &pages {
        page.until_direct(1);
    }
    // Alice is away, so the relay keeps what is said for her; that the two have it from each other shows when it is gone.
    let mut relay = relay;
    relay.kill();
    for round in 0..5 {
        for (from, to) in [(0, 1), (1, 0)] {
            let text = format!("from {from}, round {round}");
            pages[from].send(&text);
            pages[to].wait_message(&text);
        }
    }
}

#[test]
fn two_chromium_pages_talk_without_the_relay() {
    between([Engine::Chromium, Engine::Chromium]);
}

#[test]
fn chromium_and_firefox_talk_without_the_relay() {
    between([Engine::Chromium, Engine::Firefox]);
}

#[test]
fn webkit_without_webrtc_talks_through_the_relay_beside_them() {
    let relay = Relay::start();
    let (alice, circle) = founded(&relay);
    let at_alice = alice.tail(None);
    let browsers = [Engine::Chromium, Engine::WebKit].map(Browser::open);
    let pages = browsers.each_ref().map(Page::new);
    for (page, name) in pages.iter().zip(["bob", "cleo"]) {
        page.join_by_link(&relay.url(), &circle.invite, name);
    }
    pages[0].until_direct(1);
    pages[0].send("from chromium");
    pages[1].wait_message("from chromium");
    at_alice.wait_for("from chromium");
    pages[1].send("from webkit");
    pages[0].wait_message("from webkit");
    at_alice.wait_for("from webkit");
}
