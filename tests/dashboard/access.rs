//! Who is let in, and from where.

use serde_json::json;

use crate::common::daemon::KEY;
use crate::viewer::{OWN_PAGE, Viewer, daemon, make_key};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// A meter as the API takes it.
fn meter() -> serde_json::Value {
    json!({ "name": "Calls", "event_name": "call", "measurement_unit": "calls",
        "aggregation": { "type": "count" } })
}

#[test]
fn nothing_but_the_sign_in_page_and_assets_opens_without_a_session() {
    let (_directory, daemon) = daemon();
    let mut nobody = Viewer::new(&daemon);
    for path in ["/dashboard", "/dashboard/", "/dashboard/settings", "/dashboard/no/such?a=b%26c"] {
        let answer = nobody.get(path);
        let encoded = path.replace('/', "%2F").replace('?', "%3F").replace('=', "%3D");
        let encoded = encoded.replace("b%26", "b%2526");
        assert_eq!(answer.status, 302, "{path}: {answer:?}");
        let expected = format!("/dashboard/sign-in?next={encoded}");
        assert_eq!(answer.header("location"), Some(expected.as_str()));
        assert!(answer.body.is_empty());
    }
    let fragment = nobody.send("GET", "/dashboard/settings", &[("hx-request", "true")], "");
    assert_eq!(fragment.error(), (401, "UNAUTHORIZED".to_owned()));
    for (method, path) in [
        ("GET", "/dashboard/live"),
        ("GET", "/dashboard/api/meters"),
        ("POST", "/dashboard/api/meters"),
        ("DELETE", "/dashboard/api/keys/x"),
        ("POST", "/dashboard/sign-out"),
        ("POST", "/dashboard/no-such"),
    ] {
        let answer = nobody.send(method, path, &[OWN_PAGE], "");
        assert_eq!(answer.error(), (401, "UNAUTHORIZED".to_owned()), "{method} {path}");
    }
    let page = nobody.page("/dashboard/sign-in");
    for part in page.split("/dashboard/assets/").skip(1) {
        let name = part.split('"').next().unwrap();
        let asset = nobody.get(&format!("/dashboard/assets/{name}"));
        assert_eq!(asset.status, 200, "{name}");
    }
    assert_eq!(nobody.get("/dashboards").error(), (404, "NOT_FOUND".to_owned()));
}

#[test]
fn a_key_that_may_read_signs_in() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::new(&daemon);
    let (ingest, _) = make_key(&daemon, "ingest");
    let wrong = [("quipu_wrong", 401), ("", 401), (ingest.as_str(), 403)];
    for (key, status) in wrong {
        let answer = viewer.sign_in(key);
        assert_eq!((answer.status, answer.header("set-cookie")), (status, None), "{answer:?}");
        assert!(answer.text().contains("role=\"alert\""));
    }
    let answer = viewer.sign_in(KEY);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard")));
    let cookie = answer.header("set-cookie").unwrap();
    let attributes: Vec<_> = cookie.split("; ").skip(1).collect();
    assert_eq!(attributes, ["HttpOnly", "SameSite=Strict", "Path=/dashboard", "Max-Age=43200"]);
    assert!(viewer.page("/dashboard/settings").contains("API keys"));
    let token = viewer.token();
    let out =
        viewer.send("POST", "/dashboard/sign-out", &[OWN_PAGE, ("x-quipu-token", &token)], "");
    assert_eq!(out.status, 303);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(viewer.get("/dashboard/settings").status, 302, "the cookie opens nothing any more");
}

#[test]
fn a_form_leads_back_to_pages_of_the_dashboard_alone() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::new(&daemon);
    for (next, expected) in [
        ("%2Fdashboard%2Fsettings%3Fa%3Db", "/dashboard/settings?a=b"),
        ("https%3A%2F%2Fevil", "/dashboard"),
        ("%2F%2Fevil", "/dashboard"),
    ] {
        let answer = viewer.form(&[OWN_PAGE], &format!("key={KEY}&next={next}"));
        assert_eq!(answer.header("location"), Some(expected));
    }
}

#[test]
fn a_form_of_another_site_signs_nobody_in() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::new(&daemon);
    let own = format!("http://{}", daemon.address);
    for headers in [
        vec![],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "cross-site"), ("origin", own.as_str())],
        vec![("origin", "http://evil")],
        vec![("origin", "null")],
    ] {
        let answer = viewer.form(&headers, &format!("key={KEY}"));
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{headers:?}");
    }
    let answer = viewer.form(&[("origin", &own)], &format!("key={KEY}"));
    assert_eq!(answer.status, 303);
}

#[test]
fn wrong_keys_are_soon_not_looked_at_any_more() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::new(&daemon);
    for _ in 0..30 {
        assert_eq!(viewer.sign_in("quipu_wrong").status, 401);
    }
    assert_eq!(viewer.sign_in("quipu_wrong").status, 429);
    assert_eq!(viewer.sign_in(KEY).status, 429);
}

