//! The daemon's numbers in the OpenMetrics text format.
//!
//! They are a snapshot that the engine takes for each request; nothing is counted here.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use utoipa_axum::routes;

use crate::engine::health::Histogram;
use crate::engine::outbox::backlog::Backlog;
use crate::engine::{Engine, Stats};
use crate::http::auth::{Open, Read};
use crate::http::edge::Edge;
use crate::http::reply::Failure;
use crate::http::route::Routes;
use crate::model::{Causes, Timestamp};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What the page shows.
#[derive(Debug)]
struct Snapshot {
    stats: Stats,
    /// What waits for each webhook endpoint; nothing where it cannot be read.
    backlogs: Vec<Backlog>,
    now: Timestamp,
    /// Bytes of ingest bodies between their head and their answer.
    body_bytes: u64,
    checkpoint_age_seconds: Option<f64>,
}

/// Adds the route of metrics.
pub(crate) fn routes(routes: Routes, open: bool) -> Routes {
    if open { routes.add::<Open>(routes!(metrics)) } else { routes.add::<Read>(routes!(metrics)) }
}

/// The daemon's numbers
#[utoipa::path(get, path = "/metrics", tag = "daemon", responses((status = 200,
    description = "OpenMetrics", body = String, content_type = "application/openmetrics-text")))]
async fn metrics(State(edge): State<Arc<Edge>>) -> Result<Response, Failure> {
    let free = edge.ingest_bytes.available_permits();
    let used = edge.options.ingest_queue_bytes.saturating_sub(free);
    let (stats, backlogs) = edge.read(|engine| (engine.stats(), backlogs(engine))).await?;
    let now = edge.engine.now();
    let snapshot = Snapshot {
        checkpoint_age_seconds: stats.checkpoint_at.map(|at| now.since(at).as_secs_f64()),
        stats,
        backlogs,
        now,
        body_bytes: u64::try_from(used).unwrap_or(u64::MAX),
    };
    let mut response = Response::new(page(snapshot).into());
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    Ok(response)
}

/// What waits for each webhook endpoint. A damaged page takes its numbers with it and no others.
fn backlogs(engine: &Engine) -> Vec<Backlog> {
    engine.webhook_backlogs().unwrap_or_else(|error| {
        tracing::error!(error = %Causes(&error), "count the webhooks that wait");
        Vec::new()
    })
}

fn page(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("quipu");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a text cannot fail");
    text
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        let stats = &self.stats;
        page.counter("events_accepted", "New events.", stats.events_accepted)?;
        page.counter("events_duplicate", "Events whose id was known.", stats.events_duplicate)?;
        page.counter(
            "events_conflicting",
            "Duplicates whose content differs from the first copy's.",
            stats.events_conflicting,
        )?;
        page.counter(
            "events_read",
            "Events read back from the log or from history, for lists and for new meters.",
            stats.events_read,
        )?;
        page.refused(stats)?;
        page.counter(
            "refused_events_kept",
            "Refused events of which a copy was written.",
            stats.refused_kept,
        )?;
        page.counter(
            "refused_events_dropped",
            "Refused events of which no copy could be kept.",
            stats.refused_dropped,
        )?;
        page.histogram("commit_events", "Events in a commit group.", None, &stats.commit_events)?;
        page.histogram(
            "commit",
            "Time from a commit group's decision to its answers.",
            Some(&Unit::Seconds),
            &stats.commit_seconds,
        )?;
        page.histogram(
            "sync",
            "Time of one sync of the log.",
            Some(&Unit::Seconds),
            &stats.sync_seconds,
        )?;
        let body_bytes = "Bytes of ingest bodies between their head and their answer.";
        page.bytes("body", body_bytes, self.body_bytes)?;
        page.bytes("queue", "Bytes that wait for the committer.", stats.queue_bytes)?;
        page.gauge("accumulators", "Accumulators in memory.", stats.accumulators)?;
        page.gauge(
            "pending_samples",
            "Metered values of events that are ahead of the clock.",
            stats.pending_samples,
        )?;
        page.billing(stats)?;
        page.credits(stats)?;
        page.webhooks(stats)?;
        page.backlogs(&self.backlogs, self.now)?;
        page.alerts(stats)?;
        page.index(stats)?;
        page.gauge("history_files", "Files of history.", stats.history_files)?;
        page.bytes("history", "Bytes of history.", stats.history_bytes)?;
        page.gauge("history_lsn", "The last LSN in history.", stats.history_lsn.0)?;
        page.checkpoint_age(self.checkpoint_age_seconds)?;
        page.gauge("checkpoint_lsn", "LSN of the last checkpoint.", stats.checkpoint_lsn.0)?;
        page.gauge("last_lsn", "The last durable LSN.", stats.last_lsn.0)
    }
}

