//! The index of event ids: was this id seen within the dedupe window, and what was its first copy?
//!
//! Ids since the last flush are in [`Generations`], in memory. Older ones are in sorted runs in
//! `ids.redb` behind one bloom filter per slice of arrival time, all of it reached through an
//! immutable [`View`]. The [`Flusher`] alone writes: it turns generations into runs, merges runs
//! and drops slices that left the window, and publishes a view after each.
//!
//! Nothing here is on the way to an acknowledgement, and replay never asks it: what is in the log
//! counts. An id that was inserted within the window is always found in the generations and a view
//! not older than [`Generations::complete_from`].

mod bloom;
mod entry;
mod error;
mod filters;
mod flush;
mod flusher;
mod generation;
mod merge;
mod open;
mod runs;
mod seen;
mod store;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Lsn, Timestamp};
use crate::storage::index::filters::Covered;
use crate::storage::index::runs::Run;
use crate::storage::index::store::{BlockTable, Store};
use crate::world::Disk;
use crate::world::sync::atomic::{AtomicU64, Ordering};
use crate::world::sync::{Mutex, RwLock};

pub use bloom::Filter;
pub use entry::{ENTRY_BYTES, Hit, IdEntry, IdHash, IdHasher};
pub use error::Error;
pub use flusher::{Flusher, Progress};
pub use generation::Generation;
pub use open::{Found, Opened};
pub use runs::{BLOCK_IDS_MAX, Summary, find_packed, pack_block, unpack_block};
pub use seen::Generations;
pub use store::FILE;
pub use verify::{Finding, Report, verify};

/// A window has this many slices, so that at most eight are alive.
const SLICES_PER_WINDOW: i64 = 7;

/// How an index is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long an id is remembered after its arrival; zero: for ever. It is forgotten up to a
    /// seventh of the window later.
    pub window: Duration,
    /// Whether a damaged file may be set aside, because the log can give back every id of the
    /// window. Otherwise the index does not open.
    pub disposable: bool,
    /// Memory for pages of `ids.redb`; less makes look-ups of known ids slower.
    pub cache_bytes: usize,
    /// Runs above which some are merged; more make a look-up of a known id slower.
    pub runs_max: usize,
    /// Entries in a block of a run, at most [`BLOCK_IDS_MAX`].
    pub block_ids_max: usize,
    /// The least number of ids that a filter is made for, 2 bytes each.
    pub filter_ids_min: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: Duration::from_hours(35 * 24),
            disposable: true,
            cache_bytes: 256 << 20,
            runs_max: 32,
            block_ids_max: BLOCK_IDS_MAX,
            filter_ids_min: 256 << 10,
        }
    }
}

impl Options {
    /// The length of a slice; zero when there is only one.
    fn slice_nanos(&self) -> i64 {
        if self.window.is_zero() {
            return 0;
        }
        let window_nanos = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        (window_nanos / SLICES_PER_WINDOW).max(1)
    }

    /// The slice that a run with this last arrival belongs to.
    fn slice_of(&self, last_arrival: Timestamp) -> i64 {
        match self.slice_nanos() {
            0 => 0,
            nanos => last_arrival.as_nanos().div_euclid(nanos),
        }
    }
}

/// The flushed ids of one data directory.
#[derive(Debug)]
pub struct Index {
    options: Options,
    store: Store,
    view: RwLock<Arc<View>>,
    counters: Arc<Counters>,
    /// What the filter files hold, by slice.
    saved: Mutex<BTreeMap<i64, Vec<Covered>>>,
}

/// The flushed ids as of one moment; it keeps what it shows readable until it is dropped.
#[derive(Debug)]
pub struct View {
    version: u64,
    flushed_through: Lsn,
    /// By number, which is the order of arrival.
    slices: Vec<Slice>,
    blocks: BlockTable,
    counters: Arc<Counters>,
}

/// The runs whose last arrivals are in one stretch of time, with one filter over all their ids.
#[derive(Clone, Debug)]
struct Slice {
    number: i64,
    filter: Arc<Filter>,
    /// In the order of their LSNs; never empty.
    runs: Vec<Arc<Run>>,
}

#[derive(Debug, Default)]
struct Counters {
    filter_hits: AtomicU64,
    filter_false_positives: AtomicU64,
}

/// Numbers for the metrics page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Runs that exist.
    pub runs: u64,
    /// Slices that are alive.
    pub slices: u64,
    /// Ids in the filters of the slices.
    pub filter_ids: u64,
    /// Bits of the filters of the slices.
    pub filter_bits: u64,
    /// Look-ups that a slice's filter sent to its runs, since the start.
    pub filter_hits: u64,
    /// Those that the runs did not have.
    pub filter_false_positives: u64,
}

impl Index {
    /// Whether the data directory has an index.
    ///
    /// # Errors
    /// [`Error::Failed`]
    pub fn exists(disk: &dyn Disk) -> Result<bool, Error> {
        let names = disk.names().map_err(Error::io("list the data directory"))?;
        Ok(names.iter().any(|name| name == FILE))
    }

