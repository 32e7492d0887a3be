//! Grants of credits, newest first: those that have not ended from the pool, the others from memory or
//! from disk.

use std::sync::Arc;

use super::BillsError;
use super::pool_rows::{self, Pager};
use crate::engine::pools::{PoolKey, view};
use crate::engine::rows::RowKind;
use crate::engine::{Engine, Page};
use crate::model::{
    Credits, CustomerId, EntitlementId, Grant, GrantId, Lsn, SubscriptionId, SubscriptionIndex,
    Timestamp,
};
use crate::storage::codec;

/// Grants that are copied while nothing is applied.
const COPIED_AT_ONCE: usize = 1_024;

/// Where a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantStatus {
    /// It can be spent.
    Active,
    /// Its time was over before all of it was spent, or its subscription has turned or ended.
    Expired,
    /// All of it is spent.
    Depleted,
}

/// A grant as it is at an instant.
#[derive(Clone, Debug)]
pub struct GrantView {
    /// The grant.
    pub grant: Grant,
    /// Where it stands: its time may be over before a record says so.
    pub status: GrantStatus,
    /// The subscription that it comes from.
    pub subscription_id: Option<SubscriptionId>,
}

impl GrantStatus {
    fn of(grant: &Grant, at: Timestamp) -> Self {
        if grant.is_expired || grant.expires_at.is_some_and(|end| end <= at && has_left(grant)) {
            Self::Expired
        } else if has_left(grant) {
            Self::Active
        } else {
            Self::Depleted
        }
    }
}

fn has_left(grant: &Grant) -> bool {
    grant.remaining > Credits::ZERO
}

/// The grants of a pool that memory has, newest first.
struct Copied {
    /// Those that the pool has and those that have ended by what it draws at this instant: what is found
    /// of them elsewhere came later.
    own: Vec<Grant>,
    /// Those that had ended since the last checkpoint, as many as are asked for.
    recent: Vec<Arc<Grant>>,
}

impl Engine {
    /// What was ever granted to a customer of a credit entitlement, newest first. Reads the disk: call it
    /// off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn grants(
        &self,
        id: &EntitlementId,
        customer: &CustomerId,
        status: Option<GrantStatus>,
        page: Page,
    ) -> Result<Vec<GrantView>, BillsError> {
        let entitlement = self.entitlement_or_deleted(id)?.index;
        let pool = PoolKey { entitlement, customer: self.customer_of(customer)? };
        let at = self.reads_at();
        let holds =
            |grant: &Grant| status.is_none_or(|wanted| wanted == GrantStatus::of(grant, at));
        let wanted = page.offset.saturating_add(page.limit);
        let Copied { own, recent } = self.copied_grants(pool, at, (wanted, &holds));
        let mut known: Vec<&Grant> = own
            .iter()
            .filter(|grant| holds(grant))
            .chain(recent.iter().map(|arc| &**arc))
            .collect();
        known.sort_unstable_by_key(|grant| std::cmp::Reverse(grant.id));
        let is_known = |id: GrantId| {
            own.binary_search_by(|grant| id.cmp(&grant.id)).is_ok()
                || recent.binary_search_by(|grant| id.cmp(&grant.id)).is_ok()
        };
        let mut known = known.into_iter().peekable();
        let mut pager = Pager::new(page);
        let range = ((Lsn::ZERO, 0), (GrantId::LAST.lsn, GrantId::LAST.number));
        pool_rows::visit(&self.shared, (RowKind::Grant, pool), range, |(lsn, number), value| {
            let id = GrantId { lsn, number };
            while let Some(newer) = known.next_if(|newer| newer.id > id) {
                pager.offer(newer.clone());
            }
            if pager.is_full() || is_known(id) || (status.is_none() && pager.skips()) {
                return Ok(!pager.is_full());
            }
            let grant: Grant = codec::decode(value)?;
            if holds(&grant) {
                pager.offer(grant);
            }
            Ok(!pager.is_full())
        })?;
        known.for_each(|grant| pager.offer(grant.clone()));
        Ok(pager.taken().into_iter().map(|grant| self.view_grant(grant, at)).collect())
    }

    /// Copies what memory has before the disk is looked at: what a checkpoint moves there meanwhile is
    /// found twice, and what it has moved before is found there. `recent` are those that hold.
    fn copied_grants(
        &self,
        pool: PoolKey,
        at: Timestamp,
        (wanted, holds): (usize, &dyn Fn(&Grant) -> bool),
    ) -> Copied {
        let state = &self.shared.state;
        let seen = view::as_of(state, &[pool], at);
        let kept = seen.pools.into_iter().flatten();
        let mut own: Vec<Grant> = kept.flat_map(|kept| kept.pool.grants().to_vec()).collect();
        own.extend(seen.ended.into_iter().map(|(_, grant)| grant));
        own.sort_unstable_by_key(|grant| std::cmp::Reverse(grant.id));
        let is_own = |id: GrantId| own.binary_search_by(|grant| id.cmp(&grant.id)).is_ok();
        let mut recent: Vec<Arc<Grant>> = Vec::new();
        let mut below = GrantId::LAST;
        while recent.len() < wanted {
            let next: Vec<Arc<Grant>> = state.with_pools(|pools| {
                let index = pools.index(&pool).into_iter();
                let ended = index.flat_map(|index| pools.recent().grants_below(index, below));
                ended.take(COPIED_AT_ONCE).cloned().collect()
            });
            let Some(last) = next.last() else { break };
            below = last.id;
            recent.extend(next.into_iter().filter(|grant| !is_own(grant.id) && holds(grant)));
        }
        Copied { own, recent }
    }

    fn view_grant(&self, mut grant: Grant, at: Timestamp) -> GrantView {
        let status = GrantStatus::of(&grant, at);
        if status == GrantStatus::Expired {
            grant.remaining = Credits::ZERO;
        }
        let subscription = grant.source.subscription();
        let subscription_id = subscription.and_then(|index| self.subscription_id(index));
        GrantView { grant, status, subscription_id }
    }

    /// The id of the subscription with this number.
    pub(super) fn subscription_id(&self, index: SubscriptionIndex) -> Option<SubscriptionId> {
        self.shared
            .state
            .with_books(|books| books.subscription(index).map(|found| found.id.clone()))
    }
}
