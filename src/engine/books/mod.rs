//! What the state holds of billing: products, subscriptions, what is due, payments and invoices.
//!
//! It changes by whole objects alone, which the log's records carry: putting one again does no harm.

pub mod entitlements;
pub mod payments;
pub mod recent;
pub mod routes;
pub mod segments;
pub mod shelf;
pub mod warm;

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::billing::{Due, Step, each_due};
use crate::engine::wide::WideMap;
use crate::model::{
    CustomerIndex, MeterIndex, Price, Product, ProductId, ProductIndex, Subscription,
    SubscriptionId, SubscriptionIndex, Terms, Timestamp,
};

use entitlements::Entitlements;
use payments::Payments;
use routes::Routes;
use shelf::Shelf;

/// Whose turn it is: by instant, turns before closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    at: Timestamp,
    is_close: bool,
}

impl Turn {
    /// That of something that is due.
    pub fn of(due: &Due) -> Self {
        let is_close = match due.step {
            Step::PastDueEnd | Step::Turn => false,
            Step::Close { .. } => true,
        };
        Self { at: due.at, is_close }
    }

    /// The first turn of an instant.
    pub fn first_at(at: Timestamp) -> Self {
        Self { at, is_close: false }
    }

    /// The instant.
    pub fn at(self) -> Timestamp {
        self.at
    }
}

/// Something that is due at an instant; sorts in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueWork {
    /// The instant.
    pub at: Timestamp,
    /// Turns before closes.
    is_close: bool,
    /// The id, as numbers that sort as it does.
    id: (u128, u128),
    /// What is to be done.
    pub step: Step,
    /// The subscription's number.
    pub subscription: SubscriptionIndex,
}

impl DueWork {
    fn new(subscription: &Subscription, due: Due) -> Self {
        Self {
            at: due.at,
            is_close: Turn::of(&due).is_close,
            id: sorting(&subscription.id),
            step: due.step,
            subscription: subscription.index,
        }
    }

    /// Whose turn it is.
    pub fn turn(&self) -> Turn {
        Turn { at: self.at, is_close: self.is_close }
    }
}

/// Products, subscriptions, payments and invoices; see the module.
#[derive(Debug, Default)]
pub struct Books {
    products: Vec<Arc<Product>>,
    product_ids: HashMap<ProductId, ProductIndex>,
    subscriptions: Shelf<Subscription>,
    subscription_ids: WideMap<SubscriptionId, SubscriptionIndex>,
    of_customer: WideMap<CustomerIndex, Vec<SubscriptionIndex>>,
    due: BTreeSet<DueWork>,
    stopped: u64,
    /// Kinds of credit.
    pub entitlements: Entitlements,
    /// Which segments events enter.
    pub routes: Routes,
    /// Payments and invoices.
    pub payments: Payments,
}

impl Books {
    /// Puts a product in its place.
    ///
    /// # Panics
    /// When its index would leave a gap.
    pub fn put_product(&mut self, product: Arc<Product>) {
        if let Some(place) = self.products.get_mut(product.index.position()) {
            *place = product;
        } else {
            assert_eq!(product.index, self.next_product(), "products have no gaps");
            self.product_ids.insert(product.id.clone(), product.index);
            self.products.push(product);
        }
    }

    /// Puts a subscription in its place: what is due of it, and where its customer's events go, is
    /// as it says from now on.
    ///
    /// # Panics
    /// When its index would leave a gap.
    pub fn put_subscription(&mut self, subscription: Arc<Subscription>) {
        if let Some(old) = self.subscriptions.get(subscription.index.position()) {
            // What stays due keeps its place.
            for gone in
                each_due(old).filter(|known| each_due(&subscription).all(|left| left != *known))
            {
                self.due.remove(&DueWork::new(old, gone));
            }
            for new in
                each_due(&subscription).filter(|new| each_due(old).all(|known| known != *new))
            {
                self.due.insert(DueWork::new(&subscription, new));
            }
            self.stopped -= u64::from(old.stopped);
        } else {
            self.subscription_ids.insert(subscription.id.clone(), subscription.index);
            self.of_customer.or_default(subscription.customer).push(subscription.index);
            self.due.extend(each_due(&subscription).map(|due| DueWork::new(&subscription, due)));
        }
        self.stopped += u64::from(subscription.stopped);
        let products = &self.products;
        self.routes.put(&subscription, |terms| {
            products.get(terms.product.position()).map(|product| &**product)
        });
        self.subscriptions.put(subscription.index.position(), subscription);
    }

