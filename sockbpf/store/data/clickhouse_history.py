# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The history in ClickHouse: a row for each sample, and sums of whole hours that a view makes of what is inserted.

Rows of the same step are merged in the background, to the greatest of each value, as queries take them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, text
from sqlalchemy.exc import OperationalError

from sockbpf.record.history import STEP_S, Sample, Series
from sockbpf.store.data.clickhouse_tables import handed_on, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from sockbpf.record.history import Samples

HOUR_S = 3600
NAMES = (*Series._fields, "at", *Sample._fields)
TYPES = (*("LowCardinality(String)",) * len(Series._fields), "UInt32", "UInt64", "UInt32", "UInt32", "UInt64")
HOURS, OLDER = "history_sums", "history_hours"
"""The table of the sums, and the one of earlier stores. Within a host they are in the order of time, as they come:
parts that have other hours need not be merged to be read."""
HAS_OLDER = f"select 1 from system.tables where database = currentDatabase() and name = '{OLDER}'"
AGES = {"history_samples": "at", HOURS: "hour"}
"""The tables, and the column that has the time of a row, Unix time."""
MADE = "select create_table_query from system.tables where database = currentDatabase() and name = :name"
SERIES = listed(Series._fields)
GREATEST = "max(size), max(fill), max(sockets)"
DROPS = "sum(arraySum(mapValues(drops)))"


def history() -> Iterator[str]:
    """Yield what makes the tables that are missing."""
    names = listed(f"{name} LowCardinality(String)" for name in Series._fields)
    kinds = dict(zip(Sample._fields, TYPES[-len(Sample._fields) :], strict=True))
    values = listed(
        f"{name} SimpleAggregateFunction(max, {kind}) codec(Delta, ZSTD)" for name, kind in kinds.items()
    )
    yield (
        f"create table if not exists history_samples ({names}, at UInt32 codec(Delta, ZSTD), {values}) "
        "engine = AggregatingMergeTree "
        f"partition by toDate(toDateTime(at, 'UTC')) order by ({SERIES}, at)"
    )
    whole = listed(
        f"{name} SimpleAggregateFunction(max, {kind})" for name, kind in kinds.items() if name != "drops"
    )
    yield (
        f"create table if not exists {HOURS} ({names}, hour UInt32, {whole}, "
        "drops SimpleAggregateFunction(maxMap, Map(UInt32, UInt64))) "
        "engine = AggregatingMergeTree order by (host, hour, service, protocol, type)"
    )
    sums = listed(f"max(told.{name}) as {name}" for name in ("size", "fill", "sockets"))
    drops = "maxMap(mapFilter((_, count) -> count > 0, map(told.at, told.drops))) as drops"
    yield handed_on(
        f"{HOURS}_of",
        HOURS,
        f"{SERIES}, intDiv(told.at, {HOUR_S}) * {HOUR_S} as hour, {sums}, {drops} "
        f"from history_samples as told group by {SERIES}, hour",
    )


def hours_of_older() -> Iterator[str]:
    """Yield what takes over the sums of an earlier store."""
    names = listed((*Series._fields, "hour", *Sample._fields))
    yield f"insert into {HOURS} ({names}) select {names} from {OLDER}"
    yield f"drop view if exists {OLDER}_of"
    yield f"drop table if exists {OLDER}"


def insert_samples(connection: Connection, told: Mapping[Series, Samples]) -> None:
    """Write samples. Raise SQLAlchemyError."""
    from clickhouse_connect.driver.exceptions import Error

    client: Any = connection.connection.driver_connection.client  # type: ignore[union-attr]
    rows = [(*series, at_s, *sample) for series, samples in told.items() for at_s, sample in samples.items()]
    if not rows:
        return
    try:
        values = list(zip(*rows, strict=True))
        client.insert("history_samples", values, NAMES, column_type_names=TYPES, column_oriented=True)
    except Error as error:
        raise OperationalError("insert", None, error) from None


def samples_of(
    connection: Connection, chosen: Sequence[Series], begin_s: int, end_s: int, step_s: int = STEP_S
) -> dict[Series, Samples]:
    """Return what each of these series was in each step from one Unix time to another, without the latter.

    All are asked for at once: most of what a query of few rows takes is not for its rows.
    """
    found: dict[Series, Samples] = {series: {} for series in chosen}
    if not chosen:
        return found
    if step_s % HOUR_S:
        table, at, merged, sum_of_drops = "history_samples", "at", "max", "sum(drops)"
    else:
        table, at, merged, sum_of_drops = HOURS, "hour", "maxMap", DROPS
    each = listed(f"max({name}) as {name}" for name in ("size", "fill", "sockets"))
    which = f"({SERIES}) in :chosen and {at} >= :begin and {at} < :end"
    asked = text(
        f"select {SERIES}, intDiv({at}, {step_s:d}) * {step_s:d} as step, {GREATEST}, {sum_of_drops} "
        f"from (select {SERIES}, {at}, {each}, {merged}(drops) as drops from {table} where {which} "
        f"group by {SERIES}, {at}) group by {SERIES}, step order by step"
    )
    values = {"chosen": [tuple(series) for series in chosen], "begin": begin_s, "end": end_s}
    for row in connection.execute(asked.bindparams(bindparam("chosen", expanding=True)), values):
        found[Series(*row[:4])][row[4]] = Sample(*row[5:])
    return found


def sums_of(
    connection: Connection, names: Mapping[str, str], begin_s: int, end_s: int
) -> dict[Series, Sample]:
    """Return what each series of these names was between two whole hours, Unix time.

    What is asked for is of the key alone, so rows may be left out before they are merged.
    """
    which = f"hour >= :begin and hour < :end and {_where(names)}"
    asked = text(
        f"select {SERIES}, {GREATEST}, {DROPS} from {HOURS} final prewhere {which} group by {SERIES}"
    )
    rows = connection.execute(asked, {**names, "begin": begin_s, "end": end_s})
    return {Series(*row[:4]): Sample(*row[4:]) for row in rows}


def _where(names: Mapping[str, str]) -> str:
    return " and ".join(["1 = 1", *(f"{name} = :{name}" for name in names)])


def keep_history_for(connection: Connection, keep_s: float) -> None:
    """Have ClickHouse delete what is older than this, seconds; it does so when it merges."""
    for table, at in AGES.items():
        rule = f"toDateTime({at}, 'UTC') + toIntervalSecond({keep_s:.0f})"
        made = str(connection.execute(text(MADE), {"name": table}).scalar())
        if f"toIntervalSecond({keep_s:.0f})" not in made:
            connection.exec_driver_sql(f"alter table {table} modify ttl {rule}")


def delete_older_history(connection: Connection, before_s: float) -> None:
    """Delete samples of before this, Unix time, and the sums of hours that ended before."""
    connection.execute(text("delete from history_samples where at < :before"), {"before": before_s})
    connection.execute(text(f"delete from {HOURS} where hour <= :before"), {"before": before_s - HOUR_S})
