//! One pass over the events before a meter: what the meter makes of them, in private accumulators.
//!
//! A pass begins at a unit of time and holds as many units after it as fit: a unit is a day of hours
//! that are over, and all hours that are in memory are the last one. When too much is held the latest
//! units are dropped, for a later pass; those that stay are complete at the pass's end.

use std::collections::BTreeMap;
use std::ops::Range;

use hashbrown::HashMap;

use crate::engine::backfill::Backfill;
use crate::engine::everybody::EVERYBODY;
use crate::engine::record::{EventsEntry, PayloadError};
use crate::engine::shared::Shared;
use crate::engine::source::{EventSource, Piece, SourceError};
use crate::engine::state::MeterTotals;
use crate::engine::stripes::Key;
use crate::metering::accumulator::{Accumulator, Kind, Sample, SkipReason};
use crate::metering::evaluate::{Contribution, MeterSet, evaluate};
use crate::model::{CustomerIndex, Event, Hour, Lsn, Meter, Timestamp};
use crate::storage::history::Stored;

const HOURS_PER_DAY: i32 = 24;

/// A day of hours that are over, or [`OPEN`].
type Unit = i32;

/// The unit of all hours in memory; no day of a timestamp has this number.
const OPEN: Unit = i32::MAX;

/// The meter of a backfill, and where memory begins.
#[derive(Debug)]
pub(super) struct Subject {
    /// What the log says of it.
    pub backfill: Backfill,
    /// How the meter aggregates.
    pub kind: Kind,
    event_name: String,
    set: MeterSet,
    /// Hours before this one are over. It stands still until the backfill ends.
    line: Hour,
}

impl Subject {
    /// The subject of `backfill`, whether the meter is archived by now or not.
    pub(super) fn new(backfill: Backfill, meter: &Meter, line: Hour) -> Self {
        let counting = Meter { archived: false, ..meter.clone() };
        Self {
            backfill,
            kind: Kind::from(&meter.aggregation),
            event_name: meter.event_name.clone(),
            set: MeterSet::new(&[counting], backfill.settings, 0),
            line,
        }
    }

    fn unit(&self, hour: Hour) -> Unit {
        if hour < self.line { hour.0.div_euclid(HOURS_PER_DAY) } else { OPEN }
    }

    fn contribution(&self, event: &Event<'_>) -> Option<Contribution> {
        let mut found = None;
        evaluate(&self.set, event, |contribution| found = Some(contribution));
        found
    }

    /// The instants from the start of `unit` on.
    fn instants_from(&self, unit: Unit) -> Range<Timestamp> {
        let hour = match unit {
            Unit::MIN => return Timestamp::MIN..Timestamp::MAX,
            OPEN => self.line,
            day => Hour(day.saturating_mul(HOURS_PER_DAY)),
        };
        hour.start()..Timestamp::MAX
    }
}

#[derive(Debug, Default)]
struct Held {
    /// Events of the unit, of whatever name.
    events: u64,
    entries: HashMap<(CustomerIndex, Hour), Accumulator>,
}

/// A pass; see the module.
#[derive(Debug)]
pub(super) struct Pass {
    source: EventSource,
    tally: Tally,
    /// Events of units that earlier passes have finished.
    finished: u64,
}

/// What a pass has gathered so far.
#[derive(Debug)]
struct Tally {
    /// The first unit that is wanted.
    start: Unit,
    /// The first unit that was dropped.
    dropped: Option<Unit>,
    held: BTreeMap<Unit, Held>,
    entries: usize,
    entries_max: usize,
    /// What all events come to, whatever their time; `None` when that is logged already.
    totals: Option<MeterTotals>,
    /// Customers of one request, by the place of their text.
    customers: Vec<Option<CustomerIndex>>,
}

/// What a finished pass leaves.
#[derive(Debug)]
pub(super) struct Gathered {
    /// What all events come to, when that is not logged yet.
    pub totals: Option<MeterTotals>,
    /// Hours that are over, ascending by customer and hour; of whole days.
    pub closed: Vec<(Key, Accumulator)>,
    /// Hours in memory, ascending by customer and hour; `None` when another pass must follow.
    pub open: Option<Vec<(CustomerIndex, Hour, Accumulator)>>,
    /// Where the next pass begins.
    next: Unit,
    finished: u64,
}

