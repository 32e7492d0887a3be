//! How a meter would fare with events that are there: how many it lets through and counts, and what keeps
//! the others away.
//!
//! An event that does not pass is the fault of those conditions that would have had to hold: in a list
//! joined by *and* of each that does not, in a list joined by *or* of all of them.

use std::collections::BTreeMap;

use crate::metering::evaluate::measure;
use crate::metering::explain::{Mismatch, ValueType, mismatch, skip_in_words, type_of};
use crate::metering::filter::matches;
use crate::metering::{Kind, SkipReason};
use crate::model::{Aggregation, Clauses, Condition, Event, EventId, Filter, Quantity, Settings};

/// Events that a finding names at most.
const EXAMPLES_MAX: usize = 3;

/// What a meter makes of the events that it was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Events that were shown.
    pub looked_at: u64,
    /// Those that its filter lets through.
    pub matched: u64,
    /// Those of them that it counts.
    pub counted: u64,
    /// What keeps the others away: what concerns most events first.
    pub findings: Vec<Finding>,
}

/// One thing that keeps events away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub cause: Cause,
    /// Events that it concerns; some may be kept away by other things, too.
    pub events: u64,
    /// It, for people: `` `tokens` is missing ``.
    pub words: String,
    /// The first of those events that were shown.
    pub examples: Vec<EventId>,
}

/// What keeps an event away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A condition of the filter does not hold.
    Condition {
        /// Its place: those of the clauses from the root down to it, each from 0.
        place: Vec<usize>,
        /// The condition.
        condition: Condition,
        /// Why it does not hold.
        mismatch: Mismatch,
    },
    /// The filter lets it through, and the value is not counted.
    Value {
        /// Why.
        reason: SkipReason,
        /// The type of what stands there.
        found: Option<ValueType>,
    },
}

/// What sorts findings that concern as many events: their order in the filter, values last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Condition(Vec<usize>, Mismatch),
    Value(usize, Option<ValueType>),
}

/// Takes in events, one after the other.
#[derive(Debug)]
pub struct Diagnoser<'m> {
    aggregation: &'m Aggregation,
    filter: Option<&'m Filter>,
    settings: Settings,
    diagnosis: Diagnosis,
    found: BTreeMap<Place, Finding>,
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The filter stops it.
    Stopped,
    /// The filter lets it through: what is taken from it, or why nothing is.
    Passed(Result<Quantity, SkipReason>),
}

impl<'m> Diagnoser<'m> {
    /// Has been shown nothing.
    pub fn new(
        aggregation: &'m Aggregation,
        filter: Option<&'m Filter>,
        settings: Settings,
    ) -> Self {
        let (diagnosis, found) = (Diagnosis::default(), BTreeMap::new());
        Self { aggregation, filter, settings, diagnosis, found }
    }

    /// Takes in an event of the meter's name.
    pub fn add(&mut self, event: &Event<'_>) -> Verdict {
        self.diagnosis.looked_at += 1;
        if let Some(filter) = self.filter.filter(|filter| !matches(filter, event)) {
            self.blame(filter, &mut Vec::new(), event);
            return Verdict::Stopped;
        }
        self.diagnosis.matched += 1;
        let key = self.aggregation.key();
        let outcome = measure(key, event, self.settings);
        match (outcome, key) {
            (Err(reason), Some(key)) => {
                let found = event.get(key).map(type_of);
                let place = reason_place(reason);
                let kind = Kind::from(self.aggregation);
                self.note(Place::Value(place, found), event, || {
                    (Cause::Value { reason, found }, skip_in_words(reason, (kind, key), found))
                });
            }
            (Ok(_), _) | (Err(_), None) => self.diagnosis.counted += 1,
        }
        Verdict::Passed(outcome)
    }

    /// Notes the conditions below a filter that does not hold.
    fn blame(&mut self, filter: &Filter, place: &mut Vec<usize>, event: &Event<'_>) {
        match &filter.clauses {
            Clauses::Conditions(list) => {
                for (at, condition) in list.iter().enumerate() {
                    let Some(mismatch) = mismatch(condition, event) else { continue };
                    let mut place = place.clone();
                    place.push(at);
                    self.note(Place::Condition(place.clone(), mismatch), event, || {
                        let condition = condition.clone();
                        let words = mismatch.in_words(&condition);
                        (Cause::Condition { place, condition, mismatch }, words)
                    });
                }
            }
            Clauses::Filters(list) => {
                for (at, nested) in list.iter().enumerate() {
                    if !matches(nested, event) {
                        place.push(at);
                        self.blame(nested, place, event);
                        place.pop();
                    }
                }
            }
        }
    }

