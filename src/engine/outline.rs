//! Roughly what stands where in the log, in memory: which texts and times a stretch of some thousand
//! events has, so that a listing reads only stretches that can have what it looks for.
//!
//! The writer of the log adds every payload; those that stood there at the start are added soon after
//! it, so that it takes no longer. A stretch holds whole requests. Its filter holds their customers,
//! event names and metadata keys, up to two bytes an event when no customer comes twice. It may claim
//! to have what it does not have, never the other way round. What is not known must be read: nothing
//! depends on an outline but time.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::engine::record::PayloadError;
use crate::engine::shared::Shared;
use crate::engine::skim::{Request, Skimmed, Sought, Visitor, skim};
use crate::model::{Lsn, Timestamp};
use crate::storage::index::{Filter, IdHash, IdHasher};
use crate::storage::log;
use crate::world::sync::RwLock;

/// A stretch takes no further request when it has this many texts, or the events of the options.
const STRETCH_TEXTS: usize = 3 * 1024;
/// What a filter is made for: the last request may bring a thousand customers more.
const FILTER_TEXTS: usize = STRETCH_TEXTS + 1024;
/// Stretches that are kept at most: 200 MB, and 100 million events when no customer comes twice.
const STRETCHES_MAX: usize = 32 * 1024;
/// Records that are added at once of those that stood in the log at the start: some milliseconds.
const CATCH_UP_RECORDS: u64 = 64 * 1024;
/// Stretches that are asked at once: some 20 microseconds in which nothing is added.
const ASKED_AT_ONCE: usize = 512;

/// The outline of one log; see the module.
#[derive(Debug)]
pub struct Outline {
    hasher: IdHasher,
    stretch_events: u64,
    known: RwLock<Known>,
}

/// What is known.
#[derive(Debug)]
struct Known {
    /// All events from here on stand in stretches; the next payload says it when nothing does.
    from: Option<Lsn>,
    /// Ascending; the last one grows.
    stretches: VecDeque<Stretch>,
}

/// The requests of a range of LSNs.
#[derive(Debug)]
struct Stretch {
    first_lsn: Lsn,
    /// The LSN after its last event; records that are no events may stand between two stretches.
    next_lsn: Lsn,
    /// The earliest and the latest timestamp.
    times: (Timestamp, Timestamp),
    texts: Filter,
    /// How many different texts were added, about.
    text_count: usize,
}

/// What is looked for, by its hashes.
#[derive(Debug)]
pub struct Wanted<'s, 'q> {
    sought: &'s Sought<'q>,
    texts: [Option<IdHash>; 2],
}

impl Outline {
    /// An outline of what is added from the next payload on. A stretch ends with the request that
    /// brings its events to `stretch_events`, if not before.
    pub fn new(hasher: IdHasher, stretch_events: u64) -> Self {
        let known = Known { from: None, stretches: VecDeque::new() };
        Self { hasher, stretch_events, known: RwLock::new(known) }
    }

    /// Adds the payload that follows the last one. When it cannot be read, all that was known is
    /// forgotten, and nothing before it will be known any more.
    ///
    /// # Errors
    /// [`PayloadError`]
    pub fn add(&self, payload: &[u8], first_lsn: Lsn) -> Result<(), PayloadError> {
        let mut known = self.known.write();
        known.from.get_or_insert(first_lsn);
        let added = skim(payload, first_lsn, &mut Adding { outline: self, known: &mut known });
        if added.is_err() {
            *known = Known { from: Some(Lsn(u64::MAX)), stretches: VecDeque::new() };
        }
        added
    }

    /// Puts what `older` knows before what is known here, unless something between the two is not:
    /// `older` has everything up to `through`.
    fn prepend(&self, older: Self, through: Lsn) {
        let mut older = older.known.into_inner();
        let mut known = self.known.write();
        if known.from.is_none_or(|from| from == through.next()) && older.from.is_some() {
            older.stretches.append(&mut known.stretches);
            *known = older;
        }
    }

    /// Forgets what stands up to `lsn`: it is not looked for in the log any more.
    pub fn forget_through(&self, lsn: Lsn) {
        let mut known = self.known.write();
        known.from = known.from.map(|from| from.max(lsn.next()));
        while known.stretches.front().is_some_and(|stretch| stretch.next_lsn <= lsn.next()) {
            known.stretches.pop_front();
        }
    }

    /// How many stretches are known.
    pub fn stretches(&self) -> usize {
        self.known.read().stretches.len()
    }

