//! Checkout sessions, with what an open one would cost.

use std::sync::Arc;

use super::payments::payment_at;
use super::{BillsError, CheckoutView, OfferLine, OfferView};
use crate::billing::purchase_amount;
use crate::engine::Engine;
use crate::engine::books::Books;
use crate::model::checkout::{Buyer, CheckoutState, Offer, Purchase};
use crate::model::price::MeterPrice;
use crate::model::{CheckoutId, Money, PaymentId, PaymentStatus};

impl Engine {
    /// One checkout session. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn checkout(&self, id: &CheckoutId) -> Result<Option<CheckoutView>, BillsError> {
        let state = &self.shared.state;
        let now = self.now().max(state.log_time());
        let found = state.with_checkouts(|checkouts| checkouts.get(id, now).cloned());
        let Some(session) = found else { return Ok(None) };
        let (customer, payment) = match &session.state {
            CheckoutState::Confirmed(confirmation) => {
                (Some(confirmation.customer), self.newest_of(&confirmation.payment)?)
            }
            CheckoutState::Open(offer) => match &offer.buyer {
                Some(Buyer::Known(customer)) => (Some(*customer), None),
                Some(Buyer::Addressed { .. }) | None => (None, None),
            },
            CheckoutState::Ended => (None, None),
        };
        let customer =
            customer.and_then(|index| state.with_accounts(|accounts| accounts.at(index)));
        let offer = session.offer(now).and_then(|offer| self.offer(offer));
        Ok(Some(CheckoutView { now, session, customer, payment, offer }))
    }

    /// The newest payment of the invoice that this one pays.
    fn newest_of(&self, id: &PaymentId) -> Result<Option<(PaymentId, PaymentStatus)>, BillsError> {
        let newest = self.shared.state.with_books(|books| {
            let payments = &books.payments;
            let head = payments.head(payments.index(id)?)?;
            payments.invoice_head(head.invoice)?.payment
        });
        let payment = newest.map(|index| payment_at(&self.shared, index)).transpose()?;
        Ok(payment.map(|payment| (payment.id.clone(), payment.status)))
    }

    /// Nothing when an amount does not fit, which was checked when the session was made.
    fn offer(&self, offer: &Offer) -> Option<OfferView> {
        let catalogue = self.shared.state.catalogue();
        let meter = |priced: &MeterPrice| {
            let meter = catalogue.meters().get(priced.meter.position())?;
            Some((format!("{} ({})", meter.name, meter.measurement_unit), priced.clone()))
        };
        let recurring = offer.cart.recurring.as_ref();
        let (line, once) = self.shared.state.with_books(|books| {
            let line = recurring.map(|recurring| line(&recurring.purchase, books));
            let once = offer.cart.once.iter().map(|purchase| self::line(purchase, books));
            Some((all(line)?, once.collect::<Option<Vec<OfferLine>>>()?))
        })?;
        let trial_days = recurring.map_or(0, |recurring| recurring.trial_days);
        let first = line.iter().filter(|_| trial_days == 0);
        let total = Money::checked_sum(first.chain(&once).map(|line| line.amount))?;
        let meters = line.iter().flat_map(|line| line.price.meters()).filter_map(meter);
        let meters = meters.collect();
        Some(OfferView { recurring: line, trial_days, once, meters, total })
    }
}

fn line(purchase: &Purchase, books: &Books) -> Option<OfferLine> {
    let product = Arc::clone(books.product(purchase.terms.product)?);
    let mut price = product.price_at(purchase.terms.version)?.clone();
    let amount = purchase_amount(&price, purchase)?;
    let is_open = price.pay_what_you_want().is_some() && purchase.amount.is_none();
    price.fixed = purchase.amount.unwrap_or(price.fixed);
    let (name, quantity) = (product.name.clone(), purchase.quantity);
    Some(OfferLine { name, price, quantity, amount, is_open })
}

/// `None` when there should be one and there is none.
#[expect(clippy::option_option, reason = "wanted and found are two questions")]
fn all<T>(found: Option<Option<T>>) -> Option<Option<T>> {
    match found {
        None => Some(None),
        Some(found) => found.map(Some),
    }
}
