//! Length hiding: a body is followed by `0x80` and zeros up to its Padmé bucket (PURBs, Nikitin et al. 2019, §4).
//!
//! Padmé leaks at most O(log log n) bits of the length and costs at most 12 %.

/// The Padmé bucket for `len` bytes: the smallest allowed size that is not smaller.
fn bucket(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let significant = exponent.ilog2() + 1;
    let mask = (1_usize << (exponent - significant)) - 1;
    (len + mask) & !mask
}

/// Pads in place.
pub fn pad(body: &mut Vec<u8>) {
    body.push(0x80);
    body.resize(bucket(body.len()), 0);
}

/// The body without its padding; `None` when no `0x80` ends it.
#[must_use]
pub fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let end = padded.iter().rposition(|byte| *byte != 0)?;
    (padded[end] == 0x80).then(|| &padded[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_round_trips_at_every_length_and_overhead_is_bounded() {
        for len in 0..3_000 {
            let body = vec![0_u8; len];
            let mut padded = body.clone();
            pad(&mut padded);
            assert_eq!(unpad(&padded), Some(&body[..]));
            assert!(padded.len() > len && (padded.len() as f64) <= (len + 1) as f64 * 1.12 + 1.0, "{len}");
        }
    }

    #[test]
    fn buckets_are_the_published_ones() {
        assert_eq!([9, 10, 17, 100, 1_000, 1_025].map(bucket), [10, 10, 18, 104, 1_024, 1_088]);
    }

    #[test]
    fn bytes_without_a_marker_are_refused() {
        assert_eq!(unpad(&[0, 0]), None);
        assert_eq!(unpad(&[0x81]), None);
        assert_eq!(unpad(&[]), None);
    }
}
