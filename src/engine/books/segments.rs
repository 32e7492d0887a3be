//! What the segments of subscriptions have counted, and the events whose time has not come.
//!
//! An event enters the accumulators of its customer's segments once its timestamp lies before log
//! time, so that a segment can be cut at the present: nothing of what it has counted lies behind the
//! cut. Until then it is *pending*, ordered by (timestamp, LSN). Usage by the hour shows it at once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::billing::credits::{Mark, Usage};
use crate::engine::books::routes::{CreditUse, Entry, Routes, SegmentKey};
use crate::engine::pools::draws::Draws;
use crate::engine::striped::{Striped, StripedKey};
use crate::engine::stripes::Delta;
use crate::metering::accumulator::{Accumulator, Kind, Sample};
use crate::model::{CustomerIndex, Lsn, MeterIndex, Period, Quantity, Timestamp};
use crate::world::sync::Mutex;

/// Deltas whose segments are found, and brought into the caches, together.
const TAKEN_AT_ONCE: usize = 128;

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

/// How an event of this value takes a meter's usage on, which is `value_now` from then on.
pub fn usage(kind: Kind, value: Quantity, value_now: Quantity) -> Usage {
    match kind {
        Kind::Count => Usage::By(Quantity::from_count(1)),
        Kind::Sum => Usage::By(value),
        Kind::Max | Kind::Last => Usage::To(value_now),
    }
}

/// All segments' accumulators and all pending samples.
#[derive(Debug, Default)]
pub struct Segments {
    counted: Striped<SegmentKey, SegmentAccumulator>,
    /// Of meters that draw credits, under the segment that the period began with.
    marks: Striped<SegmentKey, Mark>,
    pending: Striped<PendingKey, PendingSample>,
    /// The keys of `pending`, in the order in which their time comes.
    order: Mutex<BTreeSet<PendingKey>>,
}

impl Segments {
    /// Whether the time of a pending sample has come at `log_time`.
    pub fn is_any_due(&self, log_time: Timestamp) -> bool {
        self.order.lock().first().is_some_and(|first| first.at < log_time)
    }

    /// When the time of the first pending sample comes.
    pub fn first_pending(&self) -> Option<Timestamp> {
        self.order.lock().first().map(|first| first.at)
    }

    /// Lets the samples enter whose time has come at `log_time`. Each draws at its own time, so that it does
    /// not matter which record comes next, or when.
    pub fn release(&self, log_time: Timestamp, routes: &Routes, draws: &mut Draws<'_>) {
        loop {
            // Held until an event has entered whole and has drawn: whoever reads finds it in one place.
            let mut order = self.order.lock();
            let is_due = |key: &PendingKey| key.at < log_time;
            let Some(event) = order.first().copied().filter(is_due) else { break };
            draws.happen_at(event.at);
            while let Some(key) = order.first().copied().filter(|key| key.lsn == event.lsn) {
                if let Some(PendingSample { kind, value }) = self.pending.get(&key) {
                    let sample = Sample { value, at: key.at, lsn: key.lsn };
                    routes.each(key.customer, key.meter, key.at, |entry| {
                        self.enter(key.customer, (kind, sample), &entry, draws);
                    });
                }
                self.pending.remove(&key);
                order.remove(&key);
            }
            draws.draw();
        }
        draws.happen_at(log_time);
    }

    /// Takes in what events add, at `log_time`; deltas of an event follow each other.
    pub fn take_in(
        &self,
        deltas: &[Delta],
        log_time: Timestamp,
        routes: &Routes,
        draws: &mut Draws<'_>,
    ) {
        let mut entering = Vec::new();
        for deltas in deltas.chunks(TAKEN_AT_ONCE) {
            if !routes.is_empty() {
                routes.warm(deltas.iter().map(|delta| delta.key.customer));
            }
            for delta in deltas {
                let Ok(sample) = delta.outcome else { continue };
                let (customer, meter) = (delta.key.customer, delta.key.meter);
                if sample.at >= log_time {
                    let key = PendingKey { at: sample.at, lsn: sample.lsn, meter, customer };
                    let pending = PendingSample { kind: delta.kind, value: sample.value };
                    self.pending.change(key, |place| *place = pending);
                    self.order.lock().insert(key);
                } else if routes.is_any(customer) {
                    let entered = (customer, delta.kind, sample);
                    routes
                        .each(customer, meter, sample.at, |entry| entering.push((entered, entry)));
                }
            }
            self.look_at(entering.iter().map(|(_, entry)| entry.key));
            for ((customer, kind, sample), entry) in entering.drain(..) {
                draws.next_event(sample.lsn);
                self.enter(customer, (kind, sample), &entry, draws);
            }
        }
        draws.draw();
    }

