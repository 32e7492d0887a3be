//! A meter's rule in words.

use crate::model::{Aggregation, Clauses, Condition, Conjunction, Filter, FilterValue, Operator};

/// What is made of the events.
pub(in crate::http::dashboard) fn aggregation(aggregation: &Aggregation) -> String {
    match aggregation {
        Aggregation::Count => "number of events".to_owned(),
        Aggregation::Sum { key } => format!("sum of {key}"),
        Aggregation::Max { key } => format!("largest {key}"),
        Aggregation::Last { key } => format!("last {key}"),
    }
}

/// Which events are counted.
pub(super) fn filter(filter: &Filter) -> String {
    let joined = match filter.conjunction {
        Conjunction::And => " and ",
        Conjunction::Or => " or ",
    };
    let clauses: Vec<String> = match &filter.clauses {
        Clauses::Conditions(conditions) => conditions.iter().map(condition).collect(),
        Clauses::Filters(filters) => {
            filters.iter().map(|inner| format!("({})", self::filter(inner))).collect()
        }
    };
    clauses.join(joined)
}

/// One comparison.
pub(in crate::http::dashboard) fn condition(condition: &Condition) -> String {
    let operator = match condition.operator {
        Operator::Equals => "=",
        Operator::NotEquals => "≠",
        Operator::GreaterThan => ">",
        Operator::GreaterThanOrEquals => "≥",
        Operator::LessThan => "<",
        Operator::LessThanOrEquals => "≤",
        Operator::Contains => "contains",
        Operator::DoesNotContain => "does not contain",
    };
    let value = match &condition.value {
        FilterValue::String(text) => format!("“{text}”"),
        FilterValue::Number(number) => number.clone(),
        FilterValue::Boolean(value) => value.to_string(),
    };
    format!("{} {operator} {value}", condition.key)
}

#[cfg(test)]
mod tests {
    use crate::http::filter::filter_of_json;

    use super::*;

    #[test]
    fn a_filter_reads_as_it_is_nested() {
        let text = r#"{"conjunction":"or","clauses":[
            {"conjunction":"and","clauses":[{"key":"model","operator":"equals","value":"m1"},
                {"key":"tokens","operator":"greater_than_or_equals","value":10}]},
            {"conjunction":"and","clauses":[{"key":"free","operator":"not_equals","value":true}]}]}"#;
        assert_eq!(
            filter(&filter_of_json(text).unwrap()),
            "(model = “m1” and tokens ≥ 10) or (free ≠ true)"
        );
    }
}
