//! A relay that answers, and not as it should: it is not hurried, and what it can still do is used.

use felund_core::{
    ids::Cursor,
    io::{Event, HttpResponse},
    sim::{Proxy, World},
    view::{Delivery, LinkView},
};

use crate::{live, send};

/// How often the relay was asked, whatever for, so far.
fn asked(world: &World) -> usize {
    world.relay.requests.values().sum()
}

fn answer(status: u16, retry_after_s: Option<u64>, body: &str) -> HttpResponse {
    HttpResponse { status, retry_after_s, body: body.as_bytes().to_vec() }
}

/// As a relay refuses.
fn refusal(status: u16, code: &str, message: &str) -> HttpResponse {
    let body = format!(
        r#"{{"ok":false,"code":"{code}","message":"{message}","retryable":true,"server_time":1780000000}}"#
    );
    answer(status, None, &body)
}

#[test]
fn a_circle_that_registering_does_not_make_known_is_asked_for_ever_more_rarely() {
    for what in ["POST /v1/relay/session", "GET /v1/messages", "POST /v1/register"] {
        let mut world = World::new(1);
        world.relay.sockets_allowed = false;
        world.relay.instead.insert(what, refusal(401, "UNKNOWN_CIRCLE", "no such circle"));
        let circle = world.circle("garden club");
        world.run(10_000);
        let before = asked(&world);
        world.run(60_000);
        assert!(asked(&world) - before <= 30, "{what}: {} requests in a minute", asked(&world) - before);
        let link = &world.devices[0].model.circle(circle).unwrap().link;
        let is_told = matches!(link, LinkView::Down { reason, .. } if reason == "no such circle");
        assert!(is_told, "{what}: {link:?}");
        send(&mut world, 0, circle, "sooner or later");
        world.relay.instead.clear();
        world.run(65_000);
        assert_eq!(world.devices[0].model.circle(circle).unwrap().link, LinkView::Polling, "{what}");
        assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored, "{what}");
    }
}

#[test]
fn a_relay_that_has_forgotten_a_circle_is_told_of_it_at_once() {
    let mut world = World::new(1);
    world.relay.sockets_allowed = false;
    world.circle("garden club");
    world.run(10_000);
    world.relay.instead.insert("GET /v1/messages", refusal(401, "UNKNOWN_CIRCLE", "no such circle"));
    let before = world.relay.requests.clone();
    world.run_until("a poll", |world| world.relay.requests["GET /v1/messages"] > before["GET /v1/messages"]);
    world.relay.instead.clear();
    world.run(800);
    for what in ["POST /v1/register", "GET /v1/messages"] {
        assert!(world.relay.requests[what] > before[what] + usize::from(what.starts_with("GET")), "{what}");
    }
}

#[test]
fn a_log_that_cannot_be_read_is_asked_for_ever_more_rarely_while_posting_goes_on() {
    let unread = [
        refusal(503, "UNAVAILABLE", "the log cannot be read"),
        refusal(418, "TEAPOT", "short and stout"),
        answer(500, None, "<h1>oops</h1>"),
        answer(200, None, "<html>Please log in"),
    ];
    for answer in unread {
        let mut world = World::new(2);
        world.relay.sockets_allowed = false;
        let circle = world.circle("garden club");
        world.run(10_000);
        world.relay.instead.insert("GET /v1/messages", answer.clone());
        world.run(20_000);
        let before = world.relay.requests["GET /v1/messages"];
        send(&mut world, 0, circle, "posted");
        world.run(60_000);
        let polls = world.relay.requests["GET /v1/messages"] - before;
        assert!((2..=2 * 5).contains(&polls), "{answer:?}: {polls} polls of two in a minute");
        let link = &world.devices[1].model.circle(circle).unwrap().link;
        assert!(matches!(link, LinkView::Down { .. }), "{answer:?}: {link:?}");
        assert_eq!(world.devices[0].model.circle(circle).unwrap().unsent, 0, "{answer:?}");
        world.relay.instead.clear();
        world.run(32_000);
        assert_eq!(world.devices[1].model.circle(circle).unwrap().link, LinkView::Polling);
        assert_eq!(world.texts(1, circle, "general"), ["posted"]);
    }
}

