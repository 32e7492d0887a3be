//! What meters make of events, seen through `GET /usage`: filters, skipped values, archives,
//! customers, and the test clock that stamps them.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::{Daemon, Launch};
use crate::common::{TEST_CLOCK, event, make_count, make_meter, total, usage, verdict};

fn daemon() -> (tempfile::TempDir, Daemon) {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at(TEST_CLOCK).start();
    (directory, daemon)
}

fn condition(operator: &str, value: &Value) -> Value {
    json!({ "key": "k", "operator": operator, "value": value })
}

fn group(conjunction: &str, clauses: &[Value]) -> Value {
    json!({ "conjunction": conjunction, "clauses": clauses })
}

#[test]
fn every_operator_keeps_its_truth_table() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    // Metadata of the events, a customer each.
    let given = [
        json!({ "k": 5 }),
        json!({ "k": 5.0 }),
        json!({ "k": 7.25 }),
        json!({ "k": "5" }),
        json!({ "k": "half past" }),
        json!({ "k": true }),
        json!({ "other": 5 }),
        Value::Null,
    ];
    // The places of those that pass.
    let table: [(&str, Value, &[usize]); 13] = [
        ("equals", json!(5), &[0, 1]),
        ("equals", json!("5"), &[3]),
        ("equals", json!(true), &[5]),
        ("not_equals", json!(5), &[2, 3, 4, 5]),
        ("not_equals", json!("5"), &[0, 1, 2, 4, 5]),
        ("greater_than", json!(5), &[2]),
        ("greater_than_or_equals", json!(5), &[0, 1, 2]),
        ("less_than", json!(7.25), &[0, 1]),
        ("less_than_or_equals", json!(7.25), &[0, 1, 2]),
        ("contains", json!("past"), &[4]),
        ("contains", json!("Past"), &[]),
        ("does_not_contain", json!("past"), &[3]),
        ("does_not_contain", json!(""), &[]),
    ];
    let mut meters: Vec<(String, Vec<usize>)> = Vec::new();
    for (operator, value, passing) in &table {
        let filter = group("and", &[condition(operator, value)]);
        meters.push((count_with(&mut client, &filter), passing.to_vec()));
    }
    let (five, text, large) = (
        condition("equals", &json!(5)),
        condition("equals", &json!("5")),
        condition("greater_than", &json!(6)),
    );
    let either = group("or", &[five.clone(), text]);
    let nested =
        group("or", &[group("and", &[five.clone(), large.clone()]), group("or", &[large])]);
    meters.push((count_with(&mut client, &either), vec![0, 1, 3]));
    meters.push((count_with(&mut client, &nested), vec![2]));
    let events: Vec<Value> = given
        .iter()
        .enumerate()
        .map(|(place, metadata)| {
            event(&format!("e{place}"), &format!("c{place}"), "call", metadata)
        })
        .collect();
    assert_eq!(verdict(&mut client, &events), [8, 0, 0]);
    for (meter, passing) in meters {
        let found: Vec<usize> = (0..given.len())
            .filter(|place| total(&mut client, &meter, &format!("c{place}")).unwrap() == "1")
            .collect();
        let filter = client.get(&format!("/meters/{meter}")).json()["filter"].take();
        assert_eq!(found, passing, "{filter}");
    }
}

fn count_with(client: &mut Client, filter: &Value) -> String {
    make_meter(client, "call", &json!({ "type": "count" }), filter)
}

#[test]
fn filters_that_nobody_can_mean_are_refused() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let one = condition("equals", &json!(1));
    let deep = |levels| {
        (0..levels).fold(group("and", std::slice::from_ref(&one)), |inner, _| group("or", &[inner]))
    };
    for (filter, status) in [
        (deep(3), 201),
        (deep(4), 422),
        (group("and", &[]), 422),
        (group("xor", std::slice::from_ref(&one)), 422),
        (group("and", &[one.clone(), deep(1)]), 422),
        (group("and", &[condition("equals", &Value::Null)]), 422),
        (group("and", &[condition("equals", &json!([1]))]), 422),
        (group("and", &[condition("matches", &json!("x"))]), 422),
        (group("and", &[condition("greater_than", &json!("5"))]), 422),
        (group("and", &[condition("contains", &json!(5))]), 422),
        (json!("call"), 422),
        (Value::Null, 201),
    ] {
        let meter = json!({
            "name": "m", "event_name": "call", "measurement_unit": "u",
            "aggregation": { "type": "count" }, "filter": filter,
        });
        let answer = client.post("/meters", &meter);
        assert_eq!(answer.status, status, "{filter}: {answer:?}");
    }
}

