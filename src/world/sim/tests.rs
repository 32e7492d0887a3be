//! The laws of the simulated disk.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use proptest::prelude::*;

use super::{FaultKind, Repeat, SimDisk};
use crate::world::disk::{Disk, DiskFile, read_all, replace};

const SEEDS: std::ops::Range<u64> = 0..200;

fn durable_file(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create(name).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    disk.sync_names().unwrap();
    file
}

fn code(result: io::Result<()>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

#[test]
fn synced_bytes_and_names_survive_every_crash() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "file", b"safe");
    file.write_at(4, b"unsafe").unwrap();
    assert_eq!(read_all(&disk.crash_dropping_all(), "file").unwrap(), b"safe");
    for seed in SEEDS {
        let image = read_all(&disk.crash(seed), "file").unwrap();
        assert_eq!(image.split_at(4).0, b"safe", "seed {seed}");
    }
}

#[test]
fn unsynced_writes_are_kept_dropped_or_torn_whatever_became_of_earlier_ones() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "file", &[0; 2_048]);
    file.write_at(0, &[1; 1_024]).unwrap();
    file.write_at(1_024, &[2; 1_024]).unwrap();
    let mut seen = BTreeSet::new();
    // The rarest of the 16 outcomes has a chance of 1 in 144.
    for seed in 0..2_000 {
        let image = disk.crash(seed).image("file");
        let sectors: Vec<&[u8]> = image.chunks(512).collect();
        assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        seen.insert(sectors.iter().map(|sector| sector[0]).collect::<Vec<_>>());
        assert_eq!(image, disk.crash(seed).image("file"), "one seed gives one crash");
    }
    // Each of four sectors old or new.
    assert_eq!(seen.len(), 16);
}

#[test]
fn unsynced_names_are_kept_or_undone() {
    let disk = SimDisk::new();
    for name in ["old", "gone", "moved"] {
        durable_file(&disk, name, name.as_bytes());
    }
    disk.create("new").unwrap().sync().unwrap();
    disk.remove("gone").unwrap();
    disk.rename("moved", "old").unwrap();
    assert_eq!(disk.names().unwrap(), ["new", "old"]);
    assert_eq!(disk.crash_dropping_all().names().unwrap(), ["gone", "moved", "old"]);
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let after = disk.crash(seed);
        let names = after.names().unwrap();
        let is_moved = !names.contains(&"moved".to_owned());
        assert_eq!(after.image("old"), if is_moved { b"moved".as_slice() } else { b"old" });
        seen.insert(names);
    }
    assert_eq!(seen.len(), 8);
    disk.sync_names().unwrap();
    assert_eq!(disk.crash_dropping_all().names().unwrap(), ["new", "old"]);
}

#[test]
fn a_file_never_has_two_names_after_a_crash() {
    let disk = SimDisk::new();
    durable_file(&disk, "a", b"content");
    disk.rename("a", "b").unwrap();
    disk.rename("b", "c").unwrap();
    for seed in SEEDS {
        assert_eq!(disk.crash(seed).names().unwrap().len(), 1, "seed {seed}");
    }
}

#[test]
fn replacing_a_file_leaves_the_old_content_or_the_new_wherever_it_stops() {
    let run = |disk: &SimDisk| replace(disk, "file", &[2; 1_500]);
    let prepared = || {
        let disk = SimDisk::new();
        durable_file(&disk, "file", &[1; 1_500]);
        disk
    };
    let whole = prepared();
    let before = whole.operations();
    run(&whole).unwrap();
    for stop in before + 1..=whole.operations() + 1 {
        for seed in SEEDS {
            let disk = prepared();
            disk.stop_at(stop);
            let finished = run(&disk).is_ok();
            let image = disk.crash(seed).image("file");
            assert!(
                image == [2; 1_500] || (!finished && image == [1; 1_500]),
                "stop {stop} seed {seed}"
            );
        }
    }
}

#[test]
fn the_bytes_of_a_failed_sync_stay_in_doubt_whatever_a_later_sync_says() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "file", b"....");
    file.write_at(0, b"lost").unwrap();
    disk.fail_at(disk.operations() + 1, FaultKind::Io, Repeat::Once);
    assert_eq!(code(file.sync()), Some(5));
    file.sync().unwrap();
    assert_eq!(read_all(&disk, "file").unwrap(), b"lost", "the page cache has them");
    assert_eq!(disk.restart().image("file"), b"lost", "and the next process reads them");
    assert_eq!(disk.crash_dropping_all().image("file"), b"....");
    assert_eq!(disk.restart().crash_dropping_all().image("file"), b"....");

    file.write_at(2, b"SYNC").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.crash_dropping_all().image("file"), b"..SYNC", "written again is durable");
    for seed in SEEDS {
        let image = disk.crash(seed).image("file");
        assert!(image == b"..SYNC" || image == b"loSYNC", "seed {seed}");
    }
}

#[test]
fn names_whose_sync_failed_stay_in_doubt() {
    let disk = SimDisk::new();
    disk.create("file").unwrap();
    disk.fail_at(disk.operations() + 1, FaultKind::Io, Repeat::Once);
    disk.sync_names().unwrap_err();
    disk.sync_names().unwrap();
    assert_eq!(disk.names().unwrap(), ["file"]);
    assert_eq!(disk.crash_dropping_all().names().unwrap(), Vec::<String>::new());
}

