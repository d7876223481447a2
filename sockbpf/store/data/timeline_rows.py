# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Keeps the timeline in step with entries and episodes, in the transaction that changes these."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, select, text, tuple_, update

from sockbpf.store.data import bulk
from sockbpf.store.data.digest import is_sound
from sockbpf.store.data.schema import ENTRY, EPISODE
from sockbpf.store.data.sound import entry_of_body, is_sound_entry
from sockbpf.store.data.tally import Tally, worst_of
from sockbpf.store.data.timeline_tables import COARSE, SERIES, STATE, STEPS, SUMS, TIMELINE, WORST, after_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.entry import Entry

log = logging.getLogger(__name__)

KEYS = ("scope", "step", "bucket", "series")
IS_EMPTY = " and ".join(f"{name} = 0" for name in SUMS)
"""SQL: a row in which nothing is left."""
ADDED = {**dict.fromkeys(SUMS, bulk.Rule.ADD), **dict.fromkeys(WORST, bulk.Rule.GREATEST)}
"""What becomes of the columns of a row to which sums are added."""
DAY_S = 86_400
AT_ONCE = 200
"""Rows that one statement changes: SQLite bounds its parameters."""


class Coverage:
    """What is in the timeline: by the time of its arrival."""

    def __init__(self, connection: Connection) -> None:
        row = connection.execute(select(STATE.c.filled_s, STATE.c.until_s)).one()
        self.filled_s, self.until_s = row

    @property
    def is_whole(self) -> bool:
        return bool(self.filled_s >= self.until_s)

    def has(self, arrived_s: float) -> bool:
        return self.is_whole or arrived_s < self.filled_s or arrived_s >= self.until_s

    def has_row(self, row: Mapping[Any, Any], own: str) -> bool:
        """Whether an entry or an episode is counted; `own` is the column of its own time."""
        return self.has(row[own] if row["arrived"] is None else row["arrived"])


def tell(
    connection: Connection,
    entries: Iterable[Entry],
    before: Sequence[Mapping[Any, Any] | None],
    after: Sequence[Mapping[Any, Any]],
    arrived_s: float,
) -> None:
    """Count new entries that arrive now, and episodes whose rows `before`, None for a damaged one, became `after`."""
    intact = [row for row in before if row is not None]
    if len(intact) < len(before):
        restart(connection)
        return
    coverage = Coverage(connection)
    tally = Tally()
    for entry in entries:
        if entry.episode and coverage.has(arrived_s if entry.arrived_s is None else entry.arrived_s):
            worst = worst_of(entry.fill, entry.episode["size"], entry.episode["threshold"])
            tally.alert(entry.columns, entry.at_s, worst)
    for row in intact:
        if coverage.has_row(row, "last"):
            tally.episode(row, -1)
    for row in after:
        if coverage.has_row(row, "last"):
            tally.episode(row)
    apply(connection, tally)


def forget_entries(connection: Connection, rows: Sequence[Mapping[Any, Any]]) -> None:
    """Subtract entries that are deleted; one that was altered is none that was counted, so all is counted anew."""
    alerts = [row for row in rows if row["key"] is not None]
    if not all(is_sound_entry(row) for row in alerts):
        restart(connection)
        return
    coverage, tally = Coverage(connection), Tally()
    for row in alerts:
        if coverage.has_row(row, "at"):
            tally.alert(row, row["at"], sign=-1)
    apply(connection, tally)
    _find_worst(connection, tally)


def forget_episodes(connection: Connection, rows: Sequence[Mapping[Any, Any]]) -> None:
    """Subtract episodes that are deleted."""
    if not all(is_sound(row, EPISODE) for row in rows):
        restart(connection)
        return
    coverage, tally = Coverage(connection), Tally()
    for row in rows:
        if coverage.has_row(row, "last"):
            tally.episode(row, -1)
    apply(connection, tally)


