//! What waits for the committer, and the group that it decides into.

use std::sync::Arc;
use std::time::Duration;

use super::record_of;
use super::reservations::Commit;
use crate::engine::Ingested;
use crate::engine::alerts::FiredEntry;
use crate::engine::command::{Changed, Refused};
use crate::engine::decide::Proposal;
use crate::engine::invoicing::DraftInvoice;
use crate::engine::outbox::settle::SettledEntry;
use crate::engine::packed::encode_and_pack;
use crate::engine::prepare::Prepared;
use crate::engine::record::{BackfilledEntry, Body, ClosedEntry, Entry};
use crate::engine::state::{Admitted, Record};
use crate::engine::weight;
use crate::model::{CustomerId, CustomerIndex, Lsn, Subscription, Timestamp};

/// A group is handed out at about this size: 7,000 events, synced in half a millisecond.
pub const GROUP_BYTES: usize = 1024 * 1024;

/// Called once with the answer; dropped uncalled when the log fails.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Refused>) + Send>;

/// What waits for the committer.
pub enum Submission {
    /// Events of one request.
    Ingest(Box<Prepared>, Reply<Ingested>),
    /// The event that a reservation was made for.
    Commit(Box<Commit>, Reply<Changed>),
    /// A change.
    Change(Box<Proposal>, Reply<Changed>),
    /// A part of a backfill; what became of it stands in the state.
    Backfilled(Box<BackfilledEntry>),
    /// Alerts that fire; the state says when they have.
    Fired(Box<FiredEntry>),
    /// What became of attempts to deliver messages.
    Settled(Box<SettledEntry>, Reply<()>),
}

impl Submission {
    /// Answers whoever waits with `refused`. Jobs that wait for no answer look again by themselves.
    pub fn refuse(self, refused: Refused) {
        match self {
            Self::Ingest(_, reply) => reply(Err(refused)),
            Self::Commit(_, reply) | Self::Change(_, reply) => reply(Err(refused)),
            Self::Settled(_, reply) => reply(Err(refused)),
            Self::Backfilled(_) | Self::Fired(_) => {}
        }
    }
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ingest(..) => "Ingest",
            Self::Commit(..) => "Commit",
            Self::Change(..) => "Change",
            Self::Backfilled(_) => "Backfilled",
            Self::Fired(_) => "Fired",
            Self::Settled(..) => "Settled",
        })
    }
}

impl Group {
    /// An empty group with this one's room, so that a run does not ask for it again and again.
    pub(super) fn emptied(mut self) -> Self {
        self.entries.clear();
        self.records.clear();
        self.due.clear();
        self.logged.clear();
        self.spent.clear();
        if self.entries.capacity() > 2 * GROUP_BYTES {
            return Self::default();
        }
        let Self { entries, due, logged, records, spent, .. } = self;
        Self { entries, due, logged, records, spent, ..Self::default() }
    }
}

pub(super) enum Answer {
    Ingested(Reply<Ingested>, Ingested),
    Changed(Reply<Changed>, Changed),
    Settled(Reply<()>),
}

/// A piece of due work.
pub(super) struct Decided {
    pub(super) lsn: Lsn,
    pub(super) log_time: Timestamp,
    pub(super) piece: Piece,
    /// The subscription as it was.
    pub(super) before: Option<Arc<Subscription>>,
}

/// What was decided of a piece of due work.
pub(super) enum Piece {
    /// A close, whose invoice the log's thread makes.
    Close(DraftInvoice),
    /// A record.
    Record(Body<'static>),
}

impl Piece {
    /// About how many bytes it takes in the log.
    pub(super) fn bytes_about(&self) -> usize {
        match self {
            Self::Close(draft) => weight::of_draft(draft),
            Self::Record(body) => weight::bytes_about(body),
        }
    }
}

/// A piece of due work that is in the log.
pub(super) struct Logged {
    pub(super) lsn: Lsn,
    pub(super) log_time: Timestamp,
    pub(super) record: Record,
    /// The subscription as it was.
    pub(super) before: Option<Arc<Subscription>>,
}

/// What was applied and is not needed any more.
pub type Spent = Vec<(Record, Option<Arc<Subscription>>)>;

/// Records that are written and synced together.
#[derive(Default)]
pub struct Group {
    /// The LSN of the first record.
    pub first_lsn: Lsn,
    /// How many LSNs the group takes; none when it only carries answers.
    pub lsn_count: u64,
    /// The log time of the last record.
    pub log_time: Timestamp,
    /// The records but due work in the log's form, without the payload's head.
    pub entries: Vec<u8>,
    /// How many they are.
    pub entry_count: usize,
    /// How long the sync took.
    pub sync_took: Duration,
    /// The due work, which is before everything else, until the log's thread encodes it.
    pub(super) due: Vec<Decided>,
    /// The due work from then on.
    pub(super) logged: Vec<Logged>,
    /// About how many bytes that takes in the log.
    pub(super) due_bytes: usize,
    /// How long the committer has been busy with those.
    pub(super) work_took: Duration,
    /// Nothing of the due work is of subscriptions.
    pub(super) is_of_pools: bool,
    /// When the first request was decided, since the machine's start.
    pub(super) opened_at: Option<Duration>,
    pub(super) records: Vec<(Lsn, Timestamp, Record)>,
    pub(super) answers: Vec<Answer>,
    /// What an earlier group has left. To free it takes a tenth of what a close costs the committer.
    pub(super) spent: Spent,
}

impl Group {
    /// Exchanges what an earlier group has left, to be dropped where nobody waits for it, for a list to be
    /// filled again: one that grew anew with each group took a twentieth of what due work costs the committer.
    pub fn exchange_spent(&mut self, emptied: &mut Spent) {
        std::mem::swap(&mut self.spent, emptied);
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.records.is_empty() && !self.is_any_due()
    }

