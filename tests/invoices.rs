//! Invoices as whole texts, against the files in `tests/golden`, and the worked examples of the documents;
//! a clock that several move at once bills once.
//!
//! `QUIPU_WRITE_GOLDEN=1 cargo test --test invoices` writes the files anew.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use quipu::model::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::client::Client;
use crate::common::daemon::{Daemon, Launch};
use crate::common::{event_at, make_count, make_meter};

/// Random characters of an id.
const ID_CHARS: usize = 21;

/// A daemon under a test clock.
struct Shop {
    _directory: TempDir,
    daemon: Daemon,
    client: Client,
}

impl Shop {
    fn open(at: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let daemon = Launch::new(directory.path()).at(at).start();
        let client = daemon.client();
        Self { _directory: directory, daemon, client }
    }

    fn made(&mut self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(path, body);
        assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
        answer.json()
    }

    fn product(&mut self, name: &str, price: &Value) -> String {
        let mut whole = json!({
            "type": "usage_based_price", "fixed_price": 0,
            "payment_frequency_count": 1, "payment_frequency_interval": "Month",
            "subscription_period_count": 10, "subscription_period_interval": "Year",
        });
        for (field, value) in price.as_object().unwrap() {
            whole[field] = value.clone();
        }
        let product = json!({ "name": name, "tax_category": "saas", "price": whole });
        text(&self.made("/products", &product)["product_id"])
    }

    fn subscribe(&mut self, product: &str, more: &Value) -> Value {
        let mut body =
            json!({ "product_id": product, "quantity": 1, "billing": { "country": "PE" } });
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        self.made("/subscriptions", &body)
    }

    fn advance(&mut self, to: &str) {
        self.made("/clock/advance", &json!({ "to": to }));
    }

