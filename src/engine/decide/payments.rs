//! What becomes of payments that somebody else collects.

use std::sync::Arc;

use crate::billing;
use crate::engine::bills;
use crate::engine::command::billing::Mark;
use crate::engine::command::{Outcome, Refused};
use crate::engine::invoicing::{Numbers, first_status};
use crate::engine::record::{Body, ClosedEntry, MarkedEntry};
use crate::engine::shared::Shared;
use crate::model::invoice::{ChargeType, PaymentFailure, PaymentStatus};
use crate::model::{Causes, Payment, PaymentId, Subscription};

use super::subscriptions::{cut, refuse_overdue, refuse_without_time, refused};
use super::{Moment, Plan};

/// The payment with this id. Its row may have to be read: payments are marked one at a time.
pub(super) fn find(id: &PaymentId, shared: &Shared) -> Result<Arc<Payment>, Refused> {
    let found = bills::payment_by_id(shared, id).map_err(|error| {
        tracing::error!(error = %Causes(&error), "read a payment");
        Refused::Busy
    })?;
    found.ok_or(Refused::NotFound("payment"))
}

/// The subscription that a payment belongs to, when nothing stands in the way of a change of it; a
/// cart has none.
fn subscription_of(
    payment: &Payment,
    moment: Moment<'_>,
) -> Result<Option<Arc<Subscription>>, Refused> {
    let Some(index) = payment.subscription else { return Ok(None) };
    let found = moment.shared.state.with_books(|books| books.subscription(index).cloned());
    let found = found.ok_or(Refused::NotFound("subscription"))?;
    refuse_overdue(&found, moment.at)?;
    Ok(Some(found))
}

/// What a payment's success or failure does to its subscription.
fn settled(
    before: &Subscription,
    payment: &Payment,
    mark: &Mark,
    moment: Moment<'_>,
) -> Result<Subscription, Refused> {
    match mark {
        Mark::Succeeded => {
            let cut = cut(before, moment);
            let paid = billing::payment_succeeded(before, payment.invoice, cut).map_err(refused)?;
            refuse_without_time(&paid)?;
            Ok(paid)
        }
        Mark::Failed { .. } => {
            let past_due = moment.shared.options.past_due;
            let until = past_due.map(|past_due| moment.at.plus(past_due.grace));
            Ok(billing::payment_failed(before, payment.invoice, until))
        }
    }
}

/// Says what became of a payment that waited.
pub(super) fn mark(id: &PaymentId, mark: &Mark, moment: Moment<'_>) -> Result<Plan, Refused> {
    let Moment { shared, at, identity } = moment;
    let payment = find(id, shared)?;
    match payment.status {
        PaymentStatus::Processing => {}
        PaymentStatus::Succeeded | PaymentStatus::Failed => {
            let message = "this payment does not wait: it has succeeded or failed already";
            return Err(Refused::Conflict(message.to_owned()));
        }
    }
    let before = subscription_of(&payment, moment)?;
    let after =
        before.as_ref().map(|before| settled(before, &payment, mark, moment)).transpose()?;
    let (status, failure) = match mark {
        Mark::Succeeded => (PaymentStatus::Succeeded, PaymentFailure::default()),
        Mark::Failed { code, message } => {
            let failure = PaymentFailure { code: code.clone(), message: message.clone() };
            (PaymentStatus::Failed, failure)
        }
    };
    let begun = before
        .zip(after.as_ref())
        .filter(|(before, after)| before.next_segment == 0 && after.next_segment > 0);
    let renewal = begun.and_then(|(_, after)| billing::first_renewal(after));
    let payment = Arc::new(Payment {
        status,
        failure,
        updated_at: at,
        service_period: renewal.map(|renewal| renewal.period).or(payment.service_period),
        ..Payment::clone(&payment)
    });
    let outcome = Outcome::Payment(Arc::clone(&payment));
    let marked = MarkedEntry { payment, subscription: after.map(Arc::new), identity };
    Ok(Plan { bodies: vec![Body::PaymentMarked(Box::new(marked))], outcome })
}

/// Tries a payment that has failed again: another payment of the same invoice.
pub(super) fn retry(id: &PaymentId, moment: Moment<'_>) -> Result<Plan, Refused> {
    let Moment { shared, at, identity } = moment;
    let failed = find(id, shared)?;
    let newest = shared.state.with_books(|books| {
        books.payments.invoice_head(failed.invoice).and_then(|invoice| invoice.payment)
    });
    if failed.status != PaymentStatus::Failed || newest != Some(failed.index) {
        let message =
            "only the newest payment of an invoice can be retried, and only once it failed";
        return Err(Refused::Conflict(message.to_owned()));
    }
    if failed.charge_type == Some(ChargeType::PlanChange) {
        let subscription = subscription_of(&failed, moment)?;
        if subscription.is_none_or(|found| !found.unpaid.contains(&failed.invoice)) {
            let message =
                "the change of plan that this payment was for was dropped; ask for it again";
            return Err(Refused::Conflict(message.to_owned()));
        }
    }
    let payment = Arc::new(Payment {
        id: PaymentId::new(moment.new_id("pay")),
        index: Numbers::next(shared).take_payment(),
        status: first_status(shared, failed.total),
        failure: PaymentFailure::default(),
        retry_attempt: failed.retry_attempt + 1,
        created_at: at,
        updated_at: at,
        ..Payment::clone(&failed)
    });
    let subscription = match payment.status {
        PaymentStatus::Succeeded => {
            let before = subscription_of(&payment, moment)?;
            let paid = before.map(|before| settled(&before, &payment, &Mark::Succeeded, moment));
            paid.transpose()?.map(Arc::new)
        }
        PaymentStatus::Processing | PaymentStatus::Failed => None,
    };
    let outcome = Outcome::Payment(Arc::clone(&payment));
    let entry = ClosedEntry { payment, invoice: None, subscription, identity };
    Ok(Plan { bodies: vec![Body::CycleClosed(Box::new(entry))], outcome })
}
