//! What waits while the clock is in doubt, and what a clock that was wrong leaves.

use std::time::Duration;

use super::life::{HOUR, Life, MINUTE};
use crate::engine::bills::PaymentFilter;
use crate::engine::command::billing::{Mark, SubscriptionPatch};
use crate::engine::options::{Collection, Options};
use crate::engine::tests::goods::{new_product, new_subscription, usage_price};
use crate::engine::tests::rig::{Place, Sent, tiny};
use crate::engine::{Command, Outcome, Refused};
use crate::model::PaymentId;
use crate::model::price::{Interval, IntervalUnit};

#[test]
fn turns_and_closes_wait_while_the_clock_is_in_doubt() {
    let mut life = Life::new(7);
    life.subscribe();
    let id = life.subscriptions[0].clone();
    let before = life.rig.engine.subscription(&id).unwrap().subscription;
    let end = before.cycle.next_billing_date;
    life.rig.place.clock.set_wall(end.plus(HOUR * 5));
    life.rig.settle().unwrap();
    life.send();
    let status = life.rig.engine.billing_status();
    assert!(status.waiting_for_clock && status.overdue > 0, "{status:?}");
    let waiting = life.rig.engine.subscription(&id).unwrap().subscription;
    assert_eq!(waiting, before, "nothing has turned, and events are admitted");
    let patch = SubscriptionPatch { cancel_now: true, ..SubscriptionPatch::default() };
    let patch = Command::UpdateSubscription(id.clone(), Box::new(patch));
    assert!(matches!(life.rig.change(patch), Err(Refused::Conflict(_))));
    life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
    // Ten steady minutes later the clock is trusted.
    life.rig.advance(MINUTE * 11);
    life.rig.settle().unwrap();
    assert_eq!(life.rig.engine.billing_status().overdue, 0);
    let turned = life.rig.engine.subscription(&id).unwrap().subscription;
    assert_eq!(turned.cycle.previous_billing_date, end);
    life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
}

#[test]
fn a_payment_is_not_marked_while_a_turn_waits_for_the_clock() {
    let mut life = Life::new(11);
    let place = Place::new(Options {
        collection: Collection::Manual,
        dedupe_window: Duration::ZERO,
        ..tiny()
    });
    let mut rig = place.open();
    rig.ingest(&[Sent::new("first", "c1")]).unwrap();
    let price = usage_price(Vec::new(), Interval { count: 1, unit: IntervalUnit::Month }, 100);
    let Outcome::Product(product) = rig.change(new_product(price)).unwrap().outcome else {
        panic!("a product")
    };
    let new = Box::new(new_subscription("c1", &product.id));
    let Outcome::Subscription(made) = rig.change(Command::CreateSubscription(new)).unwrap().outcome
    else {
        panic!("a subscription")
    };
    let paid = |id: &PaymentId| Command::MarkPayment(id.clone(), Mark::Succeeded);
    rig.change(paid(&made.first_payment)).unwrap();
    rig.advance(HOUR * 24 * 32);
    rig.settle().unwrap();
    let page = crate::engine::Page { offset: 0, limit: 1 };
    let renewal =
        rig.engine.payments(&PaymentFilter::default(), page).unwrap()[0].payment.id.clone();
    assert_ne!(renewal, made.first_payment);
    let end = rig.engine.subscription(&made.id).unwrap().subscription.cycle.next_billing_date;
    rig.place.clock.set_wall(end.plus(HOUR));
    assert!(matches!(rig.change(paid(&renewal)), Err(Refused::Conflict(_))));
    rig.advance(MINUTE * 11);
    rig.change(paid(&renewal)).unwrap();
    life.rig = rig;
    life.oracle.check(&life.rig.engine, std::slice::from_ref(&made.id)).unwrap();
}

#[test]
fn a_boundary_that_the_clock_once_stood_behind_is_not_moved() {
    let mut life = Life::new(13);
    life.subscribe();
    let id = life.subscriptions[0].clone();
    let end = life.rig.engine.subscription(&id).unwrap().subscription.cycle.next_billing_date;
    let right = life.rig.engine.now();
    life.rig.place.clock.set_wall(end.plus(HOUR));
    (0..20).for_each(|_| life.send());
    life.rig.place.clock.set_wall(right);
    life.rig.change(Command::ConfirmClock).unwrap();
    let moved = |to| {
        let patch = SubscriptionPatch { next_billing_date: Some(to), ..Default::default() };
        Command::UpdateSubscription(id.clone(), Box::new(patch))
    };
    let refused = life.rig.change(moved(end.plus(HOUR * 5)));
    assert!(matches!(refused, Err(Refused::Conflict(_))), "{refused:?}");
    life.rig.advance(end.since(right) + HOUR * 2);
    life.rig.settle().unwrap();
    life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
    let now = life.rig.engine.now();
    life.rig.change(moved(now.plus(HOUR * 5))).unwrap();
    life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
}
