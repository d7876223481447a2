# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""SQL for the hosts that are an incident: since when they are silent, or why their monitors do not see all.

The hosts are summed up: of a hundred thousand most are as they should be. What is named is then read as a whole, so
that no row is shown that was altered.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, case, cast, func, or_, select

from sockbpf.record.alert import STOPPED
from sockbpf.store.data.engine import is_clickhouse
from sockbpf.store.data.hosts_now import IS_SHOWN, POLL, RECENT_S, has_label, is_blind, shown_host
from sockbpf.store.data.schema import HOST
from sockbpf.store.data.silent import Silent
from sockbpf.store.data.states import BEAT_S, HEARD_OF, SILENT, STATES_OF_HOST, state_of_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from sockbpf.store.data.known_rows import KnownRows
    from sockbpf.store.data.silent import Group

    Row = dict[str, Any]

SECOND = cast(HOST.c.heard, BigInteger)
"""When the last word came, to the second: as such hosts are grouped by."""
NAMED = 20
"""So many hosts of a group are named."""
MOST_OF, NEARLY_ALL = 0.75, 0.9
"""Parts of the named hosts, and of all of a group, that have a label that is said of the group."""
_REASONS = (
    case((HOST.c.mode == POLL, 1), else_=0),
    func.coalesce(HOST.c.unseen, ""),
    case((HOST.c.lost_ago < RECENT_S, 1), else_=0),
    HOST.c.trusted,
)
"""Why a monitor does not see all; and whether that is to be trusted."""


@dataclass(frozen=True, slots=True)
class Blind:
    """The hosts whose monitors do not see all for the same reasons."""

    reasons: tuple[Any, ...]
    count: int
    names: tuple[str, ...]
    """All of them if they are one or two, else two."""

    @property
    def trusted(self) -> bool:
        return bool(self.reasons[-1])


@dataclass(frozen=True, slots=True)
class Kinds:
    """How many hosts are in each state, and those that are an incident."""

    states: dict[str, int]
    all_heard_since_s: float | None
    """When that host was last heard of that is heard of, but longest ago."""
    silent: list[Silent]
    blind: list[Blind]


@dataclass(frozen=True, slots=True)
class _Group:
    """Hosts in one state, that are an incident for the same reason, or none."""

    state: str
    second: int | None
    """Of silent ones, see SECOND."""
    reasons: tuple[Any, ...] | None
    """Of blind ones."""
    trusted: bool
    count: int
    beat_s: float
    longest_ago_s: float
    """When that one was last heard of that was heard of longest ago."""
    names: tuple[str, ...]


def find_kinds(connection: Connection, now_s: float, host: str = "") -> Kinds:
    """Return all hosts by kind at this time; with `host` only the states are of all."""
    if is_clickhouse(connection):  # any condition makes it look at all hosts: one look tells everything
        groups = _groups(connection, now_s)
        states = _states_of(groups)
        heard_of = (group.longest_ago_s for group in groups if group.state == HEARD_OF)
        all_heard_since_s = min(heard_of, default=None)
    else:
        groups = _groups(connection, now_s, or_(is_blind(now_s), state_of_host(now_s) == SILENT))
        is_stopped = func.sum(case((HOST.c.event == STOPPED, 1), else_=0))
        in_all, stopped = connection.execute(select(func.count(), is_stopped).where(IS_SHOWN)).one()
        states = {SILENT: _states_of(groups)[SILENT], STOPPED: int(stopped or 0)}
        states[HEARD_OF] = max(0, in_all - sum(states.values()))
        is_heard_of = state_of_host(now_s) == HEARD_OF
        longest_ago = select(HOST.c.heard).where(IS_SHOWN, is_heard_of).order_by(HOST.c.heard).limit(1)
        all_heard_since_s = connection.execute(longest_ago).scalar()
    if host:
        groups = _groups(connection, now_s, HOST.c.host == host)
    silent = [
        Silent(group.second, group.beat_s, group.count, group.names, group.trusted)
        for group in groups
        if group.second is not None
    ]
    blind = [Blind(group.reasons, group.count, group.names) for group in groups if group.reasons]
    return Kinds(states, all_heard_since_s, silent, blind)


def _states_of(groups: Iterable[_Group]) -> dict[str, int]:
    states = dict.fromkeys(STATES_OF_HOST, 0)
    for group in groups:
        states[group.state] += group.count
    return states