def forget_day(connection: Connection, begin_s: float) -> None:
    """Count the alerts of a day anew, after most of them were dropped with their partition."""
    of_the_day = and_(TIMELINE.c.bucket >= int(begin_s), TIMELINE.c.bucket < int(begin_s) + DAY_S)
    nothing = dict.fromkeys((*SUMS[:3], *WORST), 0)
    connection.execute(update(TIMELINE).where(of_the_day).values(nothing))
    connection.execute(delete(TIMELINE).where(of_the_day, text(IS_EMPTY)))
    left = select(ENTRY).where(ENTRY.c.at >= begin_s, ENTRY.c.at < begin_s + DAY_S, ENTRY.c.key.is_not(None))
    coverage, tally = Coverage(connection), Tally()
    for row in connection.execute(left.execution_options(yield_per=1000)).mappings():
        if coverage.has_row(row, "at"):
            add_entry(tally, row)
    apply(connection, tally)


def add_entry(tally: Tally, row: Mapping[Any, Any]) -> None:
    """Add an entry by its row of the table, if that is as it was written."""
    entry = entry_of_body(row)
    if entry and entry.episode:
        worst = worst_of(entry.fill, entry.episode["size"], entry.episode["threshold"])
        tally.alert(row, row["at"], worst)


def restart(connection: Connection) -> None:
    """Empty the timeline, and have it filled again."""
    log.warning("the timeline is counted anew: rows of the database were not as they were written")
    connection.execute(delete(TIMELINE))
    connection.execute(update(STATE).values(filled_s=0.0, until_s=after_all(connection)))


def apply(connection: Connection, tally: Tally) -> None:
    """Add these sums to the rows of the timeline; rows in which nothing is left are deleted."""
    made, about = tally.rows()
    rows = [(key, sums) for key, sums in sorted(made.items()) if any(sums)]
    if not rows:
        return
    named = {key[3] for key, _ in rows}
    series = [each for id_, each in about.items() if id_ in named]
    bulk.merge(connection, SERIES, series, {})
    bulk.merge(connection, TIMELINE, [(*key, *sums) for key, sums in rows], ADDED)
    # Where a sum grows the row is not empty, since no sum is ever below 0.
    lessened = [key for key, sums in rows if min(sums) < 0 and max(sums) <= 0]
    bulk.delete(connection, TIMELINE, KEYS, lessened, IS_EMPTY)


def _find_worst(connection: Connection, tally: Tally) -> None:
    """Find the worst of steps anew, from the steps within them, after alerts were subtracted."""
    within = TIMELINE.alias("within")
    rows, _ = tally.rows()
    finest = {key[3] for key in rows if key[1] == STEPS[0]}
    for shorter, step in pairwise(STEPS):
        of_step = [key for key in rows if key[1] == step and (key[3] in finest or shorter in COARSE)]
        where = and_(
            within.c.scope == TIMELINE.c.scope,
            within.c.step == shorter,
            within.c.bucket >= TIMELINE.c.bucket,
            within.c.bucket < TIMELINE.c.bucket + step,
            within.c.series == TIMELINE.c.series,
        )
        worst = {
            name: select(func.coalesce(func.max(within.c[name]), 0)).where(where).scalar_subquery()
            for name in WORST
        }
        row = tuple_(*(TIMELINE.c[name] for name in KEYS))
        for begin in range(0, len(of_step), AT_ONCE):
            which = row.in_(of_step[begin : begin + AT_ONCE])
            connection.execute(update(TIMELINE).where(which).values(worst))


def prune(connection: Connection) -> None:
    """Delete the names of series that have no row any more."""
    for scope in connection.execute(select(SERIES.c.scope).distinct()).scalars().all():
        # What has a row of any step has one of the longest.
        there = select(TIMELINE.c.series).where(TIMELINE.c.scope == scope, TIMELINE.c.step == STEPS[-1])
        connection.execute(delete(SERIES).where(SERIES.c.scope == scope, SERIES.c.id.not_in(there)))
