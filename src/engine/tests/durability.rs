//! Acknowledged events survive: every disk operation is made to fail, and the machine to stop.
//!
//! After each failure the process ends and the machine crashes in three ways. What was answered must
//! be there once; what was not answered, whole requests of it or nothing.

use std::time::Duration;

use super::model::Model;
use super::rig::{Crash, Place, tiny};
use super::story::meter_of;
use super::trial::{Trial, check};
use crate::engine::backfill::Step;
use crate::engine::checkpoint::Progress;
use crate::engine::command::Command;
use crate::engine::machine::Fatal;
use crate::engine::options::Options;
use crate::model::Aggregation;
use crate::world::sim::{FaultKind, Repeat};

#[derive(Clone, Copy, Debug)]
enum Failure {
    Fails(FaultKind, Repeat),
    /// The power goes before the operation.
    Stops,
}

const FAILURES: [Failure; 6] = [
    Failure::Fails(FaultKind::Io, Repeat::Once),
    Failure::Stops,
    Failure::Fails(FaultKind::NoSpace, Repeat::Forever),
    Failure::Fails(FaultKind::ShortWrite, Repeat::Once),
    Failure::Fails(FaultKind::Io, Repeat::Forever),
    Failure::Fails(FaultKind::ShortWrite, Repeat::Forever),
];

fn crashes(seed: u64) -> [Crash; 3] {
    [Crash::Killed, Crash::DropsAll, Crash::Random(seed)]
}

impl Place {
    fn fail_at(&self, operation: u64, failure: Failure) {
        match failure {
            Failure::Fails(kind, repeat) => self.disk.fail_at(operation, kind, repeat),
            Failure::Stops => self.disk.stop_at(operation),
        }
    }
}

type Phase = fn(&mut Trial) -> Result<(), Fatal>;

/// How often a failing disk was tried, so that a phase cannot silently become empty.
const POINTS_MIN: u64 = 400;

/// Gives `attempt` every operation of `operations` with as many failures as make enough points.
fn every_point(name: &str, operations: u64, mut attempt: impl FnMut(u64, Failure)) {
    let per_point = crashes(0).len() as u64;
    let rounds = POINTS_MIN.div_ceil(operations * per_point).min(FAILURES.len() as u64);
    for round in 0..rounds {
        for number in 0..operations {
            let failure = (number + round * 7 + round) % FAILURES.len() as u64;
            attempt(number, FAILURES[usize::try_from(failure).unwrap()]);
        }
    }
    let points = rounds * operations * per_point;
    println!("{name}: {operations} operations, {points} points");
    assert!(points >= POINTS_MIN || rounds == FAILURES.len() as u64);
}

/// Runs `phase` from the same beginning again and again, and makes each of its operations fail.
fn every_operation_fails(name: &str, base: &(Place, Model), phase: Phase) {
    let begin = || Trial::at(&base.0.fork(), base.1.clone(), 1);
    let mut whole = begin();
    let first = whole.rig.place.disk.operations() + 1;
    phase(&mut whole).unwrap();
    let operations = whole.rig.place.disk.operations() + 1 - first;
    every_point(name, operations, |number, failure| {
        let mut trial = begin();
        trial.rig.place.fail_at(first + number, failure);
        let _ended = phase(&mut trial);
        for crash in crashes(number) {
            trial.check_after(crash);
        }
    });
}

/// Makes each operation of a start fail, and starts again after another crash.
fn every_operation_of_a_start_fails(name: &str, base: &(Place, Model)) {
    let (place, model) = base;
    let whole = place.fork();
    whole.open();
    every_point(name, whole.disk.operations(), |number, failure| {
        let place = place.fork();
        place.fail_at(number + 1, failure);
        let _started = place.try_open();
        for crash in crashes(number) {
            check(&place.after(crash), model, &[]);
        }
    });
}

