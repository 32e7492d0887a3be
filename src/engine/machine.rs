//! All moving parts of an engine, as steps: threads run them in the daemon, one thread in tests.

use std::sync::Arc;

use crossbeam::channel::Receiver;

use crate::engine::alerts::watch::Watcher;
use crate::engine::backfill::BackfillJob;
use crate::engine::checkpoint::{self, Checkpointer, Progress};
use crate::engine::clock_file::{self, ClockFile};
use crate::engine::commit::{Committer, Submission};
use crate::engine::flush::Flush;
use crate::engine::leaders::ranker::Ranker;
use crate::engine::seal::Sealer;
use crate::engine::shared::Shared;
use crate::engine::write::Writer;
use crate::model::Causes;
use crate::storage::{index, log};

/// Bytes of a segment that are zeroed at once while nobody waits.
const SEGMENT_STEP_BYTES: usize = 4 * 1024 * 1024;

/// Why an engine stops: nothing is acknowledged any more, the process must end.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log.
    #[error("write the log")]
    Log(#[from] log::Error),
    /// The checkpoint.
    #[error("make a checkpoint")]
    Checkpoint(#[from] checkpoint::Error),
    /// The id index.
    #[error("flush event ids")]
    Index(#[from] index::Error),
    /// The file of the clocks, at the start.
    #[error("write file {}", clock_file::FILE)]
    Clock(#[source] std::io::Error),
    /// A thread panicked; its message was printed.
    #[error("the {0} thread panicked")]
    Panic(&'static str),
}

impl Fatal {
    /// Whether something on disk is not as it was written: a matter for a backup.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_damage(),
            Self::Index(error) => matches!(error, index::Error::Damaged { .. }),
            Self::Log(_) | Self::Clock(_) | Self::Panic(_) => false,
        }
    }
}

/// The moving parts.
#[derive(Debug)]
pub struct Machine {
    /// What they share.
    pub shared: Arc<Shared>,
    /// Where submissions arrive.
    pub queue: Receiver<Submission>,
    /// Decides.
    pub committer: Committer,
    /// Writes and syncs.
    pub writer: Writer,
    /// Makes checkpoints.
    pub checkpointer: Checkpointer,
    /// Moves ids to disk.
    pub flush: Flush,
    /// Looks at whose counters have moved, for alerts.
    pub watcher: Watcher,
    /// Puts lists of top customers together.
    pub ranker: Ranker,
    /// Counts the events before a meter.
    pub backfill: BackfillJob,
    /// Prepares the next segment of the log.
    pub upkeep: log::Upkeep,
    /// Moves full segments into history.
    pub sealer: Sealer,
    /// Keeps what the next process must know of the clocks.
    pub clock: ClockFile,
}

impl Machine {
    /// Logs the settings when they differ from the last ones, and prepares a segment, so that the
    /// first groups sync as fast as the later ones. Done once, before anything is submitted.
    ///
    /// # Errors
    /// [`Fatal`]
    pub fn start(&mut self) -> Result<(), Fatal> {
        self.shared.observe_disk();
        self.committer.observe_clock();
        self.clock.step().map_err(Fatal::Clock)?;
        let wanted = self.shared.options.settings;
        if self.shared.state.catalogue().settings() != wanted {
            self.committer.change_settings(wanted);
        }
        self.prepare_segment();
        self.settle()
    }

    /// Prepares the log's next segment. Without one the log goes on all the same.
    fn prepare_segment(&mut self) {
        loop {
            match self.upkeep.step(SEGMENT_STEP_BYTES) {
                Ok(log::Progress::Working) => {}
                Ok(log::Progress::Ready) => return,
                Err(error) => {
                    let error = Causes(&error);
                    tracing::warn!(%error, "prepare a log segment");
                    return;
                }
            }
        }
    }

    /// Decides, writes and answers everything that was submitted, and does the index work that the
    /// committer waits for.
    ///
    /// # Errors
    /// [`Fatal`]
    pub fn settle(&mut self) -> Result<(), Fatal> {
        let mut held = None;
        loop {
            while held.is_none()
                && let Ok(submission) = self.queue.try_recv()
            {
                held = self.committer.admit(submission);
            }
            self.committer.work();
            let Some(mut group) = self.committer.take() else {
                match held.take() {
                    None => return Ok(()),
                    // Nothing is in flight: it waits for a free generation, and that for the log.
                    Some(submission) => {
                        self.writer.sync()?;
                        while self.flush.step()? {}
                        held = self.committer.admit(submission);
                        continue;
                    }
                }
            };
            self.writer.write(&mut group)?;
            self.committer.finish(group);
            held = held.and_then(|submission| self.committer.admit(submission));
        }
    }

    /// Takes segments out of the log that nobody needs there any more.
    ///
    /// # Errors
    /// [`log::UpkeepError`]; the log itself is not hurt.
    pub fn retire(&mut self) -> Result<usize, log::UpkeepError> {
        retire(&mut self.upkeep, &self.shared)
    }

    /// Makes a checkpoint now, when there is anything new.
    ///
    /// # Errors
    /// [`Fatal`]
    pub fn checkpoint(&mut self) -> Result<(), Fatal> {
        while self.shared.state.applied() > self.checkpointer.lsn() {
            self.checkpointer.begin();
            self.finish_checkpoint()?;
        }
        Ok(())
    }

    fn finish_checkpoint(&mut self) -> Result<(), Fatal> {
        loop {
            match self.checkpointer.step()? {
                Progress::Finished => return Ok(()),
                Progress::Waiting => self.writer.sync()?,
                Progress::Working | Progress::Idle => {}
            }
            self.settle()?;
        }
    }

    /// Ends in order: everything submitted is answered, the state and the index are on disk, and the
    /// log says that it is whole.
    ///
    /// # Errors
    /// [`Fatal`]
    pub fn shut_down(mut self) -> Result<(), Fatal> {
        if let Err(error) = self.shared.insight.refused.step(&self.shared.world) {
            tracing::warn!(error = %Causes(&error), "write refused events");
        }
        self.settle()?;
        self.checkpoint()?;
        self.flush.save()?;
        self.writer.mark_idle()?;
        Ok(())
    }
}

/// Takes segments out of the log that are in history, below the checkpoints, and in the id index.
///
/// # Errors
/// [`log::UpkeepError`]; the log itself is not hurt.
pub fn retire(upkeep: &mut log::Upkeep, shared: &Shared) -> Result<usize, log::UpkeepError> {
    upkeep.retire_below(shared.history.last_lsn().next().min(shared.needed_from()))
}
