//! Refused events: what was wrong with the last ones, for whoever looks for a mistake.
//!
//! Best effort, and no part of what is promised: who refuses hands over a copy and goes on, whatever becomes
//! of it. What finds no room waits for nobody and is counted. The copies stand in a file of their own
//! ([`ring`](crate::storage::ring)), which no start reads, nothing syncs and `quipu verify` leaves alone.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::model::Timestamp;
use crate::storage::codec;
use crate::storage::ring::{Limits, Ring};
use crate::world::World;
use crate::world::sync::Mutex;
use crate::world::sync::atomic::{AtomicU64, Ordering};

/// The file is two segments of this name.
const NAME: &str = "refused";
/// How much is kept, and how long.
const LIMITS: Limits = Limits { segment_bytes_max: 8 << 20, keep: Duration::from_hours(7 * 24) };
/// Copies that wait to be written: with ten looks a second some thousands a second, which is 10 MB/s of the
/// largest.
const WAITING_MAX: usize = 256;
/// Bytes that are kept of an event.
pub const RAW_BYTES_MAX: usize = 4 << 10;

/// A refused event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedEvent {
    /// When the request was refused.
    pub at: Timestamp,
    /// The answer's status.
    pub status: u16,
    /// The answer's code.
    pub code: String,
    /// The rule that the event breaks, as in metrics, or what is wrong with the whole body.
    pub reason: String,
    /// What is wrong, for people.
    pub message: String,
    /// The offending field.
    pub field: Option<String>,
    /// The event's place in the request, from 0.
    pub event_index: Option<u64>,
    /// The event's id, when it has a text there.
    pub event_id: Option<String>,
    /// The event's customer, when it has a text there.
    pub customer_id: Option<String>,
    /// The event's name, when it has a text there.
    pub event_name: Option<String>,
    /// The event as it came, its first [`RAW_BYTES_MAX`] bytes; of a malformed body the part that is wrong.
    pub raw: String,
    /// How many bytes it had.
    pub raw_bytes: u64,
    /// The key that the request came with.
    pub key_id: String,
    /// What the client says that it is.
    pub user_agent: Option<String>,
}

/// Which refused events are asked for; every given field must match.
#[derive(Clone, Debug, Default)]
pub struct RefusedQuery {
    /// Of this customer.
    pub customer_id: Option<String>,
    /// Of this name.
    pub event_name: Option<String>,
    /// With this code or reason.
    pub code: Option<String>,
    /// Matching ones to skip.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
}

/// Why refused events could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read refused events")]
pub struct RefusedError(#[from] io::Error);

/// Where refused events go; see the module.
#[derive(Debug, Default)]
pub struct RefusedEvents {
    waiting: Mutex<Vec<RefusedEvent>>,
    /// Opened when it is first needed.
    file: Mutex<Option<Ring>>,
    kept: AtomicU64,
    dropped: AtomicU64,
}

impl RefusedEvents {
    /// Whether another copy finds room now; one that does not is counted.
    pub fn has_room(&self) -> bool {
        let has_room = self.waiting.lock().len() < WAITING_MAX;
        if !has_room {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Takes a copy, or drops it when there is no room.
    pub fn keep(&self, refused: RefusedEvent) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push(refused);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many copies were written since the start, and how many were lost.
    pub fn counts(&self) -> (u64, u64) {
        (self.kept.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }

    /// Writes what waits, and removes what is too old. What cannot be written is lost.
    ///
    /// # Errors
    /// The disk's.
    pub fn step(&self, world: &World) -> io::Result<()> {
        let mut file = self.file.lock();
        let waiting = std::mem::take(&mut *self.waiting.lock());
        if waiting.is_empty() {
            return match &mut *file {
                Some(ring) => ring.forget_old(world.clock.real()),
                None => Ok(()),
            };
        }
        let count = waiting.len() as u64;
        let contents = waiting.iter().map(|refused| {
            let mut content = Vec::new();
            codec::encode(refused, &mut content);
            content
        });
        let written =
            opened(&mut file, world).and_then(|ring| ring.append(world.clock.real(), contents));
        let counter = if written.is_ok() { &self.kept } else { &self.dropped };
        counter.fetch_add(count, Ordering::Relaxed);
        if written.is_err() {
            // Where it stands is not known any more: the next one opens it anew.
            *file = None;
        }
        written
    }

    fn read(&self, world: &World, query: &RefusedQuery) -> io::Result<Vec<RefusedEvent>> {
        self.step(world)?;
        let mut file = self.file.lock();
        let mut skip = query.offset;
        let mut found = Vec::new();
        if query.limit == 0 {
            return Ok(found);
        }
        opened(&mut file, world)?.visit_back(world.clock.real(), |content| {
            // One of another version is skipped.
            let Ok(refused) = codec::decode::<RefusedEvent>(content) else {
                return ControlFlow::Continue(());
            };
            if !query.wants(&refused) {
                return ControlFlow::Continue(());
            }
            if skip > 0 {
                skip -= 1;
            } else {
                found.push(refused);
            }
            if found.len() < query.limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(found)
    }
}

fn opened<'f>(file: &'f mut Option<Ring>, world: &World) -> io::Result<&'f mut Ring> {
    match file {
        Some(ring) => Ok(ring),
        None => Ok(file.insert(Ring::open(Arc::clone(&world.disk), NAME, LIMITS)?)),
    }
}

impl RefusedQuery {
    fn wants(&self, refused: &RefusedEvent) -> bool {
        let is =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let has_code = |code: &String| *code == refused.code || *code == refused.reason;
        is(&self.customer_id, &refused.customer_id)
            && is(&self.event_name, &refused.event_name)
            && self.code.as_ref().is_none_or(has_code)
    }
}

impl Engine {
    /// Where copies of refused events go.
    pub fn refused(&self) -> &RefusedEvents {
        &self.shared.insight.refused
    }

    /// Refused events of the last 7 days as far as they were kept, newest first. Reads the disk: call it off
    /// the reactor.
    ///
    /// # Errors
    /// [`RefusedError`]
    pub fn refused_events(&self, query: &RefusedQuery) -> Result<Vec<RefusedEvent>, RefusedError> {
        Ok(self.shared.insight.refused.read(&self.shared.world, query)?)
    }
}
