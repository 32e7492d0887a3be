//! Replays the log: records above the checkpoint into the state, ids above the last run into memory.

use std::sync::Arc;

use crate::engine::incarnation::Incarnation;
use crate::engine::options::Options;
use crate::engine::outbox::Outbox;
use crate::engine::record::{Body, Entry, EventsEntry, PayloadError, decode_payload};
use crate::engine::state::{Admitted, AdmittedRequest, Record, State};
use crate::engine::stripes::{Delta, Key};
use crate::metering::accumulator::Sample;
use crate::metering::content::Fingerprinter;
use crate::metering::evaluate::evaluate;
use crate::model::{CustomerId, CustomerIndex, Event, Hour, Lsn, Timestamp};
use crate::storage::history::{self, History, Reader};
use crate::storage::index::{
    self, Flusher, Generations, IdEntry, IdHash, IdHasher, Index, Opened, Progress,
};
use crate::storage::log::{self, Frame};

/// Why a log that is whole cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A payload cannot be understood.
    #[error("read a payload of the log")]
    Payload(#[from] PayloadError),
    /// The log cannot be read.
    #[error("read the log")]
    Log(#[from] log::ReadError),
    /// History cannot be read.
    #[error("read history")]
    History(#[from] history::Error),
    /// The index failed while ids moved into it.
    #[error("flush event ids")]
    Index(#[from] index::Error),
}

/// A replay in progress.
#[derive(Debug)]
pub struct Replay {
    state: State,
    /// The state stands here before the replay.
    checkpoint: Lsn,
    ids: Ids,
    /// The rows on disk are those of this LSN.
    rows_at: Lsn,
    records: u64,
}

/// What a replay leaves behind.
#[derive(Debug)]
pub struct Replayed {
    /// The state at the end of the log.
    pub state: State,
    /// Ids on disk.
    pub index: Arc<Index>,
    /// The index's writer.
    pub flusher: Flusher,
    /// Ids above the last run.
    pub generations: Generations,
    /// Hashes ids.
    pub hasher: IdHasher,
    /// How many LSNs were applied.
    pub records: u64,
}

/// Ids that are being refilled.
#[derive(Debug)]
struct Ids {
    index: Arc<Index>,
    flusher: Flusher,
    generations: Generations,
    hasher: IdHasher,
    fingerprinter: Fingerprinter,
    /// Ids up to here stand in runs.
    flushed: Lsn,
    /// The last LSN of the log: all of it is durable.
    durable: Lsn,
}

impl Replay {
    /// A replay onto the state of a checkpoint.
    pub fn new(state: State, incarnation: &Incarnation, options: &Options, opened: Opened) -> Self {
        let checkpoint = state.applied();
        let flushed = opened.index.flushed_through();
        let ids = Ids {
            flushed,
            durable: flushed.max(checkpoint),
            index: opened.index,
            flusher: opened.flusher,
            generations: Generations::new(options.generation_ids),
            hasher: IdHasher::new(incarnation.id_secret),
            fingerprinter: Fingerprinter::default(),
        };
        Self { state, checkpoint, ids, rows_at: checkpoint, records: 0 }
    }

    /// The highest LSN that checkpoint or index know to be durable.
    pub fn known_durable(&self) -> Lsn {
        self.ids.durable
    }

    /// The first LSN that the replay needs.
    pub fn from(&self) -> Lsn {
        self.checkpoint.min(self.ids.flushed).next()
    }

    /// Where the checkpoint stands.
    pub fn checkpoint(&self) -> Lsn {
        self.checkpoint
    }

    /// The rows on disk are those of this LSN, which may be above the state's own.
    pub fn trusts_rows_at(&mut self, lsn: Lsn) {
        self.rows_at = lsn;
    }

    /// Refills ids that no run has from history: those of a lost or damaged index.
    ///
    /// # Errors
    /// [`ReplayError`]
    pub fn refill_from(&mut self, history: &History) -> Result<(), ReplayError> {
        let Some(oldest) = history.first_lsn() else { return Ok(()) };
        let (first, last) = (self.ids.flushed.next().max(oldest), history.last_lsn());
        if first > last {
            return Ok(());
        }
        let mut reader = Reader::new();
        for part in history.scan_forward(first..=last)? {
            part?.events(&mut reader, |stored| {
                let hash = self.ids.hasher.hash(&stored.event.id);
                self.ids.insert(hash, &stored.event, (stored.lsn, stored.received_at))
            })?;
        }
        Ok(())
    }

    /// Replays one frame; frames come in LSN order without a gap.
    ///
    /// # Errors
    /// [`ReplayError`]
    pub fn frame(&mut self, frame: &Frame<'_>) -> Result<(), ReplayError> {
        if frame.count == 0 {
            return Ok(());
        }
        let mut lsn = frame.first_lsn;
        for entry in decode_payload(frame.payload).map_err(ReplayError::Payload)? {
            let next = lsn.plus(entry.body.lsn_count());
            self.entry(lsn, entry)?;
            lsn = next;
        }
        Ok(())
    }

    fn entry(&mut self, lsn: Lsn, entry: Entry<'_>) -> Result<(), ReplayError> {
        let count = entry.body.lsn_count();
        let is_new = lsn > self.checkpoint;
        let record = match entry.body {
            Body::Events(events) => {
                self.ids.refill(lsn, &events)?;
                if !is_new {
                    return Ok(());
                }
                Record::Events(self.admitted((lsn, entry.log_time), &events)?)
            }
            Body::Change(change) => Record::Change(Box::new(change)),
            Body::ClockSet(identity) => Record::ClockSet(identity),
            Body::Backfilled(entry) => Record::Backfilled(Box::new(entry)),
            Body::PeriodTurned(subscription) => Record::PeriodTurned(subscription),
            Body::CycleClosed(entry) => Record::CycleClosed(entry, None),
            Body::PaymentMarked(entry) => Record::PaymentMarked(entry),
            Body::CreditsMoved(entry) => Record::CreditsMoved(entry),
            Body::AlertsFired(entry) => Record::AlertsFired(entry),
            Body::WebhookSettled(entry) => Record::WebhookSettled(entry),
        };
        if is_new {
            self.state.apply(lsn, entry.log_time, &record);
            self.records += count;
            if self.state.applied() == self.rows_at {
                self.state.load_outbox(Outbox::trust_disk);
            }
        }
        Ok(())
    }

    /// What admitted events do, from what the log says of them.
    fn admitted(
        &self,
        (lsn, log_time): (Lsn, Timestamp),
        events: &EventsEntry<'_>,
    ) -> Result<Admitted, PayloadError> {
        let catalogue = self.state.catalogue();
        let customers = Customers::new(&self.state, events)?;
        let mut deltas = Vec::with_capacity(events.events.len());
        for (encoded, lsn) in events.events.iter().zip((lsn.0..).map(Lsn)) {
            let event = events.event(encoded)?;
            let customer = customers.index(encoded.customer)?;
            evaluate(catalogue.set(), &event, |contribution| {
                let hour = Hour::of(event.timestamp);
                let key = Key { meter: contribution.meter, customer, hour };
                let outcome =
                    contribution.outcome.map(|value| Sample { value, at: event.timestamp, lsn });
                deltas.push(Delta { key, kind: contribution.kind, outcome });
            });
        }
        let event_count = events.events.len() as u64;
        let requests = vec![AdmittedRequest { lsn, log_time, deltas_end: deltas.len() }];
        Ok(Admitted { event_count, created: customers.created, deltas, requests })
    }

    /// Something says that everything up to `last` is durable: a checkpoint, or the log's end.
    pub fn is_durable_through(&mut self, last: Lsn) {
        self.ids.durable = self.ids.durable.max(last);
    }

    /// Ends the replay.
    pub fn finish(self) -> Replayed {
        let Ids { index, flusher, generations, hasher, .. } = self.ids;
        Replayed { state: self.state, index, flusher, generations, hasher, records: self.records }
    }
}

/// The customers of one request, by the place of their text.
struct Customers<'r> {
    state: &'r State,
    events: &'r EventsEntry<'r>,
    indexes: Vec<Option<CustomerIndex>>,
    created: Vec<(CustomerId, CustomerIndex)>,
}

impl<'r> Customers<'r> {
    fn new(state: &'r State, events: &'r EventsEntry<'r>) -> Result<Self, PayloadError> {
        let mut next = state.with_accounts(crate::engine::accounts::Accounts::next_index);
        let mut indexes = vec![None; events.texts.len()];
        let mut created = Vec::with_capacity(events.created.len());
        for place in &events.created {
            let id = events.text(*place)?;
            // Rows may be newer than the snapshot: the customer is then there already.
            let index = state.with_accounts(|accounts| accounts.index(id)).unwrap_or_else(|| {
                let index = next;
                next = CustomerIndex(index.0 + 1);
                index
            });
            if let Some(known) = indexes.get_mut(*place as usize) {
                *known = Some(index);
            }
            created.push((CustomerId::new(id), index));
        }
        let mut customers = Self { state, events, indexes, created };
        customers.look_up()?;
        Ok(customers)
    }

    /// Finds the customers of the events at once: one after the other each would wait for memory.
    fn look_up(&mut self) -> Result<(), PayloadError> {
        let mut is_asked = vec![false; self.indexes.len()];
        let mut asked = Vec::new();
        for event in &self.events.events {
            let place = event.customer as usize;
            let is_known = self.indexes.get(place).is_none_or(Option::is_some);
            if let Some(is_asked) = is_asked.get_mut(place)
                && !is_known
                && !std::mem::replace(is_asked, true)
            {
                asked.push((place, self.events.text(event.customer)?));
            }
        }
        let ids = asked.iter().map(|(_, id)| *id);
        let found = self.state.with_accounts(|accounts| accounts.indexes(ids));
        for ((place, _), index) in asked.iter().zip(found) {
            if let Some(known) = self.indexes.get_mut(*place) {
                *known = index;
            }
        }
        Ok(())
    }

    fn index(&self, place: u32) -> Result<CustomerIndex, PayloadError> {
        let known = self.indexes.get(place as usize).ok_or(PayloadError::NoSuchText(place))?;
        known.ok_or(PayloadError::NoSuchCustomer)
    }
}

impl Ids {
    fn refill(&mut self, first: Lsn, events: &EventsEntry<'_>) -> Result<(), ReplayError> {
        let hashes: Vec<IdHash> =
            events.events.iter().map(|event| self.hasher.hash(event.id)).collect();
        self.generations.touch(&hashes);
        for ((encoded, hash), lsn) in events.events.iter().zip(hashes).zip((first.0..).map(Lsn)) {
            if lsn > self.flushed {
                self.insert(hash, &events.event(encoded)?, (lsn, events.received_at))?;
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        hash: IdHash,
        event: &Event<'_>,
        (lsn, at): (Lsn, Timestamp),
    ) -> Result<(), ReplayError> {
        let entry = IdEntry { hash, lsn, fingerprint: self.fingerprinter.fingerprint(event) };
        self.flush_until_room()?;
        self.generations.insert(entry, at);
        Ok(())
    }

    fn flush_until_room(&mut self) -> Result<(), index::Error> {
        /// Ids of one step; nobody else uses the disk yet.
        const STEP_IDS: usize = 128 * 1024;
        while self.generations.room() == 0 {
            if !self.flusher.is_flushing()
                && let Some(sealed) = self.generations.oldest_sealed()
            {
                self.flusher.start(sealed);
            }
            match self.flusher.step(self.durable, Timestamp::MIN, STEP_IDS)? {
                Progress::Flushed { generation, view_version } => {
                    self.generations.flushed(&generation, view_version);
                }
                // Everything that is replayed is durable, so a flush never waits.
                Progress::Worked | Progress::WaitsForLog | Progress::Idle => {}
            }
        }
        Ok(())
    }
}
