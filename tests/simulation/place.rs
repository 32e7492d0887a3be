//! What outlives a process, a process on one thread, and the answers that it gives.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use quipu::engine::command::{Changed, Command, Refused, RequestIdentity};
use quipu::engine::commit::Commit;
use quipu::engine::machine::{Fatal, Machine};
use quipu::engine::open_error::OpenError;
use quipu::engine::options::Options;
use quipu::engine::outbox::settle::SettledEntry;
use quipu::engine::recover::{self, Recovered};
use quipu::engine::{Engine, Ingested, verify};
use quipu::metering::validate;
use quipu::model::{Causes, EventId, Timestamp};
use quipu::world::World;
use quipu::world::sim::{SimClock, SimDisk, SimEntropy};

use crate::desk::Committing;
use crate::event::Sent;

/// How a process and its machine end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// `kill -9`: what was written stays, and is no more durable than before.
    Killed,
    /// A power cut that takes all that was not synced.
    DropsAll,
    /// A power cut that keeps, drops, tears and reorders what the seed says.
    Random(u64),
}

/// A machine: its disk, its clocks, and the options that daemons are started with.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) options: Options,
    /// Every process draws its own randomness.
    pub(crate) starts: u64,
}

impl Place {
    pub(crate) fn new(options: Options, start: Timestamp) -> Self {
        let clock = Arc::new(SimClock::new(start));
        Self { disk: SimDisk::new(), clock, options, starts: 0 }
    }

    fn world(&mut self) -> World {
        self.starts += 1;
        World {
            clock: Arc::<SimClock>::clone(&self.clock),
            disk: Arc::new(self.disk.clone()),
            entropy: Arc::new(SimEntropy::new(self.starts)),
        }
    }

    pub(crate) fn open(&mut self) -> Result<Process, OpenError> {
        let opened = recover::open(self.world(), None, self.options.clone())?;
        let Recovered { machine, replayed, .. } = opened;
        let engine = Engine::new(Arc::clone(&machine.shared));
        Ok(Process { machine, engine, clock: Arc::clone(&self.clock), replayed })
    }

    /// What `quipu verify` finds wrong here, before anybody starts.
    pub(crate) fn findings(&self) -> Vec<String> {
        let world = World {
            clock: Arc::<SimClock>::clone(&self.clock),
            disk: Arc::new(self.disk.restart()),
            entropy: Arc::new(SimEntropy::new(0)),
        };
        match verify::verify(&world) {
            Ok(report) => report.findings,
            Err(verify::Error::Empty) => Vec::new(),
            Err(error) => vec![chain(&error)],
        }
    }

    /// The same place after a crash. This one stays as it is.
    pub(crate) fn after(&self, crash: Crash) -> Self {
        let disk = match crash {
            Crash::Killed => self.disk.restart(),
            Crash::DropsAll => self.disk.crash_dropping_all(),
            Crash::Random(seed) => self.disk.crash(seed),
        };
        let (clock, options) = (Arc::clone(&self.clock), self.options.clone());
        Self { disk, clock, options, starts: self.starts }
    }

    /// The same after a crash with a clock of its own: whatever happens there happens nowhere else.
    pub(crate) fn probe(&self, crash: Crash) -> Self {
        Self { clock: Arc::new(self.clock.fork()), ..self.after(crash) }
    }
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    Causes(error).to_string()
}

/// Where an answer will be: empty while the request was not answered.
#[derive(Debug)]
pub(crate) struct Slot<T>(Arc<Mutex<Option<Result<T, Refused>>>>);

impl<T> Slot<T> {
    fn new() -> (Self, impl FnOnce(Result<T, Refused>) + Send + 'static)
    where
        T: Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&slot);
        let reply = move |answer| {
            let before = filled.lock().replace(answer);
            assert!(before.is_none(), "a request is answered once");
        };
        (Self(slot), reply)
    }

    pub(crate) fn take(&self) -> Option<Result<T, Refused>> {
        self.0.lock().take()
    }
}

/// A daemon's engine, every job of it a step of this thread.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) machine: Machine,
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<SimClock>,
    /// Events and records that the start replayed.
    pub(crate) replayed: u64,
}

impl Process {
    pub(crate) fn now(&self) -> Timestamp {
        self.engine.now()
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    /// Prepares and submits a request. The answer comes with the next settling, or at once when
    /// preparing refuses.
    pub(crate) fn send(&self, sent: &[Sent]) -> Slot<Ingested> {
        let (at, rules) = (self.engine.now(), self.engine.rules());
        let mut preparation = self.engine.preparation(at, sent.len());
        for sent in sent {
            let validated = validate(sent.raw(), at, &rules);
            let (event, lateness) = validated.expect("only well-formed ones are drawn");
            preparation.add(&event, lateness);
        }
        let (slot, reply) = Slot::new();
        match preparation.finish() {
            Ok(prepared) => self.engine.submit(prepared, reply),
            Err(refused) => reply(Err(refused)),
        }
        slot
    }

    /// Prepares and submits the commit of a reservation.
    pub(crate) fn commit(&self, asked: &Committing) -> Slot<Changed> {
        let (at, rules) = (asked.received_at, self.engine.rules());
        let mut preparation = self.engine.preparation(at, 1);
        let validated = validate(asked.sent.raw(), at, &rules);
        let (event, lateness) = validated.expect("only well-formed ones are drawn");
        preparation.add(&event, lateness);
        let (slot, reply) = Slot::new();
        let (id, event_id) = (asked.id.clone(), EventId::new(asked.sent.id.as_str()));
        let identity = Some(asked.identity);
        match preparation.finish() {
            Ok(prepared) => {
                let commit = Commit { id, event_id, prepared, identity };
                self.engine.commit_reservation(commit, reply);
            }
            Err(refused) => reply(Err(refused)),
        }
        slot
    }

    /// Has what became of attempts logged.
    pub(crate) fn settle_webhooks(&self, entry: SettledEntry) -> Slot<()> {
        let (slot, reply) = Slot::new();
        self.engine.settle_webhooks(entry, reply);
        slot
    }

    pub(crate) fn propose(
        &self,
        command: Command,
        identity: Option<RequestIdentity>,
    ) -> Slot<Changed> {
        let (slot, reply) = Slot::new();
        self.engine.change(command, identity, reply);
        slot
    }

    pub(crate) fn settle(&mut self) -> Result<(), Fatal> {
        self.machine.settle()
    }
}
