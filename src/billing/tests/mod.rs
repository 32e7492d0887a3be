//! Stories of subscriptions, one rule each. Random sequences against a model stand in `sequences`.

mod close;
pub(in crate::billing) mod naive_calendar;
pub(in crate::billing) mod paper;
mod plans;
mod segments;
mod sequences;

use std::sync::Arc;
use std::time::Duration;

use crate::billing::{
    Cut, Draft, Due, Refusal, Step, activate, boundary, cancel_at_next_billing_date, cancel_now,
    due, extend, first_renewal, move_next_billing_date, payment_failed, payment_succeeded,
    subscribe, turn,
};
use crate::model::customer::Metadata;
use crate::model::price::{Interval, IntervalUnit};
use crate::model::subscription::{BillingAddress, Renewal};
use crate::model::{
    CustomerIndex, InvoiceNumber, PaymentId, Period, PriceVersion, ProductIndex, Subscription,
    SubscriptionId, SubscriptionIndex, SubscriptionStatus, Terms, Timestamp,
};

const GRACE: Duration = Duration::from_mins(70);
const MONTH: Interval = Interval { count: 1, unit: IntervalUnit::Month };
const YEAR: Interval = Interval { count: 1, unit: IntervalUnit::Year };
const TERMS: Terms = Terms { product: ProductIndex(3), version: PriceVersion(1) };

fn at(text: &str) -> Timestamp {
    let text = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    Timestamp::parse(&text).unwrap()
}

fn draft(interval: Interval, subscription_period: Interval, created_at: Timestamp) -> Draft {
    Draft {
        id: SubscriptionId::new("sub_1"),
        index: SubscriptionIndex(7),
        customer: CustomerIndex(5),
        terms: TERMS,
        quantity: 2,
        credits: Arc::default(),
        interval,
        subscription_period,
        trial_days: 0,
        on_demand: false,
        first_payment: PaymentId::new("pay_1"),
        billing: Arc::new(BillingAddress {
            country: "US".to_owned(),
            city: None,
            state: None,
            street: None,
            zipcode: None,
        }),
        customer_business_name: None,
        tax_id: None,
        metadata: Metadata::default(),
        created_at,
    }
}

/// A subscription of a year, paid monthly, that has begun.
pub(in crate::billing) fn begun(start: &str) -> Subscription {
    begun_with(start, 0)
}

pub(in crate::billing) fn begun_with(start: &str, trial_days: u32) -> Subscription {
    let draft = Draft { trial_days, ..draft(MONTH, YEAR, at(start)) };
    activate(&subscribe(draft).unwrap(), at(start)).unwrap()
}

fn turned(subscription: &Subscription) -> Subscription {
    turn(subscription, GRACE).unwrap()
}

/// A cut at the present.
fn cut_at(now: Timestamp) -> Cut {
    Cut { at: now, end: now, grace: GRACE }
}

/// The subscription after the invoice of this segment was made.
fn closed(subscription: &Subscription, segment: u32) -> Subscription {
    let mut next = subscription.clone();
    next.closing.retain(|closing| closing.segment.number != segment);
    next
}

fn running(subscription: &Subscription) -> Option<(String, String)> {
    let date = |instant: Timestamp| instant.to_string()[..10].to_owned();
    subscription.running.map(|running| (date(running.period.start), date(running.period.end)))
}

fn check_running(subscription: &Subscription, start: &str, end: &str) {
    assert_eq!(running(subscription), Some((start.to_owned(), end.to_owned())));
}

fn renewal(start: &str, end: &str) -> Renewal {
    Renewal { terms: TERMS, quantity: 2, period: Period { start: at(start), end: at(end) } }
}

/// What the segment that has ended last renews.
fn last_renewal(subscription: &Subscription) -> Option<Renewal> {
    subscription.closing.last().unwrap().renewal
}

