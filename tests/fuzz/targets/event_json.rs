//! The body of an ingest request, against `serde_json`, and its events against the rules.
//!
//! Laws: the decoder accepts a body exactly when the schema can be read off `serde_json`'s tree of it,
//! and finds the same events; an event is refused for the first rule that it breaks, and admitted as
//! it was sent otherwise; refusals show nothing invisible; the fingerprint does not see the order of
//! metadata; the log gives an admitted event back as it was.

use std::collections::BTreeSet;
use std::time::Duration;

use quipu::engine::encoder::Encoder;
use quipu::engine::record::{self, Body, EncodedEvents};
use quipu::http::decode::{DecodeError, decode};
use quipu::metering::{Fingerprinter, Lateness, Rule, Rules, validate};
use quipu::model::event::RawMetadata;
use quipu::model::{Event, RawEvent, RawValue, Scalar, Timestamp};

use super::json::Tree;

const RULES: Rules = Rules { max_age: Duration::from_hours(24), max_ahead: Duration::from_mins(5) };
/// 2026-07-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_nanos(1_782_864_000_000_000_000);

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let tree = Tree::read(data).ok();
    let expected = tree.as_ref().and_then(events);
    let decoded = decode(data, usize::MAX).ok();
    assert_eq!(decoded, expected);
    let limited = decode(data, 2);
    match decoded {
        Some(events) if events.len() <= 2 => assert_eq!(limited, Ok(events)),
        Some(_) => assert_eq!(limited, Err(DecodeError::TooManyEvents)),
        None => assert!(limited.is_err()),
    }
    let admitted: Vec<_> =
        expected.into_iter().flatten().filter_map(|raw| check_rules(&raw)).collect();
    check_log(&admitted);
}

fn events(tree: &Tree) -> Option<Vec<RawEvent<'_>>> {
    let mut events = None;
    for (name, tree) in tree.members(&["events"])? {
        match (name.as_str(), tree) {
            ("events", Tree::Array(list)) => {
                events = Some(list.iter().map(event).collect::<Option<_>>()?);
            }
            ("events", _) => return None,
            (_, tree) => drop(tree.value()?),
        }
    }
    events
}

fn event(tree: &Tree) -> Option<RawEvent<'_>> {
    let mut event = RawEvent::default();
    let fields = ["event_id", "customer_id", "event_name", "timestamp", "metadata"];
    for (name, tree) in tree.members(&fields)? {
        match (name.as_str(), tree) {
            ("event_id", tree) => event.event_id = Some(tree.value()?),
            ("customer_id", tree) => event.customer_id = Some(tree.value()?),
            ("event_name", tree) => event.event_name = Some(tree.value()?),
            ("timestamp", tree) => event.timestamp = Some(tree.value()?),
            ("metadata", Tree::Null) => event.metadata = RawMetadata::Absent,
            ("metadata", Tree::Object(members)) => {
                let names: BTreeSet<_> = members.iter().map(|(name, _)| name).collect();
                if names.len() < members.len() || members.len() > 1000 {
                    return None;
                }
                let members = members.iter().map(|(name, tree)| Some((name.into(), tree.value()?)));
                event.metadata = RawMetadata::Members(members.collect::<Option<_>>()?);
            }
            ("metadata", tree) => {
                tree.value()?;
                event.metadata = RawMetadata::NotAnObject;
            }
            (_, tree) => drop(tree.value()?),
        }
    }
    Some(event)
}

