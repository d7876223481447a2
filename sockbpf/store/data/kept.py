# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Reads the alerts of an episode or a host again, where the row that was made of them is damaged or missing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from sockbpf.store.data.runs import IS_START, TRUST_OF_ENTRY
from sockbpf.store.data.schema import ENTRY
from sockbpf.store.data.sound import entry_of_body, is_sound_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Select

    from sockbpf.store.data.entry import Entry

MOST_OF_ID = 10_000
"""So many alerts of an episode's id are looked through, the newest: those of a week with one a minute."""
AT_ONCE = 500
MOST_OF_HOST = 200


def entries_of_episodes(connection: Connection, episodes: Iterable[tuple[str, str]]) -> Iterator[Entry]:
    """Yield the alerts of these episodes, each a host and an id, that are kept and intact.

    Any number of hosts may have used one id: its alerts are looked through once for all of them.
    """
    hosts_of: dict[str, set[str]] = defaultdict(set)
    for host, id_ in episodes:
        hosts_of[id_].add(host)
    for id_, hosts in hosts_of.items():
        newest = select(ENTRY.c.n, ENTRY.c.host).where(ENTRY.c.id == id_).order_by(ENTRY.c.n.desc())
        its = [n for n, host in connection.execute(newest.limit(MOST_OF_ID)) if host in hosts]
        for begin in range(0, len(its), AT_ONCE):
            some = select(ENTRY).where(ENTRY.c.n.in_(its[begin : begin + AT_ONCE]))
            yield from (entry for entry in _intact(connection, some) if entry.episode)


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