#[test]
fn a_short_write_leaves_a_part_and_other_faults_leave_nothing() {
    for (kind, left, os_error) in [
        (FaultKind::Io, "".as_bytes(), 5),
        (FaultKind::NoSpace, b"", 28),
        (FaultKind::ShortWrite, b"ab", 5),
    ] {
        let disk = SimDisk::new();
        let file = disk.create("file").unwrap();
        disk.fail_at(2, kind, Repeat::Once);
        assert_eq!(code(file.write_at(0, b"abcd")), Some(os_error), "{kind:?}");
        assert_eq!(disk.image("file"), left, "{kind:?}");
        file.write_at(0, b"abcd").unwrap();
    }
}

#[test]
fn a_full_disk_can_still_be_read_and_is_well_when_space_returns() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "file", b"1234");
    disk.set_free_bytes(2);
    assert_eq!(file.write_at(3, b"4567").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.resize(7).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(3, b"456").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 0);
    file.write_at(0, b"0").unwrap();
    assert_eq!(read_all(&disk, "file").unwrap(), b"023456");
    disk.set_free_bytes(100);
    file.write_at(6, b"7").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 99);
    disk.remove("file").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 106);
}

#[test]
fn every_operation_counts_and_a_stopped_machine_does_none() {
    let disk = SimDisk::new();
    let run = |disk: &SimDisk| -> Vec<bool> {
        let Ok(file) = disk.create("file") else { return Vec::new() };
        vec![
            file.write_at(0, b"bytes").is_ok(),
            file.resize(9).is_ok(),
            file.sync().is_ok(),
            file.size().is_ok(),
            file.read_at(0, &mut [0; 3]).is_ok(),
            disk.sync_names().is_ok(),
            disk.open("file").is_ok(),
            disk.names().is_ok(),
            disk.free_bytes().is_ok(),
            disk.rename("file", "other").is_ok(),
            disk.remove("other").is_ok(),
        ]
    };
    assert!(run(&disk).into_iter().all(|ok| ok));
    assert_eq!(disk.operations(), 12);
    for stop in 2..=12 {
        let disk = SimDisk::new();
        disk.stop_at(stop);
        assert_eq!(run(&disk).into_iter().filter(|ok| *ok).count() as u64, stop - 2);
        assert_eq!(disk.operations(), 12);
        assert_eq!(disk.restart().operations(), 0);
        disk.restart().names().unwrap();
    }
}

#[test]
fn an_open_file_outlives_its_name() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "file", b"bytes");
    disk.remove("file").unwrap();
    disk.sync_names().unwrap();
    let mut buffer = [0; 5];
    assert_eq!(file.read_at(0, &mut buffer).unwrap(), 5);
    assert_eq!(&buffer, b"bytes");
    assert_eq!(disk.open("file").unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_flipped_bit_is_on_the_medium() {
    let disk = SimDisk::new();
    durable_file(&disk, "file", b"abc");
    disk.flip_bit("file", 1, 0);
    assert_eq!(disk.image("file"), b"acc");
    assert_eq!(disk.crash_dropping_all().image("file"), b"acc");
}

#[test]
fn threads_share_one_disk() {
    let disk = SimDisk::new();
    let file = disk.create("file").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (file, disk) = (&file, &disk);
            scope.spawn(move || {
                for step in 0..50_u64 {
                    file.write_at(u64::from(thread) * 50 + step, &[thread]).unwrap();
                    file.sync().unwrap();
                    disk.sync_names().unwrap();
                }
            });
        }
    });
    assert_eq!(disk.operations(), 1 + 4 * 50 * 3);
    let expected: Vec<u8> = (0..4).flat_map(|thread| [thread; 50]).collect();
    assert_eq!(disk.crash_dropping_all().image("file"), expected);
}

#[derive(Clone, Debug)]
enum Step {
    Write(u16, u16),
    Resize(u16),
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_000_u16, 0..1_500_u16).prop_map(|(offset, count)| Step::Write(offset, count)),
        1 => (0..4_000_u16).prop_map(Step::Resize),
        1 => Just(Step::Sync),
    ]
}

proptest! {
    /// The model is one plain vector, copied at each sync.
    #[test]
    fn programs_see_every_write_and_a_crash_that_drops_all_shows_the_last_sync(
        steps in prop::collection::vec(step(), 0..40), seed: u64,
    ) {
        let disk = SimDisk::new();
        let file = durable_file(&disk, "file", b"");
        let mut live: Vec<u8> = Vec::new();
        let mut synced = live.clone();
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Write(offset, count) => {
                    let bytes = vec![u8::try_from(number).unwrap() + 1; usize::from(*count)];
                    file.write_at(u64::from(*offset), &bytes).unwrap();
                    let end = usize::from(*offset) + bytes.len();
                    if !bytes.is_empty() {
                        live.resize(live.len().max(end), 0);
                        live[end - bytes.len()..end].copy_from_slice(&bytes);
                    }
                }
                Step::Resize(size) => {
                    file.resize(u64::from(*size)).unwrap();
                    live.resize(usize::from(*size), 0);
                }
                Step::Sync => {
                    file.sync().unwrap();
                    synced.clone_from(&live);
                }
            }
        }
        prop_assert_eq!(&disk.image("file"), &live);
        prop_assert_eq!(disk.restart().image("file"), live);
        prop_assert_eq!(&disk.crash_dropping_all().image("file"), &synced);
        let drawn = disk.crash(seed);
        prop_assert_eq!(drawn.crash_dropping_all().image("file"), drawn.image("file"));
    }
}