/// A place with meters, some events, a checkpoint and a few runs.
fn base(options: &Options) -> (Place, Model) {
    let mut trial = Trial::new(options, 7).with_meters();
    for _ in 0..20 {
        trial.send_any();
        trial.settle().unwrap();
        trial.rig.machine.flush.step().unwrap();
    }
    trial.rig.machine.checkpoint().unwrap();
    trial.send_any();
    trial.settle().unwrap();
    (trial.rig.place.after(Crash::Killed), trial.model)
}

fn ingest(trial: &mut Trial) -> Result<(), Fatal> {
    for round in 0..30 {
        for _ in 0..=round % 3 {
            trial.send_any();
        }
        if round % 5 == 0 {
            let command = trial.story.named_command(&trial.model);
            trial.propose(command);
        }
        trial.settle()?;
        if round % 4 == 0 {
            // A failure here is not the log's.
            drop(trial.rig.machine.upkeep.step(8 << 10));
        }
        if round % 11 == 0 {
            trial.rig.machine.writer.mark_idle()?;
        }
    }
    Ok(())
}

fn checkpoint(trial: &mut Trial) -> Result<(), Fatal> {
    for _ in 0..2 {
        trial.send_any();
        trial.settle()?;
        trial.advance(Duration::from_hours(3));
        trial.rig.machine.checkpointer.begin();
        let mut steps = 0;
        while trial.rig.machine.checkpointer.step()? != Progress::Finished {
            steps += 1;
            if steps % 300 == 1 {
                trial.send_any();
            }
            trial.settle()?;
        }
    }
    Ok(())
}

#[test]
fn events_survive_any_failure_of_ingest() {
    every_operation_fails("ingest", &base(&tiny()), ingest);
}

#[test]
fn events_survive_any_failure_of_a_checkpoint() {
    every_operation_fails("checkpoint", &base(&tiny()), checkpoint);
}

fn history(trial: &mut Trial) -> Result<(), Fatal> {
    for _ in 0..4 {
        // A failure here is not the log's; the job begins anew.
        while trial.rig.machine.sealer.step().is_ok_and(|worked| worked) {}
        drop(trial.rig.machine.retire());
        trial.send_any();
        trial.settle()?;
        trial.advance(Duration::from_mins(2));
    }
    Ok(())
}

/// A place whose log has segments that history may take.
fn base_with_full_segments() -> (Place, Model) {
    let options = Options { generation_ids: 16, ..tiny() };
    let (place, model) = base(&options);
    let mut trial = Trial::at(&place, model, 8);
    for _ in 0..2 {
        for _ in 0..30 {
            trial.send_any();
            trial.settle().unwrap();
        }
        trial.rig.flush_all();
        trial.rig.machine.checkpoint().unwrap();
    }
    (trial.rig.place.after(Crash::Killed), trial.model)
}

#[test]
fn events_survive_any_failure_of_history() {
    every_operation_fails("history", &base_with_full_segments(), history);
}

/// Makes each operation of `job` fail once. The process ends, the machine does not: what failed to be durable
/// can still be read, and no later sync makes it so. The next process does the job again, lives on, and then
/// the power goes.
fn no_doubt_is_inherited(name: &str, base: &(Place, Model), job: Phase) {
    let begin = |place: &Place, model: &Model| Trial::at(place, model.clone(), 1);
    let mut whole = begin(&base.0.fork(), &base.1);
    let first = whole.rig.place.disk.operations() + 1;
    job(&mut whole).unwrap();
    let operations = whole.rig.place.disk.operations() + 1 - first;
    println!("{name}: {operations} operations");
    assert!(operations > 4, "{name} has work to do");
    for number in 0..operations {
        let mut trial = begin(&base.0.fork(), &base.1);
        trial.rig.place.disk.fail_at(first + number, FaultKind::Io, Repeat::Once);
        let _ended = job(&mut trial);
        let mut next = begin(&trial.rig.place.after(Crash::Killed), &trial.model);
        job(&mut next).unwrap();
        for _ in 0..5 {
            next.send_any();
            next.settle().unwrap();
        }
        next.check_after(Crash::DropsAll);
    }
}

