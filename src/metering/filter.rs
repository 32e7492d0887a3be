//! Whether an event's metadata passes a meter's filter.
//!
//! A condition whose key is missing is false, whatever its operator. Values compare only within
//! their type: a number never equals a string, so for a value of another type `equals` is false
//! and `not_equals` is true. Numbers compare as exact decimals, `1.0` equals `1`. The four ordering
//! operators compare numbers and `contains` and `does_not_contain` look into strings, with regard
//! to case; for a value of another type all six are false.
//!
//! [`matches()`] holds for filters that [`check`] has passed, which bounds their depth and size.

use std::cmp::Ordering;

use crate::metering::text::{has_control, has_length, is_within, shown};
use crate::metering::validate::{METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX};
use crate::model::meter::FILTER_LEVELS_MAX;
use crate::model::{
    Clauses, Condition, Conjunction, Event, Filter, FilterValue, Number, Operator, Scalar,
};

/// Conditions that a filter may have in all its levels together.
pub const FILTER_CONDITIONS_MAX: usize = 100;

/// Why a meter cannot have a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Filters are nested too deeply.
    #[error("a filter may have at most {FILTER_LEVELS_MAX} nested levels")]
    TooDeep,
    /// A list of clauses is empty.
    #[error("a filter must have at least one clause")]
    NoClauses,
    /// There are too many conditions.
    #[error("a filter may have at most {FILTER_CONDITIONS_MAX} conditions")]
    TooManyConditions,
    /// No event can have this key.
    #[error("filter key `{key}`: must have 1 to {METADATA_KEY_CHARS_MAX} characters, no controls")]
    BadKey {
        /// The key, cut and escaped.
        key: String,
    },
    /// No event can have this value.
    #[error("filter value of `{key}`: must have at most {METADATA_VALUE_CHARS_MAX} characters")]
    BadValue {
        /// The condition's key.
        key: String,
    },
    /// An ordering operator has a value that is not a number.
    #[error("filter value of `{key}`: the operator needs a number")]
    NumberNeeded {
        /// The condition's key.
        key: String,
    },
    /// An operator that looks into strings has a value that is not a string.
    #[error("filter value of `{key}`: the operator needs a string")]
    StringNeeded {
        /// The condition's key.
        key: String,
    },
}

/// Makes sure that a new meter may have `filter`.
///
/// # Errors
/// The first rule that the filter breaks.
pub fn check(filter: &Filter) -> Result<(), FilterError> {
    check_level(filter, FILTER_LEVELS_MAX, &mut 0)
}

fn check_level(
    filter: &Filter,
    levels_left: usize,
    conditions: &mut usize,
) -> Result<(), FilterError> {
    match &filter.clauses {
        Clauses::Conditions(list) => {
            *conditions += list.len();
            if list.is_empty() {
                return Err(FilterError::NoClauses);
            }
            if *conditions > FILTER_CONDITIONS_MAX {
                return Err(FilterError::TooManyConditions);
            }
            list.iter().try_for_each(check_condition)
        }
        Clauses::Filters(list) => {
            if list.is_empty() {
                return Err(FilterError::NoClauses);
            }
            let levels_left = levels_left.checked_sub(1).ok_or(FilterError::TooDeep)?;
            list.iter().try_for_each(|filter| check_level(filter, levels_left, conditions))
        }
    }
}

fn check_condition(condition: &Condition) -> Result<(), FilterError> {
    let key = || shown(&condition.key);
    if !has_length(&condition.key, METADATA_KEY_CHARS_MAX) || has_control(&condition.key) {
        return Err(FilterError::BadKey { key: key() });
    }
    let is_possible = match &condition.value {
        FilterValue::String(text) => is_within(text, METADATA_VALUE_CHARS_MAX),
        FilterValue::Number(text) => {
            is_within(text, METADATA_VALUE_CHARS_MAX) && Number::new(text).is_some()
        }
        FilterValue::Boolean(_) => true,
    };
    if !is_possible {
        return Err(FilterError::BadValue { key: key() });
    }
    match (condition.operator, &condition.value) {
        (Operator::Equals | Operator::NotEquals, _)
        | (
            Operator::GreaterThan
            | Operator::GreaterThanOrEquals
            | Operator::LessThan
            | Operator::LessThanOrEquals,
            FilterValue::Number(_),
        )
        | (Operator::Contains | Operator::DoesNotContain, FilterValue::String(_)) => Ok(()),
        (
            Operator::GreaterThan
            | Operator::GreaterThanOrEquals
            | Operator::LessThan
            | Operator::LessThanOrEquals,
            FilterValue::String(_) | FilterValue::Boolean(_),
        ) => Err(FilterError::NumberNeeded { key: key() }),
        (
            Operator::Contains | Operator::DoesNotContain,
            FilterValue::Number(_) | FilterValue::Boolean(_),
        ) => Err(FilterError::StringNeeded { key: key() }),
    }
}

