//! A checkpoint is the state at exactly one LSN, whatever is applied while it is made.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Model, Skip};
use super::rig::{Crash, Rig, tiny};
use super::trial::{Trial, check};
use crate::engine::checkpoint::{
    Checkpoint, Checkpoints, META, Progress, SnapshotBase, SnapshotChunk,
};
use crate::engine::everybody::EVERYBODY;
use crate::engine::stripes::Key;
use crate::engine::usage_rows::{self, Grain};
use crate::metering::{Accumulator, Sample, SkipReason};
use crate::model::{Customer, CustomerIndex, Hour, Lsn, MeterIndex, Quantity};
use crate::storage::rows::Table;
use crate::storage::{codec, snapshot};

type Accumulators = BTreeMap<Key, Accumulator>;

/// What the model's events come to, by hour, of each customer and of everybody.
fn accumulators(model: &Model) -> Accumulators {
    let mut found = Accumulators::new();
    for row in &model.counted {
        let customer = CustomerIndex(u32::try_from(row.customer).unwrap());
        for customer in [customer, EVERYBODY] {
            let meter = MeterIndex(u32::try_from(row.meter).unwrap());
            let key = Key { meter, customer, hour: Hour::of(row.at) };
            let accumulator = found.entry(key).or_default();
            match row.units {
                Ok(units) => accumulator.add(
                    model.kind(row.meter),
                    Sample { value: Quantity::from_units(units), at: row.at, lsn: Lsn(row.lsn) },
                ),
                Err(Skip::Missing) => accumulator.skip(SkipReason::Missing),
                Err(Skip::NotANumber) => accumulator.skip(SkipReason::NotANumber),
                Err(Skip::OutOfRange) => accumulator.skip(SkipReason::OutOfRange),
            }
        }
    }
    found
}

fn checkpoints(rig: &Rig) -> Checkpoints {
    let view = rig.machine.shared.rows.read().unwrap();
    codec::decode(&view.meta(META).unwrap().expect("there is a checkpoint")).unwrap()
}

/// The base and the accumulators of the newest snapshot.
fn read_snapshot(rig: &Rig) -> (SnapshotBase, Accumulators) {
    let incarnation = rig.machine.shared.incarnation.id;
    let Checkpoint { snapshot: name, hash, .. } = checkpoints(rig).newest;
    let mut reader = snapshot::Reader::open(&rig.place.disk, &name, incarnation, &hash).unwrap();
    let pieces: usize = codec::decode(&reader.chunk().unwrap().unwrap()).unwrap();
    let base: Vec<u8> = (0..pieces).flat_map(|_| reader.chunk().unwrap().unwrap()).collect();
    let mut found = Accumulators::new();
    while let Some(chunk) = reader.chunk().unwrap() {
        let entries = match codec::decode(&chunk).unwrap() {
            SnapshotChunk::Hours(entries) => entries,
            SnapshotChunk::Segments(_)
            | SnapshotChunk::Pending(_)
            | SnapshotChunk::Pools(_)
            | SnapshotChunk::Marks(_)
            | SnapshotChunk::Entries(_)
            | SnapshotChunk::Reservations(_)
            | SnapshotChunk::Fired(_)
            | SnapshotChunk::Touched(_)
            | SnapshotChunk::Endpoints(..)
            | SnapshotChunk::Subscriptions(_) => continue,
        };
        for (key, accumulator) in entries {
            assert_eq!(found.insert(key, accumulator), None, "no accumulator stands there twice");
        }
    }
    (codec::decode(&base).unwrap(), found)
}

/// The hours and days that are rows.
fn read_rows(rig: &Rig, model: &Model, memory_from: Hour, grain: Grain) -> Accumulators {
    let view = rig.machine.shared.rows.read().unwrap();
    let mut found = Accumulators::new();
    for meter in (0..u32::try_from(model.meters.len()).unwrap()).map(MeterIndex) {
        let customers = (0..u32::try_from(model.customers.len()).unwrap()).map(CustomerIndex);
        for customer in customers.chain([EVERYBODY]) {
            let hours = Hour(0)..memory_from;
            let rows = usage_rows::read(&view, (meter, customer), hours, grain).unwrap();
            found.extend(rows.into_iter().map(|(hour, row)| (Key { meter, customer, hour }, row)));
        }
    }
    found
}

