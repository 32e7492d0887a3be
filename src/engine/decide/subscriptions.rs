//! What the creation or change of a subscription leaves behind.

use std::sync::Arc;
use std::time::Duration;

use crate::billing::{self, Cut, Draft, Prices, Refusal, charge_bill, first_bill};
use crate::engine::command::billing::{
    NewCharge, NewSubscription, OnDemand, Subscriber, SubscriptionPatch,
};
use crate::engine::command::{NewCustomer, Outcome, Refused};
use crate::engine::invoicing::{Billed, Numbers, bill, first_status};
use crate::engine::record::{Body, Change, ChangeEntry, ClosedEntry};
use crate::engine::shared::Shared;
use crate::model::checkout::{Purchase, Recurring};
use crate::model::customer::Metadata;
use crate::model::invoice::{InvoiceCause, PaymentStatus};
use crate::model::price::{PriceKind, Recurrence};
use crate::model::subscription::{BillingAddress, Cancellation};
use crate::model::{
    Customer, Invoice, Payment, PaymentId, Period, Price, Product, Subscription, SubscriptionId,
    Terms, Timestamp,
};

use super::{Moment, Plan, attachments, carts, customers};

/// A segment that is cut under a test clock ends this long after the present: what happened at the
/// frozen instant lies before the cut.
const INSTANT: Duration = Duration::from_nanos(1);

/// Makes a subscription with its first payment, and the customer when there is none.
pub(super) fn create(new: &NewSubscription, moment: Moment<'_>) -> Result<Plan, Refused> {
    let Moment { shared, identity, .. } = moment;
    let (customer, is_new_customer) = subscriber(&new.customer, moment)?;
    let (product, recurrence) = product(new, shared)?;
    let terms = Terms { product: product.index, version: product.version() };
    let credits = attachments::overridden(
        &product.price().credits,
        product.price().currency,
        &new.credits,
        "credit_entitlement_cart",
        shared,
    )?;
    let order = Order {
        customer: &customer,
        recurring: Recurring {
            purchase: Purchase { terms, quantity: new.quantity, amount: None, credits },
            trial_days: match new.on_demand {
                None => new.trial_days.unwrap_or(recurrence.trial_days),
                Some(_) => 0,
            },
        },
        on_demand: new.on_demand.as_ref(),
        once: &carts::beside(&new.once, product.price().currency, shared)?,
        billing: &new.billing,
        customer_business_name: new.customer_business_name.as_deref(),
        tax_id: new.tax_id.as_deref(),
        metadata: &new.metadata,
    };
    let Begun { subscription, payment, invoice } = begin(&order, moment)?;
    let made = is_new_customer.then(|| Change::Customer(Customer::clone(&customer)));
    let made = made.map(|change| Body::Change(ChangeEntry { change, identity: None }));
    let change = Change::Subscription(Arc::clone(&subscription));
    let payment =
        ClosedEntry { payment, invoice: Some(invoice), subscription: None, identity: None };
    let records =
        [Body::Change(ChangeEntry { change, identity }), Body::CycleClosed(Box::new(payment))];
    Ok(Plan {
        bodies: made.into_iter().chain(records).collect(),
        outcome: Outcome::Subscription(subscription),
    })
}

/// A subscription that is ordered, with what is bought once beside it.
#[derive(Debug)]
pub(super) struct Order<'o> {
    pub(super) customer: &'o Arc<Customer>,
    pub(super) recurring: Recurring,
    /// When it is charged on demand; nothing is bought once beside it then.
    pub(super) on_demand: Option<&'o OnDemand>,
    pub(super) once: &'o [Purchase],
    pub(super) billing: &'o BillingAddress,
    pub(super) customer_business_name: Option<&'o str>,
    pub(super) tax_id: Option<&'o str>,
    pub(super) metadata: &'o Metadata,
}

/// A subscription that was made, and its first payment with the invoice.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) subscription: Arc<Subscription>,
    pub(super) payment: Arc<Payment>,
    pub(super) invoice: Arc<Invoice>,
}

