//! What requests see of reservations.

use std::sync::Arc;

use super::ask::{Asked, ask};
use super::{Ending, Reservation};
use crate::engine::Engine;
use crate::engine::command::reservations::Ask;
use crate::engine::command::{Changed, Refused};
use crate::engine::commit::{Commit, Submission};
use crate::engine::decide::{find_reservation, is_over};
use crate::engine::pools::PoolKey;
use crate::model::{CustomerId, EntitlementId, MeterId, ReservationId, SubscriptionId};
use crate::world::sync::atomic::Ordering;

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationStatus {
    /// It holds.
    Open,
    /// Its usage has come.
    Committed,
    /// It was given back.
    Released,
    /// Its time is over.
    TimedOut,
}

/// A reservation with the ids of what it names.
#[derive(Clone, Debug)]
pub struct ReservationView {
    /// The reservation.
    pub reservation: Arc<Reservation>,
    /// Where it stands.
    pub status: ReservationStatus,
    /// Whose.
    pub customer_id: CustomerId,
    /// For usage of this meter.
    pub meter_id: MeterId,
    /// Of this subscription.
    pub subscription_id: SubscriptionId,
    /// What is held.
    pub entitlement_id: EntitlementId,
}

impl Engine {
    /// What there is for usage that is about to come.
    ///
    /// # Errors
    /// As of a reservation, but for what is not covered.
    pub fn check_credits(&self, asked: &Ask) -> Result<Asked, Refused> {
        let at = self.now().max(self.shared.state.log_time());
        ask(&self.shared, asked, at)
    }

    /// A reservation that is open, or has ended not too long ago.
    ///
    /// # Errors
    /// [`Refused::NotFound`]
    pub fn reservation(&self, id: &ReservationId) -> Result<ReservationView, Refused> {
        let found = find_reservation(id, &self.shared)?;
        self.reservation_view(found)
    }

    /// Reservations that hold credits of a customer, in the order of their ids: at most so many.
    ///
    /// # Errors
    /// [`Refused::NotFound`]
    pub fn open_reservations(
        &self,
        id: &EntitlementId,
        customer: &CustomerId,
        limit: usize,
    ) -> Result<Vec<ReservationView>, Refused> {
        let state = &self.shared.state;
        let entitlement = state
            .with_books(|books| books.entitlements.by_id(id).map(|entitlement| entitlement.index));
        let entitlement = entitlement.ok_or(Refused::NotFound("credit entitlement"))?;
        let customer = state.with_accounts(|accounts| accounts.index(customer.as_str()));
        let customer = customer.ok_or(Refused::NotFound("customer"))?;
        let pool = PoolKey { entitlement, customer };
        let found: Vec<Arc<Reservation>> =
            state.with_reservations(|all| all.holding(pool).take(limit).map(Arc::clone).collect());
        found.into_iter().map(|reservation| self.reservation_view(reservation)).collect()
    }

    /// A reservation with the ids of what it names.
    ///
    /// # Errors
    /// [`Refused::NotFound`], never of one that the engine has given.
    pub fn reservation_view(
        &self,
        reservation: Arc<Reservation>,
    ) -> Result<ReservationView, Refused> {
        let state = &self.shared.state;
        let status = match reservation.end.as_ref().map(|end| &end.how) {
            Some(Ending::Committed(_)) => ReservationStatus::Committed,
            Some(Ending::Released) => ReservationStatus::Released,
            Some(Ending::TimedOut) => ReservationStatus::TimedOut,
            None if is_over(&reservation, &self.shared) => ReservationStatus::TimedOut,
            None => ReservationStatus::Open,
        };
        let customer = state.with_accounts(|all| all.id_at(reservation.pool.customer).cloned());
        let catalogue = state.catalogue();
        let meter = catalogue.meters().get(reservation.meter.position());
        let subscription = state.with_books(|books| {
            books.subscription(reservation.hold.subscription).map(|found| found.id.clone())
        });
        let entitlement = self.entitlement_id(reservation.pool.entitlement);
        let missing = Refused::NotFound;
        Ok(ReservationView {
            status,
            customer_id: customer.ok_or(missing("customer"))?,
            meter_id: meter.ok_or(missing("meter"))?.id.clone(),
            subscription_id: subscription.ok_or(missing("subscription"))?,
            entitlement_id: entitlement.ok_or(missing("credit entitlement"))?,
            reservation,
        })
    }

    /// Hands the event that a reservation was made for to the committer; `reply` as for
    /// [`Engine::submit`].
    pub fn commit_reservation(
        &self,
        commit: Commit,
        reply: impl FnOnce(Result<Changed, Refused>) + Send + 'static,
    ) {
        if self.shared.storage_full.load(Ordering::Acquire) {
            reply(Err(Refused::StorageFull));
            return;
        }
        self.shared.submit(Submission::Commit(Box::new(commit), Box::new(reply)));
    }
}
