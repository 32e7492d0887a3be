//! From a data directory to a machine that runs: load the newest good checkpoint, replay the log
//! above it, refill the ids above the last run.
//!
//! What is in the log counts. The index is never asked; it is only told.

use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};

use crate::engine::alerts::watch::Watcher;
use crate::engine::backfill::BackfillJob;
use crate::engine::bill_rows;
use crate::engine::checkpoint::{
    self, Checkpoint, Checkpointer, Checkpoints, CutSlot, SnapshotBase, SnapshotChunk,
};
use crate::engine::clock_file::{self, ClockFile};
use crate::engine::clock_guard::{ClockGuard, Earlier};
use crate::engine::commit::{Committer, Submission};
use crate::engine::counters::Counters;
use crate::engine::flush::Flush;
use crate::engine::forgotten::Forgotten;
use crate::engine::incarnation::{self, Incarnation};
use crate::engine::leaders::ranker::Ranker;
use crate::engine::machine::Machine;
use crate::engine::open_error::{OpenError, SnapshotError};
use crate::engine::options::Options;
use crate::engine::outbox::waker::Waker;
use crate::engine::outline::Outline;
use crate::engine::replay::Replay;
use crate::engine::rows::{RowKind, reply_lsn};
use crate::engine::seal::Sealer;
use crate::engine::shared::{Insight, Shared};
use crate::engine::state::{CheckpointBase, State};
use crate::engine::write::Writer;
use crate::engine::{catalogue::Catalogue, key};
use crate::model::{Causes, Hour, KeyDigest, Lsn, Timestamp};
use crate::storage::history::{self, History};
use crate::storage::rows::{self, RowStore, Table};
use crate::storage::{codec, index, log, snapshot};
use crate::world::World;
use crate::world::clock::TestClock;
use crate::world::sync::Mutex;
use crate::world::sync::atomic::{AtomicBool, AtomicU64};

/// A machine that is ready to run.
#[derive(Debug)]
pub struct Recovered {
    /// The machine.
    pub machine: Machine,
    /// Records that were replayed.
    pub replayed: u64,
    /// The last LSN.
    pub last_lsn: Lsn,
}

/// What the keys from outside the data directory are recognised by.
fn configured_keys(incarnation: &Incarnation, options: &Options) -> Vec<KeyDigest> {
    let keys = options.configured_keys.iter();
    keys.map(|text| key::digest(&incarnation.key_pepper, text)).collect()
}

/// Opens the data directory of `world`, or makes one.
///
/// # Errors
/// [`OpenError`]
pub fn open(
    world: World,
    test_clock: Option<Arc<TestClock>>,
    options: Options,
) -> Result<Recovered, OpenError> {
    let clock = Arc::clone(&world.clock);
    let began = clock.since_boot();
    let recovered = recover(world, test_clock, options)?;
    let took = clock.since_boot().saturating_sub(began);
    recovered.machine.shared.counters.recovered(recovered.replayed, took);
    Ok(recovered)
}

