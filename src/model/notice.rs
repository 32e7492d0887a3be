//! What an application is told: something that has happened, with everything as it was then.
//!
//! A message's body is made of a notice and of what never changes, so that it is the same at every attempt.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::alert::{Alert, Crossing};
use crate::model::credit::{Credits, LedgerEntry};
use crate::model::customer::Customer;
use crate::model::id::{
    CustomerIndex, EndpointId, EndpointIndex, EntitlementIndex, MeterIndex, SubscriptionIndex,
};
use crate::model::invoice::Payment;
use crate::model::subscription::Subscription;
use crate::model::time::Timestamp;
use crate::model::webhook::EventType;

/// Something that has happened, for the endpoints that wanted to know it then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What.
    pub event_type: EventType,
    /// When.
    pub at: Timestamp,
    /// Whom it is for, in the order of their indexes; never empty.
    pub to: Vec<EndpointIndex>,
    /// What it tells.
    pub told: Told,
}

/// What a notice tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A payment.
    Payment {
        /// As it was.
        payment: Arc<Payment>,
        /// Who pays, as the record was.
        customer: Arc<Customer>,
    },
    /// A subscription.
    Subscription(Box<SubscriptionTold>),
    /// A row of a ledger, which never changes.
    Ledger(Arc<LedgerEntry>),
    /// A balance has gone low.
    BalanceLow(Box<BalanceLow>),
    /// An alert has fired.
    Threshold(Box<ThresholdTold>),
    /// Nothing: somebody tries whether messages arrive at this endpoint.
    Test(EndpointId),
}

/// A subscription and the names on it, as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionTold {
    /// The subscription.
    pub subscription: Arc<Subscription>,
    /// Who pays.
    pub customer: Arc<Customer>,
    /// The meters of its price, in the price's order.
    pub meters: Vec<MeterWords>,
    /// What it is granted, in the order of its attachments.
    pub entitlements: Vec<EntitlementWords>,
    /// What its scheduled change leads to.
    pub scheduled: Option<ProductWords>,
}

/// What people read of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterWords {
    /// The meter.
    pub index: MeterIndex,
    /// Its name.
    pub name: String,
    /// A longer text.
    pub description: Option<String>,
    /// Its unit.
    pub measurement_unit: String,
}

/// What people read of a credit entitlement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementWords {
    /// The entitlement.
    pub index: EntitlementIndex,
    /// Its name.
    pub name: String,
    /// What one credit is called.
    pub unit: String,
    /// What the customer can spend of it, what reservations hold included.
    pub balance: Credits,
    /// The overage of all of the customer's subscriptions.
    pub overage: Credits,
}

/// What people read of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductWords {
    /// Its name.
    pub name: String,
    /// A longer text.
    pub description: Option<String>,
}

/// An alert that has fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdTold {
    /// The alert, which may be deleted since.
    pub alert: Arc<Alert>,
    /// For whom, when, and what was found.
    pub crossing: Crossing,
}

/// A draw has found the balance below a subscription's threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceLow {
    /// Whose draw.
    pub subscription: SubscriptionIndex,
    /// Whose balance.
    pub customer: CustomerIndex,
    /// Of what.
    pub entitlement: EntitlementIndex,
    /// That one's name.
    pub entitlement_name: String,
    /// What is left.
    pub available: Credits,
    /// Credits of each period.
    pub amount: Credits,
    /// The threshold, in percent of those.
    pub percent: u8,
    /// The threshold.
    pub threshold: Credits,
}
