//! Why a filter lets an event through or not, condition by condition, and why a value counts or not.
//!
//! Nothing that counts asks here: [`matches()`](crate::metering::filter::matches) and
//! [`evaluate()`](crate::metering::evaluate()) decide, and a property holds this to them.

use crate::metering::filter::holds;
use crate::metering::text::shown;
use crate::metering::{Kind, SkipReason};
use crate::model::customer::MetadataValue;
use crate::model::{Clauses, Condition, Conjunction, Event, Filter, FilterValue, Operator, Scalar};

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueType {
    /// A string.
    String,
    /// A number.
    Number,
    /// A boolean.
    Boolean,
}

/// Why a condition does not hold for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mismatch {
    /// The event has no such key.
    Missing,
    /// The value has this type, which the operator does not compare with the condition's.
    WrongType(ValueType),
    /// The value is another one than the condition lets through.
    OtherValue,
}

/// A filter, and how it looks at one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedFilter {
    /// How the clauses are joined.
    pub conjunction: Conjunction,
    /// Whether the event passes.
    pub holds: bool,
    /// The clauses, in the filter's order.
    pub clauses: JudgedClauses,
}

/// The clauses of a filter, each with its truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JudgedClauses {
    /// Comparisons.
    Conditions(Vec<JudgedCondition>),
    /// Nested filters.
    Filters(Vec<JudgedFilter>),
}

/// A comparison, and how it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedCondition {
    /// The comparison.
    pub condition: Condition,
    /// What the event has under its key.
    pub found: Option<MetadataValue>,
    /// Why it does not hold; nothing when it does.
    pub mismatch: Option<Mismatch>,
}

/// How `filter` looks at `event`.
pub fn judge(filter: &Filter, event: &Event<'_>) -> JudgedFilter {
    let (clauses, truths): (_, Vec<bool>) = match &filter.clauses {
        Clauses::Conditions(list) => {
            let judged: Vec<_> = list.iter().map(|one| judge_condition(one, event)).collect();
            let truths = judged.iter().map(|one| one.mismatch.is_none()).collect();
            (JudgedClauses::Conditions(judged), truths)
        }
        Clauses::Filters(list) => {
            let judged: Vec<_> = list.iter().map(|one| judge(one, event)).collect();
            let truths = judged.iter().map(|one| one.holds).collect();
            (JudgedClauses::Filters(judged), truths)
        }
    };
    let holds = match filter.conjunction {
        Conjunction::And => truths.iter().all(|truth| *truth),
        Conjunction::Or => truths.iter().any(|truth| *truth),
    };
    JudgedFilter { conjunction: filter.conjunction, holds, clauses }
}

fn judge_condition(condition: &Condition, event: &Event<'_>) -> JudgedCondition {
    JudgedCondition {
        condition: condition.clone(),
        found: event.get(&condition.key).map(owned),
        mismatch: mismatch(condition, event),
    }
}

/// Why a condition does not hold for an event; nothing when it does.
pub fn mismatch(condition: &Condition, event: &Event<'_>) -> Option<Mismatch> {
    if holds(condition, event) {
        return None;
    }
    let Some(found) = event.get(&condition.key).map(type_of) else {
        return Some(Mismatch::Missing);
    };
    let is_compared = compared_types(condition).contains(&found);
    Some(if is_compared { Mismatch::OtherValue } else { Mismatch::WrongType(found) })
}

/// The types of values for which a condition's outcome depends on the value.
fn compared_types(condition: &Condition) -> &'static [ValueType] {
    match condition.operator {
        Operator::Equals => match condition.value {
            FilterValue::String(_) => &[ValueType::String],
            FilterValue::Number(_) => &[ValueType::Number],
            FilterValue::Boolean(_) => &[ValueType::Boolean],
        },
        // A value of another type is let through.
        Operator::NotEquals => &[ValueType::String, ValueType::Number, ValueType::Boolean],
        Operator::GreaterThan
        | Operator::GreaterThanOrEquals
        | Operator::LessThan
        | Operator::LessThanOrEquals => &[ValueType::Number],
        Operator::Contains | Operator::DoesNotContain => &[ValueType::String],
    }
}

