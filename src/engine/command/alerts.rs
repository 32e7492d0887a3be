//! Alerts that a client asks for.

use crate::model::{Credits, Currency, CustomerId, EntitlementId, MeterId, Money, Quantity};

/// What is to be watched, by its ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewThreshold {
    /// Usage of a meter.
    Usage {
        /// The meter.
        meter_id: MeterId,
        /// In its unit; more than nothing.
        at_least: Quantity,
    },
    /// What usage of a meter costs.
    Cost {
        /// The meter.
        meter_id: MeterId,
        /// Of what is paid in this currency.
        currency: Currency,
        /// More than nothing.
        at_least: Money,
    },
    /// The balances of an entitlement.
    Balance {
        /// The entitlement.
        entitlement_id: EntitlementId,
        /// Not negative.
        at_most: Credits,
    },
}

/// An alert to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAlert {
    /// A text for people.
    pub name: Option<String>,
    /// When it fires.
    pub threshold: NewThreshold,
    /// For this customer alone; for every one of them when there is none.
    pub customer_id: Option<CustomerId>,
}