    /// Every product, in the order of their indexes.
    pub fn products(&self) -> &[Arc<Product>] {
        &self.products
    }

    /// The product with this number.
    pub fn product(&self, index: ProductIndex) -> Option<&Arc<Product>> {
        self.products.get(index.position())
    }

    /// The product with this id.
    pub fn product_by_id(&self, id: &ProductId) -> Option<&Arc<Product>> {
        self.product(*self.product_ids.get(id)?)
    }

    /// The price that was bought.
    pub fn price(&self, terms: Terms) -> Option<&Price> {
        self.product(terms.product)?.price_at(terms.version)
    }

    /// The meters of a price, in its order.
    pub fn meters(&self, terms: Terms) -> Vec<MeterIndex> {
        let price = self.price(terms);
        price
            .map_or_else(Vec::new, |price| price.meters().iter().map(|meter| meter.meter).collect())
    }

    /// The index that the next product gets.
    ///
    /// # Panics
    /// After 2^32 products.
    pub fn next_product(&self) -> ProductIndex {
        ProductIndex(u32::try_from(self.products.len()).expect("fewer than 2^32 products"))
    }

    /// The index that the next subscription gets.
    ///
    /// # Panics
    /// After 2^32 subscriptions.
    pub fn next_subscription(&self) -> SubscriptionIndex {
        let count = u32::try_from(self.subscriptions.len());
        SubscriptionIndex(count.expect("fewer than 2^32 subscriptions"))
    }

    /// Every subscription, in the order of their indexes.
    pub fn subscriptions(&self) -> &Shelf<Subscription> {
        &self.subscriptions
    }

    /// The subscription with this number.
    pub fn subscription(&self, index: SubscriptionIndex) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(index.position())
    }

    /// The subscription with this id.
    pub fn subscription_by_id(&self, id: &SubscriptionId) -> Option<&Arc<Subscription>> {
        self.subscription(*self.subscription_ids.get(id)?)
    }

    /// When the running segment of a subscription ends; nothing while none runs.
    pub fn turns_at(&self, index: SubscriptionIndex) -> Option<Timestamp> {
        self.subscription(index)?.running.map(|segment| segment.period.end)
    }

    /// The subscriptions of a customer, oldest first.
    pub fn of_customer(&self, customer: CustomerIndex) -> impl Iterator<Item = &Arc<Subscription>> {
        let indexes = self.of_customer.get(&customer).into_iter().flatten();
        indexes.filter_map(|index| self.subscription(*index))
    }

    /// What is due, in the order in which it is to be done.
    pub fn due(&self) -> impl Iterator<Item = &DueWork> {
        self.due.iter()
    }

    /// What is due behind a piece of work, in order; everything when there is none before it.
    pub fn due_behind(&self, last: Option<&DueWork>) -> impl Iterator<Item = &DueWork> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.due.range((start, Bound::Unbounded))
    }

    /// Subscriptions whose closes have stopped.
    pub fn stopped(&self) -> u64 {
        self.stopped
    }
}

/// The bytes of an id, which is shorter than these: they sort as ids do, because none holds a zero.
#[expect(clippy::big_endian_bytes, reason = "numbers of this order of bytes sort as texts do")]
fn sorting(id: &SubscriptionId) -> (u128, u128) {
    let mut padded = [0; 32];
    padded.iter_mut().zip(id.as_str().as_bytes()).for_each(|(place, byte)| *place = *byte);
    let [first, rest] = [padded.first_chunk(), padded.last_chunk()]
        .map(|half| u128::from_be_bytes(*half.expect("half of these")));
    (first, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_numbers_of_ids_sort_as_ids_do(one in "sub_[0-9A-Za-z]{0,28}", other in "[!-~]{0,32}") {
            let (one, other) = (SubscriptionId::new(one), SubscriptionId::new(other));
            prop_assert_eq!(sorting(&one).cmp(&sorting(&other)), one.cmp(&other));
            let next = SubscriptionId::new(format!("{}0", one.as_str().get(..30.min(one.as_str().len())).unwrap()));
            prop_assert_eq!(sorting(&one).cmp(&sorting(&next)), one.cmp(&next));
        }
    }
}
