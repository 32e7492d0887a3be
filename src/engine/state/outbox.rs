//! What records tell webhook endpoints, and what they say of them.

use std::sync::Arc;

use super::{Applying, State};
use crate::engine::outbox::{Outbox, notices};
use crate::engine::pools::PoolKey;
use crate::engine::pools::told::CreditsTold;
use crate::engine::record::WebhookChange;
use crate::model::notice::{EntitlementWords, MeterWords, ProductWords, SubscriptionTold};
use crate::model::webhook::EventTypes;
use crate::model::{
    Credits, Endpoint, EntitlementIndex, EventType, Payment, Price, Subscription, Told,
};
use crate::world::sync::atomic::Ordering;

impl State {
    /// Looks at the outbox; `look` only copies.
    pub fn with_outbox<T>(&self, look: impl FnOnce(&Outbox) -> T) -> T {
        look(&self.outbox.lock())
    }

    /// Changes the outbox while it is loaded from a checkpoint.
    pub fn load_outbox(&self, load: impl FnOnce(&mut Outbox)) {
        load(&mut self.outbox.lock());
        self.note_wants();
    }

    /// What was cut is on disk.
    pub fn forget_recent_messages(&self) {
        let forgotten = self.outbox.lock().take_cut();
        drop(forgotten);
    }

    pub(super) fn put_endpoint(&self, now: &Applying, endpoint: &Arc<Endpoint>) {
        self.outbox.lock().put_endpoint(now.lsn, Arc::clone(endpoint));
        self.note_wants();
    }

    pub(super) fn apply_webhook(&self, now: &Applying, change: &WebhookChange) {
        let mut outbox = self.outbox.lock();
        match change {
            WebhookChange::Tested(endpoint, id) => {
                outbox.test(now.lsn, now.log_time, (*endpoint, id));
            }
            WebhookChange::Requeued { endpoint, messages, due } => {
                outbox.requeue(*endpoint, messages, *due);
            }
        }
    }

    pub(super) fn apply_settled(
        &self,
        now: &Applying,
        entry: &crate::engine::outbox::settle::SettledEntry,
    ) {
        self.outbox.lock().settle(now.lsn, entry);
        self.note_wants();
    }

    /// Says whether anybody is to be told what happens to credits.
    fn note_wants(&self) {
        let wanted = self.outbox.lock().wanted();
        self.wanted.store(wanted.bits(), Ordering::Release);
        let of_credits: EventTypes = notices::OF_CREDITS.iter().copied().collect();
        self.pools.lock().tell(wanted.meets(of_credits));
    }

    /// What any endpoint wants to know.
    fn all_wanted(&self) -> EventTypes {
        EventTypes::from_bits(self.wanted.load(Ordering::Acquire))
    }

    /// Those of these types that anybody wants to know of.
    fn wanted(&self, types: impl Iterator<Item = EventType>) -> Vec<EventType> {
        let wanted = self.all_wanted();
        if wanted == EventTypes::NONE {
            return Vec::new();
        }
        types.filter(|event_type| wanted.contains(*event_type)).collect()
    }

    /// Tells what has become of a subscription.
    pub(super) fn tell_subscription(
        &self,
        now: &Applying,
        before: Option<&Subscription>,
        after: &Arc<Subscription>,
    ) {
        if self.all_wanted() == EventTypes::NONE {
            return;
        }
        let events = notices::of_subscription(before, after);
        self.tell_of(now, self.wanted(events), after);
    }

    fn tell_of(&self, now: &Applying, events: Vec<EventType>, subscription: &Arc<Subscription>) {
        if events.is_empty() {
            return;
        }
        let of_pool = |entitlement: EntitlementIndex| {
            let pools = self.pools.lock();
            let kept = pools.by_key(&PoolKey { entitlement, customer: subscription.customer })?;
            Some((kept.pool.balance_at(now.log_time), kept.pool.overage()))
        };
        let Some(told) = self.told_of(subscription, of_pool) else { return };
        let mut outbox = self.outbox.lock();
        for event_type in events {
            let told = || Told::Subscription(Box::new(told.clone()));
            outbox.tell(now.lsn, (event_type, now.log_time), told);
        }
    }

