//! Changes of plan and what they cost, pauses, and the time to pay.

use super::*;
use crate::billing::{
    Overflow, PastDueEnd, Prices, Proration, cancel_scheduled_change, change_plan, cycle_ahead,
    end_past_due, pause, prorate, renew, resume, schedule_change, unused,
};
use crate::model::credit::{
    CreditProration, CreditTerms, OverageBehavior, OverageTerms, RolloverTerms,
};
use crate::model::plan::{PendingChange, ScheduledChange};
use crate::model::price::{PriceKind, Recurrence};
use crate::model::product::TaxCategory;
use crate::model::{
    Attachment, Credits, Currency, EntitlementIndex, Money, Plan, PlanChangeId, Price, Product,
    ProductId, ProrationMode, Share,
};

const OTHER: Terms = Terms { product: ProductIndex(4), version: PriceVersion(1) };
const MODES: [ProrationMode; 5] = [
    ProrationMode::ProratedImmediately,
    ProrationMode::ProratedImmediatelyKeepCycle,
    ProrationMode::DifferenceImmediately,
    ProrationMode::FullImmediately,
    ProrationMode::DoNotBill,
];

fn attachment() -> Attachment {
    let overage = OverageTerms {
        is_enabled: false,
        limit: None,
        behavior: OverageBehavior::ForgiveAtReset,
        price: None,
        currency: None,
    };
    let rollover =
        RolloverTerms { is_enabled: false, percentage: None, timeframe: None, count_max: None };
    Attachment {
        entitlement: EntitlementIndex(0),
        precision: 0,
        amount: Credits::from_units(10),
        trial_amount: None,
        trial_expires: false,
        low_balance_percent: None,
        proration: CreditProration::NoProrate,
        terms: CreditTerms { overage, rollover, expires_after_days: None },
    }
}

fn plan(interval: Interval) -> Plan {
    let credits = Arc::new(vec![attachment()]);
    Plan { terms: OTHER, quantity: 1, interval, subscription_period: YEAR, credits }
}

fn change(subscription: &Subscription, mode: ProrationMode, now: &str) -> Subscription {
    change_plan(subscription, &plan(MONTH), mode, cut_at(at(now))).unwrap()
}

fn priced(index: u32, cents: i64) -> Arc<Product> {
    let recurrence =
        Recurrence { payment_frequency: MONTH, subscription_period: YEAR, trial_days: 0 };
    Arc::new(Product {
        id: ProductId::new(format!("pdt_{index}")),
        index: ProductIndex(index),
        name: format!("Plan {index}"),
        description: None,
        tax_category: TaxCategory::Saas,
        metadata: Metadata::default(),
        prices: vec![Price {
            currency: Currency::from_code("USD").unwrap(),
            fixed: Money::from_minor(cents),
            discount_bps: 0,
            tax_inclusive: false,
            purchasing_power_parity: false,
            kind: PriceKind::Recurring(recurrence),
            credits: Vec::new(),
        }],
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
        archived: false,
    })
}

/// What the change of a subscription of `old` cents into one of `new` costs.
fn cost(
    before: &Subscription,
    mode: ProrationMode,
    now: &str,
    (old, new): (i64, i64),
) -> Result<Proration, Overflow> {
    let products = [priced(0, 0), priced(1, 0), priced(2, 0), priced(3, old), priced(4, new)];
    let prices = Prices { products: &products, meters: &[] };
    prorate(before, &change(before, mode, now), mode, at(now), prices)
}

fn one(start: &str) -> Subscription {
    Subscription { quantity: 1, ..begun(start) }
}

