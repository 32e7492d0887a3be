//! How far usage is from the nearest threshold: events that cannot bring it there touch nobody.
//!
//! Whoever looks at a customer's usage of a meter leaves here how much may come before an alert can fire, in
//! any period. Events spend it, as they are applied; one that finds none left touches its customer, who is
//! looked at. So an event that an alert watches costs a subtraction, and looks are as rare as thresholds are
//! far. Nothing of it is kept over a start: the first event of everybody touches again.

use std::collections::HashSet;

use crate::engine::stripes::Delta;
use crate::metering::accumulator::{Kind, Sample};
use crate::model::{CustomerIndex, MeterIndex, Quantity, Timestamp};

/// Units of a quantity in one of those that headroom is counted in, millionths.
const COARSER: u128 = 1_000_000;
const ONE: u64 = 1_000_000;

/// What a customer's usage of a meter may grow by before an alert on it can fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headroom {
    /// Nothing is known of events that are stamped earlier.
    from: Timestamp,
    /// In millionths, rounded down. Of a count or sum what is to come stays below it all together, of a maximum
    /// or last value each by itself.
    left: u64,
}

impl Headroom {
    /// Headroom for what is stamped at or after an instant: as long as what comes stays below `left`, all together
    /// or each value by itself as the meter aggregates, nothing fires.
    pub fn new(from: Timestamp, left: Quantity) -> Self {
        let units = if left > Quantity::ZERO { left.magnitude() } else { 0 };
        Self { from, left: u64::try_from(units / COARSER).unwrap_or(u64::MAX) }
    }

    /// Takes a value from it: whether it is certain that nothing fires. Otherwise nothing is left.
    fn spend(&mut self, kind: Kind, sample: &Sample) -> bool {
        let value = match kind {
            Kind::Count => ONE,
            Kind::Sum | Kind::Max | Kind::Last => rounded_up(sample.value),
        };
        if sample.at < self.from || value >= self.left {
            *self = Self::default();
            return false;
        }
        match kind {
            Kind::Count | Kind::Sum => self.left -= value,
            Kind::Max | Kind::Last => {}
        }
        true
    }
}

fn rounded_up(value: Quantity) -> u64 {
    // What is less than nothing is not relied on: headroom stays as it is.
    let units = if value > Quantity::ZERO { value.magnitude() } else { 0 };
    u64::try_from(units.div_ceil(COARSER)).unwrap_or(u64::MAX)
}

/// The headroom on each meter that some alert watches: 16 bytes a customer.
#[derive(Debug, Default)]
pub struct Headrooms {
    /// By meter; nothing of those that nobody watches.
    of: Vec<Option<Vec<Headroom>>>,
    /// What was forgotten since the last round of looks began: one of them may have seen what was before.
    stale_meters: HashSet<MeterIndex>,
    stale_customers: HashSet<CustomerIndex>,
}

impl Headrooms {
    /// An alert watches this meter; others may have, and nothing that was known holds.
    pub fn watch(&mut self, meter: MeterIndex) {
        self.stale_meters.insert(meter);
        if self.of.len() <= meter.position() {
            self.of.resize(meter.position() + 1, None);
        }
        if let Some(of) = self.of.get_mut(meter.position()) {
            *of = Some(Vec::new());
        }
    }

    /// No alert watches this meter any more.
    pub fn unwatch(&mut self, meter: MeterIndex) {
        if let Some(of) = self.of.get_mut(meter.position()) {
            *of = None;
        }
    }

    /// Nothing is known of anybody's usage of this meter.
    pub fn forget_meter(&mut self, meter: MeterIndex) {
        self.stale_meters.insert(meter);
        if let Some(Some(of)) = self.of.get_mut(meter.position()) {
            of.clear();
        }
    }

    /// Nothing is known of a customer's usage.
    pub fn forget_customer(&mut self, customer: CustomerIndex) {
        self.stale_customers.insert(customer);
        for of in self.of.iter_mut().flatten() {
            if let Some(headroom) = of.get_mut(customer.position()) {
                *headroom = Headroom::default();
            }
        }
    }

    /// Nothing is known of a customer's usage of a meter; a look that is under way may leave something.
    pub fn forget(&mut self, (customer, meter): (CustomerIndex, MeterIndex)) {
        if let Some(Some(of)) = self.of.get_mut(meter.position())
            && let Some(headroom) = of.get_mut(customer.position())
        {
            *headroom = Headroom::default();
        }
    }

    /// A round of looks begins: they see whatever was forgotten for.
    pub fn begin_round(&mut self) {
        self.stale_meters.clear();
        self.stale_customers.clear();
    }

