//! Billing as a client sees it: products, subscriptions, cycles, payments and invoices, under a test
//! clock that is moved through months.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, Launch};
use crate::common::{event, make_meter};

const START: &str = "2026-01-31T10:00:00Z";

/// A daemon under a test clock at [`START`], and a meter that sums `tokens`.
struct Shop {
    directory: TempDir,
    launch: Launch,
    daemon: Daemon,
    meter: String,
}

impl Shop {
    fn open() -> Self {
        Self::open_with(|launch| launch)
    }

    fn open_with(adapt: impl FnOnce(Launch) -> Launch) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let launch = adapt(Launch::new(directory.path()).at(START));
        let daemon = launch.start();
        let sum = json!({ "type": "sum", "key": "tokens" });
        let meter = make_meter(&mut daemon.client(), "llm", &sum, &Value::Null);
        Self { directory, launch, daemon, meter }
    }

    fn client(&self) -> Client {
        self.daemon.client()
    }

    /// The same shop after `kill -9`.
    fn killed(self) -> Self {
        let Self { directory, launch, daemon, meter } = self;
        daemon.kill();
        let daemon = launch.start();
        Self { directory, launch, daemon, meter }
    }

    fn price(&self, fixed: i64, per_unit: &str, free: u64) -> Value {
        json!({
            "type": "usage_based_price", "currency": "USD", "fixed_price": fixed,
            "payment_frequency_count": 1, "payment_frequency_interval": "Month",
            "subscription_period_count": 10, "subscription_period_interval": "Year",
            "meters": [{
                "meter_id": self.meter, "price_per_unit": per_unit, "free_threshold": free,
            }],
        })
    }

    fn product(&self, price: &Value) -> String {
        let product = json!({ "name": "Plan", "tax_category": "saas", "price": price });
        let answer = self.client().post("/products", &product);
        assert_eq!(answer.status, 200, "{answer:?}");
        text(&answer.json()["product_id"])
    }

    fn subscribe(&self, customer: &str, product: &str) -> Value {
        self.client()
            .post("/customers", &json!({ "customer_id": customer, "name": "A", "email": "" }));
        self.subscribe_with(product, &json!({ "customer": { "customer_id": customer } }))
    }

    fn subscribe_with(&self, product: &str, more: &Value) -> Value {
        let answer = self.try_subscribe(product, more);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    fn try_subscribe(&self, product: &str, more: &Value) -> Answer {
        let mut body =
            json!({ "product_id": product, "quantity": 1, "billing": { "country": "PE" } });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.client().post("/subscriptions", &body)
    }

    fn advance(&self, to: &str) {
        let answer = self.client().post("/clock/advance", &json!({ "to": to }));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn use_tokens(&self, id: &str, customer: &str, tokens: &Value) {
        let answer =
            self.client().ingest(&[event(id, customer, "llm", &json!({ "tokens": tokens }))]);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.client().get(path);
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        answer.json()
    }

    fn items(&self, path: &str) -> Vec<Value> {
        self.get(path)["items"].as_array().unwrap().clone()
    }

    /// Number, start and end of the period, and total of each invoice, oldest first.
    fn invoices(&self) -> Vec<(u64, String, String, i64)> {
        let mut invoices = self.items("/invoices?page_size=100&page_number=0");
        invoices.reverse();
        let of = |invoice: &Value| {
            let sum: i64 = invoice["lines"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| units(&line["amount"]))
                .sum();
            assert_eq!(units(&invoice["total"]), sum, "lines sum to the total");
            let period = &invoice["period"];
            let number = invoice["number"].as_u64().unwrap();
            (number, text(&period["start"]), text(&period["end"]), units(&invoice["total"]))
        };
        invoices.iter().map(of).collect()
    }

    fn patch(&self, subscription: &str, patch: &Value) -> Answer {
        self.client().patch(&format!("/subscriptions/{subscription}"), patch)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

fn units(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("an integer, not {value}"))
}

fn ids(made: &Value) -> (String, String) {
    (text(&made["subscription_id"]), text(&made["payment_id"]))
}

#[test]
fn a_cycle_bills_the_next_period_in_advance_and_the_last_ones_usage() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(4900, "0.5", 10_000));
    let (subscription, first) = ids(&shop.subscribe("c1", &product));
    shop.use_tokens("e1", "c1", &json!(24_999.5));
    shop.use_tokens("e2", "c1", &json!(0.5));
    let upcoming = shop.get("/customers/c1/upcoming-invoice");
    assert_eq!(units(&upcoming["items"][0]["total"]), 12_400);
    shop.advance("2026-02-28T11:09:59Z");
    assert_eq!(shop.invoices().len(), 1, "the grace is not over");
    let history = shop.items(&format!("/subscriptions/{subscription}/usage-history"));
    assert_eq!(history[0]["closing"], json!(false));
    assert_eq!(history[1]["closing"], json!(true));
    assert_eq!(history[1]["meters"][0]["consumed_units"], json!("25000"));
    let upcoming = shop.get("/customers/c1/upcoming-invoice");
    let listed = upcoming["items"].as_array().unwrap().iter();
    let listed: Vec<Value> = listed.map(|item| json!([item["closing"], item["total"]])).collect();
    assert_eq!(json!(listed), json!([[true, 12_400], [false, 4_900]]), "what closes comes first");
    shop.advance("2026-02-28T11:10:00Z");
    let payment = &shop.items("/payments?page_number=0")[0];
    let shown = ["total_amount", "charge_type", "includes_usage", "status", "retry_attempt"]
        .map(|name| payment[name].clone());
    assert_eq!(json!(shown), json!([12_400, "renewal", true, "succeeded", 0]));
    assert_eq!(payment["service_periods"][0]["starts_at"], json!("2026-02-28T10:00:00Z"));
    assert_eq!(payment["service_periods"][0]["ends_at"], json!("2026-03-31T10:00:00Z"));
    let first = shop.get(&format!("/payments/{first}"));
    assert_eq!(json!([first["total_amount"], first["charge_type"]]), json!([4900, "new"]));
    let invoice = &shop.items("/invoices?page_number=0")[0];
    assert_eq!(invoice["lines"][1]["chargeable_units"], json!("15000"));
    assert_eq!(invoice["lines"][1]["amount"], json!(7500));
    assert_eq!(invoice["due_at"], json!("2026-02-28T10:00:00Z"));
    assert_eq!(invoice["created_at"], json!("2026-02-28T11:10:00Z"));
    let lines = shop.get(&format!("/payments/{}/line-items", text(&payment["payment_id"])));
    assert_eq!(lines["items"][1]["items_id"], json!(shop.meter));
    assert_eq!(lines["items"][1]["amount"], json!(7500));
}

