//! Dates of a subscription that somebody moves.

use super::{Refusal, check_not_ended, running};
use crate::billing::calendar::boundary;
use crate::model::price::Interval;
use crate::model::{Subscription, Timestamp};

/// The subscription with its next boundary at `to`, where its cycle is anchored from then on; when
/// it ends is not changed.
///
/// # Errors
/// [`Refusal::NotLive`] when no segment is running, [`Refusal::NotInTheFuture`],
/// [`Refusal::AfterExpiry`], [`Refusal::OnDemand`].
pub fn move_next_billing_date(
    subscription: &Subscription,
    to: Timestamp,
    now: Timestamp,
) -> Result<Subscription, Refusal> {
    if !subscription.cycle.renews && subscription.running.is_some() {
        return Err(Refusal::OnDemand);
    }
    end_period_at(subscription, to, now)
}

/// The subscription that was charged on demand and renews from now on, for the first time at `to`, where its
/// cycle is anchored; when it ends is not changed.
///
/// # Errors
/// [`Refusal::NotLive`] when no segment is running, [`Refusal::NotOnDemand`],
/// [`Refusal::NotInTheFuture`], [`Refusal::AfterExpiry`].
pub fn renew(
    subscription: &Subscription,
    to: Timestamp,
    now: Timestamp,
) -> Result<Subscription, Refusal> {
    if subscription.cycle.renews && subscription.running.is_some() {
        return Err(Refusal::NotOnDemand);
    }
    let mut next = subscription.clone();
    next.cycle.renews = true;
    end_period_at(&next, to, now)
}

fn end_period_at(
    subscription: &Subscription,
    to: Timestamp,
    now: Timestamp,
) -> Result<Subscription, Refusal> {
    let mut segment = running(subscription)?;
    if to <= now || to <= segment.period.start {
        return Err(Refusal::NotInTheFuture);
    }
    if subscription.cycle.expires_at < to {
        return Err(Refusal::AfterExpiry);
    }
    segment.period.end = to;
    let mut next = subscription.clone();
    next.cycle.anchor_at(to);
    next.running = Some(segment);
    Ok(next)
}

/// The subscription that lasts longer, counted from where its time began. A running segment that
/// would have been cut at its end now ends later.
///
/// # Errors
/// [`Refusal::NotLive`] when it has ended, [`Refusal::NotLonger`], [`Refusal::OutOfRange`].
pub fn extend(subscription: &Subscription, period: Interval) -> Result<Subscription, Refusal> {
    check_not_ended(subscription)?;
    let expires_at = boundary(subscription.cycle.term_start, period, 1);
    let expires_at = expires_at.ok_or(Refusal::OutOfRange)?;
    if expires_at <= subscription.cycle.expires_at {
        return Err(Refusal::NotLonger);
    }
    let mut next = subscription.clone();
    next.subscription_period = period;
    next.cycle.expires_at = expires_at;
    next.cycle.next_billing_date = next.cycle.next_end();
    if let Some(segment) = &mut next.running {
        segment.period.end = next.cycle.next_billing_date;
    }
    Ok(next)
}
