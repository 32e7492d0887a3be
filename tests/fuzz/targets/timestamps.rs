//! Instants, against the calendar of `jiff` and arithmetic in 128 bits.
//!
//! Laws: a text is an instant exactly when a naive reading says so, and then the same one; every
//! instant prints to a text that is read back; texts sort as their instants do; hours, days and months
//! hold the instants they should. The input is a text, or two instants in 8 bytes each.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use quipu::model::time::TimestampError;
use quipu::model::{Hour, Timestamp};

use super::input::Input;

const NANOS_PER_HOUR: i128 = 3_600_000_000_000;

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let drawn = [input.u64(), input.u64()].map(|bits| Timestamp::from_nanos(bits.cast_signed()));
    let mut instants = drawn.to_vec();
    if let Ok(text) = std::str::from_utf8(data) {
        for line in text.split('\n').take(3) {
            let found = Timestamp::parse(line);
            assert_eq!(found.map(|it| i128::from(it.as_nanos())), naive_instant(line), "{line}");
            instants.extend(found);
        }
    }
    for instant in &instants {
        check_printing(*instant);
        check_calendar(*instant);
        for other in &instants {
            let printed = |it: &Timestamp| it.to_string().trim_end_matches('Z').to_owned();
            assert_eq!(printed(instant).cmp(&printed(other)), instant.cmp(other));
        }
    }
}

/// What a text of RFC 3339 means: its form by a pattern, its date by `jiff`.
fn naive_instant(text: &str) -> Result<i128, TimestampError> {
    const PATTERN: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let fits = |byte: u8, pattern: u8| match pattern {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        literal => byte == literal,
    };
    let follows = |bytes: &[u8], pattern: &[u8]| {
        bytes.len() >= pattern.len() && bytes.iter().zip(pattern).all(|(b, p)| fits(*b, *p))
    };
    if !follows(text.as_bytes(), PATTERN) {
        return Err(TimestampError::Form);
    }
    let (date_time, rest) = text.split_at(PATTERN.len());
    let number = |from: usize, to: usize| date_time[from..to].parse::<i16>().unwrap();
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("0", rest),
    };
    if fraction.is_empty() {
        return Err(TimestampError::Form);
    }
    let fraction: String = format!("{fraction:0<9}").chars().take(9).collect();
    let offset_minutes: i128 = match offset {
        "" | "Z" | "z" => 0,
        given => {
            let sign = match given.as_bytes()[0] {
                b'+' => 1,
                b'-' => -1,
                _ => return Err(TimestampError::Form),
            };
            if given.len() != 6 || !follows(&given.as_bytes()[1..], b"dd:dd") {
                return Err(TimestampError::Form);
            }
            let (hours, minutes) = (given[1..3].parse::<i128>(), given[4..].parse::<i128>());
            let (hours, minutes) = (hours.unwrap(), minutes.unwrap());
            if hours > 23 || minutes > 59 {
                return Err(TimestampError::NoSuchTime);
            }
            sign * (hours * 60 + minutes)
        }
    };
    let small = |from: usize, to: usize| i8::try_from(number(from, to)).unwrap();
    let second = if small(17, 19) == 60 { 59 } else { small(17, 19) };
    let civil = DateTime::new(
        number(0, 4),
        small(5, 7),
        small(8, 10),
        small(11, 13),
        small(14, 16),
        second,
        fraction.parse().unwrap(),
    );
    let civil = civil.map_err(|_| TimestampError::NoSuchTime)?;
    let instant = TimeZone::UTC.to_timestamp(civil).map_err(|_| TimestampError::OutOfRange)?;
    let nanos = instant.as_nanosecond() - offset_minutes * (NANOS_PER_HOUR / 60);
    if i64::try_from(nanos).is_ok() { Ok(nanos) } else { Err(TimestampError::OutOfRange) }
}

fn check_printing(instant: Timestamp) {
    let text = instant.to_string();
    assert_eq!(Timestamp::parse(&text), Ok(instant), "{text}");
    assert_eq!(naive_instant(&text), Ok(instant.as_nanos().into()), "{text}");
    assert!(text.ends_with('Z') && !(text.contains('.') && text.ends_with("0Z")), "{text}");
}

fn check_calendar(instant: Timestamp) {
    let nanos = i128::from(instant.as_nanos());
    let hour = Hour::of(instant);
    assert_eq!(i128::from(hour.0), nanos.div_euclid(NANOS_PER_HOUR));
    assert_eq!(Hour::is_boundary(instant), nanos.rem_euclid(NANOS_PER_HOUR) == 0);
    assert!(
        hour.start() <= instant && hour.day_start() <= hour && hour.0 - hour.day_start().0 < 24
    );
    let (month, next) = (instant.month_start(), instant.next_month_start());
    assert!(month <= instant && (instant < next || next == Timestamp::MAX), "{instant}");
    let first_of_month = |it: Timestamp| it.to_string().get(7..).unwrap().to_owned();
    assert!(month == Timestamp::MIN || first_of_month(month) == "-01T00:00:00Z", "{instant}");
    assert!(next == Timestamp::MAX || first_of_month(next) == "-01T00:00:00Z", "{instant}");
    let days = instant.as_nanos().unsigned_abs() % 4_000;
    let later = nanos + i128::from(days) * 24 * NANOS_PER_HOUR;
    let found = instant.days_later(days).map(|it| i128::from(it.as_nanos()));
    assert_eq!(found, i64::try_from(later).is_ok().then_some(later), "{instant} {days}");
    let months = instant.as_nanos().unsigned_abs() % 40;
    if let Some(later) = instant.months_later(months) {
        let place = |it: Timestamp| it.month_start().to_string().get(..7).unwrap().to_owned();
        let number = |text: String| {
            let (year, month) = text.split_once('-').unwrap();
            year.parse::<u64>().unwrap() * 12 + month.parse::<u64>().unwrap()
        };
        if instant.month_start() > Timestamp::MIN {
            assert_eq!(number(place(later)), number(place(instant)) + months, "{instant} {months}");
        }
    }
}
