//! The lines of a bill: what a subscription owes when it begins and when a segment closes.
//!
//! A bill reads from the top: the fixed price in advance, then each meter's usage in the order of
//! the price, then money that a change of plan has left. Every line is rounded once, a line of zero
//! stands there too, and the lines sum to the total. When a segment closes, and what it renews, is
//! decided in [`lifecycle`](crate::billing::lifecycle).

use std::sync::Arc;

use crate::billing::rating::{self, Measure};
use crate::model::checkout::Purchase;
use crate::model::invoice::{ChargeLine, FixedLine, InvoiceLine, LineDetail, UsageLine};
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

/// The close of a segment: the renewal, when there is one, the segment's usage, and what is left of
/// earlier changes of plan. There is one reading a meter of the segment's price, in its order.
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
    readings: &[Reading],
    prices: Prices<'_>,
) -> Result<Closed, Overflow> {
    let mut lines = Vec::with_capacity(1 + readings.len());
    if let Some(renewal) = &closing.renewal {
        lines.push(fixed_line(renewal, None, prices)?);
    }
    let before = if closing.segment.continues { subscription.used.as_slice() } else { &[] };
    let usage = usage_lines(closing, before, readings, prices)?;
    let mut used = before.to_vec();
    for RatedLine { line, meter, used: after } in usage {
        lines.push(line);
        used.retain(|(known, _)| *known != meter);
        used.push((meter, after));
    }
    if closing.ends_period {
        used.clear();
    }
    let (bill, credit) = settle(lines, subscription, closing.segment.terms)?;
    let mut next = Subscription { used, credit, ..subscription.clone() };
    next.closing.retain(|other| other.segment.number != closing.segment.number);
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
    let lines = price.meters().iter().zip(readings).map(|(meter, reading)| {
        let used = before.iter().find(|(known, _)| *known == meter.meter);
        let used = used.map_or_else(Used::default, |(_, used)| *used);
        let (line, used) = usage_line(closing, meter, *reading, used, prices)?;
        Ok(RatedLine { line, meter: meter.meter, used })
    });
    lines.collect()
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
    Purchase { terms: renewal.terms, quantity: renewal.quantity }
}

