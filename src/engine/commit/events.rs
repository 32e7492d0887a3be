//! The committer's decision on one request of events: found out first, taken in then.
//!
//! Whatever can refuse the request is looked at before anything is changed, so that a refused one
//! leaves no trace: not an id, not a customer, not a byte of the log.

use hashbrown::HashMap;

use super::{Answer, Committer, GROUP_BYTES, Reply, Submission};
use crate::engine::Ingested;
use crate::engine::command::{EventRefusal, Refused};
use crate::engine::options::UnknownCustomers;
use crate::engine::outcomes;
use crate::engine::prepare::{Prepared, PreparedCustomer, PreparedEvent};
use crate::engine::record::{EncodedEvents, splice_events};
use crate::engine::state::{Admitted, AdmittedRequest, Record};
use crate::engine::stripes::{Delta, Key};
use crate::metering::accumulator::Sample;
use crate::metering::evaluate::Contribution;
use crate::metering::{Rejection, Rule};
use crate::model::{Causes, CustomerId, CustomerIndex, Hour, Quantity};
use crate::storage::index::{Hit, IdEntry, IdHash};
use crate::world::sabotage::{self, Sabotage};

/// What deciding on a request's events found out before anything was changed.
pub(super) struct Findings {
    /// For each event its first copy.
    pub(super) earlier: Vec<Option<Hit>>,
    /// For each customer of the request whether it has a new event.
    has_new: Vec<bool>,
    new_count: usize,
}

