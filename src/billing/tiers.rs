//! How tiers share units, and how many packages they begin.
//!
//! Units of a period are numbered from its start. A line charges those behind `from` up to `to`; so a
//! line that goes on where another has ended meets each tier and each package where that has left it.

use super::exact::ONE;
use crate::model::rate::{Tier, TierMode, TierShare};
use crate::model::{Money, Quantity};

/// How the tiers share the units between two positions, ascending; only those that have some.
/// Nothing when the tiers end before `to`.
pub(super) fn shares(
    mode: TierMode,
    tiers: &[Tier],
    from: Quantity,
    to: Quantity,
) -> Option<Vec<TierShare>> {
    if to <= from {
        return Some(Vec::new());
    }
    match mode {
        TierMode::Graduated => graduated(tiers, from, to),
        TierMode::Volume => volume(tiers, from, to).map(|share| vec![share]),
    }
}

/// The packages that are begun between two positions, of so many units each; nothing when they are
/// more than a quantity holds.
pub fn packages(size: u64, from: Quantity, to: Quantity) -> Option<Quantity> {
    // A package has at least one unit: a size of none is none that was ever sold.
    let size = Quantity::from_count(size.max(1)).as_units();
    let begun = |position: Quantity| {
        let (whole, rest) = (position.as_units() / size, position.as_units() % size);
        whole + i128::from(rest > 0)
    };
    (begun(to) - begun(from)).max(0).checked_mul(ONE).map(Quantity::from_units)
}

fn graduated(tiers: &[Tier], from: Quantity, to: Quantity) -> Option<Vec<TierShare>> {
    let mut shares = Vec::new();
    let mut start = Quantity::ZERO;
    for tier in tiers {
        let end = tier.up_to.unwrap_or(to).min(to);
        // Neither is negative.
        let units = end.as_units() - start.max(from).as_units();
        if units > 0 {
            shares.push(TierShare {
                up_to: tier.up_to,
                units: Quantity::from_units(units),
                price_per_unit: tier.price_per_unit,
                flat_fee: if from <= start { tier.flat_fee } else { Money::ZERO },
            });
        }
        start = start.max(end);
    }
    (start >= to).then_some(shares)
}

fn volume(tiers: &[Tier], from: Quantity, to: Quantity) -> Option<TierShare> {
    let lies_in = |tier: &Tier, position| tier.up_to.is_none_or(|end| position <= end);
    let place_of = |position| tiers.iter().position(|tier| lies_in(tier, position));
    let place = place_of(to)?;
    let tier = tiers.get(place)?;
    let is_reached = from > Quantity::ZERO && place_of(from) == Some(place);
    Some(TierShare {
        up_to: tier.up_to,
        units: Quantity::from_units(to.as_units() - from.as_units()),
        price_per_unit: tier.price_per_unit,
        flat_fee: if is_reached { Money::ZERO } else { tier.flat_fee },
    })
}
