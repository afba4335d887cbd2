//! Programs die at the worst moment; messages neither get lost nor come twice.

use std::{collections::BTreeSet, thread};

use felund_core::view::LinkView;
use felund_tests::{
    felund::{Felund, texts},
    proxy::Proxy,
    relay::Relay,
    wait,
};

fn assert_each_once(who: &str, got: &[String], expected: &[String]) {
    let unique: BTreeSet<_> = got.iter().collect();
    assert_eq!(unique.len(), got.len(), "{who} has something twice: {got:?}");
    assert_eq!(unique, expected.iter().collect(), "{who}");
}

#[test]
fn a_relay_killed_mid_chat_loses_and_repeats_nothing() {
    let mut relay = Relay::start();
    let device = |name| Felund::relayed(name, &relay.url());
    let (alice, bob, cleo) = (device("alice"), device("bob"), device("cleo"));
    let circle = alice.create("garden club");
    bob.join(&circle.invite);
    let (_at_alice, at_bob) = (alice.tail(None), bob.tail(None));
    let (alice_inside, bob_inside) = (alice.control(), bob.control());
    alice_inside.until_live(&circle.id);

    let mut sent = Vec::new();
    let mut say = |device: &Felund, text: String| {
        // While the relay is down `send` ends saying that the message is kept: exit status 3.
        let done = device.run(&["send", "garden club", &text]);
        assert!(done.code == 0 || done.code == 3, "{done:?}");
        sent.push(text);
        done.code
    };
    for round in 0..3 {
        say(&alice, format!("alice before {round}"));
        say(&bob, format!("bob before {round}"));
        // Both are on their way while the relay dies.
        thread::scope(|scope| {
            let flying =
                scope.spawn(|| alice.run(&["send", "garden club", &format!("alice during {round}")]));
            relay.kill();
            relay.resume();
            let done = flying.join().expect("the command ends");
            assert!(done.code == 0 || done.code == 3, "{done:?}");
        });
        say(&bob, format!("bob after {round}"));
    }
    sent.extend((0..3).map(|round| format!("alice during {round}")));

    for (who, inside) in [("alice", &alice_inside), ("bob", &bob_inside)] {
        inside.until_circle(&circle.id, &format!("{who} live with nothing unsent"), |view| {
            view.link == LinkView::Live && view.unsent == 0
        });
    }
    wait::until_true("every message at bob", || bob.texts("garden club").len() >= sent.len());
    wait::until_true("every message at alice", || alice.texts("garden club").len() >= sent.len());
    for device in [&alice, &bob] {
        assert_each_once("a member", &device.texts("garden club"), &sent);
    }
    assert_eq!(alice.texts("garden club"), bob.texts("garden club"), "both show one order");
    // What the follower printed while the relay went and came is complete and free of repetitions too.
    wait::until_true("every message at the follower", || at_bob.messages().len() >= sent.len());
    assert_each_once("the follower", &texts(&at_bob.messages()), &sent);
    // Somebody who joins only now gets it all from the relay's disk.
    cleo.join(&circle.invite);
    assert_each_once("a newcomer", &cleo.texts("garden club"), &sent);
}

#[test]
fn what_send_called_stored_arrives_even_if_the_sender_dies_at_once() {
    let relay = Relay::start();
    let device = |name| Felund::relayed(name, &relay.url());
    let (alice, bob) = (device("alice"), device("bob"));
    let circle = alice.create("garden club");
    bob.join(&circle.invite);
    let mut owner = alice.tail(None);
    alice.control().until_live(&circle.id);
    alice.send("garden club", "last words");
    owner.process().kill();
    bob.until_texts("garden club", &["last words"]);
    // The killed client's data directory is whole, and its lock is free.
    assert_eq!(alice.texts("garden club"), ["last words"]);
}

