//! Reservations: who holds what, as every record of the log says it, and what each must have held.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu::engine::Refused;
use quipu::engine::command::reservations::Ask;
use quipu::engine::record::EventsEntry;
use quipu::engine::reservations::requests::ReservationStatus;
use quipu::engine::reservations::{
    CommittedEvent, End, Ending, KEPT_FOR, Novelty, Reservation, ReservationMove, is_over_at,
};
use quipu::model::credit::OverageTerms;
use quipu::model::{
    EventId, Lsn, MeterIndex, Quantity, ReservationId, SubscriptionId, SubscriptionIndex, Timestamp,
};

use super::pool::NaivePool;
use super::usage::Worth;
use super::{Credits, PoolKey};
use crate::check::Unread;
use crate::model::Model;
use crate::place::Process;

/// Events that are stamped with the very instant of a decision come before it.
const INSTANT: Duration = Duration::from_nanos(1);

/// What one reservation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) of: SubscriptionIndex,
    pub(crate) balance: i128,
    pub(crate) overage: i128,
}

/// All reservations, open or ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reserved {
    pub(crate) all: BTreeMap<ReservationId, Reservation>,
    /// The event that must stand right behind the record that was just done.
    awaited: Option<(Lsn, EventId)>,
}

impl NaivePool {
    /// How so much would be covered; nothing when it is not.
    fn cover(
        &self,
        amount: i128,
        of: SubscriptionIndex,
        terms: &OverageTerms,
        at: Timestamp,
    ) -> Option<Held> {
        let balance = amount.min(self.spendable(at));
        let overage = amount - balance;
        let is_covered = self.headroom(of, terms).is_none_or(|headroom| overage <= headroom);
        is_covered.then_some(Held { of, balance, overage })
    }

    /// The overage that a subscription may still make; nothing when there is no limit.
    pub(crate) fn headroom(&self, of: SubscriptionIndex, terms: &OverageTerms) -> Option<i128> {
        if !terms.is_enabled {
            return Some(0);
        }
        let used = self.overage_of(of) + self.held_overage(of);
        terms.limit.map(|limit| (limit.as_units() - used).max(0))
    }
}

impl Credits {
    pub(super) fn apply_reservation(&mut self, lsn: Lsn, moved: &ReservationMove, model: &Model) {
        match moved {
            ReservationMove::Reserved(reservation) => self.reserve(reservation),
            ReservationMove::Committed(id, event) => {
                let open = self.end(id, event.at, Ending::Committed(CommittedEvent::clone(event)));
                self.await_event(lsn, &open, event, model);
            }
            ReservationMove::Released(id) => {
                self.meet("reservation: released");
                let at = self.log_time;
                self.end(id, at, Ending::Released);
            }
            ReservationMove::TimedOut(ids) => {
                for id in ids {
                    self.meet("reservation: timed out");
                    let at = self.log_time;
                    let open = self.end(id, at, Ending::TimedOut);
                    // No clock has shown more than this.
                    let is_over = open.expires_at <= model.latest || model.was_set_back;
                    assert!(is_over, "{open:?} is over at {}", model.latest);
                }
            }
        }
    }

    /// When a reservation has ended, as far as the log was followed.
    pub(crate) fn ended_at(&self, id: &ReservationId) -> Option<Timestamp> {
        self.reserved.all.get(id)?.end.as_ref().map(|end| end.at)
    }

    fn reserve(&mut self, reservation: &Reservation) {
        self.meet("reservation: made");
        assert_eq!((reservation.created_at, &reservation.end), (self.log_time, &None));
        let hold = reservation.hold;
        let claimed = Held {
            of: hold.subscription,
            balance: hold.balance.as_units(),
            overage: hold.overage.as_units(),
        };
        if claimed.overage > 0 {
            self.meet("reservation: of overage");
        }
        let at = self.log_time;
        let mut seen = self.clone();
        seen.pass(at.plus(INSTANT));
        let meter = (reservation.meter, reservation.amount);
        // Of a period whose turn is late the model does not know what it will draw.
        if !seen.is_any_late(reservation.pool.customer, at) {
            let worth = seen.worth(claimed.of, meter, at).expect("it draws credits");
            assert_eq!(worth.pool, reservation.pool);
            let pool = seen.pool(worth.pool);
            let expected = pool.cover(worth.credits, claimed.of, &worth.overage, at.plus(INSTANT));
            assert_eq!(expected, Some(claimed), "{reservation:?} {worth:?} {pool:?}");
        }
        self.pool(reservation.pool).holds.insert(reservation.id.clone(), claimed);
        let before = self.reserved.all.insert(reservation.id.clone(), reservation.clone());
        assert_eq!(before, None, "an id is given once");
    }

