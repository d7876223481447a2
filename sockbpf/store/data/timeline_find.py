# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A timeline from the tables of sums: all alerts, or those of a host, a service, a type."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, cast, func, select

from sockbpf.record.alert import EVENTS
from sockbpf.store.data.tally import scope_of
from sockbpf.store.data.timeline import SECOND_US, Sums, Timeline, Window
from sockbpf.store.data.timeline_tables import COARSE, SERIES, STEPS, SUMS, TIMELINE, WORST

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Connection, Select

MOST_CANDIDATES = 500
"""So many services that were over at the beginning of the window are compared with the others, at most."""
LONGEST = STEPS[-1]


@dataclass(frozen=True)
class Asked:
    """What the timeline is of; an empty text is any."""

    host: str = ""
    service: str = ""
    type: str = ""
    top: int = 10
    """So many services are told of one by one."""


def from_sums(connection: Connection, window: Window, asked: Asked) -> Timeline:
    """Return the timeline of a window."""
    if asked.service:
        names = [asked.service]
        total = _sums(connection, window, asked, names)[asked.service]
        return Timeline(total, {asked.service: total} if asked.top else {})
    if window.step_s in COARSE:
        total = _sums(connection, window, asked, [""], single=False)[""]
    else:
        total = _sum_of_all(connection, window, asked)
    names = _longest(connection, window, asked) if asked.top else []
    found = _sums(connection, window, asked, names)
    return Timeline(total, {name: found[name] for name in names})


def _of(asked: Asked, scope: int) -> list[ColumnElement[bool]]:
    """Return the conditions of the series of a scope."""
    return [SERIES.c.scope == scope, *([SERIES.c.type == asked.type] if asked.type else [])]


def _sums(
    connection: Connection, window: Window, asked: Asked, names: Collection[str], *, single: bool = True
) -> dict[str, Sums]:
    """Return the sums of these services; of all together under an empty name."""
    found = {name: Sums(window) for name in names}
    if not found:
        return found
    scope = scope_of(asked.host, single=single)
    chosen = select(SERIES).where(*_of(asked, scope), SERIES.c.service.in_(found))
    series = {row.id: (row.service, row.type) for row in connection.execute(chosen)}
    if not series:
        return found
    rows = select(TIMELINE).where(*_within(window, scope), TIMELINE.c.series.in_(series))
    for row in connection.execute(rows):
        name, type_ = series[row.series]
        _add(found[name], row, type_)
    at_begin: Counter[str] = Counter()
    which = [TIMELINE.c.scope == scope, TIMELINE.c.series.in_(series)]
    for id_, count in _over_at(connection, window, which).items():
        at_begin[series[id_][0]] += count
    for name, sums in found.items():
        sums.carry(at_begin[name])
    return found


def _sum_of_all(connection: Connection, window: Window, asked: Asked) -> Sums:
    """Return the sums of all services together, where no such row is kept: of all hosts, in a short window."""
    scope = scope_of("", single=True)
    columns = [func.sum(TIMELINE.c[name]).label(name) for name in SUMS]
    worst = [func.max(TIMELINE.c[name]).label(name) for name in WORST]
    rows = (
        select(TIMELINE.c.bucket, SERIES.c.type, *columns, *worst)
        .join(SERIES, SERIES.c.id == TIMELINE.c.series)
        .where(*_of(asked, scope), *_within(window, scope))
        .group_by(TIMELINE.c.bucket, SERIES.c.type)
    )
    total = Sums(window)
    for row in connection.execute(rows):
        _add(total, row, row.type)
    over = _over_at(connection, window, [TIMELINE.c.scope == scope])
    if over and asked.type:
        of_type = set(connection.execute(select(SERIES.c.id).where(*_of(asked, scope))).scalars())
        over = {id_: count for id_, count in over.items() if id_ in of_type}
    total.carry(sum(over.values()))
    return total


def _within(window: Window, scope: int) -> list[ColumnElement[bool]]:
    return [
        TIMELINE.c.scope == scope,
        TIMELINE.c.step == window.step_s,
        TIMELINE.c.bucket >= window.begin_s,
        TIMELINE.c.bucket < window.end_s,
    ]


