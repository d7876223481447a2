# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Finds what is asked of the history: all series as a whole, the worst of them in steps, and the samples of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, and_, cast, false, func, or_, select, true

from sockbpf.record.history import Sample, Series, longer
from sockbpf.store.data import clickhouse_history
from sockbpf.store.data.engine import is_clickhouse, is_mysql
from sockbpf.store.data.history import HOUR_S, answer_of, in_steps, worst_first
from sockbpf.store.data.history_cells import CellError, of_hours
from sockbpf.store.data.history_rows import CHECKED, KEY, is_sound, samples_of
from sockbpf.store.data.history_tables import CELLS, HISTORY
from sockbpf.store.data.search import AlteredError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import ColumnElement, Connection

    from sockbpf.record.history import Samples
    from sockbpf.store.data.history import Asked, Window

SERIES = [HISTORY.c[name] for name in Series._fields]
BY_INDEX = "force index (history_of)"
"""MariaDB would rather read all rows of the host, with their samples."""
AS_BYTES = [cast(column, LargeBinary) for column in SERIES]
"""For MariaDB, which takes more than twice as long to group by texts."""
WHOLE = [*(func.max(HISTORY.c[name]) for name in Sample._fields[:3]), func.sum(HISTORY.c.drops)]


def find_history(connection: Connection, asked: Asked) -> dict[str, Any]:
    """Return the answer, as JSON has it. Raise AlteredError."""
    begin_s, end_s = asked.window.hours
    sums = clickhouse_history.sums_of if is_clickhouse(connection) else _sums_of
    services = worst_first(sums(connection, asked.names, begin_s, end_s).items())
    worst = [series for series, _ in services[: asked.top]]
    return answer_of(asked, services, steps_of(connection, worst, asked.window).items())


def steps_of(
    connection: Connection, chosen: list[Series], window: Window
) -> dict[Series, list[Sample | None]]:
    """Return what each of these was in each step, None where all its queues were empty or nobody looked."""
    if is_clickhouse(connection):
        begin_s, end_s = window.begin_s, window.end_s
        found = clickhouse_history.samples_of(connection, chosen, begin_s, end_s, window.step_s)
    else:
        found = {series: _samples_for(connection, series, window) for series in chosen}
    return {series: in_steps(samples, window) for series, samples in found.items()}


def _samples_for(connection: Connection, series: Series, window: Window) -> Samples:
    """Return what a series was in the time of a window, by hours if its steps are hours."""
    if window.step_s % HOUR_S:
        return samples_between(connection, series, window.begin_s, window.end_s)
    found: Samples = {}
    for row in _rows(connection, and_(_is(series._asdict()), _touches(window.begin_s, window.end_s))):
        for hour_s, sample in _hours_of(row).items():
            found[hour_s] = longer(found[hour_s], sample) if hour_s in found else sample
    return found


def samples_between(connection: Connection, series: Series, begin_s: int, end_s: int) -> Samples:
    """Return all samples of a series from one Unix time to another, without the latter. Raise AlteredError."""
    if is_clickhouse(connection):
        return clickhouse_history.samples_of(connection, [series], begin_s, end_s)[series]
    found: Samples = {}
    which = and_(_is(series._asdict()), _touches(begin_s, end_s))
    for row in connection.execute(select(HISTORY).where(which)).mappings():
        samples = samples_of(row)
        if samples is None:
            raise _altered(row)
        found |= samples
    return {at_s: sample for at_s, sample in sorted(found.items()) if begin_s <= at_s < end_s}


def _sums_of(
    connection: Connection, names: Mapping[str, str], begin_s: int, end_s: int
) -> dict[Series, Sample]:
    """Return what each series was between two whole hours."""
    inside = [
        and_(HISTORY.c.cell == cell, HISTORY.c.begin >= begin_s, HISTORY.c.begin <= end_s - cell)
        for cell in CELLS
    ]
    series = AS_BYTES if is_mysql(connection) else SERIES
    chosen = select(*SERIES, *WHOLE).where(_is(names), or_(*inside)).group_by(*series)
    if names.keys() == {"host"}:
        chosen = chosen.with_hint(HISTORY, BY_INDEX, "mysql")
    found = {Series(*row[:4]): Sample(*map(int, row[4:])) for row in connection.execute(chosen)}
    for row in _rows(connection, and_(_is(names), _crosses(begin_s))):
        _add(found, row, begin_s, end_s)
    for row in _rows(connection, and_(_is(names), _crosses(end_s), HISTORY.c.begin >= begin_s)):
        _add(found, row, begin_s, end_s)
    return found


def _add(found: dict[Series, Sample], row: Mapping[Any, Any], begin_s: int, end_s: int) -> None:
    series = Series(*(row[name] for name in Series._fields))
    for hour_s, sample in _hours_of(row).items():
        if begin_s <= hour_s < end_s:
            found[series] = longer(found[series], sample) if series in found else sample


def _hours_of(row: Mapping[Any, Any]) -> Samples:
    if not is_sound(row):
        raise _altered(row)
    try:
        return of_hours(row["hours"])
    except CellError:
        raise _altered(row) from None


def _rows(connection: Connection, which: ColumnElement[bool]) -> Iterator[Mapping[Any, Any]]:
    """Yield rows without their samples."""
    yield from connection.execute(select(*(HISTORY.c[name] for name in CHECKED)).where(which)).mappings()


def _is(names: Mapping[str, str]) -> ColumnElement[bool]:
    return and_(true(), *(HISTORY.c[name] == value for name, value in names.items()))


def _touches(begin_s: int, end_s: int) -> ColumnElement[bool]:
    """Return the condition of cells that have a part of this time."""
    of_each = [
        and_(HISTORY.c.cell == cell, HISTORY.c.begin > begin_s - cell, HISTORY.c.begin < end_s)
        for cell in CELLS
    ]
    return or_(*of_each)


def _crosses(at_s: int) -> ColumnElement[bool]:
    """Return the condition of cells in the middle of which this time is."""
    begins = [(cell, at_s // cell * cell) for cell in CELLS if at_s % cell]
    return or_(false(), *(and_(HISTORY.c.cell == cell, HISTORY.c.begin == begin) for cell, begin in begins))


def _altered(row: Mapping[Any, Any]) -> AlteredError:
    return AlteredError(HISTORY, and_(*(column == row[column.name] for column in KEY)), 1)
