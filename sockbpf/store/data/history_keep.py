# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Keeps samples of the history by the one thread that writes, whichever the database is; and deletes old ones."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from sockbpf.store.data import history_rows
from sockbpf.store.data.clickhouse_history import delete_older_history, insert_samples, keep_history_for
from sockbpf.store.data.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future

    from sockbpf.record.history import Samples, Series
    from sockbpf.store.data.writing import Writer

AT_ONCE = 250
"""So many series are written in one transaction, which alerts wait for."""


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
        write = insert_samples if self._is_clickhouse else history_rows.keep
        at_once = len(told) if self._is_clickhouse else AT_ONCE
        left = iter(told.items())
        while some := dict(islice(left, at_once)):
            yield self._writer.call(partial(write, told=some), Lane.BULK)

    def tend(self, now_s: float, is_ended: Callable[[], bool]) -> None:
        """Join rows, and delete what is too old; Unix time. Raise BusyError."""
        if self._is_clickhouse:
            self._writer.call(
                lambda connection: keep_history_for(connection, self.keep_s), Lane.BULK
            ).result()
            return
        self.forget(now_s - self.keep_s if self.keep_s else EVER_S, is_ended)
        while not is_ended() and self._writer.call(self._join(now_s), Lane.BULK).result():
            pass

    def _join(self, now_s: float) -> Callable[..., bool]:
        return lambda connection: history_rows.join_some(connection, now_s)

    def forget(self, before_s: float, is_ended: Callable[[], bool] = lambda: False) -> None:
        """Delete what is of before this, Unix time; of a row that has later samples too nothing. Raise BusyError."""
        if self._is_clickhouse:
            self._writer.call(lambda connection: delete_older_history(connection, before_s)).result()
            return
        while (
            not is_ended()
            and self._writer.call(
                lambda connection: history_rows.forget(connection, before_s), Lane.BULK
            ).result()
        ):
            pass
