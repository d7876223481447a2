# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Reads the alerts of an episode or a host again, where the row that was made of them is damaged or missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from sockbpf.store.data.runs import IS_START, TRUST_OF_ENTRY
from sockbpf.store.data.schema import ENTRY
from sockbpf.store.data.sound import entry_of_body, is_sound_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Select

    from sockbpf.store.data.entry import Entry

MOST_OF_EPISODE = 10_000
"""So many alerts of an episode are read again, the newest: those of a week with one a minute."""
MOST_OF_HOST = 200


def entries_of_episode(connection: Connection, host: str, id_: str) -> list[Entry]:
    """Return the alerts of an episode that are kept and intact."""
    its = select(ENTRY).where(ENTRY.c.id == id_).order_by(ENTRY.c.at.desc()).limit(MOST_OF_EPISODE)
    return [
        entry
        for entry in _intact(connection, its)
        if entry.episode and (entry.episode["host"], entry.episode["id"]) == (host, id_)
    ]


def entries_of_host(connection: Connection, host: str) -> list[Entry]:
    """Return the newest of what a host has told, and the beginnings of its newest runs, as far as intact."""
    newest = select(ENTRY).where(ENTRY.c.host == host).order_by(ENTRY.c.at.desc(), ENTRY.c.n.desc())
    start = select(ENTRY).where(*IS_START, ENTRY.c.host == host).order_by(ENTRY.c.at.desc())
    of_anybody, of_ours = (
        start.where(trust).limit(1) for trust in (TRUST_OF_ENTRY == 0, TRUST_OF_ENTRY == 1)
    )
    wanted = (newest.limit(MOST_OF_HOST), of_anybody, of_ours)
    return [entry for some in wanted for entry in _intact(connection, some)]


def _intact(connection: Connection, wanted: Select[Any]) -> Iterator[Entry]:
    for row in connection.execute(wanted).mappings().all():
        entry = entry_of_body(row) if row["key"] is not None and is_sound_entry(row) else None
        if entry:
            arrived_s = row["at"] if row["arrived"] is None else row["arrived"]
            yield replace(
                entry, trusted=bool(1 if row["trusted"] is None else row["trusted"]), arrived_s=arrived_s
            )
