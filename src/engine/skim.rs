//! Goes over a payload of the log without building anything: events are stepped over, and only what
//! somebody looks for is decoded.
//!
//! The layout is that of `record/payload.rs`, read field by field; a test there and one here hold the two
//! together. Damage is found by checksums before this: bytes that are no payload are an error here
//! too, but texts that nobody decodes are not looked into.

use std::ops::RangeInclusive;

use crate::engine::record::{
    EventEntry, EventsEntry, PayloadError, VARIANT_EVENTS, entry_length, payload_entries,
};
use crate::model::{Event, Lsn, Timestamp};
use crate::storage::codec::{self, Fields};

/// An event that was stepped over.
#[derive(Clone, Copy, Debug)]
pub struct Skimmed<'p> {
    /// Its LSN.
    pub lsn: Lsn,
    /// The event id.
    pub id: &'p [u8],
    /// The place of its customer in the request's texts.
    pub customer: u32,
    /// The place of its name there.
    pub name: u32,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Its encoding, and what follows that.
    encoded: &'p [u8],
}

/// Gets what stands in a payload, in its order.
pub trait Visitor<'p> {
    /// A request begins; its texts and then its events follow.
    fn request(&mut self, request: Request<'p>);
    /// The next text of the request: a customer, an event name or a key of metadata.
    fn text(&mut self, text: &'p [u8]);
    /// The next event.
    fn event(&mut self, event: Skimmed<'p>);
}

/// What the events of a request have in common.
#[derive(Clone, Copy, Debug)]
pub struct Request<'p> {
    /// The LSN of its first event.
    pub first_lsn: Lsn,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The encoding of its texts, and what follows that.
    texts: &'p [u8],
}

/// Shows a payload whose first LSN is `first_lsn` to `visitor`.
///
/// # Errors
/// [`PayloadError`]; a part was shown then.
pub fn skim<'p>(
    payload: &'p [u8],
    first_lsn: Lsn,
    visitor: &mut impl Visitor<'p>,
) -> Result<(), PayloadError> {
    let mut fields = payload_entries(payload)?;
    let mut lsn = first_lsn;
    let count = fields.unsigned().ok_or_else(|| fields.malformed())?;
    for _ in 0..count {
        if let Some(length) = entry_length(&mut fields)? {
            fields.skip(length).ok_or_else(|| fields.malformed())?;
            lsn = lsn.next();
            continue;
        }
        let variant = fields.signed().and_then(|_log_time| fields.unsigned());
        if variant != Some(VARIANT_EVENTS.into()) {
            return Err(fields.malformed().into());
        }
        lsn = skim_request(&mut fields, lsn, visitor).ok_or_else(|| fields.malformed())?;
    }
    Ok(())
}

/// Shows the request that `fields` stand in, behind its variant, and returns the LSN after it.
fn skim_request<'p>(
    fields: &mut Fields<'p>,
    first_lsn: Lsn,
    visitor: &mut impl Visitor<'p>,
) -> Option<Lsn> {
    let received_at = Timestamp::from_nanos(fields.signed()?);
    for _ in 0..fields.unsigned()? {
        fields.unsigned()?;
    }
    visitor.request(Request { first_lsn, received_at, texts: fields.left() });
    for _ in 0..fields.unsigned()? {
        visitor.text(fields.text()?);
    }
    let mut lsn = first_lsn;
    for _ in 0..fields.unsigned()? {
        visitor.event(skim_event(fields, lsn)?);
        lsn = lsn.next();
    }
    Some(lsn)
}

#[inline]
fn skim_event<'p>(fields: &mut Fields<'p>, lsn: Lsn) -> Option<Skimmed<'p>> {
    let encoded = fields.left();
    let id = fields.text()?;
    let customer = u32::try_from(fields.unsigned()?).ok()?;
    let name = u32::try_from(fields.unsigned()?).ok()?;
    let timestamp = Timestamp::from_nanos(fields.signed()?);
    let _timestamp_given = fields.byte()?;
    if fields.byte()? != 0 {
        for _ in 0..fields.unsigned()? {
            fields.unsigned()?;
            skim_scalar(fields)?;
        }
    }
    Some(Skimmed { lsn, id, customer, name, timestamp, encoded })
}

/// Strings and numbers are texts, booleans a byte.
#[inline]
fn skim_scalar(fields: &mut Fields<'_>) -> Option<()> {
    match fields.unsigned()? {
        0 | 1 => fields.text().map(|_| ()),
        _ => fields.byte().map(|_| ()),
    }
}

/// Which events are looked for; every given field must match.
#[derive(Clone, Debug)]
pub struct Sought<'q> {
    /// With an LSN in here.
    pub lsns: RangeInclusive<Lsn>,
    /// With this id.
    pub id: Option<&'q str>,
    /// Of this customer.
    pub customer_id: Option<&'q str>,
    /// Of this name.
    pub event_name: Option<&'q str>,
    /// Used at this instant or later.
    pub start: Option<Timestamp>,
    /// Used before this instant.
    pub end: Option<Timestamp>,
}