/// Whether the newest checkpoint, without the log above it, is the state of `cut`.
fn assert_is_cut(rig: &Rig, cut: &Model) {
    let Checkpoints { newest, memory_from, .. } = checkpoints(rig);
    assert_eq!(newest.lsn, cut.last_lsn());
    let (base, in_memory) = read_snapshot(rig);
    assert_eq!((base.lsn, base.log_time), (cut.last_lsn(), cut.log_time));
    assert_eq!(base.meters, cut.meters);
    for (place, totals) in base.totals.iter().enumerate() {
        let rows = || cut.counted.iter().filter(|row| row.meter == place);
        let counted = rows().filter_map(|row| row.units.ok());
        let magnitude: u128 = counted.clone().map(i128::unsigned_abs).sum();
        assert_eq!((totals.counted, totals.magnitude), (counted.count() as u64, magnitude));
        let skipped: u64 = totals.skipped.iter().sum();
        assert_eq!(skipped, rows().filter(|row| row.units.is_err()).count() as u64);
    }
    let (closed, open): (Accumulators, Accumulators) =
        accumulators(cut).into_iter().partition(|(key, _)| key.hour < memory_from);
    assert_eq!(in_memory, open);
    assert_eq!(read_rows(rig, cut, memory_from, Grain::Hours), closed);
    let mut days = Accumulators::new();
    for (key, hour) in closed {
        // Days that are not over are read by the hour.
        let day = key.hour.day_start();
        let hour_of_row = if day.plus(24) <= memory_from { day } else { key.hour };
        let kind = cut.kind(key.meter.position());
        days.entry(Key { hour: hour_of_row, ..key }).or_default().merge(kind, &hour);
    }
    assert_eq!(read_rows(rig, cut, memory_from, Grain::Days), days);
    assert_eq!(read_customers(rig), cut.customers);
}

fn read_customers(rig: &Rig) -> Vec<Customer> {
    let mut customers = Vec::new();
    let view = rig.machine.shared.rows.read().unwrap();
    view.range(Table::Objects, &[1], &[2], |_, row| {
        customers.push(codec::decode(row).unwrap());
        true
    })
    .unwrap();
    customers
}

fn send_anything(trial: &mut Trial) {
    if trial.story.dice.one_in(4) {
        let command = trial.story.named_command(&trial.model);
        trial.propose(command);
    }
    trial.send_any();
    trial.settle().unwrap();
}

#[test]
fn a_checkpoint_during_ingest_is_the_state_of_one_lsn() {
    for seed in 0..4 {
        let mut trial = Trial::new(&tiny(), seed).with_meters();
        for _ in 0..4 {
            for _ in 0..15 {
                send_anything(&mut trial);
                trial.advance(Duration::from_secs(trial.story.dice.below(4 * 3_600)));
            }
            let cut = trial.model.clone();
            trial.rig.machine.checkpointer.begin();
            trial.settle().unwrap();
            while trial.rig.machine.checkpointer.step().unwrap() != Progress::Finished {
                if trial.story.dice.one_in(40) {
                    send_anything(&mut trial);
                }
                if trial.story.dice.one_in(400) {
                    trial.advance(Duration::from_mins(20));
                }
            }
            assert!(trial.model.lsn > cut.lsn + 50);
            assert_is_cut(&trial.rig, &cut);
        }
    }
}

#[test]
fn a_checkpoint_that_stops_anywhere_changes_nothing() {
    let mut trial = Trial::new(&tiny(), 5).with_meters();
    for round in 0..3 {
        for _ in 0..10 {
            send_anything(&mut trial);
            trial.advance(Duration::from_mins(20));
        }
        trial.rig.machine.checkpointer.begin();
        trial.settle().unwrap();
        let mut steps = 0;
        while trial.rig.machine.checkpointer.step().unwrap() != Progress::Finished {
            steps += 1;
            if steps % 191 == round {
                send_anything(&mut trial);
                for crash in [Crash::Killed, Crash::DropsAll, Crash::Random(steps)] {
                    check(&trial.rig.place.after(crash), &trial.model, &[]);
                }
            }
        }
    }
}
