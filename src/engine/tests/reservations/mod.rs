//! Reservations through the engine: what is held is there when its usage comes, once, and nobody else
//! draws it.

mod desk;

use std::time::Duration;

use super::rig::{Crash, Sent, Slot};
use crate::engine::Refused;
use crate::engine::command::reservations::Ask;
use crate::engine::options::Options;
use crate::engine::reservations::requests::ReservationStatus;
use crate::engine::reservations::{Ending, Novelty, Reservation};
use crate::model::{Aggregation, Credits, CustomerId, MeterId, ReservationId, SubscriptionId};

pub(super) use desk::{Desk, PLAIN, Plan, credits};
use desk::{options, outcome, tokens, units};

/// The field that a request is refused for.
fn field<T: std::fmt::Debug>(refused: Result<T, Refused>) -> String {
    if let Err(Refused::Invalid { field, .. }) = refused {
        return field;
    }
    panic!("{refused:?}");
}

fn novelty(reservation: &Reservation) -> Option<Novelty> {
    match &reservation.end.as_ref()?.how {
        Ending::Committed(event) => Some(event.novelty),
        Ending::Released | Ending::TimedOut => None,
    }
}

fn stand(balance: &str, available: &str, overage: &str, uncovered: &str) -> [String; 4] {
    [balance, available, overage, uncovered].map(str::to_owned)
}

#[test]
fn a_thousand_reserves_on_a_balance_of_500_grant_exactly_500() {
    let mut desk = Desk::new(tokens(), &[Plan { amount: "500", ..PLAIN }]);
    let slots: Vec<_> = (0..1_000).map(|_| desk.submit(desk.ask("1"))).collect();
    desk.rig.settle().unwrap();
    let answers: Vec<_> = slots.iter().map(Slot::answer).collect();
    let granted = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers.iter().filter(|answer| matches!(answer, Err(Refused::NotCovered)));
    assert_eq!((granted, refused.count()), (500, 500));
    assert_eq!(desk.stand(), stand("500", "0", "0", "0"));
    let mut desk = desk.killed(Crash::Killed);
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
    desk.rig.machine.checkpoint().unwrap();
    let mut desk = desk.killed(Crash::DropsAll);
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
    let first = answers.into_iter().flatten().next().unwrap();
    let first = outcome(first);
    desk.release(&first.id).unwrap();
    assert!(desk.reserve("1").is_ok());
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
}

#[test]
fn nobody_else_draws_what_is_held() {
    let mut desk = Desk::plain();
    let held = desk.reserve("60").unwrap();
    assert_eq!(held.credits(), credits("60"));
    assert_eq!(desk.stand(), stand("100", "40", "0", "0"));
    let asked = desk.checked("41");
    assert_eq!((asked.cover, asked.credits), (None, credits("41")));
    assert!(desk.checked("40").cover.is_some());
    desk.used("70");
    assert_eq!(desk.stand(), stand("60", "0", "0", "30"));
    // Its own event comes at the very instant of the commit, and finds what was held.
    let event = desk.event("60");
    desk.commit(&held.id, &event).unwrap();
    assert_eq!(desk.stand(), stand("0", "0", "0", "30"));
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
    desk.killed(Crash::DropsAll);
}

#[test]
fn an_event_may_be_worth_more_or_less_than_was_reserved() {
    let limited = Plan { limit: Some("10"), ..PLAIN };
    let mut desk = Desk::new(tokens(), &[limited]);
    let less = desk.reserve("50").unwrap();
    let event = desk.event("20");
    desk.commit(&less.id, &event).unwrap();
    assert_eq!(desk.stand(), stand("80", "80", "0", "0"));
    // Eighty of the balance and five of the overage that is allowed.
    let more = desk.reserve("85").unwrap();
    assert_eq!((more.hold.balance, more.hold.overage), (credits("80"), credits("5")));
    assert_eq!(desk.checked("6").cover, None);
    assert_eq!(desk.checked("5").headroom, Some(credits("5")));
    let event = desk.event("95");
    desk.commit(&more.id, &event).unwrap();
    assert_eq!(desk.stand(), stand("0", "0", "10", "5"));
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
    assert!(desk.reserve("0").is_ok());
}

