//! A query's way: copy accumulators out of their stripes, add the hours on disk, answer.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::engine::backfill::Backfills;
use crate::engine::catalogue::Catalogue;
use crate::engine::shared::Shared;
use crate::engine::usage_rows::{self, Grain};
use crate::metering::accumulator::{Accumulator, Kind, SkipReason};
use crate::model::{
    CustomerId, CustomerIndex, Hour, Lsn, Meter, MeterId, MeterIndex, Quantity, Timestamp,
};
use crate::storage::rows;

/// The width of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// One UTC hour.
    Hour,
    /// One UTC day.
    Day,
    /// One UTC month.
    Month,
}

/// Which usage is asked for. At least one of meter and customer is given.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// This meter, or every meter.
    pub meter_id: Option<MeterId>,
    /// This customer, or every one.
    pub customer_id: Option<CustomerId>,
    /// From the start of this hour.
    pub start: Timestamp,
    /// To before the start of this hour.
    pub end: Timestamp,
    /// Also split into buckets of this width; the first and last are cut at start and end.
    pub interval: Option<Interval>,
    /// Items to skip.
    pub offset: usize,
    /// Items to return at most.
    pub limit: usize,
}

/// Usage of one meter by one customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageItem {
    /// The meter.
    pub meter_id: MeterId,
    /// The customer.
    pub customer_id: CustomerId,
    /// The aggregation over the whole time asked for.
    pub total: Quantity,
    /// The aggregation of each bucket that has events, oldest first.
    pub buckets: Vec<Bucket>,
    /// Events of the meter's name and filter that were not counted.
    pub skipped: Skipped,
    /// Whether the meter has yet to count events that came before it was made.
    pub backfilling: bool,
}

/// The aggregation over one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The first instant of the bucket, or of the time asked for when that is later.
    pub start: Timestamp,
    /// The aggregation.
    pub value: Quantity,
}

/// Events that a meter saw and did not count, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The key was missing.
    pub missing: u64,
    /// The value was not a number.
    pub not_a_number: u64,
    /// The magnitude was 10^15 or more.
    pub out_of_range: u64,
}

impl Skipped {
    /// What an accumulator has not counted.
    pub fn of(whole: &Accumulator) -> Self {
        Self {
            missing: whole.skipped(SkipReason::Missing),
            not_a_number: whole.skipped(SkipReason::NotANumber),
            out_of_range: whole.skipped(SkipReason::OutOfRange),
        }
    }
}

/// The answer to a [`UsageQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// With one meter its customers, largest total first; with one customer every meter.
    pub items: Vec<UsageItem>,
    /// The aggregation when both meter and customer were given.
    pub total: Option<Quantity>,
    /// The state the answer reflects: exact for one item, a lower bound for several.
    pub as_of_lsn: Lsn,
}

/// Why usage could not be told.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// No such meter.
    #[error("meter does not exist")]
    UnknownMeter,
    /// No such customer.
    #[error("customer does not exist")]
    UnknownCustomer,
    /// The hours on disk could not be read.
    #[error("read usage from disk")]
    Storage(#[from] usage_rows::Error),
}

