//! What records mean for alerts: whose counters they move, and what fires.

use std::sync::Arc;

use super::{Admitted, Applying, State};
use crate::engine::alerts::{Alerts, FiredEntry, Part, Touched};
use crate::model::alert::Watched;
use crate::model::{Alert, EventType, Subscription, Timestamp, Told};

impl State {
    /// Notes whose usage events have moved, where an alert watches it.
    pub(super) fn touch_usage(&self, admitted: &Admitted) {
        let mut alerts = self.alerts.lock();
        if alerts.is_empty() {
            return;
        }
        for delta in &admitted.deltas {
            alerts.count(delta);
        }
    }

    /// A subscription has changed: its usage may belong to another period now, and cost something else.
    pub(super) fn touch_subscription(&self, now: &Applying, subscription: &Subscription) {
        {
            let mut alerts = self.alerts.lock();
            if alerts.is_empty() {
                return;
            }
            alerts.forget_headroom_of(subscription.customer);
        }
        let Some(running) = &subscription.running else { return };
        let meters = self.books.read().meters(running.terms);
        let mut alerts = self.alerts.lock();
        for meter in meters {
            if alerts.is_watched(Watched::Meter(meter)) {
                alerts.touch(Touched::Usage(subscription.customer, meter), now.log_time);
            }
        }
    }

    /// Notes which pools a record has changed, where an alert watches them, and tells what it did to them.
    pub(super) fn pass_on_pools(&self, log_time: Timestamp) {
        let mut pools = self.pools.lock();
        let (touched, told) = (pools.take_touched(), pools.take_told());
        drop(pools);
        if !touched.is_empty() {
            let mut alerts = self.alerts.lock();
            for pool in touched {
                alerts.touch(Touched::Pool(pool), log_time);
            }
        }
        self.tell_of_credits(told);
    }

    pub(super) fn put_alert(&self, alert: &Arc<Alert>) {
        let mut alerts = self.alerts.lock();
        alerts.put(alert);
        let watched = alerts.watched_entitlements();
        drop(alerts);
        self.pools.lock().watch(watched);
    }

    pub(super) fn apply_fired(&self, now: &Applying, entry: &FiredEntry) {
        let told = self.alerts.lock().fire(entry, now.log_time);
        let mut outbox = self.outbox.lock();
        for told in told {
            let event = (EventType::UsageThresholdReached, now.log_time);
            outbox.tell(now.lsn, event, || Told::Threshold(Box::new(told)));
        }
    }

    /// Looks at the alerts.
    pub fn with_alerts<T>(&self, look: impl FnOnce(&mut Alerts) -> T) -> T {
        look(&mut self.alerts.lock())
    }

    /// Loads where alerts have fired, of a snapshot.
    pub fn load_fired(&self, part: Part) {
        let mut alerts = self.alerts.lock();
        for (key, until) in part {
            alerts.load_fired(key, until);
        }
    }

    /// Loads who was touched when a snapshot was made.
    pub fn load_touched(&self, touched: Vec<(Touched, Timestamp)>) {
        let mut alerts = self.alerts.lock();
        for (touched, since) in touched {
            alerts.touch(touched, since);
        }
    }
}