impl Default for Sought<'_> {
    fn default() -> Self {
        Self {
            lsns: Lsn::ZERO..=Lsn(u64::MAX),
            id: None,
            customer_id: None,
            event_name: None,
            start: None,
            end: None,
        }
    }
}

impl Sought<'_> {
    /// Whether anything between these two instants, both included, can be meant.
    pub fn overlaps(&self, (earliest, latest): (Timestamp, Timestamp)) -> bool {
        self.start.is_none_or(|start| latest >= start) && self.end.is_none_or(|end| earliest < end)
    }
}

/// The events of a payload that were looked for.
#[derive(Debug, Default)]
pub struct Found<'p> {
    /// Each with its request's place.
    events: Vec<(usize, Skimmed<'p>)>,
    requests: Vec<Request<'p>>,
}

/// An event that was looked for, decoded.
#[derive(Debug)]
pub struct FoundEvent<'p> {
    /// Its LSN.
    pub lsn: Lsn,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The event.
    pub event: Event<'p>,
}

impl<'p> Found<'p> {
    /// What `sought` says of a payload whose first LSN is `first_lsn`.
    ///
    /// # Errors
    /// [`PayloadError`]
    pub fn in_payload(
        payload: &'p [u8],
        first_lsn: Lsn,
        sought: &Sought<'_>,
    ) -> Result<Self, PayloadError> {
        let mut seeker = Seeker { sought, places: Places::default(), found: Self::default() };
        skim(payload, first_lsn, &mut seeker)?;
        Ok(seeker.found)
    }

    /// Decodes what was found and shows it to `visit`, newest first, until it says `false`.
    ///
    /// # Errors
    /// [`PayloadError`]
    pub fn visit_back(
        self,
        mut visit: impl FnMut(FoundEvent<'p>) -> bool,
    ) -> Result<(), PayloadError> {
        let mut decoded: Option<(usize, EventsEntry<'p>)> = None;
        for (place, skimmed) in self.events.into_iter().rev() {
            let (encoded, _): (EventEntry<'p>, _) = codec::decode_front(skimmed.encoded)?;
            let known = decoded.take().filter(|(known, _)| *known == place);
            let (_, request) = match known {
                Some(known) => decoded.insert(known),
                None => decoded.insert((place, decode(self.requests.get(place))?)),
            };
            let (received_at, event) = (request.received_at, request.event(&encoded)?);
            if !visit(FoundEvent { lsn: skimmed.lsn, received_at, event }) {
                break;
            }
        }
        Ok(())
    }
}

/// A request without its events.
fn decode<'p>(request: Option<&Request<'p>>) -> Result<EventsEntry<'p>, PayloadError> {
    let request = request.expect("every event that was found has its request");
    let (texts, _) = codec::decode_front(request.texts)?;
    let received_at = request.received_at;
    Ok(EventsEntry { received_at, created: Vec::new(), texts, events: Vec::new() })
}

/// Collects what is looked for.
struct Seeker<'q, 's, 'p> {
    sought: &'q Sought<'s>,
    /// Of the request that is gone over.
    places: Places,
    found: Found<'p>,
}

/// Where the texts stand that are looked for: each stands once in a request.
#[derive(Default)]
struct Places {
    next: u32,
    customer: Option<u32>,
    name: Option<u32>,
}

