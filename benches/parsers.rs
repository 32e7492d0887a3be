//! The decoders that ingest could use, on the real body, each giving the same events.
//!
//! Question: which one decodes a full body fastest, for the same result: five texts an event and its
//! metadata as scalars, names unique, borrowed from the body where it has no escapes, numbers as text?
//! Bound: the one in use may not be slower than a well-kept one that can do the same. `simd_json` is
//! shown although it cannot: it makes numbers binary while it parses, so that neither `0.1` nor a number
//! of 30 digits is left as it was, and it writes into the body, which has to be copied first.
//!
//! `cargo bench --bench parsers`; figures and choice stand in `src/ARCHITECTURE.md`.

#[path = "stages/body.rs"]
mod body;

use std::borrow::Cow;
use std::fmt;
use std::hint::black_box;
use std::marker::PhantomData;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use simd_json::{Buffers, Node, StaticNode, Tape};

use quipu::http::decode::decode;
use quipu::model::event::RawMetadata;
use quipu::model::{Number, RawEvent, RawValue};

use crate::body::{REQUEST_EVENTS, body};

/// Nesting that the depth check before sonic-rs lets through: what our own decoder passes over, below
/// the three levels of the schema.
const DEPTH_MAX: u32 = 11;

/// A value of metadata that was checked and not looked into.
trait Unparsed<'a> {
    /// Its JSON.
    fn text(&self) -> &'a str;
}

impl<'a> Unparsed<'a> for &'a serde_json::value::RawValue {
    fn text(&self) -> &'a str {
        self.get()
    }
}

impl<'a> Unparsed<'a> for sonic_rs::LazyValue<'a> {
    fn text(&self) -> &'a str {
        match self.as_raw_cow() {
            Cow::Borrowed(text) => text,
            Cow::Owned(_) => unreachable!("a body is a slice of bytes"),
        }
    }
}

/// A body as serde reads it.
#[derive(Deserialize)]
#[serde(bound(deserialize = "V: Unparsed<'a> + Deserialize<'de>, 'de: 'a"))]
struct Body<'a, V> {
    events: Vec<Sent<'a, V>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "V: Unparsed<'a> + Deserialize<'de>, 'de: 'a"))]
struct Sent<'a, V> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    customer_id: Cow<'a, str>,
    #[serde(borrow)]
    event_name: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    metadata: Members<'a, V>,
}

/// Metadata: each value becomes a scalar as soon as its text is known.
struct Members<'a, V>(Vec<Member<'a>>, PhantomData<V>);

type Member<'a> = (Cow<'a, str>, RawValue<'a>);

/// A key, borrowed where it has no escapes: inside a map serde would copy it.
#[derive(Deserialize)]
struct MemberKey<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a, V: Unparsed<'a> + Deserialize<'de>> Deserialize<'de> for Members<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<'a, V>(PhantomData<(&'a (), V)>);
        impl<'de: 'a, 'a, V: Unparsed<'a> + Deserialize<'de>> Visitor<'de> for InOrder<'a, V> {
            type Value = Members<'a, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(MEMBERS_USUAL);
                while let Some((MemberKey(key), value)) = map.next_entry::<MemberKey<'a>, V>()? {
                    let value = scalar(value.text()).map_err(A::Error::custom)?;
                    push(&mut members, key, value).map_err(A::Error::custom)?;
                }
                Ok(Members(members, PhantomData))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// Members that a list has room for at first, as in our own decoder.
const MEMBERS_USUAL: usize = 8;

/// Adds a member whose name is new; the bodies have few, so that comparing each is enough.
fn push<'a>(
    members: &mut Vec<Member<'a>>,
    key: Cow<'a, str>,
    value: RawValue<'a>,
) -> Result<(), &'static str> {
    if members.iter().any(|(known, _)| *known == key) {
        return Err("duplicate key");
    }
    members.push((key, value));
    Ok(())
}

