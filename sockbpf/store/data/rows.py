# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Writes entries into the tables: each alert once, its pairs beside it, its episode brought up to date."""

from __future__ import annotations

import time
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from sockbpf.store.data.digest import APART, digest_of, is_sound
from sockbpf.store.data.schema import ENTRY, EPISODE, PAIR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.entry import Entry

WRITING = 7_362_532
"""Key of PostgreSQL's advisory lock for writing entries: one of the stores that share the database at a time."""
OF_A_CAUSE = ("confidence", "reason")
MOST_ASKED = 500
"""Keys or ids in one query: a database bounds the parameters of a statement."""


def write(connection: Connection, entries: Sequence[Entry], now_s: float | None = None) -> list[bool]:
    """Write entries in their order; return for each whether it was new.

    They arrive at `now_s`, Unix time; None is the present.
    """
    if not entries:
        return []
    if connection.dialect.name == "postgresql":
        # One store at a time: a key that is not there now stays so, and numbers appear in their order.
        connection.execute(select(func.pg_advisory_xact_lock(WRITING)))
    known = _known(connection, [entry.key for entry in entries if entry.key])
    are_new = []
    for entry in entries:
        are_new.append(entry.key is None or entry.key not in known)
        if entry.key:
            known.add(entry.key)
    new = [entry for entry, is_new in zip(entries, are_new, strict=True) if is_new]
    arrived_s = time.time() if now_s is None else now_s
    for has_pairs, some in groupby(new, lambda entry: bool(entry.pairs)):
        if has_pairs:
            _insert_with_pairs(connection, list(some), arrived_s)
        else:
            connection.execute(insert(ENTRY), [_row_of(entry, arrived_s) for entry in some])
    _write_episodes(connection, _one_for_each([entry.episode for entry in new if entry.episode]), arrived_s)
    return are_new


def _known(connection: Connection, keys: list[bytes]) -> set[bytes]:
    """Return those of these keys that the table has already."""
    found: set[bytes] = set()
    for begin in range(0, len(keys), MOST_ASKED):
        some = keys[begin : begin + MOST_ASKED]
        found |= set(connection.execute(select(ENTRY.c.key).where(ENTRY.c.key.in_(some))).scalars())
    return found


def _insert_with_pairs(connection: Connection, entries: list[Entry], arrived_s: float) -> None:
    numbered = insert(ENTRY).returning(ENTRY.c.n, sort_by_parameter_order=True)
    numbers = connection.execute(numbered, [_row_of(entry, arrived_s) for entry in entries]).scalars()
    pairs = [
        {"n": number, "at": entry.at_s, "name": name, "value": value}
        for number, entry in zip(numbers, entries, strict=True)
        for name, value in entry.pairs
    ]
    connection.execute(insert(PAIR), pairs)


def _row_of(entry: Entry, arrived_s: float) -> dict[str, Any]:
    """Return the row of an entry. Its number is given by the database, unless it brings an old one along."""
    row = {**entry.columns, "at": entry.at_s, "key": entry.key, "body": entry.body}
    row |= {
        "arrived": arrived_s if entry.arrived_s is None else entry.arrived_s,
        "trusted": int(entry.trusted),
        "digest": digest_of(row, ENTRY.c.keys()),
    }
    return row if entry.n is None else {**row, "n": entry.n}


def _one_for_each(reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join what the alerts of a batch report of the same episode; return one row for each episode, in one order.

    All stores write episodes in this order, so that two of them never wait for each other.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for report in reports:
        key = (report["host"], report["id"])
        row = rows.get(key)
        rows[key] = dict(report) if row is None else _joined(row, report)
    return [rows[key] for key in sorted(rows)]


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return what both say of one episode; where they differ, the one with the later alert counts."""
    later, earlier = (other, one) if other["last"] >= one["last"] else (one, other)
    joined = {name: value if value is not None else earlier[name] for name, value in later.items()}
    if later["cause"] is not None:  # what was said of one cause is not said of another
        joined |= {name: later[name] for name in OF_A_CAUSE}
    joined["start"] = min(one["start"], other["start"])
    joined["peak"] = max(one["peak"], other["peak"])
    joined["alerts"] = one["alerts"] + other["alerts"]
    return joined


def _write_episodes(connection: Connection, rows: list[dict[str, Any]], arrived_s: float) -> None:
    """Join these rows, sorted by host, with those in the table.

    Nobody else changes them meanwhile: SQLite has one writer, and in PostgreSQL `write` holds the lock.
    """
    if not rows:
        return
    names = EPISODE.c.keys()
    stored: dict[tuple[str, str], dict[str, Any]] = {}
    for host, some in groupby(rows, lambda row: row["host"]):
        for row in _stored_episodes(connection, host, [row["id"] for row in some]):
            if is_sound(row, EPISODE):
                stored[host, row["id"]] = {name: row[name] for name in names if name not in APART}
    joined = [
        _joined(stored[key], row) if (key := (row["host"], row["id"])) in stored else row for row in rows
    ]
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(EPISODE)
    replaced = {name: statement.excluded[name] for name in names if name not in {"host", "id"}}
    connection.execute(
        statement.on_conflict_do_update(index_elements=[EPISODE.c.host, EPISODE.c.id], set_=replaced),
        [{**row, "arrived": arrived_s, "digest": digest_of(row, names)} for row in joined],
    )


def _stored_episodes(connection: Connection, host: str, ids: list[str]) -> Iterator[Mapping[Any, Any]]:
    for begin in range(0, len(ids), MOST_ASKED):
        some = ids[begin : begin + MOST_ASKED]
        statement = select(EPISODE).where(EPISODE.c.host == host, EPISODE.c.id.in_(some))
        yield from connection.execute(statement).mappings()