/// Whether `event` passes `filter`.
pub fn matches(filter: &Filter, event: &Event<'_>) -> bool {
    match (&filter.clauses, filter.conjunction) {
        (Clauses::Conditions(list), Conjunction::And) => list.iter().all(|one| holds(one, event)),
        (Clauses::Conditions(list), Conjunction::Or) => list.iter().any(|one| holds(one, event)),
        (Clauses::Filters(list), Conjunction::And) => list.iter().all(|one| matches(one, event)),
        (Clauses::Filters(list), Conjunction::Or) => list.iter().any(|one| matches(one, event)),
    }
}

/// Whether one condition holds for `event`.
pub(super) fn holds(condition: &Condition, event: &Event<'_>) -> bool {
    let Some(value) = event.get(&condition.key) else { return false };
    let wanted = &condition.value;
    match condition.operator {
        Operator::Equals => equal(value, wanted),
        Operator::NotEquals => !equal(value, wanted),
        Operator::GreaterThan => order(value, wanted).is_some_and(Ordering::is_gt),
        Operator::GreaterThanOrEquals => order(value, wanted).is_some_and(Ordering::is_ge),
        Operator::LessThan => order(value, wanted).is_some_and(Ordering::is_lt),
        Operator::LessThanOrEquals => order(value, wanted).is_some_and(Ordering::is_le),
        Operator::Contains => contains(value, wanted) == Some(true),
        Operator::DoesNotContain => contains(value, wanted) == Some(false),
    }
}

fn equal(value: &Scalar<'_>, wanted: &FilterValue) -> bool {
    match (value, wanted) {
        (Scalar::String(value), FilterValue::String(wanted)) => value == wanted,
        (Scalar::Boolean(value), FilterValue::Boolean(wanted)) => value == wanted,
        (Scalar::String(_) | Scalar::Number(_) | Scalar::Boolean(_), _) => {
            order(value, wanted).is_some_and(Ordering::is_eq)
        }
    }
}

/// How two numbers compare; nothing when one of the values is none.
fn order(value: &Scalar<'_>, wanted: &FilterValue) -> Option<Ordering> {
    match (value, wanted) {
        (Scalar::Number(value), FilterValue::Number(wanted)) => {
            Number::new(wanted).map(|wanted| value.compare(wanted))
        }
        (Scalar::String(_) | Scalar::Number(_) | Scalar::Boolean(_), _) => None,
    }
}