#[test]
fn a_known_event_gives_back_and_counts_nothing_twice() {
    let mut desk = Desk::plain();
    let event = desk.event("30");
    desk.rig.ingest(std::slice::from_ref(&event)).unwrap();
    let first = desk.reserve("50").unwrap();
    let ended = desk.commit(&first.id, &event).unwrap();
    assert_eq!(novelty(&ended), Some(Novelty::Duplicate));
    assert_eq!(desk.stand(), stand("70", "70", "0", "0"));
    let second = desk.reserve("50").unwrap();
    let other = Sent::new(event.id.clone(), "c0").with_tokens("31");
    let ended = desk.commit(&second.id, &other).unwrap();
    assert_eq!(novelty(&ended), Some(Novelty::Conflict));
    assert_eq!(desk.stand(), stand("70", "70", "0", "0"));
    // The event of a commit is known to ingest, and to other commits.
    let (third, new) = (desk.reserve("10").unwrap(), desk.event("10"));
    assert_eq!(novelty(&desk.commit(&third.id, &new).unwrap()), Some(Novelty::New));
    let mut desk = desk.killed(Crash::Killed);
    assert_eq!(desk.rig.ingest(&[new]).unwrap().duplicates, 1);
    assert_eq!(desk.stand(), stand("60", "60", "0", "0"));
}

#[test]
fn a_reservation_ends_once() {
    let mut desk = Desk::plain();
    let (one, two) = (desk.reserve("10").unwrap(), desk.reserve("20").unwrap());
    let (event, other) = (desk.event("10"), desk.event("20"));
    // Both commits are under way at once: the second finds what the first has done.
    let slots = [desk.rig.commit(&one.id, &event), desk.rig.commit(&one.id, &other)];
    desk.rig.settle().unwrap();
    let [committed, again] = slots.map(|slot| outcome(slot.answer().unwrap()));
    assert_eq!((novelty(&committed), &again), (Some(Novelty::New), &committed));
    assert_eq!(desk.commit(&one.id, &other), Ok(committed));
    assert!(matches!(desk.release(&one.id), Err(Refused::Conflict(_))));
    let released = desk.release(&two.id).unwrap();
    assert_eq!(desk.release(&two.id), Ok(released));
    assert!(matches!(desk.commit(&two.id, &other), Err(Refused::Conflict(_))));
    assert_eq!(desk.stand(), stand("90", "90", "0", "0"));
    // The other event was counted by nobody, and still can be.
    assert_eq!(desk.rig.ingest(&[other]).unwrap().new, 1);
    assert_eq!(desk.stand(), stand("70", "70", "0", "0"));
    let unknown = ReservationId::new("crs_none");
    assert_eq!(desk.release(&unknown), Err(Refused::NotFound("reservation")));
    desk.pass(Duration::from_hours(24) + Duration::from_nanos(1));
    for id in [&one.id, &two.id] {
        assert_eq!(desk.status(id), Err(Refused::NotFound("reservation")));
        assert_eq!(desk.release(id), Err(Refused::NotFound("reservation")));
    }
}

#[test]
fn what_is_not_committed_in_time_is_given_back_and_counts_nothing() {
    let mut desk = Desk::plain();
    let held = desk.reserve("60").unwrap();
    desk.rig.advance(Duration::from_mins(10) - Duration::from_nanos(1));
    let mut desk = desk.killed(Crash::Killed);
    desk.rig.settle().unwrap();
    assert_eq!(desk.stand()[1], "40");
    desk.rig.advance(Duration::from_nanos(1));
    // Its record does not stand yet, and nobody can tell.
    assert_eq!(desk.status(&held.id), Ok(ReservationStatus::TimedOut));
    let event = desk.event("60");
    assert!(matches!(desk.commit(&held.id, &event), Err(Refused::Gone(_))));
    assert!(matches!(desk.release(&held.id), Err(Refused::Gone(_))));
    assert_eq!(desk.stand(), stand("100", "100", "0", "0"));
    let mut desk = desk.killed(Crash::DropsAll);
    assert!(matches!(desk.commit(&held.id, &event), Err(Refused::Gone(_))));
    assert_eq!(desk.rig.ingest(&[event]).unwrap().new, 1);
    assert_eq!(desk.stand(), stand("40", "40", "0", "0"));
    // Whoever reserves at that instant finds what another's end has given back.
    let all = desk.reserve("40").unwrap();
    desk.rig.advance(Duration::from_mins(10));
    assert!(desk.reserve("40").is_ok());
    assert_eq!(desk.status(&all.id), Ok(ReservationStatus::TimedOut));
}

#[test]
fn what_is_free_and_what_waits_is_given_to_one_alone() {
    let free = Plan { free_threshold: 100, ratio: "10", ..PLAIN };
    let mut desk = Desk::new(tokens(), &[free]);
    let held = |desk: &mut Desk, amount: &str| desk.reserve(amount).unwrap().credits().to_string();
    assert_eq!(held(&mut desk, "100"), "0");
    let drawn: Vec<_> = (0..20).map(|_| held(&mut desk, "1")).collect();
    let whole = drawn.iter().filter(|drawn| *drawn == "1").count();
    assert_eq!((whole, drawn.len()), (2, 20));
    assert_eq!(held(&mut desk, "979"), "97");
    assert_eq!(desk.checked("1").cover.map(|hold| hold.balance), Some(credits("1")));
    assert_eq!(desk.reserve("11"), Err(Refused::NotCovered));
}

