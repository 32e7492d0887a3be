//! Alerts as a client sees them: made, listed, fired once by events that come over HTTP, over a kill.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::Launch;
use crate::common::{event, make_count, wait_until};

fn made(client: &mut Client, alert: &Value) -> Value {
    let answer = client.post("/alerts", alert);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn alert(client: &mut Client, id: &Value) -> Value {
    let answer = client.get(&format!("/alerts/{}", id.as_str().unwrap()));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Waits until an alert has fired so often.
fn fired(client: &mut Client, id: &Value, count: u64) {
    wait_until("an alert fires", || (alert(client, id)["fired_count"] == count).then_some(()));
}

#[test]
fn an_alert_fires_once_and_a_kill_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).with("QUIPU_CHECKPOINT__INTERVAL", "20ms");
    let daemon = launch.start();
    let mut client = daemon.client();
    let meter = make_count(&mut client, "llm");
    let all = made(&mut client, &json!({ "type": "usage", "meter_id": meter, "threshold": "3" }));
    let expected = json!({
        "id": all["id"], "name": null, "type": "usage", "meter_id": meter,
        "credit_entitlement_id": null, "customer_id": null, "threshold": "3", "currency": null,
        "created_at": all["created_at"], "fired_count": 0, "last_fired_at": null,
    });
    assert_eq!(all, expected);
    let send = |client: &mut Client, from: u32, count: u32, customer: &str| {
        let id = |number| format!("{customer}-{number}");
        let events: Vec<_> = (from..from + count)
            .map(|number| event(&id(number), customer, "llm", &json!({})))
            .collect();
        assert_eq!(client.ingest(&events).status, 200);
    };
    send(&mut client, 0, 2, "acme");
    send(&mut client, 0, 5, "beta");
    fired(&mut client, &all["id"], 1);
    daemon.kill();
    let daemon = launch.start();
    let mut client = daemon.client();
    assert_eq!(alert(&mut client, &all["id"])["fired_count"], 1);
    send(&mut client, 5, 5, "beta");
    send(&mut client, 2, 1, "acme");
    fired(&mut client, &all["id"], 2);
    assert_ne!(alert(&mut client, &all["id"])["last_fired_at"], Value::Null);
}

#[test]
fn alerts_are_listed_and_deleted_and_bad_ones_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start();
    let mut client = daemon.client();
    let meter = make_count(&mut client, "llm");
    let customer = json!({ "customer_id": "acme", "name": "A", "email": "" });
    assert_eq!(client.post("/customers", &customer).status, 200);
    let usage = json!({ "type": "usage", "meter_id": meter, "threshold": "0.5", "name": "half" });
    let cost = json!({
        "type": "cost", "meter_id": meter, "threshold": "5000", "currency": "USD",
        "customer_id": "acme",
    });
    let (usage, cost) = (made(&mut client, &usage), made(&mut client, &cost));
    assert_eq!((&cost["threshold"], &cost["currency"]), (&json!("5000"), &json!("USD")));
    let list = |client: &mut Client, query: &str| client.get(&format!("/alerts{query}")).json();
    assert_eq!(list(&mut client, ""), json!({ "items": [cost, usage] }));
    assert_eq!(list(&mut client, "?customer_id=acme"), json!({ "items": [cost] }));
    assert_eq!(list(&mut client, "?meter_id=other"), json!({ "items": [] }));
    for (bad, field) in [
        (json!({ "type": "usage", "meter_id": "mtr_none", "threshold": "1" }), "meter_id"),
        (json!({ "type": "usage", "meter_id": meter, "threshold": "0" }), "threshold"),
        (
            json!({ "type": "usage", "meter_id": meter, "threshold": "1", "customer_id": "nobody" }),
            "customer_id",
        ),
        (
            json!({ "type": "credit_balance", "credit_entitlement_id": "cde_none", "threshold": "1" }),
            "credit_entitlement_id",
        ),
    ] {
        let answer = client.post("/alerts", &bad);
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{bad}");
    }
    let path = format!("/alerts/{}", usage["id"].as_str().unwrap());
    assert_eq!(client.delete(&path).status, 204);
    assert_eq!(client.get(&path).status, 404);
    assert_eq!(list(&mut client, ""), json!({ "items": [cost] }));
}
