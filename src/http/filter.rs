//! A meter's filter on the wire: `{conjunction, clauses}` in and out.
//!
//! The clauses of one list are either all conditions or all filters. A value's number keeps its text
//! from the request that made the meter to every answer that shows it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::http::body;
use crate::http::reply::ApiError;
use crate::http::scalar::JsonScalar;
use crate::metering::filter::check;
use crate::model::meter::FILTER_LEVELS_MAX;
use crate::model::{Clauses, Condition, Conjunction, Filter, Operator};

/// Which events of its name a meter counts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterFilter)]
pub(crate) struct FilterBody<'a> {
    conjunction: ConjunctionWord,
    /// Conditions or filters, never both in one list; filters stand at most three levels deep.
    clauses: Vec<ClauseBody<'a>>,
}

/// A condition or a nested filter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterFilterClause)]
#[serde(untagged)]
enum ClauseBody<'a> {
    Condition(ConditionBody<'a>),
    #[schema(no_recursion)]
    Filter(FilterBody<'a>),
}

/// A comparison of one metadata value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeterFilterCondition)]
pub(crate) struct ConditionBody<'a> {
    /// The metadata key. An event without it does not match, whatever the operator.
    key: &'a str,
    operator: OperatorWord,
    value: JsonScalar<'a>,
}

/// How clauses are joined.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Conjunction)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConjunctionWord {
    And,
    Or,
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = FilterOperator)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperatorWord {
    Equals,
    NotEquals,
    GreaterThan,
    GreaterThanOrEquals,
    LessThan,
    LessThanOrEquals,
    Contains,
    DoesNotContain,
}

/// A clause before it is known of which kind it is.
#[derive(Deserialize)]
struct AnyClause<'a> {
    conjunction: Option<ConjunctionWord>,
    #[serde(borrow)]
    clauses: Option<Vec<&'a RawValue>>,
    key: Option<String>,
    operator: Option<OperatorWord>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// The filter in `raw`.
///
/// # Errors
/// 422 when it is not a filter, mixes conditions and filters in one list, or breaks a rule of
/// [`check`].
pub(crate) fn read(raw: &RawValue) -> Result<Filter, ApiError> {
    let clause = any_clause(raw)?;
    let filter = filter(&clause, 0)?;
    check(&filter).map_err(|error| refusal(error.to_string()))?;
    Ok(filter)
}

/// The filter that a meter gets from this JSON; `None` when a request with it is refused.
pub fn filter_of_json(text: &str) -> Option<Filter> {
    read(serde_json::from_str(text).ok()?).ok()
}

/// The JSON that answers show for a meter's filter.
///
/// # Errors
/// When a number of the filter is not one.
pub fn json_of_filter(filter: &Filter) -> Result<String, serde_json::Error> {
    serde_json::to_string(&FilterBody::from(filter))
}

fn filter(clause: &AnyClause<'_>, level: usize) -> Result<Filter, ApiError> {
    // Stops here, before the rules are checked, so that no body is read too deeply.
    if level > FILTER_LEVELS_MAX {
        return Err(refusal(format!("filters are nested more than {FILTER_LEVELS_MAX} deep")));
    }
    let (Some(conjunction), Some(list)) = (clause.conjunction, &clause.clauses) else {
        return Err(refusal("a filter needs conjunction and clauses"));
    };
    if clause.key.is_some() || clause.operator.is_some() || clause.value.is_some() {
        return Err(refusal("a clause is either a condition or a filter"));
    }
    let mut conditions = Vec::new();
    let mut filters = Vec::new();
    for raw in list {
        let clause = any_clause(raw)?;
        if clause.conjunction.is_some() || clause.clauses.is_some() {
            filters.push(filter(&clause, level + 1)?);
        } else {
            conditions.push(condition(clause)?);
        }
    }
    let clauses = match (conditions.is_empty(), filters.is_empty()) {
        (false, true) => Clauses::Conditions(conditions),
        (true, false) => Clauses::Filters(filters),
        (true, true) => return Err(refusal("a list of clauses is empty")),
        (false, false) => return Err(refusal("one list mixes conditions and filters")),
    };
    Ok(Filter { conjunction: conjunction.into(), clauses })
}

fn condition(clause: AnyClause<'_>) -> Result<Condition, ApiError> {
    let key = clause.key.ok_or_else(|| refusal("a condition has no key"))?;
    let operator = clause
        .operator
        .ok_or_else(|| refusal(format!("the condition on {key} has no operator")))?;
    let value = clause.value.and_then(JsonScalar::read).ok_or_else(|| {
        refusal(format!("the value for {key} must be a string, number or boolean"))
    })?;
    Ok(Condition { key, operator: operator.into(), value: value.into() })
}

