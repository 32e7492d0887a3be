#!/usr/bin/env python3
"""Runs the daemon under real faults: kills, power cuts, failing and full disks, torn and flipped bytes.

    run.py --binary PATH [--only CASE]... [--long] [--seed N]

Needs root, loop devices, and from Debian: strace nbdkit libnbd-bin fuse3 e2fsprogs. Nothing is skipped:
what cannot run fails. Every failure names its seed; `--seed N --only CASE` draws the same again.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import calls
import flips
import full
import kills
import power
import refusals
import tails
from oracle import Wrong

CASES = {
    "kill": kills.kill,
    "calls": calls.calls,
    "power": power.power,
    "lying_disk": power.lying_disk,
    "sync_error": refusals.sync_error,
    "device_error": refusals.device_error,
    "full": full.full,
    "tail": tails.tail,
    "flips": flips.flips,
}

# Each tool, and the Debian package that has it.
TOOLS = {
    "mkfs.ext4": "e2fsprogs", "mount": "mount", "umount": "mount", "losetup": "mount",
    "strace": "strace", "nbdkit": "nbdkit", "nbdfuse": "libnbd-bin", "fusermount3": "fuse3",
}


class Bench:
    """What a case works with: the binary, its own random draw, directories and processes that go away."""

    def __init__(self, binary, is_long, seed, stack):
        self.binary = binary
        self.is_long = is_long
        self.draw = random.Random(seed)
        self.stack = stack

    def directory(self):
        return Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="quipu-faults-")))

    def victim(self, victim):
        """The same, ended with the case."""
        self.stack.callback(victim.end)
        return victim

    def keep(self, resource):
        """The same, closed with the case."""
        self.stack.callback(resource.close)
        return resource


def missing():
    """What this machine lacks, a sentence each."""
    if os.geteuid() != 0:
        yield "root is needed to mount"
    packages = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if packages:
        yield f"apt-get install {' '.join(packages)}"
    for device in ("/dev/loop-control", "/dev/fuse"):
        if not os.path.exists(device):
            yield f"{device} is missing"


def run(name, arguments):
    """Whether the case held; prints its line."""
    begun = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            seed = f"{arguments.seed}/{name}"
            line = CASES[name](Bench(arguments.binary.resolve(), arguments.long, seed, stack))
        held = True
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any failure of a case is its result
        if not isinstance(error, Wrong):
            traceback.print_exc()
        line = f"FAILED, seed {arguments.seed}: {error}"
        held = False
    print(f"{name}: {line} [{time.monotonic() - begun:.1f} s]", flush=True)
    return held


def interrupt(*_):
    """SIGTERM ends the run as Ctrl-C does: what was mounted is unmounted."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", type=Path, required=True, help="the daemon")
    parser.add_argument("--only", action="append", choices=CASES, help="this case alone; may be repeated")
    parser.add_argument("--long", action="store_true", help="many more rounds, for a night")
    parser.add_argument("--seed", type=int, default=4646, help="of everything that is drawn")
    arguments = parser.parse_args()
    if lacks := list(missing()):
        sys.exit("the faults cannot be made here: " + "; ".join(lacks))
    signal.signal(signal.SIGTERM, interrupt)
    begun = time.monotonic()
    failed = [name for name in arguments.only or CASES if not run(name, arguments)]
    print(f"{len(arguments.only or CASES) - len(failed)} cases held, {len(failed)} failed, "
          f"seed {arguments.seed} [{time.monotonic() - begun:.1f} s]")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
