//! Webhooks: endpoints and their deliveries, the catalogue, alerts.

use serde_json::{Value, json};

use crate::common::daemon::{Daemon, Launch};
use crate::common::{make_count, wait_until};
use crate::forms::Form;
use crate::receiver::{Does, Receiver};
use crate::viewer::{HOSTILE, Viewer, daemon, make_key, text};

/// A daemon that may send to this machine.
fn local() -> (tempfile::TempDir, Daemon) {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).with("QUIPU_WEBHOOKS__ALLOW_LOOPBACK", "true");
    let daemon = launch.start();
    (directory, daemon)
}

fn make(daemon: &Daemon, body: &Value) -> String {
    let made = daemon.client().post("/webhooks", body);
    assert_eq!(made.status, 200, "{made:?}");
    text(&made.json()["id"])
}

#[test]
fn an_empty_page_says_how_to_fill_it() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let page = viewer.page("/dashboard/webhooks");
    assert!(page.contains("curl") && page.contains("client.webhooks.create("));
    let page = viewer.page("/dashboard/webhooks/alerts");
    assert!(page.contains("curl") && page.contains("client.post('/alerts'"));
}

#[test]
fn the_catalogue_has_every_type_and_who_is_told() {
    let (_directory, daemon) = daemon();
    make(&daemon, &json!({ "url": "https://a.example/1", "filter_types": ["credit.added"] }));
    make(&daemon, &json!({ "url": "https://a.example/2" }));
    make(&daemon, &json!({ "url": "https://a.example/3", "disabled": true }));
    let mut viewer = Viewer::admin(&daemon);
    let csv = viewer.page("/dashboard/webhooks/events?format=csv");
    assert_eq!(csv.lines().count(), 51);
    assert!(csv.contains("\r\ncredit.added,Credits were granted.,occurs,2\r\n"), "{csv}");
    assert!(csv.contains("\r\ndispute.won,,name only,1\r\n"), "{csv}");
}

#[test]
fn the_form_makes_an_endpoint_and_leaves_what_nobody_touches() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let page = viewer.page("/dashboard/webhooks/new");
    let form = Form::of(&page, "POST /webhooks");
    assert_eq!(
        form.body(),
        json!({ "url": "", "rate_limit": null, "headers": {}, "filter_types": [] })
    );
    let filled = form
        .with("url", "https://a.example/hook")
        .with("description", "Ours")
        .with("rate_limit", "5")
        .with("headers", "x-one: 1\nx-two: a: b")
        .checked("filter_types[]", "payment.failed")
        .checked("filter_types[]", "credit.added");
    let made = filled.send(&mut viewer).json();
    let id = text(&made["id"]);
    assert_eq!(made["filter_types"], json!(["payment.failed", "credit.added"]));
    let path = format!("/webhooks/{id}");
    let headers = daemon.client().get(&format!("{path}/headers")).json();
    assert_eq!(headers["headers"], json!({ "x-one": "1", "x-two": "a: b" }));
    let page = viewer.page(&format!("/dashboard{path}/settings"));
    let form = Form::asking_for(&page, &format!("PATCH {path}"), "url");
    assert_eq!(
        form.body(),
        json!({ "url": "https://a.example/hook", "description": "Ours", "rate_limit": 5,
            "metadata": {}, "filter_types": ["payment.failed", "credit.added"] })
    );
    let kept = form.with("metadata", "team: billing").send(&mut viewer).json();
    assert_eq!(kept["metadata"], json!({ "team": "billing" }));
    let form = Form::of(&page, &format!("PATCH {path}/headers"));
    assert_eq!(form.body(), json!({ "headers": { "x-one": "1", "x-two": "a: b" } }));
    let changed = form.with("headers", "x-one: 2").send(&mut viewer);
    assert_eq!(changed.status, 200);
    let wrong = Form::asking_for(&page, &format!("PATCH {path}"), "url")
        .with("url", "ftp://x")
        .send(&mut viewer);
    assert_eq!((wrong.status, &wrong.json()["field"]), (422, &json!("url")));
}

