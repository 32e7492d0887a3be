"""kill -9 under load, a hundred times on one directory, while events are billed.

After each restart: checker C, every invoice as recomputed, none changed, none twice, no number left out.
In a part of the rounds the test clock moves over boundaries before the load; in another part the kill comes
in the middle of that move, and the move is asked for again.
"""

import time

from billing import Billing
from load import Load
from oracle import DAY, HOUR, MINUTE, Event, Ledger, instant, make_meters, require, require_found, rfc3339
from victim import Victim

CUSTOMERS = [f"customer-{number}" for number in range(12)]
SUBSCRIBED = CUSTOMERS[:9]
MOVES = (10 * MINUTE, 2 * HOUR, 5 * HOUR, DAY, DAY + 3 * HOUR)
# How late after a move was asked for the kill may come: first, and at least and at most from then on.
REACH_S = 0.004
REACH_S_MIN, REACH_S_MAX = 0.0001, 0.02


def kill(bench):
    cycles = 1000 if bench.is_long else 100
    daemon = bench.victim(Victim(bench.binary, bench.directory()))
    draw = bench.draw
    daemon.start()
    ledger = Ledger(make_meters(daemon))
    billing = Billing(daemon, ledger, SUBSCRIBED)
    totals = dict.fromkeys(("requests", "stored", "not stored", "moves cut", "refused", "invoices"), 0)
    restarts = []
    reach_s = REACH_S
    for cycle in range(cycles):
        clock = instant(daemon.expect(200, "GET", "/clock")["now"])
        plan = draw.choices(("load alone", "move before", "move and kill"), (50, 20, 30))[0]
        target = clock + draw.choice(MOVES)
        if plan == "move before":
            daemon.expect(200, "POST", "/clock/advance", {"to": rfc3339(target)})
            clock = target
        load = Load(daemon, ledger, draw, name=f"k{cycle}", clock=clock, customers=CUSTOMERS)
        time.sleep(draw.uniform(0.03, 0.25))
        sender = None
        if plan == "move and kill":
            sender = daemon.send_part("/clock/advance", {"to": rfc3339(target)}, 1.0)
            time.sleep(draw.random() * reach_s)
        daemon.kill()
        requests = load.join()
        if sender:
            sender.close()
        if cycle % 10 == 5:
            code, text = daemon.verify()
            require(code == 0, f"verify after a kill: exit {code} {text}")
        restarts.append(daemon.start())
        now = instant(daemon.expect(200, "GET", "/clock")["now"])
        moved = f"the clock stands at {rfc3339(now)} after {plan} to {rfc3339(target)}"
        require(clock <= now <= max(clock, target), moved)
        if plan == "move and kill":
            was_cut = now < target
            totals["moves cut"] += was_cut
            # About half of the kills meet a move that is under way, on a machine of any speed.
            reach_s = min(max(reach_s * (2 if was_cut else 0.5), REACH_S_MIN), REACH_S_MAX)
            daemon.expect(200, "POST", "/clock/advance", {"to": rfc3339(target)})
            now = target
        stored, gone = ledger.check(daemon, requests, draw)
        totals["invoices"] = billing.check(daemon, now)
        totals["requests"] += len(requests)
        totals["stored"] += stored
        totals["not stored"] += gone
        totals["refused"] += sum(request.outcome == "refused" for request in requests)
    # Everything that is still open is closed, so that every event is on an invoice.
    end = now + 3 * DAY
    daemon.expect(200, "POST", "/clock/advance", {"to": rfc3339(end)})
    totals["invoices"] = billing.check(daemon, end)
    # One event too many must be seen on both sides.
    first = billing.by_customer[CUSTOMERS[0]][0].start
    ledger.count([Event("never sent", CUSTOMERS[0], first + HOUR, 10**12)])
    require_found(lambda: ledger.check_usage(daemon), "an event that was lost")
    require_found(lambda: billing.check(daemon, end), "an amount that is too low")
    require(daemon.stop() == 0, "a clean end after the kills")
    code, text = daemon.verify()
    require(code == 0, f"verify at the end: exit {code} {text}")
    restarts.sort()
    require(totals["stored"] and totals["not stored"] and totals["moves cut"], f"the kills met too little: {totals}")
    at = [restarts[int(len(restarts) * part)] * 1000 for part in (0.5, 0.99)]
    return (
        f"{cycles} kills, {len(ledger.acked) - 1} events in {totals['requests']} requests; "
        f"{totals['stored'] + totals['not stored']} without an answer, {totals['stored']} of them stored; "
        f"{totals['refused']} refused, {totals['moves cut']} moves of the clock cut, {totals['invoices']} invoices, "
        f"restart p50 {at[0]:.0f} ms, p99 {at[1]:.0f} ms"
    )
