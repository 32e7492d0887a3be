//! Every rule at its limit and one step beyond.

use proptest::prelude::*;

use super::*;
use crate::model::Number;

const RULES: Rules = Rules { max_age: Duration::from_hours(1), max_ahead: Duration::from_mins(5) };
const NOW: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);

fn string(text: &str) -> RawValue<'_> {
    RawValue::String(text.into())
}

fn number(text: &str) -> RawValue<'_> {
    RawValue::Number(Number::new(text).unwrap())
}

fn raw() -> RawEvent<'static> {
    RawEvent {
        event_id: Some(string("e1")),
        customer_id: Some(string("cus_1")),
        event_name: Some(string("api.call")),
        timestamp: None,
        metadata: RawMetadata::Absent,
    }
}

fn with_metadata<'a>(key: &'a str, value: RawValue<'a>) -> RawEvent<'a> {
    RawEvent { metadata: RawMetadata::Members(vec![(key.into(), value)]), ..raw() }
}

fn accepted(raw: RawEvent<'_>) -> Event<'_> {
    validate(raw, NOW, &RULES).expect("an event within every rule").0
}

fn refused(raw: RawEvent<'_>) -> (Rule, String) {
    let rejection = validate(raw, NOW, &RULES).expect_err("an event that breaks a rule");
    assert!(!rejection.message.is_empty());
    (rejection.rule, rejection.field)
}

#[test]
fn an_event_keeps_what_the_client_sent() {
    let members = vec![
        ("tokens".into(), number("1.50")),
        ("model".into(), RawValue::String("gpt\n".into())),
        ("cached".into(), RawValue::Boolean(false)),
    ];
    let raw = RawEvent {
        timestamp: Some(string("2027-01-15T08:00:00Z")),
        metadata: RawMetadata::Members(members),
        ..raw()
    };
    let (event, lateness) = validate(raw, NOW, &RULES).unwrap();
    let expected = Event {
        id: "e1".into(),
        customer_id: "cus_1".into(),
        name: "api.call".into(),
        timestamp: NOW,
        timestamp_given: true,
        metadata: Some(vec![
            ("tokens".into(), Scalar::Number(Number::new("1.50").unwrap())),
            ("model".into(), Scalar::String("gpt\n".into())),
            ("cached".into(), Scalar::Boolean(false)),
        ]),
    };
    assert_eq!((event, lateness), (expected, Lateness::InTime));
}

#[test]
fn an_event_without_a_timestamp_happened_when_it_arrived() {
    for timestamp in [None, Some(RawValue::Null)] {
        let event = accepted(RawEvent { timestamp, ..raw() });
        assert_eq!((event.timestamp, event.timestamp_given), (NOW, false));
    }
}

#[test]
fn absent_metadata_is_none_and_an_empty_object_is_empty() {
    assert_eq!(accepted(raw()).metadata, None);
    let empty = RawEvent { metadata: RawMetadata::Members(Vec::new()), ..raw() };
    assert_eq!(accepted(empty).metadata, Some(Vec::new()));
}

#[test]
fn ids_and_names_are_strings_of_1_to_255_visible_characters() {
    type Put = for<'a> fn(Option<RawValue<'a>>) -> RawEvent<'a>;
    let fields: [(&str, Put); 3] = [
        ("event_id", |value| RawEvent { event_id: value, ..raw() }),
        ("customer_id", |value| RawEvent { customer_id: value, ..raw() }),
        ("event_name", |value| RawEvent { event_name: value, ..raw() }),
    ];
    for (field, put) in fields {
        for text in ["x", " ", "Ünïcödé 😀", &"x".repeat(255), &"😀".repeat(255)] {
            accepted(put(Some(string(text))));
        }
        for text in ["", &"x".repeat(256), &"😀".repeat(256), &"x".repeat(100_000)] {
            assert_eq!(refused(put(Some(string(text)))), (Rule::BadText, field.to_owned()));
        }
        let forbidden = ('\0'..=' ').chain('\u{7e}'..='\u{a1}').chain('\u{2000}'..='\u{2070}');
        for character in forbidden {
            let is_refused = character.is_control()
                || "\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}".contains(character)
                || "\u{2066}\u{2067}\u{2068}\u{2069}".contains(character);
            let text = format!("a{character}b");
            let outcome =
                validate(put(Some(string(&text))), NOW, &RULES).map_err(|refusal| refusal.rule);
            assert_eq!(outcome.err(), is_refused.then_some(Rule::BadText), "{character:?}");
        }
        let others = [RawValue::Null, RawValue::Boolean(true), number("1"), RawValue::Array];
        for value in others.into_iter().chain([RawValue::Object]) {
            assert_eq!(refused(put(Some(value))), (Rule::WrongType, field.to_owned()));
        }
        assert_eq!(refused(put(None)), (Rule::Missing, field.to_owned()));
    }
}

