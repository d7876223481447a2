# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A timeline from ClickHouse: of the sums of hours where there are some, else of the alerts themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from sockbpf.record.alert import EVENTS
from sockbpf.store.data.clickhouse_ended import ENDED_EPISODE
from sockbpf.store.data.clickhouse_episodes import OPEN_EPISODE
from sockbpf.store.data.clickhouse_sums import (
    BEGIN_US,
    COUNTS,
    HOUR,
    LONG_S,
    MOST_HOURS,
    SERVICE,
    SUMMED,
    VALID,
    hours_without_sums,
)
from sockbpf.store.data.timeline import SECOND_US, Sums, Timeline, Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from sockbpf.store.data.timeline_find import Asked

FAR_S = 10**12
SPANS = f"""
    select {SERVICE} as service, toInt64(round(last * 1e6)) as stop, {BEGIN_US} as begin,
        greatest(0, intDiv(begin - :from_us, :width)) as first,
        greatest(first - 1, least(:count - 1, intDiv(stop - :from_us, :width))) as final
    from {{view}} where last >= :from and start < :to {{of}}
"""
"""The episodes that were over in the window, or after it and before its end."""
LASTED = """
    select service, arrayJoin(range(toUInt64(first), toUInt64(final + 1))) as bucket,
        toInt64(bucket) * :width + :from_us as left, least(stop, left + :width) - greatest(begin, left) as us
    from ({spans}) {of_service}
"""
SUMS = f"""
    from (select *, toInt64(intDiv(bucket - :from, :seconds)) as place from hour_sums
        where step = :step and bucket >= :from and bucket < :to
            and hour < :cut and made <= :asked and (hour, made) in ({VALID}) {{of}})
"""
OPEN = """
    select service, sumMap([bucket], [us]) as open, sum(us) as whole, grouping(service) as is_total from ({lasted})
    group by rollup (service) order by is_total desc, whole desc, service limit :most
"""
"""How long, by bucket: in all, then the services, the longest first."""
TOLD = ", ".join(f"sum({event}) as {event}" for event in EVENTS)
ALERTS = f"""
    select service, type, bucket, {TOLD}, max(fill) as fill, max(ratio) as ratio from ({{told}})
    group by service, type, bucket
"""
OF_ENTRIES = f"""
    select {{service}} as service, assumeNotNull(type) as type, toInt64(floor((at - :from) / :seconds)) as bucket,
        {COUNTS}, max(ifNull(fill, 0)) as fill, max(if(threshold > 0, size / threshold, 0)) as ratio
    from entry_rows final where is_report and at >= :from and at < :to {{of}} group by service, type, bucket
"""


def find_timeline(connection: Connection, window: Window, asked: Asked) -> Timeline:
    """Return the timeline of a window."""
    total = Sums(window)
    if not window.count:
        return Timeline(total, {})
    values = {
        "from": window.begin_s, "to": window.end_s, "host": asked.host, "type": asked.type, "service": asked.service,
        "from_us": window.begin_s * SECOND_US, "width": window.width_s * SECOND_US, "seconds": window.width_s,
        "step": window.step_s, "count": window.count, "most": asked.top + 1,
    }  # fmt: skip
    of = "".join(f" and {name} = :{name}" for name in ("host", "type") if values[name])
    query = _Query(connection, window, of, has_sums=window.step_s in SUMMED and not asked.host)
    values |= query.values
    services: dict[str, Sums] = {}
    for row in connection.execute(text(query.open(asked.service)), values):
        sums = total if row.is_total else services.setdefault(row.service, Sums(window))
        for bucket, open_us in zip(*row.open, strict=True):
            sums.open_us[bucket] += open_us
    of_service = f" and {SERVICE} = :service" if asked.service else ""
    _add(
        {"": total},
        connection,
        query.alerts("''", of_service, "service = :service" if asked.service else ""),
        values,
    )
    if services:
        named = {f"service_{place}": name for place, name in enumerate(services)}
        of_them = f"in ({', '.join(f':{name}' for name in named)})"
        alerts = query.alerts(SERVICE, f" and {SERVICE} {of_them}", f"service {of_them}")
        _add(services, connection, alerts, values | named)
    return Timeline(total, services)


class _Query:
    """What is asked: of the sums, and of the hours that have none that count."""

    def __init__(self, connection: Connection, window: Window, of: str, *, has_sums: bool) -> None:
        self._has_sums = has_sums
        self._of = of
        self._entries = ""
        self._ended = [""]
        """Conditions of the episodes that have ended: none is in two of them, and each goes by an index."""
        self.values: dict[str, float] = {}
        if has_sums:
            asked_s, hours = hours_without_sums(connection, window.begin_s)
            cut_s = hours[-1] if len(hours) == MOST_HOURS else None
            self.values = {"asked": asked_s, "cut": FAR_S if cut_s is None else cut_s}
            self._entries = f" and ({_within(hours, cut_s, 'at')})"
            self._ended = [
                f" and ({_within(hours, cut_s, 'last')}) and last - start <= {LONG_S}",
                f" and last - start > {LONG_S}",
            ]

    def open(self, service: str) -> str:
        """Return the query of how long queues were over, of this service or of all."""
        of_service = "where service = :service" if service else ""
        spans = " union all ".join(
            f"select * from ({SPANS.format(view=view, of=self._of + rest)})"
            for view, rest in (*((ENDED_EPISODE, ended) for ended in self._ended), (OPEN_EPISODE, ""))
        )
        lasted = "select service, bucket, us from (" + LASTED.format(spans=spans, of_service=of_service) + ")"
        if self._has_sums:
            its = " and service = :service" if service else ""
            lasted += (
                " union all select service, toUInt64(place) as bucket, open_us as us "
                f"{SUMS.format(of=f'{self._of}{its} and open_us > 0')}"
            )
        return OPEN.format(lasted=lasted)

    def alerts(self, service: str, of_service: str, of_service_in_sums: str) -> str:
        """Return the query of what was told, by this name of a service."""
        told = OF_ENTRIES.format(service=service, of=self._of + of_service + self._entries)
        if self._has_sums:
            name = service if service == "''" else "service"
            its = f" and {of_service_in_sums}" if of_service_in_sums else ""
            told += (
                f" union all select {name} as service, type, place as bucket, "
                f"{', '.join(EVENTS)}, fill, ratio {SUMS.format(of=self._of + its)}"
            )
        return ALERTS.format(told=told)


def _within(hours: Iterable[int], cut_s: int | None, name: str) -> str:
    """Return the condition that this column is in one of these hours, which are sorted, or not before `cut_s`."""
    begins: list[int] = []
    ends: list[int] = []
    for hour in hours:
        if ends and ends[-1] == hour:
            ends[-1] += HOUR
        else:
            begins.append(hour)
            ends.append(hour + HOUR)
    ranges = [f"{name} >= {begin} and {name} < {end}" for begin, end in zip(begins, ends, strict=True)]
    ranges += [] if cut_s is None else [f"{name} >= {cut_s}"]
    return " or ".join(ranges) or "false"


def _add(sums_of: dict[str, Sums], connection: Connection, query: str, values: dict[str, Any]) -> None:
    """Add what is told of alerts, to the sums of each service."""
    for row in connection.execute(text(query), values):
        sums = sums_of[row.service]
        for event in EVENTS:
            sums.told(row.bucket, row.type, event, getattr(row, event))
        sums.worst(row.bucket, row.fill, row.ratio)