#[test]
fn a_change_is_taken_from_our_own_page_alone() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let token = viewer.token();
    let other = Viewer::admin(&daemon).token();
    assert_ne!(token, other);
    let own = format!("http://{}", daemon.address);
    let token = ("x-quipu-token", token.as_str());
    let body = meter().to_string();
    for headers in [
        vec![OWN_PAGE],
        vec![token],
        vec![OWN_PAGE, ("x-quipu-token", other.as_str())],
        vec![OWN_PAGE, token, token],
        vec![("sec-fetch-site", "cross-site"), ("origin", own.as_str()), token],
        vec![("sec-fetch-site", "same-site"), token],
        vec![("origin", "http://evil"), token],
        vec![("origin", "null"), token],
    ] {
        let answer = viewer.send("POST", "/dashboard/api/meters", &headers, &body);
        assert_eq!(answer.error(), (403, "FORBIDDEN".to_owned()), "{headers:?}");
    }
    assert_eq!(daemon.client().get("/meters").json(), json!({ "items": [] }));
    for headers in [[OWN_PAGE, token], [("origin", own.as_str()), token]] {
        let answer = viewer.send("POST", "/dashboard/api/meters", &headers, &body);
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

#[test]
fn the_gateway_has_the_rules_and_errors_of_the_api() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let nameless = json!({ "name": "", "event_name": "e", "measurement_unit": "u",
        "aggregation": { "type": "count" } });
    let through = viewer.change("POST", "/meters", &nameless);
    let directly = daemon.client().post("/meters", &nameless);
    assert_eq!((through.status, through.json()), (directly.status, directly.json()));
    assert_eq!(through.json()["field"], "name");
    let made = viewer.change("POST", "/meters", &meter()).json();
    let path = format!("/meters/{}", made["id"].as_str().unwrap());
    assert_eq!(viewer.get(&format!("/dashboard/api{path}")).json(), made);
    assert_eq!(daemon.client().get(&path).json(), made);
    let renamed = viewer.change("PATCH", &path, &json!({ "name": "Renamed" }));
    assert_eq!(renamed.json()["name"], "Renamed");
    assert_eq!(viewer.change("DELETE", &path, &json!(null)).status, 204);
    assert_eq!(viewer.change("POST", "/no-such", &json!({})).error().0, 404);
    // A key in the head is nobody's here: the session counts.
    let forged = [("authorization", "Bearer quipu_wrong")];
    let answer = viewer.send("GET", "/dashboard/api/meters", &forged, "");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_read_key_looks_and_changes_nothing() {
    let (_directory, daemon) = daemon();
    let (key, _) = make_key(&daemon, "read");
    let mut viewer = Viewer::with_key(&daemon, &key);
    let page = viewer.page("/dashboard/settings");
    assert!(page.contains("read-only") && !page.contains("data-api"), "{page}");
    let answer = viewer.change("POST", "/meters", &meter());
    assert_eq!(answer.error(), (403, "FORBIDDEN".to_owned()));
    assert_eq!(viewer.get("/dashboard/api/meters").json(), json!({ "items": [] }));
    assert_eq!(viewer.get("/dashboard/api/keys").error().0, 403);
}

#[test]
fn a_session_ends_with_its_key() {
    let (_directory, daemon) = daemon();
    let (key, id) = make_key(&daemon, "admin");
    let mut viewer = Viewer::with_key(&daemon, &key);
    let token = viewer.token();
    assert_eq!(daemon.client().delete(&format!("/keys/{id}")).status, 204);
    assert_eq!(viewer.get("/dashboard/settings").status, 302);
    let headers = [OWN_PAGE, ("x-quipu-token", token.as_str())];
    let answer = viewer.send("POST", "/dashboard/api/meters", &headers, &meter().to_string());
    assert_eq!(answer.error(), (401, "UNAUTHORIZED".to_owned()));
}

#[test]
fn answers_tell_browsers_to_keep_other_sites_out() {
    let (_directory, daemon) = daemon();
    let mut nobody = Viewer::new(&daemon);
    let mut viewer = Viewer::admin(&daemon);
    let page = viewer.page("/dashboard/settings");
    let asset = page.split("/dashboard/assets/").nth(1).unwrap().split('"').next().unwrap();
    let asset = viewer.get(&format!("/dashboard/assets/{asset}"));
    let answers = [
        nobody.get("/dashboard/sign-in"),
        nobody.get("/dashboard"),
        nobody.get("/dashboard/live"),
        nobody.sign_in("wrong"),
        viewer.get("/dashboard/settings"),
        viewer.get("/dashboard/settings?format=csv"),
        viewer.get("/dashboard/settings?format=xml"),
        viewer.get("/dashboard/no-such"),
        viewer.get("/dashboard/api/meters"),
        viewer.send("POST", "/dashboard/api/meters", &[], "{}"),
        asset.clone(),
    ];
    for answer in answers {
        assert_eq!(answer.header("content-security-policy"), Some(POLICY), "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
        let is_asset = answer.header("etag").is_some();
        assert_eq!(answer.header("cache-control") == Some("no-store"), !is_asset, "{answer:?}");
    }
    assert!(asset.header("cache-control").unwrap().contains("immutable"));
    for page in [page, nobody.page("/dashboard/sign-in")] {
        assert!(
            !page.contains("<style") && !page.contains(" style=") && !page.contains("javascript:")
        );
        let inline = page.split("<script").skip(1).filter(|tag| !tag.starts_with(" defer src=\"/"));
        assert_eq!(inline.count(), 0);
    }
}

#[test]
fn what_is_not_there_is_a_page_that_says_so() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let missing = viewer.get("/dashboard/no-such");
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("<nav") && missing.text().contains("page does not exist"));
    let part = viewer.send("GET", "/dashboard/no-such", &[("hx-request", "true")], "");
    assert_eq!(part.text(), "<p class=\"wrong\" role=\"alert\">page does not exist</p>");
}
