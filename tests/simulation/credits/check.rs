//! Whether the engine shows of credits what the naive model has reckoned.

use std::collections::BTreeMap;
use std::sync::Arc;

use quipu::engine::Page;
use quipu::engine::bills::{BalanceView, GrantStatus, LedgerFilter};
use quipu::engine::command::entries::NewEntry;
use quipu::model::credit::{LedgerReference, TransactionType};
use quipu::model::{
    CustomerId, EntitlementId, GrantId, LedgerEntry, Subscription, SubscriptionIndex, Timestamp,
};

use super::holds::check_reservations;
use super::pool::{Granted, NaivePool, Source};
use super::watched::check_alerts;
use super::{Credits, PoolKey};
use crate::check::Unread;
use crate::model::Model;
use crate::place::{Process, chain};
use crate::told::check_told;

const ALL: Page = Page { offset: 0, limit: 1_000_000 };

/// Whose credits, of which entitlement.
type Names = (EntitlementId, CustomerId);

/// Draws: whose, on which grant; of overage there is none.
type Sums = BTreeMap<(SubscriptionIndex, Option<usize>), i128>;

impl Model {
    /// Does to the credits what the log says since the last time.
    pub(crate) fn follow_credits(&mut self, process: &Process) -> Result<(), Unread> {
        let mut credits = std::mem::take(&mut self.credits);
        let followed = credits.follow(process, self);
        self.credits = credits;
        followed
    }

    /// Finds out whether an entry was made, though nobody was answered.
    pub(crate) fn resolve_entry(&mut self, process: &Process, new: &NewEntry) -> Option<bool> {
        let of = (&new.entitlement_id, &new.customer_id);
        let rows = process.engine.ledger(of.0, of.1, LedgerFilter::default(), ALL).ok()?;
        let found = rows.into_iter().find(|row| row.entry.reason == new.reason)?;
        let LedgerEntry { id, entitlement, customer, .. } = *found.entry;
        self.entries.push((PoolKey { entitlement, customer }, id.lsn));
        Some(true)
    }
}

/// Follows the log, and compares every pool.
pub(crate) fn check_credits(process: &Process, model: &mut Model) -> Result<(), Unread> {
    model.follow_credits(process)?;
    let credits = &model.credits;
    let at = process.now().max(credits.log_time);
    let seen = credits.as_of(at);
    let known: Vec<_> = credits.entitlements.values().cloned().collect();
    assert_eq!(known, model.entitlements, "what the log says");
    for (pool, lsn) in &model.entries {
        assert!(credits.has_entry(*pool, *lsn), "an entry is gone: {pool:?} {lsn}");
    }
    let mut rows = Vec::new();
    for (name, customer) in &credits.customers {
        let views = process.engine.balances_of_customer(&CustomerId::new(name.as_str()));
        let views = views.map_err(|error| chain(&error))?;
        let own = credits.pools.iter().filter(|(key, _)| key.customer == *customer);
        let keys: Vec<PoolKey> = own.map(|(key, _)| *key).collect();
        let shown: Vec<PoolKey> = views.iter().map(|view| view.kept.key()).collect();
        assert_eq!(shown, keys, "the pools of {name}");
        for view in views {
            let key = view.kept.key();
            let names = (view.entitlement.id.clone(), view.customer_id.clone());
            let place = credits.place(key).expect("it was just found");
            let (pool, now) = (&credits.pools[place].1, &seen.pools[place].1);
            check_balance(&view, now, at);
            let grants = check_grants(process, &names, now, at)?;
            rows.extend(check_ledger(process, &names, pool, &grants)?);
        }
    }
    for subscription in credits.subscriptions.values() {
        check_usage(process, &seen, subscription, at)?;
    }
    check_reservations(process, model)?;
    check_alerts(process, model);
    check_told(process, model, &rows)
}