#[test]
fn a_pending_subscription_has_the_dates_of_one_that_begins_at_once() {
    let pending = subscribe(draft(MONTH, YEAR, at("2026-01-31"))).unwrap();
    assert_eq!(pending.status, SubscriptionStatus::Pending);
    assert_eq!((pending.running, pending.next_segment), (None, 0));
    assert_eq!(due(&pending), []);
    let begun = activate(&pending, pending.created_at).unwrap();
    assert_eq!(begun.cycle, pending.cycle);
    assert_eq!(first_renewal(&pending), Some(renewal("2026-01-31", "2026-02-28")));
    assert_eq!(first_renewal(&begun), first_renewal(&pending));
    let later = activate(&pending, at("2026-02-03")).unwrap();
    check_running(&later, "2026-02-03", "2026-03-03");
    assert_eq!(later.cycle.expires_at, at("2027-02-03"));
    assert_eq!(activate(&later, at("2026-02-04")), Err(Refusal::Begun));
}

#[test]
fn a_subscription_of_a_month_end_keeps_it_and_ends_after_its_year() {
    let mut subscription = begun("2026-01-31");
    let mut ends = Vec::new();
    while let Some(segment) = subscription.running {
        assert_eq!(segment.number as usize, ends.len());
        ends.push(segment.period.end.to_string()[..10].to_owned());
        subscription = turned(&subscription);
        let closing = subscription.closing.last().unwrap();
        assert_eq!(closing.segment, segment);
        assert_eq!(closing.close_at, segment.period.end.plus(GRACE));
        assert_eq!(closing.renewal.is_some(), ends.len() < 12);
    }
    assert_eq!(
        ends,
        [
            "2026-02-28",
            "2026-03-31",
            "2026-04-30",
            "2026-05-31",
            "2026-06-30",
            "2026-07-31",
            "2026-08-31",
            "2026-09-30",
            "2026-10-31",
            "2026-11-30",
            "2026-12-31",
            "2027-01-31",
        ]
    );
    assert_eq!(subscription.status, SubscriptionStatus::Expired);
    assert_eq!(subscription.cancellation.at, None);
    assert_eq!(turn(&subscription, GRACE), Err(Refusal::NotLive(SubscriptionStatus::Expired)));
}

#[test]
fn a_trial_is_a_period_of_its_own_and_the_cycle_starts_behind_it() {
    let trial = begun_with("2026-01-17T06:00:00Z", 14);
    check_running(&trial, "2026-01-17", "2026-01-31");
    assert_eq!(first_renewal(&trial), None);
    assert_eq!(trial.cycle.expires_at, at("2027-01-31T06:00:00Z"));
    let first = turned(&trial);
    check_running(&first, "2026-01-31", "2026-02-28");
    assert_eq!(last_renewal(&first), Some(renewal("2026-01-31T06:00:00Z", "2026-02-28T06:00:00Z")));
    check_running(&turned(&first), "2026-02-28", "2026-03-31");
}

#[test]
fn the_end_of_a_subscription_cuts_its_last_period() {
    let weeks = Interval { count: 6, unit: IntervalUnit::Week };
    let start = at("2026-01-01");
    let first = activate(&subscribe(draft(MONTH, weeks, start)).unwrap(), start).unwrap();
    let second = turned(&first);
    check_running(&second, "2026-02-01", "2026-02-12");
    assert_eq!(last_renewal(&second), Some(renewal("2026-02-01", "2026-02-12")));
    assert_eq!(turned(&second).status, SubscriptionStatus::Expired);
    let shorter = activate(&subscribe(draft(YEAR, weeks, start)).unwrap(), start).unwrap();
    check_running(&shorter, "2026-01-01", "2026-02-12");
}

#[test]
fn cancelled_at_the_next_billing_date_it_ends_there_without_a_renewal() {
    let asked = cancel_at_next_billing_date(&begun("2026-01-31"), true).unwrap();
    check_running(&asked, "2026-01-31", "2026-02-28");
    let ended = turned(&asked);
    assert_eq!(ended.status, SubscriptionStatus::Cancelled);
    assert_eq!((ended.running, ended.cancel_at_next_billing_date), (None, false));
    assert_eq!(ended.cancellation.at, Some(at("2026-02-28")));
    assert_eq!(last_renewal(&ended), None);
    let again = cancel_at_next_billing_date(&asked, false).unwrap();
    assert_eq!(turned(&again).status, SubscriptionStatus::Active);
    let refused = cancel_at_next_billing_date(&ended, false);
    assert_eq!(refused, Err(Refusal::NotLive(SubscriptionStatus::Cancelled)));
}