#[test]
fn a_relay_that_says_when_its_log_may_be_asked_for_again_is_not_asked_before() {
    let mut world = World::new(1);
    world.relay.sockets_allowed = false;
    world.circle("garden club");
    world.run(10_000);
    world.relay.instead.insert("GET /v1/messages", answer(503, Some(20), ""));
    world.run(3_000);
    let before = world.relay.requests["GET /v1/messages"];
    world.run(15_000);
    assert_eq!(world.relay.requests["GET /v1/messages"], before);
    world.run(5_000);
    assert_eq!(world.relay.requests["GET /v1/messages"], before + 1);
}

#[test]
fn a_socket_that_cannot_be_asked_for_is_asked_for_no_more_often_than_one_that_is_refused() {
    let mut world = World::new(1);
    world.relay.sockets_allowed = false;
    world.circle("garden club");
    world.run(10_000);
    world.relay.instead.insert("POST /v1/relay/session", answer(500, None, "oops"));
    world.run(20_000);
    let before = world.relay.requests["POST /v1/relay/session"];
    world.run(60_000);
    let asked = world.relay.requests["POST /v1/relay/session"] - before;
    assert!((6..=13).contains(&asked), "{asked} in a minute");
}

#[test]
fn a_message_that_the_relay_refuses_for_good_is_not_called_sent_and_is_tried_again_after_a_restart() {
    for sockets in [true, false] {
        let mut world = World::new(1);
        world.relay.sockets_allowed = sockets;
        let circle = world.circle("garden club");
        world.run(10_000);
        world.relay.refuses = true;
        world.relay.instead.insert("POST /v1/messages", refusal(400, "BAD_REQUEST", "it is not wanted"));
        send(&mut world, 0, circle, "unwanted");
        world.run(60_000);
        let told = world.events(0).filter(
            |event| matches!(event, Event::Notice { error: true, text } if text.contains("it is not wanted")),
        );
        assert_eq!(told.count(), 1, "sockets: {sockets}");
        let pending = |event: &Event| matches!(event, Event::Delivery { delivery: Delivery::Pending, .. });
        assert!(world.events(0).any(pending), "whoever waits for it is told");
        let delivery = |world: &mut World| world.history(0, circle, "general")[0].delivery;
        assert_eq!(delivery(&mut world), Delivery::Pending);
        assert_eq!(world.devices[0].model.circle(circle).unwrap().unsent, 1);
        (world.relay.refuses, world.relay.instead) = Default::default();
        send(&mut world, 0, circle, "wanted");
        world.run(5_000);
        assert_eq!(world.devices[0].model.circle(circle).unwrap().unsent, 1, "others go out");
        world.restart(0);
        world.run(20_000);
        assert_eq!(delivery(&mut world), Delivery::Stored, "sockets: {sockets}");
    }
}

#[test]
fn a_post_whose_confirmation_is_lost_is_posted_again() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    world.relay.lose_stored = 1;
    send(&mut world, 0, circle, "confirmed late");
    world.run(1_000);
    send(&mut world, 0, circle, "behind it");
    world.run(40_000);
    assert_eq!(world.devices[0].model.circle(circle).unwrap().unsent, 0);
    assert_eq!(world.texts(1, circle, "general"), ["confirmed late", "behind it"]);
    assert!(live(&world, 0, circle));
}

#[test]
fn a_relay_that_never_confirms_what_is_posted_is_posted_to_ever_more_rarely() {
    for (misanswers, most) in [(true, 12), (false, 6)] {
        let mut world = World::new(1);
        let circle = world.circle("garden club");
        world.run(5_000);
        (world.relay.misanswers, world.relay.lose_stored) = (misanswers, if misanswers { 0 } else { 100 });
        let before = world.relay.posts;
        send(&mut world, 0, circle, "sooner or later");
        world.run(300_000);
        let view = world.devices[0].model.circle(circle).unwrap();
        assert_eq!((view.unsent, &view.link), (1, &LinkView::Live));
        assert!(view.held.as_ref().is_some_and(|reason| reason.contains("confirm")), "{:?}", view.held);
        let posts = world.relay.posts - before;
        assert!((3..=most).contains(&posts), "{posts} posts in five minutes");
        (world.relay.misanswers, world.relay.lose_stored) = (false, 0);
        world.run(310_000);
        assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored);
    }
}

