//! Blocks: how messages of one circle lie together in the database.
//!
//! `names` is, for each message, `seq (u64) ‖ name (16)`, and `data` is `seq (u64) ‖ length (u32) ‖ envelope`, numbers
//! big-endian; both in the order of `seq`, which only grows. Who posts needs the first, who reads the second.

use felund_core::ids::{Cursor, MsgId};

/// A block ends before it would become larger; a message that is larger by itself is a block of its own.
const MAX_DATA: usize = 64 * 1024;
/// A block goes when its newest message is old enough, and holds what was stored on one day (UTC): this is as much longer as
/// its oldest one may be kept.
const DAY_S: u64 = 24 * 60 * 60;
/// Number and name.
const NAME: usize = 8 + 16;
/// Number and length.
const HEAD: usize = 8 + 4;

/// What is stored of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) seq: Cursor,
    pub(super) name: MsgId,
    /// Unix seconds.
    pub(super) stored_at: u64,
    pub(super) envelope: &'a [u8],
}

/// What a block's row says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first: Cursor,
    pub(super) last: Cursor,
    pub(super) count: u64,
    /// Of the envelopes.
    pub(super) bytes: u64,
}

impl Head {
    /// Length of the block's data.
    pub(super) fn size(&self) -> usize {
        let size = self.count.saturating_mul(HEAD as u64).saturating_add(self.bytes);
        usize::try_from(size).unwrap_or(usize::MAX)
    }
}

/// A block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) head: Head,
    /// Of its newest message.
    pub(super) stored_at: u64,
    pub(super) names: Vec<u8>,
    pub(super) data: Vec<u8>,
}

impl Block {
    /// What was read of a block; none if it is damaged.
    pub(super) fn of(head: Head, stored_at: u64, names: Vec<u8>, data: Vec<u8>) -> Option<Self> {
        let named = self::names(&head, &names)?;
        let held = messages(&head, &data)?;
        let agree = named.iter().map(|(_, seq)| seq).eq(held.iter().map(|(seq, _)| seq));
        agree.then_some(Self { head, stored_at, names, data })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.count == 0
    }

    /// Whether the message still belongs in here.
    pub(super) fn takes(&self, message: &Message<'_>) -> bool {
        self.is_empty()
            || self.data.len() + HEAD + message.envelope.len() <= MAX_DATA
                && same_day(message.stored_at, self.stored_at)
    }

    /// Adds a message whose number is higher than those of the others.
    pub(super) fn push(&mut self, message: &Message<'_>) {
        if self.is_empty() {
            self.head.first = message.seq;
        }
        self.head.last = message.seq;
        self.head.count += 1;
        self.head.bytes += message.envelope.len() as u64;
        // Clocks may be set back.
        self.stored_at = self.stored_at.max(message.stored_at);
        self.names.extend_from_slice(&message.seq.0.to_be_bytes());
        self.names.extend_from_slice(&message.name.0);
        self.data.extend_from_slice(&message.seq.0.to_be_bytes());
        // An envelope has at most some hundred kilobytes.
        self.data.extend_from_slice(&(message.envelope.len() as u32).to_be_bytes());
        self.data.extend_from_slice(message.envelope);
    }

    /// Puts a block in front whose numbers are lower than those of this one.
    pub(super) fn put_before(&mut self, mut older: Self) {
        if !self.is_empty() {
            older.head.last = self.head.last;
            older.head.count += self.head.count;
            older.head.bytes += self.head.bytes;
            older.stored_at = older.stored_at.max(self.stored_at);
            older.names.extend_from_slice(&self.names);
            older.data.extend_from_slice(&self.data);
        }
        *self = older;
    }

    /// Makes it empty, for the next one.
    pub(super) fn clear(&mut self) {
        let (mut names, mut data) = (std::mem::take(&mut self.names), std::mem::take(&mut self.data));
        names.clear();
        data.clear();
        *self = Self { names, data, ..Self::default() };
    }
}

/// What a message takes of a block's data.
pub(super) fn size(envelope: &[u8]) -> usize {
    HEAD + envelope.len()
}

/// Whether a block, whose newest message was stored at `stored_at`, is to be written again together with messages that come
/// behind it, of `size` and the first of them stored at `now`. As they are half its size at least, each message is written
/// a few times only.
pub(super) fn gives_way(head: &Head, stored_at: u64, size: usize, now: u64) -> bool {
    let block = head.size();
    block <= size.saturating_mul(2) && block.saturating_add(size) <= MAX_DATA && same_day(stored_at, now)
}

fn same_day(one: u64, other: u64) -> bool {
    one / DAY_S == other / DAY_S
}

