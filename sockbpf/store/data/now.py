# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `GET /now` answers: what is wrong at this moment, as far as it has been heard of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select

from sockbpf.store.data.hosts_now import IS_SHOWN, POLL, RECENT_S, shown_host
from sockbpf.store.data.incidents import (
    BLIND_MONITOR,
    SILENT_HOST,
    host_incident,
    queue_incidents,
    worst_first,
)
from sockbpf.store.data.joining import is_ours
from sockbpf.store.data.schema import EPISODE, HEARD, HOST
from sockbpf.store.data.states import (
    HEARD_OF,
    NOT_HEARD,
    OVER,
    SILENT,
    STATES_OF_HOST,
    episodes_with_state,
    state_of_host,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sockbpf.store.data.known_rows import KnownRows

MOST_EPISODES = 5000
"""So many open episodes are looked at, those that were heard of last."""
MOST_HOSTS = 1000
"""So many hosts are looked at that are silent or do not see all, the silent ones first."""


def find_now(
    connection: Connection,
    known: KnownRows,
    now_s: float,
    limit: int,
    *,
    host: str = "",
    with_open: bool = False,
) -> dict[str, Any]:
    """Return the incidents of this moment, the worst first, and how much is over and heard of in all.

    `with_open` adds which episodes are open, each with its state.
    """
    episodes, has_more_episodes = _open_episodes(connection, known, now_s, host)
    hosts, has_more_hosts = _troubled_hosts(connection, known, now_s, host)
    states = Counter(row["state"] for row in episodes)
    of_silent = Counter(row["host"] for row in episodes if row["state"] == SILENT)
    heard_of = [row for row in episodes if row["state"] != SILENT]
    incidents = queue_incidents(heard_of) if host else known.of_each_host(heard_of, queue_incidents)
    for row in hosts:
        is_silent = row["state"] == SILENT
        kind, count = (SILENT_HOST, of_silent[row["host"]]) if is_silent else (BLIND_MONITOR, 0)
        incidents.append(host_incident(kind, row, count))
    open_now = [{name: row[name] for name in ("host", "id", "state")} for row in episodes]
    return {
        "at": now_s,
        "episodes": {"over": states[OVER], "not_heard": states[NOT_HEARD], "silent": states[SILENT]},
        "hosts": _hosts(connection, now_s),
        "count": len(incidents),
        "incidents": worst_first(incidents)[:limit],
        "truncated": has_more_episodes or has_more_hosts or len(incidents) > limit,
        **({"open": open_now, "open_truncated": has_more_episodes} if with_open else {}),
    }


def _open_episodes(
    connection: Connection, known: KnownRows, now_s: float, host: str
) -> tuple[list[dict[str, Any]], bool]:
    statement = episodes_with_state(now_s).where(EPISODE.c.end.is_(None))
    if host:
        statement = statement.where(EPISODE.c.host == host)
    statement = statement.order_by(HEARD.desc()).limit(MOST_EPISODES + 1)
    rows = known.find(connection, statement, EPISODE, _with_trust, "" if host else "open episodes")
    return rows[:MOST_EPISODES], len(rows) > MOST_EPISODES


def _with_trust(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "ours": is_ours(row)}


def _troubled_hosts(
    connection: Connection, known: KnownRows, now_s: float, host: str
) -> tuple[list[dict[str, Any]], bool]:
    """Return the hosts that are silent, or whose monitor may not see all."""
    its_state = state_of_host(now_s)
    is_blind = and_(
        its_state == HEARD_OF,
        or_(HOST.c.mode == POLL, HOST.c.unseen.is_not(None), HOST.c.lost_ago < RECENT_S),
    )
    statement = select(HOST, its_state.label("state")).where(IS_SHOWN, or_(its_state == SILENT, is_blind))
    if host:
        statement = statement.where(HOST.c.host == host)
    statement = statement.order_by(its_state.desc(), HOST.c.heard.desc()).limit(MOST_HOSTS + 1)
    rows = known.find(connection, statement, HOST, shown_host, "" if host else "troubled hosts")
    return rows[:MOST_HOSTS], len(rows) > MOST_HOSTS


def _hosts(connection: Connection, now_s: float) -> dict[str, Any]:
    """Return how many hosts there are in each state, and when the one was heard that is not silent but quietest."""
    found = select(state_of_host(now_s).label("state"), HOST.c.heard).where(IS_SHOWN).subquery()
    wanted = select(found.c.state, func.count(), func.min(found.c.heard)).group_by(found.c.state)
    by_state = {state: (count, heard_s) for state, count, heard_s in connection.execute(wanted)}
    counts = {state: by_state.get(state, (0, None))[0] for state in STATES_OF_HOST}
    return {**counts, "all_heard_since": by_state.get(HEARD_OF, (0, None))[1]}
