"""A disk that refuses: from the failing call on nothing is acknowledged, and the process ends with 74.

`sync_error` lets strace fail one call of one kind of file, once: a daemon that tried again would be told
that all is well. The log of strace shows that no failed sync is repeated. Then the power is cut, so that only
what was really synced is left. `device_error` is the same with a device that takes no writes any more.
"""

import re
import time
from collections import Counter
from dataclasses import dataclass, field

from disks import FailingDisk, LoopDisk
from load import Load, require_nothing_after
from oracle import HOUR, Ledger, instant, make_meters, require, rfc3339
from victim import Refused, Victim

CUSTOMERS = [f"customer-{number}" for number in range(6)]
DISK_MIB = 128
EXIT_DISK = 74
HIT_WAIT_S = 15
END_WAIT_S = 5
GOING_ON_S = 0.4
# Segments that one run of the daemon may begin.
SEGMENTS = 400


@dataclass(frozen=True)
class Fault:
    """The call that fails, on files of this name (all, when there is none), and the range its turn is drawn from."""

    call: str
    file: str | None
    turns: tuple
    error: str = "EIO"


# strace counts the turns of each thread by itself.
FAULTS = [
    Fault("fdatasync", "log", (3, 8)),
    Fault("fdatasync", "log", (9, 40)),
    Fault("fdatasync", "log", (41, 120)),
    Fault("pwrite64", "log", (3, 60)),
    Fault("pwrite64", "log", (3, 60), "ENOSPC"),
    Fault("fdatasync", "state.redb", (3, 12)),
    Fault("fdatasync", "ids.redb", (3, 6)),
    Fault("fdatasync", "wal-spare", (3, 4)),
    Fault("fdatasync", None, (1, 2)),
    Fault("fdatasync", None, (3, 9)),
    Fault("fsync", None, (1, 1)),
    Fault("fsync", None, (2, 4)),
]

LOG_FILE = re.compile(r"/wal-(\d+|next)$")
# Without these the daemon cannot go on. It can without a spare segment; whether it can without a sync of the
# names depends on whose they were.
NEEDED_FILE = re.compile(r"/(wal-\d+|wal-next|state\.redb|ids\.redb|snapshot-[^/]*)$")


def strace(fault, turn, log, data):
    calls = ",".join(dict.fromkeys((fault.call, "fdatasync", "fsync", "close")))
    command = ["strace", "-D", "-f", "-y", "-ttt", "--seccomp-bpf", "-e", f"trace={calls}", "-o", str(log)]
    command += ["-e", f"inject={fault.call}:error={fault.error}:when={turn}"]
    newest = max((int(path.name[4:]) for path in data.glob("wal-0*")), default=0)
    names = [fault.file] if fault.file else []
    if fault.file == "log":
        names = [f"wal-{number:010}" for number in range(newest + 1, newest + SEGMENTS)]
    return command + [argument for name in names for argument in ("-P", str(data / name))]


@dataclass
class Failure:
    """A call that failed, and the syncs of the same file while it stayed open."""

    at: float
    path: str
    later: list = field(default_factory=list)
    is_closed: bool = False


# Process, instant, then a call with its file, or the end of a call that another thread's interrupted.
LINE = re.compile(r"^(\d+) +(\d+\.\d+) (?:<\.\.\. )?(\w+)(?:\(\d+<([^>]*)>| resumed>)(.*)$")


def read_log(log):
    """Every failed call; one for each thread at most."""
    failures = []
    unfinished = {}
    for text in log.read_text(errors="replace").splitlines():
        if not (found := LINE.match(text)):
            continue
        process, at, call, path, rest = found.groups()
        for failure in failures:
            if path == failure.path and call == "close":
                failure.is_closed = True
            elif path == failure.path and call in ("fdatasync", "fsync") and not failure.is_closed:
                failure.later.append(text)
        path = path or unfinished.get(process)
        unfinished[process] = path
        if "(INJECTED)" in rest:
            failures.append(Failure(float(at), path))
    return failures