impl<'p> Visitor<'p> for Seeker<'_, '_, 'p> {
    fn request(&mut self, request: Request<'p>) {
        self.places = Places::default();
        self.found.requests.push(request);
    }

    fn text(&mut self, text: &'p [u8]) {
        let is = |wanted: Option<&str>| wanted.is_some_and(|wanted| wanted.as_bytes() == text);
        let place = Some(self.places.next);
        if is(self.sought.customer_id) {
            self.places.customer = place;
        }
        if is(self.sought.event_name) {
            self.places.name = place;
        }
        self.places.next += 1;
    }

    fn event(&mut self, event: Skimmed<'p>) {
        let Sought { lsns, id, customer_id, event_name, start, end } = self.sought;
        let is_sought = (customer_id.is_none() || self.places.customer == Some(event.customer))
            && (event_name.is_none() || self.places.name == Some(event.name))
            && lsns.contains(&event.lsn)
            && id.is_none_or(|id| id.as_bytes() == event.id)
            && start.is_none_or(|start| event.timestamp >= start)
            && end.is_none_or(|end| event.timestamp < end);
        if is_sought {
            self.found.events.push((self.found.requests.len().saturating_sub(1), event));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::encoder::Encoder;
    use crate::engine::record::{
        Body, EncodedEvents, Entry, decode_payload, encode_entry, splice_events, start_payload,
    };
    use crate::model::{Number, Scalar};

    fn any_event() -> impl Strategy<Value = Event<'static>> {
        let text = || "[ab]{1,2}";
        let value = prop_oneof![
            "[ab]{0,300}".prop_map(|text| Scalar::String(text.into())),
            Just(Scalar::Number(Number::new("-1.50e3").unwrap())),
            any::<bool>().prop_map(Scalar::Boolean),
        ];
        let metadata = prop::option::of(prop::collection::vec((text(), value), 0..4));
        let nanos = prop_oneof![any::<i64>(), 0_i64..4];
        (text(), text(), text(), nanos, any::<bool>(), metadata).prop_map(
            |(id, customer, name, nanos, timestamp_given, metadata)| Event {
                id: id.into(),
                customer_id: customer.into(),
                name: name.into(),
                timestamp: Timestamp::from_nanos(nanos),
                timestamp_given,
                metadata: metadata.map(|members| {
                    members.into_iter().map(|(key, value)| (key.into(), value)).collect()
                }),
            },
        )
    }

    /// Requests with a record that is no event before each.
    fn payload_of(requests: &[Vec<Event<'_>>]) -> Vec<u8> {
        let log_time = Timestamp::from_nanos(6);
        let mut payload = Vec::new();
        start_payload(requests.len() * 2, &mut payload);
        for (events, received_at) in requests.iter().zip(1_000..) {
            encode_entry(&Entry { log_time, body: Body::ClockSet(None) }, &mut payload);
            let mut encoder = Encoder::with_capacity(events.len());
            for event in events {
                encoder.event(event);
            }
            let (texts, bytes) = encoder.finish();
            let parts = EncodedEvents {
                received_at: Timestamp::from_nanos(received_at),
                created: &[300],
                texts: &texts,
                event_count: events.len(),
            };
            splice_events(log_time, &parts, &mut payload);
            payload.extend(bytes);
        }
        payload
    }

    type Listed = Vec<(Lsn, Timestamp, String)>;

    /// What a whole decoding shows, newest first.
    fn filtered(payload: &[u8], first_lsn: Lsn, sought: &Sought<'_>) -> Listed {
        let (mut lsn, mut listed) = (first_lsn, Listed::new());
        for entry in decode_payload(payload).unwrap() {
            let Body::Events(events) = entry.body else {
                lsn = lsn.next();
                continue;
            };
            for encoded in &events.events {
                let event = events.event(encoded).unwrap();
                let is_sought = sought.lsns.contains(&lsn)
                    && sought.id.is_none_or(|id| event.id == id)
                    && sought.customer_id.is_none_or(|id| event.customer_id == id)
                    && sought.event_name.is_none_or(|name| event.name == name)
                    && sought.start.is_none_or(|start| event.timestamp >= start)
                    && sought.end.is_none_or(|end| event.timestamp < end);
                if is_sought {
                    listed.push((lsn, events.received_at, format!("{event:?}")));
                }
                lsn = lsn.next();
            }
        }
        listed.reverse();
        listed
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_whole_decoding_shows(
            requests in prop::collection::vec(prop::collection::vec(any_event(), 0..5), 0..4),
            texts in prop::collection::vec(prop::option::of("[ab]{1,2}"), 3),
            times in prop::collection::vec(prop::option::of(-1_i64..5), 2),
            lsns in (0_u64..12, 0_u64..30),
            first in 1_u64..10,
        ) {
            let payload = payload_of(&requests);
            let (all, times) = (Sought::default(), times.iter().map(|it| it.map(Timestamp::from_nanos)));
            let [start, end] = times.collect::<Vec<_>>()[..] else { unreachable!() };
            let sought = Sought {
                lsns: Lsn(lsns.0)..=Lsn(lsns.1),
                id: texts[0].as_deref(),
                customer_id: texts[1].as_deref(),
                event_name: texts[2].as_deref(),
                start,
                end,
            };
            for sought in [all, sought] {
                let mut listed = Listed::new();
                let found = Found::in_payload(&payload, Lsn(first), &sought).unwrap();
                found.visit_back(|found| {
                    listed.push((found.lsn, found.received_at, format!("{:?}", found.event)));
                    true
                }).unwrap();
                prop_assert_eq!(listed, filtered(&payload, Lsn(first), &sought));
            }
        }

        #[test]
        fn no_bytes_make_skimming_panic(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            events in prop::collection::vec(any_event(), 1..4),
            at in any::<prop::sample::Index>(),
            byte: u8,
        ) {
            let mut damaged = payload_of(&[events]);
            let at = at.index(damaged.len());
            damaged[at] = byte;
            for payload in [payload, damaged] {
                if let Ok(found) = Found::in_payload(&payload, Lsn(1), &Sought::default()) {
                    found.visit_back(|_| true).ok();
                }
            }
        }
    }
}
