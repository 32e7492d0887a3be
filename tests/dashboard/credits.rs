//! Credits: what kinds there are, what customers have, adjusting it, and what reservations hold.

use serde_json::{Value, json};

use crate::common::daemon::{Daemon, Launch};
use crate::common::make_meter;
use crate::forms::Form;
use crate::viewer::{HOSTILE, Viewer, daemon, make_key, text};

/// A kind of credit with every setting.
fn full() -> Value {
    json!({ "name": "AI credits", "description": "For models", "unit": "credit", "precision": 2,
        "overage_enabled": true, "overage_limit": 50, "overage_behavior": "invoice_at_billing",
        "price_per_unit": "1.5", "currency": "USD", "rollover_enabled": true,
        "rollover_percentage": 40, "rollover_timeframe_count": 2,
        "rollover_timeframe_interval": "Month", "max_rollover_count": 3,
        "expires_after_days": 90 })
}

fn make(daemon: &Daemon, body: &Value) -> String {
    let made = daemon.client().post("/credit-entitlements", body);
    assert_eq!(made.status, 201, "{made:?}");
    text(&made.json()["id"])
}

fn make_customer(daemon: &Daemon, id: &str) {
    let body = json!({ "customer_id": id, "name": "C", "email": "" });
    assert_eq!(daemon.client().post("/customers", &body).status, 200);
}

fn give(daemon: &Daemon, entitlement: &str, customer: &str, amount: u32) {
    let path = format!("/credit-entitlements/{entitlement}/balances/{customer}/ledger-entries");
    let body = json!({ "entry_type": "credit", "amount": amount.to_string() });
    let made = daemon.client().post(&path, &body);
    assert_eq!(made.status, 201, "{made:?}");
}

#[test]
fn an_empty_page_says_how_to_fill_it() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let page = viewer.page("/dashboard/credits");
    assert!(page.contains("/credit-entitlements") && page.contains("creditEntitlements.create"));
    assert!(page.contains("href=\"/dashboard/credits/new\""));
    assert!(viewer.page("/dashboard/credits?deleted=true").contains("None was deleted"));
}

#[test]
fn the_form_makes_what_it_says_and_leaves_what_nobody_touches() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let page = viewer.page("/dashboard/credits/new");
    let form = Form::of(&page, "POST /credit-entitlements");
    let plain = form.clone().with("name", "Plain").with("unit", "token");
    let made = plain.send(&mut viewer).json();
    assert_eq!(
        (&made["overage_enabled"], &made["rollover_enabled"]),
        (&json!(false), &json!(false))
    );
    assert_eq!((&made["expires_after_days"], &made["precision"]), (&json!(30), &json!(0)));
    let mut filled = form;
    for (name, value) in full().as_object().unwrap() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        filled = filled.with(name, &value);
    }
    assert_eq!(filled.body(), full());
    let made = filled.send(&mut viewer).json();
    let id = text(&made["id"]);
    let page = viewer.page(&format!("/dashboard/credits/{id}/edit"));
    let form = Form::of(&page, &format!("PATCH /credit-entitlements/{id}"));
    let mut expected = full();
    expected.as_object_mut().unwrap().remove("precision");
    assert_eq!(form.body(), expected, "as it stands");
    let changed = form
        .with("expires_after_days", "")
        .with("rollover_percentage", "")
        .with("rollover_timeframe_count", "")
        .with("rollover_timeframe_interval", "")
        .with("overage_enabled", "false")
        .with("description", "");
    assert_eq!(changed.send(&mut viewer).status, 200);
    let now = daemon.client().get(&format!("/credit-entitlements/{id}")).json();
    for cleared in
        ["expires_after_days", "rollover_percentage", "rollover_timeframe_count", "description"]
    {
        assert_eq!(now[cleared], Value::Null, "{cleared}");
    }
    assert_eq!(now["overage_enabled"], false);
    let wrong = Form::of(&page, &format!("PATCH /credit-entitlements/{id}"))
        .with("rollover_percentage", "101")
        .send(&mut viewer);
    assert_eq!((wrong.status, &wrong.json()["field"]), (422, &json!("rollover_percentage")));
}

#[test]
fn a_deleted_one_is_listed_apart_and_can_be_offered_again() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let id = make(&daemon, &full());
    let path = format!("/dashboard/credits/{id}");
    let page = viewer.page(&path);
    let delete = Form::of(&page, &format!("DELETE /credit-entitlements/{id}"));
    assert_eq!(delete.send(&mut viewer).status, 200);
    assert!(!viewer.page("/dashboard/credits").contains(&id));
    assert!(viewer.page("/dashboard/credits?deleted=true").contains(&id));
    let page = viewer.page(&path);
    assert!(page.contains("no more of it is granted") && !page.contains("Give a customer"));
    let offer = Form::of(&page, &format!("POST /credit-entitlements/{id}/undelete"));
    assert_eq!(offer.send(&mut viewer).status, 200);
    assert!(viewer.page("/dashboard/credits").contains(&id));
}

