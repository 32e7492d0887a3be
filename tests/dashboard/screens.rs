//! What the screens of meters, events and customers show.

use serde_json::{Value, json};

use crate::common::daemon::Daemon;
use crate::common::wait_until;
use crate::viewer::{OWN_PAGE, Viewer, daemon};

/// Texts that mean something to browsers, spreadsheets or templates.
const EVIL: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'-alert(1)-'",
    "{{7*7}}</textarea><svg/onload=alert(1)>",
    "=HYPERLINK(\"http://evil\")",
    "..",
];

fn event(id: &str, customer: &str, metadata: &Value) -> Value {
    json!({ "event_id": id, "customer_id": customer, "event_name": "call", "metadata": metadata })
}

fn meter(daemon: &Daemon, meter: &Value) -> String {
    let made = daemon.client().post("/meters", meter);
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

fn summing(daemon: &Daemon) -> String {
    let wanted = json!({ "name": "Tokens", "event_name": "call", "measurement_unit": "tokens",
        "aggregation": { "type": "sum", "key": "tokens" } });
    meter(daemon, &wanted)
}

fn ingest(daemon: &Daemon, events: &[Value]) {
    let answer = daemon.client().ingest(events);
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02X}"))
}

/// The lines of an exported table.
fn csv(viewer: &mut Viewer, path: &str) -> Vec<String> {
    let answer = viewer.get(path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"), "{path}");
    assert!(answer.header("content-disposition").unwrap().starts_with("attachment"));
    answer.text().lines().map(str::to_owned).collect()
}

/// All addresses on a page that lead to pages of the dashboard, as a browser would call them.
fn links(page: &str) -> Vec<String> {
    let parts = page.split(" href=\"/dashboard").skip(1);
    let paths = parts.map(|part| part.split('"').next().unwrap().replace("&#38;", "&"));
    let mut links: Vec<String> = paths.map(|path| format!("/dashboard{path}")).collect();
    links.retain(|path| !path.contains("/assets/"));
    links.sort();
    links.dedup();
    links
}

#[test]
fn what_clients_wrote_is_text_on_every_page() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    for (number, evil) in EVIL.into_iter().enumerate() {
        let aggregation = json!({ "type": "sum", "key": evil });
        let clause = json!({ "key": evil, "operator": "not_equals", "value": evil });
        let filter = json!({ "conjunction": "and", "clauses": [clause] });
        let wanted = json!({ "name": evil, "event_name": evil, "measurement_unit": evil,
            "description": evil, "aggregation": aggregation, "filter": filter });
        meter(&daemon, &wanted);
        let customer = json!({ "customer_id": evil, "name": evil, "email": format!("{evil}@x"),
            "metadata": { evil: evil } });
        assert_eq!(client.post("/customers", &customer).status, 200);
        for (id, value) in [(evil.to_owned(), json!(evil)), (format!("n{number}"), json!(5))] {
            let event = json!({ "event_id": id, "customer_id": evil, "event_name": evil,
                "metadata": { evil: value, "a": evil } });
            ingest(&daemon, &[event]);
        }
        let refused = json!({ "event_id": evil, "customer_id": evil, "event_name": evil,
            "metadata": { evil: [evil] } });
        assert_eq!(client.ingest(&[refused]).status, 422);
        assert_eq!(client.post("/keys", &json!({ "name": evil, "scope": "read" })).status, 201);
    }
    let mut viewer = Viewer::admin(&daemon);
    let mut seen = std::collections::BTreeSet::new();
    let mut waiting = vec!["/dashboard/meters".to_owned(), "/dashboard/events/refused".to_owned()];
    waiting.extend(["/dashboard/meters/warnings", "/dashboard/events/rows"].map(str::to_owned));
    while let Some(path) = waiting.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = viewer.get(&path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let text = answer.text();
        if answer.header("content-type") != Some("text/html; charset=utf-8") {
            for line in text.lines() {
                assert!(!line.starts_with("=HYPER") && !line.contains(",=HYPER"), "{path}: {line}");
            }
            continue;
        }
        for tag in ["<script>", "<img", "onerror=alert(1)>", "<svg/", "</textarea><svg"] {
            assert!(!text.contains(tag), "{tag} on {path}:\n{text}");
        }
        waiting.extend(links(&text));
    }
    // Meters, each with four parts; events and customers, each with a page; and exports of all that.
    assert!(seen.len() > 6 * (4 + 2 + 1), "{seen:#?}");
}

