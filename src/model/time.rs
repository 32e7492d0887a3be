//! Instants and hours. UTC throughout; nanoseconds since 1970 in an `i64` reach from 1677 to 2262.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_HOUR: i64 = 3_600 * NANOS_PER_SECOND;
const NANOS_PER_DAY: i64 = SECONDS_PER_DAY * NANOS_PER_SECOND;

/// An instant: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(i64);

/// Why a text is not an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// The text does not have the form of RFC 3339.
    #[error("not an RFC 3339 date-time such as 2026-01-31T23:59:59Z")]
    Form,
    /// A part lies outside its range, for example month 13 or 30 February.
    #[error("a date or time that does not exist")]
    NoSuchTime,
    /// The instant lies before 1678 or after 2261.
    #[error("a date outside the years 1678 to 2261")]
    OutOfRange,
}

impl Timestamp {
    /// The earliest instant.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant this many nanoseconds after 1970.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The instant `duration` later, or the latest there is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(duration)))
    }

    /// The instant `duration` earlier, or the earliest there is.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_nanos(duration)))
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339: `T`, `t` or a space between date and time, any number of fractional digits
    /// (those after the ninth are cut off), any offset; no offset means UTC. A leap second `:60`
    /// counts as `:59`.
    ///
    /// # Errors
    /// [`TimestampError`] says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let (head, behind) =
            text.as_bytes().split_first_chunk::<19>().ok_or(TimestampError::Form)?;
        let [y0, y1, y2, y3, a, m0, m1, b, d0, d1, b'T' | b't' | b' ', time @ ..] = *head else {
            return Err(TimestampError::Form);
        };
        let [century, _, year, _, _, month, ..] = DATE.pairs([y0, y1, y2, y3, a, m0, m1, b])?;
        let [hour, _, _, minute, _, _, second, _] = TIME.pairs(time)?;
        let [year, month] = [century * 100 + year, month];
        let day = number([d0, d1])?;
        let (fraction_nanos, behind) = fraction(behind)?;
        let offset_seconds = offset(behind)?;
        if !(1..=12).contains(&month)
            || !(1..=days_in_month(year, month)).contains(&day)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return Err(TimestampError::NoSuchTime);
        }
        let seconds = days_since_1970(year, month, day) * SECONDS_PER_DAY
            + hour * 3_600
            + minute * 60
            + second.min(59)
            - offset_seconds;
        // In 128 bits: the last whole second before the earliest instant lies outside 64.
        let nanos = i128::from(seconds) * i128::from(NANOS_PER_SECOND) + i128::from(fraction_nanos);
        i64::try_from(nanos).map(Self).map_err(|_| TimestampError::OutOfRange)
    }

    fn civil(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .expect("64 bits of nanoseconds lie within the calendar's years -9999 to 9999")
    }

    /// The start of the UTC month that holds this instant.
    #[must_use]
    pub fn month_start(self) -> Self {
        let date = self.civil().to_zoned(jiff::tz::TimeZone::UTC).date();
        Self::at_midnight(date.first_of_month())
    }

    /// The start of the UTC month after the one that holds this instant.
    #[must_use]
    pub fn next_month_start(self) -> Self {
        let date = self.civil().to_zoned(jiff::tz::TimeZone::UTC).date();
        let next = date.first_of_month().saturating_add(jiff::Span::new().months(1));
        Self::at_midnight(next)
    }

    /// The instant this many days of UTC later, or nothing when it lies beyond the latest.
    pub fn days_later(self, days: u64) -> Option<Self> {
        let nanos = i64::try_from(days).ok()?.checked_mul(NANOS_PER_DAY)?;
        self.0.checked_add(nanos).map(Self)
    }

    /// The instant this many calendar months of UTC later, at the same time of day: on the same day
    /// of the month, or on its last one where that month is shorter. Nothing when it lies beyond the
    /// latest.
    pub fn months_later(self, months: u64) -> Option<Self> {
        let span = jiff::Span::new().try_months(i64::try_from(months).ok()?).ok()?;
        let civil = self.civil().to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let later = jiff::tz::TimeZone::UTC.to_timestamp(civil.checked_add(span).ok()?).ok()?;
        i64::try_from(later.as_nanosecond()).ok().map(Self)
    }

    fn at_midnight(date: jiff::civil::Date) -> Self {
        let days = days_since_1970(date.year().into(), date.month().into(), date.day().into());
        Self(days.saturating_mul(SECONDS_PER_DAY).saturating_mul(NANOS_PER_SECOND))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with `Z` and as many fractional digits as needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.civil().fmt(f)
    }
}

