//! The daemon under test and what must be in it: everything on (key, validation, metrics, two
//! meters), every setting at its default, and a count kept beside it that it is held to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::bench::client::{Client, Meters};
use crate::bench::event::{Content, Origin, WATCHED_CUSTOMERS};
use crate::bench::plan::{Acknowledged, Ingest, Outcome, Plan, Sent, Work};
use crate::bench::process::{Generator, Memory, Server};
use crate::engine::key;
use crate::model::{Hour, Timestamp};
use crate::world::clock::{Clock, SystemClock};
use crate::world::entropy::SystemEntropy;

/// Customers of a benchmark.
pub(crate) const CUSTOMER_COUNT: u32 = 100_000;
/// Connections of reads: so many that none waits for another.
const READ_CONNECTIONS: usize = 64;
/// Subscriptions are made within this time.
const SUBSCRIBE_MS_MAX: u64 = 600_000;
/// The metric that counts new events since the daemon's start.
const ACCEPTED: &str = "quipu_events_accepted_total";

/// How long before an hour's end events that are stamped with it begin: they take a second or two.
const STEPPED_BACK: Duration = Duration::from_secs(10);
/// The daemon takes events of an hour ago, less what sending them takes.
const AGE_MAX: Duration = Duration::from_secs(3_600 - 30);

/// Requests to make, of whatever server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Events of a request.
    pub(crate) batch: usize,
    /// Connections.
    pub(crate) connections: usize,
    /// At the start, not measured.
    pub(crate) warm_up_ms: u64,
    /// Measured.
    pub(crate) measured_ms: u64,
    /// Ends sooner, after so many events.
    pub(crate) events_max: Option<u64>,
    /// Requests a second; without it as many as are answered.
    pub(crate) rate: Option<u64>,
    /// Events of a thousand that are sent again.
    pub(crate) duplicate_permille: u64,
}

/// What a server did with a plan.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The generator's view.
    pub(crate) outcome: Outcome,
    /// Processor time of the server, in milliseconds.
    pub(crate) server_cpu_ms: u64,
    /// Memory of the server afterwards.
    pub(crate) memory: Memory,
}

/// Bytes of a data directory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Disk {
    /// Of the log's segments, the spare one left out.
    pub(crate) log: u64,
    /// Of everything.
    pub(crate) all: u64,
}

/// A daemon on a directory of its own.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The process.
    pub(crate) server: Server,
    directory: PathBuf,
    key: String,
    meters: Meters,
    started: Timestamp,
    origin: Origin,
    next: u64,
    acknowledged: Acknowledged,
    sent: Sent,
    /// New events of daemons on this directory that were killed.
    accepted_before: u64,
}