/// A snapshot whose name was not synced was written again under that name, and a checkpoint relied on it: a
/// power cut took the name, and the start after it was refused.
#[test]
fn a_checkpoint_relies_on_nothing_that_an_earlier_one_left_in_doubt() {
    no_doubt_is_inherited("checkpoint", &base(&tiny()), |trial| trial.rig.machine.checkpoint());
}

/// A file of history whose name was not synced was found by the next process, which let the log go.
#[test]
fn history_relies_on_nothing_that_an_earlier_process_left_in_doubt() {
    no_doubt_is_inherited("history", &base_with_full_segments(), |trial| {
        while trial.rig.machine.sealer.step().is_ok_and(|worked| worked) {}
        drop(trial.rig.machine.retire());
        trial.advance(Duration::from_mins(2));
        Ok(())
    });
}

/// A place with events of some days, and two meters that have yet to count them.
fn base_with_new_meters() -> (Place, Model) {
    let mut trial = Trial::new(&tiny(), 9);
    for _ in 0..10 {
        trial.send_any();
        trial.settle().unwrap();
        trial.advance(Duration::from_hours(7));
    }
    trial.rig.machine.checkpoint().unwrap();
    let key = "tokens".to_owned();
    for aggregation in [Aggregation::Sum { key: key.clone() }, Aggregation::Last { key }] {
        trial.propose(Command::CreateMeter(meter_of("call", aggregation)));
        trial.settle().unwrap();
    }
    trial.rig.machine.checkpoint().unwrap();
    (trial.rig.place.after(Crash::Killed), trial.model)
}

fn backfill(trial: &mut Trial) -> Result<(), Fatal> {
    // A disk that is never read again keeps it waiting.
    for _ in 0..500 {
        match trial.backfill(1)? {
            Step::Idle => break,
            Step::Working => {}
            Step::Waiting => trial.advance(Duration::from_secs(1)),
        }
        if trial.story.dice.one_in(10) {
            trial.send_any();
            trial.settle()?;
        }
    }
    Ok(())
}

#[test]
fn a_new_meter_counts_every_event_after_any_failure_of_its_backfill() {
    every_operation_fails("backfill", &base_with_new_meters(), backfill);
}

#[test]
fn events_survive_any_failure_of_a_start() {
    every_operation_of_a_start_fails("start", &base(&tiny()));
}

#[test]
fn a_first_start_can_fail_anywhere() {
    let options = tiny();
    let nothing = (Place::new(options.clone()), Model::new(&options));
    every_operation_of_a_start_fails("first start", &nothing);
}

#[test]
fn events_survive_any_failure_while_a_damaged_index_is_rebuilt() {
    let (place, model) = base(&tiny());
    let size = place.disk.image(crate::storage::index::FILE).len() as u64;
    for offset in (0..size).step_by(64) {
        place.disk.flip_bit(crate::storage::index::FILE, offset, 3);
    }
    every_operation_of_a_start_fails("rebuild", &(place, model));
}

/// The name of the segment that a start begins was vouched for before its directory was synced: when that
/// sync failed, the next start relied on the name, and a power cut took it and what it held.
#[test]
fn a_start_after_one_that_failed_relies_on_nothing_that_is_in_doubt() {
    let (place, model) = base(&tiny());
    // A segment that holds nothing but a group that nothing vouches for.
    let mut trial = Trial::at(&place, model, 3);
    trial.send_any();
    trial.settle().unwrap();
    let options = tiny();
    let nothing = (Place::new(options.clone()), Model::new(&options));
    for (place, model) in [(trial.rig.place.after(Crash::Killed), trial.model), nothing] {
        let whole = place.fork();
        whole.open();
        for number in 0..whole.disk.operations() {
            let place = place.fork();
            place.disk.fail_at(number + 1, FaultKind::Io, Repeat::Once);
            let _started = place.try_open();
            // The process is gone, the machine is not: what failed to be durable can still be read.
            let mut trial = Trial::at(&place.after(Crash::Killed), model.clone(), 4);
            for _ in 0..20 {
                trial.send_any();
                trial.settle().unwrap();
            }
            trial.check_after(Crash::DropsAll);
        }
    }
}
