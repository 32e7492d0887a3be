//! Usage in time: whole hours and their buckets, in memory, on disk and across restarts.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::{Daemon, Launch};
use crate::common::{
    TEST_CLOCK, event, event_at, make_count, make_meter, usage, verdict, wait_until,
};

#[test]
fn usage_is_asked_for_by_whole_hours() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at(TEST_CLOCK).start();
    let mut client = daemon.client();
    let meter = make_count(&mut client, "call");
    let at = |at: &str, id: &str| event_at(at, id, "c", "call", &Value::Null);
    let events = [
        at("2026-03-01T00:00:00Z", "first instant"),
        at("2026-03-01T00:59:59.999999999Z", "last instant"),
        at("2026-03-01T01:00:00Z", "next"),
    ];
    assert_eq!(verdict(&mut client, &events), [3, 0, 0]);
    let of = |client: &mut Client, start: &str, end: &str| {
        let answer =
            client.get(&format!("/usage?meter_id={meter}&customer_id=c&start={start}&end={end}"));
        (answer.status, answer.json()["total"].as_str().unwrap().to_owned())
    };
    let day = "2026-03-01T";
    for (start, end, counted) in [
        ("00:00:00Z", "01:00:00Z", "2"),
        ("01:00:00Z", "02:00:00Z", "1"),
        ("02:00:00Z", "03:00:00Z", "0"),
    ] {
        let found = of(&mut client, &format!("{day}{start}"), &format!("{day}{end}"));
        assert_eq!(found, (200, counted.to_owned()), "{start} {end}");
    }
    let (whole, half) = ("2026-03-01T01:00:00Z", "2026-03-01T00:30:00Z");
    for (start, end) in
        [(half, whole), (whole, "2026-03-01T01:00:00.5Z"), (whole, whole), ("x", whole)]
    {
        let answer = client.get(&format!("/usage?meter_id={meter}&start={start}&end={end}"));
        assert_eq!(answer.error(), (422, "INVALID_QUERY_PARAMS".to_owned()), "{start} {end}");
    }
    for query in ["", "customer_id=", "meter_id=mtr_none", "customer_id=nobody"] {
        let expected = if query.ends_with('=') || query.is_empty() { 422 } else { 404 };
        assert_eq!(client.get(&format!("/usage?{query}")).status, expected, "{query}");
    }
}

/// Start and value of each bucket, and the total.
type Buckets = (Vec<(String, i64)>, i64);

fn buckets(client: &mut Client, pair: &str, span: &str, interval: &str) -> Buckets {
    let found = usage(client, &format!("{pair}&{span}&interval={interval}"));
    let list = found["items"][0]["buckets"].as_array().unwrap().clone();
    let text = |bucket: &Value, name: &str| bucket[name].as_str().unwrap().to_owned();
    let read = |bucket: &Value| (text(bucket, "start"), text(bucket, "value").parse().unwrap());
    (list.iter().map(read).collect(), text(&found, "total").parse().unwrap())
}

/// The hours of four days that cross the end of a month.
fn hours() -> Vec<String> {
    ["03-29", "03-30", "03-31", "04-01"]
        .iter()
        .flat_map(|day| (0..24).map(move |hour| format!("2026-{day}T{hour:02}:00:00Z")))
        .collect()
}

/// What the one event of the hour at this place says: a whole number.
fn value(place: usize) -> i64 {
    i64::try_from(place * 7 % 31).unwrap()
}

type Fold = fn(i64, i64) -> i64;

const FOLDS: [(&str, Fold); 3] =
    [("sum", |left, right| left + right), ("max", i64::max), ("last", |_, right| right)];

/// The buckets of these hours, by the part of an instant that they share and its rest.
fn expected(hours: &[String], (shared, rest): (usize, &str), fold: Fold) -> Buckets {
    let mut buckets: Vec<(String, i64)> = Vec::new();
    for (place, hour) in hours.iter().enumerate() {
        let start = format!("{}{rest}", &hour[..shared]);
        match buckets.last_mut() {
            Some((last, sum)) if *last == start => *sum = fold(*sum, value(place)),
            _ => buckets.push((start, value(place))),
        }
    }
    let total = buckets.iter().map(|(_, value)| *value).reduce(fold).unwrap();
    (buckets, total)
}

/// Waits until a checkpoint holds everything, and all hours but those within the grace are on disk.
fn wait_for_the_disk(client: &mut Client) {
    wait_until("hours have moved to disk", || {
        let metrics = client.get("/metrics").text();
        let of = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
        };
        let is_saved = of("quipu_checkpoint_lsn ") == of("quipu_last_lsn ");
        (is_saved && of("quipu_accumulators ") == 4 * FOLDS.len()).then_some(())
    });
}

fn send_each_hour(launch: &Launch, mut daemon: Daemon, hours: &[String]) -> Daemon {
    for (place, hour) in hours.iter().enumerate() {
        let mut client = daemon.client();
        let now = hour.replace(":00:00Z", ":30:00Z");
        assert_eq!(client.post("/clock/advance", &json!({ "to": now })).status, 200);
        let event = event(&format!("e{place}"), "c", "call", &json!({ "n": value(place) }));
        assert_eq!(verdict(&mut client, &[event]), [1, 0, 0]);
        if place % 40 == 20 {
            daemon.kill();
            daemon = launch.start();
        }
    }
    daemon
}

#[test]
fn hours_days_and_months_add_up_in_memory_on_disk_and_after_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path())
        .at("2026-03-29T00:30:00Z")
        .with("QUIPU_CHECKPOINT__INTERVAL", "50ms");
    let daemon = launch.start();
    let meters = FOLDS.map(|(kind, fold)| {
        let aggregation = json!({ "type": kind, "key": "n" });
        (make_meter(&mut daemon.client(), "call", &aggregation, &Value::Null), fold)
    });
    let hours = hours();
    let mut daemon = send_each_hour(&launch, daemon, &hours);
    let span = "start=2026-03-01T00:00:00Z&end=2026-05-01T00:00:00Z";
    // Begins and ends in the middle of days that are on disk.
    let cut = "start=2026-03-29T13:00:00Z&end=2026-03-31T07:00:00Z";
    for is_in_order in [true, false, false] {
        let mut client = daemon.client();
        wait_for_the_disk(&mut client);
        for (meter, fold) in &meters {
            let pair = format!("meter_id={meter}&customer_id=c");
            for (interval, by) in
                [("hour", (20, "")), ("day", (10, "T00:00:00Z")), ("month", (7, "-01T00:00:00Z"))]
            {
                let found = buckets(&mut client, &pair, span, interval);
                assert_eq!(found, expected(&hours, by, *fold), "{interval}");
                let (found, total) = buckets(&mut client, &pair, cut, interval);
                let whole = (13..55).map(value).reduce(fold).unwrap();
                assert_eq!(total, whole, "{interval}");
                assert_eq!(found[0].0, "2026-03-29T13:00:00Z", "{interval}");
                assert_eq!(found.iter().map(|(_, value)| *value).reduce(fold), Some(whole));
            }
        }
        let ended = if is_in_order { daemon.terminate() } else { daemon.kill() };
        assert_eq!(ended.code, is_in_order.then_some(0));
        daemon = launch.start();
    }
}
