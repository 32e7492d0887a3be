//! Random lives of subscriptions: whatever happens, every invoice says what the events come to.

mod clock;
mod life;
mod samples;
mod told;

use super::rig::Crash;
use crate::world::Disk;
use life::{HOUR, Life};

#[test]
fn without_the_newest_snapshot_billing_goes_on_from_the_one_before() {
    for seed in 100..106 {
        let mut life = Life::new(seed);
        for _ in 0..3 {
            for _ in 0..50 {
                life = life.step();
            }
            life.rig.machine.checkpoint().unwrap();
        }
        let place = life.rig.place.after(Crash::DropsAll);
        let is_snapshot = |name: &String| name.starts_with("snapshot-");
        let newest = place.disk.names().unwrap().into_iter().filter(is_snapshot).max().unwrap();
        place.disk.flip_bit(&newest, 40, 0);
        let mut life = Life { rig: place.open(), ..life };
        assert!(life.rig.replayed > 0, "it replays from the older one");
        life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
        for _ in 0..50 {
            life = life.step();
        }
        life.oracle.check(&life.rig.engine, &life.subscriptions).unwrap();
    }
}

#[test]
fn invoices_say_what_the_events_come_to_over_any_history() {
    let mut invoices = 0;
    for seed in 0..60 {
        eprintln!("seed {seed}");
        let mut life = Life::new(seed);
        for _ in 0..150 {
            life = life.step();
        }
        life.check();
        life = life.restart();
        life.rig.advance(HOUR * 24 * 400);
        life.rig.settle().unwrap();
        life.check();
        invoices += life.rig.engine.stats().invoices;
    }
    assert!(invoices > 10_000, "only {invoices} invoices were looked at");
}
