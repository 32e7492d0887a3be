//! Where the boundaries of a cycle lie in the civil calendar of UTC.
//!
//! Each boundary is reckoned from the anchor and never from the one before it, so that a month's end
//! stays one: 31 January, 28 February, 31 March. Between two neighbours lies a period, which holds
//! its start and not its end.

use crate::model::Timestamp;
use crate::model::price::{Interval, IntervalUnit};

/// Boundary number `k`: `anchor + k x interval`, at the anchor's time of day, to the nanosecond.
///
/// A month that is too short for the anchor's day has the boundary on its last day. Boundaries rise
/// strictly with `k`; there is none when it would lie beyond [`Timestamp::MAX`].
pub fn boundary(anchor: Timestamp, interval: Interval, k: u32) -> Option<Timestamp> {
    let units = u64::from(interval.count) * u64::from(k);
    match interval.unit {
        IntervalUnit::Day => anchor.days_later(units),
        IntervalUnit::Week => anchor.days_later(units.checked_mul(7)?),
        IntervalUnit::Month => anchor.months_later(units),
        IntervalUnit::Year => anchor.months_later(units.checked_mul(12)?),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::billing::tests::naive_calendar;
    use crate::model::Period;

    fn check(anchor: &str, (count, unit): (u32, IntervalUnit), expected: &[(u32, &str)]) {
        let anchor = Timestamp::parse(anchor).unwrap();
        for (k, text) in expected {
            let found = boundary(anchor, Interval { count, unit }, *k).map(|at| at.to_string());
            assert_eq!(found.as_deref(), Some(*text), "boundary {k} of {anchor}");
        }
    }

    #[test]
    fn month_ends_are_clamped_and_never_chained() {
        let month = (1, IntervalUnit::Month);
        check(
            "2026-01-31T12:00:00.000000001Z",
            month,
            &[
                (0, "2026-01-31T12:00:00.000000001Z"),
                (1, "2026-02-28T12:00:00.000000001Z"),
                (2, "2026-03-31T12:00:00.000000001Z"),
                (3, "2026-04-30T12:00:00.000000001Z"),
                (25, "2028-02-29T12:00:00.000000001Z"),
            ],
        );
        check("2026-01-30T00:00:00Z", month, &[(1, "2026-02-28T00:00:00Z")]);
        check(
            "2026-11-30T00:00:00Z",
            (3, IntervalUnit::Month),
            &[(1, "2027-02-28T00:00:00Z"), (2, "2027-05-30T00:00:00Z")],
        );
    }

    #[test]
    fn a_leap_day_returns_each_leap_year() {
        check(
            "2024-02-29T23:59:59.999999999Z",
            (1, IntervalUnit::Year),
            &[
                (1, "2025-02-28T23:59:59.999999999Z"),
                (3, "2027-02-28T23:59:59.999999999Z"),
                (4, "2028-02-29T23:59:59.999999999Z"),
                (76, "2100-02-28T23:59:59.999999999Z"),
            ],
        );
    }

    #[test]
    fn days_and_weeks_are_of_equal_length() {
        check("2026-02-27T01:02:03Z", (2, IntervalUnit::Day), &[(1, "2026-03-01T01:02:03Z")]);
        check("2026-12-25T00:00:00Z", (1, IntervalUnit::Week), &[(1, "2027-01-01T00:00:00Z")]);
    }

    #[test]
    fn beyond_the_latest_instant_there_is_no_boundary() {
        use IntervalUnit::{Day, Month, Week, Year};
        let anchor = Timestamp::parse("2026-01-31T00:00:00Z").unwrap();
        for unit in [Day, Week, Month, Year] {
            let longest = Interval { count: u32::MAX, unit };
            assert_eq!(boundary(anchor, longest, u32::MAX), None, "{unit:?}");
            assert_eq!(boundary(anchor, longest, 1), None, "{unit:?}");
            let one = Interval { count: 1, unit };
            assert_eq!(boundary(Timestamp::MAX, one, 0), Some(Timestamp::MAX), "{unit:?}");
            assert_eq!(boundary(Timestamp::MAX, one, 1), None, "{unit:?}");
            assert_eq!(boundary(Timestamp::MIN, one, 0), Some(Timestamp::MIN), "{unit:?}");
        }
        let yearly = Interval { count: 1, unit: Year };
        assert!(boundary(anchor, yearly, 236).is_some());
        assert_eq!(boundary(anchor, yearly, 237), None);
    }

    fn any_interval() -> impl Strategy<Value = Interval> {
        use IntervalUnit::{Day, Month, Week, Year};
        let unit = prop_oneof![Just(Day), Just(Week), Just(Month), Just(Year)];
        (1_u32..20, unit).prop_map(|(count, unit)| Interval { count, unit })
    }

    proptest! {
        #[test]
        fn boundaries_agree_with_counting_day_by_day(
            nanos in -1_000_000_000_000_000_000_i64..4_000_000_000_000_000_000,
            interval in any_interval(),
        ) {
            let anchor = Timestamp::from_nanos(nanos);
            let days = 365 * 45;
            let counted = naive_calendar::boundaries(anchor, interval, days);
            for (k, expected) in counted.into_iter().enumerate() {
                let k = u32::try_from(k).unwrap();
                prop_assert_eq!(boundary(anchor, interval, k), Some(expected), "{}", k);
            }
        }

        #[test]
        fn periods_cover_every_instant_after_the_anchor_once(
            nanos in -1_000_000_000_000_000_000_i64..4_000_000_000_000_000_000,
            interval in any_interval(),
            later in 0_i64..100_000_000_000_000_000,
        ) {
            let anchor = Timestamp::from_nanos(nanos);
            let periods: Vec<Period> = (0..1_200)
                .map(|k| Period {
                    start: boundary(anchor, interval, k).unwrap_or(Timestamp::MAX),
                    end: boundary(anchor, interval, k + 1).unwrap_or(Timestamp::MAX),
                })
                .collect();
            let holding = |instant| periods.iter().filter(|period| period.holds(instant)).count();
            prop_assert_eq!(holding(Timestamp::from_nanos(nanos + later)), 1);
            let edge = periods[usize::try_from(later % 100).unwrap()].end;
            if edge < Timestamp::MAX {
                prop_assert_eq!(holding(edge), 1);
                prop_assert_eq!(holding(Timestamp::from_nanos(edge.as_nanos() - 1)), 1);
            }
        }

        #[test]
        fn boundaries_rise_until_there_are_none(nanos: i64, interval in any_interval(), k in 0_u32..300_000) {
            let anchor = Timestamp::from_nanos(nanos);
            match (boundary(anchor, interval, k), boundary(anchor, interval, k + 1)) {
                (Some(this), next) => prop_assert!(next.is_none_or(|next| this < next)),
                (None, next) => prop_assert_eq!(next, None),
            }
        }
    }
}
