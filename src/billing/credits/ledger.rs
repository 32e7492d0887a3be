//! The rows that operations leave, and draws that wait to become some.
//!
//! Draws become rows when the pool is settled: one for each subscription and grant that was drawn on
//! since, then one for a subscription's overage. Everything else becomes a row at once, behind the draws before
//! it.

use serde::{Deserialize, Serialize};

use super::pool::{Pool, push_tight};
use super::totals::Move;
use crate::model::credit::{GrantSource, LedgerReference, TransactionType};
use crate::model::customer::Metadata;
use crate::model::{
    Credits, CustomerIndex, EntitlementIndex, Grant, GrantId, LedgerEntry, LedgerEntryId, Lsn,
    SubscriptionIndex, Timestamp,
};

/// Ids of what one record makes. Grants and rows are numbered each for themselves: which number a grant
/// has does not depend on how many draws waited for their rows.
#[derive(Debug)]
pub struct Ids {
    lsn: Lsn,
    grants: u32,
    rows: u32,
}

impl Ids {
    /// The ids of this record, which is asked once, however many pools it changes.
    pub fn of(lsn: Lsn) -> Self {
        Self { lsn, grants: 0, rows: 0 }
    }

    pub(super) fn grant(&mut self) -> GrantId {
        GrantId { lsn: self.lsn, number: next(&mut self.grants) }
    }

    fn row(&mut self) -> LedgerEntryId {
        LedgerEntryId { lsn: self.lsn, number: next(&mut self.rows) }
    }
}

/// The next number; a record is far from making 2^32 of anything.
fn next(count: &mut u32) -> u32 {
    let number = *count;
    *count = count.wrapping_add(1);
    number
}

/// What an operation leaves to be kept outside of the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Rows of the ledger, oldest first.
    pub rows: Vec<LedgerEntry>,
    /// Grants that have ended.
    pub ended: Vec<Grant>,
    /// Whether the balance has gone below the threshold of who has drawn.
    pub went_low: bool,
}

impl Left {
    /// Adds what a later operation of the same record leaves.
    pub fn extend(&mut self, later: Self) {
        self.rows.extend(later.rows);
        self.ended.extend(later.ended);
        self.went_low |= later.went_low;
    }
}

/// A draw that is in no row yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Drawn {
    /// Whose usage it was.
    pub(super) subscription: SubscriptionIndex,
    /// The grant that has covered it; of overage and of what was uncovered there is none.
    pub(super) grant: Option<GrantId>,
    /// What the grant has covered, or the overage.
    pub(super) amount: Credits,
    /// What was uncovered.
    pub(super) uncovered: Credits,
}

/// Where a pool stands between two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) balance: Credits,
    pub(super) overage: Credits,
}

/// What a row says beside its amounts.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) grant: Option<GrantId>,
    pub(super) reference: LedgerReference,
    pub(super) uncovered: Credits,
    pub(super) reason: Option<String>,
    pub(super) metadata: Metadata,
}

impl Cause {
    pub(super) fn new(grant: Option<GrantId>, reference: LedgerReference) -> Self {
        Self { grant, reference, uncovered: Credits::ZERO, reason: None, metadata: Metadata::new() }
    }

    /// What a grant's own rows name.
    pub(super) fn of(grant: &Grant) -> Self {
        Self::new(Some(grant.id), reference(&grant.source))
    }
}

fn reference(source: &GrantSource) -> LedgerReference {
    match source {
        GrantSource::Subscription(subscription) | GrantSource::Rollover { subscription, .. } => {
            LedgerReference::Subscription(*subscription)
        }
        GrantSource::OneTime(payment) => LedgerReference::Payment(payment.clone()),
        GrantSource::Api => LedgerReference::Api,
    }
}

/// Writes rows that chain.
#[derive(Debug)]
pub(super) struct Scribe<'a> {
    pub(super) ids: &'a mut Ids,
    /// When what it writes has happened.
    pub(super) at: Timestamp,
    pub(super) left: Left,
    entitlement: EntitlementIndex,
    customer: CustomerIndex,
    levels: Levels,
}

