# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a store knows of services for which something is to be advised."""

from __future__ import annotations

import json
import time

import requests

from tests.store.history_lines import line, send
from tests.store.serving import Store, told

MIB = 2**20
NIGHTS = 5


def nights() -> list[int]:
    """Return when it was 02:00 here in each of some nights that are over, Unix time."""
    now = time.localtime(time.time() - 86_400)
    return [
        int(time.mktime((now.tm_year, now.tm_mon, now.tm_mday - day, 2, 0, 0, 0, 0, -1)))
        for day in range(NIGHTS)
    ]


def fill(store: Store) -> None:
    """Have it know of a backup each night, of a service far from its threshold, and of a user's processes."""
    lines = []
    for night in nights():
        times = [night + 10 * step for step in range(12)]
        lines += [
            line(times, [5 * MIB] * 12, service="873"),
            line(times, [20_000] * 12),
            line(times, [9] * 12, service="user-1000.slice", type="RECV"),
        ]
    assert send(store, *lines).json()["refused"] == []
    tell_each_night(store, 0, local_port=873, comm="rsync")


def tell_each_night(store: Store, first: int, **changed: object) -> None:
    """Have it know of an alert each night, and of its end; the first has this number."""
    alerts = [
        told(number, event=event, seq=seq, timestamp=f"{night + 110 * seq}.5", duration=110 * seq, type="SEND",
             size=5 * MIB, peak=5 * MIB, threshold=MIB, condition="size", **changed)
        for number, night in enumerate(nights(), first)
        for seq, event in enumerate(("exceeded", "cleared"))
    ]  # fmt: skip
    body = "\n".join(map(json.dumps, alerts))
    answer = requests.post(f"{store.url}/alerts", data=body, headers=store.headers, timeout=60)
    assert answer.json()["refused"] == []
