//! Whoever asks before serving: reserves credits, commits them by an event, or gives them back.

use std::sync::Arc;
use std::time::Duration;

use quipu::engine::command::reservations::{Ask, NewReservation};
use quipu::engine::command::{Changed, Command, Outcome, RequestIdentity};
use quipu::engine::reservations::{
    CommittedEvent, Ending, KEPT_FOR, Novelty, Reservation, Reservations,
};
use quipu::engine::{Ingested, Refused};
use quipu::model::{CustomerId, EventId, Quantity, ReservationId, Timestamp};

use crate::answers::check_refusal;
use crate::event::{Sent, Value};
use crate::model::Model;
use crate::place::{Process, chain};
use crate::reached::Reached;
use crate::workload::Workload;

/// Lifetimes are told from each other by what is below this: clocks stand at whole seconds and halves.
const MARK_NANOS: u32 = 1_000_000;

/// The commit of a reservation, as a client asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Committing {
    pub(crate) id: ReservationId,
    pub(crate) sent: Sent,
    pub(crate) received_at: Timestamp,
    pub(crate) identity: RequestIdentity,
    /// It was done before: the answer must be that of the first time.
    pub(crate) is_repeated: bool,
}

impl Workload {
    /// Credits for somebody who pays for something in credits, seldom for anybody and anything.
    pub(crate) fn reserve(&mut self, model: &Model) -> Command {
        let payers = model.credits.payers();
        let (customer_id, meter_id, named) = if payers.is_empty() || self.dice.one_in(12) {
            let meter = self.dice.pick(&model.meters).id.clone();
            (CustomerId::new(self.customer()), meter, None)
        } else {
            let (customer, meter, subscription) = self.dice.pick(&payers).clone();
            (customer, meter, self.dice.one_in(3).then_some(subscription))
        };
        let whole = self.dice.below(*self.dice.pick(&[4, 12, 12, 300]));
        let part = *self.dice.pick(&[0, 0, 500, 1]);
        let amount = i128::from(whole) * 10_i128.pow(12) + i128::from(part) * 10_i128.pow(9);
        let seconds = match self.dice.below(5) {
            0 => 1 + self.dice.below(600),
            _ => 3_600 - self.dice.below(600),
        };
        let lifetime = Duration::new(seconds, self.number() % MARK_NANOS);
        let amount = Quantity::from_units(amount);
        let ask = Ask { customer_id, meter_id, amount, subscription_id: named };
        Command::Reserve(Box::new(NewReservation { ask, lifetime }))
    }

    /// A reservation, which is mostly open.
    fn reservation<'m>(&self, model: &'m Model) -> Option<&'m Arc<Reservation>> {
        let all: Vec<_> = model.reservations.values().collect();
        let is_open =
            |known: &&&Arc<Reservation>| known.end.is_none() && known.expires_at > model.latest;
        let open: Vec<_> = all.iter().filter(is_open).copied().collect();
        let choice = if open.is_empty() || self.dice.one_in(8) { all } else { open };
        (!choice.is_empty()).then(|| *self.dice.pick(&choice))
    }

    pub(crate) fn release(&self, model: &Model) -> Option<Command> {
        let known = self.reservation(model)?;
        Some(Command::ReleaseReservation(known.id.clone()))
    }

    /// An event for a reservation: worth as much as was reserved, or less, or more; seldom one that is known
    /// already, or that the reservation is not for.
    pub(crate) fn commit(&mut self, model: &Model) -> Option<(ReservationId, Sent)> {
        let known = Arc::clone(self.reservation(model)?);
        let others = model.remembered();
        if !others.is_empty() && self.dice.one_in(5) {
            let own = model.credits.name_of(known.pool.customer);
            let meter = &model.meters[known.meter.position()];
            let of_own = others.iter().filter(|kept| {
                let counts = matches!(kept.sent.seen_by(meter), Some(Ok(_)));
                kept.sent.customer == own && counts && kept.sent.at.is_none()
            });
            let of_own: Vec<_> = of_own.collect();
            if !of_own.is_empty() {
                return Some((known.id.clone(), self.dice.pick(&of_own).sent.clone()));
            }
        }
        let reserved = known.amount.as_units();
        let units = match self.dice.below(6) {
            0 | 1 => reserved,
            2 => reserved / 2,
            3 => 0,
            _ => reserved + i128::from(self.dice.below(20)) * 10_i128.pow(12),
        };
        let (whole, part) = (units / 10_i128.pow(12), units % 10_i128.pow(12));
        let value = match self.dice.below(20) {
            0 => Value::Text("12.5"),
            _ => Value::Number(format!("{whole}.{part:012}")),
        };
        let customer = match self.dice.below(20) {
            0 => self.customer(),
            _ => model.credits.name_of(known.pool.customer).to_owned(),
        };
        let metadata = vec![("tokens", value)];
        let sent = Sent { id: self.name(), customer, name: "call", at: None, metadata };
        Some((known.id.clone(), sent))
    }
}