fn recover(
    world: World,
    test_clock: Option<Arc<TestClock>>,
    options: Options,
) -> Result<Recovered, OpenError> {
    let incarnation = incarnation::read_or_create(&world)?;
    let earlier = clock_file::read(&world).map_err(OpenError::Clock)?;
    let rows = RowStore::open(&*world.disk)?;
    let Loaded { state, last, unusable } = load_checkpoint(&world, &incarnation, &rows)?;
    // When one was committed, everything up to it was durable, whether its snapshot is good or not.
    let newest = unusable.as_ref().or(last.as_ref().map(|last| &last.newest));
    let proven = newest.map_or(Lsn::ZERO, |newest| newest.lsn);
    let history = open_history(&world, &incarnation)?;
    let ids_from = state.log_time().minus(options.dedupe_window);
    let may_refill = options.ids_are_kept() && reaches_back(&history, ids_from);
    let index = open_index(&world, &options, last.is_none() || may_refill)?;
    let counters = counters_after(last.as_ref(), &state);
    let kept = last.as_ref().and_then(|last| last.previous.as_ref());
    let kept_checkpoint = AtomicU64::new(kept.map_or(0, |previous| previous.lsn.0));
    let mut replay = Replay::new(state, &incarnation, &options, index);
    replay.is_durable_through(proven);
    replay.trusts_rows_at(proven);
    let log_options = log_options(&incarnation, &options);
    let log = replay_log(&world, log_options, &history, &mut replay)?;
    let replayed = replay.finish();
    replayed.state.count_rows_anew();
    if let Some(clock) = &test_clock {
        clock.set(world.clock.wall().max(replayed.state.log_time()));
    }
    let (queue, submissions) = bounded(options.queue_length);
    let (records, last_lsn) = (replayed.records, replayed.state.applied());
    let shared = Arc::new(Shared {
        world,
        test_clock,
        configured_keys: configured_keys(&incarnation, &options),
        incarnation,
        state: replayed.state,
        index: replayed.index,
        generations: Mutex::new(replayed.generations),
        outline: Outline::new(replayed.hasher, options.stretch_events),
        forgotten: Forgotten::default(),
        hasher: replayed.hasher,
        rows,
        log: log.reader,
        history,
        kept_checkpoint,
        checkpoint: AtomicU64::new(last.as_ref().map_or(0, |last| last.newest.lsn.0)),
        closed_hours: Mutex::default(),
        cut: CutSlot::default(),
        backfill: Mutex::default(),
        counters,
        queue,
        queue_bytes: AtomicU64::new(0),
        arriving: AtomicU64::new(0),
        durable: AtomicU64::new(last_lsn.0),
        poisoned: AtomicBool::new(false),
        storage_full: AtomicBool::new(false),
        clock_doubt: AtomicBool::new(false),
        clock_witness: Mutex::default(),
        insight: Insight::default(),
        waker: Waker::default(),
        options,
    });
    let logs = (log.wal, log.upkeep);
    if earlier == Earlier::Damaged {
        tracing::error!("file {} is damaged", clock_file::FILE);
    }
    let clock = &shared.world.clock;
    let guard = ClockGuard::after(earlier, clock.boot(), clock.since_boot());
    let checkpointer = Checkpointer::new(Arc::clone(&shared), last, unusable.as_ref());
    let mut machine = assemble(shared, submissions, (logs, replayed.flusher, checkpointer), guard);
    machine.start()?;
    Ok(Recovered { machine, replayed: records, last_lsn })
}

fn counters_after(last: Option<&Checkpoints>, state: &State) -> Counters {
    let counters = Counters::default();
    if let Some(last) = last {
        counters.checkpointed(last.newest.lsn, state.log_time());
    }
    counters
}

fn assemble(
    shared: Arc<Shared>,
    queue: Receiver<Submission>,
    ((wal, upkeep), flusher, checkpointer): ((log::Wal, log::Upkeep), index::Flusher, Checkpointer),
    guard: ClockGuard,
) -> Machine {
    Machine {
        queue,
        committer: Committer::new(Arc::clone(&shared), guard),
        writer: Writer::new(Arc::clone(&shared), wal),
        checkpointer,
        flush: Flush::new(Arc::clone(&shared), flusher),
        watcher: Watcher::new(Arc::clone(&shared)),
        ranker: Ranker::new(Arc::clone(&shared)),
        backfill: BackfillJob::new(Arc::clone(&shared)),
        upkeep,
        sealer: Sealer::new(Arc::clone(&shared)),
        clock: ClockFile::new(Arc::clone(&shared)),
        shared,
    }
}

/// Opens the id index; a missing or damaged one is made anew only when it may be refilled. What cannot
/// be made good is refused at every start, and left as it is.
fn open_index(
    world: &World,
    options: &Options,
    may_refill: bool,
) -> Result<index::Opened, OpenError> {
    let disk = &*world.disk;
    if !may_refill && !index::Index::exists(disk)? {
        return Err(OpenError::IndexGone);
    }
    let window = options.dedupe_window;
    let index_options = index::Options {
        window,
        disposable: may_refill,
        runs_max: options.runs_max,
        ..index::Options::default()
    };
    let opened = index::Index::open(disk, index_options)?;
    match &opened.found {
        index::Found::Whole | index::Found::Nothing => {}
        index::Found::Damaged { cause } => {
            let error = Causes(cause);
            tracing::error!(%error, "the id index was damaged; its ids are read from events again");
        }
    }
    Ok(opened)
}

fn log_options(incarnation: &Incarnation, options: &Options) -> log::Options {
    log::Options {
        incarnation: log::Incarnation(incarnation.id),
        segment_bytes: options.segment_bytes,
        durability: options.durability,
    }
}

fn open_history(world: &World, incarnation: &Incarnation) -> Result<History, history::Error> {
    let hasher = index::IdHasher::new(incarnation.id_secret);
    History::open(Arc::clone(&world.disk), log::Incarnation(incarnation.id), hasher)
}