    /// A customer's usage of a meter has been looked at in this round, and no event has touched it since the
    /// round began.
    pub fn leave(&mut self, (customer, meter): (CustomerIndex, MeterIndex), headroom: Headroom) {
        if self.stale_meters.contains(&meter) || self.stale_customers.contains(&customer) {
            return;
        }
        let Some(Some(of)) = self.of.get_mut(meter.position()) else { return };
        if of.len() <= customer.position() {
            of.resize(customer.position() + 1, Headroom::default());
        }
        if let Some(known) = of.get_mut(customer.position()) {
            *known = headroom;
        }
    }

    /// An event has been counted: when, if an alert may fire by it.
    pub fn spend(&mut self, delta: &Delta) -> Option<Timestamp> {
        let of = self.of.get_mut(delta.key.meter.position())?.as_mut()?;
        let sample = delta.outcome.as_ref().ok()?;
        let known = of.get_mut(delta.key.customer.position());
        let is_safe = known.is_some_and(|headroom| headroom.spend(delta.kind, sample));
        (!is_safe).then_some(sample.at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::alerts::{Alerts, Touched};
    use crate::engine::stripes::Key;
    use crate::model::alert::{Alert, Threshold};
    use crate::model::{AlertId, AlertIndex, Hour, Lsn};

    const OF: (CustomerIndex, MeterIndex) = (CustomerIndex(3), MeterIndex(1));

    fn alerts() -> Alerts {
        let mut alerts = Alerts::default();
        alerts.put(&alert(0));
        alerts
    }

    fn alert(index: u32) -> Arc<Alert> {
        Arc::new(Alert {
            id: AlertId::new(format!("alr_{index}")),
            index: AlertIndex(index),
            name: None,
            threshold: Threshold::Usage { meter: OF.1, at_least: Quantity::from_count(9) },
            customer: None,
            created_at: Timestamp::default(),
            deleted: false,
        })
    }

    /// One event of the customer: whether it touched.
    fn counts(alerts: &mut Alerts) -> bool {
        let at = Timestamp::from_nanos(5);
        let sample = Sample { value: Quantity::ZERO, at, lsn: Lsn(1) };
        let key = Key { meter: OF.1, customer: OF.0, hour: Hour::of(at) };
        alerts.count(&Delta { key, kind: Kind::Count, outcome: Ok(sample) });
        alerts.touched_since(&Touched::Usage(OF.0, OF.1)).is_some()
    }

    fn plenty() -> Headroom {
        Headroom::new(Timestamp::default(), Quantity::from_count(9))
    }

    fn looked_at(alerts: &mut Alerts) {
        drop(alerts.begin_round());
        alerts.leave_headroom(OF, plenty());
        alerts.end_round();
    }

    #[test]
    fn an_event_touches_when_none_is_left_and_what_is_earlier_always() {
        let mut alerts = alerts();
        assert!(counts(&mut alerts), "nobody has looked");
        looked_at(&mut alerts);
        assert_eq!((0..9).map(|_| counts(&mut alerts)).filter(|touches| *touches).count(), 1);
        drop(alerts.begin_round());
        alerts.leave_headroom(OF, Headroom::new(Timestamp::from_nanos(6), Quantity::from_count(9)));
        alerts.end_round();
        assert!(counts(&mut alerts), "it is stamped earlier");
    }

    #[test]
    fn a_look_leaves_nothing_when_something_has_come_or_changed_since_the_round_began() {
        let forget: [fn(&mut Alerts); 4] = [
            |alerts| assert!(counts(alerts)),
            |alerts| alerts.put(&alert(1)),
            |alerts| alerts.forget_headroom_on(OF.1),
            |alerts| alerts.forget_headroom_of(OF.0),
        ];
        for meanwhile in forget {
            let mut alerts = alerts();
            drop(alerts.begin_round());
            meanwhile(&mut alerts);
            alerts.leave_headroom(OF, plenty());
            alerts.end_round();
            assert!(counts(&mut alerts));
        }
    }

    #[test]
    fn what_is_put_back_has_no_headroom() {
        let mut alerts = alerts();
        counts(&mut alerts);
        drop(alerts.begin_round());
        alerts.leave_headroom(OF, plenty());
        // Another one of the round could not be read.
        alerts.put_back();
        drop(alerts.begin_round());
        counts(&mut alerts);
        alerts.leave_headroom(OF, plenty());
        alerts.end_round();
        assert!(counts(&mut alerts), "the look may not have seen the event before");
    }
}
