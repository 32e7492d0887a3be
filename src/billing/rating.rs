//! What usage and fixed prices cost: exact until the end of a line, then rounded once, half away
//! from zero, to whole minor units of the currency.
//!
//! Nothing here adds lines up: see [`close`](crate::billing::close).

use crate::model::{Money, Price, Quantity, Share, UnitPrice};

/// Units of a quantity in one whole, and of a unit price in one minor unit.
const ONE: i128 = 1_000_000_000_000;
/// Hundredths of a percent in the whole.
const WHOLE_BPS: u16 = 10_000;

/// What of `consumed` is to be paid: what exceeds the whole units that are free; never negative.
pub fn chargeable(consumed: Quantity, free_threshold: u64) -> Quantity {
    let free = Quantity::from_count(free_threshold);
    Quantity::from_units(consumed.as_units().saturating_sub(free.as_units()).max(0))
}

/// What a quantity costs, rounded once; nothing when it leaves 64 bits.
pub fn usage_amount(chargeable: Quantity, price: UnitPrice) -> Option<Money> {
    // quantity x price / 10^24 in two parts, because the product does not fit 128 bits: wholes of
    // the quantity x price = minor x 10^12 + finer, and all that is finer than a minor unit together.
    let (wholes, fraction) = (chargeable.as_units() / ONE, chargeable.as_units() % ONE);
    let of_wholes = wholes.checked_mul(price.as_units())?;
    let (minor, finer) = (of_wholes / ONE, of_wholes % ONE);
    // Fits: finer x 10^12 is below 10^24 and fraction x price below 10^29.
    let rest = finer * ONE + fraction * price.as_units();
    money(minor + divide_half_away(rest, ONE * ONE))
}

/// What the fixed price of this many comes to after the discount, rounded once; nothing when it
/// leaves 64 bits.
pub fn fixed_amount(price: &Price, quantity: u32) -> Option<Money> {
    money(divide_half_away(fixed_exact(price, quantity), i128::from(WHOLE_BPS)))
}

/// What a share of the fixed price of this many comes to after the discount, rounded once; nothing when
/// it leaves 64 bits.
pub fn share_amount(price: &Price, quantity: u32, share: Share) -> Option<Money> {
    // A price is never below zero.
    let exact = u128::try_from(fixed_exact(price, quantity)).ok()?;
    let (part, whole) = (share.part.as_nanos(), share.whole.as_nanos() * u128::from(WHOLE_BPS));
    // exact x part / whole in two parts, because 110 bits x 64 do not fit 128: the price's upper bits
    // first, then what they leave together with its lower 32 bits.
    let (upper, lower) = (exact >> 32, exact & 0xffff_ffff);
    let of_upper = upper.checked_mul(part)?;
    let rest = ((of_upper % whole) << 32) + lower * part;
    let minor = ((of_upper / whole) << 32) + (rest + whole / 2) / whole;
    money(i128::try_from(minor).ok()?)
}

/// The fixed price of this many after the discount, in ten-thousandths of a minor unit.
fn fixed_exact(price: &Price, quantity: u32) -> i128 {
    let kept_bps = WHOLE_BPS.saturating_sub(price.discount_bps);
    // Fits: 64, 32 and 14 bits.
    i128::from(price.fixed.as_minor()) * i128::from(quantity) * i128::from(kept_bps)
}

/// The quotient by an even divisor, rounded to whole numbers, halves away from zero.
fn divide_half_away(dividend: i128, divisor: i128) -> i128 {
    (dividend + dividend.signum() * (divisor / 2)) / divisor
}

