"""Disks that fail for real: an ext4 filesystem on a loop device, and one over a device that can refuse.

`LoopDisk.cut` is a power cut: the shutdown ioctl of ext4 without a flush of its journal. What was not synced
is gone, every later call fails, and the next mount replays the journal. `FailingDisk` lies on nbdkit's error
filter: while its file `inject` is there, no write reaches the device. All of it goes away with `close`.
"""

import fcntl
import os
import struct
import subprocess
import time

SHUTDOWN = 0x8004587D
WITHOUT_FLUSH = 2
WAIT_S = 20
MIB = 1 << 20


def tool(*command):
    """Output of a tool that must succeed."""
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if ended.returncode:
        raise OSError(f"{' '.join(map(str, command))}: exit {ended.returncode} {ended.stderr.strip()}")
    return ended.stdout.strip()


def until(check, what):
    deadline = time.monotonic() + WAIT_S
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}, not in {WAIT_S} s")
        time.sleep(0.02)


class LoopDisk:
    """An ext4 filesystem in a file, mounted."""

    def __init__(self, directory, mebibytes):
        self.image = directory / "disk.img"
        self.at = directory / "disk"
        self.at.mkdir()
        with self.image.open("wb") as image:
            image.truncate(mebibytes * MIB)
        self.device = None
        self.is_mounted = False
        try:
            self.attach()
            tool("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.device)
            self.mount()
        except BaseException:
            self.close()
            raise

    def attach(self):
        self.device = tool("losetup", "-f", "--show", self.image)

    def detach(self):
        if self.device:
            tool("losetup", "-d", self.device)
            self.device = None

    def mount(self):
        tool("mount", "-t", "ext4", self.device, self.at)
        self.is_mounted = True

    def unmount(self):
        if self.is_mounted:
            tool("umount", self.at)
            self.is_mounted = False

    def cut(self):
        """The power goes: nothing that is not on the device gets there any more."""
        root = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(root, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(root)

    def restore(self):
        """The power is back. Nobody may have a file open."""
        self.unmount()
        self.mount()

    def close(self):
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.at], check=False)
            self.is_mounted = False
        if self.device:
            subprocess.run(["losetup", "-d", self.device], check=False)
            self.device = None


class FailingDisk(LoopDisk):
    """A filesystem on a device that refuses writes while it is told to."""

    def __init__(self, directory, mebibytes):
        self.inject = directory / "inject"
        self.exported = directory / "exported"
        self.exported.touch()
        backing = directory / "backing.img"
        with backing.open("wb") as image:
            image.truncate(mebibytes * MIB)
        command = ["nbdfuse", "-o", "allow_root", self.exported, "--command", "nbdkit", "-s", "--filter=error"]
        command += ["file", backing, "error=EIO", "error-pwrite-rate=100%", f"error-file={self.inject}"]
        # It says every refusal on standard error; nobody needs them.
        nowhere = subprocess.DEVNULL
        self.server = subprocess.Popen([str(part) for part in command], stdout=nowhere, stderr=nowhere)
        self.bytes = mebibytes * MIB
        try:
            until(lambda: self.exported.stat().st_size == self.bytes, "the device of nbdfuse")
            super().__init__(directory, mebibytes)
        except BaseException:
            self.close()
            raise

    def attach(self):
        self.device = tool("losetup", "-f", "--show", self.exported)

    def refuse(self):
        self.inject.touch()

    def obey(self):
        self.inject.unlink(missing_ok=True)

    def restore(self):
        """Everything in memory goes with the loop device; what the device took is what is there."""
        self.obey()
        self.unmount()
        self.detach()
        self.attach()
        self.mount()

    def close(self):
        self.obey()
        if hasattr(self, "is_mounted"):
            super().close()
        subprocess.run(["fusermount3", "-uz", self.exported], check=False, capture_output=True)
        try:
            self.server.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
