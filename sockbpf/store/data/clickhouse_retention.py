# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Has ClickHouse delete what is too old, which it does when it merges, and make what searches and timelines read."""

from __future__ import annotations

import time

from sockbpf.store.data.clickhouse_sums import make_sums
from sockbpf.store.data.clickhouse_upkeep import delete_older, forget_ended, keep_for
from sockbpf.store.data.retention import HEARTBEATS_S, Upkeep


class ClickHouseUpkeep(Upkeep):
    """What it is asked for is deleted by statements; what is deleted when it merges is not counted."""

    def delete_before(self, before_s: float, until_s: float) -> tuple[int, bool]:  # noqa: ARG002
        """Delete what has an own time before this, in one go, however long that takes."""
        self._history.forget(before_s)
        return self._writer.call(lambda connection: delete_older(connection, before_s)).result(), True

    def _delete(self) -> None:
        self._writer.call(lambda connection: keep_for(connection, self._keep_s, HEARTBEATS_S)).result()
        with self._database.reader() as connection:  # beside what is written: alerts need not wait
            forget_ended(connection, time.time(), self._keep_s)
            make_sums(connection)