#[test]
fn messages_written_while_the_relay_is_away_arrive_later() {
    let mut relay = Relay::start();
    let device = |name| Felund::relayed(name, &relay.url());
    let (alice, bob) = (device("alice"), device("bob"));
    let circle = alice.create("garden club");
    bob.join(&circle.invite);
    relay.kill();

    let done = alice.run(&["send", "garden club", "written in the dark"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stdout.is_empty() && done.stderr.contains("Nothing is lost"), "{done:?}");
    assert_eq!(alice.texts("garden club"), ["written in the dark"], "the sender sees it");
    let doctor = alice.run(&["doctor"]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    assert!(doctor.stdout.contains(&relay.url()) && doctor.stdout.contains("FAIL"), "{doctor:?}");
    // A client that owns the message and is killed before the relay is back still has it.
    let mut owner = alice.tail(None);
    owner.process().kill();

    relay.resume();
    let _owner = alice.tail(None);
    alice.control().until_circle(&circle.id, "nothing unsent", |view| view.unsent == 0);
    bob.until_texts("garden club", &["written in the dark"]);
}

#[test]
fn a_relay_asked_to_end_ends_in_order_and_comes_back() {
    let mut relay = Relay::start();
    let alice = Felund::relayed("alice", &relay.url());
    let circle = alice.create("garden club");
    let _owner = alice.tail(None);
    let inside = alice.control();
    inside.until_live(&circle.id);
    alice.send("garden club", "one");
    let status = relay.terminate().expect("it ran");
    assert!(status.success(), "{status}");
    inside.until_circle(
        &circle.id,
        "down, with a reason",
        |view| matches!(&view.link, LinkView::Down { reason, .. } if !reason.is_empty()),
    );
    relay.resume();
    inside.until_live(&circle.id);
    alice.send("garden club", "two");
    alice.until_texts("garden club", &["one", "two"]);
}

#[test]
fn polling_serves_where_websockets_are_refused_and_the_socket_comes_back_by_itself() {
    let relay = Relay::start();
    let proxy = Proxy::start(relay.address());
    proxy.refuse_upgrades(true);
    // Alice sits behind a network that refuses WebSockets; Bob does not.
    let (alice, bob) = (Felund::relayed("alice", &proxy.url()), Felund::relayed("bob", &relay.url()));
    let circle = alice.create("garden club");
    let _at_alice = alice.tail(None);
    let inside = alice.control();
    inside.until_circle(&circle.id, "polling", |view| view.link == LinkView::Polling);
    assert!(proxy.refused() > 0 && proxy.upgraded() == 0);

    let mut invite = felund_core::invite::Invite::parse(&circle.invite).expect("an invite");
    invite.relay = Some(relay.url());
    bob.join(&invite.encode());
    let at_bob = bob.tail(None);
    bob.control().until_live(&circle.id);
    alice.send("garden club", "over plain HTTP");
    at_bob.wait_for("over plain HTTP");
    bob.send("garden club", "I hear you");
    wait::until_true("bob's message at alice", || {
        inside.events().iter().any(
            |event| matches!(event, felund_core::io::Event::Message(message) if message.text == "I hear you"),
        )
    });
    let doctor = alice.run(&["doctor"]);
    assert!(
        doctor.stdout.contains("over HTTP") && doctor.stdout.contains("refuses WebSockets"),
        "{doctor:?}"
    );
    assert_eq!(proxy.upgraded(), 0, "all of that went without a WebSocket");

    proxy.refuse_upgrades(false);
    inside.until_live(&circle.id);
    assert!(proxy.upgraded() > 0);
    alice.send("garden club", "live again");
    at_bob.wait_for("live again");
    let expected = ["over plain HTTP", "I hear you", "live again"];
    alice.until_texts("garden club", &expected);
    bob.until_texts("garden club", &expected);
}

#[test]
fn a_cut_line_is_replaced_without_losing_what_was_said_meanwhile() {
    let relay = Relay::start();
    let proxy = Proxy::start(relay.address());
    let (alice, bob) = (Felund::relayed("alice", &relay.url()), Felund::relayed("bob", &proxy.url()));
    let circle = alice.create("garden club");
    let mut invite = felund_core::invite::Invite::parse(&circle.invite).expect("an invite");
    invite.relay = Some(proxy.url());
    bob.join(&invite.encode());
    let at_bob = bob.tail(None);
    let inside = bob.control();
    inside.until_live(&circle.id);
    let mut expected = Vec::new();
    for round in 0..5 {
        let before = proxy.upgraded();
        proxy.cut();
        let text = format!("said while the line was down, {round}");
        alice.send("garden club", &text);
        at_bob.wait_for(&text);
        wait::until_true("a new WebSocket", || proxy.upgraded() > before);
        expected.push(text);
    }
    assert_eq!(texts(&at_bob.messages()), expected);
}
