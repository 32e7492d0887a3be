//! Lets the parts of a machine take turns as its threads would: the committer decides while a group is
//! being written, jobs go on in between, and a group is applied before or after the next is written.

use quipu::engine::commit::{Group, Submission};
use quipu::engine::machine::Fatal;

use crate::dice::Dice;
use crate::place::Process;

impl Process {
    /// Lets everything that was submitted be answered, with turns that `dice` draw.
    pub(crate) fn settle_in_turns(&mut self, dice: &Dice) -> Result<(), Fatal> {
        let mut held = None;
        let mut writing = None;
        loop {
            self.admit(&mut held, dice);
            if writing.is_none() {
                self.machine.committer.work();
                writing = self.machine.committer.take();
            }
            if let Some(group) = writing.take() {
                self.work_beside(dice)?;
                self.admit(&mut held, dice);
                // The next due work is decided while the last is written.
                self.machine.committer.work();
                writing = self.write(group, dice)?;
            } else if let Some(submission) = held.take() {
                // Nothing is in flight: it waits for a free generation.
                while self.machine.flush.step()? {}
                held = self.machine.committer.admit(submission);
            } else if self.machine.queue.is_empty() {
                return Ok(());
            }
        }
    }

    /// Decides on some of what waits.
    fn admit(&mut self, held: &mut Option<Submission>, dice: &Dice) {
        *held = held.take().and_then(|submission| self.machine.committer.admit(submission));
        while held.is_none() && !dice.one_in(4) {
            let Ok(submission) = self.machine.queue.try_recv() else { return };
            *held = self.machine.committer.admit(submission);
        }
    }

    /// Writes a group, and gives back the one that was decided meanwhile. The log's thread may have
    /// written that one before the committer comes to apply the first.
    fn write(&mut self, mut group: Group, dice: &Dice) -> Result<Option<Group>, Fatal> {
        self.machine.writer.write(&mut group)?;
        let mut next = self.machine.committer.take();
        if let Some(mut decided) = next.take_if(|_| dice.one_in(4)) {
            let written = self.machine.writer.write(&mut decided);
            self.machine.committer.finish(group);
            written?;
            self.machine.committer.finish(decided);
            return Ok(None);
        }
        self.machine.committer.finish(group);
        Ok(next)
    }

    /// What other threads may do while a group is being written.
    fn work_beside(&mut self, dice: &Dice) -> Result<(), Fatal> {
        match dice.below(12) {
            0..3 => {
                for _ in 0..=dice.below(4) {
                    self.machine.flush.step()?;
                }
            }
            3 => drop(self.machine.checkpointer.step()?),
            // Failures of these are not the log's.
            4 => drop(self.machine.upkeep.step(6 << 10)),
            5 => drop(self.machine.sealer.step()),
            _ => {}
        }
        Ok(())
    }
}
