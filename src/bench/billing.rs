//! Billing: a million subscriptions with one usage line each are turned and closed at one boundary, alone
//! and beside ingest.
//!
//! They are made under a test clock, by requests of which each is durable within 100 ms and not by
//! itself, or the set-up would measure a million syncs. The daemon is stopped then, so that no row of the
//! set-up is written beside what is measured, and starts again with every commit synced. The first cycle
//! is passed by moving the clock, whose answer comes when everything is durable. Before the second
//! boundary the daemon is stopped once more and starts with the real clock: its own timer turns and closes
//! while batches come in as fast as they are answered.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;

use crate::bench::Bed;
use crate::bench::client::Client;
use crate::bench::event::{EVENTS_PER_STAMP, Origin, WATCHED_CUSTOMERS};
use crate::bench::figures::{Figures, Section};
use crate::bench::plan::{Ingest, Outcome, Plan, Work};
use crate::bench::process::{Generator, Server};
use crate::bench::statistics::{growth, median, rate, ratio, real};
use crate::bench::trial;
use crate::engine::key;
use crate::model::Timestamp;
use crate::world::clock::{Clock, SystemClock};
use crate::world::entropy::SystemEntropy;

pub(super) const SUBSCRIPTIONS: u32 = 1_000_000;
/// What a million is compared with.
const SMALL: u32 = 10_000;
/// Cycles of the small comparison.
const SMALL_CYCLES: u32 = 5;
pub(super) const DAY: Duration = Duration::from_hours(24);
pub(super) const SECOND: Duration = Duration::from_secs(1);
const FIXED_PRICE: u64 = 4_900;
const PRICE_PER_UNIT: u64 = 2;
/// How late events may be, and how long a period stays open: short, so that its close can be waited for.
const GRACE: Duration = Duration::from_secs(10);
const SETTINGS: [(&str, &str); 2] =
    [("QUIPU_INGEST__MAX_AGE", "10s"), ("QUIPU_BILLING__GRACE", "10s")];
const NOT_SYNCED_EACH: (&str, &str) = ("QUIPU_LOG__DURABILITY", "interval");
/// Set-up, first cycle and starts take no longer than this, and then so many times as long for each
/// subscription as its set-up took among a few.
const LEAD_MIN: Duration = Duration::from_secs(12);
const LEAD_TIMES: u32 = 5;
/// One measurement of ingest beside due work, and the longest; events of a longer one would fall behind
/// the clock.
pub(super) const SLICE: Duration = Duration::from_secs(4);
/// Everything beside ingest is over after this.
const BESIDE_MAX: Duration = Duration::from_mins(10);
const SET_UP_CONNECTIONS: usize = 64;
const INGEST_CONNECTIONS: usize = 16;
const NO_LIMIT_MS: u64 = 3_600_000;
const INVOICES: &str = "quipu_invoices";
pub(super) const OVERDUE: &str = "quipu_billing_overdue";
const EVENTS_READ: &str = "quipu_events_read_total";

/// What each customer has subscribed to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goods {
    /// A fixed price a day, and usage.
    Money,
    /// Credits, of which usage draws.
    Credits,
}

/// A daemon with subscriptions that all began at one instant, with cycles of a day.
pub(super) struct Shop {
    pub(super) server: Server,
    directory: PathBuf,
    key: String,
    count: u32,
    pub(super) began: Timestamp,
    next_event: u64,
    resident_before: u64,
    pub(super) set_up: Duration,
}

/// The figures of `billing`.
pub(crate) fn billing(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let count = bed.arguments.subscriptions.unwrap_or(SUBSCRIPTIONS);
    let few = count.min(SMALL);
    let (small_each, set_up) = small(&bed.directory.join("billing-small"), few)?;
    figures.add("small_turn_and_close_us", small_each);
    // So that the second boundary comes when set-up and first cycle are over.
    let lead = LEAD_MIN + set_up / few * LEAD_TIMES * count;
    let slice = bed.arguments.seconds.unwrap_or(SLICE).min(SLICE);
    let began = whole_second(SystemClock.wall().plus(lead).minus(DAY * 2));
    let mut shop = Shop::open(&bed.directory.join(mode), count, began, Goods::Money)?;
    figures.add("subscriptions", real(u64::from(count)));
    figures.add("set_up_seconds", shop.set_up.as_secs_f64());
    let resident = shop.server.memory()?.resident;
    let grown = growth(shop.resident_before, resident);
    figures.add("resident_growth_per_subscription_bytes", ratio(grown, real(count.into())));
    shop.restart(&[], Some(began.plus(SECOND * 2)))?;
    alone(&mut shop, small_each, &mut figures)?;
    if !bed.arguments.no_ingest {
        beside(&mut shop, (lead, slice), &mut figures)?;
    }
    let memory = shop.server.memory()?;
    figures.add("resident_mb", ratio(real(memory.resident), 1e6));
    figures.add("resident_peak_mb", ratio(real(memory.peak), 1e6));
    Ok(Section { mode, figures })
}

