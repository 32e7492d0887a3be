#!/usr/bin/env python3
"""Holds the cost of the stages and the rate of the daemon to the committed figures.

`gate.py build` makes the benches of the stages and, beside them, the daemon: `target/quick/quipu`.

`gate.py instructions` builds them, too, and counts the instructions of each stage under callgrind.
Counts do not depend on how busy the machine is, so that the gate is strict: 5 % either way. A better
count is committed, too, with the change that made it. Counts follow the compiler, the C library and
the processor's vector instructions: a new one of these is a reason to write them anew.

`gate.py rates` runs `quipu bench` for five short rounds a mode. What counts is the median ratio of the
daemon to the floors of the same round. Below 60 % of the committed ratio is a failure, once repeated.

With --write the figures that were measured are committed instead: change into the repository, then

    python3 tests/bench/gate.py instructions --write
    python3 tests/bench/gate.py rates --binary target/quick/quipu --write

on a machine that does nothing else, and commit `tests/bench/committed.json` with the reason.

Only the standard library is used; valgrind must be installed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = Path(__file__).with_name("committed.json")

INSTRUCTIONS_DEVIATION_MAX = 0.05
RATIO_SHARE_MIN = 0.6

# The function that callgrind counts within, in `benches/stages/main.rs`.
MEASURED = "*run_measured*"
# The build whose instructions are counted. In one unit and not incremental, so that a change of one
# module does not move the borders within which the compiler inlines in another. It makes the daemon,
# too: `target/quick/quipu`.
BUILD = ["cargo", "build", "--profile", "quick", "--locked", "--bench", "stages"]
BUILD_OPTIONS = ["--config", "profile.quick.package.quipu.codegen-units=1"]
BUILD_ENVIRONMENT = {"CARGO_INCREMENTAL": "0"}

MODES = ("batch-1000", "batch-100", "single")
RATIOS = ("daemon_of_discard", "daemon_of_parse")
ROUNDS = 5
SECONDS = 1


def run(command, **options):
    """The output of a command; when it fails, what it said ends the gate."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done


def build_stages():
    """Builds the benches and says where the program is."""
    environment = os.environ | BUILD_ENVIRONMENT
    built = run([*BUILD, *BUILD_OPTIONS, "--message-format", "json"], env=environment).stdout
    for line in built.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "stages":
            return message["executable"]
    sys.exit("cargo built no bench `stages`")


def count(program, stage):
    """Instructions an item of a stage."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    only = ["--collect-atstart=no", f"--toggle-collect={MEASURED}"]
    done = run([*valgrind, *only, program, "--instructions", stage])
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if not collected or collected[1] == "0":
        sys.exit(f"callgrind counted nothing in {stage}:\n{done.stderr}")
    return round(int(collected[1]) / int(done.stdout), 1)


def measure_instructions(_arguments):
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")
    program = build_stages()
    stages = run([program, "--instructions"]).stdout.split()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(stages, pool.map(lambda stage: count(program, stage), stages)))


def judge_instructions(measured, committed):
    """The stages that cost another number of instructions than was committed."""
    print(f"{'stage':24} {'instructions an item':>20} {'committed':>12} {'change':>8}")
    failed = []
    for stage in sorted(measured | committed):
        found, known = measured.get(stage), committed.get(stage)
        change = found / known - 1 if found and known else None
        held = change is not None and abs(change) <= INSTRUCTIONS_DEVIATION_MAX
        shown = "" if change is None else f"{change:+.1%}"
        mark = "" if held else "  <-"
        print(f"{stage:24} {found or '':>20} {known or '':>12} {shown:>8}{mark}")
        if not held:
            failed.append(stage)
    return failed


def measure_mode(binary, mode):
    """The median of each ratio of a mode."""
    options = ["--mode", mode, "--rounds", str(ROUNDS), "--seconds", str(SECONDS), "--json"]
    figures = json.loads(run([binary, "bench", *options]).stdout)["modes"][mode]
    return {name: round(figures[name]["median"], 3) for name in RATIOS if name in figures}


def measure_rates(arguments):
    return {mode: measure_mode(arguments.binary, mode) for mode in MODES}


def judge_mode(mode, measured, committed):
    """Whether every committed ratio of a mode is held."""
    held = bool(committed)
    for name, known in committed.items():
        share = measured[name] / known
        is_enough = share >= RATIO_SHARE_MIN
        held = held and is_enough
        mark = "" if is_enough else "  <-"
        print(f"{mode:12} {name:18} {measured[name]:>8} {known:>10} {share:>8.0%}{mark}")
    return held


def judge_rates(arguments, committed):
    """The modes that are too slow twice."""
    print(f"{'mode':12} {'ratio':18} {'median':>8} {'committed':>10} {'share':>8}")
    failed = []
    for mode in MODES:
        known = committed.get(mode, {})
        attempts = (judge_mode(mode, measure_mode(arguments.binary, mode), known) for _ in range(2))
        if not any(attempts):
            failed.append(mode)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("build", "instructions", "rates"))
    parser.add_argument("--binary", type=Path, default=ROOT / "target/quick/quipu")
    parser.add_argument("--write", action="store_true", help="commit what is measured")
    arguments = parser.parse_args()
    arguments.binary = arguments.binary.resolve()
    if arguments.part == "build":
        print(build_stages())
        return

    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    if arguments.write:
        measure = {"instructions": measure_instructions, "rates": measure_rates}[arguments.part]
        committed[arguments.part] = measure(arguments)
        COMMITTED.write_text(json.dumps(committed, indent=2, sort_keys=True) + "\n")
        print(json.dumps(committed[arguments.part], indent=2))
        return
    known = committed.get(arguments.part, {})
    if arguments.part == "instructions":
        failed = judge_instructions(measure_instructions(arguments), known)
        rule = f"must stay within {INSTRUCTIONS_DEVIATION_MAX:.0%} of the committed count"
    else:
        failed = judge_rates(arguments, known)
        rule = f"must reach {RATIO_SHARE_MIN:.0%} of the committed ratio"
    if failed:
        sys.exit(f"{', '.join(failed)}: {rule}; see tests/bench/gate.py")


if __name__ == "__main__":
    main()
