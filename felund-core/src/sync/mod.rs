//! Anti-entropy: how two nodes find out what the other lacks (`docs/protocol.md` §13).
//!
//! The whole sets' fingerprints first: equal ones settle it in one small round trip. Otherwise the answer is the head
//! of a rateless stream of coded symbols, of which about 1.4 per difference suffice, wherever in the past the
//! differences lie: bytes and memory grow with the difference, not with the history. Ids within a session are short
//! and salted; what arrives is verified whole.

mod codec;
mod riblt;

use std::hash::Hasher as _;

pub use codec::{read_symbols, write_symbols};
pub use riblt::{Decoder, Symbol, encode};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::{ids::NodeId, view::Key};

/// Which envelope it is: its place in the order, and whose it is. Whoever copies another's place does not get to be
/// taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub key: Key,
    /// Who sealed it.
    pub author: NodeId,
}

/// An entry, short: 64 bits of SipHash-1-3 under the session's salt.
pub type ShortId = u64;

/// Symbols sent at first when the sets' sizes tell nothing.
const FIRST_SYMBOLS: usize = 24;
/// Most symbols of one exchange: beyond this many differences they are settled over several.
pub const MAX_SYMBOLS: usize = 1 << 16;

/// Count and fingerprint of a set under a salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// Sum of the members' 128-bit SipHash-1-3 values, each half modulo 2⁶⁴.
    pub fingerprint: [u8; 16],
}

fn hash(salt: &[u8; 16], Entry { key, author }: Entry) -> (u64, u64) {
    let mut hasher = SipHasher13::new_with_key(salt);
    hasher.write(&key.ts.to_be_bytes());
    hasher.write(&key.id.0);
    hasher.write(&author.0);
    let hash = hasher.finish128();
    (hash.h1, hash.h2)
}

/// An entry's short id under a salt.
#[must_use]
pub fn short_id(salt: &[u8; 16], entry: Entry) -> ShortId {
    hash(salt, entry).0
}

/// Summarises a set, in any order.
#[must_use]
pub fn summarise(salt: &[u8; 16], entries: impl Iterator<Item = Entry>) -> Summary {
    let (mut count, mut sums) = (0, (0_u64, 0_u64));
    for entry in entries {
        let hash = hash(salt, entry);
        sums = (sums.0.wrapping_add(hash.0), sums.1.wrapping_add(hash.1));
        count += 1;
    }
    let mut fingerprint = [0; 16];
    fingerprint[..8].copy_from_slice(&sums.0.to_be_bytes());
    fingerprint[8..].copy_from_slice(&sums.1.to_be_bytes());
    Summary { count, fingerprint }
}

/// How many symbols to send at first, given both sizes: one-sided differences then decode at once.
#[must_use]
pub fn first_symbols(ours: u64, theirs: u64) -> usize {
    let known = usize::try_from(ours.abs_diff(theirs)).unwrap_or(MAX_SYMBOLS);
    known.saturating_mul(3).div_ceil(2).saturating_add(FIRST_SYMBOLS).min(MAX_SYMBOLS)
}

/// What a decoded exchange says, from the point of view of whoever decoded it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Here and not there, ascending.
    pub ours: Vec<ShortId>,
    /// There and not here, ascending.
    pub theirs: Vec<ShortId>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::MsgId;

    const SALT: [u8; 16] = [5; 16];

    fn entry(n: u64) -> Entry {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Entry { key: Key { ts: 1_700_000_000_000 + n, id: MsgId(id) }, author: NodeId([7; 32]) }
    }

    fn ids(keys: &BTreeSet<u64>) -> Vec<ShortId> {
        keys.iter().map(|n| short_id(&SALT, entry(*n))).collect()
    }

    /// Decodes `theirs` against `ours`, doubling; how many symbols it took.
    fn reconcile(ours: &[ShortId], theirs: &[ShortId]) -> (Difference, usize) {
        let mut count = first_symbols(ours.len() as u64, theirs.len() as u64);
        let mut decoder = Decoder::default();
        loop {
            let from = decoder.len();
            let symbols = encode(theirs.iter().copied(), from..count);
            let mine = encode(ours.iter().copied(), from..count);
            if let Some(difference) = decoder.extend(&symbols, &mine) {
                return (difference, count);
            }
            count *= 2;
            assert!(count < MAX_SYMBOLS);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_difference_is_found_exactly(
            common in prop::collection::btree_set(0..10_000_u64, 0..300),
            ours in prop::collection::btree_set(10_000..20_000_u64, 0..80),
            theirs in prop::collection::btree_set(20_000..30_000_u64, 0..80),
        ) {
            let (a, b) = (&common | &ours, &common | &theirs);
            let (mut found, _) = reconcile(&ids(&a), &ids(&b));
            let (mut expected_ours, mut expected_theirs) = (ids(&ours), ids(&theirs));
            for list in [&mut found.ours, &mut found.theirs, &mut expected_ours, &mut expected_theirs] {
                list.sort_unstable();
            }
            prop_assert_eq!(found, Difference { ours: expected_ours, theirs: expected_theirs });
        }
    }

    #[test]
    fn summaries_depend_on_the_set_and_the_salt_alone() {
        let forward = summarise(&SALT, (0..100).map(entry));
        assert_eq!(forward, summarise(&SALT, (0..100).rev().map(entry)));
        assert_ne!(forward, summarise(&SALT, (1..101).map(entry)));
        assert_ne!(forward, summarise(&[6; 16], (0..100).map(entry)));
        let copied = |n| Entry { author: NodeId([8; 32]), ..entry(n) };
        assert_ne!(forward, summarise(&SALT, (0..99).map(entry).chain([copied(99)])));
    }

    #[test]
    fn ten_differences_among_many_cost_few_symbols_wherever_they_lie() {
        let all: BTreeSet<u64> = (0..20_000).collect();
        let scattered: BTreeSet<u64> = all.iter().copied().filter(|n| n % 2_000 != 7).collect();
        let recent: BTreeSet<u64> = (0..19_990).collect();
        for fewer in [scattered, recent] {
            let (found, symbols) = reconcile(&ids(&fewer), &ids(&all));
            assert_eq!((found.ours.len(), found.theirs.len()), (0, 10));
            assert!(symbols <= 64, "{symbols}");
        }
    }
}
