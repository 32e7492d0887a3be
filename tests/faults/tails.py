"""The end of the log cut, zeroed and garbled at every byte: dropped only where nobody can know better.

A daemon is killed after its last acknowledgement. Each byte of the last three frames of its newest segment is
where a damage begins, and `quipu verify` of a copy must say what a model of the rule says: a bad frame that a
later frame vouches for is damage (exit 65, the file named), and only what nothing vouches for is dropped.
A part is started too: it must refuse alike, or have exactly the events of the good frames.
"""

import shutil
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from disks import until
from oracle import make_meters, require
from victim import Refused, Victim

SETTINGS = {"ingest.max_body": 32 << 10, "log.segment_bytes": 64 << 10, "data.reserve_bytes": 1 << 20}
EVENTS = 12
ATTEMPTS = 10
FRAMES_HURT = 3
SEGMENT_HEADER = 4096
BLOCK = 512
HEADER = struct.Struct("<IIQQqII")
MAGIC = 0x544F4E4B
CHECKSUM = 4
EXIT_DAMAGE = 65
WORKERS = 2
# Odd, so that every kind of damage has its turn.
START_EVERY = 37


@dataclass(frozen=True)
class Frame:
    """Where it stands; `first` and `count` of its LSNs."""

    at: int
    header_end: int
    end: int
    next_at: int
    first: int
    count: int


