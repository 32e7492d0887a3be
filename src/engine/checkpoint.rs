//! The checkpoint: the whole state at exactly one LSN, on disk, while ingest goes on.
//!
//! A cut is taken by the committer while nothing is in flight. From there on the job works in steps:
//! copy the stripes as they were at the cut into a snapshot file, moving the hours that are over to
//! rows; read the file back; commit one transaction that holds the rows and names the snapshot; then
//! forget the moved hours. Until that commit the previous checkpoint counts.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::billing::credits::Mark;
use crate::engine::backfill::Backfills;
use crate::engine::books::payments::RECENT_PARTS;
use crate::engine::books::routes::SegmentKey;
use crate::engine::books::segments::{PendingKey, PendingSample, SegmentAccumulator};
use crate::engine::books::shelf::Shelf;
use crate::engine::catalogue::Catalogue;
use crate::engine::commit::Submission;
use crate::engine::pools::{self, EntryDigest, KeptPool};
use crate::engine::reservations::{Part, Reservation, Reservations};
use crate::engine::rows::Row;
use crate::engine::shared::Shared;
use crate::engine::state::{BillingMarks, MeterTotals, State};
use crate::engine::stripes::Key;
use crate::engine::usage_rows;
use crate::metering::accumulator::Accumulator;
use crate::model::{
    Causes, CreditEntitlement, Hour, Lsn, Meter, Product, Settings, Subscription, Timestamp,
};
use crate::storage::codec;
use crate::storage::rows::{self, Batch, Table};
use crate::storage::snapshot::{self, SnapshotHash};
use crate::world::sync::Mutex;
use crate::world::sync::atomic::Ordering;

/// The name under which the row store keeps [`Checkpoints`].
pub const META: &str = "checkpoints";

/// Entries of one chunk of a snapshot: 20,000 of 80 bytes stay below a step's 4 MiB.
const CHUNK_ENTRIES: usize = 20_000;
/// Subscriptions of one chunk: their texts and metadata take some 35 KiB each at most.
const CHUNK_SUBSCRIPTIONS: usize = 100;
/// Pools of one chunk, when they have few grants: some 3 KiB each at most.
const CHUNK_POOLS: usize = 1_000;
/// A pool with more grants than this begins a chunk of its own.
const FEW_GRANTS: usize = 8;
/// Rows that are encoded at once.
const CHUNK_ROWS: usize = 1_024;

/// The small parts of the state at a cut, and the rows that changed since the one before.
#[derive(Debug)]
pub struct Cut {
    base: SnapshotBase,
    catalogue: Arc<Catalogue>,
    subscriptions: Shelf<Subscription>,
    pools: Shelf<KeptPool>,
    entries: Vec<EntryDigest>,
    reservations: Vec<Arc<Part>>,
    rows: Vec<Row>,
    memory_from: Hour,
}

/// The first chunk of a snapshot: what the accumulators alone do not say.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotBase {
    /// The last LSN the snapshot reflects.
    pub lsn: Lsn,
    /// The log time there.
    pub log_time: Timestamp,
    /// The meters, in the order of their indexes.
    pub meters: Vec<Meter>,
    /// The settings.
    pub settings: Settings,
    /// What each meter has seen.
    pub totals: Vec<MeterTotals>,
    /// Events that were ever admitted.
    pub events: u64,
    /// What became of the events before each meter.
    pub backfills: Backfills,
    /// The products, in the order of their indexes.
    pub products: Vec<Arc<Product>>,
    /// The credit entitlements, in the order of their indexes.
    pub entitlements: Vec<Arc<CreditEntitlement>>,
    /// How far billing has come.
    pub marks: BillingMarks,
}

/// A chunk of a snapshot behind its base.
#[derive(Debug, Serialize, Deserialize)]
pub enum SnapshotChunk {
    /// Accumulators of hours.
    Hours(Vec<(Key, Accumulator)>),
    /// Subscriptions, in the order of their indexes.
    Subscriptions(Vec<Arc<Subscription>>),
    /// What segments of subscriptions have counted.
    Segments(Vec<(SegmentKey, SegmentAccumulator)>),
    /// Events whose time has not come.
    Pending(Vec<(PendingKey, PendingSample)>),
    /// Pools of credits, in the order of their indexes; behind the subscriptions.
    Pools(Vec<Arc<KeptPool>>),
    /// How far usage has come that draws credits.
    Marks(Vec<(SegmentKey, Mark)>),
    /// What manual entries are recognised by.
    Entries(Vec<EntryDigest>),
    /// Reservations of credits.
    Reservations(Vec<Arc<Reservation>>),
}

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
    /// The rows of usage failed.
    #[error("move hours to disk")]
    Usage(#[from] usage_rows::Error),
    /// The row store's own words cannot be read.
    #[error("decode checkpoints")]
    Codec(#[from] codec::Error),
}

impl Error {
    /// Whether what was read is not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Rows(error) | Self::Usage(usage_rows::Error::Rows(error)) => error.is_damage(),
            Self::Usage(usage_rows::Error::Codec(_) | usage_rows::Error::Key) | Self::Codec(_) => {
                true
            }
            Self::Snapshot(_) => false,
        }
    }
}

