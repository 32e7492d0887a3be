//! What is not a rate: reads during ingest, overload, a start after a kill, memory.

use crate::bench::Bed;
use crate::bench::figures::{Figures, Section};
use crate::bench::rates::memory;
use crate::bench::statistics::{growth, less, rate, ratio, real, seconds_until, share, times};
use crate::bench::trial::{Measured, Shape, Trial};

/// Reads of usage a second while batches come in: enough for a percentile, and no load themselves.
const READS_PER_SECOND: u64 = 100;
/// Events before the first read: a few for each customer.
const EVENTS_BEFORE_READS: u64 = 200_000;
/// Connections of an overload: so many bodies are more than the daemon's queue takes.
const OVERLOAD_CONNECTIONS: usize = 600;
/// What is offered in an overload, in capacities.
const OVERLOAD: u64 = 5;
/// Milliseconds after an overload in which the daemon may recover.
const RECOVERY_MS: u64 = 10_000;
const MILLION: u64 = 1_000_000;
const RESTART_EVENTS: u64 = 10 * MILLION;
const MEMORY_EVENTS: u64 = 5 * MILLION;
/// Of a thousand of the capacity: what counts as recovered.
const RECOVERED_PERMILLE: u64 = 900;
/// Events of a step of the footprint. Ids stay in memory by generations of half as many: afterwards
/// there is as much of them as before.
const STEP_EVENTS: u64 = 3 * MILLION;
/// Customers in the later steps of the footprint: ten times as many as before.
const MANY_CUSTOMERS: u32 = 1_000_000;
/// The metric that counts accumulators.
const ACCUMULATORS: &str = "quipu_accumulators";
/// The metrics that count bits and ids of the index's filter.
const FILTER: [&str; 2] = ["quipu_filter_bits", "quipu_filter_ids"];
/// Longer than any plan that ends by its number of events.
const NO_LIMIT_MS: u64 = 3_600_000;

/// Reads of one counter while batches come in as fast as they are answered.
pub(crate) fn usage(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let shape = bed.shape(1_000);
    let mut trial = bed.trial(mode)?;
    let reads_per_second = bed.arguments.rate.unwrap_or(READS_PER_SECOND);
    // Most customers are there before one of them is asked for.
    send(bed, &mut trial, EVENTS_BEFORE_READS)?;
    for _ in 0..bed.arguments.rounds {
        let (measured, read) = trial.ingest_and_read(shape, reads_per_second)?;
        let outcome = &measured.outcome;
        figures.add("daemon_events_per_second", rate(outcome.events, outcome.measured_us));
        figures.add("offered_requests_per_second", real(reads_per_second));
        figures.add("usage_p50_ms", ratio(real(read.latency_us.p50), 1e3));
        figures.add("usage_p99_ms", ratio(real(read.latency_us.p99), 1e3));
        trial.settle()?;
    }
    Ok(Section { mode, figures })
}

/// The capacity, five times the capacity, and the capacity again.
pub(crate) fn overload(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let shape = bed.shape(1_000);
    let mut trial = bed.trial(mode)?;
    for _ in 0..bed.arguments.rounds {
        let peak = trial.ingest(shape)?.outcome;
        anyhow::ensure!(peak.events > 0, "{} requests, and all were refused", peak.refused);
        let peak_rate = rate(peak.events, peak.measured_us);
        let capacity = peak.requests * MILLION / peak.measured_us.max(1);
        let offered = bed.arguments.rate.unwrap_or(capacity * OVERLOAD).max(1);
        let connections = OVERLOAD_CONNECTIONS;
        let measured = trial.ingest(Shape { rate: Some(offered), connections, ..shape })?;
        let outcome = &measured.outcome;
        let goodput = rate(outcome.events, outcome.measured_us);
        let recovery = Shape { warm_up_ms: 0, measured_ms: RECOVERY_MS, ..shape };
        let recovered = trial.ingest(recovery)?.outcome;
        let needed = share(peak_rate, RECOVERED_PERMILLE);
        let seconds = seconds_until(&recovered.slots, needed);
        figures.add("peak_events_per_second", peak_rate);
        figures.add("offered_requests_per_second", real(offered));
        figures.add("goodput_events_per_second", goodput);
        figures.add("goodput_of_peak", ratio(goodput, peak_rate));
        figures.add("refused_requests", real(outcome.refused));
        figures.add("refused_without_hint", real(outcome.refused_without_hint));
        figures.add("unsent_requests", real(outcome.unsent));
        figures.add("recovery_seconds", seconds.unwrap_or(ratio(real(RECOVERY_MS), 1e3)));
        memory(&measured, &mut figures);
        trial.settle()?;
    }
    Ok(Section { mode, figures })
}

