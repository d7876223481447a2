# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""SIGHUP while alerts are owed: the new settings deliver from then on, each alert settles once, nothing piles up."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from sockbpf.delivery.journal import Journal
from sockbpf.delivery.owed import Owed, body_of
from tests.live.monitoring import Monitor, StartMonitor, thresholds
from tests.live.receiver import Receiver, receiving
from tests.live.waiting import until

ALERTS = 211
WORKERS = 4
STORM = 400
"""Reloads of a storm; a hundred a second or as many as there can be."""


class Gate:
    """Answers nothing until it is opened."""

    def __init__(self, receiver: Receiver) -> None:
        self.open = threading.Event()
        self.tokens: list[str | None] = []
        receiver.answer = self

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        self.tokens.append(request.headers.get("Authorization"))
        self.open.wait(300)
        request.send_response(204)
        request.end_headers()


def write(monitor: Monitor, **settings: object) -> None:
    file = monitor.log_file.with_name("config.yaml")
    new = file.with_suffix(".new")
    new.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings))
    new.rename(file)


def reload(monitor: Monitor, **settings: object) -> None:
    said = monitor.log().count("new settings:")
    write(monitor, **settings)
    monitor.process.send_signal(signal.SIGHUP)
    until(lambda: monitor.log().count("new settings:") > said, "the new settings are taken")


def owing(journal: Path, number: int, *destinations: str) -> dict[str, Any]:
    """Have an earlier monitor owe as many alerts to each; return the settings of one that only delivers them."""
    body = {"event": "exceeded", "type": "RECV", "local_port": "1", "timestamp": f"{time.time():.6f}"}
    numbers = itertools.count(1)
    made = [
        Owed(
            next(numbers),
            name,
            f"{seq:016x}",
            time.time(),
            body_of(body | {"id": f"{seq:016x}", "seq": str(seq)}),
        )
        for seq in range(1, number + 1)
        for name in destinations or ["http"]
    ]
    kept = Journal(journal)
    kept.write(made, [], number, len(made))
    kept.close()
    return {
        "thresholds": thresholds(2**30),
        "delivery": {"workers": WORKERS, "timeout": "5m"},
        "journal": {"path": str(journal)},
    }


def names(*receivers: Receiver) -> Counter[tuple[str, str]]:
    return Counter((told["id"], told["seq"]) for receiver in receivers for told in receiver.alerts())


@pytest.mark.parametrize("change", ["url", "token", "workers"])
def test_each_alert_settles_once(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, tmp_path: Path, change: str
) -> None:
    old = Gate(receiver)
    other = stack.enter_context(receiving())
    settings = owing(tmp_path / "journal", ALERTS)
    monitor = start_monitor(**settings, http={"token": "revoked"})
    until(lambda: len(old.tokens) == WORKERS, "the receiver hangs with each worker")
    if change == "url":
        reload(monitor, url=other.url)
        until(lambda: len(other.alerts()) == ALERTS - WORKERS, "all others go to the new one meanwhile")
    elif change == "token":
        reload(monitor, http={"token": "granted"})
        until(lambda: len(old.tokens) == 2 * WORKERS, "others are sent meanwhile")
    else:
        reload(monitor, delivery=settings["delivery"] | {"workers": 2})
        until(lambda: len(old.tokens) == WORKERS + 2, "others are sent meanwhile")
    print(f"old requests under way at the reload: {WORKERS}; after it by the old settings: 0")
    assert old.tokens[:WORKERS] == ["Bearer revoked"] * WORKERS
    assert set(old.tokens[WORKERS:]) <= {"Bearer granted" if change == "token" else "Bearer revoked"}
    old.open.set()
    until(lambda: sum(names(receiver, other).values()) == ALERTS, "all are delivered")
    assert monitor.stop() == 0
    arrived = names(receiver, other)
    assert len(arrived) == ALERTS
    assert set(arrived.values()) == {1}
    if change == "url":
        assert len(receiver.alerts()) == WORKERS
    elif change == "token":
        assert old.tokens.count("Bearer revoked") == WORKERS
    counters = monitor.counters()
    assert (counters["delivered"], counters["given_up"], counters["retried"]) == (ALERTS, 0, 0)
    assert " stopped, 0 alerts owed" in monitor.log()


