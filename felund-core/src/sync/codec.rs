//! Coded symbols as bytes: 8 of the sum, 4 of the check, and the count as a zigzag varint of its distance from what
//! a set of that size is expected to put there, about 14 bytes in all.

use super::Symbol;

/// What symbol `index` of a set of `count` members holds on average.
fn expected(count: u64, index: u64) -> i64 {
    let expected = u128::from(count) * 2 / (u128::from(index) + 2);
    i64::try_from(expected).unwrap_or(i64::MAX)
}

/// Writes symbols of a set of `count` members, the first of which has index `start`.
#[must_use]
pub fn write_symbols(symbols: &[Symbol], count: u64, start: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(symbols.len() * 14);
    for (symbol, index) in symbols.iter().zip(start..) {
        out.extend_from_slice(&symbol.sum.to_be_bytes());
        out.extend_from_slice(&symbol.check.to_be_bytes());
        let distance = symbol.count.wrapping_sub(expected(count, index));
        let mut zigzag = (distance.wrapping_shl(1) ^ (distance >> 63)).cast_unsigned();
        while zigzag >= 0x80 {
            out.push(zigzag.to_le_bytes()[0] | 0x80);
            zigzag >>= 7;
        }
        out.push(zigzag.to_le_bytes()[0]);
    }
    out
}

/// Reads what [`write_symbols`] wrote; `None` for anything else.
#[must_use]
pub fn read_symbols(mut bytes: &[u8], count: u64, start: u64) -> Option<Vec<Symbol>> {
    let mut symbols = Vec::with_capacity(bytes.len() / 13);
    let mut next = Some(start);
    while !bytes.is_empty() {
        let index = next?;
        next = index.checked_add(1);
        let (sum, rest) = bytes.split_first_chunk::<8>()?;
        let (check, mut rest) = rest.split_first_chunk::<4>()?;
        let (mut zigzag, mut shift) = (0_u64, 0_u32);
        loop {
            let (byte, after) = rest.split_first()?;
            rest = after;
            zigzag |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let distance = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        let count = expected(count, index).wrapping_add(distance);
        symbols.push(Symbol { sum: u64::from_be_bytes(*sum), check: u32::from_be_bytes(*check), count });
        bytes = rest;
    }
    Some(symbols)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn symbols_round_trip_and_no_bytes_make_reading_panic(
            parts in prop::collection::vec((any::<u64>(), any::<u32>(), any::<i64>()), 0..50),
            (count, start) in (any::<u64>(), 0..1_000_000_u64),
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let symbols: Vec<Symbol> =
                parts.into_iter().map(|(sum, check, count)| Symbol { sum, check, count }).collect();
            let bytes = write_symbols(&symbols, count, start);
            prop_assert_eq!(read_symbols(&bytes, count, start), Some(symbols));
            let _ = read_symbols(&noise, count, start);
            let _ = read_symbols(&noise, count, u64::MAX - start / 500_000);
        }
    }
}
