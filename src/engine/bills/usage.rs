//! Usage period by period, and what the next invoices would be: from the segments' accumulators alone.

use std::sync::Arc;

use super::overage;
use super::payments::invoice_at;
use super::{BillsError, MeterUsage, Upcoming, UpcomingInvoices, UsageHistoryQuery, UsagePeriod};
use crate::billing::{self, Bill, Closed, Consumption, Overflow, Prices, Reading, close_cycle};
use crate::engine::books::Books;
use crate::engine::books::routes::SegmentKey;
use crate::engine::catalogue::Catalogue;
use crate::engine::shared::Shared;
use crate::engine::{Engine, Page};
use crate::metering::accumulator::Kind;
use crate::model::alert::Span;
use crate::model::invoice::{Invoice, InvoiceCause, InvoiceLine, OverageLine};
use crate::model::subscription::{Closing, Segment};
use crate::model::{
    Currency, CustomerId, CustomerIndex, InvoiceNumber, MeterId, MeterIndex, Money, Period, Price,
    Quantity, Rate, Subscription, SubscriptionId, SubscriptionIndex, UnitPrice,
};

/// What a segment has counted of each meter of its price, in the price's order, with every event of it
/// that is there: also those whose time has not come.
pub(in crate::engine) fn readings(
    shared: &Shared,
    subscription: &Subscription,
    segment: &Segment,
) -> Vec<Reading> {
    let catalogue = shared.state.catalogue();
    shared.state.with_books(|books| {
        let price = books.price(segment.terms);
        let keys = price.map(Price::meters).unwrap_or_default().iter().map(|priced| {
            let (subscription, meter) = (subscription.index, priced.meter);
            let key = SegmentKey { subscription, segment: segment.number, meter };
            (key, catalogue.kind(meter).unwrap_or(Kind::Count))
        });
        let segments = shared.state.segments();
        segments.read(subscription.customer, segment.period, keys, |counted, kind| Reading {
            consumed: counted.value(kind),
            lsns: counted.lsns(),
        })
    })
}

impl Engine {
    /// Usage of a subscription period by period: the running one first, then those that are closing,
    /// then those that were billed, newest first. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn usage_history(
        &self,
        id: &SubscriptionId,
        query: &UsageHistoryQuery,
        page: Page,
    ) -> Result<Vec<UsagePeriod>, BillsError> {
        let catalogue = self.shared.state.catalogue();
        let wants = |period: &Period| {
            query.from.is_none_or(|from| period.end >= from)
                && query.to.is_none_or(|to| period.start <= to)
        };
        let index = self.shared.state.with_books(|books| {
            books.subscription_by_id(id).map(|subscription| subscription.index)
        });
        let index = index.ok_or(BillsError::NotFound("subscription"))?;
        let found = steady(&self.shared, index, |subscription, billed| {
            let open = open_segments(&self.shared, subscription).into_iter().rev();
            let open = open.filter(|open| wants(&open.closing.segment.period));
            let open: Vec<UsagePeriod> = open.map(|open| open.period(&catalogue)).collect();
            (open, billed)
        });
        let (open, billed) = found.ok_or(BillsError::NotFound("subscription"))?;
        let mut left = page.offset.saturating_sub(open.len());
        let open = open.into_iter().skip(page.offset).take(page.limit);
        let mut periods: Vec<UsagePeriod> = open.collect();
        for number in billed {
            if periods.len() == page.limit {
                break;
            }
            let invoice = invoice_at(&self.shared, number)?;
            let closed = matches!(invoice.cause, InvoiceCause::Closed(_));
            let Some(period) = invoice.period.filter(|period| closed && wants(period)) else {
                continue;
            };
            if left > 0 {
                left -= 1;
                continue;
            }
            periods.push(billed_period(&invoice, period, &catalogue));
        }
        if let Some(wanted) = &query.meter_id {
            for period in &mut periods {
                period.meters.retain(|meter| meter.meter_id == *wanted);
            }
        }
        Ok(periods)
    }

    /// What the next invoices of a customer would be, from the counters alone.
    ///
    /// # Errors
    /// [`BillsError::NotFound`]
    pub fn upcoming_invoices(&self, id: &CustomerId) -> Result<UpcomingInvoices, BillsError> {
        let state = &self.shared.state;
        let customer = state.with_accounts(|accounts| accounts.index(id.as_str()));
        let customer = customer.ok_or(BillsError::NotFound("customer"))?;
        let as_of_lsn = state.applied();
        let own: Vec<SubscriptionIndex> = state
            .with_books(|books| books.of_customer(customer).map(|found| found.index).collect());
        let mut items: Vec<Upcoming> = own
            .into_iter()
            .filter_map(|index| steady(&self.shared, index, |found, _| self.upcoming_of(found)))
            .flatten()
            .collect();
        items.sort_by_key(|item| (!item.closing, item.due_at));
        Ok(UpcomingInvoices { items, as_of_lsn })
    }

    /// The invoices of the segments that are open, in order of time.
    pub(super) fn upcoming_of(&self, subscription: &Subscription) -> Vec<Upcoming> {
        let catalogue = self.shared.state.catalogue();
        let open = open_segments(&self.shared, subscription).into_iter();
        open.filter_map(|open| open.upcoming(&subscription.id, &catalogue)).collect()
    }
}

