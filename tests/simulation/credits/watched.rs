//! Alerts: which have fired for whom, and what their counters must have been.
//!
//! What an alert says that it has found is compared with what the model has counted, and once everybody was
//! looked at, nobody may be beyond a threshold for whom it has not fired. Costs are reckoned where that is
//! simple: of a price for each unit, in a period that no change of plan has cut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quipu::engine::alerts::FiredEntry;
use quipu::engine::alerts::requests::AlertFilter;
use quipu::metering::accumulator::Kind;
use quipu::model::alert::{Crossing, CrossingKey, Level, Span, Threshold};
use quipu::model::{
    Alert, AlertIndex, CustomerIndex, EventType, Lsn, MeterIndex, Rate, Subscription, Timestamp,
};

use super::usage::{Counted, value_of};
use super::{Credits, PoolKey, ended};
use crate::model::Model;
use crate::place::Process;
use crate::told::What;
use crate::workload::PRICED;

/// Whoever is not looked at for so long may be forgotten.
const UNWATCHED_MAX: Duration = Duration::from_hours(30 * 24);
/// Events are at most so far ahead of the clock.
const AHEAD_MAX: Duration = Duration::from_mins(5);
const ONE: i128 = 1_000_000_000_000;

/// An alert that is there.
#[derive(Clone, Debug)]
struct Known {
    alert: Alert,
    made: Lsn,
    count: u64,
    last: Option<Timestamp>,
}

/// Alerts, and who was touched since everybody was looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    alerts: BTreeMap<AlertIndex, Known>,
    fired: BTreeSet<CrossingKey>,
    usage: BTreeMap<(CustomerIndex, MeterIndex), Lsn>,
    pools: BTreeMap<PoolKey, Lsn>,
    /// When subscriptions of a customer have changed.
    changed: BTreeMap<CustomerIndex, Lsn>,
    /// What was counted in a UTC month.
    months: BTreeMap<(CustomerIndex, MeterIndex, Timestamp), Counted>,
    /// Months that events were stamped with since everybody was looked at.
    stamped: BTreeMap<(CustomerIndex, MeterIndex, Timestamp), Lsn>,
}

impl Watched {
    pub(super) fn touch_pool(&mut self, lsn: Lsn, pool: PoolKey) {
        self.pools.insert(pool, lsn);
    }
}

impl Credits {
    pub(super) fn touch_usage(
        &mut self,
        lsn: Lsn,
        at: Timestamp,
        customer: CustomerIndex,
        values: &[(MeterIndex, i128)],
    ) {
        for (meter, value) in values {
            let month = (customer, *meter, at.month_start());
            self.watched.months.entry(month).or_default().push((at, lsn, *value));
            self.watched.usage.insert((customer, *meter), lsn);
            self.watched.stamped.insert(month, lsn);
        }
    }

    pub(super) fn touch_pool(&mut self, lsn: Lsn, pool: PoolKey) {
        self.watched.touch_pool(lsn, pool);
    }

    pub(super) fn note_change(&mut self, lsn: Lsn, of: &Subscription) {
        self.watched.changed.insert(of.customer, lsn);
    }

    pub(super) fn put_alert(&mut self, lsn: Lsn, alert: &Alert) {
        if alert.deleted {
            self.meet("alert: deleted");
            self.watched.alerts.remove(&alert.index);
            self.watched.fired.retain(|key| key.alert != alert.index);
        } else {
            self.meet("alert: made");
            let known = Known { alert: alert.clone(), made: lsn, count: 0, last: None };
            self.watched.alerts.insert(alert.index, known);
        }
    }

    /// Alerts fire: each once for a customer and period, and by what was counted.
    pub(super) fn fire(&mut self, lsn: Lsn, entry: &FiredEntry) {
        let log_time = self.log_time;
        for crossing in &entry.crossings {
            let Some(known) = self.watched.alerts.get(&crossing.alert) else { continue };
            // A close and the job may have seen the same.
            if !self.watched.fired.insert(crossing.key()) {
                continue;
            }
            let alert = known.alert.clone();
            assert!(alert.customer.is_none_or(|of| of == crossing.customer), "{crossing:?}");
            self.meet(match alert.threshold {
                Threshold::Usage { .. } => "alert: usage fired",
                Threshold::Cost { .. } => "alert: cost fired",
                Threshold::Balance { .. } => "alert: balance fired",
            });
            self.check_crossing(&alert, crossing);
            let known = self.watched.alerts.get_mut(&crossing.alert).expect("it is there");
            (known.count, known.last) = (known.count + 1, Some(log_time));
            let event_type = EventType::UsageThresholdReached;
            self.outbox.tell(lsn, event_type, log_time, What::Threshold(*crossing));
        }
    }

