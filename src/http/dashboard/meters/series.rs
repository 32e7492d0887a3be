//! What a meter has counted over time, for charts and sparks.

use std::collections::BTreeMap;

use super::range::Range;
use crate::engine::query::{Bucket, Interval, UsageItem};
use crate::engine::{Engine, UsageError, UsageQuery};
use crate::metering::Kind;
use crate::model::{CustomerId, Meter, Quantity, Timestamp};

/// Customers that a chart tells apart; the colours of the chart are eight.
pub(super) const TOP_MAX: usize = 7;

/// What one colour of a chart shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) name: String,
    /// Of each bar; nothing where a largest or last value has no event.
    pub(super) values: Vec<Option<Quantity>>,
}

/// The last 24 hours of a meter.
#[derive(Debug)]
pub(super) struct Day {
    pub(super) hours: Vec<Quantity>,
    pub(super) total: Quantity,
    /// Events that were let through and not counted.
    pub(super) skipped: u64,
    /// The last hour with an event.
    pub(super) last_at: Option<Timestamp>,
}

/// What all customers together have used.
struct Everyone {
    total: Quantity,
    buckets: Vec<Bucket>,
    skipped: u64,
}

/// The last 24 hours.
///
/// # Errors
/// [`UsageError`]
pub(super) fn day(engine: &Engine, meter: &Meter, now: Timestamp) -> Result<Day, UsageError> {
    let range = Range::Day;
    let starts = range.starts(now);
    let from = starts.first().copied().unwrap_or(now);
    let all = everyone(engine, meter, (from, range.end(now)), Some(range.interval()))?;
    let last_at = all.buckets.last().map(|bucket| bucket.start);
    let hours = filled(&starts, &all.buckets).map(Option::unwrap_or_default).collect();
    Ok(Day { hours, total: all.total, skipped: all.skipped, last_at })
}

/// What was used from an instant to before another, both whole hours.
///
/// # Errors
/// [`UsageError`]
pub(super) fn total(
    engine: &Engine,
    meter: &Meter,
    from: Timestamp,
    to: Timestamp,
) -> Result<Quantity, UsageError> {
    everyone(engine, meter, (from, to), None).map(|all| all.total)
}

/// What a chart of all customers together shows.
///
/// # Errors
/// [`UsageError`]
pub(super) fn whole(
    engine: &Engine,
    meter: &Meter,
    range: Range,
    now: Timestamp,
) -> Result<Vec<Series>, UsageError> {
    let starts = range.starts(now);
    let from = starts.first().copied().unwrap_or(now);
    let all = everyone(engine, meter, (from, range.end(now)), Some(range.interval()))?;
    let name = meter.measurement_unit.clone();
    Ok(vec![Series { name, values: shown(meter, filled(&starts, &all.buckets)) }])
}

/// What a chart of the largest customers shows, largest first; what adds up also with all the others.
///
/// # Errors
/// [`UsageError`]
pub(super) fn by_customer(
    engine: &Engine,
    meter: &Meter,
    range: Range,
    now: Timestamp,
) -> Result<Vec<Series>, UsageError> {
    let starts = range.starts(now);
    let from = starts.first().copied().unwrap_or(now);
    let end = range.end(now);
    let all = everyone(engine, meter, (from, end), Some(range.interval()))?;
    let largest = largest(engine, meter, (from, end), Some(range.interval()))?;
    let mut series: Vec<Series> = Vec::new();
    let mut rest: Vec<Quantity> =
        filled(&starts, &all.buckets).map(Option::unwrap_or_default).collect();
    for item in largest {
        let values: Vec<_> = filled(&starts, &item.buckets).collect();
        for (rest, value) in rest.iter_mut().zip(&values) {
            let value = value.unwrap_or_default().as_units();
            *rest = Quantity::from_units(rest.as_units().saturating_sub(value));
        }
        let name = item.customer_id.to_string();
        series.push(Series { name, values: shown(meter, values.into_iter()) });
    }
    let adds_up = match Kind::from(&meter.aggregation) {
        Kind::Count | Kind::Sum => true,
        Kind::Max | Kind::Last => false,
    };
    if adds_up && rest.iter().any(|value| *value != Quantity::ZERO) {
        let values = rest.into_iter().map(Some).collect();
        series.push(Series { name: "all others".to_owned(), values });
    }
    Ok(series)
}