impl Pass {
    /// The first pass of this process over the events of `subject`.
    pub(super) fn first(shared: &Shared, subject: &Subject) -> Self {
        let delivered = subject.backfill.delivered().unwrap_or_default();
        let start = if delivered.through.is_some() { OPEN } else { Unit::MIN };
        let mut pass = Self::starting_at(start, 0, (shared, subject));
        pass.tally.totals = (!delivered.totals).then(MeterTotals::default);
        pass
    }

    /// The pass after the one that left `gathered`.
    pub(super) fn after(gathered: &Gathered, shared: &Shared, subject: &Subject) -> Self {
        Self::starting_at(gathered.next, gathered.finished, (shared, subject))
    }

    fn starting_at(start: Unit, finished: u64, (shared, subject): (&Shared, &Subject)) -> Self {
        let instants = subject.instants_from(start);
        let tally = Tally {
            start,
            dropped: None,
            held: BTreeMap::new(),
            entries: 0,
            entries_max: shared.options.backfill.entries_in_memory,
            totals: None,
            customers: Vec::new(),
        };
        let source = EventSource::new(shared, subject.backfill.created, instants);
        Self { source, tally, finished }
    }

    /// Reads about `records` records more; whether there are others after them.
    ///
    /// # Errors
    /// [`SourceError`]: the pass is of no use then.
    pub(super) fn read(
        &mut self,
        records: u64,
        shared: &Shared,
        subject: &Subject,
    ) -> Result<bool, SourceError> {
        let Self { source, tally, .. } = self;
        source.read(shared, records, |piece| tally.take_in(piece, (shared, subject)))?;
        Ok(!source.is_exhausted())
    }

    /// Events that were read and need not be read again.
    pub(super) fn done(&self) -> u64 {
        self.finished + self.tally.held.values().map(|held| held.events).sum::<u64>()
    }

    /// Whether the meter's sums could leave 128 bits.
    pub(super) fn is_too_large(&self) -> bool {
        self.tally.totals.is_some_and(|totals| totals.magnitude > i128::MAX.unsigned_abs())
    }

    /// What was gathered, once everything was read.
    pub(super) fn finish(self, subject: &Subject) -> Gathered {
        let finished = self.done();
        let Tally { dropped, mut held, totals, .. } = self.tally;
        let open = held.remove(&OPEN).unwrap_or_default().entries;
        let mut open: Vec<_> =
            open.into_iter().map(|((customer, hour), found)| (customer, hour, found)).collect();
        open.sort_unstable_by_key(|(customer, hour, _)| (*customer, *hour));
        let meter = subject.backfill.meter;
        let closed = held.into_values().flat_map(|held| held.entries);
        let mut closed: Vec<_> = closed
            .map(|((customer, hour), found)| (Key { meter, customer, hour }, found))
            .collect();
        closed.sort_unstable_by_key(|(key, _)| *key);
        Gathered {
            totals,
            closed,
            open: dropped.is_none().then_some(open),
            next: dropped.unwrap_or(OPEN),
            finished,
        }
    }
}

impl Tally {
    fn take_in(&mut self, piece: Piece<'_>, of: (&Shared, &Subject)) -> Result<(), PayloadError> {
        match piece {
            Piece::Event(stored) => {
                of.0.counters.read_back(1);
                self.take_stored(stored, of)?;
            }
            Piece::Request(first, request) => {
                of.0.counters.read_back(request.events.len() as u64);
                self.take_request(first, request, of)?;
            }
        }
        self.drop_latest();
        Ok(())
    }

    fn take_stored(
        &mut self,
        stored: &Stored<'_>,
        (shared, subject): (&Shared, &Subject),
    ) -> Result<(), PayloadError> {
        let event = &stored.event;
        let unit = self.observe(event.timestamp, subject);
        if event.name != subject.event_name.as_str() {
            return Ok(());
        }
        let Some(outcome) = self.outcome(event, stored.lsn, (unit, subject)) else { return Ok(()) };
        if let Some(unit) = unit {
            let index = shared.state.with_accounts(|accounts| accounts.index(&event.customer_id));
            let customer = index.ok_or(PayloadError::NoSuchCustomer)?;
            self.count(unit, (customer, Hour::of(event.timestamp)), subject.kind, outcome);
        }
        Ok(())
    }

