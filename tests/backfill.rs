//! Meters that are made late count what came before them: under constant ingest, and although the
//! daemon is killed with -9 in the middle of it.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::{Daemon, Launch};
use crate::common::oracle::{CLOCK_START, hour_text};
use crate::common::{make_meter, usage, wait_until};

/// Events of one request.
const BATCH: u64 = 400;
/// Events before the first late meter.
const PAST: u64 = 40_000;
const ROUNDS: i64 = 4;

fn customer(number: u64) -> String {
    format!("cus-{}", number % 5)
}

fn value(number: u64) -> u64 {
    number % 7
}

/// Sends the events from `next` on until the daemon is gone; `next` is the first that was not
/// acknowledged. What has no answer is sent again by whoever goes on.
fn send(mut client: Client, next: &AtomicU64) {
    loop {
        let first = next.load(Ordering::Relaxed);
        let events = (first..first + BATCH).map(|number| {
            json!({
                "event_id": format!("event-{number}"), "customer_id": customer(number),
                "event_name": "call", "metadata": { "n": value(number) },
            })
        });
        let body = json!({ "events": events.collect::<Vec<_>>() }).to_string();
        let Ok(answer) = client.send("POST", "/events/ingest", &[], body.as_bytes()) else {
            return;
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        next.store(first + BATCH, Ordering::Relaxed);
    }
}

fn start_sending(daemon: &Daemon, next: &Arc<AtomicU64>) -> JoinHandle<()> {
    let (client, next) = (daemon.client(), Arc::clone(next));
    std::thread::spawn(move || send(client, &next))
}

fn make_sum(client: &mut Client) -> String {
    make_meter(client, "call", &json!({ "type": "sum", "key": "n" }), &Value::Null)
}

fn backfill(client: &mut Client, meter: &str) -> Value {
    client.get(&format!("/meters/{meter}")).json()["backfill"].take()
}

/// The sums that a meter shows by customer, and whether they are complete.
fn sums(client: &mut Client, meter: &str) -> (BTreeMap<String, String>, bool) {
    let (start, end) = (hour_text(-24), hour_text(24 * 20));
    let answer = usage(client, &format!("meter_id={meter}&start={start}&end={end}"));
    let items = answer["items"].as_array().unwrap();
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    let complete = items.iter().all(|item| item.get("backfilling").is_none());
    let items = items.iter().map(|item| (text(item, "customer_id"), text(item, "total")));
    (items.collect(), complete)
}

fn expected(events: u64) -> BTreeMap<String, String> {
    let mut sums = BTreeMap::<String, u64>::new();
    for number in 0..events {
        *sums.entry(customer(number)).or_default() += value(number);
    }
    sums.into_iter().map(|(customer, sum)| (customer, sum.to_string())).collect()
}

#[test]
fn late_meters_count_every_event_under_ingest_and_through_kills() {
    let directory = tempfile::tempdir().unwrap();
    let launch =
        Launch::new(directory.path()).at(CLOCK_START).with("QUIPU_CHECKPOINT__INTERVAL", "200ms");
    let mut daemon = launch.start();
    let first = make_sum(&mut daemon.client());
    let none = json!({ "state": "done", "done": 0, "total": 0 });
    assert_eq!(backfill(&mut daemon.client(), &first), none);
    let next = Arc::new(AtomicU64::new(0));
    let mut meters = vec![first.clone()];
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        let mut client = daemon.client();
        let now = json!({ "to": hour_text(3 * round + 1) });
        assert_eq!(client.post("/clock/advance", &now).status, 200);
        let before = next.load(Ordering::Relaxed);
        let sender = start_sending(&daemon, &next);
        wait_until("there are events", || {
            (next.load(Ordering::Relaxed) >= before + PAST).then_some(())
        });
        let meter = make_sum(&mut client);
        let began = wait_until("the backfill begins", || {
            Some(backfill(&mut client, &meter)).filter(|now| now["state"] != "pending")
        });
        interrupted += u64::from(began["state"] == "running");
        assert!(began["total"].as_u64().unwrap() >= PAST, "{began}");
        meters.push(meter);
        daemon.kill();
        sender.join().unwrap();
        daemon = launch.start();
        // Of the request without an answer all was stored, or nothing.
        let acknowledged = next.load(Ordering::Relaxed);
        let (found, complete) = sums(&mut daemon.client(), &first);
        let possible = [acknowledged, acknowledged + BATCH].map(expected);
        assert!(complete && possible.contains(&found), "{found:?} {possible:?}");
    }
    let sender = start_sending(&daemon, &next);
    let mut client = daemon.client();
    let mut done = 0;
    for meter in &meters {
        done = 0;
        let end = wait_until("the backfill ends", || {
            let now = backfill(&mut client, meter);
            assert!(now["done"].as_u64().unwrap() >= done, "{now} after {done}");
            done = now["done"].as_u64().unwrap();
            (now["state"] == "done").then_some(now)
        });
        assert_eq!(end["done"], end["total"]);
    }
    daemon.kill();
    sender.join().unwrap();
    let daemon = launch.start();
    let acknowledged = next.load(Ordering::Relaxed);
    let mut client = daemon.client();
    let (whole, _) = sums(&mut client, &first);
    assert!([acknowledged, acknowledged + BATCH].map(expected).contains(&whole), "{whole:?}");
    for meter in &meters {
        assert_eq!(sums(&mut client, meter), (whole.clone(), true));
    }
    println!("{interrupted} of {ROUNDS} backfills were killed; the last read {done} events");
    assert_eq!(daemon.terminate().code, Some(0));
    assert_eq!(launch.verify().code, Some(0));
}
