//! What was acknowledged, in the simplest words: lists of everything, and no shortcuts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quipu::engine::Ingested;
use quipu::engine::options::{Options, UnknownCustomers};
use quipu::engine::reservations::Reservation;
use quipu::metering::{Kind, Rule};
use quipu::model::invoice::ChargeType;
use quipu::model::{
    Alert, AlertId, ApiKey, CheckoutId, CreditEntitlement, Customer, Endpoint, EndpointId, Invoice,
    Lsn, MessageId, Meter, Notice, Payment, PaymentId, Product, ReservationId, Subscription,
    SubscriptionId, SubscriptionIndex, Timestamp,
};

use crate::credits::{Credits, PoolKey};
use crate::event::{Kept, Sent, Skip};
use crate::oracle::{Oracle, Sample};
use crate::orders::Order;

/// What may become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) may_be_admitted: bool,
    /// Which event may be refused for which rule. Behind where periods may have been closed that is
    /// the engine's to say.
    pub(crate) refusals: Vec<(usize, Rule)>,
}

/// Skipped events of one meter and customer, by reason.
pub(crate) type Skips = [u64; 3];

/// The whole of what was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) options: Options,
    pub(crate) events: Vec<Kept>,
    by_id: BTreeMap<String, usize>,
    pub(crate) oracle: Oracle,
    /// Meters and customers that have anything, counted or not.
    pub(crate) seen: BTreeMap<(usize, String), Skips>,
    /// Every object as it was when its last change was acknowledged.
    pub(crate) meters: Vec<Meter>,
    pub(crate) customers: BTreeMap<String, Customer>,
    /// Customers that only events have named.
    pub(crate) named: BTreeSet<String>,
    pub(crate) keys: BTreeMap<String, ApiKey>,
    pub(crate) products: Vec<Arc<Product>>,
    pub(crate) entitlements: Vec<Arc<CreditEntitlement>>,
    /// Entries into ledgers that were acknowledged.
    pub(crate) entries: Vec<(PoolKey, Lsn)>,
    /// Reservations as they were when they were last acknowledged.
    pub(crate) reservations: BTreeMap<ReservationId, Arc<Reservation>>,
    /// Webhook endpoints and alerts as they were when they were last acknowledged.
    pub(crate) endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    pub(crate) alerts: BTreeMap<AlertId, Arc<Alert>>,
    /// Messages as they were when they were first seen.
    pub(crate) notices: BTreeMap<MessageId, Arc<Notice>>,
    /// A clock was once set back.
    pub(crate) was_set_back: bool,
    /// What the log says of credits.
    pub(crate) credits: Credits,
    pub(crate) subscriptions: Vec<Arc<Subscription>>,
    pub(crate) payments: BTreeMap<PaymentId, Arc<Payment>>,
    /// Subscriptions whose plan was changed by an answer that does not show them.
    pub(crate) changed: BTreeSet<SubscriptionIndex>,
    /// How many of them were charged on demand once and renew since.
    pub(crate) renewing: u64,
    /// Checkout sessions.
    pub(crate) orders: BTreeMap<CheckoutId, Order>,
    /// Every invoice that was ever shown, by number.
    pub(crate) invoices: Vec<Arc<Invoice>>,
    /// The last LSN that was acknowledged or shown.
    pub(crate) last_lsn: Lsn,
    /// The latest instant at which anything was decided, and the latest log time.
    pub(crate) latest: Timestamp,
    pub(crate) log_time_max: Timestamp,
    /// The events whose timestamp log time has once been behind.
    passed: BTreeSet<Lsn>,
}

