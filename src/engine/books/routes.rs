//! Which segments an event of a customer enters.
//!
//! The segments of a subscription never overlap, so an event enters one of each at most. A boundary
//! that has passed and whose turn is late does not hold events up: those behind it enter the segment
//! that the turn will begin.

use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::billing::{boundary, cycle_ahead};
use crate::engine::striped::StripedKey;
use crate::model::subscription::Cycle;
use crate::model::{
    CustomerIndex, MeterIndex, Period, Price, Product, Subscription, SubscriptionIndex, Terms,
    Timestamp,
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
    /// By customer; those who subscribe to nothing with a meter have none.
    of_customer: Vec<Vec<Route>>,
    /// The meters of a price, which never change, and the price: shared by all routes.
    meters: HashMap<Terms, Meters>,
}

type Meters = Arc<[MeterIndex]>;

/// One segment.
#[derive(Debug)]
struct Route {
    subscription: SubscriptionIndex,
    segment: u32,
    period: Period,
    meters: Meters,
    /// Of the running segment of a subscription that goes on.
    ahead: Option<Ahead>,
}

/// What follows a running segment.
#[derive(Debug)]
struct Ahead {
    /// The cycle as the next turn leaves it.
    cycle: Cycle,
    meters: Meters,
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
        let mut meters = |terms: Terms| {
            if let Some(known) = known.get(&terms) {
                return Meters::clone(known);
            }
            let price = product(terms).and_then(|product| product.price_at(terms.version));
            let meters = price.into_iter().flat_map(Price::meters);
            let meters: Meters = meters.map(|meter| meter.meter).collect();
            if price.is_some() {
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
                subscription: subscription.index,
                segment: segment.number,
                period: segment.period,
                meters: meters(segment.terms),
                ahead: ahead.map(|(cycle, terms)| Ahead { cycle, meters: meters(terms) }),
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
            all.retain(|route| route.subscription != subscription.index);
            all.extend(routes);
        }
    }

    /// Whether events of a customer may enter any segment.
    pub fn is_any(&self, customer: CustomerIndex) -> bool {
        self.of_customer.get(customer.position()).is_some_and(|routes| !routes.is_empty())
    }

    /// Names each segment that an event of this customer enters under this meter.
    pub fn each(
        &self,
        customer: CustomerIndex,
        meter: MeterIndex,
        at: Timestamp,
        mut enter: impl FnMut(SegmentKey),
    ) {
        let Some(routes) = self.of_customer.get(customer.position()) else { return };
        for route in routes {
            let subscription = route.subscription;
            if route.period.holds(at) {
                if route.meters.contains(&meter) {
                    enter(SegmentKey { subscription, segment: route.segment, meter });
                }
            } else if at >= route.period.end
                && let Some(ahead) = &route.ahead
                && ahead.meters.contains(&meter)
                && let Some(later) = ahead.segments_later(at)
            {
                enter(SegmentKey { subscription, segment: route.segment + later, meter });
            }
        }
    }
}

impl Ahead {
    /// How many segments after the running one `at` lies; nothing when the subscription is over then.
    fn segments_later(&self, at: Timestamp) -> Option<u32> {
        let Cycle { anchor, interval, next_boundary, expires_at, .. } = self.cycle;
        if at >= expires_at {
            return None;
        }
        let ends = (next_boundary..u32::MAX).map(|k| boundary(anchor, interval, k));
        let place = ends.take_while(|end| end.is_some_and(|end| end <= at)).count();
        u32::try_from(place + 1).ok()
    }
}
