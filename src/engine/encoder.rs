//! The events of one request in the log's form, written by the worker before anybody knows which of
//! them are new and what group they will stand in.

use std::borrow::Cow;
use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::{Event, Scalar};
use crate::storage::codec;

/// Encodes the events of one request, whose texts borrow from its body.
#[derive(Debug, Default)]
pub struct Encoder<'a> {
    texts: Vec<Cow<'a, str>>,
    /// The places of texts, found by the texts themselves.
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
    bytes: Vec<u8>,
    /// Name and keys of the event before, in its order: the next one mostly has the same.
    before: Vec<u32>,
}

impl<'a> Encoder<'a> {
    /// An encoder for about this many events.
    pub fn with_capacity(events: usize) -> Self {
        // 128 bytes hold a usual event, and often each has a customer of its own; both may grow.
        Self {
            texts: Vec::with_capacity(events),
            places: HashTable::with_capacity(events),
            bytes: Vec::with_capacity(events * 128),
            ..Self::default()
        }
    }

    /// The place of the name or key that an event has at `position`.
    #[expect(clippy::ptr_arg, reason = "as for `find`")]
    fn place(&mut self, position: usize, text: &Cow<'a, str>) -> u32 {
        let before = self.before.get(position).copied();
        if let Some(place) = before
            && self.texts.get(place as usize) == Some(text)
        {
            return place;
        }
        let place = self.find(text);
        match self.before.get_mut(position) {
            Some(before) => *before = place,
            // Positions are asked for one after the other.
            None => self.before.push(place),
        }
        place
    }

    #[expect(clippy::ptr_arg, reason = "a text that borrows from the body is kept as such")]
    fn find(&mut self, text: &Cow<'a, str>) -> u32 {
        let Self { texts, places, hasher, .. } = self;
        let is_it = |place: &u32| texts.get(*place as usize) == Some(text);
        let hash_at =
            |place: &u32| texts.get(*place as usize).map_or(0, |text| hasher.hash_one(text));
        match places.entry(hasher.hash_one(text), is_it, hash_at) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(empty) => {
                // Fits: a request holds at most 1000 events of at most 52 texts each.
                let place = u32::try_from(texts.len()).expect("fewer than 2^32 texts in a request");
                empty.insert(place);
                texts.push(text.clone());
                place
            }
        }
    }

    /// Encodes one event as an [`EventEntry`](super::record::EventEntry), and returns the place of its
    /// customer and where its bytes end.
    pub fn event(&mut self, event: &Event<'a>) -> (u32, usize) {
        let customer = self.find(&event.customer_id);
        let name = self.place(0, &event.name);
        let Self { bytes, .. } = self;
        codec::encode_text(&event.id, bytes);
        codec::encode_unsigned(customer.into(), bytes);
        codec::encode_unsigned(name.into(), bytes);
        codec::encode_signed(event.timestamp.as_nanos(), bytes);
        bytes.push(u8::from(event.timestamp_given));
        // What may be missing begins as a truth value.
        bytes.push(u8::from(event.metadata.is_some()));
        if let Some(members) = &event.metadata {
            codec::encode_count(members.len(), bytes);
            for ((key, value), position) in members.iter().zip(1..) {
                let key = self.place(position, key);
                codec::encode_unsigned(key.into(), &mut self.bytes);
                encode_scalar(value, &mut self.bytes);
            }
        }
        (customer, self.bytes.len())
    }

    /// The text at a place.
    pub fn text(&self, place: u32) -> Option<&str> {
        self.texts.get(place as usize).map(AsRef::as_ref)
    }

    /// The encoded list of texts, and the encoded events one after the other.
    pub fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let mut texts = Vec::new();
        codec::encode(&self.texts, &mut texts);
        (texts, self.bytes)
    }
}

/// Appends what the codec writes of a metadata value: the number of its kind, and what it is.
fn encode_scalar(value: &Scalar<'_>, bytes: &mut Vec<u8>) {
    match value {
        Scalar::String(text) => {
            bytes.push(0);
            codec::encode_text(text, bytes);
        }
        Scalar::Number(number) => {
            bytes.push(1);
            codec::encode_text(number.as_str(), bytes);
        }
        Scalar::Boolean(value) => bytes.extend_from_slice(&[2, u8::from(*value)]),
    }
}