/// Reads what belongs to a subscription, and its invoices, newest first, as they are at one
/// instant: when it has changed meanwhile, what it had counted may be forgotten, and `read` is
/// called again.
pub(super) fn steady<T>(
    shared: &Shared,
    index: SubscriptionIndex,
    read: impl Fn(&Subscription, Vec<InvoiceNumber>) -> T,
) -> Option<T> {
    let look = || {
        shared.state.with_books(|books| {
            let billed: Vec<_> = books.payments.invoices_of(index).collect();
            Some((Arc::clone(books.subscription(index)?), billed))
        })
    };
    loop {
        let (subscription, billed) = look()?;
        let found = read(&subscription, billed);
        if look().is_some_and(|(now, _)| Arc::ptr_eq(&now, &subscription)) {
            return Some(found);
        }
    }
}

/// The segments that are closing and then the running one, each as if it were closed now with what
/// those before it leave.
fn open_segments(shared: &Shared, subscription: &Subscription) -> Vec<OpenSegment> {
    // As if the boundary had come.
    let turned = billing::turn(subscription, shared.options.grace);
    let turned = turned.unwrap_or_else(|_| subscription.clone());
    let mut left = turned.clone();
    let mut open = Vec::new();
    for closing in left.closing.clone() {
        let has_ended = subscription.closing.contains(&closing);
        let turned = (!has_ended).then_some(&turned);
        let overage = overage(shared, subscription, turned, closing.segment.number);
        let Some((currency, closed)) = close(shared, &left, &closing, &overage) else { continue };
        let closed = closed.inspect_err(|_: &Overflow| {
            tracing::warn!(subscription = %subscription.id, "an upcoming total leaves 64 bits");
        });
        let bill = closed.ok().map(|Closed { bill, subscription }| {
            left = subscription;
            bill
        });
        open.push(OpenSegment { closing, has_ended, currency, bill });
    }
    open
}

/// A segment as if it were closed now.
fn close(
    shared: &Shared,
    subscription: &Subscription,
    closing: &Closing,
    overage: &[OverageLine],
) -> Option<(Currency, Result<Closed, Overflow>)> {
    let readings = readings(shared, subscription, &closing.segment);
    let catalogue = shared.state.catalogue();
    shared.state.with_books(|books: &Books| {
        let prices = Prices { products: books.products(), meters: catalogue.meters() };
        let currency = books.price(closing.segment.terms)?.currency;
        let consumption = Consumption { readings: &readings, overage };
        Some((currency, close_cycle(subscription, closing, consumption, prices)))
    })
}

/// Usage of a meter by a customer, and what it costs, in each open period of each subscription that bills
/// it: as it would be invoiced now. Of a subscription whose total leaves 64 bits nothing is known.
pub(in crate::engine) fn periods_of_meter(
    shared: &Shared,
    customer: CustomerIndex,
    meter: MeterIndex,
) -> Vec<MeterPeriod> {
    let kind = shared.state.catalogue().kind(meter).unwrap_or(Kind::Count);
    let own: Vec<SubscriptionIndex> = shared.state.with_books(|books| {
        let own = books.of_customer(customer);
        own.map(|subscription| subscription.index).collect()
    });
    let periods = own.into_iter().filter_map(|index| {
        steady(shared, index, |subscription, _| {
            let open = open_segments(shared, subscription);
            let parts = open.chunk_by(|left, right| left.opened_by() == right.opened_by());
            let of_parts = parts.filter_map(|parts| period_of(parts, kind, (index, meter)));
            of_parts.collect::<Vec<_>>()
        })
    });
    periods.flatten().collect()
}

