#!/usr/bin/env python3
"""Replays an hour of real traffic against the daemon and compares every total with the file.

Each row of the trace is an event with its own timestamp and its line number as id, of one of 50
customers. The daemon runs under the test clock, which moves as the trace goes. A tenth of the rows
is sent twice, and the daemon is killed three times: between two requests, after a whole request
whose reply nobody reads, and in the middle of a request's body. What cannot be known to be applied
is sent again. Then count, sum, max and last of the token columns, per customer and in all, must
equal what a few lines of Python compute from the file; once more after a clean restart, and once
more three hours later after another kill.

Only the standard library is used. Without --trace a trace of the same form is made from a seed.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import llm_trace
from daemon import Daemon

BATCH_ROWS_MAX = 300
KILLS = ("between requests", "after a whole request", "inside a body")
LONG_ANSWER = 100


@dataclass(frozen=True)
class Measure:
    """A meter, how the file's rows give its value, and how customers' values give the whole."""

    aggregation: str
    key: str | None
    of: Callable
    in_all: Callable | None
    is_filtered: bool = False

    def body(self, name):
        body = {"name": name, "event_name": "llm.request", "measurement_unit": "units"}
        body["aggregation"] = {"type": self.aggregation, "key": self.key}
        if self.is_filtered:
            clause = {"key": "generated", "operator": "greater_than_or_equals", "value": LONG_ANSWER}
            body["filter"] = {"conjunction": "and", "clauses": [clause]}
        return body


# The oracle: what the file says, in as few words as possible.
MEASURES = {
    "count": Measure("count", None, len, sum),
    "context, sum": Measure("sum", "context", lambda rows: sum(row.context for row in rows), sum),
    "context, max": Measure("max", "context", lambda rows: max(row.context for row in rows), max),
    "generated, sum": Measure("sum", "generated", lambda rows: sum(row.generated for row in rows), sum),
    "generated, max": Measure("max", "generated", lambda rows: max(row.generated for row in rows), max),
    "generated, last": Measure(
        "last", "generated", lambda rows: max(rows, key=lambda row: (row.ticks, row.line)).generated, None
    ),
    "long answers, count": Measure(
        "count", None, lambda rows: sum(row.generated >= LONG_ANSWER for row in rows), sum, is_filtered=True
    ),
}


class Checks:
    """Comparisons made; a failed one is always printed, a passed one when it says something."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def equal(self, what, found, expected, is_shown=True):
        if found == expected:
            self.passed += 1
            if is_shown:
                shown = f"{found:,}" if isinstance(found, int) else found
                print(f"  ok      {what}: {shown}")
        else:
            self.failed += 1
            print(f"  FAILED  {what}: found {found}, expected {expected}")


@dataclass(frozen=True)
class Batch:
    fresh: list
    again: list

    def body(self):
        return {"events": [row.event() for row in self.again + self.fresh]}


