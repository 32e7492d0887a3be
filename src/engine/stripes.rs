//! The accumulators: one per meter, customer and hour.
//!
//! One thread applies, in LSN order; any number read.

use std::hint::black_box;

use serde::{Deserialize, Serialize};

use crate::engine::everybody::{EVERYBODY, Part};
use crate::engine::striped::{Stripe, Striped, StripedKey};
use crate::metering::accumulator::{Accumulator, Kind, Sample, SkipReason};
use crate::model::{CustomerIndex, Hour, Lsn, MeterIndex};

/// The number of the first part in the order in which a record is applied.
const PARTS_FROM: usize = 1 << 31;

/// Accumulators of a stripe from which on the caches may not have them: a quarter of a million of all stripes.
const COLD_FROM: usize = 256;

/// What one accumulator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The meter.
    pub meter: MeterIndex,
    /// The customer.
    pub customer: CustomerIndex,
    /// The UTC hour of the events' timestamps.
    pub hour: Hour,
}

/// What one event adds to one accumulator.
#[derive(Clone, Copy, Debug)]
pub struct Delta {
    /// The accumulator.
    pub key: Key,
    /// How its meter aggregates.
    pub kind: Kind,
    /// The value, or why there is none.
    pub outcome: Result<Sample, SkipReason>,
}

impl StripedKey for Key {
    /// All hours of a meter and customer are in one stripe.
    type Group = (MeterIndex, CustomerIndex);

    fn group(&self) -> Self::Group {
        (self.meter, self.customer)
    }
}

/// All accumulators that are in memory.
#[derive(Debug, Default)]
pub struct Stripes(Striped<Key, Accumulator>);

impl Stripes {
    /// The accumulators, for a checkpoint to copy.
    pub fn striped(&self) -> &Striped<Key, Accumulator> {
        &self.0
    }

    fn place(&self, meter: MeterIndex, customer: CustomerIndex) -> usize {
        self.0.place(&(meter, customer))
    }

    /// Adds what the events of the record that ends at `lsn` add, and with `parts` what they add to
    /// everybody's, locking each stripe once. Hours before `from` are left out: they are on disk, complete.
    /// Only one thread may apply.
    pub fn apply(&self, lsn: Lsn, deltas: &[Delta], parts: &[Part], from: Hour) {
        let epoch = self.0.epoch();
        // The stripe in the upper half and what to add in the lower one: numbers sort faster than pairs.
        let placed =
            |meter, customer, i: usize| (self.place(meter, customer) as u64) << 32 | i as u64;
        let of_deltas = deltas
            .iter()
            .zip(0..)
            .filter(|(delta, _)| delta.key.hour >= from)
            .map(|(delta, i)| placed(delta.key.meter, delta.key.customer, i));
        let mut order: Vec<u64> = Vec::with_capacity(deltas.len() + parts.len());
        order.extend(of_deltas);
        // Parts are numbered behind the deltas, which are fewer than 2^31.
        let of_parts = parts
            .iter()
            .zip(PARTS_FROM..)
            .filter(|(part, _)| part.hour >= from)
            .map(|(part, i)| placed(part.meter, EVERYBODY, i));
        order.extend(of_parts);
        order.sort_unstable();
        for run in order.chunk_by(|left, right| left >> 32 == right >> 32) {
            let Some(first) = run.first() else { continue };
            let mut stripe = self.0.lock(usize::try_from(first >> 32).unwrap_or(usize::MAX));
            stripe.changed = lsn;
            // Fits: it is below 2^32.
            let number =
                |placed: &u64| usize::try_from(placed & u64::from(u32::MAX)).unwrap_or(usize::MAX);
            if stripe.entries.len() >= COLD_FROM {
                // Read first and side by side.
                for delta in run.iter().filter_map(|placed| deltas.get(number(placed))) {
                    black_box(stripe.entries.get(&delta.key).copied());
                }
            }
            for placed in run {
                let i = number(placed);
                if let Some(delta) = deltas.get(i) {
                    add(&mut stripe, delta, epoch);
                } else if let Some(part) = i.checked_sub(PARTS_FROM).and_then(|i| parts.get(i)) {
                    let key = Key { meter: part.meter, customer: EVERYBODY, hour: part.hour };
                    stripe.touch(key, epoch).merge(part.kind, &part.accumulator);
                }
            }
        }
    }

