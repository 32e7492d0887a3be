//! The end of a process, and the start of the next: crashes on copies, flipped bits, starts that fail.

use quipu::engine::command::Command;
use quipu::model::Settings;
use quipu::model::credit::GrantOrder;
use quipu::world::Disk;
use quipu::world::sim::{FaultKind, Repeat};

use super::Life;
use crate::answers::{Again, resolve};
use crate::check::{check, check_known};
use crate::damage::reading_damage;
use crate::place::{Crash, Place, Process, chain};
use crate::reached::{Reached, Works};

/// What `credits.order` may say.
const GRANT_ORDERS: [GrantOrder; 2] = [GrantOrder::OldestFirst, GrantOrder::ExpiresFirst];

impl Life {
    /// Cuts this instant in another way, on a copy, and looks at what is left.
    pub(super) fn probe(&mut self, crash: Crash) {
        self.tell(|| format!("probe {crash:?}"));
        let mut place = self.place.probe(crash);
        self.note_crash(crash, &place);
        assert_eq!(place.findings(), [""; 0], "nothing is damaged");
        let mut process = place.open().unwrap_or_else(|error| panic!("{}", chain(&error)));
        let mut model = self.model.clone();
        let mut reached = Reached::default();
        resolve(&process, &mut model, &self.waiting, &mut reached)
            .and_then(|_| check(&process, &mut model))
            .and_then(|()| check_known(&mut process, &model, 3))
            .unwrap_or_else(|unread| panic!("{unread}"));
        self.points += 1;
    }

    fn note_crash(&mut self, crash: Crash, place: &Place) {
        self.reached.note_losses(&place.disk);
        self.reached.note(match crash {
            Crash::Killed => "crash: kill -9",
            Crash::DropsAll => "crash: power cut that drops all",
            Crash::Random(_) => "crash: power cut at random",
        });
    }

    /// Flips a bit anywhere in a directory that says itself that it is whole: either somebody finds
    /// it, or every answer is as before.
    pub(super) fn flip_bits(&mut self, process: &mut Process) {
        if !self.waiting.is_empty() || process.machine.writer.mark_idle().is_err() {
            return;
        }
        for _ in 0..2 {
            let mut place = self.place.probe(Crash::Killed);
            let names = place.disk.names().expect("a healthy disk");
            let name = self.workload.dice.pick(&names).clone();
            let image = place.disk.image(&name);
            if image.is_empty() {
                continue;
            }
            // Files are mostly zeros that nobody looks at. What is drawn must not depend on their bytes,
            // which follow from the order of hash tables.
            let drawn: Vec<_> = (0..30).map(|_| self.workload.dice.index(image.len())).collect();
            let at = drawn.iter().find(|at| image[**at] != 0).unwrap_or(&drawn[0]);
            let (at, bit) = (*at as u64, self.workload.dice.few(8));
            place.disk.flip_bit(&name, at, u8::try_from(bit).expect("below 8"));
            let mut model = self.model.clone();
            self.tell(|| format!("flips bit {bit} of byte {at} of {name}"));
            // Whoever meets damage may end its process; nobody may answer wrongly.
            let seen = reading_damage(|| {
                let mut process = place.open().map_err(|error| chain(&error))?;
                check(&process, &mut model)?;
                check_known(&mut process, &model, 5)
            });
            self.tell(|| format!("{seen:?}"));
            self.reached.note(if seen.is_ok() { "flip: harmless" } else { "flip: found" });
        }
    }

    /// Starts the next process, over crashes inside the start.
    pub(super) fn restart(&mut self, crash: Crash) -> Process {
        self.tell(|| format!("crash {crash:?}"));
        if self.model.credits.is_any_owed() {
            self.reached.note("credits: crash between draw and invoice");
        }
        if self.model.credits.is_any_held() {
            self.reached.note("reservation: crash while one was open");
        }
        self.place = self.place.after(crash);
        self.note_crash(crash, &self.place.after(Crash::Killed));
        self.reached.note_losses(&self.place.disk);
        if crash != Crash::Killed {
            self.place.clock.reboot();
            self.trust.reboot();
        }
        let is_soon = self.workload.dice.one_in(2);
        if !is_soon {
            self.place.clock.advance(self.workload.time());
        }
        while self.workload.dice.one_in(2) {
            if let Some(process) = self.start_that_may_fail() {
                return self.welcome(process, is_soon);
            }
        }
        assert_eq!(self.place.findings(), [""; 0], "nothing is damaged");
        let process = self.place.open().unwrap_or_else(|error| panic!("{}", chain(&error)));
        self.welcome(process, is_soon)
    }

