//! Usage that draws on credits, from every event that has entered a period.
//!
//! An event enters once log time has passed it. Where it belongs to a period whose turn has not been done it
//! waits for that.

use std::collections::BTreeMap;

use quipu::metering::accumulator::Kind;
use quipu::model::credit::OverageTerms;
use quipu::model::subscription::Segment;
use quipu::model::{
    CustomerIndex, EventType, Lsn, MeterId, MeterIndex, Period, Subscription, SubscriptionId,
    SubscriptionIndex, SubscriptionStatus, Timestamp,
};

use super::pool::Draw;
use super::turn::step;
use super::{Credits, PoolKey, ended};
use crate::told::What;

const ONE: i128 = 1_000_000_000_000;

/// An event, as meters see it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) lsn: Lsn,
    pub(crate) at: Timestamp,
    pub(crate) customer: CustomerIndex,
    pub(crate) values: Vec<(MeterIndex, i128)>,
}

/// How far usage of a meter has come in a period.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    sum: i128,
    high: i128,
    drawn_to: i128,
    /// What waits for a whole step of credits, in 10^-24 units.
    waiting: i128,
}

/// Values, and when they came.
pub(super) type Counted = Vec<(Timestamp, Lsn, i128)>;

/// Subscription, segment, meter.
type Key = (SubscriptionIndex, u32, MeterIndex);

#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pending: BTreeMap<(Timestamp, Lsn), Event>,
    /// What a segment has counted.
    counted: BTreeMap<Key, Counted>,
    /// By the segment that a period began with.
    marks: BTreeMap<Key, Mark>,
    /// Events behind a boundary that has not turned.
    late: BTreeMap<SubscriptionIndex, Vec<Event>>,
}

/// Credits that usage has come to be worth; sorts in the order in which they are drawn.
#[derive(Debug)]
struct Wanted {
    order: (SubscriptionId, MeterId),
    pool: PoolKey,
    draw: Draw,
}

/// What usage that is about to come is worth, and how it would draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worth {
    pub(super) pool: PoolKey,
    pub(super) credits: i128,
    pub(super) drawing: Drawing,
    pub(super) overage: OverageTerms,
}

/// How usage of a meter draws in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drawing {
    free: i128,
    /// Units of a meter that one credit covers.
    ratio: i128,
    /// The smallest amount of credits.
    step: i128,
}

impl Usage {
    /// What a segment has counted of a meter.
    pub(super) fn counted_by(
        &self,
        of: SubscriptionIndex,
        segment: u32,
        meter: MeterIndex,
    ) -> Counted {
        self.counted.get(&(of, segment, meter)).cloned().unwrap_or_default()
    }

    /// What waits of a customer for its time to come.
    pub(super) fn ahead(
        &self,
        customer: CustomerIndex,
        meter: MeterIndex,
    ) -> impl Iterator<Item = (Timestamp, Lsn, i128)> {
        let events = self.pending.values().filter(move |event| event.customer == customer);
        events.flat_map(move |event| {
            let values = event.values.iter().filter(move |(counted, _)| *counted == meter);
            values.map(|(_, value)| (event.at, event.lsn, *value))
        })
    }

    /// Whether anything of a customer waits for its time to come.
    pub(super) fn is_any_ahead(&self, customer: CustomerIndex) -> bool {
        self.pending.values().any(|event| event.customer == customer)
    }
}

impl Mark {
    fn move_on(&mut self, kind: Kind, value: i128, now: i128) {
        self.sum += value;
        let reached = match kind {
            Kind::Count | Kind::Sum => self.sum,
            Kind::Max | Kind::Last => now,
        };
        self.high = self.high.max(reached);
    }

    /// Everything so far was paid otherwise.
    fn skip(&mut self) {
        self.drawn_to = self.high;
    }

    /// The credits that everything is worth which has not drawn.
    fn draw(&mut self, drawing: Drawing) -> i128 {
        let beyond = |units: i128| (units - drawing.free).max(0);
        let units = beyond(self.high) - beyond(self.drawn_to);
        self.drawn_to = self.high;
        let exact = units * ONE + self.waiting;
        let worth = drawing.ratio * drawing.step;
        self.waiting = exact % worth;
        exact / worth * drawing.step
    }
}

impl Credits {
    /// Log time is this now: events enter whose time has come.
    pub(super) fn pass(&mut self, log_time: Timestamp) {
        self.log_time = log_time;
        while let Some(first) = self.usage.pending.first_entry()
            && first.key().0 < log_time
        {
            let event = first.remove();
            self.enter(&event, event.at);
        }
    }

