//! Backfill: a new meter counts every retained event before it, once.
//!
//! The job reads exactly the events before the meter's creation into private accumulators. Hours
//! that are over become rows of absolute values, which may be written twice; hours in memory go into
//! the log as [`BackfilledEntry`]s, the last of which completes the meter. The line between the two
//! stands still from the first checkpoint after the creation on until the end, also over a crash, and
//! the events are always the same ones: so what was delivered is told by the last key alone.

mod course;
mod pass;

use std::sync::Arc;
use std::time::Duration;

use crate::engine::commit::Submission;
use crate::engine::record::{BackfillEnd, BackfilledEntry};
use crate::engine::shared::Shared;
use crate::engine::state::MeterTotals;
use crate::engine::stripes::Key;
use crate::metering::accumulator::{Accumulator, Kind};
use crate::model::{Causes, CustomerIndex, Hour, Lsn, MeterIndex};
use crate::world::sync::atomic::Ordering;

pub use course::{Backfill, Backfills, Delivered, Stage};
use pass::{Gathered, Pass, Subject};

/// How long the job waits after the disk refused to be read.
const RETRY: Duration = Duration::from_secs(10);
/// How often in a row that may be, about ten minutes, before the backfill fails: while a meter waits
/// for its events no hour leaves memory, and history keeps its files.
const REFUSALS_MAX: u32 = 60;

/// Records that wait for the committer at once.
const RECORDS_WAITING: usize = 16;

/// How much a backfill holds and hands over at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Accumulators in memory at once; a day of one meter is held whole all the same.
    pub entries_in_memory: usize,
    /// Rows of one transaction; a customer's day is written whole all the same.
    pub rows_at_once: usize,
    /// Accumulators of one record.
    pub entries_of_record: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries_in_memory: 1_000_000, rows_at_once: 50_000, entries_of_record: 4_000 }
    }
}

/// Hours that are over, to be written as they are.
#[derive(Debug)]
pub struct ClosedHours {
    /// How the meter aggregates.
    pub kind: Kind,
    /// Ascending by customer and hour; each customer's day whole.
    pub rows: Vec<(Key, Accumulator)>,
}

/// What a meter has made of the events before its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillState {
    /// Its turn has not come.
    Pending,
    /// They are being read.
    Running,
    /// All are counted, or there were none.
    Done,
    /// They cannot be counted: usage from before the creation is missing or incomplete.
    Failed,
}

/// How far a meter's backfill got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackfillStatus {
    /// What it is at.
    pub state: BackfillState,
    /// Events that were read; after a restart some are read again.
    pub done: u64,
    /// Events to read.
    pub total: u64,
}

/// How far the backfill of a meter got.
pub(in crate::engine) fn status(shared: &Shared, meter: MeterIndex) -> BackfillStatus {
    // Looked at first: the job begins to count before it can be done.
    let running = *shared.backfill.lock();
    let backfill = shared.state.with_backfills(|backfills| backfills.of(meter).copied());
    let Some(Backfill { events: total, stage, .. }) = backfill else {
        return BackfillStatus { state: BackfillState::Done, done: 0, total: 0 };
    };
    let (state, done) = match (stage, running) {
        (Stage::Complete, _) => (BackfillState::Done, total),
        (Stage::Failed, _) => (BackfillState::Failed, 0),
        (Stage::Pending(_), Some((running, done))) if running == meter => {
            (BackfillState::Running, done.min(total))
        }
        (Stage::Pending(_), _) => (BackfillState::Pending, 0),
    };
    BackfillStatus { state, done, total }
}

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No meter waits for its events.
    Idle,
    /// There is more to do at once.
    Working,
    /// The checkpoint's job, the committer or time must go on first.
    Waiting,
}

