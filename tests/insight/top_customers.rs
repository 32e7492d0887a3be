//! `GET /meters/{id}/top-customers`, from the first question on, in memory and on disk.

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::Launch;
use crate::common::{TEST_CLOCK, event_at, make_meter, verdict, wait_until};

fn lists(client: &mut Client, meter: &str, query: &str) -> Value {
    let answer = client.get(&format!("/meters/{meter}/top-customers?{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Waits until the lists reflect all that was sent.
fn up_to_date(client: &mut Client, meter: &str) -> Value {
    wait_until("the lists are up to date", || {
        let found = lists(client, meter, "page_size=100");
        let metrics = client.get("/metrics").text();
        let last = format!("\nquipu_last_lsn {}\n", found["as_of_lsn"]);
        (found["state"] == "ready" && metrics.contains(&last)).then_some(found)
    })
}

#[test]
fn the_lists_follow_counters_up_and_down() {
    let directory = tempfile::tempdir().unwrap();
    let launch =
        Launch::new(directory.path()).at(TEST_CLOCK).with("QUIPU_CHECKPOINT__INTERVAL", "20ms");
    let daemon = launch.start();
    let mut client = daemon.client();
    let sum = json!({ "type": "sum", "key": "n" });
    let meter = make_meter(&mut client, "llm", &sum, &Value::Null);
    let of = |at: &str, id: &str, customer: &str, n: Value| {
        event_at(at, id, customer, "llm", &json!({ "n": n }))
    };
    let now = "2026-03-01T00:30:00Z";
    let events = [
        of(now, "1", "a", json!(5)),
        of(now, "2", "b", json!(7)),
        of(now, "3", "c", json!(7)),
        of(now, "4", "d", json!("none")),
    ];
    assert_eq!(verdict(&mut client, &events), [4, 0, 0]);
    let building = lists(&mut client, &meter, "");
    if building["state"] == "building" {
        assert_eq!((&building["month"], &building["as_of_lsn"]), (&Value::Null, &json!(0)));
    }
    let item = |customer: &str, value: &str| json!({ "customer_id": customer, "value": value });
    let month = json!({ "start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z" });
    let day = |start: &str, end: &str| json!({ "start": start, "end": end });
    let found = up_to_date(&mut client, &meter);
    let items = json!([item("b", "7"), item("c", "7"), item("a", "5")]);
    let ranking =
        |period: &Value, items: &Value| json!({ "period": period, "customers": 3, "items": items });
    let today = day("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
    assert_eq!(found["month"], ranking(&month, &items));
    assert_eq!(found["day"], ranking(&today, &items));

    // The second day; the first one's hours leave memory.
    assert_eq!(client.post("/clock/advance", &json!({ "to": "2026-03-02T05:00:00Z" })).status, 200);
    let now = "2026-03-02T04:30:00Z";
    let events = [of(now, "5", "b", json!(-6.5)), of(now, "6", "a", json!(1))];
    assert_eq!(verdict(&mut client, &events), [2, 0, 0]);
    let found = up_to_date(&mut client, &meter);
    let items = json!([item("c", "7"), item("a", "6"), item("b", "0.5")]);
    assert_eq!(found["month"], ranking(&month, &items));
    let today = day("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z");
    let of_day = json!([item("a", "1"), item("b", "-6.5")]);
    assert_eq!(found["day"], json!({ "period": today, "customers": 2, "items": of_day }));
    daemon.kill();
    let daemon = launch.start();
    let mut client = daemon.client();
    let found = up_to_date(&mut client, &meter);
    assert_eq!(found["month"], ranking(&month, &items));
    let second = lists(&mut client, &meter, "page_size=1&page_number=1");
    assert_eq!(second["month"]["items"], json!([item("a", "6")]));
    let unknown = client.get("/meters/mtr_none/top-customers");
    assert_eq!(unknown.error(), (404, "NOT_FOUND".to_owned()));
}
