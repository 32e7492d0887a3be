//! The real threads over a simulated disk: what several clients were told is what is there, whatever
//! order the machine gives to their requests, and a failed disk ends it without a false answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};
use crossbeam::select;

use super::compare::{all_events, usage_of};
use super::rig::{Crash, Place, Rig, Sent, prepare, tiny};
use super::story::meter_of;
use crate::engine::command::{Command, Outcome};
use crate::engine::machine::Fatal;
use crate::engine::threads::{Tether, Threads, spawn};
use crate::engine::{Engine, Ingested};
use crate::model::{Aggregation, MeterId};
use crate::world::sim::{FaultKind, Repeat};

const CLIENTS: usize = 4;

/// What one client saw: ids that were acknowledged, and how many of those were new.
#[derive(Default)]
struct Seen {
    ids: BTreeSet<String>,
    new: usize,
}

/// Request `number` of a client: ids of its own, and one that every client sends.
fn request(client: usize, number: usize) -> Vec<Sent> {
    let customer = format!("cus-{}", number % 7);
    let own = (0..number % 5).map(|event| format!("own-{client}-{number}-{event}"));
    let ids = own.chain([format!("shared-{number}")]);
    ids.map(|id| Sent::new(id, &customer)).collect()
}

/// Sends requests until the process ends, at most `count`.
fn send_all(engine: &Engine, client: usize, count: usize, end: &Receiver<()>) -> Seen {
    let mut seen = Seen::default();
    for number in 0..count {
        let sent = request(client, number);
        // A disk that cannot be read any more refuses what may be known; the rest goes on.
        let Ok(prepared) = prepare(engine, &sent) else { continue };
        let (reply, answer) = bounded(1);
        engine.submit(prepared, move |answer| drop(reply.send(answer)));
        // Whoever waits when the process ends sees its connection close.
        let answer = select! { recv(answer) -> answer => answer, recv(end) -> _ => return seen };
        let Ok(answer) = answer else { return seen };
        let Ok(Ingested { new, duplicates, .. }) = answer else { continue };
        assert_eq!(new as usize + duplicates as usize, sent.len());
        seen.new += new as usize;
        seen.ids.extend(sent.into_iter().map(|sent| sent.id));
    }
    seen
}

/// A place with one meter that counts every event.
fn metered() -> (Place, MeterId) {
    let mut rig = Rig::new(tiny());
    let changed = rig.change(Command::CreateMeter(meter_of("call", Aggregation::Count))).unwrap();
    let Outcome::Meter(meter) = changed.outcome else { panic!("a meter was made") };
    (rig.stop(), meter.id)
}

/// The ids that an engine holds, each once and counted once.
fn held(rig: &Rig, meter: &MeterId) -> BTreeSet<String> {
    let events = rig.engine.events(&all_events()).unwrap();
    let ids: BTreeSet<_> = events.iter().map(|event| event.id.as_str().to_owned()).collect();
    assert_eq!(ids.len(), events.len(), "no id is there twice");
    let usage = rig.engine.usage(&usage_of(Some(meter), None)).unwrap();
    let counted: i128 = usage.items.iter().map(|row| row.total.as_units() / 10_i128.pow(12)).sum();
    assert_eq!(usize::try_from(counted).unwrap(), ids.len(), "every event is counted once");
    ids
}

/// Lets all clients send at once until they are through or the engine has failed.
fn run(rig: Rig, count: usize) -> (Vec<Seen>, Result<(), Fatal>) {
    let Rig { machine, engine, .. } = rig;
    let threads = Threads::start(machine);
    let failures = threads.failures();
    let (running, ended) = bounded(0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (engine, ended) = (engine.clone(), ended.clone());
                scope.spawn(move || send_all(&engine, client, count, &ended))
            })
            .collect();
        if count == usize::MAX {
            let fatal = failures.recv().expect("the failure is announced");
            let stopped = threads.stop();
            assert!(stopped.is_err(), "the parts of a failed engine are not given back");
            drop(running);
            return (clients.into_iter().map(|seen| seen.join().unwrap()).collect(), Err(fatal));
        }
        let seen = clients.into_iter().map(|seen| seen.join().unwrap()).collect();
        (seen, threads.stop().and_then(crate::engine::machine::Machine::shut_down))
    })
}

#[test]
fn what_concurrent_clients_were_told_is_what_is_there() {
    let (place, meter) = metered();
    let (seen, end) = run(place.open(), 300);
    end.unwrap();
    let told: BTreeSet<String> = seen.iter().flat_map(|seen| seen.ids.clone()).collect();
    let sent = (0..CLIENTS).flat_map(|client| (0..300).map(move |number| (client, number)));
    let sent: BTreeSet<String> =
        sent.flat_map(|(client, number)| request(client, number)).map(|sent| sent.id).collect();
    assert_eq!(told, sent, "nothing refuses these events");
    assert_eq!(seen.iter().map(|seen| seen.new).sum::<usize>(), told.len(), "new exactly once");
    for crash in [Crash::Killed, Crash::DropsAll] {
        assert_eq!(held(&place.after(crash).open(), &meter), told);
    }
}

#[test]
fn after_a_failed_operation_nothing_is_acknowledged_and_nothing_that_was_is_lost() {
    let (base, meter) = metered();
    for operation in 1..40 {
        let place = base.fork();
        let rig = place.open();
        let at = place.disk.operations() + operation * 3;
        place.disk.fail_at(at, FaultKind::Io, Repeat::Forever);
        let (seen, end) = run(rig, usize::MAX);
        assert!(
            matches!(end, Err(Fatal::Log(_) | Fatal::Checkpoint(_) | Fatal::Index(_))),
            "{end:?}"
        );
        for crash in [Crash::Killed, Crash::DropsAll, Crash::Random(operation)] {
            let held = held(&place.after(crash).open(), &meter);
            for seen in &seen {
                assert!(seen.ids.is_subset(&held), "operation {operation}, {crash:?}");
            }
        }
    }
}

#[test]
fn a_panic_of_a_thread_is_announced_and_nothing_is_taken_after_it() {
    let mut rig = Rig::new(tiny());
    let (failed, failures) = bounded(1);
    let shared = Arc::clone(&rig.machine.shared);
    let tether = Tether { shared, name: "committer", failures: failed };
    let thread = spawn(tether, || -> Result<(), Fatal> { panic!("on purpose") });
    assert!(thread.join().is_err());
    assert!(matches!(failures.try_recv(), Ok(Fatal::Panic("committer"))));
    assert!(!rig.engine.readiness().is_ready());
    let slot = rig.send(&[Sent::new("late", "cus-0")]);
    rig.settle().unwrap();
    assert!(slot.take().is_none(), "it is dropped unanswered");
}
