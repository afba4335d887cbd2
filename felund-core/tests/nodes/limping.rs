//! A relay that answers, and not as it should: it is not hurried, and what it can still do is used.

use felund_core::{
    io::HttpResponse,
    sim::World,
    view::{Delivery, LinkView},
};

use crate::send;

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
    let mut world = World::new(2);
    world.relay.sockets_allowed = false;
    let circle = world.circle("garden club");
    world.run(10_000);
    world.relay.instead.insert("GET /v1/messages", refusal(401, "UNKNOWN_CIRCLE", "no such circle"));
    world.run(2_100);
    world.relay.instead.clear();
    send(&mut world, 1, circle, "here");
    world.run(3_000);
    assert_eq!(world.texts(0, circle, "general"), ["here"]);
}
