//! What a turn and an end do to overage and grants: whole ledgers.

use std::time::Duration;

use super::*;
use crate::billing::credits::OverageDue;
use crate::model::{Money, Share};

/// The ledger of a subscription of ten credits that uses 14 in its first period and 3 in its second,
/// with a manual grant of 5 in it, and the pool afterwards.
fn over_one_boundary(behavior: OverageBehavior) -> (Rig, Vec<String>) {
    let terms = ten_and_overage(behavior, None);
    let mut rig = Rig::new();
    rig.begin(A, &terms, 0);
    rig.draw(A, "14", &terms, 3);
    rig.turn(A, &terms, 30);
    rig.top_up("5", 31, None);
    rig.draw(A, "3", &terms, 32);
    rig.settle(33);
    let ledger = rig.ledger();
    (rig, ledger)
}

#[test]
fn forgiven_overage_is_reset() {
    let (rig, ledger) = over_one_boundary(OverageBehavior::ForgiveAtReset);
    assert_eq!(
        ledger,
        [
            "+10 added: 0>10, grant 1.0, sub 1, day 0",
            "-10 deducted: 10>0, grant 1.0, sub 1, day 3",
            "-4 deducted: 0>0, overage 0>4, sub 1, day 3",
            "+4 reset: 0>0, overage 4>0, sub 1, day 30",
            "+10 added: 0>10, grant 3.0, sub 1, day 30",
            "+5 added: 10>15, grant 4.0, api, day 31",
            "-3 deducted: 15>12, grant 3.0, sub 1, day 33",
        ]
    );
    assert_eq!(rig.pool.dues(A, Some(30)).count(), 0);
}

#[test]
fn invoiced_overage_waits_for_the_close() {
    let (mut rig, ledger) = over_one_boundary(OverageBehavior::InvoiceAtBilling);
    assert_eq!(
        ledger,
        [
            "+10 added: 0>10, grant 1.0, sub 1, day 0",
            "-10 deducted: 10>0, grant 1.0, sub 1, day 3",
            "-4 deducted: 0>0, overage 0>4, sub 1, day 3",
            "-4 charged: 0>0, overage 4>0, sub 1, day 30",
            "+10 added: 0>10, grant 3.0, sub 1, day 30",
            "+5 added: 10>15, grant 4.0, api, day 31",
            "-3 deducted: 15>12, grant 3.0, sub 1, day 33",
        ]
    );
    let due = OverageDue {
        subscription: A,
        segment: Some(30),
        credits: credits("4"),
        price: price("2.5"),
    };
    assert_eq!(rig.pool.dues(A, Some(30)).collect::<Vec<_>>(), [&due]);
    assert_eq!(due.amount().map(Money::as_minor), Some(10));
    rig.pool.forget_due(A, Some(29));
    rig.pool.forget_due(B, Some(30));
    assert_eq!(rig.pool.dues(A, Some(30)).count(), 1);
    rig.pool.forget_due(A, Some(30));
    assert_eq!(rig.pool.dues(A, Some(30)).count(), 0);
}

#[test]
fn a_carried_deficit_stays_and_new_grants_are_spendable_in_full() {
    let (rig, ledger) = over_one_boundary(OverageBehavior::CarryDeficit);
    assert_eq!(
        ledger,
        [
            "+10 added: 0>10, grant 1.0, sub 1, day 0",
            "-10 deducted: 10>0, grant 1.0, sub 1, day 3",
            "-4 deducted: 0>0, overage 0>4, sub 1, day 3",
            "+10 added: 0>10, overage 4>4, grant 3.0, sub 1, day 30",
            "+5 added: 10>15, overage 4>4, grant 4.0, api, day 31",
            "-3 deducted: 15>12, overage 4>4, grant 3.0, sub 1, day 33",
        ]
    );
    let limit = ten_and_overage(OverageBehavior::CarryDeficit, Some("4")).terms.overage;
    assert!(rig.pool.limit_reached(A, &limit));
}

#[test]
fn new_grants_repay_a_deficit_first() {
    let (_, ledger) = over_one_boundary(OverageBehavior::CarryDeficitAutoRepay);
    assert_eq!(
        ledger,
        [
            "+10 added: 0>10, grant 1.0, sub 1, day 0",
            "-10 deducted: 10>0, grant 1.0, sub 1, day 3",
            "-4 deducted: 0>0, overage 0>4, sub 1, day 3",
            "+10 added: 0>10, overage 4>4, grant 3.0, sub 1, day 30",
            "-4 deducted: 10>6, overage 4>0, grant 3.0, repay 1, day 30",
            "+5 added: 6>11, grant 4.0, api, day 31",
            "-3 deducted: 11>8, grant 3.0, sub 1, day 33",
        ]
    );
}

