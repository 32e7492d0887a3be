//! Carts and checkout sessions as a client and a person see them, under a test clock.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, KEY, Launch};
use crate::common::{event, make_meter};

const START: &str = "2026-01-31T10:00:00Z";

struct Shop {
    directory: TempDir,
    launch: Launch,
    daemon: Daemon,
    meter: String,
}

impl Shop {
    fn open() -> Self {
        Self::open_with("")
    }

    /// With these settings in its file.
    fn open_with(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("quipu.toml");
        std::fs::write(&file, settings).unwrap();
        let launch = Launch::new(directory.path()).configured_by(file.to_str().unwrap()).at(START);
        let daemon = launch.start();
        let sum = json!({ "type": "sum", "key": "tokens" });
        let meter = make_meter(&mut daemon.client(), "llm", &sum, &Value::Null);
        Self { directory, launch, daemon, meter }
    }

    /// The same shop after `kill -9`.
    fn killed(self) -> Self {
        let Self { directory, launch, daemon, meter } = self;
        daemon.kill();
        let daemon = launch.start();
        Self { directory, launch, daemon, meter }
    }

    fn product(&self, name: &str, price: &Value) -> String {
        let product = json!({ "name": name, "tax_category": "saas", "price": price });
        text(&done(&self.daemon.client().post("/products", &product))["product_id"])
    }

    /// Sold once at `price`.
    fn book(&self, price: i64) -> String {
        self.product("Book", &once(price, "USD"))
    }

    /// Paid each month in advance, with a meter at half a cent.
    fn plan(&self, fixed: i64) -> String {
        let price = json!({
            "type": "usage_based_price", "currency": "USD", "fixed_price": fixed,
            "payment_frequency_count": 1, "payment_frequency_interval": "Month",
            "subscription_period_count": 10, "subscription_period_interval": "Year",
            "meters": [{
                "meter_id": self.meter, "price_per_unit": "0.5", "free_threshold": 10_000,
            }],
        });
        self.product("Plan", &price)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.daemon.client().post(path, body)
    }

    fn get(&self, path: &str) -> Value {
        done(&self.daemon.client().get(path))
    }

    fn items(&self, path: &str) -> Vec<Value> {
        self.get(path)["items"].as_array().unwrap().clone()
    }

    fn advance(&self, to: &str) {
        done(&self.post("/clock/advance", &json!({ "to": to })));
    }

    /// A confirmed order of these products by a new customer, with `more` members.
    fn order(&self, cart: &Value, more: &Value) -> Answer {
        let mut body = json!({
            "product_cart": cart, "confirm": true,
            "customer": { "email": "ada@shop.example", "name": "Ada" },
            "billing_address": { "country": "PE" },
        });
        merge(&mut body, more);
        self.post("/checkouts", &body)
    }

    /// The session of these products, with `more` members.
    fn session(&self, cart: &Value, more: &Value) -> (String, String) {
        let mut body = json!({ "product_cart": cart });
        merge(&mut body, more);
        let made = done(&self.post("/checkouts", &body));
        let url = text(&made["checkout_url"]);
        let path = url.strip_prefix(&format!("http://{}", self.daemon.address)).unwrap();
        (text(&made["session_id"]), path.to_owned())
    }

    /// A person's browser: no key.
    fn open_page(&self, path: &str) -> Answer {
        Client::new(self.daemon.address, None).get(path)
    }

    fn submit(&self, path: &str, form: &str) -> Answer {
        submit(self.daemon.address, path, form)
    }
}

/// A person presses the button.
fn submit(address: SocketAddr, path: &str, form: &str) -> Answer {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len(),
    );
    Client::new(address, None).exchange(request.as_bytes()).unwrap()
}

fn once(price: i64, currency: &str) -> Value {
    json!({ "type": "one_time_price", "currency": currency, "price": price })
}

fn merge(body: &mut Value, more: &Value) {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
}

