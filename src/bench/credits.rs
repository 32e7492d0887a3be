//! Questions for credits while ingest goes on at half of its capacity.

use crate::bench::Bed;
use crate::bench::figures::{Figures, Section};
use crate::bench::statistics::{rate, ratio, real};
use crate::bench::trial::{CUSTOMER_COUNT, Shape};

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
        let (measured, checked) = trial.ingest_and_check(paced, checks, CUSTOMERS.into())?;
        let outcome = &measured.outcome;
        figures.add("daemon_events_per_second", rate(outcome.events, outcome.measured_us));
        figures.add("offered_requests_per_second", real(checks));
        figures.add("check_p50_ms", ratio(real(checked.latency_us.p50), 1e3));
        figures.add("check_p99_ms", ratio(real(checked.latency_us.p99), 1e3));
        figures.add("check_p999_ms", ratio(real(checked.latency_us.p999), 1e3));
    }
    Ok(Section { mode, figures })
}