    /// Merges what a meter counts of earlier events, by the record at `lsn`, into its accumulators,
    /// locking each stripe once. Hours before `from` are left out: they are on disk, complete.
    /// Only the thread that applies may call this.
    pub fn merge(
        &self,
        lsn: Lsn,
        (meter, kind): (MeterIndex, Kind),
        entries: &[(CustomerIndex, Hour, Accumulator)],
        from: Hour,
    ) {
        let epoch = self.0.epoch();
        let kept = entries.iter().filter(|(_, hour, _)| *hour >= from);
        let mut placed: Vec<_> = kept.map(|entry| (self.place(meter, entry.0), entry)).collect();
        placed.sort_by_key(|(place, _)| *place);
        for run in placed.chunk_by(|left, right| left.0 == right.0) {
            let Some((place, _)) = run.first() else { continue };
            let mut stripe = self.0.lock(*place);
            stripe.changed = lsn;
            for (_, (customer, hour, accumulator)) in run {
                let key = Key { meter, customer: *customer, hour: *hour };
                stripe.touch(key, epoch).merge(kind, accumulator);
            }
        }
    }

    /// Copies of the accumulators of one meter and customer in hours `from..to`, oldest first, and
    /// an LSN at which they were so: no record between it and the caller's last applied one, when
    /// that is later, changed them.
    pub fn of_pair(
        &self,
        meter: MeterIndex,
        customer: CustomerIndex,
        hours: std::ops::Range<Hour>,
    ) -> (Lsn, Vec<(Hour, Accumulator)>) {
        let stripe = self.0.lock(self.place(meter, customer));
        let changed = stripe.changed;
        let asked = usize::try_from(hours.end.0.saturating_sub(hours.start.0)).unwrap_or(0);
        if asked <= stripe.entries.len() {
            let found = |hour| stripe.entries.get(&Key { meter, customer, hour });
            let hours = (hours.start.0..hours.end.0).map(Hour);
            return (changed, hours.filter_map(|hour| Some((hour, *found(hour)?))).collect());
        }
        // Centuries were asked for: looking at what there is takes less time.
        let is_wanted =
            |key: &Key| (key.meter, key.customer) == (meter, customer) && hours.contains(&key.hour);
        let entries = stripe.entries.iter().filter(|(key, _)| is_wanted(key));
        let mut found: Vec<_> = entries.map(|(key, found)| (key.hour, *found)).collect();
        found.sort_unstable_by_key(|(hour, _)| *hour);
        (changed, found)
    }

    /// Copies of the accumulators of one meter and each of its customers in hours `from..to`, in no order.
    pub fn of_meter(
        &self,
        meter: MeterIndex,
        hours: &std::ops::Range<Hour>,
    ) -> Vec<(Key, Accumulator)> {
        (0..self.0.count()).flat_map(|place| self.of_meter_at(place, meter, hours).1).collect()
    }

    /// Those of them in the stripe at `place`, and how many accumulators it has in all.
    pub fn of_meter_at(
        &self,
        place: usize,
        meter: MeterIndex,
        hours: &std::ops::Range<Hour>,
    ) -> (usize, Vec<(Key, Accumulator)>) {
        let stripe = self.0.lock(place);
        let is_wanted = |key: &Key| {
            key.meter == meter && key.customer != EVERYBODY && hours.contains(&key.hour)
        };
        let entries = stripe.entries.iter().filter(|(key, _)| is_wanted(key));
        let found = entries.map(|(key, accumulator)| (*key, *accumulator)).collect();
        (stripe.entries.len(), found)
    }

    /// Forgets the hours before `hour` in the stripe at `place`.
    pub fn forget_before(&self, place: usize, hour: Hour) {
        self.0.lock(place).retain(|key| key.hour >= hour);
    }
}

