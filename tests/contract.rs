//! The contract as far as a client sees it: all or nothing, exactly once, read your writes, any
//! order, outcomes. What concerns files and restarts stands in `restart.rs`.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::{Daemon, Launch};
use crate::common::random::{Random, seed};
use crate::common::{
    TEST_CLOCK, event, event_at, make_count, make_meter, total, usage, verdict, wait_until,
};

const NO_METADATA: Value = Value::Null;

/// A daemon under the test clock, on a directory that lives as long.
fn daemon() -> (tempfile::TempDir, Daemon) {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at(TEST_CLOCK).start();
    (directory, daemon)
}

fn calls(ids: impl IntoIterator<Item = u64>) -> Vec<Value> {
    ids.into_iter().map(|id| event(&format!("call {id}"), "acme", "call", &NO_METADATA)).collect()
}

/// Runs `work` with a client of its own on each of so many threads, all at once.
fn at_once<T: Send + 'static>(
    daemon: &Daemon,
    threads: u64,
    work: impl Fn(u64, &mut Client) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let barrier = Arc::new(Barrier::new(usize::try_from(threads).unwrap()));
    let work = Arc::new(work);
    let threads: Vec<_> = (0..threads)
        .map(|thread| {
            let (barrier, work, mut client) =
                (Arc::clone(&barrier), Arc::clone(&work), daemon.client());
            std::thread::spawn(move || {
                // The connection stands before the race begins.
                assert_eq!(client.get("/healthz").status, 200);
                barrier.wait();
                work(thread, &mut client)
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn advance(client: &mut Client, to: &str) {
    assert_eq!(client.post("/clock/advance", &json!({ "to": to })).status, 200);
}

#[test]
fn one_bad_event_at_any_place_refuses_the_request_and_changes_nothing() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let meter = make_count(&mut client, "call");
    assert_eq!(verdict(&mut client, &calls(0..3)), [3, 0, 0]);
    let before = client.get("/events?page_size=100").json();
    let bad = [
        (json!({ "event_id": "bad", "event_name": "call" }), "customer_id"),
        (event("bad", "acme", "call", &json!({ "list": [] })), "metadata.list"),
        (event("bad", "acme", "call", &json!({ "none": null })), "metadata.none"),
        (event("bad", "acme", "call", &json!(7)), "metadata"),
        (event("bad\u{0}", "acme", "call", &NO_METADATA), "event_id"),
        (event("", "acme", "call", &NO_METADATA), "event_id"),
        (event("bad", &"c".repeat(256), "call", &NO_METADATA), "customer_id"),
        (event_at("2026-02-28T23:59:59.999Z", "bad", "acme", "call", &NO_METADATA), "timestamp"),
        (event_at("2026-03-01T01:05:00.001Z", "bad", "acme", "call", &NO_METADATA), "timestamp"),
        (event_at("yesterday", "bad", "acme", "call", &NO_METADATA), "timestamp"),
    ];
    for (bad, field) in bad {
        for place in [0, 1, 4] {
            let mut events = calls(10..14);
            // A customer that the request would have made.
            events[3]["customer_id"] = "nobody".into();
            events.insert(place, bad.clone());
            let refused = client.ingest(&events);
            assert_eq!(refused.error(), (422, "INVALID_REQUEST_PARAMETERS".to_owned()), "{bad}");
            let body = refused.json();
            assert_eq!(body["event_index"], place, "{bad}");
            assert_eq!(body["field"], field, "{bad}");
        }
    }
    let mut twice = calls(10..14);
    twice.extend(calls(11..12));
    let refused = client.ingest(&twice);
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["event_index"], 4);
    assert_eq!(refused.json()["field"], "event_id");
    assert_eq!(client.get("/events?page_size=100").json(), before);
    assert_eq!(client.get("/events/call%2010").status, 404);
    assert_eq!(client.get("/customers/nobody").status, 404);
    assert_eq!(total(&mut client, &meter, "acme").as_deref(), Some("3"));
    // None of the refused ids was remembered.
    assert_eq!(verdict(&mut client, &calls(10..14)), [4, 0, 0]);
    assert_eq!(total(&mut client, &meter, "acme").as_deref(), Some("7"));
}

#[test]
fn an_id_sent_on_sixteen_connections_at_once_counts_once() {
    let (_directory, daemon) = daemon();
    let meter = make_count(&mut daemon.client(), "call");
    for id in 0..20 {
        let verdicts = at_once(&daemon, 16, move |_, client| verdict(client, &calls([id])));
        let sums = [0, 1, 2].map(|part| verdicts.iter().map(|found| found[part]).sum::<u64>());
        assert_eq!(sums, [1, 15, 0], "{id}");
    }
    assert_eq!(total(&mut daemon.client(), &meter, "acme").as_deref(), Some("20"));
}

#[test]
fn overlapping_requests_at_once_count_every_id_once() {
    let (_directory, daemon) = daemon();
    let meter = make_count(&mut daemon.client(), "call");
    let seed = seed("overlapping");
    let verdicts = at_once(&daemon, 16, move |thread, client| {
        let mut random = Random(seed.wrapping_add(thread));
        let mut sums = [0, 0];
        for _ in 0..10 {
            let mut ids: Vec<u64> = (0..300).filter(|_| random.once_in(3)).collect();
            random.shuffle(&mut ids);
            let [new, duplicates, conflicts] = verdict(client, &calls(ids.iter().copied()));
            assert_eq!((new + duplicates, conflicts), (ids.len() as u64, 0));
            sums = [sums[0] + new, sums[1] + ids.len() as u64];
        }
        (sums[0], sums[1])
    });
    let new: u64 = verdicts.iter().map(|(new, _)| new).sum();
    let sent: u64 = verdicts.iter().map(|(_, sent)| sent).sum();
    println!("{sent} events sent, {new} new");
    let counted = total(&mut daemon.client(), &meter, "acme").unwrap();
    assert_eq!(counted, new.to_string());
    assert!(new <= 300);
    assert_eq!(verdict(&mut daemon.client(), &calls(0..300)), [300 - new, new, 0]);
}

#[test]
fn a_duplicate_says_whether_its_content_differs() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let meter =
        make_meter(&mut client, "call", &json!({ "type": "sum", "key": "n" }), &NO_METADATA);
    let at = "2026-03-01T00:30:00Z";
    let first = event_at(at, "one", "acme", "call", &json!({ "n": 1, "m": "x" }));
    assert_eq!(verdict(&mut client, std::slice::from_ref(&first)), [1, 0, 0]);
    let metadata = |text: &str| {
        format!(
            r#"{{"events":[{{"metadata":{text},"timestamp":"2026-03-01T01:30:00+01:00",
            "event_name":"call","customer_id":"acme","event_id":"one"}}]}}"#
        )
    };
    for (body, conflicts) in [
        (metadata(r#"{"m":"x","n":1}"#), 0),
        (metadata(r#"{"n":1.0,"m":"x"}"#), 0),
        (metadata(r#"{"n":1,"m":"\u0078"}"#), 0),
        (metadata(r#"{"n":2,"m":"x"}"#), 1),
        (metadata(r#"{"n":"1","m":"x"}"#), 1),
        (metadata(r#"{"n":1}"#), 1),
        (metadata("null"), 1),
        (metadata(r#"{"n":1,"m":"x"}"#).replace("acme", "other"), 1),
        (metadata(r#"{"n":1,"m":"x"}"#).replace("call", "ping"), 1),
        (metadata(r#"{"n":1,"m":"x"}"#).replace(":00+01", ":01+01"), 1),
    ] {
        let answer = client.send("POST", "/events/ingest", &[], body.as_bytes()).unwrap();
        let answer = answer.json();
        let found = ["ingested_count", "duplicate_count", "conflict_count"]
            .map(|name| answer[name].as_u64());
        assert_eq!(found, [Some(0), Some(1), Some(conflicts)], "{body}");
    }
    assert_eq!(client.get("/events/one").json()["metadata"], json!({ "n": 1, "m": "x" }));
    assert_eq!(total(&mut client, &meter, "acme").as_deref(), Some("1"));
    assert_eq!(client.get("/customers/other").status, 404);
}

#[test]
fn an_old_event_is_a_duplicate_when_its_id_is_known_and_refused_when_not() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let meter = make_count(&mut client, "call");
    let at = |id: &str| event_at("2026-03-01T00:30:00Z", id, "acme", "call", &NO_METADATA);
    assert_eq!(verdict(&mut client, &[at("known")]), [1, 0, 0]);
    for later in ["2026-03-01T04:00:00Z", "2026-03-09T00:00:00Z"] {
        advance(&mut client, later);
        assert_eq!(verdict(&mut client, &[at("known")]), [0, 1, 0]);
        let new = event("new", "acme", "call", &NO_METADATA);
        let refused = client.ingest(&[at("known"), new, at("unknown")]);
        assert_eq!(refused.error(), (422, "INVALID_REQUEST_PARAMETERS".to_owned()));
        assert_eq!(refused.json()["event_index"], 2);
        assert_eq!(refused.json()["field"], "timestamp");
        assert_eq!(total(&mut client, &meter, "acme").as_deref(), Some("1"));
    }
    assert_eq!(client.get("/events/new").status, 404);
}

#[test]
fn an_answer_is_visible_to_everybody() {
    let (_directory, daemon) = daemon();
    let meter = make_count(&mut daemon.client(), "call");
    let query = format!("meter_id={meter}&customer_id=acme");
    let (mut writer, mut reader) = (daemon.client(), daemon.client());
    let mut counted = 0;
    for round in 0..60 {
        let events = calls(round * 10..round * 10 + 1 + round % 9);
        let lsn = writer.ingest(&events).json()["lsn"].as_u64().unwrap();
        counted += events.len();
        let found = usage(&mut reader, &query);
        assert_eq!(found["total"], counted.to_string());
        assert!(found["as_of_lsn"].as_u64().unwrap() >= lsn, "{found}");
        let newest = &reader.get("/events?page_size=1").json()["items"][0];
        assert_eq!(newest["lsn"].as_u64(), Some(lsn));
    }
}

/// Usage of a customer by the meters' names, with every bucket.
fn by_meter_name(client: &mut Client, customer: &str) -> Vec<(String, Value)> {
    let query = format!(
        "customer_id={customer}&start=2026-03-01T00:00:00Z&end=2026-03-02T00:00:00Z&interval=hour"
    );
    let items = usage(client, &query)["items"].as_array().unwrap().clone();
    let mut found: Vec<_> = items
        .into_iter()
        .map(|mut item| {
            let id = item["meter_id"].take();
            let meter = client.get(&format!("/meters/{}", id.as_str().unwrap()));
            (meter.json()["name"].as_str().unwrap().to_owned(), item)
        })
        .collect();
    found.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    found
}

#[test]
fn usage_does_not_depend_on_the_order_of_arrival() {
    let mut random = Random(seed("order"));
    let mut events: Vec<Value> = (0..800)
        .map(|number| {
            let second = random.below(3_840);
            let at = format!(
                "2026-03-01T{:02}:{:02}:{:02}.{number:03}Z",
                second / 3_600,
                second / 60 % 60,
                second % 60
            );
            let cents = random.below(20_000);
            let value = json!(f64::from(u32::try_from(cents).unwrap()) / 100.0 - 100.0);
            let customer = format!("c{}", random.below(3));
            event_at(&at, &format!("event {number}"), &customer, "call", &json!({ "n": value }))
        })
        .collect();
    let found = [false, true].map(|is_shuffled| {
        let (_directory, daemon) = daemon();
        let mut client = daemon.client();
        for kind in ["count", "sum", "max", "last"] {
            let aggregation = json!({ "type": kind, "key": "n" });
            make_meter(&mut client, "call", &aggregation, &NO_METADATA);
        }
        if is_shuffled {
            random.shuffle(&mut events);
        }
        let mut sent = 0;
        while sent < events.len() {
            let size = (1 + random.place(90)).min(events.len() - sent);
            let mut batch = events[sent..sent + size].to_vec();
            let mut again = std::collections::BTreeSet::new();
            while sent > 0 && is_shuffled && again.len() < size.min(sent) / 4 {
                again.insert(random.place(sent));
            }
            batch.extend(again.iter().map(|place| events[*place].clone()));
            random.shuffle(&mut batch);
            assert_eq!(verdict(&mut client, &batch), [size as u64, again.len() as u64, 0]);
            sent += size;
        }
        [0, 1, 2].map(|customer| by_meter_name(&mut client, &format!("c{customer}")))
    });
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0].each_ref().map(Vec::len), [4, 4, 4]);
}

#[test]
fn an_idempotency_key_makes_one_of_many_requests() {
    let (_directory, daemon) = daemon();
    let body = |name: &str| json!({ "name": name, "email": format!("{name}@example.com") });
    let made = at_once(&daemon, 8, move |_, client| {
        client.post_with("/customers", &[("idempotency-key", "k1")], &body("one"))
    });
    assert!(made.iter().all(|answer| answer.status == 200 && answer.body == made[0].body));
    let mut client = daemon.client();
    assert_eq!(client.get("/customers").json()["items"].as_array().unwrap().len(), 1);
    let reused = client.post_with("/customers", &[("idempotency-key", "k1")], &body("two"));
    assert_eq!(reused.error(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    let other = client.post_with("/customers", &[("idempotency-key", "k2")], &body("one"));
    assert_ne!(other.json()["customer_id"], made[0].json()["customer_id"]);
    let elsewhere = client.post_with(
        "/keys",
        &[("idempotency-key", "k1")],
        &json!({ "name": "a", "scope": "read" }),
    );
    assert_eq!(elsewhere.status, 201);
    // A secret is shown once.
    let again = client.post_with(
        "/keys",
        &[("idempotency-key", "k1")],
        &json!({ "name": "a", "scope": "read" }),
    );
    assert_eq!(again.error(), (409, "CONFLICT".to_owned()));
    assert_eq!(again.header("x-should-retry"), Some("false"));
    assert_eq!(client.get("/keys").json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_retry_by_the_sdk_gets_the_first_answer_for_ten_minutes() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let body = json!({ "name": "one", "email": "one@example.com" });
    let post = |client: &mut Client, count: &str| {
        client.post_with("/customers", &[("x-stainless-retry-count", count)], &body)
    };
    let first = post(&mut client, "0");
    assert_eq!(post(&mut client, "1").body, first.body);
    assert_eq!(post(&mut client, "2").body, first.body);
    advance(&mut client, "2026-03-01T01:09:59Z");
    assert_eq!(post(&mut client, "1").body, first.body);
    let second = post(&mut client, "0");
    assert_ne!(second.json()["customer_id"], first.json()["customer_id"]);
    assert_eq!(post(&mut client, "1").body, second.body);
    advance(&mut client, "2026-03-01T01:20:00Z");
    let third = post(&mut client, "1");
    assert_ne!(third.json()["customer_id"], second.json()["customer_id"]);
    assert_eq!(client.get("/customers").json()["items"].as_array().unwrap().len(), 3);
}

#[test]
fn a_full_queue_refuses_before_the_body_and_takes_the_retry() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path())
        .with("QUIPU_INGEST__MAX_BODY", "4096")
        .with("QUIPU_INGEST__QUEUE_BYTES", "4096")
        .start();
    let mut client = daemon.client();
    let waiting = client.begin_ingest(4_000);
    let refused = client.ingest(&calls(0..30));
    assert_eq!(refused.error(), (503, "SERVICE_UNAVAILABLE".to_owned()));
    assert!(refused.header("retry-after-ms").is_some_and(|text| text.parse::<u32>().is_ok()));
    drop(waiting);
    // Nothing of the refused request was applied.
    let answer = wait_until("the queue is empty", || {
        Some(client.ingest(&calls(0..30))).filter(|answer| answer.status == 200)
    });
    assert_eq!(answer.json()["ingested_count"], 30);
}
