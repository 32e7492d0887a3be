//! The committer's part in reservations: it commits them by an event, and times them out.
//!
//! A commit is one group: the hold is given back, then the event enters as any other, before anybody else
//! can draw. It is decided like ingest, beside groups that are still being written; what ends the same
//! reservation waits until that is applied.

use std::sync::Arc;
use std::time::Duration;

use super::events::Findings;
use super::group::Piece;
use super::{Answer, Committer, GROUP_BYTES, Reply, Submission};
use crate::engine::command::{Changed, Outcome, Refused, RequestIdentity};
use crate::engine::decide::{Marks, OVER, find_reservation, is_over, repeated};
use crate::engine::pools::moves::CreditsMove;
use crate::engine::prepare::{Prepared, PreparedCustomer};
use crate::engine::record::{Body, CreditsEntry};
use crate::engine::reservations::{
    CommittedEvent, End, Ending, Novelty, Reservation, ReservationMove,
};
use crate::engine::state::Record;
use crate::model::{EventId, ReservationId, Timestamp};

/// Reservations that one record times out at most: applied in about a millisecond.
const OVER_AT_ONCE: usize = 512;
/// An event enters once its instant lies before log time.
const INSTANT: Duration = Duration::from_nanos(1);

/// The event that a reservation was made for.
#[derive(Debug)]
pub struct Commit {
    /// The reservation.
    pub id: ReservationId,
    /// The event's id.
    pub event_id: EventId,
    /// The event, alone in its request.
    pub prepared: Prepared,
    /// What a repetition is recognised by.
    pub identity: Option<RequestIdentity>,
}

/// What becomes of a commit.
enum Decided {
    /// It was done before; this was the answer.
    Repeat(Changed),
    /// The open reservation ends by the event.
    Commits(Arc<Reservation>, Findings),
}

impl Committer {
    /// Decides on a commit, or gives it back when there is no room or the end of its reservation is under
    /// way: the clock may have been set since that was decided.
    pub(super) fn admit_commit(
        &mut self,
        mut commit: Box<Commit>,
        reply: Reply<Changed>,
    ) -> Option<Submission> {
        let is_full = self.open.entries.len() + commit.prepared.encoded_bytes() > GROUP_BYTES;
        let has_room = self.shared.generations.lock().room() >= commit.prepared.events.len();
        let is_ending = self.ending.contains(&commit.id);
        if (is_full && !self.open.answers.is_empty()) || !has_room || is_ending {
            return Some(Submission::Commit(commit, reply));
        }
        let at = self.log_time.max(self.shared.world.clock.wall());
        match self.decide_commit(&mut commit, at) {
            Err(refused) => {
                self.shared.counters.refused(&refused);
                reply(Err(refused));
            }
            Ok(Decided::Repeat(changed)) => reply(Ok(changed)),
            Ok(Decided::Commits(open, findings)) => {
                self.open_group();
                let changed = self.commit(&commit, &open, &findings, at);
                self.open.answers.push(Answer::Changed(reply, changed));
            }
        }
        None
    }

    /// Everything that can refuse a commit; changes nothing.
    fn decide_commit(&self, commit: &mut Commit, at: Timestamp) -> Result<Decided, Refused> {
        let shared = &*self.shared;
        let (log_time, closed_through) = (self.log_time, self.closed_through);
        let marks = Marks { at, log_time, closed_through };
        if let Some(changed) = repeated(commit.identity.as_ref(), shared, marks)? {
            return Ok(Decided::Repeat(changed));
        }
        let found = find_reservation(&commit.id, shared)?;
        match found.end.as_ref().map(|end| &end.how) {
            None if is_over(&found, shared) => Err(Refused::Gone(OVER)),
            None => {
                let findings = self.find_out(&mut commit.prepared)?;
                refuse_other(&found, &commit.prepared)?;
                Ok(Decided::Commits(found, findings))
            }
            Some(Ending::Committed(_)) => {
                let (outcome, lsn) = (Outcome::Reservation(found), shared.state.applied());
                Ok(Decided::Repeat(Changed { outcome, replayed: true, lsn }))
            }
            Some(Ending::Released) => {
                Err(Refused::Conflict("this reservation was released".to_owned()))
            }
            Some(Ending::TimedOut) => Err(Refused::Gone(OVER)),
        }
    }