    pub(super) fn take_in(&mut self, event: Event) {
        if event.at >= self.log_time {
            self.usage.pending.insert((event.at, event.lsn), event);
        } else {
            self.enter(&event, self.log_time);
        }
    }

    fn enter(&mut self, event: &Event, drawn_at: Timestamp) {
        let own = self.subscriptions.values().filter(|of| of.customer == event.customer).cloned();
        let own: Vec<_> = own.collect();
        let mut wanted = Vec::new();
        for of in own {
            if let Some(segment) = segment_at(&of, event.at) {
                for (meter, value) in &event.values {
                    if self.count(&of, &segment, (*meter, *value), event) {
                        wanted.extend(self.want(&of, &segment, *meter, drawn_at));
                    }
                }
            } else if is_behind(&of, event.at) {
                self.usage.late.entry(of.index).or_default().push(event.clone());
            }
        }
        self.draw(wanted);
    }

    /// A period has begun: what came before its turn enters now.
    pub(super) fn enter_late(&mut self, of: &Subscription) {
        let Some(running) = of.running else { return };
        let late = self.usage.late.remove(&of.index).unwrap_or_default();
        let (now, later): (Vec<_>, Vec<_>) =
            late.into_iter().partition(|event| running.period.holds(event.at));
        let later = later.into_iter().filter(|event| is_behind(of, event.at));
        self.usage.late.insert(of.index, later.collect());
        let mut meters = Vec::new();
        for event in &now {
            for (meter, value) in &event.values {
                if self.count(of, &running, (*meter, *value), event) && !meters.contains(meter) {
                    meters.push(*meter);
                }
            }
        }
        let mut wanted = Vec::new();
        for meter in meters {
            wanted.extend(self.want(of, &running, meter, self.log_time));
        }
        if !wanted.is_empty() {
            self.meet("credits: drawn at a late turn");
        }
        self.draw(wanted);
    }

    /// Counts a value; whether the segment draws for the meter.
    fn count(
        &mut self,
        of: &Subscription,
        segment: &Segment,
        (meter, value): (MeterIndex, i128),
        event: &Event,
    ) -> bool {
        if !self.price(segment.terms).meters().iter().any(|price| price.meter == meter) {
            return false;
        }
        let kind = Kind::from(&self.meters[meter.position()].aggregation);
        let key = |segment| (of.index, segment, meter);
        let counted = self.usage.counted.entry(key(segment.number)).or_default();
        counted.push((event.at, event.lsn, value));
        let now = value_of(kind, counted);
        let draws = self.drawing(of, segment, meter).is_some();
        if !draws && !self.draws_elsewhere(of, segment, meter) {
            return false;
        }
        let mark = self.usage.marks.entry(key(segment.opened_by)).or_default();
        mark.move_on(kind, value, now);
        if !draws {
            mark.skip();
        }
        draws
    }

    /// Whether another part of the period draws credits for a meter, and is open.
    fn draws_elsewhere(&self, of: &Subscription, segment: &Segment, meter: MeterIndex) -> bool {
        let open = of.closing.iter().map(|closing| closing.segment).chain(of.running);
        let mut others = open
            .filter(|other| other.opened_by == segment.opened_by && other.number != segment.number);
        others.any(|other| self.drawing(of, &other, meter).is_some())
    }

    /// The plan has changed within a period: what was paid in money so far is used where it draws now.
    pub(super) fn change_usage(&mut self, of: &Subscription) {
        let Some(running) = of.running else { return };
        for place in 0..self.meters.len() {
            let meter = self.meters[place].index;
            if self.drawing(of, &running, meter).is_none() {
                continue;
            }
            let kind = Kind::from(&self.meters[place].aggregation);
            let (mut sum, mut high) = (0, 0);
            for number in running.opened_by..running.number {
                let counted = self.usage.counted.get(&(of.index, number, meter));
                let value = value_of(kind, counted.map_or(&[], Vec::as_slice));
                sum += value;
                high = high.max(if let Kind::Count | Kind::Sum = kind { sum } else { value });
            }
            let mark = self.usage.marks.entry((of.index, running.opened_by, meter)).or_default();
            (mark.sum, mark.high) = (sum, mark.high.max(high));
            mark.skip();
        }
    }