#[test]
fn values_that_are_no_numbers_are_skipped_and_told() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let meter =
        make_meter(&mut client, "call", &json!({ "type": "sum", "key": "n" }), &Value::Null);
    let given = [
        r#"{"n":0.1}"#,
        r#"{"n":2e-1}"#,
        r#"{"n":-1}"#,
        r#"{"n":999999999999999}"#,
        r#"{"n":0.0000000000005}"#,
        r#"{"n":0.0000000000015}"#,
        r#"{"n":"7"}"#,
        r#"{"n":true}"#,
        r#"{"m":1}"#,
        "null",
        r#"{"n":1000000000000000}"#,
        r#"{"n":-1e300}"#,
    ];
    let events: Vec<String> = given
        .iter()
        .enumerate()
        .map(|(place, metadata)| {
            format!(r#"{{"event_id":"{place}","customer_id":"c","event_name":"call","metadata":{metadata}}}"#)
        })
        .collect();
    let body = format!(r#"{{"events":[{}]}}"#, events.join(","));
    let answer = client.send("POST", "/events/ingest", &[], body.as_bytes()).unwrap();
    assert_eq!(answer.json()["ingested_count"], given.len(), "{answer:?}");
    let found = usage(&mut client, &format!("meter_id={meter}&customer_id=c"));
    // Half a unit of the last place becomes an even one: 0 and 2.
    assert_eq!(found["total"], "999999999999998.300000000002");
    let skipped = json!({ "missing": 2, "not_a_number": 2, "out_of_range": 2 });
    assert_eq!(found["items"][0]["skipped"], skipped);
}

#[test]
fn what_a_meter_counts_never_changes() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let filter = group("and", &[condition("equals", &json!(1))]);
    let meter = make_meter(&mut client, "call", &json!({ "type": "sum", "key": "k" }), &filter);
    let path = format!("/meters/{meter}");
    let before = client.get(&path).json();
    let asked = json!({
        "name": "new name", "description": "new", "measurement_unit": "new unit",
        "event_name": "other", "aggregation": { "type": "count" }, "filter": null,
    });
    let changed = client.patch(&path, &asked);
    assert_eq!(changed.status, 200, "{changed:?}");
    let mut expected = before;
    for name in ["name", "description", "measurement_unit"] {
        expected[name] = asked[name].clone();
    }
    expected["updated_at"] = changed.json()["updated_at"].clone();
    assert_eq!(changed.json(), expected);
    assert_eq!(client.get(&path).json(), expected);
    assert_eq!(client.patch("/meters/mtr_none", &json!({})).status, 404);
}

#[test]
fn an_archived_meter_stops_counting_and_goes_on_when_it_is_back() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let meter = make_count(&mut client, "call");
    let path = format!("/meters/{meter}");
    let send = |client: &mut Client, id: &str| {
        assert_eq!(verdict(client, &[event(id, "acme", "call", &Value::Null)]), [1, 0, 0]);
    };
    let listed = |client: &mut Client, query: &str| {
        client.get(&format!("/meters{query}")).json()["items"].as_array().unwrap().len()
    };
    send(&mut client, "before");
    assert_eq!(client.delete(&path).status, 204);
    send(&mut client, "meanwhile");
    assert_eq!((listed(&mut client, ""), listed(&mut client, "?archived=true")), (0, 1));
    assert_eq!(total(&mut client, &meter, "acme").as_deref(), Some("1"));
    let back = client.send("POST", &format!("{path}/unarchive"), &[], b"").unwrap();
    assert_eq!((back.status, back.header("content-length"), back.body.len()), (200, Some("0"), 0));
    send(&mut client, "afterwards");
    assert_eq!(total(&mut client, &meter, "acme").as_deref(), Some("2"));
    assert_eq!((listed(&mut client, ""), listed(&mut client, "?archived=true")), (1, 0));
    assert_eq!(client.get("/events").json()["items"].as_array().unwrap().len(), 3);
    assert_eq!(client.delete("/meters/mtr_none").status, 404);
}

