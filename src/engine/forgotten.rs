//! Event ids that the index has forgotten and whose events still stand in the log: a filter for each
//! stretch of them, so that an event is found by id without reading a segment.
//!
//! There are such only where so little comes that a segment takes longer to fill than an id is
//! remembered. The thread of history adds them when it has nothing else to do: ingest pays nothing for
//! them. What has no filter yet is read. After a start they are made again.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::engine::record::PayloadError;
use crate::engine::shared::Shared;
use crate::engine::skim::{Request, Skimmed, Visitor, skim};
use crate::model::{Lsn, Timestamp};
use crate::storage::index::{Filter, IdHash, IdHasher};
use crate::storage::log::{Frame, ReadError};
use crate::world::sync::RwLock;

/// A request is decided at most this long after it arrived.
const DECIDED_WITHIN: Duration = Duration::from_hours(1);
/// A stretch ends with the group that brings it to the events of the options, or to so many records.
const STRETCH_RECORDS: u64 = 64 * 1024;
/// Stretches that one step adds: some milliseconds.
const STEP_STRETCHES: usize = 16;
/// What has just been forgotten waits so long for more, or every event would be read by itself.
const PATIENCE: Duration = Duration::from_mins(1);

/// The filters of one log; see the module.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// Ascending and without gaps.
    stretches: RwLock<VecDeque<Stretch>>,
}

/// The ids of a range of LSNs.
#[derive(Debug)]
struct Stretch {
    lsns: RangeInclusive<Lsn>,
    ids: Filter,
}

/// What stands before this instant of log time is not remembered by the index, `None` when everything
/// is; what stands behind it may be.
pub fn remembered_from(shared: &Shared) -> Option<Timestamp> {
    let window = shared.options.dedupe_window;
    let cut = || shared.state.log_time().minus(window).plus(DECIDED_WITHIN);
    (!window.is_zero()).then(cut)
}

impl Forgotten {
    /// The ranges of LSNs from `first` on that have filters and can have this id, newest first, and
    /// the first LSN without a filter.
    pub fn candidates(&self, hash: IdHash, first: Lsn) -> (Vec<RangeInclusive<Lsn>>, Lsn) {
        let stretches = self.stretches.read();
        let unknown = stretches.back().map_or(first, |last| last.lsns.end().next().max(first));
        let within = stretches.iter().rev().take_while(|stretch| *stretch.lsns.end() >= first);
        let hits = within.filter(|stretch| stretch.ids.test(hash));
        (hits.map(|stretch| stretch.lsns.clone()).collect(), unknown)
    }

    /// Forgets what stands up to `lsn`: it is not looked for in the log any more.
    pub fn forget_through(&self, lsn: Lsn) {
        let mut stretches = self.stretches.write();
        while stretches.front().is_some_and(|stretch| *stretch.lsns.end() <= lsn) {
            stretches.pop_front();
        }
    }

    /// How many stretches have filters.
    pub fn stretches(&self) -> usize {
        self.stretches.read().len()
    }

    fn push(&self, stretch: Stretch) {
        self.stretches.write().push_back(stretch);
    }
}

/// Makes the filters; one job at a time may.
#[derive(Debug, Default)]
pub struct Gatherer {
    next: Lsn,
    /// Nothing can be added until the index has forgotten what came before this instant.
    waits_for: Option<Timestamp>,
}

impl Gatherer {
    /// Adds the next stretches that the index has forgotten; false when there is none.
    ///
    /// # Errors
    /// What `E` makes of a log that cannot be read; what was added stays.
    pub fn step<E>(&mut self, shared: &Shared) -> Result<bool, E>
    where
        E: From<ReadError> + From<PayloadError>,
    {
        let Some(remembered_from) = remembered_from(shared) else { return Ok(false) };
        let in_history = shared.history.last_lsn();
        if self.next <= in_history {
            *self = Self { next: in_history.next(), waits_for: None };
        }
        if self.waits_for.is_some_and(|log_time| log_time >= remembered_from) {
            return Ok(false);
        }
        let lsns = self.next..=shared.state.applied();
        let mut gathering = Gathering {
            job: self,
            shared,
            remembered_from,
            ids: Vec::new(),
            through: Lsn::ZERO,
            added: 0,
        };
        match shared.log.visit(lsns, |frame| gathering.add(&frame)) {
            // All there is was forgotten, and what comes is not for long.
            Ok(()) => gathering.end_stretch(),
            Err(Ended::Enough) => {}
            Err(Ended::Log(error)) => return Err(error.into()),
            Err(Ended::Payload(error)) => return Err(error.into()),
        }
        Ok(gathering.added > 0)
    }
}

/// One step of the job. What it has begun when it ends is begun anew by the next.
struct Gathering<'g> {
    job: &'g mut Gatherer,
    shared: &'g Shared,
    remembered_from: Timestamp,
    ids: Vec<IdHash>,
    /// The last LSN that was added.
    through: Lsn,
    added: usize,
}

impl Gathering<'_> {
    fn add(&mut self, frame: &Frame<'_>) -> Result<(), Ended> {
        if frame.log_time >= self.remembered_from {
            self.job.waits_for = Some(frame.log_time.plus(PATIENCE));
            return Err(Ended::Enough);
        }
        let mut adding = Adding { hasher: &self.shared.hasher, ids: &mut self.ids };
        skim(frame.payload, frame.first_lsn, &mut adding).map_err(Ended::Payload)?;
        self.through = frame.next_lsn().previous();
        let records = self.through.0 - self.job.next.0;
        let is_full = self.ids.len() as u64 >= self.shared.options.stretch_events;
        if is_full || records >= STRETCH_RECORDS {
            self.end_stretch();
        }
        if self.added == STEP_STRETCHES { Err(Ended::Enough) } else { Ok(()) }
    }

    fn end_stretch(&mut self) {
        if self.through < self.job.next {
            return;
        }
        let ids = Filter::for_ids(self.ids.len());
        self.ids.drain(..).for_each(|id| ids.insert(id));
        self.shared.forgotten.push(Stretch { lsns: self.job.next..=self.through, ids });
        self.job.next = self.through.next();
        self.added += 1;
    }
}

struct Adding<'a> {
    hasher: &'a IdHasher,
    ids: &'a mut Vec<IdHash>,
}

impl<'p> Visitor<'p> for Adding<'_> {
    fn request(&mut self, _request: Request<'p>) {}
    fn text(&mut self, _text: &'p [u8]) {}

    fn event(&mut self, event: Skimmed<'p>) {
        self.ids.push(self.hasher.hash_bytes(event.id));
    }
}

/// How a step ends.
enum Ended {
    /// What follows is in the index, or waits for the next step.
    Enough,
    Log(ReadError),
    Payload(PayloadError),
}

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Self {
        match error {
            // It went into history meanwhile.
            ReadError::Gone { .. } => Self::Enough,
            error @ (ReadError::Damaged(_) | ReadError::Io { .. }) => Self::Log(error),
        }
    }
}
