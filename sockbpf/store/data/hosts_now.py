# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `GET /hosts` answers: of each host when it was heard, which run it is, whether its monitor sees all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, case, false, func, literal, not_, or_, select

from sockbpf.counters import LOSSES
from sockbpf.record.alert import STOPPED
from sockbpf.record.labels import label_text, labels_of
from sockbpf.store.data.clickhouse_apart import of_open
from sockbpf.store.data.engine import contains, in_order, is_clickhouse
from sockbpf.store.data.has_trusted import HasTrusted
from sockbpf.store.data.host_counts import counts_of, counts_of_labels
from sockbpf.store.data.runs import TRUST_OF_EPISODE
from sockbpf.store.data.schema import EPISODE, HOST
from sockbpf.store.data.states import HEARD_OF, OVER, SILENT, state_of_episode, state_of_host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Select

    from sockbpf.store.data.host_filters import HostFilter, Place
    from sockbpf.store.data.known_rows import KnownRows

RECENT_S = 900.0
"""A monitor that has lost something so lately is called blind."""
POLL = "poll"
IS_SHOWN = or_(HOST.c.trusted == 1, ~HasTrusted())
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
    connection: Connection, known: KnownRows, now_s: float, wanted: HostFilter
) -> tuple[dict[str, Any], Place | None]:
    """Return the hosts that are asked for, as they are at this time, and the place behind which further ones follow.

    Silent ones come first, then those whose monitor may not see all, then those that stopped, then those that have
    silences; hosts of one kind by name. What is not trusted comes after all that is. What counts hosts counts all.
    """
    rank, name = _rank(now_s), in_order(connection, HOST.c.host)
    statement = select(HOST, state_of_host(now_s).label("state"), rank.label("rank"))
    statement = statement.where(IS_SHOWN, *_conditions(connection, now_s, wanted))
    if wanted.behind:
        of_place, host = wanted.behind
        statement = statement.where(or_(rank > of_place, and_(rank == of_place, name > host)))
    statement = statement.order_by(rank, name).limit(wanted.limit + 1)
    if is_clickhouse(connection):  # it would make all columns of all hosts
        names = connection.execute(statement.with_only_columns(HOST.c.host)).scalars().all()
        statement = statement.where(HOST.c.host.in_(names))
    rows = known.find(connection, statement, HOST, _placed, "hosts" if wanted.is_all else "")
    has_more, rows = len(rows) > wanted.limit, rows[: wanted.limit]
    over = _over(connection, now_s, [row["host"] for _, row in rows])
    groups = ((*group,) for group in connection.execute(_groups(now_s)))
    answer = {
        "at": now_s,
        **counts_of(groups),
        "labels": known.lately("labels", lambda: counts_of_labels(_labels(connection))),
        "hosts": [{**row, "over": over.get(row["host"], 0)} for _, row in rows],
        "truncated": has_more,
    }
    return answer, (rows[-1][0], rows[-1][1]["host"]) if has_more else None


def is_blind(now_s: float) -> ColumnElement[bool]:
    """Return SQL for whether a host is heard of whose monitor may not see all: `blindness` says why."""
    may_miss = or_(HOST.c.mode == POLL, HOST.c.unseen.is_not(None), HOST.c.lost_ago < RECENT_S)
    return and_(may_miss, state_of_host(now_s) == HEARD_OF)  # of most hosts the first says enough


def _rank(now_s: float) -> ColumnElement[int]:
    state = state_of_host(now_s)
    kinds = (state == SILENT, is_blind(now_s), state == STOPPED, HOST.c.silences.is_not(None))
    of_kind = case(*((kind, place) for place, kind in enumerate(kinds)), else_=len(kinds))
    return of_kind + case((HOST.c.trusted == 1, 0), else_=len(kinds) + 1)


def _conditions(connection: Connection, now_s: float, wanted: HostFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.host:
        yield HOST.c.host == wanted.host
    if wanted.state:
        yield state_of_host(now_s) == wanted.state
    if wanted.version:
        yield HOST.c.version == wanted.version
    if wanted.blind is not None:
        yield is_blind(now_s) if wanted.blind else not_(func.coalesce(is_blind(now_s), false()))
    for label in wanted.labels:
        yield has_label(*label)
    for word in wanted.words:
        yield contains(connection, HOST.c.host, word)


def has_label(name: str, value: str) -> ColumnElement[bool]:
    """Return SQL for whether a host has this label."""
    all_ = literal(";").concat(func.coalesce(HOST.c.labels, "")).concat(";")
    return func.replace(all_, f";{label_text(name, value)};", "") != all_


def _groups(now_s: float) -> Select[Any]:
    kind = (
        state_of_host(now_s).label("state"),
        case((is_blind(now_s), 1), else_=0).label("blind"),
        HOST.c.version,
    )
    found = select(*kind).where(IS_SHOWN).subquery()
    return select(*found.c, func.count()).group_by(*found.c)


def _labels(connection: Connection) -> Iterator[tuple[str, int]]:
    """Yield labels as hosts tell them, and how many hosts tell these."""
    told = select(HOST.c.labels, func.count()).where(IS_SHOWN, HOST.c.labels.is_not(None))
    return ((labels, count) for labels, count in connection.execute(told.group_by(HOST.c.labels)))


def _over(connection: Connection, now_s: float, hosts: list[str]) -> dict[str, int]:
    """Return of each of these hosts how many of its episodes are over."""
    its_host = and_(HOST.c.host == EPISODE.c.host, HOST.c.trusted == TRUST_OF_EPISODE)
    counted = (
        select(EPISODE.c.host, func.count())
        .select_from(EPISODE.outerjoin(HOST, its_host))
        .where(EPISODE.c.end.is_(None), EPISODE.c.host.in_(hosts), state_of_episode(now_s) == OVER)
        .group_by(EPISODE.c.host)
    )
    return {host: count for host, count in connection.execute(of_open(counted))}  # noqa: C416


def _placed(row: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    return row["rank"], shown_host(row)


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