#[test]
fn unknown_customers_are_made_or_refused() {
    let (_directory, making) = daemon();
    let mut client = making.client();
    let of = |id: &str, customer: &str| event(id, customer, "call", &Value::Null);
    assert_eq!(verdict(&mut client, &[of("1", "new")]), [1, 0, 0]);
    let made = client.get("/customers/new").json();
    assert_eq!(made["created_by"], "ingest");
    let body = json!({ "customer_id": "new", "name": "New", "email": "New@Example.com" });
    let completed = client.post("/customers", &body);
    assert_eq!((completed.status, &completed.json()["created_by"]), (200, &json!("api")));
    assert_eq!(completed.json()["created_at"], made["created_at"]);
    let again = client.post("/customers", &body);
    assert_eq!(again.error(), (409, "CONFLICT".to_owned()));
    assert_eq!(again.header("x-should-retry"), Some("false"));
    let found = client.get("/customers?email=nEW%40example.COM").json();
    assert_eq!(found["items"][0]["customer_id"], "new");

    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).with("QUIPU_INGEST__UNKNOWN_CUSTOMERS", "reject");
    let daemon = launch.start();
    let mut client = daemon.client();
    let meter = make_count(&mut client, "call");
    let refused = client.ingest(&[of("1", "new"), of("2", "new")]);
    assert_eq!(refused.error(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(
        (&refused.json()["event_index"], &refused.json()["field"]),
        (&json!(0), &json!("customer_id"))
    );
    assert_eq!(client.get("/customers").json(), json!({ "items": [] }));
    assert_eq!(client.post("/customers", &body).status, 200);
    let refused = client.ingest(&[of("1", "new"), of("2", "newer")]);
    assert_eq!((refused.status, &refused.json()["event_index"]), (404, &json!(1)));
    assert_eq!(client.get("/events/1").status, 404);
    assert_eq!(verdict(&mut client, &[of("1", "new"), of("2", "new")]), [2, 0, 0]);
    assert_eq!(total(&mut client, &meter, "new").as_deref(), Some("2"));
}

#[test]
fn the_test_clock_moves_when_it_is_told_and_only_forward() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let shown = client.get("/clock").json();
    assert_eq!((&shown["now"], &shown["is_test"]), (&json!(TEST_CLOCK), &json!(true)));
    assert_eq!(shown["log_time"], shown["now"], "nothing holds log time back yet");
    let advance =
        |client: &mut Client, to: &Value| client.post("/clock/advance", &json!({ "to": to }));
    let moved = advance(&mut client, &json!("2026-03-01T03:30:00+01:00"));
    assert_eq!((moved.status, &moved.json()["now"]), (200, &json!("2026-03-01T02:30:00Z")));
    for bad in [json!("2026-03-01T02:29:59Z"), json!("soon"), json!(5), Value::Null] {
        assert_eq!(advance(&mut client, &bad).status, 422, "{bad}");
    }
    assert_eq!(verdict(&mut client, &[event("now", "c", "call", &Value::Null)]), [1, 0, 0]);
    let stored = client.get("/events/now").json();
    assert_eq!([&stored["timestamp"], &stored["received_at"]], ["2026-03-01T02:30:00Z"; 2]);

    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path());
    let real = launch.start();
    let mut client = real.client();
    assert_eq!(client.get("/clock").error(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(advance(&mut client, &json!("2126-03-01T00:00:00Z")).status, 404);
    let server = format!("http://{}", real.address);
    let confirmed = launch.command(&["clock", "confirm", "--server", &server]).output().unwrap();
    assert_eq!(confirmed.status.code(), Some(0), "{confirmed:?}");
    real.kill();
    let confirmed = launch.command(&["clock", "confirm", "--server", &server]).output().unwrap();
    assert_eq!(confirmed.status.code(), Some(69), "{confirmed:?}");
}
