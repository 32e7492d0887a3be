//! What the log does when nothing fails: reading back, marks, segments ahead of use and after it.

use std::ops::ControlFlow;
use std::time::Duration;

use super::disk::{Fault, Restart, TestDisk};
use super::{
    Bounds, Durability, EVERYTHING, INTERVAL, Model, SEGMENT_BYTES, append, fill, log_of, open_all,
    open_as, open_with, options, read_from,
};
use crate::model::{Lsn, Timestamp};
use crate::storage::log::{
    Error, Frame, Group, Opened, Options, OwnedFrame, PAYLOAD_BYTES_MAX, Progress, ReadError,
};
use crate::world::Disk;

const MIXED: [(u32, usize); 9] =
    [(1, 10), (2, 900), (3, 3000), (1, 3500), (1, 7000), (5, 14_000), (4, 1), (1, 2), (2, 0)];

fn back(opened: &Opened, from: Lsn) -> Vec<OwnedFrame> {
    let mut frames = Vec::new();
    let take = |frame: Frame<'_>| {
        frames.push(frame.to_owned());
        Ok::<_, ReadError>(ControlFlow::Continue(()))
    };
    let reached = opened.reader.visit_back(Lsn(1)..=from, take).unwrap();
    assert!(frames.last().is_none_or(|frame| frame.first_lsn == reached));
    frames
}

fn reads_like(opened: &Opened, model: &Model) {
    assert_eq!(read_from(&opened.reader, Lsn(1)).unwrap(), model.frames);
    let mut reversed = model.frames.clone();
    reversed.reverse();
    assert_eq!(back(opened, Lsn(u64::MAX)), reversed);
    for frame in &model.frames {
        for lsn in (0..frame.count).map(|ahead| frame.first_lsn.plus(ahead.into())) {
            assert_eq!(opened.reader.read_lsn(lsn).unwrap().as_ref(), Some(frame));
            let mut newest = None;
            opened
                .reader
                .visit(lsn..=lsn, |frame| {
                    newest = Some(frame.to_owned());
                    Ok::<_, ReadError>(())
                })
                .unwrap();
            assert_eq!(newest.as_ref(), Some(frame));
            let below: Vec<_> =
                reversed.iter().filter(|frame| frame.first_lsn <= lsn).cloned().collect();
            assert_eq!(back(opened, lsn), below);
        }
    }
    assert_eq!(opened.reader.read_lsn(Lsn::ZERO).unwrap(), None);
    assert_eq!(opened.reader.read_lsn(model.last_lsn().next()).unwrap(), None);
}

#[test]
fn every_group_is_read_back_forward_backward_and_by_lsn() {
    let (disk, opened, mut model) = log_of(&MIXED);
    reads_like(&opened, &model);
    assert!(opened.reader.segments().len() > 2);
    for _ in 0..2 {
        let mut opened = open_all(&disk).unwrap();
        reads_like(&opened, &model);
        fill(&mut opened.wal, &mut model, &MIXED);
        opened.wal.write_idle_mark().unwrap();
        reads_like(&opened, &model);
    }
    // Older segments are not read at the start; their positions are found when they are asked for.
    let durable = model.last_lsn();
    let bounds = Bounds { known_durable: durable, from: durable.next() };
    reads_like(&open_with(&disk, Durability::Commit, bounds).unwrap(), &model);
}

#[test]
fn groups_far_apart_in_a_large_segment_are_found() {
    let large = Options { segment_bytes: 4 << 20, ..options(Durability::Commit) };
    let (disk, mut model) = (TestDisk::new(1), Model::default());
    let mut opened = open_as(&disk, large, EVERYTHING).unwrap();
    let sizes = [30_000, 100, 90_000, 5, 600_000].map(|bytes| (2, bytes));
    for _ in 0..3 {
        fill(&mut opened.wal, &mut model, &sizes);
    }
    assert_eq!(opened.reader.segments().len(), 1);
    reads_like(&opened, &model);
    reads_like(&open_as(&disk, large, EVERYTHING).unwrap(), &model);
}

#[test]
fn a_range_is_cut_to_what_is_asked_for() {
    let (_, opened, model) = log_of(&MIXED);
    let mut first_lsns = Vec::new();
    opened
        .reader
        .visit(Lsn(3)..=Lsn(8), |frame| {
            first_lsns.push(frame.first_lsn);
            Ok::<_, ReadError>(())
        })
        .unwrap();
    assert_eq!(first_lsns, [Lsn(2), Lsn(4), Lsn(7), Lsn(8)]);
    assert_eq!(model.frames[1].first_lsn, Lsn(2));
}

