//! Alerts: a look at every customer whose counters have moved, none of which is at its threshold.
//!
//! Question: what does it cost to compare one customer's usage of a meter with the threshold of an alert that
//! watches all customers: usage of a UTC month, and of a period that a subscription bills?
//! Bound: none by itself. Events spend what a look leaves, so that looks are few: `accumulate_watched` is what that
//! costs, and `quipu bench --mode alerts` what ingest loses.

use tempfile::TempDir;

use quipu::engine::alerts::watch::Step;
use quipu::engine::command::Command;
use quipu::engine::command::alerts::{NewAlert, NewThreshold};
use quipu::model::{CustomerId, MeterIndex, Quantity};

use crate::body::REQUEST_EVENTS;
use crate::cycles::{product, subscription};
use crate::rig::{Rig, directory};
use crate::{Scale, Stage};

struct Alerts {
    rig: Rig,
    customers: u64,
    meter: MeterIndex,
    looked_at: u64,
    _directory: TempDir,
}

/// Customers whom no subscription bills.
pub(crate) fn of_months(scale: Scale) -> Box<dyn Stage> {
    Box::new(Alerts::new(scale, false))
}

/// Customers with a subscription each.
pub(crate) fn of_periods(scale: Scale) -> Box<dyn Stage> {
    Box::new(Alerts::new(scale, true))
}

impl Alerts {
    fn new(scale: Scale, are_billed: bool) -> Self {
        let customers = match scale {
            Scale::Timed => 20_000,
            Scale::Counted => 2_000,
        };
        let place = directory();
        let mut rig = Rig::new(place.path(), customers);
        (0..customers * 4 / REQUEST_EVENTS).for_each(|_| rig.ingest());
        let meter_id = rig.meter();
        if are_billed {
            let product = product(&mut rig, meter_id.clone());
            for number in 0..customers {
                let customer = CustomerId::new(format!("cus_{number:08}"));
                rig.change_if_possible(subscription(customer, product.clone()));
            }
        }
        let threshold = NewThreshold::Usage { meter_id, at_least: Quantity::from_count(1 << 40) };
        let alert = NewAlert { name: None, threshold, customer_id: None };
        rig.change_if_possible(Command::CreateAlert(Box::new(alert))).expect("an alert");
        let meter = MeterIndex(0);
        let mut stage = Self { rig, customers, meter, looked_at: 0, _directory: place };
        stage.prepare();
        stage
    }
}

impl Stage for Alerts {
    fn items(&self) -> u64 {
        self.looked_at
    }

    /// Events of most customers, of whom nothing is known.
    fn prepare(&mut self) {
        let state = &self.rig.recovered.machine.shared.state;
        state.with_alerts(|alerts| alerts.forget_headroom_on(self.meter));
        (0..self.customers / REQUEST_EVENTS).for_each(|_| self.rig.ingest());
        let state = &self.rig.recovered.machine.shared.state;
        self.looked_at = state.with_alerts(|alerts| alerts.parts().1.len() as u64);
    }

    fn run(&mut self) {
        while self.rig.recovered.machine.watcher.step() != Step::Idle {}
    }
}
