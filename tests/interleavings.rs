//! Orders of threads that no machine would show: the parts of an engine, each on a thread of its own as in
//! the daemon, under a scheduler that decides at every lock and atomic which thread goes on.
//!
//! `cargo test --features shuttle --test interleavings`; `QUIPU_SCHEDULES=10000` tries more, and
//! `SHUTTLE_RANDOM_SEED=7` others. A schedule that fails is printed, and `shuttle::replay` runs it again.

#![cfg(test)]

use std::borrow::Cow;
use std::sync::Arc;

use redb::{Builder, ReadableDatabase, StorageBackend, TableDefinition};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use shuttle::{Config, Runner, thread};

use quipu::engine::checkpoint::{Checkpointer, Progress};
use quipu::engine::command::NewMeter;
use quipu::engine::commit::{Committer, Group, Submission};
use quipu::engine::flush::Flush;
use quipu::engine::machine::Machine;
use quipu::engine::options::Options;
use quipu::engine::write::Writer;
use quipu::engine::{Command, Engine, Ingested, UsageQuery, recover};
use quipu::metering::validate;
use quipu::model::event::RawMetadata;
use quipu::model::{Aggregation, CustomerId, Quantity, RawEvent, RawValue, Timestamp};
use quipu::storage::redb_disk::{Overlay, RedbFile};
use quipu::world::sim::{SimClock, SimDisk, SimEntropy};
use quipu::world::{Disk, World};

/// Schedules of an ordinary run.
const SCHEDULES: usize = 100;
/// Draws the same schedules in every run, unless the scheduler's own variable names another seed.
const FIRST_SEED: u64 = 0;
/// Redb and the decoder of snapshots need more than a scheduler's threads have by themselves.
const STACK_BYTES: usize = 4 << 20;

fn machine(disk: &SimDisk) -> Machine {
    let start = Timestamp::parse("2026-01-30T09:26:53.5Z").unwrap();
    let world = World {
        clock: Arc::new(SimClock::new(start)),
        disk: Arc::new(disk.clone()),
        entropy: Arc::new(SimEntropy::new(1)),
    };
    let options = Options {
        segment_bytes: 16 << 10,
        // Ids leave memory all the time.
        generation_ids: 1,
        stretch_events: 2,
        reserve_bytes: 0,
        queue_length: 16,
        ..Options::default()
    };
    recover::open(world, None, options).unwrap().machine
}

/// What a worker does: prepare, submit, and wait for the answer.
fn send(engine: &Engine, ids: &[&str]) -> Ingested {
    let (at, rules) = (engine.now(), engine.rules());
    let text = |text: &str| Some(RawValue::String(Cow::Owned(text.to_owned())));
    let raw = |id: &str| RawEvent {
        event_id: text(id),
        customer_id: text("cus"),
        event_name: text("call"),
        timestamp: None,
        metadata: RawMetadata::Absent,
    };
    let mut preparation = engine.preparation(at, ids.len());
    for id in ids {
        let (event, lateness) = validate(raw(id), at, &rules).unwrap();
        preparation.add(&event, lateness);
    }
    let (told, answer) = channel();
    let prepared = preparation.finish().unwrap();
    engine.submit(prepared, move |ingested| told.send(ingested).unwrap());
    answer.recv().unwrap().unwrap()
}

fn count(engine: &Engine) -> Quantity {
    let query = UsageQuery {
        meter_id: None,
        customer_id: Some(CustomerId::new("cus")),
        start: Timestamp::from_nanos(0),
        end: Timestamp::parse("2200-01-01T00:00:00Z").unwrap(),
        interval: None,
        offset: 0,
        limit: 10,
    };
    // The first event makes the customer.
    engine.usage(&query).map_or(Quantity::ZERO, |usage| usage.items[0].total)
}

/// Decides while the log writes, as the committer's thread does; ends when nobody can submit any more.
fn run_committer(
    mut committer: Committer,
    queue: &crossbeam::channel::Receiver<Submission>,
    (to_log, done): (&Sender<Group>, &Receiver<Group>),
    is_over: &Receiver<()>,
) {
    let mut held = None;
    let mut is_writing = false;
    loop {
        held = held.and_then(|submission| committer.admit(submission));
        while held.is_none()
            && let Ok(submission) = queue.try_recv()
        {
            held = committer.admit(submission);
        }
        if !is_writing {
            committer.work();
            if let Some(group) = committer.take() {
                to_log.send(group).unwrap();
                is_writing = true;
            }
        }
        if let Ok(group) = done.try_recv() {
            let next = committer.take();
            is_writing = next.is_some_and(|next| to_log.send(next).is_ok());
            committer.finish(group);
        } else if held.is_none()
            && !is_writing
            && queue.is_empty()
            && is_over.try_recv() == Err(TryRecvError::Disconnected)
        {
            return;
        }
        thread::yield_now();
    }
}

fn run_log(mut writer: Writer, groups: &Receiver<Group>, written: &Sender<Group>) {
    while let Ok(mut group) = groups.recv() {
        writer.write(&mut group).unwrap();
        if written.send(group).is_err() {
            return;
        }
    }
}