def _add(sums: Sums, row: Any, type_: str) -> None:
    window = sums.window
    bucket = window.bucket(row.bucket)
    for event in EVENTS:
        sums.told(bucket, type_, event, int(getattr(row, event)))
    sums.worst(bucket, row.fill, row.ratio)
    # The row's own times run to the end of its step, those of the bucket to the end of the bucket.
    rest_us = (window.begin_s + (bucket + 1) * window.width_s - row.bucket - window.step_s) * SECOND_US
    difference = int(row.opened - row.closed)
    sums.changed(bucket, difference, difference * rest_us + int(row.opened_us - row.closed_us))


def _over_at(connection: Connection, window: Window, which: list[ColumnElement[bool]]) -> dict[int, int]:
    """Return how many episodes were over when the window began, by series; those with none are left out."""
    found: Counter[int] = Counter()
    at_s = window.begin_s // LONGEST * LONGEST
    carried = (TIMELINE.c.step == LONGEST, TIMELINE.c.bucket == at_s, TIMELINE.c.carried != 0)
    for id_, count in connection.execute(
        select(TIMELINE.c.series, TIMELINE.c.carried).where(*which, *carried)
    ):
        found[id_] += count
    for step in reversed(STEPS[:-1]):
        end_s = window.begin_s // step * step
        if end_s > at_s:
            between = (TIMELINE.c.step == step, TIMELINE.c.bucket >= at_s, TIMELINE.c.bucket < end_s)
            change = func.sum(TIMELINE.c.opened - TIMELINE.c.closed)
            changes = select(TIMELINE.c.series, change).where(*which, *between).group_by(TIMELINE.c.series)
            for id_, count in connection.execute(changes.having(change != 0)):
                found[id_] += int(count)
        at_s = end_s
    return {id_: count for id_, count in found.items() if count}


def _longest(connection: Connection, window: Window, asked: Asked) -> list[str]:
    """Return the services that were over for longest in the window, the longest first."""
    scope = scope_of(asked.host, single=True)
    within = [TIMELINE.c.scope == scope]
    over = _over_at(connection, window, within)
    over = dict(sorted(over.items(), key=lambda each: -each[1])[:MOST_CANDIDATES])
    open_s: dict[str, list[float]] = {}
    for id_, service, lasted_s, told in connection.execute(
        _scores(window, asked, scope).limit(MOST_CANDIDATES)
    ):
        _score(open_s, service, lasted_s + over.pop(id_, 0) * (window.end_s - window.begin_s), told)
    if over:
        chosen = select(SERIES.c.id, SERIES.c.service).where(*_of(asked, scope), SERIES.c.id.in_(over))
        names = {row.id: row.service for row in connection.execute(chosen)}
        scores = _scores(window, asked, scope, over)
        changes = {row.series: row for row in connection.execute(scores)}
        for id_, service in names.items():
            _, _, lasted_s, told = changes.get(id_, (id_, service, 0.0, 0))
            _score(open_s, service, lasted_s + over[id_] * (window.end_s - window.begin_s), told)
    return sorted(open_s, key=lambda name: (*(-value for value in open_s[name]), name))[: asked.top]


def _score(scores: dict[str, list[float]], service: str, lasted_s: float, told: int) -> None:
    score = scores.setdefault(service, [0.0, 0])
    score[0] += lasted_s
    score[1] += told


def _scores(window: Window, asked: Asked, scope: int, series: Collection[int] = ()) -> Select[Any]:
    """Return the query of how long the episodes that began or ended in the window were over in it, by series."""
    rest_s = window.end_s - window.step_s - TIMELINE.c.bucket
    lasted = func.sum(
        cast(TIMELINE.c.opened - TIMELINE.c.closed, Float) * rest_s
        + cast(TIMELINE.c.opened_us - TIMELINE.c.closed_us, Float) / SECOND_US
    )
    told = func.sum(sum((TIMELINE.c[event] for event in EVENTS[1:]), TIMELINE.c[EVENTS[0]]))
    sums = (
        select(TIMELINE.c.series, lasted.label("lasted"), told.label("told"))
        .where(*_within(window, scope), *([TIMELINE.c.series.in_(series)] if series else []))
        .group_by(TIMELINE.c.series)
        .subquery()
    )
    return (
        select(sums.c.series, SERIES.c.service, sums.c.lasted, sums.c.told)
        .join(SERIES, SERIES.c.id == sums.c.series)
        .where(*_of(asked, scope))
        .order_by(sums.c.lasted.desc(), sums.c.told.desc())
    )
