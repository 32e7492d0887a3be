//! Files that were damaged, lost or rolled back: the state is the same all the same, or the start is
//! refused with the reason.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use super::model::Model;
use super::rig::{Crash, Place, chain, tiny};
use super::trial::{Trial, check};
use crate::engine::checkpoint::Progress;
use crate::engine::incarnation::{self, Incarnation};
use crate::engine::open_error::OpenError;
use crate::engine::options::Options;
use crate::engine::verify::verify;
use crate::storage::rows::{self, RowStore, Table};
use crate::storage::{codec, index};
use crate::world::Disk;
use crate::world::disk::replace;
use crate::world::sim::{FaultKind, Repeat};

/// A place with `count` checkpoints and some log above each.
fn with_checkpoints(count: usize) -> (Place, Model) {
    with_checkpoints_under(&Options { generation_ids: 16, ..tiny() }, count)
}

fn with_checkpoints_under(options: &Options, count: usize) -> (Place, Model) {
    let mut trial = Trial::new(options, 11).with_meters();
    for round in 0..=count {
        if round > 0 {
            trial.rig.machine.checkpoint().unwrap();
        }
        for _ in 0..8 {
            trial.send_any();
            let command = trial.story.named_command(&trial.model);
            trial.propose(command);
            trial.settle().unwrap();
            trial.advance(Duration::from_mins(30));
        }
        trial.rig.flush_all();
    }
    trial.rig.machine.flush.save().unwrap();
    (trial.rig.place.after(Crash::Killed), trial.model)
}

fn names(place: &Place, part: &str) -> Vec<String> {
    let names = place.disk.names().unwrap();
    names.into_iter().filter(|name| name.contains(part)).collect()
}

/// Damages a file here and there, every `stride` bytes.
fn garble(place: &Place, name: &str, stride: usize) {
    let size = place.disk.image(name).len() as u64;
    for offset in (0..size).step_by(stride) {
        place.disk.flip_bit(name, offset, 5);
    }
}

fn refusal(place: &Place) -> OpenError {
    place.try_open().map(drop).expect_err("the start is refused")
}

#[test]
fn without_the_newest_snapshot_the_one_before_gives_the_same_state() {
    let (place, model) = with_checkpoints(3);
    let snapshots = names(&place, "snapshot-");
    assert_eq!(snapshots.len(), 2, "the two newest are kept");
    let newest = &snapshots[1];
    let size = place.disk.image(newest).len() as u64;
    for offset in [0, 9, 13, 30, 40, size / 2, size - 33, size - 1] {
        let place = place.fork();
        place.disk.flip_bit(newest, offset, 0);
        check(&place, &model, &[]);
    }
    let gone = place.fork();
    gone.disk.remove(newest).unwrap();
    check(&gone, &model, &[]);

    // The next checkpoints stand on the older one, and are as good as any.
    let mut trial = Trial::at(&gone, model, 12);
    for _ in 0..2 {
        trial.advance(Duration::from_hours(5));
        trial.send_any();
        trial.settle().unwrap();
        trial.rig.machine.checkpoint().unwrap();
        check(&trial.rig.place.after(Crash::DropsAll), &trial.model, &[]);
    }
}

/// A disk that cannot be read for a moment lets a start take the older snapshot. The next checkpoint, at the
/// same LSN, wrote over the newer one, which the row store still named: a life of the simulation was cut then.
#[test]
fn a_snapshot_that_one_start_could_not_use_is_not_written_over() {
    let (place, model) = with_checkpoints(2);
    let mut trial = Trial::at(&place, model, 12);
    trial.rig.machine.checkpoint().unwrap();
    let place = trial.rig.place.after(Crash::Killed);
    let newest = names(&place, "snapshot-").pop().unwrap();
    place.disk.flip_bit(&newest, 40, 0);
    let mut trial = Trial::at(&place, trial.model, 13);
    trial.rig.place.disk.flip_bit(&newest, 40, 0);
    trial.rig.machine.checkpointer.begin();
    trial.rig.machine.settle().unwrap();
    for step in 0.. {
        // Most steps copy a stripe.
        if step < 2 || step % 50 == 0 {
            for crash in [Crash::Killed, Crash::DropsAll] {
                let report = verify(&trial.rig.place.after(crash).world()).unwrap();
                assert_eq!(report.findings, [""; 0]);
            }
        }
        if trial.rig.machine.checkpointer.step().unwrap() == Progress::Finished {
            break;
        }
    }
    let again = format!("{newest}-again");
    assert!(names(&trial.rig.place, "snapshot-").contains(&again));
    check(&trial.rig.place.after(Crash::DropsAll), &trial.model, &[]);
}

