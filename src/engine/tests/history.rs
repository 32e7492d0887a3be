//! Where an event lies, in the log or in history, shows in no answer; and history ends where it may.

use std::time::Duration;

use super::compare::{all_events, assert_event, assert_same};
use super::model::Model;
use super::rig::{Crash, Place, chain, tiny};
use super::story::meter_of;
use super::trial::{End, Trial, check};
use crate::engine::backfill::Step;
use crate::engine::command::Command;
use crate::engine::open_error::OpenError;
use crate::engine::options::Options;
use crate::model::{Aggregation, EventId, Lsn};
use crate::storage::{index, rows};
use crate::world::Disk;

fn options() -> Options {
    Options { generation_ids: 16, ..tiny() }
}

fn seal(trial: &mut Trial) {
    while trial.rig.machine.sealer.step().unwrap() {}
    trial.rig.machine.retire().unwrap();
}

/// Some days of events and changes, most of them in history.
fn sealed(options: &Options, seed: u64) -> Trial {
    let mut trial = Trial::new(options, seed).with_meters();
    for _ in 0..6 {
        for _ in 0..12 {
            trial.send_any();
            let command = trial.story.named_command(&trial.model);
            trial.propose(command);
            trial.settle().unwrap();
            trial.advance(Duration::from_hours(1));
        }
        trial.rig.flush_all();
        trial.rig.machine.checkpoint().unwrap();
        seal(&mut trial);
    }
    let shared = &trial.rig.machine.shared;
    assert!(shared.history.last_lsn() > Lsn(50), "much is in history");
    let oldest = shared.log.segments()[0].first_lsn;
    assert!(oldest > Lsn(1) && oldest <= shared.history.last_lsn().next(), "the log was cut");
    trial
}

fn assert_events(trial: &Trial) {
    assert_same(&trial.rig, &trial.model);
    for kept in &trial.model.events {
        assert_event(&trial.rig, &trial.model, &kept.sent.id);
    }
}

#[test]
fn events_are_found_wherever_they_lie() {
    for seed in 0..4 {
        let trial = sealed(&options(), seed);
        assert_events(&trial);
        for crash in [Crash::Killed, Crash::DropsAll, Crash::Random(seed)] {
            check(&trial.rig.place.after(crash), &trial.model, &[]);
        }
    }
}

#[test]
fn an_event_is_found_long_after_its_id_was_forgotten() {
    let options = Options { dedupe_window: Duration::from_hours(7), ..options() };
    let trial = sealed(&options, 5);
    assert_events(&trial);
}

#[test]
fn an_event_whose_id_was_forgotten_is_found_in_a_log_that_is_never_sealed() {
    let window = Duration::from_hours(7);
    for seed in 8..11 {
        let options = Options { dedupe_window: window, segment_bytes: 1 << 20, ..options() };
        let mut trial = Trial::new(&options, seed).with_meters();
        let mut gathered = 0;
        for _ in 0..40 {
            trial.send_any();
            trial.settle().unwrap();
            trial.advance(Duration::from_hours(1));
            trial.rig.flush_all();
            if trial.story.dice.one_in(3) {
                seal(&mut trial);
            }
            let shared = &trial.rig.machine.shared;
            gathered = gathered.max(shared.forgotten.stretches());
        }
        assert!(gathered > 3, "{gathered}");
        // Some ids came again after they were forgotten: the newest is found.
        assert_events(&trial);
        assert_eq!(trial.rig.machine.shared.history.last_lsn(), Lsn::ZERO);
        assert_eq!(trial.rig.engine.event(&EventId::new("nowhere")).unwrap(), None);
        // Now all but the last is forgotten, and for what is not there less than a stretch is read.
        let last_forgotten = trial.rig.machine.shared.state.applied();
        trial.advance(2 * window);
        trial.send_any();
        trial.settle().unwrap();
        seal(&mut trial);
        assert_events(&trial);
        let shared = &trial.rig.machine.shared;
        let nowhere = shared.hasher.hash("nowhere");
        let (candidates, unknown) = shared.forgotten.candidates(nowhere, Lsn(1));
        assert_eq!(candidates, Vec::new());
        assert!(unknown.plus(shared.options.stretch_events) > last_forgotten, "{unknown:?}");
        // After a start they are made again; what was sealed is not looked for.
        let trial = trial.restarted(End::Crashes(Crash::Killed), |_| {});
        let shared = &trial.rig.machine.shared;
        assert_eq!(shared.forgotten.stretches(), 0);
        assert_events(&trial);
    }
}

