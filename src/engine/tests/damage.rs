//! What was damaged is rebuilt when the log can give it back, and stops the start when it cannot.

use std::time::Duration;

use super::compare::{assert_known, assert_same};
use super::model::Model;
use super::rig::{Crash, Place, tiny};
use super::trial::Trial;
use crate::engine::incarnation;
use crate::engine::recover::OpenError;
use crate::storage::{index, rows};
use crate::world::Disk;

/// A place with two checkpoints, hours on disk, runs, and records above the last checkpoint.
fn lived_in() -> (Place, Model) {
    let mut trial = Trial::new(&tiny(), 3).with_meters();
    for _ in 0..2 {
        for _ in 0..40 {
            trial.send_any();
            trial.settle().unwrap();
        }
        trial.advance(Duration::from_hours(4));
        trial.rig.flush_all();
        trial.rig.machine.checkpoint().unwrap();
    }
    for _ in 0..10 {
        trial.send_any();
    }
    trial.settle().unwrap();
    (trial.rig.place.after(Crash::Killed), trial.model)
}

/// Snapshot files, oldest first.
fn snapshots(place: &Place) -> Vec<String> {
    let names = place.disk.names().unwrap();
    names.into_iter().filter(|name| name.starts_with("snapshot-")).collect()
}

fn assert_starts_as_it_was(place: &Place, model: &Model) {
    let mut rig = place.open();
    assert_same(&rig, model);
    assert_known(&mut rig, model);
}

#[test]
fn the_snapshot_before_stands_in_for_a_damaged_one() {
    let (place, model) = lived_in();
    let names = snapshots(&place);
    assert_eq!(names.len(), 2, "the two newest are kept");
    place.disk.flip_bit(&names[1], 200, 3);
    assert_starts_as_it_was(&place.fork(), &model);
    place.disk.flip_bit(&names[0], 200, 3);
    let refused = place.fork().try_open().unwrap_err();
    assert!(matches!(refused, OpenError::Snapshots(_)), "{refused}");
}

#[test]
fn a_start_from_the_snapshot_before_can_make_checkpoints_again() {
    let (place, model) = lived_in();
    place.disk.flip_bit(&snapshots(&place)[1], 200, 3);
    let mut rig = place.open();
    rig.machine.checkpoint().unwrap();
    assert_starts_as_it_was(&rig.place.after(Crash::DropsAll), &model);
}

#[test]
fn a_missing_or_damaged_id_index_is_read_from_the_log_again() {
    let (place, model) = lived_in();
    let damaged = place.fork();
    let bytes = damaged.disk.image(index::FILE).len();
    let file = damaged.disk.open(index::FILE).unwrap();
    file.write_at(0, &vec![0xa5; bytes.min(8_192)]).unwrap();
    assert_starts_as_it_was(&damaged, &model);
    place.disk.remove(index::FILE).unwrap();
    assert_starts_as_it_was(&place, &model);
}

#[test]
fn a_missing_row_store_is_folded_from_the_log_again() {
    let (place, model) = lived_in();
    place.disk.remove(rows::FILE).unwrap();
    assert_starts_as_it_was(&place, &model);
}

#[test]
fn a_directory_without_its_identity_is_refused() {
    let (place, _) = lived_in();
    place.disk.remove(incarnation::FILE).unwrap();
    let refused = place.try_open().unwrap_err();
    assert!(matches!(refused, OpenError::Identity(incarnation::Error::Missing)), "{refused}");
}

#[test]
fn every_flipped_bit_of_the_identity_is_found() {
    let (place, _) = lived_in();
    for offset in 0..place.disk.image(incarnation::FILE).len() as u64 {
        place.disk.flip_bit(incarnation::FILE, offset, 5);
        assert!(place.fork().try_open().is_err(), "byte {offset}");
        place.disk.flip_bit(incarnation::FILE, offset, 5);
    }
}

#[test]
fn a_disk_below_its_reserve_refuses_events_and_takes_them_again_later() {
    let mut options = tiny();
    options.reserve_bytes = 1 << 20;
    let mut trial = Trial::new(&options, 5).with_meters();
    let shared = std::sync::Arc::clone(&trial.rig.machine.shared);
    trial.rig.place.disk.set_free_bytes(1 << 19);
    shared.observe_disk();
    let event = || super::rig::Sent::new("late", "cus-0");
    let refused = trial.rig.ingest(&[event()]).unwrap_err();
    assert_eq!(refused, crate::engine::Refused::StorageFull);
    assert!(!trial.rig.engine.readiness().is_ready());
    assert_same(&trial.rig, &trial.model);
    trial.rig.place.disk.set_free_bytes(1 << 30);
    shared.observe_disk();
    assert!(trial.rig.engine.readiness().is_ready());
    trial.send(vec![event()]);
    trial.settle().unwrap();
    assert_same(&trial.rig, &trial.model);
}
