//! The metadata of a block's events, a column for each key and type.
//!
//! A *field* is a key with a type, a *shape* the fields of an event in the client's order. A block
//! has a list of its fields, a list of its shapes and each event's shape; the values of a field stand
//! together, in the order of the events. Only the first fields have a column each, all others share
//! one, so that a block of unlike events does not become thousands of columns.

use std::borrow::Cow;

use hashbrown::HashMap;

use crate::model::{Number, Scalar};
use crate::storage::history::pack::{Fault, Input, Packer, Unpacker, put_varint};
use crate::storage::history::texts::{TextList, Texts};

/// Columns of a block: 63 for the first fields and one for the others. A column costs about 20 bytes
/// and two calls of zstd; a usual block has 5 to 20 fields.
const COLUMNS_MAX: usize = 64;

/// An event without metadata, which is not the same as one with none in it.
const NO_SHAPE: u64 = 0;

/// Members for which room is made before they are counted.
const MEMBERS_RESERVED_MAX: usize = 16 << 10;

const STRING: u8 = 0;
const NUMBER: u8 = 1;
const BOOLEAN: u8 = 2;

const TRUE: &str = "true";
const FALSE: &str = "false";

type Members<'a> = Vec<(Cow<'a, str>, Scalar<'a>)>;

/// The text that a value stands as in its column.
pub(super) fn text_of<'v>(value: &'v Scalar<'_>) -> &'v str {
    match value {
        Scalar::String(text) => text,
        Scalar::Number(number) => number.as_str(),
        Scalar::Boolean(true) => TRUE,
        Scalar::Boolean(false) => FALSE,
    }
}

fn column_of(field: u32) -> usize {
    (field as usize).min(COLUMNS_MAX - 1)
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("a block has fewer than 2^32 members")
}

/// Gathers the metadata of a block's events.
#[derive(Default)]
pub(super) struct Builder {
    keys: TextList,
    types: Vec<u8>,
    fields: HashMap<(String, u8), u32>,
    /// The fields of each shape.
    shapes: Vec<Vec<u32>>,
    shape_places: HashMap<Vec<u32>, u32>,
    /// Zero for no metadata, else one more than the shape's place; for each event.
    events: Vec<u64>,
    columns: Vec<TextList>,
    /// The shape of the last event that has one: the next one usually has the same.
    last: u32,
}

impl Builder {
    /// Adds the metadata of the next event.
    pub(super) fn push(&mut self, metadata: Option<&Members<'_>>) {
        let Some(members) = metadata else {
            self.events.push(NO_SHAPE);
            return;
        };
        let mut shape = Vec::with_capacity(members.len());
        for (place, (key, value)) in members.iter().enumerate() {
            let kind = match value {
                Scalar::String(_) => STRING,
                Scalar::Number(_) => NUMBER,
                Scalar::Boolean(_) => BOOLEAN,
            };
            let field = self.field(place, key, kind);
            shape.push(field);
            let column = column_of(field);
            if column >= self.columns.len() {
                self.columns.resize_with(column + 1, TextList::default);
            }
            self.columns.get_mut(column).expect("made above").push(text_of(value));
        }
        let shape = self.shape(shape);
        self.last = shape;
        self.events.push(u64::from(shape) + 1);
    }

    /// The field of a member that stands at `place` in its event.
    fn field(&mut self, place: usize, key: &str, kind: u8) -> u32 {
        let likely = self.shapes.get(self.last as usize).and_then(|shape| shape.get(place));
        if let Some(likely) = likely
            && self.types.get(*likely as usize) == Some(&kind)
            && self.keys.get(*likely as usize) == Some(key)
        {
            return *likely;
        }
        let next = small(self.types.len());
        let field = *self.fields.entry((key.to_owned(), kind)).or_insert(next);
        if field == next {
            self.keys.push(key);
            self.types.push(kind);
        }
        field
    }

    fn shape(&mut self, shape: Vec<u32>) -> u32 {
        if self.shapes.get(self.last as usize) == Some(&shape) {
            return self.last;
        }
        let next = small(self.shapes.len());
        let place = *self.shape_places.entry(shape.clone()).or_insert(next);
        if place == next {
            self.shapes.push(shape);
        }
        place
    }

    /// Appends everything, packed.
    pub(super) fn pack(&self, packer: &mut Packer, out: &mut Vec<u8>) {
        put_varint(self.types.len() as u64, out);
        self.keys.pack(packer, out);
        packer.stream(&self.types, out);
        let lengths: Vec<_> = self.shapes.iter().map(|shape| shape.len() as u64).collect();
        let fields: Vec<_> = self.shapes.iter().flatten().map(|field| u64::from(*field)).collect();
        put_varint(lengths.len() as u64, out);
        put_varint(fields.len() as u64, out);
        packer.integers(&lengths, out);
        packer.integers(&fields, out);
        packer.integers(&self.events, out);
        for column in &self.columns {
            column.pack(packer, out);
        }
    }
}

