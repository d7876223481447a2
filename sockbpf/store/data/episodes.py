# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Brings the table of episodes up to date with what new alerts report."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sockbpf.store.data import bulk
from sockbpf.store.data.digest import digest_of, is_sound
from sockbpf.store.data.joining import joined, one_for_each, without_run
from sockbpf.store.data.kept import entries_of_episodes
from sockbpf.store.data.runs import ended_by_run
from sockbpf.store.data.schema import EPISODE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.entry import Entry
    from sockbpf.store.data.hosts import Hosts
    from sockbpf.store.data.joining import Row

    Key = tuple[str, str]

KEY = ("host", "id")
_key_of: Callable[[Row], Key] = itemgetter(*KEY)
NAMES = tuple(EPISODE.c.keys())


def tell_episodes(
    connection: Connection, new: Sequence[Entry], arrived_s: float, hosts: Hosts
) -> tuple[list[Row | None], list[Row]]:
    """Join what these entries report with what is in the table; `hosts` has the rows of their hosts.

    Return the rows that were there, None for one that was damaged, and what became of them.
    Nobody else changes them meanwhile: SQLite has one writer, and in PostgreSQL `write` holds the lock.
    """
    reports = list(_reports(new, arrived_s))
    if not reports:
        return [], []
    rows = one_for_each(reports)
    keys = [_key_of(row) for row in rows]
    begun = {_key_of(each) for each in reports if each["start"] == each["last"]}
    stored = _stored(connection, keys)
    # Of what is damaged or missing, and has not just begun, all alerts that are kept count.
    unknown = [key for key in keys if not stored.get(key) and (key in stored or key not in begun)]
    told = one_for_each(_reports(entries_of_episodes(connection, unknown), arrived_s))
    of_alerts = {_key_of(row): row for row in told}
    made: list[dict[str, Any]] = []
    for key, row in zip(keys, rows, strict=True):
        known = stored.get(key)
        whole = joined(without_run(known), row) if known else of_alerts.get(key, row)
        made.append(ended_by_run(connection, dict(whole), hosts))
    for row in made:
        row["digest"] = digest_of(row, NAMES)
    bulk.put(connection, EPISODE, made, stored)
    return [without_run(row) if row else None for row in stored.values()], list(made)


def _reports(entries: Iterable[Entry], arrived_s: float) -> Iterator[dict[str, Any]]:
    for entry in entries:
        if entry.episode:
            came_s = arrived_s if entry.arrived_s is None else entry.arrived_s
            yield {**entry.episode, "trusted": int(entry.trusted), "arrived": came_s}


def _stored(connection: Connection, keys: Sequence[Key]) -> dict[Key, Row | None]:
    """Return those of these episodes that are in the table; None for one that is damaged."""
    found = (dict(zip(NAMES, row, strict=True)) for row in bulk.find(connection, EPISODE, KEY, keys, NAMES))
    return {_key_of(row): row if is_sound(row, EPISODE) else None for row in found}