    /// The unit of an event of this time, when this pass wants it; counts the event then.
    fn observe(&mut self, at: Timestamp, subject: &Subject) -> Option<Unit> {
        let unit = subject.unit(Hour::of(at));
        let is_wanted = self.start <= unit && self.dropped.is_none_or(|end| unit < end);
        if is_wanted {
            self.held.entry(unit).or_default().events += 1;
        }
        is_wanted.then_some(unit)
    }

    /// What the meter makes of an event that is wanted by this pass or for the totals.
    fn outcome(
        &mut self,
        event: &Event<'_>,
        lsn: Lsn,
        (unit, subject): (Option<Unit>, &Subject),
    ) -> Option<Result<Sample, SkipReason>> {
        if unit.is_none() && self.totals.is_none() {
            return None;
        }
        let contribution = subject.contribution(event)?;
        let outcome = contribution.outcome.map(|value| Sample { value, at: event.timestamp, lsn });
        if let Some(totals) = &mut self.totals {
            // Once they are too large the backfill is given up, and nothing more may be added.
            if totals.magnitude > i128::MAX.unsigned_abs() {
                return None;
            }
            totals.add(outcome);
            if totals.magnitude > i128::MAX.unsigned_abs() {
                return None;
            }
        }
        Some(outcome)
    }

    fn take_request(
        &mut self,
        first: Lsn,
        request: &EventsEntry<'_>,
        (shared, subject): (&Shared, &Subject),
    ) -> Result<(), PayloadError> {
        self.customers.clear();
        self.customers.resize(request.texts.len(), None);
        let name = request.texts.iter().zip(0_u32..).find(|(text, _)| **text == subject.event_name);
        let name = name.map(|(_, place)| place);
        for (encoded, lsn) in request.events.iter().zip((first.0..).map(Lsn)) {
            let unit = self.observe(encoded.timestamp, subject);
            if name != Some(encoded.name) || (unit.is_none() && self.totals.is_none()) {
                continue;
            }
            let event = request.event(encoded)?;
            let outcome = self.outcome(&event, lsn, (unit, subject));
            if let (Some(outcome), Some(unit)) = (outcome, unit) {
                let customer = self.customer(request, encoded.customer, shared)?;
                self.count(unit, (customer, Hour::of(event.timestamp)), subject.kind, outcome);
            }
        }
        Ok(())
    }

    fn customer(
        &mut self,
        request: &EventsEntry<'_>,
        place: u32,
        shared: &Shared,
    ) -> Result<CustomerIndex, PayloadError> {
        if let Some(Some(index)) = self.customers.get(place as usize) {
            return Ok(*index);
        }
        let id = request.text(place)?;
        let index = shared.state.with_accounts(|accounts| accounts.index(id));
        if let Some(known) = self.customers.get_mut(place as usize) {
            *known = index;
        }
        index.ok_or(PayloadError::NoSuchCustomer)
    }

    fn count(
        &mut self,
        unit: Unit,
        key: (CustomerIndex, Hour),
        kind: Kind,
        outcome: Result<Sample, SkipReason>,
    ) {
        let entries = &mut self.held.entry(unit).or_default().entries;
        let before = entries.len();
        for key in [key, (EVERYBODY, key.1)] {
            let accumulator = entries.entry(key).or_default();
            match outcome {
                Ok(sample) => accumulator.add(kind, sample),
                Err(reason) => accumulator.skip(reason),
            }
        }
        self.entries += entries.len() - before;
    }

    /// Drops the latest units while too much is held. One unit always stays: it must be read whole.
    fn drop_latest(&mut self) {
        while self.entries > self.entries_max
            && self.held.len() > 1
            && let Some((unit, held)) = self.held.pop_last()
        {
            self.entries -= held.entries.len();
            self.dropped = Some(unit);
        }
    }
}
