//! Which events a change is: pure, and the one place that says so.

use std::sync::Arc;

use crate::model::credit::TransactionType;
use crate::model::invoice::ChargeType;
use crate::model::{EventType, Payment, PaymentStatus, Subscription, SubscriptionStatus};

/// What a payment that was just made or marked tells.
pub fn of_payment(payment: &Payment) -> EventType {
    match payment.status {
        PaymentStatus::Processing => EventType::PaymentProcessing,
        PaymentStatus::Succeeded => EventType::PaymentSucceeded,
        PaymentStatus::Failed => EventType::PaymentFailed,
    }
}

/// Whether a payment that was just made or marked renews its subscription: the money for a further cycle
/// is there. A close that bills usage alone renews nothing.
pub fn renews(payment: &Payment) -> bool {
    let renews = match payment.charge_type {
        Some(ChargeType::Renewal) => payment.service_period.is_some(),
        Some(ChargeType::New | ChargeType::PlanChange | ChargeType::OnDemand) | None => false,
    };
    renews && payment.status == PaymentStatus::Succeeded
}

/// All that can happen to credits.
pub const OF_CREDITS: &[EventType] = &[
    EventType::CreditAdded,
    EventType::CreditDeducted,
    EventType::CreditExpired,
    EventType::CreditRolledOver,
    EventType::CreditRolloverForfeited,
    EventType::CreditOverageCharged,
    EventType::CreditOverageReset,
    EventType::CreditManualAdjustment,
    EventType::CreditBalanceLow,
];

/// What a row of a ledger tells.
pub fn of_ledger(transaction: TransactionType) -> EventType {
    match transaction {
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

/// What a subscription tells that was so before, and is so now: what has happened to it, and, unless it is
/// new, that anything has changed that it shows.
pub fn of_subscription(
    before: Option<&Subscription>,
    after: &Subscription,
) -> impl Iterator<Item = EventType> + use<> {
    let is_updated = before.is_some_and(|before| !shows_the_same(before, after));
    let is_changed = before.is_some_and(|before| plan(before) != plan(after));
    let unpaused = before.is_some_and(is_paused) && goes_on(after);
    let events = [
        unpaused.then_some(EventType::SubscriptionUnpaused),
        passage(before.map(|before| before.status), after.status),
        is_changed.then_some(EventType::SubscriptionPlanChanged),
        is_updated.then_some(EventType::SubscriptionUpdated),
    ];
    events.into_iter().flatten()
}

fn plan(subscription: &Subscription) -> impl PartialEq + use<> {
    (subscription.terms, subscription.quantity)
}

fn is_paused(subscription: &Subscription) -> bool {
    subscription.status == SubscriptionStatus::Paused
}

/// Whether it runs.
fn goes_on(subscription: &Subscription) -> bool {
    match subscription.status {
        SubscriptionStatus::Active | SubscriptionStatus::OnHold | SubscriptionStatus::PastDue => {
            true
        }
        SubscriptionStatus::Pending
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Cancelled
        | SubscriptionStatus::Expired => false,
    }
}

/// What coming to a status tells; one that waits for its first payment tells nothing.
fn passage(before: Option<SubscriptionStatus>, after: SubscriptionStatus) -> Option<EventType> {
    if before == Some(after) {
        return None;
    }
    match after {
        SubscriptionStatus::Pending => None,
        // Going on after a pause has its own name.
        SubscriptionStatus::Active if before == Some(SubscriptionStatus::Paused) => None,
        SubscriptionStatus::Active => Some(EventType::SubscriptionActive),
        SubscriptionStatus::OnHold => Some(EventType::SubscriptionOnHold),
        SubscriptionStatus::PastDue => Some(EventType::SubscriptionPastDue),
        SubscriptionStatus::Paused => Some(EventType::SubscriptionPaused),
        SubscriptionStatus::Cancelled => Some(EventType::SubscriptionCancelled),
        SubscriptionStatus::Expired => Some(EventType::SubscriptionExpired),
    }
}

/// Whether two states of a subscription look the same to a client: what only billing knows is left out.
fn shows_the_same(before: &Subscription, after: &Subscription) -> bool {
    let Subscription {
        id,
        index,
        customer,
        terms,
        quantity,
        credits,
        status,
        cycle,
        subscription_period,
        trial_days,
        running: _,
        closing: _,
        next_segment: _,
        period_opened_by: _,
        cancel_at_next_billing_date,
        in_trial: _,
        paused_at,
        past_due_until,
        scheduled_change,
        pending_change: _,
        used: _,
        credit,
        cancellation,
        unpaid: _,
        stopped: _,
        first_payment,
        billing,
        customer_business_name,
        tax_id,
        metadata,
        created_at,
    } = before;
    let dates = |subscription: &Subscription| {
        let cycle = &subscription.cycle;
        let period = subscription.subscription_period;
        (cycle.previous_billing_date, cycle.next_billing_date, cycle.expires_at, period)
    };
    // What follows from the rest, or never changes.
    let _ =
        (id, index, customer, cycle, subscription_period, trial_days, first_payment, created_at);
    dates(before) == dates(after)
        && (*terms, *quantity, *status) == (after.terms, after.quantity, after.status)
        && cycle.interval == after.cycle.interval
        && (Arc::ptr_eq(credits, &after.credits) || *credits == after.credits)
        && *cancel_at_next_billing_date == after.cancel_at_next_billing_date
        && (*paused_at, *past_due_until) == (after.paused_at, after.past_due_until)
        && *scheduled_change == after.scheduled_change
        && *credit == after.credit
        && *cancellation == after.cancellation
        && *billing == after.billing
        && *customer_business_name == after.customer_business_name
        && *tax_id == after.tax_id
        && *metadata == after.metadata
}