fn done(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

fn item(product: &str, quantity: i64) -> Value {
    json!({ "product_id": product, "quantity": quantity })
}

#[test]
fn a_cart_is_one_payment_with_one_line_a_product() {
    let shop = Shop::open();
    let half_off = json!({
        "type": "one_time_price", "currency": "USD", "price": 333, "discount_bps": 5_000,
    });
    let (book, map) = (shop.book(1_000), shop.product("Map", &half_off));
    let made = done(&shop.order(
        &json!([item(&book, 2), item(&map, 3)]),
        &json!({
            "metadata": { "channel": "web" }, "tax_id": "T-1", "customer_business_name": "Inca Ltd",
            "billing_currency": "USD",
        }),
    ));
    assert_eq!(made["checkout_url"], Value::Null);
    assert_eq!(made["client_secret"], Value::Null);
    assert_eq!(made["publishable_key"], Value::Null);
    let payment = shop.get(&format!("/payments/{}", text(&made["payment_id"])));
    // 3 x 333 at half the price is 499.5, rounded once.
    assert_eq!(payment["total_amount"], 2_500);
    assert_eq!(payment["status"], "succeeded");
    assert_eq!(payment["subscription_id"], Value::Null);
    assert_eq!(payment["subscription_ids"], json!([]));
    assert_eq!(payment["is_multi_subscription"], false);
    assert_eq!(payment["charge_type"], Value::Null);
    assert_eq!(payment["service_periods"], json!([]));
    assert_eq!(payment["product_cart"], json!([item(&book, 2), item(&map, 3)]));
    assert_eq!(payment["metadata"], json!({ "channel": "web" }));
    assert_eq!(payment["checkout_session_id"], made["session_id"]);
    assert_eq!(payment["customer"]["email"], "ada@shop.example");
    for product in [&book, &map] {
        assert_eq!(shop.items(&format!("/payments?product_id={product}")).len(), 1);
    }
    let invoices = shop.items("/invoices");
    assert_eq!(invoices.len(), 1);
    let invoice = &invoices[0];
    assert_eq!(invoice["id"], payment["invoice_id"]);
    assert_eq!((&invoice["subscription_id"], &invoice["period"]), (&Value::Null, &Value::Null));
    let lines: Vec<_> = invoice["lines"].as_array().unwrap().iter().collect();
    let of = |name: &str| lines.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("amount"), [2_000, 500]);
    assert_eq!(of("product_id"), [book.as_str(), map.as_str()]);
    assert_eq!(of("description"), ["Book x 2", "Map x 3"]);
    let status = shop.get(&format!("/checkouts/{}", text(&made["session_id"])));
    let expected = json!({
        "id": made["session_id"], "created_at": START, "customer_email": "ada@shop.example",
        "customer_name": "Ada", "payment_id": made["payment_id"], "payment_status": "succeeded",
    });
    assert_eq!(status, expected);
    let page = shop.get_page(&text(&made["payment_id"]));
    assert!(page.contains("Inca Ltd") && page.contains("Tax ID T-1") && page.contains("50 % off"));
}

