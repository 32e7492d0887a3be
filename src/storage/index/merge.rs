//! One merge: neighbouring runs of a slice become one run, a bounded portion at a time.
//!
//! Ids, filter and what a look-up answers stay the same; there are fewer runs to ask. Only runs
//! that are neighbours in the log are merged, so that ranges of LSNs never overlap.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::storage::index::entry::{IdEntry, IdHash};
use crate::storage::index::error::Error;
use crate::storage::index::runs::{Portion, Run, RunWriter, Scan, Summary};
use crate::storage::index::store::BlockTable;
use crate::storage::index::{Index, Slice, runs_count, store};

/// Runs that are merged at once: each merge then rewrites an id to save seven runs of its size.
const SOURCES_MAX: usize = 8;

/// A merge in progress.
#[derive(Debug)]
pub(crate) struct Merge {
    slice: i64,
    /// In the order of their LSNs.
    sources: Vec<Arc<Run>>,
    inputs: Vec<Input>,
    last: Option<IdHash>,
    writer: RunWriter,
    is_written: bool,
}

/// One source, read ahead by a block.
#[derive(Debug)]
struct Input {
    scan: Scan,
    entries: VecDeque<IdEntry>,
}

/// The runs to merge when there are more than `runs_max`: those that cost the least to rewrite for
/// each run that is saved.
pub(crate) fn candidates(slices: &[Slice], runs_max: usize) -> Option<(i64, Vec<Arc<Run>>)> {
    let mut runs: Vec<_> =
        slices.iter().flat_map(|slice| slice.runs.iter().map(|run| (slice.number, run))).collect();
    if runs.len() <= runs_max {
        return None;
    }
    runs.sort_by_key(|(_, run)| run.summary.first_lsn);
    let neighbours = runs.chunk_by(|(left, _), (right, _)| left == right);
    let groups = neighbours.filter(|neighbours| neighbours.len() > 1).flat_map(|neighbours| {
        neighbours.windows(neighbours.len().min(SOURCES_MAX)).map(|group| {
            let ids: u64 = group.iter().map(|(_, run)| run.summary.ids).sum();
            (ids / (group.len() as u64 - 1), group)
        })
    });
    let (_, group) = groups.min_by_key(|(ids_per_run_saved, _)| *ids_per_run_saved)?;
    let (slice, _) = group.first()?;
    Some((*slice, group.iter().map(|(_, run)| Arc::clone(run)).collect()))
}

impl Merge {
    /// Prepares to write `sources`, neighbours within `slice`, as run `number`.
    pub(crate) fn new(index: &Index, slice: i64, sources: Vec<Arc<Run>>, number: u64) -> Self {
        let inputs = sources
            .iter()
            .map(|run| Input { scan: Scan::new(Arc::clone(run)), entries: VecDeque::new() })
            .collect();
        let ids: u64 = sources.iter().map(|run| run.summary.ids).sum();
        let ids = usize::try_from(ids).expect("the filters of the sources are in memory");
        let writer = RunWriter::new(number, ids, index.options.block_ids_max);
        Self { slice, sources, inputs, last: None, writer, is_written: false }
    }

    /// The slice whose runs are merged.
    pub(crate) fn slice(&self) -> i64 {
        self.slice
    }

    /// The number of the run that is being written.
    pub(crate) fn number(&self) -> u64 {
        self.writer.number()
    }

    /// Whether only [`Self::finish`] is left.
    pub(crate) fn is_written(&self) -> bool {
        self.is_written
    }

    /// Writes up to `budget` ids.
    pub(crate) fn step(&mut self, index: &Index, budget: usize) -> Result<(), Error> {
        let view = index.view();
        let mut entries = Vec::with_capacity(budget);
        let mut portion = Portion::More;
        while entries.len() < budget && portion == Portion::More {
            match self.next(&view.blocks)? {
                // An id that was forgotten and came again, met together in a refill: the newer
                // copy came first.
                Some(entry) if self.last == Some(entry.hash) => {}
                Some(entry) => {
                    self.last = Some(entry.hash);
                    entries.push(entry);
                }
                None => portion = Portion::Last,
            }
        }
        if self.writer.take(entries) || portion == Portion::Last {
            index.store.commit("merge runs of the id index", |transaction| {
                self.writer.write(transaction, portion)
            })?;
        }
        self.is_written = portion == Portion::Last;
        Ok(())
    }

    /// The entry with the lowest hash; of equal ones that of the newest run.
    fn next(&mut self, blocks: &BlockTable) -> Result<Option<IdEntry>, Error> {
        for input in &mut self.inputs {
            if input.entries.is_empty() {
                input.scan.next_block(blocks, &mut input.entries)?;
            }
        }
        let lowest = self
            .inputs
            .iter_mut()
            .rev()
            .filter(|input| !input.entries.is_empty())
            .min_by_key(|input| input.entries.front().map(|entry| entry.hash));
        Ok(lowest.and_then(|input| input.entries.pop_front()))
    }

    /// Puts the merged run in the place of its sources.
    pub(crate) fn finish(self, index: &Index) -> Result<(), Error> {
        let summaries = self.sources.iter().map(|run| run.summary);
        let summary = summaries.reduce(Summary::and).expect("a merge has sources");
        let merged = Arc::new(self.writer.finish(summary));
        let view = index.view();
        let mut slices = view.slices.clone();
        for slice in slices.iter_mut().filter(|slice| slice.number == self.slice) {
            slice.runs.retain(|run| !self.sources.iter().any(|source| Arc::ptr_eq(run, source)));
            slice.runs.push(Arc::clone(&merged));
            slice.runs.sort_by_key(|run| run.summary.first_lsn);
        }
        index.store.commit("add a merged run to the id index", |transaction| {
            store::remove_runs(transaction, &self.sources)?;
            store::add_run(transaction, &merged)?;
            store::set_state(transaction, view.flushed_through, runs_count(&slices))
        })?;
        index.publish(slices, view.flushed_through)?;
        Ok(())
    }

    /// The runs that [`Self::finish`] replaces.
    pub(crate) fn sources(&self) -> impl Iterator<Item = u64> {
        self.sources.iter().map(|run| run.number)
    }
}
