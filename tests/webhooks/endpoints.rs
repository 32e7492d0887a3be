//! Endpoints: made, listed, read, changed, deleted, and what is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::common::client::{Answer, Client};
use crate::place::{Place, START};

const URL: &str = "https://example.com/hooks";

/// Where nothing may be sent to this machine, as by default.
fn open() -> Place {
    Place::started(|launch| launch.at(START).with("QUIPU_WEBHOOKS__ALLOW_LOOPBACK", "false"))
}

fn made(client: &mut Client, body: &Value) -> Value {
    let answer = client.post("/webhooks", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn id_of(endpoint: &Value) -> String {
    endpoint["id"].as_str().unwrap().to_owned()
}

fn secret_of(client: &mut Client, id: &str) -> String {
    let answer = client.get(&format!("/webhooks/{id}/secret"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["secret"].as_str().unwrap().to_owned()
}

fn refuses(answer: &Answer, field: &str) {
    let expected = (422, "INVALID_REQUEST_PARAMETERS".to_owned());
    assert_eq!(answer.error(), expected, "{field}: {answer:?}");
    assert_eq!(answer.json()["field"], field, "{answer:?}");
}

#[test]
fn an_endpoint_is_shown_as_it_was_made_and_changed_and_outlives_a_kill() {
    let place = open();
    let mut client = place.client();
    let plain = made(&mut client, &json!({ "url": URL }));
    let expected = json!({
        "id": plain["id"], "url": URL, "description": "", "disabled": false, "disabled_reason": null,
        "failing_since": null, "filter_types": null, "metadata": {}, "rate_limit": null,
        "created_at": START, "updated_at": START,
    });
    assert_eq!(plain, expected);
    assert!(id_of(&plain).starts_with("whk_"));
    let body = json!({
        "url": "https://example.com:8443/a?b=c", "description": "two\nlines", "disabled": true,
        "filter_types": ["payment.succeeded", "refund.failed", "payment.succeeded"],
        "headers": { "Authorization": "Bearer x", "X-Trace": "1" },
        "metadata": { "team": "billing" }, "rate_limit": 10_000,
    });
    let full = made(&mut client, &body);
    let id = id_of(&full);
    assert_eq!(full["filter_types"], json!(["payment.succeeded", "refund.failed"]));
    assert_eq!((&full["disabled"], &full["disabled_reason"]), (&json!(true), &json!("request")));
    let headers = format!("/webhooks/{id}/headers");
    let sent = json!({ "authorization": "Bearer x", "x-trace": "1" });
    assert_eq!(client.get(&headers).json(), json!({ "headers": sent, "sensitive": [] }));
    let changed = json!({ "headers": { "X-TRACE": null, "x-more": "y" } });
    assert_eq!(client.patch(&headers, &changed).status, 200);
    let patch = json!({
        "url": URL, "description": null, "disabled": false, "filter_types": [], "metadata": {},
        "rate_limit": null,
    });
    let answer = client.patch(&format!("/webhooks/{id}"), &patch);
    let patched = answer.json();
    let mut expected = expected;
    expected["id"] = id.as_str().into();
    assert_eq!((answer.status, &patched), (200, &expected));
    let secret = secret_of(&mut client, &id);
    let place = place.killed(|launch| launch);
    let mut client = place.client();
    assert_eq!(client.get(&format!("/webhooks/{id}")).json(), patched);
    assert_eq!(client.get(&format!("/webhooks/{}", id_of(&plain))).json(), plain);
    assert_eq!(secret_of(&mut client, &id), secret);
    let sent = json!({ "authorization": "Bearer x", "x-more": "y" });
    assert_eq!(client.get(&headers).json(), json!({ "headers": sent, "sensitive": [] }));
}

#[test]
fn secrets_are_random_and_a_rotation_gives_another() {
    let place = open();
    let mut client = place.client();
    let ids = [(); 3].map(|()| id_of(&made(&mut client, &json!({ "url": URL }))));
    let mut secrets: BTreeSet<_> = ids.iter().map(|id| secret_of(&mut client, id)).collect();
    for _ in 0..4 {
        let answer = client.post(&format!("/webhooks/{}/secret/rotate", ids[0]), &json!({}));
        assert_eq!(answer.status, 200, "{answer:?}");
        let secret = answer.json()["secret"].as_str().unwrap().to_owned();
        assert_eq!(secret_of(&mut client, &ids[0]), secret);
        secrets.insert(secret);
    }
    assert_eq!(secrets.len(), 7);
    // 24 bytes are 32 characters of base64.
    assert!(secrets.iter().all(|text| text.starts_with("whsec_") && text.len() == 6 + 32));
    let again = client.post(&format!("/webhooks/{}/secret/rotate", ids[0]), &json!({}));
    assert_eq!(again.error(), (409, "CONFLICT".to_owned()));
}

#[test]
fn a_list_is_walked_by_its_iterator_and_ends() {
    let place = open();
    let mut client = place.client();
    let empty = client.get("/webhooks").json();
    assert_eq!(empty, json!({ "data": [], "iterator": "", "done": true }));
    let mut ids: Vec<_> =
        (0..50).map(|_| id_of(&made(&mut client, &json!({ "url": URL })))).collect();
    let more = client.post("/webhooks", &json!({ "url": URL }));
    assert_eq!(more.error(), (409, "CONFLICT".to_owned()));
    assert_eq!(client.delete(&format!("/webhooks/{}", ids[7])).status, 200);
    assert_eq!(client.get(&format!("/webhooks/{}", ids.remove(7))).status, 404);
    for limit in [1, 7, 49, 50, 250] {
        let (mut found, mut iterator) = (Vec::new(), String::new());
        loop {
            let page = client.get(&format!("/webhooks?limit={limit}&iterator={iterator}")).json();
            let data = page["data"].as_array().unwrap();
            assert!(!data.is_empty() && data.len() <= limit, "{page}");
            found.extend(data.iter().map(id_of));
            iterator = page["iterator"].as_str().unwrap().to_owned();
            assert_eq!(page["done"], iterator.is_empty());
            if iterator.is_empty() {
                break;
            }
        }
        assert_eq!(found, ids);
    }
    for query in ["limit=0", "limit=251", "limit=x", "iterator=x"] {
        let answer = client.get(&format!("/webhooks?{query}"));
        assert_eq!(answer.error(), (422, "INVALID_QUERY_PARAMS".to_owned()), "{query}");
    }
}

#[test]
fn what_no_endpoint_may_be_is_refused_with_the_field() {
    let place = open();
    let mut client = place.client();
    let id = id_of(&made(&mut client, &json!({ "url": URL })));
    let path = format!("/webhooks/{id}");
    let before = client.get(&path).json();
    refuses(&client.post("/webhooks", &json!({})), "url");
    let both = [
        (json!({ "url": "http://example.com/" }), "url"),
        (json!({ "url": "http://127.0.0.1/" }), "url"),
        (json!({ "url": "https://10.0.0.1/" }), "url"),
        (json!({ "description": "d".repeat(1001) }), "description"),
        (json!({ "filter_types": ["payment"] }), "filter_types.0"),
        (json!({ "metadata": { "n": 1 } }), "metadata.n"),
        (json!({ "rate_limit": 0 }), "rate_limit"),
        (json!({ "rate_limit": 10_001 }), "rate_limit"),
    ];
    for (members, field) in both {
        refuses(&client.patch(&path, &members), field);
        let mut create = json!({ "url": URL });
        create.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        refuses(&client.post("/webhooks", &create), field);
    }
    let many: serde_json::Map<_, _> = (0..21).map(|n| (format!("x-{n}"), json!("y"))).collect();
    let headers = [
        (json!({ "host": "x" }), "headers.host"),
        (json!({ "Content-Length": "1" }), "headers.Content-Length"),
        (json!({ "transfer-encoding": "chunked" }), "headers.transfer-encoding"),
        (json!({ "webhook-id": "x" }), "headers.webhook-id"),
        (json!({ "proxy-authorization": "x" }), "headers.proxy-authorization"),
        (json!({ "a b": "x" }), "headers.a b"),
        (json!({ "": "x" }), "headers."),
        (json!({ "x": "a\r\nb: c" }), "headers.x"),
        (json!({ "x": "v".repeat(1001) }), "headers.x"),
        (json!({ "x": 1 }), "headers.x"),
        (json!({ "x": "1", "X": "2" }), "headers.x"),
        (Value::Object(many), "headers"),
    ];
    for (members, field) in headers {
        let body = json!({ "headers": members });
        refuses(&client.patch(&format!("{path}/headers"), &body), field);
    }
    refuses(&client.patch(&format!("{path}/headers"), &json!({})), "headers");
    assert_eq!(client.get(&path).json(), before);
    assert_eq!(client.get(&format!("{path}/headers")).json()["headers"], json!({}));
    assert_eq!(client.get("/webhooks").json()["data"].as_array().unwrap().len(), 1);
    for path in ["/webhooks/whk_no", "/webhooks/whk_no/secret", "/webhooks/whk_no/headers"] {
        assert_eq!(client.get(path).error(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
    let answer = client.patch("/webhooks/whk_no", &json!({}));
    assert_eq!(answer.error(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(client.delete("/webhooks/whk_no").error(), (404, "NOT_FOUND".to_owned()));
}

#[test]
fn an_endpoint_that_is_asked_for_twice_with_one_key_is_made_once() {
    let place = open();
    let mut client = place.client();
    let body = json!({ "url": URL, "idempotency_key": "one" });
    let first = made(&mut client, &body);
    assert_eq!(made(&mut client, &body), first);
    let other = json!({ "url": URL, "description": "other", "idempotency_key": "one" });
    assert_eq!(client.post("/webhooks", &other).status, 422);
    refuses(
        &client.post("/webhooks", &json!({ "url": URL, "idempotency_key": "" })),
        "idempotency_key",
    );
    assert_eq!(client.get("/webhooks").json()["data"].as_array().unwrap().len(), 1);
}