impl Model {
    /// Whether a reservation ended so that whoever asks for that again gets the first answer.
    pub(crate) fn is_ended(&self, id: &ReservationId, is_so: impl Fn(&Ending) -> bool) -> bool {
        let end = self.reservations.get(id).and_then(|known| known.end.as_ref());
        end.is_some_and(|end| is_so(&end.how))
    }

    /// Whether a reservation has ended so long ago that nobody need know it.
    fn may_be_forgotten(&self, id: &ReservationId) -> bool {
        let latest = self.latest.max(self.log_time_max);
        let ended_at = self.credits.ended_at(id);
        ended_at.is_some_and(|ended_at| latest.since(ended_at) >= KEPT_FOR)
    }

    /// Whether the time of a reservation may be over.
    fn may_be_over(&self, id: &ReservationId) -> bool {
        let known = &self.reservations[id];
        known.expires_at <= self.latest || self.was_set_back
    }
}

pub(crate) fn is_released(end: &Ending) -> bool {
    matches!(end, Ending::Released)
}

pub(crate) fn is_committed(end: &Ending) -> bool {
    matches!(end, Ending::Committed(_))
}

/// Whether a refusal says what is so.
pub(crate) fn check_desk_refusal(
    model: &Model,
    command: &Command,
    refused: &Refused,
    reached: &mut Reached,
) {
    match (command, refused) {
        (Command::Reserve(_), Refused::NotCovered) => reached.note("reservation: not covered"),
        (Command::Reserve(_), Refused::TooManyReservations) => {
            assert!(model.options.reservations_max < 10, "there is room");
            reached.note("reservation: too many");
        }
        (Command::ReleaseReservation(id), Refused::Gone(_)) => {
            assert!(model.may_be_over(id), "{id}: {refused}");
            reached.note("reservation: asked for too late");
        }
        (Command::ReleaseReservation(id), Refused::Conflict(_)) => {
            assert!(model.is_ended(id, is_committed), "{id}: {refused}");
        }
        (Command::ReleaseReservation(id), Refused::NotFound(_)) => check_forgotten(model, id),
        _ => {}
    }
}

fn check_forgotten(model: &Model, id: &ReservationId) {
    assert!(model.may_be_forgotten(id), "{id} is gone at {}", model.latest);
}

/// Whether somebody asks again for a reservation that has ended so long ago that it is forgotten, which a
/// log time that was set back makes sooner than its answer.
pub(crate) fn is_forgotten(model: &Model, command: &Command, refused: &Refused) -> bool {
    let Refused::NotFound(_) = refused else { return false };
    if let Command::Reserve(new) = command {
        let mut own = model.reservations.values().filter(|known| is_marked(known, new));
        return own.any(|known| model.may_be_forgotten(&known.id));
    }
    if let Command::ReleaseReservation(id) = command { model.may_be_forgotten(id) } else { false }
}

/// Whether a reservation was made by this request.
fn is_marked(known: &Reservation, new: &NewReservation) -> bool {
    let mark = i64::from(new.lifetime.subsec_nanos());
    known.expires_at.as_nanos().rem_euclid(i64::from(MARK_NANOS)) == mark
}

/// Whether the refusal of a commit says what is so.
pub(crate) fn check_commit_refusal(
    model: &Model,
    asked: &Committing,
    refused: &Refused,
    is_disk_full: bool,
    reached: &mut Reached,
) {
    let Committing { id, sent, received_at, is_repeated, .. } = asked;
    let is_for_now = matches!(refused, Refused::Busy | Refused::StorageFull);
    let is_gone = matches!(refused, Refused::NotFound(_)) && model.may_be_forgotten(id);
    assert!(!is_repeated || is_for_now || is_gone, "{asked:?}: {refused}");
    match refused {
        Refused::Gone(_) => {
            assert!(model.may_be_over(id), "{asked:?}: {refused}");
            reached.note("reservation: asked for too late");
        }
        Refused::Conflict(_) => assert!(model.is_ended(id, is_released), "{asked:?}: {refused}"),
        Refused::NotFound(_) => check_forgotten(model, id),
        Refused::Invalid { .. } => {
            let known = &model.reservations[id];
            let meter = &model.meters[known.meter.position()];
            let is_own = model.credits.name_of(known.pool.customer) == sent.customer;
            let counts = !meter.archived && matches!(sent.seen_by(meter), Some(Ok(_)));
            assert!(!is_own || !counts, "{asked:?} for {known:?}: {refused}");
        }
        Refused::Busy
        | Refused::StorageFull
        | Refused::Event(_)
        | Refused::Insufficient
        | Refused::NotCovered
        | Refused::TooManyReservations
        | Refused::IdempotencyKeyReused => {
            check_refusal(model, std::slice::from_ref(sent), *received_at, refused, is_disk_full);
        }
    }
}