#[test]
fn cancelled_now_it_is_cut_and_its_usage_alone_closes() {
    let flagged = cancel_at_next_billing_date(&turned(&begun("2026-01-31")), true).unwrap();
    let (asked, cut) = (at("2026-03-10T10:00:00Z"), at("2026-03-10T10:05:00Z"));
    let ended = cancel_now(&flagged, Cut { at: asked, end: cut, grace: GRACE }).unwrap();
    assert_eq!(ended.status, SubscriptionStatus::Cancelled);
    assert_eq!((ended.running, ended.cancel_at_next_billing_date), (None, false));
    assert_eq!(ended.cancellation.at, Some(asked));
    // The close that was waiting still renews the period that is now cut.
    assert_eq!(ended.closing[0].renewal, Some(renewal("2026-02-28", "2026-03-31")));
    assert_eq!(ended.closing[1].segment.period, Period { start: at("2026-02-28"), end: cut });
    let due_at = cut.minus(Duration::from_nanos(1));
    assert_eq!((ended.closing[1].due_at, ended.closing[1].close_at), (due_at, due_at.plus(GRACE)));
    assert_eq!(ended.closing[1].renewal, None);
    // Cut just behind the present, it is due at the present.
    let cut = asked.plus(Duration::from_nanos(1));
    let frozen = cancel_now(&flagged, Cut { at: asked, end: cut, grace: GRACE }).unwrap();
    assert_eq!(frozen.closing[1].segment.period.end, cut);
    assert_eq!((frozen.closing[1].due_at, frozen.closing[1].close_at), (asked, asked.plus(GRACE)));
    let twice = cancel_now(&ended, Cut { at: asked, end: cut, grace: GRACE });
    assert_eq!(twice, Err(Refusal::NotLive(SubscriptionStatus::Cancelled)));
    let early =
        cancel_now(&flagged, Cut { at: asked, end: at("2026-02-27"), grace: GRACE }).unwrap();
    let nothing = Period { start: at("2026-02-28"), end: at("2026-02-28") };
    assert_eq!(early.closing[1].segment.period, nothing);
}

#[test]
fn cancelled_before_it_began_it_never_begins() {
    let pending = subscribe(draft(MONTH, YEAR, at("2026-01-31"))).unwrap();
    let (asked, invoice) = (at("2026-02-01"), InvoiceNumber(1));
    let ended = cancel_now(&pending, cut_at(asked)).unwrap();
    assert_eq!((ended.status, due(&ended)), (SubscriptionStatus::Cancelled, Vec::new()));
    assert_eq!(payment_succeeded(&ended, invoice, cut_at(asked)), Ok(ended.clone()));
    let refused = activate(&ended, asked);
    assert_eq!(refused, Err(Refusal::NotLive(SubscriptionStatus::Cancelled)));
    let moved = move_next_billing_date(&pending, at("2026-02-14"), asked);
    assert_eq!(moved, Err(Refusal::NotLive(SubscriptionStatus::Pending)));
}

#[test]
fn a_moved_billing_date_anchors_the_cycle_and_keeps_the_end() {
    let (first, now) = (begun("2026-02-10"), at("2026-02-20"));
    let moved = move_next_billing_date(&first, at("2026-03-31"), now).unwrap();
    check_running(&moved, "2026-02-10", "2026-03-31");
    assert_eq!(moved.cycle.next_billing_date, at("2026-03-31"));
    assert_eq!(moved.cycle.expires_at, at("2027-02-10"));
    let second = turned(&moved);
    check_running(&second, "2026-03-31", "2026-04-30");
    check_running(&turned(&second), "2026-04-30", "2026-05-31");
    let last = move_next_billing_date(&first, at("2027-02-10"), now).unwrap();
    assert_eq!(turned(&last).status, SubscriptionStatus::Expired);
    let refused = |to, now| move_next_billing_date(&first, at(to), at(now)).unwrap_err();
    assert_eq!(refused("2026-02-20", "2026-02-20"), Refusal::NotInTheFuture);
    assert_eq!(refused("2026-02-10", "2026-02-09"), Refusal::NotInTheFuture);
    assert_eq!(refused("2027-02-10T00:00:00.000000001Z", "2026-02-20"), Refusal::AfterExpiry);
}

