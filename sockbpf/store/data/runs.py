# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What an earlier run of a monitor left open ends, at the latest, when a later run has started.

The rule: an episode has ended if after its latest alert another run of the same host has started. What goes on is
told by the later run before its `started`. The entries say when runs started, so the rule holds in any order of them.
An episode of alerts that are trusted is not ended by a `started` that is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, bindparam, func, literal_column, select, update

from sockbpf.record.alert import STARTED
from sockbpf.store.data.digest import digest_of, is_sound
from sockbpf.store.data.joining import BY_RUN, is_ours
from sockbpf.store.data.schema import ENTRY, EPISODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, ScalarSelect

    from sockbpf.store.data.entry import Entry
    from sockbpf.store.data.hosts import Hosts

AT_ONCE = 500
"""Episodes that are ended by one statement."""
IS_START = (ENTRY.c.event == literal_column(f"'{STARTED}'"), ENTRY.c.run.is_not(None))
"""As the index of such entries has it: with a literal."""
TRUST_OF_ENTRY = func.coalesce(ENTRY.c.trusted, 1)
TRUST_OF_EPISODE = func.coalesce(EPISODE.c.trusted, 1)


def ended_by_run(connection: Connection, row: dict[str, Any], hosts: Hosts) -> dict[str, Any]:
    """Return the row of an episode, which is ended if another run started after its latest alert."""
    if row["end"] is not None:
        return row
    newest = [
        host["started"]
        for trusted in (0, 1)
        if trusted >= is_ours(row) and (host := hosts.get((row["host"], trusted))) and host["started"]
    ]
    if max(newest, default=0.0) <= row["last"]:
        return row
    end_s = connection.execute(
        select(func.min(ENTRY.c.at)).where(
            *_starts_after(row["host"], row["last"], row["run"] or "", is_ours(row))
        )
    ).scalar()
    return row if end_s is None else {**row, "end": end_s, "ended_by": BY_RUN}


def _starts_after(host: Any, last_s: Any, run: Any, trusted: Any) -> tuple[ColumnElement[bool], ...]:
    return (
        *IS_START,
        ENTRY.c.host == host,
        ENTRY.c.at > last_s,
        ENTRY.c.run != run,
        trusted <= TRUST_OF_ENTRY,
    )


def end_of_episode() -> ScalarSelect[Any]:
    """Return SQL: when the first other run started after the latest alert of an episode."""
    its = (EPISODE.c.host, EPISODE.c.last, func.coalesce(EPISODE.c.run, ""), TRUST_OF_EPISODE)
    return select(func.min(ENTRY.c.at)).where(*_starts_after(*its)).correlate(EPISODE).scalar_subquery()


def end_by_runs(connection: Connection, new: Sequence[Entry]) -> None:
    """End what the runs that have started, by these entries, find open of an earlier run."""
    for entry in new:
        columns = entry.columns
        if entry.key is not None and columns["event"] == STARTED and columns["run"]:
            while _end_some(connection, entry, str(columns["host"]), str(columns["run"])):
                pass


def _end_some(connection: Connection, start: Entry, host: str, run: str) -> bool:
    """End some episodes; return whether there may be more."""
    left = select(EPISODE).where(
        EPISODE.c.end.is_(None),
        EPISODE.c.host == host,
        EPISODE.c.last < start.at_s,
        func.coalesce(EPISODE.c.run, "") != run,
        int(start.trusted) >= TRUST_OF_EPISODE,
    )
    rows = connection.execute(left.limit(AT_ONCE)).mappings().all()
    changes = []
    for row in rows:
        ended: Mapping[str, Any] = {**row, "end": start.at_s, "ended_by": BY_RUN}
        # What was damaged stays so: whoever reads it deletes it.
        digest = digest_of(ended, EPISODE.c.keys()) if is_sound(row, EPISODE) else b"damaged"
        changes.append(
            {"of_host": row["host"], "of_id": row["id"], "of_end": start.at_s, "of_digest": digest}
        )
    if changes:
        which = (EPISODE.c.host == bindparam("of_host"), EPISODE.c.id == bindparam("of_id"))
        values = {"end": bindparam("of_end"), "ended_by": BY_RUN, "digest": bindparam("of_digest")}
        connection.execute(update(EPISODE).where(*which).values(values), changes)
    return len(rows) == AT_ONCE
