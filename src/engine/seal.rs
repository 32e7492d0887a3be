//! Moves segments of the log that are full and below the checkpoint into history, a file at a time,
//! and takes files out of history that were kept long enough. After a start it first outlines the log.
//!
//! It is deferred while the engine is busy: packing an event costs more than taking it in. What waits
//! is in the log and stays readable there. A file that fails is begun anew later; the log keeps what
//! history does not have yet, so that nothing depends on when this is done.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::backfill::Backfills;
use crate::engine::forgotten::Gatherer;
use crate::engine::outline::CatchUp;
use crate::engine::record::{Body, Entry, PayloadError, decode_payload, encode_entry};
use crate::engine::shared::Shared;
use crate::model::{Causes, Lsn};
use crate::storage::history::{self, Progress, Record, Retention, Stored, Writer};
use crate::storage::index::IdHasher;
use crate::storage::log::{self, Frame};

/// Events and other records that one step packs: some milliseconds.
const STEP_RECORDS: u64 = 8 * 1024;
/// A file takes another segment while it holds fewer: the tables of a file are made in memory.
const FILE_RECORDS: u64 = 1 << 20;
/// How long after a failure the next attempt is made.
const RETRY: Duration = Duration::from_mins(1);
/// How often it is asked whether files are old enough.
const RETENTION_EVERY: Duration = Duration::from_mins(1);
/// From this many events a second on the engine counts as busy, …
const BUSY_EVENTS_PER_SECOND: u64 = 50_000;
/// … as measured over this long.
const BUSY_OVER: Duration = Duration::from_millis(500);
/// Free space below this many times the reserve ends the deferring.
const RESERVES_LEFT: u64 = 4;

/// Why a file of history was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// History cannot be written or read.
    #[error("write history")]
    History(#[from] history::Error),
    /// The log cannot be read.
    #[error("read the log")]
    Log(#[from] log::ReadError),
    /// The log holds something else than records.
    #[error("decode the log")]
    Payload(#[from] PayloadError),
    /// Records between history and the log are gone.
    #[error("history ends at lsn {history}, and the log begins at lsn {log}")]
    Gap {
        /// The last LSN of history.
        history: Lsn,
        /// The first LSN of the log.
        log: Lsn,
    },
}

/// The job; see the module.
#[derive(Debug)]
pub struct Sealer {
    shared: Arc<Shared>,
    writing: Option<Writing>,
    /// Before anything else: what is packed next is listed as quickly as what comes in.
    catch_up: Option<CatchUp>,
    /// Behind everything else.
    gatherer: Gatherer,
    load: Load,
    retry_at: Duration,
    retention_at: Duration,
}

/// A file that is being made of the records up to `last_lsn`.
#[derive(Debug)]
struct Writing {
    writer: Writer,
    last_lsn: Lsn,
}

/// How many events came since the last look.
#[derive(Debug, Default)]
struct Load {
    since: Duration,
    lsn: Lsn,
    is_busy: bool,
}

impl Load {
    /// Looks at the last LSN `now`, and says whether the engine is busy.
    fn observe(&mut self, now: Duration, lsn: Lsn) -> bool {
        let passed = now.saturating_sub(self.since);
        if passed >= BUSY_OVER {
            let records = u128::from(lsn.0.saturating_sub(self.lsn.0));
            let at_most = passed.as_micros() * u128::from(BUSY_EVENTS_PER_SECOND) / 1_000_000;
            *self = Self { since: now, lsn, is_busy: records > at_most };
        }
        self.is_busy
    }
}

impl Sealer {
    /// A job that goes on where history ends. Made before anything is written.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            catch_up: Some(CatchUp::new(&shared)),
            shared,
            writing: None,
            gatherer: Gatherer::default(),
            load: Load::default(),
            retry_at: Duration::ZERO,
            retention_at: Duration::ZERO,
        }
    }

    /// Does the next bounded piece of work; false when there is nothing to do now.
    ///
    /// # Errors
    /// [`Error`]; the unfinished file is given up, and begun anew some time later.
    pub fn step(&mut self) -> Result<bool, Error> {
        let now = self.shared.world.clock.since_boot();
        if now < self.retry_at {
            return Ok(false);
        }
        let stepped = self.advance(now);
        if stepped.is_err() {
            self.retry_at = now + RETRY;
        }
        stepped
    }

    fn advance(&mut self, now: Duration) -> Result<bool, Error> {
        if let Some(catch_up) = self.catch_up.take() {
            self.catch_up = catch_up.step::<Error>(&self.shared)?;
            return Ok(true);
        }
        if now >= self.retention_at {
            self.retention_at = now + RETENTION_EVERY;
            // What cannot be removed today may go tomorrow; packing does not wait for it.
            if let Err(error) = self.remove_expired() {
                tracing::warn!(error = %Causes(&error), "remove old history");
            }
        }
        if self.is_deferred(now) {
            return Ok(false);
        }
        let Some(mut writing) = self.writing.take() else {
            self.writing = self.begin()?;
            return if self.writing.is_some() {
                Ok(true)
            } else {
                self.gatherer.step(&self.shared)
            };
        };
        if writing.writer.next_lsn() <= writing.last_lsn {
            writing.fill(&self.shared)?;
            self.writing = Some(writing);
            return Ok(true);
        }
        match writing.writer.finish_step()? {
            Progress::Working => self.writing = Some(writing),
            Progress::Done => {
                self.shared.outline.forget_through(writing.last_lsn);
                self.shared.forgotten.forget_through(writing.last_lsn);
            }
        }
        Ok(true)
    }

    fn is_deferred(&mut self, now: Duration) -> bool {
        let shared = &self.shared;
        if !self.load.observe(now, shared.state.applied()) {
            return false;
        }
        let free_bytes = shared.world.disk.free_bytes().unwrap_or(0);
        free_bytes >= shared.options.reserve_bytes.saturating_mul(RESERVES_LEFT)
    }

    /// Begins a file with the oldest segments that may leave the log.
    fn begin(&self) -> Result<Option<Writing>, Error> {
        let history = &self.shared.history;
        let segments = self.shared.log.segments();
        let ends = segments.iter().skip(1).map(|next| next.first_lsn.previous());
        let Some(oldest) = segments.first() else { return Ok(None) };
        let first_lsn = match history.last_lsn() {
            Lsn::ZERO => oldest.first_lsn,
            last_lsn if oldest.first_lsn > last_lsn.next() => {
                return Err(Error::Gap { history: last_lsn, log: oldest.first_lsn });
            }
            last_lsn => last_lsn.next(),
        };
        let needed_from = self.shared.needed_from();
        let is_done = |last_lsn: &Lsn| *last_lsn >= first_lsn && *last_lsn < needed_from;
        let ends: Vec<Lsn> = ends.filter(is_done).collect();
        let fits = |last_lsn: &&Lsn| last_lsn.0 - first_lsn.0 < FILE_RECORDS;
        let Some(last_lsn) = ends.iter().rev().find(fits).or(ends.first()) else {
            return Ok(None);
        };
        Ok(Some(Writing { writer: history.writer(first_lsn)?, last_lsn: *last_lsn }))
    }

    fn remove_expired(&self) -> Result<(), Error> {
        // Ages are told by log time, and only when the clock behind it is trusted. A new meter counts
        // the events that were there when it was made.
        let state = &self.shared.state;
        // Before the doubt, which is there before a time that is in doubt.
        let now = state.log_time();
        if self.shared.clock_in_doubt() || state.with_backfills(Backfills::are_any_pending) {
            return Ok(());
        }
        let options = &self.shared.options;
        let retention =
            Retention { keep: options.history_keep, bytes_max: options.history_bytes_max };
        let floor = self.shared.needed_from();
        let history = &self.shared.history;
        let expired = history::expired(&history.files(), &retention, now, floor);
        Ok(history.remove(&expired)?)
    }
}