#[test]
fn a_customer_is_given_credits_and_the_ledger_says_so() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let id = make(&daemon, &full());
    make_customer(&daemon, "acme");
    let own = format!("/dashboard/credits/{id}/customer?id=acme");
    assert!(viewer.page(&own).contains("Nothing has happened yet"));
    let page = viewer.page(&format!("/dashboard/credits/{id}"));
    let api = format!("POST /credit-entitlements/{id}/balances/{{customer_id}}/ledger-entries");
    let give = Form::of(&page, &api).with("customer_id", "acme").with("amount", "100.5");
    let given = give.with("expires_at", "2099-01-01T00:00").send(&mut viewer);
    assert_eq!(given.status, 201, "{given:?}");
    let api = format!("POST /credit-entitlements/{id}/balances/acme/ledger-entries");
    let page = viewer.page(&own);
    let take = Form::of(&page, &api).with("entry_type", "debit").with("amount", "40");
    let taken = take.with("reason", "broke <it>").send(&mut viewer);
    assert_eq!(taken.status, 201, "{taken:?}");
    let too_much = Form::of(&page, &api).with("entry_type", "debit").with("amount", "1000");
    assert_eq!(too_much.send(&mut viewer).status, 400);
    let page = viewer.page(&own);
    assert!(page.contains("<span class=\"figure\">60.5</span>"), "{page}");
    assert!(page.contains("broke &#60;it&#62;") && !page.contains("broke <it>"));
    let csv = viewer.page(&format!("{own}&format=csv"));
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][1..5], ["What", "Amount", "Balance after", "Overage after"]);
    assert_eq!(rows[1][1..5], ["by hand", "-40", "60.5", "0"]);
    assert_eq!(rows[2][1..5], ["added", "100.5", "100.5", "0"]);
    assert_eq!(rows.len(), 3);
    let grants = viewer.page(&format!("/dashboard/credits/{id}/grants?id=acme&format=csv"));
    let grant: Vec<&str> = grants.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(grant[1..6], ["by hand", "100.5", "60.5", "active", "2099-01-01T00:00:00Z"]);
    let none = viewer.page(&format!("/dashboard/credits/{id}/grants?id=acme&status=expired"));
    assert!(none.contains("No grants."));
    let only = viewer.page(&format!("{own}&type=credit_expired"));
    assert!(only.contains("Nothing has happened"));
    for wrong in ["&type=x", "&below=x", "&below=msg_00000000000000000"] {
        assert_eq!(viewer.get(&format!("{own}{wrong}")).status, 422, "{wrong}");
    }
}

/// Follows the link to the next page until there is none, and gives every page.
fn walked(viewer: &mut Viewer, start: &str) -> Vec<String> {
    let mut pages = vec![viewer.page(start)];
    while let Some((before, _)) = pages[pages.len() - 1].split_once("\" rel=\"next\"") {
        let next = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
        let page = viewer.page(&next);
        pages.push(page);
    }
    pages
}

#[test]
fn lists_are_read_on_where_a_page_ended() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let id = make(&daemon, &full());
    for number in 0..102 {
        make_customer(&daemon, &format!("c{number}"));
        give(&daemon, &id, &format!("c{number}"), number + 1);
    }
    let pages = walked(&mut viewer, &format!("/dashboard/credits/{id}"));
    let rows: Vec<usize> =
        pages.iter().map(|page| page.matches("/customer?id=c").count()).collect();
    assert_eq!(rows, [50, 50, 2]);
    let (first, last) = (&pages[0], &pages[2]);
    assert!(first.contains("customer?id=c101\"") && last.contains("customer?id=c0\""));
    for _ in 0..60 {
        give(&daemon, &id, "c7", 1);
    }
    let ledger = walked(&mut viewer, &format!("/dashboard/credits/{id}/customer?id=c7"));
    let rows: Vec<usize> = ledger.iter().map(|page| page.matches("<code>cle_").count()).collect();
    assert_eq!(rows, [50, 11]);
    let grants = walked(&mut viewer, &format!("/dashboard/credits/{id}/grants?id=c7"));
    let rows: Vec<usize> = grants.iter().map(|page| page.matches("<code>cgr_").count()).collect();
    assert_eq!(rows, [50, 11]);
    let found = viewer.page(&format!("/dashboard/credits/{id}?search=c7&format=csv"));
    assert_eq!(found.lines().count(), 1 + 11, "c7 and c70 to c79");
    assert!(found.lines().nth(1).unwrap().starts_with("c7,68,0,68,0,"), "{found}");
    make_customer(&daemon, "c7-without");
    let begin_so = walked(&mut viewer, &format!("/dashboard/credits/{id}?search=c"));
    let rows: Vec<usize> =
        begin_so.iter().map(|page| page.matches("/customer?id=c").count()).collect();
    assert_eq!(rows, [50, 50, 2]);
    let all = viewer.page(&format!("/dashboard/credits/{id}?format=csv"));
    assert_eq!(all.lines().count(), 103);
    let nobody = viewer.page(&format!("/dashboard/credits/{id}?search=nobody"));
    assert!(nobody.contains("No such customer has any."));
}