#[test]
fn boundaries_follow_the_anchor_and_every_missed_one_is_billed_in_order() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(100, "1", 0));
    shop.subscribe("c1", &product);
    shop.use_tokens("e1", "c1", &json!(7));
    shop.advance("2026-05-31T12:00:00Z");
    let day = |month: &str| format!("2026-{month}T10:00:00Z");
    let expected = [
        (1, day("01-31"), day("02-28"), 100),
        (2, day("01-31"), day("02-28"), 107),
        (3, day("02-28"), day("03-31"), 100),
        (4, day("03-31"), day("04-30"), 100),
        (5, day("04-30"), day("05-31"), 100),
    ];
    assert_eq!(shop.invoices(), expected);
    let created: Vec<Value> = shop
        .items("/invoices?page_number=0")
        .iter()
        .map(|found| found["created_at"].clone())
        .collect();
    assert_eq!(created[0], json!("2026-05-31T11:10:00Z"), "each at its own instant");
    assert_eq!(created[3], json!("2026-02-28T11:10:00Z"));
}

#[test]
fn downtime_over_several_boundaries_is_made_up_for_before_anything_is_served() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(100, "1", 0));
    shop.subscribe("c1", &product);
    shop.use_tokens("e1", "c1", &json!(7));
    let Shop { directory, daemon, .. } = shop;
    daemon.kill();
    let launch = Launch::new(directory.path()).at("2026-04-15T00:00:00Z");
    let daemon = launch.start();
    let invoices = daemon.client().get("/invoices?page_number=0").json();
    let totals: Vec<i64> =
        invoices["items"].as_array().unwrap().iter().map(|found| units(&found["total"])).collect();
    assert_eq!(totals, [100, 107, 100]);
    let status = daemon.client().get("/billing/status").json();
    assert_eq!(status["overdue"], json!(0));
    assert_eq!(status["next_due"], json!("2026-04-30T10:00:00Z"));
}

