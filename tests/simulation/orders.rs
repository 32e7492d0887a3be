//! Orders through checkout sessions: which are drawn, what each must cost, and what must be shown of it.
//!
//! The model knows of a session when it was made, what its cart costs by hand, and which payment it has led to.
//! Whatever crashes, a session that was confirmed has led to one payment, with its customer and its
//! subscription; any other has led to none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quipu::engine::bills::{PaymentFilter, SubscriptionFilter};
use quipu::engine::command::billing::{
    ConfirmedBy, NewCheckout, NewPrice, NewPriceKind, NewPurchase, Subscriber,
};
use quipu::engine::{Command, CustomerFilter, Page};
use quipu::model::checkout::{CheckoutState, KEPT_FOR, OPEN_FOR};
use quipu::model::customer::Metadata;
use quipu::model::price::PayWhatYouWant;
use quipu::model::{
    CheckoutId, CheckoutSession, Currency, CustomerId, CustomerIndex, Money, Payment, PaymentId,
    Product, SubscriptionId, Timestamp,
};

use crate::check::Unread;
use crate::model::Model;
use crate::place::{Process, chain};
use crate::reached::Reached;
use crate::workload::{Workload, address};

const ALL: Page = Page { offset: 0, limit: 100_000 };

/// A session as the model knows it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    created_at: Timestamp,
    /// What the order costs, by hand; unknown when nobody knows which prices it was made at.
    total: Option<i128>,
    /// What one costs at least, and how many there are, of what costs what whoever confirms says.
    unsaid: Vec<(Money, u32)>,
    /// The first payment of what was ordered.
    paid_with: Option<PaymentId>,
}

impl Workload {
    /// An order: a session that is confirmed at once, or the confirmation of one.
    pub(crate) fn order(&mut self, model: &Model) -> Command {
        if self.dice.one_in(2) && !model.orders.is_empty() {
            return self.confirmation(model);
        }
        self.checkout(model, true)
    }

    /// A session for one to three products, confirmed at once or not.
    pub(crate) fn checkout(&mut self, model: &Model, confirm: bool) -> Command {
        let mut seen = BTreeSet::new();
        let bought_once = bought_once(model);
        let choice = if self.dice.one_in(3) { &bought_once } else { &model.products };
        let cart = (0..=self.dice.below(3)).map(|_| {
            let product = self.dice.pick::<Arc<Product>>(choice);
            self.purchase(product, confirm)
        });
        let cart: Vec<_> = cart.filter(|wanted| seen.insert(wanted.product_id.clone())).collect();
        Command::CreateCheckout(Box::new(NewCheckout {
            cart,
            customer: self.buyer(model),
            billing: (confirm || self.dice.one_in(2)).then(address),
            billing_currency: None,
            confirm,
            trial_days: self.dice.one_in(6).then(|| self.dice.few(10)),
            minimal_address: self.dice.one_in(2),
            customer_business_name: None,
            tax_id: None,
            metadata: self.tag(),
            return_url: None,
            cancel_url: None,
        }))
    }

    /// So many of a product, for as much as the customer wants where that may be: seldom for too little, or where
    /// it may not be.
    pub(crate) fn purchase(&self, product: &Product, is_due: bool) -> NewPurchase {
        let price = product.price();
        let is_chosen = price.pay_what_you_want().is_some() && (is_due || self.dice.one_in(2));
        let least = price.fixed.as_minor() - i64::from(self.dice.one_in(10));
        let amount = (is_chosen != self.dice.one_in(20))
            .then(|| Money::from_minor(least.max(0) + self.dice.within(0..900)));
        NewPurchase {
            product_id: product.id.clone(),
            quantity: 1 + self.dice.few(3),
            credits: Vec::new(),
            amount,
        }
    }

    /// Somebody who is known, somebody new, or whoever will confirm.
    fn buyer(&mut self, model: &Model) -> Option<Subscriber> {
        let email = match self.dice.below(4) {
            0 => return None,
            1 => return Some(Subscriber::Existing(CustomerId::new(self.customer()))),
            2 if !model.customers.is_empty() => {
                let known: Vec<_> = model.customers.values().collect();
                self.dice.pick(&known).email.clone()
            }
            _ => String::new(),
        };
        let name = self.name();
        let email = if email.is_empty() { format!("{name}@example.org") } else { email };
        Some(Subscriber::Addressed { email, name: Some(name), phone_number: None })
    }

    /// Somebody presses the button of a session, often of one that is confirmed or has ended already.
    pub(crate) fn confirmation(&mut self, model: &Model) -> Command {
        let known: Vec<CheckoutId> = model.orders.keys().cloned().collect();
        let id = self.dice.pick(&known).clone();
        let name = self.name();
        let is_complete = !self.dice.one_in(6);
        let by = ConfirmedBy {
            email: is_complete.then(|| format!("{name}@example.org")),
            name: Some(name),
            billing: is_complete.then(address),
            amounts: (0..3).map(|_| Money::from_minor(self.dice.within(100..2_000))).collect(),
        };
        Command::ConfirmCheckout(id, Box::new(by))
    }
}

