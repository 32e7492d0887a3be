"""A disk that runs full: events are refused with a hint, reads go on, and room is enough to resume.

On a filesystem of 64 MiB a filler takes all but the reserve while events come in. Once they are refused
with `storage_full`, the rest is taken too, to the last byte: still alive, still reading. Then the filler goes,
and events are admitted again within five seconds, without a restart.
"""

import os
import time

from disks import MIB, LoopDisk
from load import Load
from oracle import Ledger, instant, make_meters, require
from victim import SMALL, Victim

CUSTOMERS = [f"customer-{number}" for number in range(6)]
DISK_MIB = 64
RESERVE = 8 * MIB
REFUSED_WAIT_S = 20
RESUMED_WAIT_S = 5
SETTINGS = SMALL | {"data.reserve_bytes": RESERVE}
READS = ("/usage?customer_id=customer-1", "/events?customer_id=customer-1", "/meters", "/healthz", "/billing/status")
BATCHES = (60, 120, 240)


def full(bench):
    draw = bench.draw
    directory = bench.directory()
    disk = bench.keep(LoopDisk(directory, DISK_MIB))
    daemon = bench.victim(Victim(bench.binary, directory, SETTINGS, data=disk.at / "data"))
    daemon.start()
    ledger = Ledger(make_meters(daemon))
    clock = instant(daemon.expect(200, "GET", "/clock")["now"])
    rounds = 20 if bench.is_long else 3
    slowest = refusals = 0
    for number in range(rounds):
        load = Load(daemon, ledger, draw, name=f"f{number}", clock=clock, customers=CUSTOMERS, clients=4, sizes=BATCHES)
        filler = disk.at / "filler"
        # Mostly the load itself fills the last of it, so that the daemon meets its reserve under way; in the
        # last round every byte goes at once.
        if number + 1 < rounds:
            fill(filler, disk, RESERVE + 3 * MIB)
            wait(lambda: codes(load), REFUSED_WAIT_S, "refusal of events on a full disk")
        fill(filler, disk, 0)
        wait(lambda: codes(load), REFUSED_WAIT_S, "refusal of events on a full disk")
        time.sleep(0.5)
        require(codes(load) <= {"storage_full"}, f"refused with {codes(load)}")
        require(daemon.process.poll() is None, f"it ended on a full disk: {daemon.errors()[-500:]}")
        require(refuses_now(load), "events are admitted on a disk without a free byte")
        for path in READS:
            daemon.expect(200, "GET", path)
        refusals += sum(request.outcome == "refused" for request in load.requests())
        filler.unlink()
        begun = time.monotonic()
        acked = load.acked_count()
        wait(lambda: load.acked_count() > acked, RESUMED_WAIT_S, "acknowledgement once there is room")
        slowest = max(slowest, time.monotonic() - begun)
        requests = load.join()
        require(daemon.process.poll() is None, "it ended")
        if draw.random() < 0.5:
            daemon.kill()
        else:
            require(daemon.stop() == 0, "a clean end after a full disk")
        code, text = daemon.verify()
        require(code == 0, f"verify after a full disk: exit {code} {text}")
        daemon.start()
        ledger.check(daemon, requests, draw)
    return (
        f"{rounds} times full to the last byte: {refusals} requests refused with storage_full and a hint, "
        f"reads went on, resumed after at most {slowest * 1000:.0f} ms, "
        f"{len(ledger.acked)} events acknowledged and there"
    )


def free(disk):
    found = os.statvfs(disk.at)
    return found.f_bavail * found.f_frsize


def fill(filler, disk, left):
    """Lets the file grow until so many bytes are left."""
    with filler.open("ab") as file:
        while (room := free(disk) - left) > 0:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), min(room, MIB))
            except OSError:
                # The last blocks are the filesystem's own.
                return
            file.seek(0, os.SEEK_END)


def codes(load):
    return {request.code for request in load.requests() if request.outcome == "refused"}


def refuses_now(load):
    """Whether every request of the last moment was refused."""
    since = time.time() - 0.2
    return all(request.outcome != "acked" for request in load.requests() if request.done_at > since)


def wait(check, seconds, what):
    deadline = time.monotonic() + seconds
    while not check():
        require(time.monotonic() < deadline, f"no {what} in {seconds} s")
        time.sleep(0.01)
