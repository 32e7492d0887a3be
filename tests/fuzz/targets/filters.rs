//! A meter's filter: its JSON in and out, and what it says of an event.
//!
//! Laws: what is accepted keeps the limits and survives printing and reading; a naive reading of the
//! tree accepts no other filters; an event passes exactly when a naive evaluation with exact decimals
//! says so. The input is the filter's JSON, a line feed, and the JSON of the event's metadata.

use std::cmp::Ordering;

use quipu::http::{filter_of_json, json_of_filter};
use quipu::metering::filter::{FILTER_CONDITIONS_MAX, check as check_rules, matches};
use quipu::model::{
    Clauses, Condition, Conjunction, Event, Filter, FilterValue, Number, Operator, Scalar,
    Timestamp,
};

use super::big::Exact;
use super::json::Tree;

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, metadata) = text.split_once('\n').unwrap_or((text, ""));
    let tree = Tree::read(text.as_bytes()).ok();
    let found = filter_of_json(text);
    let naive = tree.as_ref().and_then(|tree| naive_filter(tree, 0));
    let naive = naive.filter(|filter| (1..=FILTER_CONDITIONS_MAX).contains(&count(filter)));
    assert_eq!(found, naive, "{text}");
    let Some(filter) = found else { return };
    assert_eq!(check_rules(&filter), Ok(()));
    let printed = json_of_filter(&filter).unwrap();
    assert_eq!(filter_of_json(&printed).as_ref(), Some(&filter), "{printed}");
    let metadata = Tree::read(metadata.as_bytes()).ok();
    let members = metadata.as_ref().map(scalars);
    let event = Event {
        id: "e".into(),
        customer_id: "c".into(),
        name: "n".into(),
        timestamp: Timestamp::MIN,
        timestamp_given: false,
        metadata: members,
    };
    let none = Event { metadata: None, ..event.clone() };
    for event in [event, none] {
        if let Some(expected) = passes(&filter, &event) {
            assert_eq!(matches(&filter, &event), expected, "{printed} {event:?}");
        }
    }
}

/// The filter that a tree is, with every rule but the number of conditions.
fn naive_filter(tree: &Tree, level: usize) -> Option<Filter> {
    let members = tree.members(&["conjunction", "clauses", "key", "operator", "value"])?;
    let get = |name: &str| {
        let found = members.iter().find(|(other, _)| other == name).map(|(_, tree)| tree);
        found.filter(|tree| **tree != Tree::Null)
    };
    let is_condition = ["key", "operator", "value"].iter().any(|name| get(name).is_some());
    let (Some(Tree::String(conjunction)), Some(Tree::Array(list))) =
        (get("conjunction"), get("clauses"))
    else {
        return None;
    };
    let conjunction = match conjunction.as_str() {
        "and" => Conjunction::And,
        "or" => Conjunction::Or,
        _ => return None,
    };
    if is_condition || level > 3 || list.is_empty() {
        return None;
    }
    let conditions: Option<Vec<_>> = list.iter().map(naive_condition).collect();
    let clauses = if let Some(conditions) = conditions {
        Clauses::Conditions(conditions)
    } else {
        let filters = list.iter().map(|tree| naive_filter(tree, level + 1));
        Clauses::Filters(filters.collect::<Option<_>>()?)
    };
    Some(Filter { conjunction, clauses })
}

fn naive_condition(tree: &Tree) -> Option<Condition> {
    let members = tree.members(&["conjunction", "clauses", "key", "operator", "value"])?;
    let get = |name: &str| {
        let found = members.iter().find(|(other, _)| other == name).map(|(_, tree)| tree);
        found.filter(|tree| **tree != Tree::Null)
    };
    let (Some(Tree::String(key)), Some(Tree::String(operator)), Some(value)) =
        (get("key"), get("operator"), get("value"))
    else {
        return None;
    };
    let (operator, takes) = match operator.as_str() {
        "equals" => (Operator::Equals, "snb"),
        "not_equals" => (Operator::NotEquals, "snb"),
        "greater_than" => (Operator::GreaterThan, "n"),
        "greater_than_or_equals" => (Operator::GreaterThanOrEquals, "n"),
        "less_than" => (Operator::LessThan, "n"),
        "less_than_or_equals" => (Operator::LessThanOrEquals, "n"),
        "contains" => (Operator::Contains, "s"),
        "does_not_contain" => (Operator::DoesNotContain, "s"),
        _ => return None,
    };
    let (kind, value, length) = match value {
        Tree::String(text) => ('s', FilterValue::String(text.clone()), text.chars().count()),
        Tree::Number(text) => ('n', FilterValue::Number(text.clone()), text.len()),
        Tree::Boolean(value) => ('b', FilterValue::Boolean(*value), 0),
        Tree::Null | Tree::Array(_) | Tree::Object(_) => return None,
    };
    let is_key = (1..=100).contains(&key.chars().count()) && !key.chars().any(char::is_control);
    let is_alone = get("conjunction").is_none() && get("clauses").is_none();
    let is_good = is_key && is_alone && takes.contains(kind) && length <= 500;
    is_good.then(|| Condition { key: key.clone(), operator, value })
}