/// The scalar that valid JSON stands for.
fn scalar(text: &str) -> Result<RawValue<'_>, &'static str> {
    Ok(match text.as_bytes() {
        b"true" => RawValue::Boolean(true),
        b"false" => RawValue::Boolean(false),
        b"null" => RawValue::Null,
        [b'[', ..] => RawValue::Array,
        [b'{', ..] => RawValue::Object,
        [b'"', inside @ .., b'"'] if !inside.contains(&b'\\') => {
            RawValue::String(Cow::Borrowed(text.get(1..text.len() - 1).unwrap_or_default()))
        }
        [b'"', ..] => RawValue::String(serde_json::from_str(text).map_err(|_| "no string")?),
        _ => RawValue::Number(Number::new(text).ok_or("no number")?),
    })
}

impl<'a, V> From<Sent<'a, V>> for RawEvent<'a> {
    fn from(event: Sent<'a, V>) -> Self {
        Self {
            event_id: Some(RawValue::String(event.event_id)),
            customer_id: Some(RawValue::String(event.customer_id)),
            event_name: Some(RawValue::String(event.event_name)),
            timestamp: Some(RawValue::String(event.timestamp)),
            metadata: RawMetadata::Members(event.metadata.0),
        }
    }
}

fn with_serde_json(body: &[u8]) -> Vec<RawEvent<'_>> {
    let body: Body<'_, &serde_json::value::RawValue> =
        serde_json::from_slice(body).expect("the body is well formed");
    body.events.into_iter().map(RawEvent::from).collect()
}

fn with_sonic(body: &[u8]) -> Vec<RawEvent<'_>> {
    assert!(is_shallow(body), "the body is not deep");
    let body: Body<'_, sonic_rs::LazyValue<'_>> =
        sonic_rs::from_slice(body).expect("the body is well formed");
    body.events.into_iter().map(RawEvent::from).collect()
}

/// Whether no array or object of `body` is nested too deeply; it need not be JSON. sonic-rs has a
/// limit of its own, 255 levels of recursion, and skips what nobody reads without one.
fn is_shallow(body: &[u8]) -> bool {
    let (mut depth, mut rest) = (0_u32, body);
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'"' => rest = behind_string(behind),
            b'[' | b'{' if depth == DEPTH_MAX => return false,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// What follows the string whose inside `rest` begins with. Most bytes of a body are inside one, so it
/// looks at eight at a time.
fn behind_string(mut rest: &[u8]) -> &[u8] {
    const LOW: u64 = 0x0101_0101_0101_0101;
    loop {
        let mut plain = 0;
        while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
            let chunk = u64::from_le_bytes(*chunk);
            let zero = |bytes: u64| bytes.wrapping_sub(LOW) & !bytes & (LOW << 7);
            let specials = zero(chunk ^ (LOW * 0x22)) | zero(chunk ^ (LOW * 0x5c));
            if specials != 0 {
                plain = (specials.trailing_zeros() / 8) as usize;
                break;
            }
            rest = behind;
        }
        let special = rest.iter().skip(plain).position(|byte| matches!(byte, b'"' | b'\\'));
        let Some(special) = special.map(|at| at + plain) else { return &[] };
        let is_end = rest.get(special) == Some(&b'"');
        rest = rest.get(special + if is_end { 1 } else { 2 }..).unwrap_or_default();
        if is_end {
            return rest;
        }
    }
}

