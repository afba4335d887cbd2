//! What bits that flip on a disk cost: nothing that anybody else has.

use felund_core::{
    ids::CircleId,
    io::{Command, Event},
    sim::World,
};

use crate::{mesh, send};

/// What device 0 was told to be damaged.
fn told(world: &World) -> Vec<&str> {
    let told = world.events(0).filter_map(|event| match event {
        Event::Notice { error: true, text } if text.contains("damaged") => Some(text.as_str()),
        _ => None,
    });
    told.collect()
}

/// As a number and words that follow it.
fn begins(text: &str, count: usize) -> bool {
    text.starts_with(&format!("{count} messages or events of garden club are damaged"))
}

fn read_everything(world: &mut World, circle: CircleId) {
    let newest = world.history(0, circle, "general").pop().expect("messages");
    let up_to = newest.key();
    world.ask(0, Command::MarkRead { circle, channel: newest.channel_id, up_to }).expect("known");
}

#[test]
fn control_events_that_were_damaged_are_told_of_and_had_again_from_the_relay() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    let damaged = world.devices[0].disk.damage(circle, false);
    world.restart(0);
    world.run(10_000);
    let [text] = told(&world)[..] else { panic!("{:?}", told(&world)) };
    assert!(damaged > 1 && begins(text, damaged), "{text}");
    let names = |world: &World| -> Vec<String> {
        let view = world.devices[0].model.circle(circle).unwrap();
        view.members.iter().map(|member| member.name.clone()).collect()
    };
    assert_eq!(names(&world), ["member 0", "member 1"]);
    world.set_relay_up(false);
    world.restart(0);
    world.run(1_000);
    assert_eq!(told(&world).len(), 1, "they took the place of the damaged ones");
    assert_eq!(names(&world), ["member 0", "member 1"]);
}

#[test]
fn messages_that_were_damaged_are_told_of_when_they_are_looked_at_and_had_again_from_members() {
    let (mut world, circle) = mesh(3);
    world.run(5_000);
    for (at, text) in [(0, "mine"), (1, "of one"), (2, "of another")] {
        send(&mut world, at, circle, text);
        world.run(1_000);
    }
    read_everything(&mut world, circle);
    assert_eq!(world.devices[0].disk.damage(circle, true), 3);
    world.restart(0);
    world.run(5_000);
    assert!(world.texts(0, circle, "general").is_empty());
    world.run(5_000);
    assert_eq!(world.texts(0, circle, "general"), ["mine", "of one", "of another"]);
    let [text] = told(&world)[..] else { panic!("{:?}", told(&world)) };
    assert!(begins(text, 3), "{text}");
    let view = world.devices[0].model.circle(circle).unwrap();
    assert_eq!(view.channels[0].unread, 0, "what was read before is no news");
    for other in 1..3 {
        world.set_reachable(0, other, false);
    }
    world.restart(0);
    world.run(1_000);
    assert_eq!(world.texts(0, circle, "general"), ["mine", "of one", "of another"]);
    assert_eq!(told(&world).len(), 1);
}

#[test]
fn what_nobody_else_has_is_left_out_and_hides_nothing_else() {
    let mut world = World::new(1);
    let circle = world.circle_at("garden club", None);
    send(&mut world, 0, circle, "before");
    assert_eq!(world.devices[0].disk.damage(circle, true), 1);
    world.restart(0);
    world.run(1_000);
    send(&mut world, 0, circle, "after");
    for _ in 0..2 {
        assert_eq!(world.texts(0, circle, "general"), ["after"]);
        assert_eq!(told(&world).len(), 1, "once, however often one looks");
    }
}
