# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Writes samples into the rows of the history, joins rows to longer ones, and deletes those that are too old.

Each function is called within a transaction of the one thread that writes.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, or_, select

from sockbpf.record.history import Series, same_step
from sockbpf.store.data.digest import digest_of
from sockbpf.store.data.history_cells import CellError, hours, packed, unpacked, whole
from sockbpf.store.data.history_tables import CELLS, HISTORY
from sockbpf.store.data.turn import take_turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import ColumnElement, Connection

    from sockbpf.record.history import Samples

LATE_S = 600
"""So long after its end a cell takes no more, unless something comes late."""
SLICE = 1500
"""So many rows are joined, or deleted, in one transaction."""


class Cell(NamedTuple):
    """The key of a row: whose samples it has, and of which time."""

    series: Series
    cell: int
    begin: int


KEY = [HISTORY.c[name] for name in (*Series._fields, "cell", "begin")]
CHECKED = tuple(column.name for column in HISTORY.c if column.name != "samples")
"""What the digest is of: zlib's form has a check of its own, and sums are read without the samples."""
IS_KEY = and_(*(column == bindparam(f"of_{column.name}") for column in KEY))


def keep(connection: Connection, told: Mapping[Series, Samples]) -> None:
    """Write these samples; those that are there already change nothing."""
    take_turn(connection)
    known = _known(connection, told)
    wanted: dict[Cell, Samples] = defaultdict(dict)
    for series, samples in told.items():
        for at_s, sample in samples.items():
            cells = [Cell(series, length, at_s // length * length) for length in reversed(CELLS)]
            wanted[next((each for each in cells if each in known), cells[-1])][at_s] = sample
    _put(connection, known, wanted)


def join_some(connection: Connection, now_s: float) -> bool:
    """Join rows of cells that ended a while before now, Unix time; return whether there may be more of them."""
    take_turn(connection)
    for short, long in pairwise(CELLS):
        closed_s = (now_s - LATE_S) // long * long
        is_closed = and_(HISTORY.c.cell == short, HISTORY.c.begin < closed_s)
        oldest = connection.execute(
            select(HISTORY.c.host, HISTORY.c.begin).where(is_closed).order_by(HISTORY.c.begin).limit(1)
        ).first()
        if oldest:
            _join(connection, oldest.host, short, long, oldest.begin // long * long)
            return True
    return False


def _join(connection: Connection, host: str, short: int, long: int, begin: int) -> None:
    """Join rows of a host to those of the long cell that begins then: all of them, or those of the first series."""
    within = and_(
        HISTORY.c.host == host,
        HISTORY.c.cell == short,
        HISTORY.c.begin >= begin,
        HISTORY.c.begin < begin + long,
    )
    by_series = [HISTORY.c[name] for name in Series._fields[1:]]
    chosen = select(HISTORY).where(within).order_by(*by_series).limit(SLICE)
    rows = connection.execute(chosen).mappings().all()
    wanted: dict[Cell, Samples] = defaultdict(dict)
    for row in rows:
        cell = Cell(_series_of(row), long, begin)
        _join_samples(wanted[cell], samples_of(row) or {})
    is_long = (HISTORY.c.host == host, HISTORY.c.cell == long, HISTORY.c.begin == begin)
    services = {cell.series.service for cell in wanted}
    known = _read(connection, and_(*is_long, HISTORY.c.service.in_(services)))
    _put(connection, known, wanted)
    _delete(connection, map(_cell_of, rows))


def forget(connection: Connection, before_s: float) -> int:
    """Delete some rows of cells that ended before this, Unix time; return how many, 0 if there is none."""
    take_turn(connection)
    deleted = 0
    for cell in CELLS:
        is_old = and_(HISTORY.c.cell == cell, HISTORY.c.begin <= before_s - cell)
        deleted += _forget(connection, is_old)
    return deleted


def forget_oldest(connection: Connection) -> int:
    """Delete some of the oldest rows, to make room; return how many, 0 if there is none."""
    return next(
        (gone for cell in reversed(CELLS) if (gone := _forget(connection, HISTORY.c.cell == cell))), 0
    )


def _forget(connection: Connection, which: ColumnElement[bool]) -> int:
    rows = (
        connection.execute(select(*KEY).where(which).order_by(HISTORY.c.begin).limit(SLICE)).mappings().all()
    )
    _delete(connection, map(_cell_of, rows))
    return len(rows)


def is_sound(row: Mapping[Any, Any]) -> bool:
    """Whether a row, but for its samples, is as it was written."""
    return bool(row["digest"] == digest_of(row, CHECKED))


def samples_of(row: Mapping[Any, Any]) -> Samples | None:
    """Return the samples of a row; None if it is not as it was written."""
    try:
        return unpacked(row["samples"], row["begin"]) if is_sound(row) else None
    except CellError:
        return None


def _known(connection: Connection, told: Mapping[Series, Samples]) -> dict[Cell, Samples]:
    """Return the rows in whose time these samples are."""
    times: dict[str, set[int]] = defaultdict(set)
    for series, samples in told.items():
        times[series.host] |= {at_s // CELLS[0] * CELLS[0] for at_s in samples}
    found: dict[Cell, Samples] = {}
    for host, begins in times.items():
        cells = [
            and_(HISTORY.c.cell == cell, HISTORY.c.begin.in_({begin // cell * cell for begin in begins}))
            for cell in CELLS
        ]
        services = {series.service for series in told if series.host == host}
        found |= _read(connection, and_(HISTORY.c.host == host, or_(*cells), HISTORY.c.service.in_(services)))
    return found


def _read(connection: Connection, which: ColumnElement[bool]) -> dict[Cell, Samples]:
    """Return rows by their keys; of one that was altered there is nothing that could be kept."""
    rows = connection.execute(select(HISTORY).where(which)).mappings()
    return {_cell_of(row): samples_of(row) or {} for row in rows}


def _put(connection: Connection, known: Mapping[Cell, Samples], wanted: Mapping[Cell, Samples]) -> None:
    """Add samples to rows, those that are known or new ones."""
    changed: dict[Cell, Samples] = {}
    for cell, more in wanted.items():
        samples = dict(known.get(cell, {}))
        _join_samples(samples, more)
        if samples != known.get(cell):
            changed[cell] = samples
    _delete(connection, [cell for cell in changed if cell in known])
    if rows := [row_of(cell, samples) for cell, samples in changed.items() if samples]:
        connection.execute(insert(HISTORY), rows)


def _join_samples(samples: Samples, more: Samples) -> None:
    for at_s, sample in more.items():
        samples[at_s] = same_step(samples[at_s], sample) if at_s in samples else sample


def _delete(connection: Connection, cells: Iterable[Cell]) -> None:
    names = [f"of_{column.name}" for column in KEY]
    if keys := [dict(zip(names, (*cell.series, cell.cell, cell.begin), strict=True)) for cell in cells]:
        connection.execute(delete(HISTORY).where(IS_KEY), keys)


def row_of(cell: Cell, samples: Samples) -> dict[str, Any]:
    """Return the row of a cell, of at least one sample."""
    row = cell.series._asdict() | {"cell": cell.cell, "begin": cell.begin} | whole(samples.values())._asdict()
    row |= {"hours": hours(samples), "samples": packed(samples, cell.begin)}
    return row | {"digest": digest_of(row, CHECKED)}


def _series_of(row: Mapping[Any, Any]) -> Series:
    return Series(*(row[name] for name in Series._fields))


def _cell_of(row: Mapping[Any, Any]) -> Cell:
    return Cell(_series_of(row), row["cell"], row["begin"])
