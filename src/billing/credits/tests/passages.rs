//! What each change of a subscription means for its credits.

use std::time::Duration;

use crate::billing::credits::{Passage, passage};
use crate::billing::tests::{begun, begun_with};
use crate::billing::{
    Cut, PastDueEnd, cancel_at_next_billing_date, cancel_now, change_plan, end_past_due, pause,
    payment_failed, payment_succeeded, resume, turn, unused,
};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    InvoiceNumber, Plan, PriceVersion, ProductIndex, ProrationMode, Subscription,
    SubscriptionStatus, Terms, Timestamp,
};

const GRACE: Duration = Duration::from_mins(70);
const MONTH: Interval = Interval { count: 1, unit: IntervalUnit::Month };

fn at(date: &str) -> Timestamp {
    Timestamp::parse(&format!("{date}T00:00:00Z")).unwrap()
}

fn cut(date: &str) -> Cut {
    Cut { at: at(date), end: at(date), grace: GRACE }
}

fn turned(subscription: &Subscription) -> Subscription {
    turn(subscription, GRACE).unwrap()
}

fn check(before: &Subscription, after: &Subscription, expected: Passage) {
    assert_eq!(passage(Some(before), after), expected);
}

fn changed(before: &Subscription, mode: ProrationMode) -> Subscription {
    let plan = Plan {
        terms: Terms { product: ProductIndex(4), version: PriceVersion(1) },
        quantity: 1,
        interval: MONTH,
        subscription_period: MONTH,
        credits: std::sync::Arc::default(),
    };
    change_plan(before, &plan, mode, cut("2026-01-08")).unwrap()
}

#[test]
fn it_begins_with_its_first_segment() {
    for (trial_days, in_trial) in [(0, false), (7, true)] {
        let after = begun_with("2026-01-03", trial_days);
        let pending = Subscription {
            status: SubscriptionStatus::Pending,
            running: None,
            next_segment: 0,
            in_trial: false,
            ..after.clone()
        };
        let expected = Passage::Begun { at: at("2026-01-03"), in_trial };
        check(&pending, &after, expected);
        assert_eq!(passage(None, &after), expected);
        assert_eq!(passage(None, &pending), Passage::Nothing);
        let cancelled = cancel_now(&pending, cut("2026-01-04")).unwrap();
        check(&pending, &cancelled, Passage::Nothing);
    }
}

#[test]
fn a_turn_hands_out_unless_a_payment_is_open() {
    let first = begun("2026-01-01");
    let expected =
        |grants| Passage::Turned { at: at("2026-02-01"), segment: 0, grants, trial_ended: false };
    check(&first, &turned(&first), expected(true));
    let held = payment_failed(&first, InvoiceNumber(3), None);
    check(&first, &held, Passage::Nothing);
    check(&held, &turned(&held), expected(false));
    let late = payment_failed(&first, InvoiceNumber(3), Some(at("2026-03-05")));
    check(&late, &turned(&late), expected(false));
    let paid = payment_succeeded(&held, InvoiceNumber(3), cut("2026-01-20")).unwrap();
    check(&held, &paid, Passage::Nothing);
    check(&paid, &turned(&paid), expected(true));
    let trial = begun_with("2026-01-01", 7);
    let (at, trial_ended) = (at("2026-01-08"), true);
    check(&trial, &turned(&trial), Passage::Turned { at, segment: 0, grants: true, trial_ended });
}

#[test]
fn it_ends_with_its_running_segment_or_with_the_last_that_is_open() {
    let first = begun("2026-01-01");
    let second = turned(&first);
    let now = cancel_now(&second, cut("2026-02-11")).unwrap();
    check(&second, &now, Passage::Ended { at: at("2026-02-11"), segment: Some(1) });
    check(&now, &now, Passage::Nothing);
    let ending = cancel_at_next_billing_date(&second, true).unwrap();
    check(&second, &ending, Passage::Nothing);
    let ended = Passage::Ended { at: at("2026-03-01"), segment: Some(1) };
    check(&ending, &turned(&ending), ended);
    let past_due = payment_failed(&second, InvoiceNumber(3), Some(at("2026-02-14")));
    let cancelled = end_past_due(&past_due, PastDueEnd::Cancel, cut("2026-02-14")).unwrap();
    check(&past_due, &cancelled, Passage::Ended { at: at("2026-02-14"), segment: Some(1) });
    let held = end_past_due(&past_due, PastDueEnd::Hold, cut("2026-02-14")).unwrap();
    check(&past_due, &held, Passage::Nothing);
    // While it is paused nothing runs; what was cut then may be closed already.
    let paused = pause(&second, cut("2026-02-05")).unwrap();
    let end = cancel_now(&paused, cut("2026-02-20")).unwrap();
    check(&paused, &end, Passage::Ended { at: at("2026-02-20"), segment: Some(1) });
    let closed = |of: &Subscription| Subscription { closing: Vec::new(), ..of.clone() };
    let end = Passage::Ended { at: at("2026-02-20"), segment: None };
    check(&closed(&paused), &cancel_now(&closed(&paused), cut("2026-02-20")).unwrap(), end);
}

#[test]
fn a_pause_cuts_a_period_that_goes_on() {
    let first = begun("2026-01-01");
    let paused = pause(&first, cut("2026-01-11")).unwrap();
    check(&first, &paused, Passage::Paused { at: at("2026-01-11"), segment: 0 });
    let resumed = resume(&paused, cut("2026-01-16")).unwrap();
    check(&paused, &resumed, Passage::Nothing);
    let turned_later = turned(&resumed);
    let (at, trial_ended) = (at("2026-02-06"), false);
    let expected = Passage::Turned { at, segment: 1, grants: true, trial_ended };
    check(&resumed, &turned_later, expected);
    let closed = Subscription { closing: Vec::new(), ..turned_later.clone() };
    check(&turned_later, &closed, Passage::Nothing);
}

#[test]
fn a_change_of_plan_restarts_the_period_or_goes_on_in_it() {
    let (first, trial) = (begun("2026-01-01"), begun_with("2026-01-01", 14));
    let on = at("2026-01-08");
    let within = |before: &Subscription, in_trial| Passage::ChangedWithin {
        at: on,
        share: unused(before, on),
        in_trial,
    };
    let restarted = |trial_ended| Passage::Turned { at: on, segment: 0, grants: true, trial_ended };
    for mode in [
        ProrationMode::ProratedImmediately,
        ProrationMode::DifferenceImmediately,
        ProrationMode::FullImmediately,
    ] {
        check(&first, &changed(&first, mode), restarted(false));
        check(&trial, &changed(&trial, mode), restarted(true));
    }
    let keep = ProrationMode::ProratedImmediatelyKeepCycle;
    check(&first, &changed(&first, keep), within(&first, false));
    check(&trial, &changed(&trial, keep), restarted(true));
    let free = ProrationMode::DoNotBill;
    check(&first, &changed(&first, free), within(&first, false));
    check(&trial, &changed(&trial, free), within(&trial, true));
}
