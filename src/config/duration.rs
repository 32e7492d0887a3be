//! Lengths of time as people write them: a whole number and a unit.
//!
//! `35d`, `1h`, `5m`, `90s`, `100ms`; no sums of several, no fractions, no months. Kept in whole
//! milliseconds, so that what was read prints the same.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Units and their milliseconds, largest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A length of time in whole milliseconds that prints the way it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration {
    ms: u64,
}

/// The text is not a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a length of time such as \"35d\", \"1h\", \"5m\", \"90s\" or \"100ms\"")]
pub struct NotADuration;

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        Self::from_millis(duration.ms)
    }
}

impl FromStr for HumanDuration {
    type Err = NotADuration;

    /// Reads a whole number and its unit; no time at all may stand without a unit.
    fn from_str(text: &str) -> Result<Self, NotADuration> {
        if text == "0" {
            return Ok(Self::default());
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(NotADuration)?;
        let number: u64 = number.parse().map_err(|_| NotADuration)?;
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(NotADuration)?;
        number.checked_mul(*unit_ms).map(|ms| Self { ms }).ok_or(NotADuration)
    }
}

impl fmt::Display for HumanDuration {
    /// In the largest unit that needs no fraction; no time at all is `0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0");
        }
        let (unit, unit_ms) = UNITS
            .iter()
            .find(|(_, unit_ms)| self.ms.is_multiple_of(*unit_ms))
            .expect("every number of milliseconds is a multiple of one");
        write!(f, "{}{unit}", self.ms / unit_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_unit_is_read_and_the_largest_whole_one_is_printed() {
        for (text, ms, printed) in [
            ("35d", 35 * 86_400_000, "35d"),
            ("24h", 86_400_000, "1d"),
            ("5m", 300_000, "5m"),
            ("90s", 90_000, "90s"),
            ("100ms", 100, "100ms"),
            ("1000ms", 1_000, "1s"),
            ("0", 0, "0"),
            ("0s", 0, "0"),
        ] {
            let duration: HumanDuration = text.parse().unwrap();
            assert_eq!(Duration::from(duration), Duration::from_millis(ms), "{text}");
            assert_eq!(duration.to_string(), printed);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "5",
            "d",
            "-1s",
            "+1s",
            "1.5h",
            "1h30m",
            "1 s",
            " 1s",
            "1S",
            "1w",
            "1é",
            "99999999999999d",
        ] {
            assert_eq!(text.parse::<HumanDuration>(), Err(NotADuration), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_survives_printing_and_reading(ms: u64) {
            let duration: HumanDuration = format!("{ms}ms").parse().unwrap();
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