#[test]
fn a_late_event_counts_in_its_own_period_until_that_is_closed() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(0, "1", 0));
    shop.subscribe("c1", &product);
    shop.advance("2026-02-28T10:30:00Z");
    let at = |id: &str, timestamp: &str| {
        let mut event = event(id, "c1", "llm", &json!({ "tokens": 1 }));
        event["timestamp"] = json!(timestamp);
        event
    };
    let late = at("late", "2026-02-28T09:59:59.999999999Z");
    let on_time = at("on", "2026-02-28T10:00:00Z");
    let ahead = at("ahead", "2026-02-28T10:34:00Z");
    assert_eq!(shop.client().ingest(&[late.clone(), on_time, ahead]).status, 200);
    shop.advance("2026-02-28T11:10:00Z");
    let too_late = at("too-late", "2026-02-28T09:59:59Z");
    assert_eq!(shop.client().ingest(&[too_late]).status, 422);
    let again = shop.client().ingest(&[late]).json();
    assert_eq!(again["duplicate_count"], json!(1), "a closed event is still known");
    shop.advance("2026-03-31T11:10:00Z");
    let totals: Vec<i64> = shop.invoices().into_iter().map(|(_, _, _, total)| total).collect();
    assert_eq!(totals, [0, 1, 2]);
}

#[test]
fn kill_9_at_any_moment_neither_loses_nor_doubles_an_invoice() {
    let mut shop = Shop::open();
    let product = shop.product(&shop.price(100, "1", 0));
    for customer in ["c1", "c2", "c3"] {
        shop.subscribe(customer, &product);
    }
    for (month, to) in (2..).zip(["02-28", "03-31", "04-30", "05-31"]) {
        for customer in ["c1", "c2", "c3"] {
            shop.use_tokens(&format!("{customer}-{month}"), customer, &json!(month));
        }
        shop = shop.killed();
        shop.advance(&format!("2026-{to}T10:30:00Z"));
        shop = shop.killed();
        shop.advance(&format!("2026-{to}T11:30:00Z"));
        let before = shop.items("/invoices?page_size=100&page_number=0");
        shop = shop.killed();
        assert_eq!(shop.items("/invoices?page_size=100&page_number=0"), before);
    }
    let numbers: Vec<u64> = shop.invoices().iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=15).collect::<Vec<u64>>());
    let total: i64 = shop.invoices().iter().map(|(.., total)| total).sum();
    assert_eq!(total, 15 * 100 + 3 * (2 + 3 + 4 + 5));
}

#[test]
fn a_cancelled_subscription_owes_its_usage_alone() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(4900, "2", 1_000));
    let (now, _) = ids(&shop.subscribe("c1", &product));
    let (later, _) = ids(&shop.subscribe("c2", &product));
    shop.advance("2026-02-10T00:00:00Z");
    shop.use_tokens("e1", "c1", &json!(2_500));
    shop.use_tokens("e2", "c2", &json!(2_500));
    let comment = json!({ "status": "cancelled", "cancellation_comment": "bye",
        "cancellation_feedback": "unused", "cancel_reason": "cancelled_by_customer" });
    let ended = shop.patch(&now, &comment).json();
    assert_eq!(ended["status"], json!("cancelled"));
    assert_eq!(ended["cancelled_at"], json!("2026-02-10T00:00:00Z"));
    assert_eq!(ended["cancellation_feedback"], json!("unused"));
    assert_eq!(ended["cancelled_by"]["actor_type"], json!("customer"));
    shop.advance("2026-02-10T01:10:00Z");
    let last = &shop.items("/payments?page_number=0")[0];
    assert_eq!(last["total_amount"], json!(3_000), "what was used at the frozen instant is in it");
    assert_eq!(last["service_periods"], json!([]), "it pays for no further period");
    assert_eq!(shop.patch(&now, &json!({ "status": "cancelled" })).status, 409);
    assert_eq!(shop.patch(&now, &json!({ "cancel_at_next_billing_date": true })).status, 409);

    assert_eq!(shop.patch(&later, &json!({ "cancel_at_next_billing_date": true })).status, 200);
    assert_eq!(shop.patch(&later, &json!({ "cancel_at_next_billing_date": false })).status, 200);
    let flagged = shop.patch(&later, &json!({ "cancel_at_next_billing_date": true })).json();
    assert_eq!(json!([flagged["status"], flagged["cancelled_at"]]), json!(["active", null]));
    shop.advance("2026-02-28T10:00:00Z");
    let ended = shop.get(&format!("/subscriptions/{later}"));
    assert_eq!(ended["status"], json!("cancelled"));
    assert_eq!(ended["cancelled_at"], json!("2026-02-28T10:00:00Z"));
    shop.use_tokens("e3", "c2", &json!(1_000_000));
    shop.advance("2026-12-31T00:00:00Z");
    let totals: Vec<i64> = shop.invoices().into_iter().map(|(.., total)| total).collect();
    assert_eq!(totals, [4900, 4900, 3_000, 3_000], "nothing is billed after the end");
}

