//! Moves event ids from memory to disk, a generation at a time; never on the way to an answer.

use std::sync::Arc;

use crate::engine::shared::Shared;
use crate::model::{Lsn, Timestamp};
use crate::storage::index::{Error, Flusher, Generation, Progress};
use crate::world::sabotage::{self, Sabotage};

/// Ids that one step sorts and writes: about 4 MiB.
const STEP_IDS: usize = 128 * 1024;

/// The job that flushes generations.
#[derive(Debug)]
pub struct Flush {
    shared: Arc<Shared>,
    flusher: Flusher,
}

impl Flush {
    /// A job that writes with `flusher`.
    pub fn new(shared: Arc<Shared>, flusher: Flusher) -> Self {
        Self { shared, flusher }
    }

    /// Does the next bounded piece of work; false when there is nothing to do now.
    ///
    /// # Errors
    /// The index must be opened anew, so the process must end.
    pub fn step(&mut self) -> Result<bool, Error> {
        let wanted = self.shared.generations.lock().wants_next();
        if let Some(ids) = wanted {
            // Not under the lock.
            let next = Generation::touched(ids);
            self.shared.generations.lock().put_next(next);
        }
        if !self.flusher.is_flushing() {
            let sealed = self.shared.generations.lock().oldest_sealed();
            if let Some(generation) = sealed {
                self.flusher.start(generation);
            }
        }
        // Ids are forgotten by log time, and only when the clock behind it is trusted. It is read
        // first: the doubt is there before a time that is in doubt.
        let log_time = self.shared.state.log_time();
        let now = if self.shared.clock_in_doubt() { Timestamp::MIN } else { log_time };
        let is_unbound = sabotage::is(Sabotage::IndexBound);
        let durable = if is_unbound { Lsn(u64::MAX) } else { self.shared.durable() };
        match self.flusher.step(durable, now, STEP_IDS)? {
            Progress::Worked => Ok(true),
            Progress::Flushed { generation, view_version } => {
                let mut generations = self.shared.generations.lock();
                generations.flushed(&generation, view_version);
                // Whoever needs its place uses its memory: it must be the only one to have it.
                drop(generation);
                Ok(true)
            }
            Progress::WaitsForLog | Progress::Idle => Ok(false),
        }
    }

    /// Saves the filters, so that the next start need not rebuild them.
    ///
    /// # Errors
    /// The disk's; the index is as good as before.
    pub fn save(&mut self) -> Result<(), Error> {
        self.shared.index.save_filters(&*self.shared.world.disk)
    }
}