#[test]
fn a_post_that_is_answered_behind_much_that_was_stored_is_made_once() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    world.crash(1, false);
    for i in 0..400 {
        send(&mut world, 0, circle, &i.to_string());
    }
    world.run(5_000);
    let before = world.relay.posts;
    world.relay.frame_ms = 100;
    world.start(1);
    world.run(1_000);
    send(&mut world, 1, circle, "late");
    world.run(60_000);
    assert_eq!(world.relay.posts - before, 1);
    assert_eq!(world.devices[1].model.circle(circle).unwrap().unsent, 0);
}

#[test]
fn a_place_that_the_relays_log_does_not_have_makes_nobody_deaf() {
    for told in [Cursor(u64::MAX), Cursor(0)] {
        let mut world = World::new(2);
        let circle = world.circle("garden club");
        world.run(5_000);
        send(&mut world, 1, circle, "before");
        world.run(1_000);
        let sessions = world.relay.requests["POST /v1/relay/session"];
        world.relay.tells_cursor = Some(told);
        send(&mut world, 1, circle, "at no place");
        world.run(1_000);
        send(&mut world, 1, circle, "heard");
        world.run(1_000);
        let texts = world.texts(0, circle, "general");
        assert!(texts.ends_with(&["heard".into()]) && texts[0] == "before", "{told:?}: {texts:?}");
        assert_eq!(world.relay.requests["POST /v1/relay/session"], sessions);
        world.restart(0);
        world.run(5_000);
        send(&mut world, 1, circle, "as well");
        world.run(1_000);
        assert!(world.texts(0, circle, "general").ends_with(&["heard".into(), "as well".into()]));
    }
}

#[test]
fn what_comes_after_a_restart_at_a_place_that_the_log_does_not_have_is_heard() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    world.relay.tells_cursor = Some(Cursor(u64::MAX));
    send(&mut world, 1, circle, "at no place");
    world.run(1_000);
    world.restart(0);
    world.run(5_000);
    send(&mut world, 1, circle, "heard");
    world.run(1_000);
    assert_eq!(world.texts(0, circle, "general"), ["at no place", "heard"]);
}

#[test]
fn sockets_that_end_right_after_they_carried_something_are_not_opened_again_and_again() {
    let mut world = World::new(2);
    world.relay.proxy = Proxy::CutsOff;
    let circle = world.circle("garden club");
    world.run(10_000);
    let before = world.relay.requests["POST /v1/relay/session"];
    world.run(60_000);
    let opened = world.relay.requests["POST /v1/relay/session"] - before;
    assert!(opened <= 2 * 13, "{opened} sockets of two in a minute");
    send(&mut world, 0, circle, "by post");
    world.run(5_000);
    assert_eq!(world.texts(1, circle, "general"), ["by post"]);
    world.relay.proxy = Proxy::Passes;
    world.run_until("the socket", |world| (0..2).all(|at| live(world, at, circle)));
    // One that has lived is had again at once when it ends.
    world.run(10_000);
    world.drop_sockets();
    world.run(1_000);
    assert!((0..2).all(|at| live(&world, at, circle)));
}

#[test]
fn what_a_relay_says_is_cut_to_what_somebody_reads() {
    let mut world = World::new(1);
    world.relay.instead.insert("POST /v1/register", refusal(429, "QUOTA_EXCEEDED", &"ü".repeat(5_000)));
    let circle = world.circle("garden club");
    world.run(20_000);
    let link = &world.devices[0].model.circle(circle).unwrap().link;
    let LinkView::Down { reason, .. } = link else { panic!("{link:?}") };
    assert_eq!(reason.chars().count(), 201);
}