impl Shop {
    /// The invoice of a payment as a page.
    fn get_page(&self, payment: &str) -> String {
        let answer = self.daemon.client().get(&format!("/invoices/payments/{payment}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }
}

#[test]
fn one_time_products_stand_on_the_first_payment_of_a_subscription() {
    let shop = Shop::open();
    let (plan, book) = (shop.plan(4_900), shop.book(1_000));
    let made = done(&shop.order(&json!([item(&book, 2), item(&plan, 3)]), &json!({})));
    let payment = shop.get(&format!("/payments/{}", text(&made["payment_id"])));
    assert_eq!(payment["total_amount"], 3 * 4_900 + 2 * 1_000);
    assert_eq!(payment["charge_type"], "new");
    assert_eq!(payment["product_cart"], json!([item(&plan, 3), item(&book, 2)]));
    let subscription = shop.get(&format!("/subscriptions/{}", text(&payment["subscription_id"])));
    assert_eq!((&subscription["status"], &subscription["quantity"]), (&json!("active"), &json!(3)));
    let of_book = format!("/payments?product_id={book}");
    assert_eq!(shop.items(&of_book).len(), 1);

    // The same as `POST /subscriptions`, in whose trial nothing else is paid.
    let direct = done(&shop.post(
        "/subscriptions",
        &json!({
            "product_id": plan, "quantity": 1, "trial_period_days": 14,
            "customer": { "email": "ada@shop.example" }, "billing": { "country": "PE" },
            "one_time_product_cart": [item(&book, 1)],
        }),
    ));
    assert_eq!(direct["one_time_product_cart"], json!([item(&book, 1)]));
    let payment = shop.get(&format!("/payments/{}", text(&direct["payment_id"])));
    assert_eq!(payment["total_amount"], 1_000);
    assert_eq!(payment["checkout_session_id"], Value::Null);
    assert_eq!(shop.items(&of_book).len(), 2);
    let without = done(&shop.post(
        "/subscriptions",
        &json!({
            "product_id": plan, "quantity": 1, "one_time_product_cart": [],
            "customer": { "email": "ada@shop.example" }, "billing": { "country": "PE" },
        }),
    ));
    assert_eq!(without["one_time_product_cart"], Value::Null);

    // A renewal bills the plan alone.
    shop.advance("2026-02-28T12:00:00Z");
    let renewals: Vec<_> = shop
        .items("/payments?page_size=100&page_number=0")
        .into_iter()
        .filter(|payment| payment["charge_type"] == "renewal")
        .map(|payment| payment["total_amount"].clone())
        .collect();
    assert_eq!(shop.items(&of_book).len(), 2);
    assert!(renewals.contains(&json!(3 * 4_900)), "{renewals:?}");
}

/// Nothing was bought, and nobody was made a customer.
fn check_nothing_changed(shop: &Shop) {
    for list in ["/payments", "/invoices", "/customers", "/subscriptions"] {
        assert_eq!(shop.items(list), [] as [Value; 0], "{list}");
    }
}

fn archived(shop: &Shop) -> String {
    let gone = shop.book(1);
    assert_eq!(shop.daemon.client().delete(&format!("/products/{gone}")).status, 200);
    gone
}

fn too_many() -> Vec<Value> {
    (0..21).map(|n| item(&format!("pdt_{n}"), 1)).collect()
}

#[test]
fn a_bad_cart_is_refused_by_its_field_and_changes_nothing() {
    let shop = Shop::open();
    let (book, other, plan, second) =
        (shop.book(1_000), shop.book(2_000), shop.plan(1), shop.plan(2));
    let (euro, gone) = (shop.product("Euro", &once(5, "EUR")), archived(&shop));
    let most = shop.book(i64::MAX);
    let with = |name: &str, value: Value| {
        let mut item = item(&book, 1);
        item[name] = value;
        json!([item])
    };
    for (cart, field) in [
        (Value::Null, ""),
        (json!([]), ""),
        (json!(too_many()), ""),
        (json!([{ "quantity": 1 }]), ".0.product_id"),
        (json!([{ "product_id": book }]), ".0.quantity"),
        (json!([item(&book, 0)]), ".0.quantity"),
        (json!([item(&book, 1_000_000_001)]), ".0.quantity"),
        (json!([item(&plan, 0)]), ".0.quantity"),
        (json!([item(&book, 1), item(&book, 2)]), ".1.product_id"),
        (json!([item(&plan, 1), item(&second, 1)]), ".1.product_id"),
        (json!([item(&book, 1), item(&euro, 1)]), ".1.product_id"),
        (json!([item(&book, 1), item(&gone, 1)]), ".1.product_id"),
        (json!([item(&most, 2)]), ""),
        (json!([item(&most, 1), item(&other, 1)]), ""),
        (json!([item(&plan, 1), item(&most, 1)]), ""),
        (with("amount", json!(500)), ".0.amount"),
        (with("addons", json!([{ "addon_id": "a", "quantity": 1 }])), ".0.addons"),
        (
            with("credit_entitlements", json!([{ "credit_entitlement_id": "c" }])),
            ".0.credit_entitlements",
        ),
    ] {
        for confirm in [true, false] {
            let answer = shop.order(&cart, &json!({ "confirm": confirm }));
            assert_eq!(answer.status, 422, "{cart} {answer:?}");
            assert_eq!(answer.json()["field"], format!("product_cart{field}"), "{cart}");
        }
    }
    let unknown = shop.order(&json!([item("pdt_nothing", 1)]), &json!({}));
    assert_eq!(unknown.error().0, 404);
    check_nothing_changed(&shop);
}

#[test]
fn a_bad_order_is_refused_by_its_field_and_changes_nothing() {
    let shop = Shop::open();
    let book = shop.book(1_000);
    let trial = |days: i64| json!({ "subscription_data": { "trial_period_days": days } });
    let address = |name: &str, value: Value| {
        let mut address = json!({ "country": "PE" });
        address[name] = value;
        json!({ "billing_address": address })
    };
    for (more, field) in [
        (json!({ "customer": null }), "customer"),
        (json!({ "customer": {} }), "customer.email"),
        (json!({ "customer": { "email": "ada" } }), "customer.email"),
        (json!({ "billing_address": null }), "billing_address"),
        (address("country", Value::Null), "billing_address.country"),
        (address("country", json!("XX")), "billing_address.country"),
        (address("city", json!("a\nb")), "billing_address.city"),
        (json!({ "billing_currency": "EUR" }), "billing_currency"),
        (json!({ "billing_currency": "XXX" }), "billing_currency"),
        (json!({ "confirm": "yes" }), "confirm"),
        (json!({ "return_url": "javascript:alert(1)" }), "return_url"),
        (json!({ "return_url": "/done" }), "return_url"),
        (json!({ "cancel_url": "data:text/html,x" }), "cancel_url"),
        (json!({ "tax_id": "a\nb" }), "tax_id"),
        (json!({ "customer_business_name": "a\nb" }), "customer_business_name"),
        (json!({ "metadata": { "a": [1] } }), "metadata.a"),
        (trial(7), "subscription_data.trial_period_days"),
        (trial(-1), "subscription_data.trial_period_days"),
        (
            json!({ "subscription_data": { "on_demand": { "mandate_only": true } } }),
            "subscription_data.on_demand",
        ),
        (json!({ "discount_code": "HALF" }), "discount_code"),
        (json!({ "discount_codes": ["HALF"] }), "discount_codes"),
        (json!({ "payment_method_id": "pm_1" }), "payment_method_id"),
        (json!({ "product_collection_id": "col_1" }), "product_collection_id"),
        (json!({ "custom_fields": [{ "key": "a" }] }), "custom_fields"),
        (json!({ "mandate_min_amount_inr_paise": 1 }), "mandate_min_amount_inr_paise"),
    ] {
        let answer = shop.order(&json!([item(&book, 1)]), &more);
        assert_eq!(answer.status, 422, "{more} {answer:?}");
        assert_eq!(answer.json()["field"], field, "{more}");
    }
    let nobody = json!({ "customer": { "customer_id": "nobody" } });
    assert_eq!(shop.order(&json!([item(&book, 1)]), &nobody).error().0, 404);
    check_nothing_changed(&shop);
}

#[test]
fn what_cannot_stand_beside_a_subscription_is_refused_by_its_field() {
    let shop = Shop::open();
    let (book, plan, second) = (shop.book(1_000), shop.plan(1), shop.plan(2));
    let (euro, gone) = (shop.product("Euro", &once(5, "EUR")), archived(&shop));
    let subscribe = |once: &Value| {
        let body = json!({
            "product_id": plan, "quantity": 1, "one_time_product_cart": once,
            "customer": { "email": "ada@shop.example" }, "billing": { "country": "PE" },
        });
        shop.post("/subscriptions", &body)
    };
    for (cart, field) in [
        (json!([item(&second, 1)]), ".0.product_id"),
        (json!([item(&euro, 1)]), ".0.product_id"),
        (json!([item(&book, 1), item(&gone, 1)]), ".1.product_id"),
        (json!([item(&book, 1), item(&book, 1)]), ".1.product_id"),
        (json!([item(&book, 0)]), ".0.quantity"),
        (json!([{ "product_id": book, "quantity": 1, "amount": 5 }]), ".0.amount"),
        (json!(too_many()), ""),
    ] {
        let answer = subscribe(&cart);
        assert_eq!(answer.status, 422, "{cart} {answer:?}");
        assert_eq!(answer.json()["field"], format!("one_time_product_cart{field}"), "{cart}");
    }
    assert_eq!(subscribe(&json!([item("pdt_nothing", 1)])).error().0, 404);
    check_nothing_changed(&shop);
}

#[test]
fn what_only_changes_a_page_or_a_card_is_ignored() {
    let shop = Shop::open();
    let book = shop.book(1_000);
    let cosmetic = json!({
        "allowed_payment_method_types": ["credit", "debit"], "force_3ds": true, "short_link": true,
        "show_saved_payment_methods": true, "discount_codes": [], "custom_fields": [],
        "customization": { "theme": "dark", "show_order_details": true },
        "feature_flags": { "allow_discount_code": false, "redirect_immediately": true },
    });
    assert_eq!(shop.order(&json!([item(&book, 1)]), &cosmetic).status, 200);
}

#[test]
fn in_manual_collection_a_cart_waits_to_be_marked() {
    let shop = Shop::open_with("[billing]\ncollection = \"manual\"\n");
    let book = shop.book(1_000);
    let made = done(&shop.order(&json!([item(&book, 1)]), &json!({})));
    let (session, payment) = (text(&made["session_id"]), text(&made["payment_id"]));
    let status = || {
        let found = shop.get(&format!("/checkouts/{session}"));
        (text(&found["payment_id"]), text(&found["payment_status"]))
    };
    assert_eq!(status(), (payment.clone(), "processing".to_owned()));
    let mark = |payment: &str, word: &str| {
        shop.post(&format!("/payments/{payment}/mark"), &json!({ "status": word }))
    };
    let failed = done(&mark(&payment, "failed"));
    assert_eq!((&failed["status"], &failed["subscription_id"]), (&json!("failed"), &Value::Null));
    assert_eq!(mark(&payment, "succeeded").error().0, 409);
    assert_eq!(status().1, "failed");
    let retried = done(&shop.post(&format!("/payments/{payment}/retry"), &json!({})));
    let second = text(&retried["payment_id"]);
    assert_eq!(retried["status"], "processing");
    assert_eq!(status(), (second.clone(), "processing".to_owned()));
    assert_eq!(done(&mark(&second, "succeeded"))["status"], "succeeded");
    assert_eq!(status(), (second.clone(), "succeeded".to_owned()));
    let second = shop.get(&format!("/payments/{second}"));
    assert_eq!(second["retry_attempt"], 1);
    assert_eq!(second["checkout_session_id"], json!(session));
    assert_eq!(shop.items("/invoices").len(), 1);

    // A subscription waits with the products beside it.
    let plan = shop.plan(4_900);
    let made = done(&shop.order(&json!([item(&plan, 1), item(&book, 1)]), &json!({})));
    let payment = text(&made["payment_id"]);
    let subscription = text(&shop.get(&format!("/payments/{payment}"))["subscription_id"]);
    let of = |name: &str| shop.get(&format!("/subscriptions/{subscription}"))[name].clone();
    assert_eq!(of("status"), "pending");
    assert_eq!(done(&mark(&payment, "succeeded"))["total_amount"], 5_900);
    assert_eq!(of("status"), "active");

    // Nothing to pay is paid.
    let gift = shop.book(0);
    let made = done(&shop.order(&json!([item(&gift, 1)]), &json!({})));
    let found = shop.get(&format!("/checkouts/{}", text(&made["session_id"])));
    assert_eq!(found["payment_status"], "succeeded");
}

/// A plan in its trial with two books, for a person who comes from a shop: the session and its path.
fn trial_order(shop: &Shop) -> (String, String) {
    let (plan, book) = (shop.plan(4_900), shop.book(1_050));
    shop.session(&json!([item(&plan, 1), item(&book, 2)]), &json!({
        "return_url": "https://shop.example/done?cart=7#top", "cancel_url": "https://shop.example/",
        "subscription_data": { "trial_period_days": 14 }, "metadata": { "channel": "web" },
    }))
}

#[test]
fn the_page_shows_the_order_and_what_it_may_do() {
    let shop = Shop::open();
    let (session, path) = trial_order(&shop);
    let before = shop.get(&format!("/checkouts/{session}"));
    assert_eq!((&before["payment_id"], &before["customer_email"]), (&Value::Null, &Value::Null));
    let page = shop.open_page(&path);
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        page.header("content-security-policy"),
        Some(
            "default-src 'none'; style-src 'self'; form-action 'self' https://shop.example; \
             frame-ancestors 'none'; base-uri 'none'"
        )
    );
    let shown = page.text();
    for expected in [
        "free for 14 days",
        "Plan is free for 14 days, then 49.00 USD every month, for 10 years.",
        "What is used while it is free is billed at the end of that time.",
        "10.50 x 2",
        "21.00 USD",
        "the first 10000 of each period are free",
        "0.005 USD each",
        "name=\"email\"",
        "name=\"name\"",
        "name=\"country\"",
        "<option value=\"PE\">Peru</option>",
        "href=\"https://shop.example/\"",
        "2026-02-01 10:00 UTC",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    assert!(!shown.contains("<script") && !shown.contains("style="), "{shown}");
}

#[test]
fn a_person_confirms_on_the_page_and_is_sent_back() {
    let shop = Shop::open();
    let (_, path) = trial_order(&shop);
    let refused = shop.submit(&path, "email=nobody&name=&country=XX");
    assert_eq!(refused.status, 422);
    let shown = refused.text();
    for expected in [
        "This is no email address.",
        "This is needed.",
        "Choose a country of the list.",
        "value=\"nobody\"",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    assert_eq!(shop.items("/payments").len(), 0);

    let form =
        "email=ada%40shop.example&name=Ada+L.&country=PE&city=Cusco&zipcode=08000&street=&x=y";
    let sent = shop.submit(&path, form);
    assert_eq!(sent.status, 303, "{sent:?}");
    let payments = shop.items("/payments");
    assert_eq!(payments.len(), 1);
    let (payment, subscription) =
        (text(&payments[0]["payment_id"]), text(&payments[0]["subscription_id"]));
    let next = format!(
        "https://shop.example/done?cart=7&payment_id={payment}&subscription_id={subscription}\
         &status=succeeded#top"
    );
    assert_eq!(sent.header("location"), Some(next.as_str()));
    assert_eq!(sent.header("referrer-policy"), Some("no-referrer"));
    let again = shop.submit(&path, form);
    assert_eq!((again.status, again.header("location")), (303, Some(next.as_str())));
    assert_eq!(shop.items("/payments").len(), 1);
    let made = shop.get(&format!("/subscriptions/{subscription}"));
    assert_eq!(made["trial_period_days"], 14);
    assert_eq!(made["metadata"], json!({ "channel": "web" }));
    assert_eq!(made["customer"]["name"], "Ada L.");
    let address = json!({
        "country": "PE", "city": "Cusco", "state": null, "street": null, "zipcode": "08000",
    });
    assert_eq!(made["billing"], address);
    let receipt = shop.open_page(&path);
    assert_eq!(receipt.status, 200);
    let shown = receipt.text();
    let escaped = next.replace('&', "&#38;");
    for expected in ["It is paid.", &payment, &subscription, "21.00 USD", &escaped] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
}

#[test]
fn only_what_is_missing_is_asked() {
    let shop = Shop::open();
    let book = shop.book(1_000);
    let cart = json!([item(&book, 1)]);
    let asked = |path: &str| -> Vec<String> {
        let page = shop.open_page(path).text();
        let names = page.split(" name=\"").skip(1);
        names
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .filter(|name| name != "viewport" && name != "robots")
            .collect()
    };
    shop.post("/customers", &json!({ "customer_id": "c1", "name": "Ada", "email": "a@b" }));
    // An event makes a customer of whom nothing else is known.
    shop.daemon.client().ingest(&[event("e1", "c2", "llm", &json!({ "tokens": 1 }))]);
    let full = ["email", "name", "street", "city", "state", "zipcode", "country"];
    let (_, path) = shop.session(&cart, &json!({}));
    assert_eq!(asked(&path), full);
    let (_, path) = shop.session(&cart, &json!({ "minimal_address": true }));
    assert_eq!(asked(&path), ["email", "name", "zipcode", "country"]);
    let address = json!({ "country": "PE", "city": "Cusco" });
    let (_, path) = shop.session(&cart, &json!({ "billing_address": address }));
    assert_eq!(asked(&path), ["email", "name"]);
    assert!(shop.open_page(&path).text().contains("Cusco, Peru"));
    let known = |customer: Value| {
        let (_, path) =
            shop.session(&cart, &json!({ "billing_address": address, "customer": customer }));
        path
    };
    assert_eq!(asked(&known(json!({ "email": "x@y" }))), ["name"]);
    assert_eq!(asked(&known(json!({ "email": "x@y", "name": "X" }))), [] as [&str; 0]);
    assert_eq!(asked(&known(json!({ "customer_id": "c1" }))), [] as [&str; 0]);
    let path = known(json!({ "customer_id": "c2" }));
    assert_eq!(asked(&path), ["email", "name"]);

    // A customer that the client has named is completed, and never changed otherwise.
    assert_eq!(shop.submit(&path, "email=c%40d.example&name=Cy").status, 303);
    let completed = shop.get("/customers/c2");
    assert_eq!((&completed["name"], &completed["email"]), (&json!("Cy"), &json!("c@d.example")));
    let path = known(json!({ "customer_id": "c1" }));
    assert_eq!(shop.submit(&path, "email=evil%40d.example&name=Eve&country=US").status, 303);
    let kept = shop.get("/customers/c1");
    assert_eq!((&kept["name"], &kept["email"]), (&json!("Ada"), &json!("a@b")));
    assert_eq!(shop.items("/payments")[0]["customer"]["customer_id"], "c1");
    // One that was found by its address is neither.
    let (_, path) = shop.session(&cart, &json!({}));
    assert_eq!(shop.submit(&path, "email=A%40B&name=Eve&country=US").status, 303);
    assert_eq!(shop.get("/customers/c1")["name"], "Ada");
    assert_eq!(shop.items("/payments")[0]["customer"]["customer_id"], "c1");
}

#[test]
fn what_people_wrote_is_text_and_nothing_else() {
    let shop = Shop::open();
    let evil = "<script>alert('x')</script>\"><img src=x onerror=y>&";
    let book = shop.product(evil, &once(1_000, "USD"));
    let (_, path) = shop.session(
        &json!([item(&book, 1)]),
        &json!({
            "customer": { "email": "\"><script>@x", "name": evil }, "tax_id": evil,
            "customer_business_name": evil, "cancel_url": "https://shop.example/?a=1&b=2",
            "billing_address": { "country": "PE", "city": evil },
        }),
    );
    let harmless = |page: &str| {
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(page.contains("&#60;script&#62;"), "{page}");
    };
    harmless(&shop.open_page(&path).text());
    assert_eq!(shop.submit(&path, "").status, 303);
    harmless(&shop.open_page(&path).text());
    let (_, path) = shop.session(&json!([item(&book, 1)]), &json!({}));
    let refused = shop.submit(
        &path,
        "email=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&name=%3Cscript%3E%22onfocus%3Dx&country=%22%3E",
    );
    assert_eq!(refused.status, 422);
    harmless(&refused.text());
}

#[test]
fn a_session_ends_after_a_day_and_is_forgotten_after_a_month() {
    let shop = Shop::open();
    let book = shop.book(1_000);
    let cart = json!([item(&book, 1)]);
    let (open, path) = shop.session(&cart, &json!({ "customer": { "email": "a@b" } }));
    let bought = text(&done(&shop.order(&cart, &json!({})))["session_id"]);
    shop.advance("2026-02-01T09:59:59Z");
    assert_eq!(shop.open_page(&path).status, 200);
    assert_eq!(shop.get(&format!("/checkouts/{open}"))["customer_email"], "a@b");
    shop.advance("2026-02-01T10:00:00Z");
    let form = "email=a%40b&name=A&country=PE";
    for answer in [shop.open_page(&path), shop.submit(&path, form)] {
        assert_eq!(answer.status, 410, "{answer:?}");
        assert!(answer.text().contains("This order has ended"), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(shop.items("/payments").len(), 1);
    let ended = shop.get(&format!("/checkouts/{open}"));
    assert_eq!((&ended["customer_email"], &ended["payment_id"]), (&Value::Null, &Value::Null));
    shop.advance("2026-03-02T09:59:59Z");
    for session in [&open, &bought] {
        assert_eq!(shop.get(&format!("/checkouts/{session}"))["id"], json!(session));
    }
    shop.advance("2026-03-02T10:00:00Z");
    let mut client = shop.daemon.client();
    for session in [&open, &bought] {
        assert_eq!(client.get(&format!("/checkouts/{session}")).error().0, 404);
    }
    for answer in [shop.open_page(&path), shop.submit(&path, form)] {
        assert_eq!(answer.status, 404);
        assert!(answer.text().contains("There is no such order"), "{answer:?}");
    }
    // The payment stays.
    assert_eq!(shop.items("/payments")[0]["checkout_session_id"], json!(bought));
}

#[test]
fn a_session_survives_kill_9_and_is_confirmed_once() {
    let shop = Shop::open();
    let (book, plan) = (shop.book(1_000), shop.plan(4_900));
    let offer = json!({ "customer": { "email": "a@b", "name": "A" },
        "billing_address": { "country": "PE" } });
    let (_, first) = shop.session(&json!([item(&book, 1)]), &offer);
    let (_, second) = shop.session(&json!([item(&plan, 1)]), &offer);
    let sent = shop.submit(&first, "");
    let shop = shop.killed();
    assert_eq!(shop.submit(&first, "").header("location"), sent.header("location"));
    // Prices and products change; the session does not.
    let price = json!({ "price": once(9_999, "USD") });
    shop.daemon.client().patch(&format!("/products/{book}"), &price);
    assert!(shop.open_page(&second).text().contains("49.00 USD"));
    let address = shop.daemon.address;
    let answers: Vec<_> = std::thread::scope(|scope| {
        let submits: Vec<_> =
            (0..8).map(|_| scope.spawn(|| submit(address, &second, ""))).collect();
        submits.into_iter().map(|submit| submit.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!(answer.status, 303, "{answer:?}");
        assert_eq!(answer.header("location"), Some(second.as_str()));
    }
    assert_eq!(shop.items("/subscriptions").len(), 1);
    let shop = shop.killed();
    let totals: Vec<_> =
        shop.items("/payments").iter().map(|payment| payment["total_amount"].clone()).collect();
    assert_eq!(totals, [4_900, 1_000]);
    assert_eq!(shop.items("/invoices").len(), 2);
}

#[test]
fn an_archived_product_is_not_sold_and_old_prices_stay() {
    let shop = Shop::open();
    let book = shop.book(1_000);
    let offer = json!({ "customer": { "email": "a@b", "name": "A" },
        "billing_address": { "country": "PE" } });
    let (_, path) = shop.session(&json!([item(&book, 1)]), &offer);
    let price = json!({ "price": once(9_999, "USD") });
    assert_eq!(shop.daemon.client().patch(&format!("/products/{book}"), &price).status, 200);
    shop.daemon.client().delete(&format!("/products/{book}"));
    let refused = shop.submit(&path, "");
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("Book is not sold any more"), "{refused:?}");
    shop.post(&format!("/products/{book}/unarchive"), &json!({}));
    assert_eq!(shop.submit(&path, "").status, 303);
    assert_eq!(shop.items("/payments")[0]["total_amount"], 1_000);
}

#[test]
fn a_repeated_request_gets_the_first_answer() {
    let shop = Shop::open();
    let book = shop.book(1_000);
    for confirm in [true, false] {
        let body = json!({
            "product_cart": [item(&book, 1)], "confirm": confirm,
            "customer": { "email": "a@b", "name": "A" }, "billing_address": { "country": "PE" },
        })
        .to_string();
        let mut client = shop.daemon.client();
        let mut send = |header: (&str, &str)| {
            done(&client.send("POST", "/checkouts", &[header], body.as_bytes()).unwrap())
        };
        let key = format!("order-{confirm}");
        let keyed = send(("idempotency-key", &key));
        assert_eq!(send(("idempotency-key", &key)), keyed);
        let plain = send(("x-stainless-retry-count", "0"));
        assert_eq!(send(("x-stainless-retry-count", "1")), plain);
        assert_ne!(plain["session_id"], keyed["session_id"]);
    }
    assert_eq!(shop.items("/payments").len(), 2);
    let other = json!({ "product_cart": [item(&book, 2)] }).to_string();
    let header = [("idempotency-key", "order-true")];
    let reused = shop.daemon.client().send("POST", "/checkouts", &header, other.as_bytes());
    assert_eq!(reused.unwrap().error(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
}

#[test]
fn the_page_is_at_the_name_that_was_asked() {
    let shop = Shop::open();
    let book = shop.book(1_000);
    let body = json!({ "product_cart": [item(&book, 1)] }).to_string();
    let host = format!("LocalHost:{}", shop.daemon.address.port());
    let request = format!(
        "POST /checkouts HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len(),
    );
    let made = Client::new(shop.daemon.address, None).exchange(request.as_bytes()).unwrap();
    let made = done(&made);
    let expected = format!("http://{host}/checkout/{}", text(&made["session_id"]));
    assert_eq!(made["checkout_url"], json!(expected));
}

#[test]
fn a_form_is_a_small_form() {
    let shop = Shop::open();
    let book = shop.book(1_000);
    let (_, path) = shop.session(&json!([item(&book, 1)]), &json!({}));
    let mut client = Client::new(shop.daemon.address, None);
    let json_body = client.send("POST", &path, &[], b"{}").unwrap();
    assert_eq!(json_body.status, 415, "{json_body:?}");
    assert_eq!(shop.submit(&path, &"a".repeat(40_000)).status, 413);
    assert_eq!(shop.submit(&path, "email=%ff&name=%zz").status, 422);
    assert_eq!(client.get("/checkout/cks_nothing").status, 404);
    let style = client.get("/checkout.css");
    assert_eq!(
        (style.status, style.header("content-type")),
        (200, Some("text/css; charset=utf-8"))
    );
    assert_eq!(client.get(&format!("/checkouts/{}", &path[10..])).status, 401);
}
