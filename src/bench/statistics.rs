//! Medians, percentiles, rates and ratios of measurements. Pure functions.
//!
//! The only floating point of the benchmark, and none of it is a quantity that is billed.

#![expect(clippy::float_arithmetic, reason = "rates and ratios are statistics, not quantities")]

use crate::bench::plan::{Latency, SLOT_MS};

/// Slots of [`SLOT_MS`] in a second.
const SLOTS_PER_SECOND: usize = 1_000 / 100;
const _: () = assert!(SLOT_MS == 100);

/// A count as a real number; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "no count of a benchmark reaches 2^53")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

/// How many a second, when there were `count` in so many microseconds.
pub(crate) fn rate(count: u64, micros: u64) -> f64 {
    ratio(real(count) * 1e6, real(micros))
}

/// `part` of `whole`; 0 when there is no whole.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// What is left of `value` without `part`.
pub(crate) fn less(value: f64, part: f64) -> f64 {
    value - part
}

/// The product of two figures.
pub(crate) fn times(value: f64, factor: f64) -> f64 {
    value * factor
}

/// So many thousandths of `value`.
pub(crate) fn share(value: f64, permille: u64) -> f64 {
    value * real(permille) / 1e3
}

/// How much `after` is above `before`; negative when it is below.
pub(crate) fn growth(before: u64, after: u64) -> f64 {
    real(after) - real(before)
}

/// The middle of `values`, or the mean of the two in the middle; 0 when there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied().unwrap_or(0.0);
    if sorted.len() % 2 == 1 {
        return upper;
    }
    let lower = middle.checked_sub(1).and_then(|place| sorted.get(place)).copied();
    f64::midpoint(lower.unwrap_or(0.0), upper)
}

/// The smallest and the largest of `values`; zeros when there are none.
pub(crate) fn range(values: &[f64]) -> (f64, f64) {
    let min = values.iter().copied().min_by(f64::total_cmp);
    let max = values.iter().copied().max_by(f64::total_cmp);
    (min.unwrap_or(0.0), max.unwrap_or(0.0))
}

/// The value that `permille` of a thousand of the sorted `values` do not exceed: the nearest rank.
pub(crate) fn percentile(values: &[u64], permille: usize) -> u64 {
    let rank = (values.len() * permille).div_ceil(1_000).max(1);
    values.get(rank - 1).copied().unwrap_or(0)
}

/// The percentiles of latencies in any order.
pub(crate) fn latency(mut micros: Vec<u64>) -> Latency {
    micros.sort_unstable();
    let at = |permille| percentile(&micros, permille);
    Latency { p50: at(500), p99: at(990), p999: at(999), max: at(1_000) }
}

/// The rate of each whole second.
pub(crate) fn per_second(slots: &[u64]) -> Vec<f64> {
    slots.chunks_exact(SLOTS_PER_SECOND).map(|slots| real(slots.iter().sum())).collect()
}

/// Seconds from the first slot to the end of the first half second that has `rate_needed`; none when
/// there is no such half second.
pub(crate) fn seconds_until(slots: &[u64], rate_needed: f64) -> Option<f64> {
    let half = SLOTS_PER_SECOND / 2;
    let place = slots.windows(half).position(|window| {
        let rate = real(window.iter().sum()) * 2.0;
        rate >= rate_needed
    })?;
    let slot_count = u64::try_from(place + half).unwrap_or(u64::MAX);
    Some(real(slot_count.saturating_mul(SLOT_MS)) / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        let check = |values: &[f64], expected_median: f64, expected_range: (f64, f64)| {
            let found = (median(values), range(values));
            assert_eq!(format!("{found:?}"), format!("{:?}", (expected_median, expected_range)));
        };
        check(&[], 0.0, (0.0, 0.0));
        check(&[3.0], 3.0, (3.0, 3.0));
        check(&[4.0, 1.0], 2.5, (1.0, 4.0));
        check(&[9.0, 1.0, 5.0], 5.0, (1.0, 9.0));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let found = latency(hundred);
        assert_eq!(found, Latency { p50: 50, p99: 99, p999: 100, max: 100 });
        assert_eq!(latency(vec![7]), Latency { p50: 7, p99: 7, p999: 7, max: 7 });
        assert_eq!(latency(vec![]), Latency::default());
    }

    #[test]
    fn rates_and_ratios_without_a_whole_are_zero() {
        let shown = |value: f64| format!("{value}");
        assert_eq!(shown(rate(500, 250_000)), "2000");
        assert_eq!(shown(rate(500, 0)), "0");
        assert_eq!(shown(ratio(1.0, 4.0)), "0.25");
        assert_eq!(shown(ratio(1.0, 0.0)), "0");
        assert_eq!(shown(growth(5, 3)), "-2");
        assert_eq!(shown(less(5.0, 3.0)), "2");
        assert_eq!(shown(share(50.0, 900)), "45");
    }

    #[test]
    fn a_second_has_ten_slots_and_a_broken_one_does_not_count() {
        let mut slots = vec![1; 10];
        slots.extend([2; 10]);
        slots.extend([9; 3]);
        assert_eq!(format!("{:?}", per_second(&slots)), "[10.0, 20.0]");
    }

    #[test]
    fn recovery_is_the_first_half_second_at_the_rate() {
        let slots = [0, 0, 5, 10, 10, 10, 10, 10, 10];
        assert_eq!(format!("{:?}", seconds_until(&slots, 100.0)), "Some(0.8)");
        assert_eq!(format!("{:?}", seconds_until(&slots, 90.0)), "Some(0.7)");
        assert_eq!(seconds_until(&slots, 101.0), None);
        assert_eq!(seconds_until(&[], 1.0), None);
    }
}
