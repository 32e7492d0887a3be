//! Counts of what happened since the start, for the metrics page.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::command::Refused;
use crate::engine::health::{Histogram, Pulse, Recovery};
use crate::engine::outbox::settle::Next;
use crate::model::{Lsn, Timestamp};
use crate::world::sync::Mutex;
use crate::world::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Upper bounds of durations: from what a good disk syncs in to what a client gives up after.
const DURATION_BOUNDS_MICROS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
/// Upper bounds of the events in a group.
const EVENT_BOUNDS: [u64; 9] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536];

/// Observations by size.
#[derive(Debug)]
struct Buckets<const N: usize> {
    bounds: [u64; N],
    counts: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Buckets<N> {
    fn new(bounds: [u64; N]) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, counts, beyond: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    fn observe(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts.get(place).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn read(&self, unit: impl Fn(u64) -> f64) -> Histogram {
        let counts = self.counts.iter().chain(std::iter::once(&self.beyond));
        Histogram {
            bounds: self.bounds.iter().map(|bound| unit(*bound)).collect(),
            counts: counts.map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: unit(self.sum.load(Ordering::Relaxed)),
        }
    }
}

/// All counts.
#[derive(Debug)]
pub struct Counters {
    accepted: AtomicU64,
    duplicate: AtomicU64,
    conflicting: AtomicU64,
    read_back: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// Attempts to deliver a message: delivered, failed, given up.
    attempts: [AtomicU64; 3],
    fired: AtomicU64,
    looks: AtomicU64,
    commit_events: Buckets<9>,
    commit_micros: Buckets<12>,
    sync_micros: Buckets<12>,
    checkpoint_lsn: AtomicU64,
    checkpoint_at: AtomicI64,
    recovered_records: AtomicU64,
    recovery_micros: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            duplicate: AtomicU64::new(0),
            conflicting: AtomicU64::new(0),
            read_back: AtomicU64::new(0),
            refused: Mutex::default(),
            attempts: std::array::from_fn(|_| AtomicU64::new(0)),
            fired: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            commit_events: Buckets::new(EVENT_BOUNDS),
            commit_micros: Buckets::new(DURATION_BOUNDS_MICROS),
            sync_micros: Buckets::new(DURATION_BOUNDS_MICROS),
            checkpoint_lsn: AtomicU64::new(0),
            checkpoint_at: AtomicI64::new(i64::MIN),
            recovered_records: AtomicU64::new(0),
            recovery_micros: AtomicU64::new(0),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

fn whole(count: u64) -> f64 {
    // Exact up to 2^53, which no count of events since a start comes near.
    Duration::from_secs(count).as_secs_f64()
}

impl Counters {
    /// A request was admitted.
    pub fn ingested(&self, new: u32, duplicates: u32, conflicts: u32) {
        self.accepted.fetch_add(new.into(), Ordering::Relaxed);
        self.duplicate.fetch_add(duplicates.into(), Ordering::Relaxed);
        self.conflicting.fetch_add(conflicts.into(), Ordering::Relaxed);
    }

    /// A request was refused for one of its events.
    pub fn refused(&self, refused: &Refused) {
        if let Refused::Event(refusal) = refused {
            self.rule_broken(refusal.rejection.rule.name());
        }
    }

    /// Events were read back from the log or from history.
    pub fn read_back(&self, events: u64) {
        self.read_back.fetch_add(events, Ordering::Relaxed);
    }

    /// An event broke a rule.
    pub fn rule_broken(&self, rule: &'static str) {
        *self.refused.lock().entry(rule).or_default() += 1;
    }

    /// An attempt to deliver a message was logged.
    pub fn attempted(&self, next: Next) {
        let [delivered, failed, given_up] = &self.attempts;
        let count = match next {
            Next::Delivered => delivered,
            Next::Retry(_) => failed,
            Next::GivenUp => given_up,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Alerts have looked at so many customers.
    pub fn looked(&self, customers: u64) {
        self.looks.fetch_add(customers, Ordering::Relaxed);
    }

    /// Alerts have fired for so many customers and periods.
    pub fn fired(&self, crossings: u64) {
        self.fired.fetch_add(crossings, Ordering::Relaxed);
    }

    /// A group was written and synced.
    pub fn committed(&self, events: u64, took: Duration, sync: Duration) {
        self.commit_events.observe(events);
        self.commit_micros.observe(micros(took));
        self.sync_micros.observe(micros(sync));
    }

    /// A checkpoint was finished, or one whose last record is of `at` was loaded.
    pub fn checkpointed(&self, lsn: Lsn, at: Timestamp) {
        self.checkpoint_lsn.store(lsn.0, Ordering::Relaxed);
        self.checkpoint_at.store(at.as_nanos(), Ordering::Relaxed);
    }

    /// The start has replayed so many records and took so long.
    pub fn recovered(&self, records: u64, took: Duration) {
        self.recovered_records.store(records, Ordering::Relaxed);
        self.recovery_micros.store(micros(took), Ordering::Relaxed);
    }

    /// What the start had to do.
    pub fn recovery(&self) -> Recovery {
        let took = Duration::from_micros(self.recovery_micros.load(Ordering::Relaxed));
        Recovery { records: self.recovered_records.load(Ordering::Relaxed), took }
    }

    /// How many events came since the start, by what became of them, beside the last LSN.
    pub fn pulse(&self, lsn: Lsn) -> Pulse {
        Pulse {
            lsn,
            accepted: self.accepted.load(Ordering::Relaxed),
            duplicate: self.duplicate.load(Ordering::Relaxed),
            conflicting: self.conflicting.load(Ordering::Relaxed),
            refused: self.refused.lock().values().sum(),
        }
    }

    /// Fills in what is counted here.
    pub fn read(&self, stats: &mut crate::engine::Stats) {
        stats.events_accepted = self.accepted.load(Ordering::Relaxed);
        stats.events_duplicate = self.duplicate.load(Ordering::Relaxed);
        stats.events_conflicting = self.conflicting.load(Ordering::Relaxed);
        stats.events_read = self.read_back.load(Ordering::Relaxed);
        stats.events_refused = self.refused.lock().clone();
        let attempts = self.attempts.iter().map(|count| count.load(Ordering::Relaxed));
        let outcomes = ["succeeded", "failed", "given_up"];
        stats.webhook_attempts = outcomes.into_iter().zip(attempts).collect();
        stats.alerts_looks = self.looks.load(Ordering::Relaxed);
        stats.alerts_fired = self.fired.load(Ordering::Relaxed);
        stats.commit_events = self.commit_events.read(whole);
        stats.commit_seconds = self.commit_micros.read(seconds);
        stats.sync_seconds = self.sync_micros.read(seconds);
        stats.checkpoint_lsn = Lsn(self.checkpoint_lsn.load(Ordering::Relaxed));
        let at = self.checkpoint_at.load(Ordering::Relaxed);
        stats.checkpoint_at = (at != i64::MIN).then(|| Timestamp::from_nanos(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_more_than_four_thousand_million_is_told_exactly() {
        let counters = Counters::default();
        for _ in 0..3 {
            counters.committed(u64::from(u32::MAX), Duration::ZERO, Duration::ZERO);
        }
        let mut stats = crate::engine::Stats::default();
        counters.read(&mut stats);
        assert_eq!(format!("{:.0}", stats.commit_events.sum), "12884901885");
    }
}
