//! What arrives: bodies, signatures, headers, and what receivers may do without harm.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::common::client::Client;
use crate::common::{event, make_count, pass, wait_until};
use crate::place::{MOMENT, Place, attempts, endpoint, entitlement, give, got, test};
use crate::receiver::{Does, Receiver};

/// A subscription of customer `c-1` to a product that bills calls; its id.
fn subscribe(client: &mut Client) -> String {
    client.ingest(&[event("first", "c-1", "hello", &json!({}))]);
    let meter = make_count(client, "call");
    let product = client.post(
        "/products",
        &json!({
            "name": "Plan", "tax_category": "saas", "price": {
                "type": "usage_based_price", "currency": "USD", "fixed_price": 4900, "discount": 0,
                "payment_frequency_count": 1, "payment_frequency_interval": "Month",
                "subscription_period_count": 1, "subscription_period_interval": "Year",
                "purchasing_power_parity": false,
                "meters": [{ "meter_id": meter, "price_per_unit": "2", "free_threshold": 0 }],
            },
        }),
    );
    assert_eq!(product.status, 200, "{product:?}");
    let made = client.post(
        "/subscriptions",
        &json!({
            "customer": { "customer_id": "c-1" }, "product_id": product.json()["product_id"],
            "quantity": 1, "billing": { "country": "PE" },
        }),
    );
    assert_eq!(made.status, 200, "{made:?}");
    made.json()["subscription_id"].as_str().unwrap().to_owned()
}

/// `data` of an envelope without its kind.
fn resource(envelope: &Value) -> Value {
    let mut data = envelope["data"].clone();
    data.as_object_mut().unwrap().remove("payload_type");
    data
}

#[test]
fn a_message_is_the_resource_in_an_envelope_signed_and_sent_once_to_each() {
    let place = Place::open();
    let mut client = place.client();
    let (all, few) =
        (Receiver::start(|_| Does::answers(200)), Receiver::start(|_| Does::answers(204)));
    let headers = json!({ "headers": { "X-Team": "billing" } });
    let (_, secret) = endpoint(&mut client, &all.url(), &headers);
    let filter = json!({ "filter_types": ["subscription.active"] });
    let (_, other_secret) = endpoint(&mut client, &few.url(), &filter);
    let subscription = subscribe(&mut client);
    let found = got(&all, 2);
    let kinds: BTreeSet<_> =
        found.iter().map(|got| got.json()["type"].as_str().unwrap().to_owned()).collect();
    let expected = ["payment.succeeded", "subscription.active"].map(str::to_owned);
    assert_eq!(kinds, BTreeSet::from(expected));
    for got in &found {
        let envelope = got.json();
        let members: Vec<_> = envelope.as_object().unwrap().keys().collect();
        assert_eq!(members, ["business_id", "data", "timestamp", "type"]);
        assert_eq!(
            (&envelope["business_id"], &envelope["timestamp"]),
            (&json!("bus_quipu"), &json!(crate::place::START))
        );
        assert_eq!(got.path, "/hooks?a=b");
        assert_eq!(got.header("content-type"), "application/json");
        assert_eq!(got.header("x-team"), "billing");
        assert_eq!(got.header("host"), all.address.to_string());
        assert!(got.id().starts_with("msg_"));
        assert_eq!(got.signed_by(&secret), Some(0));
        assert_eq!(got.signed_by(&other_secret), None);
        let (payload_type, shown) = if envelope["type"] == "subscription.active" {
            ("Subscription", client.get(&format!("/subscriptions/{subscription}")).json())
        } else {
            let id = envelope["data"]["payment_id"].as_str().unwrap();
            ("Payment", client.get(&format!("/payments/{id}")).json())
        };
        assert_eq!(envelope["data"]["payload_type"], payload_type);
        assert_eq!(resource(&envelope), shown);
    }
    let told = got(&few, 1);
    assert_eq!(told.len(), 1);
    let same = found.iter().find(|got| got.id() == told[0].id()).unwrap();
    assert_eq!(told[0].body, same.body);
    assert_eq!((told[0].signed_by(&other_secret), told[0].signed_by(&secret)), (Some(0), None));
    pass(MOMENT);
    assert_eq!((all.got().len(), few.got().len()), (2, 1));
}

