//! The log sequence number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of an event or other record in the log: 1 is the first, 0 stands before it.
///
/// Numbers are given without gaps in log order, and log order is apply order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position before the first record.
    pub const ZERO: Self = Self(0);

    /// The number right after this one.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// The number right before this one; zero stays zero.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The number `count` further on.
    ///
    /// # Panics
    /// When the log would pass 2^64 records: at 10 million a second that takes 58,000 years.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("fewer than 2^64 records in one log"))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