/// The metadata of a block's events as it was read.
#[derive(Debug)]
pub(super) struct Columns {
    keys: Texts,
    types: Vec<u8>,
    /// The fields of all shapes, one shape behind the other.
    fields: Vec<u32>,
    /// Where in `fields` the shape of each event begins and ends; `None` for no metadata.
    shapes: Vec<Option<(u32, u32)>>,
    /// Where in `places` the members of each event begin.
    starts: Vec<u32>,
    /// The place of each member's value in its column.
    places: Vec<u32>,
    values: Vec<Texts>,
}

impl Columns {
    /// The metadata of `events` events, which stands next in `input`.
    pub(super) fn unpack(
        unpacker: &mut Unpacker,
        input: &mut Input<'_>,
        events: usize,
    ) -> Result<Self, Fault> {
        // Each field, shape and member takes at least a bit of a column that the budget bounds.
        let field_count = unpacker.spend(input.varint()?)?;
        let keys = Texts::unpack(unpacker, input, field_count)?;
        let types = unpacker.stream(input)?;
        if types.len() != field_count || types.iter().any(|kind| *kind > BOOLEAN) {
            return Err(Fault("a metadata field has no type"));
        }
        let shape_count = unpacker.spend(input.varint()?)?;
        let member_count = unpacker.spend(input.varint()?)?;
        let lengths = unpacker.integers(input, shape_count)?;
        let fields = unpacker.integers(input, member_count)?;
        if fields.iter().any(|field| *field >= field_count as u64) {
            return Err(Fault("a shape has an unknown field"));
        }
        let fields: Vec<u32> = fields.into_iter().map(clamped).collect();
        let ranges = ranges(&lengths, fields.len())?;
        let mut read = Self {
            keys,
            types,
            fields,
            shapes: Vec::with_capacity(events),
            starts: Vec::with_capacity(events),
            places: Vec::new(),
            values: Vec::new(),
        };
        let counts = read.lay_out(&unpacker.integers(input, events)?, &ranges, unpacker)?;
        for count in counts {
            read.values.push(Texts::unpack(unpacker, input, count)?);
        }
        Ok(read)
    }

    /// Gives every member its place in its column; how many values each column has.
    fn lay_out(
        &mut self,
        events: &[u64],
        ranges: &[(u32, u32)],
        unpacker: &mut Unpacker,
    ) -> Result<Vec<usize>, Fault> {
        let mut counts: Vec<u32> = Vec::new();
        let likely = self.fields.len().saturating_mul(events.len());
        // Most blocks have one shape; what others need comes by growth.
        self.places.reserve(likely.min(MEMBERS_RESERVED_MAX));
        for shape in events {
            self.starts.push(clamped(self.places.len() as u64));
            let Some(shape) = shape.checked_sub(1) else {
                self.shapes.push(None);
                continue;
            };
            let range = ranges.get(clamped(shape) as usize).copied();
            let range = range.ok_or(Fault("an event has an unknown shape"))?;
            self.shapes.push(Some(range));
            let fields = self.fields.get(range.0 as usize..range.1 as usize).unwrap_or_default();
            unpacker.spend((size_of_val(fields)) as u64)?;
            for field in fields {
                let column = column_of(*field);
                if column >= counts.len() {
                    counts.resize(column + 1, 0);
                }
                let count = counts.get_mut(column).expect("made above");
                self.places.push(*count);
                *count += 1;
            }
        }
        Ok(counts.into_iter().map(|count| count as usize).collect())
    }

    /// The metadata of event `event`.
    pub(super) fn get(&self, event: usize) -> Result<Option<Members<'_>>, Fault> {
        const LOST: Fault = Fault("an event's metadata is not there");
        let Some((from, to)) = *self.shapes.get(event).ok_or(LOST)? else { return Ok(None) };
        let fields = self.fields.get(from as usize..to as usize).ok_or(LOST)?;
        let start = *self.starts.get(event).ok_or(LOST)? as usize;
        let places = self.places.get(start..start + fields.len()).ok_or(LOST)?;
        let mut members = Vec::with_capacity(fields.len());
        for (field, place) in fields.iter().zip(places) {
            let key = self.keys.get(*field as usize).ok_or(LOST)?;
            let column = self.values.get(column_of(*field)).ok_or(LOST)?;
            let text = column.get(*place as usize).ok_or(LOST)?;
            let value = match self.types.get(*field as usize) {
                Some(&STRING) => Scalar::String(Cow::Borrowed(text)),
                Some(&NUMBER) => {
                    Scalar::Number(Number::new(text).ok_or(Fault("a number is not one"))?)
                }
                Some(&BOOLEAN) => Scalar::Boolean(text == TRUE),
                Some(_) | None => return Err(LOST),
            };
            members.push((Cow::Borrowed(key), value));
        }
        Ok(Some(members))
    }
}

/// A place that was held against a count, or one that no list has.
fn clamped(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The ranges that pieces of these lengths take one after the other, `total` in all.
fn ranges(lengths: &[u64], total: usize) -> Result<Vec<(u32, u32)>, Fault> {
    let mut ranges = Vec::with_capacity(lengths.len());
    let mut start = 0_u64;
    for length in lengths {
        let end = start.saturating_add(*length);
        ranges.push((clamped(start), clamped(end)));
        start = end;
    }
    if start == total as u64 { Ok(ranges) } else { Err(Fault("shapes have too many fields")) }
}
