# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The tables, the same in SQLite, PostgreSQL and MariaDB.

PostgreSQL has the tables that grow in partitions, one for each day by the time of the entries, so that a day that is
too old is dropped as a whole. One further partition takes the entries of any other time, since
a posted time may be anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from sockbpf.record.field import Kind
from sockbpf.store.data.arrival import Arrival
from sockbpf.store.data.columns import COLUMNS, KINDS, LATER, column_of

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

EDITION = 2 + len(LATER) + 4
"""The number of this layout of the tables, which the database keeps: each later column of a field is one more, and so
are the hosts, which came with the state of episodes, what the alert before the latest one said, silences, labels."""

ANYBODY = "trusted = 0 or (trusted is null and key is null)"
"""SQL: an entry that anybody on this host may have sent. The first edition did not keep who sent an entry: of its
entries, those that were posted count as anybody's."""

STARTED = "event = 'started'"
"""SQL: an entry that tells of the beginning of a run of a monitor."""

HEARTBEATS = "event = 'heartbeat'"
"""SQL: an entry that is a heartbeat."""

METADATA = MetaData()
_N = BigInteger().with_variant(Integer, "sqlite")
_TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.TEXT: Text(),
    Kind.WHOLE: BigInteger(),
    Kind.SECONDS: Float(53),
    Kind.ADDRESS: LargeBinary(),
}


def _column(name: str) -> Column[Any]:
    """Return the column of a field."""
    return Column(column_of(name), _TYPES[KINDS[name]])


def _indexes(table: str, *also: str) -> list[Index]:
    """Return the indexes of later columns: but for the first one, only of rows that have a value there."""
    return [
        Index(f"{table}_{name}", column_of(name), *also, **({} if name == LATER[0] else _where_there(name)))
        for name in LATER
        if name in COLUMNS
    ]


def _where_there(name: str) -> dict[str, Any]:
    there = text(f'"{column_of(name)}" is not null')
    return {"sqlite_where": there, "postgresql_where": there}


EDITIONS = Table("store_edition", METADATA, Column("edition", Integer, primary_key=True))

ENTRY = Table(
    "entry",
    METADATA,
    Column("n", _N, primary_key=True, autoincrement=True),
    Column("at", Float(53), nullable=False, primary_key=False),
    Column("key", LargeBinary),
    *(_column(name) for name in COLUMNS if name not in LATER),
    Column("body", Text, nullable=False),
    Column("arrived", Float(53)),
    Column("trusted", BigInteger),
    Column("digest", LargeBinary),
    *(_column(name) for name in LATER if name in COLUMNS),
    UniqueConstraint("key", "at", name="entry_once"),
    Index("entry_at", "at", "n"),
    Index("entry_local_port", "local_port", "at", "n"),
    Index("entry_remote_port", "remote_port", "at", "n"),
    Index("entry_local", "local_packed", "at", "n"),
    Index("entry_remote", "remote_packed", "at", "n"),
    Index("entry_host", "host", "at", "n"),
    Index("entry_comm", "comm", "at", "n"),
    Index("entry_pid", "pid", "at", "n"),
    Index("entry_id", "id"),
    Index("entry_arrived", text("coalesce(arrived, at)")),
    *_indexes("entry", "at", "n"),
    Index("entry_started", "host", "at", sqlite_where=text(STARTED), postgresql_where=text(STARTED)),
    Index("entry_anybody", "n", sqlite_where=text(ANYBODY), postgresql_where=text(ANYBODY)),
    sqlite_autoincrement=True,  # a number is never given twice: a stream resumes by number
)

PAIR = Table(
    "pair",
    METADATA,
    Column("n", _N, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False),
    Index("pair_value", "name", "value", "n"),
    Index("pair_at", "at", "n"),
)

EPISODE = Table(
    "episode",
    METADATA,
    Column("host", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("protocol", Text),
    Column("type", Text),
    Column("local_ip", Text),
    Column("local_packed", LargeBinary),
    Column("local_port", BigInteger),
    Column("remote_ip", Text),
    Column("remote_packed", LargeBinary),
    Column("remote_port", BigInteger),
    Column("pid", BigInteger),
    Column("comm", Text),
    Column("netns", BigInteger),
    Column("start", Float(53), nullable=False),
    Column("end", Float(53)),
    Column("last", Float(53), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("peak", BigInteger, nullable=False),
    Column("threshold", BigInteger, nullable=False),
    Column("alerts", BigInteger, nullable=False),
    Column("arrived", Float(53)),
    Column("digest", LargeBinary),
    *map(_column, LATER),
    Column("seq", BigInteger),
    Column("ended_by", Text),
    Column("trusted", BigInteger),
    Column("stamps", Text),
    Column("before", Text),
    *_indexes("episode", "start"),
    Index("episode_local_port", "local_port", "start"),
    Index("episode_remote_port", "remote_port", "start"),
    Index("episode_local", "local_packed", "start"),
    Index("episode_remote", "remote_packed", "start"),
    Index("episode_comm", "comm", "start"),
    Index("episode_pid", "pid", "start"),
    Index("episode_id", "id"),
    Index("episode_arrived", text("coalesce(arrived, last)")),
)
HOST = Table(
    "host",
    METADATA,
    Column("host", Text, primary_key=True),
    Column("trusted", BigInteger, primary_key=True, autoincrement=False),
    Column("last", Float(53), nullable=False),
    Column("event", Text),
    Column("seq", BigInteger),
    Column("run", Text),
    Column("heard", Float(53), nullable=False),
    Column("started", Float(53)),
    Column("started_run", Text),
    Column("about_at", Float(53)),
    Column("version", Text),
    Column("kernel", Text),
    Column("mode", Text),
    Column("unseen", Text),
    Column("repeat", Float(53)),
    Column("heartbeat", Float(53)),
    Column("counts_at", Float(53)),
    Column("open", BigInteger),
    Column("lost_ago", Float(53)),
    Column("counters", Text),
    Column("digest", LargeBinary),
    Column("silences", Text),
    Column("labels", Text),
    Index("host_heard", "heard"),
)
"""What each host has told of itself, a row for what is trusted and one for what is not: data/words.py."""

ARRIVED = Arrival(ENTRY.c.arrived, ENTRY.c.at)
"""When an entry arrived, Unix time by the store's clock. The first edition did not keep it: its entries have
their own time instead."""
HEARD = Arrival(EPISODE.c.arrived, EPISODE.c.last)
"""When the last alert of an episode arrived, likewise."""
STILL_OPEN = EPISODE.c.end.is_(None)
OPEN_AS_HEARD = [
    Index(f"episode_open_{by}", *columns, sqlite_where=STILL_OPEN, postgresql_where=STILL_OPEN)
    for by, columns in (("host", (EPISODE.c.host, EPISODE.c.last)), ("heard", (HEARD,)))
]
"""Indexes of the open episodes alone, which are few: for what a run ends, and for what was heard of last."""

PARTITIONED = (ENTRY, PAIR)
