//! `GET /meters/{id}/diagnosis` and `POST /meters/preview`.

use serde_json::{Value, json};

use crate::common::daemon::Launch;
use crate::common::{TEST_CLOCK, event_at, make_meter, verdict};

fn filter() -> Value {
    json!({ "conjunction": "and", "clauses": [
        { "key": "tier", "operator": "greater_than", "value": 1 },
    ] })
}

#[test]
fn a_diagnosis_names_what_keeps_events_away() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at("2026-02-27T01:00:00Z").start();
    let mut client = daemon.client();
    let sum = json!({ "type": "sum", "key": "tokens" });
    let meter = make_meter(&mut client, "llm", &sum, &filter());
    let of = |at: &str, id: &str, metadata: Value| event_at(at, id, "c", "llm", &metadata);
    let old = of("2026-02-27T00:30:00Z", "6", json!({ "tier": 2, "tokens": 4 }));
    assert_eq!(verdict(&mut client, &[old]), [1, 0, 0]);
    assert_eq!(client.post("/clock/advance", &json!({ "to": TEST_CLOCK })).status, 200);
    let now = "2026-03-01T00:30:00Z";
    let events = [
        of(now, "1", json!({ "tier": "2", "tokens": 1 })),
        of(now, "2", json!({ "tier": "3", "tokens": 1 })),
        of(now, "3", json!({ "tokens": 1 })),
        of(now, "4", json!({ "tier": 2, "tokens": "x" })),
        of(now, "5", json!({ "tier": 2, "tokens": 3 })),
    ];
    assert_eq!(verdict(&mut client, &events), [5, 0, 0]);
    let diagnosis = client.get(&format!("/meters/{meter}/diagnosis")).json();
    let condition = &filter()["clauses"][0];
    let failed = |reason: &str, because: &str, ids: &[&str], found_type: Value| {
        json!({ "reason": reason, "because": because, "events": ids.len(), "event_ids": ids,
            "condition": condition, "place": "filter.clauses[0]", "found_type": found_type,
            "skipped": null })
    };
    let expected = json!({
        "looked_at": 6, "limit": 500, "since": "2026-01-30T01:00:00Z", "is_all": true,
        "matched": 3, "counted": 2,
        "findings": [
            failed(
                "wrong_type",
                "`tier` is a string, the filter compares numbers",
                &["2", "1"],
                json!("string"),
            ),
            failed("missing", "`tier` is missing", &["3"], Value::Null),
            {
                "reason": "not_counted", "because": "`tokens` is a string, the meter adds up numbers",
                "events": 1, "event_ids": ["4"], "condition": null, "place": null,
                "found_type": "string", "skipped": "not_a_number",
            },
        ],
        "warning": "1 of 3 recent events that match are not counted because `tokens` is a string, \
                    the meter adds up numbers",
    });
    // Findings that concern as many events stand in the filter's order.
    assert_eq!(diagnosis, expected);
    let unknown = client.get("/meters/mtr_none/diagnosis");
    assert_eq!(unknown.error(), (404, "NOT_FOUND".to_owned()));

    let mut preview = json!({ "name": "P", "event_name": "llm", "measurement_unit": "t",
        "aggregation": { "type": "sum", "key": "tokens" }, "filter": filter() });
    let found = client.post("/meters/preview", &preview);
    assert_eq!(found.status, 200, "{found:?}");
    let mut expected = expected;
    expected["matching_event_ids"] = json!(["5", "4", "6"]);
    expected["other_event_ids"] = json!(["3", "2", "1"]);
    // The sixth is older.
    expected["last_day"] = json!({
        "period": { "start": "2026-02-28T01:00:00Z", "end": "2026-03-01T01:00:00.000000001Z" },
        "value": "3", "counted": 1,
    });
    assert_eq!(found.json(), expected);

    // It is refused as the meter would be, and makes nothing.
    preview["aggregation"] = json!({ "type": "sum" });
    let refused = client.post("/meters/preview", &preview);
    assert_eq!(refused.error(), client.post("/meters", &preview).error());
    assert_eq!(refused.error(), (422, "INVALID_REQUEST_PARAMETERS".to_owned()));
    assert_eq!(refused.json()["field"], "aggregation.key");
    assert_eq!(client.get("/meters").json()["items"].as_array().unwrap().len(), 1);
    preview["aggregation"] = json!({ "type": "count" });
    preview["event_name"] = "never".into();
    let none = client.post("/meters/preview", &preview).json();
    assert_eq!((&none["looked_at"], &none["warning"]), (&json!(0), &Value::Null));
}

#[test]
fn only_the_newest_events_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at(TEST_CLOCK).start();
    let mut client = daemon.client();
    let meter = make_meter(&mut client, "llm", &json!({ "type": "count" }), &filter());
    let events = |from: u32, tier: i32| -> Vec<Value> {
        let one = |number| {
            let metadata = json!({ "tier": tier });
            event_at("2026-03-01T00:30:00Z", &format!("{number}"), "c", "llm", &metadata)
        };
        (from..from + 300).map(one).collect()
    };
    verdict(&mut client, &events(0, 2));
    verdict(&mut client, &events(300, 1));
    let found = client.get(&format!("/meters/{meter}/diagnosis")).json();
    let told = ["looked_at", "matched", "counted", "is_all"].map(|name| found[name].clone());
    assert_eq!(told, [json!(500), json!(200), json!(200), json!(false)]);
    assert_eq!(found["findings"][0]["because"], "`tier` is not greater than 1");
    assert_eq!(found["findings"][0]["event_ids"], json!(["599", "598", "597"]));
    assert_eq!(found["warning"], Value::Null);
}
