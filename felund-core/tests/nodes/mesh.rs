//! Direct sessions: members that reach each other need no relay, and repeat for those that do not.

use felund_core::{
    ids::CircleId,
    io::{Command, Event},
    node::Platform,
    sim::{Disk, World},
    store::MemoryStore,
    view::{Delivery, Reach, Reply},
};

use crate::{mesh, send};

fn direct(world: &World, at: usize, circle: CircleId) -> usize {
    let view = world.devices[at].model.circle(circle).unwrap();
    view.members.iter().filter(|member| member.reach == Reach::Direct).count()
}

fn has(world: &World, at: usize, circle: CircleId, unread: u32) -> bool {
    world.devices[at].model.circle(circle).is_some_and(|view| view.channels[0].unread == unread)
}

#[test]
fn members_that_listen_find_each_other_without_any_relay() {
    let mut world = World::new(3);
    world.listen(0);
    let circle = world.circle_at("garden club", None);
    world.run_until("a direct path", |world| direct(world, 0, circle) == 2);
    send(&mut world, 1, circle, "hey everyone");
    world.run_until("repeated by the one in the middle", |world| has(world, 2, circle, 1));
    world.run(1_000);
    let mine = world.history(1, circle, "general").remove(0);
    assert_eq!(
        mine.delivery,
        Delivery::Delivered { to: 2, of: 2 },
        "the one behind the middle confirmed too"
    );
    assert_eq!(world.devices[1].model.circle(circle).unwrap().unsent, 0);
    assert!(world.relay.requests.is_empty());
}

#[test]
fn the_relay_is_spared_what_every_member_confirmed() {
    let mut world = World::new(2);
    world.listen(0);
    world.listen(1);
    let circle = world.circle("garden club");
    world.run_until("a direct path", |world| (0..2).all(|at| direct(world, at, circle) == 1));
    world.run(5_000);
    let (before, posts) = (world.relay.bytes().len(), world.events(0).count());
    send(&mut world, 0, circle, "between us");
    world.run(10_000);
    assert_eq!(world.texts(1, circle, "general"), ["between us"]);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Delivered { to: 1, of: 1 });
    assert_eq!(world.relay.bytes().len(), before, "nothing was posted");
    assert!(world.events(0).count() > posts && world.devices[0].model.circle(circle).unwrap().unsent == 0);
}

#[test]
fn a_silent_direct_path_escalates_to_the_relay_within_its_budget() {
    let mut world = World::new(2);
    world.listen(0);
    let circle = world.circle("garden club");
    world.run_until("a direct path", |world| direct(world, 0, circle) == 1);
    // The stream is dead, and nobody has noticed.
    world.deafen(0);
    send(&mut world, 0, circle, "anyone?");
    world.run(2_500);
    assert_eq!(world.texts(1, circle, "general"), ["anyone?"]);
}

#[test]
fn partitions_heal_to_the_same_history_everywhere_and_then_it_is_quiet() {
    let (mut world, circle) = mesh(4);
    world.run_until("a mesh", |world| (0..4).all(|at| direct(world, at, circle) >= 1));
    world.run(5_000);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.set_reachable(a, b, false);
    }
    world.run(2_000);
    for i in 0..40 {
        send(&mut world, i % 4, circle, &i.to_string());
    }
    world.run(5_000);
    assert_eq!(world.texts(0, circle, "general").len(), 20);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.set_reachable(a, b, true);
    }
    world.run(90_000);
    let reference = world.texts(0, circle, "general");
    assert_eq!(reference.len(), 40);
    for at in 1..4 {
        assert_eq!(world.texts(at, circle, "general"), reference, "device {at}");
    }
    let before = world.direct_bytes();
    world.run(60_000);
    assert!(
        world.direct_bytes() - before < 4_000,
        "{} bytes in a quiet minute",
        world.direct_bytes() - before
    );
}

#[test]
fn a_member_that_was_away_catches_up_from_another_than_the_author() {
    let (mut world, circle) = mesh(3);
    world.run_until("a mesh", |world| (0..3).all(|at| direct(world, at, circle) >= 1));
    world.set_reachable(0, 2, false);
    world.set_reachable(1, 2, false);
    world.run(1_000);
    for i in 0..500 {
        send(&mut world, 0, circle, &format!("message {i}"));
    }
    world.run_until("the second has all", |world| has(world, 1, circle, 500));
    world.set_reachable(0, 1, false);
    world.set_reachable(1, 2, true);
    world.run_until("the third has all", |world| has(world, 2, circle, 500));
    assert_eq!(world.texts(2, circle, "general").len(), 500);
}

