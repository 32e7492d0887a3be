//! A few plain requests to the daemon under test: meters, usage, metrics, readiness.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

use anyhow::Context;
use serde_json::{Value, json};

use crate::bench::answer;
use crate::bench::event::{COUNTED_MODEL, NAME, Tally, customer_id};
use crate::model::{Hour, Timestamp};

/// Hours from that of a benchmark's start in which it has events: those before and behind it.
const HOURS: Range<i32> = -1..4;

/// The two meters of every benchmark, by their ids.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    count: String,
    tokens: String,
}

/// A client with a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    /// The daemon.
    pub(crate) server: SocketAddr,
    /// The key.
    pub(crate) key: &'a str,
}

impl Client<'_> {
    /// Creates a meter that counts every event, and one that sums the tokens of one model.
    ///
    /// # Errors
    /// When the daemon refuses or cannot be reached.
    pub(crate) fn create_meters(self) -> anyhow::Result<Meters> {
        let count = json!({
            "name": "Events", "event_name": NAME, "measurement_unit": "events",
            "aggregation": {"type": "count"},
        });
        let condition = json!({"key": "model", "operator": "equals", "value": COUNTED_MODEL});
        let tokens = json!({
            "name": "Tokens", "event_name": NAME, "measurement_unit": "tokens",
            "aggregation": {"type": "sum", "key": "tokens"},
            "filter": {"conjunction": "and", "clauses": [condition]},
        });
        let create = |meter: &Value| {
            let body = self.request("POST", "/meters", &meter.to_string())?;
            text_of(&serde_json::from_str(&body)?, "id")
        };
        Ok(Meters { count: create(&count)?, tokens: create(&tokens)? })
    }

    /// What the meters say of a customer since the hour of `start`.
    ///
    /// # Errors
    /// When the daemon refuses or cannot be reached.
    pub(crate) fn tally(
        self,
        meters: &Meters,
        customer: u64,
        start: Timestamp,
    ) -> anyhow::Result<Tally> {
        let total = |meter| {
            let customer = customer_id(customer);
            let target = usage_target(meter, start) + "&customer_id=" + &customer;
            let (status, usage) = self.exchange("GET", &target, "")?;
            // The customer has no event yet.
            if status == 404 {
                return Ok(0);
            }
            let total = text_of(&serde_json::from_str(&usage)?, "total")?;
            total.parse().with_context(|| format!("a whole total, not {total}"))
        };
        Ok(Tally { count: total(&meters.count)?, tokens: total(&meters.tokens)? })
    }

    /// The value of a metric without labels.
    ///
    /// # Errors
    /// When it is not there, or the daemon cannot be reached.
    pub(crate) fn metric(self, name: &str) -> anyhow::Result<u64> {
        let page = self.request("GET", "/metrics", "")?;
        let mut lines = page.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(known, _)| *known == name);
        let (_, value) = found.with_context(|| format!("the metric {name} is missing"))?;
        value.parse().with_context(|| format!("{name} is {value}"))
    }

    /// Whether the daemon says that it is ready.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn ready(self) -> anyhow::Result<()> {
        self.request("GET", "/readyz", "").map(drop)
    }

    /// Makes a product of one meter: a fixed price a day, and `price_per_unit` of each event.
    ///
    /// # Errors
    /// When the daemon refuses or cannot be reached.
    pub(crate) fn create_product(
        self,
        meters: &Meters,
        fixed_price: u64,
        price_per_unit: u64,
    ) -> anyhow::Result<String> {
        let meter =
            json!({ "meter_id": meters.count, "price_per_unit": price_per_unit.to_string() });
        let price = json!({
            "type": "usage_based_price", "currency": "USD", "fixed_price": fixed_price,
            "payment_frequency_count": 1, "payment_frequency_interval": "Day",
            "subscription_period_count": 1, "subscription_period_interval": "Year",
            "meters": [meter],
        });
        let product = json!({ "name": "Bench", "tax_category": "saas", "price": price });
        let body = self.request("POST", "/products", &product.to_string())?;
        text_of(&serde_json::from_str(&body)?, "product_id")
    }

    /// Makes a product that hands out credits each day, as many as can be, of which an event draws one.
    ///
    /// # Errors
    /// When the daemon refuses or cannot be reached.
    pub(crate) fn create_credit_product(self, meters: &Meters) -> anyhow::Result<String> {
        let entitlement = json!({
            "name": "Bench", "unit": "credit", "precision": 0, "overage_enabled": false,
            "rollover_enabled": false,
        });
        let made = self.request("POST", "/credit-entitlements", &entitlement.to_string())?;
        let entitlement = text_of(&serde_json::from_str(&made)?, "id")?;
        let meter = json!({
            "meter_id": meters.count, "credit_entitlement_id": entitlement,
            "meter_units_per_credit": "1",
        });
        let price = json!({
            "type": "usage_based_price", "currency": "USD", "fixed_price": 0,
            "payment_frequency_count": 1, "payment_frequency_interval": "Day",
            "subscription_period_count": 1, "subscription_period_interval": "Year",
            "meters": [meter],
        });
        let credits =
            json!([{ "credit_entitlement_id": entitlement, "credits_amount": "9999999999" }]);
        let product = json!({
            "name": "Bench", "tax_category": "saas", "price": price, "credit_entitlements": credits,
        });
        let body = self.request("POST", "/products", &product.to_string())?;
        text_of(&serde_json::from_str(&body)?, "product_id")
    }

    /// Makes an alert on every customer's count that nobody comes to: its id.
    ///
    /// # Errors
    /// When the daemon refuses or cannot be reached.
    pub(crate) fn create_alert(self, meters: &Meters) -> anyhow::Result<String> {
        let alert = json!({
            "type": "usage", "meter_id": meters.count, "threshold": "900000000000",
        });
        let body = self.request("POST", "/alerts", &alert.to_string())?;
        text_of(&serde_json::from_str(&body)?, "id")
    }

    /// Deletes an alert.
    ///
    /// # Errors
    /// When the daemon refuses or cannot be reached.
    pub(crate) fn delete_alert(self, id: &str) -> anyhow::Result<()> {
        self.request("DELETE", &format!("/alerts/{id}"), "").map(drop)
    }

    /// Makes a webhook endpoint that nobody answers at, and that is told of everything.
    ///
    /// # Errors
    /// When the daemon refuses or cannot be reached.
    pub(crate) fn create_endpoint(self) -> anyhow::Result<()> {
        let endpoint = json!({ "url": "http://127.0.0.1:1/" });
        self.request("POST", "/webhooks", &endpoint.to_string()).map(drop)
    }

    /// Moves the test clock; the answer comes when everything is durable that was due on the way.
    ///
    /// # Errors
    /// When the daemon refuses or cannot be reached.
    pub(crate) fn advance(self, to: Timestamp) -> anyhow::Result<()> {
        let body = json!({ "to": to.to_string() }).to_string();
        self.request("POST", "/clock/advance", &body).map(drop)
    }

    /// The newest invoice of a customer.
    ///
    /// # Errors
    /// When there is none, or the daemon cannot be reached.
    pub(crate) fn newest_invoice(self, customer: u64) -> anyhow::Result<Value> {
        let customer = customer_id(customer);
        let target = format!("/invoices?page_size=1&page_number=0&customer_id={customer}");
        let found: Value = serde_json::from_str(&self.request("GET", &target, "")?)?;
        let newest = found.get("items").and_then(|items| items.get(0)).cloned();
        newest.with_context(|| format!("{customer} has no invoice"))
    }

    fn request(self, method: &str, target: &str, body: &str) -> anyhow::Result<String> {
        let (status, text) = self.exchange(method, target, body)?;
        anyhow::ensure!(matches!(status, 200 | 201 | 204), "{method} {target}: {status} {text}");
        Ok(text)
    }

    fn exchange(self, method: &str, target: &str, body: &str) -> anyhow::Result<(u16, String)> {
        let Client { server, key } = self;
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {key}\r\n\
             connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n\
             {body}",
            body.len()
        );
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let answer = answer::parse(&bytes)?.context("the answer breaks off")?;
        Ok((answer.status, String::from_utf8_lossy(answer.body).into_owned()))
    }
}

impl Meters {
    /// The id of the count.
    pub(crate) fn count_id(&self) -> &str {
        &self.count
    }

    /// Path and query of the count's usage, to which a customer is to be added.
    pub(crate) fn count_target(&self, start: Timestamp) -> String {
        usage_target(&self.count, start)
    }
}

/// The hours are named, so that the end of a month during a benchmark changes nothing.
fn usage_target(meter: &str, start: Timestamp) -> String {
    let first = Hour::of(start);
    let (start, end) = (first.plus(HOURS.start).start(), first.plus(HOURS.end).start());
    format!("/usage?meter_id={meter}&start={start}&end={end}")
}

fn text_of(object: &Value, member: &str) -> anyhow::Result<String> {
    let text = object.get(member).and_then(Value::as_str);
    Ok(text.with_context(|| format!("an answer without {member}: {object}"))?.to_owned())
}