/// The type of a value of an event.
pub fn type_of(value: &Scalar<'_>) -> ValueType {
    match value {
        Scalar::String(_) => ValueType::String,
        Scalar::Number(_) => ValueType::Number,
        Scalar::Boolean(_) => ValueType::Boolean,
    }
}

/// The value of an event by itself.
pub fn owned(value: &Scalar<'_>) -> MetadataValue {
    match value {
        Scalar::String(text) => MetadataValue::String(text.clone().into_owned()),
        Scalar::Number(number) => MetadataValue::Number(number.as_str().to_owned()),
        Scalar::Boolean(value) => MetadataValue::Boolean(*value),
    }
}

impl ValueType {
    /// The type's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::String => "strings",
            Self::Number => "numbers",
            Self::Boolean => "booleans",
        }
    }
}

impl From<&MetadataValue> for ValueType {
    fn from(value: &MetadataValue) -> Self {
        match value {
            MetadataValue::String(_) => Self::String,
            MetadataValue::Number(_) => Self::Number,
            MetadataValue::Boolean(_) => Self::Boolean,
        }
    }
}

impl Mismatch {
    /// The reason's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongType(_) => "wrong_type",
            Self::OtherValue => "other_value",
        }
    }

    /// The type that was found, when that is the reason.
    pub fn wrong_type(self) -> Option<ValueType> {
        match self {
            Self::WrongType(found) => Some(found),
            Self::Missing | Self::OtherValue => None,
        }
    }

    /// Why `condition` does not hold, for people: `` `model` is a string, the filter compares numbers ``.
    pub fn in_words(self, condition: &Condition) -> String {
        let key = shown(&condition.key);
        match self {
            Self::Missing => format!("`{key}` is missing"),
            Self::WrongType(found) => {
                let found = found.name();
                match (condition.operator, compared_types(condition)) {
                    (Operator::Contains | Operator::DoesNotContain, _) => {
                        format!("`{key}` is a {found}, the filter looks into strings")
                    }
                    (_, [compared]) => {
                        let compared = compared.plural();
                        format!("`{key}` is a {found}, the filter compares {compared}")
                    }
                    (_, _) => format!("`{key}` is a {found}"),
                }
            }
            Self::OtherValue => {
                format!("`{key}` {} {}", otherwise(condition.operator), wanted(&condition.value))
            }
        }
    }
}

/// What a value is or does for which an operator is false.
fn otherwise(operator: Operator) -> &'static str {
    match operator {
        Operator::Equals => "is not",
        Operator::NotEquals => "is",
        Operator::GreaterThan => "is not greater than",
        Operator::GreaterThanOrEquals => "is less than",
        Operator::LessThan => "is not less than",
        Operator::LessThanOrEquals => "is greater than",
        Operator::Contains => "does not contain",
        Operator::DoesNotContain => "contains",
    }
}

fn wanted(value: &FilterValue) -> String {
    match value {
        FilterValue::String(text) => format!("\"{}\"", shown(text)),
        FilterValue::Number(text) => shown(text),
        FilterValue::Boolean(value) => value.to_string(),
    }
}

/// Why a meter that aggregates the values under `key` counts none, for people; `found` is the type of the
/// value that stands there.
pub fn skip_in_words(
    reason: SkipReason,
    (kind, key): (Kind, &str),
    found: Option<ValueType>,
) -> String {
    let key = shown(key);
    let does = match kind {
        Kind::Count => "counts events",
        Kind::Sum => "adds up numbers",
        Kind::Max => "takes the largest number",
        Kind::Last => "takes the last number",
    };
    match (reason, found) {
        (SkipReason::Missing, _) | (SkipReason::NotANumber, None) => {
            format!("`{key}` is missing, the meter {does}")
        }
        (SkipReason::NotANumber, Some(found)) => {
            format!("`{key}` is a {}, the meter {does}", found.name())
        }
        (SkipReason::OutOfRange, _) => format!("`{key}` is 10^15 or more, which no meter counts"),
    }
}
