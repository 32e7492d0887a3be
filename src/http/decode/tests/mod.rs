//! What the decoder promises: exactly JSON, exactly the content, and no body that can hurt it.

mod hostile;
mod oracle;

use super::*;
use crate::model::Number;

fn string(text: &str) -> RawValue<'_> {
    RawValue::String(Cow::Borrowed(text))
}

fn message(body: &str) -> (usize, &'static str) {
    match decode(body.as_bytes(), 1000) {
        Err(DecodeError::Malformed { offset, message }) => (offset, message),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn an_event_borrows_its_fields_from_the_body_in_any_order() {
    let body = r#" {"trace":[{"a":[]},1e5], "events" : [{"metadata":{"tokens":1.50,"ok":true,
        "none":null,"list":[1,{"b":2}],"object":{},"name":"gpt"},"timestamp":null,"extra":{"x":"\n"},
        "event_name":"api.call","customer_id":7,"event_id":"e1"},{}]} "#;
    let events = decode(body.as_bytes(), 2).unwrap();
    let members = vec![
        ("tokens".into(), RawValue::Number(Number::new("1.50").unwrap())),
        ("ok".into(), RawValue::Boolean(true)),
        ("none".into(), RawValue::Null),
        ("list".into(), RawValue::Array),
        ("object".into(), RawValue::Object),
        ("name".into(), string("gpt")),
    ];
    let expected = RawEvent {
        event_id: Some(string("e1")),
        customer_id: Some(RawValue::Number(Number::new("7").unwrap())),
        event_name: Some(string("api.call")),
        timestamp: Some(RawValue::Null),
        metadata: RawMetadata::Members(members),
    };
    assert_eq!(events, [expected, RawEvent::default()]);
    for event in &events {
        assert!(!matches!(&event.event_id, Some(RawValue::String(Cow::Owned(_)))));
    }
}

#[test]
fn escapes_are_replaced_in_keys_and_values() {
    let body =
        r#"{"\u0065vents":[{"event\u005fid":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000z"}]}"#;
    let events = decode(body.as_bytes(), 1).unwrap();
    let expected = string("a\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1f600}\0z");
    assert_eq!(events[0].event_id, Some(expected));
}

#[test]
fn metadata_is_members_or_absent_or_not_an_object() {
    for (text, expected) in [
        ("null", RawMetadata::Absent),
        ("{}", RawMetadata::Members(Vec::new())),
        ("[]", RawMetadata::NotAnObject),
        ("\"\"", RawMetadata::NotAnObject),
        ("0", RawMetadata::NotAnObject),
        ("false", RawMetadata::NotAnObject),
    ] {
        let body = format!(r#"{{"events":[{{"metadata":{text}}}]}}"#);
        assert_eq!(decode(body.as_bytes(), 1).unwrap()[0].metadata, expected, "{text}");
    }
}

#[test]
fn an_empty_list_is_a_list() {
    assert_eq!(decode(br#"{"events":[]}"#, 1000), Ok(Vec::new()));
}

#[test]
fn refusals_name_the_place_and_the_reason() {
    for (body, expected) in [
        ("", (0, "the body ends too early")),
        ("[]", (0, "the body is not an object")),
        ("\u{feff}{}", (0, "the body is not an object")),
        (" {}", (1, "the body has no field `events`")),
        (r#"{"events":{}}"#, (10, "`events` is not an array")),
        (r#"{"events":null}"#, (10, "`events` is not an array")),
        (r#"{"events":[{},7]}"#, (14, "an event is not an object")),
        (r#"{"events":[]} x"#, (14, "something follows the body's object")),
        (r#"{"events":[],"events":[]}"#, (13, "duplicate key")),
        (r#"{"events":[{"event_id":1,"event_id":1}]}"#, (25, "duplicate key")),
        (r#"{"events":[{"metadata":null,"metadata":{}}]}"#, (28, "duplicate key")),
        (r#"{"events":[{"metadata":{"a":1,"\u0061":1}}]}"#, (30, "duplicate key")),
        (r#"{"events":[{"a":01}]}"#, (16, "not a JSON number")),
        (r#"{"events":[{"a":tru}]}"#, (16, "expected a value")),
        (r#"{"events":[{"a" 1}]}"#, (16, "expected `:`")),
        (r#"{"events":[{"a":1 "b"}]}"#, (18, "expected `,` or `}`")),
        (r#"{"events":[{"a":1,}]}"#, (18, "expected a key")),
        (r#"{"events":[{} {}]}"#, (14, "expected `,` or `]`")),
        (r#"{"events":[{"a":"\q"}]}"#, (17, "no such escape in a string")),
        (r#"{"events":[{"a":"\ud800"}]}"#, (17, "half of a surrogate pair in a string")),
        (r#"{"events":[{"a":"\u+123"}]}"#, (17, "`\\u` without four hexadecimal digits")),
        (r#"{"events":[{"a":"b"#, (18, "the body ends too early")),
    ] {
        assert_eq!(message(body), expected, "{body}");
    }
    let not_text = decode(b"{\"events\":[{\"a\":\"\xff\"}]}", 1000);
    assert_eq!(not_text, Err(malformed(17, "not valid UTF-8")));
}

#[test]
fn one_event_more_than_allowed_stops_the_scan() {
    let body = |count: usize| format!(r#"{{"events":[{}]}}"#, vec!["{}"; count].join(","));
    assert_eq!(decode(body(1000).as_bytes(), 1000).map(|events| events.len()), Ok(1000));
    assert_eq!(decode(body(1001).as_bytes(), 1000), Err(DecodeError::TooManyEvents));
    assert_eq!(decode(br#"{"events":[{},{},?"#, 1), Err(DecodeError::TooManyEvents));
}

#[test]
fn a_repeated_key_is_found_in_a_list_of_any_length() {
    for count in [2, 16, 17, 18, 100, 1000] {
        for twin in [0, (count - 2) / 2, count - 2] {
            let mut keys: Vec<_> = (0..count).map(|number| format!(r#""k{number}":0"#)).collect();
            let body = |keys: &[String]| {
                format!(r#"{{"events":[{{"metadata":{{{}}}}}]}}"#, keys.join(","))
            };
            assert!(decode(body(&keys).as_bytes(), 1).is_ok(), "{count}");
            keys[count - 1] = keys[twin].clone();
            assert_eq!(message(&body(&keys)).1, "duplicate key", "{count} {twin}");
        }
    }
}
