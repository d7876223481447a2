# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A store reads what is over before it is asked: the first answer after a start takes no longer than the next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, text

from sockbpf.store.data.database import Database
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.now import find_now
from sockbpf.store.data.probe import probe
from sockbpf.store.data.rows import write
from sockbpf.store.web.crowd import Crowd
from sockbpf.store.web.running_store import RunningStore
from tests.store.serving import told

WHOLE = "episode.reason"
"""A column that is read of episodes that are not known yet."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningStore]:
    database = Database(f"sqlite:///{tmp_path}/alerts.sqlite", tmp_path / "alerts.sqlite")
    database.prepare(probe)
    with database.writing.begin() as connection:
        write(connection, [alert_entry(told(number)) for number in range(7)])
    with closing(Crowd(1000)) as crowd:
        yield RunningStore(database, crowd, keep_s=0, history_s=0)
    database.writing.dispose()
    database.reading.dispose()


def asked(store: RunningStore) -> list[str]:
    """Return the statements of one `GET /now`."""
    statements: list[str] = []
    event.listen(store.database.reading, "before_cursor_execute", lambda *of: statements.append(of[2]))
    with store.database.reader() as connection:
        assert sum(find_now(connection, store.known, time.time(), 9)["episodes"].values()) == 7
    return statements


def test_what_is_over_is_read_before_anybody_asks(store: RunningStore) -> None:
    store.warm()
    assert not any(WHOLE in statement for statement in asked(store))


def test_without_it_the_first_who_asks_has_it_read(store: RunningStore) -> None:
    assert any(WHOLE in statement for statement in asked(store))


def test_a_database_of_no_use_is_told_to_who_asks(
    store: RunningStore, caplog: pytest.LogCaptureFixture
) -> None:
    with store.database.writing.begin() as connection:
        connection.execute(text("drop table host"))
    caplog.set_level("INFO")
    store.warm()
    assert "was not read beforehand: OperationalError" in caplog.text
