"""Power cuts under load: after each, nothing that was acknowledged is lost.

The filesystem is shut down under the daemon without a flush. In half of the rounds the daemon is killed at
once; in the others it meets the dead disk by itself, and must end with exit code 74.

`lying_disk` is the proof that this would be seen: there, strace lets every sync succeed without being made.
After one power cut the same checks must find a loss.
"""

import time

from disks import LoopDisk
from load import Load, require_nothing_after
from oracle import HOUR, Ledger, Wrong, instant, make_meters, require, rfc3339
from victim import Refused, Victim

CUSTOMERS = [f"customer-{number}" for number in range(6)]
DISK_MIB = 256
EXIT_DISK = 74
END_WAIT_S = 5


def power(bench):
    cycles = 500 if bench.is_long else 15
    draw = bench.draw
    directory = bench.directory()
    disk = bench.keep(LoopDisk(directory, DISK_MIB))
    daemon = bench.victim(Victim(bench.binary, directory, data=disk.at / "data"))
    daemon.start()
    ledger = Ledger(make_meters(daemon))
    totals = dict.fromkeys(("requests", "stored", "not stored", "exits"), 0)
    for cycle in range(cycles):
        clock = instant(daemon.expect(200, "GET", "/clock")["now"])
        if draw.random() < 0.5:
            clock += draw.choice((HOUR // 2, 3 * HOUR))
            daemon.expect(200, "POST", "/clock/advance", {"to": rfc3339(clock)})
        load = Load(daemon, ledger, draw, name=f"p{cycle}", clock=clock, customers=CUSTOMERS)
        time.sleep(draw.uniform(0.05, 0.4))
        disk.cut()
        cut_at = time.time()
        if draw.random() < 0.5:
            daemon.kill()
        else:
            code = daemon.exit_code(END_WAIT_S)
            require(code == EXIT_DISK, f"exit code {code} after the disk was gone: {daemon.errors()[-500:]}")
            totals["exits"] += 1
        requests = load.join()
        require_nothing_after(requests, cut_at, "the cut")
        disk.restore()
        code, text = daemon.verify()
        require(code == 0, f"verify after a power cut: exit {code} {text}")
        daemon.start()
        stored, gone = ledger.check(daemon, requests, draw)
        require(instant(daemon.expect(200, "GET", "/clock")["now"]) == clock, "the clock went back")
        totals["requests"] += len(requests)
        totals["stored"] += stored
        totals["not stored"] += gone
    require(daemon.stop() == 0, "a clean end after the cuts")
    return (
        f"{cycles} power cuts, {len(ledger.acked)} events in {totals['requests']} requests, "
        f"{totals['stored'] + totals['not stored']} without an answer ({totals['stored']} of them stored), "
        f"{totals['exits']} times the daemon ended by itself with {EXIT_DISK}"
    )


def lying_disk(bench):
    directory = bench.directory()
    disk = bench.keep(LoopDisk(directory, DISK_MIB))
    data = disk.at / "data"
    honest = bench.victim(Victim(bench.binary, directory, data=data))
    honest.start()
    ledger = Ledger(make_meters(honest))
    clock = instant(honest.expect(200, "GET", "/clock")["now"])
    require(honest.stop() == 0, "a clean end")
    wrapper = ["strace", "-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]
    wrapper += ["-e", "inject=fdatasync,fsync:retval=0"]
    deceived = bench.victim(Victim(bench.binary, directory, data=data, wrapper=wrapper))
    deceived.start()
    load = Load(deceived, ledger, bench.draw, name="l", clock=clock, customers=CUSTOMERS)
    time.sleep(0.4)
    disk.cut()
    deceived.kill()
    requests = load.join()
    require(load.acked_count(), "nothing was acknowledged")
    disk.restore()
    try:
        honest.start()
        ledger.check(honest, requests, bench.draw)
    except (Wrong, Refused) as seen:
        return f"syncs that were not made, then a power cut: seen by the checks of `power` ({str(seen)[:100]!r})"
    raise AssertionError("the checks do not see that nothing was synced")
