//! What became of events a moment ago: a sample for whoever watches, in memory alone.
//!
//! While nobody watches ingest looks at one flag a request. Whoever asks for outcomes watches for some
//! seconds; then the first few of each kind in a tenth of a second are kept, so that a flood of one kind
//! hides no other, and the rest is counted as left out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::prepare::Prepared;
use crate::engine::record::{EventEntry, EventsEntry, PayloadError};
use crate::engine::shared::Shared;
use crate::model::{Causes, Lsn, Timestamp};
use crate::storage::codec;
use crate::storage::index::Hit;
use crate::world::sync::Mutex;
use crate::world::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Outcomes that are kept.
const KEPT_MAX: usize = 1_000;
/// Of each kind between two looks: fifty a second.
const OF_KIND_MAX: u32 = 5;
/// Looks after which nobody watches any more: ten seconds.
const UNASKED_MAX: u32 = 100;
const KINDS: usize = 4;

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventOutcome {
    /// Its number among all outcomes that were kept since the start, from 1.
    pub number: u64,
    /// When that was decided.
    pub at: Timestamp,
    /// The event's id, when it has a text there.
    pub event_id: Option<String>,
    /// The event's customer, when it has a text there.
    pub customer_id: Option<String>,
    /// The event's name, when it has a text there.
    pub event_name: Option<String>,
    /// What became of it.
    pub became: Became,
}

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// It is new.
    Accepted {
        /// Its LSN.
        lsn: Lsn,
    },
    /// Its id was known, and it is the same event.
    Duplicate {
        /// The LSN of the first copy, which has the same id.
        first_lsn: Lsn,
    },
    /// Its id was known, and it is another event: it counts nothing.
    Conflicting {
        /// The LSN of the first copy, which has the same id.
        first_lsn: Lsn,
    },
    /// Its request was refused for it.
    Refused {
        /// The answer's code.
        code: String,
        /// The rule that it breaks.
        reason: String,
        /// What is wrong, for people.
        message: String,
    },
}

impl Became {
    fn kind(&self) -> usize {
        match self {
            Self::Accepted { .. } => 0,
            Self::Duplicate { .. } => 1,
            Self::Conflicting { .. } => 2,
            Self::Refused { .. } => 3,
        }
    }
}

/// The newest outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeTail {
    /// Newest first.
    pub items: Vec<Arc<EventOutcome>>,
    /// The number of the newest one that there is: what to ask for the next time.
    pub last: u64,
    /// How many were left out of the sample since the start, while somebody watched.
    pub left_out: u64,
}

/// Where outcomes go; see the module.
#[derive(Debug, Default)]
pub struct Outcomes {
    is_watched: AtomicBool,
    /// How many of each kind may still be kept before the next look.
    room: [AtomicU32; KINDS],
    /// Looks since somebody has asked.
    unasked: AtomicU32,
    left_out: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    newest_last: VecDeque<Arc<EventOutcome>>,
    last: u64,
}

impl Outcomes {
    /// Whether anybody watches.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Makes room for the next tenth of a second. Called by a job, that often.
    pub fn look(&self) {
        if !self.is_watched() {
            return;
        }
        if self.unasked.fetch_add(1, Ordering::Relaxed) >= UNASKED_MAX {
            self.is_watched.store(false, Ordering::Relaxed);
            return;
        }
        self.make_room();
    }

    fn make_room(&self) {
        for room in &self.room {
            room.store(OF_KIND_MAX, Ordering::Relaxed);
        }
    }

