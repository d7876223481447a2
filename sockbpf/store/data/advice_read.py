# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Reads what advice for a service is made of: its samples, when its host was looked at, what was told of its kind."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sockbpf.store.data.episode_search import find_page
from sockbpf.store.data.filters import MOST_ROWS, parse
from sockbpf.store.data.history import HOUR_S, Asked, window_of
from sockbpf.store.data.history_find import find_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from sockbpf.record.history import Samples, Series

BESIDE = 20
"""So many series of a host, the fullest, show how often it is looked at."""
MOST_EPISODES = 10_000
ENOUGH_S = 4.0
"""After so long no further episodes are read."""


def looks_at(connection: Connection, host: str, samples: Samples) -> list[list[int]]:
    """Return when each of some series of a host has samples: these ones, others in their last hour; Unix time."""
    if not samples:
        return []
    begin_s = max(samples) // HOUR_S * HOUR_S
    asked = Asked(window_of(begin_s, begin_s + HOUR_S), top=BESIDE, limit=0, host=host)
    found = find_history(connection, asked)
    beside = [
        [at_s for at_s, size in zip(found["times"], each["size"], strict=True) if size is not None]
        for each in found["series"]
    ]
    return [sorted(samples), *beside]


def read_episodes(
    connection: Connection, series: Series, begin_s: int, end_s: int, take: Callable[[dict[str, Any]], None]
) -> bool:
    """Have `take` called with each episode of a host of this protocol and type between two times; return if with all.

    Of which service each is, it says itself: a unit within another one is told under its own name.
    """
    names = [(name, getattr(series, name)) for name in ("host", "protocol", "type")]
    times = [("from", str(begin_s)), ("to", str(end_s)), ("limit", str(MOST_ROWS))]
    wanted = parse([*names, *times], episodes=True)
    begun_s, count = time.monotonic(), 0
    while True:
        page, place = find_page(connection, wanted)
        for row in page:
            take(row)
        count += len(page)
        if place is None:
            return True
        if count >= MOST_EPISODES or time.monotonic() - begun_s > ENOUGH_S:
            return False
        wanted = replace(wanted, behind=place)