fn any_clause(raw: &RawValue) -> Result<AnyClause<'_>, ApiError> {
    if !raw.get().starts_with('{') {
        return Err(refusal("a filter and each of its clauses is an object"));
    }
    serde_json::from_str(raw.get()).map_err(|error| refusal(body::reason(&error)))
}

fn refusal(message: impl Into<String>) -> ApiError {
    ApiError::invalid("filter", message)
}

impl<'a> From<&'a Filter> for FilterBody<'a> {
    fn from(filter: &'a Filter) -> Self {
        let clauses = match &filter.clauses {
            Clauses::Conditions(conditions) => {
                conditions.iter().map(|condition| ClauseBody::Condition(condition.into())).collect()
            }
            Clauses::Filters(filters) => {
                filters.iter().map(|filter| ClauseBody::Filter(filter.into())).collect()
            }
        };
        Self { conjunction: filter.conjunction.into(), clauses }
    }
}

impl<'a> From<&'a Condition> for ConditionBody<'a> {
    fn from(condition: &'a Condition) -> Self {
        Self {
            key: &condition.key,
            operator: condition.operator.into(),
            value: (&condition.value).into(),
        }
    }
}

impl From<ConjunctionWord> for Conjunction {
    fn from(word: ConjunctionWord) -> Self {
        match word {
            ConjunctionWord::And => Self::And,
            ConjunctionWord::Or => Self::Or,
        }
    }
}

impl From<Conjunction> for ConjunctionWord {
    fn from(conjunction: Conjunction) -> Self {
        match conjunction {
            Conjunction::And => Self::And,
            Conjunction::Or => Self::Or,
        }
    }
}

impl From<OperatorWord> for Operator {
    fn from(word: OperatorWord) -> Self {
        match word {
            OperatorWord::Equals => Self::Equals,
            OperatorWord::NotEquals => Self::NotEquals,
            OperatorWord::GreaterThan => Self::GreaterThan,
            OperatorWord::GreaterThanOrEquals => Self::GreaterThanOrEquals,
            OperatorWord::LessThan => Self::LessThan,
            OperatorWord::LessThanOrEquals => Self::LessThanOrEquals,
            OperatorWord::Contains => Self::Contains,
            OperatorWord::DoesNotContain => Self::DoesNotContain,
        }
    }
}

