//! What is charged on demand, and how it begins to renew.

use serde_json::{Value, json};

use crate::shop::{Shop, done, text};

/// A product without usage, and a subscription of it that is charged on demand.
fn on_demand(shop: &Shop) -> String {
    let price = json!({
        "type": "recurring_price", "currency": "USD", "price": 3_000,
        "payment_frequency_count": 1, "payment_frequency_interval": "Month",
        "subscription_period_count": 1, "subscription_period_interval": "Year",
    });
    let product = shop.product("Flat", &price);
    done(&shop.post("/customers", &json!({ "customer_id": "c1", "name": "Ada", "email": "a@b" })));
    let made = done(&shop.post(
        "/subscriptions",
        &json!({
            "product_id": product, "quantity": 2, "customer": { "customer_id": "c1" },
            "billing": { "country": "PE" }, "on_demand": { "mandate_only": true },
        }),
    ));
    text(&made["subscription_id"])
}

/// Charge types and amounts, oldest first.
fn paid(shop: &Shop) -> Vec<(String, i64)> {
    let payments = shop.items("/payments");
    let paid = payments.iter().rev();
    paid.map(|payment| (text(&payment["charge_type"]), payment["total_amount"].as_i64().unwrap()))
        .collect()
}

#[test]
fn a_subscription_that_was_charged_on_demand_renews_from_an_instant_on() {
    let shop = Shop::open();
    let id = on_demand(&shop);
    let path = format!("/subscriptions/{id}");
    let before = shop.get(&path);
    assert_eq!(before["on_demand"], true);
    done(&shop.post(&format!("{path}/charge"), &json!({ "product_price": 500 })));
    let renewing = |to: &str| json!({ "disable_on_demand": { "next_billing_date": to } });
    let refused = |body: &Value| {
        let answer = shop.daemon.client().patch(&path, body);
        (answer.status, text(&answer.json()["field"]))
    };
    let field = "disable_on_demand.next_billing_date".to_owned();
    for to in ["2026-01-31T09:59:59Z", "2027-02-01T00:00:00Z", "soon"] {
        assert_eq!(refused(&renewing(to)), (422, field.clone()), "{to}");
    }
    assert_eq!(refused(&json!({ "disable_on_demand": {} })), (422, field));
    let mut both = renewing("2026-03-05T00:00:00Z");
    both["next_billing_date"] = json!("2026-03-05T00:00:00Z");
    assert_eq!(refused(&both), (422, "disable_on_demand".to_owned()));
    assert_eq!(shop.get(&path), before, "nothing has changed");

    let renewing = renewing("2026-03-05T00:00:00Z");
    let changed = done(&shop.daemon.client().patch(&path, &renewing));
    assert_eq!(changed["on_demand"], false);
    assert_eq!(changed["next_billing_date"], "2026-03-05T00:00:00Z");
    assert_eq!(changed["expires_at"], before["expires_at"]);
    assert_eq!(shop.daemon.client().patch(&path, &renewing).status, 409, "it renews already");
    assert_eq!(shop.post(&format!("{path}/charge"), &json!({ "product_price": 1 })).status, 409);

    // It survives a crash, and is paid each month from there.
    let shop = shop.killed();
    shop.advance("2026-04-05T12:00:00Z");
    let word = |word: &str| word.to_owned();
    let expected = [
        (word("new"), 0),
        (word("on_demand"), 500),
        (word("renewal"), 6_000),
        (word("renewal"), 6_000),
    ];
    assert_eq!(paid(&shop), expected);
    assert_eq!(shop.get(&path)["next_billing_date"], "2026-05-05T00:00:00Z");
}
