//! Lists of credits: complete and without doubles while checkpoints move rows to disk, exact at their
//! instant, the same after a crash.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::credits::{Shop, credits, line};
use super::rig::Sent;
use crate::engine::bills::{GrantStatus, LedgerFilter};
use crate::engine::checkpoint::Progress;
use crate::engine::command::credits::CreditTermsPatch;
use crate::engine::command::entries::{NewEntry, NewEntryKind};
use crate::engine::{Command, Outcome, Page, Refused};
use crate::model::credit::TransactionType;
use crate::model::{Credits, CustomerId, GrantId, LedgerEntry, Timestamp};

const FOREVER: NewEntryKind = NewEntryKind::Credit { expires_at: None };
const SECOND: Duration = Duration::from_secs(1);

fn acme() -> CustomerId {
    CustomerId::new("c0")
}

/// What a list must say of a grant.
type GrantLine = (GrantId, GrantStatus, Credits);

impl Shop {
    /// Makes a manual entry, and gives the row that the answer shows.
    fn entry(&mut self, kind: NewEntryKind, amount: i128) -> Result<LedgerEntry, Refused> {
        let entry = NewEntry {
            entitlement_id: self.entitlement.clone(),
            customer_id: acme(),
            kind,
            amount: credits(amount),
            idempotency_key: None,
            reason: None,
            metadata: Vec::new(),
        };
        let changed = self.rig.change(Command::EnterCredits(Box::new(entry)))?;
        let Outcome::LedgerEntry(pool) = changed.outcome else { panic!() };
        let view = self.rig.engine.manual_entry(pool, changed.lsn).unwrap();
        Ok(LedgerEntry::clone(&view.entry))
    }

    /// The ledger, each page below the last row of the one before.
    fn listed_by_cursor(&self, limit: usize) -> Vec<LedgerEntry> {
        let mut found: Vec<LedgerEntry> = Vec::new();
        loop {
            let below = found.last().map(|row| row.id);
            let filter = LedgerFilter { below, ..LedgerFilter::default() };
            let page = Page { offset: 0, limit };
            let rows = self.rig.engine.ledger(&self.entitlement, &acme(), filter, page).unwrap();
            if rows.is_empty() {
                return found;
            }
            found.extend(rows.into_iter().map(|view| LedgerEntry::clone(&view.entry)));
        }
    }

    /// The ledger, walked by pages of this size.
    fn listed(&self, filter: LedgerFilter, limit: usize) -> Vec<LedgerEntry> {
        let mut found = Vec::new();
        loop {
            let page = Page { offset: found.len(), limit };
            let rows = self.rig.engine.ledger(&self.entitlement, &acme(), filter, page).unwrap();
            assert!(rows.len() <= limit);
            if rows.is_empty() {
                return found;
            }
            found.extend(rows.into_iter().map(|view| LedgerEntry::clone(&view.entry)));
        }
    }

    /// The grants, walked by pages of this size.
    fn granted(&self, status: Option<GrantStatus>, limit: usize) -> Vec<GrantLine> {
        let mut found = Vec::new();
        loop {
            let page = Page { offset: found.len(), limit };
            let grants = self.rig.engine.grants(&self.entitlement, &acme(), status, page).unwrap();
            assert!(grants.len() <= limit);
            if grants.is_empty() {
                return found;
            }
            let lines =
                grants.iter().map(|view| (view.grant.id, view.status, view.grant.remaining));
            found.extend(lines);
        }
    }
}

/// Something that happens between two looks.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Credits are given; for a few seconds, or for ever.
    Credit(i128, Option<u64>),
    /// Credits are taken.
    Debit(i128),
    /// Time passes, and what is due is done.
    Pass(u64),
    /// A checkpoint is begun, and goes on for so many steps.
    Checkpoint(usize),
    /// kill -9
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..5_i128, prop::option::of(1..6_u64)).prop_map(|(n, life)| Step::Credit(n, life)),
        6 => (1..7_i128).prop_map(Step::Debit),
        3 => (1..4_u64).prop_map(Step::Pass),
        4 => (0..200_usize).prop_map(Step::Checkpoint),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..50)
}

/// What manual entries and time make of grants, told in the plainest way.
#[derive(Debug, Default)]
struct Model {
    /// Left, ended by time, and when that is.
    grants: BTreeMap<GrantId, (Credits, bool, Option<Timestamp>)>,
}

