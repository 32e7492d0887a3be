//! Products, subscriptions and invoices: what their pages show, and that the worked total is the invoice's.

use serde_json::{Value, json};

use crate::common::event;
use crate::shop::{
    Rates, advance, csv, customer, encoded, figure, monthly, newest, post, product, shop,
    subscribe, text, typed,
};
use crate::viewer::{OWN_PAGE, Viewer, make_key};

const EVIL: [&str; 5] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'-alert(1)-'",
    "{{7}}</textarea></template><svg/onload=>",
    "=HYPERLINK(\"http://evil\")",
];

#[test]
fn the_worked_total_is_that_of_the_invoice_of_the_same_usage() {
    let (_directory, daemon) = shop();
    let rates = Rates::make(&daemon);
    let mut viewer = Viewer::admin(&daemon);
    let used = [("tokens", "2500.5"), ("call", "120"), ("seats", "81")];
    let mut expected = Vec::new();
    for (number, (price, credits)) in rates.all().into_iter().enumerate() {
        let id = format!("cus_{number}");
        customer(&daemon, &id);
        let mut form = json!({ "name": "Plan", "price": price, "credit_entitlements": credits });
        for meter in form["price"]["meters"].as_array_mut().into_iter().flatten() {
            let place = rates.meters.iter().position(|id| meter["meter_id"] == **id).unwrap();
            meter["example"] = json!(used[place].1);
        }
        let shown = figure(&typed(&mut viewer, "/dashboard/products/total", &form));
        let product = product(&daemon, "Plan", &price, &credits);
        subscribe(&daemon, &id, &product);
        let of_product = format!("/dashboard/products/{product}/total?used.0={}", {
            let meter = &price["meters"][0]["meter_id"];
            let place = rates.meters.iter().position(|id| meter == id.as_str());
            place.map_or("0", |place| used[place].1)
        });
        assert_eq!(figure(&viewer.page(&of_product)), shown);
        expected.push((id, shown));
    }
    let mut events = Vec::new();
    for (id, _) in &expected {
        events.push(event(&format!("{id}-t1"), id, "tokens", &json!({ "n": 2500 })));
        events.push(event(&format!("{id}-t2"), id, "tokens", &json!({ "n": 0.5 })));
        events.push(event(&format!("{id}-s1"), id, "seats", &json!({ "n": 81 })));
        events.push(event(&format!("{id}-s2"), id, "seats", &json!({ "n": 12 })));
        events.extend((0..120).map(|n| event(&format!("{id}-c{n}"), id, "call", &json!({}))));
    }
    assert_eq!(daemon.client().ingest(&events).status, 200);
    advance(&daemon, "2026-12-01T06:00:00Z");
    let mut totals = std::collections::BTreeSet::new();
    for (id, shown) in expected {
        let invoice = newest(&daemon, &id);
        let units = invoice["total"].as_i64().unwrap();
        let currency = text(&invoice["currency"]);
        let major = if currency == "JPY" {
            format!("{units} JPY")
        } else {
            format!("{}.{:02} {currency}", units / 100, units % 100)
        };
        assert_eq!(shown, major, "{invoice}");
        totals.insert(units);
        let page = viewer.page(&format!("/dashboard/invoices/{}", text(&invoice["id"])));
        assert!(page.contains(&major), "{major} in {page}");
    }
    assert_eq!(totals.len(), 7, "every price is another");
}

