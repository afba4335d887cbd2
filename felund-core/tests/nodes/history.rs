//! Histories of any length find their way to who joins, without any relay.

use felund_core::{
    circle::Body,
    envelope::{Draft, seal},
    io::Command,
    sim::{Disk, EPOCH_MS, World},
    store::{Batch, Loaded, MemoryStore, Op, Query, Row},
    view::{Key, Reply, Retention},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::attacks::Mallory;

/// More differences than the symbols of one exchange can tell.
const MANY: u64 = 50_000;

#[test]
fn a_history_of_more_differences_than_symbols_comes_in_parts() {
    let mut world = World::new(1);
    world.listen(0);
    let circle = world.circle_at("garden club", None);
    let retention = Retention { messages: 100_000, days: 30 };
    world.ask(0, Command::SetRetention { circle, retention }).unwrap();
    let mallory = Mallory::join(&mut world, circle);
    world.run(10 * MANY);
    let disk = &world.devices[0].disk;
    let (Loaded::Records(records), Loaded::Index(index)) =
        (disk.read(Query::Records), disk.read(Query::Index(circle)))
    else {
        panic!("no storage")
    };
    let Loaded::Envelopes(sealed) =
        disk.read(Query::Envelopes(circle, index.iter().map(|row| row.key).collect()))
    else {
        panic!("no storage")
    };
    let mut ops: Vec<Op> = records.into_iter().map(|(name, value)| Op::PutRecord(name, value)).collect();
    ops.extend(index.into_iter().zip(sealed).map(|(row, (key, sealed))| {
        let (channel, author, chat) = (row.channel, row.author, row.chat);
        Op::PutEnvelope(Row { circle, key, channel, author, chat, sealed })
    }));
    let (channel, mut rng) = (mallory.secret.general(), ChaCha20Rng::seed_from_u64(7));
    let body = Body::Text("the roses are out".into()).to_cbor();
    for n in 0..MANY {
        let created_ts = EPOCH_MS + 10 * n;
        let draft = Draft {
            circle_id: circle,
            channel_id: channel,
            created_ts,
            kind: "chat.text",
            key_id: "epoch-0",
            body: &body,
        };
        let sealed = seal(draft, &mallory.secret.epoch_0(), &mallory.key, &mut rng).unwrap();
        let (id, author) = (sealed.header().msg_id, mallory.key.id());
        let sealed = sealed.envelope().to_cbor();
        ops.push(Op::PutEnvelope(Row {
            circle,
            key: Key { ts: created_ts, id },
            channel,
            author,
            chat: true,
            sealed,
        }));
    }
    let mut store = MemoryStore::default();
    store.write(Batch { ops, strict: true });
    world.crash(0, false);
    world.devices[0].disk = Disk::instant(store);
    world.start(0);
    let late = world.add(MemoryStore::default());
    world.listen(late);
    let Ok(Reply::Invite { invite, .. }) = world.ask(0, Command::Invite { circle }) else { panic!("none") };
    world.ask(late, Command::JoinCircle { invite, relay: None }).unwrap();
    world.run_until("history", |world| {
        world.devices[late].model.circle(circle).is_some_and(|view| view.channels[0].unread > 100)
    });
}
