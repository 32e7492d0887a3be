//! What the customer wants to pay.

use serde_json::{Value, json};

use crate::shop::{Shop, done, item, text};

/// A gift of 5 dollars at least, of 15 as it is proposed.
fn gift(shop: &Shop) -> String {
    shop.product("Gift", &price(&json!({ "suggested_price": 1_500 })))
}

fn price(more: &Value) -> Value {
    let mut price = json!({
        "type": "one_time_price", "currency": "USD", "price": 500, "pay_what_you_want": true,
    });
    for (name, value) in more.as_object().unwrap() {
        price[name] = value.clone();
    }
    price
}

fn with_amount(product: &str, quantity: i64, amount: i64) -> Value {
    let mut item = item(product, quantity);
    item["amount"] = json!(amount);
    item
}

#[test]
fn a_price_may_be_what_the_customer_wants_to_pay() {
    let shop = Shop::open();
    let shown = shop.get(&format!("/products/{}", gift(&shop)))["price"].clone();
    assert_eq!((&shown["pay_what_you_want"], &shown["price"]), (&json!(true), &json!(500)));
    assert_eq!(shown["suggested_price"], 1_500);
    // Without it a suggestion means nothing.
    let plain = price(&json!({ "pay_what_you_want": false, "suggested_price": 1 }));
    let shown = shop.get(&format!("/products/{}", shop.product("Book", &plain)))["price"].clone();
    assert_eq!(shown["pay_what_you_want"], false);
    assert_eq!(shown["suggested_price"], Value::Null);
    for (more, field) in [
        (json!({ "suggested_price": 499 }), "price.suggested_price"),
        (json!({ "suggested_price": -1 }), "price.suggested_price"),
        (json!({ "discount_bps": 100 }), "price.discount_bps"),
        (json!({ "discount": 1 }), "price.discount_bps"),
        (
            json!({
                "type": "recurring_price",
                "payment_frequency_count": 1, "payment_frequency_interval": "Month",
                "subscription_period_count": 1, "subscription_period_interval": "Year",
            }),
            "price.pay_what_you_want",
        ),
    ] {
        let product = json!({ "name": "Gift", "tax_category": "saas", "price": price(&more) });
        let answer = shop.post("/products", &product);
        assert_eq!((answer.status, text(&answer.json()["field"])), (422, field.to_owned()));
    }
}

#[test]
fn the_amount_of_a_cart_is_what_one_costs() {
    let shop = Shop::open();
    let (gift, plan, book) = (gift(&shop), shop.plan(4_900), shop.book(1_000));
    let refused = |cart: Value| {
        let answer = shop.order(&cart, &json!({}));
        (answer.status, text(&answer.json()["field"]))
    };
    let field = |name: &str| (422, name.to_owned());
    assert_eq!(refused(json!([item(&gift, 1)])), field("product_cart.0.amount"));
    assert_eq!(refused(json!([with_amount(&gift, 1, 499)])), field("product_cart.0.amount"));
    assert_eq!(refused(json!([with_amount(&gift, 1, -1)])), field("product_cart.0.amount"));
    assert_eq!(refused(json!([with_amount(&book, 1, 1_000)])), field("product_cart.0.amount"));
    assert_eq!(
        refused(json!([item(&book, 1), with_amount(&plan, 1, 4_900)])),
        field("product_cart.1.amount")
    );
    assert_eq!(refused(json!([with_amount(&gift, 2, i64::MAX)])), field("product_cart"));
    assert_eq!(shop.items("/payments"), [] as [Value; 0]);

    // At a time when the price has become another one, the order keeps what was said.
    done(&shop.order(&json!([with_amount(&gift, 3, 700), item(&book, 1)]), &json!({})));
    let payment = shop.items("/payments")[0].clone();
    assert_eq!(payment["total_amount"], 3 * 700 + 1_000);
    let lines = shop.get(&format!("/payments/{}/line-items", text(&payment["payment_id"])));
    let amounts: Vec<&Value> =
        lines["items"].as_array().unwrap().iter().map(|line| &line["amount"]).collect();
    assert_eq!(amounts, [&json!(2_100), &json!(1_000)]);

    // Beside a subscription, too.
    let subscription = |cart: Value| {
        shop.post(
            "/subscriptions",
            &json!({
                "product_id": plan, "quantity": 1, "billing": { "country": "PE" },
                "customer": { "email": "ada@shop.example" }, "one_time_product_cart": cart,
            }),
        )
    };
    let missing = subscription(json!([item(&gift, 1)]));
    assert_eq!(text(&missing.json()["field"]), "one_time_product_cart.0.amount");
    done(&subscription(json!([with_amount(&gift, 1, 501)])));
    assert_eq!(shop.items("/payments")[0]["total_amount"], 4_900 + 501);
}

#[test]
fn a_person_says_on_the_page_what_one_costs() {
    let shop = Shop::open();
    let (gift, book) = (gift(&shop), shop.book(1_000));
    let cart = json!([item(&book, 1), item(&gift, 2)]);
    let (id, path) = shop.session(
        &cart,
        &json!({
            "customer": { "email": "ada@shop.example", "name": "Ada" },
            "billing_address": { "country": "PE" },
        }),
    );
    let page = shop.open_page(&path).text();
    for part in [
        "at least 5.00 x 2: say below what you pay for one",
        "Due now, at least",
        "20.00 USD",
        "What you pay for one of Gift, in USD: at least 5.00",
        r#"name="amount_1" type="text" value="15.00""#,
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for (written, wrong) in [
        ("", "This is needed."),
        ("4.99", "This is less than 5.00 USD."),
        ("5.001", "This is no amount of that currency."),
        ("-6", "This is no amount of that currency."),
        ("1e3", "This is no amount of that currency."),
        ("99999999999999999999", "This is no amount of that currency."),
    ] {
        let answer = shop.submit(&path, &format!("amount_1={written}"));
        let page = answer.text();
        assert_eq!(answer.status, 422, "{written}");
        assert!(page.contains(wrong), "{written}: {page}");
        assert!(page.contains(&format!(r#"value="{written}""#)), "{written}: {page}");
    }
    // What was proposed is not taken for what was said.
    assert_eq!(shop.submit(&path, "").status, 422);
    assert_eq!(shop.items("/payments"), [] as [Value; 0]);
    // A crash between the order and its confirmation changes nothing of it.
    let shop = shop.killed();
    assert_eq!(shop.submit(&path, "amount_1=7,5").status, 303);
    assert_eq!(shop.items("/payments")[0]["total_amount"], 1_000 + 2 * 750);
    assert_eq!(shop.submit(&path, "amount_1=9").status, 303, "it is confirmed once");
    assert_eq!(shop.items("/payments").len(), 1);
    assert_eq!(shop.get(&format!("/checkouts/{id}"))["payment_status"], "succeeded");
    // What the client has said already is not asked.
    let (_, path) = shop.session(&json!([with_amount(&gift, 1, 800)]), &json!({}));
    let page = shop.open_page(&path).text();
    assert!(page.contains("8.00 USD") && !page.contains("amount_0"), "{page}");
}