impl Model {
    fn expire(&mut self, now: Timestamp) {
        for (left, is_expired, end) in self.grants.values_mut() {
            if !left.is_zero() && end.is_some_and(|end| end <= now) {
                (*left, *is_expired) = (Credits::ZERO, true);
            }
        }
    }

    fn balance(&self) -> Credits {
        Credits::sum(self.grants.values().map(|(left, ..)| *left))
    }

    fn take(&mut self, mut amount: Credits) {
        for (left, ..) in self.grants.values_mut() {
            let part = amount.min(*left);
            (*left, amount) = (left.minus(part), amount.minus(part));
        }
    }

    fn lines(&self) -> Vec<GrantLine> {
        let line = |(id, (left, is_expired, _)): (&GrantId, &(Credits, bool, _))| {
            let status = match (is_expired, left.is_zero()) {
                (true, _) => GrantStatus::Expired,
                (false, true) => GrantStatus::Depleted,
                (false, false) => GrantStatus::Active,
            };
            (*id, status, *left)
        };
        self.grants.iter().rev().map(line).collect()
    }
}

fn do_step(shop: &mut Shop, model: &mut Model, step: Step) {
    let now = shop.rig.engine.now();
    match step {
        Step::Credit(amount, life) => {
            let expires_at = life.map(|seconds| now.plus(SECOND * u32::try_from(seconds).unwrap()));
            let row = shop.entry(NewEntryKind::Credit { expires_at }, amount).unwrap();
            assert_eq!(
                (row.transaction, row.amount, row.is_credit),
                (TransactionType::CreditAdded, credits(amount), true)
            );
            model.grants.insert(row.grant.unwrap(), (credits(amount), false, expires_at));
        }
        Step::Debit(amount) => {
            let before = model.balance();
            match shop.entry(NewEntryKind::Debit, amount) {
                Ok(row) => {
                    model.take(credits(amount));
                    assert_eq!(
                        (row.transaction, row.balance_before, row.balance_after),
                        (TransactionType::ManualAdjustment, before, model.balance())
                    );
                }
                Err(refused) => {
                    assert_eq!(refused, Refused::Insufficient);
                    assert!(before < credits(amount));
                }
            }
        }
        // What is due is only done now and then: lists must not depend on it.
        Step::Pass(seconds) => {
            shop.rig.advance(SECOND * u32::try_from(seconds).unwrap());
            if seconds % 2 == 0 {
                shop.rig.settle().unwrap();
            }
            model.expire(shop.rig.engine.now());
        }
        Step::Checkpoint(count) => {
            shop.rig.machine.checkpointer.begin();
            for _ in 0..count {
                match shop.rig.machine.checkpointer.step().unwrap() {
                    Progress::Finished => break,
                    Progress::Waiting => shop.rig.machine.writer.sync().unwrap(),
                    Progress::Working | Progress::Idle => {}
                }
                shop.rig.settle().unwrap();
            }
        }
        Step::Kill => shop.rig = shop.rig.place.after(super::rig::Crash::Killed).open(),
    }
}

fn check_lists(shop: &Shop, model: &Model) {
    let all = shop.listed(LedgerFilter::default(), 100);
    assert!(all.is_sorted_by(|newer, older| newer.id > older.id), "{all:?}");
    for pair in all.windows(2) {
        let levels = |row: &LedgerEntry| (row.balance_before, row.overage_before);
        assert_eq!(levels(&pair[0]), (pair[1].balance_after, pair[1].overage_after));
    }
    assert_eq!(all.last().map_or(Credits::ZERO, |row| row.balance_before), Credits::ZERO);
    assert_eq!(shop.listed(LedgerFilter::default(), 3), all);
    assert_eq!(shop.listed_by_cursor(3), all);
    for transaction in [TransactionType::ManualAdjustment, TransactionType::CreditExpired] {
        let filter = LedgerFilter { transaction: Some(transaction), ..LedgerFilter::default() };
        let kept = all.iter().filter(|row| row.transaction == transaction);
        assert_eq!(shop.listed(filter, 2), kept.cloned().collect::<Vec<_>>());
    }
    if let Some(middle) = all.get(all.len() / 2).map(|row| row.created_at) {
        let filter =
            LedgerFilter { from: Some(middle), to: Some(middle), ..LedgerFilter::default() };
        let kept = all.iter().filter(|row| row.created_at == middle);
        assert_eq!(shop.listed(filter, 4), kept.cloned().collect::<Vec<_>>());
    }
    let grants = model.lines();
    for limit in [1, 4, 100] {
        assert_eq!(shop.granted(None, limit), grants);
    }
    for status in [GrantStatus::Active, GrantStatus::Expired, GrantStatus::Depleted] {
        let kept: Vec<GrantLine> =
            grants.iter().filter(|(_, found, _)| *found == status).copied().collect();
        assert_eq!(shop.granted(Some(status), 3), kept, "{status:?}");
    }
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]
    #[test]
    fn pages_are_complete_and_without_doubles_whatever_checkpoints_do(steps in steps()) {
        let mut shop = Shop::new(CreditTermsPatch::default());
        let mut model = Model::default();
        for step in steps {
            do_step(&mut shop, &mut model, step);
            check_lists(&shop, &model);
        }
    }
}