fn money(minor: i128) -> Option<Money> {
    i64::try_from(minor).ok().map(Money::from_minor)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::price::PriceKind;
    use crate::model::{Currency, Number};

    fn quantity(text: &str) -> Quantity {
        Number::new(text).unwrap().to_quantity().unwrap()
    }

    fn check(chargeable: &str, price: &str, minor: i64) {
        let price = UnitPrice::parse(price).unwrap();
        let found = usage_amount(quantity(chargeable), price);
        assert_eq!(found, Some(Money::from_minor(minor)), "{chargeable} at {price}");
    }

    #[test]
    fn usage_is_rounded_once_half_away_from_zero() {
        check("1500", "2", 3_000);
        check("15000", "0.5", 7_500);
        check("0", "99999", 0);
        check("1", "0.5", 1);
        check("1", "0.499999999999", 0);
        check("3", "0.5", 2);
        check("0.333333333333", "1.5", 0);
        check("0.333333333334", "1.5", 1);
        check("-1", "0.5", -1);
        check("-0.999999999999", "0.5", 0);
        check("0.000000000001", "0.000000000001", 0);
        // Two halves that are finer than the minor unit make one.
        check("1.5", "0.333333333333", 0);
        check("1.5", "0.333333333334", 1);
        check("999999999999999.999999999999", "9000", 9_000_000_000_000_000_000);
    }

    #[test]
    fn only_what_exceeds_the_free_units_is_paid() {
        for (consumed, free, expected) in [
            ("2500", 1_000, "1500"),
            ("1000", 1_000, "0"),
            ("999.999999999999", 1_000, "0"),
            ("1000.000000000001", 1_000, "0.000000000001"),
            ("-5", 0, "0"),
            ("-5", 10, "0"),
            ("7.25", 0, "7.25"),
        ] {
            assert_eq!(chargeable(quantity(consumed), free), quantity(expected), "{consumed}");
        }
        let least = Quantity::from_units(i128::MIN);
        assert_eq!(chargeable(least, u64::MAX), Quantity::ZERO);
        let most = Quantity::from_units(i128::MAX);
        assert_eq!(chargeable(most, 0), most);
    }

    #[test]
    fn an_amount_beyond_64_bits_is_none() {
        let one = UnitPrice::parse("1").unwrap();
        let minor = |units: i128| Quantity::from_units(units * ONE);
        let most = i128::from(i64::MAX);
        assert_eq!(usage_amount(minor(most), one), Some(Money::from_minor(i64::MAX)));
        assert_eq!(usage_amount(minor(most + 1), one), None);
        assert_eq!(usage_amount(minor(-most - 1), one), Some(Money::from_minor(i64::MIN)));
        let almost = Quantity::from_units(most * ONE + ONE / 2 - 1);
        assert_eq!(usage_amount(almost, one), Some(Money::from_minor(i64::MAX)));
        let half_over = Quantity::from_units(most * ONE + ONE / 2);
        assert_eq!(usage_amount(half_over, one), None);
        let highest = UnitPrice::parse("99999.999999999999").unwrap();
        assert_eq!(usage_amount(Quantity::from_units(i128::MAX), highest), None);
        assert_eq!(usage_amount(Quantity::from_units(i128::MIN), highest), None);
    }

    fn priced(fixed: i64, discount_bps: u16) -> Price {
        Price {
            currency: Currency::from_code("USD").unwrap(),
            fixed: Money::from_minor(fixed),
            discount_bps,
            tax_inclusive: false,
            purchasing_power_parity: false,
            kind: PriceKind::OneTime,
        }
    }

    #[test]
    fn a_discount_is_taken_off_the_whole_line() {
        for (fixed, discount_bps, quantity, expected) in [
            (4_900, 0, 1, Some(4_900)),
            (4_900, 0, 3, Some(14_700)),
            (4_900, 1_000, 1, Some(4_410)),
            (1, 5_000, 1, Some(1)),
            (1, 5_001, 1, Some(0)),
            (1, 5_000, 3, Some(2)),
            (333, 3_333, 3, Some(666)),
            (4_900, 10_000, 9, Some(0)),
            (0, 0, u32::MAX, Some(0)),
            (i64::MAX, 0, 1, Some(i64::MAX)),
            (i64::MAX, 5_000, 2, Some(i64::MAX)),
            (i64::MAX, 0, 2, None),
            (i64::MAX, 0, u32::MAX, None),
        ] {
            let found = fixed_amount(&priced(fixed, discount_bps), quantity);
            assert_eq!(found, expected.map(Money::from_minor), "{fixed} {discount_bps} {quantity}");
        }
    }

    /// Decimal digits, lowest first: multiplied as on paper.
    fn multiplied(left: u128, right: u128) -> Vec<u8> {
        let digits = |number: u128| -> Vec<u8> {
            number.to_string().bytes().rev().map(|byte| byte - b'0').collect()
        };
        let (left, right) = (digits(left), digits(right));
        let mut product = vec![0_u8; left.len() + right.len() + 1];
        for (i, a) in left.iter().enumerate() {
            let mut carry = 0;
            for j in 0..product.len() - i {
                let sum = product[i + j] + a * right.get(j).copied().unwrap_or(0) + carry;
                product[i + j] = sum % 10;
                carry = sum / 10;
            }
        }
        product
    }

    /// Digits, highest first and without zeros in front, behind their count: compares as numbers do.
    fn number(mut digits: Vec<u8>) -> (usize, Vec<u8>) {
        while digits.last() == Some(&0) {
            digits.pop();
        }
        digits.reverse();
        (digits.len(), digits)
    }

    #[test]
    fn the_whole_share_is_the_whole_amount_and_none_is_nothing() {
        let share = |part, whole| Share {
            part: Duration::from_nanos(part),
            whole: Duration::from_nanos(whole),
        };
        for (fixed, discount_bps, quantity) in
            [(4_900, 0, 1), (333, 3_333, 3), (i64::MAX, 0, 1), (i64::MAX, 5_000, 2)]
        {
            let price = priced(fixed, discount_bps);
            let found = |part| share_amount(&price, quantity, share(part, u64::MAX));
            assert_eq!(found(u64::MAX), fixed_amount(&price, quantity));
            assert_eq!(found(0), Some(Money::ZERO));
        }
        let half = |fixed| share_amount(&priced(fixed, 0), 1, share(1, 2)).map(Money::as_minor);
        assert_eq!(half(3_000), Some(1_500));
        assert_eq!(half(3), Some(2));
        assert_eq!(share_amount(&priced(i64::MAX, 0), 4, share(1, 2)), None);
    }

    /// The product without its last 24 digits; the first of those says which way to round.
    fn rounded_on_paper(chargeable: i128, price: i128) -> Option<i64> {
        let mut product = multiplied(chargeable.unsigned_abs(), price.unsigned_abs());
        product.resize(product.len().max(25), 0);
        let whole: String =
            product[24..].iter().rev().map(|digit| char::from(b'0' + digit)).collect();
        let magnitude = whole.parse::<u128>().ok()?.checked_add(u128::from(product[23] >= 5))?;
        let magnitude = i128::try_from(magnitude).ok()?;
        i64::try_from(if chargeable < 0 { -magnitude } else { magnitude }).ok()
    }

    fn price_of(units: u64) -> UnitPrice {
        let (whole, fraction) = (units / 10_u64.pow(12), units % 10_u64.pow(12));
        UnitPrice::parse(&format!("{whole}.{fraction:012}")).unwrap()
    }

    proptest! {
        #[test]
        fn usage_costs_what_it_does_on_paper(
            units: i128,
            shift in 0_u32..127,
            price_units in 1_u64..10_u64.pow(17),
            price_digits in 1_u32..17,
        ) {
            let units = units >> shift;
            let price = price_of(price_units % 10_u64.pow(price_digits) + 1);
            let found = usage_amount(Quantity::from_units(units), price).map(Money::as_minor);
            prop_assert_eq!(found, rounded_on_paper(units, price.as_units()));
        }

        #[test]
        fn exact_halves_go_away_from_zero(minor in 0_i64..1_000_000_000_000, price_exponent in 0_u32..12) {
            // minor + 1/2 whole minor units, at a price of 10^-exponent.
            let price = price_of(10_u64.pow(12 - price_exponent));
            let units = (i128::from(minor) * 2 + 1) * ONE / 2 * 10_i128.pow(price_exponent);
            let found = |units| usage_amount(Quantity::from_units(units), price).unwrap().as_minor();
            prop_assert_eq!(found(units), minor + 1);
            prop_assert_eq!(found(units - 1), minor);
            prop_assert_eq!(found(-units), -minor - 1);
        }

        #[test]
        fn a_share_of_a_fixed_line_is_the_nearest_amount(
            fixed in 0_i64..10_i64.pow(9),
            quantity in 0_u32..100,
            discount_bps in 0_u16..=10_000,
            part_nanos in 0_u64..=31_622_400_000_000_000,
            rest_nanos in 0_u64..=31_622_400_000_000_000,
        ) {
            let whole_nanos = (part_nanos + rest_nanos).max(1);
            let part = Duration::from_nanos(part_nanos);
            let share = Share { part, whole: Duration::from_nanos(whole_nanos) };
            let price = priced(fixed, discount_bps);
            let amount = share_amount(&price, quantity, share).unwrap().as_minor();
            // The same on paper, digit by digit: 2 x exact x part against (2 x amount +- 1) x whole.
            let exact = u128::try_from(fixed_exact(&price, quantity)).unwrap();
            let twice = number(multiplied(2 * exact, part_nanos.into()));
            let whole = u128::from(whole_nanos) * 10_000;
            let amount = u128::try_from(amount).unwrap();
            prop_assert!(twice < number(multiplied(2 * amount + 1, whole)));
            prop_assert!(amount == 0 || twice >= number(multiplied(2 * amount - 1, whole)));
        }

        #[test]
        fn a_fixed_line_is_the_nearest_amount(fixed in 0_i64..10_i64.pow(12), quantity in 0_u32..10_000, discount_bps in 0_u16..=10_000) {
            let amount = fixed_amount(&priced(fixed, discount_bps), quantity).unwrap().as_minor();
            let exact = i128::from(fixed) * i128::from(quantity) * i128::from(10_000 - discount_bps);
            // At most half a minor unit away, and above it at a half.
            let over = i128::from(amount) * 10_000 - exact;
            prop_assert!(-5_000 < over && over <= 5_000, "{} {}", amount, exact);
        }
    }
}
