//! What has happened to pools and is to be told.

use std::sync::Arc;

use crate::model::notice::BalanceLow;
use crate::model::{LedgerEntry, Lsn, Timestamp};

/// Something that has happened to a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreditsTold {
    /// A row of its ledger was made.
    Row(Arc<LedgerEntry>),
    /// Its balance has gone low.
    Low {
        /// The record, or the event.
        lsn: Lsn,
        /// When.
        at: Timestamp,
        /// How.
        low: Box<BalanceLow>,
    },
}
