# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Brings the table of episodes up to date with what new alerts report."""

from __future__ import annotations

from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from sockbpf.store.data.digest import digest_of, is_sound
from sockbpf.store.data.joining import joined, one_for_each, without_run
from sockbpf.store.data.kept import entries_of_episode
from sockbpf.store.data.runs import ended_by_run
from sockbpf.store.data.schema import EPISODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.entry import Entry
    from sockbpf.store.data.hosts import Hosts
    from sockbpf.store.data.joining import Row

    Key = tuple[str, str]

NOTHING: Row = MappingProxyType({})
MOST_ASKED = 500
"""Ids in one query: a database bounds the parameters of a statement."""


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
    names = EPISODE.c.keys()
    stored = _stored(connection, rows)
    before = list(stored.values())
    for row in rows:
        key = row["host"], row["id"]
        if key not in stored and key in begun:
            stored[key] = NOTHING  # it has just begun: no alert of it was here before
    made = [ended_by_run(connection, _joined(connection, row, stored, arrived_s), hosts) for row in rows]
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(EPISODE)
    replaced = {name: statement.excluded[name] for name in names if name not in {"host", "id"}}
    connection.execute(
        statement.on_conflict_do_update(index_elements=[EPISODE.c.host, EPISODE.c.id], set_=replaced),
        [{**row, "digest": digest_of(row, names)} for row in made],
    )
    return before, list(made)


def _reports(entries: Iterable[Entry], arrived_s: float) -> Iterator[dict[str, Any]]:
    for entry in entries:
        if entry.episode:
            came_s = arrived_s if entry.arrived_s is None else entry.arrived_s
            yield {**entry.episode, "trusted": int(entry.trusted), "arrived": came_s}


def _joined(
    connection: Connection, row: Row, stored: Mapping[Key, Row | None], arrived_s: float
) -> dict[str, Any]:
    """Return what is known of an episode: of its row, or if that is damaged or missing, of its alerts."""
    key = row["host"], row["id"]
    if (known := stored.get(key)) is not None:
        return joined(known, row) if known else dict(row)
    (made,) = one_for_each(_reports(entries_of_episode(connection, *key), arrived_s)) or [dict(row)]
    return made


def _stored(connection: Connection, rows: Sequence[Row]) -> dict[Key, Row | None]:
    """Return those of these episodes, sorted by host, that are in the table; None for one that is damaged."""
    found: dict[Key, Row | None] = {}
    names = [name for name in EPISODE.c.keys() if name != "digest"]  # noqa: SIM118
    for host, some in groupby(rows, lambda row: row["host"]):
        ids = [row["id"] for row in some]
        for begin in range(0, len(ids), MOST_ASKED):
            its = EPISODE.c.id.in_(ids[begin : begin + MOST_ASKED])
            for row in connection.execute(select(EPISODE).where(EPISODE.c.host == host, its)).mappings():
                is_intact = is_sound(row, EPISODE)
                found[host, row["id"]] = (
                    without_run({name: row[name] for name in names}) if is_intact else None
                )
    return found
