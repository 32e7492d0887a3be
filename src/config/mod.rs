//! The configuration: every setting there is, its default, and what it may be.
//!
//! A [`Config`] is checked: whoever has one need not check again. It is a pure function of
//! [`Sources`]; nothing here reads a file, the environment or the command line. `config.toml` at
//! the top of the repository holds the same keys with the same defaults, and a test says so.

pub mod duration;
pub mod layers;
pub mod problem;

mod read;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::credit::GrantOrder;
use crate::model::{BrandId, BusinessId};

pub use duration::HumanDuration;
pub use layers::{ConfigFile, DefaultValue, Flag, Key, Origin, Setting, Settings, Sources, Value};
pub use problem::{ConfigError, ConfigErrors, Problem};

/// Every setting. The order is that of `config.toml`.
pub const KEYS: &[Key] = &[
    key("listen.address", DefaultValue::Text("127.0.0.1:4646")),
    key("listen.insecure", DefaultValue::Boolean(false)),
    key("listen.hosts", DefaultValue::EmptyList),
    key("listen.connections_max", DefaultValue::Integer(1_024)),
    key("listen.header_timeout", DefaultValue::Text("5s")),
    key("listen.body_timeout", DefaultValue::Text("10s")),
    key("listen.idle_timeout", DefaultValue::Text("60s")),
    key("listen.shutdown_grace", DefaultValue::Text("10s")),
    key("data.directory", DefaultValue::Text("./data")),
    key("data.reserve_bytes", DefaultValue::Integer(512 << 20)),
    key("business.id", DefaultValue::Text("bus_quipu")),
    key("brand.id", DefaultValue::Text("brnd_quipu")),
    key("auth.api_key_file", DefaultValue::Text("")),
    key("metrics.open", DefaultValue::Boolean(false)),
    key("ingest.max_body", DefaultValue::Integer(4 << 20)),
    key("ingest.max_age", DefaultValue::Text("1h")),
    key("ingest.max_ahead", DefaultValue::Text("5m")),
    key("ingest.unknown_customers", DefaultValue::Text("create")),
    key("ingest.numeric_strings", DefaultValue::Boolean(false)),
    key("ingest.queue_bytes", DefaultValue::Integer(64 << 20)),
    key("dedupe.window", DefaultValue::Text("35d")),
    key("dedupe.generation_ids", DefaultValue::Integer(1_500_000)),
    key("log.durability", DefaultValue::Text("commit")),
    key("log.interval", DefaultValue::Text("100ms")),
    key("log.segment_bytes", DefaultValue::Integer(64 << 20)),
    key("checkpoint.events", DefaultValue::Integer(2_000_000)),
    key("checkpoint.interval", DefaultValue::Text("30s")),
    key("history.keep", DefaultValue::Text("400d")),
    key("history.bytes_max", DefaultValue::Integer(0)),
    key("credits.order", DefaultValue::Text("oldest_first")),
    key("credits.reservations_max", DefaultValue::Integer(100_000)),
    key("billing.grace", DefaultValue::Text("")),
    key("billing.collection", DefaultValue::Text("auto")),
    key("billing.past_due_grace", DefaultValue::Text("0")),
    key("billing.past_due_action", DefaultValue::Text("on_hold")),
    key("webhooks.allow_loopback", DefaultValue::Boolean(false)),
    key("webhooks.keep", DefaultValue::Text("30d")),
    key("output.format", DefaultValue::Text("auto")),
    key("output.level", DefaultValue::Text("info")),
];