#[test]
fn the_table_of_the_five_modes_comes_out() {
    // 30 days, changed after 15 of them.
    let before = one("2026-06-01");
    let half = Share { part: Duration::from_hours(15 * 24), whole: Duration::from_hours(30 * 24) };
    assert_eq!(unused(&before, at("2026-06-16")), half);
    for (mode, total, lines, share) in [
        (ProrationMode::ProratedImmediately, 6_500, &[8_000, -1_500][..], None),
        (ProrationMode::ProratedImmediatelyKeepCycle, 2_500, &[4_000, -1_500], Some(half)),
        (ProrationMode::DifferenceImmediately, 5_000, &[8_000, -3_000], None),
        (ProrationMode::FullImmediately, 8_000, &[8_000], None),
        (ProrationMode::DoNotBill, 0, &[], None),
    ] {
        let found = cost(&before, mode, "2026-06-16", (3_000, 8_000)).unwrap();
        let amounts: Vec<i64> =
            found.bill.lines.iter().map(|line| line.amount.as_minor()).collect();
        assert_eq!((found.bill.total.as_minor(), amounts.as_slice()), (total, lines), "{mode:?}");
        assert_eq!((found.credit, found.share), (Money::ZERO, share), "{mode:?}");
    }
}

#[test]
fn less_than_nothing_is_a_total_of_zero_and_money_for_later() {
    let before = one("2026-06-01");
    for (mode, left) in [
        // 30 - 80 x 1/2 and (30 - 80) x 1/2, and 30 - 80.
        (ProrationMode::ProratedImmediately, 1_000),
        (ProrationMode::ProratedImmediatelyKeepCycle, 2_500),
        (ProrationMode::DifferenceImmediately, 5_000),
        (ProrationMode::FullImmediately, 0),
        (ProrationMode::DoNotBill, 0),
    ] {
        let found = cost(&before, mode, "2026-06-16", (8_000, 3_000)).unwrap();
        let sum: i64 = found.bill.lines.iter().map(|line| line.amount.as_minor()).sum();
        assert_eq!(sum, found.bill.total.as_minor(), "{mode:?}");
        let total = if mode == ProrationMode::FullImmediately { 3_000 } else { 0 };
        assert_eq!((found.bill.total.as_minor(), found.credit.as_minor()), (total, left));
    }
    // What an earlier change left pays for this one first, and grows by the next.
    let rich = Subscription { credit: Money::from_minor(4_000), ..before };
    let paid = cost(&rich, ProrationMode::DifferenceImmediately, "2026-06-16", (3_000, 8_000));
    let paid = paid.unwrap();
    assert_eq!((paid.bill.total.as_minor(), paid.credit.as_minor()), (1_000, 0));
    let more = cost(&rich, ProrationMode::DifferenceImmediately, "2026-06-16", (8_000, 3_000));
    assert_eq!(more.unwrap().credit.as_minor(), 9_000);
}

#[test]
fn in_a_trial_the_old_price_is_nothing_and_the_trial_ends() {
    let before = Subscription { quantity: 1, ..begun_with("2026-06-01", 10) };
    assert!(before.in_trial);
    for (mode, total) in [
        (ProrationMode::ProratedImmediately, 8_000),
        (ProrationMode::ProratedImmediatelyKeepCycle, 4_000),
        (ProrationMode::DifferenceImmediately, 8_000),
        (ProrationMode::FullImmediately, 8_000),
        (ProrationMode::DoNotBill, 0),
    ] {
        let found = cost(&before, mode, "2026-06-06", (3_000, 8_000)).unwrap();
        assert_eq!(found.bill.total.as_minor(), total, "{mode:?}");
        let after = change(&before, mode, "2026-06-06");
        let keeps_trial = mode == ProrationMode::DoNotBill;
        assert_eq!(after.in_trial, keeps_trial);
        let end = if mode.keeps_cycle() { "2026-06-11" } else { "2026-07-06" };
        check_running(&after, "2026-06-06", end);
        assert_eq!(after.running.unwrap().continues(), keeps_trial, "its own free units");
        assert!(!turned(&after).in_trial);
    }
}

