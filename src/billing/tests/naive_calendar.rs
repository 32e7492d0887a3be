//! The calendar as a child counts it, for tests: one day after the other, with no arithmetic that
//! the real one shares.

use crate::model::Timestamp;
use crate::model::price::{Interval, IntervalUnit};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

#[derive(Clone, Copy)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    fn is_last_of_month(self) -> bool {
        let leap = self.year % 400 == 0 || (self.year % 4 == 0 && self.year % 100 != 0);
        let last = match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        self.day == last
    }

    fn next(self) -> Self {
        match (self.is_last_of_month(), self.month) {
            (false, _) => Self { day: self.day + 1, ..self },
            (true, 12) => Self { year: self.year + 1, month: 1, day: 1 },
            (true, _) => Self { month: self.month + 1, day: 1, ..self },
        }
    }
}

/// The date of an instant, read off its text.
fn date_of(instant: Timestamp) -> Date {
    let text = instant.to_string();
    let mut parts = text[..10].split('-').map(|part| part.parse().unwrap());
    let mut next = || parts.next().unwrap();
    Date { year: next(), month: next(), day: next() }
}

/// The boundaries within `days` days of the anchor, the anchor first.
pub(in crate::billing) fn boundaries(
    anchor: Timestamp,
    interval: Interval,
    days: i64,
) -> Vec<Timestamp> {
    let count = i64::from(interval.count);
    let anchor_date = date_of(anchor);
    let mut date = anchor_date;
    let mut months = 0;
    let mut found = Vec::new();
    for day in 0..days {
        let is_day_of_month =
            date.day == anchor_date.day || (date.day < anchor_date.day && date.is_last_of_month());
        let is_boundary = match interval.unit {
            IntervalUnit::Day => day % count == 0,
            IntervalUnit::Week => day % (7 * count) == 0,
            IntervalUnit::Month => is_day_of_month && months % count == 0,
            IntervalUnit::Year => is_day_of_month && months % (12 * count) == 0,
        };
        if is_boundary {
            found.push(Timestamp::from_nanos(anchor.as_nanos() + day * NANOS_PER_DAY));
        }
        months += i64::from(date.is_last_of_month());
        date = date.next();
    }
    found
}
