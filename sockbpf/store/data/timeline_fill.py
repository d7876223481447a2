# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Fills the timeline of a database that was there before it, some entries at a time, by their arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from sockbpf.store.data.digest import is_sound
from sockbpf.store.data.schema import ARRIVED, ENTRY, EPISODE, HEARD
from sockbpf.store.data.sound import is_sound_entry
from sockbpf.store.data.tally import Tally
from sockbpf.store.data.timeline_rows import Coverage, add_entry, apply
from sockbpf.store.data.timeline_tables import STATE
from sockbpf.store.data.turn import take_turn

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

AT_ONCE = 1000
"""About so many entries, and so many episodes, of one transaction."""


def fill_some(connection: Connection) -> bool:
    """Count what arrived next; return whether that was all. A row that was altered is left out."""
    take_turn(connection)
    coverage = Coverage(connection)
    if coverage.is_whole:
        return True
    end_s = min(_end_s(connection, arrival, coverage) for arrival in (ARRIVED, HEARD))
    tally = Tally()
    for row in _rows(connection, ENTRY, ARRIVED, coverage.filled_s, end_s):
        if row["key"] is not None and is_sound_entry(row):
            add_entry(tally, row)
    for row in _rows(connection, EPISODE, HEARD, coverage.filled_s, end_s):
        if is_sound(row, EPISODE):
            tally.episode(row)
    apply(connection, tally)
    connection.execute(update(STATE).values(filled_s=end_s))
    return bool(end_s >= coverage.until_s)


def _end_s(connection: Connection, arrival: ColumnElement[float], coverage: Coverage) -> float:
    """Return the arrival before which about AT_ONCE rows are: more, if so many arrived at one moment."""
    left = select(arrival).where(arrival >= coverage.filled_s, arrival < coverage.until_s).order_by(arrival)
    end_s = connection.execute(left.offset(AT_ONCE).limit(1)).scalar()
    if end_s is not None and end_s <= coverage.filled_s:
        end_s = connection.execute(
            select(func.min(arrival)).where(arrival > coverage.filled_s, arrival < coverage.until_s)
        ).scalar()
    return float(coverage.until_s if end_s is None else end_s)


def _rows(
    connection: Connection, table: Table, arrival: ColumnElement[float], from_s: float, to_s: float
) -> list[Any]:
    return list(connection.execute(select(table).where(arrival >= from_s, arrival < to_s)).mappings())
