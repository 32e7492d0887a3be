//! Credit entitlements, and the prices that hand them out, as a client sees them.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, Launch};
use crate::common::{event, make_count};

const START: &str = "2026-01-31T10:00:00Z";
const LATER: &str = "2026-02-01T10:00:00Z";

struct Shop {
    _directory: TempDir,
    launch: Launch,
    daemon: Daemon,
}

impl Shop {
    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let launch = Launch::new(directory.path()).at(START);
        let daemon = launch.start();
        Self { _directory: directory, launch, daemon }
    }

    /// The same shop after `kill -9`.
    fn killed(self) -> Self {
        self.daemon.kill();
        Self { daemon: self.launch.start(), ..self }
    }

    fn client(&self) -> Client {
        self.daemon.client()
    }

    /// An entitlement with these members beside those that are needed.
    fn entitlement(&self, more: &Value) -> Answer {
        self.client().post("/credit-entitlements", &with(&least(), more))
    }

    fn made(&self, more: &Value) -> String {
        let answer = self.entitlement(more);
        assert_eq!(answer.status, 201, "{answer:?}");
        text(&answer.json()["id"])
    }

    fn patched(&self, id: &str, patch: &Value) -> Answer {
        self.client().patch(&format!("/credit-entitlements/{id}"), patch)
    }

    fn read(&self, id: &str) -> Answer {
        self.client().get(&format!("/credit-entitlements/{id}"))
    }

    fn listed(&self, query: &str) -> Vec<String> {
        let answer = self.client().get(&format!("/credit-entitlements{query}"));
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer.json()["items"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect()
    }
}

/// What an entitlement cannot do without.
fn least() -> Value {
    json!({
        "name": "Tokens", "unit": "token", "precision": 2, "overage_enabled": false,
        "rollover_enabled": false,
    })
}

