//! The thin threads under the steps: committer, log, checkpoints, index, backfill, alerts, top customers,
//! upkeep of the log, history.
//!
//! A thread that fails or panics poisons the engine: nothing is acknowledged after it, and whoever
//! waits on [`Threads::failures`] ends the process. Threads that stop in order give their parts back,
//! so that the end is one thread again.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{
    Receiver, RecvTimeoutError, Sender, TryRecvError, after, bounded, never, tick,
};
use crossbeam::select;

use crate::engine::alerts::watch::{self, Watcher};
use crate::engine::backfill::{self, BackfillJob};
use crate::engine::checkpoint::{Checkpointer, Progress};
use crate::engine::clock_file::ClockFile;
use crate::engine::commit::{Committer, Group, Spent, Submission};
use crate::engine::flush::Flush;
use crate::engine::leaders::ranker::Ranker;
use crate::engine::machine::{Fatal, Machine, retire};
use crate::engine::seal::Sealer;
use crate::engine::shared::Shared;
use crate::engine::write::Writer;
use crate::model::Causes;
use crate::storage::log;
use crate::world::processor;
use crate::world::sync::atomic::Ordering;

/// After this long without a group the log says that all before it is durable.
const IDLE: Duration = Duration::from_millis(50);
/// How often jobs look whether anything is due.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes that are zeroed and synced at once, so that a commit never waits long.
const UPKEEP_BYTES: usize = 2 * 1024 * 1024;
/// Records that a backfill reads at once: some 2 MiB.
const BACKFILL_RECORDS: u64 = 16 * 1024;
/// While a group below this size is written nothing is decided: what arrives until then is decided
/// in a fifth of a millisecond, and waking up for each of its requests costs more than that.
const SMALL_GROUP_BYTES: usize = 32 * 1024;
/// How often the committer looks at the clocks, and for what time has made old.
const CLOCK: Duration = Duration::from_secs(1);

/// The running threads.
#[derive(Debug)]
pub struct Threads {
    shared: Arc<Shared>,
    /// Dropped to stop them.
    stop: Sender<()>,
    /// Says why, when one has failed.
    failures: Receiver<Fatal>,
    queue: Receiver<Submission>,
    committer: JoinHandle<Option<Committer>>,
    writer: JoinHandle<Option<Writer>>,
    checkpointer: JoinHandle<Option<Checkpointer>>,
    flush: JoinHandle<Option<Flush>>,
    backfill: JoinHandle<Option<BackfillJob>>,
    watcher: JoinHandle<Option<Watcher>>,
    ranker: JoinHandle<Option<Ranker>>,
    upkeep: JoinHandle<Option<(log::Upkeep, ClockFile)>>,
    sealer: JoinHandle<Option<Sealer>>,
}

impl Threads {
    /// Starts the threads.
    pub fn start(machine: Machine) -> Self {
        let (stop, stopping) = bounded(0);
        let (failed, failures) = bounded(1);
        let (to_log, groups) = bounded(1);
        let (written, done) = bounded(1);
        let (wake, woken) = bounded(1);
        let wake_for_cut = wake.clone();
        let Machine { shared, queue, committer, writer, checkpointer, flush, .. } = machine;
        let (backfill, watcher, sealer) = (machine.backfill, machine.watcher, machine.sealer);
        let ranker = machine.ranker;
        let (upkeep, clock) = (machine.upkeep, machine.clock);
        let tether = |name| Tether { shared: Arc::clone(&shared), name, failures: failed.clone() };
        let inbox = Inbox {
            queue: queue.clone(),
            requeue: shared.queue.clone(),
            stopping: stopping.clone(),
            done,
            woken,
        };
        let [checkpoints_stop, index_stop, backfill_stop, alerts_stop, leaders_stop, history_stop] =
            std::array::from_fn(|_| stopping.clone());
        let upkeep_stop = stopping;
        let observed = Arc::clone(&shared);
        Self {
            committer: spawn(tether("committer"), move || {
                Ok(run_committer(committer, &inbox, &to_log))
            }),
            writer: spawn(tether("log"), move || run_log(writer, &groups, &written)),
            checkpointer: spawn(tether("checkpoint"), move || {
                run_checkpoints(checkpointer, &checkpoints_stop, &wake_for_cut)
            }),
            flush: spawn(tether("index"), move || run_flush(flush, &index_stop, &wake)),
            backfill: spawn(tether("backfill"), move || Ok(run_backfill(backfill, &backfill_stop))),
            watcher: spawn(tether("alerts"), move || Ok(run_watcher(watcher, &alerts_stop))),
            ranker: spawn(tether("leaders"), move || Ok(run_ranker(ranker, &leaders_stop))),
            upkeep: spawn(tether("upkeep"), move || {
                Ok(run_upkeep(upkeep, clock, &upkeep_stop, &observed))
            }),
            sealer: spawn(tether("history"), move || Ok(run_sealer(sealer, &history_stop))),
            shared,
            stop,
            failures,
            queue,
        }
    }

