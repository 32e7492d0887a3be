//! The committer: the one place that decides what is admitted, and in which order.
//!
//! It is plain and synchronous. [`Committer::admit`] decides one submission into the open group;
//! [`Committer::take`] hands the group out to be written and synced; [`Committer::finish`] applies
//! what is durable and answers. What follows a group that is still being written sees it: its ids are
//! in the generations, its customers in `creating`. Changes and cuts are decided only when nothing
//! is in flight, against the state itself, and nothing is decided until a change is applied.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::engine::clock_guard::ClockGuard;
use crate::engine::command::{Changed, EventRefusal, Refused};
use crate::engine::decide::{Decision, Marks, Proposal, decide};
use crate::engine::options::UnknownCustomers;
use crate::engine::prepare::{Prepared, PreparedEvent};
use crate::engine::record::{
    Body, Change, ChangeEntry, EncodedEvents, Entry, encode_entry, splice_events,
};
use crate::engine::shared::Shared;
use crate::engine::state::{Admitted, Record};
use crate::engine::stripes::{Delta, Key};
use crate::engine::{Ingested, checkpoint};
use crate::metering::accumulator::Sample;
use crate::metering::evaluate::Contribution;
use crate::metering::{Rejection, Rule};
use crate::model::{CustomerId, CustomerIndex, Hour, Lsn, Settings, Timestamp};
use crate::storage::index::{Hit, IdEntry, IdHash};

/// A group is handed out at about this size: 7,000 events, synced in half a millisecond.
pub const GROUP_BYTES: usize = 1024 * 1024;

/// Called once with the answer; dropped uncalled when the log fails.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Refused>) + Send>;

/// What waits for the committer.
pub enum Submission {
    /// Events of one request.
    Ingest(Box<Prepared>, Reply<Ingested>),
    /// A change.
    Change(Box<Proposal>, Reply<Changed>),
    /// A checkpoint wants to start here.
    Cut(Box<dyn FnOnce(checkpoint::Cut) + Send>),
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ingest(..) => "Ingest",
            Self::Change(..) => "Change",
            Self::Cut(_) => "Cut",
        })
    }
}

enum Answer {
    Ingested(Reply<Ingested>, Ingested),
    Changed(Reply<Changed>, Changed),
}

/// Records that are written and synced together.
#[derive(Default)]
pub struct Group {
    /// The LSN of the first record.
    pub first_lsn: Lsn,
    /// How many LSNs the group takes; none when it only carries answers.
    pub lsn_count: u64,
    /// The log time of the last record.
    pub log_time: Timestamp,
    /// The records in the log's form, without the payload's head.
    pub entries: Vec<u8>,
    /// How many they are.
    pub entry_count: usize,
    /// How long the sync took.
    pub sync_took: Duration,
    /// When the first request was decided, since the machine's start.
    opened_at: Option<Duration>,
    records: Vec<(Lsn, Timestamp, Record)>,
    answers: Vec<Answer>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({}+{})", self.first_lsn, self.lsn_count)
    }
}

/// The committer; see the module.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    guard: ClockGuard,
    open: Group,
    in_flight: usize,
    /// A change is decided and not applied yet: whatever follows must see it.
    settling: bool,
    next_lsn: Lsn,
    log_time: Timestamp,
    /// Customers that decided groups create and that are not applied yet.
    creating: HashMap<CustomerId, CustomerIndex, std::hash::RandomState>,
    next_customer: CustomerIndex,
    /// Per meter the sum of magnitudes after every decided event.
    magnitudes: Vec<u128>,
    /// New events before this hour are refused.
    closed_through: Hour,
}

/// What deciding on a request's events found out before anything was changed.
struct Findings {
    /// For each event its first copy.
    earlier: Vec<Option<Hit>>,
    /// For each customer of the request whether it has a new event.
    has_new: Vec<bool>,
    new_count: usize,
}

impl Committer {
    /// A committer that goes on where the state stands.
    pub fn new(shared: Arc<Shared>, closed_through: Hour) -> Self {
        let state = &shared.state;
        let (next_lsn, log_time) = (state.applied().next(), state.log_time());
        let next_customer = state.with_accounts(crate::engine::accounts::Accounts::next_index);
        let magnitudes = state.totals().iter().map(|total| total.magnitude).collect();
        Self {
            guard: ClockGuard::default(),
            open: Group::default(),
            in_flight: 0,
            settling: false,
            creating: HashMap::default(),
            shared,
            next_lsn,
            log_time,
            next_customer,
            magnitudes,
            closed_through,
        }
    }

