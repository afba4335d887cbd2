//! `cargo xtask bench sync`: what a reconciliation costs, next to sending every id, to the `negentropy` crate driven
//! bare, and to the least that any exchange of salted 64-bit ids can cost.
//!
//! Bytes count both directions of the reconciliation itself, without the messages that follow from it; a round trip
//! is one message each way. CPU is both sides together; memory is the symbols held at the decoding side.

use std::{collections::BTreeSet, time::Instant};

use felund_core::{
    ids::{MsgId, NodeId},
    sync::{Decoder, Entry, ShortId, Symbol, encode, first_symbols, short_id, summarise, write_symbols},
    view::Key,
    wire::{Have, PeerFrame, Window},
};
use negentropy::{Id, Negentropy, NegentropyStorageVector};

const SALT: [u8; 16] = [7; 16];
/// Length prefix, tag and fragment mark of a record on TCP.
const RECORD: usize = 4 + 16 + 1;

/// Where the differences lie.
#[derive(Clone, Copy)]
enum Spread {
    Recent,
    Scattered,
}

#[derive(Default)]
struct Cost {
    bytes: usize,
    round_trips: usize,
    millis: f64,
    memory: usize,
}

fn key(n: u64) -> Key {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[8..].copy_from_slice(&n.wrapping_mul(0xd6e8_feb8_6659_fd93).to_be_bytes());
    Key { ts: 1_700_000_000_000 + n * 1_000, id: MsgId(id) }
}

/// The keys of a side that has all of `n`, and of one that lacks `d` of them.
fn sides(n: u64, d: u64, spread: Spread) -> (Vec<Key>, Vec<Key>) {
    let lacking: BTreeSet<u64> = match spread {
        Spread::Recent => (n - d..n).collect(),
        Spread::Scattered => (0..d).map(|i| i * (n / d.max(1)) + 3).collect(),
    };
    let all: Vec<Key> = (0..n).map(key).collect();
    let fewer = (0..n).filter(|i| !lacking.contains(i)).map(key).collect();
    (all, fewer)
}

fn entries(keys: &[Key]) -> impl Iterator<Item = Entry> {
    keys.iter().map(|key| Entry { key: *key, author: NodeId([7; 32]) })
}

fn frame(have: Have) -> usize {
    PeerFrame::MsgsHave { circle: 0, have }.to_bytes().len() + RECORD
}

/// The exchange as nodes carry it out: `here` begins and decodes, `there` sends symbols.
fn felund(here: &[Key], there: &[Key]) -> Cost {
    let started = Instant::now();
    let mut cost = Cost::default();
    let window = Window { horizon: 1_690_000_000_000, floors: Vec::new() };
    let (mine, theirs) = (summarise(&SALT, entries(here)), summarise(&SALT, entries(there)));
    let opening = Have::Summary { count: mine.count, fingerprint: mine.fingerprint, window: window.clone() };
    cost.bytes += frame(opening);
    cost.round_trips = 1;
    if mine == theirs {
        cost.bytes += frame(Have::Same);
    } else {
        let ids = |keys: &[Key]| entries(keys).map(|entry| short_id(&SALT, entry)).collect::<Vec<ShortId>>();
        let (ours, others) = (ids(here), ids(there));
        let (mut decoder, mut end) = (Decoder::default(), first_symbols(theirs.count, mine.count));
        loop {
            let start = decoder.len();
            let sent = encode(others.iter().copied(), start..end);
            let symbols = write_symbols(&sent, theirs.count, start as u64);
            let (count, start_at) = (theirs.count, start as u64);
            cost.bytes += frame(Have::Symbols { count, start: start_at, symbols, window: window.clone() });
            let own = encode(ours.iter().copied(), start..end);
            if decoder.extend(&sent, &own).is_some() {
                break;
            }
            end *= 2;
            cost.bytes += frame(Have::More { end: end as u64 });
            cost.round_trips += 1;
        }
        cost.memory = decoder.len() * size_of::<Symbol>();
    }
    cost.millis = started.elapsed().as_secs_f64() * 1e3;
    cost
}

/// Each side sends every short id it has.
fn full_list(here: &[Key], there: &[Key]) -> Cost {
    Cost { bytes: (here.len() + there.len()) * 8, round_trips: 1, ..Cost::default() }
}

fn negentropy(here: &[Key], there: &[Key]) -> Option<Cost> {
    let storage = |keys: &[Key]| {
        let mut storage = NegentropyStorageVector::new();
        for key in keys {
            let mut id = [0; 32];
            id[..16].copy_from_slice(&key.id.0);
            storage.insert(key.ts, Id::from_byte_array(id)).ok()?;
        }
        storage.seal().ok()?;
        Some(storage)
    };
    let (here, there) = (storage(here)?, storage(there)?);
    let started = Instant::now();
    let mut client = Negentropy::owned(here, 0).ok()?;
    let mut server = Negentropy::owned(there, 0).ok()?;
    let mut message = client.initiate().ok()?;
    let (mut cost, mut have, mut need) = (Cost::default(), Vec::new(), Vec::new());
    loop {
        let answer = server.reconcile(&message).ok()?;
        cost.bytes += message.len() + answer.len();
        cost.round_trips += 1;
        match client.reconcile_with_ids(&answer, &mut have, &mut need).ok()? {
            Some(next) => message = next,
            None => break,
        }
    }
    cost.millis = started.elapsed().as_secs_f64() * 1e3;
    Some(cost)
}

/// d · (64 − log₂ d + 1.44) bits.
fn bound(d: u64) -> f64 {
    if d == 0 {
        return 0.0;
    }
    let d = d as f64;
    d * (64.0 - d.log2() + 1.44) / 8.0
}

fn row(n: u64, d: u64, what: &str, name: &str, cost: &Cost) {
    println!(
        "{n:>7} {d:>6} {what:<10} {name:<11} {:>9} B {:>3} rt {:>8.1} ms {:>8} B held",
        cost.bytes, cost.round_trips, cost.millis, cost.memory
    );
}

fn main() {
    println!("      n      d where      how             bytes  trips       CPU   memory");
    for n in [1_000, 10_000, 100_000] {
        for (d, spread, what) in [
            (0, Spread::Recent, "-"),
            (10, Spread::Recent, "recent"),
            (10, Spread::Scattered, "scattered"),
            (1_000, Spread::Recent, "recent"),
            (1_000, Spread::Scattered, "scattered"),
        ] {
            if d >= n {
                continue;
            }
            let (all, fewer) = sides(n, d, spread);
            row(n, d, what, "felund", &felund(&fewer, &all));
            row(n, d, what, "every id", &full_list(&fewer, &all));
            if let Some(cost) = negentropy(&fewer, &all) {
                row(n, d, what, "negentropy", &cost);
            }
            println!("{n:>7} {d:>6} {what:<10} {:<11} {:>9.0} B", "bound", bound(d));
        }
    }
}
