//! The page at which a person confirms an order.

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::daemon::KEY;
use crate::common::event;
use crate::shop::{Shop, done, item, once, text};

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
