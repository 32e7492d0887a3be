//! Accumulate: what an admitted request adds to the state, two accumulators an event.
//!
//! Question: how fast can the committer apply, with far more accumulators than caches hold?
//! And what does it cost beside that when an alert watches all customers of one of the meters?
//! Bound: 150 ns an event of one accumulator in the prototype (a miss of the cache, not arithmetic),
//! so 300 ns here.

use std::sync::Arc;
use std::time::Duration;

use quipu::engine::alerts::headroom::Headroom;
use quipu::engine::state::{Admitted, AdmittedRequest, Record, State};
use quipu::engine::stripes::{Delta, Key};
use quipu::metering::{Kind, Sample};
use quipu::model::alert::{Alert, Threshold};
use quipu::model::{
    AlertId, AlertIndex, CustomerIndex, Hour, Lsn, MeterIndex, Quantity, Timestamp,
};

use crate::body::{REQUEST_EVENTS, mix, spread};
use crate::input::arrival;
use crate::{Scale, Stage};

const METERS: [(MeterIndex, Kind); 2] = [(MeterIndex(0), Kind::Count), (MeterIndex(1), Kind::Sum)];

struct Accumulate {
    state: State,
    customers: u32,
    next: u64,
    record: Record,
}

pub(crate) fn new(scale: Scale) -> Box<dyn Stage> {
    Box::new(accumulate(scale))
}

/// With an alert on everybody's count that is far from its threshold.
pub(crate) fn watched(scale: Scale) -> Box<dyn Stage> {
    let stage = accumulate(scale);
    let (meter, _) = METERS[0];
    let alert = Alert {
        id: AlertId::new("alr_1"),
        index: AlertIndex(0),
        name: None,
        threshold: Threshold::Usage { meter, at_least: Quantity::from_count(1 << 40) },
        customer: None,
        created_at: arrival(),
        deleted: false,
    };
    stage.state.with_alerts(|alerts| {
        alerts.put(&Arc::new(alert));
        drop(alerts.begin_round());
        for customer in 0..stage.customers {
            let left = Headroom::new(Timestamp::default(), Quantity::from_count(1 << 40));
            alerts.leave_headroom((CustomerIndex(customer), meter), left);
        }
    });
    Box::new(stage)
}

fn accumulate(scale: Scale) -> Accumulate {
    let customers = match scale {
        Scale::Timed => 500_000,
        Scale::Counted => 5_000,
    };
    let record = Record::Events(Admitted::default());
    let mut stage = Accumulate { state: State::default(), customers, next: 1, record };
    // Every customer has both accumulators before anything is measured.
    for first in (0..u64::from(customers)).step_by(1_000) {
        stage.record = record_of(stage.next, |event| first + event);
        stage.run();
    }
    stage
}

/// A moment after the events happened, as always but under a clock that stands still.
fn decided_at() -> Timestamp {
    arrival().plus(Duration::from_millis(1))
}

/// The record of a request; `customer` says whose the event at a place of it is.
fn record_of(first: u64, customer: impl Fn(u64) -> u64) -> Record {
    let deltas = (0..REQUEST_EVENTS).flat_map(|event| {
        let customer = u32::try_from(customer(event)).expect("customers are few");
        let lsn = Lsn(first + event);
        let value = Quantity::from_count(1_000 + mix(lsn.0) % 9_000);
        METERS.map(|(meter, kind)| Delta {
            key: Key { meter, customer: CustomerIndex(customer), hour: Hour::of(arrival()) },
            kind,
            outcome: Ok(Sample { value, at: arrival(), lsn }),
        })
    });
    let deltas: Vec<Delta> = deltas.collect();
    let requests =
        vec![AdmittedRequest { lsn: Lsn(first), log_time: decided_at(), deltas_end: deltas.len() }];
    let (event_count, created) = (REQUEST_EVENTS, Vec::new());
    Record::Events(Admitted { event_count, created, deltas, requests })
}

impl Stage for Accumulate {
    fn items(&self) -> u64 {
        REQUEST_EVENTS
    }

    fn prepare(&mut self) {
        let (first, customers) = (self.next, self.customers.into());
        self.record = record_of(first, |event| spread(first + event, customers));
    }

    fn run(&mut self) {
        self.state.apply(Lsn(self.next), decided_at(), &self.record);
        self.next += REQUEST_EVENTS;
    }
}
