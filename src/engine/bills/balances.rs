//! What customers have of credits: exact at the instant of the read, from memory alone.

use std::sync::Arc;

use super::BillsError;
use crate::engine::pools::{KeptPool, PoolIndex, PoolKey, view};
use crate::engine::{Engine, Page};
use crate::model::{
    Attachment, CreditEntitlement, Credits, CustomerId, CustomerIndex, EntitlementId,
    EntitlementIndex, Subscription, SubscriptionId, SubscriptionIndex, Timestamp,
};

/// What a customer has of a credit entitlement.
#[derive(Clone, Debug)]
pub struct BalanceView {
    /// What.
    pub entitlement: Arc<CreditEntitlement>,
    /// Who.
    pub customer_id: CustomerId,
    /// The pool, with everything that has happened before `at`.
    pub kept: Arc<KeptPool>,
    /// The instant of the read.
    pub at: Timestamp,
}

impl BalanceView {
    /// What can be spent, what reservations hold included.
    pub fn balance(&self) -> Credits {
        self.kept.pool.balance_at(self.at)
    }
}

/// What a subscription has of a credit entitlement that it hands out.
#[derive(Clone, Debug)]
pub struct CreditUsage {
    /// What.
    pub entitlement: Arc<CreditEntitlement>,
    /// What the subscription hands out, with the settings of its overage.
    pub attachment: Attachment,
    /// What the customer can spend.
    pub balance: Credits,
    /// The overage of all of the customer's subscriptions.
    pub overage: Credits,
    /// Whether the overage of this subscription has come to its limit.
    pub limit_reached: bool,
    /// How much overage it may still make, reservations aside; nothing where there is no overage, or no
    /// limit of it.
    pub headroom: Option<Credits>,
    /// Usage of the customer that nothing has ever covered, and that is never charged.
    pub uncovered: Credits,
    /// Whether it has found the balance below its threshold, which has not come back to that.
    pub is_low: bool,
}

impl Engine {
    /// What customers have of a credit entitlement, deleted or not; who came last to have any comes first.
    ///
    /// # Errors
    /// [`BillsError::NotFound`]
    pub fn balances(
        &self,
        id: &EntitlementId,
        customer: Option<&CustomerId>,
        page: Page,
    ) -> Result<Vec<BalanceView>, BillsError> {
        let entitlement = self.entitlement_or_deleted(id)?;
        let state = &self.shared.state;
        let customer = match customer {
            None => None,
            Some(id) => match state.with_accounts(|accounts| accounts.index(id.as_str())) {
                Some(customer) => Some(customer),
                None => return Ok(Vec::new()),
            },
        };
        let keys: Vec<PoolKey> = state.with_pools(|pools| {
            let key = |index: &PoolIndex| pools.get(*index).map(|kept| kept.key());
            let of_one = customer
                .map(|customer| pools.index(&PoolKey { entitlement: entitlement.index, customer }));
            let found = match &of_one {
                Some(found) => found.as_slice(),
                None => pools.of_entitlement(entitlement.index),
            };
            found.iter().rev().skip(page.offset).take(page.limit).filter_map(key).collect()
        });
        Ok(keys.into_iter().filter_map(|key| self.balance_of(key, &entitlement)).collect())
    }

    /// What customers have of a credit entitlement, deleted or not, in the order of [`Engine::balances`]
    /// from below one place; each with its own place, where the next page goes on. New ones come on top.
    ///
    /// # Errors
    /// [`BillsError::NotFound`]
    pub fn balances_below(
        &self,
        id: &EntitlementId,
        below: Option<usize>,
        limit: usize,
    ) -> Result<Vec<(usize, BalanceView)>, BillsError> {
        let entitlement = self.entitlement_or_deleted(id)?;
        let keys: Vec<(usize, PoolKey)> = self.shared.state.with_pools(|pools| {
            let all = pools.of_entitlement(entitlement.index);
            let below = below.unwrap_or(all.len()).min(all.len());
            let places = (0..below).rev().take(limit);
            let key = |place: usize| Some((place, pools.get(*all.get(place)?)?.key()));
            places.filter_map(key).collect()
        });
        let view =
            |(place, key): (usize, PoolKey)| Some((place, self.balance_of(key, &entitlement)?));
        Ok(keys.into_iter().filter_map(view).collect())
    }

    /// How many customers have ever had anything of a credit entitlement.
    pub fn balance_count(&self, entitlement: EntitlementIndex) -> usize {
        self.shared.state.with_pools(|pools| pools.of_entitlement(entitlement).len())
    }

    /// What a customer has of a credit entitlement, deleted or not.
    ///
    /// # Errors
    /// [`BillsError::NotFound`], also when the customer never had any.
    pub fn balance(
        &self,
        id: &EntitlementId,
        customer: &CustomerId,
    ) -> Result<BalanceView, BillsError> {
        let entitlement = self.entitlement_or_deleted(id)?;
        let key = PoolKey { entitlement: entitlement.index, customer: self.customer_of(customer)? };
        self.balance_of(key, &entitlement).ok_or(BillsError::NotFound("balance"))
    }

