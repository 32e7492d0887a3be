//! Alerts and webhooks beside ingest: what looks cost it, and what a million messages cost that nobody takes.

use std::time::Duration;

use anyhow::Context;

use crate::bench::Bed;
use crate::bench::billing::{DAY, Goods, SECOND, SLICE, Shop, wait, whole_second};
use crate::bench::figures::{Figures, Section};
use crate::bench::statistics::{growth, median, rate, ratio, real};
use crate::bench::trial::Trial;
use crate::world::clock::{Clock, SystemClock};

const LOOKS: &str = "quipu_alerts_looks_total";
/// Subscriptions whose turn and close tell of a million things.
const SUBSCRIPTIONS: u32 = 334_000;
/// A close's payment, and that it renews; and a turn's other dates.
const MESSAGES_EACH: u32 = 3;
const ALLOW_LOOPBACK: (&str, &str) = ("QUIPU_WEBHOOKS__ALLOW_LOOPBACK", "true");
/// How long a checkpoint is waited for.
const CHECKPOINT_MAX: Duration = Duration::from_mins(2);

/// Batches as fast as they are answered: without an alert, behind a new one on everybody, once everybody was
/// looked at, and without it again. Rates fall as ids come together, so that the middle is held to the mean of both
/// ends.
pub(crate) fn alerts(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let shape = bed.long_shape(1_000);
    let mut trial = bed.trial(mode)?;
    // Makes the customers.
    trial.ingest(shape)?;
    let (mut kept_first, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..bed.arguments.rounds {
        let measured = |trial: &mut Trial| -> anyhow::Result<(f64, u64, u64)> {
            trial.settle()?;
            let before = trial.client().metric(LOOKS)?;
            let outcome = trial.ingest(shape)?.outcome;
            let looks = trial.client().metric(LOOKS)? - before;
            Ok((rate(outcome.events, outcome.measured_us), outcome.events, looks))
        };
        let (before, ..) = measured(&mut trial)?;
        let alert = trial.client().create_alert(trial.meters())?;
        let (first, _, first_looks) = measured(&mut trial)?;
        let (with, events, looks) = measured(&mut trial)?;
        trial.client().delete_alert(&alert)?;
        let (after, ..) = measured(&mut trial)?;
        let without = f64::midpoint(before, after);
        figures.add("ingest_without_events_per_second", without);
        figures.add("ingest_with_new_alert_events_per_second", first);
        figures.add("ingest_with_alert_events_per_second", with);
        figures.add("looks_for_new_alert", real(first_looks));
        figures.add("looks", real(looks));
        figures.add("events_compared", real(events));
        kept_first.push(ratio(first, without));
        kept.push(ratio(with, without));
    }
    figures.add("ingest_with_new_alert", median(&kept_first));
    figures.add("ingest_with_alert", median(&kept));
    Ok(Section { mode, figures })
}

/// What one daemon came to.
struct Course {
    resident: u64,
    peak: u64,
    resident_restarted: u64,
    restart: Duration,
    events_per_second: f64,
}

/// A cycle of many subscriptions passes without an endpoint, and with one at which nobody answers.
pub(crate) fn webhooks(bed: &Bed<'_>, mode: &'static str) -> anyhow::Result<Section> {
    let mut figures = Figures::default();
    let count = bed.arguments.subscriptions.unwrap_or(SUBSCRIPTIONS);
    let without = course(bed, "webhooks-without", (count, false))?;
    let with = course(bed, mode, (count, true))?;
    let messages = real(u64::from(count * MESSAGES_EACH));
    let each = |with: u64, without: u64| ratio(growth(without, with), messages);
    figures.add("messages", messages);
    figures.add("bytes_a_message", each(with.resident, without.resident));
    figures.add("bytes_a_message_at_most", each(with.peak, without.peak));
    let restarted = each(with.resident_restarted, without.resident_restarted);
    figures.add("bytes_a_message_restarted", restarted);
    figures.add("ready_again_seconds", with.restart.as_secs_f64());
    figures.add("ready_again_without_seconds", without.restart.as_secs_f64());
    figures.add("ingest_without_events_per_second", without.events_per_second);
    figures.add("ingest_with_events_per_second", with.events_per_second);
    figures.add("ingest_kept", ratio(with.events_per_second, without.events_per_second));
    figures.add("resident_mb", ratio(real(with.resident), 1e6));
    Ok(Section { mode, figures })
}

fn course(bed: &Bed<'_>, name: &str, (count, is_told): (u32, bool)) -> anyhow::Result<Course> {
    let slice = bed.arguments.seconds.unwrap_or(SLICE).min(SLICE);
    // The second boundary is half a day away.
    let began = whole_second(SystemClock.wall().minus(DAY + DAY / 2));
    let mut shop = Shop::open(&bed.directory.join(name), count, began, Goods::Money)?;
    shop.restart(&[ALLOW_LOOPBACK], Some(began.plus(SECOND * 2)))?;
    if is_told {
        shop.client().create_endpoint()?;
    }
    shop.pass(1)?;
    wait_for_checkpoint(&shop)?;
    let memory = shop.server.memory()?;
    let started = SystemClock.since_boot();
    shop.server.kill()?;
    shop.start(&[ALLOW_LOOPBACK], None)?;
    let restart = SystemClock.since_boot().saturating_sub(started);
    let resident_restarted = shop.server.memory()?.resident;
    // Everything is read once.
    shop.ingest(slice)?;
    let measured = shop.ingest(slice)?;
    Ok(Course {
        resident: memory.resident,
        peak: memory.peak,
        resident_restarted,
        restart,
        events_per_second: rate(measured.events, measured.measured_us),
    })
}

/// Waits until a checkpoint has all that there was.
fn wait_for_checkpoint(shop: &Shop) -> anyhow::Result<()> {
    let wanted = shop.client().metric("quipu_last_lsn")?;
    let started = SystemClock.since_boot();
    while shop.client().metric("quipu_checkpoint_lsn")? < wanted {
        let spent = SystemClock.since_boot().saturating_sub(started);
        (spent < CHECKPOINT_MAX).then_some(()).context("there is no checkpoint")?;
        wait(SECOND / 2);
    }
    Ok(())
}
