//! The committer: the one place that decides what is admitted, and in which order.
//!
//! It is plain and synchronous. [`Committer::admit`] decides one submission into the open group;
//! [`Committer::take`] hands the group out to be written and synced; [`Committer::finish`] applies
//! what is durable and answers. What follows a group that is still being written sees it: its ids are
//! in the generations, its customers in `creating`. Changes and cuts are decided only when nothing
//! is in flight, against the state itself, and nothing is decided until a change is applied.

mod ahead;
mod due;
mod events;
mod group;
mod pace;
mod reservations;
#[cfg(feature = "sabotage")]
mod sabotage;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::engine::alerts::FiredEntry;
use crate::engine::backfill::Backfills;
use crate::engine::checkpoint;
use crate::engine::clock_guard::{ClockGuard, STEP_MAX};
use crate::engine::command::{Changed, Outcome};
use crate::engine::decide::{Decision, Marks, Proposal, decide};
use crate::engine::outbox::settle::SettledEntry;
use crate::engine::packed::PackedBill;
use crate::engine::record::{BackfilledEntry, Body, Change, ChangeEntry, Entry, encode_entry};
use crate::engine::shared::Shared;
use crate::engine::state::{Admitted, Record};
use crate::model::{
    CustomerId, CustomerIndex, Hour, Lsn, ReservationId, Settings, Subscription, Timestamp,
};
use crate::world::BootId;

use ahead::Ahead;
use due::{Advance, Parked};
use group::{Answer, Decided, Logged, Piece};
pub use group::{GROUP_BYTES, Group, Reply, Spent, Submission};
pub use reservations::Commit;

/// Kept answers, and ended reservations, that are forgotten at once: some milliseconds, while everybody waits.
/// More of them become too old together when log time moves on by a day.
const REPLIES_AT_ONCE: usize = 4_096;
/// Pieces of due work that are brought into the caches at once.
const APPLIED_AT_ONCE: usize = 128;
/// Kept answers that a change forgets, which keeps one: they do not become ever more.
const REPLIES_A_CHANGE: usize = 2;

/// The committer; see the module.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    guard: ClockGuard,
    boot: Option<BootId>,
    open: Group,
    in_flight: usize,
    /// A change is decided and not applied yet: whatever follows must see it.
    settling: bool,
    next_lsn: Lsn,
    log_time: Timestamp,
    /// Customers that decided groups create and that are not applied yet.
    creating: HashMap<CustomerId, CustomerIndex, std::hash::RandomState>,
    next_customer: CustomerIndex,
    /// Reservations that decided groups commit or time out and that are not applied yet.
    ending: HashSet<ReservationId>,
    /// Per meter the sum of magnitudes after every decided event.
    magnitudes: Vec<u128>,
    /// New events before this instant are refused.
    closed_through: Timestamp,
    /// Hours before this one are on disk, or will be by the checkpoint that is being made.
    closed_hours: Hour,
    /// A turn or close is due and may be done.
    is_work_due: bool,
    /// Due work that was decided and is not applied yet.
    ahead: Ahead,
    /// Groups in flight that hold anything but due work.
    other_in_flight: usize,
    /// The last that was decided was due work: some ingest may go before the next.
    is_ingest_next: bool,
    /// Until then ingest that is on its way goes before due work.
    ingest_until: Duration,
    /// When the last request was answered.
    answered_at: Option<Duration>,
    /// Changes that wait until everything is done that they must find done.
    parked: VecDeque<Parked>,
    /// A finished group, kept for its room.
    spare: Group,
    /// What finished due work has left; the next group takes it to the log's thread.
    spent: Spent,
    /// A test clock that is being moved.
    advancing: Option<Advance>,
    #[cfg(feature = "sabotage")]
    halves: sabotage::Halves,
}

impl Committer {
    /// A committer that goes on where the state stands, with a guard that has not looked yet.
    pub fn new(shared: Arc<Shared>, guard: ClockGuard) -> Self {
        let state = &shared.state;
        // Periods may be closed beyond the line between memory and disk; only a cut moves that.
        let closed_hours = state.memory_from();
        let closed_through = closed_hours.start().max(state.billing_marks().closed_through);
        let (next_lsn, log_time) = (state.applied().next(), state.log_time());
        let next_customer = state.with_accounts(crate::engine::accounts::Accounts::next_index);
        let magnitudes = state.totals().iter().map(|total| total.magnitude).collect();
        Self {
            guard,
            boot: shared.world.clock.boot(),
            open: Group::default(),
            in_flight: 0,
            settling: false,
            creating: HashMap::default(),
            shared,
            next_lsn,
            log_time,
            next_customer,
            ending: HashSet::new(),
            magnitudes,
            closed_through,
            closed_hours,
            is_work_due: false,
            ahead: Ahead::default(),
            other_in_flight: 0,
            is_ingest_next: false,
            ingest_until: Duration::ZERO,
            answered_at: None,
            parked: VecDeque::new(),
            spare: Group::default(),
            spent: Vec::new(),
            advancing: None,
            #[cfg(feature = "sabotage")]
            halves: sabotage::Halves::default(),
        }
    }

