"""How fast the dashboard's pages are with many customers, and what its viewers cost ingest.

    python3 tests/bench/pages.py --binary target/quick/quipu [--customers 1000000] [--meters 100]

Fills a daemon with customers that all have used something, half of them twice, then asks for every page
(`PAGE_MS_MAX` is the promise), then sends events as fast as they are taken, in turns with and without 50
viewers who each have a stream and load a chart anew every second, as the script of a page does.
It fails when a page is slower than promised, or viewers cost more than `COST_MAX` of the daemon's processor
time an event. Rates are shown beside it: on a shared machine they vary more than what is looked for.
"""

import argparse
import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

KEY = "bench-admin-key-5d20aa91"
PAGE_MS_MAX = 50
COST_MAX = 0.05
VIEWERS = 50
ROUNDS = 15
# Some seconds' worth.
ROUND_EVENTS = 400_000


class Daemon:
    def __init__(self, binary, directory):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("QUIPU_")}
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", directory],
            env={**kept, "QUIPU_API_KEY": KEY}, cwd=directory, stdout=subprocess.PIPE, text=True,
        )
        self.host = self.process.stdout.readline().split("http://")[1].split(" ")[0]

    def seconds(self):
        """Processor time that the daemon has used."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Client:
    def __init__(self, host, **headers):
        self.connection = http.client.HTTPConnection(host)
        self.headers = headers

    def send(self, method, path, body=None, **headers):
        self.connection.request(method, path, body, {**self.headers, **headers})
        answer = self.connection.getresponse()
        text = answer.read()
        return answer, text


def api(host):
    return Client(host, **{"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"})


def signed_in(host):
    form = urllib.parse.urlencode({"key": KEY})
    answer, _ = Client(host).send("POST", "/dashboard/sign-in", form, **{
        "Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"})
    assert answer.status == 303, answer.status
    return Client(host, Cookie=answer.getheader("set-cookie").split(";")[0])


def batch(prefix, first, customers):
    """A thousand events; the n-th event is of the n-th customer, over and over."""
    events = (
        f'{{"event_id":"{prefix}{number}","customer_id":"cus_{number % customers:07}","event_name":'
        f'"call.{number % 10}","metadata":{{"n":{number % 1000}}}}}'
        for number in range(first, first + 1000)
    )
    return f'{{"events":[{",".join(events)}]}}'.encode()


def fill(host, customers, meters):
    client = api(host)
    ids = []
    for number in range(meters):
        answer, text = client.send("POST", "/meters", json.dumps({
            "name": f"Meter {number}", "event_name": f"call.{number % 10}", "measurement_unit": "calls",
            "aggregation": {"type": "count"} if number % 2 else {"type": "sum", "key": "n"}}))
        assert answer.status == 201, text
        ids.append(json.loads(text)["id"])
    for first in range(0, customers * 3 // 2, 1000):
        send(client, batch("fill-", first, customers))
    return ids


def send(client, body):
    while True:
        answer, text = client.send("POST", "/events/ingest", body)
        if answer.status == 200:
            return
        assert answer.status == 503, text
        time.sleep(0.05)


def pages(host, meter):
    """The milliseconds of each page, the slowest of twenty."""
    customer = "cus_0000123"
    paths = [
        "/dashboard/meters", f"/dashboard/meters/{meter}", f"/dashboard/meters/{meter}?range=month",
        f"/dashboard/meters/{meter}?range=week&split=customers", f"/dashboard/meters/{meter}/events",
        f"/dashboard/meters/{meter}/customers", "/dashboard/events",
        f"/dashboard/events?customer_id={customer}", "/dashboard/event?id=fill-123456", "/dashboard/customers",
        "/dashboard/customers?search=cus_05", f"/dashboard/customer?id={customer}", "/dashboard/settings",
    ]
    client = signed_in(host)
    # Whoever opens the list of customers has their ids put in order; that takes its time, once.
    client.send("GET", "/dashboard/customers")
    client.send("GET", "/dashboard/customers?search=cus_")
    took = {}
    for path in paths:
        times = []
        for _ in range(20):
            began = time.perf_counter()
            answer, text = client.send("GET", path)
            times.append((time.perf_counter() - began) * 1000)
            assert answer.status == 200, (path, answer.status, text[:300])
        took[path.replace(meter, "ID")] = (statistics.median(times), max(times), len(text))
    return took


def viewer(host, meter, stop):
    client = signed_in(host)
    stream = http.client.HTTPConnection(host)
    stream.request("GET", "/dashboard/live", headers=client.headers)
    answer = stream.getresponse()
    loaded_at = 0
    while not stop.is_set():
        if answer.fp.readline().startswith(b"data:") and time.monotonic() - loaded_at >= 1:
            loaded_at = time.monotonic()
            client.send("GET", f"/dashboard/meters/{meter}/chart", **{"HX-Request": "true"})
    stream.close()


def ingest_round(daemon, bodies, watched_meter):
    """Events a second, and microseconds of processor time an event."""
    stop = threading.Event()
    viewers = []
    if watched_meter:
        viewers = [threading.Thread(target=viewer, args=(daemon.host, watched_meter, stop)) for _ in range(VIEWERS)]
        for one in viewers:
            one.start()
        time.sleep(1)
    client, sent = api(daemon.host), 0
    began, used = time.monotonic(), daemon.seconds()
    for body in bodies:
        send(client, body)
        sent += 1000
    rate, cost = sent / (time.monotonic() - began), (daemon.seconds() - used) / sent * 1e6
    stop.set()
    for one in viewers:
        one.join()
    return rate, cost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--meters", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(given.binary.resolve(), directory)
        try:
            began = time.monotonic()
            ids = fill(daemon.host, given.customers, given.meters)
            print(f"{given.customers} customers and {given.meters} meters in {time.monotonic() - began:.0f} s")
            slow = []
            for path, (median, slowest, size) in pages(daemon.host, ids[3]).items():
                print(f"{median:8.1f} ms, slowest {slowest:8.1f}, {size:7} bytes  {path}")
                if median > PAGE_MS_MAX:
                    slow.append(path)
            costs = {False: [], True: []}
            for number in range(2 * ROUNDS):
                watched = number % 2 == 1
                # Prepared, so that this process does little but send; every event has an id of its own.
                first = number * ROUND_EVENTS
                bodies = [batch("live-", at, given.customers) for at in range(first, first + ROUND_EVENTS, 1000)]
                rate, cost = ingest_round(daemon, bodies, ids[3] if watched else None)
                costs[watched].append(cost)
                print(f"{'50 viewers' if watched else 'nobody':>10}: {rate:9.0f} events/s, {cost:5.2f} us an event")
            extra = statistics.median(costs[True]) / statistics.median(costs[False]) - 1
            print(f"50 viewers cost {extra:.1%} of the processor time of ingest")
        finally:
            daemon.process.terminate()
            daemon.process.wait()
    if slow or extra > COST_MAX:
        sys.exit(f"slower than promised: {slow or f'viewers, {extra:.1%}'}")


if __name__ == "__main__":
    main()