    fn note(&mut self, place: Place, event: &Event<'_>, new: impl FnOnce() -> (Cause, String)) {
        let finding = self.found.entry(place).or_insert_with(|| {
            let (cause, words) = new();
            Finding { cause, events: 0, words, examples: Vec::new() }
        });
        finding.events += 1;
        if finding.examples.len() < EXAMPLES_MAX {
            finding.examples.push(EventId::new(&*event.id));
        }
    }

    /// What it comes to.
    pub fn finish(self) -> Diagnosis {
        let mut findings: Vec<Finding> = self.found.into_values().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.events));
        Diagnosis { findings, ..self.diagnosis }
    }
}

fn reason_place(reason: SkipReason) -> usize {
    match reason {
        SkipReason::Missing => 0,
        SkipReason::NotANumber => 1,
        SkipReason::OutOfRange => 2,
    }
}

impl Diagnosis {
    /// What is worth a warning, for people: that no event is let through, or that some are let through and
    /// not counted. `0 of 500 recent events match because …`
    pub fn warning(&self) -> Option<String> {
        let Self { looked_at, matched, counted, findings } = self;
        let because = |finding: &Finding| finding.words.clone();
        if *looked_at == 0 || counted == looked_at {
            return None;
        }
        if *matched == 0 {
            let because = findings.first().map(because)?;
            return Some(format!("0 of {looked_at} recent events match because {because}"));
        }
        let of_value = |finding: &&Finding| matches!(finding.cause, Cause::Value { .. });
        let because = findings.iter().find(of_value).map(because)?;
        let skipped = matched - counted;
        Some(format!(
            "{skipped} of {matched} recent events that match are not counted because {because}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metering::explain::{JudgedClauses, JudgedFilter, judge};
    use crate::model::credit::GrantOrder;
    use crate::model::{Conjunction, FilterValue, Number, Operator, Scalar, Timestamp};

    const STRICT: Settings =
        Settings { numeric_strings: false, credit_order: GrantOrder::OldestFirst };

    fn event(members: Vec<(&'static str, Scalar<'static>)>) -> Event<'static> {
        Event {
            id: "e".into(),
            customer_id: "c".into(),
            name: "n".into(),
            timestamp: Timestamp::default(),
            timestamp_given: false,
            metadata: Some(members.into_iter().map(|(key, value)| (key.into(), value)).collect()),
        }
    }

    fn number(text: &'static str) -> Scalar<'static> {
        Scalar::Number(Number::new(text).unwrap())
    }

    fn string(text: &'static str) -> Scalar<'static> {
        Scalar::String(text.into())
    }

    fn condition(key: &str, operator: Operator, value: FilterValue) -> Condition {
        Condition { key: key.to_owned(), operator, value }
    }

    fn any_scalar() -> impl Strategy<Value = Scalar<'static>> {
        prop_oneof![
            prop::sample::select(&["1", "1.0", "2", "-3"]).prop_map(number),
            prop::sample::select(&["1", "a", "ab", ""]).prop_map(string),
            any::<bool>().prop_map(Scalar::Boolean),
        ]
    }

    fn any_event() -> impl Strategy<Value = Event<'static>> {
        let value = || prop::option::of(any_scalar());
        (value(), value()).prop_map(|(k, l)| {
            let members = [("k", k), ("l", l)].into_iter();
            event(members.filter_map(|(key, value)| Some((key, value?))).collect())
        })
    }

    fn any_condition() -> impl Strategy<Value = Condition> {
        let operators = [
            Operator::Equals,
            Operator::NotEquals,
            Operator::GreaterThan,
            Operator::GreaterThanOrEquals,
            Operator::LessThan,
            Operator::LessThanOrEquals,
            Operator::Contains,
            Operator::DoesNotContain,
        ];
        let key = prop::sample::select(vec!["k", "l"]);
        (key, prop::sample::select(operators.to_vec()), any_scalar()).prop_map(
            |(key, operator, value)| {
                let value = match value {
                    Scalar::String(text) => FilterValue::String(text.into_owned()),
                    Scalar::Number(number) => FilterValue::Number(number.as_str().to_owned()),
                    Scalar::Boolean(value) => FilterValue::Boolean(value),
                };
                condition(key, operator, value)
            },
        )
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let joined = || prop_oneof![Just(Conjunction::And), Just(Conjunction::Or)];
        let leaf = (joined(), prop::collection::vec(any_condition(), 1..4)).prop_map(
            |(conjunction, list)| Filter { conjunction, clauses: Clauses::Conditions(list) },
        );
        leaf.prop_recursive(2, 12, 3, move |inner| {
            (joined(), prop::collection::vec(inner, 1..3)).prop_map(|(conjunction, list)| Filter {
                conjunction,
                clauses: Clauses::Filters(list),
            })
        })
    }

    /// The condition at a place of a judged filter.
    fn at<'f>(judged: &'f JudgedFilter, place: &[usize]) -> (&'f Condition, Option<Mismatch>) {
        let (first, rest) = place.split_first().unwrap();
        match &judged.clauses {
            JudgedClauses::Conditions(list) => {
                assert!(rest.is_empty());
                (&list[*first].condition, list[*first].mismatch)
            }
            JudgedClauses::Filters(list) => at(&list[*first], rest),
        }
    }

    proptest! {
        #[test]
        fn what_is_judged_is_what_is_decided(filter in any_filter(), event in any_event()) {
            let judged = judge(&filter, &event);
            prop_assert_eq!(judged.holds, matches(&filter, &event));
            let aggregation = Aggregation::Sum { key: "k".to_owned() };
            let mut diagnoser = Diagnoser::new(&aggregation, Some(&filter), STRICT);
            let verdict = diagnoser.add(&event);
            let diagnosis = diagnoser.finish();
            let expected = if judged.holds {
                Verdict::Passed(measure(Some("k"), &event, STRICT))
            } else {
                Verdict::Stopped
            };
            prop_assert_eq!(verdict, expected);
            let is_counted = matches!(verdict, Verdict::Passed(Ok(_)));
            prop_assert_eq!(diagnosis.matched, u64::from(judged.holds));
            prop_assert_eq!(diagnosis.counted, u64::from(is_counted));
            // Whatever is not counted has a cause, and what is counted has none.
            prop_assert_eq!(diagnosis.findings.is_empty(), is_counted);
            for finding in &diagnosis.findings {
                prop_assert_eq!((finding.events, &finding.examples), (1, &vec![EventId::new("e")]));
                match &finding.cause {
                    Cause::Condition { place, condition, mismatch } => {
                        prop_assert!(!judged.holds);
                        prop_assert_eq!(at(&judged, place), (condition, Some(*mismatch)));
                    }
                    Cause::Value { .. } => prop_assert!(judged.holds),
                }
            }
        }

        #[test]
        fn making_the_blamed_conditions_hold_lets_the_event_through(
            filter in any_filter(),
            event in any_event(),
        ) {
            // Every blamed condition is replaced by one that holds: `m` is given, and nothing else asks for it.
            fn repaired(filter: &Filter, place: &mut Vec<usize>, blamed: &[Vec<usize>]) -> Filter {
                let clauses = match &filter.clauses {
                    Clauses::Conditions(list) => Clauses::Conditions(
                        list.iter().enumerate().map(|(at, one)| {
                            place.push(at);
                            let is_blamed = blamed.contains(place);
                            place.pop();
                            if is_blamed {
                                condition("m", Operator::Equals, FilterValue::Boolean(true))
                            } else {
                                one.clone()
                            }
                        }).collect(),
                    ),
                    Clauses::Filters(list) => Clauses::Filters(
                        list.iter().enumerate().map(|(at, one)| {
                            place.push(at);
                            let one = repaired(one, place, blamed);
                            place.pop();
                            one
                        }).collect(),
                    ),
                };
                Filter { conjunction: filter.conjunction, clauses }
            }
            let mut event = event;
            event.metadata.get_or_insert_default().push(("m".into(), Scalar::Boolean(true)));
            let mut diagnoser = Diagnoser::new(&Aggregation::Count, Some(&filter), STRICT);
            diagnoser.add(&event);
            let blamed: Vec<_> = diagnoser.finish().findings.into_iter().filter_map(|finding| {
                match finding.cause {
                    Cause::Condition { place, .. } => Some(place),
                    Cause::Value { .. } => None,
                }
            }).collect();
            prop_assert!(matches(&repaired(&filter, &mut Vec::new(), &blamed), &event));
        }
    }

    /// The words of each finding for one condition and an event with this under `k`, or for a sum of `k`.
    fn words(condition: Option<Condition>, value: Option<Scalar<'static>>) -> Vec<String> {
        let filter = condition.map(|condition| Filter {
            conjunction: Conjunction::And,
            clauses: Clauses::Conditions(vec![condition]),
        });
        let aggregation = Aggregation::Sum { key: "k".to_owned() };
        let mut diagnoser = Diagnoser::new(&aggregation, filter.as_ref(), STRICT);
        diagnoser.add(&event(value.into_iter().map(|value| ("k", value)).collect()));
        diagnoser.finish().findings.into_iter().map(|finding| finding.words).collect()
    }

    #[test]
    fn findings_say_it_in_words() {
        let text = |text: &str| FilterValue::String(text.to_owned());
        let decimal = |text: &str| FilterValue::Number(text.to_owned());
        for (operator, value, found, expected) in [
            (Operator::GreaterThan, decimal("5"), None, "`k` is missing"),
            (
                Operator::GreaterThan,
                decimal("5"),
                Some(string("9")),
                "`k` is a string, the filter compares numbers",
            ),
            (Operator::GreaterThan, decimal("5"), Some(number("1")), "`k` is not greater than 5"),
            (Operator::GreaterThanOrEquals, decimal("5"), Some(number("1")), "`k` is less than 5"),
            (Operator::LessThan, decimal("0"), Some(number("1")), "`k` is not less than 0"),
            (Operator::LessThanOrEquals, decimal("0"), Some(number("1")), "`k` is greater than 0"),
            (
                Operator::Equals,
                text("a"),
                Some(Scalar::Boolean(true)),
                "`k` is a boolean, the filter compares strings",
            ),
            (Operator::Equals, text("a"), Some(string("b")), "`k` is not \"a\""),
            (Operator::NotEquals, text("a"), Some(string("a")), "`k` is \"a\""),
            (
                Operator::Contains,
                text("a"),
                Some(number("1")),
                "`k` is a number, the filter looks into strings",
            ),
            (Operator::Contains, text("a"), Some(string("b")), "`k` does not contain \"a\""),
            (Operator::DoesNotContain, text("a"), Some(string("ab")), "`k` contains \"a\""),
        ] {
            assert_eq!(words(Some(condition("k", operator, value)), found), [expected]);
        }
        for (found, expected) in [
            (None, "`k` is missing, the meter adds up numbers"),
            (Some(string("12")), "`k` is a string, the meter adds up numbers"),
            (Some(number("1e15")), "`k` is 10^15 or more, which no meter counts"),
        ] {
            assert_eq!(words(None, found), [expected]);
        }
        assert_eq!(words(None, Some(number("12"))), Vec::<String>::new());
    }

    #[test]
    fn what_concerns_most_events_comes_first_and_makes_the_warning() {
        let filter = Filter {
            conjunction: Conjunction::And,
            clauses: Clauses::Conditions(vec![
                condition("l", Operator::Equals, FilterValue::String("a".to_owned())),
                condition("k", Operator::GreaterThan, FilterValue::Number("1".to_owned())),
            ]),
        };
        let aggregation = Aggregation::Sum { key: "v".to_owned() };
        let run = |events: Vec<Event<'static>>| {
            let mut diagnoser = Diagnoser::new(&aggregation, Some(&filter), STRICT);
            for (event, id) in events.into_iter().zip(1..) {
                diagnoser.add(&Event { id: id.to_string().into(), ..event });
            }
            diagnoser.finish()
        };
        let wrong = || event(vec![("l", string("a")), ("k", string("2"))]);
        let other = || event(vec![("l", string("b")), ("k", string("2"))]);
        let found = run(vec![other(), wrong(), wrong(), wrong(), wrong()]);
        let told: Vec<_> = found
            .findings
            .iter()
            .map(|finding| (finding.events, finding.examples.clone(), finding.words.as_str()))
            .collect();
        let of = |ids: &[&str]| ids.iter().copied().map(EventId::new).collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                (5, of(&["1", "2", "3"]), "`k` is a string, the filter compares numbers"),
                (1, of(&["1"]), "`l` is not \"a\""),
            ]
        );
        assert_eq!(
            found.warning().unwrap(),
            "0 of 5 recent events match because `k` is a string, the filter compares numbers"
        );
        let through = |value| event(vec![("l", string("a")), ("k", number("2")), ("v", value)]);
        let found = run(vec![through(number("1")), through(string("1")), wrong()]);
        assert_eq!((found.looked_at, found.matched, found.counted), (3, 2, 1));
        assert_eq!(
            found.warning().unwrap(),
            "1 of 2 recent events that match are not counted because `v` is a string, the meter adds up numbers"
        );
        assert_eq!(run(vec![through(number("1")), wrong()]).warning(), None);
        assert_eq!(run(Vec::new()).warning(), None);
    }
}