#[test]
fn a_meter_shows_what_it_counted_this_month_and_ever() {
    let (_directory, daemon) = shop();
    let rates = Rates::make(&daemon);
    let mut viewer = Viewer::admin(&daemon);
    let page = format!("/dashboard/meters/{}", rates.meters[0]);
    let mut tiles = |expected: [&str; 4]| {
        let text = viewer.page(&page);
        let figures: Vec<&str> = text.split("<span class=\"figure\">").skip(1).collect();
        let figures = figures.iter().map(|part| part.split("</span>").next().unwrap());
        assert_eq!(figures.collect::<Vec<_>>(), expected, "{text}");
    };
    tiles(["0", "0", "0", "0"]);
    for (id, to, used) in [
        ("1", "2026-11-30T23:30:00Z", 300),
        ("2", "2027-03-01T00:30:00Z", 20),
        ("3", "2027-03-01T02:00:00Z", 1),
    ] {
        advance(&daemon, to);
        let event = event(id, "somebody", "tokens", &json!({ "n": used }));
        assert_eq!(daemon.client().ingest(&[event]).status, 200);
    }
    tiles(["21", "321", "21", "0"]);
    advance(&daemon, "2027-04-01T00:00:00Z");
    tiles(["0", "321", "0", "0"]);
}

#[test]
fn a_total_says_what_is_missing_and_changes_nothing() {
    let (_directory, daemon) = shop();
    let mut viewer = Viewer::admin(&daemon);
    let mut check = |form: &Value, expected: &str| {
        let part = typed(&mut viewer, "/dashboard/products/total", form);
        assert!(part.contains("No total yet") && part.contains(expected), "{part}");
    };
    check(&json!({}), "price is missing");
    check(&json!({ "price": {} }), "price.type is missing");
    check(&json!({ "price": monthly(&json!({ "currency": "XXX" })) }), "price.currency");
    let unknown = json!({ "meter_id": "<b>", "price_per_unit": "1" });
    check(&json!({ "price": monthly(&json!({ "meters": [unknown] })) }), "meter does not exist");
    let example = json!({ "meter_id": "m", "price_per_unit": "1", "example": "<b>" });
    check(&json!({ "price": monthly(&json!({ "meters": [example] })) }), "not a number");
    assert_eq!(daemon.client().get("/products").json(), json!({ "items": [] }));
    let without_token = [OWN_PAGE, ("content-type", "application/x-www-form-urlencoded")];
    let answer = viewer.post_form("/dashboard/products/total", &without_token, "json=%7B%7D");
    assert_eq!(answer.error().0, 403);
}

#[test]
fn what_clients_wrote_is_text_on_pages_of_sales() {
    let (_directory, daemon) = shop();
    let mut viewer = Viewer::admin(&daemon);
    let mut paths: Vec<String> = ["", "/products", "/subscriptions", "/invoices", "/payments"]
        .map(|path| format!("/dashboard{path}"))
        .into();
    paths.push("/dashboard/products/new".to_owned());
    paths.push("/dashboard/subscriptions/new".to_owned());
    for evil in EVIL {
        let meter = post(
            &daemon,
            "/meters",
            &json!({ "name": evil, "event_name": evil, "measurement_unit": evil,
                "aggregation": { "type": "count" } }),
        );
        let meter = json!({ "meter_id": meter["id"], "price_per_unit": "1" });
        let made = json!({ "name": evil, "description": evil, "tax_category": "saas",
            "metadata": { evil: evil }, "price": monthly(&json!({ "meters": [meter] })) });
        let product = text(&post(&daemon, "/products", &made)["product_id"]);
        let person = json!({ "customer_id": evil, "name": evil, "email": format!("{evil}@x") });
        post(&daemon, "/customers", &person);
        let wanted = json!({ "customer": { "customer_id": evil }, "product_id": product,
            "quantity": 1, "billing": { "country": "PE", "city": evil }, "tax_id": evil,
            "customer_business_name": evil, "metadata": { evil: evil } });
        let subscription = text(&post(&daemon, "/subscriptions", &wanted)["subscription_id"]);
        let usage = event(&format!("{evil}-1"), evil, evil, &json!({ evil: evil }));
        assert_eq!(daemon.client().ingest(&[usage]).status, 200);
        let own = format!("/dashboard/products/{product}");
        paths.extend([own.clone(), format!("{own}/edit"), format!("{own}/total")]);
        let own = format!("/dashboard/subscriptions/{subscription}");
        paths.extend([own.clone(), format!("{own}/usage"), format!("{own}/plan")]);
        let quoted = encoded(evil);
        paths.push(format!("/dashboard/subscriptions?customer_id={quoted}&product_id={quoted}"));
        paths.push(format!("/dashboard/payments?customer_id={quoted}&subscription_id={quoted}"));
    }
    advance(&daemon, "2026-12-01T06:00:00Z");
    for evil in EVIL {
        let invoice = newest(&daemon, evil);
        paths.push(format!("/dashboard/invoices/{}", text(&invoice["id"])));
        let query = format!("customer_id={}", encoded(evil));
        let payment = daemon.client().get(&format!("/payments?{query}")).json();
        let payment = text(&payment["items"][0]["payment_id"]);
        paths.push(format!("/dashboard/api/invoices/payments/{payment}"));
    }
    for path in paths {
        let page = viewer.page(&path);
        for forbidden in ["<script>alert", "<img", "<svg/", "</template><svg", "'-alert"] {
            assert!(!page.contains(forbidden), "{forbidden} on {path}\n{page}");
        }
    }
    for path in ["/dashboard/products", "/dashboard/subscriptions", "/dashboard/invoices"] {
        for line in csv(&mut viewer, &format!("{path}?format=csv")) {
            assert!(
                !line.contains(",=") && !line.starts_with('=') && !line.contains(",\"="),
                "{line}"
            );
        }
    }
}

