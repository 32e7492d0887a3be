//! Which segments an event of a customer enters.
//!
//! The segments of a subscription never overlap, so an event enters one of each at most. A boundary
//! that has passed and whose turn is late does not hold events up: those behind it enter the segment
//! that the turn will begin.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::billing::credits::{DrawTerms, Mark, Usage, low_balance_threshold};
use crate::billing::{boundary, cycle_ahead};
use crate::engine::pools::draws::Drawing;
use crate::engine::striped::StripedKey;
use crate::model::price::{Interval, MeterPrice};
use crate::model::subscription::{Cycle, Segment};
use crate::model::{
    Attachment, Credits, CustomerIndex, MeterIndex, Period, Price, Product, Subscription,
    SubscriptionId, SubscriptionIndex, Terms, Timestamp,
};

/// What one segment counts of one meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentKey {
    /// The subscription.
    pub subscription: SubscriptionIndex,
    /// The number of its segment.
    pub segment: u32,
    /// The meter.
    pub meter: MeterIndex,
}

impl StripedKey for SegmentKey {
    type Group = SubscriptionIndex;

    fn group(&self) -> SubscriptionIndex {
        self.subscription
    }
}

/// The segments of all customers.
#[derive(Debug, Default)]
pub struct Routes {
    /// By customer, those of a customer by subscription id; those who subscribe to nothing with a meter
    /// have none.
    of_customer: Vec<Vec<Route>>,
    /// The meters of prices that are paid in money alone: they never change, and all routes share them.
    meters: HashMap<Terms, Meters>,
}

type Meters = Arc<[Counted]>;

/// One segment.
#[derive(Debug)]
struct Route {
    id: SubscriptionId,
    subscription: SubscriptionIndex,
    segment: u32,
    opened_by: u32,
    period: Period,
    meters: Meters,
    /// Of the running segment of a subscription that goes on.
    ahead: Option<Ahead>,
}

/// What follows a running segment: the boundaries of the cycle as the next turn leaves it.
#[derive(Debug)]
struct Ahead {
    anchor: Timestamp,
    interval: Interval,
    next_boundary: u32,
    expires_at: Timestamp,
    meters: Meters,
}

// There are millions, and each may have an unused one beside it.
const _: () = assert!(size_of::<Route>() <= 120);

/// A meter that a segment counts.
#[derive(Debug)]
struct Counted {
    meter: MeterIndex,
    /// What its usage means for credits.
    credit: Option<Box<CreditUse>>,
}

impl Entry<'_> {
    /// Where the mark of the period stands.
    pub fn mark_key(&self) -> SegmentKey {
        SegmentKey { segment: self.opened_by, ..self.key }
    }
}

/// What usage of a meter means for credits.
#[derive(Debug)]
pub enum CreditUse {
    /// It draws.
    Draws(Drawing),
    /// It is paid in money, and counts as used where a part of the same period draws.
    Passes,
}

impl CreditUse {
    /// Takes the mark of a period on with usage: how that draws, and what it is worth. Where the turn that
    /// begins the period is late nothing draws before it.
    pub fn take_on(
        &self,
        mark: &mut Mark,
        usage: Usage,
        is_ahead: bool,
    ) -> Option<(&Drawing, Credits)> {
        match self {
            Self::Passes => mark.skip(usage),
            Self::Draws(_) if is_ahead => mark.defer(usage),
            Self::Draws(drawing) => return Some((drawing, mark.enter(usage, &drawing.terms))),
        }
        None
    }
}

/// A segment that an event enters.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'r> {
    /// What counts it there.
    pub key: SegmentKey,
    /// The segment that its period began with.
    pub opened_by: u32,
    /// Whether the turn that begins the segment is late.
    pub is_ahead: bool,
    /// The place of the subscription among those of its customer, by id.
    pub rank: usize,
    /// What it means for credits.
    pub credit: Option<&'r CreditUse>,
}