fn fixed(
    purchase: &Purchase,
    period: Option<Period>,
    share: Option<Share>,
    prices: Prices<'_>,
) -> Result<(FixedLine, Money), Overflow> {
    let (product, price) = prices.of(purchase.terms);
    let amount = match share {
        None => rating::fixed_amount(price, purchase.quantity),
        Some(share) => rating::share_amount(price, purchase.quantity, share),
    };
    let line = FixedLine {
        name: product.name.clone(),
        price: price.fixed,
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

#[cfg(test)]
mod tests {
    use proptest::collection;
    use proptest::prelude::*;

    use super::*;
    use crate::billing::tests::begun;
    use crate::model::customer::Metadata;
    use crate::model::price::{Interval, IntervalUnit, PriceKind, Recurrence};
    use crate::model::product::TaxCategory;
    use crate::model::subscription::Segment;
    use crate::model::{
        Aggregation, Currency, MeterId, Number, Period, PriceVersion, ProductId, ProductIndex,
        Rate, Timestamp, UnitPrice,
    };

    const MONTH: Interval = Interval { count: 1, unit: IntervalUnit::Month };

    fn month(number: i64) -> Period {
        let at = |days: i64| Timestamp::from_nanos(days * 30 * 86_400_000_000_000);
        Period { start: at(number), end: at(number + 1) }
    }

    fn meter(index: u32, name: &str) -> Meter {
        Meter {
            id: MeterId::new(format!("mtr_{index}")),
            index: MeterIndex(index),
            name: name.to_owned(),
            description: None,
            event_name: "call".to_owned(),
            measurement_unit: format!("{name}s"),
            aggregation: Aggregation::Count,
            filter: None,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            archived: false,
        }
    }

    fn price(currency: &str, fixed: i64, meters: &[(u32, &str, u64)]) -> Price {
        let meters = meters.iter().map(|(meter, price_per_unit, free_threshold)| MeterPrice {
            meter: MeterIndex(*meter),
            rate: Rate::PerUnit(UnitPrice::parse(price_per_unit).unwrap()),
            free_threshold: *free_threshold,
            minimum: None,
            maximum: None,
        });
        let recurrence =
            Recurrence { payment_frequency: MONTH, subscription_period: MONTH, trial_days: 0 };
        Price {
            currency: Currency::from_code(currency).unwrap(),
            fixed: Money::from_minor(fixed),
            discount_bps: 0,
            tax_inclusive: false,
            purchasing_power_parity: false,
            kind: PriceKind::UsageBased { recurrence, meters: meters.collect() },
        }
    }

    fn product(prices: Vec<Price>) -> Arc<Product> {
        Arc::new(Product {
            id: ProductId::new("pdt_1"),
            index: ProductIndex(0),
            name: "Plan".to_owned(),
            description: None,
            tax_category: TaxCategory::Saas,
            metadata: Metadata::default(),
            prices,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            archived: false,
        })
    }

    fn reading(consumed: &str) -> Reading {
        let consumed = Number::new(consumed).unwrap().to_quantity().unwrap();
        Reading { consumed, lsns: Some((Lsn(3), Lsn(9))) }
    }

    fn terms(version: u32) -> Terms {
        Terms { product: ProductIndex(0), version: PriceVersion(version) }
    }

    fn renewal(quantity: u32) -> Renewal {
        Renewal { terms: terms(1), quantity, period: month(1) }
    }

    fn closing(renewal: Option<Renewal>) -> Closing {
        let segment = Segment { number: 0, period: month(0), terms: terms(1), continues: false };
        let (due_at, close_at) = (month(0).end, month(0).end);
        Closing { segment, due_at, close_at, renewal, ends_period: true }
    }

    /// The close of a segment of a subscription that has this much left from earlier changes of plan.
    fn closed(
        closing: &Closing,
        readings: &[Reading],
        prices: Prices<'_>,
        credit: i64,
    ) -> Result<Closed, Overflow> {
        let credit = Money::from_minor(credit);
        let before = Subscription { credit, closing: vec![*closing], ..begun("1970-01-01") };
        let closed = close_cycle(&before, closing, readings, prices)?;
        let credit = closed.subscription.credit;
        let after = Subscription { credit, closing: Vec::new(), ..before };
        assert_eq!(closed.subscription, after, "nothing else changes");
        Ok(closed)
    }

    /// The amounts of the lines that the close of a segment under `price` has, and the total.
    fn close(
        price: Price,
        renewal: Option<Renewal>,
        consumed: &[&str],
    ) -> Result<(Vec<i64>, i64), Overflow> {
        let readings: Vec<Reading> = consumed.iter().map(|text| reading(text)).collect();
        let meters = [meter(0, "call"), meter(1, "token")];
        let products = [product(vec![price])];
        let prices = Prices { products: &products, meters: &meters };
        let Closed { bill, .. } = closed(&closing(renewal), &readings, prices, 0)?;
        Ok((bill.lines.iter().map(|line| line.amount.as_minor()).collect(), bill.total.as_minor()))
    }

    fn check(price: Price, renewal: Option<Renewal>, consumed: &[&str], expected: (&[i64], i64)) {
        let found = close(price, renewal, consumed);
        assert_eq!(found, Ok((expected.0.to_vec(), expected.1)));
    }

    #[test]
    fn the_examples_of_the_documents_come_out() {
        check(price("USD", 0, &[(0, "2", 1_000)]), None, &["2500"], (&[3_000], 3_000));
        let tokens = || price("USD", 4_900, &[(1, "0.5", 10_000)]);
        check(tokens(), Some(renewal(1)), &["25000"], (&[4_900, 7_500], 12_400));
        check(tokens(), Some(renewal(3)), &["25000"], (&[14_700, 7_500], 22_200));
        check(tokens(), None, &["25000"], (&[7_500], 7_500));
    }

    #[test]
    fn money_that_a_change_of_plan_left_is_taken_as_its_own_line() {
        let products = [product(vec![price("USD", 4_900, &[(1, "0.5", 0)])])];
        let meters = [meter(0, "call"), meter(1, "token")];
        let prices = Prices { products: &products, meters: &meters };
        let close = |consumed: &str, credit| {
            let closing = closing(Some(renewal(1)));
            let Closed { bill, subscription } =
                closed(&closing, &[reading(consumed)], prices, credit).unwrap();
            let amounts = bill.lines.iter().map(|line| line.amount.as_minor());
            (amounts.collect::<Vec<_>>(), bill.total.as_minor(), subscription.credit.as_minor())
        };
        assert_eq!(close("200", 0), (vec![4_900, 100], 5_000, 0));
        assert_eq!(close("200", 1_200), (vec![4_900, 100, -1_200], 3_800, 0));
        assert_eq!(close("200", 5_000), (vec![4_900, 100, -5_000], 0, 0));
        assert_eq!(close("200", 7_500), (vec![4_900, 100, -5_000], 0, 2_500));
    }

    #[test]
    fn lines_of_nothing_stand_there_too() {
        let both = || price("USD", 0, &[(0, "2", 1_000), (1, "0.5", 0)]);
        check(both(), Some(renewal(1)), &["1000", "0"], (&[0, 0, 0], 0));
        check(both(), None, &["-7", "-0.5"], (&[0, 0], 0));
        check(price("USD", 900, &[]), Some(renewal(2)), &[], (&[1_800], 1_800));
        check(price("USD", 900, &[]), None, &[], (&[], 0));
    }

    #[test]
    fn each_line_is_rounded_by_itself_to_whole_minor_units() {
        // Three halves of a yen or cent are two of them each, and never one and a half.
        for currency in ["JPY", "USD", "KWD"] {
            let halves = price(currency, 500, &[(0, "0.5", 0), (1, "1.5", 0)]);
            check(halves, Some(renewal(1)), &["3", "1.0"], (&[500, 2, 2], 504));
        }
        let fine = price("USD", 0, &[(0, "0.000225", 0), (1, "3", 1)]);
        check(fine, None, &["1234567.891", "1.333333333333"], (&[278, 1], 279));
    }

    #[test]
    fn an_amount_beyond_64_bits_makes_no_bill() {
        let most = i64::MAX;
        let one = || price("USD", most, &[(0, "99999", 0)]);
        check(one(), Some(renewal(1)), &["0"], (&[most, 0], most));
        assert_eq!(close(one(), Some(renewal(2)), &["0"]), Err(Overflow), "a fixed line");
        assert_eq!(close(one(), Some(renewal(1)), &["0.00002"]), Err(Overflow), "the total");
        assert_eq!(close(one(), None, &["999999999999999"]), Err(Overflow), "a usage line");
    }

    #[test]
    fn a_line_says_what_it_was_reckoned_from() {
        let products = [product(vec![
            price("USD", 4_900, &[(1, "0.5", 10_000)]),
            price("USD", 5_900, &[(1, "0.75", 0)]),
        ])];
        let meters = [meter(0, "call"), meter(1, "token")];
        let prices = Prices { products: &products, meters: &meters };
        let renewal = Renewal { terms: terms(2), quantity: 2, period: month(1) };
        let readings = [reading("25000.5")];
        let bill = closed(&closing(Some(renewal)), &readings, prices, 0).unwrap().bill;
        let fixed = InvoiceLine {
            product: ProductIndex(0),
            price_version: PriceVersion(2),
            detail: LineDetail::Fixed(FixedLine {
                name: "Plan".to_owned(),
                price: Money::from_minor(5_900),
                quantity: 2,
                discount_bps: 0,
                period: Some(month(1)),
                share: None,
            }),
            amount: Money::from_minor(11_800),
        };
        let usage = InvoiceLine {
            product: ProductIndex(0),
            price_version: PriceVersion(1),
            detail: LineDetail::Usage(Box::new(UsageLine {
                meter: MeterIndex(1),
                name: "token".to_owned(),
                measurement_unit: "tokens".to_owned(),
                consumed: reading("25000.5").consumed,
                free_threshold: 10_000,
                chargeable: reading("15000.5").consumed,
                rate: Rate::PerUnit(UnitPrice::parse("0.5").unwrap()),
                position: Quantity::ZERO,
                shares: Vec::new(),
                minimum: None,
                maximum: None,
                bound: None,
                used: Used::default(),
                lsns: Some((Lsn(3), Lsn(9))),
            })),
            amount: Money::from_minor(7_500),
        };
        let total = Money::from_minor(19_300);
        assert_eq!(bill, Bill { lines: vec![fixed.clone(), usage.clone()], total });
        let first = first_bill(Some(&renewal), &[], prices).unwrap();
        assert_eq!(first, Bill { lines: vec![fixed], total: Money::from_minor(11_800) });
        let trial = first_bill(None, &[], prices).unwrap();
        assert_eq!(trial, Bill { lines: Vec::new(), total: Money::ZERO });
    }

    /// Nearest of 10^-24ths below 10^38 to whole ones, halves up.
    fn nearest(exact: i128) -> i64 {
        let one = 10_i128.pow(24);
        i64::try_from((exact + one / 2).div_euclid(one)).unwrap()
    }

    proptest! {
        #[test]
        fn lines_sum_to_the_total_and_each_is_the_nearest_amount(
            fixed in 0_i64..10_i64.pow(12),
            quantity in 0_u32..1_000,
            usage in collection::vec((-10_i128.pow(20)..10_i128.pow(20), 0_u64..10_u64.pow(8)), 2),
            prices in collection::vec(1_u64..10_u64.pow(17), 2),
        ) {
            let text = |units: &u64| {
                format!("{}.{:012}", units / 10_u64.pow(12), units % 10_u64.pow(12))
            };
            let texts: Vec<String> = prices.iter().map(text).collect();
            let meters = [(0, texts[0].as_str(), usage[0].1), (1, texts[1].as_str(), usage[1].1)];
            let consumed = usage.iter().map(|(units, _)| Quantity::from_units(*units).to_string());
            let consumed: Vec<String> = consumed.collect();
            let consumed: Vec<&str> = consumed.iter().map(String::as_str).collect();
            let (lines, total) =
                close(price("USD", fixed, &meters), Some(renewal(quantity)), &consumed).unwrap();
            let mut expected = vec![fixed * i64::from(quantity)];
            for ((units, free), price_units) in usage.iter().zip(&prices) {
                let over = (units - i128::from(*free) * 10_i128.pow(12)).max(0);
                expected.push(nearest(over * i128::from(*price_units)));
            }
            prop_assert_eq!(total, lines.iter().sum::<i64>());
            prop_assert_eq!(lines, expected);
        }
    }
}
