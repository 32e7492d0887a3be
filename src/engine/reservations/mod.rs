//! Reservations: credits that are held for usage which is about to come.
//!
//! A reservation is *open* until a record commits it by an event, releases it, or times it out. Its time
//! is the machine's, also under a test clock: the committer compares, and `apply` reads no clock. One that
//! has ended is kept for a day of log time, so that whoever asks again gets the same answer.

pub mod ask;
pub mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::billing::credits::Hold;
use crate::engine::clock_guard::STEP_MAX;
use crate::engine::command::reservations::LIFETIME_MAX;
use crate::engine::pools::PoolKey;
use crate::model::{
    Credits, EventId, Lsn, MeterIndex, Quantity, ReservationId, SubscriptionIndex, Timestamp,
};

/// How long one that has ended is kept, in log time.
pub const KEPT_FOR: Duration = Duration::from_hours(24);
/// How many that have ended are kept at most; the oldest ones go first.
pub const ENDED_MAX: usize = 100_000;
/// A cut copies one pointer for each part, and a change behind it one part.
const PARTS: usize = 256;

/// Credits that are held, or were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The id, `crs_…`.
    pub id: ReservationId,
    /// Whose credits.
    pub pool: PoolKey,
    /// The meter whose usage is to come.
    pub meter: MeterIndex,
    /// How much of it.
    pub amount: Quantity,
    /// What is held for that, and of which subscription.
    pub hold: Hold,
    /// Log time when it was made.
    pub created_at: Timestamp,
    /// It can be committed before this instant of the machine's clock.
    pub expires_at: Timestamp,
    /// How it has ended.
    pub end: Option<End>,
}

/// The end of a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Log time.
    pub at: Timestamp,
    /// How.
    pub how: Ending,
}

/// How a reservation ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The usage has come.
    Committed(CommittedEvent),
    /// It does not come.
    Released,
    /// It did not come in time.
    TimedOut,
}

/// The event that has committed a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedEvent {
    /// Its id.
    pub event_id: EventId,
    /// When it was committed.
    pub at: Timestamp,
    /// Where the event stands in the log, or its first copy.
    pub lsn: Lsn,
    /// Whether it was new.
    pub novelty: Novelty,
}

/// Whether an event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Novelty {
    /// It does.
    New,
    /// Its id was known: it counts nothing.
    Duplicate,
    /// Its id was known with other content: it counts nothing.
    Conflict,
}

/// What a record does to reservations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReservationMove {
    /// One is made.
    Reserved(Box<Reservation>),
    /// The event of the following record, or a known one, ends it.
    Committed(ReservationId, Box<CommittedEvent>),
    /// Somebody has given it back.
    Released(ReservationId),
    /// The time of these is over.
    TimedOut(Vec<ReservationId>),
}

impl Reservation {
    /// What is held, of the balance and as overage.
    pub fn credits(&self) -> Credits {
        self.hold.balance.plus(self.hold.overage)
    }

    fn units_of(&self) -> (SubscriptionIndex, MeterIndex) {
        (self.hold.subscription, self.meter)
    }
}

/// Reservations whose ids are together.
pub type Part = BTreeMap<ReservationId, Arc<Reservation>>;

/// All reservations; see the module.
#[derive(Debug)]
pub struct Reservations {
    parts: Vec<Arc<Part>>,
    /// Those that are open, in the order in which their time is over.
    open: BTreeSet<(Timestamp, ReservationId)>,
    /// The same by whose credits they hold.
    holding: BTreeSet<(PoolKey, ReservationId)>,
    /// Those that have ended, in that order.
    ended: BTreeSet<(Timestamp, ReservationId)>,
    /// What the open ones announce together.
    units: HashMap<(SubscriptionIndex, MeterIndex), Announced>,
    ended_max: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    count: usize,
    units: i128,
}

impl Default for Reservations {
    fn default() -> Self {
        Self::keeping(ENDED_MAX)
    }
}

impl Reservations {
    fn keeping(ended_max: usize) -> Self {
        Self {
            parts: vec![Arc::default(); PARTS],
            open: BTreeSet::new(),
            holding: BTreeSet::new(),
            ended: BTreeSet::new(),
            units: HashMap::new(),
            ended_max,
        }
    }

    /// One of them, open or ended.
    pub fn get(&self, id: &ReservationId) -> Option<&Arc<Reservation>> {
        self.parts.get(place(id))?.get(id)
    }

