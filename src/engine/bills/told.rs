//! What notices tell, with what their numbers stand for: ids and prices, which never change.

use std::sync::Arc;

use super::{LedgerView, PaymentView, SubscriptionView};
use crate::engine::Engine;
use crate::engine::alerts::requests::AlertView;
use crate::model::alert::{Crossing, Span};
use crate::model::credit::LedgerReference;
use crate::model::notice::BalanceLow;
use crate::model::{CustomerId, EndpointId, EntitlementId, SubscriptionId, Told};

/// What a notice tells.
#[derive(Clone, Debug)]
pub enum ToldView {
    /// A payment.
    Payment(PaymentView),
    /// A subscription.
    Subscription(Box<SubscriptionView>),
    /// A row of a ledger.
    Ledger(LedgerView, EntitlementId, CustomerId),
    /// A balance has gone low.
    BalanceLow(BalanceLowView),
    /// An alert has fired.
    Threshold(ThresholdView),
    /// Nothing.
    Test(EndpointId),
}

/// A balance that has gone low, with what its numbers stand for.
#[derive(Clone, Debug)]
pub struct BalanceLowView {
    /// What is told.
    pub low: BalanceLow,
    /// Whose balance.
    pub customer_id: CustomerId,
    /// Whose draw.
    pub subscription_id: SubscriptionId,
    /// Of what.
    pub entitlement_id: EntitlementId,
}

/// An alert that has fired, with what its numbers stand for.
#[derive(Clone, Debug)]
pub struct ThresholdView {
    /// The alert.
    pub alert: AlertView,
    /// For whom, in which period, and what was found.
    pub crossing: Crossing,
    /// For whom.
    pub customer_id: CustomerId,
    /// Whose period it is; of a UTC month nobody's.
    pub subscription_id: Option<SubscriptionId>,
}

impl Engine {
    /// What a notice tells; nothing when it names what does not exist, which cannot be.
    pub fn told(&self, told: &Told) -> Option<ToldView> {
        let state = &self.shared.state;
        let customer_id = |index| state.with_accounts(|all| all.id_at(index).cloned());
        Some(match told {
            Told::Payment { payment, customer } => {
                let (subscription_id, products) = state.with_books(|books| {
                    let subscription = payment.subscription.map(|index| books.subscription(index));
                    let products = payment.cart.iter().map(|item| books.product(item.product));
                    let ids = products.map(|product| product.map(|product| product.id.clone()));
                    (subscription.map(|found| found.map(|found| found.id.clone())), ids.collect())
                });
                let subscription_id = match subscription_id {
                    None => None,
                    Some(found) => Some(found?),
                };
                let product_ids: Option<Vec<_>> = products;
                ToldView::Payment(PaymentView {
                    payment: Arc::clone(payment),
                    customer: Arc::clone(customer),
                    subscription_id,
                    product_ids: product_ids?,
                    is_newest: true,
                })
            }
            Told::Subscription(told) => {
                ToldView::Subscription(Box::new(self.view_told((**told).clone(), Vec::new())?))
            }
            Told::Ledger(entry) => {
                let subscription_id = match &entry.reference {
                    LedgerReference::Subscription(index) | LedgerReference::OverageRepay(index) => {
                        Some(self.subscription_id(*index)?)
                    }
                    LedgerReference::Payment(_) | LedgerReference::Api => None,
                };
                let view = LedgerView { entry: Arc::clone(entry), subscription_id };
                let entitlement = self.entitlement_id(entry.entitlement)?;
                ToldView::Ledger(view, entitlement, customer_id(entry.customer)?)
            }
            Told::Threshold(told) => {
                let crossing = told.crossing;
                let subscription_id = match crossing.span {
                    Span::Subscription(index, _) => Some(self.subscription_id(index)?),
                    Span::Month(_) => None,
                };
                let alert = self.new_alert_view(Arc::clone(&told.alert));
                let customer_id = customer_id(crossing.customer)?;
                ToldView::Threshold(ThresholdView { alert, crossing, customer_id, subscription_id })
            }
            Told::BalanceLow(low) => ToldView::BalanceLow(BalanceLowView {
                customer_id: customer_id(low.customer)?,
                subscription_id: self.subscription_id(low.subscription)?,
                entitlement_id: self.entitlement_id(low.entitlement)?,
                low: (**low).clone(),
            }),
            Told::Test(id) => ToldView::Test(id.clone()),
        })
    }
}