    fn end(&mut self, id: &ReservationId, at: Timestamp, how: Ending) -> Reservation {
        let known = self.reserved.all.get_mut(id).expect("it was made");
        let open = known.clone();
        assert_eq!(open.end, None, "it ends once, not as {how:?}");
        known.end = Some(End { at, how });
        let held = self.pool(open.pool).holds.remove(id);
        assert!(held.is_some(), "{open:?} held something");
        open
    }

    /// The event of a commit is the next record, or stands in the log already.
    fn await_event(&mut self, lsn: Lsn, open: &Reservation, event: &CommittedEvent, model: &Model) {
        let kept = model.event(event.event_id.as_str()).expect("it was acknowledged");
        assert_eq!(kept.lsn, event.lsn, "{event:?}");
        match event.novelty {
            Novelty::New => {
                assert_eq!(event.lsn, lsn.next(), "{event:?}");
                self.reserved.awaited = Some((event.lsn, event.event_id.clone()));
                let meter = &self.meters[open.meter.position()];
                let value = kept.sent.seen_by(meter).and_then(Result::ok).expect("it is counted");
                self.meet(match value.cmp(&open.amount) {
                    std::cmp::Ordering::Less => "reservation: committed by less",
                    std::cmp::Ordering::Equal => "reservation: committed by as much",
                    std::cmp::Ordering::Greater => "reservation: committed by more",
                });
            }
            Novelty::Duplicate | Novelty::Conflict => {
                assert!(event.lsn < lsn, "{event:?}");
                self.meet("reservation: committed by a known event");
            }
        }
    }

    /// A record stands where the event of a commit must stand, when one is awaited.
    pub(super) fn meet_awaited(&mut self, lsn: Lsn, events: Option<&EventsEntry<'_>>) {
        if let Some((at, id)) = self.reserved.awaited.take() {
            let ids = events.iter().flat_map(|entry| &entry.events).map(|event| event.id);
            assert_eq!((lsn, ids.collect::<Vec<_>>()), (at, vec![id.as_str()]));
        }
    }

    pub(super) fn check_none_is_awaited(&self) {
        assert_eq!(self.reserved.awaited, None, "a commit is there without its event");
    }

    /// What usage that is about to come is worth, behind what open reservations announce.
    fn worth(
        &self,
        of: SubscriptionIndex,
        (meter, amount): (MeterIndex, Quantity),
        at: Timestamp,
    ) -> Option<Worth> {
        let open = self.reserved.all.values().filter(|known| {
            known.end.is_none() && (known.hold.subscription, known.meter) == (of, meter)
        });
        let announced = open.map(|known| known.amount.as_units()).sum();
        self.would_draw(of, meter, (announced, amount.as_units()), at)
    }

    /// What a check must say at an instant.
    fn expected_answer(&self, ask: &Ask, at: Timestamp) -> Expected {
        let customer = self.customers[ask.customer_id.as_str()];
        let meter = self.meters.iter().find(|meter| meter.id == ask.meter_id);
        let meter = meter.expect("it is asked for by its id");
        if self.is_any_late(customer, at) {
            return Expected::Unknown;
        }
        let own = self.subscriptions.values().filter(|of| of.customer == customer);
        let all = own.filter_map(|of| {
            Some((of.id.clone(), self.worth(of.index, (meter.index, ask.amount), at)?))
        });
        let first = all.clone().min_by(|(left, _), (right, _)| left.cmp(right));
        let Some((id, worth)) = first.filter(|_| !meter.archived) else { return Expected::Refusal };
        let draws = |worth: &Worth| (worth.pool, worth.drawing, worth.overage);
        if all.clone().all(|(_, other)| draws(&other) == draws(&worth)) {
            Expected::Answer(id, worth)
        } else {
            Expected::Refusal
        }
    }
}