#[test]
fn a_mode_that_keeps_the_cycle_keeps_its_boundaries_and_the_others_begin_anew() {
    let before = turned(&begun("2026-01-31"));
    for mode in MODES {
        let after = change(&before, mode, "2026-03-10");
        assert_eq!((after.terms, after.quantity), (OTHER, 1));
        let cut = after.closing.last().unwrap();
        let period = Period { start: at("2026-02-28"), end: at("2026-03-10") };
        assert_eq!((cut.segment.period, cut.segment.terms), (period, TERMS));
        assert_eq!((cut.renewal, cut.due_at), (None, at("2026-03-10")));
        assert_eq!(cut.ends_period, !mode.keeps_cycle());
        assert_eq!(after.running.unwrap().continues(), mode.keeps_cycle());
        // The close that was waiting still renews the period that is now cut.
        assert_eq!(after.closing[0].renewal, Some(renewal("2026-02-28", "2026-03-31")));
        let (end, next) = if mode.keeps_cycle() {
            ("2026-03-31", "2026-04-30")
        } else {
            ("2026-04-10", "2026-05-10")
        };
        check_running(&after, "2026-03-10", end);
        check_running(&turned(&after), end, next);
        assert_eq!(after.cycle.expires_at, at("2027-03-10"), "as long as the new product");
    }
    // Another interval holds from the boundary on.
    let yearly = plan(YEAR);
    let kept = change_plan(&before, &yearly, ProrationMode::DoNotBill, cut_at(at("2026-03-10")));
    let kept = kept.unwrap();
    check_running(&kept, "2026-03-10", "2026-03-31");
    check_running(&turned(&kept), "2026-03-31", "2027-03-10");
    // More of the same product lasts no longer.
    let same = Plan { terms: TERMS, quantity: 9, ..plan(MONTH) };
    for mode in MODES {
        let after = change_plan(&before, &same, mode, cut_at(at("2026-03-10"))).unwrap();
        assert_eq!((after.quantity, after.cycle.expires_at), (9, at("2027-01-31")));
        assert_eq!(*after.credits, [attachment()], "{mode:?}");
    }
}

#[test]
fn at_the_very_boundary_all_of_the_period_is_unused() {
    let before = Subscription { quantity: 1, ..turned(&begun("2026-06-01")) };
    let share = unused(&before, at("2026-07-01"));
    assert_eq!(share.part, share.whole);
    let kept = ProrationMode::ProratedImmediatelyKeepCycle;
    let found = cost(&before, kept, "2026-07-01", (3_000, 8_000)).unwrap();
    assert_eq!(found.bill.total.as_minor(), 5_000);
    let after = change(&before, kept, "2026-07-01");
    let cut = after.closing.last().unwrap().segment.period;
    assert_eq!(cut.start, cut.end);
    check_running(&after, "2026-07-01", "2026-08-01");
}

