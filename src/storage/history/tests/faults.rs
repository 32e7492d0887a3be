//! Failing operations and power cuts: history has the old files or the new ones, never a part.

use super::{Draw, Item, Stored, open, push, read, write};
use crate::model::Lsn;
use crate::storage::history::{Error, Progress, verify};
use crate::world::sim::{FaultKind, Repeat, SimDisk};

/// Two files, then a third, then the first goes.
fn workload(disk: &SimDisk, items: &[Item]) -> Result<(), Error> {
    let history = open(disk)?;
    write(&history, &items[..1500])?;
    let history = open(disk)?;
    write(&history, &items[1500..1510])?;
    write(&history, &items[1510..])?;
    history.remove(&[history.files()[0].file.clone()])?;
    read(&history, 1501, items.len() as u64).map(drop)
}

/// What is there is whole and can go on; how far it reaches.
fn check_after(disk: &SimDisk, items: &[Item]) -> (Lsn, Lsn) {
    let history = open(disk).unwrap();
    let report = verify(disk, None).unwrap();
    assert!(report.damage.is_empty() && report.unfinished.is_empty(), "{report:?}");
    assert!(history.gaps().is_empty());
    let (first, last) = (history.first_lsn().unwrap_or(Lsn(1)), history.last_lsn());
    let ends = (first.0, last.0);
    let count = items.len() as u64;
    let known = [(1, 0), (1, 1500), (1, 1510), (1, count), (1501, count)];
    assert!(known.contains(&ends), "{ends:?}");
    let range = usize::try_from(first.0 - 1).unwrap()..usize::try_from(last.0).unwrap();
    assert_eq!(read(&history, first.0, last.0).unwrap(), &items[range]);
    if last.0 < count {
        write(&history, &items[usize::try_from(last.0).unwrap()..]).unwrap();
        assert_eq!(
            read(&history, first.0, count).unwrap(),
            &items[usize::try_from(first.0 - 1).unwrap()..]
        );
    }
    (first, last)
}

#[test]
fn after_a_power_cut_at_any_operation_whole_files_are_there() {
    let items = Draw(11).items(1, 1530);
    let whole = SimDisk::new();
    workload(&whole, &items).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for operation in 1..=whole.operations() {
        let disk = SimDisk::new();
        disk.stop_at(operation);
        workload(&disk, &items).unwrap_err();
        for crashed in [disk.crash_dropping_all(), disk.crash(operation), disk.crash(!operation)] {
            seen.insert(check_after(&crashed, &items));
        }
        disk.clear_faults();
        seen.insert(check_after(&disk.restart(), &items));
    }
    assert_eq!(seen.len(), 5, "every state is met: {seen:?}");
}

#[test]
fn an_operation_that_fails_fails_the_work_and_nothing_else() {
    let items = Draw(12).items(1, 1530);
    let whole = SimDisk::new();
    workload(&whole, &items).unwrap();
    for operation in 1..=whole.operations() {
        for kind in [FaultKind::Io, FaultKind::NoSpace, FaultKind::ShortWrite] {
            for repeat in [Repeat::Once, Repeat::Forever] {
                let disk = SimDisk::new();
                disk.fail_at(operation, kind, repeat);
                match workload(&disk, &items) {
                    Ok(()) => assert_ne!(kind, FaultKind::Io, "operation {operation}"),
                    Err(error) => assert!(matches!(error, Error::Io { .. }), "{error}"),
                }
                disk.clear_faults();
                check_after(&disk.restart(), &items);
                check_after(&disk.crash(operation), &items);
            }
        }
    }
}

#[test]
fn a_bit_that_rots_while_a_file_is_written_keeps_it_from_counting() {
    let disk = SimDisk::new();
    let history = open(&disk).unwrap();
    let items = Draw(13).items(1, 100);
    let mut writer = history.writer(Lsn(1)).unwrap();
    for item in &items {
        push(&mut writer, item).unwrap();
    }
    assert_eq!(writer.next_lsn(), Lsn(101));
    assert_eq!(writer.finish_step().unwrap(), Progress::Working);
    disk.flip_bit("history-00000000000000000001.tmp", 500, 3);
    let error = loop {
        match writer.finish_step() {
            Ok(progress) => assert_eq!(progress, Progress::Working),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    drop(writer);
    assert_eq!((history.last_lsn(), open(&disk).unwrap().last_lsn()), (Lsn::ZERO, Lsn::ZERO));
    write(&history, &items).unwrap();
    assert_eq!(read(&history, 1, 100).unwrap(), items);
}

#[test]
fn a_file_that_cannot_be_removed_stays() {
    let disk = SimDisk::new();
    let history = open(&disk).unwrap();
    let items = Draw(14).items(1, 20);
    write(&history, &items[..10]).unwrap();
    write(&history, &items[10..]).unwrap();
    let names: Vec<_> = history.files().into_iter().map(|file| file.file).collect();
    disk.fail_at(disk.operations() + 1, FaultKind::Io, Repeat::Once);
    assert!(matches!(history.remove(&names), Err(Error::Io { .. })));
    assert_eq!(read(&history, 1, 20).unwrap(), items);
    // Nobody told history that the file is gone already.
    crate::world::Disk::remove(&disk, &names[0]).unwrap();
    history.remove(&names).unwrap();
    assert!(history.files().is_empty());
    let mut shown = 0;
    let visit = |_: &Stored<'_>| {
        shown += 1;
        std::ops::ControlFlow::Continue(())
    };
    history.scan_back(&super::super::Query::default(), Lsn(99), visit).unwrap();
    assert_eq!(shown, 0);
}
