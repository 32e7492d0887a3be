//! What webhook endpoints must be told, as a naive model knows it: from every record of the log, what has
//! happened by it, and for whom.
//!
//! Rows of ledgers are told too; which those are is the ledgers' to say, and the check takes them from there.

mod check;
mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quipu::engine::outbox::settle::{Attempt, Next, SettledEntry, Undelivered};
use quipu::engine::record::WebhookChange;
use quipu::model::alert::Crossing;
use quipu::model::credit::TransactionType;
use quipu::model::invoice::ChargeType;
use quipu::model::webhook::Disabled;
use quipu::model::{
    Endpoint, EndpointId, EndpointIndex, EntitlementIndex, EventType, LedgerEntry, Lsn, MessageId,
    Payment, PaymentStatus, Subscription, SubscriptionIndex, SubscriptionStatus, Timestamp,
};

pub(crate) use check::{check_told, resolve_webhook};
pub(crate) use orders::attempt_of;

/// An endpoint that has failed for so long is disabled.
const FAILING_MAX: Duration = Duration::from_hours(5 * 24);

/// What a message tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Payment(Arc<Payment>),
    Subscription(Arc<Subscription>),
    Ledger(Arc<LedgerEntry>),
    Low(SubscriptionIndex, EntitlementIndex),
    Threshold(Crossing),
    Test(EndpointId),
}

/// A message that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) event_type: EventType,
    pub(crate) at: Timestamp,
    pub(crate) to: Vec<EndpointIndex>,
    pub(crate) what: What,
}

/// What became of messages for one endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// Attempts with their places, in the order of the log.
    attempts: Vec<((Lsn, u32), Attempt)>,
    tried: BTreeSet<MessageId>,
    undelivered: BTreeMap<MessageId, Undelivered>,
    /// Times to try again, some of which have lost their sense.
    retries: BTreeSet<(Timestamp, MessageId)>,
}

/// The outbox after a record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    endpoints: BTreeMap<EndpointIndex, Endpoint>,
    /// The endpoints behind each record that has changed any.
    history: Vec<(Lsn, Vec<Endpoint>)>,
    /// By record; rows of ledgers are not among them.
    told: BTreeMap<Lsn, Vec<Message>>,
    sent: BTreeMap<EndpointIndex, Sent>,
    met: BTreeMap<&'static str, u64>,
}

impl Outbox {
    fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    /// How often what was met.
    pub(crate) fn met(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.met.iter().map(|(what, count)| (*what, *count))
    }

    /// Messages that were tried at an endpoint.
    fn tried(&self, id: &EndpointId) -> Vec<MessageId> {
        let found = self.endpoints.values().find(|endpoint| endpoint.id == *id);
        let sent = found.and_then(|endpoint| self.sent.get(&endpoint.index));
        sent.iter().flat_map(|sent| &sent.tried).copied().collect()
    }

    /// Who wanted to know this when a record came.
    fn wanting(&self, lsn: Lsn, event_type: EventType) -> Vec<EndpointIndex> {
        let before = self.history.iter().rev().find(|(changed, _)| *changed < lsn);
        let wants = |endpoint: &&Endpoint| {
            endpoint.disabled != Some(Disabled::ByRequest)
                && endpoint.filter.as_ref().is_none_or(|types| types.contains(&event_type))
        };
        let wanting = before.iter().flat_map(|(_, endpoints)| endpoints).filter(wants);
        wanting.map(|endpoint| endpoint.index).collect()
    }

    pub(crate) fn tell(&mut self, lsn: Lsn, event_type: EventType, at: Timestamp, what: What) {
        let to = self.wanting(lsn, event_type);
        if !to.is_empty() {
            self.told.entry(lsn).or_default().push(Message { event_type, at, to, what });
        }
    }