#[test]
fn what_reservations_hold_is_shown_and_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start();
    let mut client = daemon.client();
    let sum = json!({ "type": "sum", "key": "tokens" });
    let meter = make_meter(&mut client, "call", &sum, &Value::Null);
    let id = make(&daemon, &full());
    let product = json!({ "name": "Plan", "tax_category": "saas", "price": {
        "type": "usage_based_price", "currency": "USD", "fixed_price": 0, "discount": 0,
        "purchasing_power_parity": false, "payment_frequency_count": 1,
        "payment_frequency_interval": "Month", "subscription_period_count": 1,
        "subscription_period_interval": "Year",
        "meters": [{ "meter_id": meter, "free_threshold": 0, "credit_entitlement_id": id,
            "meter_units_per_credit": "1" }] },
        "credit_entitlements": [{ "credit_entitlement_id": id, "credits_amount": "500" }] });
    let product = text(&client.post("/products", &product).json()["product_id"]);
    make_customer(&daemon, "c");
    let subscription = json!({ "product_id": product, "quantity": 1,
        "customer": { "customer_id": "c" }, "billing": { "country": "US" } });
    let made = client.post("/subscriptions", &subscription);
    assert!(made.status < 300, "{made:?}");
    let ask = json!({ "customer_id": "c", "meter_id": meter, "amount": "120" });
    let reserved = client.post("/credits/reserve", &ask);
    assert_eq!(reserved.status, 201, "{reserved:?}");
    let reservation = text(&reserved.json()["reservation_id"]);
    let mut viewer = Viewer::admin(&daemon);
    let own = format!("/dashboard/credits/{id}/reservations?id=c");
    let page = viewer.page(&own);
    assert!(page.contains("<span class=\"figure\">380</span>"), "{page}");
    assert!(page.contains(&reservation));
    let csv = viewer.page(&format!("{own}&format=csv"));
    let row: Vec<&str> = csv.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(row[..5], [reservation.as_str(), "120", meter.as_str(), "120", "0"]);
    let release = Form::of(&page, &format!("POST /credits/reservations/{reservation}/release"));
    assert_eq!(release.send(&mut viewer).status, 200);
    let page = viewer.page(&own);
    assert!(
        page.contains("Nothing is held.") && page.contains("<span class=\"figure\">500</span>")
    );
}

#[test]
fn a_read_key_sees_credits_and_no_form() {
    let (_directory, daemon) = daemon();
    let id = make(&daemon, &full());
    make_customer(&daemon, "acme");
    give(&daemon, &id, "acme", 5);
    let (key, _) = make_key(&daemon, "read");
    let mut viewer = Viewer::with_key(&daemon, &key);
    for page in ["", "/customer?id=acme", "/grants?id=acme", "/reservations?id=acme"] {
        let page = viewer.page(&format!("/dashboard/credits/{id}{page}"));
        assert!(!page.contains("data-api"), "{page}");
    }
    assert!(!viewer.page("/dashboard/credits").contains("/dashboard/credits/new"));
    for page in ["/dashboard/credits/new".to_owned(), format!("/dashboard/credits/{id}/edit")] {
        let refused = viewer.get(&page);
        assert_eq!(refused.status, 403);
        assert!(refused.text().contains("scope admin") && !refused.text().contains("data-api"));
    }
}

#[test]
fn hostile_names_stay_texts() {
    let (_directory, daemon) = daemon();
    let mut viewer = Viewer::admin(&daemon);
    let mut hostile = full();
    for field in ["name", "description"] {
        hostile[field] = json!(HOSTILE);
    }
    let id = make(&daemon, &hostile);
    make_customer(&daemon, "a/b?c&d=\"><x");
    let encoded = "a%2Fb%3Fc%26d%3D%22%3E%3Cx";
    let path = format!("/credit-entitlements/{id}/balances/{encoded}/ledger-entries");
    let entry = json!({ "entry_type": "credit", "amount": "1", "reason": HOSTILE,
        "metadata": { "a<b>": HOSTILE } });
    let made = daemon.client().post(&path, &entry);
    assert_eq!(made.status, 201, "{made:?}");
    for page in [
        "/dashboard/credits".to_owned(),
        format!("/dashboard/credits/{id}"),
        format!("/dashboard/credits/{id}/edit"),
        format!("/dashboard/credits/{id}/customer?id={encoded}"),
        format!("/dashboard/credits/{id}/grants?id={encoded}"),
        format!("/dashboard/credits/{id}/reservations?id={encoded}"),
    ] {
        viewer.assert_harmless(&page);
    }
    let page = viewer.page(&format!("/dashboard/credits/{id}"));
    assert!(page.contains(&format!("/customer?id={encoded}\"")), "{page}");
    let csv = viewer.page("/dashboard/credits?format=csv");
    assert!(csv.lines().nth(1).unwrap().starts_with("\"'=cmd"), "{csv}");
    for missing in ["/dashboard/credits/cde_x", "/dashboard/credits/cde_x/customer?id=a"] {
        assert_eq!(viewer.get(missing).status, 404);
    }
    assert_eq!(viewer.get(&format!("/dashboard/credits/{id}/customer?id=nobody")).status, 404);
}