/// Moves the model on by the answer to a commit.
pub(crate) fn take_commit(
    model: &mut Model,
    asked: &Committing,
    changed: &Changed,
    reached: &mut Reached,
) {
    let Outcome::Reservation(found) = &changed.outcome else { panic!("{changed:?}") };
    assert_eq!(found.id, asked.id);
    let is_known = asked.is_repeated || model.is_ended(&asked.id, is_committed);
    assert_eq!(changed.replayed, is_known, "{asked:?}: {changed:?}");
    if is_known {
        // Whatever its event, it gets the first one's answer.
        assert_eq!(&model.reservations[&asked.id], found);
        reached.note("reservation: committed again");
        return;
    }
    take_up(model, asked, found);
    model.last_lsn = model.last_lsn.max(changed.lsn);
}

/// Takes up a commit, and what it has said of its event.
fn take_up(model: &mut Model, asked: &Committing, found: &Arc<Reservation>) {
    let end = found.end.as_ref().expect("it was committed");
    let Ending::Committed(event) = &end.how else { panic!("{found:?}") };
    let CommittedEvent { event_id, at, lsn, novelty } = event;
    assert_eq!((event_id.as_str(), *at), (asked.sent.id.as_str(), end.at), "{found:?}");
    assert!(*at >= asked.received_at, "{asked:?} {found:?}");
    let sent = std::slice::from_ref(&asked.sent);
    let known = model.event(&asked.sent.id).map(|kept| kept.lsn);
    let last_lsn = known.unwrap_or(*lsn);
    let told: Ingested = model.admit(sent, asked.received_at, last_lsn);
    let expected = match (told.new, told.conflicts) {
        (1, _) => Novelty::New,
        (_, 0) => Novelty::Duplicate,
        (..) => Novelty::Conflict,
    };
    assert_eq!((*novelty, *lsn), (expected, last_lsn), "{asked:?} {found:?}");
    model.reservations.insert(found.id.clone(), Arc::clone(found));
}

/// Finds out whether a commit was done, though nobody was answered.
pub(crate) fn resolve_commit(
    process: &Process,
    model: &mut Model,
    asked: &Committing,
) -> Result<Option<bool>, String> {
    let is_fresh = model.event(&asked.sent.id).is_none();
    let was_committed = model.is_ended(&asked.id, is_committed);
    let found = process.engine.reservation(&asked.id).ok().map(|view| view.reservation);
    let by_it = found.filter(|found| {
        let end = found.end.as_ref().map(|end| &end.how);
        !was_committed
            && matches!(end, Some(Ending::Committed(event))
                if event.event_id.as_str() == asked.sent.id)
    });
    let event = process.engine.event(&EventId::new(asked.sent.id.as_str()));
    let event = event.map_err(|error| chain(&error))?;
    if by_it.is_none() && is_fresh {
        assert_eq!(event, None, "an event of {asked:?}, which was not done");
    }
    let Some(found) = by_it else { return Ok(None) };
    assert!(event.is_some(), "a commit without its event: {asked:?}");
    take_up(model, asked, &found);
    Ok(Some(true))
}

/// Finds out whether credits were reserved, though nobody was answered.
pub(crate) fn resolve_reserve(
    process: &Process,
    model: &mut Model,
    new: &NewReservation,
) -> Option<bool> {
    let parts = process.machine.shared.state.with_reservations(Reservations::parts);
    let mut all = parts.iter().flat_map(|part| part.values());
    let found =
        all.find(|known| is_marked(known, new) && !model.reservations.contains_key(&known.id))?;
    model.reservations.insert(found.id.clone(), Arc::clone(found));
    Some(true)
}

/// Finds out whether a reservation was released, though nobody was answered.
pub(crate) fn resolve_release(
    process: &Process,
    model: &mut Model,
    id: &ReservationId,
) -> Option<bool> {
    let was_ended = model.is_ended(id, |_| true);
    let found = process.engine.reservation(id).ok()?.reservation;
    let is_new = !was_ended && found.end.as_ref().is_some_and(|end| is_released(&end.how));
    is_new.then(|| model.reservations.insert(id.clone(), found)).map(|_| true)
}
