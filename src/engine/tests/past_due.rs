//! The time to pay of a subscription: what is due when it is over.

use std::time::Duration;

use super::goods::{new_product, new_subscription, usage_price};
use super::rig::{Place, Sent, tiny};
use crate::billing::PastDueEnd;
use crate::engine::command::billing::{Effective, Mark, PlanChange};
use crate::engine::options::{Collection, Options, PastDue};
use crate::engine::{Command, Outcome};
use crate::model::ProrationMode;
use crate::model::price::{Interval, IntervalUnit};

const DAY: Duration = Duration::from_hours(24);

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
