//! The decoder against a naive reading of the same text: `serde_json` takes it apart, level by
//! level, into a tree, and the schema with its limits is read off that tree.

use std::collections::BTreeSet;
use std::fmt;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue as Json;

use crate::http::decode::decode;
use crate::model::event::RawMetadata;
use crate::model::{Number, RawEvent, RawValue};

enum Tree {
    Null,
    Boolean(bool),
    Number(String),
    String(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// An object's members as they stand, repeated names and all.
struct Members<'a>(Vec<(String, &'a Json)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Tree {
    fn read(text: &str) -> Result<Self, serde_json::Error> {
        let json: &Json = serde_json::from_str(text)?;
        let text = json.get();
        Ok(match text.as_bytes()[0] {
            b'n' => Self::Null,
            b't' => Self::Boolean(true),
            b'f' => Self::Boolean(false),
            b'"' => Self::String(serde_json::from_str(text)?),
            b'[' => {
                let elements: Vec<&Json> = serde_json::from_str(text)?;
                let elements: Result<_, _> =
                    elements.iter().map(|element| Self::read(element.get())).collect();
                Self::Array(elements?)
            }
            b'{' => {
                let Members(members) = serde_json::from_str(text)?;
                let members: Result<_, _> = members
                    .into_iter()
                    .map(|(name, value)| Ok((name, Self::read(value.get())?)))
                    .collect::<Result<_, serde_json::Error>>();
                Self::Object(members?)
            }
            _ => Self::Number(text.to_owned()),
        })
    }

    fn depth(&self) -> usize {
        match self {
            Self::Array(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.iter().map(|(_, v)| v.depth()).max().unwrap_or(0),
            Self::Null | Self::Boolean(_) | Self::Number(_) | Self::String(_) => 0,
        }
    }

    /// What the decoder makes of a value; nothing when it is nested too deeply.
    fn value(&self) -> Option<RawValue<'_>> {
        (self.depth() <= 8).then(|| match self {
            Self::Null => RawValue::Null,
            Self::Boolean(value) => RawValue::Boolean(*value),
            Self::Number(text) => RawValue::Number(Number::new(text).unwrap()),
            Self::String(text) => RawValue::String(text.into()),
            Self::Array(_) => RawValue::Array,
            Self::Object(_) => RawValue::Object,
        })
    }
}

fn repeats(names: &[&str], members: &[(String, Tree)]) -> bool {
    names.iter().any(|name| members.iter().filter(|(other, _)| other == name).count() > 1)
}

fn event(tree: &Tree) -> Option<RawEvent<'_>> {
    const FIELDS: [&str; 5] = ["event_id", "customer_id", "event_name", "timestamp", "metadata"];
    let Tree::Object(members) = tree else { return None };
    if repeats(&FIELDS, members) {
        return None;
    }
    let mut event = RawEvent::default();
    for (name, tree) in members {
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

fn events(tree: &Tree) -> Option<Vec<RawEvent<'_>>> {
    let Tree::Object(members) = tree else { return None };
    if repeats(&["events"], members) {
        return None;
    }
    let mut events = None;
    for (name, tree) in members {
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

fn agrees(body: &[u8]) -> Result<bool, TestCaseError> {
    let tree = std::str::from_utf8(body).ok().and_then(|text| Tree::read(text).ok());
    let expected = tree.as_ref().and_then(events);
    prop_assert_eq!(decode(body, usize::MAX).ok(), expected.clone(), "{}", body.escape_ascii());
    Ok(expected.is_some())
}

/// Texts of scalars; a few are not JSON.
fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => prop::sample::select(vec!["null", "true", "false", "0", "\"\"", "\"a\"", "\"\u{e9}\u{1f600}\""]),
        5 => prop::sample::select(vec![r#""\ud83d\ude00""#, r#""\"\\\/\b\f\n\r\t\u0000""#]),
        1 => prop::sample::select(vec![
            r#""\ud83d""#, r#""\ude00\ud83d""#, r#""\ud83d\u0041""#, r#""\ud83dx""#, r#""\x""#,
            r#""\u00g0""#, "\"\u{1}\"", "\"\0\"", "01", "1.", "-", "nul", "NaN", "", "'a'", "\u{feff}",
        ]),
    ]
    .prop_map(str::to_owned)
    .boxed()
    .prop_union("-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?".boxed())
    .or("[a-z \u{80}-\u{2030}]{0,20}".prop_map(|text| format!("\"{text}\"")).boxed())
}

fn joined(parts: &[String], brackets: [&str; 2]) -> String {
    format!("{}{}{}", brackets[0], parts.join(","), brackets[1])
}

fn object(
    key: impl Strategy<Value = &'static str>,
    value: impl Strategy<Value = String>,
    members_max: usize,
) -> impl Strategy<Value = String> {
    // The last one is no white space of JSON.
    let space =
        || prop_oneof![40 => Just(""), 4 => Just(" "), 4 => Just("\t\n\r "), 1 => Just("\u{b}")];
    let member = (space(), key, space(), value, space())
        .prop_map(|(a, key, b, value, c)| format!("{a}\"{key}\"{b}:{value}{c}"));
    prop::collection::vec(member, 0..members_max).prop_map(|members| joined(&members, ["{", "}"]))
}

fn any_value() -> impl Strategy<Value = String> {
    const KEYS: [&str; 5] = ["a", "b", "events", "", "\\u0061"];
    scalar().prop_recursive(10, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|list| joined(&list, ["[", "]"])),
            object(prop::sample::select(KEYS.to_vec()), inner.clone(), 3),
            inner.prop_map(|value| format!("[[{value}]]")),
        ]
    })
}

