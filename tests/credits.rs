//! Balances, grants and ledgers of credits, as a client sees them: across checkpoints and restarts, and
//! before and after usage stands in the ledger.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, Launch};
use crate::common::{event, make_meter, wait_until};

const START: &str = "2026-03-01T00:00:00Z";
const SOON: &str = "20ms";

/// A daemon under a test clock that makes checkpoints all the time, and an entitlement.
struct Shop {
    _directory: TempDir,
    launch: Launch,
    daemon: Daemon,
    entitlement: String,
    events: u32,
}

impl Shop {
    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let launch =
            Launch::new(directory.path()).at(START).with("QUIPU_CHECKPOINT__INTERVAL", SOON);
        let daemon = launch.start();
        let kind = json!({
            "name": "Tokens", "unit": "token", "precision": 2, "overage_enabled": false,
            "rollover_enabled": false,
        });
        let made = daemon.client().post("/credit-entitlements", &kind);
        assert_eq!(made.status, 201, "{made:?}");
        let entitlement = text(&made.json()["id"]);
        let shop = Self { _directory: directory, launch, daemon, entitlement, events: 0 };
        shop.customer("acme");
        shop
    }

    fn customer(&self, id: &str) {
        let customer = json!({ "customer_id": id, "name": "A", "email": "" });
        assert_eq!(self.daemon.client().post("/customers", &customer).status, 200);
    }

    /// Subscribes acme to 100 credits a month, of which ten tokens draw one.
    fn subscribed(&self) -> String {
        let mut client = self.daemon.client();
        let sum = json!({ "type": "sum", "key": "tokens" });
        let meter = make_meter(&mut client, "llm", &sum, &Value::Null);
        let product = json!({
            "name": "Plan", "tax_category": "saas",
            "price": {
                "type": "usage_based_price", "currency": "USD", "fixed_price": 1000,
                "payment_frequency_count": 1, "payment_frequency_interval": "Month",
                "subscription_period_count": 10, "subscription_period_interval": "Year",
                "meters": [{
                    "meter_id": meter, "credit_entitlement_id": self.entitlement,
                    "meter_units_per_credit": "10",
                }],
            },
            "credit_entitlements": [{
                "credit_entitlement_id": self.entitlement, "credits_amount": "100",
                "overage_enabled": true, "price_per_unit": "5", "overage_limit": "30",
            }],
        });
        let product = client.post("/products", &product);
        assert_eq!(product.status, 200, "{product:?}");
        let subscription = json!({
            "product_id": product.json()["product_id"], "quantity": 1,
            "customer": { "customer_id": "acme" }, "billing": { "country": "PE" },
        });
        let made = client.post("/subscriptions", &subscription);
        assert_eq!(made.status, 200, "{made:?}");
        text(&made.json()["subscription_id"])
    }

    fn use_tokens(&mut self, tokens: u32) {
        self.events += 1;
        let id = format!("e{}", self.events);
        let event = event(&id, "acme", "llm", &json!({ "tokens": tokens }));
        let answer = self.daemon.client().ingest(&[event]);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn advance(&self, to: &str) {
        let answer = self.daemon.client().post("/clock/advance", &json!({ "to": to }));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn path(&self, customer: &str, rest: &str) -> String {
        format!("/credit-entitlements/{}/balances/{customer}{rest}", self.entitlement)
    }

    fn enter(&self, customer: &str, entry: &Value) -> Answer {
        self.daemon.client().post(&self.path(customer, "/ledger-entries"), entry)
    }

    fn credit(&self, customer: &str, amount: u32) -> Value {
        let entry = json!({ "entry_type": "credit", "amount": amount.to_string() });
        let answer = self.enter(customer, &entry);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.daemon.client().get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// A list, walked by pages of this size.
    fn walked(&self, path: &str, page_size: usize) -> Vec<Value> {
        walk(&mut self.daemon.client(), path, page_size)
    }

    fn ledger(&self, page_size: usize) -> Vec<Value> {
        self.walked(&self.path("acme", "/ledger"), page_size)
    }

    fn grants(&self) -> Vec<Value> {
        self.walked(&self.path("acme", "/grants"), 7)
    }

    /// Waits until every record is in a checkpoint, and with it every row on disk.
    fn wait_for_the_disk(&self) {
        let mut client = self.daemon.client();
        wait_until("rows have moved to disk", || {
            let metrics = client.get("/metrics").text();
            let of = |name: &str| {
                let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
                line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
            };
            (of("quipu_checkpoint_lsn ") == of("quipu_last_lsn ")).then_some(())
        });
    }

    fn restarted(self, is_killed: bool) -> Self {
        let code = if is_killed { self.daemon.kill() } else { self.daemon.terminate() }.code;
        assert_eq!(code, (!is_killed).then_some(0));
        Self { daemon: self.launch.start(), ..self }
    }
}

fn walk(client: &mut Client, path: &str, page_size: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for number in 0.. {
        let answer = client.get(&format!("{path}?page_size={page_size}&page_number={number}"));
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let items = answer.json()["items"].as_array().unwrap().clone();
        if items.is_empty() {
            break;
        }
        found.extend(items);
    }
    found
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Checks that rows are newest first and that each begins where the one before it in time has ended.
fn chains(rows: &[Value]) {
    assert!(rows.is_sorted_by(|newer, older| text(&newer["id"]) > text(&older["id"])), "{rows:?}");
    for pair in rows.windows(2) {
        assert_eq!(pair[0]["balance_before"], pair[1]["balance_after"], "{pair:?}");
        assert_eq!(pair[0]["overage_before"], pair[1]["overage_after"], "{pair:?}");
    }
    let oldest = rows.last().unwrap();
    assert_eq!([&oldest["balance_before"], &oldest["overage_before"]], ["0", "0"]);
}

#[test]
fn rows_chain_across_checkpoints_and_restarts() {
    let mut shop = Shop::open();
    shop.subscribed();
    let mut before: Vec<Value> = Vec::new();
    for round in 0..12_u32 {
        shop.use_tokens(170);
        if round % 3 == 0 {
            let given = shop.credit("acme", round + 1);
            assert_eq!(shop.ledger(100)[0]["id"], given["id"]);
        }
        // Usage of this round stands in the ledger after a minute.
        shop.advance(&format!("2026-03-01T{:02}:01:00Z", round + 1));
        if round % 2 == 1 {
            shop.wait_for_the_disk();
        }
        let rows = shop.ledger(3);
        chains(&rows);
        assert!(rows.len() > before.len());
        assert_eq!(rows[rows.len() - before.len()..], before, "what stood there stays");
        assert_eq!(shop.ledger(100), rows);
        let balance = shop.get(&shop.path("acme", ""));
        assert_eq!(balance["balance"], rows[0]["balance_after"]);
        assert_eq!(balance["overage"], rows[0]["overage_after"]);
        assert_eq!(balance["last_transaction_at"], rows[0]["created_at"]);
        let grants = shop.grants();
        if round % 4 == 3 {
            shop = shop.restarted(round % 8 == 3);
            assert_eq!(shop.ledger(5), rows);
            assert_eq!(shop.grants(), grants);
            assert_eq!(shop.get(&shop.path("acme", "")), balance);
        }
        before = rows;
    }
    // 12 x 17 credits were used, 100 and 1 + 4 + 7 + 10 were there, and 30 may be overage.
    let balance = shop.get(&shop.path("acme", ""));
    assert_eq!([&balance["balance"], &balance["overage"]], ["0", "30"]);
    let uncovered = before.iter().filter_map(|row| row["metadata"].get("uncovered"));
    let uncovered = uncovered.map(|text| text.as_str().unwrap().parse::<u32>().unwrap());
    assert_eq!(uncovered.sum::<u32>(), 204 - 122 - 30);
}

/// Ends what goes on beside a test, also when that fails.
struct End<'e>(&'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn pages_are_complete_and_without_doubles_while_checkpoints_are_made() {
    let shop = Shop::open();
    let mut client = shop.daemon.client();
    shop.customer("other");
    let others = shop.path("other", "/ledger-entries");
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Somebody else's entries make every checkpoint one that is due.
        let mut client_of_other = shop.daemon.client();
        let (others, has_ended) = (&others, &has_ended);
        scope.spawn(move || {
            while !has_ended.load(Ordering::Relaxed) {
                for kind in ["credit", "debit"] {
                    let entry = json!({ "entry_type": kind, "amount": "1" });
                    assert_eq!(client_of_other.post(others, &entry).status, 201);
                }
            }
        });
        let _end = End(has_ended);
        let (mut rows, mut given): (Vec<String>, Vec<String>) = Default::default();
        for round in 1..=40_u32 {
            let entry = shop.credit("acme", round);
            rows.insert(0, text(&entry["id"]));
            given.insert(0, text(&entry["grant_id"]));
            if round % 2 == 0 {
                let entry = json!({ "entry_type": "debit", "amount": round.to_string() });
                rows.insert(0, text(&shop.enter("acme", &entry).json()["id"]));
            }
            let ids = |items: Vec<Value>| items.iter().map(|item| text(&item["id"])).collect();
            let found: Vec<String> = ids(walk(&mut client, &shop.path("acme", "/ledger"), 9));
            assert_eq!(found, rows);
            let found: Vec<String> = ids(walk(&mut client, &shop.path("acme", "/grants"), 4));
            assert_eq!(found, given);
        }
    });
    chains(&shop.ledger(100));
}

#[test]
fn what_is_read_is_the_same_before_and_after_usage_stands_in_the_ledger() {
    let mut shop = Shop::open();
    let subscription = shop.subscribed();
    shop.credit("acme", 7);
    // 50 credits; then the rest of both grants, and 13 of overage.
    for (tokens, minute) in [(500, 1), (700, 3)] {
        shop.use_tokens(tokens);
        let read = |shop: &Shop| {
            let balance = shop.get(&shop.path("acme", ""));
            let own = json!([balance["id"], balance["balance"], balance["overage"]]);
            let status = |status: &str| {
                let path = format!("{}?status={status}", shop.path("acme", "/grants"));
                shop.get(&path)["items"].as_array().unwrap().len()
            };
            json!({
                "balance": own,
                "listed": shop.get(&format!("/credit-entitlements/{}/balances", shop.entitlement))
                    ["items"][0]["balance"],
                "grants": shop.grants(),
                "by status": [status("active"), status("depleted"), status("expired")],
                "customer": shop.get("/customers/acme/credit-entitlements"),
                "subscription": shop.get(&format!("/subscriptions/{subscription}/credit-usage")),
                "cart": shop.get(&format!("/subscriptions/{subscription}"))
                    ["credit_entitlement_cart"],
            })
        };
        let (rows, before) = (shop.ledger(10).len(), read(&shop));
        shop.advance(&format!("2026-03-01T00:{minute:02}:00Z"));
        assert_eq!(read(&shop), before);
        assert!(shop.ledger(10).len() > rows);
        shop = shop.restarted(true);
        assert_eq!(read(&shop), before);
    }
    let balance = shop.get(&shop.path("acme", ""));
    assert_eq!([&balance["balance"], &balance["overage"]], ["0", "13"]);
    let cart = &shop.get(&format!("/subscriptions/{subscription}"))["credit_entitlement_cart"][0];
    assert_eq!([&cart["remaining_balance"], &cart["overage_balance"]], ["0", "13"]);
    let usage = shop.get(&format!("/subscriptions/{subscription}/credit-usage"));
    assert_eq!(usage["items"][0]["remaining_headroom"], "17");
}

/// What the settings of a subscription say beside them is what its customer has, while usage waits for the ledger
/// and after, and the metrics count all of it.
#[test]
fn a_subscription_shows_what_its_customer_has_of_what_it_hands_out() {
    let mut shop = Shop::open();
    let subscription = shop.subscribed();
    let shown = |shop: &Shop| {
        let body = shop.get(&format!("/subscriptions/{subscription}"));
        let cart = &body["credit_entitlement_cart"][0];
        [text(&cart["remaining_balance"]), text(&cart["overage_balance"])]
    };
    assert_eq!(shown(&shop), ["100", "0"]);
    shop.use_tokens(255);
    assert_eq!(shown(&shop), ["74.5", "0"]);
    shop.credit("acme", 7);
    assert_eq!(shown(&shop), ["81.5", "0"]);
    shop.use_tokens(900);
    assert_eq!(shown(&shop), ["0", "8.5"]);
    let metric = |shop: &Shop, name: &str| {
        let page = shop.daemon.client().get("/metrics").text();
        let line = page.lines().find(|line| line.starts_with(&format!("quipu_{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap()
    };
    assert_eq!(metric(&shop, "credit_entitlements"), 1);
    assert_eq!(metric(&shop, "credit_pools"), 1);
    shop.use_tokens(10);
    // A test clock moves on with a record alone: until then its events wait.
    shop.advance("2026-03-01T00:00:30Z");
    assert_eq!(metric(&shop, "credit_pools_unsettled"), 1);
    let rows = metric(&shop, "credit_ledger_rows_total");
    assert_eq!(rows, shop.ledger(100).len() as u64);
    shop.advance("2026-03-01T00:01:30Z");
    assert_eq!(metric(&shop, "credit_pools_unsettled"), 0);
    assert_eq!(metric(&shop, "credit_ledger_rows_total"), rows + 1);
    // What a start replays was written before.
    shop = shop.restarted(true);
    assert_eq!(metric(&shop, "credit_ledger_rows_total"), 0);
    assert_eq!(shown(&shop), ["0", "9.5"]);
}

/// Under a test clock usage has the very instant of what follows it, and comes before that.
#[test]
fn nobody_takes_by_hand_what_usage_has_drawn_at_this_instant() {
    let mut shop = Shop::open();
    shop.subscribed();
    shop.use_tokens(900);
    assert_eq!(shop.get(&shop.path("acme", ""))["balance"], "10");
    let debit = |amount: &str| json!({ "entry_type": "debit", "amount": amount });
    let refused = shop.enter("acme", &debit("10.01"));
    assert_eq!(refused.error(), (400, "INSUFFICIENT_BALANCE".to_owned()));
    assert_eq!(shop.enter("acme", &debit("10")).status, 201);
    shop.advance("2026-03-01T00:01:00Z");
    let balance = shop.get(&shop.path("acme", ""));
    assert_eq!([&balance["balance"], &balance["overage"]], ["0", "0"]);
    chains(&shop.ledger(10));
}

#[test]
fn what_is_not_there_is_not_found_and_what_is_no_question_is_refused() {
    let shop = Shop::open();
    let mut client = shop.daemon.client();
    let status = |path: &str| {
        let answer = shop.daemon.client().get(path);
        if answer.status == 200 { (200, String::new()) } else { answer.error() }
    };
    let not_found = (404, "NOT_FOUND".to_owned());
    for path in [
        shop.path("nobody", ""),
        shop.path("nobody", "/ledger"),
        shop.path("nobody", "/grants"),
        // A customer who never had any.
        shop.path("acme", ""),
        "/credit-entitlements/cde_none/balances".to_owned(),
        "/credit-entitlements/cde_none/balances/acme".to_owned(),
        "/credit-entitlements/cde_none/balances/acme/ledger".to_owned(),
        "/credit-entitlements/cde_none/balances/acme/grants".to_owned(),
        "/customers/nobody/credit-entitlements".to_owned(),
        "/subscriptions/sub_none/credit-usage".to_owned(),
    ] {
        assert_eq!(status(&path), not_found, "{path}");
    }
    let refused = (422, "INVALID_QUERY_PARAMS".to_owned());
    for (rest, query) in [
        ("/ledger", "page_size=101"),
        ("/ledger", "page_number=-1"),
        ("/ledger", "transaction_type=gift"),
        ("/ledger", "start_date=yesterday"),
        ("/ledger", "end_date=2026-13-01"),
        ("/grants", "status=gone"),
        ("/grants", "page_size=0"),
    ] {
        assert_eq!(status(&format!("{}?{query}", shop.path("acme", rest))), refused, "{query}");
    }
    for rest in ["/ledger", "/grants", "/ledger?page_number=18446744073709551615&page_size=100"] {
        assert_eq!(shop.get(&shop.path("acme", rest))["items"], json!([]), "{rest}");
    }
    assert_eq!(client.get(&shop.path("%FF", "/ledger")).status, 400);
    let path = shop.path("acme", "/ledger-entries");
    for (body, status, code) in [
        ("", 400, "INVALID_REQUEST_BODY"),
        ("{\"amount\"", 400, "INVALID_REQUEST_BODY"),
        ("[]", 422, "INVALID_REQUEST_PARAMETERS"),
        ("{}", 422, "INVALID_REQUEST_PARAMETERS"),
    ] {
        let answer = client.send("POST", &path, &[], body.as_bytes()).unwrap();
        assert_eq!(answer.error(), (status, code.to_owned()), "{body}");
    }
    assert_eq!(status(&shop.path("acme", "")), not_found, "nothing was changed");
}

#[test]
fn a_deleted_entitlement_gives_no_more_and_what_there_is_can_be_seen_and_taken() {
    let shop = Shop::open();
    shop.credit("acme", 10);
    let entitlement = format!("/credit-entitlements/{}", shop.entitlement);
    assert_eq!(shop.daemon.client().delete(&entitlement).status, 200);
    let credit = json!({ "entry_type": "credit", "amount": "1" });
    assert_eq!(shop.enter("acme", &credit).error(), (404, "NOT_FOUND".to_owned()));
    let debit = json!({ "entry_type": "debit", "amount": "4" });
    assert_eq!(shop.enter("acme", &debit).status, 201);
    assert_eq!(shop.get(&shop.path("acme", ""))["balance"], "6");
    assert_eq!(shop.get("/customers/acme/credit-entitlements")["items"][0]["balance"], "6");
    assert_eq!(shop.ledger(10).len(), 2);
}

#[test]
fn an_idempotency_key_repeats_the_answer_of_an_entry_even_from_disk() {
    let shop = Shop::open();
    let path = shop.path("acme", "/ledger-entries");
    let entry = json!({ "entry_type": "credit", "amount": "3", "metadata": { "a": 1.50 } });
    let send = |shop: &Shop, entry: &Value| {
        shop.daemon.client().post_with(&path, &[("idempotency-key", "k")], entry)
    };
    let first = send(&shop, &entry);
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(send(&shop, &entry).json(), first.json());
    shop.credit("acme", 5);
    shop.wait_for_the_disk();
    assert_eq!(send(&shop, &entry).json(), first.json());
    let shop = shop.restarted(true);
    assert_eq!(send(&shop, &entry).json(), first.json());
    let other = json!({ "entry_type": "credit", "amount": "4" });
    assert_eq!(send(&shop, &other).error(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    assert_eq!(shop.get(&shop.path("acme", ""))["balance"], "8");
}
