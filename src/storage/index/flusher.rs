//! The one writer of the index: flushes, forgets slices, cleans up behind both, merges.
//!
//! Every call of [`Flusher::step`] does one bounded piece of the most urgent work and at most one
//! commit of about 4 MiB, because a larger one makes a commit of the log wait. It has no thread and
//! reads no clock. A flush comes first: the committer may be waiting for its place.

use std::sync::Arc;

use crate::model::{Lsn, Timestamp};
use crate::storage::index::entry::ENTRY_BYTES;
use crate::storage::index::error::Error;
use crate::storage::index::flush::Flush;
use crate::storage::index::generation::Generation;
use crate::storage::index::merge::{self, Merge};
use crate::storage::index::{Index, runs_count, store};

/// Ids in one commit, whatever the budget.
const STEP_IDS_MAX: usize = (4 << 20) / (ENTRY_BYTES + 4);

/// Writes to one index, in steps.
#[derive(Debug)]
pub struct Flusher {
    index: Arc<Index>,
    next_run: u64,
    flush: Option<Flush>,
    merge: Option<Merge>,
    /// Runs that do not exist and may have blocks.
    leftovers: Vec<u64>,
    is_failed: bool,
}

/// What a step did.
#[derive(Debug)]
pub enum Progress {
    /// A piece of work; there may be more.
    Worked,
    /// The generation's ids stand in a run.
    Flushed {
        /// The generation that was given to [`Flusher::start`].
        generation: Arc<Generation>,
        /// The first view that shows its ids: what [`super::Generations::flushed`] wants.
        view_version: u64,
    },
    /// Nothing: the flush is written and waits until the log is durable up to its last LSN.
    WaitsForLog,
    /// Nothing: there is nothing to do now.
    Idle,
}

impl Flusher {
    pub(crate) fn new(index: Arc<Index>, next_run: u64, leftovers: Vec<u64>) -> Self {
        Self { index, next_run, flush: None, merge: None, leftovers, is_failed: false }
    }

    /// Whether a generation is being flushed.
    pub fn is_flushing(&self) -> bool {
        self.flush.is_some()
    }

    /// Begins to flush a sealed generation, the oldest that no view covers.
    ///
    /// # Panics
    /// When one is being flushed, or when the generation is empty or has LSNs that were flushed.
    pub fn start(&mut self, generation: Arc<Generation>) {
        assert!(self.flush.is_none(), "one generation is flushed at a time");
        let number = self.take_number();
        self.flush = Some(Flush::new(&self.index, generation, number));
    }

    /// Does one piece of work on about `budget` ids. A run exists only once `durable` has reached
    /// its last LSN. Ids whose slice lies more than the window before `now` are forgotten: `now`
    /// must be a time that is trusted.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Damaged`]. Every later step fails too: the index must be opened
    /// anew, and what was being flushed must be refilled from the log.
    pub fn step(&mut self, durable: Lsn, now: Timestamp, budget: usize) -> Result<Progress, Error> {
        if self.is_failed {
            let cause = "an earlier step failed".into();
            return Err(Error::Failed { action: "write to the id index", cause });
        }
        let result = self.most_urgent(durable, now, budget.clamp(1, STEP_IDS_MAX));
        self.is_failed = result.is_err();
        result
    }

    fn most_urgent(
        &mut self,
        durable: Lsn,
        now: Timestamp,
        budget: usize,
    ) -> Result<Progress, Error> {
        if let Some(flush) = self.flush.as_mut().filter(|flush| !flush.is_written()) {
            flush.step(&self.index, budget)?;
            return Ok(Progress::Worked);
        }
        if let Some(flush) = self.flush.take_if(|flush| flush.generation().last_lsn() <= durable) {
            let generation = Arc::clone(flush.generation());
            let view_version = flush.finish(&self.index)?;
            return Ok(Progress::Flushed { generation, view_version });
        }
        if self.forget(now)? || self.clean(budget)? || self.step_merge(budget)? {
            return Ok(Progress::Worked);
        }
        Ok(if self.flush.is_some() { Progress::WaitsForLog } else { Progress::Idle })
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_run;
        self.next_run += 1;
        number
    }

    /// Drops the slices whose last arrival left the window. Says whether there were any.
    fn forget(&mut self, now: Timestamp) -> Result<bool, Error> {
        let window = self.index.options.window;
        let flushing = self.flush.as_ref().map(Flush::slice);
        let view = self.index.view();
        let (old, kept): (Vec<_>, Vec<_>) = view.slices.iter().cloned().partition(|slice| {
            !window.is_zero()
                && flushing != Some(slice.number)
                && slice.last_arrival().plus(window) < now
        });
        if old.is_empty() {
            return Ok(false);
        }
        if let Some(merge) =
            self.merge.take_if(|merge| old.iter().any(|slice| slice.number == merge.slice()))
        {
            self.leftovers.push(merge.number());
        }
        let runs: Vec<_> = old.into_iter().flat_map(|slice| slice.runs).collect();
        self.index.store.commit("forget old runs of the id index", |transaction| {
            store::remove_runs(transaction, &runs)?;
            store::set_state(transaction, view.flushed_through, runs_count(&kept))
        })?;
        self.leftovers.extend(runs.iter().map(|run| run.number));
        self.index.publish(kept, view.flushed_through)?;
        Ok(true)
    }

    /// Removes blocks of runs that do not exist. Says whether there may have been any.
    fn clean(&mut self, budget: usize) -> Result<bool, Error> {
        let Some(run) = self.leftovers.last().copied() else {
            return Ok(false);
        };
        let blocks_max = budget.div_ceil(self.index.options.block_ids_max.max(1));
        let mut is_gone = false;
        self.index.store.commit("remove leftovers of the id index", |transaction| {
            is_gone = store::remove_leftovers(transaction, run, blocks_max)?;
            Ok(())
        })?;
        if is_gone {
            self.leftovers.pop();
        }
        Ok(true)
    }

    /// Goes on with a merge, or starts one when there are too many runs. Says whether there is one.
    fn step_merge(&mut self, budget: usize) -> Result<bool, Error> {
        if self.merge.is_none() {
            let runs_max = self.index.options.runs_max;
            let Some((slice, sources)) = merge::candidates(&self.index.view().slices, runs_max)
            else {
                return Ok(false);
            };
            let number = self.take_number();
            self.merge = Some(Merge::new(&self.index, slice, sources, number));
        }
        if let Some(merge) = self.merge.take_if(|merge| merge.is_written()) {
            self.leftovers.extend(merge.sources());
            merge.finish(&self.index)?;
        } else if let Some(merge) = &mut self.merge {
            merge.step(&self.index, budget)?;
        }
        Ok(true)
    }
}
