# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The history beside the entries: little at a time, and in a file that is full it makes room and takes none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from sockbpf.record.history import Sample, Samples, Series
from sockbpf.store.data import history_keep
from sockbpf.store.data.database import Database
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.history_keep import HistoryKeeper, in_turns
from sockbpf.store.data.history_tables import CELLS, HISTORY
from sockbpf.store.data.lanes import Lane
from sockbpf.store.data.probe import probe
from sockbpf.store.data.room import is_at_its_most
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import ENTRY
from sockbpf.store.data.writing import BusyError, Writer
from tests.store.serving import told

BEGIN_S = 1_795_305_600
ONE = Sample(1, 1, 1, 1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/alerts.sqlite", tmp_path / "alerts.sqlite", most_bytes=2**20)
    made.prepare(probe)
    yield made
    made.writing.dispose()
    made.reading.dispose()


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    made = Writer(database)
    made.start()
    yield made
    made.close()


@pytest.fixture
def count(database: Database) -> Callable[[], tuple[int, int]]:
    """Return how many entries there are, and how many rows of the history."""

    def counted() -> tuple[int, int]:
        with database.reader() as connection:
            entries, rows = (
                connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (ENTRY, HISTORY)
            )
        return entries, rows

    return counted


def keep_until_full(keeper: HistoryKeeper, rounds: int) -> int:
    """Tell of new series again and again; return how many times that was refused."""
    refused = 0
    for turn in range(rounds):
        series = {
            Series("web1", f"s{turn}-{number}.service", "tcp", "RECV"): {BEGIN_S + 300 * turn: ONE}
            for number in range(250)
        }
        try:
            for written in keeper.keep(series):
                written.result(30)
        except BusyError:
            refused += 1
    return refused


def test_history_takes_no_entrys_place(writer: Writer, count: Callable[[], tuple[int, int]]) -> None:
    writer.keep([alert_entry(told(number)) for number in range(200)], Lane.OURS).result(30)
    keeper = HistoryKeeper(writer, 86_400.0, is_clickhouse=False)
    assert keep_until_full(keeper, 20) == 0
    keeper.tend(BEGIN_S + 3 * 86_400.0, lambda: False)
    assert writer.history_crowded_out > 0
    assert (count()[0], writer.crowded_out) == (200, 0)


def test_an_alert_takes_the_place_of_history_at_once(
    writer: Writer, count: Callable[[], tuple[int, int]]
) -> None:
    keep_until_full(HistoryKeeper(writer, 86_400.0, is_clickhouse=False), 8)
    kept = 0
    while count()[1]:
        assert writer.keep([alert_entry(told(kept, note="x" * 5000))], Lane.OURS).result(30) == [True]
        kept += 1
    assert writer.history_crowded_out > 0
    assert (count(), writer.crowded_out, writer.not_kept) == ((kept, 0), 0, 0)


def test_without_history_to_make_room_it_is_refused_alone(
    writer: Writer, database: Database, count: Callable[[], tuple[int, int]]
) -> None:
    number = 0
    while not writer.call(is_at_its_most).result(30):
        writer.keep([alert_entry(told(number))], Lane.OURS).result(30)
        number += 1
    writer.close()
    much = [alert_entry(told(10_000 + each, note="x" * 5000)) for each in range(300)]
    of_both = Writer(database)
    told_too = of_both.call(lambda connection: write(connection, much), Lane.BULK, crowds_out=False)
    posted = of_both.keep([alert_entry(told(number))], Lane.BULK)
    of_both.start()
    with pytest.raises(BusyError):
        told_too.result(30)
    assert posted.result(30) == [True]
    of_both.close()
    assert (count(), of_both.crowded_out, of_both.broken) == ((number + 1, 0), 0, None)


def test_few_cells_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_keep, "AT_ONCE", 7)
    samples: dict[Series, Samples] = {
        Series("web1", str(number), "tcp", "RECV"): {BEGIN_S + 100 * step: ONE for step in range(10 * number)}
        for number in range(5)
    }
    seen: dict[Series, Samples] = {}
    for some in in_turns(samples):
        assert sum(len({at_s // CELLS[0] for at_s in of}) for of in some.values()) <= 7
        for series, of in some.items():
            seen.setdefault(series, {}).update(of)
    assert seen == {series: of for series, of in samples.items() if of}