#[test]
fn a_cycle_and_credits_are_told_as_they_are_shown() {
    let place = Place::open();
    let mut client = place.client();
    let receiver = Receiver::start(|_| Does::answers(200));
    endpoint(&mut client, &receiver.url(), &json!({}));
    subscribe(&mut client);
    got(&receiver, 2);
    // Over the boundary and the grace behind it.
    let moved = client.post("/clock/advance", &json!({ "to": "2026-02-28T12:00:00Z" }));
    assert_eq!(moved.status, 200, "{moved:?}");
    let kinds = |receiver: &Receiver, count| -> BTreeSet<String> {
        let told = got(receiver, count);
        told.iter().map(|got| got.json()["type"].as_str().unwrap().to_owned()).collect()
    };
    let expected = [
        "payment.succeeded",
        "subscription.active",
        "subscription.renewed",
        "subscription.updated",
    ];
    assert_eq!(kinds(&receiver, 5), BTreeSet::from(expected.map(str::to_owned)));
    let entitlement = entitlement(&mut client);
    give(&mut client, &entitlement, "thanks");
    let told = got(&receiver, 6).remove(5).json();
    assert_eq!(
        (&told["type"], &told["data"]["payload_type"]),
        (&json!("credit.added"), &json!("CreditLedgerEntry"))
    );
    let ledger = client.get(&format!("/credit-entitlements/{entitlement}/balances/c-1/ledger"));
    assert_eq!(resource(&told), ledger.json()["items"][0]);
    // What is told later does not change what was told.
    let renamed = client.patch("/customers/c-1", &json!({ "name": "Other" }));
    assert_eq!(renamed.status, 200);
    let first = receiver.got().remove(0);
    let id = client.get("/webhooks").json()["data"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/webhooks/{id}/messages/{}/resend", first.id());
    assert_eq!(client.post(&path, &json!({})).status, 200);
    let again = got(&receiver, 7).remove(6);
    assert_eq!((again.id(), &again.body), (first.id(), &first.body));
}

#[test]
fn what_fails_is_tried_again_with_the_same_id_and_body_and_a_new_time() {
    let place = Place::open();
    let mut client = place.client();
    let status = Arc::new(AtomicU16::new(500));
    let answers = Arc::clone(&status);
    let receiver = Receiver::start(move |_| Does::answers(answers.load(Ordering::Acquire)));
    let (id, secret) = endpoint(&mut client, &receiver.url(), &json!({}));
    let message = test(&mut client, &id);
    let failed = attempts(&mut client, &id, 1).remove(0);
    assert_eq!(
        (&failed["message_id"], &failed["event_type"], &failed["attempt"], &failed["outcome"]),
        (&json!(message), &json!("webhook.test"), &json!(1), &json!("failed")),
    );
    assert_eq!(
        (&failed["status"], &failed["error"], &failed["response"]),
        (&json!(500), &Value::Null, &json!("so be it")),
    );
    assert!(client.get(&format!("/webhooks/{id}")).json()["failing_since"].is_string());
    status.store(200, Ordering::Release);
    // Five seconds later, by itself.
    let log = attempts(&mut client, &id, 2);
    assert_eq!((&log[0]["attempt"], &log[0]["outcome"]), (&json!(2), &json!("succeeded")));
    assert_eq!(log[0]["next_attempt_at"], Value::Null);
    let both = got(&receiver, 2);
    assert_eq!((both[0].id(), &both[0].body), (both[1].id(), &both[1].body));
    assert_eq!(both[0].id(), message);
    let at = |place: usize| both[place].header("webhook-timestamp").parse::<i64>().unwrap();
    assert!((5..15).contains(&(at(1) - at(0))), "{} {}", at(0), at(1));
    assert!(both.iter().all(|got| got.signed_by(&secret) == Some(0)));
    let healthy = client.get(&format!("/webhooks/{id}")).json();
    assert_eq!((&healthy["failing_since"], &healthy["disabled"]), (&Value::Null, &json!(false)));
}

#[test]
fn receivers_that_hang_break_redirect_or_are_gone_delay_no_other() {
    let place = Place::open();
    let mut client = place.client();
    let hangs = Receiver::start(|_| Does::Hangs);
    let breaks = Receiver::start(|_| Does::Breaks);
    let elsewhere = Receiver::start(|_| Does::answers(200));
    let location = format!("location: {}\r\n", elsewhere.url());
    let redirects = Receiver::start(move |_| Does::Answers(307, location.clone(), Vec::new()));
    let talks = Receiver::start(|_| Does::Answers(200, String::new(), vec![b'x'; 4 << 20]));
    let gone = Receiver::start(|_| Does::Breaks).url();
    let good = Receiver::start(|_| Does::answers(299));
    let mut made = |url: &str| endpoint(&mut client, url, &json!({})).0;
    let (slow, broken, moved) = (made(&hangs.url()), made(&breaks.url()), made(&redirects.url()));
    let (long, dead, fine) = (made(&talks.url()), made(&gone), made(&good.url()));
    let entitlement = entitlement(&mut client);
    for reason in 0..100 {
        give(&mut client, &entitlement, &format!("r-{reason}"));
    }
    let arrived: BTreeSet<_> = got(&good, 100).iter().map(|got| got.id().to_owned()).collect();
    assert_eq!(arrived.len(), 100);
    // Ingest is as quick as ever.
    assert_eq!(client.ingest(&[event("second", "c-1", "hello", &json!({}))]).status, 200);
    let first = |client: &mut Client, id: &str| attempts(client, id, 1).pop().unwrap();
    let answer = first(&mut client, &moved);
    assert_eq!((&answer["status"], &answer["outcome"]), (&json!(307), &json!("failed")));
    assert!(elsewhere.got().is_empty());
    for id in [&broken, &dead] {
        let answer = first(&mut client, id);
        assert_eq!((&answer["status"], &answer["outcome"]), (&Value::Null, &json!("failed")));
        assert!(!answer["error"].as_str().unwrap().is_empty());
    }
    let answer = first(&mut client, &long);
    assert_eq!((&answer["status"], &answer["response"]), (&json!(200), &json!("x".repeat(512))));
    assert_eq!(first(&mut client, &fine)["status"], 299);
    // Sixteen at a time, each for 15 seconds.
    let answer = first(&mut client, &slow);
    assert_eq!(answer["error"], "no answer within 15 s");
    assert!((15_000..25_000).contains(&answer["duration_ms"].as_u64().unwrap()), "{answer}");
}

#[test]
fn messages_that_a_receiver_hangs_on_delay_no_other_to_it() {
    let place = Place::open();
    let mut client = place.client();
    let hung = Mutex::new(BTreeSet::new());
    let receiver = Receiver::start(move |got| {
        let mut hung = hung.lock().unwrap();
        if hung.len() < 12 && hung.insert(got.id().to_owned()) {
            return Does::Hangs;
        }
        Does::answers(200)
    });
    let (id, _) = endpoint(&mut client, &receiver.url(), &json!({}));
    let entitlement = entitlement(&mut client);
    for reason in 0..40 {
        give(&mut client, &entitlement, &format!("r-{reason}"));
    }
    got(&receiver, 40);
    let failed = client.get(&format!("/webhooks/{id}/attempts?outcome=failed")).json();
    assert_eq!(failed["data"], json!([]), "they have waited until the others were given up");
}

#[test]
fn a_receiver_that_was_killed_gets_what_it_has_missed() {
    let place = Place::open();
    let mut client = place.client();
    let receiver = Receiver::start(|_| Does::answers(200));
    let address = receiver.address;
    let (id, _) = endpoint(&mut client, &receiver.url(), &json!({}));
    let entitlement = entitlement(&mut client);
    give(&mut client, &entitlement, "before");
    attempts(&mut client, &id, 1);
    drop(receiver);
    give(&mut client, &entitlement, "meanwhile");
    let failed = attempts(&mut client, &id, 2).remove(0);
    assert_eq!((&failed["outcome"], &failed["status"]), (&json!("failed"), &Value::Null));
    let receiver = Receiver::at(address, |_| Does::answers(200));
    let arrived = got(&receiver, 1).remove(0);
    assert_eq!(arrived.json()["data"]["description"], "meanwhile");
    assert_eq!(arrived.id(), failed["message_id"].as_str().unwrap());
}

#[test]
fn a_disabled_or_deleted_endpoint_is_told_nothing_and_a_limit_is_kept() {
    let place = Place::open();
    let mut client = place.client();
    let receiver = Receiver::start(|_| Does::answers(200));
    let (id, _) = endpoint(&mut client, &receiver.url(), &json!({ "disabled": true }));
    let (limited, _) = endpoint(&mut client, &receiver.url(), &json!({ "rate_limit": 2 }));
    let entitlement = entitlement(&mut client);
    for reason in 0..5 {
        give(&mut client, &entitlement, &format!("a-{reason}"));
    }
    let refused = client.post(&format!("/webhooks/{id}/test"), &json!({}));
    assert_eq!(refused.error(), (409, "CONFLICT".to_owned()));
    let log = attempts(&mut client, &limited, 5);
    let seconds: Vec<i64> =
        receiver.got().iter().map(|got| got.header("webhook-timestamp").parse().unwrap()).collect();
    assert_eq!((log.len(), seconds.len()), (5, 5));
    assert!(seconds[4] - seconds[0] >= 1, "five take two seconds: {seconds:?}");
    let enable = json!({ "disabled": false });
    assert_eq!(client.patch(&format!("/webhooks/{id}"), &enable).status, 200);
    assert_eq!(client.delete(&format!("/webhooks/{limited}")).status, 200);
    give(&mut client, &entitlement, "b");
    assert_eq!(attempts(&mut client, &id, 1).len(), 1);
    pass(MOMENT);
    assert_eq!(receiver.got().len(), 6);
    assert_eq!(client.get(&format!("/webhooks/{limited}/attempts")).status, 404);
}

/// An authority, and what a receiver named `localhost` shows.
fn certificates() -> (String, ServerConfig) {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&parameters, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let named = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let shown = named.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![shown.der().clone()], key)
        .unwrap();
    (authority.pem(), config)
}