#[test]
fn a_meters_chart_is_what_it_has_counted() {
    let (_directory, daemon) = daemon();
    let id = summing(&daemon);
    let mut viewer = Viewer::admin(&daemon);
    let chart = format!("/dashboard/meters/{id}/chart?range=day&format=csv");
    let sum = |lines: &[String]| -> u64 {
        lines
            .iter()
            .skip(1)
            .map(|line| line.rsplit(',').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    let before = csv(&mut viewer, &chart);
    assert_eq!((before.len(), before[0].as_str(), sum(&before)), (25, "From,tokens", 0));
    ingest(&daemon, &[event("1", "a", &json!({ "tokens": 1500 }))]);
    ingest(&daemon, &[event("2", "b", &json!({ "tokens": 500 }))]);
    ingest(&daemon, &[event("2", "b", &json!({ "tokens": 500 }))]);
    ingest(&daemon, &[event("3", "b", &json!({ "tokens": "many" }))]);
    assert_eq!(sum(&csv(&mut viewer, &chart)), 2_000);
    wait_until("it is known who uses most", || {
        let split = csv(&mut viewer, &format!("{chart}&split=customers"));
        (split[0] == "From,a,b").then_some(())
    });
    for range in ["week", "month", "year"] {
        let chart = format!("/dashboard/meters/{id}/chart?range={range}&format=csv");
        assert_eq!(sum(&csv(&mut viewer, &chart)), 2_000, "{range}");
    }
    let page = viewer.page(&format!("/dashboard/meters/{id}"));
    assert!(page.contains("2\u{202f}000") && page.contains("data-chart=\"bars\""), "{page}");
    let list = csv(&mut viewer, "/dashboard/meters?format=csv");
    assert!(list[1].starts_with("Tokens,call,sum of tokens,"), "{list:?}");
    assert!(list[1].ends_with("1 not counted"), "{list:?}");
    let customers = csv(&mut viewer, &format!("/dashboard/meters/{id}/customers?format=csv"));
    for (line, row) in customers[1..].iter().zip(["a,none bills it,1500,", "b,none bills it,500,"])
    {
        let hour = line.ends_with(":00:00Z");
        assert!(
            line.starts_with(row) && hour,
            "the last column is the hour of the last event: {line}"
        );
    }
    let one = format!("/dashboard/meters/{id}/customers?customer_id=b&format=csv");
    assert_eq!(csv(&mut viewer, &one).len(), 2);
    assert_eq!(viewer.get("/dashboard/meters/mtr_none").status, 404);
}

#[test]
fn a_walk_through_a_list_sees_everything_once() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let ids: Vec<String> = (0..120).map(|number| format!("x{number:03}")).collect();
    let events: Vec<Value> = ids.iter().map(|id| event(id, id, &json!({}))).collect();
    ingest(&daemon, &events);
    let walks = [
        ("/dashboard/events", "/dashboard/event?id="),
        ("/dashboard/events?event_name=call", "/dashboard/event?id="),
        ("/dashboard/customers", "/dashboard/customer?id="),
        ("/dashboard/customers?search=x", "/dashboard/customer?id="),
    ];
    for (list, prefix) in walks {
        let mut seen = Vec::new();
        let mut path = list.to_owned();
        loop {
            let page = viewer.page(&path);
            let rows = page.split("<tr><td>").skip(1);
            seen.extend(
                rows.filter_map(|row| row.split(prefix).nth(1))
                    .map(|rest| rest.split('"').next().unwrap().to_owned()),
            );
            let Some(next) = page.split(" rel=\"next\"").next().filter(|before| *before != page)
            else {
                break;
            };
            let href = next.rsplit("href=\"").next().unwrap().trim_end_matches('"');
            path = href.replace("&#38;", "&");
            // What comes meanwhile does not move later pages.
            ingest(&daemon, &[event(&format!("later {path}"), "later", &json!({}))]);
        }
        seen.retain(|id| id.starts_with('x'));
        let mut sorted = seen.clone();
        sorted.sort();
        assert_eq!(sorted, ids, "{list}");
    }
    let exported = csv(&mut viewer, "/dashboard/events?event_name=call&format=csv");
    assert!(exported.len() > 120);
}

#[test]
fn customers_are_found_by_the_beginning_of_their_id_or_address() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let mut client = daemon.client();
    for (id, email) in [("acme-1", "ada@x.io"), ("acme-2", "bo@x.io"), ("zeta", "Ada@y.io")] {
        let customer = json!({ "customer_id": id, "name": id, "email": email });
        assert_eq!(client.post("/customers", &customer).status, 200);
    }
    let mut found = |search: &str| -> Vec<String> {
        let path = format!("/dashboard/customers?format=csv&search={}", encoded(search));
        let lines = csv(&mut viewer, &path);
        lines[1..].iter().map(|line| line.split(',').next().unwrap().to_owned()).collect()
    };
    assert_eq!(found("acme"), ["acme-1", "acme-2"]);
    assert_eq!(found("acme-2"), ["acme-2"]);
    assert_eq!(found("ada@"), ["acme-1", "zeta"]);
    assert_eq!(found("nobody"), Vec::<String>::new());
    client.post("/customers", &json!({ "customer_id": "acme-3", "name": "n", "email": "" }));
    assert_eq!(found("acme-"), ["acme-1", "acme-2", "acme-3"]);
}

