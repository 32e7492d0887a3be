//! What a change leaves behind: decided against the state, with nothing in flight.

mod alerts;
mod attachments;
mod carts;
mod checkouts;
mod credit_terms;
mod customers;
mod entitlements;
mod entries;
mod keys;
pub(in crate::engine) mod meters;
mod payments;
mod plans;
mod products;
mod reservations;
mod subscriptions;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use crate::engine::ClockState;
use crate::engine::command::billing::PlanChange;
use crate::engine::command::{Changed, Command, Outcome, Refused, RequestIdentity};
use crate::engine::record::{Body, Change, ChangeEntry, Identity};
use crate::engine::replies::{KeptAnswer, Recognised, Reply};
use crate::engine::shared::Shared;
use crate::model::id::generated;
use crate::model::{Lsn, SubscriptionId, Timestamp};
use crate::world::entropy::draw;
use crate::world::sabotage::{self, Sabotage};

pub use plans::Quote;
pub use products::new_price;
pub use reservations::{OVER, find as find_reservation, is_over};

/// How far the wall clock may be behind log time before due work waits.
pub const CLOCK_BEHIND_MAX: Duration = Duration::from_mins(5);

/// A change that is asked for.
#[derive(Debug)]
pub struct Proposal {
    /// The change.
    pub command: Command,
    /// What a repetition is recognised by.
    pub identity: Option<RequestIdentity>,
}

impl Proposal {
    /// Whether it says that the wall clock is right.
    pub fn confirms_clock(&self) -> bool {
        matches!(self.command, Command::ConfirmClock)
    }
}

/// What becomes of a proposal.
#[derive(Debug)]
pub enum Decision {
    /// It repeats an earlier request; this was the answer.
    Repeat(Box<Changed>),
    /// These records are to be logged, in one group.
    Apply(Box<Plan>),
    /// Log time is to be set, once everything is done that is due before.
    SetClock(Box<ClockMove>),
}

/// What a command comes to.
#[derive(Debug)]
pub struct Plan {
    /// The records, of the time of the decision.
    pub bodies: Vec<Body<'static>>,
    /// The answer.
    pub outcome: Outcome,
}

/// Log time is set.
#[derive(Debug)]
pub struct ClockMove {
    /// To this.
    pub log_time: Timestamp,
    /// What a repetition is recognised by.
    pub identity: Option<Identity>,
    /// The answer.
    pub outcome: Outcome,
}

/// What decides on a command, with the time and the state that it is decided at.
#[derive(Clone, Copy, Debug)]
struct Moment<'s> {
    shared: &'s Shared,
    /// The log time of the decision.
    at: Timestamp,
    /// What the records' request is recognised by.
    identity: Option<Identity>,
}

impl Moment<'_> {
    /// An id that was never given before.
    fn new_id(&self, prefix: &str) -> Arc<str> {
        generated(prefix, draw(&*self.shared.world.entropy))
    }
}

impl Plan {
    /// One object is changed.
    fn change(change: Change, identity: Option<Identity>) -> Result<Self, Refused> {
        let outcome = change.outcome().ok_or(Refused::Busy)?;
        Ok(Self { bodies: vec![Body::Change(ChangeEntry { change, identity })], outcome })
    }
}

/// How far the decided records go, which the state may not know of yet.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// The log time of the decision: that of the last record or the clock's, whichever is later.
    pub at: Timestamp,
    /// The log time of the last record.
    pub log_time: Timestamp,
    /// What lies before is closed, or will be by the checkpoint that is being made.
    pub closed_through: Timestamp,
}

/// Decides on a proposal.
///
/// # Errors
/// Why it is refused; nothing changes then.
pub fn decide(proposal: &Proposal, shared: &Shared, marks: Marks) -> Result<Decision, Refused> {
    let at = marks.at;
    if let Some(changed) = repeated(proposal.identity.as_ref(), shared, marks)? {
        return Ok(Decision::Repeat(Box::new(changed)));
    }
    let moment = Moment { shared, at, identity: proposal.identity.map(Into::into) };
    plan(&proposal.command, moment, marks)
}

