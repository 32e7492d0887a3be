//! Pauses: a subscription stands still, and its dates move by as much.

use super::{Cut, Refusal, check_active};
use crate::model::{Subscription, SubscriptionStatus, Timestamp};

/// The subscription paused now. Usage before the cut is still billed, without a fixed price; its period
/// goes on when it is resumed.
///
/// # Errors
/// [`Refusal::NotLive`] unless it is active, [`Refusal::ChangePending`].
pub fn pause(subscription: &Subscription, cut: Cut) -> Result<Subscription, Refusal> {
    check_active(subscription)?;
    if subscription.pending_change.is_some() {
        return Err(Refusal::ChangePending);
    }
    let mut next = subscription.clone();
    next.cut_running(cut, false);
    next.status = SubscriptionStatus::Paused;
    next.paused_at = Some(cut.at);
    Ok(next)
}

/// The subscription that goes on at `cut.at`: its next boundary and its end lie as much later as it was
/// paused, and the cycle is anchored at that boundary. With an unpaid invoice it is on hold.
///
/// # Errors
/// [`Refusal::NotLive`] unless it is paused, [`Refusal::OutOfRange`].
pub fn resume(subscription: &Subscription, cut: Cut) -> Result<Subscription, Refusal> {
    let paused_at = subscription.paused_at.ok_or(Refusal::NotLive(subscription.status))?;
    let pause = cut.at.since(paused_at);
    let later = |instant: Timestamp| {
        let moved = instant.plus(pause);
        (moved < Timestamp::MAX).then_some(moved).ok_or(Refusal::OutOfRange)
    };
    let mut next = subscription.clone();
    let cycle = &mut next.cycle;
    cycle.expires_at = later(cycle.expires_at)?;
    cycle.term_start = later(cycle.term_start)?;
    cycle.paused = cycle.paused.saturating_add(pause);
    if cycle.renews {
        cycle.anchor_at(later(cycle.next_billing_date)?);
    } else {
        cycle.next_billing_date = cycle.expires_at;
    }
    next.paused_at = None;
    next.status = if next.unpaid.is_empty() {
        SubscriptionStatus::Active
    } else {
        SubscriptionStatus::OnHold
    };
    // Under a clock that stands still the cut of the pause lies just behind the present.
    let after = next.closing.last().map_or(cut.at, |closing| closing.segment.period.end);
    next.run(cut.at.max(after), true);
    Ok(next)
}
