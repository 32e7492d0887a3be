//! The first page: how the daemon does, live.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::State;
use serde_json::json;

use super::Dashboard;
use super::answer::{self, Answer, NotShown};
use super::gate::Viewer;
use super::shell::{Place, Shell};
use super::snippet::Snippets;
use super::table::{Cell, Table, Tone, number, text};
use super::tags;
use crate::engine::bills::BillingStatus;
use crate::engine::health::Histogram;
use crate::engine::{Engine, Readiness, Recovery, Resources, Stats};
use crate::http::edge::Edge;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::model::{Lsn, Timestamp};

#[derive(Template)]
#[template(path = "dashboard/home.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    now: Now,
    /// How the first events are sent, while there are none.
    empty: Option<Snippets>,
}

/// What follows events.
#[derive(Debug, Template)]
#[template(path = "dashboard/home_now.html", config = ".config/askama.toml")]
struct Now {
    warnings: Vec<String>,
    clock_in_doubt: bool,
    may_change: bool,
    cards: Vec<Card>,
    facts: Vec<(&'static str, Cell)>,
    /// Refused events by rule, and attempts to deliver webhooks by outcome.
    refused: Table,
    webhooks: Table,
}

impl HtmlSafe for Now {}

/// A number and what it is.
#[derive(Debug)]
struct Card {
    name: &'static str,
    figure: String,
    note: String,
}

/// All that is known at an instant.
struct Known {
    stats: Stats,
    billing: BillingStatus,
    resources: Resources,
    recovery: Recovery,
    readiness: Readiness,
    now: Timestamp,
    in_doubt: bool,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let now = Now::read(&dashboard.edge, viewer.may_change()).await?;
    if answer::wants_csv(&parameters)? {
        let wanted = parameters.text("table")?.unwrap_or("refused-rules");
        let mut tables = [now.refused, now.webhooks].into_iter();
        let table = tables.find(|table| table.name == wanted);
        return Ok(answer::csv(&table.ok_or_else(|| ApiError::not_found("table"))?));
    }
    let is_empty = dashboard.edge.engine.pulse().lsn == Lsn::ZERO;
    answer::show(&Page {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Home, "Home"),
        now,
        empty: is_empty.then(|| first_events(&viewer.base)),
    })
}

/// The part that follows events.
pub(super) async fn now(State(dashboard): State<Arc<Dashboard>>, viewer: Viewer) -> Answer {
    answer::show(&Now::read(&dashboard.edge, viewer.may_change()).await?)
}

/// How the first events are sent.
fn first_events(base: &str) -> Snippets {
    let event = json!({ "event_id": "req-1", "customer_id": "cus_1", "event_name": "llm.tokens",
        "metadata": { "tokens": 1500 } });
    Snippets::of(base, "/events/ingest", "usageEvents.ingest", &json!({ "events": [event] }))
}

impl Known {
    fn of(engine: &Engine) -> Self {
        let clock = engine.clock();
        Self {
            stats: engine.stats(),
            billing: engine.billing_status(),
            resources: engine.resources(),
            recovery: engine.recovery(),
            readiness: engine.readiness(),
            now: engine.now(),
            in_doubt: clock.in_doubt,
        }
    }
}

impl Now {
    async fn read(edge: &Edge, may_change: bool) -> Result<Self, NotShown> {
        let known = edge.read(Known::of).await?;
        Ok(Self {
            warnings: warnings(&known),
            clock_in_doubt: known.in_doubt,
            may_change,
            cards: cards(&known),
            facts: facts(&known),
            refused: counts(
                ("refused-rules", "Refused events since the start, by the rule they broke"),
                ("Rule", "Events"),
                known.stats.events_refused.iter(),
            ),
            webhooks: counts(
                ("webhook-attempts", "Attempts to deliver webhooks since the start"),
                ("Outcome", "Attempts"),
                known.stats.webhook_attempts.iter(),
            ),
        })
    }
}

