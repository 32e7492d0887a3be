#!/usr/bin/env python3
"""Writes figures.csv: where boundaries lie by Python's dateutil, which shares no line with this program.

    figures.py > figures.csv

Each line is an anchor, a unit, a count, and the boundaries from the first on as `k:date`. Boundary k is
`anchor + relativedelta(<unit>s = k * count)`, at the anchor's time of day. Of months and years every one
until the end of 2032 stands there, of days and weeks those at Fibonacci numbers and the last.
"""

import datetime

import dateutil
from dateutil.relativedelta import relativedelta

LAST = datetime.datetime(2032, 12, 31, 23, 59, 59)
COUNTS = {
    "Day": [1, 2, 7, 10, 28, 30, 31, 45, 90, 365, 366],
    "Week": [1, 2, 3, 4, 5, 13, 26, 52],
    "Month": [1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 18, 24],
    "Year": [1, 2, 3, 4, 5, 8],
}
# The last days of every month of a leap year and of a common one, and the days around them.
DAYS = [
    *[(2024, month, 31) for month in (1, 3, 5, 7, 8, 10, 12)],
    *[(2025, month, 31) for month in (1, 3, 5, 7, 8, 10, 12)],
    *[(2024, month, 30) for month in (1, 4, 6, 9, 11)],
    *[(2025, month, 30) for month in (1, 4, 6, 9, 11)],
    (2024, 2, 28), (2024, 2, 29), (2025, 2, 28), (2028, 2, 29), (2024, 3, 1), (2025, 3, 1),
    (2024, 1, 29), (2025, 1, 29), (2024, 1, 1), (2025, 6, 15), (2027, 12, 31), (2028, 1, 31),
]
TIMES = [(0, 0, 0), (10, 30, 0), (23, 59, 59)]


def fibonacci():
    low, high = 1, 2
    while True:
        yield low
        low, high = high, low + high


def boundaries(anchor, unit, count):
    found = []
    step = 1
    while (end := anchor + relativedelta(**{f"{unit.lower()}s": step * count})) <= LAST:
        found.append((step, end))
        step += 1
    if unit in ("Day", "Week") and found:
        wanted = set()
        for number in fibonacci():
            if number > found[-1][0]:
                break
            wanted.add(number)
        wanted.add(found[-1][0])
        found = [(step, end) for step, end in found if step in wanted]
    return found


def main():
    print(f"# dateutil {dateutil.__version__}; made by figures.py")
    for place, day in enumerate(DAYS):
        anchor = datetime.datetime(*day, *TIMES[place % len(TIMES)])
        for unit, counts in COUNTS.items():
            for count in counts:
                found = boundaries(anchor, unit, count)
                assert all(end.time() == anchor.time() for _, end in found)
                shown = " ".join(f"{step}:{end.date().isoformat()}" for step, end in found)
                print(f"{anchor.isoformat()}Z,{unit},{count},{shown}")


if __name__ == "__main__":
    main()
