"""The daemon as a process, and the API by plain requests."""

import json
import os
import subprocess
import urllib.error
import urllib.request

KEY = "dashboard-tests-admin-key-2b7c41"


class Daemon:
    """A daemon on a directory of its own; under a test clock when it is given where that stands."""

    def __init__(self, binary, directory, clock):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("QUIPU_")}
        settings = {"QUIPU_API_KEY": KEY, "QUIPU_DATA__RESERVE_BYTES": "1048576"}
        arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", directory]
        if clock:
            arguments += ["--test-clock", clock]
        self.process = subprocess.Popen(
            [binary, *arguments], env={**kept, **settings}, cwd=directory,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        self.url = self.process.stdout.readline().split("serves ")[1].split(" ")[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def call(self, method, path, body=None):
        """The status and the JSON of an answer."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {KEY}")
        request.add_header("Content-Type", "application/json")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data) as reply:
                text = reply.read()
                return reply.status, json.loads(text) if text else None
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())

    def post(self, path, body):
        """The JSON of an answer that must be one."""
        status, found = self.call("POST", path, body)
        assert status < 300, (path, status, found)
        return found

    def ingest(self, *events):
        return self.post("/events/ingest", {"events": list(events)})


def event(number, customer="cus_1", name="llm.tokens", **metadata):
    return {"event_id": str(number), "customer_id": customer, "event_name": name, "metadata": metadata}


def meter(daemon, **changed):
    body = {"name": "Tokens", "event_name": "llm.tokens", "measurement_unit": "tokens",
            "aggregation": {"type": "sum", "key": "tokens"}}
    return daemon.post("/meters", {**body, **changed})


def plan(daemon, meter_id, **changed):
    """A product: 49 dollars a month, and 2 cents a token beyond 1000."""
    price = {"type": "usage_based_price", "currency": "USD", "fixed_price": 4900,
             "payment_frequency_count": 1, "payment_frequency_interval": "Month",
             "subscription_period_count": 1, "subscription_period_interval": "Year",
             "purchasing_power_parity": False, "discount": 0,
             "meters": [{"meter_id": meter_id, "price_per_unit": "2", "free_threshold": 1000}]}
    return daemon.post("/products", {"name": "Pro plan", "tax_category": "saas", "price": price, **changed})


def subscribe(daemon, product, customer):
    return daemon.post("/subscriptions", {
        "product_id": product["product_id"], "quantity": 1,
        "customer": {"customer_id": customer}, "billing": {"country": "US"},
    })
