//! What usage of a meter costs: a price of each unit, of each package, or of each tier; or credits.
//!
//! Plain values; what they come to is reckoned in [`billing`](crate::billing). Whoever makes one has
//! checked it: tiers ascend, and the last has no end.

use serde::{Deserialize, Serialize};

use crate::model::credit::CreditLink;
use crate::model::money::Money;
use crate::model::number::Quantity;
use crate::model::price::UnitPrice;

/// Tiers that one rate may have, at most.
pub const TIERS_MAX: usize = 20;

/// How units become an amount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rate {
    /// The same for every unit.
    PerUnit(UnitPrice),
    /// By packages, of which one that was begun costs as much as a whole one.
    Package {
        /// Whole units of a package; at least one.
        size: u64,
        /// What a package costs.
        price: UnitPrice,
    },
    /// By how many units the period has.
    Tiered {
        /// Which units a tier's price is for.
        mode: TierMode,
        /// The tiers, ascending: at least one, at most [`TIERS_MAX`].
        tiers: Vec<Tier>,
    },
    /// No money: units draw on credits.
    Credits(CreditLink),
}

/// Which units a tier's price is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TierMode {
    /// Each unit costs what the tier costs that it falls into.
    Graduated,
    /// Every unit costs what the tier costs that the last one falls into.
    Volume,
}

/// The units from where the tier before ends, that not included, to its own end, that included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Its end, more than that of the tier before; the last has none.
    pub up_to: Option<Quantity>,
    /// The price of one unit; without one they are free.
    pub price_per_unit: Option<UnitPrice>,
    /// What is due once a period when a unit falls into it; not negative.
    pub flat_fee: Money,
}

/// The part of a line that one tier has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierShare {
    /// The end of the tier.
    pub up_to: Option<Quantity>,
    /// The units that are paid at its price; more than none.
    pub units: Quantity,
    /// The price of one; without one they are free.
    pub price_per_unit: Option<UnitPrice>,
    /// What is due of its flat fee: all of it, or nothing when an earlier line of the period has it.
    pub flat_fee: Money,
}

/// Which of a line's bounds has decided its amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Bound {
    /// The usage comes to less.
    Minimum,
    /// The usage comes to more.
    Maximum,
}

/// What earlier segments of a period have used and billed of one meter; nothing at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// What a count or a sum came to; of other meters nothing.
    pub total: Quantity,
    /// The most that usage was at the end of a segment: that sum, or a segment's own value; never negative.
    pub high: Quantity,
    /// The units that were charged; never negative.
    pub billed: Quantity,
    /// The money that was charged for them.
    pub amount: Money,
}

impl Rate {
    /// The one price that stands for the rate where there is room for one: that of a unit or a
    /// package, or of the tier that the last unit of a line falls into, of the first tier when no
    /// unit does. Nothing when it is free, or paid in credits.
    pub fn shown_price(&self, shares: &[TierShare]) -> Option<UnitPrice> {
        match self {
            Self::PerUnit(price) | Self::Package { price, .. } => Some(*price),
            Self::Tiered { tiers, .. } => {
                let of_last = shares.last().map(|share| share.price_per_unit);
                of_last.or_else(|| tiers.first().map(|tier| tier.price_per_unit)).flatten()
            }
            Self::Credits(_) => None,
        }
    }

    /// How units draw on credits, when they are paid so.
    pub fn credits(&self) -> Option<&CreditLink> {
        match self {
            Self::Credits(link) => Some(link),
            Self::PerUnit(_) | Self::Package { .. } | Self::Tiered { .. } => None,
        }
    }
}
