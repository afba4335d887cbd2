//! What is refused because nobody has said who wrote it, in channels whose keys are not here: it is there once the key is, in
//! whatever order things come, and nobody makes others read everything again and again by it.

use felund_core::{
    circle::{Body, NewChannel, channel_id},
    envelope::{Envelope, open},
    ids::{ChannelId, CircleId},
    io::Command,
    keys::{MessageKey, channel_wrap_context, wrap_key},
    sim::World,
    view::{Access, Reply},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    attacks::{Mallory, holds, mesh_and_relay},
    send,
};

/// A channel of the first member's, and its key.
fn shed(world: &mut World, circle: CircleId) -> (ChannelId, MessageKey) {
    let made = Command::CreateChannel {
        circle,
        name: "shed".into(),
        access: Access::Key,
        passphrase: Some("rake".into()),
    };
    let Ok(Reply::Channel { channel_id: shed }) = world.ask(0, made) else { panic!("no channel") };
    world.run(1_000);
    let key = Mallory::join(world, circle).secret.epoch_0().for_passphrase("rake", &shed).unwrap();
    (shed, key)
}

/// Two members, and “psst” from nobody in a channel whose key the second does not have.
fn refused() -> (World, CircleId, ChannelId) {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    let (shed, key) = shed(&mut world, circle);
    let mut mallory = Mallory::join(&mut world, circle);
    mallory.say(&mut world, shed, &key, "psst");
    (world, circle, shed)
}

fn join_shed(world: &mut World, circle: CircleId, shed: ChannelId) {
    let passphrase = Some("rake".into());
    world.ask(1, Command::JoinChannel { circle, channel: shed, passphrase }).unwrap();
}

/// Says so much that whoever reads it again is noticed.
fn say_much(world: &mut World, circle: CircleId) {
    for i in 0..100 {
        send(world, i % 2, circle, &i.to_string());
    }
    world.run(60_000);
}

#[test]
fn what_was_refused_is_shown_once_its_channels_key_is_here_whenever_the_device_restarts() {
    for (before, after) in [(false, false), (true, false), (false, true), (true, true)] {
        let (mut world, circle, shed) = refused();
        send(&mut world, 0, circle, "meanwhile");
        world.run(5_000);
        assert!(holds(&world, 0, circle, "chat.text", shed) && !holds(&world, 1, circle, "chat.text", shed));
        if before {
            world.restart(1);
            world.run(5_000);
        }
        join_shed(&mut world, circle, shed);
        if after {
            world.restart(1);
        }
        world.run(10_000);
        assert_eq!(world.texts(1, circle, "shed"), ["psst"], "restarted: {before} {after}");
        assert_eq!(world.texts(1, circle, "general"), ["meanwhile"]);
    }
}

#[test]
fn no_power_cut_comes_between_a_channels_key_and_where_what_was_refused_is_read_from() {
    let (mut world, circle, shed) = refused();
    world.run(5_000);
    let store = world.devices[1].disk.durable().clone();
    world.devices[1].disk = felund_core::sim::Disk::slow(store);
    join_shed(&mut world, circle, shed);
    // Nothing but what somebody waited for is durable yet.
    world.crash(1, false);
    world.start(1);
    world.run(60_000);
    assert_eq!(world.texts(1, circle, "shed"), ["psst"]);
}

#[test]
fn what_was_refused_from_a_member_is_offered_again_once_its_channels_key_is_here() {
    for restarted in [false, true] {
        let (mut world, circle) = mesh_and_relay();
        let (shed, key) = shed(&mut world, circle);
        let mut mallory = Mallory::join(&mut world, circle);
        mallory.say(&mut world, shed, &key, "psst");
        world.run(5_000);
        assert!(holds(&world, 0, circle, "chat.text", shed) && !holds(&world, 1, circle, "chat.text", shed));
        if restarted {
            world.restart(1);
            world.run(60_000);
        }
        join_shed(&mut world, circle, shed);
        world.run(10_000);
        assert_eq!(world.texts(1, circle, "shed"), ["psst"], "restarted: {restarted}");
    }
}