impl Cut {
    /// Takes the cut; called by the committer with nothing in flight. Hours before `memory_from` take
    /// no new events from here on.
    pub fn take(state: &State, memory_from: Hour) -> Self {
        let catalogue = state.catalogue();
        let base = SnapshotBase {
            lsn: state.applied(),
            log_time: state.log_time(),
            meters: catalogue.meters().to_vec(),
            settings: catalogue.settings(),
            totals: state.totals(),
            events: state.event_count(),
            backfills: state.with_backfills(Backfills::clone),
            products: state.with_books(|books| books.products().to_vec()),
            entitlements: state.with_books(|books| books.entitlements.all().to_vec()),
            marks: state.billing_marks(),
        };
        let subscriptions = state.with_books(|books| books.subscriptions().clone());
        let (pools, entries) = state.with_pools(|pools| (pools.all().clone(), pools.entries()));
        let reservations = state.with_reservations(Reservations::parts);
        let rows = state.take_rows();
        state.stripes().striped().begin_cut();
        state.segments().counted().begin_cut();
        state.segments().pending().begin_cut();
        state.segments().marks().begin_cut();
        Self { base, catalogue, subscriptions, pools, entries, reservations, rows, memory_from }
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

type CutSlot = Arc<Mutex<Option<Cut>>>;

#[derive(Debug)]
enum Stage {
    Idle,
    Asked(CutSlot),
    Copying(Box<Copying>),
    Forgetting { memory_from: Hour, place: usize },
}

#[derive(Debug)]
struct Copying {
    cut: Cut,
    name: String,
    writer: snapshot::Writer,
    subscriptions_written: usize,
    pools_written: usize,
    place: usize,
    hours: Vec<(Key, Accumulator)>,
    segments: Vec<(SegmentKey, SegmentAccumulator)>,
    pending: Vec<(PendingKey, PendingSample)>,
    marks: Vec<(SegmentKey, Mark)>,
    moved: Vec<(Key, Accumulator)>,
    accumulators: u64,
    counted: u64,
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
        behind >= options.checkpoint_events || (behind > 0 && age >= options.checkpoint_interval)
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
            let slot = CutSlot::default();
            let filled = Arc::clone(&slot);
            let cut = Submission::Cut(Box::new(move |cut| *filled.lock() = Some(cut)));
            // With a full queue it is asked for again later.
            if self.shared.try_submit(cut) {
                self.stage = Stage::Asked(slot);
            }
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
            Stage::Asked(slot) => {
                let cut = slot.lock().take();
                let Some(cut) = cut else {
                    self.stage = Stage::Asked(slot);
                    return Ok(Progress::Waiting);
                };
                self.stage = Stage::Copying(Box::new(self.start(cut)?));
                Ok(Progress::Working)
            }
            Stage::Copying(mut copying) => {
                if copying.write_subscriptions()? || copying.write_pools()? {
                    self.stage = Stage::Copying(copying);
                } else if copying.place < self.shared.state.stripes().striped().count() {
                    copying.copy_stripe(&self.shared)?;
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
        let mut writer = snapshot::Writer::create(disk, &name, self.shared.incarnation.id)?;
        write_base(&cut.base, &mut writer)?;
        Ok(Copying {
            cut,
            name,
            writer,
            subscriptions_written: 0,
            pools_written: 0,
            place: 0,
            hours: Vec::new(),
            segments: Vec::new(),
            pending: Vec::new(),
            marks: Vec::new(),
            moved: Vec::new(),
            accumulators: 0,
            counted: 0,
        })
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
        for rows in copying.cut.rows.chunks(CHUNK_ROWS) {
            let rows: Vec<_> = rows.iter().map(Row::encoded).collect();
            let rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
            batch.write(Table::Objects, rows)?;
        }
        let catalogue = &copying.cut.catalogue;
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
        (0..RECENT_PARTS).for_each(|part| {
            shared.state.forget_recent_bills(part, checkpoints.newest.lsn);
        });
        (0..pools::rows::PARTS).for_each(|part| {
            shared.state.forget_recent_credits(part, checkpoints.newest.lsn);
        });
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

/// Writes the base: a chunk that says how many follow, and those.
fn write_base(base: &SnapshotBase, writer: &mut snapshot::Writer) -> Result<(), Error> {
    let mut bytes = Vec::new();
    codec::encode(base, &mut bytes);
    let pieces = bytes.chunks(snapshot::CHUNK_BYTES_MAX);
    let mut count = Vec::new();
    codec::encode(&pieces.len(), &mut count);
    writer.chunk(&count)?;
    for piece in pieces {
        writer.chunk(piece)?;
    }
    Ok(())
}

/// Removes snapshots that no checkpoint names. One that stays is harmless and goes the next time.
fn remove_others(shared: &Shared, checkpoints: &Checkpoints) {
    let disk = &shared.world.disk;
    let kept = [Some(&checkpoints.newest), checkpoints.previous.as_ref()];
    let is_kept = |name: &str| kept.iter().flatten().any(|kept| kept.snapshot == name);
    for name in disk.names().unwrap_or_default() {
        if name.starts_with("snapshot-")
            && !is_kept(&name)
            && let Err(error) = disk.remove(&name)
        {
            tracing::warn!(%name, error = %Causes(&error), "remove old snapshot");
        }
    }
}

impl Copying {
    /// Writes the next subscriptions; whether there were any.
    fn write_subscriptions(&mut self) -> Result<bool, Error> {
        let all = &self.cut.subscriptions;
        let next = self.subscriptions_written..all.len();
        let next = next.take(CHUNK_SUBSCRIPTIONS);
        let chunk: Vec<_> = next.filter_map(|place| all.get(place).map(Arc::clone)).collect();
        if chunk.is_empty() {
            return Ok(false);
        }
        self.subscriptions_written += chunk.len();
        write_chunk(&SnapshotChunk::Subscriptions(chunk), &mut self.writer)?;
        Ok(true)
    }

    /// Writes the next pools; whether there were any. What manual entries are recognised by goes first, then
    /// reservations.
    fn write_pools(&mut self) -> Result<bool, Error> {
        if !self.cut.entries.is_empty() {
            write_all(&mut self.cut.entries, 0, SnapshotChunk::Entries, &mut self.writer)?;
        }
        if let Some(part) = self.cut.reservations.pop() {
            let chunk = SnapshotChunk::Reservations(part.values().map(Arc::clone).collect());
            write_chunk(&chunk, &mut self.writer)?;
            return Ok(true);
        }
        let all = &self.cut.pools;
        let next = (self.pools_written..all.len()).take(CHUNK_POOLS);
        let chunk: Vec<_> = next.filter_map(|place| all.get(place).map(Arc::clone)).collect();
        if chunk.is_empty() {
            return Ok(false);
        }
        self.pools_written += chunk.len();
        for part in chunk.chunk_by(|_, next| next.pool.grants().len() <= FEW_GRANTS) {
            write_chunk(&SnapshotChunk::Pools(part.to_vec()), &mut self.writer)?;
        }
        Ok(true)
    }

    fn copy_stripe(&mut self, shared: &Shared) -> Result<(), Error> {
        let state = &shared.state;
        for (key, accumulator) in state.stripes().striped().copy(self.place) {
            if key.hour < self.cut.memory_from {
                self.moved.push((key, accumulator));
            } else {
                self.accumulators += 1;
                self.counted = self.counted.wrapping_add(accumulator.count());
                self.hours.push((key, accumulator));
            }
        }
        for (key, accumulator) in state.segments().counted().copy(self.place) {
            self.accumulators += 1;
            self.counted = self.counted.wrapping_add(accumulator.count());
            self.segments.push((key, accumulator));
        }
        let pending = state.segments().pending().copy(self.place);
        self.accumulators += pending.len() as u64;
        self.pending.extend(pending);
        let marks = state.segments().marks().copy(self.place);
        self.accumulators += marks.len() as u64;
        self.marks.extend(marks);
        self.place += 1;
        self.write_chunks(CHUNK_ENTRIES)
    }

    /// Writes what has come together of a kind when it is at least `entries_min`.
    fn write_chunks(&mut self, entries_min: usize) -> Result<(), Error> {
        let writer = &mut self.writer;
        write_all(&mut self.hours, entries_min, SnapshotChunk::Hours, writer)?;
        write_all(&mut self.segments, entries_min, SnapshotChunk::Segments, writer)?;
        write_all(&mut self.pending, entries_min, SnapshotChunk::Pending, writer)?;
        write_all(&mut self.marks, entries_min, SnapshotChunk::Marks, writer)
    }
}

fn write_all<E: Clone>(
    entries: &mut Vec<E>,
    entries_min: usize,
    chunk: fn(Vec<E>) -> SnapshotChunk,
    writer: &mut snapshot::Writer,
) -> Result<(), Error> {
    if entries.len() < entries_min {
        return Ok(());
    }
    for part in entries.chunks(CHUNK_ENTRIES) {
        write_chunk(&chunk(part.to_vec()), writer)?;
    }
    entries.clear();
    Ok(())
}

fn write_chunk(chunk: &SnapshotChunk, writer: &mut snapshot::Writer) -> Result<(), Error> {
    let mut payload = Vec::new();
    codec::encode(chunk, &mut payload);
    Ok(writer.chunk(&payload)?)
}
