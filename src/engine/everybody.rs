//! What all customers together use: of each meter and hour one accumulator beside those of customers.
//!
//! [`EVERYBODY`] stands in the key where a customer would. So whatever is done with accumulators is done with
//! these: they are applied, copied at a cut, written to rows and read like all others; but no list of
//! customers shows them. A record's events are put together first, so that they cost its events little: a
//! busy meter's one accumulator is touched once a record.

use crate::engine::stripes::Delta;
use crate::metering::accumulator::{Accumulator, Kind};
use crate::model::{CustomerIndex, Hour, MeterIndex};

/// Stands for all customers in the key of an accumulator. No customer has this index: there would have to be
/// four billion.
pub const EVERYBODY: CustomerIndex = CustomerIndex(u32::MAX);

/// Parts that are found again without a search.
const PLACES: usize = 64;

/// What a record adds to a meter's hour, whoever it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The meter.
    pub meter: MeterIndex,
    /// The UTC hour of the events' timestamps.
    pub hour: Hour,
    /// How the meter aggregates.
    pub kind: Kind,
    /// What was counted and skipped.
    pub accumulator: Accumulator,
    /// The sum of the magnitudes of what was counted, in units of 10^-12.
    pub magnitude: u128,
}

impl Part {
    fn of(delta: &Delta) -> Self {
        Self {
            meter: delta.key.meter,
            hour: delta.key.hour,
            kind: delta.kind,
            accumulator: Accumulator::default(),
            magnitude: 0,
        }
    }

    #[inline]
    fn add(&mut self, delta: &Delta) {
        match delta.outcome {
            Ok(sample) => {
                self.accumulator.add(self.kind, sample);
                // Fits: the committer refuses events that would take it beyond an i128.
                self.magnitude = self.magnitude.saturating_add(sample.value.magnitude());
            }
            Err(reason) => self.accumulator.skip(reason),
        }
    }
}

/// Puts deltas together by meter and hour. A meter and hour may stand in several parts.
pub fn parts(deltas: &[Delta]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    // Where the newest part of each place is among all.
    let mut newest = [usize::MAX; PLACES];
    for delta in deltas {
        let (meter, hour) = (delta.key.meter, delta.key.hour);
        // Four hours of sixteen meters have places of their own.
        let place = ((meter.0 << 2) ^ hour.0.cast_unsigned()) as usize % PLACES;
        let Some(newest) = newest.get_mut(place) else { continue };
        match parts.get_mut(*newest) {
            Some(part) if (part.meter, part.hour) == (meter, hour) => part.add(delta),
            Some(_) | None => {
                *newest = parts.len();
                let mut part = Part::of(delta);
                part.add(delta);
                parts.push(part);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::stripes::Key;
    use crate::metering::accumulator::{Sample, SkipReason};
    use crate::model::{Lsn, Quantity, Timestamp};

    fn kind_of(meter: u32) -> Kind {
        [Kind::Count, Kind::Sum, Kind::Max, Kind::Last][meter as usize % 4]
    }

    fn any_deltas() -> impl Strategy<Value = Vec<Delta>> {
        let units =
            prop_oneof![5 => (-9..9_i128).prop_map(Ok), 1 => Just(Err(SkipReason::Missing))];
        let one = (0..70_u32, 0..3_u32, -5..5_i32, units, 0..9_i64);
        prop::collection::vec(one, 0..60).prop_map(|all| {
            let numbered = all.into_iter().zip(1..);
            numbered
                .map(|((meter, customer, hour, units, at), lsn)| Delta {
                    key: Key {
                        meter: MeterIndex(meter),
                        customer: CustomerIndex(customer),
                        hour: Hour(hour),
                    },
                    kind: kind_of(meter),
                    outcome: units.map(|units| Sample {
                        value: Quantity::from_units(units),
                        at: Timestamp::from_nanos(at),
                        lsn: Lsn(lsn),
                    }),
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn parts_come_to_what_the_deltas_come_to(deltas in any_deltas()) {
            let mut expected: BTreeMap<(MeterIndex, Hour), (Accumulator, u128)> = BTreeMap::new();
            for delta in &deltas {
                let (all, magnitude) = expected.entry((delta.key.meter, delta.key.hour)).or_default();
                match delta.outcome {
                    Ok(sample) => {
                        all.add(delta.kind, sample);
                        *magnitude += sample.value.magnitude();
                    }
                    Err(reason) => all.skip(reason),
                }
            }
            let mut found: BTreeMap<(MeterIndex, Hour), (Accumulator, u128)> = BTreeMap::new();
            for part in parts(&deltas) {
                let (all, magnitude) = found.entry((part.meter, part.hour)).or_default();
                all.merge(part.kind, &part.accumulator);
                *magnitude += part.magnitude;
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_record_of_one_hour_and_few_meters_has_a_part_for_each_meter() {
        let delta = |meter: u32, customer: u32| Delta {
            key: Key {
                meter: MeterIndex(meter),
                customer: CustomerIndex(customer),
                hour: Hour(492_000),
            },
            kind: Kind::Count,
            outcome: Err(SkipReason::Missing),
        };
        let deltas: Vec<_> = (0..900).map(|event| delta(event % 3, event)).collect();
        let found: Vec<_> = parts(&deltas).iter().map(|part| part.meter.0).collect();
        assert_eq!(found, [0, 1, 2]);
    }
}
