# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Debian's Prometheus with our rules and the queries of our dashboard: they say what `ss` says of the sockets."""

from __future__ import annotations

import math
import signal
import subprocess
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import yaml

from tests.live.daemons import program
from tests.live.drawing import Time, page_of, picture
from tests.live.hung import BACKLOG, UNREAD, Hung, busy_for, scraped, udp_drops
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.ours import only_ours
from tests.live.ports import free_port
from tests.live.prometheus import (
    DASHBOARD,
    GIVEN,
    PrometheusDaemon,
    expanded,
    panels,
    prometheus_in,
    variables,
)
from tests.live.receiver import Receiver, receiving
from tests.live.sockets import inode, ss, ss_all
from tests.live.waiting import until

DROPPED = 17
CLIENTS = 9
PICTURED_S = 120


def promtool(*arguments: str | Path, given: str = "") -> None:
    """Have promtool check something; whatever it finds is a failure."""
    ran = subprocess.run(
        [program("promtool"), *map(str, arguments)], input=given, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not ran.stderr, "it has something to say"


def refuse(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(422)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def test_prometheus(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, tmp_path: Path, pictures: Path | None
) -> None:
    begun_s = time.time()
    listen = f"127.0.0.1:{free_port()}"
    (folder := tmp_path / "prometheus").mkdir()
    refusing = stack.enter_context(receiving())
    refusing.answer = refuse
    hung = Hung(stack)
    monitor = start_monitor(
        thresholds=thresholds(2**30), repeat="1s", metrics={"listen": listen},
        stalled={"after": "1s", "above": "1KiB"}, listeners={"backlog": "80%", "hold": "100ms"},
        destinations=[
            {"type": "http", "name": "dead", "url": f"http://127.0.0.1:{free_port()}/"},
            {"type": "http", "name": "refusing", "url": refusing.url},
        ],
        rules=only_ours(hung.tcp_port, hung.udp_port, hung.deaf_port),
    )  # fmt: skip
    prometheus = stack.enter_context(prometheus_in(folder, listen))
    promtool("check", "config", folder / "prometheus.yml")
    promtool("check", "rules", GIVEN / "alerts.yml")
    promtool("test", "rules", GIVEN / "alerts_test.yml")
    promtool("check", "metrics", given=scraped(listen))

    agree_with_sockets(prometheus, hung)
    agree_with_dashboard(prometheus, str(hung.tcp_port))
    exemplars(prometheus, receiver)
    if pictures:
        busy_for(PICTURED_S, hung)
    page = page_of(prometheus, Time(begun_s, time.time()))
    assert page.count("<polyline") >= page.count("<svg") > 15
    if pictures:
        picture(page, pictures / "dashboard.png")

    assert_fires(prometheus, hung)
    assert not prometheus.fires("SockbpfDown")
    assert not prometheus.fires("SockbpfAbsent")
    monitor.process.send_signal(signal.SIGKILL)
    until(lambda: prometheus.fires("SockbpfDown", instance=listen), "that the monitor is down")
    every = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in every} == {name for name, _ in rules()}
    assert {rule["health"] for rule in every} == {"ok"}


def agree_with_sockets(prometheus: PrometheusDaemon, hung: Hung) -> None:
    """Wait until the metrics say what `ss` says; meanwhile datagrams and connections are dropped."""
    tcp, udp = str(hung.tcp_port), str(hung.udp_port)

    def sees(query: str, number: float) -> None:
        until(
            lambda: prometheus.value(query) == number,
            lambda: f"{query}: {prometheus.values(query)}, not {number}",
        )

    sees(f'sockbpf_accept_queue_drops_total{{service="{tcp}"}}', 0)
    dropped_before = udp_drops(hung.udp)
    in_udp = f'protocol="udp", direction="RECV", service="{udp}"'
    sees(f"sockbpf_queue_bytes{{{in_udp}}}", ss(hung.udp)[0])
    sees(f"sockbpf_queue_drops_total{{{in_udp}}}", 0)
    hung.send(DROPPED)
    for _ in range(CLIENTS):
        hung.connect(waits=False)
    assert udp_drops(hung.udp) == dropped_before + DROPPED
    sees(f"sockbpf_queue_drops_total{{{in_udp}}}", DROPPED)

    in_tcp = f'protocol="tcp", direction="RECV", service="{tcp}"'
    sees(f"sockbpf_queue_bytes{{{in_tcp}}}", UNREAD)
    assert ss(hung.reader)[0] == UNREAD
    sees(f"sockbpf_queue_sockets{{{in_tcp}}}", 1)
    sees(f"sockbpf_queue_stalled{{{in_tcp}}}", 1)
    sees(f"sockbpf_queue_stalled{{{in_udp}}}", 1)
    sees(f'sockbpf_queue_open_episodes{{direction="ACCEPT", service="{tcp}"}} > bool 0', 1)
    waiting, backlog = ss_all()[inode(hung.listener)]
    assert (waiting, backlog) == (BACKLOG + 1, BACKLOG)
    sees(f'sockbpf_accept_queue_connections{{service="{tcp}"}}', waiting)
    sees(f'sockbpf_accept_queue_backlog{{service="{tcp}"}}', backlog)
    sees(f'sockbpf_accept_queue_fill_ratio{{service="{tcp}"}}', waiting / backlog)
    sees(f'sockbpf_accept_queue_drops_total{{service="{tcp}"}} >= bool {CLIENTS}', 1)
    fill = prometheus.value(f"sockbpf_queue_fill_ratio{{{in_udp}}}")
    assert fill is not None
    assert 0.9 < fill <= 1.01


def assert_fires(prometheus: PrometheusDaemon, hung: Hung) -> None:
    """Wait for the alerts that such services, and such receivers, are to have."""
    tcp, udp = str(hung.tcp_port), str(hung.udp_port)
    for name, labels in {
        "SockbpfQueueStalled": {"service": tcp, "direction": "RECV"}, "SockbpfReceiveQueueFull": {"service": udp},
        "SockbpfQueueOver": {"service": tcp}, "SockbpfDatagramsDropped": {"service": udp},
        "SockbpfNotAccepting": {"service": str(hung.deaf_port)}, "SockbpfAcceptQueueFull": {"service": tcp},
        "SockbpfConnectionsDropped": {"service": tcp}, "SockbpfDestinationDead": {"destination": "dead"},
        "SockbpfAlertsGivenUp": {"destination": "refusing"},
    }.items():  # fmt: skip
        until(lambda: prometheus.fires(name, **labels), lambda: f"{name} {labels}: {prometheus.firing()}")  # noqa: B023


def rules() -> list[tuple[str, str]]:
    """Return name and expression of each rule that is given."""
    groups = yaml.safe_load((GIVEN / "alerts.yml").read_text())["groups"]
    return [(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]


def agree_with_dashboard(prometheus: PrometheusDaemon, service: str) -> None:
    """Ask each query of the dashboard: all have data, and those of one service are of that."""
    chosen = variables(prometheus)
    assert chosen["host"] == [prometheus.target]
    assert service in chosen["service"]
    shown = {}
    for panel in panels(prometheus.target):
        for query, legend in panel.queries:
            found = until(lambda: prometheus.values(query), f"data for {panel.title}: {query}")  # noqa: B023
            shown[panel.title, legend] = found
            if "quantile" not in query:
                assert not any(map(math.isnan, found.values())), query
    of_service = (("service", service),)
    assert shown["Received, not read", "{{service}}"][of_service] == UNREAD
    assert shown["Fullest accept queue", "{{service}}"][of_service] == (BACKLOG + 1) / BACKLOG
    assert shown["Monitors that do not answer", ""] == {(): 0}
    for panel in panels(prometheus.target, service):
        for query, _ in panel.queries:
            labels = {dict(key).get("service", service) for key in prometheus.values(query)}
            assert labels <= {service}, f"{panel.title}: {labels}"
    for annotation in DASHBOARD["annotations"]["list"]:
        prometheus.values(expanded(annotation["expr"], prometheus.target))


def exemplars(prometheus: PrometheusDaemon, receiver: Receiver) -> None:
    """Assert that the episodes which the histogram names are those that were told."""
    now = time.time()
    found = prometheus.get(
        "query_exemplars", query="sockbpf_crossing_to_delivered_seconds_bucket", start=now - 600, end=now
    )
    ids = {exemplar["labels"]["id"] for series in found for exemplar in series["exemplars"]}
    assert ids
    assert ids <= {alert["id"] for alert in receiver.alerts()}
