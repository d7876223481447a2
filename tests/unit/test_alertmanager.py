# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Alertmanager: what an alert is called there, when it begins and ends, and where it is posted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from sockbpf.delivery.destinations.alertmanager import Alertmanager, alert_of
from sockbpf.delivery.transport import TransportError

EXCEEDED = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "9", "duration": "0", "id": "e", "seq": "7", "host": "h",
    "netns": "4026531840", "mode": "ebpf",
}  # fmt: skip
ONGOING = EXCEEDED | {
    "timestamp": "1795343183.482914", "event": "ongoing", "duration": "60.000001", "size": "12", "peak": "13",
    "seq": "8", "pid": "4711", "comm": "nginx",
}  # fmt: skip
CLEARED = ONGOING | {
    "timestamp": "1795343200.000001", "event": "cleared", "duration": "76.517088", "size": "0", "seq": "9",
}  # fmt: skip
FOLDED = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "udp", "local_port": "53", "type": "RECV",
    "size": "9", "threshold": "8", "peak": "10", "duration": "0", "id": "f", "seq": "7", "host": "h",
    "mode": "ebpf", "count": "37", "worst": "10.0.0.2:5=9;[::1]:6=9",
}  # fmt: skip
HEARTBEAT = {"event": "heartbeat", "timestamp": "1795343123.000000", "host": "h", "seq": "7", "alerts": "12"}


@dataclass
class Served:
    """What a server that answers `status` was asked."""

    url: str
    posted: list[tuple[str, Any]] = field(default_factory=list)


@contextmanager
def served_with(status: int) -> Iterator[Served]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.posted.append((self.path, json.loads(body)))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Served(f"http://user:s3cret@127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        server.shutdown()


def test_an_alert() -> None:
    assert alert_of(ONGOING) == {
        "labels": {
            "alertname": "SocketQueue", "host": "h", "protocol": "tcp", "type": "SEND", "local_ip": "10.0.0.1",
            "local_port": "80", "remote_ip": "::1", "remote_port": "40000", "netns": "4026531840", "id": "e",
        },
        "annotations": {
            "summary": "SEND queue of tcp 10.0.0.1:80 to [::1]:40000 still holds 12 bytes, over 8 for 60.000001 s, "
            "peak 13 (nginx, pid 4711)",
            "timestamp": "1795343183.482914", "event": "ongoing", "size": "12", "threshold": "8", "peak": "13",
            "duration": "60.000001", "seq": "8", "mode": "ebpf", "pid": "4711", "comm": "nginx",
        },
        "startsAt": "2026-11-22T10:25:23.482913Z",
    }  # fmt: skip


def test_an_episode_is_one_alert_that_ends_where_it_cleared() -> None:
    made = [alert_of(fields) for fields in (EXCEEDED, ONGOING, CLEARED)]
    assert made[0]["labels"] == made[1]["labels"] == made[2]["labels"]
    assert {alert["startsAt"] for alert in made} == {"2026-11-22T10:25:23.482913Z"}
    assert [alert.get("endsAt") for alert in made] == [None, None, "2026-11-22T10:26:40.000001Z"]


def test_a_folded_alert_has_the_labels_it_has() -> None:
    made = alert_of(FOLDED)
    assert made["labels"] == {
        "alertname": "SocketQueue", "host": "h", "protocol": "udp", "type": "RECV", "local_port": "53", "id": "f",
    }  # fmt: skip
    assert made["annotations"]["worst"] == FOLDED["worst"]
    assert made["annotations"]["count"] == "37"


@pytest.mark.parametrize(
    ("fold", "labels"),
    [
        ({}, {"local_port": "53"}),
        ({"fold": "local-service"}, {"local_port": "53", "fold": "local-service"}),
        (
            {"fold": "remote-service", "remote_ip": "::1", "remote_port": "53"},
            {"remote_ip": "::1", "remote_port": "53", "fold": "remote-service"},
        ),
        ({"fold": "process", "pid": "4711"}, {"fold": "process"}),
        ({"fold": "user"}, {"fold": "user"}),
    ],
)
def test_a_folded_alert_has_no_label_that_may_change(fold: dict[str, str], labels: dict[str, str]) -> None:
    shared = {"local_ip": "10.0.0.1", "netns": "4026531840"}  # at this moment
    made = alert_of(FOLDED | shared | fold)
    same = {"alertname": "SocketQueue", "host": "h", "protocol": "udp", "type": "RECV", "id": "f"}
    assert made["labels"] == same | labels
    assert made["annotations"].items() >= shared.items()


@pytest.mark.parametrize("below", ["", "/", "/prefix", "/prefix/"])
def test_alerts_are_posted_heartbeats_are_not(below: str) -> None:
    ended = FOLDED | {"event": "cleared"}
    with (
        served_with(200) as served,
        closing(Alertmanager(url=served.url + below, timeout_s=30)) as destination,
    ):
        for fields in (EXCEEDED, HEARTBEAT, CLEARED, FOLDED, ended):
            destination.send(fields)
    path = f"{below.rstrip('/')}/api/v2/alerts"
    assert served.posted == [(path, [alert_of(fields)]) for fields in (EXCEEDED, CLEARED, FOLDED, ended)]


@pytest.mark.parametrize(("status", "permanent"), [(400, True), (500, False), (503, False)])
@pytest.mark.parametrize(("hide_path", "shown"), [(False, "/prefix/api/v2/alerts"), (True, "/...")])
def test_other_answers_are_failures(status: int, permanent: bool, hide_path: bool, shown: str) -> None:
    with served_with(status) as served:
        made = Alertmanager(url=f"{served.url}/prefix", timeout_s=30, hide_path=hide_path)
        with closing(made) as destination, pytest.raises(TransportError) as failed:
            destination.send(EXCEEDED)
    where = served.url.replace("user:s3cret@", "")
    assert str(failed.value) == f"POST {where}{shown}: answered {status}"
    assert failed.value.permanent == permanent