    /// What a customer has of every credit entitlement, in the order in which it came to have any.
    ///
    /// # Errors
    /// [`BillsError::NotFound`]
    pub fn balances_of_customer(&self, id: &CustomerId) -> Result<Vec<BalanceView>, BillsError> {
        let customer = self.customer_of(id)?;
        let keys: Vec<PoolKey> = self.shared.state.with_pools(|pools| {
            let own = pools.of_customer(customer).iter().filter_map(|index| pools.get(*index));
            own.map(|kept| kept.key()).collect()
        });
        let at = self.reads_at();
        let found = view::as_of(&self.shared.state, &keys, at).pools.into_iter().flatten();
        let views = found.filter_map(|kept| {
            let entitlement = self.entitlement_at(kept.pool.entitlement())?;
            Some(BalanceView { entitlement, customer_id: id.clone(), kept, at })
        });
        Ok(views.collect())
    }

    /// What a subscription has of each credit entitlement that it hands out, in its price's order.
    ///
    /// # Errors
    /// [`BillsError::NotFound`]
    pub fn credit_usage(&self, id: &SubscriptionId) -> Result<Vec<CreditUsage>, BillsError> {
        let subscription =
            self.shared.state.with_books(|books| books.subscription_by_id(id).cloned());
        Ok(self.credit_usage_of(&*subscription.ok_or(BillsError::NotFound("subscription"))?))
    }

    /// The same of a subscription as it is or was: what its customer has now.
    pub fn credit_usage_of(&self, subscription: &Subscription) -> Vec<CreditUsage> {
        let state = &self.shared.state;
        let key = |attachment: &Attachment| PoolKey {
            entitlement: attachment.entitlement,
            customer: subscription.customer,
        };
        let keys: Vec<PoolKey> = subscription.credits.iter().map(key).collect();
        let at = self.reads_at();
        let pools = view::as_of(state, &keys, at).pools;
        let usage = subscription.credits.iter().zip(pools).filter_map(|(attachment, kept)| {
            let entitlement = self.entitlement_at(attachment.entitlement)?;
            let kept = kept.as_deref();
            Some(CreditUsage::new(entitlement, attachment, kept, (subscription.index, at)))
        });
        usage.collect()
    }

    fn balance_of(
        &self,
        key: PoolKey,
        entitlement: &Arc<CreditEntitlement>,
    ) -> Option<BalanceView> {
        let state = &self.shared.state;
        let at = self.reads_at();
        let kept = view::as_of(state, &[key], at).pools.into_iter().next().flatten()?;
        let customer_id = state.with_accounts(|all| all.id_at(key.customer).cloned())?;
        Some(BalanceView { entitlement: Arc::clone(entitlement), customer_id, kept, at })
    }

    /// The instant of a read: every event that is stamped with the present lies before it.
    pub(super) fn reads_at(&self) -> Timestamp {
        self.shared.seen_from(self.now().max(self.shared.state.log_time()))
    }

    /// One credit entitlement, deleted or not.
    ///
    /// # Errors
    /// [`BillsError::NotFound`]
    pub fn entitlement_or_deleted(
        &self,
        id: &EntitlementId,
    ) -> Result<Arc<CreditEntitlement>, BillsError> {
        let found = self.shared.state.with_books(|books| books.entitlements.by_id(id).cloned());
        found.ok_or(BillsError::NotFound("credit entitlement"))
    }

    pub(super) fn customer_of(&self, id: &CustomerId) -> Result<CustomerIndex, BillsError> {
        let found = self.shared.state.with_accounts(|accounts| accounts.index(id.as_str()));
        found.ok_or(BillsError::NotFound("customer"))
    }
}

impl CreditUsage {
    fn new(
        entitlement: Arc<CreditEntitlement>,
        attachment: &Attachment,
        kept: Option<&KeptPool>,
        (subscription, at): (SubscriptionIndex, Timestamp),
    ) -> Self {
        let terms = &attachment.terms.overage;
        let is_limited = terms.is_enabled && terms.limit.is_some();
        let mut usage = Self {
            entitlement,
            attachment: *attachment,
            balance: Credits::ZERO,
            overage: Credits::ZERO,
            // Of nothing all is reached.
            limit_reached: is_limited && terms.limit == Some(Credits::ZERO),
            headroom: terms.limit.filter(|_| is_limited),
            uncovered: Credits::ZERO,
            is_low: false,
        };
        if let Some(KeptPool { pool, .. }) = kept {
            usage.balance = pool.balance_at(at);
            usage.overage = pool.overage();
            usage.limit_reached = pool.limit_reached(subscription, terms);
            usage.headroom = pool.headroom(subscription, terms).filter(|_| is_limited);
            usage.uncovered = pool.totals().uncovered;
            usage.is_low = pool.is_low(subscription);
        }
        usage
    }
}
