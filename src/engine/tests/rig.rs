//! An engine on a simulated disk and clock, driven by the test's own thread.
//!
//! A [`Place`] is what outlives a process: the disk, the clock and the options. A [`Rig`] is a
//! process that was started there.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::backfill::{Limits, Step};
use crate::engine::command::{Changed, Command, Refused, RequestIdentity};
use crate::engine::commit::Commit;
use crate::engine::machine::{Fatal, Machine};
use crate::engine::open_error::OpenError;
use crate::engine::options::Options;
use crate::engine::record::{Body, decode_payload};
use crate::engine::recover::{self, Recovered};
use crate::engine::{Engine, Ingested, Prepared};
use crate::metering::validate;
use crate::model::event::RawMetadata;
use crate::model::{Causes, EventId, Lsn, Number, RawEvent, RawValue, ReservationId, Timestamp};
use crate::world::World;
use crate::world::clock::TestClock;
use crate::world::sim::{SimClock, SimDisk, SimEntropy};

/// A metadata value of a [`Sent`] event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(String),
    Text(String),
    Flag(bool),
}

/// An event as a client sends it; no metadata means that the field is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub id: String,
    pub customer: String,
    pub name: String,
    pub at: Option<Timestamp>,
    pub metadata: Vec<(String, Value)>,
}

impl Sent {
    /// An event `call` without metadata that happens when it arrives.
    pub(super) fn new(id: impl Into<String>, customer: &str) -> Self {
        let (customer, name) = (customer.to_owned(), "call".to_owned());
        Self { id: id.into(), customer, name, at: None, metadata: Vec::new() }
    }

    /// The same with a number under `tokens`.
    pub(super) fn with_tokens(self, tokens: &str) -> Self {
        self.with("tokens", Value::Number(tokens.to_owned()))
    }

    pub(super) fn with(mut self, key: &str, value: Value) -> Self {
        self.metadata.push((key.to_owned(), value));
        self
    }

    pub(super) fn at(self, at: Timestamp) -> Self {
        Self { at: Some(at), ..self }
    }

    fn raw(&self) -> RawEvent<'_> {
        let text = |text: &'_ str| Some(RawValue::String(Cow::Owned(text.to_owned())));
        let members = self.metadata.iter().map(|(key, value)| {
            let value = match value {
                Value::Number(text) => RawValue::Number(Number::new(text).expect("a number")),
                Value::Text(text) => RawValue::String(Cow::Borrowed(text)),
                Value::Flag(flag) => RawValue::Boolean(*flag),
            };
            (Cow::Borrowed(key.as_str()), value)
        });
        RawEvent {
            event_id: text(&self.id),
            customer_id: text(&self.customer),
            event_name: text(&self.name),
            timestamp: self.at.and_then(|at| text(&at.to_string())),
            metadata: if self.metadata.is_empty() {
                RawMetadata::Absent
            } else {
                RawMetadata::Members(members.collect())
            },
        }
    }
}

/// How a process and its machine end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// `kill -9`: what was written stays.
    Killed,
    /// A power cut that takes all that was not synced.
    DropsAll,
    /// A power cut that takes what the seed says.
    Random(u64),
}

/// What outlives a process.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    pub options: Options,
    /// Every process draws its own randomness.
    starts: Arc<Mutex<u64>>,
}

/// Sizes so small that a few dozen events make many segments, generations and runs.
pub(super) fn tiny() -> Options {
    Options {
        segment_bytes: 16 << 10,
        generation_ids: 64,
        runs_max: 4,
        stretch_events: 8,
        reserve_bytes: 0,
        // Years pass in a test.
        webhook_keep: Duration::from_hours(24 * 36_500),
        queue_length: 64,
        due_bytes: 4 << 10,
        backfill: Limits { entries_in_memory: 12, rows_at_once: 5, entries_of_record: 3 },
        ..Options::default()
    }
}

/// The instant at which every simulated clock starts.
pub(super) fn start_time() -> Timestamp {
    Timestamp::parse("2026-03-14T09:26:53.5Z").unwrap()
}

impl Place {
    /// An empty disk.
    pub(super) fn new(options: Options) -> Self {
        Self {
            disk: SimDisk::new(),
            clock: Arc::new(SimClock::new(start_time())),
            options,
            starts: Arc::default(),
        }
    }

    pub(super) fn world(&self) -> World {
        let mut starts = self.starts.lock();
        *starts += 1;
        World {
            clock: Arc::<SimClock>::clone(&self.clock),
            disk: Arc::new(self.disk.clone()),
            entropy: Arc::new(SimEntropy::new(*starts)),
        }
    }

    pub(super) fn try_open(&self) -> Result<Rig, OpenError> {
        self.try_open_in(self.world(), None)
    }

    /// Opens it under a test clock that stands at `now`.
    pub(super) fn open_under_test_clock(&self, now: Timestamp) -> Rig {
        let clock = Arc::new(TestClock::new(now));
        let world = World { clock: Arc::<TestClock>::clone(&clock), ..self.world() };
        let opened = self.try_open_in(world, Some(clock));
        opened.unwrap_or_else(|error| panic!("open: {}", chain(&error)))
    }

    fn try_open_in(
        &self,
        world: World,
        test_clock: Option<Arc<TestClock>>,
    ) -> Result<Rig, OpenError> {
        let opened = recover::open(world, test_clock, self.options.clone())?;
        let Recovered { machine, replayed, .. } = opened;
        let engine = Engine::new(Arc::clone(&machine.shared));
        Ok(Rig { place: self.clone(), machine, engine, replayed })
    }