impl Committer {
    /// Decides a request into the open group, or gives it back when there is no room for it.
    pub(super) fn admit_events(
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
                if findings.new_count == 0 && sabotage::is(Sabotage::DuplicateWait) {
                    reply(Ok(answer));
                } else {
                    self.open.answers.push(Answer::Ingested(reply, answer));
                }
            }
            Err(refused) => {
                self.shared.counters.refused(&refused);
                reply(Err(refused));
            }
        }
        None
    }

    /// Everything that can refuse the request; changes nothing.
    pub(super) fn find_out(&self, prepared: &mut Prepared) -> Result<Findings, Refused> {
        let catalogue = self.shared.state.catalogue();
        if prepared.catalogue_version != catalogue.version() {
            prepared.evaluate_again(&catalogue).map_err(|error| {
                tracing::error!(error = %Causes(&error), "evaluate again");
                Refused::Busy
            })?;
        }
        let earlier = self.earlier_copies(prepared)?;
        let mut has_new = vec![false; prepared.customers.len()];
        let mut new_count = 0;
        let mut is_any_ahead = false;
        let now = self.log_time.max(self.shared.world.clock.wall());
        for (event_index, (event, earlier)) in prepared.events.iter().zip(&earlier).enumerate() {
            if earlier.is_some() {
                continue;
            }
            self.refuse_late(event).map_err(|rejection| refusal(event_index, rejection))?;
            is_any_ahead |= event.timestamp >= now;
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
        let pending_max = self.shared.options.pending_max;
        if is_any_ahead && self.shared.state.segments().pending_count() >= pending_max {
            // What is ahead of the clock waits in memory until its time comes.
            return Err(Refused::Busy);
        }
        self.refuse_overflow(prepared, &earlier)?;
        Ok(Findings { earlier, has_new, new_count })
    }

    fn earlier_copies(&self, prepared: &Prepared) -> Result<Vec<Option<Hit>>, Refused> {
        if sabotage::is(Sabotage::IdDedupe) {
            return Ok(vec![None; prepared.events.len()]);
        }
        let generations = self.shared.generations.lock();
        let hashes: Vec<IdHash> = prepared.events.iter().map(|event| event.hash).collect();
        let (view_version, mut earlier) = if prepared.view_version < generations.complete_from() {
            // Runs were flushed and their generations dropped since the worker looked.
            let view = self.shared.index.view();
            let earlier = view.look_up(&hashes).map_err(|error| {
                tracing::error!(error = %Causes(&error), "look up event ids");
                Refused::Busy
            })?;
            (view.version(), earlier)
        } else {
            let earlier = prepared.events.iter().map(|event| event.earlier).collect();
            (prepared.view_version, earlier)
        };
        generations.find_all(&hashes, view_version, &mut earlier);
        Ok(earlier)
    }

    fn refuse_late(&self, event: &PreparedEvent) -> Result<(), Rejection> {
        if let Some(rejection) = event.lateness.rejection(&self.shared.options.rules) {
            return Err(rejection);
        }
        if event.timestamp < self.closed_through {
            return Err(Rejection {
                rule: Rule::TooOld,
                field: "timestamp".to_owned(),
                message: format!(
                    "usage before {} is closed and takes no new events",
                    self.closed_through
                ),
            });
        }
        Ok(())
    }

    fn refuse_unknown(&self, prepared: &Prepared, event: &PreparedEvent) -> Result<(), Rejection> {
        let customer = prepared.customers.get(event.customer);
        let known = customer.is_some_and(|customer| match customer {
            PreparedCustomer::Known(_) => true,
            PreparedCustomer::Unknown { id, .. } => self.index_by_now(id).is_some(),
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

    /// The index of a customer that did not exist when the request was prepared.
    fn index_by_now(&self, id: &CustomerId) -> Option<CustomerIndex> {
        let creating = self.creating.get(id).copied();
        creating.or_else(|| self.shared.state.with_accounts(|all| all.index(id.as_str())))
    }

    fn refuse_overflow(&self, prepared: &Prepared, earlier: &[Option<Hit>]) -> Result<(), Refused> {
        // Exact sums would need every accumulator; the sum of magnitudes bounds them all, and
        // 2^127 units are 10^11 events of the largest value.
        let most_added =
            Quantity::EVENT_MAGNITUDE_MAX.saturating_mul(prepared.contributions.len() as u128);
        let so_far = self.magnitudes.iter().max().copied().unwrap_or(0);
        if so_far.saturating_add(most_added) <= i128::MAX.unsigned_abs() {
            return Ok(());
        }
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
    pub(super) fn take_in(&mut self, prepared: &Prepared, findings: &Findings) -> Ingested {
        let first_lsn = self.next_lsn;
        let mut duplicates = 0;
        let mut conflicts = 0;
        if findings.new_count > 0 {
            self.start_record(self.log_time.max(self.shared.world.clock.wall()));
            let (indexes, created) = self.create_customers(prepared, &findings.has_new);
            self.splice(prepared, findings, &created);
            let created = created.into_iter().map(|(_, id, index)| (id, index)).collect();
            let lsn = first_lsn;
            let (first_lsn, mut admitted) = self.open.continue_events(first_lsn, created);
            admitted.event_count += findings.new_count as u64;
            self.remember(prepared, findings, &indexes, &mut admitted);
            let deltas_end = admitted.deltas.len();
            admitted.requests.push(AdmittedRequest { lsn, log_time: self.log_time, deltas_end });
            self.open.records.push((first_lsn, self.log_time, Record::Events(admitted)));
            self.open.lsn_count += findings.new_count as u64;
        }
        for (event, earlier) in prepared.events.iter().zip(&findings.earlier) {
            if let Some(earlier) = earlier {
                duplicates += 1;
                conflicts += u32::from(earlier.fingerprint != event.fingerprint);
            }
        }
        if self.shared.insight.outcomes.is_watched() {
            outcomes::note_request(&self.shared, prepared, &findings.earlier, first_lsn);
        }
        // Fits: a request holds at most 1000 events.
        let new = u32::try_from(findings.new_count).unwrap_or(u32::MAX);
        self.shared.counters.ingested(new, duplicates, conflicts);
        Ingested { new, duplicates, conflicts, lsn: self.next_lsn.previous() }
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
            let index = match customer {
                PreparedCustomer::Known(index) => *index,
                PreparedCustomer::Unknown { id, text } => match self.index_by_now(id) {
                    Some(index) => index,
                    // Every event of this customer is a duplicate: nothing names the index.
                    None if !has_new => CustomerIndex(u32::MAX),
                    None => {
                        let index = self.next_customer;
                        self.next_customer = CustomerIndex(index.0 + 1);
                        self.creating.insert(id.clone(), index);
                        created.push((*text, id.clone(), index));
                        index
                    }
                },
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
        let hashes: Vec<IdHash> = prepared.events.iter().map(|event| event.hash).collect();
        generations.touch(&hashes);
        admitted.deltas.reserve(prepared.contributions.len());
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
