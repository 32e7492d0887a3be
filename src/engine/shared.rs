//! What the engine's threads share.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Sender, TrySendError};

use crate::engine::Ingested;
use crate::engine::alerts::Alerts;
use crate::engine::backfill::ClosedHours;
use crate::engine::checkpoint::CutSlot;
use crate::engine::clock_guard::Witness;
use crate::engine::command::Refused;
use crate::engine::commit::{Reply, Submission};
use crate::engine::counters::Counters;
use crate::engine::forgotten::Forgotten;
use crate::engine::health::Stats;
use crate::engine::incarnation::Incarnation;
use crate::engine::leaders::Leaders;
use crate::engine::options::Options;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::waker::Waker;
use crate::engine::outcomes::Outcomes;
use crate::engine::outline::Outline;
use crate::engine::prepare::Prepared;
use crate::engine::refused::RefusedEvents;
use crate::engine::state::{Record, State};
use crate::model::{KeyDigest, Lsn, MeterIndex, Timestamp};
use crate::storage::history::History;
use crate::storage::index::{Generations, IdHasher, Index};
use crate::storage::log::LogReader;
use crate::storage::rows::RowStore;
use crate::world::World;
use crate::world::clock::TestClock;
use crate::world::sync::Mutex;
use crate::world::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is kept for people who look in, best effort: no part of the state, and of nothing that is promised.
#[derive(Debug, Default)]
pub struct Insight {
    /// The meters whose top customers somebody asks for.
    pub leaders: Leaders,
    /// What became of events, for whoever watches.
    pub outcomes: Outcomes,
    /// Copies of events that were refused.
    pub refused: RefusedEvents,
}

/// Shared by the committer, the jobs and every request.
#[derive(Debug)]
pub struct Shared {
    /// Time, files and randomness.
    pub world: World,
    /// The test clock, when the world's clock is one.
    pub test_clock: Option<Arc<TestClock>>,
    /// What the configuration decides.
    pub options: Options,
    /// Who the data directory is.
    pub incarnation: Incarnation,
    /// What the log folds into.
    pub state: State,
    /// Ids on disk.
    pub index: Arc<Index>,
    /// Ids that are not on disk yet.
    pub generations: Mutex<Generations>,
    /// Hashes ids.
    pub hasher: IdHasher,
    /// The rows of the last checkpoint.
    pub rows: RowStore,
    /// Reads the log back.
    pub log: LogReader,
    /// Where in the log to look for events.
    pub outline: Outline,
    /// Ids that stand in the log and not in the index any more.
    pub forgotten: Forgotten,
    /// What the log held before.
    pub history: History,
    /// The last LSN of the older of the two checkpoints that are kept; zero while there is one.
    pub kept_checkpoint: AtomicU64,
    /// The LSN of the last checkpoint.
    pub checkpoint: AtomicU64,
    /// Hours that a backfill has finished; empty once the checkpoint's job has made them durable.
    pub closed_hours: Mutex<Option<ClosedHours>>,
    /// How far the running backfill got: its meter, and the events it has read.
    pub backfill: Mutex<Option<(MeterIndex, u64)>>,
    /// Digests of the keys that the configuration names.
    pub configured_keys: Vec<KeyDigest>,
    /// What happened since the start.
    pub counters: Counters,
    /// Where a checkpoint waits for its cut.
    pub cut: CutSlot,
    /// Where submissions wait for the committer.
    pub queue: Sender<Submission>,
    /// Bytes of requests that wait for the committer.
    pub queue_bytes: AtomicU64,
    /// Requests with events between their arrival and their answer.
    pub arriving: AtomicU64,
    /// The last durable LSN.
    pub durable: AtomicU64,
    /// A write or sync of the log, or a job, has failed: nothing is acknowledged any more.
    pub poisoned: AtomicBool,
    /// The free space is below the reserve.
    pub storage_full: AtomicBool,
    /// Due work waits because the clock is in doubt.
    pub clock_doubt: AtomicBool,
    /// What the next process must know of the clocks; none under a test clock.
    pub clock_witness: Mutex<Option<Witness>>,
    /// What is kept for whoever looks in.
    pub insight: Insight,
    /// Whoever waits for something to send.
    pub waker: Waker,
}

/// A request with events is between its arrival and its answer, as long as this lives.
#[derive(Debug)]
pub struct Arriving(Arc<Shared>);