/// Two checkpoints beside everything else; `_working` keeps the committer at work.
fn run_checkpoints(mut checkpointer: Checkpointer, _working: Sender<()>) {
    for _ in 0..2 {
        checkpointer.begin();
        loop {
            match checkpointer.step().unwrap() {
                Progress::Working => {}
                Progress::Waiting => thread::yield_now(),
                Progress::Finished | Progress::Idle => break,
            }
        }
    }
}

/// Moves ids to disk until nobody needs room for more.
fn run_flush(mut flush: Flush, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        flush.step().unwrap();
        thread::yield_now();
    }
}

/// Two requests, each with an event of its own and one that everybody sends; how many were new.
fn run_client(engine: &Engine, name: &str, _working: Sender<()>) -> u32 {
    let own = [format!("{name}-1"), format!("{name}-2")];
    let first = send(engine, &[&own[0], "all"]);
    assert!(count(engine) >= Quantity::from_count(2), "what was answered is visible");
    let second = send(engine, &["all", &own[1]]);
    assert_eq!((second.new, second.duplicates), (1, 1));
    first.new + second.new
}

/// Three clients send seven events, one of them from everywhere, while checkpoints are made, ids move to
/// disk and somebody reads; afterwards, and after a power cut, each is counted once.
fn one_schedule() {
    let whole = Quantity::from_count(7);
    let disk = SimDisk::new();
    let mut machine = machine(&disk);
    let engine = Engine::new(Arc::clone(&machine.shared));
    let meter = Command::CreateMeter(NewMeter {
        name: "Calls".to_owned(),
        description: None,
        event_name: "call".to_owned(),
        measurement_unit: "calls".to_owned(),
        aggregation: Aggregation::Count,
        filter: None,
    });
    engine.change(meter, None, |made| drop(made.unwrap()));
    machine.settle().unwrap();

    let Machine { queue, committer, writer, checkpointer, flush, .. } = machine;
    let ((to_log, groups), (written, done)) = (channel(), channel());
    let (working, is_over) = channel();
    let committing =
        thread::spawn(move || run_committer(committer, &queue, (&to_log, &done), &is_over));
    let logging = thread::spawn(move || run_log(writer, &groups, &written));
    let has_flushed = Arc::new(AtomicBool::new(false));
    let flushed = Arc::clone(&has_flushed);
    let flushing = thread::spawn(move || run_flush(flush, &flushed));
    let at_work = working.clone();
    let checkpointing = thread::spawn(move || run_checkpoints(checkpointer, at_work));
    let clients = ["a", "b", "c"].map(|name| {
        let (engine, at_work) = (engine.clone(), working.clone());
        thread::spawn(move || run_client(&engine, name, at_work))
    });
    let reader = engine.clone();
    let reading = thread::spawn(move || {
        let (early, late) = (count(&reader), count(&reader));
        assert!(early <= late && late <= whole, "{early} {late}");
    });
    drop(working);
    let new: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(new, 7, "each id is new once");
    for thread in [checkpointing, reading, committing, logging] {
        thread.join().unwrap();
    }
    has_flushed.store(true, Ordering::SeqCst);
    flushing.join().unwrap();
    assert_eq!(count(&engine), whole);

    let mut restarted = self::machine(&disk.crash_dropping_all());
    let engine = Engine::new(Arc::clone(&restarted.shared));
    assert_eq!(count(&engine), whole, "the checkpoint is a cut at one LSN");
    restarted.checkpoint().unwrap();
    assert_eq!(count(&engine), whole);
}

/// Writes eight rows of a MiB, so that some are synced before the rest is written, and reads them.
fn write_and_read(backend: impl StorageBackend) {
    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("t");
    let row = vec![7; 1 << 20];
    let database = Builder::new().create_with_backend(backend).unwrap();
    let change = database.begin_write().unwrap();
    for key in 0..8 {
        change.open_table(TABLE).unwrap().insert(key, row.as_slice()).unwrap();
    }
    change.commit().unwrap();
    let rows = database.begin_read().unwrap().open_table(TABLE).unwrap();
    for key in 0..8 {
        assert_eq!(rows.get(key).unwrap().unwrap().value(), row);
    }
}

/// redb holds locks of its own while it calls back, and no scheduler sees those: when a thread is stopped there,
/// the next one that redb makes wait stops the whole run for ever. Outside a schedule, as here, the scheduler's
/// locks and atomics panic.
#[test]
fn what_redb_calls_back_is_never_scheduled() {
    let file = SimDisk::new().create("t").unwrap();
    write_and_read(RedbFile::new(Arc::clone(&file)));
    write_and_read(Overlay::new(file).unwrap());
}

fn explore(scheduler: impl Scheduler + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    // That weaker orders of atomics are taken for the strongest; said in `ARCHITECTURE.md`.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(one_schedule);
}

fn schedules() -> usize {
    let wanted = std::env::var("QUIPU_SCHEDULES").ok();
    wanted.map_or(SCHEDULES, |text| text.parse().expect("a number"))
}

#[test]
fn any_order_of_threads_counts_each_event_once() {
    explore(RandomScheduler::new_from_seed(FIRST_SEED, schedules()));
}

/// Threads have priorities that change at three points of a schedule: orders that coins hardly throw.
#[test]
fn starved_threads_change_nothing() {
    explore(PctScheduler::new_from_seed(FIRST_SEED, 3, schedules()));
}
