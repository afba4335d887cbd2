//! Members that reach each other need no relay: direct sessions between real processes, over real sockets.

use felund_core::view::Reach;
use felund_tests::felund::Felund;

#[test]
fn members_chat_and_catch_up_without_any_relay() {
    let (alice, following, invite) = Felund::listening("alice", "garden club");
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
    let (alice, _following, invite) = Felund::listening("alice", "garden club");
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
