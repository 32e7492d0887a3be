//! What the tests that drive the real binary share: a daemon process, an HTTP client, randomness.
//!
//! Nothing here uses a line of the crate: a daemon is a process with a data directory, seen through
//! its socket, its files, its output and its exit code.

pub(crate) mod client;
pub(crate) mod daemon;
pub(crate) mod oracle;
pub(crate) mod random;

use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::client::Client;

/// Where the test clock stands when a test begins.
pub(crate) const TEST_CLOCK: &str = "2026-03-01T01:00:00Z";

/// Lets `time` pass.
pub(crate) fn pass(time: Duration) {
    let (_open, nothing_comes) = mpsc::channel::<()>();
    let _ = nothing_comes.recv_timeout(time);
}

/// Asks until `answer` is there, for half a minute.
pub(crate) fn wait_until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3_000 {
        if let Some(answer) = answer() {
            return answer;
        }
        pass(Duration::from_millis(10));
    }
    panic!("waited in vain until {what}");
}

/// Makes a meter of events named `event_name`, and gives its id.
pub(crate) fn make_meter(
    client: &mut Client,
    event_name: &str,
    aggregation: &Value,
    filter: &Value,
) -> String {
    let meter = json!({
        "name": format!("{event_name} {aggregation}"),
        "event_name": event_name,
        "measurement_unit": "units",
        "aggregation": aggregation,
        "filter": filter,
    });
    let made = client.post("/meters", &meter);
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

/// Makes a meter that counts the events of this name.
pub(crate) fn make_count(client: &mut Client, event_name: &str) -> String {
    make_meter(client, event_name, &json!({ "type": "count" }), &Value::Null)
}

/// An event without a timestamp.
pub(crate) fn event(id: &str, customer: &str, name: &str, metadata: &Value) -> Value {
    json!({ "event_id": id, "customer_id": customer, "event_name": name, "metadata": metadata })
}

/// What [`event`] makes, stamped.
pub(crate) fn event_at(at: &str, id: &str, customer: &str, name: &str, metadata: &Value) -> Value {
    let mut event = event(id, customer, name, metadata);
    event["timestamp"] = at.into();
    event
}

/// Usage as the query asks for it.
pub(crate) fn usage(client: &mut Client, query: &str) -> Value {
    let answer = client.get(&format!("/usage?{query}"));
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    answer.json()
}

/// The total of one meter and customer in this century; nothing when there is no such customer.
pub(crate) fn total(client: &mut Client, meter: &str, customer: &str) -> Option<String> {
    let query = format!(
        "meter_id={meter}&customer_id={customer}&start=2001-01-01T00:00:00Z&end=2100-01-01T00:00:00Z"
    );
    let answer = client.get(&format!("/usage?{query}"));
    match answer.status {
        200 => Some(answer.json()["total"].as_str().unwrap_or("0").to_owned()),
        404 => None,
        _ => panic!("{query}: {answer:?}"),
    }
}

/// New events, duplicates and conflicts of an ingest request that was admitted.
pub(crate) fn verdict(client: &mut Client, events: &[Value]) -> [u64; 3] {
    let answer = client.ingest(events);
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    ["ingested_count", "duplicate_count", "conflict_count"].map(|name| body[name].as_u64().unwrap())
}
