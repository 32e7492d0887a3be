//! Credits for usage that is about to come: what is asked, and what is to be held.

use std::time::Duration;

use crate::model::{CustomerId, MeterId, Quantity, SubscriptionId};

/// How long credits may be held.
pub const LIFETIME_MAX: Duration = Duration::from_hours(1);

/// Usage that is about to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose.
    pub customer_id: CustomerId,
    /// Of what.
    pub meter_id: MeterId,
    /// How much, in units of the meter; of a largest or a last value that value. Not below zero.
    pub amount: Quantity,
    /// The subscription that pays, when the client names one.
    pub subscription_id: Option<SubscriptionId>,
}

/// Credits to be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReservation {
    /// For what.
    pub ask: Ask,
    /// How long at most; not longer than [`LIFETIME_MAX`].
    pub lifetime: Duration,
}
