//! How records move credits.

use serde::{Deserialize, Serialize};

use super::{EntryDigest, PoolIndex, PoolKey};
use crate::engine::reservations::ReservationMove;
use crate::model::customer::Metadata;
use crate::model::{Credits, Timestamp};

/// How credits were moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreditsMove {
    /// What was drawn on these pools is brought to their ledgers.
    Settled(Vec<PoolIndex>),
    /// Grants of these pools end whose time is over, unless a turn ends them at that instant.
    Expired {
        /// The pools.
        pools: Vec<PoolIndex>,
        /// The instant.
        at: Timestamp,
    },
    /// Somebody has given or taken.
    Entered(ManualEntry),
    /// Something is held for usage that is about to come, or is held no more.
    Reservation(ReservationMove),
}

/// Credits that somebody has given or taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManualEntry {
    /// Whose, and of which entitlement.
    pub pool: PoolKey,
    /// Given or taken.
    pub kind: EntryKind,
    /// How much; more than nothing, and of a debit no more than there is.
    pub amount: Credits,
    /// Why.
    pub reason: Option<String>,
    /// Free details.
    pub metadata: Metadata,
    /// What another entry with the same `idempotency_key` is recognised by.
    pub digest: Option<EntryDigest>,
}

/// What a manual entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// It gives a grant.
    Credit {
        /// When that ends.
        expires_at: Option<Timestamp>,
    },
    /// It takes from the grants.
    Debit,
}
