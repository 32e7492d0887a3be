//! What is covered by what: grants in their order, overage up to its limit, holds, the ledger's rows.

use super::*;
use crate::billing::credits::Debit;
use crate::model::PaymentId;
use crate::model::customer::{Metadata, MetadataValue};

fn off() -> Attachment {
    ten()
}

fn remaining(rig: &Rig) -> Vec<String> {
    rig.pool.grants().iter().map(|grant| grant.remaining.to_string()).collect()
}

fn debit(amount: &str, on: u32) -> Debit {
    Debit {
        amount: credits(amount),
        order: GrantOrder::OldestFirst,
        now: day(on),
        reason: Some("correction".to_owned()),
        metadata: vec![("by".to_owned(), MetadataValue::Boolean(true))],
    }
}

#[test]
fn the_oldest_grant_is_drawn_on_first_or_the_one_that_expires_first() {
    let draw = |order| {
        let mut rig = Rig::new();
        rig.top_up("5", 0, None);
        rig.top_up("5", 1, Some(30));
        rig.top_up("5", 2, Some(20));
        rig.top_up("5", 3, Some(20));
        let draw = Draw {
            subscription: A,
            amount: credits("7"),
            overage: off().terms.overage,
            low_below: None,
            order,
            now: day(4),
        };
        rig.act(|pool, ids| pool.draw(&draw, ids));
        rig
    };
    let oldest = draw(GrantOrder::OldestFirst);
    assert_eq!(remaining(&oldest), ["3", "5", "5"]);
    assert_eq!(oldest.ended[0].id, GrantId { lsn: Lsn(1), number: 0 });
    assert!(!oldest.ended[0].is_expired);
    assert_eq!(remaining(&draw(GrantOrder::ExpiresFirst)), ["5", "5", "3"]);
}

#[test]
fn a_grant_is_spendable_until_just_before_it_expires() {
    let mut rig = Rig::new();
    rig.top_up("5", 0, Some(10));
    let end = day(10);
    let before = Timestamp::from_nanos(end.as_nanos() - 1);
    assert_eq!(rig.pool.balance_at(before), credits("5"));
    assert_eq!(rig.pool.balance_at(end), Credits::ZERO);
    // Whether its expiry was done or not.
    rig.draw(A, "2", &off(), 10);
    assert_eq!(rig.pool.totals().uncovered, credits("2"));
    rig.settle(11);
    rig.expire(11);
    assert_eq!(
        rig.ledger(),
        [
            "+5 added: 0>5, grant 1.0, api, day 0",
            "-0 deducted: 5>5, uncovered 2, sub 1, day 11",
            "-5 expired: 5>0, grant 1.0, api, day 10",
        ]
    );
    assert!(rig.ended[0].is_expired);
}

#[test]
fn a_limit_clamps_what_is_overage() {
    let terms = ten_and_overage(OverageBehavior::ForgiveAtReset, Some("10"));
    let mut rig = Rig::new();
    rig.draw(A, "8", &terms, 0);
    let overage = terms.terms.overage;
    assert!(!rig.pool.limit_reached(A, &overage));
    assert_eq!(rig.pool.headroom(A, &overage), Some(credits("2")));
    rig.draw(A, "5", &terms, 0);
    assert_eq!(rig.pool.overage_of(A), credits("10"));
    assert_eq!(rig.pool.totals().uncovered, credits("3"));
    assert!(rig.pool.limit_reached(A, &overage));
    assert_eq!(rig.pool.headroom(A, &overage), Some(Credits::ZERO));
    rig.settle(1);
    assert_eq!(rig.ledger(), ["-10 deducted: 0>0, overage 0>10, uncovered 3, sub 1, day 1"]);
}

