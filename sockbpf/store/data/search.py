# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From the filters of a request to what is found, newest first, a page at a time."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, false, func, or_, select

from sockbpf.store.data.columns import LATER, column_of
from sockbpf.store.data.digest import is_sound
from sockbpf.store.data.entry import KNOWN, spelled_in_alert
from sockbpf.store.data.filters import parse
from sockbpf.store.data.schema import ENTRY, EPISODE, PAIR
from sockbpf.store.data.sound import is_sound_entry
from sockbpf.store.data.values import searchable

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select, Table

    from sockbpf.store.data.filters import Filter

MOST_BYTES = 8 * 2**20
"""Of one page: what is posted may be large, and a page of it is held in memory."""
LENGTH = func.length(ENTRY.c.body).label("length")
"""In bytes: the body is ASCII."""


class AlteredError(Exception):
    """Rows that were found are not as they were written; `which` finds them in `table`."""

    def __init__(self, table: Table, which: ColumnElement[bool], count: int) -> None:
        super().__init__(f"{count} altered")
        self.table = table
        self.which = which
        self.count = count


def find(connection: Connection, asked: Filter) -> tuple[list[tuple[int, float, str]], bool]:
    """Return n, time and body of what is found, and whether there may be more.

    The newest entry comes first; of entries of one time, the one that was stored last.
    """
    places = [_bounded(select(ENTRY.c.n, ENTRY.c.at, LENGTH), ENTRY, asked, sides) for sides in _sides(asked)]
    rows = sorted(
        {place for each in places for place in _places(connection, each)},
        key=lambda row: (-row[1], -row[0]),
    )[: asked.limit]
    page = _affordable(rows)
    return _with_bodies(connection, page), len(rows) == asked.limit or len(page) < len(rows)


def _affordable(rows: list[tuple[int, float, int]]) -> list[tuple[int, float, int]]:
    """Return as many as a page may hold, one at least; the last of each row is its length."""
    sums = list(accumulate(row[2] for row in rows))
    return rows[: max(1, bisect_right(sums, MOST_BYTES))]


def _with_bodies(
    connection: Connection, places: list[tuple[int, float, int]]
) -> list[tuple[int, float, str]]:
    if not places:
        return []
    times = [at_s for _, at_s, _ in places]  # by which a database in parts knows where to look
    statement = select(ENTRY).where(
        ENTRY.c.n.in_([n for n, *_ in places]), ENTRY.c.at.between(min(times), max(times))
    )
    rows = connection.execute(statement).mappings().all()
    altered = [row["n"] for row in rows if not is_sound_entry(row)]
    if altered:
        raise AlteredError(ENTRY, ENTRY.c.n.in_(altered), len(altered))
    bodies = {row["n"]: row["body"] for row in rows}
    # What was deleted in between is not there any more.
    return [(n, at_s, bodies[n]) for n, at_s, _ in places if n in bodies]


