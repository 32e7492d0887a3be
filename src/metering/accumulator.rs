//! What one meter has counted of one customer within one hour.
//!
//! An [`Accumulator`] does not depend on the order in which samples came, nor on how they were
//! split over accumulators that were merged later: hours make days and days make totals, and the
//! result is that of one pass over all samples. For that, samples need distinct LSNs, and all
//! calls of one accumulator must name the same [`Kind`]; it is not kept, because the meter has it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::model::{Aggregation, Lsn, Quantity, Timestamp};

/// An [`Aggregation`] without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The number of events.
    Count,
    /// The sum of their values.
    Sum,
    /// The largest value.
    Max,
    /// The value of the newest event by (timestamp, LSN).
    Last,
}

impl From<&Aggregation> for Kind {
    fn from(aggregation: &Aggregation) -> Self {
        match aggregation {
            Aggregation::Count => Self::Count,
            Aggregation::Sum { .. } => Self::Sum,
            Aggregation::Max { .. } => Self::Max,
            Aggregation::Last { .. } => Self::Last,
        }
    }
}

/// Why a meter does not count an event that its name and filter let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SkipReason {
    /// There is no value under the meter's key.
    Missing,
    /// The value is not a number.
    NotANumber,
    /// The value's magnitude is 10^15 or more.
    OutOfRange,
}

impl SkipReason {
    /// Every reason, in the order of [`Accumulator::skipped`].
    pub const ALL: [Self; 3] = [Self::Missing, Self::NotANumber, Self::OutOfRange];

    /// The reason's name on the wire and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotANumber => "not_a_number",
            Self::OutOfRange => "out_of_range",
        }
    }
}

/// What one event adds to an accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The value; for a count it does not matter.
    pub value: Quantity,
    /// The event's timestamp.
    pub at: Timestamp,
    /// The event's number.
    pub lsn: Lsn,
}

/// A running count, sum, maximum or last value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accumulator {
    count: u64,
    value: Quantity,
    /// Of a max or last, the timestamp of the event that `value` comes from; else the default.
    at: Timestamp,
    /// Of a max or last, the LSN of that event; else zero.
    lsn: Lsn,
    missing: u64,
    not_a_number: u64,
    out_of_range: u64,
}

// Millions of these live in memory.
const _: () = assert!(size_of::<Accumulator>() == 64);

impl Accumulator {
    /// Counts an event.
    ///
    /// # Panics
    /// When a sum leaves 128 bits; the committer refuses an event before that could happen.
    pub fn add(&mut self, kind: Kind, sample: Sample) {
        self.count_samples(kind, 1, sample);
    }

    /// Notes an event that is not counted.
    pub fn skip(&mut self, reason: SkipReason) {
        let events = match reason {
            SkipReason::Missing => &mut self.missing,
            SkipReason::NotANumber => &mut self.not_a_number,
            SkipReason::OutOfRange => &mut self.out_of_range,
        };
        *events = sum_of_events(*events, 1);
    }

    /// Adds all that `other` has counted and skipped.
    ///
    /// # Panics
    /// As [`Accumulator::add`].
    pub fn merge(&mut self, kind: Kind, other: &Self) {
        if other.count > 0 {
            let sample = Sample { value: other.value, at: other.at, lsn: other.lsn };
            self.count_samples(kind, other.count, sample);
        }
        self.missing = sum_of_events(self.missing, other.missing);
        self.not_a_number = sum_of_events(self.not_a_number, other.not_a_number);
        self.out_of_range = sum_of_events(self.out_of_range, other.out_of_range);
    }

    /// What the meter shows; zero when nothing was counted.
    pub fn value(&self, kind: Kind) -> Quantity {
        match kind {
            Kind::Count => Quantity::from_count(self.count),
            Kind::Sum | Kind::Max | Kind::Last => self.value,
        }
    }

