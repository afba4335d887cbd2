//! Addresses that members have seen others come from: how a device behind a router is found by somebody else.

use felund_core::{ids::CircleId, io::Command, sim::World, view::Reach};

use crate::send;

const ROUTER: [u8; 4] = [203, 0, 113, 7];
const OUTSIDE: &str = "203.0.113.7:4700";

/// The first listens for all to see; the second listens behind a router that leads its port on, and knows only its local
/// address; the third listens nowhere.
fn behind_a_router(setting: impl FnOnce(&mut World)) -> (World, CircleId) {
    let mut world = World::new(3);
    world.listen(0);
    world.listen_behind(1, ROUTER.into());
    setting(&mut world);
    let circle = world.circle_at("garden club", None);
    (world, circle)
}

fn reached(world: &World, at: usize, other: usize, circle: CircleId) -> Option<Reach> {
    let other = world.devices[other].model.identity.as_ref()?.node_id;
    let members = &world.devices[at].model.circle(circle)?.members;
    members.iter().find(|member| member.id == other).map(|member| member.reach)
}

#[test]
fn a_third_member_dials_the_address_that_a_second_one_saw() {
    let (mut world, circle) = behind_a_router(|_| {});
    world.run_until("the third reaches the second", |world| {
        reached(world, 2, 1, circle) == Some(Reach::Direct)
    });
    assert!(world.devices[2].dialed.iter().any(|address| address == OUTSIDE));
    assert!(world.devices[1].dialed.iter().all(|address| address != OUTSIDE), "not to itself");
    // It is worth something: they go on without the one who brought them together.
    world.crash(0, false);
    send(&mut world, 1, circle, "still here?");
    world.run(2_000);
    assert_eq!(world.texts(2, circle, "general"), ["still here?"]);
}

#[test]
fn a_device_that_hides_has_nobody_told_where_it_was_seen() {
    let hide = |world: &mut World| {
        world.ask(1, Command::SetHideAddress { on: true }).expect("a setting");
    };
    let (mut world, circle) = behind_a_router(hide);
    world.run(120_000);
    assert_ne!(reached(&world, 2, 1, circle), Some(Reach::Direct));
    assert!(world.devices[2].dialed.iter().all(|address| address != OUTSIDE));
}

#[test]
fn addresses_that_mean_something_elsewhere_only_are_not_told() {
    let mut world = World::new(3);
    world.listen(0);
    world.listen_behind(1, [10, 9, 9, 9].into());
    let circle = world.circle_at("garden club", None);
    world.run(120_000);
    assert_eq!(reached(&world, 0, 1, circle), Some(Reach::Direct));
    assert!(world.devices[2].dialed.iter().all(|address| address != "10.9.9.9:4700"));
}

#[test]
fn what_members_saw_is_told_on_although_another_interface_came() {
    use felund_core::{invite::Invite, io::Input, view::Reply};
    let (mut world, circle) = behind_a_router(|_| {});
    let tells = |world: &mut World| {
        let Ok(Reply::Invite { invite, .. }) = world.ask(1, Command::Invite { circle }) else {
            panic!("none")
        };
        Invite::parse(&invite).expect("an invite").peers.iter().any(|peer| peer == OUTSIDE)
    };
    world.run(10_000);
    assert!(tells(&mut world), "before");
    let more = vec!["192.168.1.2:4700".to_owned(), "172.17.0.1:4700".to_owned()];
    world.input(1, Input::Listening(more));
    world.run(600_000);
    assert_eq!(reached(&world, 1, 0, circle), Some(Reach::Direct), "the session stands");
    assert!(tells(&mut world), "ten minutes after");
}