/// `value` with the members of `more` in place of its own.
fn with(value: &Value, more: &Value) -> Value {
    let mut members = value.as_object().unwrap().clone();
    members.extend(more.as_object().unwrap().clone());
    Value::Object(members)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Checks that an answer refuses `field`, or something in it.
fn refuses(answer: &Answer, field: &str) {
    let expected = (422, "INVALID_REQUEST_PARAMETERS".to_owned());
    assert_eq!(answer.error(), expected, "{field}: {answer:?}");
    assert_eq!(answer.json()["field"], field, "{answer:?}");
}

#[test]
fn an_entitlement_is_shown_as_it_was_made() {
    let shop = Shop::open();
    let plain = shop.entitlement(&json!({})).json();
    let expected = json!({
        "id": plain["id"], "business_id": "bus_quipu", "name": "Tokens", "description": null,
        "unit": "token", "precision": 2, "overage_enabled": false, "overage_limit": null,
        "overage_behavior": "forgive_at_reset", "price_per_unit": null, "currency": null,
        "rollover_enabled": false, "rollover_percentage": null, "rollover_timeframe_count": null,
        "rollover_timeframe_interval": null, "max_rollover_count": null,
        "expires_after_days": null, "created_at": START, "updated_at": START,
    });
    assert_eq!(plain, expected);
    assert!(text(&plain["id"]).starts_with("cde_"));
    let settings = json!({
        "name": "n".repeat(255), "unit": "u".repeat(50), "description": "d".repeat(1000),
        "precision": 10, "overage_enabled": true, "overage_limit": 9_999_999_999_i64,
        "overage_behavior": "carry_deficit_auto_repay", "price_per_unit": "0.000005",
        "currency": "EUR", "rollover_enabled": true, "rollover_percentage": 100,
        "rollover_timeframe_count": 3, "rollover_timeframe_interval": "Week",
        "max_rollover_count": 0, "expires_after_days": 36_500,
    });
    let full = shop.made(&settings);
    let stands = with(
        &settings,
        &json!({
            "id": full, "business_id": "bus_quipu", "created_at": START, "updated_at": START,
        }),
    );
    assert_eq!(shop.read(&full).json(), stands);
    // Nothing but the log has them.
    let shop = shop.killed();
    assert_eq!(shop.read(&full).json(), stands);
    assert_eq!(shop.read(&text(&plain["id"])).json(), expected);
    assert_eq!(shop.listed(""), [full, text(&plain["id"])]);
}

#[test]
fn every_rule_of_an_entitlement_refuses_its_field_and_changes_nothing() {
    let shop = Shop::open();
    let mut client = shop.client();
    for field in ["name", "unit", "precision", "overage_enabled", "rollover_enabled"] {
        let without = with(&least(), &json!({ field: null }));
        refuses(&client.post("/credit-entitlements", &without), field);
    }
    let price = json!({ "price_per_unit": "1", "currency": "USD" });
    let table = [
        ("name", json!("")),
        ("name", json!("n".repeat(256))),
        ("name", json!("a\nb")),
        ("name", json!(7)),
        ("unit", json!("")),
        ("unit", json!("u".repeat(51))),
        ("description", json!("d".repeat(1001))),
        ("precision", json!(11)),
        ("precision", json!(-1)),
        ("precision", json!(1.5)),
        ("precision", json!("2")),
        ("overage_enabled", json!("true")),
        ("overage_limit", json!(-1)),
        ("overage_limit", json!(10_000_000_000_i64)),
        ("overage_limit", json!("5")),
        ("overage_behavior", json!("forget")),
        ("price_per_unit", json!("0")),
        ("price_per_unit", json!("-1")),
        ("price_per_unit", json!("100000")),
        ("price_per_unit", json!("0.1234567890123")),
        ("price_per_unit", json!("cheap")),
        ("price_per_unit", json!(1)),
        ("currency", json!("XXX")),
        ("currency", json!("usd")),
        ("rollover_percentage", json!(-1)),
        ("rollover_percentage", json!(101)),
        ("rollover_timeframe_count", json!(0)),
        ("rollover_timeframe_count", json!(1001)),
        ("rollover_timeframe_interval", json!("Hour")),
        ("max_rollover_count", json!(-1)),
        ("max_rollover_count", json!(1_000_001)),
        ("expires_after_days", json!(0)),
        ("expires_after_days", json!(36_501)),
    ];
    let id = shop.made(&price);
    let before = shop.read(&id).json();
    for (field, value) in table {
        let more = with(&price, &json!({ field: value }));
        refuses(&shop.entitlement(&more), field);
        refuses(&shop.patched(&id, &json!({ field: value })), field);
    }
    for (more, field) in [
        (json!({ "overage_enabled": true }), "price_per_unit"),
        (json!({ "overage_enabled": true, "currency": "USD" }), "price_per_unit"),
        (json!({ "price_per_unit": "1" }), "currency"),
        (json!({ "rollover_timeframe_count": 1 }), "rollover_timeframe_interval"),
        (json!({ "rollover_timeframe_interval": "Day" }), "rollover_timeframe_count"),
    ] {
        refuses(&shop.entitlement(&more), field);
    }
    assert_eq!(client.post("/credit-entitlements", &json!([])).status, 422);
    assert_eq!(shop.listed(""), std::slice::from_ref(&id));
    assert_eq!(shop.read(&id).json(), before);
}

#[test]
fn null_clears_absence_keeps_and_the_result_is_checked() {
    let shop = Shop::open();
    let settings = json!({
        "description": "d", "overage_enabled": true, "overage_limit": 5,
        "overage_behavior": "carry_deficit", "price_per_unit": "1", "currency": "USD",
        "rollover_enabled": true, "rollover_percentage": 75, "rollover_timeframe_count": 2,
        "rollover_timeframe_interval": "Month", "max_rollover_count": 1, "expires_after_days": 30,
    });
    let id = shop.made(&settings);
    let before = shop.read(&id).json();
    for (patch, field) in [
        (json!({ "price_per_unit": null }), "price_per_unit"),
        (json!({ "currency": null }), "currency"),
        (json!({ "rollover_timeframe_count": null }), "rollover_timeframe_count"),
        (json!({ "rollover_timeframe_interval": null }), "rollover_timeframe_interval"),
        (json!({ "precision": 3 }), "precision"),
        (json!({ "precision": 11 }), "precision"),
    ] {
        refuses(&shop.patched(&id, &patch), field);
    }
    assert_eq!(shop.read(&id).json(), before);
    let mut client = shop.client();
    assert_eq!(client.post("/clock/advance", &json!({ "to": LATER })).status, 200);
    let fine = json!({
        "name": "Credits", "unit": "credit", "precision": 2, "overage_limit": null,
        "rollover_timeframe_count": 3, "overage_behavior": null,
    });
    let answer = shop.patched(&id, &fine);
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]));
    assert_eq!(answer.header("content-length"), Some("0"));
    let changed = with(&before, &fine);
    let changed = with(
        &changed,
        &json!({
            "overage_behavior": "forgive_at_reset", "updated_at": LATER,
        }),
    );
    assert_eq!(shop.read(&id).json(), changed);
    let cleared = json!({
        "description": null, "overage_enabled": false, "price_per_unit": null, "currency": null,
        "rollover_enabled": false, "rollover_percentage": null, "rollover_timeframe_count": null,
        "rollover_timeframe_interval": null, "max_rollover_count": null,
        "expires_after_days": null,
    });
    // A name cannot be missing: `null` keeps it.
    let patch = with(&cleared, &json!({ "name": null, "unit": null, "precision": null }));
    assert_eq!(shop.patched(&id, &patch).status, 200);
    assert_eq!(shop.read(&id).json(), with(&changed, &cleared));
    assert_eq!(shop.patched("cde_nowhere", &json!({})).error(), (404, "NOT_FOUND".to_owned()));
}

