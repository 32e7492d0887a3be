//! What becomes of a subscription when payments of its invoices fail or succeed.

use super::change::change_running;
use super::{Cut, Refusal, activate, has_begun, has_ended};
use crate::model::subscription::CancelReason;
use crate::model::{InvoiceNumber, Money, Subscription, SubscriptionStatus, Timestamp};

/// What happens to a subscription whose time to pay is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastDueEnd {
    /// It is put on hold.
    Hold,
    /// It is cancelled.
    Cancel,
}

/// The subscription after the payment of this invoice has failed: one that runs is past due until the
/// given instant, or on hold when there is none. A change of plan that waited for this payment is
/// dropped, and nothing else happens; one that has ended only remembers the invoice.
pub fn payment_failed(
    subscription: &Subscription,
    invoice: InvoiceNumber,
    past_due_until: Option<Timestamp>,
) -> Subscription {
    let mut next = subscription.clone();
    if let Some(pending) = next.pending_change.take_if(|pending| pending.invoice == invoice) {
        next.give_back(&[pending.credit]);
        return next;
    }
    if !next.unpaid.contains(&invoice) {
        next.unpaid.push(invoice);
    }
    match next.status {
        SubscriptionStatus::Active => {
            next.past_due_until = past_due_until;
            next.status = match past_due_until {
                Some(_) => SubscriptionStatus::PastDue,
                None => SubscriptionStatus::OnHold,
            };
        }
        SubscriptionStatus::Pending | SubscriptionStatus::Paused => {
            next.status = SubscriptionStatus::OnHold;
        }
        SubscriptionStatus::OnHold
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Cancelled
        | SubscriptionStatus::Expired => {}
    }
    next
}

/// The subscription after this invoice was paid: one that has not begun begins at `cut.at`, and one of
/// which nothing else is unpaid is active again, or paused as it was.
///
/// A change of plan that waited for this takes effect, whatever else is unpaid: the money for it is there.
/// When the subscription has ended, that money becomes its own, for what is still to be billed of it.
///
/// # Errors
/// [`Refusal::OutOfRange`] when it would begin.
pub fn payment_succeeded(
    subscription: &Subscription,
    invoice: InvoiceNumber,
    cut: Cut,
) -> Result<Subscription, Refusal> {
    let mut next = subscription.clone();
    next.unpaid.retain(|unpaid| *unpaid != invoice);
    if !has_ended(&next) && !has_begun(&next) {
        return activate(&next, cut.at);
    }
    if let Some(pending) = next.pending_change.take_if(|pending| pending.invoice == invoice) {
        if has_ended(&next) {
            next.give_back(&[pending.credit, pending.total]);
            return Ok(next);
        }
        return change_running(&next, &pending.plan, pending.mode, cut);
    }
    let waits = match next.status {
        SubscriptionStatus::OnHold | SubscriptionStatus::PastDue => true,
        SubscriptionStatus::Pending
        | SubscriptionStatus::Active
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Cancelled
        | SubscriptionStatus::Expired => false,
    };
    if waits && next.unpaid.is_empty() {
        next.past_due_until = None;
        next.status = match next.paused_at {
            Some(_) => SubscriptionStatus::Paused,
            None => SubscriptionStatus::Active,
        };
    }
    Ok(next)
}

/// The subscription whose time to pay is over.
///
/// # Errors
/// [`Refusal::NotLive`] when it is not past due.
pub fn end_past_due(
    subscription: &Subscription,
    end: PastDueEnd,
    cut: Cut,
) -> Result<Subscription, Refusal> {
    if subscription.status != SubscriptionStatus::PastDue {
        return Err(Refusal::NotLive(subscription.status));
    }
    let mut next = subscription.clone();
    next.past_due_until = None;
    match end {
        PastDueEnd::Hold => next.status = SubscriptionStatus::OnHold,
        PastDueEnd::Cancel => {
            next.cut_running(cut, true);
            next.end_as(SubscriptionStatus::Cancelled);
            next.cancellation.at = Some(cut.at);
            next.cancellation.reason = Some(CancelReason::CancelledByMerchantGracePeriodExpired);
        }
    }
    Ok(next)
}

impl Subscription {
    /// Lets money that bought nothing pay for later invoices; what 64 bits do not hold is left out.
    fn give_back(&mut self, amounts: &[Money]) {
        for amount in amounts {
            let credit = self.credit.checked_add(*amount);
            self.credit = credit.unwrap_or(Money::from_minor(i64::MAX));
        }
    }
}