fn check_balance(view: &BalanceView, pool: &NaivePool, at: Timestamp) {
    assert_eq!(view.balance().as_units(), pool.balance(at), "{view:?} {pool:?}");
    let shown = &view.kept.pool;
    assert_eq!(shown.overage().as_units(), pool.overage(), "{view:?} {pool:?}");
    assert_eq!(shown.totals().uncovered.as_units(), pool.uncovered, "{view:?} {pool:?}");
    assert_eq!(shown.spendable_at(at).as_units(), pool.spendable(at), "{view:?} {pool:?}");
    assert!(shown.conserves(), "{view:?}");
}

/// Every grant that ever was: their places by id.
fn check_grants(
    process: &Process,
    (entitlement, customer): &Names,
    pool: &NaivePool,
    at: Timestamp,
) -> Result<BTreeMap<GrantId, usize>, Unread> {
    let shown = process.engine.grants(entitlement, customer, None, ALL);
    let mut shown = shown.map_err(|error| chain(&error))?;
    shown.reverse();
    assert_eq!(shown.len(), pool.grants.len(), "{shown:?} {pool:?}");
    for (view, known) in shown.iter().zip(&pool.grants) {
        let grant = &view.grant;
        let found = (grant.initial.as_units(), grant.remaining.as_units(), view.status);
        let (left, status) = standing(known, at);
        assert_eq!(found, (known.initial, left, status), "{view:?} {known:?}");
        let found = (Source::of(&grant.source), grant.rollover_count);
        assert_eq!(found, (known.source, known.rollovers), "{view:?} {known:?}");
        let found = (grant.created_at, grant.expires_at);
        assert_eq!(found, (known.created_at, known.expires_at), "{view:?} {known:?}");
    }
    let places = shown.iter().zip(0..).map(|(view, place)| (view.grant.id, place));
    Ok(places.collect())
}

/// What a grant shows at an instant.
fn standing(known: &Granted, at: Timestamp) -> (i128, GrantStatus) {
    let is_over = known.left > 0 && known.expires_at.is_some_and(|end| end <= at);
    if known.is_lost || is_over {
        (0, GrantStatus::Expired)
    } else if known.left > 0 {
        (known.left, GrantStatus::Active)
    } else {
        (0, GrantStatus::Depleted)
    }
}

/// Rows chain; those of draws come to what was drawn up to some draw, and all others are what happened. Gives
/// the rows.
fn check_ledger(
    process: &Process,
    (entitlement, customer): &Names,
    pool: &NaivePool,
    grants: &BTreeMap<GrantId, usize>,
) -> Result<Vec<Arc<LedgerEntry>>, Unread> {
    let shown = process.engine.ledger(entitlement, customer, LedgerFilter::default(), ALL);
    let mut shown = shown.map_err(|error| chain(&error))?;
    shown.reverse();
    let rows: Vec<&LedgerEntry> = shown.iter().map(|view| &*view.entry).collect();
    let (mut balance, mut overage) = (0, 0);
    let (mut draws, mut uncovered) = (Sums::new(), 0);
    let mut moves = pool.moves.iter();
    for row in &rows {
        let before = (row.balance_before.as_units(), row.overage_before.as_units());
        assert_eq!(before, (balance, overage), "rows chain: {row:?}");
        let (by_balance, by_overage) = effect(row);
        (balance, overage) = (balance + by_balance, overage + by_overage);
        let after = (row.balance_after.as_units(), row.overage_after.as_units());
        assert_eq!(after, (balance, overage), "rows sum up: {row:?}");
        assert!(balance >= 0 && overage >= 0, "{row:?}");
        let grant = row.grant.map(|id| grants[&id]);
        if let Some(of) = drawn_by(row) {
            *draws.entry((of, grant)).or_default() += row.amount.as_units();
            uncovered += row.uncovered.as_units();
            continue;
        }
        let expected = moves.next().unwrap_or_else(|| panic!("nothing like {row:?} in {pool:?}"));
        let found = (row.id.lsn, row.transaction, row.amount.as_units(), grant, row.created_at);
        let expected = (expected.lsn, expected.what, expected.amount, expected.grant, expected.at);
        assert_eq!(found, expected, "{row:?}");
    }
    assert_eq!(moves.next(), None, "it is in no row");
    assert!(uncovered <= pool.uncovered, "{uncovered} {pool:?}");
    let open = check_draws(draws, pool);
    let left: i128 = pool.grants.iter().map(|grant| grant.left).sum();
    assert_eq!((balance - open.0, overage + open.1), (left, pool.overage()), "{pool:?}");
    Ok(shown.into_iter().map(|view| view.entry).collect())
}