impl Routes {
    /// Replaces the segments of a subscription by those that it has now.
    pub fn put<'p>(
        &mut self,
        subscription: &Subscription,
        product: impl Fn(Terms) -> Option<&'p Product>,
    ) {
        let place = subscription.customer.position();
        let Self { of_customer, meters: known } = self;
        let price_of =
            |terms: Terms| product(terms).and_then(|product| product.price_at(terms.version));
        let closing = subscription.closing.iter().map(|closing| &closing.segment);
        let of_others = |segment: &Segment| {
            let all = closing.clone().chain(&subscription.running);
            let (number, opened_by) = (segment.number, segment.opened_by);
            all.filter(move |other| other.opened_by == opened_by && other.number != number)
        };
        // Whether another part of the same period draws for a meter.
        let is_drawn = |meter: MeterIndex, segment: &Segment| {
            let prices = of_others(segment).filter_map(|other| price_of(other.terms));
            let mut meters = prices.flat_map(Price::meters);
            meters.any(|price| price.meter == meter && price.rate.credits().is_some())
        };
        let mut meters = |terms: Terms, segment: Option<&Segment>| -> Meters {
            let is_alone = segment.is_none_or(|segment| of_others(segment).next().is_none());
            if let Some(known) = known.get(&terms).filter(|_| is_alone) {
                return Meters::clone(known);
            }
            let Some(price) = price_of(terms) else { return Meters::default() };
            let counted = price.meters().iter().map(|of_meter| {
                let credit = drawing(of_meter, attachments(subscription, terms, price));
                let credit = credit.map(CreditUse::Draws).or_else(|| {
                    let passes = segment.is_some_and(|segment| is_drawn(of_meter.meter, segment));
                    passes.then_some(CreditUse::Passes)
                });
                Counted { meter: of_meter.meter, credit: credit.map(Box::new) }
            });
            let meters: Meters = counted.collect();
            if meters.iter().all(|counted| counted.credit.is_none()) {
                known.insert(terms, Meters::clone(&meters));
            }
            meters
        };
        let closing = subscription.closing.iter().map(|closing| (&closing.segment, None));
        let running = subscription.running.iter().map(|segment| {
            let goes_on = !subscription.cancel_at_next_billing_date
                && segment.period.end < subscription.cycle.expires_at;
            (segment, goes_on.then(|| cycle_ahead(subscription)))
        });
        let mut routes = closing
            .chain(running)
            .map(|(segment, ahead)| Route {
                id: subscription.id.clone(),
                subscription: subscription.index,
                segment: segment.number,
                opened_by: segment.opened_by,
                period: segment.period,
                meters: meters(segment.terms, Some(segment)),
                ahead: ahead.map(|(cycle, terms)| Ahead::new(&cycle, meters(terms, None))),
            })
            .filter(|route| {
                let follow = route.ahead.as_ref().is_some_and(|ahead| !ahead.meters.is_empty());
                !route.meters.is_empty() || follow
            })
            .peekable();
        if of_customer.len() <= place {
            if routes.peek().is_none() {
                return;
            }
            of_customer.resize_with(place + 1, Vec::new);
        }
        if let Some(all) = of_customer.get_mut(place) {
            put_own(all, subscription, routes);
        }
    }

    /// Whether nobody has ever had a segment that events enter.
    pub fn is_empty(&self) -> bool {
        self.of_customer.is_empty()
    }

    /// Whether events of a customer may enter any segment.
    pub fn is_any(&self, customer: CustomerIndex) -> bool {
        self.of_customer.get(customer.position()).is_some_and(|routes| !routes.is_empty())
    }

    /// Reads the first and the last segment of a customer; see [`warm`](super::warm).
    pub(super) fn look_at(&self, customer: CustomerIndex) {
        let routes = self.of_customer.get(customer.position()).map_or(&[][..], Vec::as_slice);
        std::hint::black_box([routes.first(), routes.last()].map(|route| {
            let read = |route: &Route| (route.segment, route.period, route.ahead.is_some());
            route.map(read)
        }));
    }

    /// Names each segment that an event of this customer enters under this meter.
    pub fn each<'r>(
        &'r self,
        customer: CustomerIndex,
        meter: MeterIndex,
        at: Timestamp,
        mut enter: impl FnMut(Entry<'r>),
    ) {
        let Some(routes) = self.of_customer.get(customer.position()) else { return };
        for (rank, route) in routes.iter().enumerate() {
            let subscription = route.subscription;
            if route.period.holds(at) {
                if let Some(counted) = find(&route.meters, meter) {
                    enter(Entry {
                        key: SegmentKey { subscription, segment: route.segment, meter },
                        opened_by: route.opened_by,
                        is_ahead: false,
                        rank,
                        credit: counted.credit.as_deref(),
                    });
                }
            } else if at >= route.period.end
                && let Some(ahead) = &route.ahead
                && let Some(counted) = find(&ahead.meters, meter)
                && let Some(later) = ahead.segments_later(at)
            {
                let segment = route.segment + later;
                enter(Entry {
                    key: SegmentKey { subscription, segment, meter },
                    opened_by: segment,
                    is_ahead: true,
                    rank,
                    credit: counted.credit.as_deref(),
                });
            }
        }
    }

    /// How a meter draws under the price that a subscription of this customer runs under.
    pub fn drawing(
        &self,
        customer: CustomerIndex,
        subscription: SubscriptionIndex,
        (segment, meter): (u32, MeterIndex),
    ) -> Option<(usize, &Drawing)> {
        let routes = self.of_customer.get(customer.position())?;
        let is_wanted =
            |route: &Route| route.subscription == subscription && route.segment == segment;
        let (rank, route) = routes.iter().enumerate().find(|(_, route)| is_wanted(route))?;
        match find(&route.meters, meter)?.credit.as_deref()? {
            CreditUse::Draws(drawing) => Some((rank, drawing)),
            CreditUse::Passes => None,
        }
    }
}