    /// Gives back what is held and takes the event in: from here on nothing is refused.
    fn commit(
        &mut self,
        commit: &Commit,
        open: &Reservation,
        findings: &Findings,
        at: Timestamp,
    ) -> Changed {
        let prepared = commit.prepared.events.first();
        let fingerprint = prepared.map(|event| event.fingerprint);
        let (lsn, novelty) = match findings.earlier.first().copied().flatten() {
            // Behind the record that gives back.
            None => (self.next_lsn.next(), Novelty::New),
            Some(earlier) if Some(earlier.fingerprint) == fingerprint => {
                (earlier.lsn, Novelty::Duplicate)
            }
            Some(earlier) => (earlier.lsn, Novelty::Conflict),
        };
        let event = CommittedEvent { event_id: commit.event_id.clone(), at, lsn, novelty };
        // Where the clock stands still the event would have to wait for the next record, and whatever comes
        // until then would draw what was held.
        let stamped = prepared.map(|event| event.timestamp.plus(INSTANT));
        let at = stamped.map_or(at, |stamped| at.max(stamped));
        let moved = ReservationMove::Committed(open.id.clone(), Box::new(event.clone()));
        let moved = CreditsMove::Reservation(moved);
        let entry = CreditsEntry { moved, identity: commit.identity.map(Into::into) };
        self.append(Body::CreditsMoved(Box::new(entry)), at);
        self.ending.insert(open.id.clone());
        let end = Some(End { at: event.at, how: Ending::Committed(event) });
        self.take_in(&commit.prepared, findings);
        let outcome = Outcome::Reservation(Arc::new(Reservation { end, ..open.clone() }));
        Changed { outcome, replayed: false, lsn: self.next_lsn.previous() }
    }

    /// A record was applied: what it has ended may be asked for again.
    pub(super) fn forget_ended(&mut self, record: &Record) {
        let Record::CreditsMoved(entry) = record else { return };
        match &entry.moved {
            CreditsMove::Reservation(ReservationMove::Committed(id, _)) => {
                self.ending.remove(id);
            }
            CreditsMove::Reservation(ReservationMove::TimedOut(ids)) => {
                for id in ids {
                    self.ending.remove(id);
                }
            }
            CreditsMove::Reservation(
                ReservationMove::Reserved(_) | ReservationMove::Released(_),
            )
            | CreditsMove::Settled(_)
            | CreditsMove::Expired { .. }
            | CreditsMove::Entered(_) => {}
        }
    }

    /// Whether the time of any reservation is over, by the machine's clock.
    pub(super) fn is_reservation_over(&self) -> bool {
        let clock = &self.shared.world.clock;
        self.shared.state.with_reservations(|all| all.are_any_over(|| clock.real()))
    }

    /// Logs which reservations are over; nothing is in flight.
    pub(super) fn time_out_reservations(&mut self, log_time: Timestamp) {
        let now = self.shared.world.clock.real();
        let over = self.shared.state.with_reservations(|all| all.over(now, OVER_AT_ONCE));
        if !over.is_empty() {
            self.ending.extend(over.iter().cloned());
            let moved = CreditsMove::Reservation(ReservationMove::TimedOut(over));
            let entry = CreditsEntry { moved, identity: None };
            let piece = Piece::Record(Body::CreditsMoved(Box::new(entry)));
            self.append_due(piece, log_time, None);
        }
    }
}

/// The event must be of the customer that the reservation is for, and count for its meter.
fn refuse_other(reservation: &Reservation, prepared: &Prepared) -> Result<(), Refused> {
    let customer = reservation.pool.customer;
    let is_own = prepared.customers.iter().all(|named| match named {
        PreparedCustomer::Known(index) => *index == customer,
        PreparedCustomer::Unknown { .. } => false,
    });
    if !is_own {
        return Err(Refused::Invalid {
            field: "event.customer_id".to_owned(),
            message: "must be the customer that the reservation is for".to_owned(),
        });
    }
    let counts = prepared.contributions_of(0).iter().any(|contribution| {
        contribution.meter == reservation.meter && contribution.outcome.is_ok()
    });
    if counts {
        return Ok(());
    }
    Err(Refused::Invalid {
        field: "event".to_owned(),
        message: "the meter that the reservation is for does not count this event".to_owned(),
    })
}