/// Microseconds of a turn and close of one of a few subscriptions, the median of some cycles; and how long
/// all of them took to be made.
fn small(directory: &Path, count: u32) -> anyhow::Result<(f64, Duration)> {
    let began = whole_second(SystemClock.wall().minus(DAY * 40));
    let mut shop = Shop::open(directory, count, began, Goods::Money)?;
    shop.restart(&[], Some(began.plus(SECOND * 2)))?;
    let mut each = Vec::new();
    for cycle in 1..=SMALL_CYCLES {
        let [turn, close] = shop.pass(cycle)?;
        each.push(micros_each(turn + close, count));
    }
    shop.check_first_cycle(SMALL_CYCLES)?;
    Ok((median(&each), shop.set_up))
}

/// The first cycle, with nothing else to do.
fn alone(shop: &mut Shop, small_each: f64, figures: &mut Figures) -> anyhow::Result<()> {
    let count = real(shop.count.into());
    let (read, log) = (shop.client().metric(EVENTS_READ)?, trial::disk(&shop.directory)?.log);
    let [turn, close] = shop.pass(1)?;
    let grown = growth(log, trial::disk(&shop.directory)?.log);
    let read = shop.client().metric(EVENTS_READ)? - read;
    anyhow::ensure!(read == 0, "a close read {read} events");
    shop.check_first_cycle(1)?;
    let each = micros_each(turn + close, shop.count);
    figures.add("turn_seconds", turn.as_secs_f64());
    figures.add("close_seconds", close.as_secs_f64());
    figures.add("turn_and_close_seconds", (turn + close).as_secs_f64());
    figures.add("turn_and_close_us", each);
    figures.add("turn_and_close_of_small", ratio(each, small_each));
    figures.add("log_bytes_per_close", ratio(grown, count));
    figures.add("events_read", real(read));
    Ok(())
}

/// The second cycle under the real clock, with ingest before and beside it.
fn beside(
    shop: &mut Shop,
    (lead, slice): (Duration, Duration),
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let boundary = shop.began.plus(DAY * 2);
    shop.restart(&[], None)?;
    let before = slice + SECOND * 2;
    let now = SystemClock.wall();
    anyhow::ensure!(
        now.plus(before) < boundary,
        "the set-up took longer than the {} s that were planned: give fewer --subscriptions",
        lead.as_secs()
    );
    wait(boundary.minus(before).since(now));
    let first = shop.ingest(slice)?;
    wait(boundary.since(SystemClock.wall()));
    let (mut turned, mut slices) = (None, Vec::new());
    let wanted = u64::from(shop.count) * 3;
    loop {
        slices.push(shop.ingest(slice)?);
        let spent = SystemClock.wall().since(boundary);
        anyhow::ensure!(spent < BESIDE_MAX, "the second cycle does not come to its end");
        let (invoices, overdue) = (shop.client().metric(INVOICES)?, shop.client().metric(OVERDUE)?);
        if turned.is_none() && (overdue == 0 || invoices > u64::from(shop.count) * 2) {
            turned = Some(spent);
        }
        if invoices == wanted {
            break;
        }
    }
    let closed = SystemClock.wall().since(boundary.plus(GRACE));
    let events: u64 = slices.iter().map(|slice| slice.events).sum();
    let measured_us: u64 = slices.iter().map(|slice| slice.measured_us).sum();
    let (rate_before, rate_beside) =
        (rate(first.events, first.measured_us), rate(events, measured_us));
    let pause = slices.iter().map(|slice| slice.pause_us).max().unwrap_or_default();
    figures.add("beside_turn_seconds", turned.unwrap_or_default().as_secs_f64());
    figures.add("beside_close_seconds", closed.as_secs_f64());
    figures.add("ingest_before_events_per_second", rate_before);
    figures.add("ingest_beside_events_per_second", rate_beside);
    figures.add("ingest_kept", ratio(rate_beside, rate_before));
    figures.add("ingest_pause_ms", ratio(real(pause), 1e3));
    figures.add("ingest_pause_before_ms", ratio(real(first.pause_us), 1e3));
    Ok(())
}