#[test]
fn a_longer_subscription_is_counted_from_its_start_whatever_was_moved() {
    let quarter = Interval { count: 3, unit: IntervalUnit::Month };
    let start = at("2026-01-31");
    let short = activate(&subscribe(draft(YEAR, MONTH, start)).unwrap(), start).unwrap();
    check_running(&short, "2026-01-31", "2026-02-28");
    let longer = extend(&short, quarter).unwrap();
    check_running(&longer, "2026-01-31", "2026-04-30");
    assert_eq!(longer.cycle.next_billing_date, at("2026-04-30"));
    assert_eq!(longer.subscription_period, quarter);
    check_running(
        &extend(&longer, Interval { count: 5, ..YEAR }).unwrap(),
        "2026-01-31",
        "2027-01-31",
    );
    assert_eq!(extend(&longer, quarter), Err(Refusal::NotLonger));
    assert_eq!(extend(&longer, MONTH), Err(Refusal::NotLonger));
    let centuries = Interval { count: 300, ..YEAR };
    assert_eq!(extend(&longer, centuries), Err(Refusal::OutOfRange));
    let moved = move_next_billing_date(&longer, at("2026-03-15"), start).unwrap();
    let extended = extend(&moved, Interval { count: 2, ..YEAR }).unwrap();
    assert_eq!(extended.cycle.expires_at, at("2028-01-31"));
    check_running(&extended, "2026-01-31", "2026-03-15");
}

#[test]
fn on_hold_it_bills_usage_alone_and_renews_again_from_the_turn_after() {
    let (one, two) = (InvoiceNumber(1), InvoiceNumber(2));
    let held = payment_failed(&payment_failed(&begun("2026-01-31"), one, None), one, None);
    assert_eq!((held.status, held.unpaid.as_slice()), (SubscriptionStatus::OnHold, &[one][..]));
    let held = turned(&payment_failed(&held, two, None));
    check_running(&held, "2026-02-28", "2026-03-31");
    assert_eq!((held.status, last_renewal(&held)), (SubscriptionStatus::OnHold, None));
    let held = payment_succeeded(&held, one, cut_at(at("2026-03-01"))).unwrap();
    assert_eq!((held.status, held.unpaid.as_slice()), (SubscriptionStatus::OnHold, &[two][..]));
    let active = payment_succeeded(&held, two, cut_at(at("2026-03-02"))).unwrap();
    assert_eq!(active.status, SubscriptionStatus::Active);
    check_running(&active, "2026-02-28", "2026-03-31");
    assert_eq!(last_renewal(&turned(&active)), Some(renewal("2026-03-31", "2026-04-30")));
}

#[test]
fn the_first_payment_begins_it_even_after_it_has_failed_once() {
    let pending = subscribe(draft(MONTH, YEAR, at("2026-01-31"))).unwrap();
    let first = InvoiceNumber(9);
    let paid = payment_succeeded(&pending, first, cut_at(at("2026-02-03"))).unwrap();
    assert_eq!(paid, activate(&pending, at("2026-02-03")).unwrap());
    let held = payment_failed(&pending, first, None);
    assert_eq!((held.status, held.running), (SubscriptionStatus::OnHold, None));
    let paid = payment_succeeded(&held, first, cut_at(at("2026-02-05"))).unwrap();
    assert_eq!((paid.status, paid.unpaid.len()), (SubscriptionStatus::Active, 0));
    check_running(&paid, "2026-02-05", "2026-03-05");
}

