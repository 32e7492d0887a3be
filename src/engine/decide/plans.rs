//! What a change of plan, or a charge on demand, leaves behind.

use std::sync::Arc;

use crate::billing::{self, Cut, Prices, Proration, Refusal, charge_bill, prorate};
use crate::engine::command::billing::{Effective, NewCharge, PlanChange};
use crate::engine::command::{Outcome, Refused};
use crate::engine::invoicing::{Billed, Numbers, bill, first_status};
use crate::engine::record::{Body, Change, ClosedEntry};
use crate::engine::shared::Shared;
use crate::model::invoice::{InvoiceCause, PaymentStatus};
use crate::model::plan::{PendingChange, ScheduledChange};
use crate::model::{
    Money, Plan, PlanChangeId, Product, Subscription, SubscriptionId, SubscriptionStatus, Terms,
};

use super::subscriptions::{cut, other_currency, refuse_overdue, refuse_without_time, refused};
use super::{Moment, Plan as Records};

/// A change of plan that could be made now.
#[derive(Debug)]
pub struct Quote {
    /// The subscription as it stands, without a scheduled change that gives way.
    pub before: Subscription,
    /// The subscription as the change would leave it.
    pub after: Subscription,
    /// What it is changed to.
    pub plan: Plan,
    /// What that costs.
    pub proration: Proration,
}

/// What a change of plan would come to now. One that is scheduled is checked like one that is not.
pub(super) fn preview(
    id: &SubscriptionId,
    change: &PlanChange,
    moment: Moment<'_>,
) -> Result<Quote, Refused> {
    let found = existing(id, moment)?;
    let mut quote = quote(&found, change, cut(&found, moment), moment.shared)?;
    if change.effective == Effective::NextBillingDate {
        quote.before = scheduled(&found, change, moment)?;
    }
    Ok(quote)
}

/// What a change of plan would come to if it took effect at `cut`.
fn quote(
    subscription: &Subscription,
    change: &PlanChange,
    cut: Cut,
    shared: &Shared,
) -> Result<Quote, Refused> {
    let mut before = subscription.clone();
    if change.replaces_scheduled {
        before.scheduled_change = None;
    }
    let plan = plan(&before, change, shared)?;
    let after = billing::change_plan(&before, &plan, change.mode, cut).map_err(refused)?;
    refuse_without_time(&after)?;
    let catalogue = shared.state.catalogue();
    let proration = shared.state.with_books(|books| {
        let prices = Prices { products: books.products(), meters: catalogue.meters() };
        prorate(&before, &after, change.mode, cut.at, prices)
    });
    let proration =
        proration.map_err(|overflow| Refused::invalid("quantity", overflow.to_string()))?;
    let metadata = change.metadata.clone().unwrap_or_else(|| after.metadata.clone());
    let after = Subscription { credit: proration.credit, metadata, ..after };
    Ok(Quote { before, after, plan, proration })
}

/// What is asked for: a product that is sold, each cycle, in the currency that was agreed on.
fn plan(before: &Subscription, change: &PlanChange, shared: &Shared) -> Result<Plan, Refused> {
    let found = shared.state.with_books(|books| {
        let product = books.product_by_id(&change.product_id).cloned();
        (product, books.price(before.terms).map(|price| price.currency))
    });
    let (Some(product), currency) = found else { return Err(Refused::NotFound("product")) };
    let product: Arc<Product> = product;
    if product.archived {
        return Err(Refused::invalid("product_id", "this product is archived"));
    }
    let price = product.price();
    let Some(recurrence) = price.recurrence() else {
        return Err(Refused::invalid("product_id", "this product is bought once, not each cycle"));
    };
    if currency.is_some_and(|agreed| agreed != price.currency) {
        return Err(other_currency("product_id", price));
    }
    Ok(Plan {
        terms: Terms { product: product.index, version: product.version() },
        quantity: change.quantity,
        interval: recurrence.payment_frequency,
        subscription_period: recurrence.subscription_period,
        credits: Arc::new(price.credits.clone()),
    })
}

/// Changes a plan, now or later.
pub(super) fn change(
    id: &SubscriptionId,
    change: &PlanChange,
    moment: Moment<'_>,
) -> Result<Records, Refused> {
    let found = existing(id, moment)?;
    match change.effective {
        Effective::NextBillingDate => {
            let after = scheduled(&found, change, moment)?;
            Records::change(Change::Subscription(Arc::new(after)), moment.identity)
        }
        Effective::Now | Effective::WhenPaid => change_now(&found, change, moment),
    }
}

fn scheduled(
    found: &Subscription,
    change: &PlanChange,
    moment: Moment<'_>,
) -> Result<Subscription, Refused> {
    let mut before = found.clone();
    if change.replaces_scheduled {
        before.scheduled_change = None;
    }
    let id = PlanChangeId::new(moment.new_id("pch"));
    let plan = plan(&before, change, moment.shared)?;
    let scheduled = ScheduledChange { id, plan, created_at: moment.at };
    let mut after = billing::schedule_change(&before, scheduled).map_err(refused)?;
    after.metadata = change.metadata.clone().unwrap_or(after.metadata);
    Ok(after)
}

