//! Under `durability = "interval"` an answer comes before the sync: a killed process loses nothing,
//! a power cut a suffix, and no checkpoint or run may know more than the log.

use std::time::Duration;

use super::compare::{assert_known, assert_same};
use super::model::Model;
use super::rig::{Crash, Place, tiny};
use super::trial::Trial;
use crate::engine::checkpoint::Progress;
use crate::engine::options::Options;
use crate::storage::log::Durability;

fn options() -> Options {
    let durability = Durability::Interval(Duration::from_secs(1));
    Options { durability, generation_ids: 6, ..tiny() }
}

/// Opens a place that holds one of these models; gives the LSN of the one it holds.
fn check_prefix(place: &Place, models: &[Model]) -> u64 {
    let mut rig = place.fork().open();
    let lsn = rig.engine.stats().last_lsn.0;
    let model = models.iter().find(|model| model.lsn == lsn).expect("a whole group is the last");
    assert_same(&rig, model);
    assert_known(&mut rig, model);
    lsn
}

#[test]
fn a_power_cut_takes_a_suffix_whatever_jobs_have_done() {
    for seed in 0..30 {
        let mut trial = Trial::new(&options(), seed).with_meters();
        let mut models = vec![trial.model.clone()];
        for _ in 0..30 {
            trial.send_any();
            trial.settle().unwrap();
            models.push(trial.model.clone());
            trial.advance(Duration::from_millis(trial.story.dice.below(1_500)));
            let machine = &mut trial.rig.machine;
            match trial.story.dice.below(4) {
                0 => assert!(machine.flush.step().is_ok()),
                1 => {
                    machine.checkpointer.begin();
                    machine.settle().unwrap();
                    for _ in 0..3_000 {
                        if machine.checkpointer.step().unwrap() != Progress::Working {
                            break;
                        }
                    }
                }
                2 => machine.checkpoint().unwrap(),
                _ => {}
            }
        }
        let last = trial.model.lsn;
        assert_eq!(check_prefix(&trial.rig.place.after(Crash::Killed), &models), last);
        check_prefix(&trial.rig.place.after(Crash::DropsAll), &models);
        check_prefix(&trial.rig.place.after(Crash::Random(seed)), &models);
    }
}

#[test]
fn full_generations_are_flushed_without_waiting_for_the_interval() {
    let mut trial = Trial::new(&options(), 1);
    for _ in 0..100 {
        trial.send_any();
        trial.settle().unwrap();
    }
    assert_same(&trial.rig, &trial.model);
}