    /// Opens the index of a data directory, or starts an empty one. Reads the filters, or rebuilds
    /// them by a scan of the runs (20 M ids a second).
    ///
    /// # Errors
    /// [`Error::NewerFormat`]; when the file is not [`Options::disposable`] also whatever is wrong
    /// with it; [`Error::Failed`] when an empty one cannot be made.
    pub fn open(disk: &dyn Disk, options: Options) -> Result<Opened, Error> {
        open::open(disk, options)
    }

    /// The current view.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read())
    }

    /// The last LSN whose id stands in a run (or did, before it left the window): ids of later
    /// events must be refilled from the log. Zero when nothing was ever flushed.
    pub fn flushed_through(&self) -> Lsn {
        self.view().flushed_through
    }

    /// Writes the filters that have changed since they were saved, so that the next start need not
    /// rebuild them. Every 4 MiB are synced. A flush may go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Failed`]; the index is as good as before.
    pub fn save_filters(&self, disk: &dyn Disk) -> Result<(), Error> {
        let mut saved = self.saved.lock();
        let view = self.view();
        let mut saving = BTreeMap::new();
        for slice in &view.slices {
            let covered = filters::covered(slice);
            if saved.get(&slice.number) != Some(&covered) {
                saved.remove(&slice.number);
                filters::save(disk, slice, &covered, self.options.slice_nanos())
                    .map_err(Error::io("save a filter of the id index"))?;
            }
            saving.insert(slice.number, covered);
        }
        filters::keep_only(disk, &view.slices)
            .map_err(Error::io("remove old filters of the id index"))?;
        *saved = saving;
        Ok(())
    }

    /// Numbers for the metrics page.
    pub fn stats(&self) -> IndexStats {
        let view = self.view();
        let mut stats = IndexStats {
            runs: runs_count(&view.slices) as u64,
            slices: view.slices.len() as u64,
            filter_hits: self.counters.filter_hits.load(Ordering::Relaxed),
            filter_false_positives: self.counters.filter_false_positives.load(Ordering::Relaxed),
            ..IndexStats::default()
        };
        for slice in &view.slices {
            stats.filter_ids += slice.filter.ids() as u64;
            stats.filter_bits += slice.filter.bits() as u64;
        }
        stats
    }

    /// Shows what the last commit left, and gives the version of the view that does.
    fn publish(&self, slices: Vec<Slice>, flushed_through: Lsn) -> Result<u64, Error> {
        let blocks = self.store.blocks()?;
        let counters = Arc::clone(&self.counters);
        let version = self.view().version + 1;
        let view = Arc::new(View { version, flushed_through, slices, blocks, counters });
        let previous = std::mem::replace(&mut *self.view.write(), view);
        // It may be the last to hold a filter of 100 MB: freed here, not under the lock.
        drop(previous);
        Ok(version)
    }
}

impl View {
    /// Views are numbered in the order of their publication, from 1 at each start.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What is known of each of `hashes`, in their order. An id that passes no slice's filter costs
    /// no read; one that does is looked for in the slice's runs, newest first, with one read in
    /// each whose own filter it passes.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Failed`] when a run cannot be read; no id is then known to be
    /// new.
    pub fn look_up(&self, hashes: &[IdHash]) -> Result<Vec<Option<Hit>>, Error> {
        let mut hits = vec![None; hashes.len()];
        let mut passed = Vec::with_capacity(hashes.len());
        for slice in self.slices.iter().rev() {
            slice.filter.test_batch(hashes, &mut passed);
            for ((hash, hit), passed) in hashes.iter().zip(&mut hits).zip(&passed) {
                if *passed && hit.is_none() {
                    *hit = slice.find(&self.blocks, *hash)?;
                    self.counters.filter_hits.fetch_add(1, Ordering::Relaxed);
                    let missed = u64::from(hit.is_none());
                    self.counters.filter_false_positives.fetch_add(missed, Ordering::Relaxed);
                }
            }
        }
        Ok(hits)
    }

    fn slice(&self, number: i64) -> Option<&Slice> {
        self.slices.iter().find(|slice| slice.number == number)
    }
}

fn runs_count(slices: &[Slice]) -> usize {
    slices.iter().map(|slice| slice.runs.len()).sum()
}

impl Slice {
    fn find(&self, blocks: &BlockTable, hash: IdHash) -> Result<Option<Hit>, Error> {
        for run in self.runs.iter().rev() {
            if let Some(hit) = run.find(blocks, hash)? {
                return Ok(Some(hit));
            }
        }
        Ok(None)
    }

    fn last_arrival(&self) -> Timestamp {
        let arrivals = self.runs.iter().map(|run| run.summary.last_arrival);
        arrivals.max().unwrap_or(Timestamp::MIN)
    }

    fn ids(&self) -> usize {
        let ids: u64 = self.runs.iter().map(|run| run.summary.ids).sum();
        usize::try_from(ids).expect("ids on disk number fewer than 2^64 bytes of memory")
    }
}
