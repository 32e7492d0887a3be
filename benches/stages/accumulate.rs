//! Accumulate: what an admitted request adds to the state, two accumulators an event.
//!
//! Question: how fast can the committer apply, with far more accumulators than caches hold?
//! Bound: 150 ns an event of one accumulator in the prototype (a miss of the cache, not arithmetic),
//! so 300 ns here.

use std::time::Duration;

use quipu::engine::state::{Admitted, AdmittedRequest, Record, State};
use quipu::engine::stripes::{Delta, Key};
use quipu::metering::{Kind, Sample};
use quipu::model::{CustomerIndex, Hour, Lsn, MeterIndex, Quantity, Timestamp};

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
    Box::new(stage)
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
