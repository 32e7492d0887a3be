//! Who is let in: every route with no key, a wrong key, each scope; names in the Host header; what
//! is open; where the daemon does not listen.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use quipu::http::{RouteEntry, RouteOptions, route_table};
use quipu::model::Scope;
use serde_json::json;

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, KEY, Launch};
use crate::common::{TEST_CLOCK, wait_until};

fn daemon() -> (tempfile::TempDir, Daemon) {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at(TEST_CLOCK).start();
    (directory, daemon)
}

/// The id and the text of a new key.
fn make_key(daemon: &Daemon, scope: &str) -> (String, String) {
    let made = daemon.client().post("/keys", &json!({ "name": scope, "scope": scope }));
    assert_eq!((made.status, made.json()["scope"].as_str()), (201, Some(scope)), "{made:?}");
    let made = made.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// Calls the route with things that do not exist and a body that means nothing, so that nothing
/// changes.
fn call(daemon: &Daemon, route: &RouteEntry, key: Option<&str>) -> Answer {
    let path = ["{id}", "{event_id}", "{customer_id}", "{session_id}"]
        .iter()
        .fold(route.path.clone(), |path, name| path.replace(name, "nothing-of-this-id"));
    let has_no_body =
        route.method == "GET" || route.method == "DELETE" || route.path.starts_with("/checkout/");
    let body = if has_no_body { "" } else { "{" };
    let mut client = Client::new(daemon.address, key);
    client.send(route.method.as_str(), &path, &[], body.as_bytes()).unwrap()
}

fn allows(scope: &str, needed: Scope) -> bool {
    match needed {
        Scope::Ingest => scope == "ingest" || scope == "admin",
        Scope::Read => scope == "read" || scope == "admin",
        Scope::Admin => scope == "admin",
    }
}

#[test]
fn every_route_lets_in_the_scopes_that_it_names_and_nobody_else() {
    let (_directory, daemon) = daemon();
    let routes = route_table(RouteOptions { test_clock: true, ..RouteOptions::default() });
    assert!(routes.len() >= 24, "{routes:?}");
    let keys = ["ingest", "read", "admin"].map(|scope| (scope, make_key(&daemon, scope).1));
    let wrong = [
        String::new(),
        "quipu_".to_owned(),
        format!("{KEY}x"),
        KEY[..KEY.len() - 1].to_owned(),
        KEY.to_ascii_uppercase(),
        // A good key's id with another secret.
        format!("{}x", keys[2].1),
        "\u{e9}".to_owned(),
    ];
    let mut open = Vec::new();
    for route in &routes {
        let Some(needed) = route.scope else {
            // The id of a session lets in, and there is none of this id: a key changes nothing.
            let expected = if route.path.contains("{session_id}") { 404 } else { 200 };
            let answers = [None, Some("wrong"), Some(KEY)].map(|key| call(&daemon, route, key));
            assert!(
                answers.iter().all(|answer| answer.status == expected),
                "{route:?}: {answers:?}"
            );
            open.push(format!("{} {}", route.method, route.path));
            continue;
        };
        for key in [None].into_iter().chain(wrong.iter().map(|text| Some(text.as_str()))) {
            let answer = call(&daemon, route, key);
            assert_eq!(answer.error(), (401, "UNAUTHORIZED".to_owned()), "{route:?} {key:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        for (scope, key) in &keys {
            let answer = call(&daemon, route, Some(key));
            if allows(scope, needed) {
                assert!(![401, 403].contains(&answer.status), "{route:?} {scope}: {answer:?}");
                assert!(answer.status < 500, "{route:?} {scope}: {answer:?}");
            } else {
                assert_eq!(answer.error(), (403, "FORBIDDEN".to_owned()), "{route:?} {scope}");
            }
        }
    }
    assert_eq!(daemon.client().get("/meters").json(), json!({ "items": [] }));
    open.sort();
    let expected = [
        "GET /checkout.css",
        "GET /checkout/{session_id}",
        "GET /healthz",
        "GET /openapi.json",
        "GET /readyz",
        "POST /checkout/{session_id}",
    ];
    assert_eq!(open, expected, "nothing else is open");
}

/// A session's id is drawn from 62^21; whoever has it sees and confirms that order, and nothing else.
#[test]
fn a_checkout_page_opens_by_its_id_alone() {
    let (_directory, daemon) = daemon();
    let mut admin = daemon.client();
    let price = json!({ "type": "one_time_price", "currency": "USD", "price": 500 });
    let product = json!({ "name": "Book", "tax_category": "saas", "price": price });
    let product = admin.post("/products", &product).json();
    let cart = json!([{ "product_id": product["product_id"], "quantity": 1 }]);
    let session = admin.post("/checkouts", &json!({ "product_cart": cart })).json();
    let id = session["session_id"].as_str().unwrap();
    let drawn = id.strip_prefix("cks_").unwrap();
    assert!(drawn.len() == 21 && drawn.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    for key in [None, Some("wrong")] {
        let mut person = Client::new(daemon.address, key);
        assert_eq!(person.get(&format!("/checkout/{id}")).status, 200);
        let others = [&id[..id.len() - 1], &id.to_ascii_lowercase(), "cks_", "%2e%2e"];
        for other in others.iter().filter(|other| **other != id) {
            assert_eq!(person.get(&format!("/checkout/{other}")).status, 404, "{other}");
        }
        assert_eq!(person.get(&format!("/checkouts/{id}")).error().0, 401);
        assert_eq!(person.post("/checkouts", &json!({ "product_cart": cart })).error().0, 401);
    }
}

#[test]
fn a_key_is_known_by_any_spelling_of_bearer_and_by_nothing_else() {
    let (_directory, daemon) = daemon();
    let mut client = Client::new(daemon.address, None);
    let mut with = |values: &[String]| {
        let headers: Vec<_> =
            values.iter().map(|value| ("authorization", value.as_str())).collect();
        client.send("GET", "/meters", &headers, b"").unwrap().status
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(with(&[format!("{scheme} {KEY}")]), 200);
    }
    for value in
        [format!("Basic {KEY}"), KEY.to_owned(), format!("Bearer{KEY}"), "Bearer".to_owned()]
    {
        assert_eq!(with(std::slice::from_ref(&value)), 401, "{value}");
    }
    let twice = format!("Bearer {KEY}");
    assert_eq!(with(&[twice.clone(), twice]), 401);
    assert_eq!(client.get(&format!("/meters?api_key={KEY}")).status, 401);
}

#[test]
fn a_deleted_key_opens_nothing_from_then_on() {
    let (_directory, daemon) = daemon();
    let (id, text) = make_key(&daemon, "read");
    let (_, other) = make_key(&daemon, "read");
    let listed = daemon.client().get("/keys");
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 2);
    assert!(!listed.text().contains(text.rsplit('_').next().unwrap()));
    // One connection, so that nothing that it remembers can help.
    let mut client = Client::new(daemon.address, Some(&text));
    assert_eq!(client.get("/meters").status, 200);
    assert_eq!(daemon.client().delete(&format!("/keys/{id}")).status, 204);
    assert_eq!(client.get("/meters").status, 401);
    assert_eq!(daemon.client().delete(&format!("/keys/{id}")).status, 404);
    assert_eq!(daemon.client().get("/keys").json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(Client::new(daemon.address, Some(&other)).get("/meters").status, 200);
    for body in [json!({ "name": "x", "scope": "root" }), json!({ "scope": "read" }), json!([])] {
        assert_eq!(daemon.client().post("/keys", &body).status, 422, "{body}");
    }
}

#[test]
fn only_the_daemons_own_names_are_answered_to() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("quipu.toml");
    std::fs::write(&settings, "[listen]\nhosts = [\"usage.internal\"]\n").unwrap();
    let daemon = Launch::new(directory.path()).configured_by(settings.to_str().unwrap()).start();
    let port = daemon.address.port();
    let with = |target: &str, hosts: &[&str]| {
        let hosts: Vec<String> = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
        let hosts = hosts.concat();
        let request =
            format!("GET {target} HTTP/1.1\r\nauthorization: Bearer {KEY}\r\n{hosts}\r\n");
        Client::new(daemon.address, None).exchange(request.as_bytes()).unwrap()
    };
    for path in ["/meters", "/healthz", "/nothing"] {
        let expected = if path == "/nothing" { 404 } else { 200 };
        for host in ["127.0.0.1", "localhost", "LocalHost", "[::1]"] {
            let answer = with(path, &[&format!("{host}:{port}")]);
            assert_eq!(answer.status, expected, "{path} {host}");
        }
        for host in ["usage.internal".to_owned(), format!("usage.internal:{port}")] {
            assert_eq!(with(path, &[&host]).status, expected, "{path} {host}");
        }
        for host in
            ["evil.example".to_owned(), format!("evil.example:{port}"), "127.0.0.1:1".to_owned()]
        {
            let refused = with(path, &[&host]).error();
            assert_eq!(refused, (403, "FORBIDDEN".to_owned()), "{path} {host}");
        }
        let missing = with(path, &[]).error();
        assert_eq!(missing, (400, "INVALID_REQUEST".to_owned()), "{path}");
        let own = format!("127.0.0.1:{port}");
        assert_eq!(with(path, &[&own, &own]).status, 400);
        let elsewhere = with(&format!("http://evil.example{path}"), &[&own]);
        assert_eq!(elsewhere.error(), (403, "FORBIDDEN".to_owned()));
    }
    let host = "evil.example";
    let body = r#"{"events":[{"event_id":"e","customer_id":"c","event_name":"call"}]}"#;
    let request = format!(
        "POST /events/ingest HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let refused = Client::new(daemon.address, None).exchange(request.as_bytes()).unwrap();
    assert_eq!(refused.error(), (403, "FORBIDDEN".to_owned()));
    assert_eq!(daemon.client().get("/events/e").status, 404);
}

#[test]
fn health_and_the_document_are_open_and_metrics_when_it_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path());
    let daemon = launch.start();
    let mut nobody = Client::new(daemon.address, None);
    assert_eq!(nobody.get("/healthz").json()["ok"], true);
    let ready = nobody.get("/readyz");
    assert_eq!((ready.status, ready.json()["ready"].as_bool()), (200, Some(true)));
    let document = nobody.get("/openapi.json").json();
    for route in route_table(RouteOptions::default()) {
        let method = route.method.as_str().to_ascii_lowercase();
        assert!(document["paths"][&route.path][&method].is_object(), "{route:?}");
    }
    assert!(document["paths"]["/clock"].is_null());
    assert_eq!(nobody.get("/metrics").status, 401);
    assert_eq!(daemon.terminate().code, Some(0));
    let daemon = launch.with("QUIPU_METRICS__OPEN", "true").start();
    let metrics = Client::new(daemon.address, None).get("/metrics");
    assert_eq!(metrics.status, 200);
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(metrics.text().ends_with("# EOF\n"));
    assert!(!metrics.text().contains(KEY));
}

#[test]
fn unknown_paths_wrong_methods_and_large_heads_get_an_errors_body() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    for path in
        ["/", "/nothing", "/events/ingest/more", "/meters/", "/clock/", "//meters", "/v1/meters"]
    {
        assert_eq!(client.get(path).error(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
    for (method, path) in [
        ("PUT", "/meters"),
        ("DELETE", "/meters"),
        ("DELETE", "/events/ingest"),
        ("PATCH", "/usage"),
        ("POST", "/healthz"),
        ("DELETE", "/customers/c"),
        ("GET", "/clock/advance"),
        ("TRACE", "/meters"),
    ] {
        let answer = client.send(method, path, &[], b"").unwrap();
        assert_eq!(answer.error(), (405, "METHOD_NOT_ALLOWED".to_owned()), "{method} {path}");
    }
    // Not the name of a method, but a fine id of an event.
    assert_eq!(client.get("/events/ingest").error(), (404, "NOT_FOUND".to_owned()));
    let large = "x".repeat(40_000);
    for (path, header) in [("/meters", large.as_str()), (&format!("/{large}"), "x")] {
        let mut client = daemon.client();
        let answer = client.send("GET", path, &[("x-large", header)], b"").unwrap();
        assert!([414, 431].contains(&answer.status), "{answer:?}");
        answer.code();
    }
    let answer = daemon.client().exchange(b"NONSENSE\r\n\r\n").unwrap();
    assert_eq!(answer.error(), (400, "INVALID_REQUEST".to_owned()));
    let mut client = Client::new(daemon.address, None);
    for path in ["/meters", "/events/ingest"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {KEY}\r\ncontent-type: \
             text/plain\r\ncontent-length: 2\r\n\r\n{{}}",
            daemon.address
        );
        let answer = client.exchange(head.as_bytes()).unwrap();
        assert_eq!(answer.error(), (415, "UNSUPPORTED_MEDIA_TYPE".to_owned()), "{path}");
    }
}

#[test]
fn other_machines_reach_the_daemon_only_when_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(directory.path()).listening_on("0.0.0.0:0");
    let refused = launch.refused();
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("listen.insecure"), "{refused:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let daemon = launch.with("QUIPU_LISTEN__INSECURE", "true").start();
    let local = format!("127.0.0.1:{}", daemon.address.port()).parse().unwrap();
    let ready = wait_until("it is ready", || {
        Some(Client::new(local, None).get("/readyz")).filter(|answer| answer.status == 200)
    });
    assert_eq!(ready.json()["ready"], true);
}
