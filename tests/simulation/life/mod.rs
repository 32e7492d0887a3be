//! The life of one data directory: daemons that work, fail, crash and start again, on one thread.
//!
//! An *era* is one process. Faults are planned at its beginning; however it ends, the next one must
//! show exactly what was acknowledged. Before the life goes on, the same instant is also cut in other
//! ways, on copies, and bits of a copy are flipped.

mod restart;
mod visits;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quipu::engine::backfill::Step;
use quipu::engine::checkpoint::Progress;
use quipu::engine::command::{Command, RequestIdentity};
use quipu::engine::machine::Fatal;
use quipu::engine::outbox::pump::Pump;
use quipu::model::invoice::InvoiceCause;
use quipu::model::{EndpointIndex, Timestamp};
use quipu::world::sim::{FaultKind, Repeat};

use crate::answers::{Again, Asked, Waiting, take_answers};
use crate::check::{check, check_nothing_is_due};
use crate::event::Sent;
use crate::model::Model;
use crate::options::draw_options;
use crate::orders::one_time;
use crate::place::{Crash, Place, Process, chain};
use crate::reached::{Reached, Works};
use crate::trust::Trust;
use crate::workload::{PRICED, Workload, aggregations, new_meter};

/// For so long answers are repeated, and a minute longer.
const KEYED_FOR: Duration = Duration::from_mins(24 * 60 - 1);
/// Processes in one life.
const ERAS: u64 = 12;

/// What a life came to.
#[derive(Debug)]
pub(crate) struct Lived {
    pub(crate) points: u64,
    pub(crate) reached: Reached,
    pub(crate) events: u64,
    pub(crate) invoices: u64,
}

struct Life {
    place: Place,
    model: Model,
    workload: Workload,
    waiting: Vec<Waiting>,
    /// Changes that were applied, and when.
    applied: Vec<(Again, Timestamp)>,
    reached: Reached,
    works: Works,
    trust: Trust,
    points: u64,
    is_disk_full: bool,
    /// What carries messages in this process.
    pumps: BTreeMap<EndpointIndex, Pump>,
    /// History leaves after some days; then no meter can count what came before it.
    forgets: bool,
    identities: u64,
    is_told: bool,
}

/// Lives the life that `seed` draws; one that is told prints what happens.
///
/// # Panics
/// When the engine shows or answers anything else than it must.
pub(crate) fn live(seed: u64, is_told: bool) -> Lived {
    let mut life = Life { is_told, ..Life::new(seed) };
    let mut process = life.place.open().expect("an empty disk");
    life.begin(&mut process);
    for _ in 0..ERAS {
        process = life.era(process);
    }
    life.deliver_all(&mut process);
    life.points += 1;
    let closed =
        life.model.invoices.iter().filter(|invoice| invoice.cause != InvoiceCause::Created);
    life.reached.add("invoice of a close", closed.count() as u64);
    let carts = life.model.invoices.iter().filter(|invoice| invoice.cause == InvoiceCause::Cart);
    life.reached.add("checkout: cart sold", carts.count() as u64);
    life.reached.add("checkout: ended by itself", life.model.ended_orders());
    for (what, count) in life.model.credits.met() {
        life.reached.add(what, count);
    }
    life.reached.add("on demand: renews from then on", life.model.renewing);
    life.reached.add("subscription made", life.model.subscriptions.len() as u64);
    Lived {
        points: life.points,
        reached: life.reached,
        events: life.model.events.len() as u64,
        invoices: life.model.invoices.len() as u64,
    }
}

impl Life {
    fn new(seed: u64) -> Self {
        let workload = Workload::new(seed);
        let (options, forgets) = draw_options(&workload);
        let start = Timestamp::parse("2026-01-30T09:26:53.5Z").expect("a date");
        let place = Place::new(options.clone(), start);
        Self {
            model: Model::new(&options),
            place,
            workload,
            waiting: Vec::new(),
            applied: Vec::new(),
            reached: Reached::default(),
            works: Works::default(),
            trust: Trust::default(),
            points: 0,
            is_disk_full: false,
            pumps: BTreeMap::new(),
            forgets,
            identities: 0,
            is_told: false,
        }
    }

