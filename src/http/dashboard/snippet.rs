//! Lines of code that fill an empty page: with curl, and with the SDKs for JavaScript and Python.

use std::fmt::Write;

use askama::Template;
use askama::filters::HtmlSafe;
use serde_json::{Map, Value, json};

use crate::model::{Clauses, Condition, Conjunction, Filter, FilterValue, Meter, Operator};

/// Code in several languages. A page prints it with `{{ snippets }}`.
#[derive(Debug, Template)]
#[template(path = "dashboard/snippets.html", config = ".config/askama.toml")]
pub(super) struct Snippets {
    lines: Vec<(&'static str, String)>,
}

impl HtmlSafe for Snippets {}

impl Snippets {
    /// How a meter is made.
    pub(super) fn create_meter(base: &str) -> Self {
        let meter = json!({ "name": "Tokens", "event_name": "llm.tokens",
            "measurement_unit": "tokens", "aggregation": { "type": "sum", "key": "tokens" } });
        Self::of(base, "/meters", "meters.create", &meter)
    }

    /// How events are sent.
    pub(super) fn ingest(base: &str) -> Self {
        Self::events(base, "llm.tokens", &json!({ "tokens": 1500, "model": "m1" }))
    }

    /// How events are sent that a meter counts.
    pub(super) fn ingest_for(base: &str, meter: &Meter) -> Self {
        let mut metadata = Map::new();
        if let Some(filter) = &meter.filter {
            satisfy(filter, &mut metadata);
        }
        if let Some(key) = meter.aggregation.key() {
            metadata.insert(key.to_owned(), json!(1));
        }
        Self::events(base, &meter.event_name, &metadata.into())
    }

    /// How a customer is made.
    pub(super) fn create_customer(base: &str) -> Self {
        let customer = json!({ "customer_id": "cus_1", "name": "Ada", "email": "ada@example.com" });
        Self::of(base, "/customers", "customers.create", &customer)
    }

    fn events(base: &str, name: &str, metadata: &Value) -> Self {
        let event = json!({ "event_id": "req-1", "customer_id": "cus_1", "event_name": name,
            "metadata": metadata });
        Self::of(base, "/events/ingest", "usageEvents.ingest", &json!({ "events": [event] }))
    }

    /// How `body` is sent to `path`, which the SDKs call `method`.
    pub(super) fn of(base: &str, path: &str, method: &str, body: &Value) -> Self {
        let pretty = serde_json::to_string_pretty(body).unwrap_or_default();
        let curl = format!(
            "curl {base}{path} \\\n  -H \"Authorization: Bearer $QUIPU_KEY\" \\\n  -H \"Content-Type: \
             application/json\" \\\n  -d '{}'",
            body.to_string().replace('\'', r"'\''"),
        );
        let javascript = format!(
            "import DodoPayments from 'dodopayments';\n\nconst client = new DodoPayments({{\n  baseURL: \
             '{base}',\n  bearerToken: process.env.QUIPU_KEY,\n}});\nawait client.{method}({pretty});"
        );
        let mut python = format!(
            "import os\nfrom dodopayments import DodoPayments\n\nclient = DodoPayments(base_url=\"{base}\", \
             bearer_token=os.environ[\"QUIPU_KEY\"])\nclient.{}(\n",
            snake(method)
        );
        for (name, value) in body.as_object().into_iter().flatten() {
            // Writing to a text cannot fail.
            let _ = writeln!(python, "    {name}={},", literal(value));
        }
        python.push(')');
        Self { lines: vec![("curl", curl), ("JavaScript", javascript), ("Python", python)] }
    }
}

/// `usageEvents.ingest` as Python has it.
fn snake(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, char| {
        if char.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(char.to_ascii_lowercase());
        text
    })
}

/// A value as Python writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let pair = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::from(name.as_str()), literal(value))
            };
            format!("{{{}}}", members.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Puts values into `metadata` that a filter lets through, as far as its conditions leave room for each other.
fn satisfy(filter: &Filter, metadata: &mut Map<String, Value>) {
    let enough = match filter.conjunction {
        Conjunction::And => usize::MAX,
        Conjunction::Or => 1,
    };
    match &filter.clauses {
        Clauses::Filters(filters) => {
            for inner in filters.iter().take(enough) {
                satisfy(inner, metadata);
            }
        }
        Clauses::Conditions(conditions) => {
            for condition in conditions.iter().take(enough) {
                metadata.insert(condition.key.clone(), passing(condition));
            }
        }
    }
}

/// A value for which the condition holds.
fn passing(Condition { operator, value, .. }: &Condition) -> Value {
    let holds_for_equal = match operator {
        Operator::Equals
        | Operator::GreaterThanOrEquals
        | Operator::LessThanOrEquals
        | Operator::Contains => true,
        Operator::NotEquals
        | Operator::GreaterThan
        | Operator::LessThan
        | Operator::DoesNotContain => false,
    };
    match value {
        FilterValue::String(text) if holds_for_equal => json!(text),
        FilterValue::String(_) => json!("-"),
        FilterValue::Boolean(value) => json!(*value == holds_for_equal),
        FilterValue::Number(number) if holds_for_equal => {
            serde_json::from_str(number).unwrap_or(Value::Null)
        }
        FilterValue::Number(number) => {
            let whole = number.split(['.', 'e', 'E']).next().unwrap_or_default();
            let whole = whole.parse::<i64>().unwrap_or(0);
            let step = if *operator == Operator::LessThan { -1 } else { 1 };
            json!(whole.saturating_add(step))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::filter::filter_of_json;

    #[test]
    fn every_language_says_the_same() {
        let snippets = Snippets::events("http://h:1", "it's", &json!({ "a": true, "n": 1.5 }));
        let [curl, javascript, python] = &snippets.lines[..] else { panic!("{snippets:?}") };
        assert!(curl.1.contains(r#""event_name":"it'\''s""#), "{}", curl.1);
        assert!(javascript.1.contains("client.usageEvents.ingest({"), "{}", javascript.1);
        assert!(javascript.1.contains("baseURL: 'http://h:1'"));
        assert!(python.1.contains("client.usage_events.ingest(\n    events=[{"), "{}", python.1);
        assert!(python.1.contains("\"metadata\": {\"a\": True, \"n\": 1.5}"), "{}", python.1);
    }

    #[test]
    fn a_sample_passes_the_filter_that_it_is_made_for() {
        let check = |filter: &str, expected: Value| {
            let mut metadata = Map::new();
            satisfy(&filter_of_json(filter).unwrap(), &mut metadata);
            assert_eq!(Value::from(metadata), expected, "{filter}");
        };
        let one = |operator: &str, value: Value| {
            let clause = json!({ "key": "k", "operator": operator, "value": value });
            json!({ "conjunction": "and", "clauses": [clause] }).to_string()
        };
        check(&one("equals", json!("m")), json!({ "k": "m" }));
        check(&one("not_equals", json!(true)), json!({ "k": false }));
        check(&one("greater_than", json!(9.5)), json!({ "k": 10 }));
        check(&one("less_than", json!(-3)), json!({ "k": -4 }));
        check(&one("less_than_or_equals", json!(1.25)), json!({ "k": 1.25 }));
        check(&one("contains", json!("gpt")), json!({ "k": "gpt" }));
        check(&one("does_not_contain", json!("gpt")), json!({ "k": "-" }));
        let either = r#"{"conjunction":"or","clauses":[{"key":"a","operator":"equals","value":1},
            {"key":"b","operator":"equals","value":2}]}"#;
        check(either, json!({ "a": 1 }));
    }
}