impl From<Operator> for OperatorWord {
    fn from(operator: Operator) -> Self {
        match operator {
            Operator::Equals => Self::Equals,
            Operator::NotEquals => Self::NotEquals,
            Operator::GreaterThan => Self::GreaterThan,
            Operator::GreaterThanOrEquals => Self::GreaterThanOrEquals,
            Operator::LessThan => Self::LessThan,
            Operator::LessThanOrEquals => Self::LessThanOrEquals,
            Operator::Contains => Self::Contains,
            Operator::DoesNotContain => Self::DoesNotContain,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::FilterValue;

    fn parse(text: &str) -> Result<Filter, ApiError> {
        read(serde_json::from_str(text).unwrap())
    }

    fn print(filter: &Filter) -> String {
        json_of_filter(filter).unwrap()
    }

    const CONDITION: &str = r#"{"key":"a","operator":"equals","value":1}"#;

    fn nested(levels: usize) -> String {
        let mut text = format!(r#"{{"conjunction":"and","clauses":[{CONDITION}]}}"#);
        for _ in 0..levels {
            text = format!(r#"{{"conjunction":"or","clauses":[{text}]}}"#);
        }
        text
    }

    #[test]
    fn a_filter_prints_as_it_was_given() {
        for text in [
            r#"{"conjunction":"or","clauses":[{"conjunction":"and","clauses":[{"key":"model","operator":"equals","value":"m1"},{"key":"cached","operator":"equals","value":false}]},{"conjunction":"and","clauses":[{"key":"tokens","operator":"greater_than","value":1000}]}]}"#,
            r#"{"conjunction":"and","clauses":[{"key":"n","operator":"less_than_or_equals","value":1.50e3},{"key":"n","operator":"not_equals","value":12345678901234567890.000000000001}]}"#,
        ] {
            assert_eq!(print(&parse(text).unwrap()), text);
        }
    }

    #[test]
    fn three_nested_levels_are_allowed_and_a_fourth_is_not() {
        for levels in 0..=3 {
            assert_eq!(parse(&nested(levels)).unwrap().levels(), levels);
        }
        assert!(parse(&nested(4)).is_err());
        assert!(parse(&nested(100)).is_err());
    }

    #[test]
    fn other_shapes_are_refused() {
        let filter = nested(0);
        for text in [
            format!(r#"{{"conjunction":"and","clauses":[{CONDITION},{filter}]}}"#),
            r#"{"conjunction":"and","clauses":[]}"#.to_owned(),
            r#"{"conjunction":"xor","clauses":[]}"#.to_owned(),
            format!(r#"{{"clauses":[{CONDITION}]}}"#),
            format!(r#"{{"conjunction":"and","clauses":[{CONDITION}],"key":"a"}}"#),
            format!(r#"["and",[{CONDITION}]]"#),
            r#"{"conjunction":"and","clauses":[["a","equals",1]]}"#.to_owned(),
            CONDITION.to_owned(),
            "1".to_owned(),
        ] {
            let error = parse(&text).unwrap_err();
            assert_eq!(error.status(), 422, "{text}");
            assert_eq!(error.body().field.as_deref(), Some("filter"), "{text}");
        }
        for condition in [
            r#"{"key":"a","operator":"like","value":1}"#,
            r#"{"key":"a","operator":"equals"}"#,
            r#"{"key":"a","operator":"equals","value":null}"#,
            r#"{"key":"a","operator":"equals","value":[1]}"#,
            r#"{"key":"a","value":1}"#,
            r#"{"key":"","operator":"equals","value":1}"#,
            r#"{"operator":"equals","value":1}"#,
        ] {
            let text = format!(r#"{{"conjunction":"and","clauses":[{condition}]}}"#);
            assert_eq!(parse(&text).unwrap_err().status(), 422, "{text}");
        }
    }

    #[test]
    fn a_filter_has_a_limited_number_of_clauses() {
        use crate::metering::filter::FILTER_CONDITIONS_MAX;

        let of = |count: usize| {
            let clauses = vec![CONDITION; count].join(",");
            parse(&format!(r#"{{"conjunction":"or","clauses":[{clauses}]}}"#))
        };
        assert!(of(FILTER_CONDITIONS_MAX).is_ok());
        assert!(of(FILTER_CONDITIONS_MAX + 1).is_err());
    }

    fn any_operator() -> impl Strategy<Value = Operator> {
        prop_oneof![
            Just(Operator::Equals),
            Just(Operator::NotEquals),
            Just(Operator::GreaterThan),
            Just(Operator::GreaterThanOrEquals),
            Just(Operator::LessThan),
            Just(Operator::LessThanOrEquals),
            Just(Operator::Contains),
            Just(Operator::DoesNotContain),
        ]
    }

    /// A value that a condition with this operator may have.
    fn any_value(operator: Operator) -> BoxedStrategy<FilterValue> {
        let text = "\\PC{0,8}".prop_map(FilterValue::String);
        let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?"
            .prop_map(FilterValue::Number);
        match operator {
            Operator::Equals | Operator::NotEquals => {
                prop_oneof![text, number, any::<bool>().prop_map(FilterValue::Boolean)].boxed()
            }
            Operator::GreaterThan
            | Operator::GreaterThanOrEquals
            | Operator::LessThan
            | Operator::LessThanOrEquals => number.boxed(),
            Operator::Contains | Operator::DoesNotContain => text.boxed(),
        }
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let operator =
            any_operator().prop_flat_map(|operator| (Just(operator), any_value(operator)));
        let conjunction = || prop_oneof![Just(Conjunction::And), Just(Conjunction::Or)];
        let condition = ("[a-z_]{1,9}", operator).prop_map(|(key, (operator, value))| Condition {
            key,
            operator,
            value,
        });
        let leaf = (conjunction(), prop::collection::vec(condition, 1..4)).prop_map(
            |(conjunction, conditions)| Filter {
                conjunction,
                clauses: Clauses::Conditions(conditions),
            },
        );
        leaf.prop_recursive(3, 24, 3, move |inner| {
            (conjunction(), prop::collection::vec(inner, 1..4)).prop_map(
                |(conjunction, filters)| Filter { conjunction, clauses: Clauses::Filters(filters) },
            )
        })
    }

    proptest! {
        #[test]
        fn every_filter_survives_printing_and_reading(filter in any_filter()) {
            prop_assert_eq!(filter_of_json(&print(&filter)), Some(filter));
        }
    }
}