/// What the open segments of one period come to of a meter; nothing when none of them bills it.
fn period_of(
    parts: &[OpenSegment],
    kind: Kind,
    (subscription, meter): (SubscriptionIndex, MeterIndex),
) -> Option<MeterPeriod> {
    let lines = parts.iter().flat_map(|part| &part.bill).flat_map(|bill| &bill.lines);
    let lines = lines.filter_map(|line| Some((line.detail.usage()?, line.amount)));
    let lines: Vec<_> = lines.filter(|(usage, _)| usage.meter == meter).collect();
    let (last, amount) = *lines.last()?;
    let counted = lines.iter().filter(|(usage, _)| usage.lsns.is_some());
    let mut levels = counted.map(|(usage, _)| usage.consumed);
    let usage = match kind {
        // What earlier segments had used stands on the last line.
        Kind::Count | Kind::Sum => last.used.total.checked_add(last.consumed)?,
        Kind::Max => levels.fold(last.used.high, Quantity::max),
        Kind::Last => levels.next_back().unwrap_or(Quantity::ZERO),
    };
    let (first, end) = (parts.first()?, parts.last()?);
    Some(MeterPeriod {
        span: Span::Subscription(subscription, first.opened_by()),
        period: Period {
            start: first.closing.segment.period.start,
            end: end.closing.segment.period.end,
        },
        usage,
        cost: Cost {
            currency: end.currency,
            amount: last.used.amount.checked_add(amount)?,
            price: match (&last.rate, lines.len()) {
                (Rate::PerUnit(price), 1) => Some(*price),
                _ => None,
            },
        },
    })
}

/// Usage of one meter in one period of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct MeterPeriod {
    /// Which period.
    pub span: Span,
    /// From the start of its first segment without an invoice to its end.
    pub period: Period,
    /// In the meter's unit. Of a last value what segments with an invoice had is not in it.
    pub usage: Quantity,
    /// What it costs.
    pub cost: Cost,
}

/// What usage of one meter costs in one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Cost {
    /// What it is paid in.
    pub currency: Currency,
    /// As it would be invoiced now.
    pub amount: Money,
    /// What each further unit costs, when that can be told: on several lines a value below nothing on one may make
    /// another dearer.
    price: Option<UnitPrice>,
}

impl Cost {
    /// How much more may be used, all together, before the cost can come to `limit`: it stays below that as long
    /// as the usage stays below this. Nothing where no unit's price can be told.
    pub(in crate::engine) fn left_below(&self, limit: Money) -> Quantity {
        let Some(price) = self.price else { return Quantity::ZERO };
        let left = limit.as_minor().saturating_sub(self.amount.as_minor());
        // The line may have been rounded down, and be rounded up then.
        billing::units_within(price, Money::from_minor(left.saturating_sub(1)))
    }
}

/// A segment without an invoice.
struct OpenSegment {
    closing: Closing,
    has_ended: bool,
    currency: Currency,
    /// What its invoice would say now; nothing when an amount leaves 64 bits.
    bill: Option<Bill>,
}

impl OpenSegment {
    /// The number of the segment that its period began with.
    fn opened_by(&self) -> u32 {
        self.closing.segment.opened_by
    }

    fn period(&self, catalogue: &Catalogue) -> UsagePeriod {
        let lines = self.bill.as_ref().map_or(&[][..], |bill| &bill.lines);
        UsagePeriod {
            period: self.closing.segment.period,
            closing: self.has_ended,
            currency: self.currency,
            meters: meters_of(lines, catalogue),
        }
    }

    fn upcoming(self, id: &SubscriptionId, catalogue: &Catalogue) -> Option<Upcoming> {
        let bill = self.bill?;
        Some(Upcoming {
            subscription_id: id.clone(),
            currency: self.currency,
            period: self.closing.segment.period,
            due_at: self.closing.due_at,
            close_at: self.closing.close_at,
            closing: self.has_ended,
            meter_ids: bill.lines.iter().map(|line| meter_id(line, catalogue)).collect(),
            lines: bill.lines,
            total: bill.total,
        })
    }
}

fn billed_period(invoice: &Invoice, period: Period, catalogue: &Catalogue) -> UsagePeriod {
    UsagePeriod {
        period,
        closing: false,
        currency: invoice.currency,
        meters: meters_of(&invoice.lines, catalogue),
    }
}

fn meters_of(lines: &[InvoiceLine], catalogue: &Catalogue) -> Vec<MeterUsage> {
    let meters = lines.iter().filter_map(|line| {
        Some(MeterUsage {
            meter_id: meter_id(line, catalogue)?,
            usage: line.detail.usage()?.clone(),
            total: line.amount,
        })
    });
    meters.collect()
}

fn meter_id(line: &InvoiceLine, catalogue: &Catalogue) -> Option<MeterId> {
    let usage = line.detail.usage()?;
    catalogue.meters().get(usage.meter.position()).map(|meter| meter.id.clone())
}
