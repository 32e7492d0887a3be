//! What reservations hold of a pool.

use serde::{Deserialize, Serialize};

use super::pool::Pool;
use crate::model::credit::OverageTerms;
use crate::model::{Credits, SubscriptionIndex, Timestamp};

/// What a reservation holds: nobody else draws it until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// For whose usage.
    pub subscription: SubscriptionIndex,
    /// Of the balance.
    pub balance: Credits,
    /// Of that subscription's headroom.
    pub overage: Credits,
}

impl Pool {
    /// How so much would be covered: by the balance, then as overage, as far as others hold neither.
    /// Nothing when that is not enough.
    pub fn can_cover(
        &self,
        amount: Credits,
        subscription: SubscriptionIndex,
        terms: &OverageTerms,
        now: Timestamp,
    ) -> Option<Hold> {
        let balance = amount.min(self.spendable_at(now));
        let overage = amount.less(balance);
        // Without a limit as much as can be added up.
        let sum = self.overage_of(subscription).plus(self.account(subscription).held);
        let room = Credits::from_units(i128::MAX).minus(sum);
        let headroom = self.headroom(subscription, terms).unwrap_or(room);
        (overage <= headroom).then_some(Hold { subscription, balance, overage })
    }

    /// Holds what [`Pool::can_cover`] has said. A grant that expires is not kept by it.
    pub fn hold(&mut self, hold: &Hold) {
        self.held = self.held.plus(hold.balance);
        self.change_account(hold.subscription, |account| {
            account.held = account.held.plus(hold.overage);
        });
    }

    /// Gives back what was held: before the event that commits a reservation enters, when it is
    /// released, and when its time is over.
    pub fn release(&mut self, hold: &Hold) {
        self.held = self.held.less(hold.balance);
        self.change_account(hold.subscription, |account| {
            account.held = account.held.less(hold.overage);
        });
    }
}
