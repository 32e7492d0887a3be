//! Reservations whose end comes from two sides at once, and clocks that are set meanwhile.

use std::time::Duration;

use super::reservations::{Desk, credits};
use super::rig::Crash;
use crate::engine::command::entries::{NewEntry, NewEntryKind};
use crate::engine::reservations::requests::ReservationStatus;
use crate::engine::{Command, Outcome, Refused};
use crate::model::CustomerId;
use crate::world::Clock;

const DAY: Duration = Duration::from_hours(24);

fn debit(desk: &Desk, amount: &str) -> Command {
    Command::EnterCredits(Box::new(NewEntry {
        entitlement_id: desk.entitlement.clone(),
        customer_id: CustomerId::new("c0"),
        kind: NewEntryKind::Debit,
        amount: credits(amount),
        idempotency_key: None,
        reason: None,
        metadata: Vec::new(),
    }))
}

/// What a commit gives back is for its event, also while the clock stands still.
#[test]
fn nobody_comes_between_a_commit_and_its_event() {
    let mut desk = Desk::plain();
    let held = desk.reserve("60").unwrap();
    let event = desk.event("60");
    let committed = desk.rig.commit(&held.id, &event);
    let debited = desk.rig.propose(debit(&desk, "50"), None);
    desk.rig.settle().unwrap();
    let Outcome::Reservation(committed) = committed.answer().unwrap().outcome else { panic!() };
    assert_eq!(committed.end.as_ref().map(|end| end.at), Some(desk.rig.engine.now()));
    assert!(matches!(debited.answer(), Err(Refused::Insufficient)));
    assert_eq!(desk.stand(), ["40", "40", "0", "0"]);
    let desk = desk.killed(Crash::DropsAll);
    assert_eq!(desk.stand(), ["40", "40", "0", "0"]);
}

/// A commit comes while its reservation's time-out is being written, and the clock is set back between:
/// it finds what was decided, not what the clock shows.
#[test]
fn a_commit_behind_a_time_out_that_is_on_its_way_comes_too_late() {
    let mut desk = Desk::plain();
    desk.pass(Duration::from_mins(31 * 24 * 60 - 5));
    let held = desk.reserve("60").unwrap();
    // A turn is in the same group: events may follow.
    desk.rig.advance(Duration::from_mins(10));
    desk.rig.machine.committer.work();
    let mut group = desk.rig.machine.committer.take().expect("its time is over");
    let clock = &desk.rig.place.clock;
    clock.set_wall(clock.wall().minus(Duration::from_mins(1)));
    let event = desk.event("60");
    let committed = desk.rig.commit(&held.id, &event);
    let machine = &mut desk.rig.machine;
    let submission = machine.queue.try_recv().expect("it was just submitted");
    let waits = machine.committer.admit(submission);
    machine.writer.write(&mut group).unwrap();
    machine.committer.finish(group);
    if let Some(submission) = waits {
        assert!(machine.committer.admit(submission).is_none());
    }
    desk.rig.settle().unwrap();
    assert!(matches!(committed.answer(), Err(Refused::Gone(_))));
    assert_eq!(desk.status(&held.id), Ok(ReservationStatus::TimedOut));
    assert_eq!(desk.stand(), ["100", "100", "0", "0"]);
    assert_eq!(desk.rig.ingest(&[event]).unwrap().new, 1);
}

/// What was made while the clock was a day ahead holds nothing for a day.
#[test]
fn a_clock_that_is_set_back_makes_nobody_hold_for_longer() {
    let mut desk = Desk::plain();
    let before = desk.rig.place.clock.wall();
    desk.rig.place.clock.set_wall(before.plus(DAY));
    let held = desk.reserve("60").unwrap();
    desk.rig.place.clock.set_wall(before);
    desk.pass(Duration::from_secs(1));
    // In doubt no time runs out.
    assert_eq!(desk.status(&held.id), Ok(ReservationStatus::Open));
    assert_eq!(desk.stand()[1], "40");
    desk.rig.change(Command::ConfirmClock).unwrap();
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.status(&held.id), Ok(ReservationStatus::TimedOut));
    assert_eq!(desk.stand(), ["100", "100", "0", "0"]);
    let event = desk.event("60");
    assert!(matches!(desk.commit(&held.id, &event), Err(Refused::Gone(_))));
    // A clock that is put right by less takes nothing from anybody.
    let held = desk.reserve("60").unwrap();
    let now = desk.rig.place.clock.wall();
    desk.rig.place.clock.set_wall(now.minus(Duration::from_mins(4)));
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.status(&held.id), Ok(ReservationStatus::Open));
}

/// A jump of log time makes nobody's answer old.
#[test]
fn a_clock_that_jumps_ahead_makes_no_end_forgotten() {
    let mut desk = Desk::plain();
    let (held, event) = (desk.reserve("60").unwrap(), desk.event("60"));
    let committed = desk.commit(&held.id, &event).unwrap();
    let before = desk.rig.place.clock.wall();
    desk.rig.place.clock.set_wall(before.plus(DAY * 40));
    // Log time goes with it.
    desk.used("1");
    desk.reserve("1").unwrap();
    desk.rig.machine.checkpoint().unwrap();
    desk.rig.place.clock.set_wall(before.plus(Duration::from_secs(1)));
    desk.rig.change(Command::ConfirmClock).unwrap();
    let mut desk = desk.killed(Crash::DropsAll);
    assert_eq!(desk.commit(&held.id, &event), Ok(committed));
}