    pub(super) fn open(&self) -> Rig {
        self.try_open().unwrap_or_else(|error| panic!("open: {}", chain(&error)))
    }

    /// The same place after a crash. This one stays as it is.
    pub(super) fn after(&self, crash: Crash) -> Self {
        let disk = match crash {
            Crash::Killed => self.disk.restart(),
            Crash::DropsAll => self.disk.crash_dropping_all(),
            Crash::Random(seed) => self.disk.crash(seed),
        };
        Self { disk, ..self.clone() }
    }

    /// A copy that shares nothing with this one: another run of the same history.
    pub(super) fn fork(&self) -> Self {
        Self {
            disk: self.disk.restart(),
            clock: Arc::new(self.clock.fork()),
            options: self.options.clone(),
            starts: Arc::new(Mutex::new(*self.starts.lock())),
        }
    }
}

/// An error and its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    Causes(error).to_string()
}

/// Where an answer will be: still empty when the request was not answered.
#[derive(Debug)]
pub(super) struct Slot<T>(Arc<Mutex<Option<Result<T, Refused>>>>);

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

    pub(super) fn take(&self) -> Option<Result<T, Refused>> {
        self.0.lock().take()
    }

    /// The answer that must be there.
    pub(super) fn answer(&self) -> Result<T, Refused> {
        self.take().expect("the request was answered")
    }
}

/// What a worker does with a request before it submits it.
pub(super) fn prepare(engine: &Engine, sent: &[Sent]) -> Result<Prepared, Refused> {
    let (at, rules) = (engine.now(), engine.rules());
    let mut preparation = engine.preparation(at, sent.len());
    for sent in sent {
        let (event, lateness) = validate(sent.raw(), at, &rules).expect("well formed");
        preparation.add(&event, lateness);
    }
    preparation.finish()
}

/// A running engine.
#[derive(Debug)]
pub(super) struct Rig {
    pub place: Place,
    pub machine: Machine,
    pub engine: Engine,
    pub replayed: u64,
}

impl Rig {
    /// An engine on an empty disk.
    pub(super) fn new(options: Options) -> Self {
        Place::new(options).open()
    }

    pub(super) fn prepare(&self, sent: &[Sent]) -> Result<Prepared, Refused> {
        prepare(&self.engine, sent)
    }

    pub(super) fn submit(&self, prepared: Prepared) -> Slot<Ingested> {
        let (slot, reply) = Slot::new();
        self.engine.submit(prepared, reply);
        slot
    }

    /// Prepares and submits; the answer comes with the next settling, or at once when preparing
    /// refuses.
    pub(super) fn send(&self, sent: &[Sent]) -> Slot<Ingested> {
        match self.prepare(sent) {
            Ok(prepared) => self.submit(prepared),
            Err(refused) => Slot(Arc::new(Mutex::new(Some(Err(refused))))),
        }
    }

    pub(super) fn propose(
        &self,
        command: Command,
        identity: Option<RequestIdentity>,
    ) -> Slot<Changed> {
        let (slot, reply) = Slot::new();
        self.engine.change(command, identity, reply);
        slot
    }

    /// Submits the event that a reservation was made for.
    pub(super) fn commit(&self, id: &ReservationId, sent: &Sent) -> Slot<Changed> {
        let prepared = self.prepare(std::slice::from_ref(sent)).expect("well formed");
        let (id, event_id) = (id.clone(), EventId::new(sent.id.as_str()));
        let (slot, reply) = Slot::new();
        self.engine.commit_reservation(Commit { id, event_id, prepared, identity: None }, reply);
        slot
    }

    pub(super) fn settle(&mut self) -> Result<(), Fatal> {
        self.machine.settle()
    }

    /// Sends one request by itself.
    pub(super) fn ingest(&mut self, sent: &[Sent]) -> Result<Ingested, Refused> {
        let slot = self.send(sent);
        self.settle().unwrap();
        slot.answer()
    }

    /// Asks for one change by itself.
    pub(super) fn change(&mut self, command: Command) -> Result<Changed, Refused> {
        let slot = self.propose(command, None);
        self.settle().unwrap();
        slot.answer()
    }

    pub(super) fn advance(&self, duration: Duration) {
        self.place.clock.advance(duration);
    }

    pub(super) fn flush_all(&mut self) {
        while self.machine.flush.step().unwrap() {}
    }

    /// Lets every backfill come to its end.
    pub(super) fn finish_backfills(&mut self) {
        for _ in 0..100_000 {
            match self.machine.backfill.step(40) {
                Step::Idle => return,
                Step::Working => {}
                Step::Waiting if self.machine.checkpointer.is_due() => {
                    self.machine.checkpoint().unwrap();
                }
                Step::Waiting => drop(self.machine.checkpointer.step().unwrap()),
            }
            self.settle().unwrap();
        }
        panic!("a backfill does not end");
    }

    /// How many records of backfills the log holds above `lsn`.
    pub(super) fn backfill_records_above(&self, lsn: u64) -> u64 {
        let (log, mut count) = (&self.machine.shared.log, 0);
        log.visit::<crate::storage::log::ReadError>(Lsn(lsn + 1)..=log.last_lsn(), |frame| {
            let entries = decode_payload(frame.payload).unwrap();
            let mut first = frame.first_lsn;
            for entry in entries {
                let is_one = matches!(entry.body, Body::Backfilled(_));
                count += u64::from(is_one && first.0 > lsn);
                first = first.plus(entry.body.lsn_count());
            }
            Ok(())
        })
        .unwrap();
        count
    }

    /// Stops in order; what stays is the place.
    pub(super) fn stop(self) -> Place {
        self.machine.shut_down().unwrap();
        self.place.after(Crash::Killed)
    }
}
