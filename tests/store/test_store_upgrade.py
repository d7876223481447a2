# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A database of an older edition: while it becomes one of this, the store says so, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests
from sqlalchemy import func, select

from sockbpf.settings.store import StoreSettings as Settings
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.migration import ONE_AT_A_TIME
from tests.live.waiting import until
from tests.store.altering import first_edition
from tests.store.conftest import StartStore
from tests.store.serving import Store, find, tell, told

KEPT = 53


@contextmanager
def held_up(database: str) -> Iterator[None]:
    """Keep every store from changing this database, as long as the block lasts; it has to last less than 5 s."""
    engine = open_engine(Settings(database=database).database, connections=1)
    with engine.begin() as connection:  # of SQLite's file nobody else can begin one
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
        yield
    engine.dispose()


def old(start: StartStore, database: str) -> None:
    """Make a database of the first edition, with some alerts."""
    store = start(database)
    for number in range(KEPT):
        assert tell(store, **told(number)).ok
    assert store.stop() == 0
    first_edition(database)


def answers(store: Store) -> bool:
    """Whether the store answers at all."""
    try:
        return bool(requests.get(f"{store.url}/metrics", timeout=30).ok)
    except requests.ConnectionError:
        return False


@pytest.mark.not_clickhouse
@pytest.mark.not_mysql
def test_the_reason_is_said_and_nothing_is_lost(start: StartStore, database: str) -> None:
    old(start, database)
    with held_up(database):
        store = start(database, healthy=False)
        until(lambda: answers(store), "the store answers")
        for refused in (
            tell(store, **told(KEPT)),
            requests.post(f"{store.url}/store.json", json=[{"a": 1}], timeout=30),
            *(requests.get(f"{store.url}/{path}", timeout=30) for path in ("healthz", "now", "stream")),
        ):
            assert refused.status_code == 503
            assert "brought to this store's edition" in refused.json()["detail"]
            assert int(refused.headers["Retry-After"]) > 0
        assert requests.get(store.url, timeout=30).ok
    store.wait_healthy()
    assert tell(store, **told(KEPT)).json() == {"new": True}
    assert len(find(store, limit=1000)) == KEPT + 1
    assert all(tell(store, **told(number)).json() == {"new": False} for number in range(KEPT + 1))


def test_it_can_be_ended_meanwhile(start: StartStore, database_of: Callable[[str], str]) -> None:
    old(start, database := database_of("sqlite"))
    with held_up(database):
        store = start(database, healthy=False)
        until(lambda: answers(store), "the store answers")
        begun_s = time.monotonic()
        assert store.stop() == 0
        assert time.monotonic() - begun_s < 5
    assert len(find(start(database), limit=1000)) == KEPT
