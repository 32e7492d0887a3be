//! Usage and lists as the model tells them: one pass over everything that was counted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::model::{Counted, Model, ONE, Skip, passes};
use crate::engine::query::{Bucket, Interval, Skipped, UsageItem};
use crate::engine::series::{MeterSeries, SeriesQuery};
use crate::engine::{CustomerFilter, EventQuery, Page, StoredEvent, UsageQuery};
use crate::metering::Kind;
use crate::model::{Customer, CustomerId, Lsn, MeterId, Period, Quantity, Timestamp};

const HOUR_NANOS: i64 = 3_600_000_000_000;

/// The start of the hour, or of `count` of them, that holds an instant.
fn floor(at: Timestamp, count: i64) -> Timestamp {
    let width = HOUR_NANOS * count;
    Timestamp::from_nanos(at.as_nanos().div_euclid(width) * width)
}

fn bucket_start(interval: Interval, at: Timestamp) -> Timestamp {
    match interval {
        Interval::Hour => floor(at, 1),
        Interval::Day => floor(at, 24),
        Interval::Month => at.month_start(),
    }
}

fn aggregate(kind: Kind, rows: &[&Counted]) -> Quantity {
    let counted = || rows.iter().filter_map(|row| Some((row, row.units.ok()?)));
    Quantity::from_units(match kind {
        Kind::Count => i128::try_from(counted().count()).unwrap() * ONE,
        Kind::Sum => counted().map(|(_, units)| units).sum(),
        Kind::Max => counted().map(|(_, units)| units).max().unwrap_or(0),
        Kind::Last => {
            counted().max_by_key(|(row, _)| (row.at, row.lsn)).map_or(0, |(_, units)| units)
        }
    })
}

fn buckets(kind: Kind, rows: &[&Counted], (interval, from): (Interval, Timestamp)) -> Vec<Bucket> {
    let mut by_start: BTreeMap<Timestamp, Vec<&Counted>> = BTreeMap::new();
    for row in rows {
        by_start.entry(bucket_start(interval, row.at)).or_default().push(row);
    }
    let buckets = by_start
        .into_iter()
        .map(|(start, rows)| Bucket { start: start.max(from), value: aggregate(kind, &rows) });
    buckets.collect()
}

fn skipped(rows: &[&Counted]) -> Skipped {
    let count = |reason| rows.iter().filter(|row| row.units == Err(reason)).count() as u64;
    Skipped {
        missing: count(Skip::Missing),
        not_a_number: count(Skip::NotANumber),
        out_of_range: count(Skip::OutOfRange),
    }
}

impl Model {
    /// What a usage query must answer: the items, and the total when there is one.
    pub(super) fn usage(&self, query: &UsageQuery) -> (Vec<UsageItem>, Option<Quantity>) {
        let meter = query.meter_id.as_ref().map(|id| {
            self.meters.iter().position(|meter| meter.id == *id).expect("tests ask for known ones")
        });
        let customer = query.customer_id.as_ref().map(|id| self.customer(id.as_str()).unwrap());
        match (meter, customer) {
            (Some(meter), Some(customer)) => {
                let item = self.item(query, meter, customer);
                let total = Some(item.total);
                (vec![item], total)
            }
            (Some(meter), None) => (self.by_customer(query, meter), None),
            (None, Some(customer)) => (self.by_meter(query, customer), None),
            (None, None) => (Vec::new(), None),
        }
    }

    fn rows(&self, query: &UsageQuery, meter: usize, customer: usize) -> Vec<&Counted> {
        let rows = self.rows_of_all(query.start..query.end, meter).into_iter();
        rows.filter(|row| row.customer == customer).collect()
    }

    fn rows_of_all(&self, instants: Range<Timestamp>, meter: usize) -> Vec<&Counted> {
        let hours = floor(instants.start, 1)..floor(instants.end, 1);
        let wanted = |row: &&Counted| row.meter == meter && hours.contains(&floor(row.at, 1));
        self.counted.iter().filter(wanted).collect()
    }

    /// What everybody together has used, a meter after the other.
    pub(super) fn series(&self, query: &SeriesQuery) -> Vec<MeterSeries> {
        let place = |id: &MeterId| self.meters.iter().position(|meter| meter.id == *id).unwrap();
        let of_meter = |id: &MeterId| {
            let meter = place(id);
            let rows = self.rows_of_all(query.start..query.end, meter);
            MeterSeries {
                meter_id: id.clone(),
                total: aggregate(self.kind(meter), &rows),
                events: rows.iter().filter(|row| row.units.is_ok()).count() as u64,
                buckets: buckets(self.kind(meter), &rows, (query.interval, query.start)),
                skipped: skipped(&rows),
                backfilling: false,
            }
        };
        query.meter_ids.iter().map(of_meter).collect()
    }

