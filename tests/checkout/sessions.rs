//! How long a session waits, and what becomes of it meanwhile.

use serde_json::{Value, json};

use crate::shop::{Shop, done, item, once, submit, text};

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