/// The answer to the request that this one repeats, when there was one.
///
/// # Errors
/// When its `Idempotency-Key` was used with another body.
pub fn repeated(
    identity: Option<&RequestIdentity>,
    shared: &Shared,
    marks: Marks,
) -> Result<Option<Changed>, Refused> {
    let Some(identity) = identity.filter(|_| !sabotage::is(Sabotage::RetryDedupe)) else {
        return Ok(None);
    };
    // A time in doubt makes no answer old.
    let now = if shared.clock_in_doubt() { marks.log_time } else { marks.at };
    match shared.state.with_replies(|replies| replies.recognise(identity, now)) {
        Recognised::New => Ok(None),
        Recognised::KeyReused => Err(Refused::IdempotencyKeyReused),
        Recognised::Repeated(lsn, reply) => repeat(lsn, &reply, shared).map(Some),
    }
}

/// What a change of plan would come to at `at`; nothing is changed.
///
/// # Errors
/// Why it would be refused.
pub fn preview(
    id: &SubscriptionId,
    change: &PlanChange,
    shared: &Shared,
    at: Timestamp,
) -> Result<Quote, Refused> {
    plans::preview(id, change, Moment { shared, at, identity: None })
}

fn plan(command: &Command, moment: Moment<'_>, marks: Marks) -> Result<Decision, Refused> {
    let Moment { shared, at, identity } = moment;
    let state = &shared.state;
    let change = match command {
        Command::CreateMeter(new) => {
            Change::Meter(meters::create_meter(new, state, moment.new_id("mtr"), at)?)
        }
        Command::UpdateMeter(id, patch) => {
            Change::Meter(meters::update_meter(id, patch, state, at)?)
        }
        Command::ArchiveMeter(id) => Change::Meter(meters::set_archived(id, true, state, at)?),
        Command::UnarchiveMeter(id) => Change::Meter(meters::set_archived(id, false, state, at)?),
        Command::CreateCustomer(new) => {
            Change::Customer(customers::create_customer(new, state, moment.new_id("cus"), at)?)
        }
        Command::UpdateCustomer(id, patch) => {
            Change::Customer(customers::update_customer(id, patch, state, at)?)
        }
        Command::CreateKey(new) => Change::Key(keys::create_key(new, state, at)?),
        Command::DeleteKey(id) => Change::Key(keys::delete_key(id, state, at)?),
        Command::CreateProduct(new) => Change::Product(products::create(new, moment)?),
        Command::UpdateProduct(id, patch) => Change::Product(products::update(id, patch, moment)?),
        Command::ArchiveProduct(id) => Change::Product(products::set_archived(id, true, moment)?),
        Command::UnarchiveProduct(id) => {
            Change::Product(products::set_archived(id, false, moment)?)
        }
        Command::CreateEntitlement(new) => Change::Entitlement(entitlements::create(new, moment)?),
        Command::UpdateEntitlement(id, patch) => {
            Change::Entitlement(entitlements::update(id, patch, moment)?)
        }
        Command::DeleteEntitlement(id) => Change::Entitlement(entitlements::delete(id, moment)?),
        Command::UndeleteEntitlement(id) => {
            Change::Entitlement(entitlements::undelete(id, moment)?)
        }
        Command::CreateAlert(new) => Change::Alert(alerts::create(new, moment)?),
        Command::DeleteAlert(id) => Change::Alert(alerts::delete(id, shared)?),
        Command::UpdateSubscription(id, patch) => {
            Change::Subscription(subscriptions::update(id, patch, moment)?)
        }
        Command::CancelScheduledChange(id) => {
            Change::Subscription(plans::cancel_scheduled(id, moment)?)
        }
        Command::ChangePlan(id, change) => return apply(plans::change(id, change, moment)?),
        Command::Charge(id, charge) => return apply(plans::charge(id, charge, moment)?),
        Command::CreateSubscription(new) => return apply(subscriptions::create(new, moment)?),
        Command::CreateCheckout(new) => return apply(checkouts::create(new, moment)?),
        Command::ConfirmCheckout(id, by) => return checkouts::confirm(id, by, moment),
        Command::MarkPayment(id, mark) => return apply(payments::mark(id, mark, moment)?),
        Command::RetryPayment(id) => return apply(payments::retry(id, moment)?),
        Command::EnterCredits(new) => return apply(entries::enter(new, moment)?),
        Command::Reserve(new) => return apply(reservations::reserve(new, moment)?),
        Command::ReleaseReservation(id) => return reservations::release(id, moment),
        Command::Webhook(command) => webhooks::decide(command, moment)?,
        Command::AdvanceClock(to) => {
            let to = advance_clock(*to, shared, at)?;
            return Ok(Decision::SetClock(Box::new(moment.clock(to, to))));
        }
        Command::ConfirmClock => {
            let (wall, log_time) = (shared.world.clock.wall(), confirm_clock(shared, marks));
            return Ok(Decision::SetClock(Box::new(moment.clock(wall, log_time))));
        }
    };
    apply(Plan::change(change, identity)?)
}

