//! What the corpora were grown from: valid inputs of every target, made by Quipu's own encoders.

use std::borrow::Cow;

use quipu::engine::checkpoint::{Checkpoint, Checkpoints};
use quipu::engine::record::{self, Body, Change, ChangeEntry, Entry, EventEntry, EventsEntry};
use quipu::http::filter_of_json;
use quipu::model::{Event, Hour, Lsn, Number, Scalar, Timestamp};
use quipu::storage::codec;
use quipu::storage::history::{Record, Stored, pack_block};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const FILTER: &str = r#"{"conjunction":"or","clauses":[{"conjunction":"and","clauses":[{"key":"model","operator":"contains","value":"m"},{"key":"cached","operator":"equals","value":false}]},{"conjunction":"and","clauses":[{"key":"n","operator":"greater_than","value":1.5e3}]}]}"#;

/// The seeds of the target of this name.
pub(crate) fn of(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "checkpoint" => checkpoint(),
        "event_json" => texts(&[
            r#"{"events":[]}"#,
            r#"{"events":[{"event_id":"e1","customer_id":"c","event_name":"call","timestamp":"2026-06-30T23:59:59.5+02:00","metadata":{"n":1.50e3,"model":"m\u00e9\n","cached":true}}]}"#,
            r#"{"events":[{"event_id":"a","customer_id":"c","event_name":"n"},{"event_id":"\ud83d\ude00","customer_id":"c","event_name":"n","metadata":null,"x":[[{}]]},{"event_id":1}],"more":{"a":[1,2]}}"#,
            r#"{"events":[{"event_id":"","customer_id":null,"timestamp":7,"metadata":[1]},{"metadata":{"a":null,"a":1}}]}"#,
        ]),
        "filters" => texts(&[
            &format!("{FILTER}\n{}", r#"{"model":"m1","cached":false,"n":1500.0}"#),
            "{\"conjunction\":\"and\",\"clauses\":[{\"key\":\"n\",\"operator\":\"less_than_or_equals\",\"value\":-2}]}\n{\"n\":-2.0}",
            "{\"conjunction\":\"and\",\"clauses\":[{\"key\":\"t\",\"operator\":\"not_equals\",\"value\":\"x\"},{\"key\":\"t\",\"operator\":\"does_not_contain\",\"value\":\"y\"}]}\n{\"t\":\"z\"}",
        ]),
        "frame" => vec![
            vec![0, 0, 10, 0xc2, 3, 0, b'a', b'b', b'c', 0, 0x0a, 2, 0, b'd', b'e'],
            vec![1, 0, 9, 7, 2, 0, 1, 2, 4, 0x0a, 3, 0, 7, 8, 9, 0, 0x0a, 1, 0, 5],
            vec![2, 1, 0, 8, 1, 0, 5, 5, 0, 8, 2, 0, 1, 1, 6, 40, 0, 1, 2, 3, 7, 5, 0, 1],
        ],
        "history_block" => vec![history_block(1, 0), history_block(3, 1), history_block(40, 2)],
        "numbers" => texts(&[
            "0\n-0.0\n1e3",
            "1500.25\n0.000000000001\n99999.999999999999",
            "999999999999999.9999999999995\n1e15\n-8.30E-2",
            "12345678901234567890.123456789e-20\n123.4567890123456\n0.5",
            "1.000000000000000000000000000000000000000\n0000000000000000000000000000000007",
        ]),
        "query_strings" => texts(&[
            "page_size=100&page_number=3",
            "page_number=&page_size=x&a=%2B1&b=true&c=2026-01-01T02:00:00%2B02:00",
            "a=%C3%A9+b&a=&&=1&%61=2&n=18446744073709551616",
        ]),
        "record" => records(),
        "run_block" => vec![
            vec![0, 0, 0, 0, 0],
            [&[1][..], &[5; 28 * 3]].concat(),
            [&[2][..], &[1, 1, 1, 9, 0, 7, 1, 1, 2, 8, 0, 6, 200, 3, 3, 1, 1, 1]].concat(),
        ],
        "timestamps" => texts(&[
            "2026-01-31T23:59:59Z",
            "2024-02-29t00:00:00.123456789012+23:59\n1677-09-21T00:12:43.145224192Z",
            "2262-04-11 23:47:16.854775807\n2026-06-30T23:59:60Z\n1900-02-29T00:00:00Z",
        ]),
        other => panic!("{other} has no seeds"),
    }
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn encoded<T: Serialize>(kind: u8, object: &T) -> Vec<u8> {
    let mut bytes = vec![kind];
    codec::encode(object, &mut bytes);
    bytes
}

fn meter() -> Value {
    json!({
        "id": "mtr_1", "index": 0, "name": "Calls", "description": null, "event_name": "call",
        "measurement_unit": "calls", "aggregation": { "Sum": { "key": "n" } },
        "filter": filter_of_json(FILTER), "created_at": 5, "updated_at": 6, "archived": false,
    })
}

fn customer() -> Value {
    json!({
        "id": "cus_1", "index": 3, "name": "Ada", "email": "ada@example.com",
        "phone_number": "+100", "preferred_locale": null,
        "metadata": [["plan", { "String": "x" }], ["n", { "Number": "1.5" }]],
        "created_at": 5, "updated_at": 6, "created_by": "Api",
    })
}

fn key() -> Value {
    json!({
        "id": "key_1", "name": "k", "scope": "Read", "digest": vec![7; 32], "created_at": 5,
        "deleted_at": 9,
    })
}

fn product() -> Value {
    let month = json!({ "count": 1, "unit": "Month" });
    let recurrence =
        json!({ "payment_frequency": month, "subscription_period": month, "trial_days": 7 });
    let tiers = json!([
        { "up_to": 5_000, "price_per_unit": null, "flat_fee": 100 },
        { "up_to": null, "price_per_unit": "0.25", "flat_fee": 0 },
    ]);
    let priced = |meter: u32, rate: Value| json!({ "meter": meter, "rate": rate, "free_threshold": 1000, "minimum": 5, "maximum": null });
    let meters = json!([
        priced(0, json!({ "PerUnit": "0.25" })),
        priced(1, json!({ "Package": { "size": 100, "price": "2" } })),
        priced(
            3,
            json!({ "Credits": { "entitlement": 0, "units_per_credit": 5_000_000_000_000_u64 } })
        ),
        priced(2, json!({ "Tiered": { "mode": "Graduated", "tiers": tiers } })),
    ]);
    json!({
        "id": "pdt_1", "index": 0, "name": "P", "description": "d", "tax_category": "Saas",
        "metadata": [], "created_at": 5, "updated_at": 6, "archived": true,
        "prices": [{
            "currency": "USD", "fixed": 4900, "discount_bps": 100, "tax_inclusive": false,
            "purchasing_power_parity": false,
            "kind": { "UsageBased": { "recurrence": recurrence, "meters": meters } },
            "credits": [attachment()],
        }],
    })
}

fn credit_terms() -> Value {
    let overage = json!({
        "is_enabled": true, "limit": 1_000_000_000_000_u64, "behavior": "CarryDeficitAutoRepay",
        "price": "0.25", "currency": "USD",
    });
    let rollover = json!({
        "is_enabled": true, "percentage": 75, "timeframe": { "count": 3, "unit": "Week" },
        "count_max": 2,
    });
    json!({ "overage": overage, "rollover": rollover, "expires_after_days": 30 })
}

fn entitlement() -> Value {
    json!({
        "id": "cde_1", "index": 0, "name": "Tokens", "description": "d", "unit": "token",
        "precision": 2, "created_at": 5, "updated_at": 6, "deleted": true, "terms": credit_terms(),
    })
}

fn attachment() -> Value {
    json!({
        "entitlement": 0, "precision": 2, "amount": 10_000_000_000_000_u64,
        "trial_amount": 1_000_000_000_000_u64, "trial_expires": true, "low_balance_percent": 20,
        "proration": "Prorate", "terms": credit_terms(),
    })
}

fn address() -> Value {
    json!({ "country": "US", "city": "A", "state": null, "street": null, "zipcode": "1" })
}

fn subscription() -> Value {
    let terms = json!({ "product": 0, "version": 1 });
    let period = json!({ "start": 5, "end": 99 });
    let month = json!({ "count": 1, "unit": "Month" });
    let segment = json!({ "number": 1, "period": period, "terms": terms, "opened_by": 0 });
    let used = json!({ "total": 7, "high": 8, "billed": 1, "amount": 1 });
    let plan = json!({ "terms": terms, "quantity": 3, "interval": month, "subscription_period": month, "credits": [attachment()] });
    let renewal = json!({ "terms": terms, "quantity": 2, "period": period });
    json!({
        "id": "sub_1", "index": 0, "customer": 3, "terms": terms, "quantity": 2,
        "credits": [attachment()], "status": "Active", "subscription_period": month, "trial_days": 0, "running": segment,
        "cycle": {
            "anchor": 5, "interval": month, "renews": true, "next_boundary": 2,
            "previous_billing_date": 5, "next_billing_date": 99,
            "paused": { "secs": 1, "nanos": 2 }, "term_start": 5, "expires_at": 999,
        },
        "closing": [{
            "segment": segment, "due_at": 9, "close_at": 10, "renewal": renewal,
            "ends_period": false,
        }],
        "in_trial": false, "paused_at": 7, "past_due_until": 8,
        "scheduled_change": { "id": "pch_1", "plan": plan, "created_at": 6 },
        "pending_change": { "invoice": 2, "plan": plan, "mode": "DoNotBill", "credit": 5,
            "total": 6 },
        "used": [[0, used]], "credit": 9,
        "next_segment": 2, "period_opened_by": 0, "cancel_at_next_billing_date": true,
        "cancellation": { "at": 8, "reason": "CancelledByCustomer", "feedback": "Unused",
            "comment": "c" },
        "unpaid": [4], "stopped": false, "first_payment": "pay_1", "billing": address(),
        "customer_business_name": "B", "tax_id": null, "metadata": [["a", { "Boolean": true }]],
        "created_at": 5,
    })
}

fn invoice() -> Value {
    let period = json!({ "start": 5, "end": 99 });
    let fixed = json!({
        "name": "P", "price": 4900, "quantity": 2, "discount_bps": 0, "period": period,
        "share": { "part": { "secs": 1, "nanos": 0 }, "whole": { "secs": 2, "nanos": 0 } },
    });
    let charge = json!({ "name": "P", "description": "d" });
    let overage = json!({ "entitlement": 0, "name": "Tokens", "unit": "token", "credits": 5, "price": "0.25" });
    let usage = json!({
        "meter": 0, "name": "Calls", "measurement_unit": "calls", "consumed": 2500,
        "free_threshold": 1000, "chargeable": 1500, "rate": { "PerUnit": "0.25" }, "position": 0,
        "shares": [{ "up_to": null, "units": 1500, "price_per_unit": "0.25", "flat_fee": 0 }],
        "minimum": null, "maximum": 9000, "bound": "Maximum",
        "used": { "total": 7, "high": 8, "billed": 0, "amount": 1 }, "lsns": [1, 9],
    });
    let line = |detail: Value| {
        let amount = 375;
        json!({ "product": 0, "price_version": 1, "detail": detail, "amount": amount })
    };
    json!({
        "id": "inv_1", "number": 1, "cause": { "Closed": 1 }, "subscription": 0, "customer": 3,
        "bill_to": { "name": "Ada", "email": "a@b", "business_name": null, "tax_id": "T",
            "address": address() },
        "currency": "EUR", "total": 5275, "period": period, "due_at": 99, "created_at": 100,
        "cut_off_lsn": 9,
        "lines": [
            line(json!({ "Fixed": fixed })), line(json!({ "Unused": fixed })),
            line(json!({ "Usage": usage })), line(json!({ "Charge": charge })),
            line(json!({ "Overage": overage })),
            line(json!("Credit")),
        ],
    })
}

fn payment() -> Value {
    json!({
        "id": "pay_1", "index": 0, "invoice": 1, "invoice_id": "inv_1", "customer": 3,
        "subscription": 0, "cart": [{ "product": 0, "quantity": 2, "credits": [attachment()] }], "currency": "EUR",
        "total": 5275, "checkout": "cks_1",
        "charge_type": "Renewal", "includes_usage": true,
        "service_period": { "start": 5, "end": 99 }, "share": null, "status": "Failed",
        "failure": { "code": "x", "message": null }, "retry_attempt": 1, "billing": address(),
        "metadata": [], "created_at": 100, "updated_at": 101,
    })
}

fn identity() -> Value {
    json!({ "explicit": vec![1; 32], "content": vec![2; 32] })
}

fn events_body() -> Body<'static> {
    let event = |id, metadata| EventEntry {
        id,
        customer: 0,
        name: 1,
        timestamp: Timestamp::from_nanos(300),
        timestamp_given: true,
        metadata,
    };
    let metadata = vec![
        (2, Scalar::Number(Number::new("1.50e3").unwrap())),
        (0, Scalar::Boolean(true)),
        (1, Scalar::String(Cow::Borrowed("text"))),
    ];
    Body::Events(EventsEntry {
        received_at: Timestamp::from_nanos(-400),
        created: vec![0],
        texts: vec!["cus_1", "call", "n"],
        events: vec![event("e1", Some(metadata)), event("e2", None)],
    })
}

