# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Real processes with hostile names in cgroups with hostile names: each destination gets them, and none is misled."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests

from sockbpf.record.text import printable
from tests.live.command_line import run
from tests.live.monitoring import Monitor, launch, thresholds
from tests.live.ports import free_port
from tests.live.receiver import Receiver, receiving
from tests.live.systemd import CGROUP
from tests.live.waiting import until
from tests.store.everywhere import Everywhere, everywhere

THRESHOLD = 20_011
LONG = 250

NAMES = {
    "line": (b"a\nERROR forged", b"a\r0::/forged.service\x0b\x85\xe2\x80\xa8b.service"),
    "terminal": (b"\x1b[31mA\x07\xc2\x9bB", b"\x1b]0;owned\x07\x1b[2J.service"),
    "html": (b"<b>x</b>&\"'", b"<img src=x onerror=alert(1)>&amp;.service"),
    "mention": (b"<!here>@channel", b"<!channel> @here *b* `c` <http:x|y>.service"),
    "formula": (b"=cmd()", b"=cmd|' -C calc'!A0.service"),
    "bidirectional": ("\u202eabc\u2066".encode(), "\u202egnp.service".encode()),
    "bytes": (b"\xff\xfe\xf0a", b"\xff\xc3\xa9\xc3.service"),
    "long": (b"x" * 15, b"/".join([b"y" * LONG] * 14) + b"/z.service"),
}
"""Of each case the name of the process, 15 bytes at most, and of its cgroup; no cgroup can have a line feed."""

MARKUP = ("@channel", "@here", "<!channel", "<!here", "<b>", "<img", "*b*", "`c`")
"""What a chat would take for more than text."""

HOLD = """
import socket, sys
open("/proc/self/comm", "wb").write(bytes.fromhex(sys.argv[1]))
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
reader = server.accept()[0]
client.setblocking(False)
client.send(bytes(300_007))
print(server.getsockname()[1], flush=True)
input()
"""
ENTER = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'


@dataclass
class Watched:
    """A monitor with a destination of each kind, and what each has got."""

    monitor: Monitor
    receiver: Receiver
    folder: Path
    listen: int
    datagrams: list[bytes]
    everywhere: Everywhere
    ports: dict[str, str]
    """Of each case the port of its server."""


def _receive(sink: socket.socket, datagrams: list[bytes]) -> None:
    with suppress(OSError):
        while data := sink.recv(65_536):
            datagrams.append(data)


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir="/var/tmp")))
        folder.chmod(0o755)
        receiver = stack.enter_context(receiving())
        datagrams: list[bytes] = []
        listen, all_others = free_port(), stack.enter_context(everywhere())
        sink = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sink.bind(("127.0.0.1", 0))
        threading.Thread(target=_receive, args=(sink, datagrams), daemon=True).start()
        settings = {
            "thresholds": thresholds(THRESHOLD),
            "repeat": "1s",
            "owner": {"cmdline": True},
            "status": {"socket": str(folder / "m.sock")},
            "store": {"listen": f"127.0.0.1:{listen}", "database": f"sqlite:///{folder}/store/alerts.sqlite"},
            "destinations": [
                {"type": "http", "name": "other", "url": receiver.url},
                {"type": "file", "path": str(folder / "alerts.jsonl")},
                {"type": "syslog", "address": f"udp://127.0.0.1:{sink.getsockname()[1]}"},
                {"type": "store", "url": f"http://127.0.0.1:{listen}"},
                *all_others.destinations,
            ],
        }
        monitor = launch(folder / "monitor", f"http://127.0.0.1:{listen}/alert", settings)
        try:
            monitor.wait_armed()
            ports = {case: stack.enter_context(held(case, *NAMES[case])) for case in NAMES}
            yield Watched(monitor, receiver, folder, listen, datagrams, all_others, ports)
        finally:
            monitor.stop()
            sink.sendto(b"", sink.getsockname())
            print(monitor.log()[-9000:])


