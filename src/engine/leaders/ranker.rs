//! The job that goes over the accumulators of watched meters, a piece at a time.

use std::mem;
use std::sync::Arc;

use hashbrown::HashMap;

use super::sheet::{Entry, Seen, Sheet, Top};
use super::{Found, Ranked};
use crate::engine::everybody::EVERYBODY;
use crate::engine::query::UsageError;
use crate::engine::shared::Shared;
use crate::engine::usage_rows::{self, Grain};
use crate::metering::accumulator::{Accumulator, Kind};
use crate::model::{CustomerIndex, Hour, Lsn, MeterIndex, Period, Quantity, Timestamp};

/// How much of the work is done at once, between two of which the job waits for a tenth of a second.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Customers whose rows are read: some 10 us each.
    pub customers_at_once: usize,
    /// Accumulators that are looked at: some 20 ns each. A stripe is looked at whole.
    pub entries_at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { customers_at_once: 4_096, entries_at_once: 500_000 }
    }
}

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    Working,
    /// What was found is as of now, or nobody asks.
    Idle,
}

/// The job; see the module.
#[derive(Debug)]
pub struct Ranker {
    shared: Arc<Shared>,
    courses: HashMap<MeterIndex, Course>,
    /// The meter that was worked at last.
    last: Option<MeterIndex>,
}

/// What the lists are of, and what they are made of; when any of it changes the rows are read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subject {
    kind: Kind,
    month: Period,
    day: Period,
    /// Hours before this one are in rows.
    line: Hour,
    /// Whether the meter has counted all that came before it: until then rows are put behind our back.
    is_complete: bool,
}

/// The work at one meter.
#[derive(Debug)]
struct Course {
    subject: Subject,
    /// What customers have used by rows.
    in_rows: Sheet,
    stage: Stage,
    /// What was applied when the last round began that ended.
    ranked: Option<Lsn>,
}

#[derive(Debug)]
enum Stage {
    /// Rows are read, from this customer on.
    Gathering(CustomerIndex),
    /// A round goes over memory.
    Ranking(Box<Round>),
    /// A round is over.
    Resting,
}

/// One round.
#[derive(Debug)]
struct Round {
    as_of_lsn: Lsn,
    /// The next stripe.
    place: usize,
    seen: Seen,
    month: Top,
    day: Top,
}

impl Subject {
    fn of(shared: &Shared, meter: MeterIndex) -> Option<Self> {
        let state = &shared.state;
        let now = state.log_time().max(shared.world.clock.wall());
        let day = Hour::of(now).day_start();
        let pending = state.with_backfills(|backfills| backfills.is_pending(meter));
        Some(Self {
            kind: state.catalogue().kind(meter)?,
            month: Period { start: now.month_start(), end: now.next_month_start() },
            day: Period { start: day.start(), end: Hour(day.0.saturating_add(24)).start() },
            line: state.memory_from(),
            is_complete: !pending,
        })
    }
}

impl Course {
    fn new(subject: Subject) -> Self {
        let stage = Stage::Gathering(CustomerIndex(0));
        Self { subject, in_rows: Sheet::default(), stage, ranked: None }
    }
}

impl Ranker {
    /// A job that has looked at nothing.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, courses: HashMap::new(), last: None }
    }

    /// Does the next bounded piece of work.
    ///
    /// # Errors
    /// When rows cannot be read; the meter is not watched any more then, until somebody asks again.
    pub fn step(&mut self) -> Result<Step, UsageError> {
        let mut watched = self.shared.insight.leaders.look();
        self.courses.retain(|meter, _| watched.contains(meter));
        // Each in turn.
        watched.sort_unstable();
        let next = watched.iter().position(|meter| Some(*meter) > self.last).unwrap_or(0);
        watched.rotate_left(next);
        for meter in watched {
            match self.work_at(meter) {
                Ok(Step::Idle) => {}
                Ok(Step::Working) => {
                    self.last = Some(meter);
                    return Ok(Step::Working);
                }
                Err(error) => {
                    self.shared.insight.leaders.forget(meter);
                    return Err(error);
                }
            }
        }
        Ok(Step::Idle)
    }

    fn work_at(&mut self, meter: MeterIndex) -> Result<Step, UsageError> {
        let Some(subject) = Subject::of(&self.shared, meter) else { return Ok(Step::Idle) };
        let mut course = match self.courses.remove(&meter) {
            Some(course) if course.subject == subject => course,
            Some(_) | None => Course::new(subject),
        };
        let step = course.work(&self.shared, meter)?;
        self.courses.insert(meter, course);
        Ok(step)
    }
}

impl Course {
    fn work(&mut self, shared: &Shared, meter: MeterIndex) -> Result<Step, UsageError> {
        let limits = shared.options.ranking;
        match mem::replace(&mut self.stage, Stage::Resting) {
            Stage::Gathering(from) => {
                self.stage = match self.gather(shared, meter, from, limits)? {
                    Some(from) => Stage::Gathering(from),
                    None => Stage::Ranking(Box::new(Round::new(shared))),
                };
                Ok(Step::Working)
            }
            Stage::Ranking(mut round) => {
                if round.go_over(shared, meter, (&self.subject, &self.in_rows), limits) {
                    self.stage = Stage::Ranking(round);
                    return Ok(Step::Working);
                }
                // An hour that has left memory meanwhile may have been missed.
                if Subject::of(shared, meter) == Some(self.subject) {
                    self.ranked = Some(round.as_of_lsn);
                    shared.insight.leaders.put(meter, round.finish(&self.subject, &self.in_rows));
                }
                Ok(Step::Working)
            }
            Stage::Resting => {
                if self.ranked == Some(shared.state.applied()) {
                    return Ok(Step::Idle);
                }
                self.stage = Stage::Ranking(Box::new(Round::new(shared)));
                Ok(Step::Working)
            }
        }
    }

