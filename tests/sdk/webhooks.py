"""Every kind of payload, verified by Dodo's SDK for Python and by the library of Standard Webhooks.

It needs what `requirements.txt` beside it names, and the daemon:

    python3 tests/sdk/webhooks.py --binary target/quick/quipu
"""

import argparse
import json
import os
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dodopayments import DodoPayments
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

KEY = "sdk-tests-admin-key-7f3a9c51"
NOW = "2026-03-10T12:00:00Z"
DEADLINE_S = 60

# What the story below makes happen.
EXPECTED = {
    "payment.processing",
    "payment.succeeded",
    "payment.failed",
    "subscription.active",
    "subscription.renewed",
    "subscription.updated",
    "subscription.on_hold",
    "subscription.paused",
    "subscription.unpaused",
    "subscription.plan_changed",
    "subscription.cancelled",
    "credit.added",
    "credit.deducted",
    "credit.expired",
    "credit.manual_adjustment",
    "credit.balance_low",
    "webhook.test",
}


class Receiver:
    """Keeps what comes, and answers 200."""

    def __init__(self):
        got = self.got = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                got.append((dict(self.headers.items()), body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def types(self):
        return {json.loads(body)["type"] for _, body in list(self.got)}


class Daemon:
    """A daemon under a test clock, in a directory of its own; its payments are marked by hand."""

    def __init__(self, binary, directory):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("QUIPU_")}
        settings = {
            "QUIPU_API_KEY": KEY,
            "QUIPU_WEBHOOKS__ALLOW_LOOPBACK": "true",
            "QUIPU_BILLING__COLLECTION": "manual",
        }
        arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", directory]
        self.process = subprocess.Popen(
            [binary, *arguments, "--test-clock", NOW], env={**kept, **settings}, cwd=directory,
            stdout=subprocess.PIPE, text=True,
        )
        self.url = self.process.stdout.readline().split("serves ")[1].split(" ")[0]

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {KEY}")
        request.add_header("Content-Type", "application/json")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data) as reply:
                text = reply.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{method} {path}: {refused.code} {refused.read()}") from refused

    def post(self, path, body=None):
        return self.call("POST", path, {} if body is None else body)

    def mark(self, status):
        """Marks the payments that wait."""
        for payment in self.call("GET", "/payments?status=processing")["items"]:
            self.post(f"/payments/{payment['payment_id']}/mark", {"status": status})


def story(daemon, webhook):
    """Makes each kind of thing happen."""
    customer = daemon.post("/customers", {"name": "Ann", "email": "ann@example.com"})["customer_id"]
    credit = daemon.post("/credit-entitlements", {
        "name": "Tokens", "unit": "token", "precision": 2, "overage_enabled": False,
        "rollover_enabled": False,
    })["id"]
    meter = daemon.post("/meters", {
        "name": "Calls", "event_name": "api.call", "measurement_unit": "calls",
        "aggregation": {"type": "count"},
    })["id"]

    def product(name, price):
        return daemon.post("/products", {
            "name": name, "tax_category": "saas",
            "price": {
                "type": "usage_based_price", "currency": "USD", "fixed_price": price, "discount": 0,
                "purchasing_power_parity": False,
                "payment_frequency_count": 1, "payment_frequency_interval": "Month",
                "subscription_period_count": 1, "subscription_period_interval": "Year",
                "meters": [{
                    "meter_id": meter, "credit_entitlement_id": credit, "meter_units_per_credit": "1",
                }],
            },
            "credit_entitlements": [{
                "credit_entitlement_id": credit, "credits_amount": "100",
                "low_balance_threshold_percent": 20,
            }],
        })["product_id"]

    plan, other = product("Plan", 4900), product("Other", 9900)
    subscription = daemon.post("/subscriptions", {
        "product_id": plan, "quantity": 1, "customer": {"customer_id": customer},
        "billing": {"country": "US"},
    })["subscription_id"]
    daemon.mark("succeeded")
    events = [
        {"event_id": f"e-{n}", "customer_id": customer, "event_name": "api.call"} for n in range(85)
    ]
    daemon.post("/events/ingest", {"events": events})
    daemon.post("/clock/advance", {"to": "2026-03-10T12:02:00Z"})
    entries = f"/credit-entitlements/{credit}/balances/{customer}/ledger-entries"
    daemon.post(entries, {"entry_type": "credit", "amount": "5"})
    daemon.post(entries, {"entry_type": "debit", "amount": "3"})
    daemon.post("/clock/advance", {"to": "2026-04-10T14:00:00Z"})
    daemon.mark("failed")
    payment = daemon.call("GET", "/payments?status=failed")["items"][0]["payment_id"]
    daemon.post(f"/payments/{payment}/retry")
    daemon.mark("succeeded")
    path = f"/subscriptions/{subscription}"
    daemon.post(f"{path}/change-plan", {
        "product_id": other, "quantity": 1, "proration_billing_mode": "do_not_bill",
    })
    daemon.call("PATCH", path, {"status": "paused"})
    daemon.post("/clock/advance", {"to": "2026-04-12T14:00:00Z"})
    daemon.call("PATCH", path, {"status": "active"})
    daemon.call("PATCH", path, {"status": "cancelled"})
    daemon.post(f"/webhooks/{webhook}/test")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    binary = os.path.abspath(parser.parse_args().binary)
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(binary, directory)
        try:
            webhook = daemon.post("/webhooks", {"url": receiver.url})["id"]
            client = DodoPayments(bearer_token=KEY, base_url=daemon.url)
            secret = client.webhooks.retrieve_secret(webhook).secret
            others = [client.webhooks.create(url=receiver.url, disabled=True).id for _ in range(4)]
            for limit in (1, 2, 5, 50):
                listed = [each.id for each in client.webhooks.list(limit=limit)]
                assert listed == [webhook, *others], listed
            client.webhooks.update(others[0], filter_types=["payment.succeeded"])
            assert client.webhooks.retrieve(others[0]).filter_types == ["payment.succeeded"]
            client.webhooks.delete(others[0])
            story(daemon, webhook)
            ends = time.monotonic() + DEADLINE_S
            while not EXPECTED <= receiver.types():
                missing = EXPECTED - receiver.types()
                assert time.monotonic() < ends, f"not told of {sorted(missing)}"
                time.sleep(0.05)
        finally:
            daemon.process.terminate()
            daemon.process.wait()
    library, wrong = Webhook(secret), Webhook("whsec_" + "A" * 32)
    client = DodoPayments(bearer_token=KEY, webhook_key=secret)
    for headers, body in receiver.got:
        headers = {name.lower(): value for name, value in headers.items()}
        assert library.verify(body, headers) == json.loads(body)
        unwrapped = client.webhooks.unwrap(body.decode(), headers=headers)
        assert unwrapped.type == json.loads(body)["type"]
        for broken in (lambda: wrong.verify(body, headers), lambda: library.verify(body + b" ", headers)):
            try:
                broken()
            except WebhookVerificationError:
                continue
            raise AssertionError("a wrong signature was taken for a right one")
    print(f"{len(receiver.got)} payloads of {len(receiver.types())} kinds verify")


if __name__ == "__main__":
    main()
