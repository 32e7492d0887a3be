//! `GET /event-outcomes`: what became of events, from the first question on.

use serde_json::{Value, json};

use crate::common::daemon::Launch;
use crate::common::{TEST_CLOCK, event, verdict};

#[test]
fn a_watcher_sees_what_becomes_of_events() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at(TEST_CLOCK).start();
    let mut client = daemon.client();
    let one = event("one", "acme", "llm", &json!({ "n": 1 }));
    let two = event("two", "acme", "llm", &json!({ "n": 1 }));
    let other = event("one", "acme", "llm", &json!({ "n": 2 }));
    assert_eq!(verdict(&mut client, std::slice::from_ref(&one)), [1, 0, 0]);
    let nothing = json!({ "items": [], "last": 0, "left_out": 0 });
    assert_eq!(client.get("/event-outcomes").json(), nothing, "nobody has watched");

    assert_eq!(verdict(&mut client, &[one.clone(), two]), [1, 1, 0]);
    assert_eq!(verdict(&mut client, &[other]), [0, 1, 1]);
    let bad = json!({ "event_id": "bad", "customer_id": 5, "event_name": "llm" });
    assert_eq!(client.ingest(&[bad]).status, 422);
    let found = client.get("/event-outcomes?page_size=100").json();
    let of = |number: u64, outcome: &str, id: &str, lsn: Value, first_lsn: Value| {
        json!({ "number": number, "at": TEST_CLOCK, "outcome": outcome, "event_id": id,
            "customer_id": "acme", "event_name": "llm", "lsn": lsn, "first_lsn": first_lsn,
            "code": null, "reason": null, "message": null })
    };
    let first = client.get("/events/one").json()["lsn"].clone();
    let second = client.get("/events/two").json()["lsn"].clone();
    let mut refused = of(4, "refused", "bad", Value::Null, Value::Null);
    refused["customer_id"] = Value::Null;
    refused["code"] = "INVALID_REQUEST_PARAMETERS".into();
    refused["reason"] = "wrong_type".into();
    refused["message"] = "event 0: customer_id: must be a string".into();
    let expected = json!({
        "items": [
            refused,
            of(3, "conflicting", "one", Value::Null, first.clone()),
            of(2, "accepted", "two", second, Value::Null),
            of(1, "duplicate", "one", Value::Null, first),
        ],
        "last": 4, "left_out": 0,
    });
    assert_eq!(found, expected);
    let newer = client.get("/event-outcomes?after=3").json();
    assert_eq!(newer["items"], json!([expected["items"][0]]));
    assert_eq!(client.get("/event-outcomes?after=-1").status, 422);
}