def cut(rows, draw):
    """Batches of varying size; a tenth of all rows comes again in a batch after its first."""
    twice = set(draw.sample(rows, len(rows) // 10))
    batches, waiting, first = [], [], 0
    while first < len(rows):
        size = draw.choice((1, draw.randint(2, 20), draw.randint(20, BATCH_ROWS_MAX)))
        fresh = rows[first : first + size]
        again = waiting[: draw.randint(0, BATCH_ROWS_MAX)]
        batches.append(Batch(fresh, again))
        waiting = waiting[len(again) :] + [row for row in fresh if row in twice]
        first += size
    return batches + [Batch([], waiting)] if waiting else batches


def replay(daemon, rows, draw, checks):
    """Sends every row; gives where the clock stands."""
    batches = cut(rows, draw)
    kills = dict(zip((len(batches) * part // 4 for part in (1, 2, 3)), KILLS))
    clock = rows[0].ticks
    new = duplicates = 0
    for index, batch in enumerate(batches):
        if batch.fresh:
            # Some rows are ahead of the clock, some behind, all inside the ingest window.
            offset = draw.randint(-3 * llm_trace.MINUTE, 2 * llm_trace.MINUTE)
            clock = max(clock, batch.fresh[-1].ticks + offset)
        daemon.expect(200, "POST", "/clock/advance", {"to": llm_trace.rfc3339(clock)})
        kill = kills.get(index)
        if kill in ("after a whole request", "inside a body"):
            part = 1.0 if kill == "after a whole request" else 0.5
            with daemon.send_part("/events/ingest", batch.body(), part):
                time.sleep(draw.uniform(0, 0.001))
                daemon.kill()
            restart(daemon, clock, kill, checks)
        reply = daemon.expect(200, "POST", "/events/ingest", batch.body())
        found = reply["ingested_count"]
        if kill == "after a whole request":
            print(f"  the request in flight {'was not' if found else 'was'} applied")
            # Whole or not at all: the batch sent again is either all new or all known.
            checks.equal("its rows that are new now", found, len(batch.fresh) if found else 0)
            rows_count = len(batch.fresh) + len(batch.again)
            checks.equal("its rows", found + reply["duplicate_count"], rows_count)
            found = len(batch.fresh)
        else:
            counts = (found, reply["duplicate_count"], reply["conflict_count"])
            expected = (len(batch.fresh), len(batch.again), 0)
            checks.equal(f"reply to batch {index}", counts, expected, is_shown=False)
        new += found
        duplicates += len(batch.again)
        if kill == "between requests":
            daemon.kill()
            restart(daemon, clock, kill, checks)
    checks.equal(f"new events in {len(batches)} batches", new, len(rows))
    checks.equal("rows sent twice", duplicates, len(rows) // 10)
    return clock


def restart(daemon, clock, kill, checks):
    daemon.start()
    now = llm_trace.instant(daemon.expect(200, "GET", "/clock")["now"])
    shown = [llm_trace.rfc3339(instant) for instant in (now, clock)]
    checks.equal(f"the clock after a kill -9 {kill}", *shown)


def compare(daemon, rows, meter_ids, checks):
    """Compares every meter, per customer and in all, by hour and whole, with the rows."""
    start = min(row.ticks for row in rows) // llm_trace.HOUR * llm_trace.HOUR
    end = max(row.ticks for row in rows) // llm_trace.HOUR * llm_trace.HOUR + llm_trace.HOUR
    span = {"start": llm_trace.rfc3339(start), "end": llm_trace.rfc3339(end)}
    by_customer = defaultdict(list)
    for row in rows:
        by_customer[row.customer].append(row)
    for name, measure in MEASURES.items():
        query = {"meter_id": meter_ids[name], **span}
        page = {"interval": "hour", "page_size": 100, "page_number": 0}
        items = daemon.expect(200, "GET", f"/usage?{urlencode(query | page)}")["items"]
        expected = {customer: measure.of(own) for customer, own in by_customer.items()}
        found = {item["customer_id"]: int(item["total"]) for item in items}
        agreeing = sum(found.get(customer, 0) == value for customer, value in expected.items())
        checks.equal(f"customers whose {name} agrees", agreeing, len(expected))
        checks.equal(f"customers with {name} that have none", found.keys() - expected, set(), is_shown=False)
        largest_first = sorted(found.values(), reverse=True)
        checks.equal(f"order of {name}", list(found.values()), largest_first, is_shown=False)
        if measure.in_all:
            in_all = measure.in_all(found.values())
            checks.equal(f"{name} in all", in_all, measure.in_all(expected.values()))
        for item in items:
            checks.equal(f"{name} of {item['customer_id']} by hour", buckets(item),
                         by_hour(measure, by_customer[item["customer_id"]]), is_shown=False)
        for customer, value in expected.items():
            path = f"/usage?{urlencode(query | {'customer_id': customer})}"
            total = daemon.expect(200, "GET", path)["total"]
            checks.equal(f"{name} of {customer}", int(total), value, is_shown=False)


def clean(values):
    return {key: value for key, value in values.items() if value != 0}


def buckets(item):
    return clean({llm_trace.instant(bucket["start"]): int(bucket["value"]) for bucket in item["buckets"]})


def by_hour(measure, rows):
    hours = defaultdict(list)
    for row in rows:
        hours[row.ticks // llm_trace.HOUR * llm_trace.HOUR].append(row)
    return clean({hour: measure.of(own) for hour, own in hours.items()})


def check_file(rows, expected, checks):
    """Whether the file itself is the one that was meant."""
    found = (len(rows), sum(row.context for row in rows), sum(row.generated for row in rows))
    for what, one, other in zip(("rows", "context tokens", "generated tokens"), found, expected or found):
        checks.equal(f"{what} in the trace", one, other)


def run(daemon, rows, seed, checks):
    meter_ids = {}
    for name, measure in MEASURES.items():
        meter_ids[name] = daemon.expect(201, "POST", "/meters", measure.body(name))["id"]
    print(f"replay, seed {seed}")
    clock = replay(daemon, rows, random.Random(seed), checks)
    print("usage after the trace")
    compare(daemon, rows, meter_ids, checks)
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        found = daemon.expect(200, "GET", f"/events/{row.line}")
        shown = [llm_trace.rfc3339(instant) for instant in (llm_trace.instant(found["timestamp"]), row.ticks)]
        checks.equal(f"timestamp of event {row.line}", *shown)
    print("usage after a clean restart")
    checks.equal("exit code after SIGTERM", daemon.stop(), 0)
    daemon.start()
    compare(daemon, rows, meter_ids, checks)
    print("usage three hours later, after another kill -9")
    daemon.expect(200, "POST", "/clock/advance", {"to": llm_trace.rfc3339(clock + 3 * llm_trace.HOUR)})
    daemon.kill()
    daemon.start()
    compare(daemon, rows, meter_ids, checks)
    checks.equal("exit code after SIGTERM", daemon.stop(), 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", type=Path, required=True, help="the daemon")
    parser.add_argument("--trace", type=Path, help="a CSV file: instant, context tokens, generated tokens")
    parser.add_argument("--seed", type=int, default=4646, help="of batches, repeats and, without a file, the trace")
    parser.add_argument("--expect", type=int, nargs=3, metavar=("ROWS", "CONTEXT", "GENERATED"),
                        help="what the trace must hold in all")
    arguments = parser.parse_args()
    text = arguments.trace.read_text() if arguments.trace else llm_trace.make(arguments.seed)
    rows = llm_trace.read(text)
    checks = Checks()
    print(f"trace: {arguments.trace.name if arguments.trace else 'made from the seed'}")
    check_file(rows, arguments.expect, checks)
    with tempfile.TemporaryDirectory(prefix="quipu-trace-") as directory:
        daemon = Daemon(arguments.binary.resolve(), Path(directory), llm_trace.rfc3339(rows[0].ticks))
        daemon.start()
        try:
            run(daemon, rows, arguments.seed, checks)
        finally:
            daemon.end()
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
