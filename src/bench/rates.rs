//! Rates and latencies: requests of one shape against the floors and the daemon in turns.

use crate::bench::figures::{Figures, Section};
use crate::bench::process::Server;
use crate::bench::statistics::{median, per_second, range, rate, ratio, real};
use crate::bench::trial::{Measured, Shape, Trial};
use crate::bench::{Bed, process};

/// Events of a thousand that are sent again when duplicates are measured.
const DUPLICATE_PERMILLE: u64 = 50;
const MB: f64 = 1e6;

/// The figures of one target's rate.
#[derive(Clone, Copy, Debug)]
struct Names {
    rate: &'static str,
    server_cpu: &'static str,
    generator_cpu: Option<&'static str>,
}

const DISCARD: Names = Names {
    rate: "discard_events_per_second",
    server_cpu: "discard_server_cpu_ns_per_event",
    generator_cpu: Some("discard_generator_cpu_ns_per_event"),
};
const PARSE: Names = Names {
    rate: "parse_events_per_second",
    server_cpu: "parse_server_cpu_ns_per_event",
    generator_cpu: None,
};
const DAEMON: Names = Names {
    rate: "daemon_events_per_second",
    server_cpu: "daemon_server_cpu_ns_per_event",
    generator_cpu: Some("daemon_generator_cpu_ns_per_event"),
};

/// As many requests of `batch` events as are answered, in rounds.
pub(crate) fn batches(bed: &Bed<'_>, mode: &'static str, batch: usize) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let shape = bed.shape(batch);
    let mut trial = bed.trial(mode)?;
    for _ in 0..bed.arguments.rounds {
        let steal = process::Steal::now()?;
        let floors = if bed.arguments.no_floors { None } else { Some(floors(&trial, shape)?) };
        let measured = trial.ingest(shape)?;
        let daemon = speed(&measured, DAEMON, &mut figures);
        if let Some([discard, parse]) = floors {
            let discard = speed(&discard, DISCARD, &mut figures);
            let parse = speed(&parse, PARSE, &mut figures);
            figures.add("daemon_of_discard", ratio(daemon, discard));
            figures.add("daemon_of_parse", ratio(daemon, parse));
        }
        latencies(&measured, &mut figures);
        memory(&measured, &mut figures);
        figures.add("steal_share", steal.share()?);
        trial.settle()?;
    }
    disk(&trial, &mut figures)?;
    Ok(Section { mode, figures })
}

/// Requests of 1000 events for long, second by second.
pub(crate) fn sustained(
    bed: &Bed<'_>,
    mode: &'static str,
    with_duplicates: bool,
) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let duplicate_permille = if with_duplicates { DUPLICATE_PERMILLE } else { 0 };
    let shape = Shape { duplicate_permille, ..bed.long_shape(1_000) };
    let mut trial = bed.trial(mode)?;
    let steal = process::Steal::now()?;
    let measured = trial.ingest(shape)?;
    speed(&measured, DAEMON, &mut figures);
    let seconds = per_second(&measured.outcome.slots);
    let (min, _) = range(&seconds);
    figures.add("second_min_events_per_second", min);
    figures.add("second_median_events_per_second", median(&seconds));
    figures.add("second_min_of_median", ratio(min, median(&seconds)));
    latencies(&measured, &mut figures);
    memory(&measured, &mut figures);
    figures.add("steal_share", steal.share()?);
    disk(&trial, &mut figures)?;
    Ok(Section { mode, figures })
}

/// Requests of one event at half the rate that the daemon reaches, or at the rate that was asked for.
pub(crate) fn latency(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let shape = bed.shape(1);
    let mut trial = bed.trial(mode)?;
    let request_rate = if let Some(rate) = bed.arguments.rate {
        rate
    } else {
        let Measured { outcome, .. } = trial.ingest(shape)?;
        (outcome.requests * 500_000 / outcome.measured_us.max(1)).max(1)
    };
    for _ in 0..bed.arguments.rounds {
        trial.settle()?;
        let measured = trial.ingest(Shape { rate: Some(request_rate), ..shape })?;
        figures.add("offered_requests_per_second", real(request_rate));
        speed(&measured, DAEMON, &mut figures);
        latencies(&measured, &mut figures);
        figures.add("unsent_requests", real(measured.outcome.unsent));
    }
    Ok(Section { mode, figures })
}

fn floors(trial: &Trial, shape: Shape) -> anyhow::Result<[Measured; 2]> {
    let measure = |name| {
        // A process for each round: the generator's ids start again, and nothing may be left over.
        let floor = Server::floor(name)?;
        trial.against(&floor, shape)
    };
    let measured = [measure("discard")?, measure("parse")?];
    trial.settle()?;
    Ok(measured)
}

/// Adds the rate and what it cost; gives the rate in events a second.
fn speed(measured: &Measured, names: Names, figures: &mut Figures) -> f64 {
    let outcome = &measured.outcome;
    let events_per_second = rate(outcome.events, outcome.measured_us);
    figures.add(names.rate, events_per_second);
    // The warm-up costs time, too, and its events count here.
    let all_events = real(outcome.sent.new + outcome.sent.duplicates);
    let cost = |cpu_ms: u64| ratio(real(cpu_ms * 1_000_000), all_events);
    figures.add(names.server_cpu, cost(measured.server_cpu_ms));
    if let Some(name) = names.generator_cpu {
        figures.add(name, cost(outcome.cpu_ms));
    }
    events_per_second
}

fn latencies(measured: &Measured, figures: &mut Figures) {
    let latency = measured.outcome.latency_us;
    figures.add("latency_p50_ms", ratio(real(latency.p50), 1e3));
    figures.add("latency_p99_ms", ratio(real(latency.p99), 1e3));
    figures.add("latency_p999_ms", ratio(real(latency.p999), 1e3));
    figures.add("latency_max_ms", ratio(real(latency.max), 1e3));
}

/// Adds what the daemon holds in memory.
pub(crate) fn memory(measured: &Measured, figures: &mut Figures) {
    figures.add("resident_mb", ratio(real(measured.memory.resident), MB));
    figures.add("resident_peak_mb", ratio(real(measured.memory.peak), MB));
}

fn disk(trial: &Trial, figures: &mut Figures) -> anyhow::Result<()> {
    let disk = trial.disk()?;
    let events = real(trial.events());
    figures.add("log_bytes_per_event", ratio(real(disk.log), events));
    figures.add("disk_bytes_per_event", ratio(real(disk.all), events));
    Ok(())
}