    fn ingest(&mut self, events: &[Value]) {
        let answer = self.client.ingest(events);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn get(&mut self, path: &str) -> Value {
        let answer = self.client.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    fn items(&mut self, path: &str) -> Vec<Value> {
        self.get(path)["items"].as_array().unwrap().clone()
    }

    /// Every invoice, oldest first.
    fn invoices(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        for page in 0.. {
            let found = self.items(&format!("/invoices?page_size=100&page_number={page}"));
            if found.is_empty() {
                break;
            }
            all.extend(found);
        }
        all.reverse();
        all
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

fn units(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("an integer, not {value}"))
}

/// A text whose drawn ids are replaced by numbers in the order of their first appearance.
#[derive(Default)]
struct Ids(HashMap<String, String>, BTreeMap<String, usize>);

impl Ids {
    fn numbered(&mut self, text: &str) -> String {
        let mut shown = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('_') {
            let start = rest[..at].rfind(|c: char| !c.is_ascii_lowercase()).map_or(0, |at| at + 1);
            let (prefix, random) = (&rest[start..at], &rest[at + 1..]);
            let drawn = random.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(random.len());
            if drawn != ID_CHARS || prefix.is_empty() {
                shown.push_str(&rest[..=at]);
                rest = random;
                continue;
            }
            shown.push_str(&rest[..start]);
            let id = &rest[start..=at + drawn];
            if !self.0.contains_key(id) {
                let count = self.1.entry(prefix.to_owned()).or_default();
                *count += 1;
                self.0.insert(id.to_owned(), format!("{prefix}_{count}"));
            }
            shown.push_str(&self.0[id]);
            rest = &random[drawn..];
        }
        shown + rest
    }
}

/// Compares a text with a committed file, or writes that.
fn compare(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("QUIPU_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(found == expected, "{name} is not what was agreed, but\n{found}");
}

/// The texts that a PDF of this program shows, line by line: its pages are not packed, and a text stands
/// there as it is or, beyond ASCII, in hexadecimal digits.
fn text_of_pdf(bytes: &[u8]) -> String {
    let mut lines = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(shown) = line.strip_suffix(b" Tj") else { continue };
        let shown = match shown {
            [b'(', text @ .., b')'] => text.to_vec(),
            [b'<', digits @ .., b'>'] => {
                let digits = std::str::from_utf8(digits).unwrap();
                let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
                (0..digits.len()).step_by(2).map(byte).collect()
            }
            _ => panic!("{line:?}"),
        };
        let latin: String = shown.iter().map(|byte| char::from(*byte)).collect();
        lines.push(latin.replace("\\(", "(").replace("\\)", ")").replace("\\\\", "\\"));
    }
    lines.join("\n") + "\n"
}

/// Three customers: everything on an invoice at once, a currency without minor units in a trial, one with
/// three digits; late usage, none, corrections, a cancellation.
fn story() -> Shop {
    let mut shop = Shop::open("2024-01-31T10:00:00Z");
    let calls = make_count(&mut shop.client, "call");
    let sum = json!({ "type": "sum", "key": "n" });
    let tokens = make_meter(&mut shop.client, "tokens", &sum, &Value::Null);
    let meter = |id: &str, price: &str, free: u64| json!({ "meter_id": id, "price_per_unit": price, "free_threshold": free });
    let dollars = shop.product(
        "Team (yearly, billed monthly)",
        &json!({ "currency": "USD", "fixed_price": 4_900, "discount_bps": 1_250,
            "meters": [meter(&calls, "0.5", 10), meter(&tokens, "0.000225", 1_000)] }),
    );
    let yen = shop.product(
        "Yen",
        &json!({ "currency": "JPY", "fixed_price": 500,
        "meters": [meter(&tokens, "0.5", 0)] }),
    );
    let dinars = shop.product(
        "Dinar",
        &json!({ "currency": "KWD", "fixed_price": 1_250,
        "meters": [meter(&calls, "1.5", 0)] }),
    );
    let whole = json!({
        "quantity": 3, "customer_business_name": "Qhapaq Ñan & Hijos", "tax_id": "20131312955",
        "customer": { "email": "ada@example.com", "name": "Ada <b>\"Lovelace\"</b>" },
        "billing": { "country": "PE", "city": "Cusco", "state": "Cusco", "street": "Calle Loreto 7",
            "zipcode": "08002" },
    });
    let first = shop.subscribe(&dollars, &whole);
    let ada = text(&first["customer"]["customer_id"]);
    // A second later each: what is due at one instant goes by ids, which are drawn.
    shop.advance("2024-01-31T10:00:01Z");
    let trial =
        json!({ "customer": { "email": "b@example.com", "name": "B" }, "trial_period_days": 14 });
    let bo = text(&shop.subscribe(&yen, &trial)["customer"]["customer_id"]);
    shop.advance("2024-01-31T10:00:02Z");
    let other = json!({ "customer": { "email": "c@example.com", "name": "C" } });
    let last = shop.subscribe(&dinars, &other);
    let cy = text(&last["customer"]["customer_id"]);
    shop.advance("2024-02-10T00:00:00Z");
    let day = "2024-02-09T23:30:00Z";
    let events: Vec<Value> = (0..25)
        .map(|n| event_at(day, &format!("call-{n}"), &ada, "call", &json!({})))
        .chain([
            event_at(day, "t-1", &ada, "tokens", &json!({ "n": 1_234_567.5 })),
            event_at(day, "t-2", &ada, "tokens", &json!({ "n": -67.25 })),
            event_at(day, "t-3", &bo, "tokens", &json!({ "n": 3 })),
            event_at(day, "c-1", &cy, "call", &json!({})),
        ])
        .collect();
    shop.ingest(&events);
    // Before the close, after the boundary: late for the old period, in time for the new one.
    shop.advance("2024-02-29T10:20:00Z");
    shop.ingest(&[
        event_at("2024-02-29T09:59:59.999999999Z", "late", &ada, "call", &json!({})),
        event_at("2024-02-29T10:00:00Z", "new", &ada, "call", &json!({})),
    ]);
    let subscription = text(&last["subscription_id"]);
    let patch = json!({ "cancel_at_next_billing_date": true });
    let flagged = shop.client.patch(&format!("/subscriptions/{subscription}"), &patch);
    assert_eq!(flagged.status, 200);
    shop.advance("2024-04-01T00:00:00Z");
    shop
}

#[test]
fn invoices_are_these_texts() {
    let mut shop = story();
    let mut ids = Ids::default();
    let mut lines = String::new();
    let mut rich = String::new();
    for invoice in shop.invoices() {
        let id = text(&invoice["id"]);
        let answer = shop.client.get(&format!("/invoices/{id}"));
        assert_eq!(answer.json(), invoice, "one reads as it is listed");
        lines += &ids.numbered(&answer.text());
        lines.push('\n');
        if units(&invoice["number"]) == 5 {
            rich = id;
        }
    }
    compare("invoices.jsonl", &lines);
    let payments = shop.items("/payments?page_size=100&page_number=0");
    let payment = payments.iter().find(|payment| payment["invoice_id"] == json!(rich)).unwrap();
    let path = format!("/invoices/payments/{}", text(&payment["payment_id"]));
    let page = shop.client.get(&path);
    compare("invoice.html", &ids.numbered(&page.text()));
    let pdf = shop.client.send("GET", &path, &[("accept", "application/pdf")], b"").unwrap();
    compare("invoice.txt", &ids.numbered(&text_of_pdf(&pdf.body)));
}

/// Compares a value with its schema of the wire format: every field is there, of its type, and `null` only
/// where that is allowed. What the schema does not know is ours.
fn assert_shape(name: &str, value: &Value) {
    let schemas: Value = serde_json::from_str(include_str!("golden/fields.json")).unwrap();
    let schema = schemas[name].as_object().unwrap_or_else(|| panic!("no schema {name}"));
    for (field, kind) in schema {
        let kind = kind.as_str().unwrap();
        let Some(found) = value.get(field) else { panic!("{name}.{field} is missing in {value}") };
        if found.is_null() {
            assert!(kind.ends_with("|null"), "{name}.{field} is null");
            continue;
        }
        let kind = kind.trim_end_matches('!').trim_end_matches("|null");
        let fits = match kind {
            "string" | "Currency" | "CountryCode" => found.is_string(),
            "date-time" => found.as_str().is_some_and(|text| text.ends_with('Z')),
            "integer" => found.is_i64() || found.is_u64(),
            "boolean" => found.is_boolean(),
            list if list.ends_with("[]") => found.is_array(),
            map if map.starts_with("map<") => found.is_object(),
            words if words.starts_with('(') => {
                let word = found.as_str().unwrap_or_default();
                words.trim_matches(['(', ')']).split('|').any(|known| known == word)
            }
            object if object.starts_with(['#', '{']) => found.is_object(),
            _ => panic!("{name}.{field} is a {kind}"),
        };
        assert!(fits, "{name}.{field} is {found}, not {kind}");
    }
}

#[test]
fn answers_have_every_field_of_the_wire_format() {
    let mut shop = story();
    let meter = text(&shop.items("/meters?page_number=0")[0]["id"]);
    for (name, price) in [
        ("OneTimePrice", json!({ "type": "one_time_price", "currency": "USD", "price": 5 })),
        ("RecurringPrice", json!({ "type": "recurring_price", "currency": "USD", "price": 5 })),
        (
            "UsageBasedPrice",
            json!({ "currency": "USD",
            "meters": [{ "meter_id": meter, "price_per_unit": "1" }] }),
        ),
    ] {
        let id = shop.product(name, &price);
        let product = shop.get(&format!("/products/{id}"));
        assert_shape("Product", &product);
        assert_shape(name, &product["price"]);
        for meter in product["price"]["meters"].as_array().into_iter().flatten() {
            assert_shape("AddMeterToPrice", meter);
        }
    }
    for product in shop.items("/products?page_number=0") {
        assert_shape("ProductListResponse", &product);
    }
    let product = text(&shop.items("/products?page_number=0")[0]["product_id"]);
    let made = shop.subscribe(&product, &json!({ "customer": { "email": "d@example.com" } }));
    assert_shape("SubscriptionCreateResponse", &made);
    let made = text(&made["subscription_id"]);
    let ended = json!({ "status": "cancelled", "cancel_reason": "cancelled_by_customer" });
    assert_eq!(shop.client.patch(&format!("/subscriptions/{made}"), &ended).status, 200);
    for listed in shop.items("/subscriptions?page_number=0&page_size=100&locale=en") {
        assert_shape("SubscriptionListResponse", &listed);
        let path = format!("/subscriptions/{}", text(&listed["subscription_id"]));
        let found = shop.get(&path);
        assert_shape("Subscription", &found);
        assert_shape("BillingAddress", &found["billing"]);
        assert_shape("CustomerLimitedDetails", &found["customer"]);
        found["meters"].as_array().unwrap().iter().for_each(|meter| {
            assert_shape("MeterCartResponseItem", meter);
        });
        assert_eq!(found["cancelled_by"], listed["cancelled_by"]);
        if text(&found["subscription_id"]) == made {
            assert_shape("SubscriptionCancelledBy", &found["cancelled_by"]);
        }
        for period in shop.items(&format!("{path}/usage-history?page_number=0")) {
            assert_shape("SubscriptionRetrieveUsageHistoryResponse", &period);
            period["meters"].as_array().unwrap().iter().for_each(|meter| {
                assert_shape("SubscriptionRetrieveUsageHistoryResponse.Meter", meter);
            });
        }
    }
    for listed in shop.items("/payments?page_number=0&page_size=100") {
        assert_shape("PaymentListResponse", &listed);
        let path = format!("/payments/{}", text(&listed["payment_id"]));
        let found = shop.get(&path);
        assert_shape("Payment", &found);
        found["service_periods"].as_array().unwrap().iter().for_each(|period| {
            assert_shape("SubscriptionServicePeriod", period);
        });
        let lines = shop.get(&format!("{path}/line-items"));
        assert_shape("PaymentRetrieveLineItemsResponse", &lines);
        lines["items"].as_array().unwrap().iter().for_each(|line| {
            assert_shape("PaymentRetrieveLineItemsResponse.Item", line);
        });
    }
}

/// What one cycle of this usage costs, beside the fixed price of the next one.
fn billed(fixed: i64, price: &str, free: u64, consumed: u64) -> (i64, Value) {
    let mut shop = Shop::open("2026-03-10T12:00:00Z");
    let sum = json!({ "type": "sum", "key": "n" });
    let meter = make_meter(&mut shop.client, "use", &sum, &Value::Null);
    let product = shop.product(
        "Plan",
        &json!({ "currency": "USD", "fixed_price": fixed,
            "meters": [{ "meter_id": meter, "price_per_unit": price, "free_threshold": free }] }),
    );
    let made = shop.subscribe(&product, &json!({ "customer": { "email": "a@b.example" } }));
    let customer = text(&made["customer"]["customer_id"]);
    // In halves and a correction, which come to the same.
    let half = json!({ "n": consumed / 2 });
    let rest = json!({ "n": consumed - consumed / 2 + 7 });
    let at = "2026-03-10T12:00:00Z";
    shop.ingest(&[
        event_at(at, "1", &customer, "use", &half),
        event_at(at, "2", &customer, "use", &rest),
        event_at(at, "3", &customer, "use", &json!({ "n": -7 })),
    ]);
    shop.advance("2026-04-10T14:00:00Z");
    let newest = shop.items("/payments?page_size=1&page_number=0").remove(0);
    let subscription = text(&made["subscription_id"]);
    let history = shop.items(&format!("/subscriptions/{subscription}/usage-history?page_number=0"));
    (units(&newest["total_amount"]), history[1]["meters"][0].clone())
}

#[test]
fn the_worked_examples_of_the_documents_come_out() {
    for (fixed, price, free, consumed, chargeable, usage) in [
        (0, "2", 1_000, 2_500, "1500", 3_000),
        (0, "50", 100, 250, "150", 7_500),
        (4_900, "0.5", 10_000, 25_000, "15000", 7_500),
        (0, "1", 0, 5_000, "5000", 5_000),
    ] {
        let (total, meter) = billed(fixed, price, free, consumed);
        assert_eq!(total, fixed + usage, "{consumed} at {price}");
        assert_eq!(meter["consumed_units"], json!(consumed.to_string()));
        assert_eq!(meter["chargeable_units"], json!(chargeable));
        assert_eq!(meter["total_price"], json!(usage));
        assert_eq!(meter["price_per_unit"], json!(price));
    }
}

/// Eight clients move the clock over the same boundaries at once; events and reads go on meanwhile.
#[test]
fn a_clock_that_several_move_at_once_bills_once() {
    const CUSTOMERS: usize = 30;
    let mut shop = Shop::open("2026-01-31T10:00:00Z");
    let meter = make_count(&mut shop.client, "call");
    let product = shop.product(
        "Plan",
        &json!({ "currency": "USD", "fixed_price": 100,
            "meters": [{ "meter_id": meter, "price_per_unit": "1" }] }),
    );
    for number in 0..CUSTOMERS {
        let customer = json!({ "email": format!("{number}@example.com"), "name": "N" });
        shop.subscribe(&product, &json!({ "customer": customer }));
    }
    let instants = [
        "2026-02-28T10:00:00Z",
        "2026-02-28T11:10:00Z",
        "2026-03-31T10:00:00Z",
        "2026-03-31T11:10:00Z",
        "2026-04-30T12:00:00Z",
        "2026-05-31T11:10:00Z",
    ];
    let daemon = &shop.daemon;
    let moved: Vec<Vec<u16>> = std::thread::scope(|scope| {
        let movers: Vec<_> = (0..8)
            .map(|_| {
                let mut client = daemon.client();
                scope.spawn(move || {
                    let mut advance = |to: &str| {
                        let answer = client.post("/clock/advance", &json!({ "to": to }));
                        // All that was due until then is done, while the next one may be moving it on.
                        let status = client.get("/billing/status").json();
                        let next_due = Timestamp::parse(&text(&status["next_due"])).unwrap();
                        assert!(next_due > Timestamp::parse(to).unwrap(), "{to}: {status}");
                        answer.status
                    };
                    instants.iter().map(|to| advance(to)).collect()
                })
            })
            .collect();
        movers.into_iter().map(|mover| mover.join().unwrap()).collect()
    });
    assert_eq!(shop.get("/billing/status")["overdue"], json!(0));
    // Whoever comes after another one has moved further is told so.
    assert!(moved.iter().flatten().all(|status| matches!(status, 200 | 422)), "{moved:?}");
    let reached = |place: usize| moved.iter().any(|own: &Vec<u16>| own[place] == 200);
    assert!(reached(0) && reached(instants.len() - 1), "{moved:?}");
    let invoices = shop.invoices();
    let due: BTreeSet<(String, String)> = invoices
        .iter()
        .map(|invoice| (text(&invoice["subscription_id"]), text(&invoice["due_at"])))
        .collect();
    assert_eq!(due.len(), invoices.len(), "no two for one boundary");
    assert_eq!(invoices.len(), CUSTOMERS * 5);
    assert_eq!(shop.get("/clock")["now"], json!("2026-05-31T11:10:00Z"));
}