#[test]
fn a_scheduled_change_takes_effect_at_the_turn_and_not_before() {
    let before = begun("2026-01-31");
    let scheduled = |plan| ScheduledChange {
        id: PlanChangeId::new("pch_1"),
        plan,
        created_at: at("2026-02-10"),
    };
    let waiting = schedule_change(&before, scheduled(plan(MONTH))).unwrap();
    assert_eq!((waiting.terms, waiting.running), (TERMS, before.running));
    assert_eq!(waiting.credits, before.credits);
    let after = turned(&waiting);
    assert_eq!((after.terms, after.scheduled_change.clone()), (OTHER, None));
    assert_eq!(*after.credits, [attachment()], "the credits are those of the new price");
    check_running(&after, "2026-02-28", "2026-03-31");
    let last = after.closing.last().unwrap();
    assert_eq!(last.segment.terms, TERMS, "the old usage at the old price");
    let next = Period { start: at("2026-02-28"), end: at("2026-03-31") };
    assert_eq!(last.renewal, Some(Renewal { terms: OTHER, quantity: 1, period: next }));
    let (cycle, terms) = cycle_ahead(&waiting);
    assert_eq!((cycle, terms), (after.cycle, after.terms));
    // Another interval counts from there.
    let yearly = turned(&schedule_change(&before, scheduled(plan(YEAR))).unwrap());
    check_running(&yearly, "2026-02-28", "2027-02-28");
    // Taken back, refused twice, dropped by an end.
    let kept = cancel_scheduled_change(&waiting).unwrap();
    assert_eq!(kept, before);
    let twice = schedule_change(&waiting, scheduled(plan(MONTH)));
    assert_eq!(twice, Err(Refusal::ChangeScheduled));
    let now = cut_at(at("2026-02-12"));
    let refused = change_plan(&waiting, &plan(MONTH), ProrationMode::DoNotBill, now);
    assert_eq!(refused, Err(Refusal::ChangeScheduled));
    let flagged = cancel_at_next_billing_date(&waiting, true).unwrap();
    let ended = turned(&flagged);
    assert_eq!((ended.status, ended.scheduled_change), (SubscriptionStatus::Cancelled, None));
    let ending = cancel_at_next_billing_date(&before, true).unwrap();
    assert_eq!(schedule_change(&ending, scheduled(plan(MONTH))), Err(Refusal::Ending));
}

#[test]
fn a_pause_moves_the_dates_by_its_length_and_nothing_is_due_meanwhile() {
    let before = begun("2026-01-31");
    let paused = pause(&before, cut_at(at("2026-02-10"))).unwrap();
    assert_eq!((paused.status, paused.running), (SubscriptionStatus::Paused, None));
    let cut = paused.closing[0];
    assert_eq!(cut.segment.period.end, at("2026-02-10"));
    assert_eq!((cut.renewal, cut.ends_period), (None, false));
    let close = Due { at: at("2026-02-10").plus(GRACE), step: Step::Close { segment: 0 } };
    assert_eq!(due(&paused), [close]);
    let resumed = resume(&paused, cut_at(at("2026-03-12"))).unwrap();
    assert_eq!((resumed.status, resumed.paused_at), (SubscriptionStatus::Active, None));
    // 18 days were left; the pause took 30.
    check_running(&resumed, "2026-03-12", "2026-03-30");
    assert!(resumed.running.unwrap().continues());
    assert_eq!(resumed.cycle.expires_at, at("2027-03-02"));
    assert_eq!(unused(&resumed, at("2026-03-12")), unused(&before, at("2026-02-10")));
    check_running(&turned(&resumed), "2026-03-30", "2026-04-30");
    let year = Interval { count: 2, ..YEAR };
    assert_eq!(extend(&resumed, year).unwrap().cycle.expires_at, at("2028-03-02"));
}

#[test]
fn only_what_is_active_is_paused_and_only_what_is_paused_resumed() {
    let (now, invoice) = (cut_at(at("2026-02-10")), InvoiceNumber(1));
    let active = begun("2026-01-31");
    let paused = pause(&active, now).unwrap();
    let held = payment_failed(&active, invoice, None);
    let past_due = payment_failed(&active, invoice, Some(at("2026-02-12")));
    let ended = cancel_now(&active, now).unwrap();
    let pending = subscribe(draft(MONTH, YEAR, at("2026-01-31"))).unwrap();
    for other in [&paused, &held, &past_due, &ended, &pending] {
        let refused = Err(Refusal::NotLive(other.status));
        assert_eq!(pause(other, now), refused);
        let mode = ProrationMode::FullImmediately;
        assert_eq!(change_plan(other, &plan(MONTH), mode, now), refused);
    }
    for other in [&active, &held, &past_due, &ended, &pending] {
        assert_eq!(resume(other, now), Err(Refusal::NotLive(other.status)));
    }
    let gone = cancel_now(&paused, cut_at(at("2026-02-11"))).unwrap();
    assert_eq!((gone.status, gone.closing.len()), (SubscriptionStatus::Cancelled, 1));
    assert_eq!(resume(&gone, now), Err(Refusal::NotLive(SubscriptionStatus::Cancelled)));
    // An unpaid bill of the pause holds it, still paused; paid, it is paused again.
    let unpaid = payment_failed(&paused, invoice, Some(at("2026-02-12")));
    assert_eq!(unpaid.status, SubscriptionStatus::OnHold);
    let paid = payment_succeeded(&unpaid, invoice, now).unwrap();
    assert_eq!(paid, paused);
    let resumed = resume(&unpaid, now).unwrap();
    assert_eq!((resumed.status, resumed.paused_at), (SubscriptionStatus::OnHold, None));
}

