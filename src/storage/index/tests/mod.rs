//! Laws of the whole index: against a model, under failures, after damage.

mod damage;
mod disk;
mod failures;
mod model;

use std::sync::Arc;
use std::time::Duration;

use disk::MemoryDisk;

use super::{Generation, IdEntry, IdHash, IdHasher, Index, Opened, Options, Progress};
use crate::model::{Lsn, Timestamp};

/// Sizes so small that a few dozen ids make many blocks, runs, merges and larger filters.
const TINY: Options = Options {
    window: Duration::ZERO,
    disposable: true,
    cache_bytes: 1 << 20,
    runs_max: 3,
    block_ids_max: 3,
    filter_ids_min: 4,
};

fn hash(id: u64) -> IdHash {
    IdHasher::new([1; 16]).hash(&id.to_string())
}

fn entry(id: u64, lsn: Lsn) -> IdEntry {
    IdEntry { hash: hash(id), lsn, fingerprint: u32::try_from(lsn.0).unwrap() ^ 0xffff }
}

fn open(disk: &MemoryDisk, options: Options) -> Opened {
    Index::open(disk, options).unwrap()
}

/// A sealed generation of the events `lsns`, each with an id of its own number.
fn generation(lsns: std::ops::RangeInclusive<u64>) -> Arc<Generation> {
    let mut generation = Generation::new(1000);
    for lsn in lsns {
        generation.insert(entry(lsn, Lsn(lsn)), Timestamp::from_nanos(0));
    }
    Arc::new(generation)
}

/// Steps until nothing is left to do.
fn settle(opened: &mut Opened) -> Result<(), super::Error> {
    while !matches!(
        opened.flusher.step(Lsn(u64::MAX), Timestamp::from_nanos(0), 7)?,
        Progress::Idle
    ) {}
    Ok(())
}

/// Whether exactly the ids `1..=flushed_through` are found, each with its own copy.
fn assert_holds_what_was_flushed(index: &Index, ids_max: u64) {
    let ids: Vec<_> = (1..=ids_max).collect();
    let hashes: Vec<_> = ids.iter().map(|id| hash(*id)).collect();
    let found = index.view().look_up(&hashes).unwrap();
    for (id, found) in ids.into_iter().zip(found) {
        let expected = (Lsn(id) <= index.flushed_through()).then(|| entry(id, Lsn(id)).hit());
        assert_eq!(found, expected, "id {id}");
    }
}
