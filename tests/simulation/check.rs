//! Whether an engine shows exactly what was acknowledged.
//!
//! An error means that something could not be read, with the reason; what is shown wrongly is a panic.

use std::collections::{BTreeMap, BTreeSet};

use quipu::engine::bills::{PaymentFilter, ProductFilter};
use quipu::engine::options::Collection;
use quipu::engine::query::{Interval, Skipped};
use quipu::engine::{BackfillState, CustomerFilter, EventQuery, Page, UsageQuery};
use quipu::model::{EventId, Quantity, Subscription, SubscriptionStatus, Timestamp};

use crate::credits::check_credits;
use crate::event::Sent;
use crate::model::Model;
use crate::oracle::check_credit;
use crate::orders::check_orders;
use crate::place::{Process, chain};

/// More than any list here holds.
const ALL: Page = Page { offset: 0, limit: 100_000 };

/// What could not be read.
pub(crate) type Unread = String;

fn unread(error: impl std::error::Error) -> Unread {
    chain(&error)
}

/// Compares everything that can be asked without sending anything. What is shown for the first time,
/// invoices and payments of due work, the model takes up: from now on it must not change.
pub(crate) fn check(process: &Process, model: &mut Model) -> Result<(), Unread> {
    let last_lsn = process.engine.stats().last_lsn;
    assert!(last_lsn >= model.last_lsn, "{last_lsn} is before {}", model.last_lsn);
    check_events(process, model)?;
    check_objects(process, model);
    check_usage(process, model)?;
    check_money(process, model)?;
    check_orders(process, model)?;
    check_credits(process, model)?;
    model.last_lsn = last_lsn;
    Ok(())
}

fn check_events(process: &Process, model: &Model) -> Result<(), Unread> {
    let query = EventQuery { limit: usize::MAX, ..EventQuery::default() };
    let found = process.engine.events(&query).map_err(unread)?;
    let kept = model.events.iter().rev();
    for (kept, stored) in kept.clone().zip(&found) {
        assert!(kept.is(stored), "{kept:?} is shown as {stored:?}");
    }
    assert!(found.len() <= model.events.len(), "{:?}", found.get(model.events.len()));
    // What is not shown has left history.
    let keep_from = model.latest.minus(model.options.history_keep);
    for kept in kept.skip(found.len()) {
        assert!(kept.received_at < keep_from, "{kept:?} is not there");
    }
    Ok(())
}

fn check_objects(process: &Process, model: &Model) {
    let engine = &process.engine;
    let mut meters: Vec<_> = engine.meters(false, ALL);
    meters.extend(engine.meters(true, ALL));
    meters.sort_by_key(|meter| meter.index);
    assert_eq!(meters, model.meters);
    let customers = engine.customers(&CustomerFilter::default(), ALL);
    let found: BTreeSet<_> = customers.iter().map(|found| found.id.as_str().to_owned()).collect();
    let known = model.customers.keys().chain(&model.named).cloned();
    assert_eq!(found, known.collect());
    for customer in &customers {
        if let Some(known) = model.customers.get(customer.id.as_str()) {
            assert_eq!(customer, known);
        }
    }
    let keys: BTreeMap<_, _> =
        engine.keys().into_iter().map(|key| (key.id.as_str().to_owned(), key)).collect();
    assert_eq!(keys, model.keys);
    let mut products: Vec<_> = engine.products(ProductFilter::default(), ALL);
    products.extend(engine.products(ProductFilter { archived: true, ..Default::default() }, ALL));
    products.sort_by_key(|product| product.index);
    assert_eq!(products, model.products);
    let mut entitlements: Vec<_> = engine.entitlements(false, ALL);
    entitlements.extend(engine.entitlements(true, ALL));
    entitlements.sort_by_key(|entitlement| entitlement.index);
    assert_eq!(entitlements, model.entitlements);
}

fn check_usage(process: &Process, model: &Model) -> Result<(), Unread> {
    for (place, meter) in model.meters.iter().enumerate() {
        let query = UsageQuery {
            meter_id: Some(meter.id.clone()),
            customer_id: None,
            start: Timestamp::from_nanos(0),
            end: Timestamp::parse("2200-01-01T00:00:00Z").unwrap(),
            interval: Some(Interval::Hour),
            offset: 0,
            limit: usize::MAX,
        };
        let usage = process.engine.usage(&query).map_err(unread)?;
        let state = process.engine.backfill(meter.index).state;
        if state != BackfillState::Done {
            assert!(usage.items.iter().all(|item| item.backfilling), "{usage:?}");
            continue;
        }
        for item in &usage.items {
            let hours = model.oracle.hours(item.customer_id.as_str(), &meter.id);
            let shown = item.buckets.iter().map(|bucket| (bucket.start, bucket.value));
            // An hour in which nothing was counted may be shown, as nothing.
            let shown = shown
                .filter(|(start, value)| *value != Quantity::ZERO || hours.contains_key(start));
            assert_eq!(shown.collect::<BTreeMap<_, _>>(), hours, "{meter:?} {item:?}");
        }
        let items = usage.items.into_iter();
        let found: BTreeMap<String, (Quantity, Skipped)> = items
            .map(|item| (item.customer_id.as_str().to_owned(), (item.total, item.skipped)))
            .collect();
        let seen = model.seen.iter().filter(|((of, _), _)| *of == place);
        let expected = seen.map(|((_, customer), skips)| {
            let total = model.oracle.total(customer, &meter.id);
            let [missing, not_a_number, out_of_range] = *skips;
            (customer.clone(), (total, Skipped { missing, not_a_number, out_of_range }))
        });
        assert_eq!(found, expected.collect(), "{meter:?}");
    }
    Ok(())
}