fn records() -> Vec<Vec<u8>> {
    let change =
        |change: Change| Body::Change(ChangeEntry { change, identity: Some(object(identity())) });
    let backfilled = json!({
        "meter": 0, "entries": [], "end": "Complete",
        "totals": { "counted": 7, "skipped": [1, 2, 3], "magnitude": 9 },
    });
    let closed = json!({
        "payment": payment(), "invoice": invoice(), "subscription": subscription(),
        "identity": identity(),
    });
    let marked = json!({ "payment": payment(), "subscription": subscription(), "identity": null });
    let bodies = [
        vec![events_body(), Body::ClockSet(None), events_body()],
        vec![change(Change::Meter(object(meter()))), change(Change::Customer(object(customer())))],
        vec![change(Change::Key(object(key()))), Body::ClockSet(Some(object(identity())))],
        vec![change(Change::Product(object(product())))],
        vec![change(Change::Entitlement(object(entitlement())))],
        vec![change(Change::Settings(object(json!({
            "numeric_strings": true, "credit_order": "ExpiresFirst",
        }))))],
        vec![Body::Backfilled(object(backfilled))],
        vec![Body::PeriodTurned(object(subscription()))],
        vec![Body::CycleClosed(object(closed))],
        vec![Body::PaymentMarked(object(marked))],
        vec![change(Change::Endpoint(object(endpoint()))), Body::WebhookSettled(object(settled()))],
        vec![
            change(Change::Webhook(object(json!({ "Tested": [1, "whk_1"] })))),
            change(Change::Webhook(object(json!({
                "Requeued": { "endpoint": 1, "messages": [{ "lsn": 5, "number": 0 }], "due": 9 },
            })))),
        ],
        vec![
            Body::CreditsMoved(object(json!({ "moved": { "Settled": [0, 7] }, "identity": null }))),
            Body::CreditsMoved(object(json!({
                "moved": { "Expired": { "pools": [3], "at": 9 } }, "identity": null,
            }))),
            Body::CreditsMoved(object(json!({
                "moved": { "Entered": {
                    "pool": { "entitlement": 0, "customer": 3 },
                    "kind": { "Credit": { "expires_at": 99 } }, "amount": 5, "reason": "r",
                    "metadata": [["a", { "Boolean": true }]], "digest": vec![7; 16],
                } },
                "identity": identity(),
            }))),
        ],
    ];
    bodies.into_iter().map(payload).collect()
}