impl Scribe<'_> {
    pub(super) fn write(&mut self, what: Move, amount: Credits, cause: Cause) {
        let before = self.levels;
        let after = what.after(before, amount);
        self.levels = after;
        self.left.rows.push(LedgerEntry {
            id: self.ids.row(),
            entitlement: self.entitlement,
            customer: self.customer,
            transaction: what.transaction(),
            amount,
            is_credit: what.is_credit(),
            balance_before: before.balance,
            balance_after: after.balance,
            overage_before: before.overage,
            overage_after: after.overage,
            uncovered: cause.uncovered,
            grant: cause.grant,
            reference: cause.reference,
            reason: cause.reason,
            metadata: cause.metadata,
            created_at: self.at,
        });
    }

    /// Writes overage; what is uncovered without any stands in the subscription's row before, or in one
    /// of its own.
    fn write_beyond(&mut self, draw: Drawn) {
        let reference = LedgerReference::Subscription(draw.subscription);
        let is_same = |row: &&mut LedgerEntry| row.reference == reference;
        match self.left.rows.iter_mut().rev().find(is_same) {
            Some(row) if draw.amount.is_zero() => row.uncovered = draw.uncovered,
            Some(_) | None => {
                let cause = Cause { uncovered: draw.uncovered, ..Cause::new(None, reference) };
                self.write(Move::Overdrawn, draw.amount, cause);
            }
        }
    }
}

impl Move {
    fn after(self, before: Levels, amount: Credits) -> Levels {
        let Levels { balance, overage } = before;
        match self {
            Self::Added => Levels { balance: balance.plus(amount), overage },
            Self::Spent | Self::Debited | Self::Expired | Self::Forfeited => {
                Levels { balance: balance.minus(amount), overage }
            }
            Self::Overdrawn => Levels { balance, overage: overage.plus(amount) },
            Self::Repaid => {
                Levels { balance: balance.minus(amount), overage: overage.minus(amount) }
            }
            Self::RolledOver => before,
            Self::Charged | Self::Reset => Levels { balance, overage: overage.minus(amount) },
        }
    }

    fn transaction(self) -> TransactionType {
        match self {
            Self::Added => TransactionType::CreditAdded,
            Self::Spent | Self::Overdrawn | Self::Repaid => TransactionType::CreditDeducted,
            Self::Debited => TransactionType::ManualAdjustment,
            Self::RolledOver => TransactionType::CreditRolledOver,
            Self::Expired => TransactionType::CreditExpired,
            Self::Forfeited => TransactionType::RolloverForfeited,
            Self::Charged => TransactionType::OverageCharged,
            Self::Reset => TransactionType::OverageReset,
        }
    }

    fn is_credit(self) -> bool {
        match self {
            Self::Added | Self::RolledOver | Self::Reset => true,
            Self::Spent
            | Self::Overdrawn
            | Self::Repaid
            | Self::Debited
            | Self::Expired
            | Self::Forfeited
            | Self::Charged => false,
        }
    }
}

impl Pool {
    /// Brings the draws since the last row to the ledger.
    pub fn settle(&mut self, now: Timestamp, ids: &mut Ids) -> Left {
        self.settled(now, ids).left
    }

    /// A scribe that has written the draws so far: what is written next happens at `at`.
    pub(super) fn settled<'a>(&mut self, at: Timestamp, ids: &'a mut Ids) -> Scribe<'a> {
        let drawn = std::mem::take(&mut self.unsettled);
        self.unsettled_since = None;
        let mut levels = Levels { balance: self.remaining(), overage: self.overage() };
        for draw in &drawn {
            match draw.grant {
                Some(_) => levels.balance = levels.balance.plus(draw.amount),
                None => levels.overage = levels.overage.minus(draw.amount),
            }
        }
        let (entitlement, customer) = (self.entitlement, self.customer);
        let left = Left { rows: Vec::with_capacity(drawn.len()), ..Left::default() };
        let mut scribe = Scribe { ids, at, left, entitlement, customer, levels };
        let (covered, beyond): (Vec<_>, Vec<_>) =
            drawn.into_iter().partition(|draw| draw.grant.is_some());
        for draw in covered {
            let reference = LedgerReference::Subscription(draw.subscription);
            scribe.write(Move::Spent, draw.amount, Cause::new(draw.grant, reference));
        }
        for draw in beyond {
            scribe.write_beyond(draw);
        }
        scribe
    }

    /// Remembers a draw until the pool is settled.
    pub(super) fn remember(&mut self, drawn: Drawn, now: Timestamp) {
        let same = |known: &&mut Drawn| {
            (known.subscription, known.grant) == (drawn.subscription, drawn.grant)
        };
        if let Some(known) = self.unsettled.iter_mut().rev().find(same) {
            known.amount = known.amount.plus(drawn.amount);
            known.uncovered = known.uncovered.plus(drawn.uncovered);
        } else {
            push_tight(&mut self.unsettled, drawn);
            self.unsettled_since = self.unsettled_since.or(Some(now));
        }
    }
}
