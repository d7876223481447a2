# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Alertmanager: what an alert is called there, when it begins and ends, and where it is posted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from sockbpf.delivery.destinations import alertmanager
from sockbpf.delivery.destinations.alertmanager import Alertmanager, alert_of, labels_of, take_over
from sockbpf.delivery.transport import TransportError
from sockbpf.record.left import first_of, lefts_of_notice
from tests.unit.notices import notice

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
(LEFT,) = lefts_of_notice(notice("exceeded", 1, 1), "boot", 0)
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
    why = {
        "condition": "stalled",
        "severity": "critical",
        "unit": "nginx.service",
        "cause": "peer-not-reading",
    }
    assert alert_of(ONGOING | why, {"team": "net"}) == {
        "labels": {
            "alertname": "SocketQueueStalled", "severity": "critical", "instance": "h", "service": "tcp 80",
            "direction": "SEND", "unit": "nginx.service", "team": "net",
        },
        "annotations": {
            "summary": "SEND queue of tcp 10.0.0.1:80 to [::1]:40000 is still stalled: it holds 12 bytes, nothing "
            "has left it for 60.000001 s (nginx, pid 4711)",
            **ONGOING, **why,
        },
        "startsAt": "2026-11-22T10:25:23.482913Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({"condition": "size"}, {"alertname": "SocketQueueLarge"}),
        (
            {"condition": "fill", "local_port": "40000", "remote_port": "80"},
            {"alertname": "SocketBufferFilled"},
        ),
        (
            {"condition": "accept", "type": "ACCEPT"},
            {"alertname": "AcceptQueueFilled", "direction": "ACCEPT"},
        ),
        ({"comm": "a\nb\x1b[1m", "pid": "7"}, {"comm": r"a\nb\x1b[1m"}),
        (
            {"unit": "u.service", "comm": "x", "host": "h\u202e"},
            {"unit": "u.service", "instance": r"h\u202e"},
        ),
        ({"remote_port": "0", "protocol": "udp"}, {"service": "udp 80"}),
    ],
)
def test_its_labels_are_few(fields: dict[str, str], labels: dict[str, str]) -> None:
    same = {"alertname": "SocketQueue", "instance": "h", "service": "tcp 80", "direction": "SEND"}
    assert alert_of(EXCEEDED | fields)["labels"] == same | labels


def test_an_episode_is_one_alert_that_ends_where_it_cleared() -> None:
    with served_with(200) as served, closing(Alertmanager(url=served.url, timeout_s=30)) as destination:
        for fields in (EXCEEDED, ONGOING, CLEARED):
            destination.send(fields)
    made = [alert for _, (alert,) in served.posted]
    assert made[0]["labels"] == made[1]["labels"] == made[2]["labels"]
    assert [alert["annotations"].get("comm") for alert in made] == [None, "nginx", "nginx"]
    assert {alert["startsAt"] for alert in made} == {"2026-11-22T10:25:23.482913Z"}
    assert [alert.get("endsAt") for alert in made] == [None, None, "2026-11-22T10:26:40.000001Z"]


def test_two_sockets_of_one_service_are_one_alert_that_ends_with_the_last() -> None:
    other = {"id": "f", "remote_port": "40001"}
    with served_with(200) as served:
        made = [
            Alertmanager(url=served.url, timeout_s=30) for _ in range(2)
        ]  # as before and after new settings
        for destination, fields in zip(
            made * 2, (EXCEEDED, EXCEEDED | other, CLEARED, CLEARED | other), strict=True
        ):
            destination.send(fields)
        for destination in made:
            destination.close()
    posted = [alert for _, (alert,) in served.posted]
    assert [alert.get("endsAt") for alert in posted] == [None, None, None, "2026-11-22T10:26:40.000001Z"]
    assert [alert["annotations"]["id"] for alert in posted] == ["e", "f", "f", "f"]
    assert posted[1]["annotations"]["open"] == "2"


def test_a_folded_alert_has_the_labels_it_has() -> None:
    made = alert_of(FOLDED)
    assert made["labels"] == {
        "alertname": "SocketQueue", "instance": "h", "service": "udp 53", "direction": "RECV",
    }  # fmt: skip
    assert made["annotations"].items() >= FOLDED.items()


@pytest.mark.parametrize(
    ("fold", "service"),
    [
        ({"fold": "local-service", "remote_port": "7"}, "udp 53"),
        ({"fold": "remote-service", "remote_ip": "::1", "remote_port": "54"}, "udp 54"),
        ({"fold": "process", "pid": "4711"}, None),
        ({"fold": "user"}, None),
    ],
)
def test_a_folded_alert_has_the_service_that_its_sockets_have_in_common(
    fold: dict[str, str], service: str | None
) -> None:
    assert alert_of(FOLDED | fold)["labels"].get("service") == service


def test_after_a_restart_the_labels_are_those_of_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process became known later: by other labels the end would end nothing."""
    monkeypatch.setattr(alertmanager, "_earlier", {})
    begun = {key: text for key, text in EXCEEDED.items() if key not in {"pid", "comm"}}
    left = replace(LEFT, id=EXCEEDED["id"], first=first_of(begun))
    with (
        served_with(200) as served,
        closing(Alertmanager(url=served.url, timeout_s=30, labels={"team": "net"})) as destination,
    ):
        take_over([left])
        destination.send(CLEARED)
    ((_, (posted,)),) = served.posted
    assert posted["labels"] == labels_of(begun, {"team": "net"})
    assert posted["labels"] != labels_of(CLEARED, {"team": "net"})


@pytest.mark.parametrize("below", ["", "/", "/prefix", "/prefix/"])
def test_alerts_are_posted_heartbeats_are_not(below: str) -> None:
    cleared = {key: text for key, text in CLEARED.items() if key not in {"pid", "comm"}}
    ended = FOLDED | {"event": "cleared"}
    with (
        served_with(200) as served,
        closing(Alertmanager(url=served.url + below, timeout_s=30)) as destination,
    ):
        for fields in (EXCEEDED, HEARTBEAT, cleared, FOLDED, ended):
            destination.send(fields)
    path = f"{below.rstrip('/')}/api/v2/alerts"
    assert served.posted == [(path, [alert_of(fields)]) for fields in (EXCEEDED, cleared, FOLDED, ended)]


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