def sync_error(bench):
    draw = bench.draw
    directory = bench.directory()
    disk = bench.keep(LoopDisk(directory, DISK_MIB))
    data = disk.at / "data"
    plain = bench.victim(Victim(bench.binary, directory, data=data))
    plain.start()
    ledger = Ledger(make_meters(plain))
    clock = instant(plain.expect(200, "GET", "/clock")["now"])
    told = Counter()
    rounds = FAULTS * (10 if bench.is_long else 1)
    for number, fault in enumerate(rounds):
        plain.kill()
        turn = draw.randint(*fault.turns)
        what = f"{fault.call} {turn} of {fault.file or 'any file'} with {fault.error}"
        log = directory / f"strace-{number}"
        hurt = bench.victim(Victim(bench.binary, directory, data=data, wrapper=strace(fault, turn, log, data)))
        requests = []
        try:
            hurt.start()
        except Refused as refused:
            require(refused.code == EXIT_DISK, f"exit {refused.code} at the start after {what}: {refused.text}")
            told["at the start"] += 1
        else:
            requests = hit(hurt, ledger, draw, f"s{number}", clock, log, what, told)
        check_log(read_log(log), requests, what)
        disk.cut()
        hurt.end()
        disk.restore()
        code, text = plain.verify()
        require(code == 0, f"verify after {what}: exit {code} {text}")
        plain.start()
        ledger.check(plain, requests, draw)
        clock += HOUR // 4
        plain.expect(200, "POST", "/clock/advance", {"to": rfc3339(clock)})
    require(plain.stop() == 0, "a clean end")
    return (
        f"{len(rounds)} failing calls: {told['ended']} times under load it ended with {EXIT_DISK}, "
        f"{told['at the start']} times at the start, "
        f"{told['went on']} times it went on (a spare segment, old names); no second sync, no answer after; "
        f"{len(ledger.acked)} events through as many power cuts"
    )


def hit(daemon, ledger, draw, name, clock, log, what, told):
    """Loads the daemon until a call has failed and what must follow has followed; gives the requests."""
    load = Load(daemon, ledger, draw, name=name, clock=clock, customers=CUSTOMERS)
    deadline = time.monotonic() + HIT_WAIT_S
    while not (failures := read_log(log)):
        require(time.monotonic() < deadline, f"{what} was not met in {HIT_WAIT_S} s")
        time.sleep(0.01)
    if not NEEDED_FILE.search(failures[0].path):
        before = load.acked_count()
        time.sleep(GOING_ON_S)
        # Meanwhile another thread may have come to a turn of its own, on a file that is needed.
        ends = any(not failure.path.endswith("wal-spare") for failure in read_log(log))
        if daemon.process.poll() is None or not ends:
            require(load.acked_count() > before, f"nothing is acknowledged after {what}: {daemon.errors()[-500:]}")
            told["went on"] += 1
            daemon.kill()
            return load.join()
    code = daemon.exit_code(END_WAIT_S)
    require(code == EXIT_DISK, f"exit {code} after {what}: {daemon.errors()[-500:]}")
    told["ended"] += 1
    return load.join()


def check_log(failures, requests, what):
    require(failures, f"never {what}")
    for failure in failures:
        # Names are synced with their directory, again for each new one.
        if not failure.path.endswith("/data"):
            require(not failure.later, f"{failure.path} was synced again after {what}: {failure.later}")
        if LOG_FILE.search(failure.path):
            require_nothing_after(requests, failure.at, what)


def device_error(bench):
    draw = bench.draw
    directory = bench.directory()
    disk = bench.keep(FailingDisk(directory, DISK_MIB))
    daemon = bench.victim(Victim(bench.binary, directory, data=disk.at / "data"))
    daemon.start()
    ledger = Ledger(make_meters(daemon))
    clock = instant(daemon.expect(200, "GET", "/clock")["now"])
    rounds = 40 if bench.is_long else 4
    unknown, slowest = 0, 0.0
    for number in range(rounds):
        load = Load(daemon, ledger, draw, name=f"d{number}", clock=clock, customers=CUSTOMERS)
        time.sleep(draw.uniform(0.2, 0.5))
        require(load.acked_count(), "nothing was acknowledged on the healthy device")
        disk.refuse()
        refused_at = time.time()
        code = daemon.exit_code(END_WAIT_S)
        slowest = max(slowest, time.time() - refused_at)
        require(code == EXIT_DISK, f"exit {code} when the device refused: {daemon.errors()[-500:]}")
        requests = load.join()
        # A write that was on its way when the file appeared may still have reached the device.
        require_nothing_after(requests, refused_at + 0.2, "the device refused")
        unknown += sum(request.outcome == "unknown" for request in requests)
        disk.restore()
        code, text = daemon.verify()
        require(code == 0, f"verify after the device refused: exit {code} {text}")
        daemon.start()
        ledger.check(daemon, requests, draw)
    require(daemon.stop() == 0, "a clean end")
    return (
        f"{rounds} times the device refused writes, exit {EXIT_DISK} after at most {slowest * 1000:.0f} ms, "
        f"{len(ledger.acked)} events acknowledged and there, {unknown} requests without an answer"
    )
