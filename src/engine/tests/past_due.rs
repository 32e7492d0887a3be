//! The time to pay of a subscription: what is due when it is over.

use std::sync::Arc;
use std::time::Duration;

use super::goods::{new_meter, new_product, new_subscription, usage_price};
use super::rig::{Crash, Place, Rig, Sent, tiny};
use crate::billing::PastDueEnd;
use crate::engine::bills::{InvoiceFilter, PaymentFilter};
use crate::engine::command::billing::{
    Effective, Mark, NewMeterPrice, NewRate, PlanChange, SubscriptionPatch,
};
use crate::engine::options::{Collection, Options, PastDue};
use crate::engine::{Command, Outcome, Page};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    Aggregation, PaymentStatus, ProrationMode, Quantity, Rate, Subscription, SubscriptionStatus,
    UnitPrice,
};

const DAY: Duration = Duration::from_hours(24);

/// A subscription that is past due, and when its time to pay is over; it counts calls.
fn past_due(end: PastDueEnd) -> (Rig, Arc<Subscription>) {
    let mut rig = Place::new(Options {
        collection: Collection::Manual,
        past_due: Some(PastDue { grace: DAY * 2, end }),
        dedupe_window: Duration::ZERO,
        ..tiny()
    })
    .open();
    rig.ingest(&[Sent::new("first", "c1")]).unwrap();
    let meter = rig.change(Command::CreateMeter(new_meter(Aggregation::Count))).unwrap();
    let Outcome::Meter(meter) = meter.outcome else { panic!("a meter") };
    let calls = NewMeterPrice {
        meter_id: meter.id,
        rate: NewRate::Money(Rate::PerUnit(UnitPrice::parse("1").unwrap())),
        free_threshold: 0,
        minimum: None,
        maximum: None,
    };
    let price = usage_price(vec![calls], Interval { count: 30, unit: IntervalUnit::Day }, 100);
    let Outcome::Product(product) = rig.change(new_product(price)).unwrap().outcome else {
        panic!("a product")
    };
    let new = Box::new(new_subscription("c1", &product.id));
    let Outcome::Subscription(made) = rig.change(Command::CreateSubscription(new)).unwrap().outcome
    else {
        panic!("a subscription")
    };
    rig.change(Command::MarkPayment(made.first_payment.clone(), Mark::Succeeded)).unwrap();
    rig.advance(DAY * 33);
    rig.settle().unwrap();
    let all = PaymentFilter { status: Some(PaymentStatus::Processing), ..Default::default() };
    let renewal = rig.engine.payments(&all, Page { offset: 0, limit: 9 }).unwrap();
    let failed = Mark::Failed { code: None, message: None };
    rig.change(Command::MarkPayment(renewal[0].payment.id.clone(), failed)).unwrap();
    let waiting = rig.engine.subscription(&made.id).unwrap().subscription;
    (rig, waiting)
}

/// Events that were stamped ahead of the clock, behind the end of a time to pay that nobody noticed in time, were
/// counted in a segment that ended before them.
#[test]
fn what_is_pending_when_a_time_to_pay_ends_is_counted_where_it_lies() {
    let end = |subscription: &Subscription| subscription.past_due_until.unwrap();
    let seconds = Duration::from_secs;
    // Stamped so long after the end, with the end noticed so long after it.
    for (stamped, noticed) in [(30, 60), (30, 31), (60, 30), (0, 10)] {
        let (mut rig, waiting) = past_due(PastDueEnd::Cancel);
        let until = end(&waiting);
        rig.advance(until.since(rig.engine.now()).saturating_sub(seconds(90)));
        let [before, after] =
            [("before", until.minus(seconds(30))), ("after", until.plus(seconds(stamped)))];
        rig.ingest(&[Sent::new(before.0, "c1").at(before.1)]).unwrap();
        rig.ingest(&[Sent::new(after.0, "c1").at(after.1)]).unwrap();
        rig.advance(seconds(90 + noticed));
        rig.settle().unwrap();
        let ended = rig.engine.subscription(&waiting.id).unwrap().subscription;
        assert_eq!(ended.cancellation.at, Some(until));
        let last = ended.closing[0].segment.period;
        rig.advance(DAY);
        rig.settle().unwrap();
        let all = Page { offset: 0, limit: 9 };
        let invoices = rig.engine.invoices(&InvoiceFilter::default(), all).unwrap();
        let invoice = &invoices[0].invoice;
        assert_eq!(invoice.period, Some(last));
        let stamps = [before.1, after.1];
        let held = stamps.iter().filter(|at| last.holds(**at)).count();
        assert!(held >= 1, "{last:?}");
        let counted = invoice.lines[0].detail.usage().unwrap().consumed;
        assert_eq!(counted, Quantity::from_count(held as u64), "{stamped} {noticed} {last:?}");
        assert!(stamped < noticed || last.end == until, "no later than it must");
    }
}