/// Writes one metric after the other.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn alerts(&mut self, stats: &Stats) -> fmt::Result {
        self.gauge("alerts", "Alerts.", stats.alerts)?;
        self.counter(
            "alerts_looks",
            "How often alerts have looked at a customer's meter or balance.",
            stats.alerts_looks,
        )?;
        self.counter(
            "alerts_fired",
            "How often an alert has fired for a customer and period.",
            stats.alerts_fired,
        )
    }

    fn index(&mut self, stats: &Stats) -> fmt::Result {
        self.gauge("generations", "Generations of the id index in memory.", stats.generations)?;
        self.gauge("runs", "Runs of the id index on disk.", stats.runs)?;
        self.gauge("filter_ids", "Ids in the filter of the id index.", stats.filter_ids)?;
        self.gauge("filter_bits", "Bits of the filter of the id index.", stats.filter_bits)?;
        self.counter(
            "filter_hits",
            "Look-ups that the filter sent to the runs.",
            stats.filter_hits,
        )?;
        self.counter(
            "filter_false_positives",
            "Look-ups that the filter sent to the runs in vain.",
            stats.filter_false_positives,
        )
    }

    fn billing(&mut self, stats: &Stats) -> fmt::Result {
        self.gauge("subscriptions", "Subscriptions, ended ones too.", stats.subscriptions)?;
        self.gauge(
            "subscriptions_stopped",
            "Subscriptions that are not billed any more because an amount left 64 bits.",
            stats.subscriptions_stopped,
        )?;
        self.gauge(
            "billing_overdue",
            "Turns, closes, expiries and rows of ledgers that are due and not done.",
            stats.billing_overdue,
        )?;
        self.gauge("invoices", "Invoices ever made.", stats.invoices)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauge_in(name, help, None, &value)
    }

    fn bytes(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauge_in(name, help, Some(&Unit::Bytes), &value)
    }

    /// Left out while there is no checkpoint.
    fn checkpoint_age(&mut self, seconds: Option<f64>) -> fmt::Result {
        let Some(seconds) = seconds else { return Ok(()) };
        let help = "Time since the last checkpoint was made.";
        self.gauge_in("checkpoint_age", help, Some(&Unit::Seconds), &seconds)
    }

    fn gauge_in<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: &V,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        metric.encode_gauge(value)
    }

    fn credits(&mut self, stats: &Stats) -> fmt::Result {
        self.gauge(
            "credit_entitlements",
            "Credit entitlements, deleted ones too.",
            stats.credit_entitlements,
        )?;
        self.gauge(
            "credit_pools",
            "Balances of credits: one of each customer and credit entitlement.",
            stats.credit_pools,
        )?;
        self.gauge(
            "credit_pools_unsettled",
            "Balances that usage has drawn on and whose ledger does not say so yet.",
            stats.credit_pools_unsettled,
        )?;
        self.counter(
            "credit_ledger_rows",
            "Rows written to ledgers of credits.",
            stats.credit_ledger_rows,
        )?;
        self.gauge(
            "credit_reservations_open",
            "Reservations of credits that are neither committed nor released nor over.",
            stats.credit_reservations_open,
        )
    }

    fn refused(&mut self, stats: &Stats) -> fmt::Result {
        let help = "Events that broke a rule, by rule; their requests were refused whole.";
        let mut metrics =
            self.encoder.encode_descriptor("events_refused", help, None, MetricType::Counter)?;
        for (rule, count) in &stats.events_refused {
            let labels = [("rule", *rule)];
            let mut metric = metrics.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        Ok(())
    }

    fn webhooks(&mut self, stats: &Stats) -> fmt::Result {
        self.gauge("webhook_endpoints", "Webhook endpoints.", stats.webhook_endpoints)?;
        self.gauge(
            "webhook_endpoints_disabled",
            "Webhook endpoints that nothing is sent to.",
            stats.webhook_endpoints_disabled,
        )?;
        self.gauge(
            "webhook_endpoints_failing",
            "Webhook endpoints whose last attempt has failed.",
            stats.webhook_endpoints_failing,
        )?;
        let help = "Attempts to deliver webhooks, by what became of them.";
        let kind = MetricType::Counter;
        let mut metrics = self.encoder.encode_descriptor("webhook_attempts", help, None, kind)?;
        for (outcome, count) in &stats.webhook_attempts {
            let labels = [("outcome", *outcome)];
            let mut metric = metrics.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        Ok(())
    }

    /// One of each endpoint, of which there are few.
    fn backlogs(&mut self, backlogs: &[Backlog], now: Timestamp) -> fmt::Result {
        let help = "Messages that wait for a webhook endpoint: never tried, or to be tried again. \
                    Of a long backlog the first 100000 are counted, shared by the endpoints.";
        let mut metrics = self.encoder.encode_descriptor(
            "webhook_messages_waiting",
            help,
            None,
            MetricType::Gauge,
        )?;
        for Backlog { endpoint, untried, to_retry, .. } in backlogs {
            for (state, count) in [("new", *untried), ("retry", *to_retry)] {
                let labels = [("endpoint", endpoint.as_str()), ("state", state)];
                metrics.encode_family(&labels)?.encode_gauge(&count)?;
            }
        }
        let help = "Age of the oldest message that waits for a webhook endpoint; 0 when none does.";
        let mut metrics = self.encoder.encode_descriptor(
            "webhook_oldest_waiting",
            help,
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for Backlog { endpoint, oldest, .. } in backlogs {
            let age = oldest.map_or(0.0, |at| now.since(at).as_secs_f64());
            let labels = [("endpoint", endpoint.as_str())];
            metrics.encode_family(&labels)?.encode_gauge(&age)?;
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        histogram: &Histogram,
    ) -> fmt::Result {
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        // Before the first observation a histogram may have no counts; its page has its buckets.
        let counts = histogram.counts.iter().copied().chain(std::iter::repeat(0));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = histogram.counts.iter().sum();
        let mut metric = self.encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(histogram.sum, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{EndpointId, Lsn};

    use super::*;

    const SHOWN: &[&str] = &[
        "quipu_events_accepted_total 11",
        "quipu_events_duplicate_total 12",
        "quipu_events_conflicting_total 13",
        "quipu_events_read_total 34",
        "quipu_events_refused_total{rule=\"too_old\"} 14",
        "quipu_events_refused_total{rule=\"missing\"} 15",
        "quipu_refused_events_kept_total 45",
        "quipu_refused_events_dropped_total 46",
        "quipu_commit_events_sum 40.5",
        "quipu_commit_events_count 6",
        "quipu_commit_events_bucket{le=\"1.0\"} 2",
        "quipu_commit_events_bucket{le=\"8.0\"} 5",
        "quipu_commit_events_bucket{le=\"+Inf\"} 6",
        "quipu_commit_seconds_count 6",
        "quipu_sync_seconds_count 6",
        "quipu_queue_bytes 16",
        "quipu_accumulators 17",
        "quipu_pending_samples 30",
        "quipu_subscriptions 31",
        "quipu_subscriptions_stopped 32",
        "quipu_billing_overdue 33",
        "quipu_invoices 34",
        "quipu_credit_entitlements 35",
        "quipu_credit_pools 36",
        "quipu_credit_pools_unsettled 37",
        "quipu_credit_ledger_rows_total 38",
        "quipu_credit_reservations_open 39",
        "quipu_webhook_endpoints 40",
        "quipu_webhook_endpoints_disabled 41",
        "quipu_webhook_endpoints_failing 42",
        "quipu_webhook_attempts_total{outcome=\"succeeded\"} 43",
        "quipu_webhook_attempts_total{outcome=\"given_up\"} 44",
        "quipu_webhook_messages_waiting{endpoint=\"whk_1\",state=\"new\"} 47",
        "quipu_webhook_messages_waiting{endpoint=\"whk_1\",state=\"retry\"} 48",
        "quipu_webhook_messages_waiting{endpoint=\"whk_2\",state=\"new\"} 0",
        "quipu_webhook_oldest_waiting_seconds{endpoint=\"whk_1\"} 2.5",
        "quipu_webhook_oldest_waiting_seconds{endpoint=\"whk_2\"} 0.0",
        "quipu_alerts 45",
        "quipu_alerts_looks_total 49",
        "quipu_alerts_fired_total 46",
        "quipu_generations 18",
        "quipu_runs 19",
        "quipu_filter_ids 20",
        "quipu_filter_bits 21",
        "quipu_filter_hits_total 22",
        "quipu_filter_false_positives_total 23",
        "quipu_history_files 27",
        "quipu_history_bytes 28",
        "quipu_history_lsn 29",
        "quipu_checkpoint_lsn 24",
        "quipu_last_lsn 25",
        "quipu_body_bytes 26",
        "quipu_checkpoint_age_seconds 1.5",
    ];

    /// A number of its own for each.
    fn numbered() -> Stats {
        let histogram = Histogram { bounds: vec![1.0, 8.0], counts: vec![2, 3, 1], sum: 40.5 };
        Stats {
            events_accepted: 11,
            events_duplicate: 12,
            events_conflicting: 13,
            events_read: 34,
            events_refused: [("too_old", 14), ("missing", 15)].into(),
            refused_kept: 45,
            refused_dropped: 46,
            commit_events: histogram.clone(),
            commit_seconds: histogram.clone(),
            sync_seconds: histogram,
            queue_bytes: 16,
            accumulators: 17,
            pending_samples: 30,
            subscriptions: 31,
            subscriptions_stopped: 32,
            billing_overdue: 33,
            invoices: 34,
            credit_entitlements: 35,
            credit_pools: 36,
            credit_pools_unsettled: 37,
            credit_ledger_rows: 38,
            credit_reservations_open: 39,
            alerts: 45,
            alerts_looks: 49,
            alerts_fired: 46,
            webhook_endpoints: 40,
            webhook_endpoints_disabled: 41,
            webhook_endpoints_failing: 42,
            webhook_attempts: [("succeeded", 43), ("given_up", 44)].into(),
            generations: 18,
            runs: 19,
            filter_ids: 20,
            filter_bits: 21,
            filter_hits: 22,
            filter_false_positives: 23,
            history_files: 27,
            history_bytes: 28,
            history_lsn: Lsn(29),
            checkpoint_at: None,
            checkpoint_lsn: Lsn(24),
            last_lsn: Lsn(25),
        }
    }

    #[test]
    fn the_page_shows_every_number() {
        let backlog = |id: &str, (untried, to_retry), oldest: Option<i64>| Backlog {
            endpoint: EndpointId::new(id),
            untried,
            to_retry,
            oldest: oldest.map(Timestamp::from_nanos),
        };
        let backlogs =
            vec![backlog("whk_1", (47, 48), Some(500_000_000)), backlog("whk_2", (0, 0), None)];
        let text = page(Snapshot {
            stats: numbered(),
            backlogs,
            now: Timestamp::from_nanos(3_000_000_000),
            body_bytes: 26,
            checkpoint_age_seconds: Some(1.5),
        });
        for line in SHOWN {
            assert!(text.lines().any(|found| found == *line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
