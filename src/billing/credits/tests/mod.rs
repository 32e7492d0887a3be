//! Stories of pools and marks, one rule each. Random sequences against a model stand in `sequences`.

mod mark;
mod naive;
mod passages;
mod pools;
mod rollover;
mod sequences;
mod turns;

use std::fmt::Write as _;

use super::{Attached, Draw, Ids, Left, NewGrant, Passage, Pool};
use crate::model::credit::{
    CreditProration, CreditTerms, GrantOrder, GrantSource, LedgerReference, OverageBehavior,
    OverageTerms, RolloverTerms, TransactionType,
};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    Attachment, Credits, CustomerIndex, EntitlementIndex, Grant, GrantId, LedgerEntry, Lsn, Number,
    SubscriptionIndex, Timestamp, UnitPrice,
};

const ENTITLEMENT: EntitlementIndex = EntitlementIndex(4);
const CUSTOMER: CustomerIndex = CustomerIndex(9);
const A: SubscriptionIndex = SubscriptionIndex(1);
const B: SubscriptionIndex = SubscriptionIndex(2);

/// The start of a day, counted from 1970.
fn day(number: u32) -> Timestamp {
    Timestamp::from_nanos(0).days_later(number.into()).unwrap()
}

fn days(count: u32) -> Interval {
    Interval { count, unit: IntervalUnit::Day }
}

fn credits(text: &str) -> Credits {
    Credits::from_units(Number::new(text).unwrap().to_quantity().unwrap().as_units())
}

fn price(text: &str) -> UnitPrice {
    UnitPrice::parse(text).unwrap()
}

/// Ten credits a period, nothing beyond them, nothing left of them.
fn ten() -> Attachment {
    Attachment {
        entitlement: ENTITLEMENT,
        precision: 0,
        amount: credits("10"),
        trial_amount: None,
        trial_expires: false,
        low_balance_percent: None,
        proration: CreditProration::Prorate,
        terms: CreditTerms {
            overage: OverageTerms {
                is_enabled: false,
                limit: None,
                behavior: OverageBehavior::ForgiveAtReset,
                price: Some(price("2.5")),
                currency: None,
            },
            rollover: RolloverTerms {
                is_enabled: false,
                percentage: None,
                timeframe: None,
                count_max: None,
            },
            expires_after_days: None,
        },
    }
}

/// The same with overage up to a limit.
fn ten_and_overage(behavior: OverageBehavior, limit: Option<&str>) -> Attachment {
    let mut attachment = ten();
    attachment.terms.overage.is_enabled = true;
    attachment.terms.overage.behavior = behavior;
    attachment.terms.overage.limit = limit.map(credits);
    attachment
}

/// A pool, and everything that has left it. After each step it is looked over.
struct Rig {
    pool: Pool,
    lsn: Lsn,
    rows: Vec<LedgerEntry>,
    ended: Vec<Grant>,
}

impl Rig {
    fn new() -> Self {
        let pool = Pool::new(ENTITLEMENT, CUSTOMER);
        Self { pool, lsn: Lsn::ZERO, rows: Vec::new(), ended: Vec::new() }
    }

    /// Does something to the pool as the next record.
    fn act(&mut self, action: impl FnOnce(&mut Pool, &mut Ids) -> Left) {
        self.lsn = self.lsn.next();
        let left = action(&mut self.pool, &mut Ids::of(self.lsn));
        self.rows.extend(left.rows);
        self.ended.extend(left.ended);
        self.check();
    }

    fn check(&self) {
        assert!(self.pool.conserves(), "{:#?}", self.pool);
        for pair in self.rows.windows(2) {
            assert_eq!(pair[0].balance_after, pair[1].balance_before, "{pair:#?}");
            assert_eq!(pair[0].overage_after, pair[1].overage_before, "{pair:#?}");
            assert!(pair[0].id < pair[1].id, "{pair:#?}");
        }
        for row in &self.rows {
            let amounts = [row.amount, row.balance_after, row.overage_after, row.uncovered];
            assert!(amounts.iter().all(|amount| *amount >= Credits::ZERO), "{row:#?}");
            assert_eq!((row.entitlement, row.customer), (ENTITLEMENT, CUSTOMER));
        }
        if self.pool.settle_due_at().is_none() {
            let (balance, overage) = self.newest();
            assert_eq!(self.pool.remaining(), balance);
            assert_eq!(self.pool.overage(), overage);
        }
        assert!(self.pool.grants().iter().all(|grant| grant.remaining > Credits::ZERO));
        assert!(self.ended.iter().all(|grant| grant.remaining.is_zero()));
    }

