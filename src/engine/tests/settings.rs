//! Settings that change what an event counts are records: each event counts under those that were
//! in force when it was decided, also when the log is read again.

use super::compare::assert_same;
use super::rig::{Crash, Sent, Value, tiny};
use super::trial::{End, Trial, check};
use crate::model::Settings;

fn number_as_text(id: &str) -> Sent {
    Sent::new(id, "cus-0").with("tokens", Value::Text("12.5".to_owned()))
}

#[test]
fn a_changed_setting_is_logged_once_and_replay_keeps_to_it() {
    for has_checkpoints in [false, true] {
        let mut trial = Trial::new(&tiny(), 1).with_meters();
        for (round, numeric_strings) in
            [false, true, true, false, false, true].into_iter().enumerate()
        {
            let before = trial.model.lsn;
            let changes = trial.model.numeric_strings != numeric_strings;
            trial = trial.restarted(End::Crashes(Crash::Killed), |options| {
                options.settings = Settings { numeric_strings, ..Settings::default() };
            });
            let lsn = trial.rig.engine.stats().last_lsn.0;
            assert_eq!(lsn, before + u64::from(changes), "logged when it differs, and once");
            assert_same(&trial.rig, &trial.model);
            trial.send(vec![number_as_text(&format!("event-{round}"))]);
            trial.settle().unwrap();
            if has_checkpoints {
                trial.rig.machine.checkpoint().unwrap();
            }
        }
        let skipped = trial.model.counted.iter().filter(|row| row.units.is_err()).count();
        assert_eq!(skipped, 3 * 3, "three meters that want a number skipped three events");
        check(&trial.rig.place.after(Crash::DropsAll), &trial.model, &[]);
    }
}

#[test]
fn a_setting_whose_record_is_lost_is_logged_again() {
    let mut trial = Trial::new(&tiny(), 1).with_meters();
    trial.send(vec![number_as_text("before")]);
    trial.settle().unwrap();
    let mut place = trial.rig.place.after(Crash::Killed);
    place.options.settings = Settings { numeric_strings: true, ..Settings::default() };
    // Every operation of the start fails once; the start after the crash logs what is missing.
    let whole = place.fork();
    whole.open();
    for operation in 1..=whole.disk.operations() {
        let failing = place.fork();
        failing.disk.stop_at(operation);
        drop(failing.try_open());
        for crash in [Crash::Killed, Crash::DropsAll, Crash::Random(operation)] {
            let mut again = Trial::at(&failing.after(crash), trial.model.clone(), operation);
            again.send(vec![number_as_text("after")]);
            again.settle().unwrap();
            assert_same(&again.rig, &again.model);
        }
    }
}