    /// Decides one submission into the open group, or gives it back when it must wait: until the
    /// open group was taken, or everything in flight is finished, or an index generation is free.
    pub fn admit(&mut self, submission: Submission) -> Option<Submission> {
        // A checkpoint that waits gets a moment with nothing in flight.
        self.cut_if_wanted();
        if self.settling || self.advancing.is_some() || self.is_cut_wanted() {
            return Some(submission);
        }
        match submission {
            // Whatever follows it does not wait with it.
            Submission::Change(proposal, reply) if self.is_work_due || !self.parked.is_empty() => {
                self.parked.push_back(Parked { proposal, reply });
                None
            }
            Submission::Ingest(..)
            | Submission::Commit(..)
            | Submission::Backfilled(_)
            | Submission::Fired(_)
            | Submission::Settled(..)
                if self.waits_for_work() || self.waits_for_parked() =>
            {
                Some(submission)
            }
            Submission::Ingest(prepared, reply) => self.admit_events(prepared, reply),
            Submission::Commit(commit, reply) => self.admit_commit(commit, reply),
            Submission::Backfilled(entry) => self.admit_backfilled(entry),
            Submission::Fired(entry) => {
                self.admit_fired(entry);
                None
            }
            Submission::Settled(entry, reply) => self.admit_settled(entry, reply),
            Submission::Change(..) if !self.is_idle() => Some(submission),
            Submission::Change(proposal, reply) => {
                self.admit_change(proposal, reply);
                None
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.open.is_empty()
    }

    /// Notes when the open group got its first request.
    fn open_group(&mut self) {
        let clock = &self.shared.world.clock;
        self.open.opened_at.get_or_insert_with(|| clock.since_boot());
    }

    /// Begins a record of the open group; log time is the record's.
    fn start_record(&mut self, log_time: Timestamp) {
        if log_time.since(self.log_time) > STEP_MAX {
            // Jobs that forget by log time must not see it before the doubt in it.
            self.observe_clock();
        }
        self.log_time = log_time;
        if self.open.lsn_count == 0 {
            self.open.first_lsn = self.next_lsn;
        }
        self.open.log_time = self.log_time;
        self.open.entry_count += 1;
    }

    /// Decides on a change, or sets it aside while anything is due that it must find done.
    fn admit_change(&mut self, proposal: Box<Proposal>, reply: Reply<Changed>) {
        self.observe_clock();
        self.forget_old(REPLIES_A_CHANGE);
        let at = self.log_time.max(self.shared.world.clock.wall());
        if self.is_anything_due(at) && !self.shared.clock_in_doubt() {
            self.is_work_due = true;
            self.is_ingest_next = false;
            self.parked.push_front(Parked { proposal, reply });
            return;
        }
        let marks = Marks { at, log_time: self.log_time, closed_through: self.closed_through };
        match decide(&proposal, &self.shared, marks) {
            Err(refused) => reply(Err(refused)),
            Ok(Decision::Repeat(changed)) => reply(Ok(*changed)),
            Ok(Decision::Apply(plan)) => {
                plan.bodies.into_iter().for_each(|body| self.append(body, at));
                self.answer_change(plan.outcome, reply);
            }
            Ok(Decision::SetClock(to)) if proposal.confirms_clock() => {
                self.append(Body::ClockSet(to.identity), to.log_time);
                self.guard.confirm();
                self.answer_change(to.outcome, reply);
            }
            Ok(Decision::SetClock(to)) => self.advancing = Some(Advance { to: *to, reply }),
        }
    }

    /// The records that were just appended are a change: whatever follows must see it.
    fn answer_change(&mut self, outcome: Outcome, reply: Reply<Changed>) {
        self.open_group();
        self.settling = true;
        let changed = Changed { outcome, replayed: false, lsn: self.next_lsn.previous() };
        self.open.answers.push(Answer::Changed(reply, changed));
    }

    /// Takes in a part of a backfill, or its failure when the meter's sums could leave 128 bits.
    fn admit_backfilled(&mut self, mut entry: Box<BackfilledEntry>) -> Option<Submission> {
        if !self.open.records.is_empty() && self.open.entries.len() > GROUP_BYTES / 2 {
            return Some(Submission::Backfilled(entry));
        }
        if let Some(totals) = &entry.totals {
            let place = entry.meter.position();
            if self.magnitudes.len() <= place {
                self.magnitudes.resize(place + 1, 0);
            }
            let so_far = self.magnitudes.get_mut(place).expect("it was just made long enough");
            let sum = so_far.saturating_add(totals.magnitude);
            if sum > i128::MAX.unsigned_abs() {
                tracing::error!(meter = entry.meter.0, "a backfill would leave 128 bits: it fails");
                entry = Box::new(BackfilledEntry::failed(entry.meter));
            } else {
                *so_far = sum;
            }
        }
        self.open_group();
        let log_time = self.log_time.max(self.shared.world.clock.wall());
        self.append(Body::Backfilled(*entry), log_time);
        None
    }

    /// Takes in what fires, as far as it is news.
    fn admit_fired(&mut self, mut entry: Box<FiredEntry>) {
        let state = &self.shared.state;
        state.with_alerts(|alerts| entry.crossings.retain(|crossing| alerts.is_news(crossing)));
        if !entry.crossings.is_empty() {
            self.open_group();
            let log_time = self.log_time.max(self.shared.world.clock.wall());
            self.append(Body::AlertsFired(entry), log_time);
        }
    }

    /// Takes in what became of attempts to deliver messages: nothing can be wrong with it.
    fn admit_settled(&mut self, entry: Box<SettledEntry>, reply: Reply<()>) -> Option<Submission> {
        if !self.open.is_empty() && self.open.bytes() > GROUP_BYTES / 2 {
            return Some(Submission::Settled(entry, reply));
        }
        self.open_group();
        let log_time = self.log_time.max(self.shared.world.clock.wall());
        self.append(Body::WebhookSettled(entry), log_time);
        self.open.answers.push(Answer::Settled(reply));
        None
    }

    /// Logs settings that the following records are counted under.
    pub fn change_settings(&mut self, settings: Settings) {
        let change = Change::Settings(settings);
        let log_time = self.log_time.max(self.shared.world.clock.wall());
        self.append(Body::Change(ChangeEntry { change, identity: None }), log_time);
        self.settling = true;
    }

    /// Appends a record of one LSN.
    fn append(&mut self, body: Body<'static>, log_time: Timestamp) {
        self.start_record(log_time);
        let entry = Entry { log_time: self.log_time, body };
        encode_entry(&entry, &mut self.open.entries);
        if let Body::Change(ChangeEntry { change: Change::Customer(customer), .. }) = &entry.body
            && customer.index == self.next_customer
        {
            self.next_customer = CustomerIndex(customer.index.0 + 1);
        }
        let record = record_of(entry.body, None);
        self.open.records.push((self.next_lsn, self.log_time, record));
        self.open.lsn_count += 1;
        self.next_lsn = self.next_lsn.next();
    }

    /// Appends a piece of due work, which takes one LSN. Nothing else is in the group before it.
    fn append_due(&mut self, piece: Piece, log_time: Timestamp, before: Option<Arc<Subscription>>) {
        self.start_record(log_time);
        self.open.due_bytes += piece.bytes_about();
        let (lsn, log_time) = (self.next_lsn, self.log_time);
        self.open.due.push(Decided { lsn, log_time, piece, before });
        self.open.lsn_count += 1;
        self.next_lsn = self.next_lsn.next();
    }

    /// Bytes of the log that the open group takes so far.
    pub fn open_bytes(&self) -> usize {
        self.open.bytes()
    }

    /// The open group, when it holds anything; it is in flight until [`Committer::finish`].
    pub fn take(&mut self) -> Option<Group> {
        if self.open.is_empty() {
            self.spent.clear();
            return None;
        }
        std::mem::swap(&mut self.open.spent, &mut self.spent);
        self.in_flight += 1;
        self.other_in_flight += usize::from(!self.open.is_due_work_alone());
        let next = std::mem::take(&mut self.spare);
        Some(std::mem::replace(&mut self.open, next))
    }

    /// Applies a group that is durable and answers its requests.
    pub fn finish(&mut self, mut group: Group) {
        self.in_flight -= 1;
        self.other_in_flight -= usize::from(!group.is_due_work_alone());
        self.settling = false;
        self.is_ingest_next = group.is_any_due();
        if group.is_any_due() {
            let began = self.shared.world.clock.since_boot();
            self.apply_due(&mut group);
            self.ahead.pop();
            let took = self.shared.world.clock.since_boot().saturating_sub(began);
            self.let_ingest_go(group.work_took.saturating_add(took), group.is_of_pools);
        }
        for (lsn, log_time, record) in &group.records {
            self.shared.apply(*lsn, *log_time, record);
            self.forget_ended(record);
            if let Record::Events(admitted) = record {
                for (id, _) in &admitted.created {
                    self.creating.remove(id);
                }
            }
        }
        if let Some(opened_at) = group.opened_at {
            let took = self.shared.world.clock.since_boot().saturating_sub(opened_at);
            self.shared.counters.committed(group.lsn_count, took, group.sync_took);
        }
        self.shared.tell_outbox();
        for answer in group.answers.drain(..) {
            match answer {
                Answer::Ingested(reply, ingested) => reply(Ok(ingested)),
                Answer::Changed(reply, changed) => reply(Ok(changed)),
                Answer::Settled(reply) => reply(Ok(())),
            }
        }
        if group.opened_at.is_some() {
            self.answered_at = Some(self.shared.world.clock.since_boot());
        }
        self.spare = group.emptied();
    }

    /// Applies due work. What it changes is brought into the caches a few at a time: since it was decided, as
    /// much again was, and that has taken its place there.
    fn apply_due(&mut self, group: &mut Group) {
        let mut due = group.logged.drain(..);
        while due.len() > 0 {
            let next = due.as_slice().get(..APPLIED_AT_ONCE).unwrap_or(due.as_slice());
            let before: Vec<_> = next.iter().filter_map(|logged| logged.before.as_ref()).collect();
            let closed = next.iter().filter_map(|logged| {
                let Record::CycleClosed(entry, _) = &logged.record else { return None };
                Some(&**entry)
            });
            self.shared.state.with_books(|books| {
                books.warm(&before, self.shared.state.segments());
                books.warm_for(closed);
            });
            for Logged { lsn, log_time, record, before } in due.by_ref().take(APPLIED_AT_ONCE) {
                self.shared.apply(lsn, log_time, &record);
                self.forget_ended(&record);
                self.spent.push((record, before));
            }
        }
    }

    /// Looks at the clocks: whether due work may go on.
    pub fn observe_clock(&mut self) {
        let clock = &self.shared.world.clock;
        let doubt = self.guard.observe(clock.wall(), clock.since_boot(), self.log_time);
        if self.shared.is_test_clock() {
            return;
        }
        *self.shared.clock_witness.lock() = self.guard.witness(self.boot);
        self.shared.set_clock_in_doubt(doubt);
    }

    /// What comes about with time alone, each second.
    pub fn tick(&mut self) {
        self.observe_clock();
        self.forget_old(REPLIES_AT_ONCE);
    }

    /// Forgets kept answers and ended reservations that are too old, when the clocks say so that were just looked at.
    fn forget_old(&self, at_most: usize) {
        if !self.shared.clock_in_doubt() {
            let state = &self.shared.state;
            state.forget_old(state.log_time(), at_most);
        }
    }

    /// Whether a checkpoint waits for its cut, and is to have it. A test clock on its way does not wait for
    /// one, unless memory fills with rows: those of years would.
    fn is_cut_wanted(&self) -> bool {
        let Shared { cut, state, options, .. } = &*self.shared;
        cut.is_wanted()
            && (self.advancing.is_none() || state.waiting_bytes() >= options.waiting_bytes_max)
    }

    /// Takes the cut that a checkpoint waits for, once nothing is in flight.
    fn cut_if_wanted(&mut self) {
        if self.is_idle() && self.is_cut_wanted() {
            let cut = self.cut();
            self.shared.cut.give(cut);
        }
    }

    /// A cut at exactly the last applied LSN; nothing is in flight. The line stands still while a
    /// meter waits for its earlier events: its hours are on the side they were found on.
    fn cut(&mut self) -> checkpoint::Cut {
        self.observe_clock();
        let state = &self.shared.state;
        let in_doubt = self.shared.clock_in_doubt();
        if !in_doubt && !state.with_backfills(Backfills::are_any_pending) {
            let due = Hour::of(state.log_time().minus(self.shared.options.grace));
            self.closed_hours = self.closed_hours.max(due);
            self.closed_through = self.closed_through.max(self.closed_hours.start());
        }
        self.forget_old(REPLIES_AT_ONCE);
        checkpoint::Cut::take(state, self.closed_hours)
    }
}

/// What a record does, of one LSN.
fn record_of(body: Body<'static>, bill: Option<PackedBill>) -> Record {
    match body {
        Body::Change(entry) => Record::Change(Box::new(entry)),
        Body::ClockSet(identity) => Record::ClockSet(identity),
        Body::Backfilled(entry) => Record::Backfilled(Box::new(entry)),
        Body::PeriodTurned(subscription) => Record::PeriodTurned(subscription),
        Body::CycleClosed(entry) => Record::CycleClosed(entry, bill),
        Body::PaymentMarked(entry) => Record::PaymentMarked(entry),
        Body::CreditsMoved(entry) => Record::CreditsMoved(entry),
        Body::AlertsFired(entry) => Record::AlertsFired(entry),
        Body::WebhookSettled(entry) => Record::WebhookSettled(entry),
        Body::Events(_) => Record::Events(Admitted::default()),
    }
}
