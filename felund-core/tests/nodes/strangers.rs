//! Who connects and proves nothing: bounded, counted, and in nobody's way.

use felund_core::{
    config::{HANDSHAKE_TIMEOUT_MS, MAX_HANDSHAKES},
    ids::CircleId,
    io::{Command, ConnId, Input, Origin},
    sim::World,
    view::{Delivery, Reach, Reply},
};

use crate::send;

fn direct(world: &World, at: usize, circle: CircleId) -> usize {
    let view = world.devices[at].model.circle(circle).unwrap();
    view.members.iter().filter(|member| member.reach == Reach::Direct).count()
}

/// What doctor says about refusals: how often, by reason.
fn refusals(world: &mut World, at: usize) -> Vec<(u64, String)> {
    let Ok(Reply::Doctor { findings }) = world.ask(at, Command::Doctor) else { panic!("no findings") };
    let refused = findings.into_iter().filter(|finding| finding.subject == "refused connections");
    let part = |detail: String| {
        let (times, reason) = detail.split_once(" since the start: ").unwrap();
        (times.parse().unwrap(), reason.to_owned())
    };
    refused.map(|finding| part(finding.detail)).collect()
}

fn stranger(n: u64) -> ConnId {
    ConnId(1 << 63 | 1 << 40 | n)
}

fn flood(world: &mut World, at: usize, connections: u64) {
    for n in 0..connections {
        world.input(at, Input::Accepted(stranger(n), Origin::Outside([203, 0, 113, 7].into())));
    }
}

#[test]
fn strangers_that_say_nothing_take_no_place_of_a_members() {
    let mut world = World::new(3);
    world.listen(0);
    world.listen(2);
    let circle = world.circle_at("garden club", None);
    world.run_until("direct paths", |world| direct(world, 0, circle) == 2);
    world.set_reachable(0, 2, false);
    world.run_until("one path less", |world| direct(world, 0, circle) == 1);
    let since = world.now;
    flood(&mut world, 0, 1_000);
    // The session goes on, and the node still dials.
    send(&mut world, 0, circle, "never mind them");
    world.set_reachable(0, 2, true);
    world.input(0, Input::Wake);
    world.run_until("another direct path", |world| direct(world, 0, circle) == 2);
    assert!(world.now - since < HANDSHAKE_TIMEOUT_MS, "every place of strangers was taken");
    world.run(1_000);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Delivered { to: 2, of: 2 });
    world.run(HANDSHAKE_TIMEOUT_MS);
    let places = MAX_HANDSHAKES as u64;
    let counted = refusals(&mut world, 0);
    assert_eq!(counted[0], (places, "a handshake that was not finished".to_owned()));
    assert_eq!(counted[1].1, "too many connections at once");
    // The member that dialed meanwhile found no place either, and was dialed instead.
    assert!(counted[1].0 >= 1_000 - places);
    flood(&mut world, 0, places);
    assert_eq!(refusals(&mut world, 0), counted, "all places are free again");
}

#[test]
fn what_strangers_say_is_refused_by_its_name() {
    let mut world = World::new(1);
    let _circle = world.circle_at("garden club", None);
    flood(&mut world, 0, 4);
    // An offer of version 7, one with the tag of some other circle, and no offer at all.
    let offer = |version: u8| {
        [&[0x84, version, 0x58, 32][..], &[1; 32], &[0x58, 32], &[2; 32], &[0x58, 32], &[3; 32]].concat()
    };
    for (n, bytes) in [(0, offer(7)), (1, offer(1)), (2, b"GET / HTTP/1.1\r\n\r\n".to_vec())] {
        world.input(0, Input::Received(stranger(n), bytes));
    }
    world.input(0, Input::Disconnected(stranger(3), felund_core::session::CUT_OFF.to_owned()));
    world.input(0, Input::TurnedAway(5));
    let named: Vec<_> = refusals(&mut world, 0);
    let expected = [
        (1, "a connection cut off within a record"),
        (1, "another version of sessions"),
        (1, "malformed bytes"),
        (1, "no circle in common"),
        (5, "too many connections at once"),
    ];
    assert_eq!(named, expected.map(|(times, reason)| (times, reason.to_owned())));
}
