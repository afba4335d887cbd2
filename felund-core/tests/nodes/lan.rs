//! Members of one local network find each other by what they announce there, and tell nobody else who they are.

use std::collections::BTreeSet;

use felund_core::{
    config::{ANNOUNCE_MS, MAX_ENDPOINTS, MAX_NEARBY},
    ids::CircleId,
    io::{Announcement, Command, Input},
    sim::World,
    view::Reach,
};

/// What a device announces at present, as another one hears it.
fn heard(world: &World, from: usize, addresses: &[&str]) -> Announcement {
    let said = world.devices[from].announced.last().cloned().flatten().expect("it announces itself");
    Announcement { addresses: addresses.iter().map(|&address| address.to_owned()).collect(), ..said }
}

fn direct(world: &World, at: usize, circle: CircleId) -> usize {
    let view = world.devices[at].model.circle(circle).expect("a circle");
    view.members.iter().filter(|member| member.reach == Reach::Direct).count()
}

/// Two members without any way to each other, the first of whom listens.
fn apart() -> (World, CircleId) {
    let mut world = World::new(2);
    let circle = world.circle_at("garden club", None);
    world.listen(0);
    world.run(1_000);
    assert!(world.devices[1].dialed.is_empty(), "nobody has told of an address");
    (world, circle)
}

#[test]
fn members_meet_through_what_one_of_them_announces() {
    let (mut world, circle) = apart();
    let seen = heard(&world, 0, &["198.51.100.1:1", "10.0.0.0:4700"]);
    world.input(1, Input::Nearby(vec![seen]));
    world.run_until("a session", |world| direct(world, 0, circle) == 1 && direct(world, 1, circle) == 1);
    // There is one member behind both addresses: when one of them answers the other is left alone.
    let dialed = world.devices[1].dialed.len();
    world.run(120_000);
    assert_eq!(world.devices[1].dialed.len(), dialed);
    assert!(dialed <= 2, "{:?}", world.devices[1].dialed);
}

#[test]
fn nobody_dials_what_strangers_announce_nor_what_it_announces_itself() {
    let (mut world, _) = apart();
    // All worlds draw the same: only the second circle of another one is not known here.
    let mut other = World::new(1);
    let known = other.circle_at("garden club", None);
    other.ask(0, Command::CreateCircle { name: "family".into(), relay: None }).expect("made");
    other.ask(0, Command::LeaveCircle { circle: known }).expect("left");
    let stranger = heard(&other, 0, &["192.0.2.77:4700"]);
    let own = heard(&world, 1, &["192.0.2.78:4700"]);
    world.input(1, Input::Nearby(vec![stranger, own]));
    world.run(60_000);
    assert!(world.devices[1].dialed.is_empty(), "{:?}", world.devices[1].dialed);
}

#[test]
fn who_joins_later_recognises_what_was_there_before() {
    let mut world = World::new(2);
    let circle = world.circle_at("garden club", None);
    let Ok(felund_core::view::Reply::Invite { invite, .. }) = world.ask(0, Command::Invite { circle }) else {
        panic!("no invite");
    };
    world.ask(1, Command::LeaveCircle { circle }).expect("left");
    world.listen(0);
    let seen = heard(&world, 0, &["10.0.0.0:4700"]);
    world.input(1, Input::Nearby(vec![seen]));
    world.run(10_000);
    assert!(world.devices[1].dialed.is_empty());
    world.ask(1, Command::JoinCircle { invite, relay: None }).expect("joined");
    world.run_until("a session", |world| direct(world, 1, circle) == 1);
}

#[test]
fn an_address_is_forgotten_with_its_announcement() {
    let (mut world, _) = apart();
    let seen = heard(&world, 0, &["198.51.100.1:1"]);
    world.input(1, Input::Nearby(vec![seen]));
    world.run(60_000);
    let tries = world.devices[1].dialed.len();
    assert!(tries > 1, "it is tried again");
    world.input(1, Input::Nearby(Vec::new()));
    world.run(600_000);
    assert!(world.devices[1].dialed.len() <= tries + 1, "{}", world.devices[1].dialed.len());
}

#[test]
fn a_flood_of_announcements_leads_to_a_bounded_number_of_addresses() {
    let (mut world, _) = apart();
    let seen = heard(&world, 0, &[]);
    let addresses = |n: usize| (1..50).map(|port| format!("198.51.100.{n}:{port}")).collect();
    let copy = |n| Announcement { instance: format!("copy {n}"), addresses: addresses(n), ..seen.clone() };
    world.input(1, Input::Nearby((0..250).map(copy).collect()));
    world.run(600_000);
    let different: BTreeSet<&String> = world.devices[1].dialed.iter().collect();
    assert!(different.len() <= MAX_NEARBY * MAX_ENDPOINTS, "{}", different.len());
}

#[test]
fn an_announcement_lasts_an_hour_in_one_network_and_as_long_as_there_are_circles() {
    let mut world = World::new(1);
    assert!(world.devices[0].announced.is_empty(), "there is nothing to announce");
    let circle = world.circle_at("garden club", None);
    let instances = |world: &World| -> Vec<Option<String>> {
        let said = world.devices[0].announced.iter();
        said.map(|said| said.as_ref().map(|said| said.instance.clone())).collect()
    };
    assert_eq!(instances(&world).len(), 1);
    world.run(ANNOUNCE_MS);
    assert_eq!(instances(&world).len(), 2);
    world.input(0, Input::Wake);
    assert_eq!(instances(&world).len(), 3);
    world.ask(0, Command::CreateCircle { name: "family".into(), relay: None }).expect("made");
    assert_eq!(instances(&world).len(), 4);
    let mut different = instances(&world);
    different.sort();
    different.dedup();
    assert!(different.len() == 4 && !different.contains(&None), "{different:?}");
    let others: Vec<CircleId> = world.devices[0].model.circles().iter().map(|circle| circle.id).collect();
    assert!(others.contains(&circle));
    for circle in others {
        world.ask(0, Command::LeaveCircle { circle }).expect("left");
    }
    assert_eq!(instances(&world).last(), Some(&None));
}