/// What the job is at; the subject beside it.
#[derive(Debug)]
enum Task {
    Reading(Box<Pass>),
    /// The meter's totals are submitted, or still to be, with `false`.
    Announcing(Box<Gathered>, MeterTotals, bool),
    /// Rows are handed over from this place on; those before it may still be with the
    /// checkpoint's job.
    Closing(Box<Gathered>, usize),
    /// Entries are submitted up to this place, and with `true` the end.
    Delivering(Vec<(CustomerIndex, Hour, Accumulator)>, usize, bool),
    /// The failure is submitted, or still to be, with `false`.
    Failing(bool),
}

/// The job that backfills meters, one after the other.
#[derive(Debug)]
pub struct BackfillJob {
    shared: Arc<Shared>,
    task: Option<(Box<Subject>, Task)>,
    /// Not before this instant since the machine's start.
    not_before: Duration,
    /// How often in a row the disk refused.
    refusals: u32,
}

impl BackfillJob {
    /// A job with nothing begun.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, task: None, not_before: Duration::ZERO, refusals: 0 }
    }

    /// Does the next bounded piece of work; reads about `records` records at most.
    pub fn step(&mut self, records: u64) -> Step {
        let Some((subject, task)) = self.task.take() else { return self.begin() };
        let meter = subject.backfill.meter;
        let delivered = self
            .shared
            .state
            .with_backfills(|backfills| backfills.of(meter).and_then(Backfill::delivered));
        let Some(delivered) = delivered else {
            *self.shared.backfill.lock() = None;
            tracing::info!(meter = meter.0, events = subject.backfill.events, "backfill ended");
            return Step::Working;
        };
        let (task, step) = match task {
            Task::Reading(pass) => match self.read(pass, records, &subject) {
                Some(task) => (task, Step::Working),
                None => return Step::Waiting,
            },
            Task::Announcing(gathered, _, _) if delivered.totals => {
                (Task::Closing(gathered, 0), Step::Working)
            }
            Task::Announcing(gathered, totals, sent) => {
                let sent = sent || self.announce(totals, meter);
                (Task::Announcing(gathered, totals, sent), Step::Waiting)
            }
            Task::Closing(gathered, from) => self.close(gathered, from, &subject),
            Task::Delivering(entries, sent, ended) => {
                self.deliver((entries, sent, ended), delivered, meter)
            }
            Task::Failing(false) => {
                let sent = self.submit(BackfilledEntry::failed(meter));
                (Task::Failing(sent), Step::Waiting)
            }
            Task::Failing(true) => (Task::Failing(true), Step::Waiting),
        };
        self.task = Some((subject, task));
        step
    }

    /// Begins with the oldest meter that waits, once a checkpoint knows it: the line between disk and
    /// memory may have been on its way until then.
    fn begin(&mut self) -> Step {
        let shared = &self.shared;
        let Some(backfill) = shared.state.with_backfills(Backfills::next_pending) else {
            return Step::Idle;
        };
        if Lsn(shared.checkpoint.load(Ordering::Acquire)) < backfill.created
            || shared.world.clock.since_boot() < self.not_before
        {
            return Step::Waiting;
        }
        let catalogue = shared.state.catalogue();
        let Some(meter) = catalogue.meters().get(backfill.meter.position()) else {
            return Step::Idle;
        };
        let line = shared.state.memory_from();
        let subject = Box::new(Subject::new(backfill, meter, line));
        let pass = Box::new(Pass::first(shared, &subject));
        shared.backfill.lock().get_or_insert((backfill.meter, 0));
        self.task = Some((subject, Task::Reading(pass)));
        Step::Working
    }

    /// Reads on; `None` when the disk refuses and all is to begin anew later.
    fn read(&mut self, mut pass: Box<Pass>, records: u64, subject: &Subject) -> Option<Task> {
        let meter = subject.backfill.meter;
        let has_more = match pass.read(records, &self.shared, subject) {
            Ok(has_more) => has_more,
            Err(error) if error.may_pass() && self.refusals < REFUSALS_MAX => {
                self.refusals += 1;
                let error = Causes(&error);
                tracing::warn!(%error, meter = meter.0, "a backfill begins anew");
                self.not_before = self.shared.world.clock.since_boot() + RETRY;
                return None;
            }
            Err(error) => {
                let error = Causes(&error);
                tracing::error!(%error, meter = meter.0, "a backfill fails");
                self.refusals = 0;
                return Some(Task::Failing(false));
            }
        };
        self.show_progress(meter, pass.done());
        if pass.is_too_large() {
            tracing::error!(meter = meter.0, "a backfill would leave 128 bits: it fails");
            return Some(Task::Failing(false));
        }
        if has_more {
            return Some(Task::Reading(pass));
        }
        self.refusals = 0;
        let gathered = Box::new(pass.finish(subject));
        Some(match gathered.totals {
            Some(totals) => Task::Announcing(gathered, totals, false),
            None => Task::Closing(gathered, 0),
        })
    }

    /// The totals go first: once they are in, no live event can make the sums leave 128 bits.
    fn announce(&self, totals: MeterTotals, meter: MeterIndex) -> bool {
        let totals = Some(totals);
        self.submit(BackfilledEntry { meter, totals, entries: Vec::new(), end: None })
    }

    fn show_progress(&self, meter: MeterIndex, done: u64) {
        let mut shown = self.shared.backfill.lock();
        let before = shown.filter(|(running, _)| *running == meter).map_or(0, |(_, done)| done);
        *shown = Some((meter, done.max(before)));
    }

    /// Hands over the next rows; goes on with the next pass or the open hours once all are durable.
    fn close(&self, gathered: Box<Gathered>, from: usize, subject: &Subject) -> (Task, Step) {
        let mut handed = self.shared.closed_hours.lock();
        if handed.is_some() {
            return (Task::Closing(gathered, from), Step::Waiting);
        }
        let rest = gathered.closed.get(from..).unwrap_or_default();
        if rest.is_empty() {
            let task = if let Some(entries) = gathered.open {
                Task::Delivering(entries, 0, false)
            } else {
                Task::Reading(Box::new(Pass::after(&gathered, &self.shared, subject)))
            };
            return (task, Step::Working);
        }
        let day_of = |(key, _): &(Key, Accumulator)| (key.customer, key.hour.day_start());
        let mut rows = Vec::new();
        for day in rest.chunk_by(|left, right| day_of(left) == day_of(right)) {
            rows.extend_from_slice(day);
            if rows.len() >= self.shared.options.backfill.rows_at_once {
                break;
            }
        }
        let from = from + rows.len();
        *handed = Some(ClosedHours { kind: subject.kind, rows });
        (Task::Closing(gathered, from), Step::Working)
    }

    /// Submits the next hours in memory that no record holds yet, and at last the end.
    fn deliver(
        &self,
        (entries, sent, ended): (Vec<(CustomerIndex, Hour, Accumulator)>, usize, bool),
        delivered: Delivered,
        meter: MeterIndex,
    ) -> (Task, Step) {
        let is_in = |key| delivered.through.is_some_and(|through| key <= through);
        let arrived = entries.partition_point(|(customer, hour, _)| is_in((*customer, *hour)));
        let size = self.shared.options.backfill.entries_of_record.max(1);
        let sent = sent.max(arrived);
        if ended || sent - arrived >= RECORDS_WAITING * size {
            return (Task::Delivering(entries, sent, ended), Step::Waiting);
        }
        let next = (sent + size).min(entries.len());
        let end = (next == entries.len()).then_some(BackfillEnd::Complete);
        let part = entries.get(sent..next).unwrap_or_default().to_vec();
        if !self.submit(BackfilledEntry { meter, totals: None, entries: part, end }) {
            return (Task::Delivering(entries, sent, ended), Step::Waiting);
        }
        (Task::Delivering(entries, next, end.is_some()), Step::Working)
    }

    fn submit(&self, entry: BackfilledEntry) -> bool {
        self.shared.try_submit(Submission::Backfilled(Box::new(entry)))
    }
}
