//! The lines of a bill: what a subscription owes when it begins and when a segment closes.
//!
//! A bill reads from the top: the fixed price in advance, then each meter's usage in the order of
//! the price, then money that a change of plan has left. Every line is rounded once, a line of zero
//! stands there too, and the lines sum to the total. When a segment closes, and what it renews, is
//! decided in [`lifecycle`](crate::billing::lifecycle).

use std::sync::Arc;

use crate::billing::rating::{self, Measure};
use crate::model::checkout::Purchase;
use crate::model::invoice::{
    ChargeLine, FixedLine, InvoiceLine, LineDetail, OverageLine, UsageLine,
};
use crate::model::price::MeterPrice;
use crate::model::subscription::{Closing, Renewal};
use crate::model::{
    Lsn, Meter, MeterIndex, Money, Period, Price, Product, Quantity, Share, Subscription, Terms,
    Used,
};

/// What one meter has counted over a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The aggregation over the segment.
    pub consumed: Quantity,
    /// The first and the last event that were counted, in log order.
    pub lsns: Option<(Lsn, Lsn)>,
}

/// What stands on an invoice. The lines sum to the total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// The fixed price first, then the meters in the price's order.
    pub lines: Vec<InvoiceLine>,
    /// The sum.
    pub total: Money,
}

/// A line or the total does not fit 64 bits of minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount leaves 64 bits")]
pub struct Overflow;

/// Where prices and names are looked up; each list holds one entry an index.
#[derive(Clone, Copy, Debug)]
pub struct Prices<'a> {
    /// Every product, by [`ProductIndex`](crate::model::ProductIndex).
    pub products: &'a [Arc<Product>],
    /// Every meter, by [`MeterIndex`].
    pub meters: &'a [Meter],
}

/// A segment that was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// What stands on its invoice.
    pub bill: Bill,
    /// The subscription from then on.
    pub subscription: Subscription,
}

/// What was used until a segment ended.
#[derive(Clone, Copy, Debug)]
pub struct Consumption<'a> {
    /// One a meter of the segment's price, in its order.
    pub readings: &'a [Reading],
    /// What went beyond credits.
    pub overage: &'a [OverageLine],
}

/// The close of a segment: the renewal, when there is one, the segment's usage, what went beyond credits,
/// and what is left of earlier changes of plan.
///
/// # Errors
/// [`Overflow`].
///
/// # Panics
/// When the terms name no price, a price names no meter, or the readings are not as many as the
/// price's meters.
pub fn close_cycle(
    subscription: &Subscription,
    closing: &Closing,
    Consumption { readings, overage }: Consumption<'_>,
    prices: Prices<'_>,
) -> Result<Closed, Overflow> {
    let mut lines = Vec::with_capacity(1 + readings.len() + overage.len());
    if let Some(renewal) = &closing.renewal {
        lines.push(fixed_line(renewal, None, prices)?);
    }
    let before = if closing.segment.continues() { subscription.used.as_slice() } else { &[] };
    let usage = usage_lines(closing, before, readings, prices)?;
    let mut used = if closing.ends_period { Vec::new() } else { before.to_vec() };
    for RatedLine { line, meter, used: after } in usage {
        lines.push(line);
        if !closing.ends_period {
            used.retain(|(known, _)| *known != meter);
            used.push((meter, after));
        }
    }
    for line in overage {
        let amount = rating::overage_amount(line.credits, line.price).ok_or(Overflow)?;
        lines.push(line_of(closing.segment.terms, LineDetail::Overage(line.clone()), amount));
    }
    let (bill, credit) = settle(lines, subscription, closing.segment.terms)?;
    let mut next = Subscription { used, credit, ..subscription.clone() };
    next.closing.retain(|other| other.segment.number != closing.segment.number);
    // Nearly always there is none left, of millions of subscriptions.
    next.closing.shrink_to_fit();
    Ok(Closed { bill, subscription: next })
}

/// Brings a bill together with the money that a subscription has left: less than nothing is kept for
/// later, and more is paid from what was kept, each as a line of its own. What is left from then on.
///
/// # Errors
/// [`Overflow`].
pub(super) fn settle(
    mut lines: Vec<InvoiceLine>,
    subscription: &Subscription,
    terms: Terms,
) -> Result<(Bill, Money), Overflow> {
    let owed = Money::checked_sum(lines.iter().map(|line| line.amount)).ok_or(Overflow)?;
    let credit = subscription.credit.as_minor();
    let taken = owed.as_minor().min(credit);
    if taken != 0 {
        let amount = Money::from_minor(taken.checked_neg().ok_or(Overflow)?);
        lines.push(line_of(terms, LineDetail::Credit, amount));
    }
    let left = credit.checked_sub(taken).ok_or(Overflow)?;
    Ok((Bill::of(lines)?, Money::from_minor(left)))
}

/// What a first payment bills: the fixed price, unless nothing is subscribed to or a trial comes
/// first, and what is bought once.
///
/// # Errors
/// [`Overflow`].
///
/// # Panics
/// When terms name no price.
pub fn first_bill(
    renewal: Option<&Renewal>,
    once: &[Purchase],
    prices: Prices<'_>,
) -> Result<Bill, Overflow> {
    let first = renewal.map(|renewal| fixed_line(renewal, None, prices));
    let once = once.iter().map(|purchase| {
        let (line, amount) = fixed(purchase, None, None, prices)?;
        Ok(line_of(purchase.terms, LineDetail::Fixed(line), amount))
    });
    Bill::of(first.into_iter().chain(once).collect::<Result<_, Overflow>>()?)
}

