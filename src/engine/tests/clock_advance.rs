//! A test clock that is moved over due work, and what happens meanwhile.

use std::time::Duration;

use super::billing_runs::{greet, make_meter, make_product, said, subscribe, sum};
use super::rig::{Crash, Place, Rig, Sent, start_time, tiny};
use crate::engine::checkpoint::Progress;
use crate::engine::{Command, Engine};
use crate::model::Timestamp;
use crate::model::price::{Interval, IntervalUnit};

const SUBSCRIPTIONS: usize = 60;
const DAY: Duration = Duration::from_hours(24);

/// Subscriptions of a week with some usage each, and an instant behind three closes of each.
fn prepared() -> (Place, Timestamp) {
    let place = Place::new(tiny());
    let mut rig = place.open_under_test_clock(start_time());
    let meter = make_meter(&mut rig, sum());
    greet(&mut rig, SUBSCRIPTIONS);
    let week = Interval { count: 1, unit: IntervalUnit::Week };
    let product = make_product(&mut rig, &[meter], week);
    for customer in 0..SUBSCRIPTIONS {
        subscribe(&mut rig, &format!("c{customer}"), &product);
    }
    let usage = |n: usize| Sent::new(format!("use-{n}"), &format!("c{n}")).with_tokens("7");
    let sent: Vec<Sent> = (0..SUBSCRIPTIONS).map(usage).collect();
    rig.ingest(&sent).unwrap();
    (rig.place.after(Crash::Killed), start_time().plus(DAY * 22 + place.options.grace))
}

fn invoices(engine: &Engine) -> usize {
    said(engine).len()
}

/// Takes in what waits, as far as it may.
fn admit_all(rig: &mut Rig) {
    while let Ok(submission) = rig.machine.queue.try_recv() {
        assert!(rig.machine.committer.admit(submission).is_none());
    }
}

/// Without it the rows of everything that is billed on the way wait in memory.
#[test]
fn a_checkpoint_gets_its_cut_while_a_clock_moves_when_rows_fill_the_memory() {
    let (mut place, end) = prepared();
    place.options.waiting_bytes_max = 1;
    let mut undisturbed = place.fork().open_under_test_clock(start_time());
    undisturbed.change(Command::AdvanceClock(end)).unwrap();
    let expected = said(&undisturbed.engine);
    assert_eq!(expected.len(), 4 * SUBSCRIPTIONS);

    let mut rig = place.open_under_test_clock(start_time());
    let advanced = rig.propose(Command::AdvanceClock(end), None);
    admit_all(&mut rig);
    let machine = &mut rig.machine;
    machine.committer.work();
    let mut group = machine.committer.take().expect("something is due");
    machine.checkpointer.begin();
    machine.committer.work();
    assert!(machine.committer.take().is_none(), "what is in flight is awaited");
    assert_eq!(machine.checkpointer.step().unwrap(), Progress::Waiting);
    machine.writer.write(&mut group).unwrap();
    machine.committer.finish(group);
    let cut_at = machine.shared.state.applied();
    machine.committer.work();
    assert_eq!(machine.checkpointer.step().unwrap(), Progress::Working);
    assert!(advanced.take().is_none(), "the clock is on its way");
    assert!(invoices(&rig.engine) < expected.len());

    rig.settle().unwrap();
    advanced.answer().unwrap();
    while rig.machine.checkpointer.step().unwrap() != Progress::Finished {}
    assert_eq!(rig.machine.checkpointer.lsn(), cut_at);
    assert_eq!(said(&rig.engine), expected);
    let again = rig.place.after(Crash::Killed).open_under_test_clock(start_time());
    assert_eq!(said(&again.engine), expected);
    assert!(again.replayed > 0);
}

#[test]
fn a_checkpoint_waits_for_a_clock_that_moves_over_few_rows() {
    let (place, end) = prepared();
    let mut rig = place.open_under_test_clock(start_time());
    let advanced = rig.propose(Command::AdvanceClock(end), None);
    admit_all(&mut rig);
    rig.machine.checkpointer.begin();
    rig.settle().unwrap();
    advanced.answer().unwrap();
    let arrived_at = rig.machine.shared.state.applied();
    while rig.machine.checkpointer.step().unwrap() != Progress::Finished {}
    assert_eq!(rig.machine.checkpointer.lsn(), arrived_at);
}

/// What is billed waits in memory until a checkpoint has it: so much of it makes one due, early or not.
#[test]
fn rows_that_wait_make_a_checkpoint_due() {
    let (mut place, end) = prepared();
    place.options.waiting_bytes_max = 32 << 10;
    let mut rig = place.open_under_test_clock(start_time());
    rig.machine.checkpoint().unwrap();
    assert!(!rig.machine.checkpointer.is_due());
    rig.change(Command::AdvanceClock(end)).unwrap();
    assert!(rig.machine.checkpointer.is_due());
    rig.machine.checkpoint().unwrap();
    assert!(!rig.machine.checkpointer.is_due());
    let again = rig.place.after(Crash::Killed).open_under_test_clock(start_time());
    assert_eq!((invoices(&again.engine), again.replayed), (4 * SUBSCRIPTIONS, 0));
}