    /// What [`Self::newest_below`] is asked for.
    pub fn wanted<'s, 'q>(&self, sought: &'s Sought<'q>) -> Wanted<'s, 'q> {
        let hash = |text: Option<&str>| text.map(|text| self.hasher.hash(text));
        Wanted { sought, texts: [hash(sought.customer_id), hash(sought.event_name)] }
    }

    /// The highest LSNs below `below` that can have what is wanted: all those between them and `below`
    /// have nothing of it. Empty when nothing below can.
    pub fn newest_below(&self, below: Lsn, wanted: &Wanted<'_, '_>) -> RangeInclusive<Lsn> {
        let mut upto = below;
        loop {
            let known = self.known.read();
            let count = known.stretches.partition_point(|stretch| stretch.first_lsn < upto);
            for stretch in known.stretches.range(..count).rev().take(ASKED_AT_ONCE) {
                if stretch.may_have(wanted) {
                    return stretch.first_lsn..=stretch.next_lsn.min(below).previous();
                }
                upto = stretch.first_lsn;
            }
            if count <= ASKED_AT_ONCE {
                let unknown = known.from.map_or(upto, |from| from.min(upto));
                return Lsn::ZERO.next()..=unknown.previous();
            }
        }
    }
}

/// Adds to an outline what stood in the log at the start, a part at a time.
#[derive(Debug)]
pub struct CatchUp {
    outline: Outline,
    next: Lsn,
    through: Lsn,
}

impl CatchUp {
    /// A job for the log as it is now, to which nothing was added yet.
    pub fn new(shared: &Shared) -> Self {
        Self {
            outline: Outline::new(shared.hasher, shared.options.stretch_events),
            next: shared.history.last_lsn().next(),
            through: shared.state.applied(),
        }
    }

    /// Adds the next part; `None` when all is added.
    ///
    /// # Errors
    /// What `E` makes of a log that cannot be read.
    pub fn step<E: From<log::ReadError> + From<PayloadError>>(
        mut self,
        shared: &Shared,
    ) -> Result<Option<Self>, E> {
        if self.next > self.through {
            shared.outline.prepend(self.outline, self.through);
            return Ok(None);
        }
        let last = self.next.plus(CATCH_UP_RECORDS).previous().min(self.through);
        shared.log.visit::<E>(self.next..=last, |frame| {
            self.outline.add(frame.payload, frame.first_lsn)?;
            self.next = frame.next_lsn();
            Ok(())
        })?;
        Ok(Some(self))
    }
}

impl Stretch {
    fn new(first_lsn: Lsn) -> Self {
        Self {
            first_lsn,
            next_lsn: first_lsn,
            times: (Timestamp::MAX, Timestamp::MIN),
            texts: Filter::for_ids(FILTER_TEXTS),
            text_count: 0,
        }
    }

    fn is_full(&self, stretch_events: u64) -> bool {
        let events = self.next_lsn.0 - self.first_lsn.0;
        self.text_count >= STRETCH_TEXTS || events >= stretch_events
    }

    fn may_have(&self, wanted: &Wanted<'_, '_>) -> bool {
        wanted.sought.overlaps(self.times)
            && wanted.texts.iter().flatten().all(|text| self.texts.test(*text))
    }
}

/// Adds requests to the newest stretch, or begins one.
struct Adding<'o> {
    outline: &'o Outline,
    known: &'o mut Known,
}

impl<'p> Visitor<'p> for Adding<'_> {
    fn request(&mut self, request: Request<'p>) {
        let Known { from, stretches } = &mut *self.known;
        if stretches.back().is_none_or(|stretch| stretch.is_full(self.outline.stretch_events)) {
            if stretches.len() >= STRETCHES_MAX {
                *from = stretches.pop_front().map(|stretch| stretch.next_lsn);
            }
            stretches.push_back(Stretch::new(request.first_lsn));
        }
    }

    fn text(&mut self, text: &'p [u8]) {
        let hash = self.outline.hasher.hash_bytes(text);
        if let Some(stretch) = self.known.stretches.back_mut()
            && !stretch.texts.test(hash)
        {
            stretch.texts.insert_exclusive(hash);
            stretch.text_count += 1;
        }
    }

    fn event(&mut self, event: Skimmed<'p>) {
        if let Some(stretch) = self.known.stretches.back_mut() {
            let (earliest, latest) = stretch.times;
            stretch.times = (earliest.min(event.timestamp), latest.max(event.timestamp));
            stretch.next_lsn = event.lsn.next();
        }
    }
}
