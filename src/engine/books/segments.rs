//! What the segments of subscriptions have counted, and the events whose time has not come.
//!
//! An event enters the accumulators of its customer's segments once its timestamp lies before log
//! time, so that a segment can be cut at the present: nothing of what it has counted lies behind the
//! cut. Until then it is *pending*, ordered by (timestamp, LSN). Usage by the hour shows it at once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::engine::books::routes::{Routes, SegmentKey};
use crate::engine::striped::{Striped, StripedKey};
use crate::engine::stripes::Delta;
use crate::metering::accumulator::{Accumulator, Kind, Sample};
use crate::model::{CustomerIndex, Lsn, MeterIndex, Period, Quantity, Timestamp};
use crate::world::sync::Mutex;

/// A running aggregation over a segment, and the first and last event in it by LSN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentAccumulator {
    accumulator: Accumulator,
    first: Lsn,
    last: Lsn,
}

impl SegmentAccumulator {
    /// Counts an event.
    pub fn add(&mut self, kind: Kind, sample: Sample) {
        let is_first = self.accumulator.count() == 0;
        self.accumulator.add(kind, sample);
        self.first = if is_first { sample.lsn } else { self.first.min(sample.lsn) };
        self.last = self.last.max(sample.lsn);
    }

    /// The aggregation; zero when nothing was counted.
    pub fn value(&self, kind: Kind) -> Quantity {
        self.accumulator.value(kind)
    }

    /// How many events were counted.
    pub fn count(&self) -> u64 {
        self.accumulator.count()
    }

    /// The first and the last event that were counted, by LSN.
    pub fn lsns(&self) -> Option<(Lsn, Lsn)> {
        (self.accumulator.count() > 0).then_some((self.first, self.last))
    }
}

/// A sample whose time has not come; sorts by (timestamp, LSN, meter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PendingKey {
    /// The event's timestamp.
    pub at: Timestamp,
    /// The event.
    pub lsn: Lsn,
    /// The meter that counts it.
    pub meter: MeterIndex,
    /// Its customer.
    pub customer: CustomerIndex,
}

impl StripedKey for PendingKey {
    type Group = CustomerIndex;

    fn group(&self) -> CustomerIndex {
        self.customer
    }
}

/// A pending sample's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSample {
    /// How the meter aggregates.
    pub kind: Kind,
    /// The value.
    pub value: Quantity,
}

impl Default for PendingSample {
    fn default() -> Self {
        Self { kind: Kind::Count, value: Quantity::ZERO }
    }
}

/// All segments' accumulators and all pending samples.
#[derive(Debug, Default)]
pub struct Segments {
    counted: Striped<SegmentKey, SegmentAccumulator>,
    pending: Striped<PendingKey, PendingSample>,
    /// The keys of `pending`, in the order in which their time comes.
    order: Mutex<BTreeSet<PendingKey>>,
}

impl Segments {
    /// Whether the time of a pending sample has come at `log_time`.
    pub fn is_any_due(&self, log_time: Timestamp) -> bool {
        self.order.lock().first().is_some_and(|first| first.at < log_time)
    }

    /// Lets the samples enter whose time has come at `log_time`.
    pub fn release(&self, log_time: Timestamp, routes: &Routes) {
        loop {
            // Held until the sample has moved: whoever reads finds it in one place.
            let mut order = self.order.lock();
            let Some(key) = order.first().copied().filter(|key| key.at < log_time) else { return };
            if let Some(PendingSample { kind, value }) = self.pending.get(&key) {
                let sample = Sample { value, at: key.at, lsn: key.lsn };
                self.enter(key.customer, key.meter, (kind, sample), routes);
            }
            self.pending.remove(&key);
            order.remove(&key);
        }
    }

    /// Takes in what events add, at `log_time`.
    pub fn take_in(&self, deltas: &[Delta], log_time: Timestamp, routes: &Routes) {
        for delta in deltas {
            let Ok(sample) = &delta.outcome else { continue };
            let (customer, meter) = (delta.key.customer, delta.key.meter);
            if sample.at >= log_time {
                let key = PendingKey { at: sample.at, lsn: sample.lsn, meter, customer };
                let pending = PendingSample { kind: delta.kind, value: sample.value };
                self.pending.change(key, |place| *place = pending);
                self.order.lock().insert(key);
            } else if routes.is_any(customer) {
                self.enter(customer, meter, (delta.kind, *sample), routes);
            }
        }
    }

    fn enter(
        &self,
        customer: CustomerIndex,
        meter: MeterIndex,
        (kind, sample): (Kind, Sample),
        routes: &Routes,
    ) {
        routes.each(customer, meter, sample.at, |key| {
            self.counted.change(key, |accumulator| accumulator.add(kind, sample));
        });
    }

    /// What a segment of `customer` has counted under each key, with the pending samples of its
    /// `period`: each sample is in one of the two, however many enter meanwhile.
    pub fn read(
        &self,
        customer: CustomerIndex,
        period: Period,
        keys: &[(SegmentKey, Kind)],
    ) -> Vec<SegmentAccumulator> {
        // Nothing enters from the pending ones as long as their order is locked.
        let order = self.order.lock();
        let pending = if order.is_empty() { Vec::new() } else { self.pending_in(customer, period) };
        let read = keys.iter().map(|(key, kind)| {
            let mut counted = self.counted.get(key).unwrap_or_default();
            for (pending, sample) in pending.iter().filter(|(found, _)| found.meter == key.meter) {
                let sample = Sample { value: sample.value, at: pending.at, lsn: pending.lsn };
                counted.add(*kind, sample);
            }
            counted
        });
        read.collect()
    }

    /// The pending samples of a customer whose time lies in `period`, in no order.
    fn pending_in(
        &self,
        customer: CustomerIndex,
        period: Period,
    ) -> Vec<(PendingKey, PendingSample)> {
        let stripe = self.pending.lock(self.pending.place(&customer));
        let is_wanted = |key: &PendingKey| key.customer == customer && period.holds(key.at);
        let of_customer = stripe.entries.iter().filter(|(key, _)| is_wanted(key));
        of_customer.map(|(key, sample)| (*key, *sample)).collect()
    }

    /// How many samples are pending.
    pub fn pending_count(&self) -> usize {
        self.order.lock().len()
    }

    /// Forgets what a segment has counted: it has its invoice.
    pub fn forget(&self, key: &SegmentKey) {
        self.counted.remove(key);
    }

    /// The accumulators, for a checkpoint to copy.
    pub fn counted(&self) -> &Striped<SegmentKey, SegmentAccumulator> {
        &self.counted
    }

    /// The pending samples, for a checkpoint to copy.
    pub fn pending(&self) -> &Striped<PendingKey, PendingSample> {
        &self.pending
    }

    /// Puts a loaded pending sample in its place.
    pub fn load_pending(&self, key: PendingKey, sample: PendingSample) {
        self.pending.load(key, sample);
        self.order.lock().insert(key);
    }
}