#[test]
fn of_a_largest_value_the_value_that_is_reached_is_asked() {
    let max = Aggregation::Max { key: "tokens".to_owned() };
    let mut desk = Desk::new(max, &[PLAIN]);
    let held = desk.reserve("40").unwrap();
    let event = desk.event("40");
    desk.commit(&held.id, &event).unwrap();
    assert_eq!(desk.checked("30").credits, Credits::ZERO);
    assert_eq!(desk.checked("45").credits, credits("5"));
    // Either may come alone.
    assert_eq!(desk.reserve("60").unwrap().credits(), credits("20"));
    assert_eq!(desk.reserve("60").unwrap().credits(), credits("20"));
    assert_eq!(desk.stand(), stand("60", "20", "0", "0"));
}

#[test]
fn only_an_event_of_that_customer_and_meter_commits() {
    let mut desk = Desk::plain();
    let held = desk.reserve("10").unwrap();
    desk.rig.ingest(&[Sent::new("x", "c1")]).unwrap();
    for customer in ["c1", "c2"] {
        let other = Sent::new("y", customer).with_tokens("1");
        assert_eq!(field(desk.commit(&held.id, &other)), "event.customer_id");
    }
    let uncounted = [Sent::new("y", "c0"), Sent { name: "other".to_owned(), ..desk.event("1") }];
    for event in uncounted {
        assert_eq!(field(desk.commit(&held.id, &event)), "event");
    }
    assert_eq!(desk.stand(), stand("100", "90", "0", "0"));
    assert_eq!(desk.status(&held.id), Ok(ReservationStatus::Open));
    let event = desk.event("10");
    assert!(desk.commit(&held.id, &event).is_ok());
}

#[test]
fn of_subscriptions_that_pay_differently_one_is_named() {
    let mut desk = Desk::new(tokens(), &[]);
    let refused = |desk: &mut Desk, ask: Ask| {
        let check = desk.rig.engine.check_credits(&ask).map(drop);
        let slot = desk.submit(ask);
        let reserve = desk.settled(&slot).map(drop);
        assert_eq!(check, reserve);
        if let Err(Refused::NotFound(what)) = check {
            return format!("no {what}");
        }
        field(check)
    };
    let plain = desk.ask("1");
    assert_eq!(refused(&mut desk, plain.clone()), "meter_id");
    let mut alike = [desk.subscribe(&PLAIN), desk.subscribe(&PLAIN)];
    alike.sort();
    assert_eq!(desk.checked("1").subscription.id, alike[0]);
    let other = desk.subscribe(&Plan { ratio: "2", ..PLAIN });
    assert_eq!(refused(&mut desk, plain.clone()), "subscription_id");
    let named = |id: &SubscriptionId| Ask { subscription_id: Some(id.clone()), ..plain.clone() };
    for (id, drawn) in [(&alike[0], "4"), (&alike[1], "4"), (&other, "2")] {
        let ask = Ask { amount: units("4"), ..named(id) };
        let asked = desk.rig.engine.check_credits(&ask).unwrap();
        assert_eq!((&asked.subscription.id, asked.credits), (id, credits(drawn)));
    }
    let none = SubscriptionId::new("sub_none");
    assert_eq!(refused(&mut desk, named(&none)), "no subscription");
    let stranger = Ask { customer_id: CustomerId::new("c9"), ..plain.clone() };
    assert_eq!(refused(&mut desk, stranger), "no customer");
    let nothing = Ask { meter_id: MeterId::new("mtr_none"), ..plain.clone() };
    assert_eq!(refused(&mut desk, nothing), "no meter");
    desk.rig.ingest(&[Sent::new("x", "c1")]).unwrap();
    let others = Ask { customer_id: CustomerId::new("c1"), ..named(&other) };
    assert_eq!(refused(&mut desk, others), "subscription_id");
}

#[test]
fn so_many_are_open_and_no_more() {
    let options = Options { reservations_max: 2, ..options() };
    let mut desk = Desk::with_options(options, tokens(), &[PLAIN]);
    let first = desk.reserve("1").unwrap();
    desk.reserve("1").unwrap();
    assert_eq!(desk.reserve("1"), Err(Refused::TooManyReservations));
    assert_eq!(desk.rig.engine.stats().credit_reservations_open, 2);
    desk.release(&first.id).unwrap();
    assert_eq!(desk.rig.engine.stats().credit_reservations_open, 1);
    assert!(desk.reserve("1").is_ok());
}
