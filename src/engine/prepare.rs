//! An event's way, on the worker: evaluate, encode and hash one event after the other, then ask the
//! index for all of them.
//!
//! Nothing here decides. What is looked up names the version it was looked up in, so that the
//! committer can tell what it must look at again.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashSet;

use crate::engine::catalogue::Catalogue;
use crate::engine::command::{EventRefusal, Refused};
use crate::engine::encoder::Encoder;
use crate::engine::record::{EventEntry, EventsEntry, PayloadError};
use crate::engine::shared::Shared;
use crate::engine::state::State;
use crate::metering::content::Fingerprinter;
use crate::metering::evaluate::{Contribution, evaluate};
use crate::metering::{Lateness, Rejection, Rule};
use crate::model::{Causes, CustomerId, CustomerIndex, Event, Timestamp};
use crate::storage::codec;
use crate::storage::index::{Hit, IdHash};

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

/// The preparation of one request, an event after the other.
#[derive(Debug)]
pub struct Preparation<'e, 'a> {
    shared: &'e Shared,
    catalogue: Arc<Catalogue>,
    received_at: Timestamp,
    encoder: Encoder<'a>,
    fingerprinter: Fingerprinter,
    customers: Customers,
    contributions: Vec<Contribution>,
    events: Vec<PreparedEvent>,
}

impl<'e, 'a> Preparation<'e, 'a> {
    /// Begins a request of about `events` events.
    pub(in crate::engine) fn new(
        shared: &'e Shared,
        received_at: Timestamp,
        events: usize,
    ) -> Self {
        Self {
            shared,
            catalogue: shared.state.catalogue(),
            received_at,
            encoder: Encoder::with_capacity(events),
            fingerprinter: Fingerprinter::default(),
            customers: Customers::default(),
            contributions: Vec::with_capacity(events),
            events: Vec::with_capacity(events),
        }
    }

    /// Hashes, evaluates and encodes the next event.
    pub fn add(&mut self, event: &Event<'a>, lateness: Lateness) {
        let Self { contributions, .. } = self;
        evaluate(self.catalogue.set(), event, |contribution| contributions.push(contribution));
        let (text, bytes_end) = self.encoder.event(event);
        self.events.push(PreparedEvent {
            hash: self.shared.hasher.hash(&event.id),
            fingerprint: self.fingerprinter.fingerprint(event),
            timestamp: event.timestamp,
            lateness,
            customer: self.customers.place(text),
            bytes_end,
            contributions_end: self.contributions.len(),
            earlier: None,
        });
    }

    /// Looks ids and customers up. Reads the disk when ids may be known.
    ///
    /// # Errors
    /// When the request breaks a rule that can be told before it is ordered.
    pub fn finish(self) -> Result<Prepared, Refused> {
        let counters = &self.shared.counters;
        self.look_up().inspect_err(|refused| counters.refused(refused))
    }

    fn look_up(mut self) -> Result<Prepared, Refused> {
        let hashes: Vec<IdHash> = self.events.iter().map(|event| event.hash).collect();
        refuse_repeated(&hashes)?;
        let view = self.shared.index.view();
        let earlier = view.look_up(&hashes).map_err(|error| {
            tracing::error!(error = %Causes(&error), "look up event ids");
            Refused::Busy
        })?;
        for (event, earlier) in self.events.iter_mut().zip(earlier) {
            event.earlier = earlier;
        }
        let customers = self.customers.look_up(&self.encoder, &self.shared.state);
        let (texts, bytes) = self.encoder.finish();
        Ok(Prepared {
            received_at: self.received_at,
            events: self.events,
            customers,
            contributions: self.contributions,
            catalogue_version: self.catalogue.version(),
            view_version: view.version(),
            texts,
            bytes,
        })
    }
}

/// The customers of one request, by the places of their texts.
#[derive(Debug, Default)]
struct Customers {
    texts: Vec<u32>,
    /// For each text its place in the list, for texts that are customers.
    places: Vec<Option<usize>>,
}

impl Customers {
    /// Finds those that exist.
    fn look_up(&self, encoder: &Encoder<'_>, state: &State) -> Vec<PreparedCustomer> {
        let id_of = |text: &u32| encoder.text(*text).expect("the encoder has every text it gave");
        let ids = self.texts.iter().map(id_of);
        let indexes = state.with_accounts(|accounts| accounts.indexes(ids));
        let found = |(text, index): (&u32, Option<CustomerIndex>)| match index {
            Some(index) => PreparedCustomer::Known(index),
            None => PreparedCustomer::Unknown { id: CustomerId::new(id_of(text)), text: *text },
        };
        self.texts.iter().zip(indexes).map(found).collect()
    }

    fn place(&mut self, text: u32) -> usize {
        let slot = text as usize;
        if self.places.len() <= slot {
            self.places.resize(slot + 1, None);
        }
        match self.places.get_mut(slot) {
            Some(Some(place)) => *place,
            unknown => {
                let place = self.texts.len();
                self.texts.push(text);
                if let Some(unknown) = unknown {
                    *unknown = Some(place);
                }
                place
            }
        }
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
