//! Members that reach each other need no relay: direct sessions between real processes, over real sockets.

use felund_core::{
    invite::Invite,
    io::Command,
    view::{Reach, Reply},
};
use felund_tests::{
    capture::Capture,
    felund::{Felund, Tail},
    leak::Secrets,
};

/// A member that listens, its circle without a relay, and an invite that names its address.
fn listening(name: &str, circle: &str) -> (Felund, Tail, Invite) {
    let member = Felund::new(name, None);
    let made = member.create(circle);
    let tail = member.tail_listening();
    let circle = made.id.parse().expect("an id");
    let Reply::Invite { invite, .. } = member.control().ask(Command::Invite { circle }) else {
        panic!("no invite");
    };
    (member, tail, Invite::parse(&invite).expect("an invite"))
}

#[test]
fn members_chat_and_catch_up_without_any_relay() {
    let (alice, following, invite) = listening("alice", "garden club");
    assert_eq!((invite.relay.as_deref(), invite.peers.len()), (None, 1));
    let (bob, cleo) = (Felund::new("bob", None), Felund::new("cleo", None));
    bob.join(&invite.encode());
    let sent = bob.run(&["send", "garden club", "hey everyone"]);
    assert!(sent.stdout.contains("delivered"), "{sent:?}");
    following.wait_for("hey everyone");
    let _ = alice.run(&["send", "garden club", "yo"]);
    bob.until_texts("garden club", &["hey everyone", "yo"]);
    // Bob runs nothing now: Cleo gets Bob's message from Alice.
    let joined = cleo.join(&invite.encode());
    assert_eq!(joined.name, "garden club");
    cleo.until_texts("garden club", &["hey everyone", "yo"]);
}

#[test]
fn members_are_seen_as_direct_while_they_are_connected() {
    let (alice, _following, invite) = listening("alice", "garden club");
    let bob = Felund::new("bob", None);
    let circle = bob.join(&invite.encode());
    let tail = bob.tail(None);
    let others = |view: &felund_core::view::CircleView, reach| {
        view.members.iter().any(|member| member.reach == reach && member.name == "bob")
    };
    let control = alice.control();
    control.until_circle(&circle.id, "bob directly", |view| others(view, Reach::Direct));
    drop(tail);
    control.until_circle(&circle.id, "bob gone", |view| !others(view, Reach::Direct));
}

#[test]
fn nothing_readable_passes_between_members() {
    let (alice, following, invite) = listening("alice of the orchard", "rhododendron society");
    // Without the right to capture there is nothing to look at; the chat itself is tested above.
    let Some(capture) = Capture::start(invite.peers[0].parse().expect("an address")) else { return };
    let bob = Felund::new("bob of the meadow", None);
    bob.join(&invite.encode());
    let _ = bob.run(&["send", "rhododendron society", "meet behind the greenhouse"]);
    following.wait_for("meet behind the greenhouse");
    let _ = alice.run(&["send", "rhododendron society", "bring the hydrangeas"]);
    bob.until_texts("rhododendron society", &["meet behind the greenhouse", "bring the hydrangeas"]);
    let passed = capture.finish();
    assert!(passed.len() > 1_000, "the capture saw the chat");
    let secrets = Secrets::default()
        .text("meet behind the greenhouse")
        .text("bring the hydrangeas")
        .text("rhododendron society")
        .text("alice of the orchard")
        .text("bob of the meadow")
        .text("chat.text")
        .key("the circle's secret", invite.secret.expose());
    secrets.assert_absent("what passed between members", &passed);
}