#[test]
fn readers_see_a_group_only_when_it_may_be_acknowledged() {
    let (_, mut opened, mut model) = log_of(&[(1, 10)]);
    append(&mut opened.wal, &model.group(2, 20)).unwrap();
    assert_eq!(opened.reader.last_lsn(), Lsn(1));
    assert_eq!(opened.reader.read_lsn(Lsn(2)).unwrap(), None);
    assert_eq!(back(&opened, Lsn(3)).len(), 1);
    assert_eq!(read_from(&opened.reader, Lsn(1)).unwrap().len(), 1);
    opened.wal.sync().unwrap();
    reads_like(&opened, &model);
}

#[test]
fn an_interval_log_syncs_when_its_time_has_come() {
    let disk = TestDisk::new(1);
    let mut model = Model::default();
    let mut wal = open_with(&disk, INTERVAL, EVERYTHING).unwrap().wal;
    assert!(wal.sync_if_due(Duration::from_secs(1)).unwrap());
    append(&mut wal, &model.group(1, 10)).unwrap();
    assert_eq!((wal.acknowledged(), wal.durable()), (Lsn(1), Lsn::ZERO));
    assert!(!wal.sync_if_due(Duration::from_millis(1019)).unwrap());
    assert_eq!(wal.durable(), Lsn::ZERO);
    assert!(wal.sync_if_due(Duration::from_millis(1020)).unwrap());
    assert_eq!((wal.durable(), wal.counters().syncs), (Lsn(1), 1));
    assert!(wal.sync_if_due(Duration::from_millis(1021)).unwrap(), "nothing is left to sync");
}

#[test]
fn a_mark_is_written_once_and_vouches_for_the_last_group() {
    let (disk, mut opened, mut model) = log_of(&[(1, 10)]);
    assert!(opened.wal.write_idle_mark().unwrap());
    assert!(!opened.wal.write_idle_mark().unwrap());
    fill(&mut opened.wal, &mut model, &[(1, 5)]);
    assert_eq!(open_all(&disk.fork()).unwrap().report.durable, Lsn(1));
    assert!(opened.wal.write_idle_mark().unwrap());
    let report = open_all(&disk.fork()).unwrap().report;
    assert_eq!((report.durable, report.groups, report.groups_rewritten), (Lsn(2), 2, 0));
}

#[test]
fn every_start_writes_what_nothing_vouches_for_anew() {
    let (disk, _, model) = log_of(&[(1, 10), (2, 20)]);
    let opened = open_all(&disk).unwrap();
    let report = &opened.report;
    assert_eq!((report.durable, report.last_lsn, report.groups_rewritten), (Lsn(1), Lsn(3), 1));
    assert_eq!(opened.wal.durable(), Lsn(3));
    assert_eq!(opened.wal.log_time(), Timestamp::from_nanos(2));
    let fresh = opened.reader.segments().pop().unwrap();
    assert_eq!((fresh.first_lsn, fresh.next_lsn, fresh.sealed), (Lsn(2), Lsn(4), false));
    reads_like(&opened, &model);
    drop(opened);
    // The mark behind them vouches from now on.
    assert_eq!(open_all(&disk).unwrap().report.durable, Lsn(3));
}

#[test]
fn restarts_do_not_pile_up_files_or_bytes() {
    let large = Options { segment_bytes: 1 << 20, ..options(Durability::Commit) };
    let (disk, mut model) = (TestDisk::new(1), Model::default());
    for round in 0..12 {
        let mut opened = open_as(&disk, large, EVERYTHING).unwrap();
        while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
        if round % 2 == 0 {
            fill(&mut opened.wal, &mut model, &[(1, 100), (1, 200)]);
        }
    }
    let opened = open_as(&disk, large, EVERYTHING).unwrap();
    reads_like(&opened, &model);
    let files = disk.all_names();
    let bytes: usize = files.iter().map(|name| disk.bytes(name).len()).sum();
    assert!(files.len() <= 20, "{files:?}");
    assert!(bytes < 1 << 20, "{bytes} bytes for 24 small groups");
}

#[test]
fn old_segments_are_not_read_at_the_start() {
    let large = Options { segment_bytes: 256 << 10, ..options(Durability::Commit) };
    let (disk, mut model) = (TestDisk::new(1), Model::default());
    let mut opened = open_as(&disk, large, EVERYTHING).unwrap();
    fill(&mut opened.wal, &mut model, &[(1, 50_000); 30]);
    opened.wal.write_idle_mark().unwrap();
    disk.take_reads();
    let bounds = Bounds { known_durable: Lsn(25), from: Lsn(26) };
    open_as(&disk, large, bounds).unwrap();
    let reads = disk.take_reads();
    let whole = reads.iter().filter(|(_, bytes)| **bytes > 32 << 10).count();
    assert!(reads.len() == 6 && whole == 1, "{reads:?}");
}

