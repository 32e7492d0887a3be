//! How often a run met what it is there for: a fault that was never met has proved nothing.

use std::collections::BTreeMap;

use quipu::model::{Hour, Lsn};
use quipu::world::sim::{FaultKind, Operation, SimDisk};

use crate::place::Process;

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached(BTreeMap<&'static str, u64>);

/// Crash points that the minima are for.
const POINTS: u64 = 10_000;
/// What fewer points are to meet so often by the minima may not come in them at all.
const SELDOM: u64 = 9;

/// What that many crash points must have met at least so often.
const MINIMA: &[(&str, u64)] = &[
    ("crash: between two steps", 100),
    ("crash: in the middle of a step", 500),
    ("crash: while a log write was under way", 50),
    ("crash: while a sync was under way", 50),
    ("crash: while names changed", 10),
    ("crash: inside a recovery", 500),
    ("crash: kill -9", 1_000),
    ("crash: power cut that drops all", 1_000),
    ("crash: power cut at random", 1_000),
    ("cut: change kept", 1_000),
    ("cut: change dropped", 1_000),
    ("cut: write torn", 500),
    ("cut: change kept after one that is lost", 500),
    ("cut: sync in doubt", 50),
    ("cut: rename, creation or removal undone", 50),
    ("fault: error once", 100),
    ("fault: error for ever", 100),
    ("fault: no space once", 20),
    ("fault: no space for ever", 20),
    ("fault: short write", 20),
    ("fault: failed sync", 20),
    ("fault: failed sync of names", 5),
    ("fault: failed read", 20),
    ("fault: start refused and repeated", 100),
    ("flip: found", 100),
    ("flip: harmless", 100),
    ("clock: jumped ahead", 20),
    ("clock: set back", 20),
    ("disk: nearly full", 20),
    ("request without an answer that was applied", 50),
    ("request without an answer that was lost", 100),
    ("due work seen", 1_000),
    ("backfill ended", 20),
    ("checkpoint ended", 200),
    ("retry recognised", 20),
    ("duplicate answered", 4_000),
    ("conflict answered", 1_000),
    ("subscription made", 300),
    ("invoice of a close", 100),
    ("checkout: made", 300),
    ("checkout: confirmed", 150),
    ("checkout: confirmed again", 120),
    ("checkout: confirmed without an answer", 1),
    ("checkout: ended by itself", 100),
    ("checkout: cart sold", 40),
    ("checkout: amount chosen by whoever confirms", 8),
    ("on demand: renews from then on", 1),
    ("ids: moved to disk", 400),
    ("ids: runs merged", 50),
    ("ids: forgotten", 8),
    ("usage: hours moved to rows", 60),
    ("history: file made", 30),
    ("history: file dropped", 2),
    ("log: segment retired", 60),
    ("clock: a doubt outlived its process", 50),
    ("credits: of a period", 2_000),
    ("credits: of a trial", 100),
    ("credits: of a change within a period", 3),
    ("credits: bought once", 60),
    ("credits: given by hand", 80),
    ("credits: taken by hand", 8),
    ("credits: drawn", 400),
    ("credits: drawn at a late turn", 4),
    ("credits: drawn as overage", 300),
    ("credits: uncovered", 200),
    ("credits: low balance", 100),
    ("credits: overage to be invoiced", 30),
    ("credits: overage on an invoice", 25),
    ("credits: overage forgiven", 20),
    ("credits: overage carried on", 200),
    ("credits: overage repaid", 60),
    ("credits: rolled over", 3_000),
    ("credits: forfeited", 400),
    ("credits: expired", 2_000),
    ("credits: entitlement deleted", 30),
    ("credits: crash between draw and invoice", 200),
    ("reservation: made", 120),
    ("reservation: of overage", 30),
    ("reservation: not covered", 50),
    ("reservation: too many", 8),
    ("reservation: committed by less", 15),
    ("reservation: committed by as much", 8),
    ("reservation: committed by more", 8),
    ("reservation: committed by a known event", 6),
    ("reservation: committed again", 30),
    ("reservation: released", 8),
    ("reservation: timed out", 50),
    ("reservation: asked for too late", 40),
    ("reservation: crash while one was open", 80),
    ("webhook: endpoint made", 200),
    ("webhook: endpoint changed", 130),
    ("webhook: endpoint deleted", 30),
    ("webhook: endpoint disabled for failing", 4),
    ("webhook: delivered", 400),
    ("webhook: to be tried again", 400),
    ("webhook: given up", 20),
    ("webhook: sent once more", 15),
    ("alert: made", 200),
    ("alert: deleted", 30),
    ("alert: everybody looked at", 300),
    ("alert: usage fired", 100),
    ("alert: cost fired", 3),
    ("alert: balance fired", 10),
];

impl Reached {
    pub(crate) fn note(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        debug_assert!(MINIMA.iter().any(|(known, _)| *known == what), "{what}");
        *self.0.entry(what).or_default() += count;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What the power cut that `disk` came from did.
    pub(crate) fn note_losses(&mut self, disk: &SimDisk) {
        let losses = disk.losses();
        self.add("cut: change kept", losses.kept);
        self.add("cut: change dropped", losses.dropped);
        self.add("cut: write torn", losses.torn);
        self.add("cut: change kept after one that is lost", losses.reordered);
        self.add("cut: sync in doubt", losses.in_doubt);
        self.add("cut: rename, creation or removal undone", losses.names_undone);
    }

    /// Which operations of a process failed, and where it was frozen.
    pub(crate) fn note_faults(&mut self, disk: &SimDisk, is_for_ever: bool) {
        match disk.stopped_in() {
            Some(Operation::WriteAt | Operation::Resize) => {
                self.note("crash: while a log write was under way");
            }
            Some(Operation::Sync | Operation::SyncNames) => {
                self.note("crash: while a sync was under way");
            }
            Some(Operation::Create | Operation::Rename | Operation::Remove) => {
                self.note("crash: while names changed");
            }
            None
            | Some(
                Operation::Open
                | Operation::Names
                | Operation::FreeBytes
                | Operation::Size
                | Operation::ReadAt,
            ) => {}
        }
        for (kind, operation) in disk.faults_met() {
            self.note(match (kind, is_for_ever) {
                (FaultKind::Io | FaultKind::Names, false) => "fault: error once",
                (FaultKind::Io | FaultKind::Names, true) => "fault: error for ever",
                (FaultKind::NoSpace, false) => "fault: no space once",
                (FaultKind::NoSpace, true) => "fault: no space for ever",
                (FaultKind::ShortWrite, _) => "fault: short write",
            });
            match operation {
                Operation::Sync => self.note("fault: failed sync"),
                Operation::SyncNames => self.note("fault: failed sync of names"),
                Operation::ReadAt => self.note("fault: failed read"),
                Operation::Open
                | Operation::Create
                | Operation::Rename
                | Operation::Remove
                | Operation::Names
                | Operation::FreeBytes
                | Operation::Size
                | Operation::WriteAt
                | Operation::Resize => {}
            }
        }
    }

    /// What was met less often than `points` crash points must meet it.
    pub(crate) fn missing(&self, points: u64) -> Vec<String> {
        let short = MINIMA.iter().filter_map(|(what, minimum)| {
            let due = minimum * points / POINTS;
            // Much comes in bursts, many times in one life: of few lives only what never comes is told.
            let wanted = if points < POINTS { due.saturating_sub(SELDOM).min(1) } else { due };
            let found = self.count(what);
            (found < wanted).then(|| format!("{what}: {found}, at least {wanted} were due"))
        });
        short.collect()
    }

    fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn print(&self) {
        for (what, _) in MINIMA {
            println!("{:>9}  {what}", self.count(what));
        }
    }
}

/// How far the background work of a process has come, as it is seen from outside.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Works {
    runs: u64,
    filter_ids: u64,
    history_lsn: Lsn,
    history_files: u64,
    memory_from: Hour,
}

impl Works {
    pub(crate) fn of(process: &Process) -> Self {
        let stats = process.engine.stats();
        Self {
            runs: stats.runs,
            filter_ids: stats.filter_ids,
            history_lsn: stats.history_lsn,
            history_files: stats.history_files,
            memory_from: process.machine.shared.state.memory_from(),
        }
    }

    /// Notes what was done since the last look; work that was undone by other work is not seen.
    pub(crate) fn look(&mut self, process: &Process, reached: &mut Reached) {
        let (before, now) = (*self, Self::of(process));
        let done = [
            ("ids: moved to disk", now.filter_ids > before.filter_ids),
            ("ids: runs merged", now.runs < before.runs && now.filter_ids >= before.filter_ids),
            ("ids: forgotten", now.filter_ids < before.filter_ids),
            ("usage: hours moved to rows", now.memory_from > before.memory_from),
            ("history: file made", now.history_lsn > before.history_lsn),
            ("history: file dropped", now.history_files < before.history_files),
        ];
        done.into_iter().filter(|(_, is_done)| *is_done).for_each(|(what, _)| reached.note(what));
        *self = now;
    }
}
