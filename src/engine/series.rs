//! What all customers together used, hour by hour: for charts.
//!
//! It is read from the accumulators of [`EVERYBODY`], so that it costs the same with one customer and with a
//! million.

use crate::engine::Engine;
use crate::engine::backfill::Backfills;
use crate::engine::everybody::EVERYBODY;
use crate::engine::query::{self, Bucket, Interval, Skipped, UsageError, UsageQuery};
use crate::metering::accumulator::Kind;
use crate::model::{Lsn, MeterId, Quantity, Timestamp};

/// Which series are asked for.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    /// Of these meters.
    pub meter_ids: Vec<MeterId>,
    /// From the start of this hour.
    pub start: Timestamp,
    /// To before the start of this hour.
    pub end: Timestamp,
    /// In buckets of this width; the first and last are cut at start and end.
    pub interval: Interval,
}

/// What all customers together used of one meter. The aggregation is over all of their events, as if they
/// were one customer: of a *last* meter the newest value of any, of a *max* meter the largest of any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterSeries {
    /// The meter.
    pub meter_id: MeterId,
    /// The aggregation over the whole time asked for.
    pub total: Quantity,
    /// Events that were counted.
    pub events: u64,
    /// The aggregation of each bucket that has events, oldest first.
    pub buckets: Vec<Bucket>,
    /// Events of the meter's name and filter that were not counted.
    pub skipped: Skipped,
    /// Whether the meter has yet to count events that came before it was made.
    pub backfilling: bool,
}

/// The answer to a [`SeriesQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// In the order of the query.
    pub items: Vec<MeterSeries>,
    /// Every item reflects the state at this LSN or a later one; exact for one item.
    pub as_of_lsn: Lsn,
}

impl Engine {
    /// What all customers together used. May read the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`UsageError`]
    pub fn series(&self, query: &SeriesQuery) -> Result<Series, UsageError> {
        let catalogue = self.shared.state.catalogue();
        let usage = UsageQuery {
            meter_id: None,
            customer_id: None,
            start: query.start,
            end: query.end,
            interval: Some(query.interval),
            offset: 0,
            limit: 0,
        };
        let mut as_of_lsn: Option<Lsn> = None;
        let mut items = Vec::with_capacity(query.meter_ids.len());
        for id in &query.meter_ids {
            let meter = catalogue.meter(id).ok_or(UsageError::UnknownMeter)?;
            let kind = Kind::from(&meter.aggregation);
            let is_pending = |all: &Backfills| all.is_pending(meter.index);
            let backfilling = self.shared.state.with_backfills(is_pending);
            let (lsn, series) = query::pair_series(&self.shared, &usage, meter.index, EVERYBODY)?;
            as_of_lsn = Some(as_of_lsn.map_or(lsn, |earlier| earlier.min(lsn)));
            let whole = query::merged(kind, &series);
            items.push(MeterSeries {
                meter_id: meter.id.clone(),
                total: whole.value(kind),
                events: whole.count(),
                buckets: query::buckets(kind, &series, (query.interval, query.start)),
                skipped: Skipped::of(&whole),
                backfilling,
            });
        }
        let as_of_lsn = as_of_lsn.unwrap_or_else(|| self.shared.state.applied());
        Ok(Series { items, as_of_lsn })
    }
}
