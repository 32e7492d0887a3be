//! Evaluate: what an event means to the meters, and the fingerprint of its content.
//!
//! Question: what do four meters cost, two of them with a filter, one of which has two levels?
//! Bound: less than decoding the event, so that meters are never what ingest waits for. The
//! prototypes had one meter without a filter, at about 10 ns.

use std::hint::black_box;

use quipu::metering::{Fingerprinter, Lateness, MeterSet, evaluate};
use quipu::model::{Event, Settings};

use crate::body::{REQUEST_EVENTS, body};
use crate::input::{arrival, events, meters};
use crate::{Scale, Stage};

struct Evaluate {
    meters: MeterSet,
    fingerprinter: Fingerprinter,
    events: Vec<(Event<'static>, Lateness)>,
}

pub(crate) fn new(_scale: Scale) -> Box<dyn Stage> {
    // Lives as long as the process: events borrow from it.
    let body: &'static str = String::leak(body(0, 100_000));
    let meters = MeterSet::new(&meters(), Settings::default(), 1);
    let fingerprinter = Fingerprinter::default();
    Box::new(Evaluate { meters, fingerprinter, events: events(body, arrival()) })
}

impl Stage for Evaluate {
    fn items(&self) -> u64 {
        REQUEST_EVENTS
    }

    fn run(&mut self) {
        for (event, _) in &self.events {
            evaluate(&self.meters, event, |contribution| {
                black_box(contribution);
            });
            black_box(self.fingerprinter.fingerprint(event));
        }
    }
}