fn add(stripe: &mut Stripe<Key, Accumulator>, delta: &Delta, epoch: u64) {
    let accumulator = stripe.touch(delta.key, epoch);
    match delta.outcome {
        Ok(sample) => accumulator.add(delta.kind, sample),
        Err(reason) => accumulator.skip(reason),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Lsn, Quantity, Timestamp};

    const FROM: Hour = Hour(i32::MIN);

    fn key(meter: u32, customer: u32, hour: i32) -> Key {
        Key { meter: MeterIndex(meter), customer: CustomerIndex(customer), hour: Hour(hour) }
    }

    fn delta(key: Key, value: i128) -> Delta {
        let sample = Sample {
            value: Quantity::from_units(value),
            at: Timestamp::from_nanos(0),
            lsn: Lsn(1),
        };
        Delta { key, kind: Kind::Sum, outcome: Ok(sample) }
    }

    fn any_delta() -> impl Strategy<Value = Delta> {
        (0..2_u32, 0..3_u32, 0..4_i32, -9..9_i128).prop_map(|(m, c, h, v)| delta(key(m, c, h), v))
    }

    fn add(model: &mut BTreeMap<Key, i128>, deltas: &[Delta]) {
        for delta in deltas {
            let value = delta.outcome.map_or(0, |sample| sample.value.as_units());
            *model.entry(delta.key).or_default() += value;
        }
    }

    proptest! {
        #[test]
        fn a_pair_is_read_in_order_whatever_the_range(
            deltas in prop::collection::vec(any_delta(), 0..20),
            from in -2..5_i32,
            count in 0..2_000_000_i32,
        ) {
            let stripes = Stripes::default();
            stripes.apply(Lsn(1), &deltas, &[], FROM);
            let mut model = BTreeMap::new();
            add(&mut model, &deltas);
            let hours = Hour(from)..Hour(from + count);
            let (_, found) = stripes.of_pair(MeterIndex(1), CustomerIndex(2), hours.clone());
            let expected: Vec<_> = model
                .iter()
                .filter(|(key, _)| key.meter.0 == 1 && key.customer.0 == 2)
                .filter(|(key, _)| hours.contains(&key.hour))
                .map(|(key, sum)| (key.hour, *sum))
                .collect();
            let units = |found: &Accumulator| found.value(Kind::Sum).as_units();
            let found: Vec<_> = found.iter().map(|(hour, found)| (*hour, units(found))).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_pair_read_while_records_are_applied_is_the_pair_of_one_lsn() {
        const RECORDS: u64 = 3_000;
        let (stripes, applied) = (Stripes::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for lsn in 1..=RECORDS {
                    // Every third record adds to the pair, twice, and every one to many others.
                    let mut deltas: Vec<_> = (0..400).map(|n| delta(key(0, n, 1), 1)).collect();
                    if lsn % 3 == 0 {
                        deltas.extend([delta(key(1, 2, 1), 5), delta(key(1, 2, 4), 7)]);
                    }
                    stripes.apply(Lsn(lsn), &deltas, &[], FROM);
                    applied.store(lsn, Ordering::Release);
                }
            });
            let mut last = 0;
            while last < RECORDS {
                last = applied.load(Ordering::Acquire);
                let hours = Hour(0)..Hour(9);
                let (changed, found) = stripes.of_pair(MeterIndex(1), CustomerIndex(2), hours);
                let added = changed.0.max(last) / 3;
                let units =
                    |at: usize| found.get(at).map_or(0, |(_, it)| it.value(Kind::Sum).as_units());
                assert_eq!([units(0), units(1)], [5, 7].map(|each| each * i128::from(added)));
            }
        });
    }

    #[test]
    fn a_pair_read_while_a_backfill_is_merged_is_the_pair_of_one_lsn() {
        const RECORDS: u64 = 200;
        const CUSTOMERS: u32 = 4_000;
        let (stripes, applied) = (Stripes::default(), AtomicU64::new(0));
        let mut one = Accumulator::default();
        one.add(Kind::Count, Sample { value: Quantity::ZERO, at: Timestamp::MIN, lsn: Lsn(1) });
        let part: Vec<_> =
            (0..CUSTOMERS).map(|customer| (CustomerIndex(customer), Hour(1), one)).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for lsn in 1..=RECORDS {
                    stripes.merge(Lsn(lsn), (MeterIndex(1), Kind::Count), &part, FROM);
                    applied.store(lsn, Ordering::Release);
                }
            });
            let (mut last, mut customer) = (0, 0);
            while last < RECORDS {
                last = applied.load(Ordering::Acquire);
                customer = (customer + 7) % CUSTOMERS;
                let hours = Hour(0)..Hour(9);
                let (changed, found) =
                    stripes.of_pair(MeterIndex(1), CustomerIndex(customer), hours);
                let count = found.first().map_or(0, |(_, found)| found.count());
                assert_eq!(count, changed.0.max(last));
            }
        });
    }

    #[test]
    fn hours_that_left_memory_take_nothing_and_are_forgotten() {
        let stripes = Stripes::default();
        stripes.apply(Lsn(1), &[delta(key(0, 0, 1), 5), delta(key(0, 0, 2), 6)], &[], Hour(2));
        assert_eq!(stripes.striped().len(), 1);
        (0..stripes.striped().count()).for_each(|place| stripes.forget_before(place, Hour(3)));
        assert!(stripes.striped().is_empty());
    }
}