#[test]
fn a_log_that_ends_before_a_checkpoint_is_refused_even_when_that_has_no_good_snapshot() {
    // All ids stay in memory: nothing but the checkpoint knows how far the log went.
    let options = Options { generation_ids: 10_000, ..tiny() };
    let (place, _) = with_checkpoints_under(&options, 3);
    let (earlier, _) = with_checkpoints_under(&options, 1);
    for name in names(&place, "wal-") {
        place.disk.remove(&name).unwrap();
    }
    for name in names(&earlier, "wal-") {
        replace(&place.disk, &name, &earlier.disk.image(&name)).unwrap();
    }
    for is_good in [true, false] {
        let place = place.fork();
        if !is_good {
            place.disk.flip_bit(&names(&place, "snapshot-")[1], 40, 0);
        }
        let refused = refusal(&place);
        assert!(matches!(refused, OpenError::Log(_)) && refused.is_damage(), "{refused:?}");
    }
}

#[test]
fn a_start_without_any_good_snapshot_is_refused() {
    for count in [1, 3] {
        let (place, _) = with_checkpoints(count);
        for snapshot in names(&place, "snapshot-") {
            garble(&place, &snapshot, 100);
        }
        let refused = refusal(&place);
        assert!(matches!(refused, OpenError::Snapshots(_)), "{refused:?}");
        let text = chain(&refused);
        assert!(text.starts_with("no snapshot of the last checkpoint is good: "), "{text}");
    }
}

#[test]
fn a_row_store_that_lost_rows_is_refused() {
    for table in Table::ALL {
        let (place, _) = with_checkpoints(2);
        let store = RowStore::open(&place.disk).unwrap();
        let mut first = None;
        let view = store.read().unwrap();
        view.range(table, &[], &[0xff; 16], |key, _| {
            first = Some(key.to_vec());
            false
        })
        .unwrap();
        let batch = store.begin().unwrap();
        let row = (first.as_deref().expect("every table has rows"), None);
        batch.write(table, std::iter::once(row)).unwrap();
        batch.commit().unwrap();
        drop((view, store));
        let refused = refusal(&place);
        assert!(matches!(refused, OpenError::RowCount { .. }), "{table:?}: {refused:?}");
    }
}

#[test]
fn a_row_store_of_an_older_checkpoint_is_refused_or_gives_the_same_state() {
    let (old, _) = with_checkpoints(1);
    for (newer, is_refused) in [(2, false), (3, true)] {
        let (place, model) = with_checkpoints(newer);
        replace(&place.disk, rows::FILE, &old.disk.image(rows::FILE)).unwrap();
        if is_refused {
            let refused = refusal(&place);
            assert!(matches!(refused, OpenError::Snapshots(_)), "{refused:?}");
        } else {
            check(&place, &model, &[]);
        }
    }
}

#[test]
fn a_row_store_that_is_gone_is_read_from_the_log_again_and_a_garbled_one_is_refused() {
    let (place, model) = with_checkpoints(2);
    let gone = place.fork();
    gone.disk.remove(rows::FILE).unwrap();
    check(&gone, &model, &[]);
    garble(&place, rows::FILE, 50);
    let refused = refusal(&place);
    assert!(matches!(refused, OpenError::Rows(_)) && refused.is_damage(), "{refused:?}");
}

#[test]
fn no_flipped_bit_of_the_row_store_changes_an_answer() {
    let (place, model) = with_checkpoints(2);
    let size = place.disk.image(rows::FILE).len() as u64;
    let mut refused = 0;
    for offset in (0..size).step_by(1_201) {
        let place = place.fork();
        place.disk.flip_bit(rows::FILE, offset, u8::try_from(offset % 8).unwrap());
        // redb panics over some of what it finds, which ends the process.
        let is_found = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let Ok(rig) = place.fork().try_open() else { return true };
            let view = rig.machine.shared.rows.read().unwrap();
            Table::ALL.into_iter().any(|table| view.check(table).is_err())
        }));
        if is_found.unwrap_or(true) {
            refused += 1;
        } else {
            check(&place, &model, &[]);
        }
    }
    assert!(refused > 0, "some of the bits stand in rows");
}

#[test]
fn an_index_that_cannot_be_read_for_a_moment_is_left_as_it_is() {
    let (place, model) = with_checkpoints(2);
    let whole = place.disk.image(index::FILE);
    let operations = {
        let place = place.fork();
        let before = place.disk.operations();
        drop(place.open());
        place.disk.operations() - before
    };
    let mut failed = 0;
    for operation in 0..operations {
        let place = place.fork();
        let at = place.disk.operations() + operation;
        place.disk.fail_at(at, FaultKind::Io, Repeat::Once);
        let opened = place.try_open().map(drop);
        place.disk.clear_faults();
        if let Err(OpenError::Index(_)) = opened {
            failed += 1;
            assert!(place.disk.image(index::FILE) == whole, "operation {operation}");
            check(&place, &model, &[]);
        }
    }
    assert!(failed > 0);
}