#[test]
fn an_empty_pool_covers_nothing_makes_overage_or_stops_at_the_limit() {
    let (mut none, mut endless) = (Rig::new(), Rig::new());
    none.draw(A, "3", &off(), 0);
    assert_eq!(none.pool.overage(), Credits::ZERO);
    assert_eq!(none.pool.totals().uncovered, credits("3"));
    assert_eq!(none.pool.headroom(A, &off().terms.overage), Some(Credits::ZERO));
    assert!(!none.pool.limit_reached(A, &off().terms.overage));
    let terms = ten_and_overage(OverageBehavior::ForgiveAtReset, None);
    endless.draw(A, "3", &terms, 0);
    assert_eq!(endless.pool.overage(), credits("3"));
    assert_eq!(endless.pool.headroom(A, &terms.terms.overage), None);
    assert!(!endless.pool.limit_reached(A, &terms.terms.overage));
}

#[test]
fn draws_become_a_row_for_each_subscription_and_grant_when_they_are_settled() {
    let terms = ten_and_overage(OverageBehavior::ForgiveAtReset, Some("1"));
    let mut rig = Rig::new();
    rig.top_up("4", 0, None);
    rig.top_up("9", 0, None);
    assert_eq!(rig.pool.settle_due_at(), None);
    for _ in 0..3 {
        rig.draw(A, "1", &off(), 1);
        rig.draw(B, "1", &off(), 2);
    }
    let minute = std::time::Duration::from_mins(1);
    assert_eq!(rig.pool.settle_due_at(), Some(day(1).plus(minute)));
    rig.settle(3);
    assert_eq!(rig.pool.settle_due_at(), None);
    rig.settle(4);
    // The balance comes to zero: at once.
    rig.draw(A, "10", &terms, 5);
    rig.draw(A, "1", &terms, 6);
    rig.top_up("1", 7, None);
    assert_eq!(
        rig.ledger(),
        [
            "+4 added: 0>4, grant 1.0, api, day 0",
            "+9 added: 4>13, grant 2.0, api, day 0",
            "-2 deducted: 13>11, grant 1.0, sub 1, day 3",
            "-2 deducted: 11>9, grant 1.0, sub 2, day 3",
            "-1 deducted: 9>8, grant 2.0, sub 1, day 3",
            "-1 deducted: 8>7, grant 2.0, sub 2, day 3",
            "-7 deducted: 7>0, grant 2.0, sub 1, day 5",
            "-1 deducted: 0>0, overage 0>1, uncovered 2, sub 1, day 5",
            "-0 deducted: 0>0, overage 1>1, uncovered 1, sub 1, day 7",
            "+1 added: 0>1, overage 1>1, grant 13.0, api, day 7",
        ]
    );
}

#[test]
fn what_is_uncovered_stands_in_the_row_of_what_was_covered() {
    let mut rig = Rig::new();
    rig.top_up("4", 0, None);
    rig.draw(A, "6", &off(), 1);
    assert_eq!(
        rig.ledger(),
        [
            "+4 added: 0>4, grant 1.0, api, day 0",
            "-4 deducted: 4>0, uncovered 2, grant 1.0, sub 1, day 1",
        ]
    );
}

#[test]
fn a_manual_debit_takes_what_there_is_and_nothing_that_is_held() {
    let mut rig = Rig::new();
    rig.top_up("500", 0, None);
    assert!(rig.pool.can_debit(credits("200"), day(1)));
    rig.act(|pool, ids| pool.debit(debit("200", 1), ids));
    assert_eq!(rig.balance(1), "300");
    assert!(!rig.pool.can_debit(credits("1000"), day(1)));
    let terms = off().terms.overage;
    let hold = rig.pool.can_cover(credits("250"), A, &terms, day(1)).unwrap();
    rig.pool.hold(&hold);
    assert!(!rig.pool.can_debit(credits("51"), day(1)));
    assert!(rig.pool.can_debit(credits("50"), day(1)));
    let row = rig.rows.last().unwrap();
    assert_eq!(row.reason.as_deref(), Some("correction"));
    assert_eq!(row.metadata, debit("200", 1).metadata);
    assert_eq!(
        rig.ledger(),
        [
            "+500 added: 0>500, grant 1.0, api, day 0",
            "-200 adjusted: 500>300, grant 1.0, api, day 1"
        ]
    );
    // One that takes from several grants names none.
    rig.top_up("10", 2, None);
    rig.pool.release(&hold);
    rig.act(|pool, ids| pool.debit(debit("305", 3), ids));
    assert_eq!(rig.rows.last().unwrap().grant, None);
    assert_eq!(remaining(&rig), ["5"]);
}