    /// The customers with counted events in a period, largest total first.
    pub(super) fn ranked(&self, period: Period, meter: usize) -> Vec<(CustomerId, Quantity)> {
        let rows = self.rows_of_all(period.start..period.end, meter);
        let mut totals: Vec<(CustomerId, Quantity)> = Vec::new();
        for (place, customer) in self.customers.iter().enumerate() {
            let of_one = |row: &&&Counted| row.customer == place && row.units.is_ok();
            let own: Vec<&Counted> = rows.iter().filter(of_one).copied().collect();
            if !own.is_empty() {
                totals.push((customer.id.clone(), aggregate(self.kind(meter), &own)));
            }
        }
        totals.sort_by_key(|(_, total)| std::cmp::Reverse(*total));
        totals
    }

    fn item(&self, query: &UsageQuery, meter: usize, customer: usize) -> UsageItem {
        let rows = self.rows(query, meter, customer);
        let kind = self.kind(meter);
        let of_width = |interval| buckets(kind, &rows, (interval, query.start));
        let buckets = query.interval.map(of_width).unwrap_or_default();
        UsageItem {
            meter_id: self.meters[meter].id.clone(),
            customer_id: self.customers[customer].id.clone(),
            total: aggregate(kind, &rows),
            buckets,
            skipped: skipped(&rows),
            backfilling: false,
        }
    }

    /// The customers of a meter that have anything, largest total first.
    fn by_customer(&self, query: &UsageQuery, meter: usize) -> Vec<UsageItem> {
        let with_rows = (0..self.customers.len())
            .filter(|customer| !self.rows(query, meter, *customer).is_empty());
        let mut items: Vec<_> =
            with_rows.map(|customer| self.item(query, meter, customer)).collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.total));
        items.into_iter().skip(query.offset).take(query.limit).collect()
    }

    /// Every meter that counts, and of the archived ones those that have anything.
    fn by_meter(&self, query: &UsageQuery, customer: usize) -> Vec<UsageItem> {
        let shown = (0..self.meters.len()).filter(|meter| {
            !self.meters[*meter].archived || !self.rows(query, *meter, customer).is_empty()
        });
        let items = shown.map(|meter| self.item(query, meter, customer));
        items.skip(query.offset).take(query.limit).collect()
    }

    /// The events that a query must list.
    pub(super) fn list(&self, query: &EventQuery) -> Vec<StoredEvent> {
        let meter = query.meter_id.as_ref();
        let meter = meter.and_then(|id| self.meters.iter().find(|meter| meter.id == *id));
        let wanted = self.events.iter().rev().filter(|kept| {
            query.customer_id.as_ref().is_none_or(|id| id.as_str() == kept.sent.customer)
                && query.event_name.as_ref().is_none_or(|name| *name == kept.sent.name)
                && query.start.is_none_or(|start| start <= kept.at)
                && query.end.is_none_or(|end| kept.at < end)
                && query.below.is_none_or(|below| kept.lsn < below.0)
                && meter.is_none_or(|meter| {
                    meter.event_name == kept.sent.name && passes(meter, &kept.sent)
                })
        });
        wanted.skip(query.offset).take(query.limit).map(super::model::Kept::stored).collect()
    }

    /// The customers that a list must show.
    pub(super) fn customers(&self, filter: &CustomerFilter, page: Page) -> Vec<Customer> {
        let lower = |text: &String| text.to_lowercase();
        let wanted = self.customers.iter().rev().filter(|customer| {
            filter
                .email
                .as_ref()
                .is_none_or(|email| !email.is_empty() && lower(email) == lower(&customer.email))
                && filter
                    .name
                    .as_ref()
                    .is_none_or(|part| lower(&customer.name).contains(&lower(part)))
                && filter.created_from.is_none_or(|from| from <= customer.created_at)
                && filter.created_to.is_none_or(|to| customer.created_at <= to)
        });
        wanted.skip(page.offset).take(page.limit).cloned().collect()
    }

    /// The hours that have any event, and the one before and after each.
    pub(super) fn hours(&self) -> Vec<Timestamp> {
        let around = self.events.iter().flat_map(|kept| {
            let hour = floor(kept.at, 1).as_nanos();
            [hour - HOUR_NANOS, hour, hour + HOUR_NANOS].map(Timestamp::from_nanos)
        });
        around.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn last_lsn(&self) -> Lsn {
        Lsn(self.lsn)
    }
}