#[test]
fn a_lost_or_damaged_index_is_built_again_from_the_log() {
    let (place, model) = with_checkpoints(2);
    let gone = place.fork();
    gone.disk.remove(index::FILE).unwrap();
    check(&gone, &model, &[]);
    for stride in [1, 64, 4_096] {
        let place = place.fork();
        garble(&place, index::FILE, stride);
        check(&place, &model, &[]);
    }
    let cut = place.fork();
    cut.disk.open(index::FILE).unwrap().resize(5_000).unwrap();
    check(&cut, &model, &[]);
}

#[test]
fn lost_or_damaged_filters_do_no_harm() {
    let (place, model) = with_checkpoints(2);
    let known = ["identity", "wal-", "snapshot-", ".redb"];
    let all = place.disk.names().unwrap();
    let filters: Vec<_> =
        all.iter().filter(|name| !known.iter().any(|part| name.contains(part))).collect();
    assert!(!filters.is_empty());
    for stride in [1, 500] {
        let place = place.fork();
        for filter in &filters {
            garble(&place, filter, stride);
        }
        check(&place, &model, &[]);
    }
    for filter in &filters {
        place.disk.remove(filter).unwrap();
    }
    check(&place, &model, &[]);
}

#[test]
fn a_start_without_a_good_identity_is_refused_and_makes_no_other() {
    let (place, _) = with_checkpoints(1);
    let damaged = place.fork();
    damaged.disk.flip_bit(incarnation::FILE, 20, 1);
    let refused = refusal(&damaged);
    assert!(matches!(refused, OpenError::Identity(incarnation::Error::Damaged)), "{refused:?}");

    place.disk.remove(incarnation::FILE).unwrap();
    let before = place.disk.names().unwrap();
    for _ in 0..2 {
        let refused = refusal(&place);
        assert!(matches!(refused, OpenError::Identity(incarnation::Error::Missing)));
        assert_eq!(place.disk.names().unwrap(), before);
    }
}

#[test]
fn a_directory_of_another_format_is_refused_and_left_as_it_is() {
    let (place, _) = with_checkpoints(1);
    let image = place.disk.image(incarnation::FILE);
    let mut identity: Incarnation = codec::decode(&image[4..]).unwrap();
    for format_version in [incarnation::FORMAT_VERSION - 1, incarnation::FORMAT_VERSION + 1] {
        identity.format_version = format_version;
        let mut content = Vec::new();
        codec::encode(&identity, &mut content);
        let bytes = [crc32c::crc32c(&content).to_le_bytes().as_slice(), &content].concat();
        replace(&place.disk, incarnation::FILE, &bytes).unwrap();
        let before = place.disk.operations();
        let refused = refusal(&place);
        let is_other = |error: &OpenError| matches!(error, OpenError::Identity(incarnation::Error::OtherFormat(found)) if *found == format_version);
        assert!(is_other(&refused) && !refused.is_damage(), "{refused:?}");
        assert!(place.disk.operations() - before < 5, "nothing but the identity is looked at");
    }
}

#[test]
fn damage_in_the_log_is_refused_with_its_place() {
    let (place, _) = with_checkpoints(2);
    let last = names(&place, "wal-0").pop().unwrap();
    let image = place.disk.image(&last);
    let is_frame = |block: &usize| image[block * 512..].starts_with(b"KNOT");
    let frame = (0..image.len() / 512).find(is_frame).expect("the last segment holds a frame");
    place.disk.flip_bit(&last, frame as u64 * 512 + 8, 0);
    let text = chain(&refusal(&place));
    assert!(text.contains(&last) && text.contains("is damaged at byte"), "{text}");
}

/// The oldest segment lies below the checkpoints, so that a start does not read it: one whose first frame
/// could not be read was left out, and its events were gone from every list.
#[test]
fn the_first_frame_of_the_log_is_missed_when_it_is_damaged() {
    let (place, _) = with_checkpoints(3);
    let mut segments = names(&place, "wal-0");
    segments.sort();
    // The first start's own segment holds nothing.
    place.disk.remove(&segments.remove(0)).unwrap();
    let oldest = segments.remove(0);
    for offset in 4096..4096 + 40 {
        let place = place.fork();
        place.disk.flip_bit(&oldest, offset, 1);
        let refused = refusal(&place);
        assert!(refused.is_damage(), "byte {offset}: {}", chain(&refused));
        assert!(chain(&refused).contains(&oldest), "{}", chain(&refused));
    }
}

/// The last group is whole, and nothing in the log came after it to say that it is durable: the checkpoint
/// does. That was reported as damage.
#[test]
fn nothing_is_found_in_a_log_whose_end_the_checkpoint_vouches_for() {
    let mut trial = Trial::new(&tiny(), 3).with_meters();
    trial.send_any();
    trial.settle().unwrap();
    trial.rig.machine.checkpoint().unwrap();
    let report = verify(&trial.rig.place.after(Crash::Killed).world()).unwrap();
    assert!(report.checkpoint > report.durable, "{report:?}");
    assert_eq!(report.findings, [""; 0]);
}
