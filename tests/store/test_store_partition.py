# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Half of a simulated fleet cannot reach the store for ten minutes: all that it told meanwhile is there soon after.

Hosts are coroutines with a monitor's own queues; their time is compressed, the store and its database are real.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select

from bench.simulated.measure import MEMORY_MIB
from bench.simulated.outcome import outcome
from bench.simulated.protocols import BATCHES
from bench.simulated.receivers import store_on
from bench.simulated.scenes import AWAY_S, BACK_S, PARTITION
from sockbpf.record.alert import HEARTBEAT
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.schema import ENTRY

HOSTS, FACTOR = 200, 160.0


def test_all_arrives_in_order_once_a_partition_ends(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/store/alerts.sqlite"
    with store_on("SQLite", database, tmp_path / "store") as receiver:
        of = outcome(replace(PARTITION, factor=FACTOR), HOSTS, BATCHES, receiver)
    late_s = of.tally.caught_up_s(of.clock.ends_s - BACK_S)
    print(f"{len(of.tally.told)} alerts, the last {late_s:.0f} s after, {of.memory_mib:.0f} MiB")
    assert of.tally.retried > HOSTS
    assert max(of.tally.lags_s) > AWAY_S / 2
    assert of.is_right, of
    assert late_s <= AWAY_S
    assert of.memory_mib < MEMORY_MIB
    assert_in_order(database)


def assert_in_order(database: str) -> None:
    """Fail unless the alerts of each episode were written in the order of their numbers."""
    engine = open_engine(database, connections=1)
    asked = select(ENTRY.c.body).where(ENTRY.c.event != HEARTBEAT).order_by(ENTRY.c.n)
    with engine.connect() as connection:
        bodies = [json.loads(body) for (body,) in connection.execute(asked)]
    engine.dispose()
    last: dict[tuple[str, str], int] = {}
    for body in bodies:
        episode = body["host"], body["id"]
        assert body["seq"] > last.get(episode, 0), body
        last[episode] = body["seq"]