    /// Where a failure is announced; at most one ever is.
    pub fn failures(&self) -> Receiver<Fatal> {
        self.failures.clone()
    }

    /// Stops the threads, and gives their parts back as one machine, or what has failed.
    ///
    /// # Errors
    /// The failure of a thread.
    pub fn stop(self) -> Result<Machine, Fatal> {
        drop(self.stop);
        let committer = join(self.committer);
        let writer = join(self.writer);
        let checkpointer = join(self.checkpointer);
        let flush = join(self.flush);
        let backfill = join(self.backfill);
        let watcher = join(self.watcher);
        let ranker = join(self.ranker);
        let upkeep = join(self.upkeep);
        let sealer = join(self.sealer);
        let (shared, queue) = (self.shared, self.queue);
        let machine = || {
            let (upkeep, clock) = upkeep?;
            Some(Machine {
                shared,
                queue,
                committer: committer?,
                writer: writer?,
                checkpointer: checkpointer?,
                flush: flush?,
                backfill: backfill?,
                watcher: watcher?,
                ranker: ranker?,
                upkeep,
                sealer: sealer?,
                clock,
            })
        };
        machine().ok_or_else(|| self.failures.try_recv().unwrap_or(Fatal::Panic("unknown")))
    }
}

fn join<T>(handle: JoinHandle<Option<T>>) -> Option<T> {
    handle.join().ok().flatten()
}

/// What every thread has: a name, and a way to fail.
pub(in crate::engine) struct Tether {
    pub(in crate::engine) shared: Arc<Shared>,
    pub(in crate::engine) name: &'static str,
    pub(in crate::engine) failures: Sender<Fatal>,
}

impl Tether {
    fn fail(&self, fatal: Fatal) {
        self.shared.poisoned.store(true, Ordering::Release);
        // Only the first failure is waited for.
        drop(self.failures.try_send(fatal));
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail(Fatal::Panic(self.name));
        }
    }
}

pub(in crate::engine) fn spawn<T: Send + 'static>(
    tether: Tether,
    run: impl FnOnce() -> Result<T, Fatal> + Send + 'static,
) -> JoinHandle<Option<T>> {
    let name = tether.name.to_owned();
    let body = move || match run() {
        Ok(part) => Some(part),
        Err(fatal) => {
            tether.fail(fatal);
            None
        }
    };
    std::thread::Builder::new().name(name).spawn(body).expect("the system has room for a thread")
}

/// What the committer waits for.
struct Inbox {
    queue: Receiver<Submission>,
    /// The other end of the queue.
    requeue: Sender<Submission>,
    stopping: Receiver<()>,
    /// Groups that are durable.
    done: Receiver<Group>,
    /// An index generation may have become free, or a checkpoint waits for its cut.
    woken: Receiver<()>,
}

/// Decides while the log writes: what arrives during a sync becomes the next group. A small one is
/// decided when the sync is over.
fn run_committer(mut committer: Committer, inbox: &Inbox, to_log: &Sender<Group>) -> Committer {
    let mut held: Option<Submission> = None;
    let mut is_writing = false;
    let mut is_small = false;
    let (nothing, clock) = (never(), tick(CLOCK));
    let mut stopping = inbox.stopping.clone();
    let mut is_stopping = false;
    loop {
        held = held.and_then(|submission| committer.admit(submission));
        while held.is_none()
            && let Ok(submission) = inbox.queue.try_recv()
        {
            held = committer.admit(submission);
        }
        committer.work();
        // What work has decided may have let go what is held.
        held = held.and_then(|submission| committer.admit(submission));
        if !is_writing && let Some(group) = committer.take() {
            is_small = group.bytes() < SMALL_GROUP_BYTES;
            is_writing = to_log.send(group).is_ok();
        }
        if is_stopping && !is_writing {
            // What could not be decided yet is decided at the end, by one thread.
            if let Some(submission) = held {
                inbox.requeue.try_send(submission).ok();
            }
            return committer;
        }
        let is_deaf = held.is_some() || (is_writing && is_small);
        let arriving = if is_deaf { &nothing } else { &inbox.queue };
        let wake = if is_writing { None } else { committer.wakes_in() };
        let wake = wake.map_or_else(never, after);
        select! {
            recv(arriving) -> submission => {
                held = submission.ok().and_then(|submission| committer.admit(submission));
            }
            recv(inbox.done) -> group => {
                // The log has failed: what waits is dropped unanswered.
                let Ok(group) = group else { return committer };
                while is_small
                    && held.is_none()
                    && committer.open_bytes() < SMALL_GROUP_BYTES
                    && let Ok(submission) = inbox.queue.try_recv()
                {
                    held = committer.admit(submission);
                }
                let next = committer.take();
                is_small = next.as_ref().is_some_and(|next| next.bytes() < SMALL_GROUP_BYTES);
                is_writing = next.is_some_and(|next| to_log.send(next).is_ok());
                committer.finish(group);
            }
            // Due work has let ingest go first for long enough.
            recv(wake) -> _ => {}
            // What is held is tried again.
            recv(inbox.woken) -> _ => {}
            recv(clock) -> _ => committer.tick(),
            recv(stopping) -> _ => {
                is_stopping = true;
                stopping = never();
            }
        }
    }
}

