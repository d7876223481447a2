# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Searches for entries by the filters of a request, a page at a time; and what such searches share."""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import replace
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, false, func, or_, select

from sockbpf.store.data.clickhouse_rows import settled
from sockbpf.store.data.columns import LATER, column_of
from sockbpf.store.data.digest import is_sound
from sockbpf.store.data.engine import is_clickhouse
from sockbpf.store.data.entry import IN_BODY, spelled_in_alert
from sockbpf.store.data.schema import ENTRY, PAIR
from sockbpf.store.data.sound import is_sound_entry
from sockbpf.store.data.values import searchable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import ColumnElement, Connection, Select, Table

    from sockbpf.store.data.filters import Filter

MOST_BYTES = 8 * 2**20
"""Bytes of the bodies on one page: posted objects may be large, and a page is held in memory."""
COLUMN, PAIRS = "column", "pairs"
"""Where an entry may have the value of a later column."""
SPANS_S = (3600.0, 86_400.0, 8 * 86_400.0)
LENGTH = func.length(ENTRY.c.body).label("length")
"""Bytes of the body, which is ASCII."""


class AlteredError(Exception):
    """Rows that a search found are not as they were written: those of `table` for which `which` is true."""

    def __init__(self, table: Table, which: ColumnElement[bool], count: int) -> None:
        super().__init__(f"{count} altered")
        self.table = table
        self.which = which
        self.count = count


def find(connection: Connection, wanted: Filter) -> tuple[list[tuple[int, float, str]], bool]:
    """Return number, time and body of the entries on a page, and whether there may be a further page.

    The newest entry comes first; of entries with the same time, the one that was stored last.
    """
    newest_s = wanted.before[0] if wanted.before else None
    for from_s in begins(connection, wanted, time.time(), newest_s):
        within = wanted if from_s is None else replace(wanted, from_s=from_s)
        rows = _newest(connection, within)
        if len(rows) == wanted.limit:
            break
    page = _affordable(rows)
    return _with_bodies(connection, page), len(rows) == wanted.limit or len(page) < len(rows)


def begins(
    connection: Connection, wanted: Filter, now_s: float, newest_s: float | None
) -> Iterator[float | None]:
    """Yield from which times on to look for a page, each before the last one; None as it is asked for.

    ClickHouse has no index by which it finds the latest of all: they are looked for in a short time, then in longer
    ones. Nothing that is looked for is after `newest_s`, if given; times are Unix time.
    """
    if is_clickhouse(connection):
        last_s = min(each for each in (now_s, wanted.to_s, newest_s) if each is not None)
        yield from (last_s - span_s for span_s in SPANS_S if last_s - span_s > (wanted.from_s or 0.0))
    yield None


def _newest(connection: Connection, wanted: Filter) -> list[tuple[int, float, int]]:
    """Return number, time and length of the newest entries."""
    places = [
        _bounded(select(ENTRY.c.n, ENTRY.c.at, LENGTH), ENTRY, wanted, {**sides, **places})
        for sides in sides_of(wanted)
        for places in _places_of_later(wanted)
    ]
    found = {place for each in places for place in _places(connection, each)}
    return sorted(found, key=lambda row: (-row[1], -row[0]))[: wanted.limit]


def _affordable(rows: list[tuple[int, float, int]]) -> list[tuple[int, float, int]]:
    """Return the first rows, as many as a page may hold, at least one; the third value of a row is its length."""
    sums = list(accumulate(row[2] for row in rows))
    return rows[: max(1, bisect_right(sums, MOST_BYTES))]


def _with_bodies(
    connection: Connection, places: list[tuple[int, float, int]]
) -> list[tuple[int, float, str]]:
    if not places:
        return []
    times = [at_s for _, at_s, _ in places]  # tell PostgreSQL in which partitions to look
    statement = select(ENTRY).where(
        ENTRY.c.n.in_([n for n, *_ in places]), ENTRY.c.at.between(min(times), max(times))
    )
    rows = connection.execute(statement).mappings().all()
    altered = [row["n"] for row in rows if not is_sound_entry(row)]
    if altered:
        raise AlteredError(ENTRY, ENTRY.c.n.in_(altered), len(altered))
    bodies = {row["n"]: row["body"] for row in rows}
    # An entry that was deleted since it was found has no body.
    return [(n, at_s, bodies[n]) for n, at_s, _ in places if n in bodies]


def check_rows(rows: Iterable[Mapping[Any, Any]], table: Table) -> None:
    """Raise AlteredError, which names them by their key, if some of these rows are not as they were written."""
    key = table.primary_key.columns
    altered = [
        and_(*(column == row[column.name] for column in key)) for row in rows if not is_sound(row, table)
    ]
    if altered:
        raise AlteredError(table, or_(false(), *altered), len(altered))


