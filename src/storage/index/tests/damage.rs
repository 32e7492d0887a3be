//! Damaged files: a filter is rebuilt, the file of runs is set aside or refused.

use super::disk::MemoryDisk;
use super::{Options, TINY, assert_holds_what_was_flushed, entry, generation, hash, open, settle};
use crate::model::Lsn;
use crate::storage::index::{Error, FILE, Found, Index, filters, verify};
use crate::world::Disk;

const IDS: u64 = 24;

/// A directory with three runs of eight ids and their saved filter.
fn directory() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut opened = open(&disk, TINY);
    for first in (1..=IDS).step_by(8) {
        opened.flusher.start(generation(first..=first + 7));
        settle(&mut opened).unwrap();
    }
    opened.index.save_filters(&disk).unwrap();
    drop(opened);
    disk
}

#[test]
fn a_saved_filter_is_loaded_and_completed_with_newer_runs() {
    let disk = directory();
    let (filter, covered) = filters::load(&disk, 0, 0).unwrap();
    assert_eq!((filter.ids() as u64, covered.len()), (IDS, 3));

    let mut opened = open(&disk, TINY);
    opened.flusher.start(generation(IDS + 1..=IDS + 8));
    settle(&mut opened).unwrap();
    drop(opened);
    let opened = open(&disk, TINY);
    assert_eq!(opened.index.stats().filter_ids, IDS + 8);
    assert_holds_what_was_flushed(&opened.index, IDS + 20);
}

#[test]
fn a_filter_file_that_is_cut_or_garbled_anywhere_is_rebuilt() {
    let whole = directory();
    let bytes = whole.get("filter-0");
    let check = |bytes: Vec<u8>, what: &str, at: usize| {
        let disk = whole.after_kill();
        disk.put("filter-0", bytes);
        assert!(filters::load(&disk, 0, 0).is_none(), "{what} at {at}");
        let opened = open(&disk, TINY);
        assert!(matches!(opened.found, Found::Whole));
        assert_eq!(opened.index.stats().filter_ids, IDS, "{what} at {at}");
        assert_holds_what_was_flushed(&opened.index, IDS);
    };
    for at in 0..bytes.len() {
        check(bytes[..at].to_vec(), "cut", at);
        let mut garbled = bytes.clone();
        garbled[at] ^= 0x10;
        check(garbled, "garbled", at);
    }
}

#[test]
fn a_filter_of_another_slice_or_window_is_not_loaded() {
    let disk = directory();
    assert!(filters::load(&disk, 0, 1).is_none());
    disk.put("filter-1", disk.get("filter-0"));
    assert!(filters::load(&disk, 1, 0).is_none());
    let opened = open(&disk, TINY);
    opened.index.save_filters(&disk).unwrap();
    assert_eq!(disk.names().unwrap(), ["filter-0", FILE]);
}

#[test]
fn a_garbled_file_of_runs_gives_right_answers_or_an_error() {
    let whole = directory();
    let bytes = whole.get(FILE);
    let mut noticed = 0;
    for at in (0..bytes.len()).step_by(307) {
        let mut garbled = bytes.clone();
        for byte in garbled.iter_mut().skip(at).take(16) {
            *byte = !*byte;
        }
        let disk = whole.after_kill();
        disk.put(FILE, garbled);
        let verified = verify(&disk).unwrap();
        let opened = open(&disk, TINY);
        match opened.found {
            Found::Damaged { .. } => {
                noticed += 1;
                assert!(!verified.findings.is_empty(), "at {at}: {verified:?}");
                assert_eq!(opened.index.flushed_through(), Lsn::ZERO);
                assert_holds_what_was_flushed(&opened.index, IDS);
            }
            Found::Whole => {
                assert_eq!(opened.index.flushed_through(), Lsn(IDS), "at {at}");
                for id in 1..=IDS {
                    match opened.index.view().look_up(&[hash(id)]) {
                        Ok(hits) => assert_eq!(hits, [Some(entry(id, Lsn(id)).hit())], "at {at}"),
                        Err(Error::Damaged { .. } | Error::Failed { .. }) => {
                            noticed += 1;
                            assert!(!verified.findings.is_empty(), "at {at}: {verified:?}");
                        }
                        Err(error @ Error::NewerFormat { .. }) => panic!("{error}"),
                    }
                }
            }
            Found::Nothing => panic!("at {at}: the file was there"),
        }
    }
    assert!(noticed > 0);
}

#[test]
fn a_file_that_the_log_cannot_replace_is_refused_and_left_as_it_is() {
    let disk = directory();
    let garbage = vec![7; 100_000];
    disk.put(FILE, garbage.clone());
    let primary = Options { disposable: false, ..TINY };
    assert!(Index::open(&disk, primary).is_err());
    assert_eq!(disk.get(FILE), garbage);

    let opened = open(&disk, TINY);
    assert!(matches!(opened.found, Found::Damaged { .. }));
    assert_eq!(disk.get("ids.redb.damaged"), garbage);
    drop(opened);
    let opened = open(&disk, TINY);
    assert!(matches!(opened.found, Found::Whole));
    assert!(disk.open("ids.redb.damaged").is_err(), "it goes once all is well");
}