    /// What every life has: meters of each kind, a product and some customers.
    fn begin(&mut self, process: &mut Process) {
        self.model.latest = process.now();
        for aggregation in aggregations() {
            let name = self.workload.name();
            self.propose(process, Command::CreateMeter(new_meter(name, "call", aggregation)));
        }
        for _ in 0..4 {
            let customer = self.workload.new_customer();
            self.propose(process, Command::CreateCustomer(customer));
        }
        self.settle(process).expect("a healthy disk");
        assert_eq!(self.model.meters.len(), PRICED);
        for _ in 0..2 {
            let entitlement = self.workload.entitlement();
            self.propose(process, entitlement);
        }
        self.settle(process).expect("a healthy disk");
        for price in [None, Some(one_time(700, 0, false)), Some(one_time(200, 0, true))] {
            let product = self.workload.product(&self.model, price);
            self.propose(process, product);
        }
        for _ in 0..2 {
            let product = self.workload.product_with_credits(&self.model);
            self.propose(process, product);
        }
        self.settle(process).expect("a healthy disk");
        for _ in 0..2 {
            let subscription = self.workload.subscribe(&self.model);
            self.propose(process, subscription);
        }
        self.settle(process).expect("a healthy disk");
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:>6}  {}", self.place.disk.operations(), what());
        }
    }

    /// Runs a process to its end and starts the next.
    fn era(&mut self, mut process: Process) -> Process {
        let is_for_ever = self.plan_faults();
        let is_planned = is_for_ever.is_some();
        let steps = 4 + self.workload.dice.below(24);
        let mut is_alive = true;
        for _ in 0..steps {
            is_alive = self.step(&mut process).is_ok() && self.place.disk.stopped_in().is_none();
            if !is_alive {
                break;
            }
        }
        self.reached.note_faults(&self.place.disk, is_for_ever.unwrap_or(false));
        let stopped = self.place.disk.stopped_in().is_some();
        self.tell(|| format!("stopped in {:?}", self.place.disk.stopped_in()));
        self.reached.note(if stopped {
            "crash: in the middle of a step"
        } else {
            "crash: between two steps"
        });
        // Nothing shows what a crash could take back. The disk may not be readable any more.
        drop(check(&process, &mut self.model));
        if is_alive && !is_planned {
            self.flip_bits(&mut process);
            if self.workload.dice.one_in(6) {
                self.place.disk.clear_faults();
                process.machine.shut_down().expect("a healthy disk");
                return self.restart(Crash::Killed);
            }
        }
        drop(process);
        let crash = self.draw_crash();
        for _ in 0..2 {
            let other = self.draw_crash();
            self.probe(other);
        }
        self.restart(crash)
    }

    /// Plans faults for this process; whether they go on for ever once they have begun.
    fn plan_faults(&self) -> Option<bool> {
        let dice = &self.workload.dice;
        let disk = &self.place.disk;
        // Most steps take a few operations, some take hundreds.
        let distance = 1 + dice.below(*dice.pick(&[10, 50, 300]));
        let at = disk.operations() + distance;
        let kinds = [FaultKind::Io, FaultKind::Io, FaultKind::NoSpace, FaultKind::ShortWrite];
        match dice.below(20) {
            0..4 => None,
            4..14 => {
                disk.stop_at(at);
                Some(false)
            }
            // Names change so seldom that no number would hit it.
            14 => {
                disk.fail_at(at, FaultKind::Names, Repeat::Forever);
                Some(true)
            }
            _ => {
                let repeat = *dice.pick(&[Repeat::Once, Repeat::Forever]);
                disk.fail_at(at, *dice.pick(&kinds), repeat);
                Some(repeat == Repeat::Forever)
            }
        }
    }

    fn draw_crash(&self) -> Crash {
        let dice = &self.workload.dice;
        let seed = dice.below(1 << 32);
        *dice.pick(&[Crash::Killed, Crash::DropsAll, Crash::Random(seed), Crash::Random(seed)])
    }

    fn step(&mut self, process: &mut Process) -> Result<(), Fatal> {
        match self.workload.dice.below(112) {
            0..45 => self.requests(process),
            45..57 => {
                process.advance(self.workload.time());
                self.settle(process)
            }
            57..92 => self.jobs(process),
            92..94 => self.jump(process),
            94 => self.fill_disk(process),
            95 | 96 => self.repeat(process),
            97 => self.order_into_a_crash(process),
            98..106 => self.deliver(process),
            106..110 => self.watch(process),
            _ => {
                // What is shown cannot be taken back. A disk that fails may not be readable.
                drop(check(process, &mut self.model));
                Ok(())
            }
        }
    }

    /// A few requests and changes that the committer meets at once.
    fn requests(&mut self, process: &mut Process) -> Result<(), Fatal> {
        for _ in 0..=self.workload.dice.below(8) {
            if self.workload.dice.one_in(5) {
                self.visit_desk(process);
            } else if self.workload.dice.one_in(8) {
                let command = self.workload.hook(&self.model);
                self.propose(process, command);
            } else if self.workload.dice.one_in(4) {
                let command = self.workload.command(&self.model, !self.forgets);
                // It moves log time: what comes before and after it is told apart.
                let is_alone = matches!(command, Command::ConfirmClock);
                if is_alone {
                    self.settle(process)?;
                }
                self.propose(process, command);
                if is_alone {
                    self.settle(process)?;
                }
            } else {
                let waiting: Vec<Sent> = self.waiting.iter().flat_map(events_of).collect();
                let sent = self.workload.request(&self.model, &waiting, process.now());
                let slot = process.send(&sent);
                self.tell(|| format!("sends {sent:?}"));
                self.waiting.push(Waiting::Events { sent, received_at: process.now(), slot });
            }
        }
        self.settle(process)
    }

    /// Somebody orders, and the machine stands still at one of the next operations of its disk.
    fn order_into_a_crash(&mut self, process: &mut Process) -> Result<(), Fatal> {
        let order = self.workload.order(&self.model);
        self.propose(process, order);
        let disk = &self.place.disk;
        disk.stop_at(disk.operations() + 1 + self.workload.dice.below(6));
        let settled = self.settle(process);
        if self.place.disk.stopped_in().is_none() {
            self.place.disk.clear_faults();
        }
        settled
    }

    fn propose(&mut self, process: &Process, command: Command) {
        self.identities += 1;
        let mut content = [0; 32];
        content[..8].copy_from_slice(&self.identities.to_le_bytes());
        let identity = RequestIdentity { explicit: Some(content), content, is_retry: false };
        self.submit(process, Asked { command, identity, is_repeated: false });
    }

    fn submit(&mut self, process: &Process, asked: Asked) {
        self.tell(|| format!("asks for {:?}", asked.command));
        let slot = process.propose(asked.command.clone(), Some(asked.identity));
        self.waiting.push(Waiting::Change { asked: Box::new(asked), slot });
    }

    /// Lets the engine answer, and compares its answers.
    fn settle(&mut self, process: &mut Process) -> Result<(), Fatal> {
        self.model.latest = self.model.latest.max(process.now());
        let overdue = process.engine.billing_status().overdue;
        let before = process.engine.clock().log_time;
        let settled = process.settle_in_turns(&self.workload.dice);
        let waiting = std::mem::take(&mut self.waiting);
        let repeated = waiting.iter().filter(|waiting| match waiting {
            Waiting::Events { .. } => false,
            Waiting::Change { asked, .. } => asked.is_repeated,
            Waiting::Commit { asked, .. } => asked.is_repeated,
        });
        self.reached.add("retry recognised", repeated.count() as u64);
        let (waiting, applied) =
            take_answers(process, &mut self.model, waiting, self.is_disk_full, &mut self.reached);
        self.waiting = waiting;
        let after = process.engine.clock().log_time;
        self.works.look(process, &mut self.reached);
        if settled.is_ok() && self.workload.dice.one_in(3) {
            self.trust.look(process);
        }
        let lsn = process.engine.stats().last_lsn;
        self.tell(|| {
            let (now, ended) = (process.now(), settled.as_ref().map_err(|fatal| chain(fatal)));
            format!("at {now} log time {after} lsn {lsn}: {ended:?}, {overdue} due")
        });
        self.applied.extend(applied.into_iter().map(|again| (again, before.min(after))));
        self.model.see_log_time(after);
        if settled.is_ok() {
            assert!(self.waiting.is_empty(), "everything that was submitted is answered");
            check_nothing_is_due(process, &self.model);
            self.reached.add("due work seen", overdue);
        }
        settled
    }

    fn jobs(&mut self, process: &mut Process) -> Result<(), Fatal> {
        let count = 1 + self.workload.dice.below(4);
        let job = self.workload.dice.below(14);
        if self.is_told {
            println!("        job {job}, {count} times");
        }
        // What leaves the log cannot be followed later.
        if job == 7 && self.model.follow_credits(process).is_err() {
            return Ok(());
        }
        let machine = &mut process.machine;
        match job {
            0 => {
                machine.checkpoint()?;
                self.reached.note("checkpoint ended");
            }
            1 | 2 => {
                for _ in 0..count {
                    machine.flush.step()?;
                }
            }
            // Failures of these are not the log's.
            3 => drop(machine.upkeep.step(6 << 10)),
            4 => machine.writer.mark_idle()?,
            5 | 6 => drop((0..count * 4).try_for_each(|_| machine.sealer.step().map(drop))),
            7 => {
                let retired = machine.retire().unwrap_or(0);
                self.reached.add("log: segment retired", retired as u64);
            }
            8..=10 => return self.backfill(process, count * 5),
            _ => {
                machine.checkpointer.begin();
                machine.settle()?;
                for _ in 0..count * 100 {
                    match machine.checkpointer.step()? {
                        Progress::Working => {}
                        Progress::Finished => {
                            self.reached.note("checkpoint ended");
                            break;
                        }
                        Progress::Idle | Progress::Waiting => break,
                    }
                }
            }
        }
        self.settle(process)
    }

    fn backfill(&mut self, process: &mut Process, steps: u64) -> Result<(), Fatal> {
        let mut was_working = false;
        for _ in 0..steps {
            match process.machine.backfill.step(self.workload.dice.below(60)) {
                Step::Working => was_working = true,
                Step::Idle if was_working => {
                    self.reached.note("backfill ended");
                    was_working = false;
                }
                Step::Idle | Step::Waiting => {}
            }
            self.settle(process)?;
            process.machine.checkpointer.step()?;
        }
        Ok(())
    }

    /// Somebody, or a time server, sets the clock.
    fn jump(&mut self, process: &mut Process) -> Result<(), Fatal> {
        let by = self.workload.jump();
        let now = process.now();
        if self.workload.dice.one_in(2) {
            self.reached.note("clock: jumped ahead");
            process.clock.set_wall(now.plus(by));
        } else {
            self.reached.note("clock: set back");
            self.model.was_set_back = true;
            process.clock.set_wall(now.minus(by));
        }
        self.settle(process)
    }

    /// The disk is nearly full for some requests.
    fn fill_disk(&mut self, process: &mut Process) -> Result<(), Fatal> {
        self.reached.note("disk: nearly full");
        self.place.disk.set_free_bytes(32 << 10);
        process.machine.shared.observe_disk();
        self.is_disk_full = true;
        let answered = self.requests(process);
        self.place.disk.set_free_bytes(1 << 40);
        process.machine.shared.observe_disk();
        // A disk that does not say how much room it has counts as full.
        self.is_disk_full = process.machine.shared.storage_full.load(Ordering::Acquire);
        answered
    }

    /// A client that has missed an answer asks again.
    fn repeat(&mut self, process: &mut Process) -> Result<(), Fatal> {
        let log_time = process.engine.clock().log_time.max(process.now());
        // An answer is forgotten by the latest time that there ever was.
        let log_time = log_time.max(self.model.log_time_max);
        self.applied.retain(|(_, at)| log_time.since(*at) < KEYED_FOR);
        if !self.applied.is_empty() {
            match self.workload.dice.pick(&self.applied).0.clone() {
                Again::Change(mut asked) => {
                    (asked.is_repeated, asked.identity.is_retry) = (true, true);
                    self.submit(process, asked);
                }
                Again::Commit(mut asked) => {
                    (asked.is_repeated, asked.identity.is_retry) = (true, true);
                    self.submit_commit(process, asked);
                }
            }
        }
        self.settle(process)
    }
}

fn events_of(waiting: &Waiting) -> Vec<Sent> {
    match waiting {
        Waiting::Events { sent, .. } => sent.clone(),
        Waiting::Change { .. } | Waiting::Commit { .. } => Vec::new(),
    }
}