fn endpoint() -> Value {
    json!({
        "id": "whk_1", "index": 1, "url": "https://example.com/", "description": "d",
        "disabled": "Failing", "filter": ["PaymentSucceeded", "CreditAdded"],
        "headers": [["x-a", "b"]], "metadata": [["k", "v"]], "rate_limit": 5,
        "secret": vec![1; 24], "retired": [{ "secret": vec![2; 24], "until": 9 }],
        "failing_since": 3, "created_at": 1, "updated_at": 2, "deleted": false,
    })
}

fn settled() -> Value {
    let attempt = |next: Value, status: Value, error: Value| {
        json!({
            "message": { "lsn": 5, "number": 1 }, "event_type": "SubscriptionActive", "number": 2,
            "due": 7, "at": 8, "took_ms": 9, "status": status, "error": error, "answer": "a",
            "next": next,
        })
    };
    json!({
        "endpoint": 1, "through": { "lsn": 6, "number": 0 },
        "attempts": [
            attempt(json!("Delivered"), json!(200), Value::Null),
            attempt(json!({ "Retry": 99 }), json!(500), Value::Null),
            attempt(json!("GivenUp"), Value::Null, json!("e")),
        ],
        "dropped": [[4, { "lsn": 2, "number": 3 }]],
    })
}