/// Three members in a line; the last one has more than fits into one frame, and the connection to it stands again.
fn a_line_and_more_than_a_frame() -> (World, CircleId) {
    let (mut world, circle) = mesh(3);
    world.run_until("a mesh", |world| (0..3).all(|at| direct(world, at, circle) >= 1));
    world.run(5_000);
    world.set_reachable(0, 2, false);
    world.set_reachable(1, 2, false);
    world.run(1_000);
    for i in 0..258 {
        send(&mut world, 2, circle, &format!("message {i}"));
    }
    world.set_reachable(1, 2, true);
    (world, circle)
}

#[test]
fn what_came_in_several_frames_is_told_on_whole() {
    let (mut world, circle) = a_line_and_more_than_a_frame();
    world.run_until("the second has all", |world| has(world, 1, circle, 258));
    world.run(5_000);
    assert!(has(&world, 0, circle, 258));
}

#[test]
fn what_came_before_a_connection_ended_is_told_on() {
    let (mut world, circle) = a_line_and_more_than_a_frame();
    world.run_until("the first frame", |world| {
        world.events(1).filter(|event| matches!(event, Event::Message(_))).count() >= 256
    });
    world.set_reachable(1, 2, false);
    world.run(5_000);
    assert!(has(&world, 1, circle, 256), "the last frame did not come");
    assert!(has(&world, 0, circle, 256));
}

#[test]
fn leaving_a_circle_ends_what_was_said_about_it() {
    let mut world = World::new(2);
    world.listen(0);
    let circle = world.circle_at("garden club", None);
    world.run_until("a direct path", |world| direct(world, 0, circle) == 1);
    world.ask(1, Command::LeaveCircle { circle }).unwrap();
    world.run(2_000);
    assert_eq!(direct(&world, 0, circle), 0);
}

#[test]
fn simultaneous_dials_leave_one_connection() {
    let mut world = World::new(2);
    world.listen(0);
    world.listen(1);
    let circle = world.circle("garden club");
    world.run(60_000);
    assert_eq!((direct(&world, 0, circle), direct(&world, 1, circle)), (1, 1));
    assert_eq!(world.streams(), 1);
}

#[test]
fn a_circle_joined_later_is_shared_by_members_that_are_connected_already() {
    let mut world = World::new(2);
    world.listen(0);
    let first = world.circle_at("garden club", None);
    world.run_until("a direct path", |world| direct(world, 0, first) == 1);
    let made = world.ask(0, Command::CreateCircle { name: "book club".into(), relay: None });
    let Ok(Reply::Circle { circle_id: second, invite, .. }) = made else { panic!("{made:?}") };
    world.ask(1, Command::JoinCircle { invite, relay: None }).unwrap();
    world.run_until("a direct path", |world| direct(world, 0, second) == 1 && direct(world, 0, first) == 1);
    send(&mut world, 0, second, "chapter one");
    world.run(1_000);
    assert_eq!(world.texts(1, second, "general"), ["chapter one"]);
}

#[test]
fn nothing_is_confirmed_before_it_is_durable() {
    let mut world = World::new(2);
    world.listen(0);
    let circle = world.circle_at("garden club", None);
    world.run_until("a direct path", |world| (0..2).all(|at| direct(world, at, circle) == 1));
    world.run(1_000);
    world.devices[1].disk.held = true;
    send(&mut world, 0, circle, "still in memory");
    world.run(5_000);
    assert!(has(&world, 1, circle, 1), "it is shown at once");
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Pending);
    // The power fails there: the author still has it to send.
    world.restart(1);
    world.run(5_000);
    assert_eq!(world.texts(1, circle, "general"), ["still in memory"]);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Delivered { to: 1, of: 1 });
}

#[test]
fn nothing_is_confirmed_through_the_relay_before_it_is_durable() {
    for seed in 0..6 {
        let mut world = World::seeded(seed);
        for _ in 0..2 {
            world.add_device(Platform::default(), Disk::slow(MemoryStore::default()));
        }
        let circle = world.circle("garden club");
        world.run(5_000);
        send(&mut world, 0, circle, "over the relay");
        let key = world.history(0, circle, "general")[0].key();
        world.run_until("a receipt", |world| {
            world.events(0).any(|event| {
                matches!(event, Event::Delivery { delivery: Delivery::Delivered { .. }, msg_id, .. } if *msg_id == key.id)
            })
        });
        assert!(world.devices[1].disk.is_durable(circle, key), "seed {seed}");
    }
}

#[test]
fn an_answer_confirms_only_what_was_there_when_it_was_asked_for() {
    let mut world = World::new(2);
    world.listen(0);
    let circle = world.circle_at("garden club", None);
    world.run_until("a direct path", |world| (0..2).all(|at| direct(world, at, circle) == 1));
    world.run(1_000);
    world.restart(1);
    world.run_until("a summary is under way", |world| {
        world.devices[1].model.circle(circle).is_some() && direct(world, 1, circle) == 1
    });
    world.devices[0].disk.held = true;
    send(&mut world, 1, circle, "overtaking");
    world.run(3_000);
    assert_eq!(world.history(1, circle, "general")[0].delivery, Delivery::Pending);
}

