//! What becomes of checkout sessions, and of the orders that they lead to.

use std::sync::Arc;

use crate::billing;
use crate::engine::checkouts::open_bytes;
use crate::engine::command::billing::{ConfirmedBy, NewCheckout, Subscriber};
use crate::engine::command::{Changed, CustomerPatch, Outcome, Refused};
use crate::engine::invoicing::{self, Numbers};
use crate::engine::record::{Body, Change, ChangeEntry, ClosedEntry};
use crate::engine::shared::Shared;
use crate::model::checkout::{Buyer, Cart, CheckoutState, Confirmation, Offer};
use crate::model::{CheckoutId, CheckoutSession, Customer};

use super::subscriptions::Begun;
use super::subscriptions::{self, Order};
use super::{Decision, Moment, Plan, apply, carts, customers};

/// Makes a session, and its order at once when it is confirmed already.
pub(super) fn create(new: &NewCheckout, moment: Moment<'_>) -> Result<Plan, Refused> {
    let Moment { shared, at, identity } = moment;
    let (cart, currency) = carts::of_checkout(new, shared)?;
    check_order(&cart, moment)?;
    let offer = Offer {
        cart,
        currency,
        buyer: new.customer.as_ref().map(|wanted| buyer(wanted, shared)).transpose()?,
        billing: new.billing.clone(),
        minimal_address: new.minimal_address,
        customer_business_name: new.customer_business_name.clone(),
        tax_id: new.tax_id.clone(),
        metadata: new.metadata.clone(),
        cancel_url: new.cancel_url.clone(),
    };
    let session = CheckoutSession {
        id: CheckoutId::new(moment.new_id("cks")),
        created_at: at,
        return_url: new.return_url.clone(),
        state: CheckoutState::Open(Box::new(offer.clone())),
    };
    if new.confirm {
        return confirmed(&session, &offer, &ConfirmedBy::default(), moment);
    }
    check_room(&session, moment)?;
    Plan::change(Change::Checkout(Arc::new(session)), identity)
}

/// Confirms a session, with what it does not know yet; one that was confirmed stays as it is.
pub(super) fn confirm(
    id: &CheckoutId,
    by: &ConfirmedBy,
    moment: Moment<'_>,
) -> Result<Decision, Refused> {
    let Moment { shared, at, .. } = moment;
    let session = shared.state.with_checkouts(|checkouts| checkouts.get(id, at).cloned());
    let session = session.ok_or(Refused::NotFound("checkout session"))?;
    match session.state {
        CheckoutState::Confirmed(_) => {
            let outcome = Outcome::Checkout(session);
            let lsn = shared.state.applied();
            return Ok(Decision::Repeat(Box::new(Changed { outcome, replayed: true, lsn })));
        }
        CheckoutState::Open(_) | CheckoutState::Ended => {}
    }
    let ended = Refused::Gone("this checkout session has ended: it was not confirmed in time");
    let offer = session.offer(at).ok_or(ended)?;
    carts::refuse_archived(&offer.cart, shared)?;
    apply(confirmed(&session, offer, by, moment)?)
}

/// The order of a session, and the session as it is then.
fn confirmed(
    session: &CheckoutSession,
    offer: &Offer,
    by: &ConfirmedBy,
    moment: Moment<'_>,
) -> Result<Plan, Refused> {
    let once = carts::chosen(&offer.cart.once, &by.amounts, moment.shared)?;
    let (customer, change) = customer(offer.buyer.as_ref(), by, moment)?;
    let billing = offer.billing.clone().or_else(|| by.billing.clone());
    let billing = billing.ok_or_else(|| Refused::missing("billing_address.country"))?;
    let mut bodies: Vec<Body<'static>> = change.map(unasked).into_iter().collect();
    let (mut payment, invoice, subscription) = if let Some(recurring) = &offer.cart.recurring {
        let order = Order {
            customer: &customer,
            recurring: recurring.clone(),
            on_demand: None,
            once: &once,
            billing: &billing,
            customer_business_name: offer.customer_business_name.as_deref(),
            tax_id: offer.tax_id.as_deref(),
            metadata: &offer.metadata,
        };
        let Begun { subscription, payment, invoice } = subscriptions::begin(&order, moment)?;
        bodies.push(unasked(Change::Subscription(Arc::clone(&subscription))));
        (payment, invoice, Some(subscription.id.clone()))
    } else {
        let bill = carts::bill(&once, moment.shared)?;
        let sold = invoicing::Sold { customer: &customer, billing: &billing, offer, bill };
        let instants = (moment.at, moment.shared.state.applied());
        let numbers = &mut Numbers::next(moment.shared);
        let (mut payment, invoice) = invoicing::bill_cart(moment.shared, sold, instants, numbers);
        carts::hand_out(Arc::make_mut(&mut payment), &offer.cart.once);
        (payment, invoice, None)
    };
    Arc::make_mut(&mut payment).checkout = Some(session.id.clone());
    let confirmation =
        Confirmation { customer: customer.index, payment: payment.id.clone(), subscription };
    let confirmed = Arc::new(CheckoutSession {
        state: CheckoutState::Confirmed(confirmation),
        ..session.clone()
    });
    let paid = ClosedEntry { payment, invoice: Some(invoice), subscription: None, identity: None };
    bodies.push(Body::CycleClosed(Box::new(paid)));
    let change = Change::Checkout(Arc::clone(&confirmed));
    bodies.push(Body::Change(ChangeEntry { change, identity: moment.identity }));
    Ok(Plan { bodies, outcome: Outcome::Checkout(confirmed) })
}