#[test]
fn a_grant_of_any_source_repays_the_deficits_of_all_subscriptions() {
    let terms = ten_and_overage(OverageBehavior::CarryDeficitAutoRepay, None);
    let carried = ten_and_overage(OverageBehavior::CarryDeficit, None);
    let mut rig = Rig::new();
    rig.draw(B, "2", &terms, 0);
    rig.draw(A, "3", &terms, 0);
    rig.draw(SubscriptionIndex(3), "4", &carried, 0);
    rig.top_up("4", 1, None);
    assert_eq!(
        rig.ledger()[3..],
        [
            "+4 added: 0>4, overage 9>9, grant 4.0, api, day 1",
            "-3 deducted: 4>1, overage 9>6, grant 4.0, repay 1, day 1",
            "-1 deducted: 1>0, overage 6>5, grant 4.0, repay 2, day 1",
        ]
    );
    // It has ended by that.
    assert_eq!((rig.pool.grants(), rig.ended.len()), (&[][..], 1));
    assert!(!rig.ended[0].is_expired);
    rig.begin(B, &terms, 2);
    assert_eq!(rig.pool.overage(), credits("4"));
    assert_eq!(rig.balance(2), "9");
}

#[test]
fn an_end_invoices_what_would_be_resets_the_rest_and_expires_its_grants() {
    let ledger_of = |behavior| {
        let terms = ten_and_overage(behavior, None);
        let mut rig = Rig::new();
        rig.draw(A, "2", &terms, 0);
        rig.begin(B, &terms, 1);
        rig.begin(A, &Attachment { trial_amount: Some(credits("7")), ..terms }, 1);
        rig.end(A, &terms, 2);
        assert!(!rig.pool.concerns(A));
        assert!(rig.pool.concerns(B));
        let dues = rig.pool.dues(A, Some(2)).count();
        (rig.ledger().split_off(3), dues)
    };
    let lost = "-10 expired: 20>10, grant 3.0, sub 1, day 2".to_owned();
    let reset = "+2 reset: 20>20, overage 2>0, sub 1, day 2".to_owned();
    let charged = "-2 charged: 20>20, overage 2>0, sub 1, day 2".to_owned();
    for behavior in [OverageBehavior::ForgiveAtReset, OverageBehavior::CarryDeficit] {
        assert_eq!(ledger_of(behavior), (vec![reset.clone(), lost.clone()], 0));
    }
    assert_eq!(ledger_of(OverageBehavior::InvoiceAtBilling), (vec![charged, lost], 1));
}

#[test]
fn overage_of_late_events_behind_the_end_is_settled_when_the_end_is_done_again() {
    let terms = ten_and_overage(OverageBehavior::InvoiceAtBilling, None);
    let mut rig = Rig::new();
    rig.draw(A, "2", &terms, 0);
    rig.end(A, &terms, 5);
    rig.draw(A, "3", &terms, 5);
    for _ in 0..2 {
        rig.end(A, &terms, 5);
        let due: Vec<_> = rig.pool.dues(A, Some(5)).map(|due| due.credits).collect();
        assert_eq!((due, rig.pool.overage()), (vec![credits("5")], Credits::ZERO));
    }
}

#[test]
fn two_subscriptions_share_a_pool_and_each_owes_its_own_overage_at_its_price() {
    let mut terms = [A, B].map(|_| ten_and_overage(OverageBehavior::InvoiceAtBilling, Some("5")));
    terms[1].terms.overage.price = Some(price("7"));
    let mut rig = Rig::new();
    rig.begin(A, &terms[0], 0);
    rig.begin(B, &terms[1], 0);
    rig.draw(A, "13", &terms[0], 1);
    rig.draw(B, "9", &terms[1], 1);
    rig.draw(A, "4", &terms[0], 1);
    assert_eq!([A, B].map(|of| rig.pool.overage_of(of)), [credits("4"), credits("2")]);
    rig.turn(B, &terms[1], 30);
    assert_eq!([A, B].map(|of| rig.pool.overage_of(of)), [credits("4"), Credits::ZERO]);
    rig.turn(A, &terms[0], 31);
    let amount = |rig: &Rig, of, segment| {
        rig.pool.dues(of, Some(segment)).next().and_then(OverageDue::amount).map(Money::as_minor)
    };
    assert_eq!((amount(&rig, A, 31), amount(&rig, B, 30)), (Some(10), Some(14)));
    assert_eq!(rig.balance(31), "20");
}

