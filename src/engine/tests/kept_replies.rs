//! A request that is sent again gets the first answer and changes nothing, for as long as promised.

use std::time::Duration;

use super::rig::{Crash, Rig, tiny};
use super::story::meter_of;
use crate::engine::command::{Changed, Command, NewKey, Outcome, Refused, RequestIdentity};
use crate::model::{Aggregation, KeyDigest, KeyId, Lsn, MeterId, Scope};
use crate::storage::rows::Table;

const DAY: Duration = Duration::from_hours(24);

fn identity(key: Option<u8>, content: u8, is_retry: bool) -> RequestIdentity {
    RequestIdentity { explicit: key.map(|key| [key; 32]), content: [content; 32], is_retry }
}

impl Rig {
    fn create_meter(&mut self, identity: RequestIdentity) -> Result<Changed, Refused> {
        let command = Command::CreateMeter(meter_of("call", Aggregation::Count));
        let slot = self.propose(command, Some(identity));
        self.settle().unwrap();
        slot.answer()
    }

    fn last_lsn(&self) -> Lsn {
        self.engine.stats().last_lsn
    }
}

fn meter(changed: &Changed) -> &MeterId {
    let Outcome::Meter(meter) = &changed.outcome else { panic!("{changed:?}") };
    &meter.id
}

/// Whether the request gets the answer that `first` was, and nothing is logged.
fn assert_repeats(rig: &mut Rig, identity: RequestIdentity, first: &Changed) {
    let before = rig.last_lsn();
    let again = rig.create_meter(identity).unwrap();
    assert_eq!((meter(&again), again.lsn, again.replayed), (meter(first), first.lsn, true));
    assert_eq!(rig.last_lsn(), before);
}

fn assert_new(rig: &mut Rig, identity: RequestIdentity) {
    let before = rig.last_lsn();
    let changed = rig.create_meter(identity).unwrap();
    assert_eq!((changed.lsn, changed.replayed), (before.next(), false));
    assert_eq!(rig.last_lsn(), before.next());
}

/// The ways in which a process can end and the next one begin.
fn lives(mut rig: Rig, mut look: impl FnMut(&mut Rig)) {
    look(&mut rig);
    rig = rig.place.after(Crash::Killed).open();
    look(&mut rig);
    rig.machine.checkpoint().unwrap();
    look(&mut rig);
    rig = rig.place.after(Crash::DropsAll).open();
    assert_eq!(rig.replayed, 0, "the answers come from the checkpoint");
    look(&mut rig);
    rig = rig.stop().open();
    look(&mut rig);
}

#[test]
fn a_key_gives_the_first_answer_across_restarts_and_checkpoints() {
    let mut rig = Rig::new(tiny());
    let first = rig.create_meter(identity(Some(1), 2, false)).unwrap();
    assert!(!first.replayed);
    rig.advance(DAY.checked_sub(Duration::from_nanos(1)).unwrap());
    lives(rig, |rig| {
        assert_repeats(rig, identity(Some(1), 2, false), &first);
        assert_repeats(rig, identity(Some(1), 2, true), &first);
        let reused = rig.create_meter(identity(Some(1), 3, false)).map(drop);
        assert_eq!(reused, Err(Refused::IdempotencyKeyReused));
    });
}

#[test]
fn a_retry_without_a_key_gets_the_first_answer_for_ten_minutes() {
    let mut rig = Rig::new(tiny());
    let first = rig.create_meter(identity(None, 2, false)).unwrap();
    rig.advance(Duration::from_mins(10) - Duration::from_nanos(1));
    lives(rig, |rig| assert_repeats(rig, identity(None, 2, true), &first));
}

#[test]
fn an_answer_that_is_too_old_is_given_no_more_and_its_row_goes() {
    for (key, kept_for) in [(Some(1), DAY), (None, Duration::from_mins(10))] {
        for has_checkpoint in [false, true] {
            let mut rig = Rig::new(tiny());
            rig.create_meter(identity(key, 2, false)).unwrap();
            rig.machine.checkpoint().unwrap();
            let rows =
                |rig: &Rig| rig.machine.shared.rows.read().unwrap().count(Table::Objects).unwrap();
            assert_eq!(rows(&rig), 1);
            rig.advance(kept_for);
            if has_checkpoint {
                // Another record moves log time on.
                rig.create_meter(identity(Some(9), 9, false)).unwrap();
                rig.machine.checkpoint().unwrap();
                assert_eq!(rows(&rig), 1, "only the new answer is kept");
            }
            let mut rig = rig.place.after(Crash::Killed).open();
            assert_new(&mut rig, identity(key, 2, true));
        }
    }
}

#[test]
fn a_request_with_a_key_does_not_hide_one_without() {
    let mut rig = Rig::new(tiny());
    let first = rig.create_meter(identity(None, 2, false)).unwrap();
    assert_new(&mut rig, identity(Some(1), 2, false));
    lives(rig, |rig| assert_repeats(rig, identity(None, 2, true), &first));
}

#[test]
fn the_answer_is_the_first_one_whatever_became_of_the_object() {
    let mut rig = Rig::new(tiny());
    let new = NewKey {
        id: KeyId::new("key"),
        name: "key".to_owned(),
        scope: Scope::Read,
        digest: KeyDigest([1; 32]),
    };
    let again = |rig: &mut Rig| {
        let slot = rig.propose(Command::CreateKey(new.clone()), Some(identity(Some(1), 1, false)));
        rig.settle().unwrap();
        slot.answer().unwrap()
    };
    assert!(!again(&mut rig).replayed);
    rig.change(Command::DeleteKey(new.id.clone())).unwrap();
    lives(rig, |rig| {
        let Changed { outcome, replayed, .. } = again(rig);
        let Outcome::Key(key) = outcome else { panic!("{outcome:?}") };
        assert!(replayed && key.deleted_at.is_none());
        assert_eq!(rig.engine.keys(), []);
    });
}

#[test]
fn a_refused_request_is_not_remembered() {
    let mut rig = Rig::new(tiny());
    let command = Command::ArchiveMeter(MeterId::new("unknown"));
    let slot = rig.propose(command, Some(identity(Some(1), 1, false)));
    rig.settle().unwrap();
    assert_eq!(slot.answer().map(drop), Err(Refused::NotFound("meter")));
    assert_new(&mut rig, identity(Some(1), 2, false));
}
