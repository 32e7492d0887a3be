//! Checkout sessions: an order that is put together by one request and confirmed by another, or at
//! once.
//!
//! What a session offers never changes: its prices are those of its creation. It can be confirmed once,
//! within [`OPEN_FOR`]; [`KEPT_FOR`] after its creation it is forgotten.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::credit::Attachment;
use crate::model::currency::Currency;
use crate::model::customer::Metadata;
use crate::model::id::{CheckoutId, CustomerIndex, PaymentId, SubscriptionId};
use crate::model::money::Money;
use crate::model::subscription::{BillingAddress, Terms};
use crate::model::time::Timestamp;

/// How long after its creation a session can be confirmed, in log time.
pub const OPEN_FOR: Duration = Duration::from_hours(24);
/// How long after its creation a session is known, in log time.
pub const KEPT_FOR: Duration = Duration::from_hours(30 * 24);

/// So many of a product, at one of its prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    /// The price.
    pub terms: Terms,
    /// How many; at least one.
    pub quantity: u32,
    /// The credits that it hands out: the price's, with what was agreed on otherwise.
    pub credits: Vec<Attachment>,
    /// What one costs, where the customer has said so; never less than the price.
    pub amount: Option<Money>,
}

/// A subscription that is to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurring {
    /// What is paid for each cycle.
    pub purchase: Purchase,
    /// Days before the first cycle.
    pub trial_days: u32,
}

/// What an order is for: one subscription at most, and what is bought once. Never empty, all of one
/// currency, each product once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    /// The subscription.
    pub recurring: Option<Recurring>,
    /// What is bought once, in the client's order.
    pub once: Vec<Purchase>,
}

/// Who buys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Buyer {
    /// This customer.
    Known(CustomerIndex),
    /// The customer with this address, made when there is none.
    Addressed {
        /// The address; not empty.
        email: String,
        /// The name of a new customer.
        name: Option<String>,
        /// The phone number of a new customer.
        phone_number: Option<String>,
    },
}

/// What a session offers, and what is known of who takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The cart.
    pub cart: Cart,
    /// The currency of its prices.
    pub currency: Currency,
    /// Who buys, unless that is still to be asked.
    pub buyer: Option<Buyer>,
    /// Where the customer lives, unless that is still to be asked.
    pub billing: Option<BillingAddress>,
    /// Whether no more of the address is asked for than the country and the postal code.
    pub minimal_address: bool,
    /// The customer's company.
    pub customer_business_name: Option<String>,
    /// The customer's tax number.
    pub tax_id: Option<String>,
    /// Free details, for the subscription or the payment.
    pub metadata: Metadata,
    /// Where a person goes who does not want to buy: `http` or `https`.
    pub cancel_url: Option<String>,
}

/// What a session has led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Who bought.
    pub customer: CustomerIndex,
    /// The order's first payment.
    pub payment: PaymentId,
    /// The subscription that was made.
    pub subscription: Option<SubscriptionId>,
}

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckoutState {
    /// It waits to be confirmed.
    Open(Box<Offer>),
    /// Nobody has confirmed it in time.
    Ended,
    /// The order is made.
    Confirmed(Confirmation),
}

/// A checkout session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutSession {
    /// The id, `cks_…`; whoever knows it may confirm.
    pub id: CheckoutId,
    /// Log time of the creation.
    pub created_at: Timestamp,
    /// Where a person goes once the order is made: `http` or `https`.
    pub return_url: Option<String>,
    /// Where it stands.
    pub state: CheckoutState,
}

impl CheckoutSession {
    /// When something happens to it by itself: an open one ends, any other is forgotten.
    pub fn deadline(&self) -> Timestamp {
        match &self.state {
            CheckoutState::Open(_) => self.created_at.plus(OPEN_FOR),
            CheckoutState::Ended | CheckoutState::Confirmed(_) => self.created_at.plus(KEPT_FOR),
        }
    }

    /// Whether anybody still finds it at `now`.
    pub fn is_known(&self, now: Timestamp) -> bool {
        now < self.created_at.plus(KEPT_FOR)
    }

    /// What it offers at `now`; nothing once it was confirmed or its time is over.
    pub fn offer(&self, now: Timestamp) -> Option<&Offer> {
        match &self.state {
            CheckoutState::Open(offer) if now < self.deadline() => Some(offer),
            CheckoutState::Open(_) | CheckoutState::Ended | CheckoutState::Confirmed(_) => None,
        }
    }
}