#[test]
fn payments_of_one_that_has_ended_are_remembered_and_bring_nothing_back() {
    let asked = at("2026-02-01");
    let ended = cancel_now(&begun("2026-01-31"), cut_at(asked)).unwrap();
    let unpaid = payment_failed(&ended, InvoiceNumber(1), None);
    assert_eq!(unpaid.status, SubscriptionStatus::Cancelled);
    assert_eq!(unpaid.unpaid, [InvoiceNumber(1)]);
    assert_eq!(payment_succeeded(&unpaid, InvoiceNumber(1), cut_at(asked)), Ok(ended));
}

#[test]
fn a_turn_is_due_before_a_close_of_the_same_instant() {
    let first = begun("2026-01-31");
    let turn_at = |text| Due { at: at(text), step: Step::Turn };
    assert_eq!(due(&first), [turn_at("2026-02-28")]);
    let month = at("2026-03-31").since(at("2026-02-28"));
    let second = turn(&first, month).unwrap();
    let close = Due { at: at("2026-03-31"), step: Step::Close { segment: 0 } };
    let mut work = due(&second);
    work.sort();
    assert_eq!(work, [turn_at("2026-03-31"), close]);
    assert_eq!(due(&closed(&second, 0)), [turn_at("2026-03-31")]);
    assert_eq!(closed(&second, 1), second);
    let stopped = Subscription { stopped: true, ..second };
    assert_eq!(due(&stopped), [turn_at("2026-03-31")]);
}

#[test]
fn a_subscription_that_would_end_beyond_the_latest_instant_is_refused() {
    let late = draft(MONTH, YEAR, at("2261-05-01"));
    assert_eq!(subscribe(late), Err(Refusal::OutOfRange));
    let pending = subscribe(draft(MONTH, YEAR, at("2261-04-01"))).unwrap();
    assert_eq!(activate(&pending, at("2261-05-01")), Err(Refusal::OutOfRange));
    let paid = payment_succeeded(&pending, InvoiceNumber(1), cut_at(at("2261-05-01")));
    assert_eq!(paid, Err(Refusal::OutOfRange));
    let trial = Draft { trial_days: u32::MAX, ..draft(MONTH, YEAR, at("2026-01-31")) };
    assert_eq!(subscribe(trial), Err(Refusal::OutOfRange));
}

#[test]
fn the_last_period_before_the_latest_instant_ends_with_the_subscription() {
    let months = Interval { count: 15, ..MONTH };
    let start = at("2260-12-31");
    let first = activate(&subscribe(draft(YEAR, months, start)).unwrap(), start).unwrap();
    assert_eq!(boundary(start, YEAR, 2), None);
    let last = turned(&first);
    check_running(&last, "2261-12-31", "2262-03-31");
    assert_eq!(turned(&last).status, SubscriptionStatus::Expired);
}

#[test]
fn a_segment_costs_what_was_agreed_when_it_began() {
    let first = begun("2026-01-31");
    let later = Terms { version: PriceVersion(2), ..TERMS };
    let second = turned(&Subscription { terms: later, quantity: 5, ..first });
    assert_eq!(second.closing[0].segment.terms, TERMS);
    assert_eq!(second.running.unwrap().terms, later);
    let period = Period { start: at("2026-02-28"), end: at("2026-03-31") };
    assert_eq!(last_renewal(&second), Some(Renewal { terms: later, quantity: 5, period }));
}

#[test]
fn refusals_read_like_sentences() {
    for (status, text) in [
        (SubscriptionStatus::Pending, "subscription is pending"),
        (SubscriptionStatus::OnHold, "subscription is on hold"),
        (SubscriptionStatus::PastDue, "subscription is past due"),
        (SubscriptionStatus::Paused, "subscription is paused"),
        (SubscriptionStatus::Cancelled, "subscription is cancelled"),
        (SubscriptionStatus::Expired, "subscription is expired"),
    ] {
        assert_eq!(Refusal::NotLive(status).to_string(), text);
    }
}