#[test]
fn a_prepared_segment_is_used_and_an_unprepared_one_is_left_for_it() {
    let (disk, mut opened, mut model) = log_of(&[(1, 10)]);
    let mut steps = 1;
    while opened.upkeep.step(3000).unwrap() == Progress::Working {
        steps += 1;
    }
    assert_eq!(steps, (SEGMENT_BYTES - 4096).div_ceil(3000));
    assert_eq!(opened.upkeep.step(3000).unwrap(), Progress::Ready);
    let took = [(); 2].map(|()| {
        let before = disk.operations();
        fill(&mut opened.wal, &mut model, &[(1, 10)]);
        disk.operations() - before
    });
    assert_eq!(
        took,
        [2, 2],
        "a segment that is ready begins with a write and a sync, like any group"
    );
    let counters = opened.wal.counters();
    assert_eq!((counters.segments, counters.segments_unprepared), (1, 0));
    assert_eq!(disk.bytes("wal-0000000002").len() as u64, SEGMENT_BYTES);
    assert!(!disk.all_names().contains(&"wal-spare".to_owned()));
    fill(&mut opened.wal, &mut model, &[(1, 10), (1, 5000), (1, 5000)]);
    let counters = opened.wal.counters();
    assert_eq!((counters.segments, counters.segments_unprepared), (2, 1));
    reads_like(&opened, &model);
}

#[test]
fn a_group_larger_than_a_segment_gets_one_of_its_own() {
    let (disk, mut opened, mut model) = log_of(&[(1, 10)]);
    while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
    assert_eq!(disk.all_names(), ["wal-0000000001", "wal-0000000002"]);
    fill(&mut opened.wal, &mut model, &[(7, 100_000), (1, 10)]);
    reads_like(&opened, &model);
    // The one that was ready ranks before it, and is not used any more: the group behind it needs another.
    while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
    fill(&mut opened.wal, &mut model, &[(1, 10)]);
    assert_eq!(disk.all_names(), [1, 3, 4, 5].map(|number| format!("wal-{number:010}")));
    assert_eq!(opened.wal.counters().segments_unprepared, 2);
    reads_like(&opened, &model);
    reads_like(&open_all(&disk).unwrap(), &model);
}

#[test]
fn a_group_above_the_limit_is_refused_and_the_log_goes_on() {
    let (_, mut opened, mut model) = log_of(&[(1, 10)]);
    let payload = vec![0; PAYLOAD_BYTES_MAX + 1];
    let log_time = Timestamp::from_nanos(0);
    let group = Group { first_lsn: Lsn(2), count: 1, log_time, payload: &payload };
    assert!(matches!(opened.wal.append(group), Err(Error::TooLarge { .. })));
    fill(&mut opened.wal, &mut model, &[(1, 10)]);
    reads_like(&opened, &model);
}

#[test]
fn a_retired_segment_is_reused_without_writing_zeros() {
    let (disk, mut opened, mut model) = log_of(&[(1, 10)]);
    while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
    // Leaves the first segment for the prepared one, fills that, and goes on in a third.
    fill(&mut opened.wal, &mut model, &[(1, 5000), (1, 2000), (1, 4000)]);
    let [_, second, third] = opened.reader.segments()[..] else { panic!("three segments") };
    assert_eq!(opened.upkeep.retire_below(third.first_lsn).unwrap(), 2);
    assert_eq!(opened.reader.segments().len(), 1);
    assert_eq!(opened.upkeep.step(usize::MAX).unwrap(), Progress::Ready);
    assert_eq!(disk.all_names(), ["wal-0000000003", "wal-0000000004"]);
    assert_eq!(opened.reader.read_lsn(second.first_lsn).unwrap(), None);
    let gone = read_from(&opened.reader, second.first_lsn);
    assert!(matches!(gone, Err(ReadError::Gone { lsn }) if lsn == second.first_lsn));
    assert_eq!(back(&opened, Lsn(u64::MAX)), model.frames[3..]);

    // Its old frames stand behind the new ones, under an old salt.
    fill(&mut opened.wal, &mut model, &[(1, 100)]);
    assert_eq!(opened.wal.counters().segments_unprepared, 1);
    disk.restart(Restart::PowerCut);
    let bounds = Bounds { known_durable: Lsn(3), from: third.first_lsn };
    let opened = open_with(&disk, Durability::Commit, bounds).unwrap();
    assert_eq!(read_from(&opened.reader, third.first_lsn).unwrap(), model.frames[3..]);
}