/// Holds the outcome of validation against the rules, and returns an event that was admitted.
fn check_rules<'a>(raw: &RawEvent<'a>) -> Option<Event<'a>> {
    let broken = broken_rule(raw);
    let (event, lateness) = match validate(raw.clone(), NOW, &RULES) {
        Ok(admitted) => admitted,
        Err(rejection) => {
            assert_eq!(Some(rejection.rule), broken, "{rejection}");
            assert!(!rejection.to_string().chars().any(is_hidden), "{rejection:?}");
            return None;
        }
    };
    assert_eq!(broken, None, "{event:?}");
    for (text, given) in [
        (&event.id, &raw.event_id),
        (&event.customer_id, &raw.customer_id),
        (&event.name, &raw.event_name),
    ] {
        assert_eq!(Some(&RawValue::String(text.clone())), given.as_ref());
    }
    assert_eq!(event.timestamp_given, matches!(raw.timestamp, Some(RawValue::String(_))));
    let ahead = i128::from(event.timestamp.as_nanos()) - i128::from(NOW.as_nanos());
    let expected = match ahead {
        ahead if -ahead > 24 * 3_600_000_000_000 => Lateness::TooOld,
        ahead if ahead > 300_000_000_000 => Lateness::TooFarAhead,
        _ => Lateness::InTime,
    };
    assert_eq!(lateness, expected);
    assert_eq!(lateness.rejection(&RULES).is_some(), lateness != Lateness::InTime);
    let members = event.metadata.as_ref().map(|members| {
        let raw = |value: &Scalar<'a>| match value {
            Scalar::String(text) => RawValue::String(text.clone()),
            Scalar::Number(number) => RawValue::Number(*number),
            Scalar::Boolean(value) => RawValue::Boolean(*value),
        };
        members.iter().map(|(key, value)| (key.clone(), raw(value))).collect()
    });
    assert_eq!(members.map_or(RawMetadata::Absent, RawMetadata::Members), raw.metadata);
    let mut turned = event.clone();
    turned.metadata.iter_mut().for_each(|members| members.reverse());
    let mut fingerprinter = Fingerprinter::default();
    assert_eq!(fingerprinter.fingerprint(&turned), fingerprinter.fingerprint(&event));
    Some(event)
}

/// The first rule that an event breaks by itself.
fn broken_rule(raw: &RawEvent<'_>) -> Option<Rule> {
    let mut texts = [&raw.event_id, &raw.customer_id, &raw.event_name].into_iter();
    let broken_text = texts.find_map(|given| match given {
        None => Some(Rule::Missing),
        Some(RawValue::String(text)) => {
            let is_good = (1..=255).contains(&text.chars().count()) && !text.chars().any(is_hidden);
            (!is_good).then_some(Rule::BadText)
        }
        Some(_) => Some(Rule::WrongType),
    });
    let broken_timestamp = || match &raw.timestamp {
        None | Some(RawValue::Null) => None,
        Some(RawValue::String(text)) => {
            Timestamp::parse(text).is_err().then_some(Rule::BadTimestamp)
        }
        Some(_) => Some(Rule::WrongType),
    };
    let broken_metadata = || match &raw.metadata {
        RawMetadata::Absent => None,
        RawMetadata::NotAnObject => Some(Rule::WrongType),
        RawMetadata::Members(members) if members.len() > 50 => Some(Rule::TooManyMetadata),
        RawMetadata::Members(members) => members.iter().find_map(|(key, value)| {
            let is_key = (1..=100).contains(&key.chars().count());
            match value {
                _ if !is_key || key.chars().any(char::is_control) => Some(Rule::BadText),
                RawValue::String(text) if text.chars().count() > 500 => Some(Rule::BadText),
                RawValue::Number(number) if number.as_str().len() > 500 => Some(Rule::BadText),
                RawValue::Null | RawValue::Array | RawValue::Object => Some(Rule::WrongType),
                RawValue::String(_) | RawValue::Number(_) | RawValue::Boolean(_) => None,
            }
        }),
    };
    broken_text.or_else(broken_timestamp).or_else(broken_metadata)
}

fn is_hidden(character: char) -> bool {
    let marks =
        ['\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}'];
    let isolates = ['\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}'];
    character.is_control() || marks.contains(&character) || isolates.contains(&character)
}

/// Writes events as the committer does and reads them back.
fn check_log(events: &[Event<'_>]) {
    let mut encoder = Encoder::with_capacity(events.len());
    for admitted in events {
        encoder.event(admitted);
    }
    let (texts, encodings) = encoder.finish();
    let parts =
        EncodedEvents { received_at: NOW, created: &[], texts: &texts, event_count: events.len() };
    let mut payload = Vec::new();
    record::start_payload(1, &mut payload);
    record::splice_events(NOW, &parts, &mut payload);
    payload.extend_from_slice(&encodings);
    let entries = record::decode_payload(&payload).unwrap();
    let Body::Events(read) = &entries[0].body else { panic!("a record of events") };
    let read: Vec<_> = read.events.iter().map(|event| read.event(event).unwrap()).collect();
    assert_eq!(read, events);
}
