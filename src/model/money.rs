//! Amounts of money: whole minor units of a currency, checked.
//!
//! An amount does not carry its currency; the object that holds it does, and no two of those are
//! ever added.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in the minor unit of a currency, for example cents.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// This many minor units.
    pub const fn from_minor(units: i64) -> Self {
        Self(units)
    }

    /// The amount in minor units.
    pub const fn as_minor(self) -> i64 {
        self.0
    }

    /// The sum, or nothing when it leaves 64 bits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The sum of all, or nothing when it leaves 64 bits on the way.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_or_nothing() {
        let sum = |units: &[i64]| Money::checked_sum(units.iter().copied().map(Money::from_minor));
        assert_eq!(sum(&[]), Some(Money::ZERO));
        assert_eq!(sum(&[3000, 4900, -1]), Some(Money::from_minor(7899)));
        assert_eq!(sum(&[i64::MAX, 1, -1]), None);
    }
}