    fn drawing(
        &self,
        of: &Subscription,
        segment: &Segment,
        meter: MeterIndex,
    ) -> Option<(PoolKey, Drawing, Draw)> {
        let price = self.price(segment.terms);
        let priced = price.meters().iter().find(|priced| priced.meter == meter)?;
        let link = priced.rate.credits()?;
        let is_present = segment.terms == of.terms;
        let attached = if is_present { &of.credits } else { &price.credits };
        let attached = attached.iter().find(|known| known.entitlement == link.entitlement)?;
        let pool = PoolKey { entitlement: link.entitlement, customer: of.customer };
        let drawing = Drawing {
            free: i128::from(priced.free_threshold) * ONE,
            ratio: link.units_per_credit.as_units(),
            step: step(attached),
        };
        let percent = attached.low_balance_percent.unwrap_or(0);
        let draw = Draw {
            of: of.index,
            amount: 0,
            overage: attached.terms.overage,
            low_below: attached.amount.as_units() * i128::from(percent) / 100,
            at: self.log_time,
        };
        Some((pool, drawing, draw))
    }

    fn want(
        &mut self,
        of: &Subscription,
        segment: &Segment,
        meter: MeterIndex,
        at: Timestamp,
    ) -> Option<Wanted> {
        let (pool, drawing, draw) = self.drawing(of, segment, meter)?;
        let mark = self.usage.marks.get_mut(&(of.index, segment.opened_by, meter))?;
        let amount = mark.draw(drawing);
        let order = (of.id.clone(), self.meters[meter.position()].id.clone());
        (amount > 0).then_some(Wanted { order, pool, draw: Draw { amount, at, ..draw } })
    }

    /// What usage would draw at `at`, behind what is announced before it. Of a largest or a last value each
    /// stands by itself.
    pub(super) fn would_draw(
        &self,
        of: SubscriptionIndex,
        meter: MeterIndex,
        (announced, amount): (i128, i128),
        at: Timestamp,
    ) -> Option<Worth> {
        let of = self.subscriptions.get(&of)?;
        let segment = segment_at(of, at)?;
        let (pool, drawing, draw) = self.drawing(of, &segment, meter)?;
        let kind = Kind::from(&self.meters[meter.position()].aggregation);
        let key = (of.index, segment.opened_by, meter);
        let mut mark = self.usage.marks.get(&key).copied().unwrap_or_default();
        if let Kind::Count | Kind::Sum = kind {
            mark.move_on(kind, announced, 0);
            mark.draw(drawing);
            mark.move_on(kind, amount, 0);
        } else {
            mark.move_on(kind, 0, amount);
        }
        Some(Worth { pool, credits: mark.draw(drawing), drawing, overage: draw.overage })
    }

    /// Whether a boundary of any subscription of a customer has passed and was not turned.
    pub(super) fn is_any_late(&self, customer: CustomerIndex, at: Timestamp) -> bool {
        let mut own = self.subscriptions.values().filter(|of| of.customer == customer);
        own.any(|of| of.running.is_some_and(|running| running.period.end <= at))
    }

    fn draw(&mut self, mut wanted: Vec<Wanted>) {
        wanted.sort_by(|left, right| left.order.cmp(&right.order));
        for Wanted { pool: key, draw, .. } in wanted {
            let (order, now) = (self.order, self.now);
            let went_low = self.pool(key).draw(&draw, order);
            self.touch_pool(now, key);
            let of = &self.subscriptions[&draw.of];
            let mut attached = of.credits.iter();
            if went_low && attached.any(|attached| attached.entitlement == key.entitlement) {
                let what = What::Low(draw.of, key.entitlement);
                self.outbox.tell(now, EventType::CreditBalanceLow, draw.at, what);
            }
        }
    }
}

/// What a segment's value is.
pub(super) fn value_of(kind: Kind, counted: &[(Timestamp, Lsn, i128)]) -> i128 {
    match kind {
        Kind::Count | Kind::Sum => counted.iter().map(|(.., value)| *value).sum(),
        Kind::Max => counted.iter().map(|(.., value)| *value).max().unwrap_or(0),
        Kind::Last => counted.iter().max().map_or(0, |(.., value)| *value),
    }
}

fn segment_at(of: &Subscription, at: Timestamp) -> Option<Segment> {
    let closing = of.closing.iter().map(|closing| closing.segment);
    closing.chain(of.running).find(|segment| holds(segment.period, at))
}

fn holds(period: Period, at: Timestamp) -> bool {
    period.start <= at && at < period.end
}

/// Whether an instant lies behind a boundary of a subscription that has not turned.
fn is_behind(of: &Subscription, at: Timestamp) -> bool {
    let goes_on = |segment: &Segment| {
        !of.cancel_at_next_billing_date && segment.period.end < of.cycle.expires_at
    };
    !ended(of)
        && of.status != SubscriptionStatus::Paused
        && at < of.cycle.expires_at
        && of.running.is_some_and(|segment| segment.period.end <= at && goes_on(&segment))
}