fn change_now(
    found: &Arc<Subscription>,
    change: &PlanChange,
    moment: Moment<'_>,
) -> Result<Records, Refused> {
    let Moment { shared, at, .. } = moment;
    let Quote { before, mut after, plan, proration } =
        quote(found, change, cut(found, moment), shared)?;
    let (plan_terms, quantity) = (plan.terms, plan.quantity);
    let waits = change.effective == Effective::WhenPaid
        && first_status(shared, proration.bill.total) != PaymentStatus::Succeeded;
    let mut numbers = Numbers::next(shared);
    if waits {
        // What it has left is spent by this invoice already.
        let spent = before.credit.as_minor() - proration.credit.as_minor();
        let pending = PendingChange {
            invoice: numbers.next_invoice(),
            plan: plan.clone(),
            mode: change.mode,
            credit: Money::from_minor(spent),
            total: proration.bill.total,
        };
        after = Subscription {
            pending_change: Some(Box::new(pending)),
            credit: proration.credit,
            metadata: after.metadata,
            ..before
        };
    }
    let billed = Billed {
        customer: shared
            .state
            .with_accounts(|accounts| accounts.at(found.customer))
            .ok_or(Refused::NotFound("customer"))?,
        cause: InvoiceCause::Changed,
        period: Some(proration.period),
        metadata: None,
        due_at: at,
        service_period: (!proration.bill.lines.is_empty()).then_some(proration.period),
        share: proration.share,
        terms: plan_terms,
        quantity,
        bill: proration.bill,
    };
    Ok(paid(after, billed, &mut numbers, moment))
}

/// The record of a payment that was asked for, and of the subscription that it leaves.
fn paid(after: Subscription, billed: Billed, numbers: &mut Numbers, moment: Moment<'_>) -> Records {
    let after = Arc::new(after);
    let instants = (moment.at, moment.shared.state.applied());
    let (payment, invoice) = bill(moment.shared, &after, billed, instants, numbers);
    let outcome = Outcome::Payment(Arc::clone(&payment));
    let entry = ClosedEntry {
        payment,
        invoice: Some(invoice),
        subscription: Some(after),
        identity: moment.identity,
    };
    Records { bodies: vec![Body::CycleClosed(Box::new(entry))], outcome }
}

/// Lets a subscription keep its plan.
pub(super) fn cancel_scheduled(
    id: &SubscriptionId,
    moment: Moment<'_>,
) -> Result<Arc<Subscription>, Refused> {
    let found = existing(id, moment)?;
    if found.scheduled_change.is_none() {
        return Err(Refused::NotFound("scheduled change"));
    }
    Ok(Arc::new(billing::cancel_scheduled_change(&found).map_err(refused)?))
}

/// Charges a subscription on demand. One charge at a time is open.
pub(super) fn charge(
    id: &SubscriptionId,
    charge: &NewCharge,
    moment: Moment<'_>,
) -> Result<Records, Refused> {
    let Moment { shared, at, .. } = moment;
    let found = existing(id, moment)?;
    if found.cycle.renews {
        return Err(refused(Refusal::NotOnDemand));
    }
    if found.status != SubscriptionStatus::Active {
        return Err(refused(Refusal::NotLive(found.status)));
    }
    refuse_open_payment(&found, shared)?;
    let catalogue = shared.state.catalogue();
    let bill = shared.state.with_books(|books| {
        let prices = Prices { products: books.products(), meters: catalogue.meters() };
        let price = books.price(found.terms).ok_or(Refused::NotFound("product"))?;
        if charge.currency.is_some_and(|wanted| wanted != price.currency) {
            return Err(other_currency("product_currency", price));
        }
        Ok(charge_bill(found.terms, charge.amount, charge.description.clone(), prices))
    })?;
    let billed = Billed {
        customer: shared
            .state
            .with_accounts(|accounts| accounts.at(found.customer))
            .ok_or(Refused::NotFound("customer"))?,
        cause: InvoiceCause::Charged,
        period: None,
        metadata: charge.metadata.clone(),
        due_at: at,
        service_period: None,
        share: None,
        terms: found.terms,
        quantity: found.quantity,
        bill,
    };
    Ok(paid(Subscription::clone(&found), billed, &mut Numbers::next(shared), moment))
}

fn refuse_open_payment(subscription: &Subscription, shared: &Shared) -> Result<(), Refused> {
    let is_open = shared.state.with_books(|books| {
        let newest = books.payments.invoices_of(subscription.index).next();
        let payment = newest.and_then(|number| books.payments.invoice_head(number)?.payment);
        let head = payment.and_then(|index| books.payments.head(index));
        head.is_some_and(|head| head.status == PaymentStatus::Processing)
    });
    if is_open {
        let message = "a payment of this subscription waits to be marked";
        return Err(Refused::Conflict(message.to_owned()));
    }
    Ok(())
}

fn existing(id: &SubscriptionId, moment: Moment<'_>) -> Result<Arc<Subscription>, Refused> {
    let found = moment.shared.state.with_books(|books| books.subscription_by_id(id).cloned());
    let found = found.ok_or(Refused::NotFound("subscription"))?;
    refuse_overdue(&found, moment.at)?;
    Ok(found)
}
