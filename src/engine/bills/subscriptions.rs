//! Products and subscriptions as they are, and how far billing is.

use std::sync::Arc;

use super::{BillingStatus, ProductFilter, SubscriptionFilter, SubscriptionView};
use crate::engine::books::{Books, DueWork};
use crate::engine::pools::work::PoolWork;
use crate::engine::{Engine, Page};
use crate::model::notice::SubscriptionTold;
use crate::model::{
    EntitlementIndex, Meter, MeterId, MeterIndex, Product, ProductId, ProductIndex, Subscription,
    SubscriptionId, Timestamp,
};

/// Pieces of due work that are counted while nobody else may change the books.
const COUNTED_AT_ONCE: usize = 4_096;

impl Engine {
    /// Products that match, newest first.
    pub fn products(&self, filter: ProductFilter, page: Page) -> Vec<Arc<Product>> {
        let matches = |product: &&Arc<Product>| {
            let is_recurring = product.price().recurrence().is_some();
            product.archived == filter.archived
                && filter.recurring.is_none_or(|wanted| wanted == is_recurring)
        };
        self.shared.state.with_books(|books| {
            let newest_first = books.products().iter().rev().filter(matches);
            newest_first.skip(page.offset).take(page.limit).cloned().collect()
        })
    }

    /// One product.
    pub fn product(&self, id: &ProductId) -> Option<Arc<Product>> {
        self.shared.state.with_books(|books| books.product_by_id(id).cloned())
    }

    /// The product with this number.
    pub fn product_at(&self, index: ProductIndex) -> Option<Arc<Product>> {
        self.shared.state.with_books(|books| books.product(index).cloned())
    }

    /// The id of the meter with this number.
    pub fn meter_id(&self, index: MeterIndex) -> Option<MeterId> {
        let catalogue = self.shared.state.catalogue();
        catalogue.meters().get(index.position()).map(|meter| meter.id.clone())
    }

    /// The meter with this number.
    pub fn meter_at(&self, index: MeterIndex) -> Option<Meter> {
        self.shared.state.catalogue().meters().get(index.position()).cloned()
    }

    /// Subscriptions that match, newest first.
    pub fn subscriptions(&self, filter: &SubscriptionFilter, page: Page) -> Vec<SubscriptionView> {
        let state = &self.shared.state;
        let customer = filter
            .customer_id
            .as_ref()
            .map(|id| state.with_accounts(|accounts| accounts.index(id.as_str())));
        let (product, own, all) = state.with_books(|books| {
            let product = filter.product_id.as_ref().map(|id| books.product_by_id(id));
            let own = customer.map(|found| {
                let own = found.into_iter().flat_map(|customer| books.of_customer(customer));
                own.cloned().collect::<Vec<_>>()
            });
            // Every one is looked at, in a copy that costs next to nothing: nobody waits for it.
            let all = customer.is_none().then(|| books.subscriptions().clone());
            (product.map(|found| found.map(|product| product.index)), own, all)
        });
        let matches = |found: &&Arc<Subscription>| {
            product.is_none_or(|wanted| wanted == Some(found.terms.product))
                && filter.status.is_none_or(|wanted| wanted == found.status)
                && filter
                    .cancel_at_next_billing_date
                    .is_none_or(|wanted| wanted == found.cancel_at_next_billing_date)
                && filter.created_from.is_none_or(|from| found.created_at >= from)
                && filter.created_to.is_none_or(|to| found.created_at <= to)
        };
        let listed = all.iter().flat_map(|all| all.iter().rev());
        let newest_first = own.iter().flat_map(|own| own.iter().rev()).chain(listed);
        let found = newest_first.filter(matches).skip(page.offset).take(page.limit).cloned();
        let found: Vec<Arc<Subscription>> = found.collect();
        found.into_iter().filter_map(|subscription| self.view(&subscription)).collect()
    }

    /// One subscription.
    pub fn subscription(&self, id: &SubscriptionId) -> Option<SubscriptionView> {
        let found = self.shared.state.with_books(|books| books.subscription_by_id(id).cloned());
        self.view(&found?)
    }

    /// A subscription, as it may be just after a change, with what its numbers stand for.
    pub fn view(&self, subscription: &Arc<Subscription>) -> Option<SubscriptionView> {
        let shares_meters_with = self.shared.state.with_books(|books| sharing(books, subscription));
        let usage = self.credit_usage_of(subscription);
        let of_pool = |entitlement: EntitlementIndex| {
            let found = usage.iter().find(|usage| usage.entitlement.index == entitlement)?;
            Some((found.balance, found.overage))
        };
        let told = self.shared.state.told_of(subscription, of_pool)?;
        self.view_told(told, shares_meters_with)
    }

    /// The same of what was told.
    pub(super) fn view_told(
        &self,
        told: SubscriptionTold,
        shares_meters_with: Vec<SubscriptionId>,
    ) -> Option<SubscriptionView> {
        let SubscriptionTold { subscription, customer, meters, entitlements, scheduled } = told;
        let terms = subscription.terms;
        let product = self.shared.state.with_books(|books| books.product(terms.product).cloned());
        Some(SubscriptionView {
            first_payment: subscription.first_payment.clone(),
            customer,
            product: product?,
            shares_meters_with,
            meters,
            entitlements,
            scheduled,
            subscription,
        })
    }

    /// How far billing is.
    pub fn billing_status(&self) -> BillingStatus {
        let now = self.now().max(self.shared.state.log_time());
        let marks = self.shared.state.billing_marks();
        let (next_due, stopped) = self
            .shared
            .state
            .with_books(|books| (books.due().next().map(|work| work.at), books.stopped()));
        let overdue = self.overdue(now);
        BillingStatus {
            next_due,
            overdue,
            waiting_for_clock: overdue > 0 && self.shared.clock_in_doubt(),
            last_run: marks.last_run,
            stopped,
        }
    }
}

impl Engine {
    /// How many pieces of work are due. A million may be: they are counted a few at a time, so that
    /// nobody waits for it.
    fn overdue(&self, now: Timestamp) -> u64 {
        let (mut count, mut last) = (0_u64, None::<PoolWork>);
        loop {
            last = self.shared.state.with_pools(|pools| {
                let due = pools.due_behind(last.as_ref()).take_while(|work| work.at <= now);
                due.take(COUNTED_AT_ONCE).inspect(|_| count += 1).last().copied()
            });
            if last.is_none() {
                break;
            }
        }
        let mut last = None::<DueWork>;
        loop {
            last = self.shared.state.with_books(|books| {
                let due = books.due_behind(last.as_ref()).take_while(|work| work.at <= now);
                due.take(COUNTED_AT_ONCE).inspect(|_| count += 1).last().copied()
            });
            if last.is_none() {
                return count;
            }
        }
    }
}

/// Other live subscriptions of the customer that bill a meter of this one too.
fn sharing(books: &Books, subscription: &Subscription) -> Vec<SubscriptionId> {
    let own = books.meters(subscription.terms);
    let others = books.of_customer(subscription.customer);
    let sharing = others.filter(|other| {
        other.index != subscription.index
            && other.running.is_some_and(|running| {
                books.meters(running.terms).iter().any(|meter| own.contains(meter))
            })
    });
    sharing.map(|other| other.id.clone()).collect()
}
