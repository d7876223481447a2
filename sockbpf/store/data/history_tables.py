# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The table of the history: a row for each series and cell of time, with all samples in it.

What comes makes rows of the shortest cells; upkeep joins them to those of longer ones. No two rows of a series have
the same time. ClickHouse has a table of its own: `clickhouse_history.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, inspect

from sockbpf.store.data.schema import METADATA

if TYPE_CHECKING:
    from sqlalchemy import Connection

CELLS = (300, 3600, 21_600)
"""Seconds; each is a multiple of the one before, and a day is one of the last."""

HISTORY = Table(
    "history",
    METADATA,
    Column("host", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("protocol", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("cell", Integer, primary_key=True, autoincrement=False),
    Column("begin", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False) for name in ("size", "fill", "sockets", "drops")),
    Column("hours", Text, nullable=False),
    Column("samples", LargeBinary, nullable=False),
    Column("digest", LargeBinary),
    Index(
        "history_of",
        "host",
        "cell",
        "begin",
        "service",
        "protocol",
        "type",
        "size",
        "fill",
        "sockets",
        "drops",
    ),
    Index("history_age", "cell", "begin"),
)
"""`begin` is Unix time. `size`, `fill`, `sockets` and `drops` are of the whole cell, `hours` has those of each hour,
`samples` all of them: `history_cells.py`."""


def make_history(connection: Connection) -> None:
    """Make the table if it is missing; an older store does not mind it."""
    if HISTORY.name not in inspect(connection).get_table_names():
        HISTORY.create(connection)
