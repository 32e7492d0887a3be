//! Credits beside ingest: questions for them at half of its capacity, and ledgers that are brought up to date.

use crate::bench::Bed;
use crate::bench::billing::{
    Goods, OVERDUE, SECOND, SLICE, SUBSCRIPTIONS, Shop, micros_each, wait, whole_second,
};
use crate::bench::figures::{Figures, Section};
use crate::bench::statistics::{rate, ratio, real};
use crate::bench::trial::{CUSTOMER_COUNT, Shape};
use crate::billing::credits::SETTLE_AFTER;
use crate::world::clock::{Clock, SystemClock};

/// Questions a second: enough for a percentile of a thousandth in a few seconds.
const CHECKS_PER_SECOND: u64 = 500;
/// Customers with credits, whom all questions are about; their events draw.
const CUSTOMERS: u32 = 1_000;
/// Events before the first question: so many that each of them has some.
const EVENTS_BEFORE: u64 = 30_000;
/// Longer than they take.
const NO_LIMIT_MS: u64 = 3_600_000;

/// The capacity first, in batches; then rounds at half of it with questions beside.
pub(crate) fn check(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let shape = bed.shape(1_000);
    let mut trial = bed.trial(mode)?;
    let events_max = Some(EVENTS_BEFORE);
    trial.spread_over(CUSTOMERS);
    trial.ingest(Shape { warm_up_ms: 0, measured_ms: NO_LIMIT_MS, events_max, ..shape })?;
    trial.subscribe_to_credits(CUSTOMERS.into())?;
    trial.spread_over(CUSTOMER_COUNT);
    let peak = trial.ingest(shape)?.outcome;
    let half = (peak.requests * 500_000 / peak.measured_us.max(1)).max(1);
    let checks = bed.arguments.rate.unwrap_or(CHECKS_PER_SECOND);
    figures.add("peak_events_per_second", rate(peak.events, peak.measured_us));
    for _ in 0..bed.arguments.rounds {
        trial.settle()?;
        let paced = Shape { rate: Some(half), ..shape };
        let (measured, [checked, health]) =
            trial.ingest_and_check(paced, checks, CUSTOMERS.into())?;
        let outcome = &measured.outcome;
        figures.add("daemon_events_per_second", rate(outcome.events, outcome.measured_us));
        figures.add("offered_requests_per_second", real(checks));
        figures.add("check_p50_ms", ratio(real(checked.latency_us.p50), 1e3));
        figures.add("check_p99_ms", ratio(real(checked.latency_us.p99), 1e3));
        figures.add("check_p999_ms", ratio(real(checked.latency_us.p999), 1e3));
        figures.add("healthz_p50_ms", ratio(real(health.latency_us.p50), 1e3));
        figures.add("healthz_p99_ms", ratio(real(health.latency_us.p99), 1e3));
        figures.add("healthz_p999_ms", ratio(real(health.latency_us.p999), 1e3));
    }
    Ok(Section { mode, figures })
}

/// One event of every customer; a minute later the row of each is due, while batches come in as fast as they
/// are answered.
pub(crate) fn ledger(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let count = bed.arguments.subscriptions.unwrap_or(SUBSCRIPTIONS);
    let slice = bed.arguments.seconds.unwrap_or(SLICE).min(SLICE);
    // Nothing else is due for half a day.
    let began = whole_second(SystemClock.wall().minus(SECOND * 43_200));
    let mut shop = Shop::open(&bed.directory.join(mode), count, began, Goods::Credits)?;
    figures.add("balances", real(count.into()));
    figures.add("set_up_seconds", shop.set_up.as_secs_f64());
    shop.restart(&[], None)?;
    let first = SystemClock.wall();
    shop.send_each(first)?;
    let within = SystemClock.wall().since(first);
    figures.add("balances_changed_within_seconds", within.as_secs_f64());
    let before = shop.ingest(slice)?;
    let due = first.plus(SETTLE_AFTER);
    wait(due.minus(SECOND).since(SystemClock.wall()));
    let (ended, slices) = shop.ingest_until((slice / 2, due.plus(within)), OVERDUE)?;
    let took = ended.since(due);
    let events: u64 = slices.iter().map(|slice| slice.events).sum();
    let measured_us: u64 = slices.iter().map(|slice| slice.measured_us).sum();
    let pause = slices.iter().map(|slice| slice.pause_us).max().unwrap_or_default();
    let (rate_before, rate_beside) =
        (rate(before.events, before.measured_us), rate(events, measured_us));
    figures.add("ledger_seconds", took.as_secs_f64());
    figures.add("ledger_us", micros_each(took, count));
    figures.add("ingest_before_events_per_second", rate_before);
    figures.add("ingest_beside_events_per_second", rate_beside);
    figures.add("ingest_kept", ratio(rate_beside, rate_before));
    figures.add("ingest_pause_ms", ratio(real(pause), 1e3));
    figures.add("ingest_pause_before_ms", ratio(real(before.pause_us), 1e3));
    Ok(Section { mode, figures })
}
