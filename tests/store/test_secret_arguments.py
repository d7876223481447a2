# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A secret among the arguments of a socket's owner is nowhere: as shipped no argument is told, else it is masked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.live.command_line import run
from tests.live.monitoring import Monitor
from tests.live.ports import free_port
from tests.live.receiver import receiving
from tests.live.reloading import hang_up
from tests.store.both import StartBoth

SECRET, HARMLESS = "hunter2Zq9mWv4", "harmless4711"
OVER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 0))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(30_011), sock.getsockname())
print(sock.getsockname()[1], flush=True)
input()
"""


@contextmanager
def over(program: Path) -> Iterator[tuple[str, int]]:
    """Have a process with a secret among its arguments hold a socket that is over; yield its port and its pid."""
    program.write_text(OVER)
    command = [sys.executable, str(program), HARMLESS, f"--password={SECRET}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        yield holder.stdout.readline().strip(), holder.pid
        holder.communicate("\n")


def said_by(monitor: Monitor, at: Path, listen: int, port: str) -> dict[str, str | bytes]:
    """Return what is said of the socket in each place where it is."""
    found: dict[str, str | bytes] = {"log": monitor.log()}
    found["store"] = requests.get(f"http://127.0.0.1:{listen}/store.json?port={port}", timeout=9).text
    found["episodes"] = requests.get(f"http://127.0.0.1:{listen}/episodes?port={port}", timeout=9).text
    for name, options in {"status": (), "status --json": ("--json",)}.items():
        found[name] = run("status", *options, "--socket", at).stdout
    for name, options in {"sockets": (), "sockets --json": ("--json",), "sockets --csv": ("--csv",)}.items():
        found[name] = run("sockets", *options, f"--local-port={port}").stdout
    found["top"] = run("top", "--once").stdout
    for file in monitor.log_file.parent.iterdir():
        if file.is_file() and file.stat().st_size:
            found[file.name] = file.read_bytes()
    return found


def assert_kept(found: dict[str, str | bytes], *, told: bool) -> None:
    """Assert that the secret is nowhere, and the command line only where it is to be."""
    raws = {name: text if isinstance(text, bytes) else text.encode() for name, text in found.items()}
    for name, raw in raws.items():
        assert SECRET.encode() not in raw, name
        assert b"hunter2" not in raw, name
        assert told or HARMLESS.encode() not in raw, name
    if told:
        for name in ("log", "store", "status --json", "alerts.jsonl", "journal", "requests"):
            raw = raws[name]
            assert HARMLESS.encode() in raw, name
            assert b"--password=***" in raw or b"--password%3D%2A%2A%2A" in raw, name


def test_a_secret_argument_is_nowhere(start_both: StartBoth, folder: Path) -> None:
    listen, at = free_port(), folder / "m.sock"
    with receiving() as receiver:
        settings = {
            "status": {"socket": str(at)},
            "repeat": "1s",
            "destinations": [
                {"type": "http", "name": "other", "url": receiver.url},
                {"type": "http", "name": "nobody", "url": "http://127.0.0.1:9/"},
                {"type": "file", "path": str(folder / "monitor0" / "alerts.jsonl")},
            ],
        }
        monitor = start_both(listen, **settings)
        file = monitor.log_file.with_name("config.yaml")
        whole = file.read_text()
        for cmdline in (False, True):
            file.write_text(f"{whole}\nowner: {{cmdline: {str(cmdline).lower()}}}\n")
            hang_up(monitor)
            with over(folder / "app.py") as (port, pid):
                receiver.count(2, local_port=port, pid=pid)
                found = said_by(monitor, at, listen, port)
                found["requests"] = "\n".join(map(str, receiver.alerts(local_port=port)))
                assert_kept(found, told=cmdline)