/// Makes what was ordered.
pub(super) fn begin(order: &Order<'_>, moment: Moment<'_>) -> Result<Begun, Refused> {
    let Moment { shared, at, .. } = moment;
    let Recurring { purchase, trial_days } = &order.recurring;
    let recurrence = carts::recurrence(&order.recurring, shared)?;
    let pending = billing::subscribe(Draft {
        id: SubscriptionId::new(moment.new_id("sub")),
        index: shared.state.with_books(crate::engine::books::Books::next_subscription),
        customer: order.customer.index,
        terms: purchase.terms,
        quantity: purchase.quantity,
        credits: Arc::new(purchase.credits.clone()),
        interval: recurrence.payment_frequency,
        subscription_period: recurrence.subscription_period,
        trial_days: *trial_days,
        on_demand: order.on_demand.is_some(),
        first_payment: PaymentId::new(moment.new_id("pay")),
        billing: Arc::new(order.billing.clone()),
        customer_business_name: order.customer_business_name.map(str::to_owned),
        tax_id: order.tax_id.map(str::to_owned),
        metadata: order.metadata.clone(),
        created_at: at,
    });
    let pending = pending.map_err(refused)?;
    let renewal = billing::first_renewal(&pending).filter(|_| order.on_demand.is_none());
    let catalogue = shared.state.catalogue();
    let first = shared.state.with_books(|books| {
        let prices = Prices { products: books.products(), meters: catalogue.meters() };
        match order.on_demand.and_then(|on_demand| on_demand.first.as_ref()) {
            None => first_bill(renewal.as_ref(), order.once, prices),
            Some(NewCharge { amount, description, .. }) => {
                Ok(charge_bill(pending.terms, *amount, description.clone(), prices))
            }
        }
    });
    let first = first.map_err(|overflow| Refused::invalid("quantity", overflow.to_string()))?;
    let subscription = match first_status(shared, first.total) {
        PaymentStatus::Succeeded => billing::activate(&pending, at).map_err(refused)?,
        PaymentStatus::Processing | PaymentStatus::Failed => pending,
    };
    let subscription = Arc::new(subscription);
    let start = Period { start: at, end: subscription.cycle.next_billing_date };
    let billed = Billed {
        customer: Arc::clone(order.customer),
        cause: InvoiceCause::Created,
        period: Some(renewal.map_or(start, |renewal| renewal.period)),
        metadata: None,
        due_at: at,
        service_period: renewal.map(|renewal| renewal.period),
        share: None,
        terms: subscription.terms,
        quantity: subscription.quantity,
        bill: first,
    };
    let instants = (at, shared.state.applied());
    let numbers = &mut Numbers::next(shared);
    let (mut payment, invoice) = bill(shared, &subscription, billed, instants, numbers);
    carts::hand_out(Arc::make_mut(&mut payment), order.once);
    Ok(Begun { subscription, payment, invoice })
}

/// The customer, and whether it is made by this request.
pub(super) fn subscriber(
    wanted: &Subscriber,
    moment: Moment<'_>,
) -> Result<(Arc<Customer>, bool), Refused> {
    let state = &moment.shared.state;
    match wanted {
        Subscriber::Existing(id) => {
            let found = state.with_accounts(|accounts| accounts.get(id.as_str()));
            Ok((found.ok_or(Refused::NotFound("customer"))?, false))
        }
        Subscriber::Addressed { email, name, phone_number } => {
            let found = state.with_accounts(|accounts| accounts.addressed(email));
            if let Some(customer) = found {
                return Ok((customer, false));
            }
            let new = NewCustomer {
                id: None,
                name: name.clone().unwrap_or_default(),
                email: email.clone(),
                phone_number: phone_number.clone(),
                preferred_locale: None,
                metadata: Vec::new(),
            };
            let id = moment.new_id("cus");
            Ok((Arc::new(customers::create_customer(&new, state, id, moment.at)?), true))
        }
    }
}

/// The product, and the cycle of what it costs now.
fn product(new: &NewSubscription, shared: &Shared) -> Result<(Arc<Product>, Recurrence), Refused> {
    let found = shared.state.with_books(|books| books.product_by_id(&new.product_id).cloned());
    let product = found.ok_or(Refused::NotFound("product"))?;
    if product.archived {
        return Err(Refused::invalid("product_id", "this product is archived"));
    }
    let price = product.price();
    let recurrence = price.recurrence().copied();
    let recurrence = recurrence.ok_or_else(|| {
        Refused::invalid("product_id", "this product is bought once, not each cycle")
    })?;
    if let Some(wanted) = new.billing_currency
        && wanted != price.currency
    {
        return Err(other_currency("billing_currency", price));
    }
    if let Some(on_demand) = &new.on_demand {
        check_on_demand(new, on_demand, price)?;
    }
    Ok((product, recurrence))
}

fn check_on_demand(
    new: &NewSubscription,
    on_demand: &OnDemand,
    price: &Price,
) -> Result<(), Refused> {
    match &price.kind {
        PriceKind::Recurring(_) => {}
        PriceKind::OneTime(_) | PriceKind::UsageBased { .. } => {
            return Err(Refused::invalid(
                "on_demand",
                "a product with usage is not charged on demand",
            ));
        }
    }
    if !new.once.is_empty() {
        let message = "nothing is bought once beside what is charged on demand";
        return Err(Refused::invalid("one_time_product_cart", message));
    }
    if new.trial_days.is_some_and(|days| days > 0) {
        return Err(Refused::invalid(
            "trial_period_days",
            "what is charged on demand has no trial",
        ));
    }
    let currency = on_demand.first.as_ref().and_then(|first| first.currency);
    if currency.is_some_and(|wanted| wanted != price.currency) {
        return Err(other_currency("on_demand.product_currency", price));
    }
    Ok(())
}

pub(super) fn other_currency(field: &str, price: &Price) -> Refused {
    Refused::invalid(field, format!("the price of this product is in {}", price.currency))
}

