//! Usage becomes credits exactly, whatever the ratio and however it is cut.

use proptest::prelude::*;

use super::credits;
use crate::billing::credits::{DrawTerms, Mark, Usage};
use crate::model::{Credits, Number, Quantity, UnitsPerCredit};

/// 10^12, and its square.
const ONE: i128 = 1_000_000_000_000;

pub(super) fn terms(free_threshold: u64, ratio: &str, precision: u8) -> DrawTerms {
    let units_per_credit = UnitsPerCredit::new(units(ratio)).unwrap();
    DrawTerms { free_threshold, units_per_credit, precision }
}

fn units(text: &str) -> Quantity {
    Number::new(text).unwrap().to_quantity().unwrap()
}

fn by(text: &str) -> Usage {
    Usage::By(units(text))
}

fn to(text: &str) -> Usage {
    Usage::To(units(text))
}

/// What each event draws under the same terms.
fn check(terms: &DrawTerms, events: &[(Usage, &str)]) {
    let mut mark = Mark::default();
    for (place, (usage, drawn)) in events.iter().enumerate() {
        assert_eq!(mark.enter(*usage, terms), credits(drawn), "event {place}");
    }
}

#[test]
fn units_beyond_the_free_ones_draw_by_their_ratio() {
    check(&terms(0, "1000", 2), &[(by("2500"), "2.5")]);
    check(&terms(1000, "1", 0), &[(by("900"), "0"), (by("1600"), "1500"), (by("1"), "1")]);
    check(&terms(0, "0.1", 0), &[(by("3"), "30")]);
    check(&terms(0, "0.000001", 10), &[(by("0.0000000000001"), "0"), (by("0.5"), "500000")]);
}

#[test]
fn what_is_finer_than_the_precision_waits() {
    check(&terms(0, "1000", 0), &[(by("1500"), "1"), (by("499"), "0"), (by("1"), "1")]);
    check(&terms(0, "3", 2), &[(by("1"), "0.33"), (by("1"), "0.33"), (by("1"), "0.34")]);
    check(&terms(0, "3", 10), &[(by("1"), "0.3333333333"), (by("2"), "0.6666666667")]);
}

#[test]
fn a_decrease_gives_nothing_back_and_is_not_drawn_again() {
    let sum = [(by("10"), "10"), (by("-4"), "0"), (by("3"), "0"), (by("2"), "1")];
    check(&terms(0, "1", 0), &sum);
    let level = [(to("10"), "8"), (to("3"), "0"), (to("10"), "0"), (to("12"), "2")];
    check(&terms(2, "1", 0), &level);
    check(&terms(0, "1", 0), &[(to("-5"), "0"), (to("1"), "1")]);
}

#[test]
fn a_change_of_terms_keeps_what_waits_and_charges_nothing_that_was_free() {
    let (old, new) = (terms(1000, "1000", 0), terms(3000, "10", 0));
    let mut mark = Mark::default();
    assert_eq!(mark.enter(by("2500"), &old), credits("1"));
    // 500 units wait; 500 more are free under the new terms, and do not draw.
    assert_eq!(mark.enter(by("500"), &new), credits("50"));
    assert_eq!(mark.enter(by("15"), &new), credits("1"));
    // A late event of the old segment draws under its own terms.
    assert_eq!(mark.enter(by("995"), &old), credits("1"));
    assert_eq!(mark.enter(by("10"), &new), credits("1"));
}

#[test]
fn a_late_turn_draws_once_what_has_entered_before_it() {
    let terms = terms(10, "1", 0);
    let mut mark = Mark::default();
    mark.defer(by("25"));
    mark.defer(by("-5"));
    assert_eq!(mark.draw_deferred(&terms), credits("15"));
    assert_eq!(mark.draw_deferred(&terms), Credits::ZERO);
    assert_eq!(mark.enter(by("6"), &terms), credits("1"));
}

#[test]
fn units_that_are_paid_in_money_never_draw_and_use_up_what_is_free() {
    let terms = terms(10, "1", 0);
    let mut mark = Mark::default();
    mark.skip(by("25"));
    assert_eq!(mark.enter(by("1"), &terms), credits("1"));
    mark.skip(by("-20"));
    assert_eq!(mark.enter(by("19"), &terms), Credits::ZERO);
    assert_eq!(mark.enter(by("2"), &terms), credits("1"));
}

/// What is charged of so much usage, in 10^-24 units.
fn beyond_free(high: i128, terms: &DrawTerms) -> i128 {
    (high - i128::from(terms.free_threshold) * ONE).max(0) * ONE
}

/// What events draw together, counted over each stretch of equal terms at once: from where the stretch
/// begins less what waited then.
pub(super) fn drawn_by(events: &[(Usage, DrawTerms)]) -> Credits {
    let (mut sum, mut high, mut waiting, mut drawn) = (0, 0, 0, 0);
    for stretch in events.chunk_by(|left, right| left.1 == right.1) {
        let terms = stretch[0].1;
        let origin = beyond_free(high, &terms) - waiting;
        for (usage, _) in stretch {
            let value = match usage {
                Usage::By(units) => {
                    sum += units.as_units();
                    sum
                }
                Usage::To(value) => value.as_units(),
            };
            high = high.max(value);
        }
        let k = 10_i128.pow(12 - u32::from(terms.precision));
        let step = terms.units_per_credit.as_units() * k;
        let steps = (beyond_free(high, &terms) - origin) / step;
        waiting = beyond_free(high, &terms) - origin - steps * step;
        drawn += steps * k;
    }
    Credits::from_units(drawn)
}

