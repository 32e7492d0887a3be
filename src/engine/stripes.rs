//! The accumulators: one per meter, customer and hour, in maps behind striped locks.
//!
//! One thread applies, in LSN order; any number read. A checkpoint copies all of them as they were
//! at one LSN while applying goes on: [`Stripes::begin_cut`] starts a new epoch, and from then on the
//! first touch of an entry in a stripe that was not copied yet saves its old value aside.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::metering::accumulator::{Accumulator, Kind, Sample, SkipReason};
use crate::model::{CustomerIndex, Hour, Lsn, MeterIndex};

/// Enough that one stripe of 10 million entries is copied in 2 ms, few enough to be cheap to visit.
const STRIPES: usize = 1024;

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

#[derive(Debug, Default)]
struct Stripe {
    entries: HashMap<Key, Accumulator>,
    /// Values as they were at the cut, of entries touched since; `None` for those made since.
    aside: HashMap<Key, Option<Accumulator>>,
    /// The last epoch this stripe was copied for.
    copied: u64,
    /// The last LSN of the last record that changed it. A record changes a stripe under one lock, so
    /// that what is read under the lock is the state of one LSN.
    changed: Lsn,
}

/// All accumulators that are in memory.
#[derive(Debug)]
pub struct Stripes {
    all: Box<[Mutex<Stripe>]>,
    epoch: AtomicU64,
    hasher: DefaultHashBuilder,
}