/// What a row does to balance and overage.
fn effect(row: &LedgerEntry) -> (i128, i128) {
    let amount = row.amount.as_units();
    match (row.transaction, &row.reference) {
        (TransactionType::CreditAdded, _) => (amount, 0),
        (TransactionType::CreditDeducted, LedgerReference::OverageRepay(_)) => (-amount, -amount),
        (TransactionType::CreditDeducted, _) if row.grant.is_none() => (0, amount),
        (
            TransactionType::CreditDeducted
            | TransactionType::CreditExpired
            | TransactionType::RolloverForfeited
            | TransactionType::ManualAdjustment,
            _,
        ) => (-amount, 0),
        (TransactionType::CreditRolledOver, _) => (0, 0),
        (TransactionType::OverageCharged | TransactionType::OverageReset, _) => (0, -amount),
    }
}

/// Whose usage a row is of, when it is of any.
fn drawn_by(row: &LedgerEntry) -> Option<SubscriptionIndex> {
    match (row.transaction, &row.reference) {
        (TransactionType::CreditDeducted, LedgerReference::Subscription(of)) => Some(*of),
        _ => None,
    }
}

/// The rows of draws are all draws up to one: what those after it have drawn, from grants and beyond.
fn check_draws(mut rows: Sums, pool: &NaivePool) -> (i128, i128) {
    rows.retain(|_, amount| *amount != 0);
    let mut open = (0, 0);
    for drawn in &pool.drawn {
        if rows.is_empty() {
            let place = if drawn.grant.is_some() { &mut open.0 } else { &mut open.1 };
            *place += drawn.amount;
            continue;
        }
        let key = (drawn.of, drawn.grant);
        assert!(rows.contains_key(&key), "{drawn:?} {rows:?} {pool:?}");
        let row = rows.entry(key).or_default();
        *row -= drawn.amount;
        assert!(*row >= 0, "{drawn:?} {pool:?}");
        rows.retain(|_, amount| *amount != 0);
    }
    assert!(rows.is_empty(), "more stands in the ledger than was drawn: {rows:?} {pool:?}");
    open
}

fn check_usage(
    process: &Process,
    seen: &Credits,
    subscription: &Subscription,
    at: Timestamp,
) -> Result<(), Unread> {
    let shown = process.engine.credit_usage(&subscription.id).map_err(|error| chain(&error))?;
    assert_eq!(shown.len(), subscription.credits.len());
    let nothing = NaivePool::default();
    for (usage, attached) in shown.iter().zip(subscription.credits.iter()) {
        assert_eq!(usage.attachment, *attached);
        let (entitlement, customer) = (attached.entitlement, subscription.customer);
        let place = seen.place(PoolKey { entitlement, customer });
        let pool = place.map_or(&nothing, |place| &seen.pools[place].1);
        let found = (usage.balance.as_units(), usage.overage.as_units());
        assert_eq!(found, (pool.balance(at), pool.overage()), "{usage:?} {pool:?}");
        assert_eq!(usage.uncovered.as_units(), pool.uncovered, "{usage:?} {pool:?}");
        let terms = &attached.terms.overage;
        let limit = terms.limit.filter(|_| terms.is_enabled).map(quipu::model::Credits::as_units);
        let room = limit.and_then(|_| pool.headroom(subscription.index, terms));
        assert_eq!(usage.headroom.map(quipu::model::Credits::as_units), room, "{usage:?} {pool:?}");
        let overage = pool.overage_of(subscription.index);
        let is_reached = limit.is_some_and(|limit| overage >= limit);
        assert_eq!(usage.limit_reached, is_reached, "{usage:?} {pool:?}");
        let is_low = pool.low.contains_key(&subscription.index);
        assert_eq!(usage.is_low, is_low, "{usage:?} {pool:?}");
    }
    Ok(())
}