#[expect(clippy::unnecessary_wraps, reason = "every command's way ends in a result")]
fn apply(plan: Plan) -> Result<Decision, Refused> {
    Ok(Decision::Apply(Box::new(plan)))
}

fn repeat(lsn: Lsn, reply: &Reply, shared: &Shared) -> Result<Changed, Refused> {
    let outcome = match &reply.answer {
        KeptAnswer::Clock => Outcome::Clock(clock_state(shared, reply.log_time, reply.log_time)),
        KeptAnswer::Change(change) => change.outcome().ok_or(Refused::Busy)?,
        KeptAnswer::LedgerEntry(pool) => Outcome::LedgerEntry(*pool),
        KeptAnswer::Reservation(id) => Outcome::Reservation(reservations::find(id, shared)?),
        KeptAnswer::Payment(id) => Outcome::Payment(payments::find(id, shared)?),
    };
    Ok(Changed { outcome, replayed: true, lsn })
}

impl Moment<'_> {
    fn clock(&self, now: Timestamp, log_time: Timestamp) -> ClockMove {
        let outcome = Outcome::Clock(clock_state(self.shared, now, log_time));
        ClockMove { log_time, identity: self.identity, outcome }
    }
}

fn clock_state(shared: &Shared, now: Timestamp, log_time: Timestamp) -> ClockState {
    ClockState { now, log_time, is_test: shared.is_test_clock(), in_doubt: false }
}

/// Where a test clock goes: never behind log time, which a commit takes a nanosecond beyond it.
fn advance_clock(to: Timestamp, shared: &Shared, at: Timestamp) -> Result<Timestamp, Refused> {
    if !shared.is_test_clock() {
        return Err(Refused::Conflict("only a test clock can be moved".to_owned()));
    }
    let now = shared.world.clock.wall();
    if to < now {
        return Err(Refused::Invalid {
            field: "to".to_owned(),
            message: format!("the test clock only moves forward; it stands at {now}"),
        });
    }
    Ok(to.max(at))
}

/// Log time after the wall clock was confirmed: set back to it when it is far behind, but never to
/// where a closed period would open again.
fn confirm_clock(shared: &Shared, marks: Marks) -> Timestamp {
    let wall = shared.world.clock.wall();
    if wall.plus(CLOCK_BEHIND_MAX) >= marks.log_time {
        return marks.log_time.max(wall);
    }
    let billing = shared.state.billing_marks();
    let lowest = marks.closed_through.plus(shared.options.grace).max(billing.due_through);
    wall.max(lowest).min(marks.log_time)
}
