//! An event's way, on the worker: hash the ids, ask the index, evaluate, encode.
//!
//! Nothing here decides. What is looked up names the version it was looked up in, so that the
//! committer can tell what it must look at again.

use std::ops::Range;

use hashbrown::HashSet;

use crate::engine::catalogue::Catalogue;
use crate::engine::command::{EventRefusal, Refused};
use crate::engine::record::{Encoder, EventEntry, EventsEntry, PayloadError};
use crate::engine::state::State;
use crate::metering::content::Fingerprinter;
use crate::metering::evaluate::{Contribution, evaluate};
use crate::metering::{Lateness, Rejection, Rule};
use crate::model::{Causes, CustomerId, CustomerIndex, Event, Timestamp};
use crate::storage::codec;
use crate::storage::index::{Hit, IdHash, IdHasher, View};
use crate::world::processor::LongWork;

/// A request that was checked, hashed, evaluated and encoded: ready for the committer.
#[derive(Debug)]
pub struct Prepared {
    pub(in crate::engine) received_at: Timestamp,
    pub(in crate::engine) events: Vec<PreparedEvent>,
    /// The customers that the events name, each once.
    pub(in crate::engine) customers: Vec<PreparedCustomer>,
    /// What the events add, in their order.
    pub(in crate::engine) contributions: Vec<Contribution>,
    /// The catalogue version that `contributions` were evaluated under.
    pub(in crate::engine) catalogue_version: u64,
    /// The index version that `earlier` was looked up in.
    pub(in crate::engine) view_version: u64,
    pub(in crate::engine) texts: Vec<u8>,
    pub(in crate::engine) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(in crate::engine) struct PreparedEvent {
    pub hash: IdHash,
    pub fingerprint: u32,
    pub timestamp: Timestamp,
    pub lateness: Lateness,
    /// Its place in the request's customers.
    pub customer: usize,
    /// Where its encoded bytes end.
    pub bytes_end: usize,
    /// Where its contributions end.
    pub contributions_end: usize,
    /// The first copy, as far as the index knew one.
    pub earlier: Option<Hit>,
}

/// A customer that a request names.
#[derive(Debug)]
pub(in crate::engine) enum PreparedCustomer {
    /// It existed at the time.
    Known(CustomerIndex),
    /// It did not: its id, and the place of that in the request's texts.
    Unknown { id: CustomerId, text: u32 },
}

/// What preparing looks things up in.
#[derive(Debug)]
pub(in crate::engine) struct Context<'c> {
    pub state: &'c State,
    pub hasher: &'c IdHasher,
    pub view: &'c View,
    pub catalogue: &'c Catalogue,
}