#[test]
fn a_cancellation_after_the_boundary_leaves_the_renewal_owed() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(4900, "2", 0));
    let (subscription, _) = ids(&shop.subscribe("c1", &product));
    shop.use_tokens("old", "c1", &json!(10));
    shop.advance("2026-02-28T10:20:00Z");
    shop.use_tokens("new", "c1", &json!(7));
    assert_eq!(shop.patch(&subscription, &json!({ "status": "cancelled" })).status, 200);
    shop.advance("2026-02-28T12:00:00Z");
    let totals: Vec<i64> = shop.invoices().into_iter().map(|(.., total)| total).collect();
    assert_eq!(totals, [4900, 4920, 14]);
    let status = shop.get("/billing/status");
    assert_eq!(status["next_due"], Value::Null, "nothing is due of what has ended");
}

#[test]
fn what_is_due_at_one_instant_is_done_in_the_order_of_subscription_ids() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(100, "1", 0));
    for customer in 0..9 {
        shop.subscribe(&format!("c{customer}"), &product);
    }
    shop.advance("2026-04-15T00:00:00Z");
    let mut invoices = shop.items("/invoices?page_size=100&page_number=0");
    invoices.reverse();
    let order: Vec<String> = invoices.iter().map(|found| text(&found["subscription_id"])).collect();
    let mut ids = order[..9].to_vec();
    ids.sort_unstable();
    assert_eq!([&order[9..18], &order[18..27]], [&ids[..], &ids[..]]);
}

#[test]
fn a_trial_is_free_and_its_usage_is_billed_with_the_first_cycle() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(4900, "2", 0));
    let made = shop.subscribe_with(
        &product,
        &json!({ "customer": { "email": "Ada@x.example", "name": "Ada" }, "trial_period_days": 14 }),
    );
    let (subscription, first) = ids(&made);
    assert_eq!(shop.get(&format!("/payments/{first}"))["total_amount"], json!(0));
    let found = shop.get(&format!("/subscriptions/{subscription}"));
    assert_eq!(found["next_billing_date"], json!("2026-02-14T10:00:00Z"));
    let customer = text(&made["customer"]["customer_id"]);
    shop.use_tokens("e1", &customer, &json!(10));
    shop.advance("2026-02-14T12:00:00Z");
    let found = shop.get(&format!("/subscriptions/{subscription}"));
    assert_eq!(found["next_billing_date"], json!("2026-03-14T10:00:00Z"));
    let totals: Vec<i64> = shop.invoices().into_iter().map(|(.., total)| total).collect();
    assert_eq!(totals, [0, 4_920]);
    let again = json!({ "customer": { "email": "ada@X.example" } });
    let same = shop.subscribe_with(&product, &again);
    assert_eq!(text(&same["customer"]["customer_id"]), customer, "addresses match without case");
    assert_eq!(same["warnings"].as_array().unwrap().len(), 1, "both bill the same usage");
}

