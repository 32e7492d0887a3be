//! How often a run met what it is there for: a fault that was never met has proved nothing.

use std::collections::BTreeMap;

use quipu::world::sim::{FaultKind, Operation, SimDisk};

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached(BTreeMap<&'static str, u64>);

/// What every ten thousand crash points must have met at least so often.
const MINIMA: [(&str, u64); 35] = [
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
                (FaultKind::Io, false) => "fault: error once",
                (FaultKind::Io, true) => "fault: error for ever",
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
            let (found, wanted) = (self.count(what), minimum * points / 10_000);
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