    /// Reads the rows of the next customers; where to go on, when there are more.
    fn gather(
        &mut self,
        shared: &Shared,
        meter: MeterIndex,
        mut from: CustomerIndex,
        limits: Limits,
    ) -> Result<Option<CustomerIndex>, UsageError> {
        let Subject { kind, month, day, line, .. } = self.subject;
        let in_rows = |period: Period| {
            let (start, end) = (Hour::of(period.start), Hour::of(period.end));
            start..end.min(line).max(start)
        };
        let (month, day) = (in_rows(month), in_rows(day));
        if month.is_empty() {
            return Ok(None);
        }
        let view = shared.rows.read()?;
        for _ in 0..limits.customers_at_once {
            let next = usage_rows::next_customer(&view, meter, from)?;
            let Some(customer) = next.filter(|next| *next != EVERYBODY) else { return Ok(None) };
            let of = |hours| -> Result<Option<Quantity>, UsageError> {
                let found = usage_rows::read(&view, (meter, customer), hours, Grain::Days)?;
                Ok(value_of(kind, found.iter().map(|(_, found)| found)))
            };
            let entry = (of(month.clone())?, if day.is_empty() { None } else { of(day.clone())? });
            if entry != Entry::default() {
                self.in_rows.put(customer, entry);
            }
            from = CustomerIndex(customer.0.saturating_add(1));
        }
        Ok(Some(from))
    }
}

impl Round {
    fn new(shared: &Shared) -> Self {
        Self {
            as_of_lsn: shared.state.applied(),
            place: 0,
            seen: Seen::default(),
            month: Top::default(),
            day: Top::default(),
        }
    }

    /// Looks at the next stripes; whether there are more.
    fn go_over(
        &mut self,
        shared: &Shared,
        meter: MeterIndex,
        (subject, in_rows): (&Subject, &Sheet),
        limits: Limits,
    ) -> bool {
        let stripes = shared.state.stripes();
        let from = Hour::of(subject.month.start).max(subject.line);
        let hours = from..Hour::of(subject.month.end);
        let mut looked_at = 0;
        while self.place < stripes.striped().count() {
            let (count, mut found) = stripes.of_meter_at(self.place, meter, &hours);
            found.sort_unstable_by_key(|(key, _)| (key.customer, key.hour));
            for of_one in found.chunk_by(|left, right| left.0.customer == right.0.customer) {
                let Some((key, _)) = of_one.first() else { continue };
                self.offer(key.customer, of_one, (subject, in_rows));
            }
            self.place += 1;
            looked_at += count;
            if looked_at >= limits.entries_at_once {
                break;
            }
        }
        self.place < stripes.striped().count()
    }

    fn offer(
        &mut self,
        customer: CustomerIndex,
        hours: &[(crate::engine::stripes::Key, Accumulator)],
        (subject, in_rows): (&Subject, &Sheet),
    ) {
        let today = |at: Timestamp| subject.day.holds(at);
        let month = value_of(subject.kind, hours.iter().map(|(_, found)| found));
        let of_day = hours.iter().filter(|(key, _)| today(key.hour.start()));
        let day = value_of(subject.kind, of_day.map(|(_, found)| found));
        let (earlier_month, earlier_day) = in_rows.get(customer);
        self.seen.insert(customer);
        self.month.offer(customer, together(subject.kind, earlier_month, month));
        self.day.offer(customer, together(subject.kind, earlier_day, day));
    }

    fn finish(mut self, subject: &Subject, in_rows: &Sheet) -> Found {
        for (customer, (month, day)) in in_rows.all() {
            if !self.seen.has(customer) {
                self.month.offer(customer, month);
                self.day.offer(customer, day);
            }
        }
        let ranked = |period, top: Top| {
            let count = top.count;
            Ranked { period, customers: top.finish(), count }
        };
        Found {
            month: ranked(subject.month, self.month),
            day: ranked(subject.day, self.day),
            as_of_lsn: self.as_of_lsn,
        }
    }
}

/// What hours come to; nothing when nothing was counted in them.
fn value_of<'a>(kind: Kind, hours: impl Iterator<Item = &'a Accumulator>) -> Option<Quantity> {
    let mut whole = Accumulator::default();
    for hour in hours {
        whole.merge(kind, hour);
    }
    (whole.count() > 0).then(|| whole.value(kind))
}

/// What hours in rows and later hours in memory come to.
fn together(kind: Kind, earlier: Option<Quantity>, later: Option<Quantity>) -> Option<Quantity> {
    let (Some(one), Some(other)) = (earlier, later) else { return earlier.or(later) };
    Some(match kind {
        // Fits: the committer refuses what could take any sum of the meter beyond its bits.
        Kind::Count | Kind::Sum => one.checked_add(other)?,
        Kind::Max => one.max(other),
        // Hours in memory are later ones.
        Kind::Last => other,
    })
}
