//! The figures of a benchmark: their names, what they mean, and how they are shown.
//!
//! Every figure has one value a round and is shown with its median and range. The table below is
//! the help text, too; a figure that is not in it cannot be added.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::bench::statistics::{median, range};

/// Every figure and what it means.
pub(crate) const FIGURES: [(&str, &str); 82] = [
    ("discard_events_per_second", "the floor that reads bodies and answers"),
    ("parse_events_per_second", "the floor that also takes bodies apart"),
    ("daemon_events_per_second", "the daemon: durable, counted, answered"),
    ("daemon_of_discard", "the daemon's rate over the first floor's, round by round"),
    ("daemon_of_parse", "the daemon's rate over the second floor's, round by round"),
    ("discard_server_cpu_ns_per_event", "processor time of the first floor"),
    ("discard_generator_cpu_ns_per_event", "processor time of the generator meanwhile"),
    ("parse_server_cpu_ns_per_event", "processor time of the second floor"),
    ("daemon_server_cpu_ns_per_event", "processor time of the daemon"),
    ("daemon_generator_cpu_ns_per_event", "processor time of the generator meanwhile"),
    ("latency_p50_ms", "half of the requests are answered sooner"),
    ("latency_p99_ms", "99 of 100 are"),
    ("latency_p999_ms", "999 of 1000 are"),
    ("latency_max_ms", "all are"),
    ("offered_requests_per_second", "requests that fell due, answered or not"),
    ("second_min_events_per_second", "the slowest whole second"),
    ("second_median_events_per_second", "the median of all whole seconds"),
    ("second_min_of_median", "the slowest second over the median"),
    ("resident_mb", "resident set of the daemon afterwards"),
    ("resident_peak_mb", "the largest it ever was"),
    ("log_bytes_per_event", "the log on disk, in whole segments"),
    ("disk_bytes_per_event", "the whole data directory, spare segment included"),
    ("steal_share", "processor time that the machine was denied by its host"),
    ("usage_p50_ms", "GET /usage of one counter during ingest: half are faster"),
    ("usage_p99_ms", "99 of 100 are"),
    ("check_p50_ms", "POST /credits/check at half the capacity of ingest: half are faster"),
    ("check_p99_ms", "99 of 100 are"),
    ("check_p999_ms", "999 of 1000 are"),
    ("healthz_p50_ms", "GET /healthz as often, at the same time: half are faster"),
    ("healthz_p99_ms", "99 of 100 are: what is left of the figure above is the question's own"),
    ("healthz_p999_ms", "999 of 1000 are"),
    ("peak_events_per_second", "the capacity, before the overload"),
    ("goodput_events_per_second", "events acknowledged under overload"),
    ("goodput_of_peak", "goodput over the capacity"),
    ("refused_requests", "503 under overload"),
    ("refused_without_hint", "those of them without retry-after-ms"),
    ("unsent_requests", "due, but no connection was free for a second"),
    ("recovery_seconds", "after the overload, until half a second has 90 % of the capacity"),
    ("ready_seconds", "from the start after kill -9 until /readyz is 200"),
    ("resident_growth_per_id_bytes", "growth of the resident set over three million ids"),
    (
        "resident_growth_per_accumulator_bytes",
        "growth beyond ids over a million accumulators of customers that were there",
    ),
    ("resident_growth_per_customer_bytes", "growth beyond both over a million new customers"),
    ("resident_at_last_mb", "resident set after all that, the daemon idle"),
    ("accumulators", "accumulators in memory afterwards"),
    ("filter_bits_per_id", "bits of the id index's filter for each id in it, afterwards"),
    ("subscriptions", "subscriptions, each with one usage line an invoice"),
    ("set_up_seconds", "customers, subscriptions and their usage made, not synced one by one"),
    ("resident_growth_per_subscription_bytes", "growth of the resident set by customer and all"),
    ("small_turn_and_close_us", "of one of 10,000 subscriptions, durable"),
    ("turn_seconds", "every subscription's boundary passes, durable"),
    ("close_seconds", "every subscription gets its invoice, durable"),
    ("turn_and_close_seconds", "both"),
    ("turn_and_close_us", "of one subscription"),
    ("turn_and_close_of_small", "of one subscription, over that of one of 10,000"),
    ("log_bytes_per_close", "the log on disk grows by so much a turn and close"),
    ("events_read", "events that were read from log or history meanwhile"),
    ("beside_turn_seconds", "every boundary passes, while ingest goes on"),
    ("beside_close_seconds", "every invoice is made, while ingest goes on"),
    ("balances", "balances, each drawn on by one subscription"),
    ("balances_changed_within_seconds", "all of them were drawn on within this time"),
    (
        "ledger_seconds",
        "from when the first of their rows is due, a minute later, until all stand, while ingest goes on",
    ),
    ("ledger_us", "of one row, of that time"),
    (
        "looks_for_new_alert",
        "looks at a customer while batches come in behind a new alert on everybody",
    ),
    ("looks", "looks at a customer once everybody was looked at"),
    ("events_compared", "events that were held to the alert then"),
    (
        "ingest_with_new_alert",
        "the rate behind a new alert over that without one, median of rounds",
    ),
    (
        "ingest_with_alert",
        "the rate once everybody was looked at over that without an alert, median of rounds",
    ),
    (
        "messages",
        "messages to an endpoint at which nobody answers, three of each subscription's turn and close",
    ),
    (
        "bytes_a_message",
        "what the resident set grew by beyond that of the same without an endpoint, once a checkpoint had them",
    ),
    ("bytes_a_message_at_most", "the same of the highest that it was"),
    ("bytes_a_message_restarted", "the same after a restart"),
    ("ready_again_seconds", "kill -9 until ready"),
    ("ready_again_without_seconds", "the same without the endpoint"),
    ("ingest_with_new_alert_events_per_second", "ingest behind a new alert"),
    ("ingest_with_alert_events_per_second", "ingest once everybody was looked at"),
    ("ingest_without_events_per_second", "ingest without the endpoint, or the alert"),
    ("ingest_with_events_per_second", "ingest while that endpoint is tried again and again"),
    ("ingest_before_events_per_second", "ingest before anything was due"),
    ("ingest_beside_events_per_second", "ingest from the boundary to the last invoice"),
    ("ingest_kept", "its rate meanwhile over that before"),
    ("ingest_pause_ms", "the longest time without an answer meanwhile"),
    ("ingest_pause_before_ms", "the longest time without an answer before"),
];

