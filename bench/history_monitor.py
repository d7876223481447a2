# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the history costs the monitor: looks at real queues each 10 s, samples of them, and requests each minute."""

from __future__ import annotations

import math
import resource
import socket
import time
from contextlib import ExitStack, closing
from unittest.mock import patch

from bench.figure import Figure
from sockbpf.counters import Counters
from sockbpf.delivery.destinations.history_post import bodies_of
from sockbpf.judge.recorder import Recorder
from sockbpf.kernel.look.choice import Choice
from sockbpf.monitor import service_looks
from sockbpf.monitor.service_looks import ServiceLooks
from sockbpf.record.history import STEP_S

MINUTES = 3
GOAL = 1.0
FIRST_PORT = 2000
"""Below the ports that clients get: each is a service."""


def full_sockets(count: int, stack: ExitStack) -> None:
    """Have so many UDP sockets, each on a port of its own, hold a datagram that nobody reads."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * count + 1000), hard))
    sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    for port in range(FIRST_PORT, FIRST_PORT + count):
        held = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        held.bind(("127.0.9.9", port))
        sender.sendto(b"x" * 100, held.getsockname())


def monitors_part(services: int) -> list[Figure]:
    """Take looks at so many services, as many as in some minutes; return their part of a core."""
    recorder, counters = Recorder("web1"), Counters()
    with ExitStack() as stack:
        full_sockets(services, stack)
        for name, value in (("FRESH_S", 0.0), ("SHARE", math.inf)):
            stack.enter_context(patch.object(service_looks, name, value))
        choice = stack.enter_context(closing(Choice("auto", "auto")))
        looks = ServiceLooks(choice.take(counters), (), lambda look: look(lambda: None), counters)
        told = sent = 0
        used_s = 0.0
        for minute in range(MINUTES):
            for look in range(60 // STEP_S):
                at_s = 60 * minute + STEP_S * look
                looks.on_seen = lambda seen, at_s=at_s: recorder.record(seen, at_s, at_s)
                looks.begin()
                used_s += looks.cost_s
            begun_s = time.thread_time()
            samples = recorder.take()
            told += sum(map(len, samples.values()))
            sent += sum(len(body.data) for body in bodies_of(samples))
            used_s += time.thread_time() - begun_s
    assert told >= services * MINUTES * 60 // STEP_S, "each service has a sample of each look"
    share = 100 * used_s / (60 * MINUTES)
    return [
        Figure(
            f"history of {services} services, all of them busy: the monitor's part",
            "% of a core",
            (share,),
            f"at most {GOAL:g} %",
            share <= GOAL,
            note=f"{sent / MINUTES / 1000:.1f} kB sent a minute",
        )
    ]