def since(connection: Connection, n: int, limit: int) -> list[tuple[int, float, str]]:
    """Return number, time and body of the entries after number `n`, lowest number first."""
    statement = select(ENTRY.c.n, ENTRY.c.at, LENGTH).where(ENTRY.c.n > n).order_by(ENTRY.c.n).limit(limit)
    if is_clickhouse(connection):
        statement = statement.where(ENTRY.c.n <= settled())
    return _with_bodies(connection, _affordable(_places(connection, statement)))


def _places(connection: Connection, statement: Select[Any]) -> list[tuple[int, float, int]]:
    """Return number, time and length of what is found; raise AlteredError if the store never wrote these types."""
    rows = [(row.n, row.at, row.length) for row in connection.execute(statement)]
    altered = [n for n, at_s, length in rows if not (isinstance(at_s, float) and isinstance(length, int))]
    if altered:
        raise AlteredError(ENTRY, ENTRY.c.n.in_(altered), len(altered))
    return rows


def sides_of(wanted: Filter) -> list[dict[str, str]]:
    """Return all choices of an end for the filters of either end: {"port": "local"}, then {"port": "remote"}.

    Each choice is searched by a query of its own: a query with `or` would not use the index of either column.
    """
    return [
        dict(zip(wanted.ends, ends, strict=True))
        for ends in product(("local", "remote"), repeat=len(wanted.ends))
    ]


def _places_of_later(wanted: Filter) -> list[dict[str, str]]:
    """Return both places of the first filter by a later column: {"unit": COLUMN}, then {"unit": PAIRS}.

    An entry from before the column has the value as a pair. Each place is searched by a query of its own, as above;
    of further such filters the queries, which would become many, look at both places at once.
    """
    first = next((name for name in wanted.columns if name in LATER), None)
    return [{first: place} for place in (COLUMN, PAIRS)] if first else [{}]


def _bounded(statement: Select[Any], table: Table, wanted: Filter, sides: dict[str, str]) -> Select[Any]:
    statement = statement.where(*conditions(table, wanted, sides))
    if wanted.from_s is not None:
        statement = statement.where(table.c.at >= wanted.from_s)
    if wanted.to_s is not None:
        statement = statement.where(table.c.at < wanted.to_s)
    if wanted.before is not None:
        at_s, n = wanted.before
        statement = statement.where(
            table.c.at <= at_s, or_(table.c.at < at_s, and_(table.c.at == at_s, table.c.n < n))
        )
    return statement.order_by(table.c.at.desc(), table.c.n.desc()).limit(wanted.limit)


def conditions(table: Table, wanted: Filter, sides: dict[str, str]) -> list[ColumnElement[bool]]:
    """Return what the filters by columns ask of a row of entries or episodes, by one choice of ends."""
    conditions = [_is(table, name, value, sides.get(name)) for name, value in wanted.columns.items()]
    if wanted.min_size is not None:
        conditions.append((table.c.size if table is ENTRY else table.c.peak) >= wanted.min_size)
    for name in wanted.ends:
        side = sides[name]
        column = table.c[f"{side}_port" if name == "port" else f"{side}_packed"]
        value = wanted.ends[name]
        conditions.append(column.between(*value) if name == "cidr" else column == value)
    if table is ENTRY:
        conditions += [_has(name, value) for name, value in wanted.pairs]
    return conditions


def _is(table: Table, name: str, value: object, place: str | None) -> ColumnElement[bool]:
    column = table.c[column_of(name)] == value
    if table is not ENTRY or name not in LATER or place == COLUMN:
        return column
    pair = ENTRY.c.n.in_(select(PAIR.c.n).where(*_pair(name, str(value))))
    return pair if place == PAIRS else or_(column, pair)


def _pair(name: str, value: str) -> tuple[ColumnElement[bool], ...]:
    return PAIR.c.name == searchable(name), PAIR.c.value == searchable(value)


def _has(name: str, value: str) -> ColumnElement[bool]:
    pair = exists().where(PAIR.c.n == ENTRY.c.n, *_pair(name, value))
    if name not in IN_BODY:
        return pair
    # The value may be in the body of an alert alone: there it stands as JSON writes it, and so nowhere else.
    written = [func.replace(ENTRY.c.body, text, "") != ENTRY.c.body for text in spelled_in_alert(name, value)]
    return or_(pair, and_(ENTRY.c.key.is_not(None), or_(false(), *written)))
