//! Failing operations and crashes: what was published stays, what was not is gone.

use super::disk::MemoryDisk;
use super::{Options, TINY, assert_holds_what_was_flushed, generation, open, settle};
use crate::model::{Lsn, Timestamp};
use crate::storage::index::{Error, Found, Index, Progress, verify};

const IDS: u64 = 64;

/// Flushes eight generations, with merges, and saves the filters twice; opens anew half-way.
fn workload(disk: &MemoryDisk) -> Result<(), Error> {
    let mut opened = Index::open(disk, TINY)?;
    for first in (1..=IDS).step_by(8) {
        if first == IDS / 2 + 1 {
            opened.index.save_filters(disk)?;
            drop(opened);
            opened = Index::open(disk, TINY)?;
        }
        opened.flusher.start(generation(first..=first + 7));
        settle(&mut opened)?;
    }
    opened.index.save_filters(disk)
}

fn check_after(disk: &MemoryDisk) {
    let report = verify(disk).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let mut opened = open(disk, TINY);
    assert!(!matches!(opened.found, Found::Damaged { .. }), "{:?}", opened.found);
    let flushed_through = opened.index.flushed_through();
    assert_eq!(flushed_through, report.flushed_through);
    assert_eq!(flushed_through.0 % 8, 0, "a run exists as a whole or not at all");
    assert_eq!(opened.index.stats().filter_ids, flushed_through.0);
    assert_holds_what_was_flushed(&opened.index, IDS);

    if flushed_through.0 < IDS {
        opened.flusher.start(generation(flushed_through.0 + 1..=IDS));
    }
    settle(&mut opened).unwrap();
    assert_holds_what_was_flushed(&opened.index, IDS);
    assert_eq!(opened.index.flushed_through(), Lsn(IDS));
    drop(opened);
    let report = verify(disk).unwrap();
    assert_eq!((report.ids, report.leftovers), (IDS, 0), "{report:?}");
}

#[test]
fn after_a_failure_of_any_operation_and_a_crash_only_whole_runs_are_there() {
    let whole = MemoryDisk::new();
    workload(&whole).unwrap();
    let operations = whole.operations();
    assert!(operations > 300, "{operations}");
    // Every operation would take minutes in a debug build; the stride is prime, so that all kinds
    // are met.
    for fail_from in (0..operations).step_by(41) {
        let disk = MemoryDisk::new();
        disk.fail_from(fail_from);
        if workload(&disk).is_ok() {
            // Closing the file failed, which nobody is told: the next start repairs it.
            assert!(fail_from > operations * 9 / 10, "{fail_from} of {operations}");
        }
        check_after(&disk.after_kill());
        check_after(&disk.after_crash(|| false));
        // Any subset of what was not synced may have reached the disk.
        let mut state = fail_from + 1;
        check_after(&disk.after_crash(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 63 == 1
        }));
    }
}

#[test]
fn a_flusher_that_failed_stays_failed() {
    let disk = MemoryDisk::new();
    let mut opened = open(&disk, TINY);
    opened.flusher.start(generation(1..=8));
    disk.fail_from(disk.operations());
    settle(&mut opened).unwrap_err();
    disk.fail_from(u64::MAX);
    assert!(matches!(settle(&mut opened), Err(Error::Failed { .. })));
}

#[test]
fn an_unfinished_run_is_invisible_and_removed_after_the_next_start() {
    let disk = MemoryDisk::new();
    let mut opened = open(&disk, TINY);
    opened.flusher.start(generation(1..=30));
    for _ in 0..3 {
        opened.flusher.step(Lsn(30), Timestamp::MIN, 7).unwrap();
    }
    let disk = disk.after_kill();
    assert_eq!(verify(&disk).unwrap().leftovers, 1);
    let mut opened = open(&disk, TINY);
    assert_eq!((opened.index.stats().runs, opened.index.flushed_through()), (0, Lsn::ZERO));
    settle(&mut opened).unwrap();
    assert_eq!(verify(&disk.after_kill()).unwrap().leftovers, 0);
}

#[test]
fn a_number_is_given_again_only_when_nothing_of_its_run_is_left() {
    // Once, a run's blocks could go in one commit and its first hashes in the next: a start between
    // the two gave the number again, to a run with first hashes too many.
    let mut disk = MemoryDisk::new();
    let mut opened = open(&disk, TINY);
    opened.flusher.start(generation(1..=30));
    for _ in 0..6 {
        opened.flusher.step(Lsn(30), Timestamp::MIN, 3).unwrap();
    }
    while verify(&disk.after_kill()).unwrap().leftovers > 0 {
        disk = disk.after_kill();
        opened = open(&disk, TINY);
        opened.flusher.step(Lsn(30), Timestamp::MIN, 1).unwrap();
    }
    disk = disk.after_kill();
    opened = open(&disk, TINY);
    opened.flusher.start(generation(1..=30));
    for _ in 0..3 {
        opened.flusher.step(Lsn(30), Timestamp::MIN, 100).unwrap();
    }
    assert_eq!(opened.index.flushed_through(), Lsn(30));
    let report = verify(&disk.after_kill()).unwrap();
    assert_eq!((report.ids, report.findings.len()), (30, 0), "{report:?}");
}

#[test]
fn a_run_appears_only_when_the_log_is_durable_up_to_its_last_event() {
    let disk = MemoryDisk::new();
    let mut opened = open(&disk, Options { runs_max: 0, ..TINY });
    opened.flusher.start(generation(1..=30));
    let mut step = |durable| opened.flusher.step(Lsn(durable), Timestamp::MIN, 100).unwrap();
    assert!(matches!(step(29), Progress::Worked));
    for _ in 0..10 {
        assert!(matches!(step(29), Progress::Worked | Progress::WaitsForLog));
    }
    assert!(matches!(step(29), Progress::WaitsForLog));
    assert_eq!(opened.index.flushed_through(), Lsn::ZERO);
    let Progress::Flushed { view_version, .. } = step(30) else { panic!("it was durable") };
    assert_eq!(opened.index.view().version(), view_version);
    assert_eq!(opened.index.flushed_through(), Lsn(30));
}
