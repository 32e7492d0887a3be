//! A refused request changes nothing, whichever of its events breaks whichever rule.

use std::time::Duration;

use super::compare::assert_same;
use super::rig::{Crash, Place, Rig, Sent, Value, tiny};
use super::story::meter_of;
use super::trial::{Trial, check};
use crate::engine::Ingested;
use crate::engine::checkpoint::{Checkpoint, Checkpoints, META, SnapshotBase};
use crate::engine::command::{Command, Refused};
use crate::engine::options::{Options, UnknownCustomers};
use crate::engine::state::MeterTotals;
use crate::metering::Rule;
use crate::model::{Aggregation, Timestamp};
use crate::storage::rows::RowStore;
use crate::storage::{codec, snapshot};

/// The place of the event and the rule for which a request was refused.
fn broken(answer: Result<Ingested, Refused>) -> (usize, Rule) {
    match answer {
        Err(Refused::Event(refusal)) => (refusal.event_index, refusal.rejection.rule),
        other => panic!("not refused for a rule: {other:?}"),
    }
}

fn new(id: &str) -> Sent {
    Sent::new(id, "cus-new").with_tokens("1")
}

/// Sends good events with `bad` among them: the request is refused for it, nothing of it is
/// there, and the good ones are new when they come again.
fn assert_refused_whole(trial: &mut Trial, bad: &Sent, rule: Rule) {
    let (model, refused) = (trial.model.clone(), trial.rig.engine.stats().events_refused);
    let sent = vec![new("good-1"), bad.clone(), new("good-2")];
    assert_eq!(broken(trial.rig.ingest(&sent)), (1, rule));
    assert_same(&trial.rig, &model);
    let count = |refused: &std::collections::BTreeMap<&str, u64>| {
        refused.get(rule.name()).copied().unwrap_or(0)
    };
    assert_eq!(count(&trial.rig.engine.stats().events_refused), count(&refused) + 1);
    check(&trial.rig.place.after(Crash::Killed), &model, &[]);
    let good = [new("good-1"), new("good-2")].map(|sent| Sent { customer: "cus-0".into(), ..sent });
    let mut rig = trial.rig.place.after(Crash::Killed).open();
    assert_eq!(rig.ingest(&good).unwrap().new, 2);
}

fn trial(options: &Options) -> Trial {
    let mut trial = Trial::new(options, 3).with_meters().with_customers();
    for _ in 0..5 {
        trial.send_any();
        trial.settle().unwrap();
    }
    trial
}

#[test]
fn an_event_outside_the_window_refuses_its_request() {
    let mut trial = trial(&tiny());
    let (now, rules) = (trial.rig.engine.now(), tiny().rules);
    let nano = Duration::from_nanos(1);
    let old = new("old").at(now.minus(rules.max_age + nano));
    assert_refused_whole(&mut trial, &old, Rule::TooOld);
    let early = new("early").at(now.plus(rules.max_ahead + nano));
    assert_refused_whole(&mut trial, &early, Rule::TooFarAhead);
}

#[test]
fn an_event_outside_the_window_whose_id_is_known_is_a_duplicate() {
    let mut rig = Rig::new(tiny());
    let event = Sent::new("known", "cus-0").at(rig.engine.now());
    assert_eq!(rig.ingest(std::slice::from_ref(&event)).unwrap().new, 1);
    rig.advance(Duration::from_hours(50));
    rig.machine.checkpoint().unwrap();
    let mut rig = rig.place.after(Crash::Killed).open();
    let answer = rig.ingest(&[event, Sent::new("new", "cus-0")]).unwrap();
    assert_eq!((answer.new, answer.duplicates, answer.conflicts), (1, 1, 0));
}

#[test]
fn an_id_twice_in_a_request_refuses_it() {
    let mut trial = trial(&tiny());
    let bad = Sent { id: "good-1".to_owned(), ..new("") };
    assert_refused_whole(&mut trial, &bad, Rule::RepeatedId);
}

#[test]
fn an_unknown_customer_refuses_the_request_when_none_are_created() {
    let options = Options { unknown_customers: UnknownCustomers::Reject, ..tiny() };
    let mut trial = trial(&options);
    let sent = [Sent::new("known", "cus-1"), Sent::new("unknown", "cus-new")];
    let model = trial.model.clone();
    assert_eq!(broken(trial.rig.ingest(&sent)), (1, Rule::UnknownCustomer));
    assert_same(&trial.rig, &model);
    assert_eq!(trial.rig.ingest(&sent[..1]).unwrap().new, 1);
}

#[test]
fn an_event_of_an_hour_that_left_memory_is_refused_even_if_it_arrived_in_time() {
    let mut trial = trial(&tiny());
    let at = trial.rig.engine.now();
    let request = [new("new"), new("late").at(at.minus(Duration::from_mins(50)))];
    let waits = trial.rig.prepare(&request).unwrap();
    // It waits longer than the grace covers; meanwhile its hour is moved to disk.
    trial.advance(Duration::from_hours(2));
    trial.rig.ingest(&[Sent::new("now", "cus-0")]).unwrap();
    trial.rig.machine.checkpoint().unwrap();
    let before = trial.rig.engine.stats().last_lsn;
    let slot = trial.rig.submit(waits);
    trial.rig.settle().unwrap();
    assert_eq!(broken(slot.answer()), (0, Rule::TooOld));
    assert_eq!(trial.rig.engine.stats().last_lsn, before);
}