#[test]
fn a_timestamp_is_a_date_time_or_nothing() {
    for text in ["", "yesterday", "2027-02-29T00:00:00Z", "9999-01-01T00:00:00Z"] {
        let outcome = refused(RawEvent { timestamp: Some(string(text)), ..raw() });
        assert_eq!(outcome, (Rule::BadTimestamp, "timestamp".to_owned()), "{text}");
    }
    for value in [RawValue::Boolean(true), number("1"), RawValue::Array, RawValue::Object] {
        let outcome = refused(RawEvent { timestamp: Some(value), ..raw() });
        assert_eq!(outcome, (Rule::WrongType, "timestamp".to_owned()));
    }
}

#[test]
fn exactly_at_a_limit_is_in_time_and_a_nanosecond_beyond_is_not() {
    let nanos = |nanos| Duration::from_nanos(nanos);
    for (timestamp, expected) in [
        (NOW.minus(RULES.max_age), Lateness::InTime),
        (NOW.minus(RULES.max_age + nanos(1)), Lateness::TooOld),
        (NOW, Lateness::InTime),
        (NOW.plus(RULES.max_ahead), Lateness::InTime),
        (NOW.plus(RULES.max_ahead + nanos(1)), Lateness::TooFarAhead),
    ] {
        let text = timestamp.to_string();
        let raw = RawEvent { timestamp: Some(string(&text)), ..raw() };
        let (event, lateness) = validate(raw, NOW, &RULES).unwrap();
        assert_eq!((event.timestamp, lateness), (timestamp, expected));
    }
}

#[test]
fn a_late_event_is_refused_with_the_limit() {
    assert_eq!(Lateness::InTime.rejection(&RULES), None);
    for (lateness, rule, limit) in [
        (Lateness::TooOld, Rule::TooOld, "3600s"),
        (Lateness::TooFarAhead, Rule::TooFarAhead, "300s"),
    ] {
        let rejection = lateness.rejection(&RULES).unwrap();
        assert_eq!((rejection.rule, rejection.field.as_str()), (rule, "timestamp"));
        assert!(rejection.message.contains(limit), "{rejection}");
    }
}

#[test]
fn metadata_is_a_flat_object_of_at_most_50_pairs() {
    let members = |count: usize| {
        let members = (0..count).map(|key| (format!("k{key}").into(), number("1")));
        RawEvent { metadata: RawMetadata::Members(members.collect()), ..raw() }
    };
    assert_eq!(accepted(members(50)).metadata.map(|pairs| pairs.len()), Some(50));
    assert_eq!(refused(members(51)), (Rule::TooManyMetadata, "metadata".to_owned()));
    let not_an_object = RawEvent { metadata: RawMetadata::NotAnObject, ..raw() };
    assert_eq!(refused(not_an_object), (Rule::WrongType, "metadata".to_owned()));
    for value in [RawValue::Null, RawValue::Array, RawValue::Object] {
        let outcome = refused(with_metadata("k", value));
        assert_eq!(outcome, (Rule::WrongType, "metadata.k".to_owned()));
    }
}

#[test]
fn metadata_keys_and_values_have_bounded_lengths() {
    for key in ["k", &"é".repeat(100)] {
        accepted(with_metadata(key, number("1")));
    }
    for (key, field) in [
        ("", "metadata.".to_owned()),
        ("a\u{7f}", "metadata.a\\u{7f}".to_owned()),
        (&"é".repeat(101), format!("metadata.{}…", "é".repeat(64))),
    ] {
        assert_eq!(refused(with_metadata(key, number("1"))), (Rule::BadText, field));
    }
    let texts = |count: usize| ["x", "é", "\0"].map(|unit| unit.repeat(count));
    for text in texts(0).iter().chain(&texts(500)) {
        accepted(with_metadata("k", RawValue::String(text.into())));
    }
    accepted(with_metadata("k", number(&"1".repeat(500))));
    let too_long = texts(501);
    let too_many_digits = "1".repeat(501);
    let strings = too_long.iter().map(|text| RawValue::String(text.into()));
    for value in strings.chain([number(&too_many_digits)]) {
        assert_eq!(refused(with_metadata("k", value)), (Rule::BadText, "metadata.k".to_owned()));
    }
}

proptest! {
    #[test]
    fn every_timestamp_is_judged_by_its_distance(nanos: i64, received_at: i64) {
        let age = i128::from(received_at) - i128::from(nanos);
        let (timestamp, received_at) = (Timestamp::from_nanos(nanos), Timestamp::from_nanos(received_at));
        let expected = if age > 3_600_000_000_000 {
            Lateness::TooOld
        } else if age < -300_000_000_000 {
            Lateness::TooFarAhead
        } else {
            Lateness::InTime
        };
        prop_assert_eq!(Lateness::of(timestamp, received_at, &RULES), expected);
    }
}
