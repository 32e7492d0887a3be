//! When the next checkpoint is due.

use std::time::Duration;

use super::goods::new_meter;
use super::rig::{Crash, Rig, Sent, start_time, tiny};
use crate::engine::Command;
use crate::engine::options::Options;
use crate::model::Aggregation;

/// What is set.
const EVENTS: u64 = 4;

/// An engine with a checkpoint that has an accumulator for each of so many customers, and one for everybody.
fn with_checkpoint(customers: usize) -> Rig {
    let mut rig = Rig::new(Options { checkpoint_events: EVENTS, ..tiny() });
    rig.change(Command::CreateMeter(new_meter(Aggregation::Count))).unwrap();
    // Not of this very instant: those wait for their time to come, and count as well.
    let at = start_time().minus(Duration::from_secs(1));
    for customer in 0..customers {
        let event = Sent::new(format!("of-{customer}"), &format!("c{customer}"));
        rig.ingest(&[event.at(at)]).unwrap();
    }
    rig.machine.checkpoint().unwrap();
    rig
}

/// How many events come until a checkpoint is due.
fn events_until_due(rig: &mut Rig) -> u64 {
    let mut sent = 0;
    while !rig.machine.checkpointer.is_due() {
        rig.ingest(&[Sent::new(format!("then-{sent}"), "c")]).unwrap();
        sent += 1;
    }
    sent
}

#[test]
fn it_is_after_as_many_records_as_are_set_or_as_the_last_has_accumulators() {
    for (customers, expected) in [(0, 4), (1, 4), (3, 4), (4, 5), (9, 10), (11, 12), (40, 12)] {
        let mut rig = with_checkpoint(customers);
        let place = rig.place.after(Crash::Killed);
        assert_eq!(events_until_due(&mut rig), expected, "with {customers} customers");
        assert_eq!(events_until_due(&mut place.open()), expected, "and after a restart");
    }
}