    /// A subscription with the names on it as they are now. `of_pool` says what its customer has of an
    /// entitlement: the balance and the overage.
    pub fn told_of(
        &self,
        subscription: &Arc<Subscription>,
        of_pool: impl Fn(EntitlementIndex) -> Option<(Credits, Credits)>,
    ) -> Option<SubscriptionTold> {
        let customer = self.with_accounts(|accounts| accounts.at(subscription.customer))?;
        let catalogue = self.catalogue();
        let books = self.books.read();
        let price = books.price(subscription.terms);
        let meters = price.map(Price::meters).unwrap_or_default().iter().filter_map(|priced| {
            let meter = catalogue.meters().get(priced.meter.position())?;
            Some(MeterWords {
                index: meter.index,
                name: meter.name.clone(),
                description: meter.description.clone(),
                measurement_unit: meter.measurement_unit.clone(),
            })
        });
        let entitlements = subscription.credits.iter().filter_map(|attached| {
            let entitlement = books.entitlements.get(attached.entitlement)?;
            let (balance, overage) = of_pool(attached.entitlement).unwrap_or_default();
            Some(EntitlementWords {
                index: entitlement.index,
                name: entitlement.name.clone(),
                unit: entitlement.unit.clone(),
                balance,
                overage,
            })
        });
        let scheduled = subscription.scheduled_change.as_ref();
        let scheduled = scheduled.and_then(|change| books.product(change.plan.terms.product));
        Some(SubscriptionTold {
            subscription: Arc::clone(subscription),
            customer,
            meters: meters.collect(),
            entitlements: entitlements.collect(),
            scheduled: scheduled.map(|product| ProductWords {
                name: product.name.clone(),
                description: product.description.clone(),
            }),
        })
    }

    /// Tells of a payment that was just made or marked.
    pub(super) fn tell_payment(&self, now: &Applying, payment: &Arc<Payment>) {
        let wanted = self.wanted(std::iter::once(notices::of_payment(payment)));
        let Some(event_type) = wanted.first() else { return };
        let customer = self.with_accounts(|accounts| accounts.at(payment.customer));
        let Some(customer) = customer else { return };
        let told = || Told::Payment { payment: Arc::clone(payment), customer };
        self.outbox.lock().tell(now.lsn, (*event_type, now.log_time), told);
    }

    /// Tells that a payment which was just made or marked has renewed its subscription, when it has.
    pub(super) fn tell_renewal(&self, now: &Applying, payment: &Payment) {
        let renewed = Some(EventType::SubscriptionRenewed).filter(|_| notices::renews(payment));
        let events = self.wanted(renewed.into_iter());
        if let Some(index) = payment.subscription
            && !events.is_empty()
        {
            let subscription = self.with_books(|books| books.subscription(index).cloned());
            if let Some(subscription) = subscription {
                self.tell_of(now, events, &subscription);
            }
        }
    }

    /// Tells what a record has done to credits. The events of several requests may be one record here and
    /// several at another time: each message is of the event that has made it.
    pub(super) fn tell_credits(&self) {
        let told = self.pools.lock().take_told();
        self.tell_of_credits(told);
    }

    /// See [`State::tell_credits`].
    pub(super) fn tell_of_credits(&self, told: Vec<CreditsTold>) {
        if told.is_empty() {
            return;
        }
        let mut outbox = self.outbox.lock();
        for told in told {
            match told {
                CreditsTold::Row(row) => {
                    let event = (notices::of_ledger(row.transaction), row.created_at);
                    outbox.tell(row.id.lsn, event, || Told::Ledger(row));
                }
                CreditsTold::Low { lsn, at, low } => {
                    let event = (EventType::CreditBalanceLow, at);
                    outbox.tell(lsn, event, || Told::BalanceLow(low));
                }
            }
        }
    }
}
