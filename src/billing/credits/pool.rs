//! What one customer has of one entitlement.

use serde::{Deserialize, Serialize};

use super::ledger::Drawn;
use super::totals::Totals;
use crate::billing::exact::Exact;
use crate::model::credit::OverageTerms;
use crate::model::{
    Credits, CustomerIndex, EntitlementIndex, Grant, Money, Quantity, SubscriptionIndex, Timestamp,
    UnitPrice,
};

/// A draw stands in the ledger after so long at most.
pub const SETTLE_AFTER: std::time::Duration = std::time::Duration::from_mins(1);

/// The grants of a customer that have not ended, and what was drawn beyond them. There may be a million
/// pools: lists are empty, or as long as they must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub(super) entitlement: EntitlementIndex,
    pub(super) customer: CustomerIndex,
    /// Oldest first, each with something left.
    pub(super) grants: Vec<Grant>,
    /// By subscription; only those of which something is known.
    pub(super) accounts: Vec<Account>,
    /// Overage that closes will bill, oldest first.
    pub(super) dues: Vec<OverageDue>,
    /// What of the balance is held by reservations.
    pub(super) held: Credits,
    /// Draws since the last row, in the order of the first of each.
    pub(super) unsettled: Vec<Drawn>,
    /// When the first of them was made.
    pub(super) unsettled_since: Option<Timestamp>,
    pub(super) totals: Totals,
}

/// What a pool knows of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) subscription: SubscriptionIndex,
    /// Whether new grants repay its overage first.
    pub(super) repays: bool,
    pub(super) overage: Credits,
    /// What of its headroom is held by reservations.
    pub(super) held: Credits,
    /// The threshold that the balance has gone below and not come back to; nothing while it is not low.
    pub(super) low_below: Credits,
}

/// Overage of a period that has ended, on its way to an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverageDue {
    /// Whose.
    pub subscription: SubscriptionIndex,
    /// The segment whose close bills it; nothing when the subscription has ended with none to close.
    pub segment: Option<u32>,
    /// How much; more than nothing.
    pub credits: Credits,
    /// What one costs.
    pub price: UnitPrice,
}

impl OverageDue {
    /// What it costs, rounded once, halves up; nothing when that leaves 64 bits.
    pub fn amount(&self) -> Option<Money> {
        let exact = Exact::product(Quantity::from_units(self.credits.as_units()), self.price)?;
        i64::try_from(exact.rounded()?).ok().map(Money::from_minor)
    }
}

impl Account {
    pub(super) fn new(subscription: SubscriptionIndex) -> Self {
        Self {
            subscription,
            repays: false,
            overage: Credits::ZERO,
            held: Credits::ZERO,
            low_below: Credits::ZERO,
        }
    }

    fn is_blank(&self) -> bool {
        self.overage.is_zero() && self.held.is_zero() && self.low_below.is_zero()
    }
}

impl Pool {
    /// One that nothing has happened to.
    pub fn new(entitlement: EntitlementIndex, customer: CustomerIndex) -> Self {
        Self {
            entitlement,
            customer,
            grants: Vec::new(),
            accounts: Vec::new(),
            dues: Vec::new(),
            held: Credits::ZERO,
            unsettled: Vec::new(),
            unsettled_since: None,
            totals: Totals::default(),
        }
    }

    /// The entitlement.
    pub fn entitlement(&self) -> EntitlementIndex {
        self.entitlement
    }

    /// The customer.
    pub fn customer(&self) -> CustomerIndex {
        self.customer
    }

    /// The grants that have not ended, oldest first; those that have expired are among them until
    /// [`Pool::expire`].
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// What can be spent before the next expiry: nothing that has expired counts, held credits do.
    pub fn balance_at(&self, now: Timestamp) -> Credits {
        let live = self.grants.iter().filter(|grant| is_live(grant, now));
        Credits::sum(live.map(|grant| grant.remaining))
    }

    /// The balance less what reservations hold.
    pub fn spendable_at(&self, now: Timestamp) -> Credits {
        self.balance_at(now).less(self.held)
    }

    /// What reservations hold of the balance.
    pub fn held(&self) -> Credits {
        self.held
    }

    /// The overage of all subscriptions.
    pub fn overage(&self) -> Credits {
        Credits::sum(self.accounts.iter().map(|account| account.overage))
    }

    /// The overage of one.
    pub fn overage_of(&self, subscription: SubscriptionIndex) -> Credits {
        self.account(subscription).overage
    }