#[test]
fn a_deleted_entitlement_is_found_among_the_deleted_alone() {
    let shop = Shop::open();
    let ids: Vec<_> = (0..3).map(|_| shop.made(&json!({}))).collect();
    let path = format!("/credit-entitlements/{}", ids[1]);
    let before = shop.read(&ids[1]).json();
    let mut client = shop.client();
    // It is there, so that there is nothing to bring back; the SDKs need not try again.
    let conflict = client.post(&format!("{path}/undelete"), &json!({}));
    assert_eq!(conflict.error(), (409, "CONFLICT".to_owned()));
    assert_eq!(conflict.header("x-should-retry"), Some("false"));
    // Who has lost the first answer asks again.
    for _ in 0..2 {
        let answer = client.delete(&path);
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]), "{answer:?}");
    }
    let shop = shop.killed();
    let mut client = shop.client();
    assert_eq!(client.get(&path).error(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(client.patch(&path, &json!({ "name": "N" })).status, 404);
    assert_eq!(shop.listed(""), [ids[2].clone(), ids[0].clone()]);
    assert_eq!(shop.listed("?deleted=false"), shop.listed(""));
    assert_eq!(shop.listed("?deleted=true"), ids[1..2]);
    let answer = client.post(&format!("{path}/undelete"), &json!({}));
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]));
    assert_eq!(client.get(&path).json(), before);
    assert_eq!(shop.listed("?deleted=true"), [""; 0]);
    for path in ["/credit-entitlements/cde_no", "/credit-entitlements/cde_no/undelete"] {
        let answer = if path.ends_with("undelete") {
            client.post(path, &json!({}))
        } else {
            client.delete(path)
        };
        assert_eq!(answer.error(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
}

#[test]
fn a_list_is_walked_page_by_page_newest_first() {
    let shop = Shop::open();
    let mut newest_first: Vec<_> = (0..12).map(|_| shop.made(&json!({}))).collect();
    newest_first.reverse();
    assert_eq!(shop.listed(""), newest_first[..10]);
    assert_eq!(shop.listed("?page_number=1"), newest_first[10..]);
    assert_eq!(shop.listed("?page_number=2&page_size=5"), newest_first[10..]);
    assert_eq!(shop.listed("?page_number=2"), [""; 0]);
    for query in ["page_size=101", "page_size=0", "deleted=maybe"] {
        let answer = shop.client().get(&format!("/credit-entitlements?{query}"));
        assert_eq!(answer.error(), (422, "INVALID_QUERY_PARAMS".to_owned()), "{query}");
    }
}

#[test]
fn a_repeated_request_makes_one_entitlement() {
    let shop = Shop::open();
    let mut client = shop.client();
    let keyed = |body: &Value, headers: &[(&str, &str)], client: &mut Client| {
        client.post_with("/credit-entitlements", headers, body)
    };
    let key = [("idempotency-key", "k-1")];
    let first = keyed(&least(), &key, &mut client);
    let again = keyed(&least(), &key, &mut client);
    assert_eq!((again.status, again.json()), (201, first.json()));
    let other = keyed(&with(&least(), &json!({ "unit": "other" })), &key, &mut client);
    assert_eq!(other.error(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    // As the SDKs do when an answer was lost.
    let plain = keyed(&least(), &[("x-stainless-retry-count", "0")], &mut client);
    let retried = keyed(&least(), &[("x-stainless-retry-count", "1")], &mut client);
    assert_eq!(retried.json(), plain.json());
    let shop = shop.killed();
    let again = keyed(&least(), &key, &mut shop.client());
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert_eq!(shop.listed(""), [text(&plain.json()["id"]), text(&first.json()["id"])]);
}

const ONCE: &str = "one_time_price";
const RECURRING: &str = "recurring_price";
const USAGE: &str = "usage_based_price";

/// A price of 1.00 of this type.
fn price(kind: &str, currency: &str) -> Value {
    let amount = if kind == USAGE { "fixed_price" } else { "price" };
    let price = json!({ "type": kind, "currency": currency, amount: 100 });
    let cycle = json!({
        "payment_frequency_count": 1, "payment_frequency_interval": "Month",
        "subscription_period_count": 1, "subscription_period_interval": "Year",
    });
    if kind == ONCE { price } else { with(&price, &cycle) }
}

impl Shop {
    fn product(&self, kind: &str, credits: &Value) -> Answer {
        let product = json!({
            "name": "Plan", "tax_category": "saas", "price": price(kind, "USD"),
            "credit_entitlements": credits,
        });
        self.client().post("/products", &product)
    }

    fn sold(&self, kind: &str, credits: &Value) -> String {
        let answer = self.product(kind, credits);
        assert_eq!(answer.status, 200, "{answer:?}");
        text(&answer.json()["product_id"])
    }

    fn patch_product(&self, id: &str, patch: &Value) -> Answer {
        self.client().patch(&format!("/products/{id}"), patch)
    }

    fn product_of(&self, id: &str) -> Value {
        let answer = self.client().get(&format!("/products/{id}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The credits of a product and the number of its price.
    fn credits(&self, id: &str) -> (Value, i64) {
        let product = self.product_of(id);
        (product["credit_entitlements"].clone(), product["price_version"].as_i64().unwrap())
    }
}

/// So many credits of an entitlement.
fn attach(id: &str, amount: &str) -> Value {
    json!({ "credit_entitlement_id": id, "credits_amount": amount })
}

#[test]
fn every_kind_of_product_hands_out_credits_under_settings_that_it_inherits() {
    let shop = Shop::open();
    let settings = json!({
        "overage_enabled": true, "overage_limit": 50, "overage_behavior": "invoice_at_billing",
        "price_per_unit": "0.5", "currency": "USD", "rollover_enabled": true,
        "rollover_percentage": 75, "rollover_timeframe_count": 2,
        "rollover_timeframe_interval": "Week", "max_rollover_count": 1, "expires_after_days": 30,
    });
    let id = shop.made(&settings);
    let inherited = with(
        &settings,
        &json!({
            "credit_entitlement_id": id, "credit_entitlement_name": "Tokens",
            "credit_entitlement_unit": "token", "credits_amount": "100.5", "overage_limit": "50",
            "trial_credits": null, "trial_credits_expire_after_trial": false,
            "low_balance_threshold_percent": null, "proration_behavior": "no_prorate",
        }),
    );
    let mut ids = Vec::new();
    let sold: Vec<_> = [ONCE, RECURRING, USAGE]
        .map(|kind| shop.sold(kind, &json!([attach(&id, "100.50")])))
        .into_iter()
        .collect();
    // What changes from now on is for later products.
    let later = json!({ "overage_limit": null, "expires_after_days": 90 });
    assert_eq!(shop.patched(&id, &later).status, 200);
    let shop = shop.killed();
    for product in &sold {
        let (credits, version) = shop.credits(product);
        let mapping = text(&credits[0]["id"]);
        assert!(mapping.starts_with("cem_"), "{mapping}");
        assert_eq!(credits, json!([with(&inherited, &json!({ "id": mapping }))]));
        assert_eq!(version, 1);
        ids.push(mapping);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each product has ids of its own");
    let own = json!({
        "overage_enabled": false, "overage_limit": "0.25", "overage_behavior": "carry_deficit",
        "price_per_unit": "7", "currency": "USD", "rollover_enabled": false,
        "rollover_percentage": 0, "rollover_timeframe_count": 1,
        "rollover_timeframe_interval": "Year", "max_rollover_count": 9, "expires_after_days": 1,
        "low_balance_threshold_percent": 20, "proration_behavior": "prorate",
        "trial_credits": "0", "trial_credits_expire_after_trial": true,
    });
    let full = shop.sold(RECURRING, &json!([with(&attach(&id, "1"), &own)]));
    let (credits, _) = shop.credits(&full);
    let shown = with(
        &inherited,
        &with(
            &own,
            &json!({
                "id": credits[0]["id"], "credits_amount": "1",
            }),
        ),
    );
    assert_eq!(credits, json!([shown]));
    // An update of the entitlement counts for whoever inherits it now; `null` inherits too.
    let nulls = with(&attach(&id, "1"), &json!({ "overage_limit": null, "currency": null }));
    let (credits, _) = shop.credits(&shop.sold(USAGE, &json!([nulls])));
    assert_eq!(credits[0]["overage_limit"], Value::Null);
    assert_eq!(credits[0]["expires_after_days"], 90);
}

#[test]
fn a_change_of_credits_makes_another_price_and_keeps_what_is_left_out() {
    let shop = Shop::open();
    let ids: Vec<_> = (0..6).map(|_| shop.made(&json!({}))).collect();
    let product = shop.sold(RECURRING, &json!([attach(&ids[0], "1")]));
    let (first, _) = shop.credits(&product);
    let expect = |patch: &Value, amounts: &[(usize, &str)], version: i64| {
        let answer = shop.patch_product(&product, patch);
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]), "{answer:?}");
        let (credits, found) = shop.credits(&product);
        let credits: Vec<_> = credits
            .as_array()
            .unwrap()
            .iter()
            .map(|credits| {
                (text(&credits["credit_entitlement_id"]), text(&credits["credits_amount"]))
            })
            .collect();
        let amounts: Vec<_> = amounts
            .iter()
            .map(|(place, amount)| (ids[*place].clone(), (*amount).to_owned()))
            .collect();
        assert_eq!((credits, found), (amounts, version), "{patch}");
    };
    let two = json!([attach(&ids[1], "2"), attach(&ids[0], "1")]);
    expect(&json!({ "credit_entitlements": two }), &[(1, "2"), (0, "1")], 2);
    // The same again is no change, nor is another name, nor `null`.
    expect(&json!({ "credit_entitlements": two }), &[(1, "2"), (0, "1")], 2);
    expect(&json!({ "name": "N", "credit_entitlements": null }), &[(1, "2"), (0, "1")], 2);
    // Another price keeps the credits; another currency of the price does, too.
    expect(&json!({ "price": price(RECURRING, "EUR") }), &[(1, "2"), (0, "1")], 3);
    let back =
        json!({ "price": price(RECURRING, "USD"), "credit_entitlements": [attach(&ids[0], "1")] });
    expect(&back, &[(0, "1")], 4);
    assert_eq!(shop.credits(&product).0, first, "an id is the same for the same place");
    expect(&json!({ "credit_entitlements": [] }), &[], 5);
    let five: Vec<_> = ids[..5].iter().map(|id| attach(id, "5")).collect();
    let all = [(0, "5"), (1, "5"), (2, "5"), (3, "5"), (4, "5")];
    expect(&json!({ "credit_entitlements": five }), &all, 6);
    // A deleted entitlement stays where it is, and comes to no other place.
    assert_eq!(shop.client().delete(&format!("/credit-entitlements/{}", ids[4])).status, 200);
    expect(&json!({ "price": with(&price(RECURRING, "USD"), &json!({ "price": 7 })) }), &all, 7);
    let answer = shop.patch_product(&product, &json!({ "credit_entitlements": five }));
    refuses(&answer, "credit_entitlements.4.credit_entitlement_id");
}

#[test]
fn every_rule_of_attached_credits_refuses_its_field_and_changes_nothing() {
    let shop = Shop::open();
    let id = shop.made(&json!({}));
    let in_euros = shop.made(&json!({
        "overage_enabled": true, "price_per_unit": "1", "currency": "EUR",
    }));
    let product = shop.sold(RECURRING, &json!([attach(&id, "1")]));
    let before = shop.product_of(&product);
    let check = |credits: &Value, field: &str| {
        refuses(&shop.product(USAGE, credits), field);
        refuses(&shop.patch_product(&product, &json!({ "credit_entitlements": credits })), field);
    };
    let table = [
        ("credit_entitlement_id", json!(null)),
        ("credit_entitlement_id", json!("cde_nowhere")),
        ("credits_amount", json!(null)),
        ("credits_amount", json!("0")),
        ("credits_amount", json!("-1")),
        ("credits_amount", json!("10000000000")),
        ("credits_amount", json!("0.001")),
        ("credits_amount", json!("many")),
        ("credits_amount", json!(5)),
        ("trial_credits", json!("-1")),
        ("trial_credits", json!("0.125")),
        ("overage_limit", json!("-1")),
        ("overage_limit", json!("1.005")),
        ("overage_limit", json!("10000000000")),
        ("overage_limit", json!(5)),
        ("overage_enabled", json!("yes")),
        ("overage_behavior", json!("forget")),
        ("low_balance_threshold_percent", json!(101)),
        ("low_balance_threshold_percent", json!(-1)),
        ("proration_behavior", json!("half")),
        ("price_per_unit", json!("0")),
        ("currency", json!("XXX")),
        ("currency", json!("EUR")),
        ("rollover_percentage", json!(101)),
        ("rollover_timeframe_count", json!(0)),
        ("max_rollover_count", json!(-1)),
        ("expires_after_days", json!(0)),
        ("trial_credits_expire_after_trial", json!(1)),
    ];
    for (field, value) in table {
        let credits = with(&attach(&id, "1"), &json!({ field: value }));
        check(&json!([credits]), &format!("credit_entitlements.0.{field}"));
    }
    for (more, field) in [
        (json!({ "overage_enabled": true }), "price_per_unit"),
        (json!({ "rollover_timeframe_count": 1 }), "rollover_timeframe_interval"),
        (json!({ "rollover_timeframe_interval": "Day" }), "rollover_timeframe_count"),
    ] {
        let credits = with(&attach(&id, "1"), &more);
        check(&json!([credits]), &format!("credit_entitlements.0.{field}"));
    }
    check(&json!([attach(&in_euros, "1")]), "credit_entitlements.0.currency");
    let twice = json!([attach(&id, "1"), attach(&id, "2")]);
    check(&twice, "credit_entitlements.1.credit_entitlement_id");
    check(&json!(vec![attach(&id, "1"); 6]), "credit_entitlements");
    check(&json!({}), "credit_entitlements");
    assert_eq!(shop.product_of(&product), before);
    assert_eq!(shop.client().get("/products").json()["items"].as_array().unwrap().len(), 1);
    // A price of the product's own is in its currency; without overage nothing is.
    for more in
        [json!({ "currency": "USD", "price_per_unit": "2" }), json!({ "overage_enabled": false })]
    {
        shop.sold(ONCE, &json!([with(&attach(&in_euros, "1"), &more)]));
    }
    let priced = json!({ "overage_enabled": true, "price_per_unit": "2" });
    let priced = shop.sold(RECURRING, &json!([with(&attach(&id, "1"), &priced)]));
    assert_eq!(shop.credits(&priced).0[0]["currency"], "USD");
    let euros = json!({ "price": price(RECURRING, "EUR") });
    refuses(&shop.patch_product(&priced, &euros), "price.currency");
}

/// A meter of a price that draws on an entitlement.
fn linked(meter: &str, entitlement: &str, units: &str, free: u64) -> Value {
    json!({
        "meter_id": meter, "credit_entitlement_id": entitlement, "meter_units_per_credit": units,
        "free_threshold": free,
    })
}

/// A usage-based price of 1.00 with these meters.
fn metered(meters: &Value) -> Value {
    with(&price(USAGE, "USD"), &json!({ "meters": meters }))
}

#[test]
fn a_meter_draws_on_credits_that_its_own_product_hands_out() {
    let shop = Shop::open();
    let mut client = shop.client();
    let (calls, tokens) = (make_count(&mut client, "call"), make_count(&mut client, "token"));
    let [own, other] = [(); 2].map(|()| shop.made(&json!({})));
    let meters = json!([
        linked(&calls, &own, "0.50", 3),
        { "meter_id": tokens, "price_per_unit": "2" },
    ]);
    let product = |meters: &Value, credits: &Value| {
        json!({
            "name": "Plan", "tax_category": "saas", "price": metered(meters),
            "credit_entitlements": credits,
        })
    };
    let link = "price.meters.0.credit_entitlement_id";
    for credits in [json!([]), json!([attach(&other, "10")])] {
        refuses(&client.post("/products", &product(&meters, &credits)), link);
    }
    let nowhere = json!([linked(&calls, "cde_nowhere", "1", 0)]);
    refuses(&client.post("/products", &product(&nowhere, &json!([attach(&own, "1")]))), link);
    let made = client.post("/products", &product(&meters, &json!([attach(&own, "10")])));
    assert_eq!(made.status, 200, "{made:?}");
    let made = made.json();
    let priced = json!({
        "description": null, "measurement_unit": "units", "free_threshold": 3,
        "meter_id": calls, "name": made["price"]["meters"][0]["name"], "price_per_unit": null,
        "credit_entitlement_id": own, "meter_units_per_credit": "0.5",
    });
    assert_eq!(made["price"]["meters"][0], priced);
    assert_eq!(made["price"]["meters"][1]["credit_entitlement_id"], Value::Null);
    let id = text(&made["product_id"]);
    // Neither side can leave the other.
    for credits in [json!([]), json!([attach(&other, "10")])] {
        refuses(
            &shop.patch_product(&id, &json!({ "credit_entitlements": credits })),
            "credit_entitlements",
        );
    }
    let moved = metered(&json!([linked(&calls, &other, "1", 0)]));
    refuses(&shop.patch_product(&id, &json!({ "price": moved })), link);
    assert_eq!(shop.product_of(&id), made);
    let both = json!({ "price": moved, "credit_entitlements": [attach(&other, "7")] });
    assert_eq!(shop.patch_product(&id, &both).status, 200);
    assert_eq!(shop.credits(&id).1, 2);
}

#[test]
fn what_is_paid_in_credits_stands_on_the_invoice_and_costs_no_money() {
    let shop = Shop::open();
    let mut client = shop.client();
    let (calls, tokens) = (make_count(&mut client, "call"), make_count(&mut client, "token"));
    let own = shop.made(&json!({}));
    let meters = json!([
        linked(&calls, &own, "0.5", 3),
        { "meter_id": tokens, "price_per_unit": "2" },
    ]);
    let product = json!({
        "name": "Plan", "tax_category": "saas", "price": metered(&meters),
        "credit_entitlements": [attach(&own, "10")],
    });
    let product = client.post("/products", &product).json();
    let id = shop.subscribed(&text(&product["product_id"]), &json!({}));
    let named = |name: &str, count: usize| {
        (0..count)
            .map(|n| event(&format!("{name}-{n}"), "acme", name, &Value::Null))
            .collect::<Vec<_>>()
    };
    let events: Vec<Value> = [named("call", 5), named("token", 4)].concat();
    assert_eq!(client.ingest(&events).status, 200);
    let history = client.get(&format!("/subscriptions/{id}/usage-history")).json();
    let meter = &history["items"][0]["meters"][0];
    let shown = json!([
        meter["consumed_units"],
        meter["chargeable_units"],
        meter["price_per_unit"],
        meter["total_price"]
    ]);
    assert_eq!(shown, json!(["5", "2", "0", 0]));
    let moved = client.post("/clock/advance", &json!({ "to": "2026-03-03T00:00:00Z" }));
    assert_eq!(moved.status, 200, "{moved:?}");
    let invoices = client.get(&format!("/invoices?subscription_id={id}")).json();
    let invoice = &invoices["items"][0];
    assert_eq!(invoice["total"], 108, "{invoice}");
    let line = &invoice["lines"][1];
    let expected = json!({
        "meter_id": calls, "consumed_units": "5", "free_threshold": 3, "chargeable_units": "2",
        "price_per_unit": "0", "amount": 0, "credit_entitlement_id": own,
        "meter_units_per_credit": "0.5",
    });
    assert_eq!(&with(line, &expected), line);
    assert_eq!(invoice["lines"][2]["credit_entitlement_id"], Value::Null);
    let payments = client.get(&format!("/payments?subscription_id={id}")).json();
    let payment = text(&payments["items"][0]["payment_id"]);
    let page = client.get(&format!("/invoices/payments/{payment}"));
    assert!(page.text().contains("one credit covers 0.5"), "{page:?}");
}

/// Without what the customer has of them: the settings of a subscription's credits.
fn settings_of(cart: &Value) -> Value {
    let mut items = cart.as_array().unwrap().clone();
    for item in &mut items {
        for name in ["remaining_balance", "overage_balance"] {
            assert!(item.as_object_mut().unwrap().remove(name).unwrap().is_string(), "{name}");
        }
    }
    Value::Array(items)
}

impl Shop {
    /// Subscribes a customer to a product, with these members beside what is needed.
    fn subscribe(&self, product: &str, more: &Value) -> Answer {
        let customer = json!({ "email": "a@b.example", "name": "Acme", "customer_id": "acme" });
        let made = self.client().post("/customers", &customer);
        assert!([200, 409].contains(&made.status), "{made:?}");
        let subscription = json!({
            "product_id": product, "quantity": 1, "customer": { "customer_id": "acme" },
            "billing": { "country": "US" },
        });
        self.client().post("/subscriptions", &with(&subscription, more))
    }

    fn subscribed(&self, product: &str, more: &Value) -> String {
        let answer = self.subscribe(product, more);
        assert_eq!(answer.status, 200, "{answer:?}");
        text(&answer.json()["subscription_id"])
    }

    fn subscription(&self, id: &str) -> Value {
        let answer = self.client().get(&format!("/subscriptions/{id}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The settings of a subscription's credits.
    fn cart(&self, id: &str) -> Value {
        settings_of(&self.subscription(id)["credit_entitlement_cart"])
    }
}

/// What a subscription shows of an entitlement of which nothing was said.
fn plain_cart(entitlement: &str, product: &str, amount: &str) -> Value {
    json!({
        "credit_entitlement_id": entitlement, "credit_entitlement_name": "Tokens",
        "product_id": product, "unit": "token", "credits_amount": amount,
        "overage_enabled": false, "overage_limit": null, "overage_behavior": "forgive_at_reset",
        "rollover_enabled": false, "rollover_percentage": null, "rollover_timeframe_count": null,
        "rollover_timeframe_interval": null, "max_rollover_count": null,
        "expires_after_days": null, "low_balance_threshold_percent": null,
    })
}

#[test]
fn a_subscription_keeps_the_credits_that_were_agreed_on() {
    let shop = Shop::open();
    let calls = make_count(&mut shop.client(), "call");
    let [one, two] = [(); 2].map(|()| shop.made(&json!({})));
    let product = shop.client().post("/products", &json!({
        "name": "Plan", "tax_category": "saas", "price": metered(&json!([linked(&calls, &one, "5", 0)])),
        "credit_entitlements": [attach(&one, "10"), attach(&two, "20")],
    }));
    let product = text(&product.json()["product_id"]);
    let plain = shop.subscribed(&product, &json!({}));
    let own = json!({
        "credits_amount": "12.5", "overage_limit": "3.25", "rollover_enabled": true,
        "rollover_percentage": 50, "rollover_timeframe_count": 2,
        "rollover_timeframe_interval": "Day", "max_rollover_count": 4, "expires_after_days": 9,
        "low_balance_threshold_percent": 15,
    });
    let cart = json!({
        "credit_entitlement_cart": [with(&own, &json!({ "credit_entitlement_id": two }))],
    });
    let agreed = shop.subscribed(&product, &cart);
    // The product goes its own way.
    let later = json!({ "credit_entitlements": [attach(&one, "99")] });
    assert_eq!(shop.patch_product(&product, &later).status, 200);
    let shop = shop.killed();
    let [first, second] =
        [(&one, "10"), (&two, "20")].map(|(id, amount)| plain_cart(id, &product, amount));
    assert_eq!(shop.cart(&plain), json!([first, second]));
    assert_eq!(shop.cart(&agreed), json!([first, with(&second, &own)]));
    let shown = shop.subscription(&agreed);
    let meter = json!({
        "credit_entitlement_id": one, "meter_id": calls, "meter_units_per_credit": "5",
        "meter_name": shown["meters"][0]["name"], "product_id": product,
    });
    assert_eq!(shown["meter_credit_entitlement_cart"], json!([meter]));
    assert_eq!(shown["meters"][0]["price_per_unit"], Value::Null);
    // A change is for this subscription alone, and keeps what it does not name.
    let patch = json!({ "credit_entitlement_cart": [
        { "credit_entitlement_id": two, "credits_amount": "7", "overage_limit": null },
    ] });
    let route = format!("/subscriptions/{agreed}");
    let answer = shop.client().patch(&route, &patch);
    assert_eq!(answer.status, 200, "{answer:?}");
    let changed = with(&with(&second, &own), &json!({ "credits_amount": "7" }));
    assert_eq!(shop.cart(&agreed), json!([first, changed]));
    assert_eq!(shop.cart(&plain), json!([first, second]));
    // Another plan has its own.
    let change = json!({
        "product_id": product, "quantity": 1, "proration_billing_mode": "do_not_bill",
    });
    let answer = shop.client().post(&format!("{route}/change-plan"), &change);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(shop.cart(&agreed), json!([plain_cart(&one, &product, "99")]));
    let scheduled = with(&change, &json!({ "effective_at": "next_billing_date" }));
    let route = format!("/subscriptions/{plain}/change-plan");
    assert_eq!(shop.client().post(&route, &scheduled).status, 200);
    // What is scheduled stays as it was asked for.
    let later = json!({ "credit_entitlements": [attach(&one, "1")] });
    assert_eq!(shop.patch_product(&product, &later).status, 200);
    assert_eq!(shop.cart(&plain), json!([first, second]));
    let to = json!({ "to": "2026-03-03T00:00:00Z" });
    assert_eq!(shop.client().post("/clock/advance", &to).status, 200);
    assert_eq!(shop.cart(&plain), json!([plain_cart(&one, &product, "99")]));
}

#[test]
fn credits_that_a_subscription_cannot_have_are_refused_by_their_field() {
    let shop = Shop::open();
    let [own, other] = [(); 2].map(|()| shop.made(&json!({})));
    let product = shop.sold(RECURRING, &json!([attach(&own, "10")]));
    let id = shop.subscribed(&product, &json!({}));
    let before = shop.subscription(&id);
    let check = |cart: Value, field: &str| {
        let field = format!("credit_entitlement_cart{field}");
        let body = json!({ "credit_entitlement_cart": cart });
        refuses(&shop.subscribe(&product, &body), &field);
        refuses(&shop.client().patch(&format!("/subscriptions/{id}"), &body), &field);
    };
    for (field, value) in [
        ("credits_amount", json!("0")),
        ("credits_amount", json!("-1")),
        ("credits_amount", json!("0.001")),
        ("credits_amount", json!("10000000000")),
        ("credits_amount", json!(5)),
        ("overage_limit", json!("-1")),
        ("overage_limit", json!("0.001")),
        ("low_balance_threshold_percent", json!(101)),
        ("rollover_percentage", json!(101)),
        ("max_rollover_count", json!(-1)),
        ("expires_after_days", json!(0)),
    ] {
        let item = json!({ "credit_entitlement_id": own, field: value });
        check(json!([item]), &format!(".0.{field}"));
    }
    let overage = json!({ "credit_entitlement_id": own, "overage_enabled": true });
    check(json!([overage]), ".0.price_per_unit");
    // Overage in another currency stays off.
    let euros = json!({ "price_per_unit": "1", "currency": "EUR" });
    let off = shop.sold(RECURRING, &json!([attach(&shop.made(&euros), "1")]));
    let in_euros = text(&shop.credits(&off).0[0]["credit_entitlement_id"]);
    let on = json!({ "credit_entitlement_cart": [
        { "credit_entitlement_id": in_euros, "overage_enabled": true },
    ] });
    refuses(&shop.subscribe(&off, &on), "credit_entitlement_cart.0.overage_enabled");
    let plain = shop.subscribed(&off, &json!({}));
    let answer = shop.client().patch(&format!("/subscriptions/{plain}"), &on);
    refuses(&answer, "credit_entitlement_cart.0.overage_enabled");
    let half = json!({ "credit_entitlement_id": own, "rollover_timeframe_count": 1 });
    check(json!([half]), ".0.rollover_timeframe_interval");
    for id in [other.as_str(), "cde_nowhere"] {
        check(json!([attach(&own, "1"), attach(id, "1")]), ".1.credit_entitlement_id");
    }
    check(json!([attach(&own, "1"), attach(&own, "2")]), ".1.credit_entitlement_id");
    check(json!([{ "credits_amount": "1" }]), ".0.credit_entitlement_id");
    check(json!(vec![attach(&own, "1"); 6]), "");
    assert_eq!(shop.subscription(&id), before);
}

#[test]
fn an_order_may_hand_out_other_amounts_of_a_products_credits() {
    let shop = Shop::open();
    let [own, other] = [(); 2].map(|()| shop.made(&json!({})));
    let plan = shop.sold(RECURRING, &json!([attach(&own, "10"), attach(&other, "5")]));
    let pack = shop.sold(ONCE, &json!([attach(&own, "100")]));
    let order = |plan_credits: Value, pack_credits: Value| {
        json!({
            "product_cart": [
                { "product_id": plan, "quantity": 1, "credit_entitlements": plan_credits },
                { "product_id": pack, "quantity": 2, "credit_entitlements": pack_credits },
            ],
            "customer": { "email": "a@b.example", "name": "A" }, "billing_address": { "country": "US" },
            "confirm": true,
        })
    };
    let refused = |plan_credits: Value, pack_credits: Value, field: &str| {
        let answer = shop.client().post("/checkouts", &order(plan_credits, pack_credits));
        refuses(&answer, &format!("product_cart.{field}"));
    };
    let none = || json!(null);
    let missing = json!([{ "credit_entitlement_id": own }]);
    refused(missing, none(), "0.credit_entitlements.0.credits_amount");
    refused(json!([attach(&own, "0")]), none(), "0.credit_entitlements.0.credits_amount");
    refused(json!([attach(&own, "1.001")]), none(), "0.credit_entitlements.0.credits_amount");
    let alien = json!([attach(&other, "1")]);
    refused(none(), alien, "1.credit_entitlements.0.credit_entitlement_id");
    let twice = json!([attach(&own, "1"), attach(&own, "1")]);
    refused(none(), twice, "1.credit_entitlements.1.credit_entitlement_id");
    let fine = order(json!([attach(&other, "6.5")]), json!([attach(&own, "70")]));
    let session = shop.client().post("/checkouts", &fine);
    assert_eq!(session.status, 200, "{session:?}");
    let all = shop.client().get("/subscriptions").json();
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "what was refused made nothing");
    let id = text(&all["items"][0]["subscription_id"]);
    let expected = json!([plain_cart(&own, &plan, "10"), plain_cart(&other, &plan, "6.5")]);
    assert_eq!(shop.cart(&id), expected);
    let shop = shop.killed();
    assert_eq!(shop.cart(&id), expected);
}
