//! Failing disks, killed processes and power cuts at every operation of a workload.

use super::disk::{Fault, Restart, TestDisk};
use super::{
    Bounds, Durability, INTERVAL, Lsn, Model, OpenError, Opened, OwnedFrame, append, log_of,
    open_all, open_with, read_from,
};
use crate::storage::log::{Error, ReadError, Wal};

/// A data directory through several processes.
struct History {
    disk: TestDisk,
    durability: Durability,
    model: Model,
    /// What no power cut may take back.
    durable: Lsn,
    /// What no killed process may take back.
    written: Lsn,
    /// What is below is not needed any more.
    from: Lsn,
}

/// The process ends.
#[derive(Debug)]
struct Stopped;

impl History {
    fn new(seed: u64, durability: Durability) -> Self {
        let (disk, model) = (TestDisk::new(seed), Model::default());
        Self { disk, durability, model, durable: Lsn::ZERO, written: Lsn::ZERO, from: Lsn(1) }
    }

    fn fork(&self) -> Self {
        Self { disk: self.disk.fork(), model: self.model.clone(), ..*self }
    }

    /// One process under a fault, until it is done or its log fails.
    fn process(&mut self, fault: Fault) -> Result<(), Stopped> {
        self.disk.set_fault(fault);
        let done = self.recover().and_then(|opened| self.work(opened));
        assert!(self.disk.synced_again().is_empty(), "{:?}", self.disk.synced_again());
        done
    }

    fn restart(&mut self, restart: Restart) {
        self.disk.restart(restart);
        match restart {
            Restart::Killed => {}
            Restart::PowerCut => self.written = self.durable,
        }
    }

    /// Opens the log and compares all of it: what was promised is there, in order, once, unchanged,
    /// and anything more is what was appended next.
    fn recover(&mut self) -> Result<Opened, Stopped> {
        let bounds = Bounds { known_durable: self.from.previous(), from: self.from };
        let opened = open_with(&self.disk, self.durability, bounds)?;
        let last_lsn = opened.wal.durable();
        assert!(last_lsn >= self.written, "{last_lsn} came back of {}", self.written);
        assert_eq!(opened.report.last_lsn, last_lsn);
        self.model.cut(last_lsn);
        (self.durable, self.written) = (last_lsn, last_lsn);
        let needed = |frame: &&OwnedFrame| frame.first_lsn.plus(frame.count.into()) > self.from;
        let expected: Vec<_> = self.model.frames.iter().filter(needed).cloned().collect();
        assert_eq!(read_from(&opened.reader, self.from)?, expected);
        Ok(opened)
    }

    fn work(&mut self, opened: Opened) -> Result<(), Stopped> {
        let Opened { mut wal, mut upkeep, .. } = opened;
        for round in 0..14_usize {
            // A failure in the background does not stop the log.
            let _ = upkeep.step(5000);
            let sizes = [10, 700, 3000, 1, 1500, 9000, 460];
            let group = self.model.group(1 + u32::try_from(round % 3).unwrap(), sizes[round % 7]);
            append(&mut wal, &group)?;
            self.note(&wal);
            if self.durability == Durability::Commit || round % 4 == 3 {
                wal.sync()?;
                self.note(&wal);
            }
            if round % 5 == 4 {
                wal.write_idle_mark()?;
            }
            if round == 8 {
                self.from = Lsn(self.durable.0 - 3);
                let _ = upkeep.retire_below(self.from);
            }
        }
        Ok(())
    }

    fn note(&mut self, wal: &Wal) {
        self.durable = wal.durable();
        self.written = wal.acknowledged();
    }

    /// How many operations one more process takes.
    fn operations(&self) -> u64 {
        let mut history = self.fork();
        history.process(Fault::Never).unwrap();
        history.disk.operations()
    }
}

/// Two processes come and go, the third meets `fault`; then recovery meets `second`, and in the end
/// everything works.
fn check(before: &History, fault: Fault, restart: Restart, second: Fault) {
    let mut history = before.fork();
    let _ = history.process(fault);
    history.restart(restart);
    let _ = history.process(second);
    history.restart(Restart::PowerCut);
    history.process(Fault::Never).unwrap();
    history.restart(Restart::Killed);
    history.process(Fault::Never).unwrap();
}