#[test]
fn an_endpoint_is_switched_off_and_on_and_deleted() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let id = make(&daemon, &json!({ "url": "https://a.example/hook" }));
    let (path, api) = (format!("/dashboard/webhooks/{id}"), format!("PATCH /webhooks/{id}"));
    let page = viewer.page(&path);
    assert!(page.contains("enabled"));
    let off = Form::of(&page, &api);
    assert_eq!(off.body(), json!({ "disabled": true }));
    assert_eq!(off.send(&mut viewer).status, 200);
    let page = viewer.page(&path);
    assert!(page.contains("Nothing is sent to it."));
    assert_eq!(Form::of(&page, &api).body(), json!({ "disabled": false }));
    assert_eq!(Form::of(&page, &api).send(&mut viewer).status, 200);
    let csv = viewer.page("/dashboard/webhooks?format=csv");
    assert!(csv.contains("https://a.example/hook,enabled,everything,"), "{csv}");
    let page = viewer.page(&format!("{path}/settings"));
    assert_eq!(Form::of(&page, &format!("DELETE /webhooks/{id}")).send(&mut viewer).status, 200);
    assert_eq!(viewer.get(&path).status, 404);
}

#[test]
fn deliveries_are_shown_with_their_answers_and_sent_again() {
    let (_directory, daemon) = local();
    let receiver = Receiver::start(|_| Does::Answers(500, String::new(), b"<b>no</b>".to_vec()));
    let url = format!("http://{}/hook", receiver.address);
    let id = make(&daemon, &json!({ "url": url }));
    let mut viewer = Viewer::admin(&daemon);
    let path = format!("/dashboard/webhooks/{id}");
    let page = viewer.page(&path);
    assert!(page.contains("No attempts yet"));
    let test = Form::of(&page, &format!("POST /webhooks/{id}/test"));
    let message = text(&test.send(&mut viewer).json()["message_id"]);
    let page = wait_until("the attempt is told of", || {
        let page = viewer.page(&path);
        page.contains("webhook.test").then_some(page)
    });
    assert!(page.contains("<b>no</b>".replace('<', "&#60;").replace('>', "&#62;").as_str()));
    assert!(page.contains("<span class=\"figure\">100 %</span>"), "{page}");
    let resend = Form::of(&page, &format!("POST /webhooks/{id}/messages/{message}/resend"));
    assert_eq!(resend.send(&mut viewer).status, 200);
    let of_message = format!("{path}/attempts?message={message}");
    let rows = wait_until("it was tried again", || {
        let rows = viewer.page(&of_message);
        (rows.matches(">500<").count() == 2).then_some(rows)
    });
    assert!(!rows.contains("<html"));
    let csv = viewer.page(&format!("{path}?outcome=failed&format=csv"));
    let row: Vec<&str> = csv.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(row[1..4], ["webhook.test", "failed", "500 (<b>no</b>)"]);
    assert!(viewer.page(&format!("{path}?outcome=delivered")).contains("No attempts yet"));
    let page = viewer.page(&format!("{path}/messages/{message}"));
    assert!(page.contains("&#34;payload_type&#34;: &#34;WebhookTest&#34;"), "{page}");
    let page = viewer.page(&path);
    let recover = Form::of(&page, &format!("POST /webhooks/{id}/recover"));
    let recovered = recover.with("since", "2020-01-01T00:00").send(&mut viewer);
    assert_eq!(recovered.json(), json!({ "message_count": 1 }));
    for wrong in ["outcome=x", "message=x", "below=x"] {
        assert_eq!(viewer.get(&format!("{path}?{wrong}")).status, 422, "{wrong}");
    }
    for missing in ["messages/msg_00000000000000000", "messages/x"] {
        assert_eq!(viewer.get(&format!("{path}/{missing}")).status, 404, "{missing}");
    }
}

