//! What a start must know of the clocks: a step ahead that nobody has waited out or confirmed is still in
//! doubt, whatever became of the process that saw it, or did not come to see it.

use std::time::Duration;

use quipu::model::Timestamp;
use quipu::world::Clock;

use crate::place::Process;
use crate::reached::Reached;

/// More than this is a step: five minutes, and one that need not be written down.
const STEP: Duration = Duration::from_mins(6);

/// What is known to be on disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trust {
    /// Wall clock and time since boot when they were last trusted since the machine started.
    trusted: Option<(Timestamp, Duration)>,
    /// It says that the wall clock is in doubt.
    says_doubt: bool,
}

impl Trust {
    /// Lets a process look at its clocks and write down what it thinks of them.
    pub(crate) fn look(&mut self, process: &mut Process) {
        process.machine.committer.observe_clock();
        match process.machine.clock.step() {
            Ok(()) => self.take_over(process),
            // Either may be on disk.
            Err(_) => *self = Self::default(),
        }
    }

    fn take_over(&mut self, process: &Process) {
        let Some(witness) = *process.machine.shared.clock_witness.lock() else { return };
        self.says_doubt = witness.is_in_doubt;
        if !self.says_doubt {
            self.trusted = Some((process.clock.wall(), process.clock.since_boot()));
        } else if self.trusted.is_none() {
            // A write that failed has made it unknown; what is on disk now names it.
            self.trusted = Some((witness.wall, witness.since_boot));
        }
    }

    /// The machine starts anew: nobody can tell how long it was off.
    pub(crate) fn reboot(&mut self) {
        self.trusted = None;
    }

    /// Looks at a process that has just started.
    pub(crate) fn check(&mut self, process: &Process, reached: &mut Reached) {
        let (wall, since_boot) = (process.clock.wall(), process.clock.since_boot());
        let has_stepped = self.trusted.map(|(last_wall, last_boot)| {
            wall.since(last_wall.plus(since_boot.saturating_sub(last_boot))) > STEP
        });
        if has_stepped.unwrap_or(self.says_doubt) {
            let clock = process.engine.clock();
            assert!(clock.in_doubt, "{clock:?} after {self:?}");
            reached.note("clock: a doubt outlived its process");
        }
        // A start writes down what it thinks.
        self.take_over(process);
    }
}
