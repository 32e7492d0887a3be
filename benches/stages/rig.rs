//! An engine on a directory of its own, driven by the bench's thread: the clock stands still and
//! secrets are always the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::bounded;
use tempfile::TempDir;

use quipu::engine::command::{Changed, Command, NewMeter};
use quipu::engine::options::Options;
use quipu::engine::recover::{self, Recovered};
use quipu::engine::{Engine, Outcome};
use quipu::model::MeterId;
use quipu::world::sim::{SimClock, SimEntropy};
use quipu::world::{Clock, Directory, World};

use crate::body::{REQUEST_EVENTS, body};
use crate::input::{arrival, events, meters};

/// The minute in which the events of a body happen.
const MINUTE: &str = "2026-11-22T12:00";

/// An engine, and what it was told so far.
pub(crate) struct Rig {
    pub(crate) recovered: Recovered,
    clock: Arc<SimClock>,
    customers: u64,
    next: u64,
}

/// A directory that goes away, on the disk that the build directory is on: a temporary one may be in
/// memory, where a sync costs nothing.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("make a directory for the bench")
}

/// Starts an engine on what `path` holds.
pub(crate) fn open(path: &Path) -> Recovered {
    open_with(path, Arc::new(SimClock::new(arrival())))
}

fn open_with(path: &Path, clock: Arc<SimClock>) -> Recovered {
    let disk = Directory::open(path).expect("open the bench's directory");
    let world = World { clock, disk: Arc::new(disk), entropy: Arc::new(SimEntropy::new(7)) };
    // A start zeroes a segment ahead: a small one, so that this is not what is measured.
    let options = Options { segment_bytes: 4 << 20, reserve_bytes: 0, ..Options::default() };
    recover::open(world, None, options).expect("what an engine left can be opened")
}

impl Rig {
    /// An engine with the meters of the benches, whose events are spread over `customers`.
    pub(crate) fn new(path: &Path, customers: u64) -> Self {
        let clock = Arc::new(SimClock::new(arrival()));
        let recovered = open_with(path, Arc::clone(&clock));
        let mut rig = Self { recovered, clock, customers, next: 0 };
        for meter in meters() {
            let meter = NewMeter {
                name: meter.name,
                description: None,
                event_name: meter.event_name,
                measurement_unit: meter.measurement_unit,
                aggregation: meter.aggregation,
                filter: meter.filter,
            };
            let created = |answer: Result<_, _>| drop(answer.expect("the meter may be created"));
            rig.engine().change(Command::CreateMeter(meter), None, created);
            rig.settle();
        }
        rig
    }

    fn engine(&self) -> Engine {
        Engine::new(Arc::clone(&self.recovered.machine.shared))
    }

    fn settle(&mut self) {
        self.recovered.machine.settle().expect("the disk takes everything");
    }

    /// The first meter.
    pub(crate) fn meter(&self) -> MeterId {
        let catalogue = self.recovered.machine.shared.state.catalogue();
        catalogue.meters().first().expect("the meters were made").id.clone()
    }

    /// Lets time pass, and does what is due by then.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.settle();
    }

    /// Makes a change, unless it is refused.
    pub(crate) fn change_if_possible(&mut self, command: Command) -> Option<Outcome> {
        let (answers, answered) = bounded(1);
        let answer = move |answer: Result<Changed, _>| {
            drop(answers.send(answer.ok().map(|changed| changed.outcome)));
        };
        self.engine().change(command, None, answer);
        self.settle();
        answered.recv().expect("a change is answered")
    }

    /// Takes in one request of new events, which are half an hour old.
    pub(crate) fn ingest(&mut self) {
        let now = self.clock.wall();
        let minute = now.minus(Duration::from_mins(30)).to_string();
        let minute = minute.get(..MINUTE.len()).expect("an instant is longer than its minute");
        let body = body(self.next, self.customers).replace(MINUTE, minute);
        let engine = self.engine();
        let events = events(&body, now);
        let mut preparation = engine.preparation(now, events.len());
        for (event, lateness) in &events {
            preparation.add(event, *lateness);
        }
        let prepared = preparation.finish().expect("the events may be admitted");
        engine.submit(prepared, |answer| {
            answer.expect("the events may be admitted");
        });
        self.settle();
        self.next += REQUEST_EVENTS;
    }
}
