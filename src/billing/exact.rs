//! Amounts that are not rounded yet: what a unit price times a quantity comes to, to its last digit.

use crate::model::{Money, Quantity, UnitPrice};

/// Units of a quantity in one whole, and of a unit price in one minor unit.
pub(super) const ONE: i128 = 1_000_000_000_000;
/// Parts of a minor unit: those of a quantity times those of a price.
const PARTS: i128 = ONE * ONE;

/// Amounts beyond are as far away, where it is asked how many units they pay for: what that comes to fits 128 bits.
const REACH: i64 = 10_000_000_000_000;

/// The most units that cost no more than an amount, before it is rounded; none for what is below nothing, and
/// fewer than there could be beyond 10^13 minor units.
pub fn units_within(price: UnitPrice, amount: Money) -> Quantity {
    let minor = amount.as_minor().clamp(0, REACH);
    // A price is more than zero.
    let units = (i128::from(minor) * PARTS).checked_div(price.as_units());
    Quantity::from_units(units.unwrap_or(0))
}

/// An amount of at least nothing. In two integers, because a product of a quantity and a price does
/// not fit 128 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exact {
    /// Whole minor units.
    minor: i128,
    /// Parts of 10^-24 of another; fewer than a whole.
    parts: i128,
}

impl Exact {
    /// What so many units cost, of which there are not fewer than none; nothing beyond 128 bits.
    pub(super) fn product(units: Quantity, price: UnitPrice) -> Option<Self> {
        // The wholes of the quantity x price = minor x 10^12 + finer.
        let (wholes, fraction) = (units.as_units() / ONE, units.as_units() % ONE);
        let of_wholes = wholes.checked_mul(price.as_units())?;
        let (minor, finer) = (of_wholes / ONE, of_wholes % ONE);
        // Fits: finer x 10^12 is below 10^24 and fraction x price below 10^29.
        let parts = finer * ONE + fraction * price.as_units();
        Some(Self { minor: minor.checked_add(parts / PARTS)?, parts: parts % PARTS })
    }

    /// The sum; nothing beyond 128 bits.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        // Fits: both are below 10^24.
        let parts = self.parts + other.parts;
        let minor = self.minor.checked_add(other.minor)?.checked_add(parts / PARTS)?;
        Some(Self { minor, parts: parts % PARTS })
    }

    /// Whole minor units, rounded half up; nothing beyond 128 bits.
    pub(super) fn rounded(self) -> Option<i128> {
        self.minor.checked_add(i128::from(self.parts * 2 >= PARTS))
    }
}

