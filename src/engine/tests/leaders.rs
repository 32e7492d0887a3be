//! The lists of top customers are the fronts of sorted lists of all customers: whatever the counters do,
//! wherever the hours lie, over crashes.

use std::time::Duration;

use super::rig::{Crash, tiny};
use super::trial::{End, Trial};
use crate::engine::leaders::ranker::{Limits, Step};
use crate::engine::leaders::{LEADERS_MAX, Ranking};
use crate::engine::options::Options;
use crate::model::{CustomerId, MeterId, Quantity};

fn settle(trial: &mut Trial) {
    for _ in 0..100_000 {
        if trial.rig.machine.ranker.step().unwrap() == Step::Idle {
            return;
        }
    }
    panic!("the job does not come to rest");
}

fn listed(ranking: &Ranking) -> Vec<(CustomerId, Quantity)> {
    ranking.items.iter().map(|item| (item.customer_id.clone(), item.value)).collect()
}

/// Asks for these meters, and compares what is found with the model.
fn assert_ranked(trial: &mut Trial, places: &[usize]) {
    let ids: Vec<MeterId> =
        places.iter().map(|place| trial.model.meters[*place].id.clone()).collect();
    for id in &ids {
        trial.rig.engine.top_customers(id).unwrap();
    }
    settle(trial);
    for (place, id) in places.iter().zip(&ids) {
        let found = trial.rig.engine.top_customers(id).unwrap();
        if found.backfilling {
            continue;
        }
        assert_eq!(found.as_of_lsn, trial.model.last_lsn());
        for ranking in [found.month.unwrap(), found.day.unwrap()] {
            let mut expected = trial.model.ranked(ranking.period, *place);
            assert_eq!(ranking.customers, expected.len() as u64);
            expected.truncate(LEADERS_MAX);
            assert_eq!(listed(&ranking), expected, "{id:?} {:?}", ranking.period);
            let now = trial.rig.machine.shared.state.log_time().max(trial.rig.engine.now());
            assert!(ranking.period.holds(now));
        }
    }
}

#[test]
fn lists_are_the_fronts_of_sorted_lists() {
    let limits = Limits { customers_at_once: 2, entries_at_once: 3 };
    let options = Options { ranking: limits, ..tiny() };
    for seed in 0..6 {
        let mut trial = Trial::new(&options, seed).with_meters();
        for round in 0..12 {
            for _ in 0..6 {
                trial.send_any();
                trial.settle().unwrap();
                // A part of a round, while everything goes on.
                for _ in 0..trial.story.dice.below(40) {
                    trial.rig.machine.ranker.step().unwrap();
                }
                trial.advance(Duration::from_secs(trial.story.dice.below(9 * 3_600)));
            }
            if trial.story.dice.one_in(3) {
                let command = trial.story.named_command(&trial.model);
                trial.propose(command);
                trial.settle().unwrap();
            }
            match trial.story.dice.below(4) {
                0 => trial.rig.machine.checkpoint().unwrap(),
                1 => trial = trial.restarted(End::Crashes(Crash::Killed), |_| {}),
                2 => trial.finish_backfills(),
                _ => {}
            }
            let first = round % trial.model.meters.len().saturating_sub(3).max(1);
            let places: Vec<_> = (first..trial.model.meters.len()).take(4).collect();
            assert_ranked(&mut trial, &places);
        }
    }
}