    /// Balance and overage behind the newest row.
    fn newest(&self) -> (Credits, Credits) {
        let nothing = (Credits::ZERO, Credits::ZERO);
        self.rows.last().map_or(nothing, |row| (row.balance_after, row.overage_after))
    }

    fn draw(&mut self, subscription: SubscriptionIndex, amount: &str, terms: &Attachment, on: u32) {
        let draw = Draw {
            subscription,
            amount: credits(amount),
            overage: terms.terms.overage,
            low_below: super::low_balance_threshold(terms),
            order: GrantOrder::OldestFirst,
            now: day(on),
        };
        self.act(|pool, ids| pool.draw(&draw, ids));
    }

    fn top_up(&mut self, amount: &str, on: u32, expires: Option<u32>) {
        let new = NewGrant::new(GrantSource::Api, credits(amount), day(on));
        let new = NewGrant { expires_at: expires.map(day), ..new };
        self.act(|pool, ids| pool.grant(new, ids));
    }

    fn settle(&mut self, on: u32) {
        self.act(|pool, ids| pool.settle(day(on), ids));
    }

    fn begin(&mut self, subscription: SubscriptionIndex, attachment: &Attachment, on: u32) {
        let passage = Passage::Begun { at: day(on), in_trial: false };
        let attached = Attached { before: None, after: Some(attachment) };
        self.act(|pool, ids| pool.pass(&passage, subscription, attached, ids));
    }

    fn turn(&mut self, subscription: SubscriptionIndex, attachment: &Attachment, on: u32) {
        let passage =
            Passage::Turned { at: day(on), segment: on, grants: true, trial_ended: false };
        let attached = Attached { before: Some(attachment), after: Some(attachment) };
        self.act(|pool, ids| pool.pass(&passage, subscription, attached, ids));
    }

    fn end(&mut self, subscription: SubscriptionIndex, attachment: &Attachment, on: u32) {
        let passage = Passage::Ended { at: day(on), segment: Some(on) };
        let attached = Attached { before: Some(attachment), after: None };
        self.act(|pool, ids| pool.pass(&passage, subscription, attached, ids));
    }

    fn expire(&mut self, on: u32) {
        self.act(|pool, ids| pool.expire(day(on), |_| None, ids));
    }

    /// The ledger since the last time, a line a row.
    fn ledger(&mut self) -> Vec<String> {
        let numbers = |id: GrantId| format!("{}.{}", id.lsn, id.number);
        let lines = self.rows.iter().map(|row| {
            let mut line = format!(
                "{}{} {}: {}>{}",
                if row.is_credit { '+' } else { '-' },
                row.amount,
                word(row.transaction),
                row.balance_before,
                row.balance_after
            );
            if !row.overage_before.is_zero() || !row.overage_after.is_zero() {
                write!(line, ", overage {}>{}", row.overage_before, row.overage_after).unwrap();
            }
            if !row.uncovered.is_zero() {
                write!(line, ", uncovered {}", row.uncovered).unwrap();
            }
            if let Some(grant) = row.grant {
                write!(line, ", grant {}", numbers(grant)).unwrap();
            }
            let cause = match &row.reference {
                LedgerReference::Subscription(subscription) => format!("sub {}", subscription.0),
                LedgerReference::Payment(payment) => payment.to_string(),
                LedgerReference::Api => "api".to_owned(),
                LedgerReference::OverageRepay(subscription) => format!("repay {}", subscription.0),
            };
            let on = row.created_at.as_nanos() / day(1).as_nanos();
            format!("{line}, {cause}, day {on}")
        });
        lines.collect()
    }

    fn balance(&self, on: u32) -> String {
        self.pool.balance_at(day(on)).to_string()
    }
}

fn word(transaction: TransactionType) -> &'static str {
    match transaction {
        TransactionType::CreditAdded => "added",
        TransactionType::CreditDeducted => "deducted",
        TransactionType::CreditExpired => "expired",
        TransactionType::CreditRolledOver => "rolled over",
        TransactionType::RolloverForfeited => "forfeited",
        TransactionType::OverageCharged => "charged",
        TransactionType::OverageReset => "reset",
        TransactionType::ManualAdjustment => "adjusted",
    }
}
