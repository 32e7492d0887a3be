//! Asking before serving, as a client sees it: checks, reservations, their commits and their ends.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, Launch};
use crate::common::{event, make_meter, verdict, wait_until};

const START: &str = "2026-01-31T10:00:00Z";
const CONNECTIONS: usize = 64;

/// A daemon with a meter that sums tokens, and a customer who pays for them with 500 credits a month.
struct Shop {
    _directory: TempDir,
    launch: Launch,
    daemon: Daemon,
    meter: String,
    entitlement: String,
    subscription: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn made(client: &mut Client, path: &str, body: &Value) -> Value {
    let answer = client.post(path, body);
    assert!(matches!(answer.status, 200 | 201), "{path}: {answer:?}");
    answer.json()
}

impl Shop {
    fn open(at: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut launch = Launch::new(directory.path());
        if let Some(at) = at {
            launch = launch.at(at);
        }
        let daemon = launch.start();
        let mut client = daemon.client();
        let sum = json!({ "type": "sum", "key": "tokens" });
        let meter = make_meter(&mut client, "call", &sum, &Value::Null);
        let entitlement = json!({
            "name": "Tokens", "unit": "token", "precision": 2, "overage_enabled": false,
            "rollover_enabled": false,
        });
        let entitlement = text(&made(&mut client, "/credit-entitlements", &entitlement)["id"]);
        let product = json!({
            "name": "Plan", "tax_category": "saas",
            "price": {
                "type": "usage_based_price", "currency": "USD", "fixed_price": 0, "discount": 0,
                "purchasing_power_parity": false, "payment_frequency_count": 1,
                "payment_frequency_interval": "Month", "subscription_period_count": 1,
                "subscription_period_interval": "Year",
                "meters": [{
                    "meter_id": meter, "free_threshold": 0,
                    "credit_entitlement_id": entitlement, "meter_units_per_credit": "1",
                }],
            },
            "credit_entitlements": [
                { "credit_entitlement_id": entitlement, "credits_amount": "500" },
            ],
        });
        let product = text(&made(&mut client, "/products", &product)["product_id"]);
        let customer = json!({ "customer_id": "c", "name": "C", "email": "c@example.com" });
        made(&mut client, "/customers", &customer);
        let subscription = json!({
            "product_id": product, "quantity": 1, "customer": { "customer_id": "c" },
            "billing": { "country": "US" },
        });
        let subscription =
            text(&made(&mut client, "/subscriptions", &subscription)["subscription_id"]);
        Self { _directory: directory, launch, daemon, meter, entitlement, subscription }
    }

    /// The same shop after `kill -9`.
    fn killed(self) -> Self {
        self.daemon.kill();
        Self { daemon: self.launch.start(), ..self }
    }

    fn client(&self) -> Client {
        self.daemon.client()
    }

    fn asked(&self, amount: &Value) -> Value {
        json!({ "customer_id": "c", "meter_id": self.meter, "amount": amount })
    }

    fn check(&self, amount: u64) -> Value {
        made(&mut self.client(), "/credits/check", &self.asked(&json!(amount)))
    }

    /// What nobody holds.
    fn available(&self) -> String {
        text(&self.check(0)["available_balance"])
    }

    fn reserve(&self, amount: &str) -> String {
        let answer = self.client().post("/credits/reserve", &self.asked(&json!(amount)));
        assert_eq!(answer.status, 201, "{answer:?}");
        text(&answer.json()["reservation_id"])
    }

