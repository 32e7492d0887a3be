//! What stands in a commit group: records in the codec's form.
//!
//! Laws: a payload that is read back and written again is no longer than it was, and means the same;
//! the pass that only steps over events sees the same ones; numbers in it are numbers, whoever wrote
//! it. The input is a payload.

use quipu::engine::record::{self, Body, Entry, EventsEntry};
use quipu::engine::skim::{Request, Skimmed, Visitor, skim};
use quipu::model::{Lsn, Number, Scalar, Timestamp};

/// LSN, id, customer, name and timestamp.
type Outline = (Lsn, Vec<u8>, u32, u32, Timestamp);

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let mut seen = Seen::default();
    let skimmed = skim(data, Lsn(1), &mut seen);
    let Ok(entries) = record::decode_payload(data) else { return };
    let mut written = Vec::new();
    record::start_payload(entries.len(), &mut written);
    for entry in &entries {
        record::encode_entry(entry, &mut written);
    }
    assert!(written.len() <= data.len());
    assert_eq!(record::decode_payload(&written).unwrap(), entries);
    skimmed.expect("what can be read can be stepped over");
    let mut expected = Seen::default();
    let mut lsn = Lsn(1);
    for entry in &entries {
        if let Entry { body: Body::Events(request), .. } = entry {
            check_events(request, lsn, &mut expected);
        }
        lsn = lsn.plus(entry.body.lsn_count());
    }
    assert_eq!(seen, expected);
}

fn check_events(request: &EventsEntry<'_>, first_lsn: Lsn, expected: &mut Seen) {
    expected.requests.push((first_lsn, request.received_at));
    expected.texts.extend(request.texts.iter().map(|text| text.as_bytes().to_vec()));
    for (lsn, event) in (first_lsn.0..).zip(&request.events) {
        let id = event.id.as_bytes().to_vec();
        expected.events.push((Lsn(lsn), id, event.customer, event.name, event.timestamp));
        let texts = [event.customer, event.name].into_iter();
        let keys = event.metadata.iter().flatten().map(|(key, _)| *key);
        let is_whole = texts.chain(keys).all(|place| (place as usize) < request.texts.len());
        let read = request.event(event);
        assert_eq!(read.is_ok(), is_whole);
        for (_, value) in read.iter().flat_map(|event| event.metadata.iter().flatten()) {
            if let Scalar::Number(number) = value {
                assert_eq!(Number::new(number.as_str()), Some(*number));
                let _ = number.to_quantity();
            }
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    requests: Vec<(Lsn, Timestamp)>,
    texts: Vec<Vec<u8>>,
    events: Vec<Outline>,
}

impl<'p> Visitor<'p> for Seen {
    fn request(&mut self, request: Request<'p>) {
        self.requests.push((request.first_lsn, request.received_at));
    }

    fn text(&mut self, text: &'p [u8]) {
        self.texts.push(text.to_vec());
    }

    fn event(&mut self, event: Skimmed<'p>) {
        let id = event.id.to_vec();
        self.events.push((event.lsn, id, event.customer, event.name, event.timestamp));
    }
}