#[test]
fn a_new_meter_counts_events_of_history_and_log() {
    for seed in 20..23 {
        let mut trial = sealed(&options(), seed);
        trial.send_any();
        for aggregation in [Aggregation::Count, Aggregation::Last { key: "tokens".to_owned() }] {
            trial.propose(Command::CreateMeter(meter_of("call", aggregation)));
        }
        trial.settle().unwrap();
        trial.rig.machine.checkpoint().unwrap();
        let mut steps = 0;
        while trial.backfill(40).unwrap() != Step::Idle {
            steps += 1;
            assert!(steps < 10_000, "a backfill ends");
        }
        assert_same(&trial.rig, &trial.model);
        check(&trial.rig.place.after(Crash::Killed), &trial.model, &[]);
    }
}

#[test]
fn a_lost_index_is_read_again_from_history_and_log() {
    let trial = sealed(&options(), 6);
    let place = trial.rig.place.after(Crash::Killed);
    place.disk.remove(index::FILE).unwrap();
    check(&place, &trial.model, &[]);
}

#[test]
fn a_lost_index_that_nothing_can_give_back_is_refused() {
    let options = Options { dedupe_window: Duration::ZERO, ..options() };
    let trial = sealed(&options, 7);
    let place = trial.rig.place.after(Crash::Killed);
    place.disk.remove(index::FILE).unwrap();
    // As often as it is tried.
    for _ in 0..3 {
        let refused = place.try_open().map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::IndexGone), "{}", chain(&refused));
    }
}

#[test]
fn a_damaged_index_that_nothing_can_give_back_is_damage() {
    let options = Options { dedupe_window: Duration::ZERO, ..options() };
    let trial = sealed(&options, 7);
    let place = trial.rig.place.after(Crash::Killed);
    for offset in (0..place.disk.image(index::FILE).len() as u64).step_by(50) {
        place.disk.flip_bit(index::FILE, offset, 5);
    }
    let refused = place.try_open().map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Index(_)) && refused.is_damage(), "{}", chain(&refused));
}

#[test]
fn a_lost_index_is_not_read_again_from_less_than_the_window() {
    let options = Options {
        dedupe_window: Duration::from_hours(14),
        history_keep: Duration::from_hours(30),
        ..options()
    };
    let trial = sealed(&options, 10);
    assert!(trial.rig.machine.shared.history.first_lsn() > Some(Lsn(1)), "old files are gone");
    let mut place = trial.rig.place.after(Crash::Killed);
    place.disk.remove(index::FILE).unwrap();
    // What is kept reaches back 14 hours; what would be kept from now on reaches further.
    place.fork().try_open().map(drop).unwrap();
    place.options.dedupe_window = Duration::from_hours(40);
    place.options.history_keep = Duration::from_hours(50);
    // As often as it is tried.
    for _ in 0..3 {
        let refused = place.try_open().map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::IndexGone), "{}", chain(&refused));
    }
}

#[test]
fn a_lost_row_store_is_refused_once_the_log_was_cut() {
    let trial = sealed(&options(), 8);
    let place = trial.rig.place.after(Crash::Killed);
    place.disk.remove(rows::FILE).unwrap();
    let refused = place.try_open().map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Behind { .. }), "{}", chain(&refused));
    assert!(refused.is_damage());
}

#[test]
fn a_damaged_file_is_refused_with_its_name() {
    let trial = sealed(&options(), 9);
    let name = trial.rig.machine.shared.history.files()[0].file.clone();
    let place = trial.rig.place.after(Crash::Killed);
    let size = place.disk.image(&name).len() as u64;
    place.disk.flip_bit(&name, size - 1, 0);
    let refused = place.try_open().map(drop).unwrap_err();
    assert!(chain(&refused).contains(&name) && refused.is_damage(), "{}", chain(&refused));
}

/// What is listed is the model's events from the oldest that is kept.
fn assert_kept(place: &Place, model: &Model, first_lsn: Lsn) {
    let rig = place.open();
    let mut expected = model.list(&all_events());
    expected.retain(|event| event.lsn >= first_lsn);
    assert_eq!(rig.engine.events(&all_events()).unwrap(), expected);
}

#[test]
fn old_files_go_and_usage_stays() {
    let keep = Duration::from_hours(30);
    let window = Duration::from_hours(14);
    for history_bytes_max in [None, Some(20_000)] {
        let options =
            Options { dedupe_window: window, history_keep: keep, history_bytes_max, ..options() };
        let trial = sealed(&options, 10);
        let files = trial.rig.machine.shared.history.files();
        let first_lsn = files[0].first_lsn;
        assert!(first_lsn > Lsn(1), "the oldest files are gone");
        let oldest_kept = trial.rig.engine.clock().log_time.minus(keep + Duration::from_hours(13));
        assert!(files[0].arrivals.1 >= oldest_kept, "what is too old goes with the next look");
        for crash in [Crash::Killed, Crash::DropsAll] {
            assert_kept(&trial.rig.place.after(crash), &trial.model, first_lsn);
        }
    }
}