fn counts<'c>(
    (name, caption): (&'static str, &str),
    (what, how_many): (&str, &str),
    counts: impl Iterator<Item = (&'c &'static str, &'c u64)>,
) -> Table {
    let mut table = Table::new(name, caption, vec![text(what), number(how_many)]);
    table.rows = counts.map(|(name, count)| vec![Cell::text(*name), Cell::number(count)]).collect();
    table.exported_at(format!("/dashboard?table={name}&format=csv"))
}

fn warnings(known: &Known) -> Vec<String> {
    let stats = &known.stats;
    let warnings = [
        (!known.readiness.log_writable, "A write of the log has failed: the daemon stops.".into()),
        (
            !known.readiness.disk_above_reserve,
            "The disk's free space is below the reserve: events are refused.".into(),
        ),
        (
            stats.subscriptions_stopped > 0,
            format!(
                "{} subscriptions are not billed any more: an amount has left 64 bits.",
                stats.subscriptions_stopped
            ),
        ),
        (
            stats.webhook_endpoints_failing > 0,
            format!(
                "The last attempt of {} of {} webhook endpoints has failed.",
                stats.webhook_endpoints_failing, stats.webhook_endpoints
            ),
        ),
    ];
    warnings.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect()
}

fn cards(known: &Known) -> Vec<Card> {
    let (stats, resources) = (&known.stats, &known.resources);
    let card = |name, figure, note| Card { name, figure, note };
    let all = |count: u64| tags::grouped(&count.to_string());
    let behind = |lsn: Lsn| all(stats.last_lsn.0.saturating_sub(lsn.0));
    let age = stats.checkpoint_at.map(|at| duration(known.now.since(at)));
    let memory = resources.resident_bytes.map_or_else(|| "–".to_owned(), bytes);
    let free = resources.free_bytes.map_or_else(|| "–".to_owned(), bytes);
    vec![
        card(
            "Answers within",
            within(&stats.commit_seconds, 50),
            ninety_nine(&stats.commit_seconds),
        ),
        card("Syncs within", within(&stats.sync_seconds, 50), ninety_nine(&stats.sync_seconds)),
        card("Memory", memory, format!("{} accumulators", all(stats.accumulators))),
        card("Disk, free", free, format!("{} are kept in reserve", bytes(resources.reserve_bytes))),
        card(
            "Behind the checkpoint",
            behind(stats.checkpoint_lsn),
            age.map_or_else(|| "none was made yet".to_owned(), |age| format!("{age} old")),
        ),
        card(
            "Still in the log",
            behind(stats.history_lsn),
            format!("history: {} files, {}", stats.history_files, bytes(stats.history_bytes)),
        ),
        card("Wait to be written", bytes(stats.queue_bytes), "of ingest requests".to_owned()),
        card(
            "Webhooks failing",
            all(stats.webhook_endpoints_failing),
            format!(
                "of {} endpoints, {} disabled",
                stats.webhook_endpoints, stats.webhook_endpoints_disabled
            ),
        ),
    ]
}

fn facts(known: &Known) -> Vec<(&'static str, Cell)> {
    let (stats, billing) = (&known.stats, &known.billing);
    let moment = |at: Option<Timestamp>| at.map_or(Cell::Nothing, Cell::moment);
    let overdue = Cell::number(&billing.overdue);
    let overdue = match (billing.waiting_for_clock, billing.overdue) {
        (true, _) => overdue.noted("waits until the clock is confirmed"),
        (false, _) => overdue,
    };
    let Recovery { records, took } = known.recovery;
    let recovered =
        format!("{} records in {}", tags::grouped(&records.to_string()), duration(took));
    let ready = if known.readiness.is_ready() {
        Cell::Badge(Tone::Good, "ready".to_owned())
    } else {
        Cell::Badge(Tone::Bad, "not ready".to_owned())
    };
    vec![
        ("State", ready),
        ("Version", Cell::text(env!("CARGO_PKG_VERSION"))),
        ("Last start replayed", Cell::text(recovered)),
        ("Events since the start", Cell::number(&stats.events_accepted)),
        ("Duplicates", Cell::number(&stats.events_duplicate)),
        ("Conflicting", Cell::number(&stats.events_conflicting)),
        ("Last LSN", Cell::number(&stats.last_lsn.0)),
        ("Billing is due next", moment(billing.next_due)),
        ("Due and not done", overdue),
        ("Billing did something", moment(billing.last_run)),
        ("Subscriptions", Cell::number(&stats.subscriptions)),
        ("Invoices", Cell::number(&stats.invoices)),
    ]
}

/// Within which bound so many of a hundred observations lie.
fn within(histogram: &Histogram, percent: u64) -> String {
    let count: u64 = histogram.counts.iter().sum();
    if count == 0 {
        return "–".to_owned();
    }
    let wanted = count.saturating_mul(percent).div_ceil(100);
    let mut seen = 0_u64;
    let place = histogram.counts.iter().position(|of| {
        seen = seen.saturating_add(*of);
        seen >= wanted
    });
    match place.and_then(|place| histogram.bounds.get(place)) {
        Some(bound) => duration(Duration::from_secs_f64(*bound)),
        None => "more than 1 s".to_owned(),
    }
}

fn ninety_nine(histogram: &Histogram) -> String {
    format!("half of them; 99 % within {}", within(histogram, 99))
}

/// A length of time in the unit that suits it.
fn duration(length: Duration) -> String {
    let micros = length.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000_000 => {
            // Whole milliseconds, or with what is behind the point below ten.
            let (whole, rest) = (micros / 1_000, micros % 1_000 / 100);
            if whole < 10 && rest > 0 {
                format!("{whole}.{rest} ms")
            } else {
                format!("{whole} ms")
            }
        }
        10_000_000..600_000_000 => format!("{} s", micros / 1_000_000),
        600_000_000..36_000_000_000 => format!("{} min", micros / 60_000_000),
        _ => format!("{} h", micros / 3_600_000_000),
    }
}

