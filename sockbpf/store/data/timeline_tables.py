# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The tables of the timeline: counts of alerts and the time queues were over, by service, in steps of four lengths.

They repeat what entries and episodes say. Each row is a sum over those, so the order in which alerts come
does not matter, and what is deleted is subtracted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Float, Index, Integer, Table, Text, func, insert, inspect, select

from sockbpf.store.data.schema import ARRIVED, ENTRY, EPISODE, HEARD, METADATA

if TYPE_CHECKING:
    from sqlalchemy import Connection

STEPS = (10, 120, 1800, 21_600)
"""Seconds; each is a multiple of the one before, and a day is one of the last."""
COARSE = STEPS[2:]
"""In these there are rows of single hosts too, and of all services together. In the others, where most alerts need
rows of their own, the sum over all services is small enough to be made when it is asked for."""
SUMS = ("exceeded", "ongoing", "cleared", "opened", "closed", "opened_us", "closed_us", "carried")
WORST = ("fill", "ratio")

SERIES = Table(
    "timeline_series",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("scope", BigInteger, nullable=False),
    Column("service", Text, nullable=False),
    Column("type", Text, nullable=False),
    Index("timeline_series_of", "scope", "service", "type"),
)
"""What rows of the timeline are about: all services (an empty text) or one, of one type of queue.

`scope` is a digest of the host, or of all hosts, and of whether single services are meant; `id` one of all this.
"""

TIMELINE = Table(
    "timeline",
    METADATA,
    Column("scope", BigInteger, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("bucket", BigInteger, primary_key=True, autoincrement=False),
    Column("series", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False) for name in SUMS),
    Column("fill", BigInteger, nullable=False),
    Column("ratio", Float(53), nullable=False),
    sqlite_with_rowid=False,
)
"""`bucket` is the Unix time at which a step begins.

`opened` and `closed` count the episodes that began or ended (or were last heard of) in the step, `opened_us` and
`closed_us` sum the microseconds from then to the end of the step. `carried`, in the longest step alone, counts the
episodes that are over when the step begins. `fill` and `ratio` (size / threshold) are the highest, 0 if unknown.
"""

STATE = Table(
    "timeline_state",
    METADATA,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("filled_s", Float(53), nullable=False),
    Column("until_s", Float(53), nullable=False),
)
"""One row: what arrived from `filled_s` on and before `until_s` is not in the timeline yet."""


def make_timeline(connection: Connection) -> None:
    """Make the tables if they are missing; of a database that has entries the timeline is filled later."""
    there = set(inspect(connection).get_table_names())
    for table in (SERIES, TIMELINE, STATE):
        if table.name not in there:
            table.create(connection)
    if connection.execute(select(func.count()).select_from(STATE)).scalar():
        return
    is_empty = all(connection.execute(select(table).limit(1)).first() is None for table in (ENTRY, EPISODE))
    until_s = 0.0 if is_empty else after_all(connection)
    connection.execute(insert(STATE), {"one": 1, "filled_s": 0.0, "until_s": until_s})


def after_all(connection: Connection) -> float:
    """Return a time after all arrivals, Unix time; the clock may have been set back."""
    latest = [connection.execute(select(func.max(arrival))).scalar() for arrival in (ARRIVED, HEARD)]
    return float(max(time.time(), *(each or 0.0 for each in latest))) + 1.0
