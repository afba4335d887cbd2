//! Rateless invertible Bloom lookup tables (Yang, Gilad, Alizadeh: "Practical Rateless Set Reconciliation",
//! SIGCOMM 2024).
//!
//! Every member of a set is mixed into symbol 0, and into symbol i with probability 1/(1 + i/2), by a sequence that
//! follows from the member alone. Subtracting two sets' symbols leaves those of their difference; a symbol that then
//! holds a single member gives it away, and taking it out everywhere frees others.

use std::ops::Range;

use super::{Difference, ShortId};

/// The sum of the members mixed into it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Symbol {
    /// XOR of the members.
    pub sum: u64,
    /// XOR of a 32-bit hash of each.
    pub check: u32,
    /// How many, signed once subtracted.
    pub count: i64,
}

impl Symbol {
    const fn add(&mut self, id: ShortId, sign: i64) {
        self.sum ^= id;
        self.check ^= check(id);
        // A lying peer chooses what it starts from.
        self.count = self.count.wrapping_add(sign);
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            sum: self.sum ^ other.sum,
            check: self.check ^ other.check,
            count: self.count.wrapping_sub(other.count),
        }
    }

    const fn is_pure(&self) -> bool {
        (self.count == 1 || self.count == -1) && check(self.sum) == self.check
    }

    const fn is_zero(&self) -> bool {
        self.sum == 0 && self.check == 0 && self.count == 0
    }
}

/// `SplitMix64`'s finaliser (Steele, Lea, Flood 2014).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

const fn check(id: ShortId) -> u32 {
    (mix(id ^ 0x6665_6c75_6e64_0001) >> 32) as u32
}

/// The indices of the symbols a member is mixed into, ascending from 0.
struct Indices {
    state: u64,
    next: u64,
}

impl Indices {
    const fn new(id: ShortId) -> Self {
        Self { state: id, next: 0 }
    }
}

impl Iterator for Indices {
    type Item = u64;

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn next(&mut self) -> Option<u64> {
        let index = self.next;
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // The paper's skip: (i + 1.5)·(1/√u − 1) for u uniform in (0, 1]. Square root, product and ceiling are exactly
        // specified by IEEE 754, so every platform walks the same way.
        let uniform = ((mix(self.state) >> 32) as f64 + 1.0) / 4_294_967_296.0;
        let skip = ((index as f64 + 1.5) * (1.0 / uniform.sqrt() - 1.0)).ceil();
        self.next = index.saturating_add((skip as u64).max(1));
        Some(index)
    }
}

fn indices_in(id: ShortId, range: &Range<usize>) -> impl Iterator<Item = usize> {
    let (start, end) = (range.start, range.end as u64);
    let to_usize = |index| usize::try_from(index).unwrap_or(usize::MAX);
    Indices::new(id).take_while(move |index| *index < end).map(to_usize).filter(move |index| *index >= start)
}

/// The symbols of a set with these indices; needs memory for them only.
#[must_use]
pub fn encode(ids: impl Iterator<Item = ShortId>, range: Range<usize>) -> Vec<Symbol> {
    let mut symbols = vec![Symbol::default(); range.len()];
    for id in ids {
        for index in indices_in(id, &range) {
            symbols[index - range.start].add(id, 1);
        }
    }
    symbols
}

/// Takes in symbols of both sides until the difference gives itself away.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    symbols: Vec<Symbol>,
    found: Difference,
}

impl Decoder {
    /// How many symbols it has seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether it has seen none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// Takes in the next symbols of the other side and of this one, equally many; the difference once it is known.
    ///
    /// A lying peer can make this fail for ever, or find ids that nobody has; it cannot make it run longer than the
    /// symbols are many.
    pub fn extend(&mut self, theirs: &[Symbol], ours: &[Symbol]) -> Option<Difference> {
        let from = self.symbols.len();
        self.symbols.extend(theirs.iter().zip(ours).map(|(theirs, ours)| theirs.minus(*ours)));
        let range = from..self.symbols.len();
        // What is known already does not belong into the new symbols either.
        let known = |ids: &[ShortId], sign| ids.iter().map(move |id| (*id, sign)).collect::<Vec<_>>();
        for (id, sign) in [known(&self.found.theirs, -1), known(&self.found.ours, 1)].concat() {
            for index in indices_in(id, &range) {
                self.symbols[index].add(id, sign);
            }
        }
        let mut candidates: Vec<usize> = (0..self.symbols.len()).collect();
        let mut budget = self.symbols.len();
        while let Some(at) = candidates.pop() {
            let symbol = self.symbols[at];
            if !symbol.is_pure() {
                continue;
            }
            if budget == 0 {
                return None;
            }
            budget -= 1;
            let list = if symbol.count == 1 { &mut self.found.theirs } else { &mut self.found.ours };
            list.push(symbol.sum);
            for index in indices_in(symbol.sum, &(0..self.symbols.len())) {
                self.symbols[index].add(symbol.sum, -symbol.count);
                candidates.push(index);
            }
        }
        self.symbols.iter().all(Symbol::is_zero).then(|| {
            self.found.ours.sort_unstable();
            self.found.theirs.sort_unstable();
            self.found.clone()
        })
    }
}