impl Shop {
    /// A daemon on a new directory whose test clock stands two seconds behind `began`: so many customers
    /// have subscribed at `began` and used one unit.
    pub(super) fn open(
        directory: &Path,
        count: u32,
        began: Timestamp,
        goods: Goods,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).context("make the data directory")?;
        let directory = directory.canonicalize()?;
        let (_, key) = key::draw(&SystemEntropy);
        let settings = [SETTINGS.as_slice(), &[NOT_SYNCED_EACH]].concat();
        let server = Server::daemon_with(&directory, &key, &settings, Some(began))?;
        let client = Client { server: server.address, key: &key };
        let meters = client.create_meters()?;
        let product = match goods {
            Goods::Money => client.create_product(&meters, FIXED_PRICE, PRICE_PER_UNIT)?,
            Goods::Credits => client.create_credit_product(&meters)?,
        };
        let (started, resident_before) = (SystemClock.since_boot(), server.memory()?.resident);
        let set_up = Duration::ZERO;
        let mut shop =
            Self { server, directory, key, count, began, next_event: 0, resident_before, set_up };
        // An event makes its customer; these lie before the first period.
        shop.send_each(began.minus(SECOND * 5))?;
        shop.subscribe(product)?;
        shop.client().advance(began.plus(SECOND * 2))?;
        shop.send_each(began.plus(SECOND / 2))?;
        shop.set_up = SystemClock.since_boot().saturating_sub(started);
        let subscribed = shop.client().metric("quipu_subscriptions")?;
        anyhow::ensure!(subscribed == u64::from(count), "{subscribed} of {count} subscribed");
        Ok(shop)
    }

    pub(super) fn client(&self) -> Client<'_> {
        Client { server: self.server.address, key: &self.key }
    }

    /// Stops the daemon and starts it with other settings; nothing of what was before is left to be done.
    pub(super) fn restart(
        &mut self,
        more: &[(&str, &str)],
        clock: Option<Timestamp>,
    ) -> anyhow::Result<()> {
        self.server.stop()?;
        self.start(more, clock)?;
        self.server.settle()
    }

    /// Starts the daemon, which was stopped or killed, with other settings.
    pub(super) fn start(
        &mut self,
        more: &[(&str, &str)],
        clock: Option<Timestamp>,
    ) -> anyhow::Result<()> {
        let settings = [SETTINGS.as_slice(), more].concat();
        self.server = Server::daemon_with(&self.directory, &self.key, &settings, clock)?;
        self.client().ready()
    }

    fn plan(&self, work: Work, connections: usize, requests_max: Option<u64>) -> Plan {
        Plan {
            server: self.server.address,
            key: self.key.clone(),
            work,
            connections,
            warm_up_ms: 0,
            measured_ms: NO_LIMIT_MS,
            requests_max,
            rate: None,
        }
    }

    /// One event of each customer from `at` on.
    pub(super) fn send_each(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let whole = u64::from(self.count) / 1_000 * 1_000;
        for (batch, events) in [(1_000, whole), (1, u64::from(self.count) - whole)] {
            if events > 0 {
                let origin = self.origin(at, true);
                let ingest =
                    Ingest { batch, first: self.next_event, origin, duplicate_permille: 0 };
                let requests = events / u64::try_from(batch).expect("at most 1000");
                let plan = self.plan(Work::Ingest(ingest), INGEST_CONNECTIONS, Some(requests));
                self.run(&plan)?;
            }
        }
        Ok(())
    }

    /// Events are stamped by their number: number 0 so much before that the next one is of `at`.
    fn origin(&self, at: Timestamp, in_turn: bool) -> Origin {
        let start = at.minus(Duration::from_millis(self.next_event / EVENTS_PER_STAMP));
        Origin { start_nanos: start.as_nanos(), customer_count: self.count, in_turn }
    }

    fn subscribe(&self, product: String) -> anyhow::Result<()> {
        let work = Work::Subscribe { product };
        let plan = self.plan(work, SET_UP_CONNECTIONS, Some(self.count.into()));
        let outcome = Generator::start(&plan)?.finish()?;
        let refused = outcome.failed + outcome.refused;
        anyhow::ensure!(refused == 0, "{refused} of {} subscriptions were refused", self.count);
        Ok(())
    }

    /// Batches of mixed customers for so long, stamped as they are sent.
    pub(super) fn ingest(&mut self, time: Duration) -> anyhow::Result<Outcome> {
        let plan = self.batches(time);
        self.run(&plan)
    }

    fn batches(&self, time: Duration) -> Plan {
        let measured_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let origin = self.origin(SystemClock.wall(), false);
        let ingest = Ingest { batch: 1_000, first: self.next_event, origin, duplicate_permille: 0 };
        Plan { measured_ms, ..self.plan(Work::Ingest(ingest), INGEST_CONNECTIONS, None) }
    }

    /// Batches as of [`Shop::ingest`], one slice after the other, until a metric is 0 and it is later than
    /// `earliest`: when that was, and what was sent.
    pub(super) fn ingest_until(
        &mut self,
        (slice, earliest): (Duration, Timestamp),
        metric: &str,
    ) -> anyhow::Result<(Timestamp, Vec<Outcome>)> {
        let (mut ended, mut slices) = (None, Vec::new());
        while ended.is_none() {
            let over = SystemClock.wall().plus(slice);
            anyhow::ensure!(over < earliest.plus(BESIDE_MAX), "{metric} does not come to 0");
            let generator = Generator::start(&self.batches(slice))?;
            while ended.is_none() && SystemClock.wall() < over {
                wait(SECOND / 10);
                let is_late = SystemClock.wall() >= earliest;
                if is_late && self.client().metric(metric)? == 0 {
                    ended = Some(SystemClock.wall());
                }
            }
            slices.push(self.finish(generator)?);
        }
        Ok((ended.unwrap_or(earliest), slices))
    }

    fn run(&mut self, plan: &Plan) -> anyhow::Result<Outcome> {
        let generator = Generator::start(plan)?;
        self.finish(generator)
    }

    fn finish(&mut self, generator: Generator) -> anyhow::Result<Outcome> {
        let outcome = generator.finish()?;
        self.next_event = outcome.next;
        let lost = outcome.failed + outcome.refused;
        anyhow::ensure!(lost == 0, "{lost} requests with events were refused");
        anyhow::ensure!(outcome.acknowledged.new == outcome.sent.new, "an event was known before");
        Ok(outcome)
    }

    /// Lets a cycle's end pass, then the grace; how long the answers took.
    pub(super) fn pass(&mut self, cycle: u32) -> anyhow::Result<[Duration; 2]> {
        let boundary = self.began.plus(DAY * cycle);
        let pass = |to| {
            let started = SystemClock.since_boot();
            self.client().advance(to)?;
            anyhow::Ok(SystemClock.since_boot().saturating_sub(started))
        };
        let took = [pass(boundary)?, pass(boundary.plus(GRACE))?];
        let (found, wanted) =
            (self.client().metric(INVOICES)?, u64::from(self.count) * (1 + u64::from(cycle)));
        anyhow::ensure!(found == wanted, "{found} invoices are there, and {wanted} were due");
        Ok(took)
    }

    /// What some invoices say: after the first cycle the one event is on them.
    fn check_first_cycle(&self, cycle: u32) -> anyhow::Result<()> {
        let usage = if cycle == 1 { PRICE_PER_UNIT } else { 0 };
        for customer in 0..WATCHED_CUSTOMERS.min(self.count.into()) {
            let invoice = self.client().newest_invoice(customer)?;
            let total = invoice.get("total").and_then(serde_json::Value::as_u64);
            let lines = invoice.get("lines").and_then(serde_json::Value::as_array);
            let is_right =
                total == Some(FIXED_PRICE + usage) && lines.is_some_and(|all| all.len() == 2);
            anyhow::ensure!(is_right, "customer {customer} has the invoice {invoice}");
        }
        Ok(())
    }
}

pub(super) fn micros_each(took: Duration, count: u32) -> f64 {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    ratio(ratio(real(nanos), 1e3), real(count.into()))
}

pub(super) fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_nanos(at.as_nanos() / 1_000_000_000 * 1_000_000_000)
}

/// Waits; nobody sends.
pub(super) fn wait(time: Duration) {
    let (_kept, never) = mpsc::channel::<()>();
    never.recv_timeout(time).ok();
}
