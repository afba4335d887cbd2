//! Reconciliation: honest sides find exactly what differs, and a lying one keeps nobody busy.

use std::collections::BTreeSet;

use felund_core::{
    ids::{MsgId, NodeId},
    sync::{
        Decoder, Entry, MAX_SYMBOLS, Symbol, encode, first_symbols, read_symbols, short_id, summarise,
        write_symbols,
    },
    view::Key,
};

use crate::script::Script;

/// Most symbols that a lying side sends here: what the work is measured by.
const LIES: usize = 512;

/// Takes bytes as two sets, and as the symbols of somebody who has no set at all.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    match script.byte() % 2 {
        0 => honest(script),
        _ => lying(script),
    }
}

fn entry(n: u8) -> Entry {
    Entry { key: Key { ts: u64::from(n), id: MsgId([n; 16]) }, author: NodeId([n; 32]) }
}

fn honest(mut script: Script<'_>) {
    let salt = script.array();
    let ours: BTreeSet<u8> = script.short_piece().iter().copied().collect();
    let theirs: BTreeSet<u8> = script.short_piece().iter().copied().collect();
    let ids = |set: &BTreeSet<u8>| set.iter().map(|n| short_id(&salt, entry(*n))).collect::<Vec<_>>();
    let equal = summarise(&salt, ours.iter().map(|n| entry(*n)))
        == summarise(&salt, theirs.iter().map(|n| entry(*n)));
    assert_eq!(equal, ours == theirs);
    let (count, mut decoder) = (theirs.len() as u64, Decoder::default());
    let mut end = first_symbols(ours.len() as u64, count);
    let found = loop {
        let range = decoder.len()..end;
        let sent = encode(ids(&theirs).into_iter(), range.clone());
        let bytes = write_symbols(&sent, count, range.start as u64);
        let read = read_symbols(&bytes, count, range.start as u64).expect("own symbols are read");
        assert_eq!(read, sent);
        if let Some(found) = decoder.extend(&read, &encode(ids(&ours).into_iter(), range)) {
            break found;
        }
        end *= 2;
        assert!(end <= MAX_SYMBOLS, "sets of 256 take few symbols");
    };
    let sorted = |set: BTreeSet<&u8>| {
        let mut ids: Vec<u64> = set.into_iter().map(|n| short_id(&salt, entry(*n))).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(found.ours, sorted(ours.difference(&theirs).collect()));
    assert_eq!(found.theirs, sorted(theirs.difference(&ours).collect()));
}

fn lying(mut script: Script<'_>) {
    let (count, start) = (script.number(), script.number());
    let mut decoder = Decoder::default();
    while !script.is_over() && decoder.len() < LIES {
        let Some(mut theirs) = read_symbols(script.piece(), count, start) else { return };
        theirs.truncate(LIES);
        let range = decoder.len()..decoder.len() + theirs.len();
        let ours: Vec<Symbol> = encode(0..20, range);
        if let Some(found) = decoder.extend(&theirs, &ours) {
            let most = decoder.len() * 4;
            assert!(
                found.ours.len() + found.theirs.len() <= most,
                "no more ids than symbols, a few times over"
            );
        }
    }
}
