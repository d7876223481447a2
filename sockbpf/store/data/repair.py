# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Deletes rows that are not as they were written; those of episodes and hosts are made again of what was told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import select

from sockbpf.store.data.episodes import tell_episodes
from sockbpf.store.data.hosts import tell_hosts
from sockbpf.store.data.kept import entries_of_episodes, entries_of_host
from sockbpf.store.data.schema import ENTRY, EPISODE, HOST
from sockbpf.store.data.timeline_rows import restart
from sockbpf.store.data.turn import take_turn

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

    from sockbpf.store.data.entry import Entry


def repair(connection: Connection, table: Table, which: ColumnElement[bool]) -> None:
    """Delete these rows, within the transaction of the one thread that writes."""
    told: list[Entry] = []
    if table is EPISODE:
        episodes = connection.execute(select(EPISODE.c.host, EPISODE.c.id).where(which)).all()
        told += entries_of_episodes(connection, [(row.host, row.id) for row in episodes])
    elif table is HOST:
        for host in set(connection.execute(select(HOST.c.host).where(which)).scalars()):
            told += entries_of_host(connection, host)
    take_turn(connection)
    connection.execute(table.delete().where(which))
    hosts = tell_hosts(connection, told, time.time())
    if table is EPISODE:
        tell_episodes(connection, told, time.time(), hosts)
    if table in (ENTRY, EPISODE):
        restart(connection)
