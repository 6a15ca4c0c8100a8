//! Durations in fixed logarithmic buckets.
//!
//! Two buckets an octave from 64 µs to 33.6 s: bounds 2^k and 1.5 · 2^k µs. A quantile read from it is at most half as
//! much again as the true one, and finding the bucket is a count of leading zeros and one bit.

const FIRST_OCTAVE: u32 = 6; // 2^6 = 64 µs: below it lies nothing but refusals, all equally fast
const LAST_OCTAVE: u32 = 25; // 2^25 µs = 33.6 s, just above the default first-byte timeout of 30 s

/// How many buckets have an upper bound; one more, the last, has none.
pub(super) const BOUNDED: usize = 2 * (LAST_OCTAVE - FIRST_OCTAVE) as usize + 1;

/// Cells a histogram takes: every bucket, then the sum in µs.
pub(super) const CELLS: usize = BOUNDED + 2;

/// Which of its cells holds the sum.
pub(super) const SUM: usize = BOUNDED + 1;

/// The upper bound of a bucket, inclusive, in µs.
pub(super) fn bound(bucket: usize) -> u64 {
    let octave = 1 << (FIRST_OCTAVE as usize + bucket / 2);
    if bucket.is_multiple_of(2) { octave } else { octave + octave / 2 }
}

/// The bucket of a duration: the first whose bound is not below it.
pub(super) fn bucket(micros: u64) -> usize {
    // Bounds are inclusive: of 2^k and 2^k + 1 the second belongs to the next bucket, so look at one less.
    let below = micros.saturating_sub(1);
    if below < 1 << FIRST_OCTAVE {
        return 0;
    }
    let octave = below.ilog2();
    let upper_half = usize::from(below & (1 << (octave - 1)) != 0);
    (2 * (octave - FIRST_OCTAVE) as usize + 1 + upper_half).min(BOUNDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_rise() {
        for index in 0..BOUNDED {
            assert_eq!(bucket(bound(index)), index, "{} µs", bound(index));
            assert_eq!(bucket(bound(index) + 1), index + 1, "{} µs", bound(index) + 1);
            assert!(index == 0 || bound(index) > bound(index - 1));
        }
        assert_eq!((bound(0), bound(BOUNDED - 1)), (64, 1 << 25));
        assert_eq!((bucket(0), bucket(1), bucket(u64::MAX)), (0, 0, BOUNDED));
    }
}