#[test]
fn who_is_let_in_while_away_is_shown_what_was_refused_before() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    let mut owner = Mallory::join(&mut world, circle);
    let (control, epoch, key) =
        (owner.secret.control(), owner.secret.epoch_0(), MessageKey::from_bytes([1; 32]));
    let new = NewChannel { nonce: [1; 16], name: "board".into(), access: Access::Invite, check: None };
    let board = channel_id(&owner.key.id(), &new.nonce);
    owner.post(&mut world, control, &Body::Create(new));
    owner.another(1).say(&mut world, board, &key, "psst");
    assert!(!holds(&world, 1, circle, "chat.text", board));
    let member = world.devices[1].model.identity.as_ref().unwrap().node_id;
    world.crash(1, false);
    let said = world.devices[0].disk.envelopes(circle);
    let hello = said.iter().find_map(|bytes| {
        let verified = Envelope::from_cbor(bytes).unwrap().verify().unwrap();
        let header = verified.header().clone();
        match Body::from_cbor(&header.kind, &open(&verified, &epoch).ok()?) {
            Ok(Body::Hello(hello)) if header.author_node_id == member => Some(hello),
            _ => None,
        }
    });
    let context = channel_wrap_context(&circle, &board, &member);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let wrapped = wrap_key(&hello.unwrap().wrap_key, &context, &key, &mut rng).unwrap();
    owner.post(&mut world, control, &Body::Approve(board, member, wrapped));
    world.start(1);
    world.run(60_000);
    assert_eq!(world.texts(1, circle, "board"), ["psst"]);
}

#[test]
fn what_was_refused_at_a_relay_that_lost_its_log_since_is_shown_once_the_key_is_here() {
    for restarted in [false, true] {
        let mut world = World::new(2);
        let circle = world.circle("garden club");
        world.run(5_000);
        let (shed, key) = shed(&mut world, circle);
        let mut mallory = Mallory::join(&mut world, circle);
        mallory.say(&mut world, shed, &key, "gone");
        world.replace_relay();
        world.run(60_000);
        mallory.say(&mut world, shed, &key, "psst");
        send(&mut world, 0, circle, "meanwhile");
        world.run(20_000);
        if restarted {
            world.restart(1);
            world.run(5_000);
        }
        join_shed(&mut world, circle, shed);
        world.run(60_000);
        assert_eq!(world.texts(1, circle, "shed"), ["psst"], "restarted: {restarted}");
    }
}

#[test]
fn what_comes_before_its_public_channel_is_there_after_it_and_nothing_is_read_again() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let mut mallory = Mallory::join(&mut world, circle);
    let new = NewChannel { nonce: [1; 16], name: "seeds".into(), access: Access::Public, check: None };
    let seeds = channel_id(&mallory.key.id(), &new.nonce);
    let (control, epoch) = (mallory.secret.control(), mallory.secret.epoch_0());
    mallory.say(&mut world, seeds, &epoch, "swap?");
    say_much(&mut world, circle);
    world.restart(1);
    world.run(5_000);
    let before = world.relay.backlog;
    mallory.post(&mut world, control, &Body::Create(new));
    world.run(60_000);
    for at in 0..2 {
        assert_eq!(world.texts(at, circle, "seeds"), ["swap?"]);
    }
    assert_eq!(world.relay.backlog, before);
}

#[test]
fn a_member_that_renames_itself_again_and_again_makes_nobody_read_anything_again() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let mut mallory = Mallory::join(&mut world, circle);
    let (nowhere, key) = (ChannelId([7; 16]), MessageKey::from_bytes([1; 32]));
    mallory.another(1).say(&mut world, nowhere, &key, "junk");
    say_much(&mut world, circle);
    let (before, requests) = (world.relay.backlog, world.relay.requests.clone());
    for _ in 0..20 {
        mallory.say_hello(&mut world);
        world.run(31_000);
    }
    assert_eq!(world.relay.backlog, before);
    let asked: usize = world.relay.requests.values().sum::<usize>() - requests.values().sum::<usize>();
    assert!(asked <= 2 * 11, "{asked} requests in ten minutes, of which presence takes two each");
}

#[test]
fn who_makes_up_ever_new_members_makes_others_read_everything_again_ever_more_seldom() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let mallory = Mallory::join(&mut world, circle);
    let (nowhere, key) = (ChannelId([7; 16]), MessageKey::from_bytes([1; 32]));
    let mut devices: Vec<Mallory> = (1..=20).map(|seed| mallory.another(seed)).collect();
    for device in &mut devices {
        device.say(&mut world, nowhere, &key, "junk");
    }
    say_much(&mut world, circle);
    let before = world.relay.backlog;
    for device in &mut devices {
        device.say_hello(&mut world);
        world.run(40_000);
    }
    let times = (world.relay.backlog - before) / 200;
    assert!((1..=4).contains(&times), "{times} times in a quarter of an hour");
}