/// Many events, kill -9, and the time until the daemon is ready again, with every event in it.
pub(crate) fn restart(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let mut trial = bed.trial(mode)?;
    send(bed, &mut trial, bed.arguments.events.unwrap_or(RESTART_EVENTS))?;
    let ready_ms = trial.restart()?;
    figures.add("ready_seconds", ratio(real(ready_ms), 1e3));
    figures.add("resident_mb", ratio(real(trial.server.memory()?.resident), 1e6));
    Ok(Section { mode, figures })
}

/// The resident set after many events, and what it grows by from there: with ids alone, with
/// customers, and with counters of customers that are there already.
pub(crate) fn footprint(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let mut trial = bed.trial(mode)?;
    let measured = send(bed, &mut trial, bed.arguments.events.unwrap_or(MEMORY_EVENTS))?;
    memory(&measured, &mut figures);
    let mut level = Level::of(&trial)?;
    let ids = level.rise(bed, &mut trial)?;
    figures.add("resident_growth_per_id_bytes", ratio(ids.resident, real(STEP_EVENTS)));
    let mut known = vec![false; MANY_CUSTOMERS as usize];
    trial.note_customers(0, &mut known);
    trial.spread_over(MANY_CUSTOMERS);
    let first = trial.next();
    let with_customers = level.rise(bed, &mut trial)?;
    let customers = trial.note_customers(first, &mut known);
    // Nearly all of their customers are there.
    let without = level.rise(bed, &mut trial)?;
    trial.step_back_an_hour()?;
    let with_counters = level.rise(bed, &mut trial)?;
    // As many ids came with them as in the step before.
    let own_growth = less(with_counters.resident, without.resident);
    let each = ratio(own_growth, with_counters.accumulators);
    figures.add("resident_growth_per_accumulator_bytes", each);
    let counters = times(less(with_customers.accumulators, without.accumulators), each);
    let own_growth = less(less(with_customers.resident, without.resident), counters);
    figures.add("resident_growth_per_customer_bytes", ratio(own_growth, real(customers)));
    figures.add("accumulators", real(level.accumulators));
    figures.add("resident_at_last_mb", ratio(real(level.resident), 1e6));
    let [bits, ids] = FILTER.map(|metric| trial.client().metric(metric));
    figures.add("filter_bits_per_id", ratio(real(bits?), real(ids?.max(1))));
    Ok(Section { mode, figures })
}

/// What a daemon holds while it does nothing.
struct Level {
    resident: u64,
    accumulators: u64,
}

/// What it holds more than before.
struct Rise {
    resident: f64,
    accumulators: f64,
}

impl Level {
    fn of(trial: &Trial) -> anyhow::Result<Self> {
        trial.settle()?;
        let accumulators = trial.client().metric(ACCUMULATORS)?;
        Ok(Self { resident: trial.server.memory()?.resident, accumulators })
    }

    /// Sends the events of a step, and says what they left.
    fn rise(&mut self, bed: &Bed<'_>, trial: &mut Trial) -> anyhow::Result<Rise> {
        send(bed, trial, STEP_EVENTS)?;
        let before = std::mem::replace(self, Self::of(trial)?);
        Ok(Rise {
            resident: growth(before.resident, self.resident),
            accumulators: growth(before.accumulators, self.accumulators),
        })
    }
}

/// Sends so many events, in batches, however long it takes.
fn send(bed: &Bed<'_>, trial: &mut Trial, events: u64) -> anyhow::Result<Measured> {
    let events_max = Some(events);
    let shape = bed.shape(1_000);
    trial.ingest(Shape { warm_up_ms: 0, measured_ms: NO_LIMIT_MS, events_max, ..shape })
}
