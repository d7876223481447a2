# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A secret among the arguments of a socket's owner is nowhere: as shipped no argument is told, else it is masked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from socket import gethostname

import requests

from tests.live.command_line import run
from tests.live.monitoring import Monitor
from tests.live.ports import free_port
from tests.live.receiver import receiving
from tests.live.reloading import hang_up
from tests.live.waiting import until
from tests.store.both import StartBoth
from tests.store.everywhere import POSTED, Everywhere, everywhere

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


COLLECTORS = ("splunk", "kafka", "bigquery", "otlp", "zabbix", "logstash")
OF_STORE = {
    "store": "store.json?port={port}",
    "store, CSV": "store.json?port={port}&event=exceeded",
    "episodes": "episodes?port={port}",
    "now": "now?open=true",
    "hosts": "hosts",
    "timeline": "timeline",
    "history": "history",
    "advice": "advice?host={host}&protocol=udp&type=RECV&service={port}",
    "store's metrics": "metrics",
}
"""What the store answers, and its page shows."""


def said_by(monitor: Monitor, at: Path, listen: int, metrics: str, port: str) -> dict[str, str | bytes]:
    """Return what is said of the socket in each place where it is."""
    found: dict[str, str | bytes] = {"log": monitor.log()}
    for name, asked in OF_STORE.items():
        headers = {"Accept": "text/csv"} if "CSV" in name else {}
        url = f"http://127.0.0.1:{listen}/{asked.format(port=port, host=gethostname())}"
        answer = requests.get(url, headers=headers, timeout=9)
        assert answer.status_code == 200, (name, answer.text)
        found[name] = answer.text
    found["metrics"] = requests.get(f"http://{metrics}/metrics", timeout=9).text
    config = str(monitor.log_file.with_name("config.yaml"))
    commands: dict[str, tuple[str, ...]] = {
        "status": ("status", "--socket", str(at)),
        "status --json": ("status", "--json", "--socket", str(at)),
        "silence": ("silence", "--list", "--socket", str(at)),
        "explain": ("explain", "-c", config, f"127.0.0.1:{port}"),
        "advise": ("advise", "-c", config),
        "sockets": ("sockets", f"--local-port={port}"),
        "sockets --json": ("sockets", "--json", f"--local-port={port}"),
        "sockets --csv": ("sockets", "--csv", f"--local-port={port}"),
        "sockets --summary": ("sockets", "--summary"),
        "top": ("top", "--once", "--socket", str(at)),
    }
    for name, command in commands.items():
        done = run(*command)
        assert done.returncode <= (name == "advise"), (name, done.stderr)  # there is hardly any history yet
        found[name] = done.stdout + done.stderr
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
        for name in ("log", "store", "status --json", "alerts.jsonl", "journal", "requests", *COLLECTORS):
            raw = raws[name]
            assert HARMLESS.encode() in raw, name
            assert b"--password=***" in raw or b"--password%3D%2A%2A%2A" in raw, name


def have_all(all_others: Everywhere, port: str) -> bool:
    """Tell whether each receiver has got an alert of the socket; what tells people has it in its text."""
    alerts = all_others.alerts().values()
    told = all(any(str(each.get("local_port")) == port for each in each_of) for each_of in alerts)
    return told and all(port.encode() in b"".join(all_others.posted[name]) for name in POSTED)


def are_kept(monitor: Monitor, listen: int, port: str, pid: int) -> bool:
    """Tell whether the store, which may still start, and the file of alerts have one of the socket and its owner."""
    file = monitor.log_file.with_name("alerts.jsonl")
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    written = [(str(each.get("local_port")), each.get("pid")) for each in map(json.loads, lines)]
    try:
        url = f"http://127.0.0.1:{listen}/store.json?limit=1&port={port}&pid={pid}"
        answer = requests.get(url, timeout=9)
    except requests.RequestException:
        return False
    return (port, pid) in written and answer.ok and bool(answer.json())


def test_a_secret_argument_is_nowhere(start_both: StartBoth, folder: Path) -> None:
    listen, at, metrics = free_port(), folder / "m.sock", f"127.0.0.1:{free_port()}"
    with receiving() as receiver, everywhere() as all_others:
        settings = {
            "status": {"socket": str(at)},
            "repeat": "1s",
            "destinations": [
                {"type": "http", "name": "other", "url": receiver.url},
                {"type": "http", "name": "nobody", "url": "http://127.0.0.1:9/"},
                {"type": "file", "path": str(folder / "monitor0" / "alerts.jsonl")},
                *all_others.destinations,
            ],
            "metrics": {"listen": metrics},
        }
        monitor = start_both(listen, **settings)
        file = monitor.log_file.with_name("config.yaml")
        whole = file.read_text()
        for cmdline in (False, True):
            file.write_text(f"{whole}\nowner: {{cmdline: {str(cmdline).lower()}}}\n")
            hang_up(monitor)
            with over(folder / "app.py") as (port, pid):
                receiver.count(2, local_port=port, pid=pid)
                until(partial(have_all, all_others, port), "each collector has it")
                until(partial(are_kept, monitor, listen, port, pid), "the store and the file have it")
                found = said_by(monitor, at, listen, metrics, port) | all_others.raws()
                found["requests"] = "\n".join(map(str, receiver.alerts(local_port=port)))
                assert_kept(found, told=cmdline)
