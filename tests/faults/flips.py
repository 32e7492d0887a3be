"""Single bits flipped in every kind of file: found or harmless, never silently wrong.

One directory is stopped cleanly, another is killed; both have a log, history, snapshots, rows, flushed ids,
subscriptions and invoices. Each flip is made in a copy, which is verified and started. Either the start
refuses, or the daemon answers every question (usage, events, invoices, payments, known ids sent again) as the
undamaged one, or the question whose data is hurt gets an error.
"""

import json
import re
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.parse import urlencode

from billing import Billing
from load import Load
from oracle import DAY, HOUR, MINUTE, Ledger, Wrong, instant, make_meters, require, rfc3339
from tails import wait_for_mark
from victim import SMALL, Refused, Victim

SETTINGS = SMALL | {
    "ingest.max_body": 32 << 10,
    "log.segment_bytes": 64 << 10,
    "dedupe.generation_ids": 1000,
    "checkpoint.events": 1000,
}
CUSTOMERS = [f"customer-{number}" for number in range(5)]
KINDS = ("identity", "wal-0", "history-", "snapshot-", "state.redb", "ids.redb")
PER_KIND, PER_KIND_LONG = 48, 2000
# A key of an hour's or a day's row: meter, customer, time. A checksum of the row cannot tell that the row is not
# found at all, so that these bytes have a share of their own.
KEYS = "state.redb keys"
# Of January and February 2026, where the clock stands.
ROW_KEY = re.compile(rb"\0\0\0[\0-\x0f]\0\0\0[\0-\x0f]\x80(?:\x07[\x80\x81]|\0\x50).", re.DOTALL)
ROW_KEY_BYTES = 12
EVENTS_MIN = 2000
MADE_WAIT_S = 30
WORKERS = 2
AGAIN_BATCH = 150
SHOWN_MAX = 3
EXIT_DAMAGE = 65
# redb meets some damage with a panic; the process then ends with a message.
EXIT_PANIC = 101