/// What is asked for on demand: one line of this amount.
///
/// # Panics
/// When the terms name no price.
pub fn charge_bill(
    terms: Terms,
    amount: Money,
    description: Option<String>,
    prices: Prices<'_>,
) -> Bill {
    let (product, _) = prices.of(terms);
    let detail = LineDetail::Charge(ChargeLine { name: product.name.clone(), description });
    let line = line_of(terms, detail, amount);
    Bill { lines: vec![line], total: amount }
}

/// A line of usage, and what is used of the period from then on.
struct RatedLine {
    line: InvoiceLine,
    meter: MeterIndex,
    used: Used,
}

/// The lines of a segment's usage, one a meter of its price in that order, as are the readings; each with
/// what is used of the period from then on, where `before` was.
fn usage_lines(
    closing: &Closing,
    before: &[(MeterIndex, Used)],
    readings: &[Reading],
    prices: Prices<'_>,
) -> Result<Vec<RatedLine>, Overflow> {
    let (_, price) = prices.of(closing.segment.terms);
    assert_eq!(price.meters().len(), readings.len(), "there is one reading a meter of the price");
    let mut lines = Vec::with_capacity(readings.len());
    for (meter, reading) in price.meters().iter().zip(readings) {
        let used = before.iter().find(|(known, _)| *known == meter.meter);
        let used = used.map_or_else(Used::default, |(_, used)| *used);
        let (line, used) = usage_line(closing, meter, *reading, used, prices)?;
        lines.push(RatedLine { line, meter: meter.meter, used });
    }
    Ok(lines)
}

/// A fixed price in advance, or a share of it.
pub(super) fn fixed_line(
    renewal: &Renewal,
    share: Option<Share>,
    prices: Prices<'_>,
) -> Result<InvoiceLine, Overflow> {
    let (line, amount) = fixed(&purchase_of(renewal), Some(renewal.period), share, prices)?;
    Ok(line_of(renewal.terms, LineDetail::Fixed(line), amount))
}

/// What comes back of a fixed price, or of a share of it.
pub(super) fn unused_line(
    renewal: &Renewal,
    share: Option<Share>,
    prices: Prices<'_>,
) -> Result<InvoiceLine, Overflow> {
    let (line, amount) = fixed(&purchase_of(renewal), Some(renewal.period), share, prices)?;
    // Fits: a fixed price is not below zero.
    let amount = Money::from_minor(-amount.as_minor());
    Ok(line_of(renewal.terms, LineDetail::Unused(line), amount))
}

fn purchase_of(renewal: &Renewal) -> Purchase {
    let (terms, quantity) = (renewal.terms, renewal.quantity);
    Purchase { terms, quantity, amount: None, credits: Vec::new() }
}

fn fixed(
    purchase: &Purchase,
    period: Option<Period>,
    share: Option<Share>,
    prices: Prices<'_>,
) -> Result<(FixedLine, Money), Overflow> {
    let (product, price) = prices.of(purchase.terms);
    let amount = match share {
        None => rating::purchase_amount(price, purchase),
        Some(share) => rating::share_amount(price, purchase.quantity, share),
    };
    let line = FixedLine {
        name: product.name.clone(),
        price: purchase.amount.unwrap_or(price.fixed),
        quantity: purchase.quantity,
        discount_bps: price.discount_bps,
        period,
        share,
    };
    Ok((line, amount.ok_or(Overflow)?))
}

fn line_of(terms: Terms, detail: LineDetail, amount: Money) -> InvoiceLine {
    InvoiceLine { product: terms.product, price_version: terms.version, detail, amount }
}

fn usage_line(
    closing: &Closing,
    meter_price: &MeterPrice,
    reading: Reading,
    used: Used,
    prices: Prices<'_>,
) -> Result<(InvoiceLine, Used), Overflow> {
    let meter = prices.meter(meter_price.meter);
    let measure = Measure::of(&meter.aggregation);
    let rated = rating::rate(reading.consumed, measure, meter_price, &used, closing.ends_period);
    let rated = rated.ok_or(Overflow)?;
    let detail = LineDetail::Usage(Box::new(UsageLine {
        meter: meter_price.meter,
        name: meter.name.clone(),
        measurement_unit: meter.measurement_unit.clone(),
        consumed: reading.consumed,
        free_threshold: meter_price.free_threshold,
        chargeable: rated.chargeable,
        rate: meter_price.rate.clone(),
        position: rated.position,
        shares: rated.shares,
        minimum: meter_price.minimum,
        maximum: meter_price.maximum,
        bound: rated.bound,
        used,
        lsns: reading.lsns,
    }));
    Ok((line_of(closing.segment.terms, detail, rated.amount), rated.used))
}

impl Bill {
    pub(super) fn of(lines: Vec<InvoiceLine>) -> Result<Self, Overflow> {
        let total = Money::checked_sum(lines.iter().map(|line| line.amount)).ok_or(Overflow)?;
        Ok(Self { lines, total })
    }
}

impl<'a> Prices<'a> {
    pub(super) fn of(self, terms: Terms) -> (&'a Product, &'a Price) {
        let product = self.products.get(terms.product.position());
        let product = product.expect("a product is never removed, nor its index given again");
        let price = product.price_at(terms.version).expect("a product keeps every price it had");
        (product, price)
    }

    fn meter(self, meter: MeterIndex) -> &'a Meter {
        self.meters
            .get(meter.position())
            .expect("a meter is never removed, nor its index given again")
    }
}