    /// Decides one submission into the open group, or gives it back when it must wait: until the
    /// open group was taken, or everything in flight is finished, or an index generation is free.
    pub fn admit(&mut self, submission: Submission) -> Option<Submission> {
        if self.settling {
            return Some(submission);
        }
        match submission {
            Submission::Ingest(prepared, reply) => self.admit_events(prepared, reply),
            Submission::Change(..) | Submission::Cut(_) if !self.is_idle() => Some(submission),
            Submission::Change(proposal, reply) => {
                self.admit_change(&proposal, reply);
                None
            }
            Submission::Cut(reply) => {
                reply(self.cut());
                None
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.open.answers.is_empty()
    }

    fn admit_events(
        &mut self,
        mut prepared: Box<Prepared>,
        reply: Reply<Ingested>,
    ) -> Option<Submission> {
        let is_full = self.open.entries.len() + prepared.encoded_bytes() > GROUP_BYTES;
        let has_room = self.shared.generations.lock().room() >= prepared.events.len();
        if (is_full && !self.open.answers.is_empty()) || !has_room {
            return Some(Submission::Ingest(prepared, reply));
        }
        self.shared.dequeued(&prepared);
        match self.find_out(&mut prepared) {
            Ok(findings) => {
                self.open_group();
                let answer = self.take_in(&prepared, &findings);
                self.open.answers.push(Answer::Ingested(reply, answer));
            }
            Err(refused) => {
                self.shared.counters.refused(&refused);
                reply(Err(refused));
            }
        }
        None
    }

    /// Everything that can refuse the request; changes nothing.
    fn find_out(&self, prepared: &mut Prepared) -> Result<Findings, Refused> {
        let catalogue = self.shared.state.catalogue();
        if prepared.catalogue_version != catalogue.version() {
            prepared.evaluate_again(&catalogue).map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "evaluate again");
                Refused::Busy
            })?;
        }
        let earlier = self.earlier_copies(prepared)?;
        let mut has_new = vec![false; prepared.customers.len()];
        let mut new_count = 0;
        for (event_index, (event, earlier)) in prepared.events.iter().zip(&earlier).enumerate() {
            if earlier.is_some() {
                continue;
            }
            self.refuse_late(event).map_err(|rejection| refusal(event_index, rejection))?;
            new_count += 1;
            match has_new.get_mut(event.customer) {
                Some(seen) if !*seen => {
                    self.refuse_unknown(prepared, event)
                        .map_err(|rejection| refusal(event_index, rejection))?;
                    *seen = true;
                }
                Some(_) | None => {}
            }
        }
        self.refuse_overflow(prepared, &earlier)?;
        Ok(Findings { earlier, has_new, new_count })
    }

    fn earlier_copies(&self, prepared: &Prepared) -> Result<Vec<Option<Hit>>, Refused> {
        let generations = self.shared.generations.lock();
        let hashes = || prepared.events.iter().map(|event| event.hash);
        let in_runs: Vec<Option<Hit>> = if prepared.view_version < generations.complete_from() {
            // Runs were flushed and their generations dropped since the worker looked.
            let hashes: Vec<IdHash> = hashes().collect();
            self.shared.index.view().look_up(&hashes).map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "look up event ids");
                Refused::Busy
            })?
        } else {
            prepared.events.iter().map(|event| event.earlier).collect()
        };
        Ok(hashes()
            .zip(in_runs)
            .map(|(hash, known)| known.or_else(|| generations.find(hash)))
            .collect())
    }

    fn refuse_late(&self, event: &PreparedEvent) -> Result<(), Rejection> {
        if let Some(rejection) = event.lateness.rejection(&self.shared.options.rules) {
            return Err(rejection);
        }
        if Hour::of(event.timestamp) < self.closed_through {
            return Err(Rejection {
                rule: Rule::TooOld,
                field: "timestamp".to_owned(),
                message: format!(
                    "usage before {} is closed and takes no new events",
                    self.closed_through.start()
                ),
            });
        }
        Ok(())
    }

    fn refuse_unknown(&self, prepared: &Prepared, event: &PreparedEvent) -> Result<(), Rejection> {
        let customer = prepared.customers.get(event.customer);
        let known = customer.is_some_and(|customer| {
            customer.index.is_some() || self.customer_index(&customer.id).is_some()
        });
        match self.shared.options.unknown_customers {
            UnknownCustomers::Create => Ok(()),
            UnknownCustomers::Reject if known => Ok(()),
            UnknownCustomers::Reject => Err(Rejection {
                rule: Rule::UnknownCustomer,
                field: "customer_id".to_owned(),
                message: "this customer does not exist".to_owned(),
            }),
        }
    }

    fn customer_index(&self, id: &CustomerId) -> Option<CustomerIndex> {
        let creating = self.creating.get(id).copied();
        creating.or_else(|| self.shared.state.with_accounts(|all| all.index(id.as_str())))
    }

    fn refuse_overflow(&self, prepared: &Prepared, earlier: &[Option<Hit>]) -> Result<(), Refused> {
        // Exact sums would need every accumulator; the sum of magnitudes bounds them all, and
        // 2^127 units are 10^11 events of the largest value.
        let mut added: HashMap<u32, u128> = HashMap::new();
        for (event_index, earlier) in earlier.iter().enumerate() {
            if earlier.is_some() {
                continue;
            }
            for Contribution { meter, outcome, .. } in prepared.contributions_of(event_index) {
                let Ok(value) = outcome else { continue };
                let sum = added.entry(meter.0).or_default();
                *sum = sum.saturating_add(value.magnitude());
                let so_far = self.magnitudes.get(meter.position()).copied().unwrap_or(0);
                if so_far.saturating_add(*sum) > i128::MAX.unsigned_abs() {
                    return Err(refusal(event_index, overflow()));
                }
            }
        }
        Ok(())
    }

    /// Takes the new events in: from here on nothing is refused.
    fn take_in(&mut self, prepared: &Prepared, findings: &Findings) -> Ingested {
        let first_lsn = self.next_lsn;
        let mut duplicates = 0;
        let mut conflicts = 0;
        if findings.new_count > 0 {
            self.start_record(self.log_time.max(self.shared.world.clock.wall()));
            let (indexes, created) = self.create_customers(prepared, &findings.has_new);
            self.splice(prepared, findings, &created);
            let mut admitted = Admitted {
                event_count: findings.new_count as u64,
                created: created.into_iter().map(|(_, id, index)| (id, index)).collect(),
                deltas: Vec::with_capacity(prepared.contributions.len()),
            };
            self.remember(prepared, findings, &indexes, &mut admitted);
            self.open.records.push((first_lsn, self.log_time, Record::Events(admitted)));
            self.open.lsn_count += findings.new_count as u64;
        }
        for (event, earlier) in prepared.events.iter().zip(&findings.earlier) {
            if let Some(earlier) = earlier {
                duplicates += 1;
                conflicts += u32::from(earlier.fingerprint != event.fingerprint);
            }
        }
        // Fits: a request holds at most 1000 events.
        let new = u32::try_from(findings.new_count).unwrap_or(u32::MAX);
        self.shared.counters.ingested(new, duplicates, conflicts);
        Ingested { new, duplicates, conflicts, lsn: self.next_lsn.previous() }
    }

    /// Notes when the open group got its first request.
    fn open_group(&mut self) {
        let clock = &self.shared.world.clock;
        self.open.opened_at.get_or_insert_with(|| clock.since_boot());
    }

    /// Begins a record of the open group; log time is the record's.
    fn start_record(&mut self, log_time: Timestamp) {
        self.log_time = log_time;
        if self.open.lsn_count == 0 {
            self.open.first_lsn = self.next_lsn;
        }
        self.open.log_time = self.log_time;
        self.open.entry_count += 1;
    }

    /// The index of each customer of the request, and those that are new with their text.
    fn create_customers(
        &mut self,
        prepared: &Prepared,
        has_new: &[bool],
    ) -> (Vec<CustomerIndex>, Vec<(u32, CustomerId, CustomerIndex)>) {
        let mut created = Vec::new();
        let mut indexes = Vec::with_capacity(prepared.customers.len());
        for (customer, has_new) in prepared.customers.iter().zip(has_new) {
            let known = customer.index.or_else(|| self.customer_index(&customer.id));
            let index = match known {
                Some(index) => index,
                // Every event of this customer is a duplicate: nothing names the index.
                None if !has_new => CustomerIndex(u32::MAX),
                None => {
                    let index = self.next_customer;
                    self.next_customer = CustomerIndex(index.0 + 1);
                    self.creating.insert(customer.id.clone(), index);
                    created.push((customer.text, customer.id.clone(), index));
                    index
                }
            };
            indexes.push(index);
        }
        (indexes, created)
    }

    fn splice(
        &mut self,
        prepared: &Prepared,
        findings: &Findings,
        created: &[(u32, CustomerId, CustomerIndex)],
    ) {
        let created: Vec<u32> = created.iter().map(|(text, _, _)| *text).collect();
        let parts = EncodedEvents {
            received_at: prepared.received_at,
            created: &created,
            texts: &prepared.texts,
            event_count: findings.new_count,
        };
        splice_events(self.log_time, &parts, &mut self.open.entries);
        if findings.new_count == prepared.events.len() {
            self.open.entries.extend_from_slice(&prepared.bytes);
            return;
        }
        for (place, earlier) in findings.earlier.iter().enumerate() {
            if earlier.is_none() {
                self.open.entries.extend_from_slice(prepared.event_bytes(place));
            }
        }
    }

    /// Gives each new event its LSN, remembers its id and collects what it adds.
    fn remember(
        &mut self,
        prepared: &Prepared,
        findings: &Findings,
        indexes: &[CustomerIndex],
        admitted: &mut Admitted,
    ) {
        let mut generations = self.shared.generations.lock();
        for (place, event) in prepared.events.iter().enumerate() {
            if findings.earlier.get(place).is_none_or(Option::is_some) {
                continue;
            }
            let lsn = self.next_lsn;
            self.next_lsn = lsn.next();
            let entry = IdEntry { hash: event.hash, lsn, fingerprint: event.fingerprint };
            generations.insert(entry, prepared.received_at);
            let Some(customer) = indexes.get(event.customer).copied() else { continue };
            for contribution in prepared.contributions_of(place) {
                let meter = contribution.meter;
                let key = Key { meter, customer, hour: Hour::of(event.timestamp) };
                let outcome =
                    contribution.outcome.map(|value| Sample { value, at: event.timestamp, lsn });
                add_magnitude(&mut self.magnitudes, contribution);
                admitted.deltas.push(Delta { key, kind: contribution.kind, outcome });
            }
        }
    }

    fn admit_change(&mut self, proposal: &Proposal, reply: Reply<Changed>) {
        let marks = Marks { log_time: self.log_time, closed_through: self.closed_through };
        match decide(proposal, &self.shared, marks) {
            Err(refused) => reply(Err(refused)),
            Ok(Decision::Repeat(changed)) => reply(Ok(*changed)),
            Ok(Decision::Apply { body, log_time, outcome }) => {
                self.open_group();
                self.append(*body, log_time);
                self.settling = true;
                if proposal.confirms_clock() {
                    self.guard.confirm();
                }
                let lsn = self.next_lsn.previous();
                let changed = Changed { outcome: *outcome, replayed: false, lsn };
                self.open.answers.push(Answer::Changed(reply, changed));
            }
        }
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
        let record = match entry.body {
            Body::Change(entry) => {
                if let Change::Customer(customer) = &entry.change
                    && customer.index == self.next_customer
                {
                    self.next_customer = CustomerIndex(customer.index.0 + 1);
                }
                Record::Change(Box::new(entry))
            }
            Body::ClockSet(identity) => Record::ClockSet(identity),
            Body::Events(_) => Record::Events(Admitted::default()),
        };
        self.open.records.push((self.next_lsn, self.log_time, record));
        self.open.lsn_count += 1;
        self.next_lsn = self.next_lsn.next();
    }

    /// The open group, when it holds anything; it is in flight until [`Committer::finish`].
    pub fn take(&mut self) -> Option<Group> {
        if self.open.answers.is_empty() && self.open.records.is_empty() {
            return None;
        }
        self.in_flight += 1;
        Some(std::mem::take(&mut self.open))
    }

    /// Applies a group that is durable and answers its requests.
    pub fn finish(&mut self, group: Group) {
        self.in_flight -= 1;
        self.settling = false;
        for (lsn, log_time, record) in &group.records {
            self.shared.apply(*lsn, *log_time, record);
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
        for answer in group.answers {
            match answer {
                Answer::Ingested(reply, ingested) => reply(Ok(ingested)),
                Answer::Changed(reply, changed) => reply(Ok(changed)),
            }
        }
    }

    /// Looks at the clocks: whether due work may go on.
    pub fn observe_clock(&mut self) {
        let clock = &self.shared.world.clock;
        let doubt = self.guard.observe(clock.wall(), clock.since_boot(), self.log_time);
        self.shared.set_clock_in_doubt(doubt && !self.shared.is_test_clock());
    }

    /// A cut at exactly the last applied LSN; nothing is in flight.
    fn cut(&mut self) -> checkpoint::Cut {
        self.observe_clock();
        let state = &self.shared.state;
        if !self.shared.clock_in_doubt() {
            let due = Hour::of(state.log_time().minus(self.shared.options.grace));
            self.closed_through = self.closed_through.max(due);
        }
        checkpoint::Cut::take(state, self.closed_through)
    }
}

fn add_magnitude(magnitudes: &mut Vec<u128>, contribution: &Contribution) {
    let Ok(value) = contribution.outcome else { return };
    let place = contribution.meter.position();
    if magnitudes.len() <= place {
        magnitudes.resize(place + 1, 0);
    }
    if let Some(magnitude) = magnitudes.get_mut(place) {
        *magnitude += value.magnitude();
    }
}

fn refusal(event_index: usize, rejection: Rejection) -> Refused {
    Refused::Event(EventRefusal { event_index, rejection })
}

fn overflow() -> Rejection {
    Rejection {
        rule: Rule::Overflow,
        field: "metadata".to_owned(),
        message: "the values that this meter has seen would leave its 128 bits".to_owned(),
    }
}
