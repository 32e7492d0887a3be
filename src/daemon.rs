//! The daemon: a configuration becomes a world, an engine and an edge, and they end in order.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::billing::PastDueEnd;
use crate::config::{self, Config, Origin};
use crate::engine::machine::{Fatal, Machine};
use crate::engine::options::{Collection, Options, PastDue, UnknownCustomers};
use crate::engine::recover::{self, Recovered};
use crate::engine::threads::Threads;
use crate::engine::{Engine, key};
use crate::http::{Edge, EdgeOptions, Layer, NewKeyText, ShownSetting, serve as serve_http};
use crate::metering::Rules;
use crate::model::{Causes, Settings, Timestamp};
use crate::storage::log::Durability;
use crate::world::World;
use crate::world::clock::{Clock, SystemClock, TestClock};
use crate::world::disk::{Disk, read_all, replace};
use crate::world::entropy::SystemEntropy;
use crate::world::open_files;
use crate::world::real_disk::Directory;

/// The file of the data directory that holds the key drawn on the first start.
pub const KEY_FILE: &str = "api-key";

/// Where the first admin key comes from.
#[derive(Debug)]
pub enum KeySource {
    /// The text itself, from the environment.
    Environment(String),
    /// A file that the configuration names.
    File(PathBuf),
    /// A file of the data directory, written on the first start.
    DataDirectory,
}

/// Everything `quipu serve` is told.
#[derive(Debug)]
pub struct Orders {
    /// The configuration.
    pub config: Config,
    /// The settings that it was read from.
    pub settings: config::Settings,
    /// Where the first admin key comes from.
    pub key_source: KeySource,
    /// The test clock's start, when there is one.
    pub test_clock: Option<Timestamp>,
}

/// How a daemon that was started came to its end.
#[derive(Debug)]
pub enum End {
    /// It was asked to stop, and did so in order.
    Stopped,
    /// A write or a job failed: nothing was acknowledged after it.
    Failed(Fatal),
}

/// Runs the daemon until it is asked to stop or fails.
///
/// # Errors
/// When it could not start; nothing was served then.
pub fn serve(orders: &Orders) -> anyhow::Result<End> {
    let config = &orders.config;
    let system = SystemClock;
    let started = system.since_boot();
    // Before anything is opened: each segment of the log is a file.
    let files_max = open_files::raise_limit();
    let directory = Directory::open(&config.data.directory)?;
    let disk: Arc<dyn Disk> = Arc::new(directory);
    let entropy = SystemEntropy;
    let (key_text, key_path) = admin_key(&orders.key_source, config, &*disk)?;
    let test_clock = orders.test_clock.map(|start| Arc::new(TestClock::new(start)));
    let clock: Arc<dyn Clock> = match &test_clock {
        Some(clock) => Arc::<TestClock>::clone(clock),
        None => Arc::new(system),
    };
    let world = World { clock, disk, entropy: Arc::new(entropy) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime
        .block_on(TcpListener::bind(config.listen.address))
        .with_context(|| format!("listen on {}", config.listen.address))?;
    let is_test = test_clock.is_some();
    let Recovered { machine, .. } = recover::open(world, test_clock, options(config, key_text))?;
    let engine = Engine::new(Arc::clone(&machine.shared));
    let took = system.since_boot().saturating_sub(started);
    announce(config, listener.local_addr()?, took, &key_path)?;
    let threads = Threads::start(machine);
    let makes_keys = engine.clone();
    let key_maker = Box::new(move || {
        let (id, text) = key::draw(&SystemEntropy);
        let digest = makes_keys.key_digest(&text);
        NewKeyText { id, text, digest }
    });
    let mut edge_options = edge_options(config, is_test);
    edge_options.settings = shown_settings(orders, &key_path);
    edge_options.connections_max = bounded_connections(edge_options.connections_max, files_max);
    let edge = Arc::new(Edge::new(edge_options, engine, key_maker));
    let failed = runtime.block_on(run(listener, edge, &threads));
    // Reads that are still under way have nobody to answer.
    runtime.shutdown_background();
    match failed {
        Some(fatal) => Ok(End::Failed(fatal)),
        None => Ok(match threads.stop().and_then(Machine::shut_down) {
            Ok(()) => End::Stopped,
            Err(fatal) => End::Failed(fatal),
        }),
    }
}

/// So many connections that the files of the data directory can always be opened: half of what the
/// process may have open is theirs.
fn bounded_connections(wanted: usize, files_max: usize) -> usize {
    let bound = (files_max / 2).max(1);
    if wanted > bound {
        tracing::warn!(wanted, bound, "the limit of open files allows fewer connections");
    }
    wanted.min(bound)
}

/// Serves until asked to stop, and drains; or says at once what has failed.
async fn run(listener: TcpListener, edge: Arc<Edge>, threads: &Threads) -> Option<Fatal> {
    let failures = threads.failures();
    let (failed, failure) = oneshot::channel();
    // A blocking wait of its own, because the engine's channels are not the runtime's.
    std::thread::spawn(move || drop(failures.recv().map(|fatal| failed.send(fatal))));
    let serving = serve_http(listener, edge, asked_to_stop());
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                tracing::error!(error = %Causes(&error), "serve");
            }
            None
        }
        Ok(fatal) = failure => Some(fatal),
    }
}

/// Waits for SIGTERM or SIGINT; a second one ends the process at once.
async fn asked_to_stop() {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be watched");
        return;
    };
    either(&mut term, &mut int).await;
    tracing::info!("asked to stop: draining");
    tokio::spawn(async move {
        either(&mut term, &mut int).await;
        std::process::exit(1);
    });
}