#[test]
fn a_subscription_ends_by_itself_and_can_be_made_longer() {
    let shop = Shop::open();
    let mut price = shop.price(100, "1", 0);
    price["subscription_period_count"] = json!(2);
    price["subscription_period_interval"] = json!("Month");
    let product = shop.product(&price);
    let (subscription, _) = ids(&shop.subscribe("c1", &product));
    let shorter =
        json!({ "subscription_period_count": 1, "subscription_period_interval": "Month" });
    assert_eq!(shop.patch(&subscription, &shorter).status, 422);
    let longer = json!({ "subscription_period_count": 3, "subscription_period_interval": "Month" });
    let extended = shop.patch(&subscription, &longer).json();
    assert_eq!(extended["expires_at"], json!("2026-04-30T10:00:00Z"));
    shop.advance("2026-06-01T00:00:00Z");
    assert_eq!(shop.get(&format!("/subscriptions/{subscription}"))["status"], json!("expired"));
    let totals: Vec<i64> = shop.invoices().into_iter().map(|(.., total)| total).collect();
    assert_eq!(totals, [100, 100, 100, 0]);
}

#[test]
fn a_moved_billing_date_anchors_the_cycle_there() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(100, "1", 0));
    let (subscription, _) = ids(&shop.subscribe("c1", &product));
    for date in ["2026-01-31T10:00:00Z", "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"] {
        let refused = shop.patch(&subscription, &json!({ "next_billing_date": date }));
        assert_eq!(refused.error(), (422, "INVALID_REQUEST_PARAMETERS".to_owned()), "{date}");
        assert_eq!(refused.json()["field"], json!("next_billing_date"));
    }
    let moved = shop.patch(&subscription, &json!({ "next_billing_date": "2026-03-05T00:00:00Z" }));
    assert_eq!(moved.json()["next_billing_date"], json!("2026-03-05T00:00:00Z"));
    shop.advance("2026-04-06T00:00:00Z");
    let periods: Vec<String> = shop.invoices().into_iter().map(|(_, _, end, _)| end).collect();
    assert_eq!(periods[1..], ["2026-03-05T00:00:00Z", "2026-04-05T00:00:00Z"]);
}

#[test]
fn a_new_price_is_for_new_purchases_alone() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(100, "1", 0));
    let path = format!("/products/{product}");
    shop.subscribe("c1", &product);
    assert_eq!(
        shop.client().patch(&path, &json!({ "price": shop.price(200, "3", 0) })).status,
        200
    );
    shop.subscribe("c2", &product);
    for customer in ["c1", "c2"] {
        shop.use_tokens(customer, customer, &json!(10));
    }
    shop.advance("2026-02-28T12:00:00Z");
    for (customer, version, totals) in [("c1", 1, [110, 100]), ("c2", 2, [230, 200])] {
        let invoices = shop.items(&format!("/invoices?customer_id={customer}&page_number=0"));
        assert_eq!(invoices.iter().map(|found| units(&found["total"])).collect::<Vec<_>>(), totals);
        for invoice in invoices {
            assert_eq!(invoice["lines"][0]["price_version"], json!(version));
        }
    }
    let one_time = json!({ "type": "one_time_price", "currency": "USD", "price": 5 });
    let refused = shop.client().patch(&path, &json!({ "price": one_time }));
    assert_eq!((refused.status, &refused.json()["field"]), (422, &json!("price.type")));

    assert_eq!(shop.client().delete(&path).status, 200);
    assert_eq!(shop.items("/products?page_number=0"), Vec::<Value>::new());
    assert_eq!(shop.items("/products?archived=true&page_number=0").len(), 1);
    let refused = shop.try_subscribe(&product, &json!({ "customer": { "customer_id": "c1" } }));
    assert_eq!((refused.status, &refused.json()["field"]), (422, &json!("product_id")));
    shop.client().post(&format!("{path}/unarchive"), &json!({}));
    assert_eq!(shop.items("/products?recurring=true&page_number=0").len(), 1);
    assert_eq!(shop.items("/products?recurring=false&page_number=0").len(), 0);
}