#[test]
fn past_due_it_bills_usage_alone_until_its_time_is_over() {
    let (until, invoice) = (at("2026-02-20"), InvoiceNumber(1));
    let past_due = payment_failed(&begun("2026-01-31"), invoice, Some(until));
    assert_eq!(past_due.status, SubscriptionStatus::PastDue);
    let end = Due { at: until, step: Step::PastDueEnd };
    let mut work = due(&past_due);
    work.sort();
    assert_eq!(work, [end, Due { at: at("2026-02-28"), step: Step::Turn }]);
    // Another failure gives it no more time.
    let twice = payment_failed(&past_due, InvoiceNumber(2), Some(at("2026-03-20")));
    assert_eq!(twice.past_due_until, Some(until));
    let paid = payment_succeeded(&past_due, invoice, cut_at(at("2026-02-12"))).unwrap();
    assert_eq!(paid, begun("2026-01-31"));
    assert_eq!(last_renewal(&turned(&past_due)), None);
    let held = end_past_due(&past_due, PastDueEnd::Hold, cut_at(until)).unwrap();
    assert_eq!((held.status, due(&held).len()), (SubscriptionStatus::OnHold, 1));
    let ended = end_past_due(&past_due, PastDueEnd::Cancel, cut_at(until)).unwrap();
    assert_eq!((ended.status, ended.cancellation.at), (SubscriptionStatus::Cancelled, Some(until)));
    assert_eq!(ended.closing[0].segment.period.end, until);
    assert_eq!(ended.closing[0].renewal, None);
    let refused = end_past_due(&held, PastDueEnd::Hold, cut_at(until));
    assert_eq!(refused, Err(Refusal::NotLive(SubscriptionStatus::OnHold)));
}

#[test]
fn a_change_that_waits_for_its_payment_takes_effect_with_it_or_is_dropped() {
    let credit = Money::from_minor(300);
    let mode = ProrationMode::DifferenceImmediately;
    let invoice = InvoiceNumber(8);
    let total = Money::from_minor(4_700);
    let pending = PendingChange { invoice, plan: plan(MONTH), mode, credit, total };
    let waiting = Subscription { pending_change: Some(Box::new(pending)), ..begun("2026-01-31") };
    let now = cut_at(at("2026-02-10"));
    assert_eq!(pause(&waiting, now), Err(Refusal::ChangePending));
    assert_eq!(change_plan(&waiting, &plan(MONTH), mode, now), Err(Refusal::ChangePending));
    let paid = payment_succeeded(&waiting, invoice, now).unwrap();
    assert_eq!(paid, change(&begun("2026-01-31"), mode, "2026-02-10"));
    let dropped = payment_failed(&waiting, invoice, None);
    assert_eq!(dropped, Subscription { credit, ..begun("2026-01-31") });
    // One that ends meanwhile changes no more: what the invoice took comes back with its failure, and what
    // was paid for nothing with its success.
    let ended = cancel_now(&waiting, now).unwrap();
    let gone = cancel_now(&begun("2026-01-31"), now).unwrap();
    let kept = Subscription { credit: Money::from_minor(5_000), ..gone.clone() };
    assert_eq!(payment_succeeded(&ended, invoice, now).unwrap(), kept);
    assert_eq!(payment_failed(&ended, invoice, None), Subscription { credit, ..gone });
}

