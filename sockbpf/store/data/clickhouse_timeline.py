# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A timeline from ClickHouse: it reads the alerts of the window itself, so nothing is counted beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from sockbpf.record.event import Direction
from sockbpf.store.data.tally import LONGEST_US
from sockbpf.store.data.timeline import SECOND_US, Sums, Timeline, Window

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sockbpf.store.data.timeline_find import Asked

SERVICE = (
    f"if(type = '{Direction.RATE.name}', coalesce(nullIf(name, ''), '?'), coalesce(nullIf(unit, ''), "
    "nullIf(container, ''), nullIf(comm, ''), "
    "concat(ifNull(protocol, 'None'), ' ', ifNull(toString(local_port), 'None'))))"
)
"""SQL of `tally.service_of`."""
EPISODES = """
    select host, id, trusted, min(start) as begun, max(at) as last, argMax(type, stamp) as type,
        argMax(name, stamp) as name, argMax(unit, stamp) as unit, argMax(container, stamp) as container,
        argMax(comm, stamp) as comm, argMax(protocol, stamp) as protocol, argMax(local_port, stamp) as local_port
    from (select *, (ifNull(seq, -1), at, `end` is not null) as stamp from entry_rows
        where is_report and at >= :from and start < :to {of})
    group by host, id, trusted order by host, id, trusted desc limit 1 by host, id
"""
"""What the alerts say of the episodes that were over in the window, or after it and before its end."""
SPANS = f"""
    select {SERVICE} as service, toInt64(round(last * 1e6)) as stop,
        greatest(least(toInt64(round(begun * 1e6)), stop), stop - :longest) as begin,
        greatest(0, intDiv(begin - :from_us, :width)) as first,
        greatest(first - 1, least(:count - 1, intDiv(stop - :from_us, :width))) as final
    from ({EPISODES}) where stop >= :from_us
"""
OPEN = f"""
    select service, sumMap([bucket], [us]) as open, sum(us) as whole, grouping(service) as is_total from (
        select service, arrayJoin(range(toUInt64(first), toUInt64(final + 1))) as bucket,
            toInt64(bucket) * :width + :from_us as left,
            least(stop, left + :width) - greatest(begin, left) as us
        from ({SPANS}) {{of_service}}
    ) group by rollup (service) order by is_total desc, whole desc, service limit :most
"""
"""How long, by bucket: in all, then the services, the longest first."""
ALERTS = """
    select {service} as service, assumeNotNull(type) as type, assumeNotNull(event) as event,
        toInt64(floor((at - :from) / :seconds)) as bucket, count() as number, max(ifNull(fill, 0)) as fill,
        max(if(threshold > 0, size / threshold, 0)) as ratio
    from entry_rows final where is_report and at >= :from and at < :to {of}
    group by service, type, event, bucket
"""


def find_timeline(connection: Connection, window: Window, asked: Asked) -> Timeline:
    """Return the timeline of a window."""
    total = Sums(window)
    if not window.count:
        return Timeline(total, {})
    values = {
        "from": window.begin_s, "to": window.end_s, "host": asked.host, "type": asked.type, "service": asked.service,
        "from_us": window.begin_s * SECOND_US, "width": window.width_s * SECOND_US, "seconds": window.width_s,
        "longest": LONGEST_US, "count": window.count, "most": asked.top + 1,
    }  # fmt: skip
    of = "".join(f" and {name} = :{name}" for name in ("host", "type") if values[name])
    of_service = f" and {SERVICE} = :service" if asked.service else ""
    spans = " where service = :service" if asked.service else ""
    services: dict[str, Sums] = {}
    for row in connection.execute(text(OPEN.format(of=of, of_service=spans)), values):
        sums = total if row.is_total else services.setdefault(row.service, Sums(window))
        for bucket, open_us in zip(*row.open, strict=True):
            sums.open_us[bucket] += open_us
    _add({"": total}, connection, ALERTS.format(service="''", of=of + of_service), values)
    if services:
        named = {f"service_{place}": name for place, name in enumerate(services)}
        of_them = f" and {SERVICE} in ({', '.join(f':{name}' for name in named)})"
        _add(services, connection, ALERTS.format(service=SERVICE, of=of + of_them), values | named)
    return Timeline(total, services)


def _add(sums_of: dict[str, Sums], connection: Connection, query: str, values: dict[str, Any]) -> None:
    """Add what is told of alerts, to the sums of each service."""
    for row in connection.execute(text(query), values):
        sums = sums_of[row.service]
        sums.told(row.bucket, row.type, row.event, row.number)
        sums.worst(row.bucket, row.fill, row.ratio)
