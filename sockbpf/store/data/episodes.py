# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Brings the table of episodes up to date with what new alerts report."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sockbpf.store.data import bulk
from sockbpf.store.data.digest import digest_of, is_sound
from sockbpf.store.data.joining import joined, one_for_each, without_run
from sockbpf.store.data.kept import entries_of_episode
from sockbpf.store.data.runs import ended_by_run
from sockbpf.store.data.schema import EPISODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.entry import Entry
    from sockbpf.store.data.hosts import Hosts
    from sockbpf.store.data.joining import Row

    Key = tuple[str, str]

NOTHING: Row = MappingProxyType({})
KEY = ("host", "id")
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
    begun = {(each["host"], each["id"]) for each in reports if each["start"] == each["last"]}
    stored = _stored(connection, rows)
    made: list[dict[str, Any]] = []
    for row in rows:
        key = row["host"], row["id"]
        known = stored.get(key, NOTHING if key in begun else None)
        made.append(ended_by_run(connection, _joined(connection, row, known, arrived_s), hosts))
    for row in made:
        row["digest"] = digest_of(row, NAMES)
    bulk.put(connection, EPISODE, made, stored)
    return [without_run(row) if row else None for row in stored.values()], list(made)


def _reports(entries: Iterable[Entry], arrived_s: float) -> Iterator[dict[str, Any]]:
    for entry in entries:
        if entry.episode:
            came_s = arrived_s if entry.arrived_s is None else entry.arrived_s
            yield {**entry.episode, "trusted": int(entry.trusted), "arrived": came_s}


def _joined(connection: Connection, row: Row, known: Row | None, arrived_s: float) -> dict[str, Any]:
    """Return what is known of an episode: of its row, or if that is damaged or missing, of its alerts."""
    if known is not None:
        return joined(without_run(known), row) if known else dict(row)
    made = one_for_each(_reports(entries_of_episode(connection, row["host"], row["id"]), arrived_s))
    return made[0] if made else dict(row)


def _stored(connection: Connection, rows: Sequence[Row]) -> dict[Key, Row | None]:
    """Return those of these episodes that are in the table; None for one that is damaged."""
    keys = [(row["host"], row["id"]) for row in rows]
    found = (dict(zip(NAMES, row, strict=True)) for row in bulk.find(connection, EPISODE, KEY, keys, NAMES))
    return {(row["host"], row["id"]): row if is_sound(row, EPISODE) else None for row in found}