#[test]
fn a_confirmation_lost_in_a_crash_is_made_up_for_although_more_was_said_meanwhile() {
    let mut world = World::new(2);
    world.listen(0);
    let circle = world.circle_at("garden club", None);
    world.run_until("a direct path", |world| (0..2).all(|at| direct(world, at, circle) == 1));
    world.run(1_000);
    send(&mut world, 0, circle, "had, and not known to be");
    world.run_until("arrival", |world| has(world, 1, circle, 1));
    world.restart(0);
    world.run_until("a summary is under way", |world| {
        world.devices[0].model.circle(circle).is_some() && direct(world, 0, circle) == 1
    });
    // It overtakes the answer to the summary, so that nothing is lacking on either side once that is decoded.
    send(&mut world, 0, circle, "overtaking");
    world.run(3_000);
    let delivery = world.history(0, circle, "general").into_iter().map(|message| message.delivery);
    assert_eq!(delivery.collect::<Vec<_>>(), [Delivery::Delivered { to: 1, of: 1 }; 2]);
    assert_eq!(world.devices[0].model.circle(circle).unwrap().unsent, 0);
}

#[test]
fn a_peer_that_lost_power_is_connected_again_within_seconds() {
    for seed in 0..6 {
        let mut world = World::seeded(seed);
        for at in 0..2 {
            world.add(MemoryStore::default());
            world.listen(at);
        }
        // Both learn of the other from the relay and dial at once: whose session stays depends on their ids.
        let circle = world.circle("garden club");
        world.run_until("a direct path", |world| (0..2).all(|at| direct(world, at, circle) == 1));
        world.run(1_000);
        // The other side still believes in the session from before.
        world.crash(1, true);
        world.start(1);
        world.run(8_000);
        assert_eq!((direct(&world, 0, circle), direct(&world, 1, circle)), (1, 1), "seed {seed}");
    }
}

#[test]
fn waking_twice_at_once_ends_no_connection_that_lives() {
    let mut world = World::new(2);
    world.listen(0);
    let circle = world.circle_at("garden club", None);
    world.run_until("a direct path", |world| (0..2).all(|at| direct(world, at, circle) == 1));
    world.run(5_000);
    let dialed = world.devices[1].dialed.len();
    // As a page does that becomes visible while a timer of it is late, or the network comes back.
    world.input(1, felund_core::io::Input::Wake);
    world.input(1, felund_core::io::Input::Wake);
    assert_eq!(direct(&world, 1, circle), 1, "ended at once");
    world.run(10_000);
    assert_eq!(world.devices[1].dialed.len(), dialed, "dialed anew");
}

/// The second member has a hundred messages, read, and starts again on a disk that takes its time.
fn starts_on_a_slow_disk(messages: u32) -> (World, CircleId) {
    let (mut world, circle) = mesh(2);
    world.run_until("a mesh", |world| (0..2).all(|at| direct(world, at, circle) == 1));
    let retention = felund_core::view::Retention { messages, days: 30 };
    world.ask(1, Command::SetRetention { circle, retention }).unwrap();
    for i in 0..100 {
        send(&mut world, 0, circle, &i.to_string());
    }
    world.run(5_000);
    let last = world.history(1, circle, "general").pop().unwrap();
    let (channel, up_to) = (last.channel_id, last.key());
    world.ask(1, Command::MarkRead { circle, channel, up_to }).unwrap();
    world.run(5_000);
    assert!(has(&world, 1, circle, 0));
    assert_eq!(world.texts(1, circle, "general").len(), 100);
    world.devices[1].read_ms = 1_500;
    world.restart(1);
    world.run(20_000);
    world.devices[1].read_ms = 1;
    assert_eq!(direct(&world, 1, circle), 1);
    (world, circle)
}

#[test]
fn a_session_that_opens_while_the_log_is_read_brings_nothing_twice() {
    let (mut world, circle) = starts_on_a_slow_disk(1_000);
    let unread = world.devices[1].model.circle(circle).unwrap().channels[0].unread;
    let again = world.events(1).filter(|event| matches!(event, Event::Message(_))).count();
    assert_eq!((unread, again), (0, 100), "all of it has been read, and was told once");
    assert_eq!(world.texts(1, circle, "general").len(), 100);
}

#[test]
fn a_session_that_opens_while_the_log_is_read_makes_nothing_go() {
    let (mut world, circle) = starts_on_a_slow_disk(100);
    send(&mut world, 1, circle, "good morning");
    world.run(5_000);
    let texts = world.texts(1, circle, "general");
    assert_eq!(texts.len(), 100, "{texts:?}");
}
