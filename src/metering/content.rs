//! A short digest of what an event says, by which a second copy under one id is told from a
//! conflict.
//!
//! The content is the customer, the name, the timestamp when the client gave one, and the metadata
//! without regard to the order of its pairs and to the spelling of its numbers. The digest is the
//! low half of SipHash-1-3, under a key of zeros, over the bytes that [`Fingerprinter`] lays out. It
//! stands on disk, so neither may change. It is not a defence: whoever wants two events of one
//! digest can find them, and would only hide a conflict from themselves.

use std::cmp::Ordering;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::model::{Event, Scalar};

/// Stands behind a number, whose canonical digits are 0 to 9.
const NUMBER_END: u8 = 0xff;

/// Tells digests; it keeps its room from one event to the next.
#[derive(Debug, Default)]
pub struct Fingerprinter {
    content: Vec<u8>,
    /// The places of metadata pairs, by their keys; those of the event before mostly fit the next one.
    order: Vec<usize>,
}

impl Fingerprinter {
    /// The digest of what `event` says.
    pub fn fingerprint(&mut self, event: &Event<'_>) -> u32 {
        self.content.clear();
        self.lay_out(event);
        let mut hasher = SipHasher13::new();
        hasher.write(&self.content);
        let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Lays the content out so that different contents differ: every part has a length or an end.
    fn lay_out(&mut self, event: &Event<'_>) {
        let content = &mut self.content;
        write_text(&event.customer_id, content);
        write_text(&event.name, content);
        content.push(u8::from(event.timestamp_given));
        if event.timestamp_given {
            content.extend_from_slice(&event.timestamp.as_nanos().to_le_bytes());
        }
        content.push(u8::from(event.metadata.is_some()));
        let members = event.metadata.as_deref().unwrap_or_default();
        let key_at = |place: &usize| members.get(*place).map_or("", |(key, _)| key.as_ref());
        let is_sorted = |order: &[usize]| order.is_sorted_by(|a, b| precedes(key_at(a), key_at(b)));
        if self.order.len() != members.len() || !is_sorted(&self.order) {
            self.order.clear();
            self.order.extend(0..members.len());
            self.order.sort_unstable_by_key(key_at);
        }
        for (key, value) in self.order.iter().filter_map(|place| members.get(*place)) {
            write_text(key, content);
            write_value(value, content);
        }
    }
}

/// Whether `key` stands before `next` in order. Mostly the first bytes say so.
fn precedes(key: &str, next: &str) -> bool {
    match key.as_bytes().first().cmp(&next.as_bytes().first()) {
        Ordering::Less => true,
        Ordering::Equal => key <= next,
        Ordering::Greater => false,
    }
}

fn write_value(value: &Scalar<'_>, content: &mut Vec<u8>) {
    match value {
        Scalar::Boolean(value) => content.push(u8::from(*value)),
        Scalar::Number(number) => {
            content.push(2);
            number.canonical(content);
            content.push(NUMBER_END);
        }
        Scalar::String(text) => {
            content.push(3);
            write_text(text, content);
        }
    }
}

fn write_text(text: &str, content: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).expect("no text of an event has 4 GiB");
    content.extend_from_slice(&length.to_le_bytes());
    content.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Number, Timestamp};

    /// An event that owns its texts: numbers are (digits, exponent) and borrow when it is viewed.
    #[derive(Clone, Debug, PartialEq)]
    struct Content {
        customer_id: String,
        name: String,
        nanos: Option<i64>,
        metadata: Option<Vec<(String, Value)>>,
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Value {
        Boolean(bool),
        Number(String),
        String(String),
    }

    impl Content {
        fn fingerprint(&self) -> u32 {
            let pairs = self.metadata.as_ref().map(|pairs| {
                let scalars = pairs.iter().map(|(key, value)| (Cow::from(key), value.scalar()));
                scalars.collect()
            });
            Fingerprinter::default().fingerprint(&Event {
                id: "e".into(),
                customer_id: (&self.customer_id).into(),
                name: (&self.name).into(),
                timestamp: Timestamp::from_nanos(self.nanos.unwrap_or(5)),
                timestamp_given: self.nanos.is_some(),
                metadata: pairs,
            })
        }

        /// The same content in a form that can be compared.
        fn meaning(&self) -> Self {
            let mut same = self.clone();
            for (_, value) in same.metadata.iter_mut().flatten() {
                if let Value::Number(text) = value {
                    *text = Number::new(text).unwrap().to_quantity().unwrap().to_string();
                }
            }
            if let Some(pairs) = &mut same.metadata {
                pairs.sort_by(|left, right| left.0.cmp(&right.0));
            }
            same
        }
    }

    impl Value {
        fn scalar(&self) -> Scalar<'_> {
            match self {
                Self::Boolean(value) => Scalar::Boolean(*value),
                Self::Number(text) => Scalar::Number(Number::new(text).unwrap()),
                Self::String(text) => Scalar::String(text.into()),
            }
        }

        fn spelled_otherwise(self) -> Self {
            match self {
                Self::Number(text) if text.contains('.') => Self::Number(text + "00E+0"),
                Self::Number(text) if text.ends_with('0') => Self::Number(text + ".0"),
                Self::Number(text) => Self::Number(text + "000e-3"),
                other @ (Self::Boolean(_) | Self::String(_)) => other,
            }
        }
    }

    /// Short texts of few letters, so that contents come close to each other.
    fn contents() -> impl Strategy<Value = Content> {
        let value = prop_oneof![
            any::<bool>().prop_map(Value::Boolean),
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?".prop_map(Value::Number),
            "[0ab]{0,2}".prop_map(Value::String),
        ];
        let pairs = prop::collection::btree_map("[0ab]{1,2}", value, 0..4);
        let pairs = pairs.prop_map(|pairs| pairs.into_iter().collect::<Vec<_>>());
        ("[ab]{1,2}", "[ab]{1,2}", prop::option::of(0_i64..3), prop::option::of(pairs)).prop_map(
            |(customer_id, name, nanos, metadata)| Content { customer_id, name, nanos, metadata },
        )
    }

    proptest! {
        #[test]
        fn order_and_spelling_do_not_matter(content in contents(), turn in any::<prop::sample::Index>()) {
            let mut same = content.clone();
            if let Some(pairs) = &mut same.metadata {
                *pairs = pairs.drain(..).map(|(key, value)| (key, value.spelled_otherwise())).collect();
                if !pairs.is_empty() {
                    let by = turn.index(pairs.len());
                    pairs.rotate_left(by);
                }
            }
            prop_assert_eq!(same.fingerprint(), content.fingerprint());
        }

        #[test]
        fn different_contents_differ(left in contents(), right in contents()) {
            let same = left.meaning() == right.meaning();
            prop_assert_eq!(left.fingerprint() == right.fingerprint(), same);
        }

        #[test]
        fn any_change_matters(content in contents(), other in contents(), part in 0..6) {
            let mut changed = content.clone();
            match part {
                0 => changed.customer_id = other.customer_id,
                1 => changed.name = other.name,
                2 => changed.nanos = other.nanos,
                3 => changed.metadata = other.metadata,
                4 => std::mem::swap(&mut changed.customer_id, &mut changed.name),
                _ => changed.metadata.iter_mut().for_each(|pairs| drop(pairs.pop())),
            }
            let same = content.meaning() == changed.meaning();
            prop_assert_eq!(content.fingerprint() == changed.fingerprint(), same);
        }
    }

    #[test]
    fn the_digest_never_changes() {
        let metadata = [
            ("tokens", Value::Number("1500".to_owned())),
            ("model", Value::String("gpt".to_owned())),
            ("cached", Value::Boolean(true)),
        ];
        let content = Content {
            customer_id: "cus_1".to_owned(),
            name: "api.call".to_owned(),
            nanos: Some(1_800_000_000_000_000_000),
            metadata: Some(metadata.map(|(key, value)| (key.to_owned(), value)).to_vec()),
        };
        let bare = Content { nanos: None, metadata: None, ..content.clone() };
        // From CPython's SipHash-1-3 (`PYTHONHASHSEED=0`) over bytes laid out by hand.
        assert_eq!([content.fingerprint(), bare.fingerprint()], [0xecc6_b0d6, 0x4bff_712e]);
    }

    #[test]
    fn neither_the_id_nor_an_arrival_is_content() {
        let event = |id: &'static str, nanos| Event {
            id: id.into(),
            customer_id: "c".into(),
            name: "n".into(),
            timestamp: Timestamp::from_nanos(nanos),
            timestamp_given: false,
            metadata: None,
        };
        let mut fingerprinter = Fingerprinter::default();
        let first = fingerprinter.fingerprint(&event("a", 1));
        assert_eq!(fingerprinter.fingerprint(&event("b", 2)), first);
    }
}
