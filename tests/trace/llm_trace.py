"""The trace: rows of an instant and two token counts, read from a file or made from a seed."""

import calendar
import random
import time
from dataclasses import dataclass

CUSTOMERS = 50
ROWS_MADE = 8_819
TICKS_PER_S = 10_000_000  # A tick is 100 ns, the trace's own resolution.
MINUTE = 60 * TICKS_PER_S
HOUR = 60 * MINUTE


@dataclass(frozen=True)
class Row:
    """A request to the language model; `line` is 1 for the first after the header."""

    line: int
    ticks: int
    context: int
    generated: int

    @property
    def customer(self):
        return f"customer-{self.line % CUSTOMERS}"

    def event(self):
        return {
            "event_id": str(self.line),
            "customer_id": self.customer,
            "event_name": "llm.request",
            "timestamp": rfc3339(self.ticks),
            "metadata": {"context": self.context, "generated": self.generated},
        }


def rfc3339(ticks):
    """The instant with seven fractional digits and Z."""
    seconds, fraction = divmod(ticks, TICKS_PER_S)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:07}Z"


def instant(text):
    """The ticks of an instant in UTC, with a space or a T and with or without a fraction and Z."""
    seconds, _, fraction = text.rstrip("Z").replace("T", " ").partition(".")
    whole = calendar.timegm(time.strptime(seconds, "%Y-%m-%d %H:%M:%S"))
    return whole * TICKS_PER_S + int(fraction.ljust(7, "0"))


def read(text):
    """The rows of a trace in the file's own order."""
    rows = []
    for line, row in enumerate(text.splitlines()[1:], start=1):
        when, context, generated = row.split(",")
        rows.append(Row(line, instant(when), int(context), int(generated)))
    return rows


def make(seed):
    """The text of a trace of the real one's form: bursts over 57 minutes, here across a month's end."""
    draw = random.Random(seed)
    start = calendar.timegm((2024, 2, 29, 23, 28, 11)) * TICKS_PER_S
    bursts = [draw.randrange(57 * MINUTE) for _ in range(ROWS_MADE // 20)]
    offsets = sorted(draw.choice(bursts) + draw.randrange(3 * TICKS_PER_S) for _ in range(ROWS_MADE))
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for offset in offsets:
        context = min(7_437, 1 + int(draw.lognormvariate(7.2, 1.0)))
        generated = min(1_899, 1 + int(draw.lognormvariate(2.6, 1.0)))
        when = rfc3339(start + offset).replace("T", " ").rstrip("Z")
        lines.append(f"{when},{context},{generated}")
    return "\r\n".join(lines)
