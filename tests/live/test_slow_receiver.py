# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A receiver that is slow, mute or down costs no event and no memory.

30 011 crossings in 30 s, seen by three monitors side by side: one whose receiver answers after 10 s, one whose
receiver never answers, one whose receiver is not there. None loses an event, each makes all alerts, each alert is
accounted for (delivered, given up as the queue was full, or owed at the end), and no monitor grows once its queue
is full.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.live.monitoring import Monitor, StartMonitor
from tests.live.network import ip
from tests.live.ports import free_port
from tests.live.receiver import receiving
from tests.live.sockets import drain, tcp_pair, udp_socket
from tests.live.waiting import until

THRESHOLD = 20_011
UNREAD = 30_011
CROSSINGS = 30_011
PER_S = 1000
QUEUE = 5003
WARM_S = 10
GROWTH_KIB = 12 * 1024
"""What the interpreter may still take after the queue is full; alerts kept without bound would take 50 MiB."""


def crossings() -> None:
    """Be the load: cross and drain `CROSSINGS` times, `PER_S` a second, TCP and UDP in turn; say how it went."""
    ip("link", "set", "lo", "up")
    with ExitStack() as stack:
        client, server = tcp_pair(stack)
        reader, writer = udp_socket(stack), udp_socket(stack)
        print("ready", flush=True)
        sys.stdin.readline()
        begun = time.monotonic()
        for number in range(CROSSINGS):
            ahead_s = begun + number / PER_S - time.monotonic()
            if ahead_s > 0:
                time.sleep(ahead_s)
            if number % 2:
                client.sendall(bytes(UNREAD))
                drain(server, UNREAD)
            else:
                writer.sendto(bytes(UNREAD), reader.getsockname())
                assert len(reader.recv(UNREAD)) == UNREAD
        print(time.monotonic() - begun, flush=True)
        sys.stdin.readline()


def rss_kib(monitor: Monitor) -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{monitor.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.timeout(240)
def test_slow_mute_and_down(start_monitor: StartMonitor, stack: ExitStack) -> None:
    slow, mute = stack.enter_context(receiving()), stack.enter_context(receiving())
    over = threading.Event()
    stack.callback(over.set)

    def answer_late(handler: BaseHTTPRequestHandler) -> None:
        over.wait(10)
        handler.send_response(204)
        handler.end_headers()

    slow.answer = answer_late

    def answer_never(_: BaseHTTPRequestHandler) -> None:
        over.wait()

    mute.answer = answer_never
    settings = {"thresholds": {"send": "1GiB", "recv": THRESHOLD}, "repeat": "1h"}
    both = ["exceeded", "cleared"]
    monitors = {
        "slow": start_monitor(url=slow.url, events=both, delivery={"queue": QUEUE}, **settings),
        "mute": start_monitor(
            url=mute.url, events=both, delivery={"queue": 1009, "timeout": "5s"}, **settings
        ),
        "down": start_monitor(
            url=f"http://127.0.0.1:{free_port()}/",
            events=["exceeded"],
            delivery={"queue": QUEUE},
            **settings,
        ),
    }

    command = [
        "unshare",
        "--net",
        sys.executable,
        "-c",
        "from tests.live.test_slow_receiver import crossings; crossings()",
    ]
    load = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    stack.callback(load.kill)
    assert load.stdin
    assert load.stdout
    assert load.stdout.readline() == "ready\n"
    print("go", file=load.stdin, flush=True)
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > WARM_S, "the queues full", WARM_S + 30)
    warm = {name: rss_kib(monitor) for name, monitor in monitors.items()}
    took_s = float(load.stdout.readline())
    print(f"{CROSSINGS} crossings in {took_s:.1f} s")
    netns = os.stat(f"/proc/{load.pid}/ns/net").st_ino
    expected = {
        name: {"exceeded": CROSSINGS, "cleared": CROSSINGS if name != "down" else 0} for name in monitors
    }
    until(
        lambda: all(told(monitors[name], netns) >= Counter(events) for name, events in expected.items()),
        "all alerts made",
    )
    hot = {name: rss_kib(monitor) for name, monitor in monitors.items()}

    for monitor in monitors.values():
        monitor.process.terminate()
    for name, monitor in monitors.items():
        assert monitor.stop() == 0
        counters = monitor.counters()
        owed = int(re.findall(r"stopped, (\d+) alerts owed", monitor.log())[-1])
        print(f"{name}: RSS {warm[name]} -> {hot[name]} KiB, {owed} owed, {counters}")
        assert told(monitor, netns) == Counter(expected[name])
        for loss in ("lost_submit", "lost_ring", "undecodable", "episodes_full", "dropped"):
            assert counters[loss] == 0, loss
        assert counters["alerts"] == sum(told(monitor).values())
        assert counters["alerts"] == counters["delivered"] + counters["given_up"] + owed
        assert owed <= (1009 if name == "mute" else QUEUE)
        assert counters["given_up"] > 0
        assert (counters["delivered"] > 0) == (name == "slow")
        assert hot[name] - warm[name] < GROWTH_KIB


def told(monitor: Monitor, netns: int = 0) -> Counter[str]:
    """Count the alerts that the log shows, of one network namespace if given, by event."""
    place = str(netns) if netns else r"\d+"
    return Counter(re.findall(rf" event=(\w+) .* netns={place} ", monitor.log()))
