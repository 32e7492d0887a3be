//! What webhook endpoints are told over random lives: everything once, as it was, whatever happens to the
//! process.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::life::Life;
use crate::engine::Page;
use crate::engine::bills::PaymentFilter;
use crate::engine::tests::rig::{Crash, Rig};
use crate::engine::tests::webhooks::{create, told};
use crate::model::invoice::ChargeType;
use crate::model::{
    EventType, Lsn, MessageId, Notice, PaymentStatus, Subscription, SubscriptionStatus, Told,
};
use crate::world::Disk;

/// Checks that the same was told, in few words.
fn same(rig: &Rig, before: &[(MessageId, Notice)], what: &str) {
    let after = told(rig);
    let differs = after.iter().zip(before).find(|(one, other)| one != other);
    assert_eq!(differs, None, "{what}");
    assert_eq!(after.len(), before.len(), "{what}");
}

/// A life with an endpoint that is told of everything from the first subscription on.
fn watched(seed: u64) -> Life {
    let mut life = Life::new(seed);
    create(&mut life.rig, None);
    life
}

/// What a client sees of a subscription that may change.
fn seen(subscription: &Subscription) -> impl PartialEq + std::fmt::Debug + use<> {
    let cycle = &subscription.cycle;
    (
        (subscription.status, subscription.terms, subscription.quantity),
        (cycle.previous_billing_date, cycle.next_billing_date, cycle.expires_at, cycle.interval),
        (subscription.paused_at, subscription.past_due_until, subscription.credit),
        subscription.cancel_at_next_billing_date,
        subscription.scheduled_change.clone(),
    )
}

/// What must be told of every payment there is, and how often each thing was told.
fn check(life: &Life) {
    let everything = Page { offset: 0, limit: usize::MAX };
    let payments = life.rig.engine.payments(&PaymentFilter::default(), everything).unwrap();
    let mut expected = BTreeMap::new();
    for view in &payments {
        let payment = &view.payment;
        let event = match payment.status {
            PaymentStatus::Processing => EventType::PaymentProcessing,
            PaymentStatus::Succeeded => EventType::PaymentSucceeded,
            PaymentStatus::Failed => EventType::PaymentFailed,
        };
        expected.insert((payment.id.as_str().to_owned(), event), 1);
    }
    let (mut found, mut renewed) = (BTreeMap::new(), 0);
    let mut subscriptions: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (_, notice) in told(&life.rig) {
        match &notice.told {
            Told::Payment { payment, .. } => {
                *found.entry((payment.id.as_str().to_owned(), notice.event_type)).or_insert(0) += 1;
            }
            Told::Subscription(told) => {
                renewed += usize::from(notice.event_type == EventType::SubscriptionRenewed);
                let of = subscriptions.entry(told.subscription.index).or_default();
                of.push((notice.event_type, Arc::clone(&told.subscription)));
            }
            Told::Ledger(_) | Told::BalanceLow(_) | Told::Threshold(_) | Told::Test(_) => {
                panic!("nobody has credits or alerts")
            }
        }
    }
    let differs = found.iter().find(|(what, _)| !expected.contains_key(*what));
    assert_eq!(differs, None);
    let differs = expected.iter().find(|(what, count)| found.get(*what) != Some(*count));
    assert_eq!(differs, None, "{} of {} are told", found.len(), expected.len());
    let renewals = payments.iter().filter(|view| {
        view.payment.charge_type == Some(ChargeType::Renewal)
            && view.payment.service_period.is_some()
    });
    assert_eq!(renewed, renewals.count());
    life.rig.machine.shared.state.with_books(|books| {
        assert_eq!(subscriptions.len(), books.subscriptions().len());
        for now in books.subscriptions().iter() {
            let told = &subscriptions[&now.index];
            assert_eq!(told[0].0, EventType::SubscriptionActive);
            // The last message shows what there is; each one that tells of a status shows it.
            assert_eq!(seen(&told.last().unwrap().1), seen(now));
            for (event, then) in told {
                let statuses = [
                    (EventType::SubscriptionActive, SubscriptionStatus::Active),
                    (EventType::SubscriptionPaused, SubscriptionStatus::Paused),
                    (EventType::SubscriptionCancelled, SubscriptionStatus::Cancelled),
                    (EventType::SubscriptionExpired, SubscriptionStatus::Expired),
                ];
                let status = statuses.iter().find(|(named, _)| named == event);
                assert!(status.is_none_or(|(_, status)| then.status == *status));
            }
            let ends = |event: &EventType| {
                matches!(event, EventType::SubscriptionCancelled | EventType::SubscriptionExpired)
            };
            let ended = told.iter().filter(|(event, _)| ends(event)).count();
            let has_ended =
                matches!(now.status, SubscriptionStatus::Cancelled | SubscriptionStatus::Expired);
            assert_eq!(ended, usize::from(has_ended));
        }
    });
}

#[test]
fn everything_is_told_once_over_any_history() {
    let mut count = 0;
    for seed in 300..320 {
        let mut life = watched(seed);
        for _ in 0..150 {
            life = life.step();
        }
        check(&life);
        count += told(&life.rig).len();
    }
    assert!(count > 2_000, "only {count} messages");
}

#[test]
fn what_was_told_stays_whatever_becomes_of_the_process() {
    for seed in 330..336 {
        let mut life = watched(seed);
        for _ in 0..3 {
            for _ in 0..40 {
                life = life.step();
            }
            life.rig.settle().unwrap();
            let before = told(&life.rig);
            life.rig.machine.checkpoint().unwrap();
            same(&life.rig, &before, "a checkpoint");
            let place = life.rig.place.after(Crash::DropsAll);
            life.rig = place.open();
            same(&life.rig, &before, "a start from it");
        }
        for _ in 0..20 {
            life = life.step();
        }
        life.rig.settle().unwrap();
        let before = told(&life.rig);
        let place = life.rig.place.after(Crash::DropsAll);
        same(&place.open(), &before, "a replay");
        // Without the newest snapshot the older one's state meets newer rows.
        let place = life.rig.place.after(Crash::DropsAll);
        let is_snapshot = |name: &String| name.starts_with("snapshot-");
        let newest = place.disk.names().unwrap().into_iter().filter(is_snapshot).max().unwrap();
        place.disk.flip_bit(&newest, 40, 0);
        let rig = place.open();
        assert!(rig.replayed > 0, "it replays from the older one");
        same(&rig, &before, "a start from the one before");
        assert!(before.iter().all(|(id, _)| id.lsn > Lsn::ZERO));
    }
}