#[test]
fn the_secret_is_for_admins_and_stands_on_no_page() {
    let (_directory, daemon) = daemon();
    let body = json!({ "url": "https://a.example/hook", "headers": { "x-token": "hush-hush" },
        "metadata": { "team": "billing" } });
    let id = make(&daemon, &body);
    let mut admin = Viewer::admin(&daemon);
    let settings = format!("/dashboard/webhooks/{id}/settings");
    let page = admin.page(&settings);
    assert!(page.contains("hush-hush") && !page.contains("whsec_"));
    let show = Form::of(&page, &format!("GET /webhooks/{id}/secret"));
    let secret = text(&show.send(&mut admin).json()["secret"]);
    assert!(secret.starts_with("whsec_"));
    let rotate = Form::of(&page, &format!("POST /webhooks/{id}/secret/rotate"));
    assert_ne!(text(&rotate.send(&mut admin).json()["secret"]), secret);
    let (key, _) = make_key(&daemon, "read");
    let mut reader = Viewer::with_key(&daemon, &key);
    for page in [format!("/dashboard/webhooks/{id}"), settings, "/dashboard/webhooks".to_owned()] {
        let page = reader.page(&page);
        assert!(!page.contains("data-api") && !page.contains("hush-hush"), "{page}");
        assert!(page.contains("https://a.example/hook"));
    }
    for refused in [format!("/webhooks/{id}/secret"), format!("/webhooks/{id}/headers")] {
        assert_eq!(reader.get(&format!("/dashboard/api{refused}")).status, 403);
    }
    assert_eq!(reader.get("/dashboard/webhooks/new").status, 403);
    assert!(!reader.page("/dashboard/webhooks/alerts").contains("data-api"));
}

#[test]
fn alerts_are_made_listed_and_deleted() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let meter = make_count(&mut client, "call");
    let kind = json!({ "name": "AI credits", "unit": "credit", "precision": 0,
        "overage_enabled": false, "rollover_enabled": false });
    let credit = text(&client.post("/credit-entitlements", &kind).json()["id"]);
    let mut viewer = Viewer::admin(&daemon);
    let own = "/dashboard/webhooks/alerts";
    let form = Form::of(&viewer.page(own), "POST /alerts").with("threshold", "1000");
    assert_eq!(form.body(), json!({ "type": "usage", "threshold": "1000", "meter_id": meter }));
    let usage = form.clone().with("name", HOSTILE).send(&mut viewer);
    assert_eq!(usage.status, 201, "{usage:?}");
    let cost = form.clone().with("type", "cost").with("currency", "USD");
    assert_eq!(cost.send(&mut viewer).status, 201);
    let balance = form.clone().with("type", "credit_balance");
    assert_eq!(
        balance.body(),
        json!({ "type": "credit_balance", "threshold": "1000", "credit_entitlement_id": credit })
    );
    let balance = text(&balance.send(&mut viewer).json()["id"]);
    let wrong = form.with("threshold", "-1").send(&mut viewer);
    assert_eq!((wrong.status, &wrong.json()["field"]), (422, &json!("threshold")));
    viewer.assert_harmless(own);
    let csv = viewer.page(&format!("{own}?format=csv"));
    let said: Vec<&str> = csv.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(
        said,
        ["balance falls to 1\u{202f}000", "cost reaches 10.00 USD", "usage reaches 1\u{202f}000"]
    );
    let delete = Form::of(&viewer.page(own), &format!("DELETE /alerts/{balance}"));
    assert_eq!(delete.send(&mut viewer).status, 204);
    assert!(!viewer.page(own).contains(&balance));
}

#[test]
fn hostile_texts_stay_texts() {
    let (_directory, daemon) = daemon();
    let body = json!({ "url": "https://a.example/'%22%3E?a=1&b=2", "description": HOSTILE,
        "headers": { "x-bad": "</textarea><script>alert(1)</script>" },
        "metadata": { "a": HOSTILE } });
    let id = make(&daemon, &body);
    let mut viewer = Viewer::admin(&daemon);
    for page in ["", "/settings"] {
        viewer.assert_harmless(&format!("/dashboard/webhooks/{id}{page}"));
    }
    viewer.assert_harmless("/dashboard/webhooks");
    let page = viewer.page(&format!("/dashboard/webhooks/{id}/settings"));
    let form = Form::asking_for(&page, &format!("PATCH /webhooks/{id}"), "url");
    assert_eq!(form.body()["url"], "https://a.example/'%22%3E?a=1&b=2");
    assert_eq!(form.body()["description"], HOSTILE);
    let csv = viewer.page("/dashboard/webhooks?format=csv");
    assert_eq!(csv.lines().count(), 2);
}