/// The messages of a block, in their order; none if it is damaged.
pub(super) fn messages<'a>(head: &Head, mut data: &'a [u8]) -> Option<Vec<(Cursor, &'a [u8])>> {
    let mut messages = Vec::new();
    while !data.is_empty() {
        let (seq, rest) = data.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (envelope, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        messages.push((Cursor(u64::from_be_bytes(*seq)), envelope));
        data = rest;
    }
    let bytes: u64 = messages.iter().map(|(_, envelope)| envelope.len() as u64).sum();
    (bytes == head.bytes && are_of(head, messages.iter().map(|(seq, _)| *seq))).then_some(messages)
}

/// The names of a block's messages; none if it is damaged.
pub(super) fn names(head: &Head, mut names: &[u8]) -> Option<Vec<(MsgId, Cursor)>> {
    let mut read = Vec::with_capacity(names.len() / NAME);
    while !names.is_empty() {
        let (seq, rest) = names.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        read.push((MsgId(*name), Cursor(u64::from_be_bytes(*seq))));
        names = rest;
    }
    are_of(head, read.iter().map(|(_, seq)| *seq)).then_some(read)
}

/// Whether these are the numbers of a block, as far as its row tells.
fn are_of(head: &Head, mut seqs: impl Iterator<Item = Cursor>) -> bool {
    let Some(first) = seqs.next() else { return false };
    let (mut last, mut count) = (first, 1);
    for seq in seqs {
        if seq <= last {
            return false;
        }
        last = seq;
        count += 1;
    }
    (first, last, count) == (head.first, head.last, head.count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(envelopes: &[(u64, Vec<u8>)]) -> (Block, Vec<(Cursor, &[u8])>) {
        let mut block = Block::default();
        let mut seq = 0;
        let messages = envelopes.iter().map(|(step, envelope)| {
            seq += step;
            (Cursor(seq), envelope.as_slice())
        });
        let messages: Vec<_> = messages.collect();
        for (seq, envelope) in &messages {
            let name = MsgId([seq.0 as u8; 16]);
            block.push(&Message { seq: *seq, name, stored_at: 5, envelope });
        }
        (block, messages)
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(
            envelopes in prop::collection::vec((1u64..1 << 40, prop::collection::vec(any::<u8>(), 0..50)), 1..40)
        ) {
            let (block, expected) = block(&envelopes);
            let named: Vec<_> =
                expected.iter().map(|(seq, _)| (MsgId([seq.0 as u8; 16]), *seq)).collect();
            prop_assert_eq!(names(&block.head, &block.names), Some(named));
            prop_assert_eq!(messages(&block.head, &block.data), Some(expected));
        }

        #[test]
        fn damage_is_an_error_or_within_an_envelope(
            envelopes in prop::collection::vec((1u64..1000, prop::collection::vec(any::<u8>(), 0..50)), 1..20),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
            cut in any::<prop::sample::Index>(),
        ) {
            let (block, expected) = block(&envelopes);
            let mut data = block.data.clone();
            *at.get_mut(&mut data) ^= 1 << bit;
            if let Some(read) = messages(&block.head, &data) {
                let bytes: usize = read.iter().map(|(_, envelope)| envelope.len()).sum();
                prop_assert_eq!(read.len(), expected.len());
                prop_assert_eq!(bytes as u64, block.head.bytes);
            }
            prop_assert_eq!(messages(&block.head, &block.data[..cut.index(block.data.len())]), None);
            prop_assert_eq!(names(&block.head, &block.names[..cut.index(block.names.len())]), None);
        }

        #[test]
        fn nothing_makes_reading_fail_otherwise(data in prop::collection::vec(any::<u8>(), 0..100)) {
            let head = Head { first: Cursor(1), last: Cursor(9), count: 3, bytes: 40 };
            messages(&head, &data);
            names(&head, &data);
        }
    }

    #[test]
    fn a_block_ends_at_its_size_and_with_its_day() {
        let message =
            |stored_at, envelope| Message { seq: Cursor(1), name: MsgId([1; 16]), stored_at, envelope };
        let mut block = Block::default();
        let day = 100 * DAY_S;
        assert!(block.takes(&message(day, &[0; 300_000])), "whatever its size, it is in one");
        block.push(&message(day, &[0; 30_000]));
        assert!(block.takes(&message(day + DAY_S - 1, &[0; 30_000])));
        assert!(!block.takes(&message(day, &[0; 36_000])));
        assert!(!block.takes(&message(day + DAY_S, &[0; 10])));
        assert!(!block.takes(&message(day - 1, &[0; 10])), "a clock that was set back");
        block.clear();
        assert!(block.takes(&message(5, &[0; 65_000])) && block.data.is_empty() && block.names.is_empty());
    }
}
