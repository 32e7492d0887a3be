//! How credits come into a pool.

use super::ledger::{Cause, Ids, Left, Scribe};
use super::pool::{Pool, push_tight};
use super::totals::Move;
use crate::model::credit::{GrantSource, LedgerReference};
use crate::model::customer::Metadata;
use crate::model::{Credits, Grant, Timestamp};

/// Credits to be handed out.
#[derive(Clone, Debug)]
pub struct NewGrant {
    /// Where they come from.
    pub source: GrantSource,
    /// How many.
    pub amount: Credits,
    /// When: log time, or the instant of a turn.
    pub at: Timestamp,
    /// They can be spent before this instant.
    pub expires_at: Option<Timestamp>,
    /// Whether they outlive the next turn of their subscription.
    pub outlives_turn: bool,
    /// How often they have rolled over.
    pub rollover_count: u32,
    /// Why, of a manual entry.
    pub reason: Option<String>,
    /// Free details of a manual entry: of the grant, and of its row.
    pub metadata: Metadata,
}

impl NewGrant {
    /// Credits from this source that live until a turn or for ever.
    pub fn new(source: GrantSource, amount: Credits, at: Timestamp) -> Self {
        Self {
            source,
            amount,
            at,
            expires_at: None,
            outlives_turn: false,
            rollover_count: 0,
            reason: None,
            metadata: Metadata::new(),
        }
    }
}

impl Pool {
    /// Hands out credits, which first repay overage that is to be repaid. Nothing for an amount of
    /// nothing.
    pub fn grant(&mut self, new: NewGrant, ids: &mut Ids) -> Left {
        let mut scribe = self.settled(new.at, ids);
        self.add_new(new, &mut scribe);
        self.rearm(scribe.at);
        scribe.left
    }

    /// Adds a grant of new credits: of an amount beyond reason only as much as can be added up.
    pub(super) fn add_new(&mut self, mut new: NewGrant, scribe: &mut Scribe<'_>) {
        let room = Credits::from_units(i128::MAX).minus(self.totals.granted);
        new.amount = new.amount.min(room);
        self.add(new, Move::Added, scribe);
    }

    /// Adds a grant: `what` is how it comes in.
    pub(super) fn add(&mut self, new: NewGrant, what: Move, scribe: &mut Scribe<'_>) {
        let amount = new.amount;
        if amount <= Credits::ZERO {
            return;
        }
        let mut grant = Grant {
            id: scribe.ids.grant(),
            source: new.source,
            initial: amount,
            remaining: amount,
            rollover_count: new.rollover_count,
            outlives_turn: new.outlives_turn,
            expires_at: new.expires_at,
            is_expired: false,
            is_rolled_over: false,
            metadata: new.metadata.clone(),
            created_at: new.at,
            updated_at: new.at,
        };
        self.totals.count(what, amount);
        let cause = Cause { reason: new.reason, metadata: new.metadata, ..Cause::of(&grant) };
        scribe.write(what, amount, cause);
        self.repay_from(&mut grant, scribe);
        if grant.remaining.is_zero() {
            scribe.left.ended.push(grant);
        } else {
            push_tight(&mut self.grants, grant);
        }
    }

    /// Lets a new grant repay the overage that is to be repaid, by subscription.
    fn repay_from(&mut self, grant: &mut Grant, scribe: &mut Scribe<'_>) {
        let repaying = self.accounts.iter().filter(|account| account.repays);
        let subscriptions: Vec<_> = repaying.map(|account| account.subscription).collect();
        for subscription in subscriptions {
            let amount = grant.remaining.min(self.overage_of(subscription));
            if amount.is_zero() {
                continue;
            }
            grant.remaining = grant.remaining.minus(amount);
            self.change_account(subscription, |account| {
                account.overage = account.overage.minus(amount);
            });
            self.totals.count(Move::Repaid, amount);
            let reference = LedgerReference::OverageRepay(subscription);
            scribe.write(Move::Repaid, amount, Cause::new(Some(grant.id), reference));
        }
    }
}
