//! Which meters an event feeds, and with what: the one place that says so.
//!
//! Workers ask it when a request comes, replay asks it again. The answer depends on the event and
//! on the [`MeterSet`] alone, so both get the same one as long as they use meters and settings of
//! one version.

use std::fmt;

use hashbrown::HashMap;

use crate::metering::accumulator::{Kind, SkipReason};
use crate::metering::filter::matches;
use crate::model::{Event, Filter, Meter, MeterIndex, Number, Quantity, Scalar, Settings};

/// What one event means to one meter whose name and filter let it through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// The meter.
    pub meter: MeterIndex,
    /// What the meter makes of its values.
    pub kind: Kind,
    /// The value that it counts (1 for a count), or why it counts none.
    pub outcome: Result<Quantity, SkipReason>,
}

/// The meters that count, arranged for [`evaluate`], as of one version of meters and settings.
pub struct MeterSet {
    by_event_name: HashMap<Box<str>, Vec<LiveMeter>>,
    settings: Settings,
    version: u64,
}

struct LiveMeter {
    index: MeterIndex,
    kind: Kind,
    /// The key of the value; a count has none.
    key: Option<Box<str>>,
    filter: Option<Filter>,
}

impl MeterSet {
    /// The set of those `meters` that are not archived; `version` is the caller's number for it.
    pub fn new(meters: &[Meter], settings: Settings, version: u64) -> Self {
        let mut live: Vec<_> = meters.iter().filter(|meter| !meter.archived).collect();
        live.sort_unstable_by_key(|meter| meter.index);
        let mut by_event_name: HashMap<Box<str>, Vec<LiveMeter>> = HashMap::new();
        for meter in live {
            by_event_name.entry(meter.event_name.as_str().into()).or_default().push(LiveMeter {
                index: meter.index,
                kind: Kind::from(&meter.aggregation),
                key: meter.aggregation.key().map(Box::from),
                filter: meter.filter.clone(),
            });
        }
        Self { by_event_name, settings, version }
    }

    /// The version that the set was made under.
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl fmt::Debug for MeterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterSet")
            .field("event_names", &self.by_event_name.len())
            .field("settings", &self.settings)
            .field("version", &self.version)
            .finish()
    }
}

/// Gives `sink` what `event` means to each meter that looks at it, in the order of their indexes.
pub fn evaluate(meters: &MeterSet, event: &Event<'_>, mut sink: impl FnMut(Contribution)) {
    let Some(candidates) = meters.by_event_name.get(event.name.as_ref()) else { return };
    for meter in candidates {
        if meter.filter.as_ref().is_some_and(|filter| !matches(filter, event)) {
            continue;
        }
        let outcome = measure(meter.key.as_deref(), event, meters.settings);
        sink(Contribution { meter: meter.index, kind: meter.kind, outcome });
    }
}

/// What a meter that lets `event` through takes from it: the value under its key, or 1 without a key.
///
/// # Errors
/// Why it takes nothing.
pub fn measure(
    key: Option<&str>,
    event: &Event<'_>,
    settings: Settings,
) -> Result<Quantity, SkipReason> {
    match key {
        None => Ok(Quantity::from_count(1)),
        Some(key) => quantity(event.get(key), settings),
    }
}