#[test]
fn what_does_not_exist_or_is_not_sold_is_refused() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(100, "1", 0));
    let unknown = json!({ "customer": { "customer_id": "nobody" } });
    assert_eq!(shop.try_subscribe(&product, &unknown).error(), (404, "NOT_FOUND".to_owned()));
    shop.subscribe("c1", &product);
    let known = json!({ "customer": { "customer_id": "c1" } });
    assert_eq!(shop.try_subscribe("pdt_none", &known).status, 404);
    let euros = json!({ "customer": { "customer_id": "c1" }, "billing_currency": "EUR" });
    assert_eq!(shop.try_subscribe(&product, &euros).json()["field"], json!("billing_currency"));
    let once = json!({ "type": "one_time_price", "currency": "USD", "price": 5 });
    let refused = shop.try_subscribe(&shop.product(&once), &known);
    assert_eq!((refused.status, &refused.json()["field"]), (422, &json!("product_id")));
    let mut price = shop.price(1, "1", 0);
    price["meters"][0]["meter_id"] = json!("mtr_none");
    let body = json!({ "name": "P", "tax_category": "saas", "price": price });
    let refused = shop.client().post("/products", &body);
    assert_eq!(refused.json()["field"], json!("price.meters.0.meter_id"));
    for path in [
        "/products/none",
        "/subscriptions/none",
        "/subscriptions/none/usage-history",
        "/payments/none",
        "/payments/none/line-items",
        "/invoices/none",
        "/invoices/payments/none",
        "/customers/none/upcoming-invoice",
    ] {
        assert_eq!(shop.client().get(path).error(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
    let back = shop.client().post("/clock/advance", &json!({ "to": "2026-01-01T00:00:00Z" }));
    assert_eq!(back.status, 422);
}

#[test]
fn lists_are_filtered_and_newest_first() {
    let shop = Shop::open();
    let (cheap, dear) =
        (shop.product(&shop.price(1, "1", 0)), shop.product(&shop.price(2, "1", 0)));
    let (first, _) = ids(&shop.subscribe("c1", &cheap));
    shop.advance("2026-02-01T00:00:00Z");
    let (second, payment) = ids(&shop.subscribe("c2", &dear));
    shop.patch(&second, &json!({ "cancel_at_next_billing_date": true }));
    let found = |query: &str| -> Vec<String> {
        let items = shop.items(&format!("/subscriptions?page_number=0&{query}"));
        items.iter().map(|found| text(&found["subscription_id"])).collect()
    };
    assert_eq!(found(""), [second.as_str(), first.as_str()]);
    assert_eq!(found("page_size=1&page_number="), [second.as_str()]);
    for (query, expected) in [
        ("customer_id=c1", &first),
        (&format!("product_id={dear}"), &second),
        ("cancel_at_next_billing_date=true", &second),
        ("created_at_gte=2026-02-01T00:00:00Z", &second),
        ("created_at_lte=2026-01-31T12:00:00Z", &first),
    ] {
        assert_eq!(found(query), [expected.as_str()], "{query}");
    }
    for query in ["status=paused", "status=cancelled", "customer_id=nobody", "brand_id=other"] {
        assert_eq!(found(query), Vec::<String>::new(), "{query}");
    }
    assert_eq!(found("status=active&brand_id=brnd_quipu").len(), 2);
    let paid = |query: &str| shop.items(&format!("/payments?page_number=0&{query}")).len();
    assert_eq!(paid(""), 2);
    for query in [
        format!("subscription_id={second}"),
        "customer_id=c2".to_owned(),
        format!("product_id={dear}"),
        "created_at_gte=2026-02-01T00:00:00Z".to_owned(),
    ] {
        let items = shop.items(&format!("/payments?page_number=0&{query}"));
        assert_eq!(json!(items[0]["payment_id"]), json!(payment), "{query}");
        assert_eq!(items.len(), 1, "{query}");
    }
    assert_eq!(paid("status=succeeded&currency=USD"), 2);
    assert_eq!(paid("currency=EUR") + paid("status=failed") + paid("customer_id=nobody"), 0);
    assert_eq!(shop.client().get("/payments?status=paid").status, 422);
    assert_eq!(shop.items(&format!("/invoices?subscription_id={first}")).len(), 1);
}

#[test]
fn with_manual_collection_a_subscription_begins_when_it_is_paid() {
    let shop = Shop::open_with(|launch| launch.with("QUIPU_BILLING__COLLECTION", "manual"));
    let product = shop.product(&shop.price(100, "1", 0));
    let (subscription, payment) = ids(&shop.subscribe("c1", &product));
    let status = || text(&shop.get(&format!("/subscriptions/{subscription}"))["status"]);
    let mark = |payment: &str, body: &Value| {
        shop.client().post(&format!("/payments/{payment}/mark"), body)
    };
    assert_eq!(status(), "pending");
    assert_eq!(shop.get(&format!("/payments/{payment}"))["status"], json!("processing"));
    shop.advance("2026-02-10T00:00:00Z");
    let declined = mark(&payment, &json!({ "status": "failed", "error_code": "card_declined" }));
    assert_eq!(declined.json()["error_code"], json!("card_declined"));
    assert_eq!(status(), "on_hold");
    assert_eq!(mark(&payment, &json!({ "status": "succeeded" })).status, 409);
    let can = shop.get(&format!("/payments/{payment}/retry"));
    assert_eq!(can["can_retry"], json!(true));
    let retry = shop.client().post(&format!("/payments/{payment}/retry"), &json!({}));
    let retry = retry.json();
    assert_eq!(json!([retry["status"], retry["retry_attempt"]]), json!(["processing", 1]));
    assert_eq!(shop.client().post(&format!("/payments/{payment}/retry"), &json!({})).status, 409);
    assert_eq!(mark(&text(&retry["payment_id"]), &json!({ "status": "succeeded" })).status, 200);
    assert_eq!(status(), "active");
    let found = shop.get(&format!("/subscriptions/{subscription}"));
    assert_eq!(found["next_billing_date"], json!("2026-03-10T00:00:00Z"), "it begins when paid");
    assert_eq!(shop.invoices().len(), 1, "another attempt pays the same invoice");

    shop.use_tokens("e1", "c1", &json!(5));
    shop.advance("2026-03-10T02:00:00Z");
    let renewal = &shop.items("/payments?page_number=0")[0];
    assert_eq!(json!([renewal["total_amount"], renewal["status"]]), json!([105, "processing"]));
    mark(&text(&renewal["payment_id"]), &json!({ "status": "failed" }));
    assert_eq!(status(), "on_hold");
    shop.use_tokens("e2", "c1", &json!(6));
    shop.advance("2026-04-10T02:00:00Z");
    let usage_alone = &shop.items("/payments?page_number=0")[0];
    assert_eq!(usage_alone["total_amount"], json!(6), "on hold it closes usage alone");
    let path = format!("/payments/{}/retry", text(&renewal["payment_id"]));
    let retry = shop.client().post(&path, &json!({})).json();
    mark(&text(&retry["payment_id"]), &json!({ "status": "succeeded" }));
    assert_eq!(status(), "active");
    shop.advance("2026-05-10T02:00:00Z");
    assert_eq!(shop.items("/payments?page_number=0")[0]["total_amount"], json!(100));
}

#[test]
fn a_request_that_is_sent_again_makes_nothing_twice() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(100, "1", 0));
    shop.client().post("/customers", &json!({ "customer_id": "c1", "name": "A", "email": "" }));
    let body = json!({ "product_id": product, "quantity": 1, "billing": { "country": "PE" },
        "customer": { "customer_id": "c1" } });
    let key = [("idempotency-key", "once")];
    let first = shop.client().post_with("/subscriptions", &key, &body).json();
    assert_eq!(shop.client().post_with("/subscriptions", &key, &body).json(), first);
    let retried = [("x-stainless-retry-count", "1")];
    let other = shop.client().post_with("/subscriptions", &[], &body).json();
    assert_eq!(shop.client().post_with("/subscriptions", &retried, &body).json(), other);
    assert_eq!(shop.items("/subscriptions").len(), 2);
    assert_eq!(shop.invoices().len(), 2);
}