    fn commit(&self, id: &str, event: &Value) -> Answer {
        self.client().post(&commit_path(id), &json!({ "event": event }))
    }
}

fn path(id: &str) -> String {
    format!("/credits/reservations/{id}")
}

fn commit_path(id: &str) -> String {
    format!("{}/commit", path(id))
}

fn release_path(id: &str) -> String {
    format!("{}/release", path(id))
}

fn tokens(id: &str, tokens: u64) -> Value {
    event(id, "c", "call", &json!({ "tokens": tokens }))
}

#[test]
fn a_reservation_is_asked_held_and_committed() {
    let shop = Shop::open(Some(START));
    let expected = json!({
        "allowed": true, "credits": "200", "balance": "500", "available_balance": "500",
        "overage": "0", "remaining_headroom": "0", "credit_entitlement_id": shop.entitlement,
        "subscription_id": shop.subscription,
    });
    assert_eq!(shop.check(200), expected);
    assert_eq!(shop.check(501)["allowed"], false);
    let mut client = shop.client();
    let answer = client.post("/credits/reserve", &shop.asked(&json!("200.50")));
    assert_eq!(answer.status, 201, "{answer:?}");
    let held = answer.json();
    let expected = json!({
        "reservation_id": held["reservation_id"], "status": "open", "customer_id": "c",
        "meter_id": shop.meter, "subscription_id": shop.subscription,
        "credit_entitlement_id": shop.entitlement, "amount": "200.5", "credits": "200.5",
        "overage": "0", "expires_at": held["expires_at"], "created_at": START, "ended_at": null,
        "event": null,
    });
    assert_eq!(held, expected);
    let id = text(&held["reservation_id"]);
    assert!(id.starts_with("crs_"), "{id}");
    let shop = shop.killed();
    assert_eq!(shop.client().get(&path(&id)).json(), held);
    assert_eq!(shop.check(300)["allowed"], false);
    let refused = shop.client().post("/credits/reserve", &shop.asked(&json!(300)));
    assert_eq!(refused.error(), (402, "INSUFFICIENT_BALANCE".to_owned()));
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    // A test clock does not make anybody late.
    let advanced = shop.client().post("/clock/advance", &json!({ "to": "2026-02-01T10:00:00Z" }));
    assert_eq!(advanced.status, 200, "{advanced:?}");
    let committed = shop.commit(&id, &tokens("first", 150));
    assert_eq!(committed.status, 200, "{committed:?}");
    let body = committed.json();
    assert_eq!(
        (&body["status"], &body["ended_at"]),
        (&json!("committed"), &json!("2026-02-01T10:00:00Z"))
    );
    let event = json!({
        "event_id": "first", "duplicate": false, "conflict": false, "lsn": body["event"]["lsn"],
    });
    assert_eq!(body["event"], event);
    assert_eq!(shop.available(), "350");
    // The event's record is behind the instant at which the clock stands; the clock is not.
    let advanced = shop.client().post("/clock/advance", &json!({ "to": "2026-02-01T10:00:00Z" }));
    assert_eq!(advanced.status, 200, "{advanced:?}");
    assert_eq!(verdict(&mut shop.client(), &[tokens("first", 150)]), [0, 1, 0]);
    let shop = shop.killed();
    assert_eq!(shop.commit(&id, &tokens("second", 1)).json(), body);
    let stored = shop.client().get("/events/first").json();
    assert_eq!(stored["timestamp"], "2026-02-01T10:00:00Z");
    assert_eq!(shop.available(), "350");
}

#[test]
fn every_end_but_the_first_is_refused_or_the_same() {
    let shop = Shop::open(Some(START));
    let mut client = shop.client();
    let (one, two) = (shop.reserve("10"), shop.reserve("20"));
    let released = client.post(&release_path(&one), &json!({}));
    assert_eq!((released.status, &released.json()["status"]), (200, &json!("released")));
    assert_eq!(client.post(&release_path(&one), &json!({})).json(), released.json());
    assert_eq!(shop.commit(&one, &tokens("a", 1)).error(), (409, "CONFLICT".to_owned()));
    let duplicate = {
        client.ingest(&[tokens("known", 5)]);
        shop.commit(&two, &tokens("known", 20)).json()
    };
    assert_eq!(duplicate["event"]["duplicate"], true);
    assert_eq!(duplicate["event"]["conflict"], true);
    assert_eq!(client.post(&release_path(&two), &json!({})).error().0, 409);
    assert_eq!(shop.available(), "495");
    for answer in [
        client.get(&path("crs_none")),
        shop.commit("crs_none", &tokens("a", 1)),
        client.post(&release_path("crs_none"), &json!({})),
    ] {
        assert_eq!(answer.error(), (404, "NOT_FOUND".to_owned()));
    }
}

#[test]
fn after_its_time_a_reservation_is_gone_and_counts_nothing() {
    let shop = Shop::open(Some(START));
    let mut body = shop.asked(&json!("500"));
    body["expires_in_seconds"] = json!(1);
    let id = text(&made(&mut shop.client(), "/credits/reserve", &body)["reservation_id"]);
    let shop = shop.killed();
    wait_until("the time is over", || {
        let read = shop.client().get(&path(&id)).json();
        (read["status"] == "timed_out" && read["ended_at"] != Value::Null).then_some(())
    });
    assert_eq!(shop.commit(&id, &tokens("late", 500)).error(), (410, "GONE".to_owned()));
    assert_eq!(shop.client().post(&release_path(&id), &json!({})).error().0, 410);
    assert_eq!(shop.available(), "500");
    assert_eq!(shop.client().get("/events/late").status, 404);
    let shop = shop.killed();
    assert_eq!(shop.commit(&id, &tokens("late", 500)).error().0, 410);
}

#[test]
fn every_rule_refuses_its_field_and_holds_nothing() {
    let shop = Shop::open(Some(START));
    let mut client = shop.client();
    let table = [
        ("customer_id", Value::Null, 422),
        ("customer_id", json!("nobody"), 404),
        ("meter_id", Value::Null, 422),
        ("meter_id", json!("mtr_none"), 404),
        ("amount", Value::Null, 422),
        ("amount", json!("-1"), 422),
        ("amount", json!("1e"), 422),
        ("amount", json!(true), 422),
        ("amount", json!("1000000000000000"), 422),
        ("subscription_id", json!("sub_none"), 404),
    ];
    for path in ["/credits/check", "/credits/reserve"] {
        for (field, value, status) in &table {
            let mut body = shop.asked(&json!(1));
            body[*field] = value.clone();
            let answer = client.post(path, &body);
            assert_eq!(answer.status, *status, "{path} {field} {value}: {answer:?}");
            if *status == 422 {
                assert_eq!(answer.json()["field"], *field, "{answer:?}");
            }
        }
    }
    for seconds in [json!(0), json!(3_601), json!(-1)] {
        let mut body = shop.asked(&json!(1));
        body["expires_in_seconds"] = seconds;
        let answer = client.post("/credits/reserve", &body);
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("expires_in_seconds")));
    }
    let plain = crate::common::make_count(&mut client, "ping");
    let mut body = shop.asked(&json!(1));
    body["meter_id"] = json!(plain);
    let answer = client.post("/credits/check", &body);
    assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("meter_id")));
    let id = shop.reserve("1");
    let with = |member: &str, value: Value| {
        let mut event = tokens("x", 1);
        event[member] = value;
        event
    };
    let events = [
        ("event.timestamp", with("timestamp", json!(START))),
        ("event.event_id", with("event_id", Value::Null)),
        ("event.customer_id", with("customer_id", json!("somebody"))),
        ("event", with("event_name", json!("ping"))),
        ("event", with("metadata", json!({ "tokens": "1" }))),
        ("event.metadata.tokens", with("metadata", json!({ "tokens": [] }))),
    ];
    for (field, event) in events {
        let answer = shop.commit(&id, &event);
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{answer:?}");
    }
    assert_eq!(client.post(&commit_path(&id), &json!({})).error().0, 400);
    assert_eq!(shop.available(), "499");
    assert_eq!(client.get("/events/x").status, 404);
}

