//! Numbers, quantities, unit prices and what usage costs, against exact arithmetic.
//!
//! Laws: a number is what the grammar of JSON says; its quantity is the nearest one, halves to even;
//! comparing is comparing exact values and equal values have one canonical form; a quantity and a
//! unit price print as the shortest decimal and are read back; an amount is rounded once, halves away
//! from zero. The input is lines: texts of numbers.

use std::cmp::Ordering;

use quipu::billing::{Measure, rate};
use quipu::model::price::{MeterPrice, UnitPriceError};
use quipu::model::{MeterIndex, Money, Number, Quantity, Rate, UnitPrice, Used};
use serde_json::value::RawValue;

use super::big::{Big, Exact};
use super::input::Input;

/// Longer texts are no other case, only slower.
const TEXT_BYTES_MAX: usize = 400;

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let units = i128::from_le_bytes(Input(data).array());
    check_printing(Quantity::from_units(units));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut numbers: Vec<Number<'_>> = Vec::new();
    let mut prices = Vec::new();
    for line in text.split('\n').filter(|line| line.len() <= TEXT_BYTES_MAX).take(4) {
        numbers.extend(check_number(line));
        prices.extend(check_unit_price(line));
    }
    for left in &numbers {
        for right in &numbers {
            check_order(*left, *right);
        }
        let Ok(quantity) = left.to_quantity() else { continue };
        for price in &prices {
            check_amount(quantity, *price);
            check_amount(Quantity::from_units(units), *price);
        }
    }
}

/// Whether `text` is a number and nothing else, as `serde_json` sees it.
pub fn is_json_number(text: &str) -> bool {
    let begins = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    begins && serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get() == text)
}

fn check_number(text: &str) -> Option<Number<'_>> {
    let number = Number::new(text);
    assert_eq!(number.is_some(), is_json_number(text), "{text}");
    let number = number?;
    assert_eq!((number.as_str(), number.to_string().as_str()), (text, text));
    check_quantity(text, number.to_quantity().ok());
    Some(number)
}

/// Holds what was made of `text` against its exact value.
fn check_quantity(text: &str, found: Option<Quantity>) {
    let exact = Exact::read(text);
    let units = found.map(Quantity::as_units);
    if exact.digits.is_empty() || exact.integer_digits() + 12 < 0 {
        assert_eq!(units, Some(0), "{text}");
        return;
    }
    if exact.integer_digits() > 16 {
        assert_eq!(units, None, "{text}");
        return;
    }
    if let Some(quantity) = found {
        assert!(quantity.magnitude() < Quantity::EVENT_MAGNITUDE_MAX, "{text}");
        let has_sign = quantity.as_units() < 0;
        assert_eq!(has_sign, exact.is_negative && quantity != Quantity::ZERO, "{text}");
        check_printing(quantity);
    }
    // Both sides times 10^scale are whole: the digits, and 2 x units +- 1 halves.
    let shift = exact.exponent + 12;
    let up = usize::try_from(shift).unwrap_or(0);
    let down = usize::try_from(-shift).unwrap_or(0);
    let twice = exact.magnitude().times_ten_to(up).times(&Big::of(2));
    let halves = |count: u128| Big::of(count).times_ten_to(down);
    let Some(quantity) = found else {
        assert!(twice >= halves(2 * Quantity::EVENT_MAGNITUDE_MAX - 1), "{text} is in range");
        return;
    };
    let units = quantity.magnitude();
    let is_even = units.is_multiple_of(2);
    let within = |order: Ordering| order.is_lt() || (is_even && order.is_eq());
    assert!(within(twice.cmp(&halves(2 * units + 1))), "{text} is more than {quantity}");
    assert!(units == 0 || within(halves(2 * units - 1).cmp(&twice)), "{text} is less: {quantity}");
}

