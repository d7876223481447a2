# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where real programs run: a network namespace of their own, in which nothing else has a socket."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from sockbpf.kernel.look.netns import inside
from tests.live.network import ip, namespace
from tests.live.waiting import until

LOOPBACK = "127.0.0.1"


@dataclass
class Place:
    """A namespace, a folder that every user can enter, and what runs there; all of it ends with `stack`."""

    netns: str
    folder: Path
    stack: ExitStack
    ports: Iterator[int] = field(default_factory=lambda: iter(range(20_000, 30_000)))

    @property
    def path(self) -> str:
        return f"/run/netns/{self.netns}"

    @property
    def number(self) -> int:
        """The inode number of the namespace, as alerts have it."""
        return os.stat(self.path).st_ino

    def new_folder(self, name: str, owner: str = "root") -> Path:
        folder = self.folder / f"{name}-{next(self.ports)}"
        folder.mkdir()
        shutil.chown(folder, owner)
        return folder

    def start(self, *command: str | Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a program in the namespace, in a session of its own; its output is in a file of the folder."""
        with (self.folder / f"output-of-{Path(command[0]).name}").open("ab") as output:
            process = subprocess.Popen(
                ["nsenter", f"--net={self.path}", *command],
                stdin=stdin, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self.stack.callback(end, process)
        return process

    def run(self, *command: str | Path, seconds: float = 120, stdin: Path | None = None) -> str:
        """Run a program in the namespace to its end; return what it wrote."""
        with (stdin or Path("/dev/null")).open("rb") as source:
            done = subprocess.run(
                ["nsenter", f"--net={self.path}", *command],
                stdin=source, capture_output=True, text=True, timeout=seconds, check=False,
            )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def connect(self, port: int, address: str = LOOPBACK) -> socket.socket:
        """Return a connection of the test itself to a port of this namespace."""
        with inside(self.path):
            return self.stack.enter_context(socket.create_connection((address, port), timeout=10))

    def knock(self, port: int) -> None:
        """Begin to connect to a port of this namespace, and do not wait for it."""
        with inside(self.path):
            made = self.stack.enter_context(socket.socket())
        made.setblocking(False)
        with suppress(BlockingIOError):
            made.connect((LOOPBACK, port))

    def udp(self, port: int) -> socket.socket:
        """Return a UDP socket of the test itself, connected to a port of this namespace."""
        with inside(self.path):
            made = self.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            made.connect((LOOPBACK, port))
        return made

    def until_open(self, port: int, option: str = "-t") -> None:
        """Wait until somebody has the port."""
        until(lambda: self.run("ss", "-Hnl", option, f"sport = :{port}"), f"somebody listens at {port}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program with all that it has started, also if it is stopped."""
    for pid in family(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(30)


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


@contextmanager
def place() -> Iterator[Place]:
    """Make a place, and leave nothing of it."""
    with ExitStack() as stack:
        folder = Path(mkdtemp(prefix="sockbpf-programs-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        yield Place(stack.enter_context(namespace()), folder, stack)


@dataclass(frozen=True)
class Road:
    """A veth pair from a place to a namespace of its own, which is another host to the programs."""

    far: Place
    near: Place
    near_device: str
    near_ip: str
    far_ip: str

    def slow_down(self, rate: str) -> None:
        """Let no more than this rate through from the near end to the far one."""
        bucket = ("tbf", "rate", rate, "burst", "64kb", "latency", "50ms")
        self.near.run("tc", "qdisc", "add", "dev", self.near_device, "root", *bucket)

    def cut(self) -> None:
        """Set the far device down: nothing arrives any more, neither way."""
        ip("-n", self.far.netns, "link", "set", "road", "down")

    def swallow(self, *, end: bool = False) -> None:
        """Have the far end send its packets, acknowledgements too, nowhere; or where they belong again."""
        ip("-n", self.far.netns, "route", "del" if end else "add", "blackhole", f"{self.near_ip}/32")


def road(near: Place) -> Road:
    """Join a place to a new one."""
    far = near.stack.enter_context(place())
    number = next(near.ports) - 20_000
    near_ip, far_ip, device = f"198.18.{number}.1", f"198.18.{number}.2", f"road{number}"
    ip("-n", near.netns, "link", "add", device, "type", "veth", "peer", "name", "road", "netns", far.netns)
    ip("-n", near.netns, "addr", "add", f"{near_ip}/24", "dev", device)
    ip("-n", far.netns, "addr", "add", f"{far_ip}/24", "dev", "road")
    ip("-n", near.netns, "link", "set", device, "up")
    ip("-n", far.netns, "link", "set", "road", "up")
    return Road(far, near, device, near_ip, far_ip)