fn run_log(
    mut writer: Writer,
    groups: &Receiver<Group>,
    written: &Sender<Group>,
) -> Result<Writer, Fatal> {
    let mut spent = Spent::new();
    loop {
        match groups.recv_timeout(IDLE) {
            Ok(mut group) => {
                group.exchange_spent(&mut spent);
                writer.write(&mut group)?;
                if written.send(group).is_err() {
                    return Ok(writer);
                }
                spent.clear();
            }
            Err(RecvTimeoutError::Timeout) => writer.mark_idle()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(writer),
        }
    }
}

/// Waits; false when the threads are to stop.
fn pause(stopping: &Receiver<()>) -> bool {
    matches!(stopping.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout))
}

fn run_checkpoints(
    mut checkpointer: Checkpointer,
    stopping: &Receiver<()>,
    wake: &Sender<()>,
) -> Result<Checkpointer, Fatal> {
    while pause(stopping) {
        if checkpointer.is_due() {
            checkpointer.begin();
            // A full channel says the same already.
            wake.try_send(()).ok();
        }
        while checkpointer.step()? == Progress::Working {
            processor::pass();
        }
    }
    Ok(checkpointer)
}

fn run_flush(mut flush: Flush, stopping: &Receiver<()>, wake: &Sender<()>) -> Result<Flush, Fatal> {
    while pause(stopping) {
        while flush.step()? {
            // A full channel says the same already.
            wake.try_send(()).ok();
        }
    }
    Ok(flush)
}

/// A failure of history hurts nobody who waits: the log keeps what history does not have.
fn run_sealer(mut sealer: Sealer, stopping: &Receiver<()>) -> Sealer {
    while pause(stopping) {
        loop {
            match sealer.step() {
                // A long backlog must not keep the process from stopping.
                Ok(true) if stopping.try_recv() == Err(TryRecvError::Empty) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(error = %Causes(&error), "write history");
                    break;
                }
            }
        }
    }
    sealer
}

fn run_backfill(mut job: BackfillJob, stopping: &Receiver<()>) -> BackfillJob {
    loop {
        let goes_on = match job.step(BACKFILL_RECORDS) {
            backfill::Step::Working => {
                !matches!(stopping.try_recv(), Err(TryRecvError::Disconnected))
            }
            backfill::Step::Waiting | backfill::Step::Idle => pause(stopping),
        };
        if !goes_on {
            return job;
        }
    }
}

fn run_watcher(mut watcher: Watcher, stopping: &Receiver<()>) -> Watcher {
    loop {
        let goes_on = match watcher.step() {
            watch::Step::Working => !matches!(stopping.try_recv(), Err(TryRecvError::Disconnected)),
            watch::Step::Waiting | watch::Step::RoundOver | watch::Step::Idle => pause(stopping),
        };
        if !goes_on {
            return watcher;
        }
    }
}

/// Waits after each piece of work: whoever asks for a list can wait, and ingest cannot.
fn run_ranker(mut ranker: Ranker, stopping: &Receiver<()>) -> Ranker {
    while pause(stopping) {
        if let Err(error) = ranker.step() {
            tracing::warn!(error = %Causes(&error), "read usage for top customers");
        }
    }
    ranker
}

fn run_upkeep(
    mut upkeep: log::Upkeep,
    mut clock: ClockFile,
    stopping: &Receiver<()>,
    shared: &Shared,
) -> (log::Upkeep, ClockFile) {
    while pause(stopping) {
        shared.observe_disk();
        shared.insight.outcomes.look();
        if let Err(error) = shared.insight.refused.step(&shared.world) {
            tracing::warn!(error = %Causes(&error), "write refused events");
        }
        if let Err(error) = clock.step() {
            tracing::warn!(error = %Causes(&error), "write what is known of the clocks");
        }
        // Before the next segment is prepared: one that leaves may become it.
        if let Err(error) = retire(&mut upkeep, shared) {
            tracing::warn!(error = %Causes(&error), "retire a log segment");
        }
        let ended = loop {
            match upkeep.step(UPKEEP_BYTES) {
                Ok(log::Progress::Working) => {}
                Ok(log::Progress::Ready) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = ended {
            // The log goes on without a prepared segment; the next look begins anew.
            tracing::warn!(error = %Causes(&error), "prepare a log segment");
        }
    }
    (upkeep, clock)
}
