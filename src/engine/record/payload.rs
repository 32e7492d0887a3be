//! Payloads: records as they stand in the log.
//!
//! A payload is a version, a count and so many [`Entry`]s in the codec's form. In front of each stand four
//! bytes: zero before events, which are gone over one by one, and the entry's length before everything
//! else, so that who looks for events steps over it. Events are encoded by the
//! worker that prepared them and spliced into the list by the committer; [`splice_events`] makes
//! exactly the bytes that encoding a whole `EventsEntry` would.

use super::{Body, Entry};
use crate::model::Timestamp;
use crate::storage::codec::{self, Fields};

/// The version in front of every payload. A payload of another version is refused, never guessed.
const VERSION: u16 = 2;

/// What stands before events.
const UNMEASURED: [u8; 4] = [0; 4];

/// The number of [`Body::Events`] in the encoding.
pub const VARIANT_EVENTS: u32 = 0;

/// Why a payload cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// A newer program wrote it.
    #[error("payload version {0} is not known to this version of quipu")]
    Version(u16),
    /// Its bytes are not what the version says.
    #[error("decode payload")]
    Codec(#[from] codec::Error),
    /// An event names a text that does not stand in its request.
    #[error("event names text {0}, which does not exist")]
    NoSuchText(u32),
    /// An event names a customer that no record before it created.
    #[error("event names a customer that no record created")]
    NoSuchCustomer,
}

/// Starts a payload of `count` entries; the entries follow.
pub fn start_payload(count: usize, out: &mut Vec<u8>) {
    codec::encode(&VERSION, out);
    codec::encode_count(count, out);
}

/// Appends an entry to a payload.
///
/// # Panics
/// When its encoding is longer than [`codec::VALUE_BYTES_MAX`].
pub fn encode_entry(entry: &Entry<'_>, out: &mut Vec<u8>) {
    match entry.body {
        Body::Events(_) => {
            out.extend_from_slice(&UNMEASURED);
            codec::encode(entry, out);
        }
        Body::Change(_)
        | Body::ClockSet(_)
        | Body::Backfilled(_)
        | Body::PeriodTurned(_)
        | Body::CycleClosed(_)
        | Body::PaymentMarked(_)
        | Body::CreditsMoved(_)
        | Body::AlertsFired(_)
        | Body::WebhookSettled(_) => measured(out, |out| codec::encode(entry, out)),
    }
}

/// Appends what `write` does, with its length in front.
///
/// # Panics
/// When it is longer than [`codec::VALUE_BYTES_MAX`].
pub fn measured<T>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let head = out.len();
    out.extend_from_slice(&UNMEASURED);
    let written = write(out);
    let length = out.len() - head - UNMEASURED.len();
    assert!(length <= codec::VALUE_BYTES_MAX, "an encoded value is at most 16 MiB");
    let length = u32::try_from(length).expect("an encoded value is at most 16 MiB");
    if let Some(place) = out.get_mut(head..head + UNMEASURED.len()) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    written
}

/// The length of the entry that `fields` stand before, and behind it the entry; `None` of events.
///
/// # Errors
/// [`PayloadError::Codec`] at the end of the bytes.
pub fn entry_length(fields: &mut Fields<'_>) -> Result<Option<usize>, PayloadError> {
    let length = fields.fixed_u32().ok_or_else(|| fields.malformed())?;
    // Fits: a processor that this runs on has 32 bits at least.
    Ok((length > 0).then_some(length as usize))
}

/// The entries of a payload, borrowed from it.
///
/// # Errors
/// [`PayloadError`]; nothing of a payload that cannot be read is used.
pub fn decode_payload(payload: &[u8]) -> Result<Vec<Entry<'_>>, PayloadError> {
    let mut fields = payload_entries(payload)?;
    let count = fields.unsigned().ok_or_else(|| fields.malformed())?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let length = entry_length(&mut fields)?;
        let before = fields.left().len();
        entries.push(fields.value()?);
        if length.is_some_and(|length| before - fields.left().len() != length) {
            return Err(fields.malformed().into());
        }
    }
    match fields.left().len() {
        0 => Ok(entries),
        bytes => Err(codec::Error::Trailing { bytes }.into()),
    }
}