/// What must be said to whoever asks for credits.
#[derive(Debug)]
enum Expected {
    /// The subscription that pays, and what its usage is worth.
    Answer(SubscriptionId, Worth),
    /// Nobody pays in credits, or it is not clear who.
    Refusal,
    /// A turn is late: the model does not know.
    Unknown,
}

/// Compares reservations, and what is said to whoever asks for credits.
pub(super) fn check_reservations(process: &Process, model: &Model) -> Result<(), Unread> {
    let credits = &model.credits;
    let (now, clock) = (process.now(), process.engine.clock());
    let mut open = 0;
    for (id, known) in &credits.reserved.all {
        open += u64::from(known.end.is_none());
        let view = match process.engine.reservation(id) {
            Ok(view) => view,
            Err(Refused::NotFound(_)) => {
                let end = known.end.as_ref().expect("an open one is found");
                let latest = model.latest.max(model.log_time_max).max(now).max(clock.log_time);
                assert!(latest.since(end.at) >= KEPT_FOR, "{known:?} is gone at {latest}");
                continue;
            }
            Err(refused) => return Err(refused.to_string()),
        };
        assert_eq!(*view.reservation, *known);
        let is_over = !clock.in_doubt && is_over_at(known.expires_at, now);
        let expected = match known.end.as_ref().map(|end| &end.how) {
            Some(Ending::Committed(_)) => ReservationStatus::Committed,
            Some(Ending::Released) => ReservationStatus::Released,
            Some(Ending::TimedOut) => ReservationStatus::TimedOut,
            None if is_over => ReservationStatus::TimedOut,
            None => ReservationStatus::Open,
        };
        assert_eq!(view.status, expected, "{known:?} at {now}");
    }
    assert_eq!(process.engine.stats().credit_reservations_open, open);
    for (id, told) in &model.reservations {
        let known = credits.reserved.all.get(id).unwrap_or_else(|| panic!("{told:?} is gone"));
        let end = if told.end.is_some() { known.end.clone() } else { None };
        assert_eq!(**told, Reservation { end, ..known.clone() }, "as it was acknowledged");
    }
    check_asks(process, credits)
}

/// Asks for credits for every customer and meter.
fn check_asks(process: &Process, credits: &Credits) -> Result<(), Unread> {
    let at = process.now().max(credits.log_time);
    let seen_from = at.plus(INSTANT);
    let mut seen = credits.as_of(seen_from);
    let customers: Vec<_> = credits.customers.keys().cloned().collect();
    for (name, meter) in
        customers.iter().flat_map(|name| credits.meters.iter().map(move |m| (name, m)))
    {
        let ask = Ask {
            customer_id: quipu::model::CustomerId::new(name.as_str()),
            meter_id: meter.id.clone(),
            amount: Quantity::from_units(7_500_000_000_000),
            subscription_id: None,
        };
        let answer = process.engine.check_credits(&ask);
        let (id, worth) = match seen.expected_answer(&ask, at) {
            Expected::Answer(id, worth) => (id, worth),
            Expected::Refusal => {
                assert!(matches!(answer, Err(Refused::Invalid { .. })), "{ask:?}: {answer:?}");
                continue;
            }
            Expected::Unknown => continue,
        };
        let said = answer.map_err(|refused| format!("{ask:?}: {refused}"))?;
        let of = said.subscription.index;
        let pool: &PoolKey = &worth.pool;
        let pool = seen.pool(*pool);
        let cover = pool.cover(worth.credits, of, &worth.overage, seen_from);
        let found = said.cover.map(|hold| Held {
            of: hold.subscription,
            balance: hold.balance.as_units(),
            overage: hold.overage.as_units(),
        });
        assert_eq!(
            (&said.subscription.id, said.credits.as_units()),
            (&id, worth.credits),
            "{ask:?}"
        );
        assert_eq!(found, cover, "{said:?} {pool:?}");
        let found =
            [said.balance, said.available, said.overage].map(quipu::model::Credits::as_units);
        let known = [pool.balance(seen_from), pool.spendable(seen_from), pool.overage()];
        assert_eq!(found, known, "{said:?} {pool:?}");
        let headroom = said.headroom.map(quipu::model::Credits::as_units);
        assert_eq!(headroom, pool.headroom(of, &worth.overage), "{said:?} {pool:?}");
    }
    Ok(())
}