/// Puts the routes of a subscription in the place of those that it had, among those of its customer.
fn put_own(all: &mut Vec<Route>, of: &Subscription, new: impl Iterator<Item = Route>) {
    let start = all.partition_point(|route| route.id < of.id);
    let is_own = |route: &&Route| route.subscription == of.index;
    let own = all.iter().skip(start).take_while(is_own).count();
    // Most customers have one subscription: none has room for what it will never have. One that runs will be
    // closing while the next one does: room for both is made at once, not when everybody's turn has come.
    let most = of.running.map_or(of.closing.len(), |_| 1 + of.closing.len().max(1));
    all.reserve_exact(most.saturating_sub(own));
    replace(all, start..start + own, new);
}

/// Puts `new` where `old` stands, one over the other as far as both go: what is not moved costs nothing.
fn replace<T>(all: &mut Vec<T>, old: Range<usize>, new: impl Iterator<Item = T>) {
    let mut place = old.start;
    for entry in new {
        match all.get_mut(place).filter(|_| place < old.end) {
            Some(known) => *known = entry,
            None => all.insert(place, entry),
        }
        place += 1;
    }
    if place < old.end {
        all.drain(place..old.end);
    }
}

fn find(meters: &[Counted], meter: MeterIndex) -> Option<&Counted> {
    meters.iter().find(|counted| counted.meter == meter)
}

/// The settings of credits that a subscription has under a price: its own, where it runs under that.
fn attachments<'a>(
    subscription: &'a Subscription,
    terms: Terms,
    price: &'a Price,
) -> &'a [Attachment] {
    if terms == subscription.terms { &subscription.credits } else { &price.credits }
}

fn drawing(price: &MeterPrice, attachments: &[Attachment]) -> Option<Drawing> {
    let link = price.rate.credits()?;
    let attached = attachments.iter().find(|found| found.entitlement == link.entitlement)?;
    Some(Drawing {
        entitlement: link.entitlement,
        terms: DrawTerms {
            free_threshold: price.free_threshold,
            units_per_credit: link.units_per_credit,
            precision: attached.precision,
        },
        overage: attached.terms.overage,
        low_below: low_balance_threshold(attached),
    })
}

impl Ahead {
    fn new(cycle: &Cycle, meters: Meters) -> Self {
        let Cycle { anchor, interval, next_boundary, expires_at, .. } = *cycle;
        Self { anchor, interval, next_boundary, expires_at, meters }
    }

    /// How many segments after the running one `at` lies; nothing when the subscription is over then.
    fn segments_later(&self, at: Timestamp) -> Option<u32> {
        let Self { anchor, interval, next_boundary, expires_at, .. } = *self;
        if at >= expires_at {
            return None;
        }
        let ends = (next_boundary..u32::MAX).map(|k| boundary(anchor, interval, k));
        let place = ends.take_while(|end| end.is_some_and(|end| end <= at)).count();
        u32::try_from(place + 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn replacing_is_splicing(
            mut all in prop::collection::vec(0..9_u8, 0..8),
            (start, length) in (any::<prop::sample::Index>(), 0..4_usize),
            new in prop::collection::vec(10..19_u8, 0..4),
        ) {
            let start = start.index(all.len() + 1);
            let old = start..all.len().min(start + length);
            let mut expected = all.clone();
            expected.splice(old.clone(), new.clone());
            replace(&mut all, old, new.into_iter());
            prop_assert_eq!(all, expected);
        }
    }
}
