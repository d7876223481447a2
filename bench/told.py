# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the monitors of a fleet tell: the heartbeats and the alerts of an episode, with all that a monitor sends."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from sockbpf.counters import NAMES

Fields = dict[str, str]

BEAT_S = 30.0
SERVICES = ("nginx", "postgres", "redis-server", "haproxy", "java", "envoy", "kafka", "memcached")
RUN = "5f3c0a1b9d2e4f60"
OF_MONITOR = {"version": "1", "kernel": "6.1.0", "mode": "ebpf", "unseen": "", "repeat": "60.0"}


def of_monitor(event: str, host: str, seq: int, at_s: float, run: str = RUN) -> Fields:
    """Return a heartbeat, or that a run begins or ends."""
    told = {"event": event, "timestamp": f"{at_s:.6f}", "host": host, "seq": str(seq), "run": run}
    told |= {"heartbeat": str(BEAT_S)} | OF_MONITOR
    if event != "heartbeat":
        return told | {"id": run}
    return told | {"open_episodes": "3"} | dict.fromkeys(NAMES, "12")


@dataclass(frozen=True)
class Episode:
    """A queue that is over, of a service of a host."""

    host: str
    about: Mapping[str, object]
    """The fields that are the same in each of its alerts."""
    size: int

    @property
    def id(self) -> str:
        return str(self.about["id"])

    def alert(self, event: str, seq: int, at_s: float, since_s: float, **more: object) -> Fields:
        """Return one of its alerts, so many seconds after its first; `more` takes the place of what is usual."""
        comm, size, unread_s = self.about["comm"], self.size, f"{since_s + 4.2:.1f}"
        told: dict[str, object] = {
            "timestamp": f"{at_s:.6f}",
            "event": event,
            **self.about,
            "size": 4096 if event == "cleared" else size,
            "peak": size,
            "reason": f"{comm} has not read for {unread_s} s: {size} bytes wait, 0 bytes left the queue",
            "evidence": f"unread={size};read_bytes=0;since={unread_s};window=0",
            "duration": f"{since_s:.6f}",
            "seq": seq,
            "host": self.host,
            "run": RUN,
            **more,
        }
        return {name: str(value) for name, value in told.items()}


def episode(host: str, chance: random.Random, **more: object) -> Episode:
    """Return an episode of a queue of any service."""
    comm = chance.choice(SERVICES)
    about: dict[str, object] = {
        "protocol": "tcp",
        "local_ip": f"10.0.{chance.randrange(256)}.{chance.randrange(256)}",
        "local_port": chance.choice((443, 8443, 5432, 6379, 9092)),
        "remote_ip": f"10.1.{chance.randrange(256)}.{chance.randrange(256)}",
        "remote_port": chance.randrange(1024, 60_000),
        "type": chance.choice(("SEND", "RECV")),
        "condition": "size",
        "severity": "warning",
        "threshold": 1_048_576,
        "limit": 6_291_456,
        "fill": chance.randrange(20, 100),
        "state": "ESTAB",
        "cause": "reader-not-reading",
        "confidence": "high",
        "id": f"{chance.getrandbits(64):016x}",
        "netns": 4_026_531_833,
        "mode": "ebpf",
        "pid": chance.randrange(300, 30_000),
        "comm": comm,
        "user": comm,
        "unit": f"{comm}.service",
        "cgroup": f"/system.slice/{comm}.service",
    }
    return Episode(host, about | more, chance.randrange(1_048_577, 64_000_000))
