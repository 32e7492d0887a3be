//! Whether an engine shows exactly what the model says.

use super::dice::Dice;
use super::model::Model;
use super::rig::{Rig, Sent};
use crate::engine::query::Interval;
use crate::engine::series::SeriesQuery;
use crate::engine::{CustomerFilter, EventQuery, Page, UsageQuery};
use crate::model::{CustomerId, EventId, Lsn, MeterId, Timestamp};

const EVERYTHING: Page = Page { offset: 0, limit: usize::MAX };

/// All usage of a meter, a customer or both.
pub(super) fn usage_of(meter: Option<&MeterId>, customer: Option<&CustomerId>) -> UsageQuery {
    UsageQuery {
        meter_id: meter.cloned(),
        customer_id: customer.cloned(),
        start: Timestamp::from_nanos(0),
        end: Timestamp::parse("2200-01-01T00:00:00Z").unwrap(),
        interval: None,
        offset: 0,
        limit: usize::MAX,
    }
}

/// Every event.
pub(super) fn all_events() -> EventQuery {
    EventQuery { limit: usize::MAX, ..EventQuery::default() }
}

/// Everything that can be asked without sending anything: lists, all usage by meter and customer,
/// all events.
pub(super) fn assert_same(rig: &Rig, model: &Model) {
    let engine = &rig.engine;
    assert_eq!(engine.stats().last_lsn, model.last_lsn());
    assert_eq!(rig.machine.shared.state.log_time(), model.log_time);
    for archived in [false, true] {
        let mut meters: Vec<_> =
            model.meters.iter().filter(|meter| meter.archived == archived).cloned().collect();
        meters.reverse();
        assert_eq!(engine.meters(archived, EVERYTHING), meters);
    }
    let customers = model.customers(&CustomerFilter::default(), EVERYTHING);
    assert_eq!(engine.customers(&CustomerFilter::default(), EVERYTHING), customers);
    let mut keys: Vec<_> =
        model.keys.iter().filter(|key| key.deleted_at.is_none()).cloned().collect();
    keys.reverse();
    assert_eq!(engine.keys(), keys);
    assert_eq!(engine.events(&all_events()).unwrap(), model.list(&all_events()));
    assert_eq!(engine.events(&EventQuery { limit: 0, ..all_events() }).unwrap(), []);
    for meter in &model.meters {
        assert_usage(rig, model, &usage_of(Some(&meter.id), None));
    }
    for customer in &model.customers {
        assert_usage(rig, model, &usage_of(None, Some(&customer.id)));
    }
    let whole = usage_of(None, None);
    for interval in [Interval::Hour, Interval::Day, Interval::Month] {
        assert_series(rig, model, (whole.start, whole.end), interval);
    }
}

/// What everybody together has used, as far as the meters are complete.
fn assert_series(
    rig: &Rig,
    model: &Model,
    (start, end): (Timestamp, Timestamp),
    interval: Interval,
) {
    let ids = model.meters.iter().map(|meter| meter.id.clone());
    let (pending, meter_ids): (Vec<_>, Vec<_>) = ids.partition(|id| is_pending(rig, model, id));
    let query = SeriesQuery { meter_ids, start, end, interval };
    let series = rig.engine.series(&query).unwrap();
    assert_eq!(series.items, model.series(&query), "{query:?}");
    assert_eq!(series.as_of_lsn, model.last_lsn());
    let of_pending = rig.engine.series(&SeriesQuery { meter_ids: pending, ..query }).unwrap();
    assert!(of_pending.items.iter().all(|item| item.backfilling));
}

/// Whether a meter has yet to count earlier events.
fn is_pending(rig: &Rig, model: &Model, id: &MeterId) -> bool {
    let meter = model.meters.iter().find(|meter| meter.id == *id).expect("the model knows it");
    rig.machine.shared.state.with_backfills(|backfills| backfills.is_pending(meter.index))
}

/// What the engine says of meters that are complete; the others must say that they are not.
fn assert_usage_of_complete(rig: &Rig, model: &Model, query: &UsageQuery) {
    if query.meter_id.is_some() {
        let usage = rig.engine.usage(query).unwrap();
        assert!(usage.items.iter().all(|item| item.backfilling), "{usage:?}");
        return;
    }
    let whole = UsageQuery { offset: 0, limit: usize::MAX, ..query.clone() };
    let (pending, complete): (Vec<_>, Vec<_>) =
        rig.engine.usage(&whole).unwrap().items.into_iter().partition(|item| item.backfilling);
    assert!(pending.iter().all(|item| is_pending(rig, model, &item.meter_id)));
    let mut expected = model.usage(&whole).0;
    expected.retain(|item| !is_pending(rig, model, &item.meter_id));
    assert_eq!(complete, expected, "{query:?}");
}

pub(super) fn assert_usage(rig: &Rig, model: &Model, query: &UsageQuery) {
    let is_asked = |id: &MeterId| query.meter_id.as_ref().is_none_or(|asked| asked == id);
    if model.meters.iter().any(|meter| is_asked(&meter.id) && is_pending(rig, model, &meter.id)) {
        assert_usage_of_complete(rig, model, query);
        return;
    }
    let usage = rig.engine.usage(query).unwrap();
    let (items, total) = model.usage(query);
    assert_eq!(usage.items, items, "{query:?}");
    assert_eq!(usage.total, total, "{query:?}");
    assert_eq!(usage.as_of_lsn, model.last_lsn());
}