def find_episodes(connection: Connection, asked: Filter) -> list[dict[str, Any]]:
    """Return episodes as they stand, by what `sort` says, greatest first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    hidden = {"local_packed", "remote_packed", "arrived", "digest"}
    by = EPISODE.c[asked.sort]
    for sides in _sides(asked):
        statement = select(EPISODE).where(*_conditions(EPISODE, asked, sides))
        if asked.from_s is not None:  # one that reaches into the range
            statement = statement.where(or_(EPISODE.c.last >= asked.from_s, EPISODE.c.end.is_(None)))
        if asked.to_s is not None:
            statement = statement.where(EPISODE.c.start < asked.to_s)
        if asked.open is not None:
            statement = statement.where(EPISODE.c.end.is_(None) if asked.open else EPISODE.c.end.is_not(None))
        statement = statement.order_by(by.desc(), EPISODE.c.host, EPISODE.c.id).limit(asked.limit)
        rows = connection.execute(statement).mappings().all()
        altered = [
            and_(EPISODE.c.host == row["host"], EPISODE.c.id == row["id"])
            for row in rows
            if not is_sound(row, EPISODE)
        ]
        if altered:
            raise AlteredError(EPISODE, or_(false(), *altered), len(altered))
        for row in rows:
            found[row["host"], row["id"]] = {name: value for name, value in row.items() if name not in hidden}
    return sorted(found.values(), key=lambda row: (-row[asked.sort], row["host"], row["id"]))[: asked.limit]


def read_something(connection: Connection) -> None:
    """Read what is read most, the newest of each; nothing of it matters but that it can be read."""
    find(connection, parse([("limit", "1")]))
    find_episodes(connection, parse([("limit", "1"), ("sort", "last")], episodes=True))


def since(connection: Connection, n: int, limit: int) -> list[tuple[int, float, str]]:
    """Return what came after an entry, oldest first."""
    statement = select(ENTRY.c.n, ENTRY.c.at, LENGTH).where(ENTRY.c.n > n).order_by(ENTRY.c.n).limit(limit)
    return _with_bodies(connection, _affordable(_places(connection, statement)))


def _places(connection: Connection, statement: Select[Any]) -> list[tuple[int, float, int]]:
    """Return n, time and length of what is found; raise AlteredError where these cannot be what was written."""
    rows = [(row.n, row.at, row.length) for row in connection.execute(statement)]
    altered = [n for n, at_s, length in rows if not (isinstance(at_s, float) and isinstance(length, int))]
    if altered:
        raise AlteredError(ENTRY, ENTRY.c.n.in_(altered), len(altered))
    return rows


def _sides(asked: Filter) -> list[dict[str, str]]:
    """Return for each filter of either end the end that it looks at: a select for each has an index of its own."""
    return [
        dict(zip(asked.ends, ends, strict=True))
        for ends in product(("local", "remote"), repeat=len(asked.ends))
    ]


def _bounded(statement: Select[Any], table: Table, asked: Filter, sides: dict[str, str]) -> Select[Any]:
    statement = statement.where(*_conditions(table, asked, sides))
    if asked.from_s is not None:
        statement = statement.where(table.c.at >= asked.from_s)
    if asked.to_s is not None:
        statement = statement.where(table.c.at < asked.to_s)
    if asked.before is not None:
        at_s, n = asked.before
        statement = statement.where(
            table.c.at <= at_s, or_(table.c.at < at_s, and_(table.c.at == at_s, table.c.n < n))
        )
    return statement.order_by(table.c.at.desc(), table.c.n.desc()).limit(asked.limit)


def _conditions(table: Table, asked: Filter, sides: dict[str, str]) -> list[ColumnElement[bool]]:
    wanted = [_is(table, name, value) for name, value in asked.columns.items()]
    if asked.min_size is not None:
        wanted.append((table.c.size if table is ENTRY else table.c.peak) >= asked.min_size)
    for name, side in sides.items():
        column = table.c[f"{side}_port" if name == "port" else f"{side}_packed"]
        value = asked.ends[name]
        wanted.append(column.between(*value) if name == "cidr" else column == value)
    if table is ENTRY:
        wanted += [_has(name, value) for name, value in asked.pairs]
    return wanted


def _is(table: Table, name: str, value: object) -> ColumnElement[bool]:
    column = table.c[column_of(name)]
    if table is ENTRY and name in LATER:  # before there was the column it was a pair
        return or_(column == value, ENTRY.c.n.in_(select(PAIR.c.n).where(*_pair(name, str(value)))))
    return column == value


def _pair(name: str, value: str) -> tuple[ColumnElement[bool], ...]:
    return PAIR.c.name == searchable(name), PAIR.c.value == searchable(value)


def _has(name: str, value: str) -> ColumnElement[bool]:
    pair = exists().where(PAIR.c.n == ENTRY.c.n, *_pair(name, value))
    if name not in KNOWN:
        return pair
    # Of an alert, what is in its body alone: a name and its value as JSON writes them, which can stand nowhere else.
    written = [func.replace(ENTRY.c.body, text, "") != ENTRY.c.body for text in spelled_in_alert(name, value)]
    return or_(pair, and_(ENTRY.c.key.is_not(None), or_(false(), *written)))