/// Changes or ends a subscription: everything that is asked for, or nothing.
pub(super) fn update(
    id: &SubscriptionId,
    patch: &SubscriptionPatch,
    moment: Moment<'_>,
) -> Result<Arc<Subscription>, Refused> {
    let Moment { shared, at, .. } = moment;
    let found = shared.state.with_books(|books| books.subscription_by_id(id).cloned());
    let mut changed = Subscription::clone(&*found.ok_or(Refused::NotFound("subscription"))?);
    refuse_overdue(&changed, at)?;
    let entered = shared.state.billing_marks().entered_through;
    let moves = patch.next_billing_date.or(patch.renews_from).is_some()
        || patch.subscription_period.is_some();
    if moves && changed.running.is_some_and(|running| running.period.end < entered) {
        // Events may have been counted in the segment behind the boundary as it stands.
        let message = "the clock once stood behind the next boundary of this subscription, which \
            cannot be moved any more";
        return Err(Refused::Conflict(message.to_owned()));
    }
    if let Some(period) = patch.subscription_period {
        changed = billing::extend(&changed, period).map_err(refused)?;
    }
    if let Some(to) = patch.next_billing_date {
        changed = billing::move_next_billing_date(&changed, to, at).map_err(refused)?;
    }
    if let Some(from) = patch.renews_from {
        changed = billing::renew(&changed, from, at)
            .map_err(|refusal| refused(refusal).within("disable_on_demand"))?;
    }
    if let Some(wanted) = patch.cancel_at_next_billing_date {
        changed = billing::cancel_at_next_billing_date(&changed, wanted).map_err(refused)?;
        if !wanted {
            changed.cancellation = Cancellation::default();
        }
    }
    changed = match patch.pause {
        None => changed,
        Some(true) => billing::pause(&changed, cut(&changed, moment)).map_err(refused)?,
        Some(false) => billing::resume(&changed, cut(&changed, moment)).map_err(refused)?,
    };
    if patch.cancel_now {
        changed = billing::cancel_now(&changed, cut(&changed, moment)).map_err(refused)?;
    }
    refuse_without_time(&changed)?;
    let cancellation = &mut changed.cancellation;
    cancellation.reason = patch.cancel_reason.or(cancellation.reason);
    cancellation.feedback = patch.cancellation_feedback.or(cancellation.feedback);
    if let Some(comment) = &patch.cancellation_comment {
        cancellation.comment = Some(comment.clone());
    }
    let credits = match patch.credits.as_slice() {
        [] => Arc::clone(&changed.credits),
        wanted => {
            let found = shared.state.with_books(|books| books.price(changed.terms).cloned());
            let currency = found.ok_or(Refused::NotFound("product"))?.currency;
            let (credits, list) = (&changed.credits, "credit_entitlement_cart");
            Arc::new(attachments::overridden(credits, currency, wanted, list, shared)?)
        }
    };
    let business_name = patch.customer_business_name.clone();
    Ok(Arc::new(Subscription {
        credits,
        billing: patch.billing.clone().map_or(changed.billing, Arc::new),
        customer_business_name: business_name.unwrap_or(changed.customer_business_name),
        tax_id: patch.tax_id.clone().unwrap_or(changed.tax_id),
        metadata: patch.metadata.clone().unwrap_or(changed.metadata),
        ..changed
    }))
}

/// A turn finds what was in force at its boundary: while it waits for a clock in doubt, nothing changes.
pub(super) fn refuse_overdue(subscription: &Subscription, at: Timestamp) -> Result<(), Refused> {
    if subscription.running.is_none_or(|running| at < running.period.end) {
        return Ok(());
    }
    let message = "a boundary of this subscription has passed, and its turn waits until the clock \
        is trusted";
    Err(Refused::Conflict(message.to_owned()))
}

/// Where the running segment of a subscription ends when it is cut now: every event that it has counted
/// lies before.
pub(super) fn cut(subscription: &Subscription, moment: Moment<'_>) -> Cut {
    let Moment { shared, at, .. } = moment;
    let entered = shared.state.billing_marks().entered_through.max(at);
    let cut = if shared.is_test_clock() { entered.plus(INSTANT) } else { entered };
    let end = subscription.running.map_or(Timestamp::MAX, |running| running.period.end);
    Cut { at, end: cut.min(end), grace: shared.options.grace }
}

/// What a change leaves must have time left to run: it has none when the clock once stood behind the end
/// of its period.
pub(super) fn refuse_without_time(subscription: &Subscription) -> Result<(), Refused> {
    if subscription.running.is_none_or(|running| running.period.start < running.period.end) {
        return Ok(());
    }
    let message = "the clock once stood behind the next boundary of this subscription, which cannot \
        be changed any more";
    Err(Refused::Conflict(message.to_owned()))
}

pub(super) fn refused(refusal: Refusal) -> Refused {
    let message = refusal.to_string();
    match refusal {
        Refusal::NotLive(_)
        | Refusal::Begun
        | Refusal::ChangePending
        | Refusal::ChangeScheduled
        | Refusal::Ending
        | Refusal::OnDemand
        | Refusal::NotOnDemand => Refused::Conflict(message),
        Refusal::NotInTheFuture | Refusal::AfterExpiry => {
            Refused::invalid("next_billing_date", message)
        }
        Refusal::NotLonger | Refusal::OutOfRange => {
            Refused::invalid("subscription_period_count", message)
        }
    }
}