/// The money was there and was refused: nobody could say that it had come.
#[test]
fn a_change_that_is_paid_while_something_else_is_not_takes_effect_all_the_same() {
    let mode = ProrationMode::FullImmediately;
    let (invoice, other) = (InvoiceNumber(8), InvoiceNumber(7));
    let (credit, total) = (Money::ZERO, Money::from_minor(8_000));
    let pending = PendingChange { invoice, plan: plan(MONTH), mode, credit, total };
    let waiting = Subscription { pending_change: Some(Box::new(pending)), ..begun("2026-01-31") };
    let now = cut_at(at("2026-02-10"));
    let changed = change(&begun("2026-01-31"), mode, "2026-02-10");
    for until in [None, Some(at("2026-02-12"))] {
        let unpaid = payment_failed(&waiting, other, until);
        let paid = payment_succeeded(&unpaid, invoice, now).unwrap();
        let expected = Subscription {
            status: unpaid.status,
            unpaid: vec![other],
            past_due_until: until,
            ..changed.clone()
        };
        assert_eq!(paid, expected);
        // It still owes the other invoice, and bills usage alone until that is paid.
        assert_eq!(last_renewal(&turned(&paid)), None);
        assert_eq!(payment_succeeded(&paid, other, now).unwrap(), changed);
    }
}

#[test]
fn on_demand_it_neither_turns_nor_bills_and_ends() {
    let start = at("2026-01-31");
    let draft = Draft { on_demand: true, ..draft(MONTH, YEAR, start) };
    let first = activate(&subscribe(draft).unwrap(), start).unwrap();
    let end = Due { at: at("2027-01-31"), step: Step::Turn };
    assert_eq!(due(&first), [end]);
    let over = turned(&first);
    assert_eq!((over.status, over.closing.len()), (SubscriptionStatus::Expired, 0));
    let now = cut_at(at("2026-02-10"));
    let cancelled = cancel_now(&first, now).unwrap();
    assert_eq!((cancelled.closing.len(), due(&cancelled)), (0, Vec::new()));
    let mode = ProrationMode::FullImmediately;
    assert_eq!(change_plan(&first, &plan(MONTH), mode, now), Err(Refusal::OnDemand));
    let moved = move_next_billing_date(&first, at("2026-03-01"), at("2026-02-10"));
    assert_eq!(moved, Err(Refusal::OnDemand));
    // It renews from an instant on, and from there once a cycle.
    let renewed = renew(&first, at("2026-03-05"), at("2026-02-10")).unwrap();
    check_running(&renewed, "2026-01-31", "2026-03-05");
    assert_eq!(renewed.cycle.expires_at, at("2027-01-31"));
    let second = turned(&renewed);
    check_running(&second, "2026-03-05", "2026-04-05");
    assert_eq!(last_renewal(&second), Some(renewal("2026-03-05", "2026-04-05")));
    let again = renew(&renewed, at("2026-03-06"), at("2026-02-10"));
    assert_eq!(again, Err(Refusal::NotOnDemand));
    for (to, refusal) in
        [("2026-02-10", Refusal::NotInTheFuture), ("2027-02-01", Refusal::AfterExpiry)]
    {
        assert_eq!(renew(&first, at(to), at("2026-02-10")), Err(refusal), "{to}");
    }
    let over = renew(&cancelled, at("2026-03-05"), at("2026-02-10"));
    assert_eq!(over, Err(Refusal::NotLive(SubscriptionStatus::Cancelled)));
    let paused = pause(&first, now).unwrap();
    let resumed = resume(&paused, cut_at(at("2026-02-20"))).unwrap();
    assert_eq!(due(&resumed), [Due { at: at("2027-02-10"), step: Step::Turn }]);
}