/// Customers of a page.
const CUSTOMERS_MAX: usize = 50;

/// Those who have used most from an instant to before another, largest first; or one of them.
///
/// # Errors
/// [`UsageError`]
pub(super) fn customers(
    engine: &Engine,
    meter: &Meter,
    customer_id: Option<CustomerId>,
    (start, end): (Timestamp, Timestamp),
) -> Result<Vec<UsageItem>, UsageError> {
    let is_unknown = |id: &CustomerId| engine.customer(id).is_none();
    if customer_id.as_ref().is_some_and(is_unknown) {
        return Ok(Vec::new());
    }
    let query = UsageQuery {
        meter_id: Some(meter.id.clone()),
        customer_id,
        start,
        end,
        interval: None,
        offset: 0,
        limit: CUSTOMERS_MAX,
    };
    Ok(engine.usage(&query)?.items)
}

/// The customers that have used most, with their buckets.
fn largest(
    engine: &Engine,
    meter: &Meter,
    (start, end): (Timestamp, Timestamp),
    interval: Option<Interval>,
) -> Result<Vec<UsageItem>, UsageError> {
    let query = UsageQuery {
        meter_id: Some(meter.id.clone()),
        customer_id: None,
        start,
        end,
        interval,
        offset: 0,
        limit: TOP_MAX,
    };
    Ok(engine.usage(&query)?.items)
}

fn everyone(
    engine: &Engine,
    meter: &Meter,
    (start, end): (Timestamp, Timestamp),
    interval: Option<Interval>,
) -> Result<Everyone, UsageError> {
    let query = UsageQuery {
        meter_id: Some(meter.id.clone()),
        customer_id: None,
        start,
        end,
        interval,
        offset: 0,
        limit: usize::MAX,
    };
    let mut buckets: BTreeMap<Timestamp, Quantity> = BTreeMap::new();
    let mut all = Everyone { total: Quantity::ZERO, buckets: Vec::new(), skipped: 0 };
    let kind = Kind::from(&meter.aggregation);
    let joined = |left: Quantity, right: Quantity| match kind {
        Kind::Count | Kind::Sum => left.checked_add(right).unwrap_or(left),
        Kind::Max => left.max(right),
        Kind::Last => right,
    };
    for item in engine.usage(&query)?.items {
        all.total = joined(all.total, item.total);
        all.skipped += item.skipped.missing + item.skipped.not_a_number + item.skipped.out_of_range;
        for bucket in item.buckets {
            let value = buckets.entry(bucket.start).or_default();
            *value = joined(*value, bucket.value);
        }
    }
    all.buckets = buckets.into_iter().map(|(start, value)| Bucket { start, value }).collect();
    Ok(all)
}

/// The value of each bar; nothing where no event is. Buckets are in order, and begin with bars.
fn filled<'b>(
    starts: &'b [Timestamp],
    buckets: &'b [Bucket],
) -> impl Iterator<Item = Option<Quantity>> + 'b {
    let mut buckets = buckets.iter().peekable();
    starts.iter().map(move |start| {
        buckets.next_if(|bucket| bucket.start <= *start).map(|bucket| bucket.value)
    })
}

/// Where nothing was counted, nothing was used; a largest or last value is not known there.
fn shown(meter: &Meter, values: impl Iterator<Item = Option<Quantity>>) -> Vec<Option<Quantity>> {
    let empty = match Kind::from(&meter.aggregation) {
        Kind::Count | Kind::Sum => Some(Quantity::ZERO),
        Kind::Max | Kind::Last => None,
    };
    values.map(|value| value.or(empty)).collect()
}
