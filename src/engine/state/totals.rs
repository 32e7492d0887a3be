//! What each meter has seen, in numbers that only grow.

use serde::{Deserialize, Serialize};

use crate::engine::everybody;
use crate::metering::accumulator::{Sample, SkipReason};
use crate::model::MeterIndex;

/// What one meter has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterTotals {
    /// Events counted.
    pub counted: u64,
    /// Events skipped: missing, not a number, out of range.
    pub skipped: [u64; 3],
    /// The sum of all magnitudes, in units of 10^-12: no sum of this meter can be larger.
    pub magnitude: u128,
}

/// The totals of a meter, made when they are not there.
pub(super) fn total_of(totals: &mut Vec<MeterTotals>, meter: MeterIndex) -> &mut MeterTotals {
    let place = meter.position();
    if totals.len() <= place {
        totals.resize(place + 1, MeterTotals::default());
    }
    totals.get_mut(place).expect("the list was just made long enough")
}

impl MeterTotals {
    /// What a part of a record comes to.
    pub(super) fn of(part: &everybody::Part) -> Self {
        let skipped = SkipReason::ALL.map(|reason| part.accumulator.skipped(reason));
        Self { counted: part.accumulator.count(), skipped, magnitude: part.magnitude }
    }

    /// Takes in one event.
    pub fn add(&mut self, outcome: Result<Sample, SkipReason>) {
        match outcome {
            Ok(sample) => {
                self.counted += 1;
                // Fits: the committer refuses events that would take it beyond an i128, and a backfill
                // ends there.
                self.magnitude = self.magnitude.saturating_add(sample.value.magnitude());
            }
            Err(reason) => {
                let place = match reason {
                    SkipReason::Missing => 0,
                    SkipReason::NotANumber => 1,
                    SkipReason::OutOfRange => 2,
                };
                if let Some(count) = self.skipped.get_mut(place) {
                    *count += 1;
                }
            }
        }
    }

    /// Adds what others come to.
    pub(super) fn merge(&mut self, other: &Self) {
        self.counted += other.counted;
        for (count, other) in self.skipped.iter_mut().zip(other.skipped) {
            *count += other;
        }
        self.magnitude = self.magnitude.saturating_add(other.magnitude);
    }
}