/// The products that are bought once.
pub(crate) fn bought_once(model: &Model) -> Vec<Arc<Product>> {
    let all = model.products.iter();
    all.filter(|product| product.price().recurrence().is_none()).cloned().collect()
}

/// What is bought once; for as much as the customer wants, if that `is_chosen`.
pub(crate) fn one_time(cents: i64, discount_bps: u16, is_chosen: bool) -> NewPrice {
    NewPrice {
        currency: Currency::from_code("USD").expect("a currency"),
        fixed: Money::from_minor(cents),
        discount_bps,
        tax_inclusive: false,
        purchasing_power_parity: false,
        kind: NewPriceKind::OneTime(is_chosen.then_some(PayWhatYouWant { suggested: None })),
    }
}

/// What a cart costs at once, at the prices that the model knows.
fn cost(model: &Model, new: &NewCheckout) -> i128 {
    let costs = new.cart.iter().map(|wanted| {
        let product = model.products.iter().find(|known| known.id == wanted.product_id);
        let price = product.expect("it was sold").price();
        let has_trial = price
            .recurrence()
            .is_some_and(|recurrence| new.trial_days.unwrap_or(recurrence.trial_days) > 0);
        if has_trial {
            return 0;
        }
        if let Some(amount) = wanted.amount {
            return i128::from(amount.as_minor()) * i128::from(wanted.quantity);
        }
        let full = i128::from(price.fixed.as_minor()) * i128::from(wanted.quantity);
        (full * i128::from(10_000 - price.discount_bps) * 2 + 10_000) / 20_000
    });
    costs.sum()
}

/// What of a cart costs what whoever confirms says: what one costs at least, and how many there are.
fn unsaid(model: &Model, new: &NewCheckout) -> Vec<(Money, u32)> {
    let unsaid = new.cart.iter().filter_map(|wanted| {
        let product = model.products.iter().find(|known| known.id == wanted.product_id)?;
        let is_unsaid = product.price().pay_what_you_want().is_some() && wanted.amount.is_none();
        is_unsaid.then(|| (product.price().fixed, wanted.quantity))
    });
    unsaid.collect()
}

impl Order {
    /// Somebody has said what it is to cost.
    fn choose(&mut self, amounts: &[Money], reached: &mut Reached) {
        for ((least, quantity), amount) in self.unsaid.drain(..).zip(amounts) {
            reached.note("checkout: amount chosen by whoever confirms");
            let more = i128::from(amount.as_minor() - least.as_minor()) * i128::from(quantity);
            self.total = self.total.map(|total| total + more);
        }
    }
}

impl Model {
    /// Whether the session has led to an order.
    pub(crate) fn is_ordered(&self, id: &CheckoutId) -> bool {
        self.orders.get(id).is_some_and(|order| order.paid_with.is_some())
    }

    /// Takes up a session as its creation or confirmation was answered.
    pub(crate) fn put_session(
        &mut self,
        process: &Process,
        command: &Command,
        session: &CheckoutSession,
        reached: &mut Reached,
    ) {
        if let Command::CreateCheckout(new) = command {
            let (total, unsaid) = (Some(cost(self, new)), unsaid(self, new));
            let created_at = session.created_at;
            let order = Order { created_at, total, unsaid, paid_with: None };
            self.orders.insert(session.id.clone(), order);
            reached.note("checkout: made");
        }
        if let CheckoutState::Confirmed(confirmation) = &session.state {
            reached.note("checkout: confirmed");
            let order = self.orders.get_mut(&session.id).expect("it was made");
            order.paid_with = Some(confirmation.payment.clone());
            if let Command::ConfirmCheckout(_, by) = command {
                order.choose(&by.amounts, reached);
            }
            self.put_buyer(process, confirmation.customer, confirmation.subscription.as_ref());
        }
    }

    /// The customer and the subscription that an order has made or completed.
    fn put_buyer(
        &mut self,
        process: &Process,
        customer: CustomerIndex,
        subscription: Option<&SubscriptionId>,
    ) {
        let customers = process.engine.customers(&CustomerFilter::default(), ALL);
        let found = customers.into_iter().find(|found| found.index == customer);
        self.put_customer(&found.expect("who has bought is known"));
        if let Some(id) = subscription {
            let found = process.engine.subscription(id).expect("it was ordered");
            self.put_subscription(&found.subscription);
        }
    }

