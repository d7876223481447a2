# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `GET /hosts` answers: of each host when it was heard, which run it is, whether its monitor sees all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select

from sockbpf.counters import LOSSES
from sockbpf.record.alert import STOPPED
from sockbpf.record.labels import labels_of
from sockbpf.store.data.runs import TRUST_OF_EPISODE
from sockbpf.store.data.schema import EPISODE, HOST
from sockbpf.store.data.states import HEARD_OF, OVER, SILENT, state_of_episode, state_of_host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from sockbpf.store.data.known_rows import KnownRows

RECENT_S = 900.0
"""A monitor that has lost something so lately is called blind."""
POLL = "poll"
_TRUSTED = HOST.alias("trusted_host")
IS_SHOWN = or_(HOST.c.trusted == 1, ~exists().where(_TRUSTED.c.host == HOST.c.host, _TRUSTED.c.trusted == 1))
"""SQL: of the two rows of a host the one that is trusted, if there is one."""
SHOWN = (
    "host",
    "last",
    "heard",
    "event",
    "run",
    "version",
    "kernel",
    "mode",
    "unseen",
    "repeat",
    "heartbeat",
    "open",
    "silences",
)


def find_hosts(
    connection: Connection, known: KnownRows, now_s: float, limit: int, *, host: str = "", state: str = ""
) -> dict[str, Any]:
    """Return the hosts in their state at this time, silent ones first, then those that stopped, then by name.

    Of those that are heard of, the ones with silences come first.
    """
    its_state = state_of_host(now_s)
    chosen: list[ColumnElement[bool]] = [IS_SHOWN]
    if host:
        chosen.append(HOST.c.host == host)
    if state:
        chosen.append(its_state == state)
    order = case(
        (its_state == SILENT, 0), (its_state == STOPPED, 1), (HOST.c.silences.is_not(None), 2), else_=3
    )
    wanted = (
        select(HOST, its_state.label("state")).where(*chosen).order_by(order, HOST.c.host).limit(limit + 1)
    )
    rows = known.find(connection, wanted, HOST, shown_host, "" if host or state else "hosts")
    counts = {row.state: row.count for row in connection.execute(_counts(its_state))}
    over = _over(connection, now_s)
    return {
        "at": now_s,
        "counts": {name: counts.get(name, 0) for name in (HEARD_OF, SILENT, STOPPED)},
        "hosts": [{**row, "over": over.get(row["host"], 0)} for row in rows[:limit]],
        "truncated": len(rows) > limit,
    }


def _counts(its_state: ColumnElement[str]) -> Any:
    found = select(its_state.label("state")).where(IS_SHOWN).subquery()
    return select(found.c.state, func.count().label("count")).group_by(found.c.state)


def _over(connection: Connection, now_s: float) -> dict[str, int]:
    """Return of each host how many of its episodes are over."""
    its_host = and_(HOST.c.host == EPISODE.c.host, HOST.c.trusted == TRUST_OF_EPISODE)
    counted = (
        select(EPISODE.c.host, func.count())
        .select_from(EPISODE.outerjoin(HOST, its_host))
        .where(EPISODE.c.end.is_(None), state_of_episode(now_s) == OVER)
        .group_by(EPISODE.c.host)
    )
    return {host: count for host, count in connection.execute(counted)}  # noqa: C416


def shown_host(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer shows of the row of a host."""
    counters = json.loads(row["counters"]) if row["counters"] else {}
    lost_at = None if row["lost_ago"] is None else row["counts_at"] - row["lost_ago"]
    return {
        **{name: row[name] for name in SHOWN},
        "state": row["state"],
        "since": row["started"] if row["started_run"] == row["run"] else None,
        "lost": sum(counters.get(name, 0) for name in LOSSES) if row["counters"] else None,
        "lost_at": lost_at,
        "blind": blindness(row),
        "labels": labels_of(row["labels"] or ""),
        "counters": counters,
        "trusted": bool(row["trusted"]),
    }


def blindness(row: Mapping[str, Any]) -> list[str]:
    """Return why a host's monitor may not see all that is over; empty if it does, as far as it has told."""
    reasons = []
    if row["mode"] == POLL:
        reasons.append("it watches by polling: short crossings are not seen")
    if row["unseen"]:
        reasons.append(row["unseen"])
    if row["lost_ago"] is not None and row["lost_ago"] < RECENT_S:
        reasons.append("it has lost events or alerts in the last 15 minutes")
    return reasons
