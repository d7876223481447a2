# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""No ghosts: whatever happens, everybody who shows what is over soon shows the same, and that is what is over.

Each round queues fill and drain at random while the monitor is killed, stopped, started with other thresholds, or
while the store is away. Then the store, its page, which was open all the while, Alertmanager, the alert file,
`status` and a look at the sockets must agree.
"""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page

from tests.live.alertmanager import AlertmanagerDaemon, alertmanager_in
from tests.live.monitoring import Monitor, launch, thresholds
from tests.live.ports import free_port
from tests.live.sockets import drain, port, tcp_pair, udp_socket, unread
from tests.live.waiting import DEADLINE_S
from tests.store.conftest import StartStore
from tests.store.now_of_lines import open_by_lines
from tests.store.serving import Store

THRESHOLD, OTHER_THRESHOLD = 20_011, 20_021
UNREAD = 30_011
TCP, UDP = 5, 2
RECHECK_S = 1.0
SOON_S = 2 * RECHECK_S
AWAY_S = (0.0, 0.3, 1.1)

ROWS = """[...document.querySelectorAll("#rows-body tr")].map((tr) =>
    ["service", "state", "socket"].map((name) => tr.querySelector(`.of-${name}`).firstChild.textContent))"""
"""JavaScript: what each row of the table says: "tcp RECV", its state, both ends."""

Queue = tuple[str, int]
"""The protocol and the port that it is known by: the lower one of both ends."""
Views = dict[str, set[Queue]]


@dataclass(eq=False)
class Sockets:
    """Sockets whose receive queues fill and drain."""

    made: dict[Queue, tuple[Callable[[], object], socket.socket]] = field(default_factory=dict)
    """What fills the queue, and the socket that has it."""

    @classmethod
    def of(cls, stack: ExitStack) -> Sockets:
        sockets = cls()
        for _ in range(TCP):
            client, server = tcp_pair(stack)
            sockets.made["tcp", min(port(client), port(server))] = (
                partial(client.sendall, bytes(UNREAD)),
                server,
            )
        writer = udp_socket(stack)
        for _ in range(UDP):
            reader = udp_socket(stack)
            sockets.made["udp", port(reader)] = (
                partial(writer.sendto, bytes(UNREAD), reader.getsockname()),
                reader,
            )
        return sockets

    def over(self) -> set[Queue]:
        return {queue for queue, (_, reader) in self.made.items() if unread(reader) > OTHER_THRESHOLD}

    def change(self, chance: random.Random) -> None:
        """Fill or drain each with a chance; some do both."""
        for fill, reader in self.made.values():
            for _ in range(chance.choice((0, 0, 1, 1, 2))):
                if unread(reader):
                    drain(reader, UNREAD)
                else:
                    fill()


@dataclass(eq=False)
class Site:
    """A monitor, all that it tells, and the sockets that it watches."""

    folder: Path
    start_store: StartStore
    database: str
    alertmanager: AlertmanagerDaemon
    sockets: Sockets
    store: Store
    page: Page
    monitor: Monitor | None = None
    metrics: int = field(default_factory=free_port)
    runs: int = 0

    def start_monitor(self, threshold: int = THRESHOLD) -> None:
        self.runs += 1
        self.monitor = launch(
            self.folder / f"run{self.runs}",
            f"{self.store.url}/alert",
            {
                "thresholds": thresholds(threshold),
                "events": ["exceeded", "ongoing", "cleared", "started", "stopped"],
                "heartbeat": "1s",
                "repeat": "2s",
                "sweep": {"recheck": f"{RECHECK_S:g}s"},
                "delivery": {"retry_first": "100ms", "retry_max": "200ms"},
                "journal": {"path": str(self.folder / "journal")},
                "status": {"socket": str(self.status)},
                "metrics": {"listen": f"127.0.0.1:{self.metrics}"},
                "destinations": [
                    {"type": "alertmanager", "url": self.alertmanager.url},
                    {"type": "file", "path": str(self.lines)},
                ],
            },
        )
        self.monitor.wait_armed()

    def stop_monitor(self, number: signal.Signals) -> None:
        if self.monitor:
            self.monitor.stop(number)

    @property
    def status(self) -> Path:
        return self.folder / "m.sock"

    @property
    def lines(self) -> Path:
        return self.folder / "alerts.jsonl"

    # what happens

    def restart(self, number: signal.Signals, chance: random.Random) -> None:
        self.stop_monitor(number)
        self.sockets.change(chance)
        self.start_monitor(chance.choice((THRESHOLD, OTHER_THRESHOLD)))

    def lose_store(self, number: signal.Signals, chance: random.Random) -> None:
        at = int(self.store.url.rpartition(":")[2])
        self.store.stop(number)
        self.sockets.change(chance)
        self.store = self.start_store(self.database, port=at)

    def hang_store(self, chance: random.Random) -> None:
        self.store.process.send_signal(signal.SIGSTOP)
        self.sockets.change(chance)
        time.sleep(chance.choice(AWAY_S))  # the disorder is the point: nothing is waited for
        self.store.process.send_signal(signal.SIGCONT)

    # what is shown

    def views(self) -> Views:
        """Return what each shows over of the sockets."""
        return {
            "store": self._ours(self._asked("/episodes?open=true&limit=1000")),
            "file": self._ours(open_by_lines(self.lines)),
            "page": self._shown(),
            "status": self._ours(self._status()["open"]),
            "Alertmanager": {
                (protocol, int(number))
                for alert in self.alertmanager.alerts()
                for protocol, number in [alert["labels"]["service"].split()]
                if alert["labels"]["direction"] == "RECV"
            }
            & set(self.sockets.made),
        }

    def counts(self) -> dict[str, int]:
        """Return how many are open by the status, the metrics, /now and the page: also those of the load."""
        text = requests.get(f"http://127.0.0.1:{self.metrics}/metrics", timeout=DEADLINE_S).text
        (line,) = [line for line in text.splitlines() if line.startswith("sockbpf_open_episodes ")]
        status = self._status()
        now = requests.get(f"{self.store.url}/now", timeout=DEADLINE_S).json()
        return {
            "status": status["over"] + status["stalled"] + status["held"],
            "metrics": int(float(line.split()[1])),
            "/now": now["episodes"]["over"],
            "page": int(self.page.locator("#open-count").inner_text().replace(",", "")),
        }

    def _shown(self) -> set[Queue]:
        """Return what the table of the page, of those that are open, calls over."""
        found = set()
        for of, state, ends in self.page.evaluate(ROWS):
            protocol, _, direction = of.partition(" ")
            if (direction, state) == ("RECV", "over"):
                found.add((protocol, min(int(number) for number in re.findall(r":(\d+)", ends))))
        return found & set(self.sockets.made)

    def _asked(self, path: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.store.url}{path}", timeout=DEADLINE_S)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def _status(self) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self.status))
            found: dict[str, Any] = json.loads(asking.makefile().read())
        return found

    def _ours(self, rows: list[dict[str, Any]]) -> set[Queue]:
        found = {
            (row["protocol"], min(filter(None, (row["local_port"], row.get("remote_port")))))
            for row in rows
            if row["type"] == "RECV"
        }
        return found & set(self.sockets.made)


@pytest.fixture
def site(
    tmp_path: Path,
    stack: ExitStack,
    start: StartStore,
    database_of: Callable[[str], str],
    browser: Browser,
) -> Site:
    load = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", "from tests.live.load import load_without_end as load; load(0.3)"],
            stdout=subprocess.PIPE,
        )
    )
    stack.callback(load.kill)
    database = database_of("sqlite")
    folder = tmp_path / "alertmanager"
    folder.mkdir()
    store = start(database)
    page = stack.enter_context(closing(browser.new_context())).new_page()
    page.goto(f"{store.url}/#event=open&span=all")
    made = Site(
        tmp_path,
        start,
        database,
        stack.enter_context(alertmanager_in(folder)),
        Sockets.of(stack),
        store,
        page,
    )
    stack.callback(made.stop_monitor, signal.SIGKILL)
    made.start_monitor()
    return made


HAPPENINGS: dict[str, Callable[[Site, random.Random], None]] = {
    "nothing": lambda site, chance: site.sockets.change(chance),
    "SIGKILL": lambda site, chance: site.restart(signal.SIGKILL, chance),
    "SIGTERM": lambda site, chance: site.restart(signal.SIGTERM, chance),
    "the store is killed": lambda site, chance: site.lose_store(signal.SIGKILL, chance),
    "the store is stopped": lambda site, chance: site.lose_store(signal.SIGTERM, chance),
    "the store hangs": lambda site, chance: site.hang_store(chance),
}


def wait_alike(site: Site, what: str, within_s: float) -> float:
    """Wait until all show what is over; return how long it took. Fail if it takes too long."""
    over, begun_s = site.sockets.over(), time.monotonic()
    while True:
        views, counts = site.views(), site.counts()
        took_s = time.monotonic() - begun_s
        if len(set(counts.values())) == 1 and all(shown == over for shown in views.values()):
            return took_s
        assert took_s < within_s, f"after {what}: over are {over}, {views}, {counts}"


def test_all_show_the_same_and_that_is_what_is_over(
    site: Site, ghost_rounds: int, *, strict_times: bool
) -> None:
    within_s = SOON_S if strict_times else DEADLINE_S
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    took_s: dict[str, list[float]] = {what: [] for what in HAPPENINGS}
    for number in range(ghost_rounds):
        what = list(HAPPENINGS)[number % len(HAPPENINGS)]
        site.sockets.change(chance)
        HAPPENINGS[what](site, chance)
        took_s[what].append(wait_alike(site, f"round {number}, {what}", within_s))
    for what, each in took_s.items():
        print(f"{what}: {len(each)} rounds, all alike after {max(each, default=0):.2f} s at most")
    for _, reader in site.sockets.made.values():
        if unread(reader):
            drain(reader, UNREAD)
    wait_alike(site, "all have drained", within_s)
    assert site.views()["Alertmanager"] == set()