/// Asks `count` random questions of each kind.
pub(super) fn assert_answers(rig: &Rig, model: &Model, dice: &Dice, count: usize) {
    for _ in 0..count {
        ask_usage(rig, model, dice);
        ask_events(rig, model, dice);
        ask_customers(rig, model, dice);
    }
}

fn maybe<T>(dice: &Dice, items: &[T]) -> Option<T>
where
    T: Clone,
{
    (!items.is_empty() && dice.one_in(2)).then(|| dice.pick(items).clone())
}

fn ask_usage(rig: &Rig, model: &Model, dice: &Dice) {
    let hours = model.hours();
    let (meters, customers) = ids(model);
    if hours.is_empty() || meters.is_empty() {
        return;
    }
    let (one, other) = (*dice.pick(&hours), *dice.pick(&hours));
    let mut query = usage_of(None, None);
    (query.start, query.end) = (one.min(other), one.max(other));
    let interval = *dice.pick(&[Interval::Hour, Interval::Day, Interval::Month]);
    assert_series(rig, model, (query.start, query.end), interval);
    match dice.below(3) {
        0 => query.meter_id = Some(dice.pick(&meters).clone()),
        1 => query.customer_id = Some(dice.pick(&customers).clone()),
        _ => {
            query.meter_id = Some(dice.pick(&meters).clone());
            query.customer_id = Some(dice.pick(&customers).clone());
        }
    }
    query.interval =
        *dice.pick(&[None, Some(Interval::Hour), Some(Interval::Day), Some(Interval::Month)]);
    if query.meter_id.is_none() || query.customer_id.is_none() {
        query.offset = dice.index(3);
        query.limit = 1 + dice.index(4);
    }
    assert_usage(rig, model, &query);
}

fn ids(model: &Model) -> (Vec<MeterId>, Vec<CustomerId>) {
    let meters = model.meters.iter().map(|meter| meter.id.clone());
    let customers = model.customers.iter().map(|customer| customer.id.clone());
    (meters.collect(), customers.collect())
}

fn ask_events(rig: &Rig, model: &Model, dice: &Dice) {
    if model.events.is_empty() {
        return;
    }
    let (meters, customers) = ids(model);
    let meter_id = maybe(dice, &meters);
    let meter = model.meters.iter().find(|meter| Some(&meter.id) == meter_id.as_ref());
    let event_name = match meter {
        Some(meter) => maybe(dice, std::slice::from_ref(&meter.event_name)),
        None => maybe(dice, &["call".to_owned(), "store".to_owned()]),
    };
    let at: Vec<_> = model.events.iter().map(|kept| kept.at).collect();
    let lsns: Vec<_> = model.events.iter().map(|kept| Lsn(kept.lsn)).collect();
    let query = EventQuery {
        customer_id: maybe(dice, &customers),
        event_name,
        meter_id,
        start: maybe(dice, &at),
        end: maybe(dice, &at),
        below: maybe(dice, &lsns),
        offset: dice.index(10),
        limit: 1 + dice.index(20),
    };
    assert_eq!(rig.engine.events(&query).unwrap(), model.list(&query), "{query:?}");
    if !model.events.is_empty() {
        assert_event(rig, model, &dice.pick(&model.events).sent.id);
    }
    assert_event(rig, model, "unknown");
}

pub(super) fn assert_event(rig: &Rig, model: &Model, id: &str) {
    assert_eq!(rig.engine.event(&EventId::new(id)).unwrap(), model.event(id), "{id}");
}

fn ask_customers(rig: &Rig, model: &Model, dice: &Dice) {
    if model.customers.is_empty() {
        return;
    }
    let one = dice.pick(&model.customers).clone();
    let other = dice.pick(&model.customers).clone();
    let filter = CustomerFilter {
        email: maybe(dice, &[one.email.to_uppercase()]),
        name: maybe(dice, &[one.name.chars().skip(2).collect::<String>().to_uppercase()]),
        created_from: maybe(dice, &[one.created_at.min(other.created_at)]),
        created_to: maybe(dice, &[one.created_at.max(other.created_at)]),
    };
    let page = Page { offset: dice.index(3), limit: 1 + dice.index(4) };
    let found = rig.engine.customers(&filter, page);
    assert_eq!(found, model.customers(&filter, page), "{filter:?}");
    assert_eq!(rig.engine.customer(&one.id), Some(one));
}

/// Sends everything again that must be known, in requests as large as the generations allow: all must be duplicates, and nothing may change.
pub(super) fn assert_known(rig: &mut Rig, model: &Model) {
    let known = model.remembered(rig.engine.now());
    let sent: Vec<Sent> = known.iter().map(|kept| kept.sent.clone()).collect();
    for again in sent.chunks((2 * rig.place.options.generation_ids).min(50)) {
        let answer = rig.ingest(again).expect("known events are never refused");
        let duplicates = u32::try_from(again.len()).unwrap();
        assert_eq!((answer.new, answer.duplicates, answer.conflicts), (0, duplicates, 0));
    }
    assert_eq!(rig.engine.stats().last_lsn, model.last_lsn());
}
