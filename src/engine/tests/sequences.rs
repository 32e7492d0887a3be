//! Random histories: whatever happens in whatever order, the engine shows what the model says.

use std::time::Duration;

use super::compare::{assert_answers, assert_known, assert_same};
use super::rig::{Crash, Rig, Sent, tiny};
use super::trial::{End, Trial};
use crate::engine::checkpoint::Progress;
use crate::engine::options::{Options, UnknownCustomers};
use crate::metering::Rules;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A history of `steps` steps, no longer than `length_max`.
fn run(seed: u64, options: &Options, steps: usize, length_max: Duration) {
    let mut trial = Trial::new(options, seed);
    if seed.is_multiple_of(2) {
        trial = trial.with_meters();
    }
    if options.unknown_customers == UnknownCustomers::Reject {
        trial = trial.with_customers();
    }
    let mut length = Duration::ZERO;
    for _ in 0..steps {
        match trial.story.dice.below(100) {
            0..50 => requests(&mut trial),
            50..65 => {
                let step = time(&trial);
                if length + step <= length_max {
                    length += step;
                    trial.advance(step);
                }
            }
            65..95 => jobs(&mut trial),
            95..97 => assert_answers(&trial.rig, &trial.model, &trial.story.dice, 3),
            _ => {
                let end = end(&trial);
                let toggles = trial.story.dice.one_in(3);
                trial = trial.restarted(end, |options| {
                    options.settings.numeric_strings ^= toggles;
                });
                assert_same(&trial.rig, &trial.model);
            }
        }
    }
    assert_all(&mut trial);
    let end = end(&trial);
    assert_all(&mut trial.restarted(end, |_| ()));
}

fn assert_all(trial: &mut Trial) {
    assert_same(&trial.rig, &trial.model);
    trial.finish_backfills();
    assert_same(&trial.rig, &trial.model);
    assert_answers(&trial.rig, &trial.model, &trial.story.dice, 20);
    assert_known(&mut trial.rig, &trial.model);
}

/// A few requests and changes that the committer meets at once.
fn requests(trial: &mut Trial) {
    for _ in 0..=trial.story.dice.below(4) {
        if trial.story.dice.one_in(5) {
            let command = trial.story.command(&trial.model);
            trial.propose(command);
        } else {
            trial.send_any();
        }
    }
    trial.settle().unwrap();
}

fn time(trial: &Trial) -> Duration {
    let dice = &trial.story.dice;
    match dice.below(10) {
        0 => DAY * u32::try_from(1 + dice.below(4)).unwrap(),
        1..4 => HOUR * u32::try_from(1 + dice.below(30)).unwrap(),
        _ => Duration::from_secs(1 + dice.below(3_600)),
    }
}

fn jobs(trial: &mut Trial) {
    let count = 1 + trial.story.dice.below(4);
    let machine = &mut trial.rig.machine;
    match trial.story.dice.below(14) {
        0 => machine.checkpoint().unwrap(),
        1 | 2 => (0..count).for_each(|_| {
            machine.flush.step().unwrap();
        }),
        3 => drop(machine.upkeep.step(6 << 10).unwrap()),
        4 => machine.writer.mark_idle().unwrap(),
        // History may stop in the middle of a file.
        5 | 6 => (0..count * 4).for_each(|_| assert!(machine.sealer.step().is_ok())),
        7 => {
            machine.retire().unwrap();
        }
        8..=10 => drop(trial.backfill(count * 5).unwrap()),
        // A checkpoint goes on over many such steps, with anything else between them.
        _ => {
            machine.checkpointer.begin();
            machine.settle().unwrap();
            for _ in 0..count * 100 {
                if machine.checkpointer.step().unwrap() != Progress::Working {
                    break;
                }
            }
        }
    }
}

fn end(trial: &Trial) -> End {
    let seed = trial.story.dice.below(1_000);
    *trial.story.dice.pick(&[
        End::Stops,
        End::Crashes(Crash::Killed),
        End::Crashes(Crash::DropsAll),
        End::Crashes(Crash::Random(seed)),
    ])
}

#[test]
fn histories_of_a_month_agree_with_the_model() {
    for seed in 0..12 {
        // More than 32 runs, so that some are merged.
        let options = Options { generation_ids: 6, ..tiny() };
        run(seed, &options, 150, 30 * DAY);
    }
}

#[test]
fn late_events_of_days_agree_with_the_model() {
    let max_age = 50 * HOUR;
    let rules = Rules { max_age, max_ahead: Duration::from_mins(30) };
    let grace = max_age + Duration::from_mins(10);
    let options = Options { rules, grace, dedupe_window: Duration::ZERO, ..tiny() };
    for seed in 100..112 {
        run(seed, &options, 150, 100 * DAY);
    }
}

#[test]
fn histories_without_unknown_customers_agree_with_the_model() {
    let unknown_customers = UnknownCustomers::Reject;
    let options = Options { unknown_customers, generation_ids: 12, ..tiny() };
    for seed in 200..206 {
        run(seed, &options, 150, 30 * DAY);
    }
}

#[test]
fn histories_in_which_ids_are_forgotten_agree_with_the_model() {
    let options = Options { dedupe_window: 2 * DAY, generation_ids: 6, ..tiny() };
    for seed in 300..306 {
        run(seed, &options, 200, 60 * DAY);
    }
}

#[test]
fn an_id_is_forgotten_after_its_window_and_not_before() {
    let window = 7 * DAY;
    let options = Options { dedupe_window: window, generation_ids: 2, ..tiny() };
    let mut rig = Rig::new(options);
    let first = Sent::new("once", "cus-0");
    assert_eq!(rig.ingest(std::slice::from_ref(&first)).unwrap().new, 1);
    // It leaves with its whole generation, so that must not hold later ones.
    assert_eq!(rig.ingest(&[Sent::new("filler", "cus-0")]).unwrap().new, 1);
    let mut fillers = 0;
    let mut pass = |rig: &mut Rig, time| {
        rig.advance(time);
        for _ in 0..6 {
            fillers += 1;
            let filler = Sent::new(format!("filler-{fillers}"), "cus-0");
            assert_eq!(rig.ingest(&[filler]).unwrap().new, 1);
        }
        rig.flush_all();
    };
    pass(&mut rig, window);
    assert_eq!(rig.ingest(std::slice::from_ref(&first)).unwrap().duplicates, 1);
    // Ids leave by slices of a seventh of the window.
    pass(&mut rig, window / 7 + HOUR);
    let runs = rig.engine.stats().runs;
    let mut rig = rig.place.after(Crash::Killed).open();
    assert_eq!(rig.engine.stats().runs, runs);
    assert_eq!(rig.ingest(std::slice::from_ref(&first)).unwrap().new, 1);
    assert_eq!(rig.ingest(&[first]).unwrap().duplicates, 1);
}
