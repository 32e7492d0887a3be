//! Events ahead of the clock, which enter their segment when their time has come.

use super::life::{Life, MINUTE};
use crate::engine::bills::UsageHistoryQuery;
use crate::engine::options::Options;
use crate::engine::tests::goods::{new_meter, new_subscription};
use crate::engine::tests::rig::{Rig, Sent, tiny};
use crate::engine::{Command, Outcome, Refused};
use crate::model::{Aggregation, Quantity};

/// While samples entered their segment, a reader found some both there and among those that wait.
#[test]
fn usage_that_is_read_while_samples_enter_counts_each_once() {
    const SAMPLES: usize = 1_000;
    let mut life = Life::new(3);
    let new = new_subscription("c1", &life.products[2]);
    let made = life.rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
    let Outcome::Subscription(subscription) = made.outcome else { panic!("a subscription") };
    for round in 1..=10 {
        let ahead = life.rig.engine.now().plus(MINUTE);
        let sent = |n| Sent::new(format!("ahead-{round}-{n}"), "c1").at(ahead);
        for first in (0..SAMPLES).step_by(20) {
            let events: Vec<Sent> = (first..first + 20).map(sent).collect();
            life.rig.ingest(&events).unwrap();
            life.rig.flush_all();
        }
        life.rig.advance(MINUTE * 2);
        let (engine, id) = (life.rig.engine.clone(), subscription.id.clone());
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Acquire) {
                    let page = crate::engine::Page { offset: 0, limit: 1 };
                    let history =
                        engine.usage_history(&id, &UsageHistoryQuery::default(), page).unwrap();
                    let consumed = history[0].meters[0].usage.consumed;
                    assert_eq!(consumed, Quantity::from_count(round * SAMPLES as u64));
                }
            });
            life.rig.ingest(&[Sent::new(format!("now-{round}"), "c2")]).unwrap();
            is_over.store(true, std::sync::atomic::Ordering::Release);
        });
        assert_eq!(life.rig.engine.stats().pending_samples, 1, "the newest is not before log time");
    }
}

/// The limit was held against the time of the last record: once it was reached, and time had passed,
/// nothing was ever admitted again.
#[test]
fn too_many_events_ahead_of_the_clock_are_refused_until_their_time_comes() {
    let mut rig = Rig::new(Options { pending_max: 3, ..tiny() });
    rig.change(Command::CreateMeter(new_meter(Aggregation::Count))).unwrap();
    let start = rig.engine.now();
    let early = |id: &str| Sent::new(id, "c").at(start.minus(MINUTE));
    let ahead = |id: &str| Sent::new(id, "c").at(start.plus(MINUTE));
    for id in ["a", "b", "c"] {
        rig.ingest(&[ahead(id)]).unwrap();
    }
    assert_eq!(rig.ingest(&[early("d"), ahead("e")]), Err(Refused::Busy));
    assert_eq!(rig.ingest(&[early("d")]).unwrap().new, 1);
    rig.advance(MINUTE * 2);
    assert_eq!(rig.ingest(&[ahead("f")]).unwrap().new, 1, "it is not ahead any more");
    let stats = rig.engine.stats();
    assert_eq!(stats.pending_samples, 0);
    let later = Sent::new("g", "c").at(start.plus(MINUTE * 3));
    assert_eq!(rig.ingest(&[later]).unwrap().new, 1);
}