/// Writes the newest checkpoint anew, as if meter 0 had seen values of this magnitude.
fn set_magnitude(place: &Place, magnitude: u128) {
    let disk = &place.disk;
    let incarnation = crate::engine::incarnation::read(&place.world()).unwrap().unwrap().id;
    let store = RowStore::open(disk).unwrap();
    let meta = store.read().unwrap().meta(META).unwrap().unwrap();
    let mut checkpoints: Checkpoints = codec::decode(&meta).unwrap();
    let Checkpoint { snapshot: name, hash, .. } = &checkpoints.newest;
    let mut reader = snapshot::Reader::open(disk, name, incarnation, hash).unwrap();
    let head = reader.chunk().unwrap().unwrap();
    let mut base: SnapshotBase = codec::decode(&reader.chunk().unwrap().unwrap()).unwrap();
    base.totals = vec![MeterTotals { magnitude, ..MeterTotals::default() }];
    let mut changed = Vec::new();
    codec::encode(&base, &mut changed);
    "snapshot-forged".clone_into(&mut checkpoints.newest.snapshot);
    let name = &checkpoints.newest.snapshot;
    let mut writer = snapshot::Writer::create(disk, name, incarnation).unwrap();
    writer.chunk(&head).unwrap();
    writer.chunk(&changed).unwrap();
    while let Some(chunk) = reader.chunk().unwrap() {
        writer.chunk(&chunk).unwrap();
    }
    checkpoints.newest.hash = writer.finish(disk).unwrap();
    let mut meta = Vec::new();
    codec::encode(&checkpoints, &mut meta);
    let batch = store.begin().unwrap();
    batch.set_meta(META, &meta).unwrap();
    batch.commit().unwrap();
}

#[test]
fn a_total_that_could_overflow_refuses_the_request_and_changes_nothing() {
    let mut first = Trial::new(&tiny(), 3);
    let sum = Aggregation::Sum { key: "tokens".to_owned() };
    first.propose(Command::CreateMeter(meter_of("call", sum)));
    first.settle().unwrap();
    first = first.with_customers();
    first.rig.machine.checkpoint().unwrap();
    let place = first.rig.place.after(Crash::Killed);
    // Room for 10 more.
    let one = 10_u128.pow(12);
    set_magnitude(&place, i128::MAX.unsigned_abs() - 10 * one);
    let mut trial = Trial::at(&place, first.model, 4);
    let of = |id: &str, tokens: &str| Sent::new(id, "cus-1").with_tokens(tokens);

    assert_refused_whole(&mut trial, &of("more", "10"), Rule::Overflow);
    assert_refused_whole(&mut trial, &of("minus", "-10"), Rule::Overflow);
    assert_refused_whole(&mut trial, &of("tiny", "9.000000000001"), Rule::Overflow);
    // What is not counted, or was counted before, does not matter.
    let other = Sent { name: "store".to_owned(), ..of("other", "100") };
    let text = Sent::new("text", "cus-1").with("tokens", Value::Text("100".to_owned()));
    trial.send(vec![of("a", "4"), other, text, of("b", "-4")]);
    trial.settle().unwrap();
    trial.send(vec![of("a", "4"), of("b", "-4"), of("c", "2")]);
    trial.settle().unwrap();
    assert_same(&trial.rig, &trial.model);
    // Now it is full, and still is after a restart.
    let model = trial.model.clone();
    let mut rig = trial.rig.place.after(Crash::DropsAll).open();
    assert_eq!(broken(rig.ingest(&[of("d", "0.000000000001")])), (0, Rule::Overflow));
    assert_same(&rig, &model);
    assert_eq!(rig.ingest(&[of("e", "0")]).unwrap().new, 1);
}

#[test]
fn while_the_disk_is_nearly_full_events_are_refused_and_the_rest_goes_on() {
    let mut rig = Rig::new(Options { reserve_bytes: 1 << 20, ..tiny() });
    rig.ingest(&[Sent::new("before", "cus-0")]).unwrap();
    rig.place.disk.set_free_bytes((1 << 20) - 1);
    rig.machine.shared.observe_disk();
    assert_eq!(rig.ingest(&[Sent::new("full", "cus-0")]), Err(Refused::StorageFull));
    assert!(!rig.engine.readiness().is_ready());
    assert!(rig.change(Command::CreateMeter(meter_of("call", Aggregation::Count))).is_ok());
    assert!(rig.engine.event(&crate::model::EventId::new("before")).unwrap().is_some());
    rig.place.disk.set_free_bytes(1 << 30);
    rig.machine.shared.observe_disk();
    assert_eq!(rig.ingest(&[Sent::new("full", "cus-0")]).unwrap().new, 1);
    assert!(rig.engine.readiness().is_ready());
}

#[test]
fn an_instant_at_the_end_of_time_is_refused_like_any_other() {
    let mut rig = Rig::new(tiny());
    for at in
        [Timestamp::MIN.plus(Duration::from_secs(1)), Timestamp::MAX, Timestamp::from_nanos(-1)]
    {
        let rule = if at < rig.engine.now() { Rule::TooOld } else { Rule::TooFarAhead };
        assert_eq!(broken(rig.ingest(&[Sent::new("never", "cus-0").at(at)])), (0, rule));
    }
}

#[test]
fn a_full_queue_refuses_at_once_and_what_waits_is_admitted() {
    let mut rig = Rig::new(Options { queue_length: 4, ..tiny() });
    let slots: Vec<_> =
        (0..6).map(|number| rig.send(&[Sent::new(number.to_string(), "cus-0")])).collect();
    let change = rig.propose(Command::ConfirmClock, None);
    assert_eq!(change.answer().unwrap_err(), Refused::Busy);
    for slot in &slots[4..] {
        assert_eq!(slot.answer().unwrap_err(), Refused::Busy);
    }
    assert!(rig.engine.stats().queue_bytes > 0);
    rig.settle().unwrap();
    assert!(slots[..4].iter().all(|slot| slot.answer().unwrap().new == 1));
    assert_eq!(rig.engine.stats().queue_bytes, 0);
}