#[test]
fn whoever_may_send_events_may_ask() {
    let shop = Shop::open(Some(START));
    let mut admin = shop.client();
    let mut keys = ["ingest", "read"].map(|scope| {
        let key = made(&mut admin, "/keys", &json!({ "name": scope, "scope": scope }));
        Client::new(shop.daemon.address, key["key"].as_str())
    });
    let asked = shop.asked(&json!(1));
    let id = shop.reserve("1");
    for (path, body, expected) in [
        ("/credits/check".to_owned(), asked.clone(), 200),
        ("/credits/reserve".to_owned(), asked, 201),
        (commit_path(&id), json!({ "event": tokens("a", 1) }), 200),
    ] {
        let statuses = keys.each_mut().map(|client| client.post(&path, &body).status);
        assert_eq!(statuses, [expected, 403], "{path}");
    }
    let read = keys.each_mut().map(|client| client.get(&path(&id)).status);
    assert_eq!(read, [200, 403]);
}

#[test]
fn a_key_gives_the_first_answer_and_reserves_once() {
    let shop = Shop::open(Some(START));
    let mut client = shop.client();
    let key = [("idempotency-key", "once")];
    let first = client.post_with("/credits/reserve", &key, &shop.asked(&json!(400)));
    let again = client.post_with("/credits/reserve", &key, &shop.asked(&json!(400)));
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json(), again.json());
    let other = client.post_with("/credits/reserve", &key, &shop.asked(&json!(1)));
    assert_eq!(other.error(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    assert_eq!(shop.available(), "100");
    let id = text(&first.json()["reservation_id"]);
    let body = json!({ "event": tokens("a", 7) });
    let first = client.post_with(&commit_path(&id), &key, &body);
    let shop = shop.killed();
    let again = shop.client().post_with(&commit_path(&id), &key, &body);
    assert_eq!((first.status, first.json()), (200, again.json()));
    let other = json!({ "event": tokens("b", 7) });
    let other = shop.client().post_with(&commit_path(&id), &key, &other);
    assert_eq!(other.error(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
}

/// By the machine's own clock, over many connections at once.
#[test]
fn a_thousand_concurrent_reserves_on_a_balance_of_500_grant_exactly_500() {
    let shop = Shop::open(None);
    let (granted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let (mut client, asked) = (shop.client(), shop.asked(&json!(1)));
            let (granted, refused, next) = (&granted, &refused, &next);
            scope.spawn(move || {
                while next.fetch_add(1, Ordering::Relaxed) < 1_000 {
                    let answer = client.post("/credits/reserve", &asked);
                    match answer.status {
                        201 => granted.fetch_add(1, Ordering::Relaxed),
                        402 => refused.fetch_add(1, Ordering::Relaxed),
                        _ => panic!("{answer:?}"),
                    };
                }
            });
        }
    });
    assert_eq!((granted.into_inner(), refused.into_inner()), (500, 500));
    assert_eq!(shop.available(), "0");
    let shop = shop.killed();
    assert_eq!(shop.check(0)["balance"], "500");
    assert_eq!(shop.available(), "0");
}