/// One UTC hour, numbered from 1970: the grain of usage that is kept for queries.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Hour(pub i32);

impl Hour {
    /// The hour that holds `instant`.
    pub fn of(instant: Timestamp) -> Self {
        // Fits: 2^63 ns are 2.6 million hours.
        Self(i32::try_from(instant.0.div_euclid(NANOS_PER_HOUR)).unwrap_or(i32::MAX))
    }

    /// The hour's first instant; for the very first hour there is, the earliest instant.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0).saturating_mul(NANOS_PER_HOUR))
    }

    /// The hour `count` later.
    #[must_use]
    pub fn plus(self, count: i32) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// The first hour of the UTC day that holds this hour.
    #[must_use]
    pub fn day_start(self) -> Self {
        Self(self.0.div_euclid(24).saturating_mul(24))
    }

    /// Whether `instant` is the start of an hour.
    pub fn is_boundary(instant: Timestamp) -> bool {
        instant.0.rem_euclid(NANOS_PER_HOUR) == 0
    }
}

fn saturating_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of its year and months follow one linear formula.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let march_month = if month <= 2 { month + 9 } else { month - 3 };
    let leap_days =
        march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    march_year * 365 + leap_days + (153 * march_month + 2) / 5 + day - 1 - 719_468
}

/// The form of eight characters of a date-time.
struct Form {
    zeros: u64,
    /// What carries a byte that is no digit, or not what stands between digits, into the highest bit.
    slack: u64,
}

/// Year and month.
const DATE: Form = Form::new(*b"0000-00-");
/// Hour, minute and second.
const TIME: Form = Form::new(*b"00:00:00");

impl Form {
    /// That of this text, in which zeros stand for digits.
    const fn new(text: [u8; 8]) -> Self {
        let zeros = u64::from_le_bytes(text);
        let mut slack = 0;
        let mut place = 0;
        while place < 64 {
            let is_digit = (zeros >> place) & 0xff == b'0' as u64;
            slack |= (if is_digit { 0x80 - 10 } else { 0x80 - 1 }) << place;
            place += 8;
        }
        Self { zeros, slack }
    }

    /// At the place of each digit ten times its value and once the next one's: where a number of two digits
    /// begins, the number.
    fn pairs(&self, text: [u8; 8]) -> Result<[i64; 8], TimestampError> {
        const HIGHEST_BITS: u64 = 0x8080_8080_8080_8080;
        const HIGH_HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
        let values = u64::from_le_bytes(text) ^ self.zeros;
        // No byte below 16 carries into the next one; one that is not is wrong anyway.
        let carried = values.wrapping_add(self.slack) & HIGHEST_BITS;
        let wrong = (values & HIGH_HALVES) | carried;
        if wrong != 0 {
            return Err(TimestampError::Form);
        }
        let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
        Ok(pairs.to_le_bytes().map(i64::from))
    }
}

/// The number that these digits write.
fn number<const WIDTH: usize>(digits: [u8; WIDTH]) -> Result<i64, TimestampError> {
    let values = digits.map(|digit| digit.wrapping_sub(b'0'));
    if values.iter().any(|value| *value > 9) {
        return Err(TimestampError::Form);
    }
    Ok(values.iter().fold(0, |before, value| before * 10 + i64::from(*value)))
}

/// The nanoseconds that a fraction of a second at the front writes, and what stands behind it.
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), TimestampError> {
    let Some((b'.', behind)) = text.split_first() else { return Ok((0, text)) };
    let mut rest = behind;
    let (mut nanos, mut unit) = (0, NANOS_PER_SECOND);
    while let Some((digit @ b'0'..=b'9', behind)) = rest.split_first() {
        // Zero from the tenth digit on.
        unit /= 10;
        nanos += i64::from(digit - b'0') * unit;
        rest = behind;
    }
    if rest.len() == behind.len() { Err(TimestampError::Form) } else { Ok((nanos, rest)) }
}

