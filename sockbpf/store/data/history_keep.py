# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Keeps samples of the history by the one thread that writes, whichever the database is; and deletes old ones."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sockbpf.store.data import history_rows
from sockbpf.store.data.clickhouse_history import delete_older_history, insert_samples, keep_history_for
from sockbpf.store.data.history_tables import CELLS
from sockbpf.store.data.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future

    from sqlalchemy import Connection

    from sockbpf.record.history import Samples, Series
    from sockbpf.store.data.writing import Writer

AT_ONCE = 500
"""So many rows of the shortest cells are written in one transaction, which alerts wait for."""

EVER_S = 2.0**40
"""Later than any sample, Unix time."""


class HistoryKeeper:
    """Writes what comes, and does what is to be done each minute. `keep_s` 0: nothing is kept, what is there goes."""

    def __init__(self, writer: Writer, keep_s: float, *, is_clickhouse: bool) -> None:
        self._writer = writer
        self._is_clickhouse = is_clickhouse
        self.keep_s = keep_s

    def keep(self, told: Mapping[Series, Samples]) -> Iterator[Future[None]]:
        """Write samples, some at a time: each is begun when the next future is asked for. Raise BusyError."""
        if self._is_clickhouse:
            yield self._call(partial(insert_samples, told=told))
            return
        for some in in_turns(told):
            yield self._call(partial(history_rows.keep, told=some))

    def tend(self, now_s: float, is_ended: Callable[[], bool]) -> None:
        """Join rows, and delete what is too old; Unix time. Raise BusyError."""
        if self._is_clickhouse:
            self._call(lambda connection: keep_history_for(connection, self.keep_s)).result()
            return
        self.forget(now_s - self.keep_s if self.keep_s else EVER_S, is_ended)
        while (
            not is_ended()
            and self._call(lambda connection: history_rows.join_some(connection, now_s)).result()
        ):
            pass

    def forget(self, before_s: float, is_ended: Callable[[], bool] = lambda: False) -> None:
        """Delete what is of before this, Unix time; of a row that has later samples too nothing. Raise BusyError."""
        if self._is_clickhouse:
            self._writer.call(lambda connection: delete_older_history(connection, before_s)).result()
            return
        while (
            not is_ended()
            and self._call(lambda connection: history_rows.forget(connection, before_s)).result()
        ):
            pass

    def _call(self, what: Callable[[Connection], Any]) -> Future[Any]:
        """Have this done for the history, for which no entry is deleted. Raise BusyError."""
        return self._writer.call(what, Lane.BULK, crowds_out=False)


def in_turns(told: Mapping[Series, Samples]) -> Iterator[dict[Series, Samples]]:
    """Yield these samples, those of AT_ONCE cells at a time."""
    some: dict[Series, Samples] = {}
    cells = 0
    for series, samples in told.items():
        for _, within in groupby(sorted(samples.items()), lambda each: each[0] // CELLS[0]):
            if cells == AT_ONCE:
                yield some
                some, cells = {}, 0
            some.setdefault(series, {}).update(within)
            cells += 1
    if some:
        yield some