/// An event as simd-json can give it.
#[derive(Default)]
struct BinaryEvent<'t, 'a> {
    texts: [Option<&'a str>; 4],
    metadata: Vec<(&'a str, &'t Node<'a>)>,
}

/// Reads the events off a tape, in the order in which the schema's fields stand there.
fn binary_events<'t, 'a>(tape: &'t Tape<'a>) -> Option<Vec<BinaryEvent<'t, 'a>>> {
    let mut nodes = tape.0.iter();
    let (Node::Object { .. }, Node::String("events")) = (nodes.next()?, nodes.next()?) else {
        return None;
    };
    let Node::Array { len, .. } = nodes.next()? else { return None };
    (0..*len).map(|_| binary_event(&mut nodes)).collect()
}

fn binary_event<'t, 'a>(
    nodes: &mut impl Iterator<Item = &'t Node<'a>>,
) -> Option<BinaryEvent<'t, 'a>>
where
    'a: 't,
{
    let mut event = BinaryEvent::default();
    let Node::Object { len, .. } = nodes.next()? else { return None };
    for _ in 0..*len {
        let Node::String(key) = nodes.next()? else { return None };
        let place = match *key {
            "event_id" => 0,
            "customer_id" => 1,
            "event_name" => 2,
            "timestamp" => 3,
            _ => {
                let Node::Object { len, .. } = nodes.next()? else { return None };
                event.metadata.reserve(MEMBERS_USUAL);
                for _ in 0..*len {
                    let Node::String(key) = nodes.next()? else { return None };
                    if event.metadata.iter().any(|(known, _)| known == key) {
                        return None;
                    }
                    event.metadata.push((key, nodes.next()?));
                }
                continue;
            }
        };
        let Node::String(text) = nodes.next()? else { return None };
        *event.texts.get_mut(place)? = Some(text);
    }
    Some(event)
}

/// What simd-json keeps from one body to the next.
struct Simd {
    copy: Vec<u8>,
    buffers: Buffers,
}

impl Simd {
    fn decode<T>(&mut self, body: &[u8], read: impl FnOnce(&[BinaryEvent<'_, '_>]) -> T) -> T {
        self.copy.clear();
        self.copy.extend_from_slice(body);
        let tape = simd_json::to_tape_with_buffers(&mut self.copy, &mut self.buffers)
            .expect("the body is well formed");
        read(&binary_events(&tape).expect("the body is of the schema"))
    }
}

/// What is compared is the same: every decoder finds what ours does.
fn check(body: &[u8], simd: &mut Simd) {
    let ours = decode(body, 1_000).expect("the body is well formed");
    assert_eq!(with_serde_json(body), ours);
    assert_eq!(with_sonic(body), ours);
    simd.decode(body, |events| {
        assert_eq!(events.len(), ours.len());
        for (event, ours) in events.iter().zip(&ours) {
            let ids = [&ours.event_id, &ours.customer_id, &ours.event_name, &ours.timestamp];
            let texts = event.texts.map(|text| text.map(|text| RawValue::String(text.into())));
            assert_eq!(texts.each_ref(), ids);
            let RawMetadata::Members(members) = &ours.metadata else { unreachable!("an object") };
            assert!(event.metadata.iter().map(|(key, _)| *key).eq(members.iter().map(|(k, _)| k)));
            let is_float = |node: &&Node<'_>| matches!(node, Node::Static(StaticNode::F64(_)));
            assert_eq!(event.metadata.iter().filter(|(_, node)| is_float(node)).count(), 1);
        }
    });
}

fn main() {
    let body = body(0, 100_000).into_bytes();
    let mut simd = Simd { copy: Vec::new(), buffers: Buffers::new(body.len()) };
    check(&body, &mut simd);
    let criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    let mut criterion = criterion.configure_from_args();
    let mut group = criterion.benchmark_group("parsers");
    group.throughput(Throughput::Elements(REQUEST_EVENTS));
    group.bench_function("ours", |bencher| {
        bencher.iter(|| decode(black_box(&body), 1_000).expect("well formed").len());
    });
    group.bench_function("serde_json", |bencher| {
        bencher.iter(|| with_serde_json(black_box(&body)).len());
    });
    group.bench_function("sonic-rs, depth checked", |bencher| {
        bencher.iter(|| with_sonic(black_box(&body)).len());
    });
    group.bench_function("the depth check alone", |bencher| {
        bencher.iter(|| is_shallow(black_box(&body)));
    });
    group.bench_function("simd-json, numbers binary", |bencher| {
        bencher.iter(|| simd.decode(black_box(&body), |events| black_box(events).len()));
    });
    group.finish();
    criterion.final_summary();
}
