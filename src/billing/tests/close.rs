//! Bills: every line by itself, the sum, and what a line says that it was reckoned from.

use std::sync::Arc;

use proptest::collection;
use proptest::prelude::*;

use super::begun;
use crate::billing::Consumption;
use crate::billing::{Bill, Closed, Overflow, Prices, Reading, close_cycle, first_bill};
use crate::model::customer::Metadata;
use crate::model::invoice::{FixedLine, InvoiceLine, LineDetail, UsageLine};
use crate::model::price::{Interval, IntervalUnit, MeterPrice, PriceKind, Recurrence};
use crate::model::product::TaxCategory;
use crate::model::subscription::{Closing, Renewal, Segment};
use crate::model::{
    Aggregation, Currency, Lsn, Meter, MeterId, MeterIndex, Money, Number, Period, Price,
    PriceVersion, Product, ProductId, ProductIndex, Quantity, Rate, Subscription, Terms, Timestamp,
    UnitPrice, Used,
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
        credits: Vec::new(),
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
    let segment = Segment { number: 0, period: month(0), terms: terms(1), opened_by: 0 };
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
    let consumption = Consumption { readings, overage: &[] };
    let closed = close_cycle(&before, closing, consumption, prices)?;
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
