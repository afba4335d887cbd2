//! Clocks that are wrong: what lies in the future is taken in when its time has come, and nothing of it is lost.

use felund_core::{
    ids::CircleId,
    io::Event,
    node::Platform,
    sim::{Disk, Trace, World},
    store::MemoryStore,
    view::Delivery,
};

use crate::{live, mesh, send};

const HOUR_MS: i64 = 3_600_000;

/// Two members at a relay, of whom the second's clock is an hour behind while the first says something.
fn said_while_behind(sockets: bool) -> (World, CircleId) {
    let mut world = World::new(2);
    world.relay.sockets_allowed = sockets;
    let circle = world.circle("garden club");
    world.run_until("live", |world| !sockets || (0..2).all(|at| live(world, at, circle)));
    world.run(10_000);
    world.devices[1].skew = -HOUR_MS;
    send(&mut world, 0, circle, "in time");
    send(&mut world, 0, circle, "all the same");
    world.run(120_000);
    assert!(world.texts(1, circle, "general").is_empty());
    (world, circle)
}

fn notices(world: &World, at: usize) -> Vec<&str> {
    let texts = world.events(at).map(|event| match event {
        Event::Notice { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.flatten().collect()
}

#[test]
fn what_the_relay_passed_on_while_the_clock_was_behind_is_there_once_it_is_right() {
    for sockets in [true, false] {
        let (mut world, circle) = said_while_behind(sockets);
        world.devices[1].skew = 0;
        world.run(30_000);
        assert_eq!(world.texts(1, circle, "general"), ["in time", "all the same"], "sockets: {sockets}");
        // And nothing is read again and again.
        let before = world.devices[1].traffic.frames;
        world.run(300_000);
        assert!(world.devices[1].traffic.frames - before < 30);
    }
}

#[test]
fn a_clock_that_is_behind_also_over_a_restart_costs_nothing() {
    let (mut world, circle) = said_while_behind(true);
    world.restart(1);
    world.run(10_000);
    send(&mut world, 0, circle, "and now");
    world.run(10_000);
    assert!(world.texts(1, circle, "general").is_empty());
    world.restart(1);
    world.devices[1].skew = 0;
    world.run(30_000);
    assert_eq!(world.texts(1, circle, "general"), ["in time", "all the same", "and now"]);
}

#[test]
fn what_members_sent_while_the_clock_was_behind_is_there_once_it_is_right() {
    let (mut world, circle) = mesh(2);
    world.run(5_000);
    world.devices[1].skew = -HOUR_MS;
    send(&mut world, 0, circle, "in time");
    world.run(60_000);
    assert!(world.texts(1, circle, "general").is_empty());
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Pending);
    world.devices[1].skew = 0;
    world.run(30_000);
    assert_eq!(world.texts(1, circle, "general"), ["in time"]);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Delivered { to: 1, of: 1 });
}

#[test]
fn what_was_written_by_a_clock_that_is_ahead_is_taken_in_when_its_time_has_come() {
    let relayed = {
        let mut world = World::new(2);
        let circle = world.circle("garden club");
        (world, circle)
    };
    for (mut world, circle) in [relayed, mesh(2)] {
        world.run(5_000);
        world.devices[1].skew = HOUR_MS;
        send(&mut world, 1, circle, "from the next hour");
        world.devices[1].skew = 0;
        world.run(54 * 60_000);
        assert!(world.texts(0, circle, "general").is_empty());
        send(&mut world, 0, circle, "of this hour");
        world.run(2 * 60_000);
        assert_eq!(world.texts(0, circle, "general"), ["of this hour", "from the next hour"]);
    }
}

#[test]
fn a_message_from_the_next_year_holds_up_no_others() {
    let mut world = World::new(3);
    let circle = world.circle("garden club");
    world.run(5_000);
    world.devices[1].skew = 366 * 24 * HOUR_MS;
    send(&mut world, 1, circle, "from the next year");
    for i in 0..40 {
        send(&mut world, 0, circle, &i.to_string());
    }
    world.run(5_000);
    assert_eq!(world.texts(2, circle, "general").len(), 40);
    world.trace = Trace::new(true);
    world.restart(2);
    world.run(5_000);
    let pushed = world.trace.lines().iter().filter(|line| line.contains("2  frame from relay")).count();
    assert!(pushed < 20, "{pushed} frames: the log is read again from before it");
}

#[test]
fn people_are_told_when_their_clock_is_wrong_and_when_it_is_right_again() {
    let (mut world, _) = said_while_behind(true);
    let told = notices(&world, 1);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("60 minutes behind the relay's") || told[0].contains("59 minutes"), "{told:?}");
    world.devices[1].skew = 0;
    world.run(120_000);
    assert!(notices(&world, 1)[1].contains("agrees with the relay's again"), "{:?}", notices(&world, 1));
    world.devices[1].skew = 3 * 24 * HOUR_MS;
    world.run(120_000);
    let told = notices(&world, 1);
    assert!(told.len() == 3 && told[2].contains("days ahead of the relay's"), "{told:?}");
    assert!(notices(&world, 0).is_empty());
}

