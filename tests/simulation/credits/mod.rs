//! Credits as a naive model knows them: every record of the log, done again by hand.
//!
//! What the log decides, which event came when and when something turned, the model takes from there; what
//! that moves it reckons itself. What the engine shows must be the same.

mod check;
mod fold;
mod holds;
mod offers;
mod pool;
mod turn;
mod usage;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use quipu::engine::pools::PoolKey;
use quipu::model::credit::GrantOrder;
use quipu::model::{
    CreditEntitlement, CustomerId, CustomerIndex, EntitlementIndex, Lsn, Meter, MeterId, Price,
    Product, ProductIndex, Subscription, SubscriptionId, SubscriptionIndex, SubscriptionStatus,
    Terms, Timestamp,
};

pub(crate) use check::check_credits;
use holds::Reserved;
use pool::NaivePool;
use usage::Usage;
use watched::Watched;

use crate::told::Outbox;

/// The state of all credits after a record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credits {
    /// The last record that was done, and log time then.
    lsn: Lsn,
    log_time: Timestamp,
    pub(crate) order: GrantOrder,
    customers: BTreeMap<String, CustomerIndex>,
    meters: Vec<Meter>,
    products: BTreeMap<ProductIndex, Arc<Product>>,
    pub(crate) entitlements: BTreeMap<EntitlementIndex, Arc<CreditEntitlement>>,
    subscriptions: BTreeMap<SubscriptionIndex, Arc<Subscription>>,
    /// In the order in which they came to be.
    pools: Vec<(PoolKey, NaivePool)>,
    usage: Usage,
    reserved: Reserved,
    /// What webhook endpoints are told.
    pub(crate) outbox: Outbox,
    watched: Watched,
    /// The record, or the event, that is being done.
    now: Lsn,
    /// How often something was met.
    met: BTreeMap<&'static str, u64>,
}

impl Credits {
    fn place(&self, key: PoolKey) -> Option<usize> {
        self.pools.iter().position(|(known, _)| *known == key)
    }

    /// A pool, which is made when it is not there.
    fn pool(&mut self, key: PoolKey) -> &mut NaivePool {
        let place = self.place(key).unwrap_or_else(|| {
            self.pools.push((key, NaivePool::default()));
            self.pools.len() - 1
        });
        &mut self.pools[place].1
    }

    /// How it is at an instant, with what has come by then and waits for the next record.
    fn as_of(&self, at: Timestamp) -> Self {
        let mut seen = self.clone();
        seen.pass(self.log_time.max(at));
        seen
    }

    /// Whether there is a manual entry of this record.
    pub(crate) fn has_entry(&self, pool: PoolKey, lsn: Lsn) -> bool {
        let found = self.place(pool).map(|place| &self.pools[place].1.moves);
        found.is_some_and(|moves| moves.iter().any(|done| done.lsn == lsn))
    }

    fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    /// How often what was met.
    pub(crate) fn met(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let of_pools = self.pools.iter().flat_map(|(_, pool)| &pool.met);
        let met = of_pools.chain(&self.met).map(|(what, count)| (*what, *count));
        met.chain(self.outbox.met())
    }

    /// Whether anything was drawn that is on its way to an invoice.
    pub(crate) fn is_any_owed(&self) -> bool {
        self.pools.iter().any(|(_, pool)| !pool.dues.is_empty() || pool.overage() > 0)
    }

    /// Customers and the meters that they pay for in credits, and of which subscription, as it is now.
    pub(crate) fn payers(&self) -> Vec<(CustomerId, MeterId, SubscriptionId)> {
        let mut payers = Vec::new();
        for of in self.subscriptions.values() {
            let Some(running) = of.running.filter(|_| !ended(of)) else { continue };
            let name = self.customers.iter().find(|(_, index)| **index == of.customer);
            let (name, _) = name.expect("it is known who pays");
            for priced in self.price(running.terms).meters() {
                if priced.rate.credits().is_some() {
                    let meter = self.meters[priced.meter.position()].id.clone();
                    payers.push((CustomerId::new(name.as_str()), meter, of.id.clone()));
                }
            }
        }
        payers
    }

    /// The name of a customer.
    pub(crate) fn name_of(&self, customer: CustomerIndex) -> &str {
        let found = self.customers.iter().find(|(_, index)| **index == customer);
        found.map(|(name, _)| name.as_str()).expect("it is known")
    }

    /// Whether any reservation is open.
    pub(crate) fn is_any_held(&self) -> bool {
        self.pools.iter().any(|(_, pool)| !pool.holds.is_empty())
    }

    fn price(&self, terms: Terms) -> &Price {
        let product = self.products.get(&terms.product).expect("it was sold");
        product.price_at(terms.version).expect("it was sold so")
    }
}

/// Whether a subscription is over.
fn ended(of: &Subscription) -> bool {
    match of.status {
        SubscriptionStatus::Cancelled | SubscriptionStatus::Expired => true,
        SubscriptionStatus::Pending
        | SubscriptionStatus::Active
        | SubscriptionStatus::OnHold
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Paused => false,
    }
}
