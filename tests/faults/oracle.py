"""What the daemon must answer, from what was acknowledged to clients, in integers.

`Ledger` holds every acknowledged event and adds it up by customer and by billing period. `Ledger.check`
is checker C: what was acknowledged is there exactly once, what has no answer is there whole or not at all,
what was refused is not there, and every total of every meter equals the ledger's exactly.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import urlencode

MILLIONTHS = 10**6
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# Events that are asked for by id in one check, of one request.
PROBED_MAX = 24
PROBED_WHOLE_MAX = 5


class Wrong(Exception):
    """An answer that is not the expected one."""


def require(is_so, *what):
    if not is_so:
        raise Wrong(" ".join(str(part) for part in what))


def require_found(check, what):
    """A check that must fail: one that passes here would prove nothing elsewhere."""
    try:
        check()
    except Wrong:
        return
    raise AssertionError(f"the check does not see {what}")


def instant(text):
    """Milliseconds since 1970 of an RFC 3339 text."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def rfc3339(millis):
    second = datetime.fromtimestamp(millis // 1000, timezone.utc)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{millis % 1000:03}Z"


def decimal(millionths):
    """The shortest decimal text."""
    whole, rest = divmod(abs(millionths), MILLIONTHS)
    text = f"{whole}.{rest:06}".rstrip("0").rstrip(".")
    return f"-{text}" if millionths < 0 else text


@dataclass(frozen=True)
class Event:
    id: str
    customer: str
    at: int
    # Millionths of the value, or nothing when the event has none.
    value: int | None

    def json(self, differs=False):
        value = self.value if not differs else (self.value or 0) + 1
        metadata = "" if value is None else f'"n":{decimal(value)}'
        return (
            f'{{"event_id":"{self.id}","customer_id":"{self.customer}","event_name":"use",'
            f'"timestamp":"{rfc3339(self.at)}","metadata":{{{metadata}}}}}'
        )


@dataclass
class Tally:
    """What count, sum and max make of some events."""

    count: int = 0
    sum: int = 0
    max: int | None = None
    missing: int = 0

    def add(self, event):
        self.count += 1
        if event.value is None:
            self.missing += 1
        else:
            self.sum += event.value
            self.max = event.value if self.max is None else max(self.max, event.value)

    def millionths(self, aggregation):
        return {"count": self.count * MILLIONTHS, "sum": self.sum, "max": self.max or 0}[aggregation]


AGGREGATIONS = ("count", "sum", "max")


def make_meters(daemon):
    """The id of a meter for each aggregation."""
    ids = {}
    for aggregation in AGGREGATIONS:
        body = {"name": aggregation, "event_name": "use", "measurement_unit": "units"}
        body["aggregation"] = {"type": aggregation, "key": None if aggregation == "count" else "n"}
        ids[aggregation] = daemon.expect(201, "POST", "/meters", body)["id"]
    return ids


class Ledger:
    """Every acknowledged event, added up."""

    def __init__(self, meters):
        self.meters = meters
        self.acked = []
        self.refused = []
        self.by_customer = defaultdict(Tally)
        self.span = None
        # Called with every event that counts; billing listens here.
        self.listeners = []

    def count(self, events):
        for event in events:
            self.by_customer[event.customer].add(event)
            first, last = self.span or (event.at, event.at)
            self.span = (min(first, event.at), max(last, event.at))
            for listener in self.listeners:
                listener(event)
        self.acked.extend(events)

    def check(self, daemon, requests, draw):
        """Checker C after a restart; counts what `requests` turn out to be.

        Gives how many of those without an answer were stored, and how many were not.
        """
        newest = []
        for request in requests:
            if request.outcome == "acked":
                self.count(request.fresh)
                newest.append(request.fresh[-1])
            elif request.outcome == "refused":
                self.refused.append(request.fresh[0])
        unknown = [request for request in requests if request.outcome == "unknown"]
        stored = sum(self._resolve(daemon, request, draw) for request in unknown)
        older = draw.sample(self.acked, min(PROBED_MAX, len(self.acked)))
        for event in newest[-PROBED_MAX:] + older:
            require(is_there(daemon, event), f"acknowledged event {event.id} is lost")
        for event in draw.sample(self.refused, min(PROBED_MAX, len(self.refused))):
            require(not is_there(daemon, event), f"refused event {event.id} is there")
        self.check_usage(daemon)
        return stored, len(unknown) - stored

    def _resolve(self, daemon, request, draw):
        """Whether a request without an answer was stored: whole, or not at all."""
        probed = request.fresh
        if len(probed) > PROBED_WHOLE_MAX:
            probed = [probed[0], probed[-1], *draw.sample(probed, PROBED_WHOLE_MAX - 2)]
        found = {is_there(daemon, event) for event in probed}
        require(len(found) == 1, f"a request is there in part: {[event.id for event in request.fresh]}")
        was_stored = found.pop()
        if len(probed) == len(request.fresh) and draw.random() < 0.5:
            # It stays as it is: nobody sends it again.
            if was_stored:
                self.count(request.fresh)
            return was_stored
        status, reply = post(daemon, request.body())
        if status == 422 and not was_stored:
            # It has become too old meanwhile.
            self.refused.append(request.fresh[0])
            return False
        size, known = len(request.fresh), len(request.again)
        expected = (0, size + known) if was_stored else (size, known)
        require(status == 200, f"a request sent again: {status} {reply}")
        counts = (reply["ingested_count"], reply["duplicate_count"])
        require(counts == expected, f"a request sent again: {counts} are new and known, not {expected}")
        self.count(request.fresh)
        return was_stored

    def check_usage(self, daemon):
        """Every meter's total of every customer."""
        if not self.span:
            return
        first, last = self.span
        span = {"start": rfc3339(first // HOUR * HOUR), "end": rfc3339(last // HOUR * HOUR + HOUR)}
        for aggregation, meter in self.meters.items():
            query = urlencode({"meter_id": meter, "page_size": 100, "page_number": 0, **span})
            items = daemon.expect(200, "GET", f"/usage?{query}")["items"]
            found = {item["customer_id"]: (item["total"], item["skipped"]["missing"]) for item in items}
            expected = {}
            for customer, tally in self.by_customer.items():
                missing = 0 if aggregation == "count" else tally.missing
                expected[customer] = (decimal(tally.millionths(aggregation)), missing)
            require(found == expected, f"{aggregation}, found and expected: {differences(found, expected)}")


def differences(found, expected):
    """Where two maps differ: both values, by key."""
    keys = {**found, **expected}
    return {key: (found.get(key), expected.get(key)) for key in keys if found.get(key) != expected.get(key)}


def is_there(daemon, event):
    status, reply = daemon.request("GET", f"/events/{event.id}")
    require(status in (200, 404), f"GET /events/{event.id}: {status} {reply}")
    return status == 200


def post(daemon, text):
    """Status and reply of a request whose body is text already."""
    return daemon.request("POST", "/events/ingest", json.loads(text))
