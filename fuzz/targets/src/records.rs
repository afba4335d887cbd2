//! A disk that says anything: a node must start, or say what is damaged, and must not write over it.

use felund_core::{
    envelope::Compression,
    ids::{MsgId, NodeId},
    io::Command,
    keys::CircleSecret,
    store::{Batch, MemoryStore, Op, Row},
    view::Key,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    author::{KINDS, Sheet, circle, node, padded},
    device::{Device, EPOCH_MS},
    script::Script,
};

/// Most records and rows of one disk.
const MOST: usize = 24;

/// Takes bytes as what is on a disk.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let (key, circle) = (node(1), circle(1));
    let store = key.store_key();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut ops = Vec::new();
    // Usually a device that was there before; else whatever comes.
    if !script.one_in(8) {
        let seed = [&[0x82, 0, 0x81, 0x58, 32][..], &[1; 32]].concat();
        ops.push(Op::PutRecord("identity".into(), seed));
    }
    if !script.one_in(8) {
        let name = format!("circle/{}", circle.circle_id());
        let record = circle_record(&circle);
        ops.push(Op::PutRecord(name.clone(), store.seal(&name, &record, &mut rng)));
    }
    while !script.is_over() && ops.len() < MOST {
        let what = script.byte();
        if what % 4 == 3 {
            ops.push(Op::PutEnvelope(row(&mut script, what >> 2, &circle)));
            continue;
        }
        let name = record_name(&mut script, what >> 2, &circle);
        let value = script.short_piece();
        let value = if what.is_multiple_of(4) { value.to_vec() } else { store.seal(&name, value, &mut rng) };
        ops.push(Op::PutRecord(name, value));
    }
    let mut disk = MemoryStore::default();
    disk.write(Batch { ops, strict: true });

    let mut device = Device::start(disk);
    for command in [Command::Snapshot, Command::Unlock { passphrase: "wrong".into() }, Command::Doctor] {
        let _ = device.command(command);
    }
    if let Some(view) = device.model.circles().first() {
        let (circle, channel) = (view.id, view.channels.first().map(|channel| channel.id));
        if let Some(channel) = channel {
            let _ = device.command(Command::History { circle, channel, before: None, limit: 100 });
            let _ = device.command(Command::Send { circle, channel, text: "still here".into() });
        }
        let _ = device.command(Command::Invite { circle });
    }
    // What it has written starts another node.
    let mut again = Device::start(device.store);
    let _ = again.command(Command::Snapshot);
}

/// A circle's record in the form of this version.
fn circle_record(circle: &CircleSecret) -> Vec<u8> {
    let secret = circle.secret().expose();
    [&[0x85, 0x58, 32][..], secret, &[0xf6, 0x82, 0x19, 0x03, 0xe8, 0x18, 30, 0x64], b"club", &[0x80]]
        .concat()
}

fn record_name(script: &mut Script<'_>, what: u8, circle: &CircleSecret) -> String {
    let (id, channel) = (circle.circle_id(), circle.general());
    match what % 10 {
        0 => "identity".into(),
        1 => "profile".into(),
        2 => "anchor".into(),
        3 => format!("circle/{id}"),
        4 => format!("cursor/{id}"),
        5 => format!("read/{id}/{channel}"),
        6 => format!("draft/{id}/{channel}"),
        7 => format!("key/{id}/{channel}"),
        8 => format!("outbox/{id}/{:016x}/{}", EPOCH_MS, MsgId([script.byte() % 4; 16])),
        _ => String::from_utf8_lossy(script.short_piece()).into_owned(),
    }
}

fn row(script: &mut Script<'_>, what: u8, circle: &CircleSecret) -> Row {
    let channel = if what & 1 == 0 { circle.general() } else { circle.control() };
    let author = node(script.byte() % 3);
    let key = Key { ts: EPOCH_MS, id: MsgId([script.byte() % 4; 16]) };
    let body = script.short_piece();
    let sealed = Sheet {
        author: &author,
        circle,
        channel,
        id: u64::from(script.byte()),
        ts: EPOCH_MS,
        kind: KINDS[usize::from(what >> 1) % KINDS.len()],
        compression: Compression::None,
        plain: &padded(body),
    };
    // Half of them are no envelopes at all.
    let sealed = sealed.seal().filter(|_| script.one_in(2));
    let sealed = sealed.map_or_else(|| body.to_vec(), |envelope| envelope.to_cbor());
    let author = if what & 2 == 0 { author.id() } else { NodeId([9; 32]) };
    Row { circle: circle.circle_id(), key, channel, author, chat: what & 1 == 0, sealed }
}
