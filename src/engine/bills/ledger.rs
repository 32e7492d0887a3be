//! Ledgers of credits: rows since the last checkpoint from memory, those before from disk.
//!
//! Memory is copied first, then rows with lower ids are read: what a checkpoint moves to disk meanwhile is
//! found there, and is found once.

use std::sync::Arc;

use super::BillsError;
use super::pool_rows::{self, Pager};
use crate::engine::pools::PoolKey;
use crate::engine::rows::RowKind;
use crate::engine::{Engine, Page};
use crate::model::credit::{LedgerReference, TransactionType};
use crate::model::{
    CustomerId, EntitlementId, LedgerEntry, LedgerEntryId, Lsn, SubscriptionId, Timestamp,
};
use crate::storage::codec;

/// Rows that are copied while nothing is applied.
const COPIED_AT_ONCE: usize = 1_024;

/// Which rows a list asks for; every given field must match.
#[derive(Clone, Copy, Debug, Default)]
pub struct LedgerFilter {
    /// Of this kind.
    pub transaction: Option<TransactionType>,
    /// At this instant or later.
    pub from: Option<Timestamp>,
    /// At this instant or earlier.
    pub to: Option<Timestamp>,
    /// Before this row: where the page before has ended.
    pub below: Option<LedgerEntryId>,
}

/// A row of a ledger, with what its number stands for.
#[derive(Clone, Debug)]
pub struct LedgerView {
    /// The row.
    pub entry: Arc<LedgerEntry>,
    /// The subscription that its reference names.
    pub subscription_id: Option<SubscriptionId>,
}

impl LedgerFilter {
    fn holds(&self, row: &LedgerEntry) -> bool {
        self.transaction.is_none_or(|wanted| wanted == row.transaction)
            && self.from.is_none_or(|from| row.created_at >= from)
            && self.to.is_none_or(|to| row.created_at <= to)
    }

    fn holds_all(&self) -> bool {
        self.transaction.is_none() && self.from.is_none() && self.to.is_none()
    }
}

impl Engine {
    /// What has happened to a customer's credits, newest first. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn ledger(
        &self,
        id: &EntitlementId,
        customer: &CustomerId,
        filter: LedgerFilter,
        page: Page,
    ) -> Result<Vec<LedgerView>, BillsError> {
        let entitlement = self.entitlement_or_deleted(id)?.index;
        let pool = PoolKey { entitlement, customer: self.customer_of(customer)? };
        let mut pager = Pager::new(page);
        let mut below = filter.below.unwrap_or(LedgerEntryId::LAST);
        while !pager.is_full() {
            let recent = self.recent_rows(pool, below);
            let Some(last) = recent.last() else { break };
            below = last.id;
            recent.into_iter().filter(|row| filter.holds(row)).for_each(|row| pager.offer(row));
        }
        if !pager.is_full() {
            let range = ((Lsn::ZERO, 0), (below.lsn, below.number));
            pool_rows::visit(&self.shared, (RowKind::Ledger, pool), range, |_, value| {
                // Without a filter what is not shown is not decoded.
                if filter.holds_all() && pager.skips() {
                    return Ok(true);
                }
                let row: LedgerEntry = codec::decode(value)?;
                if filter.holds(&row) {
                    pager.offer(Arc::new(row));
                }
                Ok(!pager.is_full())
            })?;
        }
        Ok(pager.taken().into_iter().map(|entry| self.view_row(entry)).collect())
    }

    /// The row of the manual entry that the record of this LSN is. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn manual_entry(&self, pool: PoolKey, lsn: Lsn) -> Result<LedgerView, BillsError> {
        let is_it = |row: &LedgerEntry| row.reference == LedgerReference::Api;
        let after = Lsn(lsn.0.saturating_add(1));
        let below = LedgerEntryId { lsn: after, number: 0 };
        let mut found = self
            .recent_rows(pool, below)
            .into_iter()
            .take_while(|row| row.id.lsn == lsn)
            .find(|row| is_it(row));
        if found.is_none() {
            let range = ((lsn, 0), (after, 0));
            pool_rows::visit(&self.shared, (RowKind::Ledger, pool), range, |_, value| {
                let row: LedgerEntry = codec::decode(value)?;
                found = is_it(&row).then(|| Arc::new(row));
                Ok(found.is_none())
            })?;
        }
        found.map(|entry| self.view_row(entry)).ok_or(BillsError::NotFound("ledger entry"))
    }

    fn recent_rows(&self, pool: PoolKey, below: LedgerEntryId) -> Vec<Arc<LedgerEntry>> {
        self.shared.state.with_pools(|pools| {
            let index = pools.index(&pool).into_iter();
            let rows = index.flat_map(|index| pools.recent().rows_below(index, below));
            rows.take(COPIED_AT_ONCE).cloned().collect()
        })
    }

    fn view_row(&self, entry: Arc<LedgerEntry>) -> LedgerView {
        let subscription = match &entry.reference {
            LedgerReference::Subscription(index) | LedgerReference::OverageRepay(index) => {
                Some(*index)
            }
            LedgerReference::Payment(_) | LedgerReference::Api => None,
        };
        let subscription_id = subscription.and_then(|index| self.subscription_id(index));
        LedgerView { entry, subscription_id }
    }
}
