"""The dashboard in a real browser: what people do, what it looks like, and whether everybody can use it.

It needs what `requirements.txt` and `package-lock.json` beside it name, Debian's Chromium, and the daemon:

    python3 tests/dashboard/browser/run.py --binary target/quick/quipu --shots target/dashboard

`--shots` is where pictures of every screen go, at both widths and in both colour schemes: whoever changes a
screen looks at them. `.ci/run` calls this.
"""

import argparse
import pathlib
import sys
import tempfile
import traceback

from playwright.sync_api import sync_playwright

import everybody
import hostile
import operations
import sales
import stories
from daemon import Daemon

# A test clock would stand still; these stories are told in real time, all but those that turn months.
CHROMIUM = "/usr/bin/chromium"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--shots", required=True, type=pathlib.Path)
    parser.add_argument("--only", help="a part of the names of the tests to run")
    given = parser.parse_args()
    given.shots.mkdir(parents=True, exist_ok=True)
    modules = (stories, sales, operations, hostile, everybody)
    tests = [test for module in modules for test in module.TESTS]
    failed = []
    with sync_playwright() as playwright:
        # Everything here runs as whoever builds; in a container that is root, whose sandbox is none.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for test in tests:
            if given.only and given.only not in test.__name__:
                continue
            with tempfile.TemporaryDirectory() as directory:
                clock = getattr(test, "clock", None)
                with Daemon(given.binary.resolve(), directory, clock) as daemon:
                    try:
                        test(daemon, browser, given.shots)
                        print(f"ok   {test.__name__}", flush=True)
                    except Exception:
                        failed.append(test.__name__)
                        print(f"FAIL {test.__name__}\n{traceback.format_exc()}", flush=True)
        browser.close()
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