    /// A start that meets a fault: the process, when it came up all the same.
    fn start_that_may_fail(&mut self) -> Option<Process> {
        let dice = &self.workload.dice;
        let at = 1 + dice.below(*dice.pick(&[20, 100, 400]));
        let stops = dice.one_in(2);
        if stops {
            self.place.disk.stop_at(at);
        } else {
            let kinds = [FaultKind::Io, FaultKind::NoSpace, FaultKind::ShortWrite];
            let repeat = *dice.pick(&[Repeat::Once, Repeat::Forever]);
            self.place.disk.fail_at(at, *dice.pick(&kinds), repeat);
        }
        let opened = self.place.open();
        if let Ok(process) = opened {
            self.place.disk.clear_faults();
            // A machine that stood still did not serve.
            if self.place.disk.stopped_in().is_none() {
                return Some(process);
            }
        }
        self.reached.note(if stops {
            "crash: inside a recovery"
        } else {
            "fault: start refused and repeated"
        });
        let crash = self.draw_crash();
        self.place = self.place.after(crash);
        self.points += 1;
        None
    }

    /// Everything that was acknowledged is there, and of the rest a part that ends between two
    /// requests.
    fn welcome(&mut self, mut process: Process, is_soon: bool) -> Process {
        self.points += 1;
        self.tell(|| format!("starts; {} records replayed", process.replayed));
        process.machine.shared.observe_disk();
        self.is_disk_full = false;
        self.works = Works::of(&process);
        // What was under way is sent again.
        self.pumps.clear();
        self.trust.check(&process, &mut self.reached);
        self.model.latest = self.model.latest.max(process.now());
        let waiting = std::mem::take(&mut self.waiting);
        let again = resolve(&process, &mut self.model, &waiting, &mut self.reached)
            .unwrap_or_else(|unread| panic!("{unread}"));
        self.model.see_log_time(process.engine.clock().log_time);
        check(&process, &mut self.model).unwrap_or_else(|unread| panic!("{unread}"));
        if is_soon {
            self.send_again(&mut process, again);
        }
        check_known(&mut process, &self.model, 1).unwrap_or_else(|unread| panic!("{unread}"));
        if self.workload.dice.one_in(4) {
            // Somebody has changed the configuration.
            let credit_order = *self.workload.dice.pick(&GRANT_ORDERS);
            let settings = Settings { credit_order, ..Settings::default() };
            process.machine.committer.change_settings(settings);
        }
        self.settle(&mut process).expect("a healthy disk");
        process
    }

    /// What clients do whose changes were not answered: the same again, once more.
    fn send_again(&mut self, process: &mut Process, again: Vec<Again>) {
        for again in again {
            match again {
                Again::Change(asked) if is_untold(&asked.command) => continue,
                Again::Change(mut asked) => {
                    asked.identity.is_retry = true;
                    self.submit(process, asked);
                }
                Again::Commit(mut asked) => {
                    asked.identity.is_retry = true;
                    self.submit_commit(process, asked);
                }
            }
            self.settle(process).expect("a healthy disk");
        }
    }
}

/// Whether it cannot be told from what it leaves whether it was applied.
fn is_untold(command: &Command) -> bool {
    if let Command::CreateCheckout(new) = command {
        // Nobody knows the id of a session whose creation was not answered.
        return !new.confirm;
    }
    matches!(
        command,
        Command::RetryPayment(_)
            | Command::ConfirmClock
            | Command::CancelScheduledChange(_)
            | Command::ArchiveMeter(_)
            | Command::UnarchiveMeter(_)
            | Command::ArchiveProduct(_)
            | Command::UnarchiveProduct(_)
            | Command::UpdateEntitlement(..)
            | Command::DeleteEntitlement(_)
            | Command::UndeleteEntitlement(_)
            | Command::Webhook(_)
    )
}