def _groups(connection: Connection, now_s: float, *which: ColumnElement[bool]) -> list[_Group]:
    """Return the hosts of which this is true."""
    state, blind = state_of_host(now_s), is_blind(now_s)
    columns = [
        state.label("state"),
        case((state == SILENT, SECOND)).label("second"),
        case((blind, 1), else_=0).label("blind"),
        *(case((blind, each)).label(f"reason{place}") for place, each in enumerate(_REASONS[:-1])),
        HOST.c.trusted,
    ]
    also = HOST.c.host, HOST.c.heard, BEAT_S.label("beat")
    found = select(*columns, *also).where(IS_SHOWN, *which).subquery()
    by = [found.c[column.name] for column in columns]
    sums = (
        func.count().label("count"),
        func.max(found.c.beat).label("beat_s"),
        func.min(found.c.heard).label("longest_ago_s"),
        func.min(found.c.host).label("one"),
        func.max(found.c.host).label("other"),
    )
    rows = connection.execute(select(*by, *sums).group_by(*by)).mappings().all()
    reasons = [column.name for column in columns[-len(_REASONS) :]]
    return [
        _Group(
            row["state"],
            row["second"],
            tuple(row[name] for name in reasons) if row["blind"] else None,
            bool(row["trusted"]),
            row["count"],
            row["beat_s"],
            row["longest_ago_s"],
            tuple(sorted({row["one"], row["other"]})),
        )
        for row in rows
    ]


def named(connection: Connection, known: KnownRows, now_s: float, names: Sequence[str]) -> list[Row]:
    """Return these hosts, as `shown_host` shows them; raise AlteredError."""
    which = HOST.c.host.in_(names)
    return known.find(connection, _hosts(now_s).where(which), HOST, shown_host, "named hosts")


def of_group(connection: Connection, known: KnownRows, now_s: float, group: Group) -> list[Row]:
    """Return some hosts that fell silent together, those that did so last first; raise AlteredError."""
    return _some(connection, known, now_s, _are_of(now_s, group), HOST.c.heard.desc(), HOST.c.host)


def of_reasons(connection: Connection, known: KnownRows, now_s: float, blind: Blind) -> list[Row]:
    """Return some hosts whose monitors do not see all for these reasons; raise AlteredError."""
    same = (each == value for each, value in zip(_REASONS, blind.reasons, strict=True))
    return _some(connection, known, now_s, (is_blind(now_s), *same), HOST.c.host)


def _some(
    connection: Connection,
    known: KnownRows,
    now_s: float,
    which: tuple[ColumnElement[bool], ...],
    *order: ColumnElement[Any],
) -> list[Row]:
    """Return the first hosts of which this is true.

    Their names are found first: of each host that it looks at ClickHouse makes all columns that are asked for.
    """
    names = select(HOST.c.host).where(IS_SHOWN, *which).order_by(*order).limit(NAMED)
    is_named = HOST.c.host.in_(connection.execute(names).scalars().all())
    return known.find(
        connection, _hosts(now_s).where(is_named, *which).order_by(*order), HOST, shown_host, ""
    )


def labels_of_group(
    connection: Connection, now_s: float, group: Group, some: Sequence[Row]
) -> list[tuple[str, str]]:
    """Return the labels that nearly all hosts of a group have, `some` being some of them, by name."""
    told = Counter(label for host in some for label in host["labels"].items())
    likely = sorted(label for label, count in told.items() if count >= MOST_OF * len(some))
    if not likely:
        return []
    having = (func.sum(case((has_label(*label), 1), else_=0)) for label in likely)
    counts = connection.execute(
        select(*having).select_from(HOST).where(IS_SHOWN, *_are_of(now_s, group))
    ).one()
    return [
        label for label, count in zip(likely, counts, strict=True) if (count or 0) >= NEARLY_ALL * group.count
    ]


def _hosts(now_s: float) -> Select[Any]:
    return select(HOST, state_of_host(now_s).label("state")).where(IS_SHOWN)


def _are_of(now_s: float, group: Group) -> tuple[ColumnElement[bool], ...]:
    first, last = group.parts[0].second, group.parts[-1].second
    around = HOST.c.heard.between(first - 1.0, last + 1.0)  # for the index: databases round in their own ways
    is_trusted = HOST.c.trusted == int(group.trusted)
    return around, SECOND.between(first, last), is_trusted, state_of_host(now_s) == SILENT
