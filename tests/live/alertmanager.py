# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A real Alertmanager, and what it tells its own receiver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.live.daemons import program, running
from tests.live.ports import free_port
from tests.live.posting import posting
from tests.live.waiting import DEADLINE_S, until

ALERTMANAGER = """
route:
  {{receiver: webhook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h,
    routes: [{{matchers: ['unit="db.service"'], receiver: db}}]}}
receivers:
  - {{name: webhook, webhook_configs: [{{url: '{url}', send_resolved: true}}]}}
  - {{name: db, webhook_configs: [{{url: '{url}', send_resolved: true}}]}}
"""
"""Both of its receivers are ours; what they are told says for which."""


@dataclass
class AlertmanagerDaemon:
    """An Alertmanager, and what it told its own receiver."""

    port: int
    folder: Path
    stack: ExitStack
    notified: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, webhook: str) -> None:
        config = self.folder / "alertmanager.yml"
        config.write_text(ALERTMANAGER.format(url=webhook))
        options = {
            "config.file": config,
            "storage.path": self.folder / "storage",
            "web.listen-address": f"127.0.0.1:{self.port}",
            "cluster.listen-address": "",
        }
        command = [
            program("prometheus-alertmanager"),
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        log = self.folder / "output"
        self.stack.enter_context(running(*command, log=log))
        until(self.is_ready, lambda: f"Alertmanager is ready: {log.read_text()}")

    def is_ready(self) -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/-/ready", timeout=DEADLINE_S).ok
        return False

    def alerts(self) -> list[dict[str, Any]]:
        """Return what fires now."""
        read: list[dict[str, Any]] = requests.get(f"{self.url}/api/v2/alerts", timeout=DEADLINE_S).json()
        return read

    def notice(self, status: str, id_: str) -> dict[str, Any]:
        """Wait until its receiver was told so of an episode."""

        def told() -> list[dict[str, Any]]:
            alerts = [alert for notice in list(self.notified) for alert in notice["alerts"]]
            return [
                alert for alert in alerts if (alert["status"], alert["annotations"]["id"]) == (status, id_)
            ]

        found: list[dict[str, Any]] = until(told, lambda: f"{status} {id_}: {self.notified}")
        return found[0]


@contextmanager
def alertmanager_in(folder: Path) -> Iterator[AlertmanagerDaemon]:
    """Run one with its files in this folder."""
    with ExitStack() as stack:
        made = AlertmanagerDaemon(free_port(), folder, stack)

        def take(_: str, body: bytes) -> None:
            made.notified.append(json.loads(body))

        made.start(stack.enter_context(posting(take)))
        yield made
