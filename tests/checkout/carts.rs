//! Carts that are ordered at once: what they cost, and what cannot be ordered.

use serde_json::{Value, json};

use crate::shop::{START, Shop, done, item, once, text};

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
            ".0.credit_entitlements.0.credits_amount",
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
