//! The checkpoint: the whole state at exactly one LSN, on disk, while ingest goes on.
//!
//! A cut is taken by the committer while nothing is in flight. From there on the job works in steps:
//! copy the stripes as they were at the cut into a snapshot file, moving the hours that are over to
//! rows; read the file back; commit one transaction that holds the rows and names the snapshot; then
//! forget the moved hours. Until that commit the previous checkpoint counts.

mod copying;
mod cut;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::backfill::Backfills;
use crate::engine::bill_rows;
use crate::engine::outbox::sweep;
use crate::engine::pools;
use crate::engine::rows::Row;
use crate::engine::shared::Shared;
use crate::engine::usage_rows;
use crate::model::{Causes, Hour, Lsn};
use crate::storage::codec;
use crate::storage::rows::{self, Batch, Table};
use crate::storage::snapshot::{self, SnapshotHash};
use crate::world::disk::remove_large;
use crate::world::sync::atomic::Ordering;

pub use cut::{Cut, CutSlot, SnapshotBase, SnapshotChunk};

use copying::Copying;

/// The name under which the row store keeps [`Checkpoints`].
pub const META: &str = "checkpoints";

/// How many times as many records as is set may stand above a checkpoint of many accumulators.
const RECORDS_TIMES_MAX: u64 = 3;

/// Rows that are encoded at once.
const CHUNK_ROWS: usize = 1_024;

/// What the row store says of the checkpoints it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoints {
    /// The one it was committed with.
    pub newest: Checkpoint,
    /// The one before, whose snapshot is kept too.
    pub previous: Option<Checkpoint>,
    /// Hours before this one are rows, the others in the snapshots.
    pub memory_from: Hour,
    /// How many rows each table has: objects, hours, days.
    pub row_counts: [u64; 3],
}

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The last LSN it reflects.
    pub lsn: Lsn,
    /// The snapshot file.
    pub snapshot: String,
    /// The hash of that file.
    pub hash: SnapshotHash,
    /// How many accumulators it holds.
    pub accumulators: u64,
    /// How many events those have counted, modulo 2^64.
    pub counted: u64,
}

