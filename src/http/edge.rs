//! What every route shares: the engine, the limits and the ways to call the engine from async code.
//!
//! The edge knows neither the configuration file nor where randomness comes from: its options are
//! plain values, and new keys are drawn by a function that it is given.

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::engine::{Changed, Command, Engine, RequestIdentity};
use crate::http::query::Parameters;
use crate::http::reply::{ApiError, Failure};
use crate::model::{BrandId, BusinessId, KeyDigest, KeyId};

/// Reads of the disk at a time; more wait. Each may keep a core busy, and the committer needs one.
const READS_MAX: usize = 2;

/// The limits and names of the edge.
#[derive(Clone, Debug)]
pub struct EdgeOptions {
    /// The business that objects name.
    pub business_id: BusinessId,
    /// The brand that some objects name.
    pub brand_id: BrandId,
    /// Names that a `Host` header may have beside the loopback ones and the listener's own address.
    /// A name without a port stands for itself and for itself with the listener's port.
    pub hosts: Vec<String>,
    /// Whether `/metrics` needs no key.
    pub metrics_open: bool,
    /// Whether the clock is a test clock, so that `/clock` exists.
    pub test_clock: bool,
    /// Connections at a time; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Bytes of ingest bodies that may be on their way to an answer; further requests wait for a moment
    /// and then get 503.
    pub ingest_queue_bytes: usize,
    /// Bytes of one ingest body; more is 413.
    pub ingest_body_bytes_max: usize,
    /// From a head's first byte to its last.
    pub head_timeout: Duration,
    /// From a head's end to the body's end.
    pub body_timeout: Duration,
    /// How long a connection may stay open between requests.
    pub idle_timeout: Duration,
    /// How long requests may take to finish once the daemon stops.
    pub shutdown_grace: Duration,
    /// Whether webhook endpoints may be on this machine, and be reached without TLS there.
    pub webhooks_allow_loopback: bool,
    /// The settings for people to look at; nothing secret is among them.
    pub settings: Vec<ShownSetting>,
}

/// A setting for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownSetting {
    /// Its name, `section.key`.
    pub name: &'static str,
    /// Its value as the configuration file has it.
    pub value: String,
    /// The layer that it comes from.
    pub layer: Layer,
    /// Where in that layer.
    pub origin: String,
}

/// What settings come from; each wins over those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Nobody has said anything.
    Default,
    /// A file.
    File,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

/// A key that was drawn for a client.
#[derive(Clone)]
pub struct NewKeyText {
    /// The public part.
    pub id: KeyId,
    /// The whole text, shown once.
    pub text: String,
    /// The keyed digest of the text.
    pub digest: KeyDigest,
}

/// Draws a key.
pub type KeyMaker = Box<dyn Fn() -> NewKeyText + Send + Sync>;

/// The edge of one daemon.
pub struct Edge {
    pub(crate) options: EdgeOptions,
    pub(crate) engine: Engine,
    pub(crate) key_maker: KeyMaker,
    /// One permit a byte of `ingest_queue_bytes`.
    pub(crate) ingest_bytes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    preparations: Arc<Semaphore>,
    draining: AtomicBool,
}

impl Edge {
    /// The edge of `engine`; `key_maker` draws the keys that clients ask for.
    pub fn new(options: EdgeOptions, engine: Engine, key_maker: KeyMaker) -> Self {
        let ingest_bytes = options.ingest_queue_bytes.min(Semaphore::MAX_PERMITS);
        Self {
            engine,
            key_maker,
            ingest_bytes: Arc::new(Semaphore::new(ingest_bytes)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            preparations: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(1, NonZero::get),
            )),
            draining: AtomicBool::new(false),
            options,
        }
    }

    /// Has the committer decide on `command`, and waits until the outcome is durable.
    pub(crate) async fn change(
        &self,
        command: Command,
        identity: Option<RequestIdentity>,
    ) -> Result<Changed, Failure> {
        let (answer, answered) = oneshot::channel();
        // A client that hung up loses its answer and nothing else.
        self.engine.change(command, identity, move |result| drop(answer.send(result)));
        match answered.await {
            Ok(result) => Ok(result?),
            Err(_log_failed) => Err(Failure::NoAnswer),
        }
    }

    /// Runs a read of the engine that may touch the disk, off the threads that serve sockets.
    pub(crate) async fn read<T, W>(&self, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(&Engine) -> T + Send + 'static,
    {
        self.run_beside(&self.reads, work).await
    }

    /// Runs the long work of an ingest request off the threads that serve sockets, as many at once as
    /// there are processors: whoever asks for little must not wait behind it.
    pub(crate) async fn prepare<T, W>(&self, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(&Engine) -> T + Send + 'static,
    {
        self.run_beside(&self.preparations, work).await
    }

    async fn run_beside<T, W>(&self, places: &Arc<Semaphore>, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(&Engine) -> T + Send + 'static,
    {
        let places = Arc::clone(places);
        let place = places.acquire_owned().await.expect("this semaphore is never closed");
        let engine = self.engine.clone();
        let running = tokio::task::spawn_blocking(move || {
            let result = work(&engine);
            drop(place);
            result
        });
        match running.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(result) => Ok(result),
            // To the handler's own guard, which answers and logs it like any other panic.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_runtime_stops)) => Err(ApiError::busy("the daemon stops").into()),
        }
    }

    /// Whether a list asks for our one brand, or for any.
    ///
    /// # Errors
    /// 422 when it asks for two.
    pub(crate) fn is_our_brand(&self, parameters: &Parameters) -> Result<bool, ApiError> {
        let wanted = parameters.text("brand_id")?;
        Ok(wanted.is_none_or(|wanted| wanted == self.options.brand_id.as_str()))
    }

    /// Says that no new connections are served.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether no new connections are served.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("options", &self.options).finish_non_exhaustive()
    }
}

impl fmt::Debug for NewKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKeyText").field("id", &self.id).finish_non_exhaustive()
    }
}
