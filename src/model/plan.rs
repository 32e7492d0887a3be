//! Changes of plan: what a subscription is changed to, when, and what that costs at once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::credit::Attachment;
use crate::model::id::PlanChangeId;
use crate::model::invoice::InvoiceNumber;
use crate::model::money::Money;
use crate::model::price::Interval;
use crate::model::subscription::Terms;
use crate::model::time::Timestamp;

/// What a subscription is to be changed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The price.
    pub terms: Terms,
    /// How many.
    pub quantity: u32,
    /// The length of a cycle.
    pub interval: Interval,
    /// How long the subscription lasts from the change on, at least.
    pub subscription_period: Interval,
    /// The credits of that price.
    pub credits: Arc<Vec<Attachment>>,
}

/// What a change of plan costs at once, and whether the cycle starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProrationMode {
    /// The new price less the unused part of the old one; the cycle starts anew.
    ProratedImmediately,
    /// The unused part of the difference; the cycle is kept.
    ProratedImmediatelyKeepCycle,
    /// The difference; the cycle starts anew.
    DifferenceImmediately,
    /// The new price; the cycle starts anew.
    FullImmediately,
    /// Nothing; the cycle is kept.
    DoNotBill,
}

impl ProrationMode {
    /// Whether the cycle goes on as it was.
    pub fn keeps_cycle(self) -> bool {
        match self {
            Self::ProratedImmediatelyKeepCycle | Self::DoNotBill => true,
            Self::ProratedImmediately | Self::DifferenceImmediately | Self::FullImmediately => {
                false
            }
        }
    }
}

/// A change of plan that takes effect at the next boundary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledChange {
    /// The id, `pch_…`.
    pub id: PlanChangeId,
    /// What it is changed to.
    pub plan: Plan,
    /// Log time of the request.
    pub created_at: Timestamp,
}

/// A change of plan that takes effect once its invoice is paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingChange {
    /// The invoice.
    pub invoice: InvoiceNumber,
    /// What it is changed to.
    pub plan: Plan,
    /// How.
    pub mode: ProrationMode,
    /// What the invoice took of the subscription's money: it comes back when the change is dropped.
    pub credit: Money,
    /// What the invoice asks for beside that: money of the subscription, too, when it is paid too late
    /// for the change.
    pub total: Money,
}
