//! What making and giving back a reservation leaves behind.

use std::sync::Arc;

use super::{Decision, Moment, Plan, apply};
use crate::engine::command::reservations::NewReservation;
use crate::engine::command::{Changed, Outcome, Refused};
use crate::engine::pools::moves::CreditsMove;
use crate::engine::record::{Body, CreditsEntry};
use crate::engine::reservations::ask::ask;
use crate::engine::reservations::{
    End, Ending, Reservation, ReservationMove, Reservations, is_old, is_over_at,
};
use crate::engine::shared::Shared;
use crate::model::ReservationId;

/// What is said of a reservation whose time is over.
pub const OVER: &str = "the time of this reservation is over";

pub(super) fn reserve(new: &NewReservation, moment: Moment<'_>) -> Result<Plan, Refused> {
    let Moment { shared, at, .. } = moment;
    let asked = ask(shared, &new.ask, at)?;
    let open = shared.state.with_reservations(Reservations::open_count);
    if open >= shared.options.reservations_max {
        return Err(Refused::TooManyReservations);
    }
    let reservation = Reservation {
        id: ReservationId::new(moment.new_id("crs")),
        pool: asked.pool,
        meter: asked.meter,
        amount: new.ask.amount,
        hold: asked.cover.ok_or(Refused::NotCovered)?,
        created_at: at,
        expires_at: shared.world.clock.real().plus(new.lifetime),
        end: None,
    };
    let outcome = Arc::new(reservation.clone());
    Ok(plan(ReservationMove::Reserved(Box::new(reservation)), outcome, moment))
}

pub(super) fn release(id: &ReservationId, moment: Moment<'_>) -> Result<Decision, Refused> {
    let Moment { shared, at, .. } = moment;
    let found = find(id, shared)?;
    match found.end.as_ref().map(|end| &end.how) {
        None if is_over(&found, shared) => Err(Refused::Gone(OVER)),
        None => {
            let end = Some(End { at, how: Ending::Released });
            let outcome = Arc::new(Reservation { end, ..Reservation::clone(&found) });
            apply(plan(ReservationMove::Released(id.clone()), outcome, moment))
        }
        Some(Ending::Released) => {
            let (outcome, lsn) = (Outcome::Reservation(found), shared.state.applied());
            Ok(Decision::Repeat(Box::new(Changed { outcome, replayed: true, lsn })))
        }
        Some(Ending::Committed(_)) => {
            Err(Refused::Conflict("this reservation was committed".to_owned()))
        }
        Some(Ending::TimedOut) => Err(Refused::Gone(OVER)),
    }
}

fn plan(moved: ReservationMove, outcome: Arc<Reservation>, moment: Moment<'_>) -> Plan {
    let moved = CreditsMove::Reservation(moved);
    let entry = CreditsEntry { moved, identity: moment.identity };
    let bodies = vec![Body::CreditsMoved(Box::new(entry))];
    Plan { bodies, outcome: Outcome::Reservation(outcome) }
}

/// A reservation that is not forgotten. A time in doubt makes none old.
///
/// # Errors
/// [`Refused::NotFound`]
pub fn find(id: &ReservationId, shared: &Shared) -> Result<Arc<Reservation>, Refused> {
    let log_time = shared.state.log_time();
    let now = shared.world.clock.wall().max(log_time);
    let log_time = if shared.clock_in_doubt() { log_time } else { now };
    let found = shared.state.with_reservations(|all| all.get(id).map(Arc::clone));
    let is_kept = |reservation: &Arc<Reservation>| {
        reservation.end.as_ref().is_none_or(|end| !is_old(end.at, log_time))
    };
    found.filter(is_kept).ok_or(Refused::NotFound("reservation"))
}

/// Whether the time of an open reservation is over, by the machine's clock. While that is in doubt nothing
/// is.
pub fn is_over(reservation: &Reservation, shared: &Shared) -> bool {
    !shared.clock_in_doubt() && is_over_at(reservation.expires_at, shared.world.clock.real())
}
