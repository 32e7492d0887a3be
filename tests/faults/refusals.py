"""A disk that refuses: from the failing call on nothing is acknowledged, and the process ends with 74.

`sync_error` lets strace fail one call of one kind of file, once: a daemon that tried again would be told
that all is well. The log of strace shows that no failed sync is repeated. Then the power is cut, so that only
what was really synced is left. `device_error` is the same with a device that takes no writes any more.
"""

import re
import time
from dataclasses import dataclass

from disks import FailingDisk, LoopDisk
from load import Load
from oracle import HOUR, Ledger, instant, make_meters, require, rfc3339
from victim import Refused, Victim

CUSTOMERS = [f"customer-{number}" for number in range(6)]
DISK_MIB = 128
EXIT_DISK = 74
# A start that the disk refuses says so and ends, but with the code of any failure where the error came
# through redb or the log's opening. It acknowledges nothing, so that only the code is lenient here.
EXITS_AT_START = (EXIT_DISK, 1)
HIT_WAIT_S = 15
END_WAIT_S = 5
SYNCS = ("fdatasync", "fsync")
SEGMENTS = 400


@dataclass(frozen=True)
class Fault:
    """The call that fails, on files of this pattern, and the range its turn is drawn from."""

    call: str
    files: str
    turns: tuple
    # What the daemon can do without: it goes on, with a line in its log.
    is_spare: bool = False
    error: str = "EIO"


FAULTS = [
    Fault("fdatasync", "log", (1, 3)),
    Fault("fdatasync", "log", (4, 40)),
    Fault("fdatasync", "log", (40, 120)),
    Fault("pwrite64", "log", (1, 60)),
    Fault("pwrite64", "log", (1, 60), error="ENOSPC"),
    Fault("fdatasync", "state.redb", (2, 12)),
    Fault("fdatasync", "ids.redb", (2, 6)),
    Fault("fdatasync", "any", (1, 3)),
    Fault("fdatasync", "any", (3, 9)),
    Fault("fsync", "any", (1, 3)),
    Fault("fdatasync", "wal-spare", (2, 4), is_spare=True),
]


def paths(fault, data):
    """strace's selection of files."""
    if fault.files == "any":
        return []
    newest = max((int(path.name[4:]) for path in data.glob("wal-0*")), default=0)
    names = [fault.files]
    if fault.files == "log":
        names = [f"wal-{number:010}" for number in range(newest + 1, newest + SEGMENTS)]
    return [argument for name in names for argument in ("-P", str(data / name))]


def strace(fault, turn, log, data):
    calls = ",".join(dict.fromkeys((fault.call, "fdatasync", "fsync", "close")))
    command = ["strace", "-D", "-f", "-y", "-ttt", "--seccomp-bpf", "-e", f"trace={calls}", "-o", str(log)]
    command += ["-e", f"inject={fault.call}:error={fault.error}:when={turn}"]
    return command + paths(fault, data)


# Process, instant, then a call with its file, or the end of a call that another thread's interrupted.
LINE = re.compile(r"^(\d+) +(\d+\.\d+) (?:<\.\.\. )?(\w+)(?:\(\d+<([^>]*)>| resumed>)(.*)$")


def read_log(log):
    """When the injected call came and on which file, and that file's later syncs while it stayed open."""
    failed_at = failed = None
    later = []
    closed = False
    unfinished = {}
    for text in log.read_text(errors="replace").splitlines():
        if not (found := LINE.match(text)):
            continue
        process, at, call, path, rest = found.groups()
        begins = path is not None
        path = path or unfinished.get(process)
        unfinished[process] = path
        if failed is None:
            if "(INJECTED)" in rest:
                failed_at, failed = float(at), path
        elif begins and path == failed and not closed:
            if call == "close":
                closed = True
            elif call in SYNCS:
                later.append(text)
    return failed_at, failed, later


def require_nothing_after(requests, failed_at, what):
    late = [request for request in requests if request.outcome == "acked" and request.sent_at > failed_at]
    require(not late, f"{len(late)} requests that were sent after {what} were acknowledged")


def sync_error(bench):
    draw = bench.draw
    directory = bench.directory()
    disk = bench.keep(LoopDisk(directory, DISK_MIB))
    data = disk.at / "data"
    plain = bench.victim(Victim(bench.binary, directory, data=data))
    plain.start()
    ledger = Ledger(make_meters(plain))
    clock = instant(plain.expect(200, "GET", "/clock")["now"])
    told = dict.fromkeys(("ended", "at the start", "with 1", "went on"), 0)
    rounds = FAULTS * (10 if bench.is_long else 1)
    for number, fault in enumerate(rounds):
        plain.kill()
        turn = draw.randint(*fault.turns)
        what = f"{fault.call} {turn} of {fault.files} failed with {fault.error}"
        log = directory / f"strace-{number}"
        hurt = bench.victim(Victim(bench.binary, directory, data=data, wrapper=strace(fault, turn, log, data)))
        requests = []
        try:
            hurt.start()
        except Refused as refused:
            require(refused.code in EXITS_AT_START, f"exit {refused.code} when {what} at the start: {refused.text[-2000:]}")
            told["at the start"] += 1
            told["with 1"] += refused.code == 1
        else:
            requests = hit(hurt, ledger, draw, f"s{number}", clock, fault, log, told)
        failed_at, path, later = read_log(log)
        require(failed_at, f"never {what}")
        require(not later, f"{what}, and {path} was synced again: {later}")
        if not fault.is_spare:
            require_nothing_after(requests, failed_at, what)
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
        f"{told['at the start']} times at the start ({told['with 1']} of them with 1), {told['went on']} times it went on without a spare segment; no second sync, no answer after; "
        f"{len(ledger.acked)} events through as many power cuts"
    )


def hit(daemon, ledger, draw, name, clock, fault, log, told):
    """Loads the daemon until the call has failed and what must follow has followed; gives the requests."""
    load = Load(daemon, ledger, draw, name=name, clock=clock, customers=CUSTOMERS)
    deadline = time.monotonic() + HIT_WAIT_S
    while "(INJECTED)" not in log.read_text(errors="replace"):
        require(time.monotonic() < deadline, f"{fault} was not met in {HIT_WAIT_S} s")
        time.sleep(0.01)
    if fault.is_spare:
        before = load.acked_count()
        time.sleep(0.3)
        require(daemon.process.poll() is None, f"it ended without a spare segment: {daemon.errors()[-2000:]}")
        require(load.acked_count() > before, "nothing is acknowledged without a spare segment")
        told["went on"] += 1
        daemon.kill()
    else:
        code = daemon.exit_code(END_WAIT_S)
        require(code == EXIT_DISK, f"exit {code} after {fault}: {daemon.errors()[-2000:]}")
        told["ended"] += 1
    return load.join()


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
        before = load.acked_count()
        require(before, "nothing was acknowledged on the healthy device")
        disk.refuse()
        refused_at = time.time()
        code = daemon.exit_code(END_WAIT_S)
        slowest = max(slowest, time.time() - refused_at)
        require(code == EXIT_DISK, f"exit {code} when the device refused: {daemon.errors()[-2000:]}")
        requests = load.join()
        # The request whose write began the refusals may have been on the device before them.
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
