//! What an engine is told when it starts.

use std::time::Duration;

use crate::billing::PastDueEnd;
use crate::engine::backfill;
use crate::engine::commit::GROUP_BYTES;
use crate::engine::leaders::ranker;
use crate::metering::Rules;
use crate::model::Settings;
use crate::storage::index;
use crate::storage::log::Durability;

/// What becomes of an event that names a customer nobody has created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCustomers {
    /// The customer is created.
    Create,
    /// The request is refused.
    Reject,
}

/// Who collects the money of invoices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Nobody needs to: payments succeed at once.
    Automatic,
    /// Somebody else, who marks payments.
    Manual,
}

/// What becomes of a subscription when a payment of it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastDue {
    /// How long it is past due.
    pub grace: Duration,
    /// What happens then.
    pub end: PastDueEnd,
}

/// Everything that the configuration decides for an engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// What events must keep to.
    pub rules: Rules,
    /// What becomes of events of unknown customers.
    pub unknown_customers: UnknownCustomers,
    /// Settings that are logged when they differ from the last ones.
    pub settings: Settings,
    /// How long after its end a period is closed; at least the rules' `max_age`.
    pub grace: Duration,
    /// Who collects the money of invoices.
    pub collection: Collection,
    /// The time that a subscription has to pay; without it, it is put on hold at once.
    pub past_due: Option<PastDue>,
    /// When a group counts as durable.
    pub durability: Durability,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// How long an event id is remembered after its arrival; zero is for ever.
    pub dedupe_window: Duration,
    /// Ids of one generation of the index in memory.
    pub generation_ids: usize,
    /// Runs of the id index above which some are merged.
    pub runs_max: usize,
    /// Events after which the outline of the log begins another stretch. More: less memory when few
    /// customers are busy, and more to go over for each event that is listed.
    pub stretch_events: u64,
    /// A checkpoint is made when this many records stand above the last one, or as many as it has accumulators
    /// where those are more, up to three times this, …
    pub checkpoint_events: u64,
    /// … or when any record stands above it and it is this old, …
    pub checkpoint_interval: Duration,
    /// … or when rows that wait for it take so many bytes of memory: invoices and payments, as a rule.
    pub waiting_bytes_max: usize,
    /// Below this much free space events are refused.
    pub reserve_bytes: u64,
    /// How long messages and attempts to deliver them are kept.
    pub webhook_keep: Duration,
    /// A checkpoint is made when rows of messages take so many bytes of memory.
    pub outbox_bytes_max: usize,
    /// How long events are kept in history after their arrival.
    pub history_keep: Duration,
    /// Bytes that history may take; none means any number.
    pub history_bytes_max: Option<u64>,
    /// Bytes of a group of due work, which one more record does not lead far beyond. What was read to decide
    /// it is still in the caches when it is applied, and a request that comes meanwhile waits for some
    /// milliseconds.
    pub due_bytes: usize,
    /// How much of the work at lists of top customers is done at once.
    pub ranking: ranker::Limits,
    /// How much a backfill holds and hands over at once.
    pub backfill: backfill::Limits,
    /// Samples that may wait for their time to come; beyond, events ahead of the clock are refused.
    pub pending_max: usize,
    /// Bytes that open checkout sessions may take together; beyond, no more are made.
    pub checkout_bytes_max: u64,
    /// Reservations of credits that may be open at once; beyond, no more are made.
    pub reservations_max: usize,
    /// Submissions that may wait for the committer.
    pub queue_length: usize,
    /// Texts of keys that open everything, from outside the data directory.
    pub configured_keys: Vec<String>,
}

impl Options {
    /// Whether a damaged id index can be read again from what is kept: every id that must be known
    /// stands in an event that is kept at least as long.
    pub fn ids_are_kept(&self) -> bool {
        !self.dedupe_window.is_zero()
            && self.dedupe_window <= self.history_keep
            && self.history_bytes_max.is_none()
    }
}

impl Default for Options {
    fn default() -> Self {
        let max_age = Duration::from_hours(1);
        Self {
            rules: Rules { max_age, max_ahead: Duration::from_mins(5) },
            unknown_customers: UnknownCustomers::Create,
            settings: Settings::default(),
            grace: max_age + Duration::from_mins(10),
            collection: Collection::Automatic,
            past_due: None,
            durability: Durability::Commit,
            segment_bytes: 64 * 1024 * 1024,
            dedupe_window: Duration::from_hours(35 * 24),
            generation_ids: 1_500_000,
            runs_max: index::Options::default().runs_max,
            // Going over them takes a fifth of a millisecond.
            stretch_events: 8 * 1024,
            checkpoint_events: 2_000_000,
            checkpoint_interval: Duration::from_secs(30),
            // Some 1,400,000 closes.
            waiting_bytes_max: 1024 * 1024 * 1024,
            reserve_bytes: 512 * 1024 * 1024,
            history_keep: Duration::from_hours(400 * 24),
            history_bytes_max: None,
            due_bytes: GROUP_BYTES / 4,
            ranking: ranker::Limits::default(),
            backfill: backfill::Limits::default(),
            // Some 200 MB.
            pending_max: 1_000_000,
            // Each is open for a day.
            checkout_bytes_max: 64 * 1024 * 1024,
            // Some 40 MB.
            reservations_max: 100_000,
            webhook_keep: Duration::from_hours(30 * 24),
            outbox_bytes_max: 32 * 1024 * 1024,
            queue_length: 4_096,
            configured_keys: Vec::new(),
        }
    }
}
