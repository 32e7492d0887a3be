//! The time that a chart shows, and how wide its bars are.

use std::time::Duration;

use crate::engine::query::Interval;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::model::{Hour, Timestamp};

/// A time up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    Day,
    Week,
    Month,
    Year,
}

impl Range {
    pub(super) const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    /// What the parameter `range` says; a day when there is none.
    ///
    /// # Errors
    /// 422
    pub(super) fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let read = |text: &str| Self::ALL.into_iter().find(|range| range.word() == text);
        Ok(parameters.parsed("range", "day, week, month or year", read)?.unwrap_or(Self::Day))
    }

    /// In addresses.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Day => "24 hours, by hour",
            Self::Week => "7 days, by hour",
            Self::Month => "30 days, by day",
            Self::Year => "12 months, by month",
        }
    }

    pub(super) fn interval(self) -> Interval {
        match self {
            Self::Day | Self::Week => Interval::Hour,
            Self::Month => Interval::Day,
            Self::Year => Interval::Month,
        }
    }

    /// Where each bar begins, oldest first; the last one has `now` in it.
    pub(super) fn starts(self, now: Timestamp) -> Vec<Timestamp> {
        let hour = Hour::of(now);
        let by = |count: i32, step: i32, last: Hour| {
            (0..count).rev().map(move |back| last.plus(-back * step).start()).collect()
        };
        match self {
            Self::Day => by(24, 1, hour),
            Self::Week => by(7 * 24, 1, hour),
            Self::Month => by(30, 24, hour.day_start()),
            Self::Year => {
                let mut starts = vec![now.month_start()];
                for _ in 1..12 {
                    let earlier = starts.last().map_or(now, |start| before(*start));
                    starts.push(earlier.month_start());
                }
                starts.reverse();
                starts
            }
        }
    }

    /// The instant behind the last bar.
    pub(super) fn end(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Day | Self::Week => Hour::of(now).plus(1).start(),
            Self::Month => Hour::of(now).day_start().plus(24).start(),
            Self::Year => now.next_month_start(),
        }
    }
}

fn before(at: Timestamp) -> Timestamp {
    at.minus(Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bar_holds_now_and_the_first_is_as_long_ago_as_it_says() {
        let now = Timestamp::parse("2026-03-01T05:30:00Z").unwrap();
        for (range, count, first, last, end) in [
            (
                Range::Day,
                24,
                "2026-02-28T06:00:00Z",
                "2026-03-01T05:00:00Z",
                "2026-03-01T06:00:00Z",
            ),
            (
                Range::Week,
                168,
                "2026-02-22T06:00:00Z",
                "2026-03-01T05:00:00Z",
                "2026-03-01T06:00:00Z",
            ),
            (
                Range::Month,
                30,
                "2026-01-31T00:00:00Z",
                "2026-03-01T00:00:00Z",
                "2026-03-02T00:00:00Z",
            ),
            (
                Range::Year,
                12,
                "2025-04-01T00:00:00Z",
                "2026-03-01T00:00:00Z",
                "2026-04-01T00:00:00Z",
            ),
        ] {
            let starts = range.starts(now);
            let found = (starts.len(), starts[0].to_string(), starts[starts.len() - 1].to_string());
            assert_eq!(found, (count, first.to_owned(), last.to_owned()), "{range:?}");
            assert_eq!(range.end(now).to_string(), end, "{range:?}");
            assert!(starts.is_sorted());
        }
    }
}