/// Whether every event since `from` is kept. Retention takes whole files from history, oldest first.
fn reaches_back(history: &History, from: Timestamp) -> bool {
    let files = history.files();
    let oldest = files.first();
    oldest.is_none_or(|file| file.first_lsn == Lsn::ZERO.next() || file.arrivals.0 <= from)
}

/// Opens the log and replays what stands above the checkpoint, and ids above the last run.
fn replay_log(
    world: &World,
    options: log::Options,
    history: &History,
    replay: &mut Replay,
) -> Result<log::Opened, OpenError> {
    let (checkpoint, in_history) = (replay.checkpoint(), history.last_lsn());
    if checkpoint < in_history {
        return Err(OpenError::Behind { checkpoint, history: in_history });
    }
    let from = replay.from().max(in_history.next());
    let bounds = log::Bounds { known_durable: replay.known_durable(), from };
    let disk = Arc::clone(&world.disk);
    let log = log::open(disk, Arc::clone(&world.entropy), options, bounds)?;
    refuse_gap(&log, in_history)?;
    replay.is_durable_through(log.report.last_lsn);
    replay.refill_from(history)?;
    log.reader.visit(bounds.from..=log.report.last_lsn, |frame| replay.frame(&frame))?;
    Ok(log)
}

/// What stands between history and the log was neither expired nor retired: its segment cannot be read.
/// Without any history, which may have expired, the log may begin anywhere, unless something unreadable
/// stands before it.
fn refuse_gap(log: &log::Opened, in_history: Lsn) -> Result<(), OpenError> {
    let segments = log.reader.segments();
    let Some(first) = segments.first().filter(|first| first.first_lsn > in_history.next()) else {
        return Ok(());
    };
    let unreadable = log.report.unreadable_start.clone();
    if in_history == Lsn::ZERO && unreadable.is_none() {
        return Ok(());
    }
    Err(OpenError::Log(log::OpenError::Damaged(log::Damage {
        file: unreadable.unwrap_or_else(|| "the first segment of the log".to_owned()),
        offset_bytes: 0,
        first_lsn: in_history.next(),
        last_lsn: first.first_lsn.previous(),
    })))
}

/// What a start begins with.
struct Loaded {
    /// The state at the newest good checkpoint; empty when there is none.
    state: State,
    /// That checkpoint.
    last: Option<Checkpoints>,
    /// A later one that is not good.
    unusable: Option<Checkpoint>,
}

fn load_checkpoint(
    world: &World,
    incarnation: &Incarnation,
    rows: &RowStore,
) -> Result<Loaded, OpenError> {
    let view = rows.read()?;
    let Some(meta) = view.meta(checkpoint::META)? else {
        return Ok(Loaded { state: State::default(), last: None, unusable: None });
    };
    let mut checkpoints: Checkpoints = codec::decode(&meta)?;
    check_row_counts(&view, &checkpoints)?;
    let memory_from = checkpoints.memory_from;
    let mut unusable = None;
    let state = match load_snapshot(world, incarnation, &checkpoints.newest, memory_from) {
        Ok(state) => state,
        Err(cause) => {
            let Some(previous) = checkpoints.previous.take() else {
                return Err(OpenError::Snapshots(cause));
            };
            let error = Causes(&cause);
            tracing::error!(%error, "the newest snapshot cannot be used; taking the one before");
            let state = load_snapshot(world, incarnation, &previous, memory_from)
                .map_err(OpenError::Snapshots)?;
            unusable = Some(std::mem::replace(&mut checkpoints.newest, previous));
            state
        }
    };
    load_rows(&view, &state)?;
    Ok(Loaded { state, last: Some(checkpoints), unusable })
}

fn check_row_counts(view: &rows::View, checkpoints: &Checkpoints) -> Result<(), OpenError> {
    let tables = [("objects", Table::Objects), ("hours", Table::Hours), ("days", Table::Days)];
    for ((name, table), expected) in tables.into_iter().zip(checkpoints.row_counts) {
        let found = view.count(table)?;
        if found != expected {
            return Err(OpenError::RowCount { table: name, found, expected });
        }
    }
    Ok(())
}

/// A state with the base of a snapshot.
fn at_checkpoint(base: SnapshotBase, memory_from: Hour) -> State {
    State::at_checkpoint(CheckpointBase {
        lsn: base.lsn,
        log_time: base.log_time,
        memory_from,
        catalogue: Catalogue::new(base.meters, base.settings, 1),
        totals: base.totals,
        events: base.events,
        backfills: base.backfills,
        products: base.products,
        entitlements: base.entitlements,
        alerts: base.alerts,
        marks: base.marks,
    })
}

