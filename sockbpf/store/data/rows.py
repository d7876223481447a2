# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Writes entries into the tables: each alert once, its pairs beside it, its host and episode brought up to date."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from sockbpf.store.data import bulk
from sockbpf.store.data.clickhouse_rows import insert_incoming
from sockbpf.store.data.digest import digest_of
from sockbpf.store.data.engine import is_clickhouse, is_mysql, is_postgresql
from sockbpf.store.data.episodes import tell_episodes
from sockbpf.store.data.hosts import tell_hosts
from sockbpf.store.data.runs import end_by_runs
from sockbpf.store.data.schema import ENTRY, PAIR
from sockbpf.store.data.timeline_rows import tell
from sockbpf.store.data.turn import take_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.entry import Entry

NAMES = tuple(ENTRY.c.keys())
NEXT_OF_SQLITE = text(
    "select max(coalesce((select max(seq) from sqlite_sequence where name = 'entry'), 0), "
    "coalesce((select max(n) from entry), 0)) + 1"
)
NEXT_OF_POSTGRESQL = text(
    "select nextval(pg_get_serial_sequence('entry', 'n')) from generate_series(1, :count)"
)

TAKE_OF_MYSQL = "update store_turn set next_n = last_insert_id(next_n) + %s"
"""Take so many numbers; the first of them is what the connection calls the id of its last insert."""


def write(connection: Connection, entries: Sequence[Entry], now_s: float | None = None) -> list[bool]:
    """Write entries in their order; return for each whether it was new.

    They arrive at `now_s`, Unix time; None is the present.
    """
    if not entries:
        return []
    if is_clickhouse(connection):
        return insert_incoming(connection, entries, time.time() if now_s is None else now_s)
    take_turn(connection)  # a key that is not there now stays so, and numbers appear in their order
    known = _known(connection, [(entry.key,) for entry in entries if entry.key])
    are_new = []
    for entry in entries:
        are_new.append(entry.key is None or entry.key not in known)
        if entry.key:
            known.add(entry.key)
    new = [entry for entry, is_new in zip(entries, are_new, strict=True) if is_new]
    arrived_s = time.time() if now_s is None else now_s
    hosts = tell_hosts(connection, new, arrived_s)
    rows, pairs = [], []
    for n, entry in zip(_numbers(connection, new), new, strict=True):
        rows.append(_row_of(entry, n, arrived_s))
        pairs += [(n, entry.at_s, name, value) for name, value in entry.pairs]
    bulk.insert(connection, ENTRY, rows)
    bulk.insert(connection, PAIR, pairs)
    before, after = tell_episodes(connection, new, arrived_s, hosts)
    if after:
        tell(connection, new, before, after, arrived_s)
    end_by_runs(connection, new)
    return are_new


def _known(connection: Connection, keys: list[tuple[bytes]]) -> set[bytes]:
    """Return those of these keys that the table has already."""
    return {key for (key,) in bulk.find(connection, ENTRY, ("key",), keys, ("key",))}


def _numbers(connection: Connection, entries: Sequence[Entry]) -> list[int]:
    """Return the number of each entry: a new one, unless it brings an old one along."""
    count = sum(entry.n is None for entry in entries)
    if is_mysql(connection):
        first = connection.exec_driver_sql(TAKE_OF_MYSQL, (count,)).lastrowid
        made = iter(range(first, first + count))
    elif is_postgresql(connection):
        made = iter(connection.execute(NEXT_OF_POSTGRESQL, {"count": count}).scalars())
    else:
        first = connection.execute(NEXT_OF_SQLITE).scalar_one()
        made = iter(range(first, first + count))
    return [next(made) if entry.n is None else entry.n for entry in entries]


def digest_of_entry(entry: Entry) -> bytes:
    """Return the digest of an entry's row, whatever number it gets and whenever it arrives."""
    return digest_of(_told(entry), NAMES)


def _told(entry: Entry) -> dict[str, Any]:
    return {**entry.columns, "at": entry.at_s, "key": entry.key, "body": entry.body}


def _row_of(entry: Entry, n: int, arrived_s: float) -> tuple[Any, ...]:
    row = {**_told(entry), "n": n, "trusted": int(entry.trusted)}
    row["arrived"] = arrived_s if entry.arrived_s is None else entry.arrived_s
    row["digest"] = entry.digest or digest_of(row, NAMES)
    return tuple(map(row.__getitem__, NAMES))