#[test]
fn an_events_page_says_what_meters_made_of_it() {
    let (_directory, daemon) = daemon();
    let clause = json!({ "key": "model", "operator": "equals", "value": 4 });
    let filter = json!({ "conjunction": "and", "clauses": [clause] });
    let wanted = json!({ "name": "Filtered", "event_name": "call", "measurement_unit": "calls",
        "aggregation": { "type": "count" }, "filter": filter });
    meter(&daemon, &wanted);
    summing(&daemon);
    ingest(&daemon, &[event("a/b c", "cus", &json!({ "model": "4", "tokens": 12 }))]);
    let mut viewer = Viewer::admin(&daemon);
    let page = viewer.page("/dashboard/event?id=a%2Fb%20c");
    for text in
        ["does not match", "counted as 12", "is a string, the filter compares numbers", "model = 4"]
    {
        assert!(page.contains(text), "{text} in {page}");
    }
    let warnings = viewer.page("/dashboard/meters/warnings");
    assert!(warnings.contains("0 of 1 recent event"), "{warnings}");
    assert_eq!(viewer.get("/dashboard/event?id=nothing").status, 404);
    let leads = viewer.get("/dashboard/events?event_id=a%2Fb%20c");
    assert_eq!(leads.header("location"), Some("/dashboard/event?id=a%2Fb%20c"));
}

#[test]
fn the_live_tail_shows_what_each_event_came_to() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let path = "/dashboard/events/live?format=csv";
    // Whoever looks first begins to watch.
    assert_eq!(csv(&mut viewer, path).len(), 1);
    ingest(&daemon, &[event("1", "a", &json!({ "n": 1 }))]);
    ingest(&daemon, &[event("1", "a", &json!({ "n": 1 }))]);
    ingest(&daemon, &[event("1", "a", &json!({ "n": 2 }))]);
    let refused = event("2", "b", &json!({ "n": [] }));
    assert_eq!(daemon.client().ingest(&[refused]).status, 422);
    let lines = wait_until("all four are shown", || {
        let lines = csv(&mut viewer, path);
        (lines.len() == 5).then_some(lines)
    });
    let outcomes: Vec<&str> =
        lines[1..].iter().map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(outcomes, ["refused", "conflicting", "duplicate", "accepted"]);
    let of = |viewer: &mut Viewer, filter: &str| csv(viewer, &format!("{path}&{filter}")).len() - 1;
    assert_eq!(of(&mut viewer, "outcome=duplicate"), 1);
    assert_eq!(of(&mut viewer, "customer_id=a"), 3);
    assert_eq!(of(&mut viewer, "event_id=2"), 1);
    assert_eq!(of(&mut viewer, "event_name=nothing"), 0);
    assert_eq!(viewer.get("/dashboard/events/live?outcome=lost").status, 422);
}