    pub(crate) fn tell_subscription(
        &mut self,
        lsn: Lsn,
        at: Timestamp,
        before: Option<&Subscription>,
        after: &Arc<Subscription>,
    ) {
        for event_type in events_of(before, after) {
            self.tell(lsn, event_type, at, What::Subscription(Arc::clone(after)));
        }
    }

    /// A payment was made, or marked; the subscription is as it is then.
    pub(crate) fn tell_payment(
        &mut self,
        lsn: Lsn,
        at: Timestamp,
        payment: &Arc<Payment>,
        subscription: Option<&Arc<Subscription>>,
    ) {
        let event_type = match payment.status {
            PaymentStatus::Processing => EventType::PaymentProcessing,
            PaymentStatus::Succeeded => EventType::PaymentSucceeded,
            PaymentStatus::Failed => EventType::PaymentFailed,
        };
        self.tell(lsn, event_type, at, What::Payment(Arc::clone(payment)));
        let is_cycle =
            payment.charge_type == Some(ChargeType::Renewal) && payment.service_period.is_some();
        if let Some(subscription) = subscription
            && is_cycle
            && payment.status == PaymentStatus::Succeeded
        {
            let what = What::Subscription(Arc::clone(subscription));
            self.tell(lsn, EventType::SubscriptionRenewed, at, what);
        }
    }

    pub(crate) fn put_endpoint(&mut self, lsn: Lsn, endpoint: &Endpoint) {
        if endpoint.deleted {
            self.meet("webhook: endpoint deleted");
            self.endpoints.remove(&endpoint.index);
            self.sent.remove(&endpoint.index);
        } else {
            let before = self.endpoints.insert(endpoint.index, endpoint.clone());
            let is_new = before.is_none();
            self.meet(if is_new { "webhook: endpoint made" } else { "webhook: endpoint changed" });
            self.sent.entry(endpoint.index).or_default();
        }
        self.history.push((lsn, self.endpoints.values().cloned().collect()));
    }

    pub(crate) fn apply(&mut self, lsn: Lsn, at: Timestamp, change: &WebhookChange) {
        match change {
            WebhookChange::Tested(endpoint, id) => {
                let what = What::Test(id.clone());
                let (event_type, to) = (EventType::WebhookTest, vec![*endpoint]);
                self.told.entry(lsn).or_default().push(Message { event_type, at, to, what });
            }
            WebhookChange::Requeued { endpoint, messages, due } => {
                self.meet("webhook: sent once more");
                let Some(sent) = self.sent.get_mut(endpoint) else { return };
                for id in messages {
                    sent.undelivered.insert(*id, Undelivered { attempts: 0, due: Some(*due) });
                    sent.retries.insert((*due, *id));
                }
            }
        }
    }

    pub(crate) fn settle(&mut self, lsn: Lsn, entry: &SettledEntry) {
        for (number, attempt) in (0..).zip(&entry.attempts) {
            let Some(endpoint) = self.endpoints.get_mut(&entry.endpoint) else { return };
            let was_disabled = endpoint.disabled.is_some();
            note_health(endpoint, attempt);
            let is_disabled = endpoint.disabled.is_some();
            if is_disabled && !was_disabled {
                self.meet("webhook: endpoint disabled for failing");
            }
            self.meet(match attempt.next {
                Next::Delivered => "webhook: delivered",
                Next::Retry(_) => "webhook: to be tried again",
                Next::GivenUp => "webhook: given up",
            });
            let sent = self.sent.get_mut(&entry.endpoint).expect("it is there");
            sent.attempts.push(((lsn, number), attempt.clone()));
            sent.settle(attempt);
        }
        if let Some(sent) = self.sent.get_mut(&entry.endpoint) {
            sent.retries.retain(|known| !entry.dropped.contains(known));
        }
    }
}