fn any_terms() -> impl Strategy<Value = DrawTerms> {
    let ratio = prop::sample::select(vec!["0.1", "3", "1000", "0.000001", "7.25"]);
    let precision = prop::sample::select(vec![0, 2, 10]);
    (prop::sample::select(vec![0, 1, 50]), ratio, precision)
        .prop_map(|(free, ratio, precision)| terms(free, ratio, precision))
}

fn any_usage() -> impl Strategy<Value = Usage> {
    let value = -20 * ONE..60 * ONE;
    let whole = (-20..60_i128).prop_map(|whole| whole * ONE);
    prop_oneof![value, whole].prop_map(|units| Usage::By(Quantity::from_units(units)))
}

proptest! {
    #[test]
    fn credits_drawn_one_by_one_are_those_of_the_whole(
        is_level: bool,
        pair in [any_terms(), any_terms()],
        events in prop::collection::vec((any_usage(), 0..4_usize), 1..30),
    ) {
        let event = |(usage, which): (Usage, usize)| {
            let usage = match usage {
                Usage::By(value) if is_level => Usage::To(value),
                Usage::By(_) | Usage::To(_) => usage,
            };
            (usage, pair[usize::from(which == 0)])
        };
        let events: Vec<_> = events.into_iter().map(event).collect();
        let (mut mark, mut drawn) = (Mark::default(), Credits::ZERO);
        for (place, (usage, terms)) in events.iter().enumerate() {
            drawn = drawn.plus(mark.enter(*usage, terms));
            prop_assert_eq!(drawn, drawn_by(&events[..=place]), "event {}", place);
        }
    }

    #[test]
    fn when_usage_draws_changes_nothing(
        terms in any_terms(),
        events in prop::collection::vec((any_usage(), any::<bool>()), 1..30),
    ) {
        let (mut at_once, mut late) = (Mark::default(), Mark::default());
        let (mut drawn, mut drawn_late) = (Credits::ZERO, Credits::ZERO);
        for (usage, draws) in events {
            drawn = drawn.plus(at_once.enter(usage, &terms));
            late.defer(usage);
            if draws {
                drawn_late = drawn_late.plus(late.draw_deferred(&terms));
            }
        }
        drawn_late = drawn_late.plus(late.draw_deferred(&terms));
        prop_assert_eq!((drawn, at_once), (drawn_late, late));
    }

    /// Both sides of credits x ratio + waiting = units + waiting before, by their remainders.
    #[test]
    fn nothing_is_lost_of_amounts_of_any_size(
        first in 0..=i128::MAX,
        second in 0..=i128::MAX,
        shift in 0_u32..127,
        ratio in 1_u64..10_u64.pow(17),
        ratio_shift in 0_u32..57,
        precision in 0_u8..=10,
    ) {
        const PRIME: u128 = (1 << 61) - 1;
        let ratio = (ratio >> ratio_shift).max(1);
        let text = format!("{}.{:012}", ratio / 10_u64.pow(12), ratio % 10_u64.pow(12));
        let terms = terms(0, &text, precision);
        let mut mark = Mark::default();
        let (first, second) = (first >> shift, second >> shift);
        let (low, high) = (first.min(second), first.max(second));
        mark.enter(Usage::To(Quantity::from_units(low)), &terms);
        let waited = mark.waiting;
        let drawn = mark.enter(Usage::To(Quantity::from_units(high)), &terms).as_units();
        let k = 10_u128.pow(12 - u32::from(precision));
        prop_assert!(mark.waiting < u128::from(ratio) * k);
        if drawn < i128::MAX {
            prop_assert_eq!(drawn.unsigned_abs() % k, 0);
            let rest = |value: u128| value % PRIME;
            let left = rest(rest(drawn.unsigned_abs()) * rest(ratio.into())) + rest(mark.waiting);
            let right = rest(rest((high - low).unsigned_abs()) * rest(10_u128.pow(12))) + rest(waited);
            prop_assert_eq!(rest(left), rest(right));
        } else {
            prop_assert!((high - low) / i128::from(ratio) > i128::MAX / ONE - 1);
        }
    }

    #[test]
    fn no_usage_is_too_much(
        values in prop::collection::vec((any::<i128>(), any::<bool>()), 1..10),
        free: u64,
        precision: u8,
    ) {
        let (mut mark, terms) = (Mark::default(), terms(free, "0.000000000001", precision));
        for (value, is_level) in values {
            let value = Quantity::from_units(value);
            let usage = if is_level { Usage::To(value) } else { Usage::By(value) };
            prop_assert!(mark.enter(usage, &terms) >= Credits::ZERO);
        }
    }
}

#[test]
fn a_mark_is_small() {
    assert!(size_of::<Mark>() <= 64, "{}", size_of::<Mark>());
}

#[test]
fn what_usage_would_draw_is_what_it_draws_then() {
    let terms = terms(3, "3", 0);
    let mut mark = Mark::default();
    for usage in [by("4"), by("5"), by("-2"), by("3"), to("20")] {
        let (would, again) = (mark.would_draw(usage, &terms), mark.would_draw(usage, &terms));
        assert_eq!((would, again), (mark.enter(usage, &terms), would), "{usage:?}");
    }
}