@contextmanager
def held(case: str, comm: bytes, cgroup: bytes) -> Iterator[str]:
    """Have such a process, in such a cgroup, hold both ends of a connection that is over; yield its server's port."""
    assert CGROUP
    root = os.fsencode(CGROUP / parent(case))
    place = root + b"/" + cgroup
    os.makedirs(place)
    try:
        command = [sys.executable, "-c", HOLD, comm.hex()]
        with subprocess.Popen(
            ["sh", "-c", ENTER, "sh", place, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout
            yield holder.stdout.readline().decode().strip()
            holder.communicate(b"\n")
    finally:
        for folder, _, _ in os.walk(root, topdown=False):
            os.rmdir(folder)


def parent(case: str) -> str:
    """Return the cgroup in which that of a case is made."""
    return f"sockbpf-{case}-{os.getpid()}"


@pytest.mark.parametrize("case", NAMES)
def test_programs_get_the_names_as_they_are(watched: Watched, case: str) -> None:
    """Or the beginning of what is long; each reads them, and all are the same."""
    comm, cgroup = NAMES[case]
    port = watched.ports[case]
    told = watched.receiver.first(local_port=port, type="RECV", comm=shown(comm))
    watched.receiver.first(remote_port=port, type="SEND", peer_comm=shown(comm))
    path = f"/{parent(case)}/{shown(cgroup)}"
    assert told["cgroup"] == path[:1024]
    assert told["unit"] == path.rsplit("/", 1)[1]
    assert len(told["cmdline"]) <= 256

    url = f"http://127.0.0.1:{watched.listen}/store.json?limit=1000&port={port}"

    def of_file() -> list[Any]:
        lines = (watched.folder / "alerts.jsonl").read_bytes().split(b"\n")[:-1]
        return [each for each in map(json.loads, lines) if names_of(each) == names_of(told)]

    def of_store() -> list[Any]:
        return [each for each in requests.get(url, timeout=9).json() if names_of(each) == names_of(told)]

    assert until(of_file, "a line of the file with these names")
    assert until(of_store, "an object of the store with these names")
    assert_no_formula(requests.get(url, headers={"Accept": "text/csv"}, timeout=9).text)

    for name in ("slack", "chat"):

        def messages(name: str = name) -> list[str]:
            return [body["text"] for body in watched.everywhere.bodies(name) if f":{port}" in body["text"]]

        for text in until(messages, f"the message for {name}"):
            assert text.replace("\n", "").isprintable()
            assert len(text) <= 4096
            assert not [each for each in MARKUP if each in text]


def test_collectors_get_the_names_as_they_are(watched: Watched) -> None:
    """Or, of what is no text, the escape."""

    def untold() -> set[tuple[str, str]]:
        missing = set()
        for name, alerts in watched.everywhere.alerts().items():
            told = {(str(each.get("local_port")), each.get("comm")) for each in alerts}
            for case, (comm, _) in NAMES.items():
                port, text = watched.ports[case], shown(comm)
                if not told & {(port, text), (port, printable(text))}:
                    missing.add((name, case))
        return missing

    until(lambda: not untold(), lambda: f"the alerts of {untold()}")

    def pages() -> list[str]:
        events = watched.everywhere.bodies("pagerduty")
        return [event["payload"]["summary"] for event in events if event["event_action"] == "trigger"]

    until(lambda: len(pages()) >= len(NAMES), lambda: f"{len(pages())} pages")
    assert all(page.isprintable() and len(page) <= 1024 for page in pages())


def test_who_reads_a_terminal_or_a_log_is_not_misled(watched: Watched) -> None:
    """No line is forged, nothing but text is written, whatever processes and cgroups are called."""
    for case, (comm, _) in NAMES.items():
        watched.receiver.first(local_port=watched.ports[case], type="RECV", comm=shown(comm))
    at = watched.folder / "m.sock"
    config = watched.folder / "monitor" / "config.yaml"
    commands = {
        "status": ("status", "--socket", at),
        "sockets": ("sockets", "--tcp"),
        "csv": ("sockets", "--tcp", "--csv"),
        "json": ("sockets", "--tcp", "--json"),
        "top": ("top", "--once", "--socket", at),
        "explain": ("explain", "-c", config, f"*:{watched.ports['terminal']}"),
        "explain a line": ("explain", "-c", config, f"*:{watched.ports['line']}"),
    }
    found = {"log": watched.monitor.log()}
    for name, command in commands.items():
        done = run(*command)
        assert done.returncode == 0, (name, done.stderr)
        found[name] = done.stdout + done.stderr
    assert_no_formula(found["csv"])
    until(lambda: len(watched.datagrams) >= 2 * len(NAMES), "the messages of syslog")
    for datagram in list(watched.datagrams):
        text = datagram.decode().replace("] \ufeff", "] ", 1)  # the mark of RFC 5424 in front of UTF-8
        assert text.isprintable(), (text, unprintable(text))
    for name, text in found.items():
        assert text.replace("\n", "").isprintable(), (name, unprintable(text))
        assert not [line for line in text.splitlines() if line.startswith(("ERROR", "0::", "="))], name
    open_now = json.loads(run("status", "--json", "--socket", at).stdout)["open"]
    told = {(each.get("comm"), each.get("cgroup")) for each in open_now}
    assert {
        (shown(comm), f"/{parent(case)}/{shown(at)}"[:1024]) for case, (comm, at) in NAMES.items()
    } <= told


def test_alertmanager_gets_texts_of_a_bounded_length(watched: Watched) -> None:
    for case in NAMES:
        port = watched.ports[case]
        watched.receiver.first(local_port=port, type="RECV")
    posted = watched.everywhere.posted["alertmanager"]
    until(lambda: len(posted) >= len(NAMES), "the alerts for Alertmanager")
    for body in watched.everywhere.bodies("alertmanager"):
        for each in body:
            assert max(map(len, each["labels"].values())) <= 1024
            assert max(map(len, each["annotations"].values())) <= 4096


def names_of(alert: dict[str, Any]) -> list[str]:
    return [str(alert.get(name)) for name in ("seq", "comm", "unit", "cgroup", "local_port")]


def assert_no_formula(table: str) -> None:
    rows = list(csv.reader(io.StringIO(table, newline="")))
    assert len(rows) > 1
    assert len({len(row) for row in rows}) == 1
    assert not [
        cell for row in rows for cell in row if cell[:1] in set("=+-@\t\r\n") and not cell[1:].isdigit()
    ]


def shown(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def unprintable(text: str) -> set[str]:
    return {character for character in text.replace("\n", "") if not character.isprintable()}