fn count(filter: &Filter) -> usize {
    match &filter.clauses {
        Clauses::Conditions(conditions) => conditions.len(),
        Clauses::Filters(filters) => filters.iter().map(count).sum(),
    }
}

/// The scalar members of an object.
fn scalars(tree: &Tree) -> Vec<(std::borrow::Cow<'_, str>, Scalar<'_>)> {
    let Tree::Object(members) = tree else { return Vec::new() };
    let scalar = |tree| match tree {
        &Tree::Boolean(value) => Some(Scalar::Boolean(value)),
        Tree::Number(text) => Number::new(text).map(Scalar::Number),
        Tree::String(text) => Some(Scalar::String(text.into())),
        Tree::Null | Tree::Array(_) | Tree::Object(_) => None,
    };
    members.iter().filter_map(|(key, tree)| Some((key.into(), scalar(tree)?))).collect()
}

/// Whether the event passes; `None` when a number is too large for a naive comparison.
fn passes(filter: &Filter, event: &Event<'_>) -> Option<bool> {
    let clauses: Vec<bool> = match &filter.clauses {
        Clauses::Conditions(conditions) => {
            conditions.iter().map(|it| holds(it, event)).collect::<Option<_>>()?
        }
        Clauses::Filters(filters) => {
            filters.iter().map(|it| passes(it, event)).collect::<Option<_>>()?
        }
    };
    Some(match filter.conjunction {
        Conjunction::And => !clauses.contains(&false),
        Conjunction::Or => clauses.contains(&true),
    })
}

fn holds(condition: &Condition, event: &Event<'_>) -> Option<bool> {
    let members = event.metadata.as_deref().unwrap_or_default();
    let Some((_, value)) = members.iter().find(|(key, _)| *key == condition.key) else {
        return Some(false);
    };
    let operator = condition.operator;
    Some(match (value, &condition.value) {
        (Scalar::String(value), FilterValue::String(wanted)) => match operator {
            Operator::Equals => value == wanted,
            Operator::NotEquals => value != wanted,
            Operator::Contains => value.contains(wanted.as_str()),
            Operator::DoesNotContain => !value.contains(wanted.as_str()),
            Operator::GreaterThan
            | Operator::GreaterThanOrEquals
            | Operator::LessThan
            | Operator::LessThanOrEquals => false,
        },
        (Scalar::Number(value), FilterValue::Number(wanted)) => {
            let order = Exact::read(value.as_str()).compare(&Exact::read(wanted))?;
            match operator {
                Operator::Equals => order == Ordering::Equal,
                Operator::NotEquals => order != Ordering::Equal,
                Operator::GreaterThan => order == Ordering::Greater,
                Operator::GreaterThanOrEquals => order != Ordering::Less,
                Operator::LessThan => order == Ordering::Less,
                Operator::LessThanOrEquals => order != Ordering::Greater,
                Operator::Contains | Operator::DoesNotContain => false,
            }
        }
        (Scalar::Boolean(value), FilterValue::Boolean(wanted)) => match operator {
            Operator::Equals => value == wanted,
            Operator::NotEquals => value != wanted,
            Operator::GreaterThan
            | Operator::GreaterThanOrEquals
            | Operator::LessThan
            | Operator::LessThanOrEquals
            | Operator::Contains
            | Operator::DoesNotContain => false,
        },
        (Scalar::String(_) | Scalar::Number(_) | Scalar::Boolean(_), _) => {
            operator == Operator::NotEquals
        }
    })
}