fn payload(bodies: Vec<Body<'static>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::start_payload(bodies.len(), &mut bytes);
    for body in bodies {
        record::encode_entry(&Entry { log_time: Timestamp::from_nanos(500), body }, &mut bytes);
    }
    bytes
}

fn checkpoint() -> Vec<Vec<u8>> {
    use quipu::model::{ApiKey, Customer, Invoice, Payment, Subscription};

    let one = Checkpoint {
        lsn: Lsn(9),
        snapshot: "snapshot-9".to_owned(),
        hash: [3; 32],
        accumulators: 2,
        counted: 7,
    };
    let checkpoints = Checkpoints {
        newest: one.clone(),
        previous: Some(one),
        memory_from: Hour(5),
        row_counts: [1, 2, 3],
    };
    let mut base = Vec::new();
    codec::encode(
        &(Lsn(9), Timestamp::MAX, vec![object::<quipu::model::Meter>(meter())]),
        &mut base,
    );
    let subscriptions = encoded(1, &vec![object::<Subscription>(subscription())]);
    vec![
        vec![0, 0, 0, 3, 0, 1, 2, 3, 0, 1, 0, 9],
        vec![0, 0],
        [&[0, 0, 0][..], &300_u16.to_le_bytes(), &subscriptions].concat(),
        [&[1][..], &base, &[0; 40]].concat(),
        [&[2][..], &subscriptions].concat(),
        encoded(3, &checkpoints),
        encoded(4, &object::<Customer>(customer())),
        encoded(5, &object::<ApiKey>(key())),
        encoded(7, &object::<Invoice>(invoice())),
        encoded(8, &object::<Payment>(payment())),
    ]
}

