//! `kill -9` while messages are under way: each arrives, and none under two ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::common::random::Random;
use crate::common::wait_until;
use crate::place::{Place, endpoint, enter, entitlement, take};
use crate::receiver::{Does, Receiver};
use serde_json::json;

const MESSAGES: usize = 10_000;
const KILLS: usize = 20;

#[test]
fn every_message_arrives_under_one_id_over_twenty_kills() {
    // One message in forty is refused when it comes first, so that some are tried again.
    let refused = Mutex::new((0_u32, BTreeSet::new()));
    let receiver = Receiver::start(move |got| {
        let (count, ids) = &mut *refused.lock().unwrap();
        *count += 1;
        let is_first = *count % 40 == 7 && ids.insert(got.id().to_owned());
        Does::answers(if is_first { 500 } else { 200 })
    });
    let mut place = Place::started(|launch| launch.with("QUIPU_CHECKPOINT__INTERVAL", "300ms"));
    let entitlement = entitlement(&mut place.client());
    enter(&mut place.client(), &entitlement, &json!({ "entry_type": "credit", "amount": "10000" }));
    endpoint(&mut place.client(), &receiver.url(), &json!({}));
    let mut random = Random(7);
    let mut kill_at: BTreeSet<usize> = BTreeSet::new();
    while kill_at.len() < KILLS {
        kill_at.insert(usize::try_from(random.below(MESSAGES as u64)).unwrap());
    }
    let mut client = place.client();
    for number in 0..MESSAGES {
        if kill_at.contains(&number) {
            place = place.killed(|launch| launch);
            client = place.client();
        }
        take(&mut client, &entitlement, &format!("r-{number}"));
    }
    let mut reasons: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut looked = 0;
    wait_until("all have arrived", || {
        for got in receiver.got_behind(looked) {
            looked += 1;
            let reason = got.json()["data"]["description"].as_str().unwrap().to_owned();
            reasons.entry(reason).or_default().insert(got.id().to_owned());
        }
        (reasons.len() == MESSAGES).then_some(())
    });
    let mut all = BTreeSet::new();
    for (reason, ids) in &reasons {
        assert_eq!(ids.len(), 1, "{reason}: {ids:?}");
        assert!(all.insert(ids.first().unwrap()), "two messages under one id");
    }
    let sent = receiver.got().len();
    eprintln!("{sent} requests for {MESSAGES} messages over {KILLS} kills");
}
