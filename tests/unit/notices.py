# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Notices of a queue that crosses its threshold again and again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sockbpf.counters import Counters
from sockbpf.judge.flapping import Flapping
from sockbpf.record.alert import Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket

S = 10**9
MINUTE = 60 * S
TCP = Socket(Protocol.TCP, "192.0.2.1", 443, "192.0.2.2", 40009, 4026531840, 8191)


def flapping(above: int = 5, window_ns: int = MINUTE, repeat_ns: int = MINUTE) -> Flapping:
    return Flapping(above, window_ns, repeat_ns, Counters())


def notice(event: str, number: int, ns: int, queue: int = 0, **changed: Any) -> Notice:
    """Return a notice of the episode of this number."""
    made = Notice(
        event=event, id=f"id-{queue}-{number}", ns=ns, since_ns=ns, socket=replace(TCP, remote_port=40000 + queue),
        direction=Direction.RECV, mode=Mode.EBPF, size=2000, peak=3000 + number, threshold=1009, pid=0, comm="",
    )  # fmt: skip
    return replace(made, **changed)
