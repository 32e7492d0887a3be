//! Meters: which events they count, and what they make of them.

use serde::{Deserialize, Serialize};

use crate::model::id::{MeterId, MeterIndex};
use crate::model::time::Timestamp;

/// What one meter makes of the events it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aggregation {
    /// The number of events.
    Count,
    /// The sum of the values under `key`.
    Sum {
        /// The metadata key.
        key: String,
    },
    /// The largest value under `key`.
    Max {
        /// The metadata key.
        key: String,
    },
    /// The value under `key` of the newest event by (timestamp, LSN).
    Last {
        /// The metadata key.
        key: String,
    },
}

impl Aggregation {
    /// The metadata key whose value is aggregated; a count has none.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Count => None,
            Self::Sum { key } | Self::Max { key } | Self::Last { key } => Some(key),
        }
    }
}

/// How the clauses of a filter are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conjunction {
    /// Every clause must hold.
    And,
    /// One clause must hold.
    Or,
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire format's and say it all")]
pub enum Operator {
    Equals,
    NotEquals,
    GreaterThan,
    GreaterThanOrEquals,
    LessThan,
    LessThanOrEquals,
    Contains,
    DoesNotContain,
}

/// The value that a condition compares with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterValue {
    /// A string.
    String(String),
    /// The text of a JSON number.
    Number(String),
    /// A boolean.
    Boolean(bool),
}

/// One comparison of a metadata value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The metadata key.
    pub key: String,
    /// How to compare.
    pub operator: Operator,
    /// What to compare with.
    pub value: FilterValue,
}

/// The clauses of a filter: one kind only, never mixed, never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clauses {
    /// Comparisons.
    Conditions(Vec<Condition>),
    /// Nested filters.
    Filters(Vec<Filter>),
}

/// Which events of a meter's name the meter counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Level<Level<Level<Level<TooDeep>>>>")]
pub struct Filter {
    /// How the clauses are joined.
    pub conjunction: Conjunction,
    /// The clauses.
    pub clauses: Clauses,
}

/// Nested filters that may stand below the root.
pub const FILTER_LEVELS_MAX: usize = 3;

impl Filter {
    /// How many levels of nested filters stand below this one.
    pub fn levels(&self) -> usize {
        match &self.clauses {
            Clauses::Conditions(_) => 0,
            Clauses::Filters(filters) => {
                filters.iter().map(|filter| 1 + filter.levels()).max().unwrap_or(0)
            }
        }
    }
}

/// A [`Filter`] as it is read: its nested filters are `F`, so that no bytes are read more deeply than
/// [`FILTER_LEVELS_MAX`] says and none exhaust the stack.
#[derive(Deserialize)]
struct Level<F> {
    conjunction: Conjunction,
    clauses: LevelClauses<F>,
}

#[derive(Deserialize)]
enum LevelClauses<F> {
    Conditions(Vec<Condition>),
    Filters(Vec<F>),
}

/// What stands below the deepest level: nothing can.
#[derive(Deserialize)]
enum TooDeep {}

impl<F: Into<Filter>> From<Level<F>> for Filter {
    fn from(level: Level<F>) -> Self {
        let clauses = match level.clauses {
            LevelClauses::Conditions(conditions) => Clauses::Conditions(conditions),
            LevelClauses::Filters(filters) => {
                Clauses::Filters(filters.into_iter().map(Into::into).collect())
            }
        };
        Self { conjunction: level.conjunction, clauses }
    }
}

impl From<TooDeep> for Filter {
    fn from(never: TooDeep) -> Self {
        match never {}
    }
}

/// A meter. Event name, aggregation and filter never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// The id, `mtr_…`.
    pub id: MeterId,
    /// The number that stands for the meter in accumulator keys.
    pub index: MeterIndex,
    /// The name people read.
    pub name: String,
    /// A longer text.
    pub description: Option<String>,
    /// Events of this exact name are looked at.
    pub event_name: String,
    /// What the value is counted in, for example `tokens`.
    pub measurement_unit: String,
    /// What is made of the events.
    pub aggregation: Aggregation,
    /// Which events count; all of the name when there is none.
    pub filter: Option<Filter>,
    /// Log time of the creation.
    pub created_at: Timestamp,
    /// Log time of the last change.
    pub updated_at: Timestamp,
    /// Whether the meter has stopped counting.
    pub archived: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        let condition = r#"{"key":"k","operator":"Equals","value":{"Boolean":true}}"#;
        let innermost =
            format!(r#"{{"conjunction":"And","clauses":{{"Conditions":[{condition}]}}}}"#);
        (0..levels).fold(innermost, |filter, _| {
            format!(r#"{{"conjunction":"Or","clauses":{{"Filters":[{filter}]}}}}"#)
        })
    }

    #[test]
    fn filters_are_read_as_deeply_as_they_may_be_nested_and_no_deeper() {
        for levels in 0..=FILTER_LEVELS_MAX {
            let text = nested(levels);
            let filter: Filter = serde_json::from_str(&text).unwrap();
            assert_eq!(filter.levels(), levels);
            assert_eq!(serde_json::to_string(&filter).unwrap(), text);
        }
        assert!(serde_json::from_str::<Filter>(&nested(FILTER_LEVELS_MAX + 1)).is_err());
    }
}
