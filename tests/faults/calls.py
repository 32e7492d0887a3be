"""A kill at the entry of one system call: the Nth write, sync, rename or removal of a file.

Random kills hardly ever fall between two calls of a start, or of a checkpoint. Here strace sends the signal when
one thread comes to its Nth call of one kind; the start or the load is cut there. Then checker C, and every
invoice as recomputed. With `--long` every N up to 500 of every kind has its turn.
"""

import time
from collections import Counter

from billing import Billing
from load import Load
from oracle import DAY, HOUR, MINUTE, Ledger, instant, make_meters, require, rfc3339
from victim import Refused, Victim

CUSTOMERS = [f"customer-{number}" for number in range(8)]
SUBSCRIBED = CUSTOMERS[:5]
MOVES = (10 * MINUTE, 2 * HOUR, DAY)
# Kinds of calls, and the range that N is drawn from: a start makes some two dozen, and then a thread of its
# own counts for itself.
CALLS = {
    "pwrite64": (1, 40),
    "fdatasync": (1, 24),
    "fsync": (1, 5),
    "rename": (1, 4),
    "unlink": (1, 4),
}
ROUNDS_EACH = 12
LONG_MAX = 500
MET_WAIT_S = 2
KILLED = -9


def turns(bench):
    """Each round's call and its number."""
    if bench.is_long:
        return [(call, turn) for turn in range(1, LONG_MAX + 1) for call in CALLS]
    drawn = [(call, bench.draw.randint(*between)) for call, between in CALLS.items() for _ in range(ROUNDS_EACH)]
    # Every start makes the first one of each kind.
    return [(call, 1) for call in CALLS] + drawn


def calls(bench):
    draw = bench.draw
    directory = bench.directory()
    plain = bench.victim(Victim(bench.binary, directory))
    plain.start()
    ledger = Ledger(make_meters(plain))
    billing = Billing(plain, ledger, SUBSCRIBED)
    clock = instant(plain.expect(200, "GET", "/clock")["now"])
    met, told = Counter(), Counter()
    rounds = turns(bench)
    for number, (call, turn) in enumerate(rounds):
        plain.kill()
        what = f"a kill at {call} {turn}"
        wrapper = ["strace", "-D", "-f", "-o", "/dev/null", "-e", f"trace={call}"]
        wrapper += ["-e", f"inject={call}:signal=SIGKILL:when={turn}"]
        hurt = bench.victim(Victim(bench.binary, directory, data=plain.data, wrapper=wrapper))
        requests, target = [], clock
        try:
            hurt.start()
        except Refused as refused:
            require(refused.code == KILLED, f"exit {refused.code} at the start after {what}: {refused.text}")
            told["at the start"] += 1
            met[call] += 1
        else:
            target = clock + draw.choice(MOVES) if draw.random() < 0.4 else clock
            is_met, requests = cut(hurt, ledger, draw, f"c{number}", clock, target)
            told["under load" if is_met else "not met"] += 1
            met[call] += is_met
        code, text = plain.verify()
        require(code == 0, f"verify after {what}: exit {code} {text}")
        plain.start()
        now = instant(plain.expect(200, "GET", "/clock")["now"])
        require(clock <= now <= target, f"the clock stands at {rfc3339(now)} after {what}")
        if now < target:
            plain.expect(200, "POST", "/clock/advance", {"to": rfc3339(target)})
        clock = target
        stored, gone = ledger.check(plain, requests, draw)
        told["stored"] += stored
        told["not stored"] += gone
        told["invoices"] = billing.check(plain, clock)
    require(plain.stop() == 0, "a clean end after the kills")
    never = [call for call in CALLS if not met[call]]
    require(not never, f"no kill at {never}: {met}")
    kinds = ", ".join(f"{count} at {call}" for call, count in sorted(met.items()))
    return (
        f"{sum(met.values())} kills: {kinds}; {told['at the start']} in a start, {told['under load']} under load, "
        f"{told['not met']} times the call did not come; {told['stored'] + told['not stored']} requests without an "
        f"answer, {told['stored']} of them stored; {len(ledger.acked)} events, {told['invoices']} invoices"
    )


def cut(daemon, ledger, draw, name, clock, target):
    """Loads the daemon until it is killed, or for a while; whether it was, and the requests."""
    load = Load(daemon, ledger, draw, name=name, clock=clock, customers=CUSTOMERS, clients=4)
    sender = None
    try:
        if target > clock:
            time.sleep(draw.uniform(0, 0.1))
            sender = daemon.send_part("/clock/advance", {"to": rfc3339(target)}, 1.0)
    except OSError:
        # It is gone already.
        sender = None
    deadline = time.monotonic() + MET_WAIT_S
    while daemon.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    is_met = daemon.process.poll() is not None
    if is_met:
        require(daemon.process.returncode == KILLED, f"exit {daemon.process.returncode}: {daemon.errors()[-500:]}")
    else:
        daemon.kill()
    requests = load.join()
    if sender:
        sender.close()
    return is_met, requests
