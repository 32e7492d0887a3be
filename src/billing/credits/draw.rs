//! What is taken from a pool: by usage, and by hand.

use super::ledger::{Cause, Drawn, Ids, Left};
use super::pool::{Pool, is_live};
use super::totals::Move;
use crate::model::credit::{GrantOrder, LedgerReference, OverageTerms};
use crate::model::customer::Metadata;
use crate::model::{Credits, Grant, GrantId, SubscriptionIndex, Timestamp};

/// Usage that draws.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Whose usage.
    pub subscription: SubscriptionIndex,
    /// How much.
    pub amount: Credits,
    /// What of it may be overage.
    pub overage: OverageTerms,
    /// The balance is low below this.
    pub low_below: Option<Credits>,
    /// Which grant first.
    pub order: GrantOrder,
    /// Log time.
    pub now: Timestamp,
}

/// A manual entry that takes.
#[derive(Clone, Debug)]
pub struct Debit {
    /// How much: [`Pool::can_debit`] has said that there is so much.
    pub amount: Credits,
    /// Which grant first.
    pub order: GrantOrder,
    /// Log time.
    pub now: Timestamp,
    /// Why.
    pub reason: Option<String>,
    /// Free details of the row.
    pub metadata: Metadata,
}

impl Pool {
    /// Draws: from the grants as far as they go and nothing is held, then as overage as far as that goes;
    /// the rest is uncovered. Leaves rows when the balance comes to zero or goes below the threshold.
    pub fn draw(&mut self, draw: &Draw, ids: &mut Ids) -> Left {
        if draw.amount <= Credits::ZERO {
            return Left::default();
        }
        let before = self.balance_at(draw.now);
        let (taken, ended) = self.take(draw.amount, draw.order, draw.now);
        let mut spent = Credits::ZERO;
        for (grant, amount) in taken {
            spent = spent.plus(amount);
            let (subscription, grant) = (draw.subscription, Some(grant));
            let drawn = Drawn { subscription, grant, amount, uncovered: Credits::ZERO };
            self.remember(drawn, draw.now);
        }
        self.totals.count(Move::Spent, spent);
        self.draw_beyond(draw.amount.minus(spent), draw);
        let after = before.minus(spent);
        let is_zero = after.is_zero() && !before.is_zero();
        let went_low = self.goes_low(draw, before, after);
        let mut left =
            if went_low || is_zero { self.settle(draw.now, ids) } else { Left::default() };
        left.ended = ended;
        left.went_low = went_low;
        left
    }

    /// Takes by hand, oldest first as usage does: one row.
    pub fn debit(&mut self, debit: Debit, ids: &mut Ids) -> Left {
        let mut scribe = self.settled(debit.now, ids);
        let (taken, ended) = self.take(debit.amount, debit.order, debit.now);
        let amount = Credits::sum(taken.iter().map(|(_, amount)| *amount));
        self.totals.count(Move::Debited, amount);
        let grant = match taken.as_slice() {
            [(grant, _)] => Some(*grant),
            _ => None,
        };
        let cause = Cause {
            reason: debit.reason,
            metadata: debit.metadata,
            ..Cause::new(grant, LedgerReference::Api)
        };
        scribe.write(Move::Debited, amount, cause);
        scribe.left.ended = ended;
        scribe.left
    }

    /// Takes from the grants what is not held: how much of each, and those that have ended by it.
    fn take(
        &mut self,
        amount: Credits,
        order: GrantOrder,
        now: Timestamp,
    ) -> (Vec<(GrantId, Credits)>, Vec<Grant>) {
        let mut open = amount.min(self.spendable_at(now));
        let (mut taken, mut ended) = (Vec::new(), Vec::new());
        while open > Credits::ZERO
            && let Some(place) = self.next_grant(order, now)
            && let Some(grant) = self.grants.get_mut(place)
        {
            let part = open.min(grant.remaining);
            open = open.minus(part);
            grant.remaining = grant.remaining.minus(part);
            grant.updated_at = now;
            taken.push((grant.id, part));
            if grant.remaining.is_zero() {
                ended.push(self.grants.remove(place));
            }
        }
        (taken, ended)
    }

    /// The grant that is drawn on next.
    fn next_grant(&self, order: GrantOrder, now: Timestamp) -> Option<usize> {
        let mut live = self.grants.iter().enumerate().filter(|(_, grant)| is_live(grant, now));
        let next = match order {
            GrantOrder::OldestFirst => live.next(),
            // The first of equals.
            GrantOrder::ExpiresFirst => {
                live.min_by_key(|(_, grant)| (grant.expires_at.is_none(), grant.expires_at))
            }
        };
        next.map(|(place, _)| place)
    }

    /// Draws what no grant covers.
    fn draw_beyond(&mut self, amount: Credits, draw: &Draw) {
        if amount.is_zero() {
            return;
        }
        // Of an amount beyond reason only as much is overage as can be added up.
        let room = Credits::from_units(i128::MAX).minus(self.totals.overage_made);
        let headroom = self.headroom(draw.subscription, &draw.overage).unwrap_or(room);
        let overage = amount.min(headroom).min(room);
        let uncovered = amount.minus(overage);
        if !overage.is_zero() {
            let repays = super::turn::repays(&draw.overage);
            self.change_account(draw.subscription, |account| {
                account.overage = account.overage.plus(overage);
                account.repays = repays;
            });
        }
        self.totals.count(Move::Overdrawn, overage);
        self.totals.uncovered = self.totals.uncovered.plus(uncovered);
        let drawn =
            Drawn { subscription: draw.subscription, grant: None, amount: overage, uncovered };
        self.remember(drawn, draw.now);
    }

    /// Notes whether the balance is low for the subscription that has drawn: whether this draw has found
    /// it so for the first time since it was not.
    fn goes_low(&mut self, draw: &Draw, before: Credits, after: Credits) -> bool {
        let threshold = draw.low_below.unwrap_or(Credits::ZERO);
        let known = self.account(draw.subscription).low_below;
        let was_low = !known.is_zero() && before < threshold;
        let is_low = after < threshold && (was_low || after < before);
        let low_below = if is_low { threshold } else { Credits::ZERO };
        if low_below != known {
            self.change_account(draw.subscription, |account| account.low_below = low_below);
        }
        is_low && !was_low
    }
}
