//! What the log says of backfills: which meters wait for their earlier events, and how far each got.
//!
//! This is a part of the folded state: checkpoints hold it and replay rebuilds it. A meter that was
//! made before any event never stands here.

use serde::{Deserialize, Serialize};

use crate::engine::record::{BackfillEnd, BackfilledEntry};
use crate::model::{CustomerIndex, Hour, Lsn, MeterIndex, Settings};

/// The backfill of one meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// The meter.
    pub meter: MeterIndex,
    /// The record that made it: exactly the events before this one are to be counted.
    pub created: Lsn,
    /// How many events those are.
    pub events: u64,
    /// The settings they are counted under: those at the creation, whatever comes later.
    pub settings: Settings,
    /// How far it got.
    pub stage: Stage,
}

/// How far a backfill got, as logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// There is more to do.
    Pending(Delivered),
    /// Every event is counted.
    Complete,
    /// It was given up.
    Failed,
}

/// What was delivered of a backfill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Whether the meter's totals hold all earlier events.
    pub totals: bool,
    /// The last customer and hour in memory that holds them. When there is one, all hours that
    /// were over are on disk.
    pub through: Option<(CustomerIndex, Hour)>,
}

impl Backfill {
    /// The backfill of a meter that was just made by the record `created`.
    pub fn pending(meter: MeterIndex, created: Lsn, events: u64, settings: Settings) -> Self {
        Self { meter, created, events, settings, stage: Stage::Pending(Delivered::default()) }
    }

    /// What was delivered, while there is more to do.
    pub fn delivered(&self) -> Option<Delivered> {
        match self.stage {
            Stage::Pending(delivered) => Some(delivered),
            Stage::Complete | Stage::Failed => None,
        }
    }
}

/// Every backfill there was, in the order of the meters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfills(Vec<Backfill>);

impl Backfills {
    /// Adds the backfill of a new meter; its index is higher than those before.
    pub fn begin(&mut self, backfill: Backfill) {
        self.0.push(backfill);
    }

    /// The backfill of a meter; `None` when it never needed one.
    pub fn of(&self, meter: MeterIndex) -> Option<&Backfill> {
        let place = self.0.binary_search_by_key(&meter, |backfill| backfill.meter).ok()?;
        self.0.get(place)
    }

    /// Whether a meter has yet to count earlier events.
    pub fn is_pending(&self, meter: MeterIndex) -> bool {
        self.of(meter).is_some_and(|backfill| backfill.delivered().is_some())
    }

    fn pending(&self) -> impl Iterator<Item = &Backfill> {
        self.0.iter().filter(|backfill| backfill.delivered().is_some())
    }

    /// The oldest backfill that is not finished.
    pub fn next_pending(&self) -> Option<Backfill> {
        self.pending().next().copied()
    }

    /// Whether any is not finished.
    pub fn are_any_pending(&self) -> bool {
        self.pending().next().is_some()
    }

    /// Whether any of a meter made after `lsn` is not finished.
    pub fn are_pending_above(&self, lsn: Lsn) -> bool {
        self.pending().any(|backfill| backfill.created > lsn)
    }

    /// Takes in a record.
    pub fn apply(&mut self, entry: &BackfilledEntry) {
        let Ok(place) = self.0.binary_search_by_key(&entry.meter, |backfill| backfill.meter) else {
            return;
        };
        let Some(backfill) = self.0.get_mut(place) else { return };
        let Some(mut delivered) = backfill.delivered() else { return };
        delivered.totals |= entry.totals.is_some();
        if let Some((customer, hour, _)) = entry.entries.last() {
            delivered.through = Some((*customer, *hour));
        }
        backfill.stage = match entry.end {
            None => Stage::Pending(delivered),
            Some(BackfillEnd::Complete) => Stage::Complete,
            Some(BackfillEnd::Failed) => Stage::Failed,
        };
    }
}
