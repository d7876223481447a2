# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Writes entries into the tables: each alert once, its pairs beside it, its host and episode brought up to date."""

from __future__ import annotations

import time
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from sockbpf.store.data.digest import digest_of
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

MOST_ASKED = 500
"""Keys or ids in one query: a database bounds the parameters of a statement."""


def write(connection: Connection, entries: Sequence[Entry], now_s: float | None = None) -> list[bool]:
    """Write entries in their order; return for each whether it was new.

    They arrive at `now_s`, Unix time; None is the present.
    """
    if not entries:
        return []
    take_turn(connection)  # a key that is not there now stays so, and numbers appear in their order
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
    hosts = tell_hosts(connection, new, arrived_s)
    before, after = tell_episodes(connection, new, arrived_s, hosts)
    if after:
        tell(connection, new, before, after, arrived_s)
    end_by_runs(connection, new)
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
