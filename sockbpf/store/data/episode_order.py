# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The order of episodes on the pages of an answer: by a value, then by host and id, the greatest first.

No two episodes have the same place in it, so a page begins exactly where the page before it ended, also among
thousands of episodes with the same value. Each order has an index.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, text

from sockbpf.store.data.engine import in_order, is_postgresql
from sockbpf.store.data.schema import EPISODE
from sockbpf.store.data.values import MOST_INTEGER, MOST_SECONDS, EntryError, searchable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Connection

SORTS = ("start", "peak", "last", "size")
"""Columns of an episode."""
OF_TIME = frozenset({"start", "last"})
Place = tuple[str, str, str]
"""The value, as a decimal number, the host and the id of an episode: those of the last one on the page before."""
CURSOR = r"^[0-9]{1,19}(\.[0-9]{1,60})?~([0-9a-f]{2}){0,1024}~([0-9a-f]{2}){0,1024}$"
"""A place as a parameter: host and id are the digits of their UTF-8."""
_CURSOR = re.compile(CURSOR.replace("$", r"\Z"))
OLDER_INDEXES = ("episode_start", "episode_last", "episode_peak", "episode_open_peak", "episode_open_start")
"""They gave an order in which episodes with the same value had no place."""


def make_indexes(connection: Connection) -> None:
    """Make the indexes of all orders where they are missing, also of open episodes alone; drop what they replace."""
    collation = ' collate "C"' if is_postgresql(connection) else ""
    for name in OLDER_INDEXES:
        connection.execute(text(f"drop index if exists {name}"))
    for by in SORTS:
        columns = f'"{by}", host{collation}, id{collation}'
        connection.execute(text(f"create index if not exists episode_by_{by} on episode ({columns})"))
        among_open = f'episode_open_by_{by} on episode ({columns}) where "end" is null'
        connection.execute(text(f"create index if not exists {among_open}"))


def keys(connection: Connection) -> tuple[ColumnElement[str], ColumnElement[str]]:
    """Return host and id as they are sorted."""
    return in_order(connection, EPISODE.c.host), in_order(connection, EPISODE.c.id)


def order(connection: Connection, sort: str) -> list[ColumnElement[Any]]:
    """Return the terms of the order, `sort` being one of SORTS."""
    return [column.desc() for column in (EPISODE.c[sort], *keys(connection))]


def behind(connection: Connection, sort: str, place: Place) -> ColumnElement[bool]:
    """Return the condition that an episode comes behind this place."""
    value = _value(sort, place[0])
    by, (host, id_) = EPISODE.c[sort], keys(connection)
    same = or_(host < place[1], and_(host == place[1], id_ < place[2]))
    return and_(by <= value, or_(by < value, same))


def not_behind(connection: Connection, sort: str, place: Place) -> ColumnElement[bool]:
    """Return the condition that an episode is at this place or comes before it."""
    value = _value(sort, place[0])
    by, (host, id_) = EPISODE.c[sort], keys(connection)
    same = or_(host > place[1], and_(host == place[1], id_ >= place[2]))
    return and_(by >= value, or_(by > value, same))


def sort_key(row: Mapping[str, Any], sort: str) -> tuple[Any, str, str]:
    """Return by what episodes are sorted, the greatest first."""
    return row[sort], row["host"], row["id"]


def place_of(row: Mapping[str, Any], sort: str) -> Place:
    """Return the place of an episode."""
    return format(Decimal(repr(row[sort])), "f"), row["host"], row["id"]


def cursor_behind(place: Place) -> str:
    """Return the `cursor` that leads to what follows this place."""
    value, host, id_ = place
    return "~".join((value, host.encode().hex(), id_.encode().hex()))


def read_cursor(name: str, given: str) -> Place:
    """Return the place that a `cursor` names; raise EntryError."""
    if not _CURSOR.match(given):
        raise EntryError(f"{name}: expected what a Link header gave")
    value, host, id_ = given.split("~")
    return value, _text(host), _text(id_)


def _value(sort: str, text_: str) -> float | int:
    if sort in OF_TIME:
        return min(float(text_), float(MOST_SECONDS))
    return min(int(Decimal(text_)), MOST_INTEGER)


def _text(digits: str) -> str:
    return searchable(bytes.fromhex(digits).decode(errors="replace"))