const FIELDS: [&str; 8] = [
    "event_id",
    "customer_id",
    "event_name",
    "timestamp",
    "metadata",
    "extra",
    "event_i",
    "event\\u005fid",
];
const KEYS: [&str; 9] = ["k", "tokens", "model", "a", "b", "c", "d", "\\u006b", "\\ud800"];

/// Events with the same keys in the same order, but for one in some of them, and some white space.
fn events_alike() -> impl Strategy<Value = Vec<String>> {
    let keys = |from: &'static [&'static str]| {
        prop::sample::subsequence(from, 0..from.len()).prop_shuffle()
    };
    let another = |from: &'static [&'static str]| {
        prop::option::weighted(0.2, (any::<prop::sample::Index>(), prop::sample::select(from)))
    };
    let colon = prop_oneof![8 => Just(":"), 1 => Just(": "), 1 => Just(" :")];
    let comma = prop_oneof![4 => Just(","), 1 => Just(",\n  ")];
    let values = prop::collection::vec(scalar(), FIELDS.len() + KEYS.len());
    let event = (values, another(&FIELDS), another(&KEYS), colon, comma);
    let events = prop::collection::vec(event, 1..5);
    (keys(&FIELDS), keys(&KEYS), events).prop_map(|(fields, keys, events)| {
        let one = |(values, field, key, colon, comma): &(Vec<String>, _, _, &str, &str)| {
            let object =
                |keys: &[&str], change: &Option<(prop::sample::Index, &str)>, values: &[String]| {
                    let mut keys = keys.to_vec();
                    if let (Some((at, key)), false) = (change, keys.is_empty()) {
                        let at = at.index(keys.len());
                        keys[at] = key;
                    }
                    let pairs = keys.iter().zip(values);
                    let members: Vec<_> =
                        pairs.map(|(key, value)| format!("\"{key}\"{colon}{value}")).collect();
                    format!("{{{}}}", members.join(comma))
                };
            let (metadata, others) = values.split_at(KEYS.len());
            let metadata = object(&keys, key, metadata);
            let mut others = others.to_vec();
            if let Some(place) = fields.iter().position(|field| *field == "metadata") {
                others[place] = metadata;
            }
            object(&fields, field, &others)
        };
        events.iter().map(one).collect()
    })
}

fn any_body() -> impl Strategy<Value = String> {
    let key = |weights: &[&'static str]| prop::sample::select(weights.to_vec());
    let metadata = object(key(&KEYS), any_value(), 4);
    let value = prop_oneof![2 => scalar(), 1 => any_value(), 1 => metadata];
    let event = prop_oneof![20 => object(key(&FIELDS), value, 5).boxed(), 1 => any_value().boxed()];
    let events =
        prop_oneof![2 => prop::collection::vec(event, 0..4).boxed(), 1 => events_alike().boxed()];
    let list = events.prop_map(|list| joined(&list, ["[", "]"]));
    let before = prop::option::weighted(0.2, any_value());
    let after = prop::option::weighted(0.2, object(key(&["x", "events"]), any_value(), 2));
    (list, before, after).prop_map(|(list, before, after)| {
        let before = before.map(|value| format!(r#""x":{value},"#)).unwrap_or_default();
        let after = after.map(|value| format!(r#","y":{value}"#)).unwrap_or_default();
        format!(r#"{{{before}"events":{list}{after}}}"#)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20000))]

    #[test]
    fn bodies_decode_as_a_json_parser_reads_them(body in any_body()) {
        agrees(body.as_bytes())?;
    }

    #[test]
    fn broken_bodies_are_refused_where_a_json_parser_refuses(
        body in any_body(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3, prop::sample::select(b"{}[]\",:\\u0aE-.+ \n\x00\x1f\x7f\xc3\xa9\xf0nt".to_vec())), 1..4),
    ) {
        let mut bytes = body.into_bytes();
        for (place, edit, byte) in edits {
            let at = place.index(bytes.len());
            match edit {
                0 => bytes.insert(at, byte),
                1 => bytes[at] = byte,
                _ => drop(bytes.remove(at)),
            }
            agrees(&bytes)?;
        }
    }

    #[test]
    fn truncated_bodies_are_refused(body in any_body(), length in any::<prop::sample::Index>()) {
        let cut = &body.as_bytes()[..length.index(body.len())];
        prop_assert!(!agrees(cut)?);
    }
}

#[test]
fn most_generated_bodies_are_accepted_and_some_are_not() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted = (0..500)
        .filter(|_| {
            let body = any_body().new_tree(&mut runner).unwrap().current();
            decode(body.as_bytes(), usize::MAX).is_ok_and(|events| !events.is_empty())
        })
        .count();
    assert!((100..450).contains(&accepted), "{accepted} of 500");
}

/// More keys than are kept of an object, in every event; some differ in the middle alone.
#[test]
fn events_with_many_keys_are_read_alike() {
    let event = |middle: &str| {
        let key = |number| format!(r#""long_key_{middle}_of_number_{number}":1"#);
        let keys: Vec<String> = (0..100).map(key).collect();
        format!(r#"{{"extra":{{}},"metadata":{},"event_id":"a"}}"#, joined(&keys, ["{", "}"]))
    };
    let events = ["a", "a", "b", "a"].map(event).join(",");
    let body = format!(r#"{{"events":[{events}]}}"#);
    assert!(agrees(body.as_bytes()).unwrap());
    assert_eq!(decode(body.as_bytes(), 4).unwrap().len(), 4);
}