impl From<rows::Error> for UsageError {
    fn from(error: rows::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// A meter, and whether it had yet to count earlier events before its accumulators were looked at.
#[derive(Clone, Copy)]
struct Subject<'m> {
    meter: &'m Meter,
    backfilling: bool,
}

impl<'m> Subject<'m> {
    fn of(shared: &Shared, meter: &'m Meter) -> Self {
        let is_pending = |backfills: &Backfills| backfills.is_pending(meter.index);
        Self { meter, backfilling: shared.state.with_backfills(is_pending) }
    }
}

/// Hours of one meter and customer, oldest first.
pub(in crate::engine) type Series = Vec<(Hour, Accumulator)>;

/// Answers a query.
///
/// # Errors
/// [`UsageError`]
pub(in crate::engine) fn usage(shared: &Shared, query: &UsageQuery) -> Result<Usage, UsageError> {
    let catalogue = shared.state.catalogue();
    let meter = match &query.meter_id {
        None => None,
        Some(id) => Some(catalogue.meter(id).ok_or(UsageError::UnknownMeter)?),
    };
    let customer = match &query.customer_id {
        None => None,
        Some(id) => Some(
            shared
                .state
                .with_accounts(|accounts| accounts.index(id.as_str()))
                .ok_or(UsageError::UnknownCustomer)?,
        ),
    };
    match (meter, customer) {
        (Some(meter), Some(customer)) => of_pair(shared, query, meter, customer),
        (Some(meter), None) => of_meter(shared, query, meter),
        (None, Some(customer)) => of_customer(shared, query, &catalogue, customer),
        (None, None) => {
            Ok(Usage { items: Vec::new(), total: None, as_of_lsn: shared.state.applied() })
        }
    }
}

fn hours(query: &UsageQuery) -> Range<Hour> {
    Hour::of(query.start)..Hour::of(query.end)
}

fn grain(query: &UsageQuery) -> Grain {
    match query.interval {
        Some(Interval::Hour) => Grain::Hours,
        Some(Interval::Day | Interval::Month) | None => Grain::Days,
    }
}

/// The hours on disk and those in memory; the first is empty when the range begins in memory.
fn split(hours: &Range<Hour>, memory_from: Hour) -> (Range<Hour>, Range<Hour>) {
    let line = memory_from.clamp(hours.start, hours.end.max(hours.start));
    (hours.start..line, line..hours.end)
}

fn of_pair(
    shared: &Shared,
    query: &UsageQuery,
    meter: &Meter,
    customer: CustomerIndex,
) -> Result<Usage, UsageError> {
    let subject = Subject::of(shared, meter);
    let (as_of_lsn, series) = pair_series(shared, query, meter.index, customer)?;
    let item = item(shared, query, subject, (customer, &series));
    Ok(Usage {
        total: item.as_ref().map(|item| item.total),
        items: item.into_iter().collect(),
        as_of_lsn,
    })
}

/// All hours of one meter and customer, and the LSN at which those in memory were copied.
pub(in crate::engine) fn pair_series(
    shared: &Shared,
    query: &UsageQuery,
    meter: MeterIndex,
    customer: CustomerIndex,
) -> Result<(Lsn, Series), UsageError> {
    let hours = hours(query);
    let applied = shared.state.applied();
    // The view is taken while the line stands still, so that no hour is in both or in neither.
    let (view, on_disk, (changed, in_memory)) = shared.state.with_memory(|memory_from, stripes| {
        let (on_disk, in_memory) = split(&hours, memory_from);
        let view = (on_disk.start < on_disk.end).then(|| shared.rows.read());
        (view, on_disk, stripes.of_pair(meter, customer, in_memory))
    });
    let mut series = match view {
        Some(view) => usage_rows::read(&view?, (meter, customer), on_disk, grain(query))?,
        None => Vec::new(),
    };
    series.extend(in_memory);
    Ok((applied.max(changed), series))
}

fn of_customer(
    shared: &Shared,
    query: &UsageQuery,
    catalogue: &Catalogue,
    customer: CustomerIndex,
) -> Result<Usage, UsageError> {
    let mut items = Vec::new();
    // Looked at first: every meter is read at this LSN or a later one.
    let as_of_lsn = shared.state.applied();
    for meter in catalogue.meters() {
        let subject = Subject::of(shared, meter);
        let (_, series) = pair_series(shared, query, meter.index, customer)?;
        if !meter.archived || !series.is_empty() {
            items.extend(item(shared, query, subject, (customer, &series)));
        }
    }
    let items = items.into_iter().skip(query.offset).take(query.limit).collect();
    Ok(Usage { items, total: None, as_of_lsn })
}

fn of_meter(shared: &Shared, query: &UsageQuery, meter: &Meter) -> Result<Usage, UsageError> {
    let as_of_lsn = shared.state.applied();
    let subject = Subject::of(shared, meter);
    let hours = hours(query);
    let (view, on_disk, in_memory) = loop {
        let line = shared.state.memory_from();
        let (on_disk, in_memory) = split(&hours, line);
        let (view, found) =
            (shared.rows.read()?, shared.state.stripes().of_meter(meter.index, &in_memory));
        // Going over all stripes is too long to hold the line: when it moved meanwhile, once an hour
        // at most, hours may be in both or in neither.
        if shared.state.memory_from() == line {
            break (view, on_disk, found);
        }
    };
    let mut series: BTreeMap<CustomerIndex, Series> = BTreeMap::new();
    if on_disk.start < on_disk.end {
        let count = shared.state.with_accounts(crate::engine::accounts::Accounts::next_index);
        for customer in (0..count.0).map(CustomerIndex) {
            let pair = (meter.index, customer);
            let found = usage_rows::read(&view, pair, on_disk.clone(), grain(query))?;
            if !found.is_empty() {
                series.insert(customer, found);
            }
        }
    }
    for (key, accumulator) in in_memory {
        series.entry(key.customer).or_default().push((key.hour, accumulator));
    }
    let kind = Kind::from(&meter.aggregation);
    let mut totals: Vec<(Quantity, CustomerIndex)> = series
        .iter_mut()
        .map(|(customer, series)| {
            series.sort_unstable_by_key(|(hour, _)| *hour);
            (merged(kind, series).value(kind), *customer)
        })
        .collect();
    totals.sort_unstable_by(|left, right| right.0.cmp(&left.0).then(left.1.cmp(&right.1)));
    let page = totals.into_iter().skip(query.offset).take(query.limit);
    let items = page
        .filter_map(|(_, customer)| {
            item(shared, query, subject, (customer, series.get(&customer)?))
        })
        .collect();
    Ok(Usage { items, total: None, as_of_lsn })
}

pub(in crate::engine) fn merged(kind: Kind, series: &[(Hour, Accumulator)]) -> Accumulator {
    let mut whole = Accumulator::default();
    for (_, accumulator) in series {
        whole.merge(kind, accumulator);
    }
    whole
}

fn item(
    shared: &Shared,
    query: &UsageQuery,
    Subject { meter, backfilling }: Subject<'_>,
    (customer, series): (CustomerIndex, &[(Hour, Accumulator)]),
) -> Option<UsageItem> {
    let kind = Kind::from(&meter.aggregation);
    let customer_id = shared.state.with_accounts(|accounts| accounts.id_at(customer).cloned())?;
    let whole = merged(kind, series);
    let buckets = match query.interval {
        None => Vec::new(),
        Some(interval) => buckets(kind, series, (interval, query.start)),
    };
    Some(UsageItem {
        meter_id: meter.id.clone(),
        customer_id,
        total: whole.value(kind),
        buckets,
        skipped: Skipped::of(&whole),
        backfilling,
    })
}

/// The buckets of this width that have events, oldest first; the first begins at `from` at the earliest.
pub(in crate::engine) fn buckets(
    kind: Kind,
    series: &[(Hour, Accumulator)],
    (interval, from): (Interval, Timestamp),
) -> Vec<Bucket> {
    let parts =
        series.chunk_by(|left, right| start_of(interval, left.0) == start_of(interval, right.0));
    let buckets = parts.filter_map(|hours| {
        let (first, _) = hours.first()?;
        let start = start_of(interval, *first).max(from);
        Some(Bucket { start, value: merged(kind, hours).value(kind) })
    });
    buckets.collect()
}

fn start_of(interval: Interval, hour: Hour) -> Timestamp {
    match interval {
        Interval::Hour => hour.start(),
        Interval::Day => hour.day_start().start(),
        Interval::Month => hour.start().month_start(),
    }
}