def read_frames(log):
    frames, at = [], SEGMENT_HEADER
    while at + HEADER.size <= len(log):
        magic, length, first, _, _, count, _ = HEADER.unpack_from(log, at)
        if magic != MAGIC:
            break
        end = at + HEADER.size + length + CHECKSUM
        next_at = -(-end // BLOCK) * BLOCK
        frames.append(Frame(at, at + HEADER.size, end, next_at, first, count))
        at = next_at
    return frames


def expected(log, hurt, frames):
    """65, or the last LSN that must be there: what the log's documented rule makes of the hurt bytes."""

    def is_as_written(start, end):
        return hurt[start:end] == log[start:end]

    for place, frame in enumerate(frames):
        if is_as_written(frame.at, frame.end):
            continue
        if any(is_as_written(later.at, later.header_end) for later in frames[place + 1 :]):
            return EXIT_DAMAGE
        return frame.first - 1
    return frames[-1].first + frames[-1].count - 1


def damages(log, frame, at, draw):
    """Each way in which the log is hurt from this byte on."""
    rest = len(log) - at
    within = frame.next_at - at
    yield "cut", log[:at]
    yield "zeroed to the end", log[:at] + bytes(rest)
    yield "garbled in one frame", log[:at] + draw.randbytes(within) + log[frame.next_at :]
    yield "one byte", log[:at] + bytes([log[at] ^ draw.randint(1, 255)]) + log[at + 1 :]


def first_lsn(segment):
    with segment.open("rb") as log:
        log.seek(SEGMENT_HEADER)
        head = log.read(HEADER.size)
    magic, _, first, *_ = HEADER.unpack(head)
    return first if magic == MAGIC else 0


def newest_segment(data):
    """The segment that is being written: one that is ready stands behind it, with what it held before or nothing."""
    return max(data.glob("wal-0*"), key=lambda segment: (first_lsn(segment), segment.name))


def ends_with_mark(data):
    """Whether the last frame is a mark, which vouches for the one before it; written after an idle moment."""
    frames = read_frames(newest_segment(data).read_bytes())
    return bool(frames) and frames[-1].count == 0


def wait_for_mark(data):
    until(lambda: ends_with_mark(data), "mark at the end of an idle log")


class Scene:
    """A directory of a killed daemon, and copies of it to hurt."""

    def __init__(self, bench, is_idle):
        self.bench = bench
        self.origin = bench.victim(Victim(bench.binary, bench.directory(), SETTINGS))
        self.origin.start()
        make_meters(self.origin)
        self.lsns = {}
        self._fill("first")
        for attempt in range(ATTEMPTS):
            if is_idle:
                wait_for_mark(self.origin.data)
            self.origin.kill()
            if ends_with_mark(self.origin.data) == is_idle:
                break
            # Too slow a machine: a mark came before the kill.
            self.origin.start()
            self._fill(f"again{attempt}")
        else:
            raise AssertionError(f"{ATTEMPTS} kills came too late")
        self.segment = newest_segment(self.origin.data)
        self.log = self.segment.read_bytes()
        self.frames = read_frames(self.log)

    def _fill(self, name):
        for number in range(EVENTS):
            metadata = {"n": number, "text": self.bench.draw.randbytes(150).hex()}
            event = {"event_id": f"{name}-{number}", "customer_id": "c", "event_name": "use", "metadata": metadata}
            lsn = self.origin.expect(200, "POST", "/events/ingest", {"events": [event]})["lsn"]
            self.lsns[lsn] = event["event_id"]

    def copy(self):
        copy = self.bench.victim(Victim(self.bench.binary, self.bench.directory(), SETTINGS))
        shutil.copytree(self.origin.data, copy.data)
        return copy


def verify_one(copy, scene, frames, what, hurt):
    (copy.data / scene.segment.name).write_bytes(hurt)
    code, text = copy.verify()
    rule = expected(scene.log, hurt, frames)
    wanted = EXIT_DAMAGE if rule == EXIT_DAMAGE else 0
    require(code == wanted, f"verify, {what}: exit {code}, not {wanted}: {text}")
    require(code == 0 or scene.segment.name in text, f"verify, {what}: the file is not named: {text}")
    whole = frames[-1].first + frames[-1].count - 1
    return "found" if rule == EXIT_DAMAGE else "whole" if rule == whole else "dropped"


def start_one(scene, frames, what, hurt):
    """What the start of a copy does; it goes away afterwards."""
    copy = scene.copy()
    (copy.data / scene.segment.name).write_bytes(hurt)
    rule = expected(scene.log, hurt, frames)
    try:
        copy.start()
    except Refused as refused:
        require(rule == EXIT_DAMAGE, f"start, {what}: refused, where nothing is known to be missing: {refused}")
        require(refused.code == EXIT_DAMAGE, f"start, {what}: exit {refused.code}: {refused.text}")
        require(scene.segment.name in refused.text, f"start, {what}: the file is not named: {refused.text}")
    else:
        require(rule != EXIT_DAMAGE, f"start, {what}: it serves without what was acknowledged")
        found = {event["lsn"]: event["event_id"] for event in copy.all_items("/events")}
        kept = {lsn: event for lsn, event in scene.lsns.items() if lsn <= rule}
        require(found == kept, f"start, {what}: events {found}, not {kept}")
        again = {"event_id": "again", "customer_id": "c", "event_name": "use"}
        lsn = copy.expect(200, "POST", "/events/ingest", {"events": [again]})["lsn"]
        require(lsn == rule + 1, f"start, {what}: lsn {lsn} is given after {rule}")
    finally:
        copy.end()
        shutil.rmtree(copy.data)


def tail(bench):
    told = Counter()
    for is_idle, step in ((False, 1), (True, 1 if bench.is_long else 7)):
        scene = Scene(bench, is_idle)
        frames = scene.frames
        hurts = []
        for frame in frames[-FRAMES_HURT:]:
            for at in range(frame.at, frame.next_at, step):
                hurts += [(f"{kind} at byte {at}", hurt) for kind, hurt in damages(scene.log, frame, at, bench.draw)]
        with ThreadPoolExecutor(WORKERS) as workers:
            parts = [workers.submit(run_part, scene, frames, hurts[place::WORKERS]) for place in range(WORKERS)]
            for part in parts:
                told.update(part.result())
    verified = told["found"] + told["dropped"] + told["whole"]
    return (
        f"{verified} damaged tails verified: {told['found']} found with exit {EXIT_DAMAGE}, {told['dropped']} dropped "
        f"where nothing vouches for them, {told['whole']} harmless (padding); {told['started']} of them started, alike"
    )


def run_part(scene, frames, hurts):
    copy = scene.copy()
    told = Counter()
    for number, (what, hurt) in enumerate(hurts):
        told[verify_one(copy, scene, frames, what, hurt)] += 1
        if number % START_EVERY == 0:
            start_one(scene, frames, what, hurt)
            told["started"] += 1
    return told