fn load_snapshot(
    world: &World,
    incarnation: &Incarnation,
    checkpoint: &Checkpoint,
    memory_from: Hour,
) -> Result<State, SnapshotError> {
    let disk = &*world.disk;
    let mut reader =
        snapshot::Reader::open(disk, &checkpoint.snapshot, incarnation.id, &checkpoint.hash)?;
    let base = read_base(&mut reader)?;
    if base.lsn != checkpoint.lsn {
        return Err(SnapshotError::ControlTotals);
    }
    let state = at_checkpoint(base, memory_from);
    let (mut accumulators, mut counted) = (0_u64, 0_u64);
    while let Some(chunk) = reader.chunk()? {
        match codec::decode(&chunk)? {
            SnapshotChunk::Hours(entries) => {
                accumulators += entries.len() as u64;
                for (key, accumulator) in entries {
                    counted = counted.wrapping_add(accumulator.count());
                    if key.hour >= memory_from {
                        state.stripes().striped().load(key, accumulator);
                    }
                }
            }
            SnapshotChunk::Subscriptions(subscriptions) => {
                for subscription in subscriptions {
                    state.load_subscription(subscription);
                }
            }
            SnapshotChunk::Segments(entries) => {
                accumulators += entries.len() as u64;
                for (key, accumulator) in entries {
                    counted = counted.wrapping_add(accumulator.count());
                    state.segments().counted().load(key, accumulator);
                }
            }
            SnapshotChunk::Pools(pools) => state.load_pools(pools),
            SnapshotChunk::Marks(entries) => {
                accumulators += entries.len() as u64;
                for (key, mark) in entries {
                    state.segments().marks().load(key, mark);
                }
            }
            SnapshotChunk::Entries(entries) => state.load_entries(entries),
            SnapshotChunk::Reservations(all) => state.load_reservations(all),
            SnapshotChunk::Fired(part) => state.load_fired(part),
            SnapshotChunk::Touched(touched) => state.load_touched(touched),
            SnapshotChunk::Endpoints(all, next) => state.load_outbox(|outbox| {
                for endpoint in all {
                    outbox.load_endpoint(endpoint);
                }
                outbox.load_next(next);
            }),
            SnapshotChunk::Pending(entries) => {
                accumulators += entries.len() as u64;
                for (key, sample) in entries {
                    state.segments().load_pending(key, sample);
                }
            }
        }
    }
    if (accumulators, counted) != (checkpoint.accumulators, checkpoint.counted) {
        return Err(SnapshotError::ControlTotals);
    }
    Ok(state)
}

fn read_base(reader: &mut snapshot::Reader) -> Result<SnapshotBase, SnapshotError> {
    let head = reader.chunk()?.ok_or(SnapshotError::ControlTotals)?;
    let pieces: usize = codec::decode(&head)?;
    let mut bytes = Vec::new();
    for _ in 0..pieces {
        bytes.extend(reader.chunk()?.ok_or(SnapshotError::ControlTotals)?);
    }
    Ok(codec::decode(&bytes)?)
}

fn load_rows(view: &rows::View, state: &State) -> Result<(), OpenError> {
    for kind in [RowKind::Customer, RowKind::Key, RowKind::Reply, RowKind::Checkout] {
        let (from, to) = ([kind.prefix()], [kind.prefix() + 1]);
        let mut failed = None;
        view.range(Table::Objects, &from, &to, |key, value| {
            let loaded = load_row(kind, key, value, state);
            failed = loaded.err();
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    // Invoices before their payments.
    bill_rows::visit_all(view, RowKind::Invoice, |invoice| state.load_invoice(&invoice))?;
    bill_rows::visit_all(view, RowKind::Payment, |payment| state.load_payment(&payment))?;
    Ok(())
}

fn load_row(kind: RowKind, key: &[u8], value: &[u8], state: &State) -> Result<(), codec::Error> {
    match kind {
        RowKind::Customer => state.load_customer(codec::decode(value)?),
        RowKind::Key => state.load_key(codec::decode(value)?),
        RowKind::Reply => {
            if let Some(lsn) = reply_lsn(key) {
                state.load_reply(lsn, codec::decode(value)?);
            }
        }
        RowKind::Checkout => state.load_checkout(codec::decode(value)?),
        // Several in a row, or read when somebody asks.
        RowKind::Invoice
        | RowKind::Payment
        | RowKind::Ledger
        | RowKind::Grant
        | RowKind::Message
        | RowKind::Undelivered
        | RowKind::Retry
        | RowKind::Attempt
        | RowKind::Age => {}
    }
    Ok(())
}
