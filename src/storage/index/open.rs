//! Opening the index: the file, its list of runs, the filters of their slices.
//!
//! The file is made under another name and renamed when it is whole, so that a crash never leaves
//! half of one. One that cannot be read is set aside when the log can give back its ids; nothing
//! is ever mended in place.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::Builder;

use crate::storage::index::bloom::Filter;
use crate::storage::index::error::Error;
use crate::storage::index::filters::{self, Covered};
use crate::storage::index::flusher::Flusher;
use crate::storage::index::runs::{Run, Scan};
use crate::storage::index::store::{BlockTable, Content, FILE, Store};
use crate::storage::index::{Counters, Index, Options, Slice, View};
use crate::storage::redb_disk::RedbFile;
use crate::world::Disk;
use crate::world::sync::{Mutex, RwLock};

const UNFINISHED: &str = "ids.redb.new";
/// The damaged file that was set aside last; it goes at the next start that finds all well.
const SET_ASIDE: &str = "ids.redb.damaged";

/// An open index and the one flusher that may write to it.
#[derive(Debug)]
pub struct Opened {
    /// The index.
    pub index: Arc<Index>,
    /// Its flusher.
    pub flusher: Flusher,
    /// What was there.
    pub found: Found,
}

/// What opening the index found.
#[derive(Debug)]
pub enum Found {
    /// No file: the index is empty.
    Nothing,
    /// A sound file.
    Whole,
    /// A file that could not be read; it was set aside, and the index is empty.
    Damaged {
        /// What was wrong with it.
        cause: Error,
    },
}

pub(crate) fn open(disk: &dyn Disk, options: Options) -> Result<Opened, Error> {
    if !Index::exists(disk)? {
        return create(disk, options, Found::Nothing);
    }
    let names = disk.names().map_err(Error::io("list the data directory"))?;
    match open_existing(disk, options) {
        Ok(opened) => {
            if names.iter().any(|name| name == SET_ASIDE) {
                disk.remove(SET_ASIDE).map_err(Error::io("remove the old damaged id index"))?;
            }
            Ok(opened)
        }
        Err(cause @ Error::Damaged { .. }) if options.disposable => {
            disk.rename(FILE, SET_ASIDE).map_err(Error::io("set the damaged id index aside"))?;
            create(disk, options, Found::Damaged { cause })
        }
        Err(cause) => Err(cause),
    }
}

fn builder(options: &Options) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    builder
}

fn create(disk: &dyn Disk, options: Options, found: Found) -> Result<Opened, Error> {
    const ACTION: &str = "make an empty id index";
    let file = disk.create(UNFINISHED).map_err(Error::io(ACTION))?;
    let store = Store::open(RedbFile::new(file), &builder(&options))?;
    disk.rename(UNFINISHED, FILE).map_err(Error::io(ACTION))?;
    disk.sync_names().map_err(|cause| {
        // Its name is in doubt for ever: the next start must not find it, and take it for durable.
        let _ = disk.remove(FILE);
        Error::io(ACTION)(cause)
    })?;
    let content = Content { next_run: 1, ..Content::default() };
    assemble(disk, options, store, content, found)
}

fn open_existing(disk: &dyn Disk, options: Options) -> Result<Opened, Error> {
    let file = disk.open(FILE).map_err(Error::io("open the id index"))?;
    let store = Store::open(RedbFile::new(file), &builder(&options))?;
    let content = store.load()?;
    assemble(disk, options, store, content, Found::Whole)
}

fn assemble(
    disk: &dyn Disk,
    options: Options,
    store: Store,
    content: Content,
    found: Found,
) -> Result<Opened, Error> {
    let blocks = store.blocks()?;
    let mut runs_by_slice: BTreeMap<i64, Vec<Arc<Run>>> = BTreeMap::new();
    for run in content.runs {
        runs_by_slice.entry(options.slice_of(run.summary.last_arrival)).or_default().push(run);
    }
    let newest = runs_by_slice.keys().next_back().copied();
    let mut slices = Vec::new();
    let mut saved = BTreeMap::new();
    for (number, runs) in runs_by_slice {
        let filter = Arc::new(Filter::for_ids(0));
        let mut slice = Slice { number, filter, runs };
        let ids = slice.ids().max(options.filter_ids_min);
        // Only the newest slice still grows.
        let is_growing = newest == Some(number);
        let empty = || if is_growing { Filter::growing_from(ids) } else { Filter::for_ids(ids) };
        let loaded = filters::load(disk, number, options.slice_nanos());
        let (filter, covered) = complete(&slice, loaded, &blocks, empty)?;
        slice.filter = Arc::new(filter);
        saved.insert(number, covered);
        slices.push(slice);
    }
    let counters = Arc::new(Counters::default());
    let view = View {
        version: 1,
        flushed_through: content.flushed_through,
        slices,
        blocks,
        counters: Arc::clone(&counters),
    };
    let index = Arc::new(Index {
        options,
        store,
        view: RwLock::new(Arc::new(view)),
        counters,
        saved: Mutex::new(saved),
    });
    let flusher = Flusher::new(Arc::clone(&index), content.next_run, content.leftovers);
    Ok(Opened { index, flusher, found })
}

/// The slice's filter: the saved one with what it lacks, or an `empty` one that is filled. Also what
/// its file covers.
fn complete(
    slice: &Slice,
    loaded: Option<(Filter, Vec<Covered>)>,
    blocks: &BlockTable,
    empty: impl FnOnce() -> Filter,
) -> Result<(Filter, Vec<Covered>), Error> {
    if let Some((mut filter, covered)) = loaded {
        let lacking: Vec<_> =
            slice.runs.iter().filter(|run| !filters::covers(&covered, &run.summary)).collect();
        let ids: u64 = lacking.iter().map(|run| run.summary.ids).sum();
        if filter.ids() as u64 + ids <= filter.capacity() as u64 {
            for run in lacking {
                add(&mut filter, run, blocks)?;
            }
            return Ok((filter, covered));
        }
    }
    let mut filter = empty();
    for run in &slice.runs {
        add(&mut filter, run, blocks)?;
    }
    Ok((filter, Vec::new()))
}

fn add(filter: &mut Filter, run: &Arc<Run>, blocks: &BlockTable) -> Result<(), Error> {
    let mut scan = Scan::new(Arc::clone(run));
    let mut entries = Vec::new();
    while scan.next_block(blocks, &mut entries)? {
        for entry in entries.drain(..) {
            filter.insert_exclusive(entry.hash);
        }
    }
    Ok(())
}