    /// Events that were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Events that were not counted for `reason`.
    pub fn skipped(&self, reason: SkipReason) -> u64 {
        match reason {
            SkipReason::Missing => self.missing,
            SkipReason::NotANumber => self.not_a_number,
            SkipReason::OutOfRange => self.out_of_range,
        }
    }

    /// Takes in `count` events, at least one, of which `sample` is the sum, the max or the last.
    fn count_samples(&mut self, kind: Kind, count: u64, sample: Sample) {
        let is_first = self.count == 0;
        self.count = sum_of_events(self.count, count);
        let wins = match kind {
            Kind::Count => return,
            Kind::Sum => {
                let sum = self.value.checked_add(sample.value);
                self.value = sum.expect("the committer refuses what could overflow a total");
                return;
            }
            Kind::Max => match sample.value.cmp(&self.value) {
                Ordering::Less => false,
                Ordering::Equal => (sample.at, sample.lsn) < (self.at, self.lsn),
                Ordering::Greater => true,
            },
            Kind::Last => (sample.at, sample.lsn) > (self.at, self.lsn),
        };
        if wins || is_first {
            (self.value, self.at, self.lsn) = (sample.value, sample.at, sample.lsn);
        }
    }
}

fn sum_of_events(left: u64, right: u64) -> u64 {
    left.checked_add(right).expect("fewer than 2^64 events in one log")
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 4] = [Kind::Count, Kind::Sum, Kind::Max, Kind::Last];

    type Entry = Result<Sample, SkipReason>;

    fn take(accumulator: &mut Accumulator, kind: Kind, entry: Entry) {
        match entry {
            Ok(sample) => accumulator.add(kind, sample),
            Err(reason) => accumulator.skip(reason),
        }
    }

    /// Values and times from small ranges, so that ties are common.
    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let units = prop_oneof![-3_i128..4, -(10_i128.pow(27))..10_i128.pow(27)];
        let entry = prop_oneof![
            6 => (units, -2_i64..3).prop_map(Ok),
            1 => prop::sample::select(&SkipReason::ALL).prop_map(Err),
        ];
        prop::collection::vec(entry, 0..40).prop_map(|entries| {
            let numbered = entries.into_iter().zip(1..);
            numbered
                .map(|(entry, lsn)| {
                    entry.map(|(units, nanos)| Sample {
                        value: Quantity::from_units(units),
                        at: Timestamp::from_nanos(nanos),
                        lsn: Lsn(lsn),
                    })
                })
                .collect()
        })
    }

    /// The definition of each kind, over all samples at once.
    fn expected(kind: Kind, entries: &[Entry]) -> Quantity {
        let samples: Vec<_> = entries.iter().filter_map(|entry| entry.as_ref().ok()).collect();
        let units = |sample: &&Sample| sample.value.as_units();
        match kind {
            Kind::Count => Quantity::from_count(samples.len() as u64),
            Kind::Sum => Quantity::from_units(samples.iter().map(units).sum()),
            Kind::Max => samples.iter().map(|sample| sample.value).max().unwrap_or_default(),
            Kind::Last => {
                let newest = samples.iter().max_by_key(|sample| (sample.at, sample.lsn));
                newest.map(|sample| sample.value).unwrap_or_default()
            }
        }
    }

    /// The event that the value is of: of equal maxima the earliest, of equal times the later LSN.
    fn expected_event(kind: Kind, entries: &[Entry]) -> (Timestamp, Lsn) {
        let samples = entries.iter().filter_map(|entry| entry.as_ref().ok());
        let found = match kind {
            Kind::Count | Kind::Sum => None,
            Kind::Max => {
                samples.min_by_key(|sample| (Reverse(sample.value), sample.at, sample.lsn))
            }
            Kind::Last => samples.max_by_key(|sample| (sample.at, sample.lsn)),
        };
        found.map(|sample| (sample.at, sample.lsn)).unwrap_or_default()
    }

    /// Folds parts in pairs, as hours make days and days make totals.
    fn merged(kind: Kind, mut parts: Vec<Accumulator>) -> Accumulator {
        while parts.len() > 1 {
            let pairs = parts.chunks(2);
            parts = pairs
                .map(|pair| {
                    let mut merged = Accumulator::default();
                    for part in pair {
                        merged.merge(kind, part);
                    }
                    merged
                })
                .collect();
        }
        parts.pop().unwrap_or_default()
    }

    proptest! {
        #[test]
        fn the_value_is_that_of_all_samples_at_once(entries in entries()) {
            for kind in KINDS {
                let mut accumulator = Accumulator::default();
                for entry in &entries {
                    take(&mut accumulator, kind, *entry);
                }
                prop_assert_eq!(accumulator.value(kind), expected(kind, &entries));
                let event = (accumulator.at, accumulator.lsn);
                prop_assert_eq!(event, expected_event(kind, &entries));
                let counted = entries.iter().filter(|entry| entry.is_ok()).count();
                prop_assert_eq!(accumulator.count(), counted as u64);
                for reason in SkipReason::ALL {
                    let skipped = entries.iter().filter(|entry| **entry == Err(reason)).count();
                    prop_assert_eq!(accumulator.skipped(reason), skipped as u64);
                }
            }
        }

        #[test]
        fn neither_order_nor_split_nor_the_tree_of_merges_matters(
            (entries, shuffled) in entries().prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle())),
            parts in prop::collection::vec(0_usize..6, 40),
        ) {
            for kind in KINDS {
                let mut whole = Accumulator::default();
                for entry in &entries {
                    take(&mut whole, kind, *entry);
                }
                let mut split = vec![Accumulator::default(); 6];
                for (entry, part) in shuffled.iter().zip(&parts) {
                    take(&mut split[*part], kind, *entry);
                }
                prop_assert_eq!(merged(kind, split.clone()), whole);
                split.reverse();
                let mut chained = Accumulator::default();
                for part in &split {
                    chained.merge(kind, part);
                }
                prop_assert_eq!(chained, whole);
            }
        }
    }

    #[test]
    fn an_all_negative_max_is_negative_and_nothing_is_zero() {
        let mut accumulator = Accumulator::default();
        for kind in KINDS {
            assert_eq!(accumulator.value(kind), Quantity::ZERO);
        }
        for (units, lsn) in [(-7, 1), (-3, 2), (-5, 3)] {
            let value = Quantity::from_units(units);
            accumulator.add(Kind::Max, Sample { value, at: Timestamp::default(), lsn: Lsn(lsn) });
        }
        assert_eq!(accumulator.value(Kind::Max), Quantity::from_units(-3));
    }

    #[test]
    fn equal_maxima_keep_the_earliest_event_and_equal_times_the_later_lsn() {
        let at = |nanos, lsn: i64| Sample {
            value: Quantity::from_units(i128::from(lsn % 2)),
            at: Timestamp::from_nanos(nanos),
            lsn: Lsn(u64::try_from(lsn).unwrap()),
        };
        let (mut max, mut last) = (Accumulator::default(), Accumulator::default());
        for sample in [at(5, 1), at(4, 3), at(4, 5), at(5, 2)] {
            max.add(Kind::Max, sample);
            last.add(Kind::Last, sample);
        }
        assert_eq!((max.at, max.lsn), (Timestamp::from_nanos(4), Lsn(3)));
        assert_eq!((last.at, last.lsn), (Timestamp::from_nanos(5), Lsn(2)));
        assert_eq!(last.value(Kind::Last), Quantity::ZERO);
    }

    #[test]
    #[should_panic(expected = "the committer refuses what could overflow a total")]
    fn a_sum_never_wraps() {
        let sample = |units| Sample {
            value: Quantity::from_units(units),
            at: Timestamp::default(),
            lsn: Lsn::ZERO,
        };
        let mut accumulator = Accumulator::default();
        accumulator.add(Kind::Sum, sample(i128::MAX));
        accumulator.add(Kind::Sum, sample(1));
    }
}