    fn check_crossing(&self, alert: &Alert, crossing: &Crossing) {
        match (alert.threshold, crossing.level) {
            (Threshold::Usage { meter, at_least }, Level::Usage(found)) => {
                assert!(found >= at_least, "{crossing:?} of {alert:?}");
                let known = self.usage_in(crossing.customer, meter, crossing.span);
                if let Some(known) = known {
                    assert_eq!(found.as_units(), known, "{crossing:?} of {alert:?}");
                }
            }
            (Threshold::Cost { meter, currency, at_least }, Level::Cost(paid_in, found)) => {
                assert_eq!(paid_in, currency);
                assert!(found >= at_least, "{crossing:?} of {alert:?}");
                if let Some(known) = self.cost_in(crossing.customer, meter, crossing.span) {
                    assert_eq!(i128::from(found.as_minor()), known, "{crossing:?} of {alert:?}");
                }
            }
            (Threshold::Balance { entitlement, at_most }, Level::Balance(found)) => {
                assert!(found <= at_most, "{crossing:?} of {alert:?}");
                let key = PoolKey { entitlement, customer: crossing.customer };
                let place = self.place(key).expect("it is there");
                let known = self.pools[place].1.balance(self.log_time);
                assert_eq!(found.as_units(), known, "{crossing:?} of {alert:?}");
            }
            (
                Threshold::Usage { .. } | Threshold::Cost { .. } | Threshold::Balance { .. },
                Level::Usage(_) | Level::Cost(..) | Level::Balance(_),
            ) => panic!("{crossing:?} of {alert:?}"),
        }
    }

    /// What usage of a meter has come to in a period, what is ahead of the clock included; nothing where that
    /// is not simple.
    fn usage_in(&self, customer: CustomerIndex, meter: MeterIndex, span: Span) -> Option<i128> {
        if meter.position() >= PRICED {
            return None;
        }
        let kind = Kind::from(&self.meters[meter.position()].aggregation);
        let counted = match span {
            Span::Month(start) => self.watched.months.get(&(customer, meter, start))?.clone(),
            Span::Subscription(of, opened_by) => {
                let of = self.subscriptions.get(&of)?;
                self.counted_in(of, opened_by, meter)?
            }
        };
        Some(value_of(kind, &counted))
    }

    fn counted_in(&self, of: &Subscription, opened_by: u32, meter: MeterIndex) -> Option<Counted> {
        let open = of.closing.iter().map(|closing| closing.segment).chain(of.running);
        let open: Vec<_> = open.filter(|segment| segment.opened_by == opened_by).collect();
        let last = open.last()?;
        // Parts that were closed, or sold other things, are counted otherwise.
        if open.first()?.number != opened_by || self.is_any_late(of.customer, self.log_time) {
            return None;
        }
        let sells = |segment: &&quipu::model::subscription::Segment| {
            self.price(segment.terms).meters().iter().any(|priced| priced.meter == meter)
        };
        if !open.iter().all(|segment| sells(&segment)) {
            return None;
        }
        let mut counted = Counted::new();
        for segment in &open {
            counted.extend(self.usage.counted_by(of.index, segment.number, meter));
        }
        let start = open.first()?.period.start;
        let ahead = self.usage.ahead(of.customer, meter);
        counted.extend(ahead.filter(|(at, ..)| start <= *at && *at < last.period.end));
        Some(counted)
    }

    /// What usage of a meter costs in a period of one part, by the unit.
    fn cost_in(&self, customer: CustomerIndex, meter: MeterIndex, span: Span) -> Option<i128> {
        let Span::Subscription(of, opened_by) = span else { return None };
        let subscription = self.subscriptions.get(&of)?;
        let open = subscription.closing.iter().map(|closing| closing.segment);
        let mut parts = open.chain(subscription.running).filter(|part| part.opened_by == opened_by);
        let (part, None) = (parts.next()?, parts.next()) else { return None };
        let mut priced = self.price(part.terms).meters().iter();
        let priced = priced.find(|priced| priced.meter == meter)?;
        let Rate::PerUnit(price) = &priced.rate else { return None };
        let usage = self.usage_in(customer, meter, span)?;
        let units = (usage - i128::from(priced.free_threshold) * ONE).max(0);
        let cost = (2 * units * price.as_units() + ONE * ONE) / (2 * ONE * ONE);
        let minor =
            |money: Option<quipu::model::Money>| money.map(|money| i128::from(money.as_minor()));
        let cost = cost.max(minor(priced.minimum).unwrap_or(0));
        Some(minor(priced.maximum).map_or(cost, |most| cost.min(most)))
    }