impl From<Money> for Exact {
    fn from(amount: Money) -> Self {
        Self { minor: amount.as_minor().into(), parts: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::billing::tests::paper::multiplied;
    use crate::model::Number;

    fn amount(units: Quantity, price: UnitPrice) -> Option<i64> {
        Exact::product(units, price)?.rounded().and_then(|minor| i64::try_from(minor).ok())
    }

    fn check(units: &str, price: &str, minor: i64) {
        let units = Number::new(units).unwrap().to_quantity().unwrap();
        let found = amount(units, UnitPrice::parse(price).unwrap());
        assert_eq!(found, Some(minor), "{units} at {price}");
    }

    #[test]
    fn amounts_are_rounded_once_half_away_from_zero() {
        check("1500", "2", 3_000);
        check("15000", "0.5", 7_500);
        check("0", "99999", 0);
        check("1", "0.5", 1);
        check("1", "0.499999999999", 0);
        check("3", "0.5", 2);
        check("0.333333333333", "1.5", 0);
        check("0.333333333334", "1.5", 1);
        check("0.000000000001", "0.000000000001", 0);
        // Two halves that are finer than the minor unit make one.
        check("1.5", "0.333333333333", 0);
        check("1.5", "0.333333333334", 1);
        check("999999999999999.999999999999", "9000", 9_000_000_000_000_000_000);
    }

    #[test]
    fn an_amount_beyond_its_integers_is_none() {
        let one = UnitPrice::parse("1").unwrap();
        let most = i128::from(i64::MAX);
        let found = |units| amount(Quantity::from_units(units), one);
        assert_eq!(found(most * ONE), Some(i64::MAX));
        assert_eq!(found((most + 1) * ONE), None);
        assert_eq!(found(most * ONE + ONE / 2 - 1), Some(i64::MAX));
        assert_eq!(found(most * ONE + ONE / 2), None);
        let highest = UnitPrice::parse("99999.999999999999").unwrap();
        assert_eq!(Exact::product(Quantity::from_units(i128::MAX), highest), None);
        let full = Exact { minor: i128::MAX, parts: PARTS / 2 };
        assert_eq!((full.rounded(), full.plus(full)), (None, None));
        let third = Exact { minor: 0, parts: PARTS / 3 };
        let sum = third.plus(third).and_then(|sum| sum.plus(third)).unwrap();
        assert_eq!((sum.rounded(), sum.minor), (Some(1), 0));
        assert_eq!(sum.plus(Exact { minor: 2, parts: 1 }), Some(Exact { minor: 3, parts: 0 }));
    }

    /// The product without its last 24 digits; the first of those says which way to round.
    fn rounded_on_paper(units: i128, price: i128) -> Option<i64> {
        let mut product = multiplied(units.unsigned_abs(), price.unsigned_abs());
        product.resize(product.len().max(25), 0);
        let whole: String =
            product[24..].iter().rev().map(|digit| char::from(b'0' + digit)).collect();
        let magnitude = whole.parse::<u128>().ok()?.checked_add(u128::from(product[23] >= 5))?;
        i64::try_from(magnitude).ok()
    }

    fn price_of(units: u64) -> UnitPrice {
        let (whole, fraction) = (units / 10_u64.pow(12), units % 10_u64.pow(12));
        UnitPrice::parse(&format!("{whole}.{fraction:012}")).unwrap()
    }

    proptest! {
        #[test]
        fn units_cost_what_they_do_on_paper(
            units in 0..=i128::MAX,
            shift in 0_u32..127,
            price_units in 1_u64..10_u64.pow(17),
            price_digits in 1_u32..17,
        ) {
            let units = units >> shift;
            let price = price_of(price_units % 10_u64.pow(price_digits) + 1);
            let found = amount(Quantity::from_units(units), price);
            prop_assert_eq!(found, rounded_on_paper(units, price.as_units()));
        }

        #[test]
        fn the_most_units_within_an_amount_cost_it_and_one_more_does_not(
            minor in -5_i64..=REACH,
            shift in 0_u32..44,
            price_units in 1_u64..10_u64.pow(17),
            price_digits in 1_u32..17,
        ) {
            let minor = minor >> shift;
            let price = price_of(price_units % 10_u64.pow(price_digits) + 1);
            let units = units_within(price, Money::from_minor(minor));
            let amount = Exact::from(Money::from_minor(minor.max(0)));
            prop_assert!(Exact::product(units, price).unwrap() <= amount);
            let more = Quantity::from_units(units.as_units() + 1);
            prop_assert!(Exact::product(more, price).unwrap() > amount);
        }

        #[test]
        fn exact_halves_go_away_from_zero(
            minor in 0_i64..1_000_000_000_000,
            price_exponent in 0_u32..12,
        ) {
            // minor + 1/2 whole minor units, at a price of 10^-exponent.
            let price = price_of(10_u64.pow(12 - price_exponent));
            let units = (i128::from(minor) * 2 + 1) * ONE / 2 * 10_i128.pow(price_exponent);
            let found = |units| amount(Quantity::from_units(units), price).unwrap();
            prop_assert_eq!(found(units), minor + 1);
            prop_assert_eq!(found(units - 1), minor);
        }

        #[test]
        fn sums_of_parts_are_the_whole(
            cuts in prop::collection::vec(0..10_i128.pow(30), 1..5),
            price_units in 1_u64..10_u64.pow(17),
        ) {
            let price = price_of(price_units);
            let part = |units: &i128| Exact::product(Quantity::from_units(*units), price).unwrap();
            let sum = cuts.iter().map(part).try_fold(Exact::default(), Exact::plus);
            prop_assert_eq!(sum, Some(part(&cuts.iter().sum())));
        }
    }
}