/// Prepares the events of one request.
pub(in crate::engine) fn prepare(
    events: &[(Event<'_>, Lateness)],
    received_at: Timestamp,
    context: &Context<'_>,
) -> Result<Prepared, Refused> {
    let hashes: Vec<IdHash> =
        events.iter().map(|(event, _)| context.hasher.hash(&event.id)).collect();
    refuse_repeated(&hashes)?;
    let earlier = context.view.look_up(&hashes).map_err(|error| {
        tracing::error!(error = %Causes(&error), "look up event ids");
        Refused::Busy
    })?;
    let mut encoder = Encoder::with_capacity(events.len());
    let mut fingerprinter = Fingerprinter::default();
    let mut customers = Customers::default();
    let mut contributions = Vec::with_capacity(events.len());
    let mut prepared = Vec::with_capacity(events.len());
    let mut work = LongWork::default();
    for (((event, lateness), hash), earlier) in events.iter().zip(hashes).zip(earlier) {
        work.advance(1);
        evaluate(context.catalogue.set(), event, |contribution| contributions.push(contribution));
        let (text, bytes_end) = encoder.event(event);
        prepared.push(PreparedEvent {
            hash,
            fingerprint: fingerprinter.fingerprint(event),
            timestamp: event.timestamp,
            lateness: *lateness,
            customer: customers.place(text, &event.customer_id),
            bytes_end,
            contributions_end: contributions.len(),
            earlier,
        });
    }
    let customers = customers.look_up(context.state);
    let (texts, bytes) = encoder.finish();
    Ok(Prepared {
        received_at,
        events: prepared,
        customers,
        contributions,
        catalogue_version: context.catalogue.version(),
        view_version: context.view.version(),
        texts,
        bytes,
    })
}

/// The customers of one request, found by the place of their text.
#[derive(Default)]
struct Customers<'e> {
    /// Their ids and texts.
    list: Vec<(&'e str, u32)>,
    /// For each text its place in the list, for texts that are customers.
    places: Vec<Option<usize>>,
}

impl<'e> Customers<'e> {
    /// Finds those that exist.
    fn look_up(self, state: &State) -> Vec<PreparedCustomer> {
        let ids = self.list.iter().map(|(id, _)| *id);
        let indexes = state.with_accounts(|accounts| accounts.indexes(ids));
        let found = |((id, text), index): ((&str, u32), Option<CustomerIndex>)| match index {
            Some(index) => PreparedCustomer::Known(index),
            None => PreparedCustomer::Unknown { id: CustomerId::new(id), text },
        };
        self.list.into_iter().zip(indexes).map(found).collect()
    }

    fn place(&mut self, text: u32, id: &'e str) -> usize {
        let slot = text as usize;
        if self.places.len() <= slot {
            self.places.resize(slot + 1, None);
        }
        if let Some(Some(place)) = self.places.get(slot) {
            return *place;
        }
        let place = self.list.len();
        self.list.push((id, text));
        if let Some(empty) = self.places.get_mut(slot) {
            *empty = Some(place);
        }
        place
    }
}

/// An id twice in one request refuses the request.
fn refuse_repeated(hashes: &[IdHash]) -> Result<(), Refused> {
    let mut seen = HashSet::with_capacity(hashes.len());
    match hashes.iter().position(|hash| !seen.insert(*hash)) {
        None => Ok(()),
        Some(event_index) => Err(Refused::Event(EventRefusal {
            event_index,
            rejection: Rejection {
                rule: Rule::RepeatedId,
                field: "event_id".to_owned(),
                message: "the same event_id stands twice in this request".to_owned(),
            },
        })),
    }
}

impl Prepared {
    /// The bytes of the log that the request needs at most.
    pub(in crate::engine) fn encoded_bytes(&self) -> usize {
        self.texts.len() + self.bytes.len()
    }

    /// The encoded bytes of the event at `place`.
    pub(in crate::engine) fn event_bytes(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).and_then(|before| self.events.get(before));
        let end = self.events.get(place).map_or(0, |event| event.bytes_end);
        self.bytes.get(start.map_or(0, |event| event.bytes_end)..end).unwrap_or_default()
    }

    /// The contributions of the event at `place`.
    pub(in crate::engine) fn contributions_of(&self, place: usize) -> &[Contribution] {
        let start = place.checked_sub(1).and_then(|before| self.events.get(before));
        let end = self.events.get(place).map_or(0, |event| event.contributions_end);
        let range: Range<usize> = start.map_or(0, |event| event.contributions_end)..end;
        self.contributions.get(range).unwrap_or_default()
    }

    /// Evaluates the events again, under another catalogue than they were prepared under.
    pub(in crate::engine) fn evaluate_again(
        &mut self,
        catalogue: &Catalogue,
    ) -> Result<(), PayloadError> {
        let entry = EventsEntry {
            received_at: self.received_at,
            created: Vec::new(),
            texts: codec::decode(&self.texts)?,
            events: Vec::new(),
        };
        let mut contributions = Vec::with_capacity(self.events.len());
        let mut ends = Vec::with_capacity(self.events.len());
        for place in 0..self.events.len() {
            let encoded: EventEntry<'_> = codec::decode(self.event_bytes(place))?;
            let event = entry.event(&encoded)?;
            evaluate(catalogue.set(), &event, |contribution| contributions.push(contribution));
            ends.push(contributions.len());
        }
        for (event, end) in self.events.iter_mut().zip(ends) {
            event.contributions_end = end;
        }
        self.contributions = contributions;
        self.catalogue_version = catalogue.version();
        Ok(())
    }
}
