//! Many members: what a node does for one thing that happens must not grow with all there is.

use felund_core::{
    circle::{Body, Hello},
    envelope::{Draft, seal},
    ids::CircleId,
    invite::Invite,
    io::{Command, Event},
    keys::{CircleSecret, NodeKey},
    redact::Secret,
    relay_api::Capabilities,
    sim::{EPOCH_MS, World},
    store::MemoryStore,
    view::Reply,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::send;

/// So many members that have said hello through the relay and are not there.
fn invent(world: &mut World, circle: CircleId, members: u16) {
    let Ok(Reply::Invite { invite, .. }) = world.ask(0, Command::Invite { circle }) else { panic!() };
    let secret = CircleSecret::from_secret(Invite::parse(&invite).unwrap().secret);
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut hello = |n: u16| {
        let mut seed = [77; 32];
        seed[..2].copy_from_slice(&n.to_be_bytes());
        let (key, name) = (NodeKey::from_seed(Secret::new(seed)), format!("invented {n}"));
        let body = Body::Hello(Hello { name, wrap_key: [5; 32], capabilities: Capabilities::default() });
        let draft = Draft {
            circle_id: circle,
            channel_id: secret.control(),
            created_ts: EPOCH_MS + world.now,
            kind: body.kind(),
            key_id: "epoch-0",
            body: &body.to_cbor(),
        };
        seal(draft, &secret.epoch_0(), &key, &mut rng).unwrap().envelope().to_cbor()
    };
    let hellos: Vec<Vec<u8>> = (0..members).map(&mut hello).collect();
    for batch in hellos.chunks(200) {
        world.post(secret.api_key().hint(), batch.to_vec()).expect("well signed");
    }
    world.run(5_000);
}

/// Views that the first device is told of while the other talks for two seconds.
fn views_told(members: u16) -> usize {
    let mut world = World::new(2);
    let circle = world.circle("choir");
    invent(&mut world, circle, members);
    assert_eq!(world.devices[0].model.circle(circle).unwrap().members.len(), usize::from(members) + 2);
    world.told.clear();
    let until = world.now + 2_000;
    for n in 0..40 {
        send(&mut world, 1, circle, &n.to_string());
        world.run((until - world.now) / (40 - n));
    }
    let messages = world.events(0).filter(|event| matches!(event, Event::Message(_))).count();
    assert!(messages >= 35, "messages themselves are told at once: {messages}");
    world.events(0).filter(|event| matches!(event, Event::Circle(_))).count()
}

#[test]
fn views_of_a_circle_with_many_members_are_told_less_often() {
    assert!((20..=41).contains(&views_told(0)), "twenty times a second at most");
    let told = views_told(600);
    assert!((4..=8).contains(&told), "300 members cost what a few cost in {told} views");
}

#[test]
fn a_crowd_that_joins_at_once_is_told_of_together() {
    const MEMBERS: usize = 40;
    let mut world = World::seeded(1);
    for at in 0..MEMBERS {
        world.add(MemoryStore::default());
        world.listen(at);
    }
    let circle = world.circle_at("choir", None);
    let knows = |world: &World, at: usize| world.devices[at].model.circle(circle).unwrap().members.len();
    world.run_until("everyone knows everyone", |world| (0..MEMBERS).all(|at| knows(world, at) == MEMBERS));
    world.run(10_000);
    let messages: u64 = world.devices.iter().map(|device| device.traffic.direct_messages).sum();
    let each = messages as usize / (MEMBERS * (MEMBERS - 1));
    assert!(each < 6, "{each} messages for each member and each other that it heard of");
}