    /// About how many bytes of the log it takes.
    pub fn bytes(&self) -> usize {
        self.due_bytes + self.entries.len()
    }

    /// Appends its records to a payload, as the log has them; `issue` makes those of closes.
    pub fn encode(
        &mut self,
        payload: &mut Vec<u8>,
        mut issue: impl FnMut(DraftInvoice) -> ClosedEntry,
    ) {
        for Decided { lsn, log_time, piece, before } in self.due.drain(..) {
            let body = match piece {
                Piece::Close(draft) => Body::CycleClosed(Box::new(issue(draft))),
                Piece::Record(body) => body,
            };
            let entry = Entry { log_time, body };
            let bill = encode_and_pack(&entry, payload);
            let record = record_of(entry.body, bill);
            self.logged.push(Logged { lsn, log_time, record, before });
        }
        payload.extend_from_slice(&self.entries);
    }

    /// Whether it holds due work.
    pub(super) fn is_any_due(&self) -> bool {
        !self.due.is_empty() || !self.logged.is_empty()
    }

    /// Whether it holds due work and nothing else.
    pub(super) fn is_due_work_alone(&self) -> bool {
        self.is_any_due() && self.records.is_empty() && self.answers.is_empty()
    }

    /// The record that the next request's events go into, taken out of the group, and its first LSN.
    ///
    /// Requests in a row are applied as one record, so that each stripe of accumulators is locked once
    /// for all of them. A request that creates customers is a record of its own: they are created at
    /// its log time.
    pub(super) fn continue_events(
        &mut self,
        first_lsn: Lsn,
        created: Vec<(CustomerId, CustomerIndex)>,
    ) -> (Lsn, Admitted) {
        let last = self.records.pop_if(|(_, _, record)| match record {
            Record::Events(before) => before.created.is_empty() && created.is_empty(),
            Record::Change(_)
            | Record::ClockSet(_)
            | Record::Backfilled(_)
            | Record::AlertsFired(_)
            | Record::PeriodTurned(_)
            | Record::CycleClosed(..)
            | Record::PaymentMarked(_)
            | Record::CreditsMoved(_)
            | Record::WebhookSettled(_) => false,
        });
        match last {
            Some((first_lsn, _, Record::Events(before))) => (first_lsn, before),
            Some(_) | None => (first_lsn, Admitted { created, ..Admitted::default() }),
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({}+{})", self.first_lsn, self.lsn_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes in a request; the LSN and the events of the record that it is in.
    fn take_in(group: &mut Group, lsn: u64, creates: bool) -> (Lsn, u64) {
        let customer = creates.then(|| (CustomerId::new("c"), CustomerIndex(0)));
        let customers = customer.into_iter().collect();
        let (first_lsn, mut admitted) = group.continue_events(Lsn(lsn), customers);
        admitted.event_count += 1;
        let found = (first_lsn, admitted.event_count);
        group.records.push((first_lsn, Timestamp::default(), Record::Events(admitted)));
        found
    }

    #[test]
    fn requests_in_a_row_are_one_record_unless_they_create_customers() {
        let mut group = Group::default();
        let mut found = Vec::new();
        for (lsn, creates) in [(1, false), (2, false), (3, true), (4, true), (5, false)] {
            found.push(take_in(&mut group, lsn, creates));
        }
        let other = Record::ClockSet(None);
        group.records.push((Lsn(6), Timestamp::default(), other));
        found.push(take_in(&mut group, 7, false));
        let expected = [(1, 1), (1, 2), (3, 1), (4, 1), (5, 1), (7, 1)];
        assert_eq!(found, expected.map(|(lsn, events)| (Lsn(lsn), events)));
        assert_eq!(group.records.len(), 6);
    }
}