impl Model {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            events: Vec::new(),
            by_id: BTreeMap::new(),
            oracle: Oracle::default(),
            seen: BTreeMap::new(),
            meters: Vec::new(),
            customers: BTreeMap::new(),
            named: BTreeSet::new(),
            keys: BTreeMap::new(),
            products: Vec::new(),
            entitlements: Vec::new(),
            entries: Vec::new(),
            reservations: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            alerts: BTreeMap::new(),
            notices: BTreeMap::new(),
            was_set_back: false,
            credits: Credits::default(),
            subscriptions: Vec::new(),
            payments: BTreeMap::new(),
            changed: BTreeSet::new(),
            renewing: 0,
            orders: BTreeMap::new(),
            invoices: Vec::new(),
            last_lsn: Lsn::ZERO,
            latest: Timestamp::MIN,
            log_time_max: Timestamp::MIN,
            passed: BTreeSet::new(),
        }
    }

    pub(crate) fn event(&self, id: &str) -> Option<&Kept> {
        self.by_id.get(id).map(|place| &self.events[*place])
    }

    /// Log time stands here now.
    pub(crate) fn see_log_time(&mut self, log_time: Timestamp) {
        self.log_time_max = self.log_time_max.max(log_time);
        let passed = self.events.iter().filter(|kept| kept.at() < log_time);
        self.passed.extend(passed.map(|kept| kept.lsn));
    }

    /// The events whose ids must still be known: those that arrived within the window.
    pub(crate) fn remembered(&self) -> &[Kept] {
        let window = self.options.dedupe_window;
        let from = if window.is_zero() { Timestamp::MIN } else { self.latest.minus(window) };
        // Clocks that were set back have made the order of arrivals another than the log's.
        let first = self.events.iter().rposition(|kept| kept.received_at < from);
        &self.events[first.map_or(0, |place| place + 1)..]
    }

    /// Whether messages of this instant may be forgotten.
    pub(crate) fn may_forget_messages(&self, at: Timestamp) -> bool {
        self.was_set_back && self.forgets_messages()
            || self.latest.since(at) >= self.options.webhook_keep
    }

    /// Whether any message is forgotten in this life.
    pub(crate) fn forgets_messages(&self) -> bool {
        self.options.webhook_keep < Duration::from_hours(24 * 1_000)
    }

    pub(crate) fn knows_customer(&self, id: &str) -> bool {
        self.customers.contains_key(id) || self.named.contains(id)
    }

    /// What may become of a request that arrives at `received_at` and is decided at once.
    pub(crate) fn expected(&self, sent: &[Sent], received_at: Timestamp) -> Expected {
        let mut ids = BTreeSet::new();
        if let Some(place) = sent.iter().position(|sent| !ids.insert(&sent.id)) {
            return Expected { may_be_admitted: false, refusals: vec![(place, Rule::RepeatedId)] };
        }
        let mut refusals = Vec::new();
        for (place, sent) in sent.iter().enumerate() {
            if self.event(&sent.id).is_some() {
                continue;
            }
            let (rules, at) = (self.options.rules, sent.at(received_at));
            let is_unknown = !self.knows_customer(&sent.customer);
            let rejects = self.options.unknown_customers == UnknownCustomers::Reject;
            if at < self.latest.max(received_at).minus(self.options.grace) {
                refusals.push((place, Rule::TooOld));
            }
            let broken = if at < received_at.minus(rules.max_age) {
                Rule::TooOld
            } else if at > received_at.plus(rules.max_ahead) {
                Rule::TooFarAhead
            } else if is_unknown && rejects {
                Rule::UnknownCustomer
            } else {
                continue;
            };
            refusals.push((place, broken));
            return Expected { may_be_admitted: false, refusals };
        }
        Expected { may_be_admitted: true, refusals }
    }

    /// The new events of a request; the others must be duplicates.
    pub(crate) fn new_of<'a>(&self, sent: &'a [Sent]) -> Vec<&'a Sent> {
        sent.iter().filter(|sent| self.event(&sent.id).is_none()).collect()
    }

    /// Takes in a request that was admitted; its new events follow each other up to `last_lsn`.
    pub(crate) fn admit(
        &mut self,
        sent: &[Sent],
        received_at: Timestamp,
        last_lsn: Lsn,
    ) -> Ingested {
        let new = self.new_of(sent).len() as u64;
        let conflicts = sent.iter().filter(|sent| {
            self.event(&sent.id).is_some_and(|first| {
                let same = (&first.sent.customer, first.sent.name, first.sent.at)
                    == (&sent.customer, sent.name, sent.at);
                !same || first.sent.metadata != sent.metadata
            })
        });
        let conflicts = u32::try_from(conflicts.count()).expect("few");
        let mut lsn = Lsn(last_lsn.0 - new);
        for sent in sent {
            if self.event(&sent.id).is_none() {
                lsn = lsn.next();
                self.keep(Kept { lsn, received_at, sent: sent.clone() });
            }
        }
        if new > 0 {
            assert!(lsn > self.last_lsn, "LSNs ascend: {lsn} after {}", self.last_lsn);
            self.last_lsn = lsn;
        }
        let new = u32::try_from(new).expect("few");
        let duplicates = u32::try_from(sent.len()).expect("few") - new;
        Ingested { new, duplicates, conflicts, lsn: last_lsn }
    }

    fn keep(&mut self, kept: Kept) {
        for place in 0..self.meters.len() {
            if !self.meters[place].archived {
                self.count(place, &kept);
            }
        }
        if !self.customers.contains_key(&kept.sent.customer) {
            self.named.insert(kept.sent.customer.clone());
        }
        self.by_id.insert(kept.sent.id.clone(), self.events.len());
        self.events.push(kept);
    }

    fn count(&mut self, place: usize, kept: &Kept) {
        let meter = &self.meters[place];
        let Some(outcome) = kept.sent.seen_by(meter) else { return };
        let customer = &kept.sent.customer;
        let skips = self.seen.entry((place, customer.clone())).or_default();
        match outcome {
            Ok(value) => {
                let sample = Sample { at: kept.at(), lsn: kept.lsn, value };
                self.oracle.count(&meter.id, customer, sample);
            }
            Err(Skip::Missing) => skips[0] += 1,
            Err(Skip::NotANumber) => skips[1] += 1,
            Err(Skip::OutOfRange) => skips[2] += 1,
        }
    }

    /// A meter as it was acknowledged; a new one counts every event that ever was.
    pub(crate) fn put_meter(&mut self, meter: &Meter) {
        if let Some(known) = self.meters.iter_mut().find(|known| known.id == meter.id) {
            known.clone_from(meter);
            return;
        }
        self.oracle.add_meter(meter.id.clone(), Kind::from(&meter.aggregation));
        self.meters.push(meter.clone());
        for event in 0..self.events.len() {
            let kept = self.events[event].clone();
            self.count(self.meters.len() - 1, &kept);
        }
    }

    pub(crate) fn put_customer(&mut self, customer: &Customer) {
        self.named.remove(customer.id.as_str());
        self.customers.insert(customer.id.as_str().to_owned(), customer.clone());
    }

    pub(crate) fn put_product(&mut self, product: &Arc<Product>) {
        match self.products.iter_mut().find(|known| known.id == product.id) {
            Some(known) => known.clone_from(product),
            None => self.products.push(Arc::clone(product)),
        }
    }

    pub(crate) fn put_entitlement(&mut self, entitlement: &Arc<CreditEntitlement>) {
        match self.entitlements.iter_mut().find(|known| known.id == entitlement.id) {
            Some(known) => known.clone_from(entitlement),
            None => self.entitlements.push(Arc::clone(entitlement)),
        }
    }

    pub(crate) fn put_subscription(&mut self, subscription: &Arc<Subscription>) {
        if subscription.paused_at.is_some() {
            self.oracle.pause(subscription.id.clone());
        }
        let known = self.subscriptions.iter_mut().find(|known| known.id == subscription.id);
        if let Some(known) = known {
            self.renewing += u64::from(!known.cycle.renews && subscription.cycle.renews);
            known.clone_from(subscription);
            return;
        }
        self.oracle.begin(subscription.id.clone(), self.passed.clone());
        self.subscriptions.push(Arc::clone(subscription));
    }

    /// A payment as it was acknowledged; the first one of a subscription begins it, and one of a change
    /// of plan changes it.
    pub(crate) fn put_payment(&mut self, payment: &Arc<Payment>) {
        if payment.charge_type == Some(ChargeType::PlanChange) {
            self.changed.extend(payment.subscription);
        }
        let pending = self.subscriptions.iter().find(|subscription| {
            subscription.first_payment == payment.id && subscription.next_segment == 0
        });
        if let Some(pending) = pending {
            self.oracle.begin(pending.id.clone(), self.passed.clone());
        }
        self.payments.insert(payment.id.clone(), Arc::clone(payment));
    }

    pub(crate) fn subscription_ids(&self) -> Vec<SubscriptionId> {
        self.subscriptions.iter().map(|subscription| subscription.id.clone()).collect()
    }
}