fn check_money(process: &Process, model: &mut Model) -> Result<(), Unread> {
    let engine = &process.engine;
    let invoices = model.oracle.check(engine, &model.subscription_ids()).map_err(unread)?;
    assert!(invoices.len() >= model.invoices.len(), "an invoice is gone");
    for (view, known) in invoices.iter().zip(&model.invoices) {
        assert_eq!(view.invoice, *known, "an invoice has changed");
    }
    if model.options.collection == Collection::Automatic {
        for id in model.subscription_ids() {
            let shown = engine.subscription(&id).expect("it was acknowledged").subscription;
            let own = invoices.iter().filter(|view| view.subscription_id.as_ref() == Some(&id));
            check_credit(&shown, &own.collect::<Vec<_>>());
        }
    }
    model.invoices = invoices.into_iter().map(|view| view.invoice).collect();
    let payments = engine.payments(&PaymentFilter::default(), ALL).map_err(unread)?;
    let found: BTreeMap<_, _> =
        payments.into_iter().map(|view| (view.payment.id.clone(), view.payment)).collect();
    for (id, known) in &model.payments {
        assert_eq!(found.get(id), Some(known), "a payment is gone or has changed");
    }
    model.payments = found;
    for known in &mut model.subscriptions {
        let shown = engine.subscription(&known.id).expect("it was acknowledged").subscription;
        if shown.paused_at.is_some() {
            model.oracle.pause(shown.id.clone());
        }
        if !model.changed.remove(&known.index) {
            check_subscription(known, &shown);
        }
        known.clone_from(&shown);
    }
    Ok(())
}

/// Due work moves a subscription on; nothing else changes it, and an end is an end.
fn check_subscription(known: &Subscription, shown: &Subscription) {
    let plan = |of: &Subscription| (of.terms, of.quantity);
    let scheduled = known.scheduled_change.as_ref().map(|change| &change.plan);
    let scheduled = scheduled.map(|plan| (plan.terms, plan.quantity));
    assert!(plan(shown) == plan(known) || Some(plan(shown)) == scheduled, "{known:?} {shown:?}");
    let words = |of: &Subscription| (of.metadata.clone(), of.created_at);
    assert_eq!(words(known), words(shown));
    assert!(shown.next_segment >= known.next_segment);
    if known.cancellation.at.is_some() {
        assert_eq!(known.cancellation.at, shown.cancellation.at);
    }
    match known.status {
        SubscriptionStatus::Cancelled | SubscriptionStatus::Expired => {
            assert_eq!(known.status, shown.status);
        }
        SubscriptionStatus::Pending
        | SubscriptionStatus::Active
        | SubscriptionStatus::OnHold
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Paused => {}
    }
}

/// Nothing that is due is left undone, unless the clock is in doubt.
pub(crate) fn check_nothing_is_due(process: &Process, model: &Model) {
    if process.engine.clock().in_doubt {
        return;
    }
    let now = process.now();
    // Of credits too: grants expire, and what was drawn stands in the ledger a minute later.
    let first = process.machine.shared.state.first_due();
    assert!(first.is_none_or(|at| at > now), "{first:?} is due at {now}");
    let state = &process.machine.shared.state;
    assert!(!state.with_reservations(|all| all.are_any_over(|| now)), "one is over at {now}");
    for id in model.subscription_ids() {
        let found = process.engine.subscription(&id).expect("it was acknowledged").subscription;
        let turn = found.running.map(|running| running.period.end);
        assert!(turn.is_none_or(|at| at > now), "{found:?} has not turned at {now}");
        assert!(found.past_due_until.is_none_or(|at| at > now), "{found:?} is past due at {now}");
        let is_open = |closing: &quipu::model::subscription::Closing| closing.close_at > now;
        assert!(found.closing.iter().all(is_open), "{found:?} has not closed at {now}");
    }
}

/// Sends events again that must be known: all must be duplicates, and nothing may change.
pub(crate) fn check_known(process: &mut Process, model: &Model, step: usize) -> Result<(), Unread> {
    let known = model.remembered();
    let sent: Vec<Sent> = known.iter().step_by(step).map(|kept| kept.sent.clone()).collect();
    for again in sent.chunks((2 * model.options.generation_ids).min(40)) {
        let slot = process.send(again);
        process.settle().map_err(unread)?;
        let answer = slot.take().expect("it was settled");
        let answer = answer.map_err(unread)?;
        let duplicates = u32::try_from(again.len()).expect("few");
        let counts = (answer.new, answer.duplicates, answer.conflicts);
        assert_eq!(counts, (0, duplicates, 0), "known ids are sent again: {again:?}");
    }
    for kept in known.iter().step_by(step * 3) {
        let found = process.engine.event(&EventId::new(kept.sent.id.as_str())).map_err(unread)?;
        let found = found.unwrap_or_else(|| panic!("{kept:?} is not found"));
        assert!(kept.is(&found), "{kept:?} is shown as {found:?}");
    }
    Ok(())
}