#[test]
fn a_segment_that_is_being_read_is_removed_and_not_reused() {
    let (disk, mut opened, mut model) = log_of(&[(1, 10)]);
    while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
    fill(&mut opened.wal, &mut model, &[(1, 4000), (1, 2000), (1, 1000), (1, 4000)]);
    let mut frames = Vec::new();
    let reading = |frame: Frame<'_>| {
        frames.push(frame.to_owned());
        if frames.len() == 1 {
            assert_eq!(opened.upkeep.retire_below(Lsn(5)).unwrap(), 2);
            assert_eq!(disk.all_names(), ["wal-0000000003"]);
        }
        Ok::<_, ReadError>(ControlFlow::Continue(()))
    };
    let reached = opened.reader.visit_back(Lsn(1)..=Lsn(3), reading).unwrap();
    assert_eq!(frames, [model.frames[2].clone(), model.frames[1].clone()]);
    assert_eq!(reached, Lsn(2), "the segment before that is gone");
}

#[test]
fn a_segment_that_nobody_reads_is_given_back_a_little_at_a_time() {
    const LARGE: u64 = 9 << 20;
    const REST_MAX: u64 = 4 << 20;
    let (disk, mut model) = (TestDisk::new(5), Model::default());
    let large = Options { segment_bytes: LARGE, ..options(Durability::Commit) };
    let mut opened = open_as(&disk, large, EVERYTHING).unwrap();
    for group in [(1, 7 << 20); 2] {
        fill(&mut opened.wal, &mut model, &[group]);
        while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
    }
    // The next one is ready, so that the first is not needed again.
    let first = disk.open("wal-0000000001").unwrap();
    assert!(first.size().unwrap() > REST_MAX);
    assert_eq!(opened.upkeep.retire_below(Lsn(2)).unwrap(), 1);
    assert!(!disk.all_names().contains(&"wal-0000000001".to_owned()));
    assert!(first.size().unwrap() > REST_MAX);
    while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
    assert!(first.size().unwrap() <= REST_MAX);
    assert_eq!(back(&opened, Lsn(u64::MAX)), model.frames[1..]);
}

#[test]
fn what_has_left_the_log_keeps_no_room_when_none_is_left_for_the_next_segment() {
    let (disk, mut opened, mut model) = log_of(&[(1, 10)]);
    while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
    fill(&mut opened.wal, &mut model, &[(1, 5000), (1, 2000), (1, 4000)]);
    while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
    // The one that is ready is not theirs, so that both may leave.
    assert_eq!(opened.upkeep.retire_below(Lsn(4)).unwrap(), 2);
    assert_eq!(disk.nameless(), 2);
    fill(&mut opened.wal, &mut model, &[(1, 7000), (1, 7000)]);
    disk.set_fault(Fault::From(0));
    opened.upkeep.step(usize::MAX).unwrap_err();
    assert_eq!(disk.nameless(), 0);
    disk.set_fault(Fault::Never);
    while opened.upkeep.step(usize::MAX).unwrap() == Progress::Working {}
    assert_eq!(back(&opened, Lsn(u64::MAX)).len(), 3);
}

#[test]
fn the_live_segment_is_never_retired() {
    let (_, mut opened, model) = log_of(&[(1, 10), (1, 20)]);
    assert_eq!(opened.upkeep.retire_below(Lsn(u64::MAX)).unwrap(), 0);
    reads_like(&opened, &model);
}

#[test]
fn upkeep_that_fails_begins_anew_and_the_log_goes_on() {
    let (disk, mut opened, mut model) = log_of(&[(1, 10)]);
    for at in 0..10 {
        disk.set_fault(Fault::Once(at));
        let failed = std::iter::from_fn(|| match opened.upkeep.step(4096) {
            Ok(Progress::Working) => Some(false),
            Ok(Progress::Ready) => None,
            Err(_) => Some(true),
        });
        let failures = failed.filter(|failed| *failed).count();
        disk.set_fault(Fault::Never);
        assert!(failures <= 1);
        assert!(disk.synced_again().is_empty());
        let unprepared = opened.wal.counters().segments_unprepared;
        fill(&mut opened.wal, &mut model, &[(1, 7000)]);
        assert_eq!(opened.wal.counters().segments_unprepared, unprepared);
    }
    reads_like(&opened, &model);
}
