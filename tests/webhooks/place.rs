//! A daemon that may send to this machine, and something that it has to tell of.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::client::Client;
use crate::common::daemon::{Daemon, Launch};
use crate::common::{event, wait_until};
use crate::receiver::{Got, Receiver};

pub(crate) const START: &str = "2026-01-31T10:00:00Z";

pub(crate) struct Place {
    directory: TempDir,
    pub(crate) launch: Launch,
    pub(crate) daemon: Daemon,
}

impl Place {
    /// Under a test clock.
    pub(crate) fn open() -> Self {
        Self::started(|launch| launch.at(START))
    }

    pub(crate) fn started(change: impl Fn(Launch) -> Launch) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let launch = Launch::new(directory.path()).with("QUIPU_WEBHOOKS__ALLOW_LOOPBACK", "true");
        let launch = change(launch);
        let daemon = launch.start();
        Self { directory, launch, daemon }
    }

    /// The same after `kill -9`, started as `change` says.
    pub(crate) fn killed(self, change: impl Fn(Launch) -> Launch) -> Self {
        self.daemon.kill();
        let launch = change(self.launch);
        Self { daemon: launch.start(), directory: self.directory, launch }
    }

    pub(crate) fn client(&self) -> Client {
        self.daemon.client()
    }
}

/// An endpoint at `url` with these members beside it, and its secret.
pub(crate) fn endpoint(client: &mut Client, url: &str, more: &Value) -> (String, String) {
    let mut body = json!({ "url": url });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = client.post("/webhooks", &body);
    assert_eq!(made.status, 200, "{made:?}");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let secret = client.get(&format!("/webhooks/{id}/secret")).json();
    (id, secret["secret"].as_str().unwrap().to_owned())
}

/// A customer, and an entitlement to give them.
pub(crate) fn entitlement(client: &mut Client) -> String {
    client.ingest(&[event("first", "c-1", "hello", &json!({}))]);
    let made = client.post(
        "/credit-entitlements",
        &json!({
            "name": "Tokens", "unit": "token", "precision": 0, "overage_enabled": false,
            "rollover_enabled": false,
        }),
    );
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

/// Gives a credit for this reason: it is told of once.
pub(crate) fn give(client: &mut Client, entitlement: &str, reason: &str) {
    let entry = json!({
        "amount": "1", "entry_type": "credit", "reason": reason, "idempotency_key": reason,
    });
    enter(client, entitlement, &entry);
}

/// Takes one, the same way.
pub(crate) fn take(client: &mut Client, entitlement: &str, reason: &str) {
    let entry = json!({
        "amount": "1", "entry_type": "debit", "reason": reason, "idempotency_key": reason,
    });
    enter(client, entitlement, &entry);
}

/// Enters credits by hand.
pub(crate) fn enter(client: &mut Client, entitlement: &str, entry: &Value) {
    let path = format!("/credit-entitlements/{entitlement}/balances/c-1/ledger-entries");
    let entered = client.post(&path, entry);
    assert_eq!(entered.status, 201, "{entered:?}");
}

/// Sends a test message; its id.
pub(crate) fn test(client: &mut Client, endpoint: &str) -> String {
    let answer = client.post(&format!("/webhooks/{endpoint}/test"), &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["message_id"].as_str().unwrap().to_owned()
}

/// The attempts of an endpoint, newest first, once there are so many.
pub(crate) fn attempts(client: &mut Client, endpoint: &str, count: usize) -> Vec<Value> {
    let path = format!("/webhooks/{endpoint}/attempts");
    wait_until("there are attempts", || {
        let page = client.get(&path).json();
        let data = page["data"].as_array().unwrap().clone();
        (data.len() >= count).then_some(data)
    })
}

/// What a receiver has got, once it is so much.
pub(crate) fn got(receiver: &Receiver, count: usize) -> Vec<Got> {
    wait_until("messages arrive", || Some(receiver.got()).filter(|got| got.len() >= count))
}

/// Shorter than any time after which something is tried again.
pub(crate) const MOMENT: Duration = Duration::from_millis(300);