#[test]
fn a_preview_counts_what_the_meter_would_and_makes_nothing() {
    let (_directory, daemon) = daemon();
    ingest(&daemon, &[event("1", "a", &json!({ "tokens": 5 })), event("2", "a", &json!({}))]);
    let mut viewer = Viewer::admin(&daemon);
    let token = viewer.token();
    let mut preview = |form: &str| {
        let headers = [
            OWN_PAGE,
            ("x-quipu-token", token.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        viewer.post_form("/dashboard/meters/preview", &headers, form)
    };
    let counted = preview("event_name=call&aggregation.type=sum&aggregation.key=tokens");
    assert_eq!(counted.status, 200, "{counted:?}");
    assert!(counted.text().contains("2 of 2") && counted.text().contains(">5<"), "{counted:?}");
    assert!(counted.text().contains("`tokens` is missing"), "{counted:?}");
    assert_eq!(preview("event_name=call&aggregation.type=sum").status, 422);
    assert_eq!(preview("event_name=").status, 200);
    assert_eq!(daemon.client().get("/meters").json(), json!({ "items": [] }));
}

#[test]
fn a_customers_page_shows_usage_against_what_is_free_and_what_it_costs() {
    let (_directory, daemon) = daemon();
    let mut client = daemon.client();
    let id = summing(&daemon);
    let price = json!({ "type": "usage_based_price", "currency": "USD", "fixed_price": 1000,
        "payment_frequency_count": 1, "payment_frequency_interval": "Month",
        "subscription_period_count": 1, "subscription_period_interval": "Year",
        "purchasing_power_parity": false, "discount": 0,
        "meters": [{ "meter_id": id, "price_per_unit": "2", "free_threshold": 1000 }] });
    let product = json!({ "name": "Plan", "tax_category": "saas", "price": price });
    let product = client.post("/products", &product).json();
    let customer = json!({ "customer_id": "cus", "name": "Ada", "email": "ada@x.io" });
    assert_eq!(client.post("/customers", &customer).status, 200);
    let subscription = json!({ "product_id": product["product_id"], "quantity": 1,
        "customer": { "customer_id": "cus" }, "billing": { "country": "US" } });
    let made = client.post("/subscriptions", &subscription);
    assert_eq!(made.status, 200, "{made:?}");
    let mut viewer = Viewer::admin(&daemon);
    ingest(&daemon, &[event("1", "cus", &json!({ "tokens": 2500 }))]);
    let mut settled = || csv(&mut viewer, "/dashboard/customer?id=cus&format=csv");
    let lines = settled();
    // Consumed, free, chargeable, the price of one and the total.
    assert!(lines[1].contains(",2500,1000,1500,0.02,30.00 (USD)"), "{lines:?}");
    let page = viewer.page("/dashboard/customer?id=cus");
    for text in ["40.00 USD", "Upcoming invoice", "Ada", "ada@x.io"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let customers = wait_until("it is known who uses most", || {
        let lines = csv(&mut viewer, &format!("/dashboard/meters/{id}/customers?format=csv"));
        (lines.len() > 1).then_some(lines)
    });
    assert!(customers[1].contains(",2500,2500,1000,1500,0.02,30.00 (USD)"), "{customers:?}");
    assert_eq!(viewer.get("/dashboard/customer?id=nobody").status, 404);
}