/// Why a checkpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The snapshot file failed.
    #[error("write snapshot")]
    Snapshot(#[from] snapshot::Error),
    /// The row store failed.
    #[error("commit checkpoint")]
    Rows(#[from] rows::Error),
    /// The rows of payments and invoices failed.
    #[error("write payments and invoices")]
    Bills(#[from] bill_rows::Error),
    /// The rows of usage failed.
    #[error("move hours to disk")]
    Usage(#[from] usage_rows::Error),
    /// Old messages cannot be forgotten.
    #[error("forget old messages")]
    Sweep(#[from] sweep::Error),
    /// The row store's own words cannot be read.
    #[error("decode checkpoints")]
    Codec(#[from] codec::Error),
}

impl Error {
    /// Whether what was read is not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Rows(error)
            | Self::Usage(usage_rows::Error::Rows(error))
            | Self::Sweep(sweep::Error::Rows(error)) => error.is_damage(),
            Self::Bills(error) => error.is_damage(),
            Self::Usage(usage_rows::Error::Codec(_) | usage_rows::Error::Key)
            | Self::Sweep(sweep::Error::Codec(_))
            | Self::Codec(_) => true,
            Self::Snapshot(_) => false,
        }
    }
}

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is due.
    Idle,
    /// There is more to do at once.
    Working,
    /// Something else must happen first.
    Waiting,
    /// A checkpoint was finished by this step.
    Finished,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Asked,
    Copying(Box<Copying>),
    Forgetting { memory_from: Hour, place: usize },
}

/// The job that makes checkpoints.
#[derive(Debug)]
pub struct Checkpointer {
    shared: Arc<Shared>,
    stage: Stage,
    last: Option<Checkpoints>,
    /// A snapshot that the row store names and this start could not use.
    unusable: Option<String>,
    last_at: Duration,
}

impl Checkpointer {
    /// A job that goes on after `last`; `unusable` is a later checkpoint whose snapshot this start could not
    /// use.
    pub fn new(
        shared: Arc<Shared>,
        last: Option<Checkpoints>,
        unusable: Option<&Checkpoint>,
    ) -> Self {
        let last_at = shared.world.clock.since_boot();
        let unusable = unusable.map(|checkpoint| checkpoint.snapshot.clone());
        Self { shared, stage: Stage::Idle, last, unusable, last_at }
    }

    /// Whether the log above the last checkpoint is long or old enough for a new one, or a backfill
    /// waits for one.
    pub fn is_due(&self) -> bool {
        let is_waited_for = |backfills: &Backfills| backfills.are_pending_above(self.lsn());
        if self.shared.state.with_backfills(is_waited_for) {
            return true;
        }
        let behind = self.shared.state.applied().0 - self.lsn().0;
        let age = self.shared.world.clock.since_boot().saturating_sub(self.last_at);
        let options = &self.shared.options;
        let waiting = self.shared.state.with_outbox(|outbox| outbox.rows().bytes());
        if waiting >= options.outbox_bytes_max
            || self.shared.state.waiting_bytes() >= options.waiting_bytes_max
        {
            return true;
        }
        behind >= self.records_max() || (behind > 0 && age >= options.checkpoint_interval)
    }

    /// Records above the last checkpoint that make one due. A checkpoint writes all accumulators, and a start
    /// loads them: with many of them it is made less often and as many records are replayed, so that neither
    /// grows faster than the other.
    fn records_max(&self) -> u64 {
        let events = self.shared.options.checkpoint_events;
        let accumulators = self.last.as_ref().map_or(0, |last| last.newest.accumulators);
        accumulators.clamp(events, events.saturating_mul(RECORDS_TIMES_MAX))
    }

    /// The LSN of the last checkpoint.
    pub fn lsn(&self) -> Lsn {
        self.last.as_ref().map_or(Lsn::ZERO, |last| last.newest.lsn)
    }

    /// Asks the committer for a cut, unless a checkpoint is being made or nothing came after the last.
    pub fn begin(&mut self) {
        // A second one at the same LSN would write over the snapshot of the first.
        let is_new = self.shared.state.applied() > self.lsn();
        if is_new && matches!(self.stage, Stage::Idle) {
            self.shared.cut.want();
            self.stage = Stage::Asked;
        }
    }

    /// Does the next bounded piece of work.
    ///
    /// # Errors
    /// [`Error`]: the state on disk is the last checkpoint's; the process must end.
    pub fn step(&mut self) -> Result<Progress, Error> {
        if self.write_closed_hours()? {
            return Ok(Progress::Working);
        }
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => Ok(Progress::Idle),
            Stage::Asked => {
                let Some(cut) = self.shared.cut.take() else {
                    self.stage = Stage::Asked;
                    return Ok(Progress::Waiting);
                };
                self.stage = Stage::Copying(Box::new(self.start(cut)?));
                Ok(Progress::Working)
            }
            Stage::Copying(mut copying) => {
                // Until a stripe is copied, whatever changes in it is saved aside first.
                if copying.place < self.shared.state.stripes().striped().count() {
                    copying.copy_stripe(&self.shared)?;
                    self.stage = Stage::Copying(copying);
                } else if copying.write_subscriptions()?
                    || copying.write_pools()?
                    || copying.write_fired()?
                {
                    self.stage = Stage::Copying(copying);
                } else if self.shared.durable() < copying.cut.base.lsn {
                    // A checkpoint that knows more than the log would make the log look damaged.
                    self.stage = Stage::Copying(copying);
                    return Ok(Progress::Waiting);
                } else {
                    let memory_from = copying.cut.memory_from;
                    self.commit(*copying)?;
                    self.stage = Stage::Forgetting { memory_from, place: 0 };
                }
                Ok(Progress::Working)
            }
            Stage::Forgetting { memory_from, place } => {
                let stripes = self.shared.state.stripes();
                if place == stripes.striped().count() {
                    return Ok(Progress::Finished);
                }
                stripes.forget_before(place, memory_from);
                self.stage = Stage::Forgetting { memory_from, place: place + 1 };
                Ok(Progress::Working)
            }
        }
    }

    /// Writes the hours that a backfill has finished, when there are any, beside the checkpoint that
    /// counts.
    fn write_closed_hours(&mut self) -> Result<bool, Error> {
        let shared = Arc::clone(&self.shared);
        let mut handed = shared.closed_hours.lock();
        let (Some(hours), Some(last)) = (handed.as_ref(), self.last.as_mut()) else {
            return Ok(false);
        };
        let batch = shared.rows.begin()?;
        usage_rows::put_closed(&batch, hours.kind, &hours.rows)?;
        let checkpoints = Checkpoints { row_counts: row_counts(&batch)?, ..last.clone() };
        commit(batch, &checkpoints)?;
        *last = checkpoints;
        *handed = None;
        Ok(true)
    }

    /// The file of a snapshot: never the one that the row store names until this checkpoint is committed. Perhaps
    /// its disk only could not be read for a moment, and the next start finds it whole.
    fn file_name(&self, lsn: Lsn) -> String {
        let name = format!("snapshot-{:020}", lsn.0);
        if self.unusable.as_ref() == Some(&name) { format!("{name}-again") } else { name }
    }

    fn start(&self, cut: Cut) -> Result<Copying, Error> {
        let name = self.file_name(cut.base.lsn);
        let disk = &*self.shared.world.disk;
        Copying::start(cut, name, disk, self.shared.incarnation.id)
    }

    fn commit(&mut self, mut copying: Copying) -> Result<(), Error> {
        copying.write_chunks(0)?;
        let shared = Arc::clone(&self.shared);
        let disk = &*shared.world.disk;
        let hash = copying.writer.finish(disk)?;
        snapshot::verify(disk, &copying.name, shared.incarnation.id, &hash)?;
        let newest = Checkpoint {
            lsn: copying.cut.base.lsn,
            snapshot: copying.name,
            hash,
            accumulators: copying.accumulators,
            counted: copying.counted,
        };
        let batch = shared.rows.begin()?;
        for rows in copying.cut.rows.into_parts() {
            for rows in rows.chunks(CHUNK_ROWS) {
                let rows: Vec<_> = rows.iter().map(Row::encoded).collect();
                let rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
                batch.write(Table::Objects, rows)?;
            }
        }
        bill_rows::write(&batch, copying.cut.bills)?;
        let catalogue = &copying.cut.catalogue;
        sweep::sweep(&shared, &batch, newest.lsn)?;
        usage_rows::write(&batch, &copying.moved, |meter| catalogue.kind(meter))?;
        let checkpoints = Checkpoints {
            newest,
            previous: self.last.take().map(|last| last.newest),
            memory_from: copying.cut.memory_from,
            row_counts: row_counts(&batch)?,
        };
        commit(batch, &checkpoints)?;
        shared.state.move_memory_from(copying.cut.memory_from);
        let kept = checkpoints.previous.as_ref().map_or(Lsn::ZERO, |previous| previous.lsn);
        shared.kept_checkpoint.store(kept.0, Ordering::Release);
        remove_others(&shared, &checkpoints);
        shared.state.forget_recent_bills(checkpoints.newest.lsn);
        (0..pools::rows::PARTS).for_each(|part| {
            shared.state.forget_recent_credits(part, checkpoints.newest.lsn);
        });
        shared.state.forget_recent_messages();
        shared.counters.checkpointed(checkpoints.newest.lsn, shared.world.clock.wall());
        shared.checkpoint.store(checkpoints.newest.lsn.0, Ordering::Release);
        self.last_at = shared.world.clock.since_boot();
        self.last = Some(checkpoints);
        Ok(())
    }
}

fn row_counts(batch: &Batch) -> Result<[u64; 3], rows::Error> {
    let [objects, hours, days] = Table::ALL;
    Ok([batch.count(objects)?, batch.count(hours)?, batch.count(days)?])
}

/// Makes a transaction durable, and with it what it says of the checkpoints.
fn commit(batch: Batch, checkpoints: &Checkpoints) -> Result<(), rows::Error> {
    let mut meta = Vec::new();
    codec::encode(checkpoints, &mut meta);
    batch.set_meta(META, &meta)?;
    batch.commit()
}

/// Removes snapshots that no checkpoint names. One that stays is harmless and goes the next time.
fn remove_others(shared: &Shared, checkpoints: &Checkpoints) {
    let disk = &shared.world.disk;
    let kept = [Some(&checkpoints.newest), checkpoints.previous.as_ref()];
    let is_kept = |name: &str| kept.iter().flatten().any(|kept| kept.snapshot == name);
    for name in disk.names().unwrap_or_default() {
        if name.starts_with("snapshot-")
            && !is_kept(&name)
            && let Err(error) = remove_large(&**disk, &name)
        {
            tracing::warn!(%name, error = %Causes(&error), "remove old snapshot");
        }
    }
}