    /// Finds out whether a session was made and confirmed at once, though nobody was answered.
    pub(crate) fn resolve_creation(
        &mut self,
        process: &Process,
        metadata: &Metadata,
    ) -> Option<bool> {
        let is_it = |payment: &Payment| payment.metadata == *metadata;
        let payment = first_payment(process, is_it)?;
        let id = payment.checkout.clone()?;
        let created_at = payment.created_at;
        let order = Order { created_at, total: None, unsaid: Vec::new(), paid_with: None };
        self.orders.insert(id.clone(), order);
        self.take_order(process, &id, &payment);
        Some(true)
    }

    /// Finds out whether a session was confirmed, though nobody was answered.
    pub(crate) fn resolve_confirmation(
        &mut self,
        process: &Process,
        id: &CheckoutId,
    ) -> Option<bool> {
        if self.is_ordered(id) {
            return None;
        }
        let payment = first_payment(process, |payment| payment.checkout.as_ref() == Some(id))?;
        self.take_order(process, id, &payment);
        Some(true)
    }

    fn take_order(&mut self, process: &Process, id: &CheckoutId, payment: &Payment) {
        let order = self.orders.get_mut(id).expect("it was made");
        order.paid_with = Some(payment.id.clone());
        // Nobody knows which confirmation it was.
        order.total = order.total.filter(|_| order.unsaid.is_empty());
        let subscription = payment.subscription.map(|index| {
            let all = process.engine.subscriptions(&SubscriptionFilter::default(), ALL);
            let found = all.into_iter().find(|view| view.subscription.index == index);
            found.expect("it was ordered").subscription.id.clone()
        });
        self.put_buyer(process, payment.customer, subscription.as_ref());
    }

    /// The latest instant at which the time of a session may have been over.
    fn latest_ever(&self) -> Timestamp {
        self.latest.max(self.log_time_max)
    }

    /// Whether a refusal that says so may say that the session has ended.
    pub(crate) fn may_have_ended(&self, id: &CheckoutId) -> bool {
        self.orders
            .get(id)
            .is_some_and(|order| self.latest_ever() >= order.created_at.plus(OPEN_FOR))
    }

    /// Sessions whose time is over and that nobody has confirmed.
    pub(crate) fn ended_orders(&self) -> u64 {
        let orders = self.orders.iter();
        let ended =
            orders.filter(|(id, order)| order.paid_with.is_none() && self.may_have_ended(id));
        ended.count() as u64
    }
}

/// The payment that an order was made with.
fn first_payment(process: &Process, is_it: impl Fn(&Payment) -> bool) -> Option<Payment> {
    let payments = process.engine.payments(&PaymentFilter::default(), ALL).ok()?;
    let first = |payment: &&Payment| payment.checkout.is_some() && payment.retry_attempt == 0;
    let mut payments = payments.iter().map(|view| &*view.payment).filter(first);
    payments.find(|payment| is_it(payment)).cloned()
}

/// Compares every session with what the model knows, and every payment of an order with its session.
pub(crate) fn check_orders(process: &Process, model: &Model) -> Result<(), Unread> {
    let latest = model.latest_ever();
    for (id, order) in &model.orders {
        let found = process.engine.checkout(id).map_err(|error| chain(&error))?;
        let Some(view) = found else {
            assert!(latest >= order.created_at.plus(KEPT_FOR), "{id} is gone: {order:?}");
            continue;
        };
        let ends_at = order.created_at.plus(OPEN_FOR);
        assert_eq!(view.session.created_at, order.created_at, "{id}");
        match &view.session.state {
            CheckoutState::Confirmed(confirmation) => {
                assert_eq!(Some(&confirmation.payment), order.paid_with.as_ref(), "{id}");
                assert!(view.offer.is_none());
            }
            CheckoutState::Open(_) => {
                assert_eq!(order.paid_with, None, "{id} was confirmed");
                assert_eq!(view.offer.is_some(), view.now < ends_at, "{id}");
                if let Some((offer, total)) = view.offer.zip(order.total) {
                    assert_eq!(i128::from(offer.total.as_minor()), total, "{id}");
                }
            }
            CheckoutState::Ended => {
                assert_eq!(order.paid_with, None, "{id} was confirmed");
                assert!(latest >= ends_at, "{id} has ended too early");
            }
        }
    }
    let paid = model.payments.values().filter(|payment| payment.retry_attempt == 0);
    let paid: Vec<(&CheckoutId, &PaymentId)> =
        paid.filter_map(|payment| Some((payment.checkout.as_ref()?, &payment.id))).collect();
    let expected = model.orders.iter();
    let expected: BTreeMap<&CheckoutId, &PaymentId> =
        expected.filter_map(|(id, order)| Some((id, order.paid_with.as_ref()?))).collect();
    assert_eq!(paid.len(), expected.len(), "one order a session: {paid:?} {expected:?}");
    assert_eq!(paid.into_iter().collect::<BTreeMap<_, _>>(), expected);
    for (id, payment) in expected {
        let found = i128::from(model.payments[payment].total.as_minor());
        assert_eq!(model.orders[id].total.unwrap_or(found), found, "{id}");
    }
    Ok(())
}