#[test]
fn tls_is_spoken_with_who_has_the_name_and_a_trusted_certificate() {
    let (authority, config) = certificates();
    let (_, strange) = certificates();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("authority.pem");
    std::fs::write(&path, authority).unwrap();
    let trusted = path.to_str().unwrap().to_owned();
    let place = Place::started(|launch| launch.with("SSL_CERT_FILE", &trusted));
    let mut client = place.client();
    let receiver = Receiver::with_tls(config, |_| Does::answers(200));
    let stranger = Receiver::with_tls(strange, |_| Does::answers(200));
    let plain = Receiver::start(|_| Does::answers(200));
    let port = receiver.address.port();
    let mut made = |url: &str| endpoint(&mut client, url, &json!({}));
    let (good, secret) = made(&format!("https://localhost:{port}/hooks"));
    let bad = [
        made(&format!("https://127.0.0.1:{port}/hooks")).0,
        made(&format!("https://localhost:{}/hooks", stranger.address.port())).0,
        made(&format!("https://localhost:{}/hooks", plain.address.port())).0,
    ];
    test(&mut client, &good);
    let arrived = got(&receiver, 1).remove(0);
    assert_eq!(arrived.signed_by(&secret), Some(0));
    assert_eq!(arrived.server_name.as_deref(), Some("localhost"));
    assert_eq!(arrived.header("host"), format!("localhost:{port}"));
    for id in &bad {
        test(&mut client, id);
        let answer = attempts(&mut client, id, 1).pop().unwrap();
        assert_eq!((&answer["status"], &answer["outcome"]), (&Value::Null, &json!("failed")));
        assert!(!answer["error"].as_str().unwrap().is_empty());
    }
    assert_eq!((receiver.got().len(), stranger.got().len(), plain.got().len()), (1, 0, 0));
}

#[test]
fn this_machine_is_not_reached_once_that_is_not_allowed_any_more() {
    let receiver = Receiver::start(|_| Does::answers(200));
    let place = Place::open();
    let url = receiver.url();
    let (plain, _) = endpoint(&mut place.client(), &url, &json!({}));
    let secure = format!("https://localhost:{}/", receiver.address.port());
    let (secure, _) = endpoint(&mut place.client(), &secure, &json!({}));
    let place = place.killed(|launch| launch.with("QUIPU_WEBHOOKS__ALLOW_LOOPBACK", "false"));
    let mut client = place.client();
    for (id, error) in [(&plain, "webhooks.allow_loopback"), (&secure, "loopback")] {
        test(&mut client, id);
        let answer = attempts(&mut client, id, 1).pop().unwrap();
        assert!(answer["error"].as_str().unwrap().contains(error), "{answer}");
    }
    assert!(receiver.got().is_empty());
    wait_until("it is written down", || {
        let seen = client.get(&format!("/webhooks/{plain}")).json();
        seen["failing_since"].is_string().then_some(())
    });
}