/// The seconds of the offset that is all that is left.
fn offset(text: &[u8]) -> Result<i64, TimestampError> {
    match *text {
        [] | [b'Z' | b'z'] => Ok(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (number([h0, h1])?, number([m0, m1])?);
            if hours > 23 || minutes > 59 {
                return Err(TimestampError::NoSuchTime);
            }
            let seconds = hours * 3_600 + minutes * 60;
            Ok(if sign == b'-' { -seconds } else { seconds })
        }
        _ => Err(TimestampError::Form),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<&str, TimestampError>) {
        let parsed = Timestamp::parse(text).map(|instant| instant.to_string());
        assert_eq!(parsed, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn accepted_forms_mean_the_same_instant_in_utc() {
        for text in [
            "2026-11-22T10:00:00.123Z",
            "2026-11-22t10:00:00.123z",
            "2026-11-22 10:00:00.123",
            "2026-11-22T12:00:00.123000+02:00",
            "2026-11-22T04:15:00.1230000000009-05:45",
        ] {
            check(text, Ok("2026-11-22T10:00:00.123Z"));
        }
        check("2016-12-31T23:59:60Z", Ok("2016-12-31T23:59:59Z"));
        check("2024-02-29T00:00:00Z", Ok("2024-02-29T00:00:00Z"));
        for instant in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant));
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        for text in ["", "2026", "2026-11-22", "2026-11-22T10:00:00.Z", "2026-11-22T10:00:00Zx"] {
            check(text, Err(TimestampError::Form));
        }
        for text in [
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00+24:00",
        ] {
            check(text, Err(TimestampError::NoSuchTime));
        }
        check("2300-01-01T00:00:00Z", Err(TimestampError::OutOfRange));
        check("0001-01-01T00:00:00Z", Err(TimestampError::OutOfRange));
    }

    #[test]
    fn every_character_is_judged_in_every_place() {
        const TEXT: &str = "2011-11-11T11:11:11";
        for (place, usual) in TEXT.char_indices() {
            for character in ('\0'..='\u{ff}').chain(['\u{2028}', '\u{1f600}']) {
                let text = format!("{}{character}{}", &TEXT[..place], &TEXT[place + 1..]);
                let is_form = match usual {
                    'T' => "Tt ".contains(character),
                    digit if digit.is_ascii_digit() => character.is_ascii_digit(),
                    mark => character == mark,
                };
                let is_refused_as_such = Timestamp::parse(&text) == Err(TimestampError::Form);
                assert_eq!(is_refused_as_such, !is_form, "{text:?}");
            }
        }
    }

    #[test]
    fn months_start_at_their_first_midnight() {
        let instant = Timestamp::parse("2024-12-31T23:59:59.999Z").unwrap();
        assert_eq!(instant.month_start().to_string(), "2024-12-01T00:00:00Z");
        assert_eq!(instant.next_month_start().to_string(), "2025-01-01T00:00:00Z");
    }

    #[test]
    fn hours_before_1970_round_down() {
        let instant = Timestamp::parse("1969-12-31T23:30:00Z").unwrap();
        assert_eq!(Hour::of(instant), Hour(-1));
        assert_eq!(Hour(-1).start().to_string(), "1969-12-31T23:00:00Z");
        assert_eq!(Hour(-1).day_start(), Hour(-24));
    }

    proptest! {
        #[test]
        fn every_instant_survives_printing_and_reading(nanos: i64) {
            let instant = Timestamp::from_nanos(nanos);
            prop_assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant));
        }

        #[test]
        fn parsing_agrees_with_the_calendar_library(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-][01][0-9]:[0-5][0-9])") {
            let ours = Timestamp::parse(&text).ok().map(|instant| i128::from(instant.as_nanos()));
            let theirs = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond);
            let theirs = theirs.filter(|nanos| i64::try_from(*nanos).is_ok());
            prop_assert_eq!(ours, theirs);
        }
    }
}
