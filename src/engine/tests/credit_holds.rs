//! Reservations in random lives of customers with credits: what is held is what the open ones hold, whatever
//! becomes of grants, plans and periods meanwhile, and usage leaves it alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::credit_lives::{CUSTOMERS, Counted, Life, MINUTE, ONE};
use super::rig::{Sent, Slot, Value};
use crate::engine::command::Changed;
use crate::engine::command::reservations::{Ask, NewReservation};
use crate::engine::pools::PoolKey;
use crate::engine::reservations::requests::ReservationStatus;
use crate::engine::reservations::{Ending, Novelty, Reservation};
use crate::engine::{Command, Outcome, Refused};
use crate::model::{Credits, CustomerId, Quantity, ReservationId, Timestamp};

const DAY: Duration = Duration::from_hours(24);

/// A reservation as the naive model has it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    made: Arc<Reservation>,
    customer: u64,
    /// How somebody has ended it.
    ended: Option<ReservationStatus>,
    /// When its end was logged.
    ended_at: Option<Timestamp>,
}

impl Held {
    fn status(&self, now: Timestamp) -> ReservationStatus {
        match self.ended {
            Some(ended) => ended,
            None if self.made.expires_at <= now => ReservationStatus::TimedOut,
            None => ReservationStatus::Open,
        }
    }
}

fn reservation(changed: Changed) -> Arc<Reservation> {
    let Outcome::Reservation(reservation) = changed.outcome else { panic!("a reservation") };
    reservation
}

impl Life {
    /// A check and a reservation of the same say the same.
    pub(super) fn reserve(&mut self) {
        let customer = self.dice.below(CUSTOMERS);
        let is_named = !self.subscriptions.is_empty() && self.dice.one_in(2);
        let ask = Ask {
            customer_id: CustomerId::new(format!("c{customer}")),
            meter_id: self.dice.pick(&self.meters).clone(),
            amount: Quantity::from_units(i128::from(self.dice.below(9)) * ONE),
            subscription_id: is_named.then(|| self.dice.pick(&self.subscriptions).clone()),
        };
        let checked = self.rig.engine.check_credits(&ask);
        let lifetime = MINUTE * (1 + self.dice.few(58));
        let made = self.rig.change(Command::Reserve(Box::new(NewReservation { ask, lifetime })));
        match (checked, made.map(reservation)) {
            (Ok(asked), Ok(made)) => {
                assert_eq!((asked.cover, asked.pool), (Some(made.hold), made.pool));
                assert_eq!(made.credits(), asked.credits);
                self.held.push(Held { made, customer, ended: None, ended_at: None });
            }
            (Ok(asked), Err(refused)) => {
                assert_eq!((asked.cover, refused), (None, Refused::NotCovered));
            }
            (Err(checked), Err(reserved)) => assert_eq!(checked, reserved),
            (Err(checked), Ok(made)) => panic!("{checked}: {made:?}"),
        }
    }

    /// Commits a reservation, or two at once with one event, or one twice.
    pub(super) fn commit(&mut self) {
        let Some(first) = self.any_held() else { return };
        let customer = self.held[first].customer;
        let second = self.any_held().filter(|_| self.dice.one_in(3)).unwrap_or(first);
        let places = if self.dice.one_in(2) { vec![first] } else { vec![first, second] };
        let tokens = self.dice.within(0..9);
        let is_known = self.sent > 0 && self.dice.one_in(6);
        let number = if is_known { 1 + self.dice.below(self.sent) } else { self.sent + 1 };
        self.sent = self.sent.max(number);
        let event = Sent::new(format!("e{number}"), &format!("c{customer}"));
        let event = event.with("tokens", Value::Number(tokens.to_string()));
        let now = self.rig.engine.now();
        let ids = places.iter().map(|place| self.held[*place].made.id.clone());
        let slots: Vec<_> = ids.map(|id: ReservationId| self.rig.commit(&id, &event)).collect();
        self.rig.settle().unwrap();
        for (place, slot) in places.into_iter().zip(slots) {
            let was = self.held[place].status(now);
            let is_own = self.held[place].customer == customer;
            let Some(ended) = self.ended(place, &slot, (was, ReservationStatus::Committed)) else {
                if was == ReservationStatus::Open {
                    assert!(!is_own, "it was open");
                }
                continue;
            };
            let Some(Ending::Committed(committed)) = ended.end.as_ref().map(|end| &end.how) else {
                panic!("{ended:?}")
            };
            if committed.novelty == Novelty::New {
                assert!(was == ReservationStatus::Open && is_own);
                let tokens = i128::from(tokens) * ONE;
                self.events.push(Counted { customer, at: now, tokens });
            }
        }
    }

