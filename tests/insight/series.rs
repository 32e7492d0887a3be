//! `GET /meters/{id}/series`, in memory and on disk.

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::Launch;
use crate::common::{TEST_CLOCK, event_at, make_meter, verdict, wait_until};

fn series(client: &mut Client, meter: &str, query: &str) -> Value {
    let answer = client.get(&format!("/meters/{meter}/series?{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[test]
fn a_series_is_of_all_customers_wherever_the_hours_are() {
    let directory = tempfile::tempdir().unwrap();
    let launch =
        Launch::new(directory.path()).at(TEST_CLOCK).with("QUIPU_CHECKPOINT__INTERVAL", "20ms");
    let daemon = launch.start();
    let mut client = daemon.client();
    let key = |kind: &str| json!({ "type": kind, "key": "tokens" });
    let sum = make_meter(&mut client, "llm", &key("sum"), &Value::Null);
    let last = make_meter(&mut client, "llm", &key("last"), &Value::Null);
    let of = |at: &str, id: &str, customer: &str, tokens: Value| {
        event_at(at, id, customer, "llm", &json!({ "tokens": tokens }))
    };
    let events = [
        of("2026-03-01T00:10:00Z", "1", "a", json!(1)),
        of("2026-03-01T00:20:00Z", "2", "b", json!(2)),
        of("2026-03-01T00:30:00Z", "3", "c", json!("x")),
        of("2026-03-01T01:00:00Z", "4", "a", json!(-3.5)),
    ];
    assert_eq!(verdict(&mut client, &events), [4, 0, 0]);
    let bucket = |start: &str, value: &str| json!({ "start": start, "value": value });
    let expected = json!({
        "meter_id": sum, "start": "2026-02-28T02:00:00Z", "end": "2026-03-01T02:00:00Z",
        "interval": "hour", "total": "-0.5", "events": 3,
        "buckets": [
            bucket("2026-03-01T00:00:00Z", "3"),
            bucket("2026-03-01T01:00:00Z", "-3.5"),
        ],
        "skipped": { "missing": 0, "not_a_number": 1, "out_of_range": 0 },
        "backfilling": false, "as_of_lsn": 6,
    });
    assert_eq!(series(&mut client, &sum, ""), expected);
    let newest = series(&mut client, &last, "interval=day");
    assert_eq!(newest["buckets"], json!([bucket("2026-03-01T00:00:00Z", "-3.5")]));

    // The hours leave memory, and no customer stands for everybody.
    assert_eq!(client.post("/clock/advance", &json!({ "to": "2026-03-02T00:00:00Z" })).status, 200);
    verdict(&mut client, &[of("2026-03-02T00:00:00Z", "5", "a", json!(1))]);
    wait_until("hours have moved to disk", || {
        let metrics = client.get("/metrics").text();
        metrics.contains("\nquipu_accumulators 4\n").then_some(())
    });
    let span = "start=2026-02-28T02:00:00Z&end=2026-03-01T02:00:00Z";
    let mut found = series(&mut client, &sum, span);
    found["as_of_lsn"] = json!(6);
    assert_eq!(found, expected);
    let usage = client.get(&format!("/usage?meter_id={sum}&{span}")).json();
    assert_eq!(usage["items"].as_array().unwrap().len(), 3, "{usage}");
    daemon.kill();
    let daemon = launch.start();
    let mut client = daemon.client();
    let month = series(
        &mut client,
        &sum,
        "start=2026-03-01T00:00:00Z&end=2026-04-01T00:00:00Z&interval=month",
    );
    assert_eq!(month["buckets"], json!([bucket("2026-03-01T00:00:00Z", "0.5")]));
    let unknown = client.get("/meters/mtr_none/series");
    assert_eq!(unknown.error(), (404, "NOT_FOUND".to_owned()));
}