/// A change that comes with the one that was asked for.
fn unasked(change: Change) -> Body<'static> {
    Body::Change(ChangeEntry { change, identity: None })
}

fn buyer(wanted: &Subscriber, shared: &Shared) -> Result<Buyer, Refused> {
    match wanted {
        Subscriber::Existing(id) => {
            let index = shared.state.with_accounts(|accounts| accounts.index(id.as_str()));
            Ok(Buyer::Known(index.ok_or(Refused::NotFound("customer"))?))
        }
        Subscriber::Addressed { email, name, phone_number } => Ok(Buyer::Addressed {
            email: email.clone(),
            name: name.clone(),
            phone_number: phone_number.clone(),
        }),
    }
}

/// Who buys, and what has to be written of them. What the session says of them wins over what the
/// person says; a customer that the client named is completed, one that was found by address is not.
fn customer(
    buyer: Option<&Buyer>,
    by: &ConfirmedBy,
    moment: Moment<'_>,
) -> Result<(Arc<Customer>, Option<Change>), Refused> {
    let state = &moment.shared.state;
    let wanted = match buyer {
        Some(Buyer::Known(index)) => {
            let known = state.with_accounts(|accounts| accounts.at(*index));
            let known = known.ok_or(Refused::NotFound("customer"))?;
            let asked = |known: &str, given: &Option<String>| {
                if known.is_empty() { given.clone() } else { None }
            };
            let (name, email) = (asked(&known.name, &by.name), asked(&known.email, &by.email));
            if name.is_none() && email.is_none() {
                return Ok((known, None));
            }
            let patch = CustomerPatch { name, email, ..CustomerPatch::default() };
            let completed = customers::update_customer(&known.id, &patch, state, moment.at)?;
            return Ok((Arc::new(completed.clone()), Some(Change::Customer(completed))));
        }
        Some(Buyer::Addressed { email, name, phone_number }) => Subscriber::Addressed {
            email: email.clone(),
            name: name.clone().or_else(|| by.name.clone()),
            phone_number: phone_number.clone(),
        },
        None => Subscriber::Addressed {
            email: by.email.clone().ok_or_else(|| Refused::missing("customer.email"))?,
            name: by.name.clone(),
            phone_number: None,
        },
    };
    let (customer, is_new) = subscriptions::subscriber(&wanted, moment)?;
    let made = is_new.then(|| Change::Customer(Customer::clone(&customer)));
    Ok((customer, made))
}

/// The amounts and dates of an order stay within what can be written.
fn check_order(cart: &Cart, moment: Moment<'_>) -> Result<(), Refused> {
    let Some(recurring) = &cart.recurring else {
        return carts::bill(&cart.once, moment.shared).map(drop);
    };
    carts::check_first(recurring, &cart.once, moment.shared)?;
    let recurrence = carts::recurrence(recurring, moment.shared)?;
    let begins = billing::check_dates(&recurrence, recurring.trial_days, moment.at);
    begins.map_err(subscriptions::refused)
}

fn check_room(session: &CheckoutSession, moment: Moment<'_>) -> Result<(), Refused> {
    let limit = moment.shared.options.checkout_bytes_max;
    let taken = moment.shared.state.with_checkouts(|checkouts| checkouts.open_bytes(moment.at));
    if taken.saturating_add(open_bytes(session)) <= limit {
        return Ok(());
    }
    let message = format!(
        "open checkout sessions together take {limit} bytes already; each ends a day after it was made"
    );
    Err(Refused::Conflict(message))
}
