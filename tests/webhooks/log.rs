//! The log of attempts, and asking for messages again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;

use crate::place::{Place, attempts, endpoint, entitlement, give, got, test};
use crate::receiver::{Does, Receiver};

#[test]
fn attempts_are_listed_newest_first_and_chosen() {
    let place = Place::open();
    let mut client = place.client();
    let refusals = AtomicU16::new(1);
    let receiver = Receiver::start(move |got| {
        let is_refused = got.json()["data"]["description"] == "r-2"
            && refusals
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1))
                .is_ok();
        Does::answers(if is_refused { 400 } else { 200 })
    });
    let (id, _) = endpoint(&mut client, &receiver.url(), &json!({}));
    let entitlement = entitlement(&mut client);
    for reason in 0..6 {
        give(&mut client, &entitlement, &format!("r-{reason}"));
    }
    // One of them twice.
    let all = attempts(&mut client, &id, 7);
    let times: Vec<_> =
        all.iter().map(|attempt| attempt["attempted_at"].as_str().unwrap()).collect();
    assert_eq!(all[0]["attempt"], 2, "newest first: {times:?}");
    let last = all[0]["message_id"].as_str().unwrap();
    let path = format!("/webhooks/{id}/attempts");
    let mut walked = Vec::new();
    let mut iterator = String::new();
    loop {
        let page = client.get(&format!("{path}?limit=4&iterator={iterator}")).json();
        walked.extend(page["data"].as_array().unwrap().clone());
        iterator = page["iterator"].as_str().unwrap().to_owned();
        assert_eq!(page["done"], iterator.is_empty());
        if iterator.is_empty() {
            break;
        }
    }
    assert_eq!(walked, all);
    let chosen = |client: &mut crate::common::client::Client, query: &str| {
        client.get(&format!("{path}?{query}")).json()["data"].as_array().unwrap().len()
    };
    assert_eq!(chosen(&mut client, "outcome=failed"), 1);
    assert_eq!(chosen(&mut client, "outcome=succeeded"), 6);
    assert_eq!(chosen(&mut client, &format!("message_id={last}")), 2);
    for query in ["outcome=x", "message_id=x", "limit=0", "iterator=x"] {
        let answer = client.get(&format!("{path}?{query}"));
        assert_eq!(answer.error(), (422, "INVALID_QUERY_PARAMS".to_owned()), "{query}");
    }
    // The log outlives a kill.
    let place = place.killed(|launch| launch);
    assert_eq!(attempts(&mut place.client(), &id, 7), all);
}

#[test]
fn messages_are_sent_again_when_somebody_asks() {
    let place = Place::open();
    let mut client = place.client();
    let status = Arc::new(AtomicU16::new(503));
    let answers = Arc::clone(&status);
    let receiver = Receiver::start(move |_| Does::answers(answers.load(Ordering::Acquire)));
    let (id, _) = endpoint(&mut client, &receiver.url(), &json!({}));
    let entitlement = entitlement(&mut client);
    let early = client.get("/clock").json()["now"].as_str().unwrap().to_owned();
    give(&mut client, &entitlement, "early");
    let later = "2026-02-01T00:00:00Z";
    assert_eq!(client.post("/clock/advance", &json!({ "to": later })).status, 200);
    for reason in ["one", "two"] {
        give(&mut client, &entitlement, reason);
    }
    // Each has failed twice: the next attempt by itself is five minutes away.
    attempts(&mut client, &id, 6);
    status.store(200, Ordering::Release);
    let recover = format!("/webhooks/{id}/recover");
    let answer = client.post(&recover, &json!({ "since": later }));
    assert_eq!((answer.status, answer.json()), (200, json!({ "message_count": 2 })));
    let log = attempts(&mut client, &id, 8);
    let arrived = log.iter().filter(|attempt| attempt["outcome"] == "succeeded");
    assert!(arrived.clone().all(|attempt| attempt["attempt"] == 1));
    let arrived: BTreeSet<_> =
        arrived.map(|attempt| attempt["message_id"].clone().to_string()).collect();
    assert_eq!(arrived.len(), 2);
    assert_eq!(client.post(&recover, &json!({ "since": later })).json()["message_count"], 0);
    let answer = client.post(&recover, &json!({ "since": early }));
    assert_eq!(answer.json()["message_count"], 1);
    assert_eq!(got(&receiver, 9).len(), 9);
    // One that has arrived is sent again, too.
    let message = receiver.got()[8].id().to_owned();
    let resend = format!("/webhooks/{id}/messages/{message}/resend");
    let answer = client.post(&resend, &json!({}));
    assert_eq!((answer.status, answer.json()), (200, json!({ "message_id": message })));
    let again = got(&receiver, 10);
    assert_eq!((again[9].id(), &again[9].body), (again[8].id(), &again[8].body));
    // What is not there is not sent.
    let (other, _) = endpoint(&mut client, &receiver.url(), &json!({}));
    for path in [
        format!("/webhooks/{other}/messages/{message}/resend"),
        format!("/webhooks/{id}/messages/msg_00000000000000000/resend"),
        format!("/webhooks/{id}/messages/x/resend"),
        "/webhooks/whk_no/recover".to_owned(),
        "/webhooks/whk_no/test".to_owned(),
    ] {
        let answer = client.post(&path, &json!({ "since": early }));
        assert_eq!(answer.error(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
    for body in [json!({}), json!({ "since": "yesterday" })] {
        let answer = client.post(&recover, &body);
        assert_eq!(answer.json()["field"], "since", "{answer:?}");
    }
}

#[test]
fn after_a_rotation_both_secrets_sign() {
    let place = Place::open();
    let mut client = place.client();
    let receiver = Receiver::start(|_| Does::answers(200));
    let (id, old) = endpoint(&mut client, &receiver.url(), &json!({}));
    let rotated = client.post(&format!("/webhooks/{id}/secret/rotate"), &json!({})).json();
    let new = rotated["secret"].as_str().unwrap();
    test(&mut client, &id);
    let arrived = got(&receiver, 1).remove(0);
    assert_eq!((arrived.signed_by(new), arrived.signed_by(&old)), (Some(0), Some(1)));
    let message = arrived.json();
    assert_eq!(message["data"], json!({ "payload_type": "WebhookTest", "webhook_id": id }));
}
