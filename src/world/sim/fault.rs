//! When the simulated disk fails, and how.
//!
//! Operations are numbered from 1 in the order in which they begin. A plan names operations by
//! number; what the failed operation leaves behind is the disk's business.

use std::collections::BTreeSet;
use std::io;

use rustix::io::Errno;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// An I/O error; any operation can meet it, and it leaves nothing behind.
    Io,
    /// The disk is full; operations that need no space do not meet it.
    NoSpace,
    /// Half of the bytes are written, then an I/O error; only a write can meet it.
    ShortWrite,
    /// An I/O error; only what changes names, or makes them durable, can meet it.
    Names,
}

/// How often a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// At the named operation alone.
    Once,
    /// At the named operation and at every later one.
    Forever,
}

/// What the disk is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the disk's methods")]
pub enum Operation {
    Open,
    Create,
    Rename,
    Remove,
    Names,
    SyncNames,
    FreeBytes,
    Size,
    ReadAt,
    WriteAt,
    Resize,
    Sync,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Goes,
    Fails(FaultKind),
    /// The machine stands still: the operation fails and leaves no trace at all.
    Stopped,
}

/// The faults to come, and the count of operations so far.
#[derive(Debug, Default)]
pub(super) struct Plan {
    operations: u64,
    faults: Vec<Fault>,
    stop_at: Option<u64>,
    met: BTreeSet<(FaultKind, Operation)>,
    stopped_in: Option<Operation>,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    at: u64,
    kind: FaultKind,
    repeat: Repeat,
}

impl FaultKind {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Io | Self::ShortWrite | Self::Names => Errno::IO.into(),
            Self::NoSpace => Errno::NOSPC.into(),
        }
    }

    fn can_hit(self, operation: Operation) -> bool {
        match self {
            Self::Io => true,
            Self::NoSpace => match operation {
                Operation::Create
                | Operation::Rename
                | Operation::SyncNames
                | Operation::WriteAt
                | Operation::Resize
                | Operation::Sync => true,
                Operation::Open
                | Operation::Remove
                | Operation::Names
                | Operation::FreeBytes
                | Operation::Size
                | Operation::ReadAt => false,
            },
            Self::ShortWrite => operation == Operation::WriteAt,
            Self::Names => matches!(
                operation,
                Operation::Create | Operation::Rename | Operation::Remove | Operation::SyncNames
            ),
        }
    }
}

impl Plan {
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn fail_at(&mut self, at: u64, kind: FaultKind, repeat: Repeat) {
        self.faults.push(Fault { at, kind, repeat });
    }

    pub(super) fn stop_at(&mut self, at: u64) {
        self.stop_at = Some(at);
    }

    /// Which kinds of fault which operations have met so far.
    pub(super) fn met(&self) -> &BTreeSet<(FaultKind, Operation)> {
        &self.met
    }

    /// The operation at which the machine was stopped.
    pub(super) fn stopped_in(&self) -> Option<Operation> {
        self.stopped_in
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
        self.stop_at = None;
    }

    /// Counts an operation and says what becomes of it; of several faults the one planned first.
    pub(super) fn begin(&mut self, operation: Operation) -> Verdict {
        self.operations += 1;
        let number = self.operations;
        if self.stop_at.is_some_and(|stop_at| number >= stop_at) {
            self.stopped_in.get_or_insert(operation);
            return Verdict::Stopped;
        }
        let due = self.faults.iter().find(|fault| {
            let is_now = match fault.repeat {
                Repeat::Once => number == fault.at,
                Repeat::Forever => number >= fault.at,
            };
            is_now && fault.kind.can_hit(operation)
        });
        let Some(fault) = due else { return Verdict::Goes };
        self.met.insert((fault.kind, operation));
        Verdict::Fails(fault.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(plan: &mut Plan, operations: &[Operation]) -> Vec<Verdict> {
        operations.iter().map(|operation| plan.begin(*operation)).collect()
    }

    #[test]
    fn a_fault_happens_at_its_operation_once_or_from_there_on() {
        use Operation::{ReadAt, Sync, WriteAt};
        let mut plan = Plan::default();
        plan.fail_at(2, FaultKind::Io, Repeat::Once);
        plan.fail_at(4, FaultKind::NoSpace, Repeat::Forever);
        let seen = verdicts(&mut plan, &[ReadAt, ReadAt, ReadAt, WriteAt, ReadAt, Sync]);
        let full = Verdict::Fails(FaultKind::NoSpace);
        let io = Verdict::Fails(FaultKind::Io);
        assert_eq!(seen, [Verdict::Goes, io, Verdict::Goes, full, Verdict::Goes, full]);
        plan.clear();
        assert_eq!(plan.begin(Sync), Verdict::Goes);
        assert_eq!(plan.operations(), 7);
    }

    #[test]
    fn a_stopped_machine_stays_stopped() {
        let mut plan = Plan::default();
        plan.stop_at(2);
        plan.fail_at(3, FaultKind::Io, Repeat::Once);
        let seen = verdicts(&mut plan, &[Operation::Names, Operation::Sync, Operation::Sync]);
        assert_eq!(seen, [Verdict::Goes, Verdict::Stopped, Verdict::Stopped]);
    }
}
