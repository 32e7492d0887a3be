//! The body of an ingest request, taken apart into events that borrow from it.
//!
//! The scanner knows the schema `{"events":[{…}, …]}`, looks at each byte about once and never
//! recurses, so that no body can exhaust the stack. It accepts exactly the JSON of RFC 8259, with
//! four limits of its own: what is skipped nests at most 8 deep, no field that it knows and no
//! metadata key stands twice in one object, one metadata object has at most 1000 members, and
//! there are at most as many events as the caller allows. Fields that it does not know are skipped.
//!
//! It does not judge the events: a missing field, a wrong type or an empty list is the business of
//! `metering::validate` and of the caller.

mod keys;
mod locate;
mod one;
mod scanner;
mod string;

use std::borrow::Cow;

use crate::http::decode::keys::Keys;
use crate::http::decode::scanner::{Key, Scanner};
use crate::model::event::RawMetadata;
use crate::model::{RawEvent, RawValue};

pub(crate) use locate::{Located, locate};
pub use one::decode_one;

/// Members that one metadata object may have in a body: far more than an event may keep, so that
/// the usual excess is refused by its name, and few enough to bound the memory.
const METADATA_MEMBERS_MAX: usize = 1000;
/// Up to this many members a new key is compared with each one before it.
const LINEAR_KEYS_MAX: usize = 16;
/// Members that an event's list has room for at first.
const METADATA_MEMBERS_USUAL: usize = 8;

/// Why a body holds no list of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not the JSON of an ingest request.
    #[error("malformed body at byte {offset}: {message}")]
    Malformed {
        /// Where, in bytes from the start of the body.
        offset: usize,
        /// What is wrong, for people.
        message: &'static str,
    },
    /// There are more events than the caller allows; what follows was not looked at.
    #[error("too many events in one request")]
    TooManyEvents,
}

/// Gives each event of `body` to `sink`, in its order, and tells how many there are; possibly none.
/// One at a time: a list of them would fall out of the processor's caches before it is used.
///
/// # Errors
/// [`DecodeError`], at the first place that is not right. What `sink` was given then counts for
/// nothing.
pub fn decode_each<'a>(
    body: &'a [u8],
    events_max: usize,
    mut sink: impl FnMut(RawEvent<'a>),
) -> Result<usize, DecodeError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| malformed(error.valid_up_to(), "not valid UTF-8"))?;
    let mut scanner = Scanner::new(text);
    let start = scanner.open(b'{', "the body is not an object")?;
    let mut event_count = None;
    let mut key = scanner.first_key()?;
    while let Some(Key { offset, name }) = key {
        if name == "events" {
            if event_count.is_some() {
                return Err(duplicate_key(offset));
            }
            event_count = Some(event_list(&mut scanner, events_max, &mut sink)?);
        } else {
            scanner.value()?;
        }
        key = scanner.next_key()?;
    }
    scanner.end()?;
    event_count.ok_or(malformed(start, "the body has no field `events`"))
}

/// The events of `body` as a list; see [`decode_each`].
///
/// # Errors
/// [`DecodeError`]
pub fn decode(body: &[u8], events_max: usize) -> Result<Vec<RawEvent<'_>>, DecodeError> {
    let mut events = Vec::new();
    decode_each(body, events_max, |event| events.push(event))?;
    Ok(events)
}

fn event_list<'a>(
    scanner: &mut Scanner<'a>,
    events_max: usize,
    sink: &mut impl FnMut(RawEvent<'a>),
) -> Result<usize, DecodeError> {
    scanner.open(b'[', "`events` is not an array")?;
    let mut event_count = 0;
    let mut keys = EventKeys::default();
    let mut more = scanner.first_element()?;
    while more {
        if event_count == events_max {
            return Err(DecodeError::TooManyEvents);
        }
        sink(event(scanner, &mut keys)?);
        event_count += 1;
        more = scanner.next_element()?;
    }
    Ok(event_count)
}

/// The keys of the event before.
#[derive(Default)]
struct EventKeys<'a> {
    fields: Keys<'a, Field>,
    metadata: Keys<'a, &'a str>,
}

/// What a member of an event is.
#[derive(Clone, Copy)]
enum Field {
    EventId,
    CustomerId,
    EventName,
    Timestamp,
    Metadata,
    /// Nothing that is known here.
    Other,
}

impl Field {
    fn of(name: &str) -> Self {
        match name {
            "event_id" => Self::EventId,
            "customer_id" => Self::CustomerId,
            "event_name" => Self::EventName,
            "timestamp" => Self::Timestamp,
            "metadata" => Self::Metadata,
            _ => Self::Other,
        }
    }
}

