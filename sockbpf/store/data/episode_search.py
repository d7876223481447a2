# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Searches for episodes by the filters of a request, a page at a time."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, not_, or_, select

from sockbpf.store.data.clickhouse_apart import of_ended, of_open
from sockbpf.store.data.engine import is_clickhouse
from sockbpf.store.data.episode_order import OF_TIME, behind, not_behind, order, place_of, sort_key
from sockbpf.store.data.filters import parse
from sockbpf.store.data.free_words import LOOKED_AT, has_words
from sockbpf.store.data.schema import EPISODE
from sockbpf.store.data.search import begins, check_rows, conditions, find, sides_of
from sockbpf.store.data.states import OVER, episodes_with_state, shown_episode, state_of_episode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import ColumnElement, Connection, Select

    from sockbpf.store.data.episode_order import Place
    from sockbpf.store.data.filters import Filter

PARTS: dict[bool, tuple[Callable[[Select[Any]], Select[Any]], ...]] = {
    True: (of_open,),
    False: (of_open, of_ended),
}
"""Where the open episodes are, and all, in a database that has the ended ones apart."""


def find_page(
    connection: Connection, wanted: Filter, at_s: float | None = None
) -> tuple[list[dict[str, Any]], Place | None]:
    """Return the episodes on a page, and the place behind which further ones may follow.

    Those that fit, the greatest by `sort` first, as they are at this time; None is the present. By words few or none
    may be found although further ones follow: of each page LOOKED_AT episodes are looked at.
    """
    now_s = time.time() if at_s is None else at_s
    newest_s = float(wanted.behind[0]) if wanted.behind and wanted.sort in OF_TIME else None
    is_by_time = wanted.sort in OF_TIME and not wanted.open
    for from_s in begins(connection, wanted, now_s, newest_s) if is_by_time else (None,):
        within = wanted if from_s is None else replace(wanted, from_s=from_s)
        end = _last_looked_at(connection, within, now_s) if wanted.words else None
        rows = _found(connection, within, now_s, end)
        place = place_of(rows[-1], wanted.sort) if len(rows) == wanted.limit else end
        if place and from_s is not None and float(place[0]) >= from_s:
            break
    return rows, place


def find_episodes(connection: Connection, wanted: Filter, at_s: float | None = None) -> list[dict[str, Any]]:
    """Return the episodes on a page."""
    return find_page(connection, wanted, at_s)[0]


def read_something(connection: Connection) -> None:
    """Read the newest entry and the newest episode, to see whether reading works."""
    find(connection, parse([("limit", "1")]))
    find_episodes(connection, parse([("limit", "1"), ("sort", "last")], episodes=True))


def _found(connection: Connection, wanted: Filter, now_s: float, end: Place | None) -> list[dict[str, Any]]:
    """Return the episodes that fit; none behind the place `end` is looked at."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    which = [has_words(connection, wanted.words)] if wanted.words else []
    which += [] if end is None else [not_behind(connection, wanted.sort, end)]
    count = 0 if wanted.words else wanted.limit
    for statement in _statements(connection, wanted, now_s, count):
        rows = connection.execute(statement.where(*which)).mappings().all()
        check_rows(rows, EPISODE)
        for row in rows:
            found[row["host"], row["id"]] = shown_episode(row)
    return sorted(found.values(), key=lambda row: sort_key(row, wanted.sort), reverse=True)[: wanted.limit]


def _last_looked_at(connection: Connection, wanted: Filter, now_s: float) -> Place | None:
    """Return the place of the last episode that a search by words looks at; None if it looks at all that fit."""
    ends: list[Mapping[Any, Any]] = []
    for statement in _statements(connection, wanted, now_s, LOOKED_AT):
        bare = statement.with_only_columns(*EPISODE.c)
        ends += connection.execute(bare.offset(LOOKED_AT - 1).limit(1)).mappings().all()
    check_rows(ends, EPISODE)
    # Of several statements, what follows the first place was not looked at by one of them.
    return place_of(max(ends, key=lambda row: sort_key(row, wanted.sort)), wanted.sort) if ends else None


def _statements(connection: Connection, wanted: Filter, now_s: float, count: int) -> Iterator[Select[Any]]:
    """Yield queries that find all together what may be on a page, or among the first `count`; words are left out."""
    parts = PARTS[bool(wanted.open)] if is_clickhouse(connection) else (of_open if wanted.open else _of_all,)
    for sides, of_part in product(sides_of(wanted), parts):
        is_ended = of_part is of_ended
        statement = episodes_statement(connection, wanted, sides, now_s, is_ended=is_ended)
        if is_ended and count:
            # Only this column is read of all episodes, not all columns.
            column, which = EPISODE.c[wanted.sort], _which(connection, wanted, sides, now_s, is_ended=True)
            values = select(column).where(*which).order_by(column.desc()).offset(count - 1).limit(1)
            least = connection.execute(of_ended(values)).scalar()
            statement = statement if least is None else statement.where(column >= least)
        yield of_part(statement)


def _of_all(statement: Select[Any]) -> Select[Any]:
    return statement


def episodes_statement(
    connection: Connection, wanted: Filter, sides: dict[str, str], now_s: float, *, is_ended: bool = False
) -> Select[Any]:
    """Return the query of a page of episodes, by one choice of ends; `now_s` is Unix time. Words are left out.

    With `is_ended` all have ended.
    """
    which = _which(connection, wanted, sides, now_s, is_ended=is_ended)
    found = episodes_with_state(connection, now_s).where(*which)
    return found.order_by(*order(connection, wanted.sort)).limit(wanted.limit)


def _which(
    connection: Connection, wanted: Filter, sides: dict[str, str], now_s: float, *, is_ended: bool
) -> Iterator[ColumnElement[bool]]:
    yield from conditions(EPISODE, wanted, sides)
    if wanted.from_s is not None:  # an episode fits if it lasted into the range
        is_there = EPISODE.c.last >= wanted.from_s
        yield is_there if is_ended else or_(is_there, EPISODE.c.end.is_(None))
    if wanted.to_s is not None:
        yield EPISODE.c.start < wanted.to_s
    if wanted.open is not None and not is_ended:
        is_over = and_(EPISODE.c.end.is_(None), state_of_episode(now_s) == OVER)
        yield is_over if wanted.open else not_(is_over)
    if wanted.behind is not None:
        yield behind(connection, wanted.sort, wanted.behind)