    /// How much overage a subscription may still make, reservations aside; without end when there is
    /// none. Nothing where there is no overage.
    pub fn headroom(
        &self,
        subscription: SubscriptionIndex,
        terms: &OverageTerms,
    ) -> Option<Credits> {
        if !terms.is_enabled {
            return Some(Credits::ZERO);
        }
        let account = self.account(subscription);
        terms.limit.map(|limit| limit.less(account.overage).less(account.held))
    }

    /// Whether a subscription's overage has come to its limit; never where there is no overage.
    pub fn limit_reached(&self, subscription: SubscriptionIndex, terms: &OverageTerms) -> bool {
        let overage = self.overage_of(subscription);
        terms.is_enabled && terms.limit.is_some_and(|limit| overage >= limit)
    }

    /// Whether a manual entry may take so much: overage is not used, nor what is held.
    pub fn can_debit(&self, amount: Credits, now: Timestamp) -> bool {
        amount <= self.spendable_at(now)
    }

    /// Whether a draw of this subscription has found the balance below its threshold, and it has not
    /// come back to that.
    pub fn is_low(&self, subscription: SubscriptionIndex) -> bool {
        !self.account(subscription).low_below.is_zero()
    }

    /// When draws are to be brought to the ledger; nothing while there are none.
    pub fn settle_due_at(&self) -> Option<Timestamp> {
        self.unsettled_since.map(|since| since.plus(SETTLE_AFTER))
    }

    /// Overage that the close of this segment bills.
    pub fn dues(
        &self,
        subscription: SubscriptionIndex,
        segment: Option<u32>,
    ) -> impl Iterator<Item = &OverageDue> {
        let is_wanted =
            move |due: &&OverageDue| due.subscription == subscription && due.segment == segment;
        self.dues.iter().filter(is_wanted)
    }

    /// Forgets what that close has billed.
    pub fn forget_due(&mut self, subscription: SubscriptionIndex, segment: Option<u32>) {
        self.dues.retain(|due| due.subscription != subscription || due.segment != segment);
    }

    /// Whether the pool has a grant, overage or anything else of a subscription, so that its turns and
    /// its end change it.
    pub fn concerns(&self, subscription: SubscriptionIndex) -> bool {
        let is_of = |grant: &Grant| grant.source.subscription() == Some(subscription);
        self.accounts.iter().any(|account| account.subscription == subscription)
            || self.grants.iter().any(is_of)
    }

    /// What was ever moved.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether nothing was lost and nothing made, ever.
    pub fn conserves(&self) -> bool {
        self.totals.agree_with(self.remaining(), self.overage())
    }

    /// What all grants have left, expired ones that still stand here too.
    pub(super) fn remaining(&self) -> Credits {
        Credits::sum(self.grants.iter().map(|grant| grant.remaining))
    }

    pub(super) fn account(&self, subscription: SubscriptionIndex) -> Account {
        let known = self.accounts.iter().find(|account| account.subscription == subscription);
        known.copied().unwrap_or_else(|| Account::new(subscription))
    }

    /// Changes what is known of a subscription; forgets it when that is nothing.
    pub(super) fn change_account(
        &mut self,
        subscription: SubscriptionIndex,
        change: impl FnOnce(&mut Account),
    ) {
        let mut account = self.account(subscription);
        change(&mut account);
        let place = self.accounts.binary_search_by_key(&subscription, |known| known.subscription);
        match place {
            Ok(place) if account.is_blank() => drop(self.accounts.remove(place)),
            Ok(place) => {
                if let Some(known) = self.accounts.get_mut(place) {
                    *known = account;
                }
            }
            Err(_) if account.is_blank() => {}
            Err(place) => {
                make_room(&mut self.accounts);
                self.accounts.insert(place, account);
            }
        }
    }

    /// Notes that the balance has risen: who was low is not when it is back.
    pub(super) fn rearm(&mut self, now: Timestamp) {
        if self.accounts.iter().all(|account| account.low_below.is_zero()) {
            return;
        }
        let balance = self.balance_at(now);
        for account in &mut self.accounts {
            if balance >= account.low_below {
                account.low_below = Credits::ZERO;
            }
        }
        self.accounts.retain(|account| !account.is_blank());
    }
}

/// Whether a grant can be spent at `now`.
pub(super) fn is_live(grant: &Grant, now: Timestamp) -> bool {
    grant.expires_at.is_none_or(|end| now < end)
}

/// Puts an entry at the end of a list that mostly holds one.
pub(super) fn push_tight<T>(list: &mut Vec<T>, entry: T) {
    make_room(list);
    list.push(entry);
}

/// Makes room for another entry: of a list that holds few just that, so that a million lists are small.
fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 2);
    }
}
