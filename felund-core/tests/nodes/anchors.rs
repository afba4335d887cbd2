//! Anchors: members that store and forward, chosen without a vote and replaced without one.

use felund_core::{
    config::MESH_DEGREE,
    ids::{CircleId, NodeId},
    io::{Command, Event},
    node::Platform,
    sim::{Disk, World},
    store::{MemoryStore, Query},
    view::{CircleView, Delivery, Reach, Reply},
};

use crate::{mesh, send};

fn view(world: &World, at: usize, circle: CircleId) -> &CircleView {
    world.devices[at].model.circle(circle).unwrap()
}

fn id(world: &World, at: usize) -> NodeId {
    world.devices[at].model.identity.as_ref().unwrap().node_id
}

fn anchor(world: &World, at: usize, circle: CircleId) -> Option<NodeId> {
    view(world, at, circle).anchor
}

fn reach(world: &World, at: usize, circle: CircleId, of: usize) -> Reach {
    let of = id(world, of);
    view(world, at, circle).members.iter().find(|member| member.id == of).unwrap().reach
}

/// A world whose first `anchors` devices do nothing but anchor and listen, and whose others are kept apart.
fn anchored(anchors: usize, others: usize, relay: Option<&str>) -> (World, CircleId) {
    let mut world = World::seeded(1);
    for _ in 0..anchors {
        let platform = Platform { dials: true, anchor: true, ..Platform::default() };
        let at = world.add_device(platform, Disk::instant(MemoryStore::default()));
        world.listen(at);
    }
    for _ in 0..others {
        world.add(MemoryStore::default());
    }
    let circle = world.circle_at("garden club", relay.map(str::to_owned));
    for a in anchors..anchors + others {
        for b in anchors..a {
            world.set_reachable(a, b, false);
        }
    }
    world.run(15_000);
    (world, circle)
}

#[test]
fn everyone_chooses_the_same_anchor_and_the_next_one_within_twenty_seconds() {
    let (mut world, circle) = anchored(3, 2, None);
    let first = anchor(&world, 3, circle).expect("an anchor");
    assert!((0..5).all(|at| anchor(&world, at, circle) == Some(first)));
    let primary = (0..3).find(|at| id(&world, *at) == first).unwrap();
    world.crash(primary, true);
    world.run(20_000);
    let rest: Vec<usize> = (0..5).filter(|at| *at != primary).collect();
    let second = anchor(&world, 3, circle).expect("another anchor");
    assert_ne!(second, first);
    assert!(rest.iter().all(|at| anchor(&world, *at, circle) == Some(second)));
    send(&mut world, 3, circle, "still here?");
    world.run(3_000);
    assert_eq!(
        world.texts(4, circle, "general"),
        ["still here?"],
        "no relay, and no session between the two"
    );
}

#[test]
fn members_that_cannot_reach_each_other_see_each_other_through_the_anchor() {
    let (mut world, circle) = anchored(1, 2, None);
    assert_eq!(reach(&world, 1, circle, 2), Reach::Anchor);
    assert_eq!(reach(&world, 1, circle, 0), Reach::Direct);
    send(&mut world, 1, circle, "hey everyone");
    world.run(2_000);
    assert_eq!(world.texts(2, circle, "general"), ["hey everyone"]);
    let sent = world.history(1, circle, "general").remove(0);
    assert_eq!(sent.delivery, Delivery::Delivered { to: 2, of: 2 }, "the anchor and the one behind it");
    world.run(5_000);
    world.restart(1);
    world.run(1_000);
    assert_eq!(
        world.history(1, circle, "general").remove(0).delivery,
        sent.delivery,
        "and it is not forgotten"
    );
}

#[test]
fn the_relay_is_spared_what_an_anchor_keeps_for_those_who_are_away() {
    let (mut world, circle) = anchored(1, 2, Some(felund_core::sim::RELAY));
    world.crash(2, false);
    world.run(10_000);
    let posted = world.relay.bytes().len();
    send(&mut world, 1, circle, "for later");
    world.run(10_000);
    assert_eq!(world.relay.bytes().len(), posted, "nothing was posted");
    assert_eq!(view(&world, 1, circle).unsent, 0);
    world.crash(1, false);
    world.set_relay_up(false);
    world.start(2);
    world.run(10_000);
    assert_eq!(world.texts(2, circle, "general"), ["for later"]);
}

#[test]
fn what_only_an_anchor_that_fell_silent_keeps_goes_to_the_relay_after_all() {
    let (mut world, circle) = anchored(1, 2, Some(felund_core::sim::RELAY));
    world.set_reachable(0, 2, false);
    world.run(5_000);
    let posted = world.relay.bytes().len();
    send(&mut world, 1, circle, "kept in one place only");
    world.run(10_000);
    assert_eq!((world.relay.bytes().len(), view(&world, 1, circle).unsent), (posted, 0), "the anchor has it");
    world.crash(0, true);
    world.run(25_000);
    assert_eq!(world.texts(2, circle, "general"), ["kept in one place only"]);
    let delivery = world.history(1, circle, "general").remove(0).delivery;
    assert_eq!(delivery, Delivery::Delivered { to: 2, of: 2 });
}

