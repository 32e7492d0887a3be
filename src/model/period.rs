//! A stretch of time: from its start to before its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// Half-open: holds its start and not its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    /// The first instant in it.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl Period {
    /// Whether `instant` lies in it.
    pub fn holds(&self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }
}

/// A part of a stretch of time, exact to the nanosecond; the part is never longer than the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    /// The part.
    pub part: Duration,
    /// The whole; longer than nothing.
    pub whole: Duration,
}

impl Share {
    /// Digits behind the point of [`Share::to_decimal`].
    const DIGITS: u32 = 12;

    /// The part of the whole as a decimal number from 0 to 1, with at most 12 digits behind the point,
    /// rounded to nearest.
    pub fn to_decimal(self) -> String {
        let one = 10_u128.pow(Self::DIGITS);
        let whole = self.whole.as_nanos().max(1);
        // Fits: a duration between two instants has at most 64 bits of nanoseconds.
        let units = (self.part.as_nanos().min(whole) * one + whole / 2) / whole;
        let text = format!("{}.{:012}", units / one, units % one);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_decimal_number_from_0_to_1() {
        let share = |part, whole| {
            Share { part: Duration::from_nanos(part), whole: Duration::from_nanos(whole) }
                .to_decimal()
        };
        assert_eq!(share(0, 7), "0");
        assert_eq!(share(7, 7), "1");
        assert_eq!(share(1, 2), "0.5");
        assert_eq!(share(2, 3), "0.666666666667");
        assert_eq!(share(u64::MAX - 1, u64::MAX), "1");
    }
}