#[test]
fn a_total_beyond_64_bits_stops_its_own_subscription_alone() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(0, "99999", 0));
    shop.subscribe("c1", &product);
    shop.subscribe("c2", &product);
    for n in 0..200 {
        shop.use_tokens(&format!("e{n}"), "c1", &json!(999_999_999_999_999_u64));
    }
    shop.use_tokens("small", "c2", &json!(1));
    shop.advance("2026-04-30T12:00:00Z");
    let totals: Vec<i64> = shop.invoices().into_iter().map(|(.., total)| total).collect();
    assert_eq!(totals, [0, 0, 99_999, 0, 0]);
    assert_eq!(shop.get("/billing/status")["stopped"], json!(1));
}

#[test]
fn an_invoice_can_be_printed() {
    let shop = Shop::open();
    let product = shop.product(&shop.price(4900, "1", 0));
    let (_, payment) = ids(&shop.subscribe("c1", &product));
    let path = format!("/invoices/payments/{payment}");
    let page = shop.client().get(&path);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("49.00 USD"));
    let pdf = shop.client().send("GET", &path, &[("accept", "application/pdf")], b"").unwrap();
    assert_eq!(pdf.header("content-type"), Some("application/pdf"));
    assert!(pdf.body.starts_with(b"%PDF-"));
}