impl Arriving {
    /// A request has arrived.
    pub fn new(shared: Arc<Shared>) -> Self {
        shared.arriving.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Whether the world's clock is a test clock.
    pub fn is_test_clock(&self) -> bool {
        self.test_clock.is_some()
    }

    /// The instant from which everything is seen that is stamped with `now`. A test clock stands still: what
    /// comes in has the very instant of what is read afterwards.
    pub fn seen_from(&self, now: Timestamp) -> Timestamp {
        if self.is_test_clock() { now.plus(Duration::from_nanos(1)) } else { now }
    }

    /// Applies a durable record; a test clock follows the log time that a record sets.
    pub fn apply(&self, lsn: Lsn, log_time: Timestamp, record: &Record) {
        if let Record::AlertsFired(entry) = record {
            let is_news = |alerts: &mut Alerts| {
                entry.crossings.iter().filter(|crossing| alerts.is_news(crossing)).count()
            };
            self.counters.fired(self.state.with_alerts(is_news) as u64);
        }
        self.state.apply(lsn, log_time, record);
        if let Record::WebhookSettled(entry) = record {
            entry.attempts.iter().for_each(|attempt| self.counters.attempted(attempt.next));
        }
        match (record, &self.test_clock) {
            (Record::ClockSet(_), Some(clock)) => clock.set(log_time),
            (
                Record::ClockSet(_)
                | Record::Events(_)
                | Record::Change(_)
                | Record::Backfilled(_)
                | Record::PeriodTurned(_)
                | Record::CycleClosed(..)
                | Record::PaymentMarked(_)
                | Record::CreditsMoved(_)
                | Record::AlertsFired(_)
                | Record::WebhookSettled(_),
                _,
            ) => {}
        }
    }

    /// Wakes whoever sends messages, when there may be any.
    pub fn tell_outbox(&self) {
        self.waker.tell(self.state.with_outbox(Outbox::changes));
    }

    /// Hands a prepared request to the committer; its bytes wait in the queue until it is decided.
    pub fn submit_events(&self, prepared: Prepared, reply: Reply<Ingested>) {
        self.queue_bytes.fetch_add(prepared.encoded_bytes() as u64, Ordering::Relaxed);
        self.submit(Submission::Ingest(Box::new(prepared), reply));
    }

    /// Whether any request with events is between its arrival and its answer, or waits for the committer.
    pub fn is_ingest_on_its_way(&self) -> bool {
        self.arriving.load(Ordering::Relaxed) > 0 || self.queue_bytes.load(Ordering::Relaxed) > 0
    }

    /// Notes that a prepared request has left the queue.
    pub fn dequeued(&self, prepared: &Prepared) {
        self.queue_bytes.fetch_sub(prepared.encoded_bytes() as u64, Ordering::Relaxed);
    }

    /// Hands a submission to the committer; when the queue is full its reply says so. When nobody
    /// takes it any more it is dropped, and with it its reply. Never waits.
    pub fn submit(&self, submission: Submission) {
        if self.poisoned.load(Ordering::Acquire) {
            return;
        }
        let Err(TrySendError::Full(submission)) = self.queue.try_send(submission) else { return };
        if let Submission::Ingest(prepared, _) = &submission {
            self.dequeued(prepared);
        }
        submission.refuse(Refused::Busy);
    }

    /// Hands a submission to the committer unless the queue is full; whether it was taken.
    pub fn try_submit(&self, submission: Submission) -> bool {
        !self.poisoned.load(Ordering::Acquire) && self.queue.try_send(submission).is_ok()
    }

    /// Whether due work must wait.
    pub fn clock_in_doubt(&self) -> bool {
        self.clock_doubt.load(Ordering::Acquire)
    }

    /// Says whether due work must wait; a change is logged for people.
    pub fn set_clock_in_doubt(&self, in_doubt: bool) {
        if self.clock_doubt.swap(in_doubt, Ordering::AcqRel) != in_doubt {
            if in_doubt {
                tracing::error!(
                    "the wall clock is in doubt: due work waits until it is steady, \
                     or until `quipu clock confirm`"
                );
            } else {
                tracing::info!("the wall clock is trusted again");
            }
        }
    }

    /// Fills in what index and history say of themselves.
    pub fn read_storage_stats(&self, stats: &mut Stats) {
        let index = self.index.stats();
        stats.generations = self.generations.lock().alive() as u64;
        stats.runs = index.runs;
        stats.filter_ids = index.filter_ids;
        stats.filter_bits = index.filter_bits;
        stats.filter_hits = index.filter_hits;
        stats.filter_false_positives = index.filter_false_positives;
        let files = self.history.files();
        stats.history_files = files.len() as u64;
        stats.history_bytes = files.iter().map(|file| file.bytes).sum();
        stats.history_lsn = files.last().map_or(Lsn::ZERO, |file| file.last_lsn);
    }

    /// The last durable LSN.
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// The first LSN that a start may need from the log: the older checkpoint and the runs of the id
    /// index cover all below.
    pub fn needed_from(&self) -> Lsn {
        let checkpoint = Lsn(self.kept_checkpoint.load(Ordering::Acquire));
        checkpoint.min(self.index.flushed_through()).next()
    }

    /// Looks how much space the disk has left.
    pub fn observe_disk(&self) {
        let free = self.world.disk.free_bytes().unwrap_or(0);
        let full = free < self.options.reserve_bytes;
        if self.storage_full.swap(full, Ordering::AcqRel) != full {
            if full {
                tracing::error!(free, "free space is below the reserve: events are refused");
            } else {
                tracing::info!(free, "free space is above the reserve again");
            }
        }
    }
}
