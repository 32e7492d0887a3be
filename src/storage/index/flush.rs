//! One flush: a sealed generation becomes a run, a bounded portion at a time.
//!
//! First the slice's filter is made anew, when it is too small, from the slice's runs; then the
//! generation's entries are written in the order of their hashes, a transaction a portion, and
//! added to the filter; last the run's row makes it exist. Until then no reader sees any of it.

use std::sync::Arc;

use crate::storage::index::bloom::Filter;
use crate::storage::index::entry::IdEntry;
use crate::storage::index::error::Error;
use crate::storage::index::generation::{Generation, SortedEntries};
use crate::storage::index::runs::{Portion, RunWriter, Scan, Summary};
use crate::storage::index::{Index, Slice, View, runs_count, store};

/// A flush in progress.
#[derive(Debug)]
pub(crate) struct Flush {
    generation: Arc<Generation>,
    slice: i64,
    filter: Arc<Filter>,
    growing: Option<Growing>,
    sorted: SortedEntries,
    writer: RunWriter,
    is_written: bool,
}

/// The older ids that a new, larger filter still lacks.
#[derive(Debug)]
struct Growing {
    view: Arc<View>,
    scans: Vec<Scan>,
}

impl Flush {
    /// Prepares to write `generation` as run `number`.
    pub(crate) fn new(index: &Index, generation: Arc<Generation>, number: u64) -> Self {
        let options = &index.options;
        let view = index.view();
        assert!(!generation.is_empty(), "an empty generation is never sealed");
        assert!(generation.first_lsn() > view.flushed_through, "no id is flushed twice");
        let slice_number = options.slice_of(generation.last_arrival());
        let slice = view.slice(slice_number);
        let ids = slice.map_or(0, |slice| slice.filter.ids()) + generation.ids();
        let fitting = slice.filter(|slice| ids <= slice.filter.capacity());
        let (filter, growing) = if let Some(slice) = fitting {
            (Arc::clone(&slice.filter), None)
        } else {
            let runs = slice.map_or(&[][..], |slice| &slice.runs);
            let scans = runs.iter().map(|run| Scan::new(Arc::clone(run))).collect();
            let filter = Filter::growing_from(ids.max(options.filter_ids_min));
            (Arc::new(filter), Some(Growing { view: Arc::clone(&view), scans }))
        };
        Self {
            sorted: SortedEntries::new(Arc::clone(&generation)),
            writer: RunWriter::new(number, generation.ids(), options.block_ids_max),
            generation,
            slice: slice_number,
            filter,
            growing,
            is_written: false,
        }
    }

    /// The slice that the run will belong to.
    pub(crate) fn slice(&self) -> i64 {
        self.slice
    }

    pub(crate) fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// Whether only [`Self::finish`] is left.
    pub(crate) fn is_written(&self) -> bool {
        self.is_written
    }

    /// Scans or writes about `budget` ids.
    pub(crate) fn step(&mut self, index: &Index, budget: usize) -> Result<(), Error> {
        if let Some(growing) = &mut self.growing {
            if !growing.step(&mut self.filter, budget)? {
                self.growing = None;
            }
            return Ok(());
        }
        let mut entries = Vec::with_capacity(budget);
        let portion =
            if self.sorted.take(budget, &mut entries) { Portion::More } else { Portion::Last };
        add(&mut self.filter, &entries);
        if self.writer.take(entries) || portion == Portion::Last {
            index.store.commit("write a run of the id index", |transaction| {
                self.writer.write(transaction, portion)
            })?;
        }
        self.is_written = portion == Portion::Last;
        Ok(())
    }

    /// Makes the run exist and gives the version of the first view that shows it.
    pub(crate) fn finish(self, index: &Index) -> Result<u64, Error> {
        let run = Arc::new(self.writer.finish(Summary::of_generation(&self.generation)));
        let view = index.view();
        let flushed_through = view.flushed_through.max(run.summary.last_lsn);
        let mut slices = view.slices.clone();
        if let Some(slice) = slices.iter_mut().find(|slice| slice.number == self.slice) {
            slice.filter = self.filter;
            slice.runs.push(Arc::clone(&run));
        } else {
            slices.push(Slice {
                number: self.slice,
                filter: self.filter,
                runs: vec![Arc::clone(&run)],
            });
            slices.sort_by_key(|slice| slice.number);
        }
        index.store.commit("add a run to the id index", |transaction| {
            store::add_run(transaction, &run)?;
            store::set_state(transaction, flushed_through, runs_count(&slices))
        })?;
        index.publish(slices, flushed_through)
    }
}

impl Growing {
    /// Adds about `budget` ids to `filter`; false when none are left.
    fn step(&mut self, filter: &mut Arc<Filter>, budget: usize) -> Result<bool, Error> {
        let mut entries = Vec::new();
        let mut added = 0;
        while added < budget {
            let Some(scan) = self.scans.last_mut() else {
                return Ok(false);
            };
            if !scan.next_block(&self.view.blocks, &mut entries)? {
                self.scans.pop();
            }
            added += entries.len();
            add(filter, &entries);
            entries.clear();
        }
        Ok(true)
    }
}

/// Adds ids to a slice's filter. One that no view shows yet takes no locked instructions, which are
/// most of the work.
fn add(filter: &mut Arc<Filter>, entries: &[IdEntry]) {
    match Arc::get_mut(filter) {
        Some(unseen) => entries.iter().for_each(|entry| unseen.insert_exclusive(entry.hash)),
        None => entries.iter().for_each(|entry| filter.insert(entry.hash)),
    }
}