impl Default for Stripes {
    fn default() -> Self {
        Self {
            all: std::iter::repeat_with(Mutex::default).take(STRIPES).collect(),
            epoch: AtomicU64::new(0),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Stripes {
    /// All hours of a meter and customer are in one stripe.
    fn place(&self, meter: MeterIndex, customer: CustomerIndex) -> usize {
        // Fits: the remainder is below 1024.
        usize::try_from(self.hasher.hash_one((meter, customer)) % STRIPES as u64).unwrap_or(0)
    }

    fn stripe(&self, place: usize) -> &Mutex<Stripe> {
        self.all.get(place).expect("places are below the number of stripes")
    }

    /// Adds what the events of the record that ends at `lsn` add, locking each stripe once. Deltas of
    /// hours before `from` are left out: those hours are on disk, complete. Only one thread may apply.
    pub fn apply(&self, lsn: Lsn, deltas: &[Delta], from: Hour) {
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut order: Vec<(u32, u32)> = deltas
            .iter()
            .zip(0_u32..)
            .filter(|(delta, _)| delta.key.hour >= from)
            .map(|(delta, i)| {
                // Fits: places are below 1024.
                let place = self.place(delta.key.meter, delta.key.customer);
                (u32::try_from(place).unwrap_or(0), i)
            })
            .collect();
        order.sort_unstable();
        for run in order.chunk_by(|left, right| left.0 == right.0) {
            let Some((place, _)) = run.first() else { continue };
            let mut stripe = self.stripe(*place as usize).lock();
            stripe.changed = lsn;
            for (_, i) in run {
                if let Some(delta) = deltas.get(*i as usize) {
                    stripe.add(delta, epoch);
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
        let epoch = self.epoch.load(Ordering::Acquire);
        let kept = entries.iter().filter(|(_, hour, _)| *hour >= from);
        let mut placed: Vec<_> = kept.map(|entry| (self.place(meter, entry.0), entry)).collect();
        placed.sort_by_key(|(place, _)| *place);
        for run in placed.chunk_by(|left, right| left.0 == right.0) {
            let Some((place, _)) = run.first() else { continue };
            let mut stripe = self.stripe(*place).lock();
            stripe.changed = lsn;
            for (_, (customer, hour, accumulator)) in run {
                let key = Key { meter, customer: *customer, hour: *hour };
                stripe.touch(key, epoch).merge(kind, accumulator);
            }
        }
    }

    /// Puts a loaded accumulator in its place.
    pub fn load(&self, key: Key, accumulator: Accumulator) {
        let place = self.place(key.meter, key.customer);
        self.stripe(place).lock().entries.insert(key, accumulator);
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
        let stripe = self.stripe(self.place(meter, customer)).lock();
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

    /// Copies of the accumulators of one meter in hours `from..to`, in no order.
    pub fn of_meter(
        &self,
        meter: MeterIndex,
        hours: &std::ops::Range<Hour>,
    ) -> Vec<(Key, Accumulator)> {
        let mut found = Vec::new();
        for stripe in &self.all {
            let stripe = stripe.lock();
            let entries = stripe.entries.iter();
            found.extend(
                entries
                    .filter(|(key, _)| key.meter == meter && hours.contains(&key.hour))
                    .map(|(key, accumulator)| (*key, *accumulator)),
            );
        }
        found
    }

    /// How many accumulators are in memory.
    pub fn len(&self) -> usize {
        self.all.iter().map(|stripe| stripe.lock().entries.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts a cut: what [`Stripes::copy`] returns from now on is the state of this instant. The
    /// previous cut must have been copied whole. Called by the thread that applies.
    pub fn begin_cut(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// How many stripes there are to copy.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The accumulators of the stripe at `place` as they were at the cut.
    ///
    /// # Panics
    /// When the stripe was copied already since the cut.
    pub fn copy(&self, place: usize) -> Vec<(Key, Accumulator)> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut stripe = self.stripe(place).lock();
        assert!(stripe.copied < epoch, "a stripe is copied once a cut");
        let aside = std::mem::take(&mut stripe.aside);
        stripe.copied = epoch;
        let entries = stripe.entries.iter();
        entries
            .filter_map(|(key, now)| match aside.get(key) {
                Some(old) => old.map(|old| (*key, old)),
                None => Some((*key, *now)),
            })
            .collect()
    }

    /// Forgets the hours before `hour` in the stripe at `place`.
    pub fn forget_before(&self, place: usize, hour: Hour) {
        let mut stripe = self.stripe(place).lock();
        stripe.entries.retain(|key, _| key.hour >= hour);
        if stripe.entries.capacity() > 4 * stripe.entries.len() + 64 {
            stripe.entries.shrink_to_fit();
        }
    }
}

impl Stripe {
    /// The entry to be changed, its value at the cut saved aside.
    fn touch(&mut self, key: Key, epoch: u64) -> &mut Accumulator {
        if self.copied < epoch {
            let old = &self.entries;
            self.aside.entry(key).or_insert_with(|| old.get(&key).copied());
        }
        self.entries.entry(key).or_default()
    }

    fn add(&mut self, delta: &Delta, epoch: u64) {
        let accumulator = self.touch(delta.key, epoch);
        match delta.outcome {
            Ok(sample) => accumulator.add(delta.kind, sample),
            Err(reason) => accumulator.skip(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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

    fn sums(entries: impl IntoIterator<Item = (Key, Accumulator)>) -> BTreeMap<Key, i128> {
        let units = |found: Accumulator| found.value(Kind::Sum).as_units();
        entries.into_iter().map(|(key, found)| (key, units(found))).collect()
    }

    proptest! {
        #[test]
        fn a_copy_shows_the_cut_whatever_is_applied_while_it_is_made(
            before in prop::collection::vec(any_delta(), 0..20),
            after in prop::collection::vec(any_delta(), 0..20),
            copied_first in 0..STRIPES,
        ) {
            let stripes = Stripes::default();
            let (mut cut, mut end) = (BTreeMap::new(), BTreeMap::new());
            stripes.apply(Lsn(1), &before, FROM);
            add(&mut cut, &before);
            stripes.begin_cut();
            let mut copied = Vec::new();
            (0..copied_first).for_each(|place| copied.extend(stripes.copy(place)));
            stripes.apply(Lsn(1), &after, FROM);
            (copied_first..STRIPES).for_each(|place| copied.extend(stripes.copy(place)));
            prop_assert_eq!(sums(copied), cut);
            add(&mut end, &before);
            add(&mut end, &after);
            let all = [0, 1].into_iter().flat_map(|meter| {
                stripes.of_meter(MeterIndex(meter), &(Hour(0)..Hour(9)))
            });
            prop_assert_eq!(sums(all), end);
        }

        #[test]
        fn a_pair_is_read_in_order_whatever_the_range(
            deltas in prop::collection::vec(any_delta(), 0..20),
            from in -2..5_i32,
            count in 0..2_000_000_i32,
        ) {
            let stripes = Stripes::default();
            stripes.apply(Lsn(1), &deltas, FROM);
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
                    stripes.apply(Lsn(lsn), &deltas, FROM);
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
        stripes.apply(Lsn(1), &[delta(key(0, 0, 1), 5), delta(key(0, 0, 2), 6)], Hour(2));
        assert_eq!(stripes.len(), 1);
        (0..stripes.count()).for_each(|place| stripes.forget_before(place, Hour(3)));
        assert!(stripes.is_empty());
    }
}