/// Money that comes for a subscription that was cancelled before it had begun begins nothing: its payment is
/// paid, and what was bought once with it is handed out.
#[test]
fn a_first_payment_that_comes_after_the_end_begins_nothing() {
    let options = Options { collection: Collection::Manual, ..tiny() };
    let mut rig = Place::new(options).open();
    rig.ingest(&[Sent::new("first", "c1")]).unwrap();
    let price = usage_price(Vec::new(), Interval { count: 30, unit: IntervalUnit::Day }, 100);
    let Outcome::Product(product) = rig.change(new_product(price)).unwrap().outcome else {
        panic!("a product")
    };
    for is_first_failed in [false, true] {
        let new = Box::new(new_subscription("c1", &product.id));
        let made = rig.change(Command::CreateSubscription(new)).unwrap();
        let Outcome::Subscription(made) = made.outcome else { panic!("a subscription") };
        let mut payment = made.first_payment.clone();
        if is_first_failed {
            let failed = Mark::Failed { code: None, message: None };
            rig.change(Command::MarkPayment(payment.clone(), failed)).unwrap();
            let again = rig.change(Command::RetryPayment(payment)).unwrap();
            let Outcome::Payment(again) = again.outcome else { panic!("a payment") };
            payment = again.id.clone();
        }
        let cancelled = SubscriptionPatch { cancel_now: true, ..SubscriptionPatch::default() };
        let cancelled = Command::UpdateSubscription(made.id.clone(), Box::new(cancelled));
        rig.change(cancelled).unwrap();
        rig.advance(DAY);
        let paid = rig.change(Command::MarkPayment(payment, Mark::Succeeded)).unwrap();
        let Outcome::Payment(paid) = paid.outcome else { panic!("a payment") };
        assert_eq!(paid.status, PaymentStatus::Succeeded);
        let shown = rig.engine.subscription(&made.id).unwrap().subscription;
        assert_eq!(shown.status, SubscriptionStatus::Cancelled);
        assert_eq!((shown.running, shown.next_segment, shown.closing.len()), (None, 0, 0));
        assert_eq!((shown.credit.as_minor(), shown.unpaid.len()), (0, 0));
        let invoices = |rig: &Rig| {
            let all = Page { offset: 0, limit: 9 };
            rig.engine.invoices(&InvoiceFilter::default(), all).unwrap().len()
        };
        let before = invoices(&rig);
        rig.advance(DAY * 70);
        rig.settle().unwrap();
        assert_eq!(invoices(&rig), before, "nothing is ever due of it");
        let replayed = rig.place.after(Crash::Killed).open();
        let after = replayed.engine.subscription(&made.id).unwrap().subscription;
        assert_eq!(after, shown);
    }
}

/// The turn of the same instant was done all the same, of a subscription that had none any more.
#[test]
fn a_time_to_pay_that_ends_at_a_boundary_leaves_no_turn_there() {
    let mut rig = Place::new(Options {
        collection: Collection::Manual,
        past_due: Some(PastDue { grace: DAY * 10, end: PastDueEnd::Cancel }),
        dedupe_window: Duration::ZERO,
        ..tiny()
    })
    .open();
    rig.ingest(&[Sent::new("first", "c1")]).unwrap();
    let price = usage_price(Vec::new(), Interval { count: 30, unit: IntervalUnit::Day }, 100);
    let Outcome::Product(product) = rig.change(new_product(price)).unwrap().outcome else {
        panic!("a product")
    };
    let new = Box::new(new_subscription("c1", &product.id));
    let Outcome::Subscription(made) = rig.change(Command::CreateSubscription(new)).unwrap().outcome
    else {
        panic!("a subscription")
    };
    rig.change(Command::MarkPayment(made.first_payment.clone(), Mark::Succeeded)).unwrap();
    let again = PlanChange {
        product_id: product.id.clone(),
        quantity: 2,
        mode: ProrationMode::FullImmediately,
        effective: Effective::Now,
        replaces_scheduled: false,
        metadata: None,
    };
    let changed = rig.change(Command::ChangePlan(made.id.clone(), Box::new(again))).unwrap();
    let Outcome::Payment(payment) = changed.outcome else { panic!("a payment") };
    rig.place.clock.advance(DAY * 20);
    let failed = Mark::Failed { code: None, message: None };
    rig.change(Command::MarkPayment(payment.id.clone(), failed)).unwrap();
    let waiting = rig.engine.subscription(&made.id).unwrap().subscription;
    assert_eq!(waiting.past_due_until, Some(waiting.cycle.next_billing_date));
    rig.advance(DAY * 11);
    rig.settle().unwrap();
    let ended = rig.engine.subscription(&made.id).unwrap().subscription;
    assert_eq!(ended.cancellation.at, waiting.past_due_until);
    assert_eq!((ended.running, ended.closing.len()), (None, 0));
}