fn check_printing(quantity: Quantity) {
    let text = quantity.to_string();
    assert!(is_json_number(&text) && is_shortest(&text), "{text}");
    let exact = Exact::read(&text);
    let power = usize::try_from(exact.exponent + 12).unwrap();
    assert_eq!(exact.magnitude().times_ten_to(power), Big::of(quantity.magnitude()), "{text}");
    assert_eq!(exact.is_negative, quantity.as_units() < 0);
    let read = Number::new(&text).unwrap().to_quantity().ok();
    let is_readable = quantity.magnitude() < Quantity::EVENT_MAGNITUDE_MAX;
    assert_eq!(read, is_readable.then_some(quantity));
}

fn is_shortest(text: &str) -> bool {
    let unsigned = text.trim_start_matches('-');
    let has_spare_zero = text.contains('.') && text.ends_with(['0', '.']);
    let is_long = unsigned.starts_with('0') && unsigned.len() > 1 && !unsigned.starts_with("0.");
    !has_spare_zero && !is_long && !text.contains(['e', 'E', '+']) && text != "-0"
}

fn check_order(left: Number<'_>, right: Number<'_>) {
    let order = left.compare(right);
    assert_eq!(order, right.compare(left).reverse(), "{left} {right}");
    let form = |number: Number<'_>| {
        let mut bytes = Vec::new();
        number.canonical(&mut bytes);
        bytes
    };
    assert_eq!(order.is_eq(), form(left) == form(right), "{left} {right}");
    if let Some(exact) = Exact::read(left.as_str()).compare(&Exact::read(right.as_str())) {
        assert_eq!(order, exact, "{left} {right}");
    }
    if let (Ok(a), Ok(b)) = (left.to_quantity(), right.to_quantity()) {
        assert!(order.is_eq() <= (a == b) && order.is_lt() <= (a <= b), "{left} {right}");
    }
}

fn check_unit_price(text: &str) -> Option<UnitPrice> {
    let found = UnitPrice::parse(text);
    assert_eq!(found.map(UnitPrice::as_units), naive_unit_price(text), "{text}");
    let price = found.ok()?;
    let printed = price.to_string();
    assert!(is_shortest(&printed), "{printed}");
    assert_eq!(UnitPrice::parse(&printed), Ok(price), "{printed}");
    Some(price)
}

/// The price in units of 10^-12, read digit by digit.
fn naive_unit_price(text: &str) -> Result<i128, UnitPriceError> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (integer, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !are_digits(integer) || !are_digits(fraction) {
        return Err(UnitPriceError::Form);
    }
    let is_zero = unsigned.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if text.starts_with('-') || is_zero {
        return Err(UnitPriceError::NotPositive);
    }
    let (integer, fraction) = (integer.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if integer.len() > 5 || fraction.len() > 12 {
        return Err(UnitPriceError::TooManyDigits);
    }
    Ok(format!("{integer}{fraction:0<12}").parse().unwrap())
}

fn check_amount(quantity: Quantity, price: UnitPrice) {
    let priced = MeterPrice {
        meter: MeterIndex(0),
        rate: Rate::PerUnit(price),
        free_threshold: 0,
        minimum: None,
        maximum: None,
    };
    let rated = rate(quantity, Measure::Additive, &priced, &Used::default(), true);
    let units = quantity.max(Quantity::ZERO).magnitude();
    let product = Big::of(units).times(&Big::of(price.as_units().unsigned_abs()));
    let twice = product.times(&Big::of(2));
    let halves = |count: u128| Big::of(count).times_ten_to(24);
    let Some(amount) = rated.map(|rated| rated.amount) else {
        assert!(twice >= halves(u128::from(u64::MAX)), "{quantity} at {price} fits");
        return;
    };
    assert!(amount >= Money::ZERO);
    let minor = u128::from(amount.as_minor().unsigned_abs());
    assert!(twice < halves(2 * minor + 1), "{quantity} at {price} is more than {amount}");
    assert!(minor == 0 || twice >= halves(2 * minor - 1), "{quantity} at {price}: {amount}");
}
