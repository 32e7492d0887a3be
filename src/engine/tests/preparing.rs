//! What was prepared off the committer may be out of date: the committer looks again.

use super::compare::assert_same;
use super::model::Model;
use super::rig::{Crash, Rig, Sent, Slot, tiny};
use super::story::meter_of;
use super::trial::{Trial, check};
use crate::engine::Ingested;
use crate::engine::command::Command;
use crate::engine::options::Options;
use crate::model::{Aggregation, Lsn};

fn answer(slot: &Slot<Ingested>) -> (u32, u32, u32) {
    let Ingested { new, duplicates, conflicts, .. } = slot.answer().unwrap();
    (new, duplicates, conflicts)
}

/// Decides `sent`, that was prepared earlier, and tells the model of it now.
fn decide(trial: &mut Trial, slot: &Slot<Ingested>, sent: &[Sent]) {
    let now = trial.rig.engine.now();
    assert_eq!(slot.answer().unwrap(), trial.model.ingest(sent, now, now).unwrap());
}

#[test]
fn an_event_is_counted_under_the_catalogue_that_holds_when_it_is_decided() {
    let sent = |id: &str| vec![Sent::new(id, "cus-0").with_tokens("3")];
    let mut trial = Trial::new(&tiny(), 1);
    let [before, after, archived] = ["before", "after", "archived"].map(sent);
    let prepared = [&before, &after].map(|sent| trial.rig.prepare(sent).unwrap());
    let [first, second] = prepared;

    // One before the meter, one behind it, all in the queue at once.
    let first = trial.rig.submit(first);
    let sum = Aggregation::Sum { key: "tokens".to_owned() };
    trial.propose(Command::CreateMeter(meter_of("call", sum)));
    let second = trial.rig.submit(second);
    trial.rig.settle().unwrap();
    decide(&mut trial, &first, &before);
    trial.take_answers();
    decide(&mut trial, &second, &after);
    assert_eq!(trial.model.counted.len(), 2, "one before the meter, one behind it");
    assert_same(&trial.rig, &trial.model);

    let late = trial.rig.prepare(&archived).unwrap();
    let meter = trial.model.meters[0].id.clone();
    trial.propose(Command::ArchiveMeter(meter));
    trial.settle().unwrap();
    let late = trial.rig.submit(late);
    trial.rig.settle().unwrap();
    decide(&mut trial, &late, &archived);
    assert_eq!(trial.model.counted.len(), 2);
    assert_same(&trial.rig, &trial.model);
    for crash in [Crash::Killed, Crash::DropsAll] {
        check(&trial.rig.place.after(crash), &trial.model, &[]);
    }
}

#[test]
fn a_request_that_looked_before_generations_retired_still_finds_its_duplicates() {
    let options = Options { generation_ids: 4, ..tiny() };
    let mut rig = Rig::new(options);
    let event = |number: u32| Sent::new(format!("event-{number}"), "cus-0");
    let first: Vec<_> = (0..4).map(event).collect();
    assert_eq!(rig.ingest(&first).unwrap().new, 4);
    // The ids are in a generation, and in no run yet.
    let mut again = first.clone();
    again[3] = again[3].clone().with_tokens("1");
    let prepared = rig.prepare(&again).unwrap();
    let with_new: Vec<_> = [first[0].clone(), event(1_000)].into();
    let mixed = rig.prepare(&with_new).unwrap();
    for number in 4..40 {
        assert_eq!(rig.ingest(&[event(number)]).unwrap().new, 1);
        rig.flush_all();
    }
    let complete_from = rig.machine.shared.generations.lock().complete_from();
    assert!(prepared.view_version < complete_from, "the generation is gone");
    let (again, mixed) = (rig.submit(prepared), rig.submit(mixed));
    rig.settle().unwrap();
    assert_eq!(answer(&again), (0, 4, 1));
    assert_eq!(answer(&mixed), (1, 1, 0));
    assert_eq!(rig.engine.stats().last_lsn, Lsn(41));
}

#[test]
fn of_two_requests_of_one_group_with_the_same_new_id_one_is_a_duplicate() {
    let mut trial = Trial::new(&tiny(), 1).with_meters();
    let event = |id: &str| Sent::new(id, "cus-0").with_tokens("2");
    let requests = [
        vec![event("a"), event("b")],
        vec![event("b"), event("c")],
        vec![event("a").with_tokens("9"), event("b"), event("c")],
        // The same new customer in two requests.
        vec![Sent::new("d", "cus-1")],
        vec![Sent::new("e", "cus-1"), event("d")],
    ];
    let before = trial.model.lsn;
    for sent in requests {
        trial.send(sent);
    }
    // All in one group, so that none of them is applied when the next is decided.
    let machine = &mut trial.rig.machine;
    while let Ok(submission) = machine.queue.try_recv() {
        assert!(machine.committer.admit(submission).is_none());
    }
    let mut group = machine.committer.take().unwrap();
    assert_eq!((group.lsn_count, group.entry_count), (5, 4));
    machine.writer.write(&mut group).unwrap();
    machine.committer.finish(group);
    trial.take_answers();
    assert_eq!(trial.model.lsn, before + 5);
    assert_same(&trial.rig, &trial.model);
    check(&trial.rig.place.after(Crash::DropsAll), &trial.model, &[]);
}

#[test]
fn a_group_is_decided_on_what_the_group_before_it_holds() {
    let mut trial = Trial::new(&tiny(), 1).with_meters();
    let event = |id: &str, customer: &str| Sent::new(id, customer).with_tokens("2");
    let mut groups = Vec::new();
    for round in ["first", "second", "third"] {
        trial.send(vec![event("same", "cus-0"), event(round, "cus-1"), event("x", "cus-2")]);
        let machine = &mut trial.rig.machine;
        let submission = machine.queue.try_recv().unwrap();
        assert!(machine.committer.admit(submission).is_none());
        groups.push(machine.committer.take().unwrap());
    }
    trial.take_answers();
    assert_eq!(trial.waiting.len(), 3, "nothing is answered before it is durable");
    for mut group in groups {
        trial.rig.machine.writer.write(&mut group).unwrap();
        trial.rig.machine.committer.finish(group);
        trial.take_answers();
    }
    assert_same(&trial.rig, &trial.model);
    let untouched = Model::new(&tiny());
    assert_eq!(trial.model.events.len(), untouched.events.len() + 5);
    check(&trial.rig.place.after(Crash::Killed), &trial.model, &[]);
}
