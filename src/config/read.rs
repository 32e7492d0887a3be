//! From settings, which are text and numbers, to a checked [`Config`].
//!
//! Each value is read by itself first; only when all are good are they held against each other.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tracing::Level;

use crate::config::problem::shortened;
use crate::config::{
    Checkpoint, Collection, Config, ConfigError, ConfigErrors, Data, Dedupe, Durability, History,
    HumanDuration, Ingest, Listen, Log, Output, OutputFormat, PastDue, PastDueEnd, Problem,
    Setting, Settings, UnknownCustomers, Value, Webhooks,
};
use crate::model::credit::GrantOrder;
use crate::model::{BrandId, BusinessId};

/// How long a subscription may be past due; what Dodo allows.
const PAST_DUE_GRACE: RangeInclusive<Duration> =
    Duration::from_hours(24)..=Duration::from_hours(720);
/// What `billing.grace` adds to `ingest.max_age` when it is not set: time for requests that were
/// stamped at the door, just young enough, and waited for the committer.
const GRACE_BEYOND_MAX_AGE: Duration = Duration::from_mins(10);
/// A message is tried for the last time 28 hours after the first.
const WEBHOOK_KEEP_MIN: Duration = Duration::from_hours(48);
/// A century: nobody waits longer, and any instant that the clock shows can be moved by it.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);
/// Frames start at boundaries of this many bytes.
const SECTOR_BYTES: u64 = 512;
/// A request stands in one frame, with a header and what it creates, and a frame in one segment.
const BODIES_PER_SEGMENT_MIN: u64 = 2;
/// A request is one frame of the log, of at most 16 MiB; encoded it is never twice as long as its body.
const BODY_BYTES_MAX: u64 = 8 << 20;
/// Open reservations are in memory, 400 bytes each.
const RESERVATIONS_MAX: u64 = 10_000_000;

/// The configuration that `settings` make, or everything that is wrong with them.
pub(super) fn config(settings: &Settings) -> Result<Config, ConfigErrors> {
    let mut reader = Reader { settings, errors: Vec::new() };
    let ingest = reader.ingest();
    let config =
        Config {
            listen: reader.listen(),
            data: reader.data(),
            business_id: BusinessId::new(reader.id("business.id")),
            brand_id: BrandId::new(reader.id("brand.id")),
            api_key_file: reader.api_key_file(),
            metrics_open: reader.boolean("metrics.open"),
            ingest,
            dedupe: reader.dedupe(),
            log: reader.log(),
            checkpoint: reader.checkpoint(),
            history: reader.history(),
            credit_order: reader.credit_order(),
            reservations_max: reader.number("credits.reservations_max", 0, RESERVATIONS_MAX),
            billing_grace: reader.billing_grace(ingest.max_age),
            collection: reader.text("billing.collection", "\"auto\" or \"manual\"", |text| {
                match text {
                    "auto" => Some(Collection::Automatic),
                    "manual" => Some(Collection::Manual),
                    _ => None,
                }
            }),
            past_due: reader.past_due(),
            webhooks: reader.webhooks(),
            output: reader.output(),
        };
    if reader.errors.is_empty() {
        reader.find_conflicts(&config);
    }
    if reader.errors.is_empty() { Ok(config) } else { Err(ConfigErrors(reader.errors)) }
}