/// The figures of one mode.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    values: Vec<(&'static str, Vec<f64>)>,
}

/// A figure over its rounds.
#[derive(Clone, Debug, Serialize)]
struct Summary<'a> {
    median: f64,
    min: f64,
    max: f64,
    rounds: &'a [f64],
}

/// What a mode measured.
#[derive(Debug)]
pub(crate) struct Section {
    /// The mode's name on the command line.
    pub(crate) mode: &'static str,
    /// Its figures.
    pub(crate) figures: Figures,
}

impl Figures {
    /// Adds one round's value of a figure of the table.
    pub(crate) fn add(&mut self, name: &'static str, value: f64) {
        assert!(FIGURES.iter().any(|(known, _)| *known == name), "{name} is not explained");
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rounds)) => rounds.push(value),
            None => self.values.push((name, vec![value])),
        }
    }

    fn summaries(&self) -> impl Iterator<Item = (&'static str, Summary<'_>)> {
        self.values.iter().map(|(name, rounds)| {
            let (min, max) = range(rounds);
            (*name, Summary { median: median(rounds), min, max, rounds })
        })
    }
}

/// Writes the sections as one JSON object.
///
/// # Errors
/// What the writer says.
pub(crate) fn write_json(sections: &[Section], out: &mut dyn Write) -> io::Result<()> {
    let figures = |section: &Section| -> BTreeMap<_, _> {
        let summary = |summary: Summary<'_>| serde_json::json!(summary);
        section.figures.summaries().map(|(name, found)| (name, summary(found))).collect()
    };
    let modes: BTreeMap<_, _> =
        sections.iter().map(|section| (section.mode, figures(section))).collect();
    let answer = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "modes": modes,
    });
    writeln!(out, "{answer}")
}

/// Writes a section for people.
///
/// # Errors
/// What the writer says.
pub(crate) fn write_text(section: &Section, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", section.mode)?;
    for (name, Summary { median, min, max, .. }) in section.figures.summaries() {
        let [median, min, max] = [median, min, max].map(shown);
        writeln!(out, "  {name:<40} {median:>12}  [{min} - {max}]")?;
    }
    out.flush()
}

/// What every figure means, for the help text.
pub(crate) fn explanation() -> String {
    let lines: Vec<_> =
        FIGURES.iter().map(|(name, meaning)| format!("  {name:<38} {meaning}")).collect();
    format!(
        "Figures (median of the rounds and [smallest - largest]; --json has every round):\n{}",
        lines.join("\n")
    )
}

/// Three significant digits at least, none of them invented.
fn shown(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_shows_its_median_and_range() {
        let mut figures = Figures::default();
        for value in [0.25, 0.5, 1.5] {
            figures.add("goodput_of_peak", value);
        }
        figures.add("refused_requests", 1234.0);
        let sections = [Section { mode: "overload", figures }];
        let mut text = Vec::new();
        write_text(&sections[0], &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("overload\n  goodput_of_peak "), "{text}");
        assert!(text.contains(" 0.5000  [0.2500 - 1.50]\n"), "{text}");
        assert!(text.contains(" 1234  [1234 - 1234]\n"), "{text}");
        let mut json = Vec::new();
        write_json(&sections, &mut json).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let expected =
            serde_json::json!({"median": 0.5, "min": 0.25, "max": 1.5, "rounds": [0.25, 0.5, 1.5]});
        assert_eq!(json["modes"]["overload"]["goodput_of_peak"], expected);
    }

    #[test]
    fn every_figure_is_explained_once() {
        let mut names: Vec<_> = FIGURES.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIGURES.len());
        assert!(FIGURES.iter().all(|(name, _)| explanation().contains(name)));
    }

    #[test]
    #[should_panic(expected = "not explained")]
    fn a_figure_that_is_not_explained_cannot_be_added() {
        Figures::default().add("speed", 1.0);
    }
}