fn event<'a>(
    scanner: &mut Scanner<'a>,
    keys: &mut EventKeys<'a>,
) -> Result<RawEvent<'a>, DecodeError> {
    scanner.open(b'{', "an event is not an object")?;
    let fields = keys.fields.restart();
    let mut event = RawEvent::default();
    let mut has_metadata = false;
    let mut more = scanner.has_first_member();
    while more {
        let offset = scanner.at();
        let field = match scanner.known_key(fields) {
            Some(field) => field,
            None => Field::of(&scanner.new_key(fields, Field::of)?),
        };
        match field {
            Field::EventId => once(&mut event.event_id, scanner, offset)?,
            Field::CustomerId => once(&mut event.customer_id, scanner, offset)?,
            Field::EventName => once(&mut event.event_name, scanner, offset)?,
            Field::Timestamp => once(&mut event.timestamp, scanner, offset)?,
            Field::Metadata if has_metadata => return Err(duplicate_key(offset)),
            Field::Metadata => {
                has_metadata = true;
                event.metadata = metadata(scanner, keys.metadata.restart())?;
            }
            Field::Other => drop(scanner.value()?),
        }
        more = scanner.has_next_member()?;
    }
    Ok(event)
}

/// Puts the value at the cursor in its place, unless one is there: its key stood at `offset`.
fn once<'a>(
    place: &mut Option<RawValue<'a>>,
    scanner: &mut Scanner<'a>,
    offset: usize,
) -> Result<(), DecodeError> {
    if place.is_some() {
        return Err(duplicate_key(offset));
    }
    *place = Some(scanner.value()?);
    Ok(())
}

fn metadata<'a>(
    scanner: &mut Scanner<'a>,
    keys: &mut Keys<'a, &'a str>,
) -> Result<RawMetadata<'a>, DecodeError> {
    if scanner.token() == Some(b'{') {
        return members(scanner, keys).map(RawMetadata::Members);
    }
    Ok(match scanner.value()? {
        RawValue::Null => RawMetadata::Absent,
        RawValue::Boolean(_)
        | RawValue::Number(_)
        | RawValue::String(_)
        | RawValue::Array
        | RawValue::Object => RawMetadata::NotAnObject,
    })
}

type Member<'a> = (Cow<'a, str>, RawValue<'a>);

fn members<'a>(
    scanner: &mut Scanner<'a>,
    keys: &mut Keys<'a, &'a str>,
) -> Result<Vec<Member<'a>>, DecodeError> {
    let start = scanner.open(b'{', "`metadata` is not an object")?;
    let mut seen = KeyKinds::default();
    let mut more = scanner.has_first_member();
    let usual = if more { METADATA_MEMBERS_USUAL } else { 0 };
    let mut members: Vec<Member<'a>> = Vec::with_capacity(usual);
    while more {
        let offset = scanner.at();
        let name = match scanner.known_key(keys) {
            Some(name) => Cow::Borrowed(name),
            None => scanner.new_key(keys, |name| name)?,
        };
        if members.len() == METADATA_MEMBERS_MAX {
            return Err(malformed(offset, "more than 1000 members in `metadata`"));
        }
        if !seen.add(&name)
            && members.len() < LINEAR_KEYS_MAX
            && members.iter().any(|(known, _)| *known == name)
        {
            return Err(duplicate_key(offset));
        }
        members.push((name, scanner.value()?));
        more = scanner.has_next_member()?;
    }
    if members.len() > LINEAR_KEYS_MAX && has_duplicate(&members) {
        return Err(duplicate_key(start));
    }
    Ok(members)
}

/// Which kinds of keys an object has so far, by length and last byte: a bit each of 64. Keys of two
/// kinds differ, so that a usual object's keys need not be compared.
#[derive(Default)]
struct KeyKinds(u64);

impl KeyKinds {
    /// Adds a key; whether its kind is new.
    fn add(&mut self, key: &str) -> bool {
        let last = key.as_bytes().last().copied().unwrap_or_default();
        let kind = 1 << ((key.len() * 7 + usize::from(last)) % 64);
        let is_new = self.0 & kind == 0;
        self.0 |= kind;
        is_new
    }
}

/// Sorting keeps a hostile list from costing the square of its length.
fn has_duplicate(members: &[Member<'_>]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.iter().zip(names.iter().skip(1)).any(|(left, right)| left == right)
}

fn duplicate_key(offset: usize) -> DecodeError {
    malformed(offset, "duplicate key")
}

fn malformed(offset: usize, message: &'static str) -> DecodeError {
    DecodeError::Malformed { offset, message }
}

#[cfg(test)]
mod tests;
