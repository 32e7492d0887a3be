//! What the daemon says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Lsn, Timestamp};

/// Whether the daemon can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Recovery has finished.
    pub recovered: bool,
    /// No write or sync of the log has failed.
    pub log_writable: bool,
    /// The disk's free space is above the reserve.
    pub disk_above_reserve: bool,
}

impl Readiness {
    /// Whether everything is as it should be.
    pub fn is_ready(self) -> bool {
        self.recovered && self.log_writable && self.disk_above_reserve
    }
}

/// A histogram: `counts[i]` observations were at most `bounds[i]`, the last one is unbounded.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Upper bounds, ascending, in the metric's unit.
    pub bounds: Vec<f64>,
    /// Observations per bound, not cumulative; one more than `bounds`.
    pub counts: Vec<u64>,
    /// The sum of all observations.
    pub sum: f64,
}

/// What the daemon has of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Free bytes of the data directory's disk, where the system says.
    pub free_bytes: Option<u64>,
    /// Below so many free bytes events are refused.
    pub reserve_bytes: u64,
    /// Bytes of memory in use, where the system says.
    pub resident_bytes: Option<u64>,
}

/// What the last start had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Records of the log behind the checkpoint that were replayed.
    pub records: u64,
    /// How long it took to open the data directory.
    pub took: Duration,
}

/// What has happened since the start, in few numbers that cost nothing to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// The last durable LSN.
    pub lsn: Lsn,
    /// New events.
    pub accepted: u64,
    /// Duplicates.
    pub duplicate: u64,
    /// Duplicates with other content.
    pub conflicting: u64,
    /// Events for which their request was refused.
    pub refused: u64,
}

/// Numbers since the start, and gauges of now.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// New events.
    pub events_accepted: u64,
    /// Duplicates.
    pub events_duplicate: u64,
    /// Duplicates with other content.
    pub events_conflicting: u64,
    /// Events read back from the log or from history, for lists and for new meters.
    pub events_read: u64,
    /// Refused requests' offending events, by rule.
    pub events_refused: BTreeMap<&'static str, u64>,
    /// Refused events of which a copy was written for whoever looks for a mistake.
    pub refused_kept: u64,
    /// Those of which there was no room for one, or that could not be written.
    pub refused_dropped: u64,
    /// Events in a commit group.
    pub commit_events: Histogram,
    /// Seconds from a group's decision to its answers.
    pub commit_seconds: Histogram,
    /// Seconds of one sync of the log.
    pub sync_seconds: Histogram,
    /// Bytes of requests that wait for the committer.
    pub queue_bytes: u64,
    /// Accumulators in memory.
    pub accumulators: u64,
    /// Samples whose time has not come.
    pub pending_samples: u64,
    /// Subscriptions, ended ones too.
    pub subscriptions: u64,
    /// Subscriptions that are not billed any more because an amount left 64 bits.
    pub subscriptions_stopped: u64,
    /// Turns, closes, expiries and rows of ledgers that are due and not done.
    pub billing_overdue: u64,
    /// Invoices ever made.
    pub invoices: u64,
    /// Credit entitlements, deleted ones too.
    pub credit_entitlements: u64,
    /// What customers have of them: one of each customer and entitlement.
    pub credit_pools: u64,
    /// Those with draws that stand in no row of their ledgers yet.
    pub credit_pools_unsettled: u64,
    /// Rows of their ledgers that were written.
    pub credit_ledger_rows: u64,
    /// Reservations of credits that are open.
    pub credit_reservations_open: u64,
    /// Alerts.
    pub alerts: u64,
    /// How often alerts have looked at a customer's meter, or balance.
    pub alerts_looks: u64,
    /// How often an alert has fired for a customer and period.
    pub alerts_fired: u64,
    /// Webhook endpoints.
    pub webhook_endpoints: u64,
    /// Those that nothing is sent to.
    pub webhook_endpoints_disabled: u64,
    /// Those whose last attempt has failed.
    pub webhook_endpoints_failing: u64,
    /// Attempts to deliver a message, by what became of them.
    pub webhook_attempts: BTreeMap<&'static str, u64>,
    /// Generations of the id index in memory.
    pub generations: u64,
    /// Runs of the id index on disk.
    pub runs: u64,
    /// Ids in the filter.
    pub filter_ids: u64,
    /// Bits of the filter.
    pub filter_bits: u64,
    /// Look-ups that the filter sent to the runs.
    pub filter_hits: u64,
    /// Those that the runs did not have.
    pub filter_false_positives: u64,
    /// Files of history.
    pub history_files: u64,
    /// Bytes of those.
    pub history_bytes: u64,
    /// The last LSN in history; zero while it is empty.
    pub history_lsn: Lsn,
    /// When the last checkpoint was made.
    pub checkpoint_at: Option<Timestamp>,
    /// The LSN of the last checkpoint.
    pub checkpoint_lsn: Lsn,
    /// The last durable LSN.
    pub last_lsn: Lsn,
}