    /// How many are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Those that are open and hold credits of this pool.
    pub fn holding(&self, pool: PoolKey) -> impl Iterator<Item = &Arc<Reservation>> {
        let first = (pool, ReservationId::new(""));
        let of_pool = self.holding.range(first..).take_while(move |(of, _)| *of == pool);
        of_pool.filter_map(|(_, id)| self.get(id))
    }

    /// Whether the time of any is over. The machine's clock is looked at when one is open.
    pub fn are_any_over(&self, clock: impl FnOnce() -> Timestamp) -> bool {
        let (Some((first, _)), Some((last, _))) = (self.open.first(), self.open.last()) else {
            return false;
        };
        let now = clock();
        is_over_at(*first, now) || is_over_at(*last, now)
    }

    /// Those whose time is over at this instant of the machine's clock, up to so many.
    pub fn over(&self, now: Timestamp, most: usize) -> Vec<ReservationId> {
        let is_over = |(at, _): &&(Timestamp, ReservationId)| is_over_at(*at, now);
        let passed = self.open.iter().take_while(|(at, _)| *at <= now);
        let too_late = self.open.iter().rev().take_while(is_over).filter(|(at, _)| *at > now);
        passed.chain(too_late).take(most).map(|(_, id)| id.clone()).collect()
    }

    /// The usage of a meter that open reservations of a subscription announce, together.
    pub fn announced(&self, subscription: SubscriptionIndex, meter: MeterIndex) -> Quantity {
        let announced = self.units.get(&(subscription, meter)).copied().unwrap_or_default();
        Quantity::from_units(announced.units)
    }

    /// Puts one in its place: a new one, or one that has ended now.
    pub fn put(&mut self, reservation: Arc<Reservation>) {
        let (id, pool) = (reservation.id.clone(), reservation.pool);
        let (of, units) = (reservation.units_of(), reservation.amount.as_units());
        let (expires_at, ended_at) =
            (reservation.expires_at, reservation.end.as_ref().map(|end| end.at));
        let Some(part) = self.parts.get_mut(place(&id)) else { return };
        Arc::make_mut(part).insert(id.clone(), reservation);
        let announced = self.units.entry(of).or_default();
        match ended_at {
            None => {
                announced.count += 1;
                announced.units = announced.units.saturating_add(units);
                self.holding.insert((pool, id.clone()));
                self.open.insert((expires_at, id));
            }
            Some(at) => {
                if self.open.remove(&(expires_at, id.clone())) {
                    self.holding.remove(&(pool, id.clone()));
                    announced.count -= 1;
                    announced.units = announced.units.saturating_sub(units);
                }
                self.ended.insert((at, id));
            }
        }
        if announced.count == 0 {
            self.units.remove(&of);
        }
    }

    /// Forgets those that have ended before so many others.
    pub fn forget_surplus(&mut self) {
        while self.ended.len() > self.ended_max {
            self.forget_first();
        }
    }

    /// Forgets those that have ended so long ago that nobody asks again, at most so many.
    pub fn forget_old(&mut self, log_time: Timestamp, at_most: usize) {
        for _ in 0..at_most {
            if !self.ended.first().is_some_and(|(at, _)| is_old(*at, log_time)) {
                return;
            }
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, id)) = self.ended.pop_first()
            && let Some(part) = self.parts.get_mut(place(&id))
        {
            Arc::make_mut(part).remove(&id);
        }
    }

    /// All of them, for a checkpoint.
    pub fn parts(&self) -> Vec<Arc<Part>> {
        self.parts.iter().filter(|part| !part.is_empty()).map(Arc::clone).collect()
    }
}

/// Whether the time of a reservation that ends at `expires_at` is over at this instant of the machine's
/// clock: also when that end is further ahead than anybody may hold, for then the clock was set back since.
pub fn is_over_at(expires_at: Timestamp, now: Timestamp) -> bool {
    expires_at <= now || expires_at > now.plus(LIFETIME_MAX).plus(STEP_MAX)
}

/// Whether what has ended at `ended_at` is forgotten.
pub fn is_old(ended_at: Timestamp, log_time: Timestamp) -> bool {
    log_time.since(ended_at) >= KEPT_FOR
}

fn place(id: &ReservationId) -> usize {
    let mixed = id
        .as_str()
        .bytes()
        .fold(0_usize, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(usize::from(byte)));
    mixed % PARTS
}