#[test]
fn a_read_key_sees_pages_and_no_forms() {
    let (_directory, daemon) = shop();
    let rates = Rates::make(&daemon);
    let (price, credits) = rates.all().swap_remove(5);
    let product = product(&daemon, "Plan", &price, &credits);
    customer(&daemon, "cus_1");
    let subscription = subscribe(&daemon, "cus_1", &product);
    let invoice = text(&newest(&daemon, "cus_1")["id"]);
    let (key, _) = make_key(&daemon, "read");
    let mut reader = Viewer::with_key(&daemon, &key);
    let mut admin = Viewer::admin(&daemon);
    for path in [
        String::new(),
        "/products".to_owned(),
        format!("/products/{product}"),
        "/subscriptions".to_owned(),
        format!("/subscriptions/{subscription}"),
        format!("/subscriptions/{subscription}/usage"),
        "/invoices".to_owned(),
        format!("/invoices/{invoice}"),
        "/payments".to_owned(),
    ] {
        let path = format!("/dashboard{path}");
        let page = reader.page(&path);
        assert!(!page.contains("data-api="), "{path}\n{page}");
        assert!(admin.page(&path).contains("data-api="), "{path}");
    }
    for path in [
        "/products/new".to_owned(),
        format!("/products/{product}/edit"),
        "/subscriptions/new".to_owned(),
        format!("/subscriptions/{subscription}/plan"),
    ] {
        let path = format!("/dashboard{path}");
        assert_eq!(reader.get(&path).status, 403, "{path}");
        assert!(admin.page(&path).contains("data-api="), "{path}");
    }
    assert_eq!(
        reader.change("DELETE", &format!("/products/{product}"), &json!(null)).error().0,
        403
    );
}

