//! A wall clock that was set: nothing is forgotten by a time that is in doubt.

use std::time::Duration;

use super::rig::{Crash, Rig, Sent, tiny};
use super::story::meter_of;
use crate::engine::command::{Command, RequestIdentity};
use crate::engine::options::Options;
use crate::model::Aggregation;
use crate::world::Clock;

const DAY: Duration = Duration::from_hours(24);

#[test]
fn a_clock_that_jumps_ahead_and_back_makes_no_id_forgotten() {
    let mut rig = Rig::new(Options { generation_ids: 16, ..tiny() });
    let ids: Vec<_> = (0..100).map(|number| format!("e-{number}")).collect();
    for id in &ids {
        rig.ingest(&[Sent::new(id, "cus-0")]).unwrap();
    }
    rig.flush_all();
    let before = rig.place.clock.wall();
    rig.place.clock.set_wall(before.plus(DAY * 40));
    for number in 0..40 {
        // Log time moves with the first; nobody has looked at the clocks meanwhile.
        rig.ingest(&[Sent::new(format!("ahead-{number}"), "cus-0")]).unwrap();
        rig.flush_all();
    }
    assert!(rig.engine.clock().log_time >= before.plus(DAY * 40));
    rig.place.clock.set_wall(before);
    for id in &ids {
        let again = rig.ingest(&[Sent::new(id, "cus-0")]).unwrap();
        assert_eq!((again.new, again.duplicates), (0, 1), "{id}");
    }
}

/// Somebody sees the alarm and restarts the daemon, or the machine.
#[test]
fn a_doubt_outlives_its_process_and_no_id_is_forgotten() {
    for crash in [Crash::Killed, Crash::DropsAll] {
        let mut rig = Rig::new(Options { generation_ids: 16, ..tiny() });
        let ids: Vec<_> = (0..60).map(|number| format!("e-{number}")).collect();
        for id in &ids {
            rig.ingest(&[Sent::new(id, "cus-0")]).unwrap();
        }
        let before = rig.place.clock.wall();
        rig.place.clock.set_wall(before.plus(DAY * 40));
        rig.ingest(&[Sent::new("ahead", "cus-0")]).unwrap();
        assert!(rig.engine.clock().in_doubt);
        rig.machine.clock.step().unwrap();
        let place = rig.place.after(crash);
        if crash == Crash::DropsAll {
            place.clock.reboot();
        }
        let mut rig = place.open();
        assert!(rig.engine.clock().in_doubt, "{crash:?}");
        rig.flush_all();
        rig.machine.checkpoint().unwrap();
        rig.flush_all();
        rig.place.clock.set_wall(before);
        for id in &ids {
            let again = rig.ingest(&[Sent::new(id, "cus-0")]).unwrap();
            assert_eq!((again.new, again.duplicates), (0, 1), "{id}");
        }
        rig.place.clock.set_wall(before.plus(DAY * 40));
        rig.settle().unwrap();
        rig.advance(Duration::from_mins(11));
        rig.machine.committer.observe_clock();
        assert!(!rig.engine.clock().in_doubt, "ten steady minutes end it");
        rig.machine.clock.step().unwrap();
        let rig = rig.place.after(Crash::Killed).open();
        assert!(!rig.engine.clock().in_doubt, "{crash:?}");
    }
}

#[test]
fn a_change_asked_for_again_after_a_jump_is_the_one_that_was_made() {
    let mut rig = Rig::new(tiny());
    let identity = RequestIdentity { explicit: Some([1; 32]), content: [2; 32], is_retry: false };
    let create = || Command::CreateMeter(meter_of("call", Aggregation::Count));
    let ask = |rig: &mut Rig| {
        let slot = rig.propose(create(), Some(identity));
        rig.settle().unwrap();
        slot.answer().unwrap()
    };
    assert!(!ask(&mut rig).replayed);
    rig.place.clock.set_wall(rig.place.clock.wall().plus(DAY * 2));
    assert!(ask(&mut rig).replayed);
}