fn history_of_two(seed: u64, durability: Durability) -> History {
    let mut history = History::new(seed, durability);
    for restart in [Restart::PowerCut, Restart::Killed] {
        history.process(Fault::Never).unwrap();
        history.restart(restart);
    }
    history
}

fn what_was_promised_survives_any_fault(durability: Durability) {
    for before in [History::new(0, durability), history_of_two(1, durability)] {
        for at in 0..before.operations() {
            for fault in [Fault::Once(at), Fault::From(at)] {
                check(&before, fault, Restart::Killed, Fault::Never);
                check(&before, fault, Restart::PowerCut, Fault::From(at * 7 % 80));
            }
        }
    }
}

#[test]
fn synced_groups_survive_a_fault_at_any_operation() {
    what_was_promised_survives_any_fault(Durability::Commit);
}

#[test]
fn interval_groups_survive_a_kill_and_a_power_cut_takes_a_suffix() {
    what_was_promised_survives_any_fault(INTERVAL);
}

#[test]
fn a_fault_at_any_operation_of_recovery_loses_nothing() {
    for durability in [Durability::Commit, INTERVAL] {
        let mut before = history_of_two(10, durability);
        let stopped = before.process(Fault::From(before.operations() * 2 / 3));
        assert!(stopped.is_err(), "the third process was to be stopped");
        for restart in [Restart::Killed, Restart::PowerCut] {
            let mut restarted = before.fork();
            restarted.restart(restart);
            for at in 0..restarted.operations().min(90) {
                check(&restarted, Fault::Once(at), Restart::PowerCut, Fault::Never);
                for second in [Restart::Killed, Restart::PowerCut] {
                    check(&restarted, Fault::From(at), second, Fault::From(at * 3 % 40));
                }
            }
        }
    }
}

#[test]
fn a_group_that_nothing_vouches_for_survives_a_power_cut_at_any_operation_of_recovery() {
    let (disk, opened, model) = log_of(&[(1, 10), (2, 3000)]);
    drop(opened);
    disk.set_fault(Fault::Never);
    let recovery = disk.fork();
    open_all(&recovery).unwrap();
    for at in 0..recovery.operations() {
        for seed in 0..50 {
            let cut = disk.fork();
            cut.reseed(seed);
            cut.set_fault(Fault::From(at));
            assert!(open_all(&cut).is_err());
            cut.restart(Restart::PowerCut);
            let opened = open_all(&cut).unwrap();
            let read = read_from(&opened.reader, Lsn(1)).unwrap();
            assert_eq!(read, model.frames, "operation {at}, seed {seed}");
        }
    }
}

#[test]
fn a_log_that_failed_takes_nothing_more() {
    let before = history_of_two(1, Durability::Commit);
    let mut refused = 0;
    for at in 0..before.operations() {
        let history = before.fork();
        history.disk.set_fault(Fault::Once(at));
        let bounds = Bounds { known_durable: Lsn::ZERO, from: history.from };
        let Ok(Opened { mut wal, .. }) = open_with(&history.disk, Durability::Commit, bounds)
        else {
            continue;
        };
        let mut model = history.model;
        model.cut(wal.durable());
        for _ in 0..20 {
            let next = model.group(1, 600);
            if append(&mut wal, &next).and_then(|()| wal.sync().map(drop)).is_err() {
                assert!(wal.is_poisoned());
                let durable = wal.durable();
                assert!(matches!(wal.sync(), Err(Error::Poisoned)));
                assert!(matches!(wal.write_idle_mark(), Err(Error::Poisoned)));
                let last_lsn = wal.appended();
                model.frames.retain(|frame| frame.first_lsn <= last_lsn);
                let after = model.group(1, 1);
                assert!(matches!(append(&mut wal, &after), Err(Error::Poisoned)));
                assert_eq!(wal.durable(), durable);
                refused += 1;
                break;
            }
        }
        assert!(history.disk.synced_again().is_empty());
    }
    assert!(refused > 20, "only {refused} faults met the writer");
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        assert!(matches!(error, Error::Failed { .. }), "{error}");
        Self
    }
}

impl From<OpenError> for Stopped {
    fn from(error: OpenError) -> Self {
        assert!(matches!(error, OpenError::Io { .. }), "false alarm: {error}");
        Self
    }
}

impl From<ReadError> for Stopped {
    fn from(error: ReadError) -> Self {
        assert!(matches!(error, ReadError::Io { .. }), "false alarm: {error}");
        Self
    }
}