/// Turns settings into values of their types. A value that cannot be one is noted, and the default
/// takes its place until all are read.
struct Reader<'a> {
    settings: &'a Settings,
    errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    fn listen(&mut self) -> Listen {
        Listen {
            address: self.text(
                "listen.address",
                "an IP address and port such as \"127.0.0.1:4646\"",
                |text| text.parse().ok(),
            ),
            hosts: self.hosts(),
            connections_max: self.number("listen.connections_max", 1, 1_000_000),
            header_timeout: self.some_time("listen.header_timeout"),
            body_timeout: self.some_time("listen.body_timeout"),
            idle_timeout: self.some_time("listen.idle_timeout"),
            shutdown_grace: self.any_time("listen.shutdown_grace"),
        }
    }

    fn hosts(&mut self) -> Vec<String> {
        let is_host_char = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let is_host = |host: &String| !host.is_empty() && host.bytes().all(is_host_char);
        let expected = "names such as \"usage.example.com\" or \"usage.example.com:8080\"";
        self.value("listen.hosts", expected, |value| match value {
            Value::List(hosts) if hosts.iter().all(is_host) => {
                Some(hosts.iter().map(|host| host.to_ascii_lowercase()).collect())
            }
            Value::List(_) | Value::Text(_) | Value::Integer(_) | Value::Boolean(_) => None,
        })
    }

    fn data(&mut self) -> Data {
        Data {
            directory: self.text("data.directory", "the path of a directory", |text| {
                (!text.is_empty()).then(|| PathBuf::from(text))
            }),
            reserve_bytes: self.number("data.reserve_bytes", 0, u64::MAX),
        }
    }

    fn api_key_file(&mut self) -> Option<PathBuf> {
        self.text("auth.api_key_file", "the path of a file, or nothing", |text| {
            Some((!text.is_empty()).then(|| PathBuf::from(text)))
        })
    }

    fn ingest(&mut self) -> Ingest {
        Ingest {
            max_body: self.number("ingest.max_body", 1_024, BODY_BYTES_MAX),
            max_age: self.some_time("ingest.max_age"),
            max_ahead: self.any_time("ingest.max_ahead"),
            unknown_customers: self.text(
                "ingest.unknown_customers",
                "\"create\" or \"reject\"",
                |text| match text {
                    "create" => Some(UnknownCustomers::Create),
                    "reject" => Some(UnknownCustomers::Reject),
                    _ => None,
                },
            ),
            numeric_strings: self.boolean("ingest.numeric_strings"),
            queue_bytes: self.number("ingest.queue_bytes", 1_024, 1 << 40),
        }
    }

    fn dedupe(&mut self) -> Dedupe {
        let window = self.any_time("dedupe.window");
        Dedupe {
            window: (!window.is_zero()).then_some(window),
            // More than 100 million of 28 bytes, three times over, is beyond any sensible memory.
            // A generation must hold the largest request.
            generation_ids: self.number("dedupe.generation_ids", 1_000, 100_000_000),
        }
    }

    fn log(&mut self) -> Log {
        let interval = self.some_time("log.interval");
        Log {
            durability: self.text(
                "log.durability",
                "\"commit\" or \"interval\"",
                |text| match text {
                    "commit" => Some(Durability::Commit),
                    "interval" => Some(Durability::Interval(interval)),
                    _ => None,
                },
            ),
            segment_bytes: self.number("log.segment_bytes", 64 << 10, 1 << 30),
        }
    }

    fn history(&mut self) -> History {
        let bytes_max = self.number("history.bytes_max", 0, u64::MAX);
        History {
            keep: self.some_time("history.keep"),
            bytes_max: (bytes_max > 0).then_some(bytes_max),
        }
    }

    fn checkpoint(&mut self) -> Checkpoint {
        Checkpoint {
            events: self.number("checkpoint.events", 1, u64::MAX),
            interval: self.some_time("checkpoint.interval"),
        }
    }

    fn credit_order(&mut self) -> GrantOrder {
        let wish = "\"oldest_first\" or \"expires_first\"";
        self.text("credits.order", wish, |text| match text {
            "oldest_first" => Some(GrantOrder::OldestFirst),
            "expires_first" => Some(GrantOrder::ExpiresFirst),
            _ => None,
        })
    }

    fn billing_grace(&mut self, max_age: Duration) -> Duration {
        let default = max_age.saturating_add(GRACE_BEYOND_MAX_AGE);
        self.text("billing.grace", "a length of time such as \"70m\", or nothing", |text| {
            if text.is_empty() { Some(default) } else { duration(text) }
        })
    }

    fn past_due(&mut self) -> Option<PastDue> {
        let wish = "a length of time from \"1d\" to \"30d\", or \"0\"";
        let grace = self.text("billing.past_due_grace", wish, |text| {
            duration(text).filter(|grace| grace.is_zero() || PAST_DUE_GRACE.contains(grace))
        });
        let end =
            self.text("billing.past_due_action", "\"on_hold\" or \"cancel\"", |text| match text {
                "on_hold" => Some(PastDueEnd::Hold),
                "cancel" => Some(PastDueEnd::Cancel),
                _ => None,
            });
        (!grace.is_zero()).then_some(PastDue { grace, end })
    }

    fn webhooks(&mut self) -> Webhooks {
        let wish = "a length of time from \"2d\" to \"36500d\"";
        Webhooks {
            allow_loopback: self.boolean("webhooks.allow_loopback"),
            keep: self.text("webhooks.keep", wish, |text| {
                duration(text).filter(|keep| *keep >= WEBHOOK_KEEP_MIN)
            }),
        }
    }

    fn output(&mut self) -> Output {
        Output {
            format: self.text(
                "output.format",
                "\"auto\", \"human\" or \"json\"",
                |text| match text {
                    "auto" => Some(OutputFormat::Auto),
                    "human" => Some(OutputFormat::Human),
                    "json" => Some(OutputFormat::Json),
                    _ => None,
                },
            ),
            level: self.text(
                "output.level",
                "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
                |text| match text {
                    "error" => Some(Level::ERROR),
                    "warn" => Some(Level::WARN),
                    "info" => Some(Level::INFO),
                    "debug" => Some(Level::DEBUG),
                    "trace" => Some(Level::TRACE),
                    _ => None,
                },
            ),
        }
    }

    fn find_conflicts(&mut self, config: &Config) {
        let Config { listen, ingest, log, billing_grace, .. } = config;
        if !listen.address.ip().is_loopback() && !self.boolean("listen.insecure") {
            let conflict = format!(
                "{} can be reached from other machines, and keys would cross the network in the \
                 open; listen on 127.0.0.1 behind a proxy that speaks TLS, or say listen.insecure \
                 = true",
                listen.address
            );
            self.conflict("listen.address", conflict);
        }
        if ingest.queue_bytes < ingest.max_body {
            let conflict = format!(
                "{} is less than ingest.max_body, {}: no request of that size could be admitted",
                ingest.queue_bytes, ingest.max_body
            );
            self.conflict("ingest.queue_bytes", conflict);
        }
        if !log.segment_bytes.is_multiple_of(SECTOR_BYTES) {
            let conflict = format!("{} is not a multiple of {SECTOR_BYTES}", log.segment_bytes);
            self.conflict("log.segment_bytes", conflict);
        }
        if log.segment_bytes < (ingest.max_body as u64).saturating_mul(BODIES_PER_SEGMENT_MIN) {
            let conflict = format!(
                "{} is less than {BODIES_PER_SEGMENT_MIN} times ingest.max_body, {}: a request of \
                 that size might not fit into a segment",
                log.segment_bytes, ingest.max_body
            );
            self.conflict("log.segment_bytes", conflict);
        }
        if *billing_grace < ingest.max_age {
            let conflict = "it is shorter than ingest.max_age: a period would be closed while its \
                            events may still come";
            self.conflict("billing.grace", conflict.to_owned());
        }
    }

    /// At least a millisecond.
    fn some_time(&mut self, key: &'static str) -> Duration {
        self.text(key, "a length of time above zero such as \"90s\", at most \"36500d\"", |text| {
            duration(text).filter(|duration| !duration.is_zero())
        })
    }

    fn any_time(&mut self, key: &'static str) -> Duration {
        self.text(key, "a length of time such as \"90s\", at most \"36500d\", or \"0\"", duration)
    }

    fn id(&mut self, key: &'static str) -> String {
        let is_id_char = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        self.text(key, "1 to 64 letters, digits, _ or -", |text| {
            let is_id = (1..=64).contains(&text.len()) && text.bytes().all(is_id_char);
            is_id.then(|| text.to_owned())
        })
    }

    fn text<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.value(key, expected, |value| match value {
            Value::Text(text) => read(text),
            Value::Integer(_) | Value::Boolean(_) | Value::List(_) => None,
        })
    }

    fn number<T: TryFrom<u64>>(&mut self, key: &'static str, least: u64, most: u64) -> T {
        let expected = if most == u64::MAX {
            format!("a whole number from {least}")
        } else {
            format!("a whole number from {least} to {most}")
        };
        self.value(key, &expected, |value| match value {
            Value::Integer(number) if (least..=most).contains(number) => (*number).try_into().ok(),
            Value::Integer(_) | Value::Text(_) | Value::Boolean(_) | Value::List(_) => None,
        })
    }

    fn boolean(&mut self, key: &'static str) -> bool {
        self.value(key, "true or false", |value| match value {
            Value::Boolean(is_set) => Some(*is_set),
            Value::Text(_) | Value::Integer(_) | Value::List(_) => None,
        })
    }

    fn value<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let setting = self.setting(key);
        if let Some(value) = read(&setting.value) {
            return value;
        }
        let default = read(&setting.key.default.value()).expect("every default can be read");
        let found = shortened(&setting.value.to_string());
        let problem = Problem::Value { key, expected: expected.to_owned(), found };
        self.errors.push(ConfigError { origin: setting.origin.clone(), problem });
        default
    }

    fn conflict(&mut self, key: &'static str, conflict: String) {
        let origin = self.setting(key).origin.clone();
        self.errors.push(ConfigError { origin, problem: Problem::Conflict { key, conflict } });
    }

    fn setting(&self, key: &str) -> &'a Setting {
        self.settings.get(key).expect("every setting that is read stands in the table of keys")
    }
}

fn duration(text: &str) -> Option<Duration> {
    let duration = text.parse::<HumanDuration>().ok().map(Duration::from);
    duration.filter(|duration| *duration <= LONGEST)
}