#[test]
fn tiers_are_sold_billed_and_shown() {
    let shop = Shop::open();
    let tier = |up_to: Value, price: &str, flat_fee: i64| json!({ "up_to": up_to, "price_per_unit": price, "flat_fee": flat_fee });
    let tiers = json!([
        tier(json!("100"), "2", 500),
        tier(json!("1000"), "1", 0),
        tier(Value::Null, "0", 0)
    ]);
    let mut price = shop.price(0, "1", 0);
    price["meters"] = json!([{
        "meter_id": shop.meter, "tier_mode": "graduated", "tiers": tiers, "minimum_amount": 9,
    }]);
    let product = shop.product(&price);
    let path = format!("/products/{product}");
    let made = shop.get(&path);
    let meter = &made["price"]["meters"][0];
    let shown = ["tier_mode", "tiers", "price_per_unit", "minimum_amount", "package_size"]
        .map(|name| meter[name].clone());
    assert_eq!(json!(shown), json!(["graduated", tiers, null, 9, null]));
    // What was printed can be sent back, and is the price that is there.
    assert_eq!(shop.client().patch(&path, &json!({ "price": made["price"] })).status, 200);
    assert_eq!(shop.get(&path)["price_version"], json!(1));
    price["meters"][0]["tiers"][1]["up_to"] = json!("100");
    let refused = shop.client().patch(&path, &json!({ "price": price }));
    let field = "price.meters.0.tiers.1.up_to";
    assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)));

    let (subscription, _) = ids(&shop.subscribe("c1", &product));
    let found = shop.get(&format!("/subscriptions/{subscription}"));
    let meter = &found["meters"][0];
    assert_eq!(json!([meter["price_per_unit"], meter["tiers"]]), json!(["2", tiers]));
    shop.use_tokens("e1", "c1", &json!(1_500.5));
    let part = |up_to: Value, units: &str, price: &str, flat_fee: i64| json!({ "up_to": up_to, "units": units, "price_per_unit": price, "flat_fee": flat_fee });
    let parts = json!([
        part(json!("100"), "100", "2", 500),
        part(json!("1000"), "900", "1", 0),
        part(Value::Null, "500.5", "0", 0),
    ]);
    let history = shop.items(&format!("/subscriptions/{subscription}/usage-history"));
    let upcoming = shop.get("/customers/c1/upcoming-invoice");
    shop.advance("2026-02-28T12:00:00Z");
    let invoice = &shop.items("/invoices?page_number=0")[0];
    assert_eq!(history[0]["meters"][0]["total_price"], json!(1_600));
    assert_eq!(invoice["total"], json!(1_600));
    for line in [&history[0]["meters"][0], &upcoming["items"][0]["lines"][1], &invoice["lines"][1]]
    {
        let shown = ["price_per_unit", "tiers", "minimum_amount"].map(|name| line[name].clone());
        assert_eq!(json!(shown), json!(["0", parts, 9]), "{line}");
    }
    let payment = text(&shop.items("/payments?page_number=0")[0]["payment_id"]);
    let page = shop.client().get(&format!("/invoices/payments/{payment}"));
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.contains("tier up to 100: 100 at 0.02, flat fee 5.00"), "{page}");
}
