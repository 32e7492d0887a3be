"""The daemon as the replay sees it: a command line, a first line, replies, and a process to kill."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
KEY = "trace-replay-admin-key-5d20c8"
START_WAIT_S = 60
STOP_WAIT_S = 60
POLL_S = 0.01


class Daemon:
    """One data directory, and the process that serves it."""

    def __init__(self, binary, directory, test_clock):
        self.command = [str(binary), "serve", "--config", str(PROJECT / "config.toml")]
        self.command += ["--listen", "127.0.0.1:0", "--data-dir", str(directory / "data")]
        self.command += ["--test-clock", test_clock]
        self.directory = directory
        self.process = None
        self.connection = None
        self.address = None

    def start(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("QUIPU_")}
        environment["QUIPU_API_KEY"] = KEY
        output = self.directory / "stdout"
        with output.open("wb") as stdout, (self.directory / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                self.command, cwd=self.directory, env=environment, stdout=stdout, stderr=stderr
            )
        port = self._wait("its address", lambda: re.search(r"127\.0\.0\.1:(\d+)\D", output.read_text()))
        self.address = ("127.0.0.1", int(port[1]))
        self._wait("/readyz", self._is_ready)

    def _is_ready(self):
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            self.connection.close()
            return False

    def _wait(self, what, check):
        deadline = time.monotonic() + START_WAIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := check():
                return found
            time.sleep(POLL_S)
        self.process.kill()
        errors = (self.directory / "stderr").read_text()
        sys.exit(f"the daemon did not come up with {what} (exit {self.process.wait()})\n{errors}")

    def request(self, method, path, value=None):
        """Status and body of a request on a connection that is kept."""
        if self.connection is None or (self.connection.host, self.connection.port) != self.address:
            self.connection = http.client.HTTPConnection(*self.address, timeout=60)
        headers = {"authorization": f"Bearer {KEY}"}
        if value is not None:
            headers["content-type"] = "application/json"
            value = json.dumps(value)
        self.connection.request(method, path, value, headers)
        reply = self.connection.getresponse()
        text = reply.read()
        return reply.status, json.loads(text) if text[:1] == b"{" else text

    def expect(self, status, method, path, value=None):
        """The body of a request that must be answered with `status`."""
        found, body = self.request(method, path, value)
        if found != status:
            sys.exit(f"{method} {path}: expected {status}, got {found} {body}")
        return body

    def send_part(self, path, value, part):
        """Sends that part of a POST's body and reads no reply."""
        body = json.dumps(value).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: {self.address[0]}:{self.address[1]}\r\n"
        head += f"authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\n\r\n"
        sender = socket.create_connection(self.address)
        sender.sendall(head.encode() + body[: int(len(body) * part)])
        return sender

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.connection.close()

    def stop(self):
        """Asks for a clean end and gives the exit code."""
        self.connection.close()
        self.process.terminate()
        return self.process.wait(timeout=STOP_WAIT_S)

    def end(self):
        """Leaves no process behind, however the replay went."""
        if self.process.poll() is None:
            self.kill()
