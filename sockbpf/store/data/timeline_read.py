# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A timeline from the entries and episodes themselves, by any filter: the newest, as many as one answer may cost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from sockbpf.record.alert import EVENTS
from sockbpf.store.data.columns import columns_of
from sockbpf.store.data.episode_search import find_episodes
from sockbpf.store.data.schema import ENTRY
from sockbpf.store.data.search import find
from sockbpf.store.data.tally import service_of, span_us, worst_of
from sockbpf.store.data.timeline import Sums, Timeline, Window

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sockbpf.store.data.filters import Filter

MOST_READ = 2000
"""Alerts, and episodes, that are read for one answer."""


def from_rows(connection: Connection, window: Window, wanted: Filter, service: str, top: int) -> Timeline:
    """Return the timeline of the newest alerts and episodes that fit `wanted`, and are of `service` if named."""
    within = replace(wanted, from_s=float(window.begin_s), to_s=float(window.end_s), limit=MOST_READ)
    entries, has_more = find(connection, within)
    episodes = find_episodes(connection, replace(within, sort="last"))
    reached = [entries[-1][1]] if has_more and entries else []
    if len(episodes) == MOST_READ:
        reached.append(episodes[-1]["last"])
    total = Sums(window)
    services: dict[str, Sums] = {}

    def each(row: Any) -> list[Sums]:
        name = service_of(row)
        if service and name != service:
            return []
        return [total, services.setdefault(name, Sums(window))]

    are_alerts = _alerts_among(connection, [n for n, *_ in entries])
    for n, at_s, body in entries:
        alert = json.loads(body) if n in are_alerts else {}
        if alert.get("event") in EVENTS:
            bucket, worst = (
                window.bucket(at_s),
                worst_of(alert.get("fill"), alert["size"], alert["threshold"]),
            )
            for sums in each(columns_of(alert)):
                sums.told(bucket, alert["type"], alert["event"])
                sums.worst(bucket, *worst)
    for row in episodes:
        for sums in each(row):
            sums.lasted(*span_us(row))
    longest = sorted(services, key=lambda name: (-sum(services[name].open_us), name))[:top]
    return Timeline(total, {name: services[name] for name in longest}, max(reached, default=None))


def _alerts_among(connection: Connection, numbers: list[int]) -> set[int]:
    """Return those of these entries that are alerts: what was posted may look like one."""
    if not numbers:
        return set()
    alerts = select(ENTRY.c.n).where(ENTRY.c.n.in_(numbers), ENTRY.c.key.is_not(None))
    return set(connection.execute(alerts).scalars())
