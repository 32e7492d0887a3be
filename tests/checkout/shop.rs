//! A shop under a test clock, and what is asked of it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, Launch};
use crate::common::make_meter;

pub(crate) const START: &str = "2026-01-31T10:00:00Z";

pub(crate) struct Shop {
    pub(crate) directory: TempDir,
    pub(crate) launch: Launch,
    pub(crate) daemon: Daemon,
    pub(crate) meter: String,
}

impl Shop {
    pub(crate) fn open() -> Self {
        Self::open_with("")
    }

    /// With these settings in its file.
    pub(crate) fn open_with(settings: &str) -> Self {
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
    pub(crate) fn killed(self) -> Self {
        let Self { directory, launch, daemon, meter } = self;
        daemon.kill();
        let daemon = launch.start();
        Self { directory, launch, daemon, meter }
    }

    pub(crate) fn product(&self, name: &str, price: &Value) -> String {
        let product = json!({ "name": name, "tax_category": "saas", "price": price });
        text(&done(&self.daemon.client().post("/products", &product))["product_id"])
    }

    /// Sold once at `price`.
    pub(crate) fn book(&self, price: i64) -> String {
        self.product("Book", &once(price, "USD"))
    }

    /// Paid each month in advance, with a meter at half a cent.
    pub(crate) fn plan(&self, fixed: i64) -> String {
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

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.daemon.client().post(path, body)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        done(&self.daemon.client().get(path))
    }

    pub(crate) fn items(&self, path: &str) -> Vec<Value> {
        self.get(path)["items"].as_array().unwrap().clone()
    }

    pub(crate) fn advance(&self, to: &str) {
        done(&self.post("/clock/advance", &json!({ "to": to })));
    }

    /// A confirmed order of these products by a new customer, with `more` members.
    pub(crate) fn order(&self, cart: &Value, more: &Value) -> Answer {
        let mut body = json!({
            "product_cart": cart, "confirm": true,
            "customer": { "email": "ada@shop.example", "name": "Ada" },
            "billing_address": { "country": "PE" },
        });
        merge(&mut body, more);
        self.post("/checkouts", &body)
    }

    /// The session of these products, with `more` members.
    pub(crate) fn session(&self, cart: &Value, more: &Value) -> (String, String) {
        let mut body = json!({ "product_cart": cart });
        merge(&mut body, more);
        let made = done(&self.post("/checkouts", &body));
        let url = text(&made["checkout_url"]);
        let path = url.strip_prefix(&format!("http://{}", self.daemon.address)).unwrap();
        (text(&made["session_id"]), path.to_owned())
    }

    /// A person's browser: no key.
    pub(crate) fn open_page(&self, path: &str) -> Answer {
        Client::new(self.daemon.address, None).get(path)
    }

    pub(crate) fn submit(&self, path: &str, form: &str) -> Answer {
        submit(self.daemon.address, path, form)
    }
}

/// A person presses the button.
pub(crate) fn submit(address: SocketAddr, path: &str, form: &str) -> Answer {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len(),
    );
    Client::new(address, None).exchange(request.as_bytes()).unwrap()
}

pub(crate) fn once(price: i64, currency: &str) -> Value {
    json!({ "type": "one_time_price", "currency": currency, "price": price })
}

pub(crate) fn merge(body: &mut Value, more: &Value) {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
}

pub(crate) fn done(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

pub(crate) fn item(product: &str, quantity: i64) -> Value {
    json!({ "product_id": product, "quantity": quantity })
}