async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// The first admin key's text, and the file that holds it.
fn admin_key(
    source: &KeySource,
    config: &Config,
    disk: &dyn Disk,
) -> anyhow::Result<(String, String)> {
    match source {
        KeySource::Environment(text) => Ok((text.clone(), "QUIPU_API_KEY".to_owned())),
        KeySource::File(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read the API key in {}", path.display()))?;
            let text = text.trim().to_owned();
            anyhow::ensure!(!text.is_empty(), "the API key file {} is empty", path.display());
            Ok((text, path.display().to_string()))
        }
        KeySource::DataDirectory => {
            let path = config.data.directory.join(KEY_FILE);
            let text = stored_key(disk)
                .with_context(|| format!("keep the API key in {}", path.display()))?;
            Ok((text, path.display().to_string()))
        }
    }
}

fn stored_key(disk: &dyn Disk) -> io::Result<String> {
    match read_all(disk, KEY_FILE) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
            let text = text.trim().to_owned();
            if text.is_empty() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(text) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (_, text) = key::draw(&SystemEntropy);
            replace(disk, KEY_FILE, format!("{text}\n").as_bytes())?;
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

/// The one line that says where everything is.
fn announce(config: &Config, address: SocketAddr, took: Duration, key: &str) -> io::Result<()> {
    let directory: &Path = &config.data.directory;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "quipu {} serves http://{address} from {}, recovered in {} ms, API key in {key}",
        env!("CARGO_PKG_VERSION"),
        directory.display(),
        took.as_millis(),
    )?;
    out.flush()
}

fn options(config: &Config, key_text: String) -> Options {
    Options {
        rules: Rules { max_age: config.ingest.max_age, max_ahead: config.ingest.max_ahead },
        unknown_customers: match config.ingest.unknown_customers {
            config::UnknownCustomers::Create => UnknownCustomers::Create,
            config::UnknownCustomers::Reject => UnknownCustomers::Reject,
        },
        settings: Settings {
            numeric_strings: config.ingest.numeric_strings,
            credit_order: config.credit_order,
        },
        reservations_max: config.reservations_max,
        grace: config.billing_grace,
        collection: match config.collection {
            config::Collection::Automatic => Collection::Automatic,
            config::Collection::Manual => Collection::Manual,
        },
        past_due: config.past_due.map(|past_due| PastDue {
            grace: past_due.grace,
            end: match past_due.end {
                config::PastDueEnd::Hold => PastDueEnd::Hold,
                config::PastDueEnd::Cancel => PastDueEnd::Cancel,
            },
        }),
        durability: match config.log.durability {
            config::Durability::Commit => Durability::Commit,
            config::Durability::Interval(every) => Durability::Interval(every),
        },
        segment_bytes: config.log.segment_bytes,
        dedupe_window: config.dedupe.window.unwrap_or(Duration::ZERO),
        generation_ids: config.dedupe.generation_ids,
        checkpoint_events: config.checkpoint.events,
        checkpoint_interval: config.checkpoint.interval,
        reserve_bytes: config.data.reserve_bytes,
        history_keep: config.history.keep,
        history_bytes_max: config.history.bytes_max,
        webhook_keep: config.webhooks.keep,
        configured_keys: vec![key_text],
        ..Options::default()
    }
}

/// The limits of the edge that the configuration asks for.
pub(crate) fn edge_options(config: &Config, test_clock: bool) -> EdgeOptions {
    EdgeOptions {
        business_id: config.business_id.clone(),
        brand_id: config.brand_id.clone(),
        hosts: config.listen.hosts.clone(),
        metrics_open: config.metrics_open,
        test_clock,
        connections_max: config.listen.connections_max,
        ingest_queue_bytes: config.ingest.queue_bytes,
        ingest_body_bytes_max: config.ingest.max_body,
        head_timeout: config.listen.header_timeout,
        body_timeout: config.listen.body_timeout,
        idle_timeout: config.listen.idle_timeout,
        shutdown_grace: config.listen.shutdown_grace,
        webhooks_allow_loopback: config.webhooks.allow_loopback,
        settings: Vec::new(),
    }
}

/// The settings for people to look at, and the two that stand in no file: where the first key comes from,
/// which is never shown itself, and the test clock.
fn shown_settings(orders: &Orders, key_path: &str) -> Vec<ShownSetting> {
    let layer = |origin: &Origin| match origin {
        Origin::Default => Layer::Default,
        Origin::File { .. } => Layer::File,
        Origin::Environment(_) => Layer::Environment,
        Origin::Flag(_) => Layer::Flag,
    };
    let shown = orders.settings.iter().map(|setting| ShownSetting {
        name: setting.key.name,
        value: setting.value.to_string(),
        layer: layer(&setting.origin),
        origin: setting.origin.to_string(),
    });
    let (layer, origin) = match &orders.key_source {
        KeySource::Environment(_) => {
            (Layer::Environment, format!("environment variable {key_path}"))
        }
        KeySource::File(_) | KeySource::DataDirectory => (Layer::File, key_path.to_owned()),
    };
    let key = ShownSetting { name: "first admin key", value: "hidden".to_owned(), layer, origin };
    let clock = orders.test_clock.map(|start| ShownSetting {
        name: "test clock",
        value: format!("began at {start}"),
        layer: Layer::Flag,
        origin: "flag --test-clock".to_owned(),
    });
    shown.chain([key]).chain(clock).collect()
}
