# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Writes entries into ClickHouse: one insert into the table that hands each row on, see `clickhouse_schema.py`.

An alert that comes once more is inserted once more, with its number: if a store ended in the middle of an insert,
only some of the tables may have it. All of them take it as the alert that it is a copy of.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, Text
from sqlalchemy.exc import OperationalError

from sockbpf.store.data.clickhouse_tables import (
    COLUMNS_OF_ENTRY,
    INCOMING,
    REPORTED,
    WORDS,
    columns_of_incoming,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Column, Connection

    from sockbpf.store.data.entry import Entry

GATHERED = {"async_insert": 1, "wait_for_async_insert": 1}
"""Have the server gather what several stores insert at the same time, and answer once it is in the tables."""
NAMES, TYPES = zip(*columns_of_incoming(), strict=True)
MOST_ASKED = 1000
"""Alerts of one query: the length of a query is bounded."""
STORES = 256
"""The lowest digit of a number to this base is of the store that gave it."""


class Numbers:
    """Gives entries their numbers: by the time, each greater than the one before, and no other store's."""

    def __init__(self) -> None:
        self._own = os.urandom(1)[0]
        self._last = 0

    def give(self, count: int) -> range:
        first = max(self._last + STORES, time.time_ns() // 1000 * STORES + self._own)
        numbers = range(first, first + count * STORES, STORES)
        self._last = numbers[-1]
        return numbers


SETTLED_S = 2.0
"""So long after its number was given an entry is there, also one of another store: a stream goes no further, as it
would leave out what comes with a lower number later."""


def settled() -> int:
    """Return the number up to which all entries are there."""
    return int((time.time() - SETTLED_S) * 1e6) * STORES


NUMBERS = Numbers()
"""Of this process, whose one writer takes them."""


def insert_incoming(connection: Connection, entries: Sequence[Entry], arrived_s: float) -> list[bool]:
    """Write entries; return for each whether it was new, as far as was known before. Raise SQLAlchemyError."""
    from clickhouse_connect.driver.exceptions import Error

    client: Any = connection.connection.driver_connection.client  # type: ignore[union-attr]
    try:
        known = _known(client, entries)
        are_new, rows = [], []
        for entry, new_n in zip(entries, NUMBERS.give(len(entries)), strict=True):
            are_new.append(entry.key is None or entry.key not in known)
            n = new_n if entry.key is None else known.setdefault(entry.key, new_n)
            rows.append(_row(entry, n, arrived_s))
        values = list(zip(*rows, strict=True))
        client.insert(
            INCOMING, values, NAMES, column_type_names=TYPES, column_oriented=True, settings=GATHERED
        )
    except Error as error:
        raise OperationalError("insert", None, error) from None
    return are_new


def _known(client: Any, entries: Iterable[Entry]) -> dict[bytes, int]:
    """Return those of the keys of these entries that the table has already, with their numbers."""
    alerts = [f"({entry.at_s!r}, '{_escaped(entry.key)}')" for entry in entries if entry.key]
    found: dict[bytes, int] = {}
    for begin in range(0, len(alerts), MOST_ASKED):
        some = ", ".join(alerts[begin : begin + MOST_ASKED])
        which = f"select identity, min(n) from entry_rows where (at, identity) in ({some}) group by identity"
        found |= dict(client.query(which).result_rows)
    return found


def _escaped(key: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in key)


def _row(entry: Entry, n: int, arrived_s: float) -> list[Any]:
    """Return the row of `incoming` for an entry."""
    came_s = arrived_s if entry.arrived_s is None else entry.arrived_s
    identity = entry.key or n.to_bytes(16, "big")
    row: list[Any] = [n, entry.at_s, identity, came_s, int(entry.trusted), entry.body, dict(entry.pairs)]
    row += [entry.key is not None, entry.episode is not None, entry.word is not None]
    row += [entry.columns.get(column.name) for column in COLUMNS_OF_ENTRY]
    return [*row, *_values(REPORTED, entry.episode or {}), *_values(WORDS, entry.word or {})]


def _values(columns: Iterable[Column[Any]], told: Any) -> Iterator[Any]:
    """Yield the values of these columns; of one that cannot be null and is not told, what its type has instead."""
    for column in columns:
        value = told.get(column.name)
        if value is None and not column.nullable:
            value = "" if isinstance(column.type, Text) else 0.0 if isinstance(column.type, Float) else 0
        yield value