    pub(super) fn release(&mut self) {
        let Some(place) = self.any_held() else { return };
        let id = self.held[place].made.id.clone();
        let was = self.held[place].status(self.rig.engine.now());
        let slot = self.rig.propose(Command::ReleaseReservation(id), None);
        self.rig.settle().unwrap();
        let ended = self.ended(place, &slot, (was, ReservationStatus::Released));
        assert!(ended.is_some() || was != ReservationStatus::Open);
    }

    fn any_held(&mut self) -> Option<usize> {
        (!self.held.is_empty()).then(|| self.dice.index(self.held.len()))
    }

    /// What an end has led to, when it was not refused: only what nothing else has ended ends so.
    fn ended(
        &mut self,
        place: usize,
        slot: &Slot<Changed>,
        (was, wanted): (ReservationStatus, ReservationStatus),
    ) -> Option<Arc<Reservation>> {
        let is_committed_twice = self.held[place].ended == Some(wanted);
        match slot.answer() {
            Ok(changed) => {
                assert_eq!(changed.replayed, is_committed_twice);
                assert!(was == ReservationStatus::Open || was == wanted, "{was:?}");
                self.held[place].ended = Some(wanted);
                let ended = reservation(changed);
                // Only the first end counts.
                (!is_committed_twice).then_some(ended)
            }
            Err(Refused::Gone(_)) => {
                assert_eq!(was, ReservationStatus::TimedOut);
                None
            }
            Err(Refused::Conflict(_)) => {
                assert!(was != wanted && was != ReservationStatus::Open, "{was:?}");
                None
            }
            Err(Refused::Invalid { field, .. }) => {
                assert_eq!(field, "event.customer_id");
                None
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// What is held of each pool.
    pub(super) fn held_of_pools(&self) -> BTreeMap<PoolKey, Credits> {
        let mut held = BTreeMap::new();
        for reservation in self.held.iter().filter(|held| self.is_open(held)) {
            let of_pool = held.entry(reservation.made.pool).or_insert(Credits::ZERO);
            *of_pool = of_pool.plus(reservation.made.hold.balance);
        }
        held
    }

    fn is_open(&self, held: &Held) -> bool {
        held.status(self.rig.engine.now()) == ReservationStatus::Open
    }

    /// Each reservation stands where the model says, or is forgotten a day after its end; and pools hold what
    /// the open ones do.
    pub(super) fn check_held(&mut self) {
        let (now, engine) = (self.rig.engine.now(), &self.rig.engine);
        self.held.retain_mut(|held| match engine.reservation(&held.made.id) {
            Ok(view) => {
                assert_eq!(view.status, held.status(now), "{held:?}");
                held.ended_at = view.reservation.end.as_ref().map(|end| end.at);
                true
            }
            Err(refused) => {
                assert_eq!(refused, Refused::NotFound("reservation"));
                assert!(held.ended_at.is_some_and(|at| now.since(at) >= DAY), "{held:?}");
                false
            }
        });
        let held = self.held_of_pools();
        for kept in self.pools() {
            let of_pool = held.get(&kept.key()).copied().unwrap_or_default();
            let expected = kept.pool.balance_at(now).less(of_pool);
            assert_eq!(kept.pool.spendable_at(now), expected, "{:?}", kept.key());
        }
    }

    /// Usage leaves what is held alone.
    pub(super) fn send_beside_holds(&mut self) {
        let now = self.rig.engine.now();
        let balances = |life: &Self| {
            let of =
                |kept: &crate::engine::pools::KeptPool| (kept.key(), kept.pool.balance_at(now));
            life.pools().iter().map(of).collect::<BTreeMap<_, _>>()
        };
        let (before, held) = (balances(self), self.held_of_pools());
        self.send();
        let after = balances(self);
        for (key, held) in held {
            assert!(after[&key] >= before[&key].min(held), "{key:?}");
        }
    }
}
