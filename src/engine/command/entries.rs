//! Manual entries into the ledger of a customer's credits.

use crate::model::customer::Metadata;
use crate::model::{Credits, CustomerId, EntitlementId, Timestamp};

/// Credits to be given or taken by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// The entitlement.
    pub entitlement_id: EntitlementId,
    /// Whose.
    pub customer_id: CustomerId,
    /// Given or taken.
    pub kind: NewEntryKind,
    /// How much; more than none.
    pub amount: Credits,
    /// What another request for the same entry says too: the second is refused.
    pub idempotency_key: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Free details.
    pub metadata: Metadata,
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewEntryKind {
    /// It gives a grant.
    Credit {
        /// When that ends.
        expires_at: Option<Timestamp>,
    },
    /// It takes from the grants, the first ones first.
    Debit,
}
