#!/usr/bin/env python3
"""A year of a thousand subscriptions under the test clock, against its limit.

    year.py --binary PATH [--subscriptions N] [--limit-s S]

Starts a daemon on a directory of its own, makes the subscriptions at as many instants, gives each some
usage, moves the clock by a year and prints how long that took. Every invoice must be there.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time

KEY = "year-admin-key-5d81b2"
PERIODS = 12


class Shop:
    def __init__(self, binary, directory):
        flags = ["--listen", "127.0.0.1:0", "--data-dir", directory]
        flags += ["--test-clock", "2026-01-31T10:00:00Z"]
        self.process = subprocess.Popen(
            [binary, *flags], env={"QUIPU_API_KEY": KEY}, stdout=subprocess.PIPE, text=True
        )
        port = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        self.connection = http.client.HTTPConnection("127.0.0.1", int(port.group(1)))

    def call(self, method, path, body=None):
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, headers)
        reply = self.connection.getresponse()
        text = reply.read()
        if reply.status >= 300:
            raise SystemExit(f"{method} {path}: {reply.status} {text.decode()}")
        return json.loads(text) if text else None


def fill(shop, count):
    aggregation = {"type": "sum", "key": "n"}
    meter = shop.call("POST", "/meters", {
        "name": "Units", "event_name": "use", "measurement_unit": "units", "aggregation": aggregation,
    })
    price = {
        "type": "usage_based_price", "currency": "USD", "fixed_price": 4900,
        "payment_frequency_count": 1, "payment_frequency_interval": "Month",
        "subscription_period_count": 10, "subscription_period_interval": "Year",
        "meters": [{"meter_id": meter["id"], "price_per_unit": "0.5", "free_threshold": 100}],
    }
    product = shop.call("POST", "/products", {"name": "Plan", "tax_category": "saas", "price": price})
    for number in range(count):
        shop.call("POST", "/subscriptions", {
            "product_id": product["product_id"], "quantity": 1, "billing": {"country": "US"},
            "customer": {"email": f"{number}@x.example", "name": f"Customer {number}"},
        })
        minute, second = divmod(number, 60)
        hour, minute = divmod(minute, 60)
        shop.call("POST", "/clock/advance", {"to": f"2026-01-31T{10 + hour}:{minute:02}:{second:02}.5Z"})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--subscriptions", type=int, default=1000)
    parser.add_argument("--limit-s", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        shop = Shop(options.binary, directory)
        try:
            fill(shop, options.subscriptions)
            start = time.monotonic()
            shop.call("POST", "/clock/advance", {"to": "2027-02-01T12:00:00Z"})
            took = time.monotonic() - start
            newest = shop.call("GET", "/invoices?page_size=1&page_number=0")["items"][0]["number"]
        finally:
            shop.process.terminate()
            shop.process.wait()
    expected = options.subscriptions * (1 + PERIODS)
    print(f"a year of {options.subscriptions} subscriptions: {took:.2f} s, {newest} invoices")
    if newest != expected:
        sys.exit(f"{expected} invoices were due")
    if took > options.limit_s:
        sys.exit(f"more than {options.limit_s} s")


if __name__ == "__main__":
    main()