#[test]
fn tables_of_sales_are_exported() {
    let (_directory, daemon) = shop();
    let rates = Rates::make(&daemon);
    let (price, credits) = rates.all().swap_remove(5);
    let product = product(&daemon, "Plan, \"big\"", &price, &credits);
    customer(&daemon, "cus_1");
    let subscription = subscribe(&daemon, "cus_1", &product);
    let events: Vec<_> = [("1", 81), ("2", 12)]
        .into_iter()
        .map(|(id, n)| event(id, "cus_1", "seats", &json!({ "n": n })))
        .collect();
    assert_eq!(daemon.client().ingest(&events).status, 200);
    advance(&daemon, "2026-12-01T06:00:00Z");
    let mut viewer = Viewer::admin(&daemon);
    let products = csv(&mut viewer, "/dashboard/products?format=csv");
    assert_eq!(products[0], "Name,Price,Kind,Meters,Version,Created");
    let row = format!(
        "\"Plan, \"\"big\"\" ({product})\",49.00 USD less 12.5 % a month and usage,Usage-based,1,1,2026-11-01T00:00:00Z"
    );
    assert_eq!(products[1..], [row]);
    let usage =
        csv(&mut viewer, &format!("/dashboard/subscriptions/{subscription}/usage?format=csv"));
    assert_eq!(usage.len(), 3, "{usage:?}");
    assert!(
        usage[1].starts_with("2026-12-01T00:00:00Z,2027-01-01T00:00:00Z,running,"),
        "{usage:?}"
    );
    assert!(usage[2].starts_with("2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,billed,"), "{usage:?}");
    assert!(usage[2].contains(",81,0,81,"), "{usage:?}");
    let invoice = newest(&daemon, "cus_1");
    let lines =
        csv(&mut viewer, &format!("/dashboard/invoices/{}?format=csv", text(&invoice["id"])));
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[1].ends_with(",42.88,,"), "{lines:?}");
    // 81 units are 8.1 credits, of which 5 were granted: 3.1 at 3 cents.
    assert!(
        lines[3].starts_with("Compute beyond the balance") && lines[3].ends_with(",0.09,,"),
        "{lines:?}"
    );
    let subscriptions = csv(&mut viewer, "/dashboard/subscriptions?format=csv&status=active");
    assert_eq!(subscriptions.len(), 2);
    assert_eq!(csv(&mut viewer, "/dashboard/subscriptions?format=csv&status=paused").len(), 1);
    assert_eq!(csv(&mut viewer, "/dashboard/payments?format=csv&status=succeeded").len(), 3);
    assert_eq!(viewer.get("/dashboard/payments?status=paid").status, 422);
}

#[test]
fn an_invoice_leads_to_its_events_and_is_printed() {
    let (_directory, daemon) = shop();
    let rates = Rates::make(&daemon);
    let (price, credits) = rates.all().swap_remove(0);
    let product = product(&daemon, "Plan", &price, &credits);
    customer(&daemon, "cus_1");
    subscribe(&daemon, "cus_1", &product);
    let sent = [
        event("first/1", "cus_1", "tokens", &json!({ "n": 2000 })),
        event("last?2", "cus_1", "tokens", &json!({ "n": 500 })),
    ];
    assert_eq!(daemon.client().ingest(&sent).status, 200);
    advance(&daemon, "2026-12-01T06:00:00Z");
    let mut viewer = Viewer::admin(&daemon);
    let invoice = newest(&daemon, "cus_1");
    let own = format!("/dashboard/invoices/{}", text(&invoice["id"]));
    let page = viewer.page(&own);
    for (lsn, id) in [
        (&invoice["lines"][1]["first_lsn"], "first%2F1"),
        (&invoice["lines"][1]["last_lsn"], "last%3F2"),
    ] {
        let path = format!("/dashboard/event/at/{lsn}");
        assert!(page.contains(&format!("href=\"{path}\"")), "{path} in {page}");
        let there = viewer.get(&path);
        let expected = format!("/dashboard/event?id={id}");
        assert_eq!(there.header("location"), Some(expected.as_str()));
    }
    for none in ["0", "999999", "x", "-1"] {
        assert_eq!(viewer.get(&format!("/dashboard/event/at/{none}")).status, 404, "{none}");
    }
    let printed = page.split("/dashboard/api/invoices/payments/").nth(1).unwrap();
    let printed = printed.split('"').next().unwrap();
    let printed = viewer.get(&format!("/dashboard/api/invoices/payments/{printed}"));
    assert_eq!(printed.status, 200);
    let policy = printed.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline';"), "{policy}");
    assert!(
        policy.contains("frame-ancestors 'none'") && !policy.contains("script-src"),
        "{policy}"
    );
    assert!(printed.text().contains("Tokens") || printed.text().contains("tokens"));
    let pdf = viewer.get(&format!("{own}/pdf"));
    assert_eq!(pdf.header("content-type"), Some("application/pdf"));
    assert!(pdf.body.starts_with(b"%PDF-"));
    assert_eq!(viewer.get("/dashboard/invoices/inv_none").status, 404);
    assert_eq!(viewer.get("/dashboard/invoices/inv_none/pdf").status, 404);
}