#[test]
fn a_member_no_anchor_serves_is_not_forgotten_for_it() {
    let mut world = World::seeded(1);
    let platform = Platform { dials: true, anchor: true, ..Platform::default() };
    let at = world.add_device(platform, Disk::instant(MemoryStore::default()));
    world.listen(at);
    world.add(MemoryStore::default());
    // As in a browser that has nothing but the relay.
    world.add_device(Platform::default(), Disk::instant(MemoryStore::default()));
    let circle = world.circle("garden club");
    world.run(15_000);
    send(&mut world, 1, circle, "hey everyone");
    world.run(1_000);
    assert_eq!(world.texts(2, circle, "general"), ["hey everyone"]);
}

#[test]
fn a_device_that_only_anchors_keeps_little_and_opens_nothing() {
    let (mut world, circle) = anchored(1, 1, None);
    for i in 0..620 {
        send(&mut world, 1, circle, &format!("message {i}"));
        if i % 50 == 0 {
            world.run(500);
        }
    }
    world.run(30_000);
    let kept = world.texts(0, circle, "general");
    assert_eq!((kept.len(), kept[0].as_str()), (500, "message 120"));
    let shown = world.told.iter().filter(|told| told.device == 0);
    assert_eq!(shown.filter(|told| matches!(told.event, Event::Message(_))).count(), 0, "nobody reads there");
    let bytes = disk_bytes(&world, 0, circle);
    assert!(!bytes.windows(9).any(|window| window == b"message 3"), "sealed at rest");
    world.run(25 * 60 * 60 * 1_000);
    send(&mut world, 1, circle, "a day later");
    world.run(30_000);
    assert_eq!(world.texts(0, circle, "general"), ["a day later"]);
}

fn disk_bytes(world: &World, at: usize, circle: CircleId) -> Vec<u8> {
    let index = match world.devices[at].disk.read(Query::Index(circle)) {
        felund_core::store::Loaded::Index(rows) => rows.into_iter().map(|row| row.key).collect(),
        other => panic!("{other:?}"),
    };
    match world.devices[at].disk.read(Query::Envelopes(circle, index)) {
        felund_core::store::Loaded::Envelopes(rows) => {
            rows.into_iter().flat_map(|(_, sealed)| sealed).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_person_who_anchors_keeps_the_own_history() {
    let mut world = World::new(2);
    world.listen(0);
    let circle = world.circle_at("garden club", None);
    for i in 0..510 {
        send(&mut world, 0, circle, &format!("message {i}"));
    }
    world.run(5_000);
    world.ask(0, Command::SetAnchor { on: true }).expect("anchors");
    world.run(15_000);
    assert_eq!(anchor(&world, 1, circle), Some(id(&world, 0)));
    assert_eq!(world.texts(0, circle, "general").len(), 510);
    world.restart(0);
    world.run(15_000);
    assert!(world.devices[0].model.identity.as_ref().unwrap().anchor, "the choice survives a restart");
    world.ask(0, Command::SetAnchor { on: false }).expect("anchors no more");
    world.run(1_000);
    assert_eq!(anchor(&world, 1, circle), None, "known at once");
}

#[test]
fn browsers_and_phones_do_not_anchor() {
    let mut world = World::seeded(1);
    for platform in
        [Platform::default(), Platform { dials: true, mobile: true, anchor: true, ..Platform::default() }]
    {
        let at = world.add_device(platform, Disk::instant(MemoryStore::default()));
        world.ask(at, Command::SetAnchor { on: true }).expect_err("refused");
        assert!(!world.devices[at].model.identity.as_ref().unwrap().anchor);
    }
}

#[test]
fn a_large_circle_is_a_mesh_of_few_sessions_that_reaches_everyone() {
    let (mut world, circle) = mesh(30);
    world.run(120_000);
    let sessions: usize = (0..30)
        .map(|at| view(&world, at, circle).members.iter().filter(|m| m.reach == Reach::Direct).count())
        .sum();
    assert!(sessions / 30 <= 3 * MESH_DEGREE, "{} each", sessions / 30);
    send(&mut world, 7, circle, "hey everyone");
    world.run(5_000);
    for at in 0..30 {
        assert_eq!(world.texts(at, circle, "general"), ["hey everyone"], "device {at}");
    }
}

#[test]
fn a_mesh_that_was_cut_in_two_and_content_finds_together_again() {
    let (mut world, circle) = mesh(16);
    world.run(60_000);
    for a in 0..8 {
        for b in 8..16 {
            world.set_reachable(a, b, false);
        }
    }
    world.run(180_000);
    send(&mut world, 0, circle, "from one side");
    send(&mut world, 15, circle, "from the other");
    world.run(5_000);
    assert_eq!(world.texts(8, circle, "general"), ["from the other"]);
    world.heal();
    world.run(180_000);
    for at in 0..16 {
        assert_eq!(world.texts(at, circle, "general").len(), 2, "device {at}");
    }
}

#[test]
fn doctor_names_the_anchor_and_says_when_it_cannot_be_reached() {
    let (mut world, circle) = anchored(2, 1, None);
    let finding = |world: &mut World, at| {
        let Ok(Reply::Doctor { findings }) = world.ask(at, Command::Doctor) else { panic!("no findings") };
        findings.into_iter().find(|finding| finding.subject == "anchor of garden club").expect("a finding")
    };
    let first = anchor(&world, 2, circle).expect("an anchor");
    let at = (0..2).find(|at| id(&world, *at) == first).unwrap();
    let found = finding(&mut world, 2);
    assert_eq!(found.detail, format!("member {at}; next: member {}", 1 - at));
    assert!(found.ok && finding(&mut world, at).detail.starts_with("this device"));
    world.set_reachable(2, at, false);
    world.run(1_000);
    assert!(!finding(&mut world, 2).ok);
}