    fn enter(
        &self,
        customer: CustomerIndex,
        (kind, sample): (Kind, Sample),
        entry: &Entry<'_>,
        draws: &mut Draws<'_>,
    ) {
        let mut value = Quantity::ZERO;
        self.counted.change(entry.key, |accumulator| {
            accumulator.add(kind, sample);
            value = accumulator.value(kind);
        });
        if let Some(credit) = entry.credit {
            let usage = usage(kind, sample.value, value);
            self.mark(customer, usage, (entry, credit), draws);
        }
    }

    /// Moves the mark of a period, and draws what that is worth.
    fn mark(
        &self,
        customer: CustomerIndex,
        usage: Usage,
        (entry, credit): (&Entry<'_>, &CreditUse),
        draws: &mut Draws<'_>,
    ) {
        let mut worth = None;
        let key = entry.mark_key();
        self.marks.change(key, |mark| worth = credit.take_on(mark, usage, entry.is_ahead));
        if let Some((drawing, credits)) = worth {
            let subscription = (entry.rank, key.subscription);
            draws.want(drawing, subscription, (customer, key.meter), credits);
        }
    }

    /// What `read` makes of what a segment of `customer` has counted under each key, with the pending samples
    /// of its `period`: each sample is in one of the two, however many enter meanwhile.
    pub fn read<T>(
        &self,
        customer: CustomerIndex,
        period: Period,
        keys: impl Iterator<Item = (SegmentKey, Kind)>,
        read: impl Fn(SegmentAccumulator, Kind) -> T,
    ) -> Vec<T> {
        // Nothing enters from the pending ones as long as their order is locked.
        let order = self.order.lock();
        let pending = if order.is_empty() { Vec::new() } else { self.pending_in(customer, period) };
        let read = keys.map(|(key, kind)| {
            let mut counted = self.counted.get(&key).unwrap_or_default();
            for (pending, sample) in pending.iter().filter(|(found, _)| found.meter == key.meter) {
                let sample = Sample { value: sample.value, at: pending.at, lsn: pending.lsn };
                counted.add(kind, sample);
            }
            read(counted, kind)
        });
        read.collect()
    }

    /// Reads what was counted under these keys; see [`warm`](super::warm).
    pub(super) fn look_at(&self, keys: impl Iterator<Item = SegmentKey>) {
        self.counted.look_at(keys);
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

    /// The pending samples of a customer whose time has come at `at`, in the order in which they will
    /// enter; none enters while `look` looks.
    pub fn with_entering<T>(
        &self,
        customer: CustomerIndex,
        at: Timestamp,
        look: impl FnOnce(&[(PendingKey, PendingSample)]) -> T,
    ) -> T {
        let order = self.order.lock();
        if order.first().is_none_or(|first| first.at >= at) {
            return look(&[]);
        }
        let mut entering = self.pending_in(customer, Period { start: Timestamp::MIN, end: at });
        entering.sort_unstable_by_key(|(key, _)| *key);
        look(&entering)
    }

    /// How many samples are pending.
    pub fn pending_count(&self) -> usize {
        self.order.lock().len()
    }

    /// Forgets what a segment has counted: it has its invoice.
    pub fn forget(&self, key: &SegmentKey) {
        self.counted.remove(key);
    }

    /// The marks of periods that draw credits, each under the segment that its period began with.
    pub fn marks(&self) -> &Striped<SegmentKey, Mark> {
        &self.marks
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