impl Trial {
    /// A new daemon in `directory`, which must be empty.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).context("make the data directory")?;
        // Its own working directory will be another one.
        let directory = directory.canonicalize()?;
        let (_, key) = key::draw(&SystemEntropy);
        let server = Server::daemon(&directory, &key)?;
        let meters = Client { server: server.address, key: &key }.create_meters()?;
        let started = SystemClock.wall();
        let start_nanos = started.as_nanos();
        let watched = usize::try_from(WATCHED_CUSTOMERS).expect("a few");
        Ok(Self {
            server,
            directory,
            key,
            meters,
            started,
            origin: Origin { start_nanos, customer_count: CUSTOMER_COUNT, in_turn: false },
            next: 0,
            acknowledged: Acknowledged::default(),
            sent: Sent::none(watched),
            accepted_before: 0,
        })
    }

    /// The meters.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// A client of the daemon.
    pub(crate) fn client(&self) -> Client<'_> {
        Client { server: self.server.address, key: &self.key }
    }

    /// Spreads later events over so many customers, watched ones among them.
    pub(crate) fn spread_over(&mut self, customer_count: u32) {
        self.origin.customer_count = customer_count;
    }

    /// Stamps later events with the end of the hour before: their customers get counters of that hour.
    ///
    /// # Errors
    /// At the very end of an hour, when the hour before is too old.
    pub(crate) fn step_back_an_hour(&mut self) -> anyhow::Result<()> {
        let now = SystemClock.wall();
        let end = Hour::of(now).start().minus(STEPPED_BACK);
        anyhow::ensure!(now.since(end) < AGE_MAX, "the hour is about to end: run it again");
        self.origin.start_nanos = end.as_nanos();
        Ok(())
    }

    /// Notes in `known` whom the events since number `first` are of; gives how many are new there.
    pub(crate) fn note_customers(&self, first: u64, known: &mut [bool]) -> u64 {
        let mut new = 0;
        for number in first..self.next {
            let customer = Content::of(number, self.origin).customer;
            let place = usize::try_from(customer).ok().and_then(|at| known.get_mut(at));
            new += u64::from(place.is_some_and(|place| !std::mem::replace(place, true)));
        }
        new
    }

    /// The number of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Sends `shape` to the daemon, and holds the daemon to the count.
    ///
    /// # Errors
    /// When it cannot be measured, or counts wrong.
    pub(crate) fn ingest(&mut self, shape: Shape) -> anyhow::Result<Measured> {
        let generator = Generator::start(&self.plan(shape))?;
        self.finish(generator, self.server.cpu_ms()?)
    }

    /// Sends `shape` to the daemon, and meanwhile asks `rate` times a second for the usage of
    /// customers that were there before; gives both.
    ///
    /// # Errors
    /// When it cannot be measured, or counts wrong.
    pub(crate) fn ingest_and_read(
        &mut self,
        shape: Shape,
        rate: u64,
    ) -> anyhow::Result<(Measured, Outcome)> {
        let target = self.meters.count_target(self.started);
        let work = Work::ReadUsage { target, origin: self.origin, known: self.next };
        let (measured, [read]) = self.ingest_beside(shape, rate, [work])?;
        Ok((measured, read))
    }

    /// Lets so many of the first customers subscribe to credits, of which each event draws.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub(crate) fn subscribe_to_credits(&self, customers: u64) -> anyhow::Result<()> {
        let work = Work::Subscribe { product: self.client().create_credit_product(&self.meters)? };
        let shape = Shape {
            batch: 1,
            connections: READ_CONNECTIONS,
            warm_up_ms: 0,
            measured_ms: SUBSCRIBE_MS_MAX,
            events_max: Some(customers),
            rate: None,
            duplicate_permille: 0,
        };
        let outcome = Generator::start(&Plan { work, ..self.plan(shape) })?.finish()?;
        let refused = outcome.failed + outcome.refused;
        anyhow::ensure!(refused == 0, "{refused} of {customers} subscriptions were refused");
        Ok(())
    }

    /// Sends `shape` to the daemon, and meanwhile asks `rate` times a second whether one of the first
    /// customers has credits, and as often whether the daemon is there; gives all three.
    ///
    /// # Errors
    /// When it cannot be measured, or counts wrong.
    pub(crate) fn ingest_and_check(
        &mut self,
        shape: Shape,
        rate: u64,
        customers: u64,
    ) -> anyhow::Result<(Measured, [Outcome; 2])> {
        let meter = self.meters.count_id().to_owned();
        let check = Work::CheckCredits { meter, customers };
        self.ingest_beside(shape, rate, [check, Work::Health])
    }

    fn ingest_beside<const N: usize>(
        &mut self,
        shape: Shape,
        rate: u64,
        works: [Work; N],
    ) -> anyhow::Result<(Measured, [Outcome; N])> {
        let cpu_ms = self.server.cpu_ms()?;
        let ingest = Generator::start(&self.plan(shape))?;
        let mut beside = Vec::new();
        for work in works {
            let plan = Plan { work, rate: Some(rate), ..self.plan(shape) };
            beside.push(Generator::start(&Plan { connections: READ_CONNECTIONS, ..plan })?);
        }
        let outcomes = beside.into_iter().map(Generator::finish);
        let outcomes = outcomes.collect::<anyhow::Result<Vec<Outcome>>>()?;
        let failed: u64 = outcomes.iter().map(|outcome| outcome.failed).sum();
        anyhow::ensure!(failed == 0, "{failed} requests beside ingest failed");
        let outcomes = <[Outcome; N]>::try_from(outcomes).expect("as many as there were works");
        Ok((self.finish(ingest, cpu_ms)?, outcomes))
    }

    /// Sends `shape` to a floor: the same requests as to the daemon.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub(crate) fn against(&self, floor: &Server, shape: Shape) -> anyhow::Result<Measured> {
        let cpu_ms = floor.cpu_ms()?;
        let plan = Plan { server: floor.address, ..self.plan(shape) };
        let outcome = Generator::start(&plan)?.finish()?;
        anyhow::ensure!(outcome.failed == 0, "{} requests to a floor failed", outcome.failed);
        let server_cpu_ms = floor.cpu_ms()? - cpu_ms;
        Ok(Measured { outcome, server_cpu_ms, memory: floor.memory()? })
    }

    /// Kills the daemon and starts it again; gives the milliseconds from start to readiness.
    ///
    /// # Errors
    /// When it does not start, or has lost or invented events.
    pub(crate) fn restart(&mut self) -> anyhow::Result<u64> {
        self.server.kill()?;
        self.accepted_before = self.acknowledged.new;
        let started = SystemClock.since_boot();
        self.server = Server::daemon(&self.directory, &self.key)?;
        self.client().ready()?;
        let took = SystemClock.since_boot().saturating_sub(started);
        self.check()?;
        Ok(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    }

    /// Waits until the daemon has nothing left to do; see [`Server::settle`].
    ///
    /// # Errors
    /// When the daemon is gone.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        self.server.settle()
    }

    /// What the data directory takes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn disk(&self) -> anyhow::Result<Disk> {
        disk(&self.directory)
    }

    /// New events so far.
    pub(crate) fn events(&self) -> u64 {
        self.acknowledged.new
    }

    fn plan(&self, shape: Shape) -> Plan {
        let Shape { batch, connections, warm_up_ms, measured_ms, events_max, rate, .. } = shape;
        let batch_events = u64::try_from(batch).expect("at most 1000");
        Plan {
            server: self.server.address,
            key: self.key.clone(),
            work: Work::Ingest(Ingest {
                batch,
                first: self.next,
                origin: self.origin,
                duplicate_permille: shape.duplicate_permille,
            }),
            connections,
            warm_up_ms,
            measured_ms,
            requests_max: events_max.map(|events| events.div_ceil(batch_events)),
            rate,
        }
    }

    fn finish(&mut self, generator: Generator, cpu_ms: u64) -> anyhow::Result<Measured> {
        let outcome = generator.finish()?;
        let server_cpu_ms = self.server.cpu_ms()? - cpu_ms;
        self.next = outcome.next;
        self.acknowledged.add(outcome.acknowledged);
        self.sent.add(&outcome.sent);
        anyhow::ensure!(outcome.failed == 0, "{} requests failed", outcome.failed);
        self.check()?;
        Ok(Measured { outcome, server_cpu_ms, memory: self.server.memory()? })
    }

    /// Compares what the daemon has acknowledged and counted with what was sent to it.
    fn check(&self) -> anyhow::Result<()> {
        let Acknowledged { new, duplicates, conflicts } = self.acknowledged;
        anyhow::ensure!(
            (new, duplicates, conflicts) == (self.sent.new, self.sent.duplicates, 0),
            "sent {} new events and {} known ones, and {:?} were acknowledged",
            self.sent.new,
            self.sent.duplicates,
            self.acknowledged
        );
        let accepted = self.accepted_before + self.client().metric(ACCEPTED)?;
        anyhow::ensure!(accepted == new, "{new} events are new, and the daemon tells {accepted}");
        for (customer, expected) in (0_u64..).zip(&self.sent.watched) {
            let found = self.client().tally(&self.meters, customer, self.started)?;
            anyhow::ensure!(
                found == *expected,
                "customer {customer}: {expected:?} was sent, and the meters say {found:?}"
            );
        }
        Ok(())
    }
}

/// What a data directory takes.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn disk(directory: &Path) -> anyhow::Result<Disk> {
    let mut disk = Disk::default();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A file of the daemon may be gone by now.
        let Ok(metadata) = entry.metadata() else { continue };
        // What is allocated, in the unit that the operating system fixes for it.
        let bytes = metadata.blocks() * 512;
        disk.all += bytes;
        if name.starts_with("wal-") && !name.ends_with("spare") {
            disk.log += bytes;
        }
    }
    Ok(disk)
}
