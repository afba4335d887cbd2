//! Who joins finds everybody, whatever the relay has forgotten.

use felund_core::{
    circle::Access,
    ids::CircleId,
    io::Command,
    sim::World,
    store::MemoryStore,
    view::{Membership, Reply},
};

use crate::{live, send};

/// Two members with a channel, at a relay that has lost its log since.
fn forgotten() -> (World, CircleId) {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let made = world.ask(
        0,
        Command::CreateChannel { circle, name: "plants".into(), access: Access::Public, passphrase: None },
    );
    made.expect("made");
    world.run(5_000);
    world.replace_relay();
    world.run(60_000);
    (world, circle)
}

fn joins(world: &mut World, by: usize, circle: CircleId) -> usize {
    let Ok(Reply::Invite { invite, .. }) = world.ask(by, Command::Invite { circle }) else { panic!("none") };
    let late = world.add(MemoryStore::default());
    world.ask(late, Command::JoinCircle { invite, relay: None }).unwrap();
    late
}

/// What a member knows: names, and channels.
fn known(world: &World, at: usize, circle: CircleId) -> (Vec<String>, Vec<String>) {
    let view = world.devices[at].model.circle(circle).expect("there");
    let mut members: Vec<String> = view.members.iter().map(|member| member.name.clone()).collect();
    members.sort();
    (members, view.channels.iter().map(|channel| channel.name.clone()).collect())
}

#[test]
fn who_joins_after_the_relay_lost_its_log_finds_members_and_channels() {
    let (mut world, circle) = forgotten();
    let late = joins(&mut world, 0, circle);
    world.run(10_000);
    assert_eq!(known(&world, late, circle), known(&world, 0, circle));
    assert_eq!(known(&world, late, circle).0.len(), 3);
    let view = world.devices[late].model.circle(circle).unwrap();
    assert!(view.channels.iter().all(|channel| channel.membership == Membership::Joined));
    send(&mut world, 0, circle, "welcome");
    world.run(2_000);
    assert_eq!(world.texts(late, circle, "general"), ["welcome"]);
}

#[test]
fn who_joins_is_told_of_members_who_are_away() {
    let (mut world, circle) = forgotten();
    world.crash(0, false);
    world.run(120_000);
    let late = joins(&mut world, 1, circle);
    world.run(10_000);
    assert_eq!(known(&world, late, circle), known(&world, 1, circle));
}

#[test]
fn who_joined_while_all_were_away_is_told_once_somebody_is_there() {
    let (mut world, circle) = forgotten();
    let Ok(Reply::Invite { invite, .. }) = world.ask(0, Command::Invite { circle }) else { panic!("none") };
    world.crash(0, false);
    world.crash(1, false);
    world.run(120_000);
    let late = world.add(MemoryStore::default());
    world.ask(late, Command::JoinCircle { invite, relay: None }).unwrap();
    world.run(60_000);
    assert_eq!(known(&world, late, circle).0.len(), 1);
    world.start(1);
    world.run_until("live", |world| live(world, 1, circle));
    world.run(10_000);
    assert_eq!(known(&world, late, circle), known(&world, 1, circle));
}
