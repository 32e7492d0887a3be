//! What stages are given beside bytes: events as they are admitted, the instant at which they come in,
//! and the meters that look at them.

use quipu::http::decode::decode;
use quipu::metering::{Lateness, Rules, validate};
use quipu::model::{
    Aggregation, Clauses, Condition, Conjunction, Event, Filter, FilterValue, Meter, MeterId,
    MeterIndex, Operator, Timestamp,
};

use crate::body::NAME;

/// What the clock shows when the events come in.
pub(crate) fn arrival() -> Timestamp {
    Timestamp::parse("2026-11-22T12:30:00Z").expect("an instant")
}

/// The events of a body, as the daemon admits them when they come in at `now`.
pub(crate) fn events(body: &str, now: Timestamp) -> Vec<(Event<'_>, Lateness)> {
    let raw = decode(body.as_bytes(), body.len()).expect("the bodies are well formed");
    let validated = raw.into_iter().map(|raw| validate(raw, now, &rules()));
    validated.collect::<Result<_, _>>().expect("the events keep to the rules")
}

/// The rules of a daemon by default.
pub(crate) fn rules() -> Rules {
    quipu::engine::options::Options::default().rules
}

/// Four meters that look at every event: a count, a sum of a quarter of them, a maximum, and a sum
/// behind a filter of two levels.
pub(crate) fn meters() -> Vec<Meter> {
    let sum = || Aggregation::Sum { key: "tokens".to_owned() };
    let max = Aggregation::Max { key: "latency_ms".to_owned() };
    let text = |text: &str| FilterValue::String(text.to_owned());
    let number = |text: &str| FilterValue::Number(text.to_owned());
    let model = all(vec![condition("model", Operator::Equals, text("model-0"))]);
    let large = all(vec![
        condition("tokens", Operator::GreaterThanOrEquals, number("5000")),
        condition("cached", Operator::Equals, FilterValue::Boolean(false)),
    ]);
    let here = all(vec![condition("region", Operator::Contains, text("west"))]);
    let nested =
        Filter { conjunction: Conjunction::And, clauses: Clauses::Filters(vec![here, large]) };
    vec![
        meter(0, Aggregation::Count, None),
        meter(1, sum(), Some(model)),
        meter(2, max, None),
        meter(3, sum(), Some(nested)),
    ]
}

fn all(conditions: Vec<Condition>) -> Filter {
    Filter { conjunction: Conjunction::And, clauses: Clauses::Conditions(conditions) }
}

fn condition(key: &str, operator: Operator, value: FilterValue) -> Condition {
    Condition { key: key.to_owned(), operator, value }
}

fn meter(index: u32, aggregation: Aggregation, filter: Option<Filter>) -> Meter {
    Meter {
        id: MeterId::new(format!("mtr_{index}")),
        index: MeterIndex(index),
        name: format!("meter {index}"),
        description: None,
        event_name: NAME.to_owned(),
        measurement_unit: "tokens".to_owned(),
        aggregation,
        filter,
        created_at: arrival(),
        updated_at: arrival(),
        archived: false,
    }
}