    /// Whether one more of this kind is kept; it is counted when not.
    fn admits(&self, became: &Became) -> bool {
        let Some(room) = self.room.get(became.kind()) else { return false };
        let left = |left: u32| left.checked_sub(1);
        let is_admitted = room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
        if !is_admitted {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        is_admitted
    }

    fn keep(&self, outcome: EventOutcome) {
        let mut kept = self.kept.lock();
        kept.last += 1;
        let number = kept.last;
        kept.newest_last.push_back(Arc::new(EventOutcome { number, ..outcome }));
        if kept.newest_last.len() > KEPT_MAX {
            kept.newest_last.pop_front();
        }
    }

    /// Keeps an outcome that is known with its event, when somebody watches and there is room.
    pub fn note(&self, outcome: EventOutcome) {
        if self.is_watched() && self.admits(&outcome.became) {
            self.keep(outcome);
        }
    }

    /// Those with a higher number than `after`, newest first, at most `limit`. Whoever asks watches.
    pub fn tail(&self, after: u64, limit: usize) -> OutcomeTail {
        self.unasked.store(0, Ordering::Relaxed);
        if !self.is_watched.swap(true, Ordering::Relaxed) {
            self.make_room();
        }
        let kept = self.kept.lock();
        let newer = kept.newest_last.iter().rev().take_while(|outcome| outcome.number > after);
        OutcomeTail {
            items: newer.take(limit).map(Arc::clone).collect(),
            last: kept.last,
            left_out: self.left_out.load(Ordering::Relaxed),
        }
    }
}

/// Keeps what becomes of some of a request's events, which has just been decided: `earlier` says of each the
/// first copy, and the new ones get their LSNs from `first_lsn` on.
pub(in crate::engine) fn note_request(
    shared: &Shared,
    prepared: &Prepared,
    earlier: &[Option<Hit>],
    first_lsn: Lsn,
) {
    if let Err(error) = try_note(shared, prepared, earlier, first_lsn) {
        tracing::error!(error = %Causes(&error), "decode a prepared request");
    }
}

fn try_note(
    shared: &Shared,
    prepared: &Prepared,
    earlier: &[Option<Hit>],
    mut lsn: Lsn,
) -> Result<(), PayloadError> {
    let mut named: Option<EventsEntry<'_>> = None;
    for (place, (event, earlier)) in prepared.events.iter().zip(earlier).enumerate() {
        let became = match earlier {
            None => {
                lsn = lsn.next();
                Became::Accepted { lsn: lsn.previous() }
            }
            Some(first) if first.fingerprint == event.fingerprint => {
                Became::Duplicate { first_lsn: first.lsn }
            }
            Some(first) => Became::Conflicting { first_lsn: first.lsn },
        };
        if !shared.insight.outcomes.admits(&became) {
            continue;
        }
        let texts = match &named {
            Some(named) => named,
            None => named.insert(EventsEntry {
                received_at: prepared.received_at,
                created: Vec::new(),
                texts: codec::decode(&prepared.texts)?,
                events: Vec::new(),
            }),
        };
        let entry: EventEntry<'_> = codec::decode(prepared.event_bytes(place))?;
        shared.insight.outcomes.keep(EventOutcome {
            number: 0,
            at: shared.world.clock.wall(),
            event_id: Some(entry.id.to_owned()),
            customer_id: Some(texts.text(entry.customer)?.to_owned()),
            event_name: Some(texts.text(entry.name)?.to_owned()),
            became,
        });
    }
    Ok(())
}

impl Engine {
    /// What became of events a moment ago, newest first: those with a higher number than `after`, at most
    /// `limit`. It is a sample, some tens a second, and begins with the first question; it goes on for ten
    /// seconds after the last. In memory: may be called on the reactor.
    pub fn outcomes(&self, after: u64, limit: usize) -> OutcomeTail {
        self.shared.insight.outcomes.tail(after, limit)
    }

    /// Notes that a request was refused for an event.
    pub fn note_refused(&self, outcome: impl FnOnce() -> EventOutcome) {
        if self.shared.insight.outcomes.is_watched() {
            self.shared.insight.outcomes.note(outcome());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(became: Became) -> EventOutcome {
        EventOutcome {
            number: 0,
            at: Timestamp::default(),
            event_id: None,
            customer_id: None,
            event_name: None,
            became,
        }
    }

    fn accepted(lsn: u64) -> EventOutcome {
        outcome(Became::Accepted { lsn: Lsn(lsn) })
    }

    fn lsns(tail: &OutcomeTail) -> Vec<u64> {
        let lsn = |one: &Arc<EventOutcome>| match one.became {
            Became::Accepted { lsn } => Some(lsn.0),
            Became::Duplicate { .. } | Became::Conflicting { .. } | Became::Refused { .. } => None,
        };
        tail.items.iter().filter_map(lsn).collect()
    }

    #[test]
    fn nothing_is_kept_until_somebody_asks_and_a_while_after() {
        let outcomes = Outcomes::default();
        outcomes.note(accepted(1));
        assert_eq!(outcomes.tail(0, 10).items, []);
        outcomes.note(accepted(2));
        assert_eq!(lsns(&outcomes.tail(0, 10)), [2]);
        for _ in 0..UNASKED_MAX {
            outcomes.look();
            assert!(outcomes.is_watched());
        }
        outcomes.look();
        assert!(!outcomes.is_watched());
        outcomes.note(accepted(3));
        assert_eq!(lsns(&outcomes.tail(0, 10)), [2]);
    }

    #[test]
    fn a_flood_of_one_kind_leaves_room_for_the_others_and_for_the_next_look() {
        let outcomes = Outcomes::default();
        outcomes.tail(0, 0);
        for lsn in 1..=100 {
            outcomes.note(accepted(lsn));
        }
        outcomes.note(outcome(Became::Duplicate { first_lsn: Lsn(1) }));
        let tail = outcomes.tail(0, 10);
        assert_eq!((lsns(&tail), tail.items.len()), (vec![5, 4, 3, 2, 1], 6));
        assert_eq!((tail.last, tail.left_out), (6, 95));
        outcomes.look();
        outcomes.note(accepted(200));
        assert_eq!(lsns(&outcomes.tail(tail.last, 10)), [200]);
        assert_eq!(lsns(&outcomes.tail(0, 1)), [200]);
    }

    #[test]
    fn the_oldest_go_first() {
        let outcomes = Outcomes::default();
        outcomes.tail(0, 0);
        for lsn in 1..=KEPT_MAX as u64 + 7 {
            outcomes.look();
            outcomes.tail(0, 0);
            outcomes.note(accepted(lsn));
        }
        let found = lsns(&outcomes.tail(0, usize::MAX));
        assert_eq!(
            (found.len(), found[0], found[KEPT_MAX - 1]),
            (KEPT_MAX, KEPT_MAX as u64 + 7, 8)
        );
    }
}
