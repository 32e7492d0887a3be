//! One event id on 64 connections at once, and a crash before, in or after the sync: exactly one request
//! stores it, and nobody hears of it who could be contradicted after the restart.

use std::sync::atomic::{AtomicU64, Ordering};

use quipu::engine::options::Options;
use quipu::model::{EventId, Timestamp};

use crate::dice::Dice;
use crate::event::Sent;
use crate::place::{Crash, Place};

/// Rounds of an ordinary `cargo test`.
const ROUNDS: u64 = 200;
const CONNECTIONS: usize = 64;

fn event(id: &str) -> Sent {
    let (id, customer) = (id.to_owned(), "cus-0".to_owned());
    Sent { id, customer, name: "call", at: None, metadata: Vec::new() }
}

/// Whether the process was answering when it ended.
fn round(seed: u64) -> bool {
    let dice = Dice::new(seed);
    let options = Options {
        segment_bytes: 16 << 10,
        generation_ids: 64,
        queue_length: 2 * CONNECTIONS,
        reserve_bytes: 0,
        ..Options::default()
    };
    let start = Timestamp::parse("2026-01-30T09:26:53.5Z").expect("a date");
    let mut place = Place::new(options, start);
    let mut process = place.open().expect("an empty disk");
    place.disk.stop_at(place.disk.operations() + 1 + dice.below(12));
    let mut slots = Vec::new();
    for connection in 0..CONNECTIONS {
        // Some bring another event along, so that they have something new all the same.
        let mut sent = vec![event("one")];
        if dice.one_in(8) {
            sent.push(event(&format!("other-{connection}")));
        }
        slots.push((process.send(&sent), sent.len()));
        let is_last = connection + 1 == CONNECTIONS;
        if (is_last || dice.one_in(16)) && process.settle_in_turns(&dice).is_err() {
            break;
        }
    }
    let mut storing = 0;
    let mut answers = 0;
    for (slot, events) in slots {
        let Some(Ok(ingested)) = slot.take() else { continue };
        answers += 1;
        let others = u32::try_from(events - 1).expect("few");
        storing += u64::from(ingested.new > others);
        assert_eq!(ingested.new + ingested.duplicates, others + 1);
    }
    assert!(storing <= 1, "seed {seed}: stored {storing} times");
    assert!(answers == 0 || storing == 1, "seed {seed}: a duplicate of nothing");
    drop(process);
    let crash = *dice.pick(&[Crash::Killed, Crash::DropsAll, Crash::Random(seed)]);
    let mut place = place.after(crash);
    let mut process = place.open().expect("it starts after any crash");
    let found = process.engine.event(&EventId::new("one")).expect("a healthy disk").is_some();
    assert!(found || answers == 0, "seed {seed}: {answers} answers, and the event is gone");
    let slot = process.send(&[event("one")]);
    process.settle().expect("a healthy disk");
    let again = slot.take().expect("it was settled").expect("it is well formed");
    assert_eq!(again.new, u32::from(!found), "seed {seed}");
    answers > 0
}

#[test]
fn one_id_on_many_connections_is_stored_once_and_never_denied() {
    let rounds = crate::setting("QUIPU_ROUNDS").unwrap_or(ROUNDS);
    let (next, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= rounds {
                        return;
                    }
                    answered.fetch_add(u64::from(round(seed)), Ordering::Relaxed);
                }
            });
        }
    });
    let answered = answered.into_inner();
    println!("{rounds} rounds; in {answered} of them somebody was answered before the crash");
    assert!(answered > rounds / 5 && answered < rounds, "the crashes fall everywhere");
}