/// A block of so many events, with another record behind each of the first `records`.
fn history_block(events: u64, records: u64) -> Vec<u8> {
    let mut lsn = 7;
    let mut next = || {
        lsn += 1;
        Lsn(lsn - 1)
    };
    let (mut stored, mut others) = (Vec::new(), Vec::new());
    for number in 0..events {
        let metadata = vec![
            ("n".into(), Scalar::Number(Number::new("1.5").unwrap())),
            ("b".into(), Scalar::Boolean(number % 3 == 0)),
            ("t".into(), Scalar::String(format!("text {}", number * 7919 % 97).into())),
        ];
        let given = number % 2 == 0;
        let time =
            |nanos: u64| Timestamp::from_nanos(1_782_864_000_000_000_000 + nanos.cast_signed());
        let event = Event {
            id: format!("event-{number}").into(),
            customer_id: format!("customer-{}", number % 5).into(),
            name: "call".into(),
            timestamp: time(number * 1_000_000_000),
            timestamp_given: given,
            metadata: (number % 4 != 3).then_some(metadata),
        };
        stored.push(Stored { lsn: next(), received_at: time(number * 1_234_567), event });
        if number < records {
            let log_time = Timestamp::from_nanos(5);
            others.push(Record { lsn: next(), log_time, payload: b"a record" });
        }
    }
    pack_block(&stored, &others)
}
