//! Decode: from the bytes of a body to events that may be admitted.
//!
//! Question: what does an event of a full body cost before anything is looked up?
//! Bound: 345 ns an event, what the prototype on sonic-rs took for the same on one core of the
//! reference machine, timestamp and decimal included. `benches/parsers.rs` compares decoders alone.

use std::hint::black_box;

use quipu::http::decode::decode_each;
use quipu::metering::validate;

use crate::body::{REQUEST_EVENTS, body};
use crate::input::{arrival, rules};
use crate::{Scale, Stage};

struct Decode {
    body: String,
}

pub(crate) fn new(_scale: Scale) -> Box<dyn Stage> {
    Box::new(Decode { body: body(0, 100_000) })
}

impl Stage for Decode {
    fn items(&self) -> u64 {
        REQUEST_EVENTS
    }

    fn run(&mut self) {
        let (arrival, rules) = (arrival(), rules());
        let decoded = decode_each(black_box(self.body.as_bytes()), 1_000, |raw| {
            black_box(validate(raw, arrival, &rules).expect("the event keeps to the rules"));
        });
        decoded.expect("the body is well formed");
    }
}
