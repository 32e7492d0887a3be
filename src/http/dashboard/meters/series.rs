//! What a meter has counted over time, for charts and sparks: of everybody from the totals that the engine
//! keeps, of single customers for those alone who have used most, so that no page looks at all of them.

use super::range::Range;
use crate::engine::query::{Bucket, UsageItem};
use crate::engine::series::{MeterSeries, SeriesQuery};
use crate::engine::{Engine, UsageError, UsageQuery};
use crate::metering::Kind;
use crate::model::{CustomerId, Meter, MeterId, Quantity, Timestamp};

/// Customers that a chart tells apart; the colours of the chart are eight.
const CHARTED_MAX: usize = 7;
/// Customers of a page.
const LISTED_MAX: usize = 50;

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

/// The last 24 hours of several meters, in their order.
///
/// # Errors
/// [`UsageError`]
pub(super) fn days(
    engine: &Engine,
    ids: Vec<MeterId>,
    now: Timestamp,
) -> Result<Vec<Day>, UsageError> {
    let starts = Range::Day.starts(now);
    let found = everyone(engine, ids, Range::Day, now)?;
    let day = |all: MeterSeries| {
        let last_at = all.buckets.last().map(|bucket| bucket.start);
        let hours = filled(&starts, &all.buckets).map(Option::unwrap_or_default).collect();
        let skipped = all.skipped.missing + all.skipped.not_a_number + all.skipped.out_of_range;
        Day { hours, total: all.total, skipped, last_at }
    };
    Ok(found.into_iter().map(day).collect())
}

/// What was used in the UTC month of an instant, and from the first event to the end of that month.
///
/// # Errors
/// [`UsageError`]
pub(super) fn month_and_ever(
    engine: &Engine,
    meter: &Meter,
    now: Timestamp,
) -> Result<(Quantity, Quantity), UsageError> {
    let since = |start| -> Result<Quantity, UsageError> {
        let query = SeriesQuery {
            meter_ids: vec![meter.id.clone()],
            start,
            end: now.next_month_start(),
            interval: Range::Year.interval(),
        };
        let found = engine.series(&query)?.items;
        Ok(found.first().map_or(Quantity::ZERO, |all| all.total))
    };
    Ok((since(now.month_start())?, since(Timestamp::default())?))
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
    let found = everyone(engine, vec![meter.id.clone()], range, now)?;
    let name = &meter.measurement_unit;
    let series = found.iter().map(|all| Series {
        name: name.clone(),
        values: shown(meter, filled(&starts, &all.buckets)),
    });
    Ok(series.collect())
}

/// What a chart of the largest customers of this month shows, largest first; what adds up also with all the
/// others. Until it is known who they are, all are others.
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
    let all = everyone(engine, vec![meter.id.clone()], range, now)?;
    let all = all.first().map_or(&[][..], |all| &all.buckets);
    let mut rest: Vec<Quantity> = filled(&starts, all).map(Option::unwrap_or_default).collect();
    let mut series: Vec<Series> = Vec::new();
    for customer in largest(engine, meter, CHARTED_MAX)?.unwrap_or_default() {
        let buckets = of_customer(engine, meter, customer.clone(), range, now)?;
        let values: Vec<_> = filled(&starts, &buckets).collect();
        for (rest, value) in rest.iter_mut().zip(&values) {
            let value = value.unwrap_or_default().as_units();
            *rest = Quantity::from_units(rest.as_units().saturating_sub(value));
        }
        let name = customer.to_string();
        series.push(Series { name, values: shown(meter, values.into_iter()) });
    }
    let adds_up = match Kind::from(&meter.aggregation) {
        Kind::Count | Kind::Sum => true,
        Kind::Max | Kind::Last => false,
    };
    let is_any = rest.iter().any(|value| *value != Quantity::ZERO);
    if series.is_empty() || (adds_up && is_any) {
        let values = rest.into_iter().map(Some).collect();
        series.push(Series { name: "all others".to_owned(), values });
    }
    Ok(series)
}

/// What those have used this month, by hour, who have used most, largest first, or one customer; nothing while
/// it is being found who they are.
///
/// # Errors
/// [`UsageError`]
pub(super) fn customers(
    engine: &Engine,
    meter: &Meter,
    one: Option<CustomerId>,
    now: Timestamp,
) -> Result<Option<Vec<UsageItem>>, UsageError> {
    let ids = match one {
        Some(id) => Some(engine.customer(&id).map(|customer| customer.id).into_iter().collect()),
        None => largest(engine, meter, LISTED_MAX)?,
    };
    let Some(ids): Option<Vec<CustomerId>> = ids else { return Ok(None) };
    let mut items = Vec::new();
    for id in ids {
        let query = UsageQuery {
            meter_id: Some(meter.id.clone()),
            customer_id: Some(id),
            start: now.month_start(),
            end: now.next_month_start(),
            interval: Some(Range::Day.interval()),
            offset: 0,
            limit: 1,
        };
        // Of a customer that has used nothing the engine gives an item, too.
        items.extend(engine.usage(&query)?.items);
    }
    Ok(Some(items))
}

/// Who has used most this month; nothing until that was found.
fn largest(
    engine: &Engine,
    meter: &Meter,
    limit: usize,
) -> Result<Option<Vec<CustomerId>>, UsageError> {
    let found = engine.top_customers(&meter.id)?.month;
    let ids = found.map(|ranking| ranking.items.into_iter().map(|item| item.customer_id));
    Ok(ids.map(|ids| ids.take(limit).collect()))
}

fn of_customer(
    engine: &Engine,
    meter: &Meter,
    customer: CustomerId,
    range: Range,
    now: Timestamp,
) -> Result<Vec<Bucket>, UsageError> {
    let query = UsageQuery {
        meter_id: Some(meter.id.clone()),
        customer_id: Some(customer),
        start: range.starts(now).first().copied().unwrap_or(now),
        end: range.end(now),
        interval: Some(range.interval()),
        offset: 0,
        limit: 1,
    };
    let items = engine.usage(&query)?.items;
    Ok(items.into_iter().next().map(|item| item.buckets).unwrap_or_default())
}

fn everyone(
    engine: &Engine,
    meter_ids: Vec<MeterId>,
    range: Range,
    now: Timestamp,
) -> Result<Vec<MeterSeries>, UsageError> {
    let query = SeriesQuery {
        meter_ids,
        start: range.starts(now).first().copied().unwrap_or(now),
        end: range.end(now),
        interval: range.interval(),
    };
    Ok(engine.series(&query)?.items)
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