#[test]
fn a_clock_that_is_months_ahead_deletes_nothing_and_misses_nothing() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "kept");
    world.run(5_000);
    // It starts with a clock that nobody has set, and is told so only by the relay.
    world.devices[1].skew = 90 * 24 * HOUR_MS;
    world.restart(1);
    world.run(5_000);
    send(&mut world, 0, circle, "taken in");
    world.run(120_000);
    assert_eq!(world.texts(1, circle, "general"), ["kept", "taken in"]);
    // Nor does it when the clock jumps while it runs, before anybody has told that it did.
    world.devices[1].skew = 400 * 24 * HOUR_MS;
    send(&mut world, 0, circle, "and this");
    world.run(3 * HOUR_MS as u64);
    world.restart(1);
    world.devices[1].skew = 0;
    world.run(5_000);
    assert_eq!(world.texts(1, circle, "general"), ["kept", "taken in", "and this"]);
}

#[test]
fn who_wrote_while_its_clock_was_ahead_is_heard_again_once_it_is_right() {
    for ahead in [2 * HOUR_MS, 366 * 24 * HOUR_MS] {
        let mut world = World::new(2);
        let circle = world.circle("garden club");
        world.run_until("live", |world| (0..2).all(|at| live(world, at, circle)));
        world.run(5_000);
        world.devices[1].skew = ahead;
        send(&mut world, 1, circle, "from the future");
        world.devices[1].skew = 0;
        world.run(120_000);
        send(&mut world, 1, circle, "now");
        world.run(5_000);
        assert_eq!(world.texts(0, circle, "general"), ["now"], "{ahead}");
        // What others write is confirmed to them as well.
        send(&mut world, 0, circle, "welcome back");
        world.run(5_000);
        let answer = world.history(0, circle, "general").pop().unwrap();
        assert_eq!(answer.delivery, Delivery::Delivered { to: 1, of: 1 }, "{ahead}");
        // And none is taken for delivered because an older one is.
        let mine = world.history(1, circle, "general");
        let now = mine.iter().find(|message| message.text == "now").unwrap();
        assert_eq!(now.delivery, Delivery::Delivered { to: 1, of: 1 }, "{ahead}");
    }
}

#[test]
fn what_nobody_reads_ages_where_nothing_is_said() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "old");
    world.run(29 * 24 * HOUR_MS as u64);
    assert_eq!(world.texts(0, circle, "general"), ["old"]);
    world.run(2 * 24 * HOUR_MS as u64);
    assert!(world.texts(0, circle, "general").is_empty());
}

#[test]
fn what_is_ahead_is_waited_for_after_a_sleep_through_which_the_relays_clock_was_not_followed() {
    let mut world = World::new(2);
    world.relay.sockets_allowed = false;
    let circle = world.circle("garden club");
    world.run(30_000);
    let slept = 25 * HOUR_MS as u64;
    world.sleep(1, slept);
    world.run(slept - 5_000);
    world.devices[0].skew = 10 * 60_000;
    send(&mut world, 0, circle, "a little ahead");
    world.run(4_000);
    world.devices[1].stood_still = slept;
    world.run(5_000);
    assert!(world.texts(1, circle, "general").is_empty());
    world.run(10 * 60_000);
    assert_eq!(world.texts(1, circle, "general"), ["a little ahead"]);
}

#[test]
fn an_anchor_whose_clock_was_ahead_counts_itself_again_whatever_it_writes_first() {
    let mut world = World::seeded(1);
    let platform = Platform { dials: true, anchor: true, ..Platform::default() };
    world.add_device(platform, Disk::instant(MemoryStore::default()));
    let circle = world.circle("garden club");
    world.run(30_000);
    let me = world.devices[0].model.identity.as_ref().unwrap().node_id;
    let anchor = |world: &World| world.devices[0].model.circle(circle).unwrap().anchor;
    assert_eq!(anchor(&world), Some(me));
    world.devices[0].skew = 24 * HOUR_MS;
    world.run(60_000);
    world.devices[0].skew = 0;
    send(&mut world, 0, circle, "right again");
    world.run(60_000);
    assert_eq!(anchor(&world), Some(me));
}

#[test]
fn a_relay_whose_clock_shows_a_time_that_cannot_be_is_not_taken_for_right() {
    for tells_s in [1 << 63, 0] {
        let mut world = World::new(1);
        world.relay.tells_s = Some(tells_s);
        world.circle("garden club");
        world.run(10_000);
        let told = notices(&world, 0);
        assert!(told[0].contains("a time that cannot be"), "{told:?}");
    }
}