#[test]
fn what_one_buys_once_is_granted_by_its_payment() {
    let mut rig = Rig::new();
    let source = GrantSource::OneTime(PaymentId::new("pay_7"));
    let new = NewGrant {
        reason: Some("gift".to_owned()),
        metadata: Metadata::from([("k".to_owned(), MetadataValue::Boolean(true))]),
        ..NewGrant::new(source, credits("3"), day(0))
    };
    rig.act(|pool, ids| pool.grant(new.clone(), ids));
    rig.turn(A, &off(), 10);
    assert_eq!(
        rig.ledger(),
        ["+3 added: 0>3, grant 1.0, pay_7, day 0", "+10 added: 3>13, grant 2.0, sub 1, day 10"]
    );
    assert_eq!(rig.rows[0].reason, new.reason);
    assert_eq!(
        (&rig.rows[0].metadata, &rig.pool.grants()[0].metadata),
        (&new.metadata, &new.metadata)
    );
}

#[test]
fn a_balance_is_low_once_for_each_time_it_falls_below_the_threshold() {
    let terms = Attachment { low_balance_percent: Some(20), amount: credits("100"), ..ten() };
    let mut rig = Rig::new();
    rig.begin(A, &terms, 0);
    let rows_after = |rig: &mut Rig, amount, on| {
        rig.draw(A, amount, &terms, on);
        (rig.rows.len(), rig.pool.is_low(A))
    };
    // At the threshold it is not low.
    assert_eq!(rows_after(&mut rig, "80", 1), (1, false));
    assert_eq!(rows_after(&mut rig, "1", 1), (2, true));
    assert_eq!(rows_after(&mut rig, "1", 1), (2, true));
    // Below the threshold it is low still.
    rig.top_up("1", 2, None);
    assert_eq!((rig.rows.len(), rig.pool.is_low(A)), (4, true));
    rig.top_up("1", 2, None);
    assert_eq!((rig.rows.len(), rig.pool.is_low(A)), (5, false));
    assert_eq!(rows_after(&mut rig, "1", 3), (6, true));
    assert!(!rig.pool.is_low(B));
}

#[test]
fn a_thousand_reservations_of_one_hold_what_there_is_and_no_more() {
    let mut rig = Rig::new();
    rig.top_up("500", 0, None);
    let terms = off().terms.overage;
    let mut holds = Vec::new();
    for _ in 0..1_000 {
        if let Some(hold) = rig.pool.can_cover(credits("1"), A, &terms, day(1)) {
            rig.pool.hold(&hold);
            holds.push(hold);
        }
    }
    assert_eq!(holds.len(), 500);
    assert_eq!(rig.pool.spendable_at(day(1)), Credits::ZERO);
    // What is held is not drawn, and is there once it is released.
    rig.draw(B, "3", &off(), 1);
    assert_eq!((rig.balance(1), rig.pool.totals().uncovered), ("500".to_owned(), credits("3")));
    for hold in &holds {
        rig.pool.release(hold);
        rig.draw(A, "1", &off(), 1);
    }
    assert_eq!(rig.pool.totals().consumed, credits("500"));
    assert_eq!(rig.pool.totals().uncovered, credits("3"));
}

