//! What records do to reservations, and to the pools that they hold of.

use std::sync::Arc;

use super::{Applying, State};
use crate::billing::credits::{Left, Pool};
use crate::engine::record::Identity;
use crate::engine::replies::KeptAnswer;
use crate::engine::reservations::{End, Ending, Reservation, ReservationMove, Reservations};
use crate::model::{ReservationId, SubscriptionIndex};

impl State {
    pub(super) fn apply_reservation(
        &self,
        now: &Applying,
        moved: &ReservationMove,
        identity: Option<Identity>,
    ) {
        self.reservations.lock().forget_surplus();
        let asked_for = match moved {
            ReservationMove::Reserved(reservation) => {
                let hold = reservation.hold;
                self.change_held(now, reservation, |pool| pool.hold(&hold));
                self.reservations.lock().put(Arc::new(Reservation::clone(reservation)));
                Some(&reservation.id)
            }
            ReservationMove::Committed(id, event) => {
                let how = Ending::Committed(event.as_ref().clone());
                self.end_reservation(now, id, End { at: event.at, how });
                Some(id)
            }
            ReservationMove::Released(id) => {
                self.end_reservation(now, id, End { at: now.log_time, how: Ending::Released });
                Some(id)
            }
            ReservationMove::TimedOut(ids) => {
                for id in ids {
                    let end = End { at: now.log_time, how: Ending::TimedOut };
                    self.end_reservation(now, id, end);
                }
                None
            }
        };
        if let Some(id) = asked_for {
            let answer = || KeptAnswer::Reservation(id.clone());
            self.keep_reply(now.lsn, now.log_time, identity, answer);
        }
    }

    fn end_reservation(&self, now: &Applying, id: &ReservationId, end: End) {
        let found = self.reservations.lock().get(id).map(Arc::clone);
        // Nobody else ends it between a decision and its record.
        let Some(open) = found.filter(|reservation| reservation.end.is_none()) else { return };
        self.change_held(now, &open, |pool| pool.release(&open.hold));
        let ended = Reservation { end: Some(end), ..Reservation::clone(&open) };
        self.reservations.lock().put(Arc::new(ended));
    }

    fn change_held(
        &self,
        now: &Applying,
        reservation: &Reservation,
        change: impl FnOnce(&mut Pool),
    ) {
        let books = self.books.read();
        let turns_at = |index: SubscriptionIndex| books.turns_at(index);
        let mut pools = self.pools.lock();
        let pool = pools.index_or_make(reservation.pool, now.log_time);
        pools.change(pool, (now.lsn, now.log_time), turns_at, |pool| {
            change(pool);
            Left::default()
        });
    }

    /// Looks at the reservations; `look` only copies.
    pub fn with_reservations<T>(&self, look: impl FnOnce(&Reservations) -> T) -> T {
        look(&self.reservations.lock())
    }

    /// Loads reservations of a snapshot; the pools that they hold of say so themselves.
    pub fn load_reservations(&self, all: Vec<Arc<Reservation>>) {
        let mut reservations = self.reservations.lock();
        for reservation in all {
            reservations.put(reservation);
        }
    }
}