class Origin:
    """A directory with every kind of file, and what its daemon answers."""

    def __init__(self, bench, is_clean):
        self.bench = bench
        self.daemon = bench.victim(Victim(bench.binary, bench.directory(), SETTINGS))
        self.daemon.start()
        self.ledger = Ledger(make_meters(self.daemon))
        self.billing = Billing(self.daemon, self.ledger, CUSTOMERS[:3])
        clock = instant(self.daemon.expect(200, "GET", "/clock")["now"])
        for number, move in enumerate((HOUR, 5 * HOUR, DAY, 3 * HOUR, 30 * MINUTE)):
            self._fill(f"b{number}", clock, EVENTS_MIN * (number + 1) // 5)
            clock += move
            self.daemon.expect(200, "POST", "/clock/advance", {"to": rfc3339(clock)})
        self._wait_for_files(clock)
        # A tail behind the last checkpoint; a mark vouches for it.
        self._fill("tail", clock, len(self.ledger.acked) + 50)
        wait_for_mark(self.daemon.data)
        if is_clean:
            require(self.daemon.stop() == 0, "a clean end")
        else:
            self.daemon.kill()
        self.files = {path.name: path.read_bytes() for path in sorted(self.daemon.data.iterdir())}
        kept = [list(name for name in self.files if name.startswith(kind)) for kind in KINDS]
        self.by_kind = dict(zip(KINDS, kept))
        require(all(kept), f"a kind of file is missing: {sorted(self.files)}")
        code, text = self.daemon.verify()
        require(code == 0, f"verify before any flip: exit {code} {text}")

    def _fill(self, name, clock, until):
        """Loads until so many events are acknowledged in all."""
        load = Load(self.daemon, self.ledger, self.bench.draw, name=name, clock=clock, customers=CUSTOMERS, clients=2)
        before = len(self.ledger.acked)
        while before + load.events_acked() < until:
            time.sleep(0.005)
        requests = load.join()
        self.ledger.check(self.daemon, requests, self.bench.draw)

    def _wait_for_files(self, clock):
        """Goes on until there is history: a segment must be full, and below two checkpoints."""
        deadline = time.monotonic() + MADE_WAIT_S
        while True:
            names = [path.name for path in self.daemon.data.iterdir()]
            counts = {kind: sum(name.startswith(kind) for name in names) for kind in ("history-", "snapshot-")}
            if counts["history-"] >= 1 and counts["snapshot-"] >= 2:
                return
            require(time.monotonic() < deadline, f"no history after {MADE_WAIT_S} s: {sorted(names)}")
            self._fill(f"more{len(self.ledger.acked)}", clock, len(self.ledger.acked) + 100)
            time.sleep(0.3)

    def copy(self):
        """A copy to hurt, without its files."""
        return self.bench.victim(Victim(self.bench.binary, self.bench.directory(), SETTINGS))

    def restore(self, copy):
        shutil.rmtree(copy.data, ignore_errors=True)
        copy.data.mkdir(mode=0o700)
        for name, content in self.files.items():
            (copy.data / name).write_bytes(content)
            (copy.data / name).chmod(0o600)

    def answers(self, daemon):
        """Every answer of a daemon, by question; of an unanswered one the status."""
        first, last = self.ledger.span
        span = {"start": rfc3339(first // HOUR * HOUR), "end": rfc3339(last // HOUR * HOUR + HOUR)}
        paths = ["/meters", "/customers", "/products", "/subscriptions", "/payments", "/invoices", "/events", "/keys"]
        questions = [f"{path}?page_size=100&page_number={page}" for path in paths for page in range(self.pages(path))]
        hourly = {"interval": "hour", "page_size": 100, "page_number": 0, **span}
        questions += [f"/usage?{urlencode({'meter_id': id, **hourly})}" for id in self.ledger.meters.values()]
        # Whole days are read from their own rows.
        days = {"start": rfc3339(first // DAY * DAY), "end": rfc3339(last // DAY * DAY + DAY)}
        questions += [f"/usage?{urlencode({'customer_id': customer, **days})}" for customer in CUSTOMERS]
        page = "page_size=100&page_number=0"
        questions += [f"/subscriptions/{id}/usage-history?{page}" for id in self.billing.subscriptions]
        questions += [f"/customers/{customer}/upcoming-invoice" for customer in CUSTOMERS[:3]]
        step = max(1, len(self.ledger.acked) // 12)
        questions += [f"/events/{event.id}" for event in self.ledger.acked[::step]]
        questions += [f"/events?customer_id={CUSTOMERS[4]}&{page}", "/events/never-sent", "/clock", "/billing/status"]
        found = {question: daemon.request("GET", question) for question in questions}
        for start in range(0, len(self.ledger.acked), AGAIN_BATCH):
            again = [json.loads(event.json()) for event in self.ledger.acked[start : start + AGAIN_BATCH]]
            found[f"ids from {start}"] = daemon.request("POST", "/events/ingest", {"events": again})
        return found

    def pages(self, path):
        return -(-len(self.ledger.acked) // 100) if path == "/events" else 1


def flip_bit(origin, kind, draw):
    """A file of the kind, and it with one bit flipped; mostly of a byte that is not zero."""
    names = origin.by_kind["state.redb" if kind == KEYS else kind]
    name = draw.choices(names, [len(origin.files[name]) for name in names])[0]
    content = bytearray(origin.files[name])
    at = draw.randrange(len(content))
    if kind == KEYS:
        at = draw.choice([found.start() for found in ROW_KEY.finditer(content)]) + draw.randrange(ROW_KEY_BYTES)
    elif draw.random() < 0.6:
        while not content[at] and any(content):
            at = draw.randrange(len(content))
    content[at] ^= 1 << draw.randrange(8)
    return name, at, bytes(content)


def judge(origin, copy, expected, name, content):
    """What became of one flip: how it was found, or `harmless`."""
    origin.restore(copy)
    (copy.data / name).write_bytes(content)
    (copy.directory / "stderr").write_bytes(b"")
    verified, text = copy.verify()
    require(verified >= 0 and verified != EXIT_PANIC, f"verify ended with {verified}: {text}")
    try:
        copy.start()
        found = origin.answers(copy)
    except Refused as refused:
        return judge_end(refused.code, refused.text, name, verified, "refused")
    except (OSError, HTTPException):
        return judge_end(copy.exit_code(), copy.errors(), name, verified, "ended")
    finally:
        copy.end()
    differing = {question: answer for question, answer in found.items() if answer != expected[question]}
    silent = [question for question, answer in differing.items() if answer[0] < 500]
    if silent:
        example = silent[0]
        found, wanted = (json.dumps(answers[example][1]) for answers in (found, expected))
        at = next((at for at, (one, other) in enumerate(zip(found, wanted)) if one != other), 0)
        raise Wrong(f"{len(silent)} answers are silently wrong, verify exits with {verified}: {example} "
                    f"says ...{found[max(0, at - 60) : at + 60]}..., not ...{wanted[max(0, at - 60) : at + 60]}...")
    if differing:
        # A name is wanted in the log too; where it is not, the line of the case says so.
        return "found when read" if name in copy.errors() else "found when read, file not named"
    if verified:
        return "found by verify, answers right"
    return "harmless"


def judge_end(code, text, name, verified, how):
    """How a daemon that does not serve said why."""
    require(code >= 0, f"a signal ended it: {code} {text[-1500:]}")
    if code == EXIT_PANIC:
        return f"{how} by a panic"
    if code != EXIT_DAMAGE:
        print(f"  {name}: {how} with {code}, which should be {EXIT_DAMAGE}: {text.strip()[-300:]}")
    named = "" if name in text else ", file not named"
    missed = "" if verified else ", not seen by verify"
    return f"{how} with {code}{named}{missed}"


def flips(bench):
    origins = [Origin(bench, is_clean) for is_clean in (True, False)]
    for origin in origins:
        copy = origin.copy()
        origin.restore(copy)
        copy.start()
        origin.expected = origin.answers(copy)
        copy.kill()
        refused = {question: answer for question, answer in origin.expected.items() if answer[0] not in (200, 404)}
        require(not refused, f"an undamaged daemon refuses {refused}")
        # A second start must answer the same, or the comparison would say nothing.
        copy.start()
        require(origin.answers(copy) == origin.expected, "two starts of one directory answer differently")
        copy.end()
    work = []
    for kind in (*KINDS, KEYS):
        for number in range(PER_KIND_LONG if bench.is_long else PER_KIND):
            origin = origins[number % 2]
            work.append((kind, origin, *flip_bit(origin, kind, bench.draw)))
    bench.draw.shuffle(work)
    told = {kind: Counter() for kind in (*KINDS, KEYS)}
    wrong = {}
    with ThreadPoolExecutor(WORKERS) as workers:
        for part in [workers.submit(run_part, work[place::WORKERS], wrong) for place in range(WORKERS)]:
            for kind, outcome in part.result():
                told[kind][outcome] += 1
    for kind, outcomes in told.items():
        print(f"  {kind:15} {', '.join(f'{count} {outcome}' for outcome, count in sorted(outcomes.items()))}")
    for kind, examples in wrong.items():
        for what in examples[:SHOWN_MAX]:
            print(f"  WRONG: {what}")
    require(not wrong, f"{sum(map(len, wrong.values()))} of {len(work)} flips were wrong: {', '.join(wrong)}")
    harmless = sum(outcomes["harmless"] for outcomes in told.values())
    return (
        f"{len(work)} bits flipped in {len(KINDS)} kinds of files: {len(work) - harmless} found, {harmless} harmless, "
        f"none silently wrong"
    )


def run_part(work, wrong):
    """Kind and outcome of each flip; what must not be goes to `wrong`."""
    copies = {}
    outcomes = []
    for kind, origin, name, at, content in work:
        copy = copies.setdefault(id(origin), origin.copy())
        try:
            outcomes.append((kind, judge(origin, copy, origin.expected, name, content)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - all of them are told together
            wrong.setdefault(kind, []).append(f"{name} byte {at}: {error}"[:900])
            outcomes.append((kind, "WRONG"))
    return outcomes
