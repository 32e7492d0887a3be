//! Alerts: what a customer's usage, its cost or a balance of credits comes to when the application wants
//! to be told.

use serde::{Deserialize, Serialize};

use crate::model::credit::Credits;
use crate::model::currency::Currency;
use crate::model::id::{
    AlertId, AlertIndex, CustomerIndex, EntitlementIndex, MeterIndex, SubscriptionIndex,
};
use crate::model::money::Money;
use crate::model::number::Quantity;
use crate::model::period::Period;
use crate::model::time::Timestamp;

/// What is watched, and where the threshold lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Threshold {
    /// Usage of a meter in a period comes to this or more.
    Usage {
        /// The meter.
        meter: MeterIndex,
        /// In its unit; more than nothing.
        at_least: Quantity,
    },
    /// What usage of a meter costs in a period comes to this or more.
    Cost {
        /// The meter.
        meter: MeterIndex,
        /// Of what is paid in this currency.
        currency: Currency,
        /// More than nothing.
        at_least: Money,
    },
    /// A balance of credits comes down to this or less.
    Balance {
        /// The entitlement.
        entitlement: EntitlementIndex,
        /// Not negative.
        at_most: Credits,
    },
}

/// What a threshold is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Watched {
    /// The usage of a meter, or what it costs.
    Meter(MeterIndex),
    /// The balances of an entitlement.
    Entitlement(EntitlementIndex),
}

impl Threshold {
    /// What it is compared with.
    pub fn watched(&self) -> Watched {
        match self {
            Self::Usage { meter, .. } | Self::Cost { meter, .. } => Watched::Meter(*meter),
            Self::Balance { entitlement, .. } => Watched::Entitlement(*entitlement),
        }
    }
}

/// An alert. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The id, `alr_…`.
    pub id: AlertId,
    /// The number that stands for it.
    pub index: AlertIndex,
    /// A text for people.
    pub name: Option<String>,
    /// When it fires.
    pub threshold: Threshold,
    /// For this customer alone; for every one of them when there is none.
    pub customer: Option<CustomerIndex>,
    /// Log time of the creation.
    pub created_at: Timestamp,
    /// Whether it was deleted: it is forgotten as soon as this is known.
    pub deleted: bool,
}

/// A period in which an alert fires once for a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Span {
    /// Of a subscription: the one that began with the segment of this number.
    Subscription(SubscriptionIndex, u32),
    /// Of a customer whom no subscription bills for it: the UTC month that begins here.
    Month(Timestamp),
}

/// What was found at a threshold or beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Usage, in the meter's unit.
    Usage(Quantity),
    /// What it costs.
    Cost(Currency, Money),
    /// A balance.
    Balance(Credits),
}

/// An alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// The alert.
    pub alert: AlertIndex,
    /// For whom.
    pub customer: CustomerIndex,
    /// In which period.
    pub span: Span,
    /// From where to where that lies, as far as it is known.
    pub period: Period,
    /// What was found.
    pub level: Level,
}

/// What names a crossing: an alert fires once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CrossingKey {
    /// The customer first: what is kept together is of one customer.
    pub customer: CustomerIndex,
    /// The alert.
    pub alert: AlertIndex,
    /// The period.
    pub span: Span,
}

impl Crossing {
    /// What names it.
    pub fn key(&self) -> CrossingKey {
        CrossingKey { customer: self.customer, alert: self.alert, span: self.span }
    }
}
