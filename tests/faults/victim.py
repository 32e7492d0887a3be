"""The daemon as the faults see it: settings of a case, a data directory anywhere, ends that are looked at.

It is the replay's daemon with three things more: small files by configuration, so that every kind of file
is there after a second; a start that may be refused; and `quipu verify` of its directory.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "trace"))

from daemon import KEY, POLL_S, Daemon

__all__ = ["CLOCK_START", "KEY", "SMALL", "Hung", "Refused", "Victim"]

START_WAIT_S = 30
END_WAIT_S = 30
VERIFY_WAIT_S = 30
CLOCK_START = "2026-01-31T10:00:00Z"

# Small files, so that kills and cuts meet checkpoints, full segments, history and flushed ids.
SMALL = {
    "ingest.max_body": 256 << 10,
    "log.segment_bytes": 1 << 20,
    "data.reserve_bytes": 1 << 20,
    "checkpoint.interval": "100ms",
    "dedupe.generation_ids": 4000,
}


class Refused(Exception):
    """A start that ended by itself, with its exit code and what it said."""

    def __init__(self, code, text):
        super().__init__(f"the start ended with exit {code}: {text[-2000:]}")
        self.code = code
        self.text = text


class Hung(Exception):
    """A process that neither served nor ended in time."""


class Victim(Daemon):
    """One data directory, and the process that serves it."""

    def __init__(self, binary, directory, settings=None, data=None, wrapper=()):
        super().__init__(binary, directory, CLOCK_START)
        self.binary = str(binary)
        self.data = data or directory / "data"
        self.config = directory / "faults.toml"
        settings = SMALL if settings is None else settings
        self.config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        flags = ["--config", str(self.config), "--listen", "127.0.0.1:0", "--data-dir", str(self.data)]
        self.command = [*wrapper, self.binary, "serve", *flags, "--test-clock", CLOCK_START]

    def start(self):
        """Serves, and gives the seconds that it took. Raises [`Refused`] and [`Hung`]."""
        begun = time.monotonic()
        super().start()
        return time.monotonic() - begun

    def _wait(self, what, check):
        deadline = time.monotonic() + START_WAIT_S
        while self.process.poll() is None:
            if found := check():
                return found
            if time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise Hung(f"no {what} in {START_WAIT_S} s\n{self.errors()[-2000:]}")
            time.sleep(POLL_S)
        raise Refused(self.process.returncode, self.errors())

    def errors(self):
        return (self.directory / "stderr").read_text(errors="replace")

    def exit_code(self, timeout_s=END_WAIT_S):
        """The code with which it ends by itself."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as cause:
            raise Hung(f"the daemon has not ended {timeout_s} s later\n{self.errors()[-2000:]}") from cause
        if self.connection:
            self.connection.close()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self.connection:
            self.connection.close()

    def end(self):
        if self.process:
            super().end()

    def verify(self):
        """Exit code and output of `quipu verify`; nobody may have the directory open."""
        command = [self.binary, "verify", "--config", str(self.config), "--data-dir", str(self.data)]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=VERIFY_WAIT_S)
        except subprocess.TimeoutExpired as cause:
            raise Hung(f"verify has not ended in {VERIFY_WAIT_S} s") from cause
        return ended.returncode, ended.stdout + ended.stderr

    def all_items(self, path):
        """The items of every page of a list."""
        items = []
        for page in range(10_000):
            joint = "&" if "?" in path else "?"
            reply = self.expect(200, "GET", f"{path}{joint}page_size=100&page_number={page}")
            items += reply["items"]
            if len(reply["items"]) < 100:
                return items
        raise AssertionError(f"{path} has no end")
