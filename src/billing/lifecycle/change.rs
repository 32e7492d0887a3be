//! Changes of plan: another price, another quantity, now or at the next boundary.

use std::sync::Arc;

use super::{Cut, Refusal, check_active, check_not_ended, running};
use crate::billing::calendar::boundary;
use crate::model::plan::ScheduledChange;
use crate::model::{Plan, ProrationMode, Share, Subscription, Timestamp};

/// The subscription under another plan from `cut.at` on. The running segment is cut and its usage billed
/// at the old price. A mode that keeps the cycle keeps its boundaries, and what was used of free units
/// and tiers; else a new cycle begins. A trial ends, unless nothing is billed.
///
/// When the product is another one, the subscription lasts from now on at least as long as one of that
/// product does.
///
/// # Errors
/// What [`check_changeable`] refuses.
pub fn change_plan(
    subscription: &Subscription,
    plan: &Plan,
    mode: ProrationMode,
    cut: Cut,
) -> Result<Subscription, Refusal> {
    check_changeable(subscription)?;
    change_running(subscription, plan, mode, cut)
}

/// The same of a subscription that may have unpaid invoices.
///
/// # Errors
/// [`Refusal::NotLive`] when no segment is running.
pub(super) fn change_running(
    subscription: &Subscription,
    plan: &Plan,
    mode: ProrationMode,
    cut: Cut,
) -> Result<Subscription, Refusal> {
    running(subscription)?;
    let keeps_trial = subscription.in_trial && mode == ProrationMode::DoNotBill;
    let continues = mode.keeps_cycle() && (keeps_trial || !subscription.in_trial);
    let mut next = subscription.clone();
    next.cut_running(cut, !continues);
    let old_interval = next.cycle.interval;
    next.take_plan(plan, cut.at);
    let cycle = &mut next.cycle;
    if mode.keeps_cycle() {
        if cycle.interval != old_interval {
            cycle.anchor_at(cycle.next_billing_date);
        }
    } else {
        cycle.anchor = cut.at;
        cycle.next_boundary = 1;
        cycle.previous_billing_date = cut.at;
        cycle.paused = std::time::Duration::ZERO;
    }
    cycle.next_billing_date = cycle.next_end();
    next.run(cut.end.max(cut.at), continues);
    next.in_trial = keeps_trial;
    Ok(next)
}

/// Whether the plan can be changed now.
///
/// # Errors
/// [`Refusal::NotLive`] unless it is active, [`Refusal::OnDemand`], [`Refusal::ChangePending`],
/// [`Refusal::ChangeScheduled`].
pub fn check_changeable(subscription: &Subscription) -> Result<(), Refusal> {
    check_active(subscription)?;
    if !subscription.cycle.renews {
        return Err(Refusal::OnDemand);
    }
    if subscription.pending_change.is_some() {
        return Err(Refusal::ChangePending);
    }
    if subscription.scheduled_change.is_some() {
        return Err(Refusal::ChangeScheduled);
    }
    running(subscription).map(drop)
}

/// The subscription that changes its plan at its next boundary.
///
/// # Errors
/// What [`check_changeable`] refuses, and [`Refusal::Ending`].
pub fn schedule_change(
    subscription: &Subscription,
    change: ScheduledChange,
) -> Result<Subscription, Refusal> {
    check_changeable(subscription)?;
    if subscription.cancel_at_next_billing_date
        || subscription.cycle.expires_at <= subscription.cycle.next_billing_date
    {
        return Err(Refusal::Ending);
    }
    Ok(Subscription { scheduled_change: Some(Box::new(change)), ..subscription.clone() })
}

/// The subscription that keeps its plan at its next boundary.
///
/// # Errors
/// [`Refusal::NotLive`] when it has ended.
pub fn cancel_scheduled_change(subscription: &Subscription) -> Result<Subscription, Refusal> {
    check_not_ended(subscription)?;
    Ok(Subscription { scheduled_change: None, ..subscription.clone() })
}

/// The part of the running period that is left at `at`; pauses are no part of it.
pub fn unused(subscription: &Subscription, at: Timestamp) -> Share {
    let cycle = &subscription.cycle;
    let whole = cycle.next_billing_date.since(cycle.previous_billing_date);
    let whole = whole.saturating_sub(cycle.paused).max(super::INSTANT);
    Share { part: cycle.next_billing_date.since(at).min(whole), whole }
}

impl Subscription {
    /// Takes over price, quantity and interval. One of another product lasts as long from `at` on as that
    /// product's do, unless it lasts longer already.
    pub(super) fn take_plan(&mut self, plan: &Plan, at: Timestamp) {
        if plan.terms.product != self.terms.product {
            let end = boundary(at, plan.subscription_period, 1).unwrap_or(self.cycle.expires_at);
            if end > self.cycle.expires_at {
                self.cycle.term_start = at;
                self.cycle.expires_at = end;
                self.subscription_period = plan.subscription_period;
            }
        }
        self.terms = plan.terms;
        self.quantity = plan.quantity;
        self.credits = Arc::clone(&plan.credits);
        self.cycle.interval = plan.interval;
    }
}
