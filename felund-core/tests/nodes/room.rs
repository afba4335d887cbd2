//! A relay that has no room: what it takes no more waits, why is seen, and it is said when it is news.

use felund_core::{
    circle::Body,
    io::{Command, Event},
    sim::World,
    view::{LinkView, Reply},
};

use crate::{
    attacks::{Mallory, mesh_and_relay},
    live, send,
};

#[test]
fn a_full_relay_is_read_from_and_posted_to_as_soon_as_it_has_room() {
    for sockets in [true, false] {
        let mut world = World::new(2);
        world.relay.sockets_allowed = sockets;
        let circle = world.circle("garden club");
        world.run(10_000);
        send(&mut world, 1, circle, "before");
        world.run(5_000);
        world.relay.full = true;
        send(&mut world, 0, circle, "no room");
        world.run(5_000);
        let told = |event: &Event| matches!(event, Event::Notice { error: true, text } if text.contains("it is full") || text.contains("QuotaExceeded"));
        assert_eq!(world.events(0).filter(|event| told(event)).count(), 1, "it is said once");
        let mut mallory = Mallory::join(&mut world, circle);
        let general = mallory.secret.general();
        mallory.post(&mut world, general, &Body::Text("by another way".into()));
        world.run(5_000);
        assert_eq!(world.texts(0, circle, "general"), ["before", "no room", "by another way"]);
        world.drop_sockets();
        world.run(5_000);
        assert_eq!(live(&world, 0, circle), sockets);
        world.relay.full = false;
        world.run(60_000);
        assert_eq!(world.texts(1, circle, "general"), ["before", "no room", "by another way"]);
        assert_eq!(world.events(0).filter(|event| told(event)).count(), 1);
    }
}

#[test]
fn why_messages_wait_is_seen_until_the_relay_takes_them() {
    for (sockets, disk_full) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut world = World::new(2);
        world.relay.sockets_allowed = sockets;
        let circle = world.circle("garden club");
        world.run(10_000);
        (world.relay.full, world.relay.disk_full) = (true, disk_full);
        send(&mut world, 0, circle, "no room");
        world.run(1_000);
        let view = world.devices[0].model.circle(circle).unwrap();
        assert_ne!(view.held, None, "sockets: {sockets}, disk: {disk_full}");
        assert!(matches!(view.link, LinkView::Live | LinkView::Polling), "it is read from: {:?}", view.link);
        let Ok(Reply::Doctor { findings }) = world.ask(0, Command::Doctor) else { panic!("no findings") };
        let finding = findings.iter().find(|f| f.subject == "circle garden club").unwrap();
        assert!(!finding.ok && finding.detail.contains("takes none now"), "{}", finding.detail);
        assert!(finding.advice.as_ref().is_some_and(|advice| advice.contains("make room")));
        world.run(20_000);
        let told = |event: &Event| matches!(event, Event::Notice { error: true, text } if text.contains("takes no messages"));
        assert_eq!(world.events(0).filter(|event| told(event)).count(), 1, "a full disk as well as a quota");
        world.relay.full = false;
        world.run(60_000);
        let view = world.devices[0].model.circle(circle).unwrap();
        assert_eq!((view.unsent, &view.held), (0, &None));
    }
}

#[test]
fn a_relay_that_takes_no_further_circles_says_so_and_is_asked_again_within_a_minute() {
    let mut world = World::new(1);
    world.relay.closed = true;
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "no room");
    world.run(2_000);
    let view = world.devices[0].model.circle(circle).unwrap();
    let LinkView::Down { reason, retry_in_s } = &view.link else { panic!("{:?}", view.link) };
    assert!(reason.contains("QuotaExceeded") && *retry_in_s <= 60, "{reason}, {retry_in_s} s");
    world.run(120_000);
    let asked = world.relay.requests["POST /v1/register"];
    assert!((3..=4).contains(&asked), "asked {asked} times in two minutes");
    world.relay.closed = false;
    world.run(60_000);
    assert!(live(&world, 0, circle));
    assert_eq!(world.devices[0].model.circle(circle).unwrap().unsent, 0);
}

#[test]
fn refusals_of_a_moment_are_no_news_however_long_ago_the_last_one_was() {
    let (mut world, circle) = mesh_and_relay();
    world.run(10_000);
    for _ in 0..2 {
        world.crash(1, false);
        world.run(20_000);
        (world.relay.full, world.relay.disk_full) = (true, true);
        send(&mut world, 0, circle, "a moment");
        world.run(2_500);
        // Members have it now: the relay is not needed for it any more.
        world.start(1);
        world.run(5_000);
        (world.relay.full, world.relay.disk_full) = (false, false);
        world.run(3_600_000);
        let view = world.devices[0].model.circle(circle).unwrap();
        assert_eq!((view.unsent, &view.held), (0, &None));
    }
    let told =
        |event: &&Event| matches!(event, Event::Notice { text, .. } if text.contains("takes no messages"));
    assert_eq!(world.events(0).filter(told).count(), 0);
}
