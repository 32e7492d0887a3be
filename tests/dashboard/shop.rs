//! A shop with prices of every kind, and how its pages are asked.

use serde_json::{Value, json};

use crate::common::daemon::{Daemon, Launch};
use crate::common::{make_count, make_meter};
use crate::viewer::{OWN_PAGE, Viewer};

/// A daemon under a test clock.
pub(crate) fn shop() -> (tempfile::TempDir, Daemon) {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).at("2026-11-01T00:00:00Z").start();
    (directory, daemon)
}

/// What the API answers to a change that is made.
pub(crate) fn post(daemon: &Daemon, path: &str, body: &Value) -> Value {
    let answer = daemon.client().post(path, body);
    assert_eq!(answer.status / 100, 2, "{path} {body}: {answer:?}");
    answer.json()
}

/// A text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

/// A price of 49.00 each month with these members in addition.
pub(crate) fn monthly(more: &Value) -> Value {
    let mut price = json!({ "type": "usage_based_price", "currency": "USD", "fixed_price": 4900,
        "payment_frequency_count": 1, "payment_frequency_interval": "Month",
        "subscription_period_count": 10, "subscription_period_interval": "Year" });
    for (name, value) in more.as_object().unwrap() {
        price[name] = value.clone();
    }
    price
}

/// A product's id.
pub(crate) fn product(daemon: &Daemon, name: &str, price: &Value, credits: &Value) -> String {
    let product = json!({ "name": name, "tax_category": "saas", "price": price,
        "credit_entitlements": credits });
    text(&post(daemon, "/products", &product)["product_id"])
}

/// A subscription's id.
pub(crate) fn subscribe(daemon: &Daemon, customer: &str, product: &str) -> String {
    let wanted = json!({ "customer": { "customer_id": customer }, "product_id": product,
        "quantity": 1, "billing": { "country": "PE" } });
    text(&post(daemon, "/subscriptions", &wanted)["subscription_id"])
}

/// Makes a customer.
pub(crate) fn customer(daemon: &Daemon, id: &str) {
    post(
        daemon,
        "/customers",
        &json!({ "customer_id": id, "name": "Ada", "email": "a@b.example" }),
    );
}

/// Moves the test clock.
pub(crate) fn advance(daemon: &Daemon, to: &str) {
    post(daemon, "/clock/advance", &json!({ "to": to }));
}

/// As a part of an address.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02X}"))
}

/// What a form's part shows that follows the typing.
pub(crate) fn typed(viewer: &mut Viewer, path: &str, form: &Value) -> String {
    let token = viewer.token();
    let headers = [
        OWN_PAGE,
        ("x-quipu-token", token.as_str()),
        ("hx-request", "true"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let body = format!("json={}", encoded(&form.to_string()));
    let answer = viewer.post_form(path, &headers, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text()
}

/// The figure of a worked total, such as `64.00 USD`.
pub(crate) fn figure(part: &str) -> String {
    let behind = part.split_once("class=\"figure\">").unwrap_or_else(|| panic!("{part}")).1;
    behind.split('<').next().unwrap().to_owned()
}

/// The lines of an exported table.
pub(crate) fn csv(viewer: &mut Viewer, path: &str) -> Vec<String> {
    let answer = viewer.get(path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"), "{path}");
    answer.text().lines().map(str::to_owned).collect()
}

/// The newest invoice of a customer.
pub(crate) fn newest(daemon: &Daemon, customer: &str) -> Value {
    let path = format!("/invoices?customer_id={}&page_size=1", encoded(customer));
    daemon.client().get(&path).json()["items"][0].clone()
}

/// Prices of every kind, and what is used under them of a sum, a count and a largest value.
pub(crate) struct Rates {
    pub(crate) meters: [String; 3],
    entitlement: String,
}

impl Rates {
    pub(crate) fn make(daemon: &Daemon) -> Self {
        let client = &mut daemon.client();
        let sum = make_meter(client, "tokens", &json!({ "type": "sum", "key": "n" }), &json!(null));
        let seats =
            make_meter(client, "seats", &json!({ "type": "max", "key": "n" }), &json!(null));
        let entitlement = post(
            daemon,
            "/credit-entitlements",
            &json!({ "name": "Compute", "unit": "credits", "precision": 2, "currency": "USD",
                "overage_enabled": true, "overage_behavior": "invoice_at_billing",
                "price_per_unit": "3", "rollover_enabled": false }),
        );
        let entitlement = text(&entitlement["id"]);
        Self { meters: [sum, make_count(client, "call"), seats], entitlement }
    }

    pub(crate) fn all(&self) -> Vec<(Value, Value)> {
        let [sum, count, seats] = &self.meters;
        let tiers = json!([
            { "up_to": "100", "price_per_unit": "2" },
            { "up_to": "1000", "price_per_unit": "1.005", "flat_fee": 500 },
            { "up_to": null, "price_per_unit": "0.5" },
        ]);
        let credits = json!([{ "credit_entitlement_id": self.entitlement, "credits_amount": "5" }]);
        let linked = json!({ "meter_id": seats, "credit_entitlement_id": self.entitlement,
            "meter_units_per_credit": "10" });
        let one = |meter: Value| monthly(&json!({ "meters": [meter] }));
        vec![
            (
                one(json!({ "meter_id": sum, "price_per_unit": "0.0225", "free_threshold": 1000 })),
                json!([]),
            ),
            (
                one(json!({ "meter_id": count, "tier_mode": "graduated", "tiers": tiers })),
                json!([]),
            ),
            (one(json!({ "meter_id": count, "tier_mode": "volume", "tiers": tiers })), json!([])),
            (
                one(json!({ "meter_id": sum, "price_per_unit": "250", "package_size": 400,
                    "maximum_amount": 1500, "minimum_amount": 100 })),
                json!([]),
            ),
            (
                one(
                    json!({ "meter_id": seats, "price_per_unit": "333", "minimum_amount": 99_999 }),
                ),
                json!([]),
            ),
            (monthly(&json!({ "discount_bps": 1250, "meters": [linked] })), credits),
            (
                json!({ "type": "recurring_price", "currency": "JPY", "price": 1234,
                    "payment_frequency_count": 1, "payment_frequency_interval": "Month",
                    "subscription_period_count": 1, "subscription_period_interval": "Year" }),
                json!([]),
            ),
        ]
    }
}