#[test]
fn overage_that_has_no_price_is_not_invoiced() {
    let mut terms = ten_and_overage(OverageBehavior::InvoiceAtBilling, None);
    terms.terms.overage.price = None;
    let mut rig = Rig::new();
    rig.draw(A, "2", &terms, 0);
    rig.turn(A, &terms, 30);
    assert_eq!(rig.ledger()[1], "+2 reset: 0>0, overage 2>0, sub 1, day 30");
    assert_eq!(rig.pool.dues(A, Some(30)).count(), 0);
}

#[test]
fn while_a_payment_is_open_a_turn_hands_out_nothing() {
    let mut rig = Rig::new();
    rig.begin(A, &ten(), 0);
    let passage = Passage::Turned { at: day(30), segment: 0, grants: false, trial_ended: false };
    let attached = Attached { before: Some(&ten()), after: Some(&ten()) };
    rig.act(|pool, ids| pool.pass(&passage, A, attached, ids));
    assert_eq!(rig.ledger()[1..], ["-10 expired: 10>0, grant 1.0, sub 1, day 30"]);
    assert_eq!(rig.ended[0].updated_at, day(30));
}

/// The ledger from the end of a trial of 4 credits on, over two turns.
fn after_trial(expires: bool) -> Vec<String> {
    let mut terms =
        Attachment { trial_amount: Some(credits("4")), trial_expires: expires, ..ten() };
    terms.terms.rollover.is_enabled = true;
    let attached = Attached { before: Some(&terms), after: Some(&terms) };
    let mut rig = Rig::new();
    let trial = Passage::Begun { at: day(0), in_trial: true };
    rig.act(|pool, ids| pool.pass(&trial, A, attached, ids));
    rig.draw(A, "1", &terms, 1);
    let turned = Passage::Turned { at: day(7), segment: 0, grants: true, trial_ended: true };
    rig.act(|pool, ids| pool.pass(&turned, A, attached, ids));
    rig.turn(A, &ten(), 37);
    rig.ledger().split_off(2)
}

#[test]
fn what_is_left_of_a_trial_ends_with_it_or_lives_one_period_more() {
    assert_eq!(
        after_trial(true),
        [
            "-3 expired: 3>0, grant 1.0, sub 1, day 7",
            "+10 added: 0>10, grant 3.0, sub 1, day 7",
            "-10 expired: 10>0, grant 3.0, sub 1, day 37",
            "+10 added: 0>10, grant 4.0, sub 1, day 37",
        ]
    );
    assert_eq!(
        after_trial(false),
        [
            "+10 added: 3>13, grant 3.0, sub 1, day 7",
            "-3 expired: 13>10, grant 1.0, sub 1, day 37",
            "-10 expired: 10>0, grant 3.0, sub 1, day 37",
            "+10 added: 0>10, grant 4.0, sub 1, day 37",
        ]
    );
}

#[test]
fn a_change_of_plan_within_a_period_hands_out_the_share_of_what_is_more() {
    let change = |old: &Attachment, new: &Attachment| {
        let share = Share { part: Duration::from_secs(1), whole: Duration::from_secs(3) };
        let passage = Passage::ChangedWithin { at: day(20), share, in_trial: false };
        let attached = Attached { before: Some(old), after: Some(new) };
        let mut rig = Rig::new();
        rig.act(|pool, ids| pool.pass(&passage, A, attached, ids));
        rig.ledger()
    };
    let more = Attachment { amount: credits("15"), ..ten() };
    assert_eq!(change(&ten(), &more), ["+1 added: 0>1, grant 1.0, sub 1, day 20"]);
    let finer = Attachment { precision: 2, ..more };
    assert_eq!(change(&ten(), &finer), ["+1.66 added: 0>1.66, grant 1.0, sub 1, day 20"]);
    assert_eq!(change(&more, &ten()), [""; 0]);
    let not = Attachment { proration: CreditProration::NoProrate, ..more };
    assert_eq!(change(&ten(), &not), [""; 0]);
}

#[test]
fn a_share_of_any_amount_is_exact() {
    let share = |units, part, whole| {
        let share = Share { part: Duration::from_nanos(part), whole: Duration::from_nanos(whole) };
        crate::billing::credits::turn::part_of(Credits::from_units(units), share).as_units()
    };
    assert_eq!(share(10, 1, 3), 3);
    assert_eq!(share(i128::MAX, u64::MAX, u64::MAX), i128::MAX);
    assert_eq!(share(i128::MAX, 1, 2), i128::MAX / 2);
    let whole = u64::MAX - 58;
    assert_eq!(share(i128::from(whole) * 1_000_003, 123_456_789, whole), 123_456_789 * 1_000_003);
    assert_eq!(
        share(i128::from(whole) * 1_000_003 - 1, 123_456_789, whole),
        123_456_789 * 1_000_003 - 1
    );
    assert_eq!(share(5, 7, 0), 5);
}