    /// Everybody was looked at: whoever is beyond a threshold, an alert has fired for.
    pub(crate) fn end_watch(&mut self, now: Timestamp) {
        let seen = self.as_of(now);
        for known in self.watched.alerts.values() {
            match known.alert.threshold {
                Threshold::Usage { meter, at_least } => {
                    seen.check_usage_fired(known, meter, now, |usage, _| {
                        usage.is_some_and(|usage| usage >= at_least.as_units())
                    });
                }
                Threshold::Cost { meter, at_least, .. } => {
                    seen.check_usage_fired(known, meter, now, |_, cost| {
                        cost.is_some_and(|cost| cost >= i128::from(at_least.as_minor()))
                    });
                }
                Threshold::Balance { entitlement, at_most } => {
                    for (key, touched) in &self.watched.pools {
                        let is_low = seen.place(*key).is_some_and(|place| {
                            seen.pools[place].1.balance(now) <= at_most.as_units()
                        });
                        let is_watched = key.entitlement == entitlement && known.made < *touched;
                        let changed = self.watched.changed.get(&key.customer);
                        let is_clear = changed.is_none_or(|changed| changed < touched)
                            && !self.usage.is_any_ahead(key.customer)
                            && !self.is_any_late(key.customer, now);
                        if is_low && is_watched && is_clear {
                            seen.must_have_fired(known, key.customer, seen.span_of(*key, now));
                        }
                    }
                }
            }
        }
        self.skip_watch();
    }

    /// Some were looked at, and nobody knows whether all.
    pub(crate) fn skip_watch(&mut self) {
        let watched = &mut self.watched;
        (watched.usage, watched.pools, watched.stamped) = Default::default();
    }

    fn check_usage_fired(
        &self,
        known: &Known,
        meter: MeterIndex,
        now: Timestamp,
        is_beyond: impl Fn(Option<i128>, Option<i128>) -> bool,
    ) {
        let touched = self.watched.usage.iter();
        let touched = touched.filter(|((_, of), lsn)| *of == meter && known.made < **lsn);
        for ((customer, _), _) in touched {
            let own: Vec<_> =
                self.subscriptions.values().filter(|of| of.customer == *customer).collect();
            let open = own.iter().flat_map(|of| {
                let open = of.closing.iter().map(|closing| closing.segment).chain(of.running);
                let is_near = |end: Timestamp| now.since(end) < UNWATCHED_MAX;
                let open = open.filter(move |segment| is_near(segment.period.end));
                open.map(|segment| Span::Subscription(of.index, segment.opened_by))
            });
            let mut spans: BTreeSet<Span> = open.collect();
            if own.is_empty() {
                let stamped = self.watched.stamped.iter();
                let stamped = stamped.filter(|((of, counted, _), lsn)| {
                    (of, counted) == (customer, &meter) && known.made < **lsn
                });
                // One that is ahead of a clock that was set back is looked at when its time has come.
                let is_near = |month: &Timestamp| {
                    *month <= now.plus(AHEAD_MAX) && now.since(*month) < UNWATCHED_MAX
                };
                spans.extend(
                    stamped.map(|((.., month), _)| *month).filter(is_near).map(Span::Month),
                );
            }
            for span in spans {
                let usage = self.usage_in(*customer, meter, span);
                let cost = self.cost_in(*customer, meter, span);
                if is_beyond(usage, cost) {
                    self.must_have_fired(known, *customer, span);
                }
            }
        }
    }

    fn must_have_fired(&self, known: &Known, customer: CustomerIndex, span: Span) {
        let alert = &known.alert;
        if alert.customer.is_none_or(|of| of == customer) {
            let key = CrossingKey { customer, alert: alert.index, span };
            assert!(self.watched.fired.contains(&key), "{alert:?} has not fired for {key:?}");
        }
    }

    /// The period of a balance: that of the first subscription that hands it out.
    fn span_of(&self, key: PoolKey, now: Timestamp) -> Span {
        let own =
            self.subscriptions.values().filter(|of| of.customer == key.customer && !ended(of));
        let hands_out = own.filter(|of| {
            of.credits.iter().any(|attached| attached.entitlement == key.entitlement)
                && of.running.is_some()
        });
        let first = hands_out.min_by(|left, right| left.id.cmp(&right.id));
        let running = first.and_then(|of| Some((of.index, of.running?.opened_by)));
        running.map_or(Span::Month(now.month_start()), |(of, opened_by)| {
            Span::Subscription(of, opened_by)
        })
    }
}

/// Compares every alert, and how often it has fired.
pub(super) fn check_alerts(process: &Process, model: &Model) {
    let page = quipu::engine::Page { offset: 0, limit: usize::MAX };
    let mut shown = process.engine.alerts(&AlertFilter::default(), page);
    shown.reverse();
    let shown: Vec<_> = shown
        .into_iter()
        .map(|view| ((*view.kept.alert).clone(), view.kept.fired_count, view.kept.last_fired_at))
        .collect();
    let known = model.credits.watched.alerts.values();
    let known: Vec<_> = known.map(|known| (known.alert.clone(), known.count, known.last)).collect();
    assert_eq!(shown, known);
    for (id, told) in &model.alerts {
        let is_there = shown.iter().any(|(alert, ..)| alert.id == *id);
        assert_eq!(is_there, !told.deleted, "as it was acknowledged: {told:?}");
    }
}
