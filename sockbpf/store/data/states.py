# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""SQL for what is so at this moment, by the store's clock: the state of an episode, and that of a host.

Nothing is called over that was not heard of for a while: the sender's clock plays no part in this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Float, and_, case, func, literal, select

from sockbpf.record.alert import STOPPED
from sockbpf.store.data.engine import is_clickhouse
from sockbpf.store.data.joining import BY_RUN
from sockbpf.store.data.runs import TRUST_OF_EPISODE, end_of_episode
from sockbpf.store.data.schema import EPISODE, HEARD, HOST

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

MISSED = 3
"""After so many intervals without a word something is not heard of any more."""
INTERVAL_S = 60.0
"""Of `repeat`, and of the heartbeats of a host that has told some, where it has not told the interval."""
OVER, ENDED, NOT_HEARD, SILENT = "over", "ended", "not-heard", "silent"
STATES = (OVER, ENDED, NOT_HEARD, SILENT)
"""Of an episode."""
HEARD_OF = "heard"
STATES_OF_HOST = (HEARD_OF, SILENT, STOPPED)
HIDDEN = frozenset(
    {"local_packed", "remote_packed", "arrived", "digest", "seq", "trusted", "stamps", "before", "end_now"}
)
"""Columns of episodes that no answer shows."""

BEAT_S = func.coalesce(HOST.c.heartbeat, case((HOST.c.counts_at.is_not(None), INTERVAL_S), else_=0.0))
"""SQL: seconds between the heartbeats of a host, 0 if it tells none."""
_REPEAT_S = func.coalesce(HOST.c.repeat, INTERVAL_S)


def _is_silent(now_s: float) -> ColumnElement[bool]:
    return and_(BEAT_S > 0, HOST.c.heard + MISSED * BEAT_S < _time(now_s))


def _time(now_s: float) -> ColumnElement[float]:
    return literal(now_s, Float(53))


def state_of_host(now_s: float) -> ColumnElement[str]:
    """Return SQL for one of STATES_OF_HOST; a host that tells no heartbeats is never called silent."""
    return case((HOST.c.event == STOPPED, STOPPED), (_is_silent(now_s), SILENT), else_=HEARD_OF)


def state_of_episode(now_s: float) -> ColumnElement[str]:
    """Return SQL for one of STATES, of an episode joined with its host."""
    is_old = and_(_REPEAT_S > 0, _time(now_s) > HEARD + MISSED * _REPEAT_S)
    return case(
        (EPISODE.c.end.is_not(None), ENDED),
        (HOST.c.event == STOPPED, NOT_HEARD),
        (_is_silent(now_s), SILENT),
        (is_old, NOT_HEARD),
        else_=OVER,
    )


def episodes_with_state(connection: Connection, now_s: float) -> Select[Any]:
    """Return a query for episodes with their `state`, and with `end_now`, their end."""
    its_host = and_(HOST.c.host == EPISODE.c.host, HOST.c.trusted == TRUST_OF_EPISODE)
    # In ClickHouse it is the first start in any case, whenever that came.
    by_run = EPISODE.c.end if is_clickhouse(connection) else end_of_episode()
    first_start = case((EPISODE.c.ended_by == BY_RUN, by_run))
    return select(
        EPISODE,
        state_of_episode(now_s).label("state"),
        func.coalesce(first_start, EPISODE.c.end).label("end_now"),
        HEARD.label("heard"),
    ).select_from(EPISODE.outerjoin(HOST, its_host))


def shown_episode(row: Any) -> dict[str, Any]:
    """Return what an answer shows of a row of that query."""
    shown = {name: value for name, value in row.items() if name not in HIDDEN}
    shown["end"] = row["end_now"]
    if row["end"] is not None and row["ended_by"] is None:
        shown["ended_by"] = "cleared"
    return shown