const fn key(name: &'static str, default: DefaultValue) -> Key {
    Key { name, default }
}

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The HTTP server.
    pub listen: Listen,
    /// The data directory.
    pub data: Data,
    /// `business.id`: the business that every object names.
    pub business_id: BusinessId,
    /// `brand.id`: the brand that some objects name.
    pub brand_id: BrandId,
    /// `auth.api_key_file`: the file that holds the first admin key's text; without it one is drawn
    /// and written into the data directory.
    pub api_key_file: Option<PathBuf>,
    /// `metrics.open`: whether metrics are shown without a key.
    pub metrics_open: bool,
    /// What is admitted.
    pub ingest: Ingest,
    /// The event-id index.
    pub dedupe: Dedupe,
    /// The log.
    pub log: Log,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// What the log becomes.
    pub history: History,
    /// `credits.order`: which grant is drawn on first.
    pub credit_order: GrantOrder,
    /// `credits.reservations_max`: reservations that may be open at once.
    pub reservations_max: usize,
    /// `billing.grace`: how long after a period's end it is closed; at least `ingest.max_age`.
    pub billing_grace: Duration,
    /// `billing.collection`: who collects the money of invoices.
    pub collection: Collection,
    /// `billing.past_due_grace`: how long a subscription may be past due before
    /// `billing.past_due_action`; 1 to 30 days, or none.
    pub past_due: Option<PastDue>,
    /// Where messages may go.
    pub webhooks: Webhooks,
    /// What the daemon says of itself while it runs.
    pub output: Output,
}

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address and port; beyond loopback only with `listen.insecure`.
    pub address: SocketAddr,
    /// Names that a `Host` header may have besides the loopback ones; lower-case.
    pub hosts: Vec<String>,
    /// Connections at once; at least 1.
    pub connections_max: usize,
    /// How long a client may take to send a request's head.
    pub header_timeout: Duration,
    /// How long it may take to send the body.
    pub body_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How long requests under way may take after the daemon was asked to stop; may be zero.
    pub shutdown_grace: Duration,
}

/// The data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Where it is.
    pub directory: PathBuf,
    /// Below this many free bytes nothing is admitted.
    pub reserve_bytes: u64,
}

/// Who collects the money of invoices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Nobody needs to: payments succeed at once.
    Automatic,
    /// Somebody else, who marks payments.
    Manual,
}

/// How long a subscription whose payment has failed has time to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastDue {
    /// This long.
    pub grace: Duration,
    /// What happens then.
    pub end: PastDueEnd,
}

/// What happens to a subscription whose time to pay is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastDueEnd {
    /// It is put on hold.
    Hold,
    /// It is cancelled.
    Cancel,
}

/// What is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Bytes of a request's body at most.
    pub max_body: usize,
    /// How long before its arrival an event may have happened; above zero.
    pub max_age: Duration,
    /// How long after its arrival an event may be stamped; may be zero.
    pub max_ahead: Duration,
    /// What becomes of an event whose customer does not exist.
    pub unknown_customers: UnknownCustomers,
    /// Whether a string that holds a number counts as that number.
    pub numeric_strings: bool,
    /// Bytes of requests that may be under way at once; at least `max_body`.
    pub queue_bytes: usize,
}

/// What becomes of an event whose customer does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCustomers {
    /// The customer is created.
    Create,
    /// The request is refused.
    Reject,
}

/// The event-id index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dedupe {
    /// How long an id is remembered after its arrival; none means for ever.
    pub window: Option<Duration>,
    /// Ids in one generation in memory.
    pub generation_ids: usize,
}

/// The log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// When an event is acknowledged.
    pub durability: Durability,
    /// Size of a segment; a multiple of 512, and at least twice `ingest.max_body`.
    pub segment_bytes: u64,
}

/// When an event is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After its group was synced: nothing acknowledged is ever lost.
    Commit,
    /// After it was written; the log is synced this often, and a power cut may lose as much.
    Interval(Duration),
}

/// What the log becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// How long events are kept after their arrival.
    pub keep: Duration,
    /// Bytes that history may take; none means any number.
    pub bytes_max: Option<u64>,
}

/// When a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// When the log above the last one holds so many events; at least 1.
    pub events: u64,
    /// When the last one is so long ago; above zero.
    pub interval: Duration,
}

/// Where messages may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// Whether an endpoint may be on this machine, and be reached without TLS there.
    pub allow_loopback: bool,
    /// How long messages and attempts to deliver them are kept; at least two days, in which a message is
    /// tried for the last time.
    pub keep: Duration,
}

/// What the daemon says of itself while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// The form.
    pub format: OutputFormat,
    /// How much.
    pub level: tracing::Level,
}

/// The form of the daemon's own log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place. Unknown keys and values of the wrong
    /// kind are reported before values that are out of range, and those before conflicts.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        Self::from_settings(&Settings::resolve(KEYS, sources)?)
    }

    /// Checks settings that were already found.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigErrors> {
        read::config(settings)
    }
}
