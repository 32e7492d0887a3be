//! What usage and fixed prices cost: exact until the end of a line, then rounded once, half away
//! from zero, to whole minor units of the currency.
//!
//! A period can be billed in segments, one line each. What was free, and where tiers and packages had
//! been left, goes from one to the next in [`Used`], so that nothing is granted or due twice; the
//! minimum is due with the last. Nothing here adds lines up: see [`close`](crate::billing::close).

use crate::billing::exact::Exact;
use crate::billing::tiers;
use crate::model::checkout::Purchase;
use crate::model::price::MeterPrice;
use crate::model::rate::{Bound, TierShare};
use crate::model::{Aggregation, Credits, Money, Price, Quantity, Rate, Share, UnitPrice, Used};

/// Hundredths of a percent in the whole.
const WHOLE_BPS: u16 = 10_000;

/// How usage of a period comes together from its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// It is the sum of theirs: a count, a sum.
    Additive,
    /// Each starts afresh: the largest value, the last.
    Level,
}

/// What a segment's usage of one meter comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rated {
    /// The units that are charged; never negative.
    pub chargeable: Quantity,
    /// The units of the period that stand before them in tiers and packages.
    pub position: Quantity,
    /// How the tiers share them, ascending; only of tiers.
    pub shares: Vec<TierShare>,
    /// What they cost, rounded once, between the bounds; never negative.
    pub amount: Money,
    /// Which bound has decided the amount.
    pub bound: Option<Bound>,
    /// What is used of the period after this.
    pub used: Used,
}

/// The units that a segment charges: those of the period behind `from` up to `to`.
struct Span {
    from: Quantity,
    to: Quantity,
}

impl Measure {
    /// How usage under this aggregation comes together.
    pub fn of(aggregation: &Aggregation) -> Self {
        match aggregation {
            Aggregation::Count | Aggregation::Sum { .. } => Self::Additive,
            Aggregation::Max { .. } | Aggregation::Last { .. } => Self::Level,
        }
    }
}

/// What a segment's usage costs under a price. `used` is what earlier segments of the period have left;
/// the minimum is owed by the segment that `ends_period`.
///
/// Nothing when an amount leaves 64 bits, a quantity 128, or the price's tiers end too early.
pub fn rate(
    consumed: Quantity,
    measure: Measure,
    price: &MeterPrice,
    used: &Used,
    ends_period: bool,
) -> Option<Rated> {
    let (span, used_of_meter) = used_after(consumed, measure, price.free_threshold, used)?;
    let chargeable = Quantity::from_units(span.to.as_units() - span.from.as_units());
    let shares = match &price.rate {
        Rate::PerUnit(_) | Rate::Package { .. } | Rate::Credits(_) => Vec::new(),
        Rate::Tiered { mode, tiers } => tiers::shares(*mode, tiers, span.from, span.to)?,
    };
    let exact = match &price.rate {
        Rate::PerUnit(price) => Exact::product(chargeable, *price)?,
        Rate::Package { size, price } => {
            Exact::product(tiers::packages(*size, span.from, span.to)?, *price)?
        }
        Rate::Tiered { .. } => of_shares(&shares)?,
        Rate::Credits(_) => Exact::default(),
    };
    let (minor, bound) = bounded(exact.rounded()?, price, used, ends_period);
    let amount = money(minor)?;
    let used = Used {
        billed: used.billed.checked_add(chargeable)?,
        amount: used.amount.checked_add(amount)?,
        ..used_of_meter
    };
    Some(Rated { chargeable, position: span.from, shares, amount, bound, used })
}

/// Which units a segment charges, and what the meter itself has used after it.
fn used_after(
    consumed: Quantity,
    measure: Measure,
    free_threshold: u64,
    used: &Used,
) -> Option<(Span, Used)> {
    let free = Quantity::from_count(free_threshold);
    match measure {
        Measure::Additive => {
            let total = used.total.checked_add(consumed)?;
            let high = used.high.max(total).max(Quantity::ZERO);
            let span = Span { from: exceeding(used.high, free), to: exceeding(high, free) };
            Some((span, Used { total, high, ..*used }))
        }
        Measure::Level => {
            let paid_or_free = free.checked_add(used.billed)?;
            let to = used.billed.checked_add(exceeding(consumed, paid_or_free))?;
            let high = used.high.max(consumed);
            Some((Span { from: used.billed, to }, Used { high, ..*used }))
        }
    }
}

/// What of a quantity exceeds a bound that is not negative.
fn exceeding(quantity: Quantity, bound: Quantity) -> Quantity {
    Quantity::from_units(quantity.as_units().saturating_sub(bound.as_units()).max(0))
}

fn of_shares(shares: &[TierShare]) -> Option<Exact> {
    shares.iter().try_fold(Exact::default(), |sum, share| {
        let units = match share.price_per_unit {
            Some(price) => Exact::product(share.units, price)?,
            None => Exact::default(),
        };
        sum.plus(units)?.plus(share.flat_fee.into())
    })
}

/// What a line comes to between the bounds of its price, of which earlier lines have taken their part.
fn bounded(
    minor: i128,
    price: &MeterPrice,
    used: &Used,
    ends_period: bool,
) -> (i128, Option<Bound>) {
    let left_of = |bound: Money| i128::from(bound.as_minor()) - i128::from(used.amount.as_minor());
    if let Some(most) = price.maximum.map(|maximum| left_of(maximum).max(0))
        && minor > most
    {
        return (most, Some(Bound::Maximum));
    }
    match price.minimum.map(left_of) {
        Some(least) if ends_period && minor < least => (least, Some(Bound::Minimum)),
        Some(_) | None => (minor, None),
    }
}

/// What the fixed price of this many comes to after the discount, rounded once; nothing when it
/// leaves 64 bits.
pub fn fixed_amount(price: &Price, quantity: u32) -> Option<Money> {
    money(divide_half_away(fixed_exact(price, quantity), i128::from(WHOLE_BPS)))
}

/// What so many credits cost, rounded once; nothing when it leaves 64 bits.
pub fn overage_amount(credits: Credits, price: UnitPrice) -> Option<Money> {
    money(Exact::product(Quantity::from_units(credits.as_units()), price)?.rounded()?)
}

/// What a purchase comes to: that many of what the customer said that one costs, else of the fixed price
/// after the discount; nothing when it leaves 64 bits.
pub fn purchase_amount(price: &Price, purchase: &Purchase) -> Option<Money> {
    match purchase.amount {
        // Fits: 64 and 32 bits.
        Some(one) => money(i128::from(one.as_minor()) * i128::from(purchase.quantity)),
        None => fixed_amount(price, purchase.quantity),
    }
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
    use crate::billing::tests::paper::{multiplied, number};
    use crate::model::Currency;
    use crate::model::price::PriceKind;

    fn priced(fixed: i64, discount_bps: u16) -> Price {
        Price {
            currency: Currency::from_code("USD").unwrap(),
            fixed: Money::from_minor(fixed),
            discount_bps,
            tax_inclusive: false,
            purchasing_power_parity: false,
            kind: PriceKind::OneTime(None),
            credits: Vec::new(),
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

    proptest! {
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