/// So many bytes in the unit that suits them.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut step = 1_u64;
    while unit + 1 < UNITS.len() && count / step >= 1_000 {
        (unit, step) = (unit + 1, step * 1_000);
    }
    let (whole, rest) = (count / step, count % step * 10 / step);
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit > 0 && whole < 100 {
        format!("{whole}.{rest} {name}")
    } else {
        format!("{whole} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_all_observations_lies_within_a_bound() {
        let of = |counts: &[u64]| {
            let bounds = vec![0.000_25, 0.001, 0.25];
            let histogram = Histogram { bounds, counts: counts.to_vec(), sum: 0.0 };
            (within(&histogram, 50), within(&histogram, 99))
        };
        let pair = |half: &str, most: &str| (half.to_owned(), most.to_owned());
        assert_eq!(of(&[]), pair("–", "–"));
        assert_eq!(of(&[1, 0, 0, 0]), pair("250 µs", "250 µs"));
        assert_eq!(of(&[50, 49, 1, 0]), pair("250 µs", "1 ms"));
        assert_eq!(of(&[49, 49, 2, 0]), pair("1 ms", "250 ms"));
        assert_eq!(of(&[0, 1, 0, 9]), pair("more than 1 s", "more than 1 s"));
    }

    #[test]
    fn lengths_and_sizes_are_told_in_a_unit_that_suits_them() {
        for (micros, expected) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (2_500, "2.5 ms"),
            (9_000, "9 ms"),
            (12_300, "12 ms"),
            (9_999_999, "9999 ms"),
            (61_000_000, "61 s"),
            (601_000_000, "10 min"),
            (36_000_000_000, "10 h"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), expected);
        }
        for (count, expected) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_550, "1.5 kB"),
            (250_000_000, "250 MB"),
            (12_340_000_000, "12.3 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }
}