/// How a visit of the log ends early.
enum Ended {
    Filled,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<log::ReadError> for Ended {
    fn from(error: log::ReadError) -> Self {
        Self::Failed(error.into())
    }
}

impl Writing {
    /// Packs the next records of the log.
    fn fill(&mut self, shared: &Shared) -> Result<(), Error> {
        let enough = self.writer.next_lsn().plus(STEP_RECORDS);
        let lsns = self.writer.next_lsn()..=self.last_lsn;
        let visited = shared.log.visit(lsns, |frame| {
            pack(&mut self.writer, &frame, &shared.hasher)?;
            if self.writer.next_lsn() >= enough { Err(Ended::Filled) } else { Ok(()) }
        });
        match visited {
            Ok(()) | Err(Ended::Filled) => Ok(()),
            Err(Ended::Failed(error)) => Err(error),
        }
    }
}

fn pack(writer: &mut Writer, frame: &Frame<'_>, hasher: &IdHasher) -> Result<(), Error> {
    let mut lsn = frame.first_lsn;
    for entry in decode_payload(frame.payload)? {
        let next = lsn.plus(entry.body.lsn_count());
        match &entry.body {
            Body::Events(events) => {
                for (encoded, lsn) in events.events.iter().zip((lsn.0..).map(Lsn)) {
                    let (received_at, event) = (events.received_at, events.event(encoded)?);
                    let hash = hasher.hash(encoded.id);
                    writer.event(&Stored { lsn, received_at, event }, hash)?;
                }
            }
            Body::Change(_)
            | Body::ClockSet(_)
            | Body::Backfilled(_)
            | Body::PeriodTurned(_)
            | Body::CycleClosed(_)
            | Body::PaymentMarked(_)
            | Body::CreditsMoved(_)
            | Body::AlertsFired(_)
            | Body::WebhookSettled(_) => {
                record(writer, lsn, &entry)?;
            }
        }
        lsn = next;
    }
    Ok(())
}

fn record(writer: &mut Writer, lsn: Lsn, entry: &Entry<'_>) -> Result<(), Error> {
    let mut payload = Vec::new();
    encode_entry(entry, &mut payload);
    Ok(writer.record(&Record { lsn, log_time: entry.log_time, payload: &payload })?)
}
