"""Clients that send batches until the daemon is gone, and know of each request what became of it.

A request is *acked* (200), *refused* (4xx, or 503 with a hint), or *unknown* (the connection closed). A fifth
of the requests repeat something: ids that are known, some with other content, whole requests again, and
the same request on two connections at once. Every reply's counts are compared with what must be in them.
"""

import http.client
import json
import random
import threading
import time
from dataclasses import dataclass, field

from oracle import MINUTE, Event, require
from victim import KEY

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
SOCKET_WAIT_S = 30
REPEATED_PART = 0.2


@dataclass
class Request:
    fresh: list
    again: list = field(default_factory=list)
    outcome: str = "unknown"
    code: str = ""
    sent_at: float = 0.0
    done_at: float = 0.0

    def body(self):
        events = [event.json() for event in self.fresh] + [event.json(differs) for event, differs in self.again]
        return f'{{"events":[{",".join(events)}]}}'


class Client(threading.Thread):
    """One connection's thread."""

    def __init__(self, load, name, seed):
        super().__init__(name=name)
        self.load = load
        self.draw = random.Random(seed)
        self.connection = self.connect()
        self.requests = []
        self.made = 0
        # Whether the request under way is also on another connection.
        self.is_twin = False

    def connect(self):
        return http.client.HTTPConnection(*self.load.address, timeout=SOCKET_WAIT_S)

    def run(self):
        try:
            while not self.load.is_over.is_set():
                if not self.step():
                    return
        except Exception as error:  # noqa: BLE001 - told to the thread that joins
            self.load.problems.append(f"{self.name}: {error!r}")

    def step(self):
        draw = self.draw
        request = self.make()
        self.requests.append(request)
        if draw.random() < REPEATED_PART / 4:
            return self.send_twice_at_once(request)
        if self.send(self.connection, request) is None:
            return False
        if request.outcome == "acked" and draw.random() < REPEATED_PART / 4:
            again = Request([], [(event, False) for event in request.fresh])
            return self.send(self.connection, again) is not None
        if request.code:
            time.sleep(0.01)
        return True

    def make(self):
        draw, load = self.draw, self.load
        events = []
        for _ in range(draw.choice(load.sizes)):
            self.made += 1
            value = None if draw.random() < 0.05 else draw.randint(-(10**8), 10**9)
            at = load.clock + draw.randint(-50 * MINUTE, 4 * MINUTE)
            events.append(Event(f"{self.name}-{self.made}", draw.choice(load.customers), at, value))
        again = []
        if draw.random() < REPEATED_PART and load.known:
            chosen = {load.known[draw.randrange(len(load.known))] for _ in range(1 + len(events) // 5)}
            again = [(event, draw.random() < 0.1) for event in chosen]
        return Request(events, again)

    def send(self, connection, request):
        """Sends and judges; gives how many events were new, or nothing when there is no answer."""
        body = request.body()
        request.sent_at = time.time()
        try:
            connection.request("POST", "/events/ingest", body, HEADERS)
            reply = connection.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return None
        return self.judge(request, reply, json.loads(text))

    def judge(self, request, reply, found):
        request.done_at = time.time()
        if reply.status != 200:
            request.outcome, request.code = "refused", found["code"]
            if reply.status == 503:
                assert int(reply.headers["retry-after-ms"]) > 0, f"503 without a hint: {found}"
            else:
                assert reply.status == 422, f"{reply.status} {found}"
            return 0
        request.outcome = "acked"
        differing = sum(differs for _, differs in request.again)
        total = found["ingested_count"] + found["duplicate_count"]
        assert total == len(request.fresh) + len(request.again), f"{found} of {request}"
        assert found["conflict_count"] == differing, f"{found} of {request}"
        if not self.is_twin:
            assert found["ingested_count"] == len(request.fresh), f"{found} of {request}"
        self.load.known.extend(request.fresh)
        return found["ingested_count"]

    def send_twice_at_once(self, request):
        """The same ids on two connections: they are new to one of both."""
        other, body = self.connect(), request.body()
        self.is_twin = True
        new, outcomes = 0, []
        request.sent_at = time.time()
        for connection in (self.connection, other):
            try:
                connection.request("POST", "/events/ingest", body, HEADERS)
            except OSError:
                connection.close()
        for connection in (self.connection, other):
            try:
                reply = connection.getresponse()
                new += self.judge(request, reply, json.loads(reply.read()))
                outcomes.append(request.outcome)
            except (OSError, http.client.HTTPException):
                connection.close()
                outcomes.append("unknown")
        other.close()
        self.is_twin = False
        request.outcome = min(outcomes, key=("acked", "unknown", "refused").index)
        if outcomes == ["acked", "acked"]:
            assert new == len(request.fresh), f"{new} of {len(request.fresh)} were new to two connections"
        return "unknown" not in outcomes


class Load:
    """Clients at work on one process; `clock` is where its test clock stands, in milliseconds."""

    def __init__(self, daemon, ledger, draw, *, name, clock, customers, clients=8, sizes=(1, 1, 5, 20, 60)):
        self.address = daemon.address
        self.clock = clock
        self.customers = customers
        self.sizes = sizes
        self.known = list(draw.sample(ledger.acked, min(2000, len(ledger.acked))))
        self.is_over = threading.Event()
        self.problems = []
        self.clients = [Client(self, f"{name}-{number}", draw.random()) for number in range(clients)]
        for client in self.clients:
            client.start()

    def requests(self):
        return [request for client in self.clients for request in client.requests]

    def acked_count(self):
        return sum(request.outcome == "acked" for request in self.requests())

    def events_acked(self):
        return sum(len(request.fresh) for request in self.requests() if request.outcome == "acked")

    def join(self):
        """Every request that was sent; raises when a reply was wrong."""
        self.is_over.set()
        for client in self.clients:
            client.join()
            client.connection.close()
        if self.problems:
            raise AssertionError("; ".join(self.problems))
        return self.requests()


def require_nothing_after(requests, failed_at, what):
    late = [request for request in requests if request.outcome == "acked" and request.sent_at > failed_at]
    require(not late, f"{len(late)} requests that were sent after {what} were acknowledged")