#[test]
fn reservations_hold_headroom_where_the_balance_ends() {
    let terms = ten_and_overage(OverageBehavior::CarryDeficit, Some("6"));
    let overage = terms.terms.overage;
    let mut rig = Rig::new();
    rig.top_up("5", 0, None);
    assert_eq!(rig.pool.can_cover(credits("12"), A, &overage, day(1)), None);
    let hold = rig.pool.can_cover(credits("9"), A, &overage, day(1)).unwrap();
    assert_eq!((hold.balance, hold.overage), (credits("5"), credits("4")));
    rig.pool.hold(&hold);
    assert_eq!(rig.pool.headroom(A, &overage), Some(credits("2")));
    assert_eq!(rig.pool.headroom(B, &overage), Some(credits("6")));
    rig.draw(A, "3", &terms, 1);
    assert_eq!(rig.pool.overage_of(A), credits("2"));
    assert_eq!(rig.pool.totals().uncovered, credits("1"));
    rig.pool.release(&hold);
    rig.draw(A, "9", &terms, 1);
    assert_eq!(rig.pool.overage_of(A), credits("6"));
    assert_eq!(rig.pool.totals().uncovered, credits("1"));
}

/// Where overage has no limit, what is held still adds up: nobody's end gives back what another holds.
#[test]
fn no_more_is_held_than_can_be_added_up() {
    let terms = ten_and_overage(OverageBehavior::CarryDeficit, None);
    let overage = terms.terms.overage;
    let mut rig = Rig::new();
    let most = Credits::from_units(i128::MAX);
    let hold = rig.pool.can_cover(credits("7"), A, &overage, day(1)).unwrap();
    rig.pool.hold(&hold);
    assert_eq!(rig.pool.can_cover(most, A, &overage, day(1)), None);
    let rest = rig.pool.can_cover(most.minus(credits("7")), A, &overage, day(1)).unwrap();
    rig.pool.hold(&rest);
    assert_eq!(rig.pool.can_cover(credits("1"), A, &overage, day(1)), None);
    rig.pool.release(&rest);
    rig.draw(A, "5", &terms, 1);
    assert_eq!(rig.pool.can_cover(most.minus(credits("11")), A, &overage, day(1)), None);
    assert!(rig.pool.can_cover(most.minus(credits("12")), A, &overage, day(1)).is_some());
}

#[test]
fn amounts_beyond_reason_neither_panic_nor_break_the_law() {
    let terms = ten_and_overage(OverageBehavior::InvoiceAtBilling, None);
    let mut rig = Rig::new();
    let most = Credits::from_units(i128::MAX);
    for on in 0..3 {
        let new = NewGrant::new(GrantSource::Api, most, day(on));
        rig.act(|pool, ids| pool.grant(new, ids));
        for _ in 0..3 {
            let draw = Draw {
                subscription: A,
                amount: most,
                overage: terms.terms.overage,
                low_below: Some(most),
                order: GrantOrder::ExpiresFirst,
                now: day(on),
            };
            rig.act(|pool, ids| pool.draw(&draw, ids));
        }
        rig.turn(A, &terms, on);
    }
    assert_eq!(rig.pool.dues(A, Some(0)).next().unwrap().amount(), None);
}

#[test]
fn overage_costs_its_price_rounded_once() {
    let due = |amount: &str, text: &str| {
        let (credits, price) = (credits(amount), price(text));
        super::super::OverageDue { subscription: A, segment: None, credits, price }.amount()
    };
    let minor = |units| Some(crate::model::Money::from_minor(units));
    assert_eq!(due("3", "2.5"), minor(8));
    assert_eq!(due("2.99", "0.5"), minor(1));
    assert_eq!(due("2.9", "0.5"), minor(1));
    assert_eq!(due("3", "0.5"), minor(2));
    assert_eq!(due("90000000000000", "99999"), minor(8_999_910_000_000_000_000));
    assert_eq!(due("99999999999999", "99999"), None);
}

#[test]
fn a_pool_is_small() {
    assert!(size_of::<Pool>() <= 384, "{}", size_of::<Pool>());
    assert!(size_of::<Grant>() <= 160, "{}", size_of::<Grant>());
}