def test_what_fails_on_the_old_route_is_sent_by_the_new_one(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    gate = threading.Event()

    def fail(request: BaseHTTPRequestHandler) -> None:
        gate.wait(300)
        request.send_response(503)
        request.send_header("Content-Length", "0")
        request.end_headers()

    receiver.answer = fail
    other = stack.enter_context(receiving())
    monitor = start_monitor(**owing(tmp_path / "journal", 11))
    until(lambda: len(receiver.told) == WORKERS, "the receiver hangs with each worker")
    reload(monitor, url=other.url)
    other.count(11 - WORKERS)
    gate.set()
    other.count(11)
    assert monitor.stop() == 0
    assert set(names(other).values()) == {1}
    assert len(receiver.told) == WORKERS
    assert (monitor.counters()["delivered"], monitor.counters()["given_up"]) == (11, 0)


def test_names_are_swapped_and_removed(start_monitor: StartMonitor, stack: ExitStack, tmp_path: Path) -> None:
    """What is owed goes by the name of the destination; what nobody has the name of any more is given up."""
    first, second = (stack.enter_context(receiving()) for _ in range(2))
    gates = [Gate(each) for each in (first, second)]
    destinations = [
        {"type": "http", "name": name, "url": each.url, "events": ["exceeded"]}
        for name, each in (("one", first), ("two", second))
    ]
    monitor = start_monitor(**owing(tmp_path / "journal", 23, "one", "two"), destinations=destinations)
    until(lambda: [len(gate.tokens) for gate in gates] == [WORKERS] * 2, "both hang")
    swapped = [one | {"url": two["url"]} for one, two in zip(destinations, destinations[::-1], strict=True)]
    reload(monitor, destinations=swapped)
    until(lambda: [len(gate.tokens) for gate in gates] == [2 * WORKERS] * 2, "each is sent the other's")
    reload(monitor, destinations=[swapped[0] | {"name": "three"}])
    for gate in gates:
        gate.open.set()
    until(lambda: monitor.log().count("given up, their destination is not configured any more"), "said")
    assert monitor.stop() == 0
    assert len(first.told) == len(second.told) == 2 * WORKERS
    counters = monitor.counters()
    assert counters["delivered"] == 4 * WORKERS
    assert counters["given_up"] == 2 * 23 - 4 * WORKERS


def threads(monitor: Monitor) -> int:
    return len(os.listdir(f"/proc/{monitor.pid}/task"))


def test_a_storm_of_reloads_piles_up_nothing(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    hanging = [stack.enter_context(receiving()) for _ in range(2)]
    gates = [Gate(each) for each in hanging]
    monitor = start_monitor(**owing(tmp_path / "journal", ALERTS), url=hanging[0].url)
    before = threads(monitor)
    most = 0
    for n in range(STORM):
        write(monitor, url=hanging[n % 2].url)
        monitor.process.send_signal(signal.SIGHUP)
        most = max(most, threads(monitor))
    until(lambda: monitor.log().count("read again once earlier requests"), "it is said that one has to wait")
    print(
        f"threads: {before} before, {most} at most; settings taken {monitor.log().count('new settings:')} times"
    )
    assert most < before + 3 * 64
    write(monitor, url=receiver.url)
    monitor.process.send_signal(signal.SIGHUP)
    for gate in gates:
        gate.open.set()
    until(lambda: len(names(receiver, *hanging)) == ALERTS, "all are delivered")
    monitor.process.send_signal(signal.SIGHUP)
    assert monitor.stop() == 0, "a reload while it closes"
    assert set(names(receiver, *hanging).values()) == {1}
    counters = monitor.counters()
    assert (counters["delivered"], counters["given_up"]) == (ALERTS, 0)


def test_settings_that_cannot_be_had_change_nothing(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    """No thread can be started for the new ones: the old ones go on."""
    gate = Gate(receiver)
    settings = owing(tmp_path / "journal", 23)
    monitor = start_monitor(**settings)
    pid = monitor.pid
    until(lambda: len(gate.tokens) == WORKERS, "the receiver hangs with each worker")
    control = Path("/sys/fs/cgroup/pids") / f"sockbpf-{os.getpid()}"
    try:
        control.mkdir()
        (control / "pids.max").write_text(str(threads(monitor) + 2))
        (control / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        pytest.skip(f"no pids controller: {error}")
    stack.callback(control.rmdir)
    write(monitor, delivery=settings["delivery"] | {"workers": 9})
    monitor.process.send_signal(signal.SIGHUP)
    until(lambda: "the settings are kept" in monitor.log(), "said")
    gate.open.set()
    receiver.count(23)
    assert monitor.stop() == 0
    assert set(names(receiver).values()) == {1}