/// The encoded list of a payload's entries.
///
/// # Errors
/// [`PayloadError`]
pub fn payload_entries(payload: &[u8]) -> Result<Fields<'_>, PayloadError> {
    let mut fields = Fields::new(payload);
    match fields.value()? {
        VERSION => Ok(fields),
        version => Err(PayloadError::Version(version)),
    }
}

/// The already encoded parts of an [`EventsEntry`](super::EventsEntry).
#[derive(Debug)]
pub struct EncodedEvents<'a> {
    /// When the request arrived.
    pub received_at: Timestamp,
    /// Places of the customers to create.
    pub created: &'a [u32],
    /// The encoded list of texts, with its count.
    pub texts: &'a [u8],
    /// How many events follow.
    pub event_count: usize,
}

/// Appends an events entry to a payload, up to its events: those follow as encoded by
/// [`Encoder::event`](crate::engine::encoder::Encoder::event), `event_count` of them.
pub fn splice_events(log_time: Timestamp, parts: &EncodedEvents<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&UNMEASURED);
    codec::encode(&(log_time, VARIANT_EVENTS, parts.received_at, parts.created), out);
    out.extend_from_slice(parts.texts);
    codec::encode_count(parts.event_count, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::encoder::Encoder;
    use crate::engine::record::{BackfillEnd, BackfilledEntry, EventsEntry};
    use crate::engine::state::MeterTotals;
    use crate::metering::accumulator::{Accumulator, SkipReason};
    use crate::model::{CustomerIndex, Event, Filter, Hour, MeterIndex, Number, Scalar};

    fn text() -> impl Strategy<Value = String> {
        "[a-c]{1,3}"
    }

    fn any_scalar() -> impl Strategy<Value = Scalar<'static>> {
        prop_oneof![
            text().prop_map(|text| Scalar::String(text.into())),
            Just(Scalar::Number(Number::new("-1.50e3").unwrap())),
            any::<bool>().prop_map(Scalar::Boolean),
        ]
    }

    fn any_event() -> impl Strategy<Value = Event<'static>> {
        let metadata = prop::option::of(prop::collection::vec((text(), any_scalar()), 0..4));
        (text(), text(), text(), any::<i64>(), any::<bool>(), metadata).prop_map(
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

    /// One payload with the kept events of a request, spliced as the committer does it.
    fn spliced(events: &[(Event<'static>, bool)], created: &[u32]) -> Vec<u8> {
        let mut encoder = Encoder::with_capacity(events.len());
        let mut start = 0;
        let mut ranges = Vec::new();
        for (event, _) in events {
            let (_, end) = encoder.event(event);
            ranges.push(start..end);
            start = end;
        }
        let (texts, bytes) = encoder.finish();
        let kept = || events.iter().zip(&ranges).filter(|((_, kept), _)| *kept);
        let mut payload = Vec::new();
        start_payload(1, &mut payload);
        let parts = EncodedEvents {
            received_at: Timestamp::from_nanos(5),
            created,
            texts: &texts,
            event_count: kept().count(),
        };
        splice_events(Timestamp::from_nanos(6), &parts, &mut payload);
        for (_, range) in kept() {
            payload.extend_from_slice(&bytes[range.clone()]);
        }
        payload
    }

    proptest! {
        #[test]
        fn spliced_events_are_read_back_and_encode_to_the_same_bytes(
            events in prop::collection::vec((any_event(), any::<bool>()), 0..6),
            created in prop::collection::vec(any::<u32>(), 0..3),
        ) {
            let payload = spliced(&events, &created);
            let entries = decode_payload(&payload).unwrap();
            let [Entry { body: Body::Events(read), .. }] = entries.as_slice() else {
                panic!("one entry of events");
            };
            let kept: Vec<_> = events.iter().filter(|(_, kept)| *kept).map(|(e, _)| e).collect();
            let found: Vec<_> = read.events.iter().map(|e| read.event(e).unwrap()).collect();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), kept);
            prop_assert_eq!(&read.created, &created);
            let mut whole = Vec::new();
            start_payload(1, &mut whole);
            encode_entry(&entries[0], &mut whole);
            prop_assert_eq!(whole, payload);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(decode_payload(&bytes));
        }
    }

    #[test]
    fn the_format_has_not_changed() {
        let event = Event {
            id: "e1".into(),
            customer_id: "c".into(),
            name: "n".into(),
            timestamp: Timestamp::from_nanos(1),
            timestamp_given: true,
            metadata: Some(vec![
                ("k".into(), Scalar::Number(Number::new("1.5").unwrap())),
                ("c".into(), Scalar::Boolean(true)),
            ]),
        };
        let payload = spliced(&[(event, true)], &[0]);
        let expected: &[u8] = &[
            2, 1, // version, entries
            0, 0, 0, 0, // events have no length
            12, 0, // log time (zigzag), kind
            10, 1, 0, // received at, one customer created: text 0
            3, 1, b'c', 1, b'n', 1, b'k', // texts
            1, 2, b'e', b'1', // one event, its id
            0, 1, 2, 1, // customer, name, timestamp, given
            1, 2, // metadata: some, two pairs
            2, 1, 3, b'1', b'.', b'5', // k: number
            0, 2, 1, // c: boolean
        ];
        assert_eq!(payload, expected);
    }

    #[test]
    fn the_format_of_a_backfill_has_not_changed() {
        let mut accumulator = Accumulator::default();
        accumulator.skip(SkipReason::Missing);
        let body = Body::Backfilled(BackfilledEntry {
            meter: MeterIndex(4),
            totals: Some(MeterTotals { counted: 7, skipped: [1, 2, 3], magnitude: 9 }),
            entries: vec![(CustomerIndex(5), Hour(-6), accumulator)],
            end: Some(BackfillEnd::Failed),
        });
        let entry = Entry { log_time: Timestamp::from_nanos(6), body };
        let mut payload = Vec::new();
        start_payload(1, &mut payload);
        encode_entry(&entry, &mut payload);
        let expected: &[u8] = &[
            2, 1, // version, entries
            21, 0, 0, 0, // length
            12, 3, // log time (zigzag), kind
            4, // meter
            1, 7, 1, 2, 3, 9, // totals: some, counted, skipped, magnitude
            1, 5, 11, // one entry: customer, hour (zigzag)
            0, 0, 0, 0, 1, 0, 0, // count, value, at, lsn, skipped
            1, 1, // end: some, failed
        ];
        assert_eq!(payload, expected);
        assert_eq!(decode_payload(&payload).unwrap(), [entry]);
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        for text in ["", "e", "1e!", "0x", "01"] {
            let mut scalar = vec![1];
            codec::encode(text, &mut scalar);
            assert!(codec::decode::<Scalar<'_>>(&scalar).is_err(), "{text}");
        }
    }

    #[test]
    fn filters_in_filters_do_not_exhaust_the_stack() {
        let mut filter = [0, 1, 1].repeat(1 << 20);
        filter.extend([0, 0, 0]);
        assert!(codec::decode::<Filter>(&filter).is_err());
    }

    #[test]
    fn a_payload_of_another_version_is_refused() {
        let error = decode_payload(&[3, 0]).unwrap_err();
        assert!(matches!(error, PayloadError::Version(3)), "{error}");
    }

    #[test]
    fn a_text_that_is_not_there_is_an_error() {
        let entry = EventsEntry {
            received_at: Timestamp::default(),
            created: Vec::new(),
            texts: vec!["c"],
            events: Vec::new(),
        };
        assert!(matches!(entry.text(1), Err(PayloadError::NoSuchText(1))));
    }
}