impl Sent {
    fn settle(&mut self, attempt: &Attempt) {
        let id = attempt.message;
        match attempt.due {
            None => assert!(self.tried.insert(id), "{attempt:?} is not the first"),
            Some(due) => self.retries.retain(|known| *known != (due, id)),
        }
        let attempts = attempt.number;
        match attempt.next {
            Next::Delivered if attempt.due.is_none() => {}
            Next::Delivered => drop(self.undelivered.remove(&id)),
            Next::Retry(due) => {
                self.retries.insert((due, id));
                self.undelivered.insert(id, Undelivered { attempts, due: Some(due) });
            }
            Next::GivenUp => {
                self.undelivered.insert(id, Undelivered { attempts, due: None });
            }
        }
    }
}

/// Since when an endpoint fails, and whether that is too long.
fn note_health(endpoint: &mut Endpoint, attempt: &Attempt) {
    if attempt.next == Next::Delivered {
        endpoint.failing_since = None;
        return;
    }
    let since = *endpoint.failing_since.get_or_insert(attempt.at);
    if attempt.at.since(since) >= FAILING_MAX && endpoint.disabled.is_none() {
        endpoint.disabled = Some(Disabled::Failing);
    }
}

/// What a subscription tells that was so before.
fn events_of(before: Option<&Subscription>, after: &Subscription) -> Vec<EventType> {
    let was = before.map(|before| before.status);
    let mut events = Vec::new();
    let stands = match after.status {
        SubscriptionStatus::Pending => None,
        SubscriptionStatus::Active => Some(EventType::SubscriptionActive),
        SubscriptionStatus::OnHold => Some(EventType::SubscriptionOnHold),
        SubscriptionStatus::PastDue => Some(EventType::SubscriptionPastDue),
        SubscriptionStatus::Paused => Some(EventType::SubscriptionPaused),
        SubscriptionStatus::Cancelled => Some(EventType::SubscriptionCancelled),
        SubscriptionStatus::Expired => Some(EventType::SubscriptionExpired),
    };
    let goes_on = [
        EventType::SubscriptionActive,
        EventType::SubscriptionOnHold,
        EventType::SubscriptionPastDue,
    ];
    if was == Some(SubscriptionStatus::Paused) && stands.is_some_and(|now| goes_on.contains(&now)) {
        events.push(EventType::SubscriptionUnpaused);
        events.extend(stands.filter(|event| *event != EventType::SubscriptionActive));
    } else if was != Some(after.status) {
        events.extend(stands);
    }
    if let Some(before) = before {
        if (before.terms, before.quantity) != (after.terms, after.quantity) {
            events.push(EventType::SubscriptionPlanChanged);
        }
        if shown(before) != shown(after) {
            events.push(EventType::SubscriptionUpdated);
        }
    }
    events
}

/// A subscription without what only billing knows of it.
fn shown(of: &Subscription) -> Subscription {
    let mut shown = of.clone();
    (shown.running, shown.closing, shown.next_segment) = (None, Vec::new(), 0);
    (shown.period_opened_by, shown.in_trial, shown.stopped) = Default::default();
    (shown.pending_change, shown.used, shown.unpaid) = Default::default();
    shown.cycle.anchor = Timestamp::MIN;
    shown.cycle.term_start = Timestamp::MIN;
    (shown.cycle.renews, shown.cycle.next_boundary) = Default::default();
    shown.cycle.paused = Duration::ZERO;
    shown
}

/// What a row of a ledger tells.
fn event_of_row(what: TransactionType) -> EventType {
    match what {
        TransactionType::CreditAdded => EventType::CreditAdded,
        TransactionType::CreditDeducted => EventType::CreditDeducted,
        TransactionType::CreditExpired => EventType::CreditExpired,
        TransactionType::CreditRolledOver => EventType::CreditRolledOver,
        TransactionType::RolloverForfeited => EventType::CreditRolloverForfeited,
        TransactionType::OverageCharged => EventType::CreditOverageCharged,
        TransactionType::OverageReset => EventType::CreditOverageReset,
        TransactionType::ManualAdjustment => EventType::CreditManualAdjustment,
    }
}
