//! Random histories: whatever happens in whatever order, the engine says what the model says.

use std::time::Duration;

use super::compare::{assert_answers, assert_known, assert_same};
use super::rig::{Crash, tiny};
use super::trial::Trial;
use crate::engine::checkpoint::Progress;
use crate::engine::options::Options;

/// Things that happen in one history.
const STEPS: u64 = 120;

impl Trial {
    fn again(self, start: impl FnOnce(super::rig::Rig) -> super::rig::Rig) -> Self {
        assert!(self.waiting.is_empty(), "everything was answered before the end");
        Self { rig: start(self.rig), ..self }
    }

    /// A checkpoint that is stopped between its steps while ingest goes on.
    fn interleaved_checkpoint(&mut self) {
        self.rig.machine.checkpointer.begin();
        let pause = 1 + self.story.dice.below(400);
        for step in 0.. {
            if self.rig.machine.checkpointer.step().unwrap() == Progress::Finished {
                return;
            }
            if step % pause == 0 {
                self.send_any();
            }
            self.settle().unwrap();
        }
    }

    fn step(mut self) -> Self {
        match self.story.dice.below(24) {
            0..10 => {
                for _ in 0..=self.story.dice.below(4) {
                    self.send_any();
                }
                self.settle().unwrap();
            }
            10..13 => {
                let command = self.story.command(&self.model);
                self.propose(command);
                self.settle().unwrap();
            }
            13 | 14 => self.advance(Duration::from_mins(1 + self.story.dice.below(50))),
            15 => self.advance(Duration::from_hours(1 + self.story.dice.below(30))),
            16 => self.rig.machine.checkpoint().unwrap(),
            17 => self.interleaved_checkpoint(),
            18 => self.rig.flush_all(),
            19 => return self.again(super::rig::Rig::restart),
            20 => return self.again(|rig| rig.crash(Crash::Killed)),
            21 => return self.again(|rig| rig.crash(Crash::DropsAll)),
            22 => {
                let seed = self.story.dice.below(u64::MAX);
                return self.again(|rig| rig.crash(Crash::Random(seed)));
            }
            _ => assert_answers(&self.rig, &self.model, &self.story.dice, 3),
        }
        self
    }
}

fn history(options: &Options, seed: u64) {
    println!("seed {seed}");
    let mut trial = Trial::new(options, seed).with_meters();
    for _ in 0..STEPS {
        trial = trial.step();
    }
    assert_same(&trial.rig, &trial.model);
    assert_known(&mut trial.rig, &trial.model);
}

#[test]
fn every_history_ends_where_the_model_says() {
    for seed in 0..40 {
        history(&tiny(), seed);
    }
}

#[test]
fn numeric_strings_count_when_the_settings_say_so() {
    let mut options = tiny();
    options.settings.numeric_strings = true;
    for seed in 100..105 {
        history(&options, seed);
    }
}

#[test]
fn settings_count_from_the_start_that_changed_them() {
    let mut trial = Trial::new(&tiny(), 7).with_meters();
    for numeric_strings in [true, false, false, true] {
        for _ in 0..20 {
            trial.send_any();
        }
        trial.settle().unwrap();
        let mut place = trial.rig.place.after(Crash::Killed);
        place.options.settings.numeric_strings = numeric_strings;
        trial = Trial::at(&place, trial.model, 8 + u64::from(numeric_strings));
        trial.story.skip_ids(&trial.model);
        assert_same(&trial.rig, &trial.model);
    }
}