#[test]
fn forms_are_filled_with_what_the_api_takes_back() {
    let (_directory, daemon) = shop();
    let rates = Rates::make(&daemon);
    let mut viewer = Viewer::admin(&daemon);
    for (price, credits) in rates.all() {
        let id = product(&daemon, "Plan", &price, &credits);
        let page = viewer.page(&format!("/dashboard/products/{id}/edit"));
        assert!(page.contains(&format!("data-api=\"PATCH /products/{id}\"")));
        for (place, meter) in price["meters"].as_array().into_iter().flatten().enumerate() {
            let chosen = format!("<option value=\"{}\" selected>", text(&meter["meter_id"]));
            assert!(page.contains(&chosen), "{chosen} in {page}");
            for (tier, of) in meter["tiers"].as_array().into_iter().flatten().enumerate() {
                let name = format!("name=\"price.meters.{place}.tiers.{tier}.up_to\"");
                let value = format!("value=\"{}\"", of["up_to"].as_str().unwrap_or_default());
                let input = page.split(&name).nth(1).unwrap().split('>').next().unwrap();
                assert!(input.contains(&value), "{value} in {input}");
            }
        }
        // What the API prints is what it takes: no new price comes of it.
        let path = format!("/products/{id}");
        let printed = daemon.client().get(&path).json();
        let same = json!({ "price": printed["price"],
            "credit_entitlements": printed["credit_entitlements"] });
        assert_eq!(viewer.change("PATCH", &path, &same).status / 100, 2);
        assert_eq!(daemon.client().get(&path).json()["price_version"], 1);
    }
}

#[test]
fn a_change_of_plan_is_shown_before_it_is_made() {
    let (_directory, daemon) = shop();
    let rates = Rates::make(&daemon);
    let mut prices = rates.all();
    let (price, none) = prices.swap_remove(0);
    let small = product(&daemon, "Small", &price, &none);
    let large = product(&daemon, "Large", &monthly(&json!({ "fixed_price": 9900 })), &none);
    customer(&daemon, "cus_1");
    let subscription = subscribe(&daemon, "cus_1", &small);
    advance(&daemon, "2026-11-16T00:00:00Z");
    let mut viewer = Viewer::admin(&daemon);
    let change = json!({ "product_id": large, "quantity": 1, "effective_at": "immediately",
        "proration_billing_mode": "prorated_immediately" });
    let path = format!("/dashboard/subscriptions/{subscription}/plan/preview");
    let shown = figure(&typed(&mut viewer, &path, &change));
    assert_eq!(shown, "74.50 USD", "99.00 less half of 49.00");
    let missing = typed(&mut viewer, &path, &json!({ "quantity": 1 }));
    assert!(missing.contains("Nothing to show yet"), "{missing}");
    let api = format!("/subscriptions/{subscription}/change-plan");
    let made = viewer.change("POST", &api, &change).json();
    let payment = daemon.client().get(&format!("/payments/{}", text(&made["payment_id"]))).json();
    assert_eq!(payment["total_amount"], 7450);
    let page = viewer.page(&format!("/dashboard/subscriptions/{subscription}"));
    assert!(page.contains("Large for Ada"), "{page}");
}