fn quantity(value: Option<&Scalar<'_>>, settings: Settings) -> Result<Quantity, SkipReason> {
    let number = match value.ok_or(SkipReason::Missing)? {
        Scalar::Number(number) => Some(*number),
        Scalar::String(text) if settings.numeric_strings => Number::new(text),
        Scalar::String(_) | Scalar::Boolean(_) => None,
    };
    let number = number.ok_or(SkipReason::NotANumber)?;
    number.to_quantity().map_err(|_| SkipReason::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::credit::GrantOrder;
    use crate::model::{
        Aggregation, Clauses, Condition, Conjunction, FilterValue, MeterId, Operator, Timestamp,
    };

    const STRICT: Settings =
        Settings { numeric_strings: false, credit_order: GrantOrder::OldestFirst };
    const RELAXED: Settings =
        Settings { numeric_strings: true, credit_order: GrantOrder::OldestFirst };

    fn meter(index: u32, event_name: &str, aggregation: Aggregation) -> Meter {
        Meter {
            id: MeterId::new(format!("mtr_{index}")),
            index: MeterIndex(index),
            name: String::new(),
            description: None,
            event_name: event_name.to_owned(),
            measurement_unit: String::new(),
            aggregation,
            filter: None,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            archived: false,
        }
    }

    fn sum() -> Aggregation {
        Aggregation::Sum { key: "tokens".to_owned() }
    }

    fn event<'a>(name: &'a str, tokens: Option<Scalar<'a>>) -> Event<'a> {
        let members = tokens.map(|value| ("tokens".into(), value));
        Event {
            id: "e".into(),
            customer_id: "c".into(),
            name: name.into(),
            timestamp: Timestamp::default(),
            timestamp_given: false,
            metadata: Some(members.into_iter().collect()),
        }
    }

    fn number(text: &str) -> Option<Scalar<'_>> {
        Number::new(text).map(Scalar::Number)
    }

    fn contributions(meters: &[Meter], settings: Settings, event: &Event<'_>) -> Vec<Contribution> {
        let mut found = Vec::new();
        evaluate(&MeterSet::new(meters, settings, 7), event, |contribution| {
            found.push(contribution);
        });
        found
    }

    #[test]
    fn only_live_meters_of_the_exact_name_look_at_an_event_in_the_order_of_indexes() {
        let archived = Meter { archived: true, ..meter(1, "call", Aggregation::Count) };
        let max = Aggregation::Max { key: "tokens".to_owned() };
        let last = Aggregation::Last { key: "tokens".to_owned() };
        let meters = [
            meter(5, "call", sum()),
            meter(4, "call", max),
            meter(3, "Call", Aggregation::Count),
            meter(2, "call", last),
            archived,
            meter(0, "call", Aggregation::Count),
        ];
        let one = Quantity::from_count(1);
        let five = Quantity::from_count(5);
        let expected = [
            (0, Kind::Count, one),
            (2, Kind::Last, five),
            (4, Kind::Max, five),
            (5, Kind::Sum, five),
        ]
        .map(|(index, kind, value)| Contribution {
            meter: MeterIndex(index),
            kind,
            outcome: Ok(value),
        });
        assert_eq!(contributions(&meters, STRICT, &event("call", number("5"))), expected);
        assert_eq!(contributions(&meters, STRICT, &event("other", number("5"))), []);
    }

    #[test]
    fn only_numbers_count_and_the_rest_says_why_not() {
        let text = |text: &'static str| Some(Scalar::String(text.into()));
        let quantity = |count| Ok(Quantity::from_count(count));
        for (value, strict, relaxed) in [
            (number("12.0"), quantity(12), quantity(12)),
            (number("1e15"), Err(SkipReason::OutOfRange), Err(SkipReason::OutOfRange)),
            (None, Err(SkipReason::Missing), Err(SkipReason::Missing)),
            (text("12"), Err(SkipReason::NotANumber), quantity(12)),
            (text("1e15"), Err(SkipReason::NotANumber), Err(SkipReason::OutOfRange)),
            (text(" 12"), Err(SkipReason::NotANumber), Err(SkipReason::NotANumber)),
            (text(""), Err(SkipReason::NotANumber), Err(SkipReason::NotANumber)),
            (Some(Scalar::Boolean(true)), Err(SkipReason::NotANumber), Err(SkipReason::NotANumber)),
        ] {
            let event = event("call", value);
            for (settings, expected) in [(STRICT, strict), (RELAXED, relaxed)] {
                let found = contributions(&[meter(0, "call", sum())], settings, &event);
                assert_eq!(found.iter().map(|one| one.outcome).collect::<Vec<_>>(), [expected]);
            }
        }
    }

    #[test]
    fn an_event_that_the_filter_stops_is_neither_counted_nor_skipped() {
        let small = Filter {
            conjunction: Conjunction::And,
            clauses: Clauses::Conditions(vec![Condition {
                key: "tokens".to_owned(),
                operator: Operator::LessThan,
                value: FilterValue::Number("10".to_owned()),
            }]),
        };
        let meters = [Meter { filter: Some(small), ..meter(0, "call", sum()) }];
        assert_eq!(contributions(&meters, STRICT, &event("call", number("9"))).len(), 1);
        for value in [number("10"), number("1e15"), None, Some(Scalar::Boolean(true))] {
            assert_eq!(contributions(&meters, STRICT, &event("call", value)), []);
        }
    }

    #[test]
    fn a_set_knows_its_version() {
        assert_eq!(MeterSet::new(&[], STRICT, 7).version(), 7);
    }
}
