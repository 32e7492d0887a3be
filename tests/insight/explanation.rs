//! `GET /events/{event_id}/explanation`: whole answers.

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::Launch;
use crate::common::{TEST_CLOCK, event_at, make_meter, verdict};

fn explanation(client: &mut Client, id: &str) -> Value {
    let answer = client.get(&format!("/events/{id}/explanation"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn made(client: &mut Client, path: &str, body: &Value) -> Value {
    let answer = client.post(path, body);
    assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
    answer.json()
}

fn filter() -> Value {
    json!({ "conjunction": "and", "clauses": [
        { "conjunction": "or", "clauses": [
            { "key": "model", "operator": "equals", "value": "m1" },
            { "key": "model", "operator": "greater_than", "value": 3 },
        ] },
        { "conjunction": "or", "clauses": [
            { "key": "region", "operator": "not_equals", "value": "test" },
        ] },
    ] })
}

#[test]
fn each_clause_is_told_with_the_value_that_it_found() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at(TEST_CLOCK).start();
    let mut client = daemon.client();
    let sum = json!({ "type": "sum", "key": "tokens" });
    let meter = make_meter(&mut client, "llm", &sum, &filter());
    make_meter(&mut client, "other", &sum, &Value::Null);
    let metadata = json!({ "model": "m2", "tokens": 5 });
    let at = "2026-03-01T00:30:00Z";
    assert_eq!(verdict(&mut client, &[event_at(at, "e/1", "c", "llm", &metadata)]), [1, 0, 0]);
    let found = explanation(&mut client, "e%2F1");
    let condition = |key: &str, operator: &str, value: Value| {
        json!({ "key": key, "operator": operator, "value": value, "holds": false, "found": null,
            "found_type": null, "reason": "missing", "because": format!("`{key}` is missing") })
    };
    let with = |mut condition: Value, reason: &str, because: &str| {
        condition["found"] = "m2".into();
        condition["found_type"] = "string".into();
        condition["reason"] = reason.into();
        condition["because"] = because.into();
        condition
    };
    let judged = json!({ "conjunction": "and", "holds": false, "clauses": [
        { "conjunction": "or", "holds": false, "clauses": [
            with(condition("model", "equals", json!("m1")), "other_value", "`model` is not \"m1\""),
            with(
                condition("model", "greater_than", json!(3)),
                "wrong_type",
                "`model` is a string, the filter compares numbers",
            ),
        ] },
        { "conjunction": "or", "holds": false, "clauses": [
            condition("region", "not_equals", json!("test")),
        ] },
    ] });
    let expected = json!({
        "event": client.get("/events/e%2F1").json(),
        "waiting": false,
        "meters": [{
            "meter_id": meter, "name": found["meters"][0]["name"], "measurement_unit": "units",
            "aggregation": { "type": "sum", "key": "tokens" }, "archived": false,
            "matched": false, "filter": judged, "found": 5, "quantity": null, "skipped": null,
            "skipped_because": null, "backfilled": false, "backfilling": false, "counter": null,
            "billed": [],
        }],
        "as_of_lsn": found["as_of_lsn"],
    });
    assert_eq!(found, expected);
    assert_eq!(client.get("/events/none/explanation").error(), (404, "NOT_FOUND".to_owned()));
}

/// Subscribes `acme` to usage of a meter: the ids of product and subscription.
fn subscribe(client: &mut Client, meter: &str) -> (Value, Value) {
    let price = json!({
        "type": "usage_based_price", "fixed_price": 0, "currency": "USD", "discount": 0,
        "purchasing_power_parity": false,
        "payment_frequency_count": 1, "payment_frequency_interval": "Month",
        "subscription_period_count": 10, "subscription_period_interval": "Year",
        "meters": [{ "meter_id": meter, "price_per_unit": "2", "free_threshold": 0 }],
    });
    let product = json!({ "name": "P", "tax_category": "saas", "price": price });
    let product = made(client, "/products", &product)["product_id"].clone();
    let customer = json!({ "customer_id": "acme", "name": "A", "email": "a@example.com" });
    made(client, "/customers", &customer);
    let subscription = json!({ "product_id": product, "quantity": 1, "billing": { "country": "PE" },
        "customer": { "customer_id": "acme" } });
    let subscription = made(client, "/subscriptions", &subscription)["subscription_id"].clone();
    (product, subscription)
}

#[test]
fn an_event_is_followed_from_its_hour_to_the_invoice() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at(TEST_CLOCK).start();
    let mut client = daemon.client();
    let sum = json!({ "type": "sum", "key": "tokens" });
    let meter = make_meter(&mut client, "llm", &sum, &Value::Null);
    let (product, subscription) = subscribe(&mut client, &meter);
    let at = |at: &str, id: &str, tokens: Value| {
        event_at(at, id, "acme", "llm", &json!({ "tokens": tokens }))
    };
    let events = [
        at("2026-03-01T00:59:59Z", "before", json!(1)),
        at("2026-03-01T01:00:00Z", "ahead", json!(2)),
        at("2026-03-01T01:00:00Z", "text", json!("7")),
    ];
    assert_eq!(verdict(&mut client, &events), [3, 0, 0]);

    let of = |client: &mut Client, id: &str| {
        let found = explanation(client, id);
        let meter = found["meters"][0].clone();
        (found["waiting"].clone(), meter)
    };
    let (waiting, before) = of(&mut client, "before");
    assert_eq!((waiting, &before["quantity"]), (json!(false), &json!("1")));
    assert_eq!(before["billed"], json!([]), "it came before the subscription: {before}");
    assert_eq!(before["counter"]["value"], "1");

    let (waiting, ahead) = of(&mut client, "ahead");
    assert_eq!(waiting, json!(true), "under a test clock it has the very instant of log time");
    let counter = json!({
        "period": { "start": "2026-03-01T01:00:00Z", "end": "2026-03-01T02:00:00Z" },
        "value": "2", "skipped": { "missing": 0, "not_a_number": 1, "out_of_range": 0 },
    });
    assert_eq!(ahead["counter"], counter);
    let period = json!({ "start": "2026-03-01T01:00:00Z", "end": "2026-04-01T01:00:00Z" });
    let billed = |state: &str, due_at: Value, close_at: Value| {
        json!([{ "subscription_id": subscription, "product_id": product, "period": period,
            "state": state, "due_at": due_at, "close_at": close_at, "invoice_id": null,
            "invoiced_at": null }])
    };
    let (end, close) = (json!("2026-04-01T01:00:00Z"), json!("2026-04-01T02:10:00Z"));
    assert_eq!(ahead["billed"], billed("running", end.clone(), close.clone()));

    let (_, text) = of(&mut client, "text");
    assert_eq!((&text["matched"], &text["found"]), (&json!(true), &json!("7")));
    assert_eq!((&text["quantity"], &text["skipped"]), (&Value::Null, &json!("not_a_number")));
    assert_eq!(text["skipped_because"], "`tokens` is a string, the meter adds up numbers");
    assert_eq!((&text["counter"], &text["billed"]), (&counter, &json!([])));

    made(&mut client, "/clock/advance", &json!({ "to": "2026-04-01T01:30:00Z" }));
    let (waiting, ahead) = of(&mut client, "ahead");
    assert_eq!((waiting, &ahead["billed"]), (json!(false), &billed("closing", end, close)));

    made(&mut client, "/clock/advance", &json!({ "to": "2026-04-05T00:00:00Z" }));
    let (_, ahead) = of(&mut client, "ahead");
    let invoice = client.get("/invoices?customer_id=acme").json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|invoice| invoice["period"]["end"] == "2026-04-01T01:00:00Z")
        .unwrap_or_else(|| panic!("{:?}", client.get("/invoices?customer_id=acme")))
        .clone();
    let landed = &ahead["billed"][0];
    assert_eq!((&landed["state"], &landed["invoice_id"]), (&json!("invoiced"), &invoice["id"]));
    assert_eq!((&landed["period"], &landed["due_at"]), (&period, &Value::Null));
}

#[test]
fn what_a_meter_counted_afterwards_is_in_the_hours_alone() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at(TEST_CLOCK).start();
    let mut client = daemon.client();
    let event = event_at("2026-03-01T00:30:00Z", "e", "c", "call", &Value::Null);
    assert_eq!(verdict(&mut client, &[event]), [1, 0, 0]);
    make_meter(&mut client, "call", &json!({ "type": "count" }), &Value::Null);
    let explained = crate::common::wait_until("the meter has counted what came before it", || {
        let explained = explanation(&mut client, "e")["meters"][0].clone();
        (explained["backfilling"] == false).then_some(explained)
    });
    let told =
        ["matched", "quantity", "backfilled", "filter", "found"].map(|name| &explained[name]);
    assert_eq!(told, [&json!(true), &json!("1"), &json!(true), &Value::Null, &Value::Null]);
    assert_eq!(explained["counter"]["value"], "1");
}