/// Whether one string stands in another; nothing when one of the values is none.
fn contains(value: &Scalar<'_>, wanted: &FilterValue) -> Option<bool> {
    match (value, wanted) {
        (Scalar::String(value), FilterValue::String(wanted)) => Some(value.contains(wanted)),
        (Scalar::String(_) | Scalar::Number(_) | Scalar::Boolean(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    fn event(members: &[(&'static str, Scalar<'static>)]) -> Event<'static> {
        Event {
            id: "e".into(),
            customer_id: "c".into(),
            name: "n".into(),
            timestamp: Timestamp::default(),
            timestamp_given: false,
            metadata: Some(
                members.iter().map(|(key, value)| ((*key).into(), value.clone())).collect(),
            ),
        }
    }

    fn number(text: &'static str) -> Scalar<'static> {
        Scalar::Number(Number::new(text).unwrap())
    }

    fn string(text: &'static str) -> Scalar<'static> {
        Scalar::String(text.into())
    }

    fn condition(operator: Operator, value: FilterValue) -> Condition {
        Condition { key: "k".to_owned(), operator, value }
    }

    fn text(value: &str) -> FilterValue {
        FilterValue::String(value.to_owned())
    }

    fn decimal(value: &str) -> FilterValue {
        FilterValue::Number(value.to_owned())
    }

    fn all(conditions: Vec<Condition>) -> Filter {
        Filter { conjunction: Conjunction::And, clauses: Clauses::Conditions(conditions) }
    }

    fn nested(conjunction: Conjunction, filters: Vec<Filter>) -> Filter {
        Filter { conjunction, clauses: Clauses::Filters(filters) }
    }

    const OPERATORS: [Operator; 8] = [
        Operator::Equals,
        Operator::NotEquals,
        Operator::GreaterThan,
        Operator::GreaterThanOrEquals,
        Operator::LessThan,
        Operator::LessThanOrEquals,
        Operator::Contains,
        Operator::DoesNotContain,
    ];

    #[test]
    fn the_truth_table_of_every_operator() {
        // In the order of OPERATORS:     =  !=   >  >=   <  <=  has  lacks
        let table: [(Option<Scalar<'_>>, FilterValue, [u8; 8]); 20] = [
            (None, text("b"), [0, 0, 0, 0, 0, 0, 0, 0]),
            (None, decimal("1"), [0, 0, 0, 0, 0, 0, 0, 0]),
            (None, FilterValue::Boolean(true), [0, 0, 0, 0, 0, 0, 0, 0]),
            (Some(number("1.0")), decimal("1"), [1, 0, 0, 1, 0, 1, 0, 0]),
            (Some(number("2")), decimal("1"), [0, 1, 1, 1, 0, 0, 0, 0]),
            (Some(number("-2")), decimal("1e0"), [0, 1, 0, 0, 1, 1, 0, 0]),
            (Some(number("1e308")), decimal("1e307"), [0, 1, 1, 1, 0, 0, 0, 0]),
            (Some(number("0.1")), decimal("0.10"), [1, 0, 0, 1, 0, 1, 0, 0]),
            (Some(string("1")), decimal("1"), [0, 1, 0, 0, 0, 0, 0, 0]),
            (Some(Scalar::Boolean(true)), decimal("1"), [0, 1, 0, 0, 0, 0, 0, 0]),
            (Some(string("b")), text("b"), [1, 0, 0, 0, 0, 0, 1, 0]),
            (Some(string("abc")), text("b"), [0, 1, 0, 0, 0, 0, 1, 0]),
            (Some(string("B")), text("b"), [0, 1, 0, 0, 0, 0, 0, 1]),
            (Some(string("")), text(""), [1, 0, 0, 0, 0, 0, 1, 0]),
            (Some(number("1")), text("1"), [0, 1, 0, 0, 0, 0, 0, 0]),
            (Some(Scalar::Boolean(true)), text("true"), [0, 1, 0, 0, 0, 0, 0, 0]),
            (Some(Scalar::Boolean(true)), FilterValue::Boolean(true), [1, 0, 0, 0, 0, 0, 0, 0]),
            (Some(Scalar::Boolean(false)), FilterValue::Boolean(true), [0, 1, 0, 0, 0, 0, 0, 0]),
            (Some(string("true")), FilterValue::Boolean(true), [0, 1, 0, 0, 0, 0, 0, 0]),
            (Some(number("1")), FilterValue::Boolean(true), [0, 1, 0, 0, 0, 0, 0, 0]),
        ];
        for (value, wanted, expected) in table {
            let members = value.clone().map(|value| ("k", value));
            let event = event(members.as_slice());
            for (operator, expected) in OPERATORS.into_iter().zip(expected) {
                let filter = all(vec![condition(operator, wanted.clone())]);
                assert_eq!(
                    matches(&filter, &event),
                    expected == 1,
                    "{value:?} {operator:?} {wanted:?}"
                );
            }
        }
    }

    #[test]
    fn an_event_without_metadata_passes_no_condition() {
        let event = Event { metadata: None, ..event(&[]) };
        for operator in OPERATORS {
            assert!(!matches(&all(vec![condition(operator, text("x"))]), &event));
        }
    }

    #[test]
    fn filters_are_checked_at_every_level() {
        let leaf = || all(vec![condition(Operator::Equals, text("x"))]);
        let deep = |levels: usize| {
            (0..levels).fold(leaf(), |inner, _| nested(Conjunction::Or, vec![leaf(), inner]))
        };
        assert_eq!(check(&deep(3)), Ok(()));
        assert_eq!(check(&deep(4)), Err(FilterError::TooDeep));
        for empty in [all(Vec::new()), nested(Conjunction::Or, Vec::new())] {
            assert_eq!(check(&empty), Err(FilterError::NoClauses));
            let inside = nested(Conjunction::And, vec![leaf(), empty]);
            assert_eq!(check(&inside), Err(FilterError::NoClauses));
        }
        let wide = |count| nested(Conjunction::And, vec![leaf(); count]);
        assert_eq!(check(&wide(100)), Ok(()));
        assert_eq!(check(&wide(101)), Err(FilterError::TooManyConditions));
    }

    #[test]
    fn a_condition_that_could_never_hold_is_refused() {
        let outcome = |key: &str, operator, value| {
            check(&all(vec![Condition { key: key.to_owned(), operator, value }]))
        };
        for key in ["", "a\nb", &"k".repeat(101)] {
            let refused = outcome(key, Operator::Equals, text("x"));
            assert!(matches!(refused, Err(FilterError::BadKey { .. })), "{key}");
        }
        assert_eq!(outcome(&"é".repeat(100), Operator::Equals, text(&"é".repeat(500))), Ok(()));
        for value in [text(&"x".repeat(501)), decimal(&"1".repeat(501)), decimal("01")] {
            let refused = outcome("k", Operator::NotEquals, value);
            assert_eq!(refused, Err(FilterError::BadValue { key: "k".to_owned() }));
        }
        for operator in OPERATORS {
            let accepted = [text("x"), decimal("1"), FilterValue::Boolean(true)]
                .map(|value| outcome("k", operator, value).is_ok());
            let expected = match operator {
                Operator::Equals | Operator::NotEquals => [true, true, true],
                Operator::Contains | Operator::DoesNotContain => [true, false, false],
                Operator::GreaterThan
                | Operator::GreaterThanOrEquals
                | Operator::LessThan
                | Operator::LessThanOrEquals => [false, true, false],
            };
            assert_eq!(accepted, expected, "{operator:?}");
        }
    }

    /// A filter over the keys a to d, and what it says when those in `present` are there.
    fn filters() -> impl Strategy<Value = Filter> {
        let leaf = prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(|key| Condition {
            key: key.to_owned(),
            operator: Operator::Equals,
            value: FilterValue::Boolean(true),
        });
        let conjunction = || prop::sample::select(vec![Conjunction::And, Conjunction::Or]);
        let conditions =
            (conjunction(), prop::collection::vec(leaf, 1..4)).prop_map(|(conjunction, list)| {
                Filter { conjunction, clauses: Clauses::Conditions(list) }
            });
        conditions.prop_recursive(3, 24, 3, move |inner| {
            (conjunction(), prop::collection::vec(inner, 1..4))
                .prop_map(|(conjunction, list)| nested(conjunction, list))
        })
    }

    fn naive(filter: &Filter, present: &[&str]) -> bool {
        let results: Vec<bool> = match &filter.clauses {
            Clauses::Conditions(list) => {
                list.iter().map(|one| present.contains(&one.key.as_str())).collect()
            }
            Clauses::Filters(list) => list.iter().map(|one| naive(one, present)).collect(),
        };
        match filter.conjunction {
            Conjunction::And => !results.contains(&false),
            Conjunction::Or => results.contains(&true),
        }
    }

    proptest! {
        #[test]
        fn groups_join_their_clauses_at_every_level(
            filter in filters(),
            present in prop::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4),
        ) {
            let members: Vec<_> = present.iter().map(|key| (*key, Scalar::Boolean(true))).collect();
            prop_assert_eq!(check(&filter), Ok(()));
            prop_assert_eq!(matches(&filter, &event(&members)), naive(&filter, &present));
        }
    }
}
