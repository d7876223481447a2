# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sums for the timeline in ClickHouse, made of the alerts of an hour once nothing comes any more that is of it.

They are made by upkeep, each hour's as a whole, and count as long as nothing has come since that is of that hour.
What has no such sums is read from the alerts themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from sockbpf.record.alert import EVENTS
from sockbpf.record.event import Direction
from sockbpf.store.data.clickhouse_tables import INCOMING, handed_on, listed
from sockbpf.store.data.tally import LONGEST_US
from sockbpf.store.data.timeline_tables import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

HOUR = 3600
SUMMED = STEPS[1:]
"""Of the shortest step sums would be as many as the alerts of a small fleet."""
QUIET_S = 120.0
"""An hour's sums are made when for so long nothing has come that is of it."""
MARGIN_S = 10.0
"""So much before sums are made everything is there that has come: clocks of several servers differ, inserts last."""
HOURS_AT_ONCE = 48
"""Of which sums are made in one go; those before and after the present hour first: a posted time may be anything."""
MOST_HOURS = 200
"""So many hours without sums are read one by one."""
LONG_S = 21_600
"""Of an episode that lasted longer there are no sums: it would be in many, and there are few such."""
NOW = "toFloat64(now64(6))"

SERVICE = (
    f"if(type = '{Direction.RATE.name}', coalesce(nullIf(name, ''), '?'), coalesce(nullIf(unit, ''), "
    "nullIf(container, ''), nullIf(comm, ''), "
    "concat(ifNull(protocol, 'None'), ' ', ifNull(toString(local_port), 'None'))))"
)
"""SQL of `tally.service_of`."""
BEGIN_US = f"greatest(least(toInt64(round(start * 1e6)), stop), stop - {LONGEST_US})"
"""When the time of an episode begins that counts, `stop` being its end: as `tally.span_us` has it."""
MADE = "(select hour, max(made) as made from hours_made group by hour) as m"
TOLD = "(select hour, max(came) as came from hours_told group by hour) as t"
COUNTS_STILL = f"made > came + {MARGIN_S}"
VALID = f"select hour, made from {MADE} inner join {TOLD} using (hour) where {COUNTS_STILL}"
"""The hours whose sums count, and when these were made."""
STALE = f"""
    select hour from {TOLD} left join {MADE} using (hour)
    where came < {NOW} - :quiet and not coalesce({COUNTS_STILL}, false)
    order by abs(hour - {NOW}) limit {HOURS_AT_ONCE}
"""
COUNTS = listed(f"toInt64(countIf(event = '{event}')) as {event}" for event in EVENTS)
OF_ALERTS = f"""
    insert into hour_sums (hour, made, step, bucket, service, type, {listed(EVENTS)}, fill, ratio)
    select :hour, :made, step, bucket, {SERVICE} as service, assumeNotNull(type), {COUNTS},
        max(ifNull(fill, 0)), max(if(threshold > 0, size / threshold, 0))
    from (select *, arrayJoin({list(SUMMED)}) as step, intDiv(toInt64(floor(at)), step) * step as bucket
        from entry_rows final where is_report and at >= :hour and at < :end)
    group by step, bucket, service, type
"""
OF_EPISODES = f"""
    insert into hour_sums (hour, made, step, bucket, service, type, open_us)
    select :hour, :made, step, bucket, service, type,
        sum(least(stop, (bucket + step) * 1000000) - greatest(begin, bucket * 1000000))
    from (select {SERVICE} as service, assumeNotNull(type) as type, toInt64(round(last * 1e6)) as stop,
            {BEGIN_US} as begin, arrayJoin({list(SUMMED)}) as step, step * 1000000 as step_us,
            arrayJoin(range(toUInt64(intDiv(begin, step_us)), toUInt64(intDiv(stop, step_us) + 1))) as number,
            toInt64(number) * step as bucket
        from ended_episode where last >= :hour and last < :end and last - start <= {LONG_S})
    group by step, bucket, service, type
"""


def hour_sums() -> Iterator[str]:
    """Yield what makes the tables of the sums, and of the hours."""
    sums = listed(f"{name} Int64 codec(ZSTD)" for name in (*EVENTS, "fill", "open_us"))
    yield (
        "create table if not exists hour_sums (hour Int64, made Float64, step Int32, bucket Int64, "
        f"service LowCardinality(String), type LowCardinality(String), {sums}, ratio Float64 codec(ZSTD)) "
        "engine = MergeTree order by (step, bucket, service, type)"
    )
    yield (
        "create table if not exists hours_told (hour Int64, came SimpleAggregateFunction(max, Float64)) "
        "engine = AggregatingMergeTree order by hour"
    )
    yield (
        "create table if not exists hours_made (hour Int64, made SimpleAggregateFunction(max, Float64)) "
        "engine = AggregatingMergeTree order by hour"
    )
    yield handed_on("hours_told_of", "hours_told", _hours("at", f"{INCOMING} where is_report"))
    yield handed_on("hours_told_at_end", "hours_told", _hours("last", "episode_rows"))


def _hours(at: str, source: str) -> str:
    return f"intDiv(toInt64(floor({at})), {HOUR}) * {HOUR} as hour, {NOW} as came from {source} group by hour"


HOURS_OF_ENDED = f"insert into hours_told select {_hours('last', 'episode_rows where {which}')}"
HOURS_OF_ENTRIES = f"insert into hours_told select {_hours('at', 'entry_rows where is_report')}"


def make_sums(connection: Connection, quiet_s: float = QUIET_S) -> int:
    """Make the sums of some hours that have none that count; return of how many hours.

    Raise SQLAlchemyError, once it has been tried for each of these hours.
    """
    hours = connection.execute(text(STALE), {"quiet": quiet_s}).scalars().all()
    fault: SQLAlchemyError | None = None
    for hour in hours:
        try:
            _make_sums_of(connection, hour)
        except SQLAlchemyError as error:
            fault = error
    if fault:
        raise fault
    return len(hours)


def _make_sums_of(connection: Connection, hour: int) -> None:
    made = connection.execute(text(f"select {NOW}")).scalar()
    values: dict[str, Any] = {"hour": hour, "end": hour + HOUR, "made": made}
    connection.execute(text(OF_ALERTS), values)
    connection.execute(text(OF_EPISODES), values)
    connection.execute(text("insert into hours_made select :hour, :made"), values)
    earlier = "hour = :hour and made < :made"
    if connection.execute(text(f"select 1 from hour_sums where {earlier} limit 1"), values).first():
        connection.execute(text(f"delete from hour_sums where {earlier}"), values)


def hours_without_sums(connection: Connection, begin_s: int) -> tuple[float, list[int]]:
    """Return the time by the server, and the hours from this Unix time on that were told of and have no sums.

    These are the first MOST_HOURS: after the last of them no sums are to be read either.
    """
    asked_s = float(connection.execute(text(f"select {NOW}")).scalar_one())
    told = (
        "select distinct hour from hours_told where hour >= :hour and hour not in "
        f"(select hour from ({VALID})) order by hour limit {MOST_HOURS}"
    )
    return asked_s, list(connection.execute(text(told), {"hour": begin_s // HOUR * HOUR}).scalars())