#[test]
fn what_a_pending_event_will_draw_is_seen_from_its_time_on() {
    let mut shop = Shop::new(CreditTermsPatch::default());
    shop.subscribe();
    shop.enter(NewEntryKind::Debit, 99, "all but one").unwrap();
    shop.enter(FOREVER, 5, "behind it").unwrap();
    let at = shop.rig.engine.now().plus(SECOND);
    let ahead: Vec<Sent> = (0..10).map(|n| Sent::new(format!("a{n}"), "c0").at(at)).collect();
    shop.rig.ingest(&ahead).unwrap();
    let two = |shop: &Shop| {
        let lines = shop.granted(None, 10).into_iter();
        lines.map(|(_, status, left)| (status, left.to_string())).collect::<Vec<_>>()
    };
    let active = |left: &str| (GrantStatus::Active, left.to_owned());
    assert_eq!(two(&shop), [active("5"), active("1")]);
    shop.rig.advance(2 * SECOND);
    let drawn = [active("5"), (GrantStatus::Depleted, "0".to_owned())];
    assert_eq!(two(&shop), drawn, "no record says so yet");
    assert_eq!(shop.granted(Some(GrantStatus::Depleted), 10).len(), 1);
    let balance = shop.balance();
    shop.pass(60 * SECOND);
    assert_eq!((two(&shop), shop.balance()), (drawn.to_vec(), balance));
}

/// The event was drawn when the first record after its time was applied. When that was the very end of a
/// grant, the grant had expired by then: what every read in between had shown as drawn came back, expired,
/// and the event was covered by nothing.
#[test]
fn a_pending_event_draws_at_its_own_time_whenever_the_next_record_comes() {
    let mut shop = Shop::new(CreditTermsPatch::default());
    shop.subscribe();
    shop.enter(NewEntryKind::Debit, 100, "all").unwrap();
    let now = shop.rig.engine.now();
    let expires_at = Some(now.plus(120 * SECOND));
    shop.enter(NewEntryKind::Credit { expires_at }, 50, "for two minutes").unwrap();
    let ahead = Sent::new("ahead", "c0").at(now.plus(60 * SECOND));
    shop.rig.ingest(&[ahead]).unwrap();
    shop.rig.advance(90 * SECOND);
    assert_eq!(shop.balance(), ("49.9".to_owned(), "0".to_owned()));
    shop.pass(90 * SECOND);
    let expected = [
        line(TransactionType::CreditDeducted, "0.1", "49.9", "0"),
        line(TransactionType::CreditExpired, "49.9", "0", "0"),
    ];
    assert_eq!(shop.ledger()[3..], expected);
    let uncovered = shop.pool().pool.totals().uncovered;
    assert_eq!(uncovered, Credits::ZERO);
}

/// Its draws were settled a minute after the next record, whatever that was: without one never, and under a
/// test clock behind the answer of whoever had moved it.
#[test]
fn a_pending_event_stands_in_the_ledger_a_minute_later_though_nothing_else_is_written() {
    let mut shop = Shop::new(CreditTermsPatch::default());
    shop.subscribe();
    let at = shop.rig.engine.now().plus(60 * SECOND);
    shop.rig.ingest(&[Sent::new("ahead", "c0").at(at)]).unwrap();
    shop.pass(119 * SECOND);
    assert_eq!(shop.ledger().len(), 1);
    shop.pass(SECOND);
    assert_eq!(shop.ledger()[1..], [line(TransactionType::CreditDeducted, "0.1", "99.9", "0")]);
    let lsn = shop.rig.machine.shared.state.applied();
    shop.pass(600 * SECOND);
    assert_eq!(shop.rig.machine.shared.state.applied(), lsn, "and then nothing is due");
}
